"""Linear regression and classification by minimising a finite sum."""

from copy import deepcopy
from dataclasses import replace
from numbers import Integral, Real
from typing import Self

import numpy as np
from scipy import sparse
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
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
from sklearn_ltdl._targets import encode_classes, one_hot, read_classification, read_regression, weights_of_classes
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._solvers import SOLVERS, Draw, choose, descend, is_tame
from sklearn_ltdl.losses import LOSSES, Huber, Logistic, Multinomial, SmoothHinge, members_of_linear, probabilities
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
_LAYOUT = {"accept_sparse": "csr", "order": "C"}


def _steps_on_batches(estimator):
    return estimator.solver in ("sgd", "asgd")


def _has_probabilities(estimator):
    return estimator.loss in ("logistic", "multinomial") or isinstance(estimator.loss, Logistic | Multinomial)


class SAGRegressor(CallbackSupportMixin, RegressorMixin, BaseEstimator):
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
        second order: 'cholesky', 'newton','newton-cg'. With an l1 norm: 'saga', 'svrg', 'gd' or 'agd'.
    step_size : float, default=None
        The step of 'sag', 'saga', 'svrg', 'sgd', 'asgd', 'gd' or 'agd', in inverse units of the smoothness of the
        objective; constant for 'sgd' and 'asgd'. None is the safe step of the theory, which is found in `step_size_`.
        A step that leads away from the minimum is an error that names the safe one.
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
        loss="squared",
        alpha=1e-3,
        l1_ratio=0.0,
        fit_intercept=True,
        solver="auto",
        step_size=None,
        sampling="auto",
        max_iter=1000,
        tol=1e-6,
        warm_start=False,
        random_state=None,
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
    def fit(self, X, y, sample_weight=None) -> Self:
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
        problem, kept = _regression_problem(self, X, y, sample_weight)
        return _minimise(self, problem, kept, (X, y, sample_weight))

    @available_if(_steps_on_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None) -> Self:
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
        problem, _ = _regression_problem(self, X, y, sample_weight, reset=not hasattr(self, "coef_"), whole=False)
        return _step_on_rows(self, problem)

    def path(self, X, y, alphas, sample_weight=None) -> RegularizationPath:
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
        return _path(self, X, y, alphas, sample_weight)

    def predict(self, X) -> np.ndarray:
        """Return the predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return _margins(self, X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags


class SAGClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
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
        second order: 'newton','newton-cg'. With an l1 norm: 'saga', 'svrg', 'gd' or 'agd'.
    step_size : float, default=None
        The step of 'sag', 'saga', 'svrg', 'sgd', 'asgd', 'gd' or 'agd', in inverse units of the smoothness of the
        objective; constant for 'sgd' and 'asgd'. None is the safe step of the theory, which is found in `step_size_`.
        A step that leads away from the minimum is an error that names the safe one.
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
        loss="logistic",
        alpha=1e-3,
        l1_ratio=0.0,
        class_weight=None,
        fit_intercept=True,
        solver="auto",
        step_size=None,
        sampling="auto",
        max_iter=1000,
        tol=1e-6,
        warm_start=False,
        random_state=None,
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
    def fit(self, X, y, sample_weight=None) -> Self:
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
        problem, kept, classes = _classification_problem(self, X, y, sample_weight)
        return _minimise(self, problem, kept, (X, y, sample_weight), classes_=classes)

    @available_if(_steps_on_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None) -> Self:
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
        problem, _, self.classes_ = _classification_problem(self, X, y, sample_weight, known, reset=fresh, whole=False)
        return _step_on_rows(self, problem)

    def path(self, X, y, alphas, sample_weight=None) -> RegularizationPath:
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
        return _path(self, X, y, alphas, sample_weight)

    def decision_function(self, X) -> np.ndarray:
        """Return the score of the second of two classes (its log-odds, for 'logistic'), or those of each of more.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        scores = _margins(self, X)
        if len(self.classes_) > 2:
            return scores
        return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    @available_if(_has_probabilities)
    def predict_proba(self, X) -> np.ndarray:
        """Return the probability of each class, in the order of `classes_`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
        """
        return probabilities(_margins(self, X))

    def predict(self, X) -> np.ndarray:
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def duality_gap(estimator, X, y, sample_weight=None) -> float:
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
    if is_classifier(estimator):
        problem = _classification_problem(estimator, X, y, sample_weight, estimator.classes_, reset=False)[0]
    else:
        problem = _regression_problem(estimator, X, y, sample_weight, reset=False)[0]
    coef, intercept = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    if problem.present is None:
        return problem.at(coef, problem.intercept_here(coef, intercept), best=False).gap
    some, absent = coef[problem.present], coef[~problem.present]
    point = problem.at(some, problem.intercept_here(some, intercept[problem.present]), best=False)
    scores = np.hstack(
        [point.margins, problem.X @ absent.T + problem.intercept_here(absent, intercept[~problem.present])]
    )
    added = problem.share @ (logsumexp(scores, axis=1) - logsumexp(point.margins, axis=1))
    return point.gap + float(added) + problem.l2 / 2 * np.sum(absent**2) + problem.l1 * np.sum(np.abs(absent))


def _regression_problem(estimator, X, y, sample_weight, reset=True, whole=True):
    """Return the finite sum, and which rows have positive weight; columns of a batch, not `whole`, stay as they are."""
    X, y, weight = read_regression(estimator, X, y, sample_weight, reset=reset, **_LAYOUT)
    X, weight, y, kept = _weighted_rows(X, weight, y)
    loss, Y = _loss_of(estimator), y.reshape(len(y), -1)
    if getattr(loss, "of_labels", False) and not (Y.min() >= 0 and Y.max() <= 1):
        raise ValueError(
            f"loss={loss} is for y between 0 and 1; got values from {Y.min():g} to {Y.max():g}. Use SAGClassifier for "
            "labels."
        )
    problem = _problem_of(estimator, X, Y, loss, weight, whole)
    problem.one_column = y.ndim == 1
    return problem, kept


def _classification_problem(estimator, X, y, sample_weight, classes=None, reset=True, whole=True):
    """Return the finite sum, which rows have positive weight, and the classes: those of all rows, if not given."""
    X, y, weight = read_classification(estimator, X, y, sample_weight, reset=reset, **_LAYOUT)
    classes, codes = encode_classes(y, weight, classes)
    weight = weights_of_classes(estimator.class_weight, classes, codes, weight)
    X, weight, codes, kept = _weighted_rows(X, weight, codes)
    loss, n_classes = _loss_of(estimator), len(classes)
    if isinstance(loss, Logistic) and n_classes > 2:
        loss = Multinomial()
    present = np.bincount(codes, minlength=n_classes) > 0
    if not whole or present.all() or not (loss.coupled and estimator.fit_intercept):
        present = None
        Y = np.eye(2)[codes] if loss.coupled and n_classes == 2 else one_hot(codes, n_classes)
    else:  # the likelihood of classes without rows has no maximum: their intercepts fall for ever
        Y = np.eye(n_classes)[codes][:, present]
    problem = _problem_of(estimator, X, Y, loss, weight, whole)
    problem.one_column, problem.present = False, present
    return problem, kept, classes


def _problem_of(estimator, X, Y, loss, weight, whole):
    build = FiniteSum.centred if whole else FiniteSum
    return build(X, Y, loss, estimator.alpha, weight, estimator.fit_intercept, estimator.l1_ratio)


def _loss_of(estimator):
    loss = LOSSES.resolve(estimator.loss)
    if isinstance(loss, Huber | SmoothHinge) and not 0 < loss[0] < np.inf:
        raise ValueError(f"loss={loss} needs a positive, finite {loss._fields[0]}.")
    return loss


def _weighted_rows(X, weight, y):
    """Return the rows of positive weight in the layout of the solvers, their weights, targets and positions."""
    if sparse.issparse(X):
        X = sparse.csr_array(X)  # of a matrix, sums are matrices
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        if X.indices.dtype != np.int32 and max(X.nnz, *X.shape) < 2**31:  # one type of index is compiled
            X = sparse.csr_array((X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)), X.shape)
    if np.all(weight > 0):
        return X, weight, y, slice(None)
    kept = weight > 0
    return X[kept], weight[kept], y[kept], kept


def _minimise(estimator, problem, kept, shown, **known):
    """Solve the finite sum of an estimator and store what came back, and what is known."""
    state = _state_to_go_on_from(estimator, problem)
    seed = draw_seed(estimator.random_state)

    def attributes(coef, intercept):
        return {**known, **_shaped(problem, coef.copy(), intercept.copy())}

    with fit_tasks(estimator, *shown, attributes=attributes, max_subtasks=estimator.max_iter + 1) as tell:
        solution = SOLVERS[estimator.solver](
            problem,
            tol=estimator.tol,
            max_iter=estimator.max_iter,
            seed=seed,
            step=estimator.step_size,
            sampling=estimator.sampling,
            state=state,
            tell=tell,
        )
    solution = _as_published(problem, solution, estimator.tol)
    if solution.status is not Status.STOPPED:
        warn_unless_converged(solution, _remedy(estimator, problem, solution))
    for name, value in attributes(solution.coef, solution.intercept).items():
        setattr(estimator, name, value)
    n_rows = len(problem.Y) if isinstance(kept, slice) else len(kept)
    dual = np.zeros((n_rows, problem.Y.shape[1]))
    dual[kept] = solution.slopes
    if problem.present is not None:
        dual = dual @ np.eye(len(problem.present))[problem.present]
    estimator.dual_coef_ = (
        dual[:, 0] if dual.shape[1] == 1 and (problem.one_column or is_classifier(estimator)) else dual
    )
    estimator.n_iter_, estimator.dual_gap_, estimator.trace_ = solution.n_iter, solution.gap, solution.trace
    estimator.solver_, estimator.solver_reason_ = solution.solver, solution.reason
    estimator.step_size_ = solution.step
    terms = vars(problem).get("term_smoothness")
    estimator.smoothness_ = None if terms is None else (float(terms.max()), float(terms.mean()))
    if estimator.warm_start:
        estimator._state = {**state, "solver": solution.solver, "of": problem.fingerprint}
    return estimator


def _as_published(problem, solution, tol):
    """Return the solution with the gap of the intercept as it is published, which rounding moves in columns far off."""
    here = problem.intercept_here(solution.coef, problem.published(solution.coef, solution.intercept))
    if np.array_equal(here, solution.intercept):
        return solution
    point = problem.at(solution.coef, here, best=False)
    converged = solution.status is Status.CONVERGED and problem.status(point, tol) is not Status.CONVERGED
    return replace(solution, gap=point.gap, status=Status.ROUNDED if converged else solution.status)


def _of_absent(problem, coef, intercept):
    """Return the intercept of classes without rows: each gets at most exp(-40), less than rounding, at every row."""
    return np.min(logsumexp(problem.at(coef, intercept, best=False).margins, axis=1)) - 40.0


def _shaped(problem, coef, intercept):
    low = _of_absent(problem, coef, intercept) if problem.present is not None else None
    intercept = problem.published(coef, intercept)
    if low is not None:
        coef, some = np.eye(len(problem.present))[:, problem.present] @ coef, intercept
        intercept = np.full(len(coef), low)
        intercept[problem.present] = some
    if problem.one_column:
        return {"coef_": coef[0], "intercept_": float(intercept[0])}
    return {"coef_": coef, "intercept_": intercept}


def _state_to_go_on_from(estimator, problem):
    """Return the state of the last fit for a warm start, its coefficients if the problem or the solver is another."""
    state = getattr(estimator, "_state", None)
    shape = (problem.Y.shape[1], problem.X.shape[1])
    if not estimator.warm_start or state is None or state["coef"].shape != shape:
        return {}
    name = choose(problem)[0] if estimator.solver == "auto" else estimator.solver
    if (name, problem.fingerprint) == (state["solver"], state.get("of")):
        return deepcopy(state)  # what goes wrong on the way is not gone on from
    coef, intercept = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    if problem.present is not None:
        coef, intercept = coef[problem.present], intercept[problem.present]
    return {"coef": coef, "intercept": problem.intercept_here(coef, intercept) * float(problem.fit_intercept)}


def _step_on_rows(estimator, problem):
    if estimator.l1_ratio > 0:
        raise ValueError(f"solver='{estimator.solver}' is for l1_ratio=0; got {estimator.l1_ratio}.")
    state = deepcopy(getattr(estimator, "_state", None)) if hasattr(estimator, "coef_") else None
    if state is None or state.get("solver") != "partial_fit":
        state = {"solver": "partial_fit", "largest": 0.0}
        if hasattr(estimator, "coef_"):
            state.update(coef=np.atleast_2d(estimator.coef_), intercept=np.atleast_1d(estimator.intercept_))
    n_outputs, known = problem.Y.shape[1], state.get("coef")
    if known is not None and len(known) != n_outputs:
        raise ValueError(f"y has {n_outputs} outputs, but the last call had {len(known)}; call fit to start anew.")
    draw = Draw(problem, "uniform")
    draw.smoothness = state["largest"] = max(draw.smoothness, state["largest"])
    averaged = estimator.solver == "asgd"
    descend(problem, state, np.arange(len(problem.Y)), draw, estimator.step_size, averaged)
    coef, intercept = (state["mean"], state["mean_intercept"]) if averaged else (state["coef"], state["intercept"])
    if not is_tame(state["coef"], state["intercept"]):
        raise ValueError(
            f"step_size={estimator.step_size:g} is too large for solver='{estimator.solver}': coefficients diverge. "
            f"The safe step is {state['safe_step']:.3g}; the estimator is as before this call."
        )
    for name, value in _shaped(problem, coef.copy(), intercept.copy()).items():
        setattr(estimator, name, value)
    for name in ("dual_gap_", "dual_coef_", "trace_"):
        estimator.__dict__.pop(name, None)  # they were those of other coefficients
    estimator._state, estimator.step_size_, estimator.solver_ = state, state["step"], estimator.solver
    estimator.n_iter_ = getattr(estimator, "n_iter_", 0) + 1
    return estimator


@_fit_context(prefer_skip_nested_validation=True)
def _path(estimator, X, y, alphas, sample_weight):
    alphas = np.asarray(alphas, dtype=float)
    if alphas.ndim != 1 or not len(alphas) or not np.all(np.isfinite(alphas)) or np.any(alphas < 0):
        raise ValueError(f"alphas must be a list of finite numbers of at least 0; got {alphas!r}.")
    if is_classifier(estimator):
        problem = _classification_problem(estimator, X, y, sample_weight)[0]
    else:
        problem = _regression_problem(estimator, X, y, sample_weight)[0]
    seed, state, solutions = draw_seed(estimator.random_state), {}, {}
    for i in np.argsort(-alphas, kind="stable"):
        solutions[i] = SOLVERS[estimator.solver](
            problem.with_alpha(alphas[i]),
            tol=estimator.tol,
            max_iter=estimator.max_iter,
            seed=seed,
            step=estimator.step_size,
            sampling=estimator.sampling,
            state=state,
        )
        warn_unless_converged(solutions[i], f"At alpha={alphas[i]:g}. Raise max_iter or tol.")
        state = {"coef": solutions[i].coef, "intercept": solutions[i].intercept}
    ordered = [solutions[i] for i in range(len(alphas))]
    shaped = [_shaped(problem, s.coef, s.intercept) for s in ordered]
    return RegularizationPath(
        alphas,
        np.array([s["coef_"] for s in shaped]),
        np.array([s["intercept_"] for s in shaped]),
        np.array([s.gap for s in ordered]),
        np.array([s.n_iter for s in ordered]),
        tuple(s.solver for s in ordered),
    )


def _remedy(estimator, problem, solution):
    """Return what to change, naming the columns where their scales are what makes the problem hard."""
    if solution.status is Status.SEPARABLE:
        return "Give alpha a positive value."
    if solution.status not in (Status.OUT_OF_STEPS, Status.ROUNDED):
        return "Standardise the features, or leave the choice to solver='auto'."
    size = problem.column_sizes()
    low, high = int(np.argmin(np.where(size > 0, size, np.inf))), int(np.argmax(size))
    scales = ""
    if size[high] > 1e3 * size[low] > 0:
        names = getattr(estimator, "feature_names_in_", np.arange(len(size)))
        least, most = f"{size[low]:.1e} ({names[low]})", f"{size[high]:.1e} ({names[high]})"
        scales = f" The columns of X differ in scale, from {least} to {most}."
    if solution.status is Status.ROUNDED:
        return f"Standardise the features (StandardScaler), or raise alpha or tol.{scales}"
    return f"Standardise the features, raise max_iter or alpha, or leave the choice to solver='auto'.{scales}"


def _margins(estimator, X):
    check_is_fitted(estimator)
    X = checked_rows(estimator, X, accept_sparse="csr")
    return X @ estimator.coef_.T + estimator.intercept_
