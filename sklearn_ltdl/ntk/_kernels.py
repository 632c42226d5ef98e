r"""Kernels of infinitely wide fully connected ReLU networks, and the two that practitioners compare them with.

A network's first layer acts on :math:`\varphi(x) = [x / \sqrt d, b]`, so that the bias is one more coordinate. With
:math:`S_0 = T_0 = w^2 \langle\varphi(x), \varphi(z)\rangle`, each hidden layer maps

.. math:: S' = w^2 E[\sigma(u)\sigma(v)] + b_h^2, \qquad T' = S' + w^2 E[\sigma'(u)\sigma'(v)]\,T,

over normal (u, v) of covariance S. After `depth` layers S is the NNGP kernel and T the neural tangent kernel in the
'NTK parametrisation' (Jacot, Gabriel, Hongler 2018). Both are carried divided by :math:`\sqrt{q_x q_z}`, q the diagonal
of S, and the angle through :math:`v^2 = \sin^2(\theta/2) = (1 - \cos\theta)/2`, which no layer computes by a
difference of nearly equal numbers.

Without hidden biases all this is a function of the angle alone, tabled as two polynomials; with them the layers are
worked through pair by pair. Small matrices are computed in NumPy, by the recursion from which the tables are made;
large ones by the compiled passes of `_tiles`.
"""

import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import NamedTuple

import joblib
import numpy as np
from numpy.polynomial import chebyshev
from threadpoolctl import ThreadpoolController

from sklearn_ltdl.activations import Relu

SMALL = 2**20  # entries, which NumPy works through in 16 ms a layer; only to load compiled code takes 700
NUMPY_TILE = 192  # rows and columns worked on at once: the temporaries stay in the second-level cache
COMPILED_TILE = 480  # has no temporaries, but a fixed cost; not a power of two, whose rows share places in a cache
NEAR = 1e-4  # squared distance, over the squared norms, below which a Gram product has lost digits


class Precision(NamedTuple):
    """What the compiled passes need to know of a floating-point type."""

    near: float  # v^2 below which it is taken from the rows: rounding of a product moves v by 2e-14, or 2e-6
    table_terms: tuple  # of the tables that are tried, few enough that powers of t may be summed
    largest_lacking: float  # term that a table may lack, over the kernel's maximum
    layer_terms: int  # of the polynomials of one layer


PRECISION = {
    "float64": Precision(NEAR / 2, (24, 42), 1e-14, 21),  # depths up to 12, and up to 38
    "float32": Precision(1e-3, (12, 24), 1e-7, 12),
}


def ntk_kernel(X, Z=None, *, depth=1, w_std=2**0.5, b_std=1.0, hidden_b_std=0.0):
    r"""Compute the exact neural tangent kernel of a fully connected ReLU network.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    Z : ndarray of shape (m, d), default=None
        `X` itself if None, at half the work.
    depth : int, default=1
        Number of hidden layers; 0 is the linear kernel.
    w_std : float, default=sqrt(2)
        Standard deviation of the weights times the square root of the width; at the default the kernel neither
        explodes nor vanishes with `depth`.
    b_std : float, default=1.0
        The constant coordinate appended to ``x / sqrt(d)``, the bias of the first layer. Without one, the kernel
        is homogeneous in `x` and cannot represent every function.
    hidden_b_std : float, default=0.0
        Standard deviation of the biases of the deeper layers.

    Returns
    -------
    K : ndarray of shape (n, m)
        In single precision if `X` and `Z` are, else in double.

    References
    ----------
    .. [1] A. Jacot, F. Gabriel, C. Hongler. "Neural tangent kernel: convergence and generalization in neural
       networks". NeurIPS 2018, arXiv:1806.07572, Theorem 1.
    .. [2] Y. Cho, L. Saul. "Kernel methods for deep learning". NeurIPS 2009, equations 1 to 6.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ltdl.ntk import ntk_kernel
    >>> ntk_kernel(np.array([[1.0], [-1.0]])).round(3)
    array([[8.   , 1.273],
           [1.273, 8.   ]])
    """
    return _network_kernel(X, Z, depth, w_std, b_std, hidden_b_std, tangent=True)


def nngp_kernel(X, Z=None, *, depth=1, w_std=2**0.5, b_std=1.0, hidden_b_std=0.0):
    r"""Compute the covariance of the outputs of an infinitely wide fully connected ReLU network at initialisation.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    Z : ndarray of shape (m, d), default=None
        `X` itself if None, at half the work.
    depth, w_std, b_std, hidden_b_std
        As in `ntk_kernel`.

    Returns
    -------
    K : ndarray of shape (n, m)
        In single precision if `X` and `Z` are, else in double.

    References
    ----------
    .. [1] J. Lee et al. "Deep neural networks as Gaussian processes". ICLR 2018, arXiv:1711.00165, equation 5.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ltdl.ntk import nngp_kernel
    >>> nngp_kernel(np.array([[1.0], [-1.0]])).round(3)
    array([[4.   , 1.273],
           [1.273, 4.   ]])
    """
    return _network_kernel(X, Z, depth, w_std, b_std, hidden_b_std, tangent=False)


def laplace_kernel(X, Z=None, *, length_scale=1.0):
    r"""Compute :math:`\exp(-|x - z| / \ell)` with the Euclidean norm.

    On a sphere its function space is that of the NTK (Geifman et al. 2020, arXiv:2007.01580).

    Parameters
    ----------
    X : ndarray of shape (n, d)
    Z : ndarray of shape (m, d), default=None
        `X` itself if None, at half the work.
    length_scale : float, default=1.0

    Returns
    -------
    K : ndarray of shape (n, m), float64

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ltdl.ntk import laplace_kernel
    >>> laplace_kernel(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]), length_scale=5.0).round(4)
    array([[0.3679]])
    """
    return _distance_kernel(X, Z, lambda squared: np.exp(-np.sqrt(squared) / length_scale))


def rbf_kernel(X, Z=None, *, length_scale=1.0):
    r"""Compute :math:`\exp(-|x - z|^2 / 2\ell^2)` with the Euclidean norm.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    Z : ndarray of shape (m, d), default=None
        `X` itself if None, at half the work.
    length_scale : float, default=1.0
        ``1 / sqrt(2 gamma)`` of scikit-learn's kernel.

    Returns
    -------
    K : ndarray of shape (n, m), float64

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ltdl.ntk import rbf_kernel
    >>> rbf_kernel(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]), length_scale=5.0).round(4)
    array([[0.6065]])
    """
    return _distance_kernel(X, Z, lambda squared: np.exp(squared / (-2.0 * length_scale**2)))


def _network_kernel(X, Z, depth, w_std, b_std, hidden_b_std, tangent):
    symmetric = Z is None
    dtype = np.float32 if X.dtype == np.float32 and (symmetric or Z.dtype == np.float32) else np.float64
    n, m = len(X), len(X if symmetric else Z)
    small = n * m <= SMALL
    x = _rows(X, depth, w_std, b_std, hidden_b_std, np.float64 if small else dtype)
    z = x if symmetric else _rows(Z, depth, w_std, b_std, hidden_b_std, x[0].dtype)
    work = _numpy_pass(x, z, tangent) if small else _compiled_pass(x, z, hidden_b_std == 0, tangent)
    return _tiled(work, n, None if symmetric else m, NUMPY_TILE if small else COMPILED_TILE, dtype)


@np.errstate(over="ignore", invalid="ignore")
def _rows(A, depth, w_std, b_std, hidden_b_std, dtype):
    """Return the unit rows, the square roots r of the last q, and the shares W, B of each layer's r, (depth, n).

    The shares are those of the weights and of the biases; ``W**2 + B**2 == 1``.
    """
    phi = np.column_stack([A / np.sqrt(A.shape[1]), np.full(len(A), float(b_std))])
    norms = np.sqrt(np.einsum("ij,ij->i", phi, phi))
    units = phi / np.where(norms > 0, norms, 1.0)[:, None]
    r, gain = w_std * norms, np.sqrt(w_std**2 * Relu.second_moment)
    W, B = np.ones((depth, len(A))), np.zeros((depth, len(A)))
    for layer in range(depth):
        before, r = gain * r, np.hypot(gain * r, hidden_b_std)
        if hidden_b_std:
            W[layer], B[layer] = before / r, hidden_b_std / r
    return tuple(a.astype(dtype, copy=False) for a in (units, r, W, B))


def _numpy_pass(x, z, tangent):
    (units_x, r_x, W_x, B_x), (units_z, r_z, W_z, B_z) = x, z

    def work(K, rows, columns):
        squared = _squared_distances(units_x[rows], units_z[columns])
        squared_sums = 4.0 - squared
        _from_rows(squared_sums, squared_sums < 2.0 * NEAR, units_x[rows], -units_z[columns])
        layers = W_x[:, rows], W_z[:, columns], B_x[:, rows], B_z[:, columns]
        kernel = _recursion(squared / 4.0, squared_sums / 4.0, *layers, tangent)
        K[rows, columns] = r_x[rows, None] * r_z[columns] * kernel

    return work


def _recursion(sine2, cosine2, W_x, W_z, B_x, B_z, tangent):
    """Return the kernel over r_x r_z from the squared sines and cosines of the half angles."""
    T = 1.0 - 2.0 * sine2
    for layer in range(len(W_x)):
        gap, kappa0 = Relu().duals(np.sqrt(sine2), np.sqrt(cosine2))
        share = W_x[layer][:, None] * W_z[layer]
        spread = W_x[layer][:, None] - W_z[layer], B_x[layer][:, None] - B_z[layer]
        gap = share * gap + (spread[0] ** 2 + spread[1] ** 2) / 2.0
        sine2 = np.maximum(gap / 2.0, 0.0)  # the difference of roundings when the angle is below one
        cosine2 = 1.0 - sine2
        T = 1.0 - 2.0 * sine2 + share * kappa0 * T
    return T if tangent else 1.0 - 2.0 * sine2


def _compiled_pass(x, z, unbiased, tangent):
    from sklearn_ltdl.ntk._tiles import layered_tile, zonal_tile  # compiled code loads on first use

    (units_x, r_x, W_x, B_x), (units_z, r_z, W_z, B_z) = x, z
    near = units_x.dtype.type(PRECISION[units_x.dtype.name].near)
    zonal = _zonal_table(len(W_x), tangent, units_x.dtype.name) if unbiased else None
    layer = _layer_tables(units_x.dtype.name)

    def work(K, rows, columns):
        np.matmul(units_x[rows], units_z[columns].T, out=K[rows, columns])
        tile = K, rows, columns, units_x, units_z, r_x, r_z, near
        if zonal is not None:
            zonal_tile(*tile, *zonal)
        else:
            layered_tile(*tile, *layer, W_x, W_z, B_x, B_z, tangent)

    return work


@functools.cache
def _zonal_table(depth, tangent, dtype):
    """Return the kernel without hidden biases as the polynomials of `zonal_tile`, or None if it has too many terms.

    With v the sine or the cosine of the half angle, whichever is less, the kernel is ``E(v) + O(v)`` where the first
    is, and ``E(v) - O(v)`` where the second is. Both are smooth in v, at 0 too.
    """
    precision, layers = PRECISION[dtype], (np.ones((depth, 1)),) * 2 + (np.zeros((depth, 1)),) * 2

    def part(t, sign):
        less2 = ((t + 1.0) ** 2 / 8.0)[None]
        near, far = _recursion(less2, 1.0 - less2, *layers, tangent), _recursion(1.0 - less2, less2, *layers, tangent)
        return (near + sign * far)[0] / 2.0

    parts = [chebyshev.chebinterpolate(part, 2 * precision.table_terms[-1], args=(sign,)) for sign in (1, -1)]
    maximum = depth + 1 if tangent else 1
    for terms in precision.table_terms:
        if all(np.abs(series[terms:]).max() <= precision.largest_lacking * maximum for series in parts):
            return tuple(_monomials(series[:terms], dtype) for series in parts)
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
    """Return a Chebyshev series as numbers of a precision that multiply powers, the highest first."""
    return tuple(chebyshev.cheb2poly(coefficients)[::-1].astype(dtype))


def _distance_kernel(X, Z, profile):
    with np.errstate(over="ignore", invalid="ignore"):
        origin = np.mean(X if Z is None else Z, axis=0)  # near the data, products lose fewer digits
        x = X - origin
        z = x if Z is None else Z - origin

    def work(K, rows, columns):
        K[rows, columns] = profile(_squared_distances(x[rows], z[columns]))

    return _tiled(work, len(X), None if Z is None else len(Z), NUMPY_TILE, np.float64)


def _squared_distances(X, Z):
    norms_x, norms_z = _sum_squares(X), _sum_squares(Z)
    total = norms_x[:, None] + norms_z
    squared = total - 2.0 * (X @ Z.T)
    _from_rows(squared, squared < NEAR * total, X, Z)
    return squared


def _from_rows(squared, where, X, Z):
    """Overwrite squared distances by sums over features, a few pairs at a time: there may be as many as entries."""
    rows, columns = np.nonzero(where)
    step = 1 + 2**18 // X.shape[1]
    for i in range(0, len(rows), step):
        x, z = rows[i : i + step], columns[i : i + step]
        squared[x, z] = _sum_squares(X[x] - Z[z])


def _sum_squares(rows):
    return np.einsum("ij,ij->i", rows, rows)


def _tiled(work, n, m, size, dtype):
    """Return K of shape (n, m), or symmetric if m is None, of which ``work(K, rows, columns)`` writes a tile.

    An entry beyond the range of its precision comes out as inf or NaN, which the caller looks for.
    """
    symmetric = m is None
    K = np.empty((n, n if symmetric else m), dtype)
    tiles = [
        (slice(i, min(i + size, K.shape[0])), slice(j, min(j + size, K.shape[1])))
        for i in range(0, K.shape[0], size)
        for j in range(0, i + 1 if symmetric else K.shape[1], size)
    ]

    def finish(tile):
        rows, columns = tile
        with np.errstate(over="ignore", invalid="ignore"):
            work(K, rows, columns)
        if symmetric and columns != rows:
            K[columns, rows] = K[rows, columns].T

    if K.size <= SMALL:
        for tile in tiles:
            finish(tile)
    else:
        with _threads() as threads, ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(finish, tiles):
                pass  # an exception is raised here
    return K


_taking_threads = Lock()


@contextmanager
def _threads():
    """Yield how many threads may work, each of which finds linear algebra that takes no more than its own.

    They are taken from the pool of the linear algebra, which `threadpoolctl`, joblib's workers and the environment
    limit. A call during another, from a second thread, finds one left.
    """
    with _taking_threads:
        pools = _thread_pools()
        threads = min([joblib.cpu_count(), *(pool["num_threads"] for pool in pools.info())])
        limit = pools.limit(limits=1) if threads > 1 else nullcontext()
    with limit:
        yield threads


@functools.cache
def _thread_pools():
    return ThreadpoolController().select(user_api="blas")
