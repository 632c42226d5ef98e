"""What the kernel machines share: data without copies, choice of kernel and penalty, and what the solution tells."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist
from sklearn.utils.validation import check_array, check_consistent_length

from sklearn_ltdl._sklearn import draw_seed, warn, warn_of_scales
from sklearn_ltdl._targets import counted
from sklearn_ltdl.ntk._flow import GradientFlow
from sklearn_ltdl.ntk._kernels import NNGP, NTK, RBF, Kernel, Laplace, Transformed
from sklearn_ltdl.ntk._neural_tangents import as_kernel
from sklearn_ltdl.ntk._nystroem import single_precision_noise, solve_nystroem, solve_pcg
from sklearn_ltdl.ntk._passes import by_threads
from sklearn_ltdl.ntk._solvers import (
    ALPHAS,
    SPECTRAL_ROWS,
    RidgePath,
    Smoother,
    not_psd,
    require_memory,
    row_blocks,
    solve_exact,
)
from sklearn_ltdl.results import warn_unless_converged

EXACT_ROWS = 5000  # above, solver='auto' takes centres
DIRECT_CENTRES = 3000  # above, solver='auto' iterates
DOUBLE_ENTRIES = 2**25  # of the kernel between rows and centres; more are computed in single precision
SINGLE_RANGE = (1e-30, 1e30)  # of a kernel whose values are
PILOT_ROWS = 1000  # rows on which a kernel, or the start of a search for alpha, is found
# Lengths tried, in median distances; the Laplace kernel has a limit at large ones, -|x - z|, which many tables like.
LENGTH_FACTORS = {"laplace": (1.0, 4.0, 16.0), "rbf": (0.25, 0.5, 1.0, 2.0)}
PAIR_ROUNDING = 1e-6  # of a kernel matrix that is given, in units of its largest entry; single precision has less
SAME_POINT = 1e-10  # squared distance in a precomputed kernel's space, in units of its diagonal
CONVENTION = (
    "A callable kernel takes two arrays of rows at once, as sklearn.metrics.pairwise.rbf_kernel does; of a function of "
    "two single rows give functools.partial(pairwise_kernels, metric=function)."
)
NAMED = ("ntk", "nngp", "laplace", "rbf")
CACHED_ENTRIES = 2**17  # of the matrices that are sorted at once, which stay in a core's cache


@dataclass(frozen=True)
class Sample:
    """The data of a machine: points, which are rows of different features, and how the rows given map to them.

    Parameters
    ----------
    points : ndarray of shape (n_points,)
        A row of each point.
    weight : ndarray of shape (n_points,)
        Of sum n_points.
    targets : ndarray of shape (n_points, n_outputs)
        Means over the rows of each point, standardised.
    rows : ndarray of shape (n_kept,)
        The rows of positive weight.
    row_weight : ndarray of shape (n_kept,)
        Of sum `counted(weight)`: how many copies each is, where the weights given are counts.
    point : ndarray of shape (n_kept,)
        The point of each of them.
    spread : ndarray of shape (n_outputs,)
        Sum over the rows of `row_weight` times the squared distance from the target of their point.
    block : ndarray of shape (n_points,)
        Number of the block with which a point is left out.
    n_rows : int
        Number of rows given.
    """

    points: np.ndarray
    weight: np.ndarray
    targets: np.ndarray
    rows: np.ndarray
    row_weight: np.ndarray
    point: np.ndarray
    spread: np.ndarray
    block: np.ndarray
    n_rows: int

    @classmethod
    def of(cls, X, Y, weight, groups, precomputed):
        """Merge rows of identical features; those of one group, and their copies, form a block."""
        rows = np.flatnonzero(weight)
        first, point = distinct_rows(_between(X, rows) if precomputed else X[rows], precomputed)
        n, kept = len(first), weight[rows] * (counted(weight) / weight.sum())
        merged = np.bincount(point, kept)
        targets = np.column_stack([np.bincount(point, kept * y) for y in Y[rows].T]) / merged[:, None]
        block = np.arange(n) if groups is None else _blocks(np.unique(groups[rows], return_inverse=True)[1], point)
        if groups is not None and block.max() == 0:
            raise ValueError(
                "groups joins all rows, directly or through rows of identical features, so that nothing is left when a "
                "group is left out. Give at least two groups, or groups=None."
            )
        spread = kept @ (Y[rows] - targets[point]) ** 2
        return cls(rows[first], merged * (n / merged.sum()), targets, rows, kept, point, spread, block, len(X))

    def of_block(self, values):
        """Return sums of columns (m, n_points) over the blocks to which they belong, for each of the columns."""
        n = len(self.block)
        if self.block.max() == n - 1:
            return values
        membership = coo_array((np.ones(n), (np.arange(n), self.block))).tocsr()
        return (values @ membership)[:, self.block]


def fit_machine(model, X, Y, weight, groups=None):
    """Set the fitted attributes, coefficients in units of Y, and return leave-one-out predictions of every row."""
    precomputed = isinstance(model.kernel, str) and model.kernel == "precomputed"
    if precomputed:
        _check_precomputed(X, weight)
    if groups is not None:
        groups = check_array(groups, ensure_2d=False, dtype=None, input_name="groups")
        check_consistent_length(X, groups)
    sample = Sample.of(X, Y, weight, groups, precomputed)
    points, n = sample.points, len(sample.points)

    exact = model.solver == "exact" or (model.solver == "auto" and n <= EXACT_ROWS)
    if exact:
        require_memory(n, 3, "Use solver='nystroem', or fewer rows.")
    rng = np.random.default_rng(draw_seed(model.random_state))
    kernels = _candidates(model, X[points], exact)
    definite = all(isinstance(kernel, Kernel) for kernel in kernels)  # by construction; eigenvalues tell of others
    searching = exact and n > SPECTRAL_ROWS and (model.alpha == "loo" or not definite)
    warn_of_data(kernels, X[points])
    pilot = _pilot(model, kernels, X, sample, rng, searching)
    model.kernel_, model.kernel_loo_errors_ = pilot.kernel, pilot.errors

    if exact:
        path, scale, centres = pilot.path, pilot.scale, points
        if len(pilot.points) < n:
            K = _gram(model.kernel_, X, points)
            scale = _mean_diagonal(K, sample.weight)
            K /= scale
            start = path.flat_end if path else 1.0
            path = solve_exact(
                K, sample.targets, sample.weight, _penalties(model, scale), start, _together(sample.block)
            )
    else:
        path, scale, centres = _fit_centres(model, X, sample, rng)
    model.solver_, model.n_iter_ = path.solver, path.n_iter or len(path.alphas)
    model.alphas_, model.loo_error_path_ = scale * path.alphas, path.errors
    model.alpha_, model.intercept_ = model.alphas_[path.best], path.intercept
    if precomputed:
        model.dual_coef_ = np.zeros((len(X), Y.shape[1]))
        model.dual_coef_[centres] = path.coef / scale
    else:
        model.dual_coef_, model.X_fit_ = path.coef / scale, X[centres]
    model._sample, model._scale, model._smoother = sample, scale, path.smoother
    model._left_out = path.residuals
    unseen = path.residuals if path.unseen_residuals is None else path.unseen_residuals
    model._row_residuals = Y[sample.rows] - (sample.targets - unseen)[sample.point]

    predictions = np.empty_like(Y)
    predictions[sample.rows] = (sample.targets - path.residuals)[sample.point]
    unseen = np.flatnonzero(weight == 0)
    predictions[unseen] = evaluate(model, X[unseen])
    return predictions


def _fit_centres(model, X, sample, rng):
    """Return the solution over the functions that random points span, the kernel's unit in it, and those points."""
    points, n = sample.points, len(sample.points)
    if sample.block.max() < n - 1:
        raise ValueError(
            "groups are left out together by solver='exact' only; the fit takes random centres, for its "
            f"{n} distinct rows or its solver={model.solver!r}. Use solver='exact', or fewer rows."
        )
    chosen = np.sort(rng.permutation(n)[: model.n_components])
    m, centres = len(chosen), points[chosen]
    direct = model.solver == "nystroem" or (model.solver == "auto" and m <= DIRECT_CENTRES)
    require_memory(m, 14 if direct else 9, "Use fewer n_components" + (" or solver='pcg'." if direct else "."))
    K = _gram(model.kernel_, X, centres)
    scale = _mean_diagonal(K, sample.weight[chosen])
    K /= scale
    penalties = _penalties(model, scale)
    in_range = SINGLE_RANGE[0] < scale < SINGLE_RANGE[1] and np.abs(X).max() ** 2 < SINGLE_RANGE[1]
    single = (
        isinstance(model.kernel_, Kernel)
        and in_range
        and n * m > DOUBLE_ENTRIES
        and single_precision_noise(K) <= penalties[0]
    )
    data = X.astype(np.float32) if single else X

    def cross(rows, columns=slice(None)):
        values = _cross(model.kernel_, data, points[rows], centres[columns]).astype(data.dtype, copy=False)
        values /= scale
        return values

    if direct:
        return solve_nystroem(cross, K, chosen, sample.targets, sample.weight, penalties), scale, centres
    path = solve_pcg(cross, K, chosen, sample.targets, sample.weight, penalties)
    return warn_unless_converged(path, "Increase alpha, or decrease n_components."), scale, centres


def evaluate(model, X):
    """Return the model at rows of X, or of kernel values for a precomputed one."""
    if model.kernel_ is None:
        return X @ model.dual_coef_ + model.intercept_
    blocks = [
        call_kernel(model.kernel_, X[rows], model.X_fit_) @ model.dual_coef_
        for rows in row_blocks(len(X), len(model.X_fit_))
    ]
    return np.concatenate(blocks) + model.intercept_ if blocks else np.empty((0, *model.dual_coef_.shape[1:]))


def state_of(model, state):
    """Return what is pickled: all but the smoother, which is as large as the Gram matrix and can be made again."""
    return {**state, "_smoother": None} if state.get("kernel_") is not None and "_smoother" in state else dict(state)


def influence_of(model, X):
    """Return `f - f_without` of shape (m, n_rows, n_outputs), 0 for rows of weight 0."""
    sample, smoother = model._sample, _smoother(model, "influence")
    shifts = np.zeros((len(X), sample.n_rows, sample.targets.shape[1]))
    for rows in row_blocks(len(X), len(sample.points)):
        weights = smoother.weights(_points_cross(model, X[rows]))
        for output, left_out in enumerate(model._left_out.T):
            shifts[rows, sample.rows, output] = sample.of_block(weights * left_out)[:, sample.point]
    return shifts


def jackknife_plus(model, X, coverage):
    """Return the lower and the upper ends of the intervals, standardised, of shape (2, m, n_outputs).

    Barber, Candes, Ramdas and Tibshirani (2021), equation 1.5, with weights. The residual of a row is at the penalty
    that would have been chosen without it; with the one chosen, intervals hold a third of a percent less.
    """
    sample, smoother = model._sample, _smoother(model, "predict_interval")
    ends = np.empty((2, len(X), sample.targets.shape[1]))
    room = _room(sample, coverage)
    merged = len(sample.point) > len(sample.points)
    order = slice(None) if merged else np.argsort(sample.point)  # rows as points, if each is one
    widths, row_weight = np.abs(model._row_residuals[order]), sample.row_weight[order]

    def finish(weights, first, rows):
        mine, out = weights[rows], slice(first + rows.start, first + rows.stop)
        for output, (left_out, width) in enumerate(zip(model._left_out.T, widths.T)):
            shift = sample.of_block(mine * left_out)
            shift = shift[:, sample.point] if merged else shift
            prediction = mine @ sample.targets[:, output]
            ends[0, out, output] = prediction - _high(shift + width, row_weight, room)
            ends[1, out, output] = prediction + _high(np.subtract(width, shift, out=shift), row_weight, room)

    for rows in row_blocks(len(X), len(sample.points)):
        weights = smoother.weights(_points_cross(model, X[rows]))
        few = max(1, CACHED_ENTRIES // weights.shape[1])
        parts = [slice(i, min(i + few, len(weights))) for i in range(0, len(weights), few)]
        by_threads(partial(finish, weights, rows.start), parts)
    return ends


def jackknife(model, coverage):
    """Return half the width of intervals of one width, standardised, of shape (n_outputs,).

    With random centres a row hardly moves the function, and its leave-one-out predictions are the prediction.
    """
    sample = model._sample
    room = _room(sample, coverage)
    return np.array([_high(np.abs(r)[None].copy(), sample.row_weight, room)[0] for r in model._row_residuals.T])


def _room(sample, coverage):
    """Return the weight that rows may have above an end; beside them is a new row, of weight 1."""
    return (1.0 - coverage) * (sample.row_weight.sum() + 1) * (1 + 1e-12) - 1.0


def _high(values, weight, room):
    """Return the least entry of each row above which weights sum to at most `room`; inf if `room` is negative.

    Where weights are counts, this is the entry of rank ``floor(room) + 1`` from above among the copies.
    """
    n = values.shape[1]
    if room < 0:
        return np.full(len(values), np.inf)
    if np.ptp(weight) == 0:
        k = n - 1 - min(n - 1, int(room / weight[0]))
        values.partition(k, axis=1)
        return values[:, k].copy()
    order = np.argsort(-values, axis=1)
    weight = weight[order]
    k = np.sum(np.cumsum(weight, axis=1) - weight <= room, axis=1) - 1
    return np.take_along_axis(values, np.take_along_axis(order, k[:, None], axis=1), axis=1)[:, 0]


def posterior_std(model, X):
    """Return the posterior standard deviation of f(x) + b, standardised, of shape (m, n_outputs)."""
    smoother, kernel = _smoother(model, "return_std"), model.kernel_
    if kernel is None:
        raise ValueError(
            "return_std needs the kernel of each row with itself, which kernel='precomputed' does not give; "
            "pass a Kernel object or a callable."
        )
    sample, variance = model._sample, np.empty(len(X))
    for rows in row_blocks(len(X), len(smoother.weight)):
        cross = _points_cross(model, X[rows])
        if isinstance(kernel, Kernel):
            diagonal = kernel.diag(X[rows])
        else:
            diagonal = np.concatenate([np.diagonal(call_kernel(kernel, x[None], x[None])) for x in X[rows]])
        variance[rows] = smoother.variance(cross, diagonal / model._scale, smoother.weights(cross))
    if not np.all(np.isfinite(variance)):
        raise _overflow()  # of the kernel of a row with itself, or of a square
    n = sample.row_weight.sum()
    quadratic_form = smoother.quadratic_form(sample.targets) + sample.spread / (n * smoother.alpha)  # of all rows
    return np.sqrt(variance[:, None] * quadratic_form / n)  # the likelihood's maximum at a given alpha


def flow_of(model):
    """Return the gradient flow of the model's network on its standardised targets."""
    kernel = model.kernel_
    if not isinstance(kernel, NNGP):
        raise ValueError(
            f"staged predictions are of a network that is trained; the kernel is {kernel!r}. "
            "Use kernel='ntk' or 'nngp', or an NTK or NNGP object."
        )
    if model.solver_ != "exact":
        raise ValueError("staged predictions need solver='exact'; the fit used random centres. Use fewer rows.")
    require_memory(len(model.X_fit_), 4, "Use fewer rows.")
    return GradientFlow.of(kernel, model.X_fit_, model._sample.targets, model._sample.weight)


def flow_smoother(flow, X, time):
    """Return the smoother of a gradient flow at a time, checked."""
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite kernel, which the next line finds
        smoother = flow.smoother(X, time)
    if not _all_finite(smoother):
        raise _overflow()
    return smoother


def _smoother(model, what):
    """Return the smoother of the fit, made again if it has not been kept."""
    if model.solver_ != "exact":
        raise ValueError(
            f"{what} needs solver='exact'; this fit used {model.solver_!r}. Use solver='exact', or fewer rows."
        )
    if model._smoother is None:
        K = call_kernel(model.kernel_, model.X_fit_)
        K /= model._scale
        model._smoother = Smoother.of(K, model._sample.weight, model.alpha_ / model._scale)
    return model._smoother


def _points_cross(model, X):
    if model.kernel_ is None:
        return X[:, model._sample.points] / model._scale
    K = call_kernel(model.kernel_, X, model.X_fit_)
    K /= model._scale
    return K


def _penalties(model, scale):
    """Return the penalties to try, in units of the kernel's mean diagonal."""
    return ALPHAS if model.alpha == "loo" else np.array([model.alpha / scale])


def _candidates(model, X, exact):
    """Return the kernels to choose from; None is the precomputed one."""
    several = isinstance(model.kernel, (list, tuple))
    kernels = []
    for kernel in model.kernel if several else [model.kernel]:
        if callable(kernel):
            kernels.append(as_kernel(kernel))
        elif several and kernel not in NAMED:
            raise ValueError(
                f"kernel has {kernel!r} among several; each must be one of {', '.join(NAMED)}, a Kernel or a callable."
            )
        elif kernel in LENGTH_FACTORS:
            lengths = _typical_distance(X) * np.array(LENGTH_FACTORS[kernel])
            kernels.extend((Laplace if kernel == "laplace" else RBF)(float(length)) for length in lengths)
        elif kernel == "precomputed":
            kernels.append(None)
        else:
            kernels.extend(_networks(NTK if kernel == "ntk" else NNGP, model.depth, model.activation, exact))
    if not kernels:
        raise ValueError("kernel is an empty list; give at least one kernel to choose from.")
    return kernels


def _networks(kind, depth, activation, exact):
    """Return the kernel of a network, or those of which each is the best on many tables; GELU's is not compiled."""
    if depth is None and activation is None:
        return [kind(1), kind(3), *([kind(1, activation="gelu")] if exact else [])]
    return [kind(1 if depth is None else depth, activation="relu" if activation is None else activation)]


class Pilot(NamedTuple):
    """The kernel of least leave-one-out error, and the solution on the points of the choice, if there was any."""

    kernel: Kernel | None
    errors: np.ndarray
    points: np.ndarray
    path: RidgePath | None = None
    scale: float = 1.0


def _pilot(model, kernels, X, sample, rng, searching):
    """Choose a kernel, on at most `PILOT_ROWS` points, of whole blocks."""
    if len(kernels) == 1 and not searching:
        return Pilot(kernels[0], np.array([np.nan]), sample.points[:0])
    order = rng.permutation(sample.block.max() + 1)[sample.block]
    some = np.sort(np.argsort(order, kind="stable")[:PILOT_ROWS])
    block = sample.block[some]
    blocks = _together(block) if np.ptp(block) else []  # of one large group, rows are left out alone
    weight = sample.weight[some] * len(some) / sample.weight[some].sum()
    best, errors = None, []
    for kernel in kernels:
        K = _gram(kernel, X, sample.points[some])
        scale = _mean_diagonal(K, weight)
        K /= scale
        path = solve_exact(K, sample.targets[some], weight, _penalties(model, scale), 1.0, blocks)
        if not errors or path.errors[path.best] < min(errors):
            best = Pilot(kernel, None, some, path, scale)
        errors.append(path.errors[path.best])
    return best._replace(errors=np.array(errors))


def warn_of_data(kernels, X):
    """Warn of what makes a fixed kernel a poor one: columns of very different scales, no bias in one dimension."""
    fixed = all(isinstance(kernel, Kernel) and not isinstance(kernel, Transformed) for kernel in kernels)
    if not fixed or len(X) < 2:
        return
    warn_of_scales(X, all(isinstance(kernel, NNGP) and kernel.b_std > 0 for kernel in kernels))
    for kernel in kernels:
        if isinstance(kernel, NNGP) and kernel.depth and X.shape[1] == 1 and not (kernel.b_std or kernel.hidden_b_std):
            warn(
                f"{kernel} has no bias: of one column it can only represent a line on either side of 0. Use b_std > 0.",
            )


def _typical_distance(X):
    """Return the median distance between rows of a part of X that is small enough for all pairs."""
    distances = pdist(X[:: max(1, len(X) // 300)])
    typical = np.median(distances) if len(distances) else 1.0
    if not np.isfinite(typical):
        raise _overflow()
    return typical if typical > 0 else 1.0


def call_kernel(kernel, X, Z=None):
    """Return the values of a Kernel object or of a user's callable, checked."""
    if isinstance(kernel, Kernel):
        K = kernel(X, Z)
        if not _all_finite(K):
            raise _overflow()
        return K
    others = X if Z is None else Z
    K = np.empty((len(X), len(others)))
    for rows in row_blocks(*K.shape):
        K[rows] = _values(kernel, X[rows], others)
    if not _all_finite(K):
        raise ValueError("kernel(X, Z) returned NaN or infinity; check it on the rows of X, and scale the columns.")
    if Z is None:
        _check_gram(K, "kernel(X, X)")
    return K


def _values(kernel, X, Z):
    """Return what a user's callable gives for two arrays; an error says what it is called with."""
    shape = len(X), len(Z)
    try:
        values = np.asarray(kernel(X, Z))
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(
            f"kernel(X, Z) failed for X of shape {X.shape} and Z of shape {Z.shape} ({type(error).__name__}: {error}). "
            f"{CONVENTION}"
        ) from error
    if values.shape != shape:
        raise ValueError(
            f"kernel(X, Z) returned shape {values.shape} for X of shape {X.shape} and Z of shape {Z.shape}; expected "
            f"{shape}, one row a row of X and one column a row of Z. {CONVENTION}"
        )
    if values.dtype.kind not in "biuf":
        raise ValueError(f"kernel(X, Z) returned dtype {values.dtype}; expected real numbers.")
    return values


def _check_precomputed(K, weight):
    if K.shape[0] != K.shape[1]:
        raise ValueError(
            f"X has shape {K.shape}; with kernel='precomputed' it must be square, the kernel between all pairs of "
            "training rows. Pass kernel(X, X) to fit and kernel(X_new, X) to predict."
        )
    _check_gram(_between(K, np.flatnonzero(weight)), "X, a precomputed kernel,")


def _between(K, rows):
    """Return the matrix between some rows, itself if they are all."""
    return K if len(rows) == len(K) else K[np.ix_(rows, rows)]


def _check_gram(K, name):
    """Raise an error if K is not symmetric, or not positive semi-definite between two rows.

    Rounding is judged against the largest entry: a matrix of distances has zeros on its diagonal.
    """
    blocks = row_blocks(len(K), 8 * len(K))  # several temporaries
    largest = max(np.abs(K[rows]).max() for rows in blocks)
    if largest == 0:
        return
    diagonal, gap, least = np.diagonal(K) / largest, 0.0, (0.0, 0, 0)
    for rows in blocks:
        block = K[rows] / largest
        gap = max(gap, np.abs(block - K.T[rows] / largest).max())
        own, size = diagonal[rows, None], np.abs(block)
        # Of the matrix between two rows, the least of (1, 1) M (1, 1)' and (1, -1) M (1, -1)', and the determinant.
        values = np.minimum(own + diagonal - 2.0 * size, own * diagonal - size**2)
        i, j = np.unravel_index(np.argmin(values), values.shape)
        least = min(least, (values[i, j], i + rows.start, j))
    if gap > PAIR_ROUNDING:
        raise ValueError(
            f"{name} is not symmetric: entries differ from their mirror images by up to {gap * largest:.1e}."
        )
    if least[0] < -PAIR_ROUNDING:
        i, j = least[1:]
        raise not_psd(f"{K[i, j]:.3g} between two rows, {K[i, i]:.3g} and {K[j, j]:.3g} of each with itself", name)


def _all_finite(K):
    return all(np.isfinite(K[rows]).all() for rows in row_blocks(*K.shape))


def _overflow():
    return ValueError("The kernel of X overflows double precision; scale the columns, for example with StandardScaler.")


def _gram(kernel, X, rows):
    return X[np.ix_(rows, rows)] if kernel is None else call_kernel(kernel, X[rows])


def _cross(kernel, X, rows, columns):
    return X[np.ix_(rows, columns)] if kernel is None else call_kernel(kernel, X[rows], X[columns])


def _mean_diagonal(K, weight):
    mean = np.average(np.diagonal(K), weights=weight)
    return mean if mean > 0 else 1.0


def distinct_rows(X, precomputed):
    """Return the first row of each group of identical rows, in an order of their content, and each row's group.

    Of a precomputed kernel the rows are points of its space, of which rounding is all that keeps copies apart.
    """
    if not precomputed:
        rows = np.ascontiguousarray(X + 0.0)  # of -0.0, 0.0
        return np.unique(rows.view((np.void, rows.strides[0])).ravel(), return_index=True, return_inverse=True)[1:]
    diagonal = np.diagonal(X)
    leader = np.concatenate(
        [
            (diagonal[rows, None] + diagonal - 2.0 * X[rows] <= SAME_POINT * np.abs(diagonal).max()).argmax(axis=1)
            for rows in row_blocks(*X.shape)
        ]
    )
    return np.unique(leader[leader], return_inverse=True)


def _together(block):
    """Return the points of every block of two or more."""
    order = np.argsort(block, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(block[order])) + 1)
    return [part for part in parts if len(part) > 1]


def _blocks(label, point):
    """Return the block of each point: points with a row of one label, or joined through others, share it."""
    n, m = point.max() + 1, label.max() + 1
    edges = coo_array((np.ones(len(point)), (point, n + label)), shape=(n + m, n + m))
    joined = connected_components(edges, directed=False)[1][:n]
    return np.unique(joined, return_inverse=True)[1]
