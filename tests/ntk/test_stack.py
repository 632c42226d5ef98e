"""The stack of kernel machines: its weights, what it leaves out, its uncertainty, and the encodings that it tries."""

import pickle

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.stats import norm
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk import NTK, RBF, _problem, _solvers, _stack
from sklearn_ltdl.ntk._encodings import Clipped, Indicators, NormalScores, encodings
from sklearn_ltdl.ntk._problem import MachineSettings


def table(rng, n=40):
    """Return rows with a column of four levels, and two targets that need both kinds of columns."""
    X = np.column_stack([rng.standard_normal((n, 2)), rng.integers(0, 4, n)])
    effect = np.array([0.0, 2.0, -1.0, 1.0])[X[:, 2].astype(int)]
    return X, np.column_stack([np.sin(2 * X[:, 0]) + effect, 50 + X[:, 1] * effect]) + 0.3 * rng.standard_normal((n, 2))


def candidates_alone(X, Y, *fit, **options):
    """Return a fit of each candidate alone, in the order of the stack, for tables that are not screened."""
    points = NTKKernelRegressor().fit(X, Y, *fit, **options).X_fit_
    return [
        NTKKernelRegressor(kernel=k).fit(X, Y, *fit, **options) for k in _stack.kernels_to_stack(points, points, True)
    ]


def best_weights(residuals, weight):
    """Return the weights of sum 1 of the least squares of residuals (n, n_outputs, k), by a heavy row of ones."""
    R = (np.sqrt(weight)[:, None, None] * residuals).reshape(-1, residuals.shape[2])
    heavy = 1e5 * np.abs(R).max()
    w = nnls(np.vstack([R, np.full(R.shape[1], heavy)]), np.append(np.zeros(len(R)), heavy), maxiter=10_000)[0]
    return w / w.sum()


def without(stack, X, Y, weight, rows):
    """Return the prediction of a stack at the same weights whose machines are fitted without some rows."""
    kept = np.setdiff1d(np.flatnonzero(weight), rows)
    ratio = weight.sum() / weight[kept].sum()  # the same alpha S
    parts = [(part.weight, NTKKernelRegressor(kernel=part.kernel, alpha=part.alpha * ratio)) for part in stack.stack_]
    return lambda new: sum(w * one.fit(X[kept], Y[kept], weight[kept]).predict(new) for w, one in parts)


def test_weights_have_the_optimality_conditions_of_their_problem(rng):
    for _ in range(20):
        R = rng.standard_normal((30, 6)) * rng.uniform(0.8, 1.2, 6) + rng.standard_normal((30, 1))
        G = R.T @ R
        w = _stack.simplex_weights(G)
        gradient = G @ w
        assert w.min() >= 0
        assert w.sum() == pytest.approx(1.0, rel=1e-14)
        np.testing.assert_allclose(gradient[w > 0], gradient.min(), rtol=1e-7)
    np.testing.assert_allclose(_stack.simplex_weights(np.ones((4, 4))), 0.25)  # equal candidates
    np.testing.assert_allclose(_stack.simplex_weights(np.zeros((4, 4))), 0.25)


def test_of_many_candidates_few_are_left_and_none_of_little_weight(rng):
    R = rng.standard_normal((200, 8)) * np.linspace(1.0, 1.6, 8)
    full = _stack.simplex_weights(R.T @ R)
    few = _stack.few_weights(R.T @ R, 3)
    assert np.count_nonzero(full) == 8
    assert np.count_nonzero(few) == 3
    assert few[few > 0].min() >= 0.02
    used = np.flatnonzero(few)
    np.testing.assert_allclose(few[used], _stack.simplex_weights((R.T @ R)[np.ix_(used, used)]), rtol=1e-7)


def test_left_out_rows_have_no_part_in_the_weights_of_their_predictions(rng):
    X, Y = table(rng)
    X[7] = X[20]
    weight = rng.uniform(0.5, 2.0, 40)
    weight[3] = 0.0
    groups = np.where(np.arange(40) < 3, 0, np.arange(40))
    model = NTKKernelRegressor().fit(X, Y, weight, groups=groups)
    alone = candidates_alone(X, Y, weight, groups=groups)
    left_out = np.stack([one.loo_predictions_ for one in alone], axis=2)
    unit = np.sqrt(np.average((Y - np.average(Y, axis=0, weights=weight)) ** 2, axis=0, weights=weight))
    points = np.setdiff1d(np.arange(40), [7, 20])
    residuals = (Y[:, :, None] - left_out) / unit[:, None]
    residuals[[7, 20]] = np.average(residuals[[7, 20]], axis=0, weights=weight[[7, 20]])  # one point of their mean
    both = np.where(np.arange(40) == 20, weight[7] + weight[20], weight)
    for block in ([0, 1, 2], [7, 20], [5], [39]):
        others = np.setdiff1d(np.append(points, 20), [*block, 3])
        w = best_weights(residuals[others], both[others])
        np.testing.assert_allclose(model.loo_predictions_[block], left_out[block] @ w, rtol=1e-5, atol=1e-5)
        spread = np.stack([one._machine.row_residuals for one in alone], axis=2)  # of rows of positive weight
        rows = [row - (row > 3) for row in block]
        np.testing.assert_allclose(model._machine.row_residuals[rows], spread[rows] @ w, rtol=1e-5, atol=1e-5)
    every = sum(part.weight * part.kernel(X[[3]], model.X_fit_) @ part.dual_coef for part in model.stack_)
    every += sum(part.weight * part.intercept for part in model.stack_)
    np.testing.assert_allclose(model.loo_predictions_[[3]], every, rtol=1e-9)  # weight 0: from all rows
    np.testing.assert_allclose(model.predict(X[[3]]), every, rtol=1e-9)


@pytest.mark.parametrize("spectral_rows", [3000, 0])
def test_influence_and_intervals_are_those_of_refits_at_the_same_weights(rng, monkeypatch, spectral_rows):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", spectral_rows)
    X, Y = table(rng)
    X[7] = X[20]
    Y += rng.standard_normal(Y.shape)
    weight, new = rng.integers(1, 4, 40).astype(float), table(rng, 6)[0]
    model = NTKKernelRegressor().fit(X, Y, weight)
    assert len(model.stack_) > 1
    blocks = [[7, 20] if i in (7, 20) else [i] for i in range(40)]
    others = np.array([without(model, X, Y, weight, block)(new) for block in blocks])  # (40, 6, 2)
    change = model.predict(new) - others
    np.testing.assert_allclose(model.influence(new), change.transpose(1, 0, 2), rtol=1e-6, atol=1e-7)
    lower, upper = model.predict_interval(new, coverage=0.8)
    widths = np.abs(model._machine.row_residuals * model._machine.first.units.scale)[:, None]
    copies = np.repeat(np.arange(40), weight.astype(int))
    rank = int(0.2 * (len(copies) + 1) * (1 + 1e-9))  # from above
    for ends, sign in ((lower, 1), (-upper, -1)):
        values = np.sort((sign * others - widths)[copies], axis=0)
        np.testing.assert_allclose(ends, values[rank - 1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("problem", ["smooth", "pure noise"])
def test_intervals_of_a_stack_hold_their_coverage_up_to_half_a_point(problem):
    # The residual of row j at row i's weights has seen row i: on 60 rows, the stack loses up to half a point of 90.
    hits = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        X, noise = rng.standard_normal((160, 4)), rng.standard_normal(160)
        y = noise if problem == "pure noise" else np.sin(X[:, 0]) + X[:, 1] * X[:, 2] / 2 + 0.3 * noise
        lower, upper = NTKKernelRegressor().fit(X[:60], y[:60]).predict_interval(X[60:])
        hits.append(np.mean((lower <= y[60:]) & (y[60:] <= upper)))
    assert np.mean(hits) >= 0.895 - 2 * np.std(hits, ddof=1) / np.sqrt(100)
    assert np.mean(hits) <= 0.95


def test_posterior_is_the_mixture_of_the_posteriors(rng):
    X, Y = table(rng)
    new = table(rng, 7)[0]
    model = NTKKernelRegressor().fit(X, Y)
    assert len(model.stack_) > 1
    weights = np.array([part.weight for part in model.stack_])[:, None, None]
    alone = [NTKKernelRegressor(kernel=p.kernel, alpha=p.alpha).fit(X, Y).predict(new, True) for p in model.stack_]
    means, stds = (np.array(values) for values in zip(*alone))
    mean, std = model.predict(new, return_std=True)
    np.testing.assert_allclose(mean, np.sum(weights * means, axis=0), rtol=1e-8)
    moment = np.sum(weights * (stds**2 + means**2), axis=0)
    np.testing.assert_allclose(std, np.sqrt(moment - mean**2), rtol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_are_stacked_by_their_codes(rng, n_classes):
    X, Y = table(rng, 60)
    codes = np.digitize(Y[:, 0], [0.0, 1.0][: n_classes - 1])
    new = table(rng, 9)[0]
    classifier = NTKKernelClassifier().fit(X, codes)
    targets = 2.0 * codes - 1.0 if n_classes == 2 else np.eye(3)[codes]
    regressor = NTKKernelRegressor(normalize_y=False).fit(X, targets)
    assert sum(part.weight for part in classifier.stack_) == pytest.approx(1.0, rel=1e-14)
    assert [p.weight for p in classifier.stack_] == pytest.approx([p.weight for p in regressor.stack_], rel=1e-9)
    np.testing.assert_allclose(classifier.decision_function(new), regressor.predict(new), rtol=1e-9)
    np.testing.assert_allclose(classifier.loo_decision_function_, regressor.loo_predictions_, rtol=1e-9)
    np.testing.assert_allclose(classifier.predict_proba(new).sum(axis=1), 1.0, rtol=1e-12)
    if n_classes == 3:  # codes sum to 1, and so do scores of weights of sum 1
        np.testing.assert_allclose(classifier.decision_function(new).sum(axis=1), 1.0, rtol=1e-9)


def test_a_weight_of_k_is_a_row_given_k_times_to_a_stack(rng):
    X, Y = table(rng)
    weight, new = rng.integers(0, 4, 40), table(rng, 6)[0]
    rows = np.repeat(np.arange(40), weight)
    model, repeated = NTKKernelRegressor().fit(X, Y, weight), NTKKernelRegressor().fit(X[rows], Y[rows])
    assert [p.weight for p in model.stack_] == pytest.approx([p.weight for p in repeated.stack_], rel=1e-6)
    np.testing.assert_allclose(model.predict(new, True), repeated.predict(new, True), rtol=1e-6)
    np.testing.assert_allclose(model.loo_predictions_[rows], repeated.loo_predictions_, rtol=1e-6)
    np.testing.assert_allclose(model.predict_interval(new, 0.8), repeated.predict_interval(new, 0.8), rtol=1e-6)
    np.testing.assert_allclose(model.influence(new)[:, rows], repeated.influence(new), rtol=1e-5, atol=1e-7)


def test_a_pickled_stack_answers_to_the_bit_and_holds_no_gram_matrix(rng):
    X, Y = table(rng, 350)
    model = NTKKernelRegressor(random_state=0).fit(X, Y)
    before = [model.predict(X[:9]), *model.predict_interval(X[:9]), model.predict(X[:9], True)[1]]
    data = pickle.dumps(model)
    assert len(data) < 350 * 350 * 8 / 2  # bytes of half a Gram matrix
    again = pickle.loads(data)
    after = [again.predict(X[:9]), *again.predict_interval(X[:9]), again.predict(X[:9], True)[1]]
    for mine, theirs in zip(after, before):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(again.influence(X[:9]), model.influence(X[:9]))


def test_a_kernel_depth_activation_or_penalty_that_is_given_is_not_stacked(rng):
    X, Y = table(rng)
    for options, kernel in [
        ({"kernel": NTK(1)}, NTK(1)),
        ({"depth": 2}, NTK(2)),
        ({"activation": "erf"}, NTK(1, activation="erf")),
    ]:
        given, alone = NTKKernelRegressor(**options).fit(X, Y), NTKKernelRegressor(kernel=kernel).fit(X, Y)
        assert [(part.weight, part.kernel) for part in given.stack_] == [(1.0, kernel)]
        np.testing.assert_array_equal(given.predict(X), alone.predict(X))
    given, alone = NTKKernelRegressor(alpha=1e-2).fit(X, Y), NTKKernelRegressor(kernel="ntk", alpha=1e-2).fit(X, Y)
    np.testing.assert_array_equal(given.predict(X), alone.predict(X))
    assert not MachineSettings(kernel="ntk").stacks
    with pytest.raises(ValueError, match="Use kernel='ntk'"):
        list(NTKKernelRegressor().fit(X, Y).staged_predict(X, [1.0]))


def test_with_more_rows_few_machines_are_fitted_to_all_of_them(rng, monkeypatch):
    X, Y = table(rng, 300)
    monkeypatch.setattr(_stack, "PILOT_ROWS", 150)
    monkeypatch.setattr(_stack, "MOST", ((150, 5), (np.inf, 3)))
    monkeypatch.setattr(_stack, "UNSCREENED", 100)
    model = NTKKernelRegressor(random_state=0).fit(X, Y)
    assert np.sum(np.isfinite(model.kernel_loo_errors_)) == _stack.KEPT
    assert 1 < len(model.stack_) <= 3
    assert len(model.X_fit_) == 300
    alone = [NTKKernelRegressor(kernel=part.kernel).fit(X, Y) for part in model.stack_]
    for part, one in zip(model.stack_, alone):
        assert part.alpha == pytest.approx(one.alpha_, rel=1e-9)
        assert part.loo_error == pytest.approx(one.loo_error_path_.min(), rel=1e-6)
    expected = sum(part.weight * one.predict(X + 0.1) for part, one in zip(model.stack_, alone))
    np.testing.assert_allclose(model.predict(X + 0.1), expected, rtol=1e-7)
    monkeypatch.setattr(_stack, "MOST", ((299, 3), (np.inf, 1)))
    assert len(NTKKernelRegressor(random_state=0).fit(X, Y).stack_) == 1


@pytest.mark.parametrize("solver", ["nystroem", "pcg"])
def test_with_random_centres_the_kernel_of_least_error_is_fitted_alone(rng, solver):
    X, Y = table(rng, 200)
    options = {"solver": solver, "n_components": 200}  # all rows, which other draws give too
    model = NTKKernelRegressor(random_state=0, **options).fit(X, Y)
    assert len(model.stack_) == 1
    kernels = _stack.kernels_to_stack(X, X, exact=False)
    alone = [NTKKernelRegressor(kernel=kernel, random_state=0, **options).fit(X, Y) for kernel in kernels]
    errors = [NTKKernelRegressor(kernel=kernel).fit(X, Y).loo_error_path_.min() for kernel in kernels]
    np.testing.assert_allclose(model.kernel_loo_errors_, errors, rtol=1e-8)
    best = alone[int(np.argmin(errors))]
    np.testing.assert_allclose(model.predict(X + 0.1), best.predict(X + 0.1), rtol=1e-7)


def test_centres_in_single_precision_are_encoded_as_in_double(rng, monkeypatch):
    X = table(rng, 300)[0]
    y = X[:, 2] % 2 + 0.1 * X[:, 0]
    options = {"solver": "nystroem", "n_components": 50, "random_state": 0}
    double = NTKKernelRegressor(**options).fit(X / 3, y)
    monkeypatch.setattr(_problem, "DOUBLE_ENTRIES", 0)
    single = NTKKernelRegressor(**options).fit(X / 3, y)
    assert single.kernel_(np.float32(X), np.float32(X)).dtype == np.float32
    np.testing.assert_allclose(single.predict(X / 3), double.predict(X / 3), atol=1e-3)


def test_levels_without_order_are_learned_from_their_indicators(rng):
    effect = rng.permutation(np.linspace(-1, 1, 12))
    X = rng.integers(0, 12, (400, 3)).astype(float)
    y = effect[X[:, 0].astype(int)] + effect[X[:, 1].astype(int)] + 0.1 * rng.standard_normal(400)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    stack, plain = (NTKKernelRegressor(kernel=k).fit(X[:200], y[:200]) for k in ("auto", "ntk"))
    assert stack.kernel_.encoding.columns.tolist() == [0, 1, 2]
    assert 1 - stack.score(X[200:], y[200:]) < 0.7 * (1 - plain.score(X[200:], y[200:]))


def test_indicators_are_those_of_scikit_learn_and_unknown_values_are_the_nearest_level(rng):
    X, _ = table(rng, 60)
    encoding = Indicators.of(X)
    expected = StandardScaler().fit_transform(OneHotEncoder(sparse_output=False).fit_transform(X[:, 2:]))
    np.testing.assert_allclose(encoding(X), np.hstack([X, expected]), rtol=1e-12)
    near = X + np.array([0.0, 0.0, 0.3])
    np.testing.assert_array_equal(encoding(near)[:, 3:], encoding(X)[:, 3:])
    np.testing.assert_array_equal(encoding(np.float32(X))[:, 3:], np.float32(encoding(X)[:, 3:]))
    assert Indicators.of(X[:, :2]) is None  # 60 values
    assert Indicators.of(np.sign(X[:, :2])) is None  # two
    assert Indicators.of(X[:3]) is None or len(np.unique(X[:3, 2])) == 3  # more indicators than rows tell rows apart


def test_values_that_differ_by_rounding_are_levels_with_finite_indicators(rng):
    turn = rng.integers(0, 12, 200) / 12
    X = np.column_stack([np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)])  # as the months of dates are encoded
    assert np.diff(np.unique(X[:, 0])).min() < 1e-15
    indicators = Indicators.of(X)(X)[:, 2:]
    assert np.isfinite(indicators).all()
    np.testing.assert_allclose(indicators.std(axis=0), 1)  # no level is empty
    NTKKernelRegressor().fit(X, X[:, 0])


def test_clipped_columns_and_normal_scores_have_their_closed_forms(rng):
    x = np.append(rng.permutation(101) - 50.0, 1e6)[:, None]
    clipped = Clipped.of(x[:-1])
    z = x / (50 / 1.349)  # quartiles at -25 and 25
    np.testing.assert_allclose(clipped(x), z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-12)
    assert clipped(x)[-1, 0] == pytest.approx(3.0)
    scores = NormalScores.of(x[:-1])
    np.testing.assert_allclose(scores(x[:-1])[:, 0], norm.ppf((x[:-1, 0] + 50.5) / 101), atol=1e-12)
    assert scores(x)[-1, 0] == scores([[50.0]] * np.ones((1, 1)))[0, 0]  # flat beyond the largest value
    constant = np.full((20, 1), 7.0)
    for encoding in encodings(constant):
        assert np.all(encoding(constant) == 0)


@pytest.mark.parametrize("n", [1, 2, 9, 12])
def test_few_rows_and_constant_targets_are_stacked_without_harm(rng, n):
    X, new = rng.standard_normal((n, 3)), rng.standard_normal((5, 3))
    model = NTKKernelRegressor().fit(X, np.full(n, 7.0))
    np.testing.assert_allclose(model.predict(new), 7.0, rtol=1e-12)
    np.testing.assert_allclose(model.loo_predictions_, 7.0, rtol=1e-12)
    if n < _stack.FEWEST_POINTS:
        assert [part.kernel for part in model.stack_] == [NTK(1)]


def test_the_attribute_tells_weights_and_kernels_in_print(rng):
    X, Y = table(rng)
    model = NTKKernelRegressor(kernel=RBF(2.0)).fit(X, Y)
    assert repr(model.stack_).startswith("[1.000 RBF(length_scale=2.0) (alpha=")
