"""Blocks that are empty, alone, of one row or without weight change no fit; memory does not grow with the rows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sklearn_ltdl import MeanFieldTwoLayerNet, NTKKernelRegressor, RFMRegressor, SAGRegressor, scan

MODELS = [
    SAGRegressor(),
    NTKKernelRegressor(n_components=50, depth=1, random_state=0),
    RFMRegressor(n_components=50, max_rounds=1, random_state=0),
    MeanFieldTwoLayerNet(width=16, max_iter=20, random_state=0),
]


@pytest.fixture
def table(rng):
    X = rng.standard_normal((600, 2))
    return pd.DataFrame(X, columns=["a", "b"]).assign(y=X @ [1.0, 2.0] + np.abs(X[:, 0]), w=1.0)


def rows_in_groups(path, *groups):
    """Write a Parquet file of some row groups, and return its rows."""
    path = path.with_suffix(".parquet")
    with pq.ParquetWriter(path, pa.Table.from_pandas(groups[0], preserve_index=False).schema) as writer:
        for group in groups:
            writer.write_table(pa.Table.from_pandas(group, preserve_index=False))
    return scan(path, target="y", columns=["a", "b"], weight="w")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_empty_blocks_and_blocks_without_weight_change_nothing(table, tmp_path, model):
    X, halves = table[["a", "b"]], (table[:300], table[300:])
    expected = model.fit(rows_in_groups(tmp_path / "two", *halves)).predict(X)
    empty = model.fit(rows_in_groups(tmp_path / "empty", halves[0], table[:0], halves[1])).predict(X)
    np.testing.assert_array_equal(empty, expected)
    alone = model.fit(rows_in_groups(tmp_path / "alone", table)).predict(X)
    np.testing.assert_allclose(alone, expected, rtol=1e-9, atol=1e-9)  # sums in another order
    idle = halves[1].assign(a=1e3, b=-1e3, y=1e3, w=0.0)
    without = model.fit(rows_in_groups(tmp_path / "idle", halves[0], idle)).predict(X)
    np.testing.assert_array_equal(without, model.fit(rows_in_groups(tmp_path / "half", halves[0])).predict(X))
    assert np.abs(without - expected).max() > 1e-3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_of_one_row_the_target_is_predicted(table, tmp_path, model):
    model.fit(rows_in_groups(tmp_path / "row", table[:1]))
    np.testing.assert_allclose(model.predict(table[["a", "b"]]), table["y"][0])


PEAK = """
import sys
from sklearn_ltdl import SAGRegressor, scan
SAGRegressor().fit(scan(sys.argv[1], target="y", columns=list("abcde")))
SAGRegressor().fit(scan(sys.argv[2], target="y", columns=list("abcde")))
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's peak of the memory")
def test_the_peak_of_the_memory_does_not_grow_with_the_rows(rng, tmp_path):
    paths = tmp_path / "few.parquet", tmp_path / "many.parquet"
    block = pa.table({**dict(zip("abcde", rng.standard_normal((5, 2**15)))), "y": rng.standard_normal(2**15)})
    for path, n in zip(paths, (4, 48)):
        with pq.ParquetWriter(path, block.schema) as writer:
            for _ in range(n):
                writer.write_table(block)
    peaks = [
        int(subprocess.run([sys.executable, "-c", PEAK, paths[0], path], capture_output=True, text=True).stdout)
        for path in paths
    ]
    assert peaks[1] - peaks[0] < 35 * 1024  # KiB; 44 blocks more have 70 MiB
