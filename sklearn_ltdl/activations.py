r"""Activations of a neuron, and the two functions that carry them through an infinitely wide layer.

`value` and `derivative` are formulas of NumPy ufuncs: they run on arrays and are traced by JAX. For an activation that
is homogeneous of degree one, `duals(cosine)` returns :math:`\kappa_1(c) = E[\sigma(u)\sigma(v)]` and
:math:`\kappa_0(c) = E[\sigma'(u)\sigma'(v)]` for standard normal u, v of correlation c (Cho and Saul 2009), which is
all that the neural tangent kernel needs.
"""

from typing import NamedTuple

import numpy as np

from sklearn_ltdl._registry import Registry

ACTIVATIONS = Registry("activation")


@ACTIVATIONS.register
class Relu(NamedTuple):
    """Positive part."""

    homogeneous = True

    def value(self, z):
        """Return the activation of `z`."""
        return np.maximum(z, 0.0)

    def derivative(self, z):
        """Return the derivative at `z`, 0 at 0."""
        return 1.0 * (z > 0.0)


@ACTIVATIONS.register
class Tanh(NamedTuple):
    """Hyperbolic tangent."""

    homogeneous = False

    def value(self, z):
        """Return the activation of `z`."""
        return np.tanh(z)

    def derivative(self, z):
        """Return the derivative at `z`."""
        return 1.0 - np.tanh(z) * np.tanh(z)


@ACTIVATIONS.register
class Softplus(NamedTuple):
    """Smooth positive part, log(1 + exp(z))."""

    homogeneous = False

    def value(self, z):
        """Return the activation of `z`."""
        return np.logaddexp(0.0, z)

    def derivative(self, z):
        """Return the derivative at `z`."""
        return 0.5 * np.tanh(0.5 * z) + 0.5
