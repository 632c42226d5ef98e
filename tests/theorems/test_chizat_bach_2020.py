"""L. Chizat, F. Bach. "Implicit bias of gradient descent for wide two-layer neural networks", COLT 2020.

Training both layers ends at the max margin of F1, which adapts to the directions that matter; training the read-out
ends at that of F2, a kernel's, which does not.
"""

import numpy as np
import pytest
from sklearn.svm import SVC

from sklearn_ltdl import MeanFieldTwoLayerNetClassifier, NTKKernelClassifier
from sklearn_ltdl.datasets import make_parity

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def mass_on_first(network, k):
    """Return the share of the particles' mass that is on the first k coordinates."""
    p = network.n_features_in_ + 1
    a, b = network.particles_[:, :p], network.particles_[:, p:]
    weight = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return weight @ (np.sum(a[:, :k] ** 2, axis=1) / np.sum(a**2, axis=1)) / weight.sum()


@pytest.mark.parametrize("seed", [0, 1])
def test_parity_is_learned_by_features_and_not_by_the_kernel(seed):
    X, y = make_parity(2400, 40, random_state=seed)
    network = MeanFieldTwoLayerNetClassifier(activation="relu", width=500, alpha=1e-3, random_state=seed).fit(
        X[:400], y[:400]
    )
    assert network.score(X[400:], y[400:]) >= 0.99
    assert mass_on_first(network, 2) >= 0.95
    assert NTKKernelClassifier(depth=1).fit(X[:400], y[:400]).score(X[400:], y[400:]) < 0.78


@unconverged
@pytest.mark.parametrize("seed", [0, 1])
def test_the_margin_of_both_layers_adapts_and_that_of_the_read_out_does_not(seed):
    rng, n, d, margin = np.random.default_rng(seed), 256, 25, 0.18
    X = rng.uniform(-1, 1, (5000, d))
    X[:, :2] = rng.choice([-1.0, 1.0], (5000, 2)) * rng.uniform(margin, 1, (5000, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    both = MeanFieldTwoLayerNetClassifier(
        activation="relu", width=1000, alpha=1e-4, tol=1e-6, max_iter=2000, random_state=seed
    )
    assert 1 - both.fit(X[:n], y[:n]).score(X[n:], y[n:]) <= 0.06
    neurons = np.random.default_rng(50 + seed).standard_normal((d + 1, 4000))
    features = np.maximum(np.hstack([X / np.sqrt(d), np.ones((5000, 1))]) @ neurons, 0) / np.sqrt(4000)
    readout = SVC(kernel="linear", C=1e6).fit(features[:n], y[:n])  # the hard margin, converged
    assert readout.score(features[:n], y[:n]) == 1
    assert 1 - readout.score(features[n:], y[n:]) >= 0.2
