"""Pack rows of any shape and type into one matrix, and unpack them for a module of PyTorch."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch


class Layout(NamedTuple):
    """Layout of packed rows: the key, shape and dtype of each part, and the container of the parts.

    Parameters
    ----------
    parts : tuple of (key, shape, dtype)
        The dtype is None for floating-point numbers, which take the precision of the network.
    holder : {'one', 'tuple', 'dict'}
    """

    parts: tuple
    holder: str

    @property
    def is_real(self):
        """Whether all parts are floating-point numbers, which can be differentiated."""
        return all(dtype is None for _, _, dtype in self.parts)

    def rows(self, matrix, dtype):
        """Unpack a tensor of packed rows for the module."""
        found, start = {}, 0
        for key, shape, kind in self.parts:
            size = int(np.prod(shape, dtype=int))
            part = matrix[:, start : start + size].reshape(len(matrix), *shape)
            found[key] = part.to(dtype if kind is None else kind)
            start += size
        return found if self.holder == "dict" else tuple(found.values()) if self.holder == "tuple" else found[0]


def packed(X, name="X"):
    """Pack rows into a float64 matrix of shape (n_samples, n_columns); return it and the Layout."""
    holder = "dict" if isinstance(X, Mapping) else "tuple" if isinstance(X, tuple) else "one"
    parts = list(X.items()) if holder == "dict" else list(enumerate(X)) if holder == "tuple" else [(0, X)]
    columns, shapes = [], []
    for key, part in parts:
        part = part.toarray() if hasattr(part, "toarray") else part
        part = part.detach().cpu() if isinstance(part, torch.Tensor) else torch.as_tensor(np.asarray(part))
        if part.ndim == 0 or part.is_complex():
            raise ValueError(
                f"{name} must hold arrays of real numbers with one entry per row; got {part.dtype} {part.shape}."
            )
        shapes.append((key, tuple(part.shape[1:]), None if part.is_floating_point() else part.dtype))
        columns.append(part.reshape(len(part), -1).to(torch.float64).numpy())
    lengths = {len(part) for part in columns}
    if len(lengths) != 1:
        raise ValueError(f"The parts of {name} must have the same number of rows; got {sorted(lengths)}.")
    matrix = np.hstack(columns)
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} contains NaN or infinity; a network needs finite numbers.")
    return matrix, Layout(tuple(shapes), holder)


def is_dataset(X):
    """Return whether rows are given as a Dataset."""
    return isinstance(X, torch.utils.data.Dataset)


def of_dataset(data):
    """Return the rows and the targets of a Dataset of pairs."""
    items = [data[k] for k in range(len(data))]
    if not all(isinstance(item, (tuple, list)) and len(item) == 2 for item in items):
        raise ValueError("A Dataset must yield pairs (row, target). Otherwise give X and y as arrays.")
    rows, targets = torch.utils.data.default_collate([tuple(item) for item in items])
    return tuple(rows) if isinstance(rows, list) else rows, np.asarray(targets)
