"""What does the tangent kernel of a finite network cost, against automatic differentiation?

The Gram matrix of the gradients of one output in all weights, for a ReLU network in float64: ours, in NumPy, from the
two factors of each layer's gradient; neural-tangents' empirical kernel, compiled, by each of its implementations that
run on a current JAX, told as its manual asks that rows do not interact (``vmap_axes=0``); the gradient row by row,
``jax.vmap(jax.grad)``; and ``jax.jacobian`` of the batch, which also forms the zeros between rows. Each is called once
untimed, and the largest difference from ours, over the largest entry, is printed; then all run in turn, `--repeats`
times, each after an untimed call, since threads of the one before may still wait for work; medians of the wall clock
are printed with their ratio to ours. On a machine that others use, ``taskset -c 0`` with ``OMP_NUM_THREADS=1`` compares
them on one core.
"""

import argparse
import os
import time

import jax
import jax.numpy as jnp
import numpy as np

from sklearn_ltdl._backends.jax import Traced
from sklearn_ltdl.activations import Relu
from sklearn_ltdl.networks._linearized import tangent_gram
from sklearn_ltdl.networks._model import Network, draw_weights, feature_map
from sklearn_ltdl.ntk import load_neural_tangents
from sklearn_ltdl.scalings import Scaling

IMPLEMENTATIONS = {1: "Jacobian contraction", 2: "NTK-vector products"}  # the third does not run on a current JAX


def contenders(network, weights, phi):
    """Return a function without arguments for each way to the Gram matrix."""
    rows, parameters = jnp.asarray(phi), tuple(map(jnp.asarray, weights))

    def outputs(w, x):
        return network.outputs(w, x, Traced(network.activation))

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
        for number, name in IMPLEMENTATIONS.items():
            kernel = jax.jit(empirical(outputs, vmap_axes=0, implementation=number))
            ways[f"neural-tangents, {name}"] = lambda kernel=kernel: kernel(rows, None, parameters).block_until_ready()
    for name, way in (("jax.vmap(jax.grad)", by_rows), ("jax.jacobian", by_batch)):
        compiled = jax.jit(way)
        ways[name] = lambda compiled=compiled: compiled(parameters).block_until_ready()
    return ways


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=21)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    phi = feature_map(rng.standard_normal((options.rows, options.columns)))
    network = Network(Relu(), Scaling(power=0.5), Relu.gain)
    print(f"{options.rows} rows, {options.columns} columns, width {options.width}, load {os.getloadavg()[0]:.1f}")
    for depth in (1, 2):
        shape = {"width": options.width, "depth": depth, "doubled": False}
        weights = draw_weights(options.columns + 1, 1, **shape, rng=rng)
        with jax.enable_x64(True):
            ways = contenders(network, weights, phi)
            grams = {name: np.asarray(way()).reshape(options.rows, -1) for name, way in ways.items()}
            seconds = {name: [] for name in ways}
            for _ in range(options.repeats):
                for name, way in ways.items():
                    way()
                    start = time.perf_counter()
                    way()
                    seconds[name].append(time.perf_counter() - start)
        print(f"\n{f'depth {depth}':<40} {'ms':>8} {'ratio':>8} {'difference':>11}")
        for name, values in seconds.items():
            ratio = np.median(values) / np.median(seconds["ours"])
            apart = np.abs(grams[name] - grams["ours"]).max() / grams["ours"].max()
            print(f"{name:<40} {1e3 * np.median(values):>8.2f} {ratio:>8.1f} {apart:>11.1e}")
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
