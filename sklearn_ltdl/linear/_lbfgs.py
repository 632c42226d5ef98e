"""Limited-memory BFGS with one read of the data per iteration.

A read computes the objective and its gradient, one block of rows at a time. A `Metric` approximates the inverse
Hessian: that of all rows if it is cheap, and otherwise that of a sample of rows. It is factorised if there are many
rows per column, else diagonal in the coefficients and the intercept for centred columns, ``margins = (X - centre) @
coef + intercept``.
"""

from collections import deque
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from sklearn_ltdl._threads import in_order
from sklearn_ltdl.linear._gram import BLOCK, COMPILED, block_size, in_parts
from sklearn_ltdl.linear._hessians import TINY, curvatures, hessian_diagonal, hessian_product, newton_step
from sklearn_ltdl.linear._problem import Point
from sklearn_ltdl.losses import Squared, of_rows, sides_in_balance

MEMORY = 20  # number of pairs (step, change of the gradient)
SAMPLE = 1000  # rows for a diagonal metric
LARGEST = 1000  # largest side of a factorised metric
CHEAP = 2 * 10**7  # products in a Hessian that is worth its cost at once
SMALL = 2 * 10**5  # numbers of a table, of which calls of Python take longer than reads
NARROW = 256  # columns, up to which sums of positive slopes apart cost less than the read that they save


class Pass(NamedTuple):
    """What one read of the data computes at a point.

    Parameters
    ----------
    coef, gradient : ndarray of shape (n_outputs, n_features)
    intercept, slope : ndarray of shape (n_outputs,)
        The intercept, and the derivative with respect to it.
    objective : float
    margins : ndarray of shape (n_samples, n_outputs)
    rising : tuple or None
        The sum of the positive slopes times shares, and their part of the gradient, of shapes (n_outputs,) and
        (n_outputs, n_features); None where they were not summed.
    """

    coef: np.ndarray
    intercept: np.ndarray
    objective: float
    gradient: np.ndarray
    slope: np.ndarray
    margins: np.ndarray
    rising: Any = None

    def point(self, problem):
        """Return the point of the problem, whose dual variables take no other read if their parts are known."""
        if self.rising is None or isinstance(problem.loss, Squared):
            return Point(problem, self.coef, self.intercept, self.margins, objective=self.objective)
        pull, sides = self.gradient - problem.l2 * self.coef, np.ones((2, 1))
        if problem.fit_intercept:
            rise, rising = self.rising
            sides = sides_in_balance(rise, rise - self.slope)
            pull = sides[1] * pull + (sides[0] - sides[1]) * rising
        return Point(problem, self.coef, self.intercept, self.margins, objective=self.objective, sides=(sides, pull))


def read(problem, coef, intercept, is_near=False) -> Pass:
    """Return the objective without the l1 norm, and its gradient; products with X are in the precision of X.

    If the minimum `is_near`, a compiled read of wide rows sums positive slopes apart, too. The first also sums squares.
    """
    if is_read_compiled(problem):
        mean_loss, slope, pull, margins, rising = _compiled_sums(problem, coef, intercept, is_near)
    else:
        mean_loss, slope, pull, margins, rising = _sums(problem, coef, intercept)
    objective = float(mean_loss) + problem.l2 / 2 * float(np.vdot(coef, coef))
    slope *= float(problem.fit_intercept)
    return Pass(coef, intercept, objective, problem.l2 * coef + pull, slope, margins, rising)


def is_read_compiled(problem):
    """Return whether `read` is compiled for the rows and the loss of a problem."""
    is_ours = type(problem.loss).__module__ == Squared.__module__
    return problem.is_compiled and is_ours and not problem.loss.coupled


def _compiled_sums(problem, coef, intercept, is_near):
    from sklearn_ltdl.linear._passes import read_rows  # compiled code loads on first use

    X, Y = problem.X, problem.Y
    margins, w = np.empty_like(Y), coef[0].astype(X.dtype, copy=False)
    share = problem.share[:1] if problem.equal else problem.share
    on_sides, is_first = is_near or len(w) <= NARROW, "mean_square" not in vars(problem)

    def work(rows):
        pull, rising, squares = np.zeros_like(w), np.zeros(len(w) * on_sides, w.dtype), np.zeros(1 * is_first)
        of_rows = problem.loss, X, Y[:, 0], share, w, intercept[0], rows.start, rows.stop, block_size(X)
        return *read_rows(*of_rows, margins[:, 0], pull, rising, squares), pull, rising, squares

    mean_loss, slope, rise, pull, rising, squares = map(sum, zip(*in_order(work, in_parts(*X.shape))))
    if is_first:
        problem.keep(mean_square=float(squares[0]) / len(Y))
    sides = (np.array([rise]), rising[None].astype(float)) if on_sides else None
    return mean_loss, np.array([slope]), pull[None].astype(float), margins, sides


def _sums(problem, coef, intercept):
    X, Y, loss, share = problem.X, problem.Y, problem.loss, problem.share
    factors = coef.astype(X.dtype, copy=False)
    margins, pull = np.empty_like(Y), np.zeros_like(coef)
    slope, mean_loss = np.zeros(len(coef)), 0.0
    small = 4 * BLOCK if X.size <= COMPILED else BLOCK  # calls of NumPy for a block cost more than another cache's read
    for rows in [slice(None)] if sparse.issparse(X) else problem.blocks(small):
        A, y, q, z = X[rows], Y[rows], share[rows], margins[rows]
        z[:] = (A @ factors[0])[:, None] if len(coef) == 1 else A @ factors.T
        z += intercept
        mean_loss += q @ of_rows(loss, loss.value(z, y))
        u = q[:, None] * loss.derivative(z, y)
        slope += u.sum(axis=0)
        u = u.astype(X.dtype, copy=False)
        pull += (A.T @ u[:, 0])[None] if len(coef) == 1 else (A.T @ u).T  # the block is in the cache
    return mean_loss, slope, pull, margins, None


class Metric(NamedTuple):
    """Approximate inverse Hessian, from a point of a problem with few rows.

    Parameters
    ----------
    point : Point or None
        Where the metric is diagonal.
    centre : ndarray of shape (n_features,)
        Mean of the columns weighted by the curvatures. With it, the Hessian has no entries between coefficients and
        intercept.
    of_coef : callable
        Maps a gradient in the coefficients to their step.
    of_intercept : ndarray of shape (n_outputs,)
    is_diagonal : bool
    """

    point: Point | None
    centre: np.ndarray
    of_coef: Any
    of_intercept: np.ndarray
    is_diagonal: bool

    @classmethod
    def at(cls, few, coef, intercept, is_diagonal, is_sample=True):
        """Return the metric of a problem with few rows, which may be a sample of others, at coefficients."""
        point = few.at(coef, intercept, best=False)
        weights = curvatures(point)
        of_outputs = np.maximum(weights.sum(axis=0), 1e-2 * few.loss.smoothness)
        centre = np.zeros(few.X.shape[1])
        if few.fit_intercept and weights.any():
            centre = weights.sum(axis=1) @ few.X / weights.sum()
        if not is_diagonal:
            return cls(None, centre, newton_step(point), 1 / of_outputs, is_diagonal)  # so that the sample is freed
        diagonal = hessian_diagonal(point)
        if is_sample:
            squares = (diagonal - few.l2).sum(axis=0) / max(weights.sum(), TINY)
            centre = _shrunk(centre, squares - centre**2, len(few.Y))
        diagonal = np.maximum(diagonal - of_outputs[:, None] * centre**2, 1e-3 * diagonal)
        return cls(point, centre, lambda gradient: gradient / diagonal, 1 / of_outputs, is_diagonal)

    def gradient_of_coef(self, here):
        """Return the gradient of a pass in the coefficients for centred columns, of shape (n_outputs, n_features)."""
        return here.gradient - here.slope[:, None] * self.centre

    def __call__(self, gradient):
        """Return the step of a gradient; the last column of both is that of the intercept."""
        slope = gradient[:, -1]
        step = self.of_coef(gradient[:, :-1] - slope[:, None] * self.centre)
        return _with_last(step, self.of_intercept * slope - step @ self.centre)

    def first_scale(self, gradient):
        """Return the factor that scales the first step to the curvature of the few rows along it."""
        of_coef = gradient[:, :-1] - gradient[:, -1:] * self.centre
        step = self.of_coef(of_coef)
        bend = np.vdot(step, hessian_product(self.point)(step))
        return float(np.vdot(of_coef, step) / bend) if bend > 0 else 1.0


def _shrunk(means, variances, n_rows):
    """Return the estimate of James and Stein (1961) from the means of a sample: those of many columns are mostly noise.

    Noise in the centre of thousands of columns would couple the coefficients to the intercept.
    """
    signal = n_rows * np.sum(means**2 / np.maximum(variances, 1e-9 * means**2 + TINY))
    return means * (1.0 - min(np.count_nonzero(variances > 0), signal) / max(signal, TINY))


def _with_last(columns, last):
    """Return an array with one more column; NumPy's functions for this take several times as long on few numbers."""
    array = np.empty((len(columns), columns.shape[1] + 1))
    array[:, :-1], array[:, -1] = columns, last
    return array


def no_pairs():
    """Return the memory of the method: steps, changes of the gradient and their products."""
    return deque(maxlen=MEMORY)


def passes(problem, here, metric, pairs=None, is_near=bool):
    """Yield the best pass after each read of L-BFGS, starting at `here`; end when rounding hides any decrease.

    `pairs` are those of earlier passes, in any metric; they are updated. `is_near()` tells `read` what to sum.
    """
    pairs = no_pairs() if pairs is None else pairs
    gradient = _with_last(here.gradient, here.slope)
    scale = 1.0 if not metric.is_diagonal else _scale(metric, pairs[-1]) if pairs else metric.first_scale(gradient)
    noise = max(1e-9, 10 * np.finfo(problem.X.dtype).eps)
    while True:
        step = _two_loops(gradient, pairs, metric, scale)
        decrease = np.vdot(gradient, step)
        if not decrease > 0:
            return
        for halvings in range(40):
            there = read(problem, here.coef - step[:, :-1], here.intercept - step[:, -1], is_near())
            rounding = noise * here.objective + problem.resolution
            rise = there.objective - here.objective
            if rise <= -1e-4 * decrease or (decrease <= rounding and rise <= rounding):
                break
            if decrease <= rounding and halvings == 5:
                return
            yield here
            bend = rise + decrease  # coefficient of the parabola through both points
            shorter = np.clip(decrease / (2 * bend), 0.1, 0.5) if bend < np.inf else 0.1
            step, decrease = shorter * step, shorter * decrease
        else:
            return
        if np.array_equal(there.coef, here.coef) and np.array_equal(there.intercept, here.intercept):
            return
        change = _with_last(there.gradient, there.slope) - gradient
        here, gradient = there, gradient + change
        bend = -np.vdot(step, change)
        if bend > 1e-12 * np.linalg.norm(step) * np.linalg.norm(change):
            pairs.append((-step, change, bend))
            if metric.is_diagonal:
                scale = _scale(metric, pairs[-1])
        yield here


def _scale(metric, pair):
    """Return the factor of a metric that fits the curvature along the step of a pair (Shanno and Phua 1978)."""
    _, change, bend = pair
    return bend / np.vdot(change, metric(change))


def _two_loops(gradient, pairs, metric, scale):
    """Return the gradient times the inverse Hessian as corrected by the pairs (Nocedal 1980)."""
    rest, shares = gradient.copy(), []
    for step, change, bend in reversed(pairs):
        shares.append(np.vdot(step, rest) / bend)
        rest -= shares[-1] * change
    result = scale * metric(rest)
    for (step, change, bend), share in zip(pairs, reversed(shares)):
        result += (share - np.vdot(change, result) / bend) * step
    return result


def first_metric(problem, coef, intercept, side):
    """Return a metric, and the coefficients and intercept to start at.

    A Hessian that is cheap is factorised. If 50 rows per column of the Hessian are at most a quarter of all rows, and
    their Hessian costs no more than two reads, the objective is first minimised on such a sample, as far as the sample
    represents all rows, and the Hessian of the sample is factorised.
    """
    n = len(problem.Y)
    if is_cheap(problem, side):
        return Metric.at(problem, coef, intercept, False), coef, intercept
    if not (is_tall(problem, side) and n >= 200 * side and 1.5 * n >= side**2):
        few = problem if n <= SAMPLE else problem.sample(SAMPLE)
        return Metric.at(few, coef, intercept, True, few is not problem), coef, intercept
    few = problem.sample(max(n // 20, 50 * side))
    few.refuse_extremes()
    metric = Metric.at(few.sample(SAMPLE), coef, intercept, True)
    here = read(few, coef, intercept)
    for most in (8, 20):
        for there in islice(passes(few, here, metric), most):
            decrease, was_longer = here.objective - there.objective, there is here
            here = there
            if not was_longer and decrease <= 0.1 * side / len(few.Y) * here.objective:
                break
        metric = Metric.at(few, here.coef, here.intercept, False)
    return metric, here.coef, here.intercept


def factored_metric(problem, here, side):
    """Return the metric from 5 rows per column of the Hessian, or from a twentieth of all rows if that is more.

    Of sparse rows, which have few numbers of a column, it is from 50 rows per column.
    """
    size = max(len(problem.Y) // 20, (50 if sparse.issparse(problem.X) else 5) * side)
    few = problem if is_cheap(problem, side) or size > len(problem.Y) // 4 else problem.sample(size)
    return Metric.at(few, here.coef, here.intercept, False)


def can_factor(problem, side):
    """Return whether a Hessian may be factorised, in memory and time; of sparse rows, that of narrow tables only."""
    n, p = problem.X.shape
    return side <= (NARROW if sparse.issparse(problem.X) else LARGEST) and p <= n


def is_cheap(problem, side):
    """Return whether the table is small, and the Hessian of all rows costs no more than a few calls of Python."""
    is_small = not sparse.issparse(problem.X) and problem.X.size <= SMALL
    return is_small and can_factor(problem, side) and len(problem.Y) * side**2 <= CHEAP


def is_tall(problem, side):
    """Return whether a sample of the rows gives a Hessian that represents all rows."""
    return can_factor(problem, side) and len(problem.Y) >= 20 * side
