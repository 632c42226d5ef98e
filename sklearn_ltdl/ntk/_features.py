"""Features whose inner products are the kernel of an infinitely wide network."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._sklearn import Interval, StrOptions, _fit_context, checked_rows, draw_seed
from sklearn_ltdl._types import Seed
from sklearn_ltdl.ntk._gram import call_kernel
from sklearn_ltdl.ntk._kernels import NNGP, NTK
from sklearn_ltdl.ntk._neural_tangents import as_kernel
from sklearn_ltdl.ntk._sample import distinct_rows
from sklearn_ltdl.ntk._solvers import INDEFINITE, ROUNDING, not_psd, require_memory
from sklearn_ltdl.rows._rows import Rows, look, rows_to_fit
from sklearn_ltdl.rows._sampled import draw

DRAWN_ROWS = 20_000  # of Rows, of which the centres are the first distinct ones of a random order


class NTKNystroem(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Nystroem features for the kernel of an infinitely wide network, from a random sample of the rows.

    With rows :math:`z_1, \dots, z_m` drawn as centres, the features are :math:`\phi(x) = K_{mm}^{-1/2} (k(z_j, x))_j`.
    Their inner product equals the kernel if one of the two rows is a centre, and approximates it otherwise. Ridge
    regression on these features is the same as `NTKKernelRegressor` with this kernel and ``solver='nystroem'``, which
    also chooses the penalty. The columns of `X` should be standardised.

    Parameters
    ----------
    kernel : {'ntk', 'nngp'}, Kernel or callable, default='ntk'
        'ntk' is the tangent kernel of an infinitely wide ReLU network (`NTK`), 'nngp' the covariance of its outputs at
        initialisation (`NNGP`). An object such as ``NTK(depth=3) + RBF(2.0)`` has its own parameters. A callable takes
        ``(X, Z)`` and returns an array of shape (len(X), len(Z)), symmetric and positive semi-definite for ``(X, X)``.
    depth : int, default=1
        Number of hidden layers of the network of 'ntk' and 'nngp', at least 0; other kernels ignore it.
    n_components : int, default=100
        Number of centres, drawn from the distinct rows; if there are fewer rows, all of them.
    random_state : int, RandomState instance or None, default=None
        Seed for drawing the centres. `NTKKernelRegressor` with a single kernel draws the same centres for the same
        rows, `n_components` and seed.

    Attributes
    ----------
    components_ : ndarray of shape (n_centres, n_features)
        The centres.
    kernel_ : Kernel or callable
        Kernel that was used.
    component_indices_ : ndarray of shape (n_centres,)
        Indices in `X` of the centres. Not set after a fit to Rows.
    normalization_ : ndarray of shape (n_centres, n_centres)
        The matrix :math:`K_{mm}^{-1/2}`, without directions that are lost in rounding.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    sklearn.kernel_approximation.Nystroem : Nystroem features for scikit-learn's kernels.
    TangentFeatures : Features of the tangent kernel of a finite network.

    References
    ----------
    .. [1] C. Williams, M. Seeger. "Using the Nystroem method to speed up kernel machines". NeurIPS 2000.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import RidgeCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import NTKNystroem
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), NTKNystroem(random_state=0), RidgeCV([1.0, 10.0, 100.0]))
    >>> round(model.fit(X[:300], y[:300]).score(X[300:], y[300:]), 1)
    0.5
    """

    _parameter_constraints: dict = {
        "kernel": [StrOptions({"ntk", "nngp"}), callable],
        "depth": [Interval(Integral, 0, 1000, closed="both")],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self, *, kernel: Any = "ntk", depth: int = 1, n_components: int = 100, random_state: Seed = None
    ) -> None:
        self.kernel = kernel
        self.depth = depth
        self.n_components = n_components
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike | Rows, y: Any = None) -> Self:
        """Draw the centres, and compute the normalisation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Rows
            Of Rows, which `scan` makes, the centres are among some that are drawn in one pass.
        y : None
            Ignored.

        Returns
        -------
        self : object
        """
        seed = draw_seed(self.random_state)
        rows = rows_to_fit(self, X) if isinstance(X, Rows) else None
        if rows is None:
            X = checked_rows(self, X, reset=True)
        else:
            X = look(rows, draw, max(DRAWN_ROWS, self.n_components), seed)[-1].X
        points = distinct_rows(X)[0]
        chosen = points[np.sort(np.random.default_rng(seed).permutation(len(points))[: self.n_components])]
        m = len(chosen)
        require_memory(m, 5, "Use fewer n_components.")
        self.components_: np.ndarray = X[chosen]
        if rows is None:
            self.component_indices_: np.ndarray = chosen
        else:
            vars(self).pop("component_indices_", None)
        self.kernel_: Any = self._kernel()
        w, U = eigh(call_kernel(self.kernel_, self.components_), overwrite_a=True, check_finite=False, driver="evd")
        if w[0] < -INDEFINITE * w[-1]:
            raise not_psd(f"an eigenvalue of {w[0]:.1e}, where the largest is {w[-1]:.1e}")
        seen = w > m * ROUNDING * w[-1]
        self.normalization_: np.ndarray = (U[:, seen] / np.sqrt(w[seen])) @ U[:, seen].T
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Return the features of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        features : ndarray of shape (n_samples, n_centres)
        """
        check_is_fitted(self)
        X = checked_rows(self, X)
        require_memory((len(X), self._n_features_out), 2, "Use fewer rows at a time, or fewer n_components.")
        return call_kernel(self.kernel_, X, self.components_) @ self.normalization_

    def _kernel(self):
        if isinstance(self.kernel, str):
            return {"ntk": NTK, "nngp": NNGP}[self.kernel](self.depth)
        return as_kernel(self.kernel)

    @property
    def _n_features_out(self):
        return len(self.components_)
