"""Linear regression and classification by minimising a finite sum."""

from contextlib import contextmanager, suppress
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_classifier
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._sklearn import (
    CallbackSupportMixin,
    Interval,
    NameIn,
    Registered,
    StrOptions,
    _fit_context,
    available_if,
    checked_rows,
    draw_seed,
    fit_tasks,
    with_callbacks,
)
from sklearn_ltdl._targets import read_classification, read_regression
from sklearn_ltdl._types import MatrixLike, Seed
from sklearn_ltdl.linear._fitting import (
    BY_COLUMNS,
    LAYOUT,
    LaterDual,
    Objective,
    classification_task,
    regression_task,
    regularization_path,
    remedy,
    solve,
    state_to_go_on_from,
    step_on_rows,
)
from sklearn_ltdl.linear._solvers import SOLVERS
from sklearn_ltdl.linear._streamed import classification_of_rows, regression_of_rows
from sklearn_ltdl.losses import LOSSES, Logistic, Multinomial, members_of_linear, probabilities
from sklearn_ltdl.results import RegularizationPath, Status, Trace, warn_unless_converged
from sklearn_ltdl.rows._rows import Rows, rows_to_fit

_CONSTRAINTS = {
    "alpha": [Interval(Real, 0, None, closed="left")],
    "l1_ratio": [Interval(Real, 0, 1, closed="both")],
    "fit_intercept": ["boolean"],
    "solver": [NameIn(SOLVERS)],
    "step_size": [None, Interval(Real, 0, None, closed="neither")],
    "sampling": [StrOptions({"auto", "uniform", "lipschitz"})],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
}


def _steps_on_batches(estimator):
    return estimator.solver in ("sgd", "asgd")


def _has_probabilities(estimator):
    return estimator.loss in ("logistic", "multinomial") or isinstance(estimator.loss, Logistic | Multinomial)


class _LinearModel(CallbackSupportMixin, BaseEstimator):
    """Base of the two estimators: each states its data as a `Task`; this class solves and publishes it."""

    coef_: np.ndarray
    intercept_: Any  # a float, or an array with one value per output
    dual_gap_: float
    n_iter_: int
    trace_: Trace
    solver_: str
    solver_reason_: str
    step_size_: float | None
    smoothness_: tuple[float, float] | None

    def _objective(self):
        return Objective(self.loss, self.alpha, self.l1_ratio, self.fit_intercept)

    def _layout(self, sample_weight):
        """Return how to validate X: without weights the check for finite values is left to the solver."""
        by_columns = self.solver in ("auto", "cd") and self.l1_ratio > 0
        return {**(BY_COLUMNS if by_columns else LAYOUT), "ensure_all_finite": sample_weight is not None}

    @contextmanager
    def _numbers_checked(self, X):
        """If the task cannot be stated or solved because X holds NaN or inf, raise the error that says so."""
        try:
            yield
        except ValueError:
            checked_rows(self, X, accept_sparse="csr")
            raise

    def _options(self):
        return {
            "tol": self.tol,
            "max_iter": self.max_iter,
            "seed": draw_seed(self.random_state),
            "step": self.step_size,
            "sampling": self.sampling,
        }

    def _solved(self, task, shown, **known):
        """Solve the task; callbacks see the coefficients of each epoch and the attributes in `known`."""
        state = {}
        if self.warm_start and hasattr(self, "coef_"):
            last = getattr(self, "_state", None)
            state = state_to_go_on_from(task, self.solver, last, self.coef_, self.intercept_)

        def attributes(*iterate):
            coef, intercept = task.published(*iterate)
            return {**known, "coef_": coef, "intercept_": intercept}

        with fit_tasks(self, *shown, attributes=attributes, max_subtasks=self.max_iter + 1) as tell:
            fitted = solve(task, shown[0], self.solver, state, tell, **self._options())
        status = fitted.solution.status
        if status is not Status.STOPPED:
            names = getattr(self, "feature_names_in_", None)
            warn_unless_converged(fitted.solution, remedy(task.problem, status, names))
        return fitted

    def _publish(self, fitted):
        solution = fitted.solution
        self.coef_, self.intercept_, self._dual = fitted.coef, fitted.intercept, fitted.dual
        self.n_iter_, self.dual_gap_, self.trace_ = solution.n_iter, solution.gap, solution.trace
        self.solver_, self.solver_reason_ = solution.solver, solution.reason
        self.step_size_, self.smoothness_ = solution.step, solution.smoothness
        if self.warm_start:
            self._state = fitted.resumable()
        return self

    def _options_of_rows(self):
        options = self._options()
        return {**options, "solver": self.solver, "warm_start": self.warm_start, "step_size": self.step_size}

    def _publish_rows(self, found):
        solution = warn_unless_converged(found.solution, "Standardise the features, or raise max_iter or alpha.")
        self.coef_, self.intercept_ = found.coef, found.intercept
        self.n_iter_, self.dual_gap_, self.trace_ = solution.n_iter, solution.gap, solution.trace
        self.solver_, self.solver_reason_ = solution.solver, solution.reason if self.solver == "auto" else ""
        self.step_size_ = self.smoothness_ = None
        for of_arrays in ("_dual", "_state"):
            vars(self).pop(of_arrays, None)
        return self

    def _go_on(self, task):
        """Take the steps of `partial_fit` and publish their result."""
        state = getattr(self, "_state", {})
        if state.get("solver") != "partial_fit":
            known = hasattr(self, "coef_")
            state = {"coef": np.atleast_2d(self.coef_), "intercept": np.atleast_1d(self.intercept_)} if known else {}
        self.coef_, self.intercept_, self._state = step_on_rows(task, self.solver, self.step_size, state)
        self.step_size_, self.solver_ = self._state["step"], self.solver
        self.n_iter_ = getattr(self, "n_iter_", 0) + 1
        for of_other_coefficients in ("dual_gap_", "_dual", "trace_"):
            vars(self).pop(of_other_coefficients, None)
        return self

    @property
    def dual_coef_(self) -> np.ndarray:
        """Dual variables of the certificate; see the attributes of the class."""
        dual = vars(self).get("_dual")
        if dual is None:
            raise AttributeError(f"this {type(self).__name__} has no dual_coef_: only `fit` to arrays gives it.")
        if isinstance(dual, LaterDual):
            self._dual = dual = dual()
        return dual

    def __getstate__(self):
        """Return the attributes to pickle: without X, and with `dual_coef_` as far as it can be computed."""
        with suppress(AttributeError):
            _ = self.dual_coef_
        state = dict(super().__getstate__())
        if isinstance(state.get("_dual"), LaterDual):
            del state["_dual"]
        return state

    def _scores(self, X):
        check_is_fitted(self)
        return checked_rows(self, X, accept_sparse="csr") @ self.coef_.T + self.intercept_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class SAGRegressor(RegressorMixin, _LinearModel):
    r"""Linear regression by minimising a finite sum, with a certificate of the minimum.

    Minimises :math:`\frac{1}{S} \sum_i s_i \ell(w \cdot x_i + b, y_i) + \alpha (\frac{1-r}{2} |w|^2 + r |w|_1)` with
    sample weights :math:`s_i` of sum S. The losses of several outputs are summed. The intercept is not penalised. Every
    solver reaches the accuracy `tol`, because each stops on the duality gap.

    Parameters
    ----------
    loss : {'squared', 'huber'} or loss object, default='squared'
        Loss of one prediction, in squared units of `y`. 'huber' is quadratic for residuals up to 1 and linear beyond;
        use ``Huber(delta)`` for another threshold. A loss object is a NamedTuple like those in ``sklearn_ltdl.losses``.
    alpha : float, default=1e-3
        Weight of the penalty relative to the *mean* loss, at least 0. ``Ridge(alpha=a)`` corresponds to ``alpha = a /
        S``, where S is the number of samples or the sum of their weights (`alpha_from_ridge`). ``Lasso`` and
        ``ElasticNet`` use the same `alpha`.
    l1_ratio : float, default=0.0
        Share r of the l1 norm in the penalty: 0 gives ridge, 1 gives the lasso.
    fit_intercept : bool, default=True
        Whether to fit an intercept. It is not penalised, and it is exact for sparse data, too.
    solver : str, default='auto'
        'auto' chooses the solver expected to be fastest; `solver_` and `solver_reason_` say which and why. Stochastic,
        on dense or CSR data: 'sag' [1]_, 'saga' [2]_, 'svrg' (loopless [3]_), 'sdca' [4]_, 'catalyst' (accelerated SDCA
        [5]_), 'sgd', 'asgd' (averaged [6]_). Full-gradient: 'gd', 'agd' (Nesterov's). Second-order: 'cholesky',
        'newton', 'newton-cg', 'lbfgs' [7]_. With an l1 norm, use 'cd' (coordinate descent [8]_), 'saga', 'svrg', 'gd'
        or 'agd'.
    step_size : float, default=None
        Step of 'sag', 'saga', 'svrg', 'sgd', 'asgd', 'gd' or 'agd', in inverse units of the smoothness of the
        objective. A given step is constant for 'sgd' and 'asgd', too. None takes the safe step of the theory and stores
        it in `step_size_`; 'sag' and 'saga' then take steps on blocks of 8 random rows, if there are many dense rows
        and ``sampling='auto'``. A step that makes the solver diverge raises an error that gives the safe step.
    sampling : {'auto', 'uniform', 'lipschitz'}, default='auto'
        How 'sag', 'saga', 'svrg', 'sgd' and 'asgd' draw rows. 'lipschitz' draws half of them in proportion to the
        smoothness of their loss, so that rows of large norm or weight do not force a small step; 'auto' does so if the
        largest smoothness is more than twice the mean.
    max_iter : int, default=1000
        Maximum number of epochs. An epoch is ``n_samples`` steps of a stochastic solver, or one step of another solver.
    tol : float, default=1e-6
        Stop when the duality gap is at most `tol` times the range of the objective, which is the difference between its
        value at the best constant prediction and its minimum. With ``alpha=0`` there is no such gap; then stop when the
        norm of the gradient is at most `tol` times its norm at zero. On tables of up to a million numbers, direct
        solvers continue to rounding error, and 'lbfgs' does on tables of up to 50 000.
    warm_start : bool, default=False
        Whether `fit` continues from the last fit. If the problem is the same, it resumes the full state of the solver,
        including gradient tables and dual variables, so that two fits of k epochs equal one of 2k. For another problem
        of the same shape it starts from the coefficients.
    random_state : int, RandomState instance or None, default=None
        Seed for the order of the rows in stochastic solvers.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_outputs, n_features)
        In units of `y` per unit of each feature; one row per output if `y` is two-dimensional.
    intercept_ : float or ndarray of shape (n_outputs,), in units of `y`
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Dual variables of the certificate: derivatives of the losses, with zero weighted mean if there is an intercept.
        At the minimum with a ridge penalty, ``coef_ = -X.T @ (sample_weight / S * dual_coef_) / alpha``. Where ridge
        regression took a single read of a large table, they are computed when first asked for, from the array X given
        to `fit`. The model does not keep X alive: an AttributeError says if it was deleted or changed. Not set after a
        fit to Rows.
    n_iter_ : int
        Number of epochs of a stochastic solver, or of steps of another solver.
    dual_gap_ : float
        Upper bound on the difference between the objective and its minimum, in squared units of `y`; inf for
        ``alpha=0``.
    trace_ : Trace
        Certificates computed during the fit, as arrays `passes`, `seconds`, `primal`, `dual` and `gap`.
    solver_ : str
        The algorithm that ran.
    solver_reason_ : str
        Why 'auto' chose it; empty if the solver was given.
    step_size_ : float or None
        Step that was used; None for solvers without a step.
    smoothness_ : tuple of two floats or None
        Largest and mean smoothness of the loss of one row as a function of the coefficients, weights included. Divided
        by `alpha`, these are the condition numbers of the problem for stochastic solvers. None for solvers that do not
        use them.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if all feature names of `X` are strings.

    See Also
    --------
    SAGClassifier : The same for class labels.
    duality_gap : Compute the certificate of any coefficients from scratch.
    compare_solvers : Run several solvers on one problem.
    sklearn.linear_model.Ridge : The same model with `alpha` relative to the sum of the losses.

    References
    ----------
    .. [1] M. Schmidt, N. Le Roux, F. Bach, "Minimizing finite sums with the stochastic average gradient",
       Mathematical Programming 162, 2017, equation (5). arXiv:1309.2388
    .. [2] A. Defazio, F. Bach, S. Lacoste-Julien, "SAGA: a fast incremental gradient method with support for
       non-strongly convex composite objectives", NIPS 2014, equations (1) and (2). arXiv:1407.0202
    .. [3] D. Kovalev, S. Horvath, P. Richtarik, "Don't jump through hoops and remove those loops: SVRG and Katyusha are
       better without the outer loop", ALT 2020. arXiv:1901.08689
    .. [4] S. Shalev-Shwartz, T. Zhang, "Stochastic dual coordinate ascent methods for regularized loss minimization",
       JMLR 14, 2013. arXiv:1209.1873
    .. [5] H. Lin, J. Mairal, Z. Harchaoui, "A universal catalyst for first-order optimization", NIPS 2015.
       arXiv:1506.02186
    .. [6] F. Bach, E. Moulines, "Non-strongly-convex smooth stochastic approximation with convergence rate O(1/n)",
       NIPS 2013. arXiv:1306.2119
    .. [7] D. C. Liu, J. Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical
       Programming 45, 1989
    .. [8] J. Friedman, T. Hastie, R. Tibshirani, "Regularization paths for generalized linear models via coordinate
       descent", Journal of Statistical Software 33, 2010

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_ltdl import SAGRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = SAGRegressor().fit(scale(X), y)
    >>> round(model.score(scale(X), y), 2), model.solver_
    (0.52, 'cholesky')
    """

    _parameter_constraints: dict = {"loss": [Registered(LOSSES, members_of_linear, of_labels=False)], **_CONSTRAINTS}

    def __init__(
        self,
        *,
        loss: str | Any = "squared",
        alpha: float = 1e-3,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        solver: str = "auto",
        step_size: float | None = None,
        sampling: str = "auto",
        max_iter: int = 1000,
        tol: float = 1e-6,
        warm_start: bool = False,
        random_state: Seed = None,
    ) -> None:
        self.loss = loss
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.step_size = step_size
        self.sampling = sampling
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: MatrixLike | Rows, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the linear model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Rows
            Training data, preferably standardised. Float64 data in C or CSR order are not copied; nor,
            for an l1 norm, in Fortran or CSC order. Rows,
            which `scan` makes, and Dask collections are read block by block: see the guide on large tables.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None for Rows
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights. A weight of 2 counts a row twice.

        Returns
        -------
        self : SAGRegressor
        """
        rows = rows_to_fit(self, X, y, sample_weight)
        if rows is not None:
            return self._publish_rows(regression_of_rows(rows, self._objective(), self._options_of_rows()))
        task = self._task(X, y, sample_weight)
        with self._numbers_checked(X):
            return self._publish(self._solved(task, (X, y, sample_weight)))

    def _task(self, X, y, sample_weight, *, reset=True, whole=True):
        rows = read_regression(self, X, y, sample_weight, reset=reset, **self._layout(sample_weight))
        return regression_task(*rows, self._objective(), whole)

    @available_if(_steps_on_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Take one step of 'sgd' or 'asgd' on each given row, in order, starting where the last call ended.

        Nothing is certified, because one batch does not determine the gap on all the data. See `duality_gap`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            Weights relative to the mean of the batch.

        Returns
        -------
        self : SAGRegressor
        """
        task = self._task(X, y, sample_weight, reset=not hasattr(self, "coef_"), whole=False)
        with self._numbers_checked(X):
            return self._go_on(task)

    @_fit_context(prefer_skip_nested_validation=True)
    def path(
        self, X: MatrixLike, y: ArrayLike, alphas: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RegularizationPath:
        """Solve for several penalties, each starting at the solution for the next larger one; `self` is not fitted.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        alphas : array-like of shape (n_alphas,)
            Values of `alpha`, in any order.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        path : RegularizationPath
            Coefficients, intercepts and certified gaps, in the order of `alphas`.
        """
        task = clone(self)._task(X, y, sample_weight)  # validation does not write to this estimator
        with self._numbers_checked(X):
            return regularization_path(task, alphas, self.solver, **self._options())

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Return the predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._scores(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class SAGClassifier(ClassifierMixin, _LinearModel):
    r"""Linear classification by minimising a finite sum, with a certificate of the minimum.

    Minimises :math:`\frac{1}{S} \sum_i s_i \ell(W x_i + b, y_i) + \alpha (\frac{1-r}{2} |W|^2 + r |W|_1)` with sample
    weights :math:`s_i` of sum S. The intercept is not penalised. Every solver reaches the accuracy `tol`, because each
    stops on the duality gap.

    Parameters
    ----------
    loss : {'logistic', 'multinomial', 'squared_hinge', 'smooth_hinge'} or loss object, default='logistic'
        'logistic' is the negative log-likelihood of the label, multinomial for more than two classes. 'multinomial'
        fits one score per class even for two classes. 'squared_hinge' is ``max(0, 1 - m)^2`` for a margin m.
        'smooth_hinge' is quadratic for margins from 0 to 1 and linear below 0 (``SmoothHinge(gamma)``). The hinge
        losses fit more than two classes one-vs-rest and give no probabilities.
    alpha : float, default=1e-3
        Weight of the penalty relative to the *mean* loss, at least 0. ``C`` of ``LogisticRegression`` and of
        ``LinearSVC(loss='squared_hinge')`` corresponds to ``alpha = 1 / (C * S)``, where S is the number of samples or
        the sum of their weights (`alpha_from_c`). ``LinearSVC`` also penalises its intercept.
    l1_ratio : float, default=0.0
        Share r of the l1 norm in the penalty: 0 gives ridge, 1 gives the lasso.
    class_weight : dict, 'balanced' or None, default=None
        Factors of the sample weights by label. 'balanced' gives each class the same total weight.
    fit_intercept : bool, default=True
        Whether to fit an intercept. It is not penalised, and it is exact for sparse data, too.
    solver : str, default='auto'
        'auto' chooses the solver expected to be fastest; `solver_` and `solver_reason_` say which and why. Stochastic,
        on dense or CSR data: 'sag' [1]_, 'saga' [2]_, 'svrg' (loopless [3]_), 'sdca' [4]_, 'catalyst' (accelerated SDCA
        [5]_), 'sgd', 'asgd' (averaged [6]_). Full-gradient: 'gd', 'agd' (Nesterov's). Second-order: 'newton',
        'newton-cg', 'lbfgs' [7]_. With an l1 norm, use 'cd' (coordinate descent on a quadratic model [8]_), 'saga',
        'svrg', 'gd' or 'agd'.
    step_size : float, default=None
        Step of 'sag', 'saga', 'svrg', 'sgd', 'asgd', 'gd' or 'agd', in inverse units of the smoothness of the
        objective. A given step is constant for 'sgd' and 'asgd', too. None takes the safe step of the theory and stores
        it in `step_size_`; 'sag' and 'saga' then take steps on blocks of 8 random rows, if there are many dense rows
        and ``sampling='auto'``. A step that makes the solver diverge raises an error that gives the safe step.
    sampling : {'auto', 'uniform', 'lipschitz'}, default='auto'
        How 'sag', 'saga', 'svrg', 'sgd' and 'asgd' draw rows. 'lipschitz' draws half of them in proportion to the
        smoothness of their loss, so that rows of large norm or weight do not force a small step; 'auto' does so if the
        largest smoothness is more than twice the mean.
    max_iter : int, default=1000
        Maximum number of epochs. An epoch is ``n_samples`` steps of a stochastic solver, or one step of another solver.
    tol : float, default=1e-6
        Stop when the duality gap is at most `tol` times the range of the objective, which is the difference between its
        value at the best constant prediction and its minimum. With ``alpha=0`` there is no such gap; then stop when the
        norm of the gradient is at most `tol` times its norm at zero. On tables of up to a million numbers, direct
        solvers continue to rounding error, and 'lbfgs' does on tables of up to 50 000.
    warm_start : bool, default=False
        Whether `fit` continues from the last fit. If the problem is the same, it resumes the full state of the solver,
        including gradient tables and dual variables, so that two fits of k epochs equal one of 2k. For another problem
        of the same shape it starts from the coefficients.
    random_state : int, RandomState instance or None, default=None
        Seed for the order of the rows in stochastic solvers.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of all rows. A class whose rows all have weight 0 gets a probability of about zero.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients of the score of the second of two classes, or of one score per class.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Dual variables of the certificate: derivatives of the losses, with zero weighted mean if there is an intercept.
        At the minimum with a ridge penalty, ``coef_ = -X.T @ (sample_weight / S * dual_coef_) / alpha``. Not set
        after a fit to Rows.
    n_iter_ : int
        Number of epochs of a stochastic solver, or of steps of another solver.
    dual_gap_ : float
        Upper bound on the difference between the objective and its minimum, in nats per sample for 'logistic'; inf for
        ``alpha=0``.
    trace_ : Trace
        Certificates computed during the fit, as arrays `passes`, `seconds`, `primal`, `dual` and `gap`.
    solver_ : str
        The algorithm that ran.
    solver_reason_ : str
        Why 'auto' chose it; empty if the solver was given.
    step_size_ : float or None
        Step that was used; None for solvers without a step.
    smoothness_ : tuple of two floats or None
        Largest and mean smoothness of the loss of one row as a function of the coefficients, weights included. Divided
        by `alpha`, these are the condition numbers of the problem for stochastic solvers. None for solvers that do not
        use them.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if all feature names of `X` are strings.

    See Also
    --------
    SAGRegressor : The same for numeric targets.
    duality_gap : Compute the certificate of any coefficients from scratch.
    compare_solvers : Run several solvers on one problem.
    sklearn.linear_model.LogisticRegression : The same model with `C` as a factor of the sum of the losses.

    References
    ----------
    .. [1] M. Schmidt, N. Le Roux, F. Bach, "Minimizing finite sums with the stochastic average gradient",
       Mathematical Programming 162, 2017, equation (5). arXiv:1309.2388
    .. [2] A. Defazio, F. Bach, S. Lacoste-Julien, "SAGA: a fast incremental gradient method with support for
       non-strongly convex composite objectives", NIPS 2014, equations (1) and (2). arXiv:1407.0202
    .. [3] D. Kovalev, S. Horvath, P. Richtarik, "Don't jump through hoops and remove those loops: SVRG and Katyusha are
       better without the outer loop", ALT 2020. arXiv:1901.08689
    .. [4] S. Shalev-Shwartz, T. Zhang, "Stochastic dual coordinate ascent methods for regularized loss minimization",
       JMLR 14, 2013. arXiv:1209.1873
    .. [5] H. Lin, J. Mairal, Z. Harchaoui, "A universal catalyst for first-order optimization", NIPS 2015.
       arXiv:1506.02186
    .. [6] F. Bach, E. Moulines, "Non-strongly-convex smooth stochastic approximation with convergence rate O(1/n)",
       NIPS 2013. arXiv:1306.2119
    .. [7] D. C. Liu, J. Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical
       Programming 45, 1989
    .. [8] J. Friedman, T. Hastie, R. Tibshirani, "Regularization paths for generalized linear models via coordinate
       descent", Journal of Statistical Software 33, 2010

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ltdl import SAGClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SAGClassifier().fit(X, y)
    >>> round(model.score(X, y), 2), model.solver_, model.dual_gap_ < 1e-12
    (0.99, 'newton', True)
    """

    _parameter_constraints: dict = {
        "loss": [Registered(LOSSES, members_of_linear, of_labels=True)],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        **_CONSTRAINTS,
    }

    def __init__(
        self,
        *,
        loss: str | Any = "logistic",
        alpha: float = 1e-3,
        l1_ratio: float = 0.0,
        class_weight: Any = None,
        fit_intercept: bool = True,
        solver: str = "auto",
        step_size: float | None = None,
        sampling: str = "auto",
        max_iter: int = 1000,
        tol: float = 1e-6,
        warm_start: bool = False,
        random_state: Seed = None,
    ) -> None:
        self.loss = loss
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.step_size = step_size
        self.sampling = sampling
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: MatrixLike | Rows, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the linear model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Rows
            Training data, preferably standardised. Float64 data in C or CSR order are not copied; nor,
            for an l1 norm, in Fortran or CSC order. Rows,
            which `scan` makes, and Dask collections are read block by block: see the guide on large tables.
        y : array-like of shape (n_samples,), or None for Rows
            Labels of two classes or more.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights. A weight of 2 counts a row twice; a row with weight 0 is ignored.

        Returns
        -------
        self : SAGClassifier
        """
        rows = rows_to_fit(self, X, y, sample_weight)
        if rows is not None:
            objective, options = self._objective(), self._options_of_rows()
            found = classification_of_rows(rows, objective, self.class_weight, options)
            self.classes_ = found.classes
            return self._publish_rows(found)
        task = self._task(X, y, sample_weight)
        with self._numbers_checked(X):
            fitted = self._solved(task, (X, y, sample_weight), classes_=task.classes)
        self.classes_: np.ndarray = task.classes
        return self._publish(fitted)

    def _task(self, X, y, sample_weight, *, classes=None, reset=True, whole=True):
        rows = read_classification(self, X, y, sample_weight, reset=reset, **self._layout(sample_weight))
        return classification_task(*rows, self._objective(), self.class_weight, classes, whole)

    @available_if(_steps_on_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Take one step of 'sgd' or 'asgd' on each given row, in order, starting where the last call ended.

        Nothing is certified, because one batch does not determine the gap on all the data. See `duality_gap`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,), default=None
            All labels; required in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights relative to the mean of the batch.

        Returns
        -------
        self : SAGClassifier
        """
        fresh = not hasattr(self, "coef_")
        if fresh and classes is None:
            raise ValueError("The first call of partial_fit needs classes, the list of all labels.")
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all labels at once; give partial_fit a dict of factors.")
        known = np.unique(classes) if classes is not None else self.classes_
        if not fresh and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes={list(classes)} differ from those of the first call, {self.classes_.tolist()}.")
        task = self._task(X, y, sample_weight, classes=known, reset=fresh, whole=False)
        with self._numbers_checked(X):
            self._go_on(task)
        self.classes_: np.ndarray = task.classes
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def path(
        self, X: MatrixLike, y: ArrayLike, alphas: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RegularizationPath:
        """Solve for several penalties, each starting at the solution for the next larger one; `self` is not fitted.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        alphas : array-like of shape (n_alphas,)
            Values of `alpha`, in any order.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        path : RegularizationPath
            Coefficients, intercepts and certified gaps, in the order of `alphas`.
        """
        task = clone(self)._task(X, y, sample_weight)  # validation does not write to this estimator
        with self._numbers_checked(X):
            return regularization_path(task, alphas, self.solver, **self._options())

    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """Return the score of the second of two classes (its log-odds for 'logistic'), or one score per class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        scores = self._scores(X)
        if len(self.classes_) > 2:
            return scores
        return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    @available_if(_has_probabilities)
    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the probability of each class, in the order of `classes_`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
        """
        return probabilities(self._scores(X))

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Return the class with the highest score.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]


def duality_gap(estimator: Any, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return an upper bound on the difference between an estimator's objective on given rows and its minimum.

    Parameters
    ----------
    estimator : SAGRegressor or SAGClassifier
        A fitted estimator, whose coefficients may have been changed since. Only `loss`, `alpha`, `l1_ratio`,
        `class_weight`, `coef_` and `intercept_` are used.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    gap : float
        Gap in units of the loss; inf for ``alpha=0``, where the dual has no finite value near the solution.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_ltdl import SAGRegressor, duality_gap
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = SAGRegressor(alpha=0.1).fit(X, y)
    >>> bool(duality_gap(model, X, y) <= 1e-6 * y.var())
    True
    """
    check_is_fitted(estimator)
    known = {"classes": estimator.classes_} if is_classifier(estimator) else {}
    task = estimator._task(X, y, sample_weight, reset=False, **known)
    with estimator._numbers_checked(X):
        return task.gap(estimator.coef_, estimator.intercept_)
