"""Work on the threads of linear algebra."""

import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from threading import Lock, current_thread, main_thread
from typing import Any

import joblib
from threadpoolctl import ThreadpoolController


def by_threads(work, parts):
    """Call ``work(part)`` for all parts, on as many threads as linear algebra may use."""
    with threads() as number, ThreadPoolExecutor(number) as pool:
        for _ in pool.map(work, parts):
            pass  # an exception is raised here


_pool: ContextVar[Any] = ContextVar("pool", default=None)  # False where one thread works


@contextmanager
def sharing():
    """Have `in_order` share its work among the threads of linear algebra, which is limited to one thread meanwhile.

    Only the main thread shares. Others are those of joblib or of a server, which has one for each core already. An
    inner call changes nothing.
    """
    if _pool.get() is not None:
        yield
        return
    with threads() as number:
        shares = number > 1 and current_thread() is main_thread()
        with ThreadPoolExecutor(number) if shares else nullcontext() as pool:
            token = _pool.set(pool or False)
            try:
                yield
            finally:
                _pool.reset(token)


def in_order(work, parts):
    """Return the results of ``work(part)`` in the order of the parts; within `sharing`, by several threads."""
    pool = _pool.get()
    return list(pool.map(work, parts) if pool and len(parts) > 1 else map(work, parts))


_taking_threads = Lock()


@contextmanager
def threads():
    """Yield the number of threads that may work, while linear algebra is limited to one thread each.

    The number is that of the pool of linear algebra, which `threadpoolctl`, joblib's workers and the environment limit.
    A simultaneous call from a second thread gets one thread. Libraries that other packages bring without threads do not
    count.
    """
    with _taking_threads:
        pools = _thread_pools()
        sizes = [pool["num_threads"] for pool in pools.info() if pool.get("threading_layer") != "disabled"]
        number = min([joblib.cpu_count(), *sizes])
        limit = pools.limit(limits=1) if max(sizes, default=1) > 1 else nullcontext()
    with limit:
        yield number


@functools.cache
def _thread_pools():
    return ThreadpoolController().select(user_api="blas")
