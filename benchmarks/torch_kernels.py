"""Tangent kernel of a module of PyTorch by layers, against per-row gradients and neural-tangents; ratios in one run.

CPU seconds of one process, single precision, one output: an MLP of 0.9 M weights. Per-row gradients by torch.func are
taken in blocks of the same 2^28 bytes, each block once for each other block, as they must be where all of them do not
fit. The same network as a function of JAX goes through the door for these, in double precision, and, compiled, to the
structured derivatives of neural-tangents where that is installed, repaired as in `tangent_gram.py`.

    python benchmarks/torch_kernels.py
"""

import argparse
import copy
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
from tangent_gram import repair
from torch import nn

from sklearn_ltdl import regime_report
from sklearn_ltdl.diagnostics._torch_rows import packed
from sklearn_ltdl.diagnostics._trained import trained_network
from sklearn_ltdl.ntk import load_neural_tangents
from sklearn_ltdl.torch import TorchNetwork


def cpu(function, *args):
    start = time.process_time()
    value = function(*args)
    return value, time.process_time() - start


def of_jax(parameters, X):
    for k, (weight, bias) in enumerate(parameters):
        X = (jnp.maximum(X, 0) if k else X) @ weight.T + bias
    return X


def by_jax(module, X, y, by_layers):
    """Print the times of the door for functions of JAX, and of neural-tangents."""
    layers = [part for part in module if isinstance(part, nn.Linear)]
    after = [tuple(value.detach().numpy() for value in (part.weight, part.bias)) for part in layers]
    before = [(weight + 0.01, bias) for weight, bias in after]
    trained, rows, _, _ = trained_network(of_jax, X, y, before=before, after=after)
    trained.function.kernel(trained.after, rows[:4])
    _, seconds = cpu(trained.function.kernel, trained.after, rows)
    print(f"the door for functions of JAX, double precision: {seconds:.2f} s")
    try:
        empirical = load_neural_tangents().empirical_ntk_fn
    except ImportError as error:
        print(f"neural-tangents is left out: {error}")
        return
    repair()
    kernel, parameters = jax.jit(empirical(of_jax, vmap_axes=0, implementation=3)), jax.device_put(after)
    single = jnp.asarray(X, jnp.float32)
    kernel(single, None, parameters).block_until_ready()
    _, seconds = cpu(lambda: kernel(single, None, parameters).block_until_ready())
    print(f"structured derivatives of neural-tangents: {seconds:.2f} s, {seconds / by_layers:.1f} times")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50 rows")
    n, n_plain = (50, 10) if parser.parse_args().quick else (500, 100)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 900), nn.ReLU(), nn.Linear(900, 900), nn.ReLU(), nn.Linear(900, 1))
    first = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        for value in module.parameters():
            value += 0.01 * torch.randn_like(value)
    X = np.random.default_rng(0).standard_normal((n, 64))
    y = X[:, 0]
    size = sum(value.numel() for value in module.parameters())
    print(f"load {os.getloadavg()[0]:.1f}, weights {size}, torch {torch.__version__}")
    network = TorchNetwork(module, first, dtype=torch.float32)
    rows, layout = packed(X)
    function, _, after, _ = network.function(rows, layout)
    function.kernel(after, rows[:4])  # the check of three rows, and what is loaded on first use
    K, by_layers = cpu(function.kernel, after, rows)
    _, plain = cpu(function._plain, after, rows[:n_plain])
    whole, everything = cpu(function._plain, after, rows)
    print(f"by layers, {n} rows: {by_layers:.2f} s")
    print(
        f"vmap(grad), {n_plain} rows: {plain:.2f} s; {n} rows: {everything:.2f} s, {everything / by_layers:.0f} times"
    )
    print(f"largest difference {np.abs(K - whole).max() / np.abs(whole).max():.1e}")
    _, seconds = cpu(lambda: regime_report(network, X, y))
    print(f"whole report: {seconds:.2f} s")
    by_jax(module, X, y, by_layers)


if __name__ == "__main__":
    main()
