"""Read tables from Parquet files, with a limit on the decoded size."""

import datetime
import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_ltdl._pieces import batches
from sklearn_ltdl.tables._bytes import FEWER_ROWS, TooLarge, largest, too_large
from sklearn_ltdl.tables._columns import MOST_COLUMNS, require_distinct, too_many
from sklearn_ltdl.tables._notes import Note, listed
from sklearn_ltdl.tables._sample import Sample

_WHOLE_NUMBERS = 1 << 20  # numbers of a file that is read at once to predict
_BUFFER = 1 << 18  # bytes of a column to read at a time
_FEW_ROWS = 256  # text rows decoded at a time, because a page of a few bytes can encode long texts


class _Refused(ValueError):
    """A table with columns that are too many, or nested; the message says so."""


def _plain_columns(where, schema):
    """Return the types of the columns by name, or raise a ValueError if they are too many, or nested."""
    from pyarrow import types

    if len(schema) > MOST_COLUMNS + 1:
        raise _Refused(too_many(where, len(schema)))
    plain = {column.name: _plain(column.type) for column in schema}
    for name, kind in plain.items():
        if types.is_nested(kind):
            raise _Refused(
                f"{where}: column {name!r} is nested ({str(kind)[:40]}); expected numbers, text or dates in each "
                "column; make columns of its parts, or leave it out."
            )
    return plain


def _require_size(where, file, plain, most):
    """Raise a ValueError if a Parquet file decodes to more bytes than `most`."""
    groups = range(file.num_row_groups)
    rows = max(file.metadata.num_rows, sum(file.metadata.row_group(k).num_rows for k in groups))
    chunks = (file.metadata.row_group(k).column(j) for k in groups for j in range(file.metadata.num_columns))
    longest = max((chunk.total_uncompressed_size for chunk in chunks), default=0)
    size = 8 * rows * len(plain)  # numbers, or pointers to texts
    if max(size, longest) > most:
        raise TooLarge(f"{where}: {rows} rows of {len(plain)} columns do not fit in memory", FEWER_ROWS)
    for few, names in ((1 << 16, False), (_FEW_ROWS, True)):
        chosen = [name for name, kind in plain.items() if _is_text(kind) == names]
        for batch in file.iter_batches(few, columns=chosen, use_threads=False) if chosen else ():
            size += sum(_unfolded(column).nbytes for column in batch.columns)
            if size > most:
                raise too_large(where, most)


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


@contextmanager
def _reading(where):
    """Turn the errors of damaged files into one that names the file."""
    try:
        yield
    except (TooLarge, _Refused):
        raise
    except (ValueError, OSError, TypeError, KeyError, NotImplementedError) as error:
        raise _Refused(f"{where}: the Parquet file cannot be read ({' '.join(str(error).split())}).") from error


def _common(sources) -> tuple[Any, int]:
    """Return the schema of the rows of some files, and their number.

    Parameters
    ----------
    sources : dict of str to path or binary file
        The Parquet files of one table, each by its name for errors. The columns may be in another order in each.
    """
    from pyarrow.parquet import ParquetFile

    schema, n_rows = None, 0
    for where, source in sources.items():
        with _reading(where):
            with ParquetFile(source, pre_buffer=False) as file:
                own = file.schema_arrow
                n_rows += sum(file.metadata.row_group(k).num_rows for k in range(file.num_row_groups))
            _plain_columns(where, own)
            if len(sources) > 1:
                own = _without_numbers(own)
            schema = own if schema is None else _joined(where, own, schema, next(iter(sources)))
    return schema, n_rows


def _without_numbers(schema):
    """Return the schema of a part of a table without an index that has no name, or counts the rows of the part."""
    known = schema.pandas_metadata
    names = [name for name in schema.names if not name.startswith("__index_level_")]
    plain = schema.empty_table().select(names).schema
    if known is None:
        return plain
    kept = [level for level in known["index_columns"] if level in names]
    return plain.with_metadata({"pandas": json.dumps({**known, "index_columns": kept})})


def _joined(where, own, schema, first):
    """Return the schema of a file and of those before it, or raise an error that names the column that differs."""
    from pyarrow import ArrowException, unify_schemas
    from pyarrow import schema as make

    lacking, more = ([name for name in a.names if name not in b.names] for a, b in ((schema, own), (own, schema)))
    if lacking or more:
        differ = [f"{what} {listed(names)}" for what, names in (("lacks", lacking), ("also has", more)) if names]
        raise _Refused(f"{where}: expected the columns of {first}; the file {' and '.join(differ)}.")
    fields = []
    for known in schema:
        other = own.field(known.name)
        try:
            fields += unify_schemas([make([known]), make([other])], promote_options="permissive")
        except ArrowException as error:
            text = f"{where}: column {known.name!r} has type {other.type}, but {known.type} in {first}."
            raise _Refused(text) from error
    return make(fields, schema.metadata)


def _sampled(where, sources, schema, n_rows, size):
    """Return some rows of a table in Parquet files, which are read in blocks, and their Sample."""
    from pyarrow import Table, concat_tables
    from pyarrow.parquet import ParquetFile

    texts = [column.name for column in schema if _is_text(_plain(column.type))]
    options = {"pre_buffer": False, "buffer_size": _BUFFER}
    options["read_dictionary"] = texts  # so that a text of many rows is there once
    sample, most, n_bytes, start = Sample.draw(n_rows, size), largest(size), 0, 0
    tables = [schema.empty_table()]
    for name, source in sources.items():
        picked = []
        with _reading(name), ParquetFile(source, **options) as file:
            for batch in batches(file, schema.names, has_text=bool(texts)):
                low, high = np.searchsorted(sample.rows, [start, start + len(batch)])
                for first in range(low, high, _FEW_ROWS):
                    few = batch.take(sample.rows[first : min(first + _FEW_ROWS, high)] - start)
                    n_bytes += sum(_unfolded(column).nbytes for column in few.columns)
                    if n_bytes > most:
                        raise too_large(where, most)
                    picked.append(few)
                start += len(batch)
            if picked:
                tables.append(_cast(Table.from_batches(picked), schema))
    return _with_numbers(concat_tables(tables).to_pandas(), schema, sample.rows), sample


def _cast(table, schema):
    """Return rows of one file with the columns, types and metadata of the table."""
    return table.select(schema.names).cast(schema.remove_metadata()).replace_schema_metadata(schema.metadata)


def _with_numbers(table, schema, rows):
    """Return rows of a table with its named index, if pandas stored only where the index begins and its step."""
    levels = (schema.pandas_metadata or {}).get("index_columns", [])
    if len(levels) != 1 or not isinstance(levels[0], dict) or levels[0]["name"] is None:
        return table
    return table.set_axis(levels[0]["start"] + levels[0]["step"] * rows).rename_axis(levels[0]["name"])


def read_parquet(where, sources, least, size):
    """Return a table, notes, and its Sample.

    Parameters
    ----------
    where : str
    sources : dict
        As in `_common`.
    least : int
        Columns that are expected.
    size : int, 'all' or None
        Rows to draw; None reads all, up to 1 GiB.
    """
    try:
        import pandas as pd
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError('Reading Parquet needs pyarrow: pip install "sklearn_ltdl[report]"') from error
    schema, n_rows = _common(sources)
    is_whole = size in (None, "all") or size >= n_rows
    with _reading(where):
        if is_whole and len(sources) == 1:
            (source,) = sources.values()
            with ParquetFile(source, pre_buffer=False) as file:
                _require_size(where, file, _plain_columns(where, schema), largest(size))
            source.seek(0)
            table, sample = pd.read_parquet(source), None
        else:
            table, sample = _sampled(where, sources, schema, n_rows, "all" if size is None else size)
    table, notes = _as_read(where, table, least)
    if sample is None and size is not None:
        sample = Sample.draw(len(table), "all")
    return (table if sample is None else table.set_axis(sample.rows)), notes, sample if size is not None else None


def parquet_batches(where, sources, least, missing=()):
    """Yield a table in Parquet files in tables of some rows, each with the types of the whole table, and notes.

    Parameters
    ----------
    where, sources, least
        As in `read_parquet`; files that are not compressed as a whole.
    missing : sequence of str
        Texts that are missing values.
    """
    from pyarrow import Table
    from pyarrow.parquet import ParquetFile

    schema, _ = _common(sources)
    texts, gaps, start = any(_is_text(_plain(kind)) for kind in schema.types), set(), 0
    for name, source in sources.items():
        with _reading(name), ParquetFile(source, pre_buffer=False) as file:
            gaps |= {column for column in schema.names if _may_lack_values(file.metadata, column)}
    for name, source in sources.items():
        with ParquetFile(source, pre_buffer=False) as file:
            for batch in _named(name, batches(file, schema.names, has_text=texts)):
                table = _cast(Table.from_batches([batch]), schema).to_pandas()
                table = _with_numbers(table, schema, np.arange(start, start + len(table)))
                start += len(table)
                for column in gaps.intersection(table.columns):  # whole numbers with gaps are floats
                    for plain, other in ((("i", "u"), float), (("b",), object)):
                        dtype = table[column].dtype
                        if isinstance(dtype, np.dtype) and dtype.kind in plain:
                            table[column] = table[column].astype(other)
                table, notes = _as_read(where, table, least)
                yield table.replace(list(missing), None) if missing else table, notes


def _named(where, found):
    """Yield what a reader yields, its errors with the name of the file."""
    with _reading(where):
        yield from found


def is_long_parquet(path):
    """Return whether a path is that of a Parquet file with so many numbers that it is not read at once."""
    try:
        with Path(path).open("rb") as file:
            if file.read(4) != b"PAR1":
                return False
        from pyarrow.parquet import read_metadata

        known = read_metadata(path)
    except (OSError, ValueError, ImportError):  # other functions say what is wrong
        return False
    return known.num_rows * known.num_columns > _WHOLE_NUMBERS


def _may_lack_values(metadata, name):
    """Return whether a column has missing values in any row group, or does not say."""
    if metadata.num_row_groups == 0:
        return False
    names = [metadata.row_group(0).column(j).path_in_schema for j in range(metadata.num_columns)]
    if name not in names:
        return True
    chunks = (metadata.row_group(k).column(names.index(name)) for k in range(metadata.num_row_groups))
    return any(c.statistics is None or not c.statistics.has_null_count or c.statistics.null_count > 0 for c in chunks)


def _as_read(where, table, least):
    """Return a table with names of columns that are texts, its index as columns, dates as dates, and notes."""
    import pandas as pd

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
