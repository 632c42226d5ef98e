"""Exponents of power laws, fitted with their standard errors."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Rate(NamedTuple):
    """A power law ``y = factor * x ** exponent``, fitted to logarithms.

    Parameters
    ----------
    exponent : float
    standard_error : float
        Standard error of the exponent, from the scatter around the line.
    factor : float
    """

    exponent: float
    standard_error: float
    factor: float

    def __call__(self, x: ArrayLike) -> Any:
        """Return the power law at `x`."""
        return self.factor * np.asarray(x, dtype=float) ** self.exponent

    def __str__(self) -> str:
        """Return the exponent with its standard error."""
        return f"{self.exponent:.2f} ± {self.standard_error:.2f}"


def fit_rate(x: ArrayLike, y: ArrayLike) -> Rate:
    """Fit the exponent of a power law by least squares on logarithms.

    Parameters
    ----------
    x, y : array-like of shape (n_points,)
        Positive numbers; at least three points, with at least two different values of `x`.

    Returns
    -------
    rate : Rate
        Fitted power law, with `exponent`, `standard_error` and `factor`.

    Raises
    ------
    ValueError
        If a point is not positive and finite, or if there are too few points.

    Examples
    --------
    >>> from sklearn_ltdl.diagnostics import fit_rate
    >>> rate = fit_rate([10, 100, 1000], [0.1, 0.011, 0.001])
    >>> print(rate)
    -1.00 ± 0.02
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 3:
        raise ValueError(
            f"x and y must be one-dimensional and have the same length of at least 3, to fit an exponent with a "
            f"standard error; got shapes {x.shape} and {y.shape}."
        )
    for name, values in (("x", x), ("y", y)):
        if not np.all((values > 0) & (values < np.inf)):
            raise ValueError(
                f"{name} must be positive and finite, because logarithms are fitted; got {values.tolist()}. Leave out "
                "points that are only rounding errors."
            )
    if len(np.unique(x)) < 2:
        raise ValueError(f"x is {x[0]:g} for all points; a rate needs at least two different values.")
    across, up = np.log(x) - np.log(x).mean(), np.log(y) - np.log(y).mean()
    exponent = across @ up / (across @ across)
    residual = up - exponent * across
    error = np.sqrt(residual @ residual / (len(x) - 2) / (across @ across))
    factor = np.exp(np.log(y).mean() - exponent * np.log(x).mean())
    return Rate(float(exponent), float(error), float(factor))
