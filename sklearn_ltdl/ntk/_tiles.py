"""Compiled passes over one tile of a network kernel, which initially holds the products of unit rows.

A pass works row by row on buffers of one row's length, in loops that compile to vector instructions. For nearly
parallel or opposite rows the product has lost the digits of the angle, which is then computed from the rows.
"""

import numpy as np

from sklearn_ltdl._backends.numba import compiled


@compiled
def zonal_tile(K, rows, columns, X, Z, r_x, r_z, near, even, odd):
    """Overwrite cosines c by ``r_x r_z (E(v) + sign(c) O(v))``, v the smaller of the half angle's sine and cosine.

    Parameters
    ----------
    K : ndarray of shape (n, m)
    rows, columns : slice
        The tile of K to fill.
    X, Z : ndarrays of shape (n, d) and (m, d)
        Unit rows.
    r_x, r_z : ndarrays of shape (n,) and (m,)
    near : float
        Smaller values of v^2 are computed from the rows.
    even, odd : tuple of 3k floats
        Polynomials in ``t = 2 sqrt(2) v - 1``, highest power first.
    """
    number = K.dtype.type  # a Python float would turn single precision into double
    one, slope = number(1), number(2 * 2**0.5)
    scale = r_z[columns]
    v2 = np.empty_like(scale)
    for i in range(rows.start, rows.stop):
        row = K[i, columns]
        _half_angles(row, X[i], Z, columns.start, near, v2)
        for j in range(len(row)):
            t = slope * np.sqrt(v2[j]) - one
            row[j] = r_x[i] * scale[j] * (_polynomial(even, t) + np.copysign(_polynomial(odd, t), row[j]))


@compiled
def layered_tile(K, rows, columns, X, Z, r_x, r_z, near, angle, area, W_x, W_z, B_x, B_z, bend, trained):
    """Overwrite cosines by the kernel, carrying them through the layers.

    Parameters
    ----------
    K, rows, columns, X, Z, near
        As in `zonal_tile`.
    r_x, r_z : ndarrays of shape (n,) and (m,)
        Square roots of the diagonal of the NNGP kernel.
    angle, area : tuple of 3k floats
        Angle divided by pi v, and ``sin(angle) - angle cos(angle)`` divided by pi v^3, as polynomials in ``t = 4 v^2 -
        1``, highest power first.
    W_x, W_z, B_x, B_z : ndarrays of shape (depth, n) and (depth, m)
        Shares of the weights and of the biases in each r of a layer; their squares sum to one.
    bend : float
        The bend of the activation; see `sklearn_ltdl.activations.half_angle_duals`.
    trained : ndarray of shape (depth + 1,)
        1 for each weight matrix that is trained, else 0. If only the read-out is trained, the kernel is the NNGP
        kernel.
    """
    number = K.dtype.type
    zero, half, one, two, four = number(0), number(0.5), number(1), number(2), number(4)
    scale = r_z[columns]
    v2, T = np.empty_like(scale), np.empty_like(scale)
    for i in range(rows.start, rows.stop):
        cosine = K[i, columns]
        _half_angles(cosine, X[i], Z, columns.start, near, v2)
        for j in range(len(T)):  # compiles in a third of the time of T[:] = cosine
            T[j] = trained[0] * cosine[j]
        for layer in range(len(W_x)):
            weight_x, weight_z = W_x[layer, i], W_z[layer, columns]
            bias_x, bias_z = B_x[layer, i], B_z[layer, columns]
            for j in range(len(cosine)):
                v, t = np.sqrt(v2[j]), four * v2[j] - one
                turn, rest = v * _polynomial(angle, t), v * v2[j] * _polynomial(area, t)
                ahead = cosine[j] >= 0
                chord = two * v2[j]
                gap = (chord if ahead else (two - bend) + (bend - one) * chord) - bend * rest  # 1 - kappa_1
                kappa0 = one - bend * (turn if ahead else one - turn)
                share = weight_x * weight_z[j]
                chord2 = (weight_x - weight_z[j]) ** 2 + (bias_x - bias_z[j]) ** 2
                gap = share * gap + half * chord2
                cosine[j] = one - gap
                v2[j] = half * max(min(gap, two - gap), zero)
                T[j] = trained[layer + 1] * cosine[j] + share * kappa0 * T[j]
        for j in range(len(cosine)):
            cosine[j] = r_x[i] * scale[j] * T[j]


@compiled
def _half_angles(cosine, x, Z, first, near, v2):
    """Write the square of the half angle's sine or cosine, whichever is smaller, to `v2`."""
    number = cosine.dtype.type
    zero, half, one = number(0), number(0.5), number(1)
    for j in range(len(v2)):
        v2[j] = half * max(one - abs(cosine[j]), zero)
    count = 0  # a loop of its own, which vectorises; the loop below rarely runs
    for j in range(len(v2)):
        count += v2[j] < near
    if count > 0:
        for j in range(len(v2)):
            if v2[j] < near:
                v2[j] = zero
                sign = np.copysign(half, cosine[j])
                for k in range(len(x)):
                    v2[j] += (half * x[k] - sign * Z[first + j, k]) ** 2


@compiled
def _polynomial(coefficients, t):
    """Evaluate as three polynomials in t^3, which the compiler unrolls, so that the caller's loop vectorises."""
    t2 = t * t
    t3 = t2 * t
    return t2 * _horner(coefficients[0::3], t3) + t * _horner(coefficients[1::3], t3) + _horner(coefficients[2::3], t3)


@compiled
def _horner(coefficients, t):
    value = coefficients[0]
    for k in range(1, len(coefficients)):
        value = value * t + coefficients[k]
    return value
