r"""The tangent kernel of a function of JAX from its products with weights, without a Jacobian.

Consider a product :math:`z_t = W a_t` at places t, with a weight W that is used nowhere else. The gradient of a row
with respect to W is :math:`\sum_t g_t a_t^\top`, where g is the gradient with respect to z. Inner products of two rows
therefore only need a and g. The products are found in the formula of the function, as JAX traces it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

_CALLS = ("jit", "pjit")  # calls whose inner formula is searched, too
_VIEWS = ("convert_element_type", "copy", "reshape", "squeeze", "transpose")  # operations that preserve inner products


class Product(NamedTuple):
    """A product of a weight with an array that depends on the rows.

    Parameters
    ----------
    path : tuple of int
        Position of its equation, through nested calls.
    leaf : int
        Index of the weight.
    operand : {0, 1}
        Which operand depends on the rows.
    places, contracted : tuple of int
        Axes of this operand: the rows first, then the other axes that are not summed over; and the axes that are.
    written : tuple of int
        Axes of the result: the rows, the other places, and the axes of the weight.
    """

    path: tuple
    leaf: int
    operand: int
    places: tuple
    contracted: tuple
    written: tuple

    def factors(self, read, slope):
        """Return inputs and gradients of each row, of shape (n, places, .)."""
        read = np.transpose(np.asarray(read), (*self.places, *self.contracted))
        slope = np.transpose(np.asarray(slope), self.written)
        n, n_places = len(read), int(np.prod(read.shape[1 : len(self.places)], dtype=int))
        return read.reshape(n, n_places, -1), slope.reshape(n, n_places, -1)


def products_of(function, weights, X):
    """Return the traced formula for n rows, and its products with weights that are used nowhere else."""
    closed, wider = (
        jax.make_jaxpr(function)(weights, jnp.zeros((len(X) + more, X.shape[1]), X.dtype)) for more in (0, 1)
    )
    uses, found = [0] * len(weights), []
    owners = [*range(len(weights)), None]
    if _walk(closed.jaxpr, wider.jaxpr, owners, (), uses, found) is None:
        return closed, ()
    return closed, tuple(product for product in found if uses[product.leaf] == 1)


def _walk(jaxpr, wider, owners, path, uses, found):
    """Collect products and uses of weights; return of which weight each result is a view (None if formulas differ)."""
    if [eqn.primitive.name for eqn in jaxpr.eqns] != [eqn.primitive.name for eqn in wider.eqns]:
        return None
    of = dict(zip(jaxpr.invars, owners))
    for k, (eqn, same) in enumerate(zip(jaxpr.eqns, wider.eqns)):
        given = [None if isinstance(var, Literal) else of.get(var) for var in eqn.invars]
        if eqn.primitive.name in _CALLS:
            inner = [call.params["jaxpr"].jaxpr for call in (eqn, same)]
            results = _walk(*inner, given, (*path, k), uses, found)
            if results is None:
                return None
            of.update(zip(eqn.outvars, results))
        elif eqn.primitive.name in _VIEWS:
            of[eqn.outvars[0]] = given[0]
        else:
            for leaf in given:
                if leaf is not None:
                    uses[leaf] += 1
            if eqn.primitive.name == "dot_general" and sum(leaf is not None for leaf in given) == 1:
                product = _product(eqn, same, given, (*path, k))
                found += [] if product is None else [product]
    results = [None if isinstance(var, Literal) else of.get(var) for var in jaxpr.outvars]
    for leaf in results if not path else ():
        if leaf is not None:
            uses[leaf] += 1  # the weight itself is an output
    return results


def _product(eqn, wider, given, path):
    """Return the Product of an equation; None if rows are not one axis of the other operand, or are summed over."""
    contracting, batch = eqn.params["dimension_numbers"]
    operand = 0 if given[0] is None else 1
    shape, larger = (call.invars[operand].aval.shape for call in (eqn, wider))
    rows = [axis for axis, (size, more) in enumerate(zip(shape, larger)) if more == size + 1]
    differ = sum(size != more for size, more in zip(shape, larger))
    if len(rows) != 1 or differ != 1 or rows[0] in contracting[operand] or batch[0] or batch[1]:
        return None
    summed = tuple(contracting[operand])
    free = [axis for axis in range(len(shape)) if axis not in summed]
    n_of_weight = len(eqn.invars[1 - operand].aval.shape) - len(summed)
    start = 0 if operand == 0 else n_of_weight
    of_weight = range(len(free), len(free) + n_of_weight) if operand == 0 else range(n_of_weight)
    others = [axis for axis in free if axis != rows[0]]
    written = [start + free.index(axis) for axis in (rows[0], *others)]
    return Product(path, given[1 - operand], operand, (rows[0], *others), summed, (*written, *of_weight))


def tapped(closed, products, weights, X, taps):
    """Return the outputs with a tap added to the result of each product, and the input of each product."""
    reads = {}
    at = {product.path: (product, tap) for product, tap in zip(products, taps)}

    def run(jaxpr, consts, values, path):
        known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *values)))

        def value(var):
            return var.val if isinstance(var, Literal) else known[var]

        for k, eqn in enumerate(jaxpr.eqns):
            given = [value(var) for var in eqn.invars]
            if eqn.primitive.name in _CALLS:
                inner = eqn.params["jaxpr"]
                results = run(inner.jaxpr, inner.consts, given, (*path, k))
            else:
                named = {var: val for var, val in zip(eqn.invars, given) if not isinstance(var, Literal)}
                alone = jaxpr.replace(constvars=[], invars=[*named], outvars=eqn.outvars, eqns=[eqn])
                results = jaxpr_as_fun(ClosedJaxpr(alone, ()))(*named.values())
            if (*path, k) in at:
                product, tap = at[*path, k]
                reads[product.path] = given[product.operand]
                results = [results[0] + tap]
            known.update(zip(eqn.outvars, results))
        return [value(var) for var in jaxpr.outvars]

    (outputs,) = run(closed.jaxpr, closed.consts, (*weights, X), ())
    return outputs, [reads[product.path] for product in products]


def taps_of(closed, products):
    """Return zeros of the shapes of the products' results."""
    avals = (_equation(closed.jaxpr, product.path).outvars[0].aval for product in products)
    return [jnp.zeros(aval.shape, aval.dtype) for aval in avals]


def _equation(jaxpr, path):
    eqn = jaxpr.eqns[path[0]]
    return eqn if len(path) == 1 else _equation(eqn.params["jaxpr"].jaxpr, path[1:])


def product_gram(read, slope, few, many, memory):
    """Return the inner products of sum_t g_t a_t^T between two ranges of rows, for g and a (n, places, .)."""
    n, places, fan_in = read.shape
    fan_out = slope.shape[2]
    if places == 1:
        return (read[few, 0] @ read[many, 0].T) * (slope[few, 0] @ slope[many, 0].T)
    if places**2 * (fan_in + fan_out) < fan_in * fan_out:  # all pairs of places
        a, g = (values[many].reshape(-1, values.shape[2]) for values in (read, slope))
        size, blocks = max(1, memory // (16 * places * len(a))), []
        for i in range(0, len(read[few]), size):
            b, h = (values[few][i : i + size].reshape(-1, values.shape[2]) for values in (read, slope))
            both = (b @ a.T) * (h @ g.T)
            blocks.append(both.reshape(len(b) // places, places, -1, places).sum(axis=(1, 3)))
        return np.concatenate(blocks)
    size, gram = max(1, memory // (8 * n * fan_in)), 0.0
    for k in range(0, fan_out, size):
        jacobian = (slope[:, :, k : k + size].swapaxes(1, 2) @ read).reshape(n, -1)
        gram = gram + jacobian[few] @ jacobian[many].T
    return gram
