"""The tangent model of a network: the kernel of its gradient at given weights."""

from typing import NamedTuple

import numpy as np

from sklearn_ltdl.networks._model import width_of
from sklearn_ltdl.ntk._solvers import ALPHAS, solve_exact


def tangent_gram(network, weights, phi):
    r"""Return :math:`Df\,Df' / (s^2 m)` of the first output over the rows of `phi`, of shape (n, n).

    The gradient in a layer's matrix is an outer product of what arrives from above and from below, so that its Gram
    matrix is the entrywise product of two small ones; no gradient is ever formed.
    """
    return sum((_products(above) * _products(below)).sum(axis=0) for above, below in _gradient(network, weights, phi))


def tangent_features(network, weights, phi):
    r"""Return :math:`Df / (s \sqrt m)` of a network of one output at the rows of `phi`, of shape (n, n_weights).

    Columns are in the order of `weights`, each array row by row; inner products are `tangent_gram`.
    """
    features = np.empty((len(phi), sum(layer.size for layer in weights)))
    end = 0
    for layer, (above, below) in zip(weights, _gradient(network, weights, phi)):
        start, end = end, end + layer.size
        block = features[:, start:end].reshape(len(phi), *layer.shape, copy=False)
        np.einsum("cni,cnj->ncij", above, below, out=block)
    return features


def _gradient(network, weights, phi):
    """Return of each layer what arrives from above, (n_copies, n, width), and from below, (n_copies, n, fan_in).

    Of the read-out, the last unless it is fixed, they are what arrives from below and ones.
    """
    hidden, readout = network.split(weights)
    rates = [layer.shape[1] ** -0.5 for layer in hidden]
    rates[-1] = width_of(weights) ** -0.5
    below, slopes = [network.w_std * phi[None]], []
    for layer, rate in zip(hidden, rates):
        z = below[-1] @ layer.swapaxes(1, 2)
        below.append(network.w_std * rate * network.activation.value(z))
        slopes.append(network.w_std * rate * network.activation.derivative(z))
    last = below.pop()
    factors, above = [(last, np.ones((*last.shape[:2], 1)))], readout[:, None, :, 0]
    for layer in reversed(hidden):
        above = above * slopes.pop()
        factors.append((above, below.pop()))
        above = above @ layer
    return factors[::-1] if network.readout is None else factors[:0:-1]


class Choice(NamedTuple):
    """The penalty of least leave-one-out error, the share of the target it explains, and the kernel's mean diagonal."""

    alpha: float
    explained: float
    unit: float


def leave_one_out_alpha(network, weights, data):
    """Return the choice of a penalty for ridge regression on `data` with the tangent kernel."""
    gram = tangent_gram(network, weights, data.phi)
    unit = float(data.weight @ np.diagonal(gram))
    path = solve_exact(gram / unit, data.targets, data.weight * len(gram), ALPHAS, start=1e-3)
    variance = float(np.sum(data.weight @ (data.targets - data.weight @ data.targets) ** 2))
    explained = 1 - path.errors[path.best] / variance if variance > 0 else 1.0
    return Choice(unit * float(path.alphas[path.best]), float(explained), unit)


def _products(columns):
    return columns @ columns.swapaxes(1, 2)
