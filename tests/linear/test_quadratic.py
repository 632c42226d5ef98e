"""The lasso of tall tables from the products of its columns: rounding of the certificate, and when X is read again."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import enet_path

from sklearn_ltdl import SAGRegressor
from sklearn_ltdl.linear import _coordinates
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._quadratic import Quadratic, QuadraticPoint
from sklearn_ltdl.linear._solvers import SOLVERS
from sklearn_ltdl.losses import LOSSES


def bad_table(seed):
    """Return columns in units over four decades, up to 30 standard deviations from zero, with targets and weights."""
    rng = np.random.default_rng(seed)
    n, p = rng.integers(30, 400), rng.integers(1, 12)
    X = (rng.normal(size=(n, p)) + 30 * rng.random()) * 10.0 ** rng.uniform(-2, 2, size=p)
    X[:, rng.integers(p)] = X[:, 0] if seed % 3 else 1.0
    Y = X @ rng.normal(size=(p, rng.integers(1, 3))) + 10.0 ** rng.uniform(-6, 2)
    Y += 10.0 ** rng.uniform(-6, 0) * rng.normal(size=Y.shape)
    return X, Y, 10.0 ** rng.uniform(-3, 3, size=n) if rng.random() < 0.5 else None


def residual_and_pull(problem, coef):
    """Return mean squared residuals at the best intercepts, and their products with the columns, in long doubles."""
    X, Y, share, coef = (np.asarray(a, np.longdouble) for a in (problem.X, problem.Y, problem.share, coef))
    share = share / share.sum()
    if problem.fit_intercept:
        X, Y = X - share @ X, Y - share @ Y
    residual = X @ coef.T - Y
    return np.sum(share @ residual**2), (share[:, None] * residual).T @ X


@pytest.mark.parametrize("seed", range(50))
def test_the_certificate_from_moments_holds_in_long_doubles(seed):
    """Weak duality: the objective less the dual objective of feasible dual variables is at most the gap."""
    X, Y, weight = bad_table(seed)
    rng = np.random.default_rng([seed, 1])
    l1_ratio = rng.choice([0.5, 1.0])
    problem = FiniteSum(X, Y, LOSSES["squared"], 1.0, weight, bool(seed % 4), l1_ratio)
    size = np.max(np.abs(residual_and_pull(problem, np.zeros((Y.shape[1], X.shape[1])))[1]))
    problem = problem.with_alpha(float(size) * 10.0 ** rng.uniform(-6, -1))
    quadratic, share = Quadratic(problem), problem.share.astype(np.longdouble)
    solution = SOLVERS["cd"](problem, tol=10.0 ** -rng.integers(0, 12))
    near = solution.coef + 0.1 * rng.normal(size=solution.coef.shape) / quadratic.sizes
    for coef in (solution.coef, near, np.zeros_like(near)):
        point = QuadraticPoint(problem, quadratic, coef)
        square, pull = residual_and_pull(problem, coef)
        scale = quadratic.of_targets + np.abs(coef) @ quadratic.sizes
        assert np.all(np.abs(point.pull - pull) <= quadratic.rounding * scale[:, None] * quadratic.sizes)
        l1, l2 = np.longdouble(problem.l1), np.longdouble(problem.l2)
        slopes = np.longdouble(1)
        if l2 == 0:
            slopes = min(slopes, l1 / np.max(np.abs(pull)))
        v, w = -slopes * pull, coef.astype(np.longdouble)
        conjugate = np.sum(np.maximum(np.abs(v) - l1, 0) ** 2) / (2 * l2) if l2 > 0 else 0
        excess = share @ (Y + 0.0) - X.T.astype(np.longdouble) @ share @ w.T - point.intercept
        of_intercept = np.sum(excess**2) / 2 if problem.fit_intercept else 0
        exact = (1 - slopes) ** 2 / 2 * square + of_intercept
        exact += l1 * np.abs(w).sum() + l2 / 2 * (w**2).sum() + conjugate - np.sum(v * w)
        assert point.gap >= exact - 1e-18 * square


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("few", [0, 200], ids=["after some reads", "at once"])
def test_a_path_of_a_tall_table_is_that_of_scikit_learn(l1_ratio, few, monkeypatch):
    monkeypatch.setattr(_coordinates, "FEW", few)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 30)) + 2 * rng.normal(size=(500, 1))
    y = X[:, :6] @ rng.normal(size=6) + rng.normal(size=500) + 5
    alphas = np.abs((X - X.mean(axis=0)).T @ y).max() / len(y) / l1_ratio * 10.0 ** -np.linspace(0, 3, 12)
    options = {"l1_ratio": l1_ratio, "alphas": alphas, "tol": 1e-13, "max_iter": 10**5}
    expected = enet_path(X - X.mean(axis=0), y - y.mean(), **options)[1].T
    for order in "CF":
        table = np.asarray(X, order=order)
        path = SAGRegressor(l1_ratio=l1_ratio, tol=1e-12).path(table, y, alphas)
        np.testing.assert_allclose(path.coefs @ X.T, expected @ X.T, rtol=0, atol=3e-6 * y.std())  # gaps of 1e-12
        np.testing.assert_allclose(path.intercepts, y.mean() - path.coefs @ X.mean(axis=0), rtol=1e-12)


def test_x_is_read_again_if_rounding_hides_the_tolerance():
    """Without noise the gap asked for is below what products of columns of 1000 rows resolve."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1000, 5))
    y = X @ rng.normal(size=5)
    problem = FiniteSum(X, y[:, None], LOSSES["squared"], 1e-6, l1_ratio=1.0)
    state = {}
    solution = SOLVERS["cd"](problem, tol=1e-13, state=state)
    assert "columns" in state["known"]
    assert solution.gap <= 1e-13 * y.var() / 2
    assert solution.slopes is not None
    state = {}
    assert SOLVERS["cd"](problem, tol=1e-10, state=state).slopes is None
    assert "columns" not in state["known"]


def test_dual_variables_after_a_fit_from_moments_are_feasible():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(300, 8)), rng.normal(size=300)
    model = SAGRegressor(l1_ratio=1.0, alpha=0.05, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X, y)
    dual = model.dual_coef_
    assert np.max(np.abs(dual @ X)) / 300 <= 0.05 * (1 + 1e-14)
    assert abs(dual.sum()) <= 1e-12
    # Fenchel-Young: value of the dual at these variables
    dual_value = -np.mean(dual**2 / 2 + dual * y)
    value = np.mean((X @ model.coef_ + model.intercept_ - y) ** 2) / 2 + 0.05 * np.abs(model.coef_).sum()
    assert -1e-15 <= model.dual_gap_ - (value - dual_value) <= 1e-13  # the bound on its rounding
