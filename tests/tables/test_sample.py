"""Samples of the rows of tables of any size."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
from threading import Thread

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy import stats

from sklearn_ltdl.tables import _bytes, _files, read_table
from sklearn_ltdl.tables._sample import Drawing, Sample, hashes
from sklearn_ltdl.tables._warnings import Examined, few_events


@pytest.fixture
def in_blocks(monkeypatch):
    """Read files of more than 2000 bytes in blocks of 500."""
    monkeypatch.setattr(_files, "WHOLE", 2000)
    monkeypatch.setattr(_bytes, "PART", 500)


@pytest.fixture
def frame(rng):
    n = 3000
    cells = ["a", "b, c", 'say "so"', "line\nbreak", '5" pipe', 'two\n"lines"\n', ""]
    return pd.DataFrame({
        "row": np.arange(1, n + 1),
        "x": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        "t": rng.choice(cells, n),
        "d": pd.date_range("2020", periods=n, freq="h").strftime("%d.%m.%Y %H:%M"),
        "y": rng.normal(size=n),
    })  # fmt: skip


def test_hashes_are_those_of_splitmix64():  # its first numbers of the seed 0, as its authors publish them
    assert [f"{number:x}" for number in hashes(0, 3)] == ["e220a8397b1dcdaf", "6e789e6aa1b965f4", "6c45d188009454f"]


@pytest.mark.parametrize("blocks", [[7000], [1] * 300 + [6700], [3500, 3500]])
def test_the_sample_is_that_of_the_least_hashes_however_the_table_comes(blocks):
    drawing, start = Drawing(100), 0
    for size in blocks:
        drawing.add(range(start, start + size))
        start += size
    sample, rows = drawing.done()
    assert sample.rows.tolist() == rows == sorted(np.argsort(hashes(0, 7000))[:100])
    assert sample.n_rows == 7000
    assert sample.rows.tolist() == Sample.draw(7000, 100).rows.tolist()


def test_a_small_sample_is_part_of_a_large_one_and_both_are_spread_evenly():
    small, large = Sample.draw(10**6, 2000).rows, Sample.draw(10**6, 20_000).rows
    assert set(small) < set(large)
    for rows in (small, large):
        assert stats.kstest(rows / 10**6, "uniform").pvalue > 0.01
        assert stats.chisquare(np.bincount(rows % 7)).pvalue > 0.01


def test_a_table_that_is_no_longer_than_the_sample_is_whole():
    for size in (50, 60, "all"):
        sample = Sample.draw(50, size)
        assert sample.is_whole
        assert sample.rows.tolist() == list(range(50))
    assert not Sample.draw(50, 49).is_whole


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", ["as needed", "all"])
def test_a_file_in_blocks_has_the_rows_of_the_whole_file(end, quoting, frame, tmp_path, in_blocks):
    path = tmp_path / "t.csv"
    if end == "\r":  # which in a cell would end the line as well
        frame = frame.assign(t=frame["t"].str.replace("\n", " "))
    frame.to_csv(path, index=False, lineterminator=end, quoting={"as needed": 0, "all": 1}[quoting])
    whole, *_ = read_table(path)
    assert len(whole) == 3000
    for size in (40, 2999, 3000, "all"):
        table = read_table(path, sample=size)
        assert table.sample == Sample(*table.sample)
        assert table.sample.n_rows == 3000
        assert table.sample.rows.tolist() == Sample.draw(3000, size).rows.tolist()
        pd.testing.assert_frame_equal(table.frame, whole.iloc[table.sample.rows], check_index_type=False)


def test_a_quotation_mark_within_a_cell_opens_nothing(tmp_path, in_blocks):
    path = tmp_path / "t.csv"
    path.write_text("size,y\n" + "".join(f'{k % 7}" pipe,{k}\n' for k in range(1000)))
    table = read_table(path, sample=100)
    assert table.frame["y"].tolist() == table.sample.rows.tolist() == Sample.draw(1000, 100).rows.tolist()


def test_blank_lines_are_no_rows_but_in_a_single_column(tmp_path, in_blocks):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{k},{k}\n\n" for k in range(1000)))
    table = read_table(path, sample=100)
    assert table.sample.n_rows == 1000
    assert table.frame["x"].tolist() == table.sample.rows.tolist()
    for sign, blank in [(",", "\t"), (",", " \t \t"), (";", "\t\t"), ("\t", "  "), (" ", "\t ")]:
        path.write_text(f"x{sign}y\n" + "".join(f"{k}{sign}{k}\n{blank}\n" for k in range(1000)))
        table = read_table(path, sample=100)
        assert table.sample.n_rows == 1000
        assert table.frame["x"].tolist() == table.sample.rows.tolist()
    path.write_text("x\ty\n" + "".join(f"{k}\t{k}\n\t\n" for k in range(1000)))
    assert read_table(path, sample=100).sample.n_rows == 2000  # a row of two empty cells
    path.write_text("x\n" + "".join(f"{k:03}0\n\n" for k in range(1000)))
    table = read_table(path, sample=100, least_columns=1)
    assert table.sample.n_rows == 2000


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_are_unpacked_in_blocks(pack, frame, tmp_path, in_blocks):
    path = tmp_path / "t"
    for data in (frame.to_csv(index=False).encode(), parquet_of(frame)):
        path.write_bytes(pack(data))
        table = read_table(path, sample=50)
        assert table.frame["row"].tolist() == (Sample.draw(3000, 50).rows + 1).tolist()


def parquet_of(frame, **options):
    sink = io.BytesIO()
    frame.to_parquet(sink, **options)
    return sink.getvalue()


def test_the_standard_input_is_sampled(frame, monkeypatch, in_blocks):
    for data in (frame.to_csv(index=False).encode(), parquet_of(frame)):
        monkeypatch.setattr("sys.stdin", type("Input", (), {"buffer": io.BytesIO(data)}))
        assert read_table("-", sample=50).frame["row"].tolist() == (Sample.draw(3000, 50).rows + 1).tolist()


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes with a name")
def test_a_pipe_is_read_once(frame, tmp_path, in_blocks):
    for data in (frame.to_csv(index=False).encode(), gzip.compress(parquet_of(frame))):
        os.mkfifo(tmp_path / "pipe")
        writer = Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
        writer.start()
        table = read_table(tmp_path / "pipe", sample=50)
        writer.join()
        assert table.frame["row"].tolist() == (Sample.draw(3000, 50).rows + 1).tolist()
        (tmp_path / "pipe").unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of the size of files")
def test_a_disk_without_room_is_not_called_a_damaged_file(frame, tmp_path, monkeypatch):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "t").write_bytes(gzip.compress(parquet_of(frame)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"cannot be copied there .*\(File too large\); make room, or set TMPDIR"):
            read_table(tmp_path / "t", sample=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(read_table(tmp_path / "t", sample=100).frame) == 100
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="gone: the table cannot be copied there"):
        read_table(tmp_path / "t", sample=100)


def test_lines_above_and_below_the_rows_are_left_out(frame, tmp_path, in_blocks):
    rows = "".join(f"{k};{k % 10},5\n" for k in range(1000))
    (tmp_path / "t.csv").write_text(f"\ufeff# made\nPrices\n\nx;y\n(km);(EUR)\n{rows}Total;4999,5\n\nSource: us\n")
    table = read_table(tmp_path / "t.csv", sample=100)
    assert table.sample.n_rows == 1000
    assert table.frame["x"].tolist() == table.sample.rows.tolist()
    assert table.frame["y"].tolist() == [k % 10 + 0.5 for k in table.sample.rows]
    codes = {note.code for note in table.notes}
    assert codes >= {"comments", "title", "units row", "totals row", "remark", "decimal commas"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252", "big5", "cp1251"])
def test_encodings(encoding, tmp_path, in_blocks):
    letter = {"big5": "中", "cp1251": "ж"}.get(encoding, "é")
    text = f"{letter},y\n" + "".join(f"{letter}{k % 3},{k}\n" for k in range(1000))
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    given = {"encoding": encoding} if encoding in ("big5", "cp1251") else {}
    table = read_table(tmp_path / "t.csv", sample=100, **given)
    assert table.frame[letter].tolist() == [f"{letter}{k % 3}" for k in table.sample.rows]
    noted = [note.code for note in table.notes]
    assert noted == (["encoding"] if encoding in ("utf-16", "cp1252") else [])
    with pytest.raises(ValueError, match=r"the file is not utf-32 \(byte"):
        read_table(tmp_path / "t.csv", sample=100, encoding="utf-32")


def test_lines_that_the_user_leaves_out(tmp_path, in_blocks):
    rows = "".join(f"{k};{k}\n" for k in range(1000))
    (tmp_path / "t.csv").write_text(f"sep=;\nx,what is this,y\nx;y\n{rows}")
    table = read_table(tmp_path / "t.csv", sample=100, skip_rows=1)
    assert table.frame["y"].tolist() == table.sample.rows.tolist()
    (tmp_path / "t.csv").write_text(rows)
    table = read_table(tmp_path / "t.csv", sample=100, header=False)
    assert table.frame["2"].tolist() == table.sample.rows.tolist()


def test_a_quotation_mark_that_is_never_closed_ends_the_reading(tmp_path, monkeypatch, in_blocks):
    monkeypatch.setattr("sklearn_ltdl.tables._blocks.LONGEST_LINE", 10_000)
    rows = "".join(f"{k},{k}\n" for k in range(3000))
    (tmp_path / "t.csv").write_text(f'x,y\n{rows}"1,2\n{rows}')
    with pytest.raises(ValueError, match=r"t\.csv: .*a quotation mark that opens is never closed"):
        read_table(tmp_path / "t.csv", sample=100)
    (tmp_path / "t.csv").write_text(f"x,y\n{rows}" + "1" * 20_000)
    with pytest.raises(ValueError, match=r"t\.csv: expected a table, got a line of more than"):
        read_table(tmp_path / "t.csv", sample=100)


@pytest.mark.parametrize("group", [1, 100, 1500, 3000])
@pytest.mark.parametrize("dictionary", [True, False])
def test_parquet_has_the_rows_and_types_of_the_whole_file(group, dictionary, frame, tmp_path):
    frame = frame.assign(
        kind=frame["t"].astype("category"), when=pd.date_range("2020", periods=3000), yes=frame["x"] > 0,
        small=frame["row"].astype("int8", errors="ignore"),
    ).set_axis(pd.date_range("1990", periods=3000, name="day"))  # fmt: skip
    (tmp_path / "t.parquet").write_bytes(parquet_of(frame, row_group_size=group, use_dictionary=dictionary))
    whole, notes, *_ = read_table(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", sample=200)
    assert table.notes == notes
    assert table.sample.rows.tolist() == Sample.draw(3000, 200).rows.tolist()
    expected = whole.iloc[table.sample.rows]
    pd.testing.assert_frame_equal(table.frame, expected, check_index_type=False, check_categorical=False)


def test_parquet_of_a_range_index_and_of_no_pandas(tmp_path, rng):
    table = pa.table({"x": np.arange(1000), "y": rng.normal(size=1000)})
    parquet.write_table(table, tmp_path / "a.parquet")
    table.to_pandas().to_parquet(tmp_path / "b.parquet")
    for name in ("a", "b"):
        found = read_table(tmp_path / f"{name}.parquet", sample=100)
        assert found.frame["x"].tolist() == found.sample.rows.tolist()
        assert found.notes == []


@pytest.mark.parametrize("index", [pd.RangeIndex(1000, name="row"), pd.RangeIndex(7, 3007, 3, name="row")])
def test_a_named_index_that_counts_is_a_column_of_the_sample_too(index, tmp_path, rng):
    pd.DataFrame({"x": rng.normal(size=1000), "y": 0.5}, index=index).to_parquet(tmp_path / "t.parquet")
    whole = read_table(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet", sample=100)
    assert list(found.frame) == ["row", "x", "y"]
    assert found.notes == whole.notes
    pd.testing.assert_frame_equal(found.frame, whole.frame.iloc[found.sample.rows], check_index_type=False)


MEASURED = """
import pathlib, sys
from sklearn_ltdl.tables import read_table
import pandas, pyarrow.parquet
before = int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
print(len(read_table(sys.argv[1], sample=1000).frame))
print(int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("kind", ["csv", "parquet", "texts"])
def test_a_file_is_never_whole_in_memory(kind, tmp_path, rng):
    path, n = tmp_path / "t", 1_500_000
    if kind == "csv":  # 70 MB, of which 32 are read at once
        with path.open("w") as file:
            file.write("a,b,c,d\n")
            for k in range(0, n, 1000):
                file.write(f"{k}.123456,{k}.123456,{k}.123456,{k}.123456\n" * 1000)
    elif kind == "parquet":  # 240 MB in one row group
        parquet.write_table(pa.table({str(j): rng.random(n) for j in range(20)}), path, row_group_size=n)
    else:  # 6 GB, each text written once
        words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300_000, np.int32)), pa.array(["x" * 20_000]))
        parquet.write_table(pa.table({"a": words, "b": words.indices}), path, store_schema=False)
    run = subprocess.run([sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=True)
    n_rows, added = map(int, run.stdout.split())
    assert n_rows == 1000
    assert added < 200_000  # KiB; pandas takes 490 000 for the second file


def test_a_lack_of_memory_for_all_rows_is_told(frame, tmp_path, monkeypatch, in_blocks):
    monkeypatch.setattr(_bytes, "LARGEST_FILE", 50_000)
    monkeypatch.setattr(_bytes, "memory", lambda: 0)
    for data in (frame.to_csv(index=False).encode(), parquet_of(frame)):
        (tmp_path / "t").write_bytes(data)
        with pytest.raises(ValueError, match=r"rows .*--sample N"):
            read_table(tmp_path / "t", sample="all")
        assert len(read_table(tmp_path / "t", sample=20).frame) == 20
    monkeypatch.setattr(_bytes, "memory", lambda: 10**9)
    assert len(read_table(tmp_path / "t", sample="all").frame) == 3000


def test_sizes_that_are_no_number_of_rows_are_rejected(tmp_path):
    for size in (0, -1, 2.5, "some"):
        with pytest.raises(ValueError, match="sample: expected a number of rows above 0, 'all' or None"):
            read_table(tmp_path / "t.csv", sample=size)


def test_few_events_of_a_sample_ask_for_more_rows():
    class Target:
        classes, values, task = np.array(["no", "yes"]), np.repeat([0, 1], [95, 5]), "classification"

    for is_sample in (False, True):
        note = few_events(Examined(np.zeros((100, 1)), [], Target, np.arange(100), False, False, is_sample))
        assert ("--sample" in note) == is_sample
