"""Read tables from Parquet files, with a limit on the decoded size."""

import datetime
import io

from sklearn_ltdl.tables._bytes import TooLarge, is_too_large, too_large
from sklearn_ltdl.tables._columns import MOST_COLUMNS, require_distinct, too_many
from sklearn_ltdl.tables._notes import Note, listed

_FEW_ROWS = 256  # text rows decoded at a time, because a page of a few bytes can encode long texts


class _NestedColumn(ValueError):
    """A column with nested values, which a table cannot have."""


def _require_size(where, file):
    """Raise a ValueError if a Parquet file has nested columns, or decodes to more than the limit."""
    from pyarrow import types

    schema, groups = file.schema_arrow, range(file.num_row_groups)
    if len(schema) > MOST_COLUMNS + 1:
        raise TooLarge(too_many(where, len(schema)))
    plain = {column.name: _plain(column.type) for column in schema}
    for name, kind in plain.items():
        if types.is_nested(kind):
            raise _NestedColumn(
                f"{where}: column {name!r} is nested ({str(kind)[:40]}); expected numbers, text or dates in each "
                "column; make columns of its parts, or leave it out."
            )
    rows = max(file.metadata.num_rows, sum(file.metadata.row_group(k).num_rows for k in groups))
    chunks = (file.metadata.row_group(k).column(j) for k in groups for j in range(file.metadata.num_columns))
    largest = max((chunk.total_uncompressed_size for chunk in chunks), default=0)
    size = 8 * rows * len(plain)  # numbers, or pointers to texts
    if is_too_large(max(size, largest)):
        raise TooLarge(f"{where}: {rows} rows of {len(plain)} columns do not fit in memory; draw some rows at random.")
    for few, names in ((1 << 16, False), (_FEW_ROWS, True)):
        chosen = [name for name, kind in plain.items() if _is_text(kind) == names]
        for batch in file.iter_batches(few, columns=chosen, use_threads=False) if chosen else ():
            size += sum(_unfolded(column).nbytes for column in batch.columns)
            if is_too_large(size):
                raise too_large(where)


def _plain(kind):
    """Return the value type of an Arrow type."""
    for inner in ("storage_type", "value_type"):  # for extensions; for dictionaries and runs
        if hasattr(kind, inner) and not str(kind).startswith(("list", "large_list", "fixed_size_list", "map")):
            return _plain(getattr(kind, inner))
    return kind


def _is_text(kind):
    """Return whether values of an Arrow type have variable length."""
    try:
        return kind.bit_width is None
    except ValueError:
        return True


def _unfolded(column):
    """Return an Arrow array in which each value has its own memory."""
    column = getattr(column, "storage", column)
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


def read_parquet(where, data, least):
    try:
        import pandas as pd
        from pyarrow.parquet import ParquetFile

        with ParquetFile(io.BytesIO(data), pre_buffer=False) as file:
            _require_size(where, file)
        table = pd.read_parquet(io.BytesIO(data))
    except ImportError as error:
        raise ImportError('Reading Parquet needs pyarrow: pip install "sklearn_ltdl[report]"') from error
    except (TooLarge, _NestedColumn):
        raise
    except (ValueError, OSError, TypeError, KeyError, NotImplementedError) as error:  # errors of damaged files
        raise ValueError(f"{where}: the Parquet file cannot be read ({' '.join(str(error).split())}).") from error
    table.columns = [str(name) for name in table.columns]
    notes, levels = [], [name for name in table.index.names if name is not None]
    require_distinct(where, [*map(str, levels), *table.columns])
    if levels:
        table = table.reset_index(level=levels).rename(columns=str)
        what = "a column" if len(levels) == 1 else "columns"
        notes.append(Note("index", f"The index of the table is read as {what}, {listed(levels)}."))
    elif len(table) and table.index.dtype.kind not in "iu":
        text = f"The index of the table, such as {str(table.index[0])!r}, has no name and is ignored."
        notes.append(Note("index", text))
    if table.shape[1] < least or table.empty:
        raise ValueError(f"{where}: expected rows of at least {least} columns, got shape {table.shape}.")
    for name in table.columns[[dtype.kind == "O" for dtype in table.dtypes]]:
        values = table[name].dropna()
        if not values.empty and all(isinstance(value, datetime.date) for value in values):
            table[name] = pd.to_datetime(table[name])
    return table.reset_index(drop=True), notes
