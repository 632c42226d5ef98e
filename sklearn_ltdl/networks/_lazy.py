"""Networks of any depth whose output scale switches them between kernel and feature learning, and their limits."""

from numbers import Integral, Real
from typing import NamedTuple, Self

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning

from sklearn_ltdl._sklearn import Interval, Registered, StrOptions, _fit_context, draw_seed, warn, with_callbacks
from sklearn_ltdl._targets import (
    checked_labels,
    checked_numbers,
    checked_weights,
    classification_loss,
    encode_classes,
    weights_of_classes,
)
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.losses import Squared, total
from sklearn_ltdl.networks._linearized import Tangent, TangentKernel, solve_ridge
from sklearn_ltdl.networks._model import Network, Trained, displacement, draw_weights, squared_distance, width_of
from sklearn_ltdl.networks._training import (
    Given,
    NetworkClassifier,
    NetworkRegressor,
    Predictor,
    Settings,
    Start,
    chosen_alpha,
    classification_table,
    fit_weights,
    regression_table,
)
from sklearn_ltdl.ntk import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk._machine import ClassMachine, Machine, MachineSettings
from sklearn_ltdl.scalings import Scaling

_SCALES = 1e-10, 1e10  # between which float64 tells the output from the first one, and weights stay finite
_FAR = 5.0  # times the target's root mean square, from which a raw initial output is far away

_CONSTRAINTS: dict = {
    "width": [Interval(Integral, 1, None, closed="left")],
    "depth": [Interval(Integral, 1, 1000, closed="both")],
    "activation": [Registered(ACTIVATIONS, ("value", "derivative"))],
    "scale": [Interval(Real, 0, None, closed="neither")],
    "centering": [StrOptions({"subtract", "doubled"}), None],
    "mode": [StrOptions({"nonlinear", "linearized", "kernel"})],
    "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"loo"})],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "early_stopping": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
}


class _LazyNet:
    """What the two estimators do alike: they go on from an earlier fit, and publish what a fit found."""

    def _earlier(self):
        """Return the network that training goes on from, or None where it starts afresh."""
        goes_on = self.warm_start and self.mode != "kernel" and getattr(self, "weights_", None) is not None
        return self._as_trained() if goes_on else None

    def _publish(self, found):
        """Set the fitted attributes; where the scale does not count, weights move as one over it."""
        start, trained, weights = found.start, found.trained, found.trained.weights
        self._start, self._weights = start, weights
        self.weights_init_, self.weights_ = start.weights, weights
        self.kernel_machine_, self.alpha_ = found.machine, found.alpha
        self.intercept_, self.n_iter_ = trained.intercept, trained.n_iter
        self.loss_curve_, self.validation_loss_curve_ = trained.losses, trained.held_out_losses
        self.displacement_ = None if weights is None else displacement(weights, start.weights)
        if weights is not None and _is_free_of_scale(self):
            moves = ((layer - first) / self.scale for layer, first in zip(weights, start.weights))
            self.weights_ = tuple(first + move for first, move in zip(start.weights, moves))
            self.displacement_ /= self.scale
        return self


class LazyNetRegressor(_LazyNet, NetworkRegressor):
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
    mode : {'nonlinear', 'linearized', 'kernel'}, default='nonlinear'
        'nonlinear' trains the network. 'linearized' is its limit at large scales, the linear model of its gradient at
        the same initial weights: in closed form for one output up to 3000 rows, by conjugate gradients otherwise, and
        as the network is trained with ``early_stopping=True``. 'kernel' is ridge regression with the kernel of that
        gradient, averaged over outputs, by `NTKKernelRegressor`: the same model for one output that is centred.
    alpha : float or 'loo', default='loo'
        Weight of ``scale**2 * |w - w0|**2 / 2`` against the mean loss of the standardised target, summed over outputs:
        the alpha of the limiting kernel ridge. 'loo' takes the penalty of least leave-one-out error of ridge regression
        with the tangent kernel of the first weights, in closed form, on at most 1000 rows (on all with mode 'kernel').
        Where that kernel explains less than a tenth of the target, a weak penalty is tried, and taken if the network
        then predicts a quarter of the rows that it has not seen, beyond doubt.
    learning_rate : float, default=1.0
        Step in units of the largest stable one at the start, at any width and number of features; it is halved
        where the objective would rise.
    max_iter : int, default=1000
        Passes over the data: steps up to 2000 distinct rows, epochs of batches beyond; steps of conjugate gradients.
    tol : float, default=1e-4
        Training stops when 50 steps lower the objective by less than `tol` times its value at the start; with
        batches, when halving the step five times no longer lowers the loss of the rows held out. Conjugate gradients
        end when the gradient has fallen to a hundredth of `tol`.
    early_stopping : bool or 'auto', default='auto'
        Whether rows are held out, whose loss chooses the weights that are kept and ends training when it no longer
        falls. 'auto' does so where training goes by batches.
    validation_fraction : float, default=0.1
        The share of rows held out.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights, the units of the target and the `alpha_` of the last one; 'kernel'
        starts afresh.
    normalize_y : bool, default=True
        Whether the target is centred and scaled, column by column, within fit.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, the same in each mode, then the rows held out and the batches where there are any.

    Attributes
    ----------
    alpha_ : float
        The penalty in force.
    weights_, weights_init_ : tuple of ndarray
        Weights of each layer after and before training, of shape (n_copies, width, fan_in); the last is the
        read-out, of shape (n_copies, width, n_outputs). The former is None with mode 'kernel', which has none.
    kernel_machine_ : NTKKernelRegressor or None
        Of mode 'kernel', with the leave-one-out predictions and the influence of each row.
    intercept_ : ndarray of shape (n_outputs,)
        In units of the target, standardised if `normalize_y`; not standardised with mode 'kernel'.
    loss_curve_ : list of float
        The objective after each step, its start first; its mean over each epoch where batches are used; at the start
        and the end where there are no steps of descent; empty with mode 'kernel'.
    validation_loss_curve_ : list of float
        The loss of the rows held out, at every tenth step, or at the start and after each epoch of batches; empty where
        none are.
    displacement_ : float
        ``|w - w0| / |w0|``: near 0 where training was lazy; None with mode 'kernel'.
    n_iter_ : int
        Passes over the data; with mode 'kernel', penalties tried.

    Raises
    ------
    ValueError
        For a `scale` outside of 1e-10 to 1e10 in mode 'nonlinear', or a step so large that batches diverge.

    See Also
    --------
    scale_path : The same network at several scales.
    regime_report : Whether a trained network was lazy.
    MeanFieldTwoLayerNet : One hidden layer that learns features, with a certificate.

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
        mode="nonlinear",
        alpha="loo",
        learning_rate=1.0,
        max_iter=1000,
        tol=1e-4,
        early_stopping="auto",
        validation_fraction=0.1,
        warm_start=False,
        normalize_y=True,
        random_state=None,
    ) -> None:
        self.width = width
        self.depth = depth
        self.activation = activation
        self.scale = scale
        self.centering = centering
        self.mode = mode
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.normalize_y = normalize_y
        self.random_state = random_state

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None) -> Self:
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
        earlier = self._earlier()
        known = None if earlier is None else self._units
        normalize = self.normalize_y and self.mode != "kernel"  # whose machine does it
        table, units = regression_table(self, X, y, sample_weight, normalize=normalize, units=known)
        given = Given(self, X, y, sample_weight, {"_units": units, "kernel_machine_": None})
        found = fit_network(self, Squared(), table, earlier, given)
        self._units = units
        return self._publish(found)


class LazyNetClassifier(_LazyNet, NetworkClassifier):
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
    mode : {'nonlinear', 'linearized', 'kernel'}, default='nonlinear'
        'nonlinear' trains the network. 'linearized' trains its limit at large scales, the linear model of its gradient
        at the same initial weights, in the same way. 'kernel' is least-squares classification with the kernel of that
        gradient, averaged over outputs, by `NTKKernelClassifier`.
    alpha : float or 'loo', default='loo'
        Weight of ``scale**2 * |w - w0|**2 / 2`` against the mean loss: the alpha of the limiting kernel ridge. 'loo'
        takes the penalty of least leave-one-out error of ridge regression with the tangent kernel of the first weights,
        in closed form, on at most 1000 rows (on all with mode 'kernel'). Where that kernel explains less than a tenth
        of the target, a weak penalty is tried, and taken if the network then predicts a quarter of the rows that it has
        not seen, beyond doubt.
    learning_rate : float, default=1.0
        Step in units of the largest stable one at the start, at any width and number of features; it is halved
        where the objective would rise.
    max_iter : int, default=1000
        Passes over the data: steps up to 2000 distinct rows, epochs of batches beyond.
    tol : float, default=1e-4
        Training stops when 50 steps lower the objective by less than `tol` times its value at the start; with
        batches, when halving the step five times no longer lowers the loss of the rows held out.
    early_stopping : bool or 'auto', default='auto'
        Whether rows are held out, whose loss chooses the weights that are kept and ends training when it no longer
        falls. 'auto' does so where training goes by batches.
    validation_fraction : float, default=0.1
        The share of rows held out.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights and the `alpha_` of the last one; 'kernel' starts afresh.
    class_weight : dict or 'balanced', default=None
        Weights of the classes, multiplied with those of the rows; 'balanced' gives all classes the same.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, the same in each mode, then the rows held out and the batches where there are any.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    alpha_ : float
        The penalty in force.
    weights_, weights_init_ : tuple of ndarray
        Weights of each layer after and before training, of shape (n_copies, width, fan_in); the last is the
        read-out, of shape (n_copies, width, n_outputs). The former is None with mode 'kernel', which has none.
    kernel_machine_ : NTKKernelClassifier or None
        Of mode 'kernel', with the leave-one-out predictions and the influence of each row.
    intercept_ : ndarray of shape (n_outputs,)
        In units of the log-odds; with mode 'kernel', of the least-squares scores of `kernel_machine_`.
    loss_curve_ : list of float
        The objective after each step, its start first; its mean over each epoch where batches are used; at the start
        and the end where there are no steps of descent; empty with mode 'kernel'.
    validation_loss_curve_ : list of float
        The loss of the rows held out, at every tenth step, or at the start and after each epoch of batches; empty where
        none are.
    displacement_ : float
        ``|w - w0| / |w0|``: near 0 where training was lazy; None with mode 'kernel'.
    n_iter_ : int
        Passes over the data; with mode 'kernel', penalties tried.

    Raises
    ------
    ValueError
        For a `scale` outside of 1e-10 to 1e10 in mode 'nonlinear', or a step so large that batches diverge.

    See Also
    --------
    scale_path : The same network at several scales.
    regime_report : Whether a trained network was lazy.
    MeanFieldTwoLayerNet : One hidden layer that learns features, with a certificate.

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

    _parameter_constraints: dict = _CONSTRAINTS | {"class_weight": [dict, StrOptions({"balanced"}), None]}

    def __init__(
        self,
        *,
        width=256,
        depth=1,
        activation="relu",
        scale=10.0,
        centering="subtract",
        mode="nonlinear",
        alpha="loo",
        learning_rate=1.0,
        max_iter=1000,
        tol=1e-4,
        early_stopping="auto",
        validation_fraction=0.1,
        warm_start=False,
        class_weight=None,
        random_state=None,
    ) -> None:
        self.width = width
        self.depth = depth
        self.activation = activation
        self.scale = scale
        self.centering = centering
        self.mode = mode
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.class_weight = class_weight
        self.random_state = random_state

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None) -> Self:
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
        earlier = self._earlier()
        known = None if earlier is None else self.classes_
        table, classes = classification_table(self, X, y, sample_weight, class_weight=self.class_weight, known=known)
        given = Given(self, X, y, sample_weight, {"classes_": classes, "kernel_machine_": None})
        found = fit_network(self, classification_loss(len(classes)), table, earlier, given)
        self.classes_ = classes
        return self._publish(found)


class Found(NamedTuple):
    """What a fit found, and the kernel machine of mode 'kernel'."""

    start: Start
    trained: Trained
    alpha: float
    machine: NTKKernelRegressor | NTKKernelClassifier | None = None


def fit_network(estimator, loss, table, earlier, given):
    """Return what training on a table finds, from first weights or from those of an earlier fit."""
    seed = draw_seed(estimator.random_state)
    rng = np.random.default_rng(seed)
    drawn = first_weights(estimator, table.X.shape[1] + 1, table.targets.shape[1], rng)
    if earlier is not None and _architecture(drawn) != _architecture(earlier.start):
        raise ValueError(
            "Training cannot go on with another width, depth, activation, scale, centering or mode than that of the "
            "last fit. Set them to those, or start afresh with warm_start=False."
        )
    if estimator.mode == "kernel":
        return _fit_kernel(estimator, drawn, given, seed)
    model = Predictor(drawn, drawn.weights) if earlier is None else earlier
    data = table.data(model.start)
    if estimator.centering is None and estimator.mode == "nonlinear":
        _warn_if_raw(estimator, model.start, data)
    if earlier is not None and estimator.alpha == "loo":
        alpha = estimator.alpha_
    else:
        alpha = chosen_alpha(estimator.alpha, drawn, loss, data, np.random.default_rng((seed, 1)))
    if estimator.mode == "linearized" and loss == Squared() and estimator.early_stopping is not True:
        return _fit_ridge(estimator, model, data, alpha, given)
    settings = Settings(
        alpha=alpha,
        learning_rate=estimator.learning_rate,
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        early_stopping=estimator.early_stopping,
        validation_fraction=estimator.validation_fraction,
    )
    trained, _ = fit_weights(model, loss, data, settings, rng, given)
    return Found(model.start, trained, alpha)


def first_weights(estimator, n_inputs, n_outputs, rng):
    """Return the start of training, for columns of phi."""
    doubled = estimator.centering == "doubled"
    if doubled and estimator.width % 2:
        raise ValueError(
            f"width must be even with centering='doubled', which pairs the neurons; got {estimator.width}. "
            "Use an even width or centering='subtract'."
        )
    low, high = _SCALES
    scale = 1.0 if _is_free_of_scale(estimator) else float(estimator.scale)
    if not low <= scale <= high:
        raise ValueError(
            f"scale={estimator.scale:g} is outside of {low:g} to {high:g}, where rounding hides how the network moves. "
            "Use mode='linearized' with centering='subtract' for the limit of large scales, or a scale such as 1e-4 "
            "for that of small ones."
        )
    activation = ACTIVATIONS.resolve(estimator.activation)
    weights = draw_weights(n_inputs, n_outputs, width=estimator.width, depth=estimator.depth, doubled=doubled, rng=rng)
    network = Network(activation, Scaling(power=0.5, scale=scale), ACTIVATIONS.member(activation, "gain"))
    if estimator.mode != "nonlinear":
        network = Tangent(network, weights)
    return Start(network, weights, estimator.centering is not None, weights)


def _is_free_of_scale(estimator):
    """Return whether the function is the same at every scale: a linear model of outputs that start at 0."""
    return estimator.mode == "kernel" or (estimator.mode == "linearized" and estimator.centering is not None)


def _architecture(start):
    shapes = [layer.shape for layer in start.weights]
    return type(start.network), start.network.activation, start.network.scaling, start.subtracted, shapes


def _warn_if_raw(estimator, start, data):
    """Warn of an initial output that training has to undo."""
    first = start.network.outputs(start.weights, data.phi)
    size, unit = (float(np.sqrt(data.weight @ np.sum(z**2, axis=1))) for z in (first, data.targets))
    if size > _FAR * unit:
        warn(
            f"This training is not lazy, whatever its scale: with centering=None and scale={estimator.scale:g} the "
            f"initial output has a root mean square of {size:.3g}, the target one of {unit:.3g}, and what undoes it "
            "moves the weights as far at every scale. Use centering='subtract' or 'doubled', or a scale of 1 or less.",
        )


def _fit_ridge(estimator, model, data, alpha, given):
    """Solve the linearised problem."""
    start = model.start
    with given.callbacks(model.attributes, 1) as tell:
        fitted = solve_ridge(
            start.network,
            model.weights,
            data,
            alpha,
            max_iter=estimator.max_iter,
            tol=0.01 * estimator.tol,
        )
        if not fitted.converged:
            warn(
                f"Conjugate gradients stopped at max_iter={estimator.max_iter} before the gradient fell to a hundredth "
                f"of tol={estimator.tol:g} of its first size. Increase max_iter, alpha or tol.",
                ConvergenceWarning,
            )
        constant = data.weight @ (data.targets + data.offset)
        states = (start.reference, constant), (fitted.weights, fitted.intercept)
        losses = [_objective(start, alpha, data, *state) for state in states]
        if tell is not None:
            tell(fitted.weights, fitted.intercept, losses[-1])
    return Found(start, Trained(fitted.weights, fitted.intercept, losses, fitted.n_iter, []), alpha)


def _objective(start, alpha, data, weights, intercept):
    """Return the squared loss and the penalty."""
    scores = start.network.outputs(weights, data.phi) - data.offset + intercept
    moved = squared_distance(weights, start.reference) / start.network.scaling.step(width_of(weights))
    return float(total(Squared(), scores, data.targets, data.weight) + 0.5 * alpha * moved)


def _fit_kernel(estimator, start, given, seed):
    """Fit the kernel machine, on the rows as they were given, in their units."""
    X = np.asarray(given.X, dtype=np.float64)
    weight = checked_weights(given.sample_weight, len(X))
    kernel = TangentKernel(start.network.network, start.weights)
    options = {"kernel": kernel, "alpha": estimator.alpha, "random_state": seed}
    if is_classifier(estimator):
        y = checked_labels(given.y).ravel()
        weight = weights_of_classes(estimator.class_weight, *encode_classes(y, weight), weight)
    else:
        y, options["normalize_y"] = checked_numbers(given.y), estimator.normalize_y

    def attributes(machine):
        return {"kernel_machine_": machine, "intercept_": np.atleast_1d(machine.intercept_)}

    with given.callbacks(attributes, 1) as tell:
        if is_classifier(estimator):
            found = ClassMachine.of(X, y, weight, MachineSettings(**options))
            machine = NTKKernelClassifier(**options)._publish(found)
        else:
            machine = NTKKernelRegressor(**options)._publish(Machine.of(X, y, weight, MachineSettings(**options)))
        if tell is not None:
            tell(machine)
    trained = Trained(None, np.atleast_1d(machine.intercept_), [], machine.n_iter_, [])
    return Found(start, trained, machine.alpha_, machine)
