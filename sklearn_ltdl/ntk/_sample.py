"""The data of a kernel machine: distinct rows, their weights and targets, and the blocks to leave out together."""

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
    """The data of a machine: points, which are distinct rows, and the map from the given rows to them.

    Parameters
    ----------
    points : ndarray of shape (n_points,)
        Index of one row of each point.
    weight : ndarray of shape (n_points,)
        Weights that sum to n_points.
    targets : ndarray of shape (n_points, n_outputs)
        Mean of the standardised targets over the rows of each point.
    rows : ndarray of shape (n_kept,)
        Indices of the rows of positive weight.
    row_weight : ndarray of shape (n_kept,)
        Weights that sum to `counted(weight)`: numbers of copies, if the given weights are counts.
    point : ndarray of shape (n_kept,)
        The point of each of these rows.
    spread : ndarray of shape (n_outputs,)
        Sum over rows of `row_weight` times the squared difference from the target of the point.
    block : ndarray of shape (n_points,)
        Index of the block with which each point is left out.
    n_rows : int
        Number of given rows.
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
        """Merge rows of identical features; the rows of a group and their copies form a block."""
        rows = np.flatnonzero(weight)
        first, point = distinct_rows(between(X, rows) if precomputed else X[rows], precomputed)
        n, kept = len(first), weight[rows] * (counted(weight) / weight.sum())
        merged = np.bincount(point, kept)
        targets = np.column_stack([np.bincount(point, kept * y) for y in Y[rows].T]) / merged[:, None]
        block = np.arange(n) if groups is None else _blocks(np.unique(groups[rows], return_inverse=True)[1], point)
        if groups is not None and block.max() == 0:
            raise ValueError(
                "groups joins all rows, directly or through rows of identical features, so that no row is left when a "
                "group is left out. Give at least two groups, or groups=None."
            )
        spread = kept @ (Y[rows] - targets[point]) ** 2
        return cls(rows[first], merged * (n / merged.sum()), targets, rows, kept, point, spread, block, len(X))

    def of_block(self, values):
        """Replace each column of an (m, n_points) array by the sum of the columns of its block."""
        n = len(self.block)
        if self.block.max() == n - 1:
            return values
        membership = coo_array((np.ones(n), (np.arange(n), self.block))).tocsr()
        return (values @ membership)[:, self.block]


def distinct_rows(X, precomputed):
    """Return the first row of each set of identical rows, ordered by content, and the set of each row.

    For a precomputed kernel the rows are points of its feature space; copies differ there by rounding only.
    """
    if not precomputed:
        rows = np.ascontiguousarray(X + 0.0)  # turns -0.0 into 0.0
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
    """Return the block of each point. Points that share a label, directly or through other points, share a block."""
    n, m = point.max() + 1, label.max() + 1
    edges = coo_array((np.ones(len(point)), (point, n + label)), shape=(n + m, n + m))
    joined = connected_components(edges, directed=False)[1][:n]
    return np.unique(joined, return_inverse=True)[1]


def together(block):
    """Return the points of every block with two or more points."""
    if block.max() == len(block) - 1:
        return []
    order = np.argsort(block, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(block[order])) + 1)
    return [part for part in parts if len(part) > 1]
