import json
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score

from sklearn_ltdl import compare, make_table_pipeline
from sklearn_ltdl.study._methods import METHODS, Method, per_row_loss

CHEAP = {
    "dummy": METHODS["dummy"],
    "linear": Method("linear", lambda task, seed: Ridge() if task == "regression" else LogisticRegression()),
    "ntk": Method("kernel", lambda task, seed: Broken()),
    "rich": Method("network", lambda task, seed: Noisy(seed=seed), n_seeds=3),
}


class Broken(Ridge):
    def fit(self, X, y):
        raise FloatingPointError("lost\nits way")


class Noisy(Ridge):
    """Ridge plus noise of its seed, that warns."""

    def __init__(self, *, seed=0):
        super().__init__()
        self.seed = seed

    def fit(self, X, y):
        warnings.warn("Stopped: too early", ConvergenceWarning, stacklevel=2)
        return super().fit(X, y)

    def predict(self, X):
        return super().predict(X) + np.random.default_rng(self.seed).standard_normal(len(X))


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr("sklearn_ltdl.study._study.METHODS", CHEAP)


def test_losses_and_scores_are_those_of_scikit_learn(cheap):
    X, y = load_diabetes(return_X_y=True)
    comparison = compare(X, y, models=["dummy", "linear"], repeats=1)
    folds = KFold(5, shuffle=True, random_state=comparison.settings["seed"])
    for name, model in {"dummy": DummyRegressor(), "linear": Ridge()}.items():
        results = [result for result in comparison.results if result["method"] == name]
        expected = -cross_val_score(make_table_pipeline(model), X, y, cv=folds, scoring="neg_mean_squared_error")
        assert np.allclose([result["loss"] for result in results], expected)
        out_of_fold = cross_val_predict(make_table_pipeline(model), X, y, cv=folds)
        assert comparison.to_frame().loc[name, "score"] == pytest.approx(1 - np.mean((y - out_of_fold) ** 2) / y.var())


def test_log_loss_is_smoothed_by_one_row_of_each_class():
    probabilities = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
    loss = per_row_loss("classification", probabilities, np.array([2, 1]), n_train=97)
    assert loss == pytest.approx(-np.log([1 / 100, (97 * 0.5 + 1) / 100]))


def test_failures_and_warnings_are_rows_and_notes(cheap):
    X, y = load_diabetes(return_X_y=True)
    comparison = compare(X, y, repeats=1)
    table = comparison.to_frame()
    assert table.loc["ntk", "failure"] == "in 5 of 5 folds, FloatingPointError: lost its way"
    assert table.loc["rich", "notes"] == ["ConvergenceWarning: Stopped: too early (15 of 15 fits)"]
    assert comparison.failed == ["ntk"]
    assert comparison.verdict.code == "unclear"
    assert "whether a kernel beats the linear model, since its models failed" in comparison.verdict.sentence
    assert "ntk       failed: in 5 of 5 folds" in str(comparison)


def test_predictions_of_seeds_are_averaged(cheap):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 2))
    y = X @ [1.0, 2.0]
    table = compare(X, y, models=["rich"]).to_frame()
    assert table.loc["rich", "loss"] == pytest.approx(1 / 3, rel=0.15)  # five folds share their seeds with nothing else


def test_classes_of_text_are_compared_and_repeats_are_of_the_same_rows(cheap):
    X, codes = load_wine(return_X_y=True)
    y = np.array(["low", "middle", "high"])[codes]
    comparison = compare(pd.DataFrame(X).rename(columns=str), y, models=["linear"], repeats=2, cv=3)
    assert comparison.settings["classes"] == ["high", "low", "middle"]
    assert len(comparison.results) == 2 * 3 * 2
    assert comparison.to_frame().loc["linear", "score"] > 0.95  # wine is nearly separable
    for repeat in range(2):
        assert sum(r["n_test"] for r in comparison.results if r["repeat"] == repeat) == 2 * len(y)


def test_same_seed_same_numbers_and_everything_is_json(cheap, tmp_path):
    X, y = load_diabetes(return_X_y=True)
    first, again, other = (compare(X, y, models=["rich"], random_state=seed) for seed in (3, 3, 4))
    assert [r["loss"] for r in first.results] == [r["loss"] for r in again.results]
    assert [r["loss"] for r in first.results] != [r["loss"] for r in other.results]
    text = first.to_json(tmp_path / "out.json")
    assert json.loads(text) == json.loads((tmp_path / "out.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert set(json.loads(text)) == {"verdict", "methods", "results", "settings"}
    assert set(json.loads(text)["verdict"]) == {"code", "sentence", "evidence"}
    assert str(pickle.loads(pickle.dumps(first))) == str(first)


def test_rows_without_target_are_left_out(cheap):
    X, y = load_diabetes(return_X_y=True)
    holes = np.arange(len(y)) % 9 == 0
    comparison = compare(X, np.where(holes, np.nan, y), models=["linear"])
    assert comparison.settings["n_rows"] == np.sum(~holes)
    assert f"{holes.sum()} rows have no target" in comparison.settings["notes"][-1]
    kept = compare(X[~holes], y[~holes], models=["linear"])
    assert [r["loss"] for r in comparison.results] == [r["loss"] for r in kept.results]


def test_linear_data_gets_the_verdict_linear_and_noise_the_verdict_nothing(rng):
    X = rng.standard_normal((600, 4))
    assert compare(X, X.sum(axis=1) + 0.2 * rng.standard_normal(600), models=["rbf"]).verdict.code == "linear"
    assert compare(X, rng.standard_normal(600), models=["linear"]).verdict.code in ("nothing", "unclear")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["linar"]}, "models: expected names among dummy, .*; got 'linar'"),
        ({"y": np.ones(30)}, "at least two distinct values"),
        ({"y": ["a"] * 30}, "at least two distinct values"),
        ({"y": ["a"] * 28 + ["b"] * 2}, "at least 5 rows of each class, got 2 of class 'b'"),
        ({"cv": 20}, "cv=20 folds need at least 40 rows with a target, got 30"),
        ({"y": np.arange(29.0)}, "inconsistent numbers of samples"),
        ({"y": np.ones((30, 2))}, "expected one target"),
        ({"cv": 1}, "'cv' parameter"),
        ({"margin": 0}, "'margin' parameter"),
        ({"time_limit": 0}, "'time_limit' parameter"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"X": np.full((30, 2), np.inf)}, "column '0' holds infinite"),
        ({"X": np.empty((30, 0))}, "n_features >= 1"),
    ],
)
def test_bad_input_is_named(change, message):
    data = {"X": np.arange(60.0).reshape(30, 2), "y": np.arange(30.0), **change}
    with pytest.raises(ValueError, match=message):
        compare(**data)


def test_time_limit_and_workers_end_in_rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 20))  # on which a forest takes a minute
    table = compare(X, X[:, 0] * X[:, 1], models=["forest"], cv=2, repeats=1, time_limit=5, n_jobs=2).to_frame()
    assert pd.isna(table.loc["dummy", "failure"])
    assert table.loc["forest", "failure"] == "in 2 of 2 folds, stopped at the time limit of 5 s"


def test_importing_the_command_line_leaves_jax_and_numba_alone():
    code = "import sys, sklearn_ltdl.study.cli; print(*{'jax', 'numba', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"
