"""Rows that are read block by block, as networks train on them: in rounds of rows drawn from a window in memory.

A first pass tells the units of the target, and keeps a sample of the rows: from it come the penalty, the step and the
validation set, so that files sorted by the target do no harm. Each later pass reads the blocks in another order, in
which every stretch has mean targets as the whole table has. A window holds the rows of many blocks, and the rows of a
round are drawn from it. A table that fits in the window is read once. Identical rows are not merged.
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
GOLDEN = (5**0.5 - 1) / 2


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
        order = np.argsort(self.drawn.hashes(self.kept), kind="stable")
        last = int(self.drawn.hashes(self.kept[order[size - 1]]))
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
        window = np.empty((max(size, min(self.n, WINDOW_NUMBERS // width)), width), dtype)
        filled, is_whole = 0, len(window) == self.n
        while True:
            for part in self._parts(start, rng):
                while len(part):
                    taken = min(len(part), len(window) - filled)
                    window[filled : filled + taken] = part[:taken]
                    part, filled = part[taken:], filled + taken
                    while filled == len(window):  # for ever, if these are all rows
                        order = rng.permutation(filled)
                        for k in range(filled // size):
                            rows = window[order[k * size : (k + 1) * size]]
                            yield Data(rows[:, :p], rows[:, p : p + K], rows[:, p + K : -1], rows[:, -1] / size)
                        if not is_whole:
                            rest = order[filled // size * size :]
                            window[: len(rest)], filled = window[rest], len(rest)

    def _parts(self, start, rng):
        """Yield the rows of each block in one pass: columns of phi, targets, offsets and the weight."""
        for block in blocks_of(self._in_order(rng), self.rows.columns, self.rows.maps, numeric=True):
            numbers = np.uint64(block.first) + np.arange(block.n_rows, dtype=np.uint64)
            trains = weights_of(block) > 0
            if self.validating is not None:
                trains &= self.drawn.hashes(numbers) > np.uint64(self.validating)
            X, Y, weight = self.table_of(block if trains.all() else block.take(np.flatnonzero(trains)))
            phi = feature_map(X)
            yield np.hstack([phi, Y, start.offset(phi), weight[:, None]])

    def _in_order(self, rng):
        """Return the handles in the order of a Kronecker sequence: every stretch of it has means all over the range."""
        places = (rng.random() + GOLDEN * np.arange(len(self.handles))) % 1.0
        return [self.handles[rank] for rank in np.argsort(np.argsort(places))]
