"""What does kernel regression cost, with its penalty: for 3000 rows against a search, and for 100 000 or more?

``penalty``: the same kernel and the same 50 penalties for exact leave-one-out (as `NTKKernelRegressor` does it), for
``GridSearchCV(KernelRidge)`` with 5 folds and one job, which is given the Gram matrix, since it calls a function once
an entry, and for ``RidgeCV``, which leaves one out too, on the kernel's eigenvectors. They run in turn, `--repeats`
times; medians are printed, kernel included, with the R2 on 1000 rows that none has seen.

``large``: `NTKKernelRegressor` on Friedman's first function of 10 columns, with noise of variance 1, for a number of
rows and of centres, and scikit-learn's Nystroem features of an RBF kernel with ridge. R2 is on 20 000 other rows. Each
runs in a process of its own, whose peak of memory is printed, data included.

Wall clock and processor seconds; loads of the machine tell how far to trust the former.
"""

import argparse
import multiprocessing
import os
import resource
import time
from functools import partial

import numpy as np
from scipy.linalg import eigh
from sklearn.datasets import make_friedman1
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import NTKKernelRegressor
from sklearn_ltdl.ntk import ntk_kernel
from sklearn_ltdl.ntk._problem import PILOT_ROWS
from sklearn_ltdl.ntk._solvers import solve_exact

ALPHAS = np.logspace(-9, 1, 50)  # in units of the kernel's mean diagonal, against the mean loss


def clocks():
    return np.array([time.perf_counter(), time.process_time()])


def leave_one_out(X, y, new):
    K = ntk_kernel(X)
    unit = np.diagonal(K).mean()
    K /= unit
    y = y[:, None]
    n = min(PILOT_ROWS, len(X))
    pilot = solve_exact(K[:n, :n].copy(), y[:n], np.ones(n), ALPHAS, start=1.0)
    path = solve_exact(K, y, np.ones(len(X)), ALPHAS, start=pilot.flat_end)
    return ntk_kernel(new, X) @ path.coef[:, 0] / unit + path.intercept, ALPHAS[path.best]


def folds(X, y, new):
    K = ntk_kernel(X)
    unit, mean = np.diagonal(K).mean(), y.mean()
    search = GridSearchCV(KernelRidge(kernel="precomputed"), {"alpha": len(X) * unit * ALPHAS}, cv=5).fit(K, y - mean)
    return search.predict(ntk_kernel(new, X)) + mean, search.best_params_["alpha"] / len(X) / unit


def ridge_cv(X, y, new):
    K = ntk_kernel(X)
    unit = np.diagonal(K).mean()
    w, V = eigh(K)
    roots = np.sqrt(np.maximum(w, 0.0))
    model = RidgeCV(len(X) * unit * ALPHAS).fit(V * roots, y)
    back = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0)
    return model.predict(ntk_kernel(new, X) @ V * back), model.alpha_ / len(X) / unit


def choose_penalty(options):
    X, y = make_friedman1(n_samples=options.rows + 1000, n_features=20, noise=2.0, random_state=0)
    X = StandardScaler().fit_transform(X)
    X, new, y, y_new = X[:-1000], X[-1000:], y[:-1000], y[-1000:]
    methods, times, results = [leave_one_out, ridge_cv, folds], {}, {}
    for method in methods[:2]:
        method(X[:PILOT_ROWS], y[:PILOT_ROWS], new)  # loads compiled code
    for _ in range(options.repeats):
        for method in methods:
            start = clocks()
            results[method] = method(X, y, new)
            times.setdefault(method, []).append(clocks() - start)
    best = np.median(times[leave_one_out], axis=0)
    print(f"{options.rows} rows, {len(ALPHAS)} penalties, {options.repeats} repeats, load", *os.getloadavg())
    print(f"{'':18}{'wall s':>9}{'CPU s':>9}{'ratios':>16}{'R2':>9}{'alpha':>10}")
    for method in methods:
        seconds, (prediction, alpha) = np.median(times[method], axis=0), results[method]
        ratios = seconds / best
        print(
            f"{method.__name__:18}{seconds[0]:9.2f}{seconds[1]:9.2f}{ratios[0]:8.1f}{ratios[1]:8.1f}"
            f"{r2_score(y_new, prediction):9.4f}{alpha:10.1e}"
        )


def ours(solver, n_components):
    return make_pipeline(
        StandardScaler(), NTKKernelRegressor(depth=1, solver=solver, n_components=n_components, random_state=0)
    )


def nystroem_ridge(n_components):
    features = Nystroem(gamma=0.05, n_components=n_components, random_state=0)
    return make_pipeline(StandardScaler(), features, Ridge(alpha=1e-2))


def fit_once(make, n):
    """Print the times of one fit, its peak of memory in GiB and its R2."""
    X, y = make_friedman1(n_samples=n + 20_000, n_features=10, noise=1.0, random_state=0)
    make().fit(X[:6000], y[:6000])  # loads compiled code
    start = clocks()
    model = make().fit(X[:n], y[:n])
    wall, cpu = clocks() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{wall:9.1f}{cpu:9.1f}{peak:9.2f}{model.score(X[n:], y[n:]):10.5f}    load", *os.getloadavg(), flush=True)


def large(options):
    sizes = [int(n) for n in options.sizes.split(",")]
    runs = [(f"ntk, {m} centres, {s}", n, partial(ours, s, m)) for n in sizes for s, m in options.centres]
    runs += [("Nystroem(1000) + Ridge", n, partial(nystroem_ridge, 1000)) for n in sizes if n <= 100_000]
    print(f"{'':32}{'rows':>8}{'wall s':>9}{'CPU s':>9}{'peak GiB':>9}{'R2':>10}")
    context = multiprocessing.get_context("spawn")
    for name, n, make in runs * options.repeats:
        print(f"{name:32}{n:8}", end="", flush=True)
        process = context.Process(target=fit_once, args=(make, n))
        process.start()
        process.join()


def solver_and_centres(text):
    solver, centres = text.split(":")
    return solver, int(centres)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="300 rows, or 2000 with 200 centres; one repeat")
    parts = parser.add_subparsers(required=True)
    penalty = parts.add_parser("penalty")
    penalty.add_argument("--rows", type=int, default=3000)
    penalty.set_defaults(run=choose_penalty)
    table = parts.add_parser("large")
    table.add_argument("--sizes", default="100000,500000")
    table.add_argument(
        "--centres",
        type=solver_and_centres,
        nargs="+",
        default=[("nystroem", 2000), ("pcg", 5000)],
        help="solver:number",
    )
    table.set_defaults(run=large)
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.rows = 1, 300
        options.sizes, options.centres = "2000", [("nystroem", 200), ("pcg", 200)]
    options.run(options)


if __name__ == "__main__":
    main()
