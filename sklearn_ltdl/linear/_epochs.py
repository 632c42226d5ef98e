"""Compiled passes of SAG and SAGA over the rows of a dense or a CSR matrix.

Both step along ``c (u_i - table_i) x_i + mean`` for a random row i, where u_i is its slope now, `table` holds the
slopes last seen and `mean` their average over rows times features; c is 1 for SAGA and 1 / n_samples for SAG.
"""

import functools
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import sparse

from sklearn_ltdl._backends.numba import slopes


class Memory(NamedTuple):
    """What an epoch changes in place.

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


def epoch_of(problem):
    """Return the function `(rows, step, correction, memory)` that runs one pass over the given rows of a problem."""
    X = problem.X
    data = (X.data, X.indices, X.indptr) if sparse.issparse(X) else X
    epoch = _sparse_epoch if sparse.issparse(X) else _dense_epoch
    if type(problem.loss).__module__ != "sklearn_ltdl.losses":
        epoch = _not_on_disk(epoch)
    weight = len(problem.Y) * problem.share

    def run(rows, step, correction, memory):
        epoch(
            problem.loss,
            data,
            problem.Y,
            weight,
            problem.fit_intercept,
            float(problem.alpha),
            rows,
            step,
            correction,
            memory,
        )

    return run


@functools.cache
def _not_on_disk(epoch):
    """Return the function compiled anew in each process: a cache on disk would not see a user edit the loss."""
    return njit(nogil=True, fastmath=FASTMATH)(epoch.py_func)


FASTMATH = {"reassoc", "contract", "nsz"}  # sums in any order, but NaN and infinity keep their meaning


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _dense_epoch(loss, X, Y, weight, fit_intercept, alpha, rows, step, correction, memory):
    coef, intercept, table, mean, mean_intercept = memory
    n, p = X.shape
    decay = 1 - step * alpha
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
            table[i, k] += change
            if fit_intercept:
                intercept[k] -= step * (correction * change + mean_intercept[k])
                mean_intercept[k] += change / n
            for j in range(p):
                coef[k, j] = decay * coef[k, j] - step * (correction * change * x[j] + mean[k, j])
                mean[k, j] += change / n * x[j]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _sparse_epoch(loss, X, Y, weight, fit_intercept, alpha, rows, step, correction, memory):
    # A feature that m rows miss only decays and drifts along its mean. These m steps are taken at once when it is next
    # met: coef <- decay^m coef - step (1 + decay + ... + decay^(m-1)) mean.
    data, indices, indptr = X
    coef, intercept, table, mean, mean_intercept = memory
    n, p = len(indptr) - 1, coef.shape[1]
    decay = 1 - step * alpha
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
            m = t - done[j]
            for k in range(len(coef)):
                coef[k, j] = power[m] * coef[k, j] - step * series[m] * mean[k, j]
                z[k] += coef[k, j] * data[at]
        slopes(loss, z, Y[i], u)
        for k in range(len(coef)):
            change = weight[i] * u[k] - table[i, k]
            table[i, k] += change
            if fit_intercept:
                intercept[k] -= step * (correction * change + mean_intercept[k])
                mean_intercept[k] += change / n
            for at in range(indptr[i], indptr[i + 1]):
                j = indices[at]
                coef[k, j] = decay * coef[k, j] - step * (correction * change * data[at] + mean[k, j])
                mean[k, j] += change / n * data[at]
                done[j] = t + 1
    for j in range(p):
        m = len(rows) - done[j]
        for k in range(len(coef)):
            coef[k, j] = power[m] * coef[k, j] - step * series[m] * mean[k, j]
