"""The example in plain NumPy takes the same steps as the package."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from sklearn_ltdl import LazyNetRegressor, MeanFieldTwoLayerNet


@pytest.fixture(scope="module")
def train():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    example = Path(__file__).parents[2] / "examples" / "plot_lazy_in_fifty_lines.py"
    return runpy.run_path(str(example))["train"]


def table():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60, 3))
    X = X[X[:, 0].argsort()]  # as the package sorts rows: the power iterations start from a vector by row number
    y = np.abs(X[:, 0])
    return X, (y - y.mean()) / y.std()


@pytest.mark.parametrize(("scale", "alpha"), [(10.0, 1e-3), (1.0, 1e-3), (0.1, 0.0)])
def test_lazy_training_in_numpy_is_that_of_the_package(train, scale, alpha):
    """With a scale below 1 and a penalty, the steps of the package are preconditioned."""
    X, y = table()
    options = {"alpha": alpha, "tol": 0.0, "max_iter": 200, "early_stopping": False, "random_state": 0}
    net = LazyNetRegressor(width=40, activation="tanh", scale=scale, normalize_y=False, **options)
    with pytest.warns(UserWarning, match="max_iter"):
        net.fit(X, y)
    A, B = (layer[0] for layer in net.weights_init_)
    w, losses = train(X, y[:, None], A, B, scale / np.sqrt(40), alpha, lazy=True, n_steps=200)
    assert np.hstack([layer[0] for layer in net.weights_]) == pytest.approx(w, abs=1e-10)
    assert net.loss_curve_ == pytest.approx(losses, abs=1e-10)


def test_mean_field_training_in_numpy_is_that_of_the_package(train):
    X, y = table()
    options = {"alpha": 1e-3, "tol": 0.0, "max_iter": 200, "early_stopping": False, "random_state": 0}
    net = MeanFieldTwoLayerNet(width=40, activation="tanh", solver="gd", normalize_y=False, **options)
    with pytest.warns(UserWarning, match="max_iter"):
        net.fit(X, y)
    A, B = net.particles_init_[:, :-1], net.particles_init_[:, -1:]
    w, losses = train(X, y[:, None], A, B, 1 / 40, 1e-3, lazy=False, n_steps=200)
    assert net.particles_ == pytest.approx(w, abs=1e-10)
    assert net.loss_curve_ == pytest.approx(losses, abs=1e-10)
