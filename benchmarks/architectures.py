"""Are trained networks lazy? Verdicts on networks of several architectures, beside linear models that were trained too.

MLPs, convolutional networks, residual ones with batch normalisation, vision transformers and tabular networks like
RealMLP, of two widths, at three scales of their output, by two optimisers, are trained on 300 rows of digits, of MNIST
(8 x 8 pixels) and of three tables. Each is beside its linear model around the first weights, trained by the same
optimiser, schedule and batches. The truth is how far apart the two predict on 300 other rows: root mean square of the
difference over the spread of the network's predictions (of probabilities for classes), as in `regimes.py`. Up to 0.1
the network is lazy, from 0.3 on it has learned features. Limits may be set on the networks of digits and kin8nm; those
of the other sets are judged only.

Of the usual networks, of scale 1, also: accuracy or R2 on the same new rows of the network, its linear model at the
same weights, the linear model that was trained, and ridge with the first and the last kernel from the same 300 rows,
with intervals from resampled rows.

    python benchmarks/architectures.py results ../shared/data         # 138 networks, about 15 minutes of one core
    python benchmarks/architectures.py results                        # what scikit-learn has: digits
    python benchmarks/architectures.py results --images cifar10.npz --device cuda --rows 2000 --widths 64 256

`results` is a folder with a file for each network; what is there is not run again. FILE.npz holds `X`, of shape (n,
height, width) or (n, height, width, channels), and `y`. `--figure FILE.png` draws what is there.
"""

import argparse
import copy
import importlib.util
import json
import os
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from sklearn_ltdl import regime_report
from sklearn_ltdl.diagnostics._regime import LAZY_GAP, RICH_GAP
from sklearn_ltdl.diagnostics._trained import trained_network
from sklearn_ltdl.ntk import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.torch import TorchNetwork

SAME, OTHER = 0.1, 0.3
WORDS = ("lazy", "between", "features")
TABLES = {"kin8nm": "hl__kin8nm", "statlog-image": "fd__statlog-image", "pol": "uci__pol"}
TO_SET = ("digits", "kin8nm")  # the sets on which limits may be set
REPORT_ROWS = 300
BATCH = 25
SCORES = ("network", "linear", "trained_linear", "first_kernel", "last_kernel")


class Case(NamedTuple):
    """One network: what it learns from, what it is, how its output is scaled, and what trains it."""

    data: str
    architecture: str
    width: int
    scale: float
    optimizer: str

    def __str__(self):
        return f"{self.data} {self.architecture} x{self.width} scale {self.scale:g} {self.optimizer}"


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, rows):
        return torch.relu(rows + self.parts(rows))


class Attention(nn.Module):
    """A block of a transformer, with layer normalisation before each of its two parts."""

    def __init__(self, width, heads=4):
        super().__init__()
        self.heads, self.norm, self.mix, self.out = (
            heads,
            nn.LayerNorm(width),
            *(nn.Linear(width, k * width) for k in (3, 1)),
        )
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens):
        n, places, width = tokens.shape
        parts = self.mix(self.norm(tokens)).reshape(n, places, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, places, width)
        tokens = tokens + self.out(mixed)
        return tokens + self.mlp(tokens)


class VisionTransformer(nn.Module):
    """Squares of 2 x 2 pixels as tokens, of 4 x 4 in larger images."""

    def __init__(self, width, shape, n_outputs):
        super().__init__()
        side = 2 if shape[1] < 16 else 4
        self.embed = nn.Conv2d(shape[0], width, side, stride=side)
        self.place = nn.Parameter(0.02 * torch.randn((shape[1] // side) * (shape[2] // side), width))
        self.blocks = nn.Sequential(Attention(width), Attention(width), nn.LayerNorm(width))
        self.head = nn.Linear(width, n_outputs)

    def forward(self, rows):
        return self.head(self.blocks(self.embed(rows).flatten(2).mT + self.place).mean(1))


class Periodic(nn.Module):
    """Each number beside three functions of it, of cosines whose frequencies are learned."""

    def __init__(self, n_columns, n_cosines=8, n_functions=3):
        super().__init__()
        self.frequency = nn.Parameter(0.1 * torch.randn(n_columns, n_cosines))
        self.phase = nn.Parameter(torch.pi * (2 * torch.rand(n_columns, n_cosines) - 1))
        self.mix = nn.Parameter(torch.randn(n_columns, n_cosines, n_functions) / n_cosines**0.5)

    def forward(self, rows):
        cosines = torch.cos(2 * torch.pi * rows[..., None] * self.frequency + self.phase)
        return torch.cat([rows, torch.einsum("ndk,dkf->ndf", cosines, self.mix).flatten(1)], dim=1)


class Scaled(nn.Module):
    """The learned weight of each column."""

    def __init__(self, n_columns):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_columns))

    def forward(self, rows):
        return rows * self.weight


def mlp(width, shape, n_outputs):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(int(np.prod(shape)), 8 * width), nn.ReLU(), nn.Linear(8 * width, n_outputs)
    )


def cnn(width, shape, n_outputs):
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, n_outputs),
    )  # fmt: skip


def resnet(width, shape, n_outputs):
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        Residual(width), nn.MaxPool2d(2), Residual(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, n_outputs),
    )  # fmt: skip


def real_mlp(width, shape, n_outputs):
    """Return a network of the kind of RealMLP (Holzmueller, Grinsztajn, Steinwart 2024), at a smaller size."""
    layers, size = [Periodic(shape[0]), Scaled(4 * shape[0])], 4 * shape[0]
    for _ in range(3):
        layers += [nn.Linear(size, 4 * width), nn.Mish()]
        size = 4 * width
    return nn.Sequential(*layers, nn.Linear(size, n_outputs))


OF_IMAGES = {"MLP": mlp, "CNN": cnn, "ResNet-BN": resnet, "ViT": VisionTransformer}
OF_TABLES = {"MLP": mlp, "RealMLP": real_mlp}


class Centred(nn.Module):
    """A module times a scale; at another scale than 1, less what it was at the start, as in Chizat et al. (2019)."""

    def __init__(self, module, scale):
        super().__init__()
        self.module, self.scale = module, scale
        self.first = copy.deepcopy(module).requires_grad_(False) if scale != 1 else None

    def forward(self, rows):
        outputs = self.module(rows)
        return self.scale * (outputs if self.first is None else outputs - self.first(rows))


class Rows(NamedTuple):
    """Rows and targets of training, and new ones; classes, or standardised numbers."""

    X: torch.Tensor
    y: torch.Tensor
    X_new: torch.Tensor
    y_new: torch.Tensor
    n_outputs: int

    @property
    def has_classes(self):
        """Whether the targets are classes."""
        return not self.y.is_floating_point()


def loaded(name, folder, images, rows, device):
    """Return the Rows of a set."""
    if name == "images":
        with np.load(images) as file:
            X, y = file["X"], file["y"].ravel()
        X = X[..., None] if X.ndim == 3 else X
        X, y = np.moveaxis(X, 3, 1) / max(1, X.max()), np.unique(y, return_inverse=True)[1]
    elif name == "digits":
        X, y = load_digits(return_X_y=True)
        X = X.reshape(-1, 1, 8, 8) / 16
    else:
        spec = importlib.util.spec_from_file_location("load", Path(folder) / "load.py")
        loader = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loader)
        data = loader.load("img__mnist15k" if name == "MNIST" else TABLES[name])
        X, y = data["X"], data["y"]
        if name == "MNIST":
            X = np.pad(X.reshape(-1, 1, 28, 28), ((0, 0), (0, 0), (2, 2), (2, 2)))
            X = X.reshape(len(X), 1, 8, 4, 8, 4).mean(axis=(3, 5))
    order = np.random.default_rng(0).permutation(len(y))
    seen, new = order[:rows], order[rows : rows + max(300, rows // 10)]
    if X.ndim == 2:
        X = (X - X[seen].mean(axis=0)) / np.maximum(X[seen].std(axis=0), 1e-9)
    classes = y.dtype.kind in "iu"
    y = y if classes else (y - y[seen].mean()) / y[seen].std()
    parts = (
        torch.as_tensor(np.asarray(a, dtype)).to(device)
        for k in (seen, new)
        for a, dtype in ((X[k], np.float32), (y[k], np.int64 if classes else np.float32))
    )
    return Rows(*parts, int(y.max()) + 1 if classes else 1)


def loss(outputs, y):
    return F.mse_loss(outputs[:, 0], y) if y.is_floating_point() else F.cross_entropy(outputs, y)


def trained(function, start, rows, case, epochs):
    """Return the weights after a training of ``function(weights, X)``; at larger scales it needs smaller steps."""
    weights = {name: value.clone().requires_grad_() for name, value in start.items()}
    per_epoch = len(rows.y) // BATCH
    if case.optimizer == "SGD":  # with momentum; the rate falls as a cosine
        optimizer = torch.optim.SGD(weights.values(), 0.05 / case.scale**2, momentum=0.9, nesterov=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * per_epoch)
    elif case.optimizer == "AdamW":  # a tenth of the steps to warm up, then a cosine
        rate = 5e-3 / case.scale
        optimizer = torch.optim.AdamW(weights.values(), rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * per_epoch, pct_start=0.1)
    else:  # Adam at a constant rate
        optimizer = torch.optim.Adam(weights.values(), 3e-3 / case.scale)
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for part in torch.randperm(len(rows.y), generator=generator)[: per_epoch * BATCH].split(BATCH):
            optimizer.zero_grad()
            loss(function(weights, rows.X[part]), rows.y[part]).backward()
            optimizer.step()
            schedule.step()
    return {name: value.detach() for name, value in weights.items()}


def predicted(outputs, rows):
    """Return predictions, as numbers or probabilities, in double precision."""
    outputs = outputs.detach().double()
    return (outputs.softmax(1) if rows.has_classes else outputs).cpu().numpy()


def with_intervals(predictions, y, classes):
    """Return scores by name, each with an interval of 95 %, and that of network - first kernel, from resampled rows."""
    draws = np.random.default_rng(0).integers(len(y), size=(1000, len(y)))
    found = {}
    for name, prediction in predictions.items():
        errors = (prediction != y).astype(float) if classes else (prediction - y) ** 2
        part = errors[draws].mean(axis=1)
        whole = 1.0 if classes else y[draws].var(axis=1)
        found[name] = 1 - errors.mean() / (1.0 if classes else y.var()), 1 - part / whole
    differences = found["network"][1] - found["first_kernel"][1]
    result = {
        name: [float(score), *np.quantile(many, [0.025, 0.975]).tolist()] for name, (score, many) in found.items()
    }
    return result | {"gain": [float(differences.mean()), *np.quantile(differences, [0.025, 0.975]).tolist()]}


def ridge(view, weights, packed, target, n):
    """Return what ridge with the tangent kernel predicts, from the first n rows, at the others."""
    gram, numbers = view.function.kernel(weights, packed), np.arange(len(packed), dtype=float)[:, None]
    machine = (NTKKernelRegressor if view.classes is None else NTKKernelClassifier)(
        kernel=lambda a, b: gram[np.ix_(a[:, 0].astype(int), b[:, 0].astype(int))], random_state=0
    )
    return machine.fit(numbers[:n], target[:n]).predict(numbers[n:])


def run(case, rows, epochs):
    """Return all that is kept of one network."""
    started = time.process_time()
    build = (OF_IMAGES if rows.X.ndim == 4 else OF_TABLES)[case.architecture]
    torch.manual_seed(0)
    module = Centred(build(case.width, tuple(rows.X.shape[1:]), rows.n_outputs), case.scale).to(rows.X.device)
    first = copy.deepcopy(module.state_dict())
    start = {name: value.detach().clone() for name, value in module.named_parameters() if value.requires_grad}
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for part in norms:  # statistics of the batch; the report takes those of its rows
        part.track_running_stats = False

    def network(weights, X):
        return torch.func.functional_call(module, weights, (X,))

    def linear(weights, X):
        move = {name: weights[name] - start[name] for name in start}
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return sum(torch.func.jvp(lambda some: network(some, X), (start,), (move,)))

    last, other = (trained(function, start, rows, case, epochs) for function in (network, linear))
    with torch.no_grad():
        mine, apart = (predicted(f(weights, rows.X_new), rows) for f, weights in ((network, last), (linear, other)))
    truth = np.sqrt(np.mean((mine - apart) ** 2) / np.mean((mine - mine.mean(axis=0)) ** 2))
    for part in norms:
        part.track_running_stats = True
    module.load_state_dict(first | last)
    after_training = time.process_time()
    y, y_new = rows.y.cpu().numpy(), rows.y_new.cpu().numpy()
    report = regime_report(TorchNetwork(module, first, dtype=torch.float32), rows.X_new, y_new, max_rows=REPORT_ROWS)
    scores = {}
    if case.scale == 1:
        view, packed, target, _ = trained_network(
            TorchNetwork(module, first, dtype=torch.float32, reference=rows.X[:REPORT_ROWS]),
            torch.cat([rows.X, rows.X_new]),
            np.concatenate([y, y_new]),
        )
        n, new = len(y), packed[len(y) :]
        predictions = {
            "network": view.predict(view.after, new),
            "linear": view.of_scores(view.linear_scores(new)),
            "trained_linear": apart.argmax(axis=1) if rows.has_classes else apart[:, 0],
            "first_kernel": ridge(view, view.before, packed, target, n),
            "last_kernel": ridge(view, view.after, packed, target, n),
        }
        scores = with_intervals(predictions, target[n:], rows.has_classes)
    return {
        **case._asdict(),
        "weights": sum(value.numel() for value in start.values()),
        "rows": len(y),
        "epochs": epochs,
        "truth": float(np.nan_to_num(truth, nan=1e3, posinf=1e3)),
        "verdict": report.verdict,
        **report.diagnostics,
        "scores": scores,
        "training_seconds": after_training - started,
        "report_seconds": time.process_time() - after_training,
    }


def cases(names, widths, scales):
    """Return all Cases of some sets, one of each architecture in turn, so that the first are a fair sample."""
    optimizers = {"MLP": ["Adam"], "ViT": ["Adam", "AdamW"]}
    found = [
        Case(name, architecture, width, scale, optimizer)
        for name in names
        for architecture in (OF_TABLES if name in TABLES else OF_IMAGES)
        for width, scale, optimizer in product(widths, scales, optimizers.get(architecture, ["SGD", "AdamW"]))
    ]
    found = [found[k] for k in np.random.default_rng(0).permutation(len(found))]
    turns = [sum(other.architecture == case.architecture for other in found[:k]) for k, case in enumerate(found)]
    return [found[k] for k in np.argsort(turns, kind="stable")]


def regime_of(truth):
    return "lazy" if truth <= SAME else "features" if truth >= OTHER else "between"


def verdict_at(gap, low=LAZY_GAP, high=RICH_GAP):
    return "lazy" if gap <= low else "features" if gap >= high else "between"


def judged(found, **limits):
    """Return the confusion table of verdicts, rows being the truth."""
    table = np.zeros((3, 3), dtype=int)
    for row in found:
        table[WORDS.index(regime_of(row["truth"])), WORDS.index(verdict_at(row["mean_gap"], **limits))] += 1
    return table


def summary(found):
    """Print the confusion tables, what predicts the truth, and scores."""
    others = [row for row in found if row["architecture"] != "MLP"]
    to_set = [row for row in others if row["data"] in TO_SET]
    to_judge = [row for row in others if row["data"] not in TO_SET]
    grid = product(np.geomspace(0.05, 0.3, 30), np.geomspace(0.1, 0.8, 40))
    best = max(grid, key=lambda pair: np.trace(judged(to_set, low=pair[0], high=max(pair))))
    for title, part, limits in (
        ("no MLPs, sets for limits", to_set, {}),
        ("no MLPs, sets to judge only", to_judge, {}),
        (f"the same with limits {best[0]:.2f}, {best[1]:.2f}", to_judge, {"low": best[0], "high": max(best)}),
        ("MLPs", [row for row in found if row not in others], {}),
    ):
        table = judged(part, **limits)
        print(f"\n{title}: {np.trace(table)} of {len(part)} right, {table[0, 2] + table[2, 0]} off by two steps")
        print("truth \\ verdict  " + "".join(f"{word:>10}" for word in WORDS))
        for word, counts in zip(WORDS, table):
            print(f"{word:<17}" + "".join(f"{count:>10}" for count in counts))
    print(f"\nrank correlation with the truth, of {len(others)} that are no MLPs")
    truth = [row["truth"] for row in others]
    for name in (
        *("scale", "weights", "displacement", "kernel_angle", "kernel_change", "kernel_misalignment"),
        *("linearization_gap", "prediction_gap", "mean_gap"),
    ):
        values = np.array([row[name] for row in others], dtype=float)
        print(f"{name:<22}{spearmanr(values, truth, nan_policy='omit').statistic:>8.2f}")
    print("\nby scale of the output: networks, verdicts lazy, between, features, truth and mean gap, medians")
    for key in sorted({(row["architecture"], row["scale"]) for row in found}):
        part = [row for row in found if (row["architecture"], row["scale"]) == key]
        counts = "".join(f"{sum(row['verdict'] == word for row in part):>5}" for word in WORDS)
        truth, gap = (np.median([row[name] for row in part]) for name in ("truth", "mean_gap"))
        print(f"{key[0]:<11}{key[1]:>6g}{len(part):>5} {counts}{truth:>8.2f}{gap:>7.2f}")
    usual = [row for row in found if row["scores"]]
    print("\nusual networks, of scale 1: scores on new rows; how many are better, and worse, than their first kernel")
    print(f"{'':<25}{'n':>4}" + "".join(f"{name:>15}" for name in SCORES) + "  better, worse")
    for key in sorted({(row["data"], row["architecture"]) for row in usual}):
        part = [row["scores"] for row in usual if (row["data"], row["architecture"]) == key]
        means = "".join(f"{np.mean([scores[name][0] for scores in part]):>15.3f}" for name in SCORES)
        better, worse = sum(s["gain"][1] > 0 for s in part), sum(s["gain"][2] < 0 for s in part)
        print(f"{key[0]:<14}{key[1]:<11}{len(part):>4}{means}{better:>8}, {worse}")


def draw(found, path):
    """Draw the truth against the gap, the truth against the scale, and networks against ridge with first kernels."""
    import matplotlib.pyplot as plt

    names = [*dict.fromkeys([*OF_IMAGES, *OF_TABLES])]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    for name, marker in zip(names, "osD^v"):
        part = [row for row in found if row["architecture"] == name]
        if not part:
            continue
        truth = np.array([row["truth"] for row in part])
        (points,) = left.loglog([row["mean_gap"] for row in part], np.minimum(truth, 3), marker, label=name, alpha=0.7)
        scales = sorted({row["scale"] for row in part})
        medians = [np.median([row["truth"] for row in part if row["scale"] == scale]) for scale in scales]
        middle.loglog(scales, medians, marker + "-", color=points.get_color(), label=name)
        usual = [row["scores"] for row in part if row["scores"]]
        x, y = ([row[which] for row in usual] for which in ("first_kernel", "network"))
        for values, others, axis in ((x, y, "xerr"), (y, x, "yerr")):
            ends = np.abs(np.array([value[1:] for value in values]).T - [value[0] for value in values])
            at = ([v[0] for v in values], [v[0] for v in others])[:: 1 if axis == "xerr" else -1]
            right.errorbar(*at, **{axis: ends}, fmt=marker, color=points.get_color(), alpha=0.5, ms=5, lw=0.8)
    for limits, line in (((LAZY_GAP, RICH_GAP), left.axvline), ((SAME, OTHER), left.axhline)):
        for limit in limits:
            line(limit, color="0.6", lw=0.8)
    left.set(xlabel="mean gap, on which the verdict rests", ylabel="truth: distance from the trained linear model")
    left.legend(fontsize="small")
    for limit in (SAME, OTHER):
        middle.axhline(limit, color="0.6", lw=0.8)
    middle.set(xlabel="scale of the output", ylabel="truth, median", title="1 is the usual network")
    right.axline((0.5, 0.5), slope=1, color="0.6", lw=0.8)
    right.set(xlabel="ridge with its first kernel", ylabel="network", title="accuracy, or R2, on new rows, at scale 1")
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of the results")
    parser.add_argument("folder", nargs="?", help="of the development data sets, with load.py")
    parser.add_argument("--images", help="file of arrays X and y, in place of the sets")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=300, help="rows of training")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 30.0, 300.0])
    parser.add_argument("--figure", help="file to draw what is there into")
    parser.add_argument("--quick", action="store_true", help="a few networks, hardly trained")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.epochs, arguments.widths, arguments.scales = 100, 1, [4], [1.0]
    torch.set_num_threads(1)
    arguments.results.mkdir(parents=True, exist_ok=True)
    names = ["images"] if arguments.images else ["digits", *(("MNIST", *TABLES) if arguments.folder else ())]
    load, sets = os.getloadavg()[0], {}
    for case in cases(names, arguments.widths, arguments.scales):
        file = arguments.results / f"{str(case).replace(' ', '_')}.json"
        if not file.exists():
            if case.data not in sets:
                given = (arguments.folder, arguments.images, arguments.rows, arguments.device)
                sets[case.data] = loaded(case.data, *given)
            text = json.dumps(run(case, sets[case.data], arguments.epochs))
            file.with_suffix(".part").write_text(text)
            file.with_suffix(".part").rename(file)  # whole or not at all
            print(case, flush=True)
    found = [json.loads(file.read_text()) for file in sorted(arguments.results.glob("*.json"))]
    seconds = sum(row["training_seconds"] + row["report_seconds"] for row in found)
    print(
        f"{len(found)} networks, {seconds / 60:.0f} minutes of the process; load {load:.1f}, torch {torch.__version__}"
    )
    summary(found)
    if arguments.figure:
        draw(found, arguments.figure)


if __name__ == "__main__":
    main()
