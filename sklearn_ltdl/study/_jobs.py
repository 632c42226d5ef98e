"""Jobs of a comparison: each is one fit, with a key of everything that it depends on, and the form of its result."""

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
    """The data that all jobs share.

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


def compile_seconds():
    """Return the seconds in which JAX traced and compiled functions in this process; it is not imported for this."""
    backend = sys.modules.get("sklearn_ltdl._backends.jax")
    return 0.0 if backend is None else sum(backend.COMPILATIONS)


def run(data, function, *arguments):
    """Return the result of a job, a dict of plain values with the key 'failure'.

    The job runs on one thread, so that the bits do not depend on the number of cores, and thus on the machine and on
    `n_jobs`.
    """
    with threadpool_limits(1):
        return function(data, *arguments)


def failed(reason, missing=None):
    """Return the result of a failed fit; `missing` says what was missing if the fit may succeed in another run."""
    return {
        "prediction": None, "fit_seconds": 0.0, "predict_seconds": 0.0, "notes": [], "failure": reason,
        "explained": None, "missing": missing,
    }  # fmt: skip


def fit_and_predict(data, method, seed, train, test, explain=None):
    """Fit a method on the training rows and predict the test rows; an exception of the model becomes its failure.

    Parameters
    ----------
    data : Data
    method : Method
    seed : int
    train, test : ndarray
    explain : callable (pipeline, data, train, test) -> dict, default=None
        A further analysis of the fitted pipeline.

    Returns
    -------
    result : dict
        Plain values, except for the prediction, an array as of `as_array` (None if there is a failure): fit_seconds,
        predict_seconds, compile_seconds, which are part of both, notes as pairs of a code and a text, failure and
        explained.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")  # JAX compiles then
        start, compiled = time.perf_counter(), compile_seconds()
        try:
            model = fitted(data, method, seed, train)
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
        "compile_seconds": compile_seconds() - compiled,
        "notes": [list(note) for note in dict.fromkeys(map(tuple, notes))],
        "failure": None,
        "explained": None if explain is None else _explained(explain, model, data, train, test),
    }


def fitted(data, method, seed, train):
    """Return the pipeline of a method, fitted on the training rows."""
    model = make_table_pipeline(method.build(data.task, seed))
    return model.fit(rows_of(data.X, train), data.y[train], **_weights(model[-1], data.weight, train))


def as_array(prediction, n_classes):
    """Return predictions as an array: of float64, or of float32 for probabilities, of which there may be many."""
    return None if prediction is None else np.asarray(prediction, dtype=float if n_classes is None else np.float32)


def as_plain(result):
    """Return a result whose prediction is a list, as JSON takes it; `as_array` is the way back, bit by bit."""
    prediction = result.get("prediction")
    return result if prediction is None else result | {"prediction": prediction.tolist()}


def _is_usable(prediction):
    """Return whether the squared errors of predictions are finite numbers."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.square(prediction, dtype=float).sum()))


def _finite(result):
    """Return plain values that JSON can store, or raise a ValueError now instead of when they are written."""
    json.dumps(result, allow_nan=False)
    return result


def is_fit(n_rows, n_classes, explained, result):
    """Return whether a result in a journal has the form of `fit_and_predict`, or of a job that was stopped.

    Parameters
    ----------
    n_rows : int
        Number of rows that are predicted.
    n_classes : int or None
        None for numbers.
    explained : object
        Form of the further analysis of the fitted pipeline; None if there is none.
    result : object
        Plain values.
    """
    done = {
        "prediction": [float if n_classes is None else [float] * n_classes] * n_rows,
        "fit_seconds": seconds,
        "predict_seconds": seconds,
        "compile_seconds": seconds,
        "notes": [[str, str], ...],
        "failure": None,
        "explained": None if explained is None else (explained, {"failure": str}),
    }
    return is_stopped(result) or (conforms(result, done) and _is_usable(result["prediction"]))


def is_stopped(result):
    """Return whether a result in a journal has the form of a job that reached its time limit."""
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
    """Return whether a job failed for a reason that may differ in another run: its code, packages or memory."""
    return bool(result.get("failure")) and "time_limit" not in result


def _weights(estimator, weight, train):
    if weight is None:
        return {}
    if not has_fit_parameter(estimator, "sample_weight"):
        raise TypeError(f"{type(estimator).__name__}.fit takes no sample_weight; leave out this model or the weights")
    return {"estimator__sample_weight": weight[train]}


def timed(function, *arguments):
    """Return what a job other than a fit finds, with its failure, which is None, and its seconds; or its failure."""
    start = time.perf_counter()
    found = _explained(function, *arguments)
    return found if "failure" in found else found | {"failure": None, "fit_seconds": time.perf_counter() - start}


def _explained(explain, *arguments):
    """Return a further analysis, of plain values; an exception in it is a reason and makes no fit fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _finite(explain(*arguments))
        except Exception as error:
            return {"failure": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def versions():
    """Return the versions of Python and the packages on which results depend."""
    packages = "scikit-learn", "numpy", "scipy", "jax", "numba"
    return {
        "python": platform.python_version(),
        "sklearn_ltdl": sklearn_ltdl.__version__,
        **{package: version(package) for package in packages},
    }


def identity(name, method):
    """Return what identifies a method: its name, or a hash of the settings of a user's estimator."""
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
            f"also: {name!r} cannot be pickled, which worker processes need ({' '.join(str(error).split())}); use "
            "parameters that are plain values, or functions and classes of a module."
        ) from error


def _code(estimator):
    """Return what results of an estimator depend on in addition to its parameters: package versions, or source."""
    found = {}
    for part in [estimator, *estimator.get_params().values()]:
        for kind in type(part).__mro__ if hasattr(part, "get_params") else ():
            root = sys.modules.get(kind.__module__.partition(".")[0])
            found[kind.__module__, kind.__qualname__] = getattr(root, "__version__", None) or _source(kind)
    return sorted(found.items())


def _source(kind):
    """Return the source of a user's class: the whole module, because the class may call its other functions."""
    try:
        if kind.__module__ in ("builtins", "__main__"):
            return inspect.getsource(kind)
        return Path(inspect.getfile(kind)).read_text(encoding="utf-8", errors="replace")
    except (TypeError, OSError):  # builtin, compiled, or typed in
        return ""
