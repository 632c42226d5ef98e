"""Jobs of a comparison: one fit each, with a key that says what it depends on, and the form of its result."""

import inspect
import json
import pickle
import platform
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
from joblib.externals.loky.backend.reduction import dumps
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

import sklearn_ltdl
from sklearn_ltdl.running._journal import conforms
from sklearn_ltdl.study._models import is_given, predict
from sklearn_ltdl.tables._kinds import rows_of
from sklearn_ltdl.tables._pipeline import make_table_pipeline


class Data(NamedTuple):
    """What all jobs share.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_rows, n_columns)
    y : ndarray of shape (n_rows,)
        Numbers, or codes of the classes.
    weight : ndarray of shape (n_rows,) or None
    task : {'regression', 'classification'}
    n_classes : int or None
    """

    X: object
    y: np.ndarray
    weight: np.ndarray | None
    task: str
    n_classes: int | None


def run(data, function, *arguments):
    """Return what a job finds, a dict of plain values with the key 'failure'.

    On one thread, lest the bits depend on the number of cores, and so on the machine and on `n_jobs`.
    """
    with threadpool_limits(1):
        return function(data, *arguments)


def failed(reason, missing=None):
    """Return the result of a fit that failed; `missing` says what it was not done for, if it can be done again."""
    return {
        "prediction": None, "fit_seconds": 0.0, "predict_seconds": 0.0, "notes": [], "failure": reason,
        "explained": None, "missing": missing,
    }  # fmt: skip


def fit_and_predict(data, method, seed, train, test, explain=None):
    """Fit a method on the training rows and predict the others; an exception of the model is a reason.

    Parameters
    ----------
    data : Data
    method : Method
    seed : int
    train, test : ndarray
    explain : callable (pipeline, X_test, y_test) -> dict, default=None
        What else to say of the fitted pipeline.

    Returns
    -------
    result : dict
        Of plain values but for the prediction, an array as of `as_array` (None if there is a failure): fit_seconds,
        predict_seconds, notes as pairs of a code and a text, failure and explained.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        try:
            model = make_table_pipeline(method.build(data.task, seed))
            model.fit(rows_of(data.X, train), data.y[train], **_weights(model[-1], data.weight, train))
            middle = time.perf_counter()
            prediction = np.asarray(predict(model, rows_of(data.X, test), data.task, data.n_classes), dtype=float)
            end = time.perf_counter()
            expected = (len(test),) if data.n_classes is None else (len(test), data.n_classes)
            if prediction.shape != expected:
                raise ValueError(f"expected predictions of shape {expected}, got {prediction.shape}")
            if not _is_usable(prediction):
                raise ArithmeticError("the predictions are not finite numbers")
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return failed(reason) | {"fit_seconds": time.perf_counter() - start}
    notes = [
        [warning.category.__name__, f"{warning.category.__name__}: {' '.join(str(warning.message).split())}"]
        for warning in caught
        if issubclass(warning.category, UserWarning | RuntimeWarning)
    ]
    solver = getattr(model[-1], "solver_", "")
    if "nystroem" in solver:
        notes.append([solver, f"{solver}: fitted on a subsample of centres"])
    return {
        "prediction": as_array(prediction, data.n_classes),
        "fit_seconds": middle - start,
        "predict_seconds": end - middle,
        "notes": [list(note) for note in dict.fromkeys(map(tuple, notes))],
        "failure": None,
        "explained": None if explain is None else _explained(explain, model, rows_of(data.X, test), data.y[test]),
    }


def as_array(prediction, n_classes):
    """Return predictions as an array: of float64, or of float32 for probabilities, of which there may be many."""
    return None if prediction is None else np.asarray(prediction, dtype=float if n_classes is None else np.float32)


def as_plain(result):
    """Return a result whose prediction is a list, as JSON takes it; `as_array` is the way back, bit by bit."""
    prediction = result.get("prediction")
    return result if prediction is None else result | {"prediction": prediction.tolist()}


def _is_usable(prediction):
    """Return whether squared errors of predictions are finite numbers."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.square(prediction, dtype=float).sum()))


def finite(result):
    """Return plain values that JSON can hold, or raise a ValueError now and not when they are written."""
    json.dumps(result, allow_nan=False)
    return result


def is_fit(n_rows, n_classes, explained, result):
    """Return whether a result, as a journal holds it, is that of `fit_and_predict` or of a job that was stopped.

    Parameters
    ----------
    n_rows : int
        Rows that are predicted.
    n_classes : int or None
        None for numbers.
    explained : object
        Form of what else is said of the fitted pipeline, None for nothing.
    result : object
        Of plain values.
    """
    done = {
        "prediction": [float if n_classes is None else [float] * n_classes] * n_rows,
        "fit_seconds": seconds,
        "predict_seconds": seconds,
        "notes": [[str, str], ...],
        "failure": None,
        "explained": None if explained is None else (explained, {"failure": str}),
    }
    return is_stopped(result) or (conforms(result, done) and _is_usable(result["prediction"]))


def is_stopped(result):
    """Return whether a result, as a journal holds it, is that of a job that came to its limit in time."""
    return conforms(
        result,
        {
            "prediction": None, "fit_seconds": seconds, "predict_seconds": seconds, "notes": [[str, str], ...],
            "failure": str, "explained": None, "missing": None, "time_limit": seconds,
        },
    )  # fmt: skip


def seconds(value):
    """Return whether a plain value is a time."""
    return conforms(value, float) and value >= 0


def may_change(result):
    """Return whether a job failed for what may be otherwise in another run: its code, packages, memory."""
    return bool(result.get("failure")) and "time_limit" not in result


def _weights(estimator, weight, train):
    if weight is None:
        return {}
    if not has_fit_parameter(estimator, "sample_weight"):
        raise TypeError(f"{type(estimator).__name__}.fit takes no sample_weight; leave this model or the weights out")
    return {"estimator__sample_weight": weight[train]}


def _explained(explain, model, X, y):
    """Return what a fitted pipeline has to say beside its predictions; it is not worth a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return finite(explain(model, X, y))
        except Exception as error:
            return {"failure": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def versions():
    """Return the versions on which results depend."""
    packages = "scikit-learn", "numpy", "scipy", "jax", "numba"
    return {
        "python": platform.python_version(),
        "sklearn_ltdl": sklearn_ltdl.__version__,
        **{package: version(package) for package in packages},
    }


def identity(name, method):
    """Return what tells a method from another: its name, and the settings of an estimator that was given."""
    if not is_given(method):
        return name
    estimator = method.build.args[0]
    described = [type(estimator).__module__, type(estimator).__qualname__, estimator.get_params(), _code(estimator)]
    try:
        return joblib.hash(described)
    except (pickle.PicklingError, AttributeError, TypeError):  # a lambda, which loky sends to workers by value
        pass
    try:
        return joblib.hash(bytes(dumps(described)))
    except Exception as error:
        raise TypeError(
            f"also: {name!r} cannot be pickled, as worker processes need ({' '.join(str(error).split())}); give it "
            "parameters that are plain values, or functions and classes of a module."
        ) from error


def _code(estimator):
    """Return what the results of an estimator depend on beside its parameters: releases of packages, or source."""
    found = {}
    for part in [estimator, *estimator.get_params().values()]:
        for kind in type(part).__mro__ if hasattr(part, "get_params") else ():
            root = sys.modules.get(kind.__module__.partition(".")[0])
            found[kind.__module__, kind.__qualname__] = getattr(root, "__version__", None) or _source(kind)
    return sorted(found.items())


def _source(kind):
    """Return the source of a class of the user's: of all of its module, whose other functions it may call."""
    try:
        if kind.__module__ in ("builtins", "__main__"):
            return inspect.getsource(kind)
        return Path(inspect.getfile(kind)).read_text(encoding="utf-8", errors="replace")
    except (TypeError, OSError):  # builtin, compiled, or typed in
        return ""
