"""A common view of trained networks: a function of weights, with the weights before and after training."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from sklearn.metrics import accuracy_score, mean_squared_error, r2_score

from sklearn_ltdl._targets import Standardisation, checked_numbers, most_likely
from sklearn_ltdl.diagnostics._perceptron import Perceptron
from sklearn_ltdl.losses import Logistic, Multinomial, Squared
from sklearn_ltdl.networks._linearized import push, tangent_gram
from sklearn_ltdl.networks._model import Network, feature_map, width_of

MANY_OUTPUTS = 200  # with more outputs, random sign combinations replace them
N_SIGNS = 5
BY_PLAIN_GRADIENTS = (
    "A weight of this network is used outside of its layer, so the kernel is computed from plain gradients, which "
    "takes longer."
)


def directions(n_outputs):
    """Return combinations of outputs (m, n) whose gradients' inner products add up to those of all outputs."""
    if n_outputs <= MANY_OUTPUTS:
        return np.eye(n_outputs)
    rng = np.random.default_rng(0)
    return rng.choice([-1.0, 1.0], size=(N_SIGNS, n_outputs)) / np.sqrt(N_SIGNS)


def notes_on_outputs(n_outputs):
    """Return a note if there are too many outputs."""
    return [f"The kernels use {N_SIGNS} random combinations of the {n_outputs} outputs."] * (n_outputs > MANY_OUTPUTS)


class NetworkFunction(Protocol):
    """Interface that the diagnostics need; `Dense`, `_jax.Applied` and `_torch_function.Function` implement it.

    Weights, and changes of weights, are tuples of arrays, one per layer. Entry (i, j) of the tangent kernel is the mean
    over outputs k of the derivative of output k at row i along the gradient of output k at row j.
    """

    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""

    def kernel(self, weights, X, Z=None):
        """Return the tangent kernel between rows of `X` and `Z` (default: `X`), averaged over outputs."""

    def tangent(self, weights, move, X):
        """Return the derivative of the outputs at `weights` along a change of the weights."""

    def input_gradients(self, weights, X):
        """Return input gradients, (n_samples, n_outputs, n_features); None if there are none."""

    def neurons(self, weights, X):
        """Return the pre-activations of each hidden layer, or None if they are unknown."""

    def slope_and_bend(self, weights, X):
        """Return |Df| ** 2 and |D2f|, operator norms with the mean square over rows, or None."""


@dataclass(frozen=True, eq=False)
class Dense:
    """A network of this package, or a perceptron; its gradient is a product of two factors per layer.

    Parameters
    ----------
    network : Network or Perceptron
    """

    network: Network | Perceptron

    def lift(self, X):
        """Return the rows as inputs of the network."""
        return feature_map(X) if isinstance(self.network, Network) else np.hstack([X, np.ones((len(X), 1))])

    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""
        return self.network.outputs(weights, self.lift(X))

    def kernel(self, weights, X, Z=None):
        """Return the tangent kernel between rows of `X` and `Z` (default: `X`), averaged over outputs."""
        gram = tangent_gram(self.network, weights, self.lift(X), None if Z is None else self.lift(Z))
        return self._unit(weights) ** 2 * gram

    def tangent(self, weights, move, X):
        """Return the derivative of the outputs at `weights` along a change of the weights."""
        return self._unit(weights) * push(self.network.gradient(weights, self.lift(X)), move)

    def input_gradients(self, weights, X):
        """Return the gradients of the outputs with respect to the inputs, (n_samples, n_outputs, n_features)."""
        above = self.network.gradient(weights, self.lift(X)).hidden[0][0]
        lifted = self._unit(weights) * self.network.w_std * (above @ weights[0]).sum(axis=1).swapaxes(0, 1)
        per_column = self.lift(np.ones((1, X.shape[1])))[0] - self.lift(np.zeros((1, X.shape[1])))[0]
        return lifted[:, :, :-1] * per_column[:-1]

    def neurons(self, weights, X):
        """Return the pre-activations of each hidden layer."""
        return self.network.neurons(weights, self.lift(X))

    def slope_and_bend(self, weights, X):
        """Return |Df| ** 2 and |D2f|, operator norms with the mean square over rows."""
        from sklearn_ltdl.diagnostics import _jax

        return _jax.slope_and_bend(self.network, weights, self.lift(X))

    def _unit(self, weights):
        """Return the unit of the network's gradient."""
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
        Name of the model for messages.
    classes : ndarray or None
        Classes; None for numeric targets.
    subtracted : bool
        Whether the outputs at the initial weights are subtracted.
    intercept : ndarray of shape (n_outputs,) or float
        Intercept that is added to the outputs.
    units : Standardisation or None
        Standardisation of the target; None if it is not standardised.
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
        """Change of the weights in training."""
        return tuple(new - old for new, old in zip(self.after, self.before))

    @property
    def loss(self):
        """Loss of the network's training: squared loss or log loss, unless the user chose another loss."""
        return Squared() if self.classes is None else Logistic() if self.n_outputs == 1 else Multinomial()

    def scores(self, weights, X):
        """Return the outputs of the model with the given weights and the trained intercept."""
        offset = self.function.outputs(self.before, X) if self.subtracted else 0.0
        return self.function.outputs(weights, X) - offset + self.intercept

    def predict(self, weights, X):
        """Return predictions of shape (n_samples,) or (n_samples, n_outputs): numbers, or classes."""
        return self.of_scores(self.scores(weights, X))

    def linear_scores(self, X):
        """Return the outputs of the linear model around the initial weights, evaluated at the trained weights."""
        return self.scores(self.before, X) + self.function.tangent(self.before, self.move, X)

    def of_scores(self, scores):
        """Convert outputs to predictions."""
        if self.classes is not None:
            return most_likely(self.classes, scores[:, 0] if self.n_outputs == 1 else scores)
        scores = scores if self.units is None else self.units.undo(scores)
        return scores[:, 0] if self.n_outputs == 1 else scores

    def targets(self, y):
        """Convert the target to the units of the network, of shape (n_samples, n_outputs)."""
        if self.classes is None:
            columns = y.reshape(len(y), -1)
            return columns if self.units is None else self.units.apply(columns)
        codes = np.searchsorted(self.classes, y)
        return codes[:, None].astype(float) if self.n_outputs == 1 else np.eye(self.n_outputs)[codes]

    def checked_target(self, y, name="y"):
        """Return `y` as numbers, or as classes of the network."""
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if self.classes is None:
            y = _numbers(y, name)
            if y.reshape(len(y), -1).shape[1] != self.n_outputs:
                raise ValueError(f"{name} has shape {y.shape}; the network has {self.n_outputs} outputs per row.")
            return y
        if y.ndim != 1:
            raise ValueError(
                f"{name} has shape {y.shape}; expected the class of each row, of shape (n_samples,), not one column "
                "per class."
            )
        unknown = sorted(set(y.tolist()) - set(self.classes.tolist()), key=str)
        if unknown:
            raise ValueError(
                f"{name} has classes {unknown} that the network does not know; it knows {self.classes.tolist()}."
            )
        return y.astype(self.classes.dtype)

    def mean_loss(self, weights, X, y):
        """Return the mean squared error, or the log loss."""
        if self.classes is None:
            return float(mean_squared_error(y, self.predict(weights, X)))
        return float(np.mean(self.loss.value(self.scores(weights, X), self.targets(y))))

    def score(self, y, prediction):
        """Return the R2, or the accuracy."""
        return float(r2_score(y, prediction) if self.classes is None else accuracy_score(y, prediction))


def _numbers(y, name):
    try:
        return checked_numbers(y, name)
    except ValueError as error:
        raise ValueError(f"{name} must be finite numbers, as the network predicts: {error}") from error


def dense(X):
    """Return a table as an array."""
    return X.toarray() if hasattr(X, "toarray") else X
