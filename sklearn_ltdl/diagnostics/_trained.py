"""One view of a trained network, whoever trained it: a function of weights, before and after training."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._sklearn import checked_rows as validated_rows
from sklearn_ltdl._sklearn import refuse_masked
from sklearn_ltdl._targets import Standardisation, checked_numbers, checked_target, most_likely
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.diagnostics._perceptron import Perceptron, initial_weights, stacked
from sklearn_ltdl.losses import Logistic, Multinomial, Squared
from sklearn_ltdl.networks import LazyNetClassifier, LazyNetRegressor, MeanFieldTwoLayerNet
from sklearn_ltdl.networks import MeanFieldTwoLayerNetClassifier as MeanFieldClassifier
from sklearn_ltdl.networks._linearized import push, tangent_gram
from sklearn_ltdl.networks._model import Network, feature_map, width_of
from sklearn_ltdl.ntk._solvers import require_memory

FEWEST_ROWS = 10
WRONG_START = (
    "The weights before training do not look like those with which this network started: they agree with the trained "
    "ones no more than other random weights would. Was random_state, or a seed, changed?"
)
_MLP_ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
_OURS = (LazyNetRegressor, LazyNetClassifier, MeanFieldTwoLayerNet, MeanFieldClassifier)


class NetworkFunction(Protocol):
    """What the diagnostics ask of a network: `Dense`, `_jax.Applied` and `_torch.Function` answer.

    Weights, and a move of them, are tuples of arrays, one a layer. The kernel is that of the tangent: entry (i, j) is
    the mean over outputs k of the derivative of output k at row i along the gradient of output k at row j.
    """

    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""

    def kernel(self, weights, X, Z=None):
        """Return the tangent kernel between rows of `X` and `Z`, or of `X`, the mean over outputs."""

    def tangent(self, weights, move, X):
        """Return the derivative of the outputs at `weights` along a move of them."""

    def input_gradients(self, weights, X):
        """Return the gradients of the outputs in the row, (n_samples, n_outputs, n_features); None without any."""

    def neurons(self, weights, X):
        """Return what enters the activations of each hidden layer; None if not known."""

    def slope_and_bend(self, weights, X):
        """Return |Df| ** 2 and |D2f|, operator norms into functions with the mean of squares over rows, or None."""


@dataclass(frozen=True, eq=False)
class Dense:
    """A network of ours, or a perceptron: its gradient is a product of two factors a layer.

    Parameters
    ----------
    network : Network or Perceptron
    """

    network: Network | Perceptron

    def lift(self, X):
        """Return the rows as the network takes them."""
        return feature_map(X) if isinstance(self.network, Network) else np.hstack([X, np.ones((len(X), 1))])

    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""
        return self.network.outputs(weights, self.lift(X))

    def kernel(self, weights, X, Z=None):
        """Return the tangent kernel, the mean over outputs, in units of the step of the flow."""
        return tangent_gram(self.network, weights, self.lift(X), None if Z is None else self.lift(Z))

    def tangent(self, weights, move, X):
        """Return the derivative of the outputs at `weights` along a move of them."""
        return self._unit(weights) * push(self.network.gradient(weights, self.lift(X)), move)

    def input_gradients(self, weights, X):
        """Return the gradients of the outputs in the row, of shape (n_samples, n_outputs, n_features)."""
        above = self.network.gradient(weights, self.lift(X)).hidden[0][0]
        lifted = self._unit(weights) * self.network.w_std * (above @ weights[0]).sum(axis=1).swapaxes(0, 1)
        per_column = self.lift(np.ones((1, X.shape[1])))[0] - self.lift(np.zeros((1, X.shape[1])))[0]
        return lifted[:, :, :-1] * per_column[:-1]

    def neurons(self, weights, X):
        """Return what enters the activations of each hidden layer."""
        return self.network.neurons(weights, self.lift(X))

    def slope_and_bend(self, weights, X):
        """Return |Df| ** 2 and |D2f|, operator norms into functions with the mean of squares over rows."""
        from sklearn_ltdl.diagnostics import _jax

        return _jax.slope_and_bend(self.network, weights, self.lift(X))

    def _unit(self, weights):
        """Return that of the network's gradient."""
        return self.network.scaling.step(width_of(weights)) ** -0.5


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network before and after training.

    Parameters
    ----------
    function : NetworkFunction
        Outputs, tangent kernel and more at any weights.
    before, after : tuple of ndarray
        Weights.
    layers : tuple of str
        Names of the weights.
    n_outputs : int
    kind : str
        What it is, in words.
    classes : ndarray or None
        None for numbers.
    subtracted : bool
        Whether the outputs at the weights before are subtracted.
    intercept : ndarray of shape (n_outputs,) or float
        Added to the outputs after training.
    units : Standardisation or None
        Of the target, as the network sees it; None if as it is.
    """

    function: NetworkFunction
    before: tuple
    after: tuple
    layers: tuple
    n_outputs: int
    kind: str
    classes: np.ndarray | None = None
    subtracted: bool = False
    intercept: np.ndarray | float = 0.0
    units: Standardisation | None = None

    @property
    def move(self):
        """What training changed."""
        return tuple(new - old for new, old in zip(self.after, self.before))

    @property
    def loss(self):
        """That of its training, up to the user's: squared, or the log loss."""
        return Squared() if self.classes is None else Logistic() if self.n_outputs == 1 else Multinomial()

    def scores(self, weights, X):
        """Return the outputs of the model with these weights and the trained intercept."""
        offset = self.function.outputs(self.before, X) if self.subtracted else 0.0
        return self.function.outputs(weights, X) - offset + self.intercept

    def predict(self, weights, X):
        """Return predictions of shape (n_samples,) or (n_samples, n_outputs): numbers, or classes."""
        scores = self.scores(weights, X)
        if self.classes is not None:
            return most_likely(self.classes, scores[:, 0] if self.n_outputs == 1 else scores)
        scores = scores if self.units is None else self.units.undo(scores)
        return scores[:, 0] if self.n_outputs == 1 else scores

    def targets(self, y):
        """Return the target as the network sees it, of shape (n_samples, n_outputs)."""
        if self.classes is None:
            columns = y.reshape(len(y), -1)
            return columns if self.units is None else self.units.apply(columns)
        codes = np.searchsorted(self.classes, y)
        return codes[:, None].astype(float) if self.n_outputs == 1 else np.eye(self.n_outputs)[codes]

    def checked_target(self, y, name="y"):
        """Return `y` as numbers, or as classes that the network knows."""
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if self.classes is None:
            y = _numbers(y, name)
            if y.reshape(len(y), -1).shape[1] != self.n_outputs:
                raise ValueError(f"{name} has shape {y.shape}; outputs of the network a row: {self.n_outputs}.")
            return y
        if y.ndim != 1:
            raise ValueError(
                f"{name} has shape {y.shape}; expected the class of each row, of shape (n_samples,), as in fit: one "
                "column and not one a class."
            )
        unknown = sorted(set(y.tolist()) - set(self.classes.tolist()), key=str)
        if unknown:
            raise ValueError(
                f"{name} has classes {unknown} that the network does not know; it knows {self.classes.tolist()}."
            )
        return y.astype(self.classes.dtype)

    def score(self, y, prediction):
        """Return the R2, or the accuracy."""
        return float(r2_score(y, prediction) if self.classes is None else accuracy_score(y, prediction))


def trained_network(model, X, y, *, before=None, after=None, classes=None, max_rows=None, random_state=0):
    """Return the network of a model, rows of a table as it sees them, their targets, and what there is to note.

    Parameters
    ----------
    model : estimator, Pipeline that ends with one, search, or callable
    X, y : array-like
    before, after, classes : parameters, default=None
    max_rows : int or None, default=None
        At most so many rows, drawn at random.
    random_state : int, RandomState instance or None, default=0

    Returns
    -------
    trained : TrainedNetwork
    X : ndarray of shape (n_samples, n_features)
    y : ndarray
    notes : list of str
    """
    steps, network = unwrapped(model)
    if _is_of_torch(network):
        from sklearn_ltdl.diagnostics import _torch

        if y is None and _torch.is_dataset(X):
            X, y = _torch.of_dataset(X)
        layout = _torch.packed(X if steps is None else steps.transform(X))[1]
    X, y = checked_rows(steps, network, X), checked_column(y, "y")
    check_consistent_length(X, y)
    if isinstance(network, BaseEstimator):
        _refuse(network, after=after, classes=classes)
    elif _is_of_torch(network):
        _refuse(network, after=after)
        network = _module_of(network, before, X, layout)
        classes = network.classes_of(X, y, classes)
    else:
        network = _function_of(network, before, after)
        classes = network.classes_of(X[:1], y, classes)
    rows, notes = some_rows(X.shape[0], max_rows, random_state, "rows")
    X, y = dense(X[rows]), y[rows]
    if isinstance(network, _Function):
        trained = network.trained(X, classes)
        notes = notes + network.notes()
    elif isinstance(network, _OURS):
        _refuse(network, before=before)
        trained = _own(network)
    else:
        trained = _perceptron(network, before)
    y = trained.checked_target(y)
    _check_that_rows_differ(y)
    if not any(layer.any() for layer in trained.move):
        raise ValueError(
            "The weights before and after training are the same, so that there is nothing to report on. If training "
            "works in place, give a copy as `before` (copy.deepcopy)."
        )
    _check_values(trained, X)
    if not isinstance(trained.function, Dense) or isinstance(trained.function.network, Perceptron):
        notes = [*notes, WRONG_START] if _is_wrong_start(trained.before, trained.after) else notes
    return trained, X, y, notes


def _is_wrong_start(before, after, least=3.0):
    """Return whether weights before and after agree by chance only.

    The cosine of independent random weights has the standard deviation size ** -0.5 in a layer. Layers that start at
    a constant, as those of normalisation do, say nothing; nor do networks too small for `least` to be reached by half
    the agreement.
    """
    pairs = [(np.ravel(old), np.ravel(new)) for old, new in zip(before, after)]
    pairs = [(old, new) for old, new in pairs if new.any() and len(np.unique(old)) > 2]
    if not pairs:
        return False
    root = np.sqrt(len(pairs))
    if sum(np.sqrt(len(old)) for old, _ in pairs) / root < 2 * least:
        return False
    z = [np.sqrt(len(old)) * (old @ new) / (np.linalg.norm(old) * np.linalg.norm(new)) for old, new in pairs]
    return sum(z) / root < least


def _check_that_rows_differ(y):
    if y.dtype.kind == "f":
        constant = np.ptp(y, axis=0).max() <= 10 * np.finfo(float).eps * np.abs(y).max()
    else:
        constant = np.all(y == y[0])
    if constant:
        raise ValueError(
            f"y is {y[0]!s} in all {len(y)} rows, up to rounding; whether a kernel predicts the same shows on targets "
            "that differ. Give more rows."
        )


def some_rows(n, max_rows, random_state, what):
    """Return at most so many of n rows, drawn at random, and notes."""
    if max_rows is None:
        return slice(None), []
    require_memory(min(n, max_rows), 8, "Use a smaller max_rows.")
    if n <= max_rows:
        return slice(None), []
    rows = np.sort(check_random_state(random_state).permutation(n)[:max_rows])
    return rows, [f"{max_rows} of {n} {what}, drawn at random, take part (max_rows={max_rows})."]


def _check_values(trained, X):
    """Refuse a network whose outputs or tangent kernel at the rows are not finite, or whose kernel is 0."""
    rng = np.random.default_rng(0)
    direction = tuple(rng.standard_normal(layer.shape) for layer in trained.after)
    for weights, when in ((trained.before, "before"), (trained.after, "after")):
        slopes = trained.function.tangent(weights, direction, X)
        with np.errstate(over="ignore"):
            size = np.square(trained.function.outputs(weights, X)).sum() + np.square(slopes).sum()
        if not np.isfinite(size):
            raise ValueError(
                f"The outputs of the network {when} training, or their squares, are not finite at these rows. Check "
                "its weights, and standardise X."
            )
        if not slopes.any():
            raise ValueError(
                f"The outputs of the network {when} training do not change with its weights at these rows, so that "
                "it has no tangent kernel. Check what is differentiated, or a start of zeros."
            )


def unwrapped(model):
    """Return the steps before a network as one transformer, None without any, and the network."""
    steps = []
    while isinstance(model, (Pipeline, GridSearchCV, RandomizedSearchCV)) or hasattr(model, "best_estimator_"):
        if isinstance(model, Pipeline):
            check_is_fitted(model)
            steps += [(f"steps{len(steps)}", model[:-1])] if len(model) > 1 else []
            model = model[-1]
        else:
            if not hasattr(model, "best_estimator_"):
                raise ValueError(f"This {type(model).__name__} has no best_estimator_. Fit it, with refit=True.")
            model = model.best_estimator_
    if any(kind.__module__.partition(".")[0] == "skorch" for kind in type(model).__mro__):
        if not getattr(model, "initialized_", False):
            raise ValueError(f"This {type(model).__name__} of skorch is not fitted. Call fit first.")
        model = model.module_
    if _is_of_torch(model):
        return _joined(steps), model
    known = (*_OURS, MLPRegressor, MLPClassifier)
    if isinstance(model, known):
        check_is_fitted(model)
    elif isinstance(model, (type, BaseEstimator)) or not callable(model):
        what = (
            f"the class {model.__name__}, not a fitted one" if isinstance(model, type) else f"a {type(model).__name__}"
        )
        raise ValueError(
            f"model is {what}; a report is known for fitted networks of sklearn_ltdl, for MLPRegressor and "
            "MLPClassifier, for modules of PyTorch and nets of skorch, for pipelines that end with one, and for a "
            "function apply_fn(parameters, X) of JAX with `before` and `after`."
        )
    return _joined(steps), model


def _joined(steps):
    return None if not steps else steps[0][1] if len(steps) == 1 else Pipeline(steps)


def _is_of_torch(model):
    """Return whether a model is a module of PyTorch, without importing it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    door = sys.modules.get("sklearn_ltdl.diagnostics._torch")
    return isinstance(model, torch.nn.Module) or (door is not None and isinstance(model, door.TorchNetwork))


def checked_rows(steps, network, X, name="X", fewest=FEWEST_ROWS):
    """Return the rows as a network sees them, sparse where the steps before it make them so."""
    X = X if steps is None else steps.transform(X)
    if _is_of_torch(network):
        from sklearn_ltdl.diagnostics import _torch

        X = _torch.packed(X, name)[0]
    elif isinstance(network, BaseEstimator):
        X = validated_rows(network, X, accept_sparse="csr")
    else:
        refuse_masked(X, name)
        X = check_array(X, input_name=name, dtype=np.float64, accept_sparse="csr")
    if X.shape[0] < fewest:
        raise ValueError(f"{name} has {X.shape[0]} rows; at least {fewest} are needed to compare predictions.")
    return X


def checked_column(y, name):
    """Return a target as an array."""
    if y is None:
        raise ValueError(f"{name} is None; expected the target of each row.")
    return checked_target(y, name)


def dense(X):
    """Return a table as an array."""
    return X.toarray() if hasattr(X, "toarray") else X


def _numbers(y, name):
    try:
        return checked_numbers(y, name)
    except ValueError as error:
        raise ValueError(f"{name} must be finite numbers, as the network predicts: {error}") from error


def _refuse(model, **parameters):
    for name, value in parameters.items():
        if value is not None:
            raise ValueError(f"{name} is for functions of JAX; a {type(model).__name__} brings its own. Leave it out.")


def _own(model):
    trained = model._as_trained()
    start = trained.start
    if not isinstance(start.network, Network) or getattr(model, "kernel_machine_", None) is not None:
        raise ValueError(
            f"This {type(model).__name__} has mode={model.mode!r}: it is a kernel machine by construction, no network "
            "that was trained. Use mode='nonlinear'."
        )
    if getattr(model, "solver_", None) == "frank_wolfe":
        raise ValueError(
            "solver='frank_wolfe' adds neurons where they are best: there are no initial weights to compare with. Use "
            "a solver that moves neurons, such as 'auto' or 'gd'."
        )
    layers, readout = start.network.split(start.weights)
    hidden = [f"hidden {k + 1}" for k in range(len(layers))]
    classes = getattr(model, "classes_", None)
    return TrainedNetwork(
        Dense(start.network),
        start.weights,
        trained.weights,
        tuple(hidden if start.network.readout is not None else [*hidden, "read-out"]),
        readout.shape[2],
        type(model).__name__,
        classes,
        start.subtracted,
        trained.intercept,
        trained.units,
    )


def _perceptron(model, before):
    if len(model.coefs_) == 1:
        raise ValueError(
            "hidden_layer_sizes=() is a linear model: there is no hidden layer whose regime is a question."
        )
    if model.out_activation_ == "exp" or (model.out_activation_ == "logistic" and model.n_outputs_ > 1):
        what = "loss='poisson'" if model.out_activation_ == "exp" else "several labels a row"
        raise ValueError(f"{what} is not among the tasks that are compared: numbers with a squared loss, and classes.")
    network = Perceptron(ACTIVATIONS[_MLP_ACTIVATIONS[model.activation]])
    first = initial_weights(model) if before is None else _checked_before(before, model)
    names = [f"hidden {k + 1}" for k in range(len(model.coefs_) - 1)]
    return TrainedNetwork(
        Dense(network),
        stacked(*first),
        stacked(model.coefs_, model.intercepts_),
        (*names, "read-out"),
        model.n_outputs_,
        type(model).__name__,
        getattr(model, "classes_", None),
    )


def _checked_before(before, model):
    wanted = [part.shape for part in (*model.coefs_, *model.intercepts_)]
    try:
        coefs, intercepts = ([np.asarray(part, dtype=float) for part in parts] for parts in before)
        found = [part.shape for part in (*coefs, *intercepts)]
    except (TypeError, ValueError):
        found = type(before).__name__
    if found != wanted:
        raise ValueError(f"before must be (coefs, intercepts) with arrays of shapes {wanted}; got {found}.")
    return coefs, intercepts


class _Function(NamedTuple):
    """A function of JAX, or a module of PyTorch, and its weights before and after training."""

    applied: NetworkFunction
    before: tuple
    after: tuple
    names: tuple
    kind: str = "function of JAX"
    call: str = "apply_fn(parameters, X)"
    advice: str = (
        "Its parameters must be those of `before` and `after`, its formulas those of jax.numpy, and its result an "
        "array of shape (n_samples,) or (n_samples, n_outputs)."
    )

    def notes(self):
        """Return what there is to note of how the function is computed."""
        return self.applied.describe() if hasattr(self.applied, "describe") else []

    def classes_of(self, X, y, classes):
        """Return the classes whose scores the outputs are, or None if they are numbers."""
        n_outputs = self._outputs(self.after, X).shape[1]
        return _guessed_classes(y, n_outputs) if classes is None else _checked_classes(classes, n_outputs)

    def trained(self, X, classes):
        """Return the TrainedNetwork, if the function works row by row."""
        for weights, when in ((self.before, "before"), (self.after, "after")):
            outputs = self._outputs(weights, X)
            alone = self.applied.outputs_of_rows(weights, X)
            if np.abs(outputs - alone).max() > 1e-6 * np.abs(outputs).max():
                raise ValueError(
                    f"{self.call.partition('(')[0]} must work row by row: with the parameters {when} training it "
                    "returns other numbers of a row alone than of that row among all. Fix its batch statistics, and "
                    "leave out what is random."
                )
        n_outputs = outputs.shape[1]
        return TrainedNetwork(self.applied, self.before, self.after, self.names, n_outputs, self.kind, classes)

    def _outputs(self, weights, X):
        try:
            self.applied.check(weights, dense(X))
            return self.applied.outputs(weights, dense(X))
        except Exception as error:
            raise ValueError(
                f"{self.call} failed for X of shape {X.shape} in float64, or cannot be differentiated: {error}. "
                f"{self.advice}"
            ) from error


def _module_of(model, before, X, layout):
    """Return the _Function of a module of PyTorch, or of a TorchNetwork."""
    from sklearn_ltdl.diagnostics import _torch

    if not isinstance(model, _torch.TorchNetwork):
        model = _torch.TorchNetwork(model, before)
    elif before is not None:
        raise ValueError("before is part of the TorchNetwork. Leave it out here.")
    advice = (
        "The module is called on rows as they are given, real numbers in its own precision. Give rows as it takes "
        "them, or say how to call it by TorchNetwork(module, before, forward=)."
    )
    kind = type(_torch.bare(model.module)).__name__
    return _Function(*model.function(X, layout), f"{kind} of PyTorch", "The module(X)", advice)


def _function_of(apply_fn, before, after):
    """Return the _Function of a function of JAX."""
    from sklearn_ltdl.diagnostics import _jax

    if before is None or after is None:
        raise ValueError(
            "A function of JAX needs its parameters before and after training: give `before` and `after`, trees of "
            "arrays such that apply_fn(before, X) and apply_fn(after, X) are the outputs."
        )
    first, names, tree = _jax.leaves_of(before)
    last, _, other = _jax.leaves_of(after)
    if tree != other:
        raise ValueError(f"before and after must be trees of one structure; got {tree} and {other}.")
    real = [_jax.is_real(old) or _jax.is_real(new) for old, new in zip(first, last)]
    if isinstance(after, Mapping) and "params" in after:  # Flax: other collections, as batch_stats, are no weights
        real = [is_real and name.startswith("params.") for name, is_real in zip(names, real)]
    fixed = tuple(None if is_real else leaf for leaf, is_real in zip(last, real))
    weights = [(name, old, new) for name, old, new, is_real in zip(names, first, last, real) if is_real]
    for name, old, new in zip(names, first, last):
        if _jax.is_complex(old) or _jax.is_complex(new):
            raise ValueError(f"{name} is complex; a report needs real weights. Split it into its two parts.")
    for name, old, new in weights:
        if np.shape(old) != np.shape(new):
            raise ValueError(
                f"{name} has shape {np.shape(old)} before training and {np.shape(new)} after; they must be equal."
            )
        if not (np.all(np.isfinite(old)) and np.all(np.isfinite(new))):
            raise ValueError(f"{name} is not finite, before or after training; a report needs all its weights.")
    if sum(np.size(new) for _, _, new in weights) == 0:
        raise ValueError("before has no parameters of real numbers; a network needs some that training moves.")
    names, first, last = zip(*weights)
    as_float = (tuple(np.asarray(leaf, dtype=float) for leaf in leaves) for leaves in (first, last))
    return _Function(_jax.Applied(apply_fn, tree, fixed), *as_float, names)


def _checked_classes(classes, n_outputs):
    classes = check_array(classes, ensure_2d=False, dtype=None, input_name="classes")
    if classes.ndim != 1 or len(classes) != max(2, n_outputs) or np.any(classes[1:] <= classes[:-1]):
        raise ValueError(
            f"classes must be the {max(2, n_outputs)} classes of the {n_outputs} outputs of the network, different and "
            f"in increasing order; got {classes.tolist()}."
        )
    return classes


def _guessed_classes(y, n_outputs):
    """Return the classes whose scores so many outputs are, or None if they predict numbers."""
    if y.ndim == 2 and y.shape[1] == n_outputs > 1:
        return None
    y = y.ravel()
    found = sorted(set(y.tolist()), key=lambda label: (str(type(label)), label))
    if n_outputs == 1 and y.dtype.kind in "iuf" and (y.dtype.kind == "f" or len(found) != 2):
        return None
    if n_outputs > 1 and y.dtype.kind in "iu" and found[0] == 0 and found[-1] < n_outputs:
        return np.arange(n_outputs)
    if len(found) != max(2, n_outputs) or (n_outputs == 1 and y.dtype.kind in "iu"):
        raise ValueError(
            f"Which classes the outputs of the network stand for, or whether they are numbers, cannot be told: outputs "
            f"a row {n_outputs}, distinct values in y {len(found)}. Give all classes, in increasing order, as "
            "classes=, or numbers of type float with a column an output."
        )
    return np.array(found)
