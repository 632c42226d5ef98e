"""Networks of any depth whose output scale switches them between kernel and feature learning."""

from numbers import Integral, Real

import numpy as np

from sklearn_ltdl._sklearn import Interval, NameIn, StrOptions, _fit_context, draw_seed, with_callbacks
from sklearn_ltdl._targets import classification_loss
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.networks._model import Network, displacement, draw_weights
from sklearn_ltdl.networks._training import (
    NetworkClassifier,
    NetworkRegressor,
    Settings,
    Start,
    chosen_alpha,
    classification_table,
    regression_table,
    train,
)
from sklearn_ltdl.scalings import Scaling

_CONSTRAINTS: dict = {
    "width": [Interval(Integral, 1, None, closed="left")],
    "depth": [Interval(Integral, 1, None, closed="left")],
    "activation": [NameIn(ACTIVATIONS)],
    "scale": [Interval(Real, 0, None, closed="neither")],
    "centering": [StrOptions({"subtract", "doubled"}), None],
    "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"loo"})],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "random_state": ["random_state"],
}


class LazyNetRegressor(NetworkRegressor):
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
        Name in `sklearn_ltdl.activations.ACTIVATIONS`: 'relu', 'leaky_relu', 'abs', 'identity', 'tanh', 'sigmoid',
        'softplus', 'quadratic', 'erf', 'gelu', 'sin' or 'cos'.
    scale : float, default=10.0
        The factor of the output, alpha in [1]_: large is lazy, where the network moves as its tangent kernel; small
        (0.1) learns features.
    centering : {'subtract', 'doubled'} or None, default='subtract'
        How the output is made zero at the start: subtract the initial network, or pair each neuron with one of
        opposite sign. Without it no scale is lazy.
    alpha : float or 'loo', default='loo'
        Weight of ``scale**2 * |w - w0|**2 / 2`` against the mean loss of the standardised target, summed over outputs:
        the alpha of the limiting kernel ridge. 'loo' takes the penalty of least leave-one-out error of ridge regression
        with the tangent kernel of the first weights, in closed form, on at most 1000 rows. Where that kernel explains
        less than a tenth of the target, a weak penalty is tried, and taken if the network then predicts a quarter of
        the rows that it has not seen, beyond doubt.
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
        The objective after each step, its start first; its mean over each epoch where batches are used.
    validation_loss_curve_ : list of float
        The loss of the rows held out, at the start and after each epoch; empty where none are.
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

    _parameter_constraints: dict = _CONSTRAINTS | {"normalize_y": ["boolean"]}

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

    @with_callbacks
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
        return _fit(self, Squared(), regression_table(self, X, y, sample_weight), (X, y, sample_weight))


class LazyNetClassifier(NetworkClassifier):
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
        Name in `sklearn_ltdl.activations.ACTIVATIONS`: 'relu', 'leaky_relu', 'abs', 'identity', 'tanh', 'sigmoid',
        'softplus', 'quadratic', 'erf', 'gelu', 'sin' or 'cos'.
    scale : float, default=10.0
        The factor of the output, alpha in [1]_: large is lazy, where the network moves as its tangent kernel; small
        (0.1) learns features.
    centering : {'subtract', 'doubled'} or None, default='subtract'
        How the output is made zero at the start: subtract the initial network, or pair each neuron with one of
        opposite sign. Without it no scale is lazy.
    alpha : float or 'loo', default='loo'
        Weight of ``scale**2 * |w - w0|**2 / 2`` against the mean loss: the alpha of the limiting kernel ridge. 'loo'
        takes the penalty of least leave-one-out error of ridge regression with the tangent kernel of the first weights,
        in closed form, on at most 1000 rows. Where that kernel explains less than a tenth of the target, a weak penalty
        is tried, and taken if the network then predicts a quarter of the rows that it has not seen, beyond doubt.
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
        The objective after each step, its start first; its mean over each epoch where batches are used.
    validation_loss_curve_ : list of float
        The loss of the rows held out, at the start and after each epoch; empty where none are.
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

    _parameter_constraints: dict = _CONSTRAINTS

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

    @with_callbacks
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
        table = classification_table(self, X, y, sample_weight)
        return _fit(self, classification_loss(len(self.classes_)), table, (X, y, sample_weight))


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
    return Start(network, weights, estimator.centering == "subtract", weights)


def _fit(estimator, loss, table, shown):
    """Train the network on the table, and keep what came back."""
    rng = np.random.default_rng(draw_seed(estimator.random_state))
    start = _lazy_start(estimator, table.X.shape[1] + 1, table.targets.shape[1], rng)
    data = table.data(start)
    estimator._start = start
    estimator.alpha_ = chosen_alpha(estimator.alpha, start, loss, data, rng)
    settings = Settings(estimator.alpha_, estimator.learning_rate, estimator.max_iter, estimator.tol)
    trained, _ = train(estimator, start, True, loss, data, settings, rng, shown)
    estimator.weights_, estimator.weights_init_ = trained.weights, start.weights
    estimator._weights, estimator.intercept_ = trained.weights, trained.intercept
    estimator.loss_curve_, estimator.validation_loss_curve_ = trained.losses, trained.held_out_losses
    estimator.n_iter_ = trained.n_iter
    estimator.displacement_ = displacement(trained.weights, start.weights)
    return estimator
