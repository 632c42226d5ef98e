import io
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import LazyNetRegressor, compare, make_table_pipeline, regime_report
from sklearn_ltdl._arguments import parser_of
from sklearn_ltdl.cli import main
from sklearn_ltdl.study import winner
from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.study._saved import load, save
from sklearn_ltdl.tables import _bytes, _files

FAST = ["--cv", "2", "--repeats", "1", "--n-jobs", "1"]


@pytest.fixture
def houses(rng):
    n = 90
    X = pd.DataFrame(
        {
            "id": [f"house {i}" for i in range(n)],
            "surface": rng.uniform(20, 200, n).round(1),
            "zone": rng.integers(1, 4, n),
            "zip": rng.choice(["01067", "01069", "90210"], n),
            "sold": pd.date_range("2023-01-01", periods=n, freq="9D"),
        }
    )
    X.loc[::11, "surface"] = np.nan
    price = X["surface"].fillna(100) + 90 * (X["zone"] == 2) + 50 * (X["zip"] == "90210") + rng.standard_normal(n)
    return X.assign(price=price.round(3))


@pytest.fixture
def saved(houses, tmp_path, capsys):
    houses.to_csv(tmp_path / "houses.csv", index=False)
    options = ["--models", "linear", *FAST, "--categorical", "zone", "--save", str(tmp_path / "model.skops")]
    assert main(["compare", str(tmp_path / "houses.csv"), *options]) == 0
    assert "model.skops: linear, the model of least loss, fitted on all 90 rows" in capsys.readouterr().out
    return tmp_path / "model.skops"


def predict(model, table, capsys, *options):
    """Return what the command predicts, and what it tells."""
    path = model.with_name("new.csv")
    table.to_csv(path, index=False)
    assert main(["predict", str(model), str(path), *options]) == 0
    out, told = capsys.readouterr()
    return pd.read_csv(io.StringIO(out)), told


def test_the_winner_is_the_method_of_least_loss_fitted_on_all_rows(houses):
    X, y = houses.drop(columns="price"), houses["price"].where(houses.index % 10 > 0)
    comparison = compare(X, y, categorical=["zone"], models=["linear", "ntk"], cv=2, repeats=1)
    name = comparison.to_frame()["loss"].idxmin()
    assert comparison.best == name
    model = winner(comparison, X, y)
    expected = make_table_pipeline(METHODS[name].build("regression", comparison.settings["seed"]))
    kept = X.drop(columns="id").astype({"zone": "category"})
    expected.fit(kept[y.notna()], y.dropna().to_numpy())
    np.testing.assert_allclose(model.predict(X), expected.predict(kept))
    assert list(model.feature_names_in_) == ["surface", "zone", "zip", "sold"]
    with pytest.raises(
        ValueError, match="expected the 4 columns of the model, but 'zone' is missing; did you mean 'zon'"
    ):
        winner(comparison, X.rename(columns={"zone": "zon"}), y)


def test_no_advice_names_an_option_that_the_command_lacks(saved, houses, capsys, monkeypatch):
    houses.assign(surface=houses["surface"].astype(object).where(houses.index != 3, "nil")).to_csv(
        saved.with_name("new.csv"), index=False
    )
    parser = parser_of(dict.fromkeys(["compare", "suite", "predict", "regime"]))[1]
    with monkeypatch.context() as patch:
        patch.setattr(_files, "WHOLE", 1000)
        patch.setattr(_bytes, "LARGEST_FILE", 2000)
        patch.setattr(_bytes, "memory", lambda: 0)
        for command, remedy in [
            ("predict", "split the file, and predict its parts"),
            ("regime", "use some of its rows"),
        ]:
            assert main([command, str(saved), str(saved.with_name("new.csv"))]) == 2
            told = capsys.readouterr().err
            assert f"GiB of data; {remedy}." in told
            assert not set(re.findall(r"--\w[\w-]+", told)) - {*parser[command]._option_string_actions}
    assert main(["predict", str(saved), str(saved.with_name("new.csv"))]) == 0
    told = capsys.readouterr().err
    assert "'nil'" in told
    named = set(re.findall(r"(?<!ltdl compare )--\w[\w-]+", told))
    assert not named - {*parser["predict"]._option_string_actions}


def test_weights_and_other_estimators_are_those_of_the_comparison(rng):
    X = rng.standard_normal((60, 2))
    y, weight = np.exp(X[:, 0]), np.where(np.arange(60) % 4, rng.uniform(1, 3, 60), 0.0)
    also = {"forest2": RandomForestRegressor(5, random_state=0)}
    comparison = compare(X, y, sample_weight=weight, also=also, models=["linear"], cv=2, repeats=1)
    assert comparison.best == "forest2"
    expected = make_table_pipeline(RandomForestRegressor(5, random_state=0))
    expected.fit(X[weight > 0], y[weight > 0], estimator__sample_weight=weight[weight > 0])
    model = winner(comparison, X, y, sample_weight=weight, also=also)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    with pytest.raises(ValueError, match="best model, 'forest2', is not part of the package"):
        winner(comparison, X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="expected the weights of the comparison"):
        winner(comparison, X, y, also=also)


def test_columns_of_an_array_are_read_as_in_the_comparison(rng):
    X = np.empty((60, 2), dtype=object)
    X[:, 0], X[:, 1] = rng.standard_normal(60), [f"{value:.3f}" for value in rng.standard_normal(60)]
    y = 3 * X[:, 1].astype(float) + X[:, 0]
    X[7, 1] = "unknown"
    comparison = compare(X, y, numeric=[1], models=["linear"], cv=2, repeats=1)
    model = winner(comparison, X, y)
    assert model[0].transform(X[:3]).shape == (3, 3)  # two numbers, and that one is missing
    kept = np.arange(60) != 7
    np.testing.assert_allclose(model.predict(X[kept].astype(float)), y[kept].astype(float), atol=0.5)


def test_classes_keep_their_names_and_the_chosen_setting_is_saved(rng, tmp_path):
    X = rng.standard_normal((120, 3))
    y = np.where(X[:, 0] * X[:, 1] > 0, "yes", "no")
    comparison = compare(X, y, models=["forest"], cv=2, repeats=1)
    assert comparison.best == "forest"
    save(winner(comparison, X, y), tmp_path / "model.skops")
    model, notes = load(tmp_path / "model.skops")
    assert notes == []
    assert model.classes_.tolist() == ["no", "yes"]
    assert np.mean(model.predict(X) == y) > 0.9
    search = make_table_pipeline(METHODS["forest"].build("classification", comparison.settings["seed"]))
    assert model[-1].max_features == search.fit(X, y)[-1].best_params_["max_features"]


def test_new_rows_are_predicted_whatever_their_order_columns_and_types(saved, houses, capsys):
    expected = load(saved)[0].predict(houses.drop(columns="price"))
    plain, told = predict(saved, houses, capsys)
    np.testing.assert_allclose(plain["prediction"], expected)
    assert told == "The model does not use 'id', 'price'.\n"
    other = houses[["sold", "zip", "zone", "surface"]].iloc[::-1].astype({"zone": float})
    np.testing.assert_allclose(predict(saved, other, capsys)[0]["prediction"], expected[::-1])
    alone, told = predict(saved, other[other["zip"] == "01067"], capsys)  # all are numerals
    np.testing.assert_allclose(alone["prediction"], expected[::-1][other["zip"] == "01067"])
    assert told == ""
    strange = houses.assign(zone=9, zip=None, surface=None, sold=None)  # what training has not seen
    assert np.isfinite(predict(saved, strange, capsys)[0]["prediction"]).all()


def test_what_is_no_number_is_missing_if_asked(saved, houses, capsys):
    texts = houses.assign(surface=houses["surface"].astype(object).where(houses.index % 5 > 0, "large"))
    expected = predict(saved, houses.assign(surface=houses["surface"].where(houses.index % 5 > 0)), capsys)[0]
    np.testing.assert_array_equal(predict(saved, texts, capsys, "--numeric", "surface")[0], expected)
    assert main(["predict", str(saved), str(saved.with_name("new.csv")), "--numeric", "surfac"]) == 2
    assert "--numeric surfac: the model takes no such column; did you mean 'surface'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zone": None}, "new.csv: expected the 4 columns of the model, but 'zone' is missing; did you mean 'zones'?"),
        ({"surface": "large"}, "Column 'surface' held numbers when the model was fitted"),
        ({"surface": "2024-01-01"}, "Column 'surface' held numbers when the model was fitted"),
        ({"sold": "yesterday"}, "Column 'sold' held dates when the model was fitted"),
        ({"sold": 2024}, "Column 'sold' held dates when the model was fitted"),
    ],
)
def test_columns_that_do_not_fit_are_one_sentence(saved, houses, capsys, change, message):
    table = houses.assign(**change, zones=houses["zone"])
    table = table.drop(columns=[name for name, value in change.items() if value is None])
    path = saved.with_name("new.csv")
    table.to_csv(path, index=False)
    assert main(["predict", str(saved), str(path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("ltdl predict: ")
    assert message in error


def test_probabilities_and_files_are_written(tmp_path, rng, capsys):
    X = pd.DataFrame(rng.standard_normal((100, 2)), columns=["a", "b"])
    model = make_table_pipeline(LogisticRegression()).fit(X, np.where(X["a"] > 0, "yes", "no"))
    save(model, tmp_path / "model.skops")
    X.to_parquet(tmp_path / "new.parquet")
    for name, read in (("out.csv", pd.read_csv), ("out.parquet", pd.read_parquet)):
        files = [str(tmp_path / file) for file in ("model.skops", "new.parquet", name)]
        assert main(["predict", files[0], files[1], "--proba", "--output", files[2]]) == 0
        written = read(files[2])
        assert written["prediction"].tolist() == model.predict(X).tolist()
        np.testing.assert_allclose(written[["probability_no", "probability_yes"]], model.predict_proba(X))
    assert capsys.readouterr().out == ""
    X[["a"]].rename(columns={"a": "b"}).assign(a=X["b"])[["b"]].to_csv(tmp_path / "one.csv", index=False)
    save(make_table_pipeline(LinearRegression()).fit(X[["b"]], X["a"]), tmp_path / "line.skops")
    assert len(predict(tmp_path / "line.skops", X[["b"]], capsys)[0]) == 100  # a table of one column
    assert main(["predict", str(tmp_path / "line.skops"), str(tmp_path / "one.csv"), "--proba"]) == 2
    assert "expected a classifier with probabilities, got LinearRegression" in capsys.readouterr().err
    assert main(["predict", files[0], files[1], "--output", files[0]]) == 2
    assert "which would be lost" in capsys.readouterr().err
    assert main(["predict", files[0], files[1], "--output", str(tmp_path / "no" / "out.csv")]) == 2
    assert "expected a file in a folder that exists" in capsys.readouterr().err


def test_a_model_without_names_takes_as_many_columns(tmp_path, capsys):
    save(LinearRegression().fit(np.eye(2), [1.0, 2.0]), tmp_path / "model.skops")
    new = pd.DataFrame({"u": [1.0, 0.0], "v": [0.0, 1.0]})
    np.testing.assert_allclose(predict(tmp_path / "model.skops", new, capsys)[0]["prediction"], [1, 2])
    new.assign(w=1).to_csv(tmp_path / "new.csv")
    assert main(["predict", str(tmp_path / "model.skops"), str(tmp_path / "new.csv")]) == 2
    assert "the model expects 2 columns, without names, but the table has 3 ('u', 'v', 'w')" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"x,y\n1,2\n", "cannot be loaded"),
        (b"\x80\x04\x95", "cannot be loaded"),
        (b"PK\x03\x04", "cannot be loaded (BadZipFile: File is not a zip file)"),
        (pickle.dumps({"x": 1}), "expected a model that predicts, got an object of type dict"),
        (b"cno_such_module\nModel\n.", "cannot be loaded (ModuleNotFoundError: No module named 'no_such_module')"),
        (None, "no such file"),
    ],
)
def test_files_that_are_no_models_are_one_sentence(tmp_path, content, message, capsys):
    path = tmp_path / "model.skops"
    if content is not None:
        path.write_bytes(content)
    for command in ("predict", "regime"):
        assert main([command, str(path), "table.csv", "--trust", "pickle"]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_model_that_cannot_be_written_leaves_the_earlier_file_alone(tmp_path):
    save(LinearRegression(), tmp_path / "model.skops")
    before = (tmp_path / "model.skops").read_bytes()
    model = TransformedTargetRegressor(func=lambda y: y, inverse_func=lambda y: y)
    with pytest.raises(TypeError, match=r"model.skops: TransformedTargetRegressor cannot be saved as data"):
        save(model, tmp_path / "model.skops")
    assert (tmp_path / "model.skops").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.skops"]


def test_numbers_of_new_rows_are_read_as_those_of_training(tmp_path, rng, capsys):
    """By itself, 2.000 in a file without a decimal comma would be 2."""
    value = rng.integers(1000, 9000, 60)
    rows = [f"{v // 1000}.{v % 1000:03};{v // 100},5" for v in value]
    (tmp_path / "t.csv").write_text("\n".join(["value;price", *rows, ""]))
    model = tmp_path / "model.skops"
    assert main(["compare", str(tmp_path / "t.csv"), "--models", "linear", *FAST, "--save", str(model)]) == 0
    (tmp_path / "new.csv").write_text("value;other\n2.000;a\n8.000;b\n")
    capsys.readouterr()
    assert main(["predict", str(model), str(tmp_path / "new.csv")]) == 0
    out, told = capsys.readouterr()
    assert [float(line) for line in out.splitlines()[1:]] == pytest.approx([20, 80], abs=1)
    assert "Thousands separators are removed in 'value'." in told
    (tmp_path / "new.csv").write_text("value;other\n2.000;1.5\n8000.0;2\n")  # here points are decimal, and seen to be
    assert main(["predict", str(model), str(tmp_path / "new.csv")]) == 0
    assert [float(line) for line in capsys.readouterr().out.splitlines()[1:]] == pytest.approx([0, 80], abs=1)


def test_labels_with_zeros_are_predicted_and_reported_as_they_are(tmp_path, rng, capsys):
    X = pd.DataFrame(rng.standard_normal((60, 2)), columns=["a", "b"])
    y = np.where(X["a"] > 0, "01", "02")
    model = make_pipeline(StandardScaler(), MLPClassifier(10, random_state=0, max_iter=2000)).fit(X, y)
    save(model, tmp_path / "mlp.skops")
    X.assign(code=y).to_csv(tmp_path / "t.csv", index=False)
    assert main(["regime", str(tmp_path / "mlp.skops"), str(tmp_path / "t.csv")]) == 0
    assert capsys.readouterr().out == f"{regime_report(model, X, y)}\n"
    files = ["--save", str(tmp_path / "model.skops")]
    assert main(["compare", str(tmp_path / "t.csv"), "--models", "linear", *FAST, *files]) == 0
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "model.skops"), str(tmp_path / "t.csv")]) == 0
    assert set(capsys.readouterr().out.splitlines()) == {"prediction", "01", "02"}


def test_the_report_of_the_command_is_that_of_python(tmp_path, rng, capsys):
    X = pd.DataFrame(rng.standard_normal((120, 3)), columns=["a", "b", "c"])
    y = pd.Series(np.where(X["a"] * X["b"] > 0, "yes", "no"), name="kind")
    networks = {
        "mlp": make_pipeline(StandardScaler(), MLPClassifier(50, random_state=0, max_iter=500, tol=1e-3)).fit(
            X[:80], y[:80]
        ),
        "lazy": make_table_pipeline(LazyNetRegressor(width=64, random_state=0)).fit(X[:80], X["a"][:80] ** 2),
    }
    targets = {"mlp": y, "lazy": (X["a"] ** 2).rename("square")}
    for name, network in networks.items():
        target = targets[name][80:]
        save(network, tmp_path / f"{name}.skops")
        X[80:].assign(**{target.name: target})[[target.name, "c", "b", "a"]].to_parquet(tmp_path / "new.parquet")
        assert main(["regime", str(tmp_path / f"{name}.skops"), str(tmp_path / "new.parquet"), "--target", "1"]) == 0
        assert capsys.readouterr().out == f"{regime_report(network, X[80:], target)}\n"
    save(LinearRegression().fit(X, X["a"]), tmp_path / "line.skops")
    assert main(["regime", str(tmp_path / "line.skops"), str(tmp_path / "new.parquet"), "--target", "1"]) == 2
    assert "LinearRegression" in capsys.readouterr().err
