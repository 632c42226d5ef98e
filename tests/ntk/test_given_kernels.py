"""Kernels that a user gives, as a matrix or a function: what is no kernel is refused, rounding is not."""

from functools import partial

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import RBF as ProcessRBF
from sklearn.gaussian_process.kernels import DotProduct, Matern
from sklearn.metrics.pairwise import (
    cosine_distances,
    euclidean_distances,
    laplacian_kernel,
    linear_kernel,
    manhattan_distances,
    pairwise_distances,
    pairwise_kernels,
    polynomial_kernel,
    rbf_kernel,
    sigmoid_kernel,
)
from sklearn.preprocessing import KernelCenterer

from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor, NTKNystroem
from sklearn_ltdl.ntk import NTK, RBF, StaxKernel, _problem, _solvers

QUESTION = "not positive semi-definite; is it a matrix of distances?"
NO_KERNELS = {
    "distances, with rounding": pairwise_distances,
    "squared distances": partial(euclidean_distances, squared=True),
    "city blocks": manhattan_distances,
    "angles": cosine_distances,
    "minus distances": lambda X, Z=None: -euclidean_distances(X, Z),
    "minus a kernel": lambda X, Z=None: -rbf_kernel(X, Z),
    "tanh": partial(sigmoid_kernel, gamma=1.0, coef0=0.0),
    "tanh, shifted": partial(sigmoid_kernel, gamma=2.0, coef0=-1.0),
    "zero diagonal": lambda X, Z=None: 1.0 * (euclidean_distances(X, Z) > 1e-3),
    "all pairs definite": lambda X, Z=None: np.cos(euclidean_distances(X, Z)),  # of rows in four dimensions
}


@pytest.mark.parametrize("solver", ["exact", "nystroem", "pcg"])
@pytest.mark.parametrize("given", ["matrix", "callable"])
@pytest.mark.parametrize("name", NO_KERNELS)
def test_what_is_no_kernel_is_refused_with_a_question(rng, name, given, solver):
    X, y, kernel = rng.standard_normal((60, 4)), rng.standard_normal(60), NO_KERNELS[name]
    K = kernel(X)
    assert np.linalg.eigvalsh((K + K.T) / 2)[0] < -1e-3 * np.abs(K).max()
    for alpha in ("loo", 1e3):
        model = NTKKernelRegressor(kernel="precomputed" if given == "matrix" else kernel, alpha=alpha, solver=solver)
        with pytest.raises(ValueError, match=QUESTION.replace("?", r"\?")):
            model.fit(K if given == "matrix" else X, y)


def test_eigenvalues_are_asked_for_also_where_a_penalty_would_hide_them(rng, monkeypatch):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", 40)
    monkeypatch.setattr(_problem, "SPECTRAL_ROWS", 40)
    monkeypatch.setattr(_problem, "PILOT_ROWS", 40)
    X, y = rng.standard_normal((60, 4)), rng.standard_normal(60)
    K = NO_KERNELS["all pairs definite"](X)
    with pytest.raises(ValueError, match="It has an eigenvalue of -"):
        NTKKernelRegressor(kernel="precomputed", alpha=1e3).fit(K, y)
    with pytest.raises(ValueError, match="It has an eigenvalue of -"):
        NTKNystroem(kernel=NO_KERNELS["all pairs definite"]).fit(X)


def test_asymmetry_is_judged_against_the_largest_entry(rng):
    X, y = rng.standard_normal((60, 4)), rng.standard_normal(60)
    K = rbf_kernel(X)
    K[3, 5] += 1e-7
    NTKKernelRegressor(kernel="precomputed").fit(K, y)
    K[3, 5] += 1e-5
    with pytest.raises(ValueError, match=r"not symmetric: entries differ from their mirror images by up to 1\.0e-05"):
        NTKKernelRegressor(kernel="precomputed").fit(K, y)
    huge = 1e300 * rbf_kernel(X)
    NTKKernelRegressor(kernel="precomputed").fit(huge, y)
    with pytest.raises(ValueError, match="is it a matrix of distances"):
        NTKKernelRegressor(kernel="precomputed").fit(-huge, y)


def test_rows_of_weight_zero_are_not_looked_at(rng):
    X, y = rng.standard_normal((60, 4)), rng.standard_normal(60)
    K = rbf_kernel(X)
    expected = NTKKernelRegressor(kernel="precomputed").fit(K[1:, 1:], y[1:]).predict(K[:, 1:])
    K[0] = 7.0  # of a row that is not given
    model = NTKKernelRegressor(kernel="precomputed").fit(K, y, np.arange(60) > 0)
    np.testing.assert_allclose(model.predict(rbf_kernel(X)), expected, rtol=1e-9)


KERNELS = {
    "rbf": rbf_kernel,
    "smooth": partial(rbf_kernel, gamma=1e-3),
    "laplacian": laplacian_kernel,
    "linear": linear_kernel,
    "polynomial": polynomial_kernel,
    "far": lambda X: linear_kernel(X + 1e3),
    "centred": lambda X: KernelCenterer().fit_transform(rbf_kernel(X)),
}


@pytest.mark.parametrize("spectral_rows", [3000, 0])
@pytest.mark.parametrize("solver", ["exact", "nystroem", "pcg"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_in_single_precision_are_kernels(rng, monkeypatch, name, solver, spectral_rows):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", spectral_rows)
    X = rng.standard_normal((200, 4))
    y = X[:, 0] + 0.1 * rng.standard_normal(200)
    single, double = (KERNELS[name](X.astype(dtype)) for dtype in (np.float32, np.float64))
    models = [
        NTKKernelRegressor(kernel="precomputed", solver=solver, n_components=50, random_state=0).fit(K, y)
        for K in (single, double)
    ]
    scores = [np.mean((model.predict(K) - X[:, 0]) ** 2) for model, K in zip(models, (single, double))]
    # Rounding of 1e-7 of the largest entry, 1e6 times the variance of a row where rows are far away.
    assert scores[0] < (0.5 if name == "far" else max(0.01, 1.5 * scores[1]))


@pytest.mark.parametrize(
    "kernel", [ProcessRBF(2.0), Matern(2.0, nu=1.5) + DotProduct(1.0), partial(rbf_kernel, gamma=0.2)]
)
def test_kernels_of_scikit_learn_are_taken_as_they_are(rng, kernel):
    X, y, new = rng.standard_normal((40, 3)), rng.standard_normal(40), rng.standard_normal((5, 3))
    by_function = NTKKernelRegressor(kernel=kernel).fit(X, y)
    by_matrix = NTKKernelRegressor(kernel="precomputed").fit(kernel(X), y)
    np.testing.assert_allclose(by_function.predict(new), by_matrix.predict(kernel(new, X)), rtol=1e-7, atol=1e-9)


def two_rows(x, z):
    """Return the RBF kernel of two rows, as pairwise_kernels calls a function."""
    assert x.ndim == z.ndim == 1
    return np.exp(-0.1 * np.sum((x - z) ** 2))


def test_a_function_of_two_rows_is_taken_by_pairwise_kernels(rng):
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    rows = NTKKernelRegressor(kernel=partial(pairwise_kernels, metric=two_rows)).fit(X, y)
    np.testing.assert_allclose(rows.predict(X), NTKKernelRegressor(kernel=RBF(5**0.5)).fit(X, y).predict(X), rtol=1e-7)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (lambda z: z, r"kernel\(X, Z\) failed.*TypeError.*takes two arrays of rows.*metric=function"),
        (lambda x, z: x @ z, r"kernel\(X, Z\) failed.*matmul.*metric=function"),
        (lambda x, z: np.exp(-np.sum((x - z) ** 2)), r"returned shape \(\) .* expected \(20, 20\).*metric=function"),
        (lambda x, z: float(x[0] * z[0]), r"kernel\(X, Z\) failed.*metric=function"),
        (lambda X, Z: None, r"returned shape \(\)"),
        (lambda X, Z: rbf_kernel(X, Z).astype(str), "returned dtype .*U.*; expected real numbers"),
        (lambda X, Z: 1j * rbf_kernel(X, Z), "returned dtype complex128; expected real numbers"),
        (NTK, r"kernel is the class NTK; give an object of it, such as NTK\(\)"),
        (StaxKernel, "kernel is the class StaxKernel"),
        (ProcessRBF, r"kernel is the class RBF; give an object of it, such as RBF\(\)"),
    ],
)
@pytest.mark.parametrize("Estimator", [NTKKernelRegressor, NTKKernelClassifier, NTKNystroem])
def test_a_function_of_another_convention_is_told_the_one_expected(rng, Estimator, kernel, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Estimator(kernel=kernel).fit(rng.standard_normal((20, 3)), np.arange(20) % 2)


def test_a_matrix_of_another_shape_at_predict_is_told_the_one_expected(rng):
    X, y, new = rng.standard_normal((20, 3)), np.arange(20) % 2, rng.standard_normal((6, 3))
    for Estimator in (NTKKernelRegressor, NTKKernelClassifier):
        model = Estimator(kernel="precomputed").fit(rbf_kernel(X), y)
        for K in (rbf_kernel(X, new), rbf_kernel(new)):
            with pytest.raises(ValueError, match=r"expecting 20 features.*kernel\(X_new, X\), of shape \(n_new, 20\)"):
                model.predict(K)
    transposed = NTKKernelRegressor(kernel=lambda X, Z: rbf_kernel(Z, X)).fit(X, y)
    with pytest.raises(ValueError, match=r"returned shape \(20, 6\).*expected \(6, 20\)"):
        transposed.predict(new)
