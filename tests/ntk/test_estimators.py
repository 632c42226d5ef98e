import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor


@parametrize_with_checks([NTKKernelRegressor(), NTKKernelClassifier()])
def test_sklearn_checks(estimator, check):
    check(estimator)
