import os
import time

import pytest

from sklearn_ltdl.study._pool import JobError, run_each


def test_jobs_run_here_unless_asked_otherwise():
    assert list(run_each(os.getpid, [(), ()])) == [(0, os.getpid()), (1, os.getpid())]


def test_every_job_gets_its_own_result_from_workers():
    results = dict(run_each(divmod, [(i, 3) for i in range(7)], n_jobs=2))
    assert results == {i: divmod(i, 3) for i in range(7)}
    pids = {pid for _, pid in run_each(os.getpid, [(), ()], n_jobs=2)}
    assert os.getpid() not in pids


def test_a_job_beyond_the_limit_is_killed_and_the_others_run():
    start = time.monotonic()
    results = dict(run_each(time.sleep, [(0.0,), (600.0,), (0.0,)], time_limit=1.0))
    assert time.monotonic() - start < 60
    assert results[0] is None
    assert results[2] is None
    assert isinstance(results[1], JobError)
    assert str(results[1]) == "stopped at the time limit of 1 s"


def test_a_worker_that_dies_is_a_reason_and_the_others_run():
    results = dict(run_each(eval, [("1 + 1",), ("__import__('os')._exit(1)",), ("2 + 2",)], time_limit=100))
    assert (results[0], results[2]) == (2, 4)
    assert "the worker process died" in str(results[1])


def test_no_worker_is_left_behind():
    with pytest.raises(ZeroDivisionError):
        list(run_each(divmod, [(1, 1), (1, 0)], time_limit=100))
    jobs = run_each(os.getpid, [(), ()], time_limit=100)
    _, worker = next(jobs)
    os.kill(worker, 0)  # it is there
    jobs.close()  # as an interruption does
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_the_total_time_ends_what_runs_and_what_waits():
    start = time.monotonic()
    jobs = [(0.0,), (600.0,), (600.0,), (600.0,)]
    results = dict(run_each(time.sleep, jobs, n_jobs=2, total_time=6.0))
    assert time.monotonic() - start < 60
    assert results[0] is None
    assert {str(results[1]), str(results[2])} == {"stopped at the total time of 6 s"}
    assert str(results[3]) == "not run, the total time of 6 s was over"
    assert {results[k].missing for k in (1, 2, 3)} == {"time"}
