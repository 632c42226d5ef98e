"""What the estimators of networks share: from a table to a trained network, and from a network to predictions."""

from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._sklearn import CallbackSupportMixin, checked_rows, fit_tasks, warn, warn_of_scales
from sklearn_ltdl._targets import (
    Standardisation,
    checked_labels,
    encode_classes,
    one_hot,
    read_classification,
    read_regression,
    weights_of_classes,
)
from sklearn_ltdl.losses import Squared, best_intercept, has_best_intercept, of_rows, probabilities, total
from sklearn_ltdl.networks._linearized import Tangent, leave_one_out_alpha
from sklearn_ltdl.networks._model import Data, Network, feature_map

FULL_BATCH_ROWS = 2000  # distinct rows up to which every step sees all of them, in float64
LEAVE_ONE_OUT_ROWS = 1000  # at most so many choose alpha
LITTLE = 0.1  # of the target, below which a kernel that explains no more is not the last word on alpha
WEAK_PENALTY = 1e-3  # of the kernel's mean diagonal, tried then
SURE = 3.0  # standard errors by which the rows not seen must be predicted better than by a constant
PREDICT_ROWS = 4096  # at a time, so that memory does not grow with the table
FAR_OFF = 100.0  # times the loss of a constant, above which no number of steps is what is lacking
DOUBLE_SCALE = 100.0  # of the output, from which float32 cannot tell it from the first one
_LARGEST_INPUT = 1e15  # beside which a float64 still shows a 1


class Start(NamedTuple):
    """Of a training run: the network, its first weights, whether their output is subtracted, the penalty's centre."""

    network: Network | Tangent
    weights: tuple
    subtracted: bool
    reference: tuple

    def offset(self, phi):
        """Return what is subtracted from the outputs, zeros if nothing is; a tangent model lacks the first ones."""
        linear = isinstance(self.network, Tangent)
        if self.subtracted == linear:
            return np.zeros((len(phi), self.network.split(self.weights)[1].shape[2]))
        if linear:
            return -self.network.network.outputs(self.network.origin, phi)
        return self.network.outputs(self.weights, phi)


class Table(NamedTuple):
    """Distinct rows of a table: features, targets of shape (n_rows, n_outputs), and positive weights of sum 1."""

    X: np.ndarray
    targets: np.ndarray
    weight: np.ndarray

    def data(self, start):
        """Return the rows as the network of `start` sees them."""
        phi = feature_map(self.X)
        return Data(phi, self.targets, start.offset(phi), self.weight)


class Settings(NamedTuple):
    """How to train, in the words of the estimators; `in_batches` is the solver of 'auto' for many rows."""

    alpha: float
    learning_rate: float
    max_iter: int
    tol: float
    solver: str = "auto"
    in_batches: str = "sgd"
    temperature: float = 0.0
    batch_size: int = 128
    early_stopping: bool | str = "auto"
    validation_fraction: float = 0.1


class NetworkRegressor(CallbackSupportMixin, RegressorMixin, BaseEstimator):
    """What fitted networks for regression do."""

    def predict(self, X) -> np.ndarray:
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


class NetworkClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """What fitted networks for classification do."""

    def decision_function(self, X) -> np.ndarray:
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

    def predict_proba(self, X) -> np.ndarray:
        """Return class probabilities of shape (n_samples, n_classes).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray
        """
        return probabilities(_scores(self, X))

    def predict(self, X) -> np.ndarray:
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


def train(estimator, start, intercept, loss, data, settings, rng, shown):
    """Train a network, and let the user hear of it if it stopped early.

    Parameters
    ----------
    estimator : estimator
        Whose callbacks are told of each block of steps, and are shown it with the weights so far.
    start : Start
    intercept : True or ndarray of shape (n_outputs,)
        Where the intercept starts, True for 0.
    loss : loss object
    data : Data
    settings : Settings
        `alpha` in the convention of `sklearn_ltdl.networks._flow`.
    rng : Generator
    shown : tuple
        X, y and sample weights for the callbacks, as the estimator was given them.

    Returns
    -------
    trained : Trained
    solver : str
        The one that ran.
    """
    from sklearn_ltdl.networks import _flow

    n, solver = len(data.phi), settings.solver
    if solver == "auto":
        solver = "gd" if n <= FULL_BATCH_ROWS or settings.temperature > 0 else settings.in_batches
    held_out = None
    if settings.early_stopping is True or (settings.early_stopping == "auto" and solver != "gd"):
        size = max(1, int(settings.validation_fraction * n))
        if n - size < 1:
            raise ValueError(
                f"validation_fraction={settings.validation_fraction:g} of {n} distinct rows leaves none to train on; "
                "use early_stopping=False or more rows."
            )
        some, rest = np.split(rng.permutation(n), [size])
        held_out, data = data.part(some), data.part(rest)
    n_blocks = -(-settings.max_iter // _flow.steps_in_a_block(solver, held_out))
    with fit_tasks(estimator, *shown, attributes=fitted_attributes, max_subtasks=n_blocks + 1) as monitor:
        shared = {
            "intercept": intercept,
            "alpha": settings.alpha,
            "reference": start.reference,
            "learning_rate": settings.learning_rate,
            "max_iter": settings.max_iter,
            "monitor": monitor,
        }
        run = (start.network, loss, start.weights, data)
        if settings.temperature > 0:
            shared["seed"] = int(rng.integers(2**31))
            trained = _flow.wander(*run, temperature=settings.temperature, **shared)
        elif solver == "gd":
            trained = _flow.descend(*run, held_out=held_out, tol=settings.tol, **shared)
        else:
            shared["seed"] = int(rng.integers(2**31))
            double = start.network.scaling.scale >= DOUBLE_SCALE
            shared |= {"rule": solver, "batch_size": settings.batch_size, "double": double}
            trained = _flow.descend_in_batches(*run, held_out, **shared)
    if not trained.settled:
        reached, constant = trained.losses[-1], _constant_loss(loss, data)[1]
        if not reached <= FAR_OFF * constant:
            warn(
                f"Stopped at max_iter={settings.max_iter} with a loss of {reached:.3g}, where a constant prediction "
                f"has {constant:.3g}: training went astray. Scale X, for example with StandardScaler, or lower "
                "learning_rate.",
                ConvergenceWarning,
            )
        else:
            warn(
                f"Stopped at max_iter={settings.max_iter} with the loss still falling, at {reached:.3g}. Increase "
                "max_iter, or tol if the predictions are good enough.",
                ConvergenceWarning,
            )
    return trained, "langevin" if settings.temperature > 0 else solver


def fitted_attributes(weights, intercept, _):
    """Return what an estimator in training needs to predict."""
    return {"_weights": tuple(np.array(layer, float) for layer in weights), "intercept_": np.array(intercept, float)}


def chosen_alpha(alpha, start, loss, data, rng):
    """Return the penalty in the convention of `_flow`, that of least leave-one-out error for 'loo'.

    Some of many rows choose it; the variance of the noise that ridge regression stands for, n alpha, is that of all.
    A kernel that explains next to nothing is not the last word: features that it does not have may explain more, which
    a network trained with a weak penalty shows on rows that it has not seen.
    """
    if alpha != "loo":
        return alpha
    n = len(data.phi)
    some = rng.permutation(n)[:LEAVE_ONE_OUT_ROWS] if n > LEAVE_ONE_OUT_ROWS else slice(None)
    data = data.part(some)
    left = data
    stays = start.reference is start.weights  # the penalty holds the network at f0, so that y - f0 is left to learn
    if stays and not start.subtracted and loss == Squared():  # of classes f0 has other units
        left = data._replace(targets=data.targets + data.offset - start.network.outputs(start.weights, data.phi))
    choice = leave_one_out_alpha(start.network, start.weights, left)
    weak = WEAK_PENALTY * choice.unit
    learns = isinstance(start.network, Network)  # features, not only a function of the kernel
    if learns and choice.explained < LITTLE and weak < choice.alpha and _predicts(start, loss, data, weak, rng):
        return weak
    return choice.alpha * min(1.0, LEAVE_ONE_OUT_ROWS / n)


def _predicts(start, loss, data, alpha, rng):
    """Return whether a network trained on some rows predicts the others better than a constant, beyond doubt."""
    from sklearn_ltdl.networks._flow import descend

    seen, unseen = (data.part(rows) for rows in np.split(rng.permutation(len(data.phi)), [3 * len(data.phi) // 4]))
    if len(unseen.phi) < 10:
        return False
    trained = descend(
        start.network, loss, start.weights, seen, alpha=alpha, reference=start.reference, max_iter=1000, tol=1e-4
    )
    scores = start.network.outputs(trained.weights, unseen.phi) - unseen.offset + trained.intercept
    constant = _constant_loss(loss, seen)[0]
    gain = of_rows(loss, loss.value(constant + 0 * scores, unseen.targets) - loss.value(scores, unseen.targets))
    mean = unseen.weight @ gain
    return bool(mean > SURE * np.sqrt(unseen.weight**2 @ (gain - mean) ** 2))


def _constant_loss(loss, data):
    """Return the best constant prediction of some rows, or the mean target, and its loss."""
    none, share = np.zeros_like(data.targets), data.weight / data.weight.sum()
    constant = share @ data.targets
    if has_best_intercept(loss):
        constant = best_intercept(loss, none, data.targets, share, none[0])
    return constant, float(total(loss, none + constant, data.targets, share))


def regression_table(estimator, X, y, sample_weight, *, reset=True):
    """Validate a table, and return its distinct rows with the standardised target."""
    X, y, weight = read_regression(estimator, X, y, sample_weight, reset=reset)
    X, Y, weight = _empirical_measure(X, y.reshape(len(y), -1), weight)
    if reset:
        warn_of_scales(X)
        estimator._flat = y.ndim == 1
        estimator._standardisation = Standardisation.of(Y, weight, estimator.normalize_y)
    elif Y.shape[1] != len(estimator._standardisation.mean):
        raise ValueError(
            f"y has {Y.shape[1]} columns; the fit that goes on had {len(estimator._standardisation.mean)}. Give as "
            "many, or start afresh with warm_start=False."
        )
    return _checked(Table(X, estimator._standardisation.apply(Y), weight / weight.sum()))


def classification_table(estimator, X, y, sample_weight, *, class_weight=None, classes=None, reset=True):
    """Validate a table, and return its distinct rows with one column an output."""
    X, y, weight = read_classification(estimator, X, y, sample_weight, reset=reset)
    if not reset and classes is not None and not np.array_equal(np.unique(classes), estimator.classes_):
        raise ValueError(f"classes={classes!r} are not those of the first call, {estimator.classes_.tolist()}.")
    if classes is not None:
        classes = np.unique(checked_labels(classes, "classes"))
    known, codes = encode_classes(y, weight, classes if reset else estimator.classes_)
    weight = weights_of_classes(class_weight, known, codes, weight)
    X, codes, weight = _empirical_measure(X, codes[:, None], weight)
    if reset:
        warn_of_scales(X)
        estimator.classes_ = known
    return _checked(Table(X, one_hot(codes[:, 0].astype(int), len(known)), weight / weight.sum()))


def _checked(table):
    largest = np.abs(table.X).max()
    if largest > _LARGEST_INPUT * np.sqrt(table.X.shape[1]):
        raise ValueError(
            f"X has an entry of size {largest:.1e}, beside which the constant input vanishes in rounding. "
            "Standardise its columns first: make_pipeline(StandardScaler(), ...)."
        )
    return table


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
    X = checked_rows(estimator, X)
    machine = getattr(estimator, "kernel_machine_", None)
    if machine is not None:
        return machine._scores(X)
    start = estimator._start
    scores = np.empty((len(X), len(estimator.intercept_)))
    for rows in gen_batches(len(X), PREDICT_ROWS):
        phi = feature_map(X[rows])
        scores[rows] = start.network.outputs(estimator._weights, phi) - start.offset(phi) + estimator.intercept_
    return scores
