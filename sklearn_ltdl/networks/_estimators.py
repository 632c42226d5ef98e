"""Networks as estimators: two names on one engine, mean-field and lazy."""

import warnings
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_ltdl._sklearn import Interval, NameIn, StrOptions, _fit_context, check_weights, draw_seed
from sklearn_ltdl._targets import Standardisation, classification_loss, one_hot
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.losses import Squared, probabilities
from sklearn_ltdl.networks._linearized import leave_one_out_alpha
from sklearn_ltdl.networks._model import Data, Network, displacement, draw_weights, feature_map
from sklearn_ltdl.scalings import Scaling

FULL_BATCH_ROWS = 2000  # distinct rows up to which every step sees all of them, in float64
LEAVE_ONE_OUT_ROWS = 1000  # at most so many choose alpha
_LARGEST_INPUT = 1e15  # beside which a float64 still shows a 1
PREDICT_ROWS = 4096  # at a time, so that memory does not grow with the table

_CONSTRAINTS: dict = {
    "width": [Interval(Integral, 1, None, closed="left")],
    "activation": [NameIn(ACTIVATIONS)],
    "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"loo"})],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "random_state": ["random_state"],
}
_MEAN_FIELD_CONSTRAINTS: dict = _CONSTRAINTS | {"init_scale": [Interval(Real, 0, None, closed="neither")]}
_LAZY_CONSTRAINTS: dict = _CONSTRAINTS | {
    "depth": [Interval(Integral, 1, None, closed="left")],
    "scale": [Interval(Real, 0, None, closed="neither")],
    "centering": [StrOptions({"subtract", "doubled"}), None],
}


class _NetworkRegressor(RegressorMixin, BaseEstimator):
    """What fitted networks for regression do."""

    def predict(self, X):
        """Return predictions of shape (n_samples,), or (n_samples, n_outputs) as `y` was, in its units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray
        """
        scores = _scores(self, X)
        prediction = self._standardisation.undo(scores)
        return prediction[:, 0] if self._flat else prediction

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class _NetworkClassifier(ClassifierMixin, BaseEstimator):
    """What fitted networks for classification do."""

    def decision_function(self, X):
        """Return the log-odds of the second class, of shape (n_samples,), or (n_samples, n_classes) scores.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray
        """
        scores = _scores(self, X)
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X):
        """Return class probabilities of shape (n_samples, n_classes).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray
        """
        return probabilities(_scores(self, X))

    def predict(self, X):
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        chosen = self.predict_proba(X).argmax(axis=1)
        return self.classes_[chosen]


class MeanFieldTwoLayerNet(_NetworkRegressor):
    r"""One-hidden-layer network for regression, in the scaling of optimisation over measures.

    The loss is squared and the intercept is not penalised. Up to 2000 distinct rows every step sees all of them, in
    float64, with Nesterov's acceleration; beyond, training goes by batches in float32. Columns of `X` should be
    standardised.

    Parameters
    ----------
    width : int, default=256
        Number of neurons, the particles.
    activation : str, default='relu'
        Name in `sklearn_ltdl.activations.ACTIVATIONS`: 'relu', 'leaky_relu', 'abs', 'identity', 'tanh', 'softplus',
        'erf', 'gelu', 'sin', 'cos' or 'monomial' (the square).
    init_scale : float, default=1.0
        Standard deviation of the initial weights.
    alpha : float or 'loo', default='loo'
        Weight of ``(|a|**2 + b**2) / 2``, averaged over neurons, against the mean loss of the standardised target.
        For ReLU it bounds, and at balance equals, the total variation norm.
        'loo' takes the penalty of least leave-one-out error of ridge regression with the tangent kernel of the first
        weights, in closed form, on at most 1000 rows.
    learning_rate : float, default=1.0
        Step in units of the largest stable one at the start, at any width and number of features; it is halved
        where the objective would rise.
    max_iter : int, default=1000
        Passes over the data: steps up to 2000 distinct rows, epochs of batches beyond.
    tol : float, default=1e-4
        Training stops when 50 steps lower the objective by less than `tol` times its value at the start; with
        batches, when halving the step five times no longer lowers the loss of 10 % of rows held out.
    normalize_y : bool, default=True
        Whether the target is centred and scaled, column by column, within fit.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, and the batches where there are any.

    Attributes
    ----------
    alpha_ : float
        The penalty in force.
    weights_, weights_init_ : tuple of ndarray
        Weights of each layer after and before training, of shape (n_copies, width, fan_in); the last is the
        read-out, of shape (n_copies, width, n_outputs).
    intercept_ : ndarray of shape (n_outputs,)
        In units of the target, standardised if `normalize_y`.
    loss_curve_ : list of float
        The objective after each step, its start first; the held-out loss after each epoch where batches are used.
    displacement_ : float
        ``|w - w0| / |w0|``: near 0 where training was lazy.
    n_iter_ : int
        Passes over the data.

    Notes
    -----
    The model is :math:`f(x) = \frac1m \sum_j b_j \sigma(a_j \cdot \varphi(x))` + intercept, with
    :math:`\varphi(x) = [x/\sqrt d, 1]`. It is trained on the empirical measure: rows of weight 0 are dropped and
    identical rows merged, so that weights and repeated rows give the same model.

    References
    ----------
    .. [1] L. Chizat, F. Bach. "On the global convergence of gradient descent for over-parameterized models using
       optimal transport". NeurIPS 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import MeanFieldTwoLayerNet
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MeanFieldTwoLayerNet(random_state=0)).fit(X[:300], y[:300])
    >>> bool(model.score(X[300:], y[300:]) > 0.45)
    True
    """

    _parameter_constraints: dict = _MEAN_FIELD_CONSTRAINTS | {"normalize_y": ["boolean"]}

    def __init__(
        self,
        *,
        width=256,
        activation="relu",
        init_scale=1.0,
        alpha="loo",
        learning_rate=1.0,
        max_iter=1000,
        tol=1e-4,
        normalize_y=True,
        random_state=None,
    ):
        self.width = width
        self.activation = activation
        self.init_scale = init_scale
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.tol = tol
        self.normalize_y = normalize_y
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        return _fit_regressor(self, _mean_field_start, X, y, sample_weight)


class LazyNetRegressor(_NetworkRegressor):
    r"""Network for regression whose `scale` switches it between kernel and feature learning.

    The loss is squared and the intercept is not penalised. Up to 2000 distinct rows every step sees all of them, in
    float64, with Nesterov's acceleration; beyond, training goes by batches in float32. Columns of `X` should be
    standardised.

    Parameters
    ----------
    width : int, default=256
        Number of neurons of each hidden layer.
    depth : int, default=1
        Number of hidden layers.
    activation : str, default='relu'
        Name in `sklearn_ltdl.activations.ACTIVATIONS`: 'relu', 'leaky_relu', 'abs', 'identity', 'tanh', 'softplus',
        'erf', 'gelu', 'sin', 'cos' or 'monomial' (the square).
    scale : float, default=10.0
        The factor of the output, alpha in [1]_: large is lazy, where the network moves as its tangent kernel; small
        (0.1) learns features.
    centering : {'subtract', 'doubled'} or None, default='subtract'
        How the output is made zero at the start: subtract the initial network, or pair each neuron with one of
        opposite sign. Without it no scale is lazy.
    alpha : float or 'loo', default='loo'
        Weight of ``scale**2 * |w - w0|**2 / 2`` against the mean loss of the standardised
        target, summed over outputs: the alpha of the limiting kernel ridge.
        'loo' takes the penalty of least leave-one-out error of ridge regression with the tangent kernel of the first
        weights, in closed form, on at most 1000 rows.
    learning_rate : float, default=1.0
        Step in units of the largest stable one at the start, at any width and number of features; it is halved
        where the objective would rise.
    max_iter : int, default=1000
        Passes over the data: steps up to 2000 distinct rows, epochs of batches beyond.
    tol : float, default=1e-4
        Training stops when 50 steps lower the objective by less than `tol` times its value at the start; with
        batches, when halving the step five times no longer lowers the loss of 10 % of rows held out.
    normalize_y : bool, default=True
        Whether the target is centred and scaled, column by column, within fit.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, and the batches where there are any.

    Attributes
    ----------
    alpha_ : float
        The penalty in force.
    weights_, weights_init_ : tuple of ndarray
        Weights of each layer after and before training, of shape (n_copies, width, fan_in); the last is the
        read-out, of shape (n_copies, width, n_outputs).
    intercept_ : ndarray of shape (n_outputs,)
        In units of the target, standardised if `normalize_y`.
    loss_curve_ : list of float
        The objective after each step, its start first; the held-out loss after each epoch where batches are used.
    displacement_ : float
        ``|w - w0| / |w0|``: near 0 where training was lazy.
    n_iter_ : int
        Passes over the data.

    Notes
    -----
    With :math:`\varphi(x) = [x/\sqrt d, 1]`, standard normal weights w, and :math:`f_w` the network in the
    parametrisation of the neural tangent kernel (each layer has the factor ``gain / sqrt(width)``), the model is
    ``scale * (f_w(x) - f_w0(x)) + intercept``. It is trained on the empirical measure: rows of weight 0 are dropped and
    identical rows merged, so that weights and repeated rows give the same model.

    References
    ----------
    .. [1] L. Chizat, E. Oyallon, F. Bach. "On lazy training in differentiable programming". NeurIPS 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import LazyNetRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LazyNetRegressor(random_state=0)).fit(X[:300], y[:300])
    >>> bool(model[-1].displacement_ < 0.05)
    True
    """

    _parameter_constraints: dict = _LAZY_CONSTRAINTS | {"normalize_y": ["boolean"]}

    def __init__(
        self,
        *,
        width=256,
        depth=1,
        activation="relu",
        scale=10.0,
        centering="subtract",
        alpha="loo",
        learning_rate=1.0,
        max_iter=1000,
        tol=1e-4,
        normalize_y=True,
        random_state=None,
    ):
        self.width = width
        self.depth = depth
        self.activation = activation
        self.scale = scale
        self.centering = centering
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.tol = tol
        self.normalize_y = normalize_y
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        return _fit_regressor(self, _lazy_start, X, y, sample_weight)


class MeanFieldTwoLayerNetClassifier(_NetworkClassifier):
    r"""One-hidden-layer network for classification, in the scaling of optimisation over measures.

    The loss is logistic, or multinomial for several classes, and the intercept is not penalised. Up to 2000 distinct
    rows every step sees all of them, in float64, with Nesterov's acceleration; beyond, training goes by batches in
    float32. Columns of `X` should be standardised.

    Parameters
    ----------
    width : int, default=256
        Number of neurons, the particles.
    activation : str, default='relu'
        Name in `sklearn_ltdl.activations.ACTIVATIONS`: 'relu', 'leaky_relu', 'abs', 'identity', 'tanh', 'softplus',
        'erf', 'gelu', 'sin', 'cos' or 'monomial' (the square).
    init_scale : float, default=1.0
        Standard deviation of the initial weights.
    alpha : float or 'loo', default='loo'
        Weight of ``(|a|**2 + b**2) / 2``, averaged over neurons, against the mean loss.
        For ReLU it bounds, and at balance equals, the total variation norm.
        'loo' takes the penalty of least leave-one-out error of ridge regression with the tangent kernel of the first
        weights, in closed form, on at most 1000 rows.
    learning_rate : float, default=1.0
        Step in units of the largest stable one at the start, at any width and number of features; it is halved
        where the objective would rise.
    max_iter : int, default=1000
        Passes over the data: steps up to 2000 distinct rows, epochs of batches beyond.
    tol : float, default=1e-4
        Training stops when 50 steps lower the objective by less than `tol` times its value at the start; with
        batches, when halving the step five times no longer lowers the loss of 10 % of rows held out.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, and the batches where there are any.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    alpha_ : float
        The penalty in force.
    weights_, weights_init_ : tuple of ndarray
        Weights of each layer after and before training, of shape (n_copies, width, fan_in); the last is the
        read-out, of shape (n_copies, width, n_outputs).
    intercept_ : ndarray of shape (n_outputs,)
        In units of the log-odds.
    loss_curve_ : list of float
        The objective after each step, its start first; the held-out loss after each epoch where batches are used.
    displacement_ : float
        ``|w - w0| / |w0|``: near 0 where training was lazy.
    n_iter_ : int
        Passes over the data.

    Notes
    -----
    The model is :math:`f(x) = \frac1m \sum_j b_j \sigma(a_j \cdot \varphi(x))` + intercept, with
    :math:`\varphi(x) = [x/\sqrt d, 1]`. It is trained on the empirical measure: rows of weight 0 are dropped and
    identical rows merged, so that weights and repeated rows give the same model.

    References
    ----------
    .. [1] L. Chizat, F. Bach. "On the global convergence of gradient descent for over-parameterized models using
       optimal transport". NeurIPS 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import MeanFieldTwoLayerNetClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MeanFieldTwoLayerNetClassifier(random_state=0)).fit(X[::2], y[::2])
    >>> bool(model.score(X[1::2], y[1::2]) > 0.95)
    True
    """

    _parameter_constraints: dict = _MEAN_FIELD_CONSTRAINTS

    def __init__(
        self,
        *,
        width=256,
        activation="relu",
        init_scale=1.0,
        alpha="loo",
        learning_rate=1.0,
        max_iter=1000,
        tol=1e-4,
        random_state=None,
    ):
        self.width = width
        self.activation = activation
        self.init_scale = init_scale
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        return _fit_classifier(self, _mean_field_start, X, y, sample_weight)


class LazyNetClassifier(_NetworkClassifier):
    r"""Network for classification whose `scale` switches it between kernel and feature learning.

    The loss is logistic, or multinomial for several classes, and the intercept is not penalised. Up to 2000 distinct
    rows every step sees all of them, in float64, with Nesterov's acceleration; beyond, training goes by batches in
    float32. Columns of `X` should be standardised.

    Parameters
    ----------
    width : int, default=256
        Number of neurons of each hidden layer.
    depth : int, default=1
        Number of hidden layers.
    activation : str, default='relu'
        Name in `sklearn_ltdl.activations.ACTIVATIONS`: 'relu', 'leaky_relu', 'abs', 'identity', 'tanh', 'softplus',
        'erf', 'gelu', 'sin', 'cos' or 'monomial' (the square).
    scale : float, default=10.0
        The factor of the output, alpha in [1]_: large is lazy, where the network moves as its tangent kernel; small
        (0.1) learns features.
    centering : {'subtract', 'doubled'} or None, default='subtract'
        How the output is made zero at the start: subtract the initial network, or pair each neuron with one of
        opposite sign. Without it no scale is lazy.
    alpha : float or 'loo', default='loo'
        Weight of ``scale**2 * |w - w0|**2 / 2`` against the mean loss: the alpha of the limiting kernel ridge.
        'loo' takes the penalty of least leave-one-out error of ridge regression with the tangent kernel of the first
        weights, in closed form, on at most 1000 rows.
    learning_rate : float, default=1.0
        Step in units of the largest stable one at the start, at any width and number of features; it is halved
        where the objective would rise.
    max_iter : int, default=1000
        Passes over the data: steps up to 2000 distinct rows, epochs of batches beyond.
    tol : float, default=1e-4
        Training stops when 50 steps lower the objective by less than `tol` times its value at the start; with
        batches, when halving the step five times no longer lowers the loss of 10 % of rows held out.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, and the batches where there are any.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    alpha_ : float
        The penalty in force.
    weights_, weights_init_ : tuple of ndarray
        Weights of each layer after and before training, of shape (n_copies, width, fan_in); the last is the
        read-out, of shape (n_copies, width, n_outputs).
    intercept_ : ndarray of shape (n_outputs,)
        In units of the log-odds.
    loss_curve_ : list of float
        The objective after each step, its start first; the held-out loss after each epoch where batches are used.
    displacement_ : float
        ``|w - w0| / |w0|``: near 0 where training was lazy.
    n_iter_ : int
        Passes over the data.

    Notes
    -----
    With :math:`\varphi(x) = [x/\sqrt d, 1]`, standard normal weights w, and :math:`f_w` the network in the
    parametrisation of the neural tangent kernel (each layer has the factor ``gain / sqrt(width)``), the model is
    ``scale * (f_w(x) - f_w0(x)) + intercept``. It is trained on the empirical measure: rows of weight 0 are dropped and
    identical rows merged, so that weights and repeated rows give the same model.

    References
    ----------
    .. [1] L. Chizat, E. Oyallon, F. Bach. "On lazy training in differentiable programming". NeurIPS 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import LazyNetClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LazyNetClassifier(random_state=0)).fit(X[::2], y[::2])
    >>> bool(model.score(X[1::2], y[1::2]) > 0.95)
    True
    """

    _parameter_constraints: dict = _LAZY_CONSTRAINTS

    def __init__(
        self,
        *,
        width=256,
        depth=1,
        activation="relu",
        scale=10.0,
        centering="subtract",
        alpha="loo",
        learning_rate=1.0,
        max_iter=1000,
        tol=1e-4,
        random_state=None,
    ):
        self.width = width
        self.depth = depth
        self.activation = activation
        self.scale = scale
        self.centering = centering
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        return _fit_classifier(self, _lazy_start, X, y, sample_weight)


class _Start(NamedTuple):
    """Of a training run: the network, its first weights, whether their output is subtracted, the penalty's centre."""

    network: Network
    weights: tuple
    subtracted: bool
    reference: tuple

    def offset(self, phi):
        """Return what is subtracted from the outputs, zeros if nothing is."""
        if self.subtracted:
            return self.network.outputs(self.weights, phi)
        return np.zeros((len(phi), self.weights[-1].shape[2]))


def _mean_field_start(estimator, n_inputs, n_outputs, rng):
    weights = draw_weights(n_inputs, n_outputs, width=estimator.width, depth=1, doubled=False, rng=rng)
    network = Network(ACTIVATIONS[estimator.activation], Scaling(power=1.0))
    zeros = tuple(np.zeros_like(layer) for layer in weights)
    return _Start(network, tuple(estimator.init_scale * layer for layer in weights), False, zeros)


def _lazy_start(estimator, n_inputs, n_outputs, rng):
    doubled = estimator.centering == "doubled"
    if doubled and estimator.width % 2:
        raise ValueError(
            f"width must be even with centering='doubled', which pairs the neurons; got {estimator.width}. "
            "Use an even width or centering='subtract'."
        )
    activation = ACTIVATIONS[estimator.activation]
    weights = draw_weights(n_inputs, n_outputs, width=estimator.width, depth=estimator.depth, doubled=doubled, rng=rng)
    network = Network(activation, Scaling(power=0.5, scale=float(estimator.scale)), activation.gain)
    return _Start(network, weights, estimator.centering == "subtract", weights)


def _fit(estimator, start_of, loss, X, targets, weight):
    """Train the network that `start_of` draws on targets of shape (n_samples, n_outputs), and keep what came back."""
    from sklearn_ltdl.networks._flow import descend, descend_in_batches

    rng = np.random.default_rng(draw_seed(estimator.random_state))
    phi = feature_map(X)
    if np.abs(phi).max() > _LARGEST_INPUT:
        raise ValueError(
            f"X has an entry of size {np.abs(X).max():.1e}, beside which the constant input vanishes in rounding. "
            "Standardise its columns first: make_pipeline(StandardScaler(), ...)."
        )
    n, weight = len(phi), weight / weight.sum()
    start = start_of(estimator, phi.shape[1], targets.shape[1], rng)
    data = Data(phi, targets, start.offset(phi), weight)
    estimator.alpha_ = estimator.alpha
    if estimator.alpha == "loo":
        some = rng.permutation(n)[:LEAVE_ONE_OUT_ROWS] if n > LEAVE_ONE_OUT_ROWS else slice(None)
        estimator.alpha_ = leave_one_out_alpha(start.network, start.weights, data.part(some))
    settings = {
        "alpha": estimator.alpha_,
        "reference": start.reference,
        "learning_rate": estimator.learning_rate,
        "max_iter": estimator.max_iter,
    }
    if n <= FULL_BATCH_ROWS:
        trained = descend(start.network, loss, start.weights, data, tol=estimator.tol, **settings)
    else:
        held_out, rest = np.split(rng.permutation(n), [n // 10])
        seed = int(rng.integers(2**31))
        trained = descend_in_batches(
            start.network, loss, start.weights, data.part(rest), data.part(held_out), seed=seed, **settings
        )
    if not trained.settled:
        warnings.warn(
            f"Stopped at max_iter={estimator.max_iter} with the loss still falling, at {trained.losses[-1]:.3g}. "
            "Increase max_iter, or tol if the predictions are good enough.",
            ConvergenceWarning,
            stacklevel=3,
        )
    estimator.weights_, estimator.weights_init_ = trained.weights, start.weights
    estimator.intercept_ = trained.intercept
    estimator.loss_curve_ = trained.losses
    estimator.n_iter_ = len(trained.losses) - 1
    estimator.displacement_ = displacement(trained.weights, start.weights)
    estimator._start = start
    return estimator


def _fit_regressor(estimator, start_of, X, y, sample_weight):
    X, y = validate_data(estimator, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
    weight = check_weights(sample_weight, X)
    X, Y, weight = _empirical_measure(X, y.reshape(len(y), -1).astype(np.float64), weight)
    estimator._flat = y.ndim == 1
    estimator._standardisation = Standardisation.of(Y, weight, estimator.normalize_y)
    return _fit(estimator, start_of, Squared(), X, estimator._standardisation.apply(Y), weight)


def _fit_classifier(estimator, start_of, X, y, sample_weight):
    X, y = validate_data(estimator, X, y, dtype=np.float64)
    check_classification_targets(y)
    weight = check_weights(sample_weight, X)
    estimator.classes_, codes = np.unique(y, return_inverse=True)
    n_classes = len(estimator.classes_)
    if n_classes == 1:
        raise ValueError(
            f"y has one class, {estimator.classes_.tolist()[0]!r}; a classifier needs rows of at least two."
        )
    X, codes, weight = _empirical_measure(X, codes[:, None], weight)
    targets = one_hot(codes[:, 0].astype(int), n_classes)
    return _fit(estimator, start_of, classification_loss(n_classes), X, targets, weight)


def _empirical_measure(X, Y, weight):
    """Return the distinct rows of (X, Y) in sorted order and their total weights; rows of weight 0 are dropped.

    Weights, repetition and order then give the same bits, which the dynamics of training would else pull apart.
    """
    kept = weight > 0
    rows, which = np.unique(np.hstack([X, Y])[kept], axis=0, return_inverse=True)
    d = X.shape[1]
    return rows[:, :d], rows[:, d:], np.bincount(which.ravel(), weights=weight[kept])


def _scores(estimator, X):
    """Return the outputs in the units of the loss, in float64 and NumPy, of shape (n_samples, n_outputs)."""
    check_is_fitted(estimator)
    X = validate_data(estimator, X, dtype=np.float64, reset=False)
    start = estimator._start
    scores = np.empty((len(X), len(estimator.intercept_)))
    for rows in gen_batches(len(X), PREDICT_ROWS):
        phi = feature_map(X[rows])
        scores[rows] = start.network.outputs(estimator.weights_, phi) - start.offset(phi) + estimator.intercept_
    return scores
