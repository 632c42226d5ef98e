"""The one file that imports private names of scikit-learn, and what the estimators share with it."""

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params
from sklearn.utils.validation import _check_sample_weight

__all__ = [
    "HasMethods",
    "Interval",
    "NameIn",
    "StrOptions",
    "_fit_context",
    "check_weights",
    "draw_seed",
    "validate_params",
]


class NameIn(StrOptions):
    """Constraint: a name in a registry, read when the parameter is checked, so that later additions count."""

    def __init__(self, registry):
        super().__init__(registry.keys())


def draw_seed(random_state):
    """Return an integer seed in [0, 2**31): the same for the same `random_state`, an int or a RandomState."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def check_weights(sample_weight, X):
    """Return float64 weights of shape (n_samples,), ones for None; an error names what is negative or all zero."""
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("sample_weight is zero for every row; give at least one row a positive weight.")
    return weight
