"""Read a table from a file of any supported format, compression and encoding, or say what the file is instead."""

import io
import os
import re
import warnings
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from itertools import chain
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._pieces import are_several, parquet_files
from sklearn_ltdl.tables import _bytes
from sklearn_ltdl.tables._bytes import content, first_bytes, is_on_disk, on_disk, opened, parts, unpacked
from sklearn_ltdl.tables._cells import Written
from sklearn_ltdl.tables._columns import target_position
from sklearn_ltdl.tables._layout import BLANKS, DELIMITERS, UNNAMED
from sklearn_ltdl.tables._notes import Note, listed
from sklearn_ltdl.tables._parquet import read_parquet
from sklearn_ltdl.tables._sample import Sample
from sklearn_ltdl.tables._spelling import decimal_sign, missing_labels, respelled
from sklearn_ltdl.tables._text import sampled_text, whole_text

WHOLE = 1 << 25  # bytes up to which a text is read whole, and then sampled
_EXACT = 2.0**53  # up to which a double has all whole numbers
_LARGEST_DOUBTFUL = 1e12  # largest number whose points may be thousands separators
TABLES = re.compile(r"(?i)[^.].*\.(?:csv|tsv|parquet)(?:\.(?:gz|bz2|xz|zip|zst))?")  # names of table files in a folder


class Form(NamedTuple):
    """The user's description of a text file.

    Parameters
    ----------
    sep : str or None
        Delimiter; ``' '`` means one or more blanks.
    skip_rows : int
        Number of lines to skip at the top.
    missing : tuple of str, or dict of str to tuple of str
        Texts that mean a missing value, in addition to empty cells, NA and the like: for all columns, or by column.
    encoding : str or None
    header : bool
        Whether there is a header line; otherwise columns are named by position, from 1.
    """

    sep: str | None = None
    skip_rows: int = 0
    missing: Collection[str] | dict[str, tuple[str, ...]] = ()
    encoding: str | None = None
    header: bool = True


class Table(NamedTuple):
    """A table that was read from a file.

    Parameters
    ----------
    frame : DataFrame
    notes : list of Note
        Notes on how the file was read, if there was a choice.
    decimal : {'.', ','} or None
        Decimal sign of its numbers, so that rows to predict can be read in the same way; None if it is unknown.
    strays : dict of str to tuple of str
        The texts that were treated as missing among the numbers or dates of each column.
    sample : Sample or None
        Which rows of the file these are, for `compare`; None if it was read without `sample`.
    """

    frame: Any
    notes: list[Note]
    decimal: str | None
    strays: dict[str, tuple[str, ...]] = {}
    sample: Sample | None = None


def read_table(
    path: str | os.PathLike[str],
    *,
    text: Collection[str] = (),
    target: str | None = None,
    least_columns: int = 2,
    decimal: str | None = None,
    strays: Mapping[str, tuple[str, ...]] | None = None,
    sep: str | None = None,
    skip_rows: int = 0,
    missing: Collection[str] = (),
    encoding: str | None = None,
    header: bool = True,
    sample: int | str | None = None,
) -> Table:
    """Return the table in a CSV, TSV or Parquet file, compressed or not, and notes on how it was read.

    The delimiter of a text file is the comma, semicolon, tab or bar that splits its header into the most columns, or
    else blanks. Comments or a title above the header, units below it, and totals or remarks at the end are ignored.
    Repeated names are made distinct. ``?`` is a missing value, and so are up to three other texts in at most a tenth of
    a column of numbers or dates. The date format is determined for each column. Numbers may have decimal commas,
    thousands separators and units. Files that are not UTF-8 are read as Windows-1252. The notes report all of this.

    Parameters
    ----------
    path : str or Path
        ``-`` is the standard input. Format and compression are determined from the content, not from the name. A folder
        or a pattern such as ``'part-*.parquet'`` is a table in several Parquet files, in the order of their names.
    text : collection of str, default=()
        Names of columns to read as text, even if they look like numbers.
    target : str or None, default=None
        Column to predict, as in `split_target`. Few whole numbers with leading zeros are labels in this column, and
        ``None`` is a class if it is text. The notes say which of its texts are treated as missing.
    least_columns : int, default=2
        Least number of columns: one to predict from, and one to predict. With 1, there is no column to predict.
    decimal : {',', '.'} or None, default=None
        Decimal sign for numbers such as 1.234, if the rest of the file does not determine it.
    strays : dict of str to tuple of str, default=None
        Texts that mean a missing value, by column, as found in the training table.
    sep : str or None, default=None
        Delimiter; ``' '`` means one or more blanks. None detects it.
    skip_rows : int, default=0
        Number of lines to skip at the top.
    missing : collection of str, default=()
        Texts that mean a missing value, such as ``-999``, in addition to those that pandas recognises.
    encoding : str or None, default=None
        Encoding, such as ``'cp1251'``; None recognises UTF-8 and UTF-16, and reads other files as Windows-1252.
    header : bool, default=True
        Whether the first line is a header; otherwise columns are named by position, from ``'1'``.
    sample : int, 'all' or None, default=None
        Number of rows to draw from a longer table, of any size: it is read in blocks, and rows beyond the sample are
        forgotten. The rows with the least hashes of their numbers are drawn, and the index of `frame` has these
        numbers, from 0. 'all' reads all rows if they fit in memory. None reads them up to 1 GiB.

    Returns
    -------
    table : Table

    Raises
    ------
    ValueError
        If the file is not a table or is malformed; the message is one sentence.
    """
    where = "standard input" if str(path) == "-" else str(path)
    if sep is not None and len(sep) != 1 and sep not in ("\\t", "tab", "blank", "blanks"):
        raise ParameterError("sep", f"expected one character, or tab or blanks, got {sep!r}.")
    if not (sample is None or sample == "all" or (isinstance(sample, Integral) and sample > 0)):
        raise ParameterError("sample", f"expected a number of rows above 0, 'all' or None, got {sample!r}.")
    form = Form(sep, skip_rows, missing, encoding, header)
    try:
        return _read(where, path, form, least_columns, sample, (text, target, decimal, strays or {}))
    except MemoryError as error:
        raise _bytes.TooLarge(f"{where}: the table does not fit in memory", _bytes.FEWER_ROWS) from error


def _read(where, path, form, least, size, spelled):
    """Return the Table; `spelled` are the further arguments of `_of_text`."""
    if are_several(path):
        files = parquet_files(path)
        if len(files) > 1:
            return _of_parquet(where, {str(file): file for file in files}, form, least, size)
        where, path = str(files[0]), files[0]
    if size is None:
        data = unpacked(where, content(path))
        if data.startswith(b"PAR1"):
            return _of_parquet(where, {where: io.BytesIO(data)}, form, least, None)
        return _of_text(where, whole_text(where, data, form, least), form, least, *spelled)
    with opened(where, path) as file:
        head = first_bytes(where, file, WHOLE)
        blocks = chain([head], parts(file))
        if head.startswith(b"PAR1"):
            with nullcontext(file) if is_on_disk(file) else on_disk(blocks) as found:
                return _of_parquet(where, {where: found}, form, least, size)
        if len(head) == WHOLE:
            found = sampled_text(where, blocks, form, least, size)
        else:
            found = whole_text(where, head, form, least)
    table = _of_text(where, found, form, least, *spelled)
    sample = found.sample or Sample.draw(len(table.frame), size)
    frame = table.frame.iloc[sample.rows] if found.sample is None else table.frame
    return table._replace(frame=frame.set_axis(sample.rows), sample=sample)


def _of_parquet(where, sources, form, least, size):
    """Return the Table of one or several Parquet files; see `read_parquet`."""
    require_plain(where, **form._asdict())
    frame, notes, sample = read_parquet(where, sources, least, size)
    return Table(frame.replace(list(form.missing), None) if form.missing else frame, notes, None, {}, sample)


def require_plain(where, **form):
    """Raise an error if an option of the form of a text file is given for a Parquet file."""
    form = Form(**form)
    if form != Form(missing=form.missing):
        raise ValueError(f"{where}: sep, skip_rows, encoding and header are for text files, not Parquet.")


def _of_text(where, found, form, least_columns, text, target, decimal, strays):
    """Return the Table of a Text."""
    try:
        from pandas.api.types import infer_dtype, is_numeric_dtype
    except ImportError as error:
        raise ImportError('Reading a file needs pandas: pip install "sklearn_ltdl[report]"') from error

    data, layout, notes, sample = found.data, found.layout, [*found.notes], found.sample
    names, delimiter = layout.names, layout.delimiter
    table, raw, label = _parsed(where, data, layout, form, text, target, least_columns, strays)
    if table.empty:
        raise ValueError(f"{where}: expected rows below the header, got none.")
    if sample is not None and len(table) != len(sample.rows):
        also = "" if sample.is_whole else ", or say --sample all"
        raise ValueError(f"{where}: quotation marks leave open where rows end; repair them{also}.")
    for name in table:
        if not is_numeric_dtype(table[name].dtype) and infer_dtype(table[name], skipna=True) == "string":
            table[name] = table[name].str.strip()  # pandas keeps blanks after a value
    unnamed = [j for j, name in enumerate(names) if name.startswith(UNNAMED)]
    if len(unnamed) == 1:
        place = {0: "first", len(names) - 1: "last"}.get(unnamed[0], f"{unnamed[0] + 1}th")
        notes.append(Note("unnamed", f"The {place} column has no name and is ignored."))
    elif unnamed:
        notes.append(Note("unnamed", f"{len(unnamed)} columns have no name and are ignored."))
    written = _written(table, raw, label, text)
    decimal = decimal_sign(written, _fractions(table, written), delimiter, decimal)
    readings, more = respelled(written, decimal)
    for name, reading in readings.items():
        if reading.values is not None:
            table[name] = reading.values.reindex(table.index)
    notes += more
    if label in raw:
        table[label], more = missing_labels(table[label], raw[label].str.strip(), label)
        notes += more
    for name, values in _floats(table):
        if name != label and len(values) == len(table) and (values % 1 == 0).all() and abs(values).max() < _EXACT:
            table[name] = table[name].astype(np.int64)  # 12.0 may be an identifier, or count the rows
    notes += _short_lines(data, layout) if table.iloc[:, -1].isna().any() else []
    if sample is None and _is_sum(table):
        notes.append(Note("totals row", "The last row has the sums of the rows above it, and is ignored."))
        table = table.iloc[:-1]
    found = {name: reading.strays for name, reading in readings.items() if reading.strays}
    return Table(table, notes + _line_breaks(table), decimal, found)


def _parsed(where, data, layout, form, text, target, least_columns, strays):
    """Return the table as read by pandas, the texts of doubtful columns, and the name of the target."""
    import pandas as pd

    names, delimiter = layout.names, layout.delimiter
    options = {
        "sep": delimiter,
        "names": names,
        "header": None,
        "skiprows": layout.above,
        "index_col": False,
        "skipinitialspace": True,
        "skip_blank_lines": len(names) > 1,  # in a single column they are missing values
        "low_memory": False,
        "encoding": "utf-8",
    }
    unknown = {name: ["?", *form.missing, *strays.get(name, ())] for name in names}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # values would be lost
            named = [name for name in names if not name.startswith(UNNAMED)]
            types = {name: str for name in named if name in text}
            table = pd.read_csv(io.BytesIO(data), na_values=unknown, dtype=types, **options)[named]
            label = None if least_columns < 2 or not named else named[target_position(target, named)]
            doubtful = _doubtful(table, data, delimiter, label, text)
            raw = table[[]]
            if doubtful:
                raw = pd.read_csv(io.BytesIO(data), usecols=doubtful, dtype=str, na_filter=False, **options)[doubtful]
    except pd.errors.ParserWarning as error:
        raise ValueError(
            f"{where}: expected {len(names)} values per line, as in the header, got more; remove the lines above it."
        ) from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        if "EOF inside string" in reason:
            reason = "a quotation mark is not closed"
        raise ValueError(f"{where}: expected {len(names)} values per line, as in the header; {reason}.") from error
    return table, raw, label


def _short_lines(data, layout):
    """Return a note on lines with fewer values than the header, of which pandas takes the last to be missing."""
    if layout.delimiter == BLANKS or b'"' in data:
        return []
    sign, least = layout.delimiter.encode(), len(layout.names) - 1
    count = sum(line.count(sign) < least for line in data.splitlines()[layout.above :] if line.strip())
    if count == 0:
        return []
    what = "1 line has" if count == 1 else f"{count} lines have"
    return [Note("short lines", f"{what} fewer values than the header; the last ones are treated as missing.")]


def _is_sum(table):
    """Return whether the last row has the sums of two columns or more, and no text in a column that is full above."""
    above, last = table.iloc[:-1], table.iloc[-1]
    if len(above) < 2 or not (last.isna() & above.notna().all()).any():
        return False
    numeric = above.select_dtypes("number").columns[last[above.select_dtypes("number").columns].notna()]
    sums, spread = above[numeric].sum(), above[numeric].abs().sum()
    given = last[numeric].astype(float)
    return len(numeric) > 1 and bool(((given - sums).abs() <= 1e-6 * spread + 1e-9).all() and (sums != 0).all())


def _line_breaks(table):
    """Return a note on cells with line breaks, because an unclosed quotation mark may have merged rows."""
    broken = {}
    for name, values in table.items():
        if values.dtype == object or values.dtype.name in ("str", "string"):
            count = int(values.dropna().astype(str).str.contains("\n", regex=False).sum())
            broken |= {name: count} if count else {}
    if not broken:
        return []
    found = f"{sum(broken.values())} cells contain line breaks, in {listed(broken)}"
    return [Note("line breaks", f"{found}; if a quotation mark is not closed there, rows are lost.")]


def _written(table, raw, label, text):
    """Return the columns to be read by rules: text columns and doubtful number columns."""
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
    """Return the number columns with fractions, and whether their points may be thousands separators."""
    known = {column.name: column.groups_by_points for column in written if not column.is_text}
    return {name: known.get(name, False) for name, values in _floats(table) if (values % 1 != 0).any()}


def _floats(table):
    """Yield the name and the finite values of each float64 column."""
    for j in np.flatnonzero(table.dtypes == np.float64):
        values = table.iloc[:, j].to_numpy()
        yield table.columns[j], values[np.isfinite(values)]


def _doubtful(table, data, delimiter, label, text):
    """Return the names of columns whose original texts are needed, in the table's order."""
    names = {label} if label in table and table[label].isna().any() else set()
    zeros = _has_leading_zeros(data)
    whole = {
        table.columns[j]: table.iloc[:, j].to_numpy() for j in np.flatnonzero([d.kind in "iu" for d in table.dtypes])
    }
    for name, values in _floats(table):
        if (values % 1 == 0).all():
            whole[name] = values
        if values.size and _may_be_months(values):
            names.add(name)
        small = np.abs(values).max(initial=0.0) < _LARGEST_DOUBTFUL
        if delimiter != "," and small and (abs(1000 * values - (1000 * values).round()) < 1e-6).all():
            names.add(name)  # 1.234 may be 1234
    for name, values in whole.items():
        if zeros or (values.size and (values.max() >= 1e15 or _may_be_dates(values.min(), values.max()))):
            names.add(name)
    return [name for name in table if name in names - {*text}]


def _may_be_dates(least, most):
    """Return whether whole numbers may be months, days, minutes or seconds, such as 20240531 or 31052024."""
    ranges = ((190001, 210012), (10**7, 99999999), (190001010000, 210012312359), (19000101000000, 21001231235959))
    return any(low <= least and most <= high for low, high in ranges)


def _may_be_months(values):
    """Return whether all numbers may be months such as 05.2024."""
    years = np.round(10_000 * (values % 1))
    return bool(((values >= 1) & (values < 13) & (years >= 1900) & (years <= 2100)).all())


def _has_leading_zeros(data):
    """Return whether a cell begins with a zero and another digit."""
    begins, digit = np.zeros(256, dtype=bool), np.zeros(256, dtype=bool)
    begins[list(f'{DELIMITERS}\n\r" '.encode())] = True
    digit[list(b"0123456789")] = True
    for start in range(0, len(data), 1 << 24):  # in parts, to save memory
        part = np.frombuffer(data, np.uint8, min(len(data) - start, (1 << 24) + 2), start)
        zero = np.flatnonzero(part[1:-1] == ord("0"))
        if (begins[part[zero]] & digit[part[zero + 2]]).any():
            return True
    return False
