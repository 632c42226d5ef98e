"""L. Chizat, F. Bach. "On the global convergence of gradient descent for over-parameterized models", NeurIPS 2018.

Many particles that start in all directions end at a global minimum over measures, few may not; and no run goes below
the lower bound of its certificate.
"""

from typing import NamedTuple

import numpy as np
import pytest

from sklearn_ltdl.activations import Relu
from sklearn_ltdl.losses import Squared
from sklearn_ltdl.networks._certificate import certificate_of_layer
from sklearn_ltdl.networks._flow import Accelerated, train
from sklearn_ltdl.networks._frank_wolfe import frank_wolfe
from sklearn_ltdl.networks._model import Network, draw_weights
from sklearn_ltdl.results import Certificate
from sklearn_ltdl.scalings import Scaling

ALPHA, WIDTHS, TEACHERS = 2e-3, (2, 5, 10, 20, 100), range(20)


class Run(NamedTuple):
    """Objective and certificate of a descent, and the certificate of Frank-Wolfe on the same problem."""

    objective: float
    certificate: Certificate
    best: Certificate


@pytest.fixture(scope="module")
def runs(circle_problem):
    """Return the runs of 20 teachers by width."""
    network, runs = Network(Relu(), Scaling(1.0)), {width: [] for width in WIDTHS}
    for seed in TEACHERS:
        data = circle_problem(seed)
        best = frank_wolfe(Relu(), Squared(), data, ALPHA, free_intercept=False).certificate
        for width in WIDTHS:
            rng = np.random.default_rng(100 + seed)
            start = draw_weights(2, 1, width=width, depth=1, doubled=False, rng=rng)
            zero = tuple(np.zeros_like(layer) for layer in start)
            trained = train(
                network, Squared(), start, data, Accelerated(),
                fit_intercept=False, alpha=ALPHA, reference=zero, max_iter=2000,
            )  # fmt: skip
            hidden, readout = (layer[0] for layer in trained.weights)
            certificate = certificate_of_layer(Relu(), Squared(), hidden, readout, data, ALPHA, free_intercept=False)
            runs[width].append(Run(trained.losses[-1], certificate, best))
    return runs


def test_many_particles_reach_the_global_minimum_and_few_do_not(runs):
    reached = [np.mean([run.objective <= run.best.primal * (1 + 1e-3) for run in runs[width]]) for width in WIDTHS]
    assert np.all(np.diff(reached) >= 0)
    assert reached[WIDTHS.index(5)] <= 0.4
    assert reached[WIDTHS.index(100)] >= 0.85


def test_frank_wolfe_certifies_its_minimum(runs):
    for run in runs[2]:
        assert run.best.rigorous
        assert run.best.relative_gap <= 1e-5


def test_the_gap_is_never_below_the_suboptimality(runs):
    for width in WIDTHS:
        for run in runs[width]:
            assert run.certificate.rigorous
            # the best known objective is an upper bound of the minimum, and the lower bound is below that
            assert run.certificate.gap >= run.certificate.primal - run.best.primal - 1e-12
            assert run.certificate.dual <= run.best.primal + 1e-12
            assert run.certificate.primal + run.certificate.imbalance == pytest.approx(run.objective, rel=1e-9)


def test_what_is_not_optimal_is_flagged(runs):
    """Runs that end 1 % above the minimum have a gap of at least 1 %; of those that end within 1e-5, few do."""
    far = [run for width in WIDTHS for run in runs[width] if run.objective > 1.01 * run.best.primal]
    assert len(far) > 20
    assert all(run.certificate.relative_gap > 0.0099 for run in far)
    near = [run for width in WIDTHS for run in runs[width] if run.objective < (1 + 1e-5) * run.best.primal]
    assert len(near) > 5
    assert np.median([run.certificate.relative_gap for run in near]) < 0.01
