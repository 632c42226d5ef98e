"""Kernel ridge machines that choose kernel and penalty by leave-one-out in one fit, and report their uncertainty."""

from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted

from sklearn_ltdl._sklearn import Interval, Registered, StrOptions, _fit_context, checked_rows
from sklearn_ltdl._targets import checked_list, log_odds, most_likely, read_classification, read_regression
from sklearn_ltdl._types import Seed
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.losses import probabilities
from sklearn_ltdl.ntk._classes import ClassMachine
from sklearn_ltdl.ntk._machine import Member
from sklearn_ltdl.ntk._problem import NAMED, MachineSettings
from sklearn_ltdl.ntk._stack import fitted
from sklearn_ltdl.ntk._streamed import classification_of_rows, regression_of_rows
from sklearn_ltdl.rows._rows import Rows, rows_to_fit

_CONSTRAINTS = {
    "kernel": [StrOptions({"auto", *NAMED, "precomputed"}), callable, list, tuple],
    "depth": [Interval(Integral, 0, 1000, closed="both"), None],
    "activation": [Registered(ACTIVATIONS, ("value", "derivative")), None],
    "alpha": [StrOptions({"loo"}), Interval(Real, 0, None, closed="left")],
    "solver": [StrOptions({"auto", "exact", "nystroem", "pcg"})],
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
}


class _KernelEstimator(BaseEstimator):
    """Base of the two estimators: settings of the machine, publication of its results, and predictions."""

    stack_: list[Member]
    kernel_: Any
    kernel_loo_errors_: np.ndarray
    alpha_: float
    alphas_: np.ndarray | None
    loo_error_path_: np.ndarray | None
    dual_coef_: np.ndarray
    intercept_: Any  # a float, or an array with one value per output
    X_fit_: np.ndarray
    solver_: str
    n_iter_: int
    n_features_in_: int

    def _settings(self):
        return MachineSettings(
            self.kernel,
            self.depth,
            self.activation,
            self.alpha,
            self.solver,
            self.n_components,
            random_state=self.random_state,
        )

    def _rows(self, X, y, sample_weight, groups):
        """Return rows to be read block by block, if the data are such, and forget what only arrays give."""
        rows = rows_to_fit(self, X, y, sample_weight, groups)
        if rows is not None:
            for of_arrays in ("loo_predictions_", "loo_decision_function_"):
                vars(self).pop(of_arrays, None)
        return rows

    def _publish_machine(self, machine):
        """Keep the machine, which all methods use, and publish its results."""
        self._machine = machine
        self.stack_, self.kernel_loo_errors_ = machine.members, machine.kernel_errors
        first = machine.first
        self.kernel_, self.alpha_ = first.kernel, first.alpha
        self.alphas_, self.loo_error_path_ = first.alphas, first.errors
        self.dual_coef_, self.intercept_ = first.coef, first.intercept
        if first.centres is not None:
            self.X_fit_ = first.centres
        self.solver_, self.n_iter_, self.n_features_in_ = first.solver, first.n_iter, first.n_features
        return self

    def _asked(self, X):
        """Return the machine and the checked rows; for a precomputed kernel, the rows are kernel values."""
        check_is_fitted(self)
        n = self.n_features_in_
        if self.kernel_ is None and np.ndim(X) == 2 and np.shape(X)[1] != n:
            raise ValueError(
                f"X has {np.shape(X)[1]} features, but {type(self).__name__} is expecting {n} features as input. With "
                f"kernel='precomputed' give kernel(X_new, X), of shape (n_new, {n}): one row per new row, one column "
                f"per row given to fit, in the same order. The shape is {np.shape(X)}."
            )
        return self._machine, checked_rows(self, X)

    def _scores(self, X):
        """Return predictions or log-odds for checked rows, of shape (n_samples, n_outputs)."""
        return self._machine.evaluate(X).reshape(len(X), -1)


class NTKKernelRegressor(RegressorMixin, _KernelEstimator):
    r"""Kernel ridge regression with kernels of infinitely wide networks, chosen and stacked by leave-one-out.

    A kernel machine minimises :math:`\frac{1}{2S} \sum_i s_i (y_i - f(x_i) - b)^2 + \frac{\alpha}{2} |f|_H^2` over f
    and an unpenalised b, with sample weights s of sum S. A wide network in the lazy regime reaches the same solution
    when it is trained by gradient descent with weight decay towards its initialisation. The default is a weighted mean
    of such machines, a stack.

    Parameters
    ----------
    kernel : {'auto', 'ntk', 'nngp', 'laplace', 'rbf', 'precomputed'}, Kernel, callable, or list, default='auto'
        'auto' is a stack: the weighted mean, with the least leave-one-out error, of the predictions of up to 5 machines
        with different kernels (see Notes). If `depth`, `activation` or a number `alpha` is given, 'auto' is 'ntk'. All
        other values stand for a single kernel.
        'ntk' is the tangent kernel of an infinitely wide network (`NTK`), 'nngp' the covariance of its outputs at
        initialisation (`NNGP`); 'laplace' and 'rbf' are tried with length scales that are several multiples of the
        median distance between rows. From several kernels or length scales, the one with the smallest leave-one-out
        error on at most 1000 rows is chosen. An object such as ``NTK(depth=3, b_std=0.5) + RBF(2.0)`` has its own
        parameters. A callable takes ``(X, Z)`` and returns an array of shape (len(X), len(Z)), symmetric and positive
        semi-definite for ``(X, X)``. A `kernel_fn` of neural-tangents is called with ``get='ntk'``; for images, give a
        `StaxKernel`. With 'precomputed', pass ``kernel(X, X)`` to `fit` and ``kernel(X_new, X)`` to `predict`; matrices
        that are not positive semi-definite up to rounding, such as distances, are rejected. The columns of `X` should
        have similar scales, as after `StandardScaler`.
    depth : int, default=None
        Number of hidden layers of the network of 'ntk' and 'nngp', at least 0; other kernels ignore it. If neither
        `depth` nor `activation` is given, the candidates of 'ntk' and 'nngp' are depths 1 and 3 with ReLU and depth 1
        with GELU.
    activation : str or activation object, default=None
        Activation of the network of 'ntk' and 'nngp', as in `NTK`; ReLU if only `depth` is given.
    alpha : 'loo' or float, default='loo'
        Weight of :math:`|f|_H^2 / 2` against the *mean* of half the squared residuals, at least 0, in units of the
        kernel; 0 is the limit of small ones, least squares or the interpolation of least norm. 'loo' takes the value of
        least leave-one-out error on a fixed grid from 1e-9 to 10 times the mean of the kernel's diagonal. Rows of
        identical features, or of one of the `groups` of `fit`, are left out together.
    solver : {'auto', 'exact', 'nystroem', 'pcg'}, default='auto'
        'exact' uses the whole Gram matrix, in O(n^2) memory. 'nystroem' and 'pcg' use the functions spanned by
        `n_components` random rows, the centres, with all rows as data and O(n_components^2) memory. 'nystroem' solves
        directly for every penalty. 'pcg' iterates, which is faster for more than a few thousand centres, at the penalty
        that 'nystroem' would choose with 1000 of them. 'auto' is 'exact' up to 5000 distinct rows, else 'nystroem' up
        to 3000 centres, else 'pcg'. Large problems are solved in blocks of scikit-learn's `working_memory`. Kernel
        values are in single precision if that adds less noise than the smallest penalty tried.
    n_components : int, default=2000
        Number of centres; if there are fewer rows, all of them.
    normalize_y : bool, default=True
        Whether to standardise each column of the target, using the weights, before solving. Predictions are in the
        target's own units; at a given `alpha` they do not depend on `normalize_y`. `loo_error_path_` depends on it, and
        so does the influence of each of several outputs on the choice of `alpha`.
    random_state : int, RandomState instance or None, default=None
        Seed for drawing the centres, for drawing 1000 rows (if there are more) on which the kernel is chosen and the
        search for `alpha` starts, and for drawing the rows that screen the kernels of a stack.

    Attributes
    ----------
    stack_ : list of tuples (weight, kernel, alpha, loo_error, dual_coef, intercept)
        What was stacked, by decreasing weight; one tuple of weight 1 if there is no stack. The weights sum to 1. The
        prediction is the weighted sum of ``kernel(X, X_fit_) @ dual_coef + intercept``. The attributes `kernel_`,
        `alpha_`, `alphas_`, `loo_error_path_`, `dual_coef_`, `intercept_` and `n_iter_` are those of the first.
    alpha_ : float
        Penalty that was chosen, in the units of `alpha`.
    alphas_, loo_error_path_ : ndarray of shape (n_alphas,)
        The penalties tried, increasing, and the weighted mean of the squared leave-one-out residuals of the
        standardised target for each, summed over outputs. The variance within rows of identical features is not
        included, because no function of the features explains it. The smallest error is optimistic, because it was
        chosen. For 'nystroem', the errors are on at most 5000 rows; a row that is a centre is left out as a centre,
        too. For 'pcg', they are those of the problem with 1000 centres on which `alpha` is chosen.
    dual_coef_ : ndarray of shape (n_centres,) or (n_centres, n_outputs)
        Coefficients of ``kernel(x, X_fit_)``, in units of the target. For a precomputed kernel, one per column.
    intercept_ : float or ndarray of shape (n_outputs,)
    X_fit_ : ndarray of shape (n_centres, n_features)
        The distinct rows of positive weight, or the centres. Not set for a precomputed kernel.
    kernel_ : Kernel or callable
        Kernel that was chosen; None for a precomputed kernel.
    kernel_loo_errors_ : ndarray of shape (n_kernels,)
        Smallest leave-one-out error of each kernel tried, in the order of `kernel` or of the Notes (length scales
        increasing); NaN if there was no choice, or if the kernel was screened out.
    loo_predictions_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Leave-one-out prediction of each row, in units of the target: rows with the same features or group are left out.
        In a stack, they are left out of the choice of the weights, too.
        A row of weight 0 is predicted from all rows. For 'pcg', these are estimates by generalised cross-validation
        [6]_, with one leverage for all centres and one for all other rows.
        Not set after a fit to Rows.
    solver_ : {'exact', 'nystroem', 'pcg'}
    n_iter_ : int
        Number of penalties for which the final problem was solved; for 'pcg', the number of steps.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    NTKKernelClassifier : The same for class labels.
    sklearn.kernel_ridge.KernelRidge : Kernel ridge with a given penalty and no intercept.

    Notes
    -----
    The kernels of a stack are, in this order, ``NTK(depth=1)`` of the rows as they are; of the rows with standardised
    indicators of the levels of columns with 3 to 12 values; of columns in robust standard deviations, clipped smoothly
    at 3; of normal scores of the columns; and Laplace and RBF kernels at the lengths of 'laplace' and 'rbf'. The
    encodings are fitted to rows without their targets. With more than 300 distinct rows, the kernels are screened on a
    third of them (at most 333), and 5 are left. With more than 1000, these are compared on 1000, and at most 3 are
    fitted to all rows, of more than 2000 rows 2. With random centres or Rows, ``NTK(depth=3)`` replaces the Laplace and
    RBF kernels, and the kernel of least leave-one-out error on 1000 rows is fitted alone. The weights are not negative
    and minimise the squared leave-one-out residuals, summed over outputs [7]_.
    A stack takes about twice the time of ``kernel='ntk'`` to fit, and predicts with up to 5 kernels.

    ``KernelRidge(alpha=n_samples * alpha)`` has the same penalty but no intercept. It gives the same predictions if its
    kernel is centred (`KernelCenterer`) and the mean of `y` is subtracted before the fit and added to the predictions.

    References
    ----------
    .. [1] A. Jacot, F. Gabriel, C. Hongler. "Neural tangent kernel: convergence and generalization in neural
       networks". NeurIPS 2018, arXiv:1806.07572.
    .. [2] G. C. Cawley, N. L. C. Talbot. "Efficient leave-one-out cross-validation of kernel Fisher discriminant
       classifiers". Pattern Recognition 36, 2003, section 3.
    .. [3] C. Williams, M. Seeger. "Using the Nystroem method to speed up kernel machines". NeurIPS 2000.
    .. [4] R. Barber, E. Candes, A. Ramdas, R. Tibshirani. "Predictive inference with the jackknife+". Annals of
       Statistics 49, 2021, arXiv:1905.02928, theorem 1.
    .. [5] A. Rudi, L. Carratino, L. Rosasco. "FALKON: an optimal large scale kernel method". NeurIPS 2017.
    .. [6] G. Golub, M. Heath, G. Wahba. "Generalized cross-validation as a method for choosing a good ridge
       parameter". Technometrics 21, 1979.
    .. [7] L. Breiman. "Stacked regressions". Machine Learning 24, 1996.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import NTKKernelRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), NTKKernelRegressor()).fit(X[:300], y[:300])
    >>> round(model.score(X[300:], y[300:]), 2)
    0.52
    """

    _parameter_constraints: dict = {**_CONSTRAINTS, "normalize_y": ["boolean"]}

    def __init__(
        self,
        *,
        kernel: Any = "auto",
        depth: int | None = None,
        activation: str | Any | None = None,
        alpha: float | str = "loo",
        solver: str = "auto",
        n_components: int = 2000,
        normalize_y: bool = True,
        random_state: Seed = None,
    ) -> None:
        self.kernel = kernel
        self.depth = depth
        self.activation = activation
        self.alpha = alpha
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
        """Choose kernel and penalty by leave-one-out, and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_samples) for a precomputed kernel, or Rows
            Rows, which `scan` makes, and Dask collections are read block by block: see the guide on large tables.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None for Rows
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of k counts a row k times; a row with weight 0 is ignored. If all weights are whole numbers, they
            are counts, and the number of rows n is their sum. Otherwise only their ratios matter, and n is the number
            of rows of positive weight. Only standard deviations and intervals depend on n.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group (a patient, a site) are left out together.

        Returns
        -------
        self : object
        """
        settings = self._settings()._replace(normalize_y=self.normalize_y)
        rows = self._rows(X, y, sample_weight, groups)
        if rows is not None:
            return self._publish_machine(regression_of_rows(rows, settings))
        X, y, weight = read_regression(self, X, y, sample_weight)
        return self._publish(fitted(X, y, weight, settings, _checked_groups(groups, X)))

    def _publish(self, machine):
        self.loo_predictions_: np.ndarray = machine.left_out
        return self._publish_machine(machine)

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    def predict(self, X: ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        r"""Predict the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel
        return_std : bool, default=False
            Whether to also return the posterior standard deviation of the regression function. The prior is a Gaussian
            process of covariance :math:`\sigma^2 K` with a flat prior on the intercept and noise of variance
            :math:`\sigma^2 n \alpha`, where :math:`\sigma^2 = y'Py / n`, :math:`P = A - A 1 1'A / 1'A 1` and :math:`A =
            (K + n\alpha I)^{-1}` are computed from all n rows, copies included. With weights s of sum S, the noise of
            row i has variance :math:`\sigma^2 \alpha S / s_i`; see `fit` for n. The standard deviation is only as good
            as the prior; `predict_interval` makes no such assumption. For a stack, it is the standard deviation of the
            mixture of the machines' posteriors with the weights of the stack: its variance is the mean of their
            variances and the variance of their predictions. For solver 'exact' only.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        std : ndarray of the same shape
            Only if `return_std`.
        """
        machine, X = self._asked(X)
        predictions = machine.evaluate(X)
        return (predictions, machine.posterior_std(X)) if return_std else predictions

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Predict intervals for new targets, by the jackknife+ (Barber et al. 2021).

        The ends are quantiles of the leave-one-out predictions at each new row, minus and plus the leave-one-out
        residuals. If all rows are exchangeable, and `alpha` and the kernel are given, the probability that a new target
        is inside is at least ``2 coverage - 1`` for any distribution, and about `coverage` in practice. The cost is one
        product of the kernel matrix between new rows and data with a matrix of the data. In the quantiles, each row has
        its weight and a new row the mean weight; weights that are whole numbers are counts (see `fit`), and a new row
        counts as one. Copies and rows of a group are not exchangeable with rows of new features or of a new group; for
        few points with many copies there is no guarantee at new points. In a stack, the predictions without a row are
        those at fixed weights, and its residual is that with the weights chosen without it. With random centres, single
        rows hardly change the function, so the ends are the prediction minus and plus one quantile, without a
        guarantee.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel
        coverage : float, default=0.9
            Share of new targets that the intervals should contain, at least 0.5 and below 1. With too few rows for this
            coverage, the ends are infinite.

        Returns
        -------
        lower, upper : ndarrays of shape (n_samples,) or (n_samples, n_outputs)
        """
        if not isinstance(coverage, Real) or not 0.5 <= coverage < 1:  # for less, the jackknife+ interval may be empty
            raise ValueError(f"coverage is {coverage!r}; it must be a number of at least 0.5 and below 1, such as 0.9.")
        machine, X = self._asked(X)
        return machine.intervals(X, coverage)

    def staged_predict(self, X: ArrayLike, times: Iterable[float], return_std: bool = False) -> Iterator[Any]:
        """Predict with the infinitely wide network itself after training by gradient flow for given times.

        Training minimises the mean of half the squared residuals, starting at the target's mean (at 0 if `normalize_y`
        is false). Stopping early regularises; `alpha` and leave-one-out are not used. Only for kernels 'ntk' and 'nngp'
        (which trains the read-out only), which must be given, and solver 'exact'.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        times : iterable of float
            Training times, at least 0; `inf` is the end of training. A step of gradient descent takes a time equal to
            its step size.
        return_std : bool, default=False
            Whether to also yield the standard deviation over initialisations.

        Yields
        ------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Mean over initialisations, one array per time.
        std : ndarray of the same shape
            Only if `return_std`.
        """
        machine, X = self._asked(X)
        flow = machine.flow()
        for time in _checked_times(times):
            smoother = flow.smoother(X, time)
            mean = machine.in_units(smoother @ flow.targets)
            if return_std:
                yield mean, np.multiply.outer(flow.std(X, smoother), machine.units.scale).reshape(mean.shape)
            else:
                yield mean

    def influence(self, X: ArrayLike) -> np.ndarray:
        """Return the influence of each training row on each prediction: prediction minus that of a fit without the row.

        The copies and the group of the row are left out with it; `alpha`, kernel and the weights of a stack stay the
        same. For solver 'exact' only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

        Returns
        -------
        influence : ndarray of shape (n_samples, n_fitted) or (n_samples, n_fitted, n_outputs)
            Influence in units of the target, for the training rows in the order given to `fit`.
        """
        machine, X = self._asked(X)
        return machine.influence(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        tags.target_tags.multi_output = True
        return tags


class NTKKernelClassifier(ClassifierMixin, _KernelEstimator):
    r"""Least-squares classification with kernels of infinitely wide networks, chosen and stacked by leave-one-out.

    This is kernel ridge regression, as in `NTKKernelRegressor`, on one column per class that is 1 for the rows of the
    class and 0 for others (for two classes, one column of -1 and 1), each with an unpenalised intercept. For two
    classes, probabilities are the sigmoid of the score s times a factor t. For several classes, the probability of
    class c is proportional to :math:`\max(s_c, 0.03)^q e^{t s_c}`. The t and q are those of the greatest likelihood of
    the leave-one-out scores. The prediction is the class of the largest score, which is the most probable.

    Parameters
    ----------
    kernel : {'auto', 'ntk', 'nngp', 'laplace', 'rbf', 'precomputed'}, Kernel, callable, or list, default='auto'
        'auto' is a stack: the weighted mean, with the least leave-one-out error, of the predictions of up to 5 machines
        with different kernels (see Notes). If `depth`, `activation` or a number `alpha` is given, 'auto' is 'ntk'. All
        other values stand for a single kernel.
        'ntk' is the tangent kernel of an infinitely wide network (`NTK`), 'nngp' the covariance of its outputs at
        initialisation (`NNGP`); 'laplace' and 'rbf' are tried with length scales that are several multiples of the
        median distance between rows. From several kernels or length scales, the one with the smallest leave-one-out
        error on at most 1000 rows is chosen. An object such as ``NTK(depth=3, b_std=0.5) + RBF(2.0)`` has its own
        parameters. A callable takes ``(X, Z)`` and returns an array of shape (len(X), len(Z)), symmetric and positive
        semi-definite for ``(X, X)``. A `kernel_fn` of neural-tangents is called with ``get='ntk'``; for images, give a
        `StaxKernel`. With 'precomputed', pass ``kernel(X, X)`` to `fit` and ``kernel(X_new, X)`` to `predict`; matrices
        that are not positive semi-definite up to rounding, such as distances, are rejected. The columns of `X` should
        have similar scales, as after `StandardScaler`.
    depth : int, default=None
        Number of hidden layers of the network of 'ntk' and 'nngp', at least 0; other kernels ignore it. If neither
        `depth` nor `activation` is given, the candidates of 'ntk' and 'nngp' are depths 1 and 3 with ReLU and depth 1
        with GELU.
    activation : str or activation object, default=None
        Activation of the network of 'ntk' and 'nngp', as in `NTK`; ReLU if only `depth` is given.
    alpha : 'loo' or float, default='loo'
        Weight of :math:`|f|_H^2 / 2` against the *mean* of half the squared residuals, at least 0, in units of the
        kernel; 0 is the limit of small ones, least squares or the interpolation of least norm. 'loo' takes the value of
        least leave-one-out error on a fixed grid from 1e-9 to 10 times the mean of the kernel's diagonal. Rows of
        identical features, or of one of the `groups` of `fit`, are left out together.
    solver : {'auto', 'exact', 'nystroem', 'pcg'}, default='auto'
        'exact' uses the whole Gram matrix, in O(n^2) memory. 'nystroem' and 'pcg' use the functions spanned by
        `n_components` random rows, the centres, with all rows as data and O(n_components^2) memory. 'nystroem' solves
        directly for every penalty. 'pcg' iterates, which is faster for more than a few thousand centres, at the penalty
        that 'nystroem' would choose with 1000 of them. 'auto' is 'exact' up to 5000 distinct rows, else 'nystroem' up
        to 3000 centres, else 'pcg'. Large problems are solved in blocks of scikit-learn's `working_memory`. Kernel
        values are in single precision if that adds less noise than the smallest penalty tried.
    n_components : int, default=2000
        Number of centres; if there are fewer rows, all of them.
    random_state : int, RandomState instance or None, default=None
        Seed for drawing the centres, for drawing 1000 rows (if there are more) on which the kernel is chosen and the
        search for `alpha` starts, and for drawing the rows that screen the kernels of a stack.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    stack_ : list of tuples (weight, kernel, alpha, loo_error, dual_coef, intercept)
        What was stacked, by decreasing weight; one tuple of weight 1 if there is no stack. The weights sum to 1. The
        prediction is the weighted sum of ``kernel(X, X_fit_) @ dual_coef + intercept``. The attributes `kernel_`,
        `alpha_`, `alphas_`, `loo_error_path_`, `dual_coef_`, `intercept_` and `n_iter_` are those of the first.
    alpha_ : float
        Penalty that was chosen, in the units of `alpha`.
    alphas_, loo_error_path_ : ndarray of shape (n_alphas,)
        The penalties tried, increasing, and the weighted mean of the squared leave-one-out residuals of the coded
        classes for each, summed over outputs. The variance within rows of identical features is not included, because
        no function of the features explains it. The smallest error is optimistic, because it was chosen. For
        'nystroem', the errors are on at most 5000 rows; a row that is a centre is left out as a centre, too. For
        'pcg', they are those of the problem with 1000 centres on which `alpha` is chosen.
    dual_coef_ : ndarray of shape (n_centres,) or (n_centres, n_classes)
        Coefficients of ``kernel(x, X_fit_)``. For a precomputed kernel, one per column.
    intercept_ : float or ndarray of shape (n_classes,)
    X_fit_ : ndarray of shape (n_centres, n_features)
        The distinct rows of positive weight, or the centres. Not set for a precomputed kernel.
    kernel_ : Kernel or callable
        Kernel that was chosen; None for a precomputed kernel.
    kernel_loo_errors_ : ndarray of shape (n_kernels,)
        Smallest leave-one-out error of each kernel tried, in the order of `kernel` or of the Notes (length scales
        increasing); NaN if there was no choice, or if the kernel was screened out.
    loo_decision_function_ : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Leave-one-out scores of each row: rows with the same features or group are left out. In a stack, they are left
        out of the choice of the weights, too. A row of weight 0 is scored from all rows. For 'pcg', these are estimates
        by generalised cross-validation [6]_, with one leverage for all centres and one for all other rows.
        Not set after a fit to Rows.
    inverse_temperature_ : float
        Factor of the scores in `predict_proba`, between 0.01 and 100.
    score_power_ : float
        Power of the scores, clipped below at 0.03, in `predict_proba`, between 0 and 100; 0 for two classes.
    solver_ : {'exact', 'nystroem', 'pcg'}
    n_iter_ : int
        Number of penalties for which the final problem was solved; for 'pcg', the number of steps.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    NTKKernelRegressor : The same for numeric targets.

    Notes
    -----
    The kernels of a stack, and how few are fitted to many rows, are those of `NTKKernelRegressor`: see its notes.
    The weights minimise the squared leave-one-out residuals of the coded classes, summed over the classes [7]_.

    References
    ----------
    .. [1] A. Jacot, F. Gabriel, C. Hongler. "Neural tangent kernel: convergence and generalization in neural
       networks". NeurIPS 2018, arXiv:1806.07572.
    .. [2] G. C. Cawley, N. L. C. Talbot. "Efficient leave-one-out cross-validation of kernel Fisher discriminant
       classifiers". Pattern Recognition 36, 2003, section 3.
    .. [3] C. Williams, M. Seeger. "Using the Nystroem method to speed up kernel machines". NeurIPS 2000.
    .. [4] J. Platt. "Probabilistic outputs for support vector machines". 1999, section 2.2.
    .. [5] A. Rudi, L. Carratino, L. Rosasco. "FALKON: an optimal large scale kernel method". NeurIPS 2017.
    .. [6] G. Golub, M. Heath, G. Wahba. "Generalized cross-validation as a method for choosing a good ridge
       parameter". Technometrics 21, 1979.
    .. [7] L. Breiman. "Stacked regressions". Machine Learning 24, 1996.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import NTKKernelClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), NTKKernelClassifier()).fit(X[::2], y[::2])
    >>> round(model.score(X[1::2], y[1::2]), 2)
    0.98
    """

    _parameter_constraints: dict = _CONSTRAINTS

    def __init__(
        self,
        *,
        kernel: Any = "auto",
        depth: int | None = None,
        activation: str | Any | None = None,
        alpha: float | str = "loo",
        solver: str = "auto",
        n_components: int = 2000,
        random_state: Seed = None,
    ) -> None:
        self.kernel = kernel
        self.depth = depth
        self.activation = activation
        self.alpha = alpha
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
        """Choose kernel and penalty by leave-one-out, and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_samples) for a precomputed kernel, or Rows
            Rows, which `scan` makes, and Dask collections are read block by block: see the guide on large tables.
        y : array-like of shape (n_samples,), or None for Rows
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of k counts a row k times; a row with weight 0 is ignored, except that its class is listed.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group (a patient, a site) are left out together.

        Returns
        -------
        self : object
        """
        rows = self._rows(X, y, sample_weight, groups)
        if rows is not None:
            return self._publish(classification_of_rows(rows, self._settings()))
        X, y, weight = read_classification(self, X, y, sample_weight)
        found = ClassMachine.of(X, y, weight, self._settings(), _checked_groups(groups, X))
        self.loo_decision_function_ = found.machine.left_out
        return self._publish(found)

    def _publish(self, found):
        self.classes_: np.ndarray = found.classes
        self.inverse_temperature_: float = found.inverse_temperature
        self.score_power_: float = found.score_power
        return self._publish_machine(found.machine)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Return one score per class; for two classes, one score that is positive for the second class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        machine, X = self._asked(X)
        return machine.evaluate(X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the class with the highest score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

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
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
        """
        return probabilities(self._scores(self._asked(X)[1]))

    def _scores(self, X):
        return log_odds(super()._scores(X), self.inverse_temperature_, self.score_power_)

    def staged_predict(self, X: ArrayLike, times: Iterable[float]) -> Iterator[np.ndarray]:
        """Predict with the infinitely wide network itself after training by gradient flow for given times.

        Training minimises the mean of half the squared residuals of the coded classes, starting at the class
        frequencies. Only for kernels 'ntk' and 'nngp' (which trains the read-out only), which must be given, and solver
        'exact'.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        times : iterable of float
            Training times, at least 0; `inf` is the end of training. A step of gradient descent takes a time equal to
            its step size.

        Yields
        ------
        y : ndarray of shape (n_samples,)
        """
        machine, X = self._asked(X)
        flow = machine.flow()
        mean = np.average(flow.targets, axis=0, weights=flow.root[:, 0] ** 2)
        for time in _checked_times(times):
            scores = flow.smoother(X, time) @ (flow.targets - mean) + mean
            yield most_likely(self.classes_, scores.reshape(len(X), *self.dual_coef_.shape[1:]))

    def influence(self, X: ArrayLike) -> np.ndarray:
        """Return the influence of each training row on each score: the score minus that of a fit without the row.

        The copies and the group of the row are left out with it; `alpha`, kernel and the weights of a stack stay the
        same. For solver 'exact' only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

        Returns
        -------
        influence : ndarray of shape (n_samples, n_fitted) or (n_samples, n_fitted, n_classes)
            Influence on `decision_function`, for the training rows in the order given to `fit`.
        """
        machine, X = self._asked(X)
        return machine.influence(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags


def _checked_groups(groups, X):
    if groups is None:
        return None
    return check_array(checked_list(groups, "groups", len(X)), ensure_2d=False, dtype=None, input_name="groups")


def _checked_times(times):
    if not isinstance(times, Iterable) or isinstance(times, str) or np.shape(times) == ():
        raise ValueError(f"times is {times!r}; it must be a list of numbers, each at least 0.")
    for time in times:
        if not isinstance(time, Real) or isinstance(time, bool) or not time >= 0:
            raise ValueError(f"times contains {time!r}; each time must be a number of at least 0.")
        yield time
