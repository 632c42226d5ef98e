"""Which codes the evidence leaves, and the recommended model with its bound."""

import itertools

import numpy as np
import pytest

from sklearn_ltdl import compare
from sklearn_ltdl.study._folds import Split
from sklearn_ltdl.study._recommendation import in_words, recommend
from sklearn_ltdl.study._verdict import Contrast, HeldOut, Verdict, decide

FAMILIES = {"dummy": "dummy", "linear": "linear", "rbf": "kernel", "rich": "network", "lazy": "network"}
N = 200


def held_out(n=N):
    parts = np.array_split(np.arange(n), 5)
    splits = [Split(0, k, np.setdiff1d(np.arange(n), part), part) for k, part in enumerate(parts)]
    return HeldOut.of(splits, np.ones(n), np.arange(n))


def losses(rng, means, n=N, spread=0.3):
    """Return losses of the methods around their means, the baseline's being 1."""
    return {name: np.abs(mean + spread * rng.standard_normal(n)) for name, mean in {"dummy": 1.0, **means}.items()}


def choose(found, margin=0.01, code="unclear", needs="open"):
    words = in_words("regression", "price", {name: 1 - np.mean(loss) for name, loss in found.items()})
    return recommend(found, FAMILIES, held_out(len(found["dummy"])), margin, Verdict(code, "", {}, (), needs), words)


def test_the_bound_is_the_largest_upper_end_of_an_interval(rng):
    found = losses(rng, {"linear": 0.5, "rbf": 0.1, "rich": 0.12})
    advice = choose(found)
    assert advice.model == "rbf"
    unit = found["dummy"].mean()
    saved = (found["rbf"] - found["rich"]) / unit
    half = held_out().interval(saved - saved.mean() * found["dummy"] / unit, 0.85)[1]
    assert advice.bound == pytest.approx(saved.mean() + half)
    assert advice.rivals == ("rich",)
    assert f"save more than {100 * advice.bound:.1f} % of the baseline's loss over it" in advice.sentence


def test_the_simplest_of_equal_models_is_recommended(rng):
    base = 0.5 + 0.1 * rng.standard_normal(N)
    found = {"dummy": np.ones(N), "rich": base, "rbf": base + 1e-4, "linear": base + 1e-3}
    advice = choose(found)
    assert (advice.model, advice.rivals) == ("linear", ())  # 0.1 % is within the margin
    assert choose(found, margin=1e-5).model == "rich"


def test_a_clear_verdict_names_the_kind_of_model_that_is_recommended(rng):
    found = losses(rng, {"linear": 0.5, "rbf": 0.45, "rich": 0.44})
    models = {code: choose(found, code=code) for code in ("nothing", "linear", "kernel", "features")}
    assert {code: advice.model for code, advice in models.items()} == {
        "nothing": "dummy", "linear": "linear", "kernel": "rbf", "features": "rich"
    }  # fmt: skip
    assert models["linear"].bound > models["kernel"].bound > 0


def test_without_signal_the_baseline_is_recommended():
    found = {"dummy": np.ones(N), "linear": np.full(N, 1.2), "rbf": np.full(N, 1.1)}
    advice = choose(found)
    assert (advice.model, advice.bound) == ("dummy", 0.0)
    assert "use the baseline, or look for other columns" in advice.sentence


def test_the_regret_is_rarely_above_the_bound(rng):
    """An upper end of an 80 % interval is below the truth in 10 % of draws, to 4 standard errors of 400 draws."""
    means = {"linear": 0.52, "rbf": 0.5, "rich": 0.49}
    truth = {name: np.mean(losses(rng, {name: mean}, n=10**6)[name]) for name, mean in means.items()}
    misses = 0
    for _ in range(400):
        advice = choose(losses(rng, means))
        misses += truth[advice.model] - min(truth.values()) > advice.bound
    assert misses / 400 <= 0.1 + 4 * np.sqrt(0.1 * 0.9 / 400)


def contrasts(**answers):
    bounds = {"yes": (0.1, 0.2), "no": (-0.2, -0.1), "undecided": (-0.1, 0.2)}
    return {name: Contrast(name, "a", "b", 0.0, *bounds[answer], 0.01, 100) for name, answer in answers.items()}


def test_possible_codes_and_features():
    verdict = decide(contrasts(signal="yes", any_beyond_linear="undecided", beyond_linear="undecided",
                               any_beyond_kernel="no", feature_learning="no", rich_beyond_fixed="no"))  # fmt: skip
    assert (verdict.code, verdict.needs_features) == ("unclear", "no")
    assert {"linear", "kernel"} <= {*verdict.possible}
    assert "features" not in verdict.possible
    assert verdict.line.startswith("unclear (linear or kernel")


@pytest.mark.parametrize("feature_learning", ["yes", "no", "undecided"])
def test_the_code_is_the_only_one_that_is_possible(feature_learning):
    for others in itertools.product(["yes", "no", "undecided"], repeat=3):
        names = "signal", "any_beyond_linear", "rich_beyond_fixed"
        verdict = decide(contrasts(feature_learning=feature_learning, **dict(zip(names, others))))
        assert (verdict.code == "unclear") == (len(verdict.possible) != 1 or verdict.possible == ("several",))
        if verdict.needs_features == "yes":
            assert verdict.code == "features"


def test_nothing_is_said_of_features_if_no_model_learns_them(rng):
    X = rng.standard_normal((60, 2))
    comparison = compare(X, X[:, 0], models=["linear"], cv=3)
    assert comparison.verdict.needs_features == "open"
    assert "No model that learns features was compared." in " ".join(comparison.summary.split())
    assert comparison.verdict.recommendation.model == "linear"
    assert "A linear model explains 100.0 % of the variation of the target" in " ".join(comparison.summary.split())
