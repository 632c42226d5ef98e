"""Kernels of a lower rank than there are rows, whose limit as alpha falls to 0 is least squares."""

import pickle

import numpy as np
import pytest
from sklearn.metrics.pairwise import linear_kernel

from sklearn_ltdl import NTKKernelRegressor
from sklearn_ltdl.ntk import NNGP, RBF, _problem, _solvers

LINEAR = NNGP(0)  # its functions are those of a linear model


@pytest.fixture(params=[3000, 0], ids=["eigenvectors", "cholesky"])
def solver(request, monkeypatch):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", request.param)
    monkeypatch.setattr(_problem, "SPECTRAL_ROWS", request.param)


def table(rng, n=30, offset=0.0):
    X, new = rng.standard_normal((n, 3)) + offset, rng.standard_normal((9, 3)) + offset
    weight = rng.uniform(0.5, 3.0, n)
    return X, X @ [1.0, -2.0, 0.5] + 0.3 * rng.standard_normal(n), weight, new


@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("alpha", [0.0, 1e-300, 1e-17, 1e-14, 1e-12])
@pytest.mark.usefixtures("solver")
def test_without_a_penalty_a_linear_kernel_is_least_squares(rng, alpha, offset):
    X, y, weight, new = table(rng, offset=offset)
    model = NTKKernelRegressor(kernel=LINEAR, alpha=alpha).fit(X, y, weight)
    D, at = (np.column_stack([np.ones(len(rows)), rows]) for rows in (X, new))
    inverse = np.linalg.inv(D.T * weight @ D)
    influence = inverse @ D.T * weight
    residuals = y - D @ influence @ y
    left_out = residuals / (1 - np.einsum("ij,ji->i", D, influence))
    mean, std = model.predict(new, return_std=True)
    scale = (1 + offset) ** 2  # of the kernel's entries over what is left of them after centring
    np.testing.assert_allclose(mean, at @ influence @ y, rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(model.loo_predictions_, y - left_out, rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(model.influence(new), at @ influence * left_out, rtol=0, atol=1e-10 * scale)
    variance = weight @ residuals**2 / 30 * np.einsum("ij,jk,ik->i", at, inverse, at)
    np.testing.assert_allclose(std, np.sqrt(variance), rtol=1e-6)


@pytest.mark.parametrize("alpha", [1e-10, 1e-9, 1e-8])
@pytest.mark.usefixtures("solver")
def test_a_small_penalty_leaves_the_deviations_of_least_squares(rng, alpha):
    X, y, _, new = table(rng, n=300)
    model = NTKKernelRegressor(kernel=LINEAR, alpha=alpha).fit(X, y)
    D, at = (np.column_stack([np.ones(len(rows)), rows]) for rows in (X, new))
    rest = np.linalg.lstsq(D, y)[1][0]
    variance = rest / 300 * np.einsum("ij,jk,ik->i", at, np.linalg.inv(D.T @ D), at)
    np.testing.assert_allclose(model.predict(new, return_std=True)[1], np.sqrt(variance), rtol=1e-5)


@pytest.mark.parametrize("kernel", [LINEAR, RBF(2.0), "ntk"])
@pytest.mark.parametrize("alpha", [1e-12, 1e-10, "loo"])
@pytest.mark.usefixtures("solver")
def test_a_pickled_model_has_the_same_bits(rng, kernel, alpha):
    X, y, weight, new = table(rng)
    model = NTKKernelRegressor(kernel=kernel, alpha=alpha, depth=1).fit(X, y, weight)
    again = pickle.loads(pickle.dumps(model))
    for ask in (
        lambda m: m.predict(new, return_std=True),
        lambda m: m.predict_interval(new),
        lambda m: m.influence(new),
    ):
        np.testing.assert_array_equal(ask(again), ask(model))


def test_a_penalty_below_the_rounding_of_a_smooth_kernel_is_warned_of(rng):
    X, y, *_ = table(rng, n=70)
    with pytest.warns(UserWarning, match="alpha is 1.0e-15 of the kernel's mean diagonal, where rounding"):
        NTKKernelRegressor(kernel=RBF(5.0), alpha=1e-15).fit(X[:, :2], y)


@pytest.mark.parametrize("alpha", [0.0, 1e-14, 1e-10])
@pytest.mark.parametrize("solver", ["nystroem", "pcg"])
def test_centres_that_others_span_leave_least_squares(rng, solver, alpha):
    X, y, *_ = table(rng)
    model = NTKKernelRegressor(kernel=linear_kernel, alpha=alpha, solver=solver, random_state=0).fit(X, y)
    D = np.column_stack([np.ones(30), X])
    fit = D @ np.linalg.lstsq(D, y)[0]
    np.testing.assert_allclose(model.predict(X), fit, rtol=0, atol=1e-6)
    if solver == "nystroem":
        left_out = (y - fit) / (1 - np.sum(np.linalg.qr(D)[0] ** 2, axis=1))
        np.testing.assert_allclose(model.loo_predictions_, y - left_out, rtol=0, atol=1e-6)
