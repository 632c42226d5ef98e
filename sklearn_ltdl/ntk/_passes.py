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
    rows, columns = np.nonzero(where)
    step = 1 + 2**18 // X.shape[1]
    for i in range(0, len(rows), step):
        x, z = rows[i : i + step], columns[i : i + step]
        squared[x, z] = sum_squares(X[x] - Z[z])


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
