"""Growing disjoint training sets against one test part."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from sklearn_ltdl import compare
from sklearn_ltdl.cli import main
from sklearn_ltdl.study import Contender
from sklearn_ltdl.study._comparison import Interrupted
from sklearn_ltdl.study._folds import Split
from sklearn_ltdl.study._stages import JUDGES, SETS, in_words, is_settled, plan_stages, rows_to_draw, sizes_of
from sklearn_ltdl.study._verdict import HeldOut, Verdict


def rows_of_table(n, cluster=None, classes=None, rng=None):
    target = SimpleNamespace(values=np.arange(n) if classes is None else rng.integers(classes, size=n))
    return SimpleNamespace(X=np.zeros((n, 1)), cluster=np.arange(n) if cluster is None else cluster, target=target)


@pytest.fixture
def table(rng):
    n = 4000
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    return frame.assign(y=frame["a"] + 0.5 * rng.normal(size=n))


def test_no_set_shares_a_row_with_another_or_with_the_test_part():
    splits, notes = plan_stages(rows_of_table(5000), [100, 400])
    assert notes == []
    assert [(split.repeat, split.fold, len(split.train)) for split in splits] == [
        (stage, k, size) for stage, size in enumerate((100, 400)) for k in range(SETS)
    ]
    test = splits[0].test
    assert len(test) == 1000
    assert all(np.array_equal(split.test, test) for split in splits)
    used = np.concatenate([test, *(split.train for split in splits)])
    assert len(np.unique(used)) == len(used)
    assert stats.kstest(used / 5000, "uniform").pvalue > 0.01  # a sorted table does no harm


def test_no_set_shares_a_group_with_another(rng):
    groups = rng.integers(300, size=5000)
    splits, _ = plan_stages(rows_of_table(5000, groups), [100, 400])
    parts = [splits[0].test, *(split.train for split in splits)]
    assert len(splits) == 2 * SETS
    seen = np.concatenate([np.unique(groups[part]) for part in parts])
    assert len(np.unique(seen)) == len(seen)


def test_stages_for_which_there_are_no_rows_are_left_out():
    splits, notes = plan_stages(rows_of_table(5000), [100, 400, 1600])
    assert [note.code for note in notes] == ["stages"]
    assert splits[-1].repeat == 1
    with pytest.raises(ValueError, match="stages: expected about 12500 rows for 4 training sets of 500 and of 2000"):
        plan_stages(rows_of_table(5000), [500, 2000])


@pytest.mark.parametrize("wrong", ["2000", [2000], [10, 100], [400, 100], "a,b", [100.5, 200], [100, 100], 7])
def test_stages_that_do_not_grow_are_rejected(wrong, table):
    with pytest.raises((ValueError, TypeError), match="stages"):
        compare(table[["a"]], table["y"], stages=wrong)


def test_rows_are_drawn_for_all_stages():
    assert sizes_of("2000,8000,32000") == sizes_of((2000, 8000, 32_000)) == [2000, 8000, 32_000]
    sizes = [2000, 8000, 32_000]
    splits, notes = plan_stages(rows_of_table(rows_to_draw(sizes)), sizes)
    assert (len(splits), notes) == (3 * SETS, [])
    assert len(splits[0].test) == JUDGES


def test_the_interval_over_sets_and_rows_covers(rng):
    """The mean of set and row effects and noise, of known variances: 90 % intervals hold it nine times in ten."""
    splits, n_rows = [Split(0, k, np.arange(200 * (k + 1), 200 * (k + 2)), np.arange(200)) for k in range(SETS)], 1000
    held_out = HeldOut.of(splits, np.ones(n_rows), np.arange(n_rows), n_looks=1)
    for of_sets, of_rows in ((0.0, 1.0), (0.3, 1.0), (1.0, 0.3)):
        hits = []
        for _ in range(1000):
            values = of_sets * rng.normal(size=(SETS, 1)) + of_rows * rng.normal(size=(1, 200))
            mean, half = held_out.interval((values + 0.5 * rng.normal(size=(SETS, 200))).ravel(), 0.9)
            hits.append(abs(mean) < half)
        assert 0.87 < np.mean(hits) < 0.95  # 3 standard errors below; the sum of the variances is a little too large


def test_the_interval_is_that_of_student_where_one_source_is_alone(rng):
    splits = [Split(0, k, np.arange(200, 300), np.arange(200)) for k in range(SETS)]
    held_out = HeldOut.of(splits, np.ones(300), np.arange(300), n_looks=4)
    assert held_out.level == pytest.approx(0.95)  # Bonferroni: a fifth over four stages
    sets = rng.normal(size=SETS)
    half = stats.t.ppf(0.975, SETS - 1) * sets.std(ddof=1) / np.sqrt(SETS)
    assert held_out.interval(np.repeat(sets, 200), 0.95) == pytest.approx((sets.mean(), half))
    rows = rng.normal(size=200)
    half = stats.t.ppf(0.975, 199) * rows.std(ddof=1) / np.sqrt(200)
    assert held_out.interval(np.tile(rows, SETS), 0.95) == pytest.approx((rows.mean(), half))
    assert held_out.interval(np.ones(800), 0.95) == (1.0, 0.0)


def test_two_decided_stages_that_agree_settle_it():
    verdicts = [Verdict(code, "", {}) for code in ("linear", "unclear", "unclear", "kernel", "kernel")]
    assert [is_settled(verdicts[: k + 1]) for k in range(5)] == [False, False, False, False, True]
    assert in_words([20, 40], verdicts[:2]).startswith("With 20 training rows it was linear, so with more rows than 40")


def test_a_comparison_ends_when_two_stages_agree(table):
    X, y = table[["a", "b", "c"]], table["y"]
    comparison = compare(X, y, stages=(50, 100, 200), models=["linear"])
    assert comparison.verdict.line.startswith("linear, at 100 training rows of 4000.")
    assert comparison.verdict.sentence.endswith("With 50 training rows the verdict was the same.")
    assert {row["n_train"] for row in comparison.results} == {100}
    assert len(comparison.results) == 2 * SETS
    assert comparison.settings["level"] == pytest.approx(1 - 0.2 / 3)
    assert all(part["level"] == comparison.settings["level"] for part in comparison.verdict.evidence.values())
    splits, _ = plan_stages(rows_of_table(4000), [50, 100, 200])
    for row, split in zip([row for row in comparison.results if row["method"] == "linear"], splits[SETS:]):
        line = LinearRegression().fit(X.iloc[split.train], y.iloc[split.train])
        assert row["loss"] == pytest.approx(np.mean((y - line.predict(X)).iloc[split.test] ** 2), rel=0.05)


def test_a_verdict_that_changes_is_told_with_its_trend(rng, capsys):
    """A tree needs many rows for a product of signs, which no line sees."""
    X = pd.DataFrame(rng.normal(size=(9000, 6)), columns=list("abcdef"))
    y = 0.3 * X["a"] + np.sign(X["b"] * X["c"]) + 0.3 * rng.normal(size=9000)
    also = {"tree": Contender(DecisionTreeRegressor(min_samples_leaf=10, random_state=0), "trees")}
    comparison = compare(X, y, stages="40,1000", models=["linear"], also=also)
    codes = [stage["verdict"] for stage in comparison.evidence["stages"]]
    assert codes[1] == "trees" != codes[0]
    assert f"With 40 training rows it was {codes[0]}, so with more rows than 1000 it may" in comparison.verdict.sentence
    table = pd.DataFrame(comparison.evidence["differences"])
    gains = table[table["contrast"] == "beyond_all"].set_index("n_train")["difference"]
    assert gains[1000] > gains[40]
    lines = str(comparison).splitlines()
    trend = next(line for line in lines if line.startswith("trees beat every other model") and line.count(".") > 1)
    assert trend.split()[-2:] == [f"{100 * gains[40]:.1f}", f"{100 * gains[1000]:.1f}"]


def test_the_command_shows_stages_and_resumes_them(table, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table.to_csv("t.csv", index=False)
    options = ["compare", "t.csv", "--stages", "50,100,200", "--models", "linear", "-j", "1", "--journal", "j"]
    assert main([*options, "--json", "a.json", "-o", "a.html"]) == 0
    out = capsys.readouterr()
    assert "Verdict: linear, at 100 training rows of 4000." in out.out
    assert "50 rows, set 1" in out.err
    assert "With more training rows" in (tmp_path / "a.html").read_text()
    assert main([*options, "--json", "b.json"]) == 0
    first, again = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert again["evidence"] == first["evidence"]
    assert again["verdict"] == first["verdict"]
    assert [stage["n_train"] for stage in first["evidence"]["stages"]] == [50, 100]
    table.assign(t=np.arange(4000) // 2).to_csv("t.csv", index=False)
    assert main([*options[:-2], "--target", "y", "--time", "t"]) == 2
    assert "--stages: the stages draw their own rows; leave out cv (--time)" in capsys.readouterr().err


class Late(DecisionTreeRegressor):
    def fit(self, X, y):
        if len(y) > 60:
            raise MemoryError
        return super().fit(X, y)


def test_a_model_that_fails_in_a_stage_fails(table):
    also = {"late": Contender(Late(), "trees")}
    comparison = compare(table[["a", "b", "c"]], table["y"], stages=(50, 100), models=["linear"], also=also)
    assert comparison.failed == ["late"]
    assert comparison.evidence["stages"][-1]["n_train"] == 100


def test_a_stage_for_which_the_time_is_over_leaves_the_one_before(table):
    class Slow(DecisionTreeRegressor):
        def fit(self, X, y):
            if len(y) > 60:
                raise KeyboardInterrupt
            return super().fit(X, y)

    also = {"slow": Contender(Slow(), "trees")}
    with pytest.raises(Interrupted, match="fits are done") as stop:
        compare(table[["a", "b", "c"]], table["y"], stages=(50, 100), models=["linear"], also=also)
    comparison = stop.value.comparison
    assert [stage["n_train"] for stage in comparison.evidence["stages"]] == [50]
    assert comparison.failed == []
    assert any("time was over in the stage of 100 training rows" in note for note in comparison.settings["notes"])
