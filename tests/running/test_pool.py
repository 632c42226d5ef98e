import os
import sys
import time
import types
import warnings

import pytest

from sklearn_ltdl.running._pool import JobError, run_each


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


def test_what_a_worker_cannot_load_is_the_reason():
    module = types.ModuleType("only_here")
    exec("def double(x):\n    return 2 * x", module.__dict__)
    sys.modules["only_here"] = module
    try:
        with pytest.raises(JobError, match=r"cannot load its job .*No module named 'only_here'"):
            list(run_each(module.double, [(1,)], time_limit=100))
    finally:
        del sys.modules["only_here"]


def test_a_worker_that_grows_is_kept_without_a_word(capfd):
    pytest.importorskip("psutil", reason="loky replaces workers where it can measure them")
    grow = "globals().setdefault('kept', bytearray(b'1' * 500_000_000)) and __import__('time').sleep(1.2)"
    jobs = [(f"[{grow}, __import__('os').getpid()][1]",)] * 3
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pids = {pid for _, pid in run_each(eval, jobs, time_limit=100)}
    assert len(pids) == 1
    assert not [warning for warning in caught if "worker stopped" in str(warning.message)]
    assert capfd.readouterr().err == ""


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
    assert str(results[3]) == "not run, because the total time of 6 s was over"
    assert {results[k].missing for k in (1, 2, 3)} == {"time"}


def test_all_workers_take_jobs_that_are_added_after_some_had_none():
    arguments, n_added, seen = [(0.0,)] * 2, 6, []
    for index, pid in run_each(slept, arguments, n_jobs=2, time_limit=60):
        seen.append(pid)
        if len(seen) == 2:  # both are done, so that one worker has waited
            arguments += [(0.5,)] * n_added
        assert index < len(arguments)
    assert len(seen) == 2 + n_added
    assert len({*seen[2:]}) == 2


def slept(seconds):
    """Return the number of this process after some seconds."""
    import os
    import time

    time.sleep(seconds)
    return os.getpid()
