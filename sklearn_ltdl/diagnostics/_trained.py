"""One view of a trained network, whoever trained it: a function of weights, before and after training."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._targets import Standardisation, classification_loss, most_likely, one_hot
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.diagnostics._perceptron import Perceptron, initial_weights, stacked
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.networks import LazyNetClassifier, LazyNetRegressor, MeanFieldTwoLayerNet
from sklearn_ltdl.networks import MeanFieldTwoLayerNetClassifier as MeanFieldClassifier
from sklearn_ltdl.networks._linearized import push, tangent_gram
from sklearn_ltdl.networks._model import Network, feature_map, width_of

_MLP_ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


class Function(ABC):
    """A network as a function of weights, a tuple of arrays, and rows."""

    @abstractmethod
    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""

    @abstractmethod
    def kernel(self, weights, X, Z=None):
        """Return the tangent kernel between rows of `X` and `Z`, or of `X`, the mean over outputs."""

    @abstractmethod
    def tangent(self, weights, move, X):
        """Return the derivative of the outputs at `weights` along a move of them."""

    @abstractmethod
    def input_gradients(self, weights, X):
        """Return the gradients of the outputs in the row, of shape (n_samples, n_outputs, n_features)."""

    @abstractmethod
    def neurons(self, weights, X):
        """Return what enters the activations of each hidden layer, or None if that is not known."""

    @abstractmethod
    def slope_and_bend(self, weights, X):
        """Return |Df|^2 and |D2f|, operator norms into functions with the mean of squares over rows."""


@dataclass(frozen=True)
class Dense(Function):
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
        unit = self.network.scaling.step(width_of(weights)) ** -0.5
        return unit * push(self.network.gradient(weights, self.lift(X)), move)

    def input_gradients(self, weights, X):
        """Return the gradients of the outputs in the row."""
        unit = self.network.scaling.step(width_of(weights)) ** -0.5
        above = self.network.gradient(weights, self.lift(X)).hidden[0][0]
        in_phi = unit * self.network.w_std * (above @ weights[0]).sum(axis=1).swapaxes(0, 1)
        return in_phi[:, :, :-1] * (self.lift(np.ones((1, X.shape[1])))[0, 0])

    def neurons(self, weights, X):
        """Return what enters the activations of each hidden layer."""
        return self.network.neurons(weights, self.lift(X))

    def slope_and_bend(self, weights, X):
        """Return |Df|^2 and |D2f|."""
        from sklearn_ltdl.diagnostics import _jax

        return _jax.slope_and_bend(self.network, weights, self.lift(X))


@dataclass(frozen=True)
class Opaque(Function):
    """A network of which only a function is known.

    Parameters
    ----------
    applied : Applied
    """

    applied: object

    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""
        from sklearn_ltdl.diagnostics import _jax

        return _jax.outputs(self.applied, weights, X)

    def kernel(self, weights, X, Z=None):
        """Return the tangent kernel between rows of `X` and `Z`, or of `X`, the mean over outputs."""
        from sklearn_ltdl.diagnostics import _jax

        return _jax.tangent_gram(self.applied, weights, X, Z)

    def tangent(self, weights, move, X):
        """Return the derivative of the outputs at `weights` along a move of them."""
        from sklearn_ltdl.diagnostics import _jax

        return _jax.tangent_outputs(self.applied, weights, move, X)

    def input_gradients(self, weights, X):
        """Return the gradients of the outputs in the row."""
        from sklearn_ltdl.diagnostics import _jax

        return _jax.input_gradients(self.applied, weights, X)

    def neurons(self, weights, X):
        """Return None: a function does not tell."""

    def slope_and_bend(self, weights, X):
        """Return |Df|^2 and |D2f|."""
        from sklearn_ltdl.diagnostics import _jax

        return _jax.slope_and_bend(self.applied, weights, X)


@dataclass(frozen=True)
class Trained:
    """A network before and after training.

    Parameters
    ----------
    function : Function
    before, after : tuple of ndarray
        Weights.
    layers : tuple of str
        Names of the weights.
    subtracted : bool
        Whether the outputs at the weights before are subtracted.
    intercept : ndarray of shape (n_outputs,) or float
        Added to the outputs after training.
    classes : ndarray or None
        None for numbers.
    units : Standardisation
        Of the target, as the network sees it.
    kind : str
        What it is, in words.
    """

    function: Function
    before: tuple
    after: tuple
    layers: tuple
    subtracted: bool
    intercept: np.ndarray | float
    classes: np.ndarray | None
    units: Standardisation
    kind: str

    @property
    def move(self):
        """What training changed."""
        return tuple(new - old for new, old in zip(self.after, self.before))

    @property
    def loss(self):
        """That of its training, up to the user's: squared, or the log loss."""
        return Squared() if self.classes is None else classification_loss(len(self.classes))

    def scores(self, weights, X):
        """Return the outputs of the model with these weights and the trained intercept."""
        offset = self.function.outputs(self.before, X) if self.subtracted else 0.0
        return self.function.outputs(weights, X) - offset + self.intercept

    def predict(self, weights, X):
        """Return predictions of shape (n_samples,) or (n_samples, n_outputs): numbers, or classes."""
        scores = self.scores(weights, X)
        if self.classes is None:
            return self.units.undo(scores).reshape(len(X), *(() if scores.shape[1] == 1 else (-1,)))
        return most_likely(self.classes, scores[:, 0] if scores.shape[1] == 1 else scores)

    def targets(self, y):
        """Return the target as the network sees it, of shape (n_samples, n_outputs)."""
        if self.classes is None:
            return self.units.apply(np.asarray(y, dtype=float).reshape(len(y), -1))
        return one_hot(np.searchsorted(self.classes, y), len(self.classes))

    def score(self, y, prediction):
        """Return the R2, or the accuracy."""
        return float(r2_score(y, prediction) if self.classes is None else accuracy_score(y, prediction))


def trained_network(model, X, y, *, before=None, after=None):
    """Return the network of a model, and the table as it sees it.

    Parameters
    ----------
    model : estimator, Pipeline that ends with one, or callable
    X, y : array-like
    before, after : parameters, default=None

    Returns
    -------
    trained : Trained
    X : ndarray of shape (n_samples, n_features)
    y : ndarray
    """
    steps, model = unwrapped(model)
    X = X if steps is None else steps.transform(X)
    X = check_array(X, dtype=np.float64, input_name="X")
    y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
    check_consistent_length(X, y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if isinstance(model, (LazyNetRegressor, LazyNetClassifier, MeanFieldTwoLayerNet, MeanFieldClassifier)):
        _refuse(model, before=before, after=after)
        trained = _own(model)
    elif isinstance(model, (MLPRegressor, MLPClassifier)):
        _refuse(model, after=after)
        trained = _perceptron(model, before)
    elif callable(model):
        trained = _applied(model, X, y, before, after)
    else:
        raise ValueError(
            f"model is a {type(model).__name__}; a report is known for the networks of sklearn_ltdl, for MLPRegressor "
            "and MLPClassifier, and for a function apply_fn(parameters, X) of JAX with `before` and `after`."
        )
    n_features = getattr(model, "n_features_in_", X.shape[1])
    if X.shape[1] != n_features:
        raise ValueError(f"X has {X.shape[1]} columns; the network was trained on {n_features}.")
    if trained.classes is None:
        y = np.asarray(y, dtype=float)
        n_outputs = trained.function.outputs(trained.after, X[:1]).shape[1]
        if y.reshape(len(y), -1).shape[1] != n_outputs:
            raise ValueError(f"y has {y.reshape(len(y), -1).shape[1]} columns; the network has {n_outputs} outputs.")
    else:
        unknown = np.setdiff1d(y, trained.classes)
        if len(unknown):
            raise ValueError(
                f"y has classes {unknown.tolist()} that the network does not know; it knows {trained.classes.tolist()}."
            )
    return trained, X, y


def unwrapped(model):
    """Return the steps before a network, None without any, and the network."""
    model = getattr(model, "best_estimator_", model)
    if not isinstance(model, Pipeline):
        return None, model
    check_is_fitted(model)
    return (model[:-1] if len(model) > 1 else None), model[-1]


def _refuse(model, **parameters):
    for name, value in parameters.items():
        if value is not None:
            raise ValueError(f"{name} is for functions of JAX; a {type(model).__name__} brings its own. Leave it out.")


def _own(model):
    check_is_fitted(model)
    start = model._start
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
    hidden = [f"hidden {k + 1}" for k in range(len(start.network.split(start.weights)[0]))]
    names = hidden if start.network.readout is not None else [*hidden, "read-out"]
    classes = getattr(model, "classes_", None)
    units = Standardisation.of(np.zeros((1, 1)), np.ones(1), False) if classes is not None else model._standardisation
    return Trained(
        Dense(start.network),
        start.weights,
        model._weights,
        tuple(names),
        start.subtracted,
        model.intercept_,
        classes,
        units,
        type(model).__name__,
    )


def _perceptron(model, before):
    check_is_fitted(model)
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
    return Trained(
        Dense(network),
        stacked(*first),
        stacked(model.coefs_, model.intercepts_),
        (*names, "read-out"),
        False,
        0.0,
        getattr(model, "classes_", None),
        Standardisation.of(np.zeros((1, 1)), np.ones(1), False),
        type(model).__name__,
    )


def _checked_before(before, model):
    coefs, intercepts = before
    shapes = [np.shape(part) for part in (*coefs, *intercepts)]
    wanted = [part.shape for part in (*model.coefs_, *model.intercepts_)]
    if shapes != wanted:
        raise ValueError(f"before must be (coefs, intercepts) with arrays of shapes {wanted}; got {shapes}.")
    return coefs, intercepts


def _applied(apply_fn, X, y, before, after):
    """Return the network of a function of JAX."""
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
    for name, old, new in zip(names, first, last):
        if old.shape != new.shape:
            raise ValueError(f"{name} has shape {old.shape} before training and {new.shape} after; they must be equal.")
    if sum(leaf.size for leaf in first) == 0:
        raise ValueError("before has no parameters; a network needs some that training moves.")
    function = Opaque(_jax.Applied(apply_fn, tree))
    try:
        outputs = function.outputs(last, X)
    except Exception as error:
        raise ValueError(
            f"apply_fn(after, X) failed for X of shape {X.shape} in float64: {error}. Its parameters must be those of "
            "`before` and `after`, and its result an array of shape (n_samples,) or (n_samples, n_outputs)."
        ) from error
    if not np.all(np.isfinite(outputs)):
        raise ValueError("apply_fn(after, X) is not finite; check the parameters after training.")
    if not np.allclose(outputs[:2], function.outputs(last, X[:2]), rtol=1e-6, atol=1e-6 * np.abs(outputs).max()):
        raise ValueError(
            "apply_fn must work row by row: on two rows alone it returns other numbers for them than among all. Fix "
            "its batch statistics, and leave out what is random."
        )
    classes = _classes(y, outputs.shape[1])
    units = Standardisation.of(np.zeros((1, 1)), np.ones(1), False)
    return Trained(function, first, last, names, False, 0.0, classes, units, "function of JAX")


def _classes(y, n_outputs):
    """Return the classes whose scores so many outputs are, or None if they predict numbers."""
    found = np.unique(y)
    if type_of_target(y) not in ("binary", "multiclass"):
        return None
    if n_outputs > 1 and found.dtype.kind in "iu" and found.min() >= 0 and found.max() < n_outputs:
        return np.arange(n_outputs)
    return found if len(found) == max(2, n_outputs) else None
