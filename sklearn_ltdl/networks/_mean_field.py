r"""One hidden layer as an optimisation over measures: particles, noise, and a certificate of global optimality."""

from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._sklearn import Interval, Registered, StrOptions, _fit_context, draw_seed, warn, with_callbacks
from sklearn_ltdl._targets import classification_loss
from sklearn_ltdl._types import Seed
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.losses import LOSSES, MEMBERS_OF_NETWORKS, has_best_intercept
from sklearn_ltdl.networks._certificate import (
    QUICK,
    THOROUGH,
    can_certify,
    certificate_of_gibbs,
    certificate_of_layer,
    variation_of,
)
from sklearn_ltdl.networks._frank_wolfe import frank_wolfe
from sklearn_ltdl.networks._measures import Measure, balance, is_quadratic, measure_of
from sklearn_ltdl.networks._model import Network, Trained, displacement, draw_weights
from sklearn_ltdl.networks._tables import FULL_BATCH_ROWS, classification_table, regression_table
from sklearn_ltdl.networks._training import (
    Given,
    NetworkClassifier,
    NetworkRegressor,
    Predictor,
    Settings,
    Start,
    chosen_alpha,
    fit_weights,
)
from sklearn_ltdl.results import Certificate
from sklearn_ltdl.rows._rows import Rows
from sklearn_ltdl.scalings import Scaling

_SOLVER_OF_MANY_ROWS = "adam"  # what 'auto' uses

_CONSTRAINTS: dict = {
    "width": [Interval(Integral, 1, None, closed="left")],
    "activation": [Registered(ACTIVATIONS, ("value", "derivative"))],
    "init_scale": [Interval(Real, 0, None, closed="neither")],
    "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"loo"})],
    "solver": [StrOptions({"auto", "gd", "sgd", "adam", "frank_wolfe"})],
    "temperature": [Interval(Real, 0, None, closed="left")],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "early_stopping": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
}


class _MeanFieldNet:
    """Base of the two estimators: continue from an earlier fit, and publish the results of a fit."""

    intercept_: np.ndarray
    alpha_: float
    certificate_: Certificate | None
    solver_: str
    n_iter_: int
    loss_curve_: list[float]
    validation_loss_curve_: list[float]

    @property
    def particles_(self) -> np.ndarray:
        """Hidden weights and read-out of each neuron."""
        return np.hstack(_layer(self._start.network, self._weights))

    @property
    def particles_init_(self) -> np.ndarray:
        """Hidden weights and read-out of each neuron before training."""
        return np.hstack(_layer(self._start.network, self._start.weights))

    @property
    def balancedness_(self) -> float:
        """Total variation of balanced particles over weight decay."""
        return balance(*self._activated())

    @property
    def displacement_(self) -> float:
        """Distance of the weights from their start, relative to the start."""
        return displacement(self._weights, self._start.weights)

    @property
    def measure_(self) -> Measure:
        """The particles as a measure."""
        return measure_of(*self._activated())

    @property
    def tv_norm_(self) -> float:
        """Its total variation."""
        layer = self._activated()
        return variation_of(*layer)[0] if is_quadratic(layer[0]) else self.measure_.total_variation

    def _activated(self):
        """Return the activation, the hidden weights and the read-out."""
        network = self._start.network
        return network.activation, *_layer(network, self._weights)

    def _earlier(self, goes_on):
        """Return the network from which training continues, or None if it starts afresh."""
        return self._as_trained() if goes_on and hasattr(self, "_weights") else None

    def _publish(self, found):
        """Set the fitted attributes."""
        trained = found.trained
        self._start, self._weights, self._run = found.start, trained.weights, found.run
        self.intercept_, self.alpha_, self.certificate_ = trained.intercept, found.alpha, found.certificate
        self.solver_, self.n_iter_ = found.solver, trained.n_iter
        self.loss_curve_, self.validation_loss_curve_ = trained.losses, trained.held_out_losses
        return self


class MeanFieldTwoLayerNet(_MeanFieldNet, NetworkRegressor):
    r"""One-hidden-layer network for regression, trained as an optimisation over measures.

    The intercept is not penalised. Up to 2000 distinct rows, every step uses all rows, in float64 with Nesterov's
    acceleration. With more rows, training uses batches in float32. The columns of `X` should be standardised.

    Parameters
    ----------
    width : int, default=256
        Number of neurons (particles). 'frank_wolfe' ignores it and adds as many as it needs.
    activation : str or activation object, default='relu'
        Name in ``sklearn_ltdl.activations.ACTIVATIONS``: 'relu', 'leaky_relu', 'abs', 'identity', 'tanh', 'sigmoid',
        'softplus', 'quadratic', 'erf', 'gelu', 'sin' or 'cos'; or an object of that module. On real tables, 'relu' was
        more accurate for regression and 'tanh' for classification.
    init_scale : float, default=1.0
        Standard deviation of the initial weights.
    loss : {'squared', 'huber'} or loss object, default='squared'
        Loss of one prediction, in units of the standardised target. 'huber' is linear for residuals above one standard
        deviation; use ``sklearn_ltdl.losses.Huber(delta)`` for another threshold. A loss object is a NamedTuple like
        those in that module; the certificate needs its `second_derivative` and `fenchel_young`.
    alpha : float or 'loo', default='loo'
        Weight of ``(|a|**2 + b**2) / 2``, averaged over neurons, relative to the mean loss of the standardised target;
        0 for no penalty. For a positively homogeneous activation ('relu', 'leaky_relu', 'abs') the penalty is an upper
        bound on the total variation (F1, or Barron) norm, and equal to it if the particles are balanced. For
        'quadratic' the read-out is fixed to signs, and `alpha` is the weight of ``|a|**2``, which bounds a nuclear
        norm. 'loo' chooses the penalty with the smallest leave-one-out error of ridge regression with the tangent
        kernel of the initial weights, in closed form, on at most 1000 rows. If this kernel explains less than a tenth
        of the target, a weak penalty is also tried; it is kept if it beats a constant on a 25 % validation set by three
        standard errors.
    solver : {'auto', 'gd', 'sgd', 'adam', 'frank_wolfe'}, default='auto'
        'gd' uses all rows at each step. 'sgd' (heavy ball, with weights averaged over each epoch) and 'adam' use
        batches. 'frank_wolfe' adds neurons until a duality gap shows that no network is better; it needs a positive
        `alpha` and an activation that is 'quadratic' or positively homogeneous. 'auto' is 'gd' up to 2000 distinct rows
        and 'adam' for more.
    temperature : float, default=0.0
        If positive, noise of variance ``2 * step * temperature`` is added to each weight at each step. These are
        mean-field Langevin dynamics (with a fifth of the automatic step), which minimise the objective plus
        `temperature` times the negative entropy of the particles. The theory guarantees convergence for bounded
        activations ('tanh', 'sigmoid', 'erf', 'sin', 'cos') and positive `alpha`. Each of the `max_iter` steps uses all
        rows.
    learning_rate : float, default=1.0
        Step in units of the automatic step, which is the largest stable step at the start, for any width and number of
        features. 'gd' halves the step if the objective would rise.
    max_iter : int, default=1000
        Maximum number of passes over the data: steps of 'gd', epochs of 'sgd' and 'adam', or rounds in which
        'frank_wolfe' adds neurons.
    tol : float, default=1e-4
        'gd' stops when 50 steps lower the objective by less than `tol` times its initial value. 'frank_wolfe' stops
        when the duality gap is at most a tenth of `tol` times the objective. With batches, training stops when halving
        the step five times no longer lowers the validation loss; `tol` is not used.
    batch_size : int, default=128
        Number of rows in a batch; if there are fewer rows, all of them.
    early_stopping : bool or 'auto', default='auto'
        Whether to hold out a validation set. The weights with the smallest validation loss are kept, and training stops
        when this loss no longer falls. 'auto' uses a validation set if training uses batches.
    validation_fraction : float, default=0.1
        Share of the rows in the validation set.
    warm_start : bool, default=False
        Whether `fit` continues from the weights, the units of the target and the `alpha_` of the last fit.
        'frank_wolfe' starts afresh but keeps the units.
    normalize_y : bool, default=True
        Whether `fit` standardises each column of the target.
    random_state : int, RandomState instance or None, default=None
        Seed for the initial weights, the validation set, the batches and the noise.

    Attributes
    ----------
    particles_, particles_init_ : ndarray of shape (width, n_features + 1 + n_outputs)
        One row per neuron, with hidden weights a and read-out b, after and before training. The first n_features
        entries of a belong to ``X / sqrt(n_features)``, the next to the constant input.
    measure_ : Measure
        Measure with `atoms`, unit vectors of shape (n_atoms, n_features + 1), and signed `masses` of shape (n_atoms,
        n_outputs), heaviest first. Particles within 1e-3 radians are merged into one atom.
    tv_norm_ : float
        Total variation of `measure_`, which is the F1 norm of the network; for 'quadratic', the nuclear norm of its
        quadratic forms.
    balancedness_ : float
        ``sum |a||b| / sum (|a|**2 + |b|**2) / 2``. It is 1 if weight decay equals the total variation.
    certificate_ : Certificate or None
        Bound on the suboptimality of the network among all measures, on all rows, including a validation set.
        `sklearn_ltdl.certify` spends more time and is exact more often. None without a penalty, for activations without
        a certificate, after `partial_fit`, and for more than 2000 rows unless the solver is 'frank_wolfe'.
    alpha_ : float
        Penalty that was used.
    intercept_ : ndarray of shape (n_outputs,)
        Intercept in units of the target, which is standardised if `normalize_y`.
    loss_curve_ : list of float
        Objective at the start and after each step. With noise, the objective before each step; with batches, its mean
        over each epoch.
    validation_loss_curve_ : list of float
        Validation loss at every tenth step of 'gd', or at the start and after each epoch of batches; empty without a
        validation set.
    displacement_ : float
        ``|w - w0| / |w0|``, near 0 if training was lazy; 0 with 'frank_wolfe', which has no initial weights.
    n_iter_ : int
        Number of passes over the data, or of rounds of 'frank_wolfe'.
    solver_ : str
        The solver that ran: 'gd', 'langevin', 'sgd', 'adam' or 'frank_wolfe'.

    See Also
    --------
    certify : Compute the certificate on any rows.
    ParticleFlowDisplay : Plot the trajectories of the particles and the measure.
    LazyNetRegressor : Network that can be trained without learning features.

    Notes
    -----
    The model is :math:`f(x) = \frac1m \sum_j b_j \sigma(a_j \cdot \varphi(x))` + intercept, with :math:`\varphi(x) =
    [x/\sqrt d, 1]`. It is trained on the empirical measure: rows of weight 0 are dropped and identical rows are merged,
    so that weights and repeated rows give the same model. If gradient descent on infinitely many particles that start
    in all directions converges, it ends at a global minimum [1]_. A finite number of particles may not, and training
    does not show it; the certificate does.

    Rows, which `scan` makes, are always trained in batches, if they are more than 2000. A sample of them, kept in a
    first pass, chooses the penalty and the step, and a part of it validates. Rows are drawn from a window of many
    blocks, so that sorted files do no harm. Losses are then those of rounds of at most 262 144 rows, of which a pass
    over a long table has several, and the step is halved by rounds, too. Identical rows are not merged.

    References
    ----------
    .. [1] L. Chizat, F. Bach. "On the global convergence of gradient descent for over-parameterized models using
       optimal transport". NeurIPS 2018, arXiv:1805.09545.
    .. [2] F. Bach. "Breaking the curse of dimensionality with convex neural networks". JMLR 18, 2017.
    .. [3] S. Mei, A. Montanari, P.-M. Nguyen. "A mean field view of the landscape of two-layer neural networks".
       PNAS 115, 2018.

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

    A quadratic network with a proof that no other quadratic network is better:

    >>> net = MeanFieldTwoLayerNet(activation="quadratic", solver="frank_wolfe", alpha=0.1, random_state=0)
    >>> certificate = make_pipeline(StandardScaler(), net).fit(X, y)[-1].certificate_
    >>> certificate.rigorous, certificate.relative_gap < 1e-5
    (True, True)
    """

    _parameter_constraints: dict = _CONSTRAINTS | {
        "loss": [Registered(LOSSES, MEMBERS_OF_NETWORKS, of_labels=False)],
        "normalize_y": ["boolean"],
    }

    def __init__(
        self,
        *,
        width: int = 256,
        activation: str | Any = "relu",
        init_scale: float = 1.0,
        loss: str | Any = "squared",
        alpha: float | str = "loo",
        solver: str = "auto",
        temperature: float = 0.0,
        learning_rate: float = 1.0,
        max_iter: int = 1000,
        tol: float = 1e-4,
        batch_size: int = 128,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        normalize_y: bool = True,
        random_state: Seed = None,
    ) -> None:
        self.width = width
        self.activation = activation
        self.init_scale = init_scale
        self.loss = loss
        self.alpha = alpha
        self.solver = solver
        self.temperature = temperature
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
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
            Rows, which `scan` makes, are read block by block, and have the target and the weights inside. Only the
            first pass runs on a cluster; this process trains.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            None with Rows.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        earlier = self._earlier(self.warm_start)
        table, units = self._table(X, y, sample_weight, earlier, takes_rows=True)
        given = Given(self, X, y, sample_weight, {"_units": units})
        found = fit_layer(self, LOSSES.resolve(self.loss), table, earlier, given)
        self._units = units
        return self._publish(found)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train for one pass over these rows, in batches.

        If there was no fit, the first call draws the weights and determines the units of the target, the penalty and
        the step, so its rows should be a random sample of all. Identical rows are not merged. `fit` takes files in any
        order, as Rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        earlier = self._earlier(True)
        table, units = self._table(X, y, sample_weight, earlier, is_merged=False)
        found = fit_one_pass(self, LOSSES.resolve(self.loss), table, earlier)
        self._units = units
        return self._publish(found)

    def _table(self, X, y, sample_weight, earlier, **how):
        units = None if earlier is None else self._units
        return regression_table(self, X, y, sample_weight, normalize=self.normalize_y, units=units, **how)


class MeanFieldTwoLayerNetClassifier(_MeanFieldNet, NetworkClassifier):
    r"""One-hidden-layer network for classification, trained as an optimisation over measures.

    The loss is logistic, or multinomial for several classes, and the intercept is not penalised. Up to 2000 distinct
    rows, every step uses all rows, in float64 with Nesterov's acceleration. With more rows, training uses batches in
    float32. The columns of `X` should be standardised.

    Parameters
    ----------
    width : int, default=256
        Number of neurons (particles). 'frank_wolfe' ignores it and adds as many as it needs.
    activation : str or activation object, default='tanh'
        Name in ``sklearn_ltdl.activations.ACTIVATIONS``: 'relu', 'leaky_relu', 'abs', 'identity', 'tanh', 'sigmoid',
        'softplus', 'quadratic', 'erf', 'gelu', 'sin' or 'cos'; or an object of that module. On real tables, 'tanh' was
        more accurate for classification and 'relu' for regression. A certificate needs a positively homogeneous
        activation such as 'relu', or 'quadratic', or noise.
    init_scale : float, default=1.0
        Standard deviation of the initial weights.
    alpha : float or 'loo', default='loo'
        Weight of ``(|a|**2 + b**2) / 2``, averaged over neurons, relative to the mean loss; 0 for no penalty. For a
        positively homogeneous activation ('relu', 'leaky_relu', 'abs') the penalty is an upper bound on the total
        variation (F1, or Barron) norm, and equal to it if the particles are balanced. For 'quadratic' the read-out is
        fixed to signs, and `alpha` is the weight of ``|a|**2``, which bounds a nuclear norm. 'loo' chooses the penalty
        with the smallest leave-one-out error of ridge regression with the tangent kernel of the initial weights, in
        closed form, on at most 1000 rows. If this kernel explains less than a tenth of the target, a weak penalty is
        also tried; it is kept if it beats a constant on a 25 % validation set by three standard errors.
    solver : {'auto', 'gd', 'sgd', 'adam', 'frank_wolfe'}, default='auto'
        'gd' uses all rows at each step. 'sgd' (heavy ball, with weights averaged over each epoch) and 'adam' use
        batches. 'frank_wolfe' adds neurons until a duality gap shows that no network is better; it needs a positive
        `alpha` and an activation that is 'quadratic' or positively homogeneous. 'auto' is 'gd' up to 2000 distinct rows
        and 'adam' for more.
    temperature : float, default=0.0
        If positive, noise of variance ``2 * step * temperature`` is added to each weight at each step. These are
        mean-field Langevin dynamics (with a fifth of the automatic step), which minimise the objective plus
        `temperature` times the negative entropy of the particles. The theory guarantees convergence for bounded
        activations ('tanh', 'sigmoid', 'erf', 'sin', 'cos') and positive `alpha`. Each of the `max_iter` steps uses all
        rows.
    learning_rate : float, default=1.0
        Step in units of the automatic step, which is the largest stable step at the start, for any width and number of
        features. 'gd' halves the step if the objective would rise.
    max_iter : int, default=1000
        Maximum number of passes over the data: steps of 'gd', epochs of 'sgd' and 'adam', or rounds in which
        'frank_wolfe' adds neurons.
    tol : float, default=1e-4
        'gd' stops when 50 steps lower the objective by less than `tol` times its initial value. 'frank_wolfe' stops
        when the duality gap is at most a tenth of `tol` times the objective. With batches, training stops when halving
        the step five times no longer lowers the validation loss; `tol` is not used.
    batch_size : int, default=128
        Number of rows in a batch; if there are fewer rows, all of them.
    early_stopping : bool or 'auto', default='auto'
        Whether to hold out a validation set. The weights with the smallest validation loss are kept, and training stops
        when this loss no longer falls. 'auto' uses a validation set if training uses batches.
    validation_fraction : float, default=0.1
        Share of the rows in the validation set.
    warm_start : bool, default=False
        Whether `fit` continues from the weights, the units of the target and the `alpha_` of the last fit.
        'frank_wolfe' starts afresh but keeps the units.
    class_weight : dict, 'balanced' or None, default=None
        Factors of the sample weights by class. 'balanced' gives each class the same total weight.
    random_state : int, RandomState instance or None, default=None
        Seed for the initial weights, the validation set, the batches and the noise.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    particles_, particles_init_ : ndarray of shape (width, n_features + 1 + n_outputs)
        One row per neuron, with hidden weights a and read-out b, after and before training. The first n_features
        entries of a belong to ``X / sqrt(n_features)``, the next to the constant input.
    measure_ : Measure
        Measure with `atoms`, unit vectors of shape (n_atoms, n_features + 1), and signed `masses` of shape (n_atoms,
        n_outputs), heaviest first. Particles within 1e-3 radians are merged into one atom.
    tv_norm_ : float
        Total variation of `measure_`, which is the F1 norm of the network; for 'quadratic', the nuclear norm of its
        quadratic forms.
    balancedness_ : float
        ``sum |a||b| / sum (|a|**2 + |b|**2) / 2``. It is 1 if weight decay equals the total variation.
    certificate_ : Certificate or None
        Bound on the suboptimality of the network among all measures, on all rows, including a validation set.
        `sklearn_ltdl.certify` spends more time and is exact more often. None without a penalty, for activations without
        a certificate, after `partial_fit`, and for more than 2000 rows unless the solver is 'frank_wolfe'.
    alpha_ : float
        Penalty that was used.
    intercept_ : ndarray of shape (n_outputs,)
        Intercept in units of log-odds.
    loss_curve_ : list of float
        Objective at the start and after each step. With noise, the objective before each step; with batches, its mean
        over each epoch.
    validation_loss_curve_ : list of float
        Validation loss at every tenth step of 'gd', or at the start and after each epoch of batches; empty without a
        validation set.
    displacement_ : float
        ``|w - w0| / |w0|``, near 0 if training was lazy; 0 with 'frank_wolfe', which has no initial weights.
    n_iter_ : int
        Number of passes over the data, or of rounds of 'frank_wolfe'.
    solver_ : str
        The solver that ran: 'gd', 'langevin', 'sgd', 'adam' or 'frank_wolfe'.

    See Also
    --------
    certify : Compute the certificate on any rows.
    ParticleFlowDisplay : Plot the trajectories of the particles and the measure.
    LazyNetClassifier : Network that can be trained without learning features.

    Notes
    -----
    The model is :math:`f(x) = \frac1m \sum_j b_j \sigma(a_j \cdot \varphi(x))` + intercept, with :math:`\varphi(x) =
    [x/\sqrt d, 1]`. It is trained on the empirical measure: rows of weight 0 are dropped and identical rows are merged,
    so that weights and repeated rows give the same model. If gradient descent on infinitely many particles that start
    in all directions converges, it ends at a global minimum [1]_. A finite number of particles may not, and training
    does not show it; the certificate does.

    Rows, which `scan` makes, are always trained in batches, if they are more than 2000. A sample of them, kept in a
    first pass, chooses the penalty and the step, and a part of it validates. Rows are drawn from a window of many
    blocks, so that sorted files do no harm. Losses are then those of rounds of at most 262 144 rows, of which a pass
    over a long table has several, and the step is halved by rounds, too. Identical rows are not merged.

    References
    ----------
    .. [1] L. Chizat, F. Bach. "On the global convergence of gradient descent for over-parameterized models using
       optimal transport". NeurIPS 2018, arXiv:1805.09545.
    .. [2] F. Bach. "Breaking the curse of dimensionality with convex neural networks". JMLR 18, 2017.
    .. [3] S. Mei, A. Montanari, P.-M. Nguyen. "A mean field view of the landscape of two-layer neural networks".
       PNAS 115, 2018.

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

    _parameter_constraints: dict = _CONSTRAINTS | {"class_weight": [dict, StrOptions({"balanced"}), None]}

    def __init__(
        self,
        *,
        width: int = 256,
        activation: str | Any = "tanh",
        init_scale: float = 1.0,
        alpha: float | str = "loo",
        solver: str = "auto",
        temperature: float = 0.0,
        learning_rate: float = 1.0,
        max_iter: int = 1000,
        tol: float = 1e-4,
        batch_size: int = 128,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        class_weight: Any = None,
        random_state: Seed = None,
    ) -> None:
        self.width = width
        self.activation = activation
        self.init_scale = init_scale
        self.alpha = alpha
        self.solver = solver
        self.temperature = temperature
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
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
            Rows, which `scan` makes, are read block by block, and have the target and the weights inside. Only the
            first pass runs on a cluster; this process trains.
        y : array-like of shape (n_samples,)
            None with Rows.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        earlier = self._earlier(self.warm_start)
        table, classes = self._table(X, y, sample_weight, earlier, takes_rows=True)
        given = Given(self, X, y, sample_weight, {"classes_": classes})
        found = fit_layer(self, classification_loss(len(classes)), table, earlier, given)
        self.classes_: np.ndarray = classes
        return self._publish(found)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one pass over these rows, in batches.

        If there was no fit, the first call draws the weights and determines the penalty and the step, so its rows
        should be a random sample of all. Identical rows are not merged. `fit` takes files in any order, as Rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,), default=None
            All classes of this and later calls, for the first call; None takes the classes of `y`.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows at once, so partial_fit cannot use it; give a dict of weights."
            )
        earlier = self._earlier(True)
        table, classes = self._table(X, y, sample_weight, earlier, classes=classes, is_merged=False)
        found = fit_one_pass(self, classification_loss(len(classes)), table, earlier)
        self.classes_: np.ndarray = classes
        return self._publish(found)

    def _table(self, X, y, sample_weight, earlier, **how):
        known = None if earlier is None else self.classes_
        return classification_table(self, X, y, sample_weight, class_weight=self.class_weight, known=known, **how)


class LastPass(NamedTuple):
    """State of the steps after a `partial_fit`, in NumPy: a Run, the step, method and learning rate, and the seed."""

    run: tuple
    eta: float
    made_for: tuple
    seed: int


class Found(NamedTuple):
    """Result of a fit, its solver, and the state from which `partial_fit` continues."""

    start: Start
    trained: Trained
    alpha: float
    solver: str
    certificate: Certificate | None = None
    run: LastPass | None = None


def fit_layer(estimator, loss, table, earlier, given):
    """Train on a table, from initial weights or from those of an earlier fit."""
    _check_solver(estimator)
    if table.stream is not None:
        _require_batches(estimator, "A fit of Rows")
    rng = np.random.default_rng(draw_seed(estimator.random_state))
    adds = estimator.solver == "frank_wolfe"
    data, model, alpha = _initial_network(estimator, loss, table, None if adds else earlier, rng)
    if adds:
        return _add_neurons(estimator, loss, data, alpha, int(rng.integers(2**31)), given)
    return _move_neurons(estimator, loss, data, model, alpha, rng, given, table.stream)


def _check_solver(estimator):
    """Raise an error for settings that the solver does not support, and warn about noise without a guarantee."""
    activation, solver = ACTIVATIONS.resolve(estimator.activation), estimator.solver
    if estimator.early_stopping is True and (estimator.temperature > 0 or solver == "frank_wolfe"):
        raise ValueError(
            "early_stopping=True needs a validation set, which temperature > 0 and solver='frank_wolfe' do not use; "
            "set early_stopping='auto' or False."
        )
    if estimator.temperature > 0:
        if solver not in ("auto", "gd"):
            raise ValueError(
                f"temperature={estimator.temperature:g} needs all rows at each step; got solver={solver!r}. Use "
                "solver='auto' or temperature=0."
            )
        if not getattr(activation, "bounded", False) or estimator.alpha == 0:
            warn(
                "Langevin dynamics are guaranteed only for bounded activations ('tanh', 'sigmoid', 'erf', 'sin', "
                f"'cos') and a positive alpha; got activation={estimator.activation!r} and alpha={estimator.alpha!r}.",
            )
    if solver == "frank_wolfe":
        if not can_certify(activation):
            raise ValueError(
                "solver='frank_wolfe' needs activation 'relu', 'leaky_relu', 'abs', 'identity' or 'quadratic', because "
                f"weight decay is then a norm of the measure; got {estimator.activation!r}. Use one of these, or "
                "solver='auto'."
            )
        if estimator.alpha == 0:
            raise ValueError("solver='frank_wolfe' needs a positive alpha; got 0.")


def _require_batches(estimator, what):
    """Raise an error for settings with which training needs all rows at each step."""
    if estimator.solver not in ("auto", "sgd", "adam") or estimator.temperature > 0:
        raise ValueError(
            f"{what} trains in batches: it needs solver='auto', 'sgd' or 'adam' and temperature=0; got "
            f"solver={estimator.solver!r} and temperature={estimator.temperature:g}."
        )


def _initial_network(estimator, loss, table, earlier, rng):
    """Return the rows, the network at the start of training, and the penalty."""
    if earlier is not None:
        _require_same_layer(estimator, earlier.start)
        return table.data(earlier.start), earlier, estimator.alpha_ if estimator.alpha == "loo" else estimator.alpha
    start = first_weights(estimator, table.X.shape[1] + 1, table.targets.shape[1], rng)
    data, factor = table.data(start), _penalty_factor(start)
    alpha = estimator.alpha if estimator.alpha == "loo" else factor * estimator.alpha
    alpha = chosen_alpha(alpha, start, loss, data, rng, table.n_rows) / factor
    return data, Predictor(start, start.weights), alpha


def _require_same_layer(estimator, start):
    """Raise an error if the layer of an earlier fit is not the one that the parameters ask for."""
    width, activation = start.weights[0].shape[1], start.network.activation
    if (width, activation) != (estimator.width, ACTIVATIONS.resolve(estimator.activation)):
        raise ValueError(
            f"Training cannot continue with width={estimator.width} and activation={estimator.activation!r} from the "
            f"{width} neurons with activation {activation!r} of the last fit (solver={estimator.solver_!r}). Use the "
            "same width and activation, or fit with warm_start=False."
        )


def first_weights(estimator, p, n_outputs, rng):
    """Return the start of training, for p columns of phi."""
    activation, width = ACTIVATIONS.resolve(estimator.activation), estimator.width
    weights, fixed = draw_weights(p, n_outputs, width=width, depth=1, doubled=False, rng=rng), None
    if is_quadratic(activation):
        if width < 2 * n_outputs and estimator.solver != "frank_wolfe":
            raise ValueError(
                f"width={width} is too small: with the quadratic activation each of the {n_outputs} outputs needs a "
                f"positive and a negative neuron. Use width={2 * n_outputs} or more."
            )
        neuron = np.arange(width)
        fixed = np.zeros((1, width, n_outputs))
        fixed[0, neuron, neuron // 2 % n_outputs] = 1.0 - 2.0 * (neuron % 2)
        weights = weights[:1]
    weights = tuple(estimator.init_scale * layer for layer in weights)
    network = Network(activation, Scaling(power=1.0), readout=fixed)
    return Start(network, weights, False, tuple(np.zeros_like(layer) for layer in weights))


def _penalty_factor(start):
    """Return the factor of alpha for the training engine, whose penalty is half the squares."""
    return 2.0 if is_quadratic(start.network.activation) else 1.0


def _move_neurons(estimator, loss, data, model, alpha, rng, given, stream):
    """Train all neurons by gradient descent."""
    settings = Settings(
        alpha=_penalty_factor(model.start) * alpha,
        learning_rate=estimator.learning_rate,
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        solver=estimator.solver,
        solver_of_many_rows=_SOLVER_OF_MANY_ROWS,
        temperature=estimator.temperature,
        batch_size=estimator.batch_size,
        early_stopping=estimator.early_stopping,
        validation_fraction=estimator.validation_fraction,
    )
    trained, solver = fit_weights(model, loss, data, settings, rng, given, stream)
    certificate = None
    if stream is None and len(data.phi) <= FULL_BATCH_ROWS and _why_not_certified(estimator, loss, alpha) is None:
        certificate = _certificate(model.start.network, trained.weights, loss, data, alpha, estimator.temperature)
    return Found(model.start, trained, alpha, solver, certificate)


def _add_neurons(estimator, loss, data, alpha, seed, given):
    """Train by adding neurons with the Frank-Wolfe method."""
    problem = _why_not_certified(estimator, loss, alpha)
    if problem:
        raise ValueError(problem)
    activation = ACTIVATIONS.resolve(estimator.activation)

    def attributes(measure, intercept, _):
        start, weights = _particles_of(activation, measure)
        return {"_start": start, "_weights": weights, "intercept_": intercept}

    with given.callbacks(attributes, estimator.max_iter + 1) as monitor:
        minimum = frank_wolfe(
            activation,
            loss,
            data,
            alpha,
            tol=0.1 * estimator.tol,
            max_iter=estimator.max_iter,
            seed=seed,
            monitor=monitor,
        )
    n_steps = len(minimum.objectives) - 1
    if not minimum.converged:
        remedy = (
            "Increase max_iter, or" if n_steps == estimator.max_iter else "The gap no longer falls: increase alpha, or"
        )
        warn(
            f"frank_wolfe stopped after {n_steps} steps with {minimum.certificate}, above a tenth of "
            f"tol={estimator.tol:g}. {remedy} tol if this is accurate enough.",
            ConvergenceWarning,
        )
    start, weights = _particles_of(activation, minimum.measure)
    trained = Trained(weights, minimum.intercept, minimum.objectives, n_steps, [])
    return Found(start, trained, alpha, "frank_wolfe", minimum.certificate)


def _particles_of(activation, measure):
    """Return balanced particles of equal weight for a measure, as the start and the weights of a network."""
    J, (p, n_outputs) = len(measure.atoms), (measure.atoms.shape[1], measure.masses.shape[1])
    hidden, readout = np.zeros((1, p)), np.zeros((1, n_outputs))  # a particle without mass, if there is no atom
    if J:
        sizes = np.linalg.norm(measure.masses, axis=1, keepdims=True)
        hidden, readout = np.sqrt(J * sizes) * measure.atoms, measure.masses / sizes
    if is_quadratic(activation):
        network, weights = Network(activation, Scaling(power=1.0), readout=readout[None]), (hidden[None],)
    else:
        network = Network(activation, Scaling(power=1.0))
        weights = (hidden[None], (np.sqrt(J * sizes) * readout if J else readout)[None])
    return Start(network, weights, False, tuple(np.zeros_like(layer) for layer in weights)), weights


def fit_one_pass(estimator, loss, table, earlier):
    """Train for one pass over a table, continuing from the last pass."""
    from sklearn_ltdl.networks._flow import Batched
    from sklearn_ltdl.networks._objective import Problem

    _check_solver(estimator)
    _require_batches(estimator, "partial_fit")
    method, rate = _SOLVER_OF_MANY_ROWS if estimator.solver == "auto" else estimator.solver, estimator.learning_rate
    passes, losses = (0, []) if earlier is None else (estimator.n_iter_, estimator.loss_curve_)
    last = getattr(estimator, "_run", None)
    seed = draw_seed(estimator.random_state) if last is None else last.seed
    data, model, alpha = _initial_network(estimator, loss, table, earlier, np.random.default_rng(seed))
    start = model.start
    problem = Problem(start.network, loss, data, _penalty_factor(start) * alpha, start.reference)
    rule = Batched(method, rate, estimator.batch_size, seed=seed + passes)
    if last is None or last.made_for != (method, rate):
        intercept = np.zeros(data.targets.shape[1]) if model.intercept is None else model.intercept
        run, eta = rule.first_run(problem, model.weights, intercept)
    else:
        run, eta = last.run, last.eta
    run, value, eta = rule.one_pass(problem, run, eta)
    weights, intercept = tuple(layer.astype(float) for layer in run[0]), run[2].astype(float)
    trained = Trained(weights, intercept, [*losses, value], passes + 1, [])
    return Found(start, trained, alpha, method, run=LastPass(run, eta, (method, rate), seed))


def _layer(network, weights):
    """Return hidden weights and read-out, one row per particle."""
    hidden, readout = network.split(weights)
    return hidden[0][0], readout[0]


def certify(estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Certificate:
    r"""Bound the suboptimality of a fitted mean-field network on given rows.

    The network is compared with the best measure, that is, with networks of any width with the same activation, loss
    and penalty. Let :math:`M = \sup_\theta |\sum_i g_i \sigma(\theta \cdot \varphi_i)|` be the largest correlation of a
    neuron with the residuals. Residuals scaled by at most :math:`\alpha / M` are feasible in the dual problem, which
    bounds the objective from below.

    Parameters
    ----------
    estimator : MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier, or Pipeline that ends with one
        A fitted network.
    X : array-like of shape (n_samples, n_features)
        The rows of the problem, usually the training rows.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    Certificate
        Fields `primal`, `dual`, `gap`, `sup`, `argmax`, `method`, `rigorous` and `imbalance`; `str` gives one sentence.
        If `rigorous`, the gap is certified: M is an eigenvalue for the quadratic activation, and it is found by
        enumeration for piecewise linear activations if the hyperplanes of the rows have few cells (one feature; with
        one output also two features and up to 1000 distinct rows, or three features and up to 140). Otherwise M is the
        largest of many local maxima, and the gap is an estimate. With `temperature`, the gap is that of the proximal
        Gibbs measure of the particles, estimated by sampling.

    Raises
    ------
    ValueError
        If there is no penalty, if weight decay is not a norm of the measure for this activation (without noise), or if
        the loss has no `fenchel_young`.

    Notes
    -----
    The objective is in the units of training: the mean loss of the standardised target plus the penalty. `rigorous`
    means exact up to rounding.

    References
    ----------
    .. [1] F. Bach. "Breaking the curse of dimensionality with convex neural networks". JMLR 18, 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_ltdl import MeanFieldTwoLayerNet, certify
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X = 20 * X[:100, [2, 8]]
    >>> net = MeanFieldTwoLayerNet(alpha=0.1, tol=1e-8, random_state=0).fit(X, y[:100])
    >>> certificate = certify(net, X, y[:100])
    >>> certificate.rigorous, certificate.relative_gap < 1e-2
    (True, True)
    """
    check_is_fitted(estimator)
    if isinstance(estimator, Pipeline):
        X, estimator = (estimator[:-1].transform(X) if len(estimator) > 1 else X), estimator[-1]
    if not isinstance(estimator, (MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier)):
        raise ValueError(
            f"estimator is a {type(estimator).__name__}; certify needs a MeanFieldTwoLayerNet or a "
            "MeanFieldTwoLayerNetClassifier."
        )
    trained = estimator._as_trained()
    table = estimator._table(X, y, sample_weight, trained)[0]
    if isinstance(estimator, MeanFieldTwoLayerNet):
        loss = LOSSES.resolve(estimator.loss)
    else:
        loss = classification_loss(len(estimator.classes_))
    problem = _why_not_certified(estimator, loss, estimator.alpha_)
    if problem:
        raise ValueError(problem)
    layer, data = (trained.start.network, trained.weights), table.data(trained.start)
    return _certificate(*layer, loss, data, estimator.alpha_, estimator.temperature, most_faces=THOROUGH)


def _why_not_certified(estimator, loss, alpha):
    """Return why there is no certificate, or None."""
    activation, name = ACTIVATIONS.resolve(estimator.activation), estimator.activation
    if not (hasattr(loss, "fenchel_young") and has_best_intercept(loss)):
        return f"loss={loss!r} needs fenchel_young and second_derivative for a lower bound; use loss='huber'."
    if alpha == 0:
        return "alpha is 0, and without a penalty there is no lower bound of this kind. Fit with a positive alpha."
    if estimator.temperature > 0 and not getattr(activation, "bounded", False):
        return f"activation={name!r} is not bounded, which a certificate with noise requires; use 'tanh' or 'sigmoid'."
    if estimator.temperature == 0 and not can_certify(activation):
        return (
            f"activation={name!r} has no certificate: weight decay is a norm of the measure only for 'relu', "
            "'leaky_relu', 'abs', 'identity' and 'quadratic'. Use one of these, or a positive temperature with a "
            "bounded activation."
        )
    return None


def _certificate(network, weights, loss, data, alpha, temperature, *, most_faces=QUICK):
    layer = (network.activation, loss, *_layer(network, weights), data, alpha)
    if temperature > 0:
        return certificate_of_gibbs(*layer, temperature)
    return certificate_of_layer(*layer, most_faces=most_faces)
