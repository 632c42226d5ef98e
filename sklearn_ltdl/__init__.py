"""Learning theory for trained networks, as scikit-learn estimators.

Every public name is loaded on first use, so importing the package is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    "regime_path": "diagnostics",
    "RegimePathDisplay": "diagnostics",
    "explain_as_kernel": "diagnostics",
    "make_table_pipeline": "tables",
    "scan": "rows",
    "Rows": "rows",
    "compare": "study",
    "ComparisonDisplay": "study",
    "LazyToRichDisplay": "study",
    "ContrastCurveDisplay": "study",
}

if TYPE_CHECKING:  # for editors and type checkers; a test checks that it equals the mapping
    from sklearn_ltdl.diagnostics import (
        RegimeDisplay,
        RegimePathDisplay,
        ScalePathDisplay,
        explain_as_kernel,
        regime_path,
        regime_report,
        scale_path,
    )
    from sklearn_ltdl.linear import (
        ConvergenceDisplay,
        SAGClassifier,
        SAGRegressor,
        alpha_from_c,
        alpha_from_ridge,
        compare_solvers,
        duality_gap,
    )
    from sklearn_ltdl.networks import (
        LazyNetClassifier,
        LazyNetRegressor,
        MeanFieldTwoLayerNet,
        MeanFieldTwoLayerNetClassifier,
        ParticleFlowDisplay,
        TangentFeatures,
        certify,
    )
    from sklearn_ltdl.ntk import (
        AGOPDisplay,
        NTKKernelClassifier,
        NTKKernelRegressor,
        NTKNystroem,
        RFMClassifier,
        RFMRegressor,
    )
    from sklearn_ltdl.rows import Rows, scan
    from sklearn_ltdl.study import (
        ComparisonDisplay,
        ContrastCurveDisplay,
        LazyToRichDisplay,
        compare,
    )
    from sklearn_ltdl.tables import make_table_pipeline

__all__ = [
    "AGOPDisplay",
    "ComparisonDisplay",
    "ContrastCurveDisplay",
    "ConvergenceDisplay",
    "LazyNetClassifier",
    "LazyNetRegressor",
    "LazyToRichDisplay",
    "MeanFieldTwoLayerNet",
    "MeanFieldTwoLayerNetClassifier",
    "NTKKernelClassifier",
    "NTKKernelRegressor",
    "NTKNystroem",
    "ParticleFlowDisplay",
    "RFMClassifier",
    "RFMRegressor",
    "RegimeDisplay",
    "RegimePathDisplay",
    "Rows",
    "SAGClassifier",
    "SAGRegressor",
    "ScalePathDisplay",
    "TangentFeatures",
    "__version__",
    "alpha_from_c",
    "alpha_from_ridge",
    "certify",
    "compare",
    "compare_solvers",
    "duality_gap",
    "explain_as_kernel",
    "make_table_pipeline",
    "regime_path",
    "regime_report",
    "scale_path",
    "scan",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
