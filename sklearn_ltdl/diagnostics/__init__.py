"""Diagnostics of the regime of a trained network: lazy, or feature learning."""

from sklearn_ltdl.diagnostics._display import RegimeDisplay, RegimePathDisplay, ScalePathDisplay
from sklearn_ltdl.diagnostics._explain import KernelExplanation, explain_as_kernel
from sklearn_ltdl.diagnostics._rates import Rate, fit_rate
from sklearn_ltdl.diagnostics._regime import RegimeReport, regime_report
from sklearn_ltdl.diagnostics._regime_path import RegimePath, regime_path
from sklearn_ltdl.diagnostics._scale_path import ScalePath, scale_path

__all__ = [
    "KernelExplanation",
    "Rate",
    "RegimeDisplay",
    "RegimePath",
    "RegimePathDisplay",
    "RegimeReport",
    "ScalePath",
    "ScalePathDisplay",
    "explain_as_kernel",
    "fit_rate",
    "regime_path",
    "regime_report",
    "scale_path",
]
