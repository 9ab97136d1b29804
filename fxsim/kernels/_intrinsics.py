"""One machine instruction where numba has no function for it.

Each is a plain function on Python ints, which kernels run with ``NUMBA_DISABLE_JIT=1``, and an overload that emits LLVM's
intrinsic: inside a loop LLVM widens it to the vectors of the machine.
"""

from fxsim.kernels._jit import intrinsic, overload, types


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
