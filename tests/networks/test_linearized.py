import jax
import numpy as np
import pytest

from sklearn_ltdl.activations import Quadratic, Relu, Tanh
from sklearn_ltdl.networks._linearized import Tangent, pull, tangent_gram
from sklearn_ltdl.networks._model import Network, draw_weights, feature_map
from sklearn_ltdl.networks._objective import outputs
from sklearn_ltdl.ntk import ntk_kernel
from sklearn_ltdl.scalings import Scaling

signs = Network(Quadratic(), Scaling(1.0), readout=np.ones((1, 8, 2)) * [1.0, -1.0])


def draw(network, depth, doubled, rng):
    """Return weights for rows of three columns and a constant, and two outputs."""
    fixed = network.readout is not None
    weights = draw_weights(4, 2, width=8, depth=depth, doubled=doubled and not fixed, rng=rng)
    return weights[:-1] if fixed else weights


networks = pytest.mark.parametrize(
    "network",
    [Network(Relu(), Scaling(0.5, 3.0), 2**0.5), Network(Tanh(), Scaling(1.0)), signs],
    ids=["ntk", "mean-field", "signs"],
)


def automatic_gradient(network, weights, phi):
    """Return the gradients of all outputs in all weights, of shape (n_samples, n_outputs, n_weights)."""
    with jax.enable_x64(True):
        gradient = jax.jacobian(lambda w: outputs(network, w, phi))(weights)
        return np.concatenate([np.asarray(layer).reshape(*layer.shape[:2], -1) for layer in gradient], axis=2)


@networks
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("doubled", [False, True])
def test_tangent_gram_is_the_mean_over_outputs_of_the_automatic_gradients(network, depth, doubled, rng):
    phi = feature_map(rng.standard_normal((7, 3)))
    weights = draw(network, depth, doubled, rng)
    rows = automatic_gradient(network, weights, phi)
    expected = np.einsum("ikp,jkp->ij", rows, rows) / 2 * network.scaling.step(8)
    np.testing.assert_allclose(tangent_gram(network, weights, phi), expected, atol=1e-13 * expected.max())
    np.testing.assert_allclose(
        tangent_gram(network, weights, phi[:2], phi[1:]), expected[:2, 1:], atol=1e-13 * expected.max()
    )


@networks
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("doubled", [False, True])
def test_the_tangent_model_is_the_automatic_derivative(network, depth, doubled, rng):
    """Along a move of the weights, and transposed, along numbers at the outputs."""
    phi = feature_map(rng.standard_normal((7, 3)))
    weights = draw(network, depth, doubled, rng)
    rows = automatic_gradient(network, weights, phi)
    moved = tuple(layer + rng.standard_normal(layer.shape) for layer in weights)
    flat = np.concatenate([(new - old).ravel() for new, old in zip(moved, weights)])
    np.testing.assert_allclose(Tangent(network, weights).outputs(moved, phi), rows @ flat, atol=1e-12)
    slopes = rng.standard_normal((7, 2))
    expected = np.einsum("nk,nkp->p", slopes, rows) * network.scaling.step(8) ** 0.5
    back = np.concatenate([layer.ravel() for layer in pull(network.gradient(weights, phi), slopes)])
    np.testing.assert_allclose(back, expected, atol=1e-12)


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
