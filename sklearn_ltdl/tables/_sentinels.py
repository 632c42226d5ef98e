"""Rules that note numbers which often mean a missing value; they are in the ordered list of `_columns`."""

import re

import numpy as np

from sklearn_ltdl.tables._notes import Note, rows

_LEAST = 10  # with so many known values or fewer, nothing is noted
_MANY = 20  # least number of other values around several codes
_CODES = frozenset([-1.0, *(sign * value for sign in (-1, 1) for value in (777, 888, 997, 998, 999, 9997, 9998, 9999))])


def _is_inspected(column):
    return column.kind == "number" and column.n_known > _LEAST and column.series.dtype.kind in "iuf"


def sentinel(column):
    """Note a number such as -999 that is far from all others, because it often means a missing value."""
    if not _is_inspected(column):
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


def several_sentinels(column):
    """Note several codes such as -999 and -998 far from all other numbers, and a -1 alone below zero."""
    if not _is_inspected(column):
        return None
    counts = column.series.value_counts()
    codes = [value for value in counts.index if float(value) in _CODES]
    others = counts.index.difference(codes)
    if len(others) < _MANY or counts[codes].min() < 2:
        return None
    low, high = float(others.min()), float(others.max())
    far = [value for value in codes if not low - (high - low) <= value <= high + (high - low)]
    if codes == [-1] and low >= 0 and column.series.dtype.kind in "iu":
        far = codes
    if len(far) < len(codes) or not far:
        return None
    texts = ", ".join(f"{value:g}" for value in sorted(far))
    where = rows(int(counts[far].sum()))
    option = ",".join(f"{value:g}" for value in sorted(far))
    return Note("sentinel", f"{texts} in {where} may mean missing, beside all other values; --missing {option} if so")
