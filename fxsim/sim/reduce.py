"""Binds reductions along axes, and running sums."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fxsim.arith.multiplier import quantize_multiplier
from fxsim.errors import DomainError, UnsupportedOp
from fxsim.kernels.pointwise import quantize
from fxsim.kernels.requantize import product, requantize
from fxsim.model.graph import Tensor
from fxsim.model.ops.reduce import CumSum, one_axis, reduced_axes
from fxsim.model.qtype import Array
from fxsim.sim import natives, plain
from fxsim.sim.base import INT32, Arrays, Bound, Probe, Site, clamped, quantized_range, scalar_quant, symmetric

_QUANTIZED = "int8 uint8 int16"


def _axes(site: Site) -> tuple[tuple[int, ...], int]:
    """The reduced axes, and how many elements make one output."""
    x, out = site.input(0), site.outputs[0]
    axes = reduced_axes(list(site.inputs))
    n = math.prod(x.shape[a] for a in axes)
    if n == 0 or out.elements == 0:
        raise UnsupportedOp(f"reduces {n} elements; supported: at least 1")
    return axes, n


def _rows(x: Array, axes: tuple[int, ...], n: int) -> Array:
    """``(outputs, n)``: the elements of each output, in the order in which they lie."""
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    return np.ascontiguousarray(np.transpose(x, (*kept, *axes)).reshape(-1, n))


def _rescaled(site: Site, accumulate: Callable[[Arrays], Array], q: int, shift: int, clamp: tuple[int, int]) -> Bound:
    """``out = clamp(round(M * accumulator) + out_zero)``; ``accumulate`` fills the 32-bit registers."""
    r, out_zero = site.integer_scheme(), scalar_quant(site.outputs[0])[1]
    scales = (np.array([q]), np.array([shift]), np.zeros(1))
    kernel = requantize(r.scheme, r.rounding)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        kernel(accumulate(inputs), *scales, out_zero, *clamp, outputs[0].reshape(-1, 1))

    def probe(inputs: Arrays) -> Probe:
        acc = accumulate(inputs)
        free = np.empty(acc.shape, np.int32)
        kernel(acc, *scales, out_zero, *INT32, free)
        low, high = int(np.sum(free < clamp[0])), int(np.sum(free > clamp[1]))
        return Probe(32, low, high, np.array([[acc.min(), acc.max(), 0, -1]], np.int64))

    return Bound(run, probe)


def _sums(x: Tensor, axes: tuple[int, ...], n: int) -> Callable[[Arrays], Array]:
    """``sum(x - x_zero)`` of each output, ``(outputs, 1)``, modulo ``2**32`` as the engine's register."""
    zero = scalar_quant(x)[1]

    def accumulate(inputs: Arrays) -> Array:
        total: Array = np.asarray(np.sum(inputs[0], axis=axes, dtype=np.int64)).reshape(-1, 1) - n * zero
        return total.astype(np.int32)

    return accumulate


def _summed(site: Site, *, mean: bool) -> Bound:
    """Sums of plain numbers, one element after the other; means of integers are cut toward zero."""
    site.types(output=site.input(0).qtype.name)
    axes, n = _axes(site)
    real = site.input(0).qtype.kind == "float"
    if real and site.numerics.variant == "unknown_order":
        raise UnsupportedOp(
            f"profile {site.profile!r}: floats are summed in an order that is not known; supported: integers"
        )

    def run(inputs: Arrays, outputs: Arrays) -> None:
        rows, y = _rows(inputs[0], axes, n), outputs[0].reshape(-1)
        with np.errstate(all="ignore"):
            if real:  # accumulate goes one by one, sum does not; + 0 since the engine starts there
                y[...] = np.add.accumulate(rows + np.float32(0), axis=1)[:, -1] / np.float32(n if mean else 1)
            else:
                total = np.sum(rows, axis=1, dtype=np.int64)
                y[...] = np.sign(total) * (np.abs(total) // n) if mean else total

    return Bound(run)


def mean(site: Site) -> Bound:
    """``out = clamp(round(M / n * (sum(x) - n * x_zero)) + out_zero)`` over ``n`` elements of the reduced axes.

    ``1 / n`` is folded into the integer multiplier: ``q' = floor((q << s) / n)``, ``s = min(floor(log2 n), 31 + shift)``.

    Source: tflite/kernels/internal/reference/reduce.h, QuantizedMeanOrSum @ LiteRT 2.3.0.
    """
    if plain.is_plain(site):
        return _summed(site, mean=True)
    site.types(input0=_QUANTIZED, output=site.input(0).qtype.name)
    x, out = site.input(0), site.outputs[0]
    axes, n = _axes(site)
    x_scale, out_scale = scalar_quant(x)[0], scalar_quant(out)[0]
    q, shift = quantize_multiplier(x_scale / out_scale)
    s = min(n.bit_length() - 1, 32, 31 + shift)
    if s < 0 or shift > 30:
        raise UnsupportedOp(f"a rescale by {x_scale / out_scale:g} is beyond the engine's shifts")
    bound = _rescaled(site, _sums(x, axes, n), (q << s) // n, shift - s, quantized_range(out, None, None))
    r, clamp = site.integer_scheme(), quantized_range(out, None, None)
    if r.scheme != "double_rounding":
        return bound
    scale = (q << s) // n, shift - s
    zeros = scalar_quant(x)[1], scalar_quant(out)[1]
    fast = natives.doubly_rounded_mean(x, natives.image(x, axes, out), zeros[0], *scale, r.rounding, zeros[1], clamp)
    return replace(bound, native=fast)


def sum_(site: Site) -> Bound:
    """``out = clamp(round(x_scale / out_scale * sum(x - x_zero)) + out_zero)``.

    Variants: ``rescaled``, and ``unsigned_bytes``: LiteRT's reference kernel, which reads 8-bit tensors as unsigned
    whatever their type, and so writes them; of 16-bit ones it leaves half of the output as memory had it.
    ``float32_rescale``: the integer sum is rescaled in float32.

    Source: tflite/kernels/reduce.cc, optimized/reduce.h, QuantizedMeanOrSum @ LiteRT 2.3.0.
    """
    if plain.is_plain(site):
        return _summed(site, mean=False)
    site.types(input0=_QUANTIZED, output=site.input(0).qtype.name)
    x, out = site.input(0), site.outputs[0]
    symmetric(x, out)
    axes, n = _axes(site)
    variant = site.variant("rescaled", "unsigned_bytes", "float32_rescale")
    if variant == "float32_rescale":
        return _float32_sum(site, axes, n)
    x_scale, out_scale = scalar_quant(x)[0], scalar_quant(out)[0]
    q, shift = quantize_multiplier(x_scale / out_scale)
    if shift > 30:
        raise UnsupportedOp(f"a rescale by {x_scale / out_scale:g} is beyond the engine's shifts")
    sums = _sums(x, axes, n)
    if variant == "rescaled" or not x.qtype.signed:
        return _rescaled(site, sums, q, shift, quantized_range(out, None, None))
    if x.qtype.name == "int16":
        raise UnsupportedOp("int16 sums: the engine leaves half of the output undefined; supported: int8 and uint8")
    inner = _rescaled(site, lambda inputs: sums([inputs[0].view(np.uint8)]), q, shift, (0, 255))
    return Bound(lambda inputs, outputs: inner.run(inputs, [outputs[0].view(np.uint8)]), inner.probe)


def _float32_sum(site: Site, axes: tuple[int, ...], n: int) -> Bound:
    """``out = clamp(round(M * sum(x) - M * n * x_zero) + out_zero)``, every step in float32, ties away."""
    x, out = site.input(0), site.outputs[0]
    (x_scale, x_zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    scale, one = np.float32(x_scale) / np.float32(out_scale), np.float32(1)
    bias, kernel = np.float32(-x_zero) * scale * np.float32(n), quantize("ties_away", False)

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        total = np.sum(inputs[0], axis=axes, dtype=np.int64).astype(np.int32).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            real = (total * scale + bias).reshape(-1)
        kernel(real, one, out_zero, *clamp, y.reshape(-1))

    return clamped(run, out, quantized_range(out, None, None))


def reduce_prod(site: Site) -> Bound:
    """``out = clamp(round(prod(x_scale * (x - x_zero)) / out_scale) + out_zero)``.

    Every product is rescaled by ``x_scale / out_scale**(1 / n)``, and the last one once more. 8- and 16-bit ones, in
    64-bit registers. Variants: ``rescaled``, and ``copies_one`` (a product of one element is its raw number).

    Source: tflite/kernels/reduce.cc, GetQuantProdScaling; reference/reduce.h, optimized/reduce.h, QuantizedReduceProd @
    LiteRT 2.3.0.
    """
    x, out = site.input(0), site.outputs[0]
    site.types(output=x.qtype.name)
    axes, n = _axes(site)
    if plain.is_plain(site):

        def run_plain(inputs: Arrays, outputs: Arrays) -> None:
            rows = _rows(inputs[0], axes, n)
            with np.errstate(all="ignore"):
                outputs[0].reshape(-1)[...] = np.multiply.accumulate(rows, axis=1, dtype=rows.dtype)[:, -1]

        return Bound(run_plain)
    symmetric(x, out)
    if site.variant("rescaled", "copies_one") == "copies_one" and n == 1:
        return Bound(lambda inputs, outputs: np.copyto(outputs[0], inputs[0].reshape(out.shape)))
    (x_scale, x_zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    real = x_scale / math.pow(out_scale, 1.0 / n)
    q, shift = quantize_multiplier(real)
    if shift > 7:
        raise UnsupportedOp(f"a rescale by {real:g} at every product; allowed: below 128")
    kernel = product(site.numerics.requantize.wide, "ties_pos")

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        kernel(_rows(inputs[0], axes, n), x_zero, q, shift, out_zero, *clamp, y.reshape(-1))

    return clamped(run, out, quantized_range(out, None, None))


def _extreme(function: Callable[..., Array]) -> Callable[[Site], Bound]:
    def bind(site: Site) -> Bound:
        """``out = function(x)`` over the reduced axes, of raw numbers of one scale."""
        x, out = site.input(0), site.outputs[0]
        site.types(output=x.qtype.name)
        if x.quant != out.quant and not plain.is_plain(site):
            raise UnsupportedOp(f"input {x.name!r} and output {out.name!r} have different scales; supported: one scale")
        axes, _ = _axes(site)

        def run(inputs: Arrays, outputs: Arrays) -> None:
            outputs[0][...] = function(inputs[0], axis=axes).reshape(outputs[0].shape)

        return Bound(run)

    return bind


def _arg(function: Callable[..., npt.NDArray[np.int64]]) -> Callable[[Site], Bound]:
    def bind(site: Site) -> Bound:
        """``out`` = the first index along the axis at which the raw number is greatest, or least."""
        site.types(output="int32 int64")
        axis = one_axis(list(site.inputs))

        def run(inputs: Arrays, outputs: Arrays) -> None:
            if inputs[0].dtype == np.float32 and np.any(np.isnan(inputs[0])):
                raise DomainError(
                    f"{site.node.op} {site.node.name!r}: an input is not a number: the engines differ there"
                )
            outputs[0][...] = function(inputs[0], axis=axis)

        return Bound(run)

    return bind


def cumsum(site: Site) -> Bound:
    """``out[i] = x[0] + ... + x[i]`` along the axis; without ``x[i]`` if exclusive, from the end if reverse.

    int8: both rescales as in ADD, and the sum starts from the raw number 0, not from the zero point.

    Source: tflite/kernels/internal/reference/cumsum.h @ LiteRT 2.3.0; tensorflow/lite/micro/kernels/cumsum.cc.
    """
    attrs, x, out = site.node.attributes, site.input(0), site.outputs[0]
    assert isinstance(attrs, CumSum)
    site.types(output=x.qtype.name)
    axis, step = one_axis(list(site.inputs)), -1 if attrs.reverse else 1

    def run_plain(inputs: Arrays, outputs: Arrays) -> None:
        """Fills the output with sums in its own type, one element after the other."""
        terms, sums = np.moveaxis(inputs[0], axis, 0)[::step], np.moveaxis(outputs[0], axis, 0)[::step]
        if attrs.exclusive:
            sums[:1], terms, sums = 0, terms[:-1], sums[1:]
        with np.errstate(all="ignore"):
            np.add.accumulate(terms + terms.dtype.type(0), axis=0, out=sums)

    if plain.is_plain(site):
        return Bound(run_plain)
    (x_scale, x_zero), (out_scale, out_zero) = scalar_quant(x), scalar_quant(out)
    q, shift = quantize_multiplier(2 * x_scale / ((1 << 20) * out_scale))
    if shift > 0:
        raise UnsupportedOp(
            f"output scale {out_scale:g} is below 2**-19 of the input's, {x_scale:g}: the engine refuses it"
        )
    r = site.integer_scheme()
    kernel, scales = requantize(r.scheme, r.rounding), (np.array([q]), np.array([shift]), np.zeros(1))

    def run(inputs: Arrays, y: Array, clamp: tuple[int, int]) -> None:
        terms = (inputs[0].astype(np.int32) - x_zero) << 19  # 20 bits, then half: exact
        sums = np.zeros_like(terms)
        run_plain([terms], [sums])
        kernel((sums - (x_zero << 19)).reshape(-1, 1), *scales, out_zero, *clamp, y.reshape(-1, 1))

    return clamped(run, out, quantized_range(out, None, None))


BINDINGS = {
    "MEAN": mean,
    "SUM": sum_,
    "REDUCE_PROD": reduce_prod,
    "REDUCE_MAX": _extreme(np.max),
    "REDUCE_MIN": _extreme(np.min),
    "REDUCE_ANY": _extreme(np.any),
    "REDUCE_ALL": _extreme(np.all),
    "ARG_MAX": _arg(np.argmax),
    "ARG_MIN": _arg(np.argmin),
    "CUMSUM": cumsum,
}
