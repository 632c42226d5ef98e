"""From a user's table to numbers: the preprocessing of every model."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sklearn_ltdl.tables._columns import MOST_LEVELS, RARE_LEVEL
from sklearn_ltdl.tables._kinds import kinds_of, to_days, to_levels, to_numbers

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
