"""Sums over blocks of rows on a Dask cluster: one task a leaf, and one an addition.

Whatever is lost with a worker is made again by Dask, because everything is a task, the state too: data that are
scattered cannot be made again. Keys are of one sum, so that nothing is taken from an earlier one. Additions go before
leaves, lest partial sums pile up, and add into new memory, because Dask owns what it hands to a task. Linear algebra
has one thread in each task, so that the bits of a sum do not depend on the cores of a machine.
"""

import pickle
from concurrent.futures import CancelledError
from contextlib import contextmanager
from operator import add
from threading import Lock
from uuid import uuid4

from threadpoolctl import ThreadpoolController

import sklearn_ltdl
from sklearn_ltdl._watch import LOOKS, Watch
from sklearn_ltdl._workers import LACKING, processors, require_version, warn_if_different
from sklearn_ltdl.rows._blocks import blocks_of
from sklearn_ltdl.rows._gather import sum_of_leaf


def gather_on(client, statistic, rows, state):
    """Return the same as `gather`, to the bit, with a Dask client."""
    from cloudpickle import dumps  # a dependency of Dask

    leaves = rows._handles_of_leaves()
    if not leaves:
        return None
    name = f"ltdl-{uuid4().hex[:16]}"
    job = dumps((sklearn_ltdl.__version__, statistic, state, rows.columns, rows.maps, rows.numeric))
    shared = client.submit(_unpacked, job, key=f"{name}-state", pure=False)
    terms = [
        client.submit(_leaf, shared, *_with_persisted(client, leaf), key=f"{name}-leaf-{k}", pure=False, priority=0)
        for k, leaf in enumerate(leaves)
    ]
    tasks, level = [shared, *terms], 0
    while len(terms) > 1:  # neighbours, as a binary counter adds them
        level += 1
        sums = [
            client.submit(_added, *terms[i : i + 2], key=f"{name}-sum-{level}-{i // 2}", pure=False, priority=level)
            for i in range(0, len(terms) - 1, 2)
        ]
        tasks += sums
        terms = sums + terms[2 * len(sums) :]
    try:
        total, kinds = _result(client, terms[0], leaves, state)
    except BaseException:
        client.cancel(tasks, force=True)
        raise
    warn_if_different(kinds)
    return total


def _result(client, task, leaves, state):
    """Return the result of a task, or raise an error that says what to do about the cluster."""
    from distributed import KilledWorker

    watch = Watch(client)
    while True:
        try:
            return task.result(timeout=LOOKS)
        except TimeoutError:
            if task.status == "error" and isinstance(task.exception(), TimeoutError):
                raise  # of the task's own
            if task.status != "error":
                watch.look()
        except CancelledError as error:
            raise RuntimeError(
                "The Dask cluster was closed, or has lost its scheduler, during the fit. Start it again, and fit again."
            ) from error
        except KilledWorker as error:
            raise MemoryError(_of_memory(str(error.task), leaves, state)) from error
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "sklearn_ltdl":
                raise
            raise RuntimeError(LACKING) from error


def _of_memory(task, leaves, state):
    """Return the sentence on a task whose workers died, one after the other."""
    last = task.rpartition("-")[2]
    where = f" on {leaves[int(last)][0][0].where}" if "-leaf-" in task and last.isdigit() else ""
    need = state.memory_needed() if hasattr(state, "memory_needed") else ""
    return (
        f"Worker processes of the Dask cluster died one after the other{where}, most often because memory ran out. "
        f"{need}Give each worker more memory, or fewer threads."
    )


def _unpacked(job):
    version, *rest = pickle.loads(job)
    require_version([sklearn_ltdl.__version__], expected=version)
    return rest


def _with_persisted(client, leaf):
    """Return the numbered handles of a leaf, and what takes the place of their parts, None for those that can be read.

    Parts that rest on persisted collections are futures: Dask makes data of them, again if they are lost with a worker.
    """
    handles, parts = [], []
    for handle, first in leaf:
        is_persisted = getattr(handle, "is_persisted", False)
        parts.append(
            [part if part is None else client.compute(part) for part in handle.parts] if is_persisted else None
        )
        handles.append((handle._replace(parts=()) if is_persisted else handle, first))
    return handles, parts


def _leaf(shared, handles, persisted):
    statistic, state, columns, maps, numeric = shared
    handles = [
        (handle if parts is None else handle._replace(parts=tuple(parts)), first)
        for (handle, first), parts in zip(handles, persisted)
    ]
    with one_thread() as processor:
        return sum_of_leaf(statistic, blocks_of(handles, columns, maps, numeric), state), processor


def _added(left, right):
    """Return the sum of two terms in new memory, and the processors of both."""
    processors = left[1] | right[1]
    if left[0] is None or right[0] is None:
        return right[0] if left[0] is None else left[0], processors
    return tuple(map(add, left[0], right[0])), processors


_lock, _inside, _limit = Lock(), 0, None


@contextmanager
def one_thread():
    """Keep linear algebra to one thread while any task is inside; yield the set of this machine's `processors`."""
    global _inside, _limit
    with _lock:
        pools = ThreadpoolController().select(user_api="blas")
        if _inside == 0:
            _limit = pools.limit(limits=1)
        _inside += 1
    try:
        yield processors()
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _limit is not None:
                _limit.restore_original_limits()
