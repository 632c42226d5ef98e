r"""Any network at several scales of its output: :math:`\alpha (f - f_0)`, trained on squares over :math:`\alpha^2`.

At the start, the curvature in the weights and the largest stable step are then the same for all scales (Chizat,
Oyallon, Bach 2019, section 2). Optimisers that divide by the size of the gradient, such as Adam, would undo the scale.
Training therefore uses stochastic gradient descent with momentum, with a rate from the tangent kernel.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.metrics import accuracy_score, mean_squared_error, r2_score
from sklearn.utils import check_array

from sklearn_ltdl._targets import Standardisation, most_likely
from sklearn_ltdl.diagnostics._functions import function_of, module_of
from sklearn_ltdl.diagnostics._regime import moved
from sklearn_ltdl.diagnostics._views import NetworkFunction
from sklearn_ltdl.ntk import NTKKernelRegressor

MOMENTUM = 0.9
_POWER_ROWS = 200  # rows on which the stable step is estimated
_POWER_STEPS = 10
_CHECKED_ROWS = 20  # rows on which outputs are also computed one by one
KERNEL_ROWS = 500  # the change of the tangent kernel is measured on at most so many rows
_BLOWN_UP = 2.0  # training is unstable above so many times the initial loss
_HALVINGS = 3


class Task(NamedTuple):
    """Conversion between targets and outputs of the network.

    Parameters
    ----------
    classes : ndarray or None
        Classes; None for numeric targets.
    units : Standardisation or None
        Units of numeric targets.
    shape : tuple
        Shape of the target of one row; () for one column.
    """

    classes: np.ndarray | None
    units: Standardisation | None
    shape: tuple

    @classmethod
    def of(cls, y, classes, n_outputs):
        """Return the task of a target, or raise an error if it does not fit the outputs of the network."""
        known = np.unique(y) if classes else None
        wanted = (y[:1].size if known is None else len(known)) if not (classes and n_outputs == 1) else 1
        if n_outputs != wanted or (known is not None and n_outputs == 1 and len(known) != 2):
            what = "columns of y" if known is None else "classes in y"
            raise ValueError(
                f"estimator has {n_outputs} outputs per row; expected as many as there are {what}, "
                f"{y[:1].size if known is None else len(known)} (or one output for two classes)."
            )
        units = None if classes else Standardisation.of(y.reshape(len(y), -1), np.ones(len(y)), True)
        return cls(known, units, () if classes else y.shape[1:])

    def targets(self, y, n_outputs):
        """Return the training targets, (n_samples, n_outputs): standardised numbers, 0 and 1, or -1 and 1."""
        if self.classes is None:
            return self.units.apply(y.reshape(len(y), -1))
        codes = np.searchsorted(self.classes, y)
        return 2.0 * codes[:, None] - 1 if n_outputs == 1 else np.eye(n_outputs)[codes]

    def score(self, y, outputs):
        """Return the R2, or the accuracy."""
        if self.classes is None:
            return r2_score(y, self._numbers(outputs))
        return accuracy_score(y, most_likely(self.classes, outputs[:, 0] if outputs.shape[1] == 1 else outputs))

    def loss(self, y, outputs):
        """Return the mean squared error; for classes, that of the training targets."""
        if self.classes is None:
            return mean_squared_error(y, self._numbers(outputs))
        return mean_squared_error(self.targets(y, outputs.shape[1]), outputs)

    def _numbers(self, outputs):
        return self.units.undo(outputs).reshape(len(outputs), *self.shape)


@dataclass(frozen=True)
class Experiment:
    """One network with training rows and a budget, for any scale.

    Parameters
    ----------
    function : NetworkFunction
    start : tuple of ndarray
        Initial weights.
    X : ndarray of shape (n_samples, n_columns)
    targets : ndarray of shape (n_samples, n_outputs)
    epochs, batch_size : int
    seed : int
        Seed for the order of the rows, which is the same at every scale.
    """

    function: NetworkFunction
    start: tuple
    X: np.ndarray
    targets: np.ndarray
    epochs: int
    batch_size: int
    seed: int

    def rate(self):
        """Return half the largest stable step of plain descent, 1 / (largest curvature at the start)."""
        X = self.X[:: -(-len(self.X) // _POWER_ROWS)]
        pull = self.function.vjp(self.start, X)[1]
        rng, norm = np.random.default_rng(0), 0.0
        move = tuple(rng.standard_normal(layer.shape) for layer in self.start)
        for _ in range(_POWER_STEPS):
            size = np.sqrt(sum(np.sum(layer**2) for layer in move))
            image = self.function.tangent(self.start, tuple(layer / size for layer in move), X)
            norm = np.sum(image**2) / len(X)
            move = pull(image)
        if not 0 < norm < np.inf:
            raise ValueError(
                "The outputs of the network do not depend on its weights, or are not finite, at these rows, so there "
                "is no stable step. Standardise X, or check the initial weights."
            )
        return 1 / norm

    def trained(self, scale, rate):
        """Return the weights after the budget, and whether training was stable; an unstable rate is halved.

        Below scale 1 the rate decreases with the scale, so that the first step moves the weights as far as at scale 1.
        ``scale=inf`` trains the linear model around the start.
        """
        for halvings in range(_HALVINGS + 1):
            weights = self._run(scale, min(1.0, scale) * rate / 2**halvings)
            if weights is not None:
                return weights, True
        return self.start, False

    def outputs(self, weights, scale, X):
        """Return scale * (f - f0), or the linear model's outputs."""
        if np.isinf(scale):
            return self.linear(weights, X)
        return scale * (self.function.outputs(weights, X) - self.function.outputs(self.start, X))

    def linear(self, weights, X, scale=1.0):
        """Return the outputs of the linear model around the start."""
        move = tuple(layer - first for layer, first in zip(weights, self.start))
        return scale * self.function.tangent(self.start, move, X)

    def _run(self, scale, rate):
        """Return the weights after the budget, or None if the loss was not finite or rose far above its start."""
        rng, size = np.random.default_rng(self.seed), min(self.batch_size, len(self.X))
        weights, velocity = self.start, tuple(np.zeros(layer.shape) for layer in self.start)
        first = self.function.outputs(self.start, self.X)
        worst = _BLOWN_UP * np.mean(self.targets**2)
        for _ in range(self.epochs):
            order = rng.permutation(len(self.X))
            for i in range(0, len(order) - size + 1, size):
                rows = order[i : i + size]
                if np.isinf(scale):
                    outputs, pull = self.linear(weights, self.X[rows]), self.function.vjp(self.start, self.X[rows])[1]
                    slopes = outputs - self.targets[rows]
                else:
                    outputs, pull = self.function.vjp(weights, self.X[rows])
                    outputs = scale * (outputs - first[rows])
                    slopes = (outputs - self.targets[rows]) / scale
                most = max(worst, _BLOWN_UP * np.mean(self.targets[rows] ** 2))
                if not np.mean((outputs - self.targets[rows]) ** 2) <= most:
                    return None
                gradient = pull(slopes / size)
                velocity = tuple(MOMENTUM * v - rate * slope for v, slope in zip(velocity, gradient))
                weights = tuple(layer + v for layer, v in zip(weights, velocity))
        return weights

    def kernel_outputs(self, weights, X):
        """Return the predictions of ridge with the tangent kernel at the weights, with the penalty by leave-one-out."""
        machine = NTKKernelRegressor(kernel=partial(self.function.kernel, weights), random_state=0)
        return machine.fit(self.X, self.targets).predict(X).reshape(len(X), -1)


def rows_of(estimator, X, name="X"):
    """Return rows as one matrix, and their layout for a module of PyTorch (None for a function of JAX)."""
    if isinstance(estimator, tuple):
        return check_array(X, input_name=name, dtype=np.float64), None
    from sklearn_ltdl.diagnostics import _torch_rows

    return _torch_rows.packed(X, name)


def network_of(estimator, X, layout, seed):
    """Return the function that a factory makes, and its initial weights."""
    if isinstance(estimator, tuple):
        init, apply_fn = estimator
        parameters = init(seed)
        found = function_of(apply_fn, parameters, parameters)
    else:
        from sklearn_ltdl.diagnostics import _torch

        network = _torch.made_by(estimator, seed)
        found = module_of(network, None, X, layout)
    found.trained(X[:_CHECKED_ROWS], None)  # raises an error unless rows are treated separately
    return found.applied, found.after


def columns_of(estimator, training, held_out, layout, scales, *, classes, epochs, batch_size, seed):
    """Return the fields of a ScalePath for a factory.

    Parameters
    ----------
    estimator : factory
    training, held_out : (X, y)
        Matrices of rows, and targets.
    layout : Layout or None
    scales : ndarray
    classes : bool
        Whether y holds classes.
    epochs, batch_size, seed : int

    Returns
    -------
    fields : dict
    """
    (X, y), (X_test, y_test) = training, held_out
    function, start = network_of(estimator, X, layout, seed)
    n_outputs = function.outputs(start, X[:2]).shape[1]
    task = Task.of(y, classes, n_outputs)
    experiment = Experiment(function, start, X, task.targets(y, n_outputs), epochs, batch_size, seed)
    rate, some = experiment.rate(), X[np.sort(np.random.default_rng(seed).permutation(len(X))[:KERNEL_ROWS])]
    first, points = function.kernel(start, some), []
    for scale in scales:
        weights, stable = experiment.trained(scale, rate)
        outputs, ridge = experiment.outputs(weights, scale, X_test), experiment.kernel_outputs(weights, X_test)
        change = function.kernel(weights, some) - first
        points.append(
            {
                "scores": task.score(y_test, outputs),
                "losses": task.loss(y_test, outputs),
                "train_losses": task.loss(y, experiment.outputs(weights, scale, X)),
                "displacements": moved(start, weights),
                "kernel_changes": np.linalg.norm(change) / np.linalg.norm(first),
                "converged": stable,
                "linear_scores": task.score(y_test, experiment.linear(weights, X_test, scale)),
                "kernel_scores": task.score(y_test, ridge),
                "kernel_losses": task.loss(y_test, ridge),
            }
        )
    limit = experiment.outputs(experiment.trained(np.inf, rate)[0], np.inf, X_test)
    ridge = experiment.kernel_outputs(start, X_test)
    return {name: np.array([point[name] for point in points]) for name in points[0]} | {
        "linearized_score": task.score(y_test, limit),
        "linearized_loss": task.loss(y_test, limit),
        "initial_kernel_score": task.score(y_test, ridge),
        "initial_kernel_loss": task.loss(y_test, ridge),
    }
