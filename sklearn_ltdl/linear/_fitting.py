"""From checked data to a fitted model: state the finite sum, solve it, and shape the result. No estimators here."""

import weakref
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from sklearn_ltdl._targets import checked_list, encode_classes, one_hot, weights_of_classes
from sklearn_ltdl._threads import sharing
from sklearn_ltdl.linear._gram import COMPILED
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._solvers import SOLVERS, Draw, choose, descend, is_tame
from sklearn_ltdl.losses import LOSSES, Huber, Logistic, Multinomial, SmoothHinge
from sklearn_ltdl.results import RegularizationPath, Solution, Status, warn_unless_converged

LAYOUT = {"accept_sparse": "csr", "order": "C"}  # layout of the rows that solvers read
BY_COLUMNS = {"accept_sparse": ("csr", "csc"), "order": None}  # layouts that coordinate descent reads


class Objective(NamedTuple):
    """What an estimator minimises.

    Parameters
    ----------
    loss : str or loss object
    alpha, l1_ratio : float
    fit_intercept : bool
    """

    loss: Any
    alpha: float
    l1_ratio: float
    fit_intercept: bool

    def resolved(self):
        """Return the loss object."""
        loss = LOSSES.resolve(self.loss)
        if isinstance(loss, Huber | SmoothHinge) and not 0 < loss[0] < np.inf:
            raise ValueError(f"loss={loss} needs a positive, finite {loss._fields[0]}.")
        return loss

    def of(self, X, Y, loss, weight, whole):
        """Return the finite sum. The columns are centred only if the data are `whole`, not a batch."""
        build = FiniteSum.centred if whole else FiniteSum
        return build(X, Y, loss, self.alpha, weight, self.fit_intercept, self.l1_ratio)


@dataclass(frozen=True)
class Task:
    """A finite sum over rows of positive weight, and how its solution is published.

    Parameters
    ----------
    problem : FiniteSum
    counted : ndarray of bool, shape (n_samples,)
        The given rows whose weight is positive.
    present : ndarray of bool, shape (n_outputs,)
        The published outputs that are part of the problem; the others belong to classes without rows.
    flat_coef, flat_dual : bool
        Whether the coefficients and dual variables of a single output are published without the output axis.
    classes : ndarray or None
    """

    problem: FiniteSum
    counted: np.ndarray
    present: np.ndarray
    flat_coef: bool
    flat_dual: bool
    classes: np.ndarray | None = None

    def published(self, coef, intercept):
        """Return `coef_` and `intercept_` for the original columns and all outputs."""
        all_coef = np.zeros((len(self.present), coef.shape[1]))
        all_intercept = np.zeros(len(self.present))
        all_coef[self.present], all_intercept[self.present] = coef, self.problem.published(coef, intercept)
        if not self.present.all():  # absent classes get a probability of at most exp(-40), below rounding, in every row
            scores = self.problem.at(coef, intercept, best=False).margins
            all_intercept[~self.present] = np.min(logsumexp(scores, axis=1)) - 40.0
        return (all_coef[0], float(all_intercept[0])) if self.flat_coef else (all_coef, all_intercept)

    def here(self, coef, intercept):
        """Split published coefficients and intercepts into those of the problem and those of absent classes."""
        coef, intercept = np.atleast_2d(coef), np.atleast_1d(intercept)
        intercept = self.problem.intercept_here(coef, intercept)
        return coef[self.present], intercept[self.present], coef[~self.present], intercept[~self.present]

    def published_dual(self, slopes):
        """Return `dual_coef_`, which is 0 for rows without weight and for absent classes."""
        dual = slopes
        if not (self.counted.all() and self.present.all()):
            dual = np.zeros((len(self.counted), len(self.present)))
            dual[np.ix_(self.counted, self.present)] = slopes
        return dual[:, 0] if self.flat_dual and dual.shape[1] == 1 else dual

    def gap(self, coef, intercept):
        """Return the duality gap of published coefficients."""
        problem = self.problem
        problem.refuse_extremes()
        coef, intercept, absent, absent_intercept = self.here(coef, intercept)
        point = problem.at(coef, intercept, best=False)
        if self.present.all():
            return point.gap
        scores = np.hstack([point.margins, problem.X @ absent.T + absent_intercept])
        added = problem.share @ (logsumexp(scores, axis=1) - logsumexp(point.margins, axis=1))
        return point.gap + float(added) + problem.l2 / 2 * np.sum(absent**2) + problem.l1 * np.sum(np.abs(absent))


def regression_task(X, y, weight, objective, whole=True) -> Task:
    """State the task for checked rows, targets and weights."""
    X, weight, y, counted = _rows_that_count(X, weight, y)
    loss, Y = objective.resolved(), y.reshape(len(y), -1)
    if getattr(loss, "of_labels", False) and not (Y.min() >= 0 and Y.max() <= 1):
        raise ValueError(
            f"loss={loss} is for y between 0 and 1; got values from {Y.min():g} to {Y.max():g}. Use SAGClassifier for "
            "labels."
        )
    problem, flat = objective.of(X, Y, loss, weight, whole), y.ndim == 1
    return Task(problem, counted, np.ones(Y.shape[1], dtype=bool), flat_coef=flat, flat_dual=flat)


def classification_task(X, y, weight, objective, class_weight, classes=None, whole=True) -> Task:
    """State the task for checked rows, labels and weights; by default the classes are those of all rows."""
    classes, codes = encode_classes(y, weight, classes)
    weight = weights_of_classes(class_weight, classes, codes, weight)
    X, weight, codes, counted = _rows_that_count(X, weight, codes)
    loss, n_classes = objective.resolved(), len(classes)
    if isinstance(loss, Logistic) and n_classes > 2:
        loss = Multinomial()
    Y = np.eye(2)[codes] if loss.coupled and n_classes == 2 else one_hot(codes, n_classes)
    present = np.ones(Y.shape[1], dtype=bool)
    if whole and loss.coupled and objective.fit_intercept:
        present = Y.any(axis=0)  # without rows a class has no likelihood maximum: its intercept would fall for ever
        Y = Y if present.all() else Y[:, present]
    problem = objective.of(X, Y, loss, weight, whole)
    return Task(problem, counted, present, flat_coef=False, flat_dual=True, classes=classes)


def _rows_that_count(X, weight, y):
    """Return the rows of positive weight, in the solvers' layout, with their weights, targets and mask."""
    if sparse.issparse(X):
        array = sparse.csc_array if X.format == "csc" else sparse.csr_array
        X = array(X)  # sums of a sparse matrix would be matrices
        if not _is_canonical(X):
            X = X.copy()
            X.sum_duplicates()
        if X.indices.dtype != np.int32 and max(X.nnz, *X.shape) < 2**31:  # kernels are compiled for one type of index
            X = array((X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)), X.shape)
    elif not X.flags.forc:  # as in every other row of a table
        X = np.ascontiguousarray(X)
    counted = weight > 0
    return (X, weight, y, counted) if counted.all() else (X[counted], weight[counted], y[counted], counted)


def _is_canonical(X):
    """Return whether a sparse array stores no entry twice, and is sorted if it is small; sorting would copy it."""
    if X.nnz <= COMPILED:
        return X.has_canonical_format
    from sklearn_ltdl.linear._columns import repeats  # compiled code loads on first use

    return not repeats(X.indices, X.indptr, X.shape[X.format == "csr"])


def state_to_go_on_from(task, solver, last, coef, intercept):
    """Return where a warm start begins: the last state if problem and solver are the same, else the coefficients.

    Parameters
    ----------
    task : Task
    solver : str
    last : dict or None
        The state with which the last fit ended.
    coef, intercept : ndarray or float
        The published values.
    """
    problem = task.problem
    if last is None or last["coef"].shape != (problem.Y.shape[1], problem.X.shape[1]):
        return {}
    name = choose(problem)[0] if solver == "auto" else solver
    if (name, problem.fingerprint) == (last["solver"], last.get("of")):
        return deepcopy(last)  # a fit that fails leaves the last state as it was
    coef, intercept, _, _ = task.here(coef, intercept)
    return {"coef": coef, "intercept": intercept * float(problem.fit_intercept)}


class LaterDual:
    """Dual variables that the solver did not need; they are computed from the rows when they are asked for.

    X is the user's array. It is kept only as long as the user keeps it, so that a model is no larger than it was.

    Parameters
    ----------
    task : Task
    X : ndarray
        The rows of the task.
    solution : Solution
    """

    def __init__(self, task, X, solution):
        self._X, self._solution = weakref.ref(X), solution
        self._task = replace(task, problem=task.problem.without_rows())

    def __call__(self):
        """Return `dual_coef_`, or raise an AttributeError if the rows are gone or were changed."""
        X, solution = self._X(), self._solution
        if X is None:
            raise AttributeError(
                "dual_coef_ is computed from X when it is first asked for, and the array X of the fit has been "
                "deleted. Keep X in a variable until then, or fit with solver='newton-cg', which computes dual_coef_."
            )
        problem = self._task.problem.with_rows(X)
        point = problem.at(solution.coef, solution.intercept, best=False)
        if not point.gap <= 4 * solution.gap:  # the certified gap allows for the rounding of one gradient, not of two
            raise AttributeError(
                "dual_coef_ is computed from X when it is first asked for, and X has been changed since the fit. Fit "
                "again."
            )
        return self._task.published_dual(point.slopes)


class Fitted(NamedTuple):
    """What a fit publishes.

    Parameters
    ----------
    coef, intercept : ndarray or float
        In the shapes of the estimator's attributes.
    dual : ndarray or LaterDual
    solution : Solution
    state : dict
        State of the solver.
    task : Task
    """

    coef: np.ndarray
    intercept: np.ndarray | float
    dual: Any
    solution: Solution
    state: dict
    task: Task

    def resumable(self):
        """Return the state from which a warm start of the same problem continues."""
        state = {key: value for key, value in self.state.items() if key != "known"}  # copies of X
        return {**state, "solver": self.solution.solver, "of": self.task.problem.fingerprint}


def solve(task, given, solver, state, tell, **options) -> Fitted:
    """Solve the task, starting at a state; `tell` and the options are passed to the solver.

    `given` is the X that the user passed, which may be that of the task.
    """
    problem = task.problem
    solution = SOLVERS[solver](problem, state=state, tell=tell, **options)
    solution = _with_the_gap_as_published(problem, solution, options["tol"])
    coef, intercept = task.published(solution.coef, solution.intercept)
    slopes = solution.slopes
    if slopes is None and problem.X is given:
        return Fitted(coef, intercept, LaterDual(task, given, solution), solution, state, task)
    if slopes is None:
        slopes = problem.at(solution.coef, solution.intercept, best=False).slopes
    return Fitted(coef, intercept, task.published_dual(slopes), solution, state, task)


def _with_the_gap_as_published(problem, solution, tol):
    """Return the solution with the gap at the published intercept, which is rounded if columns are far from zero."""
    here = problem.intercept_here(solution.coef, problem.published(solution.coef, solution.intercept))
    if np.array_equal(here, solution.intercept):
        return solution
    point = problem.at(solution.coef, here, best=False)
    converged = solution.status is Status.CONVERGED and problem.status(point, tol) is not Status.CONVERGED
    return replace(solution, gap=point.gap, status=Status.ROUNDED if converged else solution.status)


def remedy(problem, status, names):
    """Return the advice for a warning; it names the columns if their scales make the problem hard."""
    if status is Status.SEPARABLE:
        return "Give alpha a positive value."
    if status not in (Status.OUT_OF_STEPS, Status.ROUNDED):
        return "Standardise the features, or leave the choice to solver='auto'."
    size = problem.by_rows().column_sizes()
    low, high = int(np.argmin(np.where(size > 0, size, np.inf))), int(np.argmax(size))
    scales = ""
    if size[high] > 1e3 * size[low] > 0:
        names = np.arange(len(size)) if names is None else names
        least, most = f"{size[low]:.1e} ({names[low]})", f"{size[high]:.1e} ({names[high]})"
        scales = f" The columns of X differ in scale, from {least} to {most}."
    if status is Status.ROUNDED:
        return f"Standardise the features (StandardScaler), or raise alpha or tol.{scales}"
    return f"Standardise the features, raise max_iter or alpha, or leave the choice to solver='auto'.{scales}"


def step_on_rows(task, solver, step, state):
    """Take one step of 'sgd' or 'asgd' on each row; return `coef_`, `intercept_` and the state for the next call.

    Parameters
    ----------
    task : Task
    solver : {'sgd', 'asgd'}
    step : float or None
    state : dict
        State of the last call, or the coefficients to start at, or empty.
    """
    problem = task.problem
    problem.refuse_extremes()
    if problem.l1 > 0:
        raise ValueError(f"solver='{solver}' is for l1_ratio=0; got {problem.l1 / problem.alpha:g}.")
    n_outputs, known = problem.Y.shape[1], state.get("coef")
    if known is not None and len(known) != n_outputs:
        raise ValueError(f"y has {n_outputs} outputs, but the last call had {len(known)}; call fit to start over.")
    state = {"largest": 0.0, **deepcopy(state), "solver": "partial_fit"}
    draw = Draw(problem, "uniform")
    draw.smoothness = state["largest"] = max(draw.smoothness, state["largest"])
    averaged = solver == "asgd"
    descend(problem, state, np.arange(len(problem.Y)), draw, step, averaged)
    if not is_tame(state["coef"], state["intercept"]):
        raise ValueError(
            f"step_size={step:g} is too large for solver='{solver}': coefficients diverge. "
            f"The safe step is {state['safe_step']:.3g}; this call did not change the estimator."
        )
    coef, intercept = (state["mean"], state["mean_intercept"]) if averaged else (state["coef"], state["intercept"])
    return *task.published(coef, intercept), state


def regularization_path(task, alphas, solver, **options) -> RegularizationPath:
    """Solve for several penalties, each from the solution of the next larger one."""
    alphas = checked_list(alphas, "alphas", numbers=True)
    if np.any(alphas < 0):
        raise ValueError(f"alphas must be a list of finite numbers of at least 0; got {alphas.tolist()}.")
    problem, state, solutions = task.problem, {}, {}
    with sharing() if problem.is_compiled else nullcontext():
        for i in np.argsort(-alphas, kind="stable"):
            problem = problem.with_alpha(alphas[i])
            solution = SOLVERS[solver](problem, state=state, **options)
            solutions[i] = warn_unless_converged(solution, f"At alpha={alphas[i]:g}. Raise max_iter or tol.")
            known = {"known": state["known"]} if "known" in state else {}  # of X, for any penalty
            state = {"coef": solution.coef, "intercept": solution.intercept, **known}
    ordered = [solutions[i] for i in range(len(alphas))]
    coefs, intercepts = zip(*(task.published(s.coef, s.intercept) for s in ordered))
    return RegularizationPath(
        alphas,
        np.array(coefs),
        np.array(intercepts),
        np.array([s.gap for s in ordered]),
        np.array([s.n_iter for s in ordered]),
        tuple(s.solver for s in ordered),
    )
