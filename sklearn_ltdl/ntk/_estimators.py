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
from sklearn_ltdl.ntk._kernels import NNGP, NTK, RBF, Kernel, Laplace
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
# Lengths tried, in median distances; the Laplace kernel has a limit at large ones, -|x - z|, which many tables like.
LENGTH_FACTORS = {"laplace": (1.0, 4.0, 16.0), "rbf": (0.25, 0.5, 1.0, 2.0)}
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
    r"""Kernel ridge regression with the kernel of an infinitely wide network, and its penalty by leave-one-out.

    Minimises :math:`\frac{1}{2S} \sum_i s_i (y_i - f(x_i) - b)^2 + \frac{\alpha}{2} |f|_H^2` over f and an
    unpenalised b, with sample weights s of sum S. This is where gradient descent with weight decay towards the
    initialisation takes a wide network in the lazy regime.

    Parameters
    ----------
    kernel : {'ntk', 'nngp', 'laplace', 'rbf', 'precomputed'} or callable, default='ntk'
        The tangent kernel of an infinitely wide ReLU network (`NTK`), the covariance of its outputs at
        initialisation (`NNGP`), `Laplace` or `RBF`, whose length scale is the multiple of the
        median distance with the least leave-one-out error on at most 1000 rows. A callable takes ``(X, Z)`` and
        returns an array of shape (len(X), len(Z)), symmetric and positive semi-definite for ``(X, X)``. With
        'precomputed', `fit` is given ``kernel(X, X)`` and `predict` ``kernel(X_new, X)``. The columns of `X` should
        be of one scale, as after `StandardScaler`.
    depth : int, default=1
        Hidden layers of the network of 'ntk' and 'nngp', at least 0; the other kernels do not read it.
    alpha : 'loo' or float, default='loo'
        Weight of :math:`|f|_H^2 / 2` against the *mean* of half the squared residuals, at least 0, in units of the
        kernel. 'loo' takes the value of least leave-one-out error on a fixed grid from 1e-9 to 10 times the mean of
        the kernel's diagonal. Rows of identical features are left out together.
    solver : {'auto', 'exact', 'nystroem'}, default='auto'
        'exact' uses the whole Gram matrix, in O(n^2) memory; 'nystroem' the functions spanned by `n_components`
        random rows, with all rows as data; 'auto' is 'exact' up to 5000 distinct rows.
    n_components : int, default=2000
        Number of random rows of solver 'nystroem'; all rows, if there are fewer.
    normalize_y : bool, default=True
        Whether to centre and scale each column of the target, with the weights, before solving. Predictions are
        in the target's own units; at a given `alpha` they do not depend on this. `loo_errors_` does, and with it the
        share of each of several outputs in the choice of `alpha`.
    random_state : int, RandomState instance or None, default=None
        Draws the rows of 'nystroem', and 1000 rows on which to choose a length scale, or to start the search for
        `alpha`, when there are more.

    Attributes
    ----------
    alpha_ : float
        The penalty used, in the units of `alpha`.
    alphas_, loo_errors_ : ndarray of shape (n_alphas,)
        The penalties tried, increasing, and the weighted means of squared leave-one-out residuals of the standardised
        target, summed over outputs, less the spread within rows of identical features, which no function explains. The
        least of them is optimistic: it has been chosen.
    dual_coef_ : ndarray of shape (n_centres,) or (n_centres, n_outputs)
        Coefficients of ``kernel(x, X_fit_)``, in units of the target; of all columns for a precomputed kernel.
    intercept_ : float or ndarray of shape (n_outputs,)
    X_fit_ : ndarray of shape (n_centres, n_features)
        The distinct rows of positive weight, or those drawn by 'nystroem'. Absent for a precomputed kernel.
    length_scale_ : float
        Of the Laplace and RBF kernels only, in units of the features.
    loo_predictions_ : ndarray of the shape of y
        Prediction of each row from all rows of other features; a row of weight 0 is predicted from all.
    solver_ : {'exact', 'nystroem'}
    n_iter_ : int
        Number of penalties for which the final problem was solved.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    NTKKernelClassifier : The same for classes.
    sklearn.kernel_ridge.KernelRidge : Ridge with a given penalty and no intercept.

    Notes
    -----
    ``KernelRidge(alpha=n_samples * alpha)`` has the same penalty. It has no intercept: it gives the same predictions
    when its kernel is centred (`KernelCenterer`) and the mean of `y` is subtracted before and added after.

    References
    ----------
    .. [1] A. Jacot, F. Gabriel, C. Hongler. "Neural tangent kernel: convergence and generalization in neural
       networks". NeurIPS 2018, arXiv:1806.07572.
    .. [2] G. C. Cawley, N. L. C. Talbot. "Efficient leave-one-out cross-validation of kernel Fisher discriminant
       classifiers". Pattern Recognition 36, 2003, section 3.
    .. [3] C. Williams, M. Seeger. "Using the Nystroem method to speed up kernel machines". NeurIPS 2000.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import NTKKernelRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), NTKKernelRegressor()).fit(X[:300], y[:300])
    >>> round(model.score(X[300:], y[300:]), 2)
    0.52
    """

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
        """Fit the regression, choosing by leave-one-out.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_samples) for a precomputed kernel
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of k is a row given k times, a weight of 0 a row not given.

        Returns
        -------
        self : object
        """
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
        """Predict the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return _decide(self, X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        tags.target_tags.multi_output = True
        return tags


class NTKKernelClassifier(ClassifierMixin, BaseEstimator):
    r"""Least-squares classification with the kernel of an infinitely wide network, and its penalty by leave-one-out.

    Kernel ridge regression, as `NTKKernelRegressor`, on one column a class that is 1 for its rows and 0 for others
    (for two classes, one column of -1 and 1), with an unpenalised intercept each. Probabilities are the softmax (for
    two classes, the sigmoid) of the scores times one factor, which maximises the likelihood of the leave-one-out
    scores; the most probable class is the predicted one.

    Parameters
    ----------
    kernel : {'ntk', 'nngp', 'laplace', 'rbf', 'precomputed'} or callable, default='ntk'
        The tangent kernel of an infinitely wide ReLU network (`NTK`), the covariance of its outputs at
        initialisation (`NNGP`), `Laplace` or `RBF`, whose length scale is the multiple of the
        median distance with the least leave-one-out error on at most 1000 rows. A callable takes ``(X, Z)`` and
        returns an array of shape (len(X), len(Z)), symmetric and positive semi-definite for ``(X, X)``. With
        'precomputed', `fit` is given ``kernel(X, X)`` and `predict` ``kernel(X_new, X)``. The columns of `X` should
        be of one scale, as after `StandardScaler`.
    depth : int, default=1
        Hidden layers of the network of 'ntk' and 'nngp', at least 0; the other kernels do not read it.
    alpha : 'loo' or float, default='loo'
        Weight of :math:`|f|_H^2 / 2` against the *mean* of half the squared residuals, at least 0, in units of the
        kernel. 'loo' takes the value of least leave-one-out error on a fixed grid from 1e-9 to 10 times the mean of
        the kernel's diagonal. Rows of identical features are left out together.
    solver : {'auto', 'exact', 'nystroem'}, default='auto'
        'exact' uses the whole Gram matrix, in O(n^2) memory; 'nystroem' the functions spanned by `n_components`
        random rows, with all rows as data; 'auto' is 'exact' up to 5000 distinct rows.
    n_components : int, default=2000
        Number of random rows of solver 'nystroem'; all rows, if there are fewer.
    random_state : int, RandomState instance or None, default=None
        Draws the rows of 'nystroem', and 1000 rows on which to choose a length scale, or to start the search for
        `alpha`, when there are more.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    alpha_ : float
        The penalty used, in the units of `alpha`.
    alphas_, loo_errors_ : ndarray of shape (n_alphas,)
        The penalties tried, increasing, and the weighted means of squared leave-one-out residuals of the columns,
        summed over outputs, less the spread within rows of identical features, which no function explains. The
        least of them is optimistic: it has been chosen.
    dual_coef_ : ndarray of shape (n_centres,) or (n_centres, n_classes)
        Coefficients of ``kernel(x, X_fit_)``; of all columns for a precomputed kernel.
    intercept_ : float or ndarray of shape (n_classes,)
    X_fit_ : ndarray of shape (n_centres, n_features)
        The distinct rows of positive weight, or those drawn by 'nystroem'. Absent for a precomputed kernel.
    length_scale_ : float
        Of the Laplace and RBF kernels only, in units of the features.
    loo_decision_function_ : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Scores of each row from all rows of other features; a row of weight 0 is scored from all.
    inverse_temperature_ : float
        Factor of the scores in `predict_proba`, between 0.01 and 100.
    solver_ : {'exact', 'nystroem'}
    n_iter_ : int
        Number of penalties for which the final problem was solved.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    NTKKernelRegressor : The same for numbers.

    References
    ----------
    .. [1] A. Jacot, F. Gabriel, C. Hongler. "Neural tangent kernel: convergence and generalization in neural
       networks". NeurIPS 2018, arXiv:1806.07572.
    .. [2] G. C. Cawley, N. L. C. Talbot. "Efficient leave-one-out cross-validation of kernel Fisher discriminant
       classifiers". Pattern Recognition 36, 2003, section 3.
    .. [3] C. Williams, M. Seeger. "Using the Nystroem method to speed up kernel machines". NeurIPS 2000.
    .. [4] J. Platt. "Probabilistic outputs for support vector machines". 1999, section 2.2.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import NTKKernelClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), NTKKernelClassifier()).fit(X[::2], y[::2])
    >>> round(model.score(X[1::2], y[1::2]), 2)
    0.98
    """

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
        """Fit the classifier, choosing by leave-one-out.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_samples) for a precomputed kernel
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of k is a row given k times, a weight of 0 a row not given but for the name of its class.

        Returns
        -------
        self : object
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        weight = check_weights(sample_weight, X)
        self.classes_, codes = np.unique(y, return_inverse=True)
        n_classes = len(np.unique(codes[weight > 0]))
        if n_classes < 2:
            raise ValueError(
                f"y has one class ({self.classes_[codes[weight > 0]].tolist()[0]!r}) among the rows of positive "
                "weight; a classifier needs at least two classes."
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
        """Return the scores of the classes; for two, one score that is positive for the second.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return _decide(self, X)

    def predict(self, X):
        """Predict the class of the highest score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)]

    def predict_proba(self, X):
        """Predict the probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
        """
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
    if isinstance(model.kernel, Kernel):
        return partial(_call_named_kernel, model.kernel)
    if callable(model.kernel):
        return partial(_call_user_kernel, model.kernel)
    named = {
        "ntk": lambda: NTK(model.depth),
        "nngp": lambda: NNGP(model.depth),
        "laplace": lambda: Laplace(length),
        "rbf": lambda: RBF(length),
    }
    return partial(_call_named_kernel, named[model.kernel]()) if model.kernel in named else None


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
