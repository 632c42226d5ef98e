"""The penalty of this package from those of scikit-learn."""

import math
from numbers import Real

from sklearn_ltdl._sklearn import check_number


def alpha_from_ridge(alpha: float, total_weight: float) -> float:
    """Return the `alpha` of `SAGRegressor` that is that of ``Ridge``, against the sum of the squares.

    ``Ridge`` minimises ``sum_i s_i (y_i - f(x_i))^2 + alpha |w|^2``; over 2S this is the mean of half the squares plus
    ``(alpha / S) |w|^2 / 2``.

    Parameters
    ----------
    alpha : float
        That of ``sklearn.linear_model.Ridge``.
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
    """Return the `alpha` of `SAGClassifier` that is a ``C`` on the sum of the losses.

    ``LogisticRegression``, and ``LinearSVC`` with its squared hinge, minimise ``C sum_i s_i l_i + |w|^2 / 2``; over C S
    this is the mean loss plus ``1 / (C S) |w|^2 / 2``.

    Parameters
    ----------
    C : float
        That of ``sklearn.linear_model.LogisticRegression`` or ``sklearn.svm.LinearSVC``.
    total_weight : float
        S, the number of samples, or the sum of their weights, those of `class_weight` included.

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
