"""Linear regression and classification by minimising a finite sum."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_ltdl._sklearn import HasMethods, Interval, NameIn, StrOptions, _fit_context, check_weights, draw_seed
from sklearn_ltdl._targets import classification_loss, one_hot
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._solvers import SOLVERS
from sklearn_ltdl.losses import LOSSES, probabilities
from sklearn_ltdl.results import Status, warn_unless_converged

_CONSTRAINTS = {
    "alpha": [Interval(Real, 0, None, closed="left")],
    "fit_intercept": ["boolean"],
    "solver": [NameIn(SOLVERS)],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "random_state": ["random_state"],
}
_LAYOUT = {"accept_sparse": "csr", "dtype": np.float64, "order": "C"}


class SAGRegressor(RegressorMixin, BaseEstimator):
    r"""Linear regression by minimising a finite sum, with a certificate of the minimum.

    Minimises :math:`\frac{1}{S} \sum_i s_i \ell(w \cdot x_i + b, y_i) + \frac{\alpha}{2} |w|^2` with sample weights
    :math:`s_i` of sum S. Losses of several outputs are summed, and the intercept is not penalised. The fit is as
    accurate as `tol` says whatever the solver, because it stops on a duality gap.

    Parameters
    ----------
    loss : {'squared'} or loss object, default='squared'
        Loss of one prediction, in squared units of `y`. An object is a NamedTuple as in ``sklearn_ltdl.losses``.
    alpha : float, default=1e-3
        Weight of ``|coef|^2 / 2`` against the *mean* loss, at least 0. ``Ridge(alpha=a)`` is ``alpha = a / S``, with S
        the number of samples or the sum of their weights.
    fit_intercept : bool, default=True
        Whether to add a constant, which is not penalised and exact also for sparse data.
    solver : {'auto', 'cholesky', 'newton', 'sag', 'saga'}, default='auto'
        'sag' and 'saga' are those algorithms [1]_ [2]_, on dense or CSR data; both are sensitive to the scale of the
        features. 'cholesky' factorises once, 'newton' in each step. 'auto' is direct where a factorisation is
        affordable (up to 2000 samples or features; 1000 for losses that are not quadratic), else 'sag'.
    max_iter : int, default=1000
        Most passes over the data.
    tol : float, default=1e-6
        Stop when the duality gap is at most `tol` times the range of the objective, from its value at the best
        constant prediction to its minimum. With ``alpha=0``, where there is no such gap, when the gradient is at most
        `tol` times its length at zero. Direct solvers go on to rounding error.
    random_state : int, RandomState instance or None, default=None
        Order of the rows in 'sag' and 'saga'.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_outputs, n_features)
        In units of `y` per unit of each feature; one row an output where `y` has two dimensions.
    intercept_ : float or ndarray of shape (n_outputs,)
    n_iter_ : int
        Passes over the data, or Newton steps.
    dual_gap_ : float
        Upper bound on how far the objective is from its minimum, in squared units of `y`; inf for ``alpha=0``.
    solver_ : str
        The algorithm that ran.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where `X` has feature names that are all strings.

    See Also
    --------
    SAGClassifier : The same for labels.
    sklearn.linear_model.Ridge : The same model with `alpha` against the sum of the losses.

    References
    ----------
    .. [1] M. Schmidt, N. Le Roux, F. Bach, "Minimizing finite sums with the stochastic average gradient",
       Mathematical Programming 162, 2017, equation (5). arXiv:1309.2388
    .. [2] A. Defazio, F. Bach, S. Lacoste-Julien, "SAGA: a fast incremental gradient method with support for
       non-strongly convex composite objectives", NIPS 2014, equations (1) and (2). arXiv:1407.0202

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

    _parameter_constraints: dict = {
        "loss": [StrOptions({"squared"}), HasMethods(["value", "derivative", "second_derivative", "fenchel_young"])],
        **_CONSTRAINTS,
    }

    def __init__(
        self,
        *,
        loss="squared",
        alpha=1e-3,
        fit_intercept=True,
        solver="auto",
        max_iter=1000,
        tol=1e-6,
        random_state=None,
    ):
        self.loss = loss
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
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
        X, y = validate_data(self, X, y, **_LAYOUT, y_numeric=True, multi_output=True)
        X, weight, Y = _weighted_rows(X, sample_weight, np.asarray(y, dtype=np.float64).reshape(len(y), -1))
        _minimise(self, X, Y, LOSSES.resolve(self.loss), weight)
        if np.ndim(y) == 1:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])
        return self

    def predict(self, X):
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


class SAGClassifier(ClassifierMixin, BaseEstimator):
    r"""Logistic regression by minimising a finite sum, with a certificate of the minimum.

    Minimises :math:`\frac{1}{S} \sum_i s_i \ell(W x_i + b, y_i) + \frac{\alpha}{2} |W|^2` with sample weights
    :math:`s_i` of sum S, where :math:`\ell` is minus the log-likelihood of the label: logistic for two classes,
    multinomial for more. The intercept is not penalised. The fit is as accurate as `tol` says whatever the solver,
    because it stops on a duality gap.

    Parameters
    ----------
    alpha : float, default=1e-3
        Weight of ``|coef|^2 / 2`` against the *mean* loss, at least 0. ``LogisticRegression(C=c)`` is
        ``alpha = 1 / (c * S)``, with S the number of samples or the sum of their weights.
    fit_intercept : bool, default=True
        Whether to add a constant, which is not penalised and exact also for sparse data.
    solver : {'auto', 'newton', 'sag', 'saga'}, default='auto'
        'sag' and 'saga' are those algorithms [1]_ [2]_, on dense or CSR data; both are sensitive to the scale of the
        features. 'newton' factorises the Hessian in each step. 'auto' is 'newton' where that is affordable (up to 1000
        coefficients, or samples), else 'sag'.
    max_iter : int, default=1000
        Most passes over the data.
    tol : float, default=1e-6
        Stop when the duality gap is at most `tol` times the range of the objective, from its value at the best
        constant prediction to its minimum. With ``alpha=0``, where there is no such gap, when the gradient is at most
        `tol` times its length at zero. 'newton' goes on to rounding error.
    random_state : int, RandomState instance or None, default=None
        Order of the rows in 'sag' and 'saga'.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the rows with positive weight.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Of the log-odds of the second class, or of the scores of each of more than two.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    n_iter_ : int
        Passes over the data, or Newton steps.
    dual_gap_ : float
        Upper bound on how far the objective is from its minimum, in nats a sample; inf for ``alpha=0``.
    solver_ : str
        The algorithm that ran.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where `X` has feature names that are all strings.

    See Also
    --------
    SAGRegressor : The same for numbers.
    sklearn.linear_model.LogisticRegression : The same model with `C` on the sum of the losses.

    References
    ----------
    .. [1] M. Schmidt, N. Le Roux, F. Bach, "Minimizing finite sums with the stochastic average gradient",
       Mathematical Programming 162, 2017, equation (5). arXiv:1309.2388
    .. [2] A. Defazio, F. Bach, S. Lacoste-Julien, "SAGA: a fast incremental gradient method with support for
       non-strongly convex composite objectives", NIPS 2014, equations (1) and (2). arXiv:1407.0202

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ltdl import SAGClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SAGClassifier().fit(X, y)
    >>> round(model.score(X, y), 2), model.solver_, model.dual_gap_ < 1e-12
    (0.99, 'newton', True)
    """

    _parameter_constraints: dict = _CONSTRAINTS

    def __init__(self, *, alpha=1e-3, fit_intercept=True, solver="auto", max_iter=1000, tol=1e-6, random_state=None):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
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
        X, y = validate_data(self, X, y, **_LAYOUT)
        check_classification_targets(y)
        X, weight, y = _weighted_rows(X, sample_weight, y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) == 1:
            raise ValueError(
                f"y has one class only, {self.classes_.tolist()[0]!r}, in the rows with positive weight; a "
                "classifier needs rows of at least two classes."
            )
        n_classes = len(self.classes_)
        _minimise(self, X, one_hot(codes, n_classes), classification_loss(n_classes), weight)
        return self

    def decision_function(self, X):
        """Return the log-odds of the second of two classes, or the scores of each of more.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        scores = _margins(self, X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict_proba(self, X):
        """Return the probability of each class, in the order of `classes_`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
        """
        return probabilities(_margins(self, X))

    def predict(self, X):
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        scores = _margins(self, X)
        codes = (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else scores.argmax(axis=1)
        return self.classes_[codes]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _weighted_rows(X, sample_weight, y):
    """Return the rows of positive weight in the layout of the solvers, their weights, and their targets."""
    weight = check_weights(sample_weight, X)
    if hasattr(X, "has_canonical_format") and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    if np.all(weight > 0):
        return X, weight, y
    kept = weight > 0
    return X[kept], weight[kept], y[kept]


def _minimise(estimator, X, Y, loss, weight):
    """Solve the finite sum of an estimator and store what came back."""
    problem = FiniteSum(X, Y, loss, estimator.alpha, weight, estimator.fit_intercept)
    solution = SOLVERS[estimator.solver](
        problem, tol=estimator.tol, max_iter=estimator.max_iter, seed=draw_seed(estimator.random_state)
    )
    warn_unless_converged(solution, _REMEDIES.get(solution.status))
    estimator.coef_, estimator.intercept_ = solution.coef, solution.intercept
    estimator.n_iter_, estimator.dual_gap_, estimator.solver_ = solution.n_iter, solution.gap, solution.solver


_REMEDIES = {
    Status.SEPARABLE: "Give alpha a positive value.",
    Status.OUT_OF_STEPS: "Standardise the features, raise max_iter or alpha, or leave the choice to solver='auto'.",
}


def _margins(estimator, X):
    check_is_fitted(estimator)
    X = validate_data(estimator, X, accept_sparse="csr", dtype=np.float64, reset=False)
    return X @ estimator.coef_.T + estimator.intercept_
