"""The data of a kernel machine, without copies: distinct rows, their weights and targets, and what leaves together."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sklearn_ltdl._targets import counted
from sklearn_ltdl.ntk._gram import between
from sklearn_ltdl.ntk._solvers import row_blocks

SAME_POINT = 1e-10  # squared distance in a precomputed kernel's space, in units of its diagonal


@dataclass(frozen=True)
class Sample:
    """The data of a machine: points, which are rows of different features, and how the rows given map to them.

    Parameters
    ----------
    points : ndarray of shape (n_points,)
        A row of each point.
    weight : ndarray of shape (n_points,)
        Of sum n_points.
    targets : ndarray of shape (n_points, n_outputs)
        Means over the rows of each point, standardised.
    rows : ndarray of shape (n_kept,)
        The rows of positive weight.
    row_weight : ndarray of shape (n_kept,)
        Of sum `counted(weight)`: how many copies each is, where the weights given are counts.
    point : ndarray of shape (n_kept,)
        The point of each of them.
    spread : ndarray of shape (n_outputs,)
        Sum over the rows of `row_weight` times the squared distance from the target of their point.
    block : ndarray of shape (n_points,)
        Number of the block with which a point is left out.
    n_rows : int
        Number of rows given.
    """

    points: np.ndarray
    weight: np.ndarray
    targets: np.ndarray
    rows: np.ndarray
    row_weight: np.ndarray
    point: np.ndarray
    spread: np.ndarray
    block: np.ndarray
    n_rows: int

    @classmethod
    def of(cls, X, Y, weight, groups, precomputed):
        """Merge rows of identical features; those of one group, and their copies, form a block."""
        rows = np.flatnonzero(weight)
        first, point = distinct_rows(between(X, rows) if precomputed else X[rows], precomputed)
        n, kept = len(first), weight[rows] * (counted(weight) / weight.sum())
        merged = np.bincount(point, kept)
        targets = np.column_stack([np.bincount(point, kept * y) for y in Y[rows].T]) / merged[:, None]
        block = np.arange(n) if groups is None else _blocks(np.unique(groups[rows], return_inverse=True)[1], point)
        if groups is not None and block.max() == 0:
            raise ValueError(
                "groups joins all rows, directly or through rows of identical features, so that nothing is left when a "
                "group is left out. Give at least two groups, or groups=None."
            )
        spread = kept @ (Y[rows] - targets[point]) ** 2
        return cls(rows[first], merged * (n / merged.sum()), targets, rows, kept, point, spread, block, len(X))

    def of_block(self, values):
        """Return sums of columns (m, n_points) over the blocks to which they belong, for each of the columns."""
        n = len(self.block)
        if self.block.max() == n - 1:
            return values
        membership = coo_array((np.ones(n), (np.arange(n), self.block))).tocsr()
        return (values @ membership)[:, self.block]


def distinct_rows(X, precomputed):
    """Return the first row of each group of identical rows, in an order of their content, and each row's group.

    Of a precomputed kernel the rows are points of its space, of which rounding is all that keeps copies apart.
    """
    if not precomputed:
        rows = np.ascontiguousarray(X + 0.0)  # of -0.0, 0.0
        return np.unique(rows.view((np.void, rows.strides[0])).ravel(), return_index=True, return_inverse=True)[1:]
    diagonal = np.diagonal(X)
    leader = np.concatenate(
        [
            (diagonal[rows, None] + diagonal - 2.0 * X[rows] <= SAME_POINT * np.abs(diagonal).max()).argmax(axis=1)
            for rows in row_blocks(*X.shape)
        ]
    )
    return np.unique(leader[leader], return_inverse=True)


def _blocks(label, point):
    """Return the block of each point: points with a row of one label, or joined through others, share it."""
    n, m = point.max() + 1, label.max() + 1
    edges = coo_array((np.ones(len(point)), (point, n + label)), shape=(n + m, n + m))
    joined = connected_components(edges, directed=False)[1][:n]
    return np.unique(joined, return_inverse=True)[1]


def together(block):
    """Return the points of every block of two or more."""
    if block.max() == len(block) - 1:
        return []
    order = np.argsort(block, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(block[order])) + 1)
    return [part for part in parts if len(part) > 1]
