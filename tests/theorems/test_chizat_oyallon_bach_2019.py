"""L. Chizat, E. Oyallon, F. Bach. "On lazy training in differentiable programming", NeurIPS 2019."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_ltdl import LazyNetRegressor, MeanFieldTwoLayerNet, NTKKernelRegressor, regime_report, scale_path
from sklearn_ltdl.activations import Tanh
from sklearn_ltdl.diagnostics import fit_rate
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.networks._flow import Accelerated, train
from sklearn_ltdl.networks._linearized import Tangent, tangent_gram
from sklearn_ltdl.networks._model import Data, Network, displacement, draw_weights, feature_map
from sklearn_ltdl.scalings import Scaling

STEPS = 200


def one_run(scale, centering):
    """Return displacement, distance to the linearised model, relative change and 1 - cos of the tangent kernel."""
    rng = np.random.default_rng(1)
    n, width = 30, 60
    phi, y = feature_map(rng.standard_normal((n, 5))), rng.standard_normal((n, 1))
    network = Network(Tanh(), Scaling(0.5, scale))
    start = draw_weights(6, 1, width=width, depth=1, doubled=centering == "doubled", rng=rng)
    first = network.outputs(start, phi)
    data = Data(phi, y, first if centering == "subtract" else 0 * first, np.full(n, 1 / n))
    # a small step, so that the kernel's growth, where nothing is centred, does not force a smaller one
    trained = train(network, Squared(), start, data, Accelerated(learning_rate=0.5, momentum=0.0), max_iter=STEPS)
    K0, KT = tangent_gram(network, start, phi), tangent_gram(network, trained.weights, phi)
    linear = first - data.offset
    for _ in range(STEPS):
        residual = y - linear
        linear = linear + trained.eta * K0 @ (residual - residual.mean()) / n
    gap = network.outputs(trained.weights, phi) - data.offset - linear
    cosine = np.sum(K0 * KT) / np.linalg.norm(K0) / np.linalg.norm(KT)
    return (
        displacement(trained.weights, start),
        np.abs(gap - gap.mean()).max(),
        np.linalg.norm(KT - K0) / np.linalg.norm(K0),
        1 - cosine,
    )


@pytest.mark.parametrize(
    ("centering", "scales", "exponents"),
    [
        ("subtract", (10, 100, 1000), (-1, -1, -1, -2)),
        ("doubled", (30, 100, 300), (-1, -2, -2, -4)),  # 1 - cos falls to rounding beyond
        (None, (300, 1000, 3000), (0, 1, 0, 0)),  # the limit is that of large scales
    ],
)
def test_laziness_has_the_exponents_of_its_centring(centering, scales, exponents):
    values = np.array([one_run(scale, centering) for scale in scales])
    slopes = [fit_rate(scales, column).exponent for column in values.T]
    np.testing.assert_allclose(slopes[:3], exponents[:3], atol=0.05)
    assert slopes[3] == pytest.approx(exponents[3], abs=0.2)


def test_linearised_descent_is_a_power_of_its_kernel():
    """After T steps the residual is (I - eta K / n)^T y, to the rounding of T steps."""
    rng = np.random.default_rng(0)
    n, T = 30, 20_000
    phi, y = feature_map(rng.standard_normal((n, 5))), rng.standard_normal((n, 1))
    network = Network(Tanh(), Scaling(0.5))
    start = draw_weights(6, 1, width=60, depth=1, doubled=False, rng=rng)
    model, data = Tangent(network, start), Data(phi, y, 0 * y, np.full(n, 1 / n))
    trained = train(model, Squared(), start, data, Accelerated(momentum=0.0), fit_intercept=False, max_iter=T)
    K = tangent_gram(network, start, phi)
    assert trained.eta * np.linalg.eigvalsh(K / n)[-1] == pytest.approx(1, abs=1e-6)
    expected = np.linalg.matrix_power(np.eye(n) - trained.eta * K / n, T) @ y
    assert 1e-4 < np.abs(expected).max() < 0.1 * np.abs(y).max()  # neither the start nor the end
    np.testing.assert_allclose(y - model.outputs(trained.weights, phi), expected, atol=1e-9)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_wide_linearised_network_tends_to_the_kernel_machine_as_one_over_the_root_of_width(depth):
    """With one convention of inputs, scale and penalty in both slices, the same alpha is the same problem."""
    rng = np.random.default_rng(0)
    X, new = rng.standard_normal((100, 10)), rng.standard_normal((50, 10))
    y = np.maximum(X[:, 0], 0) - np.maximum(X[:, 1], 0)
    limit = NTKKernelRegressor(depth=depth, alpha=1e-2).fit(X, y).predict(new)
    widths, errors = (64, 128, 256, 512), []
    for width in widths:
        network = LazyNetRegressor(mode="linearized", depth=depth, width=width, alpha=1e-2)
        runs = [clone(network).set_params(random_state=seed).fit(X, y).predict(new) for seed in range(8)]
        errors.append(np.sqrt(np.mean((runs - limit) ** 2)))
    rate = fit_rate(widths, errors)
    assert rate.exponent == pytest.approx(-0.5, abs=0.12)  # of 8 draws at each width
    assert errors[-1] < 0.2 * np.std(limit)


def on_the_sphere(seed, n, d):
    """Return rows of the sphere with a teacher of three neurons, and 2000 more; the map over sqrt(d) undone."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + 2000, d))
    X *= np.sqrt(d) / np.linalg.norm(X, axis=1, keepdims=True)
    neurons = rng.standard_normal((3, d))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    y = np.maximum(X @ neurons.T, 0) @ rng.choice([-1.0, 1.0], 3)
    return X[:n], y[:n], X[n:], y[n:]


def ratio_of_losses(seed, n, d):
    """Return the test loss at scale 16 over that at 1e-4: initial weights of tau = 4 and .01, by homogeneity."""
    X, y, X_test, y_test = on_the_sphere(seed, n, d)
    student = LazyNetRegressor(width=50, centering="doubled", alpha=0.0, max_iter=10_000, tol=1e-9, random_state=seed)
    lazy, rich = scale_path(X, y, [16.0, 1e-4], estimator=student, X_test=X_test, y_test=y_test).losses[::-1]
    return lazy / rich


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_lazy_student_does_not_find_the_teacher(seed):  # figure 1c, in 20 dimensions
    assert ratio_of_losses(seed, 300, 20) >= 100


def test_a_lazy_student_does_not_find_the_teacher_in_100_dimensions():  # figure 1c
    """Of some starts the rich student ends in a local minimum of a few per cent; the median of four is far from it."""
    assert np.median([ratio_of_losses(seed, 1000, 100) for seed in range(4)]) >= 15


@pytest.mark.parametrize(
    ("network", "low", "high"),
    [
        (LazyNetRegressor(scale=1.0, alpha=1e-2), -0.55, -0.36),
        (MeanFieldTwoLayerNet(alpha=1e-4, max_iter=100), -0.12, 0.05),
    ],
    ids=["ntk", "mean-field"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_displacement_falls_with_width_in_the_ntk_scaling_only(network, low, high):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 20))
    y = np.maximum(X @ np.linalg.qr(rng.standard_normal((20, 3)))[0], 0) @ [1, 1, -1]
    widths = (64, 128, 256, 512)
    moved = [clone(network).set_params(width=width, random_state=0).fit(X, y).displacement_ for width in widths]
    assert low <= fit_rate(widths, moved).exponent <= high


@pytest.fixture(scope="module")
def reports():
    """Return reports on one network at scales .1, 1 and 10, on rows that it has not seen."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 20))
    y = np.maximum(X @ np.linalg.qr(rng.standard_normal((20, 3)))[0], 0) @ [1, 1, -1]
    networks = (LazyNetRegressor(width=128, scale=scale, tol=1e-5, random_state=0) for scale in (0.1, 1.0, 10.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [regime_report(network.fit(X[:1000], y[:1000]), X[1000:], y[1000:]) for network in networks]


@pytest.mark.parametrize(
    "name", ["displacement", "kernel_angle", "kernel_change", "activation_flips", "linearization_gap", "score_network"]
)
def test_every_diagnostic_falls_with_the_scale(name, reports):
    rich, between, lazy = (report.diagnostics[name] for report in reports)
    assert rich > between > lazy


def test_the_kernel_of_the_trained_network_explains_it_and_the_first_one_only_if_lazy(reports):
    for report in reports:
        scores = report.diagnostics
        assert scores["score_kernel_after"] == pytest.approx(scores["score_network"], abs=0.03)
    rich, _, lazy = (report.diagnostics for report in reports)
    assert lazy["score_kernel_before"] == pytest.approx(lazy["score_network"], abs=0.02)
    assert rich["score_kernel_before"] <= rich["score_network"] - 0.08
    assert [report.verdict for report in reports][::2] == ["features", "lazy"]
