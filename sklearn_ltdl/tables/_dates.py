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
)
_QUARTER = r"(?:Q0?([1-4])[ /-]?(\d{4})|(\d{4})[ /-]?Q([1-4]))"  # Q1 2019 and 2019Q1
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
    """Read ``20240531``, if all whole numbers of the column are valid dates."""
    from pandas import to_datetime

    if column.is_target or not column.is_whole or column.texts.nunique() < 2:
        return None
    if not column.texts.str.fullmatch(_COMPACT).all():
        return None
    with suppress(ValueError):  # the 30th of February
        return Reading(to_datetime(column.texts, format="%Y%m%d"), ("compact dates",))
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
    found = {written: _parsed(distinct, written) for written in _forms(seen)}
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
    """Read ``2019Q1`` and ``Q1 2019`` as the first day of the quarter."""
    from pandas import to_datetime

    if not column.is_text or column.is_target or not column.texts.str.fullmatch(_QUARTER).all():
        return None
    found = column.texts.str.extract(_QUARTER)
    years, numbers = found[1].fillna(found[2]), found[0].fillna(found[3]).astype(int)
    months = (3 * numbers - 2).astype(str).str.zfill(2)
    return Reading(to_datetime(years + "-" + months + "-01"), ("quarters",))


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


def _fits(text, written):
    with suppress(ValueError):
        return bool(datetime.datetime.strptime(text, written))
    return False


def _preference(written):
    """Return a rank of a format: ISO order and day.month come first; otherwise both orders are equal."""
    return 0 if re.search("%Y.%m|%d[.]%m|%[bB]", written) else 2 if re.search("%Y.%d", written) else 1


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
