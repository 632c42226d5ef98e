"""Formulas for JAX: precision, keys, and NumPy formulas traced with jax.numpy.

The user's settings are never touched: `enable_x64` is a context that is local to the thread.
"""

import functools
import os
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.special

COMPILATIONS = []  # the seconds of each compilation in this process, by this package or others
_ran_in = None  # the process in which JAX ran first; a forked process lacks its threads, but inherits their locks


def precise():
    """Return a context with float64 inside and the user's setting outside."""
    _refuse_in_a_fork()
    return jax.enable_x64(True)


def fast():
    """Return a context with float32 inside and the user's setting outside."""
    _refuse_in_a_fork()
    return jax.enable_x64(False)


def _add_compilation(name, seconds, **_):
    if name.startswith("/jax/core/compile/"):
        COMPILATIONS.append(seconds)


jax.monitoring.register_event_duration_secs_listener(_add_compilation)


def _refuse_in_a_fork():
    """Raise an error in the forked child of a process in which JAX ran, whose threads it would wait for."""
    global _ran_in
    if _ran_in is None and not _has_lost_its_threads():
        _ran_in = os.getpid()
    if _ran_in != os.getpid():
        raise RuntimeError(
            "This process was forked after JAX had run in its parent, where JAX's threads stayed: a network would wait "
            "for ever here. Start workers with multiprocessing.get_context('spawn'), with joblib's default backend "
            "'loky', or use threads; or fork before the parent uses JAX."
        )


def _has_lost_its_threads():
    """Return whether JAX ran in the parent at the hands of others: its backend is there, and one thread alone."""
    try:
        from jax._src.xla_bridge import backends_are_initialized

        return backends_are_initialized() and len(os.listdir("/proc/self/task")) == 1
    except (ImportError, OSError):  # another JAX, or no Linux
        return False


@functools.cache
def traced(function):
    """Return `function`, whose formula is of ufuncs under the names `np` and `special`, over JAX's.

    The parameters of a registered object are its fields and travel in `self`; only the two global names change.
    """
    return types.FunctionType(
        function.__code__,
        {**function.__globals__, "np": jnp, "special": jax.scipy.special},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


class Traced(NamedTuple):
    """An activation whose formulas are traced, and whose derivative is the one it states.

    What JAX derives of a maximum is a division, and half the slope at a kink.
    """

    activation: NamedTuple

    def value(self, z):
        """Return the activation of each entry."""
        return _with_stated_derivative(type(self.activation))(self.activation, z)

    def derivative(self, z):
        """Return its derivative."""
        return traced(type(self.activation).derivative)(self.activation, z)


@functools.cache
def _with_stated_derivative(kind):
    value, derivative = traced(kind.value), traced(kind.derivative)
    activate = jax.custom_jvp(value)
    activate.defjvp(lambda at, along: (value(*at), derivative(*at) * along[1]))
    return activate
