"""A long Parquet file is predicted part by part, with the result of the whole file and in the memory of a part."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sklearn_ltdl import SAGClassifier, SAGRegressor, _pieces, make_table_pipeline
from sklearn_ltdl.cli import main
from sklearn_ltdl.study._saved import save
from sklearn_ltdl.tables import _parquet, read_table
from sklearn_ltdl.tables._parquet import is_long_parquet, parquet_batches


def table_of_all_kinds(rng, n=2000):
    table = pd.DataFrame(
        {
            "number": rng.standard_normal(n),
            "count": rng.integers(0, 9, n),
            "gaps": pd.array(rng.integers(0, 3, n), dtype="Int64"),
            "flag": rng.integers(0, 2, n).astype(bool),
            "doubtful": rng.integers(0, 2, n).astype(bool).astype(object),
            "text": rng.choice(["a", "b", "c"], n),
            "kind": pd.Categorical(rng.choice(["x", "y"], n)),
            "day": [date(2020, 1, 1 + i % 28) for i in range(n)],
        }
    )
    table.loc[1900, ["gaps", "doubtful", "text"]] = None  # in the last part only
    return table


@pytest.fixture
def short_parts(monkeypatch):
    monkeypatch.setattr(_parquet, "_WHOLE_NUMBERS", 8 * 300)
    monkeypatch.setattr(_pieces, "PIECE_NUMBERS", 8 * 300)


@pytest.mark.parametrize("by_pandas", [True, False])
def test_parts_have_the_types_of_the_whole_table(rng, tmp_path, short_parts, by_pandas):
    table = table_of_all_kinds(rng)
    arrow = pa.Table.from_pandas(table.set_index(pd.RangeIndex(0, 4000, 2, name="row")))
    arrow = arrow if by_pandas else arrow.replace_schema_metadata(None)
    pq.write_table(arrow, tmp_path / "t.parquet", row_group_size=700)
    assert is_long_parquet(tmp_path / "t.parquet")
    whole, notes, *_ = read_table(tmp_path / "t.parquet")
    parts = list(parquet_batches("t", {"t": tmp_path / "t.parquet"}, 1))
    assert max(len(part) for part, _ in parts) <= 300
    joined = pd.concat([part for part, _ in parts], ignore_index=True)
    assert parts[0][1] == notes
    for part, _ in parts:
        assert part.dtypes.equals(whole.dtypes)
    pd.testing.assert_frame_equal(joined.astype({"kind": str}), whole.astype({"kind": str}))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predictions_are_those_of_the_whole_file(rng, tmp_path, monkeypatch, capsys, suffix):
    table = table_of_all_kinds(rng)
    label = np.where(table["number"] + (table["text"] == "a") > 0.3, "yes", "no")
    model = make_table_pipeline(SAGClassifier()).fit(table, label)
    save(model, tmp_path / "m.skops")
    table.to_parquet(tmp_path / "t.parquet", row_group_size=700)
    command = ["predict", str(tmp_path / "m.skops"), str(tmp_path / "t.parquet"), "--proba"]
    assert main([*command, "-o", str(tmp_path / f"whole.{suffix}")]) == 0
    assert main(command) == 0
    printed = capsys.readouterr().out
    monkeypatch.setattr(_parquet, "_WHOLE_NUMBERS", 8 * 300)
    monkeypatch.setattr(_pieces, "PIECE_NUMBERS", 8 * 300)
    assert main([*command, "-o", str(tmp_path / f"parts.{suffix}")]) == 0
    read = pd.read_csv if suffix == "csv" else pd.read_parquet
    whole, parts = (read(tmp_path / f"{name}.{suffix}") for name in ("whole", "parts"))
    assert len(whole) == 2000
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-12)
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[0] == printed.splitlines()[0]


def test_a_file_that_fails_in_its_last_part_leaves_no_result(rng, tmp_path, short_parts, capsys):
    table = table_of_all_kinds(rng)[["number", "count"]]
    save(SAGRegressor().fit(table, table["number"]), tmp_path / "m.skops")
    (tmp_path / "out.csv").write_text("old")
    table.loc[1999, "number"] = np.nan
    table.to_parquet(tmp_path / "t.parquet")
    assert (
        main(["predict", str(tmp_path / "m.skops"), str(tmp_path / "t.parquet"), "-o", str(tmp_path / "out.csv")]) == 2
    )
    assert "NaN" in capsys.readouterr().err
    assert (tmp_path / "out.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.skops", "out.csv", "t.parquet"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
def test_memory_does_not_grow_with_the_file(rng, tmp_path):
    names = [f"x{j}" for j in range(12)]
    table = pd.DataFrame(rng.standard_normal((100_000, 12)), columns=names)
    save(SAGRegressor().fit(table[:1000], table["x0"][:1000]), tmp_path / "m.skops")
    code = (
        "import sys; from sklearn_ltdl import _pieces; from sklearn_ltdl.cli import main; "
        "from sklearn_ltdl.tables import _parquet; "
        "_parquet._WHOLE_NUMBERS = _pieces.PIECE_NUMBERS = 1 << 17; "
        "main(sys.argv[1:]); print(open('/proc/self/status').read())"
    )
    peaks = []
    for copies in (1, 5):
        data = pd.concat([table] * copies)
        data.to_parquet(tmp_path / "t.parquet", index=False, row_group_size=50_000)
        words = ["predict", tmp_path / "m.skops", tmp_path / "t.parquet", "-o", tmp_path / "out.parquet"]
        run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        peaks.append(int(run.stdout.split("VmHWM:")[1].split()[0]) / 1024)
        assert len(pd.read_parquet(tmp_path / "out.parquet")) == len(data)
    assert peaks[1] - peaks[0] < 20  # MB, where the table has grown by 38
