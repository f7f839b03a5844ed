"""Explicit SIMD lanes for numba: values that lower to LLVM vectors of floats, and their operations.

numba's loop vectoriser fails on splatting's inner loop; these types make the vector code explicit. `F16`, `F8` and `F4`
are 16, 8 and 4 floats, `Mask16` 16 booleans. LLVM maps them to the registers of the processor: one of AVX-512, two of
AVX, four of SSE or NEON.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic as _intrinsic
from numba.extending import models, overload, register_model

# The decorated functions have another signature, which type checkers can't infer.
intrinsic: Callable[..., Any] = _intrinsic
_F32 = ir.FloatType()
_I32, _I64 = ir.IntType(32), ir.IntType(64)


class _LanesType(types.Type):
    """numba type of a vector of `width` float32."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"F{width}")


class _MaskType(types.Type):
    """numba type of a vector of `width` booleans."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Mask{width}")


F16 = _LanesType(16)
F8 = _LanesType(8)
F4 = _LanesType(4)
MASK16 = _MaskType(16)


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: _LanesType) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(_F32, fe_type.width))


@register_model(_MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: _MaskType) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), fe_type.width))


def _vector_type(width: int) -> ir.VectorType:
    return ir.VectorType(_F32, width)


def _splat(builder: Any, scalar: Any, width: int) -> Any:
    undefined = ir.Constant(ir.VectorType(scalar.type, width), ir.Undefined)
    first = builder.insert_element(undefined, scalar, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, width), [0] * width))


def _constant(value: float, width: int) -> ir.Constant:
    return ir.Constant(_vector_type(width), [value] * width)


def _call(builder: Any, name: str, *args: Any) -> Any:
    """Call the LLVM intrinsic `name` on vectors of equal type."""
    vector = args[0].type
    function_type = ir.FunctionType(vector, [vector] * len(args))
    full_name = f"llvm.{name}.v{vector.count}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, full_name), args)


def _element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index], inbounds=True)


def _load_intrinsic(lanes: _LanesType) -> Callable[..., Any]:
    @intrinsic
    def load(typing_context: Any, array: Any, index: Any) -> Any:
        """Load the lanes at array[index:index + width] of a flat contiguous float32 array."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1])
            pointer = builder.bitcast(pointer, _vector_type(lanes.width).as_pointer())
            return builder.load(pointer, align=4)

        return lanes(array, types.intp), codegen

    return load


def _store_intrinsic(lanes: _LanesType) -> Callable[..., Any]:
    @intrinsic
    def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
        """Write the lanes to array[index:index + width] of a flat contiguous float32 array."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1])
            pointer = builder.bitcast(pointer, _vector_type(lanes.width).as_pointer())
            builder.store(args[2], pointer, align=4)
            return context.get_dummy_value()

        return types.void(array, types.intp, lanes), codegen

    return store


def _broadcast_intrinsic(lanes: _LanesType) -> Callable[..., Any]:
    @intrinsic
    def broadcast(typing_context: Any, scalar: Any) -> Any:
        """Return lanes that all equal one float32."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _splat(builder, args[0], lanes.width)

        return lanes(types.float32), codegen

    return broadcast


@intrinsic
def element(typing_context: Any, array: Any, index: Any) -> Any:
    """Return array[index] of a flat contiguous array, index >= 0, without numba's handling of negative indices."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_element_pointer(context, builder, signature.args[0], args[0], args[1]))

    return array.dtype(array, types.intp), codegen


@intrinsic
def element16(typing_context: Any, array: Any, index: Any) -> Any:
    """Return an F16 whose lanes all equal array[index] of a flat contiguous float32 array, index >= 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(_element_pointer(context, builder, signature.args[0], args[0], args[1]))
        return _splat(builder, value, 16)

    return F16(array, types.intp), codegen


def _strided_load_intrinsic(stride: int) -> Callable[..., Any]:
    @intrinsic
    def load_strided(typing_context: Any, array: Any, index: Any, component: Any) -> Any:
        """Load the F16 array[index + component + stride * lane]; reads array[index:index + 16 * stride]."""
        if not isinstance(component, types.IntegerLiteral):
            return None
        which = component.literal_value

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1])
            every = _vector_type(16 * stride)
            values = builder.load(builder.bitcast(pointer, every.as_pointer()), align=4)
            lanes = [which + stride * lane for lane in range(16)]
            mask = ir.Constant(ir.VectorType(_I32, 16), lanes)
            return builder.shuffle_vector(values, ir.Constant(every, ir.Undefined), mask)

        return F16(array, types.intp, component), codegen

    return load_strided


def _strided_store_intrinsic(stride: int) -> Callable[..., Any]:
    @intrinsic
    def store_strided(typing_context: Any, array: Any, index: Any, components: Any) -> Any:
        """Write a tuple of `stride` F16s as components of 16 vectors: array[index + component + stride * lane]."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1])
            joined = _joined(builder, list(cgutils.unpack_tuple(builder, args[2])))
            lanes = [16 * (place % stride) + place // stride for place in range(16 * stride)]
            mask = ir.Constant(ir.VectorType(_I32, 16 * stride), lanes)
            values = builder.shuffle_vector(joined, ir.Constant(joined.type, ir.Undefined), mask)
            builder.store(values, builder.bitcast(pointer, values.type.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.void(array, types.intp, components), codegen

    return store_strided


@intrinsic
def store_quarters(typing_context: Any, array: Any, index: Any, stride: Any, value: Any) -> Any:
    """Write quarter q of an F16 to array[index + q * stride : ... + 4]; a flat contiguous float32 array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        undefined = ir.Constant(args[3].type, ir.Undefined)
        for q in range(4):
            mask = ir.Constant(ir.VectorType(_I32, 4), list(range(4 * q, 4 * q + 4)))
            quarter = builder.shuffle_vector(args[3], undefined, mask)
            place = builder.add(args[1], builder.mul(args[2], ir.Constant(args[2].type, q)))
            pointer = _element_pointer(context, builder, signature.args[0], args[0], place)
            builder.store(quarter, builder.bitcast(pointer, quarter.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, F16), codegen


@intrinsic
def store_pairs(typing_context: Any, array: Any, index: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Write array[index + 2 * lane] = a | b << 16 and array[index + 2 * lane + 1] = c | d << 16, a flat int32 array.

    The four F16 hold whole numbers in [-32768, 32767].
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integers = ir.VectorType(_I32, 16)
        low = ir.Constant(integers, [0xFFFF] * 16)
        whole = [builder.fptosi(x, integers) for x in args[2:]]
        pairs = [builder.or_(builder.and_(whole[k], low), builder.shl(whole[k + 1], ir.Constant(integers, [16] * 16)))
                 for k in (0, 2)]  # fmt: skip
        order = ir.Constant(ir.VectorType(_I32, 32), [lane // 2 + 16 * (lane % 2) for lane in range(32)])
        values = builder.shuffle_vector(*pairs, order)
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(values, builder.bitcast(pointer, values.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, F16, F16, F16, F16), codegen


@intrinsic
def store_sort_keys(typing_context: Any, array: Any, index: Any, values: Any, kept: Any) -> Any:
    """Write each lane to a flat uint32 array as an integer with the float's sort order; all ones if not kept."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integers = ir.VectorType(_I32, 16)
        bits = builder.bitcast(args[2], integers)
        sign = builder.ashr(bits, ir.Constant(integers, [31] * 16))
        keys = builder.xor(bits, builder.or_(sign, ir.Constant(integers, [0x80000000] * 16)))
        keys = builder.select(args[3], keys, ir.Constant(integers, [0xFFFFFFFF] * 16))
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(keys, builder.bitcast(pointer, integers.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, F16, MASK16), codegen


def _joined(builder: Any, vectors: list[Any]) -> Any:
    """Concatenate the vectors pairwise; a missing second half is undefined."""
    while len(vectors) > 1:
        width = vectors[0].type.count
        mask = ir.Constant(ir.VectorType(_I32, 2 * width), list(range(2 * width)))
        if len(vectors) % 2:
            vectors = [*vectors, ir.Constant(vectors[0].type, ir.Undefined)]
        vectors = [builder.shuffle_vector(a, b, mask) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of array[index]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0i8")
        builder.call(function, [pointer, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


load16_of_3, load16_of_4 = _strided_load_intrinsic(3), _strided_load_intrinsic(4)
store16_of_3, store16_of_4 = _strided_store_intrinsic(3), _strided_store_intrinsic(4)
load16, load8, load4 = _load_intrinsic(F16), _load_intrinsic(F8), _load_intrinsic(F4)
store16, store8, store4 = _store_intrinsic(F16), _store_intrinsic(F8), _store_intrinsic(F4)
broadcast16, broadcast8, broadcast4 = _broadcast_intrinsic(F16), _broadcast_intrinsic(F8), _broadcast_intrinsic(F4)


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c by lane, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "fma", *args)

    return a(a, a, a), codegen


@intrinsic
def minimum(typing_context: Any, a: Any, b: Any) -> Any:
    """Return the smaller of a and b by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[0], args[1])

    return a(a, a), codegen


@intrinsic
def maximum(typing_context: Any, a: Any, b: Any) -> Any:
    """Return the larger of a and b by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[0], args[1])

    return a(a, a), codegen


def _unary_intrinsic(name: str) -> Callable[..., Any]:
    @intrinsic
    def operation(typing_context: Any, a: Any) -> Any:
        """Apply one LLVM intrinsic by lane."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _call(builder, name, args[0])

        return a(a), codegen

    return operation


square_root, ceiling, floor = _unary_intrinsic("sqrt"), _unary_intrinsic("ceil"), _unary_intrinsic("floor")
magnitude = _unary_intrinsic("fabs")


@intrinsic
def negative_magnitude(typing_context: Any, a: Any) -> Any:
    """Return -|a| by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fneg(_call(builder, "fabs", args[0]))

    return a(a), codegen


@intrinsic
def select(typing_context: Any, mask: Any, a: Any, b: Any) -> Any:
    """Return a where the mask is true, else b, by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return a(mask, a, a), codegen


@intrinsic
def any_lane(typing_context: Any, mask: Any) -> Any:
    """Return whether the mask is true in any lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(signature.args[0].width))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), codegen


EXP2_COEFFICIENTS = (1.0000001192092896, 0.6931469440460205, 0.24022120237350464, 0.05550713464617729,
                     0.009675540961325169, 0.0013276461977511644)  # fmt: skip
"""2^f on [-1/2, 1/2]: the polynomial of degree 5 with the smallest relative error, 7.5e-8 before rounding."""


@intrinsic
def exp2(typing_context: Any, x: Any) -> Any:
    """Return 2^x by lane for x in [-120, 120], relative error below 2.5e-7.

    Adding 1.5 * 2^23 rounds to an integer and leaves it in the low mantissa bits; a shift moves it to the exponent of
    the polynomial in the remainder.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width = signature.return_type.width
        magic = _constant(12582912.0, width)
        shifted = builder.fadd(args[0], magic)
        fraction = builder.fsub(args[0], builder.fsub(shifted, magic))
        value = _constant(EXP2_COEFFICIENTS[-1], width)
        for coefficient in EXP2_COEFFICIENTS[-2::-1]:
            value = _call(builder, "fma", value, fraction, _constant(coefficient, width))
        integers = ir.VectorType(_I32, width)
        exponent = builder.shl(builder.bitcast(shifted, integers), ir.Constant(integers, [23] * width))
        return builder.bitcast(builder.add(builder.bitcast(value, integers), exponent), _vector_type(width))

    return x(x), codegen


LOG2_COEFFICIENTS = (-2.80036053, 5.09169834, -3.55077546, 1.63113671, -0.41655959, 0.04487306)


@intrinsic
def log2_roughly(typing_context: Any, x: Any) -> Any:
    """Return log2(x) by lane for x > 0, absolute error below 1e-4: exponent plus a polynomial in the mantissa."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width = signature.return_type.width
        integers = ir.VectorType(_I32, width)
        bits = builder.bitcast(args[0], integers)
        exponent = builder.sub(builder.lshr(bits, ir.Constant(integers, [23] * width)),
                               ir.Constant(integers, [127] * width))  # fmt: skip
        mantissa = builder.or_(builder.and_(bits, ir.Constant(integers, [0x7FFFFF] * width)),
                               ir.Constant(integers, [0x3F800000] * width))  # fmt: skip
        mantissa = builder.bitcast(mantissa, _vector_type(width))
        value = _constant(LOG2_COEFFICIENTS[-1], width)
        for coefficient in LOG2_COEFFICIENTS[-2::-1]:
            value = _call(builder, "fma", value, mantissa, _constant(coefficient, width))
        return builder.fadd(value, builder.sitofp(exponent, _vector_type(width)))

    return x(x), codegen


@intrinsic
def transposed4(typing_context: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Transpose each quarter (four lanes) of a, b, c, d; return four vectors."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width = signature.args[0].width

        def pick(one: Any, other: Any, lanes: tuple[int, ...]) -> Any:
            # Lanes 4 to 7 index the second vector.
            places = [4 * quarter + (lane if lane < 4 else lane - 4 + width)
                      for quarter in range(width // 4) for lane in lanes]  # fmt: skip
            return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_I32, width), places))

        low, high = (0, 4, 1, 5), (2, 6, 3, 7)
        ab, cd = [pick(args[0], args[1], lanes) for lanes in (low, high)], [pick(args[2], args[3], low),
                                                                            pick(args[2], args[3], high)]  # fmt: skip
        rows = [pick(ab[half], cd[half], lanes) for half in range(2) for lanes in ((0, 1, 4, 5), (2, 3, 6, 7))]
        return context.make_tuple(builder, signature.return_type, rows)

    return types.UniTuple(a, 4)(a, a, a, a), codegen


@intrinsic
def quarters_sum(typing_context: Any, a: Any) -> Any:
    """Return the F4 sum of the four quarters of an F16."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        undefined = ir.Constant(args[0].type, ir.Undefined)
        quarters = [
            builder.shuffle_vector(args[0], undefined,
                                   ir.Constant(ir.VectorType(_I32, 4), list(range(first, first + 4))))
            for first in range(0, 16, 4)
        ]  # fmt: skip
        return builder.fadd(builder.fadd(quarters[0], quarters[1]), builder.fadd(quarters[2], quarters[3]))

    return F4(F16), codegen


@intrinsic
def weighted_row_sums(typing_context: Any, weights: Any, first: Any, table: Any, row: Any, stride: Any) -> Any:
    """Return four F8, k = 0..3: sums over p < 16 of weights[first + 16 k + p] * table[row + p * stride : ... + 8].

    Flat float32 arrays. Two partial sums per result hide the latency of the additions; their order is fixed.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = _vector_type(8)
        partial: list[Any] = [None] * 8
        for p in range(16):
            place = builder.add(args[3], builder.mul(args[4], ir.Constant(args[4].type, p)))
            pointer = _element_pointer(context, builder, signature.args[2], args[2], place)
            values = builder.load(builder.bitcast(pointer, vector.as_pointer()), align=4)
            for k in range(4):
                index = builder.add(args[1], ir.Constant(args[1].type, 16 * k + p))
                weight = builder.load(_element_pointer(context, builder, signature.args[0], args[0], index))
                weight, chain = _splat(builder, weight, 8), 2 * k + p % 2
                previous = partial[chain]
                partial[chain] = (builder.fmul(weight, values) if previous is None
                                  else _call(builder, "fma", weight, values, previous))  # fmt: skip
        sums = [builder.fadd(partial[2 * k], partial[2 * k + 1]) for k in range(4)]
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(F8, 4)(weights, types.intp, table, types.intp, types.intp), codegen


@intrinsic
def bits_of_64(typing_context: Any, masks: Any, index: Any, bit: Any) -> Any:
    """Return an int64 whose bit k is the bit `bit` of masks[index + k]; masks is a flat uint16 array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1])
        every = ir.VectorType(ir.IntType(16), 64)
        values = builder.load(builder.bitcast(pointer, every.as_pointer()), align=2)
        wanted = builder.shl(ir.Constant(ir.IntType(16), 1), builder.trunc(args[2], ir.IntType(16)))
        found = builder.icmp_unsigned("!=", builder.and_(values, _splat(builder, wanted, 64)),
                                      ir.Constant(every, [0] * 64))  # fmt: skip
        return builder.bitcast(found, _I64)

    return types.int64(masks, types.intp, types.int64), codegen


@intrinsic
def lowest_bit(typing_context: Any, word: Any) -> Any:
    """Return the position of the lowest set bit in a nonzero int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


def _binary(name: str) -> Callable[..., Any]:
    @intrinsic
    def operation(typing_context: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, name)(*args)

        return a(a, a), codegen

    return operation


def _comparison(symbol: str) -> Callable[..., Any]:
    @intrinsic
    def operation(typing_context: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.fcmp_ordered(symbol, *args)

        return MASK16(a, a), codegen

    return operation


def _overload_operator(symbol: Any, kind: type, operation: Callable[..., Any]) -> None:
    @overload(symbol, inline="always")
    def implement(a, b):  # type: ignore[no-untyped-def]  # numba compares this signature with the lambda's
        if isinstance(a, kind) and a == b:
            return lambda a, b: operation(a, b)
        return None


_overload_operator(operator.add, _LanesType, _binary("fadd"))
_overload_operator(operator.sub, _LanesType, _binary("fsub"))
_overload_operator(operator.mul, _LanesType, _binary("fmul"))
_overload_operator(operator.truediv, _LanesType, _binary("fdiv"))
_overload_operator(operator.and_, _MaskType, _binary("and_"))
_overload_operator(operator.le, _LanesType, _comparison("<="))
_overload_operator(operator.ge, _LanesType, _comparison(">="))
_overload_operator(operator.gt, _LanesType, _comparison(">"))
