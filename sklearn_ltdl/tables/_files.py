"""Read the file of a table, whatever its format, compression and encoding, or say what it is instead."""

import csv
import io
import re
import warnings
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from sklearn_ltdl.tables._bytes import REMEDY, as_utf8, content, require_lines, unpacked
from sklearn_ltdl.tables._columns import require_distinct, target_position
from sklearn_ltdl.tables._kinds import is_numeral
from sklearn_ltdl.tables._notes import Note
from sklearn_ltdl.tables._parquet import read_parquet
from sklearn_ltdl.tables._spelling import Written, decimal_sign, missing_labels, respelled

DELIMITERS = ",;\t|"
TABLES = re.compile(r"(?i)[^.].*\.(?:csv|tsv|parquet)(?:\.(?:gz|bz2|xz|zip|zst))?")  # names of files, in a folder
_UNNAMED = "\0"  # begins what a column without a name is called


class Table(NamedTuple):
    """What a file holds.

    Parameters
    ----------
    frame : DataFrame
    notes : list of Note
        How it was read, where there was a choice.
    decimal : {'.', ','} or None
        Decimal sign of its numbers, so that rows to predict can be read as those of training; None if nothing tells.
    """

    frame: object
    notes: list
    decimal: str | None


def read_table(path, *, text=(), target=None, least_columns=2, decimal=None):
    """Return the table in a CSV, TSV or Parquet file, compressed or not, and notes on how it was read.

    The delimiter of a text file is the comma, semicolon, tab or bar that makes most columns of its header; ``?`` is a
    missing value. Columns of dates such as 2024-05-31 or 31.05.2024, with or without a time, are read as dates. Numbers
    may have decimal commas, and separators between thousands. What is not UTF-8 is read as Windows-1252.

    Parameters
    ----------
    path : str or Path
        ``-`` is the standard input. The content says what format and compression it is, not the name.
    text : collection of str, default=()
        Names of columns that are read as text, even if they look like numbers.
    target : str or None, default=None
        Column to predict, as in `split_target`: its few whole numbers with leading zeros are labels, and in a target of
        text ``None`` is a class. The notes say what else in it is taken for missing.
    least_columns : int, default=2
        One to predict from, and one to predict. With 1, there is no column to predict.
    decimal : {',', '.'} or None, default=None
        How numbers such as 1.234 are meant where the rest of the file does not tell.

    Returns
    -------
    table : Table

    Raises
    ------
    ValueError
        In one sentence, what the file is instead of a table, or what is wrong with it.
    """
    where = "standard input" if str(path) == "-" else str(path)
    try:
        return _read(where, path, text, target, least_columns, decimal)
    except MemoryError as error:
        raise MemoryError(f"{where}: the table does not fit in the memory; draw some of its rows at random.") from error


def _read(where, path, text, target, least_columns, decimal):
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('Reading a file needs pandas: pip install "sklearn_ltdl[report]"') from error

    data = unpacked(where, content(path))
    if data.startswith(b"PAR1"):
        frame, notes = read_parquet(where, data, least_columns)
        return Table(frame, notes, None)
    require_lines(where, data)
    data, notes = as_utf8(where, data)
    data = re.sub(rb'\A"?sep=."?\r?\n', b"", data)  # which tells Excel the delimiter
    delimiter, names, above = _header(where, data, least_columns)
    options = {
        "sep": delimiter,
        "names": names,
        "header": None,
        "skiprows": above,
        "index_col": False,
        "skipinitialspace": True,
        "skip_blank_lines": len(names) > 1,  # else they are missing values
        "low_memory": False,
        "encoding": "utf-8",
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # values that would be lost
            named = [name for name in names if not name.startswith(_UNNAMED)]
            types = {name: str for name in named if name in text}
            table = pd.read_csv(io.BytesIO(data), na_values=["?"], dtype=types, **options)[named]
            label = None if least_columns < 2 or not named else named[target_position(target, named)]
            doubtful = _doubtful(table, data, delimiter, label, text)
            raw = table[[]]
            if doubtful:
                raw = pd.read_csv(io.BytesIO(data), usecols=doubtful, dtype=str, na_filter=False, **options)[doubtful]
    except pd.errors.ParserWarning as error:
        raise ValueError(
            f"{where}: expected {len(names)} values a line, as in the header, got more; remove what is above it."
        ) from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        if "EOF inside string" in reason:
            reason = "a quotation mark that opens is never closed"
        raise ValueError(f"{where}: expected {len(names)} values a line, as in the header; {reason}.") from error
    if table.empty:
        raise ValueError(f"{where}: expected rows below the header, got none.")
    unnamed = [j for j, name in enumerate(names) if name.startswith(_UNNAMED)]
    if len(unnamed) == 1:
        place = {0: "first", len(names) - 1: "last"}.get(unnamed[0], f"{unnamed[0] + 1}th")
        notes.append(Note("unnamed", f"The {place} column has no name and is left out."))
    elif unnamed:
        notes.append(Note("unnamed", f"{len(unnamed)} columns have no name and are left out."))
    written = _written(table, raw, label, text)
    decimal = decimal_sign(written, _fractions(table, written), delimiter, decimal)
    readings, more = respelled(written, decimal)
    for name, values in readings.items():
        if values is not None:
            table[name] = values.reindex(table.index)
    notes += more
    if label in raw:
        table[label], more = missing_labels(table[label], raw[label].str.strip(), label)
        notes += more
    return Table(table, notes, decimal)


def _written(table, raw, label, text):
    """Return the columns that are to be read by their spelling: those of text, and those of doubtful numbers."""
    from pandas.api.types import is_numeric_dtype

    columns = []
    for name, values in table.items():
        is_text = not is_numeric_dtype(values.dtype)
        if name not in raw and (name in text or not is_text):
            continue
        texts = raw[name].str.strip()[values.notna()] if name in raw else values.dropna().astype(str)
        if not texts.empty:
            columns.append(Written(name, texts, is_target=name == label, is_text=is_text and name not in text))
    return columns


def _fractions(table, written):
    """Return the columns of numbers with fractions, and whether their points can stand between thousands."""
    from pandas.api.types import is_float_dtype

    known = {column.name: column.groups_by_points for column in written if not column.is_text}
    fractions = [name for name in table if is_float_dtype(table[name].dtype) and (table[name].dropna() % 1 != 0).any()]
    return {name: known.get(name, False) for name in fractions}


def _doubtful(table, data, delimiter, label, text):
    """Return the names of columns of which more must be known than pandas made of them, in the table's order."""
    from pandas.api.types import is_float_dtype, is_integer_dtype

    names = {label} if label in table and table[label].isna().any() else set()
    zeros = _has_leading_zeros(data)
    for name, column in table.items():
        known, is_float = column.dropna(), is_float_dtype(column.dtype)
        whole = is_integer_dtype(column.dtype) or (is_float and (known % 1 == 0).all())
        thousands = is_float and delimiter != "," and (abs(1000 * known - (1000 * known).round()) < 1e-6).all()
        if (whole and zeros) or thousands:
            names.add(name)
    return [name for name in table if name in names - {*text}]


def _has_leading_zeros(data):
    """Return whether a cell begins with a zero and another digit."""
    begins, digit = np.zeros(256, dtype=bool), np.zeros(256, dtype=bool)
    begins[list(f'{DELIMITERS}\n\r" '.encode())] = True
    digit[list(b"0123456789")] = True
    for start in range(0, len(data), 1 << 24):  # a part at a time, for the memory
        part = np.frombuffer(data, np.uint8, min(len(data) - start, (1 << 24) + 2), start)
        zero = np.flatnonzero(part[1:-1] == ord("0"))
        if (begins[part[zero]] & digit[part[zero + 2]]).any():
            return True
    return False


def _header(where, data, least):
    """Return the delimiter, the names of the columns, and the number of lines up to them."""
    parsed = {}
    for delimiter in DELIMITERS:
        text = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")
        lines = enumerate(csv.reader(text, delimiter=delimiter, skipinitialspace=True), start=1)
        with suppress(csv.Error):
            parsed[delimiter] = next(((n, line) for n, line in lines if any(map(_is_name, line))), (0, []))
    if not parsed:
        raise ValueError(f"{where}: expected a table, got text whose first line has no end; {REMEDY}.")
    delimiter = max(parsed, key=lambda delimiter: len(parsed[delimiter][1]))
    above, line = parsed[delimiter]
    names = [name.strip() or f"{_UNNAMED}{j}" for j, name in enumerate(line)]
    if sum(map(_is_name, line)) < least:
        raise ValueError(
            f"{where}: expected the names of at least two columns in the first line (comma, semicolon, tab or bar "
            f"between them), got {names[0][:40] if names else ''!r}; remove what is above the header."
        )
    require_distinct(where, names)
    named = [name for name in names if not name.startswith(_UNNAMED)]
    counted = [str(j) for j in range(len(named))]
    if named != counted and all(is_numeral(name) and np.isfinite(float(name)) for name in named):
        raise ValueError(
            f"{where}: expected column names in the first line, got numbers; put a header line above them."
        )
    return delimiter, names, above


def _is_name(cell):
    return cell.strip(f"{DELIMITERS} ") != ""
