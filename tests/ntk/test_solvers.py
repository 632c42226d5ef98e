import tracemalloc

import numpy as np
import pytest
import sklearn

from sklearn_ltdl.ntk import Laplace, _solvers, ntk_kernel
from sklearn_ltdl.ntk._solvers import ALPHAS, require_memory, row_blocks, solve_exact


def refit(K, Y, weight, ridge, rows):
    """Solve for f = K c + b on some rows from the stationarity conditions: (K + ridge / s) c + b = y, sum(c) = 0."""
    m = len(rows)
    system = np.ones((m + 1, m + 1))
    system[:m, :m] = K[np.ix_(rows, rows)] + np.diag(ridge / weight[rows])
    system[m, m] = 0
    solution = np.linalg.solve(system, np.vstack([Y[rows], np.zeros(Y.shape[1])]))
    return solution[:m], solution[m]


def problem(rng, n=25):
    X, Y = rng.standard_normal((n, 3)), 100.0 + rng.standard_normal((n, 2))
    K = ntk_kernel(X)
    weight = rng.uniform(0.2, 3.0, n)
    return X, K / np.mean(np.diag(K)), Y, weight * n / weight.sum()


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("spectral_rows", [3000, 0])  # eigendecomposition, then Cholesky factors
def test_exact_solution_and_its_leave_one_out_equal_refits(rng, monkeypatch, alpha, spectral_rows):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", spectral_rows)
    monkeypatch.setattr(_solvers, "PANEL_COLUMNS", 10)
    _, K, Y, weight = problem(rng)
    n = len(K)
    path = solve_exact(K.copy(), Y, weight, np.array([alpha]), start=alpha)
    coef, intercept = refit(K, Y, weight, n * alpha, np.arange(n))
    np.testing.assert_allclose(path.coef, coef, atol=1e-9 * np.abs(coef).max())
    np.testing.assert_allclose(path.intercept, intercept, rtol=1e-9)
    for i in range(n):
        others = np.delete(np.arange(n), i)
        coef, intercept = refit(K, Y, weight, n * alpha, others)
        np.testing.assert_allclose(path.residuals[i], Y[i] - K[i, others] @ coef - intercept, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(path.errors, np.sum(weight @ path.residuals**2) / n, rtol=1e-12)


def test_search_with_cholesky_factors_finds_the_best_of_the_grid(rng, monkeypatch):
    X = rng.standard_normal((80, 3))
    Y, K = np.sin(2 * X[:, :1]) + 0.3 * rng.standard_normal((80, 1)), Laplace()(X)
    whole = solve_exact(K.copy(), Y, np.ones(80), ALPHAS, start=1.0)
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", 0)
    monkeypatch.setattr(_solvers, "PANEL_COLUMNS", 32)
    for start in (1e-9, whole.alphas[whole.best], 10.0):
        found = solve_exact(K.copy(), Y, np.ones(80), ALPHAS, start=start)
        assert found.alphas[found.best] == whole.alphas[whole.best]
        assert len(found.alphas) <= (5 if start == whole.alphas[whole.best] else 22)  # of 41
        np.testing.assert_allclose(found.residuals, whole.residuals, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("away", "n_factors"), [(0, 3), (1, 4), (-2, 5)])
def test_a_search_that_begins_near_the_best_takes_few_factors(away, n_factors, rng, monkeypatch):
    X = rng.standard_normal((80, 3))
    Y, K = np.sin(2 * X[:, :1]) + rng.standard_normal((80, 1)), Laplace()(X)
    whole = solve_exact(K.copy(), Y, np.ones(80), ALPHAS, start=1.0)
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", 0)
    start = whole.alphas[whole.best + away] * (1 + 1e-12)  # rounding
    found = solve_exact(K.copy(), Y, np.ones(80), ALPHAS, start=start, near=True)
    assert found.alphas[found.best] == whole.alphas[whole.best]
    assert len(found.alphas) == n_factors
    np.testing.assert_allclose(found.residuals, whole.residuals, rtol=1e-9, atol=1e-10)


def test_the_smoother_of_a_search_is_that_of_its_penalty_also_where_all_penalties_are_equal(rng, monkeypatch):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", 0)
    K = Laplace()(rng.standard_normal((40, 3)))
    for Y in (np.zeros((40, 1)), rng.standard_normal((40, 1))):
        found = solve_exact(K.copy(), Y, np.ones(40), ALPHAS, start=1e-3)
        alone = solve_exact(K.copy(), Y, np.ones(40), found.alphas[[found.best]], start=1.0)
        np.testing.assert_allclose(found.smoother.inverse, alone.smoother.inverse, rtol=1e-9, atol=1e-12)


def test_a_search_takes_one_matrix_beside_the_kernel(rng):
    X = rng.standard_normal((1500, 3))
    K, Y = Laplace()(X), np.sin(X[:, :1])
    tracemalloc.start()
    try:
        solve_exact(K, Y, np.ones(1500), ALPHAS, start=1e-3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * K.nbytes  # panels of 128 columns are a twelfth of it


def test_rows_are_worked_on_in_blocks(rng):
    _, K, Y, weight = problem(rng)
    whole = solve_exact(K.copy(), Y, weight, ALPHAS, start=1.0)
    with sklearn.config_context(working_memory=8e2 / 2**20):  # a hundred doubles, in MiB
        assert len(row_blocks(25, 25)) == 7  # of four rows
        np.testing.assert_allclose(solve_exact(K.copy(), Y, weight, ALPHAS, start=1.0).errors, whole.errors, rtol=1e-12)


@pytest.mark.parametrize("spectral_rows", [3000, 0])
def test_an_indefinite_kernel_is_refused(rng, monkeypatch, spectral_rows):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", spectral_rows)
    K = 2 * np.eye(6) - np.ones((6, 6)) + 10.0 * np.diag([1, -1, 1, -1, 0, 0])
    with pytest.raises(ValueError, match="not positive semi-definite"):
        solve_exact(K, rng.standard_normal((6, 1)), np.ones(6), np.array([1e-3]), start=1e-3)


def test_memory_is_asked_for_before_it_is_taken():
    with pytest.raises(MemoryError, match=r"1000000 x 1000000 .* 7450\.6 GiB .* fewer rows"):
        require_memory(10**6, 1, "Use fewer rows.")
