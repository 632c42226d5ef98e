"""Kernel ridge machines whose penalty and length scale are chosen by leave-one-out inside one fit."""

from functools import partial
from numbers import Integral, Real

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_ltdl._sklearn import Interval, StrOptions, _fit_context, check_weights, draw_seed
from sklearn_ltdl._targets import Standardisation, fit_inverse_temperature, one_hot
from sklearn_ltdl.losses import probabilities
from sklearn_ltdl.ntk._kernels import laplace_kernel, nngp_kernel, ntk_kernel, rbf_kernel
from sklearn_ltdl.ntk._solvers import (
    ALPHAS,
    SPECTRAL_ROWS,
    require_memory,
    row_blocks,
    solve_exact,
    solve_nystroem,
)

EXACT_ROWS = 5000  # above, solver='auto' takes centres
PILOT_ROWS = 1000  # rows on which a length scale, or the start of a search for alpha, is found
LENGTH_FACTORS = {"laplace": (0.5, 1.0, 2.0, 4.0, 8.0), "rbf": (0.125, 0.25, 0.5, 1.0, 2.0)}
SAME_POINT = 1e-10  # squared distance in a precomputed kernel's space, in units of its diagonal

_CONSTRAINTS = {
    "kernel": [StrOptions({"ntk", "nngp", "laplace", "rbf", "precomputed"}), callable],
    "depth": [Interval(Integral, 0, None, closed="left")],
    "alpha": [StrOptions({"loo"}), Interval(Real, 0, None, closed="left")],
    "solver": [StrOptions({"auto", "exact", "nystroem"})],
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
}


class NTKKernelRegressor(RegressorMixin, BaseEstimator):
    r"""Kernel ridge regression with the kernel of an infinitely wide ReLU network and leave-one-out built in."""

    _parameter_constraints: dict = {**_CONSTRAINTS, "normalize_y": ["boolean"]}

    def __init__(
        self,
        *,
        kernel="ntk",
        depth=1,
        alpha="loo",
        solver="auto",
        n_components=2000,
        normalize_y=True,
        random_state=None,
    ):
        self.kernel = kernel
        self.depth = depth
        self.alpha = alpha
        self.solver = solver
        self.n_components = n_components
        self.normalize_y = normalize_y
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model."""
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        weight = check_weights(sample_weight, X)
        Y = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        units = Standardisation.of(Y, weight, self.normalize_y)
        left_out = _fit(self, X, units.apply(Y), weight)
        self.dual_coef_ = self.dual_coef_ * units.scale
        self.intercept_ = units.undo(self.intercept_)
        self.loo_predictions_ = units.undo(left_out)
        if y.ndim == 1:
            self.dual_coef_, self.intercept_ = self.dual_coef_[:, 0], self.intercept_[0]
            self.loo_predictions_ = self.loo_predictions_[:, 0]
        return self

    def predict(self, X):
        """Predict the target."""
        return _decide(self, X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        tags.target_tags.multi_output = True
        return tags


class NTKKernelClassifier(ClassifierMixin, BaseEstimator):
    r"""Least-squares classification with the kernel of an infinitely wide ReLU network and leave-one-out built in."""

    _parameter_constraints: dict = _CONSTRAINTS

    def __init__(self, *, kernel="ntk", depth=1, alpha="loo", solver="auto", n_components=2000, random_state=None):
        self.kernel = kernel
        self.depth = depth
        self.alpha = alpha
        self.solver = solver
        self.n_components = n_components
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        weight = check_weights(sample_weight, X)
        self.classes_, codes = np.unique(y, return_inverse=True)
        n_classes = len(np.unique(codes[weight > 0]))
        if n_classes < 2:
            raise ValueError(
                f"y has one class ({self.classes_[codes[weight > 0][0]]!r}) among the rows of positive weight; "
                "a classifier needs at least two classes."
            )
        targets = one_hot(codes, len(self.classes_))
        signed = 2.0 * targets - 1.0 if len(self.classes_) == 2 else targets
        scores = _fit(self, X, signed, weight)
        # One more row of each class (Platt 1999, section 2.2), else a set without an error has certain answers.
        total, k = np.sum(weight), len(self.classes_)
        self.inverse_temperature_ = fit_inverse_temperature(scores, (total * targets + 1.0) / (total + k), weight)
        if k == 2:
            self.dual_coef_, self.intercept_, scores = self.dual_coef_[:, 0], self.intercept_[0], scores[:, 0]
        self.loo_decision_function_ = scores
        return self

    def decision_function(self, X):
        """Return the scores."""
        return _decide(self, X)

    def predict(self, X):
        """Predict the classes."""
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)]

    def predict_proba(self, X):
        """Predict probabilities."""
        scores = self.decision_function(X)
        return probabilities(self.inverse_temperature_ * scores.reshape(len(scores), -1))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags


def _fit(model, X, Y, weight):
    """Set the fitted attributes, coefficients in units of Y, and return leave-one-out predictions of every row."""
    precomputed = model.kernel == "precomputed"
    if precomputed:
        _check_precomputed(X)
    kept = np.flatnonzero(weight)
    first, group = _distinct(X[np.ix_(kept, kept)] if precomputed else X[kept], precomputed)
    points = kept[first]  # rows of X that are the model's data
    n = len(points)
    merged = np.bincount(group, weight[kept])
    means = np.column_stack([np.bincount(group, weight[kept] * y) for y in Y[kept].T]) / merged[:, None]
    merged *= n / merged.sum()

    exact = model.solver == "exact" or (model.solver == "auto" and n <= EXACT_ROWS)
    if exact:
        require_memory(n, 3 if n <= SPECTRAL_ROWS else 2, "Use solver='nystroem', or fewer rows.")
    rng = np.random.default_rng(draw_seed(model.random_state))
    searching = exact and n > SPECTRAL_ROWS and model.alpha == "loo"
    start, length = _pilot(model, X, points, means, merged, rng, searching)
    if length is not None:
        model.length_scale_ = length
    kernel = _kernel_of(model, length)

    if exact:
        K = _gram(kernel, X, points)
        scale = _mean_diagonal(K, merged)
        K /= scale
        path = solve_exact(K, means, merged, _penalties(model, scale), start)
        centres = points
    else:
        chosen = np.sort(rng.permutation(n)[: model.n_components])
        require_memory(len(chosen), 4, "Use fewer n_components.")
        centres = points[chosen]
        K = _gram(kernel, X, centres)
        scale = _mean_diagonal(K, merged[chosen])
        path = solve_nystroem(
            lambda rows: _cross(kernel, X, points[rows], centres) / scale,
            K / scale,
            means,
            merged,
            _penalties(model, scale),
        )
    model.solver_, model.n_iter_ = path.solver, len(path.alphas)
    model.alpha_, model.alphas_, model.loo_errors_ = scale * path.alphas[path.best], scale * path.alphas, path.errors
    model.intercept_ = path.intercept
    if precomputed:
        model.dual_coef_ = np.zeros((len(X), Y.shape[1]))
        model.dual_coef_[centres] = path.coef / scale
    else:
        model.dual_coef_, model.X_fit_ = path.coef / scale, X[centres]

    predictions = np.empty_like(Y)
    predictions[kept] = (means - path.residuals)[group]
    unseen = np.flatnonzero(weight == 0)
    predictions[unseen] = _evaluate(model, X[unseen])
    return predictions


def _evaluate(model, X):
    """Return the model at rows of X, or of kernel values for a precomputed one."""
    if model.kernel == "precomputed":
        return X @ model.dual_coef_ + model.intercept_
    kernel = _kernel_of(model, getattr(model, "length_scale_", None))
    blocks = [kernel(X[rows], model.X_fit_) @ model.dual_coef_ for rows in row_blocks(len(X), len(model.X_fit_))]
    return np.concatenate(blocks) + model.intercept_ if blocks else np.empty((0, *model.dual_coef_.shape[1:]))


def _decide(model, X):
    check_is_fitted(model)
    return _evaluate(model, validate_data(model, X, dtype=np.float64, reset=False))


def _penalties(model, scale):
    """Return the penalties to try, in units of the kernel's mean diagonal."""
    return ALPHAS if model.alpha == "loo" else np.array([model.alpha / scale])


def _pilot(model, X, points, Y, weight, rng, searching):
    """Return the penalty where a search starts, and the length scale or None, from at most `PILOT_ROWS` rows."""
    factors = LENGTH_FACTORS.get(model.kernel) if isinstance(model.kernel, str) else None
    if factors is None and not searching:
        return 1.0, None
    some = np.sort(rng.permutation(len(points))[:PILOT_ROWS])
    lengths = [None] if factors is None else _typical_distance(X[points[some]]) * np.array(factors)
    trials = []
    for length in lengths:
        K = _gram(_kernel_of(model, length), X, points[some])
        scale = _mean_diagonal(K, weight[some])
        path = solve_exact(
            K / scale, Y[some], weight[some] * len(some) / weight[some].sum(), _penalties(model, scale), 1.0
        )
        trials.append((path.errors[path.best], path.alphas[path.best], length))
    return min(trials, key=lambda trial: trial[0])[1:]


def _typical_distance(X):
    """Return the median distance between rows of a part of X that is small enough for all pairs."""
    distances = pdist(X[:: max(1, len(X) // 300)])
    typical = np.median(distances) if len(distances) else 1.0
    if not np.isfinite(typical):
        raise _overflow()
    return typical if typical > 0 else 1.0


def _kernel_of(model, length):
    """Return ``kernel(X, Z=None)`` with its values checked, or None for a precomputed one."""
    if callable(model.kernel):
        return partial(_call_user_kernel, model.kernel)
    named = {
        "ntk": partial(ntk_kernel, depth=model.depth),
        "nngp": partial(nngp_kernel, depth=model.depth),
        "laplace": partial(laplace_kernel, length_scale=length),
        "rbf": partial(rbf_kernel, length_scale=length),
    }
    return partial(_call_named_kernel, named[model.kernel]) if model.kernel in named else None


def _call_named_kernel(kernel, X, Z=None):
    K = kernel(X, Z)
    if not _all_finite(K):
        raise _overflow()
    return K


def _call_user_kernel(kernel, X, Z=None):
    others = X if Z is None else Z
    K = np.empty((len(X), len(others)))
    for rows in row_blocks(*K.shape):
        block = np.asarray(kernel(X[rows], others))
        if block.shape != K[rows].shape:
            raise ValueError(
                f"kernel(X, Z) returned shape {block.shape} for X of shape {X[rows].shape} and Z of shape "
                f"{others.shape}; expected {K[rows].shape}, one row a row of X and one column a row of Z."
            )
        K[rows] = block
    if not _all_finite(K):
        raise ValueError("kernel(X, Z) returned NaN or infinity; check it on the rows of X, and scale the columns.")
    if Z is None:
        _check_symmetric(K, "kernel(X, X)")
    return K


def _check_precomputed(K):
    if K.shape[0] != K.shape[1]:
        raise ValueError(
            f"X has shape {K.shape}; with kernel='precomputed' it must be square, the kernel between all pairs of "
            "training rows. Pass kernel(X, X) to fit and kernel(X_new, X) to predict."
        )
    _check_symmetric(K, "X, a precomputed kernel,")


def _check_symmetric(K, name):
    gap = max(np.abs(K[rows] - K.T[rows]).max() for rows in row_blocks(*K.shape))
    if gap > 1e-6 * np.abs(np.diagonal(K)).max():
        raise ValueError(f"{name} is not symmetric: entries differ from their mirror images by up to {gap:.1e}.")


def _all_finite(K):
    return all(np.isfinite(K[rows]).all() for rows in row_blocks(*K.shape))


def _overflow():
    return ValueError("The kernel of X overflows double precision; scale the columns, for example with StandardScaler.")


def _gram(kernel, X, rows):
    return X[np.ix_(rows, rows)] if kernel is None else kernel(X[rows])


def _cross(kernel, X, rows, columns):
    return X[np.ix_(rows, columns)] if kernel is None else kernel(X[rows], X[columns])


def _mean_diagonal(K, weight):
    mean = np.average(np.diagonal(K), weights=weight)
    return mean if mean > 0 else 1.0


def _distinct(X, precomputed):
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
