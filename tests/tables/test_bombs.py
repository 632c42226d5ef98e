"""Small files that unfold to large tables are rejected before the memory is taken."""

import bz2
import contextlib
import lzma
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from sklearn_ltdl.tables import _bytes, _files
from sklearn_ltdl.tables._files import read_table

MEASURED = """
import pathlib, resource, sys
import pandas, pyarrow.parquet
from sklearn_ltdl.tables._files import read_table
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
try:
    read_table(sys.argv[1])
except ValueError as error:
    print(error)
status = pathlib.Path("/proc/self/status").read_text()  # getrusage has the parent's peak as well
print(status.split("VmHWM:")[1].split()[0])
"""


def rejected(path):
    """Return the sentence with which a process of 1 GiB rejects a file."""
    run = subprocess.run([sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    sentence, peak = run.stdout.splitlines()
    assert int(peak) < 1 << 20  # KiB
    return sentence


def write(path, table, **options):
    parquet.write_table(table, path, **options)
    return path


@pytest.mark.parametrize("stored", ["text", "categories", "binary"])
def test_a_dictionary_that_unfolds_to_6_gb_is_rejected_within_1_gib(stored, tmp_path):
    words = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(300_000, np.int32)),
        pa.array(["x" * 20_000], pa.binary() if stored == "binary" else pa.string()),
    )
    table = pa.table({"a": words, "b": words.indices})
    path = write(tmp_path / "bomb.parquet", table, compression="zstd", store_schema=stored == "categories")
    assert path.stat().st_size < 10_000
    assert "expected at most 1 GiB of data; draw some of its rows at random" in rejected(path)


def test_texts_that_share_their_beginning_are_counted_in_full(tmp_path):
    texts = ["x" * 20_000 + str(k) for k in range(2_000)]  # 40 MB a group
    schema = pa.schema({"a": pa.string(), "b": pa.int64()})
    table = pa.table({"a": texts, "b": list(range(2_000))}, schema=schema)
    options = {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}, "compression": "zstd"}
    with parquet.ParquetWriter(tmp_path / "bomb.parquet", schema, **options) as writer:
        for _ in range(30):
            writer.write_table(table)
    assert (tmp_path / "bomb.parquet").stat().st_size < 1 << 20
    assert "expected at most 1 GiB of data" in rejected(tmp_path / "bomb.parquet")


def test_runs_of_numbers_are_counted_in_full(tmp_path):
    schema = pa.schema({"a": pa.int64(), "b": pa.bool_()})
    table = pa.table({"a": np.zeros(10**6, np.int64), "b": np.zeros(10**6, bool)})
    with parquet.ParquetWriter(tmp_path / "bomb.parquet", schema) as writer:
        for _ in range(80):
            writer.write_table(table)
    assert "80000000 rows of 2 columns do not fit in memory" in rejected(tmp_path / "bomb.parquet")


def test_one_value_larger_than_the_limit_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(_bytes, "LARGEST_FILE", 10**6)
    write(tmp_path / "bomb.parquet", pa.table({"a": ["x" * 10**7, "y"], "b": [1, 2]}), compression="zstd")
    with pytest.raises(ValueError, match="do not fit in memory"):
        read_table(tmp_path / "bomb.parquet")


def nested(depth):
    kind = pa.int64()
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


@pytest.mark.parametrize(
    "kind",
    [
        nested(1),
        nested(40),
        pa.struct({"x": pa.int64()}),
        pa.map_(pa.string(), pa.int64()),
        pa.large_list(pa.string()),
        pa.list_(pa.float32(), 3),
        pa.fixed_shape_tensor(pa.float64(), (2, 2)),
    ],
    ids=lambda kind: str(kind)[:20],
)
def test_nested_columns_are_rejected_by_name(kind, tmp_path):
    storage = getattr(kind, "storage_type", kind)
    values = pa.array([None, None], storage)
    values = pa.ExtensionArray.from_storage(kind, values) if storage is not kind else values
    write(tmp_path / "t.parquet", pa.table({"a": [1, 2], "parts": values}))
    with pytest.raises(ValueError, match=r"t\.parquet: column 'parts' is nested .*make columns of its parts"):
        read_table(tmp_path / "t.parquet")


def test_what_is_too_deep_for_arrow_is_one_sentence(tmp_path):
    write(tmp_path / "t.parquet", pa.table({"a": [1, 2], "parts": pa.array([None, None], nested(60))}))
    with pytest.raises(ValueError, match=r"t\.parquet: the Parquet file cannot be read .*too deeply nested"):
        read_table(tmp_path / "t.parquet")


def test_categories_and_long_texts_of_honest_tables_are_read(tmp_path):
    words = [f"{'x' * 1000}{k}" for k in range(500)]
    column = pa.DictionaryArray.from_arrays(pa.array(np.arange(5_000) % 500, pa.int32()), pa.array(words))
    table = pa.table({"word": column, "plain": column.dictionary_decode(), "y": np.arange(5_000)})
    write(tmp_path / "t.parquet", table)
    read, *_ = read_table(tmp_path / "t.parquet")
    assert read["word"].astype(str).tolist() == read["plain"].tolist() == words * 10


@pytest.mark.parametrize("cut", [4, 30, 200, 1000])
def test_damaged_parquet_is_one_sentence(cut, tmp_path):
    data = write(tmp_path / "t.parquet", pa.table({"a": np.arange(1000), "b": ["x"] * 1000})).read_bytes()
    for content in (data[:-cut], data[:cut] + b"\xff" * 8 + data[cut + 8 :], b"PAR1" + data[-cut:]):
        (tmp_path / "t.parquet").write_bytes(content)
        with contextlib.suppress(ValueError):  # nothing else; statistics may be damaged without harm
            read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("packing", ["gz", "zst", "zip"])
def test_compressed_zeros_are_rejected_within_1_gib(packing, tmp_path):
    path = tmp_path / f"t.csv.{packing}"
    with contextlib.ExitStack() as stack:
        if packing == "zip":
            archive = stack.enter_context(zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED))
            file = stack.enter_context(archive.open("t.csv", "w", force_zip64=True))
        else:
            packed = {"gz": "gzip", "zst": "zstd"}[packing]
            file = stack.enter_context(pa.CompressedOutputStream(str(path), packed))
        for _ in range(1100):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 23
    assert "expected at most 1 GiB of data" in rejected(path)


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
def test_each_compression_is_counted(compress, tmp_path, monkeypatch):
    monkeypatch.setattr(_bytes, "LARGEST_FILE", 10**6)
    (tmp_path / "t.csv").write_bytes(compress(bytes(10**7)))
    with pytest.raises(ValueError, match=r"t\.csv: expected at most .* of data"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"a," * (20 << 19),
        b"," * (20 << 20),
        b"a,b\n1,2\n" + b"x" * (20 << 20) + b",3\n",
        b'a,b\n1,"' + b"x" * (20 << 20) + b'"\n',
    ],
    ids=["names", "commas", "cell", "quoted"],
)
def test_lines_without_an_end_are_rejected(content, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    assert "got a line of more than 16 MiB" in rejected(tmp_path / "t.csv")


def test_a_lack_of_memory_is_a_sentence(tmp_path, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr(_files, "unpacked", exhausted)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"t\.csv: the table does not fit in memory; draw some of its rows"):
        read_table(tmp_path / "t.csv")
