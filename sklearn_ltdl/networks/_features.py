"""The tangent features of a random network, in which a lazy network is linear."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._sklearn import Interval, Registered, _fit_context, checked_rows, draw_seed
from sklearn_ltdl._types import Seed
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.networks._linearized import tangent_features
from sklearn_ltdl.networks._model import Network, draw_weights, feature_map
from sklearn_ltdl.ntk._solvers import require_memory
from sklearn_ltdl.scalings import Scaling


class TangentFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Gradient of a random network's output with respect to its weights.

    A network that stays near its initial weights :math:`w_0` is linear in the weights, :math:`f(w) \approx f(w_0) +
    Df(w_0)(w - w_0)`, and training it is a convex problem. Ridge regression on these features is the limit of
    `LazyNetRegressor` for large `scale`, with the same `width`, `depth`, `activation` and `random_state`. The inner
    products of the features are the tangent kernel of the network, which converges to `ntk_kernel` at the rate ``1 /
    sqrt(width)``. The columns of `X` should be standardised.

    Parameters
    ----------
    width : int, default=256
        Number of neurons of each hidden layer.
    depth : int, default=1
        Number of hidden layers.
    activation : str, default='relu'
        Activation of the network, as in `LazyNetRegressor`.
    random_state : int, RandomState instance or None, default=None
        Seed for drawing the weights.

    Attributes
    ----------
    weights_ : tuple of ndarray
        Standard normal weights of each layer, of shape (1, width, fan_in); the last is the read-out, of shape (1,
        width, 1). The features are in this order, each array in row-major order.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined if `X` has string column names.

    See Also
    --------
    NTKNystroem : Far fewer features, of the infinitely wide network's kernel.
    LazyNetRegressor : Train the network itself.

    Notes
    -----
    A network with one hidden layer has ``width * (n_features + 2)`` features; each further layer adds ``width ** 2``. A
    penalty `alpha` on their coefficients, relative to the mean loss, is the same as the `alpha` of `LazyNetRegressor`.

    References
    ----------
    .. [1] A. Jacot, F. Gabriel, C. Hongler. "Neural tangent kernel: convergence and generalization in neural
       networks". NeurIPS 2018, arXiv:1806.07572.
    .. [2] L. Chizat, E. Oyallon, F. Bach. "On lazy training in differentiable programming". NeurIPS 2019, section 1.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import SAGRegressor, TangentFeatures
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), TangentFeatures(width=64, random_state=0), SAGRegressor(alpha=0.3))
    >>> round(model.fit(X[:300], y[:300]).score(X[300:], y[300:]), 1)
    0.5
    """

    _parameter_constraints: dict = {
        "width": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, 1000, closed="both")],
        "activation": [Registered(ACTIVATIONS, ("value", "derivative"))],
        "random_state": ["random_state"],
    }

    def __init__(
        self, *, width: int = 256, depth: int = 1, activation: str | Any = "relu", random_state: Seed = None
    ) -> None:
        self.width = width
        self.depth = depth
        self.activation = activation
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Draw the weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        self : object
        """
        X = checked_rows(self, X, reset=True)
        rng = np.random.default_rng(draw_seed(self.random_state))
        self.weights_: tuple[np.ndarray, ...] = draw_weights(
            X.shape[1] + 1, 1, width=self.width, depth=self.depth, doubled=False, rng=rng
        )
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Return the gradient at each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        features : ndarray of shape (n_samples, n_weights)

        Raises
        ------
        MemoryError
            If the features would not fit in memory; raised before they are computed.
        """
        check_is_fitted(self)
        X = checked_rows(self, X)
        require_memory((len(X), self._n_features_out), 2, "Use fewer rows at a time, a smaller width, or NTKNystroem.")
        activation = ACTIVATIONS.resolve(self.activation)
        network = Network(activation, Scaling(power=0.5), ACTIVATIONS.member(activation, "gain"))
        return tangent_features(network, self.weights_, feature_map(X))

    @property
    def _n_features_out(self):
        return sum(layer.size for layer in self.weights_)
