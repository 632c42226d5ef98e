"""A sample of the rows of a table: those whose numbers have the least hashes.

A hash takes no account of the order of the rows, so a sorted table does no harm, and the same table has the same sample
on every machine. A smaller sample is part of a larger one, and the rows beyond a sample are a sample of the others.
"""

from typing import NamedTuple, Self

import numpy as np

from sklearn_ltdl._hashes import hashes_of

_BLOCK = 1 << 16  # rows that are hashed at a time


def hashes(start, stop):
    """Return the hashes of row numbers: outputs of splitmix64 (Steele, Lea and Flood 2014), of which no two are equal.

    Parameters
    ----------
    start, stop : int
        The first row number, and the one after the last.
    """
    return hashes_of(np.arange(start, stop, dtype=np.uint64))


class Sample(NamedTuple):
    """Which rows of a table were drawn.

    Parameters
    ----------
    rows : integer ndarray
        Numbers of the rows in the table, from 0, in increasing order.
    n_rows : int
        Number of rows of the table.
    """

    rows: np.ndarray
    n_rows: int

    @classmethod
    def draw(cls, n_rows, size) -> Self:
        """Return the sample of a table with a known number of rows; `size` may be 'all'."""
        if size == "all" or size >= n_rows:
            return cls(np.arange(n_rows), n_rows)
        drawing = Drawing(size)
        for start in range(0, n_rows, _BLOCK):
            drawing.add(range(start, min(start + _BLOCK, n_rows)))
        return drawing.done()[0]

    @property
    def is_whole(self):
        """Whether these are all rows."""
        return len(self.rows) == self.n_rows


class Drawing:
    """A sample that is drawn while a table is read, block by block; the number of rows need not be known.

    Parameters
    ----------
    size : int
        Number of rows to draw.
    """

    def __init__(self, size):
        self._size, self._n_rows = size, 0
        self._bar = np.uint64(2**64 - 1)  # rows with a larger hash cannot be in the sample
        self._rows, self._hashes, self._kept = np.empty(0, np.int64), np.empty(0, np.uint64), []

    def add(self, block):
        """Take the rows of the next block, a sequence."""
        hashed = hashes(self._n_rows, self._n_rows + len(block))
        chosen = np.flatnonzero(hashed <= self._bar)
        self._rows = np.concatenate([self._rows, self._n_rows + chosen])
        self._hashes = np.concatenate([self._hashes, hashed[chosen]])
        self._kept += [block[k] for k in chosen]
        self._n_rows += len(block)
        if len(self._kept) > 2 * self._size:
            self._prune()

    def _prune(self):
        if len(self._kept) > self._size:
            self._bar = np.partition(self._hashes, self._size - 1)[self._size - 1]
            few = np.flatnonzero(self._hashes <= self._bar)
            self._rows, self._hashes = self._rows[few], self._hashes[few]
            self._kept = [self._kept[k] for k in few]

    @property
    def kept(self):
        """The rows that may be in the sample, so far."""
        return self._kept

    def done(self):
        """Return the Sample, and its rows as a list."""
        self._prune()
        return Sample(self._rows, self._n_rows), self._kept
