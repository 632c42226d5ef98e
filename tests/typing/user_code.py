"""Typical code of a user, which type checkers must understand: ``reveal_type`` is asserted by ``assert_type``."""

from typing import Any, assert_type

import numpy as np

import sklearn_ltdl
from sklearn_ltdl import (
    LazyNetRegressor,
    MeanFieldTwoLayerNet,
    NTKKernelRegressor,
    RFMClassifier,
    SAGClassifier,
    SAGRegressor,
    certify,
    compare,
    duality_gap,
    regime_report,
    scale_path,
)
from sklearn_ltdl.activations import ACTIVATIONS, Relu
from sklearn_ltdl.datasets import make_parity
from sklearn_ltdl.diagnostics import RegimeReport, ScalePath
from sklearn_ltdl.results import Certificate, RegularizationPath
from sklearn_ltdl.study import Comparison, Contender


def typical(X: np.ndarray, y: np.ndarray) -> None:
    """Read by type checkers, never called."""
    assert_type(SAGRegressor(alpha=0.1).fit(X, y), SAGRegressor)
    assert_type(SAGClassifier().fit(X, y).predict_proba(X), np.ndarray)
    assert_type(NTKKernelRegressor().fit(X, y), NTKKernelRegressor)
    assert_type(NTKKernelRegressor().predict(X), np.ndarray)
    assert_type(NTKKernelRegressor().predict(X, return_std=True), tuple[np.ndarray, np.ndarray])
    assert_type(make_parity(100, 5, random_state=0), tuple[np.ndarray, np.ndarray])
    assert_type(Relu.gain, float)
    assert_type(ACTIVATIONS["erf"], Any)
    assert_type(LazyNetRegressor(scale=10).fit(X, y), LazyNetRegressor)
    assert_type(RFMClassifier().fit(X, y), RFMClassifier)
    assert_type(sklearn_ltdl.MeanFieldTwoLayerNet().fit(X, y), MeanFieldTwoLayerNet)
    assert_type(SAGRegressor().path(X, y, [0.1]), RegularizationPath)
    assert_type(duality_gap(SAGRegressor(), X, y), float)
    assert_type(compare(X, y, models=["linear"]), Comparison)
    assert_type(compare(X, y, also={"mine": Contender(SAGRegressor(), "linear")}).best, str)
    assert_type(compare(X, y).verdict.code, str)
    assert_type(certify(MeanFieldTwoLayerNet(), X, y), Certificate)
    assert_type(regime_report(None, X, y), RegimeReport)
    assert_type(scale_path(X, y, estimator=LazyNetRegressor()), ScalePath)
