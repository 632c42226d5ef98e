"""Sums over blocks of rows, in one order of additions whatever computes them.

Consecutive blocks form leaves, which depend on the sizes of the blocks alone. A leaf is summed block by block. The sums
of the leaves are added by a binary tree over the numbers of the leaves, and not in the order in which they are ready. A
sum therefore has the same bits in one process, on a cluster of any size, and after a worker of the cluster was lost.
"""

from functools import reduce
from operator import iadd

LEAF_ROWS = 2**19  # of the blocks of a leaf, at least: seconds of work
UNKNOWN_ROWS = 2**16  # what a block of unknown size counts for


def gather(statistic, rows, state=None):
    """Return the sum over all blocks of ``statistic(block, state)``.

    Parameters
    ----------
    statistic : callable
        Returns a tuple of new arrays, numbers or objects with ``+=`` and ``+``. It can be pickled where `rows` are
        read on a cluster.
    rows : Slices or Rows
    state : object, default=None
        What the statistic needs to know besides: centres, coefficients. Small, as each worker of a cluster gets it.
    """
    client = rows._client()
    if client is not None:
        from sklearn_ltdl.rows._cluster import gather_on

        return gather_on(client, statistic, rows, state)
    return Tree.of(sum_of_leaf(statistic, leaf, state) for leaf in rows._leaves())


class Slices:
    """Rows in memory: each block is what a function reads for a slice of them.

    Parameters
    ----------
    slices : list of slice
        In order, without gaps.
    read : callable
        From a slice to a block.
    """

    def __init__(self, slices, read):
        self.slices, self.read = slices, read

    def _client(self):
        """Return no client: memory is that of this process."""

    def _leaves(self):
        """Yield the blocks of each leaf."""
        for part in in_leaves(self.slices, [part.stop - part.start for part in self.slices]):
            yield map(self.read, part)


def in_leaves(blocks, sizes):
    """Return lists of consecutive blocks, each as short as has `LEAF_ROWS` rows; sizes are None where unknown."""
    leaves, leaf, total = [], [], 0
    for block, size in zip(blocks, sizes):
        leaf.append(block)
        total += UNKNOWN_ROWS if size is None else size
        if total >= LEAF_ROWS:
            leaves.append(leaf)
            leaf, total = [], 0
    return [*leaves, leaf] if leaf else leaves


def sum_of_leaf(statistic, blocks, state):
    """Return the sum over the blocks of a leaf, None if there is no block."""
    total = None
    for block in blocks:
        part = statistic(block, state)
        total = part if total is None else added(total, part)
    return total


def added(left, right):
    """Return the sum of two tuples, in the memory of the first; None is a sum of no block."""
    if left is None or right is None:
        return right if left is None else left
    return tuple(map(iadd, left, right))


class Tree:
    """A sum by a binary tree over the numbers of its terms, as a binary counter: few partial sums are kept.

    The terms 0 to 6 are added as ((0 + 1) + (2 + 3)) + ((4 + 5) + 6).
    """

    def __init__(self):
        self.partial = []  # sums of 2^k terms with their k, of decreasing k

    def add(self, term):
        """Add the next term."""
        level = 0
        while self.partial and self.partial[-1][0] == level:
            term, level = added(self.partial.pop()[1], term), level + 1
        self.partial.append((level, term))

    def sum(self):
        """Return the sum of all terms."""
        return reduce(lambda right, left: added(left, right), [term for _, term in reversed(self.partial)], None)

    @classmethod
    def of(cls, terms):
        """Return the sum of some terms."""
        tree = cls()
        for term in terms:
            tree.add(term)
        return tree.sum()
