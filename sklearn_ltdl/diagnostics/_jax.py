"""What needs automatic differentiation: networks that are known by a function alone, and curvature."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sklearn_ltdl._backends.jax import Traced, precise

_BLOCK_BYTES = 2**28  # of the gradients of one output at a block of rows
_ROWS = 256  # whose gradients in the input are taken at a time
_STEPS = 30  # of the power iterations
_STARTS = 5


@partial(jax.tree_util.register_dataclass, data_fields=["fixed"], meta_fields=["apply_fn", "tree"])
@dataclass(frozen=True, eq=False)
class Applied:
    """A network of which only a function ``apply_fn(parameters, X)`` is known.

    Its weights are those leaves of the parameters that hold real numbers, in float64. Gradients are of one row and one
    output at a time: the Jacobian of a batch, of which all but a diagonal vanishes, is never formed.

    Parameters
    ----------
    apply_fn : callable
    tree : PyTreeDef
        Of the parameters.
    fixed : tuple
        The other leaves, such as counters; None in the place of a weight.
    """

    apply_fn: Callable
    tree: Any
    fixed: tuple

    def __call__(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs), in JAX."""
        weights = iter(weights)
        leaves = [next(weights) if leaf is None else leaf for leaf in self.fixed]
        outputs = jnp.asarray(self.apply_fn(jax.tree.unflatten(self.tree, leaves), X))
        if outputs.ndim not in (1, 2) or len(outputs) != len(X):
            raise ValueError(f"its result has shape {outputs.shape} for {len(X)} rows")
        return outputs.reshape(len(X), -1)

    def check(self, weights, X):
        """Raise what the function raises where it is traced and differentiated."""
        with precise():
            jax.eval_shape(partial(_output_gradients, self), _double(weights), jnp.asarray(X[:1]), 0)

    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""
        with precise():
            return np.asarray(self(_double(weights), jnp.asarray(X)), dtype=float)

    def kernel(self, weights, X, Z=None):
        """Return the tangent kernel between rows of `X` and `Z`, or of `X`, the mean over outputs."""
        columns = X if Z is None else Z
        gram = np.zeros((len(X), len(columns)))
        size = max(1, _BLOCK_BYTES // (8 * sum(layer.size for layer in weights)))
        with precise():
            weights = _double(weights)
            n_outputs = jax.eval_shape(self, weights, jnp.asarray(X[:1])).shape[1]
            for k in range(n_outputs):
                for i in range(0, len(X), size):
                    rows = _output_gradients(self, weights, X[i : i + size], k)
                    for j in range(i if Z is None else 0, len(columns), size):
                        same = Z is None and j == i
                        others = rows if same else _output_gradients(self, weights, columns[j : j + size], k)
                        gram[i : i + size, j : j + size] += rows @ others.T
        if Z is None:
            gram = np.triu(gram) + np.triu(gram, 1).T
        return gram / n_outputs

    def tangent(self, weights, move, X):
        """Return the derivative of the outputs at `weights` along a move of them."""
        with precise():
            return np.asarray(jax.jvp(lambda w: self(w, jnp.asarray(X)), (_double(weights),), (_double(move),))[1])

    def input_gradients(self, weights, X):
        """Return the gradients of the outputs in the row, of shape (n_samples, n_outputs, n_features)."""
        with precise():
            weights = _double(weights)
            return np.concatenate([_input_gradients(self, weights, X[i : i + _ROWS]) for i in range(0, len(X), _ROWS)])

    def neurons(self, weights, X):
        """Return None: a function does not tell what enters its activations."""

    def slope_and_bend(self, weights, X):
        """Return |Df| ** 2 and |D2f|, operator norms into functions with the mean of squares over rows."""
        return slope_and_bend(self, weights, X)


@jax.jit
def _output_gradients(function, weights, X, output):
    """Return the gradients of an output in the weights at each row, (n, P)."""

    def of_row(x):
        return jax.grad(lambda w: function(w, x[None])[0, output])(weights)

    return jnp.concatenate([layer.reshape(len(X), -1) for layer in jax.vmap(of_row)(X)], axis=1)


@jax.jit
def _input_gradients(function, weights, X):
    return jax.vmap(jax.jacrev(lambda x: function(weights, x[None])[0]))(X)


@jax.jit
def _norms(function, weights, X, first):
    """Return the largest eigenvalue of Df'Df / n and the norm of D2f, both over the mean of rows."""

    def f(w):
        return function(w, X) / jnp.sqrt(len(X))

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


def slope_and_bend(function, weights, X):
    r"""Return :math:`|Df|^2` and :math:`|D^2 f|` at the weights, operator norms into functions, by their mean square.

    By power iterations from random directions; the second, of a form of degree two, is the largest of the values that
    they pass, a lower bound.

    Parameters
    ----------
    function : callable (weights, X) -> outputs, a pytree
    weights : tuple of ndarray
    X : ndarray of shape (n_samples, n_features)
    """
    rng = np.random.default_rng(0)
    first = tuple(rng.standard_normal((_STARTS, *np.shape(layer))) for layer in weights)
    with precise():
        norms = _norms(function, _double(weights), jnp.asarray(X), _double(first))
        return tuple(float(norm) for norm in norms)


def traced(network):
    """Return the outputs of a network of formulas as a function of weights and rows for JAX."""
    return jax.tree_util.Partial(_traced_outputs, network)


def _traced_outputs(network, weights, X):
    return network.outputs(weights, X, Traced(network.activation))


def leaves_of(parameters):
    """Return the leaves of parameters, those of real numbers in float64, which these are, names, and the tree."""
    with_paths, tree = jax.tree_util.tree_flatten_with_path(parameters)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") or "parameters" for path, _ in with_paths]
    real = [_is_real(leaf) for _, leaf in with_paths]
    leaves = [np.asarray(leaf, dtype=float) if is_real else leaf for (_, leaf), is_real in zip(with_paths, real)]
    return leaves, real, names, tree


def _is_real(leaf):
    return isinstance(leaf, float) or jnp.issubdtype(getattr(leaf, "dtype", np.dtype(int)), jnp.floating)


def _double(weights):
    return tuple(jnp.asarray(layer, dtype=jnp.float64) for layer in weights)
