"""Kernel machines of infinitely wide networks."""

from sklearn_ltdl.ntk._estimators import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk._features import NTKNystroem
from sklearn_ltdl.ntk._kernels import laplace_kernel, nngp_kernel, ntk_kernel, rbf_kernel

__all__ = [
    "NTKKernelClassifier",
    "NTKKernelRegressor",
    "NTKNystroem",
    "laplace_kernel",
    "nngp_kernel",
    "ntk_kernel",
    "rbf_kernel",
]
