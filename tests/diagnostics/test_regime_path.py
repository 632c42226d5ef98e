"""The tangent kernel along training: linear networks, whose kernels are known, and every kind of model."""

import copy
import importlib.util

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import LazyNetRegressor, RegimePathDisplay, regime_path, regime_report

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def linear(weights, X):
    return X @ weights["hidden"] @ weights["readout"]


@pytest.fixture
def silent(rng):
    """Return two layers without an activation, their descent from small weights, rows and a target."""
    X, direction = rng.standard_normal((100, 6)), rng.standard_normal(6)
    y = X @ direction
    weights = {"hidden": 0.01 * rng.standard_normal((6, 20)), "readout": 0.01 * rng.standard_normal(20)}
    checkpoints = [weights]
    for _ in range(400):
        hidden, readout = checkpoints[-1]["hidden"], checkpoints[-1]["readout"]
        slope = X.T @ (X @ hidden @ readout - y) / len(X)
        step = {"hidden": np.outer(slope, readout), "readout": hidden.T @ slope}
        checkpoints.append({name: checkpoints[-1][name] - 0.03 * step[name] for name in step})
    return checkpoints[::20], X, y


def test_a_small_start_aligns_before_its_loss_falls(silent):
    """Atanasov, Bordelon and Pehlevan (2022, arXiv:2111.00034): the direction first, then the size."""
    checkpoints, X, y = silent
    path = regime_path(linear, checkpoints, X, y, steps=20 * np.arange(len(checkpoints)))
    gained = (path.alignments - path.alignments[0]) / (path.alignments[-1] - path.alignments[0])
    turned = np.argmax(gained > 0.8)
    assert path.alignments[-1] > path.alignments[0] + 0.1
    assert path.losses[turned] > 0.8 * path.losses[0]
    assert path.losses[-1] < 1e-3 * path.losses[0]
    assert path.kernel_norms[turned] < 0.1 * path.kernel_norms[-1]


def test_the_columns_are_those_of_kernels_in_closed_form(silent):
    """Two linear layers have the kernel X (|b|^2 + A A^T) X^T."""
    checkpoints, X, y = silent
    path = regime_path(linear, checkpoints, X, y)
    kernels = [X @ (w["readout"] @ w["readout"] * np.eye(6) + w["hidden"] @ w["hidden"].T) @ X.T for w in checkpoints]
    centring = np.eye(100) - 0.01
    C = np.stack([centring @ K @ centring for K in (*kernels, np.outer(y, y))])
    C /= np.linalg.norm(C, axis=(1, 2), keepdims=True)
    norms = np.linalg.norm(kernels, axis=(1, 2))
    np.testing.assert_allclose(path.kernel_norms, norms / norms[0], rtol=1e-10)
    np.testing.assert_allclose(path.alignments, np.sum(C[:-1] * C[-1], axis=(1, 2)), rtol=1e-10)
    np.testing.assert_allclose(path.kernel_distances, 1 - np.sum(C[:-1] * C[0], axis=(1, 2)), atol=1e-10)
    np.testing.assert_allclose(path.kernel_velocities[1:], 1 - np.sum(C[1:-1] * C[:-2], axis=(1, 2)), atol=1e-10)
    assert np.isnan(path.kernel_velocities[0])
    flat = np.stack([np.concatenate([w["hidden"].ravel(), w["readout"]]) for w in checkpoints])
    moved = np.linalg.norm(flat - flat[0], axis=1) / np.linalg.norm(flat[0])
    np.testing.assert_allclose(path.displacements, moved, rtol=1e-12)
    np.testing.assert_allclose(
        path.losses, [mean_squared_error(y, linear(w, X)) for w in checkpoints], rtol=1e-10, atol=1e-14
    )
    frame = path.to_frame()
    np.testing.assert_array_equal(frame["alignments"], path.alignments)
    assert len(str(path).splitlines()) == len(checkpoints) + 1


def test_a_linear_model_keeps_its_kernel(rng):
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    path = regime_path(lambda w, X: X @ w, [np.ones(3), 2 * np.ones(3), 5 * np.ones(3)], X, y)
    for column in (path.kernel_distances, path.kernel_velocities[1:], path.kernel_norms - 1):
        np.testing.assert_allclose(column, 0, atol=1e-12)


def test_an_mlp_and_its_pipeline_give_one_path_that_ends_at_the_report(rng):
    X = 3 * rng.standard_normal((120, 4)) + 1
    y = np.arange(120) % 3
    scaler, network, checkpoints = StandardScaler().fit(X), MLPClassifier(hidden_layer_sizes=9, random_state=0), []
    for _ in range(6):
        network.partial_fit(scaler.transform(X), y, classes=[0, 1, 2])
        checkpoints.append(copy.deepcopy((network.coefs_, network.intercepts_)))
    pipeline = make_pipeline(scaler, network)
    kept = copy.deepcopy(network.coefs_)
    path = regime_path(pipeline, checkpoints, X, y)
    assert path.score == "accuracy"
    assert path.scores[-1] == network.score(scaler.transform(X), y)
    assert path.losses[-1] == pytest.approx(log_loss(y, network.predict_proba(scaler.transform(X))), rel=1e-9)
    report = regime_report(network, scaler.transform(X), y, before=checkpoints[0]).diagnostics
    assert path.kernel_distances[-1] == pytest.approx(report["kernel_misalignment"], rel=1e-9)
    assert path.alignments[-1] == pytest.approx(report["alignment_after"], rel=1e-9)
    assert path.displacements[-1] == pytest.approx(report["displacement"], rel=1e-12)
    for now, old in zip(network.coefs_, kept):
        np.testing.assert_array_equal(now, old)
    short = regime_path(network, checkpoints[:3], scaler.transform(X), y)  # the network is in a later state
    assert short.alignments == pytest.approx(path.alignments[:3], rel=1e-12)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("norm", [False, True])
def test_a_module_gives_the_path_of_its_states_and_files(norm, rng, tmp_path):
    import torch
    from torch import nn

    from sklearn_ltdl.torch import TorchNetwork

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9) if norm else nn.Tanh(), nn.GELU(), nn.Linear(9, 1))
    X = rng.standard_normal((40, 4)).astype(np.float32)
    y = np.sin(X[:, 0]).astype(np.float32)
    optimizer, checkpoints = torch.optim.Adam(module.parameters(), 0.01), [copy.deepcopy(module.state_dict())]
    for _ in range(3):
        for _ in range(10):
            optimizer.zero_grad()
            nn.functional.mse_loss(module(torch.as_tensor(X))[:, 0], torch.as_tensor(y)).backward()
            optimizer.step()
        checkpoints.append(copy.deepcopy(module.state_dict()))
    now = copy.deepcopy(module.state_dict())
    path = regime_path(module, checkpoints, X, y)
    report = regime_report(module, X, y, before=checkpoints[0]).diagnostics
    assert path.kernel_distances[-1] == pytest.approx(report["kernel_misalignment"], rel=1e-9)
    assert path.scores[-1] == pytest.approx(report["score_network"], rel=1e-9)
    torch.save(checkpoints[1], tmp_path / "1.pt")
    network = TorchNetwork(module, checkpoints[3])
    files = regime_path(network, [checkpoints[0], tmp_path / "1.pt", checkpoints[2]], X, y)
    assert files.alignments == pytest.approx(path.alignments[:3], rel=1e-9)
    assert network.module is module
    assert all(torch.equal(value, now[key]) for key, value in module.state_dict().items())
    with pytest.raises(ValueError, match="Use 'recalibrate' or 'after'"):
        regime_path(TorchNetwork(module, None, batch_norm="stored"), checkpoints, X, y)
    with pytest.raises(ValueError, match=r"checkpoints\[1\] does not fit: .*missing \['0.bias'\]"):
        regime_path(module, [checkpoints[0], {k: v for k, v in now.items() if k != "0.bias"}, now], X, y)
    with pytest.raises(ValueError, match="give a copy"):  # views of one state
        regime_path(module, [module.state_dict() for _ in range(3)], X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"checkpoints": [np.ones(3)]}, "at two or more times in training"),
        ({"checkpoints": {"a": 1, "b": 2}}, "at two or more times in training"),
        ({"checkpoints": [np.ones(3), np.ones(4), 2 * np.ones(3)]}, r"checkpoints\[1\] does not fit"),
        ({"steps": [0, 2, 1]}, "steps must increase"),
        ({"steps": [0, 2]}, r"steps has shape \(2,\)"),
        ({"y": np.ones(20)}, "y is 1.0 in all 20 rows"),
    ],
)
def test_a_bad_parameter_is_named(parameters, message, rng):
    given = {"checkpoints": [np.ones(3), 2 * np.ones(3), 3 * np.ones(3)], "X": rng.standard_normal((20, 3))}
    with pytest.raises(ValueError, match=message):
        regime_path(lambda w, X: X @ w, **given | {"y": rng.standard_normal(20)} | parameters)


def test_a_network_that_keeps_no_checkpoints_is_refused(rng):
    X = rng.standard_normal((20, 3))
    network = LazyNetRegressor(width=4, max_iter=5, random_state=0).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="only keeps its first and last weights"):
        regime_path(network, [1, 2], X, X[:, 0])


def test_the_display_draws_the_columns(silent):
    plt = pytest.importorskip("matplotlib.pyplot")
    checkpoints, X, y = silent
    steps = 20 * np.arange(len(checkpoints))
    display = RegimePathDisplay.from_estimator(linear, checkpoints, X, y, steps=steps)
    for name, line in display.curves_.items():
        np.testing.assert_array_equal(line.get_xydata(), np.column_stack([steps, getattr(display.path, name)]))
    assert len(display.curves_) == 6
    with pytest.raises(ValueError, match="axes must be 3 matplotlib Axes"):
        display.plot(axes=plt.subplots(1, 2)[1])
    plt.close("all")
