"""Sums over blocks are added in one order, whatever the partition into leaves computes them."""

import numpy as np
import pytest

from sklearn_ltdl.rows import _gather
from sklearn_ltdl.rows._gather import Slices, Tree, added, gather


class Term:
    """A term that remembers how it was added."""

    def __init__(self, text):
        self.text = text

    def __iadd__(self, other):
        return Term(f"({self.text}{other.text})")

    __add__ = __iadd__


def by_levels(terms):
    """Return the sum in which neighbours are added, level by level, as a cluster does."""
    while len(terms) > 1:
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [added(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return terms[0] if terms else None


@pytest.mark.parametrize("n", range(1, 18))
def test_the_counter_adds_as_the_tree_of_neighbours(n):
    counter = Tree.of([(Term(str(i)),) for i in range(n)])[0].text
    assert counter == by_levels([(Term(str(i)),) for i in range(n)])[0].text


def test_few_partial_sums_are_kept():
    tree = Tree()
    for n in range(1, 200):
        tree.add((np.ones(2),))
        assert len(tree.partial) == n.bit_count()
    np.testing.assert_array_equal(tree.sum()[0], [199, 199])


def test_sums_are_those_of_all_rows(rng, monkeypatch):
    monkeypatch.setattr(_gather, "LEAF_ROWS", 100)
    X = rng.standard_normal((1000, 3))
    slices = [slice(i, min(i + 37, 1000)) for i in range(0, 1000, 37)]
    rows = Slices(slices, lambda part: X[part])
    assert len(list(rows._leaves())) == 10  # nine of three blocks, which have 111 rows, and one of the last
    total, n = gather(lambda block, power: ((block**power).sum(axis=0), len(block)), rows, 2)
    np.testing.assert_allclose(total, (X**2).sum(axis=0), rtol=1e-12)
    assert n == 1000
    assert gather(lambda block, _: (1,), Slices([], None)) is None
