"""Loops in vector registers, written in LLVM's own language: sums of products on a tile, and their requantization.

Only :func:`_dot` knows instructions of a CPU. All else is generic: LLVM makes it fit any machine.

Operands come in words of 32 bits, in which ``4 / group`` bytes hold each of ``group`` neighbouring inputs; a weight lies in
the word of its channel at the place of its input. Addresses are integers. What is a literal (``kind``, ``rows``, ...) is
settled when a kernel is compiled.
"""

from dataclasses import dataclass
from typing import Any

from fxsim.kernels._jit import cgutils, intrinsic, ir, types

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
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
    """inputs in a word: 4 unsigned bytes, 2 of 16 bits or 1 of 32"""

    @property
    def vectors(self) -> int:
        """Vectors that hold a block of channels."""
        return LANES // self.lanes


KINDS = (
    Kind("bytes512", 16, 4),
    Kind("bytes256", 8, 4),
    Kind("pairs512", 16, 2),
    Kind("pairs256", 8, 2),
    Kind("single512", 16, 1),
    Kind("single256", 8, 1),
)
CODES = {k.name: i for i, k in enumerate(KINDS)}
ACCUMULATORS, DOUBLE, SINGLE, FLOAT32, FLOAT32_X86, FLOAT64, FLOAT64_X86 = range(7)
"""what becomes of the sums: see :func:`finish`"""


def _vector(element: Any, lanes: int) -> Any:  # noqa: ANN401
    return ir.VectorType(element, lanes)


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:  # noqa: ANN401
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name
    )
    return builder.call(function, arguments)


def _splat(builder: Any, value: Any, lanes: int) -> Any:  # noqa: ANN401
    kind = _vector(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(_vector(I32, lanes), [0] * lanes))


def _at(builder: Any, address: Any, element: Any) -> Any:  # noqa: ANN401
    return builder.inttoptr(address, element.as_pointer())


def _load(builder: Any, address: Any, element: Any) -> Any:  # noqa: ANN401
    loaded = builder.load(_at(builder, address, element))
    loaded.align = 1
    return loaded


def _store(builder: Any, value: Any, address: Any) -> None:  # noqa: ANN401
    builder.store(value, _at(builder, address, value.type)).align = 1


def _literal(*values: Any) -> bool:  # noqa: ANN401
    return all(isinstance(v, types.IntegerLiteral) for v in values)


def _add(builder: Any, *terms: Any) -> Any:  # noqa: ANN401
    total = terms[0]
    for t in terms[1:]:
        total = builder.add(total, I64(t) if isinstance(t, int) else t)
    return total


def _dot(builder: Any, kind: Kind, acc: Any, a: Any, b: Any) -> Any:  # noqa: ANN401
    """``acc`` plus, in each lane, the products of the inputs in ``a`` with the weights in ``b``; modulo ``2**32``."""
    if kind.group == 1:
        return builder.add(acc, builder.mul(a, b))
    if kind.group == 4:  # noqa: PLR2004
        form, name = _vector(I8, 4 * kind.lanes), f"llvm.x86.avx512.vpdpbusd.{32 * kind.lanes}"
        return _call(builder, name, acc.type, acc, builder.bitcast(a, form), builder.bitcast(b, form))
    form = _vector(I16, 2 * kind.lanes)
    name = "llvm.x86.avx512.pmaddw.d.512" if kind.lanes == LANES else "llvm.x86.avx2.pmadd.wd"
    return builder.add(acc, _call(builder, name, acc.type, builder.bitcast(a, form), builder.bitcast(b, form)))


def _clamp(builder: Any, value: Any, low: Any, high: Any) -> Any:  # noqa: ANN401
    """Between two vectors of integers or floats."""
    if isinstance(value.type.element, ir.IntType):
        value = builder.select(builder.icmp_signed("<", value, high), value, high)
        return builder.select(builder.icmp_signed(">", value, low), value, low)
    value = builder.select(builder.fcmp_ordered("<", value, high), value, high)
    return builder.select(builder.fcmp_ordered(">", value, low), value, low)


def _saturated_sum(builder: Any, a: Any, b: Any) -> Any:  # noqa: ANN401
    return _call(builder, f"llvm.sadd.sat.v{a.type.count}i32", a.type, a, b)


@intrinsic(prefer_literal=True)
def word(typing_context, block, index):  # noqa: ANN001, ANN201
    """The 64-bit word ``index`` at an address."""
    if not _literal(index):
        return None

    def emit(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        return _load(builder, _add(builder, arguments[0], 8 * signature.args[1].literal_value), I64)

    return types.int64(types.int64, index), emit


@intrinsic
def call(typing_context, function, block):  # noqa: ANN001, ANN201
    """Calls the function at an address with the address of its block."""

    def emit(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        form = ir.FunctionType(ir.VoidType(), [I64])
        builder.call(builder.inttoptr(arguments[0], form.as_pointer()), [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic(prefer_literal=True)
def multiply(typing_context, kind, clamped, rows, blocks, x, at, w, runs, count, steps, first, low, high, acc):  # noqa: ANN001, ANN201
    """Sums of products of ``rows`` windows with ``16 * blocks`` channels: ``acc[row, channel]``.

    Window ``row`` starts at ``x + at[row]``; it consists of ``count`` runs, which start at ``runs`` from there, of
    ``steps`` words each. ``w`` holds a word a channel for each of them. Sums start at ``first[channel]``, or where they
    are ``clamped`` to ``low..high`` at every step at 0, and ``first`` comes last.
    """
    if not _literal(kind, clamped, rows, blocks):
        return None
    k, tall, held = KINDS[kind.literal_value], rows.literal_value, bool(clamped.literal_value)
    wide = blocks.literal_value * k.vectors
    row_bytes = 64 * blocks.literal_value

    def emit(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        x, at, w, runs, count, steps, first, low, high, acc = arguments[4:]
        form = _vector(I32, k.lanes)
        starts = [builder.add(x, _load(builder, _add(builder, at, 8 * m), I64)) for m in range(tall)]
        firsts = [_load(builder, _add(builder, first, 4 * k.lanes * v), form) for v in range(wide)]
        limits = [_splat(builder, builder.trunc(v, I32), k.lanes) for v in (low, high)]
        sums = [[cgutils.alloca_once(builder, form) for _ in range(wide)] for _ in range(tall)]
        for row in sums:
            for v, place in enumerate(row):
                builder.store(ir.Constant(form, None) if held else firsts[v], place)
        place = cgutils.alloca_once_value(builder, w)
        with cgutils.for_range(builder, count) as run:
            offset = _load(builder, builder.add(runs, builder.shl(run.index, I64(3))), I64)
            inputs = [builder.add(s, offset) for s in starts]
            weights = builder.load(place)
            with cgutils.for_range(builder, steps) as step:
                four = builder.shl(step.index, I64(2))
                here = builder.add(weights, builder.mul(step.index, I64(row_bytes)))
                columns = [_load(builder, _add(builder, here, 4 * k.lanes * v), form) for v in range(wide)]
                for m in range(tall):
                    a = _splat(builder, _load(builder, builder.add(inputs[m], four), I32), k.lanes)
                    for v in range(wide):
                        total = _dot(builder, k, builder.load(sums[m][v]), a, columns[v])
                        builder.store(_clamp(builder, total, *limits) if held else total, sums[m][v])
            builder.store(builder.add(weights, builder.mul(steps, I64(row_bytes))), place)
        for m in range(tall):
            for v in range(wide):
                total = builder.load(sums[m][v])
                if held:
                    total = _clamp(builder, _saturated_sum(builder, total, firsts[v]), *limits)
                _store(builder, total, _add(builder, acc, row_bytes * m + 4 * k.lanes * v))
        return context.get_dummy_value()

    return types.void(kind, clamped, rows, blocks, *[types.int64] * 10), emit


@intrinsic(prefer_literal=True)
def multiply_apart(typing_context, kind, clamped, rows, x, next_x, lines, count, w, words, next_word, first, low, high, acc):  # noqa: ANN001, ANN201
    """Sums of products of channels that do not mix: ``acc[row, channel]`` of ``rows`` neighbours and one block of channels.

    Of each of ``count`` lines, at ``lines[i] + x``, ``words`` words a channel are taken, ``next_word`` bytes apart; the
    neighbours' are ``next_x`` bytes apart. ``w``, ``first`` and ``clamped`` as in :func:`multiply`.
    """
    if not _literal(kind, clamped, rows):
        return None
    k, tall, held = KINDS[kind.literal_value], rows.literal_value, bool(clamped.literal_value)
    wide = k.vectors

    def emit(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        x, next_x, lines, count, w, words, next_word, first, low, high, acc = arguments[3:]
        form = _vector(I32, k.lanes)
        limits = [_splat(builder, builder.trunc(v, I32), k.lanes) for v in (low, high)]
        firsts = [_load(builder, _add(builder, first, 4 * k.lanes * v), form) for v in range(wide)]
        sums = [[cgutils.alloca_once(builder, form) for _ in range(wide)] for _ in range(tall)]
        for row in sums:
            for v, place in enumerate(row):
                builder.store(ir.Constant(form, None) if held else firsts[v], place)
        beside = [builder.mul(next_x, I64(m)) for m in range(tall)]
        place = cgutils.alloca_once_value(builder, w)
        with cgutils.for_range(builder, count) as line:
            start = builder.add(x, _load(builder, builder.add(lines, builder.shl(line.index, I64(3))), I64))
            with cgutils.for_range(builder, words) as step:
                here, weights = builder.add(start, builder.mul(step.index, next_word)), builder.load(place)
                columns = [_load(builder, _add(builder, weights, 4 * k.lanes * v), form) for v in range(wide)]
                for m in range(tall):
                    for v in range(wide):
                        a = _load(builder, _add(builder, here, beside[m], 4 * k.lanes * v), form)
                        total = _dot(builder, k, builder.load(sums[m][v]), a, columns[v])
                        builder.store(_clamp(builder, total, *limits) if held else total, sums[m][v])
                builder.store(_add(builder, weights, 4 * LANES), place)
        for m in range(tall):
            for v in range(wide):
                total = builder.load(sums[m][v])
                if held:
                    total = _clamp(builder, _saturated_sum(builder, total, firsts[v]), *limits)
                _store(builder, total, _add(builder, acc, 4 * LANES * m + 4 * k.lanes * v))
        return context.get_dummy_value()

    return types.void(kind, clamped, rows, *[types.int64] * 11), emit


def _high_multiply(builder: Any, acc: Any, q: Any) -> Any:  # noqa: ANN401
    """``(acc * q + 2**30) >> 31`` in 32 bits: even and odd lanes by themselves, as the CPU multiplies."""
    pairs = _vector(I64, LANES // 2)

    def of(value: int) -> Any:  # noqa: ANN401
        return ir.Constant(pairs, [value] * (LANES // 2))

    def even(v: Any) -> Any:  # noqa: ANN401
        return builder.ashr(builder.shl(builder.bitcast(v, pairs), of(32)), of(32))

    def odd(v: Any) -> Any:  # noqa: ANN401
        return builder.ashr(builder.bitcast(v, pairs), of(32))

    products = [builder.add(builder.mul(part(acc), part(q)), of(1 << 30)) for part in (even, odd)]
    below = builder.bitcast(builder.lshr(products[0], of(31)), acc.type)
    above = builder.bitcast(builder.shl(products[1], of(1)), acc.type)
    pick = ir.Constant(_vector(I32, LANES), [i + (LANES if i % 2 else 0) for i in range(LANES)])
    return builder.shuffle_vector(below, above, pick)


def _double(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
    """:func:`fxsim.arith.requantize.double_rounding`; ties go away from zero where ``away`` is -1, else up."""
    q, left, right, rest, away = parameters
    high = _high_multiply(builder, builder.shl(acc, left), q)
    sign = builder.and_(builder.ashr(high, ir.Constant(high.type, [31] * LANES)), away)
    half = builder.sub(builder.lshr(rest, ir.Constant(high.type, [1] * LANES)), sign)
    up = builder.sext(builder.icmp_signed(">", builder.and_(high, rest), half), high.type)
    return builder.sub(builder.ashr(high, right), up)


def _single(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
    """:func:`fxsim.arith.requantize.single_rounding`; ties as in :func:`_double`."""
    q, shift, away = parameters
    wide = _vector(I64, LANES)
    product, by = builder.mul(builder.sext(acc, wide), builder.sext(q, wide)), builder.zext(shift, wide)
    one = ir.Constant(wide, [1] * LANES)
    half = builder.shl(one, builder.sub(by, one))
    sign = builder.and_(builder.ashr(product, ir.Constant(wide, [63] * LANES)), builder.sext(away, wide))
    return builder.trunc(builder.ashr(_add(builder, product, half, sign), by), acc.type)


def _float(scheme: int) -> Any:  # noqa: ANN401
    """``acc * scale`` rounded once: in float32 ties to even, in float64 ties away from zero.

    Beyond 32 bits it is limited, or becomes ``-2**31``, the "integer indefinite" of x86.
    """
    single, x86 = scheme in (FLOAT32, FLOAT32_X86), scheme in (FLOAT32_X86, FLOAT64_X86)

    def apply(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
        form = _vector(F32 if single else F64, LANES)

        def of(value: float) -> Any:  # noqa: ANN401
            return ir.Constant(form, [value] * LANES)

        product = builder.fmul(builder.sitofp(acc, form), parameters[0])
        rule = f"llvm.{'nearbyint' if single else 'round'}.v{LANES}f{32 if single else 64}"
        if x86:
            product = _call(builder, rule, form, product)
            inside = builder.and_(
                builder.fcmp_ordered("<", product, of(2.0**31)), builder.fcmp_ordered(">=", product, of(-(2.0**31)))
            )
            return builder.fptosi(builder.select(inside, product, of(-(2.0**31))), acc.type)
        ends = [_splat(builder, builder.fptrunc(v, F32) if single else v, LANES) for v in limits]
        return builder.fptosi(_call(builder, rule, form, _clamp(builder, product, *ends)), acc.type)

    return apply


SCHEMES: dict[int, tuple[Any, int, Any]] = {
    DOUBLE: (I32, 5, _double),
    SINGLE: (I32, 3, _single),
    FLOAT32: (F32, 1, _float(FLOAT32)),
    FLOAT32_X86: (F32, 1, _float(FLOAT32_X86)),
    FLOAT64: (F64, 1, _float(FLOAT64)),
    FLOAT64_X86: (F64, 1, _float(FLOAT64_X86)),
}
"""scheme -> the type and number of its parameters a channel, and its rule"""


@intrinsic(prefer_literal=True)
def finish(typing_context, scheme, bits, blocks, acc, channels, size, settings, out, pitch, row, count, at):  # noqa: ANN001, ANN201
    """Requantizes ``acc[count, 16 * blocks]`` into ``out[row.., at..]``, whose rows are ``pitch`` apart.

    Channels from ``pitch`` on are left out. ``channels`` holds the scheme's parameters, an array of ``size`` channels each;
    ``settings`` are words: zero point, least and greatest output, the limits of a float product (as float64), and the
    number of elements of ``out``.
    """
    if not _literal(scheme, bits, blocks):
        return None
    code, wide = scheme.literal_value, blocks.literal_value
    store_as = ir.IntType(bits.literal_value)
    form = _vector(I32, LANES)

    def emit(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        acc, channels, size, settings, out, pitch, row, count, at = arguments[3:]
        element, number, rule = SCHEMES.get(code, (I32, 0, None))
        each = element.width // 8 if isinstance(element, ir.IntType) else (4 if element == F32 else 8)
        zero, low, high = (
            _splat(builder, builder.trunc(_load(builder, _add(builder, settings, 8 * i), I64), I32), LANES)
            for i in range(3)
        )
        limits = [_load(builder, _add(builder, settings, 8 * i), F64) for i in (3, 4)]
        elements = _load(builder, _add(builder, settings, 40), I64)
        for block in range(wide):
            channel = _add(builder, at, LANES * block)
            left = builder.sub(pitch, channel)
            begin = _add(builder, channels, builder.mul(channel, I64(each)))
            step = builder.mul(size, I64(each))
            place = builder.add(builder.mul(row, pitch), channel)
            last = _add(builder, place, builder.mul(builder.sub(count, I64(1)), pitch), LANES)
            whole = builder.and_(
                builder.icmp_signed(">=", left, I64(LANES)), builder.icmp_signed("<=", last, elements)
            )
            with builder.if_then(builder.icmp_signed(">", left, I64(0))):
                parameters = [
                    _load(builder, builder.add(begin, builder.mul(step, I64(i))), _vector(element, LANES))
                    for i in range(number)
                ]

                def value(m: Any) -> Any:  # noqa: ANN401
                    tile = builder.add(acc, builder.mul(m, I64(4 * LANES * wide)))
                    v = _load(builder, _add(builder, tile, 4 * LANES * block), form)  # noqa: B023
                    if rule is not None:
                        v = _clamp(builder, builder.add(rule(builder, v, parameters, limits), zero), low, high)  # noqa: B023
                    return v if store_as == I32 else builder.trunc(v, _vector(store_as, LANES))

                def target(m: Any) -> Any:  # noqa: ANN401
                    at = builder.add(place, builder.mul(m, pitch))  # noqa: B023
                    return at, builder.add(out, builder.mul(at, I64(store_as.width // 8)))

                with builder.if_else(whole) as (full, part):
                    with full, cgutils.for_range(builder, count) as m:
                        _store(builder, value(m.index), target(m.index)[1])
                    with part, cgutils.for_range(builder, count) as m:
                        at_, to = target(m.index)
                        room = builder.sub(elements, at_)
                        room = builder.select(builder.icmp_signed("<", room, left), room, left)
                        _store_part(builder, value(m.index), to, room)
        return context.get_dummy_value()

    return types.void(scheme, bits, blocks, *[types.int64] * 9), emit


def _store_part(builder: Any, value: Any, target: Any, room: Any) -> None:  # noqa: ANN401
    """The first ``room`` lanes."""
    lanes = ir.Constant(_vector(I32, LANES), list(range(LANES)))
    mask = builder.icmp_signed("<", lanes, _splat(builder, builder.trunc(room, I32), LANES))
    place, name = _at(builder, target, value.type), f"llvm.masked.store.v{LANES}i{value.type.element.width}.p0"
    _call(builder, name, ir.VoidType(), value, place, I32(1), mask)


def _lifted(builder: Any, value: Any, group: int, signed: bool, zero: Any) -> Any:  # noqa: ANN401
    """Inputs as their words hold them: bytes without a sign; else without their zero point."""
    lanes = value.type.count
    if group == 4:  # noqa: PLR2004
        return builder.xor(value, ir.Constant(value.type, [0x80] * lanes)) if signed else value
    wide = (builder.sext if signed else builder.zext)(value, _vector(I32, lanes))
    wide = builder.sub(wide, _splat(builder, zero, lanes))
    return builder.trunc(wide, _vector(I16, lanes)) if group == 2 else wide  # noqa: PLR2004


@intrinsic(prefer_literal=True)
def lift(typing_context, kind, bits, source, count, zero, target):  # noqa: ANN001, ANN201
    """``count`` inputs of ``bits`` (negative: signed) as the words of ``kind`` hold them."""
    if not _literal(kind, bits):
        return None
    group, width, signed = KINDS[kind.literal_value].group, abs(bits.literal_value), bits.literal_value < 0

    def emit(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        source, count, zero, target = arguments[2:]
        zero = builder.trunc(zero, I32)

        def move(at: Any, lanes: int) -> None:  # noqa: ANN401
            form = _vector(ir.IntType(width), lanes)
            value = _load(builder, builder.add(source, builder.mul(at, I64(width // 8))), form)
            place = builder.add(target, builder.mul(at, I64(4 // group)))
            _store(builder, _lifted(builder, value, group, signed, zero), place)

        _in_vectors(builder, count, 64, move)
        return context.get_dummy_value()

    return types.void(kind, bits, *[types.int64] * 4), emit


def _in_vectors(builder: Any, count: Any, lanes: int, move: Any) -> None:  # noqa: ANN401
    """``move(at, lanes)`` over ``count`` elements: the last vector overlaps the one before; fewer go one by one."""
    with builder.if_else(builder.icmp_signed(">=", count, I64(lanes))) as (many, few):
        with many:
            with cgutils.for_range(builder, builder.udiv(count, I64(lanes))) as i:
                move(builder.mul(i.index, I64(lanes)), lanes)
            move(builder.sub(count, I64(lanes)), lanes)
        with few, cgutils.for_range(builder, count) as i:
            move(i.index, 1)


@intrinsic(prefer_literal=True)
def fill(typing_context, kind, value, count, target):  # noqa: ANN001, ANN201
    """``count`` inputs that are all ``value``, as the words of ``kind`` hold them."""
    if not _literal(kind):
        return None
    element = ir.IntType(32 // KINDS[kind.literal_value].group)

    def emit(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        value, count, target = arguments[1:]
        value = builder.trunc(value, element)

        def move(at: Any, lanes: int) -> None:  # noqa: ANN401
            place = builder.add(target, builder.mul(at, I64(element.width // 8)))
            _store(builder, _splat(builder, value, lanes), place)

        _in_vectors(builder, count, 32, move)
        return context.get_dummy_value()

    return types.void(kind, *[types.int64] * 3), emit


@intrinsic(prefer_literal=True)
def interleave(typing_context, kind, taps, source, apart, count, target):  # noqa: ANN001, ANN201
    """Words of ``taps`` neighbouring inputs of one channel: word ``i`` holds the inputs at ``source[i + apart * j]``.

    Up to 15 words more than ``count`` are read and written.
    """
    if not _literal(kind, taps):
        return None
    number, group = taps.literal_value, KINDS[kind.literal_value].group
    element = ir.IntType(32 // group)

    def emit(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        source, apart, count, target = arguments[2:]
        each, form = I64(4 // group), _vector(I32, LANES)
        starts = [builder.add(source, builder.mul(builder.mul(apart, I64(j)), each)) for j in range(number)]
        with cgutils.for_range(builder, builder.udiv(_add(builder, count, LANES - 1), I64(LANES))) as i:
            offset = builder.mul(i.index, builder.mul(each, I64(LANES)))
            parts = []
            for j, start in enumerate(starts):
                value = _load(builder, builder.add(start, offset), _vector(element, LANES))
                value = value if group == 1 else builder.zext(value, form)
                parts.append(builder.shl(value, ir.Constant(form, [j * element.width] * LANES)))
            total = parts[0]
            for part in parts[1:]:
                total = builder.or_(total, part)
            _store(builder, total, builder.add(target, builder.mul(i.index, I64(4 * LANES))))
        return context.get_dummy_value()

    return types.void(kind, taps, *[types.int64] * 4), emit


@intrinsic
def put(typing_context, address, value):  # noqa: ANN001, ANN201
    """Writes a 64-bit word at an address."""

    def emit(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        _store(builder, arguments[1], arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit
