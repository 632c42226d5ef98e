"""How a formula reaches compiled code: where it is kept, and how numba sees a loss.

numba types the NamedTuple of a loss and compiles its methods as they are written.
"""

from numba import njit, types
from numba.extending import overload, register_jitable

FASTMATH = {"reassoc", "contract", "nsz"}  # sums in any order, but NaN and infinity keep their meaning


def compiled(function):
    """Compile, keeping the machine code on disk, or for this process only where no folder can be written."""
    try:
        return njit(nogil=True, cache=True, fastmath=FASTMATH)(function)
    except RuntimeError:
        return njit(nogil=True, fastmath=FASTMATH)(function)


def slopes(loss, z, y, out):
    """Write the derivative of the loss of one sample into `out`; `z`, `y` and `out` have shape (n_outputs,)."""
    out[:] = loss.derivative(z, y)


@overload(slopes)
def _compiled_slopes(loss, z, y, out):
    if not isinstance(loss, types.BaseNamedTuple):
        return None
    if loss.instance_class.coupled:
        of_row = register_jitable(loss.instance_class.derivative_of_row)

        def compiled(loss, z, y, out):
            out[:] = of_row(loss, z, y)
    else:
        derivative = register_jitable(loss.instance_class.derivative)

        def compiled(loss, z, y, out):
            for k in range(len(out)):
                out[k] = derivative(loss, z[k], y[k])

    return compiled
