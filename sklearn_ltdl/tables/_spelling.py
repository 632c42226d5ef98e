"""How the cells of a column are written: rules that read text as numbers, codes or dates, asked in order.

A rule takes a `Written` column and the decimal sign of its file, and returns a `Reading`, or None: then the next rule
is asked. To read another spelling, add a function to `RULES` and a sentence to `SENTENCES`.
"""

import re
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple

from sklearn_ltdl.tables._notes import Note, listed

MOST_LABELS = 30  # distinct whole numbers of a target up to which leading zeros make labels of them
_ISO_DATE = r"\d{4}-\d{2}-\d{2}(?:[ T][0-9:.,+Z-]+)?"
_OFFSET = r".+(?:Z|[+-]\d\d:?\d\d)"
_DATE = r"(\d{1,2})([./])(\d{1,2})\2\d{4}( \d{1,2}:\d{2}(?::\d{2})?)?"  # with points, the day is first
_TIMES = "", " %H:%M", " %H:%M:%S"
_DECIMAL_POINT = r"[+-]?(?:\d+|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?(?:[eE][+-]?\d+)?"  # 1,234.5
_DECIMAL_COMMA = r"[+-]?(?:\d+|[1-9]\d{0,2}(?:[.'\u00a0\u202f]\d{3})+)(?:,\d+)?(?:[eE][+-]?\d+)?"  # 1.234,5
_THOUSANDS = r"[+-]?(?:\d{1,3}|[1-9]\d{0,2}(?:\.\d{3})+)"  # 1.234
_UNIT = r"([$€£¥%])"
_CODE, _LABEL = r"0\d{3,}", r"0\d+"  # 01234 is no number


class Written:
    """A column as it stands in the file, to be read.

    Parameters
    ----------
    name : str
    texts : Series of str
        The cells that are not missing.
    is_target : bool
        Whether this is the column to predict.
    is_text : bool
        Whether pandas makes no number of it.
    """

    def __init__(self, name, texts, *, is_target, is_text):
        self.name = name
        self.texts = texts
        self.is_target = is_target
        self.is_text = is_text

    @cached_property
    def unit(self):
        """Currency or per cent sign that is the same in all cells that have one; else empty."""
        units = self.texts.str.extract(_UNIT)[0].dropna().unique()
        return units[0] if len(units) == 1 else ""

    @cached_property
    def bare(self):
        """The texts without the unit."""
        if not self.unit:
            return self.texts
        return self.texts.str.replace(rf"[ \u00a0\u202f]?{re.escape(self.unit)} ?", "", n=1, regex=True)

    @cached_property
    def is_whole(self):
        """Whether all cells are digits only."""
        return bool(self.texts.str.fullmatch(r"\d+").all())

    @cached_property
    def groups_by_points(self):
        """Whether points may stand between thousands, as in 1.234, in all cells."""
        return bool(self.texts.str.contains(".", regex=False).any() and self.texts.str.fullmatch(_THOUSANDS).all())

    @cached_property
    def style(self):
        """How a column of text writes numbers: '.' or ',' is the decimal sign, 'either', 'whole', or '' for none."""
        point, comma = (self.bare.str.fullmatch(pattern).all() for pattern in (_DECIMAL_POINT, _DECIMAL_COMMA))
        if point and comma:
            return "either" if self.bare.str.contains(",").any() else "whole"
        return "." if point else "," if comma else ""


class Reading(NamedTuple):
    """What a rule makes of a column.

    Parameters
    ----------
    values : Series or None
        Of the cells that are not missing; None leaves the column as pandas has it.
    said : tuple of str
        Keys of `SENTENCES`.
    """

    values: object
    said: tuple


def labels(column, decimal):
    """Read ``01`` in a target of few whole numbers as a label."""
    few = column.is_target and column.is_whole and column.texts.nunique() <= MOST_LABELS
    if few and column.texts.str.fullmatch(_LABEL).any():
        return Reading(column.texts, ("labels",))
    return None


def codes(column, decimal):
    """Read whole numbers as categories if one is written as ``01234``."""
    if column.is_whole and column.texts.str.fullmatch(_CODE).any():
        return Reading(column.texts, ("codes",))
    return None


def points_between_thousands(column, decimal):
    """Read ``1.234`` as 1234 where the file has decimal commas; elsewhere say that it is 1.234."""
    if column.is_text or not column.groups_by_points:
        return None
    if decimal != ",":
        return Reading(None, ("decimal points",))
    return Reading(column.texts.str.replace(".", "").astype(float), ("thousands",))


def numbers(column, decimal):
    """Read ``1.234,5`` and ``$1,234.5``, the decimal sign being that of the file where the column does not tell."""
    if not column.is_text or not column.style:
        return None
    texts, said = column.bare, ("units",) if column.unit else ()
    if column.style == "," or (column.style == "either" and decimal == ","):
        texts = texts.str.replace(r"[.'\u00a0\u202f]", "", regex=True).str.replace(",", ".")
        return Reading(texts.astype(float), (*said, "decimal commas"))
    if texts.str.contains(",").any():
        texts, said = texts.str.replace(",", ""), (*said, "thousands")
    return Reading(texts.astype(float), said)


def iso_dates(column, decimal):
    """Read ``2024-05-31``, with or without a time; offsets beside none are not mixed."""
    from pandas import to_datetime

    texts = column.texts
    if not column.is_text or not texts.str.fullmatch(_ISO_DATE).all():
        return None
    offsets = texts.str.fullmatch(_OFFSET).all() and texts.str.len().gt(10).all()
    with suppress(ValueError):  # a thirteenth month
        return Reading(to_datetime(texts, format="ISO8601", utc=bool(offsets)), ())
    return None


def local_dates(column, decimal):
    """Read ``31.05.2024`` and ``5/31/2024``, if the column tells the day from the month."""
    from pandas import to_datetime

    if not column.is_text or not column.texts.str.fullmatch(_DATE).all():
        return None
    parts = column.texts.str.extract(_DATE)
    sign, (first, second) = parts[1].iloc[0], (parts[j].astype(int).max() > 12 for j in (0, 2))
    colons = parts[3].fillna("").str.count(":")
    if (parts[1] != sign).any() or (colons != colons.iloc[0]).any() or (sign == "/" and first == second):
        return None
    day_first = sign == "." or first
    written = sign.join(["%d", "%m", "%Y"] if day_first else ["%m", "%d", "%Y"]) + _TIMES[colons.iloc[0]]
    with suppress(ValueError):
        return Reading(to_datetime(column.texts, format=written), ("day first" if day_first else "month first",))
    return None


RULES = (labels, codes, points_between_thousands, numbers, iso_dates, local_dates)
SENTENCES = {
    "codes": "Numbers with leading zeros are read as categories in {}.",
    "labels": "Numbers with leading zeros are read as labels in {}.",
    "decimal commas": "Decimal commas are read in {}.",
    "thousands": "Separators between thousands are left out in {}.",
    "decimal points": "Points are read as decimal points, not between thousands, in {}.",
    "units": "Units are left out in {}.",
    "day first": "Dates are read day first in {}.",
    "month first": "Dates are read month first in {}.",
}


def respelled(columns, decimal):
    """Return the readings of written columns by name, and notes on them.

    Parameters
    ----------
    columns : list of Written
        Without those that are empty.
    decimal : {'.', ','} or None
        Decimal sign of the file.
    """
    readings, said = {}, {code: [] for code in SENTENCES}
    for column in columns:
        reading = next((reading for reading in (rule(column, decimal) for rule in RULES) if reading), None)
        if reading is None:
            continue
        readings[column.name] = reading.values
        for code in reading.said:
            said[code].append(f"{column.name} ({column.unit})" if code == "units" else column.name)
    return readings, [Note(code, SENTENCES[code].format(listed(names))) for code, names in said.items() if names]


def decimal_sign(columns, has_points, delimiter, given):
    """Return the decimal sign of a file, '.' or ',', or None if nothing tells.

    A column such as 1,234 may have decimal commas or points: it is as the others of the file; else as `given` says;
    else as columns such as 1.234 are read, or as the delimiter tells.

    Parameters
    ----------
    columns : list of Written
    has_points : dict of str to bool
        The columns with fractions that pandas reads with decimal points, by name, and whether their points can stand
        between thousands as well.
    delimiter : str
    given : {'.', ','} or None
    """
    styles = [column.style for column in columns if column.is_text and not codes(column, given)]
    if "," in styles:
        return ","
    either = "either" in styles
    shown = "." in styles or not all(has_points.values())
    if shown or (given is None and (has_points or (either and delimiter == ","))):
        return "."
    return "," if given is None and either else given


def missing_labels(values, texts, label):
    """Return a target of text in which None is a class, and notes on what is taken for missing in it."""
    from pandas.api.types import is_numeric_dtype

    missing = values.isna()
    notes, none = [], missing & (texts == "None")
    if none.any() and not missing.all() and not is_numeric_dtype(values.dtype) and values.dtype.kind != "M":
        values = values.where(~none, "None")
        missing &= ~none
        rows = _rows(int(none.sum()))
        text = f"'None' is a class of {label!r}, {rows}; leave its cells empty where it means missing."
        notes.append(Note("none is a class", text))
    counts = texts[missing & (texts != "")].value_counts()
    if len(counts):
        spelled = ", ".join(f"{text!r} in {_rows(count)}" for text, count in counts.items())
        text = f"In {label!r}, the column to predict, this is taken for missing: {spelled}."
        notes.append(Note("missing labels", text))
    return values, notes


def _rows(count):
    return f"{count} row{'s' * (count != 1)}"
