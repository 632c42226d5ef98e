"""The preprocessing of every model: from a user's table to numbers."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, TargetEncoder

from sklearn_ltdl.tables._columns import MOST_LEVELS
from sklearn_ltdl.tables._kinds import date_parts, kinds_of, to_levels, to_numbers

LARGEST_SCORE = 10.0  # values are clipped at so many standard deviations from the mean
FEWEST_ROWS = 2  # levels with fewer training rows share one indicator
N_FOLDS = 5  # in which means of the target are learned


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
    With a mean of the target by level, ``pipeline[:-1].fit_transform(X, y)`` differs from ``fit(X, y).transform(X)``, as
    with :class:`~sklearn.preprocessing.TargetEncoder`: the fit takes the former. Leave-one-out errors of a kernel
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
            ("numbers", make_pipeline(_each_column(to_numbers), *_scaled()), _OfKind("number")),
            ("dates", make_pipeline(DateParts(), *_scaled()), _OfKind("date")),
            ("levels", make_pipeline(_each_column(to_levels), Levels(_classifies(estimator))), _OfKind("category")),
        ]
    )
    return Pipeline([("encode", encode), ("estimator", estimator)])


def _classifies(estimator):
    return hasattr(estimator, "__sklearn_tags__") and is_classifier(estimator)


def _scaled():
    """Return the steps that impute and standardise numbers."""
    impute = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return impute, *_standardised()


def _standardised():
    return StandardScaler(), _each_column(np.clip, a_min=-LARGEST_SCORE, a_max=LARGEST_SCORE)


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


class Levels(TransformerMixin, BaseEstimator):
    """Indicators of levels or, for columns with more than `MOST_LEVELS` levels, means of the target by level.

    Levels of one row are not counted. Without a target, all columns have indicators.

    Parameters
    ----------
    classes : bool
        Whether the target is a class.

    Attributes
    ----------
    parts_ : list of (ndarray of column numbers, transformer)
    """

    def __init__(self, classes=False):
        self.classes = classes

    def fit(self, X, y=None):
        """Learn the encoding; for training rows use `fit_transform`."""
        for columns, part in self._new_parts(X, y):
            part.fit(X[:, columns], y)
        return self

    def fit_transform(self, X, y=None):
        """Return the encoding of training rows, whose means are those of the other folds."""
        return np.hstack([part.fit_transform(X[:, columns], y) for columns, part in self._new_parts(X, y)])

    def _new_parts(self, X, y):
        many = np.array([y is not None and _n_levels(column) > MOST_LEVELS for column in X.T])
        means = make_pipeline(LevelMeans(self.classes), *_standardised())
        parts = [(np.flatnonzero(~many), Indicators()), (np.flatnonzero(many), means)]
        self.parts_ = [(columns, part) for columns, part in parts if len(columns)]
        return self.parts_

    def transform(self, X):
        """Return a float64 array, of new rows."""
        return np.hstack([part.transform(X[:, columns]) for columns, part in self.parts_])

    def get_feature_names_out(self, input_features):
        """Return names such as ``colour_red`` for an indicator and ``zip`` or ``zip_class`` for a mean."""
        names = np.asarray(input_features, dtype=object)
        return np.concatenate([part.get_feature_names_out(names[columns]) for columns, part in self.parts_])


def _n_levels(column):
    """Return how many levels have at least `FEWEST_ROWS` rows."""
    return sum(count >= FEWEST_ROWS for count in Counter(map(str, column)).values())


class LevelMeans(TransformerMixin, BaseEstimator):
    """The mean of the target by level, drawn to the overall mean by empirical Bayes: scikit-learn's TargetEncoder.

    There is one column per output, and per class if there are more than two. A training row has the means of the other
    four fifths of the rows, so that no row's target is in its own features (Micci-Barreca, SIGKDD Explorations 2001).

    Parameters
    ----------
    classes : bool
        Whether the target is a class.

    Attributes
    ----------
    outputs_ : list of str
        Suffixes of the names of the columns, one per output.
    encoders_ : list of TargetEncoder, one per output
    """

    def __init__(self, classes=False):
        self.classes = classes

    def fit(self, X, y):
        """Learn the means of all rows."""
        self.encoders_ = _encoders(X, self._outputs_of(y))
        return self

    def fit_transform(self, X, y):
        """Learn the means of all rows, and return those of the other folds."""
        Y = self._outputs_of(y)
        self.encoders_ = _encoders(X, Y)
        means = np.empty((len(X), X.shape[1] * Y.shape[1]))
        for train, test in KFold(N_FOLDS, shuffle=True, random_state=0).split(X):
            means[test] = _means(_encoders(X[train], Y[train]), X[test])
        return means

    def _outputs_of(self, y):
        """Return the target as an array of shape (n_samples, n_outputs), for classes of indicators."""
        y = np.asarray(y)
        if self.classes or y.dtype.kind not in "biuf":
            classes, codes = np.unique(y, return_inverse=True)
            if len(classes) > 2:
                self.outputs_ = [f"_{label}" for label in classes]
                return np.eye(len(classes))[codes]
            y = codes
        Y = y.reshape(len(y), -1).astype(float)
        self.outputs_ = [f"_{k}" for k in range(Y.shape[1])] if Y.shape[1] > 1 else [""]
        return Y

    def transform(self, X):
        """Return the means of the levels; of new levels, the overall mean."""
        return _means(self.encoders_, X)

    def get_feature_names_out(self, input_features):
        """Return names such as ``zip``, or ``zip_late`` for one of several classes."""
        return np.array([f"{name}{output}" for output in self.outputs_ for name in input_features], dtype=object)


def _encoders(X, Y):
    return [TargetEncoder(target_type="continuous").fit(X, y) for y in Y.T]


def _means(encoders, X):
    return np.hstack([encoder.transform(X) for encoder in encoders])


class Indicators(TransformerMixin, BaseEstimator):
    """One column per level, centred, in one unit for all levels of a column.

    A standardised indicator has the larger unit, the rarer its level, so that a penalty hardly holds its coefficient
    back. In one unit, any two levels of a column are equally far from each other, and a penalty draws the effects of
    rare levels to the mean, like random effects. The unit gives the column the variance of a standardised number: the
    variances of its indicators have the sum 1. Kernels then see a column of two levels as they see a boolean.

    Attributes
    ----------
    encoder_ : OneHotEncoder
    mean_, scale_ : ndarrays of shape (n_indicators,)
    """

    def fit(self, X, y=None):
        """Find the levels and their frequencies."""
        self.encoder_ = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=FEWEST_ROWS,
            max_categories=MOST_LEVELS,
            sparse_output=False,
        ).fit(X)
        indicators = self.encoder_.transform(X)
        n_indicators = [
            len(levels) - (0 if rare is None else len(rare) - 1)
            for levels, rare in zip(self.encoder_.categories_, self.encoder_.infrequent_categories_)
        ]
        column = np.repeat(np.arange(len(n_indicators)), n_indicators)
        variance = np.bincount(column, weights=indicators.var(axis=0))
        self.mean_ = indicators.mean(axis=0)
        self.scale_ = np.sqrt(np.where(variance > 0, variance, 1.0))[column]
        return self

    def transform(self, X):
        """Return a float64 array of shape (n_samples, n_indicators)."""
        return (self.encoder_.transform(X) - self.mean_) / self.scale_

    def get_feature_names_out(self, input_features=None):
        """Return names such as ``colour_red``."""
        return self.encoder_.get_feature_names_out(input_features)


def _each_column(function, **arguments):
    return FunctionTransformer(function, kw_args=arguments or None, feature_names_out="one-to-one")


@dataclass(frozen=True)
class _OfKind:
    """Column selector for one kind; returns a mask of shape (n_features,)."""

    kind: str

    def __call__(self, X):
        return kinds_of(X) == self.kind
