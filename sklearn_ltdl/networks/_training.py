"""Shared code of the network estimators: from a table to a trained network, and from a network to predictions."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._sklearn import CallbackSupportMixin, checked_rows, fit_tasks, warn
from sklearn_ltdl._targets import Standardisation
from sklearn_ltdl.losses import Squared, best_intercept, has_best_intercept, of_rows, probabilities, total
from sklearn_ltdl.networks._linearized import Tangent, leave_one_out_alpha
from sklearn_ltdl.networks._model import Network, feature_map
from sklearn_ltdl.networks._tables import FULL_BATCH_ROWS

LEAVE_ONE_OUT_ROWS = 1000  # alpha is chosen on at most so many rows
LITTLE = 0.1  # if the kernel explains a smaller share of the target, a weak penalty is also tried
WEAK_PENALTY = 1e-3  # the weak penalty, in units of the kernel's mean diagonal
SURE = 3.0  # standard errors by which it must beat a constant on the validation set
PREDICT_ROWS = 4096  # rows predicted at a time, to bound the memory
FAR_OFF = 100.0  # above so many times the loss of a constant, more steps will not help
DOUBLE_SCALE = 100.0  # from this output scale on, float32 does not resolve the change of the output
CURVATURE = 0.25  # at most p (1 - p), the second derivative in a score of the losses of classes; of squares it is 1


class Start(NamedTuple):
    """Start of training: network, initial weights, whether their output is subtracted, and the penalty's centre."""

    network: Network | Tangent
    weights: tuple
    subtracted: bool
    reference: tuple

    def offset(self, phi):
        """Return what to subtract from the outputs; the outputs of a tangent model lack the initial outputs."""
        linear = isinstance(self.network, Tangent)
        if self.subtracted == linear:
            return np.zeros((len(phi), self.network.split(self.weights)[1].shape[2]))
        if linear:
            return -self.network.network.outputs(self.network.origin, phi)
        return self.network.outputs(self.weights, phi)


def chosen_alpha(alpha, start, loss, data, rng, n_rows=None):
    """Return the penalty in the convention of `_flow`; for 'loo', the one with the smallest leave-one-out error.

    The error is squared. For classes, the penalty of a lazy network is multiplied by the curvature of its loss, so that
    it shrinks the output as much as it would with squares. Where features are learned, this does not hold.

    With many rows, a sample is used; the ridge n alpha of the sample is kept for all rows, of which `data` may be a
    sample themselves. If the kernel explains next to nothing, learned features may explain more. This is tested by
    training a network with a weak penalty and measuring its error on a validation set.
    """
    if alpha != "loo":
        return alpha
    n = len(data.phi)
    some = rng.permutation(n)[:LEAVE_ONE_OUT_ROWS] if n > LEAVE_ONE_OUT_ROWS else slice(None)
    data = data.part(some)
    choice = leave_one_out_alpha(start.network, start.weights, _left_to_learn(start, loss, data))
    if not learns_features(start.network) and loss.of_labels:
        choice = choice._replace(alpha=CURVATURE * choice.alpha)
    weak = WEAK_PENALTY * choice.unit
    learns = isinstance(start.network, Network)  # features, unlike a tangent model
    if learns and choice.explained < LITTLE and weak < choice.alpha and _predicts(start, loss, data, weak, rng):
        return weak
    return choice.alpha * min(1.0, LEAVE_ONE_OUT_ROWS / (n_rows or n))


def learns_features(network):
    """Return whether training leaves the lazy regime: with the mean-field scaling, or with an output scale below 1."""
    return isinstance(network, Network) and (network.scaling.power > 0.5 or network.scaling.scale < 1)


def _left_to_learn(start, loss, data):
    """Return the rows with the initial output subtracted from the target, if the penalty keeps the network near it."""
    stays = start.reference is start.weights
    if start.subtracted or not stays or loss != Squared():  # for classes the output has other units
        return data
    return data._replace(targets=data.targets + data.offset - start.network.outputs(start.weights, data.phi))


def _predicts(start, loss, data, alpha, rng):
    """Return whether a network trained on 3/4 of the rows is significantly better than a constant on the others."""
    from sklearn_ltdl.networks._flow import Accelerated, train

    seen, unseen = (data.part(rows) for rows in np.split(rng.permutation(len(data.phi)), [3 * len(data.phi) // 4]))
    if len(unseen.phi) < 10:
        return False
    trained = train(
        start.network, loss, start.weights, seen, Accelerated(tol=1e-4), alpha=alpha, reference=start.reference
    )
    scores = start.network.outputs(trained.weights, unseen.phi) - unseen.offset + trained.intercept
    constant = _constant_loss(loss, seen)[0]
    gain = of_rows(loss, loss.value(constant + 0 * scores, unseen.targets) - loss.value(scores, unseen.targets))
    mean = unseen.weight @ gain
    return bool(mean > SURE * np.sqrt(unseen.weight**2 @ (gain - mean) ** 2))


def _constant_loss(loss, data):
    """Return the best constant prediction (or the mean target) and its loss."""
    none, share = np.zeros_like(data.targets), data.weight / data.weight.sum()
    constant = share @ data.targets
    if has_best_intercept(loss):
        constant = best_intercept(loss, none, data.targets, share, none[0])
    return constant, float(total(loss, none + constant, data.targets, share))


class Settings(NamedTuple):
    """The estimators' parameters of training, with alpha in the convention of `_flow`."""

    alpha: float
    learning_rate: float
    max_iter: int
    tol: float
    solver: str = "auto"
    solver_of_many_rows: str = "sgd"  # what 'auto' uses
    temperature: float = 0.0
    batch_size: int = 128
    early_stopping: bool | str = "auto"
    validation_fraction: float = 0.1
    preconditioned: bool = False  # steps on all rows; not those of batches


class Given(NamedTuple):
    """The arguments of `fit`, for callbacks and for kernel machines.

    Callbacks see a copy of the estimator with `attributes`, which do not change in training, and with those that do.
    """

    estimator: BaseEstimator
    X: object
    y: object
    sample_weight: object
    attributes: dict

    def callbacks(self, changing, max_subtasks):
        """Return a context that yields a function to call after each block of steps, or None without callbacks.

        `changing` maps the arguments of this function to the attributes that change in training.
        """
        return fit_tasks(
            *self[:4], attributes=lambda *state: self.attributes | changing(*state), max_subtasks=max_subtasks
        )


class Predictor(NamedTuple):
    """A network that can predict, before or after training; an intercept of None is not fitted yet."""

    start: Start
    weights: tuple
    intercept: np.ndarray | None = None
    units: Standardisation | None = None  # units of the target; None for classes

    def scores(self, X):
        """Return the outputs in the units of the loss, in float64 and NumPy, of shape (n_samples, n_outputs)."""
        scores = np.empty((len(X), len(self.intercept)))
        for rows in gen_batches(len(X), PREDICT_ROWS):
            phi = feature_map(X[rows])
            outputs = self.start.network.outputs(self.weights, phi)
            scores[rows] = outputs - self.start.offset(phi) + self.intercept
        return scores

    def attributes(self, weights, intercept, *_):
        """Return the attributes with which an estimator predicts from other weights and another intercept."""
        return {
            "_start": self.start,
            "_weights": tuple(np.array(layer, float) for layer in weights),
            "intercept_": np.array(intercept, float),
        }


def fit_weights(model, loss, data, settings, rng, given, stream=None):
    """Train a network, and warn if training stopped before it settled.

    Parameters
    ----------
    model : Predictor
        The network at the start of training.
    loss : loss object
    data : Data
    settings : Settings
    rng : Generator
    given : Given
    stream : Stream, default=None
        The rows to train on, of which `data` are then a sample.

    Returns
    -------
    trained : Trained
    solver : str
        The solver that ran.
    """
    from sklearn_ltdl.networks import _flow

    start, n, solver = model.start, len(data.phi), settings.solver
    if solver == "auto":
        many = n > FULL_BATCH_ROWS and settings.temperature == 0
        solver = settings.solver_of_many_rows if many else "gd"
    held_out = None
    if settings.early_stopping is True or (settings.early_stopping == "auto" and solver != "gd"):
        if stream is None:
            held_out, data = _split(data, settings.validation_fraction, rng)
        else:
            held_out, data, stream = stream.split(data, settings.validation_fraction)
    rate = settings.learning_rate
    if settings.temperature > 0:
        solver, rule = "langevin", _flow.Noisy(settings.temperature, rate, int(rng.integers(2**31)))
    elif solver == "gd":
        rule = _flow.Accelerated(rate, settings.tol, preconditioned=settings.preconditioned)
    else:
        double = start.network.scaling.scale >= DOUBLE_SCALE
        rounds = None if stream is None else partial(stream.rounds, start)
        rule = _flow.Batched(solver, rate, settings.batch_size, double, int(rng.integers(2**31)), rounds)
    n_rounds = 1 if stream is None else stream.rounds_in_pass
    max_iter = n_rounds * settings.max_iter
    n_blocks = -(-max_iter // _flow.steps_in_a_block(rule, held_out))
    with given.callbacks(model.attributes, n_blocks + 1) as monitor:
        trained = _flow.train(
            start.network,
            loss,
            model.weights,
            data,
            rule,
            intercept=model.intercept,
            held_out=held_out,
            alpha=settings.alpha,
            reference=start.reference,
            max_iter=max_iter,
            monitor=monitor,
        )
    if not trained.settled:
        _warn_of_the_end(trained.losses[-1], _constant_loss(loss, data)[1], settings.max_iter)
    return trained._replace(n_iter=-(-trained.n_iter // n_rounds)), solver


def _split(data, fraction, rng):
    """Return the validation set and the training set."""
    n = len(data.phi)
    size = max(1, int(fraction * n))
    if n - size < 1:
        raise ValueError(
            f"validation_fraction={fraction:g} of {n} distinct rows leaves no rows for training; use "
            "early_stopping=False or more rows."
        )
    some, rest = np.split(rng.permutation(n), [size])
    return data.part(some), data.part(rest)


def _warn_of_the_end(reached, constant, max_iter):
    """Warn that training did not settle, comparing the loss that it reached with the loss of a constant."""
    if reached <= FAR_OFF * constant:
        message = (
            f"Stopped at max_iter={max_iter} while the loss was still falling, at {reached:.3g}. Increase max_iter, or "
            "tol if the predictions are good enough."
        )
    else:
        message = (
            f"Stopped at max_iter={max_iter} with a loss of {reached:.3g}, while a constant prediction has a loss of "
            f"{constant:.3g}: training failed. Scale X, for example with StandardScaler, or lower learning_rate."
        )
    warn(message, ConvergenceWarning)


class _TrainedEstimator(CallbackSupportMixin, BaseEstimator):
    """Base of all network estimators."""

    def _as_trained(self):
        """Return the network before and after training; with mode 'kernel' it has no trained weights."""
        units = self._units.standardisation if hasattr(self, "_units") else None
        return Predictor(self._start, self._weights, self.intercept_, units)


class NetworkRegressor(RegressorMixin, _TrainedEstimator):
    """Base of networks for regression."""

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return predictions in the shape and units of `y`: (n_samples,) or (n_samples, n_outputs).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray
        """
        scores = _scores(self, X)  # raises NotFittedError first
        return self._units.undo(scores)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class NetworkClassifier(ClassifierMixin, _TrainedEstimator):
    """Base of networks for classification."""

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Return the log-odds of the second of two classes, of shape (n_samples,), or scores (n_samples, n_classes).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray
        """
        scores = _scores(self, X)
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return class probabilities of shape (n_samples, n_classes).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray
        """
        return probabilities(_scores(self, X))

    def predict(self, X: ArrayLike) -> np.ndarray:
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


def _scores(estimator, X):
    """Return the outputs in the units of the loss, in float64 and NumPy, of shape (n_samples, n_outputs)."""
    check_is_fitted(estimator)
    X = checked_rows(estimator, X)
    machine = getattr(estimator, "kernel_machine_", None)
    if machine is not None:
        return machine._scores(X)
    return estimator._as_trained().scores(X)
