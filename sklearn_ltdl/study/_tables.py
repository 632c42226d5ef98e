"""From a user's table to numbers: the preprocessing of every model, the target and its task."""

from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sklearn_ltdl.study._columns import (
    MOST_LEVELS,
    RARE_LEVEL,
    is_numeral,
    kinds_of,
    target_position,
    to_days,
    to_levels,
    to_numbers,
)

MOST_CLASSES_OF_INTEGERS = 10  # an integer target with more distinct values is taken as numbers
MOST_DOUBTFUL_INTEGERS = 30  # up to here the user is told how the target was read
LARGEST_SCORE = 10.0  # standard deviations from the mean, beyond which a value is clipped


def make_table_pipeline(estimator) -> Pipeline:
    """Put the preprocessing of a table in front of an estimator.

    Numbers and booleans, and dates and durations as days, are imputed with the median, with an indicator column for
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
        Unfitted, with steps ``'encode'``, ``'scale'``, ``'clip'`` and ``'estimator'``. It takes a pandas or polars
        DataFrame or a two-dimensional array. The dtype says how a column is read, so that ``X.astype({"zip":
        "category"})`` makes categories of numbers; a column of objects is numeric if all its values can be read as
        numbers. Of a DataFrame, columns are found by name: in new rows they may come in another order, and beside
        others.

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
    impute = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=RARE_LEVEL,
        max_categories=MOST_LEVELS,
        sparse_output=False,
    )
    encode = ColumnTransformer(
        [
            ("numbers", make_pipeline(_each_column(to_numbers), impute), _OfKind("number")),
            ("dates", make_pipeline(_each_column(to_days), clone(impute)), _OfKind("date")),
            ("levels", make_pipeline(_each_column(to_levels), one_hot), _OfKind("category")),
        ]
    )
    clip = FunctionTransformer(
        np.clip, kw_args={"a_min": -LARGEST_SCORE, "a_max": LARGEST_SCORE}, feature_names_out="one-to-one"
    )
    return Pipeline([("encode", encode), ("scale", StandardScaler()), ("clip", clip), ("estimator", estimator)])


def _each_column(function):
    return FunctionTransformer(function, feature_names_out="one-to-one")


@dataclass(frozen=True)
class _OfKind:
    """A selector of the columns of a kind, as a mask of shape (n_features,)."""

    kind: str

    def __call__(self, X):
        return kinds_of(X) == self.kind


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
        objects = y.dtype.kind == "O"
        numeric = objects and all(isinstance(v, Real | Decimal) and not isinstance(v, bool) for v in y)
        spelled = task == "regression" and not numeric and all(isinstance(v, str) and is_numeral(v) for v in y)
        y = y.astype(float) if numeric or spelled else y.astype(str)
    if y.dtype.kind in "mMc":
        found = "complex numbers" if y.dtype.kind == "c" else f"times such as {y[0]!s}" if len(y) else "times"
        raise ValueError(
            f"y: expected numbers or classes, got {found}; predict a number, such as the days since a day."
        )
    distinct = np.unique(y)
    if len(y) < 2:
        found = "one row with a target" if len(y) else "no row with a target: its column is empty"
        raise ValueError(f"y: expected many rows to learn from, got {found}.")
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
                f"The target's {len(distinct)} distinct whole numbers are read for {task}; task={other!r} "
                f"(--task {other}) reads them otherwise."
            )
    if task == "regression":
        if not is_number and y.dtype.kind != "b":
            raise ValueError(f"y: expected numbers for task='regression', got values such as {str(distinct[0])!r}.")
        return Target(task, y.astype(float), None, note)
    classes, codes = np.unique(y.astype(int) if whole else y, return_inverse=True)
    if len(classes) > max(2, len(y) // 4):
        strays = [label for label in classes.astype(str) if not is_numeral(label)]
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


def split_target(table, column=None):
    """Return the columns to predict from and the one to predict: by name, by position from 1 or -1, or the last one."""
    position = target_position(column, [str(name) for name in table.columns])
    return table.drop(columns=table.columns[position]), table.iloc[:, position]
