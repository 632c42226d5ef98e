import numpy as np
import pytest
from scipy.special import gamma, iv

from sklearn_ltdl.datasets import make_multi_index, make_parity, make_sphere


def test_parity_is_the_product_of_its_relevant_signs_and_uncorrelated_with_each():
    X, y = make_parity(20_000, 6, n_relevant=3, random_state=0)
    assert set(np.unique(X)) == {-1.0, 1.0}
    assert np.array_equal(2 * y - 1, X[:, 0] * X[:, 1] * X[:, 2])
    assert np.abs(X.T @ (2 * y - 1) / 20_000).max() < 4 / np.sqrt(20_000)


def test_multi_index_teacher_has_unit_variance_and_no_linear_part():
    X, y = make_multi_index(50_000, 8, n_directions=2, noise=0.5, random_state=0)
    assert y.var() == pytest.approx(1 + 0.5**2, rel=0.03)
    assert np.abs(X.T @ y / 50_000).max() < 4 * 1.7 / np.sqrt(50_000)  # sd of x y is at most about 1.7


def test_multi_index_teacher_reads_its_directions_only():
    X, y = make_multi_index(20_000, 8, n_directions=2, noise=0.0, random_state=0)
    curvature = np.linalg.eigvalsh((X.T * y) @ X / 20_000)  # Stein: the mean Hessian, of rank n_directions
    assert np.sort(np.abs(curvature))[-2] > 5 * np.sort(np.abs(curvature))[-3]


def test_sphere_has_the_mean_of_the_exponential_on_it():
    X, y = make_sphere(100_000, 5, sharpness=3.0, noise=0.0, random_state=0)
    assert np.allclose(np.linalg.norm(X, axis=1), 1)
    expected = gamma(2.5) * (2 / 3.0) ** 1.5 * iv(1.5, 3.0)  # von Mises-Fisher's normalising constant
    assert y.mean() == pytest.approx(expected, rel=0.02)
