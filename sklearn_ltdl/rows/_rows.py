"""Tables that are read block by block: what `scan` returns, and estimators take in the place of arrays."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_ltdl._sklearn import check_number, remember_columns
from sklearn_ltdl.rows._blocks import Block, blocks_of
from sklearn_ltdl.rows._gather import gather, in_leaves
from sklearn_ltdl.rows._sampled import Drawn, draw, limit_of
from sklearn_ltdl.rows._sources import Stream, listed, partitions_of_arrays


class Columns(NamedTuple):
    """The columns of a table by their part; empty where the parts are arrays of their own."""

    features: tuple = ()
    target: tuple = ()
    weight: str | None = None
    groups: str | None = None
    flat: bool = True  # whether the target is one column, and y has one dimension

    @property
    def all(self):
        """Return the names to read."""
        others = [name for name in (self.weight, self.groups) if name is not None]
        return tuple(dict.fromkeys([*self.features, *self.target, *others]))


@dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """Rows of a table that are read block by block, and never all at once; `scan` makes them.

    Iterating yields ``(X, y, weight)`` of one block after the other, of at most 65 536 rows: `X` is a DataFrame of the
    columns, or what the functions of `map` made of it, `weight` is None without weights. ``len(rows)`` is the number of
    rows, which Parquet files know and other sources are read for.

    Parameters
    ----------
    handles : list
        What reads each block.
    columns : Columns
        The columns by their part.
    maps : tuple of callables
        Applied to the features of each block, one after the other.
    numeric : bool, default=False
        Whether features are read as float64 and checked, as estimators take them.

    See Also
    --------
    scan : Makes rows of files, datasets, Dask collections and streams.
    """

    handles: list
    columns: Columns
    maps: tuple = ()
    numeric: bool = False

    def map(self, function: Callable[[Any], Any]) -> Self:
        """Return rows whose features have passed through a function, such as the `transform` of a fitted pipeline.

        Parameters
        ----------
        function : callable
            From the features of a block to an array or frame of as many rows. It is called in every pass over the rows,
            and pickled for the workers of a cluster.

        Returns
        -------
        rows : Rows
        """
        if not callable(function):
            raise TypeError(f"function is {function!r}; expected a callable, such as pipeline.transform.")
        return replace(self, maps=(*self.maps, function))

    def sample(self, n: int, *, random_state: int = 0) -> tuple[Any, ...]:
        """Return about the first n rows of a random order: n rows drawn without replacement, in their own order.

        A row is drawn by a hash of its number alone, whatever the order of the rows and their partition into blocks.
        Rows of weight 0 are not drawn.

        Parameters
        ----------
        n : int
            Number of rows; all of them, if there are fewer.
        random_state : int, default=0
            Of another number, other rows are drawn.

        Returns
        -------
        X, y : DataFrame or ndarray, and ndarray
            What `fit` of an estimator takes: ``model.fit(*rows.sample(100_000))``.
        weight, groups : ndarray
            Only with a column of weights, or of groups; `weight` is then None if there are groups alone.
        """
        check_number("n", n, Integral, 0)
        drawn = look(self, draw, n, random_state)[-1]
        others = [drawn.weight, drawn.groups]
        while others and others[-1] is None:
            others.pop()
        return (drawn.X, drawn.y, *others)

    @property
    def _known_length(self):
        """Return the number of rows, None if it is unknown before they are read."""
        sizes = [handle.n_rows for handle in self.handles]
        return None if None in sizes else sum(sizes)

    def __len__(self) -> int:
        """Return the number of rows, reading them if the source does not know it."""
        known = self._known_length
        return known if known is not None else (gather(_count, replace(self, maps=())) or (0,))[0]

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        """Yield ``(X, y, weight)`` of each block."""
        for block in blocks_of(self._numbered(), self.columns, self.maps, self.numeric):
            yield block.X, block.y, block.weight

    def __array__(self, *_, **__):
        raise TypeError("X is Rows, which are read block by block; give an array, or rows.sample(n).")

    def __repr__(self) -> str:
        known = self._known_length
        where = self.handles[0].where if self.handles else "nowhere"
        size = f"{known} rows" if known is not None else "rows"
        of = f" of {len(self.columns.features)} columns" if self.columns.features else ""
        return f"<Rows: {size}{of} in {len(self.handles)} blocks, from {where}>"

    @property
    def has_groups(self):
        """Return whether there is a column, or an array, of groups."""
        return self.columns.groups is not None or self._has_array(3)

    @property
    def has_weight(self):
        """Return whether there is a column, or an array, of weights."""
        return self.columns.weight is not None or self._has_array(2)

    def _has_array(self, place):
        """Return whether the rows come from arrays, X, y, weights and groups, of which that at a place is there."""
        arrays = next((handle.parts for handle in self.handles if hasattr(handle, "parts")), ())
        return len(arrays) == 4 and arrays[place] is not None

    def _numbered(self):
        """Return the handles with the number of their first row, by which rows are drawn.

        The numbers of blocks of unknown size are far apart.
        """
        first, numbered = 0, []
        for k, handle in enumerate(self.handles):
            numbered.append((handle, first))
            first = first + handle.n_rows if handle.n_rows is not None else (k + 1) << 40
        return numbered

    def _client(self):
        """Return the active client of a Dask cluster, None if there is none, or if the rows are one stream."""
        if "distributed" not in sys.modules or any(isinstance(handle, Stream) for handle in self.handles):
            return None
        from distributed import Client

        try:
            return Client.current()
        except ValueError:
            return None

    def _leaves(self):
        """Yield the blocks of each leaf."""
        for leaf in self._handles_of_leaves():
            yield blocks_of(leaf, self.columns, self.maps, self.numeric)

    def _handles_of_leaves(self):
        """Return the numbered handles of each leaf."""
        return in_leaves(self._numbered(), [handle.n_rows for handle in self.handles])


def as_numbers(rows):
    """Return the rows as estimators read them: features in float64, all finite."""
    return replace(rows, numeric=True)


def look(rows, statistic, n, seed):
    """Return what one pass tells, of which the last is a block of n rows drawn at random.

    Parameters
    ----------
    statistic : callable
        Returns the rows that may be drawn, `draw`, as the last of its tuple.
    n, seed : int
    """
    *told, part = look_for(rows, statistic, n, seed)
    return (*told, part.block())


def look_for(rows, statistic, n, seed):
    """Return the same, of which the last is the Part of these rows, with their numbers."""
    state = Drawn.of(n, seed, rows._known_length)
    found = gather(statistic, rows, state)
    if found is None:
        raise ValueError(f"{rows!r}: expected rows, got none.")
    part = found[-1]
    if len(part.numbers) < n and state.limit < limit_of(n, None):  # rows of weight 0 have taken their places
        (part,) = gather(draw, rows, Drawn.of(n, seed, None))
    if not len(part.numbers):
        raise ValueError(f"{rows!r}: expected rows, got none of positive weight.")
    return (*found[:-1], part)


def count_and_draw(block, state):
    """Return the number of rows of a block, and those that may be drawn; a statistic of `gather`."""
    return block.n_rows, *draw(block, state)


def sample_of(rows, n):
    """Return a block of the rows that `read_table` draws of the same file, their numbers, and the number of all."""
    n_rows, part = look_for(rows, count_and_draw, n, 0)
    return part.block(), np.sort(part.least().numbers).astype(np.int64), n_rows


def head(rows):
    """Return the features of the first row, of which names and number are of interest."""
    for X, *_ in replace(rows, numeric=False):
        if rows.columns.features and not rows.maps and not hasattr(X, "columns"):
            import pandas as pd

            return pd.DataFrame(X[:1], columns=list(rows.columns.features))
        return X[:1]
    raise ValueError(f"{rows!r}: expected rows, got none.")


def scan(
    source: Any,
    *,
    target: Any,
    columns: list[str] | None = None,
    weight: Any = None,
    groups: Any = None,
) -> Rows:
    """Return the rows of a table that is too large for memory, for estimators that read it block by block.

    Nothing is read but the names of columns and the sizes of row groups. With an active Dask client, the
    blocks are read, and worked on, by the workers of its cluster.

    Parameters
    ----------
    source : path, list of paths, pyarrow dataset, Dask frame or array, or callable
        A path is that of a Parquet file, of a folder of them, or a pattern such as ``"trips/*.parquet"``. A callable
        returns an Arrow stream, from its beginning in each call: a ``pyarrow.RecordBatchReader``, or what polars and
        DuckDB return. It is called once in every pass over the rows.
    target : str, list of str, or Dask array
        The column to predict, several of them, or the targets of a Dask array of features.
    columns : list of str, default=None
        The features, in this order; None for all other columns of the first file.
    weight : str or Dask array, default=None
        Column of the sample weights.
    groups : str or Dask array, default=None
        Column of the groups whose rows kernel machines leave out together, and `RFMRegressor`, `RFMClassifier` and
        `compare` keep in one fold.

    Returns
    -------
    rows : Rows

    See Also
    --------
    Rows : What can be done with them.

    Examples
    --------
    >>> import numpy as np, pandas as pd, tempfile
    >>> from sklearn_ltdl import NTKKernelRegressor, scan
    >>> X = np.random.default_rng(0).normal(size=(3000, 2))
    >>> table = pd.DataFrame(X, columns=["a", "b"]).assign(y=np.abs(X[:, 0]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table.to_parquet(f"{folder}/table.parquet", row_group_size=1000)
    ...     rows = scan(f"{folder}/*.parquet", target="y")
    ...     model = NTKKernelRegressor(n_components=100, random_state=0).fit(rows)
    >>> round(model.score(table[["a", "b"]], table["y"]), 2)
    1.0
    """
    if hasattr(source, "__dask_graph__") and hasattr(target, "__dask_graph__"):
        return Rows(partitions_of_arrays(source, target, weight, groups), Columns(flat=target.ndim == 1))
    handles, names = listed(source)
    flat = isinstance(target, str)
    target = (target,) if flat else tuple(target)
    taken = {*target, weight, groups}
    features = tuple(name for name in names if name not in taken) if columns is None else tuple(columns)
    for what, asked in (("target", target), ("columns", features), ("weight", (weight,)), ("groups", (groups,))):
        for name in asked:
            if name is not None and name not in names:
                raise ValueError(
                    f"{what} has {name!r}, which is no column; there are {', '.join(map(str, names[:20]))}."
                )
            if what == "columns" and name in taken:
                raise ValueError(f"columns has {name!r}, which is the target, the weight or the groups.")
    if not target or not features:
        raise ValueError(f"expected a target and at least one feature, got {len(target)} and {len(features)}.")
    return Rows(handles, Columns(features, target, weight, groups, flat))


def as_rows(X, y=None, sample_weight=None, groups=None):
    """Return rows if the data are Rows or Dask collections, which are read block by block, else None."""
    if isinstance(X, Rows):
        for name, value in (("y", y), ("sample_weight", sample_weight), ("groups", groups)):
            if value is not None:
                raise ValueError(f"{name} is inside the Rows; name its column in scan, and give fit the rows alone.")
        return X
    if not hasattr(X, "__dask_graph__"):
        return None
    if y is None:
        raise ValueError("X is a Dask collection and y is None; give y as a Dask collection too.")
    y = y if hasattr(y, "ndim") else np.asarray(y)
    if hasattr(X, "to_dask_array"):
        names = tuple(map(str, X.columns))
        rows = Rows(partitions_of_arrays(X.to_dask_array(), y, sample_weight, groups), Columns(flat=y.ndim == 1))
        return replace(rows, columns=rows.columns._replace(features=names))
    return Rows(partitions_of_arrays(X, y, sample_weight, groups), Columns(flat=y.ndim == 1))


def rows_to_fit(estimator, X, y=None, sample_weight=None, groups=None, *, reset=True):
    """Return rows as an estimator reads them, or None of arrays; see `as_rows`.

    The estimator stores their columns; if `reset` is false, they are compared with the stored ones.
    """
    rows = as_rows(X, y, sample_weight, groups)
    if rows is None:
        return None
    remember_columns(estimator, head(rows), reset=reset)
    return as_numbers(rows)


def _count(block: Block, state):
    return (block.n_rows,)
