import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import root
from scipy.special import softmax

from sklearn_ltdl.linear import _coordinates, _lbfgs, _solvers
from sklearn_ltdl.linear._lbfgs import read
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._solvers import SOLVERS, auto, newton, sag, saga
from sklearn_ltdl.losses import LOSSES
from sklearn_ltdl.results import Status

LOSS_NAMES = ["squared", "logistic", "multinomial"]
STOCHASTIC = [sag, saga]


def closed_form(problem):
    """Return ridge coefficients and intercepts by the normal equations of the design with a column of ones."""
    X = problem.X.toarray() if sparse.issparse(problem.X) else problem.X
    p = X.shape[1]
    A = np.c_[X, np.ones(len(X))] if problem.fit_intercept else X
    penalty = problem.alpha * np.diag(np.arange(A.shape[1]) < p)
    both = np.linalg.solve(A.T @ (problem.share[:, None] * A) + penalty, A.T @ (problem.share[:, None] * problem.Y))
    return both[:p].T, (both[p] if problem.fit_intercept else np.zeros(problem.Y.shape[1]))


def root_of_the_gradient(problem, start):
    """Return log-likelihood coefficients where the gradient, written out here, vanishes; the intercept is a column."""
    A = np.c_[problem.X, np.ones(len(problem.Y))]
    penalty = problem.alpha * (np.arange(A.shape[1]) < problem.X.shape[1])

    def gradient(flat):
        W = flat.reshape(problem.Y.shape[1], -1)
        Z = A @ W.T
        P = 1 / (1 + np.exp(-Z)) if Z.shape[1] == 1 else softmax(Z, axis=1)
        anchor = np.zeros_like(W)
        anchor[:, -1] = W[:, -1].sum() if Z.shape[1] > 1 else 0  # of the intercepts that give the same model
        return ((problem.share[:, None] * (P - problem.Y)).T @ A + penalty * W + anchor).ravel()

    found = root(gradient, np.zeros(start.size), tol=1e-13)
    return found.x.reshape(problem.Y.shape[1], -1)


@pytest.mark.parametrize("solver", STOCHASTIC)
@pytest.mark.parametrize(("weighted", "fit_intercept"), [(False, False), (False, True), (True, True)])
def test_sag_and_saga_find_the_closed_form_of_ridge(case, layout, solver, weighted, fit_intercept):
    problem = case("squared").problem("squared", weighted=weighted, fit_intercept=fit_intercept, layout=layout)
    coef, intercept = closed_form(problem)
    solution = solver(problem, tol=1e-20, max_iter=3000)
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(solution.coef, coef, rtol=0, atol=1e-8)  # a gap of 1e-20 puts them within 1e-9
    np.testing.assert_allclose(solution.intercept, intercept, rtol=0, atol=1e-8)


@pytest.mark.parametrize("solver", ["auto", "newton", "cholesky"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_direct_solvers_find_the_closed_form_of_ridge(case, layout, solver, fit_intercept):
    problem = case("squared").problem("squared", fit_intercept=fit_intercept, layout=layout)
    coef, intercept = closed_form(problem)
    solution = SOLVERS[solver](problem)
    assert solution.n_iter <= 4  # exact at once, then refinement
    np.testing.assert_allclose(solution.coef, coef, rtol=0, atol=1e-13)
    np.testing.assert_allclose(solution.intercept, intercept, rtol=0, atol=1e-13)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_ridge_of_a_long_table_is_the_closed_form_after_one_read(case, weighted, fit_intercept, monkeypatch):
    monkeypatch.setattr(_solvers, "EXACT", 0)  # numbers of a table that is solved with more care
    problem = case("squared", n=500).problem("squared", weighted=weighted, fit_intercept=fit_intercept)
    coef, intercept = closed_form(problem)
    elsewhere = {"coef": coef + 1.0, "intercept": intercept}  # a start makes no difference
    for solution in (SOLVERS["cholesky"](problem, state=elsewhere), SOLVERS["cholesky"](problem)):
        assert (solution.n_iter, solution.status) == (1, Status.CONVERGED)
    np.testing.assert_allclose(solution.coef, coef, rtol=0, atol=1e-12)
    np.testing.assert_allclose(solution.intercept, intercept, rtol=0, atol=1e-12)
    assert solution.gap <= 1e-20 * problem.start.objective  # the square of the rounding of a gradient
    assert solution.slopes is None  # they would take a second read
    slopes = problem.at(solution.coef, solution.intercept, best=False).slopes
    assert np.abs(problem.share @ slopes).max() <= 1e-15 * np.abs(slopes).max() or not fit_intercept


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_newton_is_quadratic(case, layout, loss):
    problem = case(loss).problem(loss, layout=layout)
    gaps = [newton(problem, max_iter=k).gap / problem.start.objective for k in range(1, 9)]
    near = [(now, then) for now, then in pairwise(gaps) if 1e-8 < now < 1e-2]
    assert near
    assert all(then <= 1e3 * now**2 for now, then in near)


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
@pytest.mark.parametrize("solver", [newton, *STOCHASTIC])
def test_uneven_weights_agree_with_a_root_of_the_gradient(case, loss, solver):
    problem = case(loss).problem(loss)
    solution = solver(problem, tol=0, max_iter=3000)
    expected = root_of_the_gradient(problem, np.c_[solution.coef, solution.intercept])
    np.testing.assert_allclose(np.c_[solution.coef, solution.intercept], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("solver", [newton, *STOCHASTIC])
def test_integer_weights_are_repeated_rows(case, loss, solver):
    X, Y, _ = case(loss)
    times = np.arange(len(Y)) % 4
    kept = times > 0
    weighted = FiniteSum(X[kept], Y[kept], LOSSES[loss], 0.05, times[kept].astype(float))
    repeated = FiniteSum(np.repeat(X, times, axis=0), np.repeat(Y, times, axis=0), LOSSES[loss], 0.05)
    a, b = (solver(problem, tol=0, max_iter=1000) for problem in (weighted, repeated))
    np.testing.assert_allclose(a.coef, b.coef, rtol=0, atol=1e-9)
    np.testing.assert_allclose(a.intercept, b.intercept, rtol=0, atol=1e-9)


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize(("solver", "alpha"), [(sag, 0.05), (saga, 0.05), (saga, 0.0)])
def test_sparse_steps_are_the_dense_steps(case, loss, solver, alpha):
    dense, lazy = (case(loss, p=9).problem(loss, alpha, layout=layout) for layout in (np.asarray, sparse.csr_array))
    a, b = (solver(problem, tol=0, max_iter=10, seed=3) for problem in (dense, lazy))
    np.testing.assert_allclose(a.coef, b.coef, rtol=0, atol=1e-12)
    np.testing.assert_allclose(a.intercept, b.intercept, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_lbfgs_reads_many_rows_a_few_times(case, loss, weighted):
    # 3000 rows are 200 for each number of a row of coefficients, so that few of them give its metric and its start
    problem = case(loss, n=3000).problem(loss, weighted=weighted)
    solution = SOLVERS["lbfgs"](problem, tol=1e-9)
    assert solution.status is Status.CONVERGED
    assert solution.n_iter <= 12  # from 150 rows on, which leave an error of some tenths, three decades in two reads
    best = newton(problem)
    lowest = problem.at(best.coef, best.intercept).objective
    assert problem.at(solution.coef, solution.intercept, best=False).objective - lowest <= solution.gap + 1e-15


def test_lbfgs_factorises_few_rows_before_it_gives_up(rng):
    # 80 columns of 4000 rows with eigenvalues from 1 to 1e-8: 50 rows a column, of which 5 a column make the metric
    turn = np.linalg.qr(rng.normal(size=(80, 80)))[0]
    X = (rng.normal(size=(4000, 80)) * np.logspace(0, -4, 80)) @ turn
    y = X @ (turn.T @ np.logspace(0, 4, 80)) / 9 + rng.logistic(size=4000)
    problem = FiniteSum(X, 1.0 * (y > 0)[:, None], LOSSES["logistic"], 1e-9)
    solution = SOLVERS["lbfgs"](problem, state={"budget": 30})  # what auto gives to this side
    assert solution.status is Status.CONVERGED
    assert solution.n_iter <= 60


@pytest.mark.parametrize("loss", LOSSES)
def test_lbfgs_goes_on_from_single_to_double_precision(case, loss, monkeypatch):
    monkeypatch.setattr(_solvers, "EXACT", 0)  # numbers of a table that is read in double precision only
    precisions = []

    def noted(problem, *args):
        if precisions[-1:] != [problem.X.dtype.name]:
            precisions.append(problem.X.dtype.name)
        return read(problem, *args)

    for module in (_solvers, _lbfgs):
        monkeypatch.setattr(module, "read", noted)
    problem = case(loss).problem(loss)
    solution = SOLVERS["lbfgs"](problem, tol=1e-11)  # single precision leads to some 1e-7
    assert precisions == ["float64", "float32", "float64"]  # the first read looks for numbers to refuse
    assert solution.status is Status.CONVERGED
    assert problem.at(solution.coef, solution.intercept, best=False).gap == pytest.approx(solution.gap, rel=1e-3)
    best = newton(problem)
    lowest = problem.at(best.coef, best.intercept).objective
    assert problem.at(solution.coef, solution.intercept, best=False).objective - lowest <= solution.gap + 1e-15


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_auto_leaves_lbfgs_where_it_is_slow(loss, rng):
    # 300 columns of 600 rows with eigenvalues from 1 to 1e-12: no 85 steps of the gradient see them all
    X = rng.normal(size=(600, 300)) @ np.linalg.qr(rng.normal(size=(300, 300)))[0] * np.logspace(0, -6, 300)
    X = X @ np.linalg.qr(rng.normal(size=(300, 300)))[0]
    y = X @ rng.normal(size=300) * 10 + 0.1 * rng.normal(size=600)
    Y = y[:, None] if loss == "squared" else 1.0 * (y > 0)[:, None]
    solution = auto(FiniteSum(X, Y, LOSSES[loss], 1e-8))
    assert solution.solver == ("cholesky" if loss == "squared" else "newton")
    assert solution.status is Status.CONVERGED
    assert f"'{'newton-cg' if loss == 'squared' else 'lbfgs'}' was slow" in solution.reason
    assert np.all(np.diff(solution.trace.passes) > 0)
    assert loss != "squared" or solution.trace.passes[-1] < 2 * 300 / 16  # the factorisation costs as many


def test_auto_reads_on_where_conjugate_gradients_are_fast(rng):
    X = rng.normal(size=(600, 300))
    problem = FiniteSum(X, X[:, :1] + rng.normal(size=(600, 1)), LOSSES["squared"], 1.0)
    solution = auto(problem)
    assert (solution.solver, solution.status) == ("newton-cg", Status.CONVERGED)


def sparse_problem(loss, layout, l1_ratio=1.0, n=120, p=30):
    """Return a problem of which a few of columns whose units differ by four decades have coefficients."""
    rng = np.random.default_rng(0)
    X = np.where(rng.random((n, p)) < 0.5, rng.normal(1, 1, size=(n, p)), 0.0)
    y = X[:, :4].sum(axis=1) + 0.5 * rng.normal(size=n)
    units = 10.0 ** rng.uniform(-2, 2, size=p)
    Y = np.c_[y, -y] if loss in ("squared", "huber") else 1.0 * (y > y.mean())[:, None]
    return FiniteSum(layout(X * units), Y, LOSSES[loss], 0.02, rng.uniform(0.5, 2, size=n), True, l1_ratio)


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "multinomial"])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_coordinate_descent_meets_the_conditions_of_a_minimum(layout, loss, l1_ratio):
    problem = sparse_problem(loss, layout, l1_ratio)
    solution = SOLVERS["cd"](problem, tol=1e-12)
    assert solution.status is Status.CONVERGED
    coef = solution.coef
    slopes = problem.share[:, None] * problem.loss.derivative(problem.X @ coef.T + solution.intercept, problem.Y)
    assert np.abs(slopes.sum(axis=0)).max() <= 1e-6
    gradient = problem.transposed(slopes) + problem.l2 * coef
    size = np.sqrt(problem.loss.smoothness * problem.column_sizes() ** 2)  # of a column's own second derivative
    # an objective within 1e-12 of its minimum has coordinates whose own decrease, g^2 / 2L, is no more
    np.testing.assert_array_less(np.abs((gradient + problem.l1 * np.sign(coef)) / size)[coef != 0], 3e-6)
    np.testing.assert_array_less(np.abs(gradient[coef == 0]), problem.l1 * (1 + 1e-4))
    assert 0 < np.count_nonzero(coef) < coef.size


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_columns_and_their_hessian_give_the_same_descent(loss, monkeypatch):
    problem = sparse_problem(loss, np.asarray)
    by_hessian = SOLVERS["cd"](problem, tol=1e-12)
    monkeypatch.setattr(_coordinates, "FEW", 0)
    by_columns = SOLVERS["cd"](problem, tol=1e-12)
    np.testing.assert_array_equal(by_hessian.coef != 0, by_columns.coef != 0)
    scale = np.abs(by_hessian.coef).max()
    np.testing.assert_allclose(by_hessian.coef, by_columns.coef, rtol=1e-4, atol=1e-5 * scale)


def test_the_lasso_of_orthogonal_columns_is_their_soft_thresholding(layout, rng):
    X = np.linalg.qr(rng.normal(size=(40, 6)))[0] * np.sqrt(40)
    Y = X @ np.array([[3.0, -2.0, 1.0, 0.5, 0.0, 0.0]]).T + 0.1 * rng.normal(size=(40, 1))
    solution = SOLVERS["cd"](FiniteSum(layout(X), Y, LOSSES["squared"], 0.7, fit_intercept=False, l1_ratio=1.0))
    own = (X.T @ Y)[:, 0] / 40
    np.testing.assert_allclose(solution.coef[0], np.sign(own) * np.maximum(np.abs(own) - 0.7, 0), rtol=0, atol=1e-12)


def test_a_sparse_epoch_does_not_visit_the_zeros(rng):
    # 2000 rows with two entries each among 200 000 features: dense steps would write 4e8 numbers an epoch
    X = sparse.random_array((2000, 200_000), density=1e-5, rng=rng, format="csr")
    Y = rng.normal(size=(2000, 1))
    problem = FiniteSum(X, Y, LOSSES["squared"], 0.1)
    solution = auto(problem)
    assert solution.solver == "newton-cg"
    assert solution.status is Status.CONVERGED
    assert np.all(solution.coef[0, X.sum(axis=0) == 0] == 0)


@pytest.mark.parametrize("solver", STOCHASTIC)
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_every_certificate_bounds_the_suboptimality(case, layout, loss, solver):
    problem = case(loss).problem(loss, layout=layout)
    best = newton(problem)
    lowest = problem.at(best.coef, best.intercept).objective
    for max_iter in (1, 3, 10, 30):
        solution = solver(problem, tol=0, max_iter=max_iter)
        objective = problem.at(solution.coef, solution.intercept).objective
        assert solution.gap >= objective - lowest - 1e-15
        assert solution.status is Status.OUT_OF_STEPS


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_the_seed_decides_the_bits(case, solver):
    problem = case("logistic").problem("logistic")
    first, same, other = (solver(problem, max_iter=3, seed=seed).coef for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("solver", ["newton", "sag", "saga"])
@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_separable_classes_without_penalty_are_reported(loss, solver, rng):
    X = rng.normal(size=(40, 2))
    codes = (X[:, 0] > 0).astype(int)
    Y = 1.0 * codes[:, None] if loss == "logistic" else np.eye(2)[codes]
    solution = SOLVERS[solver](FiniteSum(X, Y, LOSSES[loss], 0.0))
    assert solution.status is Status.SEPARABLE


def test_least_squares_of_collinear_columns_is_the_shortest(rng):
    X = rng.normal(size=(30, 3))
    X = np.c_[X, X[:, 0]]
    y = X @ np.arange(4) + rng.normal(size=30)
    solution = newton(FiniteSum(X, y[:, None], LOSSES["squared"], 0.0))
    centred = X - X.mean(axis=0)
    expected = np.linalg.lstsq(centred, y - y.mean(), rcond=None)[0]
    np.testing.assert_allclose(solution.coef[0], expected, rtol=0, atol=1e-12)


def test_a_factorisation_beyond_memory_is_refused():
    X = sparse.csr_array((30_000, 30_000))
    problem = FiniteSum(X, np.ones((30_000, 1)), LOSSES["squared"], 1.0)
    with pytest.raises(ValueError, match=r"matrix of 30000 rows.* use solver='auto', 'sag' or 'saga'"):
        newton(problem)


def test_small_fits_do_not_load_the_compiler():
    code = """
import sys
from sklearn_ltdl import SAGClassifier, SAGRegressor
SAGRegressor().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 3.0])
SAGClassifier().fit([[0.0], [1.0], [2.0]], [0, 1, 1])
print([name for name in ("jax", "numba", "matplotlib") if name in sys.modules])
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
