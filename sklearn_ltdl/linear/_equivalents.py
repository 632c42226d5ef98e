"""Convert penalties of scikit-learn to the `alpha` of this package."""

import math
from numbers import Real

from sklearn_ltdl._sklearn import check_number


def alpha_from_ridge(alpha: float, total_weight: float) -> float:
    """Return the `alpha` of `SAGRegressor` that is equivalent to an `alpha` of ``Ridge``.

    ``Ridge`` minimises ``sum_i s_i (y_i - f(x_i))^2 + alpha |w|^2``. Divided by 2S, this is the mean of half the
    squared errors plus ``(alpha / S) |w|^2 / 2``.

    Parameters
    ----------
    alpha : float
        The `alpha` of ``sklearn.linear_model.Ridge``.
    total_weight : float
        S, the number of samples, or the sum of their weights.

    Returns
    -------
    alpha : float

    Examples
    --------
    >>> from sklearn_ltdl import alpha_from_ridge
    >>> alpha_from_ridge(7.0, total_weight=100)
    0.07
    """
    if alpha != 0:  # is allowed
        check_number("alpha", alpha, Real, 0)
    check_number("total_weight", total_weight, Real, 0)
    return _finite(alpha / total_weight, f"alpha={alpha!r}", total_weight)


def alpha_from_c(C: float, total_weight: float) -> float:
    """Return the `alpha` of `SAGClassifier` that is equivalent to a ``C`` of scikit-learn.

    ``LogisticRegression``, and ``LinearSVC`` with its squared hinge, minimise ``C sum_i s_i l_i + |w|^2 / 2``. Divided
    by C S, this is the mean loss plus ``1 / (C S) |w|^2 / 2``.

    Parameters
    ----------
    C : float
        The `C` of ``sklearn.linear_model.LogisticRegression`` or ``sklearn.svm.LinearSVC``.
    total_weight : float
        S, the number of samples, or the sum of their weights including `class_weight`.

    Returns
    -------
    alpha : float

    Examples
    --------
    >>> from sklearn_ltdl import alpha_from_c
    >>> alpha_from_c(0.5, total_weight=100)
    0.02
    """
    check_number("C", C, Real, 0)
    check_number("total_weight", total_weight, Real, 0)
    return _finite(1 / C / total_weight, f"C={C!r}", total_weight)


def _finite(alpha, given, total_weight):
    if alpha == math.inf:
        raise ValueError(f"{given} and total_weight={total_weight!r} give an infinite alpha; expected larger numbers.")
    return alpha
