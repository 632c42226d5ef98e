import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pytest
from scipy import special
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import pairwise
from sklearn.svm import SVC
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from sklearn_ltdl._threads import threads
from sklearn_ltdl.activations import ACTIVATIONS, LeakyRelu, Monomial
from sklearn_ltdl.ntk import NNGP, NTK, RBF, Laplace, _passes, _recursion, nngp_kernel, ntk_kernel

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
KERNELS = {"ntk": ntk_kernel, "nngp": nngp_kernel}


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).with_name("golden.npz")) as arrays:
        return dict(arrays)


@pytest.fixture
def compiled(monkeypatch):
    """Have every network kernel compiled, in tiles of which small matrices have several."""
    monkeypatch.setattr(_passes, "SMALL", 0)
    monkeypatch.setattr(_recursion, "COMPILED_TILE", 50)


@pytest.fixture(params=["numpy", "compiled"])
def path(request):
    if request.param == "compiled":
        request.getfixturevalue("compiled")


class SigmoidLike(NamedTuple):
    def value(self, z):
        return 0.5 + 0.5 * special.erf(z / 2.4020563531719796)

    def derivative(self, z):
        return np.exp(-((z / 2.4020563531719796) ** 2)) / np.sqrt(np.pi) / 2.4020563531719796


class Gaussian(NamedTuple):
    def value(self, z):
        return np.exp(-z * z)

    def derivative(self, z):
        return -2 * z * np.exp(-z * z)


class Gabor(NamedTuple):
    def value(self, z):
        return np.exp(-z * z) * np.sin(z)

    def derivative(self, z):
        return np.exp(-z * z) * (np.cos(z) - 2 * z * np.sin(z))


OBJECTS = {
    "leaky_relu_0.2": LeakyRelu(0.2),
    "monomial2": Monomial(2),
    "monomial3": Monomial(3),
    "sigmoid_like": SigmoidLike(),
    "gaussian": Gaussian(),
    "gabor": Gabor(),
}
WIDE = ("gaussian_L1", "gaussian_L2", "gabor_L1", "gabor_L2")  # inputs of variance 12, too far for the polynomials


def golden_kernel(case, activation=None):
    return (NTK if case["get"] == "ntk" else NNGP)(
        case["depth"],
        activation=activation or OBJECTS.get(case["activation"], case["activation"]),
        w_std=case["W_std"],
        b_std=case["b_std"] / case["W_std"],
        hidden_b_std=case["b_std"],
    )


def scale_of(kernel, X, Z):
    size = np.sqrt(np.outer(kernel.diag(X), kernel.diag(Z)))
    return np.where(size > 0, size, 1.0)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['name']}-{case['get']}")
def test_network_kernels_equal_reference_values(case, golden):
    X, Z, name = golden[case["X1"]], golden[case["X2"]], f"{case['name']}__{case['get']}"
    kernel = golden_kernel(case)
    if case["name"] in WIDE:
        with pytest.warns(UserWarning, match="Hermite"):
            kernel(X, Z)
        return
    K, size = kernel(X, Z), scale_of(kernel, X, Z)
    # neural_tangents takes the angle from a cosine: good to the root of the rounding for parallel pairs.
    assert np.all(np.abs(K - golden[name]) <= 1e-8 * size)
    single = kernel(X.astype(np.float32), Z.astype(np.float32))
    assert single.dtype == np.float32
    if case["mp"]:
        # 50-digit values: a few roundings per layer, parallel and opposite pairs included.
        assert np.all(np.abs(K - golden[name + "__mp"]) <= 1e-14 * size)
        assert np.all(np.abs(single - golden[name + "__mp"]) <= 1e-6 * size)  # rounds inputs too
    np.testing.assert_allclose(kernel.diag(X), np.diag(kernel(X)), rtol=1e-13)


@pytest.mark.parametrize("name", ["erf", "gelu", "sin", "cos", "identity", "monomial"])
def test_hermite_expansion_equals_closed_forms(golden, name):
    class Unknown(NamedTuple):  # the same formulas, of which only values and derivatives are known
        value = staticmethod(ACTIVATIONS[name].value)
        derivative = staticmethod(ACTIVATIONS[name].derivative)

    for get in (NTK, NNGP):
        options = dict(w_std=0.7, b_std=0.5, hidden_b_std=0.1)
        closed, expanded = get(2, activation=name, **options), get(2, activation=Unknown(), **options)
        X = golden["XS"] / 2
        # The quadrature of 200 nodes is exact for polynomials, and a sine wave of variance 4 needs 60 terms.
        np.testing.assert_allclose(expanded(X), closed(X), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(expanded.diag(X), closed.diag(X), rtol=1e-10)


def test_hermite_expansion_of_a_kink_is_exact_for_equal_rows_and_close_for_others(golden):
    class Unknown(NamedTuple):
        value = staticmethod(ACTIVATIONS["relu"].value)
        derivative = staticmethod(ACTIVATIONS["relu"].derivative)

    X = golden["XN"]
    with pytest.warns(UserWarning, match="of the mean square"):  # of a step, whose terms fall as k^{-3/2}
        K = NTK(1, activation=Unknown())(X)
    expected = NTK(1, w_std=1.0)(X)
    np.testing.assert_allclose(np.diag(K), np.diag(expected), rtol=1e-2)  # quadrature of a kink
    np.testing.assert_allclose(K, expected, rtol=2e-2)
    assert np.linalg.eigvalsh(K)[0] > 0


def of_angle(theta, depth, tangent):
    """Return the kernel without hidden biases between rows of length 1 at an angle, with every difference in excess."""
    theta = np.asarray(theta, dtype=np.longdouble)
    T = np.cos(theta)
    for _ in range(depth):
        gap = 2 * np.sin(theta / 2) ** 2 - (np.sin(theta) - theta * np.cos(theta)) / np.longdouble(np.pi)
        kappa0 = 1 - theta / np.longdouble(np.pi)
        theta = 2 * np.arcsin(np.sqrt(np.maximum(gap, 0) / 2))
        T = np.cos(theta) + kappa0 * T
    return (T if tangent else np.cos(theta)).astype(float)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("depth", [0, 1, 3, 12, 13, 38, 60])  # 24 terms, 42 terms, layer by layer
@pytest.mark.parametrize("get", ["ntk", "nngp"])
def test_kernel_is_a_function_of_the_angle_at_any_depth_angle_and_length(get, depth):
    angles = np.concatenate([10.0 ** np.arange(-15, 0), np.linspace(0.2, np.pi - 0.2, 20)])
    angles = np.concatenate([[0.0], angles, np.pi - 10.0 ** np.arange(-15, 0), [np.pi]])
    X = np.outer([1e-150, 1.0, 1e150], [1.0, 0.0]) * 2**0.5
    lengths = np.resize([1.0, 1e150, 1e-150], len(angles))[:, None] * 2**0.5
    Z = lengths * np.column_stack([np.cos(angles), np.sin(angles)])
    K = KERNELS[get](X, Z, depth=depth, w_std=2**0.5, b_std=0.0)
    with np.errstate(under="ignore"):
        size = np.outer(X[:, 0], lengths)
    expected = of_angle(angles, depth, get == "ntk")
    # Rounding of products moves angles above .01 by 2e-14; the slope at 0 of the tangent kernel grows as depth^2.
    assert np.all(np.abs(K / size - expected) <= 2e-14 * (depth + 1) ** 2)
    single = KERNELS[get](X[1:2].astype("f"), (Z / lengths).astype("f"), depth=depth, w_std=2**0.5, b_std=0.0)
    assert np.all(np.abs(single / 2**0.5 - expected) <= 3e-7 * (depth + 1) ** 2)


@pytest.mark.usefixtures("path")
def test_zero_rows_have_no_angle_but_a_kernel():
    X, Z = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0]])
    assert np.all(ntk_kernel(X, Z, depth=3, b_std=0.0) == 0.0)
    # Only biases are left: q = 0, b^2, 2 b^2, ... whose sum over the layers is the tangent kernel of a zero row.
    K = ntk_kernel(X, Z, depth=3, b_std=0.0, hidden_b_std=0.5)
    np.testing.assert_allclose(K[0, 0], 0.25 * (3 + 2 + 1), rtol=1e-14)
    assert K[1, 0] > K[0, 0]


@pytest.mark.parametrize("options", [dict(depth=2), dict(depth=3, hidden_b_std=0.3), dict(depth=45, w_std=1.4)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_compiled_kernels_are_those_of_the_recursion(rng, monkeypatch, options, dtype):
    X = rng.standard_normal((230, 2))  # in two dimensions every pair of directions is met
    X[200] = -X[3]
    X, Z = np.vstack([X, X[:20] + 1e-7 * rng.standard_normal((20, 2))]).astype(dtype), X[100:173].astype(dtype)
    for kernel in (ntk_kernel, nngp_kernel):
        expected, cross = kernel(X, **options), kernel(X, Z, **options)
        with monkeypatch.context() as patch:
            patch.setattr(_passes, "SMALL", 0)
            patch.setattr(_recursion, "COMPILED_TILE", 50)
            K, K_cross = kernel(X, **options), kernel(X, Z, **options)
        np.testing.assert_array_equal(K, K.T)
        tolerance = 1e-13 if dtype == np.float64 else 2e-6  # angles of .01 and .06 are within 2e-14 and 2e-6
        np.testing.assert_allclose(K, expected, rtol=tolerance * options["depth"])
        np.testing.assert_allclose(K_cross, cross, rtol=tolerance * options["depth"])


@pytest.mark.parametrize("size", ["SMALL", None])
def test_kernels_of_many_rows_are_those_of_few(rng, monkeypatch, size):  # tiles, their symmetric half, and their seams
    if size:
        monkeypatch.setattr(_passes, size, 0)  # threads
    X = rng.standard_normal((550, 3))
    X[400] = X[3]
    some = [0, 3, 191, 192, 400, 479, 480, 549]
    for kernel in (ntk_kernel, nngp_kernel, Laplace(), RBF()):
        K = kernel(X)
        np.testing.assert_array_equal(K, K.T)
        np.testing.assert_allclose(K[some], kernel(X[some], X), rtol=1e-12)


@pytest.mark.parametrize(("offset", "path"), [(0, "numpy"), (1e6, "numpy"), (0, "compiled")], indirect=["path"])
@pytest.mark.usefixtures("path")
def test_no_second_matrix_is_allocated(rng, monkeypatch, offset):  # nor when all rows are nearly parallel
    monkeypatch.setattr(_recursion, "COMPILED_TILE", 480)
    X = offset + rng.standard_normal((800, 200))
    ntk_kernel(X[:2])  # compiles
    tracemalloc.start()
    try:
        ntk_kernel(X, depth=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    in_numpy = _passes.SMALL > 0
    temporaries = 4 * X.nbytes + in_numpy * 8 * (12 * _passes.NUMPY_TILE**2 + 4 * 2**18)
    assert peak < 8 * len(X) ** 2 + temporaries


@pytest.mark.usefixtures("path")
def test_values_beyond_the_range_of_a_precision_are_not_finite():
    for large in (np.array([[1e200]]), np.array([[3e38]], dtype=np.float32)):
        for options in ({}, {"hidden_b_std": 0.1}):
            assert not np.isfinite(ntk_kernel(np.vstack([large, large / 2]), **options)).any()


def pools():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@threadpool_limits.wrap(2)
def test_threads_are_those_that_linear_algebra_is_allowed_and_are_given_back():
    before = pools()
    with threadpool_limits(1), threads() as allowed:
        assert allowed == 1
    with threads() as allowed:
        assert allowed == min(joblib.cpu_count(), *before)
        assert allowed == 1 or set(pools()) == {1}
        with threads() as left:  # as a second thread would find it
            assert left == 1
    assert pools() == before
    assert set(before) == {2}


@threadpool_limits.wrap(2)
def test_a_library_with_one_thread_limits_the_others():
    """Otherwise linear algebra would add by threads of its own, and results would have other bits."""
    blas = ThreadpoolController().select(user_api="blas")
    with blas.select(filepath=blas.info()[0]["filepath"]).limit(limits=1), threads() as allowed:
        assert (allowed, set(pools())) == (1, {1})
    assert set(pools()) == {2}


@threadpool_limits.wrap(2)
def test_two_callers_at_once_share_the_threads_and_give_them_back(rng, monkeypatch):
    X = rng.standard_normal((300, 3))
    expected = RBF()(X)
    monkeypatch.setattr(_passes, "SMALL", 0)
    with ThreadPoolExecutor(4) as pool:
        for K in pool.map(RBF(), [X] * 20):
            np.testing.assert_array_equal(K, expected)
    assert set(pools()) == {2}


def test_an_error_in_a_tile_reaches_the_caller():
    def work(K, rows, columns):
        raise ValueError(f"{rows.start} to {rows.stop}")

    with pytest.raises(ValueError, match="0 to 1000"):
        _passes.tiled(work, 2000, None, 1000, np.float64)


def test_small_tables_never_load_the_compiler():
    code = """
import sys
import numpy as np
from sklearn_ltdl import NTKKernelRegressor
X = np.random.default_rng(0).standard_normal((50, 2))
NTKKernelRegressor().fit(X, X[:, 0]).predict(X)
sys.exit("numba" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0


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


@pytest.mark.usefixtures("path")
def test_tangent_kernel_resolves_nearly_parallel_rows():
    # Near angle t, NTK = 2 |phi|^2 (2 - t / pi + O(t^2)) at depth 1: the kink that a cosine cannot see below 1e-8.
    for t in (1e-4, 1e-7, 1e-10, 1e-13):
        X = np.array([[1.0, 0.0], [np.cos(t), np.sin(t)]])
        value = ntk_kernel(X[:1], X[1:], b_std=0)[0, 0]  # 2 |phi|^2 = 1 in two dimensions
        assert abs((2.0 - value) - t / np.pi) <= t**2 + 1e-14


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
    np.testing.assert_allclose(Laplace(1.7)(X, Z), expected, rtol=1e-13)
    expected = pairwise.rbf_kernel(X, Z, gamma=1 / (2 * 1.7**2))
    np.testing.assert_allclose(RBF(1.7)(X, Z), expected, rtol=1e-13)


def test_distance_kernels_keep_small_distances_far_from_the_origin():
    X = np.array([[1e4, 0.0], [1e4, 2.0**-30]])  # a Gram product would lose the distance
    assert abs(-np.log(Laplace(2.0**-30)(X[:1], X[1:])[0, 0]) - 1) < 1e-14


@pytest.mark.parametrize("fixed", [0, 1, 2, 3])
@pytest.mark.parametrize("path", ["numpy", "compiled"], indirect=True)
def test_arora_normalization_is_the_recursion_of_their_paper(
    rng, path, fixed
):  # equations 8 to 11, halved in each layer
    X = rng.standard_normal((30, 4))
    S, H = X @ X.T, np.zeros((30, 30))  # their code halves the kernel in each layer
    for layer in range(3):
        H = H + S * (layer >= fixed)
        size = np.sqrt(np.outer(np.diag(S), np.diag(S)))
        angle = np.arccos(np.clip(S / size, -1, 1))
        S = size * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        H = H * (np.pi - angle) / (2 * np.pi)
    kernel = NTK(3, w_std=1.0, b_std=0.0, fixed_layers=fixed, normalization="arora")
    # The arc cosine knows the angle 0 to 1e-8 only.
    np.testing.assert_allclose(kernel(X), H + S, rtol=1e-7)
    np.testing.assert_allclose(kernel.diag(X), np.diag(H + S), rtol=1e-7)
    if fixed == 3:
        np.testing.assert_array_equal(kernel(X), NNGP(3, w_std=1.0, b_std=0.0, normalization="arora")(X))


def test_scikit_ntk_normalization_trains_biases_that_start_at_zero(rng):
    X, Z, depth, beta = rng.standard_normal((20, 3)), rng.standard_normal((10, 3)), 3, 0.4
    # Theta_0 = x.z + beta^2, Theta_l = Sigma_l + beta^2 + kappa_0 Theta_{l - 1}, over (depth + 1) (beta^2 + 1), c = 2.
    S, size = X @ Z.T, np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(Z, axis=1))
    T = S + beta**2
    for _ in range(depth):
        angle = np.arccos(S / size)
        S = size * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
        T = S + beta**2 + (1 - angle / np.pi) * T
    kernel = NTK(depth, b_std=beta, normalization="scikit-ntk")
    scale = (depth + 1) * (beta**2 + 1)
    np.testing.assert_allclose(kernel(X, Z), T / scale, rtol=1e-12)
    np.testing.assert_allclose(kernel.diag(X), np.diag(kernel(X)), rtol=1e-13)


def test_algebra_of_kernels_is_that_of_their_matrices(rng):
    X, Z = rng.standard_normal((12, 3)), rng.standard_normal((7, 3))
    ntk, rbf, laplace = NTK(2), RBF(0.7), Laplace(1.3)
    kernel = 2 * ntk * rbf + laplace * 0.5
    np.testing.assert_allclose(kernel(X, Z), 2 * ntk(X, Z) * rbf(X, Z) + 0.5 * laplace(X, Z), rtol=1e-15)
    np.testing.assert_allclose(kernel.diag(X), np.diag(kernel(X)), rtol=1e-13)
    assert kernel == 2 * NTK(2) * RBF(0.7) + Laplace(1.3) * 0.5
    assert repr(NTK(2, b_std=0.5) + Laplace(1.3)) == (
        "Sum(left=NTK(depth=2, b_std=0.5), right=Laplace(length_scale=1.3))"
    )
    assert kernel != 2 * NTK(3) * RBF(0.7) + Laplace(1.3) * 0.5
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(kernel))(X), kernel(X))


def test_kernels_serve_scikit_learn_machines(rng):
    X, y = rng.standard_normal((40, 3)), rng.standard_normal(40)
    K = ntk_kernel(X)
    np.testing.assert_allclose(pairwise.pairwise_kernels(X, metric=ntk_kernel), K, rtol=1e-13)
    np.testing.assert_allclose(pairwise.pairwise_kernels(X, X[:3], metric=NNGP(2)), NNGP(2)(X, X[:3]), rtol=1e-13)
    ridge = KernelRidge(kernel=NTK(), alpha=0.1).fit(X, y)
    np.testing.assert_allclose(ridge.dual_coef_, np.linalg.solve(K + 0.1 * np.eye(40), y), rtol=1e-9)
    labels = y > 0
    by_matrix = SVC(kernel="precomputed").fit(K, labels).decision_function(K)
    np.testing.assert_allclose(SVC(kernel=ntk_kernel).fit(X, labels).decision_function(X), by_matrix, rtol=1e-9)


@pytest.mark.parametrize("make", [NTK, NNGP, ntk_kernel, nngp_kernel])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": -1}, "depth is -1; it must be an integer, at least 0"),
        ({"depth": 1.5}, "depth is 1.5"),
        ({"w_std": np.nan}, "w_std is nan; it must be a finite number"),
        ({"b_std": -1.0}, "b_std is -1.0"),
        ({"hidden_b_std": np.inf}, "hidden_b_std is inf"),
        ({"activation": "swish"}, "activation is 'swish'; known are relu"),
        ({"activation": np.tanh}, "must have methods value and derivative"),
        ({"normalization": "standard"}, "normalization is 'standard'"),
    ],
)
def test_bad_kernel_parameters_are_named(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options) if isinstance(make, type) else make([[1.0]], **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NTK(1, fixed_layers=2), "fixed_layers is 2; it must be at most depth, which is 1"),
        (lambda: NTK(1, activation="erf", normalization="scikit-ntk"), "normalization='scikit-ntk' needs activation"),
        (lambda: RBF(0.0), r"length_scale is 0\.0; it must be a finite number, above 0"),
        (lambda: Laplace(-1.0), r"length_scale is -1\.0"),
        (lambda: -1 * NTK(), "multiplied by a finite factor of at least 0; got -1.0"),
        (lambda: NTK()([[1.0, 2.0]], [[1.0]]), "Z has 1 columns, but X has 2"),
        (lambda: NTK()([[1.0, np.nan]]), "Input X contains NaN"),
        (lambda: NTK()([[1.0]], [["a"]]), "could not convert string to float"),
    ],
)
def test_bad_kernels_and_rows_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
