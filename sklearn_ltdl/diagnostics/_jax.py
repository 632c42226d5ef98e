"""What needs automatic differentiation: networks that are known by a function alone, and curvature."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sklearn_ltdl._backends.jax import Traced, precise

_BLOCK_BYTES = 2**28  # of the gradients of one output at a block of rows
_ROWS = 256  # that are taken at a time, each alone
_STEPS = 30  # of the power iterations
_STARTS = 5


@dataclass(frozen=True, eq=False)
class Applied:
    """A network of which only a function ``apply_fn(parameters, X)`` is known.

    Its weights are those leaves of the parameters that hold real numbers, in float64. Gradients are of one row and one
    output at a time: the Jacobian of a batch, of which all but a diagonal vanishes, is never formed. What JAX compiles
    is kept here, and goes with the object.

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

    def __getstate__(self):
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __call__(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs), in JAX."""
        weights = iter(weights)
        leaves = [next(weights) if leaf is None else leaf for leaf in self.fixed]
        outputs = jnp.asarray(self.apply_fn(jax.tree.unflatten(self.tree, leaves), X))
        if outputs.size == len(X):
            return outputs.reshape(len(X), 1)
        if outputs.ndim != 2 or len(outputs) != len(X):
            raise ValueError(f"its result has shape {outputs.shape} for {len(X)} rows")
        return outputs

    @cached_property
    def _of_rows(self):
        """The outputs of each row alone."""
        return jax.jit(lambda weights, X: jax.vmap(lambda x: self(weights, x[None])[0])(X))

    @cached_property
    def _gradients(self):
        """The gradients of an output in the weights at each row, (n, P)."""

        def of_rows(weights, X, output):
            slopes = jax.vmap(lambda x: jax.grad(lambda w: self(w, x[None])[0, output])(weights))(X)
            return jnp.concatenate([layer.reshape(len(X), -1) for layer in slopes], axis=1)

        return jax.jit(of_rows)

    @cached_property
    def _input_gradients(self):
        return jax.jit(lambda weights, X: jax.vmap(jax.jacrev(lambda x: self(weights, x[None])[0]))(X))

    @cached_property
    def _norms(self):
        return jax.jit(partial(_norms, self))

    def check(self, weights, X):
        """Raise what the function raises where it is traced and differentiated."""
        with precise():
            jax.eval_shape(self._gradients, _double(weights), jnp.asarray(X[:1]), 0)

    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""
        with precise():
            return np.asarray(self(_double(weights), jnp.asarray(X)), dtype=float)

    def outputs_of_rows(self, weights, X):
        """Return the same, of one row at a time."""
        with precise():
            weights = _double(weights)
            return np.concatenate([self._of_rows(weights, X[i : i + _ROWS]) for i in range(0, len(X), _ROWS)])

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
                    rows = self._gradients(weights, X[i : i + size], k)
                    for j in range(i if Z is None else 0, len(columns), size):
                        same = Z is None and j == i
                        others = rows if same else self._gradients(weights, columns[j : j + size], k)
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
            return np.asarray(self._input_gradients(_double(weights), X))

    def neurons(self, weights, X):
        """Return None: a function does not tell what enters its activations."""

    def slope_and_bend(self, weights, X):
        """Return |Df| ** 2 and |D2f|, operator norms into functions with the mean of squares over rows."""
        return _slope_and_bend(self._norms, weights, X)


def slope_and_bend(network, weights, X):
    """Return the same of a network of formulas; what is compiled serves all of its shape."""
    return _slope_and_bend(partial(_norms_of_network, network), weights, X)


def _slope_and_bend(norms, weights, X):
    rng = np.random.default_rng(0)
    first = tuple(rng.standard_normal((_STARTS, *np.shape(layer))) for layer in weights)
    with precise():
        return tuple(float(norm) for norm in norms(_double(weights), jnp.asarray(X), _double(first)))


@jax.jit
def _norms_of_network(network, weights, X, first):
    return _norms(lambda w, rows: network.outputs(w, rows, Traced(network.activation)), weights, X, first)


def _norms(function, weights, X, first):
    r"""Return :math:`|Df|^2` and :math:`|D^2 f|` at the weights, operator norms into functions, by their mean square.

    By power iterations from random directions; the second, of a form of degree two, is the largest of the values that
    they pass, a lower bound.
    """

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


def leaves_of(parameters):
    """Return the leaves of parameters, their names, and the tree."""
    with_paths, tree = jax.tree_util.tree_flatten_with_path(parameters)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") or "parameters" for path, _ in with_paths]
    return [leaf for _, leaf in with_paths], names, tree


def is_real(leaf):
    """Return whether a leaf holds real numbers, which whole numbers are not."""
    return isinstance(leaf, float) or jnp.issubdtype(getattr(leaf, "dtype", int), jnp.floating)


def is_complex(leaf):
    """Return whether a leaf holds complex numbers."""
    return isinstance(leaf, complex) or jnp.issubdtype(getattr(leaf, "dtype", int), jnp.complexfloating)


def _double(weights):
    return tuple(jnp.asarray(layer, dtype=jnp.float64) for layer in weights)
