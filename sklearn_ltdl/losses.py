r"""Losses of one prediction `z` against one target `y`.

A loss is a small immutable class; registering it is all there is to do. `value`, `derivative` and `second_derivative`
are formulas of NumPy ufuncs, so that the same source runs on arrays, compiles with numba and differentiates with JAX.
`conjugate(u, y)` is :math:`\sup_z uz - \ell(z, y)`, evaluated in NumPy only. A `coupled` loss reads all outputs of a
sample at once, along the last axis; the others act output by output and are summed.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import softmax, xlogy

from sklearn_ltdl._registry import Registry

LOSSES = Registry("loss")


@LOSSES.register
class Squared(NamedTuple):
    r"""Half the squared residual, :math:`(z - y)^2 / 2`."""

    smoothness = 1.0  # largest second derivative in z
    coupled = False

    def value(self, z, y):
        """Return the loss of each prediction."""
        return 0.5 * (z - y) * (z - y)

    def derivative(self, z, y):
        """Return the derivative in `z`."""
        return z - y

    def second_derivative(self, z, y):
        """Return the second derivative in `z`."""
        return np.ones_like(z)

    def conjugate(self, u, y):
        """Return the convex conjugate at `u`."""
        return u * (0.5 * u + y)


@LOSSES.register
class Logistic(NamedTuple):
    r"""Minus the log-likelihood of a label `y` in {0, 1} (or a probability) with log-odds `z`."""

    smoothness = 0.25
    coupled = False

    def value(self, z, y):
        """Return the loss of each prediction."""
        return np.logaddexp(0.0, z) - y * z

    def derivative(self, z, y):
        """Return the derivative in `z`: the probability of class 1, less `y`."""
        return 0.5 * np.tanh(0.5 * z) + 0.5 - y

    def second_derivative(self, z, y):
        """Return the second derivative in `z`."""
        return 0.25 * (1.0 - np.tanh(0.5 * z) * np.tanh(0.5 * z))

    def conjugate(self, u, y):
        """Return the convex conjugate at `u`, for `u + y` in [0, 1]."""
        return xlogy(u + y, u + y) + xlogy(1 - u - y, 1 - u - y)


@LOSSES.register
class Multinomial(NamedTuple):
    r"""Minus the log-likelihood of a one-hot row `y` under softmax scores `z`, both of shape (..., n_classes)."""

    smoothness = 0.5  # largest eigenvalue of diag(p) - pp'
    coupled = True

    def value(self, z, y):
        """Return the loss of each sample."""
        top = np.max(z, axis=-1, keepdims=True)
        return np.log(np.sum(np.exp(z - top), axis=-1)) + top[..., 0] - np.sum(y * z, axis=-1)

    def derivative(self, z, y):
        """Return the gradient in the scores of each sample: the probabilities less `y`."""
        odds = np.exp(z - np.max(z, axis=-1, keepdims=True))
        return odds / np.sum(odds, axis=-1, keepdims=True) - y

    def conjugate(self, u, y):
        """Return the convex conjugate at `u`, for rows `u + y` in the simplex."""
        return np.sum(xlogy(u + y, u + y), axis=-1)


def total(loss, z, y, weight):
    """Return the weighted sum over samples of the losses of `z` and `y`, both of shape (n_samples, n_outputs)."""
    values = loss.value(z, y)
    return weight @ (values if loss.coupled else values.sum(axis=1))


def probabilities(scores):
    """Return class probabilities of scores of shape (n_samples, 1) (log-odds of class 1) or (n_samples, n_classes)."""
    if scores.shape[1] == 1:
        scores = np.hstack([np.zeros_like(scores), scores])
    return softmax(scores, axis=1)
