"""Are trained networks lazy? Regime and comparable scores of networks that are no MLPs of scikit-learn, on digits.

An MLP, a convolutional network, a residual one with batch normalisation and a small transformer, each of two widths,
are trained by Adam on 600 digits. Of each: the verdict on 300 other rows with its gaps, and the accuracy on 797 others
of the network, of its linear model at the same weights, and of ridge with its first and last kernels from the same 600
rows.

`--truth` asks whether the verdict is right: the MLP and the convolutional network at several scales of their output,
trained as `scale_path` does, beside their linear model trained by the same steps. The truth is the root mean square of
the difference of the two on new rows over the spread of the network's outputs, as in `regimes.py`: up to 0.1 it is
lazy, from 0.3 on it has learned features.

    python benchmarks/architectures.py                # 8 networks of 3 seeds
    python benchmarks/architectures.py --quick        # of one seed, half the widths
    python benchmarks/architectures.py --truth
"""

import argparse
import copy
import os
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklearn_ltdl import explain_as_kernel, regime_report
from sklearn_ltdl.diagnostics._scale_factory import Experiment, Task, network_of, rows_of
from sklearn_ltdl.diagnostics._trained import trained_network

SCALES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, rows):
        return torch.relu(rows + self.parts(rows))


class Transformer(nn.Module):
    """Rows of pixels as tokens."""

    def __init__(self, width):
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(0.1 * torch.randn(8, width))
        self.encoder = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, rows):
        return self.head(self.encoder(self.embed(rows[:, 0]) + self.place).mean(1))


def mlp(width):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8 * width), nn.ReLU(), nn.Linear(8 * width, 10))


def cnn(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, 10),
    )  # fmt: skip


def resnet(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), Residual(width),
        nn.MaxPool2d(2), Residual(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10),
    )  # fmt: skip


NETWORKS = {"MLP": mlp, "CNN": cnn, "ResNet-BN": resnet, "transformer": Transformer}


def digits(seed):
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    X, y = (X[order] / 16).reshape(-1, 1, 8, 8).astype(np.float32), y[order]
    return X[:600], y[:600], X[600:1397], y[600:1397], X[1397:1697], y[1397:1697]


def train(module, X, y, epochs=40):
    optimizer, rows = torch.optim.Adam(module.parameters(), 3e-3), (torch.from_numpy(X), torch.from_numpy(y))
    for _ in range(epochs):
        for part in torch.randperm(len(y)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(rows[0][part]), rows[1][part]).backward()
            optimizer.step()
    return module.eval()


def study(widths, seeds):
    head = ("verdict", "lin. gap", "pred. gap", "mean gap", "network", "linear", "first K", "last K", "seconds")
    print(f"{'network':<18} {'weights':>8} {head[0]:>9}" + "".join(f"{word:>10}" for word in head[1:]))
    for name, build in NETWORKS.items():
        for width in widths:
            for seed in range(seeds):
                start = time.process_time()
                X, y, X_new, y_new, X_report, y_report = digits(seed)
                torch.manual_seed(seed)
                module = build(width)
                first = copy.deepcopy(module.state_dict())
                train(module, X, y)
                report = regime_report(module, X_report, y_report, before=first)
                same = explain_as_kernel(module, X, y, X_test=X_new, y_test=y_new, before=first)
                trained, rows, target, _ = trained_network(module, X_new, y_new, before=first)
                linear = trained.score(target, trained.of_scores(trained.linear_scores(rows)))
                gaps = (report.diagnostics[key] for key in ("linearization_gap", "prediction_gap", "mean_gap"))
                numbers = (*gaps, same.score_network, linear, same.score_before, same.score_after)
                size = sum(value.numel() for value in module.parameters())
                print(
                    f"{name + f' x{width}':<18} {size:>8} {report.verdict:>9}"
                    + "".join(f"{value:>10.3f}" for value in numbers)
                    + f"{time.process_time() - start:>10.1f}",
                    flush=True,
                )


def truth(widths):
    words, right, two = ("lazy", "between", "features"), 0, 0
    print(f"{'network':<12} {'scale':>6} {'truth':>7} {'mean gap':>9}  regime, verdict")
    X, y, X_new, _, X_report, y_report = digits(0)
    for name in ("MLP", "CNN"):
        for width in widths:

            def factory(seed, name=name, width=width):
                return NETWORKS[name](width)

            rows, layout = rows_of(factory, X)
            new = rows_of(factory, X_new)[0]
            function, start = network_of(factory, rows, layout, 0)
            targets = Task.of(y, True, 10).targets(y, 10)
            experiment = Experiment(function, start, rows, targets, 25, 64, 0)
            rate = experiment.rate()
            linear = experiment.outputs(experiment.trained(np.inf, rate)[0], np.inf, new)
            first, module = copy.deepcopy(function.called.module), copy.deepcopy(function.called.module)
            for scale in SCALES:
                weights, _ = experiment.trained(scale, rate)
                outputs = experiment.outputs(weights, scale, new)
                gap = np.linalg.norm(outputs - linear) / np.linalg.norm(outputs - outputs.mean(axis=0))
                module.load_state_dict(function._tensors(weights))
                report = regime_report(module, X_report, y_report, before=first)
                regime = "lazy" if gap <= 0.1 else "features" if gap >= 0.3 else "between"
                right += regime == report.verdict
                two += abs(words.index(regime) - words.index(report.verdict)) == 2
                mean = report.diagnostics["mean_gap"]
                print(f"{name + f' x{width}':<12} {scale:>6g} {gap:>7.3f} {mean:>9.3f}  {regime}, {report.verdict}")
    n = 2 * len(widths) * len(SCALES)
    print(f"{right} of {n} verdicts right, {two} off by two steps")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed and half the widths")
    parser.add_argument("--truth", action="store_true", help="verdicts against linear models that were trained")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    widths = (8,) if arguments.quick else (8, 32)
    truth(widths) if arguments.truth else study(widths, 1 if arguments.quick else 3)


if __name__ == "__main__":
    main()
