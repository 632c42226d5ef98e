"""A cluster gives the bits of one process, whichever of its workers are lost, and a sentence where it cannot."""

import os
import signal
import time
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor, SAGClassifier, SAGRegressor, _watch, scan
from sklearn_ltdl.rows import _cluster, _gather
from sklearn_ltdl.rows._gather import gather

distributed = pytest.importorskip("distributed", reason="needs the extra dask")

NAMES = list("abc")
FIT = NTKKernelRegressor(n_components=50, depth=1, random_state=0)


@pytest.fixture(scope="module")
def client():
    """Two worker processes of one thread, whose nannies restart them."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", worker_dashboard_address=None
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """40 row groups of 500 rows in two files, sorted by the target."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    X = rng.standard_normal((20_000, 3))
    table = pd.DataFrame(X, columns=NAMES).assign(y=np.abs(X[:, 0]) + 0.1 * rng.standard_normal(20_000))
    table = table.assign(k=np.digitize(table["y"], [0.5, 1.0]), w=rng.integers(0, 3, 20_000)).sort_values("y")
    for k in range(2):
        table[k * 10_000 : (k + 1) * 10_000].to_parquet(folder / f"{k}.parquet", row_group_size=500, index=False)
    return folder


@pytest.fixture(autouse=True)
def small_leaves(monkeypatch):
    monkeypatch.setattr(_gather, "LEAF_ROWS", 1500)  # 14 leaves


def rows_of(files, target="y"):
    return scan(files, target=target, columns=NAMES, weight="w")


def coefficients(model, rows, client=None):
    """Return all that a fit has found, in bytes, with one thread of BLAS here as in the tasks."""
    with threadpool_limits(1), nullcontext() if client is None else client.as_current():
        model.fit(rows)
    found = model.dual_coef_ if hasattr(model, "dual_coef_") else model.coef_
    return np.asarray(found).tobytes() + np.asarray(model.intercept_).tobytes()


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (FIT, "y"),
        (NTKKernelClassifier(n_components=40, depth=1, random_state=0), "k"),
        (SAGRegressor(), "y"),
        (SAGClassifier(), "k"),
    ],
)
def test_a_cluster_gives_the_bits_of_one_process(client, files, model, target):
    rows = rows_of(files, target)
    assert coefficients(model, rows, client) == coefficients(model, rows)


class Killer:
    """A map that kills the worker process in which the n-th block of all is read."""

    def __init__(self, folder, *at):
        self.folder, self.at, self.here = str(folder), at, os.getpid()

    def __call__(self, X):
        if os.getpid() == self.here:
            return X
        for n in range(10_000):
            try:
                os.close(os.open(f"{self.folder}/{n}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            if n in self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return X


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    "at", [(25,), (62,), (10, 11, 70)], ids=["first pass", "second pass", "both workers and again"]
)
def test_a_killed_worker_changes_no_bit(client, files, tmp_path, at):
    rows = rows_of(files)
    expected = coefficients(FIT, rows.map(np.asarray))
    assert coefficients(FIT, rows.map(Killer(tmp_path, *at)), client) == expected
    assert len(os.listdir(tmp_path)) > 80  # of 80 blocks in two passes, some were read again


class Fatal:
    """A term whose addition kills the worker process, once."""

    def __init__(self, values, marker):
        self.values, self.marker, self.here = values, marker, os.getpid()

    def __add__(self, other):
        if len(self.values) == 8:
            try:
                os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return Fatal(self.values + other.values, self.marker)

    __iadd__ = __add__


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_worker_killed_in_an_addition_changes_nothing(client, files, tmp_path, monkeypatch):
    monkeypatch.setattr(_gather, "LEAF_ROWS", 1)

    def first_rows(block, marker):
        return (Fatal([block.first], marker),)

    with client.as_current():
        (found,) = gather(first_rows, rows_of(files), str(tmp_path / "killed"))
    assert found.values == list(range(0, 20_000, 500))
    assert (tmp_path / "killed").exists()


def test_a_block_that_fails_is_named(client, files):
    def fail(X):
        if X["a"].iloc[0] == bad:
            raise KeyError("nothing")
        return X

    bad = pd.read_parquet(files / "1.parquet")["a"].iloc[9000]
    with client.as_current(), pytest.raises(RuntimeError, match=r"1.parquet, row group 18: a map failed \(KeyError"):
        FIT.fit(rows_of(files).map(fail))


def test_a_file_that_changes_between_passes_is_an_error(client, tmp_path, rng):
    path = tmp_path / "table.parquet"
    pd.DataFrame(rng.standard_normal((3000, 4)), columns=[*NAMES, "y"]).to_parquet(path, row_group_size=500)
    rows = scan(path, target="y")
    os.utime(path, ns=(5, 5))
    with (
        client.as_current(),
        pytest.raises(ValueError, match="the file has changed since it was listed"),
    ):
        rows.sample(10)


def test_a_worker_that_joins_late_is_used(client, files):
    rows = rows_of(files)
    with (
        distributed.LocalCluster(
            n_workers=0, threads_per_worker=1, dashboard_address=":0", worker_dashboard_address=None
        ) as late,
        distributed.Client(late, set_as_default=False) as other,
    ):
        late.scale(1)
        assert coefficients(FIT, rows, other) == coefficients(FIT, rows)


def test_a_cluster_without_workers_is_an_error_and_no_hang(files, monkeypatch):
    monkeypatch.setattr(_watch, "PATIENCE", 2.0)
    monkeypatch.setattr(_cluster, "LOOKS", 0.5)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty, distributed.Client(empty) as other:
        start = time.monotonic()
        with other.as_current(), pytest.raises(RuntimeError, match="has had no workers for 2 s"):
            rows_of(files).sample(10)
        assert time.monotonic() - start < 60


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_block_that_kills_every_worker_is_a_sentence(files, tmp_path):
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0", worker_dashboard_address=None
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        sentence = r"died .* on .*\d.parquet, row group \d+, most often .* With 50 centres a worker needs about"
        rows = rows_of(files).map(Killer(tmp_path, *range(40, 1000)))  # every block of the second pass
        with client.as_current(), pytest.raises(MemoryError, match=sentence):
            FIT.fit(rows)


def test_dask_frames_and_arrays_are_read_by_the_workers(client, files):
    import dask.array as da
    from dask.dataframe import from_pandas

    table = pd.concat([pd.read_parquet(files / f"{k}.parquet") for k in range(2)], ignore_index=True)
    X, y = (da.from_array(table[names].to_numpy(), chunks=1000) for names in (NAMES, "y"))
    for rows in (scan(from_pandas(table, npartitions=9), target="y", columns=NAMES), scan(X, target=y)):
        assert coefficients(FIT, rows, client) == coefficients(FIT, rows)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_persisted_collections_outlive_a_worker(client, files):
    import dask.array as da
    from dask.dataframe import from_pandas

    table = pd.read_parquet(files / "0.parquet")[[*NAMES, "y"]]
    X, y = da.from_array(table[NAMES].to_numpy(), chunks=(1000, 3)), da.from_array(table["y"].to_numpy(), chunks=1000)
    frame, model = from_pandas(table, npartitions=10), SAGRegressor()
    expected = [coefficients(model, rows, client) for rows in (scan(X, target=y), scan(frame, target="y"))]
    with client.as_current():
        frame, (X, y) = client.persist(frame), client.persist([X, y])
        distributed.wait([frame, X, y])
    client.run(lambda: os.kill(os.getpid(), signal.SIGKILL), workers=[min(client.nthreads())], on_error="ignore")
    for k, rows in enumerate((scan(X, target=y), scan(frame, target="y"), scan(X + 0, target=y))):
        assert coefficients(model, rows, client) == expected[k % 2]
    with client.as_current():
        assert next(iter(rows))[0].shape == (1000, 3)  # in this process
