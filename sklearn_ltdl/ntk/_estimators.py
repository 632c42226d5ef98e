"""Kernel ridge machines that choose kernel and penalty by leave-one-out inside one fit, and say how sure they are."""

from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted

from sklearn_ltdl._sklearn import Interval, Registered, StrOptions, _fit_context, checked_rows, remember_columns
from sklearn_ltdl._targets import most_likely, read_classification, read_regression
from sklearn_ltdl._types import Seed
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.losses import probabilities
from sklearn_ltdl.ntk._machine import NAMED, ClassMachine, Machine, MachineSettings
from sklearn_ltdl.ntk._streamed import classification_of_rows, regression_of_rows
from sklearn_ltdl.rows._rows import Rows, as_numbers, as_rows, head

_CONSTRAINTS = {
    "kernel": [StrOptions({*NAMED, "precomputed"}), callable, list, tuple],
    "depth": [Interval(Integral, 0, 1000, closed="both"), None],
    "activation": [Registered(ACTIVATIONS, ("value", "derivative")), None],
    "alpha": [StrOptions({"loo"}), Interval(Real, 0, None, closed="left")],
    "solver": [StrOptions({"auto", "exact", "nystroem", "pcg"})],
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
}


class _KernelEstimator(BaseEstimator):
    """What the two estimators share: the settings of their machine, publishing it, and asking it."""

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
        rows = as_rows(X, y, sample_weight, groups)
        if rows is not None:
            remember_columns(self, head(rows))
            rows = as_numbers(rows)
            for of_arrays in ("loo_predictions_", "loo_decision_function_"):
                vars(self).pop(of_arrays, None)
        return rows

    def _publish_machine(self, machine):
        """Keep a machine, which all methods ask, and publish what it has found."""
        self._machine = machine
        self.kernel_, self.kernel_loo_errors_ = machine.kernel, machine.kernel_errors
        self.alpha_, self.alphas_, self.loo_error_path_ = machine.alpha, machine.alphas, machine.errors
        self.dual_coef_, self.intercept_ = machine.coef, machine.intercept
        if machine.centres is not None:
            self.X_fit_ = machine.centres
        self.solver_, self.n_iter_, self.n_features_in_ = machine.solver, machine.n_iter, machine.n_features
        return self

    def _asked(self, X):
        """Return the machine, and the rows about which it is asked; of a precomputed kernel, their kernel values."""
        check_is_fitted(self)
        n = self.n_features_in_
        if self.kernel_ is None and np.ndim(X) == 2 and np.shape(X)[1] != n:
            raise ValueError(
                f"X has {np.shape(X)[1]} features, but {type(self).__name__} is expecting {n} features as input. With "
                f"kernel='precomputed' give kernel(X_new, X), of shape (n_new, {n}): a row for each new row, a column "
                f"for each row that fit was given, in their order. The shape is {np.shape(X)}."
            )
        return self._machine, checked_rows(self, X)

    def _scores(self, X):
        """Return predictions, or log-odds of classes, of rows that have been checked, (n_samples, n_outputs)."""
        return self._machine.evaluate(X).reshape(len(X), -1)


class NTKKernelRegressor(RegressorMixin, _KernelEstimator):
    r"""Kernel ridge regression with the kernel of an infinitely wide network, and its penalty by leave-one-out.

    Minimises :math:`\frac{1}{2S} \sum_i s_i (y_i - f(x_i) - b)^2 + \frac{\alpha}{2} |f|_H^2` over f and an
    unpenalised b, with sample weights s of sum S. This is where gradient descent with weight decay towards the
    initialisation takes a wide network in the lazy regime.

    Parameters
    ----------
    kernel : {'ntk', 'nngp', 'laplace', 'rbf', 'precomputed'}, Kernel, callable, or list of these, default='ntk'
        The tangent kernel of an infinitely wide network (`NTK`), the covariance of its outputs at initialisation
        (`NNGP`), or `Laplace` or `RBF` at several multiples of the median distance between rows. Of several kernels,
        or lengths, the one of least leave-one-out error on at most 1000 rows is taken. An object such as
        ``NTK(depth=3, b_std=0.5) + RBF(2.0)`` has its own parameters. A callable takes ``(X, Z)`` and returns an array
        of shape (len(X), len(Z)), symmetric and positive semi-definite for ``(X, X)``. A `kernel_fn` of
        neural-tangents is called with ``get='ntk'``; for images, give a `StaxKernel`. With 'precomputed', `fit` is
        given ``kernel(X, X)`` and `predict` ``kernel(X_new, X)``; matrices that are not positive semi-definite beyond
        rounding, such as distances, are refused. The columns of `X` should be of one scale, as after
        `StandardScaler`.
    depth : int, default=None
        Hidden layers of the network of 'ntk' and 'nngp', at least 0; other kernels do not read it. If neither this nor
        `activation` is given, depths 1 and 3 with ReLU and depth 1 with GELU are tried, as several kernels are.
    activation : str or activation object, default=None
        Activation of the network of 'ntk' and 'nngp', as in `NTK`; ReLU if `depth` alone is given.
    alpha : 'loo' or float, default='loo'
        Weight of :math:`|f|_H^2 / 2` against the *mean* of half the squared residuals, at least 0, in units of the
        kernel. 'loo' takes the value of least leave-one-out error on a fixed grid from 1e-9 to 10 times the mean of
        the kernel's diagonal. Rows of identical features, or of one of the `groups` of `fit`, are left out together.
    solver : {'auto', 'exact', 'nystroem', 'pcg'}, default='auto'
        'exact' uses the whole Gram matrix, in O(n^2) memory. 'nystroem' and 'pcg' use the functions spanned by
        `n_components` random rows, the centres, with all rows as data and O(n_components^2) memory: 'nystroem' solves
        directly for every penalty; 'pcg' iterates, which is faster from a few thousand centres on, at the penalty that
        'nystroem' would take with 1000 of them. 'auto' is 'exact' up to 5000 distinct rows, beyond that 'nystroem' up
        to 3000 centres. Large problems are worked out in blocks of scikit-learn's `working_memory`, with kernel values
        in single precision where that adds less noise than the least penalty tried.
    n_components : int, default=2000
        Number of centres; all rows, if there are fewer.
    normalize_y : bool, default=True
        Whether to centre and scale each column of the target, with the weights, before solving. Predictions are
        in the target's own units; at a given `alpha` they do not depend on this. `loo_error_path_` does, and with it
        the share of each of several outputs in the choice of `alpha`.
    random_state : int, RandomState instance or None, default=None
        Draws the centres, and 1000 rows on which to choose a kernel, or to start the search for `alpha`,
        when there are more.

    Attributes
    ----------
    alpha_ : float
        The penalty used, in the units of `alpha`.
    alphas_, loo_error_path_ : ndarray of shape (n_alphas,)
        The penalties tried, increasing, and the weighted means of squared leave-one-out residuals of the standardised
        target, summed over outputs, less the spread within rows of identical features, which no function explains. The
        least of them is optimistic: it has been chosen. Of 'nystroem', on at most 20 000 rows, each left out of all,
        and a centre as a centre too; of 'pcg', those of the 1000 centres that choose.
    dual_coef_ : ndarray of shape (n_centres,) or (n_centres, n_outputs)
        Coefficients of ``kernel(x, X_fit_)``, in units of the target; of all columns for a precomputed kernel.
    intercept_ : float or ndarray of shape (n_outputs,)
    X_fit_ : ndarray of shape (n_centres, n_features)
        The distinct rows of positive weight, or the centres. Absent for a precomputed kernel.
    kernel_ : Kernel or callable
        The kernel used; None for a precomputed one.
    kernel_loo_errors_ : ndarray of shape (n_kernels,)
        The least leave-one-out errors of the kernels tried, in the order of `kernel` (lengths increasing); NaN if there
        was no choice.
    loo_predictions_ : ndarray of the shape of y
        Prediction of each row from all rows of other features; a row of weight 0 is predicted from all. Of 'pcg', by
        generalised cross-validation [6]_: estimates, with one leverage for all centres and one for all other rows.
        Absent after a fit to Rows.
    solver_ : {'exact', 'nystroem', 'pcg'}
    n_iter_ : int
        Number of penalties for which the final problem was solved; for 'pcg', of steps.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    NTKKernelClassifier : The same for classes.
    sklearn.kernel_ridge.KernelRidge : Ridge with a given penalty and no intercept.

    Notes
    -----
    ``KernelRidge(alpha=n_samples * alpha)`` has the same penalty. It has no intercept: it gives the same predictions
    when its kernel is centred (`KernelCenterer`) and the mean of `y` is subtracted before and added after.

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
        kernel: Any = "ntk",
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
        """Fit the regression, choosing by leave-one-out.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_samples) for a precomputed kernel, or Rows
            Rows, which `scan` makes, and Dask collections are read block by block: see the guide on large tables.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None for Rows
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of k is a row given k times, a weight of 0 a row not given. If all weights are whole numbers, they
            are counts, and the number of rows n is their sum. Otherwise only their ratios matter, and n is the number
            of rows of positive weight. Only standard deviations and intervals read n.
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
        return self._publish(Machine.of(X, y, weight, settings, _checked_groups(groups, X)))

    def _publish(self, machine):
        self.loo_predictions_ = machine.left_out
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
            Whether to return the standard deviation of the regression function under a Gaussian process prior too, with
            the covariance :math:`\sigma^2 K`, a flat prior on the intercept and noise of variance
            :math:`\sigma^2 n \alpha`, where :math:`\sigma^2 = y'Py / n` and
            :math:`P = A - A 1 1'A / 1'A 1`, :math:`A = (K + n\alpha I)^{-1}`, are of all n rows, copies too. With
            weights s of sum S, the noise of row i has the variance :math:`\sigma^2 \alpha S / s_i`; see `fit` for n. It
            believes the prior; `predict_interval` does not. Solver 'exact' only.

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
        """Predict intervals that hold new targets, by the jackknife+ (Barber et al. 2021).

        The ends are quantiles of the leave-one-out predictions at each new row, less and plus the leave-one-out
        residuals. For rows that are drawn alike, at a given `alpha` and kernel, at least ``2 coverage - 1`` of new
        targets are inside, whatever their law; about `coverage` of them is what one sees. It costs a product of the
        matrix between new rows and data with a matrix of the data. A row counts in the quantiles with its weight, and
        a new row with the mean weight; weights that are whole numbers are counts of rows (see `fit`), and a new row
        counts as one. Copies, and rows of a group, are not drawn alike with a row of new features or of a new group:
        of few points with many copies there is no guarantee at new points. For random centres, where one row of many
        hardly moves the function, the ends are the prediction less and plus one quantile, and there is no guarantee.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel
        coverage : float, default=0.9
            Share of new targets to hold, at least 0.5 and below 1. An end is infinite where there are too few rows
            for it.

        Returns
        -------
        lower, upper : ndarrays of shape (n_samples,) or (n_samples, n_outputs)
        """
        if not isinstance(coverage, Real) or not 0.5 <= coverage < 1:  # below, jackknife+ may be empty
            raise ValueError(f"coverage is {coverage!r}; it must be a number from 0.5 to 1, below 1, such as 0.9.")
        machine, X = self._asked(X)
        return machine.intervals(X, coverage)

    def staged_predict(self, X: ArrayLike, times: Iterable[float], return_std: bool = False) -> Iterator[Any]:
        """Predict with the infinitely wide network itself after training by gradient flow for some times.

        Training is of the mean of half the squared residuals, from the target's mean on (from 0 if `normalize_y` is
        false); stopping early regularises. Neither `alpha` nor leave-one-out has a part in it. Kernels 'ntk' and 'nngp'
        (of which only the read-out is trained) and solver 'exact' only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        times : iterable of float
            At least 0; `inf` is the end of training. A step of gradient descent takes the time of its step size.
        return_std : bool, default=False
            Whether to yield the standard deviation over initialisations too.

        Yields
        ------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Mean over initialisations, at each time.
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
        """Return what each training row adds to each prediction: the prediction less that of a fit without the row.

        With the row go its copies and its group, at the same `alpha` and kernel. Solver 'exact' only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

        Returns
        -------
        influence : ndarray of shape (n_samples, n_fitted) or (n_samples, n_fitted, n_outputs)
            In units of the target, for the rows in the order given to `fit`.
        """
        machine, X = self._asked(X)
        return machine.influence(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        tags.target_tags.multi_output = True
        return tags


class NTKKernelClassifier(ClassifierMixin, _KernelEstimator):
    r"""Least-squares classification with the kernel of an infinitely wide network, and its penalty by leave-one-out.

    Kernel ridge regression, as `NTKKernelRegressor`, on one column a class that is 1 for its rows and 0 for others
    (for two classes, one column of -1 and 1), with an unpenalised intercept each. Probabilities are the softmax (for
    two classes, the sigmoid) of the scores times one factor, which maximises the likelihood of the leave-one-out
    scores; the most probable class is the predicted one.

    Parameters
    ----------
    kernel : {'ntk', 'nngp', 'laplace', 'rbf', 'precomputed'}, Kernel, callable, or list of these, default='ntk'
        The tangent kernel of an infinitely wide network (`NTK`), the covariance of its outputs at initialisation
        (`NNGP`), or `Laplace` or `RBF` at several multiples of the median distance between rows. Of several kernels,
        or lengths, the one of least leave-one-out error on at most 1000 rows is taken. An object such as
        ``NTK(depth=3, b_std=0.5) + RBF(2.0)`` has its own parameters. A callable takes ``(X, Z)`` and returns an array
        of shape (len(X), len(Z)), symmetric and positive semi-definite for ``(X, X)``. A `kernel_fn` of
        neural-tangents is called with ``get='ntk'``; for images, give a `StaxKernel`. With 'precomputed', `fit` is
        given ``kernel(X, X)`` and `predict` ``kernel(X_new, X)``; matrices that are not positive semi-definite beyond
        rounding, such as distances, are refused. The columns of `X` should be of one scale, as after
        `StandardScaler`.
    depth : int, default=None
        Hidden layers of the network of 'ntk' and 'nngp', at least 0; other kernels do not read it. If neither this nor
        `activation` is given, depths 1 and 3 with ReLU and depth 1 with GELU are tried, as several kernels are.
    activation : str or activation object, default=None
        Activation of the network of 'ntk' and 'nngp', as in `NTK`; ReLU if `depth` alone is given.
    alpha : 'loo' or float, default='loo'
        Weight of :math:`|f|_H^2 / 2` against the *mean* of half the squared residuals, at least 0, in units of the
        kernel. 'loo' takes the value of least leave-one-out error on a fixed grid from 1e-9 to 10 times the mean of
        the kernel's diagonal. Rows of identical features, or of one of the `groups` of `fit`, are left out together.
    solver : {'auto', 'exact', 'nystroem', 'pcg'}, default='auto'
        'exact' uses the whole Gram matrix, in O(n^2) memory. 'nystroem' and 'pcg' use the functions spanned by
        `n_components` random rows, the centres, with all rows as data and O(n_components^2) memory: 'nystroem' solves
        directly for every penalty; 'pcg' iterates, which is faster from a few thousand centres on, at the penalty that
        'nystroem' would take with 1000 of them. 'auto' is 'exact' up to 5000 distinct rows, beyond that 'nystroem' up
        to 3000 centres. Large problems are worked out in blocks of scikit-learn's `working_memory`, with kernel values
        in single precision where that adds less noise than the least penalty tried.
    n_components : int, default=2000
        Number of centres; all rows, if there are fewer.
    random_state : int, RandomState instance or None, default=None
        Draws the centres, and 1000 rows on which to choose a kernel, or to start the search for `alpha`,
        when there are more.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    alpha_ : float
        The penalty used, in the units of `alpha`.
    alphas_, loo_error_path_ : ndarray of shape (n_alphas,)
        The penalties tried, increasing, and the weighted means of squared leave-one-out residuals of the columns,
        summed over outputs, less the spread within rows of identical features, which no function explains. The
        least of them is optimistic: it has been chosen. Of 'nystroem', on at most 20 000 rows, each left out of all,
        and a centre as a centre too; of 'pcg', those of the 1000 centres that choose.
    dual_coef_ : ndarray of shape (n_centres,) or (n_centres, n_classes)
        Coefficients of ``kernel(x, X_fit_)``; of all columns for a precomputed kernel.
    intercept_ : float or ndarray of shape (n_classes,)
    X_fit_ : ndarray of shape (n_centres, n_features)
        The distinct rows of positive weight, or the centres. Absent for a precomputed kernel.
    kernel_ : Kernel or callable
        The kernel used; None for a precomputed one.
    kernel_loo_errors_ : ndarray of shape (n_kernels,)
        The least leave-one-out errors of the kernels tried, in the order of `kernel` (lengths increasing); NaN if there
        was no choice.
    loo_decision_function_ : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Scores of each row from all rows of other features; a row of weight 0 is scored from all. Of 'pcg', by
        generalised cross-validation [6]_: estimates, with one leverage for all centres and one for all other rows.
        Absent after a fit to Rows.
    inverse_temperature_ : float
        Factor of the scores in `predict_proba`, between 0.01 and 100.
    solver_ : {'exact', 'nystroem', 'pcg'}
    n_iter_ : int
        Number of penalties for which the final problem was solved; for 'pcg', of steps.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    NTKKernelRegressor : The same for numbers.

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

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import NTKKernelClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), NTKKernelClassifier()).fit(X[::2], y[::2])
    >>> round(model.score(X[1::2], y[1::2]), 2)
    0.99
    """

    _parameter_constraints: dict = _CONSTRAINTS

    def __init__(
        self,
        *,
        kernel: Any = "ntk",
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
        """Fit the classifier, choosing by leave-one-out.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_samples) for a precomputed kernel, or Rows
            Rows, which `scan` makes, and Dask collections are read block by block: see the guide on large tables.
        y : array-like of shape (n_samples,), or None for Rows
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of k is a row given k times, a weight of 0 a row not given but for the name of its class.
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
        self.classes_, self.inverse_temperature_ = found.classes, found.inverse_temperature
        return self._publish_machine(found.machine)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Return the scores of the classes; for two, one score that is positive for the second.

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
        """Predict the class of the highest score.

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
        return self.inverse_temperature_ * super()._scores(X)

    def staged_predict(self, X: ArrayLike, times: Iterable[float]) -> Iterator[np.ndarray]:
        """Predict with the infinitely wide network itself after training by gradient flow for some times.

        Training is of the mean of half the squared residuals of the centred codes, from the classes' frequencies on.
        Kernels 'ntk' and 'nngp' (of which only the read-out is trained) and solver 'exact' only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        times : iterable of float
            At least 0; `inf` is the end of training. A step of gradient descent takes the time of its step size.

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
        """Return what each training row adds to each score: the score less that of a fit without the row.

        With the row go its copies and its group, at the same `alpha` and kernel. Solver 'exact' only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or (n_samples, n_fitted) for a precomputed kernel

        Returns
        -------
        influence : ndarray of shape (n_samples, n_fitted) or (n_samples, n_fitted, n_classes)
            On `decision_function`, for the rows in the order given to `fit`.
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
    groups = check_array(groups, ensure_2d=False, dtype=None, input_name="groups")
    check_consistent_length(X, groups)
    return groups


def _checked_times(times):
    if not isinstance(times, Iterable) or isinstance(times, str):
        raise ValueError(f"times is {times!r}; it must be a list of numbers, each at least 0.")
    for time in times:
        if not isinstance(time, Real) or isinstance(time, bool) or not time >= 0:
            raise ValueError(f"times has {time!r}; each must be a number, at least 0.")
        yield time
