"""How fast are the linear solvers, against those of other packages, to the same true suboptimality?

Each solver runs at tolerances 1e-1, 1e-2, ...; for each accuracy the first whose objective is within it of the minimum,
relative to the range of the objective (from the best constant to the minimum), is timed, the solvers in a random
order, `--repeats` times. Printed are medians of the processor time of whole fits, validation and certificates
included, and ratios to the fastest peer; a peer that took more than 3 times as long as the fastest when its tolerance
was looked for is not timed again. Peers that are not installed are left out:
``pip install cyanure skglm celer glum scikit-learn-intelex``. One thread. Each contender is fitted to the first rows
before, so that compilation counts for nobody.

The rows that end in SAG or SAGA set that very method against scikit-learn's own. `--certificates` prints the share of
the certificates in the time of the solvers that go in epochs instead.

`--grid` tells how far 'auto' is from the fastest of our own solvers and of the peers, over random tables of 1000 to a
million rows and 5 to 5000 columns, dense ones of four spectra and sparse ones, of three penalties; `--quick` takes
smaller tables.

`--growth` prints the seconds of default fits to 10 000 to 3 million rows of 50 columns, and the memory that they take
beyond X, on Linux.

`--data` is a folder with a ``load.py`` whose ``load(name)`` returns a dictionary with X and y: three tables of it,
for which no rule was written, are then added.
"""

import argparse
import importlib.util
import time
import warnings
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.preprocessing import PolynomialFeatures, scale
from threadpoolctl import threadpool_limits

from sklearn_ltdl import SAGClassifier, SAGRegressor
from sklearn_ltdl._targets import classification_loss, one_hot
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._solvers import SOLVERS
from sklearn_ltdl.losses import Squared

ACCURACIES = (1e-3, 1e-6, 1e-9)


class Table(NamedTuple):
    name: str
    X: object
    y: np.ndarray
    per_smoothness: float  # alpha in units of the mean smoothness of a row over n
    l1: bool = False
    method: str | None = None  # of ours and of scikit-learn, instead of 'auto' and all peers

    def problem(self):
        loss, Y = Squared(), self.y[:, None].astype(float)
        if self.y.dtype.kind != "f":
            n_classes = len(np.unique(self.y))
            loss, Y = classification_loss(n_classes), one_hot(self.y, n_classes)
        return FiniteSum(self.X, Y, loss, self.alpha(), l1_ratio=float(self.l1))

    def alpha(self):
        n = len(self.y)
        if self.l1:  # a tenth of the least that leaves nothing
            target = self.y - self.y.mean()
            return 0.1 * np.max(np.abs(self.X.T @ target)) / n
        squares = self.X.multiply(self.X).sum() if sparse.issparse(self.X) else np.vdot(self.X, self.X)
        smoothness = 1.0 if self.y.dtype.kind == "f" else 0.25 if len(np.unique(self.y)) == 2 else 0.5
        return self.per_smoothness * smoothness * squares / n / n


def dense(n, p, rng, decay=0.0):
    """Return Gaussian columns with the spectrum j^-decay, a real target and labels."""
    X = rng.normal(size=(n, p)) * np.arange(1, p + 1) ** (-decay / 2)
    if decay:
        X = X @ np.linalg.qr(rng.normal(size=(p, p)))[0]
    score = X @ rng.normal(size=p)
    score /= score.std()
    y = score + rng.normal(size=n)
    return X, y, (y > 0).astype(int)


def text_like(n, p, nonzeros, rng):
    """Return CSR rows of unit length whose columns have the frequencies of words, a real target and labels."""
    columns = np.minimum((p ** rng.random((n, nonzeros))).astype(np.int32), p) - 1
    X = sparse.csr_array(
        (rng.exponential(size=columns.size), columns.ravel(), np.arange(n + 1, dtype=np.int32) * nonzeros), (n, p)
    )
    X.sum_duplicates()
    X = sparse.csr_array(sparse.diags_array(1 / np.sqrt(X.multiply(X).sum(axis=1))) @ X)
    score = X @ rng.normal(size=p)
    y = score / score.std() + 0.5 * rng.normal(size=n)
    return X, y, (y > 0).astype(int)


def tables(data):
    """Yield the problems; a lambda where only one of them is needed in memory at a time."""
    rng = np.random.default_rng(0)
    X, y, labels = dense(200_000, 50, rng)
    yield Table("200k x 50 ridge", X, y, 1.0)
    yield Table("200k x 50 logistic", X, labels, 0.01)
    X, y, labels = dense(200_000, 50, rng, decay=4.0)
    yield Table("200k x 50 logistic, eigenvalues j^-4", X, labels, 0.01)
    X, y, labels = dense(50_000, 500, np.random.default_rng(1))
    yield Table("50k x 500 logistic", X, labels, 0.01)
    X, y = load_digits(return_X_y=True)
    yield Table("digits multinomial", X / 16, y, 1.0)
    yield Table("digits, even or odd", X / 16, y % 2, 1.0)
    X, y = load_breast_cancer(return_X_y=True)
    X = PolynomialFeatures(2, include_bias=False).fit_transform(scale(X))
    yield Table("breast cancer, degree 2", scale(X), y, 1.0)
    X, y, labels = dense(3000, 2000, rng)
    yield Table("3000 x 2000 logistic", X, labels, 0.01)
    yield Table("3000 x 2000 lasso", X, y, 0.0, l1=True)
    X, y, labels = dense(20_000, 2000, rng)
    yield Table("20k x 2000 ridge", X, y, 0.01)
    yield Table("20k x 2000 logistic", X, labels, 0.01)
    X, y, labels = dense(20_000, 30, rng)
    w = rng.normal(size=30)
    skewed = X * np.where(np.arange(20_000) < 20, 30, 1)[:, None]
    score = skewed @ w + rng.normal(size=20_000)
    for method in ("sag", "saga"):
        name = method.upper()
        yield Table(f"20k x 30 ridge, {name}", X, y, 1.0, method=method)
        yield Table(f"20k x 30 logistic, {name}", X, labels, 1.0, method=method)
        yield Table(f"20 of the rows 30 times as long, ridge, {name}", skewed, score, 1.0, method=method)
        skewed_labels = (score > 0).astype(int)
        yield Table(f"20 of the rows 30 times as long, logistic, {name}", skewed, skewed_labels, 1.0, method=method)
    X, y, labels = text_like(50_000, 50_000, 60, rng)
    yield Table("CSR 50k x 50k ridge", X, y, 1.0)
    yield Table("CSR 50k x 50k logistic", X, labels, 1.0)
    yield Table("CSR 50k x 50k logistic, small alpha", X, labels, 0.01)
    yield Table("CSR 50k x 50k l1 logistic", X, labels, 0.0, l1=True)
    if data is not None:
        spec = importlib.util.spec_from_file_location("data", Path(data) / "load.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name in ("sp__a9a", "sp__text_r8", "uci__kin40k"):
            try:
                table = module.load(name)
            except (KeyError, OSError) as error:
                print(f"\n{name} is left out: {type(error).__name__}: {error}")
                continue
            if name != "uci__kin40k":
                yield Table(name, sparse.csr_array(table["X"]), table["y"], 0.1)
                continue
            X = RBFSampler(gamma=0.1, n_components=500, random_state=0).fit_transform(scale(table["X"]))
            yield Table(f"{name}, 500 random features", X, scale(table["y"]), 0.01)
            yield Table(
                f"{name} over the median, 500 random features",
                X,
                (table["y"] > np.median(table["y"])).astype(int),
                0.01,
            )


class Cyanure:
    """cyanure, whose labels are -1 and 1 and whose coefficients are columns."""

    def __init__(self, estimator, labels, **parameters):
        self.model = estimator(**parameters, max_iter=300, verbose=False, n_threads=1, duality_gap_interval=5)
        self.labels = labels

    def fit(self, X, y):
        self.model.fit(X, 2 * y - 1 if self.labels == 2 else y)
        coef = np.asarray(self.model.coef_)
        self.coef_ = coef.reshape(-1, X.shape[1]) if self.labels <= 2 else coef.T
        self.intercept_ = np.ravel(self.model.intercept_)
        return self


def contenders(table, solvers):
    """Return functions from a tolerance to an estimator, by name; the direct ones ignore the tolerance."""
    X, y, alpha = table.X, table.y, table.alpha()
    n, is_sparse, is_real = len(y), sparse.issparse(X), y.dtype.kind == "f"
    mine = SAGRegressor if is_real else SAGClassifier
    shared = {"alpha": alpha, "l1_ratio": float(table.l1), "random_state": 0, "max_iter": 3000}
    ours = {s: partial(mine, solver=s, **shared) for s in (solvers or [table.method or "auto"])}
    peers = {}
    n_labels = 0 if is_real else len(np.unique(y))
    limits = {"max_iter": 500, "random_state": 0}
    if table.method is not None:
        theirs = partial(Ridge, alpha=alpha * n) if is_real else partial(LogisticRegression, C=1 / (alpha * n))
        return ours, {f"{theirs.func.__name__} {table.method}": partial(theirs, solver=table.method, **limits)}
    if table.l1 and is_real:
        peers["Lasso"] = partial(Lasso, alpha=alpha, **limits)
    elif table.l1:
        for s in ("liblinear", "saga"):
            peers[f"LogisticRegression {s}"] = partial(
                LogisticRegression, C=1 / (alpha * n), l1_ratio=1.0, solver=s, **limits
            )
    elif is_real:
        for s in ("lsqr", "sparse_cg", "sag") if is_sparse else ("cholesky", "lsqr", "sag"):
            peers[f"Ridge {s}"] = partial(Ridge, alpha=alpha * n, solver=s, **limits)
    else:
        for s in ("lbfgs", "newton-cg", "sag", *(("newton-cholesky",) if X.shape[1] <= 2000 else ())):
            peers[f"LogisticRegression {s}"] = partial(LogisticRegression, C=1 / (alpha * n), solver=s, **limits)
    if importlib.util.find_spec("cyanure") and not (is_sparse and n_labels > 2):  # where it ends the process
        from cyanure.estimators import Classifier, Regression

        penalty = {"penalty": "l1" if table.l1 else "l2", "lambda_1": alpha}
        for s in ("svrg", "catalyst-miso", "qning-miso", "acc-svrg"):
            if is_real:
                peers[f"cyanure {s}"] = partial(Cyanure, Regression, 0, solver=s, **penalty)
            else:
                loss = "logistic" if n_labels == 2 else "multiclass-logistic"
                peers[f"cyanure {s}"] = partial(Cyanure, Classifier, n_labels, loss=loss, solver=s, **penalty)
    return ours, {**peers, **optional_peers(table, alpha, n_labels)}


def optional_peers(table, alpha, n_labels):
    """Return the contenders of packages that may be installed and minimise the same objective."""
    n, is_real, is_sparse, peers = len(table.y), n_labels == 0, sparse.issparse(table.X), {}
    has = {name: importlib.util.find_spec(name) for name in ("skglm", "celer", "glum", "sklearnex")}
    if table.l1 and has["skglm"]:
        from skglm import Lasso as SkglmLasso
        from skglm import SparseLogisticRegression

        peers["skglm"] = partial(SkglmLasso if is_real else SparseLogisticRegression, alpha=alpha)
    if table.l1 and is_real and has["celer"]:  # its classifier has no intercept
        from celer import Lasso as CelerLasso

        peers["celer"] = partial(CelerLasso, alpha=alpha)
    if not table.l1 and n_labels <= 2 and has["glum"]:
        from glum import GeneralizedLinearRegressor

        family = "normal" if is_real else "binomial"
        for s in ("irls-ls", "lbfgs") if table.X.shape[1] <= 5000 else ("lbfgs",):  # the former forms p x p numbers
            peers[f"glum {s}"] = partial(Glum, GeneralizedLinearRegressor, family=family, alpha=alpha, solver=s)
    if not table.l1 and not is_sparse and has["sklearnex"]:
        from daal4py.sklearn.linear_model import LogisticRegression as IntelLogistic
        from sklearnex.linear_model import Ridge as IntelRidge

        peers["sklearnex"] = (
            partial(IntelRidge, alpha=alpha * n)
            if is_real
            else partial(IntelLogistic, C=1 / (alpha * n), solver="lbfgs", max_iter=500)
        )
    return peers


class Glum:
    """glum, whose tolerance is that of the gradient."""

    def __init__(self, estimator, tol=1e-4, **parameters):
        self.model = estimator(l1_ratio=0.0, gradient_tol=tol, max_iter=500, **parameters)

    def fit(self, X, y):
        self.model.fit(sparse.csc_matrix(X) if sparse.issparse(X) else X, y.astype(float))
        self.coef_, self.intercept_ = self.model.coef_, self.model.intercept_
        return self


def seconds(model, X, y):
    """Return the processor time of a fit."""
    begin = time.process_time()
    model.fit(X, y)
    return time.process_time() - begin


def warmed_up(make, table):
    """Return the contender after a fit to the first rows, so that it has compiled."""
    few = min(len(table.y), 500)
    try:
        make(tol=0.1).fit(table.X[:few], table.y[:few])
    except Exception as error:
        print(f"  warming up: {type(error).__name__}: {error}"[:200], flush=True)
    return make


def first_tolerances(table, problem, lowest, candidates, limit, accuracies=ACCURACIES):
    """Return for each contender the first tolerance that reaches each accuracy, and the seconds it took.

    A contender is given up after `limit` seconds, or 5 times the seconds of the fastest that reached all accuracies,
    or where five tolerances give the same.
    """
    chosen, fastest = {}, limit / 5
    for name, make in candidates.items():
        left, errors = list(accuracies), []
        warmed_up(make, table)
        for tol in 10.0 ** -np.arange(1, 13):
            try:
                model = make(tol=tol)
                spent = seconds(model, table.X, table.y)
            except Exception as error:
                print(f"  {name}: {type(error).__name__}: {error}"[:200], flush=True)
                break
            coef, intercept = np.atleast_2d(model.coef_), np.atleast_1d(np.asarray(model.intercept_, float))
            objective = problem.at(coef, intercept.ravel(), best=False).objective
            error = (objective - lowest) / (problem.start.objective - lowest)
            while left and error <= left[0]:
                chosen[name, left.pop(0)] = tol, spent
            errors.append(error)
            if not left:
                fastest = min(fastest, spent)
            if not left or spent > 5 * fastest or errors[-5:] == 5 * [error]:
                break
    return chosen


def measure(table, solvers, repeats, limit, accuracies=ACCURACIES):
    """Return medians of seconds by contender and accuracy, our contenders, the peers, and what 'auto' took and why."""
    problem = table.problem()
    mine = SAGRegressor if table.y.dtype.kind == "f" else SAGClassifier
    reference = mine(alpha=table.alpha(), l1_ratio=float(table.l1), tol=1e-12, max_iter=3000, random_state=0).fit(
        table.X, table.y
    )
    lowest = problem.at(np.atleast_2d(reference.coef_), np.atleast_1d(reference.intercept_)).objective
    relative = reference.dual_gap_ / (problem.start.objective - lowest)
    print(f"\n{table.name}, alpha={table.alpha():.2e}, reference within {relative:.0e}", flush=True)
    ours, peers = contenders(table, solvers)
    chosen = first_tolerances(table, problem, lowest, {**ours, **peers}, limit, accuracies)
    runs, least, took = {}, {}, ("", "")
    for (contender, accuracy), (_, spent) in chosen.items():
        if contender in peers:
            least[accuracy] = min(spent, least.get(accuracy, np.inf))
    order, rng = list(chosen.items()), np.random.default_rng(0)
    for _ in range(repeats):
        rng.shuffle(order)  # who follows another solver of ours finds the caches warm
        for (contender, accuracy), (tol, spent) in order:
            if contender in peers and spent > 3 * least[accuracy]:
                continue
            model = {**ours, **peers}[contender](tol=tol)
            runs.setdefault((contender, accuracy), []).append(seconds(model, table.X, table.y))
            if contender == "auto":
                took = model.solver_, model.solver_reason_
    return {key: np.median(spent) for key, spent in runs.items()}, ours, peers, took


def compare(table, solvers, repeats, limit):
    medians, ours, peers, (used, reason) = measure(table, solvers, repeats, limit)
    if used:
        print(f"  auto took '{used}': {reason}")
    for accuracy in ACCURACIES:
        reached = {contender: spent for (contender, a), spent in medians.items() if a == accuracy}
        theirs = {contender: spent for contender, spent in reached.items() if contender in peers}
        if not theirs:
            print(f"  {accuracy:.0e}: " + ", ".join(f"{c} {1e3 * t:.0f} ms" for c, t in reached.items()) + "; no peer")
            continue
        best = min(theirs, key=theirs.get)
        mine = ", ".join(
            f"{contender} {1e3 * spent:.0f} ms ({spent / theirs[best]:.2f})"
            for contender, spent in reached.items()
            if contender in ours
        )
        print(f"  {accuracy:.0e}: {mine or 'not reached'}; best peer {best} {1e3 * theirs[best]:.0f} ms", flush=True)
    return medians


def grid_cell(rng, quick):
    """Return a random table of the grid."""
    most = 10**6 if quick else 5 * 10**7
    while True:
        n, p = (int(10 ** rng.uniform(np.log10(a), np.log10(b))) for a, b in ((1e3, 1e6), (5, 5000)))
        if n * p <= most:
            break
    decay, per_smoothness = rng.choice([0.0, 1.0, 2.0, 4.0]), float(rng.choice([0.01, 0.1, 1.0]))
    is_sparse, is_real = rng.random() < 0.25 and p > 100, rng.random() < 0.4
    X, y, labels = text_like(n, p, min(60, p // 4), rng) if is_sparse else dense(n, p, rng, decay)
    name = f"{n} x {p} {'ridge' if is_real else 'logistic'}, {'CSR' if is_sparse else f'j^-{decay:g}'}"
    return Table(name, X, y if is_real else labels, per_smoothness)


def grid(cells, repeats, limit, quick, seed):
    """Print for random tables the time of 'auto' over the least of our solvers and of the peers, to 1e-6."""
    rng, of_own, of_peers = np.random.default_rng(seed), [], []
    for _ in range(cells):
        table = grid_cell(rng, quick)
        solvers = ["auto", "newton", "newton-cg", "lbfgs", *(["cholesky"] if table.y.dtype.kind == "f" else [])]
        if min(table.X.shape) > 1000:
            solvers = [name for name in solvers if name not in ("newton", "cholesky")]
        medians, ours, _, (used, _) = measure(table, solvers, repeats, limit, (1e-6,))
        spent = {contender: seconds for (contender, _), seconds in medians.items()}
        if "auto" not in spent:
            print("  auto did not get there", flush=True)
            of_own.append(np.inf)
            of_peers.append(np.inf)
            continue
        for mine, ratios in ((True, of_own), (False, of_peers)):
            others = {c: seconds for c, seconds in spent.items() if (c in ours) == mine}
            if others:
                best = min(others, key=others.get)
                ratios.append(spent["auto"] / others[best])
                print(f"  auto ({used}) {1e3 * spent['auto']:.1f} ms, {ratios[-1]:.2f} of {best}", flush=True)
    for what, ratios, most in (("our own solvers", of_own, 1.5), ("the peers", of_peers, 1.3)):
        middle, tail = np.quantile(ratios, [0.5, 0.95])
        share = f"{np.mean(np.array(ratios) <= most):.0%} of {len(ratios)}"
        print(f"\nwithin {most} of the best of {what}: {share}; median {middle:.2f}, 95 % {tail:.2f}")


def certificates():
    """Print what share of the time of solvers that go in epochs is that of certificates, start included."""
    rng = np.random.default_rng(0)
    for n, p in ((20_000, 30), (3000, 500)):
        X, y, labels = dense(n, p, rng)
        for table in (Table(f"{n} x {p} ridge", X, y, 0.1), Table(f"{n} x {p} logistic", X, labels, 0.1)):
            for name in ("sag", "saga", "svrg", "sdca", "catalyst", "agd"):
                shares = []
                for _ in range(4):  # the first compiles
                    problem, begin = table.problem(), time.perf_counter()
                    solution = SOLVERS[name](problem, max_iter=500)
                    shares.append(1 - solution.trace.seconds[-1] / (time.perf_counter() - begin))
                print(f"{table.name}, {name}: {solution.n_iter} epochs, certificates {np.median(shares[1:]):.1%}")


def growth(repeats):
    """Print processor times of default fits, and the memory beyond X, of tables of more and more rows."""
    rng = np.random.default_rng(0)
    for n in (10**4, 10**5, 10**6, 3 * 10**6):
        X = np.empty((n, 50))
        rng.standard_normal(out=X)
        score = X @ rng.normal(size=50) / 7 + rng.normal(size=n)
        for table in (Table(f"{n} x 50 ridge", X, score, 1.0), Table(f"{n} x 50 logistic", X, 1 * (score > 0), 0.01)):
            model = warmed_up(partial(SAGRegressor if table.y is score else SAGClassifier, alpha=table.alpha()), table)
            before = peak_of_memory(since_now=True)
            seconds(model(), X, table.y)
            beyond = (peak_of_memory() - before) / 2**20  # of one fit: Python frees some of its arrays later
            spent = [seconds(model(), X, table.y) for _ in range(repeats)]
            print(f"{table.name}: {1e3 * np.median(spent):.0f} ms, {beyond:.0f} MB beyond X", flush=True)


def peak_of_memory(since_now=False):
    """Return the largest number of bytes that the process has held, or with `since_now` now and from now on."""
    if since_now:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=10.0, help="seconds a fit, beyond which a solver is left out")
    parser.add_argument("--solvers", nargs="*", help="of ours; 'auto' by default")
    parser.add_argument("--only", default="", help="part of the names of the problems to run")
    parser.add_argument("--data", help="folder of more tables")
    parser.add_argument("--certificates", action="store_true", help="print what certificates cost, and nothing else")
    parser.add_argument("--grid", type=int, default=0, metavar="N", help="compare on N random tables, and nothing else")
    parser.add_argument("--seed", type=int, default=0, help="of the tables of --grid")
    parser.add_argument("--growth", action="store_true", help="print seconds and memory by rows, and nothing else")
    parser.add_argument("--quick", action="store_true", help="one small problem once; with --grid, small tables")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        if options.certificates:
            certificates()
            return
        if options.growth:
            growth(options.repeats)
            return
        if options.grid:
            grid(options.grid, options.repeats, options.limit, options.quick, options.seed)
            return
        if options.quick:
            X, y = load_digits(return_X_y=True)
            compare(Table("digits, even or odd", X / 16, y % 2, 1.0), options.solvers, 1, 1.0)
            return
        for table in tables(options.data):
            if options.only in table.name:
                compare(table, options.solvers, options.repeats, options.limit)


if __name__ == "__main__":
    main()
