"""Objects that all jobs share: a file that is written once, and that worker processes map into their memory."""

import shutil
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import joblib
from joblib.externals.loky.backend import resource_tracker


class SharedFile:
    """Objects in a file of a temporary folder that only this user can read.

    `remove` removes the folder. If this process is killed first, loky's resource tracker does, a process that outlives
    it.

    Parameters
    ----------
    objects : tuple
        Workers do not copy the arrays in it, nor those in its DataFrames: all processes share their pages.
    """

    def __init__(self, objects):
        self._folder = mkdtemp(prefix="sklearn_ltdl-")
        resource_tracker.register(self._folder, "folder")
        self.path = str(Path(self._folder, "shared"))
        try:
            joblib.dump(objects, self.path)
        except BaseException:
            self.remove()
            raise

    def remove(self):
        """Remove the file and its folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if not Path(self._folder).exists():  # on Windows a file that is mapped stays, until the tracker removes it
            resource_tracker.unregister(self._folder, "folder")


@lru_cache(maxsize=1)
def _mapped(path):
    return joblib.load(path, mmap_mode="r")


def call(path, function, arguments):
    """Call a function with the objects of a file as its first arguments, in a worker."""
    return function(*_mapped(path), *arguments)
