r"""Activations of a neuron, and the two functions that carry them through an infinitely wide layer.

`value` and `derivative` are formulas of NumPy ufuncs: they run on arrays and are traced by JAX. An activation
that is homogeneous of degree one has two dual functions of the angle :math:`\theta` between its inputs,
:math:`\kappa_1 = E[\sigma(u)\sigma(v)]` and :math:`\kappa_0 = E[\sigma'(u)\sigma'(v)]` for standard normal u, v of
correlation :math:`\cos\theta` (Cho and Saul 2009), which is all that the neural tangent kernel needs. `duals` returns
both over their common value at :math:`\theta = 0`, `second_moment`. It takes the sine and cosine of the HALF angle and
returns :math:`1 - \kappa_1`, because a cosine cannot tell nearly parallel inputs apart.
"""

from typing import NamedTuple

import numpy as np

from sklearn_ltdl._registry import Registry

ACTIVATIONS = Registry("activation")


@ACTIVATIONS.register
class Relu(NamedTuple):
    """Positive part."""

    gain = 2**0.5  # factor that keeps the variance of a wide layer
    second_moment = 0.5

    def value(self, z):
        """Return the activation of `z`."""
        return np.maximum(z, 0.0)

    def derivative(self, z):
        """Return the derivative at `z`, 0 at 0."""
        return 1.0 * (z > 0.0)

    def duals(self, sine, cosine):
        """Return `1 - kappa_1` and `kappa_0`, normalised, for the sine and cosine of the half angle."""
        angle = 2.0 * np.arctan2(sine, cosine)
        gap = 2.0 * sine * sine  # 1 - cos(angle)
        return gap - (2.0 * sine * cosine - angle * (1.0 - gap)) / np.pi, 1.0 - angle / np.pi


@ACTIVATIONS.register
class Tanh(NamedTuple):
    """Hyperbolic tangent."""

    gain = 1.0

    def value(self, z):
        """Return the activation of `z`."""
        return np.tanh(z)

    def derivative(self, z):
        """Return the derivative at `z`."""
        return 1.0 - np.tanh(z) * np.tanh(z)


@ACTIVATIONS.register
class Softplus(NamedTuple):
    """Smooth positive part, log(1 + exp(z))."""

    gain = 1.0

    def value(self, z):
        """Return the activation of `z`."""
        return np.logaddexp(0.0, z)

    def derivative(self, z):
        """Return the derivative at `z`."""
        return 0.5 * np.tanh(0.5 * z) + 0.5
