"""A column as it is written in the file, and how a rule reads it."""

import re
from functools import cached_property
from typing import NamedTuple

from sklearn_ltdl.tables._notes import listed, rows

MOST_STRAYS = 3  # maximum number of distinct texts among numbers or dates to treat as missing
STRAY_SHARE = 0.1  # maximum share of the cells for such texts
MARK_SHARE = 0.5  # the same for texts that commonly mean a missing value
MARKS = frozenset((
    "-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "*", "**", ":", "?", "na", "n/a", "n.a.", "n.a", "n/d",
    "nd", "nan", "nil", "none", "null", "unknown", "unk", "missing", "not available", "not applicable", "no data",
    "#n/a", "#na", "#value!", "#div/0!", "#ref!", "#name?", "#num!", "#null!", "#spill!", "#calc!", "#wert!", "#bezug!",
    "#zahl!", "#nv", "#valeur!", "#nombre!", "#####", "(null)", "<null>", "<na>", "(blank)", "(missing)", "\\n", "tbd",
    "tba", "k.a.", "k. a.", "n.d.", "n.v.", "s.o.", "not recorded", "not reported", "not measured", "not known",
    "refused", "undefined", "-nan", "-nan(ind)", "1.#qnan", "1.#ind", "-1.#ind",
))  # fmt: skip
_GAPS = "'\u2019 \u00a0\u202f\u2007\u2009"
BESIDE_POINT, BESIDE_COMMA = f"[,{_GAPS}]", f"[.{_GAPS}]"  # thousands separators
_DECIMAL_POINT = (  # 1,234.5 and 12,34,567.8
    rf"[+-]?(?:\d+|[1-9]\d{{0,2}}(?:{BESIDE_POINT}\d{{3}})+|[1-9]\d?(?:,\d\d)+,\d{{3}})?"
    r"(?:(?<=\d)\.?|\.\d+)(?:[eE][+-]?\d+)?"
)
_DECIMAL_COMMA = rf"[+-]?(?:\d+|[1-9]\d{{0,2}}(?:{BESIDE_COMMA}\d{{3}})+)(?:,\d+)?(?:[eE][+-]?\d+)?"  # 1.234,5
_EITHER_SIGN = r"[+-]?(?:\d+|\d*[.,]\d+)"
_MAYBE_THOUSANDS = r"[+-]?[1-9]\d{0,2}[.,]\d{3}"
_MINUS_AFTER = r"^(\d[\d.,]*\d)\s?-$"
_MINUS_BEFORE = r"^[-\u2012\u2013\uff0d]\s*(?=[\d.,])"
_DASHES = r"^([+-]?\d[\d.,']*)[.,](?:--?|\u2013|\u2014)$"  # 5.- and 5,-- as prices
_POWERS = {  # other spellings of an exponent
    r"^([+-]?(?:\d+\.\d*|\.\d+))[dD]([+-]?\d{1,3})$": r"\1E\2",
    r"^([+-]?\d+)[dD]([+-]\d{1,3})$": r"\1E\2",
    r"^([+-]?\d+(?:[.,]\d+)?)\s[eE]([+-]\d{1,3})$": r"\1E\2",
    r"^(?!0[xX])([+-]?\d+(?:[.,]\d+)?)\s?[xX\u00d7*\u00b7]\s?10\^?\(?([+-]?\d{1,2})\)?$": r"\1E\2",
}
_THOUSANDS = r"[+-]?(?:\d{1,3}|[1-9]\d{0,2}(?:\.\d{3})+)"  # 1.234
_SIGN = r"([$€£¥%‰\u20a0-\u20c0])"
_BEFORE = r"[+-]?\s?((?:US|R|A|C)\$|USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|Rs\.?)\s?[\d.,(+-].*"
_AFTER = (  # kg, km/h, m2, zł, sq. ft.
    r".*\d\)?\s?((?:[^\W\d_]|[°µ])(?:[^\W\d_]|[°µ/²³]){0,7}\d?|kr\.|sq\.? ?(?:ft|m|km|mi|yd|in)\.?)"
)
_MULTIPLE = r".*\d\.?\s?(k|K|M|mn|B|bn)\)?"
_FACTORS = {"k": 1e3, "K": 1e3, "M": 1e6, "mn": 1e6, "B": 1e9, "bn": 1e9}


def are_few(strays, n):
    """Return whether the cells that do not fit the others are few enough, among `n`, to treat as missing.

    Parameters
    ----------
    strays : Series of str
    n : int
    """
    texts = set(strays)
    if {text.strip().lower() for text in texts} <= MARKS:
        return len(strays) <= MARK_SHARE * n
    return len(strays) <= STRAY_SHARE * n and len(texts) <= MOST_STRAYS


class Written:
    """A column as it is written in the file.

    Parameters
    ----------
    name : str
    texts : Series of str
        The cells that are not missing, stripped of blanks.
    is_target : bool
        Whether this is the column to predict.
    is_text : bool
        Whether pandas does not read the column as numbers.
    """

    def __init__(self, name, texts, *, is_target, is_text):
        self.name = name
        self.texts = texts
        self.is_target = is_target
        self.is_text = is_text

    @cached_property
    def unit(self):
        """Currency or per cent sign (the same in all cells that have one), or a unit in letters; else empty."""
        signs = self.texts.str.extract(_SIGN)[0].dropna().unique()
        if len(signs) == 1 and not self.texts.str.match(r"[A-Z]+\$").any():
            return signs[0]
        for pattern in (_BEFORE, _AFTER):
            units = self.texts.str.extract(rf"^{pattern}$")[0]
            usual = units.dropna().unique()
            if len(usual) == 1 and usual[0] not in _FACTORS and units.notna().mean() >= 1 - STRAY_SHARE:
                return usual[0]
        return ""

    @cached_property
    def _without_unit(self):
        if not self.unit:
            return self.texts
        unit = re.escape(self.unit)
        if len(self.unit) == 1 and not self.unit.isalpha():
            return self.texts.str.replace(rf"[ \u00a0\u202f]?{unit} ?", "", n=1, regex=True)
        return self.texts.str.replace(rf"^([+-]?)\s?{unit}\s?|\s?{unit}(\)?)$", r"\1\2", n=1, regex=True)

    @cached_property
    def factors(self):
        """Factors for the letters K, M and B after the numbers, or None if there are no such letters."""
        letters = self._without_unit.str.extract(rf"^{_MULTIPLE}$")[0]
        share = letters.notna().mean()
        if share < 0.05 or letters.notna().sum() < 2:  # otherwise the letter is probably part of a code
            return None
        return letters.map(_FACTORS).fillna(1.0).astype(float)

    @cached_property
    def has_parentheses(self):
        """Whether a cell has a number in parentheses, which means a negative number in accounting."""
        return bool(self._without_unit.str.fullmatch(r"\([^()+-]*\d[^()+-]*\)").any())

    @cached_property
    def has_minus_after(self):
        """Whether a minus sign follows a number, as SAP writes."""
        return bool(self._without_unit.str.match(_MINUS_AFTER).any())

    @cached_property
    def has_powers(self):
        """Whether an exponent is written otherwise than with E, as in 1.5D+03 and 1.5x10^3."""
        return bool(
            self._without_unit.str.contains(r"\d\.?\d*(?:[dD][+-]?\d|\s[eE][+-]\d|\s?[xX\u00d7*\u00b7]\s?10)").any()
        )

    @cached_property
    def has_dashes(self):
        """Whether dashes stand for the decimals of a price, as in 5.- and 5,--."""
        return bool(self._without_unit.str.match(_DASHES).any())

    @cached_property
    def has_both_signs(self):
        """Whether some cells have a decimal point and some a comma, and none of these can separate thousands."""
        texts = self.bare
        if not (texts.str.contains(",", regex=False).any() and texts.str.contains(".", regex=False).any()):
            return False
        return bool(texts.str.fullmatch(_EITHER_SIGN).all() and not texts.str.fullmatch(_MAYBE_THOUSANDS).any())

    @cached_property
    def bare(self):
        """The bare numbers: without unit and multiples, and with an ASCII minus sign in front."""
        texts = self._without_unit.str.replace("\u2212", "-").str.replace(_MINUS_BEFORE, "-", regex=True)
        if self.has_dashes:
            texts = texts.str.replace(_DASHES, r"\1", regex=True)
        if self.has_minus_after:
            texts = texts.str.replace(_MINUS_AFTER, r"-\1", regex=True)
        if self.has_powers:
            for pattern, number in _POWERS.items():
                texts = texts.str.replace(pattern, number, regex=True)
        if self.has_parentheses:
            texts = texts.str.replace(r"^\(([^()+-]*)\)$", r"-\1", regex=True)
        if self.factors is not None:
            texts = texts.str.replace(r"\s?(?:k|K|M|mn|B|bn)$", "", regex=True)
        return texts.str.strip()

    @cached_property
    def strays(self):
        """The cells that are not numbers, if they are few; else an empty Series."""
        known = self.bare.str.fullmatch(_DECIMAL_POINT) | self.bare.str.fullmatch(_DECIMAL_COMMA)
        strays = self.texts[~known]
        return strays if are_few(strays, len(self.texts)) else strays[:0]

    @cached_property
    def without_strays(self):
        """The column without its strays."""
        if self.strays.empty:
            return self
        return Written(self.name, self.texts.drop(self.strays.index), is_target=self.is_target, is_text=self.is_text)

    @cached_property
    def is_whole(self):
        """Whether all cells consist of digits only."""
        return bool(self.texts.str.fullmatch(r"\d+").all())

    @cached_property
    def groups_by_points(self):
        """Whether points may be thousands separators, as in 1.234, in all cells."""
        return bool(self.texts.str.contains(".", regex=False).any() and self.texts.str.fullmatch(_THOUSANDS).all())

    @cached_property
    def style(self):
        """Number format of a text column: decimal sign '.' or ',', 'either', 'whole', or '' if there are no numbers."""
        texts = self.without_strays.bare
        point, comma = (texts.str.fullmatch(pattern).all() for pattern in (_DECIMAL_POINT, _DECIMAL_COMMA))
        if point and comma:
            return "either" if texts.str.contains(",").any() else "whole"
        return "." if point else "," if comma else ""


class Reading(NamedTuple):
    """Result of a rule for a column.

    Parameters
    ----------
    values : Series or None
        Values of the cells that are not missing; None keeps the column as pandas read it.
    said : tuple of str
        Keys of `SENTENCES`.
    details : dict of str to str
        Text that a sentence adds to the name of the column.
    strays : tuple of str
        The texts that are treated as missing.
    """

    values: object
    said: tuple
    details: dict = {}
    strays: tuple = ()

    @classmethod
    def beside(cls, strays, values, said, details=None):
        """Return a reading in which the strays are treated as missing."""
        if strays.empty:
            return cls(values, said, details or {})
        texts = list(dict.fromkeys(strays))
        details = {**(details or {}), "strays": f"{listed(texts)} in {rows(len(strays))}"}
        return cls(values, (*said, "strays"), details, tuple(texts))
