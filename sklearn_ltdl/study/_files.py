"""Read the file of a table, whatever its format, compression and encoding, or say what it is instead."""

import bz2
import csv
import datetime
import gzip
import io
import lzma
import os
import re
import sys
import warnings
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from sklearn_ltdl.study._columns import listed, require_distinct

LARGEST_FILE = 1 << 30  # bytes, unpacked
DELIMITERS = ",;\t|"
TABLES = re.compile(r"(?i)[^.].*\.(?:csv|tsv|parquet)(?:\.(?:gz|bz2|xz|zip|zst))?")  # names of files, in a folder
_ISO_DATE = r"\d{4}-\d{2}-\d{2}(?:[ T][0-9:.,+Z-]+)?"
_DECIMAL_COMMA = r"[+-]?\d+(?:,\d+)?"
_CODE = r"0\d{3,}"  # 01234 is no number
_MAYBE_CODE = re.compile(rb"[,;\t|\n\"]0\d{3,}[,;\t|\n\r\"]")
_SNIFFED = 1 << 20, 1000  # bytes, and rows, in which codes are looked for
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
    b"<": "HTML or XML",
    b"{": "JSON",
}
_REMEDY = "save the table as CSV or Parquet"


def read_table(path, *, text=(), least_columns=2):
    """Return the DataFrame of a CSV, TSV or Parquet file, compressed or not, and notes on how it was read.

    The delimiter of a text file is the comma, semicolon, tab or bar that makes most columns of its header; ``?`` is a
    missing value. Columns of dates such as 2024-05-31, with or without a time, are read as dates; where semicolons
    delimit, decimals may have commas. What is not UTF-8 is read as Windows-1252.

    Parameters
    ----------
    path : str or Path
        ``-`` is the standard input. The content says what format and compression it is, not the name.
    text : collection of str, default=()
        Names of columns that are read as text, even if they look like numbers.
    least_columns : int, default=2
        One to predict from, and one to predict.

    Raises
    ------
    ValueError
        In one sentence, what the file is instead of a table, or what is wrong with it.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('Reading a file needs pandas: pip install "sklearn_ltdl[report]"') from error

    where = "standard input" if str(path) == "-" else str(path)
    data = _unpacked(where, _content(path))
    if data.startswith(b"PAR1"):
        return _read_parquet(where, data, least_columns)
    encoding, notes = _encoding(where, data)
    delimiter, names = _header(where, data, encoding, least_columns)
    read = {
        "sep": delimiter,
        "names": names,
        "header": 0,
        "index_col": False,
        "na_values": ["?"],
        "skipinitialspace": True,
        "low_memory": False,
        "encoding": encoding,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # values that would be lost
            codes = []
            if _MAYBE_CODE.search(data[: _SNIFFED[0]]):
                codes = _codes(pd.read_csv(io.BytesIO(data), **read, dtype=str, nrows=_SNIFFED[1]))
            table = pd.read_csv(io.BytesIO(data), **read, dtype={name: str for name in {*codes, *text} & {*names}})
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise ValueError(f"{where}: expected {len(names)} values a line, as in the header; {error}") from error
    if table.empty:
        raise ValueError(f"{where}: expected rows below the header, got none.")
    codes = [name for name in codes if name not in text]
    if codes:
        notes.append(f"Numbers with leading zeros are read as categories in {listed(codes)}.")
    unnamed = [name for name in names if name == ""]
    if unnamed:
        table = table.drop(columns="")
        notes.append(f"The {'first' if names[0] == '' else 'last'} column has no name and is left out.")
    commas = []
    for name in table.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]]:
        values = table[name].dropna().astype(str)
        if not values.empty and values.str.fullmatch(_ISO_DATE).all() and name not in text:
            with suppress(ValueError):  # a thirteenth month, offsets that differ: it stays text
                table[name] = pd.to_datetime(table[name], format="ISO8601")
        elif delimiter == ";" and not values.empty and name not in text and values.str.fullmatch(_DECIMAL_COMMA).all():
            table[name] = values.str.replace(",", ".").astype(float)
            commas.append(name)
    if commas:
        notes.append(f"Decimal commas are read in {listed(commas)}.")
    return table, notes


def _content(path):
    """Return the bytes of a file."""
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(LARGEST_FILE + 1)
        elif Path(path).is_dir():
            raise ValueError(f"{path}: expected a CSV, TSV or Parquet file, got a folder.")
        else:
            with Path(path).open("rb") as file:
                data = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise ValueError(f"{path}: the file cannot be read ({error.strerror}).") from error
    return _bounded("standard input" if str(path) == "-" else path, data)


def _bounded(where, data):
    if len(data) > LARGEST_FILE:
        raise ValueError(
            f"{where}: expected at most {LARGEST_FILE >> 30} GiB of data; draw some of its rows at random."
        )
    if not data.strip():
        raise ValueError(f"{where}: expected a header line and rows, got an empty file.")
    return data


def _unpacked(where, data):
    """Return the bytes of a compressed file; the content says how it is compressed."""
    packing = next((name for magic, name in _PACKED.items() if data.startswith(magic)), None)
    if packing is None:
        return data
    unpackers = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "zstd": _open_zstd, "zip": _open_zip}
    try:
        with unpackers[packing](io.BytesIO(data)) as file:
            unpacked = file.read(LARGEST_FILE + 1)
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


def _read_parquet(where, data, least):
    try:
        import pandas as pd
        from pyarrow.parquet import read_metadata

        size = read_metadata(io.BytesIO(data))
        fits = 8 * size.num_rows * size.num_columns <= LARGEST_FILE  # bytes of numbers
        table = pd.read_parquet(io.BytesIO(data)) if fits else None
    except ImportError as error:
        raise ImportError('Reading Parquet needs pyarrow: pip install "sklearn_ltdl[report]"') from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{where}: the Parquet file cannot be read ({' '.join(str(error).split())}).") from error
    if not fits:
        raise ValueError(
            f"{where}: {size.num_rows} rows of {size.num_columns} columns are too many for the memory; draw some "
            "rows at random."
        )
    table.columns = [str(name) for name in table.columns]
    require_distinct(where, list(table.columns))
    if table.shape[1] < least or table.empty:
        raise ValueError(f"{where}: expected rows of at least {least} columns, got shape {table.shape}.")
    for name in table.columns[[dtype.kind == "O" for dtype in table.dtypes]]:
        values = table[name].dropna()
        if not values.empty and all(isinstance(value, datetime.date) for value in values):
            table[name] = pd.to_datetime(table[name])
    return table, []


def _encoding(where, data):
    """Return the encoding of a text file, and a note if it is not UTF-8; raise if it is no text."""
    start = data[:1000].lstrip()
    for magic, name in _FORMATS.items():
        if start.startswith(magic):
            raise ValueError(f"{where}: expected a table, got {name}; {_REMEDY}.")
    if re.match(rb"\[\s*[\[{\"\d\]-]", start):
        raise ValueError(f"{where}: expected a table, got JSON; {_REMEDY}.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = {"utf-16": "UTF-16"}
    elif b"\x00" in data:
        encodings = {}
    else:
        encodings = {"utf-8-sig": "", "cp1252": "Windows-1252 (Western European)"}
    for encoding, name in encodings.items():
        with suppress(UnicodeDecodeError):
            data.decode(encoding)
            return encoding, [f"The file is not UTF-8; it is read as {name}."] if name else []
    if data[257:262] == b"ustar":
        raise ValueError(f"{where}: expected a table, got a tar archive; unpack it and name one file.")
    raise ValueError(f"{where}: expected a table, got binary data; {_REMEDY}.")


def _header(where, data, encoding, least):
    """Return the delimiter and the names of the columns."""
    parsed = {}
    for delimiter in DELIMITERS:
        lines = csv.reader(
            io.TextIOWrapper(io.BytesIO(data), encoding, newline=""), delimiter=delimiter, skipinitialspace=True
        )
        with suppress(csv.Error):
            parsed[delimiter] = next((line for line in lines if any(map(str.strip, line))), [])
    if not parsed:
        raise ValueError(f"{where}: expected a table, got text whose first line has no end; {_REMEDY}.")
    delimiter = max(parsed, key=lambda delimiter: len(parsed[delimiter]))
    names = [name.strip() for name in parsed[delimiter]]
    if len(names) < least:
        raise ValueError(
            f"{where}: expected at least two columns (comma, semicolon, tab or bar between them), got one, "
            f"{names[0][:40]!r}."
        )
    require_distinct(where, names)
    counted = [str(j) for j in range(len(names))]
    if names != counted and all(_is_number(name) for name in names):
        raise ValueError(
            f"{where}: expected column names in the first line, got numbers; put a header line above them."
        )
    return delimiter, names


def _is_number(name):
    try:
        return bool(np.isfinite(float(name)))
    except ValueError:
        return False


def _codes(texts):
    """Return the names of columns of whole numbers some of which have leading zeros, as postcodes do."""
    return [
        name
        for name, column in texts.items()
        if column.str.fullmatch(_CODE).any() and column.dropna().str.fullmatch(r"\d+").all()
    ]


def write_whole(path, write):
    """Write a file at once or not at all, by a function of the path of a part."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
