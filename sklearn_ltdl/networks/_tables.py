"""Tables as networks are trained on them: distinct rows of arrays, or a sample of rows that are read block by block."""

from typing import NamedTuple

import numpy as np

from sklearn_ltdl._sklearn import draw_seed, warn_of_scales
from sklearn_ltdl._targets import (
    Standardisation,
    checked_labels,
    encode_classes,
    one_hot,
    read_classification,
    read_regression,
    weights_of_classes,
)
from sklearn_ltdl.networks._model import Data, feature_map
from sklearn_ltdl.networks._streamed import Looked, Stream
from sklearn_ltdl.rows._looks import LabelTarget, NumberTarget, numbers_of
from sklearn_ltdl.rows._rows import rows_to_fit

FULL_BATCH_ROWS = 2000  # up to so many distinct rows, every step uses all rows, in float64
_LARGEST_INPUT = 1e15  # a float64 of this size still resolves a 1


class Table(NamedTuple):
    """Distinct rows of a table: features, targets of shape (n_rows, n_outputs), and positive weights of sum 1.

    With a `stream`, they are a sample of its rows.
    """

    X: np.ndarray
    targets: np.ndarray
    weight: np.ndarray
    stream: Stream | None = None

    def data(self, start):
        """Return the rows as inputs of the network of `start`."""
        phi = feature_map(self.X)
        return Data(phi, self.targets, start.offset(phi), self.weight)

    @property
    def n_rows(self):
        """Return the number of rows, of which the table may be a sample."""
        return len(self.X) if self.stream is None else self.stream.n


class Units(NamedTuple):
    """Units of a regression target: its moments, and whether it was one-dimensional."""

    standardisation: Standardisation
    flat: bool

    def undo(self, scores):
        """Convert scores of shape (n_samples, n_outputs) to predictions in the units and the shape of the target."""
        prediction = self.standardisation.undo(scores)
        return prediction[:, 0] if self.flat else prediction


def regression_table(estimator, X, y, sample_weight, *, normalize=True, units=None, is_merged=True, takes_rows=False):
    """Return the rows of a table with the standardised target, and its units (by default new ones).

    With `units` of an earlier fit, the number and names of features are compared with it; otherwise they are stored.

    Parameters
    ----------
    estimator : estimator
    X, y, sample_weight : array-like
        The user's arguments.
    normalize : bool, default=True
    units : Units, default=None
    is_merged : bool, default=True
        Whether identical rows are merged.
    takes_rows : bool, default=False
        Whether `X` may be Rows, or a Dask collection. Up to `FULL_BATCH_ROWS` of them are read as arrays.
    """
    rows = rows_to_fit(estimator, X, y, sample_weight, reset=units is None) if takes_rows else None
    if rows is not None:
        looked = Looked.at_numbers(rows, estimator.n_features_in_, draw_seed(estimator.random_state))
        if looked.counts.n > FULL_BATCH_ROWS:
            return _regression_sample(rows, looked, normalize, units)
        Y = numbers_of(looked.kept)
        X, y, sample_weight = _framed(estimator, looked.kept.X), Y[:, 0] if rows.columns.flat else Y, looked.kept.weight
    X, y, weight = read_regression(estimator, X, y, sample_weight, reset=units is None)
    flat = y.ndim == 1
    X, Y, weight = _empirical_measure(X, y.reshape(len(y), -1), weight, is_merged)
    if units is None:
        warn_of_scales(X)
        units = Units(Standardisation.of(Y, weight, normalize), flat)
    _require_outputs(units, Y.shape[1])
    _require_sizes(np.abs(X).max(), X.shape[1])
    return Table(X, units.standardisation.apply(Y), weight / weight.sum()), units


def _regression_sample(rows, looked, normalize, units):
    """Return a sample of rows as a Table with their stream, and the units."""
    X = looked.kept.X
    if units is None:
        warn_of_scales(X)
        units = Units(looked.found.units(normalize), rows.columns.flat)
    _require_outputs(units, len(looked.found.mean))
    _require_sizes(looked.counts.largest, X.shape[1])
    return _sample(looked, Stream.of_numbers(rows, looked, NumberTarget(units.standardisation))), units


def _sample(looked, stream):
    X, targets, weight = stream.table_of(looked.kept)
    return Table(X, targets, weight / weight.sum(), stream)


def _framed(estimator, X):
    """Return an array with the names of the features that the estimator has stored, if it has."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return X
    import pandas as pd

    return pd.DataFrame(X, columns=names)


def classification_table(
    estimator,
    X,
    y,
    sample_weight,
    *,
    class_weight=None,
    classes=None,
    known=None,
    is_merged=True,
    takes_rows=False,
):
    """Return the rows of a table with one target column per output, and the classes.

    The classes are those `known` from an earlier fit. Without one, `classes` may list more classes than `y` has. See
    `regression_table`.
    """
    rows = rows_to_fit(estimator, X, y, sample_weight, reset=known is None) if takes_rows else None
    if rows is not None:
        looked = Looked.at_labels(rows, estimator.n_features_in_, draw_seed(estimator.random_state))
        if looked.counts.n > FULL_BATCH_ROWS:
            return _classification_sample(rows, looked, class_weight, known)
        X, y, sample_weight = _framed(estimator, looked.kept.X), looked.kept.y, looked.kept.weight
    X, y, weight = read_classification(estimator, X, y, sample_weight, reset=known is None)
    if known is not None and classes is not None and not np.array_equal(np.unique(classes), known):
        raise ValueError(f"classes={classes!r} differ from those of the first call, {known.tolist()}.")
    if classes is not None:
        classes = np.unique(checked_labels(classes, "classes"))
    found, codes = encode_classes(y, weight, classes if known is None else known)
    weight = weights_of_classes(class_weight, found, codes, weight)
    X, codes, weight = _empirical_measure(X, codes[:, None], weight, is_merged)
    if known is None:
        warn_of_scales(X)
    _require_sizes(np.abs(X).max(), X.shape[1])
    return Table(X, one_hot(codes[:, 0].astype(int), len(found)), weight / weight.sum()), found


def _classification_sample(rows, looked, class_weight, known):
    """Return a sample of rows as a Table with their stream, and the classes."""
    X = looked.kept.X
    labels, weights = looked.found.labels()
    classes = encode_classes(labels, weights, known)[0]
    if known is None:
        warn_of_scales(X)
    _require_sizes(looked.counts.largest, X.shape[1])
    return _sample(looked, Stream.of_labels(rows, looked, LabelTarget(classes), class_weight)), classes


def _require_outputs(units, n_outputs):
    if n_outputs != len(units.standardisation.mean):
        raise ValueError(
            f"y has {n_outputs} columns, but the last fit had {len(units.standardisation.mean)}. Give as many, "
            "or use warm_start=False."
        )


def _require_sizes(largest, n_features):
    if largest > _LARGEST_INPUT * np.sqrt(n_features):
        raise ValueError(
            f"X has an entry of size {largest:.1e}, next to which the constant input of 1 is lost in rounding. "
            "Standardise the columns first: make_pipeline(StandardScaler(), ...)."
        )


def _empirical_measure(X, Y, weight, is_merged=True):
    """Return the rows of positive weight; if they are merged, the distinct ones, sorted, with their total weights.

    If they are merged, weights, repeated rows and the order of rows give exactly the same result; otherwise training
    would amplify differences in rounding.
    """
    kept = weight > 0
    if not is_merged:
        return (X, Y, weight) if kept.all() else (X[kept], Y[kept], weight[kept])
    rows, which = np.unique(np.hstack([X, Y])[kept], axis=0, return_inverse=True)
    d = X.shape[1]
    return rows[:, :d], rows[:, d:], np.bincount(which.ravel(), weights=weight[kept])
