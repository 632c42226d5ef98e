"""Tables that are read block by block, and sums over their blocks: in this process, or on a Dask cluster."""

from sklearn_ltdl.rows._rows import Rows, scan

__all__ = ["Rows", "scan"]
