"""What follows from one solution: blocks left out, intervals, the posterior, influence, and training for a time."""

import json
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import expm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk import NNGP, NTK, RBF, GaussianProcessKernel, Laplace, _problem, _solvers
from sklearn_ltdl.ntk._flow import GradientFlow
from sklearn_ltdl.ntk._machine import Machine
from sklearn_ltdl.ntk._problem import MachineSettings

FOLDER = Path(__file__).parent
FLOWS = json.loads((FOLDER / "golden.json").read_text())["flows"]


def table(rng, n=40):
    X = rng.standard_normal((n, 3))
    return X, np.column_stack([X[:, 0] * X[:, 1] + 0.1 * rng.standard_normal(n), 50 + X[:, 2]])


def without(model, X, Y, weight, rows):
    """Return a refit without some rows, with the same kernel and the same alpha times the sum of the weights."""
    kept = np.setdiff1d(np.arange(len(X)), rows)
    alpha = model.alpha_ * weight.sum() / weight[kept].sum()
    return NTKKernelRegressor(kernel=model.kernel_, alpha=alpha).fit(X[kept], Y[kept], weight[kept])


@pytest.fixture(params=["eigenvectors", "cholesky"])
def solver(request, monkeypatch):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", 3000 if request.param == "eigenvectors" else 0)


@pytest.mark.usefixtures("solver")
def test_groups_and_the_copies_of_their_rows_leave_together(rng):
    X, Y = table(rng)
    X[7] = X[20]  # joins group 1 and group 4
    groups = np.arange(40) // 5
    weight = rng.uniform(0.5, 2.0, 40)
    weight[3] = 0.0
    model = NTKKernelRegressor(alpha=1e-2).fit(X, Y, weight, groups=groups)
    for block in [[0, 1, 2, 4], [*range(5, 10), *range(20, 25)], [*range(10, 15)], [*range(35, 40)]]:
        refit = without(model, X, Y, weight, [*block, 3])
        np.testing.assert_allclose(model.loo_predictions_[block], refit.predict(X[block]), rtol=1e-9, atol=1e-9)
    shuffled = rng.permutation(8)[groups].astype(str)
    again = NTKKernelRegressor(alpha=1e-2).fit(X, Y, weight, groups=shuffled)
    np.testing.assert_allclose(again.loo_predictions_, model.loo_predictions_, rtol=1e-10)


def test_groups_keep_alpha_honest_where_rows_of_a_group_share_their_noise(rng):
    groups = np.repeat(np.arange(30), 10)
    X = rng.standard_normal((30, 2))[groups] + 0.05 * rng.standard_normal((300, 2))
    y = X[:, 0] + rng.standard_normal(30)[groups]  # each group has one draw of noise
    alone, together = NTKKernelRegressor().fit(X, y), NTKKernelRegressor().fit(X, y, groups=groups)
    fresh = rng.standard_normal((500, 2))
    errors = [np.mean((model.predict(fresh) - fresh[:, 0]) ** 2) for model in (alone, together)]
    assert together.alpha_ > 10 * alone.alpha_
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("kernel", ["ntk", "precomputed"])
def test_influence_is_the_change_of_a_refit(rng, kernel):
    X, Y = table(rng)
    X[7] = X[20]
    weight = rng.uniform(0.5, 2.0, 40)
    weight[3] = 0.0
    groups = np.where(np.arange(40) < 3, 0, np.arange(40))
    new, K = rng.standard_normal((6, 3)), NTK()
    model = NTKKernelRegressor(depth=1, alpha=1e-2).fit(X, Y, weight, groups=groups)
    if kernel == "precomputed":
        by_matrix = NTKKernelRegressor(kernel=kernel, alpha=1e-2).fit(K(X), Y, weight, groups=groups)
        influence = by_matrix.influence(K(new, X))
    else:
        influence = model.influence(new)
    assert influence.shape == (6, 40, 2)
    for row, block in [(0, [0, 1, 2]), (7, [7, 20]), (20, [7, 20]), (30, [30])]:
        change = model.predict(new) - without(model, X, Y, weight, [*block, 3]).predict(new)
        np.testing.assert_allclose(influence[:, row], change, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(influence[:, 3], 0.0)


def test_influence_on_a_class_is_that_of_the_regression_on_its_code(rng):
    X, Y = table(rng)
    codes = np.digitize(Y[:, 0], [-0.3, 0.3])
    new = rng.standard_normal((5, 3))
    classifier = NTKKernelClassifier(alpha=1e-2).fit(X, codes)
    regressor = NTKKernelRegressor(alpha=1e-2, normalize_y=False).fit(X, np.eye(3)[codes])
    np.testing.assert_allclose(classifier.influence(new), regressor.influence(new), rtol=1e-10)
    two = NTKKernelClassifier(alpha=1e-2).fit(X, codes > 0)
    signed = NTKKernelRegressor(alpha=1e-2, normalize_y=False).fit(X, np.where(codes > 0, 1.0, -1.0))
    np.testing.assert_allclose(two.influence(new), signed.influence(new), rtol=1e-10)


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("weighted", [False, True])
def test_intervals_are_the_jackknife_plus_of_its_definition(rng, weighted):
    X, Y = table(rng)
    X[7] = X[20]
    weight = rng.integers(1, 4, 40).astype(float) if weighted else np.ones(40)
    new = rng.standard_normal((5, 3))
    model = NTKKernelRegressor(alpha=1e-2).fit(X, Y, weight)
    lower, upper = model.predict_interval(new, coverage=0.8)
    blocks = [[7, 20] if i in (7, 20) else [i] for i in range(40)]
    others = np.array([without(model, X, Y, weight, block).predict(new) for block in blocks])  # (40, 5, 2)
    residuals = np.abs(Y - model.loo_predictions_)[:, None]
    copies = np.repeat(np.arange(40), weight.astype(int))
    rank = int(0.2 * (len(copies) + 1) * (1 + 1e-9))  # from above
    for ends, sign in ((lower, 1), (-upper, -1)):
        values = np.sort((sign * others - residuals)[copies], axis=0)
        np.testing.assert_allclose(ends, values[rank - 1], rtol=1e-7, atol=1e-7)


def test_intervals_of_random_centres_are_the_quantile_of_left_out_residuals(rng):
    X, Y = table(rng, 300)
    model = NTKKernelRegressor(solver="nystroem", n_components=100, random_state=0).fit(X, Y)
    width = np.sort(np.abs(Y - model.loo_predictions_), axis=0)[-30]  # floor of .1 (300 + 1)
    lower, upper = model.predict_interval(X)
    np.testing.assert_allclose(upper - model.predict(X), np.broadcast_to(width, Y.shape), rtol=1e-9)
    np.testing.assert_allclose(model.predict(X) - lower, np.broadcast_to(width, Y.shape), rtol=1e-9)


def test_intervals_have_no_end_when_rows_are_too_few_for_them(rng):
    X, Y = table(rng, 8)
    lower, upper = NTKKernelRegressor().fit(X, Y).predict_interval(X, coverage=0.9)  # .1 (8 + 1) is less than one row
    assert np.all(lower == -np.inf)
    assert np.all(upper == np.inf)


def test_intervals_of_few_rows_have_no_end_and_of_many_no_width_if_the_target_is_constant(rng):
    X = rng.standard_normal((30, 2))
    few, many = (NTKKernelRegressor(depth=1).fit(X[:n], np.full(n, 7.0)) for n in (5, 30))
    assert [ends.tolist() for ends in few.predict_interval(X[:2])] == [[-np.inf] * 2, [np.inf] * 2]
    assert [ends.tolist() for ends in many.predict_interval(X[:2])] == [[7.0] * 2, [7.0] * 2]


def sample_of(rng, problem, n):
    X = rng.standard_normal((n, 4))
    noise = {"smooth": 0.3, "pure noise": 1.0, "heavy tails": 0.3, "heteroscedastic": 0.1 + 0.5 * np.abs(X[:, 0])}
    errors = rng.standard_t(3, n) if problem == "heavy tails" else rng.standard_normal(n)
    signal = 0.0 if problem == "pure noise" else np.sin(X[:, 0]) + X[:, 1] * X[:, 2] / 2
    return X, signal + noise[problem] * errors


@pytest.mark.parametrize("problem", ["smooth", "pure noise", "heavy tails", "heteroscedastic"])
def test_intervals_hold_their_coverage(problem):
    # 200 draws of 60 rows and 100 new ones, alpha chosen each time: nominal 90 % less two standard errors over draws.
    hits = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        (X, y), (new, target) = sample_of(rng, problem, 60), sample_of(rng, problem, 100)
        lower, upper = NTKKernelRegressor(kernel="ntk").fit(X, y).predict_interval(new)
        hits.append(np.mean((lower <= target) & (target <= upper)))
    assert np.mean(hits) >= 0.9 - 2 * np.std(hits, ddof=1) / np.sqrt(200)
    assert np.mean(hits) <= 0.95


@pytest.mark.usefixtures("solver")
def test_posterior_is_that_of_a_gaussian_process_with_a_flat_intercept(rng):
    X, Y = table(rng)
    new = rng.standard_normal((7, 3))
    model = NTKKernelRegressor(depth=1, alpha=1e-2, normalize_y=False).fit(X, Y[:, 0])
    mean, std = model.predict(new, return_std=True)
    y = Y[:, 0] - Y[:, 0].mean()
    A = NTK()(X) + 40 * 1e-2 * np.eye(40)
    ones = np.linalg.solve(A, np.ones(40))
    scale = (y @ np.linalg.solve(A, y) - (ones @ y) ** 2 / ones.sum()) / 40  # the intercept is fitted
    # A flat prior is the limit of a constant of variance c: the rest falls as 1 / c, rounding grows as c.
    kernel = ConstantKernel(1e5, "fixed") + GaussianProcessKernel(NTK())
    process = GaussianProcessRegressor(kernel, alpha=40 * 1e-2, optimizer=None).fit(X, Y[:, 0])
    expected_mean, expected = process.predict(new, return_std=True)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(std, np.sqrt(scale) * expected, rtol=1e-4)
    np.testing.assert_array_equal(mean, model.predict(new))


def test_posterior_of_a_callable_is_that_of_the_kernel(rng):
    X, Y = table(rng)
    for weight in (None, rng.uniform(0.5, 2.0, 40)):
        one = NTKKernelRegressor(kernel=NTK(2), alpha=1e-2).fit(X, Y, weight)
        other = NTKKernelRegressor(kernel=lambda A, B: NTK(2)(A, B), alpha=1e-2).fit(X, Y, weight)
        for mine, theirs in zip(one.predict(X[:5] + 0.1, True), other.predict(X[:5] + 0.1, True)):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9)


@pytest.mark.parametrize("case", FLOWS, ids=lambda case: case["name"])
def test_training_for_a_time_equals_reference_values(case):
    with np.load(FOLDER / "golden.npz") as arrays:
        golden = dict(arrays)
    X, new, Y = golden["Xtr"], golden["Xte"], golden["ytr"]
    options = dict(w_std=case["W_std"], b_std=case["b_std"] / case["W_std"], hidden_b_std=case["b_std"])
    kernel = (NTK if case["get"] == "ntk" else NNGP)(case["depth"], **options)
    flow = GradientFlow.of(kernel, X, Y, np.ones(8), case["diag_reg"])
    time = np.inf if case["t"] == "inf" else case["t"] / Y.shape[1]  # theirs is the mean over outputs too
    # With an added diagonal, theirs has it between a row and itself on the training rows too, and in the NNGP.
    for points, suffix in ((new, ""), (X, "_train"))[: 1 if case["diag_reg"] else 2]:
        P = flow.smoother(points, time)
        np.testing.assert_allclose(P @ Y, golden[f"{case['name']}__mean{suffix}"], rtol=1e-10, atol=1e-10)
        if case["diag_reg"] and case["get"] == "nngp":
            continue
        expected = golden[f"{case['name']}__cov{suffix}"]
        np.testing.assert_allclose(flow.covariance(points, P), expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(flow.std(points, P) ** 2, np.diag(expected), rtol=1e-10, atol=1e-10)
    if not case["diag_reg"]:
        model = NTKKernelRegressor(kernel=kernel, normalize_y=False).fit(X, Y)
        [(mean, std)] = model.staged_predict(new, [time], return_std=True)
        np.testing.assert_allclose(mean, golden[f"{case['name']}__mean"], rtol=1e-10, atol=1e-10)
        variance = np.diag(golden[f"{case['name']}__cov"])
        np.testing.assert_allclose(std**2, np.column_stack([variance, variance]), rtol=1e-9, atol=1e-9)


def test_training_for_a_time_solves_its_differential_equation(rng):
    X, Y = table(rng, 15)
    weight = rng.uniform(0.5, 2.0, 15)
    model = NTKKernelRegressor(depth=1).fit(X, Y[:, 0], weight)
    K, s = NTK()(X), weight / weight.sum()
    mean = s @ Y[:, 0]
    # d f / dt = -K diag(s) (f - y) from f = mean: f - y = expm(-t K diag(s)) (mean - y) on the data.
    for time, staged in zip([0.0, 0.3, 20.0], model.staged_predict(X, [0.0, 0.3, 20.0])):
        expected = Y[:, 0] + expm(-time * K * s) @ (mean - Y[:, 0])
        np.testing.assert_allclose(staged, expected, rtol=1e-9, atol=1e-9)


def test_classes_after_a_time_are_those_of_the_regression_on_codes(rng):
    X, Y = table(rng, 60)
    codes = np.digitize(Y[:, 0], [-0.3, 0.3])
    new, times = rng.standard_normal((50, 3)), [0.1, 10.0, np.inf]
    classifier = NTKKernelClassifier(kernel="ntk").fit(X, codes)
    regressor = NTKKernelRegressor(kernel="ntk").fit(X, np.eye(3)[codes])
    for classes, scores in zip(classifier.staged_predict(new, times), regressor.staged_predict(new, times)):
        np.testing.assert_array_equal(classes, scores.argmax(axis=1))


def test_of_several_kernels_the_one_of_least_error_is_taken(rng):
    X, Y = table(rng, 80)
    kernels = [RBF(0.05), NTK(1), NTK(3), Laplace(2.0)]
    model = NTKKernelRegressor(kernel=kernels).fit(X, Y)
    alone = [NTKKernelRegressor(kernel=kernel).fit(X, Y) for kernel in kernels]
    least = [one.loo_error_path_.min() for one in alone]
    np.testing.assert_allclose(model.kernel_loo_errors_, least, rtol=1e-8)
    best = alone[int(np.argmin(least))]
    assert model.kernel_ == best.kernel_
    np.testing.assert_allclose(model.predict(X + 0.1), best.predict(X + 0.1), rtol=1e-9)


def test_without_depth_and_activation_three_networks_are_tried(rng):
    X, Y = table(rng, 80)
    model = NTKKernelRegressor(kernel="ntk").fit(X, Y)
    kernels = [NTK(1), NTK(3), NTK(1, activation="gelu")]
    expected = NTKKernelRegressor(kernel=kernels).fit(X, Y)
    assert model.kernel_ == expected.kernel_
    np.testing.assert_array_equal(model.kernel_loo_errors_, expected.kernel_loo_errors_)
    assert NTKKernelRegressor(depth=2).fit(X, Y).kernel_ == NTK(2)
    assert NTKKernelRegressor(kernel="nngp", activation="erf").fit(X, Y).kernel_ == NNGP(1, activation="erf")
    assert NTKKernelRegressor(depth=0).fit(X, Y).kernel_ == NTK(0)


def test_a_machine_is_a_value_that_no_question_changes(rng):
    X, Y = table(rng)
    new = rng.standard_normal((5, 3))
    machine, model = Machine.of(X, Y, np.ones(40), MachineSettings(depth=1)), NTKKernelRegressor(depth=1).fit(X, Y)
    assert MachineSettings()._asdict() == NTKKernelRegressor().get_params()
    before = pickle.dumps(machine)
    np.testing.assert_array_equal(machine.evaluate(new), model.predict(new))
    np.testing.assert_array_equal(machine.intervals(new, 0.8), model.predict_interval(new, 0.8))
    np.testing.assert_array_equal(machine.influence(new), model.influence(new))
    np.testing.assert_array_equal(machine.posterior_std(new), model.predict(new, return_std=True)[1])
    assert pickle.dumps(machine) == before  # also the smoother that they share is not in it
    with pytest.raises(FrozenInstanceError):
        machine.alpha = 1.0


@pytest.mark.parametrize("factor", [1 / 3, 1, 3])
def test_a_search_that_begins_near_the_penalty_ends_at_it(rng, monkeypatch, factor):
    monkeypatch.setattr(_solvers, "SPECTRAL_ROWS", 0)
    monkeypatch.setattr(_problem, "SPECTRAL_ROWS", 0)
    X, Y = table(rng, 80)
    Y += rng.standard_normal(Y.shape)
    settings = MachineSettings(depth=1)
    found = Machine.of(X, Y, np.ones(80), settings)
    again = Machine.of(X, Y, np.ones(80), settings, start=factor * found.relative_alpha)
    assert again.alpha == pytest.approx(found.alpha, rel=1e-12)
    np.testing.assert_allclose(again.evaluate(X + 0.1), found.evaluate(X + 0.1), rtol=1e-9)
    assert again.n_iter < found.n_iter  # penalties tried


def test_a_pickled_model_is_small_and_makes_its_intervals_again(rng):
    X, Y = table(rng, 300)
    model = NTKKernelRegressor(kernel="ntk").fit(X, Y)
    data = pickle.dumps(model)
    assert len(data) < 300 * 300  # bytes; the smoother has eight times as many
    again = pickle.loads(data)
    for mine, theirs in zip(again.predict_interval(X[:9]), model.predict_interval(X[:9])):
        np.testing.assert_array_equal(mine, theirs)
    by_matrix = NTKKernelRegressor(kernel="precomputed").fit(NTK()(X), Y)
    again = pickle.loads(pickle.dumps(by_matrix))
    np.testing.assert_array_equal(again.influence(NTK()(X)), by_matrix.influence(NTK()(X)))


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (dict(depth=-1), "'depth' parameter"),
        (dict(kernel=[]), "kernel is an empty list"),
        (dict(kernel=["ntk", "precomputed"]), "kernel is a list with 'precomputed'"),
        (dict(kernel=["ntk", 3]), "kernel is a list with 3"),
        (dict(activation="swish"), "'activation' parameter"),
    ],
)
def test_bad_choices_are_named(rng, fit, message):
    X, Y = table(rng)
    with pytest.raises(ValueError, match=message):
        NTKKernelRegressor(**fit).fit(X, Y)


def test_bad_groups_are_named(rng):
    X, Y = table(rng)
    with pytest.raises(ValueError, match="groups joins all rows"):
        NTKKernelRegressor().fit(X, Y, groups=np.zeros(40))
    with pytest.raises(ValueError, match=r"groups has shape \(39,\)"):
        NTKKernelRegressor().fit(X, Y, groups=np.zeros(39))


NTK_ALONE = {"kernel": "ntk"}
ERF = NTK(1, activation="erf")  # of large rows bounded off its diagonal only


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({}, lambda m, X: m.predict_interval(X, coverage=90), "coverage is 90; it must be a number of at least 0.5"),
        ({}, lambda m, X: m.predict_interval(X, coverage=None), "coverage is None; it must be a number of"),
        (NTK_ALONE, lambda m, X: list(m.staged_predict(X, 0.5)), "times is 0.5; it must be a list of numbers"),
        (NTK_ALONE, lambda m, X: list(m.staged_predict(X, ["late"])), "times contains 'late'"),
        ({"kernel": NTK()}, lambda m, X: list(m.staged_predict(1e200 * X, [1.0])), "The kernel of X overflows"),
        ({"kernel": ERF}, lambda m, X: m.predict(1e155 * X, return_std=True), "The kernel of X overflows"),
        (NTK_ALONE, lambda m, X: list(m.staged_predict(X, [-1.0])), "times contains -1.0"),
        (NTK_ALONE, lambda m, X: list(m.staged_predict(X, [np.nan])), "times contains nan"),
        ({"kernel": RBF()}, lambda m, X: list(m.staged_predict(X, [1.0])), "staged_predict needs the kernel"),
        (
            {"kernel": "ntk", "solver": "nystroem"},
            lambda m, X: list(m.staged_predict(X, [1.0])),
            "staged_predict needs solver='exact'",
        ),
        ({"solver": "nystroem"}, lambda m, X: m.predict(X, return_std=True), "return_std needs solver='exact'"),
        ({"solver": "nystroem"}, lambda m, X: m.influence(X), "influence needs solver='exact'"),
    ],
)
def test_what_a_model_cannot_tell_is_said(rng, options, call, message):
    X, Y = table(rng)
    model = NTKKernelRegressor(**options).fit(X, Y[:, 0])
    with pytest.raises(ValueError, match=message):
        call(model, X)


def test_a_precomputed_kernel_has_no_posterior_and_no_training_time(rng):
    X, Y = table(rng)
    K = NTK()(X)
    model = NTKKernelRegressor(kernel="precomputed").fit(K, Y)
    with pytest.raises(ValueError, match="return_std needs the kernel of each row with itself"):
        model.predict(K, return_std=True)
    with pytest.raises(ValueError, match="staged_predict needs the kernel of a network"):
        list(model.staged_predict(K, [1.0]))


def test_columns_of_very_different_scales_and_a_missing_bias_are_warned_of(rng):
    X, Y = table(rng)
    with pytest.warns(UserWarning, match=r"differ in scale by a factor of \d.*\(columns 2 and 0\).*StandardScaler"):
        NTKKernelRegressor().fit(X * [1.0, 10.0, 1e4], Y)
    with pytest.warns(UserWarning, match="has no bias: on one column it can only represent a line"):
        NTKKernelRegressor(kernel=NTK(2, b_std=0.0)).fit(X[:, :1], Y)
    NTKKernelRegressor(kernel=NTK(0, b_std=0.0)).fit(X[:, :1], Y)  # a linear kernel is meant to be one
    NTKKernelRegressor().fit(np.column_stack([X, np.full(40, 1e9)]), Y)  # a constant column has no scale


@pytest.mark.filterwarnings("ignore:The columns of X have ranges")
@pytest.mark.parametrize("norm", [1e-150, 1e-8, 1e8, 1e150])
@pytest.mark.parametrize("kernel", ["ntk", "laplace", NTK(3, b_std=0.0, hidden_b_std=0.1), NTK(1, activation="erf")])
def test_rows_of_any_norm_give_finite_predictions_and_intervals(rng, norm, kernel):
    X, Y = table(rng)
    X[0] = 0.0
    model = NTKKernelRegressor(kernel=kernel).fit(norm * X, Y)
    for values in (model.predict(norm * X), *model.predict_interval(norm * X), model.predict(norm * X, True)[1]):
        assert np.isfinite(values).all()


def test_the_choice_on_a_pilot_takes_whole_groups(rng, monkeypatch):
    monkeypatch.setattr(_problem, "PILOT_ROWS", 30)
    X, Y = table(rng, 60)
    model = NTKKernelRegressor(kernel=["ntk", "laplace"], random_state=0).fit(X, Y, groups=np.arange(60) // 4)
    assert np.isfinite(model.kernel_loo_errors_).all()
    large = NTKKernelRegressor(kernel=["ntk", "laplace"], random_state=0).fit(X, Y, groups=np.arange(60) // 31)
    assert np.isfinite(large.kernel_loo_errors_).all()
    assert len(model.kernel_loo_errors_) == 3 + len(_problem.LENGTH_FACTORS["laplace"])


REGRESSION = [
    *("hl__kin8nm", "hl__naval-propulsion-plant", "hl__wine-quality-red", "large__diamonds", "sk__diabetes"),
    *("uci__autompg", "uci__autos", "uci__breastcancer", "uci__kin40k", "uci__machine", "uci__pol"),
    *("uci__pumadyn32nm", "uci__sml", "uci__solar", "uci__stock", "uci__wine"),
]


def test_intervals_hold_their_coverage_on_real_tables(dev_sets):
    hits = []
    for name in REGRESSION:
        data, rng = dev_sets(name), np.random.default_rng(0)
        X, y = data["X"], data["y"]
        for train, test in data["splits"][:2] or [np.split(rng.permutation(len(y)), [len(y) * 4 // 5])]:
            train, test = rng.permutation(train)[:200], rng.permutation(test)[:300]
            scaler = StandardScaler().fit(X[train])
            model = NTKKernelRegressor().fit(scaler.transform(X[train]), y[train])
            lower, upper = model.predict_interval(scaler.transform(X[test]))
            hits.append(np.mean((lower <= y[test]) & (y[test] <= upper)))
    assert 0.88 <= np.mean(hits) <= 0.95
