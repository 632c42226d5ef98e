"""A module of PyTorch as a function of its weights: outputs, tangent kernel and tangent at any weights.

The kernel is computed by `_torch_layers`. Other parameters, such as a weight that is used outside its module, use plain
gradients. The kernel of three rows is computed in both ways as a check.
"""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_ltdl.diagnostics._torch_layers import BATCH_NORMS, layer_gram, recorded
from sklearn_ltdl.diagnostics._torch_rows import Layout
from sklearn_ltdl.diagnostics._views import BY_PLAIN_GRADIENTS, directions, notes_on_outputs

_CHECKED_ROWS = 3


@dataclass(frozen=True, eq=False)
class Function:
    """A module as a function of its weights, which are vectors, one per layer.

    Parameters
    ----------
    called : module
        A copy of the caller's module, in eval mode.
    layers : tuple of tuple of str
        Names of the parameters in each vector.
    shapes : dict of str to tuple
    layout : Layout
    states : (before, after)
        Weights before and after training.
    fixed : (dict, dict)
        All other parameters and buffers, before and after training.
    batch_norm, reference, device, dtype, batch_size, memory, mode, n_probes : parameters of TorchNetwork
    notes : list of str
    """

    called: nn.Module
    layers: tuple
    shapes: dict
    layout: Layout
    states: tuple
    fixed: tuple
    batch_norm: str
    reference: np.ndarray
    device: Any
    dtype: Any
    batch_size: int
    memory: int
    mode: str
    n_probes: int
    notes: list = field(default_factory=list)
    _statistics: dict = field(default_factory=dict)

    def check(self, weights, X):
        """Call the module on two rows, to raise its errors."""
        self.outputs(weights, X[:2])

    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""
        state = self._state(weights)
        with torch.no_grad(), _no_fast_path():
            return np.concatenate([_array(self._at(state, rows)[:n]) for rows, n in self._batches(X)])

    def outputs_of_rows(self, weights, X):
        """Return the outputs computed row by row, each row with a copy of itself."""
        state, found = self._state(weights), []
        with torch.no_grad(), _no_fast_path():
            for row in X:
                found.append(_array(self._at(state, self._tensor(np.stack([row, row])))[:1]))
        return np.concatenate(found)

    def tangent(self, weights, move, X):
        """Return the derivative of the outputs at `weights` along a change of the weights."""
        state, along = self._state(weights), self._tensors(move)
        first = {name: state[name] for name in along}

        def at(rows):
            return lambda some: self._at(state | some, rows)

        with _differentiable():
            return np.concatenate([_array(_jvp(at(rows), first, along)[:n]) for rows, n in self._batches(X)])

    def kernel(self, weights, X, Z=None):
        """Return the tangent kernel between rows of `X` and `Z` (default: `X`), averaged over outputs."""
        if self.mode == "sketch":
            images = [self._probed(weights, rows) for rows in ((X,) if Z is None else (X, Z))]
            return images[0] @ images[-1].T / self.n_outputs
        gram = (self._by_layers if self.structured else self._plain)(weights, X, Z)
        return (gram + gram.T) / 2 if Z is None else gram

    def vjp(self, weights, X):
        """Return the outputs, and the transposed tangent, from slopes in the outputs to a change of the weights."""
        state = self._state(weights)
        needing = {name: state[name].detach().requires_grad_() for name in self.shapes}
        with _differentiable():
            outputs = self._at(state | needing, self._tensor(X))

        def transposed(slopes):
            slopes = torch.as_tensor(slopes).to(outputs)
            found = torch.autograd.grad(
                outputs,
                [*needing.values()],
                slopes,
                retain_graph=True,  # the function may be called again
                allow_unused=True,
                materialize_grads=True,
            )
            return self.weights_of(dict(zip(needing, found)))

        return _array(outputs), transposed

    def input_gradients(self, weights, X):
        """Return input gradients, (n_samples, n_outputs, n_columns); None if not all inputs are real numbers."""
        if not self.layout.is_real:
            return None
        state, found = self._state(weights), []
        with _differentiable():
            for rows, n in self._batches(X):
                rows = rows.requires_grad_()
                outputs = self._at(state, rows)
                slopes = [_slope(outputs[:, k].sum(), rows, keep=True) for k in range(outputs.shape[1])]
                found.append(_array(torch.stack(slopes, dim=1)[:n]))
        return np.concatenate(found)

    def neurons(self, weights, X):
        """Return None: a module does not give access to its pre-activations."""

    def slope_and_bend(self, weights, X):
        """Return None: the second derivative would be too expensive."""

    def weights_of(self, state):
        """Return the weights of a state_dict."""
        return tuple(np.concatenate([_array(state[name]).ravel() for name in names]) for names in self.layers)

    @cached_property
    def n_outputs(self):
        """Number of outputs per row."""
        return self.outputs(self.states[1], self.reference[:2]).shape[1]

    @cached_property
    def structured(self):
        """Whether the kernel by layers is right, checked by plain gradients on three rows."""
        rows = self.reference[:_CHECKED_ROWS]
        weights = self.states[1]
        plain = self._plain(weights, rows)
        try:
            gap = np.abs(self._by_layers(weights, rows) - plain).max()
        except (RuntimeError, NotImplementedError):
            gap = np.inf
        if gap <= (1e-6 if self.dtype == torch.float64 else 1e-3) * np.abs(plain).max():
            return True
        self.notes.append(BY_PLAIN_GRADIENTS)
        return False

    def describe(self, weights, X):
        """Return notes on how the kernel is computed."""
        if self.mode == "sketch":
            self.notes.append(f"The kernels are approximated with {self.n_probes} random directions of the weights.")
        else:
            _ = self.structured
            self.notes.extend(notes_on_outputs(self.n_outputs))
        return self.notes

    def _tensor(self, X):
        return torch.as_tensor(np.ascontiguousarray(X)).to(self.device, self.dtype if self.layout.is_real else None)

    def _batches(self, X):
        """Yield rows as tensors, at least two at a time, and the number of rows that count."""
        for i in range(0, len(X), self.batch_size):
            rows = X[i : i + self.batch_size]
            yield self._tensor(np.repeat(rows, 2, axis=0) if len(rows) == 1 else rows), len(rows)

    def _at(self, state, rows):
        """Return the outputs of packed rows, of shape (n, n_outputs)."""
        inputs = self.layout.rows(rows, self.dtype)
        state = {f"module.{name}": value for name, value in state.items()}
        outputs = torch.func.functional_call(self.called, state, (inputs,))
        if not isinstance(outputs, torch.Tensor):
            raise ValueError(
                f"the module returned a {type(outputs).__name__}, not a tensor; select the outputs with "
                "TorchNetwork(module, before, forward=lambda module, rows: ...)"
            )
        if outputs.numel() == len(rows):
            return outputs.reshape(len(rows), 1)
        if outputs.ndim == 1 and len(rows) == 1:  # a module that squeezes its output, for one row
            return outputs[None]
        if outputs.ndim != 2 or len(outputs) != len(rows):
            raise ValueError(
                f"its result has shape {tuple(outputs.shape)} for {len(rows)} rows; select the outputs with "
                "TorchNetwork(module, before, forward=lambda module, rows: ...)"
            )
        return outputs

    def _tensors(self, weights):
        """Convert vectors, one per layer, to tensors by name."""
        found = {}
        for names, vector in zip(self.layers, weights, strict=True):
            start = 0
            for name in names:
                size = int(np.prod(self.shapes[name], dtype=int))
                values = np.array(vector[start : start + size]).reshape(self.shapes[name])
                found[name] = torch.as_tensor(values).to(self.device, self.dtype)
                start += size
        return found

    def _state(self, weights):
        """Return all parameters and buffers for given weights."""
        tensors = self._tensors(weights)
        if self.batch_norm == "stored" and all(map(np.array_equal, weights, self.states[0])):
            return self.fixed[0] | tensors
        if self.batch_norm == "recalibrate":
            return self.fixed[1] | tensors | self._recalibrated(weights, tensors)
        return self.fixed[1] | tensors

    def _recalibrated(self, weights, tensors):
        """Return the batch statistics of the reference rows at the weights, from one pass in training mode."""
        key = tuple(map(id, weights))
        if key not in self._statistics:
            norms = [part for part in self.called.modules() if isinstance(part, BATCH_NORMS)]
            names = [
                f"{name}.{which}"
                for name, part in self.called.module.named_modules()
                if isinstance(part, BATCH_NORMS)
                for which in ("running_mean", "running_var")
            ]
            names = [name.removeprefix(".") for name in names]
            state = {name: value.clone() for name, value in (self.fixed[1] | tensors).items()}
            momentum = [part.momentum for part in norms]
            try:
                for part in norms:
                    part.train()
                    part.momentum = 1.0
                with torch.no_grad():
                    self._at(state, self._tensor(self.reference))
            finally:
                for part, old in zip(norms, momentum):
                    part.eval()
                    part.momentum = old
            self._statistics[key] = (weights, {name: state[name] for name in names})  # keeps the ids alive
        return self._statistics[key][1]

    def _probed(self, weights, X):
        """Return the derivatives along random directions, of shape (n, n_outputs * n_probes)."""
        rng = np.random.default_rng(0)
        images = []
        for _ in range(self.n_probes):
            direction = tuple(rng.standard_normal(layer.shape) for layer in weights)
            images.append(self.tangent(weights, direction, X))
        return np.hstack(images) / np.sqrt(self.n_probes)

    def _plain(self, weights, X, Z=None, names=None):
        """Return the kernel of some parameters, from the gradient of each row, in blocks that fit in memory."""
        state, names = self._state(weights), tuple(self.shapes) if names is None else names
        itemsize = torch.finfo(self.dtype).bits // 8
        length = sum(int(np.prod(self.shapes[name], dtype=int)) for name in names)
        size = max(1, self.memory // (itemsize * max(1, length)))
        columns = X if Z is None else Z
        gram = np.zeros((len(X), len(columns)))
        for direction in directions(self.n_outputs):
            for i in range(0, len(X), size):
                rows = self._gradients(state, X[i : i + size], direction, names)
                for j in range(i if Z is None else 0, len(columns), size):
                    same = Z is None and i == j
                    others = rows if same else self._gradients(state, columns[j : j + size], direction, names)
                    gram[i : i + size, j : j + size] += _array(rows @ others.T)
        if Z is None:
            gram = np.triu(gram) + np.triu(gram, 1).T
        return gram / self.n_outputs

    def _gradients(self, state, X, direction, names):
        """Return the gradient of a combination of outputs with respect to some parameters at each row, (n, P)."""
        rows, mix = self._tensor(X), torch.as_tensor(direction).to(self.device, self.dtype)
        first = {name: state[name] for name in names}

        def combined(some, row):
            return (self._at(state | some, row[None]) @ mix)[0]

        with _differentiable():
            try:
                slopes = torch.func.vmap(torch.func.grad(combined), in_dims=(None, 0))(first, rows)
                return torch.cat([slopes[name].reshape(len(rows), -1) for name in names], dim=1)
            except (RuntimeError, NotImplementedError):  # recurrent layers, and control flow that depends on the data
                found = []
                for row in rows:
                    some = {name: value.detach().requires_grad_() for name, value in first.items()}
                    slopes = torch.autograd.grad(
                        combined(some, row), list(some.values()), allow_unused=True, materialize_grads=True
                    )
                    found.append(torch.cat([slope.reshape(-1) for slope in slopes]))
                return torch.stack(found).detach()

    def _by_layers(self, weights, X, Z=None):
        """Return the kernel from the inputs of each layer and the gradients of its outputs."""
        state = self._state(weights)
        rows = self._tensor(X if Z is None else np.concatenate([X, Z]))
        split = slice(0, len(X)), slice(0 if Z is None else len(X), None)
        with _differentiable():
            needing = {name: state[name].detach().requires_grad_() for name in self.shapes}
            calls, outputs = recorded(self.called.module, lambda: self._at(state | needing, rows))
        gram = torch.zeros((len(X), len(rows[split[1]])), dtype=self.dtype, device=self.device)
        for direction in directions(self.n_outputs) if calls else ():
            mixed = (outputs @ torch.as_tensor(direction).to(outputs)).sum()
            slopes = torch.autograd.grad(
                mixed, [call.output for call in calls], retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for call, slope in zip(calls, slopes):
                counted = tuple(name in self.shapes for name in call.names())
                gram += layer_gram(call, state, slope, counted, split, self.memory)
        gram = _array(gram) / self.n_outputs
        claimed = {name for call in calls for name in call.names()}
        rest = tuple(name for name in self.shapes if name not in claimed)
        return gram + self._plain(weights, X, Z, rest) if rest else gram


def _jvp(function, first, along):
    """Return a derivative in forward mode, or by two passes in reverse mode if an operation has no forward mode."""
    try:
        with warnings.catch_warnings():  # raised by PyTorch itself when forward mode is first used
            warnings.filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
            return torch.func.jvp(function, (first,), (along,))[1].detach()
    except (RuntimeError, NotImplementedError):
        some = {name: value.detach().requires_grad_() for name, value in first.items()}
        outputs = function(some)
        dual = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(
            outputs, list(some.values()), dual, create_graph=True, allow_unused=True, materialize_grads=True
        )
        total = sum((slope * along[name]).sum() for name, slope in zip(some, pulled))
        return torch.autograd.grad(total, dual)[0].detach()


def _slope(value, rows, *, keep):
    return torch.autograd.grad(value, rows, retain_graph=keep, allow_unused=True, materialize_grads=True)[0]


@contextmanager
def _differentiable():
    """Switch off operations without a forward-mode derivative: fused attention and encoder layers."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), torch.enable_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _no_fast_path():
    """Switch off the fused encoder layers, so that outputs agree with those that are differentiated."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _array(tensor):
    return tensor.detach().to(device="cpu", dtype=torch.float64).numpy()
