"""What does the tangent kernel of a finite network cost, against automatic differentiation?

The Gram matrix of the gradients of one output in all weights, for a ReLU network in float64: ours, in NumPy, from the
two factors of each layer's gradient; neural-tangents' empirical kernel, compiled, by each of its implementations, told
as its manual asks that rows do not interact (``vmap_axes=0``); the gradient row by row, ``jax.vmap(jax.grad)``; and
``jax.jacobian`` of the batch, which also forms the zeros between rows. All of JAX differentiate the same plain function
of matrices. Structured derivatives, of neural-tangents' implementations the fastest here, and the automatic choice fail
on a current JAX, since it moved what they call; `repair` gives them that back, for this process.

Each is called once, and the largest difference from ours, over the largest entry, is printed; then all run in turn,
`--repeats` times, each after untimed calls for 50 ms, since the one before leaves caches and memory in another state (a
Jacobian of 135 MB doubles the next call of ours). Medians of the wall clock are printed with their ratio to ours. On a
machine that others use, ``taskset -c 0`` with ``OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1`` compares them on one core.
"""

import argparse
import contextlib
import io
import os
import time
from types import ModuleType

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

from sklearn_ltdl.activations import Relu
from sklearn_ltdl.networks._linearized import tangent_gram
from sklearn_ltdl.networks._model import Network, draw_weights, feature_map
from sklearn_ltdl.ntk import load_neural_tangents
from sklearn_ltdl.scalings import Scaling

IMPLEMENTATIONS = {
    0: "automatic",
    1: "Jacobian contraction",
    2: "NTK-vector products",
    3: "structured derivatives",
}
UNTIMED = 0.05  # seconds


def repair():
    """Give neural-tangents' structured derivatives and automatic choice what JAX has moved or changed since."""
    from jax._src import source_info_util
    from jax._src.interpreters import partial_eval
    from neural_tangents._src import empirical

    def linearize(function, *primals, has_aux):
        out, linear = jax.linearize(lambda *p: function.call_wrapped(*p), *primals)
        closed = jax.make_jaxpr(linear)(*primals)
        unknown = [partial_eval.PartialVal.unknown(v.aval) for v in closed.jaxpr.outvars]
        return out, unknown, closed.jaxpr, closed.consts

    def flops(function, optimize, *args, **kwargs):
        return jax.jit(function).lower(*args, **kwargs).compile().cost_analysis()["flops"]

    def with_names(module, **names):
        copy = ModuleType(module.__name__)
        vars(copy).update(vars(module))
        vars(copy).update(names)
        return copy

    no_checks = ModuleType("config")
    no_checks.jax_enable_checks = False
    empirical.ad = with_names(
        empirical.ad, linearize=linearize, source_info_util=source_info_util, config=no_checks, reducing_transposes={}
    )
    empirical.core = with_names(empirical.core, DShapedArray=type("DShapedArray", (), {}))
    jax.extend.core.Primitive.map_primitive = False
    empirical._get_flops = flops


def contenders(network, weights, phi):
    """Return a function without arguments for each way to the Gram matrix."""
    rows = jnp.asarray(phi)
    *hidden, readout = weights
    parameters = (*(jnp.asarray(layer[0].T) for layer in hidden), jnp.asarray(readout[0]))
    gain = [network.w_std * (1.0 if i == 0 else len(layer) ** -0.5) for i, layer in enumerate(parameters[:-1])]
    last_gain = network.w_std * network.scaling.factor(len(parameters[-1]))

    def outputs(w, x):
        for rate, layer in zip(gain, w):
            x = jnp.maximum(rate * (x @ layer), 0.0)
        return last_gain * (x @ w[-1])

    def gram_of(gradients):
        flat = jnp.concatenate([layer.reshape(len(rows), -1) for layer in gradients], axis=1)
        return flat @ flat.T

    def by_rows(w):
        return gram_of(jax.vmap(lambda x: jax.grad(lambda v: outputs(v, x[None])[0, 0])(w))(rows))

    def by_batch(w):
        return gram_of(jax.jacobian(lambda v: outputs(v, rows)[:, 0])(w))

    ways = {"ours": lambda: tangent_gram(network, weights, phi)}
    try:
        empirical = load_neural_tangents().empirical_ntk_fn
    except ImportError as error:
        print(f"neural-tangents is left out: {error}")
    else:
        repair()
        for number, name in IMPLEMENTATIONS.items():
            kernel = jax.jit(empirical(outputs, vmap_axes=0, implementation=number))
            ways[f"neural-tangents, {name}"] = lambda kernel=kernel: kernel(rows, None, parameters).block_until_ready()
    for name, way in (("jax.vmap(jax.grad)", by_rows), ("jax.jacobian", by_batch)):
        compiled = jax.jit(way)
        ways[name] = lambda compiled=compiled: compiled(parameters).block_until_ready()
    return ways


def first_gram(way):
    """Return its matrix; the first call compiles, and the automatic choice prints what it compares."""
    with contextlib.redirect_stdout(io.StringIO()):
        return np.asarray(way())


def time_once(way):
    start = time.perf_counter()
    while time.perf_counter() - start < UNTIMED:
        way()
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--closed", action="store_true", help="only ours and structured derivatives, for many rows")
    parser.add_argument("--quick", action="store_true", help="32 rows, width 32, one repeat")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.width, options.repeats = 32, 32, 1
    rng = np.random.default_rng(0)
    phi = feature_map(rng.standard_normal((options.rows, options.columns)))
    network = Network(Relu(), Scaling(power=0.5), Relu.gain)
    print(f"{options.rows} rows, {options.columns} columns, width {options.width}, load {os.getloadavg()[0]:.1f}")
    for depth in (1, 2):
        shape = {"width": options.width, "depth": depth, "doubled": False}
        weights = draw_weights(options.columns + 1, 1, **shape, rng=rng)
        with jax.enable_x64(True):
            ways = contenders(network, weights, phi)
            if options.closed:
                ways = {name: way for name, way in ways.items() if name == "ours" or "structured" in name}
            grams = {name: first_gram(way).reshape(options.rows, -1) for name, way in ways.items()}
            seconds = {name: [] for name in ways}
            for _ in range(options.repeats):
                for name, way in ways.items():
                    seconds[name].append(time_once(way))
        print(f"\n{f'depth {depth}':<40} {'ms':>8} {'ratio':>8} {'difference':>11}")
        for name, values in seconds.items():
            ratio = np.median(values) / np.median(seconds["ours"])
            apart = np.abs(grams[name] - grams["ours"]).max() / grams["ours"].max()
            print(f"{name:<40} {1e3 * np.median(values):>8.2f} {ratio:>8.1f} {apart:>11.1e}")
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
