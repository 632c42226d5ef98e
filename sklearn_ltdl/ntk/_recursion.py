r"""The recursion through the layers of an infinitely wide network, for a matrix of pairs of rows.

The first layer of the network acts on :math:`\varphi(x) = [x / \sqrt d, b]`, so the bias is one more coordinate. With
:math:`S_0 = w^2 \langle\varphi(x), \varphi(z)\rangle`, each hidden layer maps

.. math:: S' = w^2 E[\sigma(u)\sigma(v)] + b_h^2, \qquad T' = S' + w^2 E[\sigma'(u)\sigma'(v)]\,T,

with expectations over normal (u, v) of covariance S, and :math:`T_0 = S_0`. After `depth` layers S is the NNGP kernel
and T the neural tangent kernel in the 'NTK parametrisation' (Jacot, Gabriel, Hongler 2018). The S of a weight matrix
that is not trained is left out of T.

For homogeneous activations, both are stored divided by :math:`\sqrt{q_x q_z}`, where q is the diagonal of S, and the
angle is stored as :math:`v^2 = \sin^2(\theta/2) = (1 - \cos\theta)/2`, which no layer computes as a difference of
nearly equal numbers. For other activations, S and T themselves are stored, and with S the correlation c and :math:`(1 -
|c|) / 2`. The latter is equally exact: it is computed from the rows for the first layer, and by the activation's `gap`
from one layer to the next.

If only the angle matters (a homogeneous activation without hidden biases, or rows of equal norm), a large kernel matrix
is computed by two polynomials of a product of matrices. With hidden biases, compiled code goes through the layers of a
homogeneous activation pair by pair. All other cases, and small matrices, use NumPy.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from sklearn_ltdl._hermite import hermite_duals, hermite_lack
from sklearn_ltdl._sklearn import warn
from sklearn_ltdl.activations import TINY, Normals, half_angle_duals
from sklearn_ltdl.ntk import _passes
from sklearn_ltdl.ntk._passes import (
    COMPILED_TILE,
    NEAR,
    NEARLY,
    NUMPY_TILE,
    angles_from_rows,
    from_rows,
    squared_distances,
    sum_squares,
    tiled,
)

ROUGH = 1e-3  # warn if a larger share of an activation's mean square is missing


class Precision(NamedTuple):
    """Constants of the compiled passes for a floating-point type."""

    near: float  # smaller v^2 are computed from the rows: rounding of a product moves v by 2e-14, or 2e-6
    table_terms: tuple  # numbers of terms to try, small enough that powers of t may be summed
    largest_lacking: float  # largest term that a table may omit, relative to the kernel's maximum
    layer_terms: int  # number of terms of the polynomials of one layer


PRECISION = {
    "float64": Precision(NEAR / 2, (24, 42), 1e-14, 21),  # depths up to 12, and up to 38
    "float32": Precision(1e-3, (12, 24), 1e-7, 12),
}


class Layers(NamedTuple):
    """An infinitely wide network.

    Parameters
    ----------
    depth : int
        Number of hidden layers.
    activation : activation object
    w_std, b_std, hidden_b_std : float
        Factor of the weights, constant coordinate of the input, and factor of the biases in deeper layers.
    fixed : int
        Number of weight matrices, counted from the input, that are not trained; if it is `depth`, T is the NNGP kernel.
    standard_input : bool
        Whether S_0 is ``w_std^2 (<x, z>/d + b_std^2)`` or, if false, ``<x, z> + b_std^2``.
    zero_biases : float
        Factor of biases in every layer that start at zero and are trained, for a homogeneous activation.
    """

    depth: int
    activation: NamedTuple
    w_std: float
    b_std: float
    hidden_b_std: float
    fixed: int = 0
    standard_input: bool = True
    zero_biases: float = 0.0

    @property
    def homogeneous(self) -> bool:
        """Return whether the kernel can be computed from angles."""
        return hasattr(self.activation, "bend")

    @property
    def trained(self) -> np.ndarray:
        """Return 1 for each weight matrix that is trained, else 0."""
        return 1.0 * (np.arange(self.depth + 1) >= self.fixed)

    def inputs(self, X: np.ndarray) -> Any:
        """Return phi of each row."""
        phi = np.column_stack([X, np.full(len(X), float(self.b_std))])
        if self.standard_input:
            phi[:, :-1] /= np.sqrt(X.shape[1])
            return phi
        return phi / self.w_std

    @property
    def closed(self) -> bool:
        """Return whether the activation has kernels in closed form."""
        return hasattr(self.activation, "duals")

    def duals(self, pairs: Normals) -> tuple[np.ndarray, np.ndarray]:
        """Return kappa_1 and kappa_0 of the activation."""
        return self.activation.duals(pairs) if self.closed else hermite_duals(self.activation, pairs)


@np.errstate(over="ignore", invalid="ignore")
def network_diagonal(net, X):
    """Return T(x, x) of each row."""
    if not net.homogeneous:
        layers = _covariance_rows(net, X).layers
        return _through_covariances(net, Normals.equal(layers[0][0]), layers, layers)
    x = _angle_rows(net, X, np.float64)
    kernel, biases = _through_angles(net, np.zeros(len(X)), np.ones(len(X)), x.layers, x.layers)
    return x.r * x.r * kernel + net.zero_biases**2 * biases


def network_kernel(net, X, Z=None):
    """Return T of shape (n, m), in single precision if the rows are."""
    symmetric = Z is None
    dtype = np.float32 if X.dtype == np.float32 and (symmetric or Z.dtype == np.float32) else np.float64
    n, m = len(X), len(X if symmetric else Z)
    in_numpy = n * m <= _passes.SMALL or net.zero_biases
    if net.homogeneous:
        rows = functools.partial(_angle_rows, net, dtype=np.float64 if in_numpy else dtype)
    else:
        rows = functools.partial(_covariance_rows, net)
    x = rows(X)
    z = x if symmetric else rows(Z)
    work = None if in_numpy else _compiled_pass(net, x, z, dtype)
    if work is None:
        work, size = (_angle_pass if net.homogeneous else _covariance_pass)(net, x, z), NUMPY_TILE
    else:
        size = COMPILED_TILE
    return tiled(work, n, None if symmetric else m, size, dtype)


class Rows(NamedTuple):
    """Quantities of n rows that the passes need.

    Parameters
    ----------
    units : ndarray of shape (n, p)
        Rows phi divided by their norms.
    r : ndarray of shape (n,)
        Factor of each row in the result: the root of the last q, or 1 if covariances are stored.
    layers : tuple of ndarrays of shape (depth, n)
        Shares W, B of the weights and of the biases in each layer's root of q, with ``W**2 + B**2 == 1``. If
        covariances are stored, these follow the roots of q, of shape (depth + 1, n), and the roots of E[sigma(u)^2].
    points : ndarray of shape (n, p), default=None
        Rows phi divided by powers of two, if covariances are stored.
    power : ndarray of shape (n,), default=None
        The exponents.
    """

    units: np.ndarray
    r: np.ndarray
    layers: tuple
    points: np.ndarray = None
    power: np.ndarray = None

    def same_layers(self, other):
        """Return whether all rows of both have the same shares in all layers."""
        return all(
            np.ptp(both) <= 8 * np.finfo(both.dtype).eps * abs(both[0])
            for mine, theirs in zip(self.layers, other.layers)
            for both in np.concatenate([mine, theirs], axis=1)
        )

    def first(self):
        """Return the layers of one row."""
        return tuple(column[:, :1].astype(np.float64) for column in self.layers)


@np.errstate(over="ignore", invalid="ignore")
def unit_rows(net, X):
    """Return phi of each row divided by its norm, and the norms."""
    phi = net.inputs(X)
    norms = np.sqrt(sum_squares(phi))
    return phi / np.where(norms > 0, norms, 1.0)[:, None], norms


@np.errstate(over="ignore", invalid="ignore")
def _angle_rows(net, X, dtype):
    units, norms = unit_rows(net, X)
    r, gain = net.w_std * norms, net.w_std * np.sqrt(net.activation.second_moment)
    W, B = np.ones((net.depth, len(X))), np.zeros((net.depth, len(X)))
    for layer in range(net.depth):
        before, r = gain * r, np.hypot(gain * r, net.hidden_b_std)
        if net.hidden_b_std:
            W[layer], B[layer] = before / r, net.hidden_b_std / r
    units, r, W, B = (a.astype(dtype, copy=False) for a in (units, r, W, B))
    return Rows(units, r, (W, B))


def _lengths(net, X):
    """Return phi of each row divided by a power of two, the exponents, and the roots of S_0(x, x).

    Only the constant coordinate is rounded, equally in all rows. Division by the norms would round more than the angle
    between nearly parallel rows, on which the kernels of long rows depend.
    """
    scale = np.sqrt(X.shape[1]) if net.standard_input else 1.0
    phi = np.column_stack([X, np.full(len(X), net.b_std * scale)]).astype(np.float64, copy=False)
    power = np.frexp(np.abs(phi).max(axis=1))[1]
    phi = np.ldexp(phi, -power[:, None])
    unit = net.w_std / scale if net.standard_input else 1.0
    return phi, power, np.ldexp(unit * np.sqrt(sum_squares(phi)), power)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _covariance_rows(net, X):
    roots, moments = np.empty((net.depth + 1, len(X))), np.empty((net.depth, len(X)))
    points, power, roots[0] = _lengths(net, X)
    norms = np.sqrt(sum_squares(points))
    W, B = np.ones((net.depth, len(X))), np.zeros((net.depth, len(X)))
    for layer in range(net.depth):
        moments[layer] = np.sqrt(net.duals(Normals.equal(roots[layer]))[0])
        roots[layer + 1] = np.hypot(net.w_std * moments[layer], net.hidden_b_std)
        if net.hidden_b_std:
            W[layer] = net.w_std * moments[layer] / roots[layer + 1]
            B[layer] = net.hidden_b_std / roots[layer + 1]
    if not net.closed:
        lack = max((hermite_lack(net.activation, deviations) for deviations in roots[:-1]), default=0.0)
        if lack > ROUGH:
            warn(
                f"Hermite polynomials do not resolve {lack:.1%} of the mean square of {net.activation} or of its "
                f"derivative, at inputs of variance up to {roots.max() ** 2:.3g}: the kernel of nearly parallel rows "
                "may be off by that much. Scale the columns of X, use a smaller w_std, or an activation with a closed "
                "form."
            )
    units = points / np.where(norms > 0, norms, 1.0)[:, None]
    return Rows(units, np.ones(len(X)), (roots, moments, W, B), points, power)


def _angle_pass(net, x, z):
    def work(K, rows, columns):
        squared = squared_distances(x.units[rows], z.units[columns])
        squared_sums = 4.0 - squared
        from_rows(squared_sums, squared_sums < 2.0 * NEAR, x.units[rows], -z.units[columns])
        layers = [column[:, rows, None] for column in x.layers], [column[:, None, columns] for column in z.layers]
        kernel, biases = _through_angles(net, squared / 4.0, squared_sums / 4.0, *layers)
        K[rows, columns] = x.r[rows, None] * z.r[columns] * kernel + net.zero_biases**2 * biases

    return work


def _through_angles(net, sine2, cosine2, layers_x, layers_z):
    """Return T / (r_x r_z) from the squared sines and cosines of the half angles, and the T of the biases alone."""
    gain2 = net.w_std**2 * net.activation.second_moment
    T, biases = net.trained[0] * (1.0 - 2.0 * sine2), 1.0
    for W_x, W_z, B_x, B_z, trained in zip(layers_x[0], layers_z[0], layers_x[1], layers_z[1], net.trained[1:]):
        gap, kappa0 = half_angle_duals(net.activation.bend, np.sqrt(sine2), np.sqrt(cosine2))
        share = W_x * W_z
        gap = share * gap + ((W_x - W_z) ** 2 + (B_x - B_z) ** 2) / 2.0
        sine2 = np.maximum(gap / 2.0, 0.0)  # rounding may exceed the angle
        cosine2 = 1.0 - sine2
        T = trained * (1.0 - 2.0 * sine2) + share * kappa0 * T
        biases = 1.0 + gain2 * kappa0 * biases
    return T, biases


def _covariance_pass(net, x, z):
    def work(K, rows, columns):
        layers_x = [column[:, rows, None] for column in x.layers]
        layers_z = [column[:, None, columns] for column in z.layers]
        a, b = layers_x[0][0], layers_z[0][0]
        cosine = np.clip(x.units[rows] @ z.units[columns].T, -1.0, 1.0)
        turn2, apart = (1.0 - abs(cosine)) / 2.0, a - b
        shift = z.power[columns] - x.power[rows, None]
        for i, j, *exact in angles_from_rows(turn2 < NEARLY, x.points[rows], z.points[columns], shift):
            cosine[i, j], turn2[i, j], tilt = exact
            apart[i, j] = tilt * (a[i, 0] + b[0, j])
        T = _through_covariances(net, Normals(a, b, cosine, turn2, apart), layers_x, layers_z)
        if x is z and rows == columns:  # the last digit depends on which of two rows is projected on the other
            T = np.tril(T) + np.tril(T, -1).T
        K[rows, columns] = T

    return work


def _through_covariances(net, pairs, layers_x, layers_z):
    """Return T from the covariances of the first layer and the standard deviations of all layers."""
    T = net.trained[0] * pairs.a * pairs.b * pairs.cosine
    for layer in range(net.depth):
        kappa1, kappa0 = net.duals(pairs)
        S = net.w_std**2 * kappa1 + net.hidden_b_std**2
        T = net.trained[layer + 1] * S + net.w_std**2 * kappa0 * T
        if layer + 1 < net.depth:
            of_layers = [(mine[layer], theirs[layer]) for mine, theirs in zip(layers_x[1:], layers_z[1:])]
            cosine, turn2 = _next_angles(net, pairs, kappa1, *of_layers)
            a, b = layers_x[0][layer + 1], layers_z[0][layer + 1]
            pairs = Normals(a, b, cosine, turn2, a - b)
    return T


def _next_angles(net, pairs, kappa1, moments, weights, biases):
    """Return the correlations after a layer, and (1 - |correlation|) / 2."""
    correlation = np.clip(kappa1 / np.maximum(moments[0] * moments[1], TINY), -1.0, 1.0)
    gap = 1.0 - abs(correlation)
    near = gap < 2.0 * NEARLY
    if net.closed and near.any():
        exact = net.activation.gap(Normals(*(np.broadcast_to(field, gap.shape)[near] for field in pairs)))
        gap[near] = np.where(np.isnan(exact), gap[near], np.maximum(exact, 0.0))
    if not net.hidden_b_std:
        return np.copysign(1.0 - gap, correlation), gap / 2.0
    (W_x, W_z), (B_x, B_z) = weights, biases
    share = W_x * W_z
    cosine = share * np.copysign(1.0 - gap, correlation) + B_x * B_z
    ahead = cosine >= 0
    gap = share * np.where(ahead == (correlation >= 0), gap, 2.0 - gap)  # 1 -+ correlation
    gap = gap + ((W_x - W_z) ** 2 + np.where(ahead, B_x - B_z, B_x + B_z) ** 2) / 2.0
    return np.copysign(1.0 - gap, cosine), gap / 2.0


def _compiled_pass(net, x, z, dtype):
    """Return the compiled function that fills a tile, or None if there is none."""
    dtype = np.dtype(dtype)
    table = _zonal_table(net, x.first(), dtype.name) if x.same_layers(z) else None
    if table is None and not net.homogeneous:
        return None
    from sklearn_ltdl.ntk._tiles import layered_tile, zonal_tile  # compiled code loads on first use

    units_x, r_x, units_z, r_z = (a.astype(dtype, copy=False) for a in (x.units, x.r, z.units, z.r))
    near = dtype.type(PRECISION[dtype.name].near)
    if table is not None:
        finish, options = zonal_tile, table
    else:
        (W_x, B_x), (W_z, B_z) = x.layers, z.layers
        layers = W_x, W_z, B_x, B_z, dtype.type(net.activation.bend), net.trained.astype(dtype)
        finish, options = layered_tile, (*_layer_tables(dtype.name), *layers)

    def work(K, rows, columns):
        np.matmul(units_x[rows], units_z[columns].T, out=K[rows, columns])
        finish(K, rows, columns, units_x, units_z, r_x, r_z, near, *options)

    return work


def _zonal_table(net, layers, dtype):
    """Return the kernel of rows with the same shares in all layers as the polynomials of `zonal_tile`, or None.

    Let v be the sine or the cosine of the half angle, whichever is smaller. The kernel is ``E(v) + O(v)`` if v is the
    sine and ``E(v) - O(v)`` if v is the cosine. Both are smooth in v, including at 0. The result is None if they need
    too many terms.
    """
    precision = PRECISION[dtype]

    def kernel(sine2, cosine2):
        if net.homogeneous:
            return _through_angles(net, sine2, cosine2, layers, layers)[0]
        cosine, a = cosine2 - sine2, layers[0][0]
        pairs = Normals(a, a, cosine, np.minimum(sine2, cosine2), np.zeros_like(cosine))
        return _through_covariances(net, pairs, layers, layers)

    def part(t, sign):
        less2 = (t + 1.0) ** 2 / 8.0
        return (kernel(less2, 1.0 - less2) + sign * kernel(1.0 - less2, less2)) / 2.0

    signs, terms = (1, -1), precision.table_terms
    parts = [chebyshev.chebinterpolate(part, 2 * terms[-1], args=(sign,)) for sign in signs]
    maximum = np.abs(kernel(np.zeros(1), np.ones(1))).max()
    # A peak at v = 0 may be narrower than the distance to the nearest interpolation point.
    ends = [chebyshev.chebval(-1.0, series) - part(-np.ones(1), sign) for series, sign in zip(parts, signs)]
    if np.abs(ends).max() > 100 * precision.largest_lacking * maximum:
        return None
    for number in terms:
        if all(np.abs(series[number:]).max() <= precision.largest_lacking * maximum for series in parts):
            return tuple(_monomials(series[:number], dtype) for series in parts)
    return None


@functools.cache
def _layer_tables(dtype):
    """Return the polynomials of `layered_tile`, from the power series of the arc sine."""
    k = np.arange(1, 64)
    arcsine = np.append(1.0, np.cumprod((2 * k - 1) / (2 * k)) / (2 * k + 1))
    k = np.append(0, k)

    def series(t, coefficients):
        return np.polyval(coefficients[::-1], (t + 1.0) / 4.0)

    return tuple(
        _monomials(chebyshev.chebinterpolate(series, PRECISION[dtype].layer_terms - 1, args=(coefficients,)), dtype)
        for coefficients in (2.0 * arcsine / np.pi, 8.0 * arcsine / (2 * k + 3) / np.pi)
    )


def _monomials(coefficients, dtype):
    """Return a Chebyshev series as coefficients of powers in the given precision, the highest power first."""
    powers = chebyshev.cheb2poly(coefficients)  # drops trailing zeros
    return tuple(np.append(powers, np.zeros(len(coefficients) - len(powers)))[::-1].astype(dtype))
