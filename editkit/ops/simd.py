"""A vector of float32 as a numba type: what the CPU kernels are written in.

A compiler vectorises a loop only where it can prove that arrays do not overlap; these few operations state the vectors
instead. LLVM lowers them to whatever the processor has. Importing this module needs numba.
"""

import operator

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, models, overload, register_model


def _host_lanes() -> int:
    """Sixteen where registers hold as many, else eight (two registers on SSE and NEON)."""
    if config.CPU_FEATURES is not None:  # NUMBA_CPU_FEATURES: what is compiled for, whatever the host has
        return 16 if "+avx512f" in config.CPU_FEATURES.split(",") else 8
    try:
        return 16 if dict(binding.get_host_cpu_features()).get("avx512f") else 8
    except RuntimeError:  # llvmlite cannot tell on some hosts
        return 8


LANES = _host_lanes()
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
ALIGN = 4  # bytes: rows start anywhere


class Vector(types.Type):
    """``LANES`` float32."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:  # type: ignore[no-untyped-def]
        super().__init__(dmm, fe_type, _VECTOR)


def _address(kind, context, builder, array_type, array, index):  # type: ignore[no-untyped-def]
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


@intrinsic
def load(typingctx, array, index):  # type: ignore[no-untyped-def]
    """``array[index : index + LANES]`` of a flat float32 array; not checked."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        found = builder.load(_address(_VECTOR, context, builder, signature.args[0], *args), align=ALIGN)
        return found

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):  # type: ignore[no-untyped-def]
    """``array[index : index + LANES] = value``; not checked."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        builder.store(args[2], _address(_VECTOR, context, builder, signature.args[0], *args[:2]), align=ALIGN)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def splat(typingctx, value):  # type: ignore[no-untyped-def]
    """The same float32 in every lane."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), mask)

    return vector(types.float32), codegen


def _binary(name: str):  # type: ignore[no-untyped-def]
    def operation(typingctx, a, b):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return getattr(builder, name)(*args)

        return vector(vector, vector), codegen

    return intrinsic(operation)


add, sub, mul = _binary("fadd"), _binary("fsub"), _binary("fmul")


@intrinsic
def fma(typingctx, a, b, c):  # type: ignore[no-untyped-def]
    """``a * b + c``, rounded once where the processor can."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        name = f"llvm.fmuladd.v{LANES}f32"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), name)
        return builder.call(function, args)

    return vector(vector, vector, vector), codegen


def _operator(symbol, function) -> None:  # type: ignore[no-untyped-def]
    @overload(symbol)
    def typed(a, b):  # type: ignore[no-untyped-def]
        if a is vector and b is vector:
            return lambda a, b: function(a, b)
        return None


for _symbol, _function in ((operator.add, add), (operator.sub, sub), (operator.mul, mul)):
    _operator(_symbol, _function)


@intrinsic
def item(typingctx, array, index):  # type: ignore[no-untyped-def]
    """``array[index]`` of a flat array; not checked, not wrapped."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load(builder.gep(data, [args[1]]))

    return array.dtype(array, types.intp), codegen


@intrinsic
def choose_less(typingctx, a, b, yes, no):  # type: ignore[no-untyped-def]
    """``yes`` where a < b, else ``no``."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return vector(vector, vector, vector, vector), codegen


_BITS = ir.IntType(LANES)
bits_type = types.uint16 if LANES == 16 else types.uint8


@intrinsic
def bits_less(typingctx, a, b):  # type: ignore[no-untyped-def]
    """One bit a lane: a < b."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(builder.fcmp_ordered("<", args[0], args[1]), _BITS)

    return bits_type(vector, vector), codegen


@intrinsic
def choose_bits(typingctx, bits, yes, no):  # type: ignore[no-untyped-def]
    """``yes`` where the bit is set, else ``no``."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.select(builder.bitcast(args[0], ir.VectorType(ir.IntType(1), LANES)), args[1], args[2])

    return vector(bits_type, vector, vector), codegen


@intrinsic
def prefetch(typingctx, array, index):  # type: ignore[no-untyped-def]
    """Asks for the cache line of ``array[index]``; any index is harmless."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        place = builder.bitcast(builder.gep(data, [args[1]]), byte)
        builder.call(function, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


_SHORTS = ir.VectorType(ir.IntType(16), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)


@intrinsic
def load_half(typingctx, array, index):  # type: ignore[no-untyped-def]
    """bfloat16 of a flat uint16 array, widened; not checked."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        shorts = builder.load(_address(_SHORTS, context, builder, signature.args[0], *args), align=2)
        wide = builder.shl(builder.zext(shorts, _INTS), ir.Constant(_INTS, [16] * LANES))
        return builder.bitcast(wide, _VECTOR)

    return vector(array, types.intp), codegen


@intrinsic
def store_half(typingctx, array, index, value):  # type: ignore[no-untyped-def]
    """Rounds to bfloat16, ties to even, into a flat uint16 array; not checked. Some bit patterns that are no number
    become one; those that arithmetic gives stay."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        def lanes(number):  # type: ignore[no-untyped-def]
            return ir.Constant(_INTS, [number] * LANES)

        wide = builder.bitcast(args[2], _INTS)
        odd = builder.and_(builder.lshr(wide, lanes(16)), lanes(1))
        rounded = builder.lshr(builder.add(builder.add(wide, lanes(0x7FFF)), odd), lanes(16))
        place = _address(_SHORTS, context, builder, signature.args[0], *args[:2])
        builder.store(builder.trunc(rounded, _SHORTS), place, align=2)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen
