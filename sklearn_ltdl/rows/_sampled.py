"""Rows drawn at random in one pass: those of the least hashes of their numbers, whatever their order and partition."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sklearn_ltdl._hashes import hashes_of, splitmix64
from sklearn_ltdl.rows._blocks import Block


class Drawn(NamedTuple):
    """How many rows are drawn, by which hash, and the largest hash that can be among them."""

    n: int
    key: int
    limit: int

    @classmethod
    def of(cls, n, seed, n_rows):
        """Return the draw of n of `n_rows` rows, which may be None; that of the seed 0 is `tables` draw of files."""
        first, key = splitmix64(np.array([0, seed], np.uint64)).tolist()
        return cls(n, first ^ key, limit_of(n, n_rows))

    def hashes(self, numbers):
        """Return the hashes of row numbers."""
        return hashes_of(numbers, self.key)


def limit_of(n, n_rows):
    """Return a hash below which n of some rows are, but for a chance of less than 1e-15."""
    if not n_rows or n + 8 * n**0.5 + 40 >= n_rows:
        return 2**64 - 1
    return int((n + 8 * n**0.5 + 40) / n_rows * 2**64)


def draw(block: Block, state: Drawn):
    """Return the rows of a block that may be drawn; a statistic of `gather`."""
    numbers = np.uint64(block.first) + np.arange(block.n_rows, dtype=np.uint64)
    taken = np.flatnonzero(state.hashes(numbers) <= np.uint64(state.limit))
    if block.weight is not None:
        taken = taken[block.weight[taken] > 0]
    return (Part(state, numbers[taken], [block.take(taken)]).least(),)


@dataclass
class Part:
    """Rows of some blocks, and their numbers."""

    draw: Drawn
    numbers: np.ndarray
    blocks: list

    def __iadd__(self, other):
        return self + other

    def __add__(self, other):
        numbers = np.concatenate([self.numbers, other.numbers])
        return Part(self.draw, numbers, [*self.blocks, *other.blocks]).least(spare=self.draw.n)

    def least(self, spare=0):
        """Return the rows that may still be among the n of least hashes, if there are more than n and some to spare."""
        n = self.draw.n
        if len(self.numbers) <= n + spare:
            return self
        hashes = self.draw.hashes(self.numbers)
        kept = np.sort(np.argpartition(hashes, n - 1)[:n])
        return Part(self.draw, self.numbers[kept], [Block.joined(self.blocks).take(kept)])

    def block(self):
        """Return the rows that are drawn, in their order."""
        least = self.least()
        block = Block.joined(least.blocks).take(np.argsort(least.numbers, kind="stable"))
        return block if not hasattr(block.X, "iloc") else replace(block, X=block.X.reset_index(drop=True))


def draw_groups(block: Block, state: Drawn):
    """Return the rows of a block whose groups may be drawn; a statistic of `gather`."""
    import pandas as pd

    numbers = pd.util.hash_array(np.asarray(block.groups), categorize=False)
    taken = np.arange(block.n_rows) if block.weight is None else np.flatnonzero(block.weight > 0)
    return (GroupPart(state, numbers[taken], [block.take(taken)]).least(),)


@dataclass
class GroupPart(Part):
    """Rows of whole groups, those of the least hashes that have at most n rows together, by the numbers of the groups.

    Parameters
    ----------
    bar : int
        Groups of a larger hash have lost rows.
    """

    bar: int = 2**64 - 1

    def __add__(self, other):
        numbers = np.concatenate([self.numbers, other.numbers])
        return GroupPart(self.draw, numbers, [*self.blocks, *other.blocks], min(self.bar, other.bar)).least()

    def least(self, spare=0):
        """Return the groups that may still be among those that are drawn."""
        hashes = self.draw.hashes(self.numbers)
        found, sizes = np.unique(hashes, return_counts=True)
        beyond = np.flatnonzero(np.cumsum(sizes) > self.draw.n)
        bar = min(self.bar, int(found[beyond[0]]) - 1) if len(beyond) else self.bar
        kept = np.flatnonzero(hashes <= np.uint64(bar))
        if len(kept) == len(hashes):
            return replace(self, bar=bar)
        return GroupPart(self.draw, self.numbers[kept], [Block.joined(self.blocks).take(kept)], bar)
