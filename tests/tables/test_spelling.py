"""Each rule that reads how cells are written, by itself: what it takes, what it leaves to the next rule."""

import numpy as np
import pandas as pd
import pytest

from sklearn_ltdl.tables import _spelling
from sklearn_ltdl.tables._spelling import RULES, SENTENCES, Written, decimal_sign, respelled


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
        (("1e3", "99999999999999999999"), None, [1e3, 1e20], ()),
    ],
)
def test_numbers(texts, decimal, values, said):
    assert read("numbers", *texts, decimal=decimal) == (values, said)


def test_numbers_leaves_words_and_mixed_units():
    assert read("numbers", "1", "two") is None
    assert read("numbers", "$1", "€2") is None
    assert read("numbers", "1.5", is_text=False) is None  # pandas has read it


def test_iso_dates():
    days, said = read("iso_dates", "2024-05-31", "2024-06-01")
    assert (days, said) == ([pd.Timestamp(2024, 5, 31), pd.Timestamp(2024, 6, 1)], ())
    instants, _ = read("iso_dates", "2024-03-30T12:00+01:00", "2024-03-31T12:00+02:00")
    assert instants[1] - instants[0] == pd.Timedelta(hours=23)
    assert read("iso_dates", "2024-13-01") is None
    assert read("iso_dates", "2024-05-31", "soon") is None


def test_local_dates():
    assert read("local_dates", "31.05.2024", "1.6.2024")[0] == [pd.Timestamp(2024, 5, 31), pd.Timestamp(2024, 6, 1)]
    assert read("local_dates", "5/31/2024", "12/1/2023")[1] == ("month first",)
    assert read("local_dates", "31/5/2024", "1/12/2023")[1] == ("day first",)
    assert read("local_dates", "1/2/2024", "3/4/2024") is None  # either
    assert read("local_dates", "31.05.2024", "5/31/2024") is None  # two signs
    assert read("local_dates", "31.05.2024 9:30", "1.6.2024 10:00")[0][0] == pd.Timestamp(2024, 5, 31, 9, 30)


def test_the_first_rule_that_applies_decides():
    columns = [
        Written("zip", pd.Series(["01234", "99999"]), is_target=False, is_text=False),
        Written("price", pd.Series(["1,5 €", "2 €"]), is_target=False, is_text=True),
        Written("word", pd.Series(["a", "b"]), is_target=False, is_text=True),
    ]
    readings, notes = respelled(columns, ",")
    assert {name: list(values) for name, values in readings.items()} == {"zip": ["01234", "99999"], "price": [1.5, 2.0]}
    assert {note.code: str(note) for note in notes} == {
        "codes": "Numbers with leading zeros are read as categories in 'zip'.",
        "decimal commas": "Decimal commas are read in 'price'.",
        "units": "Units are left out in 'price (€)'.",
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
