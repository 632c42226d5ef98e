import numpy as np
import pytest

from sklearn_ltdl.ntk import Laplace, _nystroem, _solvers, ntk_kernel
from sklearn_ltdl.ntk._nystroem import solve_nystroem, solve_pcg
from sklearn_ltdl.ntk._solvers import ALPHAS, require_memory, solve_exact
from sklearn_ltdl.results import Status


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


def spanned(K, centres, Y, weight, ridge):
    """Solve for f = sum_j c_j k(., z_j) + b by the normal equations; return its values at all rows."""
    F = np.column_stack([K[:, centres], np.ones(len(K))])
    penalty = np.zeros((F.shape[1],) * 2)
    penalty[:-1, :-1] = ridge * K[np.ix_(centres, centres)]
    return F @ np.linalg.solve((F.T * weight) @ F + penalty, (F.T * weight) @ Y)


def centred_problem(rng):
    """Return a problem of 40 rows and, as the solvers take it, the kernel with ten of them."""
    _, K, Y, weight = problem(rng, n=40)
    centres = np.arange(0, 40, 4)

    def cross(rows, columns=slice(None)):
        return K[rows][:, centres[columns]].copy()

    return K, Y, weight, centres, cross


@pytest.mark.parametrize("alpha", [1e-8, 1e-3])
def test_leave_one_out_of_the_nystroem_problem_equals_refits(rng, alpha):
    K, Y, weight, centres, cross = centred_problem(rng)
    path = solve_nystroem(cross, K[np.ix_(centres, centres)], centres, Y, weight, np.array([alpha]))
    fit = spanned(K, centres, Y, weight, 40 * alpha)
    np.testing.assert_allclose(K[:, centres] @ path.coef + path.intercept, fit, rtol=1e-8)
    for i in range(40):  # a centre leaves as a row and as a centre
        others = weight.copy()
        others[i] = 0.0
        left_out = spanned(K, centres[centres != i], Y, others, 40 * alpha)
        np.testing.assert_allclose(path.residuals[i], (Y - left_out)[i], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(path.errors, np.sum(weight @ path.residuals**2) / 40, rtol=1e-12)


@pytest.mark.parametrize("alpha", [1e-6, 1e-3])
def test_conjugate_gradients_solve_the_problem_of_the_normal_equations(rng, alpha):
    K, Y, weight, centres, cross = centred_problem(rng)
    gram = K[np.ix_(centres, centres)]
    direct = solve_nystroem(cross, gram, centres, Y, weight, np.array([alpha]))
    path = solve_pcg(cross, gram, centres, Y, weight, np.array([alpha]), tol=1e-12)
    assert path.status is Status.CONVERGED
    assert path.n_iter <= 20  # twice the unknowns: of ten, exact arithmetic would take ten
    np.testing.assert_allclose(path.coef, direct.coef, atol=1e-9 * np.abs(direct.coef).max())
    np.testing.assert_allclose(path.intercept, direct.intercept, rtol=1e-10)
    # The objective is quadratic: a residual of 1e-2 leaves about 1e-4 of the decrease, here of the squared residuals.
    rough = solve_pcg(cross, gram, centres, Y, weight, np.array([alpha]), tol=1e-2)
    assert rough.n_iter < path.n_iter
    squares = [weight @ (Y - cross(slice(None)) @ p.coef - p.intercept) ** 2 for p in (rough, direct)]
    np.testing.assert_allclose(*squares, rtol=1e-3)
    assert solve_pcg(cross, gram, centres, Y, weight, np.array([alpha]), max_iter=2).status is Status.OUT_OF_STEPS


def test_conjugate_gradients_take_the_penalty_of_the_direct_solution_with_fewer_centres(rng, monkeypatch):
    K, Y, weight, centres, cross = centred_problem(rng)
    gram = K[np.ix_(centres, centres)]
    direct = solve_nystroem(cross, gram, centres, Y, weight, ALPHAS)
    path = solve_pcg(cross, gram, centres, Y, weight, ALPHAS, tol=1e-10)
    assert path.best == direct.best
    np.testing.assert_allclose(path.errors, direct.errors, rtol=1e-12)
    np.testing.assert_allclose(path.coef, direct.coef, atol=1e-6 * np.abs(direct.coef).max())
    monkeypatch.setattr(_nystroem, "PILOT_CENTRES", 4)
    assert solve_pcg(cross, gram, centres, Y, weight, ALPHAS).errors.min() > 0.0


def test_residuals_of_conjugate_gradients_are_those_of_generalised_cross_validation(rng, monkeypatch):
    K, Y, weight, centres, cross = centred_problem(rng)
    monkeypatch.setattr(_nystroem, "PROBES", 20_000)  # the mean of so many has an error of 1 / 140 of one's
    path = solve_pcg(cross, K[np.ix_(centres, centres)], centres, Y, weight, np.array([1e-3]), tol=1e-8)
    smoother = spanned(K, centres, np.eye(40), weight, 40 * 1e-3)
    expected = (Y - smoother @ Y) / (1.0 - weight[:, None] * np.trace(smoother) / 40)
    np.testing.assert_allclose(path.residuals, expected, rtol=5e-3)


def test_single_precision_chooses_and_predicts_as_double(rng):
    """The kernel's rounding, 6e-8, moves features by up to 6e-5: through L^-1, of norm 1e3 with the jitter of 1e-6."""
    X = rng.standard_normal((3000, 4))
    y = np.sin(X[:, :1] * X[:, 1:2]) + 0.1 * rng.standard_normal((3000, 1))
    centres, new = np.arange(0, 3000, 20), rng.standard_normal((200, 4))
    gram, weight = ntk_kernel(X[centres]) / 4.0, np.ones(3000)

    def solve(X):
        def cross(rows):
            return ntk_kernel(X[rows], X[centres]) / X.dtype.type(4.0)

        return solve_nystroem(cross, gram, centres, y, weight, ALPHAS)

    paths = [solve(X), solve(X.astype(np.float32))]
    assert paths[0].best == paths[1].best
    np.testing.assert_allclose(paths[1].errors, paths[0].errors, rtol=1e-4)
    predictions = [ntk_kernel(new, X[centres]) / 4.0 @ path.coef + path.intercept for path in paths]
    np.testing.assert_allclose(*predictions, atol=2e-3)  # of a noise of 0.1
    np.testing.assert_allclose(paths[1].residuals, paths[0].residuals, atol=5e-3)


def test_nystroem_with_every_row_as_centre_is_exact(rng):
    X, K, Y, weight = problem(rng, n=60)
    K = Laplace()(X)
    exact = solve_exact(K.copy(), Y, weight, ALPHAS, start=1.0)
    reduced = solve_nystroem(lambda rows: K[rows].copy(), K.copy(), np.arange(len(K)), Y, weight, ALPHAS)
    assert exact.best == reduced.best
    # Features of a matrix of condition 1e3, and a ridge of 60 * 1e-9 at least, keep nine of sixteen digits.
    np.testing.assert_allclose(reduced.errors, exact.errors, rtol=1e-7)
    np.testing.assert_allclose(K @ reduced.coef + reduced.intercept, K @ exact.coef + exact.intercept, rtol=1e-8)
    np.testing.assert_allclose(reduced.residuals, exact.residuals, rtol=1e-8, atol=1e-9)


def test_search_with_cholesky_factors_finds_the_best_of_the_grid(rng, monkeypatch):
    X = rng.standard_normal((80, 3))
    Y, K = np.sin(2 * X[:, :1]) + 0.3 * rng.standard_normal((80, 1)), Laplace()(X)
    whole = solve_exact(K.copy(), Y, np.ones(80), ALPHAS, start=1.0)
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", 0)
    for start in (1e-9, whole.alphas[whole.best], 10.0):
        found = solve_exact(K.copy(), Y, np.ones(80), ALPHAS, start=start)
        assert found.alphas[found.best] == whole.alphas[whole.best]
        assert len(found.alphas) < len(ALPHAS) / 2
        np.testing.assert_allclose(found.residuals, whole.residuals, rtol=1e-9, atol=1e-10)


def test_rows_are_worked_on_in_blocks(rng, monkeypatch):
    _, K, Y, weight = problem(rng)
    whole = solve_exact(K.copy(), Y, weight, ALPHAS, start=1.0)
    reduced = solve_nystroem(lambda rows: K[rows].copy(), K.copy(), np.arange(len(K)), Y, weight, ALPHAS)
    monkeypatch.setattr(_solvers, "BLOCK_ENTRIES", 100)
    np.testing.assert_allclose(solve_exact(K.copy(), Y, weight, ALPHAS, start=1.0).errors, whole.errors, rtol=1e-12)
    np.testing.assert_allclose(
        solve_nystroem(lambda rows: K[rows].copy(), K.copy(), np.arange(len(K)), Y, weight, ALPHAS).errors,
        reduced.errors,
        rtol=1e-6,
    )


@pytest.mark.parametrize("spectral_rows", [3000, 0])
def test_an_indefinite_kernel_is_refused(rng, monkeypatch, spectral_rows):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", spectral_rows)
    K = 2 * np.eye(6) - np.ones((6, 6)) + 10.0 * np.diag([1, -1, 1, -1, 0, 0])
    with pytest.raises(ValueError, match="not positive semi-definite"):
        solve_exact(K, rng.standard_normal((6, 1)), np.ones(6), np.array([1e-3]), start=1e-3)
    with pytest.raises(ValueError, match="not positive semi-definite"):
        solve_nystroem(
            lambda rows: K[rows].copy(), K.copy(), np.arange(6), rng.standard_normal((6, 1)), np.ones(6), ALPHAS
        )


def test_memory_is_asked_for_before_it_is_taken():
    with pytest.raises(MemoryError, match=r"1000000 x 1000000 .* 7450\.6 GiB .* fewer rows"):
        require_memory(10**6, 1, "Use fewer rows.")
