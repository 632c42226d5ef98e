r"""Recursive feature machines: fit a kernel machine, compute its average gradient outer product M, refit with it.

The gradients of a fitted f show which directions of the input matter, through :math:`M = \frac1S \sum_i s_i \nabla
f(x_i) \nabla f(x_i)'`. A round fits again with the kernel of :math:`M^{1/2} x`, or with the diagonal of M. M is scaled
to trace d, so that the constant coordinate of the kernel keeps its weight relative to the others.

The metric and the number of rounds are chosen on rows that M has not seen. M depends on the targets of its own rows, so
the leave-one-out error given M would improve with more rounds even on pure noise. With the same held-out predictions,
the machine of the last round takes its place in a stack of kernel machines (`_stack`).
"""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_regressor
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._sklearn import Interval, _fit_context, checked_rows, draw_seed
from sklearn_ltdl._targets import (
    Standardisation,
    counted,
    encode_classes,
    fit_log_odds,
    log_odds,
    most_likely,
    one_hot,
    read_classification,
    read_regression,
    softened,
)
from sklearn_ltdl._types import Seed
from sklearn_ltdl.losses import probabilities
from sklearn_ltdl.ntk._estimators import _CONSTRAINTS, NTKKernelRegressor, _checked_groups
from sklearn_ltdl.ntk._machine import Member
from sklearn_ltdl.ntk._problem import MachineSettings
from sklearn_ltdl.ntk._rounds import Recursion
from sklearn_ltdl.ntk._streamed import Looked
from sklearn_ltdl.rows._rows import Rows, rows_to_fit

_RFM_CONSTRAINTS = {
    **{name: _CONSTRAINTS[name] for name in ("alpha", "solver", "n_components", "random_state")},
    "depth": [Interval(Integral, 0, 1000, closed="both"), None],
    "max_rounds": [Interval(Integral, 0, None, closed="left")],
}


class _RecursiveEstimator(BaseEstimator):
    """Base of the two estimators: run the recursion, publish its results, and predict with the last round."""

    def _recursion(self, X, y, weight, groups, unit, normalize_y):
        groups, settings = _checked_groups(groups, X), self._settings(normalize_y)
        return Recursion.of(X, y, weight, groups, unit, self.max_rounds, settings, is_regressor(self))

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
        """Publish the results of a recursion, with the machine of its last round as an estimator."""
        last, agop, trace = found.last, found.agop, np.trace(found.agop)
        self._machine = found.machine
        self.stack_: list[Member] = found.machine.members
        self.n_rounds_: int = found.n_rounds
        self.metric_: str = found.metric
        self.cv_errors_: dict[str, np.ndarray] = found.cv_errors
        self.effective_ranks_: dict[str, float] = found.ranks
        self.agop_: np.ndarray = agop
        self.transformation_: np.ndarray = last.root
        self.feature_importances_: np.ndarray = np.diagonal(agop) / (trace if trace > 0 else 1.0)
        self.estimator_: NTKKernelRegressor = NTKKernelRegressor(**last.settings._asdict())._publish(last.machine)
        self.alpha_: float = last.machine.alpha
        return self

    def _evaluate(self, X):
        check_is_fitted(self)
        return self._machine.evaluate(checked_rows(self, X))


class RFMRegressor(RegressorMixin, _RecursiveEstimator):
    r"""Kernel regression that learns which directions of the input matter: a recursive feature machine.

    Fits a kernel machine, computes the average outer product M of the gradients of its prediction at the training
    rows, and fits again with the kernel of :math:`M^{1/2} x`, or with the diagonal of M. This is repeated as long as it
    lowers the error on held-out rows. The prediction is the weighted mean, with the least error on rows that are left
    out, of machines with and without the metric.

    Parameters
    ----------
    depth : int, default=None
        Number of hidden layers of the network whose tangent kernel is used; 0 is the linear kernel. If it or a number
        `alpha` is given, the prediction is that of the last round alone. With None, the rounds have depth 1, and the
        prediction is a weighted mean of kernel machines, a stack, as in `NTKKernelRegressor` (see Notes).
    alpha : 'loo' or float, default='loo'
        Weight of :math:`|f|_H^2 / 2` relative to the *mean* of half the squared residuals, at least 0, in units of the
        kernel. 'loo' chooses in each round the value with the smallest leave-one-out error.
    max_rounds : int, default=5
        Maximum number of rounds; with 0, this is `NTKKernelRegressor` of the same depth, None included. The Notes
        explain how the metric and the number of rounds are chosen.
    solver : {'auto', 'exact', 'nystroem'}, default='auto'
        Solver of each round, as in `NTKKernelRegressor`: 'exact' uses the whole Gram matrix, 'nystroem' uses
        `n_components` random rows as centres. 'auto' is 'nystroem' above 5000 distinct rows.
    n_components : int, default=2000
        Number of centres of solver 'nystroem'; if there are fewer rows, all of them.
    normalize_y : bool, default=True
        Whether to standardise each column of the target, using the weights, before solving. Predictions are in the
        target's own units.
    random_state : int, RandomState instance or None, default=None
        Seed for the folds, for the 2000 rows (if there are more) on which metric and rounds are chosen, and for the
        random draws of `NTKKernelRegressor`.

    Attributes
    ----------
    stack_ : list of tuples (weight, kernel, alpha, loo_error, dual_coef, intercept)
        What was stacked, by decreasing weight, as in `NTKKernelRegressor`; the kernels of M are ``Transformed``.
    n_rounds_ : int
        Number of rounds made.
    metric_ : {'full', 'diagonal', 'residual', 'none'}
        Metric that was chosen: the average gradient outer product M, its diagonal, or the diagonal with a first round
        from the squared residuals; 'none' if no round was made.
    cv_errors_ : dict of ndarrays of shape (n_tried,)
        For each metric that was tried, the mean squared error of the standardised target on held-out rows after 0, 1,
        ... rounds, summed over outputs. The smallest is optimistic, because it was chosen. Empty if none was tried.
    effective_ranks_ : dict of floats
        For each metric that was tried, the effective number of directions :math:`(\mathrm{tr} M)^2 / \mathrm{tr}
        M^2` of that of the first round, as a mean over folds. If it is near 1 for 'full', the first fit is nearly
        linear, and a round sees a single projection of the columns.
    agop_ : ndarray of shape (n_features, n_features)
        Average gradient outer product of the machine of the last round for the standardised target, summed over
        outputs, in inverse squared units of the features.
    feature_importances_ : ndarray of shape (n_features,)
        Diagonal of `agop_` divided by its trace, so that they sum to 1; zeros for a constant prediction.
        `SelectFromModel` and `RFE` use them. The columns of `X` should have similar scales, as after `StandardScaler`.
    transformation_ : ndarray of shape (n_features, n_features)
        The symmetric matrix :math:`M^{1/2}`, diagonal for a diagonal metric; the identity if no round was made.
    estimator_ : NTKKernelRegressor
        The kernel machine of the last round, with a kernel of ``X @ transformation_``. Its leave-one-out errors and its
        intervals are optimistic, because M has seen the rows that are left out.
    alpha_ : float
        Penalty of the last round, in the units of `alpha`.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    RFMClassifier : The same for class labels.
    NTKKernelRegressor : The kernel machine of each round.
    AGOPDisplay : Draws `agop_`.

    Notes
    -----
    Metric and number of rounds are chosen by 3-fold cross-validation. Each fold has its own matrix M, which has not
    seen its held-out rows; only penalties are shared. The rows of a group are in one fold. A metric is given up when
    its error falls by less than 2 % in a round, or is higher than that of another by more than two standard errors of
    the difference. The round with the smallest error is chosen if it saves at least 5 % of the error without rounds,
    something in each fold, and more than two standard errors of the difference (2.6 with 50 rows); otherwise no round
    is made. Identical rows are in one fold; with fewer than 10 distinct rows, one column or a constant target no round
    is made.

    Three metrics are tried: M, its diagonal, and the diagonal with a first round from another target, the squared
    leave-one-out residuals. The latter finds pure interactions. If y is a product of two columns, neither changes the
    mean of y, but both change the mean of its square.

    In the stack are the machine of the last round; one with the kernel of a GELU network of depth 1 in the same
    metric, which suits smooth targets; and the machines of the stack of `NTKKernelRegressor`, which have no metric.
    The weights are not negative, and minimise the squared errors of predictions of rows that a machine and its metric
    have not seen: for the first two on the held-out rows of the folds, for the others by leave-one-out. With more
    than 2000 distinct rows the weights come from 2000 of them, and two machines are fitted to all rows. With random
    centres, only one machine without a metric takes part. If no round is made, this is the stack of
    `NTKKernelRegressor`.

    The first fits of all folds come from one inverse. Each later round tried costs three fits to two thirds of the
    rows, or of 2000 rows if there are more.

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
        depth: int | None = None,
        alpha: float | str = "loo",
        max_rounds: int = 5,
        solver: str = "auto",
        n_components: int = 2000,
        normalize_y: bool = True,
        random_state: Seed = None,
    ) -> None:
        self.depth = depth
        self.alpha = alpha
        self.max_rounds = max_rounds
        self.solver = solver
        self.n_components = n_components
        self.normalize_y = normalize_y
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike | Rows,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Choose the number of rounds on held-out rows, and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Rows
            Rows, which `scan` makes, and Dask collections are read block by block: see the guide on large tables.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None for Rows
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of k counts a row k times; a row with weight 0 is ignored.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group (a patient, a site) are in the same fold and left out together.

        Returns
        -------
        self : object
        """
        rows = rows_to_fit(self, X, y, sample_weight, groups)
        if rows is not None:
            settings = self._settings(self.normalize_y)
            looked = Looked.at_numbers(rows, settings)
            return self._publish(Recursion.of_rows(rows, looked, looked.target.units.scale, self.max_rounds, settings))
        X, y, weight = read_regression(self, X, y, sample_weight)
        units = Standardisation.of(y.reshape(len(y), -1), weight, self.normalize_y)
        return self._publish(self._recursion(X, y, weight, groups, units.scale, self.normalize_y))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._evaluate(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class RFMClassifier(ClassifierMixin, _RecursiveEstimator):
    r"""Kernel classification that learns which directions of the input matter: a recursive feature machine.

    This is `RFMRegressor` on one column per class that is 1 for the rows of the class and 0 for others (for two
    classes, one column of -1 and 1), as in `NTKKernelClassifier`. Probabilities are made of the scores as there, by the
    `inverse_temperature_` and `score_power_` that maximise the likelihood of held-out scores.

    Parameters
    ----------
    depth : int, default=None
        Number of hidden layers of the network whose tangent kernel is used; 0 is the linear kernel. If it or a number
        `alpha` is given, the prediction is that of the last round alone. With None, the rounds have depth 1, and the
        prediction is a weighted mean of kernel machines, a stack, as in `NTKKernelClassifier` (see Notes of
        `RFMRegressor`).
    alpha : 'loo' or float, default='loo'
        Weight of :math:`|f|_H^2 / 2` relative to the *mean* of half the squared residuals, at least 0, in units of the
        kernel. 'loo' chooses in each round the value with the smallest leave-one-out error.
    max_rounds : int, default=5
        Maximum number of rounds; with 0, this is `NTKKernelClassifier` of the same depth, None included. The Notes of
        `RFMRegressor` explain how the metric and the number of rounds are chosen; the metric 'residual' is not tried.
    solver : {'auto', 'exact', 'nystroem'}, default='auto'
        Solver of each round, as in `NTKKernelClassifier`: 'exact' uses the whole Gram matrix, 'nystroem' uses
        `n_components` random rows as centres. 'auto' is 'nystroem' above 5000 distinct rows.
    n_components : int, default=2000
        Number of centres of solver 'nystroem'; if there are fewer rows, all of them.
    random_state : int, RandomState instance or None, default=None
        Seed for the folds, for the 2000 rows (if there are more) on which metric and rounds are chosen, and for the
        random draws of `NTKKernelClassifier`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    stack_ : list of tuples (weight, kernel, alpha, loo_error, dual_coef, intercept)
        What was stacked, by decreasing weight, as in `NTKKernelClassifier`; the kernels of M are ``Transformed``.
    n_rounds_ : int
        Number of rounds made.
    metric_ : {'full', 'diagonal', 'none'}
        Metric that was chosen: the average gradient outer product M or its diagonal; 'none' if no round was made.
    cv_errors_ : dict of ndarrays of shape (n_tried,)
        For each metric that was tried, the mean squared error on held-out rows after 0, 1, ... rounds, summed over
        columns. The smallest is optimistic, because it was chosen. Empty if none was tried.
    effective_ranks_ : dict of floats
        For each metric that was tried, the effective number of directions of the first one, as in `RFMRegressor`.
    agop_ : ndarray of shape (n_features, n_features)
        Average gradient outer product of the scores of the last round, summed over columns, in inverse squared units
        of the features.
    feature_importances_ : ndarray of shape (n_features,)
        Diagonal of `agop_` divided by its trace, so that they sum to 1; zeros for constant scores. `SelectFromModel`
        and `RFE` use them. The columns of `X` should have similar scales, as after `StandardScaler`.
    transformation_ : ndarray of shape (n_features, n_features)
        The symmetric matrix :math:`M^{1/2}`, diagonal for a diagonal metric; the identity if no round was made.
    estimator_ : NTKKernelRegressor
        The kernel machine of the last round, fitted to the columns, with a kernel of ``X @ transformation_``. Its
        leave-one-out errors are optimistic, because M has seen the rows that are left out.
    alpha_ : float
        Penalty of the last round, in the units of `alpha`.
    inverse_temperature_ : float
        Factor of the scores in `predict_proba`, between 0.01 and 100.
    score_power_ : float
        Power of the scores, clipped below at 0.03, in `predict_proba`, between 0 and 100; 0 for two classes.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    RFMRegressor : The same for numeric targets.
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
        self,
        *,
        depth: int | None = None,
        alpha: float | str = "loo",
        max_rounds: int = 5,
        solver: str = "auto",
        n_components: int = 2000,
        random_state: Seed = None,
    ) -> None:
        self.depth = depth
        self.alpha = alpha
        self.max_rounds = max_rounds
        self.solver = solver
        self.n_components = n_components
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike | Rows,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Choose the number of rounds on held-out rows, and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Rows
            Rows, which `scan` makes, and Dask collections are read block by block: see the guide on large tables.
        y : array-like of shape (n_samples,), or None for Rows
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of k counts a row k times; a row with weight 0 is ignored, except that its class is listed.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group (a patient, a site) are in the same fold and left out together.

        Returns
        -------
        self : object
        """
        rows = rows_to_fit(self, X, y, sample_weight, groups)
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
            found, n_outputs, n = (
                self._recursion(X, signed, weight, groups, 1.0, False),
                targets.shape[1],
                counted(weight),
            )
        targets, scores = (values.reshape(-1, n_outputs) for values in (found.targets, found.scores))
        targets = (targets + 1.0) / 2.0 if len(classes) == 2 else targets
        factor, power = fit_log_odds(scores, softened(targets, n), found.weight)
        self.classes_: np.ndarray = classes
        self.inverse_temperature_: float = factor
        self.score_power_: float = power
        return self._publish(found)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Return one score per class; for two classes, one score that is positive for the second class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._evaluate(X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the class with the highest score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        scores = self.decision_function(X)
        return most_likely(self.classes_, scores)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict the probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
        """
        scores = self.decision_function(X)
        scores = scores.reshape(len(scores), -1)
        return probabilities(log_odds(scores, self.inverse_temperature_, self.score_power_))
