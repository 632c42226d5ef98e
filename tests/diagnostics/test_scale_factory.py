"""Any network at several scales: the lazy limit, linear models, and two frameworks with the same first weights."""

import importlib.util

import jax.numpy as jnp
import numpy as np
import pytest

from sklearn_ltdl import NTKKernelRegressor, ScalePathDisplay, scale_path
from sklearn_ltdl.datasets import make_multi_index
from sklearn_ltdl.diagnostics._functions import function_of

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: pip install torch==2.13.0")


def first_weights(seed):
    rng = np.random.default_rng(seed)
    return {"a": rng.standard_normal((20, 5)) / 5**0.5, "b": rng.standard_normal((1, 20)) / 20**0.5}


def apply_fn(parameters, X):
    return jnp.tanh(X @ parameters["a"].T) @ parameters["b"].T


def factory(seed):
    """Return the same network in PyTorch."""
    import torch
    from torch import nn

    weights = first_weights(seed)
    module = nn.Sequential(nn.Linear(5, 20, bias=False), nn.Tanh(), nn.Linear(20, 1, bias=False)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.as_tensor(weights["a"]))
        module[2].weight.copy_(torch.as_tensor(weights["b"]))
    return module


@pytest.fixture(scope="module")
def data():
    X, y = make_multi_index(160, 5, random_state=0)
    return {"X": X[:100], "y": y[:100], "X_test": X[100:], "y_test": y[100:]}


@pytest.fixture(scope="module")
def path(data):
    return scale_path(**data, scales=[0.3, 1e4], estimator=(first_weights, apply_fn), epochs=20, batch_size=20)


def test_a_large_scale_is_the_linear_model_after_the_same_steps(path):
    """Chizat, Oyallon and Bach (2019), theorem 2.2: the distance falls as 1 / scale."""
    assert path.losses[1] == pytest.approx(path.linearized_loss, rel=1e-3)
    assert path.linear_scores[1] == pytest.approx(path.scores[1], abs=1e-3)
    assert path.kernel_changes[1] < 1e-3
    assert path.kernel_scores[1] == pytest.approx(path.initial_kernel_score, abs=1e-3)
    assert path.kernel_changes[0] > 0.1
    assert abs(path.linear_scores[0] - path.scores[0]) > 0.01
    assert path.converged.all()


def test_kernels_to_their_end_are_ridge_regression(path, data):
    weights = first_weights(int(np.random.RandomState(0).randint(np.iinfo(np.int32).max)))

    def kernel(X, Z):
        (h, g), b = (np.tanh(rows @ weights["a"].T) for rows in (X, Z)), weights["b"][0]
        return h @ g.T + (X @ Z.T) * (((1 - h**2) * b) @ ((1 - g**2) * b).T)

    machine = NTKKernelRegressor(kernel=kernel).fit(data["X"], data["y"])
    assert path.initial_kernel_score == pytest.approx(machine.score(data["X_test"], data["y_test"]), rel=1e-6)


def test_a_linear_model_is_the_same_at_every_scale(data):
    linear = (lambda seed: {"w": np.zeros(5), "b": np.zeros(1)}, lambda p, X: X @ p["w"] + p["b"])
    path = scale_path(**data, scales=[1.0, 10.0, 1000.0], estimator=linear, epochs=5)
    for column in (path.scores, path.linear_scores):
        np.testing.assert_allclose(column, path.linearized_score, rtol=1e-10)
    np.testing.assert_allclose(path.losses, path.linearized_loss, rtol=1e-10)
    np.testing.assert_allclose(path.kernel_changes, 0, atol=1e-12)


@needs_torch
def test_two_frameworks_give_one_path_and_leave_the_generator(path, data):
    import torch

    generator = torch.get_rng_state()
    found = scale_path(**data, scales=[0.3, 1e4], estimator=factory, epochs=20, batch_size=20)
    assert torch.equal(torch.get_rng_state(), generator)
    for name in ("scores", "losses", "train_losses", "displacements", "kernel_changes", "kernel_scores"):
        np.testing.assert_allclose(getattr(found, name), getattr(path, name), rtol=1e-6, err_msg=name)


@needs_torch
def test_images_and_classes_take_a_module_with_an_output_a_class(rng):
    from torch import nn

    second = rng.integers(2, size=80)
    X = (rng.standard_normal((80, 1, 4, 4)) + second[:, None, None, None]).astype(np.float32)
    y = np.array([*"ab"])[second]

    def convolutional(n_outputs):
        return lambda seed: nn.Sequential(nn.Conv2d(1, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(36, n_outputs))

    for n_outputs in (1, 2):
        path = scale_path(X, y, [1.0], estimator=convolutional(n_outputs), epochs=20, batch_size=20)
        assert path.score == "accuracy"
        assert path.scores[0] > 0.8
        assert path.train_losses[0] < 0.7 * (1 if n_outputs == 1 else 0.5)
    with pytest.raises(ValueError, match=r"estimator has 3 outputs per row; .*classes in y, 2 \(or one output"):
        scale_path(X, y, [1.0], estimator=convolutional(3))
    with pytest.raises(ValueError, match="is a batch normalisation"):
        scale_path(X, y, [1.0], estimator=lambda seed: nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 2)))
    with pytest.raises(ValueError, match=r"estimator\(seed\) returned a int"):
        scale_path(X, y, [1.0], estimator=lambda seed: seed)


def test_a_rate_that_blows_up_is_halved(data):
    """A network whose curvature rises along its training: the loss stays below twice that of the start."""
    steep = (lambda seed: np.full(5, 0.05), lambda w, X: jnp.exp(3 * X @ w))
    path = scale_path(**data, scales=[1.0], estimator=steep, epochs=5)
    assert np.isfinite(path.losses).all()
    assert path.train_losses[0] <= 2 * np.mean((data["y"] - data["y"].mean()) ** 2)


def test_sample_weights_are_refused(data):
    with pytest.raises(ValueError, match="sample_weight is not supported for a factory"):
        scale_path(**data, scales=[1.0], estimator=(first_weights, apply_fn), sample_weight=np.ones(100))


def test_the_path_shows_both_curves(path):
    plt = pytest.importorskip("matplotlib.pyplot")
    assert str(path).splitlines()[0].endswith("its ridge")
    assert [*path.to_frame()][-3:] == ["linear_scores", "kernel_scores", "kernel_losses"]
    assert "ridge" in path._repr_html_()
    display = ScalePathDisplay(path).plot()
    np.testing.assert_array_equal(display.curves_["kernel_losses"].get_ydata(), path.kernel_losses)
    assert display.axes_[0].get_ylabel() == "mean squared error"
    plt.close("all")


@pytest.mark.parametrize("kind", ["JAX", pytest.param("PyTorch", marks=needs_torch)])
def test_the_transpose_of_the_tangent_is_its_transpose(kind, rng):
    X, slopes = rng.standard_normal((12, 5)), rng.standard_normal((12, 1))
    if kind == "JAX":
        found = function_of(apply_fn, first_weights(0), first_weights(0))
        function, weights = found.applied, found.after
    else:
        from sklearn_ltdl.diagnostics._scale_factory import network_of, rows_of

        rows, layout = rows_of(factory, X)
        function, weights = network_of(factory, rows, layout, 0)
    move = tuple(rng.standard_normal(layer.shape) for layer in weights)
    outputs, pull = function.vjp(weights, X)
    np.testing.assert_allclose(outputs, function.outputs(weights, X), rtol=1e-12)
    for _ in range(2):  # it may be asked again
        inner = sum(np.sum(a * b) for a, b in zip(pull(slopes), move))
        assert inner == pytest.approx(np.sum(slopes * function.tangent(weights, move, X)), rel=1e-10)
