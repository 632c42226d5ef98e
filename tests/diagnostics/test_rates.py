import numpy as np
import pytest
from scipy.stats import linregress

from sklearn_ltdl.diagnostics import fit_rate


def test_a_power_law_is_found_and_its_error_is_that_of_least_squares(rng):
    x = np.geomspace(1, 1e4, 9)
    exact = fit_rate(x, 3 * x**-0.5)
    assert exact.exponent == pytest.approx(-0.5, abs=1e-12)
    assert exact.factor == pytest.approx(3)
    assert exact.standard_error < 1e-12
    y = 3 * x**-0.5 * np.exp(0.1 * rng.standard_normal(9))
    rate, line = fit_rate(x, y), linregress(np.log(x), np.log(y))
    assert rate.exponent == pytest.approx(line.slope)
    assert rate.standard_error == pytest.approx(line.stderr)
    np.testing.assert_allclose(rate(x), np.exp(line.intercept) * x**line.slope)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [1, 2], "at least 3"),
        ([1, 2, 3], [1, 2], "the same length"),
        ([[1, 2, 3]], [[1, 2, 3]], "one-dimensional"),
        ([1, 2, 3], [1, 0, 2], "y must be positive"),
        ([1, -2, 3], [1, 2, 2], "x must be positive"),
        ([1, 2, 3], [1, np.inf, 2], "y must be positive and finite"),
        ([2, 2, 2], [1, 2, 3], "x is 2 for all points"),
    ],
)
def test_points_without_a_rate_are_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        fit_rate(x, y)
