"""The recommended model of a sample of Rows, fitted on all of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sklearn_ltdl import cli, compare, scan
from sklearn_ltdl.study import confirm, winner
from sklearn_ltdl.study._saved import load, save


@pytest.fixture
def table(rng):
    """A line with an effect of a category, and weights; rows beyond the sample have a level that it lacks."""
    n = 3000
    frame = pd.DataFrame({"a": rng.normal(size=n), "k": rng.choice(["u", "v"], n), "w": rng.integers(1, 4, n)})
    frame.loc[frame.index[-1], "k"] = "rare"
    return frame.assign(y=frame["a"] + (frame["k"] == "u") + 0.3 * rng.normal(size=n))


def rows_of(table, folder, **columns):
    for k in range(3):
        table[1000 * k : 1000 * (k + 1)].to_parquet(folder / f"part-{k}.parquet", row_group_size=300, index=False)
    return scan(folder / "part-*.parquet", target="y", columns=["a", "k"], **columns)


@pytest.mark.parametrize("weight", [None, "w"])
def test_the_linear_model_is_the_least_squares_of_all_rows(table, tmp_path, weight):
    rows = rows_of(table, tmp_path, weight=weight)
    comparison = compare(rows, sample=400, models=["linear"], cv=3)
    model = winner(comparison, rows)
    Z = model[:-1].transform(table[["a", "k"]])
    w = np.ones(3000) if weight is None else table["w"].to_numpy(dtype=float)
    mean = w @ Z / w.sum(), w @ table["y"] / w.sum()
    C, t = Z - mean[0], table["y"] - mean[1]  # normal equations of (1/2 W) sum w r^2 + alpha |coef|^2 / 2
    alpha = model[-1].alpha
    weighted = (C * w[:, None]).T / w.sum()
    coef = np.linalg.solve(weighted @ C + alpha * np.eye(Z.shape[1]), weighted @ t)
    np.testing.assert_allclose(model[-1].coef_, coef, atol=1e-8)


@pytest.mark.parametrize("name", ["linear", "boosting"])
def test_the_saved_model_predicts_in_the_command(table, tmp_path, capsys, name):
    table = table.assign(y=np.where(table["y"] > 0.5, "yes", "no"))
    rows = rows_of(table, tmp_path)
    comparison = compare(rows, sample=400, models=[name], cv=3)
    only = tuple(row for row in comparison.methods if row["method"] == name)
    comparison = replace(comparison, methods=only)  # the best is this one
    model = winner(comparison, rows)
    save(model, tmp_path / "m.skops")
    table[["a", "k"]].head(50).to_csv(tmp_path / "new.csv", index=False)
    assert cli.main(["predict", str(tmp_path / "m.skops"), str(tmp_path / "new.csv")]) == 0
    found = capsys.readouterr().out.split()[1:]
    assert found == model.predict(table[["a", "k"]].head(50)).tolist()
    assert np.mean(np.array(found) == table["y"].head(50)) > 0.8
    assert load(tmp_path / "m.skops")[0].is_sampled_


def test_rows_are_confirmed_as_their_table(table, tmp_path):
    rows = rows_of(table, tmp_path)
    comparison = compare(rows, sample=400, models=["linear"], cv=3)
    found = confirm(comparison, rows).evidence["confirmed"]
    expected = confirm(comparison, table[["a", "k"]], table["y"]).evidence["confirmed"]
    assert found["loss"] == expected["loss"]
    assert found["sentence"] == expected["sentence"]
    assert found["n_train"] == 2400
