"""Products with dense rows, by the same additions on any number of threads; those of large tables in compiled code."""

import numpy as np

from sklearn_ltdl._threads import in_order

COMPILED = 10**6  # numbers of a dense table from which it is worth loading compiled passes
BLOCK = 2**17  # numbers in a block of rows: 1 MB, the size of a level-2 cache
ROWS = 64  # of a block of compiled code
TILED = 700  # columns up to which compiled tiles take less time than BLAS: their sums are in the cache
PART = 2**17  # numbers of a part, at least: enough for a thread to be worth its start
PARTS = 16


def in_parts(n, width, least=1):
    """Return slices of at least some rows, whose sums are added in order, whatever the number of threads."""
    size = max(-(-n // PARTS), PART // width, least)
    size = -(-size // ROWS) * ROWS
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


def margins_of(X, w):
    """Return ``X @ w``."""
    from sklearn_ltdl.linear._passes import write_margins  # compiled code loads on first use

    z = np.empty(len(X))
    in_order(lambda rows: write_margins(X, w, 0.0, rows.start, z[rows]), in_parts(*X.shape))
    return z


def pull_of(X, u):
    """Return ``u @ X``."""
    from sklearn_ltdl.linear._passes import add_pull

    def work(rows):
        pull = np.zeros(X.shape[1], X.dtype)
        add_pull(X, u[rows], rows.start, pull)
        return pull

    return sum(in_order(work, in_parts(*X.shape)))


def curved_product(X, curvature, v):
    """Return ``X' (curvature * (X v))``, in one read."""
    from sklearn_ltdl.linear._passes import add_curved

    def work(rows):
        product = np.zeros(X.shape[1])
        add_curved(X, curvature, v, rows.start, rows.stop, block_size(X), product)
        return product

    return sum(in_order(work, in_parts(*X.shape)))


def block_size(X):
    """Return the number of rows of a block that is still in the cache when it is used again."""
    return max(16, min(2**15 // X.shape[1], 256))


def column_products(X, extra, root):
    """Return ``A' A`` for ``A = root [X, extra, 1]``, and the longest chain of additions behind an entry.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    extra : ndarray of shape (n_samples, n_extra)
    root : ndarray of shape (n_samples,) or (1,)
        Factors of the rows; a single number stands for the factor 1 of each.
    """
    n, m = len(X), X.shape[1] + extra.shape[1] + 1
    is_large, is_tiled = X.size > COMPILED, m <= TILED and X.size > COMPILED
    sums, size = (_upper_sums, ROWS) if is_tiled else (_sums_of_blocks, min(max(BLOCK // m, m), n))
    parts = in_parts(n, m, 4 * m) if is_large else [slice(0, n)]  # their products take at most a quarter of X's memory
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks
        C = sum(in_order(lambda rows: sums(X[rows], extra[rows], root if len(root) == 1 else root[rows], size), parts))
    if is_tiled:
        C = np.triu(C[:m, :m]) + np.triu(C[:m, :m], 1).T
    return C, size + parts[0].stop // size + len(parts)


def _sums_of_blocks(X, extra, root, size):
    p, m = X.shape[1], X.shape[1] + extra.shape[1] + 1
    B, C = np.ones((min(size, len(X)), m)), np.zeros((m, m))
    for rows in (slice(begin, begin + size) for begin in range(0, len(X), size)):
        A = B[: len(X[rows])]
        A[:, :p], A[:, p:-1] = X[rows], extra[rows]
        if len(root) > 1:
            A[:, -1:] = factor = root[rows, None]
            A[:, :-1] *= factor
        C += A.T @ A
    return C


def _upper_sums(X, extra, root, size):
    """Return the upper triangle of the sums, in compiled code; its side is a multiple of the lanes of vectors."""
    from sklearn_ltdl._backends.numba import rows_for_gram  # compiled code loads on first use
    from sklearn_ltdl.linear._passes import add_moments

    B, C = rows_for_gram(size, X.shape[1] + extra.shape[1] + 1)
    add_moments(np.ascontiguousarray(X), extra, root, 0, len(X), B, C)  # X itself, if it is in C order
    return C
