"""Read the file of a table, whatever its format, compression and encoding, or say what it is instead."""

import bz2
import csv
import datetime
import gzip
import io
import lzma
import re
import sys
import warnings
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from sklearn_ltdl.study._columns import is_numeral, listed, require_distinct, target_position

LARGEST_FILE = 1 << 30  # bytes, unpacked
LONGEST_LINE = 1 << 24  # bytes
_PART = 1 << 20  # bytes that are unpacked at a time
_FEW_ROWS = 256  # of text that are decoded at a time: a page of a few bytes can stand for long texts
MOST_LABELS = 30  # distinct whole numbers of a target up to which leading zeros make labels of them
DELIMITERS = ",;\t|"
TABLES = re.compile(r"(?i)[^.].*\.(?:csv|tsv|parquet)(?:\.(?:gz|bz2|xz|zip|zst))?")  # names of files, in a folder
_ISO_DATE = r"\d{4}-\d{2}-\d{2}(?:[ T][0-9:.,+Z-]+)?"
_DATE = r"(\d{1,2})([./])(\d{1,2})\2\d{4}( \d{1,2}:\d{2}(?::\d{2})?)?"  # with points, the day is first
_TIMES = "", " %H:%M", " %H:%M:%S"
_DECIMAL_POINT = r"[+-]?(?:\d+|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?(?:[eE][+-]?\d+)?"  # 1,234.5
_DECIMAL_COMMA = r"[+-]?(?:\d+|[1-9]\d{0,2}(?:[.'\u00a0\u202f]\d{3})+)(?:,\d+)?(?:[eE][+-]?\d+)?"  # 1.234,5
_THOUSANDS = r"[+-]?(?:\d{1,3}|[1-9]\d{0,2}(?:\.\d{3})+)"  # 1.234
_UNNAMED = "\0"  # begins what a column without a name is called
_UNIT = r"([$€£¥%])"
_CODE, _LABEL = r"0\d{3,}", r"0\d+"  # 01234 is no number
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_FORMATS = {  # how files begin that are no table of text
    b"%PDF": "a PDF document",
    b"\x89PNG": "an image (PNG)",
    b"\xff\xd8\xff": "an image (JPEG)",
    b"GIF8": "an image (GIF)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"ARROW1": "an Arrow (Feather) file",
    b"\x80\x04\x95": "a pickle",
    b"\x80\x05\x95": "a pickle",
}
_MARKUP = {rb"<[!?a-zA-Z]": "HTML or XML", rb"\{\s*[\"}]|\[\s*[\[{\"\d\]-]": "JSON"}
_REMEDY = "save the table as CSV or Parquet"


def read_table(path, *, text=(), target=None, least_columns=2, decimal=None):
    """Return the DataFrame of a CSV, TSV or Parquet file, compressed or not, and notes on how it was read.

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
        How numbers such as 1.234 are meant where the rest of the file does not tell. What was taken is in the frame's
        ``attrs``, so that rows to predict can be read as those of training.

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

    data = _unpacked(where, _content(path))
    if data.startswith(b"PAR1"):
        return _read_parquet(where, data, least_columns)
    _require_lines(where, data)
    data, notes = _as_utf8(where, data)
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
        notes.append(f"The {place} column has no name and is left out.")
    elif unnamed:
        notes.append(f"{len(unnamed)} columns have no name and are left out.")
    styles, decimal = _number_styles(table, raw, delimiter, text, decimal)
    notes += _repair(table, raw, label, styles, text, decimal)
    table.attrs["decimal"] = decimal
    return table, notes


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


def _repair(table, raw, label, styles, text, decimal):
    """Put right, in place, numbers, codes and dates that pandas reads otherwise, and return notes."""
    from pandas import to_datetime
    from pandas.api.types import is_numeric_dtype

    codes, labels, grouped, either, units = [], [], [], [], []
    dates = {True: [], False: []}
    for name in raw:
        texts = raw[name].str.strip()[table[name].notna()]
        whole = not texts.empty and texts.str.fullmatch(r"\d+").all()
        few = name == label and texts.nunique() <= MOST_LABELS
        points = texts.str.contains(".", regex=False).any() and texts.str.fullmatch(_THOUSANDS).all()
        if whole and texts.str.fullmatch(_LABEL if few else _CODE).any():
            (labels if few else codes).append(name)
            table[name] = texts.reindex(table.index)
        elif points and decimal != ",":
            either.append(name)
        elif points:
            grouped.append(name)
            table[name] = texts.str.replace(".", "").astype(float).reindex(table.index)
    for name, style in styles.items():
        texts, unit = _without_unit(table[name].dropna().astype(str))
        units += [f"{name} ({unit})"] * (unit != "")
        if style == "decimal commas":
            texts = texts.str.replace(r"[.'\u00a0\u202f]", "", regex=True).str.replace(",", ".")
        elif texts.str.contains(",").any():
            grouped.append(name)
            texts = texts.str.replace(",", "")
        table[name] = texts.astype(float).reindex(table.index)
    for name in [name for name in table if not is_numeric_dtype(table[name].dtype) and name not in {*text, *codes}]:
        texts = table[name].dropna().astype(str)
        if texts.empty:
            continue
        with suppress(ValueError):  # a thirteenth month, offsets beside none, 1/2/2024: it stays text
            if texts.str.fullmatch(_ISO_DATE).all():
                offsets = texts.str.fullmatch(r".+(?:Z|[+-]\d\d:?\d\d)").all() and texts.str.len().gt(10).all()
                table[name] = to_datetime(table[name], format="ISO8601", utc=bool(offsets))
            elif texts.str.fullmatch(_DATE).all():
                day_first, format = _format(texts.str.extract(_DATE))
                table[name] = to_datetime(table[name], format=format)
                dates[day_first].append(name)
    notes = {
        "Numbers with leading zeros are read as categories in {}.": codes,
        "Numbers with leading zeros are read as labels in {}.": labels,
        "Decimal commas are read in {}.": [name for name, style in styles.items() if style == "decimal commas"],
        "Separators between thousands are left out in {}.": grouped,
        "Points are read as decimal points, not between thousands, in {}.": either,
        "Units are left out in {}.": units,
        "Dates are read day first in {}.": dates[True],
        "Dates are read month first in {}.": dates[False],
    }
    notes = [note.format(listed(names)) for note, names in notes.items() if names]
    return notes + (_missing_labels(table, raw[label].str.strip(), label) if label in raw else [])


def _format(parts):
    """Return whether the day is first in dates, and their format, by the parts of `_DATE`; raise if it is unknown."""
    sign, (first, second) = parts[1].iloc[0], (parts[j].astype(int).max() > 12 for j in (0, 2))
    colons = parts[3].fillna("").str.count(":")
    if (parts[1] != sign).any() or (colons != colons.iloc[0]).any() or (sign == "/" and first == second):
        raise ValueError("day and month cannot be told apart")
    day_first = sign == "." or first
    return day_first, sign.join(["%d", "%m", "%Y"] if day_first else ["%m", "%d", "%Y"]) + _TIMES[colons.iloc[0]]


def _without_unit(texts):
    """Return texts without their currency or per cent sign, which is one for all of them, and this sign."""
    units = texts.str.extract(_UNIT)[0].dropna().unique()
    if len(units) != 1:
        return texts, ""
    return texts.str.replace(rf"[ \u00a0\u202f]?{re.escape(units[0])} ?", "", n=1, regex=True), units[0]


def _number_styles(table, raw, delimiter, text, decimal):
    """Return how the numbers of columns that pandas takes for text are written, and what the file's decimal sign is.

    A column such as 1,234 may have decimal commas or points: it is as the others of the file; else as `decimal` says;
    else as columns such as 1.234 are read, or as the delimiter tells.
    """
    from pandas.api.types import is_float_dtype, is_numeric_dtype

    styles, either = {}, []
    for name in table:
        if is_numeric_dtype(table[name].dtype) or name in text:
            continue
        texts = _without_unit(table[name].dropna().astype(str))[0]
        if texts.empty or (texts.str.fullmatch(_CODE).any() and texts.str.fullmatch(r"\d+").all()):
            continue
        point, comma = (texts.str.fullmatch(pattern).all() for pattern in (_DECIMAL_POINT, _DECIMAL_COMMA))
        if point and comma and texts.str.contains(",").any():
            either.append(name)
        elif point and comma:  # whole numbers beyond those of the machine, or with a unit
            styles[name] = "whole"
        elif point or comma:
            styles[name] = "decimal points" if point else "decimal commas"
    points = [name for name in table if is_float_dtype(table[name].dtype) and (table[name].dropna() % 1 != 0).any()]
    shown = "decimal points" in styles.values() or not all(
        name in raw and raw[name][table[name].notna()].str.strip().str.fullmatch(_THOUSANDS).all() for name in points
    )
    if "decimal commas" in styles.values():
        decimal = ","
    elif shown or (decimal is None and (points or (either and delimiter == ","))):
        decimal = "."
    elif decimal is None and either:
        decimal = ","
    return styles | dict.fromkeys(either, "decimal points" if decimal == "." else "decimal commas"), decimal


def _missing_labels(table, texts, label):
    """Keep the class None of a target of text, in place, and return notes on what is taken for missing in it."""
    from pandas.api.types import is_numeric_dtype

    missing = table[label].isna()
    notes, none = [], missing & (texts == "None")
    if none.any() and not missing.all() and not is_numeric_dtype(table[label].dtype) and table[label].dtype.kind != "M":
        table[label] = table[label].where(~none, "None")
        missing &= ~none
        notes.append(
            f"'None' is a class of {label!r}, {_rows(int(none.sum()))}; leave its cells empty where it means missing."
        )
    counts = texts[missing & (texts != "")].value_counts()
    if len(counts):
        spelled = ", ".join(f"{text!r} in {_rows(count)}" for text, count in counts.items())
        notes.append(f"In {label!r}, the column to predict, this is taken for missing: {spelled}.")
    return notes


def _rows(count):
    return f"{count} row{'s' * (count != 1)}"


def _content(path):
    """Return the bytes of a file."""
    try:
        if str(path) == "-":
            data = _read_parts(sys.stdin.buffer)
        elif Path(path).is_dir():
            raise ValueError(f"{path}: expected a CSV, TSV or Parquet file, got a folder.")
        else:
            with Path(path).open("rb") as file:
                data = _read_parts(file)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise ValueError(f"{path}: the file cannot be read ({error.strerror}).") from error
    return _bounded("standard input" if str(path) == "-" else path, data)


def _read_parts(file):
    """Return the bytes of a file up to one more than is read; a buffer for so many is not asked for at once."""
    content = io.BytesIO()
    while content.tell() <= LARGEST_FILE and (part := file.read(_PART)):
        content.write(part)
    return content.getvalue()


def _bounded(where, data):
    if len(data) > LARGEST_FILE:
        raise _too_large(where)
    if not data.strip():
        raise ValueError(f"{where}: expected a header line and rows, got an empty file.")
    return data


def _too_large(where):
    return _TooLarge(f"{where}: expected at most {LARGEST_FILE >> 30} GiB of data; draw some of its rows at random.")


class _TooLarge(ValueError):
    """A file that unfolds to more than is read."""


def _require_lines(where, data):
    """Raise a ValueError if a line is longer than those of tables."""
    start = 0
    while len(data) - start > LONGEST_LINE:
        end = max(data.rfind(sign, start, start + LONGEST_LINE + 1) for sign in (b"\n", b"\r"))
        if end < 0:
            raise ValueError(f"{where}: expected a table, got a line of more than {LONGEST_LINE >> 20} MiB; {_REMEDY}.")
        start = end + 1


def _unpacked(where, data):
    """Return the bytes of a compressed file; the content says how it is compressed."""
    packing = next((name for magic, name in _PACKED.items() if data.startswith(magic)), None)
    if packing is None:
        return data
    unpackers = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "zstd": _open_zstd, "zip": _open_zip}
    try:
        with unpackers[packing](io.BytesIO(data)) as file:  # counted first: a refusal takes no memory
            size = 0
            while size <= LARGEST_FILE and (part := file.read(_PART)):
                size += len(part)
        if size > LARGEST_FILE:
            raise _too_large(where)
        with unpackers[packing](io.BytesIO(data)) as file:
            unpacked = file.read(size)
    except (OSError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise ValueError(f"{where}: the {packing} file is damaged or encrypted ({error}).") from error
    except _NoTable as error:
        raise ValueError(f"{where}: expected a table, got {error}") from error
    return _bounded(where, unpacked)


class _NoTable(Exception):
    """What a file is instead of a table."""


def _open_zstd(file):
    import pyarrow

    return pyarrow.CompressedInputStream(file, "zstd")


def _open_zip(file):
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if "[Content_Types].xml" in names or "content.xml" in names:
        raise _NoTable(f"a workbook or document; {_REMEDY}.")
    if len(names) != 1 or names[0].endswith(".npy"):
        raise _NoTable(f"a zip archive of {len(names)} files ({listed(names)}); unpack it and name one.")
    return archive.open(names[0])


class _NestedColumn(ValueError):
    """A column that is no column of a table."""


def _require_size(where, file):
    """Raise a ValueError if a Parquet file has nested columns, or decodes to more than is read."""
    from pyarrow import types

    schema, groups = file.schema_arrow, range(file.num_row_groups)
    plain = {column.name: _plain(column.type) for column in schema}
    for name, kind in plain.items():
        if types.is_nested(kind):
            raise _NestedColumn(
                f"{where}: column {name!r} is nested ({str(kind)[:40]}); expected numbers, text or dates in each "
                "column, so make columns of its parts, or leave it out."
            )
    rows = max(file.metadata.num_rows, sum(file.metadata.row_group(k).num_rows for k in groups))
    chunks = (file.metadata.row_group(k).column(j) for k in groups for j in range(file.metadata.num_columns))
    largest = max((chunk.total_uncompressed_size for chunk in chunks), default=0)
    size = 8 * rows * len(plain)  # of numbers, or of what points to texts
    if max(size, largest) > LARGEST_FILE:
        raise _TooLarge(
            f"{where}: {rows} rows of {len(plain)} columns are too many for the memory; draw some rows at random."
        )
    for few, names in ((1 << 16, False), (_FEW_ROWS, True)):
        chosen = [name for name, kind in plain.items() if _is_text(kind) == names]
        for batch in file.iter_batches(few, columns=chosen, use_threads=False) if chosen else ():
            size += sum(_unfolded(column).nbytes for column in batch.columns)
            if size > LARGEST_FILE:
                raise _too_large(where)


def _plain(kind):
    """Return the type of the values of an Arrow type."""
    for inner in ("storage_type", "value_type"):  # of an extension; of a dictionary or runs
        if hasattr(kind, inner) and not str(kind).startswith(("list", "large_list", "fixed_size_list", "map")):
            return _plain(getattr(kind, inner))
    return kind


def _is_text(kind):
    """Return whether values of an Arrow type differ in length."""
    try:
        return kind.bit_width is None
    except ValueError:
        return True


def _unfolded(column):
    """Return an Arrow array of which each value has its own memory."""
    column = getattr(column, "storage", column)
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


def _read_parquet(where, data, least):
    try:
        import pandas as pd
        from pyarrow.parquet import ParquetFile

        with ParquetFile(io.BytesIO(data), pre_buffer=False) as file:
            _require_size(where, file)
        table = pd.read_parquet(io.BytesIO(data))
    except ImportError as error:
        raise ImportError('Reading Parquet needs pyarrow: pip install "sklearn_ltdl[report]"') from error
    except (_TooLarge, _NestedColumn):
        raise
    except (ValueError, OSError, TypeError, KeyError, NotImplementedError) as error:  # what a damaged file raises
        raise ValueError(f"{where}: the Parquet file cannot be read ({' '.join(str(error).split())}).") from error
    table.columns = [str(name) for name in table.columns]
    notes, levels = [], [name for name in table.index.names if name is not None]
    require_distinct(where, [*map(str, levels), *table.columns])
    if levels:
        table = table.reset_index(level=levels).rename(columns=str)
        notes.append(
            f"The index of the table is read as {'a column' if len(levels) == 1 else 'columns'}, {listed(levels)}."
        )
    elif len(table) and table.index.dtype.kind not in "iu":
        notes.append(f"The index of the table, such as {str(table.index[0])!r}, has no name and is left out.")
    if table.shape[1] < least or table.empty:
        raise ValueError(f"{where}: expected rows of at least {least} columns, got shape {table.shape}.")
    for name in table.columns[[dtype.kind == "O" for dtype in table.dtypes]]:
        values = table[name].dropna()
        if not values.empty and all(isinstance(value, datetime.date) for value in values):
            table[name] = pd.to_datetime(table[name])
    return table.reset_index(drop=True), notes


def _as_utf8(where, data):
    """Return a text file in UTF-8, and a note if it was not; raise if it is no text."""
    start = data[:1000].lstrip()
    for magic, name in _FORMATS.items():
        if start.startswith(magic):
            raise ValueError(f"{where}: expected a table, got {name}; {_REMEDY}.")
    for pattern, name in _MARKUP.items():
        if re.match(pattern, start):
            raise ValueError(f"{where}: expected a table, got {name}; {_REMEDY}.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = {"utf-16": "UTF-16"}
    elif b"\x00" in data:
        encodings = {}
    else:
        encodings = {"utf-8-sig": "", "cp1252": "Windows-1252 (Western European)"}
    for encoding, name in encodings.items():
        with suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            return text.encode(), [f"The file is not UTF-8; it is read as {name}."] if name else []
    if data[257:262] == b"ustar":
        raise ValueError(f"{where}: expected a table, got a tar archive; unpack it and name one file.")
    raise ValueError(f"{where}: expected a table, got binary data; {_REMEDY}.")


def _header(where, data, least):
    """Return the delimiter, the names of the columns, and the number of lines up to them."""
    parsed = {}
    for delimiter in DELIMITERS:
        text = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")
        lines = enumerate(csv.reader(text, delimiter=delimiter, skipinitialspace=True), start=1)
        with suppress(csv.Error):
            parsed[delimiter] = next(((n, line) for n, line in lines if any(map(_is_name, line))), (0, []))
    if not parsed:
        raise ValueError(f"{where}: expected a table, got text whose first line has no end; {_REMEDY}.")
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
