"""S. Mei, A. Montanari, P.-M. Nguyen. "A mean field view of the landscape of two-layer neural networks", PNAS 2018.

Noisy descent samples the Gibbs law of its own potential; noiseless descent is deterministic up to width^(-1/2), and
stochastic descent on fresh rows finds the teacher if there are particles enough.
"""

import jax
import numpy as np
import pytest

from sklearn_ltdl._backends.jax import fast, precise
from sklearn_ltdl.activations import Identity, Relu, Tanh
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.networks import _flow
from sklearn_ltdl.networks._flow import Accelerated, Noisy, Run, epoch, train
from sklearn_ltdl.networks._model import Data, Network, draw_weights
from sklearn_ltdl.networks._objective import Problem
from sklearn_ltdl.scalings import Scaling


def plain(phi, y):
    return Data(phi, y, np.zeros_like(y), np.full(len(y), 1 / len(y)))


def test_linear_neurons_are_gaussian_around_ridge_regression(rng):
    """f(x) = mean_j w_j . x: the law is N(ridge, T / alpha), its variance over 1 - eta alpha / 2 by the finite step."""
    n, d, alpha, T, width = 50, 5, 0.5, 0.2, 4000
    X = rng.standard_normal((n, d))
    y = X @ rng.standard_normal((d, 1)) + 0.3 * rng.standard_normal((n, 1))
    network = Network(Identity(), Scaling(1.0), readout=np.ones((1, width, 1)))
    start = (rng.standard_normal((1, width, d)),)
    run = train(
        network, Squared(), start, plain(X, y), Noisy(T, learning_rate=0.5),
        fit_intercept=False, alpha=alpha, reference=(np.zeros_like(start[0]),), max_iter=600,
    )  # fmt: skip
    w = run.weights[0][0]
    ridge = np.linalg.solve(X.T @ X / n + alpha * np.eye(d), X.T @ y[:, 0] / n)
    np.testing.assert_allclose(w.mean(axis=0), ridge, atol=0.03)  # noise of a mean: .01
    ratio = w.var(axis=0) * (1 - run.eta * alpha / 2) / (T / alpha)
    assert ratio.min() >= 0.93  # noise of a variance: .022
    assert ratio.max() <= 1.07


def test_tanh_neurons_have_the_gibbs_law_of_their_own_potential(rng):
    """In one dimension the fixed point mu ~ exp(-(potential of mu) / T) is found on a grid, independently."""
    n, alpha, T, width = 30, 0.2, 0.05, 20_000
    x = rng.uniform(-2, 2, (n, 1))
    y = np.sin(2 * x)
    network = Network(Tanh(), Scaling(1.0), readout=np.ones((1, width, 1)))
    run = train(
        network, Squared(), (rng.standard_normal((1, width, 1)),), plain(x, y), Noisy(T, learning_rate=0.5),
        fit_intercept=False, alpha=alpha, reference=(np.zeros((1, width, 1)),), max_iter=800,
    )  # fmt: skip
    grid = np.linspace(-8, 8, 4001)
    features, f = np.tanh(x * grid), np.zeros(n)

    def gibbs(f):
        potential = (f - y[:, 0]) / n @ features + alpha / 2 * grid**2
        law = np.exp(-(potential - potential.min()) / T)
        return law / law.sum()

    for _ in range(2000):
        f = 0.95 * f + 0.05 * features @ gibbs(f)
    law = gibbs(f)
    np.testing.assert_allclose(features @ law, f, atol=1e-12)  # a fixed point
    w = np.sort(run.weights[0].ravel())

    def distance(law):
        return np.abs(np.interp(w, grid, np.cumsum(law)) - np.arange(1, width + 1) / width).max()

    assert distance(law) <= 0.02
    prior = np.exp(-alpha * grid**2 / 2 / T)
    assert distance(prior / prior.sum()) > 0.1


def test_runs_of_different_seeds_agree_as_one_over_the_root_of_width(rng):
    widths = (64, 256, 1024)
    X = rng.standard_normal((50, 10)) / np.sqrt(10)
    data, network, spread = plain(X, np.sin(3 * X[:, :1])), Network(Relu(), Scaling(1.0)), []
    for width in widths:
        predictions = []
        for seed in range(20):
            start = draw_weights(10, 1, width=width, depth=1, doubled=False, rng=np.random.default_rng(seed))
            with precise():
                rows = jax.tree.map(jax.numpy.asarray, data)
                unit = float(Problem(network, Squared(), rows, 0.0, start).stable_step(start, None))
            rule = Accelerated(learning_rate=1.0 / unit, momentum=0.0)  # one time for all
            run = train(network, Squared(), start, data, rule, fit_intercept=False, max_iter=100)
            assert run.eta == pytest.approx(1.0)
            predictions.append(network.outputs(run.weights, X)[:, 0])
        spread.append(np.std(predictions, axis=0).mean())
    slope = np.polyfit(np.log(widths), np.log(spread), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.08)


def population_loss(width, seed):
    """Return the loss on fresh rows after 6000 steps on 200 fresh rows each, of size .3 m with the momentum."""
    rng, d = np.random.default_rng(seed), 20
    neurons = rng.standard_normal((5, d))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    signs = rng.choice([-1.0, 1.0], 5)

    def rows(n):
        X = rng.standard_normal((n, d))
        return plain(X, (np.maximum(X @ neurons.T, 0) @ signs)[:, None] / 5)

    network, order = Network(Relu(), Scaling(1.0)), np.arange(20_000).reshape(100, 200)
    start = draw_weights(d, 1, width=width, depth=1, doubled=False, rng=np.random.default_rng(100 + seed))
    with fast():
        run = Run.at_rest(_flow.single(start), None, "sgd")
        zero = jax.tree.map(jax.numpy.zeros_like, run.weights)
        for _ in range(60):
            data = _flow.single(rows(20_000))
            run, _, _ = epoch(Problem(network, Squared(), data, 0.0, zero), run, order, 0.03, method="sgd")
        weights = jax.tree.map(np.asarray, run.weights)
    fresh = rows(20_000)
    return 0.5 * np.mean((network.outputs(weights, fresh.phi) - fresh.targets) ** 2)


def test_stochastic_descent_on_fresh_rows_finds_the_teacher_with_particles_enough():
    few, many = ([population_loss(width, seed) for seed in range(3)] for width in (5, 50))
    assert np.median(many) <= np.median(few) / 50
