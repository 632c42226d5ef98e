"""Tangent kernel of a module of PyTorch by layers, against per-row gradients by torch.func; ratios in one run.

CPU seconds of one process, single precision, one output: an MLP of 0.9 M weights. Per-row gradients are taken in blocks
of the same 2^28 bytes, each block once for each other block, as they must be where all of them do not fit.

    python benchmarks/torch_kernels.py
"""

import argparse
import copy
import os
import time

import numpy as np
import torch
from torch import nn

from sklearn_ltdl import regime_report
from sklearn_ltdl.diagnostics._torch_rows import packed
from sklearn_ltdl.torch import TorchNetwork


def cpu(function, *args):
    start = time.process_time()
    value = function(*args)
    return value, time.process_time() - start


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


if __name__ == "__main__":
    main()
