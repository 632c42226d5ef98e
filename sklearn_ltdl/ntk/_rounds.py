"""The rounds of a recursive feature machine, of a metric and a number that held-out rows choose.

The machine of the last round is one machine of a stack (`_stack`), beside those without a metric. Its residuals are
those of held-out rows, which its metric has not seen: leave-one-out given the metric would be optimistic.
"""

from typing import NamedTuple

import numpy as np

from sklearn_ltdl.ntk._agop import gradient_blocks, ntk_agop, outer_products
from sklearn_ltdl.ntk._held_out import (
    CANDIDATES,
    TYPICAL_ALPHA,
    Choice,
    choose,
    fit,
    fit_folds,
    metric_root,
    outer_product,
    product_of_squares,
)
from sklearn_ltdl.ntk._kernels import NTK, Transformed
from sklearn_ltdl.ntk._machine import Machine
from sklearn_ltdl.ntk._problem import MachineSettings, Posed, warn_of_data
from sklearn_ltdl.ntk._sample import Sample
from sklearn_ltdl.ntk._solvers import ROUNDING, require_memory
from sklearn_ltdl.ntk._stack import Mixture, best_kernel, by_weight, fitted, most_machines, nested_weights
from sklearn_ltdl.ntk._streamed import machine_of_rows
from sklearn_ltdl.rows._gather import Slices, gather
from sklearn_ltdl.rows._looks import NumberTarget, weights_of

JUDGED_ROWS = 2000  # metric and number of rounds are chosen on at most so many random rows
FEWEST_ROWS = 10  # with fewer, a standard error is meaningless and no round is made


class Round(NamedTuple):
    """One round: the root T of the metric, scaled to the trace d, and settings and machine for T x."""

    root: np.ndarray
    settings: MachineSettings
    machine: Machine

    @classmethod
    def of(cls, root, X, y, weight, settings, groups=None, start=None, near=False):
        """Fit on distinct rows, with the tangent kernel of the settings.

        The search for the penalty begins at `start`; `near` says that the best is expected there, as in `Machine.of`.
        """
        settings = settings._replace(kernel=Transformed(settings.kernel, root))
        return cls(root, settings, Machine.of(X, y, weight, settings, groups, start, near))

    @classmethod
    def of_rows(cls, root, rows, looked, settings):
        """Fit to rows that are read block by block."""
        settings = settings._replace(kernel=Transformed(settings.kernel, root))
        return cls(root, settings, machine_of_rows(rows, looked, settings))

    def agop(self, X, weight, unit):
        """Return the average gradient outer product at the rows of the fit, for outputs in units of `unit`."""
        T, machine = self.root, self.machine
        coef = machine.coef.reshape(len(machine.coef), -1) / unit
        if machine.solver == "exact":  # the same rows, in the order of the coefficients
            return outer_product(machine.centres, machine.sample.weight, T, coef, self.settings)
        return T @ ntk_agop(X @ T, weight, machine.centres @ T, coef, depth=self.settings.depth) @ T

    def agop_of_rows(self, rows, weight, unit):
        """Return the average gradient outer product at all rows, read block by block, of weights of a given sum."""
        machine = self.machine
        coef = machine.coef.reshape(len(machine.coef), -1) / unit
        state = self.root, machine.centres @ self.root, coef, self.settings.depth
        (total,) = gather(products_of_rows, rows, state)
        return self.root @ (total / weight) @ self.root


def products_of_rows(block, state):
    """Return the sum of `outer_products` over the rows of a block; a statistic of `gather`."""
    T, *function = state
    weight, width = weights_of(block), function[1].shape[1] * len(T)

    def read(rows):
        return block.X[rows] @ T, weight[rows]

    return gather(outer_products, Slices(gradient_blocks(block.n_rows, width), read), tuple(function))


class Recursion(NamedTuple):
    """The rounds that were made, the machine that predicts, and predictions of held-out rows.

    Parameters
    ----------
    metric : str
        Candidate that was chosen, or 'none'.
    n_rounds : int
    cv_errors : dict of ndarrays of shape (n_tried,)
        Held-out error of each candidate after 0, 1, ... rounds.
    ranks : dict of floats
        Effective rank of the first metric of each candidate.
    last : Round
    agop : ndarray of shape (n_features, n_features)
        Average gradient outer product of the last round.
    machine : Machine or Mixture
        That of the last round, alone or stacked with machines without a metric.
    targets, scores : ndarrays of shape (n, ...), of as many dimensions as the target
        Targets of some distinct rows, and their held-out predictions.
    weight : ndarray of shape (n,)
    """

    metric: str
    n_rounds: int
    cv_errors: dict
    ranks: dict
    last: Round
    agop: np.ndarray
    machine: Machine | Mixture
    targets: np.ndarray
    scores: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, X, y, weight, groups, unit, max_rounds, settings, squares):
        """Choose metric and number of rounds on held-out rows, then make the rounds with all rows.

        Parameters
        ----------
        X, y, weight : ndarrays of shapes (n, n_features), (n,) or (n, n_outputs), and (n,)
        groups : ndarray of shape (n,) or None
            Rows of the same group are left out together.
        unit : float or ndarray of shape (n_outputs,)
            Scale by which the errors and gradients of each output are divided.
        max_rounds : int
        settings : MachineSettings
        squares : bool
            Whether squared residuals may give the first metric.
        """
        require_memory(X.shape[1], 6, "The matrix has one row and one column per feature; use fewer features.")
        sample = Sample.of(X, y.reshape(len(y), -1), weight, groups, precomputed=False)
        X, y, weight = X[sample.points], sample.targets.reshape(-1, *y.shape[1:]), sample.weight
        groups, rounds = None if groups is None else sample.block, of_rounds(settings)
        if not settings.stacks:  # else the stack does
            warn_of_data([rounds.kernel], X)
        judged = Judged.of(X, y, weight, groups, unit, squares, max_rounds, rounds)
        exact, n_rounds, Y = settings.is_exact(len(X)), judged.choice.n_rounds, y.reshape(len(y), -1) / unit

        def product(root, alpha):
            if exact:
                return outer_product(X, weight, root, fit(X, Y, weight, root, rounds, alpha).coef, rounds)
            return Round.of(root, X, y, weight, rounds, groups).agop(X, weight, unit)

        def solve(kernel, alpha):
            posed, rng = Posed.of(X, y, weight, settings, groups), np.random.default_rng(settings.random_state)
            return Machine.of_kernel(posed, kernel, np.array([np.nan]), rng, alpha, near=True)

        if n_rounds == 0 and judged.first and exact and len(judged.rows) == len(X):
            last = judged.first
        else:
            root = judged.last_root(unit, rounds, product)
            last = Round.of(root, X, y, weight, rounds, groups, judged.choice.alphas[-1], near=True)
        made = *judged.said, last, last.agop(X, weight, unit)
        if n_rounds and settings.stacks:
            return cls(*made, *judged.mixed(last, unit, settings, len(X), solve))
        if n_rounds:
            return cls(*made, last.machine, *judged.held_out(unit))
        machine = fitted(X, y, weight, settings, groups) if settings.stacks else last.machine
        return cls(*made, machine, y, machine.left_out, weight)  # M has seen no target: leave-one-out scores are valid

    @classmethod
    def of_rows(cls, rows, looked, unit, max_rounds, settings):
        """Choose metric and number of rounds on a sample, and make the rounds with all rows, read block by block.

        Parameters
        ----------
        rows : Rows
        looked : Looked
        unit, max_rounds, settings
            As in `of`.
        """
        drawn, flat, network = looked.drawn, looked.flat, of_rounds(settings)
        require_memory(drawn.X.shape[1], 6, "It is that of the gradients, a row a feature: give fewer features.")
        sample = Sample.of(drawn.X, looked.targets_of(drawn), weights_of(drawn), drawn.groups, precomputed=False)
        X, weight, groups = drawn.X[sample.points], sample.weight, None if looked.left is None else sample.block
        y = sample.targets[:, 0] if flat else sample.targets
        if len(X) > 1 and not settings.stacks:
            warn_of_data([network.kernel], X)
        squares = isinstance(looked.target, NumberTarget)
        judged = Judged.of(X, y, weight, groups, unit, squares, max_rounds, network)

        def product(root, alpha):
            return Round.of_rows(root, rows, looked, network).agop_of_rows(rows, looked.counts.weight, unit)

        def solve(kernel, alpha):
            return machine_of_rows(rows, looked, settings, kernel)

        last = Round.of_rows(judged.last_root(unit, network, product), rows, looked, network)
        made = *judged.said, last, last.agop_of_rows(rows, looked.counts.weight, unit)
        if judged.choice.n_rounds and settings.stacks:
            centres = settings._replace(solver="nystroem")
            return cls(*made, *judged.mixed(last, unit, centres, looked.counts.n, solve))
        if judged.choice.n_rounds:
            return cls(*made, last.machine, *judged.held_out(unit))
        machine = machine_of_rows(rows, looked, settings) if settings.stacks else last.machine
        Y, weight = looked.targets_of(looked.judging), weights_of(looked.judging)
        return cls(*made, machine, Y[:, 0] if flat else Y, machine.left_out, weight)


def of_rounds(settings):
    """Return the settings of the rounds: the tangent kernel of one network, of depth 1 where none is given."""
    depth = 1 if settings.depth is None else settings.depth
    return settings._replace(kernel=NTK(depth), depth=depth)


class Entry(NamedTuple):
    """A machine that may be in a stack.

    Parameters
    ----------
    held_out : ndarray of shape (n_judged, ...)
        Predictions of rows that it has not seen.
    machine : Machine or None
        None if it is still to be solved with all rows.
    kernel, alpha : Kernel, float
        What to solve it with: the penalty, relative to the kernel's mean diagonal, is one to search from.
    """

    held_out: np.ndarray
    machine: Machine | None
    kernel: object = None
    alpha: float | None = None


class Judged(NamedTuple):
    """At most `JUDGED_ROWS` distinct rows, and what they choose.

    Parameters
    ----------
    rows : ndarray of int
    X, y, weight, groups : ndarrays
        No `groups` if rows are left out alone.
    first : Round or None
        Without a metric; None if no round was tried.
    choice : Choice
    """

    rows: np.ndarray
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    groups: np.ndarray | None
    first: Round | None
    choice: Choice

    @classmethod
    def of(cls, X, y, weight, groups, unit, squares, max_rounds, settings):
        """Choose by the settings of the fit, but with the whole Gram matrix."""
        rows = np.sort(np.random.default_rng(settings.random_state).permutation(len(X))[:JUDGED_ROWS])
        X, y, weight, settings = X[rows], y[rows], weight[rows], settings._replace(solver="exact")
        groups = None if groups is None else groups[rows]
        is_constant = np.all(np.ptp(y, axis=0) <= 8 * ROUNDING * np.abs(y).max(axis=0))
        if max_rounds == 0 or len(X) < FEWEST_ROWS or X.shape[1] == 1 or is_constant:  # one column has one metric
            return cls(rows, X, y, weight, groups, None, Choice("none", 0, {}, np.empty(0), [None], {}, [], []))
        first = Round.of(np.eye(X.shape[1]), X, y, weight, settings, groups)
        names = [name for name, candidate in CANDIDATES.items() if squares or not candidate.squares]
        Y = y.reshape(len(y), -1) / unit
        return cls(rows, X, y, weight, groups, first, choose(X, Y, weight, first.machine, names, max_rounds, settings))

    @property
    def said(self):
        """Return the metric, the number of rounds, mean held-out errors and effective ranks."""
        errors = {name: rounds @ self.weight / self.weight.sum() for name, rounds in self.choice.errors.items()}
        return self.choice.name, self.choice.n_rounds, errors, self.choice.ranks

    def held_out(self, unit):
        """Return the targets, their held-out predictions in the same units, and the weights."""
        return self.y, (self.choice.held_out * unit).reshape(self.y.shape), self.weight

    def mixed(self, last, unit, settings, n, solve):
        """Return the stack of the last round's machine and others, and targets, held-out predictions and weights.

        Parameters
        ----------
        last : Round
        unit, settings
            As in `Recursion.of`.
        n : int
            Number of all rows.
        solve : callable
            Returns the machine of all rows for a kernel and the penalty from which to search.
        """
        y, held_out, weight = self.held_out(unit)
        entries = [Entry(held_out, last.machine), self.smooth(last.root, unit), *self.others(settings, n)]
        predictions = np.array([entry.held_out for entry in entries])
        residuals = ((y - predictions) / unit).reshape(*predictions.shape[:2], -1)
        weights, of_rows = nested_weights(residuals, weight, self.first.machine.sample.block, most_machines(n))
        order = by_weight(weights)
        machines = [entries[k].machine or solve(entries[k].kernel, entries[k].alpha) for k in order]
        return Mixture(machines, weights[order]), y, np.einsum("ik,ki...->i...", of_rows, predictions), weight

    def smooth(self, root, unit):
        """Return the entry with the kernel of a GELU network in the metric; it needs fewer rows for smooth targets."""
        choice, Y, kernel = self.choice, self.y.reshape(len(self.y), -1) / unit, NTK(1, activation="gelu")
        _, held_out, alpha = fit_folds(
            *(self.X, Y, self.weight, choice.folds, choice.roots, self.first.machine.sample.block),
            *(MachineSettings(kernel=kernel), TYPICAL_ALPHA, (4, 1)),
        )
        return Entry((held_out * unit).reshape(self.y.shape), None, Transformed(kernel, root), alpha)

    def others(self, settings, n):
        """Return the entries without a metric: the machines of a stack, or if the fit has centres the best kernel's."""
        exact, settings = settings.is_exact(n), settings._replace(solver="exact")
        if exact:
            machines = fitted(self.X, self.y, self.weight, settings, self.groups).machines
        else:
            posed = Posed.of(self.X, self.y, self.weight, settings, self.groups)
            rng = np.random.default_rng(settings.random_state)
            machines = [Machine.of_kernel(posed, *best_kernel(self.X, posed.sample, settings, rng), rng)]
        done = exact and n == len(self.X)
        return [Entry(m.left_out, m if done else None, m.kernel, m.relative_alpha) for m in machines]

    def last_root(self, unit, settings, product):
        """Return the root of the last metric, where ``product(root, alpha)`` is the outer product of all rows."""
        choice, root = self.choice, np.eye(self.X.shape[1])
        alphas = choice.alphas[: choice.n_rounds]
        if alphas and CANDIDATES[choice.name].squares:
            residuals = ((self.y - self.first.machine.left_out) / unit).reshape(len(self.y), -1)
            M = product_of_squares(self.X, np.sum(residuals**2, axis=1), self.weight, settings)
            alphas, root = alphas[1:], metric_root(M, diagonal=True)
        for alpha in alphas:
            root = metric_root(product(root, alpha), CANDIDATES[choice.name].diagonal)
        return root
