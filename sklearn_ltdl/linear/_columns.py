"""Compiled coordinate descent for the quadratic model of a finite sum with an l1 norm.

The model at coefficients w is ``sum_i c_i (d_i - r_i / c_i)^2 / 2 + l2 / 2 |w + d|^2 + l1 |w + d|_1`` for the changes
``d_i = sum_j (x_ij - mean_j) d_j`` of the margins, curvatures c and pulls r of sum zero, where `mean` are the means of
the columns weighted by c: the intercept is eliminated. The model is stored as columns or, for few columns, as moments.
"""

import numpy as np

from sklearn_ltdl._backends.numba import compiled
from sklearn_ltdl.linear._epochs import shrunk


@compiled
def copied_columns(X, which):
    """Copy columns of a dense matrix to contiguous rows."""
    n, columns = len(X), np.empty((len(which), len(X)))
    for begin in range(0, n, 32):  # a strip of rows stays in the cache
        end = min(begin + 32, n)
        for k in range(len(which)):
            j = which[k]
            for i in range(begin, end):
                columns[k, i] = X[i, j]
    return columns


@compiled
def copied_sparse_columns(data, indices, indptr, which, p):
    """Copy columns of a CSR matrix to contiguous rows, in the same sparse layout."""
    position, starts = np.full(p, -1), np.zeros(len(which) + 1, dtype=np.int64)
    for k in range(len(which)):
        position[which[k]] = k
    for j in indices:
        if position[j] >= 0:
            starts[position[j] + 1] += 1
    starts = np.cumsum(starts)
    filled, values, rows = starts[:-1].copy(), np.empty(starts[-1]), np.empty(starts[-1], dtype=np.int32)
    for i in range(len(indptr) - 1):
        for at in range(indptr[i], indptr[i + 1]):
            k = position[indices[at]]
            if k >= 0:
                values[filled[k]], rows[filled[k]] = data[at], i
                filled[k] += 1
    return values, rows, starts


@compiled
def dense_moments(columns, c):
    """Return ``A c`` and ``A^2 c``, where the columns are the rows of A."""
    first, second = np.zeros(len(columns)), np.zeros(len(columns))
    for k in range(len(columns)):
        x, a, b = columns[k], 0.0, 0.0
        for i in range(len(c)):
            a += c[i] * x[i]
            b += c[i] * x[i] * x[i]
        first[k], second[k] = a, b
    return first, second


@compiled
def sparse_moments(columns, c):
    """Return the same for sparse columns."""
    values, rows, starts = columns
    first, second = np.zeros(len(starts) - 1), np.zeros(len(starts) - 1)
    for k in range(len(first)):
        for at in range(starts[k], starts[k + 1]):
            first[k] += c[rows[at]] * values[at]
            second[k] += c[rows[at]] * values[at] * values[at]
    return first, second


@compiled
def dense_epoch(columns, c, pull, shift, mean, bends, l1, l2, coef, order):
    """Minimise the model over one column after the other, and return the approximate decrease.

    The pulls ``pull - c * shift[0]`` are updated; `bends` are second derivatives.
    """
    total, decrease = np.sum(c), 0.0
    for k in order:
        x, g = columns[k], 0.0
        for i in range(len(c)):
            g += x[i] * pull[i]
        change = shrunk(bends[k] * coef[k] + g - shift[0] * total * mean[k], l1) / (bends[k] + l2) - coef[k]
        if change != 0.0:
            for i in range(len(c)):
                pull[i] -= change * c[i] * x[i]
            shift[0] -= change * mean[k]
            coef[k] += change
            decrease += 0.5 * (bends[k] + l2) * change * change
    return decrease


@compiled
def sparse_epoch(columns, c, pull, shift, mean, bends, l1, l2, coef, order):
    """Do the same with columns in CSR layout."""
    values, rows, starts = columns
    total, decrease = np.sum(c), 0.0
    for k in order:
        g = 0.0
        for at in range(starts[k], starts[k + 1]):
            g += values[at] * pull[rows[at]]
        change = shrunk(bends[k] * coef[k] + g - shift[0] * total * mean[k], l1) / (bends[k] + l2) - coef[k]
        if change != 0.0:
            for at in range(starts[k], starts[k + 1]):
                pull[rows[at]] -= change * c[rows[at]] * values[at]
            shift[0] -= change * mean[k]
            coef[k] += change
            decrease += 0.5 * (bends[k] + l2) * change * change
    return decrease


@compiled
def moment_epoch(hessian, gradient, l1, coef, order):
    """Minimise the model over one coefficient after the other, given its Hessian including l2; return the decrease."""
    decrease = 0.0
    for k in order:
        bend = hessian[k, k]
        change = shrunk(bend * coef[k] - gradient[k], l1) / bend - coef[k]
        if change != 0.0:
            coef[k] += change
            decrease += 0.5 * bend * change * change
            for j in range(len(coef)):
                gradient[j] += change * hessian[k, j]
    return decrease
