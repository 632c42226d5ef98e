import jax
import numpy as np
import pytest

from sklearn_ltdl.activations import Relu, Tanh
from sklearn_ltdl.losses import Logistic, Multinomial, Squared
from sklearn_ltdl.networks import _flow, _objective
from sklearn_ltdl.networks._flow import Accelerated, Batched, Run, train
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
    rule = Accelerated(momentum=momentum)
    scaled = train(Network(Relu(), Scaling(0.5, c)), Squared(), start, data, rule, max_iter=300)
    small = tuple(np.sqrt(c) * layer for layer in start)
    shrunk = train(Network(Relu(), Scaling(0.5)), Squared(), small, data, rule, max_iter=300)
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
        eta = train(network, Squared(), start, data, Accelerated(learning_rate=0.5), max_iter=1).eta
        # 30 power iterations end between 99 and 100 % of the eigenvalue
        assert 0.5 <= eta * np.linalg.eigvalsh(centred / 30)[-1] <= 0.505


def test_lazy_descent_is_the_closed_form_of_its_tangent_kernel(rng):
    """At scale 1e6 the function follows (I - eta H K H / n)^T, H taking off the mean (an intercept, re-fitted)."""
    data, T = problem(rng), 200
    network = Network(Tanh(), Scaling(0.5, 1e6))
    start = draw_weights(6, 1, width=60, depth=1, doubled=True, rng=rng)
    trained = train(network, Squared(), start, data, Accelerated(momentum=0.0), max_iter=T)
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
    losses = train(network, loss, start, data, Accelerated(learning_rate), alpha=1e-3, max_iter=300).losses
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
        run = train(network, Squared(), start, data, Accelerated(), alpha=1e4, reference=reference, max_iter=200)
        assert max(np.abs(a - b).max() for a, b in zip(run.weights, reference)) < 1e-3


@pytest.mark.parametrize("loss", [Squared(), Multinomial()])
@pytest.mark.parametrize("depth", [1, 2])
def test_blocks_of_rows_have_the_gradient_of_all_rows(loss, depth, rng, monkeypatch):
    data = problem(rng, n=333, outputs=3)
    data = data._replace(targets=np.eye(3)[data.targets.argmax(axis=1)])
    start = draw_weights(6, 3, width=40, depth=depth, doubled=False, rng=rng)
    network = Network(Relu(), Scaling(0.5), Relu.gain)
    with jax.enable_x64(True):
        arguments = (network, loss, *jax.tree.map(jax.numpy.asarray, (start, np.zeros(3), data)))
        whole = _objective.risk_and_gradient(*arguments)
        monkeypatch.setattr(_objective, "_CACHE", 0)  # blocks of 64 rows, the last of them not full
        blocks = _objective.risk_and_gradient(*arguments)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(blocks)):
        np.testing.assert_allclose(one, other, atol=1e-14)


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_batches_end_near_the_minimum_of_the_objective(method, rng):
    """Without rows held out, the mean objective of a pass comes near what descent on all rows reaches."""
    data = problem(rng, n=400)
    start = draw_weights(6, 1, width=32, depth=1, doubled=False, rng=rng)
    zero = tuple(0 * layer for layer in start)
    shared = {"alpha": 1e-2, "reference": zero}
    network = Network(Relu(), Scaling(1.0))
    best = train(network, Squared(), start, data, Accelerated(), max_iter=5000, **shared).losses
    run = train(network, Squared(), start, data, Batched(method), max_iter=300, **shared)
    assert len(run.held_out_losses) == 0
    assert min(run.losses) < best[-1] + 0.05 * (best[0] - best[-1])


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_rows_far_out_do_not_spoil_batches(method, rng):
    """The curvature of a batch that has one of them is far above that of all rows; training begins again, slower."""
    X = rng.standard_normal((2000, 3))
    X[:5] *= 30
    y = np.abs(X[:, :1]) / 10
    data = Data(feature_map(X), y, np.zeros_like(y), np.full(2000, 1 / 2000))
    start = draw_weights(4, 1, width=64, depth=1, doubled=False, rng=rng)
    zero = tuple(0 * layer for layer in start)
    run = train(
        Network(Relu(), Scaling(1.0)), Squared(), start, data, Batched(method, learning_rate=3.0),
        held_out=data.part(slice(0, 2000, 7)), alpha=1e-4, reference=zero, max_iter=100,
    )  # fmt: skip
    assert min(run.held_out_losses) < 0.1 * run.held_out_losses[0]


def held_out_problem(rng):
    """Return noisy rows, half of them held out with uneven weights, and the network of 40 neurons."""
    X = rng.standard_normal((60, 3))
    y = np.abs(X[:, :1]) + 0.5 * rng.standard_normal((60, 1))
    data = Data(feature_map(X), y, np.zeros_like(y), np.full(60, 1 / 60))
    weight = rng.uniform(0.1, 3, 30)
    held_out = data.part(slice(30, 60))._replace(weight=weight / weight.sum())
    start = draw_weights(4, 1, width=40, depth=1, doubled=False, rng=rng)
    return data.part(slice(0, 30)), held_out, start, Network(Relu(), Scaling(1.0))


@pytest.mark.parametrize("method", ["gd", "sgd", "adam"])
def test_the_weights_that_are_kept_are_those_of_least_held_out_loss(method, rng):
    seen, held_out, start, network = held_out_problem(rng)
    zero, passed = tuple(0 * layer for layer in start), []

    def monitor(weights, intercept, value):
        passed.append(np.array(weights[0]))

    if method == "gd":
        rule, max_iter = Accelerated(), 2000
    else:
        rule, max_iter = Batched(method, batch_size=10), 150
    run = train(
        network, Squared(), start, seen, rule, held_out=held_out, reference=zero, max_iter=max_iter, monitor=monitor
    )
    losses = run.held_out_losses[-len(passed) :]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1
    np.testing.assert_array_equal(run.weights[0], passed[best])
    if method == "gd":
        scores = network.outputs(run.weights, held_out.phi) + run.intercept
        assert losses[best] == pytest.approx(held_out.weight @ Squared().value(scores, held_out.targets)[:, 0])


def test_the_first_step_of_adam_is_of_its_size_whatever_the_gradient(rng):
    """With the corrections of both moments a weight moves by eta, a hidden one by eta over the root of its fan-in."""
    seen, _, start, network = held_out_problem(rng)
    zero = tuple(0 * layer for layer in start)
    with jax.enable_x64(False):
        data, weights, reference = map(_flow.single, (seen, start, zero))
        run = Run.at_rest(weights, jax.numpy.zeros(1), "adam")
        problem = _objective.Problem(network, Squared(), data, 1e-2, reference)
        run, _, _ = _flow.epoch(problem, run, np.arange(30)[None], 0.01, method="adam")
    np.testing.assert_allclose(np.abs(run.weights[0] - start[0]), 0.01 / np.sqrt(4), rtol=1e-2)  # 1e-8 over a gradient
    np.testing.assert_allclose(np.abs(run.weights[1] - start[1]), 0.01, rtol=1e-2)


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_one_heavy_row_does_not_spoil_batches(method, rng):
    """A row of 3000 in 7000: in its batch the weights sum to far more than 1."""
    X = rng.standard_normal((4000, 4))
    y = X[:, :1] + np.abs(X[:, 1:2])
    weight = np.ones(4000)
    X[0], y[0], weight[0] = 0, 0, 3000
    data = Data(feature_map(X), y, np.zeros_like(y), weight / weight.sum())
    start = draw_weights(5, 1, width=64, depth=1, doubled=False, rng=rng)
    zero = tuple(0 * layer for layer in start)
    run = train(
        Network(Relu(), Scaling(1.0)), Squared(), start, data, Batched(method), alpha=1e-5, reference=zero, max_iter=40
    )
    assert min(run.losses) < 0.05 * run.losses[0]


@pytest.mark.parametrize(("n", "size"), [(250, 128), (100, 128), (4000, 128), (33, 10)])
def test_each_row_is_in_one_batch(n, size, rng):
    batches = _flow.batches_of(n, size, rng)
    rows = batches >= 0
    np.testing.assert_array_equal(np.sort(batches[rows]), np.arange(n))
    assert rows.sum(axis=1).max() <= min(rows.sum(axis=1).min() + 1, size)


def test_rows_and_batches_that_fill_up_shapes_change_no_step(rng):
    data, network = problem(rng, n=68), Network(Tanh(), Scaling(1.0))
    start = draw_weights(6, 1, width=20, depth=1, doubled=False, rng=rng)
    data = data._replace(weight=rng.dirichlet(np.ones(68)))
    order = _flow.batches_of(68, 16, rng)
    padded, filled = _flow._of_few_shapes(data, order, 16)
    assert (len(padded.phi), filled.shape) == (128, (8, 16))
    ends = []
    with jax.enable_x64(True):
        for rows, batches in ((data, order), (padded, filled)):
            run = Run.at_rest(start, jax.numpy.zeros(1), "sgd")
            rows = _flow.single(rows, np.float64)
            steps = _objective.Problem(network, Squared(), rows, 1e-2, tuple(0 * layer for layer in start))
            ends.append(_flow._judged_epoch(steps, run, batches, 0.1, method="sgd"))
    for one, other in zip(*map(jax.tree.leaves, ends)):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
