"""Solvers of a finite sum. They know nothing of estimators.

Each solver is a generator that yields once per epoch (n_samples steps of a stochastic method, or one step of another
method). It yields the number of passes over the data that the epoch took, and the iterate: a pair of coefficients and
intercept, or a `Point`. The dictionary `state` holds all that the solver needs to continue. The decorator `solver`
turns the generator into a function from a problem to a solution, which certifies the iterates, decides when to stop and
records the trace.
"""

import dataclasses
import functools
import inspect
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_ltdl._registry import Registry
from sklearn_ltdl._threads import sharing
from sklearn_ltdl.linear._averaging import Blocks, Draw, averaging, first_point, note_smoothness, set_step
from sklearn_ltdl.linear._coordinates import (
    Columns,
    Goal,
    is_worth_all_products,
    linear_dual,
    point_at,
    proximal_newton_step,
)
from sklearn_ltdl.linear._hessians import hessian_diagonal, hessian_product, inverse, newton_step
from sklearn_ltdl.linear._lbfgs import (
    can_factor,
    factored_metric,
    first_metric,
    is_cheap,
    is_read_compiled,
    is_tall,
    no_pairs,
    passes,
    read,
)
from sklearn_ltdl.linear._problem import Point
from sklearn_ltdl.linear._quadratic import descend_from_moments
from sklearn_ltdl.linear._ridge import Moments, RidgePoint, from_moments
from sklearn_ltdl.losses import Logistic, Multinomial, Squared
from sklearn_ltdl.results import Solution, Status, Trace

SOLVERS = Registry("solver")


def solver(
    generator: Callable[..., Any] | None = None,
    *,
    l1: bool = False,
    direct: bool = False,
    estimates: bool = False,
    by_columns: bool = False,
    refuses: bool = False,
) -> Callable[..., Any]:
    """Register a generator as a solver. Underscores in its name become hyphens.

    Parameters
    ----------
    generator : generator function
        Takes `problem` and `state`, and optionally `tol`, `step` and `sampling`.
    l1 : bool, default=False
        Whether it can minimise an l1 norm.
    direct : bool, default=False
        Whether it decides itself when to stop.
    estimates : bool, default=False
        Whether it yields a `Point` when it expects that a certificate is worth its cost.
    by_columns : bool, default=False
        Whether it reads X in Fortran and CSC order, too; X is copied for other solvers.
    refuses : bool, default=False
        Whether it calls ``problem.refuse_extremes`` itself, when it has read the rows.

    Raises
    ------
    TypeError
        If `generator` is not a generator function, or has other parameters.
    """
    if generator is None:
        return functools.partial(
            solver, l1=l1, direct=direct, estimates=estimates, by_columns=by_columns, refuses=refuses
        )
    name = generator.__name__.replace("_", "-")
    taken = list(inspect.signature(generator).parameters)
    is_solver = inspect.isgeneratorfunction(generator) and taken[:2] == ["problem", "state"]
    if not is_solver or set(taken[2:]) - {"tol", "step", "sampling"}:
        raise TypeError(
            f"{generator.__name__} must be a generator function of problem, state and optionally tol, step and "
            f"sampling; got a function of {', '.join(taken)}."
        )

    @functools.wraps(generator)
    def solve(
        problem, *, tol=1e-6, max_iter=1000, seed=0, step=None, sampling="auto", state=None, tell=None, every=None
    ):
        if problem.l1 > 0 and not l1:
            raise ValueError(
                f"solver='{name}' is for l1_ratio=0; with an l1 norm use solver='auto', 'cd', 'saga', 'svrg', 'gd' or "
                "'agd'."
            )
        if step is not None and "step" not in taken:
            raise ValueError(f"solver='{name}' has no step to choose; leave step_size=None.")
        if sampling == "lipschitz" and "sampling" not in taken:
            raise ValueError(f"solver='{name}' does not draw rows; leave sampling='auto'.")
        problem = problem if by_columns else problem.by_rows()
        state = {} if state is None else state
        if "rng" not in state:
            state["rng"] = np.random.default_rng(seed)
        options = {"tol": tol, "step": step, "sampling": sampling}
        steps = generator(problem, state, **{key: value for key, value in options.items() if key in taken})
        every = max_iter if estimates and every is None else every
        with sharing() if problem.is_compiled else nullcontext():
            if not refuses:
                problem.refuse_extremes()
            return _run(problem, name, steps, state, direct, direct or estimates, tol, max_iter, tell, every, step)

    solve.__name__ = name
    return SOLVERS.register(solve)


def _run(problem, name, steps, state, direct, is_quick, tol, max_iter, tell, every, step):
    """Run the epochs of a solver; see `solver`.

    `tell(coef, intercept)`, if given, is called after every epoch and returns whether to stop. A certificate costs
    about two passes over the data. It is computed after `every` epochs if that is given; otherwise when the rate of the
    last two certificates predicts convergence, but at the latest when the number of epochs has doubled, or grown by
    half from epoch 24 on. The first certificate is computed at the epoch by which a rate of two decades per epoch would
    reach `tol`.
    """
    point = best = None if is_quick else first_point(problem, state)
    status, stalled = Status.OUT_OF_STEPS, False
    begin, paused, passes, n_iter, errors = time.perf_counter(), 0.0, 0.0, 0, []
    due = max(1, int(-np.log10(max(tol, 1e-12)) / 2))
    records = [] if is_quick else [(0.0, 0.0, point.objective, point.objective - point.gap, point.gap)]
    while n_iter < max_iter and (is_quick or not problem.nothing_to_gain):
        cost, iterate = next(steps, (None, None))
        if cost is None:  # a direct solver is done; another solver sees only rounding errors
            stalled = direct or state.pop("stalled", False)
            break
        n_iter, passes = n_iter + 1, passes + cost
        seen = (iterate.coef, iterate.intercept) if isinstance(iterate, Point) else iterate
        stopped = tell is not None and tell(*seen)
        moment, certified = time.perf_counter(), isinstance(iterate, Point)
        if not certified:
            scheduled = n_iter >= due if every is None else n_iter % every == 0
            if not (stopped or scheduled or n_iter == max_iter):
                continue
            if not is_tame(*seen):
                status = Status.DIVERGED
                break
            iterate = problem.at(*seen)
        point = iterate
        records.append((passes, moment - begin - paused, point.objective, point.objective - point.gap, point.gap))
        paused += 0.0 if certified else time.perf_counter() - moment
        if n_iter >= 3 and step is not None and not point.objective <= problem.start.objective + problem.resolution:
            status = Status.DIVERGED
            break
        is_best = best is None or best is problem.start or point.objective <= best.objective
        best = point if is_best else best
        status = Status.STOPPED if stopped else problem.status(point, tol)
        if stopped or status is Status.SEPARABLE or (status is Status.CONVERGED and not direct):
            break
        errors.append((n_iter, problem.error(point)))
        due = _foretold(errors, tol)
    if best is None:
        point = best = problem.start if status is Status.DIVERGED else first_point(problem, state)
    if status is Status.DIVERGED:
        if step is not None:
            raise ValueError(
                f"step_size={step:g} is too large for solver='{name}': after {n_iter} epochs the objective is above "
                f"that of the best constant. The safe step is {state['safe_step']:.3g}; step_size=None needs no choice."
            )
        point = best
    elif status is not Status.STOPPED:
        status = problem.status(point, tol)
        status = Status.ROUNDED if stalled and status is Status.OUT_OF_STEPS else status
    return Solution(
        point.coef.copy(),
        point.intercept.copy(),
        max(1, n_iter),
        point.gap,
        status,
        name,
        point.slopes if point.is_read else None,
        Trace(*np.array(records).reshape(-1, 5).T),
        state.get("step"),
        smoothness=state.get("smoothness"),
    )


def is_tame(coef, intercept):
    """Return whether coefficients are finite and far from overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.vdot(coef, coef) + np.vdot(intercept, intercept) < 1e200)


def _foretold(errors, tol):
    """Return the epoch of the next certificate."""
    now, error = errors[-1]
    due = now + max(now // 2, min(now, 12))
    if len(errors) > 1:
        before, larger = errors[-2]
        if tol < error < larger and tol > 0:
            rate = np.log(larger / error) / (now - before)
            due = min(due, now + int(np.ceil(np.log(error / tol) / rate)))
    return max(due, now + 1)


# Stochastic methods


@solver
def sag(problem, state, *, step, sampling):
    """Minimise with SAG (Schmidt, Le Roux, Bach 2017, arXiv:1309.2388), by default on blocks of random rows.

    The table of slopes starts at the best constant. From there SAG overshoots, so that the first pass is SAGA's, with
    SAGA's step: it diverges at 1/L. Blocks are drawn for steps 1/(2L). Where the curvature is even, they are permuted
    instead, with steps of which an epoch is no more than 1.5 of the inverse curvature, beyond which SAG diverges on
    permutations; see `sklearn_ltdl.linear._averaging`.
    """
    n, begins = len(problem.Y), "table" not in state
    if step is None and sampling == "auto" and (blocks := Blocks(problem, state)).size > 1:
        while True:
            (blocks.sag_epoch if len(state["changes"]) >= (1 if state["even"] else 2) else blocks.saga_epoch)()
            yield 1.0, (state["coef"], state["intercept"])
    draw = Draw(problem, sampling)
    step = set_step(state, step, 1 / draw.smoothness, problem.l2)
    epoch, memory = averaging(problem, state)
    if begins:
        epoch(draw(state["rng"]), min(step, 1 / (3 * draw.smoothness)), draw.correction, 1.0)
        yield 1.0, (memory.coef, memory.intercept)
    while True:  # the new slope of a row counts for 1/n, like all others, however often it is drawn
        epoch(draw(state["rng"]), step, np.full(n, 1 / n), 1.0)
        yield 1.0, (memory.coef, memory.intercept)


@solver(l1=True)
def saga(problem, state, *, step, sampling):
    """Minimise with SAGA (Defazio, Bach, Lacoste-Julien 2014, arXiv:1407.0202), by default on blocks of random rows.

    The step is 1/(2L) for permuted blocks, and 1/(3L) for rows that are drawn one at a time.
    """
    if step is None and sampling == "auto" and (blocks := Blocks(problem, state)).size > 1:
        while True:
            blocks.saga_epoch()
            yield 1.0, (state["coef"], state["intercept"])
    draw = Draw(problem, sampling)
    step = set_step(state, step, 1 / (3 * draw.smoothness), problem.l2)
    epoch, memory = averaging(problem, state)
    while True:
        epoch(draw(state["rng"]), step, draw.correction, 1.0)
        yield 1.0, (memory.coef, memory.intercept)


@solver(l1=True)
def svrg(problem, state, *, step, sampling):
    """Minimise with loopless SVRG (Kovalev, Horvath, Richtarik 2020, arXiv:1901.08689), by default with step 1/(6L).

    Before each step the full gradient is recomputed with probability 1/n.
    """
    draw, n, rng = Draw(problem, sampling), len(problem.Y), state["rng"]
    step = set_step(state, step, 1 / (6 * draw.smoothness), problem.l2)
    epoch, memory = averaging(problem, state)
    while True:
        rows, anew = draw(rng), np.flatnonzero(rng.random(n) < 1 / n)
        for part, segment in enumerate(np.split(rows, anew)):
            if part > 0:
                margins = problem.X @ memory.coef.T + memory.intercept
                memory.table[:] = n * problem.share[:, None] * problem.loss.derivative(margins, problem.Y)
                memory.mean[:], memory.mean_intercept[:] = problem.transposed(memory.table) / n, memory.table.mean(0)
            epoch(segment, step, draw.correction, 0.0)
        yield 1.0 + len(anew), (memory.coef, memory.intercept)


@solver
def sdca(problem, state):
    """Minimise with SDCA (Shalev-Shwartz and Zhang 2013, arXiv:1209.1873): exact dual steps on permuted rows.

    A free intercept would couple all dual variables. Instead its distance from its last value is penalised; this is the
    method of multipliers, with the last value as the multiplier.
    """
    if problem.l2 == 0:
        raise ValueError("solver='sdca' needs alpha > 0: its dual needs a penalty; use solver='catalyst' or 'auto'.")
    yield from _dual_ascent(problem, state, 0.0)


@solver
def catalyst(problem, state):
    """Minimise with SDCA, accelerated by Catalyst (Lin, Mairal, Harchaoui 2015, arXiv:1506.02186).

    Each epoch is one pass at minimising the objective plus ``kappa |w - y|^2 / 2``, with kappa = L_mean / n - alpha.
    """
    note_smoothness(problem, state)
    yield from _dual_ascent(problem, state, max(np.mean(problem.term_smoothness) / len(problem.Y) - problem.l2, 0.0))


def _dual_ascent(problem, state, kappa):
    from sklearn_ltdl.linear._epochs import kernel_of  # compiled code loads on first use

    n, p = problem.X.shape
    if "dual" not in state:
        point = first_point(problem, state)
        state.update(dual=point.slopes.copy(), coef=point.coef.copy(), intercept=point.intercept.copy())
        state.update(centre=point.coef.copy(), centre_intercept=point.intercept.copy(), momentum=None)
    l2 = problem.l2 + kappa + np.finfo(float).tiny
    curvature = problem.loss.smoothness
    l2_intercept = max(min(l2, 0.1 * curvature), np.finfo(float).tiny) if problem.fit_intercept else 0.0
    q = problem.l2 / l2
    state["momentum"] = state["momentum"] or (np.sqrt(q) if q > 0 else 1.0)
    epoch, dual, rng = kernel_of("dual", problem), state["dual"], state["rng"]
    run = max(1, min(8, 512 // p)) if isinstance(problem.X, np.ndarray) else 1  # short rows are fetched in runs
    while True:
        # recomputed from the dual variables, so that rounding errors do not accumulate
        coef = (kappa * state["centre"] - problem.transposed(problem.share[:, None] * dual)) / l2
        intercept = state["centre_intercept"].copy()
        if problem.fit_intercept:
            intercept -= problem.share @ dual / l2_intercept
        rows = (rng.permutation(-(-n // run))[:, None] * run + np.arange(run)).ravel()
        epoch(
            problem.share,
            problem.squared_lengths,
            l2,
            l2_intercept,
            rows[rows < n],
            coef,
            intercept,
            dual,
        )
        if kappa > 0:  # equations (7) and (8) of the paper
            a = state["momentum"]
            state["momentum"] = 0.5 * (q - a * a + np.sqrt((q - a * a) ** 2 + 4 * a * a))
            beta = a * (1 - a) / (a * a + state["momentum"])
        else:
            beta = 0.0
        state["centre"] = coef + beta * (coef - state["coef"])
        state["centre_intercept"] = intercept + beta * (intercept - state["intercept"])
        state["coef"], state["intercept"] = coef, intercept
        yield 1.0, (coef, intercept)


@solver
def sgd(problem, state, *, step, sampling):
    """Minimise with stochastic gradients and steps g / (1 + g alpha t), g = 1/(4L), or a constant step if it is given.

    Returns the last iterate.
    """
    yield from _plain(problem, state, step, sampling, average=False)


@solver
def asgd(problem, state, *, step, sampling):
    """Minimise with stochastic gradients and return the average of the iterates (Bach and Moulines 2013).

    For the squared loss the step is constant, 1/(4L). For other losses a constant step leaves a bias of the order of
    the step; the default steps therefore decrease as 1 / sqrt(1 + t / 1000). arXiv:1306.2119
    """
    yield from _plain(problem, state, step, sampling, average=True)


def _plain(problem, state, step, sampling, average):
    draw = Draw(problem, sampling)
    note_smoothness(problem, state)
    while True:
        descend(problem, state, draw(state["rng"]), draw, step, average)
        yield 1.0, (state["mean"], state["mean_intercept"]) if average else (state["coef"], state["intercept"])


def descend(problem, state, rows, draw, step, average):
    """Take one step of SGD on each of the rows, starting at the state."""
    from sklearn_ltdl.linear._epochs import kernel_of  # compiled code loads on first use

    n, n_outputs = len(problem.Y), problem.Y.shape[1]
    if "t" not in state:
        coef = state.get("coef", np.zeros((n_outputs, problem.X.shape[1]))).copy()
        intercept = state.get("intercept", np.zeros(n_outputs)).copy()
        state.update(t=0, coef=coef, intercept=intercept, mean=coef.copy(), mean_intercept=intercept.copy())
    constant = set_step(state, step, 1 / (4 * draw.smoothness), problem.l2)
    times = state["t"] + np.arange(len(rows))
    steps = np.full(len(rows), float(constant))
    if step is None and not average:
        steps /= 1 + constant * problem.l2 * times
    elif step is None and not isinstance(problem.loss, Squared):
        steps /= np.sqrt(1 + times / 1000)
    kernel = kernel_of("plain", problem)
    weight = n * problem.share * draw.correction
    bounds = np.flatnonzero(np.diff(np.floor(np.cumsum(steps * problem.l2) / 200))) + 1  # products stay above e^-400
    total, total_intercept = np.zeros_like(state["coef"]), np.zeros_like(state["intercept"])
    for part, lengths in zip(np.split(rows, bounds), np.split(steps, bounds)):
        kernel(
            weight,
            problem.fit_intercept,
            float(problem.l2),
            part,
            lengths,
            state["coef"],
            state["intercept"],
            total,
            total_intercept,
        )
    state["t"] += len(rows)
    for mean, sums in (("mean", total), ("mean_intercept", total_intercept)):
        state[mean] += (sums - len(rows) * state[mean]) / state["t"]


# Methods of the full gradient


@solver(l1=True)
def gd(problem, state, *, step):
    """Minimise with proximal gradient steps of length 1/L, by default, L being the smoothness of the whole mean."""
    step = set_step(state, step, 1 / (problem.loss_smoothness + problem.l2))
    point = first_point(problem, state)
    while True:
        coef = _proximal(problem, point.coef - step * point.gradient, step)
        point = problem.at(coef, point.intercept)
        state.update(coef=point.coef, intercept=point.intercept)
        yield 1.0, point
        if not is_tame(point.coef, point.intercept):
            return


@solver(l1=True)
def agd(problem, state, *, step):
    """Minimise with accelerated proximal gradient steps of length 1/L (Nesterov 2004, constant scheme 2.2.20).

    Without strong convexity the momentum is that of FISTA, restarted when a step goes uphill.
    """
    step = set_step(state, step, 1 / (problem.loss_smoothness + problem.l2))
    root = np.sqrt(min(1.0, step * problem.l2))
    if "ahead" not in state:
        first = first_point(problem, state)
        state.update(coef=first.coef, intercept=first.intercept, ahead=first.coef, momentum=1.0)
    while True:
        point = problem.at(state["ahead"], state["intercept"])
        coef = _proximal(problem, point.coef - step * point.gradient, step)
        if root > 0:
            beta = (1 - root) / (1 + root)
        else:
            uphill = np.sum((point.coef - coef) * (coef - state["coef"])) > 0
            now = 1.0 if uphill else state["momentum"]
            state["momentum"] = (1 + np.sqrt(1 + 4 * now**2)) / 2
            beta = (now - 1) / state["momentum"]
        state.update(ahead=coef + beta * (coef - state["coef"]), coef=coef, intercept=point.intercept)
        yield 1.0, (coef, point.intercept)
        if not is_tame(coef, point.intercept):
            return


@solver(l1=True, estimates=True, by_columns=True)
def cd(problem, state, *, tol):
    """Minimise by proximal Newton steps, each found by coordinate descent (Friedman, Hastie, Tibshirani 2010).

    The quadratic model of the squared loss is exact up to the rounding of its columns, so only these, the precision of
    the descent and the set of columns change between steps.
    """
    if problem.loss.coupled and not isinstance(problem.loss, Multinomial):
        raise ValueError("solver='cd' is for 'multinomial' and losses of one output; use solver='saga' or 'auto'.")
    known = state.setdefault("known", {"n_reads": 0})
    if is_worth_all_products(problem, known["n_reads"]):
        yield from descend_from_moments(problem, state, tol)
    columns = known["columns"] = known["columns"] if "columns" in known else Columns(problem)
    is_quadratic = isinstance(problem.loss, Squared)
    point, share, idle = first_point(problem, state), 1.0, 0
    while idle < 3:
        range_ = max(problem.start.objective - point.objective, problem.resolution)
        rough = 0.0 if is_quadratic else 0.03 * point.gap
        coef = proximal_newton_step(problem, point, Goal(share * tol, range_, rough), known)
        before, point = point, _downhill(problem, point, coef - point.coef, columns)
        if isinstance(problem.loss, Logistic) and problem.error(point) > tol:
            point = _better(point, Point(*_parts(point), dual=linear_dual(before, point), balanced=point._balanced[:2]))
        error = problem.error(point)
        if error > tol and rough <= share * tol * range_:
            share = max(min(share / 2, share * tol / error), 1e-9)
        decrease = before.objective - point.objective
        is_slow = error > tol and point.gap > before.gap / 2
        if is_slow and columns.dtype != np.float64 and decrease <= (np.inf if is_quadratic else 1e-9 * range_):
            columns.in_doubles()  # their rounding is in the way
        elif is_slow and decrease <= max(1e-6 * point.gap, 10 * problem.resolution):
            idle += 1  # no end is in sight
        else:
            idle = 0
        if point.gap > before.gap:
            point = _better(point, before)
        state.update(coef=point.coef, intercept=point.intercept)
        known.update(last=point, n_reads=known["n_reads"] + 1)
        yield 2.0, point
    state["stalled"] = True


def _parts(point):
    return point.problem, point.coef, point.intercept, point.margins


def _downhill(problem, point, change, columns):
    """Return the point after the longest of the steps 1, 1/2, 1/4, ... that lowers the objective enough."""
    slope = np.sum(point.gradient * change)
    slope += problem.l1 * (np.sum(np.abs(point.coef + change)) - np.sum(np.abs(point.coef)))
    for length in 0.5 ** np.arange(40):
        there = point_at(problem, point.coef + length * change, point.intercept, columns)
        if isinstance(problem.loss, Squared) or (
            there.objective <= point.objective + 1e-4 * length * slope or -slope <= 1e-9 * point.objective
        ):
            break
    return there


def _better(a, b):
    """Return the point with the lower objective, and the dual variables with the higher dual objective."""
    low, high = min(a, b, key=lambda p: p.objective), max(a, b, key=lambda p: p.objective - p.gap)
    return low if high is low else Point(*_parts(low), dual=high.dual, balanced=low._balanced[:2])


def _proximal(problem, coef, step):
    if problem.l1 == 0:
        return coef
    return np.sign(coef) * np.maximum(np.abs(coef) - step * problem.l1, 0)


# Methods of second order


@solver(direct=True, refuses=True)
def cholesky(problem, state, *, tol):
    """Minimise the squared loss by one Cholesky factorisation; large dense tables are read once.

    On small tables, and where rounding hides what `tol` asks for, steps of iterative refinement follow, which read the
    rows once each.
    """
    if not isinstance(problem.loss, Squared):
        raise ValueError("solver='cholesky' is for the squared loss; use solver='newton' or 'auto'.")
    n, p = problem.X.shape
    if sparse.issparse(problem.X) or n < p:
        problem.refuse_extremes()
        yield from _newton(problem, state, tol, "cholesky")
        return
    _refuse_beyond_memory(problem, "cholesky")
    moments = Moments.of(problem)
    if problem.equal:
        problem.keep(mean_square=moments.mean_square)
    problem.refuse_extremes()
    second, _, _ = moments.centred
    solve = inverse(second + problem.l2 * np.eye(p), problem.l2)
    point = from_moments(problem, solve, moments)
    state.update(coef=point.coef, intercept=point.intercept)
    exact = n * p <= EXACT
    if problem.l2 > 0 and point.is_resolved():
        problem.keep(start=RidgePoint(problem, moments, np.zeros_like(point.coef)))
        if not exact:
            if problem.error(point) <= tol:
                yield 1.0, point
                return
            problem.drop("start")  # from here on, rounding is not only bounded
    for _ in range(3):
        here = read(problem, point.coef, point.intercept)
        slopes = problem.loss.derivative(here.margins, problem.Y) - here.slope
        gradient = here.gradient - here.slope[:, None] * moments.mean
        balanced = slopes, gradient - problem.l2 * point.coef
        point = Point(problem, point.coef, point.intercept, here.margins, balanced=balanced)
        state.update(coef=point.coef, intercept=point.intercept)
        yield 1.0, point
        if problem.error(point) <= tol and (not exact or point.gap <= problem.resolution):
            break
        coef = point.coef - solve(gradient.T).T
        point = Point(problem, coef, moments.intercept(coef), None)


@solver(direct=True)
def newton(problem, state, *, tol):
    """Minimise by Newton's method with line search; the intercept is eliminated, not iterated.

    Hessians are sums over blocks of rows that fit in the cache. With many rows, the first steps use a sample of them.
    """
    yield from _newton(problem, state, tol, "newton")


EXACT = 10**6  # on tables of at most so many numbers direct solvers continue to rounding error


def _refuse_beyond_memory(problem, name):
    n, p = problem.X.shape
    if side(problem) > 15_000 or (n < p and n * p > 10**9):
        raise ValueError(
            f"solver='{name}' would factorise a dense matrix of {side(problem)} rows, which is too large for "
            f"the memory of most machines (X is {n} x {p}); use solver='auto', 'sag' or 'saga'."
        )


def _newton(problem, state, tol, name):
    n, p = problem.X.shape
    _refuse_beyond_memory(problem, name)
    inner, basis = problem.rotated() if n < p else (problem, None)
    best = first_point(inner, {} if basis is not None else state)
    if "coef" not in state and basis is None:
        best = _from_few_rows(inner, best)
    step_of, exact, contracts, idle = None, n * p <= EXACT, isinstance(problem.loss, Squared), 0
    while not inner.separates(best):
        if step_of is None or not contracts:
            step_of = newton_step(best)
        point, decrease = _search(inner, best, step_of(best.gradient))
        near = decrease <= 1e-12 * best.objective + 10 * inner.resolution
        no_nearer = inner.error(point) >= inner.error(best) / 2
        is_idle = no_nearer and (near or decrease <= inner.rounding_of_objective(best))
        idle = idle + 1 if is_idle else 0
        finished = (near and (inner.error(point) <= tol or no_nearer)) or (
            no_nearer and (isinstance(problem.loss, Squared) or idle == 3)
        )
        if not isinstance(problem.loss, Squared):  # a step with the last Hessian costs much less
            contracts = np.linalg.norm(point.gradient) < np.linalg.norm(best.gradient) / (100 if exact else 10)
        best = point
        outer = point if basis is None else problem.at(point.coef @ basis, point.intercept)
        state.update(coef=outer.coef, intercept=outer.intercept)
        yield 1.0, outer
        if finished or (not exact and inner.error(best) <= tol):  # if near, the next step would only be rounding
            break


def _from_few_rows(problem, start):
    """Return a better starting point: the minimum on 1/400 and then on 1/20 of the rows, if these are many."""
    n = len(problem.Y)
    point = start
    for part in (400, 20):
        if isinstance(problem.loss, Squared) or n // part < 5 * side(problem) or n * problem.X.shape[1] <= EXACT:
            continue
        few = problem.sample(n // part)
        near = few.at(point.coef, point.intercept)
        for _ in range(10):
            near, decrease = _search(few, near, newton_step(near)(near.gradient))
            if decrease <= 1e-3 * near.objective * side(problem) / len(few.Y):  # their error
                break
        point = near
    if point is start:
        return start
    point = problem.at(point.coef, point.intercept)
    return point if point.objective < start.objective else start


@solver(estimates=True, refuses=True)
def lbfgs(problem, state, *, tol):
    """Minimise with L-BFGS, one read of the data per iteration; see `sklearn_ltdl.linear._lbfgs`.

    `budget` in the state is the largest number of reads that is worthwhile: the solver gives up when it predicts more.
    """
    budget, size = state.pop("budget", np.inf), side(problem)
    if not is_read_compiled(problem):
        problem.refuse_extremes()
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are refused below
        start = first_point(problem, state)
        metric, coef, intercept = first_metric(problem, start.coef, start.intercept, size)
    here = read(problem, coef, intercept)
    problem.refuse_extremes()  # by the sum of squares that the first compiled read leaves
    cheap = is_cheap(problem, size)
    exact = cheap and problem.X.size <= LITTLE
    is_sampled = is_tall(problem, size) and not sparse.issparse(problem.X)
    reads_of_hessian = 8 + size / (50 if is_sampled else 12)
    is_single = not is_sampled and _pays_in_single_precision(problem)
    near = problem.in_single_precision() if is_single else problem
    errors, asked, slow, stalled, first = [], tol, False, False, np.linalg.norm(here.gradient)
    renewed_at, bends = np.inf, not isinstance(problem.loss, Squared)  # a Hessian at the minimum is another
    yield 1.0, (coef, intercept)

    def ends_soon():
        return near is problem and bool(errors) and errors[-1] < 100 * asked

    pairs = no_pairs()
    steps = passes(near, here, metric, pairs, ends_soon)
    while not (slow or stalled):
        there = next(steps, None)  # None if rounding hides any further decrease
        stalled = there is None or (len(errors) > 50 and min(errors[-50:]) > min(errors))
        here = here if there is None else there
        state.update(coef=here.coef, intercept=here.intercept)
        errors.append(_relative_gap(problem, here, metric))
        to_come = _reads_to_come(errors, tol)
        renews = can_factor(problem, size) and (metric.is_diagonal or (cheap and errors[-1] <= renewed_at / 10))
        renews &= to_come > reads_of_hessian
        slow = to_come > budget and not renews
        is_near = slow or stalled or renews or errors[-1] <= tol / 3 or np.linalg.norm(here.gradient) < 3e-6 * first
        if near is not problem and is_near:  # single precision gets no nearer
            near, here, stalled = problem, read(problem, here.coef, here.intercept, True), False
            steps = passes(problem, here, metric, pairs, ends_soon)
            errors.append(_relative_gap(problem, here, metric))
        state["stalled"] = stalled
        is_enough = errors[-1] <= asked and not (exact and _gains(errors))
        is_worth_it = slow or stalled or is_enough or (problem.alpha == 0 and len(errors) % 20 == 0)
        if near is problem and is_worth_it:
            asked = min(asked, errors[-1] / 2)
            yield 1.0, here.point(problem)
        else:
            yield 1.0, (here.coef, here.intercept)
        squares = exact and bends and errors[-1] <= NEAR  # its error from the Hessian here on
        if renews or squares:
            renewed_at, bends = errors[-1], bends and not squares
            metric, errors = factored_metric(problem, here, size), []
            steps = passes(problem, here, metric, is_near=ends_soon)


LITTLE = 5 * 10**4  # numbers of a table on which L-BFGS continues to rounding error
NEAR = 1e-2  # relative gap below which Newton steps square the error, so that this takes few


def _gains(errors):
    """Return whether the last read gained a decade, and rounding is far."""
    return errors[-1] > 1e-16 and (len(errors) < 2 or errors[-1] < errors[-2] / 10)


def _pays_in_single_precision(problem):
    """Return whether a copy in single precision is small and can represent the numbers."""
    n, p = problem.X.shape
    is_within = 1e-20 < problem.mean_square * n < 1e30  # squares stay in the range of single precision
    return not sparse.issparse(problem.X) and EXACT < n * p <= 10**7 and problem.alpha > 0 and is_within


def _relative_gap(problem, here, metric):
    """Estimate, from the gradient, the gap relative to the decrease of the objective so far."""
    gradient = metric.gradient_of_coef(here)
    square = np.vdot(gradient, gradient)
    if problem.alpha == 0:
        return np.sqrt(square) / max(np.linalg.norm(problem.start.gradient), problem.resolution)
    return square / (2 * problem.l2) / max(problem.start.objective - here.objective, problem.resolution)


def _reads_to_come(errors, tol):
    """Predict the number of further reads from the rate of the later half of the errors; 0 for fewer than six."""
    if len(errors) < 6 or errors[-1] <= tol:
        return 0
    half = len(errors) // 2
    decades = np.log(errors[-1 - half] / errors[-1]) / half
    return np.log(errors[-1] / max(tol, 1e-16 * errors[0])) / decades if decades > 0 else np.inf


@solver
def newton_cg(problem, state, *, tol):
    """Minimise by inexact Newton steps, computed by conjugate gradients (Eisenstat and Walker 1996).

    The preconditioner is the diagonal of the Hessian. `budget` in the state is the largest number of passes that is
    worthwhile: for the squared loss, the solver gives up when it predicts more.
    """
    point, left = first_point(problem, state), state.pop("budget", np.inf)
    first, idle, product, diagonal = np.linalg.norm(point.gradient), 0, None, None
    while left > 0:
        if product is None or not isinstance(problem.loss, Squared):
            product, diagonal = hessian_product(point), hessian_diagonal(point)
        target, most = _residual_to_reach(problem, point, first, tol), min(1000, left)
        worthwhile = left if isinstance(problem.loss, Squared) else np.inf  # else products for one step of several
        step, products, ended = conjugate_gradients(product, point.gradient, target, diagonal, most, worthwhile)
        left = 0 if ended else left - products
        before, (point, decrease) = point, _search(problem, point, step)
        is_idle = decrease <= 1e-12 * point.objective + 10 * problem.resolution and point.gap >= before.gap / 2
        idle = idle + 1 if is_idle else 0
        state.update(coef=point.coef, intercept=point.intercept)
        yield 1.0 + products, point
        if decrease == 0 or idle == 3:
            state["stalled"] = True
            return


def _residual_to_reach(problem, point, first, tol):
    """Return the function from the decrease of the model to the norm of the residual at which a Newton step is enough.

    `first` is the norm of the first gradient.
    """
    size, range_ = np.linalg.norm(point.gradient), problem.start.objective - point.objective
    least = 1e-14 * size
    if not isinstance(problem.loss, Squared):
        least = max(least, min(0.25, np.sqrt(size / max(first, np.finfo(float).tiny))) * size)
    if problem.l2 == 0:
        return lambda decrease: max(least, 0.5 * tol * np.linalg.norm(problem.start.gradient))
    # the norm of a gradient whose gap is half the tolerance
    return lambda decrease: max(least, np.sqrt(problem.l2 * tol * max(range_ + decrease, 0.0)))


def conjugate_gradients(product, rhs, target, diagonal=1.0, most=1000, worthwhile=np.inf):
    """Solve ``product(x) = rhs``, and return x, the number of products, and whether it was given up.

    The norm of the residual comes down to ``target(d)`` for the decrease d of the quadratic function that x minimises.
    It is given up when, after half of `worthwhile` products, the residuals predict more than three times
    `worthwhile`: conjugate gradients become faster as they go on.
    """
    x, residual = np.zeros_like(rhs), rhs.copy()
    direction = residual / diagonal
    size, n_products, decrease, norms = np.vdot(residual, direction), 0, 0.0, [np.linalg.norm(residual)]
    while n_products < most and norms[-1] > target(decrease):
        if n_products >= worthwhile / 2 and _reads_to_come(norms, target(decrease)) > 3 * worthwhile:
            return x, n_products, True
        n_products += 1
        image = product(direction)
        curvature = np.vdot(direction, image)
        if curvature <= 0:  # rounding, or a direction in which the objective is constant
            return (x if x.any() else direction), n_products, False
        x += size / curvature * direction
        residual -= size / curvature * image
        norms.append(np.linalg.norm(residual))
        decrease += 0.5 * size * (size / curvature)  # whose square may vanish
        scaled = residual / diagonal
        size, before = np.vdot(residual, scaled), size
        direction = scaled + size / before * direction
    return x, n_products, False


def side(problem):
    """Return the number of rows of the square matrix that a direct method factorises."""
    return min(problem.X.shape) * (problem.Y.shape[1] if problem.loss.coupled else 1)


def _search(problem, point, step):
    """Return the point after the longest of the steps 1, 1/2, 1/4, ... that decreases enough, and the decrease.

    If rounding hides the decrease, return the same point and 0.
    """
    decrease, rounding = np.sum(point.gradient * step), 1e-9 * point.objective + problem.resolution
    for halvings in range(60):
        candidate = problem.at(point.coef - step, point.intercept)
        change = candidate.objective - point.objective
        if change <= -decrease / 4 or (decrease <= rounding and change <= rounding):
            return candidate, decrease
        if halvings >= 5 and decrease <= problem.rounding_of_objective(point):
            break
        step, decrease = step / 2, decrease / 2
    return point, 0.0


# The choice


@SOLVERS.register
def auto(problem, *, state=None, max_iter=1000, **options):
    """Minimise with the solver that `choose` names, and switch to another if its rate predicts a long run."""
    name, reason = choose(problem)
    state, size = {} if state is None else state, side(problem)
    direct = "cholesky" if isinstance(problem.loss, Squared) else "newton"
    other, because = direct, f"'{name}' was slow, and a {size} x {size} matrix can be factorised"
    if not _affordable(problem) or (direct == "newton" and problem.X.shape[0] < problem.X.shape[1]):
        other, because = "newton-cg", f"'{name}' was slow, and a {size} x {size} matrix takes longer to factorise"
    if name in ("lbfgs", "newton-cg") and other != name:
        state["budget"] = _reads_of(other, problem)
    solution = SOLVERS[name](problem, state=state, max_iter=max_iter, **options)
    left = max_iter - solution.n_iter
    if "budget" in state or solution.status is not Status.OUT_OF_STEPS or left <= 0 or other == name:
        return dataclasses.replace(solution, reason=reason)
    first, solution = solution, SOLVERS[other](problem, state=state, max_iter=left, **options)
    trace = Trace(*(np.concatenate(parts) for parts in zip(vars(first.trace).values(), _after(first, solution))))
    return dataclasses.replace(solution, trace=trace, n_iter=first.n_iter + solution.n_iter, reason=because)


def _after(first, second):
    """Return the columns of the second trace, with passes and seconds counted from the start of the first run."""
    offsets = (first.trace.passes[-1], first.trace.seconds[-1], 0, 0, 0)
    return (column + offset for column, offset in zip(vars(second.trace).values(), offsets))


IN_CACHE = 1.5e6  # numbers that are read again at twice the speed of memory


def _reads_of(name, problem):
    """Return the number of reads of the rows that take about as long as another solver, as we timed it."""
    n, p = problem.X.shape
    if name == "newton-cg":
        return 250
    if name == "cholesky" and not sparse.issparse(problem.X):
        return side(problem) / (3 if n < p else 12 if n * p <= IN_CACHE else 24)
    of_products = 3 * problem.X.nnz / n if sparse.issparse(problem.X) else 0  # with the row's other numbers, for each
    return 10 + side(problem) // 4 + of_products


def choose(problem):
    """Return the name of the solver that is expected to be fastest, and the reason."""
    n, p = problem.X.shape
    m = side(problem)
    if problem.l1 > 0 and problem.loss.coupled and problem.l2 > problem.l1 / 9:
        return "saga", "of coupled scores with an elastic net, SAGA needs no quadratic model"
    if problem.l1 > 0:
        return "cd", "with an l1 norm, coordinate descent only visits columns that may have nonzero coefficients"
    is_sparse, is_squared = sparse.issparse(problem.X), isinstance(problem.loss, Squared)
    is_small = m <= 100 and n * p <= (LITTLE if is_sparse else EXACT)
    if is_small and (is_sparse or is_squared or problem.loss.coupled):
        return "cholesky" if is_squared else "newton", f"factorising a {m} x {m} matrix is cheap"
    if not is_squared and is_cheap(problem, m):
        return "lbfgs", f"a {m} x {m} Hessian is cheap, and further steps take one pass over {n} rows each"
    if is_squared and not is_sparse and n >= p and _reads_of("cholesky", problem) <= 18:
        return "cholesky", f"factorising a {m} x {m} matrix costs no more than a few passes over {n} rows"
    if (is_sparse or not is_tall(problem, m)) if is_squared else (is_sparse and not can_factor(problem, m)):
        return "newton-cg", f"forming a {m} x {m} matrix costs more than a few passes over {n} rows"
    return "lbfgs", f"each step is one pass over {n} rows, and a sample of the rows gives a good starting point"


def _affordable(problem):
    """Return whether a direct solver is affordable in memory and time; wide data are rotated, in a dense copy."""
    n, p = problem.X.shape
    fits = n >= p or n * p <= (10**7 if sparse.issparse(problem.X) else 10**8)
    return fits and side(problem) <= (2000 if isinstance(problem.loss, Squared) else 1000)
