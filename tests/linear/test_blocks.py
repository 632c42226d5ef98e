"""SAG and SAGA on blocks of rows: their step written out, and the tables on which blocks of neighbours fail."""

import numpy as np
import pytest

from sklearn_ltdl.linear._averaging import Blocks, _steepest, averaging
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._solvers import SOLVERS, newton
from sklearn_ltdl.losses import LOSSES
from sklearn_ltdl.results import Status


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("is_uneven", "fit_intercept", "l1_ratio"), [(0, 1, 0.0), (1, 1, 0.5), (1, 0, 0.0)])
def test_an_epoch_is_saga_on_means_of_centred_rows(case, loss, rng, is_uneven, fit_intercept, l1_ratio):
    problem = case(loss).problem(loss, 0.05, True, bool(fit_intercept), l1_ratio=l1_ratio)
    (n, p), K = problem.X.shape, problem.Y.shape[1]
    centre, pace, step = fit_intercept * rng.normal(size=p), 0.3, 0.02
    correction = rng.uniform(0.5, 2, size=n if is_uneven else 1)
    blocks = rng.integers(n, size=(40, 8))
    blocks[0, 1] = blocks[0, 0]  # the second visit finds the new slope in the table
    state = {}
    epoch, memory = averaging(problem, state, "blocks", centre, pace)

    # equation (1) of the SAGA paper; the intercept is the coefficient of a last column, of the square root of the pace
    A = np.c_[problem.X - centre, np.full(n, np.sqrt(pace) * fit_intercept)]
    W, table = np.c_[np.zeros((K, p)), state["intercept"] / np.sqrt(pace)], state["table"].copy()
    mean, moved, is_coef = table.T @ A / n, 0.0, np.arange(p + 1) < p
    for block in blocks:
        new = n * problem.share[block, None] * problem.loss.derivative(A[block] @ W.T, problem.Y[block])
        pull, learned = 0.0, 0.0
        for i, slope in zip(block, new):
            change, table[i] = slope - table[i], slope
            pull += np.outer(correction[i if is_uneven else 0] * change, A[i]) / 8
            learned += np.outer(change, A[i]) / n
            moved += np.sum(change**2) / n
        W = (1 - step * problem.l2 * is_coef) * W - step * (pull + mean)
        W = np.where(is_coef, np.sign(W) * np.maximum(np.abs(W) - step * problem.l1, 0), W)
        mean = mean + learned

    assert epoch(blocks, step, correction) == pytest.approx(moved, rel=1e-12)
    np.testing.assert_allclose(memory.coef, W[:, :p], rtol=0, atol=1e-12)
    np.testing.assert_allclose(memory.intercept, np.sqrt(pace) * W[:, p] - W[:, :p] @ centre, rtol=0, atol=1e-12)
    np.testing.assert_allclose(memory.table, table, rtol=0, atol=1e-12)
    np.testing.assert_allclose(memory.mean, (table.T @ problem.X) / n, rtol=0, atol=1e-12)
    if fit_intercept:
        np.testing.assert_allclose(memory.mean_intercept, table.mean(axis=0), rtol=0, atol=1e-12)


def ridge_of(X, rng):
    y = (X - X.mean(axis=0)) @ rng.normal(size=X.shape[1]) + rng.normal(size=len(X))
    return X, y[:, None], 1e-3 * np.mean(np.sum((X - X.mean(axis=0)) ** 2, axis=1))


@pytest.mark.parametrize("solver", ["sag", "saga"])
def test_neither_order_nor_means_nor_units_cost_epochs(solver, rng):
    X, Y, alpha = ridge_of(rng.normal(size=(2000, 20)), rng)
    order, doubled = np.argsort(X[:, 0]), np.repeat(np.arange(250), 8)  # rows like their neighbours, or the same
    problems = {
        "as drawn": (X, Y, alpha),
        "sorted": (X[order], Y[order], alpha),
        "eight times each": (X[doubled], Y[doubled], alpha),
        "means of 5 deviations": (X + 5, Y, alpha),
        "thousandths": (X / 1000, Y, alpha / 1e6),
    }
    epochs = {}
    for name, (A, B, weight) in problems.items():
        problem = FiniteSum(A, B, LOSSES["squared"], weight)
        assert Blocks(problem, {"rng": rng}).size == 8
        solution = SOLVERS[solver](problem, tol=1e-6, every=1)
        assert solution.status is Status.CONVERGED
        epochs[name] = solution.n_iter
    # an epoch of SAGA divides the error by 5 or so, that of SAG where directions are about as steep
    assert max(epochs.values()) <= 14, epochs


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("solver", ["sag", "saga"])
def test_blocks_lead_to_the_minimum_that_newton_finds(case, loss, solver):
    problem = case(loss, n=800, p=12).problem(loss)  # of weights of 50 and 0.1, which are drawn in proportion
    state = {"rng": np.random.default_rng(0)}
    solution = SOLVERS[solver](problem, tol=1e-12, state=state)
    assert solution.status is Status.CONVERGED
    assert "changes" in state  # that of blocks
    best = newton(problem, tol=0)
    np.testing.assert_allclose(solution.coef, best.coef, rtol=0, atol=1e-5)


def test_few_rows_foretell_the_curvature(rng):
    X = rng.normal(size=(20_000, 30)) * np.arange(1, 31) ** -0.5
    X[:20] *= 30  # a thousandth of the rows makes half of the curvature
    problem = FiniteSum(X, X[:, :1], LOSSES["squared"], 0.1)
    largest = np.linalg.eigvalsh(X.T @ X / len(X))[-1]
    assert largest * 0.9 <= _steepest(problem, np.zeros(30), problem.squared_lengths) <= largest * 1.5
