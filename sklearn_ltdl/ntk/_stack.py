r"""A stack of kernel machines: the convex combination of their predictions with the least leave-one-out error.

Each machine k has a kernel of encoded rows (`_encodings`) and a penalty of its own, and leave-one-out residuals
:math:`r_{ik}` in closed form (`_solvers`). The weights of the stack solve (Wolpert 1992; Breiman 1996)

.. math:: \min_w \sum_i s_i \Big(\sum_k w_k r_{ik}\Big)^2 = w' G w \quad\text{with}\quad w \ge 0,\ 1'w = 1,
          \qquad G = \sum_i s_i r_i r_i'.

As each machine is a linear smoother, so is the stack: its leave-one-out residuals, the influence of its rows and the
shifts of its jackknife+ intervals are the weighted sums of those of the machines. A row that is left out has no part in
the weights with which it is predicted: these minimise w'(G - s_i r_i r_i')w, for rows left out together the sum over
all of them.

Cost: candidates are screened on a third of at most 1000 rows, the `KEPT` that are left are solved on these rows, and
one Gram matrix is held at a time. With more rows, only the strongest machines are solved again on all of them, and with
random centres, whose solution takes longer than all else, only the best.

References
----------
.. [1] D. H. Wolpert. "Stacked generalization". Neural Networks 5, 1992.
.. [2] L. Breiman. "Stacked regressions". Machine Learning 24, 1996.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from sklearn_ltdl._sklearn import draw_seed
from sklearn_ltdl.ntk._encodings import Encoded, encodings
from sklearn_ltdl.ntk._intervals import jackknife_plus
from sklearn_ltdl.ntk._kernels import NTK
from sklearn_ltdl.ntk._machine import Machine
from sklearn_ltdl.ntk._problem import (
    PILOT_ROWS,
    Part,
    Posed,
    Solved,
    at_lengths,
    candidates,
    chosen,
    in_random_order,
    on_points,
    part_of,
    spread_rows,
    typical_distance,
    warn_of_rows,
)
from sklearn_ltdl.ntk._solvers import row_blocks

FEWEST_POINTS = 10  # with fewer, leave-one-out cannot tell kernels apart, and there is one
UNSCREENED = 300  # up to so many points, all candidates are solved on all of them
SCREENED_SHARE = 3  # of the points, one in so many screens the candidates, but at least `SCREENED_POINTS`
SCREENED_POINTS = 200
KEPT = 5  # candidates that pass the screening
MOST = ((PILOT_ROWS, KEPT), (2000, 3), (np.inf, 2))  # machines by points: about twice the time of one kernel
LEAST_WEIGHT = 0.02  # machines of less weight are dropped: each takes time to predict
RELATIVE_RIDGE = 1e-10  # of the mean of G's diagonal


class Trial(NamedTuple):
    """A kernel, and its solution on some points without what is as large as their Gram matrix."""

    kernel: object
    part: Part
    solved: Solved

    @classmethod
    def of(cls, kernel, X, part, settings, start=1.0, near=False):
        """Solve with a kernel; see `on_points`."""
        solved = on_points(kernel, X, part, settings, start, near)
        path = solved.path
        path = replace(path, smoother=path.smoother.ridge, residuals=path.residuals.copy())  # not for all penalties
        return cls(kernel, part, solved._replace(path=path))

    @property
    def error(self):
        """Return the leave-one-out error."""
        return self.solved.path.errors[self.solved.path.best]

    def again(self, X, part, settings):
        """Return the trial on more points, whose penalty is expected near the one found."""
        path = self.solved.path
        return Trial.of(self.kernel, X, part, settings, path.alphas[path.best], near=True)


@dataclass(frozen=True, eq=False, repr=False)
class Mixture:
    """A convex combination of machines of the same columns.

    Parameters
    ----------
    machines : list of Machine
        In the order of their weights, the largest first.
    weights : ndarray of shape (n_machines,)
        Positive, of sum 1.
    """

    machines: list
    weights: np.ndarray

    @property
    def first(self):
        """Return the machine of the largest weight."""
        return self.machines[0]

    @property
    def members(self):
        """Return each machine's weight, kernel and solution."""
        return [machine.member(float(weight)) for weight, machine in zip(self.weights, self.machines)]

    def evaluate(self, X):
        """Return the predictions at rows of X."""
        return combined(self.weights, (machine.evaluate(X) for machine in self.machines))


@dataclass(frozen=True, eq=False, repr=False)
class Stack(Mixture):
    """A convex combination of machines of the same rows. It answers what a `Machine` answers.

    Parameters
    ----------
    kernel_errors : ndarray of shape (n_kernels,)
        Smallest leave-one-out error of each candidate, NaN if it was screened out.
    left_out : ndarray of shape (n_rows, ...)
        Leave-one-out prediction of each row, with the weights that would have been chosen without the row.
    row_residuals : ndarray of shape (n_kept, n_outputs)
        Residuals of the rows, with the weights and at the penalties that would have been chosen without each.
    """

    kernel_errors: np.ndarray
    left_out: np.ndarray
    row_residuals: np.ndarray

    @classmethod
    def of(cls, posed, trials, kernel_errors):
        """Return the stack of solutions on all points."""
        sample = posed.sample
        machines = [Machine.solution(posed, trial.kernel, kernel_errors, trial.solved) for trial in trials]
        machines = [replace(machine, centres=machines[0].centres) for machine in machines]  # one array for all
        weights, without = nested_weights([machine.residuals for machine in machines], sample.weight, sample.block)
        of_rows = without[sample.point]  # (n_kept, n_machines)
        left_out = combined(weights, [machine.left_out for machine in machines])
        aside = np.stack([machine.left_out[sample.rows] for machine in machines], axis=1)
        left_out[sample.rows] = np.einsum("ik,ik...->i...", of_rows, aside)
        row_residuals = np.einsum("ik,kio->io", of_rows, np.array([machine.row_residuals for machine in machines]))
        order = by_weight(weights)
        return cls([machines[k] for k in order], weights[order], kernel_errors, left_out, row_residuals)

    def influence(self, X):
        """Return `f - f_without_row` of shape (m, n_rows, ...), at fixed weights; it is 0 for rows of weight 0."""
        return combined(self.weights, (machine.influence(X) for machine in self.machines))

    def intervals(self, X, coverage):
        """Return the lower and upper ends of intervals, each in the shape of the predictions."""
        sample, ends = self.first.sample, []
        for rows in row_blocks(len(X), len(self.machines) * len(sample.points)):
            parts = [(w * m.smoothing(X[rows]), m.residuals) for w, m in zip(self.weights, self.machines)]
            ends.append(jackknife_plus(parts, sample, self.row_residuals, coverage))
        lower, upper = np.concatenate(ends, axis=1)
        return self.first.in_units(lower), self.first.in_units(upper)

    def posterior_std(self, X):
        """Return the standard deviation of the mixture of the machines' posteriors, by the law of total variance."""
        predictions, mean = [machine.evaluate(X) for machine in self.machines], self.evaluate(X)
        within = combined(self.weights, (machine.posterior_std(X) ** 2 for machine in self.machines))
        return np.sqrt(within + combined(self.weights, ((prediction - mean) ** 2 for prediction in predictions)))

    def flow(self):
        """Raise an error: a stack is not one network."""
        raise ValueError(
            "staged_predict needs the kernel of one network, and this fit stacked several kernels. Use kernel='ntk' or "
            "'nngp', or give depth."
        )


def fitted(X, y, weight, settings, groups=None):
    """Return the machine of the kernels that are given, or the stack if none is. See `Machine.of`."""
    if not settings.stacks:
        return Machine.of(X, y, weight, settings, groups)
    posed = Posed.of(X, y, weight, settings, groups)
    sample, n = posed.sample, len(posed.sample.points)
    warn_of_rows([NTK(1)], X, sample)
    rng = np.random.default_rng(draw_seed(settings.random_state))
    trials, errors = tried(X, sample, settings, rng, posed.exact)
    if not posed.exact:
        return Machine.of_kernel(posed, best_of(trials), errors, rng)
    if len(trials[0].part.points) < n:
        G = row_products([trial.solved.path.residuals for trial in trials], trials[0].part.weight).sum(axis=0)
        everything, weights = part_of(sample, np.arange(n)), few_weights(G, most_machines(n))
        trials = [trials[k].again(X, everything, settings) for k in np.flatnonzero(weights)]
    return Stack.of(posed, trials, errors)


def best_kernel(X, sample, settings, rng):
    """Return the kernel of least leave-one-out error on at most `PILOT_ROWS` points, and the errors of all."""
    if settings.stacks:
        warn_of_rows([NTK(1)], X, sample)
        trials, errors = tried(X, sample, settings, rng, exact=False)
        return best_of(trials), errors
    kernels = candidates(settings, spread_rows(X, sample), exact=False)
    warn_of_rows(kernels, X, sample)
    kernel, errors, _ = chosen(kernels, X, sample, settings, rng, needs_start=False)
    return kernel, errors


def most_machines(n):
    """Return the number of machines that are solved on n points."""
    return next(most for points, most in MOST if n <= points)


def best_of(trials):
    """Return the kernel of least error."""
    return min(trials, key=lambda trial: trial.error).kernel


def kernels_to_stack(X, spread, exact):
    """Return kernels of rows as they are, and as encodings fitted to X show them, with lengths by the rows `spread`.

    With random centres they are those of ReLU networks only, which are compiled and may be in single precision.
    """
    ntk = NTK(1)
    if len(X) < FEWEST_POINTS:
        return [ntk]
    encoded = [Encoded(ntk, encoding) for encoding in encodings(X)]
    if not exact:
        return [ntk, *encoded, NTK(3)]
    typical = typical_distance(spread)
    return [ntk, *encoded, *at_lengths("laplace", typical), *at_lengths("rbf", typical)]


def tried(X, sample, settings, rng, exact):
    """Return trials on at most `PILOT_ROWS` points, and the errors of all candidates, NaN if they were screened out."""
    order = in_random_order(sample, rng)[:PILOT_ROWS]
    part = part_of(sample, order)
    kernels = kernels_to_stack(X[part.points], spread_rows(X, sample), exact)
    kept = np.arange(len(kernels))
    if len(kernels) > KEPT and len(order) > UNSCREENED:
        few = part_of(sample, order[: max(SCREENED_POINTS, len(order) // SCREENED_SHARE)])
        residuals = [Trial.of(kernel, X, few, settings).solved.path.residuals for kernel in kernels]
        kept = most_useful(row_products(residuals, few.weight).sum(axis=0), KEPT)
    trials = [Trial.of(kernels[k], X, part, settings) for k in kept]
    errors = np.full(len(kernels), np.nan)
    errors[kept] = [trial.error for trial in trials]
    return trials, errors


def row_products(residuals, weight):
    """Return s_i r_i r_i' of each row, summed over outputs, of shape (n, n_machines, n_machines)."""
    R = np.stack(residuals, axis=1)  # (n, n_machines, n_outputs)
    return weight[:, None, None] * (R @ R.transpose(0, 2, 1))


def nested_weights(residuals, weight, block, most=KEPT):
    """Return the weights of machines, and for each point those that would have been chosen without its block.

    Parameters
    ----------
    residuals : list of ndarrays of shape (n, n_outputs)
        Of each machine at each point, which it has not seen.
    weight : ndarray of shape (n,)
    block : ndarray of int of shape (n,)
    most : int
        Of the machines that have a weight.
    """
    products = row_products(residuals, weight)
    blocks = np.zeros((block.max() + 1, *products.shape[1:]))
    np.add.at(blocks, block, products)
    G = products.sum(axis=0)
    return few_weights(G, most), weights_without(G, blocks)[block]


def by_weight(weights):
    """Return the indices of the machines that have a weight, the largest first."""
    return np.argsort(-weights, kind="stable")[: np.count_nonzero(weights)]


def simplex_weights(G):
    """Return the non-negative weights of sum 1 that minimise w'Gw."""
    u = unscaled_weights(G + ridge_of(G))
    return u / u.sum()


def weights_without(G, blocks):
    """Return the same weights for each matrix G minus a block, of shape (n_blocks, n_machines)."""
    A = G - blocks + ridge_of(G)
    u = np.linalg.solve(A, np.ones((*A.shape[:2], 1)))[..., 0]  # where all are positive, no bound is met
    for i in np.flatnonzero(u.min(axis=1) < 0):
        u[i] = unscaled_weights(A[i])
    return u / u.sum(axis=1, keepdims=True)


def unscaled_weights(A):
    """Return the u >= 0 that minimises u'Au / 2 - 1'u: the weights times a number, by their optimality conditions."""
    L = np.linalg.cholesky(A)
    return nnls(L.T, solve_triangular(L, np.ones(len(L)), lower=True), maxiter=100 * len(L))[0]


def ridge_of(G):
    """Return what is added to G, so that equal candidates have equal weights; if all is predicted exactly, all have."""
    mean = np.trace(G) / len(G)
    return (RELATIVE_RIDGE * mean if mean > 0 else 1.0) * np.eye(len(G))


def most_useful(G, most):
    """Return the candidates of the stack by their weights, then those of the stack of the others, and so on."""
    useful, left = [], np.arange(len(G))
    while len(useful) < most and len(left):
        weights = simplex_weights(G[np.ix_(left, left)])
        best = left[by_weight(weights)]
        useful.extend(best.tolist())
        left = np.setdiff1d(left, best)
    return useful[:most]


def few_weights(G, most):
    """Return the weights of the best stack of at most so many candidates, found by dropping one after the other."""
    left = np.arange(len(G))
    while True:
        weights = np.zeros(len(G))
        weights[left] = simplex_weights(G[np.ix_(left, left)])
        used = np.flatnonzero(weights)
        least = used[np.argmin(weights[used])]
        if len(used) <= most and weights[least] >= LEAST_WEIGHT:
            return weights
        left = left[left != least]


def combined(weights, values):
    """Return the weighted sum of arrays, of which one is held at a time."""
    values = iter(values)
    total = weights[0] * next(values)
    for weight, value in zip(weights[1:], values):
        total += weight * value
    return total
