"""A model of the logarithm of a target that predicts its mean in its own unit."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.model_selection import KFold

FOLDS = 5  # whose residuals are smeared


class LogTarget(RegressorMixin, BaseEstimator):
    """A regressor fitted to the logarithm of a positive target, which predicts the mean of the target.

    The exponential of a mean logarithm is less than the mean. Duan (1983) multiplies it by the mean exponential of the
    residuals, which takes no distribution for granted::

        E[y | x] = exp(f(x)) mean(exp(log y_i - f(x_i)))

    Here the residuals are those of rows held out in five folds: a flexible model has next to none on its own rows.

    Parameters
    ----------
    estimator : regressor

    Attributes
    ----------
    estimator_ : regressor
        Fitted to the logarithm, on all rows.
    smearing_ : float
        The mean exponential of the residuals.

    References
    ----------
    Duan (1983), "Smearing estimate: a nonparametric retransformation method", Journal of the American Statistical
    Association 78.
    """

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y, sample_weight=None):
        """Fit in the logarithm, and find the factor of the way back."""
        z = np.log(y)
        residual = np.empty(len(z))
        for train, test in KFold(min(FOLDS, len(z)), shuffle=True, random_state=0).split(X):
            residual[test] = z[test] - self._fitted(X, z, sample_weight, train).predict(X[test])
        self.smearing_ = float(np.average(np.exp(residual), weights=sample_weight))
        self.estimator_ = self._fitted(X, z, sample_weight, slice(None))
        self.n_features_in_ = X.shape[1]
        return self

    def _fitted(self, X, z, weight, rows):
        weights = {} if weight is None else {"sample_weight": weight[rows]}
        return clone(self.estimator).fit(X[rows], z[rows], **weights)

    def predict(self, X):
        """Return the mean of the target of each row."""
        return np.exp(self.estimator_.predict(X)) * self.smearing_
