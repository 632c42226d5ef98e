"""Automatic differentiation: networks that are given as a function, and curvature."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sklearn_ltdl._backends.jax import Traced, precise
from sklearn_ltdl.diagnostics._jax_layers import product_gram, products_of, tapped, taps_of
from sklearn_ltdl.diagnostics._views import BY_PLAIN_GRADIENTS, directions, notes_on_outputs

_BLOCK_BYTES = 2**28  # for the gradients of one output at a block of rows
_ROWS = 256  # evaluated at a time, each row separately
_CHECKED_ROWS = 3
_STEPS = 30  # power iterations
_STARTS = 5


@dataclass(frozen=True, eq=False)
class Applied:
    """A network that is given as a function ``apply_fn(parameters, X)``.

    Its weights are the leaves of the parameters that hold real numbers, in float64. The kernel is computed by
    `_jax_layers`, and by plain gradients of one row and one output at a time for weights that are not in a product.
    Functions that JAX has compiled are cached on this object.

    Parameters
    ----------
    apply_fn : callable
    tree : PyTreeDef
        Structure of the parameters.
    fixed : tuple
        The other leaves, such as counters; None in place of a weight.
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
        """The outputs of each row, computed separately."""
        return jax.jit(lambda weights, X: jax.vmap(lambda x: self(weights, x[None])[0])(X))

    @cached_property
    def _gradients(self):
        """The gradient of a combination of outputs with respect to some weights at each row, (n, P)."""

        def of_rows(weights, X, direction, some):
            def combined(chosen, x):
                mixed = list(weights)
                for leaf, value in zip(some, chosen):
                    mixed[leaf] = value
                return self(mixed, x[None])[0] @ direction

            slopes = jax.vmap(jax.grad(combined), (None, 0))([weights[leaf] for leaf in some], X)
            return jnp.concatenate([layer.reshape(len(X), -1) for layer in slopes], axis=1)

        return jax.jit(of_rows, static_argnums=3)

    @cached_property
    def _formulas(self):
        """By number of rows: the products, zeros of their shapes, and the compiled function of outputs and reads."""
        return {}

    @cached_property
    def _verdict(self):
        """Whether the kernel by products is right; empty until it has been checked."""
        return []

    @cached_property
    def _compiled(self):
        return jax.jit(self)

    @cached_property
    def _input_gradients(self):
        return jax.jit(lambda weights, X: jax.vmap(jax.jacrev(lambda x: self(weights, x[None])[0]))(X))

    @cached_property
    def _norms(self):
        return jax.jit(partial(_norms, self))

    def check(self, weights, X):
        """Trace and differentiate the function, to raise its errors."""
        with precise():
            weights, X = _double(weights), jnp.asarray(X[:1])
            n_outputs = jax.eval_shape(self, weights, X).shape[1]
            some = tuple(range(len(weights)))
            jax.eval_shape(partial(self._gradients, some=some), weights, X, jnp.ones(n_outputs))

    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""
        with precise():
            return np.asarray(self(_double(weights), jnp.asarray(X)), dtype=float)

    def outputs_of_rows(self, weights, X):
        """Return the outputs computed one row at a time."""
        with precise():
            weights = _double(weights)
            return np.concatenate([self._of_rows(weights, X[i : i + _ROWS]) for i in range(0, len(X), _ROWS)])

    def kernel(self, weights, X, Z=None):
        """Return the tangent kernel between rows of `X` and `Z`, or of `X`, the mean over outputs."""
        return (self._by_products if self.structured(weights, X) else self._plain)(weights, X, Z)

    def structured(self, weights, X):
        """Return whether the kernel by products is right, checked by plain gradients on three rows."""
        if not self._verdict:
            rows = X[:: max(1, len(X) // _CHECKED_ROWS)][:_CHECKED_ROWS]
            plain = self._plain(weights, rows)
            with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are rejected later
                gap = np.abs(self._by_products(weights, rows) - plain).max()
            self._verdict.append(bool(gap <= (1e-6 if self._is_double(weights, X) else 1e-3) * np.abs(plain).max()))
        return self._verdict[0]

    def describe(self, weights, X):
        """Return notes on how the kernel is computed."""
        notes = [] if self.structured(weights, X) else [BY_PLAIN_GRADIENTS]
        return notes + notes_on_outputs(self._n_outputs(weights, X))

    def _n_outputs(self, weights, X):
        return self._result(weights, X).shape[1]

    def _is_double(self, weights, X):
        """Return whether the function keeps double precision, which not all frameworks do."""
        return self._result(weights, X).dtype == np.float64

    def _result(self, weights, X):
        """Return the shape and dtype of the outputs of one row."""
        with precise():
            return jax.eval_shape(self, _double(weights), jnp.asarray(X[:1], float))

    def _by_products(self, weights, X, Z=None):
        """Return the kernel from the inputs of products with weights and the gradients of their results."""
        few, many = slice(0, len(X)), slice(0 if Z is None else len(X), None)
        rows = X if Z is None else np.concatenate([X, Z])
        gram = np.zeros((len(X), len(rows[many])))
        with precise():
            weights, rows = _double(weights), jnp.asarray(rows, float)
            if len(rows) not in self._formulas:
                closed, products = products_of(self, weights, rows)
                run = jax.jit(partial(tapped, closed, products))
                self._formulas[len(rows)] = products, taps_of(closed, products), run
            products, taps, run = self._formulas[len(rows)]
            rest = tuple(sorted({*range(len(weights))} - {product.leaf for product in products}))
            if products:
                outputs, pull, reads = jax.vjp(lambda taps: run(weights, rows, taps), taps, has_aux=True)
                for direction in directions(outputs.shape[1]):
                    slopes = pull(jnp.tile(direction, (len(rows), 1)).astype(outputs.dtype))[0]
                    for product, read, slope in zip(products, reads, slopes):
                        gram += product_gram(*product.factors(read, slope), few, many, _BLOCK_BYTES)
                gram /= outputs.shape[1]
        return gram + self._plain(weights, X, Z, rest) if rest else gram

    def _plain(self, weights, X, Z=None, some=None):
        """Return the kernel of some of the weights, from the gradient of each row, in blocks that fit in memory."""
        some = tuple(range(len(weights))) if some is None else some
        columns = X if Z is None else Z
        gram = np.zeros((len(X), len(columns)))
        size = max(1, _BLOCK_BYTES // (8 * sum(weights[leaf].size for leaf in some)))
        n_outputs = self._n_outputs(weights, X)
        with precise():
            weights = _double(weights)
            for direction in directions(n_outputs):
                for i in range(0, len(X), size):
                    rows = self._gradients(weights, X[i : i + size], direction, some)
                    for j in range(i if Z is None else 0, len(columns), size):
                        same = Z is None and j == i
                        others = rows if same else self._gradients(weights, columns[j : j + size], direction, some)
                        gram[i : i + size, j : j + size] += rows @ others.T
        if Z is None:
            gram = np.triu(gram) + np.triu(gram, 1).T
        return gram / n_outputs

    def tangent(self, weights, move, X):
        """Return the derivative of the outputs at `weights` along a change of the weights."""
        with precise():
            return np.asarray(jax.jvp(lambda w: self(w, jnp.asarray(X)), (_double(weights),), (_double(move),))[1])

    def vjp(self, weights, X):
        """Return the outputs, and the transposed tangent, from slopes in the outputs to a change of the weights."""
        with precise():
            outputs, pull = jax.vjp(self._compiled, _double(weights), jnp.asarray(X, float))

        def transposed(slopes):
            with precise():
                return tuple(np.asarray(layer) for layer in pull(jnp.asarray(slopes, outputs.dtype))[0])

        return np.asarray(outputs), transposed

    def input_gradients(self, weights, X):
        """Return the gradients of the outputs with respect to the inputs, (n_samples, n_outputs, n_features)."""
        with precise():
            return np.asarray(self._input_gradients(_double(weights), X))

    def neurons(self, weights, X):
        """Return None: a function does not give access to its pre-activations."""

    def slope_and_bend(self, weights, X):
        """Return |Df| ** 2 and |D2f|, operator norms with the mean square over rows."""
        return _slope_and_bend(self._norms, weights, X)


def slope_and_bend(network, weights, X):
    """Return the same for a network of formulas; compiled code is shared by all networks of the same shape."""
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
    r"""Return :math:`|Df|^2` and :math:`|D^2 f|` at the weights, operator norms with the mean square over rows.

    They are computed by power iterations from random directions. The second norm is that of a quadratic form; the
    largest value of the iterations is a lower bound on it.
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
    """Return whether a leaf holds floating-point numbers; whole numbers do not count."""
    return isinstance(leaf, float) or jnp.issubdtype(getattr(leaf, "dtype", int), jnp.floating)


def is_complex(leaf):
    """Return whether a leaf holds complex numbers."""
    return isinstance(leaf, complex) or jnp.issubdtype(getattr(leaf, "dtype", int), jnp.complexfloating)


def _double(weights):
    return tuple(jnp.asarray(layer, dtype=jnp.float64) for layer in weights)
