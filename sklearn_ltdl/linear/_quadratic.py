r"""The squared loss with an l1 norm, as a quadratic function from one read of dense rows.

With columns and targets centred, the loss of an output is :math:`s/2 - c'w + w'Gw/2` at the best intercept, with the
moments of `sklearn_ltdl.linear._ridge`. Coordinate descent and the duality gap need no more than these. The pull
:math:`g = Gw - c` is computed with an error of at most :math:`e_j = k \epsilon a_j (\sum_k a_k |w_k| + \sqrt s)` in
coordinate j, with the root mean squares a of the columns: each entry of G is a sum of products less a product of two
sums, and sums of k terms have relative errors of at most k units of the last place of the sum of their sizes (Higham
2002, section 3.1). The gap is a sum of convex functions of the pull, and its largest value within these errors is what
is published.
"""

from functools import cached_property

import numpy as np

from sklearn_ltdl.linear._coordinates import Goal, HessianModel, minimised
from sklearn_ltdl.linear._problem import Point
from sklearn_ltdl.linear._ridge import Moments

EPS = np.finfo(float).eps


class Quadratic:
    """The mean squared loss at the best intercept, as a function of the coefficients.

    Attributes
    ----------
    hessian : ndarray of shape (n_features, n_features)
        Products of centred columns, with a positive diagonal.
    cross : ndarray of shape (n_outputs, n_features)
        Products of centred targets and columns.
    squares : ndarray of shape (n_outputs,)
        Mean squares of the centred targets.
    sizes : ndarray of shape (n_features,)
        Root mean squares of the columns.
    rounding : float
        Relative error of a product of a column with the residual, over the sizes of the terms.
    """

    def __init__(self, problem):
        self.moments = moments = Moments.of(problem)
        second, self.cross, self.squares = moments.centred
        self.hessian = second.copy()
        squares, of_entry = np.diagonal(moments.second), 3 * (moments.n_additions + 16) * EPS  # 16 for roots and shares
        least = of_entry * squares + np.finfo(float).tiny  # no farther from the truth than what is less
        self.hessian[np.diag_indices_from(self.hessian)] = np.maximum(np.diagonal(self.hessian), least)
        self.sizes, self.of_targets = np.sqrt(squares), np.sqrt(moments.squares)
        self.rounding = of_entry + len(squares) * EPS


class QuadraticPoint(Point):
    """Coefficients with the best intercept, whose objective and gap come from moments; margins take another read."""

    is_read = False

    def __init__(self, problem, quadratic, coef, pull=None):
        self.problem, self.quadratic, self.coef = problem, quadratic, coef
        self.intercept = quadratic.moments.intercept(coef)
        self.pull = coef @ quadratic.hessian - quadratic.cross if pull is None else pull

    def moved_to(self, problem):
        """Return the same point of a problem that differs in the penalty."""
        return QuadraticPoint(problem, self.quadratic, self.coef, self.pull)

    @cached_property
    def margins(self):
        """Predictions of shape (n_samples, n_outputs)."""
        return self.problem.at(self.coef, self.intercept, best=False).margins

    @cached_property
    def gradient(self):
        """Gradient of the objective without the l1 norm, of shape (n_outputs, n_features)."""
        return self.problem.l2 * self.coef + self.pull

    @cached_property
    def _of_residuals(self):
        """Sum over the outputs of the mean squared residuals."""
        return max(float(np.sum(self.quadratic.squares) + np.vdot(self.coef, self.pull - self.quadratic.cross)), 0.0)

    @cached_property
    def objective(self):
        """The mean loss plus the penalty."""
        problem = self.problem
        penalty = problem.l1 * np.abs(self.coef).sum() + problem.l2 / 2 * np.vdot(self.coef, self.coef)
        return float(self._of_residuals / 2 + penalty)

    @cached_property
    def gap(self):
        """Upper bound on the suboptimality of the objective, rounding included."""
        problem, quadratic, coef = self.problem, self.quadratic, self.coef
        scale = quadratic.of_targets + np.abs(coef) @ quadratic.sizes
        error, shrink = quadratic.rounding * scale[:, None] * quadratic.sizes, 1.0
        if problem.l2 == 0:
            shrink = min(1.0, (1 - 4 * EPS) * problem.l1 / np.max(np.abs(self.pull) + error))
        of_rows = (1 - shrink) ** 2 / 2 * (self._of_residuals + 2 * quadratic.rounding * scale @ scale)
        error, slope, v = shrink * error, -coef, -shrink * self.pull
        if problem.l2 > 0:  # derivative in v of the coefficients' part, which bends by at most 1 / l2
            slope = slope + (v - np.clip(v, -problem.l1, problem.l1)) / problem.l2
            of_rows += np.vdot(error, error) / (2 * problem.l2)
        of_intercept = quadratic.rounding * (scale + np.abs(quadratic.moments.offset)) * problem.fit_intercept
        of_coef = problem.penalty_gap(coef, -v) + np.vdot(error, np.abs(slope))
        return float(of_rows + of_coef + of_intercept @ of_intercept / 2)


def descend_from_moments(problem, state, tol):
    """Yield points as a solver does, until their gap is at most `tol` relative to the range, or rounding."""
    known, cost = state["known"], 0.0
    if "quadratic" not in known:
        known["quadratic"], cost = Quadratic(problem), 1.0
    quadratic = known["quadratic"]
    problem.keep(start=QuadraticPoint(problem, quadratic, np.zeros_like(quadratic.cross)))
    point = problem.start if "coef" not in state else QuadraticPoint(problem, quadratic, state["coef"])
    for share in (0.3, 0.03, 3e-3, 3e-4):  # of the tolerance
        range_, coef = max(problem.start.objective - point.objective, problem.resolution), point.coef.copy()
        for k, pull in enumerate(point.pull):
            model = HessianModel(problem, quadratic.hessian, pull, coef[k])
            coef[k] = minimised(model, Goal(share * tol, range_), point.objective)
        point = QuadraticPoint(problem, quadratic, coef)
        state.update(coef=point.coef, intercept=point.intercept)
        known["last"] = point
        yield cost, point
        cost = 0.0
    problem.drop("start")  # from here on, rounding is not only bounded
