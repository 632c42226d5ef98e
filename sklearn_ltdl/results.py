"""The results that solvers return, and the warning if a solver did not converge."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklearn_ltdl._shown import Shown, Tables, columns
from sklearn_ltdl._sklearn import warn

_Solved = TypeVar("_Solved", bound=Any)  # has a status, a gap and the name of a solver


class Status(Enum):
    """How a solver ended; the value is the text that the user reads."""

    CONVERGED = "converged"
    OUT_OF_STEPS = "stopped at max_iter before the tolerance was reached"
    ROUNDED = "stopped as close to the minimum as rounding allows, which is above the tolerance"
    STOPPED = "was stopped by a callback"
    DIVERGED = "took steps that were too long, and returned its best point"
    SEPARABLE = "found a hyperplane between the classes, so the objective has no minimum with alpha=0"

    @classmethod
    def of(cls, gap: float, tolerance: float) -> "Status":
        """Return CONVERGED if the gap is within the tolerance."""
        return cls.CONVERGED if gap <= tolerance else cls.OUT_OF_STEPS


@dataclass(frozen=True, repr=False)
class Trace(Shown):
    """Certificates of the iterates of a solver, in order.

    Parameters
    ----------
    passes : ndarray of shape (n_certificates,)
        Number of rows that the solver has read so far, over the number of samples. Certificates are not counted.
    seconds : ndarray of shape (n_certificates,)
        Wall-clock time of the solver so far, without the certificates.
    primal : ndarray of shape (n_certificates,)
        The objective, against the weighted mean loss.
    dual : ndarray of shape (n_certificates,)
        A lower bound on the minimum of the objective; -inf with ``alpha=0``.
    gap : ndarray of shape (n_certificates,)
        ``primal - dual``, computed without cancellation.
    """

    passes: np.ndarray
    seconds: np.ndarray
    primal: np.ndarray
    dual: np.ndarray
    gap: np.ndarray

    def _headline(self):
        if not len(self.gap):
            return "no certificate"
        return f"{len(self.gap)} certificates, gap {self.gap[-1]:.3g} after {self.passes[-1]:.4g} passes"

    def _tables(self) -> Tables:
        yield columns(passes=self.passes, seconds=self.seconds, primal=self.primal, dual=self.dual, gap=self.gap)


@dataclass(frozen=True, repr=False)
class Solution(Shown):
    """Minimiser of a convex finite sum.

    Parameters
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
    n_iter : int
        Number of epochs of a stochastic solver, or of steps of another solver.
    gap : float
        Upper bound on the suboptimality of the objective; inf if no bound is known.
    status : Status
    solver : str
        The algorithm that ran.
    slopes : ndarray of shape (n_samples, n_outputs) or None
        The dual variables of the certificate; None if the solver did not need them.
    trace : Trace
    step : float or None
        Largest step of a row or of the gradient; None if the solver takes no such steps.
    reason : str
        Why 'auto' chose the solver.
    smoothness : tuple of two floats or None
        Largest and mean smoothness of a term; None if the solver did not use it.
    """

    coef: np.ndarray
    intercept: np.ndarray
    n_iter: int
    gap: float
    status: Status
    solver: str
    slopes: np.ndarray | None
    trace: Trace
    step: float | None
    reason: str = ""
    smoothness: tuple[float, float] | None = None

    def _headline(self):
        return f"{self.solver} {self.status.value}, n_iter={self.n_iter}, gap={self.gap:.3g}"


@dataclass(frozen=True, repr=False)
class RegularizationPath(Shown):
    """Solutions of a finite sum for several penalties.

    Parameters
    ----------
    alphas : ndarray of shape (n_alphas,)
    coefs : ndarray of shape (n_alphas, n_features) or (n_alphas, n_outputs, n_features)
    intercepts : ndarray of shape (n_alphas,) or (n_alphas, n_outputs)
    dual_gaps : ndarray of shape (n_alphas,)
        Upper bounds on the suboptimality of the objective; inf if alpha is 0.
    n_iters : ndarray of shape (n_alphas,)
    solvers : tuple of str
        The algorithms that ran.
    """

    alphas: np.ndarray
    coefs: np.ndarray
    intercepts: np.ndarray
    dual_gaps: np.ndarray
    n_iters: np.ndarray
    solvers: tuple[str, ...]

    def _headline(self):
        return f"{len(self.alphas)} penalties, largest gap {np.max(self.dual_gaps):.3g}"

    def _tables(self) -> Tables:
        nonzero = [np.count_nonzero(coef) for coef in self.coefs]
        yield columns(
            alpha=self.alphas, gap=self.dual_gaps, nonzero=nonzero, epochs_or_steps=self.n_iters, solver=self.solvers
        )


@dataclass(frozen=True, repr=False)
class Certificate(Shown):
    """How far a network, as a measure, is from the best measure.

    Parameters
    ----------
    primal : float
        The objective F, in the units in which the network was trained. If the network was trained with noise, it is the
        objective of the proximal Gibbs measure.
    dual : float
        A lower bound on F over all measures.
    gap : float
        ``primal - dual``: an upper bound on the suboptimality if `rigorous`, and an estimate of such a bound otherwise.
    sup : float
        Largest correlation of a neuron with the residuals, at most `alpha` at a minimum; nan with noise.
    argmax : ndarray of shape (n_features + 1,) or None
        The direction of this neuron; None with noise.
    method : str
        How the largest correlation was found: 'eigenvalue', 'enumeration' or 'multi-start'; 'Gibbs sampling' with
        noise.
    rigorous : bool
        Whether `sup` is exact up to rounding, so that the gap is certified.
    imbalance : float
        Weight decay of the particles minus their total variation; 0 if they are balanced. The objective of training is
        ``primal + imbalance``.
    """

    primal: float
    dual: float
    gap: float
    sup: float
    argmax: np.ndarray | None
    method: str
    rigorous: bool
    imbalance: float = 0.0

    @property
    def relative_gap(self) -> float:
        """Return the gap over the objective."""
        return self.gap / abs(self.primal) if 0 < abs(self.primal) < np.inf else np.inf * (self.gap > 0)

    def _headline(self):
        return str(self)

    def __str__(self) -> str:
        """Return one sentence."""
        word = "certified_gap" if self.rigorous else "estimated_gap"
        return f"{word}={self.gap:.3g} ({100 * self.relative_gap:.2g} % of the objective), by {self.method}"


def warn_unless_converged(solution: _Solved, remedy: str) -> _Solved:
    """Return the solution, after a ConvergenceWarning with the remedy if it did not converge."""
    if solution.status is not Status.CONVERGED:
        distance = f"; the objective is within {solution.gap:.2e} of its minimum" if solution.gap < np.inf else ""
        warn(f"The solver '{solution.solver}' {solution.status.value}{distance}. {remedy}", ConvergenceWarning)
    return solution
