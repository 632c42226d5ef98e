"""Which diagnostics of `regime_report` tell whether a network does what its linearisation would have done?

Networks of several widths, depths, scales and activations are trained on half of at most 1000 rows of each data set,
and so is the linear model around the same first weights, by the same loss, penalty and optimiser: a `LazyNetRegressor`
with ``mode="linearized"``, or the tangent model of an `MLPRegressor` by as many epochs of Adam. The truth is how far
apart the two predict on the other half: root mean square of the difference over the standard deviation of the network's
predictions (of probabilities for classes). At most `SAME` the network is lazy, from `OTHER` on it has learned features.
The report's limits were set on every other data set, beginning with the first, and are tried on the rest.

    python benchmarks/regimes.py ../shared/data                # all, about 20 minutes on 2 cores
    python benchmarks/regimes.py ../shared/data --sets sk__diabetes

prints rank correlations of the truth with each diagnostic, and the confusion table of the verdict, apart for the sets
on which its limits were set and for the others.
"""

import argparse
import importlib.util
import json
import time
import warnings
from functools import partial
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import joblib
import numpy as np
from scipy.stats import spearmanr
from sklearn.base import clone, is_classifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import LazyNetClassifier, LazyNetRegressor, regime_report
from sklearn_ltdl._backends.jax import Traced, traced
from sklearn_ltdl.diagnostics._trained import trained_network
from sklearn_ltdl.losses import of_rows, probabilities

ROWS = 1000
SAME, OTHER = 0.1, 0.3
SETS = [
    *("uci__kin40k", "hl__kin8nm", "uci__autompg", "sk__diabetes", "uci__pol", "uci__stock", "fd__statlog-image"),
    *("fd__spambase", "fd__twonorm", "fd__optical", "fd__wine-quality-white", "fd__tic-tac-toe"),
]
CHANGES = [
    *("displacement", "kernel_angle", "kernel_change", "kernel_misalignment", "activation_flips", "kappa"),
    *("linearization_gap", "prediction_gap", "mean_gap"),
]


def networks(classes):
    """Yield a name and a network, untrained."""
    lazy, mlp = (LazyNetClassifier, MLPClassifier) if classes else (LazyNetRegressor, MLPRegressor)
    for width in (32, 256):
        for depth, activation in ((1, "relu"), (1, "tanh"), (2, "relu")):
            for scale in (0.1, 1.0, 10.0, 100.0):
                net = lazy(width=width, depth=depth, scale=scale, activation=activation, random_state=0)
                yield f"{width} x {depth} {activation}, scale {scale:g}", net
    for layers in ((100,), (1000,), (50, 50)):
        for activation in ("relu", "tanh"):
            yield f"MLP {layers} {activation}", mlp(hidden_layer_sizes=layers, activation=activation, random_state=0)


def linearized_predictions(net, X, y, X_new):
    """Return what the linearisation of a trained network predicts, having been trained as it was."""
    if not hasattr(net, "coefs_"):
        model = clone(net).set_params(mode="linearized", alpha=net.alpha_).fit(X, y)
        return model.predict_proba(X_new) if is_classifier(net) else model.predict(X_new)
    trained, *_ = trained_network(net, X, y)
    scores = train_tangent_model(trained, net, X, trained.targets(y), X_new)
    return probabilities(scores) if is_classifier(net) else scores[:, 0]


def train_tangent_model(trained, net, X, targets, X_new):
    """Return the scores of the tangent model of an MLP after as many epochs of the same Adam."""
    network, lift, loss = trained.function.network, trained.function.lift, trained.loss
    origin = tuple(jnp.asarray(layer, jnp.float32) for layer in trained.before)
    n, size = len(X), min(200, len(X))

    def outputs(weights, phi):
        move = jax.tree.map(jnp.subtract, weights, origin)
        value, slope = jax.jvp(lambda w: network.outputs(w, phi, Traced(network.activation)), (origin,), (move,))
        return value + slope

    def objective(weights, phi, z):
        values = traced(type(loss).value)(loss, outputs(weights, phi), z)
        squares = sum(jnp.vdot(layer[..., :-1], layer[..., :-1]) for layer in weights[:-1])
        squares += jnp.vdot(weights[-1][:, :-1], weights[-1][:, :-1])
        return of_rows(loss, values).mean() + 0.5 * net.alpha / len(phi) * squares

    def step(state, rows):
        weights, first, second, count = state
        slope = jax.grad(objective)(weights, phi[rows], z[rows])
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slope)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, slope)
        rate = net.learning_rate_init * jnp.sqrt(1 - 0.999 ** (count + 1)) / (1 - 0.9 ** (count + 1))
        weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), weights, first, second)
        return (weights, first, second, count + 1), None

    phi, z = jnp.asarray(lift(X), jnp.float32), jnp.asarray(targets, jnp.float32)
    zero = jax.tree.map(jnp.zeros_like, origin)
    state, epoch, rng = (
        (origin, zero, zero, jnp.zeros(())),
        jax.jit(partial(jax.lax.scan, step)),
        np.random.default_rng(0),
    )
    for _ in range(net.n_iter_):
        order = rng.permutation(n)[: n - n % size].reshape(-1, size)
        state, _ = epoch(state, order)
    return np.asarray(outputs(state[0], jnp.asarray(lift(X_new), jnp.float32)), dtype=float)


def run(folder, name, most=None):
    """Return the rows of one data set, for all networks or for the first `most`."""
    spec = importlib.util.spec_from_file_location("load", Path(folder) / "load.py")
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    warnings.simplefilter("ignore")
    data, results = loader.load(name), []
    rows = np.random.default_rng(0).permutation(len(data["y"]))[:ROWS]
    seen, fresh = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    scaler = StandardScaler().fit(data["X"][seen])
    X, X_new = scaler.transform(data["X"][seen]), scaler.transform(data["X"][fresh])
    y, y_new = data["y"][seen], data["y"][fresh]
    classes = data["task"] == "classification"
    if classes:
        known = np.isin(y_new, y)
        X_new, y_new = X_new[known], y_new[known]
    else:
        y, y_new = (y - y.mean()) / y.std(), (y_new - y.mean()) / y.std()
    for net_name, net in islice(networks(classes), most):
        start = time.perf_counter()
        net.fit(X, y)
        middle = time.perf_counter()
        report = regime_report(net, X_new, y_new)
        end = time.perf_counter()
        mine = net.predict_proba(X_new) if classes else net.predict(X_new)
        other = linearized_predictions(net, X, y, X_new)
        truth = np.sqrt(np.mean((mine - other) ** 2) / np.mean((mine - mine.mean(axis=0)) ** 2))
        seconds = {"fit_seconds": middle - start, "report_seconds": end - middle}
        row = {"set": name, "network": net_name, "truth": float(truth), "verdict": report.verdict, **seconds}
        results.append(row | report.diagnostics)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the development data sets, with load.py")
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--json", help="file to which all rows are written")
    parser.add_argument("--quick", action="store_true", help="six networks on one set")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sets = ["sk__diabetes"]
    jobs = (joblib.delayed(run)(arguments.folder, name, 6 if arguments.quick else None) for name in arguments.sets)
    parts = joblib.Parallel(n_jobs=2)(jobs)
    rows = [row for part in parts for row in part]
    if arguments.json:
        Path(arguments.json).write_text("\n".join(json.dumps(row) for row in rows))
    truth = np.array([row["truth"] for row in rows])
    print(f"{len(rows)} networks on {len(arguments.sets)} data sets\n\nrank correlation with the truth")
    for name in CHANGES:
        values = np.array([row[name] for row in rows], dtype=float)  # NaN where a diagnostic is not known
        print(f"{name:<22} {spearmanr(values, truth, nan_policy='omit').statistic:.3f}")
    regimes = np.where(truth <= SAME, "lazy", np.where(truth >= OTHER, "features", "between"))
    verdicts = np.array([row["verdict"] for row in rows])
    words = ["lazy", "between", "features"]
    chosen = np.isin([row["set"] for row in rows], SETS[::2])
    for title, part in (("limits set on", chosen), ("others", ~chosen)):
        print(f"\n{title}\ntruth \\ verdict   " + "".join(f"{word:>10}" for word in words))
        for regime in words:
            counts = (np.sum(part & (regimes == regime) & (verdicts == verdict)) for verdict in words)
            print(f"{regime:<18}" + "".join(f"{count:>10}" for count in counts))
    for column in ("fit_seconds", "report_seconds"):
        print(f"\nmedian {column}: {np.median([row[column] for row in rows]):.2f}", end="")
    print()


if __name__ == "__main__":
    main()
