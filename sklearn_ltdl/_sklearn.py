"""The only file that imports private names of scikit-learn, and functions that all estimators share."""

import re
import sys
import warnings
from contextlib import contextmanager
from functools import lru_cache, wraps
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, InvalidParameterError, StrOptions
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils.validation import validate_data

if TYPE_CHECKING:  # scikit-learn has no types; these decorators return what they were given, with its signature
    _F = TypeVar("_F")

    class _Decorator(Protocol):
        def __call__(self, function: _F, /) -> _F: ...

    class CallbackSupportMixin:
        _init_callback_context: Any

    def _fit_context(*, prefer_skip_nested_validation: bool) -> _Decorator: ...
    def validate_params(constraints: dict[str, Any], *, prefer_skip_nested_validation: bool) -> _Decorator: ...
    def available_if(check: Any) -> _Decorator: ...
    def with_callbacks(method: _F) -> _F: ...
else:
    from sklearn.base import _fit_context
    from sklearn.utils._param_validation import validate_params
    from sklearn.utils.metaestimators import available_if

    try:
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:  # scikit-learn 1.8 has no callbacks

        class CallbackSupportMixin:
            """Stand-in for the class that takes callbacks."""

        def with_callbacks(method):
            """Return the method at the same depth in the stack as with scikit-learn's decorator."""

            @wraps(method)
            def fit(*args, **kwargs):
                return method(*args, **kwargs)

            return fit


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "NameIn",
    "Registered",
    "StrOptions",
    "_fit_context",
    "available_if",
    "checked_rows",
    "draw_seed",
    "fit_tasks",
    "refuse_masked",
    "remember_columns",
    "validate_params",
    "warn",
    "warn_of_scales",
    "with_callbacks",
]


_NOT_THE_USER = {"sklearn_ltdl", "sklearn", "joblib", "numpy", "contextlib"}  # whose frames a warning passes over


class Interval(_Interval):
    """Constraint: a number in an interval that computations can represent; True and False are not accepted.

    Whole numbers are at most 2**31 - 1. The absolute value of other numbers is 0, if the interval contains 0, or from
    1e-300 to 1e300.
    """

    def __init__(self, type, left, right, *, closed):
        if right is None:
            right = 2**31 - 1 if type is Integral else 1e300
            closed = {"left": "both", "neither": "right"}[closed]
        if type is Real and left == 0 and closed in ("right", "neither"):
            left, closed = 1e-300, {"right": "both", "neither": "left"}[closed]
        super().__init__(type, left, right, closed=closed)

    def is_satisfied_by(self, val):
        """Return whether a value is such a number."""
        if isinstance(val, bool | np.bool_) or not super().is_satisfied_by(val):
            return False
        return abs(val) < 2**63 if isinstance(val, Integral) else val == 0 or abs(val) >= 1e-300

    def __str__(self):
        return super().__str__() + (" with 0 or at least 1e-300 in size" if self.type is Real and 0 in self else "")


class NameIn(StrOptions):
    """Constraint: a name in a registry; the registry is read at each check, so later additions count."""

    def __init__(self, registry) -> None:
        super().__init__(registry.keys())


class Registered(NameIn):
    """Constraint: a name in a registry, or an object like those in it, with all members that are needed.

    Parameters
    ----------
    registry : Registry
        Read when the parameter is checked.
    needed : tuple of str, or callable object -> tuple of str
    of_labels : bool or None
        Reject names of losses for the other kind of target: losses for numbers if True, losses for labels if False.
    """

    def __init__(self, registry, needed, of_labels=None):
        super().__init__(registry)
        self.registry = registry
        self.needed = needed
        self.of_labels = of_labels

    def is_satisfied_by(self, value):
        """Return whether the value is suitable; raise an error if an object of the right kind lacks a member."""
        if (isinstance(value, str) and value not in self._names()) or isinstance(value, type):
            return False
        item = self.registry.resolve(value)
        needed = self.needed(item) if callable(self.needed) else self.needed
        lacking = [name for name in needed if not (hasattr(type(item), name) or hasattr(item, name))]
        if lacking and (isinstance(value, str) or hasattr(item, "value")):
            raise InvalidParameterError(
                f"The {self.registry.kind!r} parameter, {value!r}, has no {' and no '.join(lacking)}, which this "
                f"estimator needs; give its class {', '.join(f'`{name}`' for name in lacking)}."
            )
        if not lacking and not hasattr(type(item), "_fields"):
            raise InvalidParameterError(
                f"The {self.registry.kind!r} parameter, {value!r}, is not a NamedTuple, which compiled code needs; "
                f"define its class as `class {type(item).__name__}(NamedTuple)`."
            )
        return not lacking

    def _names(self):
        """Return the accepted names; a loss without `of_labels` is accepted for both kinds of target."""
        return [
            name
            for name, item in self.registry.items()
            if self.of_labels is None or getattr(item, "of_labels", self.of_labels) == self.of_labels
        ]

    def __str__(self):
        return f"a str among {set(self._names())} or {_an(self.registry.kind)} object"


def _an(noun):
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def warn(message, category=UserWarning):
    """Warn at the user's line: the first frame outside this package and outside the libraries that call it."""
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level if frame is not None else 2)


def generator_of(random_state):
    """Return the RandomState that `random_state` stands for; an error names the parameter."""
    try:
        return check_random_state(random_state)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"random_state is {random_state!r}; expected None, a whole number from 0 to 2**32 - 1, or a RandomState."
        ) from error


def draw_seed(random_state):
    """Return an integer seed in [0, 2**31): the same for the same `random_state`, an int or a RandomState."""
    draw = _drawn_seed if isinstance(random_state, Integral) else _drawn_seed.__wrapped__
    return draw(random_state)


@lru_cache(maxsize=64)  # to set up a RandomState takes as long as a small fit
def _drawn_seed(random_state):
    return int(generator_of(random_state).randint(np.iinfo(np.int32).max))


def check_number(name, value, kind, low):
    """Raise an error that names a parameter if it is not a finite number of a kind, Real or Integral, above `low`."""
    if not isinstance(value, kind) or isinstance(value, bool | np.bool_) or not low < value < np.inf:
        what = "a whole number" if kind is Integral else "a finite number"
        raise ValueError(f"{name} must be {what} above {low}; got {value!r}.")


def checked_rows(estimator, X, y="no_validation", *, reset=False, **layout):
    """Return rows in float64, with targets if they are given; an error names a column that is not numeric.

    Parameters
    ----------
    estimator : estimator
        Stores the number and names of the features if `reset`; otherwise they are compared with the stored ones.
    X : array-like or sparse matrix of shape (n_samples, n_features)
    y : array-like, default='no_validation'
    reset : bool, default=False
    **layout : dict
        Further keywords of scikit-learn's `check_array` and `check_X_y`.
    """
    refuse_masked(X, "X")
    _refuse_dates(X)
    _refuse_blocks(estimator, X)
    if sparse.issparse(X):
        _refuse_malformed(X)
    try:
        return validate_data(estimator, X, y, reset=reset, dtype=np.float64, **layout)
    except (TypeError, ValueError) as error:
        column, value = _first_text(X)
        if value is None and re.search(r"\b[Xy]\b", str(error)):
            raise
        if value is None:
            both = "X and y" if "inconsistent" in str(error) else "X"
            raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{both}: {error}") from error
        transformer = not (is_classifier(estimator) or is_regressor(estimator))
        remedy = "Encode it" if transformer else f"Use make_table_pipeline({type(estimator).__name__}())"
        raise ValueError(
            f"Column {column!r} of X holds text such as {value!r}; {type(estimator).__name__} takes numbers. {remedy}, "
            "or leave the column out."
        ) from error


def remember_columns(estimator, X, *, reset=True):
    """Store the number and names of the features on an estimator, or compare them, without a look at their values."""
    validate_data(estimator, X, reset=reset, skip_check_array=True)


UNEVEN = 500.0  # a warning is given above this ratio of the largest to the least range of the columns
FAINT = 1e-3  # a warning is given if the largest range is below this, next to a constant input of 1


def warn_of_scales(X, has_constant=True):
    """Warn about columns that have almost no effect on a fixed kernel or on the first step of a network.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    has_constant : bool, default=True
        Whether the model has a constant input of 1 in addition to the columns.
    """
    if len(X) < 2:
        return
    low, high = X.min(axis=0), X.max(axis=0)
    spread = high - low
    moving = np.flatnonzero(spread > 1e-13 * np.maximum(np.abs(low), np.abs(high)))
    if not len(moving):
        return
    most, least = moving[np.argmax(spread[moving])], moving[np.argmin(spread[moving])]
    if spread[most] > UNEVEN * spread[least]:
        warn(
            f"The columns of X differ in scale by a factor of {spread[most] / spread[least]:.1e} (columns {most} and "
            f"{least}); the small ones have almost no effect on the model. Scale X, for example with StandardScaler."
        )
    elif has_constant and spread[most] < FAINT:
        warn(
            f"The columns of X have ranges of at most {spread[most]:.1e}, which have almost no effect next to the "
            "model's constant input of 1. Scale X, for example with StandardScaler."
        )


def refuse_masked(values, name):
    """Raise an error if entries of an array are masked, because masked values are not data."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array with {np.ma.count_masked(values)} masked entries; expected values. Fill them "
            f"({name}.filled(value)), or leave their rows out."
        )


def _refuse_blocks(estimator, X):
    """Raise an error for data that are read block by block, which would be read into memory here without a word."""
    kind = "Rows" if hasattr(X, "handles") else "a Dask collection" if hasattr(X, "__dask_graph__") else None
    if kind is None:
        return
    asked = hasattr(estimator, "n_features_in_")
    remedy = {
        ("Rows", False): "give an array, or *rows.sample(n)",
        ("Rows", True): "give an array, or one block after the other: for X, y, weight in rows",
        ("a Dask collection", False): "give an array, such as X.compute() of some rows",
        ("a Dask collection", True): "give an array, or X.map_blocks(model.predict)",
    }[kind, asked]
    raise TypeError(f"X is {kind}, which {type(estimator).__name__} does not take here; {remedy}.")


def _refuse_malformed(X):
    """Raise an error for a sparse matrix with indices out of range, which compiled code would follow."""
    try:
        if X.format in ("csr", "csc", "bsr"):
            _check_pointers(X)
        elif X.format == "coo":
            sparse.coo_array((X.data, X.coords), shape=X.shape)  # looks at every index
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"X is a sparse matrix in {X.format} format whose indices do not fit its shape {X.shape}: {error}. "
            "Rebuild it from its entries, for example by scipy.sparse.coo_array((values, (rows, columns)), shape=...)."
        ) from error


def _check_pointers(X):
    """Raise a ValueError unless the pointers rise from 0 to at most the number of entries and indices are in range.

    SciPy's `check_format(full_check=True)` checks neither of them if the last pointer is 0.
    """
    blocks = X.blocksize if X.format == "bsr" else (1, 1)
    shape = [side // size for side, size in zip(X.shape, blocks)]
    n_lines, n_across = shape if X.format != "csc" else shape[::-1]
    if X.indices.dtype.kind not in "iu" or X.indptr.dtype.kind not in "iu" or X.indices.ndim != 1:
        raise ValueError("indices and indptr must be one-dimensional arrays of integers")
    if len(X.indices) != len(X.data):
        raise ValueError(f"{len(X.indices)} indices for {len(X.data)} entries")
    if X.indptr.shape != (n_lines + 1,) or X.indptr[0] != 0 or np.any(X.indptr[1:] < X.indptr[:-1]):
        raise ValueError(f"indptr must have {n_lines + 1} numbers that start at 0 and do not fall")
    if X.indptr[-1] > len(X.indices):
        raise ValueError(f"indptr ends at {X.indptr[-1]}, beyond {len(X.indices)} entries")
    if len(X.indices) and (X.indices.min() < 0 or X.indices.max() >= n_across):
        raise ValueError(f"indices from {X.indices.min()} to {X.indices.max()}, expected 0 to {n_across - 1}")


def _refuse_dates(X):
    """Raise an error for columns of dates, which NumPy converts to nanoseconds."""
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        kinds = {name: getattr(dtype, "kind", "") for name, dtype in zip(X.columns, X.dtypes)}
    else:
        kinds = {"": getattr(getattr(X, "dtype", None), "kind", "")}
    for name, kind in kinds.items():
        if kind in ("m", "M"):
            column = f"Column {name!r} of X" if name != "" else "X"
            raise ValueError(
                f"{column} holds dates or durations; expected numbers. Convert them, for example to days since a date, "
                "or use make_table_pipeline, which reads dates."
            )


def _first_text(X):
    """Return the name or position of the first column that holds text, and its text; None, None if there is none."""
    if getattr(X, "ndim", 2) != 2 or not hasattr(X, "__len__") or hasattr(X, "nnz"):
        return None, None
    if hasattr(X, "columns"):
        columns = ((name, X[name]) for name in X.columns)
    else:
        try:
            columns = enumerate(np.asarray(X, dtype=object).T)
        except ValueError:  # rows of different lengths
            return None, None
    for name, values in columns:
        for value in np.asarray(values, dtype=object).ravel():
            if isinstance(value, str | bytes):
                try:
                    float(value)
                except ValueError:
                    return name, value
    return None, None


@contextmanager
def fit_tasks(estimator, X, y, sample_weight, *, attributes, max_subtasks):
    """Yield a function that calls the callbacks of an estimator after a block of steps, or None if it has none.

    The yielded function returns whether to stop.

    Parameters
    ----------
    estimator : estimator
        Its `fit` is wrapped by `with_callbacks`.
    X, y, sample_weight : array-like
        The arguments of `fit`.
    attributes : callable
        Takes the arguments of the yielded function, and returns the fitted attributes with which a copy of the
        estimator predicts. It is called only if a callback asks for such a copy.
    max_subtasks : int
        Largest number of blocks.
    """
    if not getattr(estimator, "_skl_callbacks", None):
        yield None
        return
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    shown = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
    fit = estimator._init_callback_context(max_subtasks=max_subtasks)
    fit.call_on_fit_task_begin(**shown)
    last = ()

    def tell(*state):
        nonlocal last
        last = state
        block = fit.subcontext(task_name="block of steps")
        block.call_on_fit_task_begin(**shown)
        return block.call_on_fit_task_end(**shown, reconstruction_attributes=lambda: attributes(*state))

    yield tell
    fit.call_on_fit_task_end(**shown, reconstruction_attributes=lambda: attributes(*last))
