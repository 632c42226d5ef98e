"""Copies of rows and weights: what a model says of itself is that of all rows, written out."""

import pickle
import tracemalloc

import numpy as np
import pytest
from scipy.stats import t

from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk import RBF, Laplace, _sample, _solvers

SOLVERS = [{"solver": "exact"}, *({"solver": solver, "n_components": 8} for solver in ("nystroem", "pcg"))]


def table(rng, n=30, copies=2):
    """Return rows of which each comes `copies` times, with targets of its own."""
    X = np.repeat(rng.standard_normal((n // copies, 2)), copies, axis=0)
    return X, np.column_stack([np.sin(X[:, 0]) + 0.5 * rng.standard_normal(n), 50 + X[:, 1]])


def posterior_std(kernel, X, Y, weight, n, alpha, new):
    """Return the standard deviation of the docstring from a matrix of all rows of positive weight, none merged."""
    X, Y, weight = X[weight > 0], Y[weight > 0], weight[weight > 0]
    A = np.linalg.inv(kernel(X) + alpha * weight.sum() * np.diag(1 / weight))
    ones = A.sum(axis=1)
    P = A - np.outer(ones, ones) / ones.sum()
    K = kernel(new, X)
    variance = np.diagonal(kernel(new)) - np.sum(K @ A * K, axis=1) + (1 - K @ ones) ** 2 / ones.sum()
    return np.sqrt(np.outer(variance, np.diagonal(Y.T @ P @ Y)) / n)


@pytest.mark.parametrize("spectral_rows", [3000, 0])
@pytest.mark.parametrize("alpha", [1e-4, 1e-1])
@pytest.mark.parametrize("weights", ["none", "counts", "ratios"])
@pytest.mark.parametrize("copies", [1, 2, 5])
def test_the_posterior_is_that_of_all_rows(rng, monkeypatch, copies, weights, alpha, spectral_rows):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", spectral_rows)
    X, Y = table(rng, copies=copies)
    weight = {"none": np.ones(30), "counts": rng.integers(0, 4, 30), "ratios": rng.uniform(0.1, 3.0, 30)}[weights]
    weight[[0, 7]] = 0
    n = {"none": 28, "counts": weight.sum(), "ratios": 28}[weights]
    kernel, new = RBF(1.0), rng.standard_normal((6, 2))
    expected = posterior_std(kernel, X, Y, weight, n, alpha, new)
    model = NTKKernelRegressor(kernel=kernel, alpha=alpha).fit(X, Y, weight)
    np.testing.assert_allclose(model.predict(new, return_std=True)[1], expected, rtol=1e-7)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(again.predict(new, return_std=True)[1], expected, rtol=1e-7)
    one = NTKKernelRegressor(kernel=lambda A, B: kernel(A, B), alpha=alpha, normalize_y=False).fit(X, Y[:, 0], weight)
    np.testing.assert_allclose(one.predict(new, return_std=True)[1], expected[:, 0], rtol=1e-7)


@pytest.mark.parametrize("copies", [1, 2, 5, 20])
def test_functions_of_the_prior_are_as_far_off_as_the_posterior_says(copies):
    # The error at a new x over its deviation is independent of y'Py, of n - 1 degrees of freedom: Student's law.
    points, new, n, alpha = np.linspace(-3, 3, 8)[:, None], np.linspace(-3.3, 3.1, 9)[:, None], 8 * copies, 1e-2
    kernel, X = RBF(1.0), np.repeat(points, copies, axis=0)
    both = np.vstack([points, new])
    factor = np.linalg.cholesky(kernel(both) + 1e-12 * np.eye(17))
    model, hits = NTKKernelRegressor(kernel=kernel, alpha=alpha), []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        f = 7.0 + factor @ rng.standard_normal(17)
        y = np.repeat(f[:8], copies) + np.sqrt(n * alpha) * rng.standard_normal(n)
        mean, std = model.fit(X, y).predict(new, return_std=True)
        hits.append(np.mean(np.abs(mean - f[8:]) < 1.96 * std))
    share = 1 - 2 * t.sf(1.96 * np.sqrt((n - 1) / n), n - 1)  # of the likelihood's sigma: 0.89 of 8 rows, 0.95 of 160
    assert abs(np.mean(hits) - share) < 3 * np.std(hits) / np.sqrt(150)


@pytest.mark.parametrize("copies", [1, 2, 5, 20])
def test_intervals_hold_their_coverage_with_copies(copies):
    hits = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-3, 3, 70)
        X = np.concatenate([np.repeat(x[:30], copies), x[30:]])[:, None]  # 30 points, and 40 new ones
        y = np.sin(X[:, 0]) + 0.5 * rng.standard_normal(len(X))
        model = NTKKernelRegressor(kernel=RBF(1.0), alpha=1e-2).fit(X[:-40], y[:-40])
        lower, upper = model.predict_interval(X[-40:], coverage=0.8)
        hits.append(np.mean((lower <= y[-40:]) & (y[-40:] <= upper)))
    assert np.mean(hits) >= 0.8 - 2 * np.std(hits) / np.sqrt(100)
    assert np.mean(hits) <= 0.84


@pytest.mark.parametrize("options", SOLVERS, ids=lambda options: options["solver"])
@pytest.mark.parametrize("weight", [np.full(24, 2), np.tile([0, 1, 2, 3, 1, 4], 4), 100 * np.tile([1, 3], 12)])
def test_a_weight_of_k_is_a_row_given_k_times(rng, options, weight):
    X, Y = table(rng, 24)
    rows, new = np.repeat(np.arange(24), weight), rng.standard_normal((5, 2))
    model = NTKKernelRegressor(kernel=Laplace(2.0), random_state=0, **options)
    repeated = NTKKernelRegressor(kernel=Laplace(2.0), random_state=0, **options).fit(X[rows], Y[rows])
    model.fit(X, Y, weight)
    assert model.alpha_ == pytest.approx(repeated.alpha_, rel=1e-12)
    np.testing.assert_allclose(model.predict(new), repeated.predict(new), rtol=1e-9)
    np.testing.assert_allclose(model.loo_predictions_[rows], repeated.loo_predictions_, rtol=1e-7)
    for coverage in (0.5, 0.8, 0.9, 0.99):
        for mine, theirs in zip(model.predict_interval(new, coverage), repeated.predict_interval(new, coverage)):
            np.testing.assert_allclose(mine, theirs, rtol=1e-7)
    if options["solver"] == "exact":
        np.testing.assert_allclose(model.predict(new, True)[1], repeated.predict(new, True)[1], rtol=1e-9)
        np.testing.assert_allclose(model.influence(new)[:, rows], repeated.influence(new), rtol=1e-7, atol=1e-9)


def test_training_for_a_time_takes_a_weight_of_k_for_k_rows(rng):
    X, Y = table(rng, 24)
    weight, new = rng.integers(0, 4, 24), rng.standard_normal((5, 2))
    rows, times = np.repeat(np.arange(24), weight), [0.1, 3.0, 50.0]
    models = NTKKernelRegressor(depth=1).fit(X, Y, weight), NTKKernelRegressor(depth=1).fit(X[rows], Y[rows])
    for mine, theirs in zip(*(model.staged_predict(new, times, return_std=True) for model in models)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9)
    labels = (Y[:, 0] > 0).astype(int)
    two = NTKKernelClassifier(depth=1).fit(X, labels, weight), NTKKernelClassifier(depth=1).fit(X[rows], labels[rows])
    np.testing.assert_allclose(two[0].influence(new)[:, rows], two[1].influence(new), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(two[0].loo_decision_function_[rows], two[1].loo_decision_function_, rtol=1e-9)
    np.testing.assert_allclose(two[0].predict_proba(new), two[1].predict_proba(new), rtol=1e-7)


@pytest.mark.parametrize("options", SOLVERS, ids=lambda options: options["solver"])
def test_of_weights_that_are_no_counts_only_ratios_matter(rng, options):
    X, Y = table(rng, 24)
    weight, new = rng.uniform(0.01, 5.0, 24), rng.standard_normal((5, 2))
    weight[3] = 0.0
    models = [
        NTKKernelRegressor(kernel=Laplace(2.0), random_state=0, **options).fit(X, Y, unit * weight)
        for unit in (1.0, 2.0**-60)
    ]
    equal = [
        NTKKernelRegressor(kernel=Laplace(2.0), random_state=0, **options).fit(X, Y, np.full(24, unit))
        for unit in (1.0, 0.3)
    ]
    for first, other in (models, equal):
        for mine, theirs in zip(first.predict_interval(new, 0.8), other.predict_interval(new, 0.8)):
            np.testing.assert_allclose(mine, theirs, rtol=1e-7)
        if options["solver"] == "exact":
            np.testing.assert_allclose(first.predict(new, True)[1], other.predict(new, True)[1], rtol=1e-9)


def test_a_new_row_of_mean_weight_is_thought_above_all_ends(rng):
    # Tibshirani et al. 2019, section 2.2: the quantile of left-out values by their weights, and infinity with its own.
    X, Y = table(rng, 20, copies=1)
    y, weight, new = Y[:, 0], rng.uniform(0.2, 3.0, 20), rng.standard_normal((4, 2))
    model = NTKKernelRegressor(kernel=Laplace(2.0), alpha=1e-2).fit(X, y, weight)
    others = np.empty((20, 4))
    for i in range(20):
        kept = np.delete(np.arange(20), i)
        alpha = 1e-2 * weight.sum() / weight[kept].sum()
        others[i] = (
            NTKKernelRegressor(kernel=Laplace(2.0), alpha=alpha).fit(X[kept], y[kept], weight[kept]).predict(new)
        )
    values = others + np.abs(y - model.loo_predictions_)[:, None]
    share = weight / weight.sum() * 20
    for coverage in (0.5, 0.7, 0.9):
        upper = model.predict_interval(new, coverage)[1]
        for column, end in zip(values.T, upper):
            below = [share[column <= value].sum() for value in column]
            expected = min((v for v, b in zip(column, below) if b >= coverage * 21), default=np.inf)
            assert end == pytest.approx(expected, rel=1e-7)


def spanned(kernel, centres, X, Y, weight, ridge):
    """Return predictions of f = sum_j c_j k(., z_j) + b by the normal equations on all rows, none merged."""
    F = np.column_stack([kernel(X, centres), np.ones(len(X))])
    penalty = np.zeros((F.shape[1],) * 2)
    penalty[:-1, :-1] = ridge * kernel(centres)
    coef = np.linalg.solve((F.T * weight) @ F + penalty, (F.T * weight) @ Y)
    return lambda new: kernel(new, centres) @ coef[:-1] + coef[-1]


@pytest.mark.parametrize("weights", ["none", "counts", "1e-3 to 1e3"])
def test_with_centres_what_is_left_out_is_a_refit_without_the_row_and_its_copies(rng, weights):
    X, Y = table(rng, 60)
    many = 10.0 ** rng.uniform(-3, 3, 60)
    weight = {"none": np.ones(60), "counts": rng.integers(1, 5, 60), "1e-3 to 1e3": many}[weights]
    kernel, alpha = Laplace(2.0), 1e-3
    model = NTKKernelRegressor(kernel=kernel, solver="nystroem", n_components=12, alpha=alpha, random_state=0)
    model.fit(X, Y, weight)
    for row in range(0, 60, 2):
        others = np.any(X - X[row], axis=1)
        centres = model.X_fit_[np.any(model.X_fit_ - X[row], axis=1)]  # a centre leaves as a centre too
        refit = spanned(kernel, centres, X[others], Y[others], weight[others], alpha * weight.sum())
        np.testing.assert_allclose(
            model.loo_predictions_[[row, row + 1]], refit(X[[row, row + 1]]), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("heavy", [1, 30, 3000])
def test_estimates_of_conjugate_gradients_leave_a_heavy_row_what_it_can_have(rng, heavy):
    X, Y = table(rng, 60, copies=1)
    weight = np.where(np.arange(60) == 0, heavy, 1)
    options = {"kernel": Laplace(2.0), "n_components": 12, "alpha": 1e-3, "random_state": 0}
    model = NTKKernelRegressor(solver="pcg", **options).fit(X, Y, weight)
    # A leave-one-out residual is that of the fit over 1 - w / n - leverage, a positive number below 1 - w / n.
    ratio = (Y - model.loo_predictions_) / (Y - model.predict(X)) * (1 - weight / weight.sum())[:, None]
    assert ratio.min() > 1 - 1e-9
    assert ratio.max() < 10 * (1 + 1e-9)  # estimates stop at nine tenths of the largest leverage


def rows_of_kind(rng, kind, n=400, d=5):
    X = rng.standard_normal((n, d))
    if kind == "signs":
        X = np.sign(X) * np.array([0.0, 1.0, 0.0, 1.0, 1.0])  # zeros of both signs
    elif kind == "copies":
        X = X[rng.integers(0, n // 3, n)]
    elif kind == "equal beginnings":
        X[:, :3] = 7.0
        X[: n // 2, 3] = X[0, 3]
    elif kind == "one row":
        X[:] = X[0]
    return X


@pytest.mark.parametrize("buffer", [1, 40, 10**6])  # numbers: of less than a row, of eight rows, of all
@pytest.mark.parametrize("kind", ["distinct", "signs", "copies", "equal beginnings", "one row"])
def test_distinct_rows_are_those_of_numpy(rng, monkeypatch, kind, buffer):
    monkeypatch.setattr(_sample, "SORTED_AT_ONCE", buffer)
    X = rows_of_kind(rng, kind)
    some = np.sort(rng.permutation(len(X))[:300])
    for rows in (None, some):
        table = np.ascontiguousarray(X if rows is None else X[rows]) + 0.0
        records = table.view((np.void, table.strides[0])).ravel()
        _, first, group = np.unique(records, return_index=True, return_inverse=True)
        found = _sample.distinct_rows(X, rows)
        np.testing.assert_array_equal(found[0], first)
        np.testing.assert_array_equal(found[1], group)


@pytest.mark.parametrize("kind", ["distinct", "copies", "equal beginnings", "one row"])
def test_distinct_rows_take_half_the_memory_of_the_table(rng, kind):
    X = rows_of_kind(rng, kind, n=200_000, d=20)
    tracemalloc.start()
    _sample.distinct_rows(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 0.5 * X.nbytes
