r"""Recursive feature machines: a kernel machine, its average gradient outer product, and again in the new metric.

A fitted f tells which directions of the input matter by :math:`M = \frac1S \sum_i s_i \nabla f(x_i) \nabla f(x_i)'`.
A round fits again with the kernel of :math:`M^{1/2} x`, M scaled to trace d, so that the constant coordinate of the
kernel keeps its weight beside the others.

How many rounds help is asked of rows that M has not seen. M contains the targets of its own rows, so that by the
leave-one-out error given M rounds seem to help on pure noise too.
"""

from dataclasses import replace
from numbers import Integral
from typing import NamedTuple, Self

import numpy as np
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._sklearn import Interval, _fit_context, checked_rows, draw_seed, remember_columns
from sklearn_ltdl._targets import (
    Standardisation,
    counted,
    encode_classes,
    fit_inverse_temperature,
    most_likely,
    one_hot,
    read_classification,
    read_regression,
    softened,
)
from sklearn_ltdl.losses import probabilities
from sklearn_ltdl.ntk._agop import gradient_blocks, ntk_agop, outer_products
from sklearn_ltdl.ntk._estimators import _CONSTRAINTS, NTKKernelRegressor
from sklearn_ltdl.ntk._kernels import NTK, Transformed
from sklearn_ltdl.ntk._machine import Machine, MachineSettings, warn_of_data
from sklearn_ltdl.ntk._sample import Sample
from sklearn_ltdl.ntk._solvers import require_memory
from sklearn_ltdl.ntk._streamed import Looked, machine_of_rows
from sklearn_ltdl.rows._gather import Slices, gather
from sklearn_ltdl.rows._looks import NumberTarget, weights_of
from sklearn_ltdl.rows._rows import as_numbers, as_rows, head

FOLDS = 5
JUDGED_ROWS = 2000  # of a larger table, drawn at random, on which the number of rounds is chosen
STANDARD_ERRORS = 3.0  # by which rounds must lower the held-out error; with 2, smooth additive targets lose by them
FEWEST_ROWS = 10  # below, a standard error means nothing and no round is made

_RFM_CONSTRAINTS = {
    **{name: _CONSTRAINTS[name] for name in ("alpha", "solver", "n_components", "random_state")},
    "depth": [Interval(Integral, 0, 1000, closed="both")],
    "max_rounds": [Interval(Integral, 0, None, closed="left")],
}


class _RecursiveEstimator(BaseEstimator):
    """What the two estimators share: the recursion of their parameters, publishing it, and the last round's values."""

    def _rows(self, X, y, sample_weight):
        """Return rows to be read block by block, if the data are such."""
        rows = as_rows(X, y, sample_weight)
        if rows is None:
            return None
        remember_columns(self, head(rows))
        return as_numbers(rows)

    def _recursion(self, X, y, weight, unit, normalize_y):
        return Recursion.of(X, y, weight, unit, self.max_rounds, self._settings(normalize_y))

    def _settings(self, normalize_y):
        return MachineSettings(
            depth=self.depth,
            alpha=self.alpha,
            solver=self.solver,
            n_components=self.n_components,
            normalize_y=normalize_y,
            random_state=draw_seed(self.random_state),
        )

    def _publish(self, found):
        """Publish a recursion, and the machine of its last round as an estimator."""
        last, agop, trace = found.last, found.agop, np.trace(found.agop)
        self.n_rounds_, self.cv_errors_ = found.n_rounds, found.cv_errors
        self.agop_, self.transformation_ = agop, last.root
        self.feature_importances_ = np.diagonal(agop) / (trace if trace > 0 else 1.0)
        self.estimator_ = NTKKernelRegressor(**last.settings._asdict())._publish(last.machine)
        self.alpha_ = last.machine.alpha
        return self

    def _evaluate(self, X):
        check_is_fitted(self)
        return self.estimator_.predict(checked_rows(self, X))


class RFMRegressor(RegressorMixin, _RecursiveEstimator):
    r"""Kernel regression that learns which directions of the input matter: a recursive feature machine.

    Fits `NTKKernelRegressor`, takes the average outer product M of the gradients of its prediction at the training
    rows, and fits again with the kernel of :math:`M^{1/2} x`, for as many rounds as lower the error on held-out rows.

    Parameters
    ----------
    depth : int, default=1
        Hidden layers of the network whose tangent kernel is used, at least 0, the linear kernel.
    alpha : 'loo' or float, default='loo'
        Weight of :math:`|f|_H^2 / 2` against the *mean* of half the squared residuals, at least 0, in units of the
        kernel; 'loo' takes, in each round, the value of least leave-one-out error.
    max_rounds : int, default=5
        Largest number of rounds; with 0, this is `NTKKernelRegressor` at the same depth. See Notes for how many are
        made.
    solver : {'auto', 'exact', 'nystroem'}, default='auto'
        Of each round, as in `NTKKernelRegressor`: the whole Gram matrix, or `n_components` random rows as centres,
        which 'auto' takes above 5000 distinct rows.
    n_components : int, default=2000
        Number of random rows of solver 'nystroem'; all rows, if there are fewer.
    normalize_y : bool, default=True
        Whether to centre and scale each column of the target, with the weights, before solving. Predictions are in
        the target's own units.
    random_state : int, RandomState instance or None, default=None
        Draws the folds, the 2000 rows on which rounds are chosen when there are more, and what `NTKKernelRegressor`
        draws.

    Attributes
    ----------
    n_rounds_ : int
        Number of rounds made.
    cv_errors_ : ndarray of shape (n_tried,)
        Mean squared error of held-out rows after 0, 1, ... rounds, of the standardised target, summed over outputs.
        The least is optimistic: it has been chosen. Empty if no round was tried.
    agop_ : ndarray of shape (n_features, n_features)
        Average gradient outer product of the final prediction, of the standardised target and summed over outputs,
        in inverse squared units of the features.
    feature_importances_ : ndarray of shape (n_features,)
        Diagonal of `agop_` over its trace, of sum 1; zeros for a constant prediction. `SelectFromModel` and `RFE` use
        it. The columns of `X` should be of one scale, as after `StandardScaler`.
    transformation_ : ndarray of shape (n_features, n_features)
        The symmetric matrix :math:`M^{1/2}`, the identity after no round.
    estimator_ : NTKKernelRegressor
        The last, of a kernel of ``X @ transformation_``. Its leave-one-out errors, and with them its intervals, are
        optimistic: M has seen the rows left out.
    alpha_ : float
        The penalty of the last round, in the units of `alpha`.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    RFMClassifier : The same for classes.
    NTKKernelRegressor : The kernel machine of each round.
    AGOPDisplay : Draws `agop_`.

    Notes
    -----
    The number of rounds is chosen by 5-fold cross-validation in which each fold has a matrix M of its own, which has
    not seen its held-out rows. Rounds are tried until the error no longer falls, and the one of least error is taken
    if it is below the error of no round by more than three standard errors of their difference; otherwise none is
    made. Identical rows are in one fold; with fewer than 10 distinct rows no round is made. This costs, for each
    round tried, five fits to four fifths of the rows, of at most 2000.

    References
    ----------
    .. [1] A. Radhakrishnan, D. Beaglehole, P. Pandit, M. Belkin. "Mechanism for feature learning in neural networks
       and backpropagation-free machine learning models". Science 383, 2024, algorithm 1. arXiv:2212.13881.

    Examples
    --------
    >>> from sklearn_ltdl import RFMRegressor
    >>> from sklearn_ltdl.datasets import make_multi_index
    >>> X, y = make_multi_index(500, 10, n_directions=1, random_state=0)
    >>> model = RFMRegressor(random_state=0).fit(X[:250], y[:250])
    >>> model.n_rounds_ > 0, round(model.score(X[250:], y[250:]), 2)
    (True, 0.99)
    """

    _parameter_constraints: dict = {**_RFM_CONSTRAINTS, "normalize_y": ["boolean"]}

    def __init__(
        self,
        *,
        depth=1,
        alpha="loo",
        max_rounds=5,
        solver="auto",
        n_components=2000,
        normalize_y=True,
        random_state=None,
    ) -> None:
        self.depth = depth
        self.alpha = alpha
        self.max_rounds = max_rounds
        self.solver = solver
        self.n_components = n_components
        self.normalize_y = normalize_y
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None) -> Self:
        """Fit the regression, choosing the rounds on held-out rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Rows
            Rows, which `scan` makes, and Dask collections are read block by block: see the guide on large tables.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None for Rows
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of k is a row given k times, a weight of 0 a row not given.

        Returns
        -------
        self : object
        """
        rows = self._rows(X, y, sample_weight)
        if rows is not None:
            settings = self._settings(self.normalize_y)
            looked = Looked.at_numbers(rows, settings)
            return self._publish(Recursion.of_rows(rows, looked, looked.target.units.scale, self.max_rounds, settings))
        X, y, weight = read_regression(self, X, y, sample_weight)
        units = Standardisation.of(y.reshape(len(y), -1), weight, self.normalize_y)
        return self._publish(self._recursion(X, y, weight, units.scale, self.normalize_y))

    def predict(self, X) -> np.ndarray:
        """Predict the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._evaluate(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class RFMClassifier(ClassifierMixin, _RecursiveEstimator):
    r"""Kernel classification that learns which directions of the input matter: a recursive feature machine.

    `RFMRegressor` on the columns of `NTKKernelClassifier`: one a class, that is 1 for its rows and 0 for others, or
    one column of -1 and 1 for two classes. Probabilities are the softmax (for two classes, the sigmoid) of the scores
    times one factor, which maximises the likelihood of scores of rows that the model has not seen.

    Parameters
    ----------
    depth : int, default=1
        Hidden layers of the network whose tangent kernel is used, at least 0, the linear kernel.
    alpha : 'loo' or float, default='loo'
        Weight of :math:`|f|_H^2 / 2` against the *mean* of half the squared residuals, at least 0, in units of the
        kernel; 'loo' takes, in each round, the value of least leave-one-out error.
    max_rounds : int, default=5
        Largest number of rounds; with 0, this is `NTKKernelClassifier` at the same depth. See `RFMRegressor` for how
        many are made.
    solver : {'auto', 'exact', 'nystroem'}, default='auto'
        Of each round, as in `NTKKernelClassifier`: the whole Gram matrix, or `n_components` random rows as centres,
        which 'auto' takes above 5000 distinct rows.
    n_components : int, default=2000
        Number of random rows of solver 'nystroem'; all rows, if there are fewer.
    random_state : int, RandomState instance or None, default=None
        Draws the folds, the 2000 rows on which rounds are chosen when there are more, and what `NTKKernelClassifier`
        draws.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_rounds_ : int
        Number of rounds made.
    cv_errors_ : ndarray of shape (n_tried,)
        Mean squared error of held-out rows after 0, 1, ... rounds, summed over columns. The least is optimistic: it
        has been chosen. Empty if no round was tried.
    agop_ : ndarray of shape (n_features, n_features)
        Average gradient outer product of the final scores, summed over columns, in inverse squared units of the
        features.
    feature_importances_ : ndarray of shape (n_features,)
        Diagonal of `agop_` over its trace, of sum 1; zeros for constant scores. `SelectFromModel` and `RFE` use it. The
        columns of `X` should be of one scale, as after `StandardScaler`.
    transformation_ : ndarray of shape (n_features, n_features)
        The symmetric matrix :math:`M^{1/2}`, the identity after no round.
    estimator_ : NTKKernelRegressor
        The last, of the columns, with a kernel of ``X @ transformation_``. Its leave-one-out errors are optimistic: M
        has seen the rows left out.
    alpha_ : float
        The penalty of the last round, in the units of `alpha`.
    inverse_temperature_ : float
        Factor of the scores in `predict_proba`, between 0.01 and 100.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    RFMRegressor : The same for numbers.
    NTKKernelClassifier : The kernel machine of each round.
    AGOPDisplay : Draws `agop_`.

    References
    ----------
    .. [1] A. Radhakrishnan, D. Beaglehole, P. Pandit, M. Belkin. "Mechanism for feature learning in neural networks
       and backpropagation-free machine learning models". Science 383, 2024, algorithm 1. arXiv:2212.13881.

    Examples
    --------
    >>> from sklearn_ltdl import RFMClassifier
    >>> from sklearn_ltdl.datasets import make_parity
    >>> X, y = make_parity(800, 10, random_state=0)
    >>> model = RFMClassifier(random_state=0).fit(X[:200], y[:200])
    >>> model.score(X[200:], y[200:])
    1.0
    >>> model.feature_importances_.round(1)[:4]
    array([0.5, 0.5, 0. , 0. ])
    """

    _parameter_constraints: dict = _RFM_CONSTRAINTS

    def __init__(
        self, *, depth=1, alpha="loo", max_rounds=5, solver="auto", n_components=2000, random_state=None
    ) -> None:
        self.depth = depth
        self.alpha = alpha
        self.max_rounds = max_rounds
        self.solver = solver
        self.n_components = n_components
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None) -> Self:
        """Fit the classifier, choosing the rounds on held-out rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Rows
            Rows, which `scan` makes, and Dask collections are read block by block: see the guide on large tables.
        y : array-like of shape (n_samples,), or None for Rows
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of k is a row given k times, a weight of 0 a row not given but for the name of its class.

        Returns
        -------
        self : object
        """
        rows = self._rows(X, y, sample_weight)
        if rows is not None:
            settings = self._settings(False)
            looked = Looked.at_labels(rows, settings)
            classes, n_outputs, n = looked.target.classes, len(looked.mean), looked.counts.counted
            found = Recursion.of_rows(rows, looked, 1.0, self.max_rounds, settings)
        else:
            X, y, weight = read_classification(self, X, y, sample_weight)
            classes, codes = encode_classes(y, weight)
            targets = one_hot(codes, len(classes))
            signed = 2.0 * targets[:, 0] - 1.0 if len(classes) == 2 else targets
            found, n_outputs, n = self._recursion(X, signed, weight, 1.0, False), targets.shape[1], counted(weight)
        targets, scores = (values.reshape(-1, n_outputs) for values in (found.targets, found.scores))
        targets = (targets + 1.0) / 2.0 if len(classes) == 2 else targets
        factor = fit_inverse_temperature(scores, softened(targets, n), found.weight)
        self.classes_, self.inverse_temperature_ = classes, factor
        return self._publish(found)

    def decision_function(self, X) -> np.ndarray:
        """Return the scores of the classes; for two, one score that is positive for the second.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._evaluate(X)

    def predict(self, X) -> np.ndarray:
        """Predict the class of the highest score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        scores = self.decision_function(X)
        return most_likely(self.classes_, scores)

    def predict_proba(self, X) -> np.ndarray:
        """Predict the probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
        """
        scores = self.decision_function(X)
        return probabilities(self.inverse_temperature_ * scores.reshape(len(scores), -1))


class Recursion(NamedTuple):
    """The rounds that were made, and how rows were predicted that they have not seen.

    Parameters
    ----------
    n_rounds : int
    cv_errors : ndarray of shape (n_tried,)
        Held-out error after 0, 1, ... rounds.
    last : Round
    agop : ndarray of shape (n_features, n_features)
        Of the last round.
    targets, scores : ndarrays of shape (n, ...), of as many dimensions as the target
        Targets of some distinct rows, and predictions that have not seen them.
    weight : ndarray of shape (n,)
    """

    n_rounds: int
    cv_errors: np.ndarray
    last: "Round"
    agop: np.ndarray
    targets: np.ndarray
    scores: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, X, y, weight, unit, max_rounds, settings):
        """Choose the number of rounds on held-out rows, and make them with all rows.

        Parameters
        ----------
        X, y, weight : ndarrays of shapes (n, n_features), (n,) or (n, n_outputs), and (n,)
        unit : float or ndarray of shape (n_outputs,)
            What the errors and gradients of each output are divided by.
        max_rounds : int
        settings : MachineSettings
        """
        require_memory(X.shape[1], 6, "It is that of the gradients, a row a feature: give fewer features.")
        sample = Sample.of(X, y.reshape(len(y), -1), weight, None, precomputed=False)
        X, y, weight = X[sample.points], sample.targets.reshape(-1, *y.shape[1:]), sample.weight
        warn_of_data([NTK(settings.depth)], X)
        n_rounds, cv_errors, rows, held_out = _chosen_rounds(X, y, weight, unit, max_rounds, settings)
        M, start = np.eye(X.shape[1]), None
        for _ in range(n_rounds):
            step = Round.of(M, X, y, weight, settings, start)
            M, start = step.next_metric(X, weight, unit), step.machine.relative_alpha
            del step  # its smoother is as large as the Gram matrix
        last = Round.of(M, X, y, weight, settings)
        agop = last.agop(X, weight, unit)
        if n_rounds == 0:  # M has seen no target: the scores of all rows, from all others
            return cls(n_rounds, cv_errors, last, agop, y, last.machine.left_out, weight)
        return cls(n_rounds, cv_errors, last, agop, y[rows], held_out, weight[rows])

    @classmethod
    def of_rows(cls, rows, looked, unit, max_rounds, settings):
        """Choose the number of rounds on a sample, and make them with all rows, read block by block.

        Parameters
        ----------
        rows : Rows
        looked : Looked
        unit, max_rounds, settings
            As in `of`.
        """
        drawn, flat = looked.drawn, looked.flat
        require_memory(drawn.X.shape[1], 6, "It is that of the gradients, a row a feature: give fewer features.")
        Y = looked.target.of(drawn)
        if isinstance(looked.target, NumberTarget):
            Y = looked.target.units.undo(Y)
        sample = Sample.of(drawn.X, Y, weights_of(drawn), None, precomputed=False)
        X, weight = drawn.X[sample.points], sample.weight
        y = sample.targets[:, 0] if flat else sample.targets
        if len(X) > 1:
            warn_of_data([NTK(settings.depth)], X)
        n_rounds, cv_errors, judged, held_out = _chosen_rounds(X, y, weight, unit, max_rounds, settings)
        M = np.eye(X.shape[1])
        for done in range(n_rounds + 1):
            T = _root(M)
            fitted = settings._replace(kernel=Transformed(NTK(settings.depth), T))
            last = Round(M, T, fitted, machine_of_rows(rows, looked, fitted))
            agop = last.agop_of_rows(rows, looked.counts.weight, unit)
            M = agop if done < n_rounds and np.trace(agop) > 0 else M
        if n_rounds == 0:
            left_out = last.machine.left_out
            return cls(n_rounds, cv_errors, last, agop, Y[:, 0] if flat else Y, left_out, weights_of(drawn))
        return cls(n_rounds, cv_errors, last, agop, y[judged], held_out, weight[judged])


def _chosen_rounds(X, y, weight, unit, max_rounds, settings):
    """Return the number of rounds, the held-out errors of all, and predictions of the judged rows after that number."""
    if max_rounds == 0 or len(X) < FEWEST_ROWS:
        return 0, np.empty(0), None, None
    rows, errors, held_out = _judge(X, y, weight, unit, max_rounds, settings)
    n_rounds = _best_round(errors, weight[rows])
    return n_rounds, np.average(errors, axis=1, weights=weight[rows]), rows, held_out[n_rounds]


def _judge(X, y, weight, unit, max_rounds, settings):
    """Return rows and, by round, their squared errors and predictions, from an M and a fit that have not seen them."""
    rows = np.random.default_rng(settings.random_state).permutation(len(X))[:JUDGED_ROWS]
    folds = [(np.setdiff1d(rows, test), test) for test in np.array_split(rows, FOLDS)]
    steps, errors, held_out = [None] * FOLDS, [], []
    while len(errors) <= max_rounds:
        predictions = []
        for k, (train, test) in enumerate(folds):
            M, start = np.eye(X.shape[1]), None
            if errors:
                M, start = steps[k].next_metric(X[train], weight[train], unit), steps[k].machine.relative_alpha
            step = Round.of(M, X[train], y[train], weight[train], settings, start)
            step = step._replace(machine=replace(step.machine, made=None))  # without what is as large as its matrix
            predictions.append(step.machine.evaluate(X[test]))
            steps[k] = step
        held_out.append(np.concatenate(predictions))
        errors.append((((held_out[-1] - y[rows]) / unit) ** 2).reshape(len(rows), -1).sum(axis=1))
        if len(errors) > 1 and weight[rows] @ (errors[-2] - errors[-1]) <= 0:
            break
    return rows, np.array(errors), held_out


def _best_round(errors, weight):
    """Return the round of least error if it is significantly better than none, else 0; errors (n_rounds, n_rows)."""
    best = int(np.argmin(errors @ weight))
    gains = errors[0] - errors[best]
    mean = np.average(gains, weights=weight)
    deviation = np.sqrt(np.sum((weight * (gains - mean)) ** 2)) / weight.sum()
    return best if mean > STANDARD_ERRORS * deviation else 0


class Round(NamedTuple):
    """A metric M of any positive size, M^(1/2) scaled, how the machine of M^(1/2) x was solved, and the machine."""

    metric: np.ndarray
    root: np.ndarray
    settings: MachineSettings
    machine: Machine

    @classmethod
    def of(cls, M, X, y, weight, settings, start=None):
        """Return the round of a metric M on distinct rows; `settings.depth` is that of the tangent kernel.

        `start` is a penalty near which that of the round is looked for, as in `Machine.of`.
        """
        T = _root(M)
        settings = settings._replace(kernel=Transformed(NTK(settings.depth), T))
        return cls(M, T, settings, Machine.of(X, y, weight, settings, start=start))

    def agop(self, X, weight, unit):
        """Return the average gradient outer product at the rows of the fit, of outputs over `unit`."""
        T, machine, Z = self.root, self.machine, None
        if machine.solver == "exact":
            X, weight = machine.centres, machine.sample.weight  # the same rows, in the order of the coefficients
        else:
            Z = machine.centres @ T
        coef = machine.coef.reshape(len(machine.coef), -1) / unit
        return T @ ntk_agop(X @ T, weight, Z, coef, depth=self.settings.depth) @ T

    def agop_of_rows(self, rows, weight, unit):
        """Return the average gradient outer product at all rows, read block by block, of weights of a given sum."""
        machine = self.machine
        coef = machine.coef.reshape(len(machine.coef), -1) / unit
        state = self.root, machine.centres @ self.root, coef, self.settings.depth
        (total,) = gather(products_of_rows, rows, state)
        return self.root @ (total / weight) @ self.root

    def next_metric(self, X, weight, unit):
        """Return the metric of the next round."""
        agop = self.agop(X, weight, unit)
        return agop if np.trace(agop) > 0 else self.metric  # a constant prediction has nothing to say of directions


def _root(M):
    """Return the symmetric root of a metric, scaled to the trace d."""
    values, vectors = eigh(M * (len(M) / np.trace(M)), check_finite=False)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def products_of_rows(block, state):
    """Return the sum of `outer_products` over the rows of a block; a statistic of `gather`."""
    T, *function = state
    weight, width = weights_of(block), function[1].shape[1] * len(T)

    def read(rows):
        return block.X[rows] @ T, weight[rows]

    return gather(outer_products, Slices(gradient_blocks(block.n_rows, width), read), tuple(function))
