"""Work on the threads of linear algebra."""

import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Lock

import joblib
from threadpoolctl import ThreadpoolController


def by_threads(work, parts):
    """Call ``work(part)`` for all parts, on as many threads as linear algebra may use."""
    with threads() as number:
        if number == 1:
            for part in parts:
                work(part)
            return
        with ThreadPoolExecutor(number) as pool:
            for _ in pool.map(work, parts):
                pass  # an exception is raised here


_taking_threads = Lock()


@contextmanager
def threads():
    """Yield the number of threads that may work, while linear algebra is limited to one thread each.

    The number is that of the pool of linear algebra, which `threadpoolctl`, joblib's workers and the environment limit.
    A simultaneous call from a second thread gets one thread.
    """
    with _taking_threads:
        pools = _thread_pools()
        number = min([_cores(), *(pool["num_threads"] for pool in pools.info())])
        limit = pools.limit(limits=1) if number > 1 else nullcontext()
    with limit:
        yield number


_cores = functools.cache(joblib.cpu_count)


@functools.cache
def _thread_pools():
    return ThreadpoolController().select(user_api="blas")
