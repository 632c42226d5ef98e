r"""The problem that every linear solver minimises, and the certificate of how far a point is from its minimum.

.. math:: P(W, b) = \sum_i q_i \, \ell(W x_i + b, y_i) + \frac{\alpha}{2} |W|^2, \qquad q_i = s_i / \sum_j s_j,

with sample weights s and an intercept b that is not penalised. Solvers move W; the best b for it is found here.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from sklearn_ltdl.losses import Logistic, Multinomial, balanced_slopes, best_intercept, total
from sklearn_ltdl.results import Status

BLOCK = 2**17  # numbers of a block of rows: 1 MB, the size of a level-2 cache


@dataclass(frozen=True)
class Point:
    """Coefficients with the best intercept for them, and what is known of the objective there.

    Parameters
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
    margins, slopes : ndarray of shape (n_samples, n_outputs)
        Predictions, and feasible dual variables: the derivative of the loss, balanced so that its mean is zero.
    gradient : ndarray of shape (n_outputs, n_features)
    objective : float
    gap : float
        Upper bound on the suboptimality of the objective; inf if alpha is 0, where no bound of this kind exists.
    """

    coef: np.ndarray
    intercept: np.ndarray
    margins: np.ndarray
    slopes: np.ndarray
    gradient: np.ndarray
    objective: float
    gap: float


class FiniteSum:
    """Weighted mean of the losses of a linear model, plus a ridge penalty.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features), float64
    Y : ndarray of shape (n_samples, n_outputs)
    loss : loss object
    alpha : float
        Weight of ``|W|^2 / 2`` against the mean loss.
    weight : ndarray of shape (n_samples,), default=None
        Positive sample weights of any sum; None for equal ones.
    fit_intercept : bool, default=True
    """

    def __init__(self, X, Y, loss, alpha, weight=None, fit_intercept=True):
        self.X, self.Y, self.loss, self.alpha, self.fit_intercept = X, Y, loss, alpha, fit_intercept
        self.share = np.full(len(Y), 1 / len(Y)) if weight is None else weight / weight.sum()  # q
        size = _square(X.data if sparse.issparse(X) else X) * max(1.0, _square(Y))
        if not np.isfinite(size * max(1.0, size)):
            raise ValueError("X or y has numbers so large that their products overflow; standardise the columns.")

    @cached_property
    def start(self):
        """The point of zero coefficients: the best constant prediction."""
        return self.at(np.zeros((self.Y.shape[1], self.X.shape[1])))

    def at(self, coef, intercept=None):
        r"""Return the point of `coef`, looking for its intercept from `intercept` on.

        With dual variables u and :math:`r = \alpha W + \sum_i q_i u_i x_i'`, the duality gap is the sum of
        non-negative terms :math:`\sum_i q_i [\ell(z_i) + \ell^*(u_i) - u_i z_i] + |r|^2 / 2\alpha`.
        """
        margins = self.X @ coef.T
        intercept = np.zeros(len(coef)) if intercept is None else intercept
        if self.fit_intercept:
            intercept = best_intercept(self.loss, margins, self.Y, self.share, intercept)
            margins += intercept
        slopes = self.loss.derivative(margins, self.Y)
        if self.fit_intercept:
            slopes = balanced_slopes(self.loss, slopes, self.Y, self.share)
        gradient = self.alpha * coef + self.transposed(self.share[:, None] * slopes)
        objective = self._mean_loss(margins) + self.alpha / 2 * _square(coef)
        gap = np.inf
        if self.alpha > 0:
            gap = self._mean(self.loss.fenchel_young(margins, slopes, self.Y)) + _square(gradient) / (2 * self.alpha)
        return Point(coef, intercept, margins, slopes, gradient, objective, gap)

    def error(self, point):
        """Return the gap over the range of the objective, or the length of the gradient over its length at zero."""
        if self.alpha == 0:
            return np.linalg.norm(point.gradient) / max(np.linalg.norm(self.start.gradient), self.resolution)
        range_ = self.start.objective - (point.objective - point.gap)
        return point.gap / max(range_, self.resolution)

    @cached_property
    def resolution(self):
        """The rounding error of the loss at zero, which no range of the objective undercuts."""
        return np.finfo(float).eps * self._mean_loss(np.zeros_like(self.Y)) + np.finfo(float).tiny

    def status(self, point, tol):
        """Return whether the point is within `tol` of the minimum, or will never be because there is none."""
        likelihood = isinstance(self.loss, Logistic | Multinomial)
        if likelihood and self.alpha == 0 and np.max(self.loss.value(point.margins, self.Y)) < np.log(2):
            return Status.SEPARABLE  # every decision is right, and larger coefficients lower every loss
        if self.start.gap <= 100 * self.resolution:  # as where all columns are constant: there is nothing to gain
            return Status.CONVERGED
        return Status.of(self.error(point), tol)

    def transposed(self, U):
        """Return ``U' X`` of shape (n_outputs, n_features) for `U` of shape (n_samples, n_outputs)."""
        return np.ascontiguousarray((self.X.T @ U).T)

    def smoothness(self):
        """Return the largest smoothness of a term, ``n_samples`` times its share of the objective."""
        X = self.X
        squares = sparse.linalg.norm(X, axis=1) ** 2 if sparse.issparse(X) else np.einsum("ij,ij->i", X, X)
        largest = np.max(len(self.Y) * self.share * (squares + self.fit_intercept))
        return self.loss.smoothness * largest + self.alpha + np.finfo(float).tiny

    def newton_step(self, point):
        """Return the function that maps a gradient at `point` to the Newton step of the coefficients."""
        n_outputs = len(point.coef)
        if self.loss.coupled:
            P = point.slopes + self.Y
            hessian = self._hessian(n_outputs, lambda j, k: self.share * P[:, j] * ((j == k) - P[:, k]))
            inverse = _inverse(hessian, self.alpha)
            return lambda gradient: inverse(gradient.ravel()).reshape(gradient.shape)
        curvatures = (self.share[:, None] * self.loss.second_derivative(point.margins, self.Y)).T
        if np.ptp(curvatures, axis=0).max() == 0:  # outputs of the squared loss share their Hessian
            inverse = _inverse(self._hessian(1, lambda j, k: curvatures[0]), self.alpha)
            return lambda gradient: inverse(gradient.T).T
        inverses = [_inverse(self._hessian(1, lambda j, k, c=c: c), self.alpha) for c in curvatures]
        return lambda gradient: np.array([inverse(row) for inverse, row in zip(inverses, gradient)])

    def rotated(self):
        """Return the same problem in n_samples coordinates, and the map of its coefficients to these features."""
        X = self.X.toarray() if sparse.issparse(self.X) else self.X
        basis, triangle = np.linalg.qr(X.T)
        problem = FiniteSum(
            np.ascontiguousarray(triangle.T), self.Y, self.loss, self.alpha, self.share, self.fit_intercept
        )
        return problem, basis.T

    def _mean(self, values):
        return float(np.sum(self.share @ values))

    def _mean_loss(self, margins):
        return float(total(self.loss, margins, self.Y, self.share))

    def _hessian(self, K, weight):
        """Return the Hessian in the coefficients of K outputs, the best intercept following them.

        `weight(j, k)` is the second derivative in outputs j and k times the share, one number a row.
        """
        p = self.X.shape[1]
        diagonal = sum(weight(k, k) for k in range(K))
        centre = diagonal @ self.X / max(diagonal.sum(), np.finfo(float).tiny) if self.fit_intercept else np.zeros(p)
        hessian = np.empty((K, p, K, p))
        edge, corner = np.empty((K, p, K)), np.empty((K, K))
        for j in range(K):
            for k in range(j + 1):
                rows = weight(j, k)
                gram, edge[j, :, k] = _moments(self.X, centre, rows)
                hessian[j, :, k], hessian[k, :, j] = gram, gram
                edge[k, :, j] = edge[j, :, k]
                corner[j, k] = corner[k, j] = rows.sum()
        hessian, edge = hessian.reshape(K * p, K * p), edge.reshape(K * p, K)
        if self.fit_intercept:
            hessian -= edge @ np.linalg.lstsq(corner, edge.T, rcond=1e-14)[0]
        hessian[np.diag_indices_from(hessian)] += self.alpha
        return hessian


def _square(array):
    return float(np.vdot(array, array))


def _moments(X, centre, weight):
    """Return ``A' diag(weight) A`` and ``A' weight`` for ``A = X - centre`` and weights of one sign."""
    p = X.shape[1]
    if sparse.issparse(X):
        first = X.T @ weight
        gram = (X.T @ (sparse.diags_array(weight) @ X)).toarray()
        gram -= np.outer(centre, first) + np.outer(first - weight.sum() * centre, centre)
        return gram, first - weight.sum() * centre
    root, gram, first = np.sqrt(np.abs(weight)), np.zeros((p, p)), np.zeros(p)
    size = max(1, BLOCK // p)
    for rows in (slice(begin, begin + size) for begin in range(0, len(X), size)):
        A = (X[rows] - centre) * root[rows, None]
        gram += A.T @ A
        first += root[rows] @ A
    sign = -1 if weight.sum() < 0 else 1
    return sign * gram, sign * first


def _inverse(hessian, alpha):
    """Return the function that multiplies by the inverse, or by the pseudo-inverse where nothing bounds it below."""
    from scipy.linalg import cho_factor, cho_solve, eigh

    if alpha > 0:
        with suppress(np.linalg.LinAlgError):  # alpha can be smaller than the rounding of large features
            factor = cho_factor(hessian, check_finite=False)
            return lambda vector: cho_solve(factor, vector, check_finite=False)
    values, vectors = eigh(hessian)
    kept = values > len(values) * np.finfo(float).eps * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    return lambda vector: vectors @ ((vectors.T @ vector).T / values).T
