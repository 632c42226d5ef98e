"""What no estimator may do with bad input: answer NaN, crash, or say nothing of which array or parameter is at fault.

Each case ends in a ValueError or TypeError that names it, or in finite predictions.
"""

import inspect
import re
import warnings
from functools import cache

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.base import clone, is_classifier

import sklearn_ltdl
from sklearn_ltdl import make_table_pipeline

SMALL = {"max_iter": 5, "width": 4, "max_rounds": 1, "n_components": 5}
REGRESSORS = ["SAGRegressor", "NTKKernelRegressor", "RFMRegressor", "MeanFieldTwoLayerNet", "LazyNetRegressor"]
CLASSIFIERS = [
    "SAGClassifier",
    "NTKKernelClassifier",
    "RFMClassifier",
    "MeanFieldTwoLayerNetClassifier",
    "LazyNetClassifier",
]
TRANSFORMERS = ["NTKNystroem", "TangentFeatures"]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 2))
Y = X[:, 0] + 0.1 * RNG.normal(size=20)
LABELS = np.repeat(["a", "b"], 10)[RNG.permutation(20)]

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:The columns of X", "ignore:Training is not lazy"
)


def small(name):
    """Return an estimator that is fitted in no time."""
    model = getattr(sklearn_ltdl, name)()
    return model.set_params(**{key: value for key, value in SMALL.items() if key in model.get_params()})


def answers(model, X, *args, **kwargs):
    """Return whether a fit gives finite predictions; an error must be of the right type and name what it is about."""
    model.fit(X, *args, **kwargs)
    outputs = [model.transform(X)] if hasattr(model, "transform") else [model.predict(X)]
    if is_classifier(model):
        outputs = [model.predict_proba(X)] if hasattr(model, "predict_proba") else [model.decision_function(X)]
    assert all(np.all(np.isfinite(output)) for output in outputs)


def names_or_answers(what, model, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answers(model, *args, **kwargs)
        except (ValueError, TypeError) as error:
            assert re.search(what, str(error)), error  # noqa: PT017


def changed(value, dtype=object):
    y = Y.astype(dtype)
    y[3] = value
    return y


REFUSED_NUMBERS = {
    "None": (changed(None), "y contains NaN in row 3"),
    "NA": (changed(pd.NA), "y contains NaN in row 3"),
    "NaT": (changed(pd.NaT), "y contains NaN in row 3"),
    "nullable": (pd.Series(Y).astype("Float64").where(np.arange(20) != 3), "y contains NaN in row 3"),
    "long double": (changed(np.longdouble("1e4000"), np.longdouble), "y contains infinity .* row 3"),
    "huge integer": (changed(10**400), "y contains infinity .* row 3"),
    "mask": (np.ma.masked_greater(Y, 1.0), "y is a masked array"),
    "dates": (np.datetime64("2020-01-01") + np.arange(20), "y holds dates"),
    "durations": (np.arange(20).astype("timedelta64[D]"), "y holds dates or durations"),
    "a timestamp": (changed(pd.Timestamp("2020-01-01")), "y holds Timestamp.* row 3"),
    "a word": (changed("high"), "y holds 'high' .* row 3"),
    "words": (LABELS, "y holds text such as"),
    "one of 1e200": (
        changed(1e200, float),
        "y has numbers of size 1.0e\\+200, whose products with weights and slopes overflow",
    ),
    "of 1e300": (Y * 1e300, "y has numbers of size .*, whose products with weights and slopes overflow"),
    "of 1e-300": (Y * 1e-300, "y has numbers of size .*, whose products with weights and slopes vanish"),
    "complex": (Y + 0j, "Complex data not supported"),
    "ragged": ([[1.0], [1.0, 2.0]] * 10, "y has rows of different lengths"),
}
REFUSED_LABELS = {
    "objects": (np.array([0, 1] * 10, dtype=object), r"holds 0 of type int in row 0.* Try y.astype\(int\)"),
    "mixed": (np.array(["a", 1] * 10, dtype=object), r"holds 1 of type int in row 1.* Try y.astype\(str\)"),
    "tuples": (pd.Series([("a",), ("b",)] * 10), "y has shape|of type tuple in row 0"),
    "None": (changed(None), "y contains NaN in row 3"),
    "NA": (pd.Series(LABELS, dtype="string").where(np.arange(20) != 3), "y contains NaN in row 3"),
    "NaN": (changed(np.nan, float), "y contains NaN in row 3"),
    "mask": (np.ma.masked_equal(np.arange(20) % 2, 1), "y is a masked array"),
    "dates": (np.datetime64("2020-01-01") + np.arange(20) % 2, "y holds dates"),
    "fractions": (Y, "y: Unknown label type"),
    "one class": (np.zeros(20), "y has one class, 0.0, among the rows of positive weight"),
}
REFUSED_WEIGHTS = {
    "None": (changed(None), "sample_weight contains NaN in row 3"),
    "negative": (changed(-1.0, float), "Negative values in data passed to `sample_weight`"),
    "zero": (np.zeros(20), "sample_weight is zero for every row"),
    "infinite": (changed(np.inf, float), "sample_weight contains infinity .* row 3"),
    "mask": (np.ma.masked_greater(np.abs(Y), 1.0), "sample_weight is a masked array"),
    "words": (LABELS, "sample_weight holds text"),
    "short": (np.ones(19), "sample_weight has shape \\(19,\\)"),
    "columns": (np.ones((20, 1)), "sample_weight has shape \\(20, 1\\)"),
}


@pytest.mark.parametrize("case", REFUSED_NUMBERS)
@pytest.mark.parametrize("name", REGRESSORS)
def test_targets_that_are_no_numbers_are_refused(name, case):
    target, message = REFUSED_NUMBERS[case]
    with pytest.raises(ValueError, match=message):
        small(name).fit(X, target)


@pytest.mark.parametrize("case", REFUSED_LABELS)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_that_are_missing_are_refused(name, case):
    labels, message = REFUSED_LABELS[case]
    with pytest.raises(ValueError, match=message):
        small(name).fit(X, labels)


@pytest.mark.parametrize("case", REFUSED_WEIGHTS)
@pytest.mark.parametrize("name", REGRESSORS + CLASSIFIERS)
def test_weights_that_are_none_are_refused(name, case):
    weight, message = REFUSED_WEIGHTS[case]
    model = small(name)
    with pytest.raises(ValueError, match=message):
        model.fit(X, LABELS if is_classifier(model) else Y, sample_weight=weight)


@pytest.mark.parametrize("unit", [5e-324, 1e-308, 1e-30, 1e30, 5e307])
@pytest.mark.parametrize("name", REGRESSORS + CLASSIFIERS)
def test_only_ratios_of_weights_matter(name, unit):
    model = small(name).set_params(random_state=0)
    y = LABELS if is_classifier(model) else Y
    weight = np.where(np.arange(20) % 3, 1.0, 2.0) if unit == 5e-324 else np.linspace(0.5, 3.0, 20)
    some, other = (clone(model).fit(X, y, sample_weight=w) for w in (weight, weight * unit))
    outputs = (m.predict_proba(X) if is_classifier(m) else m.predict(X) for m in (some, other))
    if unit == 5e-324 and is_classifier(model):  # these are no counts any more, of which the temperature knows
        outputs = (m.decision_function(X) for m in (some, other))
    np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-9)  # rounding, which steps of networks amplify


@pytest.mark.parametrize("solver", ["exact", "nystroem", "pcg"])
def test_weights_that_vanish_beside_the_largest_are_zero(solver):
    weight = 10.0 ** np.random.default_rng(0).uniform(-300, 300, 20)
    model = sklearn_ltdl.NTKKernelRegressor(depth=1, solver=solver, n_components=5, random_state=0)
    kept = np.where(weight < 1e-100 * weight.max(), 0.0, weight)
    some, other = (clone(model).fit(X, Y, sample_weight=w) for w in (weight, kept))
    np.testing.assert_array_equal(some.predict(X), other.predict(X))


@pytest.mark.parametrize("factor", [-1.0, 0.0, np.nan, np.inf, "x", True])
@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if hasattr(small(name), "class_weight")])
def test_class_weights_are_positive_numbers(name, factor):
    with pytest.raises(ValueError, match=r"class_weight has .* for class 'a'"):
        small(name).set_params(class_weight={"a": factor, "b": 1.0}).fit(X, LABELS)


@pytest.mark.parametrize("name", REGRESSORS + CLASSIFIERS + TRANSFORMERS)
def test_features_that_are_no_numbers_are_named(name):
    model = small(name)
    y = LABELS if is_classifier(model) else Y
    frame = pd.DataFrame({"size": X[:, 0], "colour": np.repeat(["red", "blue"], 10)})
    with pytest.raises(ValueError, match=r"Column 'colour' of X holds text such as 'red'") as caught:
        model.fit(frame, y)
    assert ("make_table_pipeline" in str(caught.value)) == (name not in TRANSFORMERS)
    for table, message in (
        (frame.to_numpy(dtype=object), "Column 1 of X holds text"),
        (frame.assign(colour=pd.date_range("2020", periods=20)), "Column 'colour' of X holds dates"),
        (np.ma.masked_greater(X, 1.0), "X is a masked array"),
        (X.astype("timedelta64[s]"), "X holds dates or durations"),
        (X + 1j, "Complex data not supported"),
        (np.where(X > 1, np.inf, X), "X contains infinity"),
        (X[0], "X: Expected 2D array"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(table, y)
    if name not in TRANSFORMERS:
        answers(make_table_pipeline(model), frame, y)


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_constant_output_is_predicted_exactly(name):
    both = np.column_stack([Y, np.full(20, 2.0)])
    np.testing.assert_array_equal(small(name).fit(X, both).predict(X)[:, 1], 2.0)
    np.testing.assert_array_equal(small(name).fit(X, both[:, 1]).predict(X), 2.0)


@pytest.mark.parametrize("name", ["NTKKernelRegressor", "RFMRegressor", "MeanFieldTwoLayerNet", "LazyNetRegressor"])
@pytest.mark.parametrize(("scales", "message"), [([1.0, 1e4], "differ in scale"), ([1e-9, 1e-9], "have ranges of")])
def test_columns_that_are_not_seen_are_warned_of(name, scales, message):
    with pytest.warns(UserWarning, match=f"The columns of X {message}"):
        small(name).fit(X * scales, Y)


def test_a_run_that_fails_is_not_described_as_falling():
    with pytest.warns(UserWarning, match="training failed|differ|ranges") as caught:
        sklearn_ltdl.MeanFieldTwoLayerNet(width=8, max_iter=20, random_state=0).fit(1e9 * X, Y)
    assert not [warning for warning in caught if "still falling" in str(warning.message)]


class Thing:
    pass


VALUES = [
    *(None, True, False, -1, 0, 1, 0.5, 1.5, -0.5, np.nan, np.inf, -np.inf, 1e308, 1e-320, 10**30, -(10**30)),
    *("", "no such name", b"x", [], {}, (), Thing(), Thing, lambda z: z, 1 + 0j, np.array(1.0)),
]


def parameters():
    for name in REGRESSORS + CLASSIFIERS + TRANSFORMERS:
        for parameter in small(name).get_params():
            yield name, parameter


@pytest.mark.parametrize(("name", "parameter"), parameters())
def test_every_parameter_works_or_is_refused_by_name(name, parameter):
    model = small(name)
    y = LABELS if is_classifier(model) else Y
    for value in VALUES:
        names_or_answers(rf"\b{parameter}\b", clone(model).set_params(**{parameter: value}), X, y)
        takes_booleans = isinstance(model.get_params()[parameter], bool) or parameter == "early_stopping"
        if isinstance(value, bool) and not takes_booleans and parameter != "random_state":
            with pytest.raises(ValueError, match=rf"'{parameter}' parameter"):
                clone(model).set_params(**{parameter: value}).fit(X, y)


floats = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True, width=64)


@pytest.mark.slow
@given(arrays.arrays(np.float64, (6, 2), elements=floats), arrays.arrays(np.float64, 6, elements=floats))
def test_any_floats_are_fitted_or_refused(table, target):
    with np.errstate(all="ignore"):
        for name in ("SAGRegressor", "NTKKernelRegressor"):
            names_or_answers(r"\b[Xy]\b|kernel|row", small(name), table, target)


# Arguments of public methods and functions, read from their signatures: new ones are covered by themselves.

DATA = {"self", "X", "y", "X_test", "y_test", "estimator", "model", "solver", "checkpoints", "fit_params", "kwargs"}
INHERITED = {"score", "fit_transform", "get_feature_names_out"}  # scikit-learn's own
USUAL = {"alphas": [0.1, 0.01], "times": [1.0], "checkpoints": None}


def methods():
    """Yield the class, the name and an argument of every public method."""
    for name in REGRESSORS + CLASSIFIERS + TRANSFORMERS:
        for method, function in inspect.getmembers(getattr(sklearn_ltdl, name), inspect.isfunction):
            if method.startswith(("_", "set_", "get_")) or method in INHERITED:
                continue
            for argument in inspect.signature(function).parameters:
                if argument not in DATA:
                    yield name, method, argument


@cache
def fitted(name):
    model = small(name).set_params(random_state=0)
    if name.startswith("NTKKernel"):
        model.set_params(kernel="ntk")  # staged_predict is of one network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, LABELS if is_classifier(model) else Y)


def answers_or_names(argument, call):
    """Check that a call raises a ValueError or TypeError that names the argument, or ends."""
    try:
        result = call()
        if inspect.isgenerator(result):
            list(result)
    except (ValueError, TypeError) as error:
        assert re.search(rf"\b{argument}\b", str(error)), repr(error)  # noqa: PT017
    except RuntimeError as error:
        assert re.search("because the total time of|stopped at the (total time|time limit) of", str(error))  # noqa: PT017


@pytest.mark.parametrize(("name", "method", "argument"), methods())
def test_arguments_of_methods_are_answered_or_refused_by_name(name, method, argument):
    taken = inspect.signature(getattr(getattr(sklearn_ltdl, name), method)).parameters
    for value in VALUES:
        model = fitted(name) if "fit" not in method and method != "path" else small(name)
        if method == "partial_fit" and "solver" in model.get_params() and name.startswith("SAG"):
            model.set_params(solver="sgd")  # solvers of batches have no part of a fit
        given = {key: USUAL[key] for key in taken if key in USUAL} | {argument: value}
        if "classes" in taken:
            given.setdefault("classes", ["a", "b"])
        if "y" in taken:
            given["y"] = LABELS if is_classifier(model) else Y
        answers_or_names(argument, lambda: getattr(model, method)(X, **given))  # noqa: B023


@cache
def network():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sklearn_ltdl.MeanFieldTwoLayerNet(width=4, max_iter=5, alpha=0.1, random_state=0).fit(X, Y)


CHECKPOINTS = [np.ones(2), np.array([1.0, 2.0])]
FUNCTIONS = {  # what a call needs, and what makes it short
    "alpha_from_c": lambda: {"C": 1.0, "total_weight": 20.0},
    "alpha_from_ridge": lambda: {"alpha": 1.0, "total_weight": 20.0},
    "certify": lambda: {"estimator": network(), "X": X, "y": Y},
    "compare": lambda: {"X": X, "y": Y, "models": ["linear"], "cv": 2},
    "compare_solvers": lambda: {"X": X, "y": Y, "solvers": ["newton"]},
    "duality_gap": lambda: {"estimator": fitted("SAGRegressor"), "X": X, "y": Y},
    "explain_as_kernel": lambda: {"model": network(), "X": X, "y": Y},
    "regime_report": lambda: {"model": network(), "X": X, "y": Y},
    "regime_path": lambda: {"model": lambda w, x: jnp.tanh(x @ w), "checkpoints": CHECKPOINTS, "X": X, "y": Y},
    "scale_path": lambda: {"X": X, "y": Y, "scales": [1.0, 10.0]},
}


def arguments_of_functions():
    for name in FUNCTIONS:
        for argument, parameter in inspect.signature(getattr(sklearn_ltdl, name)).parameters.items():
            if argument not in DATA and parameter.kind is not parameter.VAR_KEYWORD:
                yield name, argument


@pytest.mark.parametrize(("name", "argument"), arguments_of_functions())
def test_arguments_of_functions_are_answered_or_refused_by_name(tmp_path, monkeypatch, name, argument):
    monkeypatch.chdir(tmp_path)  # of a journal of any name
    usual = FUNCTIONS[name]()
    default = inspect.signature(getattr(sklearn_ltdl, name)).parameters[argument].default
    for value in VALUES:
        starts_processes = argument in {"time_limit", "n_jobs"} and isinstance(value, int | float) and value > 0
        if value is default or starts_processes:
            continue
        answers_or_names(argument, lambda: getattr(sklearn_ltdl, name)(**usual | {argument: value}))  # noqa: B023
