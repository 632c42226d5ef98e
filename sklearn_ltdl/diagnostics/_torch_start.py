"""The initial weights of a module of PyTorch: read them, check them against the module, or keep them by a callback."""

import copy
import os
from collections.abc import Mapping
from numbers import Integral
from typing import Any, Self

import torch
from torch import nn

from sklearn_ltdl.diagnostics._torch_layers import BATCH_NORMS

_PREFIXES = ("_orig_mod.", "module.", "model.")


def bare(module):
    """Return the module without the wrappers of torch.compile, DataParallel and DistributedDataParallel."""
    while True:
        if hasattr(module, "_orig_mod"):
            module = module._orig_mod
        elif isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        else:
            return module


def check_module(module):
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError("The weights of a TorchScript module cannot be exchanged. Give the original module.")
    for name, value in module.state_dict(keep_vars=True).items():
        if not isinstance(value, torch.Tensor):
            continue
        if isinstance(value, nn.parameter.UninitializedTensorMixin):
            raise ValueError(f"{name} is a lazy parameter that is not initialised. Call the module once on some rows.")
        if value.is_meta:
            raise ValueError(f"{name} is on the device 'meta' and holds no numbers. Load its weights first.")
        if value.is_quantized:
            raise ValueError(f"{name} is quantised and has no derivative. Give the module before quantisation.")
        if value.is_complex():
            raise ValueError(f"{name} is complex; a report needs real weights. Split it into real and imaginary parts.")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{name} is not finite after training; a report needs finite weights.")
    for name, part in module.named_modules():
        if isinstance(part, BATCH_NORMS) and not part.track_running_stats:
            raise ValueError(
                f"{name} is a batch normalisation with track_running_stats=False, so the output of each row depends on "
                "the other rows. Train with track_running_stats=True."
            )


def checked_state(before, module):
    """Return the initial state with the parameter names of the module."""
    own = module.state_dict(keep_vars=True)
    if before is None:
        raise ValueError(
            "before is required, because PyTorch does not keep the initial weights. Give a copy from before training, "
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
            "of this module, or of a module with the same architecture."
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
            raise ValueError(f"{name} is not finite in before; a report needs finite weights.")
    shared = [name for name, value in module.named_parameters() if state[name].data_ptr() == value.data_ptr()]
    if shared and any(own[name].numel() for name in shared):
        raise ValueError(
            f"before shares its tensors with the module ({shared[0]} and others): a state_dict is a view, and training "
            "changes it. Take a copy before training: copy.deepcopy(module.state_dict())."
        )
    return {
        name: value.detach().to(own[name].dtype) if isinstance(value, torch.Tensor) else value  # same rounding
        for name, value in state.items()
    }


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


class KeepFirstWeights:
    """Callback for skorch and Lightning that keeps the initial weights.

    Attributes
    ----------
    state_dict_ : dict of str to Tensor
        The initial weights, for `before`.

    Examples
    --------
    >>> from sklearn_ltdl.torch import KeepFirstWeights
    >>> keep = KeepFirstWeights()  # NeuralNetClassifier(..., callbacks=[("first", keep)])
    """

    state_key = _legacy_state_key = "KeepFirstWeights"  # key of this callback in checkpoints of Lightning

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state for a checkpoint of Lightning."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing; Lightning requires this method."""

    def initialize(self) -> Self:
        """Do nothing; skorch requires this method."""
        return self

    def set_params(self, **parameters: Any) -> Self:
        """Do nothing; there are no parameters."""
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return no parameters."""
        return {}

    def on_train_begin(self, net: Any, *_: Any, **__: Any) -> None:
        """Keep the weights when training starts in skorch."""
        if isinstance(getattr(net, "module_", None), nn.Module):
            self.state_dict_: dict[str, Any] = copy.deepcopy(bare(net.module_).state_dict())

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        """Keep the weights when training starts in Lightning."""
        self.state_dict_: dict[str, Any] = copy.deepcopy(bare(module).state_dict())

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("on_", "setup", "teardown")):
            return lambda *_, **__: None
        raise AttributeError(name)
