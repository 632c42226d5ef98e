"""The certified gap bounds the suboptimality at every point of every trace, against a reference that shares no code."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import logsumexp

from sklearn_ltdl.linear._solvers import SOLVERS
from sklearn_ltdl.losses import LOSSES

SMOOTH = ["sag", "saga", "svrg", "sdca", "catalyst", "sgd", "asgd", "gd", "agd", "newton", "newton-cg", "lbfgs", "auto"]
PROXIMAL = ["saga", "svrg", "gd", "agd", "cd", "auto"]


def loss_of_rows(name, Z, Y):
    """Return the losses of rows by their textbook formulas."""
    if name == "squared":
        return 0.5 * ((Z - Y) ** 2).sum(axis=1)
    if name == "huber":
        r = np.abs(Z - Y)
        return np.where(r <= 1, r**2 / 2, r - 0.5).sum(axis=1)
    if name == "multinomial":
        return logsumexp(Z, axis=1) - (Y * Z).sum(axis=1)
    m = ((2 * Y - 1) * Z)[:, 0]
    if name == "logistic":
        return np.logaddexp(0, -m)
    if name == "squared_hinge":
        return np.maximum(1 - m, 0) ** 2
    return np.where(m >= 1, 0, np.where(m <= 0, 0.5 - m, (1 - m) ** 2 / 2))


def reference(name, problem):
    """Return the least objective that L-BFGS finds from a few starts, the l1 norm by positive and negative parts."""
    X = problem.X.toarray() if sparse.issparse(problem.X) else problem.X
    K, p = problem.Y.shape[1], X.shape[1]

    def objective(flat):
        plus, minus, b = flat[: K * p].reshape(K, p), flat[K * p : 2 * K * p].reshape(K, p), flat[2 * K * p :]
        W = plus - minus
        Z = X @ W.T + (b if problem.fit_intercept else 0.0)
        U = problem.loss.derivative(Z, problem.Y) * problem.share[:, None]  # tested against `loss_of_rows` below
        G = U.T @ X + problem.l2 * W
        value = problem.share @ loss_of_rows(name, Z, problem.Y) + problem.l2 / 2 * np.sum(W**2)
        gradient = np.r_[(G + problem.l1).ravel(), (problem.l1 - G).ravel(), U.sum(axis=0) * problem.fit_intercept]
        return value + problem.l1 * np.sum(plus + minus), gradient

    bounds = [(0, None)] * (2 * K * p) + [(None, None)] * K
    found = minimize(
        objective,
        np.full(2 * K * p + K, 0.1),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-10},
    )
    return found.fun


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_the_gap_is_never_below_the_suboptimality(case, layout, loss, l1_ratio):
    for fit_intercept, weighted in ((True, True), (True, False), (False, True), (False, False)):
        alpha = 0.05 if l1_ratio == 0 else 0.01
        problem = case(loss).problem(loss, alpha, weighted, fit_intercept, layout, l1_ratio)
        lowest = reference(loss, problem)
        solvers = SMOOTH + ["cholesky"] * (loss == "squared") if l1_ratio == 0 else PROXIMAL
        for name in solvers:
            trace = SOLVERS[name](problem, tol=0, max_iter=12, every=1).trace
            # L-BFGS stops at 1e-15 of the objective, some hundred roundings
            assert np.all(trace.gap >= trace.primal - lowest - 1e-13 * trace.primal), name
            np.testing.assert_allclose(
                trace.primal - trace.dual, trace.gap, rtol=0, atol=1e-14 * trace.primal[0] + 1e-15
            )
            assert np.all(trace.dual <= lowest * (1 + 1e-9))
            assert len(trace.gap) > 1 or name in ("cholesky", "cd", "auto")


@pytest.mark.parametrize("loss", LOSSES)
def test_values_of_losses_are_their_textbook_formulas(case, loss, rng):
    Y = case(loss).Y
    Z = rng.normal(0, 3, Y.shape)
    values = LOSSES[loss].value(Z, Y)
    values = values if LOSSES[loss].coupled else values.sum(axis=1)
    np.testing.assert_allclose(values, loss_of_rows(loss, Z, Y), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_solvers_reach_the_reference(case, loss, l1_ratio):
    problem = case(loss).problem(loss, l1_ratio=l1_ratio)
    lowest = reference(loss, problem)
    for name in (
        ("sag", "saga", "sdca", "catalyst", "agd", "newton-cg", "lbfgs") if l1_ratio == 0 else ("saga", "agd", "auto")
    ):
        solution = SOLVERS[name](problem, tol=1e-9, max_iter=3000)
        objective = problem.at(solution.coef, solution.intercept, best=False).objective
        assert objective <= lowest + 1e-9 * problem.start.objective, name
        assert solution.gap <= 1e-9 * problem.start.objective


@pytest.mark.parametrize("name", ["sgd", "asgd", "sag", "sdca", "catalyst", "newton", "newton-cg", "lbfgs"])
def test_solvers_without_a_proximal_step_refuse_the_l1_norm(case, name):
    with pytest.raises(ValueError, match=f"solver='{name}' is for l1_ratio=0; .*'saga'"):
        SOLVERS[name](case("squared").problem("squared", l1_ratio=0.5))


@pytest.mark.parametrize("solver", ["saga", "svrg"])
@pytest.mark.parametrize(("l1_ratio", "alpha"), [(1.0, 0.3), (0.5, 0.1), (1.0, 0.02)])
def test_lazy_proximal_steps_are_the_dense_ones_through_changes_of_sign(case, solver, l1_ratio, alpha):
    dense, lazy = (
        case("logistic", n=80, p=12).problem("logistic", alpha, layout=layout, l1_ratio=l1_ratio)
        for layout in (np.asarray, sparse.csr_array)
    )
    a, b = (SOLVERS[solver](problem, tol=0, max_iter=15, seed=3) for problem in (dense, lazy))
    np.testing.assert_allclose(a.coef, b.coef, rtol=0, atol=1e-12)
    np.testing.assert_allclose(a.intercept, b.intercept, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(a.coef == 0, b.coef == 0)


def test_missed_steps_are_taken_one_by_one(rng):
    from sklearn_ltdl.linear._epochs import missed, shrunk

    for _ in range(300):
        decay, m = rng.uniform(0.7, 1.0), int(rng.integers(0, 30))
        w, drift, threshold = rng.normal(size=3) * [1.0, 0.1, 0.1]
        threshold = abs(threshold) * (rng.random() < 0.8)
        power = decay ** np.arange(31)
        series = np.append(0.0, np.cumsum(power[:-1]))
        expected = w
        for _ in range(m):
            expected = shrunk(decay * expected - drift, threshold)
        assert missed(w, m, drift, decay, threshold, power, series) == pytest.approx(expected, abs=1e-13)
