"""Kernel machines of classes: regression on their codes, and what makes probabilities of scores."""

from typing import NamedTuple

import numpy as np

from sklearn_ltdl._targets import counted, encode_classes, fit_log_odds, one_hot, softened
from sklearn_ltdl.ntk._machine import Machine
from sklearn_ltdl.ntk._stack import Stack, fitted


class ClassMachine(NamedTuple):
    """A machine fitted to coded classes, and what converts its scores to log-odds; see `log_odds`."""

    machine: Machine | Stack
    classes: np.ndarray
    inverse_temperature: float
    score_power: float

    @classmethod
    def of(cls, X, labels, weight, settings, groups=None):
        """Fit one column per class, or one column of -1 and 1 for two classes. See `fitted`."""
        classes, codes = encode_classes(labels, weight)
        targets = one_hot(codes, len(classes))
        y = 2.0 * targets[:, 0] - 1.0 if len(classes) == 2 else targets
        machine = fitted(X, y, weight, settings._replace(normalize_y=False), groups)
        scores = machine.left_out.reshape(targets.shape)
        return cls(machine, classes, *fit_log_odds(scores, softened(targets, counted(weight)), weight))
