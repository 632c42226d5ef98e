"""Atomic writes of files, through a temporary name that nobody can guess; the content does not matter here."""

import errno
import os
import stat
from contextlib import suppress
from itertools import chain
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def write_whole(path, content):
    """Write a file completely or not at all.

    If `path` is a link, its target is written and the link stays. An existing file keeps its mode and, as far as the
    system allows, its owner and group. A new file gets the mode that the umask allows. A device or a pipe is written
    directly.

    Parameters
    ----------
    path : str or path-like
    content : str, bytes or callable
        Text is written in UTF-8. A callable is given the file, open for bytes, and writes it part by part.

    Raises
    ------
    OSError
        It names the file, the reason and what to do. An old file is unchanged.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content

    def write(file):
        if callable(data):
            data(file)
        else:
            file.write(data)

    try:
        old = _status(path)
        if old is None or stat.S_ISREG(old.st_mode):
            _replace(Path(os.path.realpath(path)), write, old)
        else:
            with open(path, "wb") as file:
                write(file)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(where, error, kept="An existing file is unchanged."):
    """Return an OSError of the same type that names the file, the reason, what is kept and what to do."""
    remedy = "name a file in a folder that exists and can be written to"
    if error.errno in _FULL:
        remedy = "free some space and run the command again, or name a file on another disk"
    return type(error)(f"{where}: cannot be written ({error.strerror or error}). {kept} To continue, {remedy}.")


def require_writable(path):
    """Raise an OSError if `write_whole` could not write a file; the file is not touched."""
    old = _status(path)
    if old is None or stat.S_ISREG(old.st_mode):
        with TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
            pass


def _status(path):
    """Return the status of the file behind all links, or None if there is no file."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _replace(path, write, old):
    """Write a file next to another file, and give it the name of that file."""
    part = path.with_name(f".{token_hex(8)}.part")  # a short name, because the other may have the largest length
    descriptor = os.open(part, _NEW, 0o666 if old is None else 0o600)
    try:
        with open(descriptor, "wb") as file:
            if old is not None:
                _liken(descriptor, old)
            write(file)
            file.flush()
            os.fsync(descriptor)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    _sync_folder(path.parent)


def _liken(descriptor, old):
    """Give a file the mode of another file and, as far as the system allows, its owner and group.

    If the group cannot be kept, the new group gets only the permissions of all users.
    """
    if not hasattr(os, "fchmod"):
        return
    mode = stat.S_IMODE(old.st_mode) & 0o777
    for owner in (old.st_uid, -1):
        with suppress(OSError):
            os.fchown(descriptor, owner, old.st_gid)
            break
    else:
        mode &= ~0o070 | (mode & 0o007) << 3
    os.fchmod(descriptor, mode)


def _sync_folder(folder):
    """Make the new name survive a loss of power, if folders can be synchronised."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_parts(parts, as_parquet, file):
    """Write frames, one after the other, into a file as one CSV or Parquet table."""
    first = next(parts)
    if not as_parquet:
        for k, part in enumerate(chain([first], parts)):
            file.write(part.to_csv(index=False, header=k == 0).encode("utf-8", "backslashreplace"))
        return
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    table = pyarrow.Table.from_pandas(first, preserve_index=False)
    with ParquetWriter(file, table.schema, version="2.6") as writer:
        for part in chain([first], parts):
            writer.write_table(pyarrow.Table.from_pandas(part, table.schema, preserve_index=False))
