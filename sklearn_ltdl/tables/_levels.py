"""The encodings of categorical columns: indicators of few levels, means of the target for many."""

from collections import Counter

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, TargetEncoder

from sklearn_ltdl.tables._columns import MOST_LEVELS

LARGEST_SCORE = 10.0  # values are clipped at so many standard deviations from the mean
FEWEST_ROWS = 2  # levels with fewer training rows share one indicator
N_FOLDS = 5  # in which means of the target are learned


def standardised():
    """Return the steps that standardise and clip numbers."""
    return StandardScaler(), each_column(np.clip, a_min=-LARGEST_SCORE, a_max=LARGEST_SCORE)


def each_column(function, **arguments):
    """Return a transformer that applies a function and keeps the names of columns."""
    return FunctionTransformer(function, kw_args=arguments or None, feature_names_out="one-to-one")


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
        means = make_pipeline(LevelMeans(self.classes), *standardised())
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
