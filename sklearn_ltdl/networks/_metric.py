r"""The metric in which the first layer of a network moves: the inverse of the second moments of its inputs."""

from typing import Any, NamedTuple

import numpy as np

_SHARE = 0.01  # of the penalty, added to the moments: see `InputMetric`
_FLOOR = 1e-6  # of their mean eigenvalue, added too, because smaller eigenvalues are lost in rounding


class InputMetric(NamedTuple):
    r"""The matrix :math:`M = c\,(C + \lambda I)^{-1}` for the moments :math:`C = \sum_i s_i \varphi_i \varphi_i'`.

    Gradient descent on V with first weights :math:`A = V M^{1/2}` is descent on A with the gradient times M. This is
    the input factor of K-FAC (Martens and Grosse 2015, arXiv:1503.05671). It changes steps, but neither the objective
    nor its minimisers. The factor c keeps the trace of C M equal to that of C, and with it the size of the first
    layer's part of the tangent kernel. Directions along which the data vary less than :math:`\lambda` are left to the
    penalty; it is a hundredth of `alpha`, because learned features have a larger kernel than the first ones.

    Parameters
    ----------
    basis : ndarray of shape (n_inputs, min(n_samples, n_inputs))
        Eigenvectors of C, as columns; a column is 0 if there are fewer.
    gain : ndarray of shape (min(n_samples, n_inputs),)
        Eigenvalues of M with the factor of the other directions subtracted.
    rest : float
        Eigenvalue of M in directions in which all inputs are 0.
    largest : float
        Largest eigenvalue of M, or 1 if it is larger, because other layers move in the usual metric.
    """

    basis: Any
    gain: Any
    rest: float
    largest: float

    @classmethod
    def of(cls, data, alpha):
        """Return the metric of the inputs of a network that is trained on `data` with penalty `alpha`."""
        rows = np.sqrt(np.asarray(data.weight))[:, None] * np.asarray(data.phi)
        n, p = rows.shape
        if n < p:
            sizes, left = np.linalg.eigh(rows @ rows.T)
            seen = sizes > n * np.finfo(float).eps * sizes[-1]
            basis = rows.T @ (left * seen) / np.sqrt(np.where(seen, sizes, 1.0))
            sizes = sizes * seen
        else:
            sizes, basis = np.linalg.eigh(rows.T @ rows)
            sizes = np.maximum(sizes, 0.0)
        ridge = _SHARE * float(alpha) + _FLOOR * sizes.sum() / p
        scale = sizes.sum() / np.sum(sizes / (sizes + ridge))
        rest, most = scale / ridge, scale / (ridge + (sizes[0] if n >= p else 0.0))
        return cls(basis, scale / (sizes + ridge) - rest, rest, max(1.0, most))

    def times(self, move):
        """Return the product of the metric with a change of the weights, of which it changes the first layer."""
        first, *others = move
        return (self.rest * first + ((first @ self.basis) * self.gain) @ self.basis.T, *others)
