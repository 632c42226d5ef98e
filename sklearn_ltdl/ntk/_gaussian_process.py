"""Adapter from kernels of this package to kernels of `sklearn.gaussian_process`."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.gaussian_process.kernels import Kernel as ProcessKernel


class GaussianProcessKernel(ProcessKernel):
    """A `Kernel` object for scikit-learn's Gaussian processes, without hyperparameters to optimise.

    Combine it with `ConstantKernel` and `WhiteKernel`, whose amplitude and noise are optimised as usual.

    Parameters
    ----------
    kernel : Kernel
        Kernel object, such as ``NTK(depth=2)``.

    Examples
    --------
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel
    >>> from sklearn_ltdl.ntk import NTK, GaussianProcessKernel
    >>> kernel = ConstantKernel() * GaussianProcessKernel(NTK(depth=2)) + WhiteKernel()
    >>> process = GaussianProcessRegressor(kernel).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.5])
    >>> process.predict([[0.5]]).shape
    (1,)
    """

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __call__(self, X: ArrayLike, Y: ArrayLike | None = None, eval_gradient: bool = False) -> Any:
        """Return the matrix and, if `eval_gradient`, an empty gradient of shape (n, n, 0)."""
        K = self.kernel(X, Y)
        return (K, np.empty((*K.shape, 0))) if eval_gradient else K

    def diag(self, X: ArrayLike) -> np.ndarray:
        """Return the diagonal."""
        return self.kernel.diag(X)

    def is_stationary(self) -> bool:
        """Return False: the kernel is not assumed to be stationary."""
        return False
