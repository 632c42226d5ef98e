"""Schmidt, Le Roux, Bach 2017 (SAG) and Defazio, Bach, Lacoste-Julien 2014 (SAGA): their rates of convergence."""

import numpy as np
import pytest

from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._solvers import cholesky, sag, saga
from sklearn_ltdl.losses import Squared


@pytest.fixture
def ridge():
    """Return a ridge problem without intercept, its minimiser and its strong convexity."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4))
    y = X @ rng.normal(size=4) + rng.normal(size=50)
    problem = FiniteSum(X, y[:, None], Squared(), 0.1, fit_intercept=False)
    return problem, cholesky(problem).coef, np.linalg.eigvalsh(X.T @ X / 50)[0] + 0.1


def test_saga_is_as_fast_as_its_theorem(ridge):  # Corollary 1 of the SAGA paper at k = 20 n, where SGD has stalled
    problem, best, mu = ridge
    n, L = 50, problem.smoothness()
    gap = problem.start.objective - problem.at(best).objective
    runs = np.array([saga(problem, tol=0, max_iter=20, seed=seed).coef for seed in range(30)])
    bound = (1 - min(1 / (4 * n), mu / (3 * L))) ** (20 * n) * (np.sum(best**2) + 2 * n / (3 * L) * gap)
    assert np.mean(np.sum((runs - best) ** 2, axis=(1, 2))) <= bound


def test_sag_contracts_as_its_theorem_says(ridge):  # Theorem 1 of the SAG paper: each epoch, with the step 1/(16 L)
    problem, best, mu = ridge
    n, L = 50, problem.smoothness()
    lowest = problem.at(best).objective
    after_10, after_30 = (
        np.mean(
            [
                problem.at(sag(problem, step=1 / (16 * L), tol=0, max_iter=epochs, seed=seed).coef).objective - lowest
                for seed in range(20)
            ]
        )
        for epochs in (10, 30)
    )
    contraction = (after_30 / after_10) ** (1 / 20)
    assert contraction <= (1 - min(mu / (16 * L), 1 / (8 * n))) ** n
    assert contraction >= 0.05  # a Newton method in disguise would be faster


@pytest.mark.parametrize("solver", [sag, saga])
def test_steps_at_the_minimum_have_no_variance(ridge, solver):  # a plain stochastic gradient would walk away
    problem, best, _ = ridge
    reached = [solver(problem, tol=0, max_iter=400, seed=seed).coef for seed in range(3)]
    assert np.max(np.abs(np.array(reached) - best)) <= 1e-13
