r"""Gradients of a function of the ReLU tangent kernel, and the mean of their outer products.

Without hidden biases the kernel is :math:`r_x r_z \kappa(\cos\theta)`, r the scaled norms of the mapped points
:math:`\varphi(x), \varphi(z)` and :math:`\theta` the angle between them, of unit vectors u and v. A function
:math:`f(x) = \sum_j a_j k(x, z_j)` has in :math:`\varphi(x)` the gradient

.. math:: \sqrt2 \Bigl[ u \sum_j a_j r_j (\kappa - \kappa' \cos\theta_j) + \sum_j a_j r_j \kappa' v_j \Bigr].

At :math:`\theta = 0` the kernel has a kink, as :math:`-|x - z|` has, and :math:`\kappa'` is infinite. The mean of the
slopes on its two sides is what remains without the terms in :math:`\kappa'`.
"""

import numpy as np

from sklearn_ltdl.activations import Relu, half_angle_duals
from sklearn_ltdl.ntk._kernels import NTK
from sklearn_ltdl.ntk._passes import squared_distances
from sklearn_ltdl.ntk._recursion import unit_rows
from sklearn_ltdl.ntk._solvers import row_blocks

KINK = np.finfo(float).eps ** 0.5  # sine of an angle below which kappa' no longer grows, and its terms cancel


def ntk_gradients(X, Z, coef, *, depth):
    """Return the gradients of ``x -> ntk_kernel(x, Z, depth=depth) @ coef``.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    Z : ndarray of shape (m, d)
    coef : ndarray of shape (m, n_outputs)
    depth : int

    Returns
    -------
    gradients : ndarray of shape (n, n_outputs, d)
    """
    d = X.shape[1]
    net = NTK(depth).layers
    (units, _), (centres, norms) = unit_rows(net, X), unit_rows(net, Z)
    sine2 = squared_distances(units, centres) / 4.0
    value, slope = _zonal(np.sqrt(sine2), np.sqrt(np.maximum(1.0 - sine2, 0.0)), depth)
    coef = net.w_std * norms[:, None] * coef
    radial = (value - slope * (1.0 - 2.0 * sine2)) @ coef
    gradients = radial[:, :, None] * units[:, None, :d]
    for k, a in enumerate(coef.T):
        gradients[:, k] += slope @ (a[:, None] * centres[:, :d])
    return gradients * np.sqrt(2.0 / d)


def ntk_agop(X, weight, Z, coef, *, depth):
    """Return the weighted mean over rows of X, summed over outputs, of the gradients' outer products, (d, d)."""
    total = np.zeros((X.shape[1],) * 2)
    for rows in row_blocks(len(X), 8 * len(Z)):  # eight temporaries are alive at once
        gradients = ntk_gradients(X[rows], Z, coef, depth=depth)
        gradients *= np.sqrt(weight[rows])[:, None, None]
        flat = gradients.reshape(-1, X.shape[1])
        total += flat.T @ flat
    return total / weight.sum()


def _zonal(sine, cosine, depth):
    """Return kappa and its derivative in the cosine of the angle, from the half angle."""
    S = 1.0 - 2.0 * sine * sine
    T, dS, dT = S, np.ones_like(S), np.ones_like(S)
    for _ in range(depth):
        gap, kappa0 = half_angle_duals(Relu.bend, sine, cosine)
        dT = kappa0 * (dS + dT) + T * dS / (np.pi * np.maximum(2.0 * sine * cosine, KINK))
        S, dS = 1.0 - gap, kappa0 * dS
        T = S + kappa0 * T
        sine = np.sqrt(np.maximum(gap / 2.0, 0.0))
        cosine = np.sqrt(1.0 - sine * sine)
    return T, dT
