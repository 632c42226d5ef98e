"""How many rows of a long table are in memory at a time, and Parquet files in batches of that size."""

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
