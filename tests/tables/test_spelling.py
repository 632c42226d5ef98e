"""Each rule that reads how cells are written, by itself: what it takes, what it leaves to the next rule."""

import datetime

import numpy as np
import pandas as pd
import pytest

from sklearn_ltdl.tables import _spelling
from sklearn_ltdl.tables._cells import Written
from sklearn_ltdl.tables._spelling import RULES, SENTENCES, decimal_sign, respelled


def written(*texts, is_target=False, is_text=True):
    return Written("x", pd.Series(texts, dtype=str), is_target=is_target, is_text=is_text)


def read(rule, *texts, decimal=None, **options):
    """Return the values that a rule reads and what it says, or None."""
    reading = getattr(_spelling, rule)(written(*texts, **options), decimal)
    return reading and (None if reading.values is None else list(reading.values), reading.said)


def test_every_rule_has_a_test_and_every_code_a_sentence():
    assert {f"test_{rule.__name__}" for rule in RULES} <= {*globals()}
    assert all("{}" in sentence for sentence in SENTENCES.values())


def test_labels():
    assert read("labels", "01", "02", "01", is_target=True) == (["01", "02", "01"], ("labels",))
    assert read("labels", "01", "02") is None  # no target
    assert read("labels", "1", "2", is_target=True) is None  # no leading zero
    assert read("labels", *(f"0{k}" for k in range(31)), is_target=True) is None  # too many for classes


def test_codes():
    assert read("codes", "01234", "99999") == (["01234", "99999"], ("codes",))
    assert read("codes", "01", "02") is None  # too short for a code
    assert read("codes", "01234", "A1") is None
    assert read("codes", "1234567890123456", "2") == (["1234567890123456", "2"], ("long codes",))
    assert read("codes", "123456789012345", "2") is None  # a double has all digits
    assert read("codes", "1548051066000000") is None  # microseconds


def test_zeros():
    assert read("zeros", "012", "201", is_text=False) == (None, ("zeros",))
    assert read("zeros", "01", "12", is_text=False) is None  # months
    assert read("zeros", "012", "1") is None  # not all of three digits
    assert read("zeros", "012", "201", is_target=True) is None  # labels


def test_both_signs():
    assert read("both_signs", "1.5", "1,5", "-2") == ([1.5, 1.5, -2.0], ("both signs",))
    assert read("both_signs", "1.5", "1,5", "1.234") is None  # thousands?
    assert read("both_signs", "0.234", "0,5", "1234.567") == ([0.234, 0.5, 1234.567], ("both signs",))
    assert read("both_signs", "1.5", "2.5") is None


def test_quarters():
    first = pd.Timestamp("2019-01-01")
    for text in ("2019Q1", "2019-Q1", "Q1 2019", "Q1/2019"):
        assert read("quarters", text) == ([first], ("quarters",))
    assert read("quarters", "2019Q4", "2019Q5") is None
    assert read("quarters", "2019Q1", is_target=True) is None  # a class


def test_points_between_thousands():
    assert read("points_between_thousands", "1.234", "12", decimal=",", is_text=False) == (
        [1234.0, 12.0],
        ("thousands",),
    )
    assert read("points_between_thousands", "1.234", decimal=".", is_text=False) == (None, ("decimal points",))
    assert read("points_between_thousands", "1.23", decimal=",", is_text=False) is None
    assert read("points_between_thousands", "12", decimal=",", is_text=False) is None  # no point


@pytest.mark.parametrize(
    ("texts", "decimal", "values", "said"),
    [
        (("1,5", "-2", "3,25"), None, [1.5, -2.0, 3.25], ("decimal commas",)),
        (("1.234,5", "2"), None, [1234.5, 2.0], ("decimal commas",)),
        (("1,234.5", "2"), None, [1234.5, 2.0], ("thousands",)),
        (("1,234", "2"), ".", [1234.0, 2.0], ("thousands",)),
        (("1,234", "2"), ",", [1.234, 2.0], ("decimal commas",)),
        (("$1,200", "$3"), ".", [1200.0, 3.0], ("units", "thousands")),
        (("12 %", "3.5 %"), None, [12.0, 3.5], ("units",)),
        (("50 kg", "51.5kg", "-2 kg"), None, [50.0, 51.5, -2.0], ("units",)),
        (("80 km/h", "1,200 km/h"), ".", [80.0, 1200.0], ("units", "thousands")),
        (("EUR 12", "EUR 3.5"), None, [12.0, 3.5], ("units",)),
        (("1.2K", "850", "3M"), None, [1200.0, 850.0, 3e6], ("multiples",)),
        (("$1.2k", "$3k"), None, [1200.0, 3000.0], ("units", "multiples")),
        (("(1,234.50)", "2"), None, [-1234.5, 2.0], ("parentheses", "thousands")),
        (("($3.50)", "$2"), None, [-3.5, 2.0], ("units", "parentheses")),
        (("\u22123", "4"), None, [-3.0, 4.0], ()),
        (("1e3", "99999999999999999999"), None, [1e3, 1e20], ()),
    ],
)
def test_numbers(texts, decimal, values, said):
    assert read("numbers", *texts, decimal=decimal) == (values, said)


def test_numbers_leaves_words_and_mixed_units():
    assert read("numbers", "1", "two") is None
    assert read("numbers", "$1", "€2") is None
    assert read("numbers", "1.5", is_text=False) is None  # pandas has read it
    assert read("numbers", "3 kg", "4 lb") is None
    assert read("numbers", *"1234567", "136A") is None  # one letter is no unit
    assert read("numbers", *map(str, range(99)), "12B") is None  # nor a billion


def test_numbers_with_strays():
    numbers = [str(k) for k in range(40)]
    values, said = read("numbers_with_strays", *numbers, "nil", "-", "nil")
    assert (values, said) == ([float(k) for k in range(40)], ("strays",))
    reading = _spelling.numbers_with_strays(written(*numbers, "nil", "-", "nil"), None)
    assert (reading.strays, reading.details["strays"]) == (("nil", "-"), "'nil', '-' in 3 rows")
    assert read("numbers_with_strays", *numbers, *"abcd") is None  # four texts
    assert read("numbers_with_strays", *numbers, *["rotary"] * 5) is None  # in more than a tenth
    assert read("numbers_with_strays", *numbers, *["-"] * 35)[1] == ("strays",)  # but a usual mark
    assert read("numbers_with_strays", *["01234", "99999"] * 20, "?") is None  # codes
    assert read("numbers_with_strays", "1,5", *["2.000,5"] * 20, "nil")[0][:2] == [1.5, 2000.5]
    assert read("numbers_with_strays", "1.234", *["12"] * 20, "nil", decimal=",")[0][:2] == [1234.0, 12.0]
    assert read("numbers_with_strays", *["$3"] * 20, "free")[1] == ("units", "strays")
    assert read("numbers_with_strays", *["1", "2"] * 20, "nil", is_target=True) is None  # may be a class
    assert read("numbers_with_strays", *numbers, "nil", is_target=True)[1] == ("strays",)


def test_iso_dates():
    days, said = read("iso_dates", "2024-05-31", "2024-06-01")
    assert (days, said) == ([pd.Timestamp(2024, 5, 31), pd.Timestamp(2024, 6, 1)], ())
    instants, _ = read("iso_dates", "2024-03-30T12:00+01:00", "2024-03-31T12:00+02:00")
    assert instants[1] - instants[0] == pd.Timedelta(hours=23)
    assert read("iso_dates", "2024-13-01") is None
    assert read("iso_dates", "2024-05-31", "soon") is None


def test_compact_dates():
    assert read("compact_dates", "20240531", "20240601", is_text=False)[0][0] == pd.Timestamp(2024, 5, 31)
    assert read("compact_dates", "20240531", "20241301", is_text=False) is None  # no month
    assert read("compact_dates", "20240230", "20240601", is_text=False) is None  # no day of February
    assert read("compact_dates", "20240531", "20240601", is_text=False, is_target=True) is None


@pytest.mark.parametrize(
    ("texts", "day", "said"),
    [
        (("31.05.2024", "1.6.2024"), "2024-05-31", ("day first",)),
        (("1.5.2024", "1.6.2024"), "2024-05-01", ("day first",)),  # with points the day is first
        (("5/31/2024", "12/1/2023"), "2024-05-31", ("month first",)),
        (("31/5/2024", "1/12/2023"), "2024-05-31", ("day first",)),
        (("17-08-1984", "01-02-1990"), "1984-08-17", ("day first",)),
        (("2012/01/02", "2012/03/04"), "2012-01-02", ()),
        (("25/11/63", "01/02/99"), "1963-11-25", ("day first", "two digits")),
        (("6-Aug-09", "17-Sep-10"), "2009-08-06", ("two digits",)),
        (("31-OCT-2023", "1-NOV-2023"), "2023-10-31", ()),
        (("1/13/2023 1:30 PM", "1/1/2023 12:30 AM"), "2023-01-13 13:30", ("month first",)),
        (("Jan 1 2000", "Feb 12 2001"), "2000-01-01", ()),
        (("January 01, 2023", "May 02, 2023"), "2023-01-01", ()),
        (("31.05.2024 9:30", "1.6.2024 10:00"), "2024-05-31 09:30", ("day first",)),
        (("Jan 2020", "May 2021"), "2020-01-01", ()),
        (("2020-05", "2020-06"), "2020-05-01", ()),
        (("2/2/2024", "3/3/2024"), "2024-02-02", ("month first",)),  # the same days in either order
    ],
)
def test_dates(texts, day, said):
    values, found = read("dates", *texts)
    assert (values[0], found) == (pd.Timestamp(day), said)


def test_dates_leaves_what_is_none():
    for texts in (
        ("31.05.2024", "5/31/2024"),
        ("31.05.2024", "32.05.2024"),
        ("may", "june"),
        ("1.5", "A1"),
        ("x", "y"),
    ):
        assert read("dates", *texts) is None
    assert read("dates", "2012", "2013") is None


def test_dates_that_may_be_read_in_either_order_stay_text_and_say_so():
    assert read("dates", "1/2/2024", "3/4/2024") == (None, ("ambiguous dates",))
    assert read("dates", "01-02-03", "04-05-06") == (None, ("ambiguous dates",))
    assert read("dates", *["1/2/2024"] * 30, "13/1/2024")[1] == ("day first",)  # one row tells


def test_dates_with_strays():
    days = [f"{day}/1/2024" for day in range(1, 29)]
    values, said = read("dates", "unknown", *days)
    assert (values[0], said) == (pd.Timestamp(2024, 1, 1), ("day first", "strays"))
    assert read("iso_dates", "unknown", *["2024-01-31"] * 9)[1] == ("strays",)
    assert read("iso_dates", "what", *["2024-01-31"] * 8) is None  # in more than a tenth


def test_years_of_two_digits_are_not_in_the_future():
    this = datetime.date.today().year
    assert read("dates", f"25/11/{this % 100:02}", "13/1/99")[0][0].year == this
    assert read("dates", f"25/11/{(this + 1) % 100:02}", "13/1/99")[0][0].year == this + 1 - 100


def test_times_of_day():
    assert read("times_of_day", "14:05", "9:30") == (
        [pd.Timedelta(minutes=845), pd.Timedelta(minutes=570)],
        ("times of day",),
    )
    assert read("times_of_day", "14:05:30", "0:00:00")[0][0] == pd.Timedelta("14:05:30")
    assert read("times_of_day", "2:05 PM", "12:30 am")[0] == [pd.Timedelta(minutes=845), pd.Timedelta(minutes=30)]
    assert read("times_of_day", "14:05", "2:05 PM") is None  # two clocks
    assert read("times_of_day", "14:65", "9:30") is None
    assert read("times_of_day", *["14:05"] * 20, "closed")[1] == ("times of day", "strays")


def test_the_first_rule_that_applies_decides():
    columns = [
        Written("zip", pd.Series(["01234", "99999"]), is_target=False, is_text=False),
        Written("price", pd.Series(["1,5 €", "2 €"]), is_target=False, is_text=True),
        Written("word", pd.Series(["a", "b"]), is_target=False, is_text=True),
    ]
    readings, notes = respelled(columns, ",")
    values = {name: list(reading.values) for name, reading in readings.items()}
    assert values == {"zip": ["01234", "99999"], "price": [1.5, 2.0]}
    assert {note.code: str(note) for note in notes} == {
        "codes": "Numbers with leading zeros are read as categories in 'zip'.",
        "decimal commas": "Decimal commas are read in 'price'.",
        "units": "Units are removed in 'price' (€).",
    }


@pytest.mark.parametrize(
    ("columns", "has_points", "delimiter", "given", "sign"),
    [
        ([("1,5", "2,25")], {}, ";", None, ","),
        ([("1,5",)], {"other": False}, ";", ".", ","),  # one column tells
        ([("1,234",)], {}, ",", None, "."),
        ([("1,234",)], {}, ";", None, ","),
        ([("1,234",)], {}, ";", ".", "."),
        ([("1,234",), ("1,234.5",)], {}, ";", None, "."),
        ([("a",)], {"x": True}, ";", None, "."),
        ([("a",)], {"x": True}, ";", ",", ","),  # 1.234 is as in training
        ([("a",)], {"x": False}, ";", ",", "."),  # 1.5 is shown
        ([("a",)], {}, ";", None, None),
    ],
)
def test_decimal_sign(columns, has_points, delimiter, given, sign):
    assert decimal_sign([written(*texts) for texts in columns], has_points, delimiter, given) == sign


def test_a_note_is_a_text_with_a_code():
    import copy
    import json
    import pickle

    note = respelled([written("1,5")], ",")[1][0]
    for twin in (pickle.loads(pickle.dumps(note)), copy.deepcopy(note)):
        assert (twin, twin.code) == ("Decimal commas are read in 'x'.", "decimal commas")
    assert json.loads(json.dumps([note])) == ["Decimal commas are read in 'x'."]
    assert np.isfinite(hash(note))


def test_compact_months():
    months = [f"{2019 + k // 12}{k % 12 + 1:02}" for k in range(24)]
    days, said = read("compact_months", *months)
    assert (days[13], said) == (pd.Timestamp("2020-02-01"), ("compact dates",))
    assert read("compact_months", *months[:11]) is None  # may be other numbers
    assert read("compact_months", *months, "201913") is None
    assert read("compact_months", *(f"{k % 12 + 1:02}.2019" for k in range(24)))[0][13] == pd.Timestamp("2019-02-01")


def test_weeks():  # ISO 8601: the first week of a year has its first Thursday
    monday, said = read("weeks", "2021-W01", "2020-W53")
    assert (monday, said) == ([pd.Timestamp("2021-01-04"), pd.Timestamp("2020-12-28")], ("weeks",))
    assert read("weeks", "KW01/2021", "W2 2021")[0] == [pd.Timestamp("2021-01-04"), pd.Timestamp("2021-01-11")]
    assert read("weeks", "2021-W01-3")[0] == [pd.Timestamp("2021-01-06")]
    assert read("weeks", "2021-W53") is None  # 2021 has 52
    assert read("weeks", "W05", "W06") is None


@pytest.mark.parametrize(
    ("texts", "numbers", "code"),
    [
        (["0x1F", "0xff", "0X10"], [31, 255, 16], "hexadecimal"),
        (["~5", "6.5", "ca. 7", "8"], [5, 6.5, 7, 8], "approximate"),
        (["<0.1", "0.5", "2.5", "> 100", "7", "8"], [0.1, 0.5, 2.5, 100, 7, 8], "limits"),
        (["90+", "34", "56"], [90, 34, 56], "limits"),
        (["< 1 year", "1 year", "2 years", "10+ years"] * 3, [1, 1, 2, 10] * 3, "limits"),
        (["12.3*", "4**", "-5†", "6[1]"], [12.3, 4, -5, 6], "flags"),
        (["12.3 p", "4", "5 e", "6"], [12.3, 4, 5, 6], "flags"),
        (["5.1 ± 0.2", "6 +/- 1"], [5.1, 6], "uncertain"),
        ([f"{k}-{k + 1}" for k in range(20)], [k + 0.5 for k in range(20)], "ranges"),
        (["500 g", "2 kg", "1.5 kg"], [0.5, 2, 1.5], "one unit"),
        (["500 g", "250 g", "1 kg"], [0.5, 0.25, 1], "one unit"),  # in kg, however frequent, as in other files
        (["1 year", "2 years", "3 years"], [1, 2, 3], "one unit"),
        (["90 min", "2 h", "1.5 h"], [1.5, 2, 1.5], "one unit"),
    ],
)
def test_marked_numbers(texts, numbers, code):
    values, said = read("marked_numbers", *texts)
    np.testing.assert_allclose(values, numbers, rtol=1e-15)
    assert code in said
    assert read("marked_numbers", *texts, is_target=True) is None  # may be classes


@pytest.mark.parametrize(
    "texts",
    [
        ["<=50K", ">50K"] * 9,
        ["18-24", "25-34", "35+"] * 9,  # labels
        [f"{k + 5}-{k}" for k in range(20)],  # results of games
        ["5 m", "6 s", "7 kg"],
        ["5 USD", "6 EUR"],
        ["12 p", "13 e", "14 b"],  # no number without a letter
        ["~05001", "05002", "05003"],  # codes
        ["0x1F", "ff"],
    ],
)
def test_marks_of_labels_and_codes_are_kept(texts):
    assert read("marked_numbers", *texts) is None


def test_numbers_named_as_dates():
    texts = pd.Series(["31052024", "01062024"], dtype=str)
    column = Written("date", texts, is_target=False, is_text=False)
    assert list(_spelling.compact_dates(column, None).values) == [
        pd.Timestamp("2024-05-31"),
        pd.Timestamp("2024-06-01"),
    ]
    assert read("compact_dates", *texts) is None  # another name
    column = Written("date", texts[1:].repeat(2) + pd.Series(["", ""], index=[1, 1]), is_target=False, is_text=False)
    assert _spelling.compact_dates(column, None) is None
    column = Written("date", pd.Series(["01062024", "02062024"]), is_target=False, is_text=False)
    assert _spelling.compact_dates(column, None).said == ("ambiguous dates",)
    assert read("compact_dates", "20240531143005", "20240601000000")[0][0] == pd.Timestamp("2024-05-31 14:30:05")


def test_years_come_first_where_the_first_numbers_vary_least():
    days = pd.date_range("2019-01-01", periods=60, freq="11D")
    assert read("dates", *days.strftime("%y-%m-%d"))[0] == list(days)
    ends = pd.date_range("2000-01-31", periods=60, freq="ME")
    assert read("dates", *ends.strftime("%d/%m/%y"))[0] == list(ends)  # few days of the month


def test_dashes_for_decimals_are_no_minus():
    assert read("numbers", "53.-", "48.50", "7.-") == ([53, 48.5, 7], ("dashes",))
    assert read("numbers", "53,--", "48,50") == ([53, 48.5], ("dashes", "decimal commas"))
