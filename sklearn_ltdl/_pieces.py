"""How many rows of a long table are in memory at a time, and Parquet files in batches of that size."""

from glob import glob, has_magic
from pathlib import Path

PIECE_ROWS = 2**16  # at most, of a piece
TEXT_ROWS = 2**12  # of a piece with texts, which may unfold to much more
PIECE_NUMBERS = 2**22  # about, of a piece of a wide table
PIECE_BYTES = 2**24  # about, of a piece of Parquet
FEWEST_ROWS = 16  # of a piece of Parquet


def piece_rows(n_columns):
    """Return the number of rows of a piece."""
    return max(1, min(PIECE_ROWS, PIECE_NUMBERS // max(1, n_columns)))


def batches(file, names=None, groups=None, *, has_text=False):
    """Yield record batches of a ParquetFile, one row group after the other.

    Parameters
    ----------
    file : pyarrow.parquet.ParquetFile
    names : list of str, default=None
        Columns to read; None reads all.
    groups : list of int, default=None
        Row groups to read; None reads all.
    has_text : bool, default=False
        Whether texts of any length may be among the columns, of which a few bytes can encode many.
    """
    n_columns = len(file.schema_arrow if names is None else names)
    most = min(piece_rows(n_columns), TEXT_ROWS if has_text else PIECE_ROWS)
    for group in range(file.num_row_groups) if groups is None else groups:
        known = file.metadata.row_group(group)
        bytes_a_row = known.total_byte_size * n_columns / max(1, known.num_rows * known.num_columns)
        n_rows = min(most, max(FEWEST_ROWS, int(PIECE_BYTES / max(1.0, bytes_a_row))))
        columns = None if names is None else list(names)
        yield from file.iter_batches(n_rows, row_groups=[group], columns=columns, use_threads=False)


def are_several(path):
    """Return whether a path is a folder or a pattern, which may stand for several files."""
    return Path(path).is_dir() or (has_magic(str(path)) and not Path(path).exists())


def parquet_files(source):
    """Return the Parquet files that a name, a pattern, a folder or a list of them stands for."""
    if isinstance(source, list | tuple):
        return [file for one in source for file in parquet_files(one)]
    try:
        path = Path(source)
    except TypeError:
        raise TypeError(
            f"source is {type(source).__name__}; expected the path of a Parquet file, a folder or a pattern such as "
            "'trips/*.parquet', a pyarrow dataset, a Dask frame or array, or a function that returns an Arrow stream. "
            "Arrays and frames in memory need no scan: give them to fit."
        ) from None
    if path.is_dir():
        files = sorted(
            file
            for file in path.rglob("*.parquet")
            if not any(part[0] in "_." for part in file.relative_to(path).parts)
        )
        for file in files:
            if any("=" in part for part in file.relative_to(path).parent.parts):
                raise ValueError(
                    f"{path}: the names of its folders hold a column ({file.relative_to(path).parent}). Give "
                    "pyarrow.dataset.dataset(path, partitioning='hive') to scan."
                )
    elif are_several(source):
        files = [Path(file) for file in sorted(glob(str(source), recursive=True))]
    else:
        files = [path]
    if not files:
        raise ValueError(f"{source}: there is no Parquet file.")
    return files
