"""Passes over large dense tables: exact products, certified rounding, dual variables on demand, bits on any threads."""

import gc
import pickle
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from sklearn_ltdl import SAGClassifier, SAGRegressor, duality_gap
from sklearn_ltdl._targets import encode_classes
from sklearn_ltdl._threads import in_order, sharing
from sklearn_ltdl.linear import _gram, _lbfgs, _problem, _solvers
from sklearn_ltdl.linear._gram import column_products, curved_product, margins_of, pull_of
from sklearn_ltdl.linear._lbfgs import NARROW, _shrunk, factored_metric, read
from sklearn_ltdl.linear._problem import FiniteSum, Point
from sklearn_ltdl.linear._solvers import SOLVERS
from sklearn_ltdl.losses import LOSSES


@pytest.fixture
def large(monkeypatch):
    """Small tables take the paths of large ones, in many parts."""
    monkeypatch.setattr(_solvers, "EXACT", 0)
    for module in (_gram, _problem):
        monkeypatch.setattr(module, "COMPILED", 0)
    monkeypatch.setattr(_lbfgs, "SMALL", 0)
    monkeypatch.setattr(_problem, "SHORT", 100)
    monkeypatch.setattr(_gram, "PART", 64)


@pytest.mark.parametrize("p", [1, 5, 6, 7, 13, 14, 22, 40])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("most", [0, 700])
def test_products_of_columns_are_those_of_numpy(rng, large, monkeypatch, p, weighted, most):
    """Up to `most` columns in compiled code, and beyond by linear algebra."""
    monkeypatch.setattr(_gram, "TILED", most)
    monkeypatch.setattr(_gram, "BLOCK", 640)
    X, extra = rng.normal(size=(601, p)), rng.normal(size=(601, p % 3))
    root = rng.uniform(size=601) if weighted else np.ones(1)
    A = np.column_stack([X, extra, np.ones(601)]) * np.broadcast_to(root, 601)[:, None]
    products, n_additions = column_products(X, extra, root)
    np.testing.assert_allclose(products, A.T @ A, rtol=0, atol=1e-12)
    assert n_additions > (64 + 2 if most else len(products))  # a block of rows, and parts


def test_products_with_rows_are_those_of_numpy(rng, large):
    for p in (1, 3, 40):
        X, v, u = rng.normal(size=(602, p)), rng.normal(size=p), rng.normal(size=602)
        for found, expected in ((margins_of(X, v), X @ v), (pull_of(X, u), u @ X)):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(curved_product(X, u, v), X.T @ (u * (X @ v)), rtol=0, atol=1e-10)


def test_a_processor_without_vectors_gives_the_same_products(tmp_path):
    code = """
import sys
import numpy as np
from sklearn_ltdl._backends.numba import LANES
from sklearn_ltdl.linear._gram import column_products
rng = np.random.default_rng(0)
X, extra, root = rng.normal(size=(300, 21)), rng.normal(size=(300, 2)), rng.uniform(size=300)
A = np.column_stack([X, extra, np.ones(300)]) * root[:, None]
print(LANES, np.abs(column_products(X, extra, root)[0] - A.T @ A).max() < 1e-12)
"""
    environment = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["2", "True"]


@pytest.mark.parametrize("seed", range(40))
def test_the_gap_of_ridge_in_one_read_bounds_the_suboptimality(large, seed):
    """The suboptimality at w is g'H^-1g/2 for the gradient g, which is computed in long doubles."""
    rng, long = np.random.default_rng(seed), np.longdouble
    n, p = int(rng.integers(200, 400)), int(rng.integers(2, 12))
    X = rng.normal(size=(n, p)) * 10.0 ** rng.uniform(-2, 2, size=p) + rng.choice([0.0, 0.0, 5.0]) * rng.normal(size=p)
    y = 10.0 ** rng.choice([-3, 0, 3]) * (X @ rng.normal(size=p) / X.std() + rng.normal(size=n) + 10.0)
    weight = rng.uniform(0.1, 3.0, size=n) if seed % 2 else None
    share = (np.ones(n) if weight is None else weight).astype(long)
    share /= share.sum()
    alpha = 10.0 ** rng.uniform(-10, 0) * np.mean(np.sum(X * X, axis=1))
    model = SAGRegressor(alpha=alpha, solver="cholesky", fit_intercept=bool(seed % 3), tol=1e-3).fit(X, y, weight)
    residual = X.astype(long) @ model.coef_.astype(long) + model.intercept_ - y
    centred = X - share @ X if model.fit_intercept else X.astype(long)
    gradient = centred.T @ (share * residual) + long(alpha) * model.coef_
    hessian = (centred.T @ (share[:, None] * centred)).astype(float) + alpha * np.eye(p)
    lack = gradient.astype(float) @ np.linalg.solve(hessian, gradient.astype(float)) / 2
    lack += float(share @ residual) ** 2 / 2 * model.fit_intercept
    assert model.n_iter_ == 1
    assert lack <= model.dual_gap_ <= 1e-3 * y.var()


def fitted(rng, **settings):
    X = rng.normal(size=(300, 5)) + 0.5
    y = X @ rng.normal(size=5) + rng.normal(size=300)
    return X, y, SAGRegressor(alpha=0.1, solver="cholesky", **settings)


def test_dual_variables_are_computed_when_they_are_asked_for(rng, large):
    X, y, model = fitted(rng)
    weight = rng.uniform(1, 2, size=300)
    weight[3] = 0.0
    for given in (None, weight):
        model.fit(X, y, given)
        share = np.full(300, 1 / 300) if given is None else given / given.sum()
        dual = model.dual_coef_
        assert dual is model.dual_coef_
        np.testing.assert_allclose(model.coef_, -X.T @ (share * dual) / 0.1, rtol=1e-12)
        assert abs(share @ dual) < 1e-15
        assert dual[3] == 0.0 or given is None


def test_the_model_does_not_keep_the_rows(rng, large):
    X, y, model = fitted(rng)
    model.fit(X, y)
    model.predict(X)
    copied = pickle.loads(pickle.dumps(model))  # the array still exists
    dual = model.dual_coef_
    np.testing.assert_array_equal(copied.dual_coef_, dual)
    assert not any(getattr(value, "shape", None) == X.shape for value in vars(copied).values())
    model.fit(X, y)
    del X
    gc.collect()
    with pytest.raises(AttributeError, match=r"X of the fit has been deleted. Keep X in a variable"):
        _ = model.dual_coef_
    assert not hasattr(pickle.loads(pickle.dumps(model)), "dual_coef_")


def test_rows_that_were_changed_give_no_dual_variables(rng, large):
    X, y, model = fitted(rng)
    dual = model.fit(X, y).dual_coef_
    model.fit(X, y)
    y[7] += 1.0  # of which the model has a copy
    np.testing.assert_array_equal(model.dual_coef_, dual)
    model.fit(X, y)
    X[7] += 1e-6
    with pytest.raises(AttributeError, match="X has been changed since the fit"):
        _ = model.dual_coef_


@pytest.mark.parametrize("solver", ["cholesky", "auto", "lbfgs", "newton"])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinity"), (1e200, "products overflow")])
@pytest.mark.parametrize("n", [500, 1000])  # of 1000, L-BFGS starts on a sample
def test_a_number_of_a_large_table_that_is_not_finite_is_refused(rng, large, solver, labels, value, message, n):
    X = np.column_stack([rng.normal(size=(n, 3)), np.ones(n), np.zeros(n)])
    y = X[:, 0] + rng.normal(size=n)
    if labels and solver == "cholesky":
        return
    model = (SAGClassifier if labels else SAGRegressor)(solver=solver)
    for row, column in ((0, 0), (499, 2), (250, 3), (77, 4)):
        table = X.copy()
        table[row, column] = value
        for weight in (None, rng.uniform(1, 2, size=n)):
            with pytest.raises(ValueError, match=message):
                model.fit(table, y > 0 if labels else y, weight)
        assert not hasattr(model, "coef_")
        reference = type(model)(solver="auto").fit(X, y > 0 if labels else y)
        with pytest.raises(ValueError, match=message):
            duality_gap(reference, table, y > 0 if labels else y)


def test_the_bits_do_not_depend_on_the_threads(rng, large):
    X, y, ridge = fitted(rng)
    logistic = SAGClassifier(solver="lbfgs", alpha=0.1, tol=1e-8)
    for model, target in ((ridge, y), (SAGRegressor(solver="newton-cg"), y), (logistic, y > 0)):
        found = []
        for threads in (1, 2, 3):
            with threadpool_limits(threads):
                model.fit(X, target)
            found.append((*np.ravel(model.coef_), *np.ravel(model.intercept_), model.dual_gap_))
        assert found[0] == found[1] == found[2]


def test_a_fit_beside_others_takes_its_own_thread():
    """As in joblib's threading backend, or in a server; the main thread shares what linear algebra may use."""
    used = []

    def work(part):
        used.append(threading.current_thread().name)
        time.sleep(0.01)
        return 2 * part

    def fit():
        with sharing():
            assert in_order(work, range(4)) == [0, 2, 4, 6]

    with threadpool_limits(2):
        thread = threading.Thread(target=fit, name="other")
        thread.start()
        thread.join()
        assert set(used) == {"other"}
        used.clear()
        fit()
        assert "other" not in used
        assert len(set(used)) == min(2, joblib.cpu_count())
        used.clear()
        in_order(work, range(4))  # not asked to share
        assert set(used) == {threading.current_thread().name}


@pytest.mark.parametrize(
    "labels",
    [
        [3, -5, 3, 994],
        np.array([-128, 127, 0], np.int8),
        [True, False, True],
        np.array([2**64 - 1, 2**64 - 3], np.uint64),
        np.array([2**63 - 1, 2**63 + 1], np.uint64),
        [-(2**63), 7 - 2**63],
        [0, 10**6],
        ["b", "a", "b"],
    ],
)
def test_labels_are_coded_as_by_unique(labels):
    labels = np.asarray(labels)
    for found, expected in zip(encode_classes(labels, np.ones(len(labels))), np.unique(labels, return_inverse=True)):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "multinomial"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("p", [1, 3, 37])
def test_a_compiled_read_is_that_of_numpy(rng, large, monkeypatch, loss, weighted, p):
    """Of margins up to 900, whose exponentials vanish; sums differ by rounding."""
    X, Y = rng.normal(size=(603, p)), (rng.random((603, 1)) < 0.4) * 1.0
    weight = rng.uniform(size=603) if weighted else None
    compiled = FiniteSum(X, Y, LOSSES[loss], 0.1, weight)
    monkeypatch.setattr(_problem, "COMPILED", 10**6)
    plain = FiniteSum(X, Y, LOSSES[loss], 0.1, weight)
    assert compiled.is_compiled > plain.is_compiled
    for scale in (0.0, 1e-8, 1.0, 300.0):
        coef, intercept = scale * rng.normal(size=(1, p)), scale * rng.normal(size=1)
        found, expected = (read(problem, coef, intercept) for problem in (compiled, plain))
        np.testing.assert_allclose(found.margins, expected.margins, rtol=0, atol=1e-13 * scale * p)
        for name in ("objective", "gradient", "slope"):
            size = np.abs(getattr(expected, name)).max()
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-13 * size)
    assert compiled.mean_square == pytest.approx(np.sum(X**2) / 603, rel=1e-13)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "multinomial"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("p", "is_near"), [(3, False), (NARROW + 1, False), (NARROW + 1, True)])
def test_the_certificate_of_a_read_is_that_of_its_margins(rng, large, loss, fit_intercept, weighted, p, is_near):
    """Its dual variables are the balanced slopes, and their pull is the product with X that a second read gives."""
    X, Y = rng.normal(size=(603, p)) + 0.5, (rng.random((603, 1)) < 0.4) * 1.0
    weight = rng.uniform(size=603) if weighted else None
    problem = FiniteSum(X, Y, LOSSES[loss], 0.1, weight, fit_intercept)
    for scale in (1e-8, 1.0, 30.0):
        coef, intercept = scale * rng.normal(size=(1, p)), scale * rng.normal(size=1) * fit_intercept
        here = read(problem, coef, intercept, is_near)
        assert (here.rising is not None) == (p <= NARROW or is_near)
        point, again = here.point(problem), Point(problem, coef, intercept, X @ coef.T + intercept)
        size = np.sqrt(np.mean(again.slopes**2))
        np.testing.assert_allclose(point.slopes, again.slopes, rtol=0, atol=1e-12 * size + 1e-15)
        pull = (problem.share[:, None] * point.slopes).T @ X
        np.testing.assert_allclose(point.gradient, pull + 0.1 * coef, rtol=0, atol=1e-12 * (size + scale))
        assert point.gap == pytest.approx(again.gap, rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_the_start_of_the_logistic_loss_is_the_best_constant(seed):
    """The log-odds of the mean label, even of labels that are chances."""
    rng = np.random.default_rng(seed)
    Y = rng.random((50, 1)) if seed % 2 else (rng.random((50, 1)) < 10.0 ** rng.uniform(-1, -0.1)) * 1.0
    weight = rng.uniform(size=50)
    problem = FiniteSum(rng.normal(size=(50, 2)), Y, LOSSES["logistic"], 0.1, weight)
    m = (weight @ Y / weight.sum())[0]
    assert problem.start.intercept[0] == pytest.approx(np.log(m / (1 - m)), rel=1e-12)
    assert problem.start.objective == pytest.approx(-m * np.log(m) - (1 - m) * np.log(1 - m), rel=1e-12)
    again = problem.at(problem.start.coef, problem.start.intercept, best=False)
    assert problem.start.objective == pytest.approx(again.objective, rel=1e-14)


def test_a_factorised_metric_keeps_no_rows(case):
    problem = case("logistic", n=800).problem("logistic")
    assert factored_metric(problem, problem.start, 4).point is None


def test_auto_forms_no_hessians_where_reads_cost_less(rng):
    """Of solutions with gaps a and b, the distance is at most sqrt(2 a / alpha) + sqrt(2 b / alpha)."""
    X = rng.normal(size=(2000, 64))
    y = X[:, 0] + rng.logistic(size=2000) > 0
    auto, newton = (SAGClassifier(solver=solver, alpha=0.01).fit(X, y) for solver in ("auto", "newton"))
    assert auto.solver_ == "lbfgs"
    assert auto.dual_gap_ <= 1e-6 * np.log(2)
    bound = np.sqrt(200 * auto.dual_gap_) + np.sqrt(200 * newton.dual_gap_)
    assert np.linalg.norm(auto.coef_ - newton.coef_) <= bound
    small = SAGClassifier().fit(X[:200, :5], y[:200])
    assert small.solver_reason_.startswith("a 5 x 5 Hessian is cheap")
    assert small.dual_gap_ <= 1e-15  # far below tol: once steps square the error, a further step costs next to nothing
    assert SAGClassifier().fit(np.tile(X[:, :6], (5, 1)), np.tile(y, 5)).solver_ == "lbfgs"  # 10 000 losses


def test_an_intercept_costs_hardly_a_read(rng, monkeypatch):
    """Without the noise of a sample of 150 rows in the centre of 300 columns."""
    monkeypatch.setattr(_lbfgs, "SAMPLE", 150)
    X, y = rng.normal(size=(1500, 300)), (rng.random((1500, 1)) < 0.5) * 1.0
    of_both = (FiniteSum(X, y, LOSSES["logistic"], 0.05, fit_intercept=free) for free in (False, True))
    without, free = (SOLVERS["lbfgs"](problem, tol=1e-8).n_iter for problem in of_both)
    assert free <= without + 1


def test_means_of_a_sample_are_nearer_when_shrunk(rng):
    """Stein (1956): with three columns or more, whatever the means; constant columns are known without a sample."""
    for size in (0.0, 0.1, 1.0):
        means = size * rng.normal(size=50)
        samples = means + rng.normal(size=(1000, 100, 50))
        found = [_shrunk(A.mean(axis=0), A.var(axis=0), 100) for A in samples]
        assert np.sum((found - means) ** 2) < np.sum((samples.mean(axis=1) - means) ** 2)
    for means in (np.zeros(9), np.full(9, 3.0)):
        np.testing.assert_allclose(_shrunk(means, np.zeros(9), 100), means, rtol=1e-9)
