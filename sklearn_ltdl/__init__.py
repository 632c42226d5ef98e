"""Objects of learning theory that speak of trained networks, as scikit-learn estimators.

Every public name is loaded on first use, so that importing the package costs no more than importing scikit-learn.
"""

from importlib import import_module

__version__ = "0.1.0"

_MODULE_OF = {
    "SAGRegressor": "linear",
    "SAGClassifier": "linear",
    "duality_gap": "linear",
    "compare_solvers": "linear",
    "ConvergenceDisplay": "linear",
    "alpha_from_ridge": "linear",
    "alpha_from_c": "linear",
    "NTKKernelRegressor": "ntk",
    "NTKKernelClassifier": "ntk",
    "NTKNystroem": "ntk",
    "RFMRegressor": "ntk",
    "RFMClassifier": "ntk",
    "AGOPDisplay": "ntk",
    "MeanFieldTwoLayerNet": "networks",
    "MeanFieldTwoLayerNetClassifier": "networks",
    "LazyNetRegressor": "networks",
    "LazyNetClassifier": "networks",
    "TangentFeatures": "networks",
    "certify": "networks",
    "ParticleFlowDisplay": "networks",
    "scale_path": "diagnostics",
    "ScalePathDisplay": "diagnostics",
    "regime_report": "diagnostics",
    "RegimeDisplay": "diagnostics",
    "explain_as_kernel": "diagnostics",
    "make_table_pipeline": "study",
    "compare": "study",
    "ComparisonDisplay": "study",
    "LazyToRichDisplay": "study",
    "ContrastCurveDisplay": "study",
}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__():
    return sorted([*globals(), *_MODULE_OF])
