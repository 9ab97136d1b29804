"""Vectors, in LLVM's own language: how memory is read, moved and written; nothing here knows the CPU.

Addresses are integers. What is a literal (``kind``, ``bits``, ...) is settled when a kernel is compiled.
"""

from dataclasses import dataclass
from typing import Any

from fxsim.kernels._jit import cgutils, intrinsic, ir, types

I8, I16, I32, I64 = (ir.IntType(n) for n in (8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()
LANES = 16
"""channels in a block: what is requantized at once"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to multiply and add."""

    name: str
    lanes: int
    """32-bit sums in a vector"""
    group: int
    """inputs in a word: 4 bytes, 2 of 16 bits or 1 of 32"""
    signed: bool = True
    """whether inputs have a sign: where not, signed bytes are lifted by 128; where they have, unsigned ones are lowered"""

    @property
    def vectors(self) -> int:
        """Vectors that hold a block of channels."""
        return LANES // self.lanes


KINDS = (
    Kind("bytes512", 16, 4, signed=False),
    Kind("bytes256", 8, 4, signed=False),
    Kind("pairs512", 16, 2),
    Kind("pairs256", 8, 2),
    Kind("single512", 16, 1),
    Kind("single256", 8, 1),
    Kind("bytes128", 4, 4),
)
CODES = {k.name: i for i, k in enumerate(KINDS)}


def vector(element: Any, lanes: int) -> Any:  # noqa: ANN401
    return ir.VectorType(element, lanes)


def library(builder: Any, name: str, result: Any, *arguments: Any) -> Any:  # noqa: ANN401
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name
    )
    return builder.call(function, arguments)


def splat(builder: Any, value: Any, lanes: int) -> Any:  # noqa: ANN401
    kind = vector(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(vector(I32, lanes), [0] * lanes))


def pointer(builder: Any, address: Any, element: Any) -> Any:  # noqa: ANN401
    return builder.inttoptr(address, element.as_pointer())


def load(builder: Any, address: Any, element: Any) -> Any:  # noqa: ANN401
    loaded = builder.load(pointer(builder, address, element))
    loaded.align = 1
    return loaded


def store(builder: Any, value: Any, address: Any) -> None:  # noqa: ANN401
    builder.store(value, pointer(builder, address, value.type)).align = 1


def literal(*values: Any) -> bool:  # noqa: ANN401
    return all(isinstance(v, types.IntegerLiteral) for v in values)


def add(builder: Any, *terms: Any) -> Any:  # noqa: ANN401
    total = terms[0]
    for t in terms[1:]:
        total = builder.add(total, I64(t) if isinstance(t, int) else t)
    return total


def clamp(builder: Any, value: Any, low: Any, high: Any) -> Any:  # noqa: ANN401
    """Between two vectors of integers or floats."""
    if isinstance(value.type.element, ir.IntType):
        value = builder.select(builder.icmp_signed("<", value, high), value, high)
        return builder.select(builder.icmp_signed(">", value, low), value, low)
    value = builder.select(builder.fcmp_ordered("<", value, high), value, high)
    return builder.select(builder.fcmp_ordered(">", value, low), value, low)


@intrinsic(prefer_literal=True)
def word(typing_context, block, index):
    """The 64-bit word ``index`` at an address."""
    if not literal(index):
        return None

    def emit(context, builder, signature, arguments):
        return load(builder, add(builder, arguments[0], 8 * signature.args[1].literal_value), I64)

    return types.int64(types.int64, index), emit


@intrinsic
def memory(typing_context, address):
    """What lies at an address, to be looked at as an array."""

    def emit(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], I8.as_pointer())

    return types.voidptr(types.int64), emit


@intrinsic
def call(typing_context, function, block):
    """Calls the function at an address with the address of its block."""

    def emit(context, builder, signature, arguments):
        form = ir.FunctionType(ir.VoidType(), [I64])
        builder.call(builder.inttoptr(arguments[0], form.as_pointer()), [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def copy(typing_context, target, source, count):
    """Copies ``count`` bytes from one address to another."""

    def emit(context, builder, signature, arguments):
        target, source = (builder.inttoptr(a, I8.as_pointer()) for a in arguments[:2])
        cgutils.raw_memcpy(builder, target, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


def _lifted(builder: Any, value: Any, kind: Kind, signed: bool, zero: Any) -> Any:  # noqa: ANN401
    """Inputs as their words hold them: bytes with the kind's sign; else without their zero point."""
    lanes, group = value.type.count, kind.group
    if group == 4:
        return value if signed == kind.signed else builder.xor(value, ir.Constant(value.type, [0x80] * lanes))
    wide = (builder.sext if signed else builder.zext)(value, vector(I32, lanes))
    wide = builder.sub(wide, splat(builder, zero, lanes))
    return builder.trunc(wide, vector(I16, lanes)) if group == 2 else wide


@intrinsic(prefer_literal=True)
def lift(typing_context, kind, bits, source, count, zero, target):
    """``count`` inputs of ``bits`` (negative: signed) as the words of ``kind`` hold them."""
    if not literal(kind, bits):
        return None
    k, width, signed = KINDS[kind.literal_value], abs(bits.literal_value), bits.literal_value < 0

    def emit(context, builder, signature, arguments):
        source, count, zero, target = arguments[2:]
        zero = builder.trunc(zero, I32)

        def move(at: Any, lanes: int) -> None:  # noqa: ANN401
            form = vector(ir.IntType(width), lanes)
            value = load(builder, builder.add(source, builder.mul(at, I64(width // 8))), form)
            place = builder.add(target, builder.mul(at, I64(4 // k.group)))
            store(builder, _lifted(builder, value, k, signed, zero), place)

        in_vectors(builder, count, 64, move)
        return context.get_dummy_value()

    return types.void(kind, bits, *[types.int64] * 4), emit


def in_vectors(builder: Any, count: Any, lanes: int, move: Any) -> None:  # noqa: ANN401
    """``move(at, lanes)`` over ``count`` elements: the last vector overlaps the one before; fewer go one by one."""
    with builder.if_else(builder.icmp_signed(">=", count, I64(lanes))) as (many, few):
        with many:
            with cgutils.for_range(builder, builder.udiv(count, I64(lanes))) as i:
                move(builder.mul(i.index, I64(lanes)), lanes)
            move(builder.sub(count, I64(lanes)), lanes)
        with few, cgutils.for_range(builder, count) as i:
            move(i.index, 1)


@intrinsic(prefer_literal=True)
def fill(typing_context, kind, value, count, target):
    """``count`` inputs that are all ``value``, as the words of ``kind`` hold them."""
    if not literal(kind):
        return None
    element = ir.IntType(32 // KINDS[kind.literal_value].group)

    def emit(context, builder, signature, arguments):
        value, count, target = arguments[1:]
        value = builder.trunc(value, element)

        def move(at: Any, lanes: int) -> None:  # noqa: ANN401
            place = builder.add(target, builder.mul(at, I64(element.width // 8)))
            store(builder, splat(builder, value, lanes), place)

        in_vectors(builder, count, 32, move)
        return context.get_dummy_value()

    return types.void(kind, *[types.int64] * 3), emit


@intrinsic(prefer_literal=True)
def interleave(typing_context, kind, taps, source, apart, count, target):
    """Words of ``taps`` neighbouring inputs of one channel: word ``i`` holds the inputs at ``source[i + apart * j]``.

    Up to 15 words more than ``count`` are read and written.
    """
    if not literal(kind, taps):
        return None
    number, group = taps.literal_value, KINDS[kind.literal_value].group
    element = ir.IntType(32 // group)

    def emit(context, builder, signature, arguments):
        source, apart, count, target = arguments[2:]
        each, form = I64(4 // group), vector(I32, LANES)
        starts = [builder.add(source, builder.mul(builder.mul(apart, I64(j)), each)) for j in range(number)]
        with cgutils.for_range(builder, builder.udiv(add(builder, count, LANES - 1), I64(LANES))) as i:
            offset = builder.mul(i.index, builder.mul(each, I64(LANES)))
            parts = []
            for j, start in enumerate(starts):
                value = load(builder, builder.add(start, offset), vector(element, LANES))
                value = value if group == 1 else builder.zext(value, form)
                parts.append(builder.shl(value, ir.Constant(form, [j * element.width] * LANES)))
            total = parts[0]
            for part in parts[1:]:
                total = builder.or_(total, part)
            store(builder, total, builder.add(target, builder.mul(i.index, I64(4 * LANES))))
        return context.get_dummy_value()

    return types.void(kind, taps, *[types.int64] * 4), emit


@intrinsic
def put(typing_context, address, value):
    """Writes a 64-bit word at an address."""

    def emit(context, builder, signature, arguments):
        store(builder, arguments[1], arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic(prefer_literal=True)
def weave(typing_context, planes, source, count, target):
    """Bytes of ``planes`` that lie one after the other, ``count`` (16 or more) in each, side by side."""
    if not literal(planes):
        return None
    number = planes.literal_value

    def emit(context, builder, signature, arguments):
        source, count, target = arguments[1:]

        def move(at: Any, lanes: int) -> None:  # noqa: ANN401
            starts = [builder.add(source, builder.mul(count, I64(p))) for p in range(number)]
            rows = [load(builder, builder.add(start, at), vector(I8, lanes)) for start in starts]
            rows += [rows[0]] * (4 - number)
            all_lanes = ir.Constant(vector(I32, 2 * lanes), list(range(2 * lanes)))
            halves = [builder.shuffle_vector(rows[i], rows[i + 1], all_lanes) for i in (0, 2)]
            order = ir.Constant(
                vector(I32, number * lanes), [p * lanes + i for i in range(lanes) for p in range(number)]
            )
            store(builder, builder.shuffle_vector(*halves, order), builder.add(target, builder.mul(at, I64(number))))

        in_vectors(builder, count, LANES, move)
        return context.get_dummy_value()

    return types.void(planes, *[types.int64] * 3), emit
