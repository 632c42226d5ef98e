"""The rounds of a recursive feature machine: each is a metric, and the kernel machine that is fitted with it.

Their number is chosen on held-out rows.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from sklearn_ltdl.ntk._agop import gradient_blocks, ntk_agop, outer_products
from sklearn_ltdl.ntk._kernels import NTK, Transformed
from sklearn_ltdl.ntk._machine import Machine, MachineSettings, warn_of_data
from sklearn_ltdl.ntk._sample import Sample
from sklearn_ltdl.ntk._solvers import require_memory
from sklearn_ltdl.ntk._streamed import machine_of_rows
from sklearn_ltdl.rows._gather import Slices, gather
from sklearn_ltdl.rows._looks import NumberTarget, weights_of

FOLDS = 5
JUDGED_ROWS = 2000  # the number of rounds is chosen on at most so many random rows
STANDARD_ERRORS = 3.0  # least significant improvement; with 2, rounds are made that hurt on smooth additive targets
FEWEST_ROWS = 10  # with fewer, a standard error is meaningless and no round is made


class Round(NamedTuple):
    """One round: the metric M of any scale, M^(1/2) after scaling, and settings and machine for M^(1/2) x."""

    metric: np.ndarray
    root: np.ndarray
    settings: MachineSettings
    machine: Machine

    @classmethod
    def of(cls, M, X, y, weight, settings, start=None, near=False):
        """Fit the round of a metric M on distinct rows; `settings.depth` is the depth of the tangent kernel.

        The search for the penalty begins at `start`; `near` says that the best is expected there, as in `Machine.of`.
        """
        T = _root(M)
        settings = settings._replace(kernel=Transformed(NTK(settings.depth), T))
        return cls(M, T, settings, Machine.of(X, y, weight, settings, start=start, near=near))

    @classmethod
    def of_rows(cls, M, rows, looked, settings):
        """Fit the round of a metric M to rows that are read block by block."""
        T = _root(M)
        settings = settings._replace(kernel=Transformed(NTK(settings.depth), T))
        return cls(M, T, settings, machine_of_rows(rows, looked, settings))

    def agop(self, X, weight, unit):
        """Return the average gradient outer product at the rows of the fit, for outputs in units of `unit`."""
        T, machine, Z = self.root, self.machine, None
        if machine.solver == "exact":
            X, weight = machine.centres, machine.sample.weight  # the same rows, in the order of the coefficients
        else:
            Z = machine.centres @ T
        coef = machine.coef.reshape(len(machine.coef), -1) / unit
        return T @ ntk_agop(X @ T, weight, Z, coef, depth=self.settings.depth) @ T

    def agop_of_rows(self, rows, weight, unit):
        """Return the average gradient outer product at all rows, read block by block, of weights of a given sum."""
        machine = self.machine
        coef = machine.coef.reshape(len(machine.coef), -1) / unit
        state = self.root, machine.centres @ self.root, coef, self.settings.depth
        (total,) = gather(products_of_rows, rows, state)
        return self.root @ (total / weight) @ self.root

    def next_metric(self, X, weight, unit):
        """Return the metric of the next round."""
        agop = self.agop(X, weight, unit)
        return agop if np.trace(agop) > 0 else self.metric  # a constant prediction has no directions


def _root(M):
    """Return the symmetric root of a metric, scaled to the trace d."""
    values, vectors = eigh(M * (len(M) / np.trace(M)), check_finite=False)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def products_of_rows(block, state):
    """Return the sum of `outer_products` over the rows of a block; a statistic of `gather`."""
    T, *function = state
    weight, width = weights_of(block), function[1].shape[1] * len(T)

    def read(rows):
        return block.X[rows] @ T, weight[rows]

    return gather(outer_products, Slices(gradient_blocks(block.n_rows, width), read), tuple(function))


class Recursion(NamedTuple):
    """The rounds that were made, and predictions of held-out rows.

    Parameters
    ----------
    n_rounds : int
    cv_errors : ndarray of shape (n_tried,)
        Held-out error after 0, 1, ... rounds.
    last : Round
    agop : ndarray of shape (n_features, n_features)
        Average gradient outer product of the last round.
    targets, scores : ndarrays of shape (n, ...), of as many dimensions as the target
        Targets of some distinct rows, and their held-out predictions.
    weight : ndarray of shape (n,)
    """

    n_rounds: int
    cv_errors: np.ndarray
    last: Round
    agop: np.ndarray
    targets: np.ndarray
    scores: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, X, y, weight, unit, max_rounds, settings):
        """Choose the number of rounds on held-out rows, then make them with all rows.

        Parameters
        ----------
        X, y, weight : ndarrays of shapes (n, n_features), (n,) or (n, n_outputs), and (n,)
        unit : float or ndarray of shape (n_outputs,)
            Scale by which the errors and gradients of each output are divided.
        max_rounds : int
        settings : MachineSettings
        """
        require_memory(X.shape[1], 6, "The matrix has one row and one column per feature; use fewer features.")
        sample = Sample.of(X, y.reshape(len(y), -1), weight, None, precomputed=False)
        X, y, weight = X[sample.points], sample.targets.reshape(-1, *y.shape[1:]), sample.weight
        warn_of_data([NTK(settings.depth)], X)
        n_rounds, cv_errors, rows, held_out, starts = _chosen_rounds(X, y, weight, unit, max_rounds, settings)
        M = np.eye(X.shape[1])
        for start in starts[:n_rounds]:
            step = Round.of(M, X, y, weight, settings, start, near=True)
            M = step.next_metric(X, weight, unit)
            del step  # its smoother is as large as the Gram matrix
        last = Round.of(M, X, y, weight, settings, starts[n_rounds], near=True)
        agop = last.agop(X, weight, unit)
        if n_rounds == 0:  # M has seen no target: leave-one-out scores of all rows are valid
            return cls(n_rounds, cv_errors, last, agop, y, last.machine.left_out, weight)
        return cls(n_rounds, cv_errors, last, agop, y[rows], held_out, weight[rows])

    @classmethod
    def of_rows(cls, rows, looked, unit, max_rounds, settings):
        """Choose the number of rounds on a sample, and make them with all rows, read block by block.

        Parameters
        ----------
        rows : Rows
        looked : Looked
        unit, max_rounds, settings
            As in `of`.
        """
        if looked.left is not None:
            raise ValueError("groups are not left out together in recursions; leave groups out of scan.")
        drawn, flat = looked.drawn, looked.flat
        require_memory(drawn.X.shape[1], 6, "It is that of the gradients, a row a feature: give fewer features.")
        Y = looked.target.of(drawn)
        if isinstance(looked.target, NumberTarget):
            Y = looked.target.units.undo(Y)
        sample = Sample.of(drawn.X, Y, weights_of(drawn), None, precomputed=False)
        X, weight = drawn.X[sample.points], sample.weight
        y = sample.targets[:, 0] if flat else sample.targets
        if len(X) > 1:
            warn_of_data([NTK(settings.depth)], X)
        n_rounds, cv_errors, judged, held_out, _ = _chosen_rounds(X, y, weight, unit, max_rounds, settings)
        M = np.eye(X.shape[1])
        for done in range(n_rounds + 1):
            last = Round.of_rows(M, rows, looked, settings)
            agop = last.agop_of_rows(rows, looked.counts.weight, unit)
            M = agop if done < n_rounds and np.trace(agop) > 0 else M
        if n_rounds == 0:
            left_out = last.machine.left_out
            return cls(n_rounds, cv_errors, last, agop, Y[:, 0] if flat else Y, left_out, weights_of(drawn))
        return cls(n_rounds, cv_errors, last, agop, y[judged], held_out, weight[judged])


def _chosen_rounds(X, y, weight, unit, max_rounds, settings):
    """Return the number of rounds, the held-out errors of all, the judged rows, their predictions, and penalties."""
    if max_rounds == 0 or len(X) < FEWEST_ROWS:
        return 0, np.empty(0), None, None, [None]
    rows, errors, held_out, starts = _judge(X, y, weight, unit, max_rounds, settings)
    n_rounds = _best_round(errors, weight[rows])
    return n_rounds, np.average(errors, axis=1, weights=weight[rows]), rows, held_out[n_rounds], starts


def _judge(X, y, weight, unit, max_rounds, settings):
    """Return rows and, by round, their squared errors and predictions in cross-validation of M and of the fit.

    Also return, by round, the median of the penalties of the folds, near which that of all rows will be. The search for
    the penalty of a fold begins at that of the fold before, and ends where the leave-one-out error of its own rows is
    least.
    """
    rows = np.random.default_rng(settings.random_state).permutation(len(X))[:JUDGED_ROWS]
    folds = [(np.setdiff1d(rows, test), test) for test in np.array_split(rows, FOLDS)]
    steps, errors, held_out, penalties = [None] * FOLDS, [], [], []
    while len(errors) <= max_rounds:
        predictions = []
        for k, (train, test) in enumerate(folds):
            M = steps[k].next_metric(X[train], weight[train], unit) if errors else np.eye(X.shape[1])
            before = steps[max(k - 1, 0)]  # of this round; of the round before for the first fold
            start = before and before.machine.relative_alpha
            step = Round.of(M, X[train], y[train], weight[train], settings, start, near=k > 0 or len(errors) > 1)
            step = step._replace(machine=replace(step.machine, made=None))  # frees the Gram matrix
            predictions.append(step.machine.evaluate(X[test]))
            steps[k] = step
        penalties.append(float(np.median([step.machine.relative_alpha for step in steps])))
        held_out.append(np.concatenate(predictions))
        errors.append((((held_out[-1] - y[rows]) / unit) ** 2).reshape(len(rows), -1).sum(axis=1))
        if len(errors) > 1 and weight[rows] @ (errors[-2] - errors[-1]) <= 0:
            break
    return rows, np.array(errors), held_out, penalties


def _best_round(errors, weight):
    """Return the best round if it is significantly better than none, else 0; errors of shape (n_rounds, n_rows)."""
    best = int(np.argmin(errors @ weight))
    gains = errors[0] - errors[best]
    mean = np.average(gains, weights=weight)
    deviation = np.sqrt(np.sum((weight * (gains - mean)) ** 2)) / weight.sum()
    return best if mean > STANDARD_ERRORS * deviation else 0
