"""Ordered rules that warn about properties of a table that could lead to wrong conclusions.

A rule takes an `Examined` table and returns a Note or None. To add one, add a function to `WARNINGS`.
"""

import re
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sklearn_ltdl.tables._columns import look_alike
from sklearn_ltdl.tables._kinds import date_parts, to_levels, to_numbers
from sklearn_ltdl.tables._notes import Note, listed

FEW_EVENTS = 10  # with fewer rows of a class, intervals miss too often: with 6 events, 45 % of 80 % intervals
FEW_EFFECTIVE = 50  # with fewer effective rows, intervals of losses are too narrow
_NORMAL = 5.0  # for a normal target a third of the rows is effective; less than a fifth is a heavy tail
_ALONE_R2 = 0.999  # above this R2 of a single column, it may contain the target
_ALONE_LOSS = 0.95  # the same, for the share of the log loss that one column saves
_ALONE_ERRORS = 0.9  # the same for two classes: share of the errors that are avoided, and accuracy
_ALONE_ACCURACY = 0.98
_SEEN = 2000  # maximum number of rows that are inspected; fewer for wide tables
_LEAST = 30  # with fewer rows, a single column may fit by chance
_ENTITY = re.compile(
    r"(?i)(?:.*[\W_])?(?:patient|subject|person|people|customer|client|user|member|employee|student|child|animal|chick"
    r"|household|family|school|class|hospital|clinic|centre|center|site|store|shop|firm|company|country|state|plant"
    r"|device|machine|sensor|session|batch|donor|player|team)(?:[\W_]?(?:id|no|nr|num|number|code|name))?"
)
_FEW_LEVELS, _ROWS_OF_A_LEVEL = 10, 10  # of a column that cuts the target
_TIME = re.compile(r"(?i)(?:.*[\W_])?(?:year|yr|date|time|timestamp|month|quarter|week|day|period)")


class Examined(NamedTuple):
    """A table with its columns and its target.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_rows, n_columns)
        The table for the models.
    columns : list of Column
        How each column of `X` is read.
    target : Target
    row : integer ndarray of shape (n_rows,)
        Position of each row in the user's table, from 1.
    is_grouped : bool
        Whether the user gave groups.
    is_log : bool
        Whether the target is the logarithm of the user's target.
    is_sample : bool
        Whether the rows are drawn from a longer table.
    """

    X: object
    columns: list
    target: object
    row: np.ndarray
    is_grouped: bool
    is_log: bool
    is_sample: bool = False

    def column(self, j):
        """Return one column as a table."""
        return self.X.iloc[:, [j]] if hasattr(self.X, "iloc") else self.X[:, [j]]


def leak(table):
    """Warn about columns that alone predict nearly all of the target."""
    n = len(table.X)
    if n < _LEAST:
        return None
    rows = np.arange(n)
    most = _SEEN if len(table.columns) <= 200 else _SEEN // 4
    if n > most:
        rows = np.random.default_rng(0).choice(n, most, replace=False)
    y = table.target.values[rows]
    knows = _knows_numbers if table.target.task == "regression" else _knows_classes
    found = []
    for j, column in enumerate(table.columns):
        if column.kind in ("number", "category"):
            values = to_numbers(table.column(j)) if column.kind == "number" else to_levels(table.column(j))
            values = values[rows, 0]
            if knows(_codes(values) if column.kind == "category" else values, y, column.kind):
                found.append(column.name)
    if not found:
        return None
    alone = f"alone predict{'s' * (len(found) == 1)} nearly all of the target"
    return Note("leak", f"{listed(found)} {alone}: is it known before the target? If not, --drop it.")


def cuts(table):
    """Warn about columns of few levels that may be computed from the target: each level has a range of its own."""
    if table.target.task != "regression" or len(table.X) < _LEAST:
        return None
    y, found = np.asarray(table.target.values, dtype=float), []
    for j, column in enumerate(table.columns):
        if column.kind not in ("number", "category"):
            continue
        values = (to_numbers if column.kind == "number" else to_levels)(table.column(j))[:, 0]
        levels, codes, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
        if not 2 <= len(levels) <= _FEW_LEVELS or counts.min() < _ROWS_OF_A_LEVEL:
            continue
        ends = sorted((y[codes == k].min(), y[codes == k].max()) for k in range(len(levels)))
        if all(low[1] < high[0] for low, high in pairwise(ends)):
            found.append(column.name)
    if not found:
        return None
    cut = f"cut{'s' * (len(found) == 1)} the target into ranges that do not overlap"
    return Note("cut", f"{listed(found)} {cut}: computed from the target? If so, --drop it.")


def _codes(levels):
    return np.unique(levels.astype(str), return_inverse=True)[1].astype(float)


def _knows_numbers(x, y, kind):
    """Return whether one column determines the numbers: linearly, by rank, or by level."""
    known = np.isfinite(x)
    if known.mean() < 0.9 or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return False
    x, y = x[known], y[known]
    levels, codes = np.unique(x, return_inverse=True)
    few = len(levels) <= len(y) / 5
    if few:
        means = np.bincount(codes, y) / np.bincount(codes)
        if np.mean((y - means[codes]) ** 2) < (1 - _ALONE_R2) * np.var(y):
            return True
    if kind == "category":
        return False
    by_line = np.corrcoef(x / np.abs(x).max(), y / np.abs(y).max())[0, 1] ** 2  # scaled so that squares do not overflow
    return by_line > _ALONE_R2 or (not few and np.corrcoef(_ranks(x), _ranks(y))[0, 1] ** 2 > _ALONE_R2)


def _ranks(values):
    from scipy.stats import rankdata

    return rankdata(values)


def _knows_classes(x, y, kind):
    """Return whether one column determines the classes, by a few thresholds or by level."""
    from sklearn.tree import DecisionTreeClassifier

    counts = np.bincount(y)
    counts = counts[counts > 0]
    known = np.isfinite(x)
    x = np.where(known, x, np.nan)
    x[known] = _ranks(x[known])  # ranks, because trees use single precision
    levels = len(np.unique(x))
    if len(counts) < 2 or levels < 2 or (kind == "category" and levels > len(y) / 5):
        return False
    leaves = levels if kind == "category" else len(counts)
    tree = DecisionTreeClassifier(max_leaf_nodes=max(2, leaves), min_samples_leaf=5, random_state=0)
    chances = tree.fit(x[:, None], y).predict_proba(x[:, None])
    place = np.searchsorted(tree.classes_, y)
    n = len(y)
    right = (n * chances[np.arange(n), place] + 1) / (n + len(counts))
    saved = 1 + np.log(right).mean() / -(counts / n * np.log(counts / n)).sum()
    accuracy, errors = np.mean(chances.argmax(axis=1) == place), 1 - counts.max() / n
    sure = len(counts) == 2 and accuracy >= _ALONE_ACCURACY and 1 - accuracy <= (1 - _ALONE_ERRORS) * errors
    return bool(saved > _ALONE_LOSS or sure)


def sorted_time(table):
    """Warn if rows are sorted by a column of dates or years, because random folds then predict the past."""
    if table.is_grouped:
        return None
    for j, column in enumerate(table.columns):
        named = column.kind == "number" and _TIME.fullmatch(column.name)
        if column.kind != "date" and not named:
            continue
        values = table.column(j)
        number = next(date_parts(values))[""] if column.kind == "date" else to_numbers(values)[:, 0]
        steps = np.diff(number[~np.isnan(number)])
        if len(steps) < 9 or not ((steps >= 0).all() or (steps <= 0).all()):
            continue
        if np.sum(steps != 0) >= len(steps) / 20 and np.sum(steps != 0) > 4:
            text = f"The rows are in the order of {column.name!r}, and the folds are drawn at random"
            return Note("sorted time", f"{text}: if new rows will be later, use --time {column.name}.")
    return None


def repeated_identifiers(table):
    """Warn about identifiers that several rows share, because these rows are not independent."""
    if table.is_grouped:
        return None
    n, found = len(table.X), []
    for j, column in enumerate(table.columns):
        noted = getattr(column.note, "code", "") == "repeated identifier"
        if not noted and not (column.kind in ("number", "category") and _ENTITY.fullmatch(column.name)):
            continue
        distinct = len(np.unique(to_levels(table.column(j)).astype(str)))
        if noted or 10 <= distinct <= n / 2:
            found.append(column.name)
    if not found:
        return None
    text = f"Several rows share a value of {listed(found)}: if these rows belong together"
    return Note("repeated identifiers", f"{text}, say --groups {found[0]}, or models may recognise them.")


def few_events(table):
    """Warn about classes with fewer than ten rows."""
    few = few_of(table.target)
    if not few:
        return None
    text = ", ".join(f"{label!r} {count}" for label, count in list(few.items())[:5]) + (", ..." if len(few) > 5 else "")
    more = " A larger --sample has more of them." if table.is_sample else ""
    text = f"Classes with fewer than {FEW_EVENTS} rows: {text}. Their results are not reliable.{more}"
    return Note("few events", text)


def few_of(target):
    """Return the classes with fewer than ten rows, with their counts."""
    return {label: count for label, count in counts_of(target).items() if count < FEW_EVENTS}


def counts_of(target):
    """Return the number of rows of each class."""
    if target.classes is None:
        return {}
    counts = np.bincount(target.values, minlength=len(target.classes))
    return {str(label): int(count) for label, count in zip(target.classes, counts)}


def look_alike_classes(table):
    """Warn about classes that only differ in case, blanks or a full stop."""
    twins = look_alike(table.target.classes) if table.target.classes is not None else []
    if not twins:
        return None
    text = f"Classes only differ in case, blanks or a full stop: {listed(twins)}"
    return Note("look alike", f"{text}. They count as different; correct the file if they are the same.")


def heavy_tails(table):
    """Warn if few rows make most of the loss; the effective number of rows is (sum l)^2 / sum l^2 for losses l."""
    if table.target.task != "regression":
        return None
    y = table.target.values
    loss = (y - y.mean()) ** 2
    effective = loss.sum() ** 2 / np.sum(loss**2)
    if effective >= min(FEW_EFFECTIVE, len(y) / _NORMAL):
        return None
    order = np.argsort(-loss)
    half = int(np.searchsorted(np.cumsum(loss[order]), loss.sum() / 2)) + 1
    rows = ", ".join(map(str, table.row[order[:half]][:5])) + (", ..." if half > 5 else "")
    made = f"Row {rows} makes" if half == 1 else f"{half} rows ({rows}) make"
    text = f"{made} half of the loss, and {effective:.0f} of {len(y)} rows are effective, so intervals are too narrow"
    advice = "; try --log" if not table.is_log and (y > 0).all() else ""
    return Note("heavy tails", f"{text}{advice}.")


WARNINGS = (leak, cuts, sorted_time, repeated_identifiers, few_events, look_alike_classes, heavy_tails)


def warnings_of(table):
    """Return the warnings about a table, as a list of Note."""
    return [note for note in (rule(table) for rule in WARNINGS) if note is not None]
