"""Targets, labels and weights: how they are validated and encoded for the solvers, and probabilities from scores."""

from decimal import Decimal
from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import issparse
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from sklearn_ltdl._sklearn import checked_rows, refuse_masked
from sklearn_ltdl.losses import Logistic, Multinomial, probabilities, total

LARGEST, SMALLEST = 1e100, 1e-100  # of a target: beyond, squares times weights and curvatures overflow or vanish
NEGLIGIBLE = 1e-100  # of the largest weight
LEAST_SCORE = 0.03  # of a class, below which its logarithm is that of this score


def read_regression(estimator, X, y, sample_weight=None, *, reset=True, **layout):
    """Return the rows of a regression, float64 targets of the shape of `y`, and weights of shape (n_samples,).

    Parameters
    ----------
    estimator : estimator
        Stores the number and names of features; if `reset` is false, they are compared with the stored ones.
    X, y, sample_weight : array-like
        The user's arguments.
    reset : bool, default=True
    **layout : dict
        Keywords of scikit-learn's `check_array` for `X`.
    """
    y = None if y is None else checked_numbers(y)
    X, y = checked_rows(estimator, X, y, reset=reset, multi_output=True, y_numeric=True, **layout)
    return X, y, checked_weights(sample_weight, X.shape[0])


def read_classification(estimator, X, y, sample_weight=None, *, reset=True, **layout):
    """Return the rows of a classification, their labels, and weights of shape (n_samples,). See `read_regression`."""
    y = None if y is None else checked_labels(y)
    X, y = checked_rows(estimator, X, y, reset=reset, **layout)
    try:
        if y.dtype.kind not in "bui":  # whole numbers are classes
            check_classification_targets(y)
    except ValueError as error:
        raise ValueError(f"y: {error}") from error
    return X, y, checked_weights(sample_weight, X.shape[0])


def checked_target(y, name="y"):
    """Return non-integer numbers as float64, whole numbers as they are, and anything else as labels."""
    array = _array(y, name)
    if array.dtype.kind == "f" or (array.dtype.kind == "O" and not any(isinstance(v, str | bytes) for v in array.flat)):
        return checked_numbers(array, name)
    return checked_labels(array, name)


def checked_numbers(y, name="y"):
    """Return float64 numbers whose squares neither overflow nor vanish, of the shape of `y`."""
    numbers = _numbers(_array(y, name), name)
    for column in np.abs(numbers).reshape(len(numbers), -1).T if numbers.ndim else ():
        largest = column.max(initial=0.0)
        if largest > LARGEST or 0 < largest < SMALLEST:
            verb = "overflow" if largest > LARGEST else "vanish"
            raise ValueError(
                f"{name} has numbers of size {largest:.1e}, whose products with weights and slopes {verb}. Pass it in "
                f"another unit, for example {name} / {largest:.0e}."
            )
    return numbers


def checked_labels(y, name="y"):
    """Return labels as an array, without missing values."""
    labels = _array(y, name)
    if labels.dtype.kind in "mM":
        raise ValueError(f"{name} holds dates or durations ({labels.dtype}), not classes. Convert them to text.")
    if labels.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {labels.dtype}; expected classes.")
    if labels.dtype.kind == "f":
        _refuse_infinite(labels, name)
    elif labels.dtype.kind == "O":
        _refuse_infinite(np.where(is_missing(labels), np.nan, 0.0), name)
        _refuse_objects(labels, name)
    return labels


def _refuse_objects(labels, name):
    """Raise an error if objects are not all texts: scikit-learn's scores and splits know no other objects."""
    for row, label in enumerate(labels.flat):
        if not isinstance(label, str | bytes):
            known = isinstance(label, bool | np.bool_ | Real)
            cast = "astype(str)" if any(isinstance(other, str) for other in labels.flat) or not known else "astype(int)"
            raise ValueError(
                f"Unknown label type: {name} is an array of objects and holds {label!r} of type {type(label).__name__} "
                f"in row {row}; expected labels of one type: whole numbers, booleans or text. Try {name}.{cast}."
            )


def checked_weights(sample_weight, n_samples, name="sample_weight"):
    """Return weights of shape (n_samples,), ones for None.

    Only ratios of weights matter to a fit. If their sums would overflow or vanish, they are divided by the largest, and
    weights below 1e-100 of it are 0, since quotients of such shares overflow.
    """
    if sample_weight is None:
        return np.ones(n_samples)
    if isinstance(sample_weight, Real) and not isinstance(sample_weight, bool):
        sample_weight = np.full(n_samples, sample_weight)
    weight = _numbers(_array(sample_weight, name), name)
    if weight.shape != (n_samples,):
        raise ValueError(f"{name} has shape {weight.shape}; expected one weight per row, shape ({n_samples},).")
    if np.any(weight < 0):
        row = int(np.argmax(weight < 0))
        raise ValueError(f"Negative values in data passed to `{name}`: {weight[row]:g} in row {row}. Use 0 or more.")
    if not weight.any():
        raise ValueError(f"{name} is zero for every row; give at least one row a positive weight.")
    return _in_ratio(weight)


def _in_ratio(weight):
    """Return weights with finite, positive sums and squares, divided by the largest weight if necessary."""
    largest = weight.max()
    if not SMALLEST <= largest <= LARGEST:
        weight, largest = weight / largest, 1.0
    vanishing = weight < NEGLIGIBLE * largest
    return np.where(vanishing, 0.0, weight) if vanishing.any() else weight


def counted(weight):
    """Return the number of rows: the sum of the weights if they are counts, else the number of positive weights."""
    total = weight.sum()
    counts = total <= 2.0**53 and np.array_equal(weight, np.round(weight))  # beyond, all float64 are whole
    return float(total if counts else np.count_nonzero(weight))


def checked_list(values, name, length=None, *, numbers=False):
    """Return a list of values, of a length if it is given, as an array of one dimension."""
    array = _array(values, name)
    if array.ndim != 1 or not len(array) or length not in (None, len(array)):
        what = "a list of values" if length is None else f"a list of {length} values"
        raise ValueError(f"{name} has shape {array.shape}; expected {what}; got {values!r}.")
    return _numbers(array, name) if numbers else array


def is_missing(values):
    """Return a mask of the missing values in an array: NaN, None, and pandas' NA and NaT."""
    if values.dtype.kind != "O":
        return values != values
    missing = [v is None or type(v).__name__ in ("NAType", "NaTType") or _is_nan(v) for v in values.flat]
    return np.array(missing, dtype=bool).reshape(values.shape)


def _is_nan(value):
    return isinstance(value, Real | Decimal | np.generic) and bool(value != value)


def _array(values, name):
    """Return values as an array, of dtype object if they have several types."""
    refuse_masked(values, name)
    if issparse(values):
        raise TypeError(f"{name} is sparse, but dense data is required; give {name}.toarray().")
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} has rows of different lengths, or values that are arrays: {error}") from error


def _numbers(array, name):
    """Return finite float64 numbers."""
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {array.dtype}; expected real numbers.")
    if array.dtype.kind == "O":
        missing = is_missing(array)
        numbers = np.full(array.shape, np.nan)
        numbers[~missing] = [_number(array[tuple(where)], where, name) for where in np.argwhere(~missing)]
    elif array.dtype.kind in "biuf":
        with np.errstate(over="ignore"):  # of long doubles, which become infinite
            numbers = array.astype(np.float64)
    else:
        found = "dates or durations" if array.dtype.kind in "mM" else "text" if array.dtype.kind in "US" else "records"
        example = f" such as {array.flat[0]!s}" if array.size else ""
        raise ValueError(f"{name} holds {found}{example} (dtype {array.dtype}); expected numbers. Convert them first.")
    _refuse_infinite(numbers, name)
    return numbers


def _number(value, where, name):
    try:
        if isinstance(value, np.datetime64 | np.timedelta64):
            raise TypeError
        return float(value)
    except OverflowError:
        return np.inf
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} holds {value!r} of type {type(value).__name__} in row {where[0] if len(where) else 0}; expected "
            "a number. Convert it, or leave its row out."
        ) from None


def _refuse_infinite(numbers, name):
    """Raise an error that names the first row with a value that is not finite."""
    with np.errstate(over="ignore"):
        finite = np.isfinite(numbers.astype(np.float64)) if numbers.dtype.itemsize > 8 else np.isfinite(numbers)
    if np.all(finite):
        return
    rows = np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1)) if finite.ndim else np.zeros(1, int)
    missing = np.isnan(numbers[rows[0]] if finite.ndim else numbers).any()
    what = "NaN" if missing else "infinity or a value too large for dtype('float64')"
    raise ValueError(
        f"Input {name} contains {what} in row {rows[0]}, and in {len(rows)} rows in total. Leave these rows out, or "
        "correct their values."
    )


class Standardisation(NamedTuple):
    """Weighted mean and standard deviation of the target's columns, and which are constant; shapes (n_outputs,)."""

    mean: np.ndarray
    scale: np.ndarray
    constant: np.ndarray

    @classmethod
    def of(cls, Y, weight, enabled=True):
        """Return the moments of `Y` of shape (n_samples, n_outputs); (0, 1) if not enabled, scale 1 if constant."""
        if not enabled:
            return cls(np.zeros(Y.shape[1]), np.ones(Y.shape[1]), np.zeros(Y.shape[1], bool))
        mean = np.average(Y, axis=0, weights=weight)
        scale = np.sqrt(np.average((Y - mean) ** 2, axis=0, weights=weight))
        constant = scale <= 10 * np.finfo(float).eps * np.abs(Y).max(axis=0)
        return cls(np.where(constant, Y[np.argmax(weight)], mean), np.where(constant, 1.0, scale), constant)

    def apply(self, Y):
        """Return the standardised columns."""
        return (Y - self.mean) / self.scale

    def undo(self, Z):
        """Return columns in the target's units; a constant column is exact, and infinite ends of intervals stay."""
        return np.where(self.constant & np.isfinite(Z), 0.0, Z * self.scale) + self.mean


def encode_classes(y, weight, classes=None):
    """Return the sorted classes and the code of each row; raise an error if rows of positive weight have one class.

    The classes are those of all rows, including rows of weight 0, as in scikit-learn. `classes` may list these and
    more.
    """
    found, codes = _coded(y)
    if classes is not None:
        unknown = np.setdiff1d(found, classes)
        if len(unknown):
            raise ValueError(
                f"y has classes {unknown.tolist()}, which are not among {classes.tolist()}. Pass all classes "
                "to the first fit, or to the first partial_fit as `classes`."
            )
        codes = np.searchsorted(classes, found)[codes]
    present = np.flatnonzero(np.bincount(codes, None if np.all(weight > 0) else weight > 0))
    known = found if classes is None else classes
    if len(present if classes is None else known) == 1:
        raise ValueError(
            f"y has one class, {known[present].tolist()[0]!r}, among the rows of positive weight; a classifier needs "
            "rows of at least two classes."
        )
    return known, codes


FEW = 1000  # whole numbers up to so far apart are counted, not sorted


def _coded(y):
    """Return the sorted labels, and the code of each row: its place among them."""
    if y.ndim > 1 or y.dtype.kind not in "bui" or not len(y) or int(y.max()) - int(y.min()) >= FEW:
        return np.unique(y, return_inverse=True)
    whole = y.astype(np.int64)  # of large unsigned numbers, the differences
    low = whole[np.argmin(y)]
    places = whole - low
    present = np.bincount(places) > 0
    return (np.flatnonzero(present) + low).astype(y.dtype), (np.cumsum(present) - 1)[places]


def weights_of_classes(class_weight, classes, codes, weight):
    """Return the weights of rows times the factors of their classes; only ratios matter."""
    if class_weight is None:
        return weight
    if class_weight == "balanced":  # uses the sample weights, so that they act as repetitions
        totals = np.bincount(codes, weight, minlength=len(classes))
        factors = np.divide(totals.max(), totals, where=totals > 0, out=np.ones(len(classes)))
    else:
        for label, factor in class_weight.items():
            if not isinstance(factor, Real) or isinstance(factor, bool | np.bool_) or not 0 < factor < np.inf:
                raise ValueError(
                    f"class_weight has {factor!r} for class {label!r}; expected a positive, finite number. To ignore "
                    "rows, use sample_weight=0."
                )
        factors = compute_class_weight(class_weight, classes=classes, y=classes[codes])
    return _in_ratio(weight * _in_ratio(factors)[codes])


def one_hot(codes, n_classes):
    """Return targets of shape (n_samples, n_classes), or (n_samples, 1) with labels 0 and 1 for two classes."""
    return codes[:, None].astype(float) if n_classes == 2 else np.eye(n_classes)[codes]


def most_likely(classes, scores):
    """Return the class with the highest score; for two classes, the sign of the single score decides."""
    return classes[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)]


def classification_loss(n_classes):
    """Return the loss that takes the targets of `one_hot`."""
    return Logistic() if n_classes == 2 else Multinomial()


def softened(targets, total):
    """Return the targets of a calibration on `total` rows, as if each class had one more row.

    See Platt (1999), section 2.2. Without this, rows that are all predicted correctly would make the probabilities
    certain. `targets` are returned by `one_hot`.
    """
    return (total * targets + 1.0) / (total + max(2, targets.shape[1]))


def log_odds(scores, inverse_temperature, power):
    r"""Return scores as log-odds, up to a constant per row, which increase with the scores.

    With inverse temperature t and power q, :math:`p_c \propto \max(s_c, 0.03)^q e^{t s_c}`. For two classes, which have
    one score, there is no power.
    """
    parts = _parts(scores)
    return np.tensordot([inverse_temperature, power][: len(parts)], parts, 1)


def fit_log_odds(scores, targets, weight):
    """Return the inverse temperature and the power of `log_odds` that minimise the log loss.

    The factor alone is temperature scaling (Guo et al. 2017). Scores of least squares estimate probabilities: most
    classes of a row have a score near 0, and with the factor alone each has a share that is far too large.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, 1) or (n_samples, n_classes)
        Scores of held-out rows: leave-one-out scores, or scores on a validation set.
    targets : ndarray of the same shape, as returned by `one_hot`
    weight : ndarray of shape (n_samples,)
    """
    loss, parts, share = classification_loss(max(2, scores.shape[1])), _parts(scores), weight / weight.sum()

    def log_loss(coefficients):
        z = np.tensordot(coefficients, parts, 1)
        slope = share[:, None] * loss.derivative(z, targets)
        return total(loss, z, targets, share), np.tensordot(parts, slope)

    start, bounds = np.array([1.0, 0.0])[: len(parts)], [(0.01, 100.0), (0.0, 100.0)][: len(parts)]
    best = minimize(
        log_loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9}
    ).x
    low, high = np.transpose(bounds)
    for _ in range(3):  # steps of Newton's method, so that rounding in the weights does not change the last digits
        slope, curvature = log_loss(best)[1], _curvature(np.tensordot(best, parts, 1), parts, share)
        free = np.where(slope > 0, best > low, best < high)  # else the bound is where it goes
        # If all scores are 0 or 1, both parts are the same, and only their sum is moved.
        best[free] -= np.linalg.lstsq(curvature[np.ix_(free, free)], slope[free], rcond=1e-8)[0]
        best = np.clip(best, low, high)
    return float(best[0]), float(best[1]) if len(best) > 1 else 0.0


def _curvature(z, parts, share):
    """Return the second derivatives of the mean log loss: the mean covariance of the parts over the classes."""
    P = probabilities(z)
    if z.shape[1] == 1:
        parts = np.concatenate([0.0 * parts, parts], axis=2)
    centred = parts - np.sum(P * parts, axis=2, keepdims=True)
    return np.tensordot(share[:, None] * P * centred, centred, ([1, 2], [1, 2]))


def _parts(scores):
    """Return what the log-odds are sums of, of shape (1, n_samples, 1) or (2, n_samples, n_classes)."""
    if scores.shape[1] == 1:
        return scores[None]
    return np.stack([scores, np.log(np.maximum(scores, LEAST_SCORE))])
