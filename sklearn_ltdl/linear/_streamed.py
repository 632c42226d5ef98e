r"""Finite sums over rows that are read block by block: squares in one pass, other smooth losses by Newton's method.

Each pass reduces the value, the gradient and the Hessian of the mean loss, and what a certificate needs. With an
intercept, dual variables must have the mean zero. Those of a separate loss are its slopes u, the positive ones times
:math:`t^+` and the negative ones times :math:`t^-`, both at most 1. As :math:`\ell^*` is convex, a row then adds at
most :math:`(1 - t)(\ell(z) + \ell^*(0))` to the gap. Those of the multinomial loss are
:math:`(1 - t) p_i + t r - y_i` for the probabilities :math:`p_i` and one row r, and a row adds at most t times the
divergence from r to :math:`p_i`. Both bounds vanish with the mean slope: the gap at the minimum is rounding.
"""

import time
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax, xlogy

from sklearn_ltdl._targets import weights_of_classes
from sklearn_ltdl.linear._fitting import classification_task, regression_task
from sklearn_ltdl.linear._gram import BLOCK, column_products
from sklearn_ltdl.linear._hessians import inverse
from sklearn_ltdl.linear._ridge import Moments, from_moments
from sklearn_ltdl.linear._solvers import SOLVERS
from sklearn_ltdl.losses import Logistic, Multinomial, Squared, best_intercept, of_rows
from sklearn_ltdl.results import Solution, Status, Trace
from sklearn_ltdl.rows._gather import Slices, gather
from sklearn_ltdl.rows._looks import LabelTarget, look_at_labels, look_at_numbers, numbers_of, weights_of
from sklearn_ltdl.rows._rows import look

SAMPLE = 50_000  # rows whose solution Newton's method starts from
LARGEST_HESSIAN = 8192  # rows of it
SHORTEST = 2.0**-30  # part of a step that does not lead down


@dataclass(frozen=True)
class Position:
    """Where a pass evaluates the sum, and how it reads targets and weights.

    Parameters
    ----------
    loss : loss object
    labels : LabelTarget or None
        None for numbers.
    factors : ndarray of shape (n_classes,) or None
        Of the weights of the rows of each class.
    total : float
        Sum of the weights.
    centre : ndarray of shape (n_features,)
        Subtracted from the columns.
    coef, intercept : ndarrays of shape (n_outputs, n_features) and (n_outputs,)
        `intercept` is that of the centred columns.
    constant : ndarray of shape (n_outputs,) or None
        A constant prediction whose loss is asked for.
    """

    loss: Any
    labels: LabelTarget | None
    factors: np.ndarray | None
    total: float
    centre: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    constant: np.ndarray | None = None

    def moved(self, step, shift, length):
        """Return the position after a step."""
        return replace(self, coef=self.coef - length * step, intercept=self.intercept - length * shift, constant=None)

    def read(self, block):
        """Return the targets (n_rows, n_outputs) and the shares of the rows of a block."""
        share = weights_of(block) / self.total
        if self.labels is None:
            return numbers_of(block), share
        codes = self.labels.codes(block)
        return self.of_codes(codes), share if self.factors is None else share * self.factors[codes]

    def of_codes(self, codes):
        """Return the targets of classes by their numbers."""
        n_outputs = len(self.intercept)
        return codes[:, None].astype(float) if n_outputs == 1 else np.eye(n_outputs)[codes]


class Penalty(NamedTuple):
    """What a point of ridge regression on Rows needs of its problem."""

    l2: float
    fit_intercept: bool


def square_sums(block, about):
    """Return the products of the columns ``[features, targets, 1]`` of a block, with weights; for `gather`.

    `about` are the values subtracted from features and targets.
    """
    centre, offset = about
    root = np.ones(1) if block.weight is None else np.sqrt(block.weight)
    return column_products(np.subtract(block.X, centre, order="C"), numbers_of(block) - offset, root)[:1]


def newton_sums(block, at: Position):
    """Return value, gradient and Hessian of the mean loss over a block, and what the gap needs; for `gather`."""
    Y, share = at.read(block)

    def read(rows):
        A = np.empty((rows.stop - rows.start, block.X.shape[1] + 1))  # with a column of ones
        np.subtract(block.X[rows], at.centre, out=A[:, :-1])
        A[:, -1] = 1.0
        return A, Y[rows], share[rows]

    return gather(_coupled_sums if at.loss.coupled else _separate_sums, Slices(_slices(block), read), at)


def _slices(block):
    step = max(1, BLOCK // block.X.shape[1])
    return [slice(i, min(i + step, block.n_rows)) for i in range(0, block.n_rows, step)]


def _values(A, Y, share, at):
    """Return predictions, and the shares of the losses there and of a constant."""
    margins = A[:, :-1] @ at.coef.T + at.intercept
    constant = 0.0
    if at.constant is not None:
        constant = float(share @ of_rows(at.loss, at.loss.value(np.broadcast_to(at.constant, Y.shape), Y)))
    return margins, float(share @ of_rows(at.loss, at.loss.value(margins, Y))), constant


def _separate_sums(block, at):
    A, Y, share = block
    margins, value, constant = _values(A, Y, share, at)
    slopes = at.loss.derivative(margins, Y)
    weighted = share[:, None] * slopes
    positive = np.maximum(weighted, 0.0)
    curvature = np.sqrt(share[:, None] * at.loss.second_derivative(margins, Y))
    hessian = np.empty((Y.shape[1], A.shape[1], A.shape[1]))
    for k, root in enumerate(curvature.T):
        B = A * root[:, None]
        hessian[k] = B.T @ B
    at_zero = share[:, None] * at.loss.fenchel_young(margins, np.zeros_like(slopes), Y)
    above = (at_zero * (slopes > 0)).sum(axis=0)
    return value, constant, weighted.T @ A, hessian, positive.T @ A, np.array([above, at_zero.sum(axis=0) - above])


def _coupled_sums(block, at):
    A, Y, share = block
    margins, value, constant = _values(A, Y, share, at)
    slopes = at.loss.derivative(margins, Y)
    P, K, p = slopes + Y, Y.shape[1], A.shape[1]
    hessian = np.empty((K, p, K, p))
    for j in range(K):
        for k in range(j + 1):
            curvature = share * P[:, j] * (P[:, k] if j != k else 1.0 - P[:, k])
            root = np.sqrt(np.maximum(curvature, 0.0))
            B = A * root[:, None]
            hessian[j, :, k] = hessian[k, :, j] = (1.0 if j == k else -1.0) * (B.T @ B)
    logs = share @ log_softmax(margins, axis=1)
    return value, constant, (share[:, None] * slopes).T @ A, hessian, (share[:, None] * P).T @ A, logs, share @ A


class Evaluated:
    """The objective at a position, its gap, and the step of Newton's method from there.

    Attributes
    ----------
    objective, gap, constant : float
        `constant` is the objective at the constant that was asked for.
    """

    def __init__(self, at, sums, l2, fit_intercept):
        value, constant, gradient, hessian = sums[:4]
        self.at, self.constant, self._l2, self._fit_intercept = at, constant, l2, fit_intercept
        self.objective = value + l2 / 2 * float(np.sum(at.coef**2))
        self._slope, self._mean_slope = gradient[:, :-1] + l2 * at.coef, gradient[:, -1]
        self._hessian = hessian
        pull, rest = gradient[:, :-1], 0.0
        if fit_intercept:
            balance = _coupled_balance if at.loss.coupled else _separate_balance
            pull, rest = balance(gradient, *sums[4:])
        self.gap = float(rest) + float(np.sum((l2 * at.coef + pull) ** 2)) / (2 * l2)

    def step(self):
        """Return the step of the coefficients and of the intercept, and the decrease that it foretells."""
        slope, mean = self._slope, self._mean_slope
        if self.at.loss.coupled:
            K, p = len(slope), self._hessian.shape[1]
            H = self._hessian.reshape(K * p, K * p)
            inner = np.arange(K * p).reshape(K, p)
            step, shift = self._solved(H, inner[:, :-1].ravel(), inner[:, -1], slope.ravel(), mean)
            step = step.reshape(slope.shape)
        else:
            parts = [
                self._solved(H, np.arange(len(H) - 1), np.array([len(H) - 1]), g, mean[[k]])
                for k, (H, g) in enumerate(zip(self._hessian, slope))
            ]
            step, shift = np.array([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        return step, shift, float(np.sum(step * slope) + shift @ mean)

    def _solved(self, H, of_coef, of_intercept, slope, mean):
        """Return the step of coefficients and intercept from a Hessian of both."""
        inside = H[np.ix_(of_coef, of_coef)].copy()
        inside[np.diag_indices_from(inside)] += self._l2
        if not self._fit_intercept:
            return inverse(inside, self._l2)(slope), np.zeros(len(mean))
        edge, corner = (
            H[np.ix_(of_coef, of_intercept)],
            np.linalg.pinv(H[np.ix_(of_intercept, of_intercept)], rcond=1e-14),
        )
        step = inverse(inside - edge @ corner @ edge.T, self._l2)(slope - edge @ (corner @ mean))
        return step, corner @ (mean - edge.T @ step)


def _separate_balance(gradient, positive, at_zero):
    """Return the pull of balanced slopes, and a bound on what they add to the gap."""
    up, down = positive[:, -1], positive[:, -1] - gradient[:, -1]
    level, tiny = np.minimum(up, down), np.finfo(float).tiny
    t = np.array([level / np.maximum(up, tiny), level / np.maximum(down, tiny)])
    negative = positive - gradient
    pull = t[0][:, None] * positive[:, :-1] - t[1][:, None] * negative[:, :-1]
    return pull, np.sum((1.0 - t) * at_zero)


def _coupled_balance(gradient, weighted, logs, rows):
    """Return the pull of balanced probabilities, and a bound on what they add to the gap."""
    excess, mean = gradient[:, -1], weighted[:, -1]
    t = max(0.0, float(np.max(excess / mean)))
    if t == 0.0:
        return gradient[:, :-1], 0.0
    r = np.maximum(mean - excess - (1.0 - t) * mean, 0.0) / t
    pull = gradient[:, :-1] + t * (np.outer(r, rows[:-1]) - weighted[:, :-1])
    return pull, t * max(0.0, float(np.sum(xlogy(r, r)) - r @ logs))


@dataclass(frozen=True)
class LinearFit:
    """What a fit to rows publishes: see the attributes of the estimators.

    Parameters
    ----------
    coef, intercept : ndarray or float
    classes : ndarray or None
    solution : Solution
    """

    coef: np.ndarray
    intercept: np.ndarray | float
    classes: np.ndarray | None
    solution: Solution


def regression_of_rows(rows, objective, options):
    """Return the linear fit of rows with numbers as targets.

    Parameters
    ----------
    rows : Rows
    objective : Objective
    options : dict
        Of the estimator: `solver`, `tol`, `max_iter`, and `warm_start` and `step_size`, which are refused.
    """
    loss = _supported(objective, options)
    if isinstance(loss, Squared):
        coef, intercept, solution = _squares(rows, objective, options)
    else:
        counts, moments, drawn = look(rows, look_at_numbers, SAMPLE, 0)
        if getattr(loss, "of_labels", False) and not (moments.low.min() >= 0 and moments.high.max() <= 1):
            raise ValueError(f"loss={loss} is for y between 0 and 1; got values from {moments.low} to {moments.high}.")
        task = regression_task(drawn.X, numbers_of(drawn), weights_of(drawn), objective)
        start = _start(task, drawn, loss, None, None, counts.weight, options)
        coef, intercept, solution = _newton(rows, start, objective, options)
    if rows.columns.flat:
        coef, intercept = coef[0], float(intercept[0])
    return LinearFit(coef, intercept, None, solution)


def classification_of_rows(rows, objective, class_weight, options):
    """Return the linear fit of rows with labels as targets; see `regression_of_rows`."""
    loss = _supported(objective, options)
    counts, found, drawn = look(rows, look_at_labels, SAMPLE, 0)
    classes, totals = found.labels()
    if len(classes) < 2 or not totals.all():
        what = (
            f"one class, {classes.tolist()[0]!r}"
            if len(classes) < 2
            else f"{classes[totals == 0].tolist()} of weight 0"
        )
        raise ValueError(f"y has {what}; a classifier of Rows needs rows of positive weight of two or more classes.")
    if isinstance(loss, Logistic) and len(classes) > 2:
        loss = Multinomial()
    labels, factors, total = LabelTarget(classes), None, counts.weight
    if class_weight is not None:
        weighted = weights_of_classes(class_weight, classes, np.arange(len(classes)), totals)
        factors, total = weighted / totals, weighted.sum()
    codes, weight = labels.codes(drawn), weights_of(drawn)
    weight = weight if factors is None else weight * factors[codes]
    task = classification_task(drawn.X, codes, weight, objective._replace(loss=loss), None, np.arange(len(classes)))
    start = _start(task, drawn, loss, labels, factors, total, options)
    Y, shares = start.of_codes(np.arange(len(classes))), totals * (1.0 if factors is None else factors) / total
    constant = np.zeros(len(start.intercept))
    if objective.fit_intercept:
        constant = best_intercept(loss, np.zeros(Y.shape), Y, shares, constant)
    seen = np.bincount(codes, minlength=len(classes)) > 0
    if not seen.all():
        start = _with_unseen(start, seen, constant)
    of_constant = float(shares @ of_rows(loss, loss.value(np.broadcast_to(constant, Y.shape), Y)))
    coef, intercept, solution = _newton(rows, start, objective, options, of_constant)
    return LinearFit(coef, intercept, classes, solution)


def _with_unseen(start, seen, constant):
    """Return the position in which outputs of classes that the sample lacks begin with the best constant."""
    unseen = np.ones(1, dtype=bool) if len(constant) == 1 else ~seen
    if start.loss.coupled:
        constant = constant + (start.intercept - constant)[seen].mean()
    coef = np.where(unseen[:, None], 0.0, start.coef)
    return replace(start, coef=coef, intercept=np.where(unseen, constant, start.intercept))


def _supported(objective, options):
    """Return the loss, or raise an error for what is not done block by block."""
    loss, asked = objective.resolved(), options["solver"]
    remedy = "or give *rows.sample(n)."
    if objective.l1_ratio > 0:
        raise ValueError(
            f"l1_ratio={objective.l1_ratio:g} needs all rows in memory; for Rows take l1_ratio=0, {remedy}"
        )
    if asked not in ("auto", "newton") and not (asked == "cholesky" and isinstance(loss, Squared)):
        raise ValueError(f"solver={asked!r} needs all rows in memory; for Rows take solver='auto', {remedy}")
    if objective.alpha == 0 and not isinstance(loss, Squared):
        raise ValueError(f"alpha=0 has no certificate, and Rows are fitted with one; give a positive alpha, {remedy}")
    if options["warm_start"] or options["step_size"] is not None:
        raise ValueError(
            "warm_start and step_size are for arrays; fits to Rows start from a sample and take Newton's steps."
        )
    return loss


def _start(task, drawn, loss, labels, factors, total, options):
    """Return the position of the solution of a sample."""
    n_outputs = len(task.present)
    if (drawn.X.shape[1] + 1) * (n_outputs if loss.coupled else 1) > LARGEST_HESSIAN:
        raise ValueError(
            f"{n_outputs} outputs of {drawn.X.shape[1]} features have a Hessian of more than {LARGEST_HESSIAN} rows; "
            "take fewer features, or give *rows.sample(n)."
        )
    problem = task.problem
    solution = SOLVERS["auto"](problem, tol=1e-8, max_iter=1000)
    coef, intercept = (np.atleast_1d(part) for part in task.published(solution.coef, solution.intercept))
    centre = weights_of(drawn) @ drawn.X / weights_of(drawn).sum()
    coef = coef.reshape(n_outputs, -1)
    if not problem.fit_intercept:
        centre = np.zeros_like(centre)
    constant = problem.start.intercept if labels is None else None
    return Position(loss, labels, factors, total, centre, coef, intercept + coef @ centre, constant)


def _newton(rows, start, objective, options, constant=None):
    """Return coefficients, intercept and solution by Newton's method, a pass a step.

    `constant` is the objective at the best constant, None for that at the constant of `start`.
    """
    began, records = time.perf_counter(), []

    def evaluated(at):
        point = Evaluated(at, gather(newton_sums, rows, at), objective.alpha, objective.fit_intercept)
        seconds, dual = time.perf_counter() - began, point.objective - point.gap
        records.append((len(records) + 1, seconds, point.objective, dual, point.gap))
        return point

    point = evaluated(start)
    constant = point.constant if constant is None else constant
    rounding = 100 * np.finfo(float).eps * max(abs(constant), abs(point.objective))

    def status():
        return Status.of(point.gap, options["tol"] * max(constant - (point.objective - point.gap), rounding))

    stalled = False
    while status() is not Status.CONVERGED and not stalled and len(records) < options["max_iter"]:
        step, shift, foretold = point.step()
        length, other, is_cut = 1.0, evaluated(point.at.moved(step, shift, 1.0)), False
        while other.objective > point.objective - 1e-4 * length * foretold + rounding:
            length, is_cut = length / 2, len(records) == options["max_iter"]
            if is_cut or length < SHORTEST:
                break
            other = evaluated(point.at.moved(step, shift, length))
        if is_cut:
            break
        stalled = other.objective >= point.objective - rounding and other.gap >= point.gap
        point = point if stalled else other
    found = Status.ROUNDED if stalled and status() is not Status.CONVERGED else status()
    at = point.at
    solution = _solution(at.coef, at.intercept, point.gap, found, "newton", records)
    return at.coef, at.intercept - at.coef @ at.centre, solution


def _solution(coef, intercept, gap, status, solver, records):
    reason = {
        "newton": "Newton's method from the solution of a sample takes the fewest passes",
        "cholesky": "squares need one pass",
    }[solver]
    reason = f"rows are read block by block, and {reason}"
    trace, no_slopes = Trace(*np.array(records).T), np.empty((0, len(coef)))
    return Solution(coef, intercept, len(records), gap, status, solver, no_slopes, trace, None, reason)


def _squares(rows, objective, options):
    """Return coefficients, intercept and solution of the squared loss, from one pass."""
    began, alpha = time.perf_counter(), objective.alpha
    block = next((block for leaf in rows._leaves() for block in leaf), None)
    if block is None:
        raise ValueError(f"{rows!r}: expected rows, got none.")
    Y = numbers_of(block)
    centre, offset = (a.mean(axis=0) * objective.fit_intercept for a in (block.X, Y))
    (sums,) = gather(square_sums, rows, (centre, offset))
    if sums[-1, -1] == 0:
        raise ValueError(f"{rows!r}: expected rows of positive weight, got none.")
    moments = Moments.of_products(sums / sums[-1, -1], len(centre), offset, objective.fit_intercept)
    second, cross, squares = moments.centred
    penalty = Penalty(alpha, objective.fit_intercept)
    point = from_moments(penalty, inverse(second + alpha * np.eye(len(second)), alpha), moments)
    gap = float(np.vdot(point.gradient, point.gradient)) / (2 * alpha) if alpha > 0 else np.inf  # rounding apart
    if alpha > 0:
        error = gap / max(float(np.sum(squares)) / 2 - (point.objective - gap), np.finfo(float).tiny)
    else:
        error = float(np.linalg.norm(point.gradient)) / max(float(np.linalg.norm(cross)), np.finfo(float).tiny)
    record = (1, time.perf_counter() - began, point.objective, point.objective - gap, gap)
    status = Status.of(error, options["tol"])
    status = Status.ROUNDED if status is not Status.CONVERGED else status
    intercept = point.intercept - point.coef @ centre
    return point.coef, intercept, _solution(point.coef, intercept, gap, status, "cholesky", [record])
