"""Does the tangent kernel cost more than the product X @ X.T, at any depth, and how far is it from neural-tangents?

Each is computed in turn, `--repeats` times, with one thread and with two, each time after an untimed run. Medians of
the wall clock and the processor time are printed, in ns an entry, with the ratio of processor times to that of X @ X.T
in the same precision and number of threads, the speed-up of the wall clock by the second thread, and, if
neural-tangents is installed, how many times longer its jitted kernel takes on one thread. Loads of the machine before
and after tell how far to trust the figures. The last lines give the peak of the memory allocated, in matrices.
"""

import argparse
import os
import time
import tracemalloc
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from sklearn_ltdl.ntk import load_neural_tangents, ntk_kernel

KERNELS = {
    "depth 1": dict(depth=1),
    "depth 3": dict(depth=3),
    "depth 5": dict(depth=5),
    "depth 10": dict(depth=10),
    "depth 20": dict(depth=20),
    "depth 1, biases": dict(depth=1, hidden_b_std=0.1),
    "depth 3, biases": dict(depth=3, hidden_b_std=0.1),
    "depth 5, biases": dict(depth=5, hidden_b_std=0.1),
}


def product(X):
    return X @ X.T


def neural_tangents(depth=1, hidden_b_std=0.0):
    """Return its kernel for the same network, compiled; hidden biases and that of the first layer are one option."""
    import jax

    stax = load_neural_tangents().stax
    layers = [stax.Dense(1, 2**0.5, hidden_b_std), stax.Relu()] * depth + [stax.Dense(1, 2**0.5, hidden_b_std)]
    kernel = jax.jit(partial(stax.serial(*layers)[2], get="ntk"))
    return lambda X: kernel(X, X).block_until_ready()


def time_once(function, X):
    function(X)  # compiles, and finds the memory that the function before has left in another state
    wall, cpu = time.perf_counter(), time.process_time()
    function(X)
    return time.perf_counter() - wall, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="500 rows, one repeat")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.repeats = 500, 1
    X = np.random.default_rng(0).standard_normal((options.rows, options.columns))
    functions = {"X @ X.T": product, **{name: partial(ntk_kernel, **how) for name, how in KERNELS.items()}}
    print(f"{options.rows} rows, {options.columns} columns, {os.cpu_count()} cores; load", *os.getloadavg())
    print(f"{'':30}{'wall, 1':>10}{'CPU, 1':>10}{'wall, 2':>10}{'CPU, 2':>10}{'/ XX, 1':>10}{'/ XX, 2':>10}{'gain':>8}")
    reference = {}
    for dtype in (np.float64, np.float32):
        runs = {(name, threads): [] for name in functions for threads in (1, 2)}
        for _ in range(options.repeats):
            for (name, threads), times in runs.items():
                with threadpool_limits(threads):
                    times.append(time_once(functions[name], X.astype(dtype)))
        ns = {key: np.median(times, axis=0) / options.rows**2 * 1e9 for key, times in runs.items()}
        for name in functions:
            (wall, cpu), (wall_2, cpu_2) = ns[name, 1], ns[name, 2]
            ratios = cpu / ns["X @ X.T", 1][1], cpu_2 / ns["X @ X.T", 2][1]
            print(
                f"{name + ', ' + np.dtype(dtype).name:30}{wall:10.2f}{cpu:10.2f}{wall_2:10.2f}{cpu_2:10.2f}"
                f"{ratios[0]:10.2f}{ratios[1]:10.2f}{wall / wall_2:8.2f}"
            )
        reference[np.dtype(dtype).name] = ns
    compare(X, reference["float64"], options)
    print("load", *os.getloadavg())
    for name in ("depth 3", "depth 3, biases"):
        tracemalloc.start()
        functions[name](X)
        print(f"peak, {name}: {tracemalloc.get_traced_memory()[1] / (8 * options.rows**2):.3f} matrices")
        tracemalloc.stop()


def compare(X, ns, options):
    try:
        import jax

        peers = {
            name: neural_tangents(**KERNELS[name]) for name in ("depth 1", "depth 3", "depth 5", "depth 3, biases")
        }
    except ImportError as error:
        print(f"neural_tangents is left out: {error}")
        return
    with jax.enable_x64(True), threadpool_limits(1):
        for name, peer in peers.items():
            seconds, ours = [], []
            for _ in range(options.repeats):
                seconds.append(time_once(peer, X)[1])
                ours.append(time_once(partial(ntk_kernel, **KERNELS[name]), X)[1])
            theirs, ours = (np.median(s) / options.rows**2 * 1e9 for s in (seconds, ours))
            print(
                f"neural_tangents, {name}: CPU {theirs:.1f} against {ours:.2f} ns an entry, {theirs / ours:.1f} times"
            )


if __name__ == "__main__":
    main()
