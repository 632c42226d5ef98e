"""Kernel machines of infinitely wide networks."""

from sklearn_ltdl.ntk._display import AGOPDisplay
from sklearn_ltdl.ntk._estimators import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk._kernels import laplace_kernel, nngp_kernel, ntk_kernel, rbf_kernel
from sklearn_ltdl.ntk._rfm import RFMClassifier, RFMRegressor

__all__ = [
    "AGOPDisplay",
    "NTKKernelClassifier",
    "NTKKernelRegressor",
    "RFMClassifier",
    "RFMRegressor",
    "laplace_kernel",
    "nngp_kernel",
    "ntk_kernel",
    "rbf_kernel",
]
