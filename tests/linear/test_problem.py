import numpy as np
import pytest
from scipy.optimize import check_grad

from sklearn_ltdl.linear._problem import FiniteSum, Point
from sklearn_ltdl.linear._solvers import newton
from sklearn_ltdl.losses import LOSSES, balanced_slopes

LOSS_NAMES = ["squared", "logistic", "multinomial"]


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_the_gap_is_never_below_the_suboptimality_and_vanishes_at_the_minimum(
    case, layout, loss, weighted, fit_intercept, rng
):
    problem = case(loss).problem(loss, weighted=weighted, fit_intercept=fit_intercept, layout=layout)
    solution = newton(problem)
    best = problem.at(solution.coef, solution.intercept)
    assert best.gap <= 1e-14 * problem.start.objective  # some 50 roundings of the loss
    for distance in 10.0 ** np.arange(-6, 3):
        point = problem.at(best.coef + distance * rng.normal(size=best.coef.shape))
        suboptimality = point.objective - best.objective
        rounding = 1e-15 * point.objective
        assert point.gap >= suboptimality - rounding
        # by smoothness: the gap is at most that of the gradient, |g|^2 / 2 alpha <= (L / alpha) suboptimality
        if not fit_intercept:
            assert point.gap <= problem.smoothness() / problem.alpha * suboptimality * (1 + 1e-6) + 10 * rounding


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_the_slopes_of_a_point_are_feasible_dual_variables(case, loss, rng):
    problem = case(loss).problem(loss)
    coef = 30 * rng.normal(size=problem.start.coef.shape)  # steep: most probabilities are 0 or 1
    margins, scale = problem.X @ coef.T, np.abs(problem.X @ coef.T).max()
    slopes = problem.loss.derivative(margins, problem.Y)  # far from the best intercept
    slopes = balanced_slopes(problem.loss, slopes, problem.Y, problem.share)
    assert np.abs(problem.share @ slopes).max() <= 1e-15 * scale
    if loss != "squared":
        P = slopes + problem.Y
        assert P.min() >= -1e-15
        assert P.max() <= 1 + 1e-15
    if loss == "multinomial":
        assert np.allclose(P.sum(axis=1), 1, rtol=0, atol=1e-14)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_the_gradient_is_that_of_the_objective_at_the_best_intercept(case, layout, loss, rng):
    problem = case(loss).problem(loss, layout=layout)
    shape = problem.start.coef.shape

    def objective(flat):
        return problem.at(flat.reshape(shape)).objective

    def gradient(flat):
        return problem.at(flat.reshape(shape)).gradient.ravel()

    flat = rng.normal(size=shape).ravel()
    assert check_grad(objective, gradient, flat) <= 1e-6 * np.linalg.norm(gradient(flat))  # forward differences


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_no_other_intercept_is_better(case, loss, rng):
    problem = case(loss).problem(loss)
    for scale in (0.1, 1, 30):
        point = problem.at(scale * rng.normal(size=problem.start.coef.shape))
        margins = point.margins - point.intercept
        for k in range(len(point.intercept)):
            for h in (-1e-3, 1e-3):
                other = margins + point.intercept + h * (np.arange(len(point.intercept)) == k)
                assert problem.mean_loss(other) >= problem.mean_loss(point.margins)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_fenchel_young_vanishes_at_the_derivative_and_is_a_convex_bound_elsewhere(case, loss, rng):
    Y, loss = case(loss).Y, LOSSES[loss]
    Z, other = rng.normal(size=(2, *Y.shape))
    slopes = loss.derivative(other, Y)
    assert np.all(loss.fenchel_young(other, slopes, Y) <= 1e-15)
    # at the slope of another prediction it is the error of the tangent there: l(z) - l(z') - u'(z - z')
    tangent = slopes * (Z - other)
    expected = loss.value(Z, Y) - loss.value(other, Y) - (tangent.sum(axis=1) if loss.coupled else tangent)
    np.testing.assert_allclose(loss.fenchel_young(Z, slopes, Y), expected, rtol=0, atol=1e-13)


def test_a_large_offset_of_the_target_does_not_blur_the_gap(case):
    X, Y, weight = case("squared")
    gaps = [newton(FiniteSum(X, Y + offset, LOSSES["squared"], 0.05, weight)).gap for offset in (0, 1e8)]
    assert max(gaps) <= 1e-14  # the rounding of 1e8 is 1e-8 and enters squared


def test_without_penalty_no_gap_is_claimed(case):
    problem = case("squared").problem("squared", alpha=0.0)
    assert newton(problem).gap == np.inf


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_a_wide_problem_is_solved_in_its_rows(case, layout, loss):
    wide = case(loss, n=20, p=30).problem(loss, layout=layout)
    solution = newton(wide)
    point = wide.at(solution.coef, solution.intercept)
    assert wide.rotated()[0].X.shape == (20, 20)
    assert point.gap <= 1e-13 * wide.start.objective


def test_numbers_that_overflow_are_refused():
    with pytest.raises(ValueError, match=r"products overflow; standardise"):
        FiniteSum(np.full((3, 1), 1e160), np.ones((3, 1)), LOSSES["squared"], 1.0).refuse_extremes()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_gap_is_the_objective_less_the_dual_objective_of_any_point(case, layout, loss, l1_ratio, fit_intercept, rng):
    problem = case(loss).problem(loss, fit_intercept=fit_intercept, layout=layout, l1_ratio=l1_ratio)
    a, b = (problem.at(rng.normal(size=problem.start.coef.shape)) for _ in range(2))
    crossed = Point(problem, a.coef, a.intercept, a.margins, dual=b)
    dual_objective = b.objective - b.gap
    assert crossed.gap == pytest.approx(a.objective - dual_objective, rel=1e-12)
    np.testing.assert_array_equal(crossed.slopes, b.slopes)
