"""Coordinate descent: its model, its columns in any order and precision, and columns of different units."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_ltdl import SAGClassifier, SAGRegressor
from sklearn_ltdl.linear import _coordinates
from sklearn_ltdl.linear._coordinates import ColumnModel, Columns, CoupledModel, Goal, HessianModel, linear_dual
from sklearn_ltdl.linear._hessians import hessian_of
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._solvers import SOLVERS
from sklearn_ltdl.losses import LOSSES

LAYOUTS = [np.ascontiguousarray, np.asfortranarray, sparse.csr_array, sparse.csc_array]


def data(seed, n=200, p=30, spread=2.0):
    """Return columns in units of up to 10^spread, and a target of a few of them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.4)
    y = X[:, :6] @ rng.normal(size=6) + 0.5 * rng.normal(size=n)
    return X * 10.0 ** rng.uniform(-spread, spread, size=p), y


@pytest.mark.parametrize("of", LAYOUTS, ids=lambda of: of.__name__)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("is_flat", [True, False])
@pytest.mark.parametrize("small", [0, 10**9])
def test_the_model_is_its_formula(of, fit_intercept, is_flat, small, monkeypatch):
    monkeypatch.setattr(_coordinates, "SMALL", small)
    (X, y), rng = data(0), np.random.default_rng(1)
    problem = FiniteSum(of(X), y[:, None], LOSSES["squared"], 0.1, fit_intercept=fit_intercept, l1_ratio=0.5)
    c = problem.share if is_flat else problem.share * rng.uniform(0.1, 1, size=len(y))
    coef, pull, which = rng.normal(size=30), rng.normal(size=30), np.arange(1, 25)
    columns = Columns(problem)
    model = ColumnModel(problem, columns, which, c[:1] if is_flat else c, pull, coef)
    end = model.begin.copy()
    model.round(end, np.arange(len(which)))
    model.round(end, np.flatnonzero(end))
    there, change = model.scale * end, model.scale * end - coef[which]
    m = X[:, which] @ change
    m -= fit_intercept * (c @ m) / c.sum()
    expected = pull[which] @ change + c @ m**2 / 2 + problem.l1 * np.abs(there).sum() + problem.l2 * there @ there / 2
    single = columns.dtype == np.float32
    assert single == (small == 0 and of in LAYOUTS[:2])
    np.testing.assert_allclose(model.value(end), expected, rtol=1e-5 if single else 1e-12)
    by_hessian = HessianModel(problem, hessian_of(problem.by_rows(), X[:, which], c), pull[which], coef[which])
    if fit_intercept:
        other = coef[which].copy()
        by_hessian.round(other, np.arange(len(which)))
        by_hessian.round(other, np.flatnonzero(other))
        scale = np.abs(X[:, which]).max(axis=0)  # in units of the predictions
        np.testing.assert_allclose(scale * other, scale * there, rtol=1e-4 if single else 1e-8, atol=1e-6)


@pytest.mark.parametrize("of", LAYOUTS, ids=lambda of: of.__name__)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_the_minimum_of_the_coupled_model_meets_its_conditions(of, fit_intercept, l1_ratio):
    """With V = q (P D - P (P D)') for changes D of the scores, X'V plus the gradient is in the box of the l1 norm."""
    (X, y), rng = data(0, spread=0.5), np.random.default_rng(1)
    Y = np.eye(3)[np.digitize(y, np.quantile(y, [0.3, 0.7]))]
    problem = FiniteSum(of(X), Y, LOSSES["multinomial"], 0.01, rng.uniform(size=len(y)), fit_intercept, l1_ratio)
    coef, pull = rng.normal(size=(3, 30)), 0.1 * rng.normal(size=(3, 30))
    P = rng.dirichlet(np.ones(3), size=len(y)).T.copy()
    outputs, which = np.repeat([0, 1, 2], [4, 0, 5]), np.array([2, 3, 7, 9, 1, 3, 4, 9, 20])
    model = CoupledModel(problem, Columns(problem), outputs, which, P, pull, coef)
    found = _coordinates.minimised(model, Goal(0.0, 0.0, 1e-13), 1.0)
    change = np.zeros((3, 30))
    there = model.scale * found
    change[outputs, which] = there - coef[outputs, which]
    moved = model.drift - change @ X.T
    np.testing.assert_allclose(moved, np.tile(moved[:, :1], len(y)), atol=1e-9)  # of the intercepts
    D = change @ X.T + moved[:, :1]
    V = problem.share * (P * D - P * np.sum(P * D, axis=0))
    if fit_intercept:
        np.testing.assert_allclose(V.sum(axis=1), 0, atol=1e-7)
    excess = (V @ X + pull)[outputs, which] + problem.l2 * there
    np.testing.assert_array_less(np.abs(excess), problem.l1 + 1e-6)
    np.testing.assert_allclose(excess[there != 0], -problem.l1 * np.sign(there[there != 0]), atol=1e-6)
    expected = np.sum(pull * change) + np.sum(V * D) / 2
    expected += problem.l1 * np.abs(there).sum() + problem.l2 / 2 * there @ there
    assert model.value(found) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_columns_in_single_precision_give_the_digits_of_doubles(loss, l1_ratio, monkeypatch):
    X, y = data(2)
    Y = y[:, None] if loss == "squared" else 1.0 * (y > 0)[:, None]
    monkeypatch.setattr(_coordinates, "FEW", 0)
    found = []
    for small in (10**9, 0):
        monkeypatch.setattr(_coordinates, "SMALL", small)
        problem, state = FiniteSum(X, Y, LOSSES[loss], 0.02, l1_ratio=l1_ratio), {}
        solution = SOLVERS["cd"](problem, tol=1e-11, state=state)
        assert state["known"]["columns"].dtype == (np.float64 if small else np.float32)
        assert solution.gap <= 1e-11 * problem.start.objective
        found.append(X @ solution.coef[0] + solution.intercept)
    # of a gap of 1e-11: the loss is strongly convex in the predictions
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("loss", ["squared", "logistic", "multinomial"])
@pytest.mark.parametrize("of", LAYOUTS, ids=lambda of: of.__name__)
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_columns_in_units_over_four_decades_converge(loss, of, l1_ratio):
    for seed in range(4):
        X, y = data(seed, n=150, p=[20, 60, 200, 300][seed])
        model = SAGRegressor(l1_ratio=l1_ratio)
        if loss == "logistic":
            model, y = SAGClassifier(l1_ratio=l1_ratio), (y > 0).astype(int)
        elif loss == "multinomial":
            model, y = SAGClassifier(l1_ratio=l1_ratio, solver="cd"), np.digitize(y, np.quantile(y, [0.4, 0.7]))
        target = y - y.mean()
        model.alpha = 10.0 ** -(1 + seed) * np.max(np.abs((X - X.mean(axis=0)).T @ target)) / len(y) / l1_ratio
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            model.fit(of(X), y)
        assert model.solver_ == "cd"
        assert model.dual_gap_ <= 1e-6 * {"squared": y.var() / 2, "logistic": 1, "multinomial": np.log(3)}[loss]


def test_slopes_of_the_model_are_dual_variables_in_any_units():
    X, y = data(5, n=80, p=10)
    problem = FiniteSum(X, 1.0 * (y > 0)[:, None], LOSSES["logistic"], 1e-3, l1_ratio=1.0)
    known = {"columns": Columns(problem)}
    step = _coordinates.proximal_newton_step(problem, problem.start, Goal(0.0, 0.0, 1e-12), known)
    there = problem.at(step)
    dual = linear_dual(problem.start, there)
    slopes, pull, _ = dual._balanced
    assert abs(problem.share @ slopes[:, 0]) <= 1e-15
    assert np.all((slopes + problem.Y >= 0) & (slopes + problem.Y <= 1))
    # the conditions of a minimum of the model hold for its own slopes, not for those of the loss
    assert np.max(np.abs(pull)) < np.max(np.abs(there.gradient))


@pytest.mark.parametrize(("of", "is_kept"), [(np.asfortranarray, True), (sparse.csc_array, True)])
def test_columns_are_not_copied_for_an_l1_norm(of, is_kept):
    X, y = data(6)
    X = of(X)
    task = SAGRegressor(l1_ratio=1.0)._task(X, y, None)
    memory = (lambda A: A.data) if sparse.issparse(X) else np.asarray
    assert np.shares_memory(memory(task.problem.X), memory(X)) == is_kept
    rows = task.problem.by_rows()
    assert (rows.X.format == "csr") if sparse.issparse(X) else rows.X.flags.c_contiguous
    assert Columns(task.problem).values is not None


@pytest.mark.parametrize("is_writeable", [True, False])
def test_a_view_of_the_table_of_the_user_is_read_and_not_written_to(is_writeable):
    """Pandas hands out read-only views in Fortran order. With so many columns, the model reads columns."""
    rng = np.random.default_rng(9)
    X = np.asfortranarray(rng.standard_normal((60, 400)))[:, :300]
    y = X[:, 1::8] @ rng.standard_normal(38)  # at this penalty some columns are in the model
    before = X.copy()
    X.flags.writeable = is_writeable
    options = {"solver": "cd", "l1_ratio": 1.0, "alpha": 1.0, "tol": 1e-8}
    found = SAGRegressor(**options).fit(X, y).coef_
    np.testing.assert_array_equal(X, before)
    expected = SAGRegressor(**options).fit(np.ascontiguousarray(X), y).coef_
    np.testing.assert_allclose(X @ found, X @ expected, rtol=0, atol=3e-4 * y.std())  # gaps of 1e-8


def test_a_path_is_that_of_fits_one_by_one(layout):
    X, y = data(7, spread=1.0)
    alphas = np.abs((X - X.mean(axis=0)).T @ y).max() / len(y) * 10.0 ** -np.linspace(0.1, 2, 6)
    path = SAGRegressor(l1_ratio=1.0, tol=1e-10).path(layout(X), y, alphas)
    for alpha, coef, gap in zip(alphas, path.coefs, path.dual_gaps):
        one = SAGRegressor(l1_ratio=1.0, tol=1e-10, alpha=alpha).fit(layout(X), y)
        np.testing.assert_allclose(X @ coef, X @ one.coef_, rtol=0, atol=3e-5 * y.std())  # gaps of 1e-10
        assert gap <= 1e-10 * y.var()


@pytest.mark.parametrize(("n", "p"), [(60, 300), (400, 20)], ids=["columns", "Hessian"])
@pytest.mark.parametrize(("alpha", "l1_ratio"), [(0.05, 0.0), (0.0, 0.0), (0.0, 1.0), (1e-300, 1.0), (1e-300, 0.5)])
def test_next_to_no_l1_norm_is_none(n, p, alpha, l1_ratio):
    """A gap relative to the weight of the norm is infinite then: the rounds go on as long as they gain."""
    rng = np.random.default_rng(10)
    X = rng.standard_normal((n, p))
    y = X[:, 0] + rng.standard_normal(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # no certificate without a penalty
        model = SAGRegressor(solver="cd", alpha=alpha, l1_ratio=l1_ratio, tol=1e-8).fit(X, y)
    if p < n or alpha > 1e-10:
        design = X - X.mean(axis=0)
        expected = np.linalg.solve(design.T @ design / n + alpha * (1 - l1_ratio) * np.eye(p), design.T @ y / n)
        np.testing.assert_allclose(X @ model.coef_, X @ expected, rtol=0, atol=3e-4 * y.std())  # gaps of 1e-8
    else:
        np.testing.assert_allclose(model.predict(X), y, rtol=0, atol=3e-4 * y.std())  # it interpolates
    labels = y > 0
    certified = SAGClassifier(solver="cd", alpha=0.01, l1_ratio=0.0).fit(X, labels)
    assert 0 <= certified.dual_gap_ < 1e-4


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_a_small_penalty_of_several_classes_takes_few_rounds(monkeypatch, l1_ratio):
    rng, rounds, take = np.random.default_rng(1), [], CoupledModel.round

    def counted(self, coef, order):
        rounds.append(len(order))
        return take(self, coef, order)

    monkeypatch.setattr(CoupledModel, "round", counted)
    X = rng.normal(size=(300, 8))
    labels = np.argmax(X @ rng.normal(size=(8, 3)) + rng.gumbel(size=(300, 3)), axis=1)
    model = SAGClassifier(alpha=1e-6, l1_ratio=l1_ratio, solver="cd", tol=1e-4).fit(X, labels)
    assert len(rounds) < 300  # thousands, if only the penalty moved the coefficients of a column in all classes
    if l1_ratio == 1:  # the loss does not depend on a constant in all classes, so that zero is a median
        assert np.all(np.sum(model.coef_ > 0, axis=0) <= 1)
        assert np.all(np.sum(model.coef_ < 0, axis=0) <= 1)


def test_nearly_dependent_columns_take_few_rounds(rng):
    """Coordinate descent alone would take as many as the condition number, 1e8, of the products of the columns."""
    Z = rng.normal(size=(40, 3))
    X = Z[:, :1] + 1e-4 * Z
    y = 1e4 * X @ [3.0, -1.0, 2.0] + 0.5 * rng.normal(size=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = SAGRegressor(
            loss="huber", alpha=1e-7, l1_ratio=1.0, solver="cd", max_iter=100, tol=1e-8, fit_intercept=False
        ).fit(X, y)
    assert np.all(model.coef_ != 0)
    pull = X.T @ LOSSES["huber"].derivative(X @ model.coef_, y) / 40
    np.testing.assert_allclose(pull, -1e-7 * np.sign(model.coef_), rtol=1e-3)  # the conditions of a minimum
