"""Networks of any depth whose output scale switches them between the kernel regime and feature learning."""

from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning

from sklearn_ltdl._sklearn import Interval, Registered, StrOptions, _fit_context, draw_seed, warn, with_callbacks
from sklearn_ltdl._targets import (
    Standardisation,
    checked_labels,
    checked_numbers,
    checked_weights,
    classification_loss,
    encode_classes,
    weights_of_classes,
)
from sklearn_ltdl._types import Seed
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.losses import Squared, total
from sklearn_ltdl.networks._linearized import Tangent, TangentKernel, solve_ridge
from sklearn_ltdl.networks._model import Network, Trained, displacement, draw_weights, squared_distance, width_of
from sklearn_ltdl.networks._tables import Units, classification_table, regression_table
from sklearn_ltdl.networks._training import (
    Given,
    NetworkClassifier,
    NetworkRegressor,
    Predictor,
    Settings,
    Start,
    chosen_alpha,
    fit_weights,
    learns_features,
)
from sklearn_ltdl.ntk import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk._classes import ClassMachine
from sklearn_ltdl.ntk._machine import Machine
from sklearn_ltdl.ntk._problem import MachineSettings
from sklearn_ltdl.ntk._streamed import Looked, classifier_of_rows, machine_of_rows
from sklearn_ltdl.rows._rows import Rows, rows_to_fit
from sklearn_ltdl.scalings import Scaling

_SCALES = 1e-10, 1e10  # within these bounds float64 resolves the change of the output, and weights stay finite
_FAR = 5.0  # warn if the initial output exceeds so many root mean squares of the target

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
    """Base of the two estimators: continue from an earlier fit, and publish the results of a fit."""

    weights_init_: tuple[np.ndarray, ...]
    weights_: tuple[np.ndarray, ...] | None
    kernel_machine_: Any
    alpha_: float
    intercept_: np.ndarray
    n_iter_: int
    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    displacement_: float | None

    def _earlier(self):
        """Return the network from which training continues, or None if it starts afresh."""
        goes_on = self.warm_start and self.mode != "kernel" and getattr(self, "weights_", None) is not None
        return self._as_trained() if goes_on else None

    def _publish(self, found):
        """Set the fitted attributes; if the function is the same at every scale, weights move as 1 / scale."""
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
    r"""Network for regression whose `scale` switches it between the kernel regime and feature learning.

    The loss is the squared loss, and the intercept is not penalised. Up to 2000 distinct rows, every step uses all
    rows, in float64 with Nesterov's acceleration; with a `scale` below 1 and a positive `alpha`, steps of the first
    layer are preconditioned, so that correlated columns do not slow training. With more rows, training uses batches in
    float32. The columns of `X` should be standardised.

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
        Factor of the output, alpha in [1]_. With a large scale, training is lazy: the network behaves like its tangent
        kernel. With a small scale (0.1), the network learns features.
    centering : {'subtract', 'doubled'} or None, default='subtract'
        How the initial output is made zero: 'subtract' subtracts the initial network, 'doubled' pairs each neuron with
        a neuron of opposite sign. Without centring, training is not lazy at any scale.
    mode : {'nonlinear', 'linearized', 'kernel'}, default='nonlinear'
        'nonlinear' trains the network. 'linearized' is its limit at large scales, the linear model in its gradient at
        the same initial weights. It is solved in closed form for one output and up to 3000 rows, otherwise by conjugate
        gradients; with ``early_stopping=True``, and of Rows, it is trained like the network. 'kernel' is ridge
        regression by `NTKKernelRegressor` with the kernel of this gradient, averaged over outputs. For one centred
        output this is the same model as 'linearized'.
    alpha : float or 'loo', default='loo'
        Weight of ``scale**2 * |w - w0|**2 / 2`` relative to the mean loss of the standardised target, summed over
        outputs. It equals the alpha of the limiting kernel ridge regression. 'loo' chooses the penalty with the
        smallest leave-one-out error of ridge regression with the tangent kernel of the initial weights, in closed form,
        on at most 1000 rows (on all rows with mode 'kernel'). If this kernel explains less than a tenth of the target,
        a weak penalty is also tried; it is kept if it beats a constant on a 25 % validation set by three standard
        errors.
    learning_rate : float, default=1.0
        Step in units of the largest stable step at the start, for any width and number of features. It is halved if the
        objective would rise.
    max_iter : int, default=1000
        Maximum number of passes over the data: steps up to 2000 distinct rows, epochs of batches for more; or steps of
        conjugate gradients.
    tol : float, default=1e-4
        Training stops when 50 steps lower the objective by less than `tol` times its initial value; with batches, when
        halving the step five times no longer lowers the validation loss. Conjugate gradients stop when the norm of the
        gradient relative to its initial value is a hundredth of `tol`.
    early_stopping : bool or 'auto', default='auto'
        Whether to hold out a validation set. The weights with the smallest validation loss are kept, and training stops
        when this loss no longer falls. 'auto' uses a validation set if training uses batches.
    validation_fraction : float, default=0.1
        Share of the rows in the validation set.
    warm_start : bool, default=False
        Whether `fit` continues from the weights, the units of the target and the `alpha_` of the last fit. Mode
        'kernel' starts afresh.
    normalize_y : bool, default=True
        Whether `fit` standardises each column of the target.
    random_state : int, RandomState instance or None, default=None
        Seed for the initial weights, which are the same in each mode, then for the validation set and the batches.

    Attributes
    ----------
    alpha_ : float
        Penalty that was used.
    weights_, weights_init_ : tuple of ndarray
        Weights of each layer after and before training, of shape (n_copies, width, fan_in); the last is the read-out,
        of shape (n_copies, width, n_outputs). With mode 'kernel', `weights_` is None.
    kernel_machine_ : NTKKernelRegressor or None
        The kernel machine of mode 'kernel', with leave-one-out predictions and the influence of each row; else None.
    intercept_ : ndarray of shape (n_outputs,)
        Intercept in units of the target, which is standardised if `normalize_y`; with mode 'kernel' it is never
        standardised.
    loss_curve_ : list of float
        Objective at the start and after each step; with batches, its mean over each epoch. If the problem is solved
        without descent, only the first and the last value. Empty with mode 'kernel'.
    validation_loss_curve_ : list of float
        Validation loss at every tenth step, or at the start and after each epoch of batches; empty without a validation
        set.
    displacement_ : float
        ``|w - w0| / |w0|``, near 0 if training was lazy; None with mode 'kernel'.
    n_iter_ : int
        Number of passes over the data; with mode 'kernel', number of penalties tried.

    Raises
    ------
    ValueError
        If `scale` is outside of 1e-10 to 1e10 in mode 'nonlinear', or if training in batches diverges.

    See Also
    --------
    scale_path : Fit the same network at several scales.
    regime_report : Report whether a trained network was lazy.
    MeanFieldTwoLayerNet : Network with one hidden layer that learns features, with a certificate.

    Notes
    -----
    With :math:`\varphi(x) = [x/\sqrt d, 1]`, standard normal weights w, and :math:`f_w` the network in the
    parametrisation of the neural tangent kernel (each layer has the factor ``gain / sqrt(width)``), the model is
    ``scale * (f_w(x) - f_w0(x)) + intercept``. It is trained on the empirical measure: rows of weight 0 are dropped and
    identical rows are merged, so that weights and repeated rows give the same model.

    Rows, which `scan` makes, are always trained in batches, if they are more than 2000. A sample of them, kept in a
    first pass, chooses the penalty and the step, and a part of it validates. Rows are drawn from a window of many
    blocks, so that sorted files do no harm. Losses are then those of rounds of at most 262 144 rows, of which a pass
    over a long table has several, and the step is halved by rounds, too. Identical rows are not merged.
    In mode 'kernel' the kernel machine then has 2000 centres, as with more than 5000 distinct rows in memory.

    Preconditioned steps multiply the gradient of the first layer's weights by :math:`c\,(C + \lambda I)^{-1}`, where C
    is the second moment matrix of :math:`\varphi(x)`, as K-FAC does [2]_. The objective is the same. Without a penalty
    steps are plain, because the solution then depends on the path.

    References
    ----------
    .. [1] L. Chizat, E. Oyallon, F. Bach. "On lazy training in differentiable programming". NeurIPS 2019.
    .. [2] J. Martens, R. Grosse. "Optimizing neural networks with Kronecker-factored approximate curvature". ICML 2015.

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
        width: int = 256,
        depth: int = 1,
        activation: str | Any = "relu",
        scale: float = 10.0,
        centering: str | None = "subtract",
        mode: str = "nonlinear",
        alpha: float | str = "loo",
        learning_rate: float = 1.0,
        max_iter: int = 1000,
        tol: float = 1e-4,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        normalize_y: bool = True,
        random_state: Seed = None,
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
    def fit(self, X: ArrayLike | Rows, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Rows
            Rows, which `scan` makes, are read block by block, and have the target and the weights inside. A cluster
            runs all passes of mode 'kernel', otherwise only the first one; this process trains.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            None with Rows.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        rows = rows_to_fit(self, X, y, sample_weight) if self.mode == "kernel" else None
        if rows is not None:
            return self._fit_kernel_of_rows(rows)
        earlier = self._earlier()
        known = None if earlier is None else self._units
        normalize = self.normalize_y and self.mode != "kernel"  # the kernel machine standardises
        table, units = regression_table(self, X, y, sample_weight, normalize=normalize, units=known, takes_rows=True)
        given = Given(self, X, y, sample_weight, {"_units": units, "kernel_machine_": None})
        found = fit_network(self, Squared(), table, earlier, given)
        self._units = units
        return self._publish(found)

    def _fit_kernel_of_rows(self, rows):
        settings = MachineSettings(
            alpha=self.alpha, normalize_y=self.normalize_y, random_state=draw_seed(self.random_state)
        )
        looked = Looked.at_numbers(rows, settings)
        units = Units(Standardisation.of(looked.mean[None], np.ones(1), False), rows.columns.flat)
        found = fit_kernel_of_rows(self, rows, looked, settings, {"_units": units})
        self._units = units
        return self._publish(found)


class LazyNetClassifier(_LazyNet, NetworkClassifier):
    r"""Network for classification whose `scale` switches it between the kernel regime and feature learning.

    The loss is logistic, or multinomial for several classes, and the intercept is not penalised. Up to 2000 distinct
    rows, every step uses all rows, in float64 with Nesterov's acceleration; with a `scale` below 1 and a positive
    `alpha`, steps of the first layer are preconditioned, so that correlated columns do not slow training. With more
    rows, training uses batches in float32. The columns of `X` should be standardised.

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
        Factor of the output, alpha in [1]_. With a large scale, training is lazy: the network behaves like its tangent
        kernel. With a small scale (0.1), the network learns features.
    centering : {'subtract', 'doubled'} or None, default='subtract'
        How the initial output is made zero: 'subtract' subtracts the initial network, 'doubled' pairs each neuron with
        a neuron of opposite sign. Without centring, training is not lazy at any scale.
    mode : {'nonlinear', 'linearized', 'kernel'}, default='nonlinear'
        'nonlinear' trains the network. 'linearized' trains its limit at large scales in the same way: the linear model
        in its gradient at the same initial weights. 'kernel' is least-squares classification by `NTKKernelClassifier`
        with the kernel of this gradient, averaged over outputs.
    alpha : float or 'loo', default='loo'
        Weight of ``scale**2 * |w - w0|**2 / 2`` relative to the mean loss. 'loo' chooses the penalty with the smallest
        leave-one-out error of ridge regression with the tangent kernel of the initial weights, in closed form, on at
        most 1000 rows (on all rows with mode 'kernel'). With a `scale` of at least 1 and in mode 'linearized', the
        penalty is a quarter of this one, because the curvature of the loss is at most a quarter of that of the squared
        loss, and the same penalty would shrink the output four times as much. If the kernel explains less than a tenth
        of the target, a weak penalty is also tried; it is kept if it beats a constant on a 25 % validation set by three
        standard errors.
    learning_rate : float, default=1.0
        Step in units of the largest stable step at the start, for any width and number of features. It is halved if the
        objective would rise.
    max_iter : int, default=1000
        Maximum number of passes over the data: steps up to 2000 distinct rows, epochs of batches for more.
    tol : float, default=1e-4
        Training stops when 50 steps lower the objective by less than `tol` times its initial value; with batches, when
        halving the step five times no longer lowers the validation loss.
    early_stopping : bool or 'auto', default='auto'
        Whether to hold out a validation set. The weights with the smallest validation loss are kept, and training stops
        when this loss no longer falls. 'auto' uses a validation set if training uses batches.
    validation_fraction : float, default=0.1
        Share of the rows in the validation set.
    warm_start : bool, default=False
        Whether `fit` continues from the weights and the `alpha_` of the last fit. Mode 'kernel' starts afresh.
    class_weight : dict or 'balanced', default=None
        Factors of the sample weights by class. 'balanced' gives each class the same total weight.
    random_state : int, RandomState instance or None, default=None
        Seed for the initial weights, which are the same in each mode, then for the validation set and the batches.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    alpha_ : float
        Penalty that was used.
    weights_, weights_init_ : tuple of ndarray
        Weights of each layer after and before training, of shape (n_copies, width, fan_in); the last is the read-out,
        of shape (n_copies, width, n_outputs). With mode 'kernel', `weights_` is None.
    kernel_machine_ : NTKKernelClassifier or None
        The kernel machine of mode 'kernel', with leave-one-out predictions and the influence of each row; else None.
    intercept_ : ndarray of shape (n_outputs,)
        Intercept in units of log-odds; with mode 'kernel', in units of the scores of `kernel_machine_`.
    loss_curve_ : list of float
        Objective at the start and after each step; with batches, its mean over each epoch. If the problem is solved
        without descent, only the first and the last value. Empty with mode 'kernel'.
    validation_loss_curve_ : list of float
        Validation loss at every tenth step, or at the start and after each epoch of batches; empty without a validation
        set.
    displacement_ : float
        ``|w - w0| / |w0|``, near 0 if training was lazy; None with mode 'kernel'.
    n_iter_ : int
        Number of passes over the data; with mode 'kernel', number of penalties tried.

    Raises
    ------
    ValueError
        If `scale` is outside of 1e-10 to 1e10 in mode 'nonlinear', or if training in batches diverges.

    See Also
    --------
    scale_path : Fit the same network at several scales.
    regime_report : Report whether a trained network was lazy.
    MeanFieldTwoLayerNet : Network with one hidden layer that learns features, with a certificate.

    Notes
    -----
    With :math:`\varphi(x) = [x/\sqrt d, 1]`, standard normal weights w, and :math:`f_w` the network in the
    parametrisation of the neural tangent kernel (each layer has the factor ``gain / sqrt(width)``), the model is
    ``scale * (f_w(x) - f_w0(x)) + intercept``. It is trained on the empirical measure: rows of weight 0 are dropped and
    identical rows are merged, so that weights and repeated rows give the same model.

    Training on Rows, and preconditioned steps [2]_, are those of `LazyNetRegressor`: see its notes.

    References
    ----------
    .. [1] L. Chizat, E. Oyallon, F. Bach. "On lazy training in differentiable programming". NeurIPS 2019.
    .. [2] J. Martens, R. Grosse. "Optimizing neural networks with Kronecker-factored approximate curvature". ICML 2015.

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
        width: int = 256,
        depth: int = 1,
        activation: str | Any = "relu",
        scale: float = 10.0,
        centering: str | None = "subtract",
        mode: str = "nonlinear",
        alpha: float | str = "loo",
        learning_rate: float = 1.0,
        max_iter: int = 1000,
        tol: float = 1e-4,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        class_weight: Any = None,
        random_state: Seed = None,
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
    def fit(self, X: ArrayLike | Rows, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Rows
            Rows, which `scan` makes, are read block by block, and have the target and the weights inside. A cluster
            runs all passes of mode 'kernel', otherwise only the first one; this process trains.
        y : array-like of shape (n_samples,)
            None with Rows.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        rows = rows_to_fit(self, X, y, sample_weight) if self.mode == "kernel" else None
        if rows is not None:
            return self._fit_kernel_of_rows(rows)
        earlier = self._earlier()
        known = None if earlier is None else self.classes_
        table, classes = classification_table(
            self, X, y, sample_weight, class_weight=self.class_weight, known=known, takes_rows=True
        )
        given = Given(self, X, y, sample_weight, {"classes_": classes, "kernel_machine_": None})
        found = fit_network(self, classification_loss(len(classes)), table, earlier, given)
        self.classes_: np.ndarray = classes
        return self._publish(found)

    def _fit_kernel_of_rows(self, rows):
        if self.class_weight is not None:
            raise ValueError(
                f"class_weight={self.class_weight!r} needs arrays in mode 'kernel', and X is Rows; give a column of "
                "weights to scan, or *rows.sample(n)."
            )
        settings = MachineSettings(alpha=self.alpha, normalize_y=False, random_state=draw_seed(self.random_state))
        looked = Looked.at_labels(rows, settings)
        classes = looked.target.classes
        found = fit_kernel_of_rows(self, rows, looked, settings, {"classes_": classes})
        self.classes_ = classes
        return self._publish(found)


class Found(NamedTuple):
    """Result of a fit, with the kernel machine of mode 'kernel'."""

    start: Start
    trained: Trained
    alpha: float
    machine: NTKKernelRegressor | NTKKernelClassifier | None = None


def fit_network(estimator, loss, table, earlier, given):
    """Train on a table, from initial weights or from those of an earlier fit."""
    seed = draw_seed(estimator.random_state)
    rng = np.random.default_rng(seed)
    drawn = first_weights(estimator, table.X.shape[1] + 1, table.targets.shape[1], rng)
    if earlier is not None and _architecture(drawn) != _architecture(earlier.start):
        raise ValueError(
            "Training cannot continue with a width, depth, activation, scale, centering or mode that differs from the "
            "last fit. Set them to the earlier values, or use warm_start=False."
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
        alpha = chosen_alpha(estimator.alpha, drawn, loss, data, np.random.default_rng((seed, 1)), table.n_rows)
    closed_form = estimator.mode == "linearized" and loss == Squared() and estimator.early_stopping is not True
    if closed_form and table.stream is None:
        return _fit_ridge(estimator, model, data, alpha, given)
    unique = alpha > 0  # without a penalty, the path of descent decides which minimiser it reaches
    settings = Settings(
        alpha=alpha,
        learning_rate=estimator.learning_rate,
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        early_stopping=estimator.early_stopping,
        validation_fraction=estimator.validation_fraction,
        preconditioned=unique and learns_features(model.start.network),
    )
    trained, _ = fit_weights(model, loss, data, settings, rng, given, table.stream)
    return Found(model.start, trained, alpha)


def first_weights(estimator, n_inputs, n_outputs, rng):
    """Return the start of training, for `n_inputs` columns of phi."""
    doubled = estimator.centering == "doubled"
    if doubled and estimator.width % 2:
        raise ValueError(
            f"width must be even with centering='doubled', which pairs neurons; got {estimator.width}. "
            "Use an even width or centering='subtract'."
        )
    low, high = _SCALES
    scale = 1.0 if _is_free_of_scale(estimator) else float(estimator.scale)
    if not low <= scale <= high:
        raise ValueError(
            f"scale={estimator.scale:g} is outside of {low:g} to {high:g}; rounding hides how the network changes. "
            "Use mode='linearized' with centering='subtract' for the limit of large scales, or a scale such as 1e-4 "
            "for the limit of small scales."
        )
    activation = ACTIVATIONS.resolve(estimator.activation)
    weights = draw_weights(n_inputs, n_outputs, width=estimator.width, depth=estimator.depth, doubled=doubled, rng=rng)
    network = Network(activation, Scaling(power=0.5, scale=scale), ACTIVATIONS.member(activation, "gain"))
    if estimator.mode != "nonlinear":
        network = Tangent(network, weights)
    return Start(network, weights, estimator.centering is not None, weights)


def _is_free_of_scale(estimator):
    """Return whether the function is the same at every scale, as for a linear model whose output starts at 0."""
    return estimator.mode == "kernel" or (estimator.mode == "linearized" and estimator.centering is not None)


def _architecture(start):
    shapes = [layer.shape for layer in start.weights]
    return type(start.network), start.network.activation, start.network.scaling, start.subtracted, shapes


def _warn_if_raw(estimator, start, data):
    """Warn if the initial output is so large that training has to undo it."""
    first = start.network.outputs(start.weights, data.phi)
    size, unit = (float(np.sqrt(data.weight @ np.sum(z**2, axis=1))) for z in (first, data.targets))
    if size > _FAR * unit:
        warn(
            f"Training is not lazy: with centering=None and scale={estimator.scale:g} the initial output has a root "
            f"mean square of {size:.3g}, and the target of {unit:.3g}. Undoing the initial output moves the weights "
            "equally far at every scale. Use centering='subtract' or 'doubled', or a scale of 1 or less.",
        )


def _fit_ridge(estimator, model, data, alpha, given):
    """Solve the linearised problem by ridge regression."""
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
                f"of tol={estimator.tol:g} relative to its start. Increase max_iter, alpha or tol.",
                ConvergenceWarning,
            )
        constant = data.weight @ (data.targets + data.offset)
        states = (start.reference, constant), (fitted.weights, fitted.intercept)
        losses = [_objective(start, alpha, data, *state) for state in states]
        if tell is not None:
            tell(fitted.weights, fitted.intercept, losses[-1])
    return Found(start, Trained(fitted.weights, fitted.intercept, losses, fitted.n_iter, []), alpha)


def _objective(start, alpha, data, weights, intercept):
    """Return the squared loss plus the penalty."""
    scores = start.network.outputs(weights, data.phi) - data.offset + intercept
    moved = squared_distance(weights, start.reference) / start.network.scaling.step(width_of(weights))
    return float(total(Squared(), scores, data.targets, data.weight) + 0.5 * alpha * moved)


def _fit_kernel(estimator, start, given, seed):
    """Fit the kernel machine to the original rows, in the units of the target."""
    X = np.asarray(given.X, dtype=np.float64)
    weight = checked_weights(given.sample_weight, len(X))
    options = {"kernel": _kernel_of(start), "alpha": estimator.alpha, "random_state": seed}
    if is_classifier(estimator):
        y = checked_labels(given.y).ravel()
        weight = weights_of_classes(estimator.class_weight, *encode_classes(y, weight), weight)
    else:
        y, options["normalize_y"] = checked_numbers(given.y), estimator.normalize_y

    with given.callbacks(_attributes_of, 1) as tell:
        if is_classifier(estimator):
            found = ClassMachine.of(X, y, weight, MachineSettings(**options))
            machine = NTKKernelClassifier(**options)._publish(found)
        else:
            machine = NTKKernelRegressor(**options)._publish(Machine.of(X, y, weight, MachineSettings(**options)))
        if tell is not None:
            tell(machine)
    return _found_by(machine, start)


def fit_kernel_of_rows(estimator, rows, looked, settings, attributes):
    """Fit the kernel machine on centres to rows that are read block by block, of which the first pass has `looked`."""
    rng = np.random.default_rng(settings.random_state)
    start = first_weights(estimator, looked.drawn.X.shape[1] + 1, len(looked.mean), rng)
    settings = settings._replace(kernel=_kernel_of(start))
    options = {"kernel": settings.kernel, "alpha": settings.alpha, "random_state": settings.random_state}
    with Given(estimator, rows, None, None, attributes).callbacks(_attributes_of, 1) as tell:
        if is_classifier(estimator):
            machine = NTKKernelClassifier(**options)._publish(classifier_of_rows(rows, looked, settings))
        else:
            options["normalize_y"] = settings.normalize_y
            machine = NTKKernelRegressor(**options)._publish_machine(machine_of_rows(rows, looked, settings))
        if tell is not None:
            tell(machine)
    return _found_by(machine, start)


def _kernel_of(start):
    return TangentKernel(start.network.network, start.weights)


def _attributes_of(machine):
    return {"kernel_machine_": machine, "intercept_": np.atleast_1d(machine.intercept_)}


def _found_by(machine, start):
    trained = Trained(None, np.atleast_1d(machine.intercept_), [], machine.n_iter_, [])
    return Found(start, trained, machine.alpha_, machine)
