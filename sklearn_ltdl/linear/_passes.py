"""Compiled passes over dense rows: a block of rows is read once, and all that is needed is computed while it is near."""

from sklearn_ltdl._backends.numba import add_gram, compiled


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
