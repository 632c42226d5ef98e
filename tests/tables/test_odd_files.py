"""Spellings and layouts that no standard describes, each read as its author meant it, and said."""

import datetime

import numpy as np
import pandas as pd
import pytest

from sklearn_ltdl.tables import _bytes, _files, read_table
from sklearn_ltdl.tables._columns import read_columns
from sklearn_ltdl.tables._target import split_target

N = 40


def read(tmp_path, text, encoding="utf-8", **options):
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return read_table(tmp_path / "t.csv", **options)


def column(tmp_path, cells, sep=";"):
    """Return how a column is read whose cells are given, and the codes of the notes."""
    rows = "".join(f"{cell}{sep}{k}.5\n" for k, cell in enumerate(cells))
    table = read(tmp_path, f"x{sep}y\n{rows}")
    return table.frame["x"], {note.code for note in table.notes}


@pytest.mark.parametrize(
    ("spell", "numbers", "code"),
    [
        (lambda k: f"{k + 1} 234 567", lambda k: 1e6 * (k + 1) + 234567, "thousands"),
        (lambda k: f"{k + 1}\u202f234,5", lambda k: 1e3 * (k + 1) + 234.5, "decimal commas"),
        (lambda k: f"{k + 1}'234.5", lambda k: 1e3 * (k + 1) + 234.5, "thousands"),  # Swiss
        (lambda k: f"{k + 10},34,567.8", lambda k: 1e5 * (k + 10) + 34567.8, "thousands"),  # Indian
        (lambda k: f"{k}.25-" if k % 2 else f"{k}.25", lambda k: (k + 0.25) * (1 - 2 * (k % 2)), "minus after"),  # SAP
        (lambda k: f"{k}.5D+03", lambda k: 1e3 * k + 500, "powers"),  # Fortran
        (lambda k: f"{k}.5x10^-2", lambda k: (k + 0.5) / 100, "powers"),
        (lambda k: f"{k}.25" if k % 2 else f"{k},25", lambda k: k + 0.25, "both signs"),
        (lambda k: f'="{k}.5"', lambda k: k + 0.5, None),  # for a spreadsheet
    ],
)
def test_numbers(spell, numbers, code, tmp_path):
    values, codes = column(tmp_path, map(spell, range(N)))
    np.testing.assert_allclose(values, [numbers(k) for k in range(N)], rtol=1e-15)
    assert codes == ({code} if code else set())


def test_a_separator_of_thousands_alone_does_not_make_the_commas_of_a_file_decimal(tmp_path):
    rows = "".join(f"{k + 1}'234;{k}.125\n" for k in range(N))
    table = read(tmp_path, f"x;y\n{rows}")
    assert table.frame["x"].tolist() == [1000 * (k + 1) + 234 for k in range(N)]
    assert table.frame["y"].tolist() == [k + 0.125 for k in range(N)]


@pytest.mark.parametrize("spell", [lambda k: f"{k % 9 + 1}-", lambda k: f"{k % 9}{'DE'[k % 2]}{k % 7}"])
def test_grades_and_codes_are_no_numbers(spell, tmp_path):
    assert not pd.api.types.is_numeric_dtype(column(tmp_path, map(spell, range(N)))[0].dtype)


def test_cells_that_could_separate_thousands_are_not_mixed_with_decimal_signs(tmp_path):
    cells = [[f"{k + 1}.234", f"{k + 1},25", f"{k + 1}.25"][k % 3] for k in range(N)]
    values, codes = column(tmp_path, cells)
    assert values.tolist() == cells
    assert codes == set()
    note = read_columns(pd.DataFrame({"x": values, "y": 1.5}))[1][0].note
    assert note.code == "strays"


DAYS = [datetime.datetime(2019, 1, 3, 6, 11) + datetime.timedelta(days=17 * k) for k in range(N)]
GERMAN = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
]
FRENCH = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
]
SPANISH = [
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
]
ITALIAN = [
    "gennaio",
    "febbraio",
    "marzo",
    "aprile",
    "maggio",
    "giugno",
    "luglio",
    "agosto",
    "settembre",
    "ottobre",
    "novembre",
    "dicembre",
]


@pytest.mark.parametrize(
    "spell",
    [
        lambda d: d.strftime("%d%b%Y").upper(),  # SAS
        lambda d: d.strftime("%d/%b/%Y:%H:%M:%S +0000"),  # servers
        lambda d: d.strftime("%Y_%m_%d"),
        lambda d: d.strftime("%d-%m-%Y %H.%M"),
        lambda d: d.strftime("%Y年%m月%d日"),
        lambda d: f"{d.day}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(d.day % 20 % 10 if d.day != 13 else 0, 'th') } {d:%B %Y}",
        lambda d: f"{d.day}. {GERMAN[d.month - 1]} {d.year}",
        lambda d: f"{d.day} {FRENCH[d.month - 1]} {d.year}",
        lambda d: f"{d.day} de {SPANISH[d.month - 1]} de {d.year}",
        lambda d: f"{d.day} {ITALIAN[d.month - 1]} {d.year}",
    ],
)
def test_dates(spell, tmp_path):
    values, _ = column(tmp_path, map(spell, DAYS))
    assert values.dtype.kind == "M"
    assert [f"{day:%Y-%m-%d}" for day in values] == [f"{day:%Y-%m-%d}" for day in DAYS]


def test_words_in_other_columns_are_no_months(tmp_path):
    cells = [["march", "mayo", "august", "set"][k % 4] for k in range(N)]
    assert column(tmp_path, cells)[0].tolist() == cells


def left_out(tmp_path, name, cells):
    """Return the code with which a column is left out, or None."""
    table = read(tmp_path, f"{name},x,y\n" + "".join(f"{cell},{k * k % 7},{k}.5\n" for k, cell in enumerate(cells)))
    found = read_columns(split_target(table.frame)[0])[1][0]
    return found.note.code if found.kind == "left out" else None


@pytest.mark.parametrize(
    ("name", "cells", "code"),
    [
        ("i", [N - k for k in range(N)], "row number"),  # the newest first
        ("i", [N - 1 - k for k in range(N)], "row number"),
        ("year", [2020 - k for k in range(N)], None),
        ("line", [10 * k + 10 for k in range(N)], "row number"),
        ("LfdNr", [k * 7 % N + 1 for k in range(N)], "row number"),  # shuffled, each number once
        ("rank", [k * 7 % N + 1 for k in range(N)], None),
        ("index", [f"{k}.0" for k in range(N)], "identifier"),
        ("k", [f"{k}.0" for k in range(N)], "row number"),
        ("customer_id", [f"{k * 7919 % 10007}.0" for k in range(N)], "identifier"),
        ("id", [f"{k * 7919 % 10007 + 1000:.3E}" for k in range(N)], "identifier"),
        ("nummer", [f"{k:04}" for k in range(N)], "identifier"),
        ("account", [f"9{k * 7919:018}" for k in range(N)], "identifier"),  # more digits than a double has
        ("account", [f"9{k * 7919:020}" for k in range(N)], "identifier"),
        ("moment", [1548051066000000000 + 10**9 * k * k for k in range(N)], None),
        ("size", [f"{k * 7919 % 10007}.0" for k in range(N)], None),
    ],
)
def test_numbers_of_rows_and_identifiers(name, cells, code, tmp_path):
    assert left_out(tmp_path, name, cells) == code


@pytest.mark.parametrize("cells", [range(1, N + 1), [f"{k:05}" for k in range(N)]])
def test_a_last_column_that_identifies_rows_is_no_target(cells, tmp_path):
    table = read(tmp_path, "x,key\n" + "".join(f"{k % 7},{cell}\n" for k, cell in enumerate(cells))).frame
    with pytest.raises(ValueError, match=r"Which column is to be predicted\? The last one, 'key', .*--target"):
        split_target(table)
    assert split_target(table, "key")[1].name == "key"
    assert split_target(table.rename(columns={"key": "y"}))[1].name == "y"


def test_zeros_that_are_dropped_are_said(tmp_path):
    values, codes = column(tmp_path, ["012", "007", "201", "415"] * 10)
    assert values.tolist() == [12, 7, 201, 415] * 10
    assert codes == {"zeros"}
    assert column(tmp_path, [f"{k % 12 + 1:02}" for k in range(N)])[1] == set()  # months


ROWS = [f"{k % 7}.5,{'uv'[k % 2]},{k}.25" for k in range(N)]
TABLE = "\n".join(["a,b,y", *ROWS, ""])
MARKDOWN = "| a | b | y |\n|---|:-:|---|\n" + "\n".join(f"| {row} |".replace(",", " | ") for row in ROWS)


@pytest.fixture(params=[False, True])
def in_blocks(request, monkeypatch):
    """Read the file whole, and in blocks."""
    if request.param:
        monkeypatch.setattr(_files, "WHOLE", 300)
        monkeypatch.setattr(_bytes, "PART", 100)
        monkeypatch.setattr("sklearn_ltdl.tables._text._SEEN", 200)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("\n".join(["a,b,y", *ROWS[:9], "a,b,y", *ROWS[9:], "a,b,y", ""]), {"repeated header"}),  # files in one
        ("\n".join(["a,b,y", *ROWS, "a,b,y", ""]).replace("\n", "\r\n"), {"repeated header"}),
        (MARKDOWN, {"rule", "unnamed"}),
        (" a | b | y\n---+---+---\n" + "\n".join(ROWS).replace(",", " | ") + "\n(40 rows)\n", {"rule", "remark"}),
        (TABLE + "\x1a", set()),
        (TABLE.encode("utf-16-le"), {"encoding"}),
        (TABLE.encode("utf-16-be"), {"encoding"}),
    ],
)  # fmt: skip
def test_layouts(text, codes, tmp_path, in_blocks):
    table = read(tmp_path, text, sample=1000)
    expected = read(tmp_path, TABLE).frame
    pd.testing.assert_frame_equal(table.frame, expected, check_index_type=False)
    assert {note.code for note in table.notes} == codes


def test_a_first_row_that_is_repeated_is_no_header(tmp_path):
    with pytest.raises(ValueError, match=r"which also occur in the rows below\. Is it a row"):
        read(tmp_path, "yes,no\nno,yes\nyes,no\nyes,yes\n" * 5)


def test_sums_without_a_word_are_no_row(tmp_path):
    rows = [f"{'uv'[k % 2]},{k},{k}.25" for k in range(N)]
    table = read(tmp_path, "\n".join(["b,a,y", *rows, f",{sum(range(N))},{sum(range(N)) + N / 4}"]))
    assert len(table.frame) == N
    assert [note.code for note in table.notes] == ["totals row"]
    table = read(tmp_path, "\n".join(["b,a,y", *rows, f",{sum(range(N))},{sum(range(N))}"]))
    assert len(table.frame) == N + 1


def test_lines_that_end_early_are_counted(tmp_path):
    table = read(tmp_path, TABLE + "1.5,u\n2.5\n")
    assert len(table.frame) == N + 2
    assert [str(note) for note in table.notes] == [
        "2 lines have fewer values than the header; the last ones are treated as missing."
    ]
    assert read(tmp_path, TABLE + "1.5,u,\n").notes == []


def test_what_is_no_table_is_named(tmp_path):
    with pytest.raises(ValueError, match="expected a table, got ARFF"):
        read(tmp_path, "% old\n@RELATION t\n@attribute x numeric\n@data\n1,2\n")
    with pytest.raises(ValueError, match=r"name another delimiter \(--sep SIGN\)"):
        read(tmp_path, TABLE.replace(",", "^"))


def test_a_category_that_says_little_is_noted():
    few = [f"model {k // 3}" for k in range(N)]
    units = [f"{k}.5 {'kg' if k % 2 else 'lb'}" for k in range(N)]
    table = pd.DataFrame({"few": few, "units": units * 1, "many": list("uv") * (N // 2)})
    found = {seen.name: seen for seen in read_columns(table)[1]}
    assert found["few"].note == f"{N} of {N} rows have a level of fewer than 10 rows"
    assert "write numbers without what is around them" in found["units"].note
    assert found["many"].note == ""


CELLS = [[f"{k % 7}.5", "u, 'x'" if k % 2 else 'v "w"', f"{k}.25"] for k in range(N)]


def usual(cells):
    return '{},"{}",{}'.format(cells[0], cells[1].replace('"', '""'), cells[2])


@pytest.mark.parametrize(
    ("spell", "code"),
    [
        (lambda cells: '"' + usual(cells).replace('"', '""') + '"', "quoted lines"),
        (lambda cells: '{},"{}",{}'.format(cells[0], cells[1].replace('"', r"\""), cells[2]), "escaped quotes"),
        (lambda cells: "'{}','{}',{}".format(cells[0], cells[1].replace("'", "''"), cells[2]), "single quotes"),
    ],
)
def test_quotation_marks(spell, code, tmp_path, in_blocks):
    expected = read(tmp_path, "\n".join(["a,b,y", *map(usual, CELLS), ""])).frame
    table = read(tmp_path, "\n".join(["a,b,y", *map(spell, CELLS), ""]), sample=1000)
    pd.testing.assert_frame_equal(table.frame, expected, check_index_type=False)
    assert [note.code for note in table.notes] == [code]


@pytest.mark.parametrize("cell", ["'n Boer", "O'Brien", "'t", '"a, b"', "C:\\dir\\"])
def test_apostrophes_and_usual_marks_are_kept(cell, tmp_path):
    table = read(tmp_path, "a,b,y\n" + f"1.5,{cell},2.5\n" * N)
    assert table.frame["b"].tolist() == [cell.strip('"')] * N
    assert table.notes == []


@pytest.mark.parametrize("above", ["m,,n", "m,,"])
def test_headings_over_the_header_are_ignored(above, tmp_path):
    table = read(tmp_path, f"{above}\na,b,y\n" + "".join(f"{k}.5,{k % 7},{k}.25\n" for k in range(N)))
    assert list(table.frame) == ["a", "b", "y"]
    assert [note.code for note in table.notes] == ["title"]


@pytest.mark.parametrize("word", ["Total général", "Gesamtsumme", "Median", "Итого", "合計"])
def test_totals_in_other_words(word, tmp_path):
    table = read(tmp_path, "b,a,y\n" + "".join(f"n{k},{k},{k}.25\n" for k in range(N)) + f"{word},780,790\n")
    assert len(table.frame) == N


@pytest.mark.parametrize("line", ["Source: an office,,", "Note: rounded, and so on", "1) provisional", "END", "-----"])
def test_remarks_below_the_table(line, tmp_path):
    table = read(tmp_path, "a,b,y\n" + "".join(f"{k}.5,{k % 7},{k}.25\n" for k in range(N)) + line + "\n")
    assert len(table.frame) == N
    assert [note.code for note in table.notes] == ["remark"]


def test_a_quotation_mark_that_is_never_closed_takes_no_time(tmp_path):
    cell = "'" + r"\'" * 40 + "''" * 40 + "x"  # each pair could be read in two ways
    assert read(tmp_path, "a,b,y\n" + f"1.5,{cell},2.5\n" * N).frame["b"].tolist() == [cell] * N


def test_hexadecimal_numbers_that_begin_with_10_are_no_powers_of_ten(tmp_path):
    values, codes = column(tmp_path, (f"0x10{k:02d}" for k in range(N)))
    assert values.tolist() == [int(f"10{k:02d}", 16) for k in range(N)]
    assert codes == {"hexadecimal"}


def test_single_quotes_around_the_last_cell_of_a_line(tmp_path):
    table = read(tmp_path, "'x','y'\n" + "".join(f"'{k}','a, {k % 3}'\n" for k in range(N)))
    assert table.frame["x"].tolist() == [*range(N)]
    assert table.frame["y"].tolist() == [f"a, {k % 3}" for k in range(N)]


def test_weeks_beside_a_text(tmp_path):
    values, codes = column(tmp_path, ("unknown" if k == 2 else f"2021-W{k + 1:02d}" for k in range(N)))
    assert values[4] == datetime.datetime(2021, 2, 1)  # ISO 8601: the first Monday of 2021 begins week 1
    assert values.isna().sum() == 1
    assert codes == {"weeks", "strays"}
