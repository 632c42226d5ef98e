"""A kernel machine as a value: kernel and penalty chosen by leave-one-out, the solution, and its uncertainty."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sklearn_ltdl._sklearn import draw_seed
from sklearn_ltdl._targets import Standardisation
from sklearn_ltdl.ntk._flow import GradientFlow
from sklearn_ltdl.ntk._gram import call_kernel, overflow
from sklearn_ltdl.ntk._intervals import jackknife, jackknife_plus
from sklearn_ltdl.ntk._kernels import NNGP, Kernel
from sklearn_ltdl.ntk._problem import (
    Posed,
    candidates,
    chosen,
    on_centres,
    on_points,
    part_of,
    spread_rows,
    warn_of_rows,
)
from sklearn_ltdl.ntk._sample import Sample
from sklearn_ltdl.ntk._solvers import Smoother, require_memory, row_blocks


class Member(NamedTuple):
    """A kernel of a fit, and what the fit found for it.

    Parameters
    ----------
    weight : float
        Weight of its predictions; the weights of a fit sum to 1.
    kernel : Kernel, callable or None
    alpha : float
        Penalty that was chosen.
    loo_error : float
        Leave-one-out error at this penalty.
    dual_coef, intercept : ndarrays, or float for the intercept
        Its prediction is ``kernel(x, X_fit_) @ dual_coef + intercept``.
    """

    weight: float
    kernel: object
    alpha: float
    loo_error: float
    dual_coef: np.ndarray
    intercept: float | np.ndarray

    def __repr__(self):
        return f"{self.weight:.3f} {self.kernel} (alpha={self.alpha:.2g}, loo_error={self.loo_error:.4g})"


@dataclass(frozen=True, eq=False, repr=False)
class Machine:
    """Kernel ridge regression with an intercept. Results have the units and the shape of the target.

    Parameters
    ----------
    kernel : Kernel, callable or None
        Kernel that was chosen; None for a precomputed kernel.
    kernel_errors : ndarray of shape (n_kernels,)
        Smallest leave-one-out error of each kernel tried, NaN if there was no choice.
    centres : ndarray of shape (n_centres, n_features), or None for a precomputed kernel
    coef : ndarray of shape (n_centres, ...), of as many dimensions as the target
        Coefficients of the kernel with the centres. For a precomputed kernel, one per column.
    intercept : float or ndarray of shape (n_outputs,)
    alphas, errors : ndarrays of shape (n_alphas,)
        The penalties tried, increasing, and their leave-one-out errors on the standardised target.
    alpha : float
        Penalty that was chosen.
    solver : {'exact', 'nystroem', 'pcg'}
    n_iter : int
    left_out : ndarray of shape (n_rows, ...)
        Leave-one-out prediction of each row; rows of weight 0 are predicted from all rows.
    sample : Sample
    units : Standardisation
        Standardisation of the targets of `sample`.
    scale : float
        Mean of the kernel's diagonal. Solvers use the kernel divided by it.
    residuals : ndarray of shape (n_points, n_outputs)
        Standardised target minus leave-one-out prediction of each point.
    row_residuals : ndarray of shape (n_kept, n_outputs)
        The same of the rows, at the penalty that would have been chosen without each.
    made : Smoother, float or None
        That of the solution, or what is left of it in a file, its ridge; None if there is none.
    """

    kernel: object
    kernel_errors: np.ndarray
    centres: np.ndarray | None
    coef: np.ndarray
    intercept: float | np.ndarray
    alphas: np.ndarray
    errors: np.ndarray
    alpha: float
    solver: str
    n_iter: int
    left_out: np.ndarray
    sample: Sample
    units: Standardisation
    scale: float
    residuals: np.ndarray
    row_residuals: np.ndarray
    made: Smoother | float | None

    @classmethod
    def of(cls, X, y, weight, settings, groups=None, start=None, near=False):
        """Choose kernel and penalty by leave-one-out, and solve.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features), or (n_rows, n_rows) for a precomputed kernel
        y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        weight : ndarray of shape (n_rows,)
        settings : MachineSettings
        groups : ndarray of shape (n_rows,), default=None
            Rows of the same group are left out together.
        start : float, default=None
            Penalty, relative to the kernel's mean diagonal, at which the search begins if there are many rows; None
            takes it from a fit to fewer rows.
        near : bool, default=False
            Whether the penalty is expected there, as in `solve_exact`.
        """
        posed = Posed.of(X, y, weight, settings, groups)
        sample, exact, n = posed.sample, posed.exact, len(posed.sample.points)
        rng = np.random.default_rng(draw_seed(settings.random_state))
        kernels = candidates(settings, spread_rows(X, sample), exact)
        warn_of_rows(kernels, X, sample)
        kernel, kernel_errors, pilot = chosen(kernels, X, sample, settings, rng, exact and start is None)
        if pilot is not None:
            if exact and len(pilot.centres) == n:
                return cls.solution(posed, kernel, kernel_errors, pilot)
            start = pilot.path.flat_end
        return cls.of_kernel(posed, kernel, kernel_errors, rng, start, near)

    @classmethod
    def of_kernel(cls, posed, kernel, kernel_errors, rng, start=None, near=False):
        """Solve with the kernel that was chosen. See `of`."""
        X, sample, settings = posed.X, posed.sample, posed.settings
        if posed.exact:
            solved = on_points(kernel, X, part_of(sample, np.arange(len(sample.points))), settings, start or 1.0, near)
        else:
            solved = on_centres(kernel, X, sample, settings, rng)
        return cls.solution(posed, kernel, kernel_errors, solved)

    @classmethod
    def solution(cls, posed, kernel, kernel_errors, solved):
        """Return the machine of a solution with one kernel, in the units and the shape of the target."""
        X, Y, sample, units, shape = posed.X, posed.Y, posed.sample, posed.units, posed.shape
        path, scale = solved.path, solved.scale
        coef = path.coef / scale
        if posed.settings.precomputed:
            coef = np.zeros(Y.shape)
            coef[solved.centres] = path.coef / scale
        coef = (coef * units.scale).reshape(-1, *shape[1:])
        intercept = units.undo(path.intercept).reshape(shape[1:])[()]
        centres = None if posed.settings.precomputed else X[solved.centres]
        alphas = scale * path.alphas
        left_out = np.empty_like(Y)
        left_out[sample.rows] = units.undo((sample.targets - path.residuals)[sample.point])
        left_out = left_out.reshape(shape)
        left_out[posed.unweighted] = _values(kernel, centres, coef, intercept, X[posed.unweighted])
        unseen = path.residuals if path.unseen_residuals is None else path.unseen_residuals
        return cls(
            kernel,
            kernel_errors,
            centres,
            coef,
            intercept,
            alphas,
            path.errors,
            alphas[path.best],
            path.solver,
            path.n_iter or len(alphas),
            left_out,
            sample,
            units,
            scale,
            path.residuals,
            Y[sample.rows] - (sample.targets - unseen)[sample.point],
            path.smoother,
        )

    def __getstate__(self):
        """Return what is pickled: not the smoother, as large as the Gram matrix, if the kernel can make it again."""
        state = {name: value for name, value in vars(self).items() if name not in {"smoother", "precise_smoother"}}
        if self.kernel is not None and isinstance(self.made, Smoother):
            state["made"] = float(self.made.ridge)
        return state

    @property
    def n_features(self):
        """Return the number of columns of rows to predict."""
        return self.sample.n_rows if self.centres is None else self.centres.shape[1]

    @property
    def relative_alpha(self):
        """Return the penalty relative to the kernel's mean diagonal."""
        return self.alpha / self.scale

    @property
    def is_idle(self):
        """Return whether predicting the mean is at least as good by leave-one-out error."""
        weight, targets = self.sample.weight / self.sample.weight.sum(), self.sample.targets
        return bool(self.errors.min() >= np.sum(weight @ (targets - weight @ targets) ** 2))

    def in_units(self, values):
        """Convert standardised predictions (m, n_outputs) to the units and the shape of the target."""
        return self.units.undo(values).reshape(len(values), *self.coef.shape[1:])

    def evaluate(self, X):
        """Return the predictions at rows of X, which are kernel values for a precomputed kernel."""
        return _values(self.kernel, self.centres, self.coef, self.intercept, X)

    def member(self, weight=1.0):
        """Return the kernel and its solution, with the weight that they have in a stack."""
        return Member(weight, self.kernel, self.alpha, float(self.errors.min()), self.coef, self.intercept)

    @property
    def first(self):
        """Return the machine, as a stack of one."""
        return self

    @property
    def members(self):
        """Return the kernel and its solution, as a stack of one."""
        return [self.member()]

    def smoothing(self, X):
        """Return the weights of the points' targets in the predictions at rows of X, of shape (m, n_points)."""
        return self.smoother.weights(self._cross(X))

    def influence(self, X):
        """Return `f - f_without_row` of shape (m, n_rows, ...); it is 0 for rows of weight 0."""
        smoother, sample = self._exact_smoother("influence"), self.sample
        shifts = np.zeros((len(X), sample.n_rows, sample.targets.shape[1]))
        for rows in row_blocks(len(X), len(sample.points)):
            weights = smoother.weights(self._cross(X[rows]))
            for output, left_out in enumerate(self.residuals.T):
                shifts[rows, sample.rows, output] = sample.of_block(weights * left_out)[:, sample.point]
        shifts *= self.units.scale
        return shifts.reshape(*shifts.shape[:2], *self.coef.shape[1:])

    def intervals(self, X, coverage):
        """Return the lower and upper ends of intervals, each in the shape of the predictions."""
        if self.solver != "exact":
            width = jackknife(self.sample, self.row_residuals, coverage) * self.units.scale
            prediction, width = self.evaluate(X), width.reshape(self.coef.shape[1:])
            return prediction - width, prediction + width
        ends = []
        for rows in row_blocks(len(X), len(self.sample.points)):
            parts = [(self.smoothing(X[rows]), self.residuals)]
            ends.append(jackknife_plus(parts, self.sample, self.row_residuals, coverage))
        lower, upper = np.concatenate(ends, axis=1)
        return self.in_units(lower), self.in_units(upper)

    def posterior_std(self, X):
        """Return the posterior standard deviation of f(x) + b, of the shape of the predictions."""
        self._require_exact("return_std")
        kernel, sample = self.kernel, self.sample
        if kernel is None:
            raise ValueError(
                "return_std needs the kernel of each row with itself, which kernel='precomputed' does not give; "
                "pass a Kernel object or a callable."
            )
        smoother, variance = self.precise_smoother, np.empty(len(X))
        for rows in row_blocks(len(X), len(smoother.weight)):
            K = self._cross(X[rows])
            if isinstance(kernel, Kernel):
                diagonal = kernel.diag(X[rows])
            else:
                diagonal = np.concatenate([np.diagonal(call_kernel(kernel, x[None], x[None])) for x in X[rows]])
            variance[rows] = smoother.variance(K, diagonal / self.scale, smoother.weights(K))
        if not np.all(np.isfinite(variance)):
            raise overflow()  # from the kernel of a row with itself, or from a square
        n = sample.row_weight.sum()
        quadratic_form = smoother.quadratic_form(sample.targets) + sample.spread / (n * smoother.alpha)  # over all rows
        std = np.sqrt(variance[:, None] * quadratic_form / n)  # maximises the likelihood at a given alpha
        return (std * self.units.scale).reshape(len(X), *self.coef.shape[1:])

    def flow(self):
        """Return the gradient flow of the kernel's network on the standardised targets."""
        if not isinstance(self.kernel, NNGP):
            raise ValueError(
                f"staged_predict needs the kernel of a network; the kernel is {self.kernel!r}. "
                "Use kernel='ntk' or 'nngp', or an NTK or NNGP object."
            )
        if self.solver != "exact":
            raise ValueError("staged_predict needs solver='exact'; this fit used random centres. Use fewer rows.")
        require_memory(len(self.centres), 4, "Use fewer rows.")
        return GradientFlow.of(self.kernel, self.centres, self.sample.targets, self.sample.weight)

    @cached_property
    def smoother(self):
        """The solution as a function of the targets, of solver 'exact'; made again after pickling."""
        return self.made if isinstance(self.made, Smoother) else self._smoother()

    @cached_property
    def precise_smoother(self):
        """The same, with precise variances."""
        smoother = self.smoother
        return self._smoother(precise=True) if smoother.is_coarse else smoother

    def _smoother(self, precise=False):
        K = call_kernel(self.kernel, self.centres)
        K /= self.scale
        return Smoother.of(K, self.sample.weight, getattr(self.made, "ridge", self.made), precise)

    def _exact_smoother(self, what):
        self._require_exact(what)
        return self.smoother

    def _require_exact(self, what):
        if self.solver != "exact":
            raise ValueError(
                f"{what} needs solver='exact'; this fit used {self.solver!r}. Use solver='exact', or fewer rows."
            )

    def _cross(self, X):
        """Return the kernel between rows and the points, divided by its mean diagonal."""
        if self.kernel is None:
            return X[:, self.sample.points] / self.scale
        K = call_kernel(self.kernel, X, self.centres)
        K /= self.scale
        return K


def _values(kernel, centres, coef, intercept, X):
    """Return predictions at rows of X, which are kernel values if there is no kernel."""
    if kernel is None:
        return X @ coef + intercept
    blocks = [call_kernel(kernel, X[rows], centres) @ coef for rows in row_blocks(len(X), len(centres))]
    return np.concatenate(blocks) + intercept if blocks else np.empty((0, *coef.shape[1:]))
