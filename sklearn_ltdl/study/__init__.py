"""Comparisons on a user's own table."""

from sklearn_ltdl.study._study import Comparison, compare
from sklearn_ltdl.study._tables import make_table_pipeline

__all__ = ["Comparison", "compare", "make_table_pipeline"]
