"""Networks of one and more hidden layers, lazy or mean-field, trained by one engine."""

from sklearn_ltdl.networks._estimators import (
    LazyNetClassifier,
    LazyNetRegressor,
    MeanFieldTwoLayerNet,
    MeanFieldTwoLayerNetClassifier,
)
from sklearn_ltdl.networks._features import TangentFeatures

__all__ = [
    "LazyNetClassifier",
    "LazyNetRegressor",
    "MeanFieldTwoLayerNet",
    "MeanFieldTwoLayerNetClassifier",
    "TangentFeatures",
]
