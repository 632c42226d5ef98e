"""The tangent model of a network: the kernel of its gradient at given weights."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from sklearn_ltdl.networks._model import Network, feature_map, width_of
from sklearn_ltdl.ntk._solvers import ALPHAS, row_blocks, solve_exact

CLOSED_FORM_ROWS = 3000  # for more rows, conjugate gradients are faster than factorising the kernel
KEPT_BLOCKS = 2  # blocks of gradient factors to keep; if there are more, they are recomputed at each step


class Tangent(NamedTuple):
    """The linear model Df(w0)(w - w0) of a network around given weights w0, without its value f(w0).

    Parameters
    ----------
    network : Network
    origin : tuple of ndarray
        The weights w0.
    """

    network: Network
    origin: tuple

    @property
    def activation(self):
        """The same as that of the network."""
        return self.network.activation

    @property
    def scaling(self):
        """The same as that of the network."""
        return self.network.scaling

    def split(self, weights):
        """Return the hidden layers and the read-out."""
        return self.network.split(weights)

    def gradient(self, weights, phi, activation=None):
        """Return the gradient, which does not depend on the weights."""
        return self.network.gradient(self.origin, phi, activation)

    def outputs(self, weights, phi, activation=None):
        """Return the model of shape (n_samples, n_outputs)."""
        move = tuple(layer - first for layer, first in zip(weights, self.origin))
        unit = self.scaling.step(width_of(weights)) ** -0.5
        return unit * push(self.network.gradient(self.origin, phi, activation), move)


@dataclass(frozen=True, eq=False)
class TangentKernel:
    """The tangent kernel of a network at given weights, as a function of two tables."""

    network: Network
    weights: tuple

    def __call__(self, X, Z):
        """Return the kernel between the rows of `X` and of `Z`."""
        return tangent_gram(self.network, self.weights, feature_map(X), feature_map(Z))


def tangent_gram(network, weights, phi, other=None):
    r"""Return :math:`Df\,Df' / (s^2 m)` between the rows of `phi` and `other` (default: `phi`), averaged over outputs.

    The gradient with respect to a layer's matrix is an outer product of a factor from above and a factor from below.
    Its Gram matrix is therefore the entrywise product of two small Gram matrices, and no gradient is formed.
    """
    rows = network.gradient(weights, phi)
    columns = rows if other is None else network.gradient(weights, other)
    gram = 0.0 if rows.last is None else _products(rows.last, columns.last).sum(axis=0)
    for (above, below), (over, under) in zip(rows.hidden, columns.hidden):
        side_by_side = (part.transpose(1, 2, 0, 3).reshape(*part.shape[1:3], -1) for part in (above, over))
        gram += (_products(*side_by_side) * _products(below, under)).sum(axis=0) / len(above)
    return gram


def tangent_features(network, weights, phi):
    r"""Return :math:`Df / (s \sqrt m)` of a network with one output at the rows of `phi`, of shape (n, n_weights).

    Columns are in the order of `weights`, each array in row-major order. The inner products are `tangent_gram`.
    """
    gradient = network.gradient(weights, phi)
    factors = [(above[0], below) for above, below in gradient.hidden]
    if gradient.last is not None:
        factors.append((gradient.last, np.ones((*gradient.last.shape[:2], 1))))
    features = np.empty((len(phi), sum(layer.size for layer in weights)))
    end = 0
    for layer, (above, below) in zip(weights, factors):
        start, end = end, end + layer.size
        block = features[:, start:end].reshape(len(phi), *layer.shape, copy=False)
        np.einsum("cni,cnj->ncij", above, below, out=block)
    return features


def push(gradient, move):
    """Return the product of a gradient with a change of the weights, of shape (n_samples, n_outputs)."""
    image = sum(
        (above * (below @ layer.swapaxes(1, 2))).sum(axis=(1, 3)).T
        for (above, below), layer in zip(gradient.hidden, move)
    )
    return image if gradient.last is None else image + (gradient.last @ move[-1]).sum(axis=0)


def pull(gradient, slopes):
    """Apply the transpose of `push` to an array of shape (n_samples, n_outputs); return a change of the weights."""
    move = tuple(
        (above * slopes.T[:, None, :, None]).sum(axis=0).swapaxes(1, 2) @ below for above, below in gradient.hidden
    )
    return move if gradient.last is None else (*move, gradient.last.swapaxes(1, 2) @ slopes)


class Fitted(NamedTuple):
    """Weights and intercept of a tangent model, the number of steps, and whether they reached the tolerance."""

    weights: tuple
    intercept: np.ndarray
    n_iter: int
    converged: bool


def solve_ridge(tangent, start, data, alpha, *, max_iter, tol):
    r"""Minimise the squared loss of a tangent model plus :math:`\frac{\alpha s^2 m}{2} |w - w_0|^2`.

    For one output and up to `CLOSED_FORM_ROWS` rows, this is kernel ridge regression, solved by factorising the kernel.
    Otherwise conjugate gradients solve the normal equations in the weights, and neither kernel nor features are formed.

    Parameters
    ----------
    tangent : Tangent
    start : tuple of ndarray
        Weights at which conjugate gradients start.
    data : Data
    alpha : float
    max_iter : int
    tol : float
        Norm of the gradient at which to stop, relative to that at the origin.

    Returns
    -------
    Fitted
    """
    network, origin = tangent.network, tangent.origin
    targets, unit = data.targets + data.offset, network.scaling.step(width_of(origin)) ** 0.5
    mean = data.weight @ targets
    if targets.shape[1] == 1 and len(targets) <= CLOSED_FORM_ROWS:
        gram = tangent_gram(network, origin, data.phi)
        size = _mean_diagonal(gram, data.weight)
        path = solve_exact(gram / size, targets, data.weight * len(gram), np.array([alpha / size]), start=1.0)
        move = pull(network.gradient(origin, data.phi), path.coef / size)
        return Fitted(_moved(origin, unit, move), path.intercept, 1, True)

    shapes = [layer.shape for layer in origin]
    ends = np.cumsum([layer.size for layer in origin])
    blocks = row_blocks(len(targets), targets.shape[1] * sum(layer.shape[0] * layer.shape[1] for layer in origin))
    kept = [network.gradient(origin, data.phi[rows]) for rows in blocks] if len(blocks) <= KEPT_BLOCKS else None

    def gradients():
        return kept or (network.gradient(origin, data.phi[rows]) for rows in blocks)

    def unflat(vector):
        return tuple(part.reshape(shape) for part, shape in zip(np.split(vector, ends[:-1]), shapes))

    def flat(move):
        return np.concatenate([layer.ravel() for layer in move])

    def to_outputs(vector):
        return np.concatenate([push(gradient, unflat(vector)) for gradient in gradients()])

    def to_weights(outputs):
        slopes = data.weight[:, None] * (outputs - data.weight @ outputs)
        return sum(flat(pull(gradient, slopes[rows])) for gradient, rows in zip(gradients(), blocks))

    steps = []
    normal = LinearOperator((ends[-1], ends[-1]), lambda v: to_weights(to_outputs(v)) + alpha * v, dtype=np.float64)
    first = flat(tuple((layer - old) / unit for layer, old in zip(start, origin)))
    vector, failed = cg(
        normal, to_weights(targets), first, rtol=tol, maxiter=max_iter, callback=lambda _: steps.append(1)
    )
    intercept = mean - data.weight @ to_outputs(vector)
    return Fitted(_moved(origin, unit, unflat(vector)), intercept, max(1, len(steps)), failed == 0)


def _moved(origin, unit, move):
    return tuple(layer + unit * change for layer, change in zip(origin, move))


class Choice(NamedTuple):
    """Penalty with the smallest leave-one-out error, share of the target explained, and the kernel's mean diagonal."""

    alpha: float
    explained: float
    unit: float


def leave_one_out_alpha(network, weights, data):
    """Choose the penalty of ridge regression on `data` with the tangent kernel."""
    gram = tangent_gram(network, weights, data.phi)
    unit = _mean_diagonal(gram, data.weight)
    path = solve_exact(gram / unit, data.targets, data.weight * len(gram), ALPHAS, start=1e-3)
    variance = float(np.sum(data.weight @ (data.targets - data.weight @ data.targets) ** 2))
    explained = 1 - path.errors[path.best] / variance if variance > 0 else 1.0
    return Choice(unit * float(path.alphas[path.best]), float(explained), unit)


def _mean_diagonal(gram, weight):
    """Return the mean of the diagonal, or 1 if the gradient is zero at every row."""
    return float(weight @ np.diagonal(gram)) or 1.0


def _products(rows, columns):
    return rows @ columns.swapaxes(1, 2)
