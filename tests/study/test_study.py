import json
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
)
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import compare, make_table_pipeline
from sklearn_ltdl.datasets import make_multi_index, make_parity
from sklearn_ltdl.study._folds import copied
from sklearn_ltdl.study._models import METHODS, Method, OutOfBag, Tuned, _inner_rows, given, per_row_loss

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
    monkeypatch.setattr("sklearn_ltdl.study._plan.METHODS", CHEAP)
    monkeypatch.setattr("sklearn_ltdl.study._judging.METHODS", CHEAP)


def test_losses_and_scores_are_those_of_scikit_learn(cheap):
    X, y = load_diabetes(return_X_y=True)
    comparison = compare(X, y, models=["dummy", "linear"])
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
    comparison = compare(X, y)
    table = comparison.to_frame()
    assert table.loc["ntk", "failure"] == "in 5 of 5 folds, FloatingPointError: lost its way"
    assert table.loc["rich", "notes"] == ["ConvergenceWarning: Stopped: too early (15 of 15 fits)"]
    assert comparison.failed == ["ntk"]
    assert comparison.verdict.code == "unclear"
    assert "whether any other model beats the linear model, because the models that this needs failed" in str(
        comparison.verdict
    )
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
    table = comparison.to_frame()
    assert table.loc["linear", "score"] > 0.95  # wine is nearly separable
    n, p = len(y), table.loc["dummy", "score"]
    half = t.ppf(0.975, n - 1) * np.sqrt((1 + n / (2 * n / 3)) * p * (1 - p) / (n - 1))  # the dummy says one class
    assert table.loc["dummy", "score_high"] - p == pytest.approx(half, rel=1e-3)  # 3 does not divide 178
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
    assert set(json.loads(text)) == {"verdict", "methods", "results", "evidence", "settings"}
    assert set(json.loads(text)["verdict"]) == {
        "code", "sentence", "evidence", "possible", "needs_features", "recommendation", "at",
    }  # fmt: skip
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
    X = rng.standard_normal((300, 4))
    y = X.sum(axis=1) + 0.2 * rng.standard_normal(300)
    assert compare(X, y, models=["laplace"]).verdict.code == "linear"
    assert compare(X, rng.standard_normal(300), models=["linear"]).verdict.code in ("nothing", "unclear")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["linar"]}, "models: expected names among dummy, .*; got 'linar'"),
        ({"y": np.ones(30)}, "at least two distinct values"),
        ({"y": ["a"] * 30}, "at least two distinct values"),
        ({"y": ["a"] * 29 + ["b"]}, "a class of at least 5 rows and another of at least 2, got 29 and 1"),
        ({"groups": [0, 1] * 15}, "cv: 5 folds need at least 5 groups, or distinct rows, got 2"),
        ({"cv": KFold(5), "repeats": 2}, "repeats: 2 draws of the folds need an integer cv"),
        ({"cv": [(range(20), range(15, 30)), (range(10), range(10, 30))]}, "split 1 predicts rows that it trains on"),
        ({"scoring": "roc_auc"}, "scoring: 'roc_auc' fails on a fold"),
        ({"scoring": "r3"}, "scoring: 'r3' is not a score of scikit-learn"),
        ({"backend": "dask"}, "got backend 'dask' and scheduler None"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "got backend 'loky' and scheduler"),
        ({"also": {"ntk": Ridge()}}, "the name 'ntk' is taken"),
        ({"sample_weight": np.zeros(30)}, "sample_weight: zero for every row that has a target"),
        ({"sample_weight": -np.ones(30)}, "Negative values"),
        ({"cv": 20}, "cv: 20 folds need at least 40 rows with a target, got 30"),
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
    table = compare(X, X[:, 0] * X[:, 1], models=["forest"], cv=2, time_limit=5, n_jobs=2).to_frame()
    assert pd.isna(table.loc["dummy", "failure"])
    assert table.loc["forest", "failure"] == "in 2 of 2 folds, stopped at the time limit of 5 s"


def test_a_given_splitter_decides_what_is_predicted(cheap):
    X, y = load_diabetes(return_X_y=True)
    folds = TimeSeriesSplit(4)
    comparison = compare(X, y, models=["linear"], cv=folds)
    results = [result for result in comparison.results if result["method"] == "linear"]
    expected = -cross_val_score(make_table_pipeline(Ridge()), X, y, cv=folds, scoring="neg_mean_squared_error")
    assert np.allclose([result["loss"] for result in results], expected)
    tested = np.concatenate([test for _, test in folds.split(X)])
    assert comparison.verdict.evidence["signal"]["n_rows"] == len(tested)


def test_given_splits_speak_of_the_rows_as_given(cheap):
    X, y = load_diabetes(return_X_y=True)
    splits = [(np.arange(200), np.arange(200, 442)), (np.arange(200, 442), np.arange(200))]
    holes = np.arange(442) % 9 == 0
    comparison = compare(X, np.where(holes, np.nan, y), models=["linear"], cv=splits)
    for (train, test), row in zip(splits, [row for row in comparison.results if row["method"] == "linear"]):
        train, test = (rows[~holes[rows]] for rows in (train, test))
        model = make_table_pipeline(Ridge()).fit(X[train], y[train])
        assert row["loss"] == pytest.approx(np.mean((model.predict(X[test]) - y[test]) ** 2))


def test_rows_of_a_group_are_in_one_fold_and_one_piece_of_evidence(cheap):
    """A target that is constant in each group is learned by heart from its other rows, and not from other groups."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 5)
    X = np.eye(40)[group] + 0.01 * rng.standard_normal((200, 40))
    y = rng.standard_normal(40)[group]
    apart, together = (compare(X, y, models=["linear"], groups=groups) for groups in (None, group.astype(str)))
    assert apart.verdict.code == "linear"
    assert together.verdict.code in ("nothing", "unclear")
    assert together.settings["n_clusters"] == 40
    assert any("200 rows count as 40 groups" in note for note in together.settings["notes"])


def test_weights_are_used_in_fits_losses_and_scores(cheap):
    X, y = load_diabetes(return_X_y=True)
    weight = np.random.default_rng(0).uniform(0.5, 3.0, len(y))
    comparison = compare(X, y, models=["linear"], sample_weight=weight)
    folds = KFold(5, shuffle=True, random_state=comparison.settings["seed"])
    losses = []
    for train, test in folds.split(X):
        model = make_table_pipeline(Ridge()).fit(X[train], y[train], estimator__sample_weight=weight[train])
        losses.append(np.average((model.predict(X[test]) - y[test]) ** 2, weights=weight[test]))
    assert np.allclose([r["loss"] for r in comparison.results if r["method"] == "linear"], losses)
    some = np.where(np.arange(len(y)) % 7 == 0, 0.0, weight)
    dropped = compare(X, y, models=["linear"], sample_weight=some)
    left = compare(X[some > 0], y[some > 0], models=["linear"], sample_weight=some[some > 0])
    assert [r["loss"] for r in dropped.results] == [r["loss"] for r in left.results]


def test_copies_of_rows_are_no_more_evidence_and_in_one_fold(cheap):
    X, y = load_diabetes(return_X_y=True)
    once = compare(X[:100], y[:100], models=["linear"])
    comparison = compare(np.tile(X[:100], (4, 1)), np.tile(y[:100], 4), models=["linear"])
    assert comparison.settings["n_clusters"] == 100
    assert any("400 rows are 100 distinct rows and copies" in note for note in comparison.settings["notes"])
    widths = [c.verdict.evidence["signal"]["high"] - c.verdict.evidence["signal"]["low"] for c in (once, comparison)]
    assert widths[1] == pytest.approx(widths[0], rel=0.2)  # other folds; four times the rows would halve it
    rng = np.random.default_rng(0)
    by_heart = compare(
        np.tile(rng.standard_normal((40, 40)), (5, 1)), np.tile(rng.standard_normal(40), 5), models=["linear"]
    )
    assert by_heart.verdict.code in ("nothing", "unclear")  # a line through each row, were its copies to train


@pytest.mark.parametrize("classes", [False, True])
def test_copies_are_told_from_rows_that_agree(classes):
    """Copied: rows, a few rows of a rare class. Not: two columns of yes or no, one factor in ten columns."""
    rng = np.random.default_rng(0)

    def target(signal):
        noisy = signal + rng.standard_normal(len(signal))
        return (noisy > 0).astype(int) if classes else noisy

    X = rng.standard_normal((200, 3))
    y = target(X[:, 0])
    assert copied(X, y) is None
    twice = np.repeat(np.arange(200), np.where(np.arange(200) < 10, 20, 1))
    assert len(np.unique(copied(X[twice], y[twice]))) == 200
    frame = pd.DataFrame({"a": X[:, 0], "b": np.where(X[:, 1] > 0, "x", None)})
    assert copied(frame, y) is None
    assert len(np.unique(copied(frame.iloc[twice], y[twice]))) == 200
    yes = rng.integers(2, size=(300, 2))
    assert copied(yes, target(yes[:, 0])) is None
    factor = rng.integers(6, size=150)
    assert copied(np.array([np.sin(factor * j) for j in range(1, 11)]).T, target(factor - 3)) is None
    grid = rng.integers(200, size=(5000, 3))
    tiled = copied(np.tile(grid, (4, 1)), np.tile(target(grid[:, 0] - 100.0), 4))
    assert 4990 <= len(np.unique(tiled)) <= 5000  # some of the distinct ones are equal by chance


def test_rows_that_agree_by_chance_are_each_evidence(cheap):
    """Of two columns of yes or no there are eight kinds of rows, however many rows."""
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(300, 2))
    y = (rng.random(300) < 0.3 + 0.4 * X[:, 0]).astype(int)
    comparison = compare(X, y, models=["linear"])
    assert comparison.settings["n_clusters"] == 300
    assert not any("copies" in note for note in comparison.settings["notes"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "held_back"), [("rfm", "ntk"), ("rich", "lazy")])
def test_a_model_that_learns_features_comes_with_the_one_that_cannot(name, held_back):
    X, y = make_multi_index(200, 5, n_directions=1, random_state=0)
    comparison = compare(X, y, models=[name])
    assert set(comparison.settings["models"]) == {"dummy", "linear", name, held_back}
    assert comparison.verdict.code == "features"


def test_a_score_knows_the_classes_by_their_names(cheap):
    X, y = load_breast_cancer(return_X_y=True)  # F1 of class 1, not of the second class
    names, y = np.array([1, 2]), 1 - y
    comparison = compare(X, names[y], models=["linear"], scoring="f1")
    folds = StratifiedKFold(5, shuffle=True, random_state=comparison.settings["seed"])
    expected = cross_val_score(make_table_pipeline(LogisticRegression()), X, names[y], cv=folds, scoring="f1")
    assert comparison.to_frame().loc["linear", "score"] == pytest.approx(expected.mean(), abs=0.01)
    with pytest.raises(ValueError, match="scoring: 'f1' fails on a fold of these data: pos_label=1 is not a valid"):
        compare(X, np.array(["no", "yes"])[y], models=["linear"], scoring="f1")


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ([([0, 1, 2], [3, 500]), ([3, 4], [0])], "split 1 has row numbers outside 0 to 99"),
        ([([0, 1, 2], [3, 3]), ([3, 4], [0])], "split 1 names a row twice"),
        ([(np.arange(100) < 50, np.arange(100) >= 50)] * 2, "split 1 is not a pair .train, test. of arrays"),
        (PredefinedSplit(np.zeros(7)), "PredefinedSplit is for 7 rows, but the table has 100"),
    ],
)
def test_splits_that_are_no_splits_are_refused(cv, message):
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        compare(X[:100], y[:100], models=["linear"], cv=cv)


def test_evidence_of_one_group_is_refused():
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match="the test rows form a single group"):
        compare(X, y, models=["linear"], groups=np.zeros(len(y)), cv=KFold(3))
    with pytest.raises(ValueError, match="another of at least 2, got 100 and 1"):
        compare(np.vstack([X[:100], np.tile(X[:1] + 9, (50, 1))]), np.repeat([0, 1], [100, 50]), models=["linear"])


def test_splits_that_train_on_copies_are_noted(cheap):
    X, y = (np.concatenate([part, part]) for part in load_diabetes(return_X_y=True))
    notes = compare(X, y, models=["linear"], cv=KFold(5, shuffle=True, random_state=0)).settings["notes"]
    assert any("predict rows with copies that are also used for training" in note for note in notes)


def test_rare_classes_take_part_in_the_choice_of_settings():
    codes = np.zeros(100_000, dtype=int)
    codes[:7] = 1
    rows = _inner_rows(len(codes), codes, 0)
    assert len(np.unique(rows)) == 2000
    assert codes[rows].sum() == 1  # one of seven, a share of 2 %, at least one
    assert np.bincount((np.arange(9000) % 3)[_inner_rows(9000, np.arange(9000) % 3, 0)]).tolist() == [667, 667, 666]


def test_a_predefined_split_numbers_the_rows_of_the_whole_table(cheap):
    X, y = load_diabetes(return_X_y=True)
    y = np.where(np.arange(len(y)) < 10, np.nan, y)
    fold = np.arange(len(y)) % 3
    predefined, listed = (
        compare(X, y, models=["linear"], cv=cv) for cv in (PredefinedSplit(fold), list(PredefinedSplit(fold).split()))
    )
    assert [row["loss"] for row in predefined.results] == [row["loss"] for row in listed.results]


def test_splits_that_cut_groups_are_noted(cheap):
    X, y = load_diabetes(return_X_y=True)
    groups = np.arange(len(y)) // 2 % 50
    cut, whole = (
        compare(X, y, models=["linear"], groups=groups, cv=cv).settings["notes"]
        for cv in (KFold(5, shuffle=True, random_state=0), GroupKFold(5))
    )
    assert any("predict groups that are also used for training" in note for note in cut)
    assert not any("predict groups that are also used for training" in note for note in whole)


def test_every_seed_of_an_estimator_that_was_given_is_drawn():
    parts = BaggingRegressor(make_pipeline(StandardScaler(), MLPRegressor()), random_state=None)
    built = given(parts).build("regression", 7)
    seeds = built.random_state, built.estimator[-1].random_state
    assert None not in seeds
    assert seeds[0] != seeds[1]  # one seed for all would make the members of an ensemble alike
    again = given(parts).build("regression", 7)
    assert seeds == (again.random_state, again.estimator[-1].random_state)
    assert given(MLPRegressor(random_state=3)).build("regression", 7).random_state == 3


def test_other_estimators_are_shown_and_take_no_part_in_the_verdict(cheap):
    X, y = load_diabetes(return_X_y=True)
    plain = compare(X, y, models=["linear"])
    more = compare(X, y, models=["linear"], also={"my ridge": Ridge(alpha=0.3), "broken": Broken()})
    table = more.to_frame()
    folds = KFold(5, shuffle=True, random_state=more.settings["seed"])
    expected = cross_val_score(make_table_pipeline(Ridge(alpha=0.3)), X, y, cv=folds, scoring="neg_mean_squared_error")
    assert table.loc["my ridge", "loss"] == pytest.approx(-expected.mean(), rel=1e-2)  # folds of 88 and 89 rows
    assert table.loc["my ridge", "family"] == "other"
    assert more.failed == ["broken"]
    assert more.verdict == plain.verdict
    with pytest.raises(TypeError, match="expected an estimator for 'my ridge'"):
        compare(X, y, also={"my ridge": Ridge})


def test_any_scorer_is_shown_fold_by_fold(cheap):
    X, codes = load_wine(return_X_y=True)
    y = (codes > 0).astype(int)
    comparison = compare(X, y, models=["linear"], scoring="roc_auc", cv=4)
    folds = StratifiedKFold(4, shuffle=True, random_state=comparison.settings["seed"])
    model = make_table_pipeline(LogisticRegression())
    expected = [
        roc_auc_score(y[test], model.fit(X[train], y[train]).predict_proba(X[test])[:, 1])
        for train, test in folds.split(X, y)
    ]
    assert np.allclose([r["score"] for r in comparison.results if r["method"] == "linear"], expected)
    assert comparison.to_frame().loc["linear", "score"] == pytest.approx(np.mean(expected))
    assert "roc_auc" in str(comparison)


def test_a_class_with_fewer_rows_than_folds_is_no_obstacle(cheap):
    X, codes = load_wine(return_X_y=True)
    y = np.array(["low", "middle", "high"])[codes]
    y[:2], y[2] = "rare", "single"
    comparison = compare(X, y, models=["linear"])
    assert comparison.failed == []
    assert any("'single'" in note for note in comparison.settings["notes"])
    # in the fold of the single row, no model has seen its class: the smoothed log loss of its probability 0
    n_train = {r["n_train"] for r in comparison.results}
    assert min(n_train) > 140
    loss = per_row_loss("classification", np.array([[1.0, 0.0]]), np.array([1]), 141)
    assert comparison.to_frame().loc["dummy", "loss"] < loss[0]


@pytest.mark.filterwarnings("ignore:Stopped at max_iter")
def test_both_networks_have_one_penalty_and_the_first_weights(rng):
    """Only the scale differs; on the product of three signs the rich network alone takes a weak penalty by itself."""
    X, y = make_parity(160, 6, n_relevant=3, random_state=0)
    lazy, rich = (METHODS[name].build("classification", 5).fit(X, y) for name in ("lazy", "rich"))
    lazy = lazy.best_estimator_
    assert lazy.alpha_ == rich.alpha_
    assert all(np.array_equal(a, b) for a, b in zip(lazy.weights_init_, rich.weights_init_))
    different = {key for key, value in lazy.get_params().items() if value != rich.get_params()[key]}
    assert different == {"scale", "alpha"}
    assert lazy.displacement_ < 0.1 * rich.displacement_


def test_settings_are_chosen_by_the_weighted_loss_of_held_out_rows():
    """Rows of one half of the table follow a line, those of the other are noise: the weights say which setting wins."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 30))
    y = np.where(np.arange(300) < 150, 3 * X[:, 0], 20 * rng.standard_normal(300))
    settings = [{"alpha": 1e6}, {"alpha": 1e-6}]
    for heavy, expected in ((slice(150), 1e-6), (slice(150, None), 1e6)):
        weight = np.full(300, 1e-3)
        weight[heavy] = 1.0
        assert Tuned(Ridge(), settings, "regression", 0).fit(X, y, weight).best_params_ == {"alpha": expected}


def test_a_forest_is_tuned_on_rows_that_its_trees_have_not_seen():
    """Deep trees fit their own rows best, noise too; the weights say which half of the table is to be predicted."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    y = np.where(np.arange(300) < 150, 3 * np.sign(X[:, 0] * X[:, 1]), 20 * rng.standard_normal(300))
    X[:150, 2] += 10  # the halves share no leaf: scikit-learn 1.8 draws the rows of a tree without their weights
    settings = [{"max_depth": 1}, {"max_depth": None}]
    for heavy, expected in ((slice(150), None), (slice(150, None), 1)):
        weight = np.full(300, 1e-3)
        weight[heavy] = 1.0
        forest = OutOfBag(RandomForestRegressor(random_state=0), settings, "regression", 0).fit(X, y, weight)
        assert forest.best_params_ == {"max_depth": expected}
    many = OutOfBag(RandomForestRegressor(5, random_state=0), settings[:1], "regression", 0)
    with pytest.warns(UserWarning, match="do not have OOB scores"):
        many.fit(np.resize(X, (2500, 3)), np.resize(y, 2500))
    assert many.best_estimator_.estimators_[0].tree_.weighted_n_node_samples[0] == 2500  # all, once the choice is made


@pytest.mark.slow
def test_the_learning_curve_draws_the_contrasts_on_parts_of_the_training_rows(cheap):
    X, y = load_diabetes(return_X_y=True)
    comparison = compare(X, y, models=["linear"], curves=True)
    table = pd.DataFrame(comparison.evidence["differences"])
    assert table["n_train"].tolist() == [44, 88, 176, 353]
    assert (table["contrast"] == "signal").all()
    last = comparison.verdict.evidence["signal"]
    assert table.iloc[-1][["difference", "low", "high"]].tolist() == [last["difference"], last["low"], last["high"]]
    assert table["difference"].iloc[0] < table["difference"].iloc[-1]  # a line is learned better from more rows
    path = comparison.evidence["scale_path"]
    assert path["failure"] is None
    assert np.all(np.diff(path["displacements"]) < 0)  # the larger the scale, the less the weights move
    json.dumps(comparison.evidence, allow_nan=False)


@pytest.mark.slow
def test_the_regime_and_the_directions_of_the_trained_models_are_reported():
    X, y = make_multi_index(200, 5, n_directions=1, random_state=0)
    evidence = compare(X, y, models=["ntk", "rfm", "lazy", "rich"], cv=2).evidence
    assert evidence["regime"]["verdict"] == "features"
    assert evidence["agop"]["n_rounds"] > 0
    assert evidence["agop"]["eigenvalues"][0] > 0.9  # one direction
    assert len(evidence["agop"]["columns"]) == 5


def test_importing_the_command_line_leaves_jax_and_numba_alone():
    code = "import sys, sklearn_ltdl.cli; print(*{'jax', 'numba', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


def test_the_unit_of_r2_is_the_variance_of_the_rows_that_are_predicted(rng):
    """Rows before the first that is predicted, in the order of time, have no part in it."""
    X, y = rng.standard_normal((90, 2)), np.r_[100 * rng.standard_normal(30), rng.standard_normal(60)]
    comparison = compare(X, y, models=["linear"], cv=TimeSeriesSplit(2))
    for row in comparison.methods:
        assert row["score"] == pytest.approx(1 - row["loss"] / np.var(y[30:]))
