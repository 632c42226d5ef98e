"""Read the bytes of a table's file: unpack, limit and convert them to UTF-8, or say what the file is instead."""

import bz2
import gzip
import io
import lzma
import re
import sys
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl.tables._notes import Note, listed

LARGEST_FILE = 1 << 30  # bytes, unpacked
LONGEST_LINE = 1 << 24  # bytes
_PART = 1 << 20  # bytes to unpack at a time
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_FORMATS = {  # first bytes of files that are not text tables
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
_DOCUMENT = re.compile(rb"<(?:!doctype|!--|\?xml|(?:html|head|body|meta)[\s>])", re.IGNORECASE)
_ELEMENT = re.compile(rb"<([a-z][\w:.-]*)[\s>]", re.IGNORECASE)
_JSON = re.compile(rb"\{\s*[\"}]|\[\s*[\[{\"\d\]-]")
REMEDY = "save the table as CSV or Parquet"


def content(path):
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
        raise ValueError(f"{path}: no such file.") from None
    except OSError as error:
        raise ValueError(f"{path}: the file cannot be read ({error.strerror}).") from error
    return _bounded("standard input" if str(path) == "-" else path, data)


def _read_parts(file):
    """Return the bytes of a file, stopping just above the limit; the buffer grows with the file."""
    content = io.BytesIO()
    while content.tell() <= LARGEST_FILE and (part := file.read(_PART)):
        content.write(part)
    return content.getvalue()


def _bounded(where, data):
    if len(data) > LARGEST_FILE:
        raise too_large(where)
    if not data.strip():
        raise ValueError(f"{where}: expected a header line and rows, got an empty file.")
    return data


def is_too_large(size):
    """Return whether a table has more bytes than the limit."""
    return size > LARGEST_FILE


def too_large(where):
    return TooLarge(f"{where}: expected at most {LARGEST_FILE >> 30} GiB of data; draw some of its rows at random.")


class TooLarge(ValueError):
    """A file whose content exceeds the limit."""


def require_lines(where, data):
    """Raise a ValueError if a line is too long for a table."""
    start = 0
    while len(data) - start > LONGEST_LINE:
        end = max(data.rfind(sign, start, start + LONGEST_LINE + 1) for sign in (b"\n", b"\r"))
        if end < 0:
            raise ValueError(f"{where}: expected a table, got a line of more than {LONGEST_LINE >> 20} MiB; {REMEDY}.")
        start = end + 1


def unpacked(where, data):
    """Return the decompressed bytes of a file; the content determines the compression."""
    packing = next((name for magic, name in _PACKED.items() if data.startswith(magic)), None)
    if packing is None:
        return data
    unpackers = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "zstd": _open_zstd, "zip": _open_zip}
    try:
        with unpackers[packing](io.BytesIO(data)) as file:  # counted first, so that a rejected file takes no memory
            size = 0
            while size <= LARGEST_FILE and (part := file.read(_PART)):
                size += len(part)
        if size > LARGEST_FILE:
            raise too_large(where)
        with unpackers[packing](io.BytesIO(data)) as file:
            unpacked = file.read(size)
    except (OSError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise ValueError(f"{where}: the {packing} file is damaged or encrypted ({error}).") from error
    except _NoTable as error:
        raise ValueError(f"{where}: expected a table, got {error}") from error
    return _bounded(where, unpacked)


class _NoTable(Exception):
    """The file is not a table; the message says what it is."""


def _open_zstd(file):
    import pyarrow

    return pyarrow.CompressedInputStream(file, "zstd")


def _open_zip(file):
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if "[Content_Types].xml" in names or "content.xml" in names:
        raise _NoTable(f"a workbook or document; {REMEDY}.")
    if len(names) != 1 or names[0].endswith(".npy"):
        raise _NoTable(f"a zip archive of {len(names)} files ({listed(names)}); unpack it and name one file.")
    return archive.open(names[0])


def _markup(start, end):
    """Return the language of a document, whose first element or bracket is closed at its end; None of a table."""
    element = _ELEMENT.match(start)
    if _DOCUMENT.match(start) or (element and end.lower().endswith(b"</%s>" % element[1].lower())):
        return "HTML or XML"
    return "JSON" if _JSON.match(start) and end.endswith((b"]", b"}")) else None


def as_utf8(where, data, encoding=None):
    """Convert a text file to UTF-8, with a note if it was not; raise an error if it is not text.

    Parameters
    ----------
    where : str
    data : bytes
    encoding : str or None
        Encoding given by the user; None recognises UTF-8 and UTF-16, and reads other files as Windows-1252.
    """
    if encoding is not None:
        try:
            return data.decode(encoding).removeprefix("\ufeff").encode(), []
        except LookupError:
            raise ParameterError(
                "encoding", f"expected an encoding that Python knows, such as cp1251 or big5, got {encoding!r}."
            ) from None
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{where}: the file is not {encoding} (byte {error.start}: {error.reason}); try another --encoding."
            ) from error
    start = data[:1000].lstrip()
    for magic, name in _FORMATS.items():
        if start.startswith(magic):
            raise ValueError(f"{where}: expected a table, got {name}; {REMEDY}.")
    name = _markup(start, data[-1000:].rstrip())
    if name:
        raise ValueError(f"{where}: expected a table, got {name}; {REMEDY}.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = {"utf-16": "UTF-16"}
    elif b"\x00" in data:
        encodings = {}
    else:
        encodings = {"utf-8-sig": "", "cp1252": "Windows-1252 (Western European)"}
    for encoding, name in encodings.items():
        with suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            text_note = (
                f"The file is not UTF-8; it is read as {name}. For others, use --encoding NAME, such as cp1251 or big5."
            )
            note = Note("encoding", text_note)
            return text.encode(), [note] if name else []
    if data[257:262] == b"ustar":
        raise ValueError(f"{where}: expected a table, got a tar archive; unpack it and name one file.")
    raise ValueError(f"{where}: expected a table, got binary data; {REMEDY}.")
