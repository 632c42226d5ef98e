"""Files of models: the same predictions come back, and nothing runs that nobody trusts."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import types
import zipfile
import zlib

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags

import sklearn_ltdl
from sklearn_ltdl import make_table_pipeline
from sklearn_ltdl.cli import main
from sklearn_ltdl.study import _saved
from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.study._saved import load, save

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def table(rng):
    n = 60
    X = pd.DataFrame(
        {
            "number": rng.standard_normal(n),
            "other": rng.standard_normal(n),
            "level": rng.choice(["a", "b", "c"], n),
            "date": pd.date_range("2023-01-01", periods=n, freq="9D"),
        }
    )
    X.loc[::7, "number"] = np.nan
    return X, X["other"] + (X["level"] == "a") + 0.1 * rng.standard_normal(n)


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("name", METHODS)
def test_every_model_of_the_comparison_predicts_the_same_bits(name, task, table, tmp_path):
    X, y = table
    y = y if task == "regression" else pd.Series(np.where(y > 0.3, "yes", "no"))
    model = make_table_pipeline(METHODS[name].build(task, 0)).fit(X, y)
    model.decimal_ = ","
    assert save(model, tmp_path / "model.skops") == []  # no name must be trusted
    copy, notes = load(tmp_path / "model.skops")
    assert (copy.decimal_, notes) == (",", [])
    assert list(copy.feature_names_in_) == list(X)
    method = "predict" if task == "regression" else "predict_proba"
    np.testing.assert_array_equal(getattr(copy, method)(X), getattr(model, method)(X))


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_category_of_many_levels_predicts_the_same_bits(task, rng, tmp_path):
    X = pd.DataFrame({"town": [f"town {i % 250}" for i in range(600)]})
    y = rng.standard_normal(600) if task == "regression" else rng.choice(["yes", "no", "neither"], 600)
    model = make_table_pipeline(METHODS["linear"].build(task, 0)).fit(X, y)
    assert save(model, tmp_path / "model.skops") == []
    np.testing.assert_array_equal(load(tmp_path / "model.skops")[0].predict(X), model.predict(X))


ESTIMATORS = [
    cls
    for cls in (getattr(sklearn_ltdl, name) for name in sklearn_ltdl.__all__)
    if isinstance(cls, type) and issubclass(cls, BaseEstimator)
]


@pytest.mark.filterwarnings("ignore:The columns of X differ in scale")
@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_every_public_estimator_is_data(cls):
    estimator = cls()
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    classes = get_tags(estimator).estimator_type == "classifier"
    X, y = (load_wine if classes else load_diabetes)(return_X_y=True)
    X, y = X[::4] / X.std(axis=0), y[::4]
    estimator.fit(X, y)
    data = skops.io.dumps(estimator)
    unknown = skops.io.get_untrusted_types(data=data)
    assert all(map(_saved._is_known, unknown))
    copy = skops.io.loads(data, trusted=unknown)
    method = "predict" if hasattr(estimator, "predict") else "transform"
    np.testing.assert_array_equal(getattr(copy, method)(X), getattr(estimator, method)(X))


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def refused(tmp_path, capsys):
    """Return a function that checks that both commands refuse a file in one sentence, and that nothing ran."""

    def check(content, *needles, options=()):
        (tmp_path / "evil.skops").write_bytes(content)
        (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
        for command in ("predict", "regime"):
            assert main([command, str(tmp_path / "evil.skops"), str(tmp_path / "t.csv"), *options]) == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert all(needle in error for needle in needles), error
        assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.skops", "t.csv"]

    return check


@pytest.mark.parametrize(
    "pack", [lambda data: data, zlib.compress, gzip.compress, bz2.compress, lzma.compress], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("protocol", range(6))
def test_no_pickle_is_run_unless_it_is_trusted(pack, protocol, refused, tmp_path):
    evil = pickle.dumps(Evil(f"touch {tmp_path / 'ran'}"), protocol)
    refused(pack(evil), "loading a pickle or joblib file runs the code in it", "--trust pickle")


@pytest.mark.parametrize("compress", [0, 3, ("lzma", 3)])
def test_no_file_of_joblib_is_run_unless_it_is_trusted(compress, refused, tmp_path):
    file = io.BytesIO()
    joblib.dump([np.ones(3), Evil(f"touch {tmp_path / 'ran'}")], file, compress=compress)
    refused(file.getvalue(), "--trust pickle")


def test_a_trusted_pickle_is_loaded(tmp_path):
    joblib.dump(LinearRegression().fit(np.eye(2), [1.0, 2.0]), tmp_path / "model.joblib", compress=3)
    model, _ = load(tmp_path / "model.joblib", ["pickle"])
    np.testing.assert_allclose(model.predict(np.eye(2)), [1, 2])


def altered(model, change):
    """Return a file of skops whose schema is changed."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    change(schema, members)
    members["schema.json"] = json.dumps(schema).encode()
    return packed(members)


def packed(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


LINE = LinearRegression().fit(np.eye(2), [1.0, 2.0])


def node(loader, module, name, **more):
    return {"__class__": name, "__module__": module, "__loader__": loader, **more}


def text(content):
    return node("JsonNode", "builtins", "str", content=json.dumps(content), is_json=True)


def arguments(command):
    return node("TupleNode", "builtins", "tuple", content=[text(command)])


@pytest.mark.parametrize(
    ("make", "needle"),
    [
        (lambda c: node("ConstructorFromReduceNode", "os", "system", content=arguments(c)), "os.system"),
        (lambda c: node("FunctionNode", "os", "system"), "os.system"),
        (lambda c: node("TypeNode", "subprocess", "Popen"), "subprocess.Popen"),
        (lambda c: node("ObjectNode", "os", "system", content=arguments(c)), "os.system"),
        (lambda c: node("TupleNode", "os", "system", content=[text(c)]), "os.system"),
        (lambda c: node("NdArrayNode", "os", "system", type="json", content=[], shape=text([0])), "os.system"),
        (lambda c: node("OperatorFuncNode", "operator", "methodcaller", attrs=arguments(c)), "OperatorFuncNode"),
        (lambda c: node("PartialNode", "functools", "partial", content={}), "PartialNode"),
        (lambda c: node("MethodNode", "os", "system", content={}), "MethodNode"),
        (lambda c: node("ReduceNode", "os", "system", **{"__reduce__": {"args": arguments(c)}}), "ReduceNode"),
        (lambda c: node("ObjectNode", "sklearn_ltdl.running._journal", "Journal", content=arguments(c)), "Journal"),
        (lambda c: node("FunctionNode", "sklearn_ltdl.cli", "main"), "main"),
        (lambda c: node("FunctionNode", "sklearn_ltdl.ntk._neural_tangents", "_unpickled"), "_unpickled"),
        (lambda c: node("FunctionNode", "sklearn_ltdl.no_module", "f"), "sklearn_ltdl.no_module.f"),
    ],
)
def test_no_file_of_skops_runs_a_function(make, needle, refused, tmp_path):
    def change(schema, members):
        schema["content"]["content"]["coef_"] = make(f"touch {tmp_path / 'ran'}")

    refused(altered(LINE, change), needle)


def test_bombs_and_damaged_files_are_one_sentence(refused):
    good = skops.io.dumps(LINE)
    refused(good[:-100], "cannot be loaded")
    refused(packed({"schema.json": b" " * 10**8}, zipfile.ZIP_DEFLATED), "compressed parts")
    refused(packed({"schema.json": b"[" * 10**6}), "RecursionError")
    refused(packed({"../../escaped": b"x"}), "schema.json")
    refused(altered(LINE, lambda schema, _: schema.update(protocol=99)), "protocol 99")
    refused(altered(LINE, lambda schema, _: schema.update(protocol=0)), "protocol")
    refused(altered(LINE, lambda schema, _: schema.update({"__class__": "NoSuchModel"})), "NoSuchModel")

    def again(schema, members):
        array = {k: v for k, v in schema["content"]["content"]["coef_"].items() if k != "__id__"}
        members[array["file"]] += b" " * 10**5
        schema["content"]["content"]["more"] = node("ListNode", "builtins", "list", content=[array] * 100)

    refused(altered(LINE, again), "read more than once")

    def zipped(schema, members):
        members[schema["content"]["content"]["coef_"]["file"]] = packed({"x.npy": b""})

    refused(altered(LINE, zipped), "is not an array")

    def pickled(schema, members):
        file = io.BytesIO()
        np.save(file, np.array([Evil("true")], dtype=object), allow_pickle=True)
        members[schema["content"]["content"]["coef_"]["file"]] = file.getvalue()

    refused(altered(LINE, pickled), "allow_pickle=False")


@pytest.mark.parametrize("model", [RandomForestRegressor(3), GradientBoostingRegressor(n_estimators=3)])
@pytest.mark.parametrize(("field", "value"), [("left_child", 10**9), ("right_child", 0), ("feature", 10**9)])
def test_trees_lead_somewhere(model, field, value, refused, rng):
    model = clone(model).fit(rng.standard_normal((50, 2)), np.arange(50.0))

    def change(schema, members):
        tree = next(part for part in _saved._nodes(schema) if part["__loader__"] == "TreeNode")
        file = tree["content"]["content"]["nodes"]["file"]
        nodes = np.load(io.BytesIO(members[file]))
        nodes[field][0] = value
        out = io.BytesIO()
        np.save(out, nodes)
        members[file] = out.getvalue()

    refused(altered(model, change), "branches that lead nowhere")


def test_trees_take_the_features_of_their_forest(refused, rng):
    model = RandomForestRegressor(3).fit(rng.standard_normal((50, 2)), np.arange(50.0))
    model.n_features_in_ = 1
    refused(skops.io.dumps(model), "features that the model does not have")


class Mine(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


@pytest.fixture
def my_models(monkeypatch):
    module = types.ModuleType("my_models")
    module.Mine = Mine
    monkeypatch.setattr(Mine, "__module__", "my_models")
    monkeypatch.setitem(__import__("sys").modules, "my_models", module)


def test_classes_of_users_are_trusted_by_name(tmp_path, my_models):
    path = tmp_path / "model.skops"
    assert save(Mine().fit(np.eye(2), [1.0, 2.0]), path) == ["my_models:Mine"]
    with pytest.raises(ValueError, match=r"holds 'my_models\.Mine'.*--trust MODULE:CLASS"):
        load(path)
    with pytest.raises(ValueError, match=r"--trust Mine: expected MODULE:CLASS"):
        load(path, ["Mine"])
    assert load(path, ["my_models:Mine"])[0].predict(np.eye(2)).tolist() == [1.5, 1.5]


def test_a_function_without_a_name_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"cannot be saved as data .*not as lambda"):
        save(FunctionTransformer(lambda x: x), tmp_path / "model.skops")
    assert not any(tmp_path.iterdir())
