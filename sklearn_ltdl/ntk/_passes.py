"""How a kernel matrix is filled: tile by tile, on the threads that linear algebra may use, half of it if symmetric."""

import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Lock

import joblib
import numpy as np
from threadpoolctl import ThreadpoolController

SMALL = 2**20  # entries, which NumPy works through in 16 ms a layer; only to load compiled code takes 700
NUMPY_TILE = 192  # rows and columns worked on at once: the temporaries stay in the second-level cache
COMPILED_TILE = 480  # has no temporaries, but a fixed cost; not a power of two, whose rows share places in a cache
NEARLY = 5e-3  # (1 - |cosine|) / 2 below which it is taken from the rows, where its digits count and not the angle's
NEAR = 1e-4  # squared distance, over the squared norms, below which a Gram product has lost digits


def squared_distances(X, Z):
    """Return |x - z|^2 for all pairs, small ones to their own last digit."""
    norms_x, norms_z = sum_squares(X), sum_squares(Z)
    total = norms_x[:, None] + norms_z
    squared = total - 2.0 * (X @ Z.T)
    from_rows(squared, squared < NEAR * total, X, Z)
    return squared


def from_rows(squared, where, X, Z):
    """Overwrite squared distances by sums over features, a few pairs at a time: there may be as many as entries."""
    for x, z in _pairs(where, X.shape[1]):
        squared[x, z] = sum_squares(X[x] - Z[z])


def _pairs(where, d):
    """Yield the row and column numbers of a mask, as many at a time as there is room for rows of length d."""
    rows, columns = np.nonzero(where)
    step = 1 + 2**18 // d
    for i in range(0, len(rows), step):
        yield rows[i : i + step], columns[i : i + step]


def angles_from_rows(where, X, Z, shift):
    """Yield numbers of rows and columns, cosines, (1 - |cosine|) / 2, and ``(|x| - |z|) / (|x| + |z|)``, part by part.

    Parameters
    ----------
    where : ndarray of bool, of shape (n, m)
        The pairs that are asked for: nearly parallel or opposite, of which products have lost digits.
    X, Z : ndarrays of shapes (n, d) and (m, d)
        Rows of moderate norms.
    shift : ndarray of int, of shape (n, m)
        The lengths are those of x and of ``2**shift z``.
    """
    squares = sum_squares(Z)
    above, below = _split(Z)
    for rows, columns in _pairs(where, X.shape[1]):
        x, z = X[rows], Z[columns]
        t = np.einsum("ij,ij->i", x, z) / squares[columns]
        rest = x - t[:, None] * z
        t_above, t_below = (part[:, None] for part in _split(t))
        z_above, z_below = above[columns], below[columns]
        # Dekker's product: what rounding took from t z, so that `rest` is x - t z whatever cancels.
        rest -= ((t_above * z_above - t[:, None] * z) + t_above * z_below + t_below * z_above) + t_below * z_below
        rest -= (np.einsum("ij,ij->i", rest, z) / squares[columns])[:, None] * z  # t itself was rounded
        sine2 = sum_squares(rest) / sum_squares(x)
        part = 1.0 + np.sqrt(1.0 - sine2)
        z = np.ldexp(z, np.clip(shift[rows, columns], -60, 60)[:, None])  # beyond, one length is none of the other
        lengths = np.sqrt(sum_squares(x)) + np.sqrt(sum_squares(z))
        tilt = np.einsum("ij,ij->i", x - z, x + z) / lengths**2
        yield rows, columns, np.copysign(1.0 - sine2 / part, t), sine2 / (2.0 * part), tilt


def _split(values):
    """Return values in halves of their digits, whose products are exact."""
    above = 134217729.0 * values  # 2^27 + 1
    above = above - (above - values)
    return above, values - above


def sum_squares(rows):
    """Return the squared norm of each row."""
    return np.einsum("ij,ij->i", rows, rows)


def tiled(work, n, m, size, dtype):
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
        by_threads(finish, tiles)
    return K


def by_threads(work, parts):
    """Call ``work(part)`` for all parts, on as many threads as linear algebra may use."""
    with threads() as number, ThreadPoolExecutor(number) as pool:
        for _ in pool.map(work, parts):
            pass  # an exception is raised here


_taking_threads = Lock()


@contextmanager
def threads():
    """Yield how many threads may work, each of which finds linear algebra that takes no more than its own.

    They are taken from the pool of the linear algebra, which `threadpoolctl`, joblib's workers and the environment
    limit. A call during another, from a second thread, finds one left.
    """
    with _taking_threads:
        pools = _thread_pools()
        number = min([joblib.cpu_count(), *(pool["num_threads"] for pool in pools.info())])
        limit = pools.limit(limits=1) if number > 1 else nullcontext()
    with limit:
        yield number


@functools.cache
def _thread_pools():
    return ThreadpoolController().select(user_api="blas")
