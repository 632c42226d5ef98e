"""Formulas for compiled code: where it is cached, and how numba reads a loss.

numba types the NamedTuple of a loss and compiles its methods as they are written.
"""

from contextlib import suppress
from itertools import chain
from pickle import UnpicklingError

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils, config
from numba.core.caching import FunctionCache
from numba.extending import intrinsic, overload, register_jitable
from numba.np.arrayobj import make_array

_FEATURES = binding.get_host_cpu_features().flatten() if config.CPU_FEATURES is None else config.CPU_FEATURES
LANES = 8 if "+avx512f" in _FEATURES else 4 if "+avx" in _FEATURES else 2  # float64 numbers of a vector register
FASTMATH = {"reassoc", "contract", "nsz"}  # sums in any order, but NaN and infinity keep their meaning


class _Cache(FunctionCache):
    """Machine code on disk; where a file cannot be read or written, the code of this process serves."""

    def load_overload(self, sig, target_context):
        with suppress(OSError, EOFError, UnpicklingError):
            return super().load_overload(sig, target_context)

    def save_overload(self, sig, data):
        with suppress(OSError):
            super().save_overload(sig, data)


def compiled(function, fastmath=FASTMATH):
    """Compile, keeping the machine code on disk, or for this process only where no folder can be written."""
    dispatcher = njit(nogil=True, fastmath=fastmath)(function)
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


def _tile(n_vectors):
    """Return a compiled function that adds a tile of `LANES` rows and `n_vectors` vectors to a product of matrices."""

    @intrinsic
    def add_tile(typingctx, B, n_rows, C, i, j):
        """Add ``B[:n_rows, i:i+LANES].T @ B[:n_rows, j:j+width]`` to the same tile of C, from registers."""

        def generate(context, builder, signature, values):
            B, n_rows, C, i, j = values
            integer, vector, lane = n_rows.type, ir.VectorType(ir.DoubleType(), LANES), ir.IntType(32)
            zero, undefined = ir.Constant(integer, 0), ir.Constant(vector, ir.Undefined)
            every_lane = ir.Constant(ir.VectorType(lane, LANES), [0] * LANES)
            fused = ("contract",)  # multiply and add in one instruction, where the processor has it

            def place(kind, value, row, column):
                array = make_array(kind)(context, builder, value)
                stride = builder.sdiv(builder.extract_value(array.strides, 0), ir.Constant(integer, 8))
                return stride, cgutils.get_item_pointer(context, builder, kind, array, [row, column], wraparound=False)

            def vector_at(pointer, k):
                pointer = builder.gep(pointer, [ir.Constant(integer, k * LANES)])
                return builder.bitcast(pointer, vector.as_pointer())

            stride, left = place(signature.args[0], B, zero, i)
            _, right = place(signature.args[0], B, zero, j)
            before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
            builder.branch(loop)
            builder.position_at_end(loop)
            t, sums = builder.phi(integer), [[builder.phi(vector) for _ in range(n_vectors)] for _ in range(LANES)]
            offset = builder.mul(t, stride)
            a, b = builder.gep(left, [offset]), builder.gep(right, [offset])
            factors = [builder.load(vector_at(b, v), align=8) for v in range(n_vectors)]
            results = []
            for k in range(LANES):
                number = builder.load(builder.gep(a, [ir.Constant(integer, k)]))
                number = builder.insert_element(undefined, number, lane(0))
                number = builder.shuffle_vector(number, undefined, every_lane)
                products = [builder.fmul(number, factor, flags=fused) for factor in factors]
                results.append([builder.fadd(*pair, flags=fused) for pair in zip(sums[k], products)])
            following = builder.add(t, ir.Constant(integer, 1))
            t.add_incoming(zero, before)
            t.add_incoming(following, loop)
            for old, new in zip(chain(*sums), chain(*results)):
                old.add_incoming(ir.Constant(vector, [0.0] * LANES), before)
                old.add_incoming(new, loop)
            builder.cbranch(builder.icmp_signed("<", following, n_rows), loop, after)
            builder.position_at_end(after)
            stride, corner = place(signature.args[2], C, i, j)
            for k in range(LANES):
                row = builder.gep(corner, [builder.mul(ir.Constant(integer, k), stride)])
                for v in range(n_vectors):
                    total = builder.fadd(builder.load(vector_at(row, v), align=8), results[k][v])
                    builder.store(total, vector_at(row, v), align=8)
            return context.get_dummy_value()

        return types.void(B, n_rows, C, i, j), generate

    return add_tile


_add_wide_tile, _add_narrow_tile = _tile(2), _tile(1)


@compiled
def add_gram(B, n_rows, C):
    """Add the upper triangle of ``B[:n_rows].T @ B[:n_rows]`` to C, whose side is a multiple of `LANES`."""
    m = len(C)
    for j in range(0, m - 2 * LANES + 1, 2 * LANES):
        for i in range(0, j + 2 * LANES, LANES):
            _add_wide_tile(B, n_rows, C, i, j)
    if m % (2 * LANES) > 0:
        for i in range(0, m, LANES):
            _add_narrow_tile(B, n_rows, C, i, m - LANES)


def rows_for_gram(n_rows, m):
    """Return a buffer of zeros for `add_gram`, and a C. Rows of B have an odd number of cache lines between them."""
    side = -(-m // LANES) * LANES
    lines = -(-side // 8) | 1
    return np.zeros((n_rows, 8 * lines)), np.zeros((side, side))
