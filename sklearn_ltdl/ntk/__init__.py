"""Kernels of infinitely wide networks, and ridge machines that choose their own penalty."""

from sklearn_ltdl.ntk._estimators import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk._kernels import NNGP, NTK, RBF, Laplace, nngp_kernel, ntk_kernel

__all__ = [
    "NNGP",
    "NTK",
    "RBF",
    "Laplace",
    "NTKKernelClassifier",
    "NTKKernelRegressor",
    "nngp_kernel",
    "ntk_kernel",
]
