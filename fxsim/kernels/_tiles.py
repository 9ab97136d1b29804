"""Sums of products on a tile of registers. Only :func:`_dot` knows instructions of a CPU; LLVM makes all else fit any.

Operands come in words of 32 bits, in which ``4 / group`` bytes hold each of ``group`` neighbouring inputs; a weight lies in
the word of its channel at the place of its input.
"""

from typing import Any

from fxsim.kernels._jit import cgutils, intrinsic, ir, types
from fxsim.kernels._vectors import (
    I8,
    I16,
    I32,
    I64,
    KINDS,
    LANES,
    Kind,
    add,
    clamp,
    library,
    literal,
    load,
    splat,
    store,
    vector,
)


def _dot(builder: Any, kind: Kind, acc: Any, a: Any, b: Any) -> Any:  # noqa: ANN401
    """``acc`` plus, in each lane, the products of the inputs in ``a`` with the weights in ``b``; modulo ``2**32``."""
    if kind.group == 1:
        return builder.add(acc, builder.mul(a, b))
    if kind.group == 4:
        form, name = vector(I8, 4 * kind.lanes), f"llvm.x86.avx512.vpdpbusd.{32 * kind.lanes}"
        if kind.signed:
            name = f"llvm.aarch64.neon.sdot.v{kind.lanes}i32.v{4 * kind.lanes}i8"
        return library(builder, name, acc.type, acc, builder.bitcast(a, form), builder.bitcast(b, form))
    form = vector(I16, 2 * kind.lanes)
    name = "llvm.x86.avx512.pmaddw.d.512" if kind.lanes == LANES else "llvm.x86.avx2.pmadd.wd"
    return builder.add(acc, library(builder, name, acc.type, builder.bitcast(a, form), builder.bitcast(b, form)))


def _saturated_sum(builder: Any, a: Any, b: Any) -> Any:  # noqa: ANN401
    return library(builder, f"llvm.sadd.sat.v{a.type.count}i32", a.type, a, b)


@intrinsic(prefer_literal=True)
def multiply(typing_context, kind, clamped, rows, blocks, x, at, w, steps, count, first, low, high, acc):
    """Sums of products of ``rows`` windows with ``16 * blocks`` channels: ``acc[row, channel]``.

    Window ``row`` starts at ``x + at[row]``; its ``count`` words lie at ``steps`` from there. ``w`` holds a word a channel
    for each of them. Sums start at ``first[channel]``, or where they are ``clamped`` to ``low..high`` at every step at 0,
    and ``first`` comes last.
    """
    if not literal(kind, clamped, rows, blocks):
        return None
    k, tall, held = KINDS[kind.literal_value], rows.literal_value, bool(clamped.literal_value)
    wide = blocks.literal_value * k.vectors
    row_bytes = 64 * blocks.literal_value

    def emit(context, builder, signature, arguments):
        x, at, w, steps, count, first, low, high, acc = arguments[4:]
        form = vector(I32, k.lanes)
        starts = [builder.add(x, load(builder, add(builder, at, 8 * m), I64)) for m in range(tall)]
        firsts = [load(builder, add(builder, first, 4 * k.lanes * v), form) for v in range(wide)]
        limits = [splat(builder, builder.trunc(v, I32), k.lanes) for v in (low, high)]
        sums = [[cgutils.alloca_once(builder, form) for _ in range(wide)] for _ in range(tall)]
        for row in sums:
            for v, place in enumerate(row):
                builder.store(ir.Constant(form, None) if held else firsts[v], place)
        with cgutils.for_range(builder, count) as step:
            offset = load(builder, builder.add(steps, builder.shl(step.index, I64(3))), I64)
            here = builder.add(w, builder.mul(step.index, I64(row_bytes)))
            columns = [load(builder, add(builder, here, 4 * k.lanes * v), form) for v in range(wide)]
            for m in range(tall):
                a = splat(builder, load(builder, builder.add(starts[m], offset), I32), k.lanes)
                for v in range(wide):
                    total = _dot(builder, k, builder.load(sums[m][v]), a, columns[v])
                    builder.store(clamp(builder, total, *limits) if held else total, sums[m][v])
        for m in range(tall):
            for v in range(wide):
                total = builder.load(sums[m][v])
                if held:
                    total = clamp(builder, _saturated_sum(builder, total, firsts[v]), *limits)
                store(builder, total, add(builder, acc, row_bytes * m + 4 * k.lanes * v))
        return context.get_dummy_value()

    return types.void(kind, clamped, rows, blocks, *[types.int64] * 9), emit


@intrinsic(prefer_literal=True)
def multiply_apart(typing_context, kind, clamped, rows, x, next_x, words, count, w, first, low, high, acc):
    """Sums of products of channels that do not mix: ``acc[row, channel]`` of ``rows`` neighbours and one block of channels.

    ``count`` words of each channel are taken, at ``words[i] + x``; the neighbours' are ``next_x`` bytes apart. ``w``,
    ``first`` and ``clamped`` as in :func:`multiply`.
    """
    if not literal(kind, clamped, rows):
        return None
    k, tall, held = KINDS[kind.literal_value], rows.literal_value, bool(clamped.literal_value)
    wide = k.vectors

    def emit(context, builder, signature, arguments):
        x, next_x, words, count, w, first, low, high, acc = arguments[3:]
        form = vector(I32, k.lanes)
        limits = [splat(builder, builder.trunc(v, I32), k.lanes) for v in (low, high)]
        firsts = [load(builder, add(builder, first, 4 * k.lanes * v), form) for v in range(wide)]
        sums = [[cgutils.alloca_once(builder, form) for _ in range(wide)] for _ in range(tall)]
        for row in sums:
            for v, place in enumerate(row):
                builder.store(ir.Constant(form, None) if held else firsts[v], place)
        beside = [builder.mul(next_x, I64(m)) for m in range(tall)]
        with cgutils.for_range(builder, count) as step:
            here = builder.add(x, load(builder, builder.add(words, builder.shl(step.index, I64(3))), I64))
            weights = builder.add(w, builder.mul(step.index, I64(4 * LANES)))
            columns = [load(builder, add(builder, weights, 4 * k.lanes * v), form) for v in range(wide)]
            for m in range(tall):
                for v in range(wide):
                    a = load(builder, add(builder, here, beside[m], 4 * k.lanes * v), form)
                    total = _dot(builder, k, builder.load(sums[m][v]), a, columns[v])
                    builder.store(clamp(builder, total, *limits) if held else total, sums[m][v])
        for m in range(tall):
            for v in range(wide):
                total = builder.load(sums[m][v])
                if held:
                    total = clamp(builder, _saturated_sum(builder, total, firsts[v]), *limits)
                store(builder, total, add(builder, acc, 4 * LANES * m + 4 * k.lanes * v))
        return context.get_dummy_value()

    return types.void(kind, clamped, rows, *[types.int64] * 9), emit
