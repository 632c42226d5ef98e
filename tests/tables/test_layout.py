"""Where the table is in a file: what is above and below it, its delimiter, and what is no header."""

import pandas as pd
import pytest

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl.tables._files import read_table

ROWS = "".join(f"{0.37 * k:.2f},{'uv'[k % 2]},{k % 5}\n" for k in range(12))


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        (tmp_path / "table").write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_table(tmp_path / "table", **options)[:2]

    return read


def codes(notes):
    return [note.code for note in notes]


@pytest.mark.parametrize(
    ("above", "said"),
    [
        ("", []),
        ("# made by a tool, v1\n# units: m\n", ["comments"]),
        ("% of an ARFF\n", ["comments"]),
        ("Sales of 2024\n", ["title"]),
        ("Sales of 2024,,\n\n", ["title"]),
        ("Sales, 2024\n", ["title"]),
        ("# by a tool\nSales of 2024\n\n", ["comments", "title"]),
    ],
)
def test_what_is_above_the_header_is_left_out_and_said(read, above, said):
    expected = read("size,kind,y\n" + ROWS)[0]
    table, notes = read(f"{above}size,kind,y\n{ROWS}")
    pd.testing.assert_frame_equal(table, expected)
    assert codes(notes) == said


def test_decimal_commas_below_a_title_are_no_delimiters(read):
    table, _ = read("Report of 2024\n\nx;y\n" + "".join(f"{k},5;{k},25\n" for k in range(20)))
    assert table.iloc[1].tolist() == [1.5, 1.25]


def test_blanks_around_labels_are_left_out(read):
    table, _ = read("x,y\n1,yes \n2, yes\n3,no\n")
    assert table["y"].tolist() == ["yes", "yes", "no"]


def test_a_header_that_begins_with_a_comment_sign_is_a_header(read):
    assert list(read("# size,kind,y\n" + ROWS)[0]) == ["size", "kind", "y"]  # as numpy.savetxt writes
    assert list(read("#,kind,y\n" + ROWS)[0]) == ["#", "kind", "y"]


def test_a_row_of_units_is_left_out_and_said(read):
    for units in ("(C),,[m]", "C,,m", "degrees,word,m"):
        table, notes = read(f"size,kind,y\n{units}\n{ROWS}")
        assert len(table) == 12
        assert table["size"].dtype.kind == "f"
        assert codes(notes) == ["units row"]
    assert codes(read(f"size,kind,y\nunknown,u,3\n{ROWS}")[1]) == ["strays"]  # a row


@pytest.mark.parametrize(
    ("below", "said"),
    [
        ("Total,,12\n", ["totals row"]),
        (" Grand Total:,u,12\n", ["totals row"]),
        ("Summe,,12\n\n", ["totals row"]),
        ("Source: a survey\n", ["remark"]),
        ("Total,,12\n* preliminary figures\n", ["remark", "totals row"]),
        ("1,u\n", ["short lines"]),  # a row
    ],
)
def test_what_is_below_the_table_is_left_out_and_said(read, below, said):
    table, notes = read(f"size,kind,y\n{ROWS}{below}")
    assert len(table) == 12 + (said == ["short lines"])
    assert codes(notes) == said
    assert table["size"].dtype.kind == "f"


def test_a_word_that_other_rows_hold_as_well_is_no_total(read):
    rows = "good,1,2\naverage,2,3\n" * 8
    assert len(read(f"quality,x,y\n{rows}")[0]) == 16


def test_blanks_are_a_delimiter(read):
    table, notes = read("size kind  y\n1.5  'u v' 2\n".replace("'", '"') + "2.5 w     3\n" * 3)
    assert table.to_numpy().tolist() == [[1.5, "u v", 2], *[[2.5, "w", 3]] * 3]
    assert notes == []
    table, notes = read("size  y\n  1.5  2\n 2.5   3\n")  # aligned to the right
    assert table.to_numpy().tolist() == [[1.5, 2], [2.5, 3]]
    with pytest.raises(ValueError, match="at least two columns"):
        read("one line of prose\nand a longer one that has more words\nthe end\n")


def test_the_column_of_row_names_that_r_does_not_name_is_left_out(read):
    for sign in (" ", ","):
        rows = [["size", "y"], *[[f'"car {k}"', f"{k / 4}", f"{k % 3}"] for k in range(9)]]
        table, notes = read("\n".join(map(sign.join, rows)))
        assert table["size"].tolist() == [k / 4 for k in range(9)]
        assert codes(notes) == ["unnamed"]
    table, _ = read("size,y\n1,2,\n3,4,\n")  # a comma too many
    assert table.to_numpy().tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "first",
    ["0.35,a,0.70", "39,State-gov,2174", "2024-01-01,a,b", "01,001,9.7", "0.35,a,"],
)
def test_a_header_that_looks_like_its_columns_is_a_question(read, first):
    other = {"2024-01-01,a,b": "2024-01-02,u,c\n"}.get(first, "1.5,u,2\n")
    with pytest.raises(ValueError, match=r"got '.*', as in the rows below\. Is it a row\? Use --no-header"):
        read(f"{first}\n{other * 9}")
    table, _ = read(f"{first}\n{other * 9}", header=False)
    assert list(table) == ["1", "2", "3"]
    assert len(table) == 10


def test_words_that_are_in_every_column_are_no_header(read):
    with pytest.raises(ValueError, match="which also occur in the rows below"):
        read("yes,red\n" + "yes,blue\nno,red\n" * 9)


def test_years_and_counted_columns_are_a_header(read):
    assert list(read("country,2010,2011,2012\nA,1,2,3\nB,2,3,4\n")[0]) == ["country", "2010", "2011", "2012"]
    assert list(read("0,1,2\n5.5,1.5,2.5\n3.5,1,2\n")[0]) == ["0", "1", "2"]
    assert list(read("id,10,20,30\n5,1.5,2.5,3\n3,1,2,4\n")[0]) == ["id", "10", "20", "30"]


def test_repeated_names_are_made_distinct_and_said(read):
    table, notes = read("x,x,x.1,x,y\n1,2,3,4,5\n2,3,4,5,6\n")
    assert list(table) == ["x", "x.2", "x.1", "x.3", "y"]
    assert notes == ["Repeated names are made distinct: 'x' as 'x.2', 'x' as 'x.3'."]


def test_line_breaks_in_cells_are_said(read):
    _, notes = read('note,y\n"a\nb",1\nc,2\n"d\ne",3\n')
    assert notes == ["2 cells contain line breaks, in 'note'; if a quotation mark is not closed there, rows are lost."]


def test_what_the_user_says_of_the_file_is_done(read):
    assert list(read("a*b\n1*2\n3*4\n", sep="*")[0]) == ["a", "b"]
    assert list(read("a,b;c\n1,2;3\n3,4;5\n", sep=";")[0]) == ["a,b", "c"]
    assert list(read("x,y\n0,0\na,b\n1,2\n", skip_rows=2)[0]) == ["a", "b"]
    table, _ = read("a,b\n-999,nil\n1,u\n", missing=("-999", "nil"))
    assert table["a"].isna().tolist() == table["b"].isna().tolist() == [True, False]
    assert read("имя,y\n1,2\n".encode("cp1251"), encoding="cp1251")[0].columns[0] == "имя"
    with pytest.raises(ParameterError, match=r"encoding: expected an encoding that Python knows.*got 'klingon'"):
        read("a,b\n1,2\n", encoding="klingon")
    with pytest.raises(ValueError, match=r"not utf-8 \(byte 0"):
        read(b"\xff,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"sep: expected one character, or tab or blanks, got ';;'"):
        read("a,b\n1,2\n", sep=";;")


def test_strays_of_training_are_missing_in_new_rows(read, tmp_path):
    rows = "".join(f"{k},{k}\n" for k in range(40))
    (tmp_path / "train").write_text(f"x,y\n{rows}rotary,3\n")
    table = read_table(tmp_path / "train")
    assert table.strays == {"x": ("rotary",)}
    assert read("x,y\nrotary,1\n2,3\n", strays=table.strays)[0]["x"].isna().tolist() == [True, False]
