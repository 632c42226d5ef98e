"""Kernels of infinitely wide networks, and kernel machines that choose their own penalty and learn features."""

from sklearn_ltdl.ntk._display import AGOPDisplay
from sklearn_ltdl.ntk._estimators import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk._features import NTKNystroem
from sklearn_ltdl.ntk._gaussian_process import GaussianProcessKernel
from sklearn_ltdl.ntk._kernels import NNGP, NTK, RBF, Kernel, Laplace, nngp_kernel, ntk_kernel
from sklearn_ltdl.ntk._neural_tangents import StaxKernel, load_neural_tangents
from sklearn_ltdl.ntk._rfm import RFMClassifier, RFMRegressor

__all__ = [
    "NNGP",
    "NTK",
    "RBF",
    "AGOPDisplay",
    "GaussianProcessKernel",
    "Kernel",
    "Laplace",
    "NTKKernelClassifier",
    "NTKKernelRegressor",
    "NTKNystroem",
    "RFMClassifier",
    "RFMRegressor",
    "StaxKernel",
    "load_neural_tangents",
    "nngp_kernel",
    "ntk_kernel",
]
