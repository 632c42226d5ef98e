import platform
import socket
import sys
import time
import types

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_ltdl import __version__, _watch, compare
from sklearn_ltdl.cli import main
from sklearn_ltdl.running._journal import Journal
from sklearn_ltdl.running._pool import run_each

dask = pytest.importorskip("dask", reason="needs the extra dask")
distributed = pytest.importorskip("distributed", reason="needs the extra dask")


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", worker_dashboard_address=None
    ) as cluster:
        yield cluster


def outcome(comparison):
    rows = [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in comparison.results]
    return comparison.verdict, rows, comparison.evidence


def test_a_cluster_gives_the_results_of_this_process(cluster):
    X, y = load_diabetes(return_X_y=True)
    options = {"models": ["linear", "ntk", "lazy"], "repeats": 1, "cv": 3}
    here = compare(X[:200], y[:200], **options)
    there = compare(X[:200], y[:200], **options, backend="dask", scheduler=cluster.scheduler_address)
    assert outcome(there) == outcome(here)


def test_both_workers_take_part(cluster):
    with distributed.Client(cluster.scheduler_address) as client:
        job = "[__import__('time').sleep(0.3), __import__('os').getpid()][1]"
        pids = {pid for _, pid in run_each(eval, [(job,)] * 6, scheduler=client)}
        assert pids == set(client.run(eval, "__import__('os').getpid()").values())
        assert client.status == "running"  # a client that was given is left open


def test_what_the_workers_cannot_import_is_an_error_and_no_hang(cluster):
    here = types.ModuleType("only_here")
    exec("def double(x):\n    return 2 * x", here.__dict__)
    sys.modules["only_here"] = here
    try:
        with pytest.raises(ModuleNotFoundError, match="only_here"):
            list(run_each(here.double, [(1,)], scheduler=cluster.scheduler_address))
    finally:
        del sys.modules["only_here"]


def test_a_job_beyond_the_limit_is_killed_and_the_others_run(cluster):
    start = time.monotonic()
    jobs = [(0.0,), (600.0,), (0.0,), (0.0,)]
    results = dict(run_each(time.sleep, jobs, time_limit=2.0, scheduler=cluster.scheduler_address))
    assert time.monotonic() - start < 60
    assert str(results.pop(1)) == "stopped at the time limit of 2 s"
    assert results == {0: None, 2: None, 3: None}
    shared = np.arange(5.0)  # is still there for a worker that was started again
    sums = dict(run_each(np.dot, [(shared,)] * 4, shared=(shared,), scheduler=cluster.scheduler_address))
    assert sums == dict.fromkeys(range(4), 30.0)


def test_a_worker_that_is_killed_changes_no_result(cluster, tmp_path):
    def kill_once(table, marker=str(tmp_path / "killed")):
        import os
        import signal

        if not os.path.exists(marker):
            open(marker, "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return table

    journal, also = tmp_path / "run.jsonl", {"mine": make_pipeline(FunctionTransformer(kill_once), Ridge())}
    X, y = load_diabetes(return_X_y=True)
    options = {"models": ["linear"], "also": also, "cv": 3}
    there = compare(X, y, **options, backend="dask", scheduler=cluster.scheduler_address, journal=journal)
    assert (tmp_path / "killed").exists()
    assert there.failed == []
    assert len(Journal(journal).results) == 10
    assert outcome(there) == outcome(compare(X, y, **options))


def test_a_scheduler_that_does_not_answer_is_told_soon(capsys):
    with socket.socket() as listening:  # it accepts, and never speaks
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        start = time.monotonic()
        options = ["diabetes", "--models", "linear", "--backend", "dask", "--scheduler", address]
        assert main(["compare", *options]) == 2
        assert time.monotonic() - start < 30  # 10 s, and the imports
    errors = capsys.readouterr().err
    assert "did not answer within 10 s" in errors
    assert "dask scheduler" in errors
    assert "Traceback" not in errors


def test_an_address_with_tls_takes_certificates(capsys, tmp_path):
    options = ["compare", "diabetes", "--models", "linear", "--scheduler", "tls://127.0.0.1:8786"]
    assert main(options) == 2
    assert (
        "for 'tls://127.0.0.1:8786', expected certificates of the client in Dask's configuration, which has none"
        in (capsys.readouterr().err)
    )
    names = ("ca-file", "client.cert", "client.key")
    with dask.config.set({f"distributed.comm.tls.{name}": str(tmp_path / "none.pem") for name in names}):
        assert main(options) == 2
    errors = capsys.readouterr().err
    assert "names files that cannot be used" in errors
    assert "Traceback" not in errors


def test_a_scheduler_without_workers_is_told():
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        pytest.raises(ConnectionError, match="has no workers; start some with `dask worker"),
    ):
        list(run_each(time.sleep, [(0,)], scheduler=empty.scheduler_address))


def test_a_worker_of_another_version_is_named(cluster):
    address = sorted(cluster.workers.values(), key=str)[0].worker_address
    rename = "setattr(__import__('sklearn_ltdl'), '__version__', {!r})"
    with distributed.Client(cluster.scheduler_address) as client:
        client.run(eval, rename.format("0.0.1"), workers=[address])
        try:
            with pytest.raises(
                RuntimeError, match=rf"workers with sklearn_ltdl 0\.0\.1; expected {__version__}, as the"
            ):
                list(run_each(time.sleep, [(0,)], scheduler=client))
        finally:
            client.run(eval, rename.format(__version__), workers=[address])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="OpenBLAS takes the name of another x86 processor")
def test_workers_with_different_processors_are_reported_once():
    older = {"OPENBLAS_CORETYPE": "Nehalem"}  # whose instructions the processors of today have as well
    workers = {
        k: {"cls": distributed.Nanny, "options": {"nthreads": 1, "env": env}} for k, env in enumerate([{}, older])
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": ":0"}}
    with (
        distributed.SpecCluster(workers=workers, scheduler=scheduler) as cluster,
        pytest.warns(UserWarning, match=r"workers of the Dask cluster have different processors \(.*Nehalem") as caught,
    ):
        assert dict(run_each(eval, [("1",)] * 3, scheduler=cluster.scheduler_address)) == dict.fromkeys(range(3), 1)
    assert sum("different processors" in str(warning.message) for warning in caught) == 1


@pytest.mark.parametrize("lost", ["before the next job", "during it"])
def test_a_cluster_that_loses_its_workers_is_told(monkeypatch, lost):
    monkeypatch.setattr(_watch, "PATIENCE", 1.0)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", worker_dashboard_address=None
    ) as cluster:
        jobs = run_each(time.sleep, [(0,), (3,)], scheduler=cluster.scheduler_address)
        assert next(jobs) == (0, None)
        cluster.scale(0)
        if lost == "before the next job":
            with distributed.Client(cluster.scheduler_address) as client:
                while client.nthreads():
                    time.sleep(0.01)
        with pytest.raises(RuntimeError, match="The Dask cluster has had no workers for 1 s"):
            list(jobs)
