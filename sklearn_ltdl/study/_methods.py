"""The methods that are compared, by name: how each is built for a task and a seed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold

import sklearn_ltdl

RICH_SCALE = 0.1  # output scale at which the network leaves the lazy regime
INNER_FOLDS = 3  # of the grid searches
INNER_ROWS = 5000  # at most so many take part in them


class Method(NamedTuple):
    """One method of the comparison.

    Parameters
    ----------
    family : {'dummy', 'linear', 'kernel', 'network', 'trees'}
    build : callable (task, seed) -> unfitted estimator
    n_seeds : int
        Fits whose predictions are averaged.
    """

    family: str
    build: Callable
    n_seeds: int = 1


def per_row_loss(task, prediction, y, n_train):
    """Return the loss of each row: the squared error, or the log loss of smoothed probabilities.

    The probabilities of every method are smoothed as if one row of each class were added to its training rows,
    ``(n_train p + 1) / (n_train + n_classes)``, so that a certainty that turns out wrong costs much but not infinity.

    Parameters
    ----------
    task : {'regression', 'classification'}
    prediction : ndarray of shape (n_rows,), or (n_rows, n_classes) of probabilities
    y : ndarray of shape (n_rows,), numbers or codes of the classes
    n_train : int
    """
    if task == "regression":
        return (y - prediction) ** 2
    chosen = np.take_along_axis(prediction, y[:, None], axis=1)[:, 0]
    return -np.log((n_train * chosen + 1) / (n_train + prediction.shape[1]))


def predict(model, X, task):
    """Return predictions of shape (n_rows,), or probabilities of shape (n_rows, n_classes)."""
    return model.predict(X) if task == "regression" else model.predict_proba(X)


class _InnerFolds(NamedTuple):
    """Folds of the training rows, or of some of them where there are many: settings are chosen on these."""

    task: str
    seed: int

    def get_n_splits(self, X=None, y=None, groups=None):
        return INNER_FOLDS

    def split(self, X, y, groups=None):
        rows = np.random.default_rng(self.seed).permutation(len(y))[:INNER_ROWS]
        folds = KFold(INNER_FOLDS) if self.task == "regression" else StratifiedKFold(INNER_FOLDS)
        for train, test in folds.split(rows, y[rows]):
            yield rows[train], rows[test]


def _tuned(estimator, grid, task, seed):
    """Choose among few settings by cross-validation within the training rows, on the loss that is compared."""

    def score(model, X, y):
        return -per_row_loss(task, predict(model, X, task), y, len(y)).mean()

    return GridSearchCV(estimator, grid, scoring=score, cv=_InnerFolds(task, seed))


def _dummy(task, seed):
    return DummyRegressor() if task == "regression" else DummyClassifier()


def _linear(task, seed):
    estimator = (sklearn_ltdl.SAGRegressor if task == "regression" else sklearn_ltdl.SAGClassifier)(random_state=seed)
    return _tuned(estimator, {"alpha": [1e-3, 1e-2, 1e-1]}, task, seed)


def _kernel(kernel):
    def build(task, seed):
        name = "NTKKernelRegressor" if task == "regression" else "NTKKernelClassifier"
        return getattr(sklearn_ltdl, name)(kernel=kernel, random_state=seed)

    return build


def _network(**scale):
    def build(task, seed):
        name = "LazyNetRegressor" if task == "regression" else "LazyNetClassifier"
        return getattr(sklearn_ltdl, name)(**scale, random_state=seed)

    return build


def _forest(task, seed):
    estimator = RandomForestRegressor if task == "regression" else RandomForestClassifier
    return _tuned(estimator(random_state=seed), {"max_features": ["sqrt", 0.5, 1.0]}, task, seed)


def _boosting(task, seed):
    estimator = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    return _tuned(estimator(learning_rate=0.1, random_state=seed), {"max_leaf_nodes": [4, 12, 31]}, task, seed)


METHODS = {
    "dummy": Method("dummy", _dummy),
    "linear": Method("linear", _linear),
    "rbf": Method("kernel", _kernel("rbf")),
    "laplace": Method("kernel", _kernel("laplace")),
    "ntk": Method("kernel", _kernel("ntk")),
    "lazy": Method("network", _network(), n_seeds=3),
    "rich": Method("network", _network(scale=RICH_SCALE), n_seeds=3),
    "forest": Method("trees", _forest),
    "boosting": Method("trees", _boosting),
}
