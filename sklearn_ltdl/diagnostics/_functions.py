"""Networks that are given as a function of their weights: a function of JAX, or a module of PyTorch."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array

from sklearn_ltdl._targets import checked_list
from sklearn_ltdl.diagnostics._views import NetworkFunction, TrainedNetwork, dense

_ONE_HOT = "y has a single 1 in each row and is treated as numeric. If it encodes classes, give one column of classes."


class Function(NamedTuple):
    """A function of JAX, or a module of PyTorch, and its weights before and after training."""

    applied: NetworkFunction
    before: tuple
    after: tuple
    names: tuple
    kind: str = "function of JAX"
    call: str = "apply_fn(parameters, X)"
    advice: str = (
        "It must take parameters like `before` and `after`, use jax.numpy, and return an array of shape (n_samples,) "
        "or (n_samples, n_outputs)."
    )

    def notes(self, X):
        """Return notes on how the kernel is computed."""
        return self.applied.describe(self.after, X)

    def classes_of(self, X, y, classes):
        """Return the classes whose scores the outputs are, or None for numeric targets."""
        n_outputs = self._outputs(self.after, X).shape[1]
        return _guessed_classes(y, n_outputs) if classes is None else _checked_classes(classes, n_outputs)

    def trained(self, X, classes):
        """Return the TrainedNetwork, if the function treats each row separately."""
        for weights, when in ((self.before, "before"), (self.after, "after")):
            outputs = self._outputs(weights, X)
            alone = self.applied.outputs_of_rows(weights, X)
            with np.errstate(over="ignore"):
                is_single = np.array_equal(outputs, outputs.astype(np.float32))  # whose rounding is no sign of anything
            if np.abs(outputs - alone).max() > (1e-3 if is_single else 1e-6) * np.abs(outputs).max():
                raise ValueError(
                    f"{self.call.partition('(')[0]} must treat each row separately: with the parameters {when} "
                    "training, its output for a single row differs from its output for the same row among others. "
                    "Fix its batch statistics, and remove randomness such as dropout."
                )
        n_outputs = outputs.shape[1]
        return TrainedNetwork(self.applied, self.before, self.after, self.names, n_outputs, self.kind, classes)

    def _outputs(self, weights, X):
        try:
            self.applied.check(weights, dense(X))
            return self.applied.outputs(weights, dense(X))
        except Exception as error:
            raise ValueError(
                f"{self.call} failed for X of shape {X.shape} in float64, or cannot be differentiated: {error}. "
                f"{self.advice}"
            ) from error


def notes_on_scores(trained, X, y):
    """Return notes if outputs are not class scores, or if a numeric target may encode classes."""
    if trained.classes is None:
        one_hot = y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()
        return [_ONE_HOT] if one_hot else []
    outputs = trained.function.outputs(trained.after, X)
    sums = outputs.sum(axis=1) if trained.n_outputs > 1 else np.ones(len(X))
    if np.all((outputs >= 0) & (outputs <= 1)) and np.abs(sums - 1).max() < 1e-4:
        what = "probabilities"
    elif trained.n_outputs > 1 and np.abs(np.exp(np.minimum(outputs, 1)).sum(axis=1) - 1).max() < 1e-4:
        what = "logarithms of probabilities"
    else:
        return []
    return [
        f"The outputs look like {what}, but the report needs scores. Remove softmax or sigmoid from the network, or "
        "from forward=."
    ]


def function_of(apply_fn, before, after):
    """Return the Function for a function of JAX."""
    from sklearn_ltdl.diagnostics import _jax

    if before is None or after is None:
        raise ValueError(
            "A function of JAX needs its parameters before and after training: give trees of arrays as `before` and "
            "`after`, for apply_fn(before, X) and apply_fn(after, X)."
        )
    first, names, tree = _jax.leaves_of(before)
    last, _, other = _jax.leaves_of(after)
    if tree != other:
        raise ValueError(f"before and after must be trees with the same structure; got {tree} and {other}.")
    real = [_jax.is_real(old) or _jax.is_real(new) for old, new in zip(first, last)]
    if isinstance(after, Mapping) and "params" in after:  # Flax: batch_stats and others are not weights
        real = [is_real and name.startswith("params.") for name, is_real in zip(names, real)]
    fixed = tuple(None if is_real else leaf for leaf, is_real in zip(last, real))
    weights = [(name, old, new) for name, old, new, is_real in zip(names, first, last, real) if is_real]
    for name, old, new in zip(names, first, last):
        if _jax.is_complex(old) or _jax.is_complex(new):
            raise ValueError(f"{name} is complex; a report needs real weights. Split it into real and imaginary parts.")
    for name, old, new in weights:
        if np.shape(old) != np.shape(new):
            raise ValueError(
                f"{name} has shape {np.shape(old)} before training and {np.shape(new)} after; they must be equal."
            )
        if not (np.all(np.isfinite(old)) and np.all(np.isfinite(new))):
            raise ValueError(f"{name} is not finite before or after training; a report needs finite weights.")
    if sum(np.size(new) for _, _, new in weights) == 0:
        raise ValueError("before has no floating-point parameters, so there are no weights.")
    names, first, last = zip(*weights)
    as_float = (tuple(np.asarray(leaf, dtype=float) for leaf in leaves) for leaves in (first, last))
    return Function(_jax.Applied(apply_fn, tree, fixed), *as_float, names)


def module_of(model, before, X, layout):
    """Return the Function for a module of PyTorch, or for a TorchNetwork."""
    from sklearn_ltdl.diagnostics import _torch
    from sklearn_ltdl.diagnostics._torch_start import bare

    if not isinstance(model, _torch.TorchNetwork):
        model = _torch.TorchNetwork(model, before)
    elif before is not None:
        raise ValueError("before is part of the TorchNetwork. Leave it out here.")
    advice = (
        "The module is called with the given rows, with real numbers in its own precision. Give rows that it accepts, "
        "or set how it is called with TorchNetwork(module, before, forward=)."
    )
    kind = type(bare(model.module)).__name__
    return Function(*model.function(X, layout), f"{kind} of PyTorch", "The module(X)", advice)


def _checked_classes(classes, n_outputs):
    classes = check_array(checked_list(classes, "classes"), ensure_2d=False, dtype=None, input_name="classes")
    if classes.ndim != 1 or len(classes) != max(2, n_outputs) or np.any(classes[1:] <= classes[:-1]):
        raise ValueError(
            f"classes must be the {max(2, n_outputs)} classes of the {n_outputs} outputs of the network, different and "
            f"in increasing order; got {classes.tolist()}."
        )
    return classes


def _guessed_classes(y, n_outputs):
    """Guess the classes whose scores the outputs are; return None if they predict numbers."""
    if y.ndim == 2 and y.shape[1] == n_outputs > 1:
        return None
    y = y.ravel()
    found = sorted(set(y.tolist()), key=lambda label: (str(type(label)), label))
    if n_outputs == 1 and y.dtype.kind in "iuf" and (y.dtype.kind == "f" or len(found) != 2):
        return None
    if n_outputs > 1 and y.dtype.kind in "iu" and found[0] == 0 and found[-1] < n_outputs:
        return np.arange(n_outputs)
    if len(found) != max(2, n_outputs) or (n_outputs == 1 and y.dtype.kind in "iu"):
        raise ValueError(
            f"It is not clear whether the network predicts numbers or classes: it has {n_outputs} outputs per row, and "
            f"y has {len(found)} distinct values. Give all classes in increasing order as classes=, or numeric "
            "targets of type float with one column per output."
        )
    return np.array(found)
