import itertools
import json

import numpy as np
import pytest
from scipy import stats

from sklearn_ltdl.study._verdict import Contrast, best_of, decide, draw_contrasts, interval

FAMILIES = {
    "dummy": "dummy",
    "linear": "linear",
    "rbf": "kernel",
    "ntk": "kernel",
    "lazy": "network",
    "rich": "network",
    "forest": "trees",
}


QUESTIONS = (
    "signal",
    "beyond_linear",
    "feature_learning",
    "rich_against_kernel",
    "rich_against_linear",
    "beyond_all",
)


def contrasts(ends):
    return {name: Contrast(name, "a", "b", sum(ends[name]) / 2, *ends[name], 0.01, 100) for name in ends}


def folds(n, repeats=1, k=5, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.permutation(np.arange(n) % k) for _ in range(repeats)])


def losses(means, n=4000, noise=0.02, seed=0):
    """Per-row losses with the given means, a row's difficulty being common to all methods."""
    rng = np.random.default_rng(seed)
    difficulty = rng.exponential(size=(n, 1)) - 1
    return {name: mean + 0.5 * difficulty + noise * rng.standard_normal((n, 1)) for name, mean in means.items()}


def verdict(noise=0.02, margin=0.01, without=(), **means):
    means = {"dummy": 1.0, **means}
    families = {name: FAMILIES[name] for name in means}
    drawn = {name: loss for name, loss in losses(means, noise=noise).items() if name not in without}
    return decide(draw_contrasts(drawn, families, folds(4000), margin))


ALL = {"linear": 0.5, "rbf": 0.5, "ntk": 0.5, "lazy": 0.5, "rich": 0.5, "forest": 0.5}


@pytest.mark.parametrize(
    ("code", "means"),
    [
        ("nothing", dict.fromkeys(ALL, 1.0)),
        ("nothing", dict.fromkeys(ALL, 1.2)),
        ("linear", ALL),
        ("linear", {**ALL, "rbf": 0.7, "ntk": 0.7, "lazy": 0.9, "rich": 0.6, "forest": 0.8}),
        ("kernel", {**ALL, "ntk": 0.3, "lazy": 0.3, "rich": 0.3}),
        ("kernel", {**ALL, "rbf": 0.3, "rich": 0.4}),  # learns features, but a kernel is better still
        ("features", {**ALL, "rich": 0.3}),
        ("features", {**ALL, "rbf": 0.3, "rich": 0.3}),  # beats the lazy network, no worse than the best kernel
        ("linear", {**ALL, "linear": 0.3, "rich": 0.3}),  # features beat the lazy network, but a line does as well
        ("trees", {**ALL, "forest": 0.3}),
        ("trees", {**ALL, "rich": 0.4, "forest": 0.3}),
        ("features", {**ALL, "rich": 0.3, "forest": 0.3}),
        ("unclear", {**ALL, "lazy": 0.3, "rich": 0.3}),  # two networks beat the line, no kernel does
    ],
)
def test_verdict_is_the_simplest_kind_of_model_that_is_as_good_as_any(code, means):
    given = verdict(**means)
    assert given.code == code, given.sentence
    json.dumps(given.evidence, allow_nan=False)


@pytest.mark.parametrize("code", ["linear", "kernel", "features", "trees"])
def test_noise_makes_every_claim_unclear(code):
    means = {**ALL, **{"kernel": {"rbf": 0.45}, "features": {"rich": 0.45}, "trees": {"forest": 0.45}}.get(code, {})}
    assert verdict(noise=0.02, **means).code == code
    noisy = verdict(noise=4.0, **means)
    assert noisy.code == "unclear"
    assert "Cannot tell whether" in noisy.sentence
    assert " rows would decide it" in noisy.sentence


def test_what_was_not_asked_for_is_not_claimed_and_what_failed_is_undecided():
    assert verdict(linear=0.5).code == "linear"
    assert verdict(linear=0.5, forest=0.4).code == "trees"
    assert verdict(linear=0.5, rbf=0.4).code == "kernel"
    failed = verdict(without=["forest"], **ALL)
    assert failed.code == "unclear"
    assert "trees beat every other model, since its models failed" in failed.sentence
    assert failed.evidence["beyond_all"] == {"question": "trees beat every other model", "answer": "undecided"}
    assert verdict(without=["rich"], **{**ALL, "rbf": 0.4}).code == "unclear"
    assert verdict(without=["ntk"], **ALL).code == "linear"  # another kernel is there


def test_only_what_blocks_the_verdict_is_called_undecided():
    wide, yes, no = (-0.5, 0.5), (0.1, 0.2), (-0.2, -0.1)
    ends = dict(zip(QUESTIONS, [yes, wide, no, wide, yes, no]))  # features are refuted by the lazy network already
    decision = decide(contrasts(ends))
    assert "whether a kernel beats the linear model" in decision.sentence
    assert "rich" not in decision.sentence
    assert decision.evidence["feature_learning"]["answer"] == "no"


def test_margin_decides_what_counts():
    means = {**ALL, "rbf": 0.48, "ntk": 0.48, "lazy": 0.48, "rich": 0.48}
    assert verdict(margin=0.005, **means).code == "kernel"
    assert verdict(margin=0.05, **means).code == "linear"


def test_row_interval_is_students():
    half = np.random.default_rng(0).standard_normal(100)
    d = np.concatenate([half, 0.1 - half])[:, None]
    fold_of = np.tile(np.arange(100) % 5, 2)  # every fold has the same mean: the rows' interval is the wider
    expected = stats.ttest_1samp(d[:, 0], 0).confidence_interval(0.95)
    assert interval(d, fold_of[:, None]) == pytest.approx((d.mean(), *expected), rel=1e-12)


def test_fold_interval_is_that_of_nadeau_and_bengio():
    n, k, repeats = 100, 5, 2
    fold_of = folds(n, repeats, k)
    d = fold_of.astype(float)  # all the variance is between folds
    center, low, high = interval(d, fold_of)
    by_fold = np.tile(np.arange(k), repeats)
    J, n_test, n_train = k * repeats, n // k, n - n // k
    half = stats.t.ppf(0.975, J - 1) * np.sqrt((1 / J + n_test / n_train) * by_fold.var(ddof=1))
    assert (center, low, high) == pytest.approx((2.0, 2 - half, 2 + half), rel=1e-12)


def test_interval_covers_the_mean_at_least_as_often_as_it_says():
    rng = np.random.default_rng(0)
    fold_of = folds(60)
    misses = 0
    for _ in range(1000):
        _, low, high = interval(rng.exponential(size=(60, 1)) - 1, fold_of)
        misses += not low < 0 < high
    assert misses <= stats.binom.ppf(0.999, 1000, 0.05)


def test_best_of_equal_methods_looks_no_better_than_each():
    # Picking by the losses that are then compared would gain about 1.16 standard errors (the mean of the least of 4).
    n, names, fold_of = 100, list("abcd"), folds(100)
    rng = np.random.default_rng(0)
    gains = [
        best_of({name: rng.standard_normal((n, 1)) for name in names}, names, fold_of)[0].mean() for _ in range(500)
    ]
    assert abs(np.mean(gains)) < 3.3 / np.sqrt(n * 500)


def test_best_of_takes_the_better_method():
    fold_of = folds(50, repeats=2)
    table = {"a": np.full((50, 2), 0.2), "b": np.full((50, 2), 0.1)}
    picked, name = best_of(table, ["a", "b"], fold_of)
    assert name == "b"
    assert np.array_equal(picked, table["b"])


def test_false_claims_are_no_more_frequent_than_nominal():
    """All methods are equal but for noise: 'features', 'trees' and 'kernel' are each false, at 2.5 % at most."""
    runs, fold_of = 300, folds(100)
    families = FAMILIES
    codes = []
    for seed in range(runs):
        table = losses({"dummy": 1.0, **ALL}, n=100, noise=0.3, seed=seed)
        codes.append(decide(draw_contrasts(table, families, fold_of, 0.01)).code)
    for code in ("features", "trees", "kernel"):
        assert codes.count(code) <= stats.binom.ppf(0.999, runs, 0.025)
    assert codes.count("unclear") > runs / 2  # 100 noisy rows do not prove a tie


@pytest.mark.parametrize(
    ("low", "high", "state", "exceeds"),
    [
        (0.02, 0.04, "above", True),
        (-0.04, -0.02, "below", False),
        (-0.005, 0.005, "inside", False),
        (0.0, 0.02, "undecided", None),
        (-0.02, 0.005, "undecided", False),
        (-0.5, 0.5, "undecided", None),
    ],
)
def test_states_of_a_contrast(low, high, state, exceeds):
    contrast = Contrast("signal", "a", "b", (low + high) / 2, low, high, 0.01, 100)
    assert contrast.state == state
    assert contrast.exceeds(0.01) is exceeds


def test_rows_to_decide_follow_the_root_law():
    contrast = Contrast("signal", "a", "b", 0.03, -0.01, 0.07, 0.01, 300)
    assert contrast.rows_to_decide(0.01) == 1000  # 300 (0.04 / 0.02)^2 = 1200, one significant figure
    at_the_threshold = Contrast("signal", "a", "b", 0.01, -0.03, 0.05, 0.01, 300)
    assert at_the_threshold.rows_to_decide(0.01) == 5000  # 300 (0.04 / 0.01)^2 = 4800: the interval is then +- margin


def test_every_combination_of_answers_has_a_verdict():
    ends = {"above": (0.1, 0.2), "below": (-0.2, -0.1), "inside": (-0.001, 0.001), "undecided": (-0.5, 0.5)}
    for states in itertools.product(ends, repeat=len(QUESTIONS)):
        drawn = contrasts({name: ends[state] for name, state in zip(QUESTIONS, states)})
        given = decide(drawn)
        decided = {name: drawn[name].exceeds(0.01) for name in QUESTIONS}
        if decided["signal"] is not True:
            assert given.code == ("nothing" if decided["signal"] is False else "unclear")
        if given.code in ("linear", "kernel", "features"):
            assert decided["beyond_all"] is False
        if given.code == "features":
            assert decided["feature_learning"]
            assert drawn["rich_against_kernel"].low > -0.01
        if given.code == "linear":
            assert decided["beyond_linear"] is False
        assert given.sentence.endswith(".")
        assert "None" not in given.sentence
