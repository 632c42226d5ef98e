"""Rows that are read block by block, as networks train on them: in rounds of rows drawn from a window in memory.

A first pass tells the units of the target, and keeps a sample of the rows: from it come the penalty, the step and the
validation set, so that files sorted by the target do no harm. In later passes, a window holds the rows of many blocks
at a time, and the rows of a round are drawn from it. Blocks are dealt to windows by their mean target, so that each has
blocks of all kinds. A table that fits in one window is read once. Identical rows are not merged.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from sklearn_ltdl._targets import weights_of_classes
from sklearn_ltdl.networks._model import Data, feature_map
from sklearn_ltdl.rows._blocks import Block, blocks_of
from sklearn_ltdl.rows._looks import Counts, LabelTarget, NumberTarget, look_at_labels, look_at_numbers, weights_of
from sklearn_ltdl.rows._rows import Rows, look_for
from sklearn_ltdl.rows._sampled import Drawn

WINDOW_NUMBERS = 2**25  # of the rows of a window: 128 MiB in single precision
ROUND_ROWS = 2**18  # of a round, at most
KEPT_ROWS = 2**15  # of the first pass, at most half of them to validate
KEPT_NUMBERS = 2**23  # of wide rows, of which fewer are kept
FEWEST_KEPT = 2**12


class Places(dict):
    """What is known of the target of each block, by the number of the first row of its row group or partition."""

    def __add__(self, other):
        both = Places(self)
        for place, found in other.items():
            both[place] = both[place] + found if place in both else found
        return both

    __iadd__ = __add__


def look_at_places(look_at, block, state: Drawn):
    """Return what `look_at_numbers` or `look_at_labels` do, the target also by its place; a statistic of `gather`."""
    counts, found, part = look_at(block, state)
    return counts, found, Places({block.first - block.start: found}), part


class Looked(NamedTuple):
    """What the first pass has told.

    Parameters
    ----------
    counts : Counts
    found : Moments or Classes
    places : Places
    drawn : Drawn
    numbers : ndarray of shape (n_kept,)
        Numbers of the rows that are kept.
    kept : Block
    """

    counts: Counts
    found: object
    places: Places
    drawn: Drawn
    numbers: np.ndarray
    kept: Block

    @classmethod
    def at_numbers(cls, rows, n_features, seed):
        """Look at rows with numbers as targets."""
        return cls._at(rows, look_at_numbers, n_features, seed)

    @classmethod
    def at_labels(cls, rows, n_features, seed):
        """Look at rows with labels as targets."""
        return cls._at(rows, look_at_labels, n_features, seed)

    @classmethod
    def _at(cls, rows, look_at, n_features, seed):
        n = min(KEPT_ROWS, max(FEWEST_KEPT, KEPT_NUMBERS // n_features))
        *told, part = look_for(rows, partial(look_at_places, look_at), n, seed)
        return cls(*told, part.draw, np.sort(part.least().numbers), part.block())


@dataclass(frozen=True, eq=False)
class Stream:
    """The rows to train on, pass by pass.

    Parameters
    ----------
    rows : Rows
    handles : list
        The numbered handles of the blocks, by their mean target.
    target : NumberTarget or LabelTarget
    factors : ndarray of shape (n_classes,) or None
        Factors of the weights by class.
    unit : float
        Mean weight.
    n : int
        Number of rows to train on.
    drawn : Drawn
        The hash of the rows' numbers.
    kept : ndarray of shape (n_kept,)
        Numbers of the rows of the sample.
    validating : int
        The largest hash of a row of the validation set; None without one.
    """

    rows: Rows
    handles: list
    target: NumberTarget | LabelTarget
    factors: np.ndarray | None
    unit: float
    n: int
    drawn: Drawn
    kept: np.ndarray
    validating: int | None = None

    @classmethod
    def of_numbers(cls, rows, looked, target):
        """Return the stream of rows with numbers as targets."""
        means = {place: float(target.units.apply(found.mean)[0]) for place, found in looked.places.items()}
        return cls._of(rows, looked, means, target, None, looked.counts.weight)

    @classmethod
    def of_labels(cls, rows, looked, target, class_weight):
        """Return the stream of rows with labels as targets."""
        classes, factors, total = target.classes, None, looked.counts.weight
        totals = np.array([looked.found.get(label, 0.0) for label in classes.tolist()])
        if class_weight is not None:
            weighted = weights_of_classes(class_weight, classes, np.arange(len(classes)), totals)
            factors, total = np.divide(weighted, totals, out=np.ones_like(totals), where=totals > 0), weighted.sum()
        code = dict(zip(classes.tolist(), range(len(classes))))
        means = {
            place: sum(code[label] * weight for label, weight in found.items()) / max(sum(found.values()), 1e-300)
            for place, found in looked.places.items()
        }
        return cls._of(rows, looked, means, target, factors, total)

    @classmethod
    def _of(cls, rows, looked, means, target, factors, total):
        read = [(handle, first) for handle, first in rows._numbered() if first in means]
        handles = sorted(read, key=lambda numbered: means[numbered[1]])
        n = looked.counts.n
        return cls(rows, handles, target, factors, float(total / n), n, looked.drawn, looked.numbers)

    def table_of(self, block):
        """Return features, targets, and weights of mean 1 of a block."""
        weight = weights_of(block) / self.unit
        if self.factors is not None:
            weight *= self.factors[self.target.codes(block)]
        return block.X, self.target.of(block), weight

    def split(self, data, fraction):
        """Return the validation set and the rest of the kept rows, and the stream without the validation set."""
        size = min(max(1, int(fraction * self.n)), len(self.kept) // 2)
        hashed = self.drawn.hashes(self.kept)
        order = np.argsort(hashed, kind="stable")
        last = int(hashed[order[size - 1]])
        return (
            data.part(order[:size]),
            data.part(np.sort(order[size:])),
            replace(self, n=self.n - size, validating=last),
        )

    @property
    def rounds_in_pass(self):
        """Return the number of rounds in a pass."""
        return -(-self.n // ROUND_ROWS)

    def rounds(self, start, rng, dtype):
        """Yield the rows of each round as Data, whose weights sum to about 1, for ever."""
        p, K = start.weights[0].shape[2], start.network.split(start.weights)[1].shape[2]
        size, width = self.n // self.rounds_in_pass, p + 2 * K + 1
        n_rows = max(2 * size, min(self.n, WINDOW_NUMBERS // width))
        window, is_whole = Window(np.empty((n_rows, width), dtype), size, rng), n_rows >= self.n
        for rows in self._of_all(window, start) if is_whole else self._of_windows(window, start):
            yield Data(rows[:, :p], rows[:, p : p + K], rows[:, p + K : -1], rows[:, -1] / size)

    def _of_all(self, window, start):
        """Yield rows of a window that holds all of them."""
        for part in self._parts(self.handles, start):
            window.filled_by(part)
        while True:
            yield from window.drawn(is_kept=True)

    def _of_windows(self, window, start):
        """Yield rows of one window after the other, of which each has blocks of mean targets all over the range."""
        n_windows = -(-self.n // (len(window.rows) - window.size))
        while True:
            dealt = [[] for _ in range(n_windows)]
            for i in range(0, len(self.handles), n_windows):  # of neighbours, each window gets one
                for k, handle in zip(window.rng.permutation(n_windows), self.handles[i : i + n_windows]):
                    dealt[k].append(handle)
            for handles in dealt:
                for part in self._parts(handles, start):
                    while len(part):
                        part = window.filled_by(part)
                        if window.is_full:
                            yield from window.drawn()
                yield from window.drawn()

    def _parts(self, handles, start):
        """Yield the rows of each block: columns of phi, targets, offsets and the weight."""
        for block in blocks_of(handles, self.rows.columns, self.rows.maps, numeric=True):
            numbers = np.uint64(block.first) + np.arange(block.n_rows, dtype=np.uint64)
            trains = weights_of(block) > 0
            if self.validating is not None:
                trains &= self.drawn.hashes(numbers) > np.uint64(self.validating)
            X, Y, weight = self.table_of(block if trains.all() else block.take(np.flatnonzero(trains)))
            phi = feature_map(X)
            yield np.hstack([phi, Y, start.offset(phi), weight[:, None]])


@dataclass
class Window:
    """Rows in memory, from which those of a round are drawn without replacement.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, width)
        The memory.
    size : int
        Number of rows of a round.
    rng : Generator
    n_filled : int, default=0
    """

    rows: np.ndarray
    size: int
    rng: np.random.Generator
    n_filled: int = 0

    @property
    def is_full(self):
        """Return whether no more rows fit."""
        return self.n_filled == len(self.rows)

    def filled_by(self, part):
        """Take the first of some rows, and return those that do not fit."""
        n = min(len(part), len(self.rows) - self.n_filled)
        self.rows[self.n_filled : self.n_filled + n] = part[:n]
        self.n_filled += n
        return part[n:]

    def drawn(self, is_kept=False):
        """Yield the rows of rounds until too few are left, which stay in the window; all stay if they are kept."""
        order = self.rng.permutation(self.n_filled)
        while len(order) >= self.size:
            some, order = np.split(order, [self.size])
            yield self.rows[some]
        if not is_kept:
            self.rows[: len(order)], self.n_filled = self.rows[order], len(order)
