"""What every view of a network owes the diagnostics, by the same tests for whoever trained it."""

import copy
import importlib.util

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sklearn_ltdl import (
    LazyNetClassifier,
    LazyNetRegressor,
    MeanFieldTwoLayerNet,
    MeanFieldTwoLayerNetClassifier,
    regime_report,
)
from sklearn_ltdl.diagnostics._perceptron import initial_weights
from sklearn_ltdl.diagnostics._trained import trained_network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: pip install torch==2.13.0")

ESTIMATORS = {
    "lazy": LazyNetRegressor(width=5, depth=2, activation="tanh", max_iter=20, random_state=0),
    "lazy of classes": LazyNetClassifier(width=5, activation="gelu", max_iter=20, random_state=0),
    "doubled": LazyNetRegressor(width=6, activation="tanh", centering="doubled", max_iter=20, random_state=0),
    "mean-field": MeanFieldTwoLayerNet(width=6, activation="tanh", max_iter=20, random_state=0),
    "signs": MeanFieldTwoLayerNet(width=6, activation="quadratic", max_iter=20, random_state=0),
    "mean-field of classes": MeanFieldTwoLayerNetClassifier(width=6, max_iter=20, random_state=0),
    "mlp": MLPRegressor(hidden_layer_sizes=(5, 4), activation="tanh", max_iter=20, random_state=0),
    "mlp of classes": MLPClassifier(hidden_layer_sizes=(5,), activation="logistic", max_iter=20, random_state=0),
}


def layered(parameters, X):
    """Return two outputs of a network in JAX, which reads a batch as it comes."""
    hidden = jnp.tanh(X @ parameters["a"]["kernel"] + parameters["a"]["bias"])
    return jnp.sin(hidden @ parameters["b"]) * parameters["scale"]


def row_of(parameters, X):
    """Return one output, from what is no layer: the weights are used twice, and a power of them."""
    return jnp.sum(jnp.tanh(X @ parameters["w"]) @ parameters["w"].T * X, axis=1) + jnp.sum(parameters["w"] ** 3)


def of_jax(name, rng):
    def draw(*shape):
        return rng.standard_normal(shape)

    def parameters():
        if name == "layers of JAX":
            return {"a": {"kernel": draw(3, 5), "bias": draw(5)}, "b": draw(5, 2), "scale": draw()}
        return {"w": draw(3, 4)}

    return (layered if name == "layers of JAX" else row_of), parameters(), parameters()


def of_torch(name):
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = {
        "module": lambda: nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 2)),
        "convolution": lambda: nn.Sequential(
            nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 2), nn.GELU(), nn.Flatten(), nn.Linear(8, 2)
        ),
    }[name]()
    first = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        for value in module.parameters():
            value += 0.3 * torch.randn_like(value)
    return module, first


KINDS = [
    *ESTIMATORS,
    "layers of JAX",
    "function of JAX",
    *(pytest.param(name, marks=needs_torch) for name in ("module", "convolution")),
]


@pytest.fixture(params=KINDS)
def view(request, rng):
    """Return a function, weights after training, and rows."""
    name, X = request.param, rng.standard_normal((24, 3))
    if name in ESTIMATORS:
        y = np.arange(24) % 3 if "classes" in name else np.sin(X[:, 0]) + X[:, 1] ** 2
        trained, rows, _, _ = trained_network(copy.deepcopy(ESTIMATORS[name]).fit(X, y), X, y)
    elif "JAX" in name:
        function, before, after = of_jax(name, rng)
        y = rng.standard_normal((24, 2 if name == "layers of JAX" else 1))
        trained, rows, _, _ = trained_network(function, X, y, before=before, after=after)
    else:
        module, first = of_torch(name)
        trained, rows, _, _ = trained_network(module, X, rng.standard_normal((24, 2)), before=first)
    return trained.function, trained.after, rows[:6]


def units(weights):
    """Yield a move of one weight by 1, for each."""
    for k, layer in enumerate(weights):
        for place in np.ndindex(layer.shape):
            move = [np.zeros(other.shape) for other in weights]
            move[k][place] = 1.0
            yield tuple(move)


def test_the_kernel_is_the_tangent_along_the_gradient_of_a_row(view):
    function, weights, X = view
    jacobian = np.stack([function.tangent(weights, move, X) for move in units(weights)], axis=2)  # (n, outputs, P)
    expected = np.einsum("ikp,jkp->ij", jacobian, jacobian) / jacobian.shape[1]
    K = function.kernel(weights, X)
    np.testing.assert_allclose(K, expected, rtol=0, atol=1e-10 * expected.max())
    np.testing.assert_allclose(function.kernel(weights, X[:4], X[2:]), K[:4, 2:], rtol=0, atol=1e-12 * K.max())
    np.testing.assert_array_equal(K, K.T)


def test_the_tangent_is_the_derivative_of_the_outputs(view, rng):
    function, weights, X = view
    move, step = tuple(rng.standard_normal(layer.shape) for layer in weights), 1e-5
    up, down = (
        function.outputs(tuple(layer + sign * step * change for layer, change in zip(weights, move)), X)
        for sign in (1, -1)
    )
    slopes = function.tangent(weights, move, X)
    np.testing.assert_allclose(slopes, (up - down) / (2 * step), atol=1e-7 * np.abs(slopes).max())  # O(step^2)


def test_gradients_in_the_row_are_derivatives_of_the_outputs(view):
    function, weights, X = view
    gradients, step = function.input_gradients(weights, X), 1e-5
    for k in range(X.shape[1]):
        e = step * np.eye(X.shape[1])[k]
        numeric = (function.outputs(weights, X + e) - function.outputs(weights, X - e)) / (2 * step)
        np.testing.assert_allclose(gradients[:, :, k], numeric, atol=1e-7 * np.abs(gradients).max())  # O(step^2)


UNKNOWN = {"kappa", "activation_flips"}  # a lower bound from random starts; and what a function does not show


@pytest.mark.parametrize("classes", [False, True], ids=["numbers", "classes"])
@pytest.mark.parametrize("kind", ["JAX", pytest.param("PyTorch", marks=needs_torch)])
def test_carried_weights_give_the_numbers_of_scikit_learn(kind, classes, rng):
    """Three implementations, in float64: the rest is rounding, which the two solves of ridge enlarge."""
    X = rng.standard_normal((40, 4))
    y = np.sin(X[:, 0]) + X[:, 1] ** 2
    y = np.digitize(y, [0.0, 1.0]) if classes else y
    kind_of_mlp = MLPClassifier if classes else MLPRegressor
    network = kind_of_mlp(hidden_layer_sizes=(7, 5), activation="tanh", max_iter=200, random_state=0)
    first, last = initial_weights(network.fit(X, y)), (network.coefs_, network.intercepts_)
    if kind == "JAX":

        def carried(parameters, rows):
            for k, (coef, intercept) in enumerate(zip(*parameters)):
                rows = (rows if k == 0 else jnp.tanh(rows)) @ coef + intercept
            return rows

        found = regime_report(carried, X, y, before=first, after=last)
    else:
        found = regime_report(module_of(*last), X, y, before=module_of(*first))
    expected = regime_report(network, X, y)
    for name, value in expected.diagnostics.items():
        assert name in UNKNOWN or found.diagnostics[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    for name in ("spectrum_before", "spectrum_after"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-12)
    assert (found.verdict, found.score, found.n_rows) == (expected.verdict, expected.score, expected.n_rows)


def module_of(coefs, intercepts):
    """Return a module of PyTorch with weights of scikit-learn."""
    import torch
    from torch import nn

    parts = []
    for coef, intercept in zip(coefs, intercepts):
        layer = nn.Linear(*coef.shape, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.as_tensor(coef.T))
            layer.bias.copy_(torch.as_tensor(intercept))
        parts += [layer, nn.Tanh()]
    return nn.Sequential(*parts[:-1])
