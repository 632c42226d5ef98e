"""Where rows come from: handles of blocks, which are small, can be pickled, and read their block where they are used.

A handle has `n_rows`, None if it is unknown, `where`, by which errors name it, and `read`, which yields its rows in
pieces of at most `piece_rows` rows, tables as Arrow record batches.
"""

import os
import platform
from collections.abc import Callable
from typing import Any, NamedTuple

from sklearn_ltdl._pieces import batches, parquet_files, piece_rows


class ParquetGroup(NamedTuple):
    """A row group of a Parquet file, and the state of the file when it was listed."""

    path: str
    group: int
    n_rows: int
    size: int
    modified: int

    @property
    def where(self):
        """Return the name for errors."""
        return f"{self.path}, row group {self.group}"

    def read(self, names):
        """Yield record batches of the columns."""
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        try:
            state = os.stat(self.path)
            if (state.st_size, state.st_mtime_ns) != (self.size, self.modified):
                raise ValueError(
                    f"{self.path}: the file has changed since it was listed; scan it again, and fit again."
                )
            with ParquetFile(self.path, pre_buffer=False) as file:
                known = file.schema_arrow.names
                for name in names:
                    if name not in known:
                        raise ValueError(f"{self.path}: there is no column {name!r}; it has {', '.join(known[:20])}.")
                yield from batches(file, names, [self.group])
        except FileNotFoundError as error:
            raise ValueError(
                f"{self.path}: there is no such file on {platform.node()}; "
                "each machine that reads must see it under this name."
            ) from error
        except (OSError, ArrowException) as error:
            raise ValueError(f"{self.where}: it cannot be read ({' '.join(str(error).split())}).") from error


class Fragment(NamedTuple):
    """A part of a pyarrow dataset: a row group of Parquet, or a file of another format."""

    fragment: Any
    schema: Any
    n_rows: int | None
    where: str

    def read(self, names):
        """Yield record batches of the columns."""
        scanner = self.fragment.scanner(
            schema=self.schema,
            columns=list(names),
            batch_size=piece_rows(len(names)),
            batch_readahead=1,
            fragment_readahead=1,
            use_threads=False,
        )
        yield from scanner.to_batches()


class Partition(NamedTuple):
    """A partition of Dask collections: of a frame, or of the arrays of features, target, weights and groups."""

    parts: tuple
    n_rows: int | None
    where: str

    @property
    def is_persisted(self):
        """Return whether tasks of a cluster hold what the partition is made of."""
        graph = {key: task for part in self.parts if part is not None for key, task in part.__dask_graph__().items()}
        needed = {part.key for part in self.parts if part is not None}
        needed |= {key for task in graph.values() for key in getattr(task, "dependencies", ())}
        return not needed <= graph.keys() or any(type(task).__name__ == "Future" for task in graph.values())

    def read(self, names):
        """Yield record batches of the columns of a frame, or tuples of arrays."""
        import dask

        are_tasks = any(map(dask.is_dask_collection, self.parts))  # not on a worker that was given what it persisted
        here = {"scheduler": "synchronous"} if are_tasks and not self.is_persisted else {}
        if len(names):
            import pyarrow

            frame = dask.compute(*self.parts, **here)[0]
            batch = pyarrow.RecordBatch.from_pandas(frame[list(names)], preserve_index=False)
            yield from _sliced(batch, len(names))
        else:
            arrays = dask.compute(*self.parts, **here)
            for name, array in zip(("X", "y", "sample_weight", "groups"), arrays):
                if array is not None and len(array) != len(arrays[0]):
                    raise ValueError(f"{self.where}: {name} has {len(array)} rows, X has {len(arrays[0])}.")
            step = piece_rows(arrays[0].shape[1])
            for i in range(0, len(arrays[0]), step):
                yield tuple(None if array is None else array[i : i + step] for array in arrays)


class Stream(NamedTuple):
    """What a function returns: an Arrow stream, which is read from its beginning in every pass."""

    open: Callable
    n_rows: int | None = None
    where: str = "the stream"

    def read(self, names):
        """Yield record batches of the columns."""
        with self.reader() as reader:
            known = reader.schema.names
            for batch in reader:
                yield from _sliced(batch.select([known.index(name) for name in names]), len(names))

    def reader(self):
        """Return the stream, from its beginning."""
        import pyarrow

        stream = self.open()
        if isinstance(stream, pyarrow.RecordBatchReader):
            return stream
        if not hasattr(stream, "__arrow_c_stream__"):
            raise TypeError(
                f"source() returned {type(stream).__name__}; expected an Arrow stream, such as a "
                "pyarrow.RecordBatchReader, a polars DataFrame or what DuckDB's arrow() returns."
            )
        return pyarrow.RecordBatchReader.from_stream(stream)


def _sliced(batch, n_columns):
    step = piece_rows(n_columns)
    return (batch.slice(i, step) for i in range(0, batch.num_rows, step))


def listed(source):
    """Return the handles of a source, and the names of its columns."""
    if callable(source):
        return [Stream(source)], Stream(source).reader().schema.names
    if hasattr(source, "get_fragments"):
        return _fragments(source)
    if hasattr(source, "__dask_graph__"):
        return _partitions(source)
    return _row_groups(parquet_files(source))


def _row_groups(files):
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    handles, names = [], None
    for path in map(str, files):
        try:
            state = os.stat(path)
            with ParquetFile(path, pre_buffer=False) as file:
                if names is None:
                    names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
                sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        except FileNotFoundError:
            raise ValueError(f"{path}: there is no such file.") from None
        except (OSError, ArrowException) as error:
            raise ValueError(
                f"{path}: expected a Parquet file ({' '.join(str(error).split())}). Text files are converted by DuckDB "
                "or polars in one line, such as polars.scan_csv(name).sink_parquet(new_name)."
            ) from error
        handles += [ParquetGroup(path, k, n, state.st_size, state.st_mtime_ns) for k, n in enumerate(sizes)]
    return handles, names


def _fragments(dataset):
    handles = []
    for fragment in dataset.get_fragments():
        path = getattr(fragment, "path", "the dataset")
        if hasattr(fragment, "split_by_row_group"):
            for part in fragment.split_by_row_group():
                group = part.row_groups[0]
                handles.append(Fragment(part, dataset.schema, group.num_rows, f"{path}, row group {group.id}"))
        else:
            handles.append(Fragment(fragment, dataset.schema, None, path))
    return handles, dataset.schema.names


def _partitions(frame):
    if not hasattr(frame, "columns"):
        raise TypeError(
            "source is a Dask array; give scan(X, target=y), with the target as a Dask array as well, or a Dask frame."
        )
    handles = [Partition((part,), None, f"partition {k}") for k, part in enumerate(frame.to_delayed())]
    return handles, [str(name) for name in frame.columns]


def partitions_of_arrays(X, y, weight, groups):
    """Return the handles of Dask arrays of as many rows: X of shape (n, n_features), and others or None."""
    import dask.array as da

    if X.ndim != 2:
        raise ValueError(f"X is a Dask array of {X.ndim} dimensions; expected 2, a row a sample.")
    X = X.rechunk({1: X.shape[1]})
    columns = []
    for name, array in (("y", y), ("sample_weight", weight), ("groups", groups)):
        if array is None:
            columns.append([None] * X.numblocks[0])
            continue
        if hasattr(array, "to_dask_array"):
            array = array.to_dask_array()
        if not hasattr(array, "__dask_graph__"):
            array = da.from_array(array, chunks=len(array))
        known = not any(size != size for size in (*X.chunks[0], *array.chunks[0]))
        if known and len(array) != len(X):
            raise ValueError(f"{name} has {len(array)} rows, X has {len(X)}.")
        if known:
            array = array.rechunk({0: X.chunks[0]})
        if array.ndim > 1:
            array = array.rechunk({1: array.shape[1]})
        if array.numblocks[0] != X.numblocks[0]:
            raise ValueError(
                f"{name} has {array.numblocks[0]} chunks of rows and X {X.numblocks[0]}; rechunk one as the other."
            )
        columns.append(list(array.to_delayed().ravel()))
    sizes = [None if size != size else int(size) for size in X.chunks[0]]
    rows = zip(X.to_delayed().ravel(), *columns)
    return [Partition(parts, n, f"chunk {k}") for k, (parts, n) in enumerate(zip(rows, sizes))]
