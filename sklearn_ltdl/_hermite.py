"""The kernels of any activation, by its expansion in Hermite polynomials."""

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn_ltdl.activations import Normals

HERMITE_TERMS = 120
HERMITE_NODES = np.linspace(-25.0, 25.0, 600)  # for the trapezoid rule; none at a kink at 0, zeros are within 22


def hermite_duals(activation: Any, pairs: "Normals") -> tuple[np.ndarray, np.ndarray]:
    r"""Return :math:`\kappa_1` and :math:`\kappa_0` of any activation, :math:`\sum_k a_k(p)\,a_k(q)\,c^k`.

    c is the correlation and :math:`a_k(p) = E[\sigma(\sqrt p\,z)\,h_k(z)]` with orthonormal Hermite polynomials. The
    integrals use the trapezoid rule with step h. Its error is :math:`e^{-2\pi d/h}` if the activation has a singularity
    at :math:`id/\sqrt p`. The variance that `HERMITE_TERMS` polynomials do not capture is added to the next power of c,
    so the value at c = 1 is exact and the sum is positive semi-definite.

    Parameters
    ----------
    activation : activation object
    pairs : Normals
        With deviations of shapes (n, 1) and (1, m), or of the shape of the correlation.
    """
    kappa1, kappa0 = (
        _hermite_sum(_hermite_series(function, pairs.a), _hermite_series(function, pairs.b), pairs.cosine)
        for function in (activation.value, activation.derivative)
    )
    return kappa1, kappa0


def hermite_lack(activation: Any, deviation: np.ndarray) -> float:
    """Return the share of E[value^2] or E[derivative^2] that `hermite_duals` does not resolve, for the worst input."""
    series = [_hermite_series(function, deviation) for function in (activation.value, activation.derivative)]
    return max(np.max(a[..., -1] ** 2 / np.maximum(np.sum(a * a, axis=-1), np.finfo(float).tiny)) for a in series)


def _hermite_series(function, deviation):
    """Return the coefficients along a last axis, and the root of the mean square that they do not capture."""
    nodes, weights, polynomials = _hermite_rule()
    values = function(deviation[..., None] * nodes)
    series = (values * weights) @ polynomials
    lack = (values * values) @ weights - np.sum(series * series, axis=-1)
    return np.concatenate([series, np.sqrt(np.maximum(lack, 0.0))[..., None]], axis=-1)


def _hermite_sum(series_p, series_q, correlation):
    most = np.abs(series_p).reshape(-1, HERMITE_TERMS + 1).max(axis=0)
    most *= np.abs(series_q).reshape(-1, HERMITE_TERMS + 1).max(axis=0)
    terms = 1 + max(np.flatnonzero(most > np.finfo(float).eps * most.max()), default=0)
    total = np.zeros_like(correlation)
    for k in reversed(range(terms)):
        total = total * correlation + series_p[..., k] * series_q[..., k]
    return total


@cache
def _hermite_rule():
    """Return nodes and weights of the normal law, and the orthonormal polynomials at the nodes."""
    nodes, weights = HERMITE_NODES, np.exp(-0.5 * HERMITE_NODES**2)
    polynomials = np.ones((len(nodes), HERMITE_TERMS))
    polynomials[:, 1] = nodes
    for k in range(2, HERMITE_TERMS):
        polynomials[:, k] = (nodes * polynomials[:, k - 1] - np.sqrt(k - 1.0) * polynomials[:, k - 2]) / np.sqrt(k)
    return nodes, weights / weights.sum(), polynomials
