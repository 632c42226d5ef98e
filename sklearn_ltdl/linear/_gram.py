"""Products with dense rows in compiled code, by the same additions on any number of threads."""

import numpy as np

from sklearn_ltdl._threads import in_order

ROWS = 64  # of a block
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
    X : ndarray of shape (n_samples, n_features), in C order
    extra : ndarray of shape (n_samples, n_extra)
    root : ndarray of shape (n_samples,) or (1,)
        Factors of the rows; a single number stands for the factor 1 of each.
    """
    from sklearn_ltdl._backends.numba import rows_for_gram  # compiled code loads on first use
    from sklearn_ltdl.linear._passes import add_moments

    n, m = len(X), X.shape[1] + extra.shape[1] + 1

    def work(rows):
        B, C = rows_for_gram(ROWS, m)
        add_moments(X, extra, root, rows.start, rows.stop, B, C)
        return C

    parts = in_parts(n, m, 4 * m)  # so that their products take a quarter of the memory of the rows at most
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks
        C = sum(in_order(work, parts))[:m, :m]
        C = np.triu(C) + np.triu(C, 1).T
    return C, ROWS + parts[0].stop // ROWS + len(parts)
