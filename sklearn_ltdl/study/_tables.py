"""From a user's table to numbers: reading a file, the target and its task, and the preprocessing of every model."""

import csv
import difflib
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

MOST_CLASSES_OF_INTEGERS = 10  # an integer target with more distinct values is taken as numbers
MOST_DOUBTFUL_INTEGERS = 30  # up to here the user is told how the target was read
RARE_LEVEL = 10  # training rows below which a level joins the group of rare ones
_ISO_DATE = r"\d{4}-\d{2}-\d{2}(?:[ T][0-9:.,+Z-]+)?"
_DECIMAL_COMMA = r"[+-]?\d+(?:,\d+)?"
LARGEST_SCORE = 10.0  # standard deviations from the mean, beyond which a value is clipped
MOST_LEVELS = 50  # columns that one categorical column may become


def make_table_pipeline(estimator):
    """Put the preprocessing of a table in front of an estimator.

    Numbers, booleans, dates and durations (both as days) are imputed with the median, with an indicator column for
    each column that had missing values in training. Every other column is categorical: one column a level, a missing
    value being a level of its own, where levels of fewer than 10 training rows, and those beyond the 50 most
    frequent, share one column. All columns are then standardised, and clipped at 10 standard deviations, lest one
    outlying row lead a model astray. Levels, missing values and empty columns that training has not seen do no harm at
    prediction.

    Parameters
    ----------
    estimator : estimator object
        Last step of the pipeline; it sees a dense float64 array.

    Returns
    -------
    pipeline : sklearn.pipeline.Pipeline
        Unfitted, with steps ``'encode'``, ``'scale'``, ``'clip'`` and ``'estimator'``. It takes a pandas DataFrame or a
        two-dimensional array; in an array of objects, a column is numeric if all its values can be read as numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_ltdl import make_table_pipeline
    >>> X = np.array([[1.0, "red"], [2.0, "blue"], [None, "red"], [4.0, "blue"]], dtype=object)
    >>> model = make_table_pipeline(Ridge()).fit(X, [1.0, 2.0, 3.0, 4.0])
    >>> model.predict(np.array([[3.0, "green"]], dtype=object)).shape
    (1,)
    """
    numbers = make_pipeline(
        FunctionTransformer(_to_numbers, feature_names_out="one-to-one"),
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
    )
    levels = make_pipeline(
        FunctionTransformer(_to_levels, feature_names_out="one-to-one"),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=RARE_LEVEL,
            max_categories=MOST_LEVELS,
            sparse_output=False,
        ),
    )
    encode = ColumnTransformer([("numbers", numbers, _is_numeric), ("levels", levels, _is_categorical)])
    clip = FunctionTransformer(
        np.clip, kw_args={"a_min": -LARGEST_SCORE, "a_max": LARGEST_SCORE}, feature_names_out="one-to-one"
    )
    return Pipeline([("encode", encode), ("scale", StandardScaler()), ("clip", clip), ("estimator", estimator)])


def _is_numeric(X):
    """Return a mask of shape (n_features,) of the columns that are read as numbers."""
    if issparse(X):
        raise TypeError(
            "X: expected a dense table for make_table_pipeline, got a sparse matrix; pass X.toarray(), or use "
            "make_pipeline(MaxAbsScaler(), estimator) with an estimator that takes sparse input."
        )
    if hasattr(X, "iloc"):
        return np.array([_is_numeric_series(X.iloc[:, j]) for j in range(X.shape[1])], dtype=bool)
    X = np.asarray(X)
    return np.array([_reads_as_float(X[:, j]) for j in range(X.shape[1])], dtype=bool)


def _is_categorical(X):
    return ~_is_numeric(X)


def _is_numeric_series(column):
    from pandas.api import types

    if column.dtype == object:
        return _reads_as_float(column.to_numpy())
    return types.is_numeric_dtype(column.dtype) or types.is_datetime64_any_dtype(column.dtype) or _is_duration(column)


def _is_duration(column):
    return getattr(column.dtype, "kind", "") == "m"


def _reads_as_float(column):
    try:
        column.astype(float)
    except (TypeError, ValueError):
        return False
    return True


def _to_numbers(X):
    """Return a float64 array; missing values are NaN, dates and durations are days."""
    if not hasattr(X, "iloc"):
        return np.asarray(X, dtype=float)
    return np.column_stack([_series_to_numbers(X.iloc[:, j]) for j in range(X.shape[1])])


def _series_to_numbers(column):
    from pandas import to_numeric
    from pandas.api import types

    if types.is_datetime64_any_dtype(column.dtype):
        return (column.to_numpy("datetime64[us]") - np.datetime64(0, "us")) / np.timedelta64(1, "D")
    if _is_duration(column):
        return column.to_numpy("timedelta64[us]") / np.timedelta64(1, "D")
    try:
        return to_numeric(column).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Column {column.name!r} held numbers when the model was fitted; expected numbers, got values of type "
            f"{column.dtype} ({error}). Clean the column, or fit on it as text."
        ) from error


def _to_levels(X):
    """Return an array of strings, NaN where a value is missing."""
    X = np.asarray(X, dtype=object)
    levels = X.astype(str).astype(object)
    levels[is_missing(X)] = np.nan
    return levels


def is_missing(values):
    """Return a mask of what stands for a missing value: NaN, None, and pandas' NA and NaT."""
    if values.dtype.kind != "O":
        return values != values
    missing = [v is None or type(v).__name__ in ("NAType", "NaTType") or v != v for v in values.flat]
    return np.array(missing, dtype=bool).reshape(values.shape)


def check_table(X):
    """Return `X` as a DataFrame or a two-dimensional array, or raise an error that names the column."""
    if not hasattr(X, "iloc"):
        X = np.asarray(X)
    if X.ndim != 2 or X.shape[1] == 0:
        raise ValueError(f"X: expected a table of shape (n_samples, n_features >= 1), got shape {X.shape}.")
    names = list(getattr(X, "columns", range(X.shape[1])))
    repeated = sorted({str(name) for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"X: expected distinct column names, got {', '.join(map(repr, repeated))} more than once.")
    numeric = np.flatnonzero(_is_numeric(X))
    numbers = _to_numbers(X.iloc[:, numeric] if hasattr(X, "iloc") else X[:, numeric]) if numeric.size else None
    if numbers is not None and np.isinf(numbers).any():
        column = names[numeric[np.isinf(numbers).any(axis=0).argmax()]]
        raise ValueError(f"X: column {column!r} holds infinite values; replace them by a number or leave them empty.")
    return X


def describe_columns(X):
    """Return lines that say how the columns are read, and which of them look like a mistake."""
    numeric = _is_numeric(X)
    columns = [X.iloc[:, j].to_numpy() if hasattr(X, "iloc") else np.asarray(X)[:, j] for j in range(X.shape[1])]
    names = list(getattr(X, "columns", range(X.shape[1])))
    dates = sum(column.dtype.kind in "mM" for column in columns)
    counts = {"of numbers": numeric.sum() - dates, "of dates": dates, "of text": (~numeric).sum()}
    lines = ["Columns: " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) + "."]
    for name, column, is_number in zip(names, columns, numeric):
        values = column[~is_missing(column)]
        if is_number or len(values) == 0:
            continue
        values = values.astype(str)
        strays = _strays(values)
        if len(strays) < len(values) / 2:
            lines.append(
                f"Column {name!r} is read as text: {len(values) - len(strays)} of {len(values)} values are numbers, "
                f"{str(strays[0])!r} is not. Repair it, or leave its cell empty."
            )
        elif len(np.unique(values)) > 0.9 * len(values) > RARE_LEVEL:
            lines.append(f"Column {name!r} has a text of its own in nearly every row, of which no model makes use.")
    return lines


def _strays(values):
    """Return the texts that are no numbers."""
    return values[[not _reads_as_float(np.array(value)) for value in values]]


class Target(NamedTuple):
    """What is predicted.

    Parameters
    ----------
    task : {'regression', 'classification'}
    values : ndarray of shape (n_samples,)
        Numbers, or codes of the classes.
    classes : ndarray of shape (n_classes,) or None
    note : str
        How an ambiguous target was read; empty if there was no doubt.
    """

    task: str
    values: np.ndarray
    classes: np.ndarray | None
    note: str


def read_target(y, task):
    """Return the Target of values without missing ones; `task` is 'auto', 'regression' or 'classification'."""
    y = np.asarray(y)
    if y.dtype.kind in "OUST":
        numeric = y.dtype.kind == "O" and all(isinstance(value, int | float | np.number) for value in y)
        y = y.astype(float) if numeric and not any(isinstance(value, bool) for value in y) else y.astype(str)
    distinct = np.unique(y)
    if len(distinct) < 2:
        raise ValueError(
            f"y: expected at least two distinct values, got only {distinct[0]!s}; there is nothing to learn."
        )
    is_number = y.dtype.kind in "iuf"
    if is_number and not np.isfinite(y).all():
        raise ValueError("y: expected finite numbers, got infinite values; drop those rows.")
    whole = is_number and np.all(distinct == np.round(distinct))
    note = ""
    if task == "auto":
        few = len(distinct) <= MOST_CLASSES_OF_INTEGERS
        task = "classification" if not is_number or (whole and few) else "regression"
        if whole and 2 < len(distinct) <= MOST_DOUBTFUL_INTEGERS:
            other = "regression" if few else "classification"
            note = (
                f"The target's {len(distinct)} distinct whole numbers are read for {task}, not for {other} (see task)."
            )
    if task == "regression":
        if not is_number and y.dtype.kind != "b":
            raise ValueError(f"y: expected numbers for task='regression', got values such as {str(distinct[0])!r}.")
        return Target(task, y.astype(float), None, note)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) > max(2, len(y) // 4):
        strays = _strays(classes.astype(str))
        if 0 < len(strays) < len(classes) / 2:
            raise ValueError(
                f"y: {len(classes) - len(strays)} of {len(classes)} distinct values are numbers, {str(strays[0])!r} is "
                "not; repair it, or leave its cell empty."
            )
        raise ValueError(
            f"y: expected classes, got {len(classes)} distinct values such as {str(classes[0])!r} in {len(y)} rows; "
            "choose another target column, repair its numbers, or say task='regression' (--task regression)."
        )
    return Target(task, codes, classes, note)


def read_table(path):
    """Return the DataFrame of a CSV or TSV file with a header, and notes on how it was read.

    The delimiter is the comma, semicolon or tab that is most frequent in the header; ``?`` is a missing value. Columns
    of dates such as 2024-05-31, with or without a time, are read as dates; where semicolons delimit, decimals may have
    commas.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('Reading a file needs pandas: pip install "sklearn_ltdl[report]"') from error

    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: expected a CSV or TSV file, got a folder.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
        if not header.strip():
            raise ValueError(f"{path}: expected a header line and rows, got an empty file.")
        delimiter = max(",;\t", key=header.count)
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter, skipinitialspace=True))]
        _check_header(path, names)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # values that would be lost
            table = pd.read_csv(
                path,
                sep=delimiter,
                names=names,
                header=0,
                index_col=False,
                na_values=["?"],
                skipinitialspace=True,
                low_memory=False,
                encoding="utf-8-sig",
            )
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, got other bytes; save the table as a UTF-8 CSV.") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise ValueError(f"{path}: expected {len(names)} values a line, as in the header; {error}") from error
    if table.empty:
        raise ValueError(f"{path}: expected rows below the header, got none.")
    notes = []
    if names[0] == "":
        table = table.iloc[:, 1:]
        notes.append("The first column has no name; it was taken for an index and left out.")
    commas = []
    for name in table.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]]:
        text = table[name].dropna().astype(str)
        if not text.empty and text.str.fullmatch(_ISO_DATE).all():
            with suppress(ValueError):  # a thirteenth month, offsets that differ: it stays text
                table[name] = pd.to_datetime(table[name], format="ISO8601")
        elif delimiter == ";" and not text.empty and text.str.fullmatch(_DECIMAL_COMMA).all():
            table[name] = table[name].str.replace(",", ".").astype(float)
            commas.append(name)
    if commas:
        notes.append(f"Decimal commas are read in {_listed(commas)}.")
    return table, notes


def _check_header(path, names):
    if len(names) < 2:
        raise ValueError(
            f"{path}: expected at least two columns (comma, semicolon or tab between them), got one, {names[0]!r}."
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"{path}: expected distinct column names, got {', '.join(map(repr, repeated))} more than once."
        )
    counted = [str(j) for j in range(len(names))]
    if names != counted and all(_reads_as_float(np.array(name)) for name in names):
        raise ValueError(f"{path}: expected column names in the first line, got numbers; put a header line above them.")


def split_target(table, name=None):
    """Return the columns to predict from and the column `name`, by default the last one."""
    name = table.columns[-1] if name is None else name
    if name not in table.columns:
        close = difflib.get_close_matches(name, [str(column) for column in table.columns], n=3)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it has {_listed(table.columns)}."
        raise ValueError(f"The table has no column {name!r} to predict; {hint}")
    return table.drop(columns=name), table[name]


def _listed(names, most=8):
    return ", ".join(map(repr, map(str, names[:most]))) + (", ..." if len(names) > most else "")
