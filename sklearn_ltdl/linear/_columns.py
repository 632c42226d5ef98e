"""Compiled coordinate descent for the quadratic model of a finite sum with an l1 norm.

The model of coefficients w + d is ``start d + sum_i c_i (m_i - mean)^2 / 2 + l2 / 2 |w + d|^2 + l1 |w + d|_1`` for the
gradient `start` of the loss at w, the changes ``m = A d`` of the margins, curvatures c, and the mean of m weighted by
c: the intercept is eliminated. The columns are stored as the rows of `columns`, at the positions `slots`; `drift` is
``c m``, or m if all curvatures are equal, and `shift` the mean of m. A model of few columns is stored as its Hessian.

A round visits coefficients in a given order, and returns three measures of how far the gradients were from those of a
minimum: the largest excess relative to `l1`, the sum of the squares divided by `l2`, and the decrease of the model.
"""

import numpy as np

from sklearn_ltdl._backends.numba import compiled
from sklearn_ltdl.linear._epochs import shrunk


@compiled
def gathered(X, which, centre, scale, columns):
    """Write ``(X - centre) * scale`` for the columns `which` of a matrix in C order into the rows of `columns`."""
    for begin in range(0, len(X), 64):  # a strip of rows stays in the cache
        end = min(begin + 64, len(X))
        for k in range(len(which)):
            j = which[k]
            a, b, column = centre[j], scale[j], columns[k]
            for i in range(begin, end):
                column[i] = (X[i, j] - a) * b


@compiled
def gathered_sparse(data, indices, indptr, which, p):
    """Return the columns `which` of a CSR matrix in CSC layout."""
    position, starts = np.full(p, -1), np.zeros(len(which) + 1, dtype=np.int64)
    for k in range(len(which)):
        position[which[k]] = k
    for j in indices:
        if position[j] >= 0:
            starts[position[j] + 1] += 1
    starts = np.cumsum(starts)
    filled, values, rows = starts[:-1].copy(), np.empty(starts[-1]), np.empty(starts[-1], dtype=indices.dtype)
    for i in range(len(indptr) - 1):
        for at in range(indptr[i], indptr[i + 1]):
            k = position[indices[at]]
            if k >= 0:
                values[filled[k]], rows[filled[k]] = data[at], i
                filled[k] += 1
    return values, rows, starts


@compiled
def repeats(indices, indptr, p):
    """Return whether a row of a CSR matrix of p columns stores the same entry twice, in any order."""
    last = np.full(p, -1, indptr.dtype)  # row that had an entry in the column
    for i in range(len(indptr) - 1):
        for at in range(indptr[i], indptr[i + 1]):
            if last[indices[at]] == i:
                return True
            last[indices[at]] = i
    return False


@compiled
def add_squares(data, indices, indptr, c, total):
    """Add ``c' X^2``, for the squares of the entries of a CSR matrix."""
    for i in range(len(c)):
        for at in range(indptr[i], indptr[i + 1]):
            total[indices[at]] += c[i] * data[at] * data[at]


@compiled
def dense_moments(columns, slots, c):
    """Return ``A c`` and ``A^2 c``; a single c is that of all rows."""
    first, second = np.zeros(len(slots)), np.zeros(len(slots))
    for k in range(len(slots)):
        x, a, b = columns[slots[k]], 0.0, 0.0
        if len(c) == 1:
            for i in range(len(x)):
                a += x[i]
                b += float(x[i]) * x[i]
            a, b = c[0] * a, c[0] * b
        else:
            for i in range(len(x)):
                a += c[i] * x[i]
                b += c[i] * float(x[i]) * x[i]
        first[k], second[k] = a, b
    return first, second


@compiled
def sparse_moments(columns, slots, c):
    """Return the same for sparse columns."""
    values, rows, starts = columns
    first, second = np.zeros(len(slots)), np.zeros(len(slots))
    for k in range(len(slots)):
        for at in range(starts[slots[k]], starts[slots[k] + 1]):
            weight = c[0] if len(c) == 1 else c[rows[at]]
            first[k] += weight * values[at]
            second[k] += weight * values[at] * values[at]
    return first, second


@compiled
def measured(worst, squares, decrease, change, bend, l1, l2):
    """Return the three measures of a round after the change of one more coefficient."""
    excess = abs(change) * (bend + l2)
    worst = max(worst, excess / l1 if l1 > 0.0 else np.inf)
    if l2 > 0.0:
        squares += excess * excess / l2
    return worst, squares, decrease + 0.5 * excess * abs(change)


@compiled
def dense_round(columns, slots, c, drift, shift, total, start, first, bends, l1, l2, coef, order):
    """Minimise the model over one coefficient after the other; `total` is the sum of c, inf without an intercept."""
    worst, squares, decrease, is_flat = 0.0, 0.0, 0.0, len(c) == 1
    for k in order:
        x = columns[slots[k]]
        g = x[0] * drift[0]
        for i in range(1, len(x)):
            g += x[i] * drift[i]
        g = start[k] - shift[0] * first[k] + (c[0] * g if is_flat else g)
        change = shrunk(bends[k] * coef[k] - g, l1[k]) / (bends[k] + l2[k]) - coef[k]
        if change != 0.0:
            t = drift.dtype.type(change)
            if is_flat:
                for i in range(len(x)):
                    drift[i] += t * x[i]
            else:
                for i in range(len(x)):
                    drift[i] += t * c[i] * x[i]
            shift[0] += change * first[k] / total
            coef[k] += change
            worst, squares, decrease = measured(worst, squares, decrease, change, bends[k], l1[k], l2[k])
    return worst, squares, decrease


@compiled
def sparse_round(columns, slots, c, drift, shift, total, start, first, bends, l1, l2, coef, order):
    """Do the same with columns in CSC layout."""
    values, rows, starts = columns
    worst, squares, decrease, is_flat = 0.0, 0.0, 0.0, len(c) == 1
    for k in order:
        begin, end = starts[slots[k]], starts[slots[k] + 1]
        g = 0.0
        for at in range(begin, end):
            g += values[at] * drift[rows[at]]
        g = start[k] - shift[0] * first[k] + (c[0] * g if is_flat else g)
        change = shrunk(bends[k] * coef[k] - g, l1[k]) / (bends[k] + l2[k]) - coef[k]
        if change != 0.0:
            for at in range(begin, end):
                drift[rows[at]] += change * values[at] * (1.0 if is_flat else c[rows[at]])
            shift[0] += change * first[k] / total
            coef[k] += change
            worst, squares, decrease = measured(worst, squares, decrease, change, bends[k], l1[k], l2[k])
    return worst, squares, decrease


@compiled
def hessian_round(hessian, gradient, l1, l2, coef, order):
    """Do the same given the Hessian and the gradient of the loss; the gradient is updated."""
    worst, squares, decrease = 0.0, 0.0, 0.0
    for k in order:
        bend = hessian[k, k]
        change = shrunk(bend * coef[k] - gradient[k], l1) / (bend + l2) - coef[k]
        if change != 0.0:
            coef[k] += change
            for j in range(len(coef)):
                gradient[j] += change * hessian[k, j]
            worst, squares, decrease = measured(worst, squares, decrease, change, bend, l1, l2)
    return worst, squares, decrease


@compiled
def hessian_rounds(hessian, gradient, l1, l2, coef, objective, tol, range_, rough, most):
    """Take at most `most` rounds over all coefficients; return whether the duality gap came down to the goal.

    For the goal see `sklearn_ltdl.linear._coordinates.Goal`.
    """
    everything = np.arange(len(coef))
    for _ in range(most):
        worst, squares, decrease = hessian_round(hessian, gradient, l1, l2, coef, everything)
        range_ += decrease
        size = l1 * np.sum(np.abs(coef))
        if (0.5 * squares if squares > 0.0 else worst * size + worst * worst * objective) <= max(tol * range_, rough):
            return True
    return False


@compiled
def centre_scores(Q, P, total, drift, mean):
    """Take a Newton step of each intercept: `drift` holds the changes of the scores, `mean` these weighted by P."""
    for k in range(len(P)):
        g = 0.0
        for i in range(len(mean)):
            g += Q[k, i] * (drift[k, i] - mean[i])
        t = drift.dtype.type(-g / total[k])
        for i in range(len(mean)):
            drift[k, i] += t
            mean[i] += t * P[k, i]


@compiled
def dense_coupled_round(columns, slots, outputs, Q, P, drift, mean, start, bends, l1, l2, coef, order):
    """Take a round for scores that are coupled: the model bends by ``Q (drift - mean)`` for Q of shares times P."""
    worst, squares, decrease = 0.0, 0.0, 0.0
    for k in order:
        x, o = columns[slots[k]], outputs[k]
        q, p, m = Q[o], P[o], drift[o]
        g = q[0] * x[0] * (m[0] - mean[0])
        for i in range(1, len(x)):
            g += q[i] * x[i] * (m[i] - mean[i])
        change = shrunk(bends[k] * coef[k] - g - start[k], l1[k]) / (bends[k] + l2[k]) - coef[k]
        if change != 0.0:
            t = drift.dtype.type(change)
            for i in range(len(x)):
                m[i] += t * x[i]
                mean[i] += t * x[i] * p[i]
            coef[k] += change
            worst, squares, decrease = measured(worst, squares, decrease, change, bends[k], l1[k], l2[k])
    return worst, squares, decrease


@compiled
def sparse_coupled_round(columns, slots, outputs, Q, P, drift, mean, start, bends, l1, l2, coef, order):
    """Do the same with columns in CSC layout."""
    values, rows, starts = columns
    worst, squares, decrease = 0.0, 0.0, 0.0
    for k in order:
        begin, end, o = starts[slots[k]], starts[slots[k] + 1], outputs[k]
        g = 0.0
        for at in range(begin, end):
            i = rows[at]
            g += Q[o, i] * values[at] * (drift[o, i] - mean[i])
        change = shrunk(bends[k] * coef[k] - g - start[k], l1[k]) / (bends[k] + l2[k]) - coef[k]
        if change != 0.0:
            for at in range(begin, end):
                i = rows[at]
                drift[o, i] += change * values[at]
                mean[i] += change * values[at] * P[o, i]
            coef[k] += change
            worst, squares, decrease = measured(worst, squares, decrease, change, bends[k], l1[k], l2[k])
    return worst, squares, decrease
