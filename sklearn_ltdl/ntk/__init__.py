"""Kernels of infinitely wide networks, and ridge machines that choose their own penalty and features."""

from sklearn_ltdl.ntk._display import AGOPDisplay
from sklearn_ltdl.ntk._estimators import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk._kernels import NNGP, NTK, RBF, Laplace, nngp_kernel, ntk_kernel
from sklearn_ltdl.ntk._rfm import RFMClassifier, RFMRegressor

__all__ = [
    "NNGP",
    "NTK",
    "RBF",
    "AGOPDisplay",
    "Laplace",
    "NTKKernelClassifier",
    "NTKKernelRegressor",
    "RFMClassifier",
    "RFMRegressor",
    "nngp_kernel",
    "ntk_kernel",
]
