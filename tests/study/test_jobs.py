import importlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from sklearn_ltdl import compare
from sklearn_ltdl.running._journal import Journal, fingerprint
from sklearn_ltdl.study import _study
from sklearn_ltdl.study._jobs import failed, fit_and_predict, run
from sklearn_ltdl.study._study import Interrupted

MODELS = ["linear", "ntk"]


def outcome(comparison):
    """Return what a comparison says, but for the seconds that it took."""
    rows = [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in comparison.results]
    return comparison.verdict, rows, comparison.evidence


@pytest.fixture
def counted(monkeypatch):
    """The names of the methods that are fitted, in this process."""
    names = []

    def count(data, function, method, *rest):
        if function is fit_and_predict:
            names.append(method)
        return run(data, function, method, *rest)

    monkeypatch.setattr(_study, "run", count)
    return names


def test_a_second_run_repeats_nothing_and_says_the_same(tmp_path, counted):
    X, y = load_diabetes(return_X_y=True)
    options = {"models": MODELS, "repeats": 1, "journal": tmp_path / "run.jsonl"}
    first = compare(X, y, **options)
    assert len(counted) == 15
    again = compare(X, y, **options, margin=0.02)  # the margin is not of the fits
    assert len(counted) == 15
    assert outcome(again)[1:] == outcome(first)[1:]
    assert outcome(compare(X, y, models=MODELS, repeats=1)) == outcome(first)
    more = compare(X, y, models=["linear", "rbf", "ntk"], repeats=1, journal=tmp_path / "run.jsonl")
    assert len(counted) == 15 + 15 + 5  # the run without a journal, and the one more kernel
    assert len(more.methods) == 4


@pytest.mark.parametrize("change", ["data", "target", "weights", "seed", "estimator", "folds", "column name"])
def test_results_of_other_data_or_settings_are_not_taken(change, tmp_path, counted):
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    arguments = {"X": X, "y": y, "also": {"mine": Ridge()}, "sample_weight": np.ones(len(y))}
    options = {"models": ["linear"], "repeats": 1, "journal": tmp_path / "run.jsonl"}
    compare(**arguments, **options)
    changed = {
        "data": {"X": X.mask(X.iloc[3, 2] == X, 0.5)},
        "target": {"y": y.mask(y.index == 3, 7.0)},
        "weights": {"sample_weight": 1.0 + (np.arange(len(y)) == 3)},
        "seed": {"random_state": 1},
        "estimator": {"also": {"mine": Ridge(alpha=2.0)}},
        "folds": {"cv": 6},
        "column name": {"X": X.rename(columns={"bmi": "mass"})},
    }[change]
    before = len(counted)
    compare(**arguments | changed, **options)
    new = len(counted) - before
    assert new == (5 if change == "estimator" else 18 if change == "folds" else 15)


def test_a_fingerprint_is_of_values_types_and_names():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})
    same = pd.DataFrame({"a": np.array([1.0, 2.0]), "b": pd.Series(["x", None])})
    assert fingerprint(frame) == fingerprint(same)
    others = [
        frame.rename(columns={"a": "c"}),
        frame.astype({"a": "int64"}),
        frame.astype({"a": "category"}),
        frame.assign(b=["x", "None"]),
        frame.iloc[::-1],
    ]
    assert len({fingerprint(other) for other in [frame, *others]}) == 6
    code = (
        "import pandas as pd; from sklearn_ltdl.running._journal import fingerprint; "
        "print(fingerprint(pd.DataFrame({'a': [1.0, 2.0], 'b': ['x', None]})))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == fingerprint(frame)  # whatever the hash seed of the process


def test_a_torn_line_is_left_out_and_what_follows_is_kept(tmp_path):
    path = tmp_path / "run.jsonl"
    Journal(path).add("one", {"prediction": [0.1]})
    with path.open("a") as file:
        file.write('{"key": "two", "predic')  # a kill in the middle of a line
    journal = Journal(path)
    assert journal.results == {"one": {"prediction": [0.1]}}
    journal.add("three", {"prediction": [1 / 3]})
    assert Journal(path).results == {"one": {"prediction": [0.1]}, "three": {"prediction": [1 / 3]}}
    path.write_text('{"jour')  # in the first line
    assert Journal(path).results == {}
    Journal(path).add("one", {"prediction": None})
    assert Journal(path).results == {"one": {"prediction": None}}


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    path = tmp_path / "houses.csv"
    path.write_text("a,b\n1,2\n")
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match="expected a new file or the journal of a run"):
        compare(X, y, models=["linear"], journal=path)
    assert path.read_text() == "a,b\n1,2\n"
    with pytest.raises(OSError, match="cannot be written"):
        compare(X, y, models=["linear"], journal=tmp_path / "nowhere" / "run.jsonl")


RUN = """
import sys
from sklearn.datasets import load_diabetes
from sklearn_ltdl import compare
if __name__ == "__main__":
    X, y = load_diabetes(return_X_y=True)
    c = compare(X, y, models=["linear", "ntk"], repeats=1, n_jobs=int(sys.argv[1]), journal=sys.argv[2], verbose=1)
    print(c.verdict)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="sends SIGKILL")
@pytest.mark.parametrize("n_jobs", ["1", "2"])
def test_a_run_that_is_killed_goes_on_where_it_was(n_jobs, tmp_path, counted):
    (tmp_path / "run.py").write_text(RUN)
    journal = tmp_path / "run.jsonl"
    command = [sys.executable, tmp_path / "run.py", n_jobs, journal]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (journal.exists() and journal.read_text().count("\n") >= 5):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    known = len(Journal(journal).results)
    X, y = load_diabetes(return_X_y=True)
    options = {"models": MODELS, "repeats": 1}
    resumed = compare(X, y, **options, journal=journal)
    assert len(counted) == 15 - known
    assert outcome(resumed) == outcome(compare(X, y, **options))
    lines = [json.loads(line) for line in journal.read_text().splitlines() if line.endswith("}")]
    assert len({line["key"] for line in lines[1:]}) == len(lines[1:]) == 15 + 1  # the importance of the columns


def test_an_interruption_keeps_what_is_done(tmp_path, monkeypatch):
    done = []

    def stop(data, function, *rest):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(rest)
        return run(data, function, *rest)

    monkeypatch.setattr(_study, "run", stop)
    X, y = load_diabetes(return_X_y=True)
    splits = list(KFold(5).split(X))
    with pytest.raises(Interrupted, match=r"7 of 15 fits are done and kept in .*run.jsonl") as caught:
        compare(X, y, models=MODELS, cv=splits, journal=tmp_path / "run.jsonl")
    assert len(Journal(tmp_path / "run.jsonl").results) == 7
    of_two_folds = caught.value.comparison
    assert of_two_folds.settings["notes"][-1] == "The verdict rests on 2 of 5 folds."
    assert "The verdict rests on 2 of 5 folds." in str(of_two_folds)
    done[:] = [None] * 2
    with pytest.raises(Interrupted, match="5 of 15 fits") as caught:
        compare(X, y, models=MODELS, cv=splits)
    assert caught.value.comparison.settings["notes"][-1] == (
        "The verdict rests on 2 of 5 folds; ntk had no time for two folds."
    )
    assert caught.value.comparison.failed == ["ntk"]
    done[:] = [None] * 3  # the baseline is done in one fold, and no choice can be judged on another
    with pytest.raises(Interrupted, match="4 of 15 fits") as caught:
        compare(X, y, models=MODELS, cv=splits)
    assert caught.value.comparison is None
    done.clear()
    with pytest.raises(KeyboardInterrupt) as caught:
        compare(X, y, models=["linear"], repeats=3, cv=2)
    partial = caught.value.comparison
    assert partial.settings["repeats"] == 1
    assert partial.settings["notes"][-1] == "The verdict rests on 1 of 3 draws of the folds."
    monkeypatch.undo()
    assert of_two_folds.verdict == compare(X, y, models=MODELS, cv=splits[:2]).verdict
    whole = compare(X, y, models=["linear"], repeats=1, cv=2)
    assert partial.verdict == whole.verdict  # that of the draws which are whole


def test_a_fit_that_was_stopped_is_tried_again_at_another_limit_only(tmp_path, monkeypatch):
    X, y = load_diabetes(return_X_y=True)
    journal = tmp_path / "run.jsonl"
    compare(X, y, models=["linear"], repeats=1, journal=journal)
    stopped = failed("stopped") | {"time_limit": 5.0}
    Journal(journal).add(json.loads(journal.read_text().splitlines()[2])["key"], stopped)
    text = journal.read_text()
    for limit, failures in ((5.0, 1), (6.0, 0), (None, 0)):
        journal.write_text(text)
        comparison = compare(X, y, models=["linear"], repeats=1, journal=journal, time_limit=limit)
        assert sum(bool(row["failure"]) for row in comparison.results) == failures


def test_what_failed_is_tried_again_and_changed_code_is_other_code(tmp_path, monkeypatch):
    X, y = load_diabetes(return_X_y=True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    scores = []
    for body in ("raise MemoryError", "self.alpha = 1e9", "self.alpha = help()", "self.alpha = help()"):
        help = 1e9 if len(scores) == 2 else 1e-3  # of another function in the module
        (tmp_path / "of_the_user.py").write_text(
            f"from sklearn.linear_model import Ridge\ndef help(): return {help}\nclass Mine(Ridge):\n"
            f"    def fit(self, X, y):\n        {body}\n        return super().fit(X, y)\n"
        )
        monkeypatch.delitem(sys.modules, "of_the_user", raising=False)
        importlib.invalidate_caches()
        pipeline = make_pipeline(importlib.import_module("of_the_user").Mine())  # a step of another
        for _ in range(2):
            comparison = compare(
                X, y, also={"mine": pipeline}, models=["linear"], repeats=1, journal=tmp_path / "run.jsonl"
            )
        scores.append(comparison.methods[2]["score"])
    assert scores[0] is None
    assert scores[1] == pytest.approx(scores[2])
    assert scores[1] < 0.01
    assert scores[3] > 0.4
    assert (
        len(Journal(tmp_path / "run.jsonl").results) == 5 * (2 + 3) + 1
    )  # dummy, linear, what did not fail; importance


def test_an_estimator_that_cannot_be_pickled_is_named_and_a_function_of_its_own_is_not(tmp_path, counted):
    X, y = load_diabetes(return_X_y=True)
    options = {"models": ["linear"], "repeats": 1, "journal": tmp_path / "run.jsonl"}
    for factor, new in ((2.0, 15), (2.0, 0), (3.0, 5)):
        before = len(counted)
        mine = TransformedTargetRegressor(
            Ridge(), func=lambda y, a=factor: a * y, inverse_func=lambda y, a=factor: y / a
        )
        assert not compare(X, y, also={"mine": mine}, **options).failed
        assert len(counted) - before == new
    broken = Ridge()
    broken.set_params(alpha=(number for number in (1.0, 2.0)))
    with pytest.raises(TypeError, match="also: 'broken' cannot be pickled, which worker processes need"):
        compare(X, y, also={"broken": broken}, **options)


def test_networks_compile_once_for_all_folds_and_seeds():
    """Folds of 112 and 113 rows, three seeds: one program of plain steps, and one of preconditioned steps."""
    from sklearn_ltdl.networks import _flow

    X, y = load_diabetes(return_X_y=True)
    X = X[:141, :7]  # of a width that no other test has
    before = _flow._descend._cache_size()
    comparison = compare(X, y[:141], models=["lazy", "rich"], repeats=2)
    assert {row["n_train"] for row in comparison.results} == {112, 113}
    assert _flow._descend._cache_size() == before + 2
