r"""Gradient descent on the weights of a network, in the units of its own tangent kernel.

The objective is :math:`R(f - f_0 + c) + \frac{\alpha s^2 m}{2} |w - w_{ref}|^2` with the weighted mean loss R, an
unpenalised intercept c that is re-fitted at every step, and :math:`w_{ref}` the start (lazy) or zero (mean-field).
A step is :math:`\eta / (s^2 m)` times the gradient; :math:`\eta` = `learning_rate`
:math:`/ (L \lambda_{max} + \alpha)`, with :math:`\lambda_{max}` the largest eigenvalue of the centred tangent kernel
:math:`Df\,Df' / (s^2 m n)` and L the smoothness of the loss, so that 1.0 suits every width, scale and table.

Three ways to train: `descend` on all rows, `wander` on all rows with noise (mean-field Langevin dynamics), and
`descend_in_batches`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sklearn_ltdl._backends.jax import Traced, fast, precise, traced
from sklearn_ltdl.losses import of_rows
from sklearn_ltdl.networks._model import width_of

_BLOCK = 50  # steps in one call of compiled code
_JUDGED_STEPS = 10  # between two looks at the held-out rows
_HEAVY_BALL = 0.9
_ADAM = (0.9, 0.999, 1e-8)  # decay of the two moments, and the smallest size of a gradient
_HALVINGS = 5
_PATIENCE = 20  # looks without a lower held-out loss before training ends, or in batches the step is halved
_LANGEVIN_STEP = 0.2  # of the stable step; the variance of a particle is off by half of it in the steepest direction
_BATCH_STEP = {"sgd": 0.3, "adam": 0.02}  # sgd: of the stable step of plain descent; with the momentum, three of it
_PILOT_ROWS = 2000  # at most so many measure the stable step
_CACHE = 2**22  # bytes of a block of neurons
_REFIT_ROWS = 2**15  # at most so many give the intercept of a training by batches
_DIVERGED = 1e6  # times the objective at the start
_ROSE = 1.5  # times the objective at the start, above which a pass in batches does not count and the step is halved
_RETREATS = 10  # such passes before training gives up


class Trained(NamedTuple):
    """What training leaves.

    Weights and intercept, the objective at every step (the mean of a pass in batches) and the loss of the held-out rows
    at every look, whether it settled, the step in force, and the passes over the data.
    """

    weights: tuple
    intercept: np.ndarray
    losses: list
    held_out_losses: list
    settled: bool
    eta: float
    n_iter: int


class _State(NamedTuple):
    """Of accelerated descent: the last accepted point and its gradient, the last two iterates, the age of momentum."""

    base: tuple
    slope: tuple
    last: tuple
    intercept: jax.Array
    value: jax.Array
    age: jax.Array
    eta: jax.Array


def _add(x, factor, y):
    return jax.tree.map(lambda a, b: a + factor * b, x, y)


def _scaled(factor, x):
    return jax.tree.map(lambda a: factor * a, x)


def _dot(x, y):
    return sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y)))


def _outputs(network, weights, phi):
    return network.outputs(weights, phi, Traced(network.activation))


def _risk_gradient(network, loss, weights, intercept, data):
    """Return the risk, its gradient in the weights, and the intercept after one step of 1/smoothness.

    An intercept of None stays 0.
    """
    derivative = traced(type(loss).derivative).__get__(loss)
    value = traced(type(loss).value).__get__(loss)
    outputs, pull_back = _outputs_and_transpose(network, weights, data.phi)
    margins = outputs - data.offset
    if intercept is not None:
        intercept = _stepped(loss, margins, intercept, data)
        margins += intercept
    risk = data.weight @ of_rows(loss, value(margins, data.targets))
    return risk, pull_back(data.weight[:, None] * derivative(margins, data.targets)), intercept


def _stepped(loss, scores, intercept, data):
    """Return the intercept after one step of 1/smoothness, less where the weights, of a batch, sum to more than 1."""
    derivative = traced(type(loss).derivative).__get__(loss)
    slope = data.weight @ derivative(scores + intercept, data.targets)
    return intercept - slope / (loss.smoothness * jnp.maximum(1.0, data.weight.sum()))


def _outputs_and_transpose(network, weights, phi):
    """Return the outputs, and the function that multiplies by their transposed derivative in the weights.

    On a CPU, rows go in blocks whose neurons stay in its cache; they are computed again for the second product, which
    takes less time than to fetch them from memory.
    """
    size = max(64, _CACHE // (width_of(weights) * phi.dtype.itemsize))
    if len(phi) <= 2 * size or jax.default_backend() != "cpu":
        outputs, transposed = jax.vjp(lambda w: _outputs(network, w, phi), weights)
        return outputs, lambda slopes: transposed(slopes)[0]

    def in_blocks(columns):
        return jnp.pad(columns, [(0, -len(columns) % size), (0, 0)]).reshape(-1, size, columns.shape[1])

    def add(gradient, block):
        rows, slopes = block
        return _add(gradient, 1.0, jax.vjp(lambda w: _outputs(network, w, rows), weights)[1](slopes)[0]), None

    blocks = in_blocks(phi)
    outputs = jax.lax.map(lambda rows: _outputs(network, weights, rows), blocks)
    outputs = outputs.reshape(-1, outputs.shape[2])[: len(phi)]
    return outputs, lambda slopes: jax.lax.scan(add, _scaled(0.0, weights), (blocks, in_blocks(slopes)))[0]


def _centre(columns, root):
    return columns - root * (root * columns).sum(axis=0)


@jax.jit
def top_eigenvalue(network, weights, data, intercept):
    """Return the largest eigenvalue of the weighted tangent kernel over s^2 m, by 30 power iterations.

    The kernel is centred unless the intercept is None.
    """
    outputs, push = jax.linearize(lambda w: _outputs(network, w, data.phi), weights)
    pull = jax.linear_transpose(push, weights)
    root = jnp.sqrt(data.weight)[:, None]
    constant = 0.0 * root if intercept is None else root  # a unit vector, which spans the intercept
    tiny = jnp.finfo(outputs.dtype).tiny

    def multiply(direction, _):
        image = _centre(root * push(pull(root * direction)[0]), constant)
        norm = jnp.linalg.norm(image)
        return image / (norm + tiny), norm

    start = _centre(root * (data.targets + jnp.cos(jnp.arange(outputs.size).reshape(outputs.shape))), constant)
    norms = jax.lax.scan(multiply, start / (jnp.linalg.norm(start) + tiny), length=30)[1]
    return norms[-1] * network.scaling.step(width_of(weights))


def _objective(network, loss, weights, intercept, data, alpha, reference):
    """Return the objective, its gradient over s^2 m, and the intercept re-fitted by one step."""
    risk, gradient, intercept = _risk_gradient(network, loss, weights, intercept, data)
    step = network.scaling.step(width_of(weights))
    away = _add(weights, -1.0, reference)
    return risk + 0.5 * alpha / step * _dot(away, away), _add(_scaled(step, gradient), alpha, away), intercept


@functools.partial(jax.jit, static_argnames="size")
def _descend(network, loss, state, data, alpha, reference, momentum, n_steps, *, size):
    """Take `n_steps` <= `size` steps of descent with Nesterov's momentum, restarted where the objective rises.

    A step from a restart that still raises it halves eta (O'Donoghue and Candes 2015, function scheme).
    """

    def step(k, carry):
        state, values = carry
        ahead = _add(state.base, -state.eta, state.slope)
        point = _add(ahead, momentum * state.age / (state.age + 3), _add(ahead, -1.0, state.last))
        value, slope, intercept = _objective(network, loss, point, state.intercept, data, alpha, reference)
        accepted = value <= state.value * (1 + 10 * jnp.finfo(value.dtype).eps)
        taken = _State(point, slope, ahead, intercept, value, state.age + 1, state.eta)
        refused = state._replace(age=0 * state.age, eta=jnp.where(state.age > 0, state.eta, 0.5 * state.eta))
        state = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), taken, refused)
        return state, values.at[k].set(state.value)

    return jax.lax.fori_loop(0, n_steps, step, (state, jnp.zeros(size, state.value.dtype)))


def _padded(data):
    """Return the rows with rows of weight 0 up to a multiple of 64, so that folds of a table share compiled code."""
    more = -len(data.weight) % 64
    return jax.tree.map(lambda column: np.pad(column, [(0, more)] + [(0, 0)] * (column.ndim - 1)), data)


def _stable_step(network, loss, weights, data, alpha, intercept):
    """Return the largest stable step of plain descent, 1 where nothing bounds it."""
    data = data.part(slice(None, None, -(-len(data.phi) // _PILOT_ROWS)))
    curvature = loss.smoothness * top_eigenvalue(network, weights, data, intercept) + alpha
    return 1 / jnp.where(curvature > 0, curvature, 1.0)


def descend(
    network,
    loss,
    start,
    data,
    *,
    intercept=True,
    held_out=None,
    alpha=0.0,
    reference=None,
    learning_rate=1.0,
    max_iter=1000,
    tol=0.0,
    momentum=1.0,
    monitor=None,
):
    """Train on all rows at each step.

    Parameters
    ----------
    network : Network
    loss : loss object
    start : tuple of ndarray
        Initial weights.
    data : Data
        Of `sklearn_ltdl.networks._model`.
    intercept : bool or ndarray of shape (n_outputs,), default=True
        Where the intercept starts; True for 0, False for no intercept.
    held_out : Data, default=None
        Rows that choose the step whose weights are returned, every tenth being looked at.
    alpha : float, default=0.0
    reference : tuple of ndarray, default=None
        Weights that the penalty pulls towards, `start` if None.
    learning_rate : float, default=1.0
        In units of the largest stable step of the tangent kernel at the start.
    max_iter : int, default=1000
        Number of steps.
    tol : float, default=0.0
        Stop when 50 steps lower the objective by less than `tol` times its value at the start.
    momentum : float, default=1.0
        1 for Nesterov's acceleration, 0 for plain gradient descent.
    monitor : callable, default=None
        Is given weights, intercept and objective after each block of steps, and stops training by returning True.

    Returns
    -------
    Trained
    """
    with precise():
        data, start = jax.tree.map(jnp.asarray, (_padded(data), start))
        held_out = None if held_out is None else jax.tree.map(jnp.asarray, _padded(held_out))
        reference = start if reference is None else jax.tree.map(jnp.asarray, reference)
        intercept = _first_intercept(intercept, data)
        eta = jnp.asarray(learning_rate * _stable_step(network, loss, start, data, alpha, intercept))
        # the first evaluation is accepted: no step yet, and an objective that was infinite
        state = _State(start, _scaled(0.0, start), start, intercept, jnp.inf + eta, eta * 0 - 1, eta)
        losses, judged, settled, stopped, best = [], [], False, False, None
        while len(losses) <= max_iter and not settled and not stopped:
            n_steps, before = min(steps_in_a_block("gd", held_out), max_iter + 1 - len(losses)), state.eta
            state, values = _descend(network, loss, state, data, alpha, reference, momentum, n_steps, size=_BLOCK)
            losses += np.asarray(values[:n_steps]).tolist()
            fallen = losses[-1 - min(_BLOCK, len(losses) - 1)] - losses[-1]
            settled = fallen <= tol * losses[0] and len(losses) >= min(_BLOCK, max_iter + 1)
            settled &= not (fallen == 0 and state.eta < before * 0.5 ** (n_steps // 2))  # steps that were only halved
            if held_out is not None:
                judged.append(float(_judge(network, loss, state.base, state.intercept, held_out)))
                if judged[-1] <= min(judged):
                    best = state
                settled = settled or len(judged) - 1 - int(np.argmin(judged)) >= _PATIENCE
            stopped = monitor is not None and monitor(state.base, state.intercept, losses[-1])
        kept = state if best is None else best
        weights, intercept = jax.tree.map(np.array, (kept.base, _plain(kept.intercept, data)))
        return Trained(weights, intercept, losses, judged, settled or stopped, float(state.eta), len(losses) - 1)


def steps_in_a_block(solver, held_out):
    """Return the number of steps, or of passes in batches, between two calls of the monitor."""
    return 1 if solver != "gd" else _BLOCK if held_out is None else _JUDGED_STEPS


def _first_intercept(intercept, data):
    """Return the intercept to start with, or None where there is none."""
    if intercept is False:
        return None
    zero = jnp.zeros(data.targets.shape[1], data.phi.dtype)
    return zero if intercept is True else zero + jnp.asarray(intercept, data.phi.dtype)


def _plain(intercept, data):
    return np.zeros(data.targets.shape[1]) if intercept is None else intercept


@functools.partial(jax.jit, static_argnames="size")
def _wander(network, loss, weights, intercept, data, alpha, reference, eta, temperature, key, n_steps, *, size):
    """Take `n_steps` <= `size` steps of descent with Gaussian noise of variance 2 eta T in each weight."""

    def step(k, carry):
        weights, intercept, values = carry
        value, slope, intercept = _objective(network, loss, weights, intercept, data, alpha, reference)
        layers, tree = jax.tree.flatten(weights)
        keys = jax.random.split(jax.random.fold_in(key, k), len(layers))
        noise = [jax.random.normal(one, layer.shape, layer.dtype) for one, layer in zip(keys, layers)]
        weights = _add(_add(weights, -eta, slope), jnp.sqrt(2 * eta * temperature), jax.tree.unflatten(tree, noise))
        return weights, intercept, values.at[k].set(value)

    return jax.lax.fori_loop(0, n_steps, step, (weights, intercept, jnp.zeros(size, data.phi.dtype)))


def wander(
    network,
    loss,
    start,
    data,
    *,
    temperature,
    intercept=True,
    alpha=0.0,
    reference=None,
    learning_rate=1.0,
    max_iter=1000,
    seed=0,
    monitor=None,
):
    r"""Train by mean-field Langevin dynamics: plain descent on all rows with noise, in float64.

    In the limit of many particles the law :math:`\mu` of a particle follows the gradient flow of :math:`R +
    \frac\alpha2 E|w|^2 + T \int \mu \log \mu` (Mei, Montanari, Nguyen 2018). Parameters are those of `descend`, a fifth
    of the stable step being the unit of `learning_rate`, and

    Parameters
    ----------
    temperature : float
        T, in units of the objective.
    seed : int
        Draws the noise.

    Returns
    -------
    Trained
    """
    with precise():
        data, weights = jax.tree.map(jnp.asarray, (_padded(data), start))
        reference = _scaled(0.0, weights) if reference is None else jax.tree.map(jnp.asarray, reference)
        intercept = _first_intercept(intercept, data)
        eta = _LANGEVIN_STEP * learning_rate * _stable_step(network, loss, weights, data, alpha, intercept)
        key, losses, stopped = jax.random.key(seed), [], False
        while len(losses) < max_iter and not stopped:
            n_steps, before = min(_BLOCK, max_iter - len(losses)), weights
            key, used = jax.random.split(key)
            weights, intercept, values = _wander(
                network, loss, weights, intercept, data, alpha, reference, eta, temperature, used, n_steps, size=_BLOCK
            )
            losses += np.asarray(values[:n_steps]).tolist()
            if not np.all(np.abs(losses[-n_steps:]) <= _DIVERGED * max(losses[0], temperature)):
                safe = learning_rate * float(_stable_step(network, loss, before, data, alpha, intercept) / eta)
                raise diverged(learning_rate, losses, min(safe if safe > 0 else 1.0, learning_rate / 2))
            stopped = monitor is not None and monitor(weights, intercept, losses[-1])
        weights, intercept = jax.tree.map(np.array, (weights, _plain(intercept, data)))
        return Trained(weights, intercept, losses, [], True, float(eta), len(losses))


def diverged(learning_rate, losses, safe):
    """Return the error that says by how much the step was too large."""
    return ValueError(
        f"learning_rate={learning_rate:g} is too large: the loss went from {losses[0]:.3g} to {losses[-1]:.3g} in "
        f"{len(losses) - 1} steps. Use at most {safe:.2g}."
    )


class Run(NamedTuple):
    """Of a training by batches: weights, the memory of the rule (velocity, or two moments and a count), intercept."""

    weights: tuple
    memory: tuple
    intercept: jax.Array

    @classmethod
    def at_rest(cls, weights, intercept, rule):
        """Return the run that starts from `weights`."""
        still = _scaled(0.0, weights)
        return cls(weights, still if rule == "sgd" else (still, still, jnp.zeros(())), intercept)


def _move(memory, slope, eta, rule, n_hidden):
    """Return the step of the rule and its new memory: heavy ball, or Adam with hidden steps over sqrt(fan-in)."""
    if rule == "sgd":
        velocity = _add(_scaled(_HEAVY_BALL, memory), -eta, slope)
        return velocity, velocity
    first, second, count = memory
    slow, slower, least = _ADAM
    count = count + 1
    first = _add(_scaled(slow, first), 1 - slow, slope)
    second = _add(_scaled(slower, second), 1 - slower, jax.tree.map(jnp.square, slope))
    move = tuple(
        -eta
        * (layer.shape[2] ** -0.5 if k < n_hidden else 1.0)
        * (mean / (1 - slow**count))
        / (jnp.sqrt(square / (1 - slower**count)) + least)
        for k, (layer, mean, square) in enumerate(zip(slope, first, second))
    )
    return move, (first, second, count)


@functools.partial(jax.jit, static_argnames="rule")
def epoch(network, loss, run, data, order, alpha, reference, eta, *, rule):
    """Take one step of the rule on each batch, a row of indices in `order`.

    Returns
    -------
    run : Run
    average : tuple of ndarray
        Of the weights over the steps.
    value : ndarray of shape ()
        The mean of the objectives of the batches.
    """

    def step(carry, rows):
        (weights, memory, intercept), average = carry
        batch = jax.tree.map(lambda column: column[rows], data)
        batch = batch._replace(weight=batch.weight * (len(data.weight) / len(rows)))
        value, slope, intercept = _objective(network, loss, weights, intercept, batch, alpha, reference)
        move, memory = _move(memory, slope, eta, rule, len(network.split(weights)[0]))
        weights = _add(weights, 1.0, move)
        return (Run(weights, memory, intercept), _add(average, 1 / len(order), weights)), value

    (run, average), values = jax.lax.scan(step, (run, _scaled(0.0, run.weights)), order)
    return run, average, values.mean()


@jax.jit
def _value(network, loss, weights, intercept, data, alpha, reference):
    return _objective(network, loss, weights, intercept, data, alpha, reference)[0]


@functools.partial(jax.jit, static_argnames="n_steps")
def _refit(network, loss, weights, intercept, data, n_steps=1):
    """Return the intercept re-fitted by steps of 1/smoothness."""
    scores = _outputs(network, weights, data.phi) - data.offset
    return jax.lax.fori_loop(0, n_steps, lambda _, c: _stepped(loss, scores, c, data), intercept)


@jax.jit
def _judge(network, loss, weights, intercept, data):
    """Return the risk of rows that training does not see."""
    value = traced(type(loss).value).__get__(loss)
    scores = _outputs(network, weights, data.phi) - data.offset + intercept
    return data.weight @ of_rows(loss, value(scores, data.targets))


def batches_of(n, size, rng):
    """Return the indices of the rows in random batches of about `size`, a row of the result each.

    All batches have as many rows, so that fewer are left out than there are batches.
    """
    n_batches = max(1, round(n / size))
    return rng.permutation(n)[: n - n % n_batches].reshape(n_batches, -1)


def single(tree, dtype=jnp.float32):
    """Return the arrays of a tree in float32, or in another precision."""
    return jax.tree.map(lambda a: jnp.asarray(a, dtype=dtype), tree)


def batch_step(network, loss, weights, data, *, alpha, learning_rate, rule):
    """Return the step of a rule: a part of the stable one, or for Adam the size of a move of each weight."""
    if rule == "adam":
        return _BATCH_STEP[rule] * learning_rate
    intercept = jnp.zeros(data.targets.shape[1], data.phi.dtype)
    return _BATCH_STEP[rule] * learning_rate * float(_stable_step(network, loss, weights, data, alpha, intercept))


def descend_in_batches(
    network,
    loss,
    start,
    data,
    held_out,
    *,
    intercept=True,
    alpha,
    reference,
    learning_rate,
    max_iter,
    rule="sgd",
    batch_size=128,
    double=False,
    seed,
    monitor=None,
):
    """Train on random batches, until the loss of the held-out rows no longer falls.

    The weights of a pass are averaged (Polyak and Juditsky 1992), which takes off the noise that the batches add. Where
    `_PATIENCE` passes do not lower the loss, the step is halved and training goes on from the best of them; it has
    settled after `_HALVINGS` halvings. After a pass that raises the objective above its start, as a few rows far out
    can, training begins again with half the step. Parameters are those of `descend`, `max_iter` in passes over `data`,
    and

    Parameters
    ----------
    held_out : Data or None
        Rows that choose the pass whose weights are returned; if None, the objective of the batches chooses.
    rule : {'sgd', 'adam'}, default='sgd'
        Heavy ball, or Adam (Kingma and Ba 2015).
    batch_size : int, default=128
    double : bool, default=False
        Whether in float64, not float32: where outputs are small differences of large numbers.
    seed : int

    Returns
    -------
    Trained
    """
    with (precise if double else fast)():
        cast = functools.partial(single, dtype=jnp.float64 if double else jnp.float32)
        data, held_out, weights, reference = map(cast, (data, held_out, start, reference))
        intercept = _first_intercept(intercept, data)
        eta = batch_step(network, loss, weights, data, alpha=alpha, learning_rate=learning_rate, rule=rule)
        rng = np.random.default_rng(seed)
        first = run = kept = Run.at_rest(weights, intercept, rule)  # kept: where the best average of a pass came from
        losses, judged, halvings, retreats, since, stopped = [], [], 0, 0, 0, False
        ceiling = _ROSE * float(_value(network, loss, weights, intercept, data, alpha, reference))
        best, lowest = (weights, intercept), np.inf
        if held_out is not None:
            lowest = float(_judge(network, loss, weights, intercept, held_out))
            judged.append(lowest)
        while len(losses) < max_iter and halvings < _HALVINGS and not stopped:
            order = batches_of(len(data.phi), batch_size, rng)
            run, average, value = epoch(network, loss, run, data, order, alpha, reference, eta, rule=rule)
            losses.append(float(value))
            if not losses[-1] <= ceiling:
                if retreats == _RETREATS:
                    raise diverged(learning_rate, losses, learning_rate * 2.0**-_RETREATS)
                eta, retreats, run, kept, average = eta / 2, retreats + 1, first, first, weights
            intercept = run.intercept
            if held_out is not None:
                intercept = _refit(network, loss, average, intercept, held_out)
                judged.append(float(_judge(network, loss, average, intercept, held_out)))
            newest = losses[-1] if held_out is None else judged[-1]
            since = 0 if newest < lowest else since + 1
            if since == 0:
                lowest, best, kept = newest, (average, intercept), run
            elif since == _PATIENCE:
                eta, halvings, since, run = eta / 2, halvings + 1, 0, Run.at_rest(kept.weights, kept.intercept, rule)
            stopped = monitor is not None and monitor(average, intercept, losses[-1])
        weights, intercept = best  # the intercept so far is that of the held-out rows
        some = data.part(slice(None, None, -(-len(data.phi) // _REFIT_ROWS)))
        intercept = _refit(network, loss, weights, intercept, some, n_steps=10)
        weights, intercept = jax.tree.map(functools.partial(np.array, dtype=float), (weights, intercept))
        return Trained(weights, intercept, losses, judged, halvings == _HALVINGS or stopped, eta, len(losses))


def first_run(network, loss, weights, intercept, data, *, alpha, learning_rate, rule):
    """Return a run at rest and the step of the rule, with which `one_pass` begins."""
    with fast():
        data, weights, intercept = map(single, (data, weights, intercept))
        eta = batch_step(network, loss, weights, data, alpha=alpha, learning_rate=learning_rate, rule=rule)
        return tuple(jax.tree.map(np.array, Run.at_rest(weights, intercept, rule))), eta


def one_pass(network, loss, run, data, *, alpha, reference, eta, learning_rate, rule, batch_size, seed):
    """Return the run after one pass over `data` in batches, in NumPy, their mean objective, and the step in force.

    A pass that raises the objective is taken back, and the step halved.
    """
    with fast():
        data, begin, reference = map(single, (data, Run(*run), reference))
        first = float(_value(network, loss, begin.weights, begin.intercept, data, alpha, reference))
        order = batches_of(len(data.phi), batch_size, np.random.default_rng(seed))
        for halvings in range(_RETREATS + 1):
            step = eta * 0.5**halvings
            run, _, value = epoch(network, loss, begin, data, order, alpha, reference, step, rule=rule)
            last = float(_value(network, loss, run.weights, run.intercept, data, alpha, reference))
            if value <= _ROSE * first and last <= _ROSE * first:
                return tuple(jax.tree.map(np.array, run)), float(value), step
            begin = Run.at_rest(begin.weights, begin.intercept, rule)
        raise diverged(learning_rate, [first, last], learning_rate * 0.5**_RETREATS)
