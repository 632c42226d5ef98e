"""Targets as the solvers see them: standardised columns, codes of classes, and scores turned into probabilities."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from sklearn_ltdl.losses import Logistic, Multinomial, total


class Standardisation(NamedTuple):
    """Weighted mean and standard deviation of the target's columns, each of shape (n_outputs,)."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, Y, weight, enabled=True):
        """Return the moments of `Y` of shape (n_samples, n_outputs); (0, 1) if not enabled, scale 1 if constant."""
        if not enabled:
            return cls(np.zeros(Y.shape[1]), np.ones(Y.shape[1]))
        mean = np.average(Y, axis=0, weights=weight)
        scale = np.sqrt(np.average((Y - mean) ** 2, axis=0, weights=weight))
        constant = scale <= 10 * np.finfo(float).eps * np.abs(Y).max(axis=0)
        return cls(np.where(constant, Y[np.argmax(weight)], mean), np.where(constant, 1.0, scale))

    def apply(self, Y):
        """Return the standardised columns."""
        return (Y - self.mean) / self.scale

    def undo(self, Z):
        """Return columns in the target's units."""
        return Z * self.scale + self.mean


def encode_classes(y, weight):
    """Return the sorted classes and the code of each row; an error if rows of positive weight are all of one."""
    classes, codes = np.unique(y, return_inverse=True)
    present = np.unique(codes[weight > 0])
    if len(present) == 1:
        raise ValueError(
            f"y has one class ({classes[present].tolist()[0]!r}) among the rows of positive weight; a classifier needs "
            "at least two classes."
        )
    return classes, codes


def one_hot(codes, n_classes):
    """Return targets of shape (n_samples, n_classes), or (n_samples, 1) with labels 0 and 1 for two classes."""
    return codes[:, None].astype(float) if n_classes == 2 else np.eye(n_classes)[codes]


def most_likely(classes, scores):
    """Return the class of the highest score, or of the sign of the one score of two classes."""
    return classes[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)]


def classification_loss(n_classes):
    """Return the loss whose targets are those of `one_hot`."""
    return Logistic() if n_classes == 2 else Multinomial()


def fit_inverse_temperature(scores, targets, weight, bounds=(0.01, 100.0)):
    """Return the positive factor of the scores that minimises the log loss (Guo et al. 2017, temperature scaling).

    Parameters
    ----------
    scores : ndarray of shape (n_samples, 1) or (n_samples, n_classes)
        Of rows that the model has not seen: leave-one-out or validation scores.
    targets : ndarray of the same shape, as returned by `one_hot`
    weight : ndarray of shape (n_samples,)
    bounds : tuple of two floats
        The factor stays within them, so that the order of the scores is never lost.
    """
    loss = classification_loss(max(2, scores.shape[1]))

    def log_loss(log_factor):
        return total(loss, np.exp(log_factor) * scores, targets, weight / weight.sum())

    return float(np.exp(minimize_scalar(log_loss, bounds=np.log(bounds), method="bounded").x))
