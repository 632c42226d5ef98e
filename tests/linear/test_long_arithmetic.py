"""Certified gaps against the objective in 45 digits, on tables scaled, shifted, collinear or weighted badly."""

import warnings

import mpmath as mp
import numpy as np
import pytest
from scipy.sparse import csr_array

from sklearn_ltdl import SAGClassifier, SAGRegressor, duality_gap
from sklearn_ltdl.linear import _coordinates, _gram, _lbfgs, _problem, _solvers
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.losses import LOSSES

NUMBERS, LABELS = ["squared", "huber"], ["logistic", "multinomial", "squared_hinge", "smooth_hinge"]


def loss_of_row(name, z, y):
    """Return the loss of a row of scores by its textbook formula."""
    if name == "squared":
        return sum((a - b) ** 2 for a, b in zip(z, y)) / 2
    if name == "huber":
        return sum(r * r / 2 if r <= 1 else r - mp.mpf(1) / 2 for r in (abs(a - b) for a, b in zip(z, y)))
    if name == "multinomial":
        return mp.log(sum(mp.exp(a) for a in z)) - sum(a * b for a, b in zip(z, y))
    lack = [1 - (2 * b - 1) * a for a, b in zip(z, y)]
    if name == "logistic":
        return sum(mp.log(1 + mp.exp(e - 1)) for e in lack)
    if name == "squared_hinge":
        return sum(max(e, 0) ** 2 for e in lack)
    return sum(0 if e <= 0 else e * e / 2 if e <= 1 else e - mp.mpf(1) / 2 for e in lack)


def objective(name, model, X, Y, weight):
    """Return the objective at the published coefficients, in 45 digits, and the loss of the scores 0."""
    with mp.workdps(45):
        coef, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
        W = [[mp.mpf(float(w)) for w in row] for row in coef]
        rows = [[mp.mpf(float(x)) for x in row] for row in X]
        b = [mp.mpf(float(c)) for c in intercept] if model.fit_intercept else [mp.mpf(0)] * len(W)
        share = [mp.mpf(float(s)) for s in weight]
        total, at_zero = mp.mpf(0), mp.mpf(0)
        for row, y, s in zip(rows, Y, share):
            y = [mp.mpf(float(value)) for value in y]
            z = [sum(x * w for x, w in zip(row, line)) + c for line, c in zip(W, b)]
            total += s * loss_of_row(name, z, y)
            at_zero += s * loss_of_row(name, [mp.mpf(0)] * len(z), y)
        ridge = sum(w * w for row in W for w in row) / 2
        penalty = mp.mpf(model.alpha) * ((1 - mp.mpf(model.l1_ratio)) * ridge)
        penalty += mp.mpf(model.alpha) * mp.mpf(model.l1_ratio) * sum(abs(w) for row in W for w in row)
        return total / sum(share) + penalty, at_zero / sum(share)


@pytest.mark.parametrize("layout", [np.asarray, csr_array])
@pytest.mark.parametrize("name", ["logistic", "squared_hinge"])
def test_the_rounding_of_the_gradient_is_in_the_gap(layout, name):
    """The gap of the exact gradient g is its squared length over twice the penalty, and columns are far from zero."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(200, 3)) + 4e6, (rng.random((200, 1)) < 0.4) * 1.0
    problem, coef = FiniteSum(layout(X), Y, LOSSES[name], 1e-6, fit_intercept=False), 1e-7 * rng.normal(size=(1, 3))
    point = problem.at(coef)
    bound = problem.rounding_of_pull(point.slopes)
    exact = point.slopes.astype(np.longdouble).T @ X.astype(np.longdouble) / 200
    error = np.linalg.norm(exact - problem.transposed(problem.share[:, None] * point.slopes))
    assert 1e-3 * bound < error <= bound
    assert point.gap >= (np.linalg.norm(point.gradient) + error) ** 2 / 2e-6


@pytest.mark.parametrize("seed", range(50))
def test_no_gap_is_less_than_the_suboptimality(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    name = (NUMBERS + LABELS)[seed % 6]
    n, p = rng.integers(6, 12), rng.integers(1, 4)
    X = rng.normal(size=(n, p))
    if p > 1 and rng.random() < 0.3:
        X[:, 1] = X[:, 0]
    unit = 10.0 ** rng.choice([-8, 0, 0, 8])
    X = unit * (X + rng.choice([0.0, 0.0, 1e3, 1e6]))
    X = X * 10.0 ** np.random.default_rng([seed, 1]).uniform(-2, 2, size=p) if seed % 3 == 0 else X
    weight = 10.0 ** rng.uniform(-8, 8, size=n) if rng.random() < 0.5 else np.ones(n)
    classes = 3 if name == "multinomial" else 2
    y = rng.normal(size=n) if name in NUMBERS else rng.permutation(np.arange(n) % classes)
    Y = y[:, None] if classes == 2 else np.eye(3)[y]
    l1 = rng.choice([0.0, 0.0, 0.3, 1.0])
    settings = {"loss": name, "alpha": 10.0 ** rng.uniform(-4, 0), "l1_ratio": l1, "random_state": 0}
    settings["fit_intercept"] = bool(rng.random() < 0.7)
    build = SAGRegressor if name in NUMBERS else SAGClassifier
    solvers = (
        ["saga", "svrg", "gd", "agd"] if l1 else ["sag", "saga", "svrg", "sdca", "gd", "agd", "newton", "newton-cg"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = build(tol=1e-13, max_iter=1000, **settings).fit(X, y, weight)
        lowest, at_zero = objective(name, best, X, Y, weight)
        runs = [
            (solver, _solvers.EXACT) for solver in [*rng.choice(solvers, 2, replace=False), "auto" if l1 else "lbfgs"]
        ]
        if not l1:  # as if the table were long: single precision first, or ridge in one read, and compiled reads
            runs.append(("cholesky" if name == "squared" else "lbfgs", 0))
        else:  # columns in single precision
            runs.append(("cd", 0))
        for solver, exact in runs:
            monkeypatch.setattr(_solvers, "EXACT", exact)
            monkeypatch.setattr(_coordinates, "SMALL", min(exact, _coordinates.SMALL))
            monkeypatch.setattr(_coordinates, "FEW", _coordinates.FEW if exact else 0)
            monkeypatch.setattr(_lbfgs, "SMALL", min(exact, _lbfgs.SMALL))
            for module in (_gram, _problem):
                monkeypatch.setattr(module, "COMPILED", exact)
            model = build(solver=solver, max_iter=int(rng.choice([1, 3, 30])), **settings).fit(X, y, weight)
            value = objective(name, model, X, Y, weight)[0]
            # the best found is at least the minimum, so that this is at most the suboptimality
            rounding = 1e-15 * float(at_zero)
            for gap in (model.dual_gap_, duality_gap(model, X, y, weight)):
                assert gap >= float(value - lowest) - rounding
