"""Kernel machines of infinitely wide networks."""

from sklearn_ltdl.ntk._estimators import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk._kernels import laplace_kernel, nngp_kernel, ntk_kernel, rbf_kernel
from sklearn_ltdl.ntk._neural_tangents import StaxKernel, load_neural_tangents

__all__ = [
    "NTKKernelClassifier",
    "NTKKernelRegressor",
    "StaxKernel",
    "laplace_kernel",
    "load_neural_tangents",
    "nngp_kernel",
    "ntk_kernel",
    "rbf_kernel",
]
