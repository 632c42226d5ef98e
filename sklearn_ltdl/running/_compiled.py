"""Where worker processes keep networks that JAX compiled, so that other workers and later runs need not compile them.

Whoever can write a file of this cache can run code in the processes that load it. It is used only if no other user can.
"""

import hashlib
import os
import platform
import stat
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

VARIABLE = "SKLEARN_LTDL_CACHE"  # of the environment: the folder of the cache; empty for none
MOST_BYTES = 2**28  # of which the oldest are removed


def cache_settings(n_cores):
    """Return environment variables that make JAX use the cache in a process, or none if no folder is safe to use.

    Parameters
    ----------
    n_cores : int
        That the process may use: compiled code depends on it.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or os.environ.get(VARIABLE) == "":
        return {}
    base = Path(os.path.expanduser(os.environ.get(VARIABLE) or _folder_of_user()))
    folder = base / f"jax-{_machine(n_cores)}"
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        for place in (base, folder):  # with `parents`, the mode would be that of the last one alone
            place.mkdir(mode=0o700, exist_ok=True)
        folder = folder.resolve()  # links may be changed later
        if not is_private(folder):
            return {}
        _shorten(folder.parent)
    except OSError:
        return {}
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def is_private(folder):
    """Return whether this user alone, and the administrator, can change what is in a folder, or replace the folder.

    Parameters
    ----------
    folder : Path
        Absolute and without links.
    """
    if not hasattr(os, "geteuid"):  # on Windows, the folders of a user are private
        return True
    user = os.geteuid()
    for path in (folder, *folder.parents):
        status = path.stat()
        shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if path != folder and status.st_mode & stat.S_ISVTX:  # others cannot rename what is in it
            shared = 0
        if shared or status.st_uid not in ((user,) if path == folder else (user, 0)):
            return False
    return True


def _folder_of_user():
    """Return the folder in which the programs of this user keep what can be made again."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return f"{base}/sklearn_ltdl"


def _machine(n_cores):
    """Return a hash of what compiled code depends on: a home folder may be shared by several kinds of machines."""
    known = [version("jax"), version("jaxlib"), platform.machine(), platform.processor(), n_cores]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known += sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _shorten(base):
    """Remove the oldest files of the cache while it is too large, and empty ones, whose writer was killed."""
    files = []
    for path in base.glob("jax-*/*-cache"):
        with suppress(OSError):  # another process removes it
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total > MOST_BYTES or size == 0:
            total -= size
            path.unlink(missing_ok=True)
