r"""The problem that every linear solver minimises, with a certificate of the distance from its minimum.

.. math:: P(W, b) = \sum_i q_i \, \ell(W x_i + b, y_i) + \frac{\lambda_2}{2} |W|^2 + \lambda_1 |W|_1,
          \qquad q_i = s_i / \sum_j s_j,

with sample weights s, an intercept b that is not penalised, :math:`\lambda_1 = \alpha r` and :math:`\lambda_2 = \alpha
(1 - r)` for a share r of the l1 norm. Solvers change W; the best b for each W is computed here.
"""

import math
from copy import copy
from functools import cached_property
from zlib import crc32

import numpy as np
from scipy import sparse

from sklearn_ltdl._threads import in_order
from sklearn_ltdl.linear._gram import BLOCK, COMPILED, in_parts, margins_of, pull_of
from sklearn_ltdl.losses import Logistic, Multinomial, Squared, balanced_slopes, best_intercept, total
from sklearn_ltdl.results import Status

SMALLEST = 1e-250  # smallest sum of squares whose product with a rounding error is a normal number
SHORT = 2**14  # rows of a part for formulas of one number a row: 128 KB an operand


class Point:
    """Coefficients with an intercept. The objective, its gradient and the gap are computed on first use.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
    margins : ndarray of shape (n_samples, n_outputs)
        Predictions.
    dual : Point
        The point whose slopes are the dual variables of the certificate; by default the point itself.
    balanced : tuple
        Derivatives of the loss with zero mean, and their pull, if they are known.
    objective : float
        The objective, if it is known.
    sides : tuple
        Factors of the positive and of the negative derivatives that balance them, of shape (2, n_outputs), and the pull
        of the products, if they are known.
    """

    is_read = True  # whether the margins are known
    _other = _sides = None

    def __init__(self, problem, coef, intercept, margins, dual=None, balanced=None, objective=None, sides=None):
        self.problem, self.coef, self.intercept, self.margins = problem, coef, intercept, margins
        self._other, self._sides = dual, sides
        if objective is not None:
            self.objective = objective
        if balanced is not None:
            self._balanced = (*balanced, False)

    @property
    def dual(self):
        """The point whose slopes are the dual variables."""
        return self if self._other is None else self._other

    def moved_to(self, problem):
        """Return the same point of a problem that differs in the penalty; margins and slopes stay."""
        return Point(problem, self.coef, self.intercept, self.margins, balanced=self._balanced[:2])

    @cached_property
    def objective(self):
        """The mean loss plus the penalty."""
        problem = self.problem
        penalty = problem.l2 / 2 * _square(self.coef) + (problem.l1 and problem.l1 * np.sum(np.abs(self.coef)))
        return problem.mean_loss(self.margins) + penalty

    @cached_property
    def _raw(self):
        """Derivatives of the loss, of shape (n_samples, n_outputs)."""
        raw = np.empty_like(self.margins)

        def work(rows):
            raw[rows] = self.problem.loss.derivative(self.margins[rows], self.problem.Y[rows])

        in_order(work, self.problem.short_parts())
        return raw

    @cached_property
    def _balanced(self):
        """Derivatives u of the loss, balanced to zero mean; their pull ``X' (q u)``; and whether they are exact."""
        problem, raw = self.problem, self._raw
        if self._sides is not None:
            return self._on_both_sides(raw, *self._sides)
        slopes = balanced_slopes(problem.loss, raw, problem.Y, problem.share) if problem.fit_intercept else raw
        return slopes, problem.transposed(problem.share[:, None] * slopes), slopes is raw

    def _on_both_sides(self, raw, factors, pull):
        if np.all(factors == 1):
            return raw, pull, True
        slopes = np.empty_like(raw)

        def work(rows):
            np.multiply(raw[rows], np.where(raw[rows] > 0, *factors), out=slopes[rows])

        in_order(work, self.problem.short_parts())
        return slopes, pull, False

    @cached_property
    def gradient(self):
        """Gradient of the objective without the l1 norm, of shape (n_outputs, n_features)."""
        return self.problem.l2 * self.coef + self._balanced[1]

    @property
    def _shrink(self):
        """Factor that makes the slopes feasible: the conjugate of the l1 norm is 0 in a box, and infinite outside."""
        problem = self.problem
        if problem.l1 == 0 or problem.l2 > 0:
            return 1.0
        return min(1.0, problem.l1 / max(np.max(np.abs(self._balanced[1])), np.finfo(float).tiny))

    @property
    def slopes(self):
        """Feasible dual variables u of shape (n_samples, n_outputs)."""
        balanced, shrink = self.dual._balanced[0], self.dual._shrink
        return balanced if shrink == 1 else shrink * balanced

    @cached_property
    def gap(self):
        r"""Upper bound on the suboptimality of the objective; inf if alpha is 0, because no such bound exists then.

        With :math:`v = -\sum_i q_i u_i x_i'`, the bound is the sum of the non-negative terms :math:`q_i [\ell(z_i) +
        \ell^*(u_i) - u_i z_i]` of the rows and :math:`\Omega(w) + \Omega^*(v) - v w` of the coefficients. Rounding of v
        counts where it is divided by a small penalty.
        """
        problem, (balanced, pull, exact) = self.problem, self.dual._balanced
        if problem.alpha == 0:
            return np.inf
        shrink = self.dual._shrink
        of_rows = 0.0
        if not exact or shrink < 1 or self.dual is not self:  # else zero, term by term
            of_rows = self._of_rows(self.slopes)
        error = problem.rounding_of_pull(balanced) if problem.l2 > 0 else 0.0
        return float(of_rows) + problem.penalty_gap(self.coef, shrink * pull, error)

    def _of_rows(self, u):
        """Return the part of the gap that slopes leave which are not the derivatives; others leave zero."""
        problem, Z = self.problem, self.margins
        only_moved = self._other is None and Z.shape[1] == 1 and not problem.l1
        raw = self._raw if only_moved else None

        def work(rows):
            parts = problem.share[rows], Z[rows], u[rows], problem.Y[rows]
            if only_moved:
                moved = np.flatnonzero(u[rows, 0] != raw[rows, 0])
                parts = [part[moved] for part in parts]
            return np.sum(parts[0] @ problem.loss.fenchel_young(*parts[1:]))

        return sum(in_order(work, problem.short_parts()))


class FiniteSum:
    """Weighted mean of the losses of a linear model, plus a penalty.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features), float64
        Or in Fortran or CSC order, for what does not read rows.
    Y : ndarray of shape (n_samples, n_outputs)
    loss : loss object
    alpha : float
        Weight of the penalty relative to the mean loss.
    weight : ndarray of shape (n_samples,), default=None
        Positive sample weights with any sum; None for equal weights.
    fit_intercept : bool, default=True
    l1_ratio : float, default=0.0
        Share of the l1 norm in the penalty, ``l1_ratio |W|_1 + (1 - l1_ratio) |W|^2 / 2``.
    centre : ndarray of shape (n_features,), default=None
        Values that were subtracted from the columns of X. An intercept b here is ``b - centre @ w`` for the original
        columns.
    """

    def __init__(self, X, Y, loss, alpha, weight=None, fit_intercept=True, l1_ratio=0.0, centre=None):
        self.X, self.Y, self.loss, self.alpha, self.fit_intercept = X, Y, loss, alpha, fit_intercept
        self.l1, self.l2, self.l1_ratio, self.centre = alpha * l1_ratio, alpha * (1 - l1_ratio), l1_ratio, centre
        is_one = Y.shape[1] == 1  # several are for matrix products of linear algebra, and its threads
        is_large = not sparse.issparse(X) and X.size > COMPILED
        self.is_compiled = is_one and is_large and X.flags.c_contiguous  # and so are samples of the rows
        self.equal = weight is None or np.ptp(weight) == 0
        self.share = np.full(len(Y), 1 / len(Y)) if self.equal else weight / weight.sum()  # q

    @cached_property
    def mean_square(self):
        """Mean squared length of a row."""
        parts = in_parts(*self.X.shape) if self.is_compiled else [slice(None)]
        return sum(in_order(lambda rows: _square(self._numbers[rows]), parts)) / len(self.Y)

    @property
    def _numbers(self):
        return self.X.data if sparse.issparse(self.X) else self.X

    def refuse_extremes(self):
        """Raise an error if numbers are not finite, or if their products overflow or their squares vanish."""
        of_features, of_targets = self.mean_square * len(self.Y), _square(self.Y)
        size = of_features * max(1.0, of_targets)
        if not np.isfinite(size * max(1.0, size)):
            raise ValueError("X or y has numbers so large that their products overflow; standardise the columns.")
        if (of_features < SMALLEST and np.any(self._numbers)) or (of_targets < SMALLEST and np.any(self.Y)):
            raise ValueError("X or y has numbers so small that their squares vanish; standardise the columns.")

    @classmethod
    def centred(cls, X, Y, loss, alpha, weight=None, fit_intercept=True, l1_ratio=0.0):
        """Return the problem with centred columns, if it has an intercept and columns are far from zero.

        Coefficients, dual variables and gap do not change. Sparse columns are not centred.
        """
        if not fit_intercept or sparse.issparse(X) or not _is_far_from_zero(X):
            return cls(X, Y, loss, alpha, weight, fit_intercept, l1_ratio)
        with np.errstate(over="ignore", invalid="ignore"):  # the problem rejects such numbers
            centre = X[0] + np.average(X - X[0], axis=0, weights=weight)  # averages of numbers without the offset
            X = X - centre
        return cls(X, Y, loss, alpha, weight, fit_intercept, l1_ratio, centre)

    def published(self, coef, intercept):
        """Return the intercept for the original columns."""
        return intercept if self.centre is None else intercept - coef @ self.centre

    def intercept_here(self, coef, intercept):
        """Convert an intercept for the original columns to one for these columns, in long doubles."""
        if self.centre is None:
            return intercept
        moved = coef.astype(np.longdouble) @ self.centre.astype(np.longdouble)
        return (intercept + moved).astype(np.float64)

    @cached_property
    def fingerprint(self):
        """Identity of the problem: parameters, and checksums of targets, weights and a projection of X."""
        projection = self.X @ np.cos(np.arange(self.X.shape[1]))
        sums = (crc32(np.ascontiguousarray(array)) for array in (self.Y, self.share, projection))
        return repr(self.loss), self.alpha, self.l1, self.fit_intercept, self.X.shape, *sums

    def with_alpha(self, alpha):
        """Return the problem with another `alpha` and the same `l1_ratio`; computed properties of X are kept."""
        penalty = {"alpha": alpha, "l1": alpha * self.l1_ratio, "l2": alpha * (1 - self.l1_ratio)}
        return self._changed("squared_lengths", "mean_square", **penalty)

    def keep(self, **properties):
        """Keep values of cached properties that a solver has computed on its way."""
        vars(self).update(properties)

    def drop(self, name):
        """Compute a cached property again when it is next asked for."""
        vars(self).pop(name, None)

    def without_rows(self):
        """Return the problem without X, and without what was computed from it."""
        return self._changed(X=None)

    def with_rows(self, X):
        """Return the problem with X."""
        return self._changed(X=X)

    def _changed(self, *kept, **fields):
        """Return a copy with other fields; of the cached properties, keep only those in `kept`."""
        other = copy(self)
        computed = {name for name, value in vars(type(self)).items() if isinstance(value, cached_property)}
        vars(other).update(fields)
        for name in computed.difference(kept):
            vars(other).pop(name, None)
        return other

    @cached_property
    def start(self):
        """The point of zero coefficients: the best constant prediction."""
        coef = np.zeros((self.Y.shape[1], self.X.shape[1]))
        mean = self.share @ self.Y
        if not isinstance(self.loss, Logistic) or not self.fit_intercept or not np.all((mean > 0) & (mean < 1)):
            return self.at(coef)
        intercept = np.log(mean) - np.log1p(-mean)
        objective = float(total(self.loss, intercept[None], mean[None], np.ones(1)))  # is linear in the label
        return Point(self, coef, intercept, np.full_like(self.Y, intercept[0]), objective=objective)

    def at(self, coef, intercept=None, *, best=True):
        """Return the point of `coef`, with the best intercept (searched from `intercept`) unless `best` is false."""
        if not coef.any():
            margins = np.zeros_like(self.Y)
        elif len(coef) == 1:
            margins = self._times(coef[0])[:, None]  # faster than a matrix with one column
        else:
            margins = self.X @ coef.T
        intercept = np.zeros(len(coef)) if intercept is None else intercept
        if self.fit_intercept:
            if best:
                intercept = best_intercept(self.loss, margins, self.Y, self.share, intercept)
            margins += intercept
        return Point(self, coef, intercept, margins)

    def _times(self, w):
        return margins_of(self.X, w) if self.is_compiled else self.X @ w

    def penalty_gap(self, coef, pull, error=0.0):
        """Return the sum of the terms ``omega(w) + omega*(v) - v w >= 0`` of the coefficients, for ``v = -pull``.

        Squares that are divided by the penalty are those of lengths, to which the length of an `error` is added.
        """
        if self.l1 == 0:
            return (_length(self.l2 * coef + pull) + error) ** 2 / (2 * self.l2)
        v = -pull
        inside = np.clip(v, -self.l1, self.l1)
        rest = float(np.sum(np.maximum(self.l1 * np.abs(coef) - inside * coef, 0)))
        return rest + ((_length(self.l2 * coef - (v - inside)) + error) ** 2 / (2 * self.l2) if self.l2 > 0 else 0.0)

    def rounding_of_pull(self, slopes):
        """Return the length of the rounding error of ``X' (share slopes)`` that is exceeded with no real probability.

        Rounding errors of k terms are a random walk (Higham and Mary 2019, theorem 2.4, with 4 deviations).
        """
        largest, n = float(np.max(self.share)), len(self.Y)
        size = largest * math.sqrt(n * self.mean_square) * _length(slopes)
        return float(2 * np.finfo(float).eps) * math.sqrt(n) * size

    def error(self, point):
        """Return the gap over the range of the objective; for alpha = 0, the gradient's norm over that at zero."""
        if self.alpha == 0:
            return np.linalg.norm(point.gradient) / max(np.linalg.norm(self.start.gradient), self.resolution)
        range_ = self.start.objective - (point.objective - point.gap)
        return point.gap / max(range_, self.resolution)

    @cached_property
    def resolution(self):
        """Rounding error of the loss at zero: smaller ranges of the objective are not resolved."""
        return np.finfo(float).eps * self._loss_at_zero() + np.finfo(float).tiny

    def _loss_at_zero(self):
        if isinstance(self.loss, Logistic):
            return np.log(2)  # whatever the labels
        if isinstance(self.loss, Squared):
            return float(np.einsum("i,ij,ij->", self.share, self.Y, self.Y)) / 2  # without copies
        return self.mean_loss(np.zeros_like(self.Y))

    @cached_property
    def nothing_to_gain(self):
        """Whether the best constant prediction is the minimum up to rounding, as for constant columns."""
        return self.start.gap <= self.rounding_of_gap

    @cached_property
    def rounding_of_gap(self):
        """Approximate rounding error of the gap at zero, as far as it is small relative to the objective."""
        rounding = (10 * np.finfo(float).eps * np.max(np.abs(self.Y))) ** 2
        if self.l2 > 0:
            rounding *= 1 + self.mean_square / (2 * self.l2)
        objective = self.start.objective
        return min(rounding, 1e-9 * objective) + 100 * np.finfo(float).eps * objective

    def rounding_of_objective(self, point):
        """Return approximately the rounding error of the objective at a point, which comes from its margins."""
        size = np.sqrt(np.max(self.squared_lengths)) * np.linalg.norm(point.coef) + np.linalg.norm(point.intercept)
        slope = np.sum(self.share[:, None] * np.abs(self.loss.derivative(point.margins, self.Y)))
        return np.finfo(float).eps * (slope * size + point.objective)

    def separates(self, point):
        """Return whether there is no minimum because the point separates the classes: larger coefficients are better.

        With several classes it is enough that the score of one class minus the mean of the others separates it.
        """
        if self.alpha > 0 or not isinstance(self.loss, Logistic | Multinomial):
            return False
        if np.max(self.loss.value(point.margins, self.Y)) < np.log(2):
            return True
        return isinstance(self.loss, Multinomial) and any(self._sets_apart(point, k) for k in range(self.Y.shape[1]))

    def _sets_apart(self, point, k):
        score = point.margins[:, k] - np.delete(point.margins, k, axis=1).mean(axis=1)
        inside, outside = np.min(score[self.Y[:, k] > 0]), np.max(score[self.Y[:, k] == 0])
        return inside > outside if self.fit_intercept else inside > 0 > outside

    def status(self, point, tol):
        """Return whether the point is within `tol` of the minimum, or whether no minimum exists."""
        if self.separates(point):
            return Status.SEPARABLE
        status = Status.of(self.error(point), tol)
        if status is not Status.CONVERGED and point.gap <= self._rounding_at(point):
            return Status.CONVERGED
        return status

    def _rounding_at(self, point):
        """Return the gap that may be rounding, where the range of the objective is hardly more; else 0."""
        if point.gap > 2e-9 * self.start.objective:  # more than any of these
            return 0.0
        if self.nothing_to_gain:
            return self.rounding_of_gap
        start = self.start.objective
        is_flat = start - (point.objective - point.gap) <= 1e-9 * start
        return 1000 * np.finfo(float).eps * start if is_flat else 0.0

    def transposed(self, U):
        """Return ``U' X`` of shape (n_outputs, n_features) for `U` of shape (n_samples, n_outputs)."""
        if U.shape[1] == 1:
            return (pull_of(self.X, U[:, 0]) if self.is_compiled else self.X.T @ U[:, 0])[None]
        return np.ascontiguousarray((self.X.T @ U).T)

    @cached_property
    def squared_lengths(self):
        """Squared lengths of the rows."""
        if not sparse.issparse(self.X):
            return np.einsum("ij,ij->i", self.X, self.X)
        squares, indptr = np.zeros(len(self.Y)), self.X.indptr
        for rows in self.blocks(BLOCK // 4):
            ends = indptr[rows.start : rows.stop + 1] - indptr[rows.start]
            filled = np.flatnonzero(np.diff(ends))
            if len(filled):
                data = self.X.data[indptr[rows.start] : indptr[rows.stop]]
                squares[rows.start + filled] = np.add.reduceat(data * data, ends[filled])
        return squares

    def blocks(self, size=BLOCK):
        """Return slices of rows that hold about `size` numbers."""
        X = self.X
        width = max(1, X.nnz // len(self.Y)) if sparse.issparse(X) else X.shape[1]
        size = max(1, size // width)
        return [slice(begin, min(begin + size, len(self.Y))) for begin in range(0, len(self.Y), size)]

    def short_parts(self):
        """Return slices of rows for formulas of one number a row, whose temporaries stay in the cache."""
        return [slice(begin, min(begin + SHORT, len(self.Y))) for begin in range(0, len(self.Y), SHORT)]

    def column_sizes(self):
        """Return the root mean squares of the columns."""
        squares = np.zeros(self.X.shape[1])
        for rows in self.blocks(BLOCK // 4):
            A = self.X[rows]
            squares += (A * A).sum(axis=0) if sparse.issparse(A) else np.einsum("ij,ij->j", A, A)
        return np.sqrt(squares / len(self.Y))

    @cached_property
    def term_smoothness(self):
        """Smoothness of the terms without the penalty, each times ``n_samples`` times its share."""
        return len(self.Y) * self.share * self.loss.smoothness * (self.squared_lengths + self.fit_intercept)

    def smoothness(self):
        """Return the largest smoothness of a term."""
        return np.max(self.term_smoothness) + self.l2 + np.finfo(float).tiny

    @cached_property
    def loss_smoothness(self):
        """Smoothness of the mean loss at the best intercept, by power iterations with a safety margin."""
        v = np.random.default_rng(0).normal(size=self.X.shape[1])
        value = 0.0
        centre = self.share @ self.X if self.fit_intercept else np.zeros(len(v))
        for _ in range(100):
            norm = np.linalg.norm(v)
            if norm == 0:
                break
            v /= norm
            z = self.share * (self.X @ v - centre @ v)
            v = self.X.T @ z - z.sum() * centre
            value, before = np.linalg.norm(v), value
            if value <= before * 1.005:
                break
        return 1.05 * self.loss.smoothness * value

    def by_rows(self):
        """Return the problem with X in C or CSR order, of which rows can be read."""
        if sparse.issparse(self.X):
            return self if self.X.format == "csr" else self._changed("mean_square", X=self.X.tocsr())
        if self.X.flags.c_contiguous:
            return self
        is_compiled = self.Y.shape[1] == 1 and self.X.size > COMPILED
        return self._changed("mean_square", X=np.ascontiguousarray(self.X), is_compiled=is_compiled)

    def in_single_precision(self):
        """Return the problem with a copy of the dense rows in single precision."""
        return self._changed("mean_square", X=self.X.astype(np.float32))

    def sample(self, size):
        """Return the problem of about `size` rows of equal weight, drawn with probabilities equal to their shares."""
        rng = np.random.default_rng(0)
        rows = np.sort(rng.integers(len(self.Y), size=size) if self.equal else self._drawn(rng.random(size)))
        X = self.X[rows] if sparse.issparse(self.X) else self.X.take(rows, axis=0, mode="clip")  # in half the time
        return self._changed("mean_square", X=X, Y=self.Y[rows], share=np.full(size, 1 / size), equal=True)

    def _drawn(self, chances):
        return np.minimum(np.searchsorted(np.cumsum(self.share), chances, side="right"), len(self.share) - 1)

    def rotated(self):
        """Return the same problem in n_samples coordinates, and the map from its coefficients to the features."""
        X = self.X.toarray() if sparse.issparse(self.X) else self.X
        basis, triangle = np.linalg.qr(X.T)
        problem = FiniteSum(
            np.ascontiguousarray(triangle.T), self.Y, self.loss, self.l2, self.share, self.fit_intercept
        )
        return problem, basis.T

    def mean_loss(self, margins):
        """Return the weighted mean of the losses of predictions."""
        parts = self.short_parts()
        return float(sum(in_order(lambda r: total(self.loss, margins[r], self.Y[r], self.share[r]), parts)))


def _is_far_from_zero(X):
    """Return whether large column means would make products of columns lose digits, judged on a sample of rows."""
    sample = X[:: max(1, len(X) // max(50, min(BLOCK // (4 * X.shape[1]), 200)))]
    with np.errstate(over="ignore", invalid="ignore"):  # the problem rejects such numbers
        spread = sample - sample[0]
        means = spread.mean(axis=0)
        variances = np.einsum("ij,ij->j", spread, spread) / len(spread) - means**2
        return bool(np.any((means + sample[0]) ** 2 > 1e3 * variances))


def _length(array):
    return math.sqrt(_square(array))


def _square(array):
    numbers = array.ravel(order="K")  # in Fortran order, too, without a copy
    return float(np.vdot(numbers, numbers))
