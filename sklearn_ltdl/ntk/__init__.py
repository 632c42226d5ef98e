"""Kernels of infinitely wide networks, and ridge machines that choose their own penalty."""

from sklearn_ltdl.ntk._estimators import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk._features import NTKNystroem
from sklearn_ltdl.ntk._gaussian_process import GaussianProcessKernel
from sklearn_ltdl.ntk._kernels import NNGP, NTK, RBF, Kernel, Laplace, nngp_kernel, ntk_kernel
from sklearn_ltdl.ntk._neural_tangents import StaxKernel, load_neural_tangents

__all__ = [
    "NNGP",
    "NTK",
    "RBF",
    "GaussianProcessKernel",
    "Kernel",
    "Laplace",
    "NTKKernelClassifier",
    "NTKKernelRegressor",
    "NTKNystroem",
    "StaxKernel",
    "load_neural_tangents",
    "nngp_kernel",
    "ntk_kernel",
]
