"""Read the bytes of a table's file: unpack, limit and convert them to UTF-8, or say what the file is instead."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import sys
import tempfile
import zipfile
import zlib
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl.tables._notes import Note, listed

LARGEST_FILE = 1 << 30  # bytes, unpacked
LONGEST_LINE = 1 << 24  # bytes
PART = 1 << 20  # bytes that are read and unpacked at a time
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
FEWER_ROWS = "draw some of its rows at random (--sample N)"


def content(path):
    """Return the bytes of a file."""
    with _file(path) as file:
        return _bounded("standard input" if str(path) == "-" else path, _read_parts(file))


@contextmanager
def _file(path):
    """Yield an open file, or the standard input."""
    try:
        if str(path) == "-":
            yield sys.stdin.buffer
        elif Path(path).is_dir():
            raise ValueError(f"{path}: expected a CSV, TSV or Parquet file, got a folder.")
        else:
            with Path(path).open("rb") as file:
                yield file
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file.") from None
    except OSError as error:
        raise ValueError(f"{path}: the file cannot be read ({error.strerror or error}).") from error


@contextmanager
def opened(where, path):
    """Yield the file of a table, unpacked, to be read in parts; what cannot be read twice is copied to the disk."""
    with _file(path) as source, nullcontext(source) if source.seekable() else on_disk(parts(source)) as file:
        packing = _packing(file.read(max(map(len, _PACKED))))
        file.seek(0)
        if packing is None:
            yield file
        else:
            with _damage(where, packing), _UNPACKERS[packing](file) as unpacked:
                yield unpacked


def parts(file):
    """Return an iterator over the bytes of a stream."""
    return iter(lambda: file.read(PART), b"")


@contextmanager
def on_disk(parts):
    """Yield a copy of a stream in a temporary file, which can be read from anywhere."""
    with ExitStack() as stack:
        with _space():
            copy = stack.enter_context(tempfile.TemporaryFile())
        for part in parts:
            with _space():
                copy.write(part)
        with _space():
            copy.seek(0)  # writes what is left
        yield copy


@contextmanager
def _space():
    """Raise an error of the disk for temporary files in one sentence."""
    try:
        yield
    except OSError as error:
        folder = tempfile.tempdir or "the folder for temporary files"
        raise ValueError(
            f"{folder}: the table cannot be copied there to be unpacked ({error.strerror or error}); make room, or set "
            "TMPDIR to a folder with more."
        ) from error


def _read_parts(file):
    """Return the bytes of a file, stopping just above the limit; the buffer grows with the file."""
    content = io.BytesIO()
    while content.tell() <= LARGEST_FILE and (part := file.read(PART)):
        content.write(part)
    return content.getvalue()


def first_bytes(where, file, size):
    """Return the first bytes of a stream; fewer than `size` are all."""
    found = io.BytesIO()
    while found.tell() < size and (part := file.read(min(PART, size - found.tell()))):
        found.write(part)
    return _filled(where, found.getvalue())


def is_on_disk(file):
    """Return whether a file can be read from anywhere, at no cost."""
    return isinstance(getattr(file, "raw", None), io.FileIO)


def _bounded(where, data):
    if len(data) > LARGEST_FILE:
        raise too_large(where)
    return _filled(where, data)


def _filled(where, data):
    if not data.strip():
        raise ValueError(f"{where}: expected a header line and rows, got an empty file.")
    return data


def largest(sample):
    """Return the bytes up to which a table is read; with a sample, or all rows by the user's word, what the memory has.

    A comparison takes a few copies of a table in memory.
    """
    return LARGEST_FILE if sample is None else max(LARGEST_FILE, memory() // 4)


def memory():
    """Return the bytes of memory that are available, as far as the system says so; else 0."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        found.append(1024 * int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]))
    with suppress(OSError, ValueError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    with suppress(ImportError, AttributeError):  # Windows has no such limits
        import resource

        limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
        found += [limit for limit in limits if limit != resource.RLIM_INFINITY]
    return min(found, default=0)


def too_large(where, limit=None):
    most = (LARGEST_FILE if limit is None else limit) / (1 << 30)
    return TooLarge(f"{where}: expected at most {most:.3g} GiB of data", FEWER_ROWS)


class TooLarge(ValueError):
    """A table that is too large to be read.

    Attributes
    ----------
    reason : str
        What is too large; the message is this, and what to try.
    """

    def __init__(self, reason, remedy):
        super().__init__(f"{reason}; {remedy}.")
        self.reason = reason


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
    packing = _packing(data)
    if packing is None:
        return data
    with _damage(where, packing):
        with _UNPACKERS[packing](io.BytesIO(data)) as file:  # counted first, so that a rejected file takes no memory
            size = 0
            while size <= LARGEST_FILE and (part := file.read(PART)):
                size += len(part)
        if size > LARGEST_FILE:
            raise too_large(where)
        with _UNPACKERS[packing](io.BytesIO(data)) as file:
            unpacked = file.read(size)
    return _bounded(where, unpacked)


def _packing(data):
    """Return the name of a compression, or None."""
    return next((name for magic, name in _PACKED.items() if data.startswith(magic)), None)


@contextmanager
def _damage(where, packing):
    """Raise what unpacking raises as a ValueError in one sentence."""
    try:
        yield
    except (OSError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        if getattr(error, "errno", None) is not None:  # of the disk, not of what was read from it
            raise
        raise ValueError(f"{where}: the {packing} file is damaged or encrypted ({error}).") from error
    except _NoTable as error:
        raise ValueError(f"{where}: expected a table, got {error}") from error


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


_UNPACKERS = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "zstd": _open_zstd, "zip": _open_zip}


def read_as(name):
    """Return a note on the encoding of a file."""
    return Note(
        "encoding",
        f"The file is not UTF-8; it is read as {name}. For others, use --encoding NAME, such as cp1251 or big5.",
    )


def not_encoded(where, encoding, place, reason):
    """Return the error on a byte that an encoding does not have."""
    return ValueError(f"{where}: the file is not {encoding} (byte {place}: {reason}); try another --encoding.")


def decoder_of(encoding):
    """Return an incremental decoder of an encoding that the user names."""
    try:
        return codecs.getincrementaldecoder(encoding)()
    except LookupError:
        raise _unknown(encoding) from None


def _unknown(encoding):
    return ParameterError(
        "encoding", f"expected an encoding that Python knows, such as cp1251 or big5, got {encoding!r}."
    )


def bytes_of_utf16(data):
    """Return the encoding of UTF-16 without a mark, whose letters have a zero byte each; None of other files."""
    first, second = data[:1000:2], data[1:1000:2]
    for zeros, other, name in ((second, first, "utf-16-le"), (first, second, "utf-16-be")):
        if zeros.count(0) > 0.8 * len(zeros) and not other.count(0):
            return name
    return None


def _markup(start, end):
    """Return the language of a document, whose first element or bracket is closed at its end; None of a table."""
    element = _ELEMENT.match(start)
    if _DOCUMENT.match(start) or (element and end.lower().endswith(b"</%s>" % element[1].lower())):
        return "HTML or XML"
    if re.match(rb"(?i)(?:\s*%.*\n)*\s*@relation\s", start):
        return "ARFF"
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
            raise _unknown(encoding) from None
        except UnicodeDecodeError as error:
            raise not_encoded(where, encoding, error.start, error.reason) from error
    start = data[:1000].lstrip()
    for magic, name in _FORMATS.items():
        if start.startswith(magic):
            raise ValueError(f"{where}: expected a table, got {name}; {REMEDY}.")
    name = _markup(start, data[-1000:].rstrip())
    if name:
        raise ValueError(f"{where}: expected a table, got {name}; {REMEDY}.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = {"utf-16": "UTF-16"}
    elif (order := bytes_of_utf16(data)) is not None:
        encodings = {order: "UTF-16"}
    elif b"\x00" in data:
        encodings = {}
    else:
        encodings = {"utf-8-sig": "", "cp1252": "Windows-1252 (Western European)"}
    for encoding, name in encodings.items():
        with suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            return text.encode(), [read_as(name)] if name else []
    if data[257:262] == b"ustar":
        raise ValueError(f"{where}: expected a table, got a tar archive; unpack it and name one file.")
    raise ValueError(f"{where}: expected a table, got binary data; {REMEDY}.")
