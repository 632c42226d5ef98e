r"""A certificate of global optimality for one hidden layer.

The problem over measures is :math:`F(\nu) = R(f_\nu + c) + \alpha\,|\nu|_{TV}`. With the derivatives of the loss,
:math:`g_i = q_i \ell'(z_i, y_i)`, and

.. math:: M = \sup_{|\theta| = 1} \Big| \sum_i g_i\, \sigma(\theta \cdot \varphi_i) \Big|,

:math:`s g` is dual feasible for :math:`0 \le s \le \alpha / M`, so that :math:`-R^*(s g)` is a lower bound on F,
whatever the particles are (Bach 2017, JMLR 18; Chizat and Bach 2018). The bound depends on M. M is exact for the
quadratic activation, where it is an eigenvalue, and for piecewise linear activations in low dimension, where it is
found by enumeration (with several outputs, for one feature only). Otherwise the best of many starts is a lower bound on
M, and the gap is an estimate.

With noise the problem is :math:`R + \frac\alpha2 E|w|^2 + T \int \mu \log \mu`. Particles have no density. Their
proximal Gibbs measure :math:`p \propto \exp(-(g \cdot \Phi_w + \frac\alpha2 |w|^2) / T)` has a density, and its gap is
the Fenchel-Young loss between its own predictions and g (Nitanda, Wu, Suzuki 2022, arXiv:2201.10469).
"""

from itertools import combinations, product
from math import comb
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from sklearn_ltdl.losses import Squared, balanced_slopes, best_intercept, of_rows, total
from sklearn_ltdl.networks._measures import is_homogeneous, is_quadratic
from sklearn_ltdl.results import Certificate

MOST_CELLS = 10**6  # maximum number of cells of an arrangement that is enumerated
QUICK, THOROUGH = 1500, 10**5  # maximum number of faces that an enumeration visits, at about 0.2 ms each
MOST_COLUMNS = 12  # with more columns of phi, enumeration is not tried
STARTS = 40  # random starts of the ascent; as many start at atoms, at rows and at their opposites
STEPS = 60
GIBBS_DRAWS = 2**14  # half from the prior, half around particles
GIBBS_CENTRES = 256
GIBBS_KERNEL = 0.5  # standard deviation of the draws around particles, relative to the prior
FEWEST_DRAWS = 50  # least effective number of draws
_DEPENDENT = 1e-9  # a projection of a unit vector that is shorter counts as zero
_CHUNK = 2**22  # numbers held at a time


class Peaks(NamedTuple):
    """Directions of large correlation, the largest first.

    Parameters
    ----------
    directions : ndarray of shape (n_peaks, n_features + 1), unit vectors
    values : ndarray of shape (n_peaks, n_outputs)
        The correlations, one per output.
    method : str
    rigorous : bool
        Whether it is certain that no direction has a larger correlation.
    """

    directions: np.ndarray
    values: np.ndarray
    method: str
    rigorous: bool

    @property
    def sup(self):
        """Return the largest correlation."""
        return float(np.linalg.norm(self.values[0]))


def correlations(activation, directions, phi, g):
    r"""Return :math:`\sum_i g_i \sigma(\theta \cdot \varphi_i)` of shape (n_directions, n_outputs)."""
    values = np.empty((len(directions), g.shape[1]))
    size = max(1, _CHUNK // len(phi))
    for some in (slice(k, k + size) for k in range(0, len(directions), size)):
        values[some] = activation.value(directions[some] @ phi.T) @ g
    return values


def peaks_of(activation, phi, g, *, atoms=None, seed=0, most_faces=QUICK):
    """Return the directions in which neurons correlate most with `g`.

    Parameters
    ----------
    activation : activation object
        The quadratic one, or one that is positively homogeneous.
    phi : ndarray of shape (n_samples, n_features + 1)
    g : ndarray of shape (n_samples, n_outputs)
    atoms : ndarray of shape (n_atoms, n_features + 1), default=None
        Directions to start from, in addition to random directions and those of rows.
    seed : int, default=0
    most_faces : int, default=1500
        If an enumeration would need more faces, it is not tried.
    """
    if is_quadratic(activation):
        return _eigenvectors(phi, g)
    found = _ascend(activation, phi, g, atoms, seed)
    best = None
    if g.shape[1] == 1 and phi.shape[1] <= MOST_COLUMNS:
        best = _enumerate(activation, phi, g[:, 0], found, most_faces)
    elif phi.shape[1] == 2:
        best = _sweep(activation, phi, g)
    if best is None:
        return found
    directions = np.vstack([best, found.directions])
    return _sorted(directions, correlations(activation, directions, phi, g), "enumeration", True)


def _sorted(directions, values, method, rigorous):
    order = np.argsort(-np.linalg.norm(values, axis=1), kind="stable")
    return Peaks(directions[order], values[order], method, rigorous)


def _eigenvectors(phi, g):
    """Return the eigenvectors of sum_i g_ik phi_i phi_i' for each output k, which maximise the quadratic form."""
    directions, values = [], []
    for k, column in enumerate(g.T):
        eigenvalues, vectors = np.linalg.eigh(phi.T @ (column[:, None] * phi))
        directions.append(vectors.T)
        values.append(np.outer(eigenvalues, np.eye(g.shape[1])[k]))
    return _sorted(np.vstack(directions), np.vstack(values), "eigenvalue", True)


def _ascend(activation, phi, g, atoms, seed):
    """Return local maxima of the norm of the correlation on the sphere, from many starts.

    The steps follow the direction of the tangential gradient, with decaying lengths that do not depend on the norm of
    the gradient. They cross the kinks of the ReLU, at which steps proportional to the gradient would get stuck.
    """
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(phi))[:STARTS]
    starts = [rng.standard_normal((STARTS, phi.shape[1])), phi[some], -phi[some]]
    if atoms is not None:
        starts.append(atoms[:STARTS])
    theta = unit(np.vstack(starts))
    best, highest = theta.copy(), np.zeros(len(theta))
    for step in [*(0.3 / (1 + k / 3) for k in range(STEPS)), np.inf]:  # last, to the maximum of the linear piece
        z = theta @ phi.T
        values = activation.value(z) @ g
        height = np.linalg.norm(values, axis=1)
        higher = height > highest
        best[higher], highest[higher] = theta[higher], height[higher]
        along = values / np.maximum(height, np.finfo(float).tiny)[:, None]
        slope = (activation.derivative(z) * (along @ g.T)) @ phi
        if step == np.inf:
            theta = unit(slope)
        else:
            tangent = slope - np.sum(slope * theta, axis=1, keepdims=True) * theta
            theta = unit(theta + step * unit(tangent))
    directions = np.vstack([best, theta])
    return _sorted(directions, correlations(activation, directions, phi, g), "multi-start", False)


def unit(rows):
    """Return rows scaled to length 1, without overflow; zero rows stay zero."""
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    rows = rows / np.where(largest > 0, largest, 1.0)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)


def _enumerate(activation, phi, g, found, most_faces):
    r"""Return a direction with the largest correlation, exactly, or None if that would take too long.

    :math:`h(\theta) = \sum_i g_i \sigma(\theta \cdot x_i)` is linear on each face of the arrangement of the hyperplanes
    :math:`x_i^\perp`. On a face with gradient v, its extremum on the sphere is at :math:`\pm v / |v|`, if this point is
    in the face. Every face touches a two-dimensional face, which lies in the plane orthogonal to p - 2 of the rows.
    Therefore all such planes are swept, and at each of their arcs all signs of these rows are tried, where 0 means that
    the face lies in the hyperplane. Norms of gradients and the signs of some rows filter the candidates; the value of
    h, which is a lower bound at any direction, decides. For p >= 4, rows that depend linearly on p - 2 others are not
    supported.
    """
    x, up, down, basis = _hyperplanes(activation, phi, g)
    n, p = x.shape
    if p < 2:
        return basis[0] if p else found.directions[0]  # the ascent has tried the rows and their opposites
    if comb(n, p - 2) * 3 ** (p - 2) > most_faces or 2 * sum(comb(n - 1, k) for k in range(p)) > MOST_CELLS:
        return None
    best, direction = found.sup, found.directions[0] @ basis.T
    both = (up - down) @ x
    for chosen in combinations(range(n), p - 2):
        chosen = list(chosen)
        plane = np.linalg.qr(x[chosen].T, mode="complete")[0][:, len(chosen) :] if chosen else np.eye(p)
        if chosen and np.linalg.matrix_rank(x[chosen], tol=_DEPENDENT) < len(chosen):
            return None
        others = np.setdiff1d(np.arange(n), chosen)
        z = x[others] @ plane
        if np.any(np.linalg.norm(z, axis=1) < _DEPENDENT):
            return None
        angle = np.arctan2(z[:, 1], z[:, 0])
        crossing = (angle + np.pi / 2) % np.pi
        order = np.argsort(crossing)
        after = -np.sign(np.sin(crossing - angle))[order]
        rows, crossing = others[order], crossing[order]
        first = np.where(after < 0, up[rows], -down[rows]) @ x[rows]
        flips = (after * (up[rows] + down[rows]))[:, None] * x[rows]
        arcs = first + np.vstack([np.zeros(p), np.cumsum(flips, axis=0)])
        opposite = both - (up[chosen] - down[chosen]) @ x[chosen] - arcs
        corners = np.column_stack([np.cos(crossing), np.sin(crossing)]) @ plane.T
        for sign, beside in ((1, arcs), (-1, opposite)):  # h at a corner equals the linear function of the adjacent arc
            height = np.abs(np.sum(beside[:-1] * corners, axis=1))
            if len(height) and height.max() > best:
                best, direction = height.max(), sign * corners[np.argmax(height)]
        # the two rows that bound each arc, with their signs on it; the last and the first row bound the arcs through pi
        ends = np.column_stack([np.append(rows[-1], rows), np.append(rows, rows[0])])
        sides = np.column_stack([np.append(-after[-1], after), np.append(-after, after[0])])
        arcs, ends, sides = np.vstack([arcs, opposite]), np.vstack([ends, ends]), np.vstack([sides, -sides])
        candidates = []
        for signs in product((-1, 0, 1), repeat=len(chosen)):
            signs = np.array(signs)
            slope = np.where(signs > 0, up[chosen], np.where(signs < 0, -down[chosen], 0.0))
            gradients = arcs + slope @ x[chosen]
            within = [row for row, sign in zip(chosen, signs) if sign == 0]
            if within:
                normal = np.linalg.qr(x[within].T)[0]
                gradients = gradients - gradients @ normal @ normal.T
            length = np.linalg.norm(gradients, axis=1)
            long = np.flatnonzero(length > best)
            theta = gradients[long] / length[long, None]
            known = np.hstack(
                [signs * (theta @ x[chosen].T), sides[long] * np.einsum("ij,ikj->ik", theta, x[ends[long]])]
            )
            agree = (known.min(axis=1) >= -_DEPENDENT) | (known.max(axis=1) <= _DEPENDENT)  # theta, or -theta
            candidates.append(theta[agree])
        candidates = np.vstack(candidates)
        size = max(1, _CHUNK // n)
        for some in (candidates[k : k + size] for k in range(0, len(candidates), size)):
            projections = some @ x.T
            positive, negative = np.maximum(projections, 0.0), np.maximum(-projections, 0.0)
            for sign, height in ((1, positive @ up + negative @ down), (-1, positive @ down + negative @ up)):
                k = np.argmax(np.abs(height))
                if abs(height[k]) > best:
                    best, direction = abs(height[k]), sign * some[k]
    return direction @ basis


def _hyperplanes(activation, phi, g):
    r"""Return distinct unit normals x, the weights of both sides of each, and a basis of their span.

    The function is then :math:`\sum_i u_i (\theta \cdot x_i)_+ + d_i (\theta \cdot x_i)_-`, where x and directions have
    coordinates in this basis, which has shape (rank, n_features + 1).
    """
    length = np.linalg.norm(phi, axis=1)
    x = phi[length > 0] / length[length > 0, None]
    g, one = (g * length)[length > 0], np.ones(1)
    up, down = float(activation.value(one)[0]) * g, float(activation.value(-one)[0]) * g
    # opposite normals define the same hyperplane: make the first nonzero entry of each positive
    lead = np.take_along_axis(x, np.argmax(np.abs(x) > _DEPENDENT, axis=1)[:, None], axis=1)[:, 0]
    turned = lead < 0
    x, up, down = np.where(turned[:, None], -x, x), np.where(turned, down, up), np.where(turned, up, down)
    distinct, which = np.unique(x.round(12), axis=0, return_inverse=True)
    which = which.ravel()
    sums = [np.bincount(which, weights=side, minlength=len(distinct)) for side in (up, down)]
    kept = (sums[0] != 0) | (sums[1] != 0)
    x = unit(distinct[kept])
    sizes, basis = np.linalg.svd(x, full_matrices=False)[1:]
    basis = basis[sizes > _DEPENDENT]
    return unit(x @ basis.T), sums[0][kept], sums[1][kept], basis


def _sweep(activation, phi, g):
    r"""Return a direction with the largest correlation with several outputs, exactly, for phi with two columns.

    Between two kinks the correlation is :math:`V'\theta` for a matrix V. Its norm is largest at the first singular
    vector or at a kink. The correlation itself, which is a lower bound at any direction, decides between these
    candidates.
    """
    kinks = np.arctan2(phi[:, 0], -phi[:, 1])  # a quarter turn from the rows
    kinks = np.unique(np.concatenate([kinks, kinks + np.pi]) % (2 * np.pi))
    middles = kinks + np.diff(kinks, append=kinks[0] + 2 * np.pi) / 2
    corners, between = (np.column_stack([np.cos(angles), np.sin(angles)]) for angles in (kinks, middles))
    products = (phi[:, :, None] * g[:, None]).reshape(len(phi), -1)
    size = max(1, _CHUNK // len(phi))
    chunks = (between[k : k + size] for k in range(0, len(between), size))
    slopes = np.vstack([activation.derivative(some @ phi.T) @ products for some in chunks])
    summits = np.linalg.svd(slopes.reshape(len(slopes), 2, -1), full_matrices=False)[0][:, :, 0]
    directions = np.vstack([corners, summits, -summits])
    return directions[np.argmax(np.linalg.norm(correlations(activation, directions, phi, g), axis=1))]


def dual_variables(loss, scores, data, free_intercept=True):
    """Return the scores with the best intercept, the dual variables u of the rows, and the intercept."""
    intercept = np.zeros(scores.shape[1])
    if free_intercept:
        intercept = best_intercept(loss, scores, data.targets, data.weight, intercept)
    z = scores + intercept
    u = loss.derivative(z, data.targets)
    return z, balanced_slopes(loss, u, data.targets, data.weight) if free_intercept else u, intercept


def duality_gap(loss, z, u, data, alpha, variation, sup):
    """Return the gap at scores `z` and the best feasible multiple of the dual variables `u`.

    The gap is a sum of non-negative terms, so it is accurate near 0.
    """
    inner = float(data.weight @ np.sum(u * z, axis=1))

    def gap(s):
        apart = data.weight @ of_rows(loss, loss.fenchel_young(z, s * u, data.targets))
        return float(apart) + s * inner + alpha * variation

    most = alpha / sup if sup > 0 else np.inf
    if loss == Squared():
        size = float(data.weight @ np.sum(u * u, axis=1))
        best = -float(data.weight @ np.sum(u * data.targets, axis=1)) / size if size > 0 else 1.0
        return gap(float(np.clip(best, 0.0, most)))
    most = min(most, 1.0)  # for larger s, s u may leave the domain of the conjugate
    inside = minimize_scalar(gap, bounds=(0.0, most), method="bounded").fun
    return float(min(gap(most), inside))


def variation_of(activation, hidden, readout):
    """Return the total variation of a layer, and the excess of its weight decay.

    For the quadratic activation, the total variation is the nuclear norm of sum_j b_j a_j a_j' / m, summed over
    outputs.
    """
    width, squares = len(hidden), np.sum(hidden**2, axis=1)
    if is_quadratic(activation):
        forms = (hidden.T @ (column[:, None] * hidden) / width for column in readout.T)
        variation = sum(float(np.abs(np.linalg.eigvalsh(form)).sum()) for form in forms)
        return variation, max(0.0, float(squares @ np.abs(readout).sum(axis=1)) / width - variation)
    sizes = np.sqrt(squares), np.linalg.norm(readout, axis=1)
    return float(sizes[0] @ sizes[1]) / width, 0.5 * float(np.sum((sizes[0] - sizes[1]) ** 2)) / width


def certificate_of_layer(activation, loss, hidden, readout, data, alpha, *, free_intercept=True, most_faces=QUICK):
    """Return the certificate of a layer as a measure.

    Parameters
    ----------
    activation : activation object
        The quadratic one, or one that is positively homogeneous.
    loss : loss object
    hidden : ndarray of shape (width, n_features + 1)
    readout : ndarray of shape (width, n_outputs)
        For the quadratic activation, signs of the particles, with one nonzero entry per row.
    data : Data
    alpha : float
        Positive weight of the total variation.
    free_intercept : bool, default=True
    most_faces : int, default=1500
        If an enumeration would need more faces, it is not tried.

    Returns
    -------
    Certificate
    """
    scores = activation.value(data.phi @ hidden.T) @ readout / len(hidden) - data.offset
    z, u, _ = dual_variables(loss, scores, data, free_intercept)
    heavy = np.argsort(-np.linalg.norm(hidden, axis=1) * np.linalg.norm(readout, axis=1), kind="stable")
    peaks = peaks_of(activation, data.phi, data.weight[:, None] * u, atoms=hidden[heavy], most_faces=most_faces)
    variation, beyond = variation_of(activation, hidden, readout)
    gap = duality_gap(loss, z, u, data, alpha, variation, peaks.sup)
    primal = float(total(loss, z, data.targets, data.weight)) + alpha * variation
    return Certificate(
        primal, primal - gap, gap, peaks.sup, peaks.directions[0], peaks.method, peaks.rigorous, alpha * beyond
    )


def certificate_of_gibbs(activation, loss, hidden, readout, data, alpha, temperature, *, free_intercept=True, seed=0):
    """Return the certificate of the proximal Gibbs measure of particles, integrating the read-out in closed form.

    Parameters are as in `certificate_of_layer`, with a bounded activation and a positive `temperature`. Hidden weights
    are drawn from their Gaussian prior and around particles, with importance weights. If the effective number of draws
    is less than `FEWEST_DRAWS`, the gap is inf.
    """
    scores = activation.value(data.phi @ hidden.T) @ readout / len(hidden) - data.offset
    _, u, _ = dual_variables(loss, scores, data, free_intercept)
    g = data.weight[:, None] * u
    drawn, log_ratio = _draws(hidden, temperature / alpha, np.random.default_rng(seed))
    pull = correlations(activation, drawn, data.phi, g)  # G(a); given a, b is normal with mean -G / alpha
    log_weight = log_ratio + np.sum(pull**2, axis=1) / (2 * alpha * temperature)
    share = np.exp(log_weight - logsumexp(log_weight))
    if 1 / np.sum(share**2) < FEWEST_DRAWS:
        return Certificate(np.inf, -np.inf, np.inf, np.nan, None, "Gibbs sampling with too few effective draws", False)
    means, size = -share[:, None] * pull / alpha, max(1, _CHUNK // len(data.phi))
    gibbs = sum(
        activation.value(data.phi @ drawn[some].T) @ means[some]
        for some in (slice(k, k + size) for k in range(0, GIBBS_DRAWS, size))
    )
    z, _, _ = dual_variables(loss, gibbs - data.offset, data, free_intercept)
    gap = float(data.weight @ of_rows(loss, loss.fenchel_young(z, u, data.targets)))
    log_mean = logsumexp(log_weight) - np.log(GIBBS_DRAWS)
    log_z = log_mean + (hidden.shape[1] + readout.shape[1]) / 2 * np.log(2 * np.pi * temperature / alpha)
    primal = float(total(loss, z, data.targets, data.weight) - np.sum(g * z) - temperature * log_z)
    return Certificate(primal, primal - gap, gap, np.nan, None, "Gibbs sampling", False)


def _draws(hidden, variance, rng):
    """Return draws of hidden weights, and the logarithm of prior density over proposal density."""
    p, narrow = hidden.shape[1], variance * GIBBS_KERNEL**2
    centres = hidden[rng.permutation(len(hidden))[:GIBBS_CENTRES]]
    drawn = np.sqrt(variance) * rng.standard_normal((GIBBS_DRAWS, p))
    near = rng.integers(len(centres), size=GIBBS_DRAWS // 2)
    drawn[::2] = centres[near] + GIBBS_KERNEL * drawn[::2]
    prior = -0.5 * np.sum(drawn**2, axis=1) / variance
    kernels = logsumexp(-0.5 * cdist(drawn, centres, "sqeuclidean") / narrow, axis=1)
    kernels += -np.log(len(centres)) - p * np.log(GIBBS_KERNEL)
    return drawn, prior - np.logaddexp(prior, kernels) + np.log(2)


def can_certify(activation):
    """Return whether weight decay penalises the total variation, so that there is a certificate without noise."""
    return is_homogeneous(activation) or is_quadratic(activation)
