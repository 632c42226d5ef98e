"""Comparisons on a sample of a longer table."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, PredefinedSplit, TimeSeriesSplit

from sklearn_ltdl import compare, scan
from sklearn_ltdl.cli import main
from sklearn_ltdl.tables import read_table
from sklearn_ltdl.tables._sample import Sample

FAST = {"models": ["linear"], "cv": 3}


@pytest.fixture
def table(rng):
    n = 2000
    frame = pd.DataFrame({"k": np.arange(n), "x": rng.normal(size=n), "t": rng.choice(["a", "b"], n)})
    return frame.assign(y=frame["x"] + (frame["t"] == "a") + rng.normal(size=n))


def columns(frame):
    return frame.drop(columns="y"), frame["y"]


def losses(comparison):
    return [row["loss"] for row in comparison.results]


def test_frames_arrays_and_files_have_one_sample_and_one_verdict(table, tmp_path):
    X, y = columns(table)
    rows = Sample.draw(2000, 300).rows
    expected = compare(X.iloc[rows].drop(columns="k"), y.iloc[rows], **FAST)
    found = compare(X, y, sample=300, **FAST)
    assert losses(found) == losses(expected)
    assert found.settings["columns"][0]["note"].code == "row number"  # which the rows of the sample do not count
    assert found.settings["n_rows"] == 300
    assert found.settings["n_rows_of_table"] == 2000
    assert expected.settings["n_rows_of_table"] is None
    assert losses(compare(X[["x"]].to_numpy(), y.tolist(), sample=300, **FAST)) == losses(
        compare(X[["x"]].to_numpy()[rows], y.to_numpy()[rows], **FAST)
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    read = read_table(tmp_path / "t.csv", sample=300)
    again = compare(*columns(read.frame), sample=read.sample, **FAST)
    assert losses(again) == losses(expected)
    assert again.verdict == found.verdict


def test_rows_have_the_sample_of_their_file(table, tmp_path):
    table = table.assign(g=np.arange(2000) // 4, w=1.0 + table["k"] % 3)
    table.to_parquet(tmp_path / "t.parquet", row_group_size=300, index=False)
    read = read_table(tmp_path / "t.parquet", sample=300)
    expected = compare(*columns(read.frame.drop(columns=["g", "w"])), sample=read.sample, **FAST)
    rows = scan(tmp_path / "t.parquet", target="y", columns=["k", "x", "t"])
    found = compare(rows, sample=300, **FAST)
    assert losses(found) == losses(expected)
    assert found.verdict == expected.verdict
    for name in ("n_rows", "n_rows_of_table", "target", "columns"):
        assert found.settings[name] == expected.settings[name]
    weighted = compare(
        *columns(read.frame.drop(columns=["g", "w"])),
        sample=read.sample,
        groups=read.frame["g"],
        sample_weight=read.frame["w"],
        **FAST,
    )
    rows = scan(tmp_path / "t.parquet", target="y", columns=["k", "x", "t"], groups="g", weight="w")
    assert losses(compare(rows, sample=300, **FAST)) == losses(weighted)
    with pytest.raises(ValueError, match="y is inside the Rows"):
        compare(rows, table["y"], **FAST)
    with pytest.raises(ValueError, match="sample: expected a number of rows to draw from X, which is Rows; got 'all'"):
        compare(rows, sample="all", **FAST)


def test_the_verdict_says_first_how_many_rows_it_is_about(table):
    X, y = columns(table)
    comparison = compare(X, y, sample=300, **FAST)
    assert comparison.verdict.line.startswith("linear, at 200 training rows of 2000. Needs features:")
    assert repr(comparison).startswith("Comparison(linear, at 200 training rows of 2000:")
    assert comparison.settings["notes"][0].code == "sample"
    for sample in (2000, "all"):
        whole = compare(X, y, sample=sample, **FAST)
        assert whole.verdict.line.startswith("linear. Needs")
        assert not any(note.code == "sample" for note in whole.settings["notes"])
        assert losses(whole) == losses(compare(X, y, **FAST))


def test_weights_and_groups_go_with_their_rows(table, rng):
    X, y = columns(table)
    weight, groups, rows = rng.uniform(size=2000), rng.integers(50, size=2000), Sample.draw(2000, 300).rows
    y = y.where(rng.random(2000) > 0.1)
    found = compare(X, y, sample=300, sample_weight=weight, groups=groups, **FAST)
    expected = compare(
        X.iloc[rows].drop(columns="k"), y.iloc[rows], sample_weight=weight[rows], groups=groups[rows], **FAST
    )
    assert losses(found) == losses(expected)
    assert found.settings["n_clusters"] == expected.settings["n_clusters"]


def test_of_given_splits_the_rows_that_are_drawn_are_left(table):
    X, y = columns(table)
    rows = Sample.draw(2000, 300).rows
    some = X.iloc[rows].drop(columns="k"), y.iloc[rows]
    found = compare(X, y, sample=300, models=["linear"], cv=TimeSeriesSplit(3))
    assert losses(found) == losses(compare(*some, models=["linear"], cv=TimeSeriesSplit(3)))
    pairs = list(KFold(3, shuffle=True, random_state=0).split(X))
    places = np.full(2000, -1)
    places[rows] = np.arange(300)
    few = [tuple(places[part][places[part] >= 0] for part in pair) for pair in pairs]
    found = compare(X, y, sample=300, models=["linear"], cv=pairs)
    assert losses(found) == losses(compare(*some, models=["linear"], cv=few))
    fold = np.empty(2000, int)
    for k, (_, test) in enumerate(pairs):
        fold[test] = k
    found = compare(X, y, sample=300, models=["linear"], cv=PredefinedSplit(fold))
    assert losses(found) == losses(compare(*some, models=["linear"], cv=few))


def test_a_sample_of_another_table_is_rejected(table):
    X, y = columns(table)
    with pytest.raises(ValueError, match="sample: expected a sample of the 2000 rows of X, got 300"):
        compare(X, y, sample=Sample.draw(2000, 300), **FAST)
    for wrong in (0, 2.5, "some"):
        with pytest.raises((ValueError, TypeError), match="sample"):
            compare(X, y, sample=wrong, **FAST)


def test_the_command_samples_and_its_model_takes_what_the_sample_has_not_shown(table, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table["when"] = pd.date_range("2020", periods=2000).astype(str)
    table.to_csv("t.csv", index=False)
    options = ["--sample", "300", "--models", "linear", "--cv", "3", "-j", "1", "--target", "y"]
    assert main(["compare", "t.csv", *options, "--save", "m.skops", "--json", "t.json", "-o", "t.html"]) == 0
    out, err = capsys.readouterr()
    assert "Verdict: linear, at 200 training rows of 2000." in out
    assert "fitted on the 300 rows drawn" in out
    assert "300 of 2000 rows" in err
    written = json.loads((tmp_path / "t.json").read_text())
    assert written["verdict"]["at"] == "at 200 training rows of 2000"
    assert written["settings"]["n_rows_of_table"] == 2000
    page = (tmp_path / "t.html").read_text()
    assert "300 of 2000 rows, 3 columns" in page
    assert "Verdict: linear, at 200 training rows of 2000." in page

    new = table.head(20).drop(columns="y").astype(object)
    main(["predict", "m.skops", "t.csv", "-o", "old.csv"])
    new.loc[3, "x"], new.loc[4, "when"], new.loc[5, "t"], new.loc[6, "x"] = "odd", "never", "unseen", np.inf
    new.loc[[7, 8, 9, 10], "x"] = ["one", "two", "three", "four"]  # too many for strays among numbers
    new.to_csv("new.csv", index=False)
    capsys.readouterr()
    assert main(["predict", "m.skops", "new.csv", "-o", "new_y.csv"]) == 0
    assert "The model was fitted on a sample: 6 values in 'x'" in capsys.readouterr().err
    old, found = pd.read_csv("old.csv").head(20)["prediction"], pd.read_csv("new_y.csv")["prediction"]
    same = [k for k in range(20) if not 3 <= k <= 10]
    assert np.allclose(found[same], old[same], rtol=1e-12)
    assert np.isfinite(found).all()
    with pytest.raises(SystemExit):
        main(["compare", "t.csv", "--sample", "3"])
    assert "--sample: expected a whole number of at least 10, or all" in capsys.readouterr().err


def test_a_suite_samples_each_table(table, tmp_path, capsys):
    table.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "suite.json"
    options = ["--sample", "300", "--models", "linear", "--cv", "3", "-j", "1", "--json", str(out)]
    assert main(["suite", str(tmp_path), *options]) == 0
    written = json.loads(out.read_text())["comparisons"]["t.csv"]
    assert written["verdict"]["at"] == "at 200 training rows of 2000"
