"""Text from files reaches the terminal as text: no control, escape or bidirectional character."""

import os
import re
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from sklearn_ltdl import compare
from sklearn_ltdl.cli import main
from sklearn_ltdl.running._journal import Journal
from sklearn_ltdl.running._progress import Progress
from sklearn_ltdl.running._terminal import clean
from sklearn_ltdl.study._jobs import failed

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = "a\x1b[2J\x1b]0 title\x07\x9b31m\u202eb\u2066c\x08d\x7f"  # CSI, OSC, C1, bidi, backspace


@pytest.fixture
def shown(capsys):
    """Return what was printed on both streams, which must be text."""

    def read():
        printed = capsys.readouterr()
        assert not UNSAFE.search(printed.out + printed.err)
        assert "Traceback" not in printed.err
        return printed

    return read


@pytest.fixture
def frame(rng):
    X = rng.standard_normal((60, 2))
    return pd.DataFrame({f"x{HOSTILE}": X[:, 0], "b": X[:, 1], "kind": np.where(X[:, 1] > 0, HOSTILE, "other")})


def test_what_is_unsafe_is_shown_and_all_else_stays():
    assert clean("\x1b[2J\u202e\x9b\udcff\r") == r"\x1b[2J\u202e\x9b\udcff\r"
    kept = "größe 名 line\nline\ttab naïve\u00a0space \u200d🙂"
    assert clean(kept) == kept
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert not UNSAFE.search(clean(every))
    assert len(UNSAFE.findall(every)) > 2000


NAMES = [f"{HOSTILE}.csv".encode(), b"bytes\xff\xfe.csv", b"two\nlines  failed: forged.csv"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files that are any bytes")
def test_names_of_files_are_cleaned(tmp_path, frame, shown):
    for name in NAMES:
        path = os.path.join(os.fsencode(tmp_path), name)
        frame.assign(y=frame["b"]).to_csv(os.fsdecode(path), index=False)
        options = ["--models", "linear", "--cv", "2", "--n-jobs", "1"]
        json = os.fsdecode(path).replace(".csv", ".json")
        assert main(["compare", os.fsdecode(path), *options, "--json", json]) == 0
        assert main(["compare", os.fsdecode(path) + "x", *options]) == 2
        assert main(["compare", os.fsdecode(path), "--target", "nothing", *options]) == 2
        assert main(["compare", os.fsdecode(path), "--json", os.fsdecode(path)]) == 2
        with pytest.raises(SystemExit):
            main(["compare", os.fsdecode(path), os.fsdecode(path)])
        assert len(shown().err.splitlines()) > 8
    (tmp_path / f"broken{HOSTILE}.csv").write_text("")
    (tmp_path / f"{HOSTILE}.json").unlink(missing_ok=True)
    assert main(["suite", str(tmp_path), *options]) == 1
    printed = shown()
    lines = [line for line in printed.out.splitlines() if "regression" in line or "failed: " in line]
    assert len(lines) == 3
    assert "forged" not in printed.out  # a name of two lines is none of a table


def test_columns_cells_and_labels_are_cleaned(tmp_path, frame, shown):
    table, model, page = tmp_path / "t.csv", tmp_path / "m.skops", tmp_path / "out.html"
    frame.to_csv(table, index=False)
    options = ["--models", "linear", "--cv", "2", "--n-jobs", "1"]
    assert main(["compare", str(table), *options, "--save", str(model), "--html", str(page)]) == 0
    assert main(["compare", str(table), *options, "--target", f"x{HOSTILE}"]) == 0
    assert main(["compare", str(table), *options, "--weights", "kind"]) == 2
    assert main(["compare", str(table), *options, "--target", "kind2"]) == 2
    shown()
    assert main(["predict", str(model), str(table), "--proba"]) == 0
    assert r"a\x1b[2J" in shown().out
    assert main(["predict", str(model), str(table), "--output", str(tmp_path / "out.csv")]) == 0
    assert set(pd.read_csv(tmp_path / "out.csv", lineterminator="\n")["prediction"]) == {HOSTILE, "other"}  # as it is
    frame[["b", "kind"]].to_csv(table, index=False)
    assert main(["predict", str(model), str(table)]) == 2
    assert "missing" in shown().err


def test_reasons_and_notes_of_a_journal_are_cleaned(tmp_path, frame, shown):
    table, path = tmp_path / "t.csv", tmp_path / "run.jsonl"
    frame.to_csv(table, index=False)
    options = ["--models", "linear", "--cv", "2", "--n-jobs", "1", "--journal", str(path), "--time-limit", "100"]
    assert main(["compare", str(table), "--target", "b", *options]) == 0
    journal = Journal(path)
    for key, result in list(journal.results.items())[1:2]:
        journal.add(key, result | {"notes": [["A", f"A: {HOSTILE}"]]})
    assert main(["compare", str(table), "--target", "b", *options]) == 0
    assert r"A: a\x1b[2J" in shown().out
    for key in list(journal.results):
        journal.add(key, failed(HOSTILE) | {"time_limit": 100.0})
    assert main(["compare", str(table), "--target", "b", *options]) == 2
    assert r"No model can be fitted, not even the baseline: in 2 of 2 folds, a\x1b[2J" in shown().err
    path.write_text('{"journal": "ltdl compare", "format": "\x1b[2J"}\n')
    assert main(["compare", str(table), "--target", "b", *options]) == 2
    path.write_text('{"journal": "ltdl compare", "format": "\\u001b[2J"}\n')
    assert main(["compare", str(table), "--target", "b", *options]) == 2
    shown()


@pytest.mark.parametrize("bar", [True, False])
def test_progress_is_cleaned(bar, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    if not bar:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    else:
        pytest.importorskip("rich")
    progress = Progress(["m", "m"], 1)
    progress.tell("m", HOSTILE, 0.1, HOSTILE)
    progress.tell("m", "fold 1", 0.1, None)
    progress.close()
    error = capsys.readouterr().err
    assert r"a\x1b[2J" in error
    assert not re.search("\x1b\\[2J|\x1b\\]|\x07|\x9b|\u202e|\u2066|\x08", error)


def test_the_figures_of_a_report_hold_names_as_text(tmp_path, rng):
    pytest.importorskip("jinja2")
    names = [f"{HOSTILE}", "--><script>alert(1)</script>", "]]><svg onload=alert(1)>", "$\\frac"]
    X = pd.DataFrame(rng.standard_normal((60, 4)), columns=names)
    also = {name: Ridge(alpha=alpha) for alpha, name in enumerate(names, 1)}
    page = compare(X, X.iloc[:, 0] + X.iloc[:, 1] ** 2, models=["rfm"], also=also, cv=2).to_html()
    assert "<script" not in page
    assert "<svg onload" not in page
    assert not UNSAFE.search(page)
