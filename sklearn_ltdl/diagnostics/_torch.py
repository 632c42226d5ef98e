"""Networks of PyTorch with their initial weights, for the diagnostics."""

import copy
from collections.abc import Callable
from fnmatch import fnmatchcase
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_ltdl.diagnostics._torch_function import Function
from sklearn_ltdl.diagnostics._torch_layers import BATCH_NORMS
from sklearn_ltdl.diagnostics._torch_rows import packed
from sklearn_ltdl.diagnostics._torch_start import bare, check_module, checked_state

MANY_WEIGHTS = 10**7  # with more weights, the precision is single, and fewer rows are used
SKETCHED_WEIGHTS = 10**8  # with more weights, the kernel is a sketch; with 1.1e7, exact is cheaper (torch_resnet.py)
_REFERENCE_ROWS = 1000  # batch normalisation statistics are computed on at most so many rows


class TorchNetwork:
    """A trained module of PyTorch with its initial weights, for options that `regime_report` does not have.

    Parameters
    ----------
    module : torch.nn.Module
        The trained module. It is copied and not changed.
    before : state_dict, path, module, or (constructor, seed)
        The initial weights, in one of these forms: a copy of the `state_dict`; a file of `torch.save` (read with
        ``weights_only=True``) or of safetensors, or a checkpoint of Lightning; an untrained module; or a pair of the
        function without arguments that made the module and the integer given to `torch.manual_seed` just before.
    forward : callable, default=None
        ``forward(module, rows)`` returns the outputs, of shape (n_samples,) or (n_samples, n_outputs). None calls the
        module with the rows; a tuple is passed as positional arguments, a dict as keyword arguments.
    parameters : callable, str or list of str, default=None
        ``parameters(name)`` returns whether a parameter is a weight; other parameters keep their trained values. A str
        is a pattern of names, such as ``"head.*"``, and a list holds several, such as ``["*.lora_A.*", "*.lora_B.*"]``.
        None takes all parameters that require gradients.
    batch_norm : {'recalibrate', 'after', 'stored'}, default='recalibrate'
        Statistics for batch normalisation: computed from `reference` at the current weights, those of the trained
        module, or those stored with each state.
    reference : array-like, default=None
        Rows for 'recalibrate'; None takes the rows of the report, at most 1000.
    device : str or torch.device, default=None
        Device for the computations; None means the device of the module.
    dtype : torch.dtype, default=None
        Precision; None means float64 on a CPU with up to ten million weights, else float32.
    batch_size : int, default=256
        Number of rows in one forward pass.
    memory : int, default=2**28
        Maximum number of bytes for a block of gradients.
    kernel : {'auto', 'exact', 'sketch'}, default='auto'
        'sketch' approximates the kernel with `n_probes` random directions. 'auto' does this for more than a hundred
        million weights.
    n_probes : int, default=100
        Number of random directions of a sketch.

    See Also
    --------
    sklearn_ltdl.regime_report : Takes a TorchNetwork in place of a module.

    Examples
    --------
    >>> import copy, torch
    >>> from sklearn_ltdl.torch import TorchNetwork
    >>> module = torch.nn.Linear(3, 1)
    >>> network = TorchNetwork(module, copy.deepcopy(module.state_dict()), kernel="exact")
    """

    def __init__(
        self,
        module: nn.Module,
        before: Any,
        *,
        forward: Callable[..., Any] | None = None,
        parameters: Any = None,
        batch_norm: str = "recalibrate",
        reference: Any = None,
        device: Any = None,
        dtype: Any = None,
        batch_size: int = 256,
        memory: int = 2**28,
        kernel: str = "auto",
        n_probes: int = 100,
    ) -> None:
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
        if forward is not None and not callable(forward):
            raise TypeError(f"forward must be callable or None; got a {type(forward).__name__}.")
        patterns = [parameters] if isinstance(parameters, str) else parameters
        is_list = isinstance(patterns, (list, tuple)) and all(isinstance(pattern, str) for pattern in patterns)
        if not (parameters is None or callable(parameters) or is_list):
            raise TypeError(
                f"parameters must be callable, a pattern of names or a list of them, or None; got {parameters!r}."
            )
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

    def _weights(self, module):
        """Return the parameters that are weights, by name."""
        found = dict(module.named_parameters())
        if self.parameters is None:
            weights = {name: value for name, value in found.items() if value.requires_grad}
            if not weights:
                raise ValueError(
                    "No parameter of the module requires a gradient. Name the parameters that training changed with "
                    "TorchNetwork(..., parameters=)."
                )
            return weights
        if callable(self.parameters):
            wanted = self.parameters
        else:
            patterns = [self.parameters] if isinstance(self.parameters, str) else self.parameters

            def wanted(name):
                return any(fnmatchcase(name, pattern) for pattern in patterns)

        weights = {name: value for name, value in found.items() if wanted(name)}
        if not weights:
            raise ValueError(f"parameters matches no parameter of the module, which has {[*found][:5]} and others.")
        return weights

    def function(self, X: Any, layout: Any) -> Any:
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
            One vector per layer.
        names : tuple of str
        """
        module = bare(self.module)
        check_module(module)
        first = checked_state(self.before, module)
        last = {name: value.detach() for name, value in module.state_dict().items()}
        owned = copy.deepcopy(module).eval()
        if {*owned.state_dict()} != {*module.state_dict()}:
            raise ValueError(
                f"A copy of this {type(module).__name__} has other parameter names, so its weights cannot be "
                "exchanged. This happens with Keras: give the weights to the same model on JAX, see the user guide."
            )
        weights = self._weights(module)
        size = sum(value.numel() for value in weights.values())
        device = torch.device(self.device or next(iter(weights.values())).device)
        double = device.type == "cpu" and size <= MANY_WEIGHTS
        dtype = self.dtype or (torch.float64 if double else torch.float32)
        owned = owned.to(device=device, dtype=dtype)
        layers = {}
        for name in weights:
            layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
        buffers = {name for name, _ in module.named_buffers()}
        others = buffers | {name for name, _ in module.named_parameters()} - set(weights)  # tied parameters count once
        fixed = [
            {
                name: _as(value, device, dtype)
                for name, value in state.items()
                if name in others and isinstance(value, torch.Tensor)
            }
            for state in (first, last)
        ]
        fixed[0] |= {name: value for name, value in fixed[1].items() if name not in buffers}  # frozen: trained values
        before, after = (
            tuple(np.concatenate([_numbers(state[name]) for name in names]) for names in layers.values())
            for state in (first, last)
        )
        has_norm = any(isinstance(part, BATCH_NORMS) for part in owned.modules())
        if self.reference is None:
            reference = X[:: -(-len(X) // _REFERENCE_ROWS)]
        else:
            reference = packed(self.reference, "reference")[0]
        function = Function(
            Called(owned, self.forward or _call),
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
            self.kernel if self.kernel != "auto" else "exact" if size <= SKETCHED_WEIGHTS else "sketch",
            self.n_probes,
        )
        if any(value.dtype in (torch.float16, torch.bfloat16) for value in weights.values()):
            function.notes.append(f"The weights were stored in half precision; the computations use {dtype}.")
        return function, before, after, tuple(layers)


def is_large(model):
    """Return whether a module, or the module of a TorchNetwork, has more than ten million weights."""
    network = model if isinstance(model, TorchNetwork) else TorchNetwork(model, None)
    module = bare(network.module)
    check_module(module)
    return sum(value.numel() for value in network._weights(module).values()) > MANY_WEIGHTS


def along(network, first, last):
    """Return a TorchNetwork with another start and another trained state; the given network is not changed."""
    network = copy.copy(network) if isinstance(network, TorchNetwork) else TorchNetwork(network, first)
    if network.batch_norm == "stored":
        raise ValueError("batch_norm='stored' is not supported by regime_path. Use 'recalibrate' or 'after'.")
    network.module, network.before = copy.deepcopy(bare(network.module)), first
    network.module.load_state_dict(checked_state(last, network.module))
    return network


def made_by(factory, seed):
    """Return the TorchNetwork of a module that a factory makes, with its initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = factory(seed)
    if not isinstance(module, nn.Module):
        raise ValueError(f"estimator(seed) returned a {type(module).__name__}; expected a torch.nn.Module.")
    for name, part in module.named_modules():
        if isinstance(part, BATCH_NORMS):
            raise ValueError(
                f"{name} is a batch normalisation, whose statistics would change with the scale. Use GroupNorm or none."
            )
    return TorchNetwork(module, copy.deepcopy(module.state_dict()))


def _as(value, device, dtype):
    return value.to(device=device, dtype=dtype if value.is_floating_point() else value.dtype)


def _numbers(value):
    return value.detach().to(device="cpu", dtype=torch.float64).reshape(-1).numpy().copy()


def _call(module, rows):
    return module(**rows) if isinstance(rows, dict) else module(*rows) if isinstance(rows, tuple) else module(rows)


class Called(nn.Module):
    """A module that is called by the user's `forward`."""

    def __init__(self, module, call):
        super().__init__()
        self.module = module
        self.call = call

    def forward(self, rows):
        return self.call(self.module, rows)
