"""The recommendation of a sample, confirmed on all rows."""

import json
import signal
import time
from html import unescape

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from sklearn_ltdl import cli, compare, make_table_pipeline, scan
from sklearn_ltdl.cli import main
from sklearn_ltdl.study import Contender, _winner, confirm
from sklearn_ltdl.study._confirm import _held_out
from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.tables import read_table
from sklearn_ltdl.tables._columns import group_numbers
from sklearn_ltdl.tables._sample import Sample, hashes

MODELS = {"models": ["linear", "boosting"], "cv": 3}


@pytest.fixture
def table(rng):
    """A line on few rows; on many, steps are told as well."""
    n = 3000
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    return frame.assign(y=frame["a"] + 0.4 * np.sign(frame["b"] * frame["c"]) + 0.5 * rng.normal(size=n))


def columns(frame):
    return frame.drop(columns="y"), frame["y"]


def test_two_models_are_fitted_on_all_rows_but_those_that_judge(table):
    X, y = columns(table)
    comparison = compare(X, y, sample=100, **MODELS)
    assert comparison.verdict.recommendation.model == "linear"
    part = confirm(comparison, X, y).evidence["confirmed"]
    order = np.argsort(hashes(0, 3000))
    test = np.sort(order[100:700])  # the next ones after the sample, a fifth of all rows
    train = np.setdiff1d(np.arange(3000), test)
    losses = {}
    for name in ("dummy", "linear", "boosting"):
        build = METHODS[name].build("regression", 0)
        model = make_table_pipeline(build).fit(X.iloc[train], y.to_numpy()[train])
        losses[name] = (y.iloc[test] - model.predict(X.iloc[test])).to_numpy() ** 2
    found = dict(zip(part["method"], part["loss"]))
    assert found == pytest.approx({name: loss.mean() for name, loss in losses.items()}, rel=0.02)  # seeds of boosting
    assert part["score"][0] == pytest.approx(0, abs=0.01)
    unit, saved = losses["dummy"].mean(), losses["linear"] - losses["boosting"]
    assert (part["candidate"], part["reference"]) == ("boosting", "linear")
    assert part["difference"] == pytest.approx(saved.mean() / unit, abs=0.01)
    ratio = (saved - saved.mean() / unit * losses["dummy"]) / unit
    half = t.ppf(0.9, 599) * ratio.std(ddof=1) / np.sqrt(600) * np.sqrt(1 + 600 / 2400)
    assert (part["high"] - part["low"]) / 2 == pytest.approx(half, rel=0.1)
    assert part["sentence"].startswith("On all rows, prefer boosting: fitted on 2400 rows and judged on 600 others")


def test_a_larger_sample_of_a_file_holds_out_the_same_rows(table):
    X, y = columns(table)
    comparison = compare(X, y, sample=200, models=["linear"], cv=3)
    large = Sample.draw(3000, 1000)
    part = confirm(comparison, X.iloc[large.rows], y.iloc[large.rows], sample=large).evidence["confirmed"]
    train, test = _held_out(large.rows, 200, None)
    rank = np.argsort(np.argsort(hashes(0, 3000)))
    assert rank[large.rows[test]].min() == 200
    assert rank[large.rows[test]].max() == 399
    assert part["n_train"] == len(train) == 800


def of_fits(part):
    return {key: value for key, value in part.items() if key != "fit_seconds"}


@pytest.mark.parametrize("special", [False, True])
def test_rows_are_confirmed_as_the_table_that_they_are_read_from(table, rng, tmp_path, special):
    more = {"groups": rng.integers(300, size=3000), "sample_weight": rng.uniform(0.5, 2, size=3000)} if special else {}
    for k in range(3):
        table.assign(**more)[1000 * k : 1000 * (k + 1)].to_parquet(tmp_path / f"part-{k}.parquet", row_group_size=300)
    named = {"groups": "groups", "weight": "sample_weight"} if special else {}
    rows = scan(tmp_path, target="y", **named)
    comparison = compare(rows, sample=200, models=["linear"], cv=3)
    part = confirm(comparison, rows).evidence["confirmed"]
    assert part["sentence"].startswith("On all rows")
    assert part["n_train"] + part["n_test"] == 3000
    assert of_fits(part) == of_fits(confirm(comparison, *columns(table), **more).evidence["confirmed"])


def test_rows_beyond_the_memory_are_not_read_and_this_is_said(table, tmp_path, monkeypatch):
    table.to_parquet(tmp_path / "t.parquet")
    rows = scan(tmp_path / "t.parquet", target="y")
    comparison = compare(rows, sample=200, models=["linear"], cv=3)
    monkeypatch.setattr(_winner, "most_cells", lambda: 3 * 1000)  # of three columns
    part = confirm(comparison, rows).evidence["confirmed"]
    assert part["sentence"].startswith("On 1000 of 3000 rows")
    large = Sample.draw(3000, 1000)
    few = (values.iloc[large.rows] for values in columns(table))
    assert of_fits(part) == of_fits(confirm(comparison, *few, sample=large).evidence["confirmed"])
    with pytest.raises(ValueError, match="sample: expected None, because X is Rows"):
        confirm(comparison, rows, sample=large)


def test_groups_that_judge_are_whole(table, rng):
    X, y = columns(table)
    groups = rng.integers(40, size=3000)
    comparison = compare(X, y, sample=200, groups=groups, models=["linear"], cv=3)
    part = confirm(comparison, X, y, groups=groups).evidence["confirmed"]
    train, test = _held_out(np.arange(3000), 200, group_numbers(groups))
    assert part["n_test"] == len(test)
    assert 0 < len(test) <= 600
    assert not set(groups[train]) & set(groups[test])


def test_classes_weights_missing_targets_and_odd_values(table, rng):
    X, y = columns(table)
    X.loc[np.argsort(hashes(0, 3000))[300], "a"] = np.inf  # beyond the sample
    y = (y > 0).astype(object).where(rng.random(3000) > 0.1)
    weight = rng.uniform(size=3000)
    comparison = compare(X, y, sample=200, sample_weight=weight, **MODELS)
    part = confirm(comparison, X, y, sample_weight=weight).evidence["confirmed"]
    assert part["n_train"] + part["n_test"] == y.notna().sum()
    assert 0.6 < part["score"][part["method"].index("linear")] < 1
    assert part["failure"] == [None] * len(part["method"])


class Small(DecisionTreeRegressor):
    """A tree for few rows."""

    def fit(self, X, y):
        if len(y) > 1000:
            raise MemoryError("too many rows")
        return super().fit(X, y)


def test_a_fit_that_fails_is_told(table):
    X, y = columns(table)
    also = {"small": Contender(Small(), "trees")}
    comparison = compare(X, y, sample=200, models=["linear"], also=also, cv=3)
    part = confirm(comparison, X, y, also=also).evidence["confirmed"]
    assert part["sentence"] == "Not confirmed: the fit of small on 2400 rows failed: MemoryError: too many rows."


def test_a_comparison_of_all_rows_has_nothing_to_confirm(table):
    X, y = columns(table)
    with pytest.raises(ValueError, match="nothing to confirm"):
        confirm(compare(X, y, models=["linear"], cv=3), X, y)
    comparison = compare(X, y, sample=200, models=["linear"], cv=3)
    with pytest.raises(ValueError, match="X: expected more than the 200 rows of the comparison, got 200"):
        confirm(comparison, X.head(200), y.head(200))


def test_the_command_confirms_shows_and_saves(table, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table["when"] = np.arange(3000) // 2
    table[["when", "a", "b", "c", "y"]].to_csv("t.csv", index=False)
    options = ["--sample", "200", "--models", "linear", "--cv", "3", "-j", "1", "--confirm"]
    assert main(["compare", "t.csv", *options, "--save", "m.skops", "--json", "t.json", "-o", "t.html"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    X, y = columns(read_table("t.csv").frame)
    comparison = compare(X, y, sample=200, models=["linear"], cv=3)
    expected = confirm(comparison, X, y).evidence["confirmed"]
    found = json.loads((tmp_path / "t.json").read_text())["evidence"]["confirmed"]
    assert found["sentence"] == expected["sentence"]
    assert found["loss"] == expected["loss"]
    assert expected["sentence"] in out
    assert expected["sentence"] in unescape((tmp_path / "t.html").read_text())
    assert "fitted on all 3000 rows" in out
    assert main(["compare", "t.csv", *options, "--time", "when"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "fitted on 2250 rows and judged on 750 others" in out  # the last of three parts
    assert main(["compare", "t.csv", *options, "--sample", "all"]) == 0
    assert "there is nothing to confirm" in capsys.readouterr().err
    assert main(["compare", "-", *options]) == 2
    assert "--confirm reads the table twice" in capsys.readouterr().err


def test_rows_beyond_the_memory_are_not_called_all_rows(table):
    X, y = columns(table)
    comparison = compare(X, y, sample=200, models=["linear"], cv=3)
    large = Sample.draw(3000, 1000)
    part = confirm(comparison, X.iloc[large.rows], y.iloc[large.rows], sample=large).evidence["confirmed"]
    assert part["sentence"].startswith("On 1000 of 3000 rows, linear is confirmed: fitted on 800 rows")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_the_total_time_holds_for_the_second_reading_too(table, tmp_path, capsys, monkeypatch):
    load, seconds = cli._load, []

    def slow(*arguments, **options):
        seconds.append(signal.getitimer(signal.ITIMER_REAL)[0])
        if len(seconds) == 2:
            signal.setitimer(signal.ITIMER_REAL, 0.01)  # the time is over while the table is read
            time.sleep(9.0)
        return load(*arguments, **options)

    monkeypatch.setattr(cli, "_load", slow)
    table.to_csv(tmp_path / "t.csv", index=False)
    options = ["--sample", "200", "--models", "linear", "--cv", "2", "-j", "1", "--confirm", "--total-time", "1000"]
    assert main(["compare", str(tmp_path / "t.csv"), *options]) == 0
    out, err = capsys.readouterr()
    assert "Use linear" in out
    assert "--confirm: not confirmed: The total time of 1000 s was over" in " ".join(err.split())
    assert 600 < seconds[0] <= 697  # of the 1000 s, 300 are kept to confirm, and 3 for the report
    assert 900 < seconds[1] <= 997


def test_copies_of_rows_that_judge_train_no_model(rng):
    X, y = np.repeat(rng.standard_normal((700, 4)), 2, axis=0), np.repeat(rng.standard_normal(700), 2)
    nearest = {"nn": Contender(KNeighborsRegressor(1), "kernel")}
    comparison = compare(X, y, models=["linear"], also=nearest, sample=400)
    part = confirm(comparison, X, y, also=nearest).evidence["confirmed"]
    losses = dict(zip(part["method"], part["loss"]))
    assert losses.get("nn", 9.0) > 1.5 * losses["dummy"]  # of two copies one would foretell the other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": np.zeros(99)}, "X: expected one entry for each of the 99"),
        ({"groups": np.zeros(5)}, "groups: expected one entry"),
        ({"sample_weight": np.ones(5)}, "sample_weight: expected one entry"),
    ],
)
def test_what_has_another_length_is_named(arguments, message, rng):
    X, y = rng.standard_normal((300, 2)), rng.standard_normal(300)
    comparison = compare(X, y, models=["linear"], sample=100)
    with pytest.raises(ValueError, match=message):
        confirm(comparison, **{"X": X, "y": y, **arguments})
