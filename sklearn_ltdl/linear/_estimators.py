"""Linear regression and classification by minimising a finite sum."""

from contextlib import contextmanager
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
    LAYOUT,
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
from sklearn_ltdl.losses import LOSSES, Logistic, Multinomial, members_of_linear, probabilities
from sklearn_ltdl.results import RegularizationPath, Status, warn_unless_converged

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
    """What the two estimators share: each makes a `Task` of its data, and this class solves and publishes it."""

    def _objective(self):
        return Objective(self.loss, self.alpha, self.l1_ratio, self.fit_intercept)

    def _layout(self, sample_weight):
        """Return how X is read: numbers that are not finite show in a sum of squares, but for rows without weight."""
        return {**LAYOUT, "ensure_all_finite": sample_weight is not None}

    @contextmanager
    def _numbers_checked(self, X):
        """Raise the error that names what is not finite in X, if this is why a task cannot be stated."""
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
        """Return what a fit found; callbacks hear of its epochs, with the attributes that are known besides."""
        state = {}
        if self.warm_start and hasattr(self, "coef_"):
            last = getattr(self, "_state", None)
            state = state_to_go_on_from(task, self.solver, last, self.coef_, self.intercept_)

        def attributes(*iterate):
            coef, intercept = task.published(*iterate)
            return {**known, "coef_": coef, "intercept_": intercept}

        with fit_tasks(self, *shown, attributes=attributes, max_subtasks=self.max_iter + 1) as tell:
            fitted = solve(task, self.solver, state, tell, **self._options())
        status = fitted.solution.status
        if status is not Status.STOPPED:
            names = getattr(self, "feature_names_in_", None)
            warn_unless_converged(fitted.solution, remedy(task.problem, status, names))
        return fitted

    def _publish(self, fitted):
        solution = fitted.solution
        self.coef_, self.intercept_, self.dual_coef_ = fitted.coef, fitted.intercept, fitted.dual
        self.n_iter_, self.dual_gap_, self.trace_ = solution.n_iter, solution.gap, solution.trace
        self.solver_, self.solver_reason_ = solution.solver, solution.reason
        self.step_size_, self.smoothness_ = solution.step, solution.smoothness
        if self.warm_start:
            self._state = fitted.resumable()
        return self

    def _go_on(self, task):
        """Take the steps of `partial_fit`."""
        state = getattr(self, "_state", {})
        if state.get("solver") != "partial_fit":
            known = hasattr(self, "coef_")
            state = {"coef": np.atleast_2d(self.coef_), "intercept": np.atleast_1d(self.intercept_)} if known else {}
        self.coef_, self.intercept_, self._state = step_on_rows(task, self.solver, self.step_size, state)
        self.step_size_, self.solver_ = self._state["step"], self.solver
        self.n_iter_ = getattr(self, "n_iter_", 0) + 1
        for of_other_coefficients in ("dual_gap_", "dual_coef_", "trace_"):
            vars(self).pop(of_other_coefficients, None)
        return self

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
    sample weights :math:`s_i` of sum S. Losses of several outputs are summed, and the intercept is not penalised. The
    fit is as accurate as `tol` says whatever the solver, because it stops on a duality gap.

    Parameters
    ----------
    loss : {'squared', 'huber'} or loss object, default='squared'
        Loss of one prediction, in squared units of `y`. 'huber' is the squared loss up to residuals of 1, linear
        beyond; ``Huber(delta)`` has another threshold. An object is a NamedTuple as in ``sklearn_ltdl.losses``.
    alpha : float, default=1e-3
        Weight of the penalty against the *mean* loss, at least 0. ``Ridge(alpha=a)`` is ``alpha = a / S``, with S the
        number of samples or the sum of their weights (`alpha_from_ridge`); ``Lasso(alpha=a)`` and ``ElasticNet`` are
        the same `alpha`.
    l1_ratio : float, default=0.0
        The share r of the l1 norm in the penalty: 0 is ridge, 1 the lasso.
    fit_intercept : bool, default=True
        Whether to add a constant, which is not penalised and exact also for sparse data.
    solver : str, default='auto'
        'auto' takes the one that should be the fastest, and says which and why in `solver_` and `solver_reason_`.
        Stochastic, on dense or CSR data: 'sag' [1]_, 'saga' [2]_, 'svrg' (loopless [3]_), 'sdca' [4]_, 'catalyst'
        (the same, accelerated [5]_), 'sgd', 'asgd' (averaged [6]_). Of the full gradient: 'gd', 'agd' (Nesterov's). Of
        second order: 'cholesky', 'newton', 'newton-cg', 'lbfgs' [7]_. With an l1 norm: 'cd' (coordinate descent [8]_),
        'saga', 'svrg', 'gd' or 'agd'.
    step_size : float, default=None
        The step of 'sag', 'saga', 'svrg', 'sgd', 'asgd', 'gd' or 'agd', in inverse units of the smoothness of the
        objective; constant for 'sgd' and 'asgd'. None is the safe step of the theory, which is found in `step_size_`;
        'sag' and 'saga' then take steps on blocks of 8 random rows, if there are many dense rows and
        ``sampling='auto'``. A step that leads away from the minimum is an error that names the safe one.
    sampling : {'auto', 'uniform', 'lipschitz'}, default='auto'
        How 'sag', 'saga', 'svrg', 'sgd' and 'asgd' draw rows. 'lipschitz' draws half of them in proportion to the
        smoothness of their loss, so that long or heavy rows do not dictate the step; 'auto' does so where the largest
        smoothness is more than twice the mean.
    max_iter : int, default=1000
        Most epochs: ``n_samples`` steps of a stochastic solver, one of another.
    tol : float, default=1e-6
        Stop when the duality gap is at most `tol` times the range of the objective, from its value at the best
        constant prediction to its minimum. With ``alpha=0``, where there is no such gap, when the gradient is at most
        `tol` times its length at zero. Direct solvers go on to rounding error on tables of up to a million numbers.
    warm_start : bool, default=False
        Whether `fit` goes on from the state of the last one, tables of gradients and dual variables included, if the
        problem is the same: two fits of k epochs are one of 2k. Of another problem of the same shape it starts from
        the coefficients.
    random_state : int, RandomState instance or None, default=None
        Order of the rows in stochastic solvers.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_outputs, n_features)
        In units of `y` per unit of each feature; one row an output where `y` has two dimensions.
    intercept_ : float or ndarray of shape (n_outputs,)
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Dual variables of the certificate: derivatives of the losses, of zero weighted mean if there is an intercept. At
        the minimum of a ridge penalty ``coef_ = -X.T @ (sample_weight / S * dual_coef_) / alpha``.
    n_iter_ : int
        Epochs of a stochastic solver, steps of another.
    dual_gap_ : float
        Upper bound on how far the objective is from its minimum, in squared units of `y`; inf for ``alpha=0``.
    trace_ : Trace
        Arrays `passes`, `seconds`, `primal`, `dual`, `gap`: the certificates on the way.
    solver_ : str
        The algorithm that ran.
    solver_reason_ : str
        Why 'auto' took it; empty if it was asked for.
    step_size_ : float or None
        The step taken; None for solvers without one.
    smoothness_ : tuple of two floats or None
        Largest and mean smoothness of the loss of a row as a function of the coefficients, weights included: over
        `alpha`, the condition numbers that stochastic solvers see. None where no solver asked.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where `X` has feature names that are all strings.

    See Also
    --------
    SAGClassifier : The same for labels.
    duality_gap : The certificate of any coefficients, from scratch.
    compare_solvers : Several solvers on one problem.
    sklearn.linear_model.Ridge : The same model with `alpha` against the sum of the losses.

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
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the linear model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Best standardised. Float64 data in C or CSR order are not copied.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative; a weight of 2 is a row given twice.

        Returns
        -------
        self : SAGRegressor
        """
        task = self._task(X, y, sample_weight)
        return self._publish(self._solved(task, (X, y, sample_weight)))

    def _task(self, X, y, sample_weight, *, reset=True, whole=True):
        rows = read_regression(self, X, y, sample_weight, reset=reset, **self._layout(sample_weight))
        with self._numbers_checked(X):
            return regression_task(*rows, self._objective(), whole)

    @available_if(_steps_on_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Take a step of 'sgd' or 'asgd' on each of these rows, in their order, going on from the last call.

        Nothing is certified: one batch says nothing of the gap on all of them. See `duality_gap`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            Against the mean of the batch.

        Returns
        -------
        self : SAGRegressor
        """
        return self._go_on(self._task(X, y, sample_weight, reset=not hasattr(self, "coef_"), whole=False))

    @_fit_context(prefer_skip_nested_validation=True)
    def path(
        self, X: MatrixLike, y: ArrayLike, alphas: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RegularizationPath:
        """Solve for several penalties, each from the solution of the next larger one, without fitting `self`.

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
    weights :math:`s_i` of sum S. The intercept is not penalised. The fit is as accurate as `tol` says whatever the
    solver, because it stops on a duality gap.

    Parameters
    ----------
    loss : {'logistic', 'multinomial', 'squared_hinge', 'smooth_hinge'} or loss object, default='logistic'
        'logistic' is minus the log-likelihood of the label, multinomial for more than two classes; 'multinomial' has a
        score for each of two classes as well. 'squared_hinge' is ``max(0, 1 - m)^2`` for a margin m, 'smooth_hinge' is
        linear from a lack of margin of 1 on (``SmoothHinge(gamma)``); of more than two classes each is set against the
        rest, and there are no probabilities.
    alpha : float, default=1e-3
        Weight of the penalty against the *mean* loss, at least 0. ``C`` of ``LogisticRegression`` and of
        ``LinearSVC(loss='squared_hinge')`` is ``alpha = 1 / (C * S)``, with S the number of samples or the sum of their
        weights (`alpha_from_c`); ``LinearSVC`` penalises its intercept.
    l1_ratio : float, default=0.0
        The share r of the l1 norm in the penalty: 0 is ridge, 1 the lasso.
    class_weight : dict, 'balanced' or None, default=None
        Factors of the sample weights by label; 'balanced' gives each class the same total.
    fit_intercept : bool, default=True
        Whether to add a constant, which is not penalised and exact also for sparse data.
    solver : str, default='auto'
        'auto' takes the one that should be the fastest, and says which and why in `solver_` and `solver_reason_`.
        Stochastic, on dense or CSR data: 'sag' [1]_, 'saga' [2]_, 'svrg' (loopless [3]_), 'sdca' [4]_, 'catalyst'
        (the same, accelerated [5]_), 'sgd', 'asgd' (averaged [6]_). Of the full gradient: 'gd', 'agd' (Nesterov's). Of
        second order: 'newton', 'newton-cg', 'lbfgs' [7]_. With an l1 norm: 'cd' (coordinate descent on a quadratic
        model [8]_; not for 'multinomial'), 'saga', 'svrg', 'gd' or 'agd'.
    step_size : float, default=None
        The step of 'sag', 'saga', 'svrg', 'sgd', 'asgd', 'gd' or 'agd', in inverse units of the smoothness of the
        objective; constant for 'sgd' and 'asgd'. None is the safe step of the theory, which is found in `step_size_`;
        'sag' and 'saga' then take steps on blocks of 8 random rows, if there are many dense rows and
        ``sampling='auto'``. A step that leads away from the minimum is an error that names the safe one.
    sampling : {'auto', 'uniform', 'lipschitz'}, default='auto'
        How 'sag', 'saga', 'svrg', 'sgd' and 'asgd' draw rows. 'lipschitz' draws half of them in proportion to the
        smoothness of their loss, so that long or heavy rows do not dictate the step; 'auto' does so where the largest
        smoothness is more than twice the mean.
    max_iter : int, default=1000
        Most epochs: ``n_samples`` steps of a stochastic solver, one of another.
    tol : float, default=1e-6
        Stop when the duality gap is at most `tol` times the range of the objective, from its value at the best
        constant prediction to its minimum. With ``alpha=0``, where there is no such gap, when the gradient is at most
        `tol` times its length at zero. Direct solvers go on to rounding error on tables of up to a million numbers.
    warm_start : bool, default=False
        Whether `fit` goes on from the state of the last one, tables of gradients and dual variables included, if the
        problem is the same: two fits of k epochs are one of 2k. Of another problem of the same shape it starts from
        the coefficients.
    random_state : int, RandomState instance or None, default=None
        Order of the rows in stochastic solvers.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of all rows. A class whose rows all weigh nothing gets no more than rounding of their probability.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Of the score of the second class, or of the scores of each of more than two.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Dual variables of the certificate: derivatives of the losses, of zero weighted mean if there is an intercept. At
        the minimum of a ridge penalty ``coef_ = -X.T @ (sample_weight / S * dual_coef_) / alpha``.
    n_iter_ : int
        Epochs of a stochastic solver, steps of another.
    dual_gap_ : float
        Upper bound on how far the objective is from its minimum, in nats a sample for 'logistic'; inf for
        ``alpha=0``.
    trace_ : Trace
        Arrays `passes`, `seconds`, `primal`, `dual`, `gap`: the certificates on the way.
    solver_ : str
        The algorithm that ran.
    solver_reason_ : str
        Why 'auto' took it; empty if it was asked for.
    step_size_ : float or None
        The step taken; None for solvers without one.
    smoothness_ : tuple of two floats or None
        Largest and mean smoothness of the loss of a row as a function of the coefficients, weights included: over
        `alpha`, the condition numbers that stochastic solvers see. None where no solver asked.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where `X` has feature names that are all strings.

    See Also
    --------
    SAGRegressor : The same for numbers.
    duality_gap : The certificate of any coefficients, from scratch.
    compare_solvers : Several solvers on one problem.
    sklearn.linear_model.LogisticRegression : The same model with `C` on the sum of the losses.

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
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the linear model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Best standardised. Float64 data in C or CSR order are not copied.
        y : array-like of shape (n_samples,)
            Labels of two classes or more.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative; a weight of 2 is a row given twice, a weight of 0 a row left out.

        Returns
        -------
        self : SAGClassifier
        """
        task = self._task(X, y, sample_weight)
        fitted = self._solved(task, (X, y, sample_weight), classes_=task.classes)
        self.classes_ = task.classes
        return self._publish(fitted)

    def _task(self, X, y, sample_weight, *, classes=None, reset=True, whole=True):
        rows = read_classification(self, X, y, sample_weight, reset=reset, **self._layout(sample_weight))
        with self._numbers_checked(X):
            return classification_task(*rows, self._objective(), self.class_weight, classes, whole)

    @available_if(_steps_on_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Take a step of 'sgd' or 'asgd' on each of these rows, in their order, going on from the last call.

        Nothing is certified: one batch says nothing of the gap on all of them. See `duality_gap`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,), default=None
            All labels, needed in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Against the mean of the batch.

        Returns
        -------
        self : SAGClassifier
        """
        fresh = not hasattr(self, "coef_")
        if fresh and classes is None:
            raise ValueError("The first call of partial_fit needs classes, all labels that will come.")
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all labels at once; give partial_fit a dict of factors.")
        known = np.unique(classes) if classes is not None else self.classes_
        if not fresh and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes={list(classes)} differ from those of the first call, {self.classes_.tolist()}.")
        task = self._task(X, y, sample_weight, classes=known, reset=fresh, whole=False)
        self._go_on(task)
        self.classes_ = task.classes
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def path(
        self, X: MatrixLike, y: ArrayLike, alphas: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RegularizationPath:
        """Solve for several penalties, each from the solution of the next larger one, without fitting `self`.

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
        return regularization_path(task, alphas, self.solver, **self._options())

    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """Return the score of the second of two classes (its log-odds, for 'logistic'), or those of each of more.

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
        """Return the class of the highest score.

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
    """Return an upper bound on how far the objective of an estimator is from its minimum on given rows, from scratch.

    Parameters
    ----------
    estimator : SAGRegressor or SAGClassifier
        Fitted; its coefficients may have been changed since. What counts are its `loss`, `alpha`, `l1_ratio`,
        `class_weight`, `coef_` and `intercept_`.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    gap : float
        In units of the loss; inf for ``alpha=0``, where the dual has no finite value near the solution.

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
    return task.gap(estimator.coef_, estimator.intercept_)
