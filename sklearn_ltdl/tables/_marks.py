"""Ordered rules that rewrite numbers with marks around them, such as flags, limits and units of several sizes.

A rule takes the texts of a column. It returns plainer texts, or None if its mark does not occur as it should. To read
another mark, add a function to `PLAINER` and a sentence to `SENTENCES` in `_spelling`.
"""

import re

BARE_SHARE = 0.5  # least share of cells without a mark, if the mark could be part of a label
FITTING_SHARE = 0.9  # least share of cells that have the mark or none
MANY = 20  # distinct texts from which ranges are not labels
_PLAIN = r"(?:0|[1-9]\d*)(?:\.\d+)?"
_NUMBER = r"[+-]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d+)?"
_BARE = rf"{_NUMBER}(?: ?[^\W\d_%]+)?"
_SIGNS = rf"({_NUMBER}) ?(?:\*{{1,3}}|[†‡§¶]+|\[\w{{1,2}}\])"
_LETTERS = rf"({_NUMBER})(?: [bcdefinprsuz]{{1,2}}| ?\([a-z]\)|[¹²³⁴⁵⁶⁷⁸⁹]+)"  # b: break in a series, p: provisional
_LIMIT = r"(?:[<>]=?|[≤≥]|(?:under|over|below|above|less than|more than|at least|at most) )\s?(?=[\d.,])"
_ABOUT = r"(?:[~≈]|(?:ca?|approx|env)\.|(?:ca|circa|approx|about|around|etwa) )\s?(?=[\d.,+-])"
_UNCERTAIN = rf"({_NUMBER}) ?(?:±|\+/-|\+-) ?{_NUMBER}"
_RANGE = rf"({_PLAIN}) ?(?:-|\u2013|\u2014|to|bis|\.\.\.?) ?({_PLAIN})"
_MEASURE = r"([+-]?\d+(?:\.\d+)?)\s?([A-Za-z]+)\.?"
_KINDS = (  # units of one kind, in a common unit
    {"mg": 1e-6, "g": 1e-3, "kg": 1.0, "t": 1e3, "lb": 0.45359237, "lbs": 0.45359237, "oz": 0.028349523125},
    {"mm": 1e-3, "cm": 0.01, "dm": 0.1, "m": 1.0, "km": 1e3, "in": 0.0254, "ft": 0.3048, "mi": 1609.344},
    {"ml": 1e-3, "mL": 1e-3, "cl": 0.01, "dl": 0.1, "l": 1.0, "L": 1.0},
    {"KB": 1e3, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12},
    {"ms": 1e-3, "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "mins": 60.0,
     "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hrs": 3600.0, "hour": 3600.0, "hours": 3600.0,
     "d": 86400.0, "day": 86400.0, "days": 86400.0, "wk": 604800.0, "week": 604800.0, "weeks": 604800.0,
     "month": 2629800.0, "months": 2629800.0, "mo": 2629800.0, "yr": 31557600.0, "yrs": 31557600.0,
     "year": 31557600.0, "years": 31557600.0},
)  # fmt: skip


def _replaced(texts, pattern, with_what, bare_share):
    """Return texts without a mark if enough of them have it or are bare numbers; else None."""
    marked = texts.map(re.compile(pattern).search).notna()
    bare = texts.str.fullmatch(_BARE) & ~marked
    if not marked.any() or bare.mean() < bare_share or (marked | bare).mean() < FITTING_SHARE:
        return None
    return texts.where(~marked, texts.str.replace(pattern, with_what, regex=True))


def approximate(texts):
    """Read ``~5`` and ``ca. 5`` as 5."""
    return _replaced(texts, rf"^{_ABOUT}", "", BARE_SHARE)


def limits(texts):
    """Read ``<0.1``, ``>100`` and ``90+`` as the limit, if most cells are numbers."""
    return _replaced(texts, rf"^{_LIMIT}|(?<=\d)\+(?= |$)", "", BARE_SHARE)


def flags(texts):
    """Read ``12.3*``, ``12.3[1]`` and, if most cells have no letter, ``12.3 p`` as 12.3."""
    plain = _replaced(texts, rf"^{_SIGNS}$", r"\1", 0.0)
    more = _replaced(texts if plain is None else plain, rf"^{_LETTERS}$", r"\1", BARE_SHARE)
    return plain if more is None else more


def uncertain(texts):
    """Read ``5.1 ± 0.2`` as 5.1."""
    return _replaced(texts, rf"^{_UNCERTAIN}$", r"\1", 0.0)


def ranges(texts):
    """Read ``10-20`` as 15, if there are too many ranges for labels."""
    found = texts.str.extract(rf"^{_RANGE}$").astype(float)
    known = found[0].notna()
    if not known.any() or texts.nunique() < MANY or (found[0] > found[1]).any():
        return None
    if (known | texts.str.fullmatch(_BARE)).mean() < FITTING_SHARE:
        return None
    return texts.where(~known, ((found[0] + found[1]) / 2).map(repr))


def hexadecimal(texts):
    """Read ``0x1F`` as 31, if all cells are written so."""
    if not texts.str.fullmatch(r"0[xX][0-9a-fA-F]{1,13}").all():
        return None
    return texts.map(lambda text: str(int(text, 16)))


def one_unit(texts):
    """Read ``500 g`` among kilograms as 0.5, and ``1 year`` beside ``2 years``: in the unit of most cells."""
    found = texts.str.extract(rf"^{_MEASURE}$")
    units = found[1].dropna()
    if units.nunique() < 2 or len(units) < FITTING_SHARE * len(texts):
        return None
    sizes = next((kind for kind in _KINDS if set(units) <= set(kind)), None)
    if sizes is None:
        return None
    converted = (found[0][units.index].astype(float) * (units.map(sizes) / sizes[usual_unit(units)])).map(repr)
    return texts.where(found[1].isna(), converted.reindex(texts.index))


def usual_unit(units):
    """Return the most frequent unit; of two, the one that comes first in the alphabet."""
    counts = units.value_counts(sort=False)
    return min(counts[counts == counts.max()].index)


PLAINER = {
    "hexadecimal": hexadecimal,
    "approximate": approximate,
    "limits": limits,
    "flags": flags,
    "uncertain": uncertain,
    "ranges": ranges,
    "one unit": one_unit,
}
