r"""The tangent kernel of a module of PyTorch from the inputs and output gradients of its layers, without a Jacobian.

Consider a linear layer with inputs a and output gradients g at places t (pixels, tokens). The gradient of a row with
respect to its weight is :math:`\sum_t g_t a_t^\top`, so the inner product of two rows is :math:`\sum_{t, u} (g_t \cdot
g'_u)(a_t \cdot a'_u)`. One forward pass gives a, and one backward pass per output gives g, for all rows.
"""

from collections import Counter
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

BATCH_NORMS = nn.modules.batchnorm._BatchNorm
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Call(NamedTuple):
    """Input and output of one layer in a forward pass.

    Parameters
    ----------
    name : str
    part : module
    read, output : tensor
    """

    name: str
    part: nn.Module
    read: torch.Tensor
    output: torch.Tensor

    def names(self):
        """Return the names of the layer's weight and bias."""
        return tuple(f"{self.name}.{which}".removeprefix(".") for which in ("weight", "bias"))


def recorded(module, run):
    """Return the calls that determine a layer's gradient completely, and the outputs of the module."""
    parts = {name: part for name, part in module.named_modules() if _is_known(part)}
    calls = []

    def keep(name):
        def hook(part, inputs, output):
            calls.append(Call(name, part, inputs[0].detach().clone(), output))
            return output.clone()  # later operations may overwrite the clone

        return hook

    handles = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    try:
        outputs = run()
    finally:
        for handle in handles:
            handle.remove()
    times = Counter(call.name for call in calls)
    uses = Counter(id(value) for _, value in module.named_parameters(remove_duplicate=False))
    whole = [
        call
        for call in calls
        if times[call.name] == 1
        and call.output.requires_grad
        and all(uses[id(value)] == 1 for value in call.part.parameters(recurse=False))
    ]
    return whole, outputs


def layer_gram(call, state, slope, counted, split, memory):
    """Return the inner products of a layer's gradients between two ranges of rows.

    Parameters
    ----------
    call : Call
    state : dict of str to tensor
        State of the module, for the statistics of batch normalisation.
    slope : tensor
        Gradient of one combination of outputs with respect to the layer's output.
    counted : (bool, bool)
        Whether the layer's weight and bias are among the weights.
    split : (slice, slice)
        The two ranges of rows.
    memory : int
        Maximum number of bytes for a block.

    Returns
    -------
    tensor, or 0.0
    """
    few, many = split
    part, read = call.part, call.read
    if isinstance(part, _NORMS):
        standardised = _standardised(call, state)
        weight, bias = (_per_feature(part, values) for values in (slope * standardised, slope))
        kept = [values for values, counts in zip((weight, bias), counted) if counts]
        return sum(values[few] @ values[many].T for values in kept) if kept else 0.0
    if isinstance(part, _CONVOLUTIONS):
        slope = slope.reshape(len(slope), part.groups, slope.shape[1] // part.groups, -1).mT
        read = _patches(part, read) if counted[0] else slope  # not used then
    else:
        read, slope = (values.reshape(len(values), 1, -1, values.shape[-1]) for values in (read, slope))
    gram = 0.0
    if counted[1]:
        total = slope.sum(2).flatten(1)
        gram = total[few] @ total[many].T
    for group in range(slope.shape[1]) if counted[0] else ():
        gram = gram + _weight_gram(read[:, group], slope[:, group], few, many, memory)
    return gram


def _patches(part, read):
    """Return the inputs of each place of a convolution, of shape (n, groups, places, fan_in)."""
    pads = []
    for axis, (size, apart) in enumerate(zip(part.kernel_size, part.dilation)):
        missing = apart * (size - 1) if part.padding == "same" else 0
        both = (missing // 2, missing - missing // 2) if isinstance(part.padding, str) else (part.padding[axis],) * 2
        pads = [*both, *pads]  # the last axis comes first
    read = F.pad(read, pads, mode="constant" if part.padding_mode == "zeros" else part.padding_mode)
    for axis, (size, step, apart) in enumerate(zip(part.kernel_size, part.stride, part.dilation)):
        read = read.unfold(axis + 2, apart * (size - 1) + 1, step)[..., ::apart]
    n, channels = read.shape[:2]
    n_axes = len(part.kernel_size)
    read = read.flatten(2 + n_axes).flatten(2, 1 + n_axes)  # (n, channels, places, kernel)
    read = read.reshape(n, part.groups, channels // part.groups, *read.shape[2:])
    return read.transpose(2, 3).flatten(3)


def _weight_gram(read, slope, few, many, memory):
    """Return the inner products of sum_t g_t a_t^T between rows, for g and a of shape (n, T, .)."""
    n, places, fan_in = read.shape
    fan_out, itemsize = slope.shape[2], read.element_size()
    if places == 1:
        return (read[few, 0] @ read[many, 0].T) * (slope[few, 0] @ slope[many, 0].T)
    if places**2 * (fan_in + fan_out) < fan_in * fan_out:  # all pairs of places
        a, g = (values[many].reshape(-1, values.shape[2]) for values in (read, slope))
        size = max(1, memory // (2 * itemsize * places * len(a)))
        blocks = []
        for i in range(0, len(read[few]), size):
            b, h = (values[few][i : i + size].reshape(-1, values.shape[2]) for values in (read, slope))
            both = (b @ a.T) * (h @ g.T)
            blocks.append(both.reshape(len(b) // places, places, -1, places).sum(dim=(1, 3)))
        return torch.cat(blocks)
    size, gram = max(1, memory // (itemsize * n * fan_in)), 0.0
    for k in range(0, fan_out, size):
        jacobian = torch.bmm(slope[:, :, k : k + size].mT, read).flatten(1)
        gram = gram + jacobian[few] @ jacobian[many].T
    return gram


def _is_known(part):
    """Return whether input and output gradient determine the gradient of a layer."""
    kind = type(part)
    if part._parameters.get("weight") is None:
        return False
    return kind is nn.Linear or kind in _NORMS or kind in _CONVOLUTIONS


def _standardised(call, state):
    """Return the standardised values that a normalisation multiplies by its weight."""
    part, read = call.part, call.read
    if isinstance(part, nn.LayerNorm):
        return F.layer_norm(read, part.normalized_shape, eps=part.eps)
    if isinstance(part, nn.GroupNorm):
        return F.group_norm(read, part.num_groups, eps=part.eps)
    mean, variance = (state[f"{call.name}.{which}".removeprefix(".")] for which in ("running_mean", "running_var"))
    return F.batch_norm(read, mean, variance, eps=part.eps)


def _per_feature(part, values):
    """Return values summed over the places at which a normalisation uses the same weight, (n, n_weights)."""
    if isinstance(part, nn.LayerNorm):
        return values.reshape(len(values), -1, part.weight.numel()).sum(1)
    return values.reshape(len(values), part.weight.numel(), -1).sum(2)
