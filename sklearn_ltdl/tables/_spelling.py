"""How the cells of a column are written: rules that read text as numbers, codes or dates, asked in order.

A rule takes a `Written` column and the decimal sign of its file, and returns a `Reading`, or None: then the next rule
is asked. To read another spelling, add a function to `RULES` and a sentence to `SENTENCES`.
"""

from sklearn_ltdl.tables._cells import Reading, Written
from sklearn_ltdl.tables._dates import compact_dates, dates, iso_dates, times_of_day
from sklearn_ltdl.tables._notes import Note, listed

MOST_LABELS = 30  # distinct whole numbers of a target up to which they may be labels
_CODE, _LABEL = r"0\d{3,}", r"0\d+"  # 01234 is no number


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
    """Read ``1.234,5``, ``$1,234.5``, ``5 kg``, ``1.2K`` and ``(3)``, which is -3.

    The decimal sign is that of the file where the column does not tell.
    """
    if not column.is_text or not column.style or not column.strays.empty:
        return None
    texts, said = column.bare, ("units",) if column.unit else ()
    said += ("multiples",) if column.factors is not None else ()
    said += ("parentheses",) if column.has_parentheses else ()
    if column.style == "," or (column.style == "either" and decimal == ","):
        texts = texts.str.replace(r"[.'\u00a0\u202f]", "", regex=True).str.replace(",", ".")
        said = (*said, "decimal commas")
    elif texts.str.contains(",").any():
        texts, said = texts.str.replace(",", ""), (*said, "thousands")
    values = texts.astype(float)
    return Reading(values if column.factors is None else values * column.factors, said, {"units": column.unit})


def numbers_with_strays(column, decimal):
    """Read numbers among at most three texts in a tenth of the cells, such as ``nil`` or ``-``, as beside missing ones.

    A target of few distinct numbers stays text: there a word may be a class.
    """
    if not column.is_text or column.strays.empty:
        return None
    known = column.without_strays
    if (column.is_target and known.texts.nunique() <= MOST_LABELS) or codes(known, decimal):
        return None
    numeric = Written(known.name, known.texts, is_target=known.is_target, is_text=False)
    reading = points_between_thousands(numeric, decimal) or numbers(known, decimal)
    if reading is None:
        return None
    values = known.bare.astype(float) if reading.values is None else reading.values
    return Reading.beside(column.strays, values, reading.said, reading.details)


RULES = (
    labels,
    compact_dates,
    codes,
    points_between_thousands,
    numbers,
    iso_dates,
    dates,
    times_of_day,
    numbers_with_strays,
)
SENTENCES = {
    "codes": "Numbers with leading zeros are read as categories in {}.",
    "labels": "Numbers with leading zeros are read as labels in {}.",
    "decimal commas": "Decimal commas are read in {}.",
    "thousands": "Separators between thousands are left out in {}.",
    "decimal points": "Points are read as decimal points, not between thousands, in {}.",
    "units": "Units are left out in {}.",
    "multiples": "K, M and B after numbers are read as thousands, millions and billions in {}.",
    "parentheses": "Numbers in parentheses are read as negative in {}.",
    "compact dates": "Whole numbers such as 20240531 are read as dates in {}; --categorical NAME keeps them as text.",
    "day first": "Dates are read day first in {}.",
    "month first": "Dates are read month first in {}.",
    "two digits": "Years of two digits are read as at most this one in {}.",
    "ambiguous dates": "Dates stay text in {}: nothing tells the day from the month; write them as 2024-05-31.",
    "times of day": "Times are read as hours since midnight in {}.",
    "strays": "Other texts are taken for missing in {}; --categorical NAME keeps such a column as text.",
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
        readings[column.name] = reading
        for code in reading.said:
            detail = reading.details.get(code)
            said[code].append(f"{column.name!r} ({detail})" if detail else repr(column.name))
    said = {code: listed(names, quoted=True) for code, names in said.items() if names}
    return readings, [Note(code, SENTENCES[code].format(names)) for code, names in said.items()]


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
    styles = [column.style for column in columns if column.is_text and not codes(column.without_strays, given)]
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
