"""Compiled passes over dense rows: each block of rows is read once, and used again while it is in the cache."""

from functools import partial

import numpy as np
from numba.extending import overload, register_jitable

from sklearn_ltdl._backends.numba import add_gram, compiled
from sklearn_ltdl.losses import Logistic


@compiled
def add_moments(X, extra, root, first, last, B, C):
    """Add to C the products of all columns of ``[X, extra, 1]``, times the roots, over the rows `first` to `last`.

    `root` is one number a row, or the number 1 alone. B is a buffer for a block of rows.
    """
    p, K, equal = X.shape[1], extra.shape[1], len(root) == 1
    for begin in range(first, last, len(B)):
        n_rows = min(len(B), last - begin)
        for t in range(n_rows):
            i, factor = begin + t, 1.0
            if equal:
                for j in range(p):
                    B[t, j] = X[i, j]
            else:
                factor = root[i]
                for j in range(p):
                    B[t, j] = factor * X[i, j]
            for k in range(K):
                B[t, p + k] = factor * extra[i, k]
            B[t, p + K] = factor
        add_gram(B, n_rows, C)


@compiled
def write_margins(X, w, intercept, first, z):
    """Write the margins of the rows from `first` on; four rows at a time share what is loaded of w."""
    n_rows, p, zero = len(z), X.shape[1], X.dtype.type(0)
    for t in range(0, n_rows - 3, 4):
        x0, x1, x2, x3 = X[first + t], X[first + t + 1], X[first + t + 2], X[first + t + 3]
        z0 = z1 = z2 = z3 = zero
        for j in range(p):
            z0 += w[j] * x0[j]
            z1 += w[j] * x1[j]
            z2 += w[j] * x2[j]
            z3 += w[j] * x3[j]
        z[t], z[t + 1], z[t + 2], z[t + 3] = z0 + intercept, z1 + intercept, z2 + intercept, z3 + intercept
    for t in range(n_rows - n_rows % 4, n_rows):
        z0 = zero
        for j in range(p):
            z0 += w[j] * X[first + t, j]
        z[t] = z0 + intercept


@compiled
def add_pull(X, u, first, pull):
    """Add ``u @ X`` of the rows from `first` on; four rows at a time share what is loaded and stored of the pull."""
    n_rows, p = len(u), X.shape[1]
    for t in range(0, n_rows - 3, 4):
        x0, x1, x2, x3 = X[first + t], X[first + t + 1], X[first + t + 2], X[first + t + 3]
        u0, u1, u2, u3 = u[t], u[t + 1], u[t + 2], u[t + 3]
        for j in range(p):
            pull[j] += u0 * x0[j] + u1 * x1[j] + u2 * x2[j] + u3 * x3[j]
    for t in range(n_rows - n_rows % 4, n_rows):
        for j in range(p):
            pull[j] += u[t] * X[first + t, j]


@compiled
def add_pulls(X, u, first, pull, rising):
    """Add ``u @ X`` of the rows from `first` on to the pull, and ``max(u, 0) @ X`` to the rising part of it."""
    n_rows, p, zero = len(u), X.shape[1], X.dtype.type(0)
    for t in range(0, n_rows - 3, 4):
        x0, x1, x2, x3 = X[first + t], X[first + t + 1], X[first + t + 2], X[first + t + 3]
        u0, u1, u2, u3 = u[t], u[t + 1], u[t + 2], u[t + 3]
        v0, v1, v2, v3 = max(u0, zero), max(u1, zero), max(u2, zero), max(u3, zero)
        for j in range(p):
            pull[j] += u0 * x0[j] + u1 * x1[j] + u2 * x2[j] + u3 * x3[j]
            rising[j] += v0 * x0[j] + v1 * x1[j] + v2 * x2[j] + v3 * x3[j]
    for t in range(n_rows - n_rows % 4, n_rows):
        v0 = max(u[t], zero)
        for j in range(p):
            pull[j] += u[t] * X[first + t, j]
            rising[j] += v0 * X[first + t, j]


@compiled
def add_curved(X, curvature, v, first, last, size, product):
    """Add ``X' (curvature * (X v))`` of the rows `first` to `last`."""
    z = np.empty(size)
    for begin in range(first, last, size):
        n_rows = min(size, last - begin)
        write_margins(X, v, 0.0, begin, z[:n_rows])
        for t in range(n_rows):
            z[t] *= curvature[begin + t]
        add_pull(X, z[:n_rows], begin, product)


@partial(compiled, fastmath=False)
def write_powers(z, bits, power, out):
    """Write ``exp(-|z|)``: a power of 2, by the bits of its exponent, times the series of exp up to ``log(2) / 2``.

    `bits` and `power` are the same numbers, as integers and as floats. A loop without calls runs in vectors.
    """
    for i in range(len(z)):
        a = min(abs(z[i]), 700.0)
        k = np.floor(0.5 - a * 1.4426950408889634)
        r = (-a - k * 0.6931471803691238) - k * 1.9082149292705877e-10  # log(2) in two parts
        s = 1.0 / 6227020800.0
        s = s * r + 1.0 / 479001600.0
        s = s * r + 1.0 / 39916800.0
        s = s * r + 1.0 / 3628800.0
        s = s * r + 1.0 / 362880.0
        s = s * r + 1.0 / 40320.0
        s = s * r + 1.0 / 5040.0
        s = s * r + 1.0 / 720.0
        s = s * r + 1.0 / 120.0
        s = s * r + 1.0 / 24.0
        s = s * r + 1.0 / 6.0
        s = s * r + 0.5
        s = s * r + 1.0
        out[i] = s * r + 1.0
        bits[i] = (np.int64(k) + 1023) << 52
    for i in range(len(z)):
        out[i] *= power[i]


def write_slopes(loss, z, y, share, u, bits, work):
    """Write the slopes of the losses times the shares, and return the sum of the losses times the shares."""
    raise NotImplementedError("compiled code only")


@overload(write_slopes)
def _compiled_write_slopes(loss, z, y, share, u, bits, work):
    if loss.instance_class is Logistic:

        def write(loss, z, y, share, u, bits, work):
            total, product, equal = 0.0, 1.0, len(share) == 1
            write_powers(z, bits, bits.view(np.float64), work)
            for i in range(len(z)):
                chance = 1.0 / (1.0 + work[i])
                chance = chance if z[i] > 0 else work[i] * chance
                u[i] = chance - y[i]
                total += (max(z[i], 0.0) - y[i] * z[i]) * (1.0 if equal else share[i])
            if equal:
                for i in range(len(z)):  # no more factors than their product of at most 2 each can have
                    product *= 1.0 + work[i]
                    u[i] *= share[0]
                return (total + np.log(product)) * share[0]
            for i in range(len(z)):
                total += share[i] * np.log1p(work[i])
                u[i] *= share[i]
            return total

        return write
    value, derivative = (register_jitable(getattr(loss.instance_class, name)) for name in ("value", "derivative"))

    def write(loss, z, y, share, u, bits, work):
        total = 0.0
        for i in range(len(z)):
            q = share[0] if len(share) == 1 else share[i]
            total += q * value(loss, z[i], y[i])
            u[i] = q * derivative(loss, z[i], y[i])
        return total

    return write


@compiled
def add_squares(X, first, last, squares):
    """Add the sum of the squares of the rows `first` to `last` to the one number in `squares`."""
    for i in range(first, last):
        total = X.dtype.type(0)
        for j in range(X.shape[1]):
            total += X[i, j] * X[i, j]
        squares[0] += total


@compiled
def read_rows(loss, X, y, share, w, intercept, first, last, size, margins, pull, rising, squares):
    """Read the rows `first` to `last` once, in blocks of `size` rows.

    Writes their margins, adds ``X' (share slopes)`` to the pull, what positive slopes contribute to its rising part and
    the squares of the rows to their sum (if these are not empty), and returns the sums of losses, of slopes and of
    positive slopes times shares. `share` is one number a row, or one number.
    """
    total, slope, rise, equal, is_zero = 0.0, 0.0, 0.0, len(share) == 1, not np.any(w)
    u, work, bits, factors = np.empty(size), np.empty(size), np.empty(size, np.int64), np.empty(size, X.dtype)
    for begin in range(first, last, size):
        end = min(begin + size, last)
        n_rows, z = end - begin, margins[begin:end]
        if is_zero:
            z[:] = intercept
        else:
            write_margins(X, w, intercept, begin, z)
        q = share if equal else share[begin:end]
        total += write_slopes(loss, z, y[begin:end], q, u[:n_rows], bits[:n_rows], work[:n_rows])
        for t in range(n_rows):
            slope += u[t]
            rise += max(u[t], 0.0)
            factors[t] = u[t]
        if len(rising) > 0:
            add_pulls(X, factors[:n_rows], begin, pull, rising)
        else:
            add_pull(X, factors[:n_rows], begin, pull)
        if len(squares) > 0:
            add_squares(X, begin, end, squares)
    return total, slope, rise
