r"""Gradients of a function in the span of the ReLU tangent kernel, and the mean of their outer products.

Without hidden biases the kernel is :math:`r_x r_z \kappa(\cos\theta)`, where r are the scaled norms of the mapped
points :math:`\varphi(x), \varphi(z)`, and :math:`\theta` is the angle between their unit vectors u and v. A function
:math:`f(x) = \sum_j a_j k(x, z_j)` has in :math:`\varphi(x)` the gradient

.. math:: \sqrt2 \Bigl[ u \sum_j a_j r_j (\kappa - \kappa' \cos\theta_j) + \sum_j a_j r_j \kappa' v_j \Bigr].

At :math:`\theta = 0` the kernel has a kink, like :math:`-|x - z|`, and :math:`\kappa'` is infinite. There the terms in
:math:`\kappa'` are dropped, which gives the mean of the slopes on both sides.
"""

import numpy as np
from sklearn.utils import gen_batches

from sklearn_ltdl.activations import Relu, half_angle_duals
from sklearn_ltdl.ntk._kernels import NTK
from sklearn_ltdl.ntk._passes import NUMPY_TILE, squared_distances
from sklearn_ltdl.ntk._recursion import unit_rows
from sklearn_ltdl.ntk._solvers import row_blocks
from sklearn_ltdl.rows._gather import Slices, gather

KINK = np.finfo(float).eps ** 0.5  # least sine of an angle in kappa'; below it the terms in kappa' cancel


def ntk_gradients(X, Z, coef, *, depth):
    """Return the gradients of ``x -> ntk_kernel(x, Z, depth=depth) @ coef``.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    Z : ndarray of shape (m, d), or None
        None means X itself; then only half of the pairs are computed.
    coef : ndarray of shape (m, n_outputs)
    depth : int

    Returns
    -------
    gradients : ndarray of shape (n, n_outputs, d)
    """
    n, d = X.shape
    net = NTK(depth).layers
    units, norms = unit_rows(net, X)
    centres, norms = (units, norms) if Z is None else unit_rows(net, Z)
    coef = net.w_std * norms[:, None] * coef
    radial, gradients = np.zeros((n, coef.shape[1])), np.zeros((n, coef.shape[1], d))

    def add(rows, columns, along, slope):
        radial[rows] += along @ coef[columns]
        for k, a in enumerate(coef[columns].T):
            gradients[rows, k] += slope @ (a[:, None] * centres[columns, :d])

    for rows in gen_batches(n, NUMPY_TILE):
        for columns in gen_batches(rows.stop if Z is None else len(Z), NUMPY_TILE):
            sine2 = squared_distances(units[rows], centres[columns]) / 4.0
            value, slope = _zonal(np.sqrt(sine2), np.sqrt(np.maximum(1.0 - sine2, 0.0)), depth)
            along = value - slope * (1.0 - 2.0 * sine2)
            add(rows, columns, along, slope)
            if Z is None and columns != rows:
                add(columns, rows, along.T, slope.T)
    gradients += radial[:, :, None] * units[:, None, :d]
    return gradients * np.sqrt(2.0 / d)


def ntk_agop(X, weight, Z, coef, *, depth):
    """Return the weighted mean over rows of X of the gradients' outer products, summed over outputs, (d, d).

    `Z` is None if it is X, as in `ntk_gradients`.
    """
    n, d = X.shape
    width = coef.shape[1] * d  # size of the gradients of one row
    if Z is None and width <= n:  # they are then no larger than the Gram matrix
        blocks = [slice(0, n)]
    else:
        blocks, Z = gradient_blocks(n, width), X if Z is None else Z
    (total,) = gather(outer_products, Slices(blocks, lambda rows: (X[rows], weight[rows])), (Z, coef, depth))
    return total / weight.sum()


def gradient_blocks(n, width):
    """Return slices of n rows whose gradients have `width` numbers each."""
    return row_blocks(n, max(width, 8 * NUMPY_TILE))


def outer_products(block, function):
    """Return the weighted sum of the outer products of gradients, summed over outputs, (d, d); for `gather`."""
    (X, weight), (Z, coef, depth) = block, function
    gradients = ntk_gradients(X, Z, coef, depth=depth)
    gradients *= np.sqrt(weight)[:, None, None]
    flat = gradients.reshape(-1, X.shape[1])
    return (flat.T @ flat,)


def _zonal(sine, cosine, depth):
    """Return kappa and its derivative with respect to the cosine of the angle, from the half angle."""
    S = 1.0 - 2.0 * sine * sine
    T, dS, dT = S, 1.0, np.ones_like(S)
    for layer in range(depth):
        gap, kappa0 = half_angle_duals(Relu.bend, sine, cosine)
        dT = kappa0 * (dS + dT) + T * dS / (np.pi * np.maximum(2.0 * sine * cosine, KINK))
        S, dS = 1.0 - gap, kappa0 * dS
        T = S + kappa0 * T
        if layer + 1 < depth:
            sine = np.sqrt(np.maximum(gap / 2.0, 0.0))
            cosine = np.sqrt(1.0 - sine * sine)
    return T, dT
