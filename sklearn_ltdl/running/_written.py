"""Files written at once or not at all, under a name that nobody can guess; it knows nothing of what is written."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def write_whole(path, content):
    """Write a file at once or not at all.

    If `path` is a link, the file it points to is written and the link stays. A file that exists keeps its mode and, as
    far as the system allows, its owner and group. A new file gets the mode that the umask allows. A device or a pipe is
    written to directly.

    Parameters
    ----------
    path : str or path-like
    content : str or bytes
        Text is written in UTF-8.

    Raises
    ------
    OSError
        That names the file, the reason and what to do. The old file is as it was.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        old = _status(path)
        if old is None or stat.S_ISREG(old.st_mode):
            _replace(Path(os.path.realpath(path)), data, old)
        else:
            with open(path, "wb") as file:
                file.write(data)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(where, error, kept="If there was a file, it is as before."):
    """Return an OSError of the same type that names the file, the reason, what is kept and what to do."""
    remedy = "name a file in a folder that exists and can be written to"
    if error.errno in _FULL:
        remedy = "free some space and run it again, or name a file on another disk"
    return type(error)(f"{where}: cannot be written ({error.strerror or error}). {kept} To go on, {remedy}.")


def require_writable(path):
    """Raise an OSError if `write_whole` could not write a file, without touching it."""
    old = _status(path)
    if old is None or stat.S_ISREG(old.st_mode):
        with TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
            pass


def _status(path):
    """Return the status of the file behind all links, None if there is none."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _replace(path, data, old):
    """Write a file beside another and give it the name of the other."""
    part = path.with_name(f".{token_hex(8)}.part")  # of its own length, for the name may have the longest allowed
    descriptor = os.open(part, _NEW, 0o666 if old is None else 0o600)
    try:
        with open(descriptor, "wb") as file:
            if old is not None:
                _liken(descriptor, old)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    _sync_folder(path.parent)


def _liken(descriptor, old):
    """Give a file the mode of another and, as far as the system allows, its owner and group.

    Where the group cannot be kept, the new group may do no more than everybody may.
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
    """Keep the new name through a loss of power, where folders can be synchronised."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
