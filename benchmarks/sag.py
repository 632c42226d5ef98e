"""How fast are our linear solvers, against scikit-learn's, to the same true suboptimality?

Each solver runs at tolerances 1e-2, 1e-3, ... until its objective is within `--accuracy` of the range of the objective
(from the best constant to the minimum, which Newton's method gives). The first tolerance that reaches it is timed, the
solvers in turn, `--repeats` times; medians of the processor time of whole fits are printed, with the ratio to the
fastest of scikit-learn's. Run with OMP_NUM_THREADS=1.
"""

import argparse
import time
import warnings
from functools import partial

import numpy as np
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import scale

from sklearn_ltdl import SAGClassifier, SAGRegressor
from sklearn_ltdl._targets import classification_loss, one_hot
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.losses import Squared


def tables(rng):
    """Yield the name, features, target and alpha of each problem; real targets ask for ridge."""
    for n, p in ((20_000, 30), (2000, 400), (3000, 2000)):
        X = rng.normal(size=(n, p))
        score = X @ rng.normal(size=p) / np.sqrt(p)
        yield f"{n} x {p} ridge", X, score + rng.normal(size=n), 1e-3
        yield f"{n} x {p} logistic", X, (score + rng.normal(size=n) > 0).astype(int), 1e-3
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer logistic", scale(X), y, 1e-3
    X, y = load_digits(return_X_y=True)
    yield "digits multinomial", X / 16, y, 1e-3
    X = sparse.random_array((10_000, 20_000), density=0.002, rng=rng, format="csr")
    score = X @ rng.normal(size=20_000)
    yield "CSR 10000 x 20000 ridge", X, score + 0.1 * rng.normal(size=10_000), 1e-4
    yield "CSR 10000 x 20000 logistic", X, (score > 0).astype(int), 1e-4


OURS = ("auto", "sag", "saga")


def contenders(X, y, alpha):
    """Return functions from a tolerance to an estimator, by name; the direct ones ignore the tolerance."""
    shared = {"max_iter": 3000, "random_state": 0}
    if y.dtype.kind == "f":
        mine, peer, strength = SAGRegressor, Ridge, {"alpha": alpha * len(y)}
        peers = ("sparse_cg", "lsqr", "sag") if sparse.issparse(X) else ("cholesky", "lsqr", "sag", "saga")
    else:
        mine, peer, strength = SAGClassifier, LogisticRegression, {"C": 1 / (alpha * len(y))}
        peers = ("lbfgs", "newton-cg" if sparse.issparse(X) else "newton-cholesky", "sag", "saga")
    return {
        **{s: partial(mine, alpha=alpha, solver=s, random_state=0) for s in OURS},
        **{f"{peer.__name__} {s}": partial(peer, **strength, solver=s, **shared) for s in peers},
    }


def suboptimality(problem, lowest, model):
    """Return how far the model's objective is from the lowest, over the range of the objective."""
    objective = problem.at(np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)).objective
    return (objective - lowest) / (problem.start.objective - lowest)


def seconds(model, X, y):
    """Return the processor time of a fit."""
    begin = time.process_time()
    model.fit(X, y)
    return time.process_time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accuracy", type=float, default=1e-6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=10.0, help="seconds a fit, beyond which a solver is left out")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name, X, y, alpha in tables(np.random.default_rng(0)):
        loss, Y = Squared(), y[:, None]
        if y.dtype.kind != "f":
            n_classes = len(np.unique(y))
            loss, Y = classification_loss(n_classes), one_hot(y, n_classes)
        problem = FiniteSum(X, Y, loss, alpha)
        solver = SAGRegressor if y.dtype.kind == "f" else SAGClassifier
        best = solver(alpha=alpha, solver="newton" if min(X.shape) <= 3000 else "saga", tol=1e-12, random_state=0).fit(
            X, y
        )
        lowest = problem.at(np.atleast_2d(best.coef_)).objective
        chosen, runs = {}, {}
        for contender, make in contenders(X, y, alpha).items():
            for tol in 10.0 ** -np.arange(2, 12):
                spent = seconds(make(tol=tol), X, y)
                if spent > options.limit:
                    break
                if suboptimality(problem, lowest, make(tol=tol).fit(X, y)) <= options.accuracy:
                    chosen[contender] = make(tol=tol)
                    break
        for _ in range(options.repeats):
            for contender, model in chosen.items():
                runs.setdefault(contender, []).append(seconds(model, X, y))
        medians = {contender: np.median(spent) for contender, spent in runs.items()}
        peer = min((spent for contender, spent in medians.items() if contender not in OURS), default=np.nan)
        print(f"\n{name}, alpha={alpha:g}")
        for contender, spent in sorted(medians.items(), key=lambda pair: pair[1]):
            model = chosen[contender]
            used = f" ({model.solver_})" if contender == "auto" else ""
            passes = np.max(model.n_iter_ or 0)
            print(f"  {contender + used:34} {1e3 * spent:8.1f} ms  {spent / peer:6.2f}  {passes} passes", flush=True)


if __name__ == "__main__":
    main()
