r"""A layer of particles as a signed measure on the sphere.

For a positively homogeneous activation, a particle (a, b) is :math:`b\,|a|` times the neuron with direction
:math:`\theta = a / |a|`. The layer is therefore :math:`\int \sigma(\theta \cdot \varphi)\, d\nu(\theta)` with
:math:`\nu = \frac1m \sum_j b_j |a_j|\, \delta_{\theta_j}`. For the quadratic activation the mass is :math:`\pm |a_j|^2
/ m`. The total variation of :math:`\nu` is the F1, or variation, norm of the function (Bach 2017, JMLR 18).
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from sklearn_ltdl.activations import Abs, Monomial, Quadratic

MERGED = 1e-3  # two atoms within this angle (radians) are merged
_NO_MASS = 1e-12  # atoms below this share of the largest mass are dropped


class Measure(NamedTuple):
    """A discrete signed measure on the sphere.

    Parameters
    ----------
    atoms : ndarray of shape (n_atoms, n_features + 1)
        Unit vectors, whose last entry belongs to the constant input. If the activation is not homogeneous, the hidden
        weights.
    masses : ndarray of shape (n_atoms, n_outputs)
        Signed masses, heaviest first.
    """

    atoms: np.ndarray
    masses: np.ndarray

    @property
    def total_variation(self) -> float:
        """Return the sum of the Euclidean norms of the masses."""
        return float(np.linalg.norm(self.masses, axis=1).sum())


def is_homogeneous(activation):
    """Return whether the activation is positively homogeneous."""
    return hasattr(activation, "bend")


def is_quadratic(activation):
    """Return whether the activation is the square."""
    return activation in (Quadratic(), Monomial(2))


def measure_of(activation, hidden, readout, *, merged=MERGED):
    """Return the measure of a layer.

    Parameters
    ----------
    activation : activation object
    hidden : ndarray of shape (width, n_features + 1)
    readout : ndarray of shape (width, n_outputs)
    merged : float, default=1e-3
        Atoms within this angle (radians), and chains of such atoms, are merged into one atom with their mean direction
        and the sum of their masses.
    """
    width, size = len(hidden), np.linalg.norm(hidden, axis=1)
    if not (is_homogeneous(activation) or is_quadratic(activation)):
        order = np.argsort(-np.linalg.norm(readout, axis=1), kind="stable")
        return Measure(hidden[order], readout[order] / width)
    atoms = hidden / np.where(size > 0, size, 1.0)[:, None]
    if activation == Abs() or is_quadratic(activation):  # opposite directions are the same neuron
        atoms = atoms * np.where(atoms[np.arange(width), np.abs(atoms).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    masses = readout * (size ** (2 if is_quadratic(activation) else 1))[:, None] / width
    weight = np.linalg.norm(masses, axis=1)
    kept = weight > _NO_MASS * weight.max(initial=0.0)
    atoms, masses, weight = atoms[kept], masses[kept], weight[kept]
    places = np.hstack([atoms, np.abs(readout[kept])]) if is_quadratic(activation) else atoms  # keeps outputs apart
    cells = np.unique(np.round(places * (np.sqrt(places.shape[1]) / merged)), axis=0, return_inverse=True)[1].ravel()
    atoms, masses, places, weight = _pooled(cells, atoms, masses, places, weight)  # fewer atoms, if many coincide
    pairs = cKDTree(places).query_pairs(merged, output_type="ndarray") if len(atoms) else np.empty((0, 2), int)
    graph = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(len(atoms), len(atoms)))
    atoms, sums, _, _ = _pooled(connected_components(graph, directed=False)[1], atoms, masses, places, weight)
    order = np.argsort(-np.linalg.norm(sums, axis=1), kind="stable")
    return Measure((atoms / np.linalg.norm(atoms, axis=1, keepdims=True))[order], sums[order])


def _pooled(group, atoms, masses, places, weight):
    """Return the mean atom and place of each group, and the sums of masses and weights."""
    size = group.max(initial=-1) + 1
    total = np.bincount(group, weights=weight, minlength=size)

    def sums(rows):
        out = np.zeros((size, rows.shape[1]))
        np.add.at(out, group, rows)
        return out

    share = (weight / total[group])[:, None]
    return sums(share * atoms), sums(masses), sums(share * places), total


def balance(activation, hidden, readout):
    r"""Return the total variation of the particles divided by their weight decay, between 0 and 1.

    This is :math:`\sum_j |a_j| |b_j| / \sum_j \frac12 (|a_j|^2 + |b_j|^2)`, which is 1 if all particles are balanced.
    """
    if is_quadratic(activation):
        return 1.0
    a, b = np.linalg.norm(hidden, axis=1), np.linalg.norm(readout, axis=1)
    charged = 0.5 * (a @ a + b @ b)
    return float(a @ b / charged) if charged > 0 else 1.0
