"""F. Bach. "Breaking the curse of dimensionality with convex neural networks", JMLR 18, 2017.

Networks with a penalty on their total variation are a convex problem over measures, solved by Frank-Wolfe where the
best neuron can be found: an eigenvalue for the quadratic activation, an enumeration for piecewise linear ones.
"""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier, certify
from sklearn_ltdl.activations import Abs, LeakyRelu, Quadratic, Relu
from sklearn_ltdl.losses import LOSSES, Squared
from sklearn_ltdl.networks._certificate import THOROUGH, _ascend, correlations, peaks_of
from sklearn_ltdl.networks._frank_wolfe import frank_wolfe
from sklearn_ltdl.networks._model import Data, feature_map

PIECEWISE = [Relu(), LeakyRelu(0.2), Abs()]


def inputs(rng, n, p, kind):
    if kind == "normal":
        return rng.standard_normal((n, p))
    if kind == "integer":  # hyperplanes that coincide, rows that are parallel
        return np.hstack([rng.integers(-3, 4, (n, p - 1)) / 2, np.ones((n, 1))])
    return np.hstack([rng.standard_normal((n, p - 1)), np.ones((n, 1))])


@pytest.mark.parametrize("activation", PIECEWISE, ids=str)
@pytest.mark.parametrize("kind", ["normal", "integer", "constant"])
def test_the_supremum_in_the_plane_is_that_of_a_fine_grid(activation, kind, rng):
    angle = np.linspace(0, 2 * np.pi, 100_000)
    grid = np.column_stack([np.cos(angle), np.sin(angle)])
    for _ in range(5):
        phi, g = inputs(rng, 40, 2, kind), rng.standard_normal((40, 1))
        peaks = peaks_of(activation, phi, g)
        assert peaks.rigorous
        assert peaks.sup == pytest.approx(np.linalg.norm(correlations(activation, peaks.directions[:1], phi, g)))
        # the step of the grid is 6e-5; the function turns by at most |phi||g| times that
        assert 1 - 1e-12 <= peaks.sup / np.abs(correlations(activation, grid, phi, g)).max() <= 1.002


def polished(activation, phi, g, rng, starts=400):
    """Return the largest correlation after a search without derivatives from the best of many random directions."""

    def height(theta):
        return -abs(correlations(activation, (theta / np.linalg.norm(theta))[None], phi, g)[0, 0])

    grid = rng.standard_normal((20_000, phi.shape[1]))
    grid /= np.linalg.norm(grid, axis=1, keepdims=True)
    best = np.argsort(-np.abs(correlations(activation, grid, phi, g)[:, 0]))[:starts:20]
    options = {"xatol": 1e-10, "fatol": 1e-12, "maxiter": 2000}
    return max(-minimize(height, grid[k], method="Nelder-Mead", options=options).fun for k in best)


@pytest.mark.parametrize("activation", PIECEWISE, ids=str)
@pytest.mark.parametrize("kind", ["normal", "integer", "constant"])
def test_the_supremum_in_space_is_that_of_polished_maxima_and_many_starts_come_near(activation, kind, rng):
    for _ in range(2):
        phi, g = inputs(rng, 25, 3, kind), rng.standard_normal((25, 1))
        exact = peaks_of(activation, phi, g)
        assert exact.rigorous
        assert exact.sup == pytest.approx(polished(activation, phi, g, rng), rel=1e-6)
        assert _ascend(activation, phi, g, None, 0).sup >= 0.99 * exact.sup


@pytest.mark.parametrize("activation", PIECEWISE, ids=str)
def test_the_supremum_in_four_dimensions_is_not_beaten(activation, rng):
    phi, g = rng.standard_normal((14, 4)), rng.standard_normal((14, 1))
    exact = peaks_of(activation, phi, g, most_faces=THOROUGH)
    assert exact.rigorous
    assert exact.sup == pytest.approx(polished(activation, phi, g, rng, starts=1000), rel=1e-6)


def test_the_supremum_of_the_quadratic_activation_is_an_eigenvalue(rng):
    phi, g = rng.standard_normal((30, 6)), rng.standard_normal((30, 1))
    peaks = peaks_of(Quadratic(), phi, g)
    assert peaks.rigorous
    assert peaks.sup == pytest.approx(np.abs(np.linalg.eigvalsh(phi.T @ (g * phi))).max())
    assert np.linalg.norm(correlations(Quadratic(), peaks.directions[:1], phi, g)) == pytest.approx(peaks.sup)


def data_of(rng, n, d, loss_name, outputs):
    phi = feature_map(rng.standard_normal((n, d)))
    hidden = np.abs(phi @ rng.standard_normal((d + 1, outputs)))
    if loss_name in ("squared", "huber"):
        y = hidden + 0.1 * rng.standard_normal((n, outputs))
    elif loss_name == "logistic":
        y = 1.0 * (hidden > np.median(hidden, axis=0))
    else:
        y = np.eye(outputs)[(hidden / np.median(hidden, axis=0)).argmax(axis=1)]  # rows of each class
    weight = rng.uniform(0.5, 1.5, n)
    return Data(phi, y, np.zeros_like(y), weight / weight.sum())


@pytest.mark.parametrize("activation", [Relu(), Quadratic()], ids=str)
@pytest.mark.parametrize("free_intercept", [True, False])
@pytest.mark.parametrize(("loss", "outputs"), [("squared", 1), ("huber", 1), ("logistic", 1), ("multinomial", 3)])
def test_the_gap_bounds_the_suboptimality_at_every_step(activation, free_intercept, loss, outputs, rng):
    data = data_of(rng, 40, 1, loss, outputs)
    best = frank_wolfe(activation, LOSSES[loss], data, 5e-3, tol=1e-9, free_intercept=free_intercept)
    assert best.certificate.rigorous  # on one column the supremum is enumerated, for several outputs too
    assert best.certificate.relative_gap <= 1e-5
    objectives, gaps = np.array(best.objectives), np.array(best.gaps)
    assert objectives[0] > 1.2 * best.certificate.primal  # there was something to learn
    assert np.all(gaps >= objectives - best.certificate.primal - 1e-12)


def test_a_quadratic_network_is_a_problem_with_a_nuclear_norm(rng):
    """Proximal gradient on the matrix Q of f = phi' Q phi, without neurons, has the same minimum."""
    data, alpha = data_of(rng, 60, 4, "squared", 1), 0.02
    best = frank_wolfe(Quadratic(), Squared(), data, alpha, tol=1e-12, free_intercept=False)
    forms = np.einsum("ni,nj->nij", data.phi, data.phi).reshape(60, -1)
    step, Q = 1 / np.linalg.norm(np.sqrt(data.weight)[:, None] * forms, 2) ** 2, np.zeros((5, 5))
    for _ in range(20_000):
        residual = data.weight * (forms @ Q.ravel() - data.targets[:, 0])
        values, vectors = np.linalg.eigh(Q - step * (residual @ forms).reshape(5, 5))
        Q = vectors * (np.sign(values) * np.maximum(np.abs(values) - step * alpha, 0)) @ vectors.T
    residual = forms @ Q.ravel() - data.targets[:, 0]
    objective = 0.5 * data.weight @ residual**2 + alpha * np.abs(np.linalg.eigvalsh(Q)).sum()
    assert best.certificate.primal == pytest.approx(objective, rel=1e-9)
    atoms, masses = best.measure
    np.testing.assert_allclose((atoms.T * masses[:, 0]) @ atoms, Q, atol=1e-5)


def test_a_network_on_a_table_of_64_columns_comes_with_a_proof():
    X, y = load_digits(return_X_y=True)
    X, y = StandardScaler().fit_transform(X), y % 2
    network = MeanFieldTwoLayerNetClassifier(
        activation="quadratic", solver="frank_wolfe", alpha=0.01, random_state=0
    ).fit(X, y)
    certificate = certify(network, X, y)
    assert certificate.rigorous
    assert certificate.relative_gap <= 1e-5
    assert network.certificate_.relative_gap <= 1e-5
    assert certificate.primal < 0.6 * np.log(2)
    # no other network is better: descent comes near and stays above the lower bound
    descent = MeanFieldTwoLayerNetClassifier(width=64, activation="quadratic", alpha=0.01, tol=1e-5, random_state=0)
    reached = descent.fit(X, y).certificate_.primal
    assert certificate.dual <= reached <= certificate.primal * (1 + 1e-3)


def test_a_network_on_a_real_table_of_57_columns_comes_with_a_proof(dev_sets):
    data = dev_sets("fd__spambase")
    X, y = StandardScaler().fit_transform(data["X"]), data["y"]
    network = MeanFieldTwoLayerNetClassifier(
        activation="quadratic", solver="frank_wolfe", alpha=0.01, random_state=0
    ).fit(X, y)
    assert network.certificate_.rigorous
    assert network.certificate_.relative_gap <= 1e-5
    assert network.score(X, y) > 0.9


def test_a_network_that_is_not_optimal_is_flagged():
    """Two neurons cannot do what the best measure does, and an unfinished descent has not."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (60, 1))
    y = np.sin(6 * X[:, 0])
    best = MeanFieldTwoLayerNet(solver="frank_wolfe", alpha=1e-2, random_state=0).fit(X, y).certificate_
    assert best.relative_gap <= 1e-5
    narrow = MeanFieldTwoLayerNet(width=2, alpha=1e-2, random_state=0).fit(X, y).certificate_
    assert narrow.rigorous
    assert narrow.gap >= narrow.primal - best.primal > 0.1 * best.primal
    assert str(narrow).startswith("certified_gap=")
