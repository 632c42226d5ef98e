"""Encodings of columns, fitted to rows without their targets, and kernels of encoded rows."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from sklearn_ltdl.ntk._kernels import Kernel

LEVELS = (3, 12)  # a column with so few distinct values may be one of categories
CLIP = 3.0  # where the smooth clipping bends, in robust standard deviations
QUARTILES = 1.349  # between the quartiles of a normal distribution, in standard deviations


@dataclass(frozen=True, eq=False)
class Encoded(Kernel):
    """A kernel of rows that are first encoded column by column."""

    kernel: Kernel
    encoding: object

    def _matrix(self, X, Z):
        return self.kernel._matrix(self.encoding(X), None if Z is None else self.encoding(Z))

    def _diagonal(self, X):
        return self.kernel._diagonal(self.encoding(X))


@dataclass(frozen=True, eq=False, repr=False)
class Indicators:
    """Standardised indicators of the levels of some columns, beside all columns.

    A value that is no level counts as the nearest level.

    Parameters
    ----------
    columns : ndarray of shape (n_encoded,)
    middles : list of ndarrays
        The middles between consecutive levels of each of these columns.
    mean, std : ndarrays of shape (n_levels,)
    """

    columns: np.ndarray
    middles: list
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, X):
        """Return the indicators of columns with 3 to 12 values; None if no column has, or if they outnumber rows."""
        levels = {j: np.unique(column) for j, column in enumerate(X.T)}
        levels = {j: values for j, values in levels.items() if LEVELS[0] <= len(values) <= LEVELS[1]}
        if not 0 < sum(map(len, levels.values())) <= len(X):
            return None
        columns = np.array(list(levels))
        middles = [_middles(values) for values in levels.values()]
        indicators = _indicators(X[:, columns], middles)
        return cls(columns, middles, indicators.mean(axis=0), indicators.std(axis=0))

    def __call__(self, X):
        """Return encoded rows."""
        indicators = (_indicators(X[:, self.columns], self.middles) - self.mean) / self.std
        return np.hstack([X, indicators.astype(X.dtype)])

    def __repr__(self):
        return f"<indicators of columns {self.columns.tolist()}>"


def _middles(values):
    """Return the middles between increasing values, below the larger one also where the two differ by rounding."""
    return np.minimum(values[:-1] + np.diff(values) / 2, np.nextafter(values[1:], values[:-1]))


def _indicators(X, middles):
    """Return one column of zeros and ones for each level of each column."""
    levels = (np.searchsorted(middle, x)[:, None] == np.arange(len(middle) + 1) for x, middle in zip(X.T, middles))
    return np.hstack(list(levels)).astype(float)


@dataclass(frozen=True, eq=False, repr=False)
class Clipped:
    """Columns in robust standard deviations z from the median, clipped smoothly: z / sqrt(1 + (z / 3)^2).

    Where the quartiles coincide, the standard deviation is the usual one. See Holzmueller, Grinsztajn and Steinwart
    (2024), "Better by default", arXiv:2407.04491, section 3.
    """

    median: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, X):
        """Return the encoding by median and quartiles of the columns."""
        low, median, high = np.quantile(X, (0.25, 0.5, 0.75), axis=0)
        scale = np.where(high > low, (high - low) / QUARTILES, X.std(axis=0))
        return cls(median, np.where(scale > 0, scale, 1.0))

    def __call__(self, X):
        """Return encoded rows."""
        z = (X - self.median) / self.scale
        return (z / np.sqrt(1.0 + (z / CLIP) ** 2)).astype(X.dtype)

    def __repr__(self):
        return "<columns clipped smoothly>"


@dataclass(frozen=True, eq=False, repr=False)
class NormalScores:
    """The normal quantile of the share of fitted values below each value; linear between distinct values."""

    tables: list

    @classmethod
    def of(cls, X):
        """Return the encoding by the distinct values of each column and their normal scores."""
        counted = (np.unique(column, return_counts=True) for column in X.T)
        return cls([(values, ndtri((np.cumsum(n) - n / 2) / len(X))) for values, n in counted])

    def __call__(self, X):
        """Return encoded rows."""
        return np.column_stack([np.interp(x, *table) for x, table in zip(X.T, self.tables)]).astype(X.dtype)

    def __repr__(self):
        return "<normal scores of columns>"


def encodings(X):
    """Return the encodings to try for rows like those of X."""
    indicators = Indicators.of(X)
    return [*([] if indicators is None else [indicators]), Clipped.of(X), NormalScores.of(X)]
