"""The logarithm of the target: what is compared, and the way back of the model that is saved."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score

from sklearn_ltdl import compare
from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl.study import _saved, winner
from sklearn_ltdl.study._log import LogTarget


@pytest.fixture
def sales(rng):
    X = pd.DataFrame(rng.standard_normal((2000, 3)), columns=list("abc"))
    return X, np.exp(X["a"] + 0.5 * rng.standard_normal(2000)).to_numpy()


def test_the_comparison_is_that_of_the_logarithm(sales):
    X, y = sales
    options = {"models": ["linear"], "cv": 3}
    comparison, other = compare(X, y, log=True, **options), compare(X, np.log(y), **options)
    assert comparison.methods[1]["loss"] == other.methods[1]["loss"]
    assert comparison.verdict == other.verdict
    assert comparison.settings["log"]
    assert not other.settings["log"]


def test_the_model_predicts_the_mean_of_the_target_in_its_unit(sales):
    X, y = sales
    model = LogTarget(LinearRegression()).fit(X.to_numpy(), y)
    # of a lognormal with variance s^2 of the logarithm: E exp(e) = exp(s^2 / 2); 2000 rows tell it to about 1.5 %
    assert abs(model.smearing_ / np.exp(0.125) - 1) < 0.05
    assert abs(model.predict(X.to_numpy()).mean() / y.mean() - 1) < 0.05
    assert LogTarget(LinearRegression()).fit(X.to_numpy(), np.exp(X["a"])).smearing_ == pytest.approx(1)  # no noise


def test_the_winner_is_saved_and_predicts_in_the_unit_of_the_target(sales, tmp_path):
    X, y = sales
    comparison = compare(X, y, log=True, models=["linear"], cv=2)
    model = winner(comparison, X, y)
    assert abs(model.predict(X).mean() / y.mean() - 1) < 0.05
    weighted = compare(X, y, log=True, models=["linear"], cv=2, sample_weight=np.ones(len(y)))
    np.testing.assert_allclose(winner(weighted, X, y, sample_weight=np.ones(len(y))).predict(X), model.predict(X))
    assert _saved.save(model, tmp_path / "model.skops") == []
    copy, _ = _saved.load(tmp_path / "model.skops")
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))


def test_a_target_without_a_logarithm_is_refused(sales):
    X, y = sales
    with pytest.raises(
        ParameterError, match=r"log: expected a positive target, got 1 of 2000 values that are not, such as"
    ):
        compare(X, np.where(np.arange(2000) == 3, -1.0, y), log=True)
    with pytest.raises(ParameterError, match="log: expected a numeric target, got classes"):
        compare(X, np.where(y > 1, "u", "v"), log=True, task="classification")


def test_whole_numbers_are_numbers_if_their_logarithm_is_asked_for(sales):
    X, y = sales
    counts = 1 + np.minimum(y, 7).astype(int)
    assert compare(X, counts, log=True, models=["linear"], cv=2).settings["task"] == "regression"


def test_the_auc_of_two_classes_is_shown(rng):
    X = rng.standard_normal((200, 2))
    y = (X[:, 0] + rng.standard_normal(200) > 1).astype(int)
    split = [(np.arange(100), np.arange(100, 200)), (np.arange(100, 200), np.arange(100))]
    comparison = compare(X, y, models=["linear"], cv=split)
    dummy, linear = comparison.methods
    assert dummy["auc"] == 0.5
    assert 0.7 < linear["auc"] < 1
    assert "   AUC " in str(comparison).splitlines()[0]
    assert roc_auc_score(y, X[:, 0]) == pytest.approx(linear["auc"], abs=0.02)  # the first column is all there is
    three = compare(X, rng.integers(3, size=200), models=["linear"], cv=2)
    assert three.methods[1]["auc"] is None
    assert "AUC" not in str(three)
