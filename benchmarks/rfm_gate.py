"""Do the rounds of a recursive feature machine stop where they do harm, and go on where they help?

On pure noise and on additive smooth targets, where a metric has nothing to find, the mean squared error on fresh rows
is compared with that of no round, over the target's variance, draw by draw: the gate is a mean excess of at most one
standard error. Printed beside it is what two other rules do: the least leave-one-out error given M, and always five
rounds. On a target of four of twenty features, the R2 has to rise to .88, with the four on top. On a product of two of
forty features, of which neither changes the mean of the target, it has to rise to .9 in three draws of four.

The whole gate takes some two minutes of one core. Run with OMP_NUM_THREADS=1.
"""

import argparse
import sys

import numpy as np

from sklearn_ltdl import NTKKernelRegressor, RFMRegressor
from sklearn_ltdl.ntk import _rounds
from sklearn_ltdl.ntk._held_out import metric_root
from sklearn_ltdl.ntk._problem import MachineSettings

FEATURES, FRESH, NOISE = 10, 1000, 0.3
SIGNALS = {
    "noise": lambda X: np.zeros(len(X)),
    "additive, sines": lambda X: np.sin(X).sum(axis=1) / np.sqrt(0.43 * FEATURES),
    "additive, even": lambda X: (np.sin(1.5 * X) + 0.5 * X**2).sum(axis=1) / np.sqrt(FEATURES),
}


def draw(signal, n, seed):
    rng = np.random.default_rng([seed, n])
    X = rng.standard_normal((n + FRESH, FEATURES))
    return X[:n], X[n:], SIGNALS[signal](X) + NOISE * rng.standard_normal(n + FRESH)


def losses(signal, n, seed):
    """Return the error on fresh rows without rounds, and, by rule, the error and the number of rounds."""
    X, fresh, y = draw(signal, n, seed)

    def error(model):
        return np.mean((model(fresh) - y[n:]) ** 2) / y.var()

    errors, left_out = [], []
    settings, root = _rounds.of_rounds(MachineSettings(random_state=seed)), np.eye(FEATURES)
    for _ in range(6):
        step = _rounds.Round.of(root, X, y[:n], np.ones(n), settings)
        root = metric_root(step.agop(X, np.ones(n), y[:n].std()), diagonal=False)
        errors.append(error(step.machine.evaluate))
        left_out.append(step.machine.errors.min())
    chosen = RFMRegressor(depth=1, random_state=seed).fit(X, y[:n])
    least = int(np.argmin(left_out))
    return errors[0], {
        "held out": (error(chosen.predict), chosen.n_rounds_),
        "leave-one-out": (errors[least], least),
        "always 5": (errors[5], 5),
    }


def stops(draws, sizes=(50, 100, 300)):
    passed = True
    print(f"{'target':18}{'n':>5}{'no round':>10}  {'rule':15}{'excess':>9}{'s.e.':>8}{'rounds':>8}{'any':>6}")
    for signal in SIGNALS:
        for n in sizes:
            results = [losses(signal, n, seed) for seed in range(draws)]
            base = np.mean([none for none, _ in results])
            for rule in results[0][1]:
                rounds = [rules[rule][1] for _, rules in results]
                excess = np.array([rules[rule][0] - none for none, rules in results])
                se = excess.std(ddof=1) / np.sqrt(draws)
                print(
                    f"{signal:18}{n:5}{base:10.3f}  {rule:15}{excess.mean():+9.4f}{se:8.4f}{np.mean(rounds):8.1f}"
                    f"{np.mean(np.array(rounds) > 0):6.0%}",
                    flush=True,
                )
                passed &= rule != "held out" or excess.mean() <= se
    return passed


def finds():
    rng = np.random.default_rng(0)
    n, d = 2000, 20
    X = rng.standard_normal((2 * n, d))
    y = X[:, 0] * X[:, 1] * X[:, 2] + 0.85 * X[:, 3] + 0.1 * rng.standard_normal(2 * n)
    model = RFMRegressor(random_state=0).fit(X[:n], y[:n])
    plain = NTKKernelRegressor(depth=1).fit(X[:n], y[:n]).score(X[n:], y[n:])
    r2 = model.score(X[n:], y[n:])
    order = np.argsort(-model.feature_importances_)
    importances = model.feature_importances_[order[:6]] / model.feature_importances_.max()
    print(f"four of twenty features: R2 {plain:.3f} -> {r2:.3f} in {model.n_rounds_} rounds")
    print(f"features {order[:6].tolist()}, importances {importances.round(4).tolist()}")
    return r2 >= 0.88 and set(order[:4]) == {0, 1, 2, 3}


def finds_in_squares(draws=8):
    scores, blind = [], []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        X = rng.uniform(-1.7, 1.7, (1000, 40))
        y = (X[:, 0] * X[:, 1]) ** 3 + 0.1 * rng.standard_normal(1000)
        model = RFMRegressor(random_state=0).fit(X[:400], y[:400])
        scores.append(model.score(X[400:], y[400:]))
        blind.append(min(model.cv_errors_[name].min() for name in ("full", "diagonal")))
    print(f"product of two of forty features: R2 {np.round(scores, 2).tolist()}")
    print(f"held-out errors of the metrics of the target alone {np.round(blind, 2).tolist()}")
    return np.mean(np.array(scores) > 0.9) >= 0.75


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="one size and two draws, which judge nothing")
    options = parser.parse_args()
    if options.quick:
        stops(2, sizes=(50,))
        return
    passed = [finds(), finds_in_squares(), stops(options.draws)]
    print("passed" if all(passed) else "FAILED")
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
