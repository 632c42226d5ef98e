"""One round of a recursive feature machine: a metric, and the kernel machine that is fitted with it."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from sklearn_ltdl.ntk._agop import gradient_blocks, ntk_agop, outer_products
from sklearn_ltdl.ntk._kernels import NTK, Transformed
from sklearn_ltdl.ntk._machine import Machine, MachineSettings
from sklearn_ltdl.ntk._streamed import machine_of_rows
from sklearn_ltdl.rows._gather import Slices, gather
from sklearn_ltdl.rows._looks import weights_of


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
