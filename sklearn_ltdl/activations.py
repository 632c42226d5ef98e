r"""Activations of a neuron, and the functions that carry them through an infinitely wide layer.

`value` and `derivative` are formulas of the ufuncs of NumPy and `scipy.special`: they run on arrays and are traced by
JAX. An infinitely wide layer needs no more than :math:`\kappa_1 = E[\sigma(u)\sigma(v)]` and
:math:`\kappa_0 = E[\sigma'(u)\sigma'(v)]` over normal u, v of variances p, q and covariance s, which an activation
offers in one of three ways:

- one that is positively homogeneous has a `bend`, and its kernels depend on the angle alone (`half_angle_duals`);
- one with a closed form has `duals`, a function of p, q and s;
- any other is expanded in Hermite polynomials (`hermite_duals`).

`gain` is the factor of the weights that a wide network takes by default; for a homogeneous activation and GELU's kin it
keeps the variance from layer to layer (He et al. 2015), and 1 for an activation that has none.
Those that are `bounded` say so.
"""

from functools import cache
from math import comb, factorial
from typing import NamedTuple

import numpy as np
from scipy import special

from sklearn_ltdl._registry import Registry

ACTIVATIONS = Registry("activation", {"gain": lambda activation: 1.0})
HERMITE_NODES = 200  # of Gauss's quadrature, whose rounding grows above
HERMITE_TERMS = 120


@ACTIVATIONS.register
class Relu(NamedTuple):
    """Positive part."""

    gain = 2**0.5
    bend = 1.0
    second_moment = 0.5  # E[value(z)^2] over standard normal z

    def value(self, z):
        """Return the activation of `z`."""
        return np.maximum(z, 0.0)

    def derivative(self, z):
        """Return the derivative at `z`, 0 at 0."""
        return 1.0 * (z > 0.0)


@ACTIVATIONS.register
class LeakyRelu(NamedTuple):
    """Identity above zero, `slope` times it below."""

    slope: float = 0.01

    @property
    def gain(self):
        """Return what keeps the variance of a wide layer."""
        return self.second_moment**-0.5

    @property
    def bend(self):
        """Return 0 for a straight line, 1 for the ReLU, 2 for the absolute value."""
        return (1.0 - self.slope) ** 2 / (1.0 + self.slope**2)

    @property
    def second_moment(self):
        """Return the mean square of the activation of a standard normal variable."""
        return 0.5 * (1.0 + self.slope**2)

    def value(self, z):
        """Return the activation of `z`."""
        return np.maximum(z, 0.0) + self.slope * np.minimum(z, 0.0)

    def derivative(self, z):
        """Return the derivative at `z`, `slope` at 0."""
        return self.slope + (1.0 - self.slope) * (z > 0.0)


@ACTIVATIONS.register
class Abs(NamedTuple):
    """Absolute value."""

    gain = 1.0
    bend = 2.0
    second_moment = 1.0

    def value(self, z):
        """Return the activation of `z`."""
        return abs(z)

    def derivative(self, z):
        """Return the derivative at `z`, 0 at 0."""
        return np.sign(z)


@ACTIVATIONS.register
class Identity(NamedTuple):
    """No activation: a deep linear network."""

    gain = 1.0
    bend = 0.0
    second_moment = 1.0

    def value(self, z):
        """Return `z`."""
        return z

    def derivative(self, z):
        """Return ones."""
        return 0.0 * z + 1.0


@ACTIVATIONS.register
class Tanh(NamedTuple):
    """Hyperbolic tangent."""

    gain = 1.0
    bounded = True

    def value(self, z):
        """Return the activation of `z`."""
        return np.tanh(z)

    def derivative(self, z):
        """Return the derivative at `z`."""
        return 1.0 - np.tanh(z) * np.tanh(z)


@ACTIVATIONS.register
class Sigmoid(NamedTuple):
    """Logistic distribution function, 1 / (1 + exp(-z))."""

    gain = 1.0
    bounded = True

    def value(self, z):
        """Return the activation of `z`."""
        return 0.5 * np.tanh(0.5 * z) + 0.5

    def derivative(self, z):
        """Return the derivative at `z`."""
        t = np.tanh(0.5 * z)
        return 0.25 * (1.0 - t * t)


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


@ACTIVATIONS.register
class Erf(NamedTuple):
    """Error function; its kernel is that of Williams (1997)."""

    gain = 1.0
    bounded = True

    def value(self, z):
        """Return the activation of `z`."""
        return special.erf(z)

    def derivative(self, z):
        """Return the derivative at `z`."""
        return 2.0 / np.sqrt(np.pi) * np.exp(-z * z)

    def duals(self, p, q, s):
        """Return kappa_1 and kappa_0 for variances `p`, `q` and covariance `s`."""
        size = np.sqrt(1.0 + 2.0 * p) * np.sqrt(1.0 + 2.0 * q)
        sine = np.clip(2.0 * s / size, -1.0, 1.0)
        # 1 - sine^2 without a difference of large numbers where x = z: (1 + 2p + 2q + 4(pq - s^2)) / size^2
        cosine2 = np.maximum((1.0 + 2.0 * p + 2.0 * q) / size / size, (1.0 - sine) * (1.0 + sine))
        return 2.0 / np.pi * np.arcsin(sine), 4.0 / np.pi / (size * np.sqrt(cosine2))


@ACTIVATIONS.register
class Gelu(NamedTuple):
    """z times the normal distribution function of z; its kernel is that of Tsuchida et al. (2021)."""

    gain = 2**0.5

    def value(self, z):
        """Return the activation of `z`."""
        return z * special.ndtr(z)

    def derivative(self, z):
        """Return the derivative at `z`."""
        return special.ndtr(z) + z * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)

    def duals(self, p, q, s):
        """Return kappa_1 and kappa_0 for variances `p`, `q` and covariance `s`; the second is the first's slope."""
        size = np.sqrt(1.0 + p) * np.sqrt(1.0 + q)
        short = (1.0 + p + q) / (1.0 + p) / (1.0 + q)  # 1 - p q / size^2
        correlation = s / np.maximum(np.sqrt(p) * np.sqrt(q), np.finfo(float).tiny)
        sine = s / size
        cosine = np.sqrt(short + (1.0 - short) * np.maximum(1.0 - correlation * correlation, 0.0))
        angle, tangent = 0.5 * np.pi + np.arctan2(sine, cosine), sine / cosine
        kappa1 = size * ((1.0 - short) * cosine + sine * angle) + sine * tangent / size
        kappa0 = angle + tangent * (short + (2.0 + tangent * tangent) / size / size)
        return kappa1 / (2.0 * np.pi), kappa0 / (2.0 * np.pi)


@ACTIVATIONS.register
class Sin(NamedTuple):
    """Sine."""

    gain = 1.0
    bounded = True

    def value(self, z):
        """Return the activation of `z`."""
        return np.sin(z)

    def derivative(self, z):
        """Return the derivative at `z`."""
        return np.cos(z)

    def duals(self, p, q, s):
        """Return kappa_1 and kappa_0 for variances `p`, `q` and covariance `s`."""
        near, far = _waves(p, q, s)
        return near - far, near + far


@ACTIVATIONS.register
class Cos(NamedTuple):
    """Cosine."""

    gain = 1.0
    bounded = True

    def value(self, z):
        """Return the activation of `z`."""
        return np.cos(z)

    def derivative(self, z):
        """Return the derivative at `z`."""
        return -np.sin(z)

    def duals(self, p, q, s):
        """Return kappa_1 and kappa_0 for variances `p`, `q` and covariance `s`."""
        near, far = _waves(p, q, s)
        return near + far, near - far


@ACTIVATIONS.register
class Monomial(NamedTuple):
    """Power of z with a natural exponent."""

    degree: int = 2
    gain = 1.0

    def value(self, z):
        """Return the activation of `z`."""
        return z**self.degree

    def derivative(self, z):
        """Return the derivative at `z`."""
        return self.degree * z ** np.maximum(self.degree - 1, 0)

    def duals(self, p, q, s):
        """Return kappa_1 and kappa_0 for variances `p`, `q` and covariance `s`."""
        return _moment(self.degree, p, q, s), self.degree**2 * _moment(max(self.degree - 1, 0), p, q, s)


@ACTIVATIONS.register
class Quadratic(NamedTuple):
    """Square, of which networks are quadratic forms; the kernels are those of ``Monomial(2)``."""

    gain = 1.0

    def value(self, z):
        """Return the activation of `z`."""
        return z * z

    def derivative(self, z):
        """Return the derivative at `z`."""
        return 2.0 * z

    def duals(self, p, q, s):
        """Return kappa_1 and kappa_0 for variances `p`, `q` and covariance `s`."""
        return Monomial(2).duals(p, q, s)


def half_angle_duals(bend, sine, cosine):
    r"""Return :math:`1 - \kappa_1` and :math:`\kappa_0` of a homogeneous activation, over their values at angle 0.

    With :math:`J = (\sin\theta - \theta\cos\theta) / \pi` they are :math:`1 - \cos\theta - \beta J` and
    :math:`1 - \beta\theta/\pi`, beta being the bend (Cho and Saul 2009, equations 6 and 4, for the ReLU's 1).

    Parameters
    ----------
    bend : float
    sine, cosine : ndarrays
        Of the HALF angle, because a cosine cannot tell nearly parallel inputs apart.
    """
    ahead = sine <= cosine
    less, more = np.minimum(sine, cosine), np.maximum(sine, cosine)
    angle = 2.0 * np.arctan2(less, more)  # to the nearer of the two ends
    gap = 2.0 * less * less
    area = (2.0 * less * more - angle * (1.0 - gap)) / np.pi
    turn = np.where(ahead, angle, np.pi - angle) / np.pi
    return np.where(ahead, gap, (2.0 - bend) + (bend - 1.0) * gap) - bend * area, 1.0 - bend * turn


def hermite_duals(activation, p, q, s):
    r"""Return :math:`\kappa_1` and :math:`\kappa_0` of any activation, :math:`\sum_k a_k(p)\,a_k(q)\,c^k`.

    c is the correlation and :math:`a_k(p) = E[\sigma(\sqrt p\,z)\,h_k(z)]` with orthonormal Hermite polynomials, by
    Gauss's quadrature. What `HERMITE_TERMS` of them lack of the variance goes with the next power of c, so that the
    value at c = 1 is exact and the sum positive semi-definite.

    Parameters
    ----------
    activation : activation object
    p, q : ndarrays of shape (n, 1) and (1, m), or both of the shape of s
    s : ndarray
    """
    size = np.sqrt(p * q)
    correlation = np.clip(s / np.where(size > 0, size, 1.0), -1.0, 1.0)
    return tuple(
        _hermite_sum(_hermite_series(function, p), _hermite_series(function, q), correlation)
        for function in (activation.value, activation.derivative)
    )


def hermite_lack(activation, variance):
    """Return the share of E[value^2] or E[derivative^2] that `hermite_duals` does not resolve, of the worst input."""
    series = [_hermite_series(function, variance) for function in (activation.value, activation.derivative)]
    return max(np.max(a[..., -1] ** 2 / np.maximum(np.sum(a * a, axis=-1), np.finfo(float).tiny)) for a in series)


def _hermite_series(function, variance):
    """Return the coefficients along a last axis, and the root of what they lack of the mean square."""
    nodes, weights, polynomials = _hermite_rule()
    values = function(np.sqrt(variance)[..., None] * nodes)
    series = (values * weights) @ polynomials
    lack = (values * values) @ weights - np.sum(series * series, axis=-1)
    return np.concatenate([series, np.sqrt(np.maximum(lack, 0.0))[..., None]], axis=-1)


def _hermite_sum(series_p, series_q, correlation):
    most = np.abs(series_p).reshape(-1, HERMITE_TERMS + 1).max(axis=0)
    most *= np.abs(series_q).reshape(-1, HERMITE_TERMS + 1).max(axis=0)
    terms = 1 + max(np.flatnonzero(most > np.finfo(float).eps * most.max()), default=0)
    total = np.zeros_like(correlation)
    for k in reversed(range(terms)):
        total = total * correlation + series_p[..., k] * series_q[..., k]
    return total


@cache
def _hermite_rule():
    """Return nodes and weights of the normal law, and the orthonormal polynomials at the nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(HERMITE_NODES)
    polynomials = np.ones((HERMITE_NODES, HERMITE_TERMS))
    polynomials[:, 1] = nodes
    for k in range(2, HERMITE_TERMS):
        polynomials[:, k] = (nodes * polynomials[:, k - 1] - np.sqrt(k - 1.0) * polynomials[:, k - 2]) / np.sqrt(k)
    return nodes, weights / weights.sum(), polynomials


def _waves(p, q, s):
    """Return E[cos(u - v)] / 2 and E[cos(u + v)] / 2."""
    return 0.5 * np.exp(s - 0.5 * (p + q)), 0.5 * np.exp(-s - 0.5 * (p + q))


def _moment(degree, p, q, s):
    """Return E[u^degree v^degree], by the Hermite expansion of a power."""
    total = 0.0 * s
    for k in range(degree % 2, degree + 1, 2):
        pairs = (degree - k) // 2
        coefficient = comb(degree, k) * factorial(degree - k) / (2**pairs * factorial(pairs))
        total = total + coefficient**2 * factorial(k) * (p * q) ** pairs * s**k
    return total
