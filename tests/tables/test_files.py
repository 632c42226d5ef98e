import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
import threading
import zipfile

import numpy as np
import pandas as pd
import pyarrow
import pytest

from sklearn_ltdl.tables import _bytes
from sklearn_ltdl.tables._files import read_table

FRAME = pd.DataFrame({"x": [1.5, np.nan, 3.0], "town": ["A", "B", np.nan], "y": [1, 2, 3]})
TEXT = FRAME.to_csv(index=False).encode()


def zstd(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def zipped(**files):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def tarred(data):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        member = tarfile.TarInfo("t.csv")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def parquet(frame):
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


@pytest.fixture
def read(tmp_path):
    def read(data, **options):
        (tmp_path / "table").write_bytes(data)
        return read_table(tmp_path / "table", **options)[:2]

    return read


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd, lambda d: zipped(t=d)])
@pytest.mark.parametrize("data", [TEXT, FRAME.to_csv(sep="\t", index=False).encode(), parquet(FRAME)])
def test_every_format_and_compression_gives_the_same_table(read, data, pack):
    table, notes = read(pack(data))  # the name of the file says nothing
    pd.testing.assert_frame_equal(table.where(table.notna(), np.nan), FRAME)  # pandas 2 reads None of Parquet
    assert notes == []


def test_the_standard_input_is_read(monkeypatch):
    class Input:
        buffer = io.BytesIO(gzip.compress(TEXT))

    monkeypatch.setattr("sys.stdin", Input)
    pd.testing.assert_frame_equal(read_table("-")[0], FRAME)
    Input.buffer = io.BytesIO()
    with pytest.raises(ValueError, match=r"standard input: .* got an empty file"):
        read_table("-")


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", []),
        ("utf-8-sig", []),
        ("utf-16", ["UTF-16"]),
        ("cp1252", ["Windows-1252"]),
        ("latin-1", ["Windows-1252"]),
    ],
)
def test_encodings_are_recognised_and_all_but_utf8_are_told(read, encoding, note):
    table, notes = read("größe;ville\n1;Orléans\n2;Nîmes\n".encode(encoding))
    assert list(table) == ["größe", "ville"]
    assert table["ville"].tolist() == ["Orléans", "Nîmes"]
    assert len(notes) == len(note)
    assert all(word in line for word, line in zip(note, notes))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_quotes_and_missing_values_are_read(read, delimiter):
    lines = [["x", '"name, first; second"', "y"], ["1", '"a;b, c|d"', "2"], ["?", '""', "NA"]]
    table, notes = read(("\n" + "\n".join(delimiter.join(line) for line in lines)).encode())
    expected = pd.DataFrame({"x": [1, np.nan], "name, first; second": ["a;b, c|d", np.nan], "y": [2, np.nan]})
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    assert notes == ["In 'y', the column to predict, these texts are treated as missing: 'NA' in 1 row."]


def test_columns_without_a_name_are_left_out(read):
    table, notes = read(FRAME.to_csv().encode())
    pd.testing.assert_frame_equal(table, FRAME)
    assert notes == ["The first column has no name and is ignored."]
    assert read(b"x,y,\n1,2,\n3,4,\n")[1] == ["The last column has no name and is ignored."]
    table, notes = read(b"x,,y,,\n1,5,2,,\n3,6,4,,\n")  # of a spreadsheet
    assert table.to_dict("list") == {"x": [1, 3], "y": [2, 4]}
    assert notes == ["3 columns have no name and are ignored."]
    assert read(b',x,y\n"1,5",1,2\n"2,5",3,4\n')[0].to_dict("list") == {"x": [1, 3], "y": [2, 4]}
    counted = FRAME.set_axis(range(3), axis=1)
    pd.testing.assert_frame_equal(read(counted.to_csv().encode())[0], counted.rename(columns=str))


def test_dates_and_decimal_commas_of_a_file_are_read(read):
    table, notes = read(b"day;area;code;y\n2024-01-30;1,5;A1;1\n2024-02-01;-2;B2;2\n;3,25;C3;3\n")
    assert notes == ["Decimal commas are read in 'area'."]
    assert table["area"].tolist() == [1.5, -2.0, 3.25]
    assert (table["day"][1] - table["day"][0]).days == 2


def test_codes_keep_their_zeros_and_text_stays_text_if_asked(read):
    data = b"zip,hour,dose,level,day,y\n01067,08,0150,1,2024-01-01,1\n99999,12,1.5,2,2024-01-02,2\n"
    table, notes = read(data, text=["level", "day"])
    assert table["zip"].tolist() == ["01067", "99999"]
    assert table["hour"].tolist() == [8, 12]
    assert table["dose"].tolist() == [150, 1.5]
    assert table["level"].tolist() == ["1", "2"]
    assert table["day"].tolist() == ["2024-01-01", "2024-01-02"]
    assert notes == ["Numbers with leading zeros are read as categories in 'zip'."]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_codes_keep_their_zeros_wherever_they_are(read, delimiter):
    rows = [[f"{10000 + i}", str(i), f'"{i},5"', str(i)] for i in range(1500)]
    rows[1200][0], rows[1300][0], rows[7][1], rows[8][1] = "01067", "", "0012", ""
    data = "\n".join(map(delimiter.join, [["zip", "late", "size", "y"], *rows]))
    table, notes = read(data.encode())
    assert table["zip"][1200] == "01067"
    assert table["zip"].isna().sum() == 1
    assert table["zip"][5] == "10005"
    assert table["late"][7] == "0012"
    assert table["size"].tolist() == [i + 0.5 for i in range(1500)]
    assert notes == [
        "Numbers with leading zeros are read as categories in 'zip', 'late'.", "Decimal commas are read in 'size'."
    ]  # fmt: skip
    assert read(data.encode("utf-16"))[0]["zip"][1200] == "01067"


@pytest.mark.parametrize(
    ("data", "columns", "words"),
    [  # as Excel writes them in German, Swiss, French and US settings
        ("p;q;x\n1.001;1.234,5;1,5\n950;2,25;2\n12.500;-3.000.000,0;3,5\n",  # 1000 * 1.001 is not 1001
         {"p": [1001, 950, 12500], "q": [1234.5, 2.25, -3e6], "x": [1.5, 2, 3.5]},
         ["Decimal commas are read in 'q', 'x'.", "Thousands separators are removed in 'p'."]),
        ("p;x\n1'234,5;1\n950,0;2\n", {"p": [1234.5, 950]}, ["Decimal commas"]),
        ("p;x\n1\u202f234,5;1\n1,5E+03;2\n", {"p": [1234.5, 1500]}, ["Decimal commas"]),
        ("p\tx\n1,5\t1\n2,5\t2\n", {"p": [1.5, 2.5]}, ["Decimal commas"]),
        ('p,x\n"1,234.5",1\n950,2\n', {"p": [1234.5, 950]}, ["Thousands separators are removed in 'p'."]),
        ('p,x\n"1,234",1\n950,2\n', {"p": [1234, 950]}, ["Thousands separators are removed in 'p'."]),
        ("p;x\n1,234;1.5\n950;2.5\n", {"p": [1234, 950], "x": [1.5, 2.5]}, ["Thousands separators"]),
        ("p;x\n1,234;1,5\n0,950;2,5\n", {"p": [1.234, 0.95]}, ["Decimal commas are read in 'p', 'x'."]),
        ("p;x\n1.000;5,678\n2.000;1,234\n",
         {"p": [1000, 2000], "x": [5.678, 1.234]}, ["Decimal commas", "Thousands separators"]),
        ("p;x\n1.25;1,5\n2.5;2,5\n", {"p": [1.25, 2.5], "x": [1.5, 2.5]}, ["Decimal commas are read in 'x'."]),
        ("p;x\n1.234;1\n2.500;2\n", {"p": [1.234, 2.5]}, ["Points are read as decimal points, not as"]),
        ("p;x\n0.234;1\n2.500;2\n", {"p": [0.234, 2.5]}, []),
        ('p,q\n"$1,234.50",50.5%\n-$3.00,7%\n', {"p": [1234.5, -3], "q": [50.5, 7]},
         ["Thousands separators are removed in 'p'.", "Units are removed in 'p' ($), 'q' (%)."]),
        ("p;q\n1.234,50 €;$1\n3 €;2 €\n", {"p": [1234.5, 3], "q": ["$1", "2 €"]},
         ["Decimal commas are read in 'p'.", "Units are removed in 'p' (€)."]),
    ],
)  # fmt: skip
def test_numbers_of_spreadsheets_in_other_languages_are_read(read, data, columns, words):
    table, notes = read(data.encode())
    for name, values in columns.items():
        assert table[name].tolist() == values
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes))


def test_what_is_a_number_for_python_alone_is_text(read):
    table, notes = read(b"x,y\n1_100,1\n1_200,2\n")
    assert table["x"].tolist() == ["1_100", "1_200"]
    assert notes == []


def test_dates_of_which_the_order_is_known_are_read(read):
    table, notes = read(b"day;time;y\n31.05.2024;2024-03-30T12:00+01:00;1\n1.6.2024;2024-03-31T12:00:00+02:00;2\n")
    assert (table["day"][1] - table["day"][0]).days == 1
    assert (table["time"][1] - table["time"][0]).total_seconds() == 23 * 3600  # the clocks went forward
    assert notes == ["Dates are read day first in 'day'."]
    assert read(b"day;y\n31.05.2024;1\n32.05.2024;2\n")[0]["day"].tolist() == ["31.05.2024", "32.05.2024"]
    table, _ = read(b"day;y\n31.05.2024 9:30;1\n01.06.2024 10:30;2\n")
    assert (table["day"][1] - table["day"][0]).total_seconds() == 25 * 3600
    table, notes = read(b"us,uk,either,y\n5/31/2024,31/05/2024,1/2/2024,1\n12/1/2023,1/12/2023,3/4/2024,2\n")
    assert table["us"].tolist() == table["uk"].tolist() == [pd.Timestamp("2024-05-31"), pd.Timestamp("2023-12-01")]
    assert table["either"].tolist() == ["1/2/2024", "3/4/2024"]
    assert notes == [
        "Dates are read day first in 'uk'.",
        "Dates are read month first in 'us'.",
        "Dates are kept as text in 'either', because day and month are ambiguous; write them as 2024-05-31.",
    ]


def test_lines_without_a_name_above_the_header_are_passed_over(read):
    assert read(b"sep=;\r\nx;y\r\n1,5;2\r\n")[0].to_dict("list") == {"x": [1.5], "y": [2]}
    table, _ = read(b'\n,,\n"a\nb",x,y\n1,2,3\n4,5,6\n')
    assert list(table) == ["a\nb", "x", "y"]
    assert table.to_numpy().tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_blank_line_of_a_single_column_is_a_missing_value(read):
    table, _ = read(b"x\n1\n\n3\n", least_columns=1)
    assert table["x"].fillna(-1).tolist() == [1, -1, 3]


@pytest.mark.parametrize("target", [None, "kind", "2"])
def test_labels_keep_their_zeros_and_none_is_a_class(read, target):
    table, notes = read(b"x,kind\n" + b"01,01\n02,2\n03,NA\n" * 5, target=target)
    assert table["kind"].dropna().tolist() == ["01", "2"] * 5
    assert table["x"].tolist() == [1, 2, 3] * 5
    assert notes == [
        "Numbers with leading zeros are read as labels in 'kind'.",
        "In 'kind', the column to predict, these texts are treated as missing: 'NA' in 5 rows.",
    ]
    table, notes = read(b"x,pain\n1,None\n2,mild\n3,n/a\n4,\n5,\n", target=target and "-1")
    assert table["pain"].tolist()[:2] == ["None", "mild"]
    assert table["pain"].isna().sum() == 3
    assert notes == [
        "'None' is a class of 'pain', 1 row; leave these cells empty if it means missing.",
        "In 'pain', the column to predict, these texts are treated as missing: 'n/a' in 1 row.",
    ]
    table, notes = read(b"x,pain\n1,None\n2,1\n3,2\n")  # numbers
    assert table["pain"].isna().sum() == 1
    assert notes == ["In 'pain', the column to predict, these texts are treated as missing: 'None' in 1 row."]
    many = "".join(f"{i},{i:02}\n" for i in range(40))  # too many to be labels
    assert read(f"x,y\n{many}".encode())[0]["y"].tolist() == list(range(40))


def test_the_named_index_of_parquet_is_a_column(read):
    days = pd.date_range("2024-01-01", periods=3)
    frame = FRAME.set_index(pd.Index(days, name="day"))
    table, notes = read(parquet(frame))
    assert list(table) == ["day", "x", "town", "y"]
    assert table["day"].tolist() == list(days)
    assert notes == ["The index of the table is read as a column, 'day'."]
    table, notes = read(parquet(FRAME.set_index(days)))
    assert list(table) == list(FRAME)
    assert notes == ["The index of the table, such as '2024-01-01 00:00:00', has no name and is ignored."]
    assert read(parquet(FRAME.iloc[[2, 0]]))[1] == []  # rows drawn from a table
    with pytest.raises(ValueError, match="got 'x' more than once"):
        read(parquet(FRAME.set_index(pd.Index([1, 2, 3], name="x"))))


def test_dates_of_parquet_are_dates(read):
    frame = pd.DataFrame({"day": [d.date() for d in pd.date_range("2024-01-01", periods=3)], "y": [1, 2, 3]})
    assert read(parquet(frame))[0]["day"].dtype.kind == "M"


@pytest.mark.filterwarnings("ignore")  # else those of pandas are errors, whatever is done with them
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"\n \n", "got an empty file"),
        (gzip.compress(b""), "got an empty file"),
        (b"x,y\n", "expected rows below the header"),
        (b"x\n1\n2\n", "at least two columns"),
        (b"just a sentence", "at least two columns"),
        (
            b"Sales of 2024,,\n\nx,z,y\n1,2,3\n",
            "got 'Sales of 2024'; remove the lines above the header .--skip-rows N",
        ),
        (b"1.5,2.5\n3.5,4.5\n", "put a header line"),
        (b"x,y\n1,2\n1,2,3,4\n", r"expected 2 values per line, as in the header; Expected 2 fields in line 3, saw 4\."),
        (b'x,y\n"a,1\nb,2\n', "expected 2 values per line, .*; a quotation mark is not closed"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", r"got an image \(PNG\); save the table as CSV or Parquet"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", r"got an image \(JPEG\)"),
        (b"%PDF-1.7\n", "got a PDF"),
        (b"\n<!DOCTYPE html>\n<table>", "got HTML or XML"),
        (b"<root>\n<row x='1'/>\n</root>\n", "got HTML or XML"),
        (json.dumps({"x": [1, 2]}).encode(), "got JSON"),
        (json.dumps([{"x": 1}], indent=1).encode(), "got JSON"),
        (pickle.dumps({"x": 1}), "got a pickle"),
        (b"\x93NUMPY\x01\x00", "got a NumPy array"),
        (b"x,y\x00z\n\xff\xfe,1\n", "got binary data"),
        (b"x,y\n\x81\x8d,1\n", "got binary data"),
        (tarred(TEXT), "got a tar archive"),
        (gzip.compress(tarred(TEXT)), "got a tar archive"),
        (gzip.compress(TEXT)[:-9], "the gzip file is damaged"),
        (lzma.compress(TEXT)[:-9], "the xz file is damaged"),
        (bz2.compress(TEXT)[:-9], "the bzip2 file is damaged"),
        (zstd(TEXT * 9)[:-9], "the zstd file is damaged"),
        (zipped(t=TEXT)[:-9], "the zip file is damaged"),
        (zipped(a=TEXT, b=TEXT), "zip archive of 2 files .'a', 'b'."),
        (zipped(**{"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "got a workbook"),
        (parquet(FRAME)[:-9], "Parquet file cannot be read"),
        (parquet(FRAME[["x"]]), "at least 2 columns"),
        (parquet(FRAME[:0]), "rows of at least 2 columns"),
        (b'"' + b"x" * 200_000, "first line has no end"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",  # packed bytes hold the time
)
def test_files_that_are_no_tables_are_named_in_one_sentence(read, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(content)
    assert "\n" not in str(caught.value).strip()


def test_a_folder_a_missing_file_and_one_that_may_not_be_read_are_named(tmp_path):
    with pytest.raises(ValueError, match="there is no Parquet file"):
        read_table(tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        read_table(tmp_path / "nowhere.csv")
    path = tmp_path / "secret.csv"
    path.write_bytes(TEXT)
    path.chmod(0)
    if not os.access(path, os.R_OK):  # root may read it
        with pytest.raises(ValueError, match=r"cannot be read \(Permission denied\)"):
            read_table(path)


def test_what_is_too_large_unpacked_is_refused(read, monkeypatch):
    monkeypatch.setattr(_bytes, "LARGEST_FILE", 1 << 20)
    bomb = gzip.compress(b"x,y\n" + b"1,2\n" * (1 << 19))
    assert len(bomb) < 1 << 14
    with pytest.raises(ValueError, match="expected at most"):
        read(bomb)
    with pytest.raises(ValueError, match="200000 rows of 2 columns do not fit in memory"):
        read(parquet(pd.DataFrame({"x": [1.0] * 200_000, "y": [2.0] * 200_000})))


def test_whole_numbers_beyond_machine_words_keep_their_digits(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("id;x\n12345678901234567890123400;1,5\n12345678901234567890123401;2,5\n")
    table, *_ = read_table(file)
    assert table["id"].tolist() == ["12345678901234567890123400", "12345678901234567890123401"]
    assert table["x"].tolist() == [1.5, 2.5]


def test_infinite_and_huge_numbers_are_read_without_a_warning(read):
    table, notes = read(b"x;z;y\n1.5;inf;1\n1e308;2.5;2\n-1e308;1;3\n")  # warnings are errors in tests
    assert table["x"].tolist() == [1.5, 1e308, -1e308]
    assert table["z"].tolist() == [np.inf, 2.5, 1.0]
    assert notes == []


@pytest.mark.parametrize("name", ["<script>", "<b>size</b>", "<a", "[1]", "<x:y>"])
def test_a_header_that_looks_like_markup_is_a_header(tmp_path, name):
    path = tmp_path / "table.csv"
    path.write_text(f"{name},y\n" + "".join(f"{i},{i % 7}\n" for i in range(20)))
    assert list(read_table(path)[0].columns) == [name, "y"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_pipe_is_read_like_a_file(tmp_path, pack):
    """Shells hand over a pipe for ``<(zcat table.csv.gz)``; it can be read once only."""
    lines = b"x,y\n" + b"".join(b"%d,%d\n" % (i, i % 7) for i in range(50))
    pipe, file = tmp_path / "pipe", tmp_path / "table.csv"
    file.write_bytes(lines)
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(pack(lines),))
    writer.start()
    read = read_table(pipe)[0]
    writer.join()
    pd.testing.assert_frame_equal(read, read_table(file)[0])
