"""Checked kernel values between rows, from a Kernel object, a user's callable or a precomputed matrix."""

import numpy as np

from sklearn_ltdl.ntk._kernels import Kernel
from sklearn_ltdl.ntk._solvers import not_psd, row_blocks

PAIR_ROUNDING = 1e-6  # tolerance for a user's matrix, relative to its largest entry; single precision is more exact
CONVENTION = (
    "A callable kernel takes two arrays of rows, like sklearn.metrics.pairwise.rbf_kernel; for a function of "
    "two single rows use functools.partial(pairwise_kernels, metric=function)."
)


def call_kernel(kernel, X, Z=None):
    """Return the checked values of a Kernel object or of a user's callable."""
    if isinstance(kernel, Kernel):
        K = kernel(X, Z)
        if not all_finite(K):
            raise overflow()
        return K
    others = X if Z is None else Z
    K = np.empty((len(X), len(others)))
    for rows in row_blocks(*K.shape):
        K[rows] = _values(kernel, X[rows], others)
    if not all_finite(K):
        raise ValueError("kernel(X, Z) returned NaN or infinity; check it on the rows of X, and scale the columns.")
    if Z is None:
        _check_gram(K, "kernel(X, X)")
    return K


def _values(kernel, X, Z):
    """Return the values of a user's callable for two arrays; errors say with which shapes it was called."""
    shape = len(X), len(Z)
    try:
        values = np.asarray(kernel(X, Z))
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(
            f"kernel(X, Z) failed for X of shape {X.shape} and Z of shape {Z.shape} ({type(error).__name__}: {error}). "
            f"{CONVENTION}"
        ) from error
    if values.shape != shape:
        raise ValueError(
            f"kernel(X, Z) returned shape {values.shape} for X of shape {X.shape} and Z of shape {Z.shape}; expected "
            f"{shape}, one row per row of X and one column per row of Z. {CONVENTION}"
        )
    if values.dtype.kind not in "biuf":
        raise ValueError(f"kernel(X, Z) returned dtype {values.dtype}; expected real numbers.")
    return values


def check_precomputed(K, weight):
    if K.shape[0] != K.shape[1]:
        raise ValueError(
            f"X has shape {K.shape}; with kernel='precomputed' it must be square, the kernel between all pairs of "
            "training rows. Pass kernel(X, X) to fit and kernel(X_new, X) to predict."
        )
    _check_gram(between(K, np.flatnonzero(weight)), "X, a precomputed kernel,")


def between(K, rows):
    """Return the matrix between some rows, or the matrix itself if these are all rows."""
    return K if len(rows) == len(K) else K[np.ix_(rows, rows)]


def _check_gram(K, name):
    """Raise an error if K is not symmetric, or not positive semi-definite for any pair of rows.

    Rounding is judged relative to the largest entry, because a matrix of distances has zeros on its diagonal.
    """
    blocks = row_blocks(len(K), 8 * len(K))  # there are several temporaries
    largest = max(np.abs(K[rows]).max() for rows in blocks)
    if largest == 0:
        return
    diagonal, gap, least = np.diagonal(K) / largest, 0.0, (0.0, 0, 0)
    for rows in blocks:
        block = K[rows] / largest
        gap = max(gap, np.abs(block - K.T[rows] / largest).max())
        own, size = diagonal[rows, None], np.abs(block)
        # For the matrix M of two rows: the least of (1, 1) M (1, 1)', (1, -1) M (1, -1)' and its determinant.
        values = np.minimum(own + diagonal - 2.0 * size, own * diagonal - size**2)
        i, j = np.unravel_index(np.argmin(values), values.shape)
        least = min(least, (values[i, j], i + rows.start, j))
    if gap > PAIR_ROUNDING:
        raise ValueError(
            f"{name} is not symmetric: entries differ from their mirror images by up to {gap * largest:.1e}."
        )
    if least[0] < -PAIR_ROUNDING:
        i, j = least[1:]
        raise not_psd(f"{K[i, j]:.3g} between two rows, but {K[i, i]:.3g} and {K[j, j]:.3g} on the diagonal", name)


def all_finite(K):
    return all(np.isfinite(K[rows]).all() for rows in row_blocks(*K.shape))


def overflow():
    return ValueError("The kernel of X overflows double precision; scale the columns, for example with StandardScaler.")


def gram(kernel, X, rows):
    return X[np.ix_(rows, rows)] if kernel is None else call_kernel(kernel, X[rows])


def cross(kernel, X, rows, columns):
    return X[np.ix_(rows, columns)] if kernel is None else call_kernel(kernel, X[rows], X[columns])


def mean_diagonal(K, weight):
    mean = np.average(np.diagonal(K), weights=weight)
    return mean if mean > 0 else 1.0
