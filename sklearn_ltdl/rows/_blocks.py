"""Blocks of rows as they are read, and the numbers and labels in them; errors name the file, the column and the row."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive rows of one block of a source.

    Parameters
    ----------
    X : RecordBatch, DataFrame, ndarray or other
        As read, or as maps made it.
    y : ndarray of shape (n_rows,) or (n_rows, n_targets), or RecordBatch of the target
    weight, groups : ndarray of shape (n_rows,) or None
    first : int
        Number of the first row among all rows.
    start : int
        Number of the first row in its row group, chunk or partition.
    where : str
        The name of that.
    target : tuple of str
        Names of the target's columns, empty if they have none.
    """

    X: Any
    y: Any
    weight: np.ndarray | None
    groups: np.ndarray | None
    first: int
    start: int
    where: str
    target: tuple = ()

    @property
    def n_rows(self):
        """Return the number of rows."""
        return len(self.y)

    def take(self, rows):
        """Return some rows."""
        others = [None if array is None else array[rows] for array in (self.weight, self.groups)]
        X = self.X.iloc[rows] if hasattr(self.X, "iloc") else self.X[rows]
        return replace(self, X=X, y=self.y[rows], weight=others[0], groups=others[1])

    @classmethod
    def joined(cls, blocks):
        """Return the rows of several blocks."""
        if len(blocks) == 1:
            return blocks[0]
        first = blocks[0]
        columns = {
            name: None if getattr(first, name) is None else np.concatenate([getattr(block, name) for block in blocks])
            for name in ("y", "weight", "groups")
        }
        return replace(first, X=_stacked([block.X for block in blocks]), **columns)

    def error(self, rows, column, what, remedy):
        """Return the error for some rows of a column, of which the first is named."""
        return ValueError(
            f"{self.where}: {column} has {what} in row {self.start + int(rows[0])}, and in {len(rows)} rows of this "
            f"block. {remedy}"
        )

    def numbers(self):
        """Return the block with features in float64, in C order, all finite."""
        X = self.X
        if hasattr(X, "toarray"):
            X = X.toarray()
        names = list(getattr(X, "columns", ()))
        if names and not all(getattr(kind, "kind", "O") in "biuf" for kind in X.dtypes):
            X = np.column_stack([float_column(self, X[name].to_numpy(), repr(name)) for name in names])
        try:
            X = np.ascontiguousarray(X, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.where}: the features are not numbers ({error}). {ENCODE}") from error
        if X.ndim != 2 or len(X) != self.n_rows:
            raise ValueError(
                f"{self.where}: a map returned shape {X.shape}; expected 2 dimensions and {self.n_rows} rows."
            )
        refuse_infinite(self, X, names)
        return replace(self, X=X)


ENCODE = "Map them to numbers: rows.map(make_table_pipeline(model).fit(*rows.sample(100_000))[:-1].transform)."
FILL = "Leave such rows out, or fill them in a map: rows.map(function)."


def refuse_infinite(block, X, names):
    """Raise the error that names the column and the row of a number that is not finite."""
    if np.isfinite(X.sum()) or np.isfinite(X).all():
        return
    row, j = np.argwhere(~np.isfinite(X))[0]
    column = repr(names[j]) if len(names) else f"column {j} of X"
    value = "NaN" if np.isnan(X[row, j]) else "infinity"
    raise block.error(np.flatnonzero(~np.isfinite(X[:, j])), column, value, FILL)


def float_column(block, values, name):
    """Return an array as float64; missing values are NaN."""
    if getattr(getattr(values, "dtype", None), "kind", "O") in "mM":
        raise ValueError(f"{block.where}: {name} holds dates or durations ({values.dtype}); expected numbers. {ENCODE}")
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        pass
    if np.asarray(values).dtype.kind == "O" and not any(isinstance(value, str | bytes) for value in values):
        return np.array([np.nan if value is None else float(value) for value in values])
    text = next((value for value in values if isinstance(value, str | bytes)), values[0])
    raise ValueError(f"{block.where}: {name} holds {str(text)[:40]!r}, which is no number. {ENCODE}")


def _stacked(parts):
    if hasattr(parts[0], "iloc"):
        import pandas as pd

        return pd.concat(parts, ignore_index=True)
    if hasattr(parts[0], "toarray"):
        from scipy import sparse

        return sparse.vstack(parts, format="csr")
    return np.concatenate(parts)


def blocks_of(handles, columns, maps, numeric=False):
    """Yield the blocks of some numbered handles, their features mapped; as float64 if `numeric`."""
    for handle, first in handles:
        start = 0
        for piece in handle.read(columns.all if columns.target else ()):
            block = _block(piece, columns, first + start, start, handle.where)
            n = block.n_rows
            start += n
            if n == 0:
                continue
            if isinstance(piece, tuple):
                X = block.X
            else:
                X = _features(block, piece, columns.features, numeric and not maps)
            for function in maps:
                try:
                    X = function(X)
                except Exception as error:
                    raise RuntimeError(f"{handle.where}: a map failed ({type(error).__name__}: {error}).") from error
            block = replace(block, X=X)
            yield block.numbers() if numeric else block
        if handle.n_rows is not None and start != handle.n_rows:
            raise ValueError(f"{handle.where}: expected {handle.n_rows} rows, read {start}; scan the source again.")


def _block(piece, columns, first, start, where):
    if isinstance(piece, tuple):
        X, y, weight, groups = piece
        block = Block(X, np.asarray(y), None, groups, first, start, where)
        return block if weight is None else replace(block, weight=_checked_weight(block, weight, "sample_weight"))
    bare = Block(None, (), None, None, first, start, where, columns.target)
    y = [_values(piece.column(name)) for name in columns.target]
    y = y[0] if columns.flat else np.column_stack(y)
    weight = groups = None
    if columns.weight is not None:
        weight = _checked_weight(bare, _floats(bare, piece, columns.weight), f"the weight {columns.weight!r}")
    if columns.groups is not None:
        groups = _values(piece.column(columns.groups))
    return replace(bare, y=y, weight=weight, groups=groups)


def _checked_weight(block, weight, name):
    """Return weights as float64, or raise an error that names a row without a finite number of at least 0."""
    weight = float_column(block, np.asarray(weight), name)
    if weight.ndim != 1:
        raise ValueError(f"{block.where}: {name} has shape {weight.shape}; expected one number for each row.")
    bad = np.flatnonzero(~(weight >= 0) | np.isinf(weight))
    if len(bad):
        raise block.error(bad, name, f"{weight[bad[0]]:g}", "Give numbers of at least 0.")
    return weight


def _features(block, batch, names, numeric):
    """Return the features of a record batch: a frame, or numbers where no map needs a frame."""
    if not numeric:
        return batch.select(list(names)).to_pandas()
    X = np.empty((batch.num_rows, len(names)))
    for j, name in enumerate(names):
        X[:, j] = _floats(block, batch, name)
    refuse_infinite(block, X, names)
    return X


def _floats(block, batch, name):
    """Return a column of a record batch as float64, NaN where it is missing."""
    from pyarrow import types

    values = batch.column(name)
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if types.is_floating(kind) or types.is_integer(kind):
        return values.to_numpy(zero_copy_only=False)
    if types.is_boolean(kind) or types.is_decimal(kind) or types.is_null(kind):
        return values.cast("float64", safe=False).to_numpy(zero_copy_only=False)
    if types.is_temporal(kind):
        raise ValueError(f"{block.where}: {name!r} holds dates or times ({kind}); expected numbers. {ENCODE}")
    return float_column(block, values.to_numpy(zero_copy_only=False), repr(name))


def _values(column):
    """Return a column as an array: numbers, or objects."""
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    return column.to_numpy(zero_copy_only=False)
