"""Small generators of problems from the theory; for each problem it is known which model suits it."""

import numpy as np

from sklearn_ltdl._sklearn import generator_of
from sklearn_ltdl._types import Seed


def make_parity(
    n_samples: int = 400, n_features: int = 20, *, n_relevant: int = 2, random_state: Seed = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw random signs; the class is the product of a few of them, which the learner does not know.

    No linear model does better than chance. A kernel that treats all directions alike needs about
    ``n_features ** n_relevant`` samples. A two-layer network that finds the relevant features needs far fewer.

    Parameters
    ----------
    n_samples : int, default=400
    n_features : int, default=20
    n_relevant : int, default=2
        The class depends on the first `n_relevant` columns only.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), each entry -1 or 1
    y : ndarray of shape (n_samples,), 1 if the product of the relevant signs is positive, else 0

    Examples
    --------
    >>> from sklearn_ltdl.datasets import make_parity
    >>> X, y = make_parity(4, 3, random_state=0)
    >>> (X[:, 0] * X[:, 1] > 0).astype(int).tolist() == y.tolist()
    True
    """
    rng = generator_of(random_state)
    X = rng.choice([-1.0, 1.0], size=(n_samples, n_features))
    return X, (X[:, :n_relevant].prod(axis=1) > 0).astype(int)


def make_multi_index(
    n_samples: int = 500, n_features: int = 20, *, n_directions: int = 3, noise: float = 0.1, random_state: Seed = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Draw Gaussian inputs and the output of a teacher that depends on a few of their directions.

    The signal is :math:`c \sum_j s_j |u_j \cdot x|` with orthonormal directions u and alternating signs s. The factor c
    makes its variance 1. The signal is even in x, so the best linear model is constant.

    Parameters
    ----------
    n_samples : int, default=500
    n_features : int, default=20
    n_directions : int, default=3
        At most `n_features`.
    noise : float, default=0.1
        Standard deviation of the Gaussian noise: no model has an expected R2 above ``1 / (1 + noise ** 2)``.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)

    Examples
    --------
    >>> from sklearn_ltdl.datasets import make_multi_index
    >>> X, y = make_multi_index(100, 5, random_state=0)
    >>> X.shape, y.shape
    ((100, 5), (100,))
    """
    rng = generator_of(random_state)
    directions = np.linalg.qr(rng.standard_normal((n_features, n_directions)))[0]
    X = rng.standard_normal((n_samples, n_features))
    signs = (-1.0) ** np.arange(n_directions)
    signal = np.abs(X @ directions) @ signs / np.sqrt(n_directions * (1 - 2 / np.pi))  # var |g| = 1 - 2/pi
    return X, signal + noise * rng.standard_normal(n_samples)


def make_sphere(
    n_samples: int = 500, n_features: int = 5, *, sharpness: float = 3.0, noise: float = 0.1, random_state: Seed = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Draw points of the unit sphere and a smooth function of them, :math:`\exp(t\, u \cdot x)`.

    A kernel is enough for this problem. The function is in the reproducing space of every kernel whose power series in
    the cosine has positive coefficients, such as the Gaussian kernel and, up to parity, the neural tangent kernel.

    Parameters
    ----------
    n_samples : int, default=500
    n_features : int, default=5
    sharpness : float, default=3.0
        The factor t.
    noise : float, default=0.1
        Standard deviation of the Gaussian noise.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), rows of norm 1
    y : ndarray of shape (n_samples,)

    Examples
    --------
    >>> from sklearn_ltdl.datasets import make_sphere
    >>> X, y = make_sphere(100, random_state=0)
    >>> bool(abs((X**2).sum(axis=1) - 1).max() < 1e-12)
    True
    """
    rng = generator_of(random_state)
    X = rng.standard_normal((n_samples, n_features))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    pole = rng.standard_normal(n_features)
    pole /= np.linalg.norm(pole)
    return X, np.exp(sharpness * X @ pole) + noise * rng.standard_normal(n_samples)
