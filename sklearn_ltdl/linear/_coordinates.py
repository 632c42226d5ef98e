"""Steps of a proximal Newton method: coordinate descent on the quadratic model of a finite sum with an l1 norm.

A model holds the columns with a nonzero coefficient, or with a gradient near the weight of the l1 norm; the certificate
of the next point covers all columns. The model has the exact gradient of its point. Only the changes from there are
computed with stored columns, so that these may be copies in single precision: the next model corrects their rounding,
as in iterative refinement. A model of few columns and many rows is stored as its Hessian.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse

from sklearn_ltdl.linear._hessians import TINY, hessian_of
from sklearn_ltdl.linear._lbfgs import read
from sklearn_ltdl.linear._problem import Point
from sklearn_ltdl.losses import Logistic, Squared, balanced_slopes

NEAR = 0.8  # columns whose gradient exceeds this share of the l1 weight are in the model
FEW = 200  # most columns of a model that is stored as its Hessian
PER_READ = 36  # columns by which the products of columns take one read longer
VISITS = 20_000  # of coefficients of a Hessian, before it is worth extrapolating
SMALL = 10**5  # tables of fewer numbers stay in a cache in double precision
FLAT = 1e-3  # least curvature of a row in the model, relative to the smoothness of the loss
SMALLEST = 1e-10  # the same for the logistic loss, whose curvature does not jump


class Columns:
    """The columns of X that models read, each contiguous in memory: X itself in Fortran or CSC order, or copies.

    Copies of dense columns are centred and scaled by powers of two, on the evidence of a few rows. They are in single
    precision unless the table is small or `in_doubles` was called.
    """

    def __init__(self, problem):
        self.X, self.share, self.has_intercept = problem.X, problem.share, problem.fit_intercept
        self.typical = np.sqrt(problem.mean_square / problem.X.shape[1]) or 1.0
        self.dtype = np.dtype(np.float32 if not sparse.issparse(self.X) and self.X.size > SMALL else np.float64)
        self._clear()

    def _clear(self):
        X, p = self.X, self.X.shape[1]
        self.centre, self.scale, self._used, is_in_place = np.zeros(p), np.ones(p), 0, True
        if sparse.issparse(X) and X.format == "csc":
            self.values = X.data, X.indices, X.indptr
        elif sparse.issparse(X):
            self.values, is_in_place = None, False
        elif self.dtype == np.float64 and X.flags.f_contiguous:
            self.values = X.T
        else:
            self.values, is_in_place = np.empty((0, len(X)), self.dtype), False
            self._choose_units(X[:: max(1, len(X) // 64)])
        self._slots = np.arange(p) if is_in_place else np.full(p, -1)  # -1: not in `values`

    def _choose_units(self, sample):
        if self.has_intercept:
            self.centre = sample[0] + (sample - sample[0]).mean(axis=0)
        size = np.sqrt(np.mean((sample - self.centre) ** 2, axis=0))
        self.scale = 2.0 ** -np.round(np.log2(np.where(size > 0, size, self.typical)))

    def in_doubles(self):
        """Store columns in double precision from now on."""
        self.dtype = np.dtype(np.float64)
        self._clear()

    @cached_property
    def mean(self):
        """The mean row, zero without an intercept."""
        return self.share @ self.X if self.has_intercept else np.zeros(self.X.shape[1])

    def slots(self, which):
        """Return the positions in `values` of columns; columns that are not there yet are copied."""
        from sklearn_ltdl.linear import _columns as compiled  # compiled code loads on first use

        missing = which[self._slots[which] < 0]
        if len(missing) and sparse.issparse(self.X):
            if self.values is not None or 4 * len(missing) > self.X.shape[1]:  # asked again: copy all columns
                X = self.X.tocsc()
                self.values, self._slots = (X.data, X.indices, X.indptr), np.arange(self.X.shape[1])
            else:
                parts = self.X.data, self.X.indices, self.X.indptr
                self.values = compiled.gathered_sparse(*parts, missing, self.X.shape[1])
                self._slots[missing] = np.arange(len(missing))
        elif len(missing):
            used, now = self._used, self._used + len(missing)
            if now > len(self.values):
                larger = np.empty((min(max(now, 2 * used), self.X.shape[1]), len(self.X)), self.dtype)
                larger[:used] = self.values[:used]
                self.values = larger
            if self.X.flags.c_contiguous:
                compiled.gathered(self.X, missing, self.centre, self.scale, self.values[used:now])
            else:
                for k, j in enumerate(missing):
                    self.values[used + k] = (self.X[:, j] - self.centre[j]) * self.scale[j]
            self._slots[missing], self._used = np.arange(used, now), now
        return self._slots[which]


class ColumnModel:
    """The model of one output, of stored columns; its coefficients are in the units of the stored columns.

    Parameters
    ----------
    problem : FiniteSum
    columns : Columns
    which : ndarray of int
        The columns in the model.
    c : ndarray of shape (n_samples,) or (1,)
        Second derivatives of the loss times the shares; a single number if they are equal.
    pull, coef : ndarray of shape (n_features,)
        Gradient of the loss, and coefficients, at the point of the model.
    """

    def __init__(self, problem, columns, which, c, pull, coef):
        from sklearn_ltdl.linear import _columns as compiled  # compiled code loads on first use

        is_sparse = sparse.issparse(problem.X)
        slots, c = columns.slots(which), c.astype(columns.dtype, copy=False)
        first, second = (compiled.sparse_moments if is_sparse else compiled.dense_moments)(columns.values, slots, c)
        self.total = float(c.sum(dtype=float)) * (len(problem.Y) if len(c) == 1 else 1)
        bends = np.maximum(second - problem.fit_intercept * first**2 / self.total, 1e-12 * second + TINY)
        self.total = self.total if problem.fit_intercept else np.inf
        self.scale = columns.scale[which]
        self.l1, self.l2 = problem.l1 * self.scale, problem.l2 * self.scale**2
        self.start, self.first, self.bends = pull[which] * self.scale, first, bends
        self.columns, self.slots, self.c = columns, slots, c
        self.begin = coef[which] / self.scale
        self.drift, self.shift = np.zeros(len(problem.Y), columns.dtype), np.zeros(1)
        self._round = compiled.sparse_round if is_sparse else compiled.dense_round

    def round(self, coef, order):
        """Take a round of coordinate descent."""
        state = self.c, self.drift, self.shift, self.total, self.start, self.first, self.bends, self.l1, self.l2
        return self._round(self.columns.values, self.slots, *state, coef, order)

    def state(self):
        """Return what changes with the coefficients, which is an affine function of them."""
        return self.drift.copy(), self.shift.copy()

    def combine(self, parts, states):
        """Continue from an affine combination of states."""
        for total, terms in zip((self.drift, self.shift), zip(*states)):
            total[:] = sum(part * term for part, term in zip(parts.astype(total.dtype), terms))

    def curved(self):
        """Return the part of the model that is quadratic in the change of the coefficients."""
        drift = self.drift
        square = self.c[0] * np.vdot(drift, drift) if len(self.c) == 1 else np.sum(drift * drift / self.c)
        return 0.5 * float(square) - (0.5 * self.shift[0] ** 2 * self.total if self.total < np.inf else 0.0)

    def value(self, coef):
        """Return the model at the current coefficients."""
        penalty = self.l1 @ np.abs(coef) + 0.5 * self.l2 @ coef**2
        return self.start @ (coef - self.begin) + self.curved() + penalty

    def rounding(self):
        """Return what rounding may cause of the three measures of a round."""
        excess = 4 * np.finfo(self.columns.dtype).eps * np.sqrt(self.bends * max(2 * self.curved(), 0.0))
        squares = np.sum(excess[self.l2 > 0] ** 2 / self.l2[self.l2 > 0])
        return np.max(excess / self.l1), squares, 0.5 * np.sum(excess**2 / self.bends)


class CoupledModel:
    """The model of all outputs of the multinomial loss; each coefficient has its output and its stored column.

    Parameters
    ----------
    problem : FiniteSum
    columns : Columns
    outputs, which : ndarray of int
        The outputs and columns of the coefficients in the model.
    P : ndarray of shape (n_outputs, n_samples)
        Probabilities at the point of the model.
    pull, coef : ndarray of shape (n_outputs, n_features)
        Gradient of the loss, and coefficients, at the point of the model.
    """

    def __init__(self, problem, columns, outputs, which, P, pull, coef):
        from sklearn_ltdl.linear import _columns as compiled  # compiled code loads on first use

        is_sparse = sparse.issparse(problem.X)
        moments = compiled.sparse_moments if is_sparse else compiled.dense_moments
        self._round = compiled.sparse_coupled_round if is_sparse else compiled.dense_coupled_round
        self._centre = compiled.centre_scores if problem.fit_intercept else None
        distinct, at = np.unique(which, return_inverse=True)
        self.columns, self.slots, self.outputs = columns, columns.slots(distinct)[at], outputs
        self.P, self.Q = P.astype(columns.dtype), (problem.share * P).astype(columns.dtype)
        curvature = self.Q * (1 - self.P)
        self.totals = np.sum(curvature, axis=1, dtype=float)
        self.bends = np.empty(len(which))
        for k in range(len(P)):
            _, self.bends[outputs == k] = moments(columns.values, self.slots[outputs == k], curvature[k])
        self.bends += TINY
        self.scale = columns.scale[which]
        self.l1, self.l2 = problem.l1 * self.scale, problem.l2 * self.scale**2
        self.start, self.begin = pull[outputs, which] * self.scale, coef[outputs, which] / self.scale
        self.drift, self.mean = np.zeros_like(self.P), np.zeros(P.shape[1], columns.dtype)
        is_whole, by_column = np.bincount(at) == len(P), np.argsort(at, kind="stable")
        self._whole = by_column[is_whole[at[by_column]]].reshape(-1, len(P))  # of columns with all their outputs

    def _shift(self, coef):
        """Add the best constant to the coefficients of each column in all outputs, which leaves the loss as it is.

        Only the penalty would move them there, in steps as short as it is small. The best constant is a median.
        """
        K, rows = len(self.P), coef[self._whole]
        first = self._whole[:, :1]
        reach = np.minimum(self.l1[first] / (K * self.l2[first] + TINY), 1e300)
        ends = rows.mean(axis=1, keepdims=True) + reach * (K - 2.0 * np.arange(K + 1))
        coef[self._whole] = rows - np.median(np.hstack([rows, ends]), axis=1, keepdims=True)

    def round(self, coef, order):
        """Take a round of coordinate descent, after a step of the intercepts and of constants in all outputs."""
        self._shift(coef)
        state = self.Q, self.P, self.drift, self.mean
        if self._centre is not None:
            self._centre(self.Q, self.P, self.totals, self.drift, self.mean)
        model = self.start, self.bends, self.l1, self.l2
        return self._round(self.columns.values, self.slots, self.outputs, *state, *model, coef, order)

    def state(self):
        """Return what changes with the coefficients, which is an affine function of them."""
        return self.drift.copy(), self.mean.copy()

    def combine(self, parts, states):
        """Continue from an affine combination of states."""
        for total, terms in zip((self.drift, self.mean), zip(*states)):
            total[:] = sum(part * term for part, term in zip(parts.astype(total.dtype), terms))

    def curved(self):
        """Return the part of the model that is quadratic in the change of the coefficients."""
        return 0.5 * float(np.sum(self.Q * self.drift * (self.drift - self.mean), dtype=float))

    value, rounding = ColumnModel.value, ColumnModel.rounding


class Goal(NamedTuple):
    """The duality gap at which coordinate descent stops: `tol` times the range of the objective, at least `rough`."""

    tol: float
    range_: float
    rough: float = 0.0

    def after(self, decrease):
        """Return the gap after a decrease of the objective, by which its range has grown."""
        return max(self.tol * (self.range_ + decrease), self.rough)


class HessianModel:
    """The same model, stored as its Hessian in the coefficients, which is given without the penalty."""

    def __init__(self, problem, hessian, pull, coef):
        from sklearn_ltdl.linear import _columns as compiled  # compiled code loads on first use

        self.hessian, self.l1, self.l2, self.scale = hessian, float(problem.l1), float(problem.l2), 1.0
        self.begin, self.start, self.gradient = coef, pull, pull.copy()
        self._round, self._rounds = compiled.hessian_round, compiled.hessian_rounds

    def round(self, coef, order):
        """Take a round of coordinate descent."""
        return self._round(self.hessian, self.gradient, self.l1, self.l2, coef, order)

    def rounds(self, coef, goal, objective):
        """Take rounds over all coefficients, as long as these cost little; return whether the gap met the goal."""
        most = max(20, VISITS // len(coef))
        return self._rounds(self.hessian, self.gradient, self.l1, self.l2, coef, objective, *goal, most)

    def state(self):
        """Return what changes with the coefficients, which is an affine function of them."""
        return self.gradient.copy()

    def combine(self, parts, states):
        """Continue from an affine combination of states."""
        self.gradient = parts @ np.array(states)

    def value(self, coef):
        """Return the model at the current coefficients."""
        penalty = self.l1 * np.sum(np.abs(coef)) + 0.5 * self.l2 * coef @ coef
        return 0.5 * (self.start + self.gradient) @ (coef - self.begin) + penalty

    def ahead(self, coef):
        """Return the minimum of the model on the face of the signs, or where a coefficient vanishes on the way there.

        Where columns are nearly dependent, rounds take as many steps as the Hessian's condition number to get there.
        """
        here, before = np.flatnonzero(coef), (self.gradient, self.value(coef))
        bends, own = self.hessian[np.ix_(here, here)] + self.l2 * np.eye(len(here)), coef[here]
        slope = self.gradient[here] + self.l2 * own + self.l1 * np.sign(own)
        step = -np.linalg.lstsq(bends, slope, rcond=1e-14)[0]
        vanishes = step * own < 0
        parts = np.where(vanishes, -own / np.where(vanishes, step, 1.0), np.inf)
        part = min(1.0, parts.min(initial=np.inf))
        there = coef.copy()
        there[here] = np.where(parts <= part, 0.0, own + part * step)
        self.gradient = self.gradient + self.hessian[:, here] @ (there[here] - own)
        if self.value(there) < before[1]:
            return there
        self.gradient = before[0]
        return coef

    def rounding(self):
        """Return what rounding may cause of the three measures of a round."""
        excess = 4 * np.finfo(float).eps * np.max(np.abs(self.gradient - self.start))
        squares = len(self.begin) * excess**2 / self.l2 if self.l2 > 0 else 0.0
        return excess / np.float64(self.l1), squares, 0.5 * np.sum(excess**2 / (np.diagonal(self.hessian) + self.l2))


def proximal_newton_step(problem, point, goal, known):
    """Return the coefficients that minimise the model at a point.

    Parameters
    ----------
    problem : FiniteSum
    point : Point
    goal : Goal
    known : dict
        The `Columns`, and the columns of the last model by output with their Hessian.
    """
    share, is_flat = problem.share, isinstance(problem.loss, Squared) and problem.equal
    pulls, coef = point.gradient - problem.l2 * point.coef, point.coef.copy()
    if problem.loss.coupled:
        crowded = np.flatnonzero(2 * np.sum(coef != 0, axis=0) > len(coef))  # a constant may leave fewer
        sets = [np.union1d(_in_the_model(problem, point, k, known), crowded) for k in range(len(coef))]
        outputs, which = np.repeat(np.arange(len(coef)), [len(columns) for columns in sets]), np.concatenate(sets)
        if len(which):
            P = _probabilities(point)
            model = CoupledModel(problem, known["columns"], outputs, which, P, pulls, coef)
            coef[outputs, which] = model.scale * minimised(model, goal, point.objective)
        return coef
    bends = share[:, None] * _curvatures(point)
    for k in range(len(coef)):
        which = _in_the_model(problem, point, k, known)
        if not len(which):
            continue
        c = share[:1] if is_flat else np.ascontiguousarray(bends[:, k])
        if not sparse.issparse(problem.X) and len(which) <= min(FEW, len(share) // 2):
            hessian = _hessian_of(problem, which, bends[:, k], known[k])
            model = HessianModel(problem, hessian, pulls[k, which], coef[k, which])
        else:
            model = ColumnModel(problem, known["columns"], which, c, pulls[k], coef[k])
        coef[k, which] = model.scale * minimised(model, goal, point.objective)
    return coef


def is_worth_all_products(problem, n_reads):
    """Return whether all products of columns cost little, or no more than the reads of X so far."""
    n, p = problem.X.shape
    is_dense = isinstance(problem.loss, Squared) and not sparse.issparse(problem.X)
    return is_dense and problem.l1 > 0 and n >= 2 * p and p <= FEW + PER_READ * n_reads


def _curvatures(point):
    """Return the second derivatives of the loss in the model at a point, which are positive."""
    loss = point.problem.loss
    least = SMALLEST if isinstance(loss, Logistic) else FLAT
    return np.maximum(loss.second_derivative(point.margins, point.problem.Y), least * loss.smoothness)


def _probabilities(point):
    """Return the probabilities at a point, of shape (n_outputs, n_samples), none of which is 0."""
    P = (point.problem.loss.derivative(point.margins, point.problem.Y) + point.problem.Y).T
    return np.ascontiguousarray(P * (1 - len(P) * SMALLEST) + SMALLEST)


def linear_dual(before, after):
    """Return the point of the logistic slopes that the model at `before` has at `after`, with probabilities in [0, 1].

    These meet the conditions of a minimum of the model, whatever the units of the columns. The slopes at `after` miss
    them by the error of the model times the size of the largest column.
    """
    problem, Y = before.problem, before.problem.Y
    c, change = _curvatures(before), after.margins - before.margins
    if problem.fit_intercept:
        weights = problem.share[:, None] * c
        change = change - (weights * change).sum(axis=0) / weights.sum(axis=0)
    slopes = np.clip(before._balanced[0] + c * change, -Y, 1 - Y)
    slopes = balanced_slopes(problem.loss, slopes, Y, problem.share) if problem.fit_intercept else slopes
    pull = problem.transposed(problem.share[:, None] * slopes)
    return Point(problem, after.coef, after.intercept, after.margins, balanced=(slopes, pull))


def _in_the_model(problem, point, k, known):
    """Return the columns in the model of an output: the last ones, as long as they include all that are needed."""
    needed = np.flatnonzero((point.coef[k] != 0) | (np.abs(point.gradient[k]) > NEAR * problem.l1))
    last = known.setdefault(k, {}).get("which", needed[:0])
    if not np.isin(needed, last).all():
        last = np.arange(problem.X.shape[1]) if 2 * len(needed) > problem.X.shape[1] else needed
    known[k]["which"] = last
    return last


def _hessian_of(problem, which, c, known):
    """Return the Hessian of dense columns, which is constant for the squared loss."""
    if not (isinstance(problem.loss, Squared) and np.array_equal(known.get("of"), which)):
        X = problem.X if len(which) == problem.X.shape[1] else np.ascontiguousarray(problem.X[:, which])
        known.update(of=which, hessian=hessian_of(problem, X, c))
    return known["hessian"]


@np.errstate(divide="ignore", over="ignore", invalid="ignore")  # by next to no penalty: see `_gap_of`
def minimised(model, goal, objective, most=1000):
    """Return the coefficients after rounds of coordinate descent, extrapolated every few rounds.

    A round over all coefficients is followed by rounds over the nonzero ones until these have gained enough, until a
    round over all finds a gap of at most that of the goal, or rounding.
    """
    coef = model.begin.copy()
    if isinstance(model, HessianModel) and model.rounds(coef, goal, objective):
        return coef
    everything, is_whole, enough, since = np.arange(len(coef)), True, 0.0, 0
    begin, trail = model.value(coef), [(coef.copy(), model.state())]
    for _ in range(most):
        found = model.round(coef, everything if is_whole else np.flatnonzero(coef))
        size = np.sum(model.l1 * np.abs(coef))
        excess, rounding = _gap_of(found, size, objective), _gap_of(model.rounding(), size, objective)
        if is_whole:
            if excess <= max(goal.after(begin - model.value(coef)), rounding):
                break
            enough, since = 0.15 * excess, 0
        since += 1
        is_whole = since > 5 or excess <= enough
        trail.append((coef.copy(), model.state()))
        if len(trail) > 5:
            coef = model.ahead(coef) if isinstance(model, HessianModel) else _extrapolated(model, *zip(*trail))
            trail = [(coef.copy(), model.state())]
    return coef


def _gap_of(excesses, size, objective):
    """Estimate a duality gap from the measures of a round; `size` is the l1 part of the penalty.

    With next to no penalty the gap is infinite, and the decrease takes its place.
    """
    worst, squares, decrease = excesses
    gap = 0.5 * squares if squares > 0 else worst * size + worst * worst * objective
    return gap if np.isfinite(gap) else decrease


def _extrapolated(model, trail, states):
    """Return the affine combination of iterates whose next change would be smallest, if it lowers the model.

    Anderson 1965; Bertrand and Massias 2021, arXiv:2011.10065.
    """
    last, changes = trail[-1], np.diff(trail, axis=0)
    gram = changes @ changes.T
    if not np.trace(gram) > 0:
        return last
    parts = np.linalg.solve(gram / np.trace(gram) + 1e-10 * np.eye(len(gram)), np.ones(len(gram)))
    parts /= parts.sum()
    ahead, before = parts @ np.array(trail[1:]), model.value(last)
    model.combine(parts, states[1:])
    if model.value(ahead) < before:
        return ahead
    model.combine(np.ones(1), states[-1:])
    return last


def point_at(problem, coef, intercept, columns):
    """Return the point of coefficients with the best intercept, in one read of dense rows for the squared loss."""
    if not (isinstance(problem.loss, Squared) and isinstance(problem.X, np.ndarray) and problem.X.flags.c_contiguous):
        return problem.at(coef, intercept)
    intercept = (problem.share @ problem.Y - coef @ columns.mean) * float(problem.fit_intercept)
    here = read(problem, coef, intercept)
    slopes = here.margins - problem.Y - here.slope
    pull = here.gradient - here.slope[:, None] * columns.mean - problem.l2 * coef
    return Point(problem, coef, intercept, here.margins, balanced=(slopes, pull))
