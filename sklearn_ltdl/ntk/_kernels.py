r"""Kernels of infinitely wide fully connected ReLU networks, and the two that practitioners compare them with.

A network's first layer acts on :math:`\varphi(x) = [x / \sqrt d, b]`, so that the bias is one more coordinate. With
:math:`S_0 = T_0 = w^2 \langle\varphi(x), \varphi(z)\rangle`, each hidden layer maps

.. math:: S' = w^2 E[\sigma(u)\sigma(v)] + b_h^2, \qquad T' = S' + w^2 E[\sigma'(u)\sigma'(v)]\,T,

over normal (u, v) of covariance S. After `depth` layers S is the NNGP kernel and T the neural tangent kernel in the
'NTK parametrisation' (Jacot, Gabriel, Hongler 2018). Both are carried divided by :math:`\sqrt{q_x q_z}`, q the diagonal
of S, and the angle through :math:`v^2 = \sin^2(\theta/2) = (1 - \cos\theta)/2`, which no layer computes by a
difference of nearly equal numbers.
"""

import numpy as np

from sklearn_ltdl.activations import Relu

TILE = 128, 128  # entries worked on at once: their temporaries stay in the second-level cache
NEAR = 2e-6  # squared distance, over the squared norms, below which a Gram product has lost the digits


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
    K : ndarray of shape (n, m), float64

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
    K : ndarray of shape (n, m), float64

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
    def rows(A):
        phi = np.column_stack([A / np.sqrt(A.shape[1]), np.full(len(A), float(b_std))])
        norms = np.sqrt(np.einsum("ij,ij->i", phi, phi))
        return phi / np.where(norms > 0, norms, 1.0)[:, None], (w_std * norms)[:, None]

    def tile(units_x, scale_x, units_z, scale_z):
        return _network_tile(units_x, units_z, scale_x, scale_z.T, depth, w_std, hidden_b_std, tangent)

    return _tiled(tile, rows(X), None if Z is None else rows(Z))


def _network_tile(units_x, units_z, r_x, r_z, depth, w_std, hidden_b_std, tangent):
    """Return the kernel between unit rows; r_x of shape (n, 1) and r_z (1, m) are the square roots of q."""
    relu, bias = Relu(), hidden_b_std**2
    gain = w_std**2 * relu.second_moment
    sine2 = _squared_distances(units_x, units_z) / 4.0
    cosine2 = 1.0 - sine2
    opposite = np.nonzero(cosine2 < NEAR)
    cosine2[opposite] = _sum_squares(units_x[opposite[0]] + units_z[opposite[1]]) / 4.0
    T = 1.0 - 2.0 * sine2
    for _ in range(depth):
        gap, kappa0 = relu.duals(np.sqrt(sine2), np.sqrt(cosine2))
        share = gain  # of the new diagonal that the weights make
        if bias:
            old, spread = r_x * r_z, r_x - r_z
            r_x, r_z = np.sqrt(gain * r_x**2 + bias), np.sqrt(gain * r_z**2 + bias)
            share = gain * old / (r_x * r_z)
            gap = share * gap + gain * bias * spread**2 / (r_x * r_z * (r_x * r_z + gain * old + bias))
        else:
            r_x, r_z, share = np.sqrt(gain) * r_x, np.sqrt(gain) * r_z, 1.0
        sine2 = np.maximum(gap / 2.0, 0.0)  # the difference of roundings when the angle is below one
        cosine2 = 1.0 - sine2
        T = 1.0 - 2.0 * sine2 + share * kappa0 * T
    return (T if tangent else 1.0 - 2.0 * sine2) * (r_x * r_z)


def _distance_kernel(X, Z, profile):
    with np.errstate(over="ignore", invalid="ignore"):
        origin = np.mean(X if Z is None else Z, axis=0)  # near the data, products lose fewer digits
        x, z = (X - origin,), None if Z is None else (Z - origin,)
    return _tiled(lambda x, z: profile(_squared_distances(x, z)), x, z)


def _squared_distances(X, Z):
    norms_x, norms_z = _sum_squares(X), _sum_squares(Z)
    total = norms_x[:, None] + norms_z
    squared = total - 2.0 * (X @ Z.T)
    near = np.nonzero(squared < NEAR * total)
    squared[near] = _sum_squares(X[near[0]] - Z[near[1]])
    return squared


def _sum_squares(rows):
    return np.einsum("ij,ij->i", rows, rows)


def _tiled(tile, x, z):
    """Return `tile(*x, *z)` worked tile by tile; x and z are tuples of arrays with one row a sample.

    An entry beyond the range of doubles comes out as inf or NaN, which the caller looks for.
    """
    symmetric = z is None
    z = x if symmetric else z
    K = np.empty((len(x[0]), len(z[0])))
    height, width = TILE
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(0, K.shape[0], height):
            here = slice(i, i + height)
            for j in range(0, i + 1 if symmetric else K.shape[1], width):
                there = slice(j, j + width)
                K[here, there] = tile(*(a[here] for a in x), *(a[there] for a in z))
                if symmetric and j < i:
                    K[there, here] = K[here, there].T
    return K
