"""Kernels as immutable objects that can be called, added and multiplied, and as plain functions."""

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, fields
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array

from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.ntk._passes import NUMPY_TILE, squared_distances, tiled
from sklearn_ltdl.ntk._recursion import Layers, network_diagonal, network_kernel


class Kernel(ABC):
    """A positive semi-definite function of two rows, evaluated for all pairs at once.

    ``kernel(X, Z)`` is the matrix of shape (len(X), len(Z)); ``kernel(X)`` is the symmetric matrix, computed with half
    the work; ``kernel(x, z)`` is a number for two rows. Kernels may be added, multiplied, and multiplied by a number.
    """

    def __call__(self, X: Any, Z: Any = None) -> Any:
        """Return the kernel between the rows of `X` and of `Z`.

        Parameters
        ----------
        X : array-like of shape (n, d), or one row of shape (d,)
        Z : array-like of shape (m, d), or one row of shape (d,), default=None
            None means `X` itself, computed with half the work.

        Returns
        -------
        K : ndarray of shape (n, m), or float for two rows
            In single precision if `X` and `Z` are and the kernel is that of a network, else in double precision. Values
            out of range are infinite or NaN.
        """
        if np.ndim(X) == 1 and (Z is None or np.ndim(Z) == 1):
            return self(np.atleast_2d(X), np.atleast_2d(X if Z is None else Z))[0, 0]
        X = _rows(X, "X")
        if Z is None:
            return self._matrix(X, None)
        Z = _rows(Z, "Z")
        if Z.shape[1] != X.shape[1]:
            raise ValueError(f"Z has {Z.shape[1]} columns, but X has {X.shape[1]}; they must have the same.")
        return self._matrix(X, Z)

    def diag(self, X: ArrayLike) -> np.ndarray:
        """Return the kernel of each row with itself, without the matrix.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        diagonal : ndarray of shape (n,)
        """
        return self._diagonal(_rows(X, "X"))

    @abstractmethod
    def _matrix(self, X, Z) -> np.ndarray:
        """Return the matrix for checked arrays, or the symmetric matrix of X if `Z` is None."""

    @abstractmethod
    def _diagonal(self, X) -> np.ndarray:
        """Return the diagonal for a checked array."""

    def __add__(self, other: Any) -> "Sum":
        return Sum(self, other) if isinstance(other, Kernel) else NotImplemented

    def __mul__(self, other: Any) -> "Kernel":
        if isinstance(other, Kernel):
            return Product(self, other)
        return Scaled(self, float(other)) if isinstance(other, Real) else NotImplemented

    __rmul__ = __mul__


@dataclass(frozen=True)
class Sum(Kernel):
    """Sum of two kernels."""

    left: Kernel
    right: Kernel

    def _matrix(self, X, Z):
        K = self.left._matrix(X, Z)
        K += self.right._matrix(X, Z)
        return K

    def _diagonal(self, X):
        return self.left._diagonal(X) + self.right._diagonal(X)


@dataclass(frozen=True)
class Product(Kernel):
    """Product of two kernels, entry by entry."""

    left: Kernel
    right: Kernel

    def _matrix(self, X, Z):
        K = self.left._matrix(X, Z)
        K *= self.right._matrix(X, Z)
        return K

    def _diagonal(self, X):
        return self.left._diagonal(X) * self.right._diagonal(X)


@dataclass(frozen=True)
class Scaled(Kernel):
    """A kernel times a non-negative number."""

    kernel: Kernel
    factor: float

    def __post_init__(self):
        if not 0 <= self.factor < np.inf:
            raise ValueError(f"A kernel can only be multiplied by a finite factor of at least 0; got {self.factor}.")

    def _matrix(self, X, Z):
        K = self.kernel._matrix(X, Z)
        K *= self.factor
        return K

    def _diagonal(self, X):
        return self.factor * self.kernel._diagonal(X)


@dataclass(frozen=True, eq=False)
class Transformed(Kernel):
    """A kernel of rows that are first multiplied by a matrix, such as a learned metric."""

    kernel: Kernel
    matrix: np.ndarray

    def _matrix(self, X, Z):
        return self.kernel._matrix(X @ self.matrix, None if Z is None else Z @ self.matrix)

    def _diagonal(self, X):
        return self.kernel._diagonal(X @ self.matrix)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kernel!r}, {' x '.join(map(str, self.matrix.shape))} matrix)"


@dataclass(frozen=True, repr=False)
class NNGP(Kernel):
    r"""Covariance of the outputs of an infinitely wide fully connected network at initialisation.

    Parameters
    ----------
    depth : int, default=1
        Number of hidden layers; 0 is the linear kernel.
    activation : str or activation object, default='relu'
        'relu', 'leaky_relu', 'abs', 'identity', 'erf', 'gelu', 'sin', 'cos', 'monomial' (the square) have closed forms;
        'tanh', 'softplus', and objects with methods `value` and `derivative`, are expanded in Hermite polynomials. Use
        an object of `sklearn_ltdl.activations` to set a slope or a degree: ``LeakyRelu(0.2)``, ``Monomial(3)``.
    w_std : float, default=None
        Standard deviation of the weights times the square root of the width. None takes the activation's gain: sqrt(2)
        for ReLU and GELU, 1 for most others. ReLU kernels then neither explode nor vanish with `depth`.
    b_std : float, default=1.0
        Constant coordinate appended to ``x / sqrt(d)``; it is the bias of the first layer. Without a bias, the kernel
        of a ReLU network is homogeneous in x and cannot represent every function.
    hidden_b_std : float, default=0.0
        Standard deviation of the biases of the deeper layers.
    normalization : {'ntk', 'arora'}, default='ntk'
        'arora' uses the inner product of inputs ``<x, z> + b_std^2`` instead of ``w_std^2 (<x, z> / d + b_std^2)``.
        With ``b_std=0`` this is the kernel of [2]_, and with ``w_std=1``, too, the kernel of its code.

    Notes
    -----
    At the default `w_std`, the error of closed forms is about ``1e-15 (depth + 1)`` relative to ``sqrt(k(x, x) k(z,
    z))``, for rows of any norm whose square does not overflow, including parallel and equal rows. For compiled tiles of
    more than 1000 by 1000 entries it is ``1e-13 (depth + 1)``. Powers multiply the rounding error by their degree in
    every layer.

    Hermite polynomials are accurate for inputs of moderate variance ``w_std^2 (|x|^2 / d + b_std^2)``. With one layer,
    the error is 1e-13 up to a variance of 1 for 'tanh' and of 4 for 'sigmoid' and 'softplus'; 1e-6 up to 4, 16 and 20;
    and 1e-3 up to 9, 40 and 150. A warning is raised if more than 1e-3 of a mean square is missing.

    References
    ----------
    .. [1] J. Lee et al. "Deep neural networks as Gaussian processes". ICLR 2018, arXiv:1711.00165, equation 5.
    .. [2] S. Arora et al. "Harnessing the power of infinitely wide deep nets on small-data tasks". ICLR 2020,
       arXiv:1910.01663.

    Examples
    --------
    >>> from sklearn_ltdl.ntk import NNGP
    >>> NNGP(depth=1)([[1.0], [-1.0]]).round(3)
    array([[4.   , 1.273],
           [1.273, 4.   ]])
    """

    depth: int = 1
    _: KW_ONLY
    activation: object = "relu"
    w_std: float | None = None
    b_std: float = 1.0
    hidden_b_std: float = 0.0
    normalization: str = "ntk"

    _normalizations = ("ntk", "arora")

    def __post_init__(self) -> None:
        _check("depth", self.depth, Integral, 0)
        for name in ("b_std", "hidden_b_std"):
            _check(name, getattr(self, name), Real, 0)
        if self.w_std is not None:
            _check("w_std", self.w_std, Real, 0, open=True)
        if self.normalization not in self._normalizations:
            raise ValueError(f"normalization is {self.normalization!r}; it must be one of {self._normalizations}.")
        known = ACTIVATIONS if isinstance(self.activation, str) else None
        if known is not None and self.activation not in known:
            raise ValueError(f"activation is {self.activation!r}; known are {', '.join(known)}, or give an object.")
        if known is None and not (hasattr(self.activation, "value") and hasattr(self.activation, "derivative")):
            raise ValueError(f"activation is {self.activation!r}; an object must have methods value and derivative.")

    def __repr__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = [field.name for field in fields(self) if field.name == "depth" or values[field.name] != field.default]
        return f"{type(self).__name__}({', '.join(f'{name}={values[name]!r}' for name in changed)})"

    @property
    def nngp(self) -> "NNGP":
        """Return the kernel that is the covariance of the same network's outputs at initialisation."""
        return self

    @property
    def layers(self) -> Layers:
        """Return the layers of the network."""
        activation = ACTIVATIONS.resolve(self.activation)
        gain = ACTIVATIONS.member(activation, "gain") if self.w_std is None else self.w_std
        return Layers(
            self.depth,
            activation,
            gain,
            self.b_std,
            self.hidden_b_std,
            fixed=self.depth,
            standard_input=self.normalization == "ntk",
        )

    def _matrix(self, X, Z):
        return network_kernel(self.layers, X, Z)

    def _diagonal(self, X):
        return network_diagonal(self.layers, X)


@dataclass(frozen=True, repr=False)
class NTK(NNGP):
    r"""Neural tangent kernel of an infinitely wide fully connected network.

    Parameters
    ----------
    depth, activation, w_std, b_std, hidden_b_std
        As in `NNGP`.
    normalization : {'ntk', 'arora', 'scikit-ntk'}, default='ntk'
        'arora' is as in `NNGP`. With 'scikit-ntk' the inner product is ``<x, z>``, every layer has biases with factor
        `b_std` that start at zero and are trained, and the kernel is divided by ``(depth + 1) (b_std^2 + 1)``. This is
        for positively homogeneous activations only.
    fixed_layers : int, default=0
        Number of weight matrices, counted from the input, that are not trained. With ``fixed_layers=depth`` the kernel
        is the NNGP.

    References
    ----------
    .. [1] A. Jacot, F. Gabriel, C. Hongler. "Neural tangent kernel: convergence and generalization in neural
       networks". NeurIPS 2018, arXiv:1806.07572, Theorem 1.
    .. [2] S. Arora et al. "Harnessing the power of infinitely wide deep nets on small-data tasks". ICLR 2020,
       arXiv:1910.01663.

    Examples
    --------
    >>> from sklearn_ltdl.ntk import NTK, RBF
    >>> NTK(depth=1)([[1.0], [-1.0]]).round(3)
    array([[8.   , 1.273],
           [1.273, 8.   ]])
    >>> kernel = NTK(depth=3) + 0.5 * RBF(length_scale=2.0)
    >>> kernel.diag([[1.0]])
    array([16.5])
    """

    _: KW_ONLY
    fixed_layers: int = 0

    _normalizations = ("ntk", "arora", "scikit-ntk")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("fixed_layers", self.fixed_layers, Integral, 0)
        if self.fixed_layers > self.depth:
            raise ValueError(f"fixed_layers is {self.fixed_layers}; it must be at most depth, which is {self.depth}.")
        if self._scikit_ntk and not (hasattr(ACTIVATIONS.resolve(self.activation), "bend") and self._all_trained):
            raise ValueError(
                "normalization='scikit-ntk' needs activation 'relu', 'leaky_relu', 'abs' or 'identity', and neither "
                f"hidden_b_std nor fixed_layers; got {self}."
            )

    @property
    def nngp(self) -> "NNGP":
        """Return the kernel that is the covariance of the same network's outputs at initialisation."""
        names = ("depth", "activation", "w_std", "b_std", "hidden_b_std", "normalization")
        options = {name: getattr(self, name) for name in names}
        return NNGP(**options | ({"normalization": "arora", "b_std": 0.0} if self._scikit_ntk else {}))

    @property
    def _scikit_ntk(self):
        return self.normalization == "scikit-ntk"

    @property
    def _all_trained(self):
        return self.hidden_b_std == 0 and self.fixed_layers == 0

    @property
    def layers(self) -> Layers:
        """Return the layers of the network."""
        layers = super().layers._replace(fixed=self.fixed_layers)
        return layers._replace(b_std=0.0, zero_biases=self.b_std) if self._scikit_ntk else layers

    @property
    def _divisor(self):
        return (self.depth + 1) * (self.b_std**2 + 1) if self._scikit_ntk else 1

    def _matrix(self, X, Z):
        K = super()._matrix(X, Z)
        K /= self._divisor
        return K

    def _diagonal(self, X):
        return super()._diagonal(X) / self._divisor


@dataclass(frozen=True)
class Laplace(Kernel):
    r"""The kernel :math:`\exp(-|x - z| / \ell)` with the Euclidean norm.

    On a sphere it has the same function space as the NTK (Geifman et al. 2020, arXiv:2007.01580).

    Parameters
    ----------
    length_scale : float, default=1.0

    Examples
    --------
    >>> from sklearn_ltdl.ntk import Laplace
    >>> Laplace(length_scale=5.0)([[0.0, 0.0]], [[3.0, 4.0]]).round(4)
    array([[0.3679]])
    """

    length_scale: float = 1.0

    def __post_init__(self) -> None:
        _check("length_scale", self.length_scale, Real, 0, open=True)

    def _matrix(self, X, Z):
        power = np.frexp(max(np.abs(rows).max() for rows in (X, Z) if rows is not None))[1]
        x, z = (None if rows is None else np.ldexp(rows.astype(np.float64), -power) for rows in (X, Z))  # in range
        origin = np.mean(x if z is None else z, axis=0)  # near the data, products lose less  # type: ignore
        x -= origin
        z = x if z is None else z - origin
        with np.errstate(over="ignore"):
            unit = min(np.ldexp(1.0, power) / self.length_scale, np.finfo(float).max)

        def work(K, rows, columns):
            K[rows, columns] = self._profile(unit * np.sqrt(squared_distances(x[rows], z[columns])))

        return tiled(work, len(X), None if Z is None else len(Z), NUMPY_TILE, np.float64)

    def _profile(self, distances):
        return np.exp(-distances)

    def _diagonal(self, X):
        return np.ones(len(X))


@dataclass(frozen=True)
class RBF(Laplace):
    r"""The kernel :math:`\exp(-|x - z|^2 / 2\ell^2)` with the Euclidean norm.

    Parameters
    ----------
    length_scale : float, default=1.0
        Length scale in units of the features; ``1 / sqrt(2 gamma)`` for the `gamma` of scikit-learn's functions.

    Examples
    --------
    >>> from sklearn_ltdl.ntk import RBF
    >>> RBF(length_scale=5.0)([[0.0, 0.0]], [[3.0, 4.0]]).round(4)
    array([[0.6065]])
    """

    def _profile(self, distances):
        return np.exp(-0.5 * distances**2)


def ntk_kernel(X: ArrayLike, Z: ArrayLike | None = None, **options: Any) -> np.ndarray:
    """Compute the neural tangent kernel of an infinitely wide fully connected network.

    Pass this function as `kernel=` to scikit-learn's SVC, KernelRidge and `pairwise_kernels`.

    Parameters
    ----------
    X : array-like of shape (n, d), or one row of shape (d,)
    Z : array-like of shape (m, d), or one row of shape (d,), default=None
        None means `X` itself, computed with half the work.
    **options : dict
        Parameters of `NTK`.

    Returns
    -------
    K : ndarray of shape (n, m), or float for two rows

    Examples
    --------
    >>> from sklearn_ltdl.ntk import ntk_kernel
    >>> ntk_kernel([[1.0], [-1.0]], depth=1).round(3)
    array([[8.   , 1.273],
           [1.273, 8.   ]])
    """
    return NTK(**options)(X, Z)


def nngp_kernel(X: ArrayLike, Z: ArrayLike | None = None, **options: Any) -> np.ndarray:
    """Compute the covariance of the outputs of an infinitely wide network at initialisation.

    Parameters
    ----------
    X : array-like of shape (n, d), or one row of shape (d,)
    Z : array-like of shape (m, d), or one row of shape (d,), default=None
        None means `X` itself, computed with half the work.
    **options : dict
        Parameters of `NNGP`.

    Returns
    -------
    K : ndarray of shape (n, m), or float for two rows

    Examples
    --------
    >>> from sklearn_ltdl.ntk import nngp_kernel
    >>> nngp_kernel([[1.0], [-1.0]], depth=1).round(3)
    array([[4.   , 1.273],
           [1.273, 4.   ]])
    """
    return NNGP(**options)(X, Z)


def _rows(X, name):
    return check_array(X, dtype=[np.float64, np.float32], input_name=name)  # type: ignore


def _check(name, value, kind, least, open=False):
    inside = isinstance(value, kind) and least <= value < np.inf and not (open and value == least)
    if not inside or isinstance(value, bool):
        number = "an integer" if kind is Integral else "a finite number"
        raise ValueError(f"{name} is {value!r}; it must be {number}, {'above' if open else 'at least'} {least}.")
