from typing import NamedTuple

import numpy as np
import pytest
from scipy import sparse

from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.losses import LOSSES


class Case(NamedTuple):
    X: np.ndarray
    Y: np.ndarray
    weight: np.ndarray

    def problem(self, loss, alpha=0.05, weighted=True, fit_intercept=True, layout=np.asarray, l1_ratio=0.0):
        weight = self.weight if weighted else None
        return FiniteSum(layout(self.X), self.Y, LOSSES[loss], alpha, weight, fit_intercept, l1_ratio)


@pytest.fixture
def case():
    """Return a function from a loss to small, half empty data whose weights are 50 on a few rows and 0.1 elsewhere."""

    def make(loss, n=60, p=4):
        rng = np.random.default_rng(0)
        X = np.where(rng.random((n, p)) < 0.5, rng.normal(1, 1, size=(n, p)), 0.0)
        score = X @ rng.normal(size=(p, 3)) + rng.normal(size=(n, 3))
        Y = {
            "squared": score[:, :2] + 3,
            "huber": score[:, :2] + 3,
            "multinomial": np.eye(3)[score.argmax(axis=1)],
        }.get(loss, 1.0 * (score[:, :1] > 0.5))
        return Case(X, Y, np.where(np.arange(n) % 20 == 7, 50.0, 0.1))

    return make


@pytest.fixture(params=["dense", "csr"])
def layout(request):
    return {"dense": np.asarray, "csr": sparse.csr_array}[request.param]
