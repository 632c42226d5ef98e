"""One step for every width, scale and number of features: the step of the flow, 1/(s^2 m), over the kernel's largest
eigenvalue (for the mean-field scaling, the parametrisation of Yang and Hu 2021, "Feature learning in infinite-width
neural networks")."""

import jax
import numpy as np
import pytest

from sklearn_ltdl._backends.jax import precise
from sklearn_ltdl.activations import Relu
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.networks import _flow
from sklearn_ltdl.networks._flow import Noisy, train
from sklearn_ltdl.networks._model import Data, Network, draw_weights, feature_map
from sklearn_ltdl.networks._objective import Problem
from sklearn_ltdl.scalings import Scaling

RATES = 2.0 ** np.arange(-4, 5)


def best_rate(power, width, d, *, steps=100):
    """Return the log2 of the best rate of plain descent on a grid of octaves, in units of the step and raw."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, d))
    y = (np.sin(2 * X[:, :1]) + np.abs(X[:, 1:2])) / 1.5
    data = Data(feature_map(X), y, np.zeros_like(y), np.full(200, 1 / 200))
    network = Network(Relu(), Scaling(power))
    hidden, readout = draw_weights(d + 1, 1, width=width, depth=1, doubled=False, rng=rng)
    start = (hidden, readout * width ** (power - 1 if power < 1 else 0.0))  # outputs of a size that has a limit
    losses = []
    for rate in RATES:
        try:
            plain = Noisy(temperature=0.0, learning_rate=rate / _flow._LANGEVIN_STEP)
            run = train(network, Squared(), start, data, plain, max_iter=steps)
            losses.append(run.losses[-1])
        except ValueError:  # diverged
            losses.append(np.inf)
    best = np.argmin(losses)
    assert 0 < best < len(RATES) - 1
    with precise():
        problem = Problem(network, Squared(), jax.tree.map(jax.numpy.asarray, data), 0.0, start)
        unit = problem.stable_step(start, np.zeros(1))
    return np.log2(RATES[best]), np.log2(RATES[best] * float(unit) * network.scaling.step(width))


@pytest.mark.parametrize("power", [1.0, 0.5, 0.0])
def test_the_best_rate_is_the_same_at_every_width(power):
    assert abs(best_rate(power, 64, 20)[0] - best_rate(power, 512, 20)[0]) <= 1


def test_the_best_rate_is_the_same_at_every_number_of_features():
    assert abs(best_rate(1.0, 256, 5)[0] - best_rate(1.0, 256, 100)[0]) <= 1


def test_the_best_raw_step_of_the_standard_scaling_falls_with_width():
    shift = best_rate(0.0, 64, 20)[1] - best_rate(0.0, 512, 20)[1]
    assert shift == pytest.approx(3, abs=1)
