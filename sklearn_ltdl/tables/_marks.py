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
_KINDS = (  # units of one kind, in kg, m, l, MB and h, whatever the file, so that new rows are read alike
    {"mg": 1e-6, "g": 1e-3, "kg": 1.0, "t": 1e3, "lb": 0.45359237, "lbs": 0.45359237, "oz": 0.028349523125},
    {"mm": 1e-3, "cm": 0.01, "dm": 0.1, "m": 1.0, "km": 1e3, "in": 0.0254, "ft": 0.3048, "mi": 1609.344},
    {"ml": 1e-3, "mL": 1e-3, "cl": 0.01, "dl": 0.1, "l": 1.0, "L": 1.0},
    {"KB": 1e-3, "kB": 1e-3, "MB": 1.0, "GB": 1e3, "TB": 1e6},
    {"ms": 1 / 3.6e6, "s": 1 / 3600, "sec": 1 / 3600, "secs": 1 / 3600, "second": 1 / 3600, "seconds": 1 / 3600,
     "min": 1 / 60, "mins": 1 / 60, "minute": 1 / 60, "minutes": 1 / 60, "h": 1.0, "hr": 1.0, "hrs": 1.0, "hour": 1.0,
     "hours": 1.0, "d": 24.0, "day": 24.0, "days": 24.0, "wk": 168.0, "week": 168.0, "weeks": 168.0, "month": 730.5,
     "months": 730.5, "mo": 730.5, "yr": 8766.0, "yrs": 8766.0, "year": 8766.0, "years": 8766.0},
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
    """Read ``500 g`` beside ``2 kg`` as 0.5, and ``1 year`` beside ``2 years`` as 1: spellings keep their unit."""
    found = texts.str.extract(rf"^{_MEASURE}$")
    units = found[1].dropna()
    if units.nunique() < 2 or len(units) < FITTING_SHARE * len(texts):
        return None
    sizes = next((kind for kind in _KINDS if set(units) <= set(kind)), None)
    if sizes is None:
        return None
    factors = units.map(sizes)
    factors = factors if factors.nunique() > 1 else 1.0
    converted = (found[0][units.index].astype(float) * factors).map(repr)
    return texts.where(found[1].isna(), converted.reindex(texts.index))


PLAINER = {
    "hexadecimal": hexadecimal,
    "approximate": approximate,
    "limits": limits,
    "flags": flags,
    "uncertain": uncertain,
    "ranges": ranges,
    "one unit": one_unit,
}
