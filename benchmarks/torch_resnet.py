"""Tangent kernel and report of a module of PyTorch of the shape of ResNet-18, exact and from a sketch.

11 million weights, batch normalisation, ten outputs, rows of 8 x 8 x 3, single precision: seconds of the clock and of
the process, and the peak of its memory, which has what PyTorch itself takes.

    python benchmarks/torch_resnet.py                # the exact kernel
    python benchmarks/torch_resnet.py --kernel sketch
"""

import argparse
import copy
import os
import resource
import time

import numpy as np
import torch
from torch import nn

from sklearn_ltdl import regime_report
from sklearn_ltdl.diagnostics._torch_rows import packed
from sklearn_ltdl.torch import TorchNetwork


class Block(nn.Module):
    def __init__(self, fan_in, fan_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        self.short = nn.Identity()
        if stride > 1 or fan_in != fan_out:
            self.short = nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out))

    def forward(self, rows):
        above = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(rows)))))
        return torch.relu(above + self.short(rows))


def resnet():
    parts, width = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for fan_out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        parts += [Block(width, fan_out, stride), Block(fan_out, fan_out, 1)]
        width = fan_out
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", default="exact", choices=["exact", "sketch"])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--report", action="store_true", help="the whole report, and not one kernel")
    parser.add_argument("--quick", action="store_true", help="4 rows")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows = 4
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = resnet()
    first = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        for value in module.parameters():
            value += 0.1 * value.std().nan_to_num() * torch.randn_like(value)
    X = np.random.default_rng(0).standard_normal((arguments.rows, 3, 8, 8)).astype(np.float32)
    y = np.arange(len(X)) % 10
    print(f"load {os.getloadavg()[0]:.1f}, weights {sum(value.numel() for value in module.parameters())}")
    network = TorchNetwork(module, first, kernel=arguments.kernel)
    wall, cpu = time.perf_counter(), time.process_time()
    if arguments.report:
        print(regime_report(network, X, y))
    else:
        rows, layout = packed(X)
        function, _, after, _ = network.function(rows, layout)
        start = time.process_time()
        if arguments.kernel == "exact":
            assert function.structured
        print(f"the check of three rows: {time.process_time() - start:.1f} s of the process")
        wall, cpu = time.perf_counter(), time.process_time()
        function.kernel(after, rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{arguments.kernel}: {time.perf_counter() - wall:.1f} s of the clock, {time.process_time() - cpu:.1f} s of "
        f"the process, peak {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
