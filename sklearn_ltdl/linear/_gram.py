"""Products of the columns of dense rows, in one read, by the same additions on any number of threads."""

from threading import current_thread, main_thread

import numpy as np

from sklearn_ltdl._threads import by_threads

ROWS = 64  # of a block
PART = 2**19  # numbers of a part, at least: enough for a thread to be worth its start
PARTS = 16


def in_parts(n, width, least=1):
    """Return slices of at least some rows, whose sums are added in order, whatever the number of threads."""
    size = max(-(-n // PARTS), PART // width, least)
    size = -(-size // ROWS) * ROWS
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


def by_parts(work, parts):
    """Return the results of ``work(part)`` in order; only a call from the main thread is shared among threads.

    Other threads are those of joblib or of an application, which has one for each core already.
    """
    results = [None] * len(parts)

    def keep(number):
        results[number] = work(parts[number])

    if len(parts) == 1 or current_thread() is not main_thread():
        for number in range(len(parts)):
            keep(number)
    else:
        by_threads(keep, range(len(parts)))
    return results


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
        C = sum(by_parts(work, parts))[:m, :m]
        C = np.triu(C) + np.triu(C, 1).T
    return C, ROWS + parts[0].stop // ROWS + len(parts)
