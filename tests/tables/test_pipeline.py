from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.preprocessing import TargetEncoder

from sklearn_ltdl import make_table_pipeline
from sklearn_ltdl.tables._target import read_target, split_target


@pytest.fixture
def mixed(rng):
    n = 60
    return pd.DataFrame(
        {
            "float": rng.standard_normal(n),
            "holes": np.where(np.arange(n) % 7 == 0, np.nan, rng.standard_normal(n)),
            "bool": rng.random(n) < 0.5,
            "nullable": pd.array([None, 1, 2] * (n // 3), dtype="Int64"),
            "date": pd.date_range("2024-01-01", periods=n, freq="36h", tz="Europe/Paris"),
            "duration": pd.to_timedelta(np.arange(n), unit="h"),
            "text": ["red", "blue", None, "red"] * (n // 4),
            "category": pd.Categorical(["u", "v", "w"] * (n // 3)),
            "mixed": [1, "one", None, 1.5] * (n // 4),
            "empty": [np.nan] * n,
        }
    )


def encoded(pipeline, X):
    names = pipeline[0].get_feature_names_out()
    return pd.DataFrame(pipeline[0].transform(X), columns=[name.partition("__")[2] for name in names])


def dates_before_scaling(pipeline, X):
    branch = pipeline[0].named_transformers_["dates"][:-2]
    return pd.DataFrame(branch.transform(X), columns=branch.get_feature_names_out(list(X)))


def test_each_kind_of_column_is_encoded_as_documented(mixed, rng):
    pipeline = make_table_pipeline(LinearRegression()).fit(mixed, rng.standard_normal(60))
    Z = encoded(pipeline, mixed)
    numbers = {
        "bool": mixed["bool"],
        "date": 1.5 * np.arange(60),  # days
        "duration": np.arange(60) / 24,
        "holes": mixed["holes"].fillna(mixed["holes"].median()),
        "missingindicator_holes": mixed["holes"].isna(),
        "missingindicator_nullable": mixed["nullable"].isna(),
    }
    for name, values in numbers.items():
        values = np.asarray(values, dtype=float)
        np.testing.assert_allclose(Z[name], (values - values.mean()) / values.std(), atol=1e-12)
    shown = {"text_red": mixed["text"] == "red", "text_nan": mixed["text"].isna(), "mixed_1.5": np.arange(60) % 4 == 3}
    for name, values in shown.items():
        assert np.array_equal(Z[name] > 0, values)
    assert np.allclose(Z.mean(), 0)
    assert set(Z.columns[Z.std() == 0]) == {"empty", "missingindicator_empty"}


def test_a_category_counts_as_one_number(rng):
    X = pd.DataFrame({"side": rng.choice(["left", "right"], 90), "town": rng.choice(list("abcde"), 90)})
    Z = make_table_pipeline(LinearRegression()).fit(X, np.arange(90.0))[:-1].transform(X)
    side = X[["side"]] == "right"
    as_boolean = make_table_pipeline(LinearRegression()).fit(side, np.arange(90.0))[:-1].transform(side)
    np.testing.assert_allclose(
        Z[:, :2] @ Z[:, :2].T, as_boolean @ as_boolean.T, atol=1e-12
    )  # kernels see no difference
    assert Z[:, 2:].var(axis=0).sum() == pytest.approx(1)
    towns = np.unique(Z[:, 2:], axis=0)
    distances = np.linalg.norm(towns[:, None] - towns, axis=2)[np.triu_indices(5, 1)]
    np.testing.assert_allclose(distances, distances[0])  # whatever the frequencies of the levels


def test_ridge_on_levels_is_a_model_of_random_effects(rng):
    level, alpha = rng.integers(0, 8, 100), 3.0
    y = rng.standard_normal(8)[level] + 0.5 * rng.standard_normal(100)
    X = pd.DataFrame({"level": [f"level {i}" for i in level]})
    predicted = make_table_pipeline(Ridge(alpha)).fit(X, y).predict(X)
    gini = 1 - np.sum((np.bincount(level) / 100) ** 2)
    Z = np.eye(8)[level]  # y ~ intercept + normal effects with covariance I, noise of variance alpha * gini
    noise = Z @ Z.T + alpha * gini * np.eye(100)
    intercept = np.sum(np.linalg.solve(noise, y)) / np.sum(np.linalg.solve(noise, np.ones(100)))
    np.testing.assert_allclose(predicted, intercept + Z @ Z.T @ np.linalg.solve(noise, y - intercept), rtol=1e-8)


def test_the_parts_of_dates_that_vary_reach_the_models():
    days = pd.date_range("2022-12-15", periods=400)
    X = pd.DataFrame(
        {"sold": days, "noon": days[0] + pd.to_timedelta(np.arange(400) % 24, unit="h"), "x": np.arange(400) % 7}
    )
    pipeline = make_table_pipeline(LinearRegression()).fit(X, np.arange(400.0))
    assert list(encoded(pipeline, X)) == [
        "x", "sold", "sold_year", "sold_month_sin", "sold_month_cos", "sold_weekday_sin", "sold_weekday_cos",
        "noon", "noon_time_sin", "noon_time_cos",
    ]  # fmt: skip
    Z = dates_before_scaling(pipeline, X[["sold", "noon"]])
    np.testing.assert_array_equal(Z["sold_year"], days.year)
    turn = np.arctan2(Z["sold_month_sin"], Z["sold_month_cos"]) / (2 * np.pi) % 1
    np.testing.assert_array_equal((12 * turn).round() + 1, days.month)
    turn = np.arctan2(Z["sold_weekday_sin"], Z["sold_weekday_cos"]) / (2 * np.pi) % 1
    np.testing.assert_array_equal((7 * turn).round(), days.day_of_week)
    turn = np.arctan2(Z["noon_time_sin"], Z["noon_time_cos"]) / (2 * np.pi) % 1
    np.testing.assert_array_equal((24 * turn).round(), np.arange(400) % 24)


def test_a_model_sees_the_seasons_of_dates(rng):
    days = pd.Series(pd.date_range("2015-01-01", periods=3000))
    y = np.cos(2 * np.pi * (days.dt.month - 7) / 12) + (days.dt.day_of_week >= 5) + 0.1 * rng.standard_normal(3000)
    X = days.to_frame("day")
    score = make_table_pipeline(LinearRegression()).fit(X[:2000], y[:2000]).score(X[2000:], y[2000:])
    assert score > 0.85  # as days alone: 0


def test_a_missing_date_has_usual_parts_and_one_indicator():
    days = pd.Series(pd.date_range("2024-01-01", periods=60)).where(np.arange(60) % 6 != 5)
    pipeline = make_table_pipeline(LinearRegression()).fit(days.to_frame("day"), np.arange(60.0))
    Z = encoded(pipeline, days.to_frame("day"))
    assert [name for name in Z if name.startswith("missing")] == ["missingindicator_day"]
    Z = dates_before_scaling(pipeline, days.to_frame("day"))
    assert Z["day_month_cos"][5] == np.median(Z["day_month_cos"][np.arange(60) % 6 != 5])
    assert np.isfinite(pipeline.predict(pd.DataFrame({"day": [pd.NaT, pd.Timestamp(2030, 1, 1)]}))).all()


def test_levels_of_one_row_share_one_column_and_new_levels_are_in_it():
    X = pd.DataFrame({"level": ["common"] * 40 + ["other"] * 18 + ["once", "also once"]})
    pipeline = make_table_pipeline(LinearRegression()).fit(X, np.arange(60.0))
    assert list(encoded(pipeline, X)) == ["level_common", "level_other", "level_infrequent_sklearn"]
    Z = pipeline[:-1].transform(pd.DataFrame({"level": ["once", "never"]}))
    np.testing.assert_array_equal(Z[0], Z[1])


@pytest.fixture
def towns(rng):
    """A category with 300 levels of 5 rows each, and a table that has it."""
    town = rng.permutation(np.repeat(np.arange(300), 5))
    return town, pd.DataFrame({"town": [f"town {i}" for i in town], "size": rng.standard_normal(1500)})


def test_beyond_200_levels_rows_have_the_mean_target_of_their_level_in_other_folds(towns, rng):
    town, X = towns
    y = rng.standard_normal(300)[town] + rng.standard_normal(1500)
    pipeline = make_table_pipeline(LinearRegression())
    Z = pipeline[:-1].fit_transform(X, y)
    assert list(encoded(pipeline, X)) == ["size", "town"]
    expected = np.empty(1500)
    for train, test in KFold(5, shuffle=True, random_state=0).split(X):
        encoder = TargetEncoder(target_type="continuous").fit(X.iloc[train, :1], y[train])
        expected[test] = encoder.transform(X.iloc[test, :1])[:, 0]
    np.testing.assert_allclose(Z[:, 1], (expected - expected.mean()) / expected.std(), rtol=1e-9)
    for i in range(0, 1500, 300):  # no row's own target is in its features
        other = (
            pipeline[0]
            .named_transformers_["levels"][-1]
            .parts_[0][1][0]
            .fit_transform(X[["town"]].to_numpy(dtype=object), np.where(np.arange(1500) == i, 1e6, y))
        )
        assert other[i, 0] == pytest.approx(expected[i], rel=1e-9)


def test_labels_without_effect_are_not_learned_and_labels_with_effect_are(towns, rng):
    town, X = towns
    noise = rng.standard_normal(1500)
    effect = 2 * rng.standard_normal(300)[town]
    new = np.arange(1500) % 3 == 0
    for y, low, high in ((noise, -0.1, 0.1), (effect + noise, 0.6, 0.85)):  # 4 / 5 are the effect's
        score = make_table_pipeline(Ridge()).fit(X[~new], y[~new]).score(X[new], y[new])
        assert low < score < high


def test_classes_and_outputs_have_a_mean_each(towns, rng):
    town, X = towns
    labels = np.array(["late", "early", "on time"])[(town + rng.integers(0, 2, 1500)) % 3]
    pipeline = make_table_pipeline(LogisticRegression()).fit(X, labels)
    assert list(encoded(pipeline, X)) == ["size", "town_early", "town_late", "town_on time"]
    assert pipeline.score(X, labels) > 0.45
    codes = np.unique(labels, return_inverse=True)[1]
    np.testing.assert_allclose(
        make_table_pipeline(LogisticRegression()).fit(X, codes)[:-1].transform(X), pipeline[:-1].transform(X)
    )
    assert list(encoded(make_table_pipeline(LogisticRegression()).fit(X, labels == "late"), X)) == ["size", "town"]
    several = make_table_pipeline(LinearRegression()).fit(X, rng.standard_normal((1500, 2)))
    assert list(encoded(several, X)) == ["size", "town_0", "town_1"]
    assert np.isfinite(several.predict(X.assign(town="never seen"))).all()
    assert make_table_pipeline(LinearRegression())[:-1].fit(X).transform(X).shape == (1500, 201)  # without a target


def test_an_outlying_value_counts_as_ten_standard_deviations():
    X = pd.DataFrame({"heavy": [0.0, 1.0] * 500 + [1e6], "rare": [True] * 1000 + [False]})
    pipeline = make_table_pipeline(LinearRegression()).fit(X, np.arange(1001.0))
    scaled = pipeline[:-1].transform(X)
    assert scaled.max() == 10.0
    assert scaled.min() == -10.0
    assert (np.abs(scaled[:-1]) < 0.1).all()


def test_prediction_survives_what_training_has_not_seen(mixed, rng):
    pipeline = make_table_pipeline(LinearRegression()).fit(mixed, rng.standard_normal(60))
    new = mixed.iloc[:5].copy()
    new["text"] = "green"
    new["category"] = pd.Categorical(["z"] * 5)
    new["float"] = None
    new["date"] = pd.NaT
    new["nullable"] = pd.NA
    new["bool"] = [None, True, False, None, True]
    assert np.isfinite(pipeline.predict(new)).all()
    for column, value, kind in (
        ("float", "not a number", "numbers"),
        ("float", pd.Timestamp("2024-01-01"), "numbers"),
        ("date", "yesterday", "dates"),
        ("date", 2024, "dates"),
    ):
        with pytest.raises(ValueError, match=f"'{column}' held {kind}"):
            pipeline.predict(new.assign(**{column: value}))


def test_rows_of_other_types_that_mean_the_same_get_the_same_predictions(rng):
    n = 60
    X = pd.DataFrame(
        {
            "code": pd.Categorical(rng.integers(3, size=n)),
            "day": pd.date_range("2024-01-01", periods=n),
            "size": rng.integers(100, size=n),
        }
    )
    pipeline = make_table_pipeline(LinearRegression()).fit(X, rng.standard_normal(n) + 3 * X["code"].astype(int))
    other = pd.DataFrame(
        {
            "size": X["size"].astype(str),
            "more": "ignored",
            "day": X["day"].dt.strftime("%Y-%m-%d"),
            "code": X["code"].astype(float),
        }
    )
    np.testing.assert_array_equal(pipeline.predict(other), pipeline.predict(X))
    with pytest.raises(ValueError, match=r"columns are missing: \{'day'\}"):
        pipeline.predict(other.drop(columns="day"))


def test_polars_frames_give_the_same_model_as_pandas_frames(mixed, rng):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    X, y = mixed.drop(columns=["mixed", "category"]), rng.standard_normal(60)
    frame = polars.from_pandas(X)
    expected = make_table_pipeline(LinearRegression()).fit(X, y).predict(X)
    pipeline = make_table_pipeline(LinearRegression()).fit(frame, polars.Series(y))
    np.testing.assert_allclose(pipeline.predict(frame), expected, atol=1e-10)
    np.testing.assert_allclose(pipeline.predict(X), expected, atol=1e-10)


def test_arrays_of_numbers_and_of_objects_give_the_same_model_as_frames(rng):
    X, y = rng.standard_normal((50, 3)), rng.standard_normal(50)
    X[::6, 1] = np.nan
    frame = pd.DataFrame(X, columns=list("abc"))
    pipeline = make_table_pipeline(LinearRegression())
    expected = pipeline.fit(frame, y).predict(frame)
    for array in (X, X.astype(object)):
        assert np.allclose(pipeline.fit(array, y).predict(array), expected, rtol=1e-12)  # sums in another order


def test_pipeline_is_cloned_and_searched_over(mixed, rng):
    y = rng.standard_normal(60)
    pipeline = clone(make_table_pipeline(LinearRegression()))
    search = GridSearchCV(pipeline, {"estimator__fit_intercept": [True, False]}, cv=2).fit(mixed, y)
    assert list(search.best_estimator_.feature_names_in_) == list(mixed.columns)


def test_sparse_input_is_refused(rng):
    from scipy.sparse import csr_array

    with pytest.raises(TypeError, match="dense table"):
        make_table_pipeline(LinearRegression()).fit(csr_array(np.eye(3)), np.arange(3.0))


@pytest.mark.parametrize(
    ("y", "task", "ambiguous"),
    [
        ([0.5, 1.5, 2.0] * 20, "regression", False),
        ([0, 1] * 30, "classification", False),
        ([True, False] * 30, "classification", False),
        (["a", "b", "c"] * 20, "classification", False),
        ([3, 4, 5] * 20, "classification", True),
        ([3.0, 4.0, 5.0] * 20, "classification", True),
        (list(range(20)) * 3, "regression", True),
        (list(range(60)), "regression", False),
        ([Decimal("0.5"), Decimal("1.25"), 2] * 20, "regression", False),
        (["01", "1"] * 30, "classification", False),
    ],
)
def test_task_of_a_target(y, task, ambiguous):
    target = read_target(y, "auto")
    assert target.task == task
    assert bool(target.note) == ambiguous
    if target.classes is not None:
        assert np.array_equal(target.classes[target.values], np.asarray(y))
        assert target.classes.dtype.kind != "f"  # a class is called 3, not 3.0


def test_text_of_numbers_is_numbers_for_regression():
    assert read_target(["01", "2.5", "-3"], "regression").values.tolist() == [1.0, 2.5, -3.0]


@pytest.mark.parametrize(
    ("y", "task", "message"),
    [
        ([], "auto", "no row with a target"),
        ([1.0], "auto", "one row with a target"),
        (
            ["1", "2", "3", "n/a?"] * 9 + [str(i) for i in range(50)],
            "auto",
            r"50 of 51 .* are numbers, .*'n/a\?' is not",
        ),
        ([1.0] * 9, "auto", "at least two distinct values, got only 1.0"),
        (["a"] * 9, "auto", "at least two distinct values"),
        ([f"row {i}" for i in range(50)], "auto", "got 50 distinct values such as 'row 0' in 50 rows"),
        (["a", "b"] * 9, "regression", "expected numbers for task='regression', got values such as 'a'"),
        ([1.0, np.inf, 2.0], "auto", "infinite"),
        (pd.date_range("2024-01-31", periods=9), "auto", "expected numbers or classes, got times such as 2024-01-31"),
        ([1j, 2.0, 3.0], "auto", "got complex numbers"),
    ],
)
def test_targets_that_cannot_be_learned_are_named(y, task, message):
    with pytest.raises(ValueError, match=message):
        read_target(y, task)


def test_target_is_the_last_column_or_the_named_one():
    table = pd.DataFrame({"price": [1], "surface": [2], "rooms": [3]})
    assert split_target(table)[1].name == "rooms"
    X, y = split_target(table, "price")
    assert (list(X), y.name) == (["surface", "rooms"], "price")
    with pytest.raises(ValueError, match="no column 'prize' to predict; did you mean 'price'"):
        split_target(table, "prize")


@pytest.mark.parametrize(("column", "name"), [("1", "price"), ("3", "2"), ("-1", "2"), ("-3", "price"), ("2", "2")])
def test_target_is_found_by_its_position_unless_a_column_has_that_name(column, name):
    assert split_target(pd.DataFrame({"price": [1], "rooms": [3], "2": [2]}), column)[1].name == name


@pytest.mark.parametrize("column", ["0", "4", "-4"])
def test_positions_outside_of_the_table_are_named(column):
    with pytest.raises(ValueError, match="positions go from 1 to 3"):
        split_target(pd.DataFrame({"price": [1], "rooms": [3], "2": [2]}), column)


def test_numbers_in_a_frame_of_objects_are_numbers(rng):
    X, y = rng.standard_normal((40, 3)), rng.standard_normal(40)
    plain, objects = (
        make_table_pipeline(LinearRegression()).fit(frame, y) for frame in (X, pd.DataFrame(X, dtype=object))
    )
    np.testing.assert_array_equal(objects.predict(pd.DataFrame(X, dtype=object)), plain.predict(X))
