r"""Infinitely wide networks trained by gradient flow for a finite time, in closed form.

For the mean loss :math:`\frac1n\sum_i s_i |y_i - f(x_i)|^2/2` (weights of sum n) and :math:`f_0` with mean 0 and
covariance N, the outputs at time t are Gaussian over the initialisation (Jacot et al. 2018; Lee et al. 2019, equations
14 to 16). With the tangent kernel K, :math:`\sqrt s K\sqrt s' = V \mathrm{diag}(w) V'` and

.. math:: P_t(x) = K(x, X)\sqrt s\,V\,\mathrm{diag}\!\left(\frac{1 - e^{-wt/n}}{w}\right) V'\sqrt s',

the mean is :math:`P_t y` and the covariance :math:`N_{xx} + P N P' - P N_x' - N_x P'`.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from sklearn_ltdl.ntk._gram import all_finite, overflow
from sklearn_ltdl.ntk._kernels import NNGP


class GradientFlow(NamedTuple):
    """The flow of a network's outputs from a random initialisation.

    Parameters
    ----------
    kernel : NTK or NNGP
        Tangent kernel of the trained weights. The covariance of the network's outputs is its NNGP.
    X, targets, root : ndarrays of shape (n, d), (n, n_outputs) and (n, 1)
        The data, and the square roots of the weights.
    w, V : ndarrays of shape (n,) and (n, n)
        Eigenvalues and eigenvectors of the weighted tangent kernel.
    """

    kernel: NNGP
    X: np.ndarray
    targets: np.ndarray
    root: np.ndarray
    w: np.ndarray
    V: np.ndarray

    @classmethod
    def of(cls, kernel, X, targets, weight, added=0.0):
        """Return the flow; `added` times the mean diagonal is added to the diagonal of the tangent kernel."""
        root = np.sqrt(weight)[:, None]
        K = root * kernel(X) * root.T
        K[np.diag_indices(len(K))] += added * np.mean(np.diagonal(K))
        w, V = eigh(K, overwrite_a=True, check_finite=False, driver="evd")
        return cls(kernel, X, targets, root, np.maximum(w, len(w) * np.finfo(float).eps * w[-1]), V)

    def smoother(self, X, time):
        """Return P at a time, of shape (m, n); time inf is the end of training."""
        filters = -np.expm1(-self.w * (time / len(self.w))) / self.w
        with np.errstate(over="ignore", invalid="ignore"):  # infinite kernel values are detected below
            smoother = ((self.kernel(X, self.X) * self.root.T) @ (self.V * filters)) @ (self.V.T * self.root.T)
        if not all_finite(smoother):
            raise overflow()
        return smoother

    def covariance(self, X, smoother):
        """Return the covariance of the outputs over the initialisation, of shape (m, m), given P from `smoother`."""
        initial = self.kernel.nngp
        cross = initial(X, self.X) @ smoother.T
        return initial(X) + smoother @ initial(self.X) @ smoother.T - cross - cross.T

    def std(self, X, smoother):
        """Return the square roots of the diagonal of `covariance`."""
        initial = self.kernel.nngp
        change = smoother @ initial(self.X) - 2.0 * initial(X, self.X)
        return np.sqrt(np.maximum(initial.diag(X) + np.einsum("ij,ij->i", change, smoother), 0.0))
