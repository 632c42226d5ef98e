import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from sklearn_ltdl import compare, make_table_pipeline
from sklearn_ltdl.tables import _columns
from sklearn_ltdl.tables._columns import read_columns
from sklearn_ltdl.tables._described import describe
from sklearn_ltdl.tables._kinds import date_parts, kinds_of, to_levels, to_numbers
from sklearn_ltdl.tables._notes import Note

N = 40
ROWS = np.arange(N)


def days_of(table):
    return np.column_stack([parts[""] for parts in date_parts(table)])


def read(**columns):
    """Return how each of the columns is read, beside a number."""
    _, read = read_columns(pd.DataFrame({"x": ROWS * 0.37, **columns}))
    return {column.name: column for column in read[1:]}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (ROWS * 2, "number"),
        (ROWS % 2 == 0, "number"),
        ([None, True, False, True] * 10, "number"),
        ([None, 1, "2", 3.5] * 10, "number"),
        (pd.array([None, 1, 2, 3] * 10, dtype="Int64"), "number"),
        (pd.date_range("2024-01-01", periods=N, tz="Asia/Tokyo"), "date"),
        (pd.to_timedelta(ROWS, unit="h"), "date"),
        (pd.Series([datetime.date(2024, 1, 1 + i % 28) for i in ROWS[1:]] + [None], dtype=object), "date"),
        ([Decimal("1.5"), Decimal(2), None, 3] * 10, "number"),
        (pd.Series(["1_100", "1_200"] * 20, dtype=object), "category"),  # a number for Python alone
        (["a", "b", None, "a"] * 10, "category"),
        ([1, "one", None, 1.5] * 10, "category"),
        (["nil", "one", *map(str, ROWS[2:])], "number"),  # a few marks among numbers
        (["n/a"] * 15 + [1.5] * 25, "number"),
        (["rotary"] * 5 + [1.5] * 35, "category"),
        (["a", "b", "c", "d", *map(str, ROWS[4:])], "category"),
        (["nil", "01", "02", *map(str, ROWS[3:])], "category"),
        (pd.Categorical(ROWS), "category"),
        (pd.Series(["01", "02", "11", "30"] * 10, dtype=object), "category"),  # codes
        (pd.Series(["1", "2", "11", "30"] * 10, dtype="string"), "category"),  # the dtype says text
    ],
)
def test_the_dtype_says_how_a_column_is_read(values, kind):
    assert read(column=values)["column"].kind == kind


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("text", [f"row {i}" for i in ROWS], "almost every value is unique text, such as 'row 0'"),
        ("text", [f"row {i}" for i in ROWS[:-3]] + ["row 1", None, None], "almost every value is unique text"),
        ("day", [f"{i % 28 + 1}/{i % 12 + 1}/2024" for i in ROWS], "write dates as 2024-05-31"),
        ("review", [f"I stayed here on day {2 * i // 3}" for i in ROWS], "free text, such as 'I stayed here on day 0'"),
        ("id", ROWS[::-1], "looks like an identifier"),
        ("customer_id", 7919 * ROWS % 10007, "looks like an identifier"),
        ("PassengerId", ROWS + 1, "looks like an identifier"),
        ("row number", ROWS + 1, "looks like an identifier"),
        ("Unnamed: 0", ROWS * 2, "looks like an identifier"),
        ("SK_ID_CURR", ROWS[::-1] + 100002, "looks like an identifier"),
        ("uid", 3 * ROWS + 5, "looks like an identifier"),
        ("t", ROWS, "do not describe new rows; if it is the time, --time"),
        ("anything", ROWS + 1, "row numbers from 1"),
        ("X", 3 * ROWS + 7, "looks like a row number"),
        ("cust_no", 3 * ROWS + 7, "looks like a row number"),
        ("EmployeeNumber", 3 * ROWS + 7, "looks like an identifier"),
        ("obs", 3 * ROWS + 7, "looks like a row number"),
        ("...1", 3 * ROWS + 7, "looks like a row number"),
        ("constant", [3.0] * N, "the same value in every row"),
        ("constant", ["a"] * N, "the same value in every row"),
        ("empty", [None] * N, "empty"),
        ("lists", [[1, 2]] * N, "lists"),
    ],
)
def test_columns_that_say_nothing_are_left_out_with_a_reason(name, values, reason):
    column = read(**{name: values})[name]
    assert column.kind == "left out"
    assert reason in column.note


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("year", 1980 + ROWS),  # counts the rows, but may matter
        ("t", ROWS + 2),
        ("t", ROWS * 2),
        ("count", ROWS[::-1] + 2),  # does not end at the last row
        ("X", (3 * ROWS) % 11),
        ("paid", ROWS * 2),
        ("grid", ROWS * 2),
        ("idle", ROWS * 2),
        ("casino", ROWS * 2),
        ("humidity_index", ROWS * 2),
        ("id", ROWS * 1.5),
        ("id", ROWS.astype(float)),  # the user's word
        ("id", ROWS // 2),  # several rows each
        ("price", [f"{i}.50" for i in ROWS]),
        ("name", [f"name {i // 5}" for i in ROWS]),
        ("code", pd.Categorical([f"row {i}" for i in ROWS])),  # the user's word
        ("holes", [1.0, None] * 20),  # that it is missing may say something
    ],
)
def test_columns_that_may_say_something_are_kept(name, values):
    assert read(**{name: values})[name].kind != "left out"


def test_the_user_has_the_last_word():
    X = pd.DataFrame({"id": ROWS, "name": [f"row {i}" for i in ROWS], "size": [str(i) for i in ROWS[:-1]] + ["n/a?"]})
    table, columns = read_columns(X, categorical=["name"], numeric=["id", "size"])
    assert [column.kind for column in columns] == ["number", "category", "number"]
    assert columns[2].note == "non-numeric values are treated as missing (1 of them, such as 'n/a?')"
    assert table["size"].isna().to_numpy().tolist() == [False] * (N - 1) + [True]
    with pytest.raises(ValueError, match="no column 'nam'; did you mean 'name'"):
        read_columns(X, categorical=["nam"])
    with pytest.raises(ValueError, match="listed twice"):
        read_columns(X, categorical=["id"], numeric=["id"])
    with pytest.raises(ValueError, match="'name' cannot be read as numbers; it holds values such as 'row 0'"):
        read_columns(X, numeric=["name"])
    _, columns = read_columns(np.array([["u", 1], ["u", 2]] * 20, dtype=object))  # constant, but of an array
    assert [column.kind for column in columns] == ["category", "number"]
    array, columns = read_columns(np.column_stack([ROWS, ROWS % 3]), categorical=[1])
    assert [column.kind for column in columns] == ["number", "category"]
    assert kinds_of(array).tolist() == ["number", "category"]


def test_reading_a_table_that_was_read_changes_nothing():
    X = pd.DataFrame(
        {"id": ROWS, "x": ROWS % 7, "mixed": [1, "one", None, 1.5] * 10, "objects": [1, None, "2", 3] * 10}
    )
    table, _ = read_columns(X)
    assert list(table) == ["x", "mixed", "objects"]
    assert table["mixed"].cat.categories.tolist() == ["1", "1.5", "one"]
    pd.testing.assert_frame_equal(read_columns(table)[0], table)
    assert kinds_of(table.iloc[[0, 4, 8]]).tolist() == ["number", "category", "number"]  # of any of its rows


def test_a_few_texts_among_numbers_are_missing_and_said():
    values = pd.Series(["nil", 2.5, None, *range(37)], dtype=object)
    for X in (pd.DataFrame({"x": ROWS * 0.37, "size": values}), np.column_stack([ROWS * 0.37, values]).astype(object)):
        table, columns = read_columns(X)
        assert columns[1].kind == "number"
        assert columns[1].n_missing == 2
        assert columns[1].note == "'nil' among numbers is read as missing, in 1 row; --categorical keeps the text"
        assert pd.DataFrame(table).iloc[1, 1] == 2.5
        name = columns[1].name
        assert read_columns(X, categorical=[name])[1][1].kind == "category"  # the way back


def test_a_column_that_is_mixed_in_a_few_rows_is_of_one_kind_in_every_fold(rng):
    X = pd.DataFrame({"x": rng.standard_normal(60), "mixed": [1, 2] * 29 + ["one", 1]})
    for table in (X, X.to_numpy(dtype=object)):
        assert not compare(table, X["x"], models=["linear"], cv=3, repeats=1).failed


def test_a_list_of_numbers_and_texts_is_read_as_an_array_of_objects():
    rows = [[0.37 * i, "uv"[i % 2]] for i in ROWS]
    assert kinds_of(rows).tolist() == ["number", "category"]
    table, columns = read_columns(rows)
    assert [column.kind for column in columns] == ["number", "category"]
    np.testing.assert_array_equal(to_numbers(table[[0]])[:, 0], 0.37 * ROWS)


def test_what_is_no_table_of_real_numbers_and_texts_is_refused():
    with pytest.raises(ValueError, match="expected real numbers, got complex ones"):
        read_columns(np.ones((9, 2)) * 1j)
    with pytest.raises(ValueError, match="names of columns that are all str"):
        read_columns(pd.DataFrame({0: ROWS, "a": ROWS % 7}))


def test_booleans_of_arrow_are_numbers():
    pytest.importorskip("pyarrow", reason="whose booleans these are")
    values = pd.array([True, None, False, True] * 10, dtype="bool[pyarrow]")
    assert read(column=values)["column"].kind == "number"
    np.testing.assert_array_equal(to_numbers(pd.DataFrame({"b": values}))[:4, 0], [1, np.nan, 0, 1])


def test_dates_of_objects_are_days():
    days = [datetime.date(1970, 1, 3), None, datetime.date(1970, 1, 1)]
    frame = pd.DataFrame({"day": pd.Series(days, dtype=object)})
    for table in (frame, frame.to_numpy()):
        assert kinds_of(table).tolist() == ["date"]
        np.testing.assert_array_equal(days_of(table)[:, 0], [2, np.nan, 0])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_row_without_a_group_is_refused_unless_it_is_left_out(missing, rng):
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    groups = np.array([*range(20), *range(20)], dtype=object)
    groups[3] = missing
    options = {"models": ["linear"], "cv": 2, "repeats": 1}
    with pytest.raises(ValueError, match="groups: expected a group for each row, got 1 of 40 rows without"):
        compare(X, y, groups=groups, **options)
    y[3] = np.nan
    assert compare(X, y, groups=groups, **options).settings["n_clusters"] == 20


def test_levels_that_are_the_same_number_are_one():
    assert to_levels(np.array([[2], [2.0], ["2"], ["2.0"], ["02"], [None]], dtype=object)).ravel().tolist() == [
        "2", "2", "2", "2", "02", np.nan
    ]  # fmt: skip


def test_dates_are_days_since_1970_and_durations_are_days():
    days = days_of(pd.DataFrame({"a": ["1970-01-03", None], "b": pd.to_timedelta(["36h", "1h"])}))
    np.testing.assert_allclose(days, [[2, 1.5], [np.nan, 1 / 24]])
    offsets = pd.Series(["1970-01-02T01:00+01:00", "1970-01-01T23:00-01:00", "1970-01-02"]).to_frame()
    np.testing.assert_allclose(days_of(offsets)[:, 0], 1)


def test_what_looks_like_a_mistake_is_said():
    size = [str(i) for i in range(29)] + ["a", "b", "c", "n/a?"] + [str(i) for i in range(7)]
    columns = read(size=size, user_id=ROWS // 2, day=["1/2/2024", "3/4/2024"] * 20)
    assert columns["day"].note == "looks like dates; write them as 2024-05-31, not as '1/2/2024'"
    assert columns["size"].note == "36 of 40 values are numbers, but 'a' is not"
    assert "belong together" in columns["user_id"].note


def test_the_description_has_every_kind_and_stays_short():
    X = pd.DataFrame(
        {f"x{j}": ROWS * 0.5 + j for j in range(100)} | {f"id{j}": [f"r{i}" for i in ROWS] for j in range(20)}
    )
    lines = describe(read_columns(X.assign(day=pd.date_range("2024-01-01", periods=N), kind=["a", None] * 20))[1])
    assert len(lines) < 20
    assert max(map(len, lines)) <= 120
    assert [line.split()[:2] for line in lines[:4]] == [
        ["100", "numbers"], ["1", "date"], ["1", "category"], ["20", "left"]
    ]  # fmt: skip
    assert "kind (1 with missing values)" in lines[2]
    assert "and 12 more" in lines[-2]
    hostile = describe([_columns.Column("\x1b[2Jred\n\x07", "number", Note("odd", "a\nb"), 0)])
    assert all(line.isprintable() for line in hostile)
    assert (
        describe([_columns.Column("x", "left out", Note("empty", "empty"), 9)])[-1].strip() == "x: empty"
    )  # cannot be kept


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.arange(5), r"got shape \(5,\)"),
        (np.empty((5, 0)), "n_features >= 1"),
        (pd.DataFrame([[1, 2]] * 5, columns=["a", "a"]), "distinct column names, got 'a' more than once"),
        (pd.DataFrame({"a": [1.0, np.inf, 2.0], "b": [1, 2, 3]}), r"column 'a' holds infinite values \(1 of 3\)"),
        (pd.DataFrame({"a": [1.0] * 3, "b": ["u"] * 3}), "No column is left to predict from .a: the same value in"),
        (np.zeros((3, 20_001)), "at most 20000 columns to predict from, got 20001"),
    ],
)
def test_tables_that_cannot_be_used_are_named(X, message):
    with pytest.raises(ValueError, match=message):
        read_columns(X)


def test_a_table_that_would_fill_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(_columns, "MOST_CELLS", 1000)
    monkeypatch.setattr(_columns, "memory", lambda: 0)
    X = pd.DataFrame({"x": np.arange(100.0), "level": [f"level {i % 20}" for i in range(100)]})
    with pytest.raises(ValueError, match=r"100 rows of 21 columns .* draw about 47 of the rows"):
        read_columns(X)
    read_columns(X[:47])


def test_polars_frames_are_read_as_pandas_frames():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    X = polars.DataFrame(
        {
            "x": ROWS * 0.5,
            "day": [datetime.date(2024, 1, 1) + datetime.timedelta(days=int(i)) for i in ROWS],
            "town": ["A", None] * 20,
            "kind": polars.Series(["u", "v"] * 20, dtype=polars.Categorical),
            "id": [f"row {i}" for i in ROWS],
        }
    )
    _, columns = read_columns(X)
    assert [column.kind for column in columns] == ["number", "date", "category", "category", "left out"]
    frame = X.to_pandas().drop(columns="id")
    models = [make_table_pipeline(Ridge()).fit(table, ROWS) for table in (X.drop("id"), frame)]
    np.testing.assert_array_equal(models[0].predict(X), models[1].predict(frame))


@pytest.mark.parametrize(
    ("values", "name", "code"),
    [
        ([np.nan] * 12, "x", "empty"),
        ([[1], [2]] * 6, "x", "objects"),
        ([3] * 12, "x", "constant"),
        ([3] * 11 + [np.nan], "x", ""),  # known or not is a difference
        (range(12), "customer_id", "identifier"),
        (range(0, 24, 2), "paid", ""),
        (range(1, 13), "paid", "row number"),
        (range(1950, 1962), "year", ""),
        (range(3, 39, 3), "case", "row number"),
        (range(9), "x", ""),  # too few rows to tell
        (range(9), "id", ""),  # too few rows to tell
        ([f"the words of row number {k}" for k in range(12)], "x", "free text"),
        ([f"A{k}" for k in range(12)], "x", "own text"),
        ([f"A{k % 6}" for k in range(12)], "x", ""),
    ],
)
def test_why_a_column_is_left_out(values, name, code):
    series = pd.Series(values, name=name)
    note = _columns._first(_columns.LEAVE_OUT, _columns._Seen(name, series, _columns.kind_of(series)))
    assert getattr(note, "code", note) == code


@pytest.mark.parametrize(
    ("values", "name", "code"),
    [
        (["5/31/24", "12/1/23"] * 6, "x", "unread dates"),
        (["1", "2", "n.a.", "3"] * 3, "x", "strays"),
        (["1", "a", "b", "c"] * 3, "x", ""),
        ([1, 1, 2] * 4, "patient_id", "repeated identifier"),
        (["Yes", "yes", "No", "NO"] * 3, "x", "look alike"),
        (["<=50K", "<=50K.", ">50K"] * 4, "x", "look alike"),
        (["a b", "a  b", "c"] * 4, "x", "look alike"),
        (["u", "v", "w"] * 4, "x", ""),
        ([0.5, 1.5, 2.5, 3.5, 4.5, -999.0] * 2, "x", "sentinel"),
        ([5, 15, 25, 36, 46, 99] * 2, "x", "sentinel"),
        ([5, 15, 25, 36, 46, 77, 99] * 2, "x", ""),  # about as far from the others as these among themselves
        ([0.5, 1.5, 2.5, 3.5, 4.5, 1e6] * 2, "x", "sentinel"),  # repeated, and very far
        ([0.5, 1.5, 2.5, 3.5, 4.5, 100.0] * 2, "x", ""),  # an outlier
        ([1, 1, 2] * 4, "x", ""),
    ],
)
def test_what_looks_like_a_mistake(values, name, code):
    series = pd.Series(values, name=name)
    note = _columns._first(_columns.SUSPECT, _columns._Seen(name, series, _columns.kind_of(series)))
    assert getattr(note, "code", note) == code


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_objects_that_are_numbers_are_numbers_whatever_rows_are_taken(rng, missing):
    X = rng.standard_normal((30, 3)).astype(object)
    X[:5, 1] = missing
    table, columns = read_columns(X)
    assert [column.kind for column in columns] == ["number"] * 3
    assert set(table.dtypes) == {np.dtype(float)}
    assert table.isna().sum().sum() == 5


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame])
def test_whole_numbers_beyond_floats_are_refused_by_name(make):
    X = make([[1, 10**400]] * 20, dtype=object)
    with pytest.raises(ValueError, match=r"X: column '?1'? holds whole numbers that float64 cannot"):
        read_columns(X)


def test_several_sentinels_and_codes_are_noted():
    ages = [20 + i % 40 for i in range(N)]
    two = [-999 if i % 9 == 0 else -998 if i % 9 == 1 else age for i, age in enumerate(ages)]
    assert "--missing -999,-998 if so" in read(age=two)["age"].note
    assert "-1 in" in read(days=[-1 if i % 5 == 0 else i % 50 for i in range(N)])["days"].note
    assert read(change=[i % 50 - 3 for i in range(N)])["change"].note == ""
    assert read(size=[960 + i % 90 for i in range(N)])["size"].note == ""  # 999 among its like
    found = read(zip_code=[10000 + 37 * (i % 50) for i in range(N)], zipper=ages)
    assert (found["zip_code"].kind, found["zip_code"].note.code) == ("number", "code")
    assert found["zipper"].note == ""
