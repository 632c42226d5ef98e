"""Look for false certificates: random problems whose gaps are compared with objectives in extended precision.

Each problem has a random loss, penalty, layout, offset, unit, weights and size. It is fitted by every solver that takes
it, stopped early or late, by the paths of small and of large tables, the latter on one or two threads. The
suboptimality is that of the published coefficients in long doubles. The reference is the objective that Newton steps in
long doubles reach from the best of the fits. A reference is never below the minimum, so that a gap below the
suboptimality, by more than rounding, is false. Certificates are computed in doubles: rounding means 1e-13 of the
objective, or of the loss of the scores 0 if that is larger. A platform whose long doubles are doubles is refused.

::

    python benchmarks/certificates.py                  # 2000 problems
    python benchmarks/certificates.py --problems 50    # in a minute or two
    NUMBA_CPU_NAME=generic python benchmarks/certificates.py    # compiled for the least processor
"""

import argparse
import collections
import time
import warnings

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from sklearn_ltdl import SAGClassifier, SAGRegressor, duality_gap
from sklearn_ltdl.linear import _coordinates, _gram, _lbfgs, _problem, _solvers

NUMBERS, LABELS = ["squared", "huber"], ["logistic", "multinomial", "squared_hinge", "smooth_hinge"]
SMOOTH = ["sag", "saga", "svrg", "sdca", "catalyst", "sgd", "asgd", "gd", "agd", "newton", "newton-cg", "lbfgs", "auto"]
PROXIMAL = ["saga", "svrg", "gd", "agd", "cd", "auto"]
ROUNDING = 1e-13
LONG, STEPS = np.longdouble, 100  # of the reference
SMALL, FEW, PART, FOR_STEPS = _coordinates.SMALL, _coordinates.FEW, _gram.PART, _lbfgs.SMALL


def losses(name, Z, Y):
    """Return the losses of rows by their textbook formulas, in the precision of the scores."""
    if name == "squared":
        return ((Z - Y) ** 2).sum(axis=1) / 2
    if name == "huber":
        r = np.abs(Z - Y)
        return np.where(r <= 1, r * r / 2, r - 0.5).sum(axis=1)
    if name == "multinomial":
        top = Z.max(axis=1)
        return np.log(np.exp(Z - top[:, None]).sum(axis=1)) + top - (Y * Z).sum(axis=1)
    m = ((2 * Y - 1) * Z)[:, 0]
    if name == "logistic":
        return np.maximum(-m, 0) + np.log1p(np.exp(-np.abs(m)))
    lack = np.maximum(1 - m, 0)
    return lack * lack if name == "squared_hinge" else np.where(lack <= 1, lack * lack / 2, lack - 0.5)


def slopes(name, Z, Y):
    """Return the derivatives of the losses in the scores."""
    if name == "squared":
        return Z - Y
    if name == "huber":
        return np.clip(Z - Y, -1, 1)
    if name == "multinomial":
        odds = np.exp(Z - Z.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True) - Y
    sign = 2 * Y - 1
    if name == "logistic":
        return -sign / (1 + np.exp(sign * Z))
    lack = np.maximum(1 - sign * Z, 0)
    return -sign * (2 * lack if name == "squared_hinge" else np.minimum(lack, 1))


def bends(name, Z, Y):
    """Return the second derivatives of the losses in the scores, of shape (n_samples, n_outputs, n_outputs)."""
    if name in ("multinomial", "logistic"):
        P = slopes(name, Z, Y) + Y
        return P[:, :, None] * ((np.eye(P.shape[1]) if P.shape[1] > 1 else 1) - P[:, None, :])
    lack = 1 - (2 * Y - 1) * Z
    of_outputs = {
        "squared": np.ones_like(Z),
        "huber": np.abs(Z - Y) < 1,
        "squared_hinge": 2 * (lack > 0),
        "smooth_hinge": (lack > 0) & (lack < 1),
    }[name]
    return of_outputs[:, :, None].astype(float)


class Problem:
    """A random problem and its objective in long doubles."""

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng(seed)
        self.loss = (NUMBERS + LABELS)[seed % 6]
        n, p = (rng.integers(6, 40), rng.integers(1, 6)) if seed % 4 else (rng.integers(256, 400), rng.integers(1, 30))
        X = rng.normal(size=(n, p)) * np.arange(1, p + 1) ** -rng.choice([0.0, 1.0, 2.0])
        if p > 1 and rng.random() < 0.3:
            X[:, 1] = X[:, 0]
        if rng.random() < 0.3:
            X *= np.exp(rng.normal(size=(n, 1)))
        X = 10.0 ** rng.choice([-8, -2, 0, 0, 2, 8]) * (X + rng.choice([0.0, 0.0, 3.0, 1e3, 1e6]))
        own = np.random.default_rng([seed, 1])
        self.own, self.by_columns = own, bool(own.random() < 0.5)
        if own.random() < 0.3:
            X *= 10.0 ** own.uniform(-2, 2, size=p)  # units of columns
        self.is_sparse = bool(rng.random() < 0.3)
        if self.is_sparse:
            X[rng.random(size=X.shape) < 0.6] = 0.0
        classes = 3 if self.loss == "multinomial" else 2
        score = np.argsort(np.argsort(X @ rng.normal(size=p) + 0.5 * X.std() * rng.normal(size=n)))
        self.X, self.y = X, score / n if self.loss in NUMBERS else score * classes // n
        if self.loss in NUMBERS:
            self.y = 10.0 ** rng.choice([-3, 0, 3]) * (self.y + rng.choice([0.0, 100.0]))
        self.Y = np.eye(3)[self.y] if classes == 3 else self.y[:, None]
        self.weight = 10.0 ** rng.uniform(-8, 8, size=n) if rng.random() < 0.3 else np.ones(n)
        self.l1_ratio = float(rng.choice([0.0, 0.0, 0.3, 1.0]))
        curvature = np.mean((X - X.mean(axis=0)) ** 2) + 1e-300
        alpha = 10.0 ** rng.uniform(-6, 0) * (curvature if self.l1_ratio < 1 else np.sqrt(curvature))
        self.settings = {"loss": self.loss, "alpha": alpha, "l1_ratio": self.l1_ratio, "random_state": 0}
        self.settings["fit_intercept"] = bool(rng.random() < 0.7)

    def solvers(self):
        """Return pairs of a solver and the size of a table from which it takes the path of large ones.

        That is how coordinate descent copies columns in single precision, and reads dense rows once.
        """
        names = PROXIMAL if self.l1_ratio else SMOOTH + ["cholesky"] * (self.loss == "squared")
        large = [(name, 0) for name in ("lbfgs", "cholesky", "newton", "cd", "auto") if name in names]
        return [(name, _solvers.EXACT) for name in names] + large

    def fitted(self, solver, **options):
        """Return the estimator."""
        build = SAGRegressor if self.loss in NUMBERS else SAGClassifier
        return build(solver=solver, **self.settings, **options).fit(self.table(), self.y, self.weight)

    def table(self):
        """Return X in its layout."""
        if self.is_sparse:
            return (sparse.csc_array if self.by_columns else sparse.csr_array)(self.X)
        return np.asfortranarray(self.X) if self.by_columns else self.X

    def objective(self, model):
        """Return the objective at the published coefficients, and the loss of the scores 0, in long doubles."""
        W, b = np.atleast_2d(model.coef_).astype(LONG), np.atleast_1d(model.intercept_).astype(LONG)
        Z, Y = self.X.astype(LONG) @ W.T + b, self.Y.astype(LONG)
        alpha, ratio = LONG(self.settings["alpha"]), LONG(self.l1_ratio)
        penalty = alpha * ((1 - ratio) / 2 * (W * W).sum() + ratio * np.abs(W).sum())
        return self.share() @ losses(self.loss, Z, Y) + penalty, self.share() @ losses(self.loss, 0 * Z, Y)

    def share(self):
        """Return the weights with the sum 1, in long doubles."""
        weight = self.weight.astype(LONG)
        return weight / weight.sum()

    def lowered(self, model):
        """Return the objective that Newton steps reach from the published coefficients.

        The steps stay in one orthant, where the l1 norm is linear (Andrew and Gao 2007). Gradients and objectives are
        in long doubles, of centred columns of unit size; the Hessian is in doubles.
        """
        X, Y, share, has_intercept = self.X.astype(LONG), self.Y.astype(LONG), self.share(), model.fit_intercept
        W, b = np.atleast_2d(model.coef_).astype(LONG), np.atleast_1d(model.intercept_).astype(LONG)
        centre = share @ X * has_intercept
        A = X - centre
        size = np.sqrt(share @ (A * A))
        size[size == 0] = 1
        A = np.hstack([A / size, np.full((len(X), 1), LONG(has_intercept))])
        theta = np.hstack([W * size, (b + W @ centre)[:, None]])
        alpha, ratio = LONG(self.settings["alpha"]), LONG(self.l1_ratio)
        l1, l2 = np.append(alpha * ratio / size, 0), np.append(alpha * (1 - ratio) / size**2, 0)

        def value(theta):
            return share @ losses(self.loss, A @ theta.T, Y) + np.sum(l1 * np.abs(theta) + l2 / 2 * theta**2)

        lowest = value(theta)
        for _ in range(STEPS):
            Z, before, best = A @ theta.T, lowest, theta
            gradient = (share[:, None] * slopes(self.loss, Z, Y)).T @ A + l2 * theta
            sign = np.where(theta != 0, np.sign(theta), -np.sign(gradient))
            free = (theta != 0) | (np.abs(gradient) > l1)
            slope = np.where(free, gradient + l1 * sign, 0)
            curved = np.einsum("ikl,ia,ib->kalb", share[:, None, None] * bends(self.loss, Z, Y), A, A, optimize=True)
            hessian = curved.reshape(theta.size, -1) + np.diag(np.tile(l2, len(theta)))
            for step in damped_steps(hessian, slope, free):
                there = theta - step
                there[(l1 > 0) & (np.sign(there) != sign)] = 0
                if (reached := value(there)) < lowest:
                    best, lowest = there, reached
            theta = best
            if before - lowest <= 1e-17 * before:
                break
        return lowest


def damped_steps(hessian, slope, free):
    """Yield Newton steps in the free coordinates, each with more damping than the last (Levenberg 1944)."""
    free = np.flatnonzero(free)
    H = hessian[np.ix_(free, free)].astype(float)
    root = np.sqrt(np.maximum(np.diag(H), 1e-6))
    values, vectors = np.linalg.eigh(H / root / root[:, None])
    part = vectors.T @ (slope.flat[free].astype(float) / root)
    for damping in 10.0 ** np.arange(-18, 9):
        step = np.zeros_like(slope)
        step.flat[free] = vectors @ (part / (np.maximum(values, 0) + damping)) / root
        yield step


def checked(problem, counts, false, only=None):
    """Fit a problem by all its solvers; count the fits and add the false certificates to `false`."""
    fits, n_threads = [], 1 + int(problem.own.integers(2))
    for solver, exact in [(name, exact) for name, exact in problem.solvers() if only is None or name in only]:
        _solvers.EXACT = _problem.COMPILED = _gram.COMPILED = exact
        _lbfgs.SMALL = min(exact, FOR_STEPS)
        _coordinates.SMALL, _coordinates.FEW = min(exact, SMALL), FEW if exact else 0
        _gram.PART = PART if exact else 1
        options = {"max_iter": int(problem.rng.choice([1, 3, 30, 300])), "tol": 10.0 ** problem.rng.uniform(-9, -1)}
        with threadpool_limits(1 if exact else n_threads):
            model = problem.fitted(solver, **options)
            gaps = model.dual_gap_, duality_gap(model, problem.table(), problem.y, problem.weight)
        name = solver if exact else f"{solver} for large tables on {n_threads}"
        fits.append((name, model, gaps, *problem.objective(model)))
    lowest = problem.lowered(min(fits, key=lambda fit: fit[3])[1])
    for solver, _, gaps, value, at_zero in fits:
        counts[solver] += 1
        lack = (float(value - lowest) - min(gaps)) / float(max(value, at_zero))
        if not lack <= ROUNDING:
            false.append((solver, problem.loss, lack))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first problem")
    parser.add_argument("--quick", action="store_true", help="a few problems")
    parser.add_argument("--solvers", nargs="*", help="all by default; 'cd' leaves out problems without an l1 norm")
    options = parser.parse_args()
    options.problems = 3 if options.quick else options.problems
    if np.finfo(np.longdouble).eps > 1e-18:
        parser.error("long doubles of this platform are no more precise than doubles")
    warnings.simplefilter("ignore")
    counts, exact, begin = collections.Counter(), _solvers.EXACT, time.perf_counter()
    n_false = 0
    for seed in range(options.first, options.first + options.problems):
        false, _solvers.EXACT = [], exact
        problem = Problem(seed)
        if options.solvers is None or set(options.solvers) & {name for name, _ in problem.solvers()}:
            checked(problem, counts, false, options.solvers)
        n_false += len(false)
        for solver, loss, lack in false:
            print(
                f"problem {seed}, {loss}, {solver}: the gap is too small by {lack:.1e} of the loss at zero", flush=True
            )
    seconds = time.perf_counter() - begin
    print(f"{options.problems} problems, {counts.total()} fits, {n_false} false certificates, {seconds:.0f} s")
    print("fits: " + ", ".join(f"{solver} {count}" for solver, count in counts.most_common()))
    raise SystemExit(n_false > 0)


if __name__ == "__main__":
    main()
