"""How a formula reaches JAX: precision, keys, and NumPy formulas traced as jax.numpy.

The user's settings are never touched: `enable_x64` is a context that is local to the thread.
"""

import functools
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.special

precise = functools.partial(jax.enable_x64, True)  # a context: float64 inside, the user's setting outside
fast = functools.partial(jax.enable_x64, False)  # float32 inside


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
