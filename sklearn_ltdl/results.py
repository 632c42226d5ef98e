"""What a solver hands back, and how the user hears of it."""

import warnings
from dataclasses import dataclass
from enum import Enum

import numpy as np
from sklearn.exceptions import ConvergenceWarning


class Status(Enum):
    """How a solver ended; the value is the sentence that the user reads."""

    CONVERGED = "converged"
    OUT_OF_STEPS = "stopped at max_iter before the tolerance was reached"
    SEPARABLE = "found a hyperplane between the classes, so that with alpha=0 the objective has no minimum"

    @classmethod
    def of(cls, gap, tolerance):
        """Return CONVERGED if the gap is within the tolerance."""
        return cls.CONVERGED if gap <= tolerance else cls.OUT_OF_STEPS


@dataclass(frozen=True)
class Solution:
    """Minimiser of a convex finite sum.

    Parameters
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
    n_iter : int
        Passes over the data.
    gap : float
        Upper bound on the suboptimality of the objective, inf where none is known.
    status : Status
    solver : str
        The algorithm that ran.
    """

    coef: np.ndarray
    intercept: np.ndarray
    n_iter: int
    gap: float
    status: Status
    solver: str


def warn_unless_converged(solution, remedy):
    """Return the solution, after a ConvergenceWarning with the remedy if it did not converge."""
    if solution.status is not Status.CONVERGED:
        distance = f"; the objective is within {solution.gap:.2e} of its minimum" if solution.gap < np.inf else ""
        warnings.warn(
            f"The solver '{solution.solver}' {solution.status.value}{distance}. {remedy}",
            ConvergenceWarning,
            stacklevel=3,
        )
    return solution
