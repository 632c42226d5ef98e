"""How fast does a network train, against scikit-learn's MLP and a plain PyTorch loop?

One hidden layer of ReLU, squared loss, a weak penalty and momentum: on all rows at each step in float64, and by batches
of 200 rows in float32, as our solvers 'gd' and 'sgd' do it. The peers have the same rows a step, number of steps and
dtype. Four tables:

- a step: ours are the compiled loops alone, ``_descend`` and ``epoch`` of `sklearn_ltdl.networks._flow`; scikit-learn's
  is ``MLPRegressor.fit``, nearly all of which is steps; PyTorch's is autograd with ``torch.optim.SGD``. Data are in
  place before the clock starts. The first call of each is apart, ours being mostly compilation; then they run in turn,
  and medians over `--repeats` are printed;
- a whole fit of as many passes, with all that ours adds: distinct rows, the stable step (30 products with the tangent
  kernel), and up to 2000 rows a certificate of optimality. With few passes these weigh most;
- compilations over a grid of 16 settings of learning rate, alpha and seed;
- the limit of a step of ours: its operations a second against two products in the same dtype, a square one of 1024 and
  that of its own forward pass; and the time to move the hidden layer four times, once for each product that writes or
  reads it whole. A step that is faster than either keeps its hidden layer in cache.

`pip install torch` for the third contender. With a GPU that JAX sees, ours run there, and PyTorch if it sees it too;
scikit-learn stays on the CPU. On a machine that others use, threads wait for each other and the wall clock says little:
``taskset -c 0 python benchmarks/networks.py --clock cpu`` compares the contenders on one core.
"""

import argparse
import importlib.util
import itertools
import os
import time
import warnings
from functools import partial
from importlib.metadata import version
from typing import NamedTuple

import jax
import jax.monitoring
import jax.numpy as jnp
import joblib
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from sklearn_ltdl import MeanFieldTwoLayerNet
from sklearn_ltdl._backends.jax import fast, precise
from sklearn_ltdl.activations import Relu
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.networks import _flow
from sklearn_ltdl.networks._model import Data, Network, draw_weights, feature_map
from sklearn_ltdl.networks._objective import Problem
from sklearn_ltdl.scalings import Scaling

ALPHA = 1e-4
MOMENTUM = 0.9
LEARNING_RATE = 0.1  # of ours, in units of the stable step
PEER_RATE = 1e-3
BATCH = 200
SIZE = "(rows, columns, width), rows a step"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Case(NamedTuple):
    """A table, a network, the rows of a step and how often all rows are seen."""

    n: int
    d: int
    width: int
    batch: int
    passes: int

    @property
    def full(self):
        return self.batch == self.n

    @property
    def dtype(self):
        return np.float64 if self.full else np.float32

    @property
    def n_steps(self):
        return self.passes * (self.n // self.batch)

    @property
    def flops(self):
        """Return the operations of a step, of n rows with p = d + 1 columns and m neurons.

        2 n p m for the hidden layer and again for the gradient of its weights; none goes back to the inputs. 2 n m each
        for the read-out, its gradient, and the gradient that passes through it.
        """
        return self.batch * self.width * (4 * (self.d + 1) + 6)

    @property
    def hidden_bytes(self):
        return self.batch * self.width * np.dtype(self.dtype).itemsize

    def __str__(self):
        rows = "all" if self.full else self.batch
        return f"({self.n}, {self.d}, {self.width}), {rows}, {np.dtype(self.dtype)}"


def cases(options):
    """Return what to time; passes are such that a contender takes seconds."""
    small = [(1000, 20, 256, 1000, 50), (1000, 20, 256, BATCH, 40)]
    large = [(20_000, 50, 1024, 20_000, 4), (20_000, 50, 1024, BATCH, 2)]
    chosen = {"small": small, "large": large, "both": small + large}[options.sizes]
    return [Case(*case[:-1], 1 if options.quick else case[-1]) for case in chosen]


def table(case):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(case.n, case.d))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    return X, y / y.std()


def precision(case):
    return precise() if case.full else fast()


def problem(case):
    """Return the objective with its rows as the solver holds them, first weights, and a part of the stable step."""
    X, y = table(case)
    network, loss = Network(Relu(), Scaling(power=1.0)), Squared()
    start = draw_weights(case.d + 1, 1, width=case.width, depth=1, doubled=False, rng=np.random.default_rng(0))
    data = Data(feature_map(X), y[:, None], np.zeros((case.n, 1)), np.full(case.n, 1 / case.n))
    data = _flow._padded(data) if case.full else data
    data, start = jax.tree.map(lambda a: jnp.asarray(a, case.dtype), (data, start))
    objective = Problem(network, loss, data, ALPHA, jax.tree.map(jnp.zeros_like, start))
    return objective, start, _flow.Batched(learning_rate=LEARNING_RATE).first_step(objective, start)


def descent(case):
    """Return a function that trains on all rows in compiled code."""
    with precise():
        objective, start, eta = problem(case)
        state = _flow.Descent.at_rest(start, jnp.zeros(1), jnp.array(eta))

    def train():
        with precise():
            n = case.passes
            return float(_flow._descend(objective, state, 1.0, n, size=n)[1][-1])

    return train


def batches(case):
    """Return a function that trains by batches in compiled code, one call a pass."""
    with fast():
        objective, start, eta = problem(case)
        rest = _flow.Run.at_rest(start, jnp.zeros(1), "sgd")
    rng = np.random.default_rng(0)

    def train():
        with fast():
            run = rest
            for _ in range(case.passes):
                order = _flow.batches_of(case.n, case.batch, rng)
                run, _, value = _flow.epoch(objective, run, order, eta, method="sgd")
                value = float(value)
            return value

    return train


def engine(case):
    return descent(case) if case.full else batches(case)


def perceptron(case):
    """Return scikit-learn's network; shuffling is left out where a step sees all rows."""
    return MLPRegressor(
        hidden_layer_sizes=(case.width,),
        solver="sgd",
        momentum=MOMENTUM,
        alpha=ALPHA,
        batch_size=case.batch,
        learning_rate_init=PEER_RATE,
        max_iter=case.passes,
        tol=0.0,
        n_iter_no_change=case.passes + 1,
        shuffle=not case.full,
        random_state=0,
    )


def scikit_learn(case):
    X, y = (column.astype(case.dtype) for column in table(case))
    return partial(final_loss, perceptron(case), X, y)


def pytorch(case):
    import torch

    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    X, y = (torch.tensor(column.astype(case.dtype), device=device) for column in table(case))
    y = y[:, None]

    def layer(n_in, n_out):
        return torch.nn.Linear(n_in, n_out, dtype=X.dtype, device=device)

    network = torch.nn.Sequential(layer(case.d, case.width), torch.nn.ReLU(), layer(case.width, 1))
    rule = torch.optim.SGD(network.parameters(), lr=PEER_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=ALPHA)

    def step(X, y):
        rule.zero_grad()
        loss = 0.5 * torch.mean((network(X) - y) ** 2)
        loss.backward()
        rule.step()
        return loss

    def train():
        for _ in range(case.passes):
            if case.full:
                loss = step(X, y)
            else:
                order = torch.randperm(case.n, device=device)
                for rows in order.split(case.batch):
                    loss = step(X[rows], y[rows])
        return loss.item()

    return train


def seconds(function, clock):
    """Return the time of a call, which gives a finite number when its work is done."""
    begin = clock()
    value = function()
    spent = clock() - begin
    if not np.isfinite(value):
        raise FloatingPointError(f"training diverged to {value}")
    return spent


def in_turn(functions, clock, repeats):
    """Return the time of a first call and the median of the later ones, by name."""
    first = {name: seconds(function, clock) for name, function in functions.items()}
    runs = [[seconds(function, clock) for function in functions.values()] for _ in range(repeats)]
    return first, dict(zip(functions, np.median(runs, axis=0)))


def shown(cell):
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.0f}" if cell >= 1000 else f"{cell:.3g}"


def row(*cells):
    print("| " + " | ".join(map(shown, cells)) + " |", flush=True)


def header(title, *cells):
    print(f"\n{title}\n")
    row(*cells)
    print("|---|" + "--:|" * (len(cells) - 1))


def compare_steps(options):
    """Print the milliseconds of a step, and return ours by case."""
    contenders = {"ours": engine, "MLPRegressor": scikit_learn}
    if importlib.util.find_spec("torch"):
        contenders["PyTorch"] = pytorch
    peers = list(contenders)[1:]
    header("A step, ms", SIZE, *contenders, "best peer / ours", "compilation of ours, s", "steps")
    steps = {}
    for case in cases(options):
        loops = {name: make(case) for name, make in contenders.items()}
        first, later = in_turn(loops, CLOCKS[options.clock], options.repeats)
        times = {name: 1e3 * spent / case.n_steps for name, spent in later.items()}
        steps[case] = times["ours"]
        best = min(times[name] for name in peers)
        row(case, *times.values(), best / times["ours"], first["ours"] - later["ours"], case.n_steps)
    return steps


def estimator(case, **settings):
    settings = {"learning_rate": LEARNING_RATE, "alpha": ALPHA, "random_state": 0} | settings
    return MeanFieldTwoLayerNet(
        width=case.width,
        solver="gd" if case.full else "sgd",
        tol=0.0,
        early_stopping=False,
        batch_size=case.batch,
        max_iter=case.passes,
        **settings,
    )


def final_loss(model, X, y):
    return model.fit(X, y).loss_curve_[-1]


def compare_fits(options):
    """Print the seconds of whole fits."""
    header("A fit, s", SIZE, "ours, first", "ours, later", "MLPRegressor", "passes")
    for case in cases(options):
        X, y = table(case)
        fits = {"ours": partial(final_loss, estimator(case), X, y), "MLPRegressor": scikit_learn(case)}
        first, later = in_turn(fits, CLOCKS[options.clock], repeats=1)
        row(case, first["ours"], *later.values(), case.passes)


def count_compilations():
    """Return a list to which each later compilation of XLA adds its seconds."""
    compilations = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compilations.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return compilations


def train_a_grid(options):
    """Print what the first of 16 fits costs against the mean of the others, and what was compiled, for one size."""
    header(
        "16 settings of learning rate, alpha and seed",
        SIZE,
        "first fit, s",
        "mean of the later, s",
        "compilations in the first",
        "in the later",
    )
    compilations, clock = count_compilations(), CLOCKS[options.clock]
    grid = list(itertools.product((0.02, 0.05, 0.1, 0.2), (1e-4, 1e-3), (0, 1)))
    for case in cases(options)[:2]:
        X, y = table(case)
        jax.clear_caches()
        times, counts = [], []
        for learning_rate, alpha, seed in grid:
            before = len(compilations)
            model = estimator(case, learning_rate=learning_rate, alpha=alpha, random_state=seed)
            times.append(seconds(partial(final_loss, model, X, y), clock))
            counts.append(len(compilations) - before)
        row(case, times[0], np.mean(times[1:]), counts[0], sum(counts[1:]))


def speed(body, carry, amount, options):
    """Return in 1e9 a second what JAX reaches where a call of `body` is worth `amount`, repeated in compiled code."""
    budget = 1e10 if jax.default_backend() == "cpu" else 1e12
    n_turns = 1 + int(budget / amount)
    loop = jax.jit(lambda carry: jax.lax.fori_loop(0, n_turns, lambda _, carry: body(*carry), carry)[-1])
    runs = {"loop": lambda: float(loop(carry)[0, 0])}
    return 1e-9 * n_turns * amount / in_turn(runs, CLOCKS[options.clock], options.repeats)[1]["loop"]


def multiply(left, right, product):
    """Return what the next product starts from, with factors that depend on this one: none can be left out."""
    return left, right + 1e-30 * product[0, 0], left @ right.T


def product_speed(rows, inner, columns, dtype, options):
    rng = np.random.default_rng(0)
    factors = [jnp.asarray(rng.normal(size=shape), dtype) for shape in ((rows, inner), (columns, inner))]
    return speed(multiply, (*factors, jnp.zeros((rows, columns), dtype)), 2 * rows * inner * columns, options)


def memory_speed(case, options):
    """Return the gigabytes read and written in a second by a ReLU on the hidden layer."""
    hidden = jnp.ones((case.batch, case.width), case.dtype)
    return speed(lambda hidden: (jnp.maximum(0.999 * hidden, 0),), (hidden,), 2 * case.hidden_bytes, options)


def show_limits(steps, options):
    """Print what the steps that were measured reach, and what bounds them."""
    header(
        "The limit of a step of ours",
        SIZE,
        "Mflop",
        "GFLOP/s",
        "square product, GFLOP/s",
        "step / square",
        "forward product, GFLOP/s",
        "step / forward",
        "hidden layer, MB",
        "ReLU on it, GB/s",
        "4 moves of it / step",
    )
    for case, step in steps.items():
        with precision(case):
            square = product_speed(1024, 1024, 1024, case.dtype, options)
            forward = product_speed(case.batch, case.d + 1, case.width, case.dtype, options)
            memory = memory_speed(case, options)
        reached, moves = 1e-6 * case.flops / step, 4e-6 * case.hidden_bytes / memory
        speeds = (reached, square, reached / square, forward, reached / forward)
        row(case, 1e-6 * case.flops, *speeds, 1e-6 * case.hidden_bytes, memory, moves / step)


def show_machine(options):
    packages = ["numpy", "scikit-learn", "jax"]
    threads = "no PyTorch (pip install torch)"
    if importlib.util.find_spec("torch"):
        import torch

        packages.append("torch")
        threads = f"PyTorch on {torch.get_num_threads()} threads"
    print(", ".join(f"{name} {version(name)}" for name in packages))
    print(f"JAX on {jax.devices()[0].device_kind}, {threads}, {joblib.cpu_count()} cores, load", *os.getloadavg())
    print(f"{options.clock} clock, {options.repeats} repeats")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", choices=("small", "large", "both"), default="both")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor time, of all threads")
    parser.add_argument("--quick", action="store_true", help="one pass on the small tables, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.sizes = "small"
    warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is given
    show_machine(options)
    steps = compare_steps(options)
    compare_fits(options)
    train_a_grid(options)
    show_limits(steps, options)
    print("\nload", *os.getloadavg())


if __name__ == "__main__":
    main()
