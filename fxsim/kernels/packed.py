"""Sums of products at the machine's speed, requantized tile by tile: fast twins of :mod:`fxsim.kernels.accumulate`.

A kernel is a C function of the address of its block: words that hold addresses, sizes and constants, which
:mod:`fxsim.sim.packed` fills. It copies the input into words (:mod:`fxsim.kernels._vectors`) with its padding, so that
no window needs a test, and reads windows in place. Sums are modulo ``2**32`` in any order, or clamped at every step in the
order kernel row, kernel column, channel.
"""

from functools import cache
from typing import Any

from fxsim.kernels._finish import finish, join
from fxsim.kernels._jit import STAMP, kernel, native
from fxsim.kernels._tiles import multiply, multiply_apart
from fxsim.kernels._vectors import KINDS, LANES, call, copy, fill, interleave, lift, put, weave, word

SUMS = 2048
"""bytes at the start of a kernel's room for sums that wait to be requantized: few, so that the CPU writes outputs while it
computes the next sums, where many outputs at once make it wait for memory"""
LINES = 16384
"""bytes behind them for addresses of the words under a window"""
TILE = SUMS + LINES
SLACK = 256
"""bytes that may be read beyond what was written, and count for nothing"""


@cache
def chain() -> Any:  # noqa: ANN401
    """``f(calls)``: calls each function of ``(address, address of its block)`` in turn."""
    stamp = STAMP

    @kernel
    def f(calls):
        if stamp < 0:
            return
        for i in range(calls.shape[0]):
            call(calls[i, 0], calls[i, 1])

    return f


@cache
def repeat() -> Any:  # noqa: ANN401
    """``f(calls, places, copies, first, last)``: inferences ``first..last - 1``, as :func:`chain`, one after the other.

    ``places`` of what is read where all inferences lie: (where a block's word is that says where, that of inference 0, bytes
    to the next one, what the word says otherwise). ``copies``: (where inference 0 goes, bytes of one, where inference 0
    comes from, bytes to the next one).
    """
    stamp = STAMP

    @kernel
    def f(calls, places, copies, first, last):
        if stamp < 0:
            return
        for n in range(first, last):
            for i in range(places.shape[0]):
                put(places[i, 0], places[i, 1] + n * places[i, 2])
            for i in range(calls.shape[0]):
                call(calls[i, 0], calls[i, 1])
            for i in range(copies.shape[0]):
                copy(copies[i, 0] + n * copies[i, 1], copies[i, 2] + n * copies[i, 3], copies[i, 1])
        for i in range(places.shape[0]):
            put(places[i, 0], places[i, 3])

    return f


@cache
def dense(kind: int, bits: int, clamped: int, rows: int, blocks: int, scheme: int, out_bits: int) -> Any:  # noqa: ANN401
    """A convolution; tiles of ``rows`` windows and ``16 * blocks`` channels."""
    stamp, panel_bytes, batch = STAMP, 64 * blocks, SUMS // (64 * blocks) // rows * rows

    @native
    def f(block):
        if stamp < 0:
            return
        x, out, tile = word(block, 0), word(block, 1), (word(block, 2) + 63) & -64
        zero, padding = word(block, 3), word(block, 4)
        images, lines, line, lead, gap, trail = (
            word(block, 5), word(block, 6), word(block, 7), word(block, 8), word(block, 9), word(block, 10),
        )  # fmt: skip
        at, count, steps, step_count = word(block, 11), word(block, 12), word(block, 13), word(block, 14)
        weight, panels, first, low, high = (
            word(block, 15),
            word(block, 16),
            word(block, 17),
            word(block, 18),
            word(block, 19),
        )
        channels, size, settings, pitch = word(block, 20), word(block, 21), word(block, 22), word(block, 23)
        in_bytes, word_bytes = abs(bits) // 8, word(block, 24)
        data = tile + TILE
        target = data
        for _ in range(images):
            fill(kind, padding, lead, target)
            target += lead * word_bytes
            for i in range(lines):
                lift(kind, bits, x, line, zero, target)
                x += line * in_bytes
                target += line * word_bytes
                between = gap if i + 1 < lines else trail
                fill(kind, padding, between, target)
                target += between * word_bytes
        for p in range(panels):
            w = weight + p * step_count * panel_bytes
            for r in range(0, count, batch):
                here = min(batch, count - r)
                for m in range(0, here, rows):
                    multiply(
                        kind, clamped, rows, blocks, data, at + 8 * (r + m), w, steps, step_count,
                        first + p * panel_bytes, low, high, tile + m * panel_bytes,
                    )  # fmt: skip
                finish(
                    scheme, out_bits, blocks, tile, channels, size, settings, out, pitch, r, here, p * LANES * blocks
                )

    return f


@cache
def apart(kind: int, bits: int, clamped: int, taps: int, rows: int, scheme: int, out_bits: int, cut: int) -> Any:  # noqa: ANN401
    """A convolution of channels that do not mix; tiles of ``rows`` neighbours, words of ``taps`` inputs.

    Where it is ``cut``, strips of columns are computed one after the other, so that a ring of lines stays in the first cache.
    """
    stamp, block_bytes, line_place, group = STAMP, 4 * LANES, SUMS, KINDS[kind].group
    batch = SUMS // (4 * LANES) // rows * rows
    each, out_bytes = 4 // group, out_bits // 8

    @native
    def f(block):
        if stamp < 0:
            return
        x, out, tile = word(block, 0), word(block, 1), (word(block, 2) + 63) & -64
        zero, padding = word(block, 3), word(block, 4)
        images, height, line, top, left, right = (
            word(block, 5), word(block, 6), word(block, 7), word(block, 8), word(block, 9), word(block, 10),
        )  # fmt: skip
        out_h, out_w, depth, stride_h, stride_w, dilation_h, dilation_w = (
            word(block, 11), word(block, 12), word(block, 13), word(block, 14), word(block, 15), word(block, 16),
            word(block, 17),
        )  # fmt: skip
        kernel_h, words, weight, blocks, first, low, high = (
            word(block, 18), word(block, 19), word(block, 20), word(block, 21), word(block, 22), word(block, 23),
            word(block, 24),
        )  # fmt: skip
        channels, size, settings, pitch, columns, ring = (
            word(block, 25), word(block, 26), word(block, 27), word(block, 28), word(block, 29), word(block, 30),
        )  # fmt: skip
        strip, span_w, span, plane = word(block, 31), word(block, 32), word(block, 33), word(block, 34)
        addresses = tile + line_place
        slot, strips = words * plane, (columns + strip - 1) // strip if cut else 1
        single = tile + TILE
        ring += single
        for task in range(images * strips):
            b, begin, wide, pixels, skipped = task, 0, columns, out_w, 0
            taken, before, inside = left + line + right, left, line
            if cut:
                b, begin = task // strips, task % strips * strip
                wide = pixels = min(strip, columns - begin)
                skipped = begin * stride_w * depth
                taken = min(((pixels - 1) * stride_w + span_w) * depth, taken - skipped)
                before = min(max(left - skipped, 0), taken)
                inside = max(min(left + line - skipped, taken), before) - before
            image = x + (b * height * line + skipped + before - left) * abs(bits) // 8
            ready = 0
            for y in range(out_h):
                ready = max(ready, y * stride_h)
                while ready < y * stride_h + span:
                    if top <= ready < top + height:
                        fill(kind, padding, before, single)
                        source = image + (ready - top) * line * abs(bits) // 8
                        lift(kind, bits, source, inside, zero, single + before * each)
                        fill(kind, padding, taken - before - inside, single + (before + inside) * each)
                    else:
                        fill(kind, padding, taken, single)
                    for q in range(words):
                        target = ring + ready % span * slot + q * plane
                        source = single + q * group * dilation_w * depth * each
                        if stride_w == 1:
                            interleave(kind, taps, source, dilation_w * depth, pixels * depth, target)
                        else:
                            for z in range(pixels):
                                here = source + z * stride_w * depth * each
                                interleave(kind, taps, here, dilation_w * depth, depth, target + 4 * z * depth)
                    ready += 1
                for i in range(kernel_h):
                    for q in range(words):
                        line_at = ring + (y * stride_h + i * dilation_h) % span * slot
                        put(addresses + 8 * (i * words + q), line_at + q * plane)
                row = out + ((b * out_h + y) * out_w + begin) * depth * out_bytes
                for c in range(blocks):
                    w = weight + c * kernel_h * words * block_bytes
                    for r in range(0, wide, batch):
                        here = min(batch, wide - r)
                        for z in range(0, here, rows):
                            multiply_apart(
                                kind, clamped, rows, c * block_bytes + 4 * (r + z) * pitch, 4 * pitch, addresses,
                                kernel_h * words, w, first + c * block_bytes, low, high, tile + z * block_bytes,
                            )  # fmt: skip
                        finish(scheme, out_bits, 1, tile, channels, size, settings, row, pitch, r, here, c * LANES)

    return f


@cache
def joined(bits: int, shifted: int) -> Any:  # noqa: ANN401
    """A sum of two tensors: see :func:`fxsim.kernels._finish.join`."""
    stamp = STAMP

    @native
    def f(block):
        if stamp < 0:
            return
        join(bits, shifted, word(block, 0), word(block, 1), word(block, 4), word(block, 5), word(block, 2))

    return f


@cache
def woven(planes: int) -> Any:  # noqa: ANN401
    """Channels first to channels last: see :func:`fxsim.kernels._vectors.weave`."""
    stamp = STAMP

    @native
    def f(block):
        if stamp < 0:
            return
        weave(planes, word(block, 0), word(block, 3), word(block, 1))

    return f
