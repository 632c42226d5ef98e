"""The penalty of this package from those of scikit-learn."""


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
    return alpha / _positive("total_weight", total_weight)


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
    return 1 / (_positive("C", C) * _positive("total_weight", total_weight))


def _positive(name, value):
    if not value > 0:
        raise ValueError(f"{name} must be positive; got {value!r}.")
    return value
