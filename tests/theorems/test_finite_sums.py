"""Rates of the finite-sum solvers: each test names the wrong algorithm that it rejects."""

import numpy as np
import pytest

from sklearn_ltdl import SAGRegressor
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._solvers import SOLVERS, newton
from sklearn_ltdl.losses import Logistic, Squared


def excess(problem, solution, lowest):
    return problem.at(solution.coef, solution.intercept).objective - lowest


# Rejects: stochastic gradients without a table, whose error at k = 20 n is that of its noise.
def test_plain_stochastic_gradients_miss_the_bound_of_saga():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4))
    y = X @ rng.normal(size=4) + rng.normal(size=50)
    problem = FiniteSum(X, y[:, None], Squared(), 0.1, fit_intercept=False)
    best, n, L, mu = newton(problem).coef, 50, problem.smoothness(), np.linalg.eigvalsh(X.T @ X / 50)[0] + 0.1
    gap = problem.start.objective - problem.at(best).objective
    bound = (1 - min(1 / (4 * n), mu / (3 * L))) ** (20 * n) * (np.sum(best**2) + 2 * n / (3 * L) * gap)
    options = {"tol": 0, "max_iter": 20, "sampling": "uniform"}
    errors = {
        name: np.mean(
            [
                np.sum((SOLVERS[name](problem, step=1 / (3 * L), seed=seed, **options).coef - best) ** 2)
                for seed in range(20)
            ]
        )
        for name in ("saga", "sgd")
    }
    assert errors["saga"] <= bound
    assert errors["sgd"] > 2 * bound


# Rejects: SDCA without acceleration under the name of Catalyst, and proximal points without extrapolation (slope 0.7).
def test_catalyst_takes_the_root_of_the_epochs_of_dual_ascent():
    rng = np.random.default_rng(0)
    n, p = 100, 100
    X = rng.normal(size=(n, p)) * np.arange(1, p + 1) ** -1.0
    X /= np.linalg.norm(X, axis=1, keepdims=True)  # L = 1 for each row
    y = X @ rng.normal(size=p) * np.sqrt(p) + 0.1 * rng.normal(size=n)
    conditions, epochs = {"sdca": [10.0, 100.0], "catalyst": [10.0, 100.0, 1000.0]}, {}
    for name in conditions:
        epochs[name] = []
        for condition in conditions[name]:
            problem = FiniteSum(X, y[:, None], Squared(), 1 / (condition * n), fit_intercept=False)
            best = newton(problem)
            lowest = excess(problem, best, 0.0)
            target = 1e-6 * (problem.start.objective - lowest)
            trace = SOLVERS[name](problem, tol=0, max_iter=1500, every=1).trace
            epochs[name].append(np.argmax(trace.primal - lowest <= target))
    slope = {name: np.polyfit(np.log(conditions[name]), np.log(number), 1)[0] for name, number in epochs.items()}
    assert 0.3 <= slope["catalyst"] <= 0.65  # theory: 1/2
    assert slope["sdca"] >= 0.75  # theory: 1
    assert epochs["sdca"][1] > 8 * epochs["catalyst"][1]


def stream(n, d, rng):
    X = rng.normal(size=(n, d))
    return X, X @ np.full(d, 0.1) + rng.normal(size=n)


# Bach and Moulines 2013, Theorem 1, at gamma = 1 / (4 R^2). Rejects: the last iterate, and decreasing steps.
def test_averaged_constant_steps_reach_one_over_n_and_the_last_iterate_stalls():
    d, sizes = 10, np.array([250, 1000, 4000, 16_000])
    radius2 = d + 2  # E |x|^2 x x' = (d + 2) I for standard normal rows
    risks = {name: np.zeros((20, len(sizes))) for name in ("asgd", "sgd")}
    for run in range(20):
        X, y = stream(sizes[-1], d, np.random.default_rng(run))
        for name, risk in risks.items():
            model = SAGRegressor(solver=name, alpha=0, fit_intercept=False, step_size=1 / (4 * radius2))
            for k, rows in enumerate(np.split(np.arange(sizes[-1]), sizes[:-1])):
                model.partial_fit(X[rows], y[rows])
                risk[run, k] = 0.5 * np.sum((model.coef_ - 0.1) ** 2)
    mean = {name: risk.mean(axis=0) for name, risk in risks.items()}
    assert np.all(mean["asgd"] <= 2 / sizes * (np.sqrt(d) + np.sqrt(radius2 * 0.01 * d)) ** 2)
    slope = {name: np.polyfit(np.log(sizes), np.log(risk), 1)[0] for name, risk in mean.items()}
    assert -1.35 <= slope["asgd"] <= -0.85
    assert slope["sgd"] > -0.35


# Bach and Moulines 2013, section 3. Rejects: averaging as a cure for any loss.
def test_averaged_constant_steps_are_biased_for_the_logistic_loss_and_not_for_the_squared():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    score = X @ np.array([2.0, -1.0, 0.5]) + rng.normal(size=40)
    biases = {}
    for loss, y in ((Logistic(), 1.0 * (score > 0)), (Squared(), score)):
        problem = FiniteSum(X, y[:, None], loss, 0.01, fit_intercept=False)
        best = newton(problem).coef
        biases[type(loss).__name__] = [
            np.linalg.norm(SOLVERS["asgd"](problem, step=step, tol=0, max_iter=20_000, sampling="uniform").coef - best)
            for step in (0.2, 0.1)
        ]
    large, small = biases["Logistic"]
    assert 1.4 <= large / small <= 2.8  # of the order of the step: 2
    assert biases["Squared"][0] < 0.1 * large  # what is left is noise, of the order of 1 / sqrt(8e5)


# Rejects: an estimator of the gradient without variance reduction.
@pytest.mark.parametrize("sampling", ["uniform", "lipschitz"])
def test_the_variance_of_the_gradient_vanishes_at_the_minimum(sampling):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) * rng.exponential(size=(60, 1))
    y = (X @ rng.normal(size=4) + rng.normal(size=60) > 0).astype(float)
    problem = FiniteSum(X, y[:, None], Logistic(), 0.05)
    best = newton(problem, tol=0)
    moved = {}
    for name in ("sag", "saga", "svrg", "sgd"):
        state = {"coef": best.coef, "intercept": best.intercept}
        solution = SOLVERS[name](problem, state=state, tol=0, max_iter=1, sampling=sampling)
        moved[name] = np.sum((solution.coef - best.coef) ** 2) / solution.step**2  # 60 steps' worth of noise
    assert max(moved["sag"], moved["saga"], moved["svrg"]) <= 1e-20
    assert moved["sgd"] > 1e-2


# Schmidt et al. 2017, section 5.5. Rejects: uniform draws, whose epochs grow with the largest smoothness; and a first
# pass of SAGA with the step of SAG, which reaches 1e50 times the range and does not come back.
@pytest.mark.parametrize("name", ["sag", "saga"])
def test_lipschitz_sampling_sees_the_mean_smoothness(name):
    n, ratios = 2000, []
    epochs = {"auto": [], "uniform": []}
    for spread in (0.0, 0.8, 1.6):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(n, 20)) * np.exp(spread * rng.normal(size=(n, 1)))
        y = X @ rng.normal(size=20) + rng.normal(size=n)
        mean = np.mean(np.sum(X**2, axis=1))
        problem = FiniteSum(X, y[:, None], Squared(), mean / n, fit_intercept=False)  # 1 + L_mean / (alpha n) is 2
        ratios.append(problem.term_smoothness.max() / mean)
        lowest = excess(problem, newton(problem), 0.0)
        scale = problem.start.objective - lowest
        for sampling, found in epochs.items():
            trace = SOLVERS[name](problem, tol=0, max_iter=500, every=1, sampling=sampling).trace
            assert np.all(trace.primal - lowest <= 100 * scale)
            found.append(np.argmax(trace.primal - lowest <= 1e-6 * scale))
    assert ratios[0] < 3
    assert ratios[2] > 500
    assert 0 < max(epochs["auto"]) <= 1.5 * epochs["auto"][0]
    assert epochs["uniform"][2] == 0 or epochs["uniform"][2] > 4 * epochs["uniform"][0]  # 0: not in 500
