"""A table in several Parquet files is read as if it were in one."""

import json

import numpy as np
import pandas as pd
import pytest

from sklearn_ltdl import SAGClassifier, make_table_pipeline, scan
from sklearn_ltdl.cli import main
from sklearn_ltdl.rows._rows import sample_of
from sklearn_ltdl.study._saved import save
from sklearn_ltdl.tables import read_table
from sklearn_ltdl.tables._parquet import parquet_batches


@pytest.fixture
def frame(rng):
    n = 3000
    return pd.DataFrame(
        {
            "row": np.arange(n),
            "number": rng.standard_normal(n).astype("float32"),
            "text": rng.choice(["a", "b", "c"], n),
            "kind": pd.Categorical(rng.choice(["x", "y"], n)),
            "day": pd.date_range("2020", periods=n, freq="h"),
            "label": rng.choice(["yes", "no"], n),
        }
    )


@pytest.fixture
def folder(frame, tmp_path):
    """The frame in three files, the second with its columns in another order and an index without a name."""
    (tmp_path / "parts").mkdir()
    for k, (start, stop) in enumerate([(0, 700), (700, 701), (701, 3000)]):
        part = frame[start:stop]
        if k == 1:
            part = part.set_axis([5])[part.columns[::-1]]
        part.to_parquet(tmp_path / "parts" / f"part-{k}.parquet", row_group_size=400)
    return tmp_path / "parts"


@pytest.mark.parametrize("size", [50, 2999, 5000, "all", None])
@pytest.mark.parametrize("pattern", ["", "part-*.parquet"])
def test_files_are_read_as_one(frame, folder, tmp_path, pattern, size):
    frame.to_parquet(tmp_path / "one.parquet")
    one = read_table(tmp_path / "one.parquet", sample=size)
    several = read_table(str(folder / pattern), sample=size)
    pd.testing.assert_frame_equal(several.frame, one.frame, check_categorical=False)
    assert several.notes == one.notes
    if size is not None:
        assert np.array_equal(several.sample.rows, one.sample.rows)
        assert several.sample.n_rows == 3000


def test_the_sample_is_that_of_scan(folder):
    block, numbers, n_rows = sample_of(scan(folder, target="label"), 100)
    table = read_table(folder, sample=100)
    assert n_rows == table.sample.n_rows
    assert np.array_equal(numbers, table.sample.rows)
    assert block.X["row"].tolist() == table.frame["row"].tolist() == numbers.tolist()


def test_whole_numbers_with_gaps_in_one_file_are_floats_in_all(frame, folder):
    frame[2000:].assign(row=lambda part: part["row"].where(part["row"] > 2100)).to_parquet(folder / "part-3.parquet")
    table = read_table(folder, sample="all").frame
    assert table["row"].isna().sum() == 101
    parts = [part for part, _ in parquet_batches("t", {str(p): p for p in sorted(folder.iterdir())}, 1)]
    assert {part["row"].dtype for part in parts} == {table["row"].dtype} == {np.dtype(float)}
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), table, check_categorical=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part: part.drop(columns="text"), "expected the columns of .*part-0.parquet; the file lacks 'text'"),
        (lambda part: part.assign(more=1), "expected the columns of .*part-0.parquet; the file also has 'more'"),
        (lambda part: part.assign(number="7"), "column 'number' has type .*string, but float in .*part-0.parquet"),
    ],
)
def test_the_file_whose_columns_differ_is_named(frame, folder, change, message):
    change(frame[:9]).to_parquet(folder / "part-9.parquet")
    with pytest.raises(ValueError, match=rf"part-9.parquet: {message}"):
        read_table(folder, sample=50)
    with pytest.raises(ValueError, match=rf"part-9.parquet: {message}"):
        next(parquet_batches("t", {str(p): p for p in sorted(folder.iterdir())}, 1))


def test_the_file_that_is_damaged_is_named(folder):
    path = folder / "part-2.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"part-2\.parquet: the Parquet file cannot be read"):
        read_table(folder, sample=50)


def test_a_folder_or_pattern_without_parquet_files_is_named(tmp_path):
    for name in (tmp_path, tmp_path / "*.parquet"):
        with pytest.raises(ValueError, match=r": there is no Parquet file"):
            read_table(name)


def test_options_of_text_files_are_not_for_folders(folder):
    with pytest.raises(ValueError, match="are for text files, not Parquet"):
        read_table(folder, sep=";")


def test_the_command_compares_the_rows_of_all_files(frame, folder, tmp_path, capsys):
    command = ["--target", "label", "--models", "linear", "--sample", "200", "--json"]
    frame.to_parquet(tmp_path / "one.parquet")
    losses = []
    for k, data in enumerate([tmp_path / "one.parquet", folder / "part-*.parquet"]):
        assert main(["compare", str(data), *command, str(tmp_path / f"{k}.json")]) == 0
        assert "predicting 'label': 200 of 3000 rows" in capsys.readouterr().err
        losses.append([row["loss"] for row in json.loads((tmp_path / f"{k}.json").read_text())["methods"]])
    assert losses[0] == losses[1]


def test_the_command_does_not_write_over_a_part(folder, capsys):
    path = folder / "part-1.parquet"
    assert main(["compare", str(folder), "--target", "label", "--json", str(path)]) == 2
    assert f"expected another file than the table's {path}, which would be lost" in capsys.readouterr().err


def test_the_command_predicts_the_rows_of_all_files(frame, folder, tmp_path):
    model = make_table_pipeline(SAGClassifier()).fit(frame.drop(columns="label"), frame["label"])
    save(model, tmp_path / "m.skops")
    command = ["predict", str(tmp_path / "m.skops"), str(folder), "--proba", "-o", str(tmp_path / "p.parquet")]
    assert main(command) == 0
    found = pd.read_parquet(tmp_path / "p.parquet").iloc[:, 1:].to_numpy()
    np.testing.assert_allclose(found, model.predict_proba(frame.drop(columns="label")), rtol=1e-12)
