"""Run independent jobs in worker processes that can be killed, so that a time limit holds for compiled code too.

The workers are processes of this machine, or the workers of a Dask cluster.
"""

import ctypes
import math
import os
import pickle
import signal
import sys
import time
import warnings
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from contextlib import suppress
from functools import partial
from threading import Thread

import joblib
from joblib.externals.loky import ProcessPoolExecutor, process_executor

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._watch import LOOKS, Watch
from sklearn_ltdl._workers import check_workers
from sklearn_ltdl.running._clock import TotalTime
from sklearn_ltdl.running._compiled import cache_settings
from sklearn_ltdl.running._shared import SharedFile, call

_PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that is sent when the parent ends
ANSWER_SECONDS = 10  # time limit for a scheduler to answer, and to have a worker


class JobError(RuntimeError):
    """A job that its worker could not finish; the message is the reason.

    Attributes
    ----------
    missing : {'time', 'worker'} or None
        What was missing, if the job may succeed in another run; None for the time limit of one job.
    """

    def __init__(self, reason, missing=None):
        super().__init__(reason)
        self.missing = missing


def run_each(function, arguments, *, shared=(), n_jobs=1, time_limit=None, total_time=None, scheduler=None):
    """Yield (index, result) as jobs end; if a job was killed, died or did not start, its result is a JobError.

    Parameters
    ----------
    function : callable
        An exception in this function is raised here.
    arguments : list of tuples
        One per job. The list may grow as results come: the jobs that are added run in the same workers.
    shared : tuple
        First arguments of all jobs.
    n_jobs : int or None, default=1
        As in joblib. Each worker uses only its share of the cores.
    time_limit : float or None, default=None
        Time limit of one job in seconds, without the start of its worker. Without any limit, and with one job at a
        time, jobs run in this process.
    total_time : TotalTime, float or None, default=None
        Seconds after which running jobs are killed and no further job starts. A TotalTime has begun before.
    scheduler : str, distributed.Client or None, default=None
        Address of the scheduler of a Dask cluster. Each of its workers runs one job at a time, and `n_jobs` is ignored.
    """
    clock = TotalTime.of(total_time)
    if scheduler is None:
        workers = _Processes(min(joblib.effective_n_jobs(n_jobs), len(arguments)), shared)
        if workers.n_workers <= 1 and time_limit is None and not clock.is_limited:
            yield from ((index, function(*shared, *argument)) for index, argument in enumerate(arguments))
            return
    else:
        workers = _Cluster(scheduler, shared)
    started, idle = 0, []  # jobs; workers without a job, and whether they run
    running = {}  # future -> (worker, index of the job, deadline)

    def start(worker):
        workers.start(worker)
        ready = workers.submit(worker, callable, (function,), with_shared=False)  # imports what the function needs
        running[ready] = worker, None, math.inf

    try:
        for worker in range(min(workers.n_workers, len(arguments)) if clock.left_for_fits > 0 else 0):
            start(worker)
        while running:
            deadline = min(deadline for *_, deadline in running.values())
            patience = min(clock.left_for_fits, deadline - time.monotonic(), workers.seconds_between_looks)
            wait(running, timeout=None if patience == math.inf else max(0, patience), return_when=FIRST_COMPLETED)
            workers.look()
            over = clock.left_for_fits <= 0
            for future, (worker, index, deadline) in list(running.items()):
                if future.done():
                    result, alive = _result(future)
                elif over:
                    result, alive = JobError(f"stopped at the total time of {clock:g} s", "time"), False
                elif time.monotonic() > deadline:
                    result, alive = JobError(f"stopped at the time limit of {time_limit:g} s"), False
                else:
                    continue
                del running[future]
                if index is not None:
                    yield index, result
                elif isinstance(result, JobError) and not over:
                    raise result
                if not alive:
                    workers.kill(worker, future)
                idle.append((worker, alive))
            n_starting = sum(index is None for _, index, _ in running.values())
            while idle and not over and started + n_starting < len(arguments):
                worker, alive = idle.pop()
                if not alive:
                    start(worker)
                    n_starting += 1
                    continue
                index, started = started, started + 1
                deadline = math.inf if time_limit is None else time.monotonic() + time_limit
                running[workers.submit(worker, function, arguments[index])] = worker, index, deadline
        while started < len(arguments):
            yield started, JobError(f"not run, because the total time of {clock:g} s was over", "time")
            started += 1
    finally:
        workers.close(running)


class _Processes:
    """Workers on this machine: each has an executor with one process, so that a single job can be killed."""

    seconds_between_looks = math.inf

    def __init__(self, n_workers, shared):
        self.n_workers = n_workers
        self._shared, self._file, self._executors = shared, None, {}

    def look(self):
        """Do nothing: an executor notices that its process has died."""

    def start(self, worker):
        if self._file is None and self._shared:
            with suppress(OSError):  # no space, or no folder: the objects go with each job
                self._file = SharedFile(self._shared)
        cores = max(1, joblib.cpu_count() // self.n_workers)
        environment = {name: str(cores) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several workers may share one GPU's memory
        self._executors[worker] = ProcessPoolExecutor(
            1, initializer=partial(_prepare, worker, self.n_workers, os.getpid()), env=environment
        )

    def submit(self, worker, function, arguments, with_shared=True):
        submit = self._executors[worker].submit
        if with_shared and self._file is not None:
            return submit(call, self._file.path, function, arguments)
        return submit(function, *(self._shared if with_shared else ()), *arguments)

    def kill(self, worker, future):
        self._executors[worker].shutdown(kill_workers=True)

    def close(self, running):
        patience = time.monotonic() + 1.0  # loky's thread fails if a job is removed while the thread passes it on
        while time.monotonic() < patience and not all(future.running() or future.done() for future in running):
            time.sleep(0.01)
        try:
            for executor in self._executors.values():
                executor.shutdown(kill_workers=True)
        finally:
            if self._file is not None:
                self._file.remove()


def _prepare(worker, n_workers, parent):
    """Restrict a new worker process to its cores, end it with its parent, and keep it even if its memory grows.

    XLA has no environment variable for its number of threads; it counts the cores that it may use. If psutil is
    installed, loky warns and replaces a worker whose memory has grown. Here the memory grows by compiled code, which
    the next worker would have to compile again. A job that is itself parallel uses threads, as in joblib's own
    workers, so it starts no processes that could outlive this one.
    """
    process_executor._USE_PSUTIL = False
    joblib.parallel_config("threading")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # this ends compiled code, too
    else:
        Thread(target=_end_with, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # the parent was killed before this worker asked for the signal
        os._exit(1)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[worker::n_workers] or cores)
    os.environ.update(cache_settings(joblib.cpu_count()))  # before JAX is imported


def _end_with(parent):
    """End this process soon after its parent has ended."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


class _Cluster:
    """Workers of a Dask cluster; if a worker has to be killed, its nanny restarts it."""

    seconds_between_looks = LOOKS

    def __init__(self, scheduler, shared):
        try:
            from distributed import Client
        except ImportError as error:
            raise ImportError('The backend "dask" needs Dask: pip install "sklearn_ltdl[dask]"') from error

        self._ours = not isinstance(scheduler, Client)
        if self._ours:
            _require_address(scheduler)
        try:
            connect = partial(Client, scheduler, timeout=ANSWER_SECONDS, set_as_default=False)
            self._client = _answer(connect) if self._ours else scheduler
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"The Dask scheduler {scheduler!r} did not answer within {ANSWER_SECONDS} s ({type(error).__name__}). "
                "Start it with `dask scheduler`, and pass the address that it prints, such as tcp://127.0.0.1:8786."
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=ANSWER_SECONDS)
        except TimeoutError as error:
            self._leave()
            raise ConnectionError(
                f"The Dask scheduler {scheduler!r} has no workers; start some with `dask worker {scheduler}`."
            ) from error
        self.n_workers = len(self._client.nthreads())
        try:
            check_workers(self._client)
        except RuntimeError:
            self._leave()
            raise
        self._shared, self._tasks = [self._sent(one) for one in shared], {}
        self._watch = Watch(self._client)

    def look(self):
        """Raise an error if the cluster has had no workers for too long."""
        self._watch.look()

    def _sent(self, value):
        """Return an object as the result of a task, which is made again if its workers are lost, unlike scattered data.

        A worker gets it once, from the scheduler or from another worker.
        """
        from cloudpickle import dumps  # a dependency of Dask

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            return self._client.submit(pickle.loads, dumps(value), pure=False)

    def start(self, worker):
        """Do nothing: the workers run."""

    def submit(self, worker, function, arguments, with_shared=True):
        addresses = sorted(self._client.nthreads())
        preferred = {}  # without workers, the task waits for any
        if addresses:
            preferred = {"workers": addresses[worker % len(addresses)], "allow_other_workers": True}
        from cloudpickle import dumps  # a dependency of Dask

        job = dumps((function, arguments))  # Dask does not report jobs that its workers cannot read
        shared = self._shared if with_shared else []
        task = self._client.submit(_do, job, *shared, **preferred, pure=False)
        future = Future()
        self._tasks[future] = task
        task.add_done_callback(partial(_settle, future))
        return future

    def kill(self, worker, future):
        """Replace the process of a job."""
        task = self._tasks.pop(future)
        addresses = [address for address, keys in self._client.processing().items() if task.key in keys]
        task.cancel(force=True)
        try:
            self._client.restart_workers(addresses)
        except ValueError as error:
            raise RuntimeError(
                "A job exceeded its time limit, and its Dask worker has no nanny that could restart it; start workers "
                "with a nanny (`dask worker` does so by default), or set no limit."
            ) from error

    def close(self, running):
        for future in running:
            self._tasks[future].cancel()
        self._leave()

    def _leave(self):
        self._shared = []
        if self._ours:
            self._client.close()


def _require_address(scheduler):
    """Raise an error now that Dask would raise in an incomplete client, which cannot be closed."""
    from distributed.comm import get_address_host
    from distributed.security import Security

    try:
        get_address_host(str(scheduler))
    except ValueError as error:
        raise ParameterError(
            "scheduler",
            f"for {scheduler!r}, expected the address that `dask scheduler` prints, such as "
            f"tcp://127.0.0.1:8786 ({error}).",
        ) from error
    try:
        certified = Security().get_connection_args("client")["ssl_context"] is not None
        reason = "has none"
    except (OSError, ValueError) as error:  # files that do not exist, or are not certificates
        certified, reason = False, f"names files that cannot be used, {error}"
    if str(scheduler).startswith("tls://") and not certified:
        raise ParameterError(
            "scheduler",
            f"for {scheduler!r}, expected certificates of the client in Dask's configuration, which {reason}. "
            'The guide "Running on a cluster" explains how to set them.',
        )


def _answer(connect):
    """Return what a function returns, or raise TimeoutError: Dask has no limit for a silent server."""
    future = Future()

    def wait_for():
        try:
            future.set_result(connect())
        except Exception as error:
            future.set_exception(error)

    Thread(target=wait_for, daemon=True).start()
    return future.result(ANSWER_SECONDS)


def _do(job, *shared):
    function, arguments = pickle.loads(job)
    return function(*shared, *arguments)


def _settle(future, task):
    """Pass on the outcome of a Dask task."""
    try:
        future.set_result(task.result())
    except BaseException as error:  # from the job, its dependencies, or the cluster
        future.set_exception(error)


def _result(future):
    try:
        return future.result(), True
    except Exception as error:
        if not isinstance(error, BrokenExecutor | CancelledError) and type(error).__name__ != "KilledWorker":
            raise
        if "un-serialize" in str(error):
            cause = str(error.__cause__).strip('"\n ').splitlines()[-1:]
            return JobError(f"a worker process cannot load its job ({''.join(cause)})"), False
        reason = (
            "the worker process died, most often because memory ran out; try fewer rows, or one fit at a time "
            "(n_jobs=1, --n-jobs 1)"
        )
        return JobError(f"{reason} ({type(error).__name__})", "worker"), type(error).__name__ == "KilledWorker"
