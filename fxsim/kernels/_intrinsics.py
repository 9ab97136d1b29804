"""One machine instruction where numba has no function for it.

Each is a plain function on Python ints, which kernels run with ``NUMBA_DISABLE_JIT=1``, and an overload that emits LLVM's
intrinsic: inside a loop LLVM widens it to the vectors of the machine.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.kernels._jit import cgutils, intrinsic, ir, overload, types
from fxsim.kernels._vectors import library, vector

WORD = 64
"""elements that :func:`differing` looks at"""


def xor_popcount(a: int, b: int) -> int:
    """The number of bits in which ``a`` and ``b`` differ; compiled for two unsigned words of one width.

    On AVX512-VPOPCNTDQ a loop over it becomes ``vpopcntd`` on 16 words, elsewhere a table look-up in vector registers.
    """
    return (int(a) ^ int(b)).bit_count()


@intrinsic
def _xor_popcount(typing_context, a, b):
    def emit(context, builder, signature, arguments):
        return builder.ctpop(builder.xor(*arguments))

    return a(a, b), emit


@overload(xor_popcount)
def _compiled(a, b):
    if not isinstance(a, types.Integer) or a != b or a.signed:
        return None

    def count(a, b):
        return _xor_popcount(a, b)

    return count


def differing(a: npt.NDArray[Any], b: npt.NDArray[Any], start: int) -> int:
    """Bit ``j`` is set where ``a[start + j]`` and ``b[start + j]`` differ, ``j < 64``; flat arrays of one integer type."""
    return sum(1 << int(j) for j in np.flatnonzero(a[start : start + WORD] != b[start : start + WORD]))


def stepped(a: npt.NDArray[Any], b: npt.NDArray[Any], start: int) -> tuple[int, int, int]:
    """:func:`differing`, and of that where ``b - a`` is 1, and where it is -1."""
    d = [int(y) - int(x) for x, y in zip(a[start : start + WORD], b[start : start + WORD], strict=True)]
    up, down = (sum(1 << j for j, by in enumerate(d) if by == step) for step in (1, -1))
    return differing(a, b, start), up, down


def moments(a: npt.NDArray[Any], b: npt.NDArray[Any], start: int, end: int) -> tuple[int, int, int]:
    """The sums of ``a``, ``a**2`` and ``a * b`` from ``start`` to ``end``, which is 2**12 or less, of flat arrays.

    0 for integers of more than 16 bits.
    """
    if a.itemsize > 2:
        return 0, 0, 0
    x, y = a[start:end].tolist(), b[start:end].tolist()
    return sum(x), sum(v * v for v in x), sum(v * w for v, w in zip(x, y, strict=True))


def _flat(*arrays: Any) -> bool:  # noqa: ANN401
    return all(
        isinstance(a, types.Array) and a.layout == "C" and a.ndim == 1 and isinstance(a.dtype, types.Integer)
        for a in arrays
    )


def _loaded(context: Any, builder: Any, array: Any, value: Any, start: Any) -> Any:  # noqa: ANN401
    """The word of elements from ``start``."""
    element = context.get_data_type(array.dtype)
    data = context.make_array(array)(context, builder, value).data
    loaded = builder.load(builder.bitcast(builder.gep(data, [start]), vector(element, WORD).as_pointer()))
    loaded.align = element.width // 8
    return loaded


@intrinsic
def _differing(typing_context, a, b, start):
    def emit(context, builder, signature, arguments):
        x, y = (_loaded(context, builder, t, v, arguments[2]) for t, v in zip((a, b), arguments, strict=False))
        return builder.bitcast(builder.icmp_unsigned("!=", x, y), ir.IntType(WORD))

    return types.int64(a, b, start), emit


@overload(differing)
def _compiled_differing(a, b, start):
    if not _flat(a, b) or a.dtype != b.dtype:
        return None

    def bits(a, b, start):
        if start + WORD <= a.size:
            return _differing(a, b, start)
        found = np.int64(0)
        for j in range(a.size - start):
            found |= np.int64(a[start + j] != b[start + j]) << j
        return found

    return bits


@intrinsic
def _stepped(typing_context, a, b, start):
    def emit(context, builder, signature, arguments):
        x, y = (_loaded(context, builder, t, v, arguments[2]) for t, v in zip((a, b), arguments, strict=False))
        wide = ir.IntType(min(64, 2 * a.dtype.bitwidth))
        by = builder.sub(*(_widened(builder, v, a.dtype, wide) for v in (y, x)))
        found = [builder.icmp_unsigned("!=", x, y)]
        found += [builder.icmp_signed("==", by, ir.Constant(by.type, [step] * WORD)) for step in (1, -1)]
        return context.make_tuple(builder, signature.return_type, [builder.bitcast(v, ir.IntType(WORD)) for v in found])

    return types.UniTuple(types.int64, 3)(a, b, start), emit


def _widened(builder: Any, value: Any, kind: Any, wide: Any) -> Any:  # noqa: ANN401
    if kind.bitwidth == wide.width:
        return value
    return (builder.sext if kind.signed else builder.zext)(value, vector(wide, WORD))


@overload(stepped)
def _compiled_stepped(a, b, start):
    if not _flat(a, b) or a.dtype != b.dtype:
        return None

    def bits(a, b, start):
        if start + WORD <= a.size:
            return _stepped(a, b, start)
        found, up, down = np.int64(0), np.int64(0), np.int64(0)
        for j in range(a.size - start):
            by = np.int64(b[start + j]) - np.int64(a[start + j])
            found |= np.int64(by != 0) << j
            up |= np.int64(by == 1) << j
            down |= np.int64(by == -1) << j
        return found, up, down

    return bits


@intrinsic
def _moments(typing_context, a, b, start, words):
    wide = ir.IntType(4 * a.dtype.bitwidth)  # holds 2**12 products

    def emit(context, builder, signature, arguments):
        totals = [cgutils.alloca_once_value(builder, ir.Constant(vector(wide, WORD), None)) for _ in range(3)]
        with cgutils.for_range(builder, arguments[3]) as i:
            at = builder.add(arguments[2], builder.mul(i.index, i.index.type(WORD)))
            x, y = (
                _widened(builder, _loaded(context, builder, t, v, at), t.dtype, wide)
                for t, v in zip((a, b), arguments, strict=False)
            )
            for total, v in zip(totals, (x, builder.mul(x, x), builder.mul(x, y)), strict=True):
                builder.store(builder.add(builder.load(total), v), total)
        name = f"llvm.vector.reduce.add.v{WORD}i{wide.width}"
        sums = [library(builder, name, wide, builder.load(total)) for total in totals]
        sums = [builder.sext(v, ir.IntType(64)) if wide.width < 64 else v for v in sums]
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.int64, 3)(a, b, start, words), emit


@overload(moments)
def _compiled_moments(a, b, start, end):
    if not _flat(a, b) or a.dtype != b.dtype:
        return None
    if a.dtype.bitwidth > 16:
        return lambda a, b, start, end: (0, 0, 0)

    def sums(a, b, start, end):
        words = (end - start) // WORD
        total, squares, cross = _moments(a, b, start, words)
        for j in range(start + words * WORD, end):
            v = np.int64(a[j])
            total += v
            squares += v * v
            cross += v * np.int64(b[j])
        return total, squares, cross

    return sums


def lowest(bits: int) -> int:
    """The place of the lowest bit of a word that is set."""
    return (bits & -bits).bit_length() - 1


def count(bits: int) -> int:
    """How many bits of a word are set."""
    return bits.bit_count()


@intrinsic
def _lowest(typing_context, bits):
    def emit(context, builder, signature, arguments):
        return builder.cttz(arguments[0], cgutils.true_bit)

    return bits(bits), emit


@intrinsic
def _count(typing_context, bits):
    def emit(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return bits(bits), emit


@overload(lowest)
def _compiled_lowest(bits):
    def place(bits):
        return _lowest(bits)

    return place


@overload(count)
def _compiled_count(bits):
    def number(bits):
        return _count(bits)

    return number
