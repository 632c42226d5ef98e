import numpy as np
import pytest
from scipy.integrate import dblquad

from sklearn_ltdl.activations import Abs, Quadratic, Relu, Tanh
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.networks import _frank_wolfe
from sklearn_ltdl.networks._certificate import certificate_of_gibbs, certificate_of_layer, peaks_of
from sklearn_ltdl.networks._measures import balance, measure_of
from sklearn_ltdl.networks._model import Data, feature_map


def problem(rng, n=60, d=3):
    X = rng.standard_normal((n, d))
    y = np.abs(X[:, :1]) + 0.5 * rng.standard_normal((n, 1))
    return Data(feature_map(X), y, np.zeros_like(y), np.full(n, 1 / n))


def test_atoms_that_are_near_become_one_at_their_mean():
    near = 4e-4
    hidden = np.array([[1.0, 0.0], [3 * np.cos(near), 3 * np.sin(near)], [0.0, 1.0]])
    measure = measure_of(Relu(), hidden, np.array([[1.0], [1.0], [5.0]]))
    np.testing.assert_allclose(measure.masses[:, 0], [5 / 3, 4 / 3])
    assert np.arctan2(*measure.atoms[1][::-1]) == pytest.approx(0.75 * near)  # masses of 1 and 3


def test_many_atoms_in_one_place_take_little_memory(rng):
    hidden = np.array([1.0, 2.0, 3.0]) + 1e-5 * rng.standard_normal((12_000, 3))  # 7e7 pairs
    assert len(measure_of(Relu(), hidden, np.ones((12_000, 1))).atoms) == 1


def test_masses_of_opposite_sign_cancel_and_opposite_directions_are_one_neuron_of_the_absolute_value():
    hidden, readout = np.array([[1.0, 0.5], [-1.0, -0.5]]), np.array([[1.0], [-1.0]])
    assert measure_of(Abs(), hidden, readout).total_variation == pytest.approx(0, abs=1e-15)
    assert measure_of(Relu(), hidden, readout).total_variation == pytest.approx(np.sqrt(1.25))
    assert len(measure_of(Quadratic(), hidden, readout).atoms) == 1


def test_balance_is_one_where_the_lengths_agree(rng):
    hidden = rng.standard_normal((10, 4))
    sizes = np.linalg.norm(hidden, axis=1)[:, None]
    assert balance(Relu(), hidden, sizes) == pytest.approx(1)
    assert balance(Relu(), hidden, 3 * sizes) == pytest.approx(3 / 5)  # 3 / ((1 + 9) / 2)


def test_the_certificate_of_weights_is_that_of_repeated_rows(rng):
    data = problem(rng)
    times = rng.integers(1, 5, 60)
    layer = (Relu(), Squared(), rng.standard_normal((20, 4)), rng.standard_normal((20, 1)))
    weighted = certificate_of_layer(*layer, data._replace(weight=times / times.sum()), 0.01)
    repeated = certificate_of_layer(*layer, data.part(np.repeat(np.arange(60), times)), 0.01)
    assert weighted.primal == pytest.approx(repeated.primal)
    assert weighted.sup == pytest.approx(repeated.sup, rel=1e-2)  # many starts, drawn apart
    assert weighted.gap == pytest.approx(repeated.gap, rel=1e-2)


def test_what_is_not_certain_does_not_outlive_its_step(rng, monkeypatch):
    """A supremum that was underestimated gives a bound that is too high; a later exact one must not inherit it."""
    data = problem(rng, d=1)
    steps = []

    def peaks(*arguments, **named):
        steps.append(0)
        found = peaks_of(*arguments, **named)
        low = found._replace(values=0.011 / found.sup * found.values, rigorous=False)
        return low if len(steps) == 1 else found

    monkeypatch.setattr(_frank_wolfe, "peaks_of", peaks)
    misled = _frank_wolfe.frank_wolfe(Relu(), Squared(), data, 0.01, tol=1e-6)
    monkeypatch.undo()
    honest = _frank_wolfe.frank_wolfe(Relu(), Squared(), data, 0.01, tol=1e-6)
    assert len(steps) > 1
    assert misled.objectives[0] - misled.gaps[0] > honest.certificate.primal  # the bound that was too high
    assert misled.certificate.rigorous
    assert misled.certificate.dual <= honest.certificate.primal


def test_the_objective_of_the_gibbs_measure_is_that_of_quadrature(rng):
    """One input without constant, one tanh neuron (a, b) of density exp(-(g Phi + alpha (a^2 + b^2) / 2) / T) / Z."""
    alpha, T, n = 0.5, 0.3, 12
    x = rng.uniform(-2, 2, (n, 1))
    y = np.sin(x)
    data = Data(x, y, np.zeros_like(y), np.full(n, 1 / n))
    hidden, readout = rng.standard_normal((50, 1)), rng.standard_normal((50, 1))
    certificate = certificate_of_gibbs(Tanh(), Squared(), hidden, readout, data, alpha, T, free_intercept=False)
    g = (np.tanh(x @ hidden.T) @ readout / 50 - y)[:, 0] / n

    def energy(b, a):
        return (b * (g @ np.tanh(a * x[:, 0])) + alpha / 2 * (a * a + b * b)) / T

    def integral(function):
        return dblquad(lambda b, a: function(b, a) * np.exp(-energy(b, a)), -8, 8, -8, 8, epsabs=1e-9, epsrel=1e-7)[0]

    Z = integral(lambda b, a: 1.0)
    f = np.array([integral(lambda b, a, k=k: b * np.tanh(a * x[k, 0])) for k in range(n)]) / Z
    decay = alpha / 2 * integral(lambda b, a: a * a + b * b) / Z
    entropy = -integral(energy) / Z - np.log(Z)
    assert certificate.primal == pytest.approx(0.5 * np.mean((f - y[:, 0]) ** 2) + decay + T * entropy, abs=5e-3)
    apart = f - (np.tanh(x @ hidden.T) @ readout / 50)[:, 0]
    assert certificate.gap == pytest.approx(0.5 * np.mean(apart**2), rel=0.05)
