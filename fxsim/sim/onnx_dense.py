"""Binds MatMul, Gemm and their integer forms of ONNX."""

from dataclasses import replace

import numpy as np

from fxsim.kernels.requantize import requantize
from fxsim.model.ops.onnx_dense import PLACES, Gemm, factors, product_shape
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.sim.base import Bound, Native, Scales, Site, make_scales
from fxsim.sim.onnx_base import Values, bound, numbers, pair, quietly, value
from fxsim.sim.onnx_product import effective, numerators, products, static_layer
from fxsim.sim.packed import SUMS, Sums, native


def _zero(values: Values, position: int) -> Array:
    found = value(values, position)
    return np.zeros(1, np.int64) if found is None else found.reshape(-1).astype(np.int64)


def _matrices(site: Site, values: Values) -> tuple[Array, Array]:
    """Both factors as matrices ``(..., M, K)`` and ``(..., K, N)``."""
    attrs, op = site.node.attributes, site.node.op
    a, b = value(values, 0), value(values, PLACES[op].weight)
    if isinstance(attrs, Gemm):
        return a.T if attrs.transpose_a else a, b.T if attrs.transpose_b else b
    return a if a.ndim > 1 else a[np.newaxis], b if b.ndim > 1 else b[:, np.newaxis]


def _accumulators(site: Site, values: Values) -> Array:
    """int32 ``(..., M, N)``: the sums of products without their zero points."""
    place = PLACES[site.node.op]
    a, b = _matrices(site, values)
    x_zero, w_zero = int(_zero(values, place.input_zero)[0]), np.zeros(b.shape[-1], np.int64)
    w_zero += _zero(values, place.weight_zero)
    accumulator = effective(site.numerics.accumulator, site.input(0), site.input(place.weight))
    shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, (*shape, *a.shape[-2:])), np.broadcast_to(b, (*shape, *b.shape[-2:]))
    acc = np.empty((*shape, a.shape[-2], b.shape[-1]), np.int32)
    for index in np.ndindex(*shape):
        rows, weight = a[index][np.newaxis, np.newaxis], b[index][np.newaxis, np.newaxis]
        acc[index] = products(accumulator, rows, x_zero, weight, w_zero)[0, 0]
    return acc


def matmul_integer(site: Site) -> Bound:
    """``y = (a - a_zero) @ (b - b_zero)`` in 32 bits."""
    shape = site.outputs[0].shape
    made = bound(site, lambda values: [_accumulators(site, values).reshape(shape)])
    return replace(made, native=_compiled(site))


def _compiled(site: Site) -> Native | None:
    """The product with a constant matrix, whose zero points are constants too."""
    place = PLACES[site.node.op]
    x, w, zeros = (
        site.input(0),
        site.input(place.weight),
        [site.optional(p) for p in (place.input_zero, place.weight_zero)],
    )
    a = effective(site.numerics.accumulator, x, w)
    whole = a.plain and a.bits == 32 and a.overflow == "wrap"
    if not whole or w.data is None or len(w.shape) != 2 or not x.elements or any(t and t.data is None for t in zeros):
        return None
    x_zero, w_zero = (
        np.zeros(1, np.int16) if t is None else np.asarray(t.data).reshape(-1).astype(np.int16) for t in zeros
    )
    if x_zero.size > 1:
        return None
    k, n = w.shape
    rows = x.elements // k
    weight = np.asarray(w.data, np.int16) - w_zero
    geometry = Geometry(1, 1, rows, k, 1, rows, n)
    sums = Sums(
        geometry,
        (0, 0, 0, 0),
        weight.reshape(1, 1, k, n),
        np.zeros(n, np.int32),
        int(x_zero[0]),
        np.dtype(x.qtype.dtype),
    )
    return native(sums, SUMS, np.dtype(np.int32))


def _requantized(site: Site, scales: Scales, zero: int, bias: Array) -> Bound:
    """Both factors may be computed at run time; the scales are constants."""
    r, out, n = site.numerics.requantize, site.outputs[0], scales.real.size
    kernel = requantize(r.scheme, r.rounding, True)

    def run(values: Values) -> list[Array]:
        acc = (_accumulators(site, values) + bias).astype(np.int32).reshape(-1, n)
        made = np.empty(acc.shape, out.qtype.dtype)
        kernel(acc, scales.q, scales.shift, scales.real, zero, out.qtype.min, out.qtype.max, made)
        return [made.reshape(out.shape)]

    return bound(site, run)


def _quantized(site: Site, scale_at: int, zero_at: int, alpha: float = 1.0) -> Bound:
    """``y = clamp(round(M * (a @ b + bias)) + y_zero)`` with ``M = alpha * a_scale * b_scale / y_scale``."""
    place, attrs, op = PLACES[site.node.op], site.node.attributes, site.node.op
    x, w, _, b = factors(op, list(site.inputs), attrs)
    n = product_shape(op, list(site.inputs), attrs)[-1]
    x_scale, x_zero = pair(site, 1, place.input_zero)
    y_scale, y_zero = pair(site, scale_at, zero_at)
    scale_tensor = site.input(place.weight_scale)
    w_scales = numbers(site, place.weight_scale, scale_tensor.elements)
    ratio = tuple(numerators(float(x_scale), w_scales, alpha)), float(y_scale)
    scales = make_scales(site, *ratio, n)
    bias_tensor = site.optional(place.bias)
    bias = np.zeros(n, np.int32)
    if bias_tensor is not None:
        bias = np.asarray(numbers(site, place.bias, bias_tensor.elements)).astype(np.int32).reshape(bias_tensor.shape)
    if w.data is None or len(b) != 2 or bias.size not in (1, n) or (bias.ndim == 2 and bias.shape[-1] != n) or n < 1:
        return _requantized(site, scales, y_zero, bias)
    flipped = isinstance(attrs, Gemm) and attrs.transpose_a
    values = w.data.T if isinstance(attrs, Gemm) and attrs.transpose_b else w.data.reshape(b)
    rows = x.elements // b[0] if b[0] else 0
    g = Geometry(1, 1, rows, b[0], 1, rows, n)
    zeros = numbers(site, place.weight_zero, n, 0).astype(np.int64)
    weight = (w, values.reshape(1, 1, *b), zeros)
    bias = np.broadcast_to(bias.reshape(-1), n).copy()
    pad = (0, 0, 0, 0)
    return static_layer(
        site, g, pad, x, x_zero, weight, bias, scales, y_zero,
        channels_first=False, transposed=flipped, factors=ratio,
    )  # fmt: skip


def qlinear_matmul(site: Site) -> Bound:
    """``y = clamp(round(M * (a - a_zero) @ (b - b_zero)) + y_zero)``."""
    return _quantized(site, 6, 7)


def qgemm(site: Site) -> Bound:
    """``y = clamp(round(M * (a' @ b' + c)) + y_zero)``; in float32 if ``y`` has no scale."""
    attrs = site.node.attributes
    assert isinstance(attrs, Gemm)
    if site.optional(7) is not None:
        return _quantized(site, 7, 8, attrs.alpha)
    return _to_float(site, 1, 4, 6, attrs.alpha, integer_bias=True)


def matmul_integer_to_float(site: Site) -> Bound:
    """``y = float(a @ b) * (a_scale * b_scale) + bias`` in float32."""
    return _to_float(site, 2, 3, 6)


def _to_float(
    site: Site, x_scale: int, w_scale: int, bias_at: int, alpha: float = 1.0, *, integer_bias: bool = False
) -> Bound:
    shape = site.outputs[0].shape

    def run(values: Values) -> list[Array]:
        acc, bias = _accumulators(site, values), value(values, bias_at)
        if integer_bias and bias is not None:
            acc = (acc + bias).astype(np.int32)
        scale = np.float32(alpha) * value(values, x_scale).reshape(-1)[0] * value(values, w_scale).reshape(-1)
        result = acc.astype(np.float32) * scale
        if bias is not None and not integer_bias:
            result = result + bias
        return [result.reshape(shape)]

    return bound(site, run)


def matmul(site: Site) -> Bound:
    """``y = a @ b`` in real arithmetic, rounded to float32 once: see Conv."""
    shape = site.outputs[0].shape

    def run(values: Values) -> list[Array]:
        a, b = _matrices(site, values)
        return [np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(np.float32).reshape(shape)]

    return bound(site, run)


def gemm(site: Site) -> Bound:
    """``y = alpha * a' @ b' + beta * c`` in real arithmetic, rounded to float32 once: see Conv."""
    attrs = site.node.attributes
    assert isinstance(attrs, Gemm)

    def run(values: Values) -> list[Array]:
        a, b = _matrices(site, values)
        result = attrs.alpha * (a.astype(np.float64) @ b.astype(np.float64))
        if (c := value(values, 2)) is not None:
            result = result + attrs.beta * c.astype(np.float64)
        return [result.astype(np.float32)]

    return bound(site, run)


BINDINGS = quietly(
    {
        "MatMulInteger": matmul_integer,
        "QLinearMatMul": qlinear_matmul,
        "QGemm": qgemm,
        "MatMulIntegerToFloat": matmul_integer_to_float,
        "MatMul": matmul,
        "Gemm": gemm,
    }
)
