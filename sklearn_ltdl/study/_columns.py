"""How each column of a table is read: as numbers, dates or categories, or left out with a reason."""

import datetime
import re
import textwrap
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

from sklearn_ltdl._targets import is_missing

RARE_LEVEL = 10  # training rows below which a level joins the group of rare ones
OWN_TEXT = 0.9  # share of distinct texts above which a column tells rows apart, and nothing else
OWN_SENTENCE = 0.5  # the same for texts of many words
WORDS = 4  # mean number of words from which a text is a sentence
_NO_NUMBER = re.compile(r"\s*[+-]?0\d|.*(?:_|[^\x00-\x7f])")  # 01234 is a code; Python alone reads 1_234
_DATE = re.compile(r"\d{1,4}[./-](?:\d{1,2}|[A-Za-z]{3})[./-]\d{1,4}.*")
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_IDENTIFIER = re.compile(  # customer_id, PassengerId, but not "paid"
    r"(?i:(?:.*[\W_])?(?:ids?|uuid|guid|row[_ ]?(?:id|number|no|nr))|index|idx|key)|.*[a-z](?:ID|Id)"
)
EMPTY, CONSTANT = "empty", "the same value in every row"
MOST_COLUMNS = 2000  # beyond, forests and feature machines take many minutes a fold
MOST_CELLS = 100_000_000  # of the encoded table, 0.8 GB in memory, of which a fit makes a few copies
MOST_LEVELS = 50  # columns that one categorical column may become
MOST_LINES = 8  # of one kind, of what is told of the columns


class Column(NamedTuple):
    """How one column is read.

    Parameters
    ----------
    name : str
    kind : {'number', 'date', 'category', 'left out'}
    note : str
        Why a column is left out, or what is remarkable of it; empty for most.
    n_missing : int
    """

    name: str
    kind: str
    note: str
    n_missing: int


def as_table(X):
    """Return a pandas DataFrame, of polars as well, or a two-dimensional array, or raise an error that says why not."""
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
            X = np.asarray(given, dtype=object)  # lest the numbers beside a text become texts
    if X.ndim != 2 or X.shape[1] == 0:
        raise ValueError(f"X: expected a table of shape (n_samples, n_features >= 1), got shape {X.shape}.")
    return X


def kinds_of(X):
    """Return an array of 'number', 'date' or 'category', one a column.

    The dtype decides: numbers and booleans are numbers, dates and durations dates, and the rest categories, but for
    columns of objects all of which are dates, or can be read as numbers. Numerals with a leading zero, such as 01234,
    are codes.
    """
    X = as_table(X)
    if not hasattr(X, "iloc") and X.dtype.kind in "biuf":
        return np.full(X.shape[1], "number")
    columns = (X.iloc[:, j] if hasattr(X, "iloc") else X[:, j] for j in range(X.shape[1]))
    return np.array([_kind(column) for column in columns])


def _kind(column):
    if column.dtype.kind == "c":
        raise ValueError("X: expected real numbers, got complex ones; give their real and imaginary parts as columns.")
    if column.dtype.kind in "mM":  # pandas gives dates with a time zone this kind as well
        return "date"
    if column.dtype == object or column.dtype.kind in "US":
        values = np.asarray(column, dtype=object)
        known = values[~is_missing(values)]
        if known.size and all(isinstance(value, datetime.date | np.datetime64) for value in known):
            return "date"
        return "number" if reads_as_float(values) else "category"
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


def group_numbers(groups):
    """Return the number of each row's group; a row without one could be of any, and so leak into its prediction."""
    missing = is_missing(groups)
    if missing.any():
        raise ValueError(
            f"groups: expected a group for each row, got {missing.sum()} of {len(groups)} rows without; leave these "
            "rows out, or give each a group of its own if nothing links them."
        )
    return np.unique(groups.astype(str), return_inverse=True)[1]


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
        return to_numeric(column).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Column {column.name!r} held numbers when the model was fitted; expected numbers, got values of type "
            f"{column.dtype} ({error}). Repair them, have them read as missing (--numeric), or fit on text."
        ) from error


def to_days(X):
    """Return a float64 array of the days since 1970, or of the days that a duration lasts; missing values are NaN."""
    X = as_table(X)
    columns = (X.iloc[:, j] if hasattr(X, "iloc") else X[:, j] for j in range(X.shape[1]))
    return np.column_stack([_series_to_days(column) for column in columns])


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
    """Return an array of strings, NaN where a value is missing; 2.0 is the level '2'."""
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


def read_columns(X, *, categorical=(), numeric=()):
    """Return the table that models see, each of its columns of one kind, and how every column of `X` is read.

    The decision is made once, on all rows, so that it is the same in every fold; it does not look at the target.
    Columns of a DataFrame are left out that are constant, or that tell the rows apart and nothing else: text of its own
    in nearly every row, and distinct whole numbers whose name says that they are identifiers. A categorical or float
    dtype is taken as the user's word, and keeps such a column. Of an array, all columns are kept.

    Parameters
    ----------
    X : pandas or polars DataFrame, or array of shape (n_samples, n_features)
    categorical, numeric : sequence of str or int, default=()
        Columns, by name or by number in an array, that are taken for categories, or for numbers, where other values are
        missing.

    Returns
    -------
    table : DataFrame or ndarray
    columns : list of Column
    """
    X = as_table(X)
    names = [str(name) for name in getattr(X, "columns", range(X.shape[1]))]
    require_distinct("X", names)
    kinds = {type(label) for label in getattr(X, "columns", ())}
    if str in kinds and len(kinds) > 1:
        raise ValueError(
            "X: expected names of columns that are all text, got some that are not, which scikit-learn does not take; "
            "try X.columns = X.columns.astype(str)."
        )
    asked = {name: "category" for name in _known(categorical, names)} | {
        name: "number" for name in _known(numeric, names)
    }
    if len(asked) < len(categorical) + len(numeric):
        raise ValueError("A column is listed twice among the categorical and the numeric ones; list it once.")
    named = hasattr(X, "iloc")
    if not named and X.dtype.kind in "biuf" and not asked:
        columns = [Column(name, "number", "", int(missing)) for name, missing in zip(names, is_missing(X).sum(axis=0))]
    else:
        from pandas import DataFrame

        frame = X if named else DataFrame(X)
        columns, kept = [], {}
        for name, (label, series) in zip(names, frame.items()):
            column, series = _read(name, series, asked.get(name), named)
            columns.append(column)
            if column.kind != "left out":
                kept[label] = series
        if not kept:
            reasons = "; ".join(f"{column.name}: {column.note}" for column in columns[:5])
            more = "; ..." if len(columns) > 5 else ""
            raise ValueError(f"No column is left to predict from ({reasons}{more}).")
        X = DataFrame(kept, index=frame.index)
    kept = [column for column in columns if column.kind != "left out"]
    _require_finite(kept, X)
    _require_size(kept, X)
    return X, columns


def require_distinct(where, names):
    """Raise a ValueError that lists the names that come more than once."""
    seen = set()
    repeated = sorted({name for name in names if name in seen or seen.add(name)})
    if repeated:
        raise ValueError(
            f"{where}: expected distinct column names, got {listed(repeated)} more than once; rename or remove the "
            "copies."
        )


def _known(wanted, names):
    wanted, known = list(map(str, wanted)), set(names)
    for name in wanted:
        if name not in known:
            raise ValueError(f"The table has no column {name!r}; {hint(name, names)}")
    return wanted


def hint(name, names):
    """Return which of the names may be meant."""
    import difflib

    close = difflib.get_close_matches(str(name), list(map(str, names)), n=3)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"it has {listed(names)}."


def target_position(column, names):
    """Return the index of the column to predict: by name, by position from 1 or -1, or the last one."""
    if column is None or column in names:
        return len(names) - 1 if column is None else names.index(column)
    try:
        number = int(column)
    except ValueError:
        raise ValueError(f"The table has no column {column!r} to predict; {hint(column, names)}") from None
    if not 1 <= abs(number) <= len(names):
        raise ValueError(
            f"The table has no column {column!r} to predict; positions go from 1 to {len(names)}, or from -1, the last "
            f"one, to {-len(names)}."
        )
    return number - 1 if number > 0 else number + len(names)


def listed(names, most=8):
    """Return the names as a list that is not longer than `most`."""
    return ", ".join(map(repr, map(str, names[:most]))) + (", ..." if len(names) > most else "")


def _read(name, series, given, named):
    """Return the Column, and the series as models see it."""
    if given == "number":
        series, strays = coerced(name, series)
        note = f"{len(strays)} values that are no numbers are missing, such as {strays[0]!r}" if strays else ""
        return Column(name, "number", note, int(series.isna().sum())), series
    kind, n_missing, note = given or _kind(series), int(series.isna().sum()), ""
    if given is None and named:
        reason = _reason(name, series, kind, n_missing)
        if reason:
            return Column(name, "left out", reason, n_missing), series
        note = _suspicion(name, series, kind)
    return Column(name, kind, note, n_missing), _typed(series, kind)


def _reason(name, series, kind, n_missing):
    """Return why a column is left out; empty for most."""
    n = len(series)
    if n_missing == n:
        return EMPTY
    try:
        distinct = series.nunique()
    except TypeError:
        return "its values are lists or other objects"
    if distinct == 1 and n_missing == 0 and n > 1:
        return CONSTANT
    if kind == "number" and distinct == n > RARE_LEVEL and series.dtype.kind in "iu" and _IDENTIFIER.fullmatch(name):
        return "an identifier by its name, another whole number in every row"
    if kind == "category" and series.dtype.name != "category" and n - n_missing > RARE_LEVEL:
        texts = series.dropna().astype(str)
        share, sample = distinct / len(texts), texts.iloc[: min(len(texts), 1000)]
        example = textwrap.shorten(str(sample.iloc[0]), 40, placeholder=" ...")
        if share > OWN_SENTENCE and sample.str.count(r"\s+").mean() + 1 >= WORDS:
            return f"free text, such as {example!r}"
        if share > OWN_TEXT and sum(map(is_numeral, set(texts))) < distinct / 2:
            hint = "; dates are read if they are like 2024-05-31" if _DATE.fullmatch(example) else ""
            return f"a text of its own in nearly every row, such as {example!r}{hint}"
    return ""


def _suspicion(name, series, kind):
    """Return what looks like a mistake."""
    if kind == "category" and series.dtype.name != "category":
        counts = series.dropna().astype(str).value_counts(sort=False)
        strays = counts[[not is_numeral(text) for text in counts.index]]
        if len(strays) and strays.index.str.fullmatch(_DATE).all():
            return f"looks like dates, which are read if they are like 2024-05-31, not {strays.index[0]!r}"
        if 0 < strays.sum() < counts.sum() / 2:
            return f"{counts.sum() - strays.sum()} of {counts.sum()} values are numbers, {strays.index[0]!r} is not"
    if series.dtype.kind in "iuO" and _IDENTIFIER.fullmatch(name) and series.nunique() < series.count():
        return (
            "named like an identifier, but some of its values are in several rows: do these belong together (groups)?"
        )
    return ""


def is_numeral(text):
    """Return whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def coerced(name, series):
    """Return a column as float64, and the texts that are no numbers."""
    from pandas import to_numeric

    if series.dtype.kind in "mM":
        return series, []
    if series.dtype.name == "category":
        series = series.astype(object)
    numbers = to_numeric(series, errors="coerce").astype("float64")
    strays = series[numbers.isna() & series.notna()]
    if numbers.isna().all() and len(strays):
        raise ValueError(f"Column {name!r} cannot be read as numbers, its values are such as {str(strays.iloc[0])!r}.")
    return numbers, list(map(str, strays))


def _typed(series, kind):
    """Return a column whose dtype says its kind, whatever rows are taken of it."""
    if kind == "category":
        if series.dtype.name == "category":
            return series
        from pandas import Series

        return Series(_levels(series.to_numpy(dtype=object)), index=series.index, name=series.name).astype("category")
    return series


def _require_finite(columns, X):
    for j, column in enumerate(columns):
        values = X.iloc[:, j] if hasattr(X, "iloc") else X[:, j]
        if column.kind != "number" or values.dtype.kind in "biu":
            continue
        values = values.to_numpy(dtype=float, na_value=np.nan) if hasattr(X, "iloc") else values
        infinite = np.isinf(values)
        if infinite.any():
            raise ValueError(
                f"X: column {column.name!r} holds infinite values ({infinite.sum()} of {len(values)}); replace them by "
                "a number, or leave them empty."
            )


def _require_size(columns, X):
    if len(columns) > MOST_COLUMNS:
        raise ValueError(
            f"X: expected at most {MOST_COLUMNS} columns to predict from, got {len(columns)}; drop the needless ones, "
            "or reduce them first, for example to principal components."
        )
    width = sum(
        min(X.iloc[:, j].nunique(), MOST_LEVELS) if column.kind == "category" else 1 for j, column in enumerate(columns)
    )
    if len(X) * width > MOST_CELLS:
        raise ValueError(
            f"X: {len(X)} rows of {width} columns (a category has one a level) do not fit in memory several times; "
            f"draw about {MOST_CELLS // width} of the rows at random."
        )


_TITLES = {"number": ("number", "numbers"), "date": ("date", "dates"), "category": ("category", "categories")}


def describe(columns):
    """Return lines that say how the columns are read: by kind, with what is remarkable, and what is left out."""
    lines = []
    for kind, titles in _TITLES.items():
        chosen = [column for column in columns if column.kind == kind]
        if chosen:
            missing = sum(column.n_missing > 0 for column in chosen)
            holes = f" ({missing} with missing values)" if missing else ""
            names = _fitting([column.name for column in chosen])
            lines.append(f"{len(chosen):>5} {titles[len(chosen) > 1]:<10}  {names}{holes}")
            lines += _some([f"{column.name}: {column.note}" for column in chosen if column.note])
    left_out = [column for column in columns if column.kind == "left out"]
    if left_out:
        lines.append(f"{len(left_out):>5} left out")
        lines += _some([f"{column.name}: {column.note}" for column in left_out])
    if any(column.note not in (EMPTY, CONSTANT) for column in left_out):
        lines.append(f"{'':>8}(--categorical NAME or --numeric NAME keeps one; in Python, categorical= and numeric=)")
    return lines


def _fitting(names, width=70):
    """Return as many of the names as fit."""
    shown, length = [], 0
    for name in map(_plain, names):
        length += len(name) + 2
        if shown and length > width:
            return f"{', '.join(shown)}, ..."
        shown.append(textwrap.shorten(name, width, placeholder="..."))
    return ", ".join(shown)


def _some(lines):
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return [f"{'':>8}{textwrap.shorten(_plain(line), 110, placeholder=' ...')}" for line in lines[:MOST_LINES] + more]


def _plain(text):
    """Return a text of the user's that a terminal takes for nothing but text."""
    return "".join(character if character.isprintable() else " " for character in text)
