r"""Gradient descent on the weights of a network, in the units of its own tangent kernel.

The objective is :math:`R(f - f_0 + c) + \frac{\alpha s^2 m}{2} |w - w_{ref}|^2` with the weighted mean loss R, an
unpenalised intercept c that is re-fitted at every step, and :math:`w_{ref}` the start (lazy) or zero (mean-field).
A step is :math:`\eta / (s^2 m)` times the gradient; :math:`\eta` = `learning_rate`
:math:`/ (L \lambda_{max} + \alpha)`, with :math:`\lambda_{max}` the largest eigenvalue of the centred tangent kernel
:math:`Df\,Df' / (s^2 m n)` and L the smoothness of the loss, so that 1.0 suits every width, scale and table.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sklearn_ltdl._backends.jax import fast, precise, traced
from sklearn_ltdl.networks._model import width_of

_BLOCK = 50  # steps in one call of compiled code
_HEAVY_BALL = 0.9
_HALVINGS = 5
_PATIENCE = 20  # passes without a lower held-out loss before the step is halved
_BATCH_ROWS = 128
_BATCH_STEP = 0.3  # of the stable step of plain descent; with the momentum, three of it
_PILOT_ROWS = 2000  # on which the stable step of batches is measured
_REFIT_ROWS = 2**15  # at most so many give the intercept of a training by batches


class Trained(NamedTuple):
    """Weights and intercept at the end, the objective at every step, whether it settled, and the step in force."""

    weights: tuple
    intercept: np.ndarray
    losses: list
    settled: bool
    eta: float


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
    return network.outputs(weights, phi, traced(type(network.activation).value).__get__(network.activation))


def _risk_gradient(network, loss, weights, intercept, data):
    """Return the risk, its gradient in the weights, and the intercept after one step of 1/smoothness."""
    derivative = traced(type(loss).derivative).__get__(loss)
    value = traced(type(loss).value).__get__(loss)
    outputs, pull_back = jax.vjp(lambda w: _outputs(network, w, data.phi) - data.offset, weights)
    rows = data.weight[:, None]
    intercept = intercept - (rows * derivative(outputs + intercept, data.targets)).sum(axis=0) / loss.smoothness
    margins = outputs + intercept
    values = value(margins, data.targets)
    risk = data.weight @ (values if loss.coupled else values.sum(axis=1))
    return risk, pull_back(rows * derivative(margins, data.targets))[0], intercept


def _centre(columns, root):
    return columns - root * (root * columns).sum(axis=0)


@jax.jit
def top_eigenvalue(network, weights, data):
    """Return the largest eigenvalue of the centred, weighted tangent kernel over s^2 m, by 30 power iterations."""
    outputs, push = jax.linearize(lambda w: _outputs(network, w, data.phi), weights)
    pull = jax.linear_transpose(push, weights)
    root = jnp.sqrt(data.weight)[:, None]  # a unit vector, which spans the intercept
    tiny = jnp.finfo(outputs.dtype).tiny

    def multiply(direction, _):
        image = _centre(root * push(pull(root * direction)[0]), root)
        norm = jnp.linalg.norm(image)
        return image / (norm + tiny), norm

    start = _centre(root * (data.targets + jnp.cos(jnp.arange(outputs.size).reshape(outputs.shape))), root)
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


def descend(
    network, loss, start, data, *, alpha=0.0, reference=None, learning_rate=1.0, max_iter=1000, tol=0.0, momentum=1.0
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

    Returns
    -------
    Trained
    """
    with precise():
        data, start = jax.tree.map(jnp.asarray, (_padded(data), start))
        reference = start if reference is None else jax.tree.map(jnp.asarray, reference)
        curvature = loss.smoothness * top_eigenvalue(network, start, data) + alpha
        eta = jnp.asarray(learning_rate / jnp.where(curvature > 0, curvature, 1.0))
        # the first evaluation is accepted: no step yet, and an objective that was infinite
        state = _State(
            start, _scaled(0.0, start), start, jnp.zeros(data.targets.shape[1]), jnp.inf + eta, eta * 0 - 1, eta
        )
        losses, settled = [], False
        while len(losses) <= max_iter and not settled:
            n_steps = min(_BLOCK, max_iter + 1 - len(losses))
            state, values = _descend(network, loss, state, data, alpha, reference, momentum, n_steps, size=_BLOCK)
            losses += np.asarray(values[:n_steps]).tolist()
            settled = losses[-1 - min(n_steps, len(losses) - 1)] - losses[-1] <= tol * losses[0]
        return Trained(*jax.tree.map(np.array, (state.base, state.intercept)), losses, settled, float(state.eta))


@jax.jit
def _epoch(network, loss, run, data, order, alpha, reference, eta):
    """Take one step with heavy-ball momentum on each batch, a row of indices in `order`; also average the weights."""

    def step(carry, rows):
        (weights, velocity, intercept), average = carry
        batch = jax.tree.map(lambda column: column[rows], data)
        batch = batch._replace(weight=batch.weight * (len(data.weight) / len(rows)))
        _, slope, intercept = _objective(network, loss, weights, intercept, batch, alpha, reference)
        velocity = _add(_scaled(_HEAVY_BALL, velocity), -eta, slope)
        weights = _add(weights, 1.0, velocity)
        return ((weights, velocity, intercept), _add(average, 1 / len(order), weights)), None

    return jax.lax.scan(step, (run, _scaled(0.0, run[0])), order)[0]


@jax.jit
def _risk(network, loss, weights, intercept, data):
    """Return the risk and the re-fitted intercept."""
    return _risk_gradient(network, loss, weights, intercept, data)[::2]


def descend_in_batches(network, loss, start, data, held_out, *, alpha, reference, learning_rate, max_iter, seed):
    """Train on random batches in float32, until the loss of the held-out rows no longer falls.

    The weights of a pass are averaged (Polyak and Juditsky 1992), which takes off the noise that the batches add. Where
    `_PATIENCE` passes do not lower the loss, the step is halved and training goes on from the best of them; it has
    settled after `_HALVINGS` halvings. Parameters are those of `descend`, `max_iter` in passes over `data`, and

    Parameters
    ----------
    held_out : Data
        Rows that choose the pass whose weights are returned.
    seed : int

    Returns
    -------
    Trained
        `losses` are the held-out risks after each pass.
    """
    with fast():
        single = functools.partial(jax.tree.map, lambda a: jnp.asarray(a, dtype=jnp.float32))
        data, held_out, weights, reference = map(single, (data, held_out, start, reference))
        n = len(data.phi)
        pilot = data.part(slice(_PILOT_ROWS))
        eta = _BATCH_STEP * learning_rate / float(loss.smoothness * top_eigenvalue(network, weights, pilot) + alpha)
        rng = np.random.default_rng(seed)
        still = _scaled(0.0, weights)
        risk, intercept = _risk(network, loss, weights, single(np.zeros(data.targets.shape[1])), held_out)
        run = kept = (weights, still, intercept)  # kept: where the best average of a pass came from
        best, losses, halvings, since = (weights, intercept), [float(risk)], 0, 0
        while len(losses) <= max_iter and halvings < _HALVINGS:
            order = rng.permutation(n)[: n // _BATCH_ROWS * _BATCH_ROWS].reshape(-1, _BATCH_ROWS)
            run, average = _epoch(network, loss, run, data, order, alpha, reference, eta)
            new, intercept = _risk(network, loss, average, run[2], held_out)
            losses.append(float(new))
            since = 0 if losses[-1] < risk else since + 1
            if since == 0:
                risk, best, kept = losses[-1], (average, intercept), run
            elif since == _PATIENCE or not np.isfinite(losses[-1]):
                eta, halvings, since, run = eta / 2, halvings + 1, 0, (kept[0], still, kept[2])
        weights, intercept = best  # the intercept so far is that of the held-out rows
        for _ in range(10):
            _, intercept = _risk(network, loss, weights, intercept, data.part(slice(_REFIT_ROWS)))
        weights, intercept = jax.tree.map(functools.partial(np.array, dtype=float), (weights, intercept))
        return Trained(weights, intercept, losses, halvings == _HALVINGS, eta)
