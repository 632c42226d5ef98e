import numpy as np
import pytest

from sklearn_ltdl.networks._model import Data


@pytest.fixture(scope="session")
def circle_problem():
    """Return a function from a seed to rows of the circle, without constant, and a teacher of five signed neurons."""

    def draw(seed, n=64):
        rng = np.random.default_rng(seed)
        angle = rng.uniform(0, 2 * np.pi, n)
        phi = np.column_stack([np.cos(angle), np.sin(angle)])
        neurons = rng.standard_normal((5, 2))
        neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
        y = (np.maximum(phi @ neurons.T, 0) @ rng.choice([-1.0, 1.0], 5))[:, None]
        return Data(phi, y, np.zeros_like(y), np.full(n, 1 / n))

    return draw
