"""Which rows train and which are predicted: folds drawn by row or by group, or those of the user's own splitter."""

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
    check_cv,
)


class Split(NamedTuple):
    """One split of the rows.

    Parameters
    ----------
    repeat, fold : int
    train, test : ndarray
        Row numbers.
    share : float
        Of the training rows of the fold that are used, 1 but in learning curves.
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
        Times that the folds of an integer `cv` are drawn.
    target : Target
    groups : ndarray of shape (n_rows,) or None
        Rows of one group are in one fold.
    seed : int
    """
    if isinstance(cv, Integral):
        _check_sizes(cv, target, groups)
        rng = np.random.RandomState(seed)  # as scikit-learn's repeated folds do
        pairs = [pair for _ in range(repeats) for pair in _folds(cv, target, groups, rng)]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of groups that a splitter ignores, which is noted
            pairs = list(check_cv(cv).split(np.zeros(len(target.values)), target.values, groups))
    splits = []
    for k, (train, test) in enumerate(pairs):
        repeat, fold = divmod(k, cv) if isinstance(cv, Integral) else (0, k)
        if len(train) < 2 or len(np.unique(target.values[train])) < 2 or len(test) == 0:
            raise ValueError(
                f"cv: split {k + 1} trains on {len(train)} rows with {len(np.unique(target.values[train]))} distinct "
                f"targets and predicts {len(test)} rows; expected at least two, two and one. Use fewer folds."
            )
        if len(np.unique(test)) < len(test) or len(np.unique(train)) < len(train):
            raise ValueError(f"cv: split {k + 1} names a row twice; expected each once. Give weights for more of one.")
        if np.intersect1d(train, test).size:
            raise ValueError(f"cv: split {k + 1} predicts rows that it trains on; expected disjoint rows.")
        splits.append(Split(repeat, fold, train, test))
    if len(splits) < 2:
        raise ValueError(f"cv: expected at least two splits, got {len(splits)}.")
    return splits


def given_splits(cv, kept):
    """Return a user's splits, a splitter or a list of (train, test), in numbers of the rows that are kept.

    Parameters
    ----------
    cv : splitter object or iterable of (train, test)
        A splitter splits the rows that are kept; the row numbers of a list, and of PredefinedSplit, are of all rows.
    kept : boolean ndarray of shape (n_rows,)
    """
    if isinstance(cv, PredefinedSplit):
        if len(cv.test_fold) != len(kept):
            raise ValueError(f"cv: PredefinedSplit is of {len(cv.test_fold)} rows, and the table has {len(kept)}.")
        cv = cv.split()
    if hasattr(cv, "split"):
        return cv
    new = np.cumsum(kept) - 1
    splits = []
    for k, pair in enumerate(cv):
        parts = [np.asarray(rows) for rows in pair]
        if len(parts) != 2 or any(rows.ndim != 1 or rows.dtype.kind not in "iu" for rows in parts):
            raise ValueError(f"cv: expected (train, test) of row numbers as split {k + 1}.")
        if any(rows.size and (rows.min() < 0 or rows.max() >= len(kept)) for rows in parts):
            raise ValueError(f"cv: split {k + 1} has row numbers outside 0 to {len(kept) - 1}.")
        splits.append(tuple(new[rows[kept[rows]]] for rows in parts))
    return splits


def copied(X, y):
    """Return a number of each row, the same for copies of one, or None if there are no more than chance makes.

    Rows are copies if they agree in every column and in the target. If the columns were independent, a pair of rows
    would agree with the probability that is the product, over them, of the sum of the squared shares of their values;
    were a pair or more to be expected by that, as in a table of a few yes or no columns, agreeing says nothing.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_rows, n_columns)
    y : ndarray of shape (n_rows,)
    """
    columns = [X.iloc[:, j].to_numpy() for j in range(X.shape[1])] if hasattr(X, "iloc") else list(X.T)
    codes = np.array([_codes(column) for column in [*columns, y]])
    n = len(y)
    agree = sum(np.log(np.sum((np.bincount(code) / n) ** 2)) for code in codes)
    rows = np.unique(codes, axis=1, return_inverse=True)[1].ravel()
    by_chance = n * (n - 1) / 2 * np.exp(agree)
    return None if rows.max() + 1 == n or by_chance >= 1 else rows


def _codes(column):
    """Return a number of each entry, the same for equal ones."""
    if column.dtype.kind not in "biuf":
        column = column.astype(str)
    return np.unique(column, return_inverse=True)[1]


def smaller(split, share, target, rng):
    """Return the split with a share of its training rows drawn at random, or None if they hold one target only."""
    size = int(share * len(split.train))
    train = np.sort(rng.permutation(split.train)[:size])
    return split._replace(train=train, share=share) if len(np.unique(target.values[train])) > 1 else None


def _folds(cv, target, groups, rng):
    kinds = (KFold, StratifiedKFold) if groups is None else (GroupKFold, StratifiedGroupKFold)
    splitter = kinds[target.classes is not None](cv, shuffle=True, random_state=rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer rows than folds, which is noted
        return list(splitter.split(np.zeros(len(target.values)), target.values, groups))


def _check_sizes(cv, target, groups):
    n = len(target.values)
    if n < 2 * cv:
        raise ValueError(f"cv={cv} folds need at least {2 * cv} rows with a target, got {n}; lower cv or add rows.")
    if groups is not None and len(np.unique(groups)) < cv:
        raise ValueError(
            f"cv={cv} folds need at least {cv} groups, or distinct rows, got {len(np.unique(groups))}; lower cv."
        )
    if target.classes is not None:
        counts = np.sort(np.bincount(target.values))
        if counts[-1] < cv or counts[-2] < 2:
            raise ValueError(
                f"cv={cv} folds need a class of at least {cv} rows and another of at least 2, got {counts[-1]} and "
                f"{counts[-2]}. Merge classes, lower cv, or say task='regression' (--task regression) for counts."
            )
