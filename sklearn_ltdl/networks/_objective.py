r"""The objective of training a network, and its derivatives, in JAX.

The objective is :math:`R(f - f_0 + c) + \frac{\alpha s^2 m}{2} |w - w_{ref}|^2` with the weighted mean loss R and an
unpenalised intercept c.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sklearn_ltdl._backends.jax import Traced, traced
from sklearn_ltdl.losses import of_rows
from sklearn_ltdl.networks._metric import InputMetric
from sklearn_ltdl.networks._model import Data, Network, width_of

_PILOT_ROWS = 2000  # the stable step is estimated on at most so many rows
_CACHE = 2**22  # bytes of the activations of a block of rows


class Problem(NamedTuple):
    """The objective: the mean loss over `data` plus the penalty on the distance of the weights from `reference`.

    With a `metric`, gradients are multiplied by it, and the stable step is that of descent along these products.
    """

    network: Network
    loss: NamedTuple
    data: Data
    alpha: float
    reference: tuple
    metric: InputMetric | None = None

    def at(self, weights, intercept, data=None):
        """Return the objective, its gradient divided by s^2 m, and the intercept refitted by one step."""
        data = self.data if data is None else data
        risk, gradient, intercept = risk_and_gradient(self.network, self.loss, weights, intercept, data)
        step = self.network.scaling.step(width_of(weights))
        away = add(weights, -1.0, self.reference)
        value = risk + 0.5 * self.alpha / step * _dot(away, away)
        slope = add(scaled(step, gradient), self.alpha, away)
        return value, slope if self.metric is None else self.metric.times(slope), intercept

    def stable_step(self, weights, intercept):
        """Return the largest stable step of plain descent, or 1 if the objective has no curvature."""
        data = self.data.part(slice(None, None, -(-len(self.data.phi) // _PILOT_ROWS)))
        curvature = self.loss.smoothness * top_eigenvalue(self.network, weights, data, intercept, self.metric)
        curvature += self.alpha * (1.0 if self.metric is None else self.metric.largest)
        return 1 / jnp.where(curvature > 0, curvature, 1.0)

    @jax.jit
    def value(self, weights, intercept):
        """Return the objective."""
        return self.at(weights, intercept)[0]

    @jax.jit
    def risk(self, weights, intercept, data):
        """Return the mean loss on other rows."""
        value = traced(type(self.loss).value).__get__(self.loss)
        scores = outputs(self.network, weights, data.phi) - data.offset
        scores = scores if intercept is None else scores + intercept
        return data.weight @ of_rows(self.loss, value(scores, data.targets))

    @functools.partial(jax.jit, static_argnames="n_steps")
    def refitted(self, weights, intercept, data, n_steps=1):
        """Return the intercept refitted to other rows, by steps of 1/smoothness."""
        scores = outputs(self.network, weights, data.phi) - data.offset
        return jax.lax.fori_loop(0, n_steps, lambda _, c: _stepped(self.loss, scores, c, data), intercept)


def risk_and_gradient(network, loss, weights, intercept, data):
    """Return the risk, its gradient with respect to the weights, and the intercept after one step of 1/smoothness.

    An intercept of None stays 0.
    """
    derivative = traced(type(loss).derivative).__get__(loss)
    value = traced(type(loss).value).__get__(loss)
    scores, pull_back = _outputs_and_transpose(network, weights, data.phi)
    margins = scores - data.offset
    if intercept is not None:
        intercept = _stepped(loss, margins, intercept, data)
        margins += intercept
    risk = data.weight @ of_rows(loss, value(margins, data.targets))
    return risk, pull_back(data.weight[:, None] * derivative(margins, data.targets)), intercept


def _stepped(loss, scores, intercept, data):
    """Return the intercept after a step of 1/smoothness, shorter if the weights of a batch sum to more than 1."""
    derivative = traced(type(loss).derivative).__get__(loss)
    slope = data.weight @ derivative(scores + intercept, data.targets)
    return intercept - slope / (loss.smoothness * jnp.maximum(1.0, data.weight.sum()))


def _outputs_and_transpose(network, weights, phi):
    """Return the outputs, and the function that multiplies by their transposed Jacobian.

    On a CPU, rows are processed in blocks whose activations fit in the cache. The activations are recomputed for the
    second product, which is faster than reading them from memory.
    """
    size = max(64, _CACHE // (width_of(weights) * phi.dtype.itemsize))
    if len(phi) <= 2 * size or jax.default_backend() != "cpu":
        values, transposed = jax.vjp(lambda w: outputs(network, w, phi), weights)
        return values, lambda slopes: transposed(slopes)[0]

    def in_blocks(columns):
        return jnp.pad(columns, [(0, -len(columns) % size), (0, 0)]).reshape(-1, size, columns.shape[1])

    def accumulated(gradient, block):
        rows, slopes = block
        return add(gradient, 1.0, jax.vjp(lambda w: outputs(network, w, rows), weights)[1](slopes)[0]), None

    blocks = in_blocks(phi)
    values = jax.lax.map(lambda rows: outputs(network, weights, rows), blocks)
    values = values.reshape(-1, values.shape[2])[: len(phi)]
    return values, lambda slopes: jax.lax.scan(accumulated, scaled(0.0, weights), (blocks, in_blocks(slopes)))[0]


@jax.jit
def top_eigenvalue(network, weights, data, intercept, metric=None):
    """Return the largest eigenvalue of the weighted tangent kernel divided by s^2 m, by 30 power iterations.

    The kernel is centred unless the intercept is None. With a metric M it is Df M Df' in place of Df Df'.
    """
    scores, push = jax.linearize(lambda w: outputs(network, w, data.phi), weights)
    pull = jax.linear_transpose(push, weights)
    root = jnp.sqrt(data.weight)[:, None]
    constant = 0.0 * root if intercept is None else root  # a unit vector that spans the intercept
    tiny = jnp.finfo(scores.dtype).tiny

    def multiply(direction, _):
        move = pull(root * direction)[0]
        image = _centre(root * push(move if metric is None else metric.times(move)), constant)
        norm = jnp.linalg.norm(image)
        return image / (norm + tiny), norm

    start = _centre(root * (data.targets + jnp.cos(jnp.arange(scores.size).reshape(scores.shape))), constant)
    norms = jax.lax.scan(multiply, start / (jnp.linalg.norm(start) + tiny), length=30)[1]
    return norms[-1] * network.scaling.step(width_of(weights))


def _centre(columns, root):
    return columns - root * (root * columns).sum(axis=0)


def outputs(network, weights, phi):
    """Return the outputs of shape (n_samples, n_outputs)."""
    return network.outputs(weights, phi, Traced(network.activation))


def add(x, factor, y):
    """Return x + factor * y for trees of arrays."""
    return jax.tree.map(lambda a, b: a + factor * b, x, y)


def scaled(factor, x):
    """Return factor * x for a tree of arrays."""
    return jax.tree.map(lambda a: factor * a, x)


def _dot(x, y):
    return sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y)))
