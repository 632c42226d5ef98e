"""Formulas for compiled code: where it is cached, and how numba reads a loss.

numba types the NamedTuple of a loss and compiles its methods as they are written.
"""

from contextlib import suppress
from pickle import UnpicklingError

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.extending import intrinsic, overload, register_jitable
from numba.np.arrayobj import make_array

FASTMATH = {"reassoc", "contract", "nsz"}  # sums in any order, but NaN and infinity keep their meaning


class _Cache(FunctionCache):
    """Machine code on disk; where a file cannot be read or written, the code of this process serves."""

    def load_overload(self, sig, target_context):
        with suppress(OSError, EOFError, UnpicklingError):
            return super().load_overload(sig, target_context)

    def save_overload(self, sig, data):
        with suppress(OSError):
            super().save_overload(sig, data)


def compiled(function):
    """Compile, keeping the machine code on disk, or for this process only where no folder can be written."""
    dispatcher = njit(nogil=True, fastmath=FASTMATH)(function)
    with suppress(RuntimeError):  # of numba, which finds no such folder
        dispatcher._cache = _Cache(function)
    return dispatcher


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


@intrinsic
def prefetch(typingctx, array, i, j):
    """Ask for the cache line of ``array[i, j]``, without waiting for it."""

    def generate(context, builder, signature, values):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = signature.args[0]
        place = cgutils.get_item_pointer(
            context, builder, kind, make_array(kind)(context, builder, values[0]), list(values[1:]), wraparound=False
        )
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0i8"
        )
        builder.call(function, [builder.bitcast(place, byte), number(0), number(3), number(1)])  # data to be read, soon
        return context.get_dummy_value()

    return types.void(array, i, j), generate
