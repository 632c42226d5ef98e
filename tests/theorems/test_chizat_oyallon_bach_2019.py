"""L. Chizat, E. Oyallon, F. Bach. "On lazy training in differentiable programming", NeurIPS 2019."""

import numpy as np
import pytest

from sklearn_ltdl.activations import Tanh
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.networks._flow import descend
from sklearn_ltdl.networks._linearized import tangent_gram
from sklearn_ltdl.networks._model import Data, Network, displacement, draw_weights, feature_map
from sklearn_ltdl.scalings import Scaling

STEPS = 200


def one_run(scale, centering):
    """Return displacement, distance to the linearised model, relative change and 1 - cos of the tangent kernel."""
    rng = np.random.default_rng(1)
    n, width = 30, 60
    phi, y = feature_map(rng.standard_normal((n, 5))), rng.standard_normal((n, 1))
    network = Network(Tanh(), Scaling(0.5, scale))
    start = draw_weights(6, 1, width=width, depth=1, doubled=centering == "doubled", rng=rng)
    first = network.outputs(start, phi)
    data = Data(phi, y, first if centering == "subtract" else 0 * first, np.full(n, 1 / n))
    # a small step, so that the kernel's growth, where nothing is centred, does not force a smaller one
    trained = descend(network, Squared(), start, data, max_iter=STEPS, momentum=0.0, learning_rate=0.5)
    K0, KT = tangent_gram(network, start, phi), tangent_gram(network, trained.weights, phi)
    linear = first - data.offset
    for _ in range(STEPS):
        residual = y - linear
        linear = linear + trained.eta * K0 @ (residual - residual.mean()) / n
    gap = network.outputs(trained.weights, phi) - data.offset - linear
    cosine = np.sum(K0 * KT) / np.linalg.norm(K0) / np.linalg.norm(KT)
    return (
        displacement(trained.weights, start),
        np.abs(gap - gap.mean()).max(),
        np.linalg.norm(KT - K0) / np.linalg.norm(K0),
        1 - cosine,
    )


@pytest.mark.parametrize(
    ("centering", "scales", "exponents"),
    [
        ("subtract", (10, 100, 1000), (-1, -1, -1, -2)),
        ("doubled", (30, 100, 300), (-1, -2, -2, -4)),  # 1 - cos falls to rounding beyond
        (None, (300, 1000, 3000), (0, 1, 0, 0)),  # the limit is that of large scales
    ],
)
def test_laziness_has_the_exponents_of_its_centring(centering, scales, exponents):
    values = np.array([one_run(scale, centering) for scale in scales])
    slopes = np.polyfit(np.log(scales), np.log(values), 1)[0]
    np.testing.assert_allclose(slopes[:3], exponents[:3], atol=0.05)
    assert slopes[3] == pytest.approx(exponents[3], abs=0.2)
