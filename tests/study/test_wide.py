"""Tables of thousands of columns, and targets of many classes."""

import numpy as np
import pytest

from sklearn_ltdl import compare
from sklearn_ltdl.study import _plan
from sklearn_ltdl.study._jobs import Data, fit_and_predict
from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.study._plan import that_can_run
from sklearn_ltdl.tables._files import read_table


def test_on_wide_tables_the_models_that_can_run_do(rng, monkeypatch):
    monkeypatch.setattr(_plan, "MANY_COLUMNS", 10)
    X = rng.standard_normal((60, 11))
    comparison = compare(X, X[:, 0], models=["ntk", "rfm", "forest"], cv=2)
    assert [row["method"] for row in comparison.methods] == ["dummy", "linear", "ntk"]
    notes = [note for note in comparison.settings["notes"] if note.code == "too wide"]
    assert [note.split()[0] for note in notes] == ["rfm", "forest"]
    assert all(f"  {note}" in str(comparison) for note in notes)
    assert "(Models compared: linear, ntk.)" in comparison.verdict.sentence


def test_up_to_2000_columns_all_models_run():
    assert that_can_run(METHODS, 2000) == (METHODS, [])
    assert list(that_can_run(METHODS, 2001)[0]) == ["dummy", "linear", "rbf", "laplace", "ntk", "boosting"]


def test_a_file_that_is_too_wide_is_refused_from_its_header(tmp_path, monkeypatch):
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"x{j}" for j in range(20_002)) + "\n" + ",".join(["1"] * 20_002) + "\n")
    monkeypatch.setattr("pandas.read_csv", None)  # no row is parsed
    with pytest.raises(ValueError, match=r"expected at most 20000 columns to predict from, got 20002"):
        read_table(path)


def test_probabilities_are_kept_as_arrays_of_single_precision(rng):
    X, y = rng.standard_normal((60, 3)), np.arange(60) % 20
    data = Data(X, y, None, "classification", 20)
    prediction = fit_and_predict(data, METHODS["ntk"], 0, np.arange(40), np.arange(40, 60))["prediction"]
    assert (prediction.shape, prediction.dtype) == ((20, 20), np.float32)
    numbers = Data(X, X[:, 0], None, "regression", None)
    prediction = fit_and_predict(numbers, METHODS["ntk"], 0, np.arange(40), np.arange(40, 60))["prediction"]
    assert (prediction.shape, prediction.dtype) == ((20,), np.float64)


def test_a_journal_gives_back_the_same_bits(rng, tmp_path):
    X, y = rng.standard_normal((60, 3)), np.arange(60) % 3
    options = {"models": ["ntk"], "cv": 2, "journal": tmp_path / "journal", "scoring": "neg_log_loss"}
    first, again = compare(X, y, **options), compare(X, y, **options)
    assert first == again
