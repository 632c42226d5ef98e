from itertools import islice

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import AGOPDisplay, NTKKernelClassifier, NTKKernelRegressor, RFMClassifier, RFMRegressor
from sklearn_ltdl._sklearn import draw_seed
from sklearn_ltdl.datasets import make_parity
from sklearn_ltdl.ntk import _held_out, _problem, _rounds, _solvers, _stack, ntk_kernel
from sklearn_ltdl.ntk._agop import ntk_agop, ntk_gradients
from sklearn_ltdl.ntk._held_out import metric_root
from sklearn_ltdl.ntk._kernels import Transformed
from sklearn_ltdl.ntk._problem import MachineSettings


def slopes(function, X, step=1e-5):
    """Return central differences, (n, n_outputs, d)."""
    return np.stack([(function(X + e) - function(X - e)) / (2 * step) for e in step * np.eye(X.shape[1])], axis=-1)


def product(rng, n=150, d=6):
    """Return a target of the first two features: a metric has much to find."""
    X = rng.standard_normal((n, d))
    return X, X[:, 0] * X[:, 1] + 0.1 * rng.standard_normal(n)


def rounds(X, y):
    """Yield the rounds of an RFM of depth 1, one after the other."""
    root, ones = np.eye(X.shape[1]), np.ones(len(X))
    while True:
        step = _rounds.Round.of(root, X, y, ones, _rounds.of_rounds(MachineSettings()))
        yield step.root, step.machine
        root = metric_root(step.agop(X, ones, 1.0), diagonal=False)


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize("at", ["new rows", "centres"])
def test_gradients_are_those_of_the_kernel(rng, depth, at):
    Z, coef = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    Z[4] = Z[2]
    X = Z if at == "centres" else rng.standard_normal((7, 3))

    def function(points):
        return ntk_kernel(points, Z, depth=depth) @ coef

    # Central differences err by step^2 and by rounding over step; at a kink they are the mean of its two slopes.
    np.testing.assert_allclose(ntk_gradients(X, Z, coef, depth=depth), slopes(function, X), atol=1e-7)


def test_gradients_at_nearly_equal_and_opposite_rows_are_finite_and_right(rng):
    Z = rng.standard_normal((6, 3))
    coef = rng.standard_normal((6, 1))
    for distance in (1e-4, 1e-6):  # of a kink, within which the steps stay
        X = Z + distance * np.array([1.0, -1.0, 1.0])
        expected = slopes(lambda points: ntk_kernel(points, Z) @ coef, X, step=distance / 10)
        np.testing.assert_allclose(ntk_gradients(X, Z, coef, depth=1), expected, rtol=1e-2)  # (step / distance)^2
    huge = 1e8 * Z
    assert np.isfinite(ntk_gradients(np.vstack([huge, -huge, 0 * Z]), huge, coef, depth=3)).all()


@pytest.mark.parametrize("d", [3, 250])  # the second has gradients larger than the kernel's three by three tiles
def test_half_of_the_pairs_give_the_outer_product_at_the_centres_themselves(rng, d):
    X, coef, weight = (
        rng.standard_normal((450, d)),
        rng.standard_normal((450, 2)),
        rng.random(450),
    )  # three tiles a side
    expected = ntk_agop(X, weight, X.copy(), coef, depth=2)
    np.testing.assert_allclose(ntk_agop(X, weight, None, coef, depth=2), expected, atol=1e-12 * np.trace(expected))


def test_the_outer_product_of_a_linear_prediction_is_that_of_its_coefficients(rng):
    X = rng.standard_normal((40, 3))
    y = X @ [1.0, -2.0, 0.5] + rng.standard_normal(40)
    model = RFMRegressor(depth=0, alpha=0.1, max_rounds=0, normalize_y=False).fit(X, y)
    # The kernel 2 (<x, z> / d + 1) penalises a linear function by d |w|^2 / 2.
    w = Ridge(alpha=40 * 0.1 * 3 / 2).fit(X, y).coef_
    np.testing.assert_allclose(model.agop_, np.outer(w, w), rtol=1e-9)
    np.testing.assert_allclose(model.feature_importances_, w**2 / (w @ w), rtol=1e-9)
    standard = RFMRegressor(depth=0, alpha=0.1, max_rounds=0).fit(X, 100.0 * y + 7.0)
    np.testing.assert_allclose(standard.agop_, np.outer(w, w) / np.var(y), rtol=1e-9)


def test_the_outer_product_is_the_weighted_mean_of_the_slopes_of_the_prediction(rng):
    X, y = product(rng)
    Y = np.column_stack([y, np.abs(X[:, 0])])
    weight = rng.integers(0, 3, len(X))
    model = RFMRegressor(depth=1, max_rounds=2, random_state=0).fit(X, Y, weight)
    assert model.n_rounds_ > 0
    scale = np.sqrt(np.average((Y - np.average(Y, axis=0, weights=weight)) ** 2, axis=0, weights=weight))
    gradients = slopes(lambda points: model.predict(points) / scale, X, step=1e-6)
    expected = np.einsum("n,nki,nkj->ij", weight / weight.sum(), gradients, gradients)
    np.testing.assert_allclose(model.agop_, expected, atol=1e-6 * np.trace(expected))


def test_the_metric_of_a_round_is_the_outer_product_of_the_last_with_trace_d(rng):
    X, y = product(rng, 60)
    (_, first), (T, second) = islice(rounds(X, y), 2)
    M = ntk_agop(X, np.ones(60), first.centres, first.coef[:, None], depth=1)
    np.testing.assert_allclose(T @ T, M * 6 / np.trace(M), atol=1e-9)
    np.testing.assert_allclose(second.evaluate(X), NTKKernelRegressor(depth=1).fit(X @ T, y).predict(X @ T), atol=1e-10)


def test_a_rotation_of_the_features_rotates_the_outer_product_and_keeps_the_predictions(rng):
    X, y = product(rng, 80)
    Q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    for (T, plain), (T_turned, turned) in islice(zip(rounds(X, y), rounds(X @ Q, y)), 4):
        np.testing.assert_allclose(T_turned, Q.T @ T @ Q, atol=1e-7)
        np.testing.assert_allclose(turned.evaluate(X @ Q), plain.evaluate(X), atol=1e-7)


def test_no_round_is_the_kernel_machine_itself(rng):
    X, y = product(rng)
    for depth in (1, None):
        model, alone = (Model(depth=depth, random_state=0) for Model in (RFMRegressor, NTKKernelRegressor))
        model.set_params(max_rounds=0).fit(X, y)
        np.testing.assert_allclose(model.predict(X + 0.1), alone.fit(X, y).predict(X + 0.1), rtol=1e-10, atol=1e-10)
        assert (model.metric_, model.cv_errors_) == ("none", {})
        assert [part.weight for part in model.stack_] == pytest.approx([part.weight for part in alone.stack_])
        model, alone = (Model(depth=depth, random_state=0) for Model in (RFMClassifier, NTKKernelClassifier))
        model.set_params(max_rounds=0).fit(X, y > 0)
        np.testing.assert_allclose(model.predict_proba(X + 0.1), alone.fit(X, y > 0).predict_proba(X + 0.1), rtol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
def test_folds_left_out_of_one_inverse_are_refits_without_them(rng, weighted):
    X, y = product(rng, 90)
    Y, weight = np.column_stack([y, X[:, 2]]), rng.uniform(0.5, 2.0, 90) if weighted else np.ones(90)
    settings, test = _rounds.of_rounds(MachineSettings()), rng.permutation(90)[:30]
    train, ridge = np.setdiff1d(np.arange(90), test), 0.9
    inverse = _held_out.Inverse.of(X, weight, ridge / 90, settings)
    coef, left_out, residuals = inverse.without(Y, train, test)
    # The penalty is relative to all of the weight in one fit, to that of the other rows in the other.
    alpha = ridge * inverse.scale / 60 * (60 * weight.sum() / (90 * weight[train].sum()))
    fitted = NTKKernelRegressor(depth=1, alpha=alpha, normalize_y=False).fit(X[train], Y[train], weight[train])
    np.testing.assert_allclose(Y[test] - residuals, fitted.predict(X[test]), rtol=1e-9)
    np.testing.assert_allclose(Y[train] - left_out, fitted.loo_predictions_, rtol=1e-9)
    K = ntk_kernel(X[test], X[train])
    intercepts = fitted.predict(X[test]) - K @ coef  # the same for all rows if the coefficients are those of the refit
    np.testing.assert_allclose(intercepts, np.tile(intercepts[0], (30, 1)), atol=1e-9)


def test_held_out_predictions_have_not_seen_the_targets_of_their_rows(rng):
    X, y = product(rng, 60)
    settings, ones = _rounds.of_rounds(MachineSettings(alpha=0.05)), np.ones(60)
    folds = [(np.setdiff1d(np.arange(60), test), test) for test in np.array_split(rng.permutation(60), 3)]

    def held_out(y):
        """Return the predictions of all candidates, of shape (n_candidates, n_rounds + 1, n)."""
        scores, products = _held_out._first_round(X, y[:, None], ones, folds, 0.01, True, settings)
        predictions = []
        for candidate in _held_out.CANDIDATES.values():
            path = _held_out.Path(candidate.diagonal, products[candidate.squares], [], [scores], [None])
            for _ in range(2):
                path.advance(X, y[:, None], ones, folds, np.arange(len(X)), settings)
            predictions.append(np.stack(path.held_out)[..., 0])
        return np.array(predictions)

    _, test = folds[1]
    changed = y.copy()
    changed[test] = 5.0 - changed[test]
    before, after = held_out(y), held_out(changed)
    rest = np.setdiff1d(np.arange(60), test)
    np.testing.assert_allclose(after[..., test], before[..., test], rtol=1e-7, atol=1e-9)
    assert np.all(np.abs(after[..., rest] - before[..., rest]) > 1e-6)


def test_rounds_with_few_factors_are_those_of_the_whole_grid(rng, monkeypatch):
    X, y = product(rng, n=200)
    whole = RFMRegressor(depth=1, random_state=0).fit(X, y)  # an eigendecomposition tries all penalties
    sizes, invert = [], _solvers._invert_factor
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", 0)
    monkeypatch.setattr(_solvers, "_invert_factor", lambda work, *rest: sizes.append(len(work)) or invert(work, *rest))
    found = RFMRegressor(depth=1, random_state=0).fit(X, y)
    assert found.n_rounds_ == whole.n_rounds_ > 0
    np.testing.assert_allclose(found.alpha_, whole.alpha_, rtol=1e-6)
    assert found.metric_ == whole.metric_
    for name, errors in whole.cv_errors_.items():
        np.testing.assert_allclose(found.cv_errors_[name], errors, rtol=1e-6)
    np.testing.assert_allclose(found.predict(X + 0.1), whole.predict(X + 0.1), rtol=1e-6, atol=1e-8)
    first = len(sizes[: sizes.index(133)])  # without a metric, on all rows; then come the folds
    assert sizes.count(200) - first <= 8  # the last round: it begins at the penalty of the folds, the others take it


def in_part(rng, n=120):
    """Return a target of which a metric explains one part, and a kernel of all columns the other."""
    X = rng.standard_normal((n, 12))
    return X, 2.0 * X[:, 0] * X[:, 1] + 0.8 * np.sign(X).sum(axis=1) + 0.1 * rng.standard_normal(n)


@pytest.mark.parametrize("weighted", [False, True])
def test_machines_in_the_metric_are_stacked_by_their_errors_on_held_out_rows(rng, weighted):
    X, y = in_part(rng)
    weight = rng.uniform(0.8, 1.25, 120) if weighted else np.ones(120)
    model = RFMRegressor(random_state=0).fit(X, y, weight)
    alone = RFMRegressor(depth=1, random_state=0).fit(X, y, weight)
    assert (model.n_rounds_, model.metric_) == (alone.n_rounds_, alone.metric_)
    np.testing.assert_array_equal(model.transformation_, alone.transformation_)
    np.testing.assert_array_equal(model.estimator_.predict(X + 0.1), alone.predict(X + 0.1))

    order = [np.flatnonzero((row == X).all(axis=1))[0] for row in model.estimator_.X_fit_]  # in which folds are drawn
    settings = MachineSettings(random_state=draw_seed(0))
    unit = np.sqrt(np.average((y - np.average(y, weights=weight)) ** 2, weights=weight))
    X, y, weight = X[order], y[order], weight[order]
    judged = _rounds.Judged.of(X, y, weight, None, unit, True, 5, _rounds.of_rounds(settings))
    smooth = judged.smooth(model.transformation_, unit)
    train, test = judged.choice.folds[0]  # the first fold chooses its penalty itself
    kernel = Transformed(smooth.kernel.kernel, judged.choice.roots[0])
    expected = NTKKernelRegressor(kernel=kernel).fit(X[train], y[train], weight[train]).predict(X[test])
    np.testing.assert_allclose(smooth.held_out[test], expected, rtol=1e-6, atol=1e-8)

    others = [part.kernel for part in NTKKernelRegressor(random_state=0).fit(X, y, weight).stack_]
    left_out = [NTKKernelRegressor(kernel=kernel).fit(X, y, weight).loo_predictions_ for kernel in others]
    predictions = np.column_stack([judged.choice.held_out * unit, smooth.held_out, *left_out])
    heavy = 1e5 * np.abs(y).max()  # a heavy row of ones: weights of sum 1
    A = np.vstack([np.sqrt(weight)[:, None] * (predictions - y[:, None]), np.full(predictions.shape[1], heavy)])
    expected = nnls(A, np.append(np.zeros(120), heavy))[0]
    assert expected[:2].sum() > 0.1
    assert expected[2:].sum() > 0.05
    assert expected[expected > 0].min() > 0.02  # smaller weights are dropped
    np.testing.assert_allclose([part.weight for part in model.stack_], np.sort(expected[expected > 0])[::-1], rtol=1e-3)

    parts = [
        part.weight * (part.kernel(X + 0.1, model.estimator_.X_fit_) @ part.dual_coef + part.intercept)
        for part in model.stack_
    ]
    np.testing.assert_allclose(model.predict(X + 0.1), sum(parts), rtol=1e-8)


def test_with_more_rows_than_are_judged_few_machines_are_fitted_to_all_of_them(rng, monkeypatch):
    X, y = in_part(rng, 500)
    monkeypatch.setattr(_rounds, "JUDGED_ROWS", 150)
    monkeypatch.setattr(_stack, "MOST", ((np.inf, 2),))
    model = RFMRegressor(random_state=0).fit(X[:300], y[:300])
    assert model.n_rounds_ > 0
    assert len(model.stack_) == 2
    alone = [NTKKernelRegressor(kernel=part.kernel).fit(X[:300], y[:300]) for part in model.stack_]
    for part, one in zip(model.stack_, alone):
        assert part.alpha == pytest.approx(one.alpha_, rel=1e-9)
    expected = sum(part.weight * one.predict(X[300:]) for part, one in zip(model.stack_, alone))
    np.testing.assert_allclose(model.predict(X[300:]), expected, rtol=1e-6)


def test_a_penalty_that_is_given_is_that_of_one_kernel(rng):
    X, y = product(rng, 80)
    given, alone = (RFMRegressor(alpha=0.01, random_state=0, **depth).fit(X, y) for depth in ({}, {"depth": 1}))
    np.testing.assert_array_equal(given.predict(X), alone.predict(X))
    assert [part.weight for part in given.stack_] == [1.0]


def test_rounds_are_made_for_two_standard_errors_and_a_twentieth_of_the_error_in_each_fold():
    noise = np.tile([1.0, -1.0], 200)  # standard deviation 1, standard error of the mean 0.05
    ones, halves = np.ones(400), [np.arange(200), np.arange(200, 400)]
    least = 2.0 * (1 + 15 / 400) * 0.05
    for base, gain, best in ((2.0, 1.01 * least, ("full", 2)), (2.0, 0.99 * least, ("none", 0))):
        rounds = np.array([base * ones, base - gain / 2 + noise, base - gain + noise])
        errors = {"full": rounds, "diagonal": rounds[:2]}
        assert _held_out.best_round(errors, ones, halves) == best
        few = {name: values[:, :100] for name, values in errors.items()}
        assert _held_out.best_round(few, 4.0 * ones[:100], [np.arange(100)]) == ("none", 0)  # a weight is no row
    small = np.array([2.0 * ones, 1.91 * ones])  # without noise, but less than a twentieth
    assert _held_out.best_round({"full": small}, ones, halves) == ("none", 0)
    uneven = np.array([2.0 * ones, np.repeat([1.0, 2.1], 200)])
    assert _held_out.best_round({"full": uneven}, ones, halves) == ("none", 0)
    assert _held_out.best_round({"full": uneven}, ones, [np.arange(400)]) == ("full", 1)
    assert _held_out.best_round({"full": np.array([ones, ones])}, ones, halves) == ("none", 0)


ABSENT = {"noise": lambda X: np.zeros(len(X)), "additive": lambda X: (np.sin(1.5 * X) + 0.5 * X**2).sum(axis=1) / 3}


@pytest.mark.parametrize("name", ABSENT)
def test_rounds_stop_where_there_is_nothing_to_find(name):
    """The gate of `benchmarks/rfm_gate.py` in small; leave-one-out within M, which sees the targets, does not pass."""
    excess = {"held out": [], "leave-one-out": []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((600, 10))
        y = ABSENT[name](X) + 0.3 * rng.standard_normal(600)
        errors, left_out = [], []
        for _, machine in islice(rounds(X[:100], y[:100]), 6):
            errors.append(np.mean((machine.evaluate(X[100:]) - y[100:]) ** 2) / y.var())
            left_out.append(machine.errors.min())
        model = RFMRegressor(random_state=seed).fit(X[:100], y[:100])
        chosen = {"held out": model.n_rounds_, "leave-one-out": np.argmin(left_out)}
        for rule, k in chosen.items():
            excess[rule].append(errors[k] - errors[0])
    mean, error = ({rule: f(e) for rule, e in excess.items()} for f in (np.mean, lambda e: np.std(e, ddof=1) / 12**0.5))
    assert mean["held out"] <= error["held out"]
    assert mean["leave-one-out"] > 3 * error["leave-one-out"]


def test_rounds_find_the_features_of_a_product():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 10))
    y = X[:, 0] * X[:, 1] * X[:, 2] + 0.85 * X[:, 3] + 0.1 * rng.standard_normal(2000)
    model = RFMRegressor(random_state=0).fit(X[:800], y[:800])
    assert set(np.argsort(-model.feature_importances_)[:4]) == {0, 1, 2, 3}
    assert model.feature_importances_[4:].sum() < 0.02
    assert NTKKernelRegressor(depth=1).fit(X[:800], y[:800]).score(X[800:], y[800:]) < 0.75
    assert model.score(X[800:], y[800:]) > 0.88


@pytest.mark.parametrize("solver", ["exact", "nystroem"])
def test_an_interaction_that_the_target_does_not_show_is_found_in_the_squared_residuals(solver):
    rng = np.random.default_rng(1)
    X = rng.uniform(-1.7, 1.7, (800, 60))
    y = (X[:, 0] * X[:, 1]) ** 3 + 0.1 * rng.standard_normal(800)  # no column explains y, two explain its square
    model = RFMRegressor(solver=solver, n_components=200, random_state=0).fit(X[:300], y[:300])
    of_target = [model.cv_errors_[name].min() for name in ("full", "diagonal")]
    assert min(of_target) > 0.95 * model.cv_errors_["full"][0]  # y alone is blind
    assert model.effective_ranks_["full"] < 1.1  # its fit is nearly linear, in a direction of noise
    assert model.metric_ == "residual"
    assert set(np.argsort(-model.feature_importances_)[:2]) == {0, 1}
    assert NTKKernelRegressor(depth=1).fit(X[:300], y[:300]).score(X[300:], y[300:]) < 0.1
    assert model.score(X[300:], y[300:]) > 0.9


def test_a_diagonal_metric_scales_the_columns_and_a_full_one_turns_them(rng):
    X = rng.standard_normal((300, 8))
    axes = RFMRegressor(random_state=0).fit(X, np.sin(2 * X[:, 0]) * X[:, 1])
    assert axes.metric_ in ("diagonal", "residual")
    off = axes.transformation_ - np.diag(np.diagonal(axes.transformation_))
    assert not off.any()
    turned = RFMRegressor(random_state=0).fit(X, np.sin(X[:, 0] + X[:, 1]) * (X[:, 2] - X[:, 3]))
    assert turned.metric_ == "full"
    np.testing.assert_allclose(turned.transformation_, turned.transformation_.T, atol=1e-12)
    assert turned.transformation_[0, 1] > 0.5 * turned.transformation_[0, 0]
    for model in (axes, turned):
        assert np.sum(model.transformation_**2) == pytest.approx(8.0, rel=1e-9)  # the trace of the metric


def test_a_metric_of_one_direction_is_reported(rng):
    X = rng.standard_normal((300, 8))
    model = RFMRegressor(random_state=0).fit(X, X @ np.arange(8.0) + 0.1 * rng.standard_normal(300))
    assert model.effective_ranks_["full"] == pytest.approx(1.0, abs=0.05)  # the gradient of a linear target is constant
    squares = np.arange(8.0) ** 2
    assert model.effective_ranks_["diagonal"] == pytest.approx(squares.sum() ** 2 / np.sum(squares**2), rel=0.1)


def test_parity_is_learned_from_fewer_rows_than_a_kernel_needs():
    X, y = make_parity(1200, 20, random_state=0)
    assert NTKKernelClassifier(depth=1).fit(X[:200], y[:200]).score(X[200:], y[200:]) < 0.9
    assert RFMClassifier(random_state=0).fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.99


def test_probabilities_are_as_sure_as_rows_not_seen_allow(rng):
    X = rng.standard_normal((2400, 20))
    y = (X[:, 0] * X[:, 1] > 0) ^ (rng.random(2400) < 0.05)
    model = RFMClassifier(random_state=0).fit(X[:400], y[:400])
    assert model.n_rounds_ > 0
    scores = model.decision_function(X[400:])

    def loss(factor):
        return log_loss(y[400:], 1 / (1 + np.exp(-factor * scores)))

    best = min(loss(factor) for factor in np.geomspace(0.1, 10, 40))
    assert loss(model.inverse_temperature_) < best + 0.01  # with leave-one-out scores given M, 0.05 above
    np.testing.assert_allclose(loss(model.inverse_temperature_), log_loss(y[400:], model.predict_proba(X[400:])))


def test_probabilities_of_several_classes_follow_from_the_scores(rng):
    X = rng.standard_normal((300, 4))
    y = np.digitize(X[:, 0] * X[:, 1], [-0.5, 0.5])
    model = RFMClassifier(random_state=0).fit(X[:200], y[:200])
    scores, t, q = model.decision_function(X), model.inverse_temperature_, model.score_power_
    odds = np.maximum(scores, 0.03) ** q * np.exp(t * scores)
    assert q > 0
    np.testing.assert_allclose(model.predict_proba(X), odds / odds.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X).argmax(axis=1))


@pytest.mark.parametrize("Model", [RFMRegressor, RFMClassifier])
def test_a_weight_is_a_number_of_copies(rng, Model):
    X, y = product(rng, 100)
    y = np.digitize(X[:, 0], [-0.5, 0.5]) if Model is RFMClassifier else np.column_stack([y, X[:, 2]])
    X[7] = X[3]
    weight = rng.integers(0, 4, 100)
    order = rng.permutation(weight.sum())
    model = Model(random_state=0).fit(X, y, 0.5 * weight)
    again = Model(random_state=0).fit(np.repeat(X, weight, axis=0)[order], np.repeat(y, weight, axis=0)[order])
    assert again.n_rounds_ == model.n_rounds_ > 0
    np.testing.assert_allclose(again.agop_, model.agop_, atol=1e-9)
    decide = "predict" if Model is RFMRegressor else "decision_function"
    np.testing.assert_allclose(getattr(again, decide)(X), getattr(model, decide)(X), atol=1e-9)


def test_outputs_count_alike_in_any_units(rng):
    X, y = product(rng)
    Y = np.column_stack([y, X[:, 2]])
    model, scaled = (RFMRegressor(random_state=0).fit(X, Y * units) for units in (1.0, np.array([1e-3, 1e4])))
    np.testing.assert_allclose(scaled.agop_, model.agop_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scaled.predict(X), model.predict(X) * [1e-3, 1e4], rtol=1e-5, atol=1e-6)
    for name, errors in model.cv_errors_.items():
        np.testing.assert_allclose(scaled.cv_errors_[name], errors, rtol=1e-6)
    column = RFMRegressor(random_state=0).fit(X, y[:, None])
    assert column.predict(X).shape == (150, 1)
    np.testing.assert_array_equal(column.predict(X)[:, 0], RFMRegressor(random_state=0).fit(X, y).predict(X))


@pytest.mark.parametrize("normalize_y", [True, False])
def test_degenerate_tables_have_the_obvious_answer(rng, normalize_y):
    X, y = product(rng, 40)
    model = RFMRegressor(normalize_y=normalize_y, random_state=0)
    constant = clone(model).fit(X, np.full(40, 7.0))
    np.testing.assert_allclose(constant.predict(X), 7.0, rtol=1e-12)
    assert constant.n_rounds_ == 0
    assert np.trace(constant.agop_) < 1e-20
    if normalize_y:
        assert not constant.feature_importances_.any()
    assert clone(model).fit(X[:1], [3.0]).predict(X[:4]).tolist() == [3.0] * 4
    few = clone(model).fit(X[:9], y[:9])
    assert few.n_rounds_ == 0
    assert few.cv_errors_ == {}
    blank = clone(model).fit(np.zeros((40, 2)), y)
    np.testing.assert_allclose(blank.predict([[0.0, 0.0], [1.0, 2.0]]), y.mean(), rtol=1e-12)
    X[:, 1] = 3.0
    dull = clone(model).fit(X, X[:, 0] ** 2)
    assert np.isfinite(dull.predict(X)).all()
    line = np.linspace(-1, 1, 40)[:, None]
    one = clone(model).fit(line, line[:, 0] ** 2)
    assert one.feature_importances_.tolist() == [1.0]
    assert one.score(line, line[:, 0] ** 2) > 0.999
    assert np.isfinite(clone(model).fit(1e150 * X, y).predict(1e150 * X)).all()
    with pytest.raises(ValueError, match="overflows double precision; scale the columns"):
        clone(model).fit(1e200 * X, y)


def test_columns_of_very_different_scales_are_warned_of_once(rng):
    X, y = product(rng, 60)
    with pytest.warns(UserWarning, match="differ in scale") as record:
        RFMRegressor(random_state=0).fit(X * [1, 1, 1, 1, 1, 1e5], y)
    assert len(record) == 1
    RFMRegressor(random_state=0).fit(X, y)  # a metric that has learned to differ is none of the data's


def test_a_class_absent_from_folds_is_still_predicted(rng):
    X = rng.standard_normal((60, 3))
    y = np.digitize(X[:, 0], [0.0, 1.0])
    y[0], X[0] = 3, 20.0
    model = RFMClassifier(random_state=0).fit(X, y)
    assert model.predict(X[:1]) == 3
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


def test_a_large_table_is_judged_on_some_rows_and_solved_with_centres(rng, monkeypatch):
    monkeypatch.setattr(_rounds, "JUDGED_ROWS", 150)
    monkeypatch.setattr(_problem, "EXACT_ROWS", 200)
    X, y = product(rng, 1000)
    model = RFMRegressor(n_components=100, random_state=0).fit(X[:600], y[:600])
    assert model.n_rounds_ > 0
    assert (model.estimator_.solver_, model.estimator_.X_fit_.shape) == ("nystroem", (100, 6))
    assert model.score(X[600:], y[600:]) > 0.95
    classes = X[:, 0] > 0
    classifier = RFMClassifier(n_components=100, random_state=0).fit(X[:600], classes[:600])
    assert classifier.n_rounds_ > 0
    assert classifier.score(X[600:], classes[600:]) > 0.95


@pytest.mark.parametrize("Model", [RFMRegressor, RFMClassifier])
def test_bad_input_is_named(rng, monkeypatch, Model):
    X, y = rng.standard_normal((20, 3)), np.arange(20) % 2
    for options in ({"max_rounds": -1}, {"alpha": "gcv"}, {"depth": -1}, {"solver": "cg"}, {"n_components": 0}):
        with pytest.raises(ValueError, match=f"'{next(iter(options))}' parameter"):
            Model(**options).fit(X, y)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        Model().fit(np.where(X > 1, np.nan, X), y)
    monkeypatch.setattr(_solvers, "_memory_limit", lambda: 400_000)
    with pytest.raises(MemoryError, match=r"100 x 100 .*use fewer features"):
        Model().fit(rng.standard_normal((20, 100)), y)


def test_one_class_is_named(rng):
    with pytest.raises(ValueError, match=r"y has one class, .*needs\s+rows of at least two"):
        RFMClassifier().fit(rng.standard_normal((20, 3)), np.zeros(20))


def test_the_display_draws_the_features_in_their_order(rng):
    pd = pytest.importorskip("pandas")
    plt = pytest.importorskip("matplotlib.pyplot")
    X, y = product(rng)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = RFMRegressor(random_state=0).fit(frame, y)
    display = AGOPDisplay.from_estimator(model, max_features=3)
    top = np.argsort(-model.feature_importances_)[:3]
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == [*frame.columns[top]]
    largest = model.agop_.max()
    np.testing.assert_allclose(display.im_.get_array(), model.agop_[np.ix_(top, top)] / largest)
    assert display.figure_ is display.ax_.figure
    pipeline = make_pipeline(StandardScaler(), model).fit(frame, y)
    _, ax = plt.subplots()
    display = AGOPDisplay.from_estimator(pipeline, ax=ax)
    assert display.ax_ is ax
    assert sorted(label.get_text() for label in ax.get_xticklabels()) == list("abcdef")
    with pytest.raises(ValueError, match="estimator is a Ridge, which has no agop_; give a fitted RFMRegressor"):
        AGOPDisplay.from_estimator(Ridge().fit(X, y))
    with pytest.raises(ValueError, match="feature_names has 2 names; the matrix has 6 features"):
        AGOPDisplay.from_estimator(model, feature_names=["a", "b"])
    plt.close("all")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the loader leaves a file open
def test_a_development_table_that_kernels_find_hard_is_learned(dev_sets):
    data = dev_sets("fd__monks-1")  # (a = b) or c: three of six features
    train, test = data["splits"][0]
    model, plain = (
        make_pipeline(StandardScaler(), m) for m in (RFMClassifier(random_state=0), NTKKernelClassifier(depth=1))
    )
    for pipeline in (model, plain):
        pipeline.fit(data["X"][train], data["y"][train])
    assert plain.score(data["X"][test], data["y"][test]) < 0.95
    assert model.score(data["X"][test], data["y"][test]) == 1.0


@pytest.mark.parametrize("Estimator", [RFMRegressor, RFMClassifier])
def test_importances_select_the_columns_that_the_target_reads(rng, Estimator):
    X = rng.standard_normal((200, 6))
    y = X[:, 1] * X[:, 4]
    model = Estimator(random_state=0, max_rounds=2)
    target = (y > 0).astype(int) if Estimator is RFMClassifier else y
    assert not hasattr(model, "feature_importances_")
    selected = SelectFromModel(model, threshold="mean").fit(X, target)
    np.testing.assert_array_equal(selected.get_support(indices=True), [1, 4])
    importances = selected.estimator_.feature_importances_
    agop = selected.estimator_.agop_
    np.testing.assert_allclose(importances, np.diagonal(agop) / np.trace(agop), rtol=1e-12)
    assert importances.sum() == pytest.approx(1.0, rel=1e-12)
    with pytest.raises(NotFittedError):
        model.predict(X)  # the one given was cloned
    dropped = RFE(Estimator(random_state=0, max_rounds=1), n_features_to_select=2, step=2).fit(X, target)
    np.testing.assert_array_equal(dropped.get_support(indices=True), [1, 4])


def test_folds_are_of_whole_blocks_and_about_equal(rng):
    block = np.unique(rng.integers(0, 12, 90), return_inverse=True)[1]
    folds = _held_out.folds_of(block, 0)
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(90))
    for train, test in folds:
        assert not set(block[train]) & set(block[test])
        assert abs(len(test) - 30) <= np.bincount(block).max()
    drawn = np.array_split(np.random.default_rng(0).permutation(90), 3)  # without blocks, any rows
    for (_, test), expected in zip(_held_out.folds_of(np.arange(90), 0), drawn):
        np.testing.assert_array_equal(test, expected)
    assert [len(test) for _, test in _held_out.folds_of(np.repeat([0, 1], [2, 88]), 0)] in ([2, 88], [88, 2])


def test_what_groups_share_foretells_nothing_of_others(rng):
    effects, group = rng.standard_normal(30), rng.permutation(150) % 30
    X = rng.standard_normal((30, 4))[group] + 0.02 * rng.standard_normal((150, 4))
    y = effects[group]
    known, unknown = RFMRegressor(random_state=0).fit(X, y, groups=group), RFMRegressor(random_state=0).fit(X, y)
    assert min(errors.min() for errors in known.cv_errors_.values()) > 0.8  # of a variance of 1
    assert unknown.cv_errors_["full"][0] < 0.1
    machine = NTKKernelRegressor(depth=1, random_state=0).fit(X, y, groups=group)
    assert (known.n_rounds_, known.alpha_) == (0, pytest.approx(machine.alpha_))
    of_groups = RFMClassifier(random_state=0).fit(X, y > 0, groups=group)
    assert of_groups.inverse_temperature_ < RFMClassifier(random_state=0).fit(X, y > 0).inverse_temperature_ / 3
    with pytest.raises(ValueError, match="groups joins all rows"):
        RFMRegressor().fit(X, y, groups=np.ones(150))
