"""The problem of a kernel machine: settings, data, kernels to choose from, and the solution with each of them."""

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import pdist

from sklearn_ltdl._sklearn import warn, warn_of_scales
from sklearn_ltdl._targets import Standardisation
from sklearn_ltdl.ntk._gram import check_precomputed, cross, gram, mean_diagonal, overflow
from sklearn_ltdl.ntk._kernels import NNGP, NTK, RBF, Kernel, Laplace, Transformed
from sklearn_ltdl.ntk._neural_tangents import as_kernel
from sklearn_ltdl.ntk._nystroem import independent, single_precision_noise, solve_nystroem, solve_pcg
from sklearn_ltdl.ntk._sample import Sample, together
from sklearn_ltdl.ntk._solvers import ALPHAS, SPECTRAL_ROWS, RidgePath, require_memory, solve_exact
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

    kernel: object = "auto"
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

    @property
    def stacks(self):
        """Return whether kernels are stacked: no kernel is given, nor what only makes sense for one."""
        is_auto = isinstance(self.kernel, str) and self.kernel == "auto"
        return is_auto and self.depth is None and self.activation is None and self.alpha == "loo"

    def is_exact(self, n):
        """Return whether the whole Gram matrix is used for n points."""
        return self.solver == "exact" or (self.solver == "auto" and n <= EXACT_ROWS)

    def penalties(self, scale):
        """Return the penalties to try, in units of the kernel's mean diagonal."""
        return ALPHAS if self.alpha == "loo" else np.array([self.alpha / scale])


class Posed(NamedTuple):
    """The problem of a fit, which is the same for all kernels.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), or (n_rows, n_rows) for a precomputed kernel
    Y : ndarray of shape (n_rows, n_outputs)
        Standardised targets.
    shape : tuple
        Shape of the target.
    unweighted : ndarray of shape (n_unweighted,)
        Indices of the rows of weight 0.
    units : Standardisation
    sample : Sample
    settings : MachineSettings
    exact : bool
        Whether the whole Gram matrix is used.
    """

    X: np.ndarray
    Y: np.ndarray
    shape: tuple
    unweighted: np.ndarray
    units: Standardisation
    sample: Sample
    settings: MachineSettings
    exact: bool

    @classmethod
    def of(cls, X, y, weight, settings, groups=None):
        """Standardise the target and merge rows of identical features. See `Machine.of`."""
        if settings.precomputed:
            check_precomputed(X, weight)
        Y = y.reshape(len(y), -1)
        units = Standardisation.of(Y, weight, settings.normalize_y)
        Y = units.apply(Y)
        sample = Sample.of(X, Y, weight, groups, settings.precomputed)
        exact = settings.is_exact(len(sample.points))
        if exact:
            require_memory(len(sample.points), 3, "Use solver='nystroem', or fewer rows.")
        return cls(X, Y, y.shape, np.flatnonzero(weight == 0), units, sample, settings, exact)


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
            kernels.extend(at_lengths(kernel, typical_distance(X)))
        elif kernel == "precomputed":
            kernels.append(None)
        else:
            kernels.extend(_networks(NNGP if kernel == "nngp" else NTK, settings.depth, settings.activation, exact))
    if not kernels:
        raise ValueError("kernel is an empty list; give at least one kernel to choose from.")
    return kernels


def at_lengths(name, typical):
    """Return the kernels of a name at lengths that are multiples of a typical distance between rows."""
    lengths = typical * np.array(LENGTH_FACTORS[name])
    return [(Laplace if name == "laplace" else RBF)(float(length)) for length in lengths]


def typical_distance(X):
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


def spread_rows(X, sample):
    """Return some distinct rows, whose distances are like those of all."""
    return X[sample.points[:: max(1, len(sample.points) // DISTANCE_ROWS)]]


def warn_of_rows(kernels, X, sample):
    """Warn as `warn_of_data` does of the rows of positive weight, unless all are the same."""
    if len(sample.points) > 1:
        warn_of_data(kernels, X if len(sample.rows) == len(X) else X[sample.rows])


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
    part = part_of(sample, in_random_order(sample, rng)[:PILOT_ROWS])
    best, errors = None, []
    for kernel in kernels:
        solved = on_points(kernel, X, part, settings)
        error = solved.path.errors[solved.path.best]
        if not errors or error < min(errors):
            best = kernel, solved
        errors.append(error)
    kernel, solved = best
    return kernel, np.array(errors), solved


class Part(NamedTuple):
    """Some points, with targets, weights that sum to their number, and sets of points that are left out together."""

    points: np.ndarray
    targets: np.ndarray
    weight: np.ndarray
    blocks: list


def in_random_order(sample, rng):
    """Return the points of a sample in random order, block by block."""
    return np.argsort(rng.permutation(sample.block.max() + 1)[sample.block], kind="stable")


def part_of(sample, some):
    """Return some points of a sample."""
    some = np.sort(some)
    block, weight = sample.block[some], sample.weight
    if len(some) < len(weight):
        weight = weight[some] * len(some) / weight[some].sum()
    blocks = together(block) if np.ptp(block) else []  # of one large group, rows are left out alone
    return Part(sample.points[some], sample.targets[some], weight, blocks)


def on_points(kernel, X, part, settings, start=1.0, near=False):
    """Return the solution with the whole Gram matrix between points."""
    K = gram(kernel, X, part.points)
    scale = mean_diagonal(K, part.weight)
    K /= scale
    path = solve_exact(K, part.targets, part.weight, settings.penalties(scale), start, part.blocks, near)
    return Solved(path, scale, part.points)


def on_centres(kernel, X, sample, settings, rng):
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
