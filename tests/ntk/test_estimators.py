import pickle

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KernelCenterer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl._targets import fit_log_odds
from sklearn_ltdl.ntk import RBF, Laplace, _problem, _solvers, nngp_kernel, ntk_kernel

BOTH = [NTKKernelRegressor, NTKKernelClassifier]


@parametrize_with_checks(
    [
        NTKKernelRegressor(),
        NTKKernelClassifier(),
        NTKKernelRegressor(kernel="rbf", solver="nystroem"),
        NTKKernelClassifier(kernel="laplace", solver="nystroem", n_components=20),
    ]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


def table(rng, n=60, d=3):
    X = rng.standard_normal((n, d))
    return X, np.column_stack([X[:, 0] * X[:, 1] + 0.1 * rng.standard_normal(n), 50 + X[:, 2]])


@pytest.mark.parametrize("kernel", ["ntk", "laplace", "precomputed"])
def test_leave_one_out_predictions_equal_refits_without_each_group_of_copies(rng, kernel):
    X, Y = table(rng, 30)
    X[5] = X[17] = X[29]
    X[4] = X[11]
    weight = rng.uniform(0.5, 2.0, 30)
    weight[0] = 0.0
    gram = Laplace(2.0)(X)
    data = gram if kernel == "precomputed" else X
    model = NTKKernelRegressor(kernel=kernel, alpha=1e-2).fit(data, Y, weight)
    if kernel != "precomputed":  # refits would choose their own

        def kernel(A, B):
            return model.kernel_(A, B)

    for left_out in [[0], [1], [4, 11], [5, 17, 29], [28]]:
        kept = np.setdiff1d(np.arange(30), left_out)
        alpha = 1e-2 * weight.sum() / weight[kept].sum()  # the same alpha S
        refit = NTKKernelRegressor(kernel=kernel, alpha=alpha)
        refit.fit(gram[np.ix_(kept, kept)] if kernel == "precomputed" else X[kept], Y[kept], weight[kept])
        predicted = refit.predict(gram[np.ix_(left_out, kept)] if kernel == "precomputed" else X[left_out])
        np.testing.assert_allclose(model.loo_predictions_[left_out], predicted, rtol=1e-9, atol=1e-9)


def test_errors_on_the_grid_are_those_of_the_leave_one_out_predictions(rng):
    X, Y = table(rng)
    weight = rng.uniform(0.5, 2.0, 60)
    model = NTKKernelRegressor(depth=1).fit(X, Y, weight)
    scale = np.sqrt(np.average((Y - np.average(Y, axis=0, weights=weight)) ** 2, axis=0, weights=weight))
    assert model.alpha_ == model.alphas_[np.argmin(model.loo_error_path_)]
    for i in (5, 20, 35):
        one = NTKKernelRegressor(depth=1, alpha=model.alphas_[i]).fit(X, Y, weight)
        error = np.average(np.sum(((Y - one.loo_predictions_) / scale) ** 2, axis=1), weights=weight)
        np.testing.assert_allclose(model.loo_error_path_[i], error, rtol=1e-9)
        np.testing.assert_allclose(one.loo_error_path_, error, rtol=1e-9)


def test_predictions_equal_kernel_ridge_with_a_centred_kernel(rng):
    X, Y = table(rng)
    K, K_new = ntk_kernel(X, depth=2), ntk_kernel(X[:7] + 0.1, X, depth=2)
    centerer = KernelCenterer().fit(K)
    peer = KernelRidge(alpha=60 * 0.03, kernel="precomputed").fit(centerer.transform(K), Y - Y.mean(axis=0))
    expected = peer.predict(centerer.transform(K_new)) + Y.mean(axis=0)
    for normalize_y in (True, False):
        model = NTKKernelRegressor(depth=2, alpha=0.03, normalize_y=normalize_y).fit(X, Y)
        np.testing.assert_allclose(model.predict(X[:7] + 0.1), expected, rtol=1e-11)


def test_kernels_by_name_function_and_matrix_are_the_same_model(rng):
    X, Y = table(rng)
    new = rng.standard_normal((5, 3))
    for name, function in (("ntk", ntk_kernel), ("nngp", nngp_kernel)):
        by_name = NTKKernelRegressor(kernel=name, depth=1).fit(X, Y).predict(new)
        by_function = NTKKernelRegressor(kernel=function).fit(X, Y).predict(new)
        by_matrix = NTKKernelRegressor(kernel="precomputed").fit(function(X), Y).predict(function(new, X))
        np.testing.assert_allclose(by_function, by_name, rtol=1e-9)
        np.testing.assert_allclose(by_matrix, by_name, rtol=1e-9)


@pytest.mark.parametrize("spectral_rows", [3000, 0])
@pytest.mark.parametrize("options", [{}, {"solver": "nystroem", "n_components": 25, "random_state": 3}])
def test_a_precomputed_kernel_leaves_out_copies_as_its_rows_would(rng, monkeypatch, spectral_rows, options):
    monkeypatch.setattr(_problem, "SPECTRAL_ROWS", spectral_rows)
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", spectral_rows)
    X, Y = table(rng)
    twice = np.vstack([X, X])
    for data, new in ((ntk_kernel(twice), ntk_kernel(X, twice)), (twice @ twice.T, X @ twice.T)):
        model = NTKKernelRegressor(kernel="precomputed", **options).fit(data, np.vstack([Y, Y]))
        first = NTKKernelRegressor(kernel="precomputed", **options).fit(data[:60, :60], Y)
        assert model.alpha_ == pytest.approx(first.alpha_, rel=1e-9)
        np.testing.assert_allclose(model.predict(new), first.predict(new[:, :60]), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("name", "function"), [("laplace", Laplace), ("rbf", RBF)])
def test_length_scale_is_the_multiple_of_the_median_distance_with_the_least_error(rng, name, function):
    X, Y = table(rng)
    model = NTKKernelRegressor(kernel=name).fit(X, Y)
    lengths = np.median(pdist(X)) * np.array(_problem.LENGTH_FACTORS[name])
    others = [NTKKernelRegressor(kernel=function(length)).fit(X, Y) for length in lengths]
    best = min(range(len(lengths)), key=lambda i: others[i].loo_error_path_.min())
    assert model.kernel_ == others[best].kernel_
    np.testing.assert_allclose(model.kernel_loo_errors_, [other.loo_error_path_.min() for other in others], rtol=1e-9)
    np.testing.assert_allclose(model.predict(X + 0.1), others[best].predict(X + 0.1), rtol=1e-8)


@pytest.mark.parametrize("Estimator", BOTH)
def test_weights_are_repetitions_and_their_unit_does_not_choose_the_model(rng, Estimator):
    X = rng.standard_normal((40, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    weight = rng.integers(0, 4, 40)
    weighted = Estimator().fit(X, y, weight)
    repeated = Estimator().fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert weighted.alpha_ == pytest.approx(repeated.alpha_, rel=1e-12)
    method = "predict_proba" if Estimator is NTKKernelClassifier else "predict"
    np.testing.assert_allclose(getattr(weighted, method)(X), getattr(repeated, method)(X), rtol=1e-9)
    scaled = Estimator().fit(X, y, 1e-3 * weight)
    np.testing.assert_allclose(scaled.dual_coef_, weighted.dual_coef_, rtol=1e-9)


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
def test_probabilities_predictions_and_scores_agree(load):
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = NTKKernelClassifier().fit(X[::2], y[::2])
    scores, proba = model.decision_function(X), model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    by_score = scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)
    np.testing.assert_array_equal(model.predict(X), model.classes_[by_score])
    np.testing.assert_array_equal(proba.argmax(axis=1), by_score)
    assert model.score(X[1::2], y[1::2]) > 0.93


def test_two_classes_are_regression_on_their_signs(rng):
    X = rng.standard_normal((50, 2))
    y = np.where(X[:, 0] > 0.2, "b", "a")
    signs = np.where(y == "b", 1.0, -1.0)
    classifier = NTKKernelClassifier().fit(X, y)
    regressor = NTKKernelRegressor(normalize_y=False).fit(X, signs)
    np.testing.assert_allclose(classifier.decision_function(X), regressor.predict(X), rtol=1e-12)
    np.testing.assert_allclose(classifier.loo_decision_function_, regressor.loo_predictions_, rtol=1e-12)


def test_probabilities_are_the_likeliest_for_the_left_out_scores(rng):
    X = rng.standard_normal((200, 2))
    y = (X[:, 0] + rng.standard_normal(200) > 0).astype(int)
    model = NTKKernelClassifier().fit(X, y)
    target = (200 * y + 1) / 202
    probability = 1 / (1 + np.exp(-model.inverse_temperature_ * model.loo_decision_function_))
    # The likelihood is stationary: its derivative in the factor, over that of its parts, is zero.
    slope = (probability - target) * model.loo_decision_function_
    assert abs(slope.sum()) < 1e-3 * np.abs(slope).sum()


def test_probabilities_of_several_classes_are_the_likeliest_for_the_left_out_scores(rng):
    X = rng.standard_normal((200, 2))
    y = np.digitize(X[:, 0] + 0.2 * rng.standard_normal(200), [-1.0, 0.0, 1.0])
    model = NTKKernelClassifier(depth=1).fit(X, y)
    scores, t, q = model.loo_decision_function_, model.inverse_temperature_, model.score_power_
    assert t > 0.01
    assert q > 0
    odds = np.maximum(scores, 0.03) ** q * np.exp(t * scores)
    slope = odds / odds.sum(axis=1, keepdims=True) - (200 * np.eye(4)[y] + 1) / 204
    for part in (scores, np.log(np.maximum(scores, 0.03))):  # the likelihood is stationary in t and in q
        assert abs(np.sum(slope * part)) < 1e-6 * np.abs(slope * part).sum()
    scores = model.decision_function(X)
    odds = np.maximum(scores, 0.03) ** q * np.exp(t * scores)
    np.testing.assert_allclose(model.predict_proba(X), odds / odds.sum(axis=1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize(("t", "q"), [(2.0, 0.7), (5.0, 0.0), (0.01, 1.5)])
def test_probabilities_of_known_form_are_found(rng, t, q):
    scores = rng.uniform(-0.5, 1.0, (300, 4))
    odds = np.maximum(scores, 0.03) ** q * np.exp(t * scores)
    weight = rng.integers(0, 3, 300).astype(float)
    found = fit_log_odds(scores, odds / odds.sum(axis=1, keepdims=True), weight)
    np.testing.assert_allclose(found, (t, q), atol=1e-5)
    odds = np.exp(t * scores[:, :1])
    np.testing.assert_allclose(fit_log_odds(scores[:, :1], odds / (1 + odds), weight), (t, 0.0), atol=1e-5)


def test_probabilities_of_scores_that_are_all_0_or_1_are_the_likeliest(rng):
    """Both parts of the log-odds are then the same, and any split between them is one optimum."""
    targets = np.eye(3)[rng.integers(0, 3, 30)]
    scores = np.eye(3)[np.where(rng.random(30) < 0.9, targets.argmax(axis=1), 0)] - 1e-9
    t, q = fit_log_odds(scores, targets, np.ones(30))
    right = np.mean(np.sum(scores.round() * targets, axis=1))
    # For scores of 0 and 1 the likeliest probability of the class with a 1 is the share of rows that have it right.
    factor = np.exp(t) / 0.03**q
    assert factor / (factor + 2) == pytest.approx(right, rel=1e-6)


def test_probabilities_do_not_favour_classes_that_are_absent(rng):  # nor does a class without weight do harm
    X = rng.standard_normal((120, 2))
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    without = NTKKernelClassifier(depth=1).fit(X, y)
    model = NTKKernelClassifier(depth=1).fit(np.vstack([X, X[:1]]), np.append(y, 3), np.append(np.ones(120), 0.0))
    assert list(model.classes_) == [0, 1, 2, 3]
    assert model.predict_proba(X)[:, 3].max() < 0.05
    np.testing.assert_allclose(model.predict_proba(X)[:, :3], without.predict_proba(X), atol=0.05)


@pytest.mark.parametrize("kernel", ["ntk", "rbf"])
def test_nystroem_is_taken_above_its_rows_and_says_so(rng, monkeypatch, kernel):
    X, Y = table(rng, 300)
    exact = NTKKernelRegressor(kernel=kernel, depth=1).fit(X, Y)
    monkeypatch.setattr(_problem, "EXACT_ROWS", 200)
    model = NTKKernelRegressor(kernel=kernel, depth=1, n_components=100, random_state=0).fit(X, Y)
    assert (exact.solver_, model.solver_, model.X_fit_.shape) == ("exact", "nystroem", (100, 3))
    again = NTKKernelRegressor(kernel=kernel, depth=1, n_components=100, random_state=0).fit(X[::-1], Y[::-1])
    np.testing.assert_array_equal(again.X_fit_, model.X_fit_)  # the draw is of the set of rows, not of their order
    # A third of the rows as centres spans nearly all of the function; all of them are the same function.
    assert np.all(np.mean((model.predict(X) - exact.predict(X)) ** 2, axis=0) < 0.05 * np.var(Y, axis=0))
    every = NTKKernelRegressor(kernel=kernel, depth=1, solver="nystroem", alpha=exact.alpha_).fit(X, Y)
    np.testing.assert_allclose(every.predict(X), exact.predict(X), atol=1e-6)


def test_search_above_the_spectral_rows_finds_the_same_model(monkeypatch):
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    whole = NTKKernelRegressor(kernel="ntk").fit(X, y)
    monkeypatch.setattr(_problem, "SPECTRAL_ROWS", 0)
    monkeypatch.setattr(_problem, "PILOT_ROWS", 200)
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", 200)
    found = NTKKernelRegressor(kernel="ntk", random_state=0).fit(X, y)
    assert found.alpha_ == pytest.approx(whole.alpha_, rel=1e-12)
    assert found.n_iter_ < 12 < whole.n_iter_
    np.testing.assert_allclose(found.predict(X), whole.predict(X), rtol=1e-9)


def test_beats_a_linear_model_on_a_table_of_its_own_kind(rng):
    X = rng.standard_normal((300, 4))
    y = np.abs(X[:, 0] - X[:, 1])
    assert NTKKernelRegressor().fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.85


@pytest.mark.parametrize("Estimator", BOTH)
def test_works_in_a_grid_search_over_processes_and_pickles(Estimator):
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), Estimator())
    step = Estimator.__name__.lower()
    search = GridSearchCV(pipeline, {f"{step}__depth": [1, 2], f"{step}__kernel": ["ntk", "rbf"]}, cv=3, n_jobs=2)
    search.fit(X, y)
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(copy.predict(X), search.predict(X))
    again = clone(search.best_estimator_).fit(X, y)
    np.testing.assert_array_equal(again.predict(X), search.predict(X))


def test_a_precomputed_kernel_is_cut_by_rows_and_columns_in_cross_validation():
    X, y = load_iris(return_X_y=True)
    by_matrix = cross_val_score(NTKKernelClassifier(kernel="precomputed"), ntk_kernel(X), y, cv=4)
    np.testing.assert_array_equal(by_matrix, cross_val_score(NTKKernelClassifier(), X, y, cv=4))


@pytest.mark.parametrize("solver", ["exact", "nystroem"])
@pytest.mark.parametrize("kernel", ["ntk", "nngp", "laplace", "rbf"])
def test_degenerate_tables_have_the_obvious_answer(rng, kernel, solver):
    model = NTKKernelRegressor(kernel=kernel, solver=solver, random_state=0)
    X = rng.standard_normal((20, 3))
    np.testing.assert_allclose(model.fit(X, np.full(20, 7.1)).predict(X), 7.1, rtol=1e-12)
    assert model.fit(X[:1], [3.0]).predict(X[:4]).tolist() == [3.0] * 4
    y = rng.standard_normal(20)
    constant = model.fit(np.zeros((20, 2)), y)  # one distinct row
    np.testing.assert_allclose(constant.predict([[0.0, 0.0], [1.0, 2.0]]), y.mean(), rtol=1e-12)
    np.testing.assert_allclose(constant.loo_predictions_, y.mean(), rtol=1e-12)
    zeros = np.vstack([np.zeros((3, 3)), X])
    assert np.isfinite(model.fit(zeros, np.arange(23.0)).predict(zeros)).all()
    line = np.linspace(-1, 1, 30)[:, None]
    assert np.max(np.abs(model.fit(line, line[:, 0]).predict(line) - line[:, 0])) < 1e-2
    huge = model.fit(1e150 * X, X[:, 0])
    assert np.isfinite(huge.predict(1e150 * X)).all()
    with pytest.raises(ValueError, match="overflows double precision; scale the columns"):
        model.fit(1e200 * X, y)
    model.fit(X, y)
    if kernel in ("laplace", "rbf"):  # nothing is near
        np.testing.assert_array_equal(model.predict(1e200 * X), model.intercept_)
    else:
        with pytest.raises(ValueError, match="overflows double precision; scale the columns"):
            model.predict(1e200 * X)


@pytest.mark.parametrize("kernel", ["ntk", "rbf"])
@pytest.mark.parametrize("spectral_rows", [3000, 0])
def test_alpha_zero_interpolates(rng, monkeypatch, kernel, spectral_rows):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", spectral_rows)
    X, Y = table(rng)
    np.testing.assert_allclose(NTKKernelRegressor(kernel=kernel, alpha=0.0).fit(X, Y).predict(X), Y, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "'alpha' parameter"),
        ({"alpha": "gcv"}, "'alpha' parameter"),
        ({"kernel": "matern"}, "'kernel' parameter"),
        ({"depth": -1}, "'depth' parameter"),
        ({"solver": "cg"}, "'solver' parameter"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"kernel": lambda X, Z: np.ones((len(X), 2))}, r"returned shape \(20, 2\).*expected \(20, 20\)"),
        ({"kernel": lambda X, Z: np.full((len(X), len(Z)), np.nan)}, "returned NaN or infinity"),
        ({"kernel": lambda X, Z: X[:, :1] - Z[:, :1].T}, "not symmetric"),
        ({"kernel": lambda X, Z: -cosine_similarity(X, Z)}, "not positive semi-definite"),
        ({"kernel": "precomputed"}, r"X has shape \(20, 3\).*must be square"),
    ],
)
@pytest.mark.parametrize("Estimator", BOTH)
def test_bad_options_are_named(rng, Estimator, options, message):
    with pytest.raises(ValueError, match=message):
        Estimator(**options).fit(rng.standard_normal((20, 3)), np.arange(20) % 2)


def test_bad_data_are_named(rng):
    X, y = rng.standard_normal((20, 3)), np.arange(20) % 2
    with pytest.raises(ValueError, match=r"y has one class, .*needs\s+rows of at least two"):
        NTKKernelClassifier().fit(X, np.zeros(20))
    with pytest.raises(ValueError, match="one class"):
        NTKKernelClassifier().fit(X, y, sample_weight=y)
    with pytest.raises(ValueError, match="not symmetric"):
        NTKKernelRegressor(kernel="precomputed").fit(rng.standard_normal((20, 20)), y)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            NTKKernelRegressor().fit(np.where(X > 1, bad, X), y)
    with pytest.raises(NotFittedError):
        NTKKernelRegressor().predict(X)
    with pytest.raises(ValueError, match=r"expecting 3 features"):
        NTKKernelRegressor().fit(X, y).predict(X[:, :2])


def test_a_gram_matrix_beyond_memory_is_refused_before_it_is_made(rng, monkeypatch):
    monkeypatch.setattr(_solvers, "_memory_limit", lambda: 100_000)
    X, y = rng.standard_normal((100, 2)), rng.standard_normal(100)
    with pytest.raises(MemoryError, match=r"100 x 100.*Use solver='nystroem'"):
        NTKKernelRegressor(solver="exact").fit(X, y)
    assert NTKKernelRegressor(solver="nystroem", n_components=20, random_state=0).fit(X, y).solver_ == "nystroem"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the loader leaves a file open
def test_development_tables_are_predicted_well(dev_sets):
    data = dev_sets("uci__autompg")  # 0.85 for ridge on the same split
    train, test = data["splits"][0]
    model = make_pipeline(StandardScaler(), NTKKernelRegressor()).fit(data["X"][train], data["y"][train])
    assert model.score(data["X"][test], data["y"][test]) > 0.85
