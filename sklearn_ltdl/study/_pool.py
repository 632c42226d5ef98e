"""Run independent jobs in worker processes that can be killed: a limit in time holds for compiled code too."""

import math
import os
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from functools import partial

import joblib
from joblib.externals.loky import ProcessPoolExecutor


class JobError(RuntimeError):
    """A job that its worker could not finish; the message is the reason."""


def run_each(function, arguments, *, n_jobs=1, time_limit=None):
    """Yield (index, result) as jobs end; the result of a job that was killed or that died is a JobError.

    Parameters
    ----------
    function : callable
        What raises in it is raised here.
    arguments : sequence of tuples
        One a job.
    n_jobs : int or None, default=1
        As in joblib. Each worker keeps to its share of the cores.
    time_limit : float or None, default=None
        Seconds of one job, not counting the start of its worker. One job at a time without a limit runs in this
        process.
    """
    n_workers = min(joblib.effective_n_jobs(n_jobs), len(arguments))
    if n_workers == 1 and time_limit is None:
        yield from ((index, function(*argument)) for index, argument in enumerate(arguments))
        return
    waiting = deque(enumerate(arguments))
    executors = {}  # one of one process for each worker, so that a single job can be killed
    running = {}  # future -> (worker, index of the job, deadline)

    def start(worker):
        executors[worker] = _executor(worker, n_workers)
        ready = executors[worker].submit(callable, function)  # starts the process and imports what the function needs
        running[ready] = worker, None, math.inf

    try:
        for worker in range(n_workers):
            start(worker)
        while running:
            patience = min(deadline for *_, deadline in running.values()) - time.monotonic()
            wait(running, timeout=None if patience == math.inf else max(0, patience), return_when=FIRST_COMPLETED)
            for future, (worker, index, deadline) in list(running.items()):
                if future.done():
                    result, alive = _result(future)
                elif time.monotonic() > deadline:
                    result, alive = JobError(f"stopped at the time limit of {time_limit:g} s"), False
                else:
                    continue
                del running[future]
                if index is not None:
                    yield index, result
                elif not alive:
                    raise result
                if not alive:
                    executors[worker].shutdown(kill_workers=True)
                    if waiting:
                        start(worker)
                elif waiting:
                    index, argument = waiting.popleft()
                    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
                    running[executors[worker].submit(function, *argument)] = worker, index, deadline
    finally:
        patience = time.monotonic() + 1.0  # loky's thread trips over a job that is taken away while it hands it over
        while time.monotonic() < patience and not all(future.running() or future.done() for future in running):
            time.sleep(0.01)
        for executor in executors.values():
            executor.shutdown(kill_workers=True)


def _executor(worker, n_workers):
    cores = max(1, joblib.cpu_count() // n_workers)
    environment = {name: str(cores) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several workers may share one GPU's memory
    return ProcessPoolExecutor(1, initializer=partial(_keep_to_cores, worker, n_workers), env=environment)


def _keep_to_cores(worker, n_workers):
    """XLA reads no environment variable for its number of threads, but counts the cores that it may use."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[worker::n_workers] or cores)


def _result(future):
    try:
        return future.result(), True
    except BrokenExecutor as error:
        reason = "the worker process died, most often for want of memory; try fewer rows or n_jobs=1"
        return JobError(f"{reason} ({type(error).__name__})"), False
