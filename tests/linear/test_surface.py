"""What the estimators offer around a fit: warm starts, paths, batches, callbacks, comparison; answers to bad data."""

import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, HuberRegressor, Lasso, LogisticRegression
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVC

from sklearn_ltdl import (
    ConvergenceDisplay,
    SAGClassifier,
    SAGRegressor,
    alpha_from_c,
    alpha_from_ridge,
    compare_solvers,
    duality_gap,
)
from sklearn_ltdl.linear import _compare
from sklearn_ltdl.linear._hessians import curvatures, hessian_diagonal
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.losses import Huber, Logistic, SmoothHinge, Squared

STATEFUL = ["sag", "saga", "svrg", "sdca", "catalyst", "sgd", "asgd", "gd", "agd"]
CERTIFIED = ["sag", "saga", "svrg", "sdca", "catalyst", "gd", "agd", "newton", "newton-cg", "lbfgs", "auto"]


@pytest.fixture
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), y / y.std(), np.random.default_rng(0).uniform(0.1, 3, size=len(y))


def unconverged(model, *data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data)


# Warm starts, weights, seeds


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("solver", STATEFUL)
def test_two_fits_of_k_epochs_are_one_of_2k(diabetes, solver, layout):
    X, y, weight = diabetes
    X = layout(np.where(np.abs(X) < 0.7, 0, X))
    options = {"solver": solver, "alpha": 0.01, "tol": 0, "random_state": 0, "warm_start": True}
    twice = unconverged(unconverged(SAGRegressor(max_iter=4, **options), X, y, weight), X, y, weight)
    once = unconverged(SAGRegressor(max_iter=8, **options), X, y, weight)
    np.testing.assert_allclose(twice.coef_, once.coef_, rtol=0, atol=1e-11)  # sums are made anew: rounding
    assert twice.intercept_ == pytest.approx(once.intercept_, abs=1e-11)


def test_a_warm_start_survives_a_pickle_and_other_rows(diabetes):
    X, y, _ = diabetes
    model = unconverged(SAGRegressor(solver="saga", warm_start=True, max_iter=3, tol=0, random_state=0), X, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(unconverged(copy, X, y).coef_, unconverged(model, X, y).coef_)
    model.set_params(max_iter=1000, tol=1e-10).fit(X[:300], y[:300])  # a table of other rows is not taken for theirs
    fresh = SAGRegressor(tol=1e-10).fit(X[:300], y[:300])
    np.testing.assert_allclose(model.coef_, fresh.coef_, rtol=0, atol=1e-4)
    model.fit(X[:300], -y[:300])  # other targets, the same shape
    np.testing.assert_allclose(model.coef_, -fresh.coef_, rtol=0, atol=1e-4)


@pytest.mark.parametrize("solver", [*CERTIFIED, "sgd", "asgd"])
def test_a_warm_start_on_another_problem_starts_from_the_coefficients(diabetes, solver):
    X, y, weight = diabetes
    labels = (y > np.median(y)).astype(int)
    options = {"solver": solver, "alpha": 0.1, "tol": 1e-8, "max_iter": 300, "random_state": 0}
    others = [
        ({"fit_intercept": False}, X + 1, labels, None),  # the intercept must go
        ({"alpha": 1.0}, X, labels, None),
        ({}, X, 1 - labels, None),
        ({}, X, labels, weight),
        ({}, X[::-1], labels, None),
        ({"loss": "squared_hinge"}, X, labels, None),
    ]
    for changed, *data in others:
        model = SAGClassifier(warm_start=True, **options)
        unconverged(unconverged(model, X, labels).set_params(**changed), *data)
        fresh = unconverged(SAGClassifier(**{**options, **changed}), *data)
        # as good as a fresh fit, but for the seed's luck: an average over those of another is 1000 times worse
        assert duality_gap(model, *data) <= max(1e-8, 30 * fresh.dual_gap_)
        assert changed.get("fit_intercept", True) or model.intercept_ == 0


def test_a_fit_that_failed_leaves_the_last_one(diabetes):
    X, y, _ = diabetes
    model = SAGRegressor(solver="saga", alpha=0.1, warm_start=True, random_state=0).fit(X, y)
    coef, copy = model.coef_.copy(), pickle.loads(pickle.dumps(model))
    with pytest.raises(ValueError, match="is too large"):
        model.set_params(step_size=5).fit(X, y)
    np.testing.assert_array_equal(model.coef_, coef)
    np.testing.assert_array_equal(model.set_params(step_size=None).fit(X, y).coef_, copy.fit(X, y).coef_)
    labels = SAGClassifier(solver="saga", alpha=0.1, random_state=0).fit(X, y > 2)
    with pytest.raises(ValueError, match="is too large"):
        labels.set_params(step_size=5).fit(X, np.arange(len(y)) % 3)
    np.testing.assert_array_equal(labels.classes_, [False, True])


@pytest.mark.parametrize("solver", CERTIFIED)
def test_uneven_weights_agree_with_cholesky(solver, diabetes):
    X, y, _ = diabetes
    weight = np.where(np.arange(len(y)) % 20 == 7, 50.0, 0.1)
    exact = SAGRegressor(solver="cholesky", alpha=0.1).fit(X, y, weight)
    model = SAGRegressor(solver=solver, alpha=0.1, tol=1e-17, max_iter=5000, random_state=0)
    np.testing.assert_allclose(unconverged(model, X, y, weight).coef_, exact.coef_, rtol=0, atol=1e-8)


@pytest.mark.parametrize("solver", CERTIFIED)
def test_uneven_weights_agree_with_the_logistic_regression_of_scikit_learn(solver):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    weight = np.where(np.arange(len(y)) % 20 == 7, 50.0, 0.1)
    theirs = LogisticRegression(C=1 / (0.1 * weight.sum()), solver="newton-cholesky", tol=1e-13).fit(X, y, weight)
    model = SAGClassifier(solver=solver, alpha=0.1, tol=1e-17, max_iter=5000, random_state=0)
    np.testing.assert_allclose(unconverged(model, X, y, weight).coef_, theirs.coef_, rtol=0, atol=1e-8)


@pytest.mark.parametrize("solver", ["sdca", "catalyst", "newton-cg", "lbfgs", "agd"])
def test_integer_weights_are_repeated_rows(diabetes, solver):
    X, y, _ = diabetes
    times = np.arange(len(y)) % 4
    model = SAGRegressor(solver=solver, loss="huber", alpha=0.1, tol=0, max_iter=400, random_state=0)
    a = unconverged(clone(model), X, y, times)
    b = unconverged(clone(model), np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(a.coef_, b.coef_, rtol=0, atol=1e-9)


@pytest.mark.parametrize("solver", ["svrg", "sdca", "catalyst", "sgd", "asgd"])
def test_the_seed_decides_the_bits(diabetes, solver):
    X, y, _ = diabetes
    model = SAGRegressor(solver=solver, max_iter=2, tol=0)
    first, same, other = (unconverged(clone(model).set_params(random_state=s), X, y).coef_ for s in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_a_refit_forgets(diabetes):
    X, y, _ = diabetes
    model = unconverged(SAGRegressor(solver="sag", random_state=0, max_iter=5), X, y)
    again, fresh = unconverged(model, 100 * X, y).coef_, unconverged(clone(model), 100 * X, y).coef_
    np.testing.assert_array_equal(again, fresh)


# Certificates of fits, and other packages


@pytest.mark.parametrize("solver", ["auto", "sag", "sdca", "newton-cg", "lbfgs"])
def test_the_gap_of_a_fit_is_that_from_scratch_and_its_dual_gives_the_coefficients(diabetes, solver):
    X, y, weight = diabetes
    weight = np.where(np.arange(len(y)) % 9 == 0, 0, weight)
    model = SAGRegressor(solver=solver, alpha=0.1, tol=1e-8, random_state=0).fit(X, y, weight)
    assert duality_gap(model, X, y, weight) == pytest.approx(model.dual_gap_, rel=1e-4, abs=1e-15)
    assert model.dual_gap_ == model.trace_.gap[-1] <= 1e-8
    share = weight / weight.sum()
    assert abs(share @ model.dual_coef_) <= 1e-15
    gradient = 0.1 * model.coef_ + X.T @ (share * model.dual_coef_)
    assert gradient @ gradient / 0.2 <= model.dual_gap_ * (1 + 1e-9) + 1e-18  # what the ridge penalty adds to the gap
    model.coef_ = model.coef_ + 0.1
    moved = model.predict(X) - y
    objective = 0.5 * share @ moved**2 + 0.05 * model.coef_ @ model.coef_
    assert duality_gap(model, X, y, weight) >= objective - model.trace_.primal[-1]


def test_a_gap_knows_of_an_intercept_that_is_off(diabetes):
    X, y, _ = diabetes  # its columns have mean zero, so that the gradient in the coefficients does not feel a shift
    model = SAGRegressor(alpha=0.1).fit(X, y)
    model.intercept_ += 1
    assert duality_gap(model, X, y) >= 0.5 - 1e-12  # half the square of the shift


def test_losses_and_penalties_of_other_packages(diabetes):
    X, y, _ = diabetes
    n = len(y)
    options = {"tol": 1e-12, "max_iter": 10_000, "random_state": 0}
    lasso = Lasso(alpha=0.05, tol=1e-12, max_iter=10**5).fit(X, y)
    ours = SAGRegressor(alpha=0.05, l1_ratio=1.0, **options).fit(X, y)
    np.testing.assert_allclose(ours.coef_, lasso.coef_, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ours.coef_ == 0, lasso.coef_ == 0)
    net = ElasticNet(alpha=0.05, l1_ratio=0.3, tol=1e-12, max_iter=10**5).fit(X, y)
    ours = SAGRegressor(alpha=0.05, l1_ratio=0.3, **options).fit(X, y)
    np.testing.assert_allclose(ours.coef_, net.coef_, rtol=0, atol=3e-6)  # of objectives 1e-12 apart
    assert alpha_from_ridge(7, n) == 7 / n
    labels = y > np.median(y)
    svc = LinearSVC(C=0.01, intercept_scaling=1e4, tol=1e-12, max_iter=10**6, fit_intercept=False).fit(X, labels)
    ours = SAGClassifier(loss="squared_hinge", alpha=alpha_from_c(0.01, n), fit_intercept=False).fit(X, labels)
    np.testing.assert_allclose(ours.coef_, svc.coef_, rtol=0, atol=1e-6)
    assert not hasattr(ours, "predict_proba")


def test_huber_is_that_of_scikit_learn_at_its_scale(diabetes):
    X, y, _ = diabetes
    y = y + 10 * (np.arange(len(y)) % 25 == 0)
    theirs = HuberRegressor(epsilon=1.35, alpha=1e-3, tol=1e-9, max_iter=10_000).fit(X, y)
    # at their scale s they minimise sum s h((y - f) / s) + alpha |w|^2, with h = r^2 up to epsilon
    s = theirs.scale_
    ours = SAGRegressor(loss=Huber(1.35 * s), alpha=1e-3 * s / len(y), tol=1e-12).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-3)


def test_smooth_hinge_of_any_width_and_one_against_the_rest():
    X, y = load_iris(return_X_y=True)
    X = scale(X)
    three = SAGClassifier(loss=SmoothHinge(0.5), alpha=0.01, tol=1e-12).fit(X, y)
    for k in range(3):
        alone = SAGClassifier(loss=SmoothHinge(0.5), alpha=0.01, tol=1e-12).fit(X, y == k)
        np.testing.assert_allclose(three.coef_[k], alone.coef_[0], rtol=0, atol=1e-8)
    assert three.score(X, y) > 0.85


def test_two_scores_of_two_classes_are_one_at_twice_the_penalty():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    both = SAGClassifier(loss="multinomial", alpha=0.02, tol=1e-12).fit(X, y)
    one = SAGClassifier(alpha=0.01, tol=1e-12).fit(X, y)
    assert both.coef_.shape == (2, X.shape[1])
    np.testing.assert_allclose(both.coef_[1] - both.coef_[0], one.coef_[0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(both.predict_proba(X), one.predict_proba(X), rtol=0, atol=1e-8)
    np.testing.assert_array_equal(both.predict(X), one.predict(X))


def test_class_weights_are_those_of_scikit_learn():
    X, y = load_breast_cancer(return_X_y=True)
    X, weight = scale(X), np.random.default_rng(0).integers(1, 4, size=len(y)).astype(float)
    for class_weight in ("balanced", {0: 3.0, 1: 0.5}):
        ours = SAGClassifier(alpha=0.01, class_weight=class_weight).fit(X, y, weight)
        repeated = SAGClassifier(alpha=0.01, class_weight=class_weight)
        repeated.fit(np.repeat(X, weight.astype(int), axis=0), np.repeat(y, weight.astype(int)))
        np.testing.assert_allclose(ours.coef_, repeated.coef_, rtol=0, atol=1e-8)
    total = (weight * np.where(y == 0, 3.0, 0.5)).sum()
    theirs = LogisticRegression(
        C=1 / (0.01 * total), class_weight={0: 3.0, 1: 0.5}, tol=1e-12, solver="newton-cholesky"
    )
    np.testing.assert_allclose(ours.coef_, theirs.fit(X, y, weight).coef_, rtol=0, atol=1e-7)


def test_a_path_is_a_fit_of_each_alpha(diabetes):
    X, y, weight = diabetes
    alphas = [0.01, 1.0, 0.1]
    for model, Y in ((SAGRegressor(solver="saga", tol=1e-9, random_state=0), y), (SAGClassifier(tol=1e-9), y > 2)):
        path = model.path(X, Y, alphas, weight)
        assert vars(model) == vars(clone(model))  # nothing was written to it
        for alpha, coef, gap in zip(alphas, path.coefs, path.dual_gaps):
            alone = clone(model).set_params(alpha=alpha, tol=1e-14, solver="newton").fit(X, Y, weight)
            assert np.sum((coef - alone.coef_) ** 2) * alpha / 2 <= gap  # strong convexity
            assert gap <= 1e-9
    with pytest.raises(ValueError, match="alphas must be a list of finite numbers of at least 0"):
        SAGRegressor().path(X, y, [-1.0])


# Batches


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("solver", ["sgd", "asgd"])
def test_batches_are_one_pass(diabetes, solver, layout):
    X, y, _ = diabetes
    X = np.where(np.abs(X) < 0.7, 0, X)
    together, apart = (SAGRegressor(solver=solver, alpha=0.1, step_size=0.01) for _ in range(2))
    together.partial_fit(layout(X), y)
    for rows in np.array_split(np.arange(len(y)), 7):
        apart.partial_fit(layout(X[rows]), y[rows])
    np.testing.assert_allclose(apart.coef_, together.coef_, rtol=0, atol=1e-12)
    w, b, mean, mean_b = np.zeros(X.shape[1]), 0.0, np.zeros(X.shape[1]), 0.0
    for t, (x, target) in enumerate(zip(X, y), 1):  # the recursion of the paper
        residual = x @ w + b - target
        w, b = w - 0.01 * (residual * x + 0.1 * w), b - 0.01 * residual
        mean, mean_b = mean + (w - mean) / t, mean_b + (b - mean_b) / t
    np.testing.assert_allclose(together.coef_, w if solver == "sgd" else mean, rtol=0, atol=1e-12)
    assert together.intercept_ == pytest.approx(b if solver == "sgd" else mean_b, abs=1e-12)


def test_batches_of_another_number_of_outputs_are_refused(diabetes):
    X, y, _ = diabetes
    model = SAGRegressor(solver="sgd").partial_fit(X, y)
    with pytest.raises(ValueError, match="y has 2 outputs, but the last call had 1; call fit"):
        model.partial_fit(X, np.c_[y, y])


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("solver", ["sgd", "asgd"])
def test_batches_with_a_step_that_is_too_large_are_an_error_and_change_nothing(diabetes, solver, layout):
    X, y, _ = diabetes
    model = SAGRegressor(solver=solver, alpha=0.1, step_size=1.0).partial_fit(layout(X[:5]), y[:5])
    before = pickle.dumps(vars(model))
    with pytest.raises(ValueError, match=r"step_size=1 is too large for solver='s?a?s?gd': .* safe step is 0.0"):
        model.partial_fit(layout(np.tile(X, (3, 1))), np.tile(y, 3))
    assert pickle.dumps(vars(model)) == before
    for step in (10, 11):  # at 10 a step forgets all of the coefficients
        with pytest.raises(ValueError, match=rf"step_size={step} is too large .*must be positive.* safe step is 0.0"):
            SAGRegressor(solver=solver, alpha=0.1, step_size=step).partial_fit(layout(X), y)


def test_a_warm_fit_goes_on_from_batches(diabetes):
    X, y, _ = diabetes
    model = SAGRegressor(solver="sgd", alpha=0.1, warm_start=True, max_iter=1, random_state=0).partial_fit(X, y)
    before = duality_gap(model, X, y)
    assert unconverged(model, X, y).trace_.gap[0] == pytest.approx(before, rel=0.5)  # with the best intercept


def test_batches_of_labels():
    X, y = load_iris(return_X_y=True)
    X = scale(X)
    model = SAGClassifier(solver="asgd", alpha=1e-3)
    with pytest.raises(ValueError, match="first call of partial_fit needs classes"):
        model.partial_fit(X[:10], y[:10])
    order = np.random.default_rng(0).permutation(np.tile(np.arange(150), 100))
    for rows in np.array_split(order, 50):
        model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    assert model.score(X, y) > 0.94
    assert not hasattr(model, "dual_gap_")
    with pytest.raises(ValueError, match=r"classes \[7\], which are not among \[0, 1, 2\]"):
        model.partial_fit(X[:2], [0, 7])
    assert not hasattr(SAGClassifier(solver="saga"), "partial_fit")


# Callbacks and comparison


def test_callbacks_hear_of_each_epoch_and_stop(diabetes):
    pytest.importorskip("sklearn.callback")
    X, y, _ = diabetes

    class Watch:
        def __init__(self, stop_at):
            self.stop_at, self.scores, self.blocks = stop_at, [], 0

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            self.blocks += 1
            self.scores.append(fitted_estimator.score(X, y))
            return self.blocks >= self.stop_at

    watch = Watch(3)
    model = SAGRegressor(solver="saga", tol=0, random_state=0).set_callbacks(watch).fit(X, y)  # it does not warn
    assert (model.n_iter_, watch.blocks) == (3, 4)  # three epochs and the whole
    assert watch.scores[2] == pytest.approx(model.score(X, y), abs=1e-3)  # but for the best intercept
    plain = unconverged(SAGRegressor(solver="saga", tol=0, max_iter=3, random_state=0), X, y)
    np.testing.assert_array_equal(model.coef_, plain.coef_)


@pytest.fixture
def agg():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def test_solvers_are_compared_from_their_certificates(diabetes, agg):
    X, y, _ = diabetes
    solvers = ["sgd", "gd", "sag", "catalyst"]
    frame, display = compare_solvers(
        X, y, estimator=SAGRegressor(alpha=0.01), solvers=solvers, max_iter=20, random_state=0
    )
    assert np.all(frame["gap"] >= frame["suboptimality"] - 1e-15)
    assert np.all(frame["suboptimality"] >= 0)
    assert frame["solver"].unique().tolist() == solvers
    last = frame.groupby("solver")["suboptimality"].last()
    assert max(last["sag"], last["catalyst"]) < last["sgd"]
    values = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2 / len(y)
    exact = SAGRegressor(alpha=0.01).fit(X, y)
    noise = np.mean((y - exact.predict(X)) ** 2)
    level = np.sum(values / (values + 0.01)) * noise / (2 * len(y))
    assert display.statistical_error == pytest.approx(level, rel=1e-9)
    display.plot()
    assert list(display.lines_) == solvers
    height = display.lines_["sag"][0].get_ydata()
    np.testing.assert_allclose(height, frame.query("solver == 'sag'")["suboptimality"] / display.scale, atol=1e-16)
    drawn = ConvergenceDisplay.from_data(X, y > 2, solvers=["saga"], max_iter=3, random_state=0)
    assert drawn.statistical_error is None
    with pytest.raises(ValueError, match=r"solvers must be a list of some of .*got \['adam'\]"):
        compare_solvers(X, y, solvers=["adam"])


def test_the_effective_dimension_is_estimated_where_it_is_large(monkeypatch, rng):
    X = rng.normal(size=(400, 60)) * np.arange(1, 61) ** -0.5 + 3
    problem = FiniteSum(X, np.ones((400, 1)), Squared(), 0.05)
    exact = _compare.effective_dimension(problem)
    monkeypatch.setattr(_compare, "DENSE_SIDE", 10)
    monkeypatch.setattr(_compare, "PROBES", 200)
    assert _compare.effective_dimension(problem) == pytest.approx(exact, rel=0.05)


def test_the_statistical_error_is_that_of_repeated_experiments(rng):
    X, w = rng.normal(size=(200, 10)), rng.normal(size=10)
    errors, levels = [], []
    for _ in range(300):
        y = X @ w + rng.normal(size=200)
        _, display = compare_solvers(
            X, y, estimator=SAGRegressor(alpha=1e-8, fit_intercept=False), solvers=["newton"], random_state=0
        )
        fitted = np.linalg.lstsq(X, y, rcond=None)[0]
        errors.append(0.5 * np.mean((X @ (fitted - w)) ** 2))
        levels.append(display.statistical_error)
    assert np.mean(levels) == pytest.approx(np.mean(errors), rel=0.15)  # residuals are a little smaller than the noise


# Bad data


@pytest.mark.parametrize("solver", ["sag", "saga", "svrg", "gd", "agd", "sgd", "asgd"])
def test_a_step_that_is_too_large_is_an_error_with_the_safe_one(diabetes, solver):
    X, y, _ = diabetes
    safe = SAGRegressor(solver=solver, alpha=0.1, random_state=0, sampling="uniform")  # no blocks of rows
    step = unconverged(safe.set_params(max_iter=5), X, y).step_size_
    with pytest.raises(ValueError, match=rf"step_size={1e4 * step:g} is too large .* safe step is {step:.3g}"):
        SAGRegressor(solver=solver, alpha=0.1, step_size=1e4 * step, random_state=0, sampling="uniform").fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "newton", "step_size": 0.1}, "solver='newton' has no step to choose; leave step_size=None"),
        ({"solver": "sdca", "sampling": "lipschitz"}, "solver='sdca' does not draw rows; leave sampling='auto'"),
        ({"solver": "sdca", "alpha": 0}, "solver='sdca' needs alpha > 0.*use solver='catalyst' or 'auto'"),
        ({"l1_ratio": 1.5}, r"'l1_ratio' parameter .* range \[0.0, 1.0\].* Got 1.5"),
        ({"loss": Logistic()}, r"loss=Logistic\(\) is for y between 0 and 1; got values from .* Use SAGClassifier"),
        ({"loss": "hinge"}, "'loss' parameter of SAGRegressor must be .*'huber'"),
    ],
)
def test_parameters_that_do_not_fit(diabetes, parameters, message):
    with pytest.raises(ValueError, match=message):
        SAGRegressor(**parameters).fit(*diabetes[:2])


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan, np.inf])
def test_losses_without_a_width_are_refused(diabetes, width):
    X, y, _ = diabetes
    with pytest.raises(ValueError, match=r"loss=Huber\(delta=.*\) needs a positive, finite delta"):
        SAGRegressor(loss=Huber(width)).fit(X, y)
    with pytest.raises(ValueError, match=r"loss=SmoothHinge\(gamma=.*\) needs a positive, finite gamma"):
        SAGClassifier(loss=SmoothHinge(width)).fit(X, y > 2)
    with pytest.raises(ValueError, match=r"class_weight has .*; expected a positive, finite number"):
        SAGClassifier(class_weight={False: width, True: 1.0}).fit(X, y > 2)


def test_floats_are_compared_as_numbers_and_whole_numbers_as_labels(diabetes):
    X, y, _ = diabetes
    for target, loss in ((np.round(3 * y), np.var(np.round(3 * y)) / 2), ((y > 2).astype(int), None)):
        share = np.mean(target == 1)
        entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
        assert compare_solvers(X, target, solvers=["saga"], max_iter=1)[0]["primal"][0] == pytest.approx(
            loss or entropy
        )


def test_comparisons_of_nothing_are_refused(diabetes):
    X, y, _ = diabetes
    for data, options, message in (
        ((X, np.full(len(y), 1.5)), {}, "nothing to compare"),
        ((X, y), {"solvers": []}, "solvers must be a list of .* got none"),
        ((X, y), {"max_iter": 0}, "max_iter must be a whole number above 0; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            compare_solvers(*data, **options)
    frame, _ = compare_solvers(X, y, estimator=SAGRegressor(alpha=0.1, l1_ratio=0.5), max_iter=2, random_state=0)
    assert list(frame["solver"].unique()) == ["gd", "agd", "saga", "svrg"]  # those that minimise an l1 norm
    assert np.all(frame["gap"] >= frame["suboptimality"] - 1e-14)


@pytest.mark.parametrize("factor", [1e-200, 1e-130, 1e130, 1e200])
def test_numbers_whose_squares_vanish_or_overflow_are_refused(diabetes, factor):
    X, y, _ = diabetes
    for data in ((X, factor * y), (sparse.csr_array(factor * X), y)):
        with pytest.raises(
            ValueError, match=r"(slopes vanish|slopes overflow|products overflow|squares vanish|squares overflow)"
        ):
            SAGRegressor(solver="saga").fit(*data)


@pytest.mark.parametrize("factor", [1e-100, 1e-8, 1e8, 1e50])
def test_the_squared_loss_is_equivariant_in_the_scale_of_the_target(diabetes, factor):
    X, y, _ = diabetes
    for solver in ("auto", "saga", "newton-cg", "lbfgs"):
        options = {"solver": solver, "alpha": 0.1, "random_state": 0}
        coef = SAGRegressor(**options).fit(X, y).coef_
        np.testing.assert_allclose(SAGRegressor(**options).fit(X, factor * y).coef_, factor * coef, rtol=1e-3)


@pytest.mark.parametrize("solver", ["auto", "saga", "catalyst", "agd", "newton-cg", "lbfgs"])
def test_alpha_zero_has_no_certified_gap_and_the_least_squares_solution(diabetes, solver):
    X, y, _ = diabetes
    model = SAGRegressor(alpha=0, solver=solver, tol=1e-7, max_iter=20_000, random_state=0).fit(X, y)
    assert model.dual_gap_ == np.inf
    expected = np.linalg.lstsq(X, y - y.mean(), rcond=None)[0]
    np.testing.assert_allclose(model.coef_, expected, rtol=0, atol=1e-3)  # a relative gradient of 1e-7, condition 500


@pytest.mark.parametrize("solver", ["auto", "sag", "svrg", "catalyst", "agd", "newton-cg", "lbfgs"])
def test_constant_and_empty_columns_and_rows_change_nothing(diabetes, solver):
    X, y, _ = diabetes
    X = np.where(np.abs(X) < 0.7, 0, X)
    X[5] = 0
    more = np.c_[X, np.zeros(len(y)), np.full(len(y), 3.0)]
    options = {"solver": solver, "alpha": 0.1, "tol": 1e-12, "max_iter": 5000, "random_state": 0}
    expected = SAGRegressor(alpha=0.1).fit(X, y).coef_
    for layout in (np.asarray, sparse.csr_array, sparse.csr_matrix):
        coef = SAGRegressor(**options).fit(layout(more), y).coef_
        np.testing.assert_allclose(coef[:-2], expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(coef[-2:], 0, rtol=0, atol=1e-5)


def test_unsorted_indices_int64_indices_and_float32_are_the_same_table(diabetes):
    X, y, _ = diabetes
    X = np.where(np.abs(X) < 1, 0, X).astype(np.float32).astype(float)
    csr = sparse.csr_array(X)
    flipped = csr.copy()
    for a, b in zip(csr.indptr[:-1], csr.indptr[1:]):
        flipped.indices[a:b], flipped.data[a:b] = csr.indices[a:b][::-1], csr.data[a:b][::-1]
    flipped.has_sorted_indices = flipped.has_canonical_format = False
    long = sparse.csr_array((csr.data, csr.indices.astype(np.int64), csr.indptr.astype(np.int64)), csr.shape)
    model = SAGRegressor(alpha=0.1, solver="saga", random_state=0)
    expected = clone(model).fit(csr, y).coef_
    for other in (flipped, long, csr.astype(np.float32)):
        np.testing.assert_array_equal(clone(model).fit(other, y).coef_, expected)


def test_large_sparse_rows_are_the_same_in_any_order_and_with_repeated_entries(rng):
    n, p, k = 20_000, 500, 60
    columns, indptr = rng.integers(p, size=n * k, dtype=np.int32), np.arange(n + 1, dtype=np.int32) * k
    X = sparse.csr_array((rng.normal(size=n * k), columns, indptr), (n, p))  # about 3 entries of a row are repeated
    whole = X.copy()
    whole.sum_duplicates()
    mirrored = sparse.csr_array((whole.data, p - 1 - whole.indices, whole.indptr), (n, p))  # rows in falling order
    y = whole @ rng.normal(size=p)
    expected = SAGRegressor(alpha=0.1, tol=1e-10).fit(whole, y)
    assert expected.n_iter_ == 1  # conjugate gradients foresee the range, so that one Newton step is enough
    for other, order in ((X, 1), (mirrored, -1), (X.tocsc(), 1)):
        before = other.indices.copy()
        model = SAGRegressor(alpha=0.1, tol=1e-10).fit(other, y)
        np.testing.assert_allclose(model.coef_[::order], expected.coef_, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(other.indices, before)


def test_the_diagonal_of_a_large_sparse_hessian_is_that_of_its_squares(rng):
    X = sparse.random_array((3000, 800), density=0.5, format="csr", rng=rng)
    problem = FiniteSum(X, rng.integers(2, size=(3000, 2)).astype(float), Logistic(), 0.1)
    point = problem.at(rng.normal(size=(2, 800)))
    expected = curvatures(point).T @ X.toarray() ** 2 + 0.1
    np.testing.assert_allclose(hessian_diagonal(point), expected, rtol=1e-10)


def test_columns_of_different_scales_are_named(diabetes):
    X, y, _ = diabetes
    X = X * np.logspace(0, 8, X.shape[1])
    with pytest.warns(ConvergenceWarning, match=r"columns of X differ in scale, from 1.0e\+00 \(0\) to 1.0e\+08 \(9\)"):
        SAGRegressor(solver="saga", max_iter=5, random_state=0).fit(X, y)
    model = SAGRegressor(alpha=0.1).fit(X, y)  # 'auto' does not need to warn
    assert model.dual_gap_ <= 1e-6


def test_a_csr_table_is_never_densified(rng):
    n, p, k = 20_000, 20_000, 57
    X = sparse.csr_array(
        (rng.normal(size=n * k), rng.integers(p, size=n * k, dtype=np.int32), np.arange(n + 1, dtype=np.int32) * k),
        (n, p),
    )
    X.sum_duplicates()
    y = X @ rng.normal(size=p)
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    for solver in ("auto", "saga", "catalyst"):
        model = unconverged(SAGRegressor(solver=solver, alpha=0.1, random_state=0, max_iter=5), X, y)  # compiles
        tracemalloc.start()
        unconverged(model, X, y)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.3 * size


def test_a_folder_that_cannot_be_written_costs_compilation_and_nothing_else():
    code = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []  # as where no folder can be written
from sklearn_ltdl import SAGRegressor
print(SAGRegressor(solver="sag", alpha=1.0).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 3.0]).coef_[0])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    cov, var = 1.0, 2 / 3  # of (0, 1, 2) and (0, 1, 3)
    assert float(run.stdout) == pytest.approx(cov / (var + 1), abs=1e-3)


def test_another_parameter_of_a_loss_needs_no_name(diabetes):
    X, y, _ = diabetes

    def objective(w):
        return np.mean(Huber(0.3).value(X @ w[1:] + w[0], y)) + 0.05 * w[1:] @ w[1:]

    model = SAGRegressor(loss=Huber(0.3), alpha=0.1, solver="sdca", tol=1e-10, random_state=0).fit(X, y)
    found = minimize(objective, np.zeros(11), method="BFGS")
    assert objective(np.r_[model.intercept_, model.coef_]) <= found.fun + 1e-10
