r"""Kernel ridge with an unpenalised intercept, and its leave-one-out error for every penalty.

The problem is :math:`\frac1n \sum_i s_i |y_i - f(x_i) - b|^2 / 2 + \alpha |f|_H^2 / 2` with weights s that sum to n.
Let :math:`\tilde K = \sqrt s K_c \sqrt s'`, :math:`K_c` the Gram matrix centred by the weights, and
:math:`C = (\tilde K + n\alpha)^{-1}` on the complement of :math:`\sqrt s`. Then with :math:`\tilde y = \sqrt s y` the
coefficients are :math:`\sqrt s\,C\tilde y` and the leave-one-out residual of row i, intercept and all, is

.. math:: r_i = (C \tilde y)_i / (\sqrt{s_i}\,C_{ii}),

the ridge :math:`n\alpha` being kept at its full-data value (Allen 1974; Cawley and Talbot 2003). Penalties are in units
of the kernel's mean diagonal: solvers are given K divided by it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sklearn
from scipy.linalg import eigh
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

from sklearn_ltdl.results import Status

ALPHAS = np.logspace(-9, 1, 41)  # the grid of alpha='loo', a quarter of a decade apart
SPECTRAL_ROWS = 3000  # above, one eigendecomposition costs more than the few Cholesky factors of a search
ROUNDING = np.finfo(float).eps
BLOCK_ENTRIES = 2**23  # of the matrices that are worked on in row blocks; more are no faster


@dataclass(frozen=True)
class RidgePath:
    """Solution for the alpha of least leave-one-out error.

    Parameters
    ----------
    coef : ndarray of shape (n_centres, n_outputs)
    intercept : ndarray of shape (n_outputs,)
    residuals : ndarray of shape (n_samples, n_outputs)
        Target less leave-one-out prediction.
    alphas, errors : ndarrays of shape (n_alphas,)
        The penalties tried, increasing, and their mean squared residuals, summed over outputs.
    best : int
        Index of the penalty that was taken.
    solver : str
    n_iter : int, default=1
        Steps of an iterative solver.
    status : Status
    """

    coef: np.ndarray
    intercept: np.ndarray
    residuals: np.ndarray
    alphas: np.ndarray
    errors: np.ndarray
    best: int
    solver: str
    n_iter: int = 1
    status: Status = Status.CONVERGED
    gap: float = np.inf


def solve_exact(K, Y, weight, alphas, start):
    """Solve with the whole Gram matrix, which is overwritten.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Symmetric; mean diagonal 1.
    Y : ndarray of shape (n, n_outputs)
    weight : ndarray of shape (n,)
        Positive, of sum n.
    alphas : ndarray
        Increasing penalties.
    start : float
        Penalty at which the search begins when n is above `SPECTRAL_ROWS`.
    """
    n = len(K)
    root = np.sqrt(weight)[:, None]
    mean, row_means = weight @ Y / n, K @ weight / n
    target = root * (Y - mean)
    # Centred, plus 11': sqrt(s) becomes an eigenvector of eigenvalue n, whose share is taken off the diagonal below.
    K -= row_means
    K -= row_means[:, None] - (weight @ row_means / n + 1.0)
    K *= root
    K *= root.T
    solve = _spectral_path if n <= SPECTRAL_ROWS else _cholesky_search
    ridges = np.maximum(n * alphas, 10 * ROUNDING * np.trace(K))
    dual, residuals, errors, tried, best = solve(K, target, root, ridges, n * start)
    coef = root * dual
    return RidgePath(coef, mean - row_means @ coef, residuals, alphas[tried], errors, best, "exact")


def _spectral_path(K, target, root, ridges, start):
    """Return C y, its residuals, the errors, which ridges were tried and the best of them, from one eigh."""
    n = len(K)
    w, V = eigh(K.T, lower=False, overwrite_a=True, check_finite=False, driver="evd")
    if w[0] < -1e-6 * w[-1]:
        raise _not_psd(f"its least eigenvalue is {w[0]:.1e} where the mean diagonal is 1")
    filters = 1.0 / (np.maximum(w, 0.0)[:, None] + ridges)  # (n, n_ridges)
    projections = V.T @ target

    def residuals(rows, columns):
        duals, diagonal = _filtered(V[rows], projections, filters[:, columns])
        diagonal -= root[rows] ** 2 / (n * (n + ridges[columns]))
        return duals, _ratio(duals, root[rows, :, None] * diagonal[:, None, :])

    errors = np.zeros(len(ridges))
    for rows in row_blocks(n, n):
        errors += np.einsum("i,ikr->r", root[rows, 0] ** 2, residuals(rows, slice(None))[1] ** 2) / n
    best = _least(errors)
    duals, left_out = residuals(slice(None), slice(best, best + 1))
    return duals[..., 0], left_out[..., 0], errors, slice(None), best


def _cholesky_search(K, target, root, ridges, start):
    """Return the same as `_spectral_path` from a few Cholesky factors: a walk down the grid in shrinking strides."""
    n, seen = len(K), {}

    def error(i):
        if i not in seen:
            A = np.array(K.T, order="F")
            A[np.diag_indices(n)] += ridges[i]
            factor, failed = dpotrf(A, lower=1, overwrite_a=1, clean=0)
            if failed:
                raise _not_psd(f"a Cholesky factor does not exist after {ridges[i]:.1e} is added to its diagonal")
            dual = dpotrs(factor, target, lower=1)[0]
            diagonal = np.diagonal(dpotri(factor, lower=1, overwrite_c=1)[0])[:, None]
            residuals = _ratio(dual, root * (diagonal - root**2 / (n * (n + ridges[i]))))
            seen[i] = np.sum(root**2 * residuals**2) / n, dual, residuals
        return seen[i][0]

    best = min(int(np.searchsorted(ridges, start)), len(ridges) - 1)
    for stride in (4, 2, 1):
        previous = None
        while best != previous:
            previous = best
            best = min((i for i in (best, best - stride, best + stride) if 0 <= i < len(ridges)), key=error)
    tried = sorted(seen)
    return *seen[best][1:], np.array([seen[i][0] for i in tried]), tried, tried.index(best)


def _filtered(V, projections, filters):
    """Return V diag(f) P of shape (rows, n_outputs, n_filters) and diag(V diag(f) V') (rows, n_filters)."""
    weighted = projections[:, :, None] * filters[:, None, :]
    return (V @ weighted.reshape(len(filters), -1)).reshape(len(V), *weighted.shape[1:]), (V * V) @ filters


def _least(errors):
    """Return the index of the least error; of equal ones, as for a constant target, that of the largest penalty."""
    return len(errors) - 1 - int(np.argmin(errors[::-1]))


def _ratio(residual, share):
    """Return the quotient; a row without which nothing is left (n = 1) has residual 0 and is predicted by the mean."""
    return residual / np.maximum(share, np.finfo(float).tiny)


def row_blocks(n, width):
    """Return slices of n rows of `width` doubles: `BLOCK_ENTRIES` or scikit-learn's working memory, or one row."""
    entries = min(BLOCK_ENTRIES, sklearn.get_config()["working_memory"] * 2**20 / 8)
    step = max(1, int(entries // width))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def require_memory(shape, matrices, remedy):
    """Raise a MemoryError, before anything is allocated, if so many matrices of doubles do not fit.

    Parameters
    ----------
    shape : int or tuple of two ints
        Of each matrix; an int n stands for a Gram matrix of n x n.
    matrices : float
    remedy : str
        What to try.
    """
    what = "A Gram matrix" if isinstance(shape, int) else "A matrix"
    rows, columns = (shape, shape) if isinstance(shape, int) else shape
    need, limit = 8.0 * matrices * rows * columns, _memory_limit()
    if need > 0.8 * limit:
        raise MemoryError(
            f"{what} of {rows} x {columns} and what is worked out with it need {need / 2**30:.1f} GiB of this "
            f"machine's {limit / 2**30:.1f} GiB. {remedy}"
        )


def _memory_limit():
    """Return the bytes of memory that this process may use: the machine's, or its control group's."""
    try:
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not a POSIX system
        limit = 8 * 2**30
    group = Path("/sys/fs/cgroup/memory.max")
    text = group.read_text().strip() if group.exists() else "max"
    return min(limit, int(text)) if text.isdigit() else limit


def _not_psd(how):
    return ValueError(
        f"The kernel is not positive semi-definite: {how}. Give a positive semi-definite kernel, "
        "or a larger alpha if it is one only up to rounding."
    )
