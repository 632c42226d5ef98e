import ast
import pickle
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import sklearn_ltdl.linear
from sklearn_ltdl import SAGClassifier, SAGRegressor, duality_gap


@pytest.fixture
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), y, np.random.default_rng(0).uniform(0.1, 3, size=len(y))


@pytest.mark.parametrize("weighted", [False, True])
def test_alpha_of_ridge(diabetes, weighted):
    X, y, weight = diabetes
    weight = weight if weighted else np.ones(len(y))
    ours = SAGRegressor(alpha=7 / weight.sum()).fit(X, y, weight)
    theirs = Ridge(alpha=7).fit(X, y, weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-10)
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-12)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-10)


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris], ids=["two classes", "three classes"])
@pytest.mark.parametrize("weighted", [False, True])
def test_c_of_logistic_regression(load, weighted):
    X, y = load(return_X_y=True)
    X = scale(X)
    weight = np.random.default_rng(0).uniform(0.1, 3, size=len(y)) if weighted else np.ones(len(y))
    ours = SAGClassifier(alpha=1 / (0.5 * weight.sum())).fit(X, y, weight)
    theirs = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-12).fit(X, y, weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=0, atol=1e-7)
    assert np.array_equal(ours.predict(X), theirs.predict(X))


def test_outputs_are_fitted_one_by_one(diabetes):
    X, y, weight = diabetes
    Y = np.c_[y, X[:, 0] ** 2]
    both = SAGRegressor(alpha=0.1).fit(X, Y, weight)
    assert both.coef_.shape == (2, X.shape[1])
    for k in range(2):
        alone = SAGRegressor(alpha=0.1).fit(X, Y[:, k], weight)
        np.testing.assert_allclose(both.coef_[k], alone.coef_, rtol=0, atol=1e-11)
        assert both.intercept_[k] == pytest.approx(alone.intercept_)


@pytest.mark.parametrize("solver", ["auto", "sag", "saga"])
def test_string_labels_and_weight_zero(solver):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X, names = (X - X.mean()) / X.std(), np.array(["a", "b", "c"])[y]
    weight = 1.0 * (names != "b")
    model = SAGClassifier(alpha=0.1, solver=solver, random_state=0).fit(X, names, weight)
    part = SAGClassifier(alpha=0.1, solver=solver, loss="multinomial", random_state=0)
    part.fit(X[names != "b"], names[names != "b"])
    assert list(model.classes_) == ["a", "b", "c"]
    np.testing.assert_allclose(model.coef_[[0, 2]], part.coef_, rtol=0, atol=1e-12)  # the same steps, but for rounding
    assert list(model.feature_names_in_) == list(X.columns)


@pytest.mark.parametrize("model", [SAGRegressor(solver="saga", random_state=0), SAGRegressor()])
def test_pickle_joblib_and_clone_predict_the_same(diabetes, model, tmp_path):
    X, y, _ = diabetes
    fitted = clone(model).fit(X, y)
    joblib.dump(fitted, tmp_path / "model")
    for other in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "model"), clone(fitted).fit(X, y)):
        assert np.array_equal(other.predict(X), fitted.predict(X))


@pytest.mark.parametrize(("model", "load"), [(SAGRegressor(), load_diabetes), (SAGClassifier(), load_iris)])
def test_grid_search_in_two_processes(model, load):
    X, y = load(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler(), model)
    name = f"{type(model).__name__.lower()}__alpha"
    search = GridSearchCV(pipeline, {name: [1e-2, 1e2]}, n_jobs=2, error_score="raise").fit(X, y)
    assert search.best_params_ == {name: 1e-2}


@pytest.mark.parametrize("solver", ["auto", "saga"])
def test_float64_rows_are_not_copied(solver, rng):
    X = rng.normal(size=(20_000, 100))
    model = SAGRegressor(alpha=0.1, solver=solver, random_state=0).fit(X, X[:, 0])  # loads what it needs
    tracemalloc.start()
    model.fit(X, X[:, 0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 2  # a copy would take twice as much


def test_csc_and_repeated_entries_are_the_same_matrix(diabetes):
    X, y, _ = diabetes
    csr = sparse.csr_array(np.where(np.abs(X) < 1, 0, X))
    halves = sparse.csr_array((np.repeat(csr.data / 2, 2), np.repeat(csr.indices, 2), 2 * csr.indptr), shape=X.shape)
    model = SAGRegressor(alpha=0.1, solver="saga", random_state=0)
    expected = clone(model).fit(csr, y).coef_
    assert np.array_equal(clone(model).fit(sparse.csc_array(csr), y).coef_, expected)
    assert np.array_equal(clone(model).fit(halves, y).coef_, expected)
    assert halves.nnz == 2 * csr.nnz  # the caller's matrix is as it was


class Huber(NamedTuple):
    """Half the squared residual within `delta`, linear beyond it."""

    delta: float = 1.0
    smoothness = 1.0
    coupled = False

    def value(self, z, y):
        core = np.minimum(np.abs(z - y), self.delta)
        return core * (np.abs(z - y) - 0.5 * core)

    def derivative(self, z, y):
        return np.minimum(np.maximum(z - y, -self.delta), self.delta)

    def second_derivative(self, z, y):
        return 1.0 * (np.abs(z - y) <= self.delta)

    def fenchel_young(self, z, u, y):
        return self.value(z, y) + u * (0.5 * u + y - z)


@pytest.mark.parametrize("solver", ["auto", "saga"])
def test_a_loss_of_the_users_own(diabetes, solver):
    X, y, weight = diabetes
    y = (y - y.mean()) / y.std()
    model = SAGRegressor(loss=Huber(0.5), alpha=0.1, solver=solver, tol=1e-14, random_state=0).fit(X, y, weight)

    def objective(w):
        return weight @ Huber(0.5).value(X @ w[1:] + w[0], y) / weight.sum() + 0.05 * w[1:] @ w[1:]

    found = minimize(objective, np.r_[model.intercept_, model.coef_], method="Nelder-Mead", options={"maxiter": 200})
    assert objective(np.r_[model.intercept_, model.coef_]) <= found.fun + 1e-14
    assert 0 < model.dual_gap_ <= 1e-13


def test_stopping_early_warns_with_the_certified_gap(diabetes):
    X, y, _ = diabetes
    with pytest.warns(ConvergenceWarning, match=r"'sag' stopped at max_iter .* within .* raise max_iter") as record:
        model = SAGRegressor(solver="sag", max_iter=2, random_state=0).fit(X, y)
    assert f"{model.dual_gap_:.2e}" in str(record[0].message)


def test_separable_classes_without_penalty_warn():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match=r"hyperplane .* alpha=0\. Give alpha a positive value"):
        SAGClassifier(alpha=0).fit(X[:100], y[:100])
    for intercept in (True, False):  # of the three, the first class is apart, the others overlap
        with pytest.warns(ConvergenceWarning, match=r"hyperplane .* alpha=0\. Give alpha a positive value"):
            SAGClassifier(alpha=0, fit_intercept=intercept).fit(X - X.mean(axis=0), y)


def test_overlapping_classes_without_penalty_have_a_minimum(recwarn):
    X, y = load_iris(return_X_y=True)
    X = X[:, :1] + np.random.default_rng(0).normal(0, 2, (150, 1))
    model = SAGClassifier(alpha=0).fit(X, y)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), reference.predict_proba(X), atol=1e-4)
    assert not recwarn.list


@pytest.mark.parametrize("solver", ["auto", "newton", "sag", "saga"])
def test_degenerate_data_have_the_obvious_fit(solver):
    one_row = SAGRegressor(solver=solver).fit([[2.0]], [3.0])
    assert (one_row.coef_[0], one_row.intercept_) == (0, 3)
    constant = SAGRegressor(solver=solver).fit([[0.0], [1.0], [4.0]], [1e6, 1e6, 1e6])
    np.testing.assert_allclose(constant.predict([[7.0]]), 1e6, rtol=1e-14)
    empty = SAGRegressor(alpha=0, fit_intercept=False, solver=solver).fit([[0.0], [0.0]], [1.0, 2.0])
    assert empty.coef_[0] == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": -1}, r"'alpha' parameter of SAGClassifier must be a float in the range \[0.0, 1e\+300\].* Got -1"),
        ({"solver": "adam"}, r"'solver' parameter .* among .*'sag', 'saga'.* Got 'adam'"),
        ({"solver": "cholesky"}, r"solver='cholesky' is for the squared loss; use solver='newton' or 'auto'"),
        ({"max_iter": 0}, r"'max_iter' parameter .* Got 0"),
        ({"tol": -1.0}, r"'tol' parameter .* Got -1.0"),
    ],
)
def test_parameters_out_of_range(parameters, message):
    with pytest.raises(ValueError, match=message):
        SAGClassifier(**parameters).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize(
    ("X", "y", "weight", "message"),
    [
        ([[0.0], [1.0]], [1, 1], None, "one class, 1"),
        ([[0.0], [1.0]], [0, 1], [0, 1], "one class, 1, among the rows of positive weight"),
        ([[0.0], [1.0]], [0, 1], [0, 0], "(?i)sample.weight.*zero"),
        ([[0.0], [1.0]], [0, 1], [-1, 1], "(?i)negative values .*sample_weight"),
        ([[np.nan], [1.0]], [0, 1], None, "X contains NaN"),
        ([[1e200], [1.0]], [0, 1], None, "overflow; standardise"),
        ([[0.0], [1.0]], [0.1, 1.7], None, "Unknown label type: continuous"),
    ],
)
def test_bad_data(X, y, weight, message):
    with pytest.raises(ValueError, match=message):
        SAGClassifier().fit(X, y, weight)


def test_pandas_extension_types(diabetes):
    X, y, _ = diabetes
    frame = pd.DataFrame(X).astype("Float64").rename(columns=str)
    np.testing.assert_array_equal(SAGRegressor().fit(frame, pd.Series(y)).coef_, SAGRegressor().fit(X, y).coef_)


def test_a_class_without_weight_keeps_its_name_and_no_probability():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3))
    y = np.array(list("abc"))[np.argmax(X + 0.5 * rng.normal(size=X.shape), axis=1)]
    weight = np.where(y == "b", 0.0, 1.0)
    model = SAGClassifier(alpha=0.01).fit(X, y, weight)
    others = SAGClassifier(alpha=0.01, loss="multinomial").fit(X[weight > 0], y[weight > 0])
    assert model.classes_.tolist() == ["a", "b", "c"]
    probability = model.predict_proba(X[weight > 0])
    assert probability[:, 1].max() <= np.exp(-40) * (1 + 1e-13)  # equal for the lowest scores
    np.testing.assert_allclose(probability[:, [0, 2]], others.predict_proba(X[weight > 0]), atol=1e-7)
    assert model.dual_coef_.shape == (90, 3)
    assert not model.dual_coef_[:, 1].any()
    # the infimum, over all intercepts of a class without rows, is that of the others
    assert duality_gap(model, X, y, weight) == pytest.approx(model.dual_gap_, abs=1e-15)
    assert model.path(X, y, [0.01], weight).coefs[0] == pytest.approx(model.coef_, abs=1e-4)
    hinge = SAGClassifier(alpha=0.01, loss="squared_hinge").fit(X, y, weight)
    assert hinge.intercept_[1] == pytest.approx(-1.0, abs=1e-6)  # where the loss of all rows is 0


@pytest.mark.parametrize("file", sorted(Path(sklearn_ltdl.linear.__file__).parent.glob("*.py")), ids=lambda f: f.stem)
def test_only_the_class_of_an_object_sets_its_attributes(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            taken = {a.arg for a in function.args.args + function.args.kwonlyargs} - {"self"}
            stores = (n for n in ast.walk(function) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store))
            assert not {getattr(node.value, "id", None) for node in stores} & taken, function.name
    assert "setattr" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
