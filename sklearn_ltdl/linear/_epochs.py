"""Compiled passes of the stochastic solvers over the rows of a dense or CSR matrix, one kernel per family and layout.

SAG, SAGA and SVRG step along ``c_i (u_i - table_i) x_i + mean`` for a random row i, where u_i is the current slope of
its loss, `table` holds the last slope of each row, and `mean` is the average of slopes times rows. SGD has no table.
SDCA maximises the dual over one row at a time.
"""

import functools
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload, register_jitable
from scipy import sparse

from sklearn_ltdl._backends.numba import FASTMATH, compiled, prefetch, slopes


class Memory(NamedTuple):
    """The arrays that an epoch of SAG, SAGA or SVRG changes in place.

    Parameters
    ----------
    coef, mean : ndarray of shape (n_outputs, n_features)
    intercept, mean_intercept : ndarray of shape (n_outputs,)
    table : ndarray of shape (n_samples, n_outputs)
    """

    coef: np.ndarray
    intercept: np.ndarray
    table: np.ndarray
    mean: np.ndarray
    mean_intercept: np.ndarray


@functools.cache
def _not_on_disk(kernel):
    """Compile the kernel in each process: a cache on disk would not notice that a user edited the loss."""
    return njit(nogil=True, fastmath=FASTMATH)(kernel.py_func)


def kernel_of(family, problem):
    """Return the kernel of a family with the loss and the data of a problem bound.

    The families are 'averaged', 'blocks' (of dense data), 'plain' and 'dual'.

    The returned function takes the arguments that follow `loss`, `X` and `Y` in the kernels of this file.
    """
    X = problem.X
    layout = "sparse" if sparse.issparse(X) else "dense"
    data = (X.data, X.indices, X.indptr) if layout == "sparse" else X
    kernel = _KERNELS[family, layout]
    if type(problem.loss).__module__ != "sklearn_ltdl.losses":
        kernel = _not_on_disk(kernel)
    return functools.partial(kernel, problem.loss, data, problem.Y)


@register_jitable
def shrunk(value, threshold):
    """Return the proximal step of the absolute value."""
    return max(value - threshold, 0.0) + min(value + threshold, 0.0)


@compiled
def averaged_dense(loss, X, Y, weight, fit_intercept, l2, l1, rows, step, correction, learn, memory):
    """Take one step of SAG or SAGA, or of SVRG if not `learn`, for each of the rows."""
    coef, intercept, table, mean, mean_intercept = memory
    n, p = X.shape
    decay, threshold = 1 - step * l2, step * l1
    z, u = np.empty(len(coef)), np.empty(len(coef))
    for i in rows:
        x = X[i]
        for k in range(len(coef)):
            z[k] = intercept[k]
            for j in range(p):
                z[k] += coef[k, j] * x[j]
        slopes(loss, z, Y[i], u)
        for k in range(len(coef)):
            change = weight[i] * u[k] - table[i, k]
            push, learned = step * correction[i] * change, learn * change / n
            table[i, k] += learn * change
            if fit_intercept:
                intercept[k] -= push + step * mean_intercept[k]
                mean_intercept[k] += learned
            for j in range(p):
                coef[k, j] = decay * coef[k, j] - push * x[j] - step * mean[k, j]
                mean[k, j] += learned * x[j]
            if threshold > 0:
                for j in range(p):
                    coef[k, j] = shrunk(coef[k, j], threshold)


@compiled
def row_products(X, rows, w, base, out):
    """Write ``X[rows] @ w + base``; four rows at a time share what is loaded of w."""
    for k in range(0, len(rows), 4):
        x0, x1, x2, x3 = X[rows[k]], X[rows[k + 1]], X[rows[k + 2]], X[rows[k + 3]]
        z0 = z1 = z2 = z3 = base
        for j in range(len(w)):
            z0 += w[j] * x0[j]
            z1 += w[j] * x1[j]
            z2 += w[j] * x2[j]
            z3 += w[j] * x3[j]
        out[k], out[k + 1], out[k + 2], out[k + 3] = z0, z1, z2, z3


@compiled
def combined_rows(X, rows, factors, out):
    """Write ``factors @ X[rows]``."""
    for k in range(0, len(rows), 4):
        x0, x1, x2, x3 = X[rows[k]], X[rows[k + 1]], X[rows[k + 2]], X[rows[k + 3]]
        a0, a1, a2, a3 = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
        if k == 0:
            for j in range(len(out)):
                out[j] = a0 * x0[j] + a1 * x1[j] + a2 * x2[j] + a3 * x3[j]
        else:
            for j in range(len(out)):
                out[j] += a0 * x0[j] + a1 * x1[j] + a2 * x2[j] + a3 * x3[j]


def block_slopes(loss, z, Y, rows, out):
    """Write the derivatives of the losses of some rows; `z` and `out` have shape (n_outputs, n_rows)."""
    raise NotImplementedError("compiled code only")


@overload(block_slopes)
def _compiled_block_slopes(loss, z, Y, rows, out):
    if loss.instance_class.coupled:
        of_row = register_jitable(loss.instance_class.derivative_of_row)

        def write(loss, z, Y, rows, out):
            for t in range(len(rows)):
                out[:, t] = of_row(loss, z[:, t].copy(), Y[rows[t]])
    else:
        derivative = register_jitable(loss.instance_class.derivative)

        def write(loss, z, Y, rows, out):
            for k in range(len(out)):
                for t in range(len(rows)):
                    out[k, t] = derivative(loss, z[k, t], Y[rows[t], k])

    return write


EARLY = 128  # numbers of a row that are fetched early: further ones the processor foresees


@compiled
def averaged_blocks(loss, X, Y, weight, fit_intercept, l2, l1, blocks, step, correction, centre, pace, memory):
    """Take a step of SAG or SAGA for each of the blocks, of shape (n_blocks, 4 k), and return the mean square change.

    `correction` is one number a row, or one number. `centre` is subtracted from all rows, and the square of the entry
    of a row that stands for the intercept is `pace`. The rows are at random places in memory, so that those of the
    block after the next are fetched early.
    """
    coef, intercept, table, mean, mean_intercept = memory
    (n, p), size, n_outputs = X.shape, blocks.shape[1], len(coef)
    decay, threshold, is_even, moved = 1 - step * l2, step * l1, len(correction) == 1, 0.0
    z, changes, corrected = np.empty((n_outputs, size)), np.empty((n_outputs, size)), np.empty(size)
    base = intercept.copy()
    pull, other, is_centred = np.empty(p), np.empty(p), centre.any()
    for k in range(n_outputs):  # until the end of the epoch, these are of centred rows
        for j in range(p):
            intercept[k] += centre[j] * coef[k, j]
            mean[k, j] -= centre[j] * mean_intercept[k]
    for b in range(len(blocks)):
        block = blocks[b]
        if b + 2 < len(blocks):
            for i in blocks[b + 2]:
                for j in range(0, min(p, EARLY), 8):
                    prefetch(X, i, j)
        for k in range(n_outputs):
            row_products(X, block, coef[k], base[k], z[k])
        block_slopes(loss, z, Y, block, changes)
        for k in range(n_outputs):
            w, g, learned, pushed, rate = coef[k], mean[k], 0.0, 0.0, step / size
            for t in range(size):
                i = block[t]
                change = weight[i] * changes[k, t] - table[i, k]
                table[i, k] += change
                changes[k, t] = change
                corrected[t] = change if is_even else correction[i] * change
                learned += change
                pushed += corrected[t]
                moved += change * change
            combined_rows(X, block, changes[k], pull)
            push = pull
            if is_even:
                rate *= correction[0]
            else:
                push = other
                combined_rows(X, block, corrected, push)
            for j in range(p):
                w[j] = decay * w[j] - rate * (push[j] - pushed * centre[j]) - step * g[j]
                g[j] += (pull[j] - learned * centre[j]) / n
            if threshold > 0:
                for j in range(p):
                    w[j] = shrunk(w[j], threshold)
            if fit_intercept:
                intercept[k] -= pace * (rate * pushed + step * mean_intercept[k])
                mean_intercept[k] += learned / n
            base[k] = intercept[k]
            if is_centred:
                for j in range(p):
                    base[k] -= centre[j] * w[j]
    for k in range(n_outputs):
        intercept[k] = base[k]
        for j in range(p):
            mean[k, j] += centre[j] * mean_intercept[k]
    return moved / n


@register_jitable
def missed(w, m, drift, decay, threshold, power, series):
    """Return `w` after m steps ``w <- shrunk(decay w - drift, threshold)``.

    While w keeps its sign, the steps are affine, ``decay^m w - (drift + sign(w) threshold) (1 + ... + decay^(m-1))``,
    and monotone, so the step at which w reaches zero is found by bisection. There w stays at zero, or leaves it for
    good.
    """
    if threshold == 0 or m == 0:
        return power[m] * w - series[m] * drift
    for _ in range(3):
        if w == 0:
            w = shrunk(-drift, threshold)
            m -= 1
            if w == 0:
                return 0.0
        sign = 1.0 if w > 0 else -1.0
        force = drift + sign * threshold
        if (power[m] * w - series[m] * force) * sign > 0:
            return power[m] * w - series[m] * force
        low, high = 0, m  # the sign is kept for `low` steps, not for `high`
        while high - low > 1:
            middle = (low + high) // 2
            if (power[middle] * w - series[middle] * force) * sign > 0:
                low = middle
            else:
                high = middle
        w = shrunk(decay * (power[low] * w - series[low] * force) - drift, threshold)
        m -= high
        if m == 0:
            return w
    return w


@compiled
def averaged_sparse(loss, X, Y, weight, fit_intercept, l2, l1, rows, step, correction, learn, memory):
    """Take the same steps; the steps that a feature missed are taken at once when a row next contains it."""
    data, indices, indptr = X
    coef, intercept, table, mean, mean_intercept = memory
    n, p = len(indptr) - 1, coef.shape[1]
    decay, threshold = 1 - step * l2, step * l1
    power, series = np.ones(len(rows) + 1), np.zeros(len(rows) + 1)
    for m in range(len(rows)):
        power[m + 1] = decay * power[m]
        series[m + 1] = decay * series[m] + 1
    done = np.zeros(p, dtype=np.int64)
    z, u = np.empty(len(coef)), np.empty(len(coef))
    for t in range(len(rows)):
        i = rows[t]
        z[:] = intercept
        for at in range(indptr[i], indptr[i + 1]):
            j = indices[at]
            for k in range(len(coef)):
                m, drift = t - done[j], step * mean[k, j]
                if threshold == 0:  # written out: a call would cost more than all the rest
                    coef[k, j] = power[m] * coef[k, j] - series[m] * drift
                else:
                    coef[k, j] = missed(coef[k, j], m, drift, decay, threshold, power, series)
                z[k] += coef[k, j] * data[at]
        slopes(loss, z, Y[i], u)
        for k in range(len(coef)):
            change = weight[i] * u[k] - table[i, k]
            push, learned = step * correction[i] * change, learn * change / n
            table[i, k] += learn * change
            if fit_intercept:
                intercept[k] -= push + step * mean_intercept[k]
                mean_intercept[k] += learned
            for at in range(indptr[i], indptr[i + 1]):
                j = indices[at]
                coef[k, j] = shrunk(decay * coef[k, j] - push * data[at] - step * mean[k, j], threshold)
                mean[k, j] += learned * data[at]
                done[j] = t + 1
    for j in range(p):
        for k in range(len(coef)):
            coef[k, j] = missed(coef[k, j], len(rows) - done[j], step * mean[k, j], decay, threshold, power, series)


@compiled
def plain_dense(loss, X, Y, weight, fit_intercept, l2, rows, steps, coef, intercept, total, total_intercept):
    """Take one step of SGD for each of the rows, with its own length, and add the iterates to the totals."""
    p = X.shape[1]
    z, u = np.empty(len(coef)), np.empty(len(coef))
    for t in range(len(rows)):
        i = rows[t]
        x = X[i]
        for k in range(len(coef)):
            z[k] = intercept[k]
            for j in range(p):
                z[k] += coef[k, j] * x[j]
        slopes(loss, z, Y[i], u)
        decay = 1 - steps[t] * l2
        for k in range(len(coef)):
            push = steps[t] * weight[i] * u[k]
            if fit_intercept:
                intercept[k] -= push
                total_intercept[k] += intercept[k]
            for j in range(p):
                coef[k, j] = decay * coef[k, j] - push * x[j]
                total[k, j] += coef[k, j]


@compiled
def plain_sparse(loss, X, Y, weight, fit_intercept, l2, rows, steps, coef, intercept, total, total_intercept):
    """Take the same steps; a feature that rows do not contain only decays, by a product that must not underflow."""
    data, indices, indptr = X
    p = coef.shape[1]
    power, series = np.ones(len(rows) + 1), np.zeros(len(rows) + 1)  # products of decays, and their sums
    for t in range(len(rows)):
        power[t + 1] = power[t] * (1 - steps[t] * l2)
        series[t + 1] = series[t] + power[t + 1]
    done = np.zeros(p, dtype=np.int64)
    z, u = np.empty(len(coef)), np.empty(len(coef))
    for t in range(len(rows)):
        i = rows[t]
        z[:] = intercept
        for at in range(indptr[i], indptr[i + 1]):
            j = indices[at]
            s = done[j]
            for k in range(len(coef)):
                total[k, j] += coef[k, j] * ((series[t] - series[s]) / power[s])
                coef[k, j] *= power[t] / power[s]
                z[k] += coef[k, j] * data[at]
        slopes(loss, z, Y[i], u)
        decay = 1 - steps[t] * l2
        for k in range(len(coef)):
            push = steps[t] * weight[i] * u[k]
            if fit_intercept:
                intercept[k] -= push
                total_intercept[k] += intercept[k]
            for at in range(indptr[i], indptr[i + 1]):
                j = indices[at]
                coef[k, j] = decay * coef[k, j] - push * data[at]
                total[k, j] += coef[k, j]
                done[j] = t + 1
    for j in range(p):
        s = done[j]
        for k in range(len(coef)):
            total[k, j] += coef[k, j] * ((series[len(rows)] - series[s]) / power[s])
            coef[k, j] *= power[len(rows)] / power[s]


def dual_step(loss, z, y, h, u):
    """Replace u by the u' with ``u' = derivative(z - h (u' - u), y)``, which maximises the dual over one sample."""
    raise NotImplementedError("compiled code only")


@overload(dual_step)
def _compiled_dual_step(loss, z, y, h, u):
    if loss.instance_class.coupled:
        of_row = register_jitable(loss.instance_class.dual_step_of_row)

        def step(loss, z, y, h, u):
            u[:] = of_row(loss, z, y, h, u)
    else:
        derivative = register_jitable(loss.instance_class.derivative)
        second_derivative = register_jitable(loss.instance_class.second_derivative)

        def step(loss, z, y, h, u):
            # Newton on t - z + h (l'(t) - u), which increases at least as fast as t and so brackets its root
            for k in range(len(u)):
                t, slope = z[k], derivative(loss, z[k], y[k])
                residual = h * (slope - u[k])
                low, high = min(t, t - residual), max(t, t - residual)
                for _ in range(60):
                    move = residual / (1 + h * second_derivative(loss, t, y[k]))
                    near = abs(move) <= 1e-7 * (1 + abs(t))  # the error is about the square of the move
                    t -= move
                    if not (near or low < t < high):
                        t = 0.5 * (low + high)
                    slope = derivative(loss, t, y[k])
                    if near:
                        break
                    residual = t - z[k] + h * (slope - u[k])
                    if residual > 0:
                        high = t
                    else:
                        low = t
                u[k] = slope

    return step


@compiled
def dual_dense(loss, X, Y, share, squares, l2, l2_intercept, rows, coef, intercept, dual):
    """Take an exact dual step for each of the rows, keeping ``coef = -X' (share dual) / l2`` up to date."""
    p = X.shape[1]
    z, u = np.empty(len(coef)), np.empty(len(coef))
    for i in rows:
        x = X[i]
        h = share[i] * squares[i] / l2 + (share[i] / l2_intercept if l2_intercept > 0 else 0.0)
        for k in range(len(coef)):
            z[k] = intercept[k]
            for j in range(p):
                z[k] += coef[k, j] * x[j]
            u[k] = dual[i, k]
        dual_step(loss, z, Y[i], h, u)
        for k in range(len(coef)):
            change = share[i] * (u[k] - dual[i, k])
            dual[i, k] = u[k]
            if l2_intercept > 0:
                intercept[k] -= change / l2_intercept
            change /= l2
            for j in range(p):
                coef[k, j] -= change * x[j]


@compiled
def dual_sparse(loss, X, Y, share, squares, l2, l2_intercept, rows, coef, intercept, dual):
    """Take the same steps; features that a row does not contain stay unchanged."""
    data, indices, indptr = X
    z, u = np.empty(len(coef)), np.empty(len(coef))
    for i in rows:
        h = share[i] * squares[i] / l2 + (share[i] / l2_intercept if l2_intercept > 0 else 0.0)
        for k in range(len(coef)):
            z[k] = intercept[k]
            for at in range(indptr[i], indptr[i + 1]):
                z[k] += coef[k, indices[at]] * data[at]
            u[k] = dual[i, k]
        dual_step(loss, z, Y[i], h, u)
        for k in range(len(coef)):
            change = share[i] * (u[k] - dual[i, k])
            dual[i, k] = u[k]
            if l2_intercept > 0:
                intercept[k] -= change / l2_intercept
            change /= l2
            for at in range(indptr[i], indptr[i + 1]):
                coef[k, indices[at]] -= change * data[at]


_KERNELS = {
    ("averaged", "dense"): averaged_dense,
    ("averaged", "sparse"): averaged_sparse,
    ("blocks", "dense"): averaged_blocks,
    ("plain", "dense"): plain_dense,
    ("plain", "sparse"): plain_sparse,
    ("dual", "dense"): dual_dense,
    ("dual", "sparse"): dual_sparse,
}
