"""Networks with one or more hidden layers, lazy or mean-field, trained by one engine."""

from sklearn_ltdl.networks._display import ParticleFlowDisplay
from sklearn_ltdl.networks._features import TangentFeatures
from sklearn_ltdl.networks._lazy import LazyNetClassifier, LazyNetRegressor
from sklearn_ltdl.networks._mean_field import MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier, certify

__all__ = [
    "LazyNetClassifier",
    "LazyNetRegressor",
    "MeanFieldTwoLayerNet",
    "MeanFieldTwoLayerNetClassifier",
    "ParticleFlowDisplay",
    "TangentFeatures",
    "certify",
]
