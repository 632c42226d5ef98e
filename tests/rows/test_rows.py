"""Rows read block by block: each source gives the same rows, the same sample, and errors that name the place."""

import os
import pickle
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from sklearn_ltdl import (
    NTKKernelRegressor,
    TangentFeatures,
    _pieces,
    make_table_pipeline,
    scan,
)
from sklearn_ltdl.rows import _gather
from sklearn_ltdl.rows._gather import gather
from sklearn_ltdl.rows._rows import as_numbers
from sklearn_ltdl.rows._sampled import Drawn, draw_groups

dask = pytest.importorskip("dask", reason="needs the extra dask")
FEATURES = ["a", "b"]


@pytest.fixture
def table(rng):
    X = rng.standard_normal((1000, 2))
    return pd.DataFrame(X, columns=FEATURES).assign(
        y=X @ [1.0, 2.0], w=rng.integers(0, 3, 1000), g=np.arange(1000) // 10
    )


def write(table, folder, files=2, group=90):
    for k, part in enumerate(np.array_split(np.arange(len(table)), files)):
        table.iloc[part].to_parquet(folder / f"part-{k}.parquet", row_group_size=group, index=False)
    return folder


def all_of(rows):
    parts = list(rows)
    weight = None if parts[0][2] is None else np.concatenate([w for *_, w in parts])
    return np.concatenate([np.asarray(X) for X, *_ in parts]), np.concatenate([y for _, y, _ in parts]), weight


def sources(table, folder):
    """Return every kind of source of a table."""
    from dask.dataframe import from_pandas

    write(table, folder)
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    return {
        "folder": folder,
        "pattern": str(folder / "part-*.parquet"),
        "list": [folder / "part-0.parquet", str(folder / "part-1.parquet")],
        "dataset": pa.dataset.dataset(folder),
        "dataset in memory": pa.dataset.dataset(arrow),
        "frame": from_pandas(table, npartitions=3),
        "stream": lambda: arrow.to_reader(max_chunksize=128),
        "arrow table": lambda: arrow,
    }


KINDS = ["folder", "pattern", "list", "dataset", "dataset in memory", "frame", "stream", "arrow table"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_gives_the_rows_in_their_order(table, tmp_path, kind):
    rows = scan(sources(table, tmp_path)[kind], target="y", weight="w", columns=FEATURES)
    X, y, weight = all_of(rows)
    np.testing.assert_array_equal(X, table[FEATURES])
    np.testing.assert_array_equal(y, table["y"])
    np.testing.assert_array_equal(weight, table["w"])
    assert len(rows) == len(table)


def test_dask_arrays_give_the_rows(table):
    import dask.array as da

    X = da.from_array(table[FEATURES].to_numpy(), chunks=(300, 1))
    y, w = (da.from_array(table[name].to_numpy(), chunks=170) for name in ("y", "w"))
    found = all_of(scan(X, target=y, weight=w))
    for values, columns in zip(found, (FEATURES, "y", "w")):
        np.testing.assert_array_equal(values, table[columns])
    some = X[:, 0] > 0
    unknown, parts = X[some], y.rechunk(300)[some]  # of unknown length
    assert len(scan(unknown, target=parts)) == (table["a"] > 0).sum()
    with pytest.raises(ValueError, match="y has 9 chunks of rows and X 4; rechunk"):
        scan(unknown, target=y[some])
    with pytest.raises(ValueError, match=r"chunk 0: y has 300 rows, X has \d+"):
        scan(unknown, target=y.rechunk(300)[y.rechunk(300) > -1e9]).sample(5)
    with pytest.raises(ValueError, match="y has 170 rows, X has 1000"):
        scan(X, target=y[:170])


def test_the_sample_does_not_depend_on_files_and_row_groups(table, tmp_path):
    drawn = []
    for k, (files, group) in enumerate([(1, 1000), (3, 50), (2, 333)]):
        (tmp_path / str(k)).mkdir()
        rows = scan(write(table, tmp_path / str(k), files, group), target="y", columns=FEATURES)
        drawn.append(rows.sample(200))
        assert not drawn[-1][0].equals(rows.sample(200, random_state=1)[0])
    for X, y in drawn:
        assert len(X) == len(y) == 200
        pd.testing.assert_frame_equal(X, drawn[0][0])
    whole = table.set_index("y").loc[drawn[0][1], FEATURES].to_numpy()  # rows of the table, in their order
    np.testing.assert_array_equal(drawn[0][0], whole)


def test_the_sample_is_uniform_without_replacement(table, tmp_path):
    rows = scan(write(table.assign(a=np.arange(1000.0)), tmp_path), target="y", columns=["a"])
    counts = np.zeros(1000)
    for seed in range(200):
        drawn = rows.sample(100, random_state=seed)[0]["a"].to_numpy().astype(int)
        assert len(np.unique(drawn)) == 100
        counts[drawn] += 1
    # Of 200 draws of a tenth: mean 20, variance 200 * 0.1 * 0.9 = 18; over 1000 rows the sum of squares is chi-squared.
    assert counts.mean() == 20
    assert abs(np.mean((counts - 20) ** 2) / 18 - 1) < 5 * np.sqrt(2 / 1000)


def test_rows_without_weight_are_not_drawn(table, tmp_path):
    rows = scan(write(table, tmp_path), target="y", weight="w", groups="g", columns=FEATURES)
    X, y, weight, groups = rows.sample(600)
    assert len(X) == len(y) == len(groups) == 600  # 667 or so have a weight
    assert (weight > 0).all()
    with pytest.raises(ValueError, match="got none of positive weight"):
        scan(write(table.assign(w=0), tmp_path), target="y", weight="w").sample(5)


def test_maps_are_those_of_a_fitted_pipeline(table, tmp_path):
    table = table.assign(c=np.where(table["a"] > 0, "x", "y"))
    rows = scan(write(table, tmp_path), target="y", columns=["a", "c"])
    prep = make_table_pipeline(NTKKernelRegressor(solver="nystroem", n_components=50)).fit(*rows.sample(100))[:-1]
    mapped = rows.map(prep.transform)
    np.testing.assert_array_equal(all_of(mapped)[0], prep.transform(table[["a", "c"]]))
    with pytest.raises(RuntimeError, match=r"part-0.parquet, row group 0: a map failed \(KeyError"):
        next(iter(rows.map(lambda X: X["nothing"])))
    with pytest.raises(ValueError, match=r"a map returned shape \(5, 2\)"):
        next(iter(as_numbers(mapped.map(lambda X: X[:5, :2]))))


def test_types_of_numbers_and_columns_in_another_order(tmp_path):
    columns = {
        "int": pa.array([1, 2, 3], pa.int8()),
        "large": pa.array([2**60, 1, 0], pa.int64()),
        "bool": pa.array([True, False, True]),
        "decimal": pa.array([Decimal(k) for k in (1, 2, 3)], pa.decimal128(5, 2)),
        "dictionary": pa.array([0.5, 0.25, 0.5]).dictionary_encode(),
        "float": pa.array([1.5, 2.5, 3.5], pa.float32()),
        "y": pa.array([0.0, 1.0, 2.0]),
    }
    pq.write_table(pa.table(columns), tmp_path / "1.parquet")
    pq.write_table(pa.table(dict(reversed(columns.items()))), tmp_path / "2.parquet")
    first, second = (X for X, *_ in as_numbers(scan(tmp_path, target="y")))
    expected = [[1, 2**60, 1, 1, 0.5, 1.5], [2, 1, 0, 2, 0.25, 2.5], [3, 0, 1, 3, 0.5, 3.5]]
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, expected)


def changed(table, column, row, value):
    table = table.astype({column: object}) if isinstance(value, str) else table
    return table.assign(**{column: [value if i == row else v for i, v in enumerate(table[column])]})


FIT = NTKKernelRegressor(n_components=50, depth=1)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("b", np.nan, r"part-1.parquet, row group 5: 'b' has NaN in row 42, and in 1 rows of this block"),
        ("b", np.inf, r"part-1.parquet, row group 5: 'b' has infinity in row 42"),
        ("y", np.nan, r"part-1.parquet, row group 5: the target 'y' has NaN in row 42"),
        ("w", -1.0, r"part-1.parquet, row group 5: the weight 'w' has -1 in row 42"),
    ],
)
def test_a_bad_value_in_the_last_block_is_named_by_file_column_and_row(table, tmp_path, column, value, message):
    write(changed(table, column, 992, value), tmp_path)  # row group 5 of the second file begins at row 950
    with pytest.raises(ValueError, match=message):
        FIT.fit(scan(tmp_path, target="y", weight="w", columns=FEATURES))


def test_text_and_dates_are_refused_by_name(table, tmp_path):
    dates = table.assign(b=pd.Timestamp("2020-01-01"))
    for frame, message in (
        (table.assign(b="x"), "row group 0: 'b' holds 'x', which is no number"),
        (dates, "'b' holds dates"),
    ):
        with pytest.raises(ValueError, match=message):
            FIT.fit(scan(write(frame, tmp_path), target="y", columns=FEATURES))


def test_files_that_vanish_change_or_are_none(table, tmp_path):
    write(table, tmp_path)
    rows = scan(tmp_path, target="y")
    os.utime(tmp_path / "part-1.parquet", ns=(1, 1))
    with pytest.raises(ValueError, match=r"part-1.parquet: the file has changed since it was listed"):
        rows.sample(5)
    (tmp_path / "part-0.parquet").unlink()
    with pytest.raises(ValueError, match=r"part-0.parquet: there is no such file"):
        rows.sample(5)
    (tmp_path / "part-0.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"expected a Parquet file .* polars.scan_csv"):
        scan(tmp_path, target="y")
    with pytest.raises(ValueError, match="there is no Parquet file"):
        scan(str(tmp_path / "*.csv"), target="y")
    with pytest.raises(TypeError, match="source is DataFrame; expected the path"):
        scan(table, target="y")
    (tmp_path / "hive" / "year=2020").mkdir(parents=True)
    table.to_parquet(tmp_path / "hive" / "year=2020" / "0.parquet")
    with pytest.raises(ValueError, match=r"pyarrow.dataset.dataset\(path, partitioning='hive'\)"):
        scan(tmp_path / "hive", target="y")


def test_columns_that_are_missing(table, tmp_path):
    write(table, tmp_path)
    with pytest.raises(ValueError, match="target has 'z', which is no column; there are a, b, y, w, g"):
        scan(tmp_path, target="z")
    with pytest.raises(ValueError, match="columns has 'y', which is the target"):
        scan(tmp_path, target="y", columns=["a", "y"])
    table.drop(columns="b").to_parquet(tmp_path / "part-2.parquet")
    with pytest.raises(ValueError, match=r"part-2.parquet: there is no column 'b'"):
        FIT.fit(scan(tmp_path, target="y"))


def test_other_estimators_refuse_rows_by_name(table, tmp_path):
    estimator = TangentFeatures()
    with pytest.raises(
        TypeError, match=r"X is Rows, which TangentFeatures does not take here; give an array, or \*rows.sample"
    ):
        estimator.fit(scan(write(table, tmp_path), target="y"), table["y"])
    with pytest.raises(TypeError, match="X is a Dask collection"):
        estimator.fit(pytest.importorskip("dask.array").from_array(table[FEATURES].to_numpy()), table["y"])


def test_rows_are_no_array_and_hold_their_target(table, tmp_path):
    rows = scan(write(table, tmp_path), target="y", columns=FEATURES)
    with pytest.raises(TypeError, match=re.escape("give an array, or rows.sample(n)")):
        np.asarray(rows)
    with pytest.raises(ValueError, match="y is inside the Rows"):
        FIT.fit(rows, table["y"])
    model = FIT.fit(rows)
    with pytest.raises(TypeError, match="one block after the other: for X, y, weight in rows"):
        model.predict(rows)
    np.testing.assert_array_equal(all_of(pickle.loads(pickle.dumps(rows)))[1], table["y"])
    assert repr(rows).startswith("<Rows: 1000 rows of 2 columns in 12 blocks, from ")


def test_large_row_groups_are_read_in_pieces(table, tmp_path, monkeypatch):
    monkeypatch.setattr(_pieces, "PIECE_NUMBERS", 900)  # of three columns
    rows = scan(write(table, tmp_path, files=1, group=1000), target="y", columns=FEATURES)
    assert [len(y) for _, y, _ in rows] == [300, 300, 300, 100]
    bad = scan(write(changed(table, "a", 950, np.nan), tmp_path, files=1, group=1000), target="y", columns=FEATURES)
    with pytest.raises(ValueError, match=r"row group 0: 'a' has NaN in row 950"):
        list(as_numbers(bad))


def test_groups_are_drawn_whole_wherever_their_rows_are(table, tmp_path, monkeypatch):
    monkeypatch.setattr(_gather, "LEAF_ROWS", 100)
    shuffled = table.assign(g=np.random.default_rng(0).permutation(table["g"]), i=np.arange(1000))
    rows = scan(write(shuffled, tmp_path), target="i", columns=FEATURES, groups="g")
    (part,) = gather(draw_groups, rows, Drawn.of(105, 0, None))
    block = part.block()
    drawn = set(block.groups)
    assert len(drawn) == 10  # of ten rows each
    assert sorted(block.y) == np.flatnonzero(shuffled["g"].isin(drawn)).tolist()
    (again,) = gather(draw_groups, scan(write(shuffled[::-1], tmp_path), target="i", groups="g"), part.draw)
    assert set(again.block().groups) == drawn  # whatever the order of the rows
