r"""Losses of one prediction `z` against one target `y`.

A loss is a small immutable class. To add a loss, register its class. `value`, `derivative` and `second_derivative` are
formulas of NumPy ufuncs, so the same source runs on arrays, compiles with numba and differentiates with JAX.

`fenchel_young(z, u, y)` is :math:`\ell(z, y) + \ell^*(u, y) - uz \ge 0` with the conjugate
:math:`\ell^*(u, y) = \sup_z uz - \ell(z, y)`. It is 0 if u is the derivative at z. It is evaluated in NumPy only, and
written so that large terms do not cancel.

A `coupled` loss reads all outputs of a sample at once, along the last axis. Other losses act on each output and are
summed. A loss with ``of_labels = True`` is for y in {0, 1}, and a loss with ``of_labels = False`` is for numbers. A
loss without `of_labels` is accepted for both.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax, softmax, xlogy

from sklearn_ltdl._registry import Registry
from sklearn_ltdl._types import Values

TINY = np.finfo(float).tiny
LOSSES = Registry("loss")  # constants of losses have type comments, as an annotation would make them fields


@LOSSES.register
class Squared(NamedTuple):
    r"""Half the squared residual, :math:`(z - y)^2 / 2`."""

    smoothness = 1.0  # type: float  # largest second derivative in z
    coupled = False
    of_labels = False

    def value(self, z: Values, y: Values) -> Values:
        """Return the loss of each prediction."""
        return 0.5 * (z - y) * (z - y)

    def derivative(self, z: Values, y: Values) -> Values:
        """Return the derivative in `z`."""
        return z - y

    def second_derivative(self, z: Values, y: Values) -> Values:
        """Return the second derivative in `z`."""
        return 0.0 * z + 1.0

    def fenchel_young(self, z: Values, u: Values, y: Values) -> Values:
        """Return the Fenchel-Young loss of the prediction `z` and the dual variable `u`."""
        return 0.5 * (z - y - u) ** 2


@LOSSES.register
class Huber(NamedTuple):
    r"""Half the squared residual within `delta`, :math:`\delta (|r| - \delta/2)` beyond it."""

    delta: float = 1.0
    smoothness = 1.0  # type: float
    coupled = False
    of_labels = False

    def value(self, z: Values, y: Values) -> Values:
        """Return the loss of each prediction."""
        core = np.minimum(np.abs(z - y), self.delta)
        return core * (np.abs(z - y) - 0.5 * core)

    def derivative(self, z: Values, y: Values) -> Values:
        """Return the derivative in `z`: the residual, clipped at `delta`."""
        return np.minimum(np.maximum(z - y, -self.delta), self.delta)

    def second_derivative(self, z: Values, y: Values) -> Values:
        """Return the second derivative in `z`."""
        return 1.0 * (np.abs(z - y) < self.delta)

    def fenchel_young(self, z: Values, u: Values, y: Values) -> Values:
        """Return the Fenchel-Young loss of the prediction `z` and the dual variable `u`, of size at most `delta`."""
        slope = self.derivative(z, y)
        return (slope - u) * (z - y - 0.5 * (slope + u))


@LOSSES.register
class Logistic(NamedTuple):
    r"""Minus the log-likelihood of a label `y` in {0, 1} (or a probability) with log-odds `z`."""

    smoothness = 0.25  # type: float
    coupled = False
    of_labels = True

    def value(self, z: Values, y: Values) -> Values:
        """Return the loss of each prediction."""
        return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))) - y * z  # faster than logaddexp

    def derivative(self, z: Values, y: Values) -> Values:
        """Return the derivative in `z`: the probability of class 1 minus `y`."""
        return 0.5 * np.tanh(0.5 * z) + 0.5 - y

    def second_derivative(self, z: Values, y: Values) -> Values:
        """Return the second derivative in `z`."""
        t = np.tanh(0.5 * z)
        return 0.25 * (1.0 - t * t)

    def fenchel_young(self, z: Values, u: Values, y: Values) -> Values:
        """Return the divergence from the probability `u + y` to the probability with log-odds `z`."""
        p, tiny = np.clip(u + y, 0, 1), np.finfo(float).tiny
        entropy = p * np.log(np.maximum(p, tiny)) + (1 - p) * np.log(np.maximum(1 - p, tiny))
        return np.maximum(entropy + self.value(z, p), 0)


@LOSSES.register
class Multinomial(NamedTuple):
    r"""Minus the log-likelihood of a one-hot row `y` under softmax scores `z`, both of shape (..., n_classes)."""

    smoothness = 0.5  # type: float  # largest eigenvalue of diag(p) - pp'
    coupled = True
    of_labels = True

    def value(self, z: Values, y: Values) -> Values:
        """Return the loss of each sample."""
        top = np.max(z, axis=-1, keepdims=True)
        return np.log(np.sum(np.exp(z - top), axis=-1)) + top[..., 0] - np.sum(y * z, axis=-1)

    def derivative(self, z: Values, y: Values) -> Values:
        """Return the gradient in the scores of each sample: the probabilities minus `y`."""
        odds = np.exp(z - np.max(z, axis=-1, keepdims=True))
        return odds / np.sum(odds, axis=-1, keepdims=True) - y

    def derivative_of_row(self, z: Values, y: Values) -> Values:
        """Return the gradient of one sample, with `z` and `y` of shape (n_classes,); numba compiles this method."""
        odds = np.exp(z - np.max(z))
        return odds / np.sum(odds) - y

    def dual_step_of_row(self, z: Values, y: Values, h: Values, u: Values) -> Values:
        """Return the u' with ``u' = derivative(z - h (u' - u), y)`` of one sample, by a guarded Newton method."""
        t = z.copy()
        odds = np.exp(t - np.max(t))
        p = odds / np.sum(odds)
        residual = h * (p - y - u)
        for _ in range(50):
            size = np.sum(residual * residual)
            if size <= 1e-20 * (1.0 + np.sum(t * t)):
                break
            # the Jacobian is I + h (diag(p) - pp'), inverted by Sherman and Morrison
            d = 1.0 + h * p
            step = residual / d + h * p / d * (np.sum(p * residual / d) / np.sum(p / d))
            new, length = t, 1.0
            for _ in range(40):
                new = t - length * step
                odds = np.exp(new - np.max(new))
                p = odds / np.sum(odds)
                residual = new - z + h * (p - y - u)
                if np.sum(residual * residual) <= (1.0 - 0.5 * length) * size:
                    break
                length *= 0.5
            t = new
        return p - y

    def fenchel_young(self, z: Values, u: Values, y: Values) -> Values:
        """Return the divergence from the probabilities `u + y` to the probabilities of scores `z`, for each sample."""
        p = np.maximum(u + y, 0)
        return np.maximum(np.sum(xlogy(p, p) - p * log_softmax(z, axis=-1), axis=-1), 0)


@LOSSES.register
class SquaredHinge(NamedTuple):
    r"""Squared lack of margin :math:`\max(0, 1 - m)^2` of a label `y` in {0, 1}, with :math:`m = (2y - 1) z`."""

    smoothness = 2.0  # type: float
    coupled = False
    of_labels = True

    def value(self, z: Values, y: Values) -> Values:
        """Return the loss of each prediction."""
        lack = np.maximum(1.0 - (2.0 * y - 1.0) * z, 0.0)
        return lack * lack

    def derivative(self, z: Values, y: Values) -> Values:
        """Return the derivative in `z`."""
        sign = 2.0 * y - 1.0
        return -2.0 * sign * np.maximum(1.0 - sign * z, 0.0)

    def second_derivative(self, z: Values, y: Values) -> Values:
        """Return the second derivative in `z`."""
        return 2.0 * ((2.0 * y - 1.0) * z < 1.0)

    def fenchel_young(self, z: Values, u: Values, y: Values) -> Values:
        """Return the Fenchel-Young loss of the prediction `z` and the dual variable `u`, of the sign of ``1 - 2y``."""
        m, v = (2 * y - 1) * z, (1 - 2 * y) * u
        return (np.maximum(1 - m, 0) - v / 2) ** 2 + v * np.maximum(m - 1, 0)


@LOSSES.register
class SmoothHinge(NamedTuple):
    r"""Lack of margin of a label `y` in {0, 1}, a parabola where it is less than `gamma`.

    With :math:`e = 1 - (2y - 1) z`, the loss is 0 for e < 0, :math:`e^2 / 2\gamma` for e from 0 to :math:`\gamma`, and
    :math:`e - \gamma / 2` for larger e.
    """

    gamma: float = 1.0
    coupled = False
    of_labels = True

    @property
    def smoothness(self) -> float:
        """Largest second derivative in `z`."""
        return 1.0 / self.gamma

    def value(self, z: Values, y: Values) -> Values:
        """Return the loss of each prediction."""
        lack = np.maximum(1.0 - (2.0 * y - 1.0) * z, 0.0)
        core = np.minimum(lack, self.gamma)
        return core * (lack - 0.5 * core) / self.gamma

    def derivative(self, z: Values, y: Values) -> Values:
        """Return the derivative in `z`."""
        sign = 2.0 * y - 1.0
        return -sign * np.minimum(np.maximum(1.0 - sign * z, 0.0) / self.gamma, 1.0)

    def second_derivative(self, z: Values, y: Values) -> Values:
        """Return the second derivative in `z`."""
        lack = 1.0 - (2.0 * y - 1.0) * z
        return (lack > 0.0) * (lack < self.gamma) / self.gamma

    def fenchel_young(self, z: Values, u: Values, y: Values) -> Values:
        """Return the Fenchel-Young loss of the prediction `z` and the dual variable `u`, between 0 and ``1 - 2y``."""
        lack, v = 1 - (2 * y - 1) * z, (1 - 2 * y) * u
        best = np.minimum(np.maximum(lack, 0) / self.gamma, 1)
        return np.maximum((best - v) * (lack - self.gamma * (best + v) / 2), 0)


def members_of_linear(loss: Any) -> tuple[str, ...]:
    """Return the members that the solvers of linear models need."""
    always = ("value", "derivative", "fenchel_young", "smoothness", "coupled")
    if getattr(loss, "coupled", False):
        return (*always, "derivative_of_row", "dual_step_of_row")
    return (*always, "second_derivative")


MEMBERS_OF_NETWORKS = ("value", "derivative", "smoothness", "coupled")


def of_rows(loss: Any, values: Values) -> Values:
    """Return the loss of each sample from the values of a loss: outputs are summed unless the loss is coupled."""
    if loss.coupled:
        return values
    return values[:, 0] if values.shape[1] == 1 else values.sum(axis=1)


def total(loss: Any, z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """Return the weighted sum over samples of the losses of `z` and `y`, both of shape (n_samples, n_outputs)."""
    return weight @ of_rows(loss, loss.value(z, y))


def has_best_intercept(loss: Any) -> bool:
    """Return whether `best_intercept` accepts the loss, which may be a user's loss."""
    return loss.coupled or hasattr(loss, "second_derivative")


def best_intercept(
    loss: Any, scores: np.ndarray, y: np.ndarray, share: np.ndarray, intercept: np.ndarray
) -> np.ndarray:
    """Return the intercept that minimises the mean loss of ``scores + intercept``, by a guarded Newton method.

    Parameters
    ----------
    loss : loss object
    scores, y : ndarray of shape (n_samples, n_outputs)
    share : ndarray of shape (n_samples,)
        Weights of sum 1.
    intercept : ndarray of shape (n_outputs,)
        Where the search starts.
    """
    if isinstance(loss, Squared):
        rough = share @ (y - scores)
        return rough + share @ (y - scores - rough)  # the mean of numbers that are all alike is one of them
    return (_best_of_classes if loss.coupled else _best_of_outputs)(loss, scores, y, share, intercept)


BALANCED = 1e-6  # relative difference of the two sides of a balance before the last Newton step, which squares it


DAMPED = 1e-12  # multiple of the Hessian of iterative scaling that is added to that of a Newton step


def _best_of_outputs(loss: Any, scores: np.ndarray, y: np.ndarray, share: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the zero of the mean slope of each output, which increases, by Newton steps within a bracket."""
    low, high, stride = np.full(len(t), -np.inf), np.full(len(t), np.inf), np.ones(len(t))
    with np.errstate(all="ignore"):  # far out, where a bracket is looked for, slopes may overflow
        for _ in range(200):
            slopes = loss.derivative(scores + t, y)
            up, down = share @ np.maximum(slopes, 0.0), share @ np.maximum(-slopes, 0.0)
            low, high = np.where(up <= down, t, low), np.where(up >= down, t, high)
            new = t - (up - down) / (share @ loss.second_derivative(scores + t, y))
            if np.all(np.abs(up - down) <= BALANCED * np.minimum(up, down)):
                return np.where(np.isfinite(new) & (low <= new) & (new <= high), new, t)
            is_open = np.isinf(low) | np.isinf(high)
            is_far = ~(np.abs(new - t) <= stride)
            away = np.where(is_open, t + np.where(up < down, stride, -stride), 0.5 * low + 0.5 * high)
            stride = np.where(is_open & is_far, 2.0 * stride, stride)
            new = np.where(is_open, np.where(is_far, away, new), np.where((low < new) & (new < high), new, away))
            if np.array_equal(new, t):
                break
            t = np.where(up == down, t, new)
    return t


def _best_of_classes(loss: Any, scores: np.ndarray, y: np.ndarray, share: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the intercept at which the shares of the classes are their mean probabilities.

    Where these are far apart every other step is one of iterative scaling, which moves each score by the logarithm of
    their quotient (Darroch and Ratcliff 1972), however rare the class. Others are Newton steps, damped by as little of
    iterative scaling as makes them well-posed: a direction that is damped changes no mean probability of a class by
    more than this part of it.
    """
    objective, wanted, eps = total(loss, scores + t, y, share), share @ y, np.finfo(float).eps
    if not np.isfinite(objective):  # of scores that overflow
        return t
    most = 1.0 + 2.0 * np.ptp(scores) + np.ptp(np.log(np.maximum(wanted, TINY)))  # no step needs to be longer
    for count in range(100):
        P = loss.derivative(scores + t, y) + y
        found = share @ P
        ratios = np.log(np.maximum(wanted, TINY)) - np.log(np.maximum(found, TINY))
        if np.max(np.abs(ratios)) > 1.0 and count % 2 == 0:
            step = -ratios
        else:
            pairs = P.T @ (share[:, None] * P)
            np.fill_diagonal(pairs, 0.0)  # of the rows' sums, which are 0, to keep the digits of rare classes
            own, roots = pairs.sum(axis=0), np.sqrt(np.maximum(found, TINY))
            hessian = (np.diag(own) - pairs) / roots / roots[:, None]  # at most that of iterative scaling, the identity
            step = np.linalg.solve(hessian + DAMPED * np.eye(len(t)), (found - wanted) / roots) / roots
        step -= step.mean()  # a constant in all scores does not count
        size = np.max(np.abs(step))
        step = step if size <= most else step * (most / size) if np.isfinite(size) else -ratios
        decrease, candidate = (found - wanted) @ step, objective
        for _ in range(60):
            candidate = total(loss, scores + t - step, y, share)
            if candidate <= objective - decrease / 4 + 1e-9 * objective + 4 * eps * most:  # of the scores
                break
            step, decrease = step / 2, decrease / 2
        objective, t = candidate, t - step
        if np.max(np.abs(ratios)) <= BALANCED or np.max(np.abs(step)) <= 4 * eps * np.max(np.abs(t)):
            break
    return t


def balanced_slopes(loss: Any, slopes: np.ndarray, y: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return dual variables near `slopes` with mean zero, which a free intercept requires."""
    tiny = np.finfo(float).tiny
    if loss.coupled:  # move the probabilities towards a constant row, no more than the class shares need
        P = slopes + y
        excess = share @ P - share @ y
        t = np.max(excess / np.maximum(share @ P, tiny), initial=0)
        return slopes + t * (share @ y - P) - (1 - t) * excess if t > 0 else slopes
    if isinstance(loss, Squared):
        slopes = slopes - share @ slopes
        return slopes - share @ slopes  # what rounding left of the mean
    sides = sides_in_balance(share @ np.maximum(slopes, 0), share @ np.maximum(-slopes, 0))
    return slopes * np.where(slopes > 0, *sides)


def sides_in_balance(up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return the factors, at most 1, that make the sums of positive slopes and of minus the negative slopes equal."""
    return np.minimum(up, down) / np.maximum([up, down], np.finfo(float).tiny)


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return class probabilities of scores of shape (n_samples, 1) (log-odds of class 1) or (n_samples, n_classes)."""
    if scores.shape[1] == 1:
        scores = np.hstack([np.zeros_like(scores), scores])
    return softmax(scores, axis=1)
