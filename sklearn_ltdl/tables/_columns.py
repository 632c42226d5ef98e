"""Decide how to read each column of a table: as numbers, dates or categories, or left out with a reason."""

import re
import textwrap
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._targets import is_missing
from sklearn_ltdl.tables._bytes import memory
from sklearn_ltdl.tables._kinds import as_table, coerced, is_numeral, kind_of, strays_of, typed
from sklearn_ltdl.tables._notes import Note, listed, rows

RARE_LEVEL = 10  # rows, below which a level says little
OWN_TEXT = 0.9  # a text column with a larger share of distinct values only identifies rows
OWN_SENTENCE = 0.5  # the same for texts of many words
WORDS = 4  # texts with at least so many words on average are sentences
_DATE = re.compile(r"\d{1,4}[./-](?:\d{1,2}|[A-Za-z]{3})[./-]\d{1,4}.*")
_IDENTIFIER = re.compile(  # customer_id, PassengerId, SK_ID_CURR, but not "paid"
    r"(?i:(?:.*[\W_])?(?:ids?|uuid|guid|uid|pk|row[_. ]?(?:id|number|no|nr|names?))|index|idx|key|unnamed: \d+)"
    r"|.*[a-z](?:ID|Id)|.*_ID_.*"
)
_ROW_NAME = re.compile(  # names of columns that number the rows if they increase; R writes X and ...1
    r"(?i:x|\.\.\.\d+|#|(?:.*[\W_])?(?:no|nr|num|number|obs|observation|case|row|record|serial|seq|sequence|sample)"
    r"|line|entry|subject|patient|customer|(?:lauf|lfd\W?)?(?:nr|nummer)|zeile|num[eé]ro|numer)\.?"
    r"|.*[a-z](?:No|Nr|Num|Number)"
)
_ONE_NUMBER = r"[^\w\s]?\d+(?:[.,]\d+)*[^\d]*"  # with what is around it, but no date, range or code
_MANY_NUMBERS = 20  # distinct texts that begin with a number, from which they are not labels
MOST_COLUMNS = 20_000  # maximum number of columns to predict from
MOST_CELLS = 100_000_000  # in the encoded table, 0.8 GB, which fit in any memory
_COPIES = 8  # of the encoded table in a fit
MOST_LEVELS = 200  # maximum number of encoded columns for one categorical column


class Column(NamedTuple):
    """How a column is read.

    Parameters
    ----------
    name : str
    kind : {'number', 'date', 'category', 'left out'}
    note : Note or str
        Why the column is left out, or what is remarkable about it; empty for most columns.
    n_missing : int
    """

    name: str
    kind: str
    note: Note | str
    n_missing: int


def group_numbers(groups):
    """Return the index of each row's group; rows without a group are rejected, because they could leak."""
    missing = is_missing(groups)
    if missing.any():
        raise ParameterError(
            "groups",
            f"expected a group for each row, got {missing.sum()} of {len(groups)} rows without one; leave these "
            "rows out, or give each a group of its own if nothing links them.",
        )
    return np.unique(groups.astype(str), return_inverse=True)[1]


def read_columns(X, *, categorical=(), numeric=(), number=None):
    """Return the table for the models, with each column of one kind, and how every column of `X` is read.

    The decision is made once, on all rows, so it is the same in every fold. It does not use the target. Columns of a
    DataFrame are left out if they are constant, or if they only identify rows: text that is unique in nearly every row,
    distinct whole numbers that are identifiers by their name, and row numbers from 0 or 1, whatever their name. A
    categorical or float dtype is regarded as the user's choice and keeps such a column. All columns of an array are
    kept.

    Parameters
    ----------
    X : pandas or polars DataFrame, or array of shape (n_samples, n_features)
    categorical, numeric : sequence of str or int, default=()
        Columns, by name or (in an array) by index, that are read as categories or as numbers. Non-numeric values of
        `numeric` columns are treated as missing.
    number : integer ndarray of shape (n_samples,), default=None
        Numbers of the rows in the table from which they were drawn; None if these are all rows.

    Returns
    -------
    table : DataFrame or ndarray
    columns : list of Column
    """
    X = as_table(X)
    names = [str(name) for name in getattr(X, "columns", range(X.shape[1]))]
    if len(names) > MOST_COLUMNS:
        raise ValueError(too_many("X", len(names)))
    require_distinct("X", names)
    kinds = {type(label) for label in getattr(X, "columns", ())}
    if str in kinds and len(kinds) > 1:
        raise ParameterError(
            "X",
            "expected names of columns that are all str, as scikit-learn requires; "
            "try X.columns = X.columns.astype(str).",
        )
    asked = {name: "category" for name in _known(categorical, names)} | {
        name: "number" for name in _known(numeric, names)
    }
    if len(asked) < len(categorical) + len(numeric):
        raise ValueError("A column is listed twice in categorical and numeric; list it once.")
    named = hasattr(X, "iloc")
    if not named and X.dtype.kind in "biuf" and not asked:
        columns = [Column(name, "number", "", int(missing)) for name, missing in zip(names, is_missing(X).sum(axis=0))]
    else:
        from pandas import DataFrame

        frame = X if named else DataFrame(X)
        columns, kept = [], {}
        for name, (label, series) in zip(names, frame.items()):
            column, series = _read(name, series, asked.get(name), named, number)
            columns.append(column)
            if column.kind != "left out":
                kept[label] = series
        if not kept:
            reasons = "; ".join(f"{column.name}: {column.note}" for column in columns[:5])
            more = "; ..." if len(columns) > 5 else ""
            raise ValueError(
                f"No column is left to predict from ({reasons}{more}). numeric= or categorical= (--numeric NAME or "
                "--categorical NAME) keeps one."
            )
        X = DataFrame(kept, index=frame.index)
    kept = [column for column in columns if column.kind != "left out"]
    _require_finite(kept, X)
    _require_size(kept, X)
    return X, columns


def require_distinct(where, names):
    """Raise a ValueError that lists repeated names, if there are any."""
    seen = set()
    repeated = sorted({name for name in names if name in seen or seen.add(name)})
    if repeated:
        raise ValueError(
            f"{where}: expected distinct column names, got {listed(repeated)} more than once; rename or remove the "
            "copies."
        )


def too_many(where, count):
    """Return the error message for a table with too many columns."""
    return (
        f"{where}: expected at most {MOST_COLUMNS} columns to predict from, got {count}; drop some, or reduce them "
        "first, for example to principal components."
    )


def _known(wanted, names):
    wanted, known = list(map(str, wanted)), set(names)
    for name in wanted:
        if name not in known:
            raise ValueError(f"The table has no column {name!r}; {hint(name, names)}")
    return wanted


def hint(name, names):
    """Return a hint about the names that may have been meant."""
    import difflib

    close = difflib.get_close_matches(str(name), list(map(str, names)), n=3)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"it has {listed(names)}."


def target_position(column, names):
    """Return the index of the column to predict: by name, by position from 1 or -1, or the last one."""
    if column is None or column in names:
        return len(names) - 1 if column is None else names.index(column)
    try:
        number = int(column)
    except ValueError:
        raise ValueError(f"The table has no column {column!r} to predict; {hint(column, names)}") from None
    if not 1 <= abs(number) <= len(names):
        raise ValueError(
            f"The table has no column {column!r} to predict; positions go from 1 to {len(names)}, or from -1, the last "
            f"one, to {-len(names)}."
        )
    return number - 1 if number > 0 else number + len(names)


def _read(name, series, given, named, number):
    """Return the Column, and the series for the models."""
    if given == "number":
        series, strays = coerced(name, series)
        note = ""
        if strays:
            note = Note(
                "coerced", f"non-numeric values are treated as missing ({len(strays)} of them, such as {strays[0]!r})"
            )
        return Column(name, "number", note, int(series.isna().sum())), series
    kind, n_missing, note = given or kind_of(series), int(series.isna().sum()), ""
    strays = strays_of(series) if given is None and kind == "category" else []
    if strays:
        texts, where = listed(list(dict.fromkeys(strays))), rows(len(strays))
        note = Note("strays", f"{texts} among numbers is read as missing, in {where}; --categorical keeps the text")
        series = coerced(name, series)[0]
        return Column(name, "number", note, int(series.isna().sum())), series
    if given is None and named:
        seen = _Seen(name, series, kind, number)
        reason = _first(LEAVE_OUT, seen)
        if reason:
            return Column(name, "left out", reason, n_missing), series
        note = _first(SUSPECT, seen)
    return Column(name, kind, note, n_missing), typed(series, kind)


class _Seen:
    """A column of known kind, with the properties that rules use."""

    def __init__(self, name, series, kind, number=None):
        self.name = name
        self.series = series
        self.kind = kind
        self.number = np.arange(len(series)) if number is None else number

    @cached_property
    def n_known(self):
        return int(self.series.count())

    @cached_property
    def n_distinct(self):
        """Number of distinct values, or None if they cannot be compared."""
        try:
            return int(self.series.nunique())
        except TypeError:
            return None

    @cached_property
    def texts(self):
        """The known values as texts; empty for a categorical dtype, which is the user's choice and is kept."""
        if self.kind != "category" or self.series.dtype.name == "category":
            return self.series.iloc[:0].astype(str)
        return self.series.dropna().astype(str)

    @cached_property
    def strays(self):
        """Counts of the texts that are not numbers."""
        counts = self.texts.value_counts(sort=False)
        return counts[[not is_numeral(text) for text in counts.index]]

    @property
    def example(self):
        return textwrap.shorten(str(self.texts.iloc[0]), 40, placeholder=" ...")


def _empty(column):
    if column.n_known == 0:
        return Note("empty", "empty")
    return None


def _objects(column):
    if column.n_distinct is None:
        return Note("objects", "its values are lists or other objects")
    return None


def _constant(column):
    if column.n_distinct == 1 and column.n_known == len(column.series) > 1:
        return Note("constant", "the same value in every row")
    return None


def _identifier(column):
    n = len(column.series)
    if not column.n_distinct == n > RARE_LEVEL:
        return None
    whole = column.kind == "number" and column.series.dtype.kind in "iu"
    if whole and _IDENTIFIER.fullmatch(column.name):
        return Note("identifier", "looks like an identifier (name, and all values distinct)")
    if len(column.texts) == n and column.texts.str.fullmatch(r"\d+").all():
        return Note("identifier", f"looks like an identifier (digits such as {column.example!r}, all distinct)")
    return None


def _row_number(column):
    """Recognise row numbers: they count from 0 or 1, or increase and have the name of a row number."""
    whole = column.kind == "number" and column.series.dtype.kind in "iu"
    if not whole or not column.n_known == len(column.series) > RARE_LEVEL:
        return None
    values = column.series.to_numpy()
    first = int(values[0]) - int(column.number[0])
    if first in (0, 1) and (np.diff(values) == np.diff(column.number)).all():
        hint = "; if it is the time, --time" if re.fullmatch("(?i)t|time|period|day|week|month", column.name) else ""
        return Note("row number", f"row numbers from {first}, which do not describe new rows{hint}")
    if (np.diff(values) == -np.diff(column.number)).all() and values[-1] in (0, 1):
        return Note("row number", f"row numbers down to {values[-1]}, which do not describe new rows")
    if not _ROW_NAME.fullmatch(column.name):
        return None
    if (np.diff(values) > 0).all():
        return Note("row number", "looks like a row number (name, and increasing values)")
    if values.min() in (0, 1) and (np.diff(np.sort(values)) == 1).all():
        return Note("row number", "looks like a row number (name, and each number once)")
    return None


def _free_text(column):
    if column.kind != "category":
        return None
    few = column.texts.iloc[:1000]
    if len(column.texts) <= RARE_LEVEL or column.n_distinct <= OWN_SENTENCE * len(column.texts):
        return None
    if few.str.count(r"\s+").mean() + 1 >= WORDS:
        return Note("free text", f"free text, such as {column.example!r}")
    return None


def _own_text(column):
    if column.kind != "category":
        return None
    texts = column.texts
    if len(texts) <= RARE_LEVEL or column.n_distinct <= OWN_TEXT * len(texts):
        return None
    if sum(map(is_numeral, set(texts))) >= column.n_distinct / 2:
        return None
    hint = "; write dates as 2024-05-31" if _DATE.fullmatch(column.example) else ""
    if not hint and texts.str.fullmatch(_ONE_NUMBER).mean() >= 0.95:
        hint = "; write numbers without what is around them"
    return Note("own text", f"almost every value is unique text, such as {column.example!r}{hint}")


def _unread_dates(column):
    if column.kind != "category":
        return None
    if len(column.strays) and column.strays.index.str.fullmatch(_DATE).all():
        found = column.strays.index[0]
        return Note("unread dates", f"looks like dates; write them as 2024-05-31, not as {found!r}")
    return None


def _stray_words(column):
    if column.kind != "category":
        return None
    n, strays = len(column.texts), int(column.strays.sum())
    if 0 < strays <= 0.6 * n:
        return Note("strays", f"{n - strays} of {n} values are numbers, but {column.strays.index[0]!r} is not")
    return None


def _spelled_numbers(column):
    """Note numbers of a spelling that is not known, such as hexadecimal ones or several units."""
    if column.kind != "category" or not column.n_distinct or column.n_distinct < _MANY_NUMBERS:
        return None
    if column.strays.empty or column.strays.index.str.fullmatch(_ONE_NUMBER).mean() < 0.95:
        return None
    return Note(
        "spelled numbers", f"if values such as {column.example!r} are numbers, write them without what is around them"
    )


def _look_alike(column):
    if column.kind != "category" or not column.n_distinct:
        return None
    twins = look_alike(column.series.dropna().unique())
    if twins:
        return Note("look alike", f"only differ in case, blanks or a full stop: {listed(twins)}")
    return None


def look_alike(labels):
    """Return the first labels that only differ in case, blanks or a final full stop."""
    plain = {}
    for label in map(str, labels):
        plain.setdefault(" ".join(label.casefold().split()).rstrip(".").rstrip(), []).append(label)
    return next((twins for twins in plain.values() if len(twins) > 1), [])


def _sentinel(column):
    """Note a number such as -999 that is far from all others, because it often means a missing value."""
    if column.kind != "number" or column.n_known <= RARE_LEVEL or column.series.dtype.kind not in "iuf":
        return None
    values, counts = np.unique(column.series.dropna().to_numpy(dtype=float), return_counts=True)
    if len(values) < 5:
        return None
    for end, others in ((0, values[1:]), (-1, values[:-1])):
        value, count, spread = values[end], counts[end], others[-1] - others[0]
        gap = abs(value - others[end])
        usual = re.fullmatch(r"-?9{2,}(?:\.0|9*\.9+)?|-?9{2,}8", repr(float(value)).removesuffix(".0")) is not None
        if gap > (1 if usual else 1000) * spread and (usual or count > 1):
            where = f"in {rows(count)}"
            return Note(
                "sentinel", f"{value:g} {where} is far from all other values; --missing {value:g} if it means missing"
            )
    return None


def _repeated_identifier(column):
    named = column.series.dtype.kind in "iuO" and _IDENTIFIER.fullmatch(column.name)
    if named and column.n_distinct < column.n_known:
        return Note(
            "repeated identifier",
            "named like an identifier, but some values occur in several rows: do these rows belong together (groups)?",
        )
    return None


def _rare_levels(column):
    """Note a category of which most rows have a rare level, so that it says little."""
    if column.kind != "category" or not column.n_distinct:
        return None
    counts = column.series.value_counts()
    few = int(counts[counts < RARE_LEVEL].sum())
    if few <= column.n_known / 2 or column.n_distinct < RARE_LEVEL:
        return None
    return Note("rare levels", f"{few} of {column.n_known} rows have a level of fewer than {RARE_LEVEL} rows")


def identifies(name, series, number=None):
    """Return why a column, also by its name, only numbers or identifies the rows; None if it does not."""
    if not _IDENTIFIER.fullmatch(name) and not _ROW_NAME.fullmatch(name):
        return None
    seen = _Seen(name, series, kind_of(series), number)
    return _first((_identifier, _row_number), seen) or None


LEAVE_OUT = (_empty, _objects, _constant, _identifier, _row_number, _free_text, _own_text)  # why a column is left out
SUSPECT = (
    _unread_dates,
    _stray_words,
    _spelled_numbers,
    _look_alike,
    _sentinel,
    _repeated_identifier,
    _rare_levels,
)  # possible mistakes


def _first(rules, column):
    """Return the note of the first rule that applies, or an empty text."""
    return next((note for note in (rule(column) for rule in rules) if note is not None), "")


def _require_finite(columns, X):
    for j, column in enumerate(columns):
        values = X.iloc[:, j] if hasattr(X, "iloc") else X[:, j]
        if column.kind != "number" or values.dtype.kind in "biu":
            continue
        values = values.to_numpy(dtype=float, na_value=np.nan) if hasattr(X, "iloc") else values
        infinite = np.isinf(values)
        if infinite.any():
            raise ParameterError(
                "X",
                f"column {column.name!r} holds infinite values ({infinite.sum()} of {len(values)}); replace them by "
                "a number, or leave them empty (--missing inf,-inf).",
            )


def _require_size(columns, X):
    width = encoded_width([column.kind for column in columns], X)
    if len(X) * width > most_cells():
        raise ParameterError(
            "X",
            f"{len(X)} rows of {width} columns (a category has one per level) do not fit in memory; "
            f"draw about {most_cells() // width} of the rows at random (sample=, --sample).",
        )


def encoded_width(kinds, X):
    """Return about how many columns a table has once categories are spread over their levels."""
    return sum(min(X.iloc[:, j].nunique(), MOST_LEVELS) if kind == "category" else 1 for j, kind in enumerate(kinds))


def most_cells():
    """Return how many cells of an encoded table the memory has room for."""
    return max(MOST_CELLS, memory() // (8 * _COPIES))
