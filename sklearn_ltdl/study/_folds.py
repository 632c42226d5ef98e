"""Which rows train and which are predicted: folds drawn by row or by group, or the splits of a user's splitter."""

import warnings
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
    check_cv,
)

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl.tables._columns import hint


class Split(NamedTuple):
    """One split of the rows.

    Parameters
    ----------
    repeat, fold : int
    train, test : ndarray
        Row numbers.
    share : float
        Share of the training rows of the fold that are used; 1 except in learning curves.
    """

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray
    share: float = 1.0


def draw_splits(cv, repeats, target, groups, seed):
    """Return the list of Split, checked: each trains on at least two rows and two distinct targets.

    Parameters
    ----------
    cv : int, splitter object or iterable of (train, test)
    repeats : int
        Number of times that the folds of an integer `cv` are drawn.
    target : Target
    groups : ndarray of shape (n_rows,) or None
        All rows of a group are in the same fold.
    seed : int
    """
    if isinstance(cv, Integral):
        _check_sizes(cv, target, groups)
        rng = np.random.RandomState(seed)  # as scikit-learn's repeated folds do
        pairs = [pair for _ in range(repeats) for pair in _folds(cv, target, groups, rng)]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about groups that a splitter ignores; a note reports them
            pairs = list(check_cv(cv).split(np.zeros(len(target.values)), target.values, groups))
    splits = []
    for k, (train, test) in enumerate(pairs):
        repeat, fold = divmod(k, cv) if isinstance(cv, Integral) else (0, k)
        if len(train) < 2 or len(np.unique(target.values[train])) < 2 or len(test) == 0:
            raise ParameterError(
                "cv",
                f"split {k + 1} trains on {len(train)} rows with {len(np.unique(target.values[train]))} distinct "
                f"targets and predicts {len(test)} rows; expected at least 2 rows, 2 targets and 1 row to predict. Use "
                "fewer folds.",
            )
        if len(np.unique(test)) < len(test) or len(np.unique(train)) < len(train):
            raise ParameterError(
                "cv", f"split {k + 1} names a row twice; expected each row once. Use weights to repeat a row."
            )
        if np.intersect1d(train, test).size:
            raise ParameterError("cv", f"split {k + 1} predicts rows that it trains on; expected disjoint rows.")
        splits.append(Split(repeat, fold, train, test))
    if len(splits) < 2:
        raise ParameterError("cv", f"expected at least two splits, got {len(splits)}.")
    return splits


def given_splits(cv, kept):
    """Return a user's splits, a splitter or a list of (train, test), with row numbers among the rows that are kept.

    Parameters
    ----------
    cv : splitter object or iterable of (train, test)
        A splitter splits the rows that are kept. The row numbers of a list, and of PredefinedSplit, count all rows.
    kept : boolean ndarray of shape (n_rows,)
    """
    if isinstance(cv, PredefinedSplit):
        if len(cv.test_fold) != len(kept):
            raise ParameterError(
                "cv", f"PredefinedSplit is for {len(cv.test_fold)} rows, but the table has {len(kept)} rows."
            )
        cv = cv.split()
    if hasattr(cv, "split"):
        return cv
    new = np.cumsum(kept) - 1
    splits = []
    for k, pair in enumerate(cv):
        parts = [np.asarray(rows) for rows in pair]
        if len(parts) != 2 or any(rows.ndim != 1 or rows.dtype.kind not in "iu" for rows in parts):
            raise ParameterError("cv", f"split {k + 1} is not a pair (train, test) of arrays of row numbers.")
        if any(rows.size and (rows.min() < 0 or rows.max() >= len(kept)) for rows in parts):
            raise ParameterError("cv", f"split {k + 1} has row numbers outside 0 to {len(kept) - 1}.")
        splits.append(tuple(new[rows[kept[rows]]] for rows in parts))
    return splits


def splits_by_time(X, column, cv):
    """Return the other columns, and splits that predict each of `cv` parts from rows with earlier times."""
    if not hasattr(X, "columns") or column not in X.columns:
        raise ValueError(f"--time {column}: there is no such column; {hint(column, list(getattr(X, 'columns', [])))}")
    times = X[column]
    if times.isna().any():
        raise ValueError(f"--time {column}: expected a time in each row, got {times.isna().sum()} rows without one.")
    if times.dtype.kind not in "iufmM":
        raise ValueError(
            f"--time {column}: expected numbers, or dates such as 2024-05-31, got {str(times.iloc[0])!r}; write dates "
            "in this format, because other formats do not sort by time."
        )
    if len(X) <= cv:
        raise ValueError(f"--cv {cv}: expected more rows than parts of time, got {len(X)}.")
    order, time = np.argsort(times, kind="stable").to_numpy(), times.rank(method="dense").to_numpy()
    splits = [(order[a], order[b]) for a, b in TimeSeriesSplit(cv).split(order)]
    return X.drop(columns=column), [(a[time[a] < time[b].min()], b) for a, b in splits]


def copied(X, y):
    """Return a number for each row, equal for copies of a row, or None if no rows look copied.

    Rows that agree in every column count as copies under two conditions. First, there must be far more such pairs than
    independent columns with the values of the distinct rows would produce. Second, nearly all of these pairs must agree
    in the target, far more often than any two rows do. A table of a few binary columns therefore has no copies, and
    neither does a table of repeated measurements.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_rows, n_columns)
    y : ndarray of shape (n_rows,)
    """
    if hasattr(X, "iloc"):
        codes = np.array([X.iloc[:, j].factorize()[0] for j in range(X.shape[1])])
    else:
        codes = np.array([np.unique(column, return_inverse=True)[1] for column in X.T])
    rows = _numbered(codes)
    if rows.max() + 1 == len(y):
        return None
    target = np.unique(y, return_inverse=True)[1]
    copies = _numbered(np.array([rows, target]))
    distinct = np.unique(copies, return_index=True)[1]
    by_chance = len(y) * (len(y) - 1) / 2 * np.prod([_agreement(code[distinct]) for code in codes])
    agree = _pairs(rows)
    differ = 1 - _pairs(copies) / agree
    found = agree > 10 * by_chance + 3 and differ <= 0.05 * (1 - _agreement(target[distinct]))
    return copies if found else None


def _numbered(codes):
    """Return a number for each column of integers, the same for equal columns."""
    return np.unique(codes, axis=1, return_inverse=True)[1].ravel()


def _pairs(codes):
    """Return the number of pairs of equal entries."""
    counts = np.unique(codes, return_counts=True)[1].astype(float)
    return np.sum(counts * (counts - 1) / 2)


def _agreement(codes):
    """Return the share of pairs with equal entries."""
    return _pairs(codes) / max(len(codes) * (len(codes) - 1) / 2, 1)


def smaller(split, share, target, rng):
    """Return the split with a random share of its training rows, or None if all of these have the same target."""
    size = int(share * len(split.train))
    train = np.sort(rng.permutation(split.train)[:size])
    return split._replace(train=train, share=share) if len(np.unique(target.values[train])) > 1 else None


def _folds(cv, target, groups, rng):
    kinds = (KFold, StratifiedKFold) if groups is None else (GroupKFold, StratifiedGroupKFold)
    splitter = kinds[target.classes is not None](cv, shuffle=True, random_state=rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about classes with fewer rows than folds; a note reports them
        return list(splitter.split(np.zeros(len(target.values)), target.values, groups))


def _check_sizes(cv, target, groups):
    n = len(target.values)
    if n < 2 * cv:
        raise ParameterError(
            "cv", f"{cv} folds need at least {2 * cv} rows with a target, got {n}; lower cv or add rows."
        )
    if groups is not None and len(np.unique(groups)) < cv:
        raise ParameterError(
            "cv", f"{cv} folds need at least {cv} groups, or distinct rows, got {len(np.unique(groups))}; lower cv."
        )
    if target.classes is not None:
        units = np.arange(n) if groups is None else groups
        counts = np.sort([len(np.unique(units[target.values == code])) for code in range(len(target.classes))])
        if counts[-1] < cv or counts[-2] < 2:
            what = "rows" if groups is None else "groups, or distinct rows,"
            raise ParameterError(
                "cv",
                f"{cv} folds need a class of at least {cv} {what} and another of at least 2, got {counts[-1]} and "
                f"{counts[-2]}. Merge classes, lower cv, or use task='regression' (--task regression) for counts.",
            )
