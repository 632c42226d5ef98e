r"""Fully connected networks as pure functions of their weights, written so that NumPy and JAX run the same source.

With :math:`\varphi(x) = [x / \sqrt d, 1]`, as in the kernels of `sklearn_ltdl.ntk`, the network is

.. math:: f(x) = s\, w \sum_{j=1}^m b_j\, \sigma(h_j(x)), \qquad h^{(1)} = w A^{(1)} \varphi(x), \qquad
          h^{(l)} = \frac{w}{\sqrt m} A^{(l)} \sigma(h^{(l-1)}),

where s is the factor of the scaling and w is `w_std`. Weights are a tuple (A1, ..., AL, b) of arrays with a leading
axis of copies. There is one copy, or two of half the width with opposite read-outs (the doubling of Chizat, Oyallon and
Bach 2019). If the read-out b is fixed, the weights are (A1, ..., AL).
"""

from typing import NamedTuple

import numpy as np

from sklearn_ltdl.ntk._solvers import require_memory
from sklearn_ltdl.scalings import Scaling


class Network(NamedTuple):
    """A network as a function of its weights.

    Parameters
    ----------
    activation : activation object
    scaling : Scaling
    w_std : float
        Factor of every layer; sqrt(2) preserves the variance of ReLU layers.
    readout : ndarray of shape (n_copies, width, n_outputs) or None
        Fixed read-out; None if the read-out is the last of the weights.
    """

    activation: NamedTuple
    scaling: Scaling
    w_std: float = 1.0
    readout: np.ndarray | None = None

    def split(self, weights):
        """Return the hidden layers and the read-out."""
        return (weights[:-1], weights[-1]) if self.readout is None else (weights, self.readout)

    def neurons(self, weights, phi, activation=None):
        """Return the pre-activations of each hidden layer, each of shape (n_copies, width, n_samples)."""
        activation = self.activation if activation is None else activation
        hidden = self.split(weights)[0]
        entering = [self.w_std * (hidden[0] @ phi.T)]  # neurons first, so that no product transposes them
        for layer in hidden[1:]:
            fan_in = layer.shape[2]
            entering.append(self.w_std * fan_in**-0.5 * (layer @ activation.value(entering[-1])))
        return entering

    def outputs(self, weights, phi, activation=None):
        """Return f of shape (n_samples, n_outputs) for `phi` of shape (n_samples, n_features + 1)."""
        activation = self.activation if activation is None else activation
        last = activation.value(self.neurons(weights, phi, activation)[-1])
        factor = self.w_std * self.scaling.factor(width_of(weights))
        return factor * (self.split(weights)[1].swapaxes(1, 2) @ last).sum(axis=0).T

    def gradient(self, weights, phi, activation=None):
        r"""Return the gradient of each output divided by :math:`s \sqrt m`, as two factors per layer."""
        activation = self.activation if activation is None else activation
        hidden, readout = self.split(weights)
        rates = [layer.shape[1] ** -0.5 for layer in hidden]
        rates[-1] = width_of(weights) ** -0.5
        below, slopes = [self.w_std * phi[None]], []
        for rate, z in zip(rates, self.neurons(weights, phi, activation)):
            z = z.swapaxes(1, 2)
            below.append(self.w_std * rate * activation.value(z))
            slopes.append(self.w_std * rate * activation.derivative(z))
        last, above, layers = below.pop(), readout.transpose(2, 0, 1)[:, :, None], []
        for layer in reversed((None, *hidden[1:])):
            above = above * slopes.pop()
            layers.append((above, below.pop()))
            above = above if layer is None else above @ layer
        return Gradient(tuple(layers[::-1]), last if self.readout is None else None)


class Gradient(NamedTuple):
    """Gradient of each output with respect to the weights, at each row.

    Parameters
    ----------
    hidden : tuple of two ndarrays a layer
        Factor from above, (n_outputs, n_copies, n_samples, fan_out), and from below, (n_copies, n_samples, fan_in). The
        gradient with respect to the layer's matrix is their outer product.
    last : ndarray of shape (n_copies, n_samples, width) or None
        Gradient of an output with respect to its own column of the read-out; None if the read-out is fixed.
    """

    hidden: tuple
    last: np.ndarray | None


class Data(NamedTuple):
    """Training rows: phi (n, p), targets (n, K), outputs subtracted (n, K), and weights (n,) that sum to one."""

    phi: np.ndarray
    targets: np.ndarray
    offset: np.ndarray
    weight: np.ndarray

    def part(self, rows):
        """Return some of the rows, with weights that sum to one again."""
        part = Data(*(column[rows] for column in self))
        return part._replace(weight=part.weight / part.weight.sum())


class Trained(NamedTuple):
    """Result of training.

    Weights (None without a network) and intercept, the objective at every step (its mean for each pass in batches), the
    number of passes over the data, the held-out loss at every evaluation, whether training settled, and the last step.
    """

    weights: tuple | None
    intercept: np.ndarray
    losses: list
    n_iter: int
    held_out_losses: list
    settled: bool = True
    eta: float | None = None


def width_of(weights):
    """Return the number of neurons of the last hidden layer, all copies counted."""
    return weights[-1].shape[0] * weights[-1].shape[1]


def feature_map(X):
    """Return phi: the rows of `X` divided by sqrt(n_features), with a constant appended."""
    return np.hstack([X / np.sqrt(X.shape[1]), np.ones((len(X), 1))])


def draw_weights(n_features, n_outputs, *, width, depth, doubled, rng):
    """Draw independent standard normal weights; the output of a `doubled` network is 0.

    Parameters
    ----------
    n_features, n_outputs : int
        Numbers of columns of phi and of the target.
    width, depth : int
        Number of neurons of each hidden layer (even if `doubled`), and number of hidden layers.
    doubled : bool
    rng : Generator

    Returns
    -------
    tuple of ndarray

    Raises
    ------
    MemoryError
        If the weights and the intermediate results of training would not fit in memory.
    """
    half = width // 2 if doubled else width
    shapes = [(half, n_features)] + [(half, half)] * (depth - 1) + [(half, n_outputs)]
    require_memory((width, n_features + n_outputs + width * (depth - 1)), 8, "Use a smaller width.")
    *hidden, readout = (rng.standard_normal((1, *shape)) for shape in shapes)
    if doubled:
        return (*(np.concatenate([layer, layer]) for layer in hidden), np.concatenate([readout, -readout]))
    return (*hidden, readout)


def squared_distance(weights, others):
    """Return |w - v|^2 over all weights."""
    return float(sum(np.sum((one - other) ** 2) for one, other in zip(weights, others)))


def displacement(weights, start):
    """Return |w - w0| / |w0| over all weights."""
    moved = squared_distance(weights, start)
    return float(np.sqrt(moved / sum(np.sum(old**2) for old in start))) if moved > 0 else 0.0
