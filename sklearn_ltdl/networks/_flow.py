r"""Gradient descent on the weights of a network, in the units of its own tangent kernel.

The intercept is refitted at every step. The penalty pulls weights towards :math:`w_{ref}`, which is the start (lazy) or
zero (mean-field). A step is :math:`\eta / (s^2 m)` times the gradient, where :math:`\eta` = `learning_rate` :math:`/ (L
\lambda_{max} + \alpha)`, with :math:`\lambda_{max}` the largest eigenvalue of the centred tangent kernel :math:`Df\,Df'
/ (s^2 m n)` and L the smoothness of the loss. A `learning_rate` of 1.0 therefore suits every width, scale and table.

`train` is the only training loop: it evaluates the result of each block of steps, keeps the best, and stops. A rule
takes the steps and decides when they have settled. There are three rules: `Accelerated` descent on all rows, `Noisy`
descent on all rows (mean-field Langevin dynamics), and `Batched` descent.
"""

import functools
from collections.abc import Callable
from itertools import islice, repeat
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sklearn_ltdl._backends.jax import fast, precise
from sklearn_ltdl.networks._metric import InputMetric
from sklearn_ltdl.networks._model import Trained
from sklearn_ltdl.networks._objective import Problem, add, scaled

_BLOCK = 50  # steps in one call of compiled code
_JUDGED_STEPS = 10  # steps between two evaluations on the held-out rows
_HEAVY_BALL = 0.9
_ADAM = (0.9, 0.999, 1e-8)  # decay of the two moments, and the smallest size of a gradient
_HALVINGS = 5
_PATIENCE = 20  # evaluations without a lower held-out loss before training stops or, in batches, the step is halved
_LANGEVIN_STEP = 0.2  # of the stable step; a particle's variance has a relative error of at most half of it
_BATCH_STEP = {"sgd": 0.3, "adam": 0.02}  # for sgd in stable steps of plain descent
_REFIT_ROWS = 2**15  # after training in batches, the intercept is fitted on at most so many rows
_DIVERGED = 1e6  # times the objective at the start
_ROSE = 1.5  # a pass that ends above so many times the initial objective is undone, and the step is halved
_RETREATS = 10  # so many such passes before training gives up


class Block(NamedTuple):
    """Some steps of a rule, or one pass in batches: objectives, weights and intercept at the end, and the step."""

    losses: list
    weights: tuple
    intercept: jax.Array
    eta: float


def train(
    network,
    loss,
    start,
    data,
    rule,
    *,
    intercept=None,
    fit_intercept=True,
    held_out=None,
    alpha=0.0,
    reference=None,
    max_iter=1000,
    monitor=None,
):
    """Train a network by a rule.

    Parameters
    ----------
    network : Network
    loss : loss object
    start : tuple of ndarray
        Initial weights.
    data : Data
        Training rows; see `sklearn_ltdl.networks._model`.
    rule : Accelerated, Noisy or Batched
    intercept : ndarray of shape (n_outputs,), default=None
        Initial intercept; None means 0.
    fit_intercept : bool, default=True
    held_out : Data, default=None
        Validation set; the weights with the smallest loss on it are kept.
    alpha : float, default=0.0
    reference : tuple of ndarray, default=None
        Weights towards which the penalty pulls; None means `start`.
    max_iter : int, default=1000
        Maximum number of steps, or of passes in batches.
    monitor : callable, default=None
        Called with weights, intercept and objective after each block of steps; training stops if it returns True.

    Returns
    -------
    Trained
    """
    reference = start if reference is None else reference
    zero = np.zeros(data.targets.shape[1])
    intercept = (zero if intercept is None else intercept) if fit_intercept else None
    if not rule.in_batches:
        data, held_out = _padded(data), None if held_out is None else _padded(held_out)
    with precise() if rule.double else fast():
        cast = functools.partial(single, dtype=jnp.float64 if rule.double else jnp.float32)
        data, held_out, reference, weights, intercept = map(cast, (data, held_out, reference, start, intercept))
        problem = Problem(network, loss, data, alpha, reference)
        losses, judged, best, lowest, since = [], [], (weights, intercept), np.inf, None
        if held_out is not None and rule.in_batches:
            lowest = float(problem.risk(weights, intercept, held_out))
            judged.append(lowest)
        steps, settled, stopped = rule.blocks(problem, weights, intercept, held_out, max_iter), False, False
        while not stopped:
            try:
                block = steps.send(since)
            except StopIteration as end:  # there are no more steps, or the rule has settled
                settled = end.value
                break
            losses += block.losses
            if held_out is not None:
                judged.append(float(problem.risk(block.weights, block.intercept, held_out)))
            newest = judged[-1] if judged else losses[-1]
            since = 0 if newest < lowest or not (judged or rule.in_batches) else (since or 0) + 1
            if since == 0:
                best, lowest = (block.weights, block.intercept), newest
            stopped = monitor is not None and monitor(block.weights, block.intercept, losses[-1])
        weights, intercept = best
        if rule.in_batches and fit_intercept:  # so far the intercept was fitted to the held-out rows, or to a batch
            some = data.part(slice(None, None, -(-len(data.phi) // _REFIT_ROWS)))
            intercept = problem.refitted(weights, intercept, some, n_steps=10)
        ends = weights, intercept if fit_intercept else zero
        weights, intercept = jax.tree.map(functools.partial(np.array, dtype=float), ends)
    n_iter = len(losses) - rule.n_before
    return Trained(weights, intercept, losses, n_iter, judged, settled or stopped, float(block.eta))


class Descent(NamedTuple):
    """State of accelerated descent: last accepted point and its gradient, last iterate, and age of the momentum."""

    weights: tuple
    slope: tuple
    last: tuple
    intercept: jax.Array
    value: jax.Array
    age: jax.Array
    eta: jax.Array

    @classmethod
    def at_rest(cls, weights, intercept, eta):
        """Return the initial state, with an infinite objective, so that the first evaluation is accepted."""
        return cls(weights, scaled(0.0, weights), weights, intercept, jnp.inf + eta, eta * 0 - 1, eta)


class Accelerated(NamedTuple):
    """Descent on all rows with Nesterov's momentum, restarted when the objective rises; in float64.

    If the objective also rises in the first step after a restart, eta is halved (O'Donoghue and Candes 2015, function
    scheme).

    Parameters
    ----------
    learning_rate : float, default=1.0
        Step in units of the largest stable step of the tangent kernel at the start.
    tol : float, default=0.0
        Training has settled when 50 steps lower the objective by less than `tol` times its initial value.
    momentum : float, default=1.0
        1 for Nesterov's acceleration, 0 for plain gradient descent.
    preconditioned : bool, default=False
        Whether the first layer moves in the `InputMetric`. Steps then do not depend on correlations of the inputs.
    """

    learning_rate: float = 1.0
    tol: float = 0.0
    momentum: float = 1.0
    preconditioned: bool = False
    double, in_batches = True, False
    n_before = 1  # objectives before the first step

    def blocks(self, problem, weights, intercept, held_out, max_iter):
        """Yield blocks of steps until the objective stops falling; receive the number of evaluations since the best."""
        if self.preconditioned:
            problem = problem._replace(metric=InputMetric.of(problem.data, problem.alpha))
        eta = jnp.asarray(self.learning_rate * problem.stable_step(weights, intercept))
        state, losses = Descent.at_rest(weights, intercept, eta), []
        for n_steps in _sizes(max_iter + 1, steps_in_a_block(self, held_out)):
            before = state.eta
            state, values = _descend(problem, state, self.momentum, n_steps, size=_BLOCK)
            losses += np.asarray(values[:n_steps]).tolist()
            since = yield Block(losses[-n_steps:], state.weights, state.intercept, state.eta)
            fallen = losses[-1 - min(_BLOCK, len(losses) - 1)] - losses[-1]
            halved_only = fallen == 0 and state.eta < before * 0.5 ** (n_steps // 2)
            settled = fallen <= self.tol * losses[0] and len(losses) >= min(_BLOCK, max_iter + 1) and not halved_only
            if settled or since >= _PATIENCE:
                return True
        return False


@functools.partial(jax.jit, static_argnames="size")
def _descend(problem, state, momentum, n_steps, *, size):
    """Return the state after `n_steps` <= `size` steps of accelerated descent, and the objectives."""

    def step(k, carry):
        state, values = carry
        ahead = add(state.weights, -state.eta, state.slope)
        point = add(ahead, momentum * state.age / (state.age + 3), add(ahead, -1.0, state.last))
        value, slope, intercept = problem.at(point, state.intercept)
        accepted = value <= state.value * (1 + 10 * jnp.finfo(value.dtype).eps)
        taken = Descent(point, slope, ahead, intercept, value, state.age + 1, state.eta)
        refused = state._replace(age=0 * state.age, eta=jnp.where(state.age > 0, state.eta, 0.5 * state.eta))
        state = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), taken, refused)
        return state, values.at[k].set(state.value)

    return jax.lax.fori_loop(0, n_steps, step, (state, jnp.zeros(size, state.value.dtype)))


class Noisy(NamedTuple):
    r"""Mean-field Langevin dynamics: plain descent on all rows with noise, in float64.

    In the limit of many particles, the distribution :math:`\mu` of a particle follows the gradient flow of :math:`R +
    \frac\alpha2 E|w|^2 + T \int \mu \log \mu` (Mei, Montanari, Nguyen 2018).

    Parameters
    ----------
    temperature : float
        T, in units of the objective.
    learning_rate : float, default=1.0
        Step in units of a fifth of the largest stable step of the tangent kernel at the start.
    seed : int, default=0
        Seed for the noise.
    """

    temperature: float
    learning_rate: float = 1.0
    seed: int = 0
    double, in_batches, n_before = True, False, 0

    def blocks(self, problem, weights, intercept, held_out, max_iter):
        """Yield blocks of steps, `max_iter` steps in total."""
        eta = _LANGEVIN_STEP * self.learning_rate * problem.stable_step(weights, intercept)
        key, first = jax.random.key(self.seed), None
        for n_steps in _sizes(max_iter, steps_in_a_block(self, held_out)):
            before = weights
            key, used = jax.random.split(key)
            weights, intercept, values = _wander(
                problem, weights, intercept, eta, self.temperature, used, n_steps, size=_BLOCK
            )
            losses = np.asarray(values[:n_steps]).tolist()
            first = losses[0] if first is None else first
            if not np.all(np.abs(losses) <= _DIVERGED * max(first, self.temperature)):
                safe = self.learning_rate * float(problem.stable_step(before, intercept) / eta)
                safe = min(safe if safe > 0 else 1.0, self.learning_rate / 2)
                raise _diverged(
                    self.learning_rate, first, losses[-1], safe, f", or a lower temperature than {self.temperature:g}"
                )
            yield Block(losses, weights, intercept, eta)
        return True


@functools.partial(jax.jit, static_argnames="size")
def _wander(problem, weights, intercept, eta, temperature, key, n_steps, *, size):
    """Take `n_steps` <= `size` steps of descent with Gaussian noise of variance 2 eta T in each weight."""

    def step(k, carry):
        weights, intercept, values = carry
        value, slope, intercept = problem.at(weights, intercept)
        layers, tree = jax.tree.flatten(weights)
        keys = jax.random.split(jax.random.fold_in(key, k), len(layers))
        noise = [jax.random.normal(one, layer.shape, layer.dtype) for one, layer in zip(keys, layers)]
        weights = add(add(weights, -eta, slope), jnp.sqrt(2 * eta * temperature), jax.tree.unflatten(tree, noise))
        return weights, intercept, values.at[k].set(value)

    return jax.lax.fori_loop(0, n_steps, step, (weights, intercept, jnp.zeros(size, problem.data.phi.dtype)))


class Run(NamedTuple):
    """State of training in batches: weights, memory of the method (velocity, or two moments and a count), intercept."""

    weights: tuple
    memory: tuple
    intercept: jax.Array

    @classmethod
    def at_rest(cls, weights, intercept, method):
        """Return the initial state at `weights`."""
        still = scaled(0.0, weights)
        return cls(weights, still if method == "sgd" else (still, still, jnp.zeros(())), intercept)


class Batched(NamedTuple):
    """Descent on random batches, until the held-out loss, or without one the mean objective of a pass, stops falling.

    The weights of a pass are averaged (Polyak and Juditsky 1992), which removes the noise of the batches. If
    `_PATIENCE` passes do not lower the loss, the step is halved and training continues from the best pass; it has
    settled after `_HALVINGS` halvings. After a pass that raises the objective above its initial value, as a few
    outliers can, training starts again with half the step.

    Parameters
    ----------
    method : {'sgd', 'adam'}, default='sgd'
        Heavy ball, or Adam (Kingma and Ba 2015).
    learning_rate : float, default=1.0
        For 'sgd', in units of 0.3 times the largest stable step of the tangent kernel at the start. For 'adam', in
        units of 0.02, the change of each weight per step.
    batch_size : int, default=128
    double : bool, default=False
        Whether to use float64 instead of float32, because outputs are small differences of large numbers.
    seed : int, default=0
    rounds : callable (rng, dtype) -> generator of Data, default=None
        Yields the rows of each pass, or of each part of a long pass; None takes those of the problem.
    """

    method: str = "sgd"
    learning_rate: float = 1.0
    batch_size: int = 128
    double: bool = False
    seed: int = 0
    rounds: Callable | None = None
    in_batches, n_before = True, 0

    def first_step(self, problem, weights):
        """Return the initial step."""
        unit = 1.0
        if self.method == "sgd":
            unit = float(problem.stable_step(weights, jnp.zeros(problem.data.targets.shape[1], problem.data.phi.dtype)))
        return _BATCH_STEP[self.method] * self.learning_rate * unit

    def blocks(self, problem, weights, intercept, held_out, max_iter):
        """Yield passes; receive the number of passes since the best."""
        eta, first = self.first_step(problem, weights), Run.at_rest(weights, intercept, self.method)
        run = best = first
        ceiling, rng = _ROSE * float(problem.value(weights, intercept)), np.random.default_rng(self.seed)
        start, halvings, retreats = None, 0, 0
        rounds = repeat(problem.data) if self.rounds is None else self.rounds(rng, problem.data.phi.dtype)
        for data in islice(rounds, max_iter):
            order = batches_of(len(data.phi), self.batch_size, rng)
            run, average, value = epoch(problem._replace(data=data), run, order, eta, method=self.method)
            value = float(value)
            start = value if start is None else start
            if not value <= ceiling:
                if retreats == _RETREATS:
                    raise _diverged(self.learning_rate, start, value, self.learning_rate * 2.0**-_RETREATS)
                eta, retreats, run, best, average = eta / 2, retreats + 1, first, first, weights
            intercept = run.intercept
            if held_out is not None:
                intercept = problem.refitted(average, intercept, held_out)
            since = yield Block([value], average, intercept, eta)
            if since == 0:
                best = run
            elif since % _PATIENCE == 0:
                eta, halvings, run = eta / 2, halvings + 1, Run.at_rest(best.weights, best.intercept, self.method)
                if halvings == _HALVINGS:
                    return True
        return False

    def first_run(self, problem, weights, intercept):
        """Return the initial state and step for `one_pass`."""
        with fast():
            problem, weights, intercept = (
                problem._replace(data=single(problem.data)),
                single(weights),
                single(intercept),
            )
            run = Run.at_rest(weights, intercept, self.method)
            return tuple(jax.tree.map(np.array, run)), self.first_step(problem, weights)

    def one_pass(self, problem, run, eta):
        """Return the state after one pass in batches (in NumPy), the mean objective of the batches, and the step.

        A pass that raises the objective is undone, and the step is halved.
        """
        order = batches_of(len(problem.data.phi), self.batch_size, np.random.default_rng(self.seed))
        data, order = _of_few_shapes(problem.data, order, self.batch_size)
        with fast():
            problem = problem._replace(data=_cast(data), reference=_cast(problem.reference))
            begin = _cast(Run(*run))
            for halvings in range(_RETREATS + 1):
                step = eta * 0.5**halvings
                run, values = _judged_epoch(problem, begin, order, step, method=self.method)
                first, value, last = np.asarray(values).tolist()
                if value <= _ROSE * first and last <= _ROSE * first:
                    return tuple(jax.tree.map(np.asarray, run)), value, step
                begin = Run.at_rest(begin.weights, begin.intercept, self.method)
            raise _diverged(self.learning_rate, first, last, self.learning_rate * 0.5**_RETREATS)


def batches_of(n, size, rng):
    """Return row indices of random batches of at most `size` rows, one batch per row of the result.

    All rows are in one batch. The numbers of rows of two batches differ by at most 1; shorter ones end with -1.
    """
    n_batches = -(-n // size)
    order = np.full((-(-n // n_batches), n_batches), -1, np.int32)
    order.flat[:n] = rng.permutation(n)
    return order.T


@functools.partial(jax.jit, static_argnames="method")
def epoch(problem, run, order, eta, *, method):
    """Take one step of 'sgd' or 'adam' on each batch, a row of indices in `order`; those below 0 are no rows.

    Returns
    -------
    run : Run
    average : tuple of ndarray
        Average of the weights over the steps.
    value : ndarray of shape ()
        Mean of the objectives of the batches.
    """
    n_batches = (order[:, 0] >= 0).sum()

    def step(k, carry):
        (weights, memory, intercept), average, total = carry
        rows = order[k]
        batch = jax.tree.map(lambda column: column[rows], problem.data)
        batch = batch._replace(weight=jnp.where(rows >= 0, n_batches * batch.weight, 0.0))
        value, slope, intercept = problem.at(weights, intercept, batch)
        move, memory = _move(memory, slope, eta, method, len(problem.network.split(weights)[0]))
        weights = add(weights, 1.0, move)
        return Run(weights, memory, intercept), add(average, 1 / n_batches, weights), total + value

    start = run, scaled(0.0, run.weights), jnp.zeros((), problem.data.phi.dtype)
    run, average, total = jax.lax.fori_loop(0, n_batches, step, start)
    return run, average, total / n_batches


@functools.partial(jax.jit, static_argnames="method")
def _judged_epoch(problem, run, order, eta, *, method):
    """Return the Run after an `epoch`, and the objective before it, its mean over the batches, and after it."""
    end, _, value = epoch(problem, run, order, eta, method=method)
    first, last = (problem.value(state.weights, state.intercept) for state in (run, end))
    return end, jnp.stack([first, value, last])


def _move(memory, slope, eta, method, n_hidden):
    """Return the step and the new memory of heavy ball, or of Adam with hidden steps divided by sqrt(fan-in)."""
    if method == "sgd":
        velocity = add(scaled(_HEAVY_BALL, memory), -eta, slope)
        return velocity, velocity
    first, second, count = memory
    slow, slower, least = _ADAM
    count = count + 1
    first = add(scaled(slow, first), 1 - slow, slope)
    second = add(scaled(slower, second), 1 - slower, jax.tree.map(jnp.square, slope))
    move = tuple(
        -eta
        * (layer.shape[2] ** -0.5 if k < n_hidden else 1.0)
        * (mean / (1 - slow**count))
        / (jnp.sqrt(square / (1 - slower**count)) + least)
        for k, (layer, mean, square) in enumerate(zip(slope, first, second))
    )
    return move, (first, second, count)


def steps_in_a_block(rule, held_out):
    """Return the number of steps (or passes in batches) between evaluations and calls of the monitor."""
    return 1 if rule.in_batches else _BLOCK if held_out is None else _JUDGED_STEPS


def _sizes(n_steps, size):
    return (min(size, n_steps - done) for done in range(0, n_steps, size))


def _diverged(learning_rate, first, last, safe, remedy=""):
    return ValueError(
        f"learning_rate={learning_rate:g} is too large: the loss went from {first:.3g} to {last:.3g}. Use at most "
        f"{safe:.2g}{remedy}."
    )


def _padded(data, step=64):
    """Add rows of weight 0 up to a multiple of `step` rows, so that the folds of a table share compiled code."""
    more = -len(data.weight) % step
    if not more:
        return data
    return data._make(np.concatenate([column, np.zeros((more, *column.shape[1:]))]) for column in data)


def _of_few_shapes(data, order, size):
    """Add rows of weight 0 and empty batches, so that four compiled codes serve all sizes from 2**k to 2**(k+1)."""
    data = _padded(data, max(64, 2 ** (len(data.weight) - 1).bit_length() // 8))
    length = min(size, len(data.weight))
    filled = np.full((-(-len(data.weight) // length), length), -1, order.dtype)
    filled[: order.shape[0], : order.shape[1]] = order
    return data, filled


def single(tree, dtype=jnp.float32):
    """Return the arrays of a tree in float32, or in another precision."""
    return jax.tree.map(jnp.asarray, _cast(tree, dtype))


def _cast(tree, dtype=np.float32):
    """Return the same in NumPy, as compiled code takes them fastest."""
    return jax.tree.map(lambda a: np.asarray(a, dtype=dtype), tree)
