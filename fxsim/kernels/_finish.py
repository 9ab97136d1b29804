"""Requantization in vector registers: fast twins of :mod:`fxsim.arith.requantize`, for the schemes that engines have."""

from typing import Any

from fxsim.kernels._jit import cgutils, intrinsic, ir, types
from fxsim.kernels._vectors import (
    F32,
    F64,
    I32,
    I64,
    LANES,
    add,
    clamp,
    library,
    literal,
    load,
    pointer,
    splat,
    store,
    vector,
)

(
    DOUBLE,
    DOUBLE_SMALL,
    SINGLE,
    FLOAT32,
    FLOAT32_ABOVE,
    FLOAT32_X86,
    FLOAT64,
    FLOAT64_X86,
    QUOTIENT,
    AFFINE32,
    SUMS,
    FUSED,
    FOLDED,
) = range(13)
"""what becomes of the sums: see :func:`finish`"""


MAGIC = 1.5 * 2**23
"""added to a small float32, it leaves no room for a fraction: the lowest bits are the integer then"""


def _all(form: Any, value: int) -> Any:  # noqa: ANN401
    return ir.Constant(form, [value] * form.count)


def _high_multiply(builder: Any, acc: Any, q: Any) -> Any:  # noqa: ANN401
    """``(acc * q + 2**30) >> 31`` in 32 bits: even and odd lanes by themselves, as the CPU multiplies."""
    lanes = acc.type.count
    pairs = vector(I64, lanes // 2)

    def even(v: Any) -> Any:  # noqa: ANN401
        return builder.ashr(builder.shl(builder.bitcast(v, pairs), _all(pairs, 32)), _all(pairs, 32))

    def odd(v: Any) -> Any:  # noqa: ANN401
        return builder.ashr(builder.bitcast(v, pairs), _all(pairs, 32))

    products = [builder.add(builder.mul(part(acc), part(q)), _all(pairs, 1 << 30)) for part in (even, odd)]
    below = builder.bitcast(builder.lshr(products[0], _all(pairs, 31)), acc.type)
    above = builder.bitcast(builder.shl(products[1], _all(pairs, 1)), acc.type)
    pick = ir.Constant(vector(I32, lanes), [i + (lanes if i % 2 else 0) for i in range(lanes)])
    return builder.shuffle_vector(below, above, pick)


def _double(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
    """:func:`fxsim.arith.requantize.double_rounding`; ties go away from zero where ``away`` is -1, else up."""
    q, left, right, rest, away = parameters
    high = _high_multiply(builder, builder.shl(acc, left), q)
    sign = builder.and_(builder.ashr(high, _all(high.type, 31)), away)
    half = builder.sub(builder.lshr(rest, _all(high.type, 1)), sign)
    up = builder.sext(builder.icmp_signed(">", builder.and_(high, rest), half), high.type)
    return builder.sub(builder.ashr(high, right), up)


def _double_small(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
    """As :func:`_double` and the zero point, where sums have 31 bits and no shift goes left: ``half`` holds both."""
    q, right, half, away = parameters
    high = _high_multiply(builder, acc, q)
    sign = builder.and_(builder.ashr(high, _all(high.type, 31)), away)
    return builder.ashr(add(builder, high, half, sign), right)


def _float32(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
    """``acc * scale`` limited, then rounded ties to even: where 1.5 * 2**23 is added, a float32 has no room for a fraction.

    Of the integer that its bits are then, only the lowest 16 mean anything.
    """
    form = vector(F32, acc.type.count)
    product = builder.fmul(builder.sitofp(acc, form), parameters[0])
    ends = [splat(builder, builder.fptrunc(v, F32), acc.type.count) for v in limits]
    return builder.bitcast(
        builder.fadd(clamp(builder, product, *ends), ir.Constant(form, [MAGIC] * form.count)), acc.type
    )


def _single(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
    """:func:`fxsim.arith.requantize.single_rounding`; ties as in :func:`_double`."""
    q, shift, away = parameters
    wide = vector(I64, LANES)
    product, by = builder.mul(builder.sext(acc, wide), builder.sext(q, wide)), builder.zext(shift, wide)
    one = _all(wide, 1)
    half = builder.shl(one, builder.sub(by, one))
    sign = builder.and_(builder.ashr(product, _all(wide, 63)), builder.sext(away, wide))
    return builder.trunc(builder.ashr(add(builder, product, half, sign), by), acc.type)


def _float(scheme: int) -> Any:  # noqa: ANN401
    """``acc * scale`` rounded once: in float32 ties to even, in float64 ties away from zero.

    Beyond 32 bits it is limited, or becomes ``-2**31``, the "integer indefinite" of x86. ``QUOTIENT``: ``acc / scale``, in
    float64, where a tie of 32-bit integers is exact and nothing else becomes one. ``AFFINE32``: an offset is added.
    """
    single, x86 = scheme in (FLOAT32_ABOVE, FLOAT32_X86, AFFINE32), scheme in (FLOAT32_X86, FLOAT64_X86)

    def apply(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
        form = vector(F32 if single else F64, LANES)

        def of(value: float) -> Any:  # noqa: ANN401
            return ir.Constant(form, [value] * LANES)

        value = builder.sitofp(acc, form)
        product = (builder.fdiv if scheme == QUOTIENT else builder.fmul)(value, parameters[0])
        if scheme == AFFINE32:
            product = builder.fadd(product, parameters[1])
        rule = f"llvm.{'nearbyint' if single else 'round'}.v{LANES}f{32 if single else 64}"
        if x86:
            product = library(builder, rule, form, product)
            inside = builder.and_(
                builder.fcmp_ordered("<", product, of(2.0**31)), builder.fcmp_ordered(">=", product, of(-(2.0**31)))
            )
            return builder.fptosi(builder.select(inside, product, of(-(2.0**31))), acc.type)
        ends = [splat(builder, builder.fptrunc(v, F32) if single else v, LANES) for v in limits]
        return builder.fptosi(library(builder, rule, form, clamp(builder, product, *ends)), acc.type)

    return apply


def _lowest_bits(builder: Any, sums: Any, limits: Any) -> Any:  # noqa: ANN401
    """Float32 numbers without a fraction, limited, as the integers of their lowest bits."""
    ends = [splat(builder, builder.fptrunc(v, F32), LANES) for v in limits]
    return builder.bitcast(clamp(builder, sums, *ends), vector(I32, LANES))


def _fused(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
    """:func:`fxsim.kernels.fused.fused` and the zero point, limited."""
    scale, magic, offset = parameters
    form = scale.type
    x = builder.sitofp(acc, form)
    x = builder.fadd(x, library(builder, f"llvm.copysign.v{LANES}f32", form, offset, x))
    return _lowest_bits(builder, library(builder, f"llvm.fma.v{LANES}f32", form, x, scale, magic), limits)


def _folded(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
    """:func:`fxsim.kernels.fused.folded` and the zero point, limited."""
    scale, magic = parameters
    return _lowest_bits(builder, builder.fadd(builder.fmul(builder.sitofp(acc, scale.type), scale), magic), limits)


def _as_they_are(builder: Any, acc: Any, parameters: Any, limits: Any) -> Any:  # noqa: ANN401
    return acc


SCHEMES: dict[int, tuple[Any, int, Any]] = {
    DOUBLE: (I32, 5, _double),
    DOUBLE_SMALL: (I32, 4, _double_small),
    SINGLE: (I32, 3, _single),
    FLOAT32: (F32, 1, _float32),
    FLOAT32_ABOVE: (F32, 1, _float(FLOAT32_ABOVE)),
    FLOAT32_X86: (F32, 1, _float(FLOAT32_X86)),
    FLOAT64: (F64, 1, _float(FLOAT64)),
    FLOAT64_X86: (F64, 1, _float(FLOAT64_X86)),
    QUOTIENT: (F64, 1, _float(QUOTIENT)),
    AFFINE32: (F32, 2, _float(AFFINE32)),
    SUMS: (I32, 0, _as_they_are),
    FUSED: (F32, 3, _fused),
    FOLDED: (F32, 2, _folded),
}
"""scheme -> the type and number of its parameters a channel, and its rule"""
ZERO_INSIDE, CLAMP_INSIDE = (DOUBLE_SMALL, SUMS, FUSED, FOLDED), (FLOAT32, SUMS, FUSED, FOLDED)
"""schemes whose parameters hold the zero point, and whose limits do what the clamp would"""


@intrinsic(prefer_literal=True)
def finish(typing_context, scheme, bits, blocks, acc, channels, size, settings, out, pitch, row, count, at):
    """Requantizes ``acc[count, 16 * blocks]`` into ``out[row.., at..]``, whose rows are ``pitch`` apart.

    Channels from ``pitch`` on are left out. ``channels`` holds the scheme's parameters, an array of ``size`` channels each;
    ``settings`` are words: zero point, least and greatest output, the limits of a float product (as float64), and the
    number of elements of ``out``.
    """
    if not literal(scheme, bits, blocks):
        return None
    code, wide = scheme.literal_value, blocks.literal_value
    store_as = ir.IntType(bits.literal_value)
    form = vector(I32, LANES)

    def emit(context, builder, signature, arguments):
        acc, channels, size, settings, out, pitch, row, count, at = arguments[3:]
        element, number, rule = SCHEMES[code]
        each = element.width // 8 if isinstance(element, ir.IntType) else (4 if element == F32 else 8)
        zero, low, high = (
            splat(builder, builder.trunc(load(builder, add(builder, settings, 8 * i), I64), I32), LANES)
            for i in range(3)
        )
        limits = [load(builder, add(builder, settings, 8 * i), F64) for i in (3, 4)]
        elements = load(builder, add(builder, settings, 40), I64)
        for block in range(wide):
            channel = add(builder, at, LANES * block)
            left = builder.sub(pitch, channel)
            begin = add(builder, channels, builder.mul(channel, I64(each)))
            step = builder.mul(size, I64(each))
            place = builder.add(builder.mul(row, pitch), channel)
            last = add(builder, place, builder.mul(builder.sub(count, I64(1)), pitch), LANES)
            whole = builder.and_(builder.icmp_signed(">=", left, I64(LANES)), builder.icmp_signed("<=", last, elements))
            with builder.if_then(builder.icmp_signed(">", left, I64(0))):
                parameters = [
                    load(builder, builder.add(begin, builder.mul(step, I64(i))), vector(element, LANES))
                    for i in range(number)
                ]

                def value(m: Any) -> Any:  # noqa: ANN401
                    tile = builder.add(acc, builder.mul(m, I64(4 * LANES * wide)))
                    v = load(builder, add(builder, tile, 4 * LANES * block), form)  # noqa: B023
                    v = rule(builder, v, parameters, limits)  # noqa: B023
                    if code not in ZERO_INSIDE:
                        v = builder.add(v, zero)
                    if code not in CLAMP_INSIDE:
                        v = clamp(builder, v, low, high)
                    return builder.trunc(v, vector(store_as, LANES))

                def target(m: Any) -> Any:  # noqa: ANN401
                    at = builder.add(place, builder.mul(m, pitch))  # noqa: B023
                    return at, builder.add(out, builder.mul(at, I64(store_as.width // 8)))

                with builder.if_else(whole) as (full, part):
                    with full, cgutils.for_range(builder, count) as m:
                        store(builder, value(m.index), target(m.index)[1])
                    with part, cgutils.for_range(builder, count) as m:
                        at_, to = target(m.index)
                        room = builder.sub(elements, at_)
                        room = builder.select(builder.icmp_signed("<", room, left), room, left)
                        _store_part(builder, value(m.index), to, room)
        return context.get_dummy_value()

    return types.void(scheme, bits, blocks, *[types.int64] * 9), emit


def _store_part(builder: Any, value: Any, target: Any, room: Any) -> None:  # noqa: ANN401
    """The first ``room`` lanes."""
    lanes = ir.Constant(vector(I32, LANES), list(range(LANES)))
    mask = builder.icmp_signed("<", lanes, splat(builder, builder.trunc(room, I32), LANES))
    place, name = pointer(builder, target, value.type), f"llvm.masked.store.v{LANES}i{value.type.element.width}.p0"
    library(builder, name, ir.VoidType(), value, place, I32(1), mask)


JOIN_WORDS = 20
"""words of 32 bits that a join's parameters take"""


@intrinsic(prefer_literal=True)
def join(typing_context, bits, shifted, a, b, count, parameters, out):
    """Sums of two tensors of ``bits`` (negative: signed), at least 16 elements, rescaled.

    ``parameters`` are words of 32 bits: both zero points, the output's, its least and greatest. Then: where ``shifted``
    both multipliers, half, and the shift: ``(ma * (a - a_zero) + mb * (b - b_zero) + half) >> shift``; else those of
    :func:`_double`, for both terms and their sum.
    """
    if not literal(bits, shifted):
        return None
    width, signed, once = abs(bits.literal_value), bits.literal_value < 0, bool(shifted.literal_value)
    element, form = ir.IntType(width), vector(I32, LANES)

    def emit(context, builder, signature, arguments):
        sources, (count, parameters, out) = arguments[2:4], arguments[4:]
        words = [splat(builder, load(builder, add(builder, parameters, 4 * i), I32), LANES) for i in range(JOIN_WORDS)]
        zeros, (zero, low, high), rest = words[:2], words[2:5], words[5:]

        def move(at: Any, lanes: int) -> None:  # noqa: ANN401
            terms = []
            for source, start in zip(sources, zeros, strict=True):
                offset = builder.mul(at, I64(width // 8))
                value = load(builder, builder.add(source, offset), vector(element, lanes))
                terms.append(builder.sub((builder.sext if signed else builder.zext)(value, form), start))
            if once:
                products = [builder.mul(t, m) for t, m in zip(terms, rest[:2], strict=True)]
                value = builder.ashr(add(builder, *products, rest[2]), rest[3])
            else:
                terms = [_double(builder, t, rest[5 * i : 5 * i + 5], None) for i, t in enumerate(terms)]
                value = _double(builder, builder.add(*terms), rest[10:15], None)
            value = builder.trunc(clamp(builder, builder.add(value, zero), low, high), vector(element, lanes))
            store(builder, value, builder.add(out, builder.mul(at, I64(width // 8))))

        with cgutils.for_range(builder, builder.udiv(count, I64(LANES))) as i:
            move(builder.mul(i.index, I64(LANES)), LANES)
        move(builder.sub(count, I64(LANES)), LANES)
        return context.get_dummy_value()

    return types.void(bits, shifted, *[types.int64] * 5), emit
