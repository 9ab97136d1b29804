"""Planted bugs in the packed kernels: each single edit of what emits their instructions must change an output."""

import inspect
import os
import textwrap
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

import numba
import numpy as np
import pytest

from fxsim.kernels import _finish, _tiles, _vectors, isa, packed
from fxsim.numerics import Accumulator
from tests.sim.test_packed import check, drawn
from tests.sim.test_packed_wide import wide

ISAS = isa.available()
pytestmark = pytest.mark.skipif(not isa.compiled(), reason="kernels are not compiled")


def uncached(function):
    """As :func:`fxsim.kernels._jit.native`, but never on the disk: a mutant there would answer for the kernel."""
    return numba.cfunc(numba.types.void(numba.types.int64), error_model="numpy")(function)


def int8_layer(apart, scheme="double_rounding", **more):
    """A layer of int8 by int8 with padding, ragged channels, sums of both signs and a scale that leaves ties."""
    layer, x = next((layer, x) for layer, x, _ in (drawn(s, apart) for s in range(400)) if telling(layer))
    n, floats = layer.geometry.out_c, scheme == "float32"
    q, shift = np.full(n, 1 << 30, np.int64), np.full(n, -3, np.int64)
    q[::2] = 0x6000_0001
    real = (q * 2.0 ** (shift - 31)).astype(np.float32 if floats else np.float64)
    layer = replace(
        layer, weight=layer.weight % 3 - 1, bias=np.arange(n, dtype=np.int32) % 7 - 3, x_zero=5, zero=3,
        accumulator=Accumulator(bits=32, overflow="wrap"), policy="wrap", scales=type(layer.scales)(q, shift, real),
        scheme=scheme, rounding="ties_even" if floats else "ties_away", lanes=0, saturating=floats, clamp=(-120, 119),
    )  # fmt: skip
    return replace(layer, **more), x, np.dtype(np.int8)


def telling(layer):
    """Whether a layer has what an edit shows on."""
    g = layer.geometry
    large = g.outputs > 200 and g.kernel_h * g.kernel_w > 3 and g.in_c > 4
    return layer.input_dtype == np.int8 and sum(layer.pad) > 0 and large


def int16_layer(apart):
    layer, x = wide(5 if apart else 11, apart, "reduced_multiplier")
    return replace(layer, bias=layer.bias >> 12, clamp=(-32000, 31999)), x, np.dtype(np.int16)


def clamped_layer(apart):
    return int8_layer(apart, accumulator=Accumulator(bits=12, overflow="saturate"), policy="saturate")


def float_layer(apart):
    return int8_layer(apart, "float32", saturating=True)


def fused_layer(apart):
    layer, x, out = int8_layer(apart)
    q, shift = np.full_like(layer.scales.q, 0x6123_4567), layer.scales.shift
    return replace(layer, scales=type(layer.scales)(q, shift, q * 2.0 ** (shift - 31))), x, out


def folded_layer(apart):
    return int8_layer(apart, "float32", saturating=True, zero=4)


BUGS = [
    (_tiles, "_dot", "builder.mul(a, b)", "builder.add(a, b)", int8_layer, "portable"),
    (_tiles, "_dot", "builder.add(acc, builder.mul", "builder.sub(acc, builder.mul", int8_layer, "portable"),
    (_tiles, "_dot", "acc, builder.bitcast(a, form)", "acc, builder.bitcast(b, form)", int8_layer, "vnni"),
    (_tiles, "_dot", "builder.add(acc, library", "builder.sub(acc, library", int16_layer, "avx2"),
    (_tiles, "_dot", "builder.add(acc, library", "builder.sub(acc, library", int8_layer, "avx2"),
    (_vectors, "_lifted", "builder.sub(wide, splat", "builder.add(wide, splat", int8_layer, "avx2"),
    (_vectors, "_lifted", "[0x80]", "[0x40]", int8_layer, "vnni"),
    (_vectors, "clamp", '"<"', '">"', int8_layer, "portable"),
    (_vectors, "clamp", "value, low)", "low, value)", int8_layer, "portable"),
    (_finish, "_high_multiply", "1 << 30", "0", int8_layer, "portable"),
    (_finish, "_high_multiply", "if i % 2", "if i % 2 == 0", int8_layer, "portable"),
    (_finish, "_double_small", "ashr(high, _all(high.type, 31))", "lshr(high, _all(high.type, 31))", int8_layer, "portable"),
    (_finish, "_double_small", "add(builder, high, half, sign)", "add(builder, high, half)", int8_layer, "portable"),
    (_finish, "_single", "sub(by, one)", "add(by, one)", int16_layer, "portable"),
    (_finish, "_single", "add(builder, product, half, sign)", "add(builder, product, sign)", int16_layer, "portable"),
    (_finish, "_single", "builder.sext(q, wide)", "builder.neg(builder.sext(q, wide))", int16_layer, "portable"),
    (_finish, "_float32", "[MAGIC]", "[2 * MAGIC]", float_layer, "portable"),
    (_finish, "_fused", "builder.fadd(", "builder.fsub(", fused_layer, "portable"),
    (_finish, "_fused", "offset, x))", "offset, offset))", fused_layer, "portable"),
    (_finish, "_fused", "x, scale, magic", "scale, scale, magic", fused_layer, "portable"),
    (_finish, "_folded", "builder.fmul(", "builder.fadd(", folded_layer, "portable"),
    (_finish, "_lowest_bits", "clamp(builder, sums, *ends)", "sums", fused_layer, "portable"),
    (_tiles, "_saturated_sum", "sadd", "uadd", clamped_layer, "portable"),
]  # fmt: skip
"""module, function, text, what stands there instead, a layer that uses it, and the instruction set"""


def mutate(module, name, text, instead):
    """The function with one edit."""
    source = textwrap.dedent(inspect.getsource(getattr(module, name)))
    assert source.count(text) >= 1, f"{name} has no {text!r}"
    names = dict(vars(module))
    exec(compile(source.replace(text, instead, 1), f"<{name}>", "exec"), names)
    return names[name]


def planted(stack, module, name, mutant):
    """Puts a mutant wherever the kernels take the function from, and lets nothing compiled before or kept answer."""
    original = getattr(module, name)
    for other in (_vectors, _tiles, _finish):
        if getattr(other, name, None) is original:
            stack.enter_context(patch.object(other, name, mutant))
    rules = {k: (a, n, mutant) for k, (a, n, rule) in _finish.SCHEMES.items() if rule is original}
    stack.enter_context(patch.dict(_finish.SCHEMES, rules))
    stack.enter_context(patch.object(packed, "native", uncached))
    for factory in ("dense", "apart"):
        stack.enter_context(patch.object(packed, factory, getattr(packed, factory).__wrapped__))


@pytest.mark.parametrize("apart", [False, True] if os.environ.get("FXSIM_LONG") == "1" else [False])
@pytest.mark.parametrize(("module", "function", "text", "instead", "layer", "name"), BUGS)
def test_a_planted_bug_changes_an_output(module, function, text, instead, layer, name, apart):
    if name not in ISAS:
        pytest.skip(f"needs {name}")
    made = layer(apart)
    check(*made, name)
    with ExitStack() as stack:
        planted(stack, module, function, mutate(module, function, text, instead))
        with pytest.raises(AssertionError):
            check(*made, name)
