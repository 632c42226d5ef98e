import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import pairwise

from sklearn_ltdl.ntk import laplace_kernel, nngp_kernel, ntk_kernel, rbf_kernel

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
KERNELS = {"ntk": ntk_kernel, "nngp": nngp_kernel}


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).with_name("golden.npz")) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['name']}-{case['get']}")
def test_network_kernels_equal_reference_values(case, golden):
    X, Z, name = golden[case["X1"]], golden[case["X2"]], f"{case['name']}__{case['get']}"
    options = dict(
        depth=case["depth"], w_std=case["W_std"], b_std=case["b_std"] / case["W_std"], hidden_b_std=case["b_std"]
    )
    kernel = KERNELS[case["get"]]
    K = kernel(X, Z, **options)
    size = np.sqrt(np.outer(np.diag(kernel(X, **options)), np.diag(kernel(Z, **options))))
    # 50-digit values: a few roundings per layer, parallel and opposite pairs included.
    assert np.all(np.abs(K - golden[name + "__mp"]) <= 1e-14 * size)
    # neural_tangents takes the angle from a cosine: good to the root of the rounding for parallel pairs.
    assert np.all(np.abs(K - golden[name]) <= 1e-8 * size)


def test_kernels_of_many_rows_are_those_of_few(rng):  # tiles, their symmetric half, and their seams
    X = rng.standard_normal((450, 3))
    X[400] = X[3]
    for kernel in (ntk_kernel, nngp_kernel, laplace_kernel, rbf_kernel):
        K = kernel(X)
        np.testing.assert_array_equal(K, K.T)
        np.testing.assert_allclose(K[[0, 3, 127, 128, 400, 449]], kernel(X[[0, 3, 127, 128, 400, 449]], X), rtol=1e-12)


def test_depth_one_without_bias_is_the_arc_cosine_kernel(rng):  # Cho and Saul 2009, equations 1, 3 and 6
    X = rng.standard_normal((30, 4))
    norms = np.linalg.norm(X, axis=1)
    inner = X @ X.T
    angle = np.arccos(np.clip(inner / np.outer(norms, norms), -1, 1))
    order_one = np.outer(norms, norms) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
    order_zero = 1 - angle / np.pi
    off = ~np.eye(30, dtype=bool)
    np.testing.assert_allclose(nngp_kernel(X, w_std=1, b_std=0)[off], (order_one / 8)[off], rtol=1e-12)
    expected = (order_one + inner * order_zero) / 8
    np.testing.assert_allclose(ntk_kernel(X, w_std=1, b_std=0)[off], expected[off], rtol=1e-12, atol=1e-13)


def test_diagonal_of_the_tangent_kernel_counts_the_layers(rng):  # Theta(x, x) = 2 (L + 1) |phi(x)|^2 at w_std^2 = 2
    X = rng.standard_normal((20, 5))
    phi2 = np.sum(X**2, axis=1) / 5 + 1
    for depth in (0, 1, 7):
        np.testing.assert_allclose(np.diag(ntk_kernel(X, depth=depth)), 2 * (depth + 1) * phi2, rtol=1e-13)


def test_tangent_kernel_resolves_nearly_parallel_rows():
    # Near angle t, NTK = 2 |phi|^2 (2 - t / pi + O(t^2)) at depth 1: the kink that a cosine cannot see below 1e-8.
    for t in (1e-4, 1e-7, 1e-10, 1e-13):
        X = np.array([[1.0, 0.0], [np.cos(t), np.sin(t)]])
        value = ntk_kernel(X[:1], X[1:], b_std=0)[0, 0]  # 2 |phi|^2 = 1 in two dimensions
        assert abs((2.0 - value) - t / np.pi) <= t**2 + 4e-16


def test_network_of_finite_width_has_the_kernel_in_the_mean(rng):
    X = rng.standard_normal((4, 3))
    phi = np.column_stack([X / np.sqrt(3), np.ones(4)])
    width = 400_000
    first, second = rng.standard_normal((4, width)), rng.standard_normal(width)
    pre = np.sqrt(2) * phi @ first
    gates = 1.0 * (pre > 0)
    nngp = 2 * np.maximum(pre, 0) @ np.maximum(pre, 0).T / width
    # Gradients of f = sqrt(2/m) sum b_j relu(sqrt 2 a_j . phi) in b, then in a.
    tangent = nngp + 2 * 2 * (phi @ phi.T) * ((gates * second**2) @ gates.T) / width
    # Each is a mean of `width` terms of standard deviation below 10 K(x, x): five standard errors.
    scale = np.sqrt(np.outer(np.diag(tangent), np.diag(tangent)))
    assert np.max(np.abs(ntk_kernel(X) - tangent) / scale) < 50 / np.sqrt(width)
    assert np.max(np.abs(nngp_kernel(X) - nngp) / scale) < 50 / np.sqrt(width)


def test_distance_kernels_equal_scikit_learn(rng):
    X, Z = rng.standard_normal((40, 6)), rng.standard_normal((30, 6))
    expected = np.exp(-pairwise.euclidean_distances(X, Z) / 1.7)
    np.testing.assert_allclose(laplace_kernel(X, Z, length_scale=1.7), expected, rtol=1e-13)
    expected = pairwise.rbf_kernel(X, Z, gamma=1 / (2 * 1.7**2))
    np.testing.assert_allclose(rbf_kernel(X, Z, length_scale=1.7), expected, rtol=1e-13)


def test_distance_kernels_keep_small_distances_far_from_the_origin():
    X = np.array([[1e4, 0.0], [1e4, 2.0**-30]])  # a Gram product would lose the distance
    assert abs(-np.log(laplace_kernel(X[:1], X[1:], length_scale=2.0**-30)[0, 0]) - 1) < 1e-14
