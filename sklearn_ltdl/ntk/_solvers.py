r"""Kernel ridge with an unpenalised intercept, and its leave-one-out error for every penalty.

The problem is :math:`\frac1n \sum_i s_i |y_i - f(x_i) - b|^2 / 2 + \alpha |f|_H^2 / 2` with weights s that sum to n.
Let :math:`\tilde K = \sqrt s K_c \sqrt s'`, where :math:`K_c` is the Gram matrix centred with the weights, and let
:math:`C = (\tilde K + n\alpha)^{-1}` on the complement of :math:`\sqrt s`. Then with :math:`\tilde y = \sqrt s y` the
coefficients are :math:`\sqrt s\,C\tilde y`, and the leave-one-out residual of row i, intercept included, is

.. math:: r_i = (C \tilde y)_i / (\sqrt{s_i}\,C_{ii}),

the ridge :math:`n\alpha` being kept at its full-data value (Allen 1974; Cawley and Talbot 2003). Penalties are in units
of the kernel's mean diagonal: solvers are given K divided by it.

If the kernel has a lower rank than n, as that of a linear model has, the eigenvalues after a wide gap are rounding, and
are 0. Coefficients along their eigenvectors are functions of norm 0, which the solution does without. They stay in
:math:`C \tilde y` and :math:`C_{ii}`, whose quotients have a limit as alpha falls to 0, that of least squares.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import sklearn
from scipy.linalg import eigh
from scipy.linalg.blas import dtrmm
from scipy.linalg.lapack import dpotrf, dtrtri
from sklearn.utils import gen_batches

from sklearn_ltdl._sklearn import warn
from sklearn_ltdl.results import Status

ALPHAS = np.logspace(-9, 1, 41)  # the grid of alpha='loo', a quarter of a decade apart
SPECTRAL_ROWS = 1000  # above, an eigendecomposition costs more than the about five Cholesky factors of a search
ROUNDING = np.finfo(float).eps
GAP = 1e4  # between the rounding of eigenvalues and the next, from which on the former are 0
LOST = 1e-3  # of the target's deviation: warn if the rounding of predictions may be more
DEFINITE = 1e-11  # of the mean diagonal: with a smaller alpha, a Cholesky factor does not tell which eigenvalues are 0
VARIANCE = 1e-7  # of the mean diagonal: with a smaller alpha, variances from a Cholesky factor lose their third digit
INDEFINITE = 1e-6  # of the largest eigenvalue: a negative one beyond is no rounding, of single precision neither
PANEL_COLUMNS = 128  # of a matrix whose two triangles are worked on apart
NO_FACTOR = "no Cholesky factor, also with the penalty on its diagonal"
BLOCK_ENTRIES = 2**23  # of the matrices that are worked on in row blocks; more are no faster


@dataclass(frozen=True)
class RidgePath:
    """Solution for the alpha with the smallest leave-one-out error.

    Parameters
    ----------
    coef : ndarray of shape (n_centres, n_outputs)
    intercept : ndarray of shape (n_outputs,)
    residuals : ndarray of shape (n_samples, n_outputs)
        Target minus leave-one-out prediction.
    unseen_residuals : ndarray of shape (n_samples, n_outputs), or None
        The same at the penalty that would have been chosen without the row; None unless the solver is exact.
    alphas, errors : ndarrays of shape (n_alphas,)
        The penalties tried, increasing, and the mean squared leave-one-out residuals, summed over outputs.
    best : int
        Index of the penalty that was chosen.
    solver : str
    smoother : Smoother, float or None
        The solution as a function of the targets, or what is kept of it, its ridge; None unless the solver is exact.
    n_iter : int, default=0
        Number of steps of an iterative solver.
    status : Status
    gap : float, default=inf
        Upper bound on the suboptimality; inf if none is known.
    """

    coef: np.ndarray
    intercept: np.ndarray
    residuals: np.ndarray
    alphas: np.ndarray
    errors: np.ndarray
    best: int
    solver: str
    unseen_residuals: np.ndarray | None = None
    smoother: "Smoother | float | None" = None
    n_iter: int = 0
    status: Status = Status.CONVERGED
    gap: float = np.inf

    @property
    def flat_end(self):
        """Return the largest penalty with nearly the least error, a good start for a search with more rows."""
        return self.alphas[np.flatnonzero(self.errors <= 1.001 * self.errors[self.best])[-1]]


@dataclass(frozen=True)
class Smoother:
    r"""The solution at new rows as :math:`W y`, which also gives the contribution of each training row.

    Parameters
    ----------
    factor : ndarray of shape (n, n)
        F of which :math:`F'F` is the inverse of :math:`\tilde K + \sqrt s\sqrt s' + n\alpha`: from its eigenvectors, or
        the inverse of its Cholesky factor.
    eigenvalues : ndarray of shape (n,), or None
        Of :math:`\tilde K + \sqrt s\sqrt s'`, increasing, one a row of F; None of a Cholesky factor.
    row_means : ndarray of shape (n,)
        Weighted means of the rows of the Gram matrix.
    weight : ndarray of shape (n,)
    ridge : float
        n times the penalty in units of the kernel's mean diagonal, or the least value that rounding allows.
    """

    factor: np.ndarray
    eigenvalues: np.ndarray | None
    row_means: np.ndarray
    weight: np.ndarray
    ridge: float

    @classmethod
    def of(cls, K, weight, ridge, precise=False):
        """Return the smoother of `solve_exact`, to the bit, for the same Gram matrix, which is overwritten.

        The one that is precise has eigenvalues, whatever the ridge.
        """
        _, row_means = _centre(K, weight)
        if precise or _needs_eigenvalues(len(K), ridge):
            w, V = _eigenvalues(K)
            return cls(_factor_of(w, V, ridge), w, row_means, weight, ridge)
        factor = np.asfortranarray(K.T)
        if not _invert_factor(factor, np.diagonal(K) + ridge):
            raise not_psd(NO_FACTOR)
        return cls(_lower(factor, factor), None, row_means, weight, ridge)

    @property
    def alpha(self):
        """Return the penalty that corresponds to the ridge."""
        return self.ridge / len(self.weight)

    @property
    def is_coarse(self):
        """Return whether variances are imprecise."""
        return self.eigenvalues is None and self.ridge < VARIANCE * len(self.weight)

    @property
    def rank(self):
        """Return the number of eigenvalues that are not 0, all for a Cholesky factor."""
        return len(self.factor) if self.eigenvalues is None else np.count_nonzero(self.eigenvalues)

    @cached_property
    def inverse(self):
        r"""Return :math:`\sqrt s\,C\sqrt s'` of shape (n, n), without the eigenvectors of norm 0."""
        n, root, kept = len(self.weight), np.sqrt(self.weight)[:, None], self.factor[-self.rank :]
        C = kept.T @ kept
        C -= root * root.T / (n * (n + self.ridge))
        C *= root
        C *= root.T
        return C

    def weights(self, cross):
        """Return W of shape (m, n) for the kernel between new rows and the data."""
        weights = (cross - self.row_means) @ self.inverse
        weights += self.weight / len(self.weight)
        return weights

    def quadratic_form(self, targets):
        r"""Return :math:`\tilde y' C \tilde y` for each column of targets (n, n_outputs).

        This is the minimum of :math:`\sum_i s_i (y_i - f(x_i) - b)^2 / (n \alpha) + |f|_H^2`.
        """
        centred = np.sqrt(self.weight)[:, None] * (targets - self.weight @ targets / len(self.weight))
        return np.sum((self.factor @ centred) ** 2, axis=0)

    def variance(self, cross, diagonal, weights):
        r"""Return the variance of f(x) + b at new rows, over that of the noise-free prior with the kernel (m,).

        The intercept has a flat prior. The noise has variance n alpha divided by the weight (Rasmussen and Williams
        2006, section 2.7, where W are the weights of the best linear unbiased predictor).

        With :math:`w_j, v_j` the eigenvalues and vectors, and :math:`a_j` the share of :math:`v_j` in the centred
        values of a new row, it is :math:`k_{xx} - \sum_j a_j^2 / (w_j + n\alpha) + \alpha`. Where :math:`w_j` is above
        :math:`n\alpha` the term is :math:`a_j^2/w_j` less its share :math:`n\alpha/(w_j + n\alpha)`, which may be all
        that is left of the variance: for the rows that the data span, the first parts cancel.
        """
        n, share = len(self.weight), self.weight / len(self.weight)
        if self.eigenvalues is None:
            constant = weights @ self.row_means + self.alpha - cross @ share  # W 1 = 1
            return np.maximum(diagonal - np.einsum("ij,ij->i", weights, cross) + constant, 0.0)
        k = cross - self.row_means
        own = diagonal - 2.0 * (cross @ share) + share @ self.row_means
        k -= (k @ share)[:, None]
        w, factor = self.eigenvalues[-self.rank :], self.factor[-self.rank :]
        squares = ((k * np.sqrt(self.weight)) @ factor.T) ** 2  # a^2 / (w + n alpha)
        is_large = w > self.ridge
        spread = np.divide(self.ridge, w, out=np.zeros_like(w), where=is_large)
        rest = own - squares @ (1.0 + spread)
        rounding = 10 * ROUNDING * np.sqrt(n / w[is_large].min(initial=n)) * (diagonal + 1.0)
        return rest * (rest > rounding) + squares @ spread + self.alpha  # NaN of an infinite kernel


def solve_exact(K, Y, weight, alphas, start, blocks=(), near=False):
    """Solve with the whole Gram matrix, which is overwritten.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Symmetric matrix with mean diagonal 1.
    Y : ndarray of shape (n, n_outputs)
    weight : ndarray of shape (n,)
        Positive weights that sum to n.
    alphas : ndarray
        Increasing penalties.
    start : float
        Penalty at which the search begins if n is above `SPECTRAL_ROWS`.
    blocks : sequence of ndarrays of int
        Sets of two or more rows that are left out together; all other rows are left out one by one.
    near : bool, default=False
        Whether the least error is expected at `start` or next to it, as for the same rows with a similar kernel. The
        search then takes single steps of the grid, and finds the same minimum of an error that has one.
    """
    n, mean = len(K), weight @ Y / len(K)
    root, row_means = _centre(K, weight)
    target = root * (Y - mean)
    ridges = least_ridges(n * alphas, np.trace(K))
    solve = _spectral_path if _needs_eigenvalues(n, ridges[0]) else _cholesky_search
    duals, left_out, tried, factor = solve(K, target, root, ridges, n * start, (1,) if near else (2, 1), blocks)

    own = np.sum(weight[:, None, None] * left_out**2, axis=1)  # (n, n_tried)
    errors = own.sum(axis=0)
    best = _least(errors)
    for rows in blocks:
        own[rows] = own[rows].sum(axis=0)
    unseen = _least(errors - own)
    coef = root * duals[..., best]
    if np.any(ROUNDING * np.abs(coef).sum(axis=0) > LOST * np.sqrt(np.mean(target**2, axis=0))):
        warn(
            f"alpha is {alphas[tried][best]:.1e} of the kernel's mean diagonal, where rounding may change "
            "predictions in the third digit. Increase alpha, or use alpha='loo'."
        )
    smoother = Smoother(*factor(best), row_means, weight, ridges[tried][best])
    return RidgePath(
        coef,
        mean - row_means @ coef,
        left_out[..., best],
        alphas[tried],
        errors / n,
        best,
        "exact",
        np.take_along_axis(left_out, unseen[:, None, None], axis=2)[..., 0],
        smoother,
    )


def _centre(K, weight):
    """Turn K into root (K_c + 1) root', where root are the roots of the weights; return root and the row means of K.

    Because of the added 1, sqrt(s) is an eigenvector with eigenvalue n; its share is subtracted from the inverse.
    """
    n, root, row_means = len(K), np.sqrt(weight)[:, None], K @ weight / len(K)
    K -= row_means
    K -= row_means[:, None] - (weight @ row_means / n + 1.0)
    K *= root
    K *= root.T
    return root, row_means


def least_ridges(ridges, trace):
    """Return the ridges, raised to the rounding error of eigenvalues that sum to `trace`."""
    return np.maximum(ridges, 10 * ROUNDING * trace)


def _needs_eigenvalues(n, ridge):
    return n <= SPECTRAL_ROWS or ridge < DEFINITE * n


def _eigenvalues(K):
    """Return eigenvalues, 0 where a gap shows that they are rounding, and eigenvectors of K, which is overwritten."""
    rounding = least_ridges(0.0, np.trace(K))
    w, V = eigh(K.T, lower=False, overwrite_a=True, check_finite=False, driver="evd")
    if w[0] < -INDEFINITE * w[-1]:
        raise not_psd(f"an eigenvalue of {w[0]:.1e}, where the mean diagonal is 1")
    null = np.count_nonzero(w <= rounding)
    return np.where(w > rounding, w, 0.0 if w[null] > GAP * rounding else np.maximum(w, np.finfo(float).tiny)), V


def _factor_of(w, V, ridge):
    return np.sqrt(1.0 / (w + ridge))[:, None] * V.T


def _spectral_path(K, target, root, ridges, start, strides, blocks):
    """Return C y and residuals for the ridges tried (n, n_outputs, n_tried), which, and the function `factor`.

    C y is without the eigenvectors of norm 0. For an index of those tried, `factor` returns F and the eigenvalues.
    """
    n = len(K)
    w, V = _eigenvalues(K)
    filters = 1.0 / (w[:, None] + ridges)  # (n, n_ridges)
    projections, null = V.T @ target, n - np.count_nonzero(w)

    def inverses(rows):
        """Yield C between the rows of a block, for each ridge in turn."""
        for values, ridge in zip(filters.T, ridges):
            yield (V[rows] * values) @ V[rows].T - root[rows] * root[rows].T / (n * (n + ridge))

    left_out = np.empty((*target.shape, len(ridges)))
    duals = np.empty_like(left_out)
    for part in row_blocks(n, n):
        duals[part], diagonal = _filtered(V[part], projections, filters)
        diagonal -= root[part] ** 2 / (n * (n + ridges))
        left_out[part] = _ratio(duals[part], root[part, :, None] * diagonal[:, None, :])
    for rows in blocks:
        for i, C in enumerate(inverses(rows)):
            left_out[rows, :, i] = np.linalg.solve(C, duals[rows, :, i]) / root[rows]
    if null:
        duals, _ = _filtered(V[:, null:], projections[null:], filters[null:])
    return duals, left_out, slice(None), lambda i: (_factor_of(w, V, ridges[i]), w)


def _cholesky_search(K, target, root, ridges, start, strides, blocks):
    """Return the same as `_spectral_path` from a few Cholesky factors, by a search on the grid in shrinking strides.

    The part of K above the diagonal is kept, and factors are computed below it; the best factor so far is copied.
    """
    n, seen, kept, failed = len(K), {}, {}, set()
    work, diagonal, memory = np.asfortranarray(K.T), K.diagonal().copy(), np.empty(K.shape, order="F")

    def invert(i):
        return _invert_factor(work, diagonal + ridges[i])

    def keep(i):
        kept.clear()
        kept[i] = _lower(work, memory)

    def error(i):
        if i in failed or (i not in seen and not invert(i)):  # rounding in single precision exceeds the ridge
            failed.add(i)
            return np.inf
        if i not in seen:
            dual = dtrmm(1.0, work, dtrmm(1.0, work, target, lower=1), lower=1, trans_a=1)
            shrinkage = root**2 / (n * (n + ridges[i]))
            residuals = _ratio(dual, root * (_squared_columns(work)[:, None] - shrinkage))
            for rows in blocks:
                columns = np.where(np.arange(n)[:, None] < rows, 0.0, work[:, rows])
                C = columns.T @ columns - root[rows] * root[rows].T / (n * (n + ridges[i]))
                residuals[rows] = np.linalg.solve(C, dual[rows]) / root[rows]
            seen[i] = np.sum(root**2 * residuals**2), dual, residuals
            if seen[i][0] == min(error for error, *_ in seen.values()):
                keep(i)
        return seen[i][0]

    best = min(int(np.searchsorted(ridges, start * (1 - 1e-9))), len(ridges) - 1)  # of the grid, but for rounding
    for stride in strides:
        previous = None
        while best != previous:
            previous = best
            near = (i for i in (best, best - stride, best + stride) if 0 <= i < len(ridges))
            best = min(near, key=lambda i: (error(i), -i if i in failed else 0))
    if not seen:
        raise not_psd(NO_FACTOR)
    tried = sorted(seen)
    duals, left_out = (np.stack([seen[i][part] for i in tried], axis=2) for part in (1, 2))

    def factor(i):
        if tried[i] not in kept:
            invert(tried[i])
            keep(tried[i])
        return kept[tried[i]], None

    return duals, left_out, tried, factor


def _invert_factor(work, diagonal):
    """Write the inverse of the lower Cholesky factor on and below the diagonal; return whether there is one.

    Parameters
    ----------
    work : ndarray of shape (n, n), in Fortran order
        Holds the symmetric matrix above its diagonal, which is kept.
    diagonal : ndarray of shape (n,)
        Diagonal of the symmetric matrix.
    """
    for part in _panels(work):
        work[part.stop :, part] = work[part, part.stop :].T
        above = np.triu(work[part, part])
        work[part, part] = above + above.T
    work[np.diag_indices(len(work))] = diagonal
    if dpotrf(work, lower=1, clean=0, overwrite_a=1)[1]:
        return False
    dtrtri(work, lower=1, overwrite_c=1)
    return True


def _lower(work, out):
    """Copy the lower triangle of a matrix to `out`, with zeros above."""
    for part in _panels(work):
        out[: part.start, part] = 0.0
        out[part, part] = np.tril(work[part, part])
        out[part.stop :, part] = work[part.stop :, part]
    return out


def _squared_columns(work):
    """Return the sums of the squared entries on and below the diagonal, column by column."""
    sums = np.empty(len(work))
    for part in _panels(work):
        block, below = np.tril(work[part, part]), work[part.stop :, part]
        sums[part] = np.einsum("ji,ji->i", block, block) + np.einsum("ji,ji->i", below, below)
    return sums


def _panels(work):
    return gen_batches(len(work), PANEL_COLUMNS)


def _filtered(V, projections, filters):
    """Return V diag(f) P of shape (rows, n_outputs, n_filters) and diag(V diag(f) V') of shape (rows, n_filters)."""
    weighted = projections[:, :, None] * filters[:, None, :]
    return (V @ weighted.reshape(len(filters), -1)).reshape(len(V), *weighted.shape[1:]), (V * V) @ filters


def _least(errors):
    """Return the index of the least error on the last axis; of equal errors, as for a constant target, the last."""
    return errors.shape[-1] - 1 - np.argmin(errors[..., ::-1], axis=-1)


def _ratio(residual, share):
    """Return the quotient; without its only row (n = 1) a fit predicts the mean, so that the residual is 0."""
    return residual / np.maximum(share, np.finfo(float).tiny)


def row_blocks(n, width):
    """Split n rows of `width` doubles into slices that fit in `BLOCK_ENTRIES` and in scikit-learn's working memory."""
    entries = min(BLOCK_ENTRIES, sklearn.get_config()["working_memory"] * 2**20 / 8)
    step = max(1, int(entries // width))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def require_memory(shape, matrices, remedy):
    """Raise a MemoryError, before anything is allocated, if matrices of doubles do not fit in memory.

    Parameters
    ----------
    shape : int or tuple of two ints
        Shape of each matrix; an int n means an n x n Gram matrix.
    matrices : float
    remedy : str
        What the user can try.
    """
    what = "A Gram matrix" if isinstance(shape, int) else "A matrix"
    rows, columns = (shape, shape) if isinstance(shape, int) else shape
    need, limit = 8.0 * matrices * rows * columns, _memory_limit()
    if need > 0.8 * limit:
        raise MemoryError(
            f"{what} of {rows} x {columns} and its intermediate results need {need / 2**30:.1f} GiB of memory; "
            f"this machine has {limit / 2**30:.1f} GiB. {remedy}"
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


def not_psd(how, name="The kernel"):
    """Return the error for a matrix that is not a kernel."""
    return ValueError(
        f"{name} is not positive semi-definite; is it a matrix of distances? It has {how}. Give similarities, such as "
        "rbf_kernel(X), or a larger alpha if it is positive semi-definite up to rounding."
    )
