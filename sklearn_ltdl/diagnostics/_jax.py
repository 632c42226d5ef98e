"""What needs automatic differentiation: networks that are known by a function alone, and curvature."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sklearn_ltdl._backends.jax import Traced, precise

_BLOCK_BYTES = 2**28  # of the gradients of a block of rows
_STEPS = 30  # of the power iterations
_STARTS = 5


@jax.tree_util.register_static
@dataclass(frozen=True)
class Applied:
    """A function ``apply_fn(parameters, X)`` of which nothing else is known.

    Weights are the leaves of its parameters, in float64; the sum over outputs of products of gradients is exact, row by
    row: the Jacobian of a batch, of which all but a diagonal vanishes, is never formed.

    Parameters
    ----------
    apply_fn : callable
    tree : PyTreeDef
        Of the parameters.
    """

    apply_fn: Callable
    tree: Any
    activation = None

    def outputs(self, weights, X, activation=None):
        """Return what the function returns, of shape (n_samples, n_outputs)."""
        outputs = self.apply_fn(jax.tree.unflatten(self.tree, weights), X)
        if outputs.ndim not in (1, 2) or len(outputs) != len(X):
            raise ValueError(f"its result has shape {outputs.shape} for {len(X)} rows")
        return outputs.reshape(len(X), -1)


@partial(jax.jit, static_argnames="argument")
def _row_gradients(network, weights, X, *, argument):
    """Return the gradients of each row in the weights, (n, K, P), or in the row, (n, K, d)."""

    def of_row(weights, x):
        return network.outputs(weights, x[None])[0]

    if argument == "row":
        return jax.vmap(lambda x: jax.jacrev(of_row, 1)(weights, x))(X)
    layers = jax.vmap(lambda x: jax.jacrev(of_row)(weights, x))(X)
    return jnp.concatenate([layer.reshape(*layer.shape[:2], -1) for layer in layers], axis=2)


def outputs(network, weights, X):
    """Return the outputs in float64, in NumPy."""
    with precise():
        return np.asarray(network.outputs(_double(weights), jnp.asarray(X)), dtype=float)


def input_gradients(network, weights, X):
    """Return the gradients of the outputs in the row, of shape (n_samples, n_outputs, n_features)."""
    with precise():
        return np.asarray(_row_gradients(network, _double(weights), jnp.asarray(X), argument="row"))


def tangent_gram(network, weights, X, other=None):
    """Return the tangent kernel between rows, the mean over outputs; gradients of a block of rows at a time."""
    columns = X if other is None else other
    gram = np.empty((len(X), len(columns)))
    with precise():
        weights = _double(weights)
        n_outputs = jax.eval_shape(network.outputs, weights, jnp.asarray(X[:1])).shape[1]
        size = max(1, _BLOCK_BYTES // (8 * n_outputs * sum(layer.size for layer in weights)))
        gradients = partial(_row_gradients, network, weights, argument="weights")
        for i in range(0, len(X), size):
            rows = gradients(jnp.asarray(X[i : i + size]))
            for j in range(i if other is None else 0, len(columns), size):
                over = rows if other is None and j == i else gradients(jnp.asarray(columns[j : j + size]))
                block = jnp.einsum("ikp,jkp->ij", rows, over) / n_outputs
                gram[i : i + size, j : j + size] = block
                if other is None:
                    gram[j : j + size, i : i + size] = block.T
    return gram


def tangent_outputs(network, weights, move, X):
    """Return the derivative of the outputs along a move of the weights."""
    with precise():
        along = jax.jvp(lambda w: network.outputs(w, jnp.asarray(X)), (_double(weights),), (_double(move),))[1]
        return np.asarray(along)


@jax.jit
def _norms(network, weights, X, first):
    """Return the largest eigenvalue of Df'Df / n and the norm of D2f, both over the mean of rows."""

    def f(w):
        return network.outputs(w, X, Traced(network.activation)) / jnp.sqrt(len(X))

    def bend(u):
        """Return the second derivative along u."""
        return jax.jvp(lambda w: jax.jvp(f, (w,), (u,))[1], (weights,), (u,))[1]

    def unit(u):
        size = jnp.sqrt(sum(jnp.vdot(layer, layer) for layer in u))
        return jax.tree.map(lambda layer: layer / jnp.where(size > 0, size, 1.0), u), size

    def slope_step(u, _):
        image, size = unit(pull(push(u)))
        return image, size

    def bend_step(u, _):
        value, pull_back = jax.vjp(bend, u)
        return unit(pull_back(value)[0])[0], jnp.sqrt(jnp.vdot(value, value))

    _, push = jax.linearize(f, weights)
    transposed = jax.linear_transpose(push, weights)

    def pull(outputs):
        return transposed(outputs)[0]

    def ascend(start):
        start = unit(start)[0]
        return tuple(jax.lax.scan(step, start, length=_STEPS)[1].max() for step in (slope_step, bend_step))

    slopes, bends = jax.lax.map(ascend, first)
    return slopes.max(), bends.max()


def slope_and_bend(network, weights, X):
    r"""Return :math:`|Df|^2` and :math:`|D^2 f|` at the weights, operator norms into functions, by their mean square.

    By power iterations from random directions; the second, of a form of degree two, is the largest of the values that
    they pass, a lower bound.
    """
    rng = np.random.default_rng(0)
    first = tuple(rng.standard_normal((_STARTS, *np.shape(layer))) for layer in weights)
    with precise():
        norms = _norms(network, _double(weights), jnp.asarray(X), _double(first))
        return tuple(float(norm) for norm in norms)


def leaves_of(parameters):
    """Return the leaves of parameters as float64 arrays, their names, and their tree."""
    with_paths, tree = jax.tree_util.tree_flatten_with_path(parameters)
    names = tuple(jax.tree_util.keystr(path, simple=True, separator=".") or "parameters" for path, _ in with_paths)
    return tuple(np.asarray(leaf, dtype=float) for _, leaf in with_paths), names, tree


def _double(weights):
    return tuple(jnp.asarray(layer, dtype=jnp.float64) for layer in weights)
