"""Binds functions of whole rows: SOFTMAX, LOG_SOFTMAX and L2_NORMALIZATION."""

import math
from functools import cache, partial

import numpy as np
import numpy.typing as npt

from fxsim.arith import tables
from fxsim.arith.multiplier import float32, quantize_multiplier
from fxsim.errors import DomainError, UnsupportedOp
from fxsim.kernels import isa
from fxsim.kernels.softmax import DIFF_INTEGER_BITS, l2_normalize, log_softmax, native_softmax, softmax, softmax16
from fxsim.model.ops.base import Activated
from fxsim.model.ops.softmax import Softmax
from fxsim.sim.base import Arrays, Bound, Native, Site, scalar_quant, symmetric


def _to_exponent(beta: float, scale: float) -> tuple[int, int, int]:
    """``(q, shift, diff_min)``: from differences to Q5.26, and the least that it holds.

    Source: tflite/kernels/internal/quantization_util.cc, PreprocessSoftmaxScaling, CalculateInputRadius @ LiteRT 2.3.0.
    """
    real = min(beta * scale * (1 << (31 - DIFF_INTEGER_BITS)), (1 << 31) - 1.0)
    if not real > 1:
        raise UnsupportedOp(f"beta * scale is {beta * scale:g}; allowed: above 2**-26")
    q, shift = quantize_multiplier(real)
    return q, shift, -math.floor(((1 << DIFF_INTEGER_BITS) - 1) * (1 << (31 - DIFF_INTEGER_BITS)) / (1 << shift))


def soft_max(site: Site) -> Bound:
    """``out = round(256 * exp(beta * x) / sum(exp(beta * x))) - 128`` along the last axis, in integers.

    16-bit inputs: see :func:`_softmax16`.

    Source: tflite/kernels/internal/reference/softmax.h; quantization_util.cc, PreprocessSoftmaxScaling @ LiteRT 2.3.0.
    """
    x, out = site.input(0), site.outputs[0]
    attrs = site.node.attributes
    assert isinstance(attrs, Softmax)
    if x.qtype.name == "int16":
        return _softmax16(site, attrs.beta)
    site.types(input0="int8 uint8", output="int8 uint8 int16")
    scale, (out_scale, out_zero) = scalar_quant(x)[0], scalar_quant(out)
    expected = 2.0**-out.qtype.bits
    if abs(out_scale - expected) > 0.001 * expected or out_zero != out.qtype.min or not x.shape or not x.shape[-1]:
        raise UnsupportedOp(
            f"output scale is {out_scale:g}, zero point {out_zero}; supported: {expected:g} and {out.qtype.min}"
        )
    q, shift, diff_min = _to_exponent(attrs.beta, scale)
    kernel, depth = softmax(), x.shape[-1]
    low, high = out.qtype.min, out.qtype.max

    def run(inputs: Arrays, outputs: Arrays) -> None:
        if not kernel(inputs[0].reshape(-1, depth), q, shift, diff_min, low, high, outputs[0].reshape(-1, depth)):
            raise DomainError(
                f"SOFTMAX {site.node.name!r}: a row's exponentials add up to {1 << (out.qtype.bits + 1)} or more, or wrap "
                "to almost 0 in the 32-bit sum: the engine aborts there"
            )

    fast = None
    if isa.compiled() and depth < 1 << (out.qtype.bits + 1):  # no row can be too long
        bits = (8 * t.qtype.dtype.itemsize * (-1 if t.qtype.signed else 1) for t in (x, out))
        constants = np.array([x.elements // depth, depth, q, shift, diff_min, low, high], np.int64)
        fast = Native(partial(native_softmax, *bits), constants, ())
    return Bound(run, native=fast)


@cache
def _softmax16_tables(single: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``exp`` over -10..0 and ``1 / (1 + r)`` over 0..1, both in Q0.15, made in float32 or float64."""
    narrow = float32 if single else float
    low, high = tables.INT16
    unit = narrow(2.0 / 65535)
    exponentials = tables.table_of_513(math.exp, narrow, narrow(10.0 / 65535), high, unit, 0)
    reciprocals = tables.table_of_513(lambda r: 1 / narrow(1 + r), narrow, narrow(1.0 / 65535), low, unit, 0)
    return np.array(exponentials, np.int64), np.array(reciprocals, np.int64)


def _softmax16(site: Site, beta: float) -> Bound:
    """``out = round(2**15 * exp(beta * x) / sum(exp(beta * x)))``, by tables of 513 entries.

    Variants: ``float64_tables`` and ``float32_tables``, by the numbers that the tables are made with.

    Source: tflite/kernels/activations.cc, SoftmaxPrepare @ LiteRT 2.3.0; tensorflow/lite/micro/kernels/softmax_common.cc.
    """
    site.types(output="int16")
    x, out = site.input(0), site.outputs[0]
    symmetric(x, out)
    out_scale = scalar_quant(out)[0]
    if abs(out_scale * 32768 - 1) > 0.001 or not x.shape or not x.shape[-1]:
        raise UnsupportedOp(f"output scale is {out_scale:g}; supported: 2**-15")
    single = site.variant("float64_tables", "float32_tables") == "float32_tables"
    real = (scalar_quant(x)[0] * beta if single else float32(scalar_quant(x)[0] * beta)) / (10.0 / 65535.0)
    q, shift = quantize_multiplier(real)
    if shift > 30:
        raise UnsupportedOp(f"beta * scale is {beta * scalar_quant(x)[0]:g}, which is beyond the engine's shifts")
    r, depth = site.integer_scheme(), x.shape[-1]
    kernel, made = softmax16(r.scheme, r.rounding), _softmax16_tables(single)
    return Bound(
        lambda inputs, outputs: kernel(inputs[0].reshape(-1, depth), q, shift, *made, outputs[0].reshape(-1, depth))
    )


def log_soft_max(site: Site) -> Bound:
    """``out = round(16 * log(exp(x) / sum(exp(x)))) + out_zero`` along the last axis.

    Variants: ``fixed_point`` (integers throughout) and ``float_table``.

    Source: tflite/kernels/internal/reference/integer_ops/log_softmax.h; quantization_util.cc,
    PreprocessLogSoftmaxScalingExp @ LiteRT 2.3.0.
    """
    x, out = site.input(0), site.outputs[0]
    site.types(output=x.qtype.name)
    out_scale, out_zero = scalar_quant(out)
    if out_scale != 1 / 16 or out_zero != out.qtype.max or not x.shape or not x.shape[-1]:
        raise UnsupportedOp(
            f"output scale is {out_scale:g}, zero point {out_zero}; supported: 1/16 and {out.qtype.max}"
        )
    if site.variant("fixed_point", "float_table") == "float_table":
        return _float_log_softmax(site)
    q, shift, diff_min = _to_exponent(1.0, scalar_quant(x)[0])
    back = quantize_multiplier((1 << (31 - shift)) / q)
    if back[1] > 0:
        raise UnsupportedOp(f"input scale is {scalar_quant(x)[0]:g}: the engine aborts on it")
    kernel, depth, range_ = log_softmax(), x.shape[-1], (out.qtype.min, out.qtype.max)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        rows, y = inputs[0].reshape(-1, depth), outputs[0].reshape(-1, depth)
        if not kernel(rows, q, shift, *back, diff_min, *range_, y):
            raise DomainError(f"LOG_SOFTMAX {site.node.name!r}: a row's exponentials add up to 4096 or more")

    return Bound(run)


def _float_log_softmax(site: Site) -> Bound:
    """As :func:`log_soft_max` in float32: exponentials by a table, summed in order, the result rounded to even.

    Source: tflite/kernels/internal/optimized/optimized_ops.h, LogSoftmax @ LiteRT 2.3.0.
    """
    x, out = site.input(0), site.outputs[0]
    in_scale, step, (_, out_zero) = np.float32(scalar_quant(x)[0]), np.float32(1 / 16), scalar_quant(out)
    table = np.exp((-in_scale * np.arange(256, dtype=np.float32)).astype(np.float64)).astype(np.float32)
    depth, range_ = x.shape[-1], (out.qtype.min, out.qtype.max)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        rows = inputs[0].reshape(-1, depth).astype(np.int64)
        top = rows.max(axis=1, keepdims=True)
        total = np.add.accumulate(table[top - rows], axis=1)[:, -1:]
        log_sum = np.log(total.astype(np.float64)).astype(np.float32)
        there = (in_scale * top.astype(np.float32) + log_sum) / step
        real = (in_scale / step) * rows.astype(np.float32) - there
        y = np.rint(real.astype(np.float64)) + out_zero
        np.clip(y, *range_, out=outputs[0].reshape(-1, depth), casting="unsafe")

    return Bound(run)


def l2_normalization(site: Site) -> Bound:
    """``out = clamp(round(128 * x / sqrt(sum(x * x))) + out_zero)`` along the last axis, by an inverse square root.

    Source: tflite/kernels/internal/reference/l2normalization.h, integer_ops/l2normalization.h @ LiteRT 2.3.0.
    """
    attrs = site.node.attributes
    assert isinstance(attrs, Activated)
    x, out = site.input(0), site.outputs[0]
    site.types(output=x.qtype.name)
    out_scale, out_zero = scalar_quant(out)
    signed = x.qtype.signed
    wanted = 0 if signed else 128
    if attrs.activation != "NONE":
        raise UnsupportedOp(f"fused activation is {attrs.activation}; supported: NONE")
    if out_scale != 1 / 128 or out_zero != wanted or not x.shape or not x.shape[-1]:
        raise UnsupportedOp(f"output scale is {out_scale:g}, zero point {out_zero}; supported: 1/128 and {wanted}")
    r, zero, depth = site.integer_scheme(), scalar_quant(x)[1], x.shape[-1]
    kernel, settings = l2_normalize(r.scheme, r.rounding), (0 if signed else 7, out_zero, out.qtype.min, out.qtype.max)
    return Bound(
        lambda inputs, outputs: kernel(inputs[0].reshape(-1, depth), zero, *settings, outputs[0].reshape(-1, depth))
    )


BINDINGS = {"SOFTMAX": soft_max, "LOG_SOFTMAX": log_soft_max, "L2_NORMALIZATION": l2_normalization}
