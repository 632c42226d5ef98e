"""Warnings point at the line of the user, however many decorators and libraries lie between."""

import ast
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import sklearn_ltdl
from sklearn_ltdl import (
    LazyNetRegressor,
    MeanFieldTwoLayerNet,
    NTKKernelRegressor,
    RFMRegressor,
    SAGClassifier,
    SAGRegressor,
)
from sklearn_ltdl.ntk import NTK

X = np.random.default_rng(0).normal(size=(40, 3))
y = np.sin(3 * X[:, 0]) * X[:, 1]
WARNING = {
    "iterations": SAGRegressor(solver="sag", max_iter=1, tol=1e-12),
    "classes": SAGClassifier(solver="sag", max_iter=1, tol=1e-12),
    "scales": NTKKernelRegressor(),
    "scales, in the metric of a machine": RFMRegressor(max_rounds=0),
    "steps of a network": MeanFieldTwoLayerNet(width=4, max_iter=2),
    "a start that is not lazy": LazyNetRegressor(width=4, centering=None, scale=100.0, max_iter=2),
    "conjugate gradients": LazyNetRegressor(width=64, mode="linearized", max_iter=1, alpha=1e-9, tol=1e-9),
    "Frank-Wolfe": MeanFieldTwoLayerNet(solver="frank_wolfe", max_iter=1, alpha=1e-4),
    "noise without a guarantee": MeanFieldTwoLayerNet(width=4, temperature=0.1, max_iter=2),
}


def lines(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert caught
    return {warning.filename for warning in caught}


@pytest.mark.parametrize("name", WARNING)
def test_a_warning_of_fit_points_here(name):
    model = WARNING[name]
    labels = (y > 0).astype(int) if name == "classes" else y
    labels = np.stack([y, -y], axis=1) if name == "conjugate gradients" else labels  # one output has a closed form
    table = X * [1.0, 1e5, 1.0] if name.startswith("scales") else X
    assert lines(lambda: model.fit(table, labels)) == {__file__}
    assert lines(lambda: make_pipeline(FunctionTransformer(), model).fit(table, labels)) == {__file__}
    assert lines(lambda: cross_val_score(model, table, labels, cv=2)) == {__file__}


def test_other_warnings_point_here():
    far = 1e4 * X
    assert lines(lambda: NTK(activation="tanh")(far)) == {__file__}
    assert lines(lambda: SAGRegressor(solver="sag", max_iter=1).path(X, y, [1e-6])) == {__file__}


def test_nothing_counts_frames_by_hand():
    package = Path(sklearn_ltdl.__file__).parent
    counted = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "stacklevel"
    ]
    assert counted == ["_sklearn.py"]
