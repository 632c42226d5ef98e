"""Scikit-learn's multi-layer perceptron as a function of its weights, and its initial weights."""

import warnings
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning

from sklearn_ltdl.networks._model import Gradient
from sklearn_ltdl.scalings import Scaling


class Perceptron(NamedTuple):
    """A multi-layer perceptron with biases, in the interface of `sklearn_ltdl.networks._model.Network`.

    Weights have shape (1, fan_out, fan_in + 1) for each hidden layer and (1, fan_in + 1, n_outputs) for the last layer,
    with biases at the end. `phi` is the table with a column of ones appended. Outputs are those before softmax or
    sigmoid.

    Parameters
    ----------
    activation : activation object
    """

    activation: NamedTuple
    scaling = Scaling(power=0.5)  # so that the unit of the gradient is 1
    w_std = 1.0

    def split(self, weights):
        """Return the hidden layers and the last layer."""
        return weights[:-1], weights[-1]

    def neurons(self, weights, phi, activation=None):
        """Return the pre-activations of each hidden layer, each of shape (1, width, n_samples)."""
        activation = self.activation if activation is None else activation
        hidden = weights[:-1]
        entering = [hidden[0] @ phi.T]
        for layer in hidden[1:]:
            entering.append(layer[:, :, :-1] @ activation.value(entering[-1]) + layer[:, :, -1:])
        return entering

    def outputs(self, weights, phi, activation=None):
        """Return the outputs of shape (n_samples, n_outputs)."""
        activation = self.activation if activation is None else activation
        last = activation.value(self.neurons(weights, phi, activation)[-1])
        readout = weights[-1].swapaxes(1, 2)
        return (readout[:, :, :-1] @ last + readout[:, :, -1:])[0].T

    def gradient(self, weights, phi):
        """Return the gradient of each output as two factors per layer."""
        below, slopes = [phi[None]], []
        for z in self.neurons(weights, phi):
            z = z.swapaxes(1, 2)
            below.append(np.concatenate([self.activation.value(z), np.ones((1, len(phi), 1))], axis=2))
            slopes.append(self.activation.derivative(z))
        last, above, layers = below.pop(), weights[-1][:, :-1].transpose(2, 0, 1)[:, :, None], []
        for layer in reversed(weights[:-1]):
            above = above * slopes.pop()
            layers.append((above, below.pop()))
            above = above @ layer[:, :, :-1]
        return Gradient(tuple(layers[::-1]), last)


def stacked(coefs, intercepts):
    """Return scikit-learn's `coefs_` and `intercepts_` as weights of a Perceptron, in float64."""
    layers = [np.vstack([coef, intercept]).astype(float) for coef, intercept in zip(coefs, intercepts)]
    return (*(layer.T[None] for layer in layers[:-1]), layers[-1][None])


def initial_weights(model):
    """Return the initial `coefs_` and `intercepts_` of the fit of an MLP.

    They only depend on the seed, the architecture and the precision, because they are drawn first. A copy is fitted
    with one step of size 1e-300, which does not change them.

    Parameters
    ----------
    model : MLPRegressor or MLPClassifier
        A fitted MLP with an integer `random_state`.

    Returns
    -------
    coefs, intercepts : lists of ndarray

    Raises
    ------
    ValueError
        If `random_state` is not an integer, because the draws are then unknown.
    """
    if not isinstance(model.random_state, Integral):
        raise ValueError(
            f"The initial weights of this {type(model).__name__} cannot be recovered: random_state="
            f"{model.random_state!r} is not an integer. Fit it with an integer random_state, or give the initial "
            "weights as before=(coefs, intercepts)."
        )
    still = {
        "solver": "sgd",
        "learning_rate_init": 1e-300,
        "momentum": 0.0,
        "alpha": 0.0,
        "max_iter": 1,
        "verbose": False,
    }
    plain = {"learning_rate": "constant", "early_stopping": False, "warm_start": False, "batch_size": "auto"}
    copy = clone(model).set_params(**still, **plain)
    n_features, dtype = model.coefs_[0].shape[0], model.coefs_[0].dtype
    y = model.classes_ if is_classifier(model) else np.zeros((2, model.n_outputs_))
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        copy.fit(np.zeros((len(y), n_features), dtype), y)
    if [coef.shape for coef in copy.coefs_] != [coef.shape for coef in model.coefs_]:
        raise ValueError(
            f"The initial weights of this {type(model).__name__} cannot be recovered: its parameters were changed "
            "after the fit. Fit it again, or give the initial weights as before=(coefs, intercepts)."
        )
    return copy.coefs_, copy.intercepts_
