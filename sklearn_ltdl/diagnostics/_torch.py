r"""Networks of PyTorch: outputs, tangent kernel and tangent of any module at any weights.

The exact kernel forms no Jacobian where a layer lets it do without. A linear layer that reads the vectors a and whose
output has the gradients g, at places t (pixels, tokens), has the gradient :math:`\sum_t g_t a_t^\top` of a row, so
that two rows have the inner product :math:`\sum_{t, u} (g_t \cdot g'_u)(a_t \cdot a'_u)`. One forward pass gives a, one
backward pass for each output gives g, of all rows. What is left, such as a weight that is used outside its module, has
plain gradients, and three rows whose kernel is computed both ways say whether all is well.
"""

import copy
import os
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MANY_WEIGHTS = 10**7  # above which the kernel is a sketch, and the precision single
MANY_OUTPUTS = 200  # above which random signs stand for the outputs
N_SIGNS = 5
_REFERENCE_ROWS = 1000  # at most so many say what the statistics of batch normalisation are
_CHECKED_ROWS = 3
_PREFIXES = ("_orig_mod.", "module.", "model.")
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_BATCH_NORMS = nn.modules.batchnorm._BatchNorm


class TorchNetwork:
    """A trained module of PyTorch with its first weights, where the defaults of `regime_report` do not do.

    Parameters
    ----------
    module : torch.nn.Module
        In its trained state. It is copied, and left as it is.
    before : state_dict, path, module, or (constructor, seed)
        The weights of the start: a copy of the `state_dict`; a file of `torch.save` (read with ``weights_only=True``),
        of safetensors, or a checkpoint of Lightning; an untrained module; or a callable without parameters that made
        the module, and the integer given to `torch.manual_seed` just before.
    forward : callable, default=None
        ``forward(module, rows)`` returns the outputs, of shape (n_samples,) or (n_samples, n_outputs). If None, rows
        are passed as they are, tuples as positional arguments, dicts as keyword arguments.
    parameters : callable, default=None
        ``parameters(name)`` says whether a parameter counts as a weight; others are held at their trained values. If
        None, those that require gradients count.
    batch_norm : {'recalibrate', 'after', 'stored'}, default='recalibrate'
        Which statistics batch normalisation uses: those of `reference` at the weights at hand, the trained ones, or
        those stored with each state.
    reference : array-like, default=None
        Rows for 'recalibrate'; None takes those of the report, at most 1000.
    device : str or torch.device, default=None
        None is that of the module.
    dtype : torch.dtype, default=None
        None is float64 on a CPU up to ten million weights, else float32.
    batch_size : int, default=256
        Rows in one forward pass.
    memory : int, default=2**28
        Bytes that a block of gradients takes.
    kernel : {'auto', 'exact', 'sketch'}, default='auto'
        'sketch' replaces the kernel by that of `n_probes` random directions; 'auto' does above ten million weights.
    n_probes : int, default=100
        Random directions of a sketch.

    See Also
    --------
    sklearn_ltdl.regime_report : Takes this in place of a module.

    Examples
    --------
    >>> import copy, torch
    >>> from sklearn_ltdl.torch import TorchNetwork
    >>> module = torch.nn.Linear(3, 1)
    >>> network = TorchNetwork(module, copy.deepcopy(module.state_dict()), kernel="exact")
    """

    def __init__(
        self,
        module,
        before,
        *,
        forward=None,
        parameters=None,
        batch_norm="recalibrate",
        reference=None,
        device=None,
        dtype=None,
        batch_size=256,
        memory=2**28,
        kernel="auto",
        n_probes=100,
    ):
        if not isinstance(module, nn.Module):
            raise TypeError(f"module must be a torch.nn.Module; got a {type(module).__name__}.")
        for name, value, known in (
            ("batch_norm", batch_norm, ("recalibrate", "after", "stored")),
            ("kernel", kernel, ("auto", "exact", "sketch")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}; got {value!r}.")
        for name, value in (("batch_size", batch_size), ("memory", memory), ("n_probes", n_probes)):
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} must be a positive integer; got {value!r}.")
        for name, value in (("forward", forward), ("parameters", parameters)):
            if value is not None and not callable(value):
                raise TypeError(f"{name} must be callable or None; got a {type(value).__name__}.")
        self.module = module
        self.before = before
        self.forward = forward
        self.parameters = parameters
        self.batch_norm = batch_norm
        self.reference = reference
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.memory = memory
        self.kernel = kernel
        self.n_probes = n_probes

    def function(self, X, layout):
        """Return the function, its weights before and after training, and the names of its layers.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_columns)
            Packed rows.
        layout : Layout

        Returns
        -------
        function : Function
        before, after : tuple of ndarray
            One vector a layer.
        names : tuple of str
        """
        module = bare(self.module)
        _check_module(module)
        first = _checked_state(self.before, module)
        last = {name: value.detach() for name, value in module.state_dict().items()}
        owned = copy.deepcopy(module).eval()
        wanted = self.parameters or (lambda name: dict(module.named_parameters())[name].requires_grad)
        weights = {name: value for name, value in module.named_parameters() if wanted(name)}
        if not weights:
            raise ValueError(
                "No parameter of the module requires a gradient, so that training moved nothing. Name those that it "
                "moved by TorchNetwork(..., parameters=)."
            )
        size = sum(value.numel() for value in weights.values())
        device = torch.device(self.device or next(iter(weights.values())).device)
        double = device.type == "cpu" and size <= MANY_WEIGHTS
        dtype = self.dtype or (torch.float64 if double else torch.float32)
        owned = owned.to(device=device, dtype=dtype)
        layers = {}
        for name in weights:
            layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
        buffers = {name for name, _ in module.named_buffers()}
        others = buffers | {name for name, _ in module.named_parameters()} - set(weights)  # each of tied ones once
        fixed = [
            {
                name: _as(value, device, dtype)
                for name, value in state.items()
                if name in others and isinstance(value, torch.Tensor)
            }
            for state in (first, last)
        ]
        fixed[0] |= {name: value for name, value in fixed[1].items() if name not in buffers}  # frozen: as trained
        before, after = (
            tuple(np.concatenate([_numbers(state[name]) for name in names]) for names in layers.values())
            for state in (first, last)
        )
        has_norm = any(isinstance(part, _BATCH_NORMS) for part in owned.modules())
        if self.reference is None:
            reference = X[:: -(-len(X) // _REFERENCE_ROWS)]
        else:
            reference = packed(self.reference, "reference")[0]
        function = Function(
            _Called(owned, self.forward or _call),
            tuple(tuple(names) for names in layers.values()),
            {name: tuple(value.shape) for name, value in weights.items()},
            layout,
            (before, after),
            tuple(fixed),
            self.batch_norm if has_norm else "after",
            reference,
            device,
            dtype,
            self.batch_size,
            self.memory,
            self.kernel if self.kernel != "auto" else "exact" if size <= MANY_WEIGHTS else "sketch",
            self.n_probes,
        )
        if any(value.dtype in (torch.float16, torch.bfloat16) for value in weights.values()):
            function.notes.append(f"The weights were stored in half precision; they are used as they are, in {dtype}.")
        return function, before, after, tuple(layers)


class Layout(NamedTuple):
    """How rows lie in one matrix: the shape, kind of number and key of each part, and what holds the parts.

    Parameters
    ----------
    parts : tuple of (key, shape, dtype)
        The dtype is None for real numbers, whose precision is that of the network.
    holder : {'one', 'tuple', 'dict'}
    """

    parts: tuple
    holder: str

    @property
    def is_real(self):
        """Whether all parts are real numbers, in which one can differentiate."""
        return all(dtype is None for _, _, dtype in self.parts)

    def rows(self, matrix, dtype):
        """Return a tensor of packed rows as the module takes them."""
        found, start = {}, 0
        for key, shape, kind in self.parts:
            size = int(np.prod(shape, dtype=int))
            part = matrix[:, start : start + size].reshape(len(matrix), *shape)
            found[key] = part.to(dtype if kind is None else kind)
            start += size
        return found if self.holder == "dict" else tuple(found.values()) if self.holder == "tuple" else found[0]


def packed(X, name="X"):
    """Return rows as a matrix of float64 of shape (n_samples, n_columns), and their Layout."""
    holder = "dict" if isinstance(X, Mapping) else "tuple" if isinstance(X, tuple) else "one"
    parts = list(X.items()) if holder == "dict" else list(enumerate(X)) if holder == "tuple" else [(0, X)]
    columns, shapes = [], []
    for key, part in parts:
        part = part.toarray() if hasattr(part, "toarray") else part
        part = part.detach().cpu() if isinstance(part, torch.Tensor) else torch.as_tensor(np.asarray(part))
        if part.ndim == 0 or part.is_complex():
            raise ValueError(
                f"{name} must hold arrays of real numbers, one entry a row; got {part.dtype} {part.shape}."
            )
        shapes.append((key, tuple(part.shape[1:]), None if part.is_floating_point() else part.dtype))
        columns.append(part.reshape(len(part), -1).to(torch.float64).numpy())
    lengths = {len(part) for part in columns}
    if len(lengths) != 1:
        raise ValueError(f"The parts of {name} must have as many rows as each other; got {sorted(lengths)}.")
    matrix = np.hstack(columns)
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} has values that are not finite; a network needs numbers.")
    return matrix, Layout(tuple(shapes), holder)


def is_dataset(X):
    """Return whether rows come as a Dataset."""
    return isinstance(X, torch.utils.data.Dataset)


def of_dataset(data):
    """Return the rows and the targets of a Dataset of pairs."""
    items = [data[k] for k in range(len(data))]
    if not all(isinstance(item, (tuple, list)) and len(item) == 2 for item in items):
        raise ValueError("A Dataset must give pairs (row, target). Give X and y as arrays otherwise.")
    rows, targets = torch.utils.data.default_collate([tuple(item) for item in items])
    return tuple(rows) if isinstance(rows, list) else rows, np.asarray(targets)


def bare(module):
    """Return the module within what torch.compile, DataParallel and the like put around it."""
    while True:
        if hasattr(module, "_orig_mod"):
            module = module._orig_mod
        elif isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        else:
            return module


def _check_module(module):
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError("A TorchScript module has no weights that can be exchanged. Give the module it was made from.")
    for name, value in module.state_dict(keep_vars=True).items():
        if not isinstance(value, torch.Tensor):
            continue
        if isinstance(value, nn.parameter.UninitializedTensorMixin):
            raise ValueError(f"{name} is not initialised: call the module once on some rows (it is lazy).")
        if value.is_meta:
            raise ValueError(f"{name} is on the device 'meta' and holds no numbers. Load its weights first.")
        if value.is_quantized:
            raise ValueError(f"{name} is quantised, and has no derivative. Give the module before quantisation.")
        if value.is_complex():
            raise ValueError(f"{name} is complex; a report needs real weights. Split it into its two parts.")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{name} is not finite after training; a report needs all its weights.")
    for name, part in module.named_modules():
        if isinstance(part, _BATCH_NORMS) and not part.track_running_stats:
            raise ValueError(
                f"{name} is a batch normalisation with track_running_stats=False: each row depends on the others, so "
                "that the network is no function of a row. Train with track_running_stats=True."
            )


def _checked_state(before, module):
    """Return the state of the start, in the names of the module."""
    own = module.state_dict(keep_vars=True)
    if before is None:
        raise ValueError(
            "before is needed: PyTorch keeps no weights of the start. Give a copy that was taken before training, "
            "copy.deepcopy(module.state_dict()); a file of it; or (constructor, seed), if the module was made by "
            "torch.manual_seed(seed); constructor()."
        )
    state = _state_of(before)
    for prefix in _PREFIXES:
        if set(state) != set(own):
            shorter = {key.removeprefix(prefix): value for key, value in state.items()}
            state = shorter if len(shorter) == len(state) and set(shorter) & set(own) else state
    missing, unexpected = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if missing or unexpected:
        raise ValueError(
            f"before does not fit the module: missing {missing[:5]}, unexpected {unexpected[:5]}. Give the state_dict "
            "of this module, or of one made alike."
        )
    for name, value in own.items():
        if not isinstance(value, torch.Tensor):
            continue
        if state[name].shape != value.shape:
            raise ValueError(
                f"{name} has shape {tuple(state[name].shape)} in before and {tuple(value.shape)} in the module; they "
                "must be equal."
            )
        if value.is_floating_point() and not torch.isfinite(state[name]).all():
            raise ValueError(f"{name} is not finite in before; a report needs all its weights.")
    shared = [name for name, value in module.named_parameters() if state[name].data_ptr() == value.data_ptr()]
    if shared and any(own[name].numel() for name in shared):
        raise ValueError(
            f"before holds the very tensors of the module ({shared[0]} and others): a state_dict is a view, and "
            "changes with training. Take a copy before training: copy.deepcopy(module.state_dict())."
        )
    return {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in state.items()}


def _state_of(before):
    if isinstance(before, (str, os.PathLike)):
        if os.fspath(before).endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(before)
        before = torch.load(before, map_location="cpu", weights_only=True)
    if isinstance(before, tuple) and len(before) == 2 and callable(before[0]) and isinstance(before[1], Integral):
        constructor, seed = before
        with torch.random.fork_rng():
            torch.manual_seed(int(seed))
            before = constructor()
    if isinstance(before, nn.Module):
        before = bare(before).state_dict()
    if isinstance(before, Mapping):
        before = before["state_dict"] if isinstance(before.get("state_dict"), Mapping) else before
        if all(isinstance(key, str) for key in before):
            return dict(before)
    raise TypeError(
        "before must be a state_dict, a file of one, a module, or (constructor, seed); got "
        f"a {type(before).__name__}{' without a seed' if callable(before) else ''}."
    )


def _as(value, device, dtype):
    return value.to(device=device, dtype=dtype if value.is_floating_point() else value.dtype)


def _numbers(value):
    return value.detach().to(device="cpu", dtype=torch.float64).reshape(-1).numpy().copy()


def _call(module, rows):
    return module(**rows) if isinstance(rows, dict) else module(*rows) if isinstance(rows, tuple) else module(rows)


class _Called(nn.Module):
    """A module that is called as a user says."""

    def __init__(self, module, call):
        super().__init__()
        self.module = module
        self.call = call

    def forward(self, rows):
        return self.call(self.module, rows)


@contextmanager
def _differentiable():
    """Switch off what has no derivative in forward mode: fused attention and encoder layers."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), torch.enable_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@dataclass(frozen=True, eq=False)
class Function:
    """A module as a function of its weights, which are vectors, one a layer.

    Parameters
    ----------
    called : module
        A copy of the caller's, in eval mode.
    layers : tuple of tuple of str
        Names of the parameters in each vector.
    shapes : dict of str to tuple
    layout : Layout
    states : (before, after)
        Weights.
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
        """Raise what the module raises where it is called and differentiated."""
        self.outputs(weights, X[:2])

    def outputs(self, weights, X):
        """Return the outputs of shape (n_samples, n_outputs)."""
        state = self._state(weights)
        with torch.no_grad(), _no_fast_path():
            return np.concatenate([_array(self._at(state, rows)[:n]) for rows, n in self._batches(X)])

    def outputs_of_rows(self, weights, X):
        """Return the same, of one row beside copies of itself at a time."""
        state, found = self._state(weights), []
        with torch.no_grad(), _no_fast_path():
            for row in X:
                found.append(_array(self._at(state, self._tensor(np.stack([row, row])))[:1]))
        return np.concatenate(found)

    def tangent(self, weights, move, X):
        """Return the derivative of the outputs at `weights` along a move of them."""
        state, along = self._state(weights), self._tensors(move)
        first = {name: state[name] for name in along}

        def at(rows):
            return lambda some: self._at(state | some, rows)

        with _differentiable():
            return np.concatenate([_array(_jvp(at(rows), first, along)[:n]) for rows, n in self._batches(X)])

    def kernel(self, weights, X, Z=None):
        """Return the tangent kernel between rows of `X` and `Z`, or of `X`, the mean over outputs."""
        if self.mode == "sketch":
            images = [self._probed(weights, rows) for rows in ((X,) if Z is None else (X, Z))]
            return images[0] @ images[-1].T / self.n_outputs
        gram = (self._by_layers if self.structured else self._plain)(weights, X, Z)
        return (gram + gram.T) / 2 if Z is None else gram

    def input_gradients(self, weights, X):
        """Return the gradients of the outputs in the row, (n_samples, n_outputs, n_columns); None if not all real."""
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
        """Return None: a module does not tell what enters its activations."""

    def slope_and_bend(self, weights, X):
        """Return None: the second derivative costs more than all else."""

    @cached_property
    def n_outputs(self):
        """How many outputs a row has."""
        return self.outputs(self.states[1], self.reference[:2]).shape[1]

    @cached_property
    def structured(self):
        """Whether the kernel by layers is the kernel: three rows say so, by plain gradients."""
        rows = self.reference[:_CHECKED_ROWS]
        weights = self.states[1]
        plain = self._plain(weights, rows)
        try:
            gap = np.abs(self._by_layers(weights, rows) - plain).max()
        except (RuntimeError, NotImplementedError):
            gap = np.inf
        if gap <= (1e-6 if self.dtype == torch.float64 else 1e-3) * np.abs(plain).max():
            return True
        self.notes.append(
            "A weight of this module is used in a way that its layers do not show: the kernel is computed from plain "
            "gradients, which takes longer."
        )
        return False

    def describe(self):
        """Return what there is to note of the way in which the kernel is computed."""
        if self.mode == "sketch":
            self.notes.append(f"The kernels are sketches by {self.n_probes} random directions of the weights.")
        else:
            _ = self.structured
            if self.n_outputs > MANY_OUTPUTS:
                self.notes.append(f"{N_SIGNS} random signs stand for the {self.n_outputs} outputs in the kernels.")
        return self.notes

    @cached_property
    def _directions(self):
        """Combinations of outputs whose gradients' inner products are added, (m, n_outputs)."""
        if self.n_outputs <= MANY_OUTPUTS:
            return np.eye(self.n_outputs)
        rng = np.random.default_rng(0)
        return rng.choice([-1.0, 1.0], size=(N_SIGNS, self.n_outputs)) / np.sqrt(N_SIGNS)

    def _tensor(self, X):
        return torch.as_tensor(np.ascontiguousarray(X)).to(self.device, self.dtype if self.layout.is_real else None)

    def _batches(self, X):
        """Yield rows as tensors, at least two at a time, and how many of them count."""
        for i in range(0, len(X), self.batch_size):
            rows = X[i : i + self.batch_size]
            yield self._tensor(np.repeat(rows, 2, axis=0) if len(rows) == 1 else rows), len(rows)

    def _at(self, state, rows):
        """Return the outputs of shape (n, n_outputs) of packed rows."""
        inputs = self.layout.rows(rows, self.dtype)
        state = {f"module.{name}": value for name, value in state.items()}
        outputs = torch.func.functional_call(self.called, state, (inputs,))
        if not isinstance(outputs, torch.Tensor):
            raise ValueError(
                f"the module returned a {type(outputs).__name__}, not a tensor; say which part of it are the outputs "
                "by TorchNetwork(module, before, forward=lambda module, rows: ...)"
            )
        if outputs.numel() == len(rows):
            return outputs.reshape(len(rows), 1)
        if outputs.ndim == 1 and len(rows) == 1:  # a module that squeezes, and one row
            return outputs[None]
        if outputs.ndim != 2 or len(outputs) != len(rows):
            raise ValueError(
                f"its result has shape {tuple(outputs.shape)} for {len(rows)} rows; say what the outputs are by "
                "TorchNetwork(module, before, forward=lambda module, rows: ...)"
            )
        return outputs

    def _tensors(self, weights):
        """Return vectors, one a layer, as tensors by name."""
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
        """Return all parameters and buffers that go with weights."""
        tensors = self._tensors(weights)
        if self.batch_norm == "stored" and all(map(np.array_equal, weights, self.states[0])):
            return self.fixed[0] | tensors
        if self.batch_norm == "recalibrate":
            return self.fixed[1] | tensors | self._recalibrated(weights, tensors)
        return self.fixed[1] | tensors

    def _recalibrated(self, weights, tensors):
        """Return the statistics of the reference rows at the weights, from one pass in training mode."""
        key = tuple(map(id, weights))
        if key not in self._statistics:
            norms = [part for part in self.called.modules() if isinstance(part, _BATCH_NORMS)]
            names = [
                f"{name}.{which}"
                for name, part in self.called.module.named_modules()
                if isinstance(part, _BATCH_NORMS)
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
            self._statistics[key] = (weights, {name: state[name] for name in names})  # which keeps the ids alive
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
        """Return the kernel of some parameters, from the gradient of each row, in blocks of the memory."""
        state, names = self._state(weights), tuple(self.shapes) if names is None else names
        itemsize = torch.finfo(self.dtype).bits // 8
        length = sum(int(np.prod(self.shapes[name], dtype=int)) for name in names)
        size = max(1, self.memory // (itemsize * max(1, length)))
        columns = X if Z is None else Z
        gram = np.zeros((len(X), len(columns)))
        for direction in self._directions:
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
        """Return the gradients of a combination of outputs in some parameters at each row, (n, P)."""
        rows, mix = self._tensor(X), torch.as_tensor(direction).to(self.device, self.dtype)
        first = {name: state[name] for name in names}

        def combined(some, row):
            return (self._at(state | some, row[None]) @ mix)[0]

        with _differentiable():
            try:
                slopes = torch.func.vmap(torch.func.grad(combined), in_dims=(None, 0))(first, rows)
                return torch.cat([slopes[name].reshape(len(rows), -1) for name in names], dim=1)
            except (RuntimeError, NotImplementedError):  # recurrent layers, and control flow on the data
                found = []
                for row in rows:
                    some = {name: value.detach().requires_grad_() for name, value in first.items()}
                    slopes = torch.autograd.grad(
                        combined(some, row), list(some.values()), allow_unused=True, materialize_grads=True
                    )
                    found.append(torch.cat([slope.reshape(-1) for slope in slopes]))
                return torch.stack(found).detach()

    def _by_layers(self, weights, X, Z=None):
        """Return the kernel from what each layer reads and the gradients of its outputs."""
        state = self._state(weights)
        rows = X if Z is None else np.concatenate([X, Z])
        split = slice(0, len(X)), slice(0 if Z is None else len(X), None)
        tape = []

        def keep(name):
            def hook(_, inputs, output):
                tape.append((name, inputs[0].detach().clone(), output))
                return output.clone()  # which what follows may overwrite

            return hook

        parts = {name: part for name, part in self.called.module.named_modules() if _is_known(part)}
        handles = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
        try:
            with _differentiable():
                needing = {name: state[name].detach().requires_grad_() for name in self.shapes}
                outputs = self._at(state | needing, self._tensor(rows))
        finally:
            for handle in handles:
                handle.remove()
        calls = Counter(name for name, _, _ in tape)
        uses = Counter(
            id(value) for _, value in self.called.module.named_parameters(remove_duplicate=False) if value is not None
        )
        tape = [
            (name, read, output)
            for name, read, output in tape
            if calls[name] == 1
            and output.requires_grad
            and all(uses[id(value)] == 1 for value in parts[name].parameters(recurse=False))
        ]
        claimed = {f"{name}.{which}".removeprefix(".") for name, _, _ in tape for which in ("weight", "bias")}
        gram = torch.zeros((len(X), len(rows[split[1]])), dtype=self.dtype, device=self.device)
        for direction in self._directions if tape else ():
            mixed = (outputs @ torch.as_tensor(direction).to(outputs)).sum()
            slopes = torch.autograd.grad(
                mixed, [output for *_, output in tape], retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for (name, read, _), slope in zip(tape, slopes):
                has = [f"{name}.{which}".removeprefix(".") in self.shapes for which in ("weight", "bias")]
                gram += self._of_layer(parts[name], state, name, read, slope, has, split)
        gram = _array(gram) / self.n_outputs
        rest = tuple(name for name in self.shapes if name not in claimed)
        return gram + self._plain(weights, X, Z, rest) if rest else gram

    def _of_layer(self, part, state, name, read, slope, has, split):
        """Return what one layer adds to the kernel."""
        few, many = split
        if isinstance(part, _NORMS):
            standardised = _standardised(part, state, name, read)
            weight, bias = (_per_feature(part, values) for values in (slope * standardised, slope))
            kept = [values for values, counts in zip((weight, bias), has) if counts]
            return sum(values[few] @ values[many].T for values in kept) if kept else 0.0
        if isinstance(part, nn.Conv2d):
            read = F.unfold(read, part.kernel_size, part.dilation, part.padding, part.stride).mT
            slope = slope.flatten(2).mT
        else:
            read, slope = (values.reshape(len(values), -1, values.shape[-1]) for values in (read, slope))
        gram = 0.0
        if has[1]:
            total = slope.sum(1)
            gram = total[few] @ total[many].T
        return gram + self._of_weight(read, slope, few, many) if has[0] else gram

    def _of_weight(self, read, slope, few, many):
        """Return the inner products of sum_t g_t a_t^T between rows, g and a of shape (n, T, .)."""
        n, places, fan_in = read.shape
        fan_out, itemsize = slope.shape[2], read.element_size()
        if places == 1:
            return (read[few, 0] @ read[many, 0].T) * (slope[few, 0] @ slope[many, 0].T)
        if places**2 * (fan_in + fan_out) < fan_in * fan_out:  # all pairs of places
            a, g = (values[many].reshape(-1, values.shape[2]) for values in (read, slope))
            size = max(1, self.memory // (2 * itemsize * places * len(a)))
            blocks = []
            for i in range(0, len(read[few]), size):
                b, h = (values[few][i : i + size].reshape(-1, values.shape[2]) for values in (read, slope))
                both = (b @ a.T) * (h @ g.T)
                blocks.append(both.reshape(len(b) // places, places, -1, places).sum(dim=(1, 3)))
            return torch.cat(blocks)
        size, gram = max(1, self.memory // (itemsize * n * fan_in)), 0.0
        for k in range(0, fan_out, size):
            jacobian = torch.bmm(slope[:, :, k : k + size].mT, read).flatten(1)
            gram = gram + jacobian[few] @ jacobian[many].T
        return gram


def _is_known(part):
    """Return whether a layer has a gradient that its input and the gradient of its output tell."""
    kind = type(part)
    if part._parameters.get("weight") is None:
        return False
    if kind is nn.Conv2d:
        return part.groups == 1 and part.padding_mode == "zeros" and not isinstance(part.padding, str)
    return kind is nn.Linear or kind in _NORMS


def _standardised(part, state, name, read):
    """Return what a normalisation multiplies by its weight."""
    if isinstance(part, nn.LayerNorm):
        return F.layer_norm(read, part.normalized_shape, eps=part.eps)
    if isinstance(part, nn.GroupNorm):
        return F.group_norm(read, part.num_groups, eps=part.eps)
    mean, variance = (state[f"{name}.{which}".removeprefix(".")] for which in ("running_mean", "running_var"))
    return F.batch_norm(read, mean, variance, eps=part.eps)


def _per_feature(part, values):
    """Return values summed over the places at which a normalisation uses one weight, (n, n_weights)."""
    if isinstance(part, nn.LayerNorm):
        return values.reshape(len(values), -1, part.weight.numel()).sum(1)
    return values.reshape(len(values), part.weight.numel(), -1).sum(2)


def _jvp(function, first, along):
    """Return a derivative in forward mode, or by two in reverse mode where an operation has none."""
    try:
        with warnings.catch_warnings():  # PyTorch's own, the first time that forward mode is used
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
def _no_fast_path():
    """Switch off the fused encoder layers, so that outputs are those that are differentiated."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _array(tensor):
    return tensor.detach().to(device="cpu", dtype=torch.float64).numpy()


class KeepFirstWeights:
    """Callback of skorch and of Lightning that keeps the weights with which training starts.

    Attributes
    ----------
    state_dict_ : dict of str to Tensor
        For `before`.

    Examples
    --------
    >>> from sklearn_ltdl.torch import KeepFirstWeights
    >>> keep = KeepFirstWeights()  # NeuralNetClassifier(..., callbacks=[("first", keep)])
    """

    def initialize(self):
        """Do nothing; skorch asks for it."""
        return self

    def set_params(self, **parameters):
        """Do nothing; there are no parameters."""
        return self

    def get_params(self, deep=True):
        """Return no parameters."""
        return {}

    def on_train_begin(self, net, *_, **__):
        """Keep the weights, as skorch begins."""
        if isinstance(getattr(net, "module_", None), nn.Module):
            self.state_dict_ = copy.deepcopy(bare(net.module_).state_dict())

    def on_fit_start(self, trainer, module):
        """Keep the weights, as Lightning begins."""
        self.state_dict_ = copy.deepcopy(bare(module).state_dict())

    def __getattr__(self, name):
        if name.startswith(("on_", "setup", "teardown")):
            return lambda *_, **__: None
        raise AttributeError(name)
