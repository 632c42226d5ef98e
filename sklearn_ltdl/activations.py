r"""Activations of a neuron, and the functions that carry them through an infinitely wide layer.

`value` and `derivative` are formulas of the ufuncs of NumPy and `scipy.special`: they run on arrays, and JAX can trace
them. An infinitely wide layer only needs :math:`\kappa_1 = E[\sigma(u)\sigma(v)]` and
:math:`\kappa_0 = E[\sigma'(u)\sigma'(v)]` over normal u, v with variances p, q and covariance s. An activation provides
them in one of three ways:

- a positively homogeneous activation has a `bend`, and its kernels depend on the angle alone (`half_angle_duals`);
- an activation with a closed form has `duals`, a function of `Normals`, and `gap`. The gap is
  ``1 - abs(correlation)`` of the activations, accurate to its own last digit, or NaN if the difference is as accurate;
- any other activation is expanded in Hermite polynomials (`hermite_duals`).

The difference :math:`pq - s^2` determines the kernels of nearly parallel rows. If p, q and s are large, the difference
loses its digits when it is computed from them. `Normals` therefore holds the angle and the difference of the
deviations, each accurate to its own last digit.

`gain` is the default factor of the weights of a wide network. For homogeneous activations and for GELU, it preserves
the variance from layer to layer (He et al. 2015). It is 1 for an activation without a `gain`. A bounded activation has
``bounded = True``.
"""

from functools import cache
from math import comb, factorial
from typing import NamedTuple, Self

import numpy as np
from scipy import special

from sklearn_ltdl._registry import Registry
from sklearn_ltdl._types import Values

ACTIVATIONS = Registry("activation", {"gain": lambda activation: 1.0})  # type comments type constants, not fields
TINY = np.finfo(float).tiny  # in place of a denominator that is zero


class Normals(NamedTuple):
    r"""Pairs (u, v) of jointly normal variables of mean zero.

    Parameters
    ----------
    a, b : ndarrays
        Standard deviations of u and of v.
    cosine : ndarray
        Correlation c.
    turn2 : ndarray
        :math:`(1 - |c|) / 2`, the squared sine of half the angle to the nearer of parallel and opposite.
    apart : ndarray
        a - b.
    """

    a: np.ndarray
    b: np.ndarray
    cosine: np.ndarray
    turn2: np.ndarray
    apart: np.ndarray

    @classmethod
    def equal(cls, a: np.ndarray) -> Self:
        """Return pairs of each variable of standard deviation `a` with itself."""
        return cls(a, a, np.ones_like(a), np.zeros_like(a), np.zeros_like(a))

    @property
    def sine2(self) -> np.ndarray:
        """Return 1 - c^2."""
        return 4.0 * self.turn2 * (1.0 - self.turn2)

    @property
    def short(self) -> np.ndarray:
        """Return :math:`ab - |s|`, where s is the covariance."""
        return 2.0 * self.a * self.b * self.turn2


@ACTIVATIONS.register
class Relu(NamedTuple):
    """Positive part."""

    gain = 2**0.5  # type: float
    bend = 1.0  # type: float
    second_moment = 0.5  # type: float  # E[value(z)^2] over standard normal z

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return np.maximum(z, 0.0)

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`, 0 at 0."""
        return 1.0 * (z > 0.0)


@ACTIVATIONS.register
class LeakyRelu(NamedTuple):
    """Identity above zero, `slope` times it below."""

    slope: float = 0.01

    @property
    def gain(self) -> float:
        """Return the gain that preserves the variance of a wide layer."""
        return self.second_moment**-0.5

    @property
    def bend(self) -> float:
        """Return 0 for a straight line, 1 for the ReLU, 2 for the absolute value."""
        return (1.0 - self.slope) ** 2 / (1.0 + self.slope**2)

    @property
    def second_moment(self) -> float:
        """Return the mean square of the activation of a standard normal variable."""
        return 0.5 * (1.0 + self.slope**2)

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return np.maximum(z, 0.0) + self.slope * np.minimum(z, 0.0)

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`, `slope` at 0."""
        return self.slope + (1.0 - self.slope) * (z > 0.0)


@ACTIVATIONS.register
class Abs(NamedTuple):
    """Absolute value."""

    gain = 1.0  # type: float
    bend = 2.0  # type: float
    second_moment = 1.0  # type: float

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return abs(z)

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`, 0 at 0."""
        return np.sign(z)


@ACTIVATIONS.register
class Identity(NamedTuple):
    """No activation: a deep linear network."""

    gain = 1.0  # type: float
    bend = 0.0  # type: float
    second_moment = 1.0  # type: float

    def value(self, z: Values) -> Values:
        """Return `z`."""
        return z

    def derivative(self, z: Values) -> Values:
        """Return ones."""
        return 0.0 * z + 1.0


@ACTIVATIONS.register
class Tanh(NamedTuple):
    """Hyperbolic tangent."""

    gain = 1.0  # type: float
    bounded = True

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return np.tanh(z)

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`."""
        return 1.0 - np.tanh(z) * np.tanh(z)


@ACTIVATIONS.register
class Sigmoid(NamedTuple):
    """Logistic distribution function, 1 / (1 + exp(-z))."""

    gain = 1.0  # type: float
    bounded = True

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return 0.5 * np.tanh(0.5 * z) + 0.5

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`."""
        t = np.tanh(0.5 * z)
        return 0.25 * (1.0 - t * t)


@ACTIVATIONS.register
class Softplus(NamedTuple):
    """Smooth positive part, log(1 + exp(z))."""

    gain = 1.0  # type: float

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return np.logaddexp(0.0, z)

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`."""
        return 0.5 * np.tanh(0.5 * z) + 0.5


@ACTIVATIONS.register
class Erf(NamedTuple):
    """Error function, with the kernel of Williams (1997)."""

    gain = 1.0  # type: float
    bounded = True

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return special.erf(z)

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`."""
        return 2.0 / np.sqrt(np.pi) * np.exp(-z * z)

    def duals(self, pairs: Normals) -> tuple[np.ndarray, np.ndarray]:
        """Return kappa_1 and kappa_0 of `Normals`."""
        (x_p, y_p), (x_q, y_q) = _shares(2.0 * pairs.a**2), _shares(2.0 * pairs.b**2)
        root = np.sqrt(x_p) * np.sqrt(x_q)
        cosine = np.sqrt(y_p + x_p * y_q + root * root * pairs.sine2)  # of the arc whose sine is 2 s / size
        kappa0 = 4.0 / np.pi * np.sqrt(y_p) * np.sqrt(y_q) / cosine
        return 2.0 / np.pi * np.arctan2(root * pairs.cosine, cosine), kappa0

    def gap(self, pairs: Normals) -> np.ndarray:
        """Return ``1 - abs(correlation)`` of the activations, from differences of the arcs by the addition theorem."""
        (x_p, y_p), (x_q, y_q) = _shares(2.0 * pairs.a**2), _shares(2.0 * pairs.b**2)
        root = np.sqrt(x_p) * np.sqrt(x_q)
        wide = root * root * pairs.sine2
        cosine = np.sqrt(y_p + x_p * y_q + wide)
        difference = 2.0 * pairs.apart * (pairs.a * y_p + pairs.b * y_p) * y_q  # x_p - x_q
        arcs, behind = [], []  # the arc of each row, and this arc minus the arc of the pair
        for x, x_other, y, sign in ((x_p, x_q, y_p, 1.0), (x_q, x_p, y_q, -1.0)):
            cosine_x = np.sqrt(y * (1.0 + x))
            slant = np.maximum(np.sqrt(x) * cosine + np.sqrt(x_other) * cosine_x, TINY)
            sine = np.sqrt(x) * (sign * difference + x * wide) / slant + 2.0 * pairs.turn2 * root * cosine_x
            arcs.append(np.sqrt(np.arctan2(x, cosine_x)))
            behind.append(np.arctan2(sine, cosine_x * cosine + x * root * abs(pairs.cosine)))
        unlike, size = (
            (behind[0] - behind[1]) / np.maximum(arcs[0] + arcs[1], TINY),
            np.maximum(arcs[0] * arcs[1], TINY),
        )
        gap = 0.5 * (behind[0] + behind[1] - unlike * unlike) / size
        return np.where(abs(behind[0]) + abs(behind[1]) < size, gap, np.nan)


@ACTIVATIONS.register
class Gelu(NamedTuple):
    """z times the normal distribution function of z, with the kernel of Tsuchida et al. (2021)."""

    gain = 2**0.5  # type: float

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return z * special.ndtr(z)

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`."""
        return special.ndtr(z) + z * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)

    def duals(self, pairs: Normals) -> tuple[np.ndarray, np.ndarray]:
        """Return kappa_1 and kappa_0 of `Normals`; kappa_0 is the slope of kappa_1."""
        root, short, sine, both = self._triangle(pairs)
        cosine = root * pairs.cosine
        angle, tangent = np.pi - np.arctan2(sine, cosine), cosine / sine
        kappa1 = pairs.cosine * angle + root * (sine + pairs.cosine**2 * both / sine)
        kappa0 = angle + tangent * (short + (2.0 + tangent * tangent) * both)
        return pairs.a * pairs.b * kappa1 / (2.0 * np.pi), kappa0 / (2.0 * np.pi)

    def gap(self, pairs: Normals) -> np.ndarray:
        """Return 1 - correlation of the activations, whose variances are ``(pi - lack) a^2 / (2 pi)``."""
        lack_p, lack_q = self._lack(Normals.equal(pairs.a)), self._lack(Normals.equal(pairs.b))
        root = np.sqrt((np.pi - lack_p) * (np.pi - lack_q))
        gap = (self._lack(pairs) - (np.pi * (lack_p + lack_q) - lack_p * lack_q) / (np.pi + root)) / root
        return np.where(pairs.cosine > 0, gap, np.nan)

    def _triangle(self, pairs):
        """Return a b / size, 1 - (a b / size)^2, the sine to the cosine s / size, and 1 / size^2, of (1 + p)(1 + q)."""
        (x_p, y_p), (x_q, y_q) = _shares(pairs.a**2), _shares(pairs.b**2)
        root, short = np.sqrt(x_p) * np.sqrt(x_q), y_p + x_p * y_q
        return root, short, np.sqrt(short + root * root * pairs.sine2), y_p * y_q

    def _lack(self, pairs):
        """Return pi - 2 pi kappa_1 / (a b) for an angle below a right angle; it is small if p and q are large."""
        root, short, sine, both = self._triangle(pairs)
        angle = np.arctan2(sine, root * abs(pairs.cosine))
        bend = angle - sine + short / (1.0 + root) * sine - root * pairs.cosine**2 * both / sine
        return 2.0 * pairs.turn2 * (np.pi - angle) + bend


@ACTIVATIONS.register
class Sin(NamedTuple):
    """Sine."""

    gain = 1.0  # type: float
    bounded = True

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return np.sin(z)

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`."""
        return np.cos(z)

    def duals(self, pairs: Normals) -> tuple[np.ndarray, np.ndarray]:
        """Return kappa_1 and kappa_0 of `Normals`."""
        return _waves(pairs)

    def gap(self, pairs: Normals) -> np.ndarray:
        """Return ``1 - abs(correlation)`` of the activations."""
        return _waves_gap(pairs, -1.0)


@ACTIVATIONS.register
class Cos(NamedTuple):
    """Cosine."""

    gain = 1.0  # type: float
    bounded = True

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return np.cos(z)

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`."""
        return -np.sin(z)

    def duals(self, pairs: Normals) -> tuple[np.ndarray, np.ndarray]:
        """Return kappa_1 and kappa_0 of `Normals`."""
        return _waves(pairs)[::-1]

    def gap(self, pairs: Normals) -> np.ndarray:
        """Return 1 - correlation of the activations."""
        return _waves_gap(pairs, 1.0)


@ACTIVATIONS.register
class Monomial(NamedTuple):
    """Power of z with a natural exponent."""

    degree: int = 2
    gain = 1.0  # type: float

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return z**self.degree

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`."""
        return self.degree * z ** np.maximum(self.degree - 1, 0)

    def duals(self, pairs: Normals) -> tuple[np.ndarray, np.ndarray]:
        """Return kappa_1 and kappa_0 of `Normals`."""
        return _moment(self.degree, pairs), self.degree**2 * _moment(max(self.degree - 1, 0), pairs)

    def gap(self, pairs: Normals) -> np.ndarray:
        """Return ``1 - abs(correlation)``, the mean of ``1 - abs(c) ** k`` over Hermite polynomials."""
        weights, cosine = _moment_weights(self.degree), abs(pairs.cosine)
        total = np.zeros_like(cosine)
        for k in range(1, self.degree + 1):  # 1 - |c|^k = (1 - |c|)(1 + |c| + ... + |c|^(k - 1))
            total = total * cosine + np.sum(weights[self.degree - k + 1 :])
        return 2.0 * pairs.turn2 * total / np.sum(weights)


@ACTIVATIONS.register
class Quadratic(NamedTuple):
    """Square: its networks are quadratic forms, and its kernels are those of ``Monomial(2)``."""

    gain = 1.0  # type: float

    def value(self, z: Values) -> Values:
        """Return the activation of `z`."""
        return z * z

    def derivative(self, z: Values) -> Values:
        """Return the derivative at `z`."""
        return 2.0 * z

    def duals(self, pairs: Normals) -> tuple[np.ndarray, np.ndarray]:
        """Return kappa_1 and kappa_0 of `Normals`."""
        return Monomial(2).duals(pairs)

    def gap(self, pairs: Normals) -> np.ndarray:
        """Return 1 - correlation of the activations."""
        return Monomial(2).gap(pairs)


def half_angle_duals(bend: float, sine: np.ndarray, cosine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return :math:`1 - \kappa_1` and :math:`\kappa_0` of a homogeneous activation, over their values at angle 0.

    With :math:`J = (\sin\theta - \theta\cos\theta) / \pi`, they are :math:`1 - \cos\theta - \beta J` and
    :math:`1 - \beta\theta/\pi`, where beta is the bend (Cho and Saul 2009, equations 6 and 4, for ReLU with bend 1).

    Parameters
    ----------
    bend : float
    sine, cosine : ndarrays
        Sine and cosine of the HALF angle, because the cosine of the angle does not resolve nearly parallel inputs.
    """
    ahead = sine <= cosine
    less, more = np.minimum(sine, cosine), np.maximum(sine, cosine)
    angle = 2.0 * np.arctan2(less, more)  # to the nearer of the two ends
    gap = 2.0 * less * less
    area = (2.0 * less * more - angle * (1.0 - gap)) / np.pi
    turn = np.where(ahead, angle, np.pi - angle) / np.pi
    return np.where(ahead, gap, (2.0 - bend) + (bend - 1.0) * gap) - bend * area, 1.0 - bend * turn


def _shares(z):
    """Return z / (1 + z) and 1 / (1 + z), for z from 0 to infinity."""
    y = 1.0 / (1.0 + z)
    return np.where(z < 1.0, z * y, 1.0 - y), y


def _waves(pairs):
    """Return E[sin u sin v] and E[cos u cos v], half of E[cos(u - v)] minus and plus E[cos(u + v)]."""
    near = 0.5 * np.exp(-0.5 * pairs.apart**2 - pairs.short)  # from the distance of u to the nearer of v and -v
    double = -2.0 * pairs.a * pairs.b * abs(pairs.cosine)
    return np.copysign(near * np.expm1(double), pairs.cosine), near * (1.0 + np.exp(double))


def _waves_gap(pairs, sign):
    """Return ``1 - abs(correlation)`` of cosines for a sign of 1, and of sines for a sign of -1."""
    rows, unlike, covariance = 0.0, 0.0, pairs.a * pairs.b * abs(pairs.cosine)
    for deviation, rest in ((pairs.a, pairs.a * pairs.apart), (pairs.b, -pairs.b * pairs.apart)):
        rest = rest + pairs.short  # deviation^2 - covariance
        fall = np.copysign(np.expm1(-2.0 * abs(rest)), rest) * np.exp(-2.0 * (covariance + np.minimum(rest, 0.0)))
        whole = 1.0 + np.exp(-2.0 * deviation**2) if sign > 0 else -np.expm1(-2.0 * deviation**2)
        share = fall / np.maximum(whole, TINY)
        rows, unlike = rows + np.log1p(sign * np.clip(share, -0.5, 0.5)), np.maximum(unlike, abs(share))
    return np.where(unlike < 0.5, -np.expm1(0.5 * (rows - pairs.apart**2) - pairs.short), np.nan)


@cache
def _moment_weights(degree):
    """Return the squares of the coefficients of a power of z in orthonormal Hermite polynomials."""
    weights = np.zeros(degree + 1)
    for k in range(degree % 2, degree + 1, 2):
        pairs = (degree - k) // 2
        weights[k] = (comb(degree, k) * factorial(degree - k) // (2**pairs * factorial(pairs))) ** 2 * factorial(k)
    return weights


def _moment(degree, pairs):
    """Return E[u^degree v^degree]."""
    return (pairs.a * pairs.b) ** degree * np.polyval(_moment_weights(degree)[::-1], pairs.cosine)
