"""Fill a kernel matrix tile by tile, on the threads of linear algebra; of a symmetric matrix, compute half."""

import numpy as np

from sklearn_ltdl._threads import by_threads

SMALL = 2**20  # entries; NumPy needs 16 ms a layer for them, and loading compiled code 700 ms
NUMPY_TILE = 192  # rows and columns of a tile whose temporaries stay in the second-level cache
COMPILED_TILE = 480  # no temporaries, but a fixed cost per tile; with a power of two, rows would share cache lines
NEARLY = 5e-3  # smaller (1 - |cosine|) / 2 are computed from the rows
NEAR = 1e-4  # below this ratio of squared distance to squared norms, a Gram product has lost digits


def squared_distances(X, Z):
    """Return |x - z|^2 for all pairs; small distances are accurate to their last digit."""
    norms_x, norms_z = sum_squares(X), sum_squares(Z)
    total = norms_x[:, None] + norms_z
    squared = total - 2.0 * (X @ Z.T)
    from_rows(squared, squared < NEAR * total, X, Z)
    return squared


def from_rows(squared, where, X, Z):
    """Overwrite the masked squared distances by sums over features, a few pairs at a time to save memory."""
    for x, z in _pairs(where, X.shape[1]):
        squared[x, z] = sum_squares(X[x] - Z[z])


def _pairs(where, d):
    """Yield row and column indices of a mask in parts, so that rows of length d fit in memory for each part."""
    rows, columns = np.nonzero(where)
    step = 1 + 2**18 // d
    for i in range(0, len(rows), step):
        yield rows[i : i + step], columns[i : i + step]


def angles_from_rows(where, X, Z, shift):
    """Yield, in parts, row and column indices, cosines, (1 - |cosine|) / 2 and ``(|x| - |z|) / (|x| + |z|)``.

    Parameters
    ----------
    where : ndarray of bool, of shape (n, m)
        The pairs to compute: nearly parallel or opposite rows, whose products have lost digits.
    X, Z : ndarrays of shapes (n, d) and (m, d)
        Rows with moderate norms.
    shift : ndarray of int, of shape (n, m)
        The lengths |x| and |z| are those of x and of ``2**shift z``.
    """
    squares = sum_squares(Z)
    above, below = _split(Z)
    for rows, columns in _pairs(where, X.shape[1]):
        x, z = X[rows], Z[columns]
        t = np.einsum("ij,ij->i", x, z) / squares[columns]
        rest = x - t[:, None] * z
        t_above, t_below = (part[:, None] for part in _split(t))
        z_above, z_below = above[columns], below[columns]
        # Dekker's product: add the rounding error of t z, so that `rest` is x - t z despite cancellation.
        rest -= ((t_above * z_above - t[:, None] * z) + t_above * z_below + t_below * z_above) + t_below * z_below
        rest -= (np.einsum("ij,ij->i", rest, z) / squares[columns])[:, None] * z  # t itself was rounded
        sine2 = sum_squares(rest) / sum_squares(x)
        part = 1.0 + np.sqrt(1.0 - sine2)
        z = np.ldexp(z, np.clip(shift[rows, columns], -60, 60)[:, None])  # beyond, one length is negligible
        lengths = np.sqrt(sum_squares(x)) + np.sqrt(sum_squares(z))
        tilt = np.einsum("ij,ij->i", x - z, x + z) / lengths**2
        yield rows, columns, np.copysign(1.0 - sine2 / part, t), sine2 / (2.0 * part), tilt


def _split(values):
    """Split values into two halves of their digits, whose products are exact."""
    above = 134217729.0 * values  # 2^27 + 1
    above = above - (above - values)
    return above, values - above


def sum_squares(rows):
    """Return the squared norm of each row."""
    return np.einsum("ij,ij->i", rows, rows)


def tiled(work, n, m, size, dtype):
    """Return K of shape (n, m), or symmetric if m is None; ``work(K, rows, columns)`` fills a tile.

    Entries that overflow become inf or NaN, for which the caller checks.
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
