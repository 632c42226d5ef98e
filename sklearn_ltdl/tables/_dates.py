"""Rules that read the text of a column as dates or times, for the ordered list in `_spelling`."""

import datetime
import re
import unicodedata
import warnings
from contextlib import suppress

from sklearn_ltdl.tables._cells import Reading, are_few

_SEEN = 20  # distinct cells from which the date format is guessed
_ISO_DATE = r"\d{4}-\d{2}-\d{2}(?:[ T][0-9:.,+Z-]+)?"
_OFFSET = r".+(?:Z|[+-]\d\d:?\d\d)"
_COMPACT = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # 20240531
_WORD, _BETWEEN = r"[A-Za-z]{3,9}\.?", r"(?:[-/. ]|, ?)"
_DATE_LIKE = re.compile(
    rf"(?:{_WORD},? )?(?:\d{{1,4}}|{_WORD}){_BETWEEN}(?:\d{{1,2}}|{_WORD}){_BETWEEN}\d{{1,4}}(?:[T ,].*)?"
    rf"|{_WORD}{_BETWEEN}\d{{2,4}}|\d{{4}}[-/]\d{{2}}|\d{{2}}/\d{{4}}"
)
_ODD = (  # spellings that pandas does not know, as patterns, and how to write them
    (r"(?<=\d)(?:st|nd|rd|th)\b", ""),  # 21st January 2019
    (r"^(\d{1,2})([A-Za-z]{3})(\d{4}|\d\d)\b", r"\1-\2-\3"),  # 21JAN2019 (SAS)
    (r"^(\d{1,2}/[A-Za-z]{3}/\d{4}):", r"\1 "),  # 21/Jan/2019:06:11:06 (servers)
    (r"^(\d{4})[\u5e74_](\d{1,2})[\u6708_](\d{1,2})\u65e5?", r"\1-\2-\3"),  # 2019_01_21, or in Chinese or Japanese
    (r"(\d) de (?=[^\W\d])|([^\W\d]) de (?=\d)", r"\1\2 "),  # 21 de enero de 2019
    (r"(?<=\d)\. (?=[^\W\d])", " "),  # 21. Januar 2019
    (r" (\d{1,2})\.(\d\d)$", r" \1:\2"),  # 21-01-2019 06.11
    (r"(:\d\d) (?:Uhr|Z|UTC|GMT|[A-Z]{2,4}T)$", r"\1"),  # 06:11 Uhr, 06:11 CET
    (r"^(\d{4}):(\d\d):(\d\d) ", r"\1-\2-\3 "),  # 2019:01:21 06:11:06 (cameras)
    (r"^(\d{4}-\d\d-\d\d)[-_](\d\d)[.:](\d\d)(?:[.:]\d\d)?$", r"\1 \2:\3"),  # 2019-01-21_06:11
    (r"^(\d{4})(\d\d)(\d\d)[T ](\d\d):?(\d\d)(?::?(\d\d))?Z?$", r"\1-\2-\3 \4:\5"),  # 20190121T061106
    (r"^(\d{1,2})\.([^\W\d]{3,9})\.(?=\d)", r"\1 \2 "),  # 21.Jan.2019
    (r"^(\d{1,2}-[A-Za-z]{3}-\d{2,4}):(\d\d:\d\d:\d\d)(?:\.0+)?$", r"\1 \2"),  # 21Jan2019:06:11:06 (SAS)
    (r" (\d\d)\.(\d\d)\.(\d\d)(?:\.\d+)? ([AP]M)$", r" \1:\2:\3 \4"),  # 21-JAN-19 06.11.06.000 AM (Oracle)
    (r"^(\d{4})[- ]?[Mm](\d{1,2})$", r"\1-\2"),  # 2019M01
    (r"^(\d{4})[- ]([^\W\d]{3,9})$", r"\2 \1"),  # 2019-Jan
    (r"^(0?[1-9]|1[0-2])-(\d{4})$", r"\2-\1"),  # 01-2019
    (r"^([^\W\d]{3,9}), (\d{4})$", r"\1 \2"),  # January, 2019
    (r"^([^\W\d]{3}) ?'(\d\d)$", r"\1-\2"),  # Jan '19
)
_QUARTER = (  # Q1 2019, 2019Q1, 1Q19, Q1 '19, 1. Quartal 2019
    r"(?:(?:[QqT]0?([1-4])|([1-4])(?:[Qq]|\. ?Quartal|\. ?Quarter))[ /-]?'?(\d{4}|\d\d)|(\d{4})[ /-]?[Qq]([1-4]))"
)
_WEEK = (  # 2021-W05, 2021-W05-1, KW05/2021
    r"(?:(\d{4})[- ]?[Ww](\d\d?)(?:-?([1-7]))?|(?:W|KW|CW|[Ww]ee?k)[ -]?(\d\d?)[ /-](\d{4}))"
)
_NAMED = re.compile(r"(?i).*(?:date|datum|fecha|dob|timestamp)")  # a name that makes whole numbers dates
_LEAST_MONTHS = 12  # distinct numbers such as 201901 that are months under any name
_LETTERS = re.compile(r"[^\W\d_]{3,}\.?")
_MONTHS = {  # first letters of months in German, French, Spanish, Italian, Portuguese and Dutch
    "jan": "Jan", "gen": "Jan", "ene": "Jan", "feb": "Feb", "fev": "Feb", "mar": "Mar", "mrz": "Mar", "maa": "Mar",
    "apr": "Apr", "avr": "Apr", "abr": "Apr", "mai": "May", "may": "May", "mei": "May", "mag": "May", "jun": "Jun",
    "juin": "Jun", "giu": "Jun", "jul": "Jul", "juil": "Jul", "lug": "Jul", "aug": "Aug", "aou": "Aug", "ago": "Aug",
    "sep": "Sep", "set": "Sep", "oct": "Oct", "okt": "Oct", "ott": "Oct", "out": "Oct", "nov": "Nov", "dec": "Dec",
    "dez": "Dec", "dic": "Dec",
}  # fmt: skip
_DAYS = (  # formats that pandas does not guess: two-digit years, twelve-hour clocks, months
    "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%d.%m.%y", "%d-%b-%y", "%d %b %y", "%b %d %y", "%b %d, %y",
    "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%Y-%m-%d", "%Y/%m/%d", "%d-%b-%Y", "%d %b %Y",
    "%b %d %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%b %Y", "%b-%Y", "%B %Y", "%b-%y", "%m/%Y", "%Y/%m",
)  # fmt: skip
_CLOCKS = "", " %H:%M:%S %z", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p", " %H:%M", " %H:%M:%S"
_TIME = r"\d{1,2}:[0-5]\d(?::[0-5]\d(?:\.\d+)?)?"
_TWELVE = r"(?:0?[1-9]|1[0-2]):[0-5]\d(?::[0-5]\d)? ?[AaPp]\.?[Mm]\.?"


def compact_dates(column, decimal):
    """Read ``20240531``, ``202405311430`` and, in a column named as a date, ``31052024``, if all cells are valid."""
    from pandas import to_datetime

    if column.is_target or not column.is_whole or column.texts.nunique() < 2:
        return None
    forms = [(_COMPACT, "%Y%m%d"), (rf"{_COMPACT}\d{{4}}", "%Y%m%d%H%M"), (rf"{_COMPACT}\d{{6}}", "%Y%m%d%H%M%S")]
    forms += [(r"\d{8}", "%d%m%Y"), (r"\d{8}", "%m%d%Y")] if _NAMED.fullmatch(column.name) else []
    found = []
    for pattern, written in forms:
        if column.texts.str.fullmatch(pattern).all():
            with suppress(ValueError):  # the 30th of February
                days = to_datetime(column.texts, format=written)
                if days.dt.year.between(1900, 2100).all():
                    found.append(days)
    if not found:
        return None
    clear = all(days.equals(found[0]) for days in found)
    return Reading(found[0], ("compact dates",)) if clear else Reading(None, ("ambiguous dates",))


def compact_months(column, decimal):
    """Read ``202405`` and ``05.2024`` as the first day of the month, if all cells are written so."""
    from pandas import to_datetime

    texts = column.texts
    if column.is_target or texts.nunique() < (2 if _NAMED.fullmatch(column.name) else _LEAST_MONTHS):
        return None
    if texts.str.fullmatch(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])").all():
        return Reading(to_datetime(texts, format="%Y%m"), ("compact dates",))
    if texts.str.fullmatch(r"(?:0[1-9]|1[0-2])\.(?:19|20)\d\d").all():
        return Reading(to_datetime(texts, format="%m.%Y"), ("compact dates",))
    return None


def iso_dates(column, decimal):
    """Read ``2024-05-31``, with or without a time; values with and without an offset are not mixed."""
    from pandas import to_datetime

    if not column.is_text:
        return None
    known = column.texts.str.fullmatch(_ISO_DATE)
    strays, texts = column.texts[~known], column.texts[known]
    if not are_few(strays, len(column.texts)):
        return None
    offsets = texts.str.fullmatch(_OFFSET).all() and texts.str.len().gt(10).all()
    with suppress(ValueError):  # a thirteenth month
        return Reading.beside(strays, to_datetime(texts, format="ISO8601", utc=bool(offsets)), ())
    return None


def dates(column, decimal):
    """Read dates in the format of all but a few cells, if it is clear which number is the day."""
    from pandas import Series

    if not column.is_text:
        return None
    distinct = _usual(Series(column.texts.unique()))
    seen = [text for text in distinct[:_SEEN] if _DATE_LIKE.fullmatch(text)]
    if len(seen) < min(_SEEN, len(distinct)) / 2:
        return None
    forms = _forms(seen)
    forms += _years_first(distinct, forms)
    found = {written: _parsed(distinct, written) for written in forms}
    found = {
        written: days
        for written, days in found.items()
        if are_few(column.texts[column.texts.isin(column.texts.unique()[days.isna()])], len(column.texts))
    }
    if not found:
        return None
    fewest = min(int(days.isna().sum()) for days in found.values())
    found = {written: days for written, days in found.items() if int(days.isna().sum()) == fewest}
    written, days = min(found.items(), key=lambda item: _preference(item[0]))
    if any(_preference(other) == _preference(written) and not days.equals(found[other]) for other in found):
        return Reading(None, ("ambiguous dates",))
    values = column.texts.map(dict(zip(column.texts.unique(), days)))
    strays = column.texts[values.isna()]
    said = ("two digits",) if "%y" in written else ()
    if re.search("%d.%m", written):
        said = ("day first", *said)
    elif re.search("%m.%d.%[yY]", written):
        said = ("month first", *said)
    return Reading.beside(strays, values[values.notna()], said)


def quarters(column, decimal):
    """Read ``2019Q1``, ``Q1 2019`` and ``1Q19`` as the first day of the quarter."""
    from pandas import to_datetime

    if not column.is_text or column.is_target or not column.texts.str.fullmatch(_QUARTER).all():
        return None
    found = column.texts.str.extract(_QUARTER)
    years, numbers = found[2].fillna(found[3]), found[0].fillna(found[1]).fillna(found[4]).astype(int)
    this = datetime.datetime.now(tz=datetime.UTC).year % 100
    short = years.str.len() == 2
    years = years.where(~short, years.map(lambda year: ("20" if int(year) <= this else "19") + year))
    months = (3 * numbers - 2).astype(str).str.zfill(2)
    return Reading(to_datetime(years + "-" + months + "-01"), ("quarters",))


def weeks(column, decimal):
    """Read ISO weeks such as ``2021-W05`` as their Monday, and ``2021-W05-3`` as its day."""
    from pandas import to_datetime

    if not column.is_text or column.is_target:
        return None
    known = column.texts.str.fullmatch(_WEEK)
    strays, found = column.texts[~known], column.texts[known].str.extract(_WEEK)
    if not are_few(strays, len(known)) or strays.str.contains(r"\d").any():
        return None
    texts = found[0].fillna(found[4]) + " " + found[1].fillna(found[3]) + " " + found[2].fillna("1")
    with suppress(ValueError):  # the 53rd week of a year that has 52
        return Reading.beside(strays, to_datetime(texts, format="%G %V %u"), ("weeks",))
    return None


def _usual(texts):
    """Return dates with the spelling of a format that pandas knows, and months in English."""
    for pattern, usual in _ODD:
        texts = texts.str.replace(pattern, usual, regex=True)
    if not texts.head(_SEEN).str.contains(_LETTERS).any():
        return texts
    return texts.str.replace(_LETTERS, _in_english, regex=True)


def _in_english(word):
    """Return the English name of the month that a match may be, else its text."""
    plain = unicodedata.normalize("NFKD", word[0].lower()).encode("ascii", "ignore").decode()
    return _MONTHS.get(plain[:4]) or _MONTHS.get(plain[:3]) or word[0]


def _forms(texts):
    """Return the strptime formats that some of the texts may have: pandas' guesses, else those of a list."""
    from pandas.tseries.api import guess_datetime_format

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about dates whose order does not depend on `dayfirst`
        guesses = [guess_datetime_format(text, dayfirst=first) for text in texts for first in (False, True)]
    forms = {written: None for written in guesses if written and re.search("%[yY]", written)}
    listed = [day + clock for day in _DAYS for clock in _CLOCKS] if not forms else []
    return list(forms) or [written for written in listed if any(_fits(text, written) for text in texts)]


def _years_first(texts, forms):
    """Return formats such as ``%y-%m-%d``, if the first of three numbers varies less than the last, as years do."""
    ends = texts.str.extract(r"^(\d\d)[-/]\d\d[-/](\d\d)\b")
    firsts, lasts = set(ends[0].dropna()), set(ends[1].dropna())
    latest = datetime.datetime.now(tz=datetime.UTC).year % 100
    if not 0 < len(firsts) < len(lasts) or firsts <= {"01", "15"} or any(latest < int(k) <= 31 for k in firsts):
        return []
    return [re.sub("%d(.)%m.%y", r"%y\1%m\1%d", written) for written in forms if re.match("%d.%m.%y", written)]


def _fits(text, written):
    with suppress(ValueError):
        return bool(datetime.datetime.strptime(text, written))
    return False


def _preference(written):
    """Return a rank of a format: ISO order and day.month come first; otherwise both orders are equal."""
    return 0 if re.search("%[Yy].%m|%d[.]%m|%[bB]", written) else 2 if re.search("%Y.%d", written) else 1


def _parsed(texts, written):
    """Return the dates in a format, missing if a text has another; two-digit years are not in the future."""
    from pandas import DateOffset, to_datetime

    days = to_datetime(texts, format=written, errors="coerce", utc="%z" in written)
    if "%y" in written:
        later = days.dt.year > datetime.datetime.now(tz=datetime.UTC).year
        days = days.where(~later, days - DateOffset(years=100))
    return days


def times_of_day(column, decimal):
    """Read ``14:05``, ``14:05:30`` and ``2:05 PM`` as the time since midnight."""
    from pandas import to_datetime, to_timedelta

    texts = column.texts
    if not column.is_text or column.is_target:
        return None
    twelve, plain = texts.str.fullmatch(_TWELVE), texts.str.fullmatch(_TIME)
    strays = texts[~(twelve | plain)]
    if not are_few(strays, len(texts)) or (twelve.any() and plain.any()):
        return None
    known = texts[twelve | plain]
    if plain.any():
        values = to_timedelta(known.where(known.str.count(":") == 2, known + ":00"))
        return Reading.beside(strays, values, ("times of day",))
    plainer = known.str.replace(".", "").str.replace(" ", "").str.upper()
    plainer = plainer.where(plainer.str.count(":") == 2, plainer.str.slice(0, -2) + ":00" + plainer.str.slice(-2))
    moments = to_datetime(plainer, format="%I:%M:%S%p")
    return Reading.beside(strays, moments - moments.dt.normalize(), ("times of day",))
