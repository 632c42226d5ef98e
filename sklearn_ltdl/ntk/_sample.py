"""The data of a kernel machine: distinct rows, their weights and targets, and the blocks to leave out together."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sklearn_ltdl._targets import counted
from sklearn_ltdl.ntk._gram import between
from sklearn_ltdl.ntk._solvers import row_blocks

SORTED_AT_ONCE = 2**19  # numbers of the rows that are copied and compared at a time
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
        first, point = _distinct_points(between(X, rows)) if precomputed else distinct_rows(X, rows)
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

    @classmethod
    def unmerged(cls, Y, weight):
        """Return rows as points of their own."""
        rows, total = np.arange(len(Y)), weight.sum()
        kept = weight * (counted(weight) / total)
        return cls(rows, weight * (len(Y) / total), Y, rows, kept, rows, np.zeros(Y.shape[1]), rows, len(Y))

    def of_block(self, values):
        """Replace each column of an (m, n_points) array by the sum of the columns of its block."""
        n = len(self.block)
        if self.block.max() == n - 1:
            return values
        membership = coo_array((np.ones(n), (np.arange(n), self.block))).tocsr()
        return (values @ membership)[:, self.block]


def distinct_rows(X, rows=None):
    """Return the first of each group of identical rows, in the order of their bytes, and the group of each row.

    Neither the table nor its rows are copied, but for a buffer.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Finite; -0.0 is 0.0.
    rows : ndarray of shape (n_rows,), default=None
        The rows to look at, increasing; all of them for None.

    Returns
    -------
    first : ndarray of shape (n_groups,)
        Places in `rows`.
    group : ndarray of shape (n_rows,)
    """
    rows = np.arange(len(X)) if rows is None else rows
    order = _in_order_of_bytes(X, rows)
    is_first = np.ones(len(rows), dtype=bool)
    step = max(1, SORTED_AT_ONCE // X.shape[1])
    for i in range(1, len(rows), step):
        block = X[rows[order[i - 1 : i + step]]]
        is_first[i : i + step] = (block[1:] != block[:-1]).any(axis=1)
    group = np.empty(len(rows), dtype=np.intp)
    group[order] = np.cumsum(is_first) - 1
    return order[is_first], group


def _in_order_of_bytes(X, rows):
    """Return the stable order that sorts rows by their bytes.

    Rows are sorted by one column after the other, until those of equal beginnings fit the buffer.
    """
    done, todo = [], [(np.arange(len(rows)), 0)]  # parts in their order; to do: a stack, the first part on top
    while todo:
        part, j = todo.pop()
        if j is None or j == X.shape[1]:
            done.append(part)
        elif part.size * X.shape[1] <= SORTED_AT_ONCE:
            done.append(part[np.argsort(_bytes(X[rows[part]]), kind="stable")])
        else:
            keys = _bytes(X[rows[part], j][:, None]).view(np.uint64).byteswap()  # of one order with the bytes
            order = np.argsort(keys, kind="stable")
            part, keys = part[order], keys[order]
            bounds = np.flatnonzero(np.diff(keys, prepend=~keys[0], append=~keys[-1]))
            del order, keys
            todo += reversed(_parts(part, bounds, j, SORTED_AT_ONCE // X.shape[1]))
    return np.concatenate(done)


def _parts(order, bounds, j, most):
    """Return sorted rows in parts of whole groups, of at most so many rows, with the column from which to sort each."""
    parts, i = [], 0
    while i < len(bounds) - 1:
        end = max(i + 1, np.searchsorted(bounds, bounds[i] + most, side="right") - 1)
        part = order[bounds[i] : bounds[end]]
        in_order = end - i == len(part)  # every row has a value of its own
        parts.append((part, None if in_order else j + (end == i + 1)))
        i = end
    return parts


def _bytes(rows):
    """Return each row of a new array as one value that compares by its bytes."""
    rows += 0.0  # of -0.0, 0.0
    return rows.view((np.void, rows.strides[0])).ravel()


def _distinct_points(K):
    """Return the same for the points of a precomputed kernel, of which only rounding sets copies apart."""
    diagonal = np.diagonal(K)
    leader = np.concatenate(
        [
            (diagonal[rows, None] + diagonal - 2.0 * K[rows] <= SAME_POINT * np.abs(diagonal).max()).argmax(axis=1)
            for rows in row_blocks(*K.shape)
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
