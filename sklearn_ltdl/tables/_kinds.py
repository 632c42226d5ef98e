"""The kinds of columns (numbers, dates and categories), and their conversion to arrays for models."""

import datetime
import re

import numpy as np
from scipy.sparse import issparse

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._targets import is_missing

_NO_NUMBER = re.compile(r"\s*[+-]?0\d|.*(?:_|[^\x00-\x7f])")  # 01234 is a code; Python alone reads 1_234
_WHOLE = re.compile(r"([+-]?\d+)\.0+")


def as_table(X):
    """Return a pandas DataFrame (also from polars) or a two-dimensional array, or raise an error."""
    if issparse(X):
        raise TypeError(
            "X: expected a dense table, got a sparse matrix; pass X.toarray(), or use "
            "make_pipeline(MaxAbsScaler(), estimator) with an estimator that takes sparse input."
        )
    if hasattr(X, "to_pandas"):  # polars, pyarrow
        X = X.to_pandas()
    if not hasattr(X, "iloc"):
        given, X = X, np.asarray(X)
        if X.dtype.kind in "US" and not isinstance(given, np.ndarray):
            X = np.asarray(given, dtype=object)  # so that numbers next to a text do not become texts
    if X.ndim != 2 or X.shape[1] == 0:
        raise ParameterError("X", f"expected a table of shape (n_samples, n_features >= 1), got shape {X.shape}.")
    return X


def rows_of(X, chosen):
    """Return some rows of a DataFrame or an array."""
    return X.iloc[chosen] if hasattr(X, "iloc") else X[chosen]


def kinds_of(X):
    """Return an array of 'number', 'date' or 'category', one per column.

    The dtype decides: numbers and booleans are numbers, dates and durations are dates, and all else is a category.
    Columns of objects are dates or numbers if all their values are dates or can be read as numbers. Numerals with a
    leading zero, such as 01234, are codes.
    """
    X = as_table(X)
    if not hasattr(X, "iloc") and X.dtype.kind in "biuf":
        return np.full(X.shape[1], "number")
    columns = (X.iloc[:, j] if hasattr(X, "iloc") else X[:, j] for j in range(X.shape[1]))
    return np.array([kind_of(column) for column in columns])


def kind_of(column):
    if column.dtype.kind == "c":
        raise ParameterError(
            "X", "expected real numbers, got complex ones; give their real and imaginary parts as columns."
        )
    if column.dtype.kind in "mM":  # includes pandas' dates with a time zone
        return "date"
    if column.dtype == object or column.dtype.kind in "US":
        values = np.asarray(column, dtype=object)
        known = values[~is_missing(values)]
        if known.size and all(isinstance(value, datetime.date | np.datetime64) for value in known):
            return "date"
        try:
            return "number" if reads_as_float(values) else "category"
        except OverflowError:
            where = f"column {column.name!r}" if hasattr(column, "iloc") else "a column"
            raise ParameterError("X", f"{where} holds whole numbers that float64 cannot; give them as text.") from None
    if not hasattr(column, "iloc"):
        return "number"
    from pandas.api import types

    return "number" if types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype) else "category"


def reads_as_float(values):
    """Return whether all values of an array of objects are missing or can be read as numbers, and none as a code."""
    try:
        values[~is_missing(values)].astype(float)
    except (TypeError, ValueError):
        return False
    return not any(isinstance(value, str) and _NO_NUMBER.match(value) for value in values.flat)


def to_numbers(X):
    """Return a float64 array; missing values are NaN."""
    X = as_table(X)
    if not hasattr(X, "iloc"):
        if X.dtype != object:
            return X.astype(float)
        return np.where(is_missing(X), np.nan, X).astype(float)
    return np.column_stack([_series_to_numbers(X.iloc[:, j]) for j in range(X.shape[1])])


def _series_to_numbers(column):
    from pandas import to_numeric

    try:
        if column.dtype.kind in "mM":
            raise TypeError("dates")
        if column.dtype == object:
            values = column.to_numpy()
            return np.where(is_missing(values), np.nan, values).astype(float)
        return to_numeric(column).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"Column {column.name!r} held numbers when the model was fitted; expected numbers, got values of type "
            f"{column.dtype} ({error}). Correct them, treat them as missing (--numeric), or fit on text."
        ) from error


def date_parts(X):
    """Yield a dict for each column: its days under an empty name and, for dates, the parts of the calendar.

    Days are counted since 1970; a duration is its number of days. The parts are the year, and sine and cosine of the
    month in the year, of the day in the week and of the time of day. Missing values are NaN.
    """
    X = as_table(X)
    for j in range(X.shape[1]):
        column = X.iloc[:, j] if hasattr(X, "iloc") else X[:, j]
        days = _series_to_days(column)
        parts = {"": days}
        if column.dtype.kind != "m":
            whole = np.floor(days)
            months = np.where(np.isnan(days), 0, whole).astype("datetime64[D]").astype("datetime64[M]").astype(int)
            months = np.where(np.isnan(days), np.nan, months)
            parts["year"] = 1970 + np.floor(months / 12)
            turns = {"month": months % 12 / 12, "weekday": (whole + 3) % 7 / 7, "time": days - whole}  # 1970: Thursday
            for name, share in turns.items():
                parts |= {f"{name}_sin": np.sin(2 * np.pi * share), f"{name}_cos": np.cos(2 * np.pi * share)}
        yield parts


def _series_to_days(column):
    if column.dtype.kind not in "mM":
        from pandas import Series, to_datetime

        column = Series(column)
        if column.isna().all():
            return np.full(len(column), np.nan)
        try:
            if column.dtype.kind in "biufc":
                raise ValueError(f"numbers such as {column.dropna().iloc[0]}")
            column = to_datetime(column, format="ISO8601", utc=True)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Column {column.name!r} held dates when the model was fitted; expected dates such as 2024-05-31, got "
                f"values of type {column.dtype} ({error})."
            ) from error
    values = np.asarray(column) if not hasattr(column, "iloc") else column.to_numpy(f"{_unit(column)}64[us]")
    origin = np.datetime64(0, "us") if values.dtype.kind == "M" else np.timedelta64(0, "us")
    return (values - origin) / np.timedelta64(1, "D")


def _unit(column):
    return "datetime" if column.dtype.kind == "M" else "timedelta"


def to_levels(X):
    """Return an array of strings, with NaN for missing values; 2.0 is the level '2'."""
    X = as_table(X)
    if hasattr(X, "iloc"):
        return np.column_stack([_levels(X.iloc[:, j].to_numpy(dtype=object)) for j in range(X.shape[1])])
    return np.column_stack([_levels(X[:, j].astype(object)) for j in range(X.shape[1])])


def _levels(values):
    texts = values.astype(str).astype(object)
    known = {text: _WHOLE.sub(r"\1", text) if _WHOLE.fullmatch(text) else text for text in set(texts)}
    levels = np.array([known[text] for text in texts], dtype=object)
    levels[is_missing(values)] = np.nan
    return levels


def is_numeral(text):
    """Return whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def coerced(name, series):
    """Return a column as float64, and the texts that are not numbers."""
    from pandas import to_numeric

    if series.dtype.kind in "mM":
        return series, []
    if series.dtype.name == "category":
        series = series.astype(object)
    numbers = to_numeric(series, errors="coerce").astype("float64")
    strays = series[numbers.isna() & series.notna()]
    if numbers.isna().all() and len(strays):
        raise ValueError(f"Column {name!r} cannot be read as numbers; it holds values such as {str(strays.iloc[0])!r}.")
    return numbers, list(map(str, strays))


def strays_of(series):
    """Return the texts of a text column that are not numbers, if they are few among numbers; else an empty list."""
    from sklearn_ltdl.tables._cells import are_few

    if series.dtype != object and series.dtype.name != "str":  # another dtype is the user's choice
        return []
    known = series.dropna()
    texts = known.astype(str).str.strip()
    distinct = set(texts)
    numerals = {text for text in distinct if is_numeral(text)}
    strays = texts[~texts.isin(numerals)]
    codes = any(_NO_NUMBER.match(text) for text in numerals)
    return [] if strays.empty or codes or not are_few(strays, len(texts)) else list(strays)


def typed(series, kind):
    """Return a column whose dtype says its kind, whatever rows are taken of it."""
    if kind == "number" and series.dtype == object:
        from pandas import Series

        return Series(_series_to_numbers(series), index=series.index, name=series.name)
    if kind == "category":
        if series.dtype.name == "category":
            return series
        from pandas import Series

        return Series(_levels(series.to_numpy(dtype=object)), index=series.index, name=series.name).astype("category")
    return series
