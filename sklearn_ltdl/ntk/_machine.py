"""A kernel machine as a value: kernel and penalty chosen by leave-one-out, the solution, and its uncertainty."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import pdist

from sklearn_ltdl._sklearn import draw_seed, warn, warn_of_scales
from sklearn_ltdl._targets import Standardisation, counted, encode_classes, fit_inverse_temperature, one_hot, softened
from sklearn_ltdl.ntk._flow import GradientFlow
from sklearn_ltdl.ntk._gram import call_kernel, check_precomputed, cross, gram, mean_diagonal, overflow
from sklearn_ltdl.ntk._intervals import jackknife, jackknife_plus
from sklearn_ltdl.ntk._kernels import NNGP, NTK, RBF, Kernel, Laplace, Transformed
from sklearn_ltdl.ntk._neural_tangents import as_kernel
from sklearn_ltdl.ntk._nystroem import independent, single_precision_noise, solve_nystroem, solve_pcg
from sklearn_ltdl.ntk._sample import Sample, together
from sklearn_ltdl.ntk._solvers import (
    ALPHAS,
    SPECTRAL_ROWS,
    RidgePath,
    Smoother,
    require_memory,
    row_blocks,
    solve_exact,
)
from sklearn_ltdl.results import warn_unless_converged

EXACT_ROWS = 5000  # above, solver='auto' uses centres
DIRECT_CENTRES = 3000  # above, solver='auto' iterates
DOUBLE_ENTRIES = 2**25  # larger kernel matrices between rows and centres are computed in single precision
SINGLE_RANGE = (1e-30, 1e30)  # range of the kernel's scale in which its values may be in single precision
DISTANCE_ROWS = 300  # at least, and less than twice as many, of which all distances are computed
PILOT_ROWS = 1000  # rows on which a kernel is chosen, or where the search for alpha starts
# Length scales tried, in median distances; at large ones Laplace tends to -|x - z|, which does well on many tables.
LENGTH_FACTORS = {"laplace": (1.0, 4.0, 16.0), "rbf": (0.25, 0.5, 1.0, 2.0)}
NAMED = ("ntk", "nngp", "laplace", "rbf")


class MachineSettings(NamedTuple):
    """The estimators' parameters: which kernels and penalties to try, and how to solve."""

    kernel: object = "ntk"
    depth: int | None = None
    activation: object = None
    alpha: float | str = "loo"
    solver: str = "auto"
    n_components: int = 2000
    normalize_y: bool = True
    random_state: object = None

    @property
    def precomputed(self):
        """Return whether the rows are those of a kernel matrix."""
        return isinstance(self.kernel, str) and self.kernel == "precomputed"

    def is_exact(self, n):
        """Return whether the whole Gram matrix is used for n points."""
        return self.solver == "exact" or (self.solver == "auto" and n <= EXACT_ROWS)

    def penalties(self, scale):
        """Return the penalties to try, in units of the kernel's mean diagonal."""
        return ALPHAS if self.alpha == "loo" else np.array([self.alpha / scale])


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
        if settings.precomputed:
            check_precomputed(X, weight)
        Y = y.reshape(len(y), -1)
        units = Standardisation.of(Y, weight, settings.normalize_y)
        Y = units.apply(Y)
        sample = Sample.of(X, Y, weight, groups, settings.precomputed)
        n = len(sample.points)
        exact = settings.is_exact(n)
        if exact:
            require_memory(n, 3, "Use solver='nystroem', or fewer rows.")
        rng = np.random.default_rng(draw_seed(settings.random_state))
        kernels = candidates(settings, X[sample.points[:: max(1, n // DISTANCE_ROWS)]], exact)
        if n > 1:
            warn_of_data(kernels, X if len(sample.rows) == len(X) else X[sample.rows])
        kernel, kernel_errors, pilot = chosen(kernels, X, sample, settings, rng, exact and start is None)
        if not exact:
            solved = _on_centres(kernel, X, sample, settings, rng)
        elif pilot is not None and len(pilot.centres) == n:
            solved = pilot
        else:
            if pilot is not None:
                start = pilot.path.flat_end
            blocks = together(sample.block)
            of_points = sample.points, sample.targets, sample.weight
            solved = _on_points(kernel, X, *of_points, settings, start or 1.0, blocks, near)
        path, scale = solved.path, solved.scale

        coef = path.coef / scale
        if settings.precomputed:
            coef = np.zeros(Y.shape)
            coef[solved.centres] = path.coef / scale
        coef = (coef * units.scale).reshape(-1, *y.shape[1:])
        intercept = units.undo(path.intercept).reshape(y.shape[1:])[()]
        centres = None if settings.precomputed else X[solved.centres]
        alphas = scale * path.alphas
        left_out = np.empty_like(Y)
        left_out[sample.rows] = units.undo((sample.targets - path.residuals)[sample.point])
        left_out, without_weight = left_out.reshape(y.shape), np.flatnonzero(weight == 0)
        left_out[without_weight] = _values(kernel, centres, coef, intercept, X[without_weight])
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
        smoother, parts = self._exact_smoother("predict_interval"), []
        for rows in row_blocks(len(X), len(self.sample.points)):
            weights = smoother.weights(self._cross(X[rows]))
            parts.append(jackknife_plus(weights, self.sample, self.residuals, self.row_residuals, coverage))
        lower, upper = np.concatenate(parts, axis=1)
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


class ClassMachine(NamedTuple):
    """A machine fitted to coded classes, and the factor that converts its scores to log-odds."""

    machine: Machine
    classes: np.ndarray
    inverse_temperature: float

    @classmethod
    def of(cls, X, labels, weight, settings, groups=None):
        """Fit one column per class, or one column of -1 and 1 for two classes. See `Machine.of`."""
        classes, codes = encode_classes(labels, weight)
        targets = one_hot(codes, len(classes))
        y = 2.0 * targets[:, 0] - 1.0 if len(classes) == 2 else targets
        machine = Machine.of(X, y, weight, settings._replace(normalize_y=False), groups)
        scores = machine.left_out.reshape(targets.shape)
        factor = fit_inverse_temperature(scores, softened(targets, counted(weight)), weight)
        return cls(machine, classes, factor)


def candidates(settings, X, exact):
    """Return the kernels to choose from, of lengths by the distances between rows X; None is the precomputed one."""
    several = isinstance(settings.kernel, (list, tuple))
    kernels = []
    for kernel in settings.kernel if several else [settings.kernel]:
        if callable(kernel):
            kernels.append(as_kernel(kernel))
        elif several and kernel not in NAMED:
            raise ValueError(
                f"kernel is a list with {kernel!r}; each must be one of {', '.join(NAMED)}, a Kernel or a callable."
            )
        elif kernel in LENGTH_FACTORS:
            lengths = _typical_distance(X) * np.array(LENGTH_FACTORS[kernel])
            kernels.extend((Laplace if kernel == "laplace" else RBF)(float(length)) for length in lengths)
        elif kernel == "precomputed":
            kernels.append(None)
        else:
            kernels.extend(_networks(NTK if kernel == "ntk" else NNGP, settings.depth, settings.activation, exact))
    if not kernels:
        raise ValueError("kernel is an empty list; give at least one kernel to choose from.")
    return kernels


def _typical_distance(X):
    """Return the median distance between rows."""
    distances = pdist(X)
    typical = np.median(distances) if len(distances) else 1.0
    if not np.isfinite(typical):
        raise overflow()
    return typical if typical > 0 else 1.0


def _networks(kind, depth, activation, exact):
    """Return the kernel of the given network, or the default candidates: GELU, not compiled, only if exact."""
    if depth is None and activation is None:
        return [kind(1), kind(3), *([kind(1, activation="gelu")] if exact else [])]
    return [kind(1 if depth is None else depth, activation="relu" if activation is None else activation)]


def warn_of_data(kernels, X):
    """Warn if the data do not suit a fixed kernel: columns of different scales, or one column without bias."""
    fixed = all(isinstance(kernel, Kernel) and not isinstance(kernel, Transformed) for kernel in kernels)
    if not fixed:
        return
    warn_of_scales(X, all(isinstance(kernel, NNGP) and kernel.b_std > 0 for kernel in kernels))
    for kernel in kernels:
        if isinstance(kernel, NNGP) and kernel.depth and X.shape[1] == 1 and not (kernel.b_std or kernel.hidden_b_std):
            warn(
                f"{kernel} has no bias: on one column it can only represent a line on each side of 0. Use b_std > 0.",
            )


class Solved(NamedTuple):
    """A solution in units of the kernel's mean diagonal `scale`, and the rows of X that are its centres."""

    path: RidgePath
    scale: float
    centres: np.ndarray


def chosen(kernels, X, sample, settings, rng, needs_start):
    """Return the kernel with the least leave-one-out error, the errors of all, and its solution on the sample.

    The sample has at most `PILOT_ROWS` points, in whole blocks. The solution is None if no sample is needed.
    """
    definite = all(isinstance(kernel, Kernel) for kernel in kernels)  # others: by eigenvalues
    searching = needs_start and len(sample.points) > SPECTRAL_ROWS and (settings.alpha == "loo" or not definite)
    if len(kernels) == 1 and not searching:
        return kernels[0], np.array([np.nan]), None
    order = rng.permutation(sample.block.max() + 1)[sample.block]
    some = np.sort(np.argsort(order, kind="stable")[:PILOT_ROWS])
    block = sample.block[some]
    blocks = together(block) if np.ptp(block) else []  # of one large group, rows are left out alone
    weight = sample.weight
    if len(some) < len(weight):
        weight = weight[some] * len(some) / weight[some].sum()
    best, errors = None, []
    for kernel in kernels:
        solved = _on_points(kernel, X, sample.points[some], sample.targets[some], weight, settings, 1.0, blocks)
        error = solved.path.errors[solved.path.best]
        if not errors or error < min(errors):
            best = kernel, solved
        errors.append(error)
    kernel, solved = best
    return kernel, np.array(errors), solved


def _on_points(kernel, X, points, targets, weight, settings, start, blocks, near=False):
    """Return the solution with the whole Gram matrix between points."""
    K = gram(kernel, X, points)
    scale = mean_diagonal(K, weight)
    K /= scale
    return Solved(solve_exact(K, targets, weight, settings.penalties(scale), start, blocks, near), scale, points)


def _on_centres(kernel, X, sample, settings, rng):
    """Return the solution in the span of the kernel functions of random points."""
    points, n = sample.points, len(sample.points)
    if sample.block.max() < n - 1:
        raise ValueError(
            "Only solver='exact' can leave out groups; this fit uses random centres, because of its "
            f"{n} distinct rows or of solver={settings.solver!r}. Use solver='exact', or fewer rows."
        )
    chosen = np.sort(rng.permutation(n)[: settings.n_components])
    m, centres = len(chosen), points[chosen]
    direct = settings.solver == "nystroem" or (settings.solver == "auto" and m <= DIRECT_CENTRES)
    require_memory(m, 14 if direct else 9, "Use fewer n_components" + (" or solver='pcg'." if direct else "."))
    K = gram(kernel, X, centres)
    scale = mean_diagonal(K, sample.weight[chosen])
    K /= scale
    penalties = settings.penalties(scale)
    leaving = chosen
    if penalties[0] < ALPHAS[0]:  # too small to bound the coefficients of functions that are, together, nearly 0
        kept = independent(K)
        if len(kept) < m:
            m, centres, chosen, leaving = len(kept), centres[kept], chosen[kept], leaving[:0]
            K, direct = K[np.ix_(kept, kept)], direct or m <= DIRECT_CENTRES  # data of low rank precondition nothing
    single = n * m > DOUBLE_ENTRIES and stands_single(kernel, K, scale, np.abs(X).max(), penalties[0])
    data = X.astype(np.float32) if single else X

    def between(rows, columns=slice(None)):
        values = cross(kernel, data, points[rows], centres[columns]).astype(data.dtype, copy=False)
        values /= scale
        return values

    if direct:
        path = solve_nystroem(between, K, leaving, sample.targets, sample.weight, penalties)
    else:
        path = solve_pcg(between, K, chosen, sample.targets, sample.weight, penalties)
        warn_unless_converged(path, "Increase alpha, or decrease n_components.")
    return Solved(path, scale, centres)


def stands_single(kernel, K, scale, largest, penalty):
    """Return whether kernel values may be in single precision, for centres of the Gram matrix K over its scale."""
    in_range = SINGLE_RANGE[0] < scale < SINGLE_RANGE[1] and largest**2 < SINGLE_RANGE[1]
    return isinstance(kernel, Kernel) and in_range and single_precision_noise(K) <= penalty


def _values(kernel, centres, coef, intercept, X):
    """Return predictions at rows of X, which are kernel values if there is no kernel."""
    if kernel is None:
        return X @ coef + intercept
    blocks = [call_kernel(kernel, X[rows], centres) @ coef for rows in row_blocks(len(X), len(centres))]
    return np.concatenate(blocks) + intercept if blocks else np.empty((0, *coef.shape[1:]))
