"""Linear models on columns far from zero, and on sparse matrices that compiled code must not follow."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_ltdl import SAGClassifier, SAGRegressor, compare_solvers, duality_gap
from sklearn_ltdl.losses import Huber, Logistic, Multinomial, SmoothHinge, SquaredHinge, best_intercept, total

LOSSES_OF_ONE_OUTPUT = [Huber(), Logistic(), SquaredHinge(), SmoothHinge()]

rng = np.random.default_rng(0)
X = np.round(64 * rng.normal(size=(24, 3))) / 64  # so that offsets of powers of two up to 2^46 are exact
Y = X[:, 0] - X[:, 1] + 0.1 * rng.normal(size=24)
LABELS = (Y > 0).astype(int)
WEIGHT = rng.uniform(0.5, 2.0, size=24)
SOLVERS = ["sag", "saga", "svrg", "sdca", "catalyst", "gd", "agd", "newton", "newton-cg", "lbfgs", "cholesky", "auto"]
FORMATS = ["csr", "csc", "coo", "bsr", "dok", "lil", "dia"]


def ridge(X, y, weight, alpha):
    """Return the coefficients and the value at the mean of the columns, in closed form."""
    share = weight / weight.sum()
    A = X - share @ X
    coef = np.linalg.solve((A.T * share) @ A + alpha * np.eye(X.shape[1]), (A.T * share) @ (y - share @ y))
    return coef, share @ y


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("power", [0, 10, 20, 30])
def test_an_offset_moves_the_intercept_and_nothing_else(solver, power):
    model = SAGRegressor(solver=solver, alpha=0.1, tol=1e-10, random_state=0).fit(X + 2.0**power, Y, WEIGHT)
    coef, value = ridge(X, Y, WEIGHT, 0.1)
    # 0.1 |w - w*|^2 / 2 is at most the gap, which is at most 1e-10 of the range of the objective; below 1
    np.testing.assert_allclose(model.coef_, coef, atol=5e-5)
    intercept = value - coef @ (np.average(X, axis=0, weights=WEIGHT) + 2.0**power)
    assert model.intercept_ == pytest.approx(intercept, abs=1e-4 * max(2.0**power, 1))
    assert duality_gap(model, X + 2.0**power, Y, WEIGHT) == pytest.approx(model.dual_gap_, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("power", [10, 20, 30])
def test_labels_and_several_outputs_are_fitted_far_from_zero(power):
    near, far = (SAGClassifier().fit(A, LABELS) for A in (X, X + 2.0**power))
    np.testing.assert_allclose(far.coef_, near.coef_, atol=1e-6)
    assert far.n_iter_ <= near.n_iter_ + 2  # no line search that rounding cannot satisfy
    lasso = [SAGRegressor(l1_ratio=1.0, alpha=0.05, tol=1e-7).fit(A, Y).coef_ for A in (X, X + 2.0**power)]
    np.testing.assert_allclose(*lasso, atol=1e-3)
    both = SAGRegressor().fit(X + 2.0**power, np.column_stack([Y, -Y]))
    np.testing.assert_allclose(both.coef_[0], -both.coef_[1], atol=1e-12)
    path = SAGRegressor().path(X + 2.0**power, Y, [1e-3, 1e-1])
    np.testing.assert_allclose(path.coefs[0], SAGRegressor().fit(X, Y).coef_, atol=1e-4)


@pytest.mark.parametrize("model", [SAGClassifier(), SAGClassifier(max_iter=20), SAGRegressor()])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("offset", [1e12, 1e14, 1e16])
def test_far_off_it_converges_or_warns(model, offset, intercept):
    y = Y if isinstance(model, SAGRegressor) else LABELS
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.set_params(fit_intercept=intercept).fit(X + offset, y)
    loss_at_zero = np.log(2) if y is LABELS else np.mean(y**2) / 2
    assert model.n_iter_ < 20
    assert model.dual_gap_ <= 1e-5 * loss_at_zero or [w for w in caught if "rounding" in str(w.message)]
    assert duality_gap(model, X + offset, y) <= model.dual_gap_ * (1 + 1e-6) + 1e-15


def test_the_table_of_the_user_is_not_written_to():
    far = X + 1e6
    SAGRegressor().fit(far, Y)
    np.testing.assert_array_equal(far, X + 1e6)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.csc_array])
@pytest.mark.parametrize(
    "solver", ["sag", "saga", "svrg", "sdca", "catalyst", "gd", "agd", "newton-cg", "lbfgs", "auto"]
)
def test_what_does_not_converge_is_kept_on_every_sparse_matrix(kind, solver):
    table = np.kron(np.eye(3), np.ones((10, 1))) * [1.0, 1.0, 1e4]  # columns of unlike scale are named
    model = SAGClassifier(solver=solver, max_iter=1, tol=1e-12, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(kind(table), np.arange(30) > 13)
    with pytest.warns(ConvergenceWarning):
        array = SAGClassifier(solver=solver, max_iter=1, tol=1e-12, random_state=0).fit(
            sparse.csr_array(table), np.arange(30) > 13
        )
    np.testing.assert_array_equal(model.coef_, array.coef_)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("of", ["array", "matrix"])
def test_every_sparse_format_gives_the_dense_solution(form, of):
    table = X * (np.abs(X) > 0.5)
    kind = getattr(sparse, f"{form}_{of}")
    dense, model = SAGRegressor(tol=1e-12).fit(table, Y), SAGRegressor(tol=1e-12).fit(kind(table), Y)
    np.testing.assert_allclose(model.coef_, dense.coef_, atol=1e-8)
    np.testing.assert_allclose(model.predict(kind(table)), dense.predict(table), atol=1e-8)
    assert duality_gap(model, kind(table), Y) <= 1e-10
    paths = [model.path(A, Y, [1e-2, 1.0]).coefs for A in (table, kind(table))]
    np.testing.assert_allclose(*paths, atol=1e-3)


def uses(matrix):
    """Return the ways in which a matrix reaches compiled code."""
    fitted = SAGRegressor().fit(X, Y)
    yield lambda: SAGRegressor().fit(matrix, Y)
    yield lambda: SAGClassifier(solver="saga").fit(matrix, LABELS)
    yield lambda: SAGRegressor(solver="sgd").partial_fit(matrix, Y)
    yield lambda: SAGRegressor().path(matrix, Y, [0.1])
    yield lambda: fitted.predict(matrix)
    yield lambda: duality_gap(fitted, matrix, Y)
    yield lambda: compare_solvers(matrix, Y, solvers=["gd"])


def broken(form, where, value):
    matrix = getattr(sparse, form)(X)
    array = matrix.coords[1] if "coo" in form else getattr(matrix, where)
    array[3] = value
    return matrix


@pytest.mark.parametrize("form", ["csr_matrix", "csr_array", "csc_matrix", "csc_array", "coo_array", "bsr_array"])
@pytest.mark.parametrize(("where", "value"), [("indices", 77), ("indices", -1), ("indices", 10**8), ("indptr", 10**6)])
def test_a_malformed_matrix_is_refused_by_name(form, where, value):
    if where == "indptr" and "coo" in form:
        pytest.skip("a list of coordinates has no pointers")
    for use in uses(broken(form, where, value)):
        with pytest.raises(ValueError, match=r"X is a sparse matrix in .* indices do not fit its shape"):
            use()


@given(
    st.lists(st.integers(-5, 8), min_size=0, max_size=12),
    st.lists(st.integers(-3, 14), min_size=7, max_size=7),
    st.sampled_from([np.int32, np.int64]),
)
def test_any_structure_is_solved_or_refused(indices, indptr, kind):
    matrix = sparse.csr_array((6, 3))
    matrix.indices, matrix.indptr = np.array(indices, kind), np.array(indptr, kind)
    matrix.data = np.ones(len(indices))
    try:
        model = SAGRegressor().fit(matrix, Y[:6])
    except ValueError as error:
        assert "X" in str(error)  # noqa: PT017
    else:
        assert np.all(np.isfinite(model.coef_))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a penalty of 1e-300 certifies nothing
@pytest.mark.parametrize("setting", [{"tol": 1e300}, {"tol": 10**18}, {"max_iter": 2**31 - 1}, {"alpha": 1e-300}])
def test_extreme_settings_work(setting):
    assert np.all(np.isfinite(SAGRegressor(**setting).fit(X, Y).predict(X)))
    assert np.all(np.isfinite(SAGRegressor(solver="saga", **setting).fit(X, Y).predict(X)))


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "sag"])
@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinity"), (1e200, "products overflow")])
def test_a_number_that_is_not_finite_is_refused_wherever_it_is(solver, layout, value, message):
    for row, column in ((0, 0), (len(X) - 1, X.shape[1])):
        table = np.column_stack([X, np.ones(len(X))])  # the last column is constant
        table[row, column] = value
        for weight in (None, WEIGHT, 1.0 * (np.arange(len(X)) != row)):
            if weight is not None and weight[row] == 0 and value == 1e200:
                continue  # a row without weight is checked and left out
            with pytest.raises(ValueError, match=message):
                SAGRegressor(solver=solver).fit(layout(table), Y, weight)
            with pytest.raises(ValueError, match=message):
                SAGClassifier(solver=solver).fit(layout(table), LABELS, weight)


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "auto"])
@pytest.mark.parametrize("seed", [14, 43, 45, 50, 96, 169, 193])
def test_classes_of_next_to_no_weight_take_few_steps(monkeypatch, seed, solver):
    """Their scores are 200 below those of others: few evaluations of the loss find the intercept, and exactly."""
    rng, evaluations = np.random.default_rng(seed), []
    n, p, k = (int(rng.integers(*ends)) for ends in ((4, 60), (1, 8), (2, 5)))
    X, labels = rng.normal(size=(n, p)) * 10.0 ** rng.uniform(-3, 3, p), rng.integers(k, size=n)
    value = Multinomial.value

    def counted(self, z, y):
        evaluations.append(z)
        return value(self, z, y)

    monkeypatch.setattr(Multinomial, "value", counted)
    weight = 10.0 ** rng.uniform(-90, 90, n)
    model = SAGClassifier(alpha=1e-3, solver=solver).fit(X, labels, weight)
    assert len(evaluations) < 2000  # a tenth of a second; they were a million
    assert model.dual_gap_ < 1e-6  # as nothing but rounding is left, of a loss of about 1 for equal scores


@pytest.mark.parametrize("loss", LOSSES_OF_ONE_OUTPUT, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_best_intercept_balances_the_slopes(rng, loss, scale):
    scores = scale * rng.standard_normal((50, 2))
    y = rng.integers(2, size=(50, 2)).astype(float) if loss.of_labels else scale * rng.standard_normal((50, 2))
    share = 10.0 ** rng.uniform(-8, 0, 50)
    share /= share.sum()
    best = best_intercept(loss, scores, y, share, np.zeros(2))
    value = total(loss, scores + best, y, share)
    for shift in scale * np.array([-1.0, -1e-3, 1e-3, 1.0]):
        assert total(loss, scores + best + shift, y, share) >= value * (1 - 1e-12)


@pytest.mark.parametrize("seed", [34, 41, 43, 48, 82, 103, 129, 479])
def test_a_fit_with_nothing_but_rounding_to_gain_has_converged(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 40))
    X, y = np.tile(10.0 ** rng.uniform(-5, 5, 2), (n, 1)), 10.0 ** rng.uniform(0, 6) * rng.normal(size=n)
    model = SAGRegressor(loss="huber", alpha=10.0 ** rng.uniform(-8, 3), l1_ratio=0.5, solver="cd")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X, y, rng.uniform(0.1, 3, n))  # both columns are constant: the intercept is all there is to fit
    assert not model.coef_.any()
