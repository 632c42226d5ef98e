r"""Ridge regression from one read of dense rows.

The read sums :math:`G = \sum_i q_i x_i x_i'`, the products of rows with targets, and means. With columns and targets
centred, the objective of an output is :math:`s/2 - c'w + w'(G + \lambda_2 I)w/2`, at the best intercept. Its gradient
g bounds the gap by :math:`|g|^2 / 2\lambda_2`, and g is computed from G: a bound on its rounding error e is added to
its length. Sums of k terms have relative errors of at most k units of the last place of the sum of their sizes (Higham
2002, section 3.1), so that :math:`|e| \le 2 k \epsilon (\mathrm{tr}(G) |w| + \sqrt{\mathrm{tr}(G) s})`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sklearn_ltdl.linear._gram import column_products
from sklearn_ltdl.linear._problem import Point

RESOLVED = 1e-3  # part of the objective at zero, below which the objective has lost digits


@dataclass(frozen=True)
class Moments:
    """Weighted means over the rows.

    Parameters
    ----------
    offset : ndarray of shape (n_outputs,)
        Subtracted from the targets.
    mean : ndarray of shape (n_features,)
        Of the features; it and those of the targets are 0 without an intercept.
    target : ndarray of shape (n_outputs,)
    second : ndarray of shape (n_features, n_features)
        Products of features.
    cross : ndarray of shape (n_outputs, n_features)
        Products of targets and features.
    squares : ndarray of shape (n_outputs,)
        Of targets.
    n_additions : int
        Length of the longest sum.
    """

    offset: np.ndarray
    mean: np.ndarray
    target: np.ndarray
    second: np.ndarray
    cross: np.ndarray
    squares: np.ndarray
    n_additions: int

    @classmethod
    def of(cls, problem):
        """Return the moments of the rows of a problem, from one read; numbers that are not finite spread."""
        X, Y, share, p = problem.X, problem.Y, problem.share, problem.X.shape[1]
        offset = share @ Y * float(problem.fit_intercept)
        sums, n_additions = column_products(X, Y - offset, np.ones(1) if problem.equal else np.sqrt(share))
        if problem.equal:
            sums *= share[0]
        return cls.of_products(sums, p, offset, problem.fit_intercept, n_additions)

    @classmethod
    def of_products(cls, means, p, offset, fit_intercept, n_additions=0):
        """Return the moments from the weighted means of products of the columns ``[X, Y - offset, 1]``."""
        mean, target = float(fit_intercept) * means[-1, :p], float(fit_intercept) * means[-1, p:-1]
        squares = np.diagonal(means)[p:-1].copy()
        return cls(offset, mean, target, means[:p, :p], means[p:-1, :p], squares, n_additions)

    @property
    def mean_square(self):
        """Mean squared length of a row."""
        return float(np.trace(self.second))

    def intercept(self, coef):
        """Return the best intercept."""
        return self.offset + self.target - coef @ self.mean

    @cached_property
    def centred(self):
        """The products of features, those with targets, and the squares of targets, about the means."""
        second = self.second - np.outer(self.mean, self.mean)
        return second, self.cross - np.outer(self.target, self.mean), self.squares - self.target**2


class RidgePoint(Point):
    """Coefficients with the best intercept, whose objective and gap come from moments; margins take another read."""

    is_read = False

    def __init__(self, problem, moments, coef):
        self.problem, self.coef, self.moments = problem, coef, moments
        self.intercept = moments.intercept(coef)

    @cached_property
    def margins(self):
        """Predictions of shape (n_samples, n_outputs)."""
        return self.problem.at(self.coef, self.intercept, best=False).margins

    @cached_property
    def gradient(self):
        """Gradient of the objective, of shape (n_outputs, n_features)."""
        second, cross, _ = self.moments.centred
        return self.problem.l2 * self.coef + self.coef @ second - cross

    @cached_property
    def objective(self):
        """The mean loss plus the penalty."""
        _, cross, squares = self.moments.centred
        return float(np.sum(squares) - np.vdot(self.coef, cross - self.gradient)) / 2

    @cached_property
    def gap(self):
        """Upper bound on the suboptimality of the objective, rounding included."""
        moments, eps = self.moments, np.finfo(float).eps
        terms = 2 * (moments.n_additions + len(moments.second) + 16)  # 16 for products, roots and shares
        size, of_targets = np.sqrt(moments.mean_square), np.sqrt(moments.squares)
        scale = np.linalg.norm(self.coef, axis=1) * size + of_targets
        lengths = np.linalg.norm(self.gradient, axis=1) + terms * eps * size * scale
        of_intercept = terms * eps * (scale + np.abs(moments.offset)) * float(self.problem.fit_intercept)
        return float(np.sum(lengths**2) / (2 * self.problem.l2) + np.sum(of_intercept**2) / 2)

    def is_resolved(self):
        """Return whether the objective is the difference of numbers that are not much larger."""
        return self.objective > RESOLVED * np.sum(self.moments.squares)


def from_moments(problem, solve, moments):
    """Return the point that a factorisation of the Hessian gives, after one step of refinement."""
    _, cross, _ = moments.centred
    coef = solve(cross.T).T
    point = RidgePoint(problem, moments, coef)
    return RidgePoint(problem, moments, coef - solve(point.gradient.T).T)
