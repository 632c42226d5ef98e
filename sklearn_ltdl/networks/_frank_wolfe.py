r"""Sliding Frank-Wolfe on measures: train a layer of neurons until a duality gap shows that it is optimal.

Minimises :math:`F(\nu) = R(f_\nu + c) + \alpha |\nu|_{TV}` by adding the neurons that correlate most with the
residuals, refitting all masses (a convex problem), and sliding masses and directions together (Bach 2017, JMLR 18;
Denoyelle, Duval, Peyre, Soubies 2019). It stops on the duality gap, which needs the same supremum as the new neurons.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from sklearn_ltdl.losses import total
from sklearn_ltdl.networks._certificate import dual_variables, duality_gap, peaks_of, unit
from sklearn_ltdl.networks._measures import Measure, is_quadratic, measure_of
from sklearn_ltdl.results import Certificate

_NEW_ATOMS = 10  # maximum number per step
_APART = 0.05  # least angle between new atoms, in radians
_STEPS = 2000  # maximum number of L-BFGS steps
_NEAR = 1e-3  # a neuron is at a kink if the sine of the angle to it is smaller
_PATIENCE = 10  # stop after so many steps without a smaller gap


class Minimum(NamedTuple):
    """A measure, its intercept, its certificate, the objective and gap at each step, and whether it converged."""

    measure: Measure
    intercept: np.ndarray
    certificate: Certificate
    objectives: list
    gaps: list
    converged: bool


def frank_wolfe(activation, loss, data, alpha, *, tol=1e-5, max_iter=100, free_intercept=True, seed=0, monitor=None):
    """Minimise over measures, and return the best measure found.

    Parameters
    ----------
    activation : activation object
        The quadratic or a positively homogeneous activation.
    loss : loss object
    data : Data
    alpha : float
        Positive weight of the total variation.
    tol : float, default=1e-5
        Stop when the gap is at most `tol` times the objective.
    max_iter : int, default=100
        Maximum number of steps; each adds neurons.
    free_intercept : bool, default=True
    seed : int, default=0
        Seed for the search for neurons, if it is not exact.
    monitor : callable, default=None
        Called with the measure, its intercept and the objective after each step; stops if it returns True.

    Returns
    -------
    Minimum
    """
    layer = _Layer(activation, loss, data, alpha, free_intercept)
    measure = Measure(np.empty((0, data.phi.shape[1])), np.empty((0, data.targets.shape[1])))
    objectives, gaps, certain, best, since = [], [], -np.inf, None, 0
    for step in range(max_iter + 1):
        z, u, intercept = dual_variables(loss, layer.scores(measure), data, free_intercept)
        peaks = peaks_of(activation, data.phi, data.weight[:, None] * u, atoms=measure.atoms, seed=seed + step)
        variation = measure.total_variation
        primal = float(total(loss, z, data.targets, data.weight)) + alpha * variation
        bound = primal - duality_gap(loss, z, u, data, alpha, variation, peaks.sup)
        certain = max(certain, bound) if peaks.rigorous else certain
        dual = certain if peaks.rigorous else bound  # only a certain bound is kept for later steps
        gap = max(primal - dual, 0.0)
        objectives.append(primal)
        gaps.append(gap)
        since = 0 if gap < 0.9 * min(gaps[:-1], default=np.inf) else since + 1
        if gap <= min(gaps):
            certificate = Certificate(primal, dual, gap, peaks.sup, peaks.directions[0], peaks.method, peaks.rigorous)
            best = Minimum(measure, intercept, certificate, objectives, gaps, gap <= tol * primal)
        stopped = monitor is not None and monitor(measure, intercept, primal)
        if best.converged or stopped or since == _PATIENCE:
            break
        if step < max_iter:
            measure = layer.slid(*layer.refitted(_joined(measure, peaks, alpha), intercept))
    return best._replace(converged=best.converged or stopped)


def _joined(measure, peaks, alpha):
    """Return the measure with new atoms of negligible mass at the highest peaks that are apart from one another."""
    atoms, masses = list(measure.atoms), list(measure.masses)
    chosen = []
    for direction, value in zip(peaks.directions, peaks.values):
        if len(chosen) == _NEW_ATOMS or (np.linalg.norm(value) <= alpha and chosen):
            break
        if all(np.linalg.norm(direction - other) > _APART or value @ beside <= 0 for other, beside in chosen):
            chosen.append((direction, value))
            atoms.append(direction)
            masses.append(-1e-12 * value)  # the sign and the output that lower the objective
    return Measure(np.array(atoms), np.array(masses))


class _Layer:
    """The problem in the masses of given neurons, and in neurons and masses jointly."""

    def __init__(self, activation, loss, data, alpha, free_intercept):
        self.activation, self.loss, self.data, self.alpha = activation, loss, data, alpha
        self.free_intercept = free_intercept

    def scores(self, measure):
        return self.activation.value(self.data.phi @ measure.atoms.T) @ measure.masses - self.data.offset

    def refitted(self, measure, intercept):
        """Return the measure with the best masses along their present directions, and the best intercept.

        This is a convex problem with one non-negative variable per atom. Atoms without mass are dropped.
        """
        features = self.activation.value(self.data.phi @ measure.atoms.T)
        sizes = np.linalg.norm(measure.masses, axis=1)
        outward, J = measure.masses / sizes[:, None], len(sizes)

        def objective(flat):
            risk, u = self._risk(features @ (flat[:J, None] * outward), flat[J:])
            slopes = np.sum((features.T @ u) * outward, axis=1) + self.alpha
            return risk + self.alpha * flat[:J].sum(), np.concatenate([slopes, self._intercept_slope(u)])

        bounds = [(0, None)] * J + [(None, None)] * len(intercept)
        end = _minimised(objective, np.concatenate([sizes, intercept]), bounds)
        sizes, intercept = end[:J], end[J:]
        return Measure(measure.atoms[sizes > 0], (sizes[:, None] * outward)[sizes > 0]), intercept

    def slid(self, measure, intercept):
        """Return a nearby local minimum in neurons and masses, with close neurons merged.

        The variables are particles a, b of equal norm, for which weight decay is smooth and equals the total variation.
        """
        J, p = measure.atoms.shape
        if J == 0:
            return measure
        K, quadratic = measure.masses.shape[1], is_quadratic(self.activation)
        sizes = np.linalg.norm(measure.masses, axis=1, keepdims=True)
        outward, decay = measure.masses / sizes, self.alpha * (2 if quadratic else 1)
        start = [np.sqrt(sizes) * measure.atoms, *([] if quadratic else [np.sqrt(sizes) * outward]), intercept]

        def unpacked(flat):
            a, rest = flat[: J * p].reshape(J, p), flat[J * p :]
            return a, outward if quadratic else rest[: J * K].reshape(J, K), flat[len(flat) - K :]

        def objective(flat, across=None):
            a, b, c = unpacked(flat)
            pre = self.data.phi @ a.T
            hidden = self.activation.value(pre)
            risk, u = self._risk(hidden @ b, c)
            slope = (self.activation.derivative(pre) * (u @ b.T)).T @ self.data.phi + decay * a
            slopes = [slope if across is None else np.einsum("jpq,jq->jp", across, slope)]
            if not quadratic:
                slopes.append(hidden.T @ u + decay * b)
            penalised = flat[: len(flat) - K]
            slopes.append(self._intercept_slope(u))
            return risk + 0.5 * decay * (penalised @ penalised), np.concatenate([slope.ravel() for slope in slopes])

        flat = _minimised(objective, np.concatenate([part.ravel() for part in start]))
        if not quadratic:
            across = self._across_kinks(unpacked(flat)[0])
            pinned = flat.copy()
            pinned[: J * p] = np.einsum("jpq,jq->jp", across, unpacked(flat)[0]).ravel()
            pinned = _minimised(lambda flat: objective(flat, across), pinned)
            flat = min(flat, pinned, key=lambda flat: objective(flat)[0])
        a, b, _ = unpacked(flat)
        return measure_of(self.activation, np.sqrt(J) * a, b if quadratic else np.sqrt(J) * b)

    def _across_kinks(self, a):
        """Return projections orthogonal to the rows at whose kinks the neurons are, of shape (J, p, p).

        At a kink the objective has no gradient, which stops the descent of all neurons; it can continue along the
        kinks.
        """
        rows = unit(self.data.phi)
        near = np.abs(a @ rows.T) < _NEAR * np.linalg.norm(a, axis=1, keepdims=True)
        across = np.broadcast_to(np.eye(a.shape[1]), (len(a), a.shape[1], a.shape[1])).copy()
        for j in np.flatnonzero(near.any(axis=1)):
            size, directions = np.linalg.svd(rows[near[j]], full_matrices=False)[1:]
            directions = directions[size > _NEAR]
            if len(directions) < a.shape[1]:
                across[j] -= directions.T @ directions
        return across

    def _risk(self, outputs, intercept):
        """Return the mean loss and its derivative with respect to each output of each row."""
        z = outputs - self.data.offset + intercept
        slopes = self.data.weight[:, None] * self.loss.derivative(z, self.data.targets)
        return total(self.loss, z, self.data.targets, self.data.weight), slopes

    def _intercept_slope(self, u):
        return u.sum(axis=0) * self.free_intercept


def _minimised(objective, start, bounds=None):
    options = {"maxiter": _STEPS, "maxfun": 2 * _STEPS, "ftol": 0.0, "gtol": 1e-11, "maxcor": 30}
    return minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
