"""The journal: no line that was altered gives another result, and its fit runs again."""

import hashlib
import json
import re

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import Ridge

from sklearn_ltdl import compare
from sklearn_ltdl.cli import main
from sklearn_ltdl.running import _journal
from sklearn_ltdl.running._journal import Journal, conforms
from sklearn_ltdl.study import _study
from sklearn_ltdl.study._evidence import EXPLAINED, is_path
from sklearn_ltdl.study._jobs import Data, as_plain, fit_and_predict
from sklearn_ltdl.study._models import METHODS

HEADER = b'{"journal": "ltdl compare", "format": 3}'


def forged(entry):
    """Return a line whose digest fits, as a person could write it."""
    entry = {name: value for name, value in entry.items() if name != "sum"}
    return json.dumps(entry | {"sum": hashlib.sha256(json.dumps(entry).encode()).hexdigest()[:16]})


def outcome(comparison):
    rows = [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in comparison.results]
    return comparison.verdict, rows, comparison.evidence


# --- accidents ---------------------------------------------------------------------------------------------------


def replace_digit(data, rng):
    places = [place for place, byte in enumerate(data) if 48 <= byte <= 57]
    place = rng.choice(places)
    other = 48 + (data[place] - 48 + rng.integers(1, 10)) % 10
    return data[:place] + bytes([other]) + data[place + 1 :]


def flip_bit(data, rng):
    place = rng.integers(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.integers(8))]) + data[place + 1 :]


def delete_range(data, rng):
    start = rng.integers(len(data))
    return data[:start] + data[start + rng.integers(1, 200) :]


def insert_garbage(data, rng):
    place = rng.integers(len(data))
    return data[:place] + rng.bytes(rng.integers(1, 40)) + data[place:]


def insert_nulls(data, rng):
    place, size = rng.integers(len(data)), rng.integers(1, 4000)
    return data[:place] + bytes(size) + data[place + (size if rng.integers(2) else 0) :]


def truncate(data, rng):
    return data[: rng.integers(len(data))]


def copy_and_edit(data, rng):
    lines = data.splitlines()
    line = json.loads(lines[rng.integers(1, len(lines))])
    line["key"] = "".join(rng.choice(list("0123456789abcdef"), 64)) if rng.integers(2) else line["key"]
    line["prediction"] = (2 * np.array(line["prediction"])).tolist()
    return data + json.dumps(line).encode() + b"\n"


KINDS = (replace_digit, flip_bit, delete_range, insert_garbage, insert_nulls, truncate, copy_and_edit)


def test_no_mutation_of_a_journal_gives_another_result(tmp_path, rng):
    path = tmp_path / "run.jsonl"
    journal = Journal(path)
    for number in range(12):
        prediction = rng.standard_normal(20) if number % 2 else rng.dirichlet(np.ones(3), 10)
        result = {
            "prediction": prediction.tolist(),
            "fit_seconds": rng.exponential(),
            "notes": [["A", "A: b"]] * (number % 3),
        }
        journal.add(hashlib.sha256(bytes([number])).hexdigest(), result | {"failure": None})
    data, truth = path.read_bytes(), {key: json.dumps(result) for key, result in journal.results.items()}
    assert {key: json.dumps(result) for key, result in Journal(path).results.items()} == truth
    refused = 0
    for number in range(504):
        mutated = KINDS[number % len(KINDS)](data, rng)
        path.write_bytes(mutated)
        try:
            journal = Journal(path)
        except ValueError:  # of the first line
            assert path.read_bytes() == mutated
            refused += 1
            continue
        assert {key: json.dumps(result) for key, result in journal.results.items()}.items() <= truth.items()
        if mutated.startswith(data[:-1]) or data.startswith(mutated):
            continue
        assert len(journal.results) == 12 or journal.dropped
    assert refused < 25


def test_a_message_names_the_file_and_the_lines(tmp_path):
    path = tmp_path / "run.jsonl"
    for number in range(20):
        Journal(path).add(str(number), {"prediction": [0.5]})
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace("0.5", "0.6"), *lines[3:]]))
    journal = Journal(path)
    assert journal.message() == (
        f"journal {path}: 1 line is ignored (line 3 does not match its digest); its fit runs again."
    )
    path.write_text("\n".join(lines[:1] + [line[:-4] for line in lines[1:]]))
    message = Journal(path).message()
    assert re.search(r"20 lines are ignored \(line 2 is incomplete or damaged; line 3 .*; \.\.\.\)", message)
    path.write_text("\r\n".join(lines))
    assert Journal(path).message() is None
    assert len(Journal(path).results) == 20


def test_a_damaged_first_line_loses_no_result(tmp_path):
    path = tmp_path / "run.jsonl"
    Journal(path).add("one", {"prediction": [0.5]})
    path.write_bytes(path.read_bytes().replace(b"journal", b"jou\x00nal", 1))
    journal = Journal(path)
    assert journal.results == {"one": {"prediction": [0.5]}}
    assert journal.dropped == {1: "is incomplete or damaged"}
    journal.add("two", {"prediction": [0.25]})
    assert Journal(path).results.keys() == {"one", "two"}


@pytest.mark.parametrize("torn", [HEADER[:9], HEADER, HEADER[:9] + b"\n" + HEADER[:3], b"\n"])
def test_a_torn_beginning_is_a_new_journal(torn, tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(torn)
    Journal(path).add("one", {"prediction": None})
    assert Journal(path).results == {"one": {"prediction": None}}
    assert Journal(path).dropped == {}


def test_two_that_begin_at_once_share_a_journal(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(HEADER + b"\n" + forged({"key": "one"}).encode() + b"\n" + HEADER + b"\n")
    journal = Journal(path)
    assert journal.results == {"one": {}}
    assert journal.dropped == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"journal": "ltdl compare", "format": 1}\n{"key": "a", "prediction": [1.0]}\n', "has format 1, and this"),
        (b'{"journal": "ltdl compare", "format": 30}\n', "has format 30, and this"),
        (b"a,b\n1,2\n", "expected a new file or the journal of a run, got another"),
        (b"\x00" * 5000, "expected a new file or the journal of a run, got another"),
        (b"[" * 200_000, "expected a new file or the journal of a run, got another"),
        (b'{"key": "a", "prediction": [1.0]}\n' * 3, "expected a new file or the journal of a run, got another"),
    ],
)
def test_another_file_is_left_alone_in_one_sentence(content, message, tmp_path, capsys):
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    assert main(["compare", "diabetes", "--models", "linear", "--n-jobs", "1", "--journal", str(path)]) == 2
    error = capsys.readouterr().err
    assert f"ltdl compare: journal {path}: " in error
    assert message in error
    assert "Traceback" not in error
    assert path.read_bytes() == content


def test_a_line_that_is_too_long_is_passed_over(tmp_path, monkeypatch):
    path = tmp_path / "run.jsonl"
    Journal(path).add("one", {"prediction": [0.5]})
    with path.open("ab") as file:
        file.write(b"0" * 100_000 + b"\n")
    Journal(path).add("two", {"prediction": [0.25]})
    monkeypatch.setattr(_journal, "_LONGEST", 1000)
    journal = Journal(path)
    assert journal.results.keys() == {"one", "two"}
    assert list(journal.dropped) == [3]


# --- lines that a person wrote -----------------------------------------------------------------------------------

X, Y = load_diabetes(return_X_y=True)
OPTIONS = {"models": ["linear"], "also": {"mine": Ridge()}, "cv": 2}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The lines of a journal, and what the comparison says."""
    path = tmp_path_factory.mktemp("known") / "run.jsonl"
    comparison = compare(X[:41], Y[:41], **OPTIONS, journal=path)
    return path.read_text().splitlines(), outcome(comparison)


LINE = 2  # of the dummy in the first fold, which predicts 21 rows; the third in the file
EDITS = {
    "NaN": {"prediction": [float("nan")] * 21},
    "infinite": {"prediction": [float("inf")] * 21},
    "squares overflow": {"prediction": [1e308] * 21},
    "beyond a float": {"prediction": [10**400] * 21},
    "one for all rows": {"prediction": [0.0]},
    "none": {"prediction": []},
    "too short": {"prediction": [0.0] * 20},
    "too long": {"prediction": [0.0] * 22},
    "text": {"prediction": ["0.0"] * 21},
    "null": {"prediction": [None] * 21},
    "true": {"prediction": [True] * 21},
    "nested": {"prediction": [[0.0]] * 21},
    "a column of one": {"prediction": [[0.0] * 21]},
    "no list": {"prediction": 0.0},
    "a dict": {"prediction": {"0": 0.0}},
    "no prediction and no failure": {"prediction": None},
    "text in seconds": {"fit_seconds": "0.1"},
    "NaN in seconds": {"fit_seconds": float("nan")},
    "negative seconds": {"predict_seconds": -1.0},
    "no seconds": {"predict_seconds": None},
    "notes are a number": {"notes": 3},
    "notes are of numbers": {"notes": [3]},
    "a failure and a prediction": {"failure": "stopped"},
    "a failure that is no text": {"failure": 3, "prediction": None},
    "a failure that may be gone": {"failure": "MemoryError", "prediction": None},
    "a limit that is text": {"failure": "stopped", "prediction": None, "missing": None, "time_limit": "5"},
    "explained though not asked": {"explained": {"verdict": "lazy"}},
    "a name too many": {"more": 1},
}


def resumed(lines, path):
    path.write_text("\n".join(lines) + "\n")
    with pytest.warns(UserWarning, match=re.escape(f"journal {path}: 1 line is ignored (line 3 ")) as caught:
        comparison = compare(X[:41], Y[:41], **OPTIONS, journal=path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    return outcome(comparison)


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_no_result_of_a_fit_is_not_used(edit, known, tmp_path):
    lines, truth = known
    entry = json.loads(lines[LINE]) | EDITS[edit]
    assert resumed([*lines[:LINE], forged(entry), *lines[LINE + 1 :]], tmp_path / "run.jsonl") == truth


@pytest.mark.parametrize(
    "write",
    [
        lambda line: "[" * 200_000,
        lambda line: '{"a":' * 200_000,
        lambda line: "9" * 10_000,
        lambda line: "[]",
        lambda line: '"text"',
        lambda line: line.replace('"prediction": [', '"prediction": [1e999, '),
        lambda line: line.replace('"notes"', '"prediction": [0.0], "notes"'),  # a name given twice
        lambda line: line.replace('"notes": []', '"notes": ["\udcff"]'),
        lambda line: forged({name: value for name, value in json.loads(line).items() if name != "prediction"}),
        lambda line: forged({name: value for name, value in json.loads(line).items() if name != "key"}),
        lambda line: forged(json.loads(line) | {"key": 3}),
    ],
    ids=range(11),
)
def test_lines_that_are_none_are_not_used(write, known, tmp_path):
    lines, truth = known
    line = write(lines[LINE]).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    assert resumed([*lines[:LINE], line, *lines[LINE + 1 :]], tmp_path / "run.jsonl") == truth


def test_the_command_says_which_line_it_does_not_use_and_goes_on(tmp_path, capsys, known):
    path = tmp_path / "run.jsonl"
    command = ["compare", "diabetes", "--models", "linear", "--cv", "2", "--n-jobs", "1", "--journal", str(path)]
    assert main(command) == 0
    truth = re.sub(r"\d+\.\d+ +\d+\.\d+$", "", capsys.readouterr().out, flags=re.MULTILINE)  # the seconds
    lines = path.read_text().splitlines()
    entry = json.loads(lines[1])
    del entry["prediction"]
    path.write_text("\n".join([lines[0], forged(entry), *lines[2:]]) + "\n")
    assert main(command) == 0
    printed = capsys.readouterr()
    assert re.sub(r"\d+\.\d+ +\d+\.\d+$", "", printed.out, flags=re.MULTILINE) == truth
    sentence = f"ltdl compare: journal {path}: 1 line is ignored (line 2 holds no result of this fit); its fit runs"
    assert printed.err.count(sentence) == 1


def test_what_a_comparison_writes_is_used_whatever_is_asked(tmp_path, monkeypatch):
    """Classes, curves, and what is said beside the verdict: nothing is dropped, and no fit is done a second time."""
    asked = [
        (X[:60], Y[:60], {"models": ["rich", "rfm"], "curves": True, "cv": 2}),
        (*load_iris(return_X_y=True), {"models": ["forest"], "cv": 2}),
    ]
    firsts = [
        outcome(compare(x, y, **options, journal=tmp_path / f"{k}.jsonl")) for k, (x, y, options) in enumerate(asked)
    ]
    monkeypatch.setattr(_study, "run", None)  # no fit can be done
    for k, (x, y, options) in enumerate(asked):
        assert outcome(compare(x, y, **options, journal=tmp_path / f"{k}.jsonl")) == firsts[k]
    found = firsts[0][2]
    forms = {"regime": EXPLAINED["rich"], "agop": EXPLAINED["rfm"], "scale_path": is_path}
    changes = {
        "regime": [{"sentence": 3}, {"scale": "0.1"}, {"diagnostics": {}}, {"spectrum_after": [None]}, {"n_rows": 7.5}],
        "agop": [{"importances": []}, {"eigenvalues": ["1"]}, {"columns": 3}, {"n_rounds": None}, {"more": 1}],
        "scale_path": [{"scores": [0.1]}, {"converged": [1] * 5}, {"fit_seconds": -1.0}, {"losses": [1e999] * 5}],
    }
    for part, is_one in forms.items():
        assert is_one(found[part])
        assert not any(is_one(found[part] | change) for change in changes[part])


def test_what_is_said_beside_a_fit_and_is_no_number_loses_neither_the_fit_nor_the_journal(tmp_path):
    data = Data(X[:41], Y[:41], None, "regression", None)
    rows = np.arange(20), np.arange(20, 41)
    result = fit_and_predict(data, METHODS["linear"], 0, *rows, lambda *_: {"score": float("nan")})
    assert "not JSON compliant" in result["explained"]["failure"]
    Journal(tmp_path / "run.jsonl").add("one", as_plain(result))
    assert Journal(tmp_path / "run.jsonl").results == {"one": as_plain(result)}


def test_predictions_of_another_shape_are_a_failure_and_not_broadcast():
    class Column(Ridge):
        def predict(self, x):
            return super().predict(x)[:, None]

    comparison = compare(X[:41], Y[:41], models=["linear"], also={"column": Column()}, cv=2)
    assert comparison.failed == ["column"]
    assert "expected predictions of shape (21,), got (21, 1)" in comparison.methods[2]["failure"]


def test_forms():
    assert conforms([1, 2.5], [float, ...])
    assert conforms([], [float, ...])
    assert not conforms([1, 2.5], [float])
    assert not conforms([True], [float])
    assert conforms({"a": 1, "b": None}, {str: (int, None)})
    assert not conforms({"a": 1}, {"a": int, "b": int})
    assert not conforms(10**400, float)
    assert not conforms(float("nan"), float)
