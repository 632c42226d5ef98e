import jax
import numpy as np
import pytest

from sklearn_ltdl.activations import Relu, Tanh
from sklearn_ltdl.losses import Logistic, Multinomial, Squared
from sklearn_ltdl.networks import _flow
from sklearn_ltdl.networks._flow import descend, descend_in_batches
from sklearn_ltdl.networks._linearized import tangent_gram
from sklearn_ltdl.networks._model import Data, Network, draw_weights, feature_map
from sklearn_ltdl.scalings import Scaling


def problem(rng, n=30, d=5, outputs=1, logistic=False):
    phi = feature_map(rng.standard_normal((n, d)))
    targets = rng.standard_normal((n, outputs))
    if logistic:
        targets = 1.0 * (targets > 0)
    return Data(phi, targets, np.zeros_like(targets), np.full(n, 1 / n))


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_homogeneity_exchanges_scale_and_initialisation(momentum, rng):
    """Training c f from w with step h is training f from sqrt(c) w with step h/c, up to the factor sqrt(c)."""
    data, c = problem(rng), 0.01
    start = draw_weights(6, 1, width=60, depth=1, doubled=True, rng=rng)
    scaled = descend(Network(Relu(), Scaling(0.5, c)), Squared(), start, data, max_iter=300, momentum=momentum)
    small = tuple(np.sqrt(c) * layer for layer in start)
    shrunk = descend(Network(Relu(), Scaling(0.5)), Squared(), small, data, max_iter=300, momentum=momentum)
    assert shrunk.losses[-1] < 0.5 * shrunk.losses[0]
    assert c * shrunk.eta == pytest.approx(scaled.eta, rel=1e-12) or shrunk.eta == pytest.approx(scaled.eta / c)
    for one, other in zip(scaled.weights, shrunk.weights):
        np.testing.assert_allclose(np.sqrt(c) * one, other, atol=1e-12 * np.abs(other).max())


def test_step_is_in_units_of_the_largest_eigenvalue_of_the_centred_tangent_kernel(rng):
    for width, d in ((64, 5), (512, 100)):
        data = problem(rng, d=d)
        network = Network(Relu(), Scaling(1.0))
        start = draw_weights(d + 1, 1, width=width, depth=1, doubled=False, rng=rng)
        centred = tangent_gram(network, start, data.phi)
        centred -= centred.mean(axis=0)
        centred -= centred.mean(axis=1, keepdims=True)
        eta = descend(network, Squared(), start, data, max_iter=1, learning_rate=0.5).eta
        # 30 power iterations end between 99 and 100 % of the eigenvalue
        assert 0.5 <= eta * np.linalg.eigvalsh(centred / 30)[-1] <= 0.505


def test_lazy_descent_is_the_closed_form_of_its_tangent_kernel(rng):
    """At scale 1e6 the function follows (I - eta H K H / n)^T, H taking off the mean (an intercept, re-fitted)."""
    data, T = problem(rng), 200
    network = Network(Tanh(), Scaling(0.5, 1e6))
    start = draw_weights(6, 1, width=60, depth=1, doubled=True, rng=rng)
    trained = descend(network, Squared(), start, data, max_iter=T, momentum=0.0)
    H = np.eye(30) - 1 / 30
    K = H @ tangent_gram(network, start, data.phi) @ H
    expected = np.linalg.matrix_power(np.eye(30) - trained.eta * K / 30, T) @ (H @ data.targets)
    residual = data.targets - network.outputs(trained.weights, data.phi) - trained.intercept
    np.testing.assert_allclose(residual, expected, atol=1e-5)  # 1e6 * displacement^2, and the intercept lags one step


@pytest.mark.parametrize("loss", [Squared(), Logistic()])
@pytest.mark.parametrize("learning_rate", [1.0, 1e4])
def test_the_objective_never_rises_whatever_the_learning_rate(loss, learning_rate, rng):
    data = problem(rng, logistic=loss == Logistic())
    start = draw_weights(6, 1, width=32, depth=2, doubled=False, rng=rng)
    network = Network(Relu(), Scaling(0.5, 0.1), Relu.gain)
    losses = descend(network, loss, start, data, alpha=1e-3, max_iter=300, learning_rate=learning_rate).losses
    assert np.all(np.diff(losses) <= 1e-12)
    assert losses[-1] < 0.2 * losses[0]


def test_weight_decay_pulls_to_its_reference(rng):
    """With a heavy penalty the minimiser is the reference: the start (lazy) or zero (mean-field)."""
    data = problem(rng)
    start = draw_weights(6, 1, width=32, depth=1, doubled=False, rng=rng)
    zero = tuple(0 * layer for layer in start)
    network = Network(Relu(), Scaling(0.5), Relu.gain)
    data = data._replace(offset=network.outputs(start, data.phi))
    for reference in (start, zero):
        end = descend(network, Squared(), start, data, alpha=1e4, reference=reference, max_iter=200).weights
        assert max(np.abs(a - b).max() for a, b in zip(end, reference)) < 1e-3


@pytest.mark.parametrize("loss", [Squared(), Multinomial()])
@pytest.mark.parametrize("depth", [1, 2])
def test_blocks_of_rows_have_the_gradient_of_all_rows(loss, depth, rng, monkeypatch):
    data = problem(rng, n=333, outputs=3)
    data = data._replace(targets=np.eye(3)[data.targets.argmax(axis=1)])
    start = draw_weights(6, 3, width=40, depth=depth, doubled=False, rng=rng)
    network = Network(Relu(), Scaling(0.5), Relu.gain)
    with jax.enable_x64(True):
        arguments = (network, loss, *jax.tree.map(jax.numpy.asarray, (start, np.zeros(3), data)))
        whole = _flow._risk_gradient(*arguments)
        monkeypatch.setattr(_flow, "_CACHE", 0)  # blocks of 64 rows, the last of them not full
        blocks = _flow._risk_gradient(*arguments)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(blocks)):
        np.testing.assert_allclose(one, other, atol=1e-14)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_batches_end_near_the_minimum_of_the_objective(rule, rng):
    """Without rows held out, the mean objective of a pass comes near what descent on all rows reaches."""
    data = problem(rng, n=400)
    start = draw_weights(6, 1, width=32, depth=1, doubled=False, rng=rng)
    zero = tuple(0 * layer for layer in start)
    shared = {"alpha": 1e-2, "reference": zero, "learning_rate": 1.0}
    network = Network(Relu(), Scaling(1.0))
    best = descend(network, Squared(), start, data, max_iter=5000, **shared).losses
    run = descend_in_batches(network, Squared(), start, data, None, max_iter=300, rule=rule, seed=0, **shared)
    assert len(run.held_out_losses) == 0
    assert min(run.losses) < best[-1] + 0.05 * (best[0] - best[-1])


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_rows_far_out_do_not_spoil_batches(rule, rng):
    """The curvature of a batch that has one of them is far above that of all rows; training begins again, slower."""
    X = rng.standard_normal((2000, 3))
    X[:5] *= 30
    y = np.abs(X[:, :1]) / 10
    data = Data(feature_map(X), y, np.zeros_like(y), np.full(2000, 1 / 2000))
    start = draw_weights(4, 1, width=64, depth=1, doubled=False, rng=rng)
    zero = tuple(0 * layer for layer in start)
    run = descend_in_batches(
        Network(Relu(), Scaling(1.0)), Squared(), start, data, data.part(slice(0, 2000, 7)),
        alpha=1e-4, reference=zero, learning_rate=3.0, max_iter=100, rule=rule, seed=0,
    )  # fmt: skip
    assert min(run.held_out_losses) < 0.1 * run.held_out_losses[0]
