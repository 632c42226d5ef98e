"""Solvers of a finite sum: pure functions from a problem to a solution. They have not heard of estimators."""

import numpy as np
from scipy import sparse

from sklearn_ltdl._registry import Registry
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.results import Solution, Status

SOLVERS = Registry("solver")


@SOLVERS.register
def auto(problem, *, tol=1e-6, max_iter=1000, seed=0):
    """Minimise with a direct method where a factorisation is affordable, else with SAG."""
    n, p = problem.X.shape
    quadratic = isinstance(problem.loss, Squared)
    affordable = n >= p or n * p <= (10**7 if sparse.issparse(problem.X) else 10**8)  # wide data are rotated: a copy
    if affordable and _side(problem) <= (2000 if quadratic else 1000):
        return (cholesky if quadratic else newton)(problem, tol=tol, max_iter=max_iter)
    return sag(problem, tol=tol, max_iter=max_iter, seed=seed)


@SOLVERS.register
def cholesky(problem, *, tol=1e-6, max_iter=1000, seed=0):
    """Minimise the squared loss by one Cholesky factorisation and steps of iterative refinement."""
    if not isinstance(problem.loss, Squared):
        raise ValueError("solver='cholesky' is for the squared loss; use solver='newton' or 'auto'.")
    return _newton(problem, tol, max_iter, "cholesky")


@SOLVERS.register
def newton(problem, *, tol=1e-6, max_iter=1000, seed=0):
    """Minimise by Newton's method with line search; the intercept is eliminated, not iterated."""
    return _newton(problem, tol, max_iter, "newton")


@SOLVERS.register
def sag(problem, *, step=None, tol=1e-6, max_iter=1000, seed=0):
    """Minimise with SAG (Schmidt, Le Roux, Bach 2017, arXiv:1309.2388), by default with step 1/L.

    The table of slopes starts at the best constant. From there SAG overshoots, so that the first pass is SAGA's.
    """
    step = 1 / problem.smoothness() if step is None else step
    return _averaged(problem, 1 / len(problem.Y), step, tol, max_iter, seed, "sag")


@SOLVERS.register
def saga(problem, *, step=None, tol=1e-6, max_iter=1000, seed=0):
    """Minimise with SAGA (Defazio, Bach, Lacoste-Julien 2014, arXiv:1407.0202), by default with step 1/(3L)."""
    step = 1 / (3 * problem.smoothness()) if step is None else step
    return _averaged(problem, 1.0, step, tol, max_iter, seed, "saga")


def _averaged(problem, correction, step, tol, max_iter, seed, name):
    """Run SAGA, where the new slope of a sample counts fully, or SAG, where it counts for 1/n like all others."""
    from sklearn_ltdl.linear._epochs import Memory, epoch_of  # compiled code loads on first use

    n, rng, point = len(problem.Y), np.random.default_rng(seed), problem.start
    table = n * problem.share[:, None] * point.slopes
    memory = Memory(point.coef.copy(), point.intercept.copy(), table, problem.transposed(table) / n, table.mean(axis=0))
    epoch, due = epoch_of(problem), 1
    for n_iter in range(1, max_iter + 1):
        epoch(rng.integers(n, size=n), step, 1.0 if n_iter == 1 else correction, memory)
        if n_iter in (due, max_iter):  # a certificate costs a pass: the next one comes an eighth later
            point = problem.at(memory.coef, memory.intercept)
            status, due = problem.status(point, tol), n_iter + 1 + n_iter // 8
            if status is not Status.OUT_OF_STEPS:
                break
    return Solution(point.coef, point.intercept, n_iter, point.gap, status, name)


def _newton(problem, tol, max_iter, name):
    n, p = problem.X.shape
    if _side(problem) > 15_000 or (n < p and n * p > 10**9):
        raise ValueError(
            f"solver='{name}' factorises a dense matrix of side {_side(problem)} from {n} x {p} data, beyond what "
            "memory commonly holds; use solver='auto', 'sag' or 'saga'."
        )
    inner, basis = problem.rotated() if n < p else (problem, None)
    best, newton_step, n_iter = inner.start, None, 0
    while n_iter < max_iter and inner.status(best, tol) is not Status.SEPARABLE:
        n_iter += 1
        if newton_step is None or not isinstance(problem.loss, Squared):
            newton_step = inner.newton_step(best)
        point, decrease = _search(inner, best, newton_step(best.gradient))
        near = decrease <= 1e-12 * best.objective + inner.resolution
        finished = near and (inner.error(point) <= tol or inner.error(point) >= inner.error(best) / 2)
        best = point
        if finished:  # the next step would be one of rounding
            break
    best = problem.at(best.coef @ basis, best.intercept) if n < p else best
    return Solution(best.coef, best.intercept, n_iter, best.gap, problem.status(best, tol), name)


def _side(problem):
    """Return the side of the matrix that a direct method factorises."""
    return min(problem.X.shape) * (problem.Y.shape[1] if problem.loss.coupled else 1)


def _search(problem, point, step):
    """Return the point after the longest of the steps 1, 1/2, 1/4, ... that decreases enough, and that decrease."""
    decrease = np.sum(point.gradient * step)
    for _ in range(60):
        candidate = problem.at(point.coef - step, point.intercept)
        if (
            candidate.objective <= point.objective - decrease / 4
            or decrease <= 1e-9 * point.objective + problem.resolution
        ):
            break
        step, decrease = step / 2, decrease / 2
    return candidate, decrease
