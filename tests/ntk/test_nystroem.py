import numpy as np
import pytest
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk import NTK, RBF, Laplace, _nystroem, _problem, _solvers, ntk_kernel
from sklearn_ltdl.ntk._nystroem import single_precision_noise, solve_nystroem, solve_pcg
from sklearn_ltdl.ntk._solvers import ALPHAS, solve_exact
from sklearn_ltdl.results import Status


@parametrize_with_checks(
    [
        NTKKernelRegressor(solver="pcg", n_components=20),
        NTKKernelClassifier(solver="pcg"),
        NTKKernelRegressor(solver="nystroem", n_components=20),
    ]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


def problem(rng, n=25):
    X, Y = rng.standard_normal((n, 3)), 100.0 + rng.standard_normal((n, 2))
    K = ntk_kernel(X)
    weight = rng.uniform(0.2, 3.0, n)
    return X, K / np.mean(np.diag(K)), Y, weight * n / weight.sum()


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
    leverages, centre = np.diagonal(smoother), np.isin(np.arange(40), centres)
    for kind in (centre, ~centre):
        mean = leverages[kind].sum() / weight[kind].sum()
        expected = (Y - smoother @ Y)[kind] / (1.0 - weight[kind, None] * mean)
        np.testing.assert_allclose(path.residuals[kind], expected, rtol=1e-2)


@pytest.mark.parametrize("kernel", [NTK(), RBF(1.0), RBF(5.0)])
def test_single_precision_is_used_where_it_chooses_and_predicts_as_double(rng, kernel):
    X = rng.standard_normal((3000, 4))
    y = np.sin(X[:, :1] * X[:, 1:2]) + 0.1 * rng.standard_normal((3000, 1))
    centres, new = np.arange(0, 3000, 20), rng.standard_normal((200, 4))
    unit = np.mean(kernel.diag(X))
    gram, weight = kernel(X[centres]) / unit, np.ones(3000)

    def solve(X):
        def cross(rows):
            return (kernel(X[rows], X[centres]) / unit).astype(X.dtype)

        return solve_nystroem(cross, gram, centres, y, weight, ALPHAS)

    double, single = solve(X), solve(X.astype(np.float32))
    changes = np.abs(single.errors / double.errors - 1.0)
    if kernel == RBF(5.0):  # eigenvalues decay fast: features are lost in rounding, and so is the choice of alpha
        assert single_precision_noise(gram) > 1e-9
        assert changes.max() > 0.1
        return
    assert single_precision_noise(gram) < 1e-9
    assert single.best == double.best
    assert changes.max() < 1e-3
    predictions = [kernel(new, X[centres]) / unit @ path.coef + path.intercept for path in (double, single)]
    np.testing.assert_allclose(*predictions, atol=2e-3)  # of a noise of 0.1
    np.testing.assert_allclose(single.residuals, double.residuals, atol=5e-3)


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


def test_an_indefinite_kernel_is_refused(rng):
    K, centres = np.diag([3.0, -1.0, 1.0, 1.0, 1.0, 1.0]), np.arange(6)
    for solve in (solve_nystroem, solve_pcg):
        with pytest.raises(ValueError, match="not positive semi-definite"):
            solve(lambda rows, columns=slice(None): K[rows, columns].copy(), K, centres, K[:, :1], np.ones(6), ALPHAS)


def large_table(rng, n=600):
    X = rng.standard_normal((n, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.standard_normal(n)


@pytest.mark.parametrize("single", [False, True])
def test_conjugate_gradients_are_the_direct_solution_of_the_estimator(rng, monkeypatch, single):
    monkeypatch.setattr(_problem, "DOUBLE_ENTRIES", 0 if single else 2**25)
    X, y = large_table(rng)
    options = {"depth": 1, "n_components": 100, "random_state": 0}
    direct = NTKKernelRegressor(solver="nystroem", **options).fit(X, y)
    model = NTKKernelRegressor(solver="pcg", **options).fit(X, y)
    np.testing.assert_array_equal(model.X_fit_, direct.X_fit_)
    assert model.alpha_ == direct.alpha_  # the pilot has all of so few centres
    np.testing.assert_allclose(model.predict(X), direct.predict(X), atol=2e-3)  # of a noise of 0.1
    others = np.isin(X[:, 0], model.X_fit_[:, 0], invert=True)
    approximate, exact = (y - fitted.loo_predictions_ for fitted in (model, direct))
    assert np.std((approximate - exact)[others]) < 0.2 * np.std(exact[others])
    assert (direct.n_iter_, model.solver_) == (len(ALPHAS), "pcg")
    assert 2 <= model.n_iter_ < 60


@pytest.mark.parametrize(("options", "single"), [({}, True), ({"kernel": RBF(5.0)}, False), ({"alpha": 1e-14}, False)])
def test_large_problems_are_in_single_precision_where_it_is_enough(rng, monkeypatch, options, single):
    X, y = large_table(rng)
    model = NTKKernelRegressor(depth=1, solver="nystroem", n_components=50, random_state=0).set_params(**options)
    expected = model.fit(X, y).predict(X)
    monkeypatch.setattr(_problem, "DOUBLE_ENTRIES", 0)
    prediction = model.fit(X, y).predict(X)
    assert np.any(prediction != expected) == single
    np.testing.assert_allclose(prediction, expected, atol=1e-3)  # of a noise of 0.1


@pytest.mark.parametrize("solver", ["nystroem", "pcg"])
@pytest.mark.parametrize("factor", [2.0**-320, 2.0**-64, 2.0**64, 2.0**320])
def test_rows_beyond_the_range_of_single_precision_are_solved_in_double(rng, monkeypatch, solver, factor):
    X, y = large_table(rng)
    model = NTKKernelRegressor(kernel=NTK(b_std=0.0), solver=solver, n_components=50, alpha="loo", random_state=0)
    expected = model.fit(X, y).predict(X)  # of a kernel of degree 2, the same whatever the unit
    monkeypatch.setattr(_problem, "DOUBLE_ENTRIES", 0)
    np.testing.assert_allclose(model.fit(factor * X, y).predict(factor * X), expected, atol=1e-6)


def test_solver_auto_goes_by_rows_and_centres(rng, monkeypatch):
    monkeypatch.setattr(_problem, "EXACT_ROWS", 100)
    monkeypatch.setattr(_problem, "DIRECT_CENTRES", 40)
    X, y = large_table(rng, 120)
    for n, m, solver in ((100, 20, "exact"), (120, 40, "nystroem"), (120, 41, "pcg")):
        assert NTKKernelRegressor(n_components=m, random_state=0).fit(X[:n], y[:n]).solver_ == solver


def test_too_few_steps_are_warned_of_with_the_remedy(rng, monkeypatch):
    X, y = large_table(rng)
    monkeypatch.setattr(_nystroem, "MAX_STEPS", 2)
    with pytest.warns(ConvergenceWarning, match=r"'pcg' stopped at max_iter.*Increase alpha"):
        NTKKernelRegressor(solver="pcg", n_components=50, alpha=1e-6).fit(X, y)


@pytest.mark.parametrize("solver", ["nystroem", "pcg"])
def test_blocks_stay_in_the_working_memory(rng, solver):
    X, y = large_table(rng)
    seen = []

    def kernel(X, Z):
        seen.append(len(X) * len(Z))
        return ntk_kernel(X, Z)

    model = NTKKernelRegressor(kernel=kernel, solver=solver, n_components=50, random_state=0)
    whole = model.fit(X, y).predict(X)
    assert max(seen) == 600 * 50  # all rows at once
    seen.clear()
    with sklearn.config_context(working_memory=0.02):  # MiB, which is 2621 doubles
        parts = model.fit(X, y).predict(X)
    assert max(seen) <= 0.02 * 2**17
    stop = 1e-4 if solver == "pcg" else 0.0  # conjugate gradients end there, so that rounding shows in a tenth of it
    np.testing.assert_allclose(parts, whole, atol=max(1e-7, stop / 10))


def test_centres_beyond_memory_are_refused_before_anything_is_made(rng, monkeypatch):
    monkeypatch.setattr(_solvers, "_memory_limit", lambda: 600_000)
    X, y = large_table(rng)
    with pytest.raises(MemoryError, match=r"110 x 110 .* fewer n_components or solver='pcg'"):
        NTKKernelRegressor(solver="nystroem", n_components=110).fit(X, y)
    with pytest.raises(MemoryError, match=r"130 x 130 .* fewer n_components\."):
        NTKKernelRegressor(solver="pcg", n_components=130).fit(X, y)


def test_groups_are_refused_with_centres(rng):
    X, y = large_table(rng)
    with pytest.raises(ValueError, match=r"Only solver='exact' can leave out groups"):
        NTKKernelRegressor(solver="nystroem", n_components=20).fit(X, y, groups=np.arange(600) // 2)


@pytest.mark.filterwarnings("ignore:The columns of X", "ignore:The solver 'pcg' stopped")
@pytest.mark.parametrize("n", [60, 90])
def test_conjugate_gradients_on_equal_rows_give_numbers(n):  # their curvature is rounding, or none
    rng = np.random.default_rng(0)
    X, y = 1e-100 * rng.standard_normal((n, 4)), rng.standard_normal(n)
    model = NTKKernelRegressor(depth=1, alpha=0.0, solver="pcg", random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y.mean(), atol=1e-6)  # all that is known of rows that are one
    assert np.isfinite(model.loo_predictions_).all()
