import jax
import numpy as np
import pytest

from sklearn_ltdl.activations import Relu, Tanh
from sklearn_ltdl.networks._flow import _outputs
from sklearn_ltdl.networks._linearized import tangent_gram
from sklearn_ltdl.networks._model import Network, draw_weights, feature_map
from sklearn_ltdl.ntk import ntk_kernel
from sklearn_ltdl.scalings import Scaling


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("network", [Network(Relu(), Scaling(0.5, 3.0), 2**0.5), Network(Tanh(), Scaling(1.0))])
def test_tangent_gram_is_that_of_the_automatic_gradient(network, depth, doubled, rng):
    phi = feature_map(rng.standard_normal((7, 3)))
    weights = draw_weights(4, 2, width=8, depth=depth, doubled=doubled, rng=rng)
    with jax.enable_x64(True):
        gradient = jax.jacobian(lambda w: _outputs(network, w, phi)[:, 0])(weights)
        rows = np.hstack([np.asarray(layer).reshape(7, -1) for layer in gradient])
    expected = rows @ rows.T * network.scaling.step(8)
    np.testing.assert_allclose(tangent_gram(network, weights, phi), expected, atol=1e-13 * expected.max())


@pytest.mark.parametrize("depth", [1, 2])
def test_tangent_kernel_tends_to_the_ntk_as_one_over_the_root_of_width(depth, rng):
    X = rng.standard_normal((12, 5))
    network, exact, errors = Network(Relu(), Scaling(0.5), Relu.gain), ntk_kernel(X, depth=depth), []
    for width in (64, 1024):
        grams = (
            tangent_gram(network, draw_weights(6, 1, width=width, depth=depth, doubled=False, rng=rng), feature_map(X))
            for _ in range(20)
        )
        errors.append(np.sqrt(np.mean([np.mean((gram - exact) ** 2) for gram in grams])) / exact.max())
    assert errors[1] < 0.1  # of order width ** -1/2 = 1/32
    assert np.log(errors[0] / errors[1]) / np.log(16) == pytest.approx(0.5, abs=0.15)  # spread of 20 draws
