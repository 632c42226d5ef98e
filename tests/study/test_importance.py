"""What shuffling a column adds to the loss, and what was predicted against what was observed."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from sklearn_ltdl import compare
from sklearn_ltdl.study._folds import Split
from sklearn_ltdl.study._importance import folds_of, importance_by_permutation, is_importance
from sklearn_ltdl.study._jobs import Data
from sklearn_ltdl.study._models import given
from sklearn_ltdl.study._observed import predicted_classes, predicted_numbers, sharpened
from sklearn_ltdl.study._plan import importance_job
from sklearn_ltdl.study._verdict import HeldOut


def test_importance_of_a_column_that_the_target_does_not_depend_on_has_an_interval_around_0(rng):
    """The loss that shuffling adds has the mean 0 then, so that 95 % of the intervals hold it; 20 of 20 columns."""
    X = rng.standard_normal((300, 4))
    y = 2.0 * X[:, 0] + X[:, 1] + rng.standard_normal(300)
    table = pd.DataFrame(X, columns=["strong", "weak", "noise", "other"]).assign(kind=rng.choice(["a", "b"], 300))
    found = compare(table, y, models=["linear"]).evidence["importance"]
    assert found["columns"][:2] == ["strong", "weak"]
    ends = dict(zip(found["columns"], zip(found["low"], found["high"])))
    assert all(ends[name][0] <= 0 <= ends[name][1] for name in ("noise", "other", "kind"))
    assert all(ends[name][0] > 0 for name in ("strong", "weak"))


def test_importance_in_a_linear_model_is_twice_the_variance_of_its_term(rng):
    """E(y - f + b (x - x'))^2 - E(y - f)^2 = 2 b^2 Var(x) for an independent copy x' (Breiman 2001)."""
    X = rng.standard_normal((2000, 2))
    y = X @ [3.0, 1.0] + 0.1 * rng.standard_normal(2000)
    train, test = np.arange(1000), np.arange(1000, 2000)
    held_out = HeldOut.of([Split(0, 0, train, test)], np.ones(2000), np.arange(2000))
    data = Data(X, y, None, "regression", None)
    result = importance_by_permutation(data, given(Ridge()), [(0, train, test)], held_out, 1.0)
    assert is_importance(2, result)
    assert result["importances"] == pytest.approx([18.0, 2.0], rel=0.15)  # 1000 rows: standard errors of 5 %
    assert all(low < truth < high for low, truth, high in zip(result["low"], (18.0, 2.0), result["high"]))


@pytest.mark.parametrize("kind", ["array", "objects", "frame"])
def test_one_column_is_shuffled_and_the_table_stays(kind, rng):
    X = rng.standard_normal((60, 2))
    table = {"array": X, "objects": X.astype(object), "frame": pd.DataFrame(X).astype({1: "float32"})}[kind]
    before = table.copy()
    found = compare(table, 5 * X[:, 0], models=["linear"], cv=2).evidence["importance"]
    assert found["importances"][0] > 1 > 10 * abs(found["importances"][1])
    assert found["columns"] == ["0", "1"]
    assert np.array_equal(before, table)


def test_folds_are_taken_until_they_hold_out_100_rows_and_300_at_most():
    def splits(size):
        return [Split(0, k, np.arange(3), np.arange(k * size, (k + 1) * size)) for k in range(5)]

    assert [(k, len(test)) for k, test in folds_of(splits(30), [0, 1, 2, 3, 4])] == [(k, 30) for k in range(4)]
    assert [(k, len(test)) for k, test in folds_of(splits(90), [1, 2, 3])] == [(1, 90), (2, 90)]
    assert [(k, len(test)) for k, test in folds_of(splits(1000), [0, 1])] == [(0, 300)]


def test_the_baseline_has_no_importance_and_a_failure_is_told(rng, monkeypatch):
    X, y = rng.standard_normal((40, 8)), rng.standard_normal(40)
    options = {"models": ["linear"], "cv": 2}
    found = next(c for c in (compare(X, y, **options, random_state=k) for k in range(50)) if c.best == "dummy")
    if found.verdict.recommendation.model == "dummy":
        assert found.evidence["importance"] is None

    def out_of_memory(*arguments):
        raise MemoryError("no room")

    monkeypatch.setattr("sklearn_ltdl.study._importance._importance", out_of_memory)
    comparison = compare(*load_diabetes(return_X_y=True), **options)
    assert comparison.evidence["importance"] == {"failure": "MemoryError: no room"}
    assert "Columns that matter" not in comparison.to_html()
    comparison.to_json()


def test_points_are_the_out_of_fold_predictions(rng):
    X, y = load_diabetes(return_X_y=True)
    comparison = compare(X, y, models=["linear"], cv=3)
    (part,) = comparison.evidence["predicted"]
    assert part["n_rows"] == len(y) == len(part["observed"])
    errors = np.square(np.subtract(part["observed"], part["predicted"]))
    assert errors.mean() == pytest.approx(comparison.to_frame().loc["linear", "loss"])


def test_rows_predicted_twice_count_once_and_many_are_thinned():
    splits = [Split(0, 0, np.arange(3), np.array([0, 1])), Split(1, 0, np.arange(3), np.array([2, 1]))]
    part = predicted_numbers(np.array([1.0, 2.0, 3.0]), splits, [np.array([10.0, 20.0]), np.array([30.0, 40.0])], 0)
    assert part == {"n_rows": 3, "observed": [1.0, 2.0, 3.0], "predicted": [10.0, 20.0, 30.0]}
    many = np.arange(5000.0)
    part = predicted_numbers(many, [Split(0, 0, np.arange(3), np.arange(5000))], [many], 0)
    assert part["n_rows"] == 5000
    assert len(part["observed"]) == 500
    assert part["observed"] == part["predicted"]


def test_many_classes_share_the_last_line_of_the_confusion_table(rng):
    y = np.repeat(np.arange(30), np.arange(30, 0, -1))
    chance = rng.dirichlet(np.ones(30), len(y))
    names = [f"class {k}" for k in range(30)]
    part = predicted_classes(y, names, [Split(0, 0, np.arange(3), np.arange(len(y)))], [chance])
    assert part["labels"] == [*names[:11], "19 others"]
    assert np.sum(part["confusion"], axis=1).tolist() == [*range(30, 19, -1), sum(range(1, 20))]


def test_calibration_of_right_probabilities_is_on_the_line(rng):
    """Labels drawn from the probabilities: 95 % of Wilson's intervals hold the mean probability of their bin."""
    chance = rng.uniform(size=4000)
    y = (rng.uniform(size=4000) < chance).astype(int)
    splits = [Split(0, 0, np.arange(3), np.arange(4000))]
    curve = predicted_classes(y, ["no", "yes"], splits, [np.column_stack([1 - chance, chance])])["calibration"]
    assert curve["class"] == "yes"
    inside = [low <= p <= high for low, p, high in zip(curve["low"], curve["probabilities"], curve["high"])]
    assert sum(inside) >= 8  # of 10


def test_wrong_labels_do_not_make_probabilities_cautious(rng):
    """Odds are restored to the power that they have for the right labels, when 5 % of the labels are flipped."""
    logit = 3.0 * rng.standard_normal(2000)
    truth = rng.uniform(size=2000) < 1 / (1 + np.exp(-logit))
    labels = (truth ^ (rng.uniform(size=2000) < 0.05)).astype(int)
    cautious = 1 / (1 + np.exp(-0.6 * logit))
    found = sharpened(np.column_stack([1 - cautious, cautious]), labels)
    power = np.log(found[:, 1] / found[:, 0])[0] / logit[0]
    assert power == pytest.approx(1.0, rel=0.2)


def test_the_job_of_importance_is_of_the_fits_it_repeats():
    """Another target, seed or model makes another key, and so another result in a journal."""
    from sklearn_ltdl.study import _study

    keys = []
    original = importance_job

    def spy(plan, name, chosen, unit):
        more = original(plan, name, chosen, unit)
        keys.append(more["importance", 0, 0].key)
        return more

    X, y = load_diabetes(return_X_y=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_study, "importance_job", spy)
        for target, seed in ((y, 0), (y, 0), (y, 1), (y + (np.arange(len(y)) == 3), 0)):
            compare(X, target, models=["linear"], cv=2, random_state=seed)
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
