"""Steps of the first layer in the metric of its inputs."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import LazyNetClassifier, LazyNetRegressor, MeanFieldTwoLayerNet
from sklearn_ltdl.activations import Relu, Tanh
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.networks._flow import Accelerated, train
from sklearn_ltdl.networks._linearized import Tangent, solve_ridge, tangent_features
from sklearn_ltdl.networks._metric import InputMetric
from sklearn_ltdl.networks._model import Data, Network, draw_weights, feature_map
from sklearn_ltdl.scalings import Scaling

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def rows_of(phi, rng):
    weight = rng.uniform(1, 3, size=len(phi))
    targets = rng.standard_normal((len(phi), 1))
    return Data(phi, targets, np.zeros_like(targets), weight / weight.sum())


def matrix_of(metric, p):
    return metric.times((np.eye(p),))[0]


def ill_conditioned(rng, n=400, d=8):
    """Return columns with correlations whose eigenvalues fall to 1e-5 of the first, and a target along the last."""
    factors = rng.standard_normal((n, d))
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return factors * np.logspace(0, -2.5, d) @ rotation.T, factors[:, -1] + 0.3 * np.abs(factors[:, -2])


@pytest.mark.parametrize(("n", "d"), [(40, 6), (7, 12), (6, 5)])
def test_the_metric_is_the_inverse_of_the_regularised_moments(n, d, rng):
    data, alpha = rows_of(feature_map(rng.standard_normal((n, d))), rng), 0.3
    metric, C = InputMetric.of(data, alpha), data.phi.T * data.weight @ data.phi
    ridge = 0.01 * alpha + 1e-6 * np.trace(C) / (d + 1)
    inverse = np.linalg.inv(C + ridge * np.eye(d + 1))
    expected = inverse * np.trace(C) / np.trace(C @ inverse)
    np.testing.assert_allclose(matrix_of(metric, d + 1), expected, atol=1e-9 * expected.max())
    assert metric.largest == pytest.approx(max(1, np.linalg.eigvalsh(expected)[-1]), rel=1e-9)


def test_the_first_step_is_the_largest_stable_one_in_the_metric(rng):
    """1 / (largest eigenvalue of the centred J M J' / n + alpha times that of M), J from tangent features."""
    X, _ = ill_conditioned(rng, n=30, d=4)
    data, alpha, width = rows_of(feature_map(X), rng)._replace(weight=np.full(30, 1 / 30)), 1e-6, 16
    network = Network(Relu(), Scaling(0.5, 0.1), Relu.gain)
    start = draw_weights(5, 1, width=width, depth=1, doubled=False, rng=rng)
    rule = Accelerated(preconditioned=True)
    eta = train(network, Squared(), start, data, rule, alpha=alpha, max_iter=1).eta
    metric = InputMetric.of(data, alpha)
    J = tangent_features(network, start, data.phi)
    M = np.eye(J.shape[1])
    M[: 5 * width, : 5 * width] = np.kron(np.eye(width), matrix_of(metric, 5))
    J -= J.mean(axis=0)
    largest = np.linalg.eigvalsh(J @ M @ J.T / 30)[-1] + alpha * metric.largest
    assert eta * largest == pytest.approx(1, abs=1e-4)  # 30 power iterations


def test_preconditioned_steps_end_at_the_minimiser_of_plain_ones(rng):
    """In the lazy limit the minimiser is unique: the ridge regression with the tangent kernel."""
    X, y = ill_conditioned(rng, n=60, d=4)
    phi, alpha = feature_map(StandardScaler().fit_transform(X)), 1e-3
    data = rows_of(phi, rng)._replace(targets=y[:, None])
    network = Network(Tanh(), Scaling(0.5, 1e4))
    start = draw_weights(5, 1, width=40, depth=1, doubled=True, rng=rng)
    best = solve_ridge(Tangent(network, start), start, data, alpha, max_iter=1, tol=0)
    exact = Tangent(network, start).outputs(best.weights, phi) + best.intercept
    for preconditioned in (False, True):
        rule = Accelerated(preconditioned=preconditioned)
        trained = train(network, Squared(), start, data, rule, alpha=alpha, max_iter=4000)
        found = network.outputs(trained.weights, phi) + trained.intercept
        np.testing.assert_allclose(found, exact, atol=1e-3 * np.ptp(exact))  # 1 / scale, and what is left to descend


@unconverged
@pytest.mark.parametrize("scale", [0.01, 0.1])
def test_small_eigenvalues_of_the_inputs_are_learned(scale, rng):
    """Correlation eigenvalues down to 1e-5: plain steps leave much of the target, the others hardly any."""
    X, y = ill_conditioned(rng)
    phi, target = feature_map(StandardScaler().fit_transform(X)), ((y - y.mean()) / y.std())[:, None]
    network = Network(Relu(), Scaling(0.5, scale), Relu.gain)
    start = draw_weights(9, 1, width=64, depth=1, doubled=True, rng=rng)
    data = Data(phi, target, np.zeros_like(target), np.full(len(phi), 1 / len(phi)))
    plain, quick = (
        train(network, Squared(), start, data, Accelerated(preconditioned=flag), alpha=1e-8, max_iter=300).losses[-1]
        for flag in (False, True)
    )
    assert plain > 0.2  # the target has a loss of 1/2
    assert quick < 0.01


def test_steps_do_not_depend_on_the_coordinates_of_the_inputs(rng):
    """With inputs A phi and first weights W A^-1 the functions agree, step by step; those of plain steps do not."""
    phi, A = feature_map(rng.standard_normal((50, 4))), np.eye(5) + 0.3 * rng.standard_normal((5, 5))
    data = rows_of(phi, rng)
    start = draw_weights(5, 1, width=30, depth=1, doubled=False, rng=rng)[:1]
    signs = np.resize([1.0, -1.0], (1, 30, 1))
    network = Network(Tanh(), Scaling(1.0), readout=signs)  # one layer moves, so the factor of the metric cancels
    moved = data._replace(phi=phi @ A.T), (start[0] @ np.linalg.inv(A),)
    gaps = []
    for preconditioned in (True, False):
        rule, shared = Accelerated(preconditioned=preconditioned), {"alpha": 0.0, "max_iter": 20}
        one = train(network, Squared(), start, data, rule, **shared)
        other = train(network, Squared(), moved[1], moved[0], rule, **shared)
        gap, move = (np.abs(one.weights[0] - weights).max() for weights in (other.weights[0] @ A, start[0]))
        gaps.append(gap / move)
    assert gaps[0] < 1e-4  # 1e-6 of the mean moment is added to each, and the smallest are a tenth of it
    assert gaps[1] > 0.1


@unconverged
def test_only_networks_that_learn_features_are_preconditioned(rng):
    """Lazy, mean-field and unpenalised networks take plain steps, which are the paths that theorems speak of."""
    X, y = ill_conditioned(rng, n=50, d=4)
    X = StandardScaler().fit_transform(X)
    y = (y - y.mean()) / y.std()
    shared = {"max_iter": 5, "random_state": 0, "width": 16}
    for net, preconditioned in (
        (LazyNetRegressor(scale=0.1, alpha=1e-3, **shared), True),
        (LazyNetRegressor(scale=0.1, alpha=0.0, **shared), False),
        (LazyNetRegressor(scale=1.0, alpha=1e-3, **shared), False),
        (MeanFieldTwoLayerNet(alpha=1e-3, **shared), False),
    ):
        curve, start = np.array(net.fit(X, y).loss_curve_), net._start
        phi = feature_map(X)
        data = Data(phi, y[:, None], start.offset(phi), np.full(50, 1 / 50))
        rule = Accelerated(preconditioned=preconditioned)
        same, other = (
            train(start.network, Squared(), start.weights, data, one, alpha=net.alpha_, reference=start.reference,
                  max_iter=5).losses
            for one in (rule, rule._replace(preconditioned=not preconditioned))
        )  # fmt: skip
        np.testing.assert_allclose(curve, same, rtol=1e-9)
        assert np.abs(curve - other).max() > 1e-3 * curve[0]


@unconverged
def test_the_penalty_of_classes_is_that_of_squares_times_the_curvature(rng):
    """Near probabilities of 1/2 the log loss is a parabola of curvature 1/4: log-odds are 4 times the ridge scores."""
    X = rng.standard_normal((200, 3))
    y = (X[:, 0] + 4 * rng.standard_normal(200) > 0).astype(int)
    shared = {"mode": "linearized", "width": 32, "random_state": 0}
    classes = LazyNetClassifier(tol=1e-8, max_iter=3000, **shared).fit(X, y)
    ridge = LazyNetRegressor(normalize_y=False, **shared).fit(X, y)
    assert classes.alpha_ == pytest.approx(ridge.alpha_ / 4, rel=1e-12)
    odds, scores = classes.decision_function(X), 4 * (ridge.predict(X) - 0.5)
    assert np.abs(odds).max() < 1  # next is odds^3 / 12 of a probability of 1/2
    np.testing.assert_allclose(odds, scores, atol=0.1 * np.abs(odds).max())
    rich = LazyNetClassifier(scale=0.1, max_iter=1, width=32, random_state=0).fit(X, y)
    assert rich.alpha_ == pytest.approx(ridge.alpha_, rel=1e-9)
