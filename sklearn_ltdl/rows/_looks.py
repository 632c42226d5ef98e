"""What one pass over all rows tells before a fit: their number, moments of the target, classes, and a sample."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_ltdl._targets import Standardisation, is_missing, one_hot
from sklearn_ltdl.rows._blocks import float_column
from sklearn_ltdl.rows._sampled import Drawn, draw


@dataclass
class Counts:
    """Numbers of rows, and weights.

    Parameters
    ----------
    n : int
        Rows of positive weight.
    weight : float
        Sum of the weights.
    whole : bool
        Whether all weights are whole numbers.
    largest : float
        Largest absolute value of a feature.
    """

    n: int
    weight: float
    whole: bool
    largest: float

    @classmethod
    def of(cls, block):
        """Return the counts of a block."""
        weight = block.weight
        largest = float(max(block.X.max(initial=0.0), -block.X.min(initial=0.0)))
        if weight is None:
            return cls(block.n_rows, float(block.n_rows), True, largest)
        whole = bool(np.array_equal(weight, np.round(weight)))
        return cls(int(np.count_nonzero(weight)), float(weight.sum()), whole, largest)

    def __add__(self, other):
        whole, largest = self.whole and other.whole, max(self.largest, other.largest)
        return Counts(self.n + other.n, self.weight + other.weight, whole, largest)

    @property
    def counted(self):
        """Return the number of rows: the sum of the weights if they are counts."""
        return self.weight if self.whole and self.weight <= 2.0**53 else float(self.n)


@dataclass
class Moments:
    """Weighted moments of the target's columns, and their ranges.

    Parameters
    ----------
    weight : float
    mean, squares, low, high : ndarrays of shape (n_outputs,)
        `squares` are sums of squared distances from the mean.
    """

    weight: float
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, Y, weight):
        """Return the moments of the rows of positive weight."""
        total = float(weight.sum())
        if total == 0:
            nothing = np.zeros(Y.shape[1])
            return cls(0.0, nothing, nothing, nothing + np.inf, nothing - np.inf)
        mean = weight @ Y / total
        some = Y if weight.all() else Y[weight > 0]
        return cls(total, mean, weight @ (Y - mean) ** 2, some.min(axis=0), some.max(axis=0))

    def __add__(self, other):
        """Return the moments of both (Chan, Golub, LeVeque 1979)."""
        total = self.weight + other.weight
        share = other.weight / total if total > 0 else 0.0
        gap = other.mean - self.mean
        return Moments(
            total,
            self.mean + share * gap,
            self.squares + other.squares + self.weight * share * gap**2,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    def units(self, enabled=True):
        """Return the standardisation of the target."""
        if not enabled:
            return Standardisation.of(np.zeros((1, len(self.mean))), np.ones(1), enabled=False)
        scale = np.sqrt(self.squares / self.weight)
        constant = scale <= 10 * np.finfo(float).eps * np.maximum(np.abs(self.low), np.abs(self.high))
        return Standardisation(np.where(constant, self.low, self.mean), np.where(constant, 1.0, scale), constant)


class Classes(dict):
    """Sums of weights by label."""

    def __add__(self, other):
        return Classes({label: self.get(label, 0.0) + other.get(label, 0.0) for label in {**self, **other}})

    def __iadd__(self, other):
        return self + other

    def labels(self):
        """Return the sorted classes and their weights."""
        labels = np.array(list(self), dtype=object if any(isinstance(label, str) for label in self) else None)
        order = np.argsort(labels)
        return labels[order], np.array([self[label] for label in self], dtype=float)[order]


def weights_of(block):
    """Return the weights of a block, ones where there are none."""
    return np.ones(block.n_rows) if block.weight is None else np.asarray(block.weight, dtype=np.float64)


def numbers_of(block):
    """Return the targets of a block, (n_rows, n_outputs), finite."""
    names, y = block.target or ("y",), np.asarray(block.y)
    if y.dtype != np.float64:
        y = y.reshape(block.n_rows, -1)
        y = np.column_stack([float_column(block, values, f"the target {name!r}") for values, name in zip(y.T, names)])
    y = y.reshape(block.n_rows, -1)
    if not np.isfinite(y.sum()) and not np.isfinite(y).all():
        row, k = np.argwhere(~np.isfinite(y))[0]
        value, bad = "NaN" if np.isnan(y[row, k]) else "infinity", np.flatnonzero(~np.isfinite(y[:, k]))
        name = names[k] if k < len(names) else names[0]
        raise block.error(bad, f"the target {name!r}", value, "Leave such rows out of the file.")
    return y


def coded(block):
    """Return the labels found in a block, sorted, and the code of each row."""
    y, name = np.asarray(block.y), (block.target or ("y",))[0]
    missing = is_missing(y[:1]) if y.dtype.kind not in "fO" else is_missing(y)
    if missing.any():
        raise block.error(
            np.flatnonzero(missing), f"the target {name!r}", "no label", "Leave such rows out of the file."
        )
    if y.ndim > 1 and y.shape[1] > 1:
        raise ValueError(f"{block.where}: the target has shape {y.shape}; a classifier takes one column of labels.")
    y = y.ravel()
    if y.dtype.kind == "f" and not np.array_equal(y, np.round(y)):
        raise ValueError(f"{block.where}: the target {name!r} holds numbers with fractions; use a regressor.")
    if y.dtype.kind != "O":
        return np.unique(y, return_inverse=True)
    import pandas as pd

    codes, labels = pd.factorize(y)  # texts by their hashes: a sort is ten times slower
    order = np.argsort(labels)
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    return labels[order], place[codes]


def look_at_numbers(block, state: Drawn):
    """Return counts, moments of the target, and rows that may be drawn; a statistic of `gather`."""
    return Counts.of(block), Moments.of(numbers_of(block), weights_of(block)), *draw(block, state)


def look_at_labels(block, state: Drawn):
    """Return counts, the weights of the classes, and rows that may be drawn; a statistic of `gather`."""
    labels, codes = coded(block)
    weights = np.bincount(codes, weights_of(block), minlength=len(labels))
    return Counts.of(block), Classes(zip(labels.tolist(), weights.tolist())), *draw(block, state)


class NumberTarget(NamedTuple):
    """Reads standardised targets from blocks."""

    units: Standardisation

    def of(self, block):
        """Return the targets (n_rows, n_outputs)."""
        return self.units.apply(numbers_of(block))


class LabelTarget(NamedTuple):
    """Reads the columns of classes from blocks."""

    classes: np.ndarray
    signed: bool = False  # of two classes, -1 and 1

    def codes(self, block):
        """Return the number of the class of each row."""
        labels, codes = coded(block)
        return np.searchsorted(self.classes, labels)[codes]

    def of(self, block):
        """Return the targets (n_rows, n_outputs) of `one_hot`."""
        targets = one_hot(self.codes(block), len(self.classes))
        return 2.0 * targets - 1.0 if self.signed and len(self.classes) == 2 else targets
