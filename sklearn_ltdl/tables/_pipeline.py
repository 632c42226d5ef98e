"""The preprocessing of every model: from a user's table to numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline

from sklearn_ltdl.tables._kinds import date_parts, kinds_of, to_levels, to_numbers
from sklearn_ltdl.tables._levels import Levels, each_column, standardised


def make_table_pipeline(estimator: Any) -> Pipeline:
    """Make a pipeline that preprocesses a table for an estimator.

    Numbers, booleans, dates and durations are imputed with the median, and an indicator column is added for each column
    with missing values in training. A duration becomes a number of days. A date becomes the number of days since 1970
    and, if they vary in training, the year, and sine and cosine of the month in the year, of the day in the week and of
    the time of day; the columns have names such as ``sold``, ``sold_year``, ``sold_month_sin`` and ``sold_month_cos``.
    Every other column is categorical, with one indicator column per level. Missing values are a level of their own.
    Levels of one training row share one indicator. A column with more than 200 levels of at least two rows has instead
    the mean of the target by level, one number per output or class, for training rows over other rows.

    Numbers are then standardised and clipped at 10 standard deviations, so that outliers do not dominate a model. The
    indicators of a categorical column are centred and divided by one number, so that their variances have the sum 1: a
    category counts as one number does, any two of its levels are equally far from each other, and a penalty draws the
    effects of rare levels to the mean. Levels, missing values and empty columns that did not occur in training are
    allowed in prediction.

    Parameters
    ----------
    estimator : estimator object
        Last step of the pipeline; its input is a dense float64 array.

    Returns
    -------
    pipeline : sklearn.pipeline.Pipeline
        Unfitted, with steps ``'encode'`` and ``'estimator'``. It takes a pandas or polars DataFrame or a
        two-dimensional array. The dtype determines how a column is read; use ``X.astype({"zip": "category"})`` to treat
        numbers as categories. A column of objects is numeric if all its values can be read as numbers. Columns of a
        DataFrame are found by name: new rows may have them in another order, and may have other columns, too.

    Notes
    -----
    With a mean of the target by level, ``pipeline[:-1].fit_transform(X, y)`` differs from ``fit(X, y).transform(X)``,
    as with :class:`~sklearn.preprocessing.TargetEncoder`: the fit takes the former. Leave-one-out errors of a kernel
    machine after it are not exact, because the means of other rows contain the target of the row that is left out.

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
    encode = ColumnTransformer(
        [
            ("numbers", make_pipeline(each_column(to_numbers), *_scaled()), _OfKind("number")),
            ("dates", make_pipeline(DateParts(), *_scaled()), _OfKind("date")),
            ("levels", make_pipeline(each_column(to_levels), Levels(_classifies(estimator))), _OfKind("category")),
        ]
    )
    return Pipeline([("encode", encode), ("estimator", estimator)])


def _classifies(estimator):
    return hasattr(estimator, "__sklearn_tags__") and is_classifier(estimator)


def _scaled():
    """Return the steps that impute and standardise numbers."""
    impute = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return impute, *standardised()


class DateParts(TransformerMixin, BaseEstimator):
    """Convert dates to days and to the parts of the calendar that vary in training, and durations to days.

    Attributes
    ----------
    parts_ : list of dict of str to float
        For each column, the parts that vary, with the median of each, which is used for missing dates.
    """

    def fit(self, X, y=None):
        """Find the parts that vary."""
        self.parts_ = []
        for parts in date_parts(X):
            known = {name: values[~np.isnan(values)] for name, values in parts.items() if name}
            varied = {name for name, values in known.items() if values.size and np.ptp(values) > 1e-9}
            self.parts_.append({name: float(np.median(known[name])) for name in parts if name in varied})
        return self

    def transform(self, X):
        """Return a float64 array; for a missing date, only the days are missing."""
        columns = []
        for parts, chosen in zip(date_parts(X), self.parts_):
            columns.append(parts[""])
            columns += [
                np.where(np.isnan(parts[name]), usual, parts[name]) if name in parts else np.full(len(parts[""]), usual)
                for name, usual in chosen.items()
            ]
        return np.column_stack(columns)

    def get_feature_names_out(self, input_features):
        """Return names such as ``sold``, ``sold_year`` and ``sold_month_sin``."""
        names = [
            full
            for name, parts in zip(input_features, self.parts_)
            for full in (name, *(f"{name}_{part}" for part in parts))
        ]
        return np.array(names, dtype=object)


@dataclass(frozen=True)
class _OfKind:
    """Column selector for one kind; returns a mask of shape (n_features,)."""

    kind: str

    def __call__(self, X):
        return kinds_of(X) == self.kind
