"""Ordered rules that read the text of a column as numbers, codes or dates.

A rule takes a `Written` column and the decimal sign of its file. It returns a `Reading`, or None to pass the column to
the next rule. To read another format, add a function to `RULES` and a sentence to `SENTENCES`.
"""

from sklearn_ltdl.tables._cells import BESIDE_COMMA, BESIDE_POINT, Reading, Written
from sklearn_ltdl.tables._dates import (
    compact_dates,
    compact_months,
    dates,
    iso_dates,
    quarters,
    times_of_day,
    weeks,
)
from sklearn_ltdl.tables._marks import PLAINER
from sklearn_ltdl.tables._notes import Note, listed, rows

MOST_LABELS = 30  # whole numbers of a target may be labels if at most so many are distinct
_CODE, _LABEL = r"0\d{3,}", r"0\d+"  # 01234 is not a number
_LONG, _MOMENT = r"\d{16,}", r"1\d{15}|1\d{18}"  # more digits than a double has; microseconds or less since 1970


def labels(column, decimal):
    """Read whole numbers such as ``01`` as labels, if the target has few distinct ones."""
    few = column.is_target and column.is_whole and column.texts.nunique() <= MOST_LABELS
    if few and column.texts.str.fullmatch(_LABEL).any():
        return Reading(column.texts, ("labels",))
    return None


def codes(column, decimal):
    """Read whole numbers as categories if one of them is written like ``01234``, or has more than 15 digits."""
    if not column.is_whole:
        return None
    if column.texts.str.fullmatch(_CODE).any():
        return Reading(column.texts, ("codes",))
    if column.texts.str.fullmatch(_LONG).any() and not column.texts.str.fullmatch(_MOMENT).all():
        return Reading(column.texts, ("long codes",))
    return None


def zeros(column, decimal):
    """Note that ``012`` is read as 12, if all cells have the same number of digits, because it may be a code."""
    if column.is_target or not column.is_whole or not column.texts.str.fullmatch(r"0\d\d").any():
        return None
    return Reading(None, ("zeros",)) if column.texts.str.len().eq(3).all() else None


def both_signs(column, decimal):
    """Read ``1.5`` and ``1,5`` in one column, if neither sign can separate thousands."""
    if not column.is_text or not column.strays.empty or not column.has_both_signs:
        return None
    return Reading(column.bare.str.replace(",", ".").astype(float), ("both signs",))


def points_between_thousands(column, decimal):
    """Read ``1.234`` as 1234 if the file has decimal commas; otherwise note that it is read as 1.234."""
    if column.is_text or not column.groups_by_points:
        return None
    if decimal != ",":
        return Reading(None, ("decimal points",))
    return Reading(column.texts.str.replace(".", "").astype(float), ("thousands",))


def numbers(column, decimal):
    """Read ``1.234,5``, ``$1,234.5``, ``5 kg``, ``1.2K`` and ``(3)``, which is -3.

    If the column does not determine the decimal sign, that of the file is used.
    """
    if not column.is_text or not column.style or not column.strays.empty:
        return None
    texts, said = column.bare, ("units",) if column.unit else ()
    said += ("multiples",) if column.factors is not None else ()
    said += ("parentheses",) if column.has_parentheses else ()
    said += ("minus after",) if column.has_minus_after else ()
    said += ("powers",) if column.has_powers else ()
    said += ("dashes",) if column.has_dashes else ()
    has_commas = column.style == "," or (column.style == "either" and decimal == ",")
    plain = texts.str.replace(BESIDE_COMMA if has_commas else BESIDE_POINT, "", regex=True)
    if has_commas and plain.str.contains(",", regex=False).any():
        said = (*said, "decimal commas")
    elif not plain.equals(texts):
        said = (*said, "thousands")
    values = plain.str.replace(",", ".").astype(float)
    return Reading(values if column.factors is None else values * column.factors, said, {"units": column.unit})


def numbers_with_strays(column, decimal):
    """Read a column of numbers with few other texts, such as ``nil`` or ``-``, which are treated as missing.

    There may be at most three such texts, in a tenth of the cells. A target with few distinct numbers is kept as text,
    because a word may be a class.
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


def marked_numbers(column, decimal):
    """Read numbers with the marks of `PLAINER`; a target with few distinct numbers is kept as text."""
    if not column.is_text:
        return None
    texts, said = column.texts, ()
    for code, rule in PLAINER.items():
        plain = rule(texts)
        if plain is not None:
            texts, said = plain, (*said, code)
    if not said or (column.is_target and texts.nunique() <= MOST_LABELS):
        return None
    plain = Written(column.name, texts, is_target=column.is_target, is_text=True)
    if codes(plain, decimal):
        return None
    reading = numbers(plain, decimal) or numbers_with_strays(plain, decimal)
    return reading._replace(said=said + reading.said) if reading else None


RULES = (
    labels,
    compact_dates,
    compact_months,
    codes,
    zeros,
    points_between_thousands,
    numbers,
    both_signs,
    iso_dates,
    dates,
    quarters,
    weeks,
    times_of_day,
    marked_numbers,
    numbers_with_strays,
)
SENTENCES = {
    "codes": "Numbers with leading zeros are read as categories in {}.",
    "long codes": "Numbers with more than 15 digits are read as categories in {}.",
    "zeros": "Leading zeros, as in 012, are dropped in {}; ltdl compare --categorical NAME keeps them.",
    "labels": "Numbers with leading zeros are read as labels in {}.",
    "decimal commas": "Decimal commas are read in {}.",
    "both signs": "Points and commas are both read as decimal signs in {}.",
    "minus after": "Minus signs after numbers are read in {}.",
    "powers": "Exponents such as 1.5D3 and 1.5x10^3 are read in {}.",
    "thousands": "Thousands separators are removed in {}.",
    "decimal points": "Points are read as decimal points, not as thousands separators, in {}.",
    "units": "Units are removed in {}.",
    "multiples": "K, M and B after numbers are read as thousands, millions and billions in {}.",
    "parentheses": "Numbers in parentheses are read as negative in {}.",
    "compact dates": "Whole numbers such as 20240531 are read as dates in {}; ltdl compare --categorical NAME keeps "
    "them as text.",
    "day first": "Dates are read day first in {}.",
    "month first": "Dates are read month first in {}.",
    "two digits": "Two-digit years are read as years up to the current one in {}.",
    "ambiguous dates": "Dates are kept as text in {}, because day and month are ambiguous; write them as 2024-05-31.",
    "times of day": "Times are read as hours since midnight in {}.",
    "quarters": "Quarters are read as their first day in {}.",
    "weeks": "Weeks are read as their Monday in {}; ltdl compare --categorical NAME keeps the text.",
    "dashes": "Dashes after the decimal sign, as in 5.-, are removed in {}.",
    "hexadecimal": "Hexadecimal numbers are read in {}; ltdl compare --categorical NAME keeps the text.",
    "approximate": "Signs of approximate numbers, as in ~5, are removed in {}; ltdl compare --categorical NAME keeps "
    "the text.",
    "limits": "Limits such as <0.1 and 90+ are read as the number in {}; ltdl compare --categorical NAME keeps the "
    "text, and --missing TEXT treats a limit as missing.",
    "flags": "Flags after numbers, as in 12.3*, are removed in {}; ltdl compare --categorical NAME keeps the text.",
    "uncertain": "Numbers with an uncertainty, as in 5 \u00b1 1, are read without it in {}; ltdl compare --categorical "
    "NAME keeps the text.",
    "ranges": "Ranges such as 10-20 are read as their middle in {}; ltdl compare --categorical NAME keeps the text.",
    "one unit": "Several units of one kind are converted to kg, m, l, MB or h in {}; ltdl compare --categorical NAME "
    "keeps the text.",
    "strays": "Other texts are treated as missing in {}; ltdl compare --categorical NAME keeps such a column as text.",
}


def respelled(columns, decimal):
    """Return the readings of written columns by name, and notes on them.

    Parameters
    ----------
    columns : list of Written
        The columns that are not empty.
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
    """Return the decimal sign of a file, '.' or ',', or None if it is unknown.

    A column such as 1,234 may have decimal commas or points. It is read like the other columns of the file; if these do
    not determine the sign, it is `given`, or follows from columns such as 1.234 or from the delimiter.

    Parameters
    ----------
    columns : list of Written
    has_points : dict of str to bool
        The columns that pandas reads with decimal points and fractions, by name, and whether their points could also be
        thousands separators.
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
    """Return a text target in which None is a class, and notes on texts that are treated as missing."""
    from pandas.api.types import is_numeric_dtype

    missing = values.isna()
    notes, none = [], missing & (texts == "None")
    if none.any() and not missing.all() and not is_numeric_dtype(values.dtype) and values.dtype.kind != "M":
        values = values.where(~none, "None")
        missing &= ~none
        text = f"'None' is a class of {label!r}, {rows(int(none.sum()))}; leave these cells empty if it means missing."
        notes.append(Note("none is a class", text))
    counts = texts[missing & (texts != "")].value_counts()
    if len(counts):
        spelled = ", ".join(f"{text!r} in {rows(count)}" for text, count in counts.items())
        text = f"In {label!r}, the column to predict, these texts are treated as missing: {spelled}."
        notes.append(Note("missing labels", text))
    return values, notes
