import jax
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import LazyNetRegressor, SAGRegressor, TangentFeatures
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.networks._linearized import tangent_gram
from sklearn_ltdl.networks._model import Network, feature_map
from sklearn_ltdl.networks._objective import outputs
from sklearn_ltdl.ntk import _solvers, ntk_kernel
from sklearn_ltdl.scalings import Scaling


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_features_are_the_automatic_gradient_and_their_products_the_tangent_kernel(rng, depth, activation):
    X = rng.standard_normal((9, 3))
    map = TangentFeatures(width=8, depth=depth, activation=activation, random_state=0).fit(X)
    features, phi = map.transform(X), feature_map(X)
    network = Network(ACTIVATIONS[activation], Scaling(0.5), ACTIVATIONS[activation].gain)
    with jax.enable_x64(True):
        gradient = jax.jacobian(lambda w: outputs(network, w, phi)[:, 0])(map.weights_)
        expected = np.hstack([np.asarray(layer).reshape(9, -1) for layer in gradient])
    np.testing.assert_allclose(features, expected, atol=1e-13 * np.abs(expected).max())
    gram = tangent_gram(network, map.weights_, phi)
    np.testing.assert_allclose(features @ features.T, gram, atol=1e-12 * gram.max())
    assert features.shape[1] == len(map.get_feature_names_out()) == 8 * 4 + (depth - 1) * 64 + 8


def test_weights_are_the_first_ones_of_the_network_of_the_same_seed(rng):
    X = rng.standard_normal((30, 3))
    net = LazyNetRegressor(width=8, depth=2, alpha=1.0, tol=1.0, random_state=5).fit(X, X[:, 0])
    for drawn, first in zip(TangentFeatures(width=8, depth=2, random_state=5).fit(X).weights_, net.weights_init_):
        np.testing.assert_array_equal(drawn, first)


@pytest.mark.parametrize("depth", [1, 2])
def test_inner_products_tend_to_the_ntk_as_one_over_the_root_of_width(rng, depth):
    X = rng.standard_normal((12, 5))
    exact, widths, errors = ntk_kernel(X, depth=depth), [16, 64, 256], []
    for width in widths:
        maps = (TangentFeatures(width=width, depth=depth, random_state=seed).fit(X) for seed in range(30))
        grams = (features @ features.T for features in (map.transform(X) for map in maps))
        errors.append(np.sqrt(np.mean([np.mean((gram - exact) ** 2) for gram in grams])))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.1)  # spread of 30 draws, and 1/width at 16


def lazy_problem(rng):
    X = StandardScaler().fit_transform(rng.standard_normal((60, 3)))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + 5.0, rng.standard_normal((20, 3))


@pytest.mark.parametrize("depth", [1, 2])
def test_a_linear_model_of_the_features_is_ridge_with_the_tangent_kernel(rng, depth):
    X, y, new = lazy_problem(rng)
    model = make_pipeline(
        TangentFeatures(width=16, depth=depth, random_state=0), SAGRegressor(alpha=1e-2, tol=1e-12)
    ).fit(X, y)
    network = Network(ACTIVATIONS["relu"], Scaling(0.5), ACTIVATIONS["relu"].gain)
    weights = model[0].weights_
    K = tangent_gram(network, weights, feature_map(np.vstack([X, new])))
    system = np.ones((61, 61))  # (K + n alpha) c + b = y, sum(c) = 0
    system[:60, :60] = K[:60, :60] + 60 * 1e-2 * np.eye(60)
    system[60, 60] = 0.0
    solution = np.linalg.solve(system, np.append(y, 0.0))
    np.testing.assert_allclose(model.predict(new), K[60:, :60] @ solution[:60] + solution[60], rtol=1e-6)


def test_a_network_of_large_scale_is_the_linear_model_up_to_one_over_its_scale(rng):
    X, y, new = lazy_problem(rng)
    options = {"width": 64, "activation": "tanh", "random_state": 0}
    y = (y - y.mean()) / y.std()
    linear = make_pipeline(TangentFeatures(**options), SAGRegressor(alpha=1e-1, tol=1e-12)).fit(X, y).predict(new)
    gaps = []
    for scale in (10.0, 100.0, 1000.0):
        net = LazyNetRegressor(scale=scale, alpha=1e-1, max_iter=5000, tol=1e-13, **options).fit(X, y)
        gaps.append(np.abs(net.predict(new) - linear).max())
    assert gaps[0] < 0.5
    assert gaps[1] < gaps[0] / 5
    assert gaps[2] < gaps[0] / 50


def test_features_beyond_memory_are_refused_before_they_are_made(rng, monkeypatch):
    X = rng.standard_normal((100, 3))
    map = TangentFeatures(width=100, random_state=0).fit(X)
    monkeypatch.setattr(_solvers, "_memory_limit", lambda: 400_000)
    with pytest.raises(MemoryError, match=r"100 x 500 .* GiB.*smaller width, or NTKNystroem"):
        map.transform(X)


def test_features_are_named_and_come_as_a_frame(rng):
    X = rng.standard_normal((5, 1))
    map = TangentFeatures(width=1, random_state=0).set_output(transform="pandas").fit(X)
    assert list(map.transform(X).columns) == ["tangentfeatures0", "tangentfeatures1", "tangentfeatures2"]
