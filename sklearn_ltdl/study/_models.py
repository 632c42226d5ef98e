"""The methods that are compared, by name, and how each is built for a task and a seed."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import get_tags

from sklearn_ltdl.linear import SAGClassifier, SAGRegressor
from sklearn_ltdl.networks import LazyNetClassifier, LazyNetRegressor
from sklearn_ltdl.ntk import NTKKernelClassifier, NTKKernelRegressor, RFMClassifier, RFMRegressor

RICH_SCALE = 0.1  # output scale at which the network leaves the lazy regime
INNER_FOLDS = 3  # folds on which settings are chosen
INNER_ROWS = 2000  # at most this many rows are used to choose settings


class Method(NamedTuple):
    """One method of the comparison.

    Parameters
    ----------
    family : {'dummy', 'linear', 'kernel', 'network', 'rfm', 'trees', 'other'}
    build : callable (task, seed) -> unfitted estimator
    n_seeds : int
        Number of fits whose predictions are averaged.
    """

    family: str
    build: Callable
    n_seeds: int = 1


FAMILIES = ("linear", "kernel", "network", "rfm", "trees", "other")


class Contender(NamedTuple):
    """An estimator that takes part in `compare`, given by name in its parameter `also`.

    Parameters
    ----------
    estimator : estimator object
        A regressor or a classifier, depending on the task. It may be a Pipeline. It is fitted after the same
        preprocessing as the other models. If its `random_state` is None, it is drawn for each fit.
    family : {'other', 'linear', 'kernel', 'network', 'rfm', 'trees'}, default='other'
        With 'other', the contender does not affect the verdict. With another family, it is one of the models of this
        family, and the best of these models is picked in each fold.
    n_seeds : int, default=1
        Number of fits with different seeds whose predictions are averaged.
    """

    estimator: Any
    family: str = "other"
    n_seeds: int = 1


def per_row_loss(task, prediction, y, n_train):
    """Return the loss of each row: the squared error, or the log loss of smoothed probabilities.

    The probabilities of every method are smoothed as if one row of each class were added to its training rows,
    ``(n_train p + 1) / (n_train + n_classes)``. A certain but wrong prediction then costs much, but not infinity.

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


def predict(model, X, task, n_classes=None):
    """Return predictions of shape (n_rows,), or probabilities of shape (n_rows, n_classes), 0 for unseen classes."""
    if task == "regression":
        return model.predict(X)
    seen = model.predict_proba(X)
    if n_classes is None or len(model.classes_) == n_classes:
        return seen
    prediction = np.zeros((len(seen), n_classes))
    prediction[:, model.classes_] = seen
    return prediction


class _Chosen(BaseEstimator):
    """Base of estimators that predict with the `best_estimator_` that their fit has chosen."""

    def predict(self, X):
        """Return the predictions of the chosen model."""
        return self.best_estimator_.predict(X)

    def predict_proba(self, X):
        """Return the probabilities of the chosen model."""
        return self.best_estimator_.predict_proba(X)

    @property
    def classes_(self):
        """Classes of the chosen model."""
        return self.best_estimator_.classes_

    def __sklearn_tags__(self):
        return get_tags(self.estimator)


class Tuned(_Chosen):
    """An estimator whose settings are chosen within the training rows, by the loss of the comparison.

    Parameters
    ----------
    estimator : estimator object
    settings : list of dict
        Candidates; the first wins ties.
    task : {'regression', 'classification'}
    seed : int
        Draws the inner folds, and a sample of the rows if there are more than 2000.
    """

    def __init__(self, estimator, settings, task, seed):
        self.estimator = estimator
        self.settings = settings
        self.task = task
        self.seed = seed

    def fit(self, X, y, sample_weight=None):
        """Choose the setting with the least weighted loss over three folds, and fit it on all rows."""
        self.best_params_ = self.chosen(X, y, sample_weight)
        self.best_estimator_ = _fitted(self.estimator, self.best_params_, X, y, sample_weight)
        return self

    def chosen(self, X, y, sample_weight=None):
        """Return the setting with the least weighted loss over three folds."""
        codes = None if self.task == "regression" else np.unique(y, return_inverse=True)[1]
        rows = _inner_rows(len(y), codes, self.seed)
        losses = np.zeros(len(self.settings))
        for train, test in self._folds(rows, codes):
            n_classes = None if codes is None else codes.max() + 1
            for k, setting in enumerate(self.settings):
                target = y if codes is None else codes
                model = _fitted(self.estimator, setting, X, target, sample_weight, train)
                loss = per_row_loss(self.task, predict(model, X[test], self.task, n_classes), target[test], len(train))
                losses[k] += np.sum(loss if sample_weight is None else sample_weight[test] * loss)
        return self.settings[int(losses.argmin())]

    def _folds(self, rows, codes):
        """Yield the inner folds; a fold that would train on a single class is left out."""
        if codes is None:
            folds = KFold(INNER_FOLDS).split(rows)
        else:
            folds = StratifiedKFold(min(INNER_FOLDS, np.bincount(codes[rows]).max()))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about classes with fewer rows than folds
                folds = list(folds.split(rows, codes[rows]))
        for train, test in folds:
            if codes is None or len(np.unique(codes[rows[train]])) > 1:
                yield rows[train], rows[test]


class OutOfBag(Tuned):
    """A forest whose settings are chosen by the out-of-bag loss: each row is predicted by trees not trained on it.

    Parameters
    ----------
    estimator : RandomForestRegressor or RandomForestClassifier
    settings : list of dict
        Candidates; the first wins ties.
    task : {'regression', 'classification'}
    seed : int
        Draws a sample of the rows if there are more than 2000.
    """

    def fit(self, X, y, sample_weight=None):
        """Choose the setting with the least weighted loss, and fit it on all rows."""
        target = y if self.task == "regression" else np.unique(y, return_inverse=True)[1]
        rows = slice(None)
        if len(y) > INNER_ROWS:
            rows = _inner_rows(len(y), None if self.task == "regression" else target, self.seed)
        target = target[rows]
        weight = None if sample_weight is None else sample_weight[rows]
        forests = [
            _fitted(self.estimator, {**setting, "oob_score": True}, X, y, sample_weight, rows)
            for setting in self.settings
        ]
        seen = "oob_prediction_" if self.task == "regression" else "oob_decision_function_"
        losses = [
            np.average(per_row_loss(self.task, getattr(forest, seen), target, len(target)), weights=weight)
            for forest in forests
        ]
        best = int(np.argmin(losses))
        self.best_params_, self.best_estimator_ = self.settings[best], forests[best]
        if len(y) > INNER_ROWS:
            self.best_estimator_ = _fitted(self.estimator, self.best_params_, X, y, sample_weight)
        return self


def _inner_rows(n, codes, seed):
    """Return at most 2000 rows for choosing settings, with all classes in their proportions."""
    rows = np.random.default_rng(seed).permutation(n)
    if codes is not None:
        place = np.empty(n)
        for code in np.unique(codes):
            mine = codes[rows] == code
            place[mine] = np.arange(np.sum(mine)) / np.sum(mine)
        rows = rows[np.argsort(place, kind="stable")]
    return rows[:INNER_ROWS]


def _fitted(estimator, setting, X, y, weight, rows=slice(None)):
    """Return a clone with a setting, fitted on some rows; weights, even of 1, make boosting many times slower."""
    weight = None if weight is None else weight[rows]
    return clone(estimator).set_params(**setting).fit(X[rows], y[rows], sample_weight=weight)


class HeldLazy(_Chosen):
    """A network at a large output scale, with the penalty that the same network chooses at the small scale.

    If the linearised model explains next to nothing, the rich network may choose another penalty than this model
    would. Here both networks train with the penalty of the rich one, so they differ only in their scale.

    Parameters
    ----------
    estimator : LazyNetRegressor or LazyNetClassifier
        The lazy network.
    rich_scale : float
        Scale of the rich network.
    """

    def __init__(self, estimator, rich_scale):
        self.estimator = estimator
        self.rich_scale = rich_scale

    def fit(self, X, y=None, sample_weight=None):
        """Take one step of the rich network, which chooses the penalty, and train the lazy network with it."""
        reference = clone(self.estimator).set_params(scale=self.rich_scale, max_iter=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            penalty = reference.fit(X, y, sample_weight).alpha_
        self.best_estimator_ = clone(self.estimator).set_params(alpha=penalty).fit(X, y, sample_weight)
        return self


def _of(regressor, classifier, **settings):
    """Return a function that builds an estimator for a task and a seed, from one class per task."""
    return partial(_built, regressor, classifier, settings)


def _built(regressor, classifier, settings, task, seed):
    estimator = regressor if task == "regression" else classifier
    return estimator(**settings, random_state=seed)


def _dummy(task, seed):
    return DummyRegressor() if task == "regression" else DummyClassifier()


def _linear(task, seed):
    estimator = (SAGRegressor if task == "regression" else SAGClassifier)(random_state=seed)
    return Tuned(estimator, [{"alpha": alpha} for alpha in (1e-3, 1e-2, 1e-1)], task, seed)


def _forest(task, seed):
    estimator = RandomForestRegressor if task == "regression" else RandomForestClassifier
    return OutOfBag(estimator(random_state=seed), [{"max_features": share} for share in ("sqrt", 0.5, 1.0)], task, seed)


def _boosting(task, seed):
    estimator = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    boosting = estimator(early_stopping=False, random_state=seed)
    return Tuned(boosting, [{"max_leaf_nodes": leaves} for leaves in (4, 12, 31)], task, seed)


_network = partial(_of, LazyNetRegressor, LazyNetClassifier)
_kernel = partial(_of, NTKKernelRegressor, NTKKernelClassifier)


def _lazy(task, seed):
    return HeldLazy(_network()(task, seed), RICH_SCALE)


def given(item):
    """Return a user's estimator or Contender as a Method; a `random_state` of None, also in its parts, is drawn."""
    estimator, family, n_seeds = item if isinstance(item, Contender) else Contender(item)
    return Method(family, partial(_given, estimator), n_seeds)


def is_given(method):
    """Return whether a method comes from the user."""
    return getattr(method.build, "func", None) is _given


def _given(estimator, task, seed):
    model = clone(estimator)
    open_seeds = [name for name, value in model.get_params().items() if name.endswith("random_state") and value is None]
    rng = np.random.default_rng(seed)
    return model.set_params(**{name: int(rng.integers(2**31)) for name in sorted(open_seeds)})


METHODS = {
    "dummy": Method("dummy", _dummy),
    "linear": Method("linear", _linear),
    "rbf": Method("kernel", _kernel(kernel="rbf")),
    "laplace": Method("kernel", _kernel(kernel="laplace")),
    "ntk": Method("kernel", _kernel(kernel="ntk")),
    "rfm": Method("rfm", _of(RFMRegressor, RFMClassifier, depth=1, max_rounds=3)),  # two more cost half as much again
    "lazy": Method("network", _lazy, n_seeds=3),
    "rich": Method("network", _network(scale=RICH_SCALE), n_seeds=3),
    "forest": Method("trees", _forest),
    "boosting": Method("trees", _boosting),
}
