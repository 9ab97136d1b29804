"""Binds AVERAGE_POOL_2D and MAX_POOL_2D."""

from dataclasses import replace

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.kernels import pool
from fxsim.model.ops.pool import Pool2D, pool_geometry
from fxsim.model.qtype import Array
from fxsim.sim.base import Arrays, Bound, Probe, Site, scalar_quant
from fxsim.sim.moves import greatest
from fxsim.sim.natives import averaged

_INT = "int8 uint8 int16"
REGISTER_BITS = 32
"""of an accumulator that no sum of a pool overflows"""


def _window(site: Site) -> tuple[int, ...]:
    """What the kernels call ``window``, and the bits of the register."""
    attrs = site.node.attributes
    assert isinstance(attrs, Pool2D)
    g = pool_geometry(list(site.inputs), attrs)
    _, _, top, left = attrs.output(g.in_h, g.in_w, g.kernel_h, g.kernel_w)
    return g.kernel_h, g.kernel_w, g.stride_h, g.stride_w, top, left, site.numerics.accumulator.bits


def _pool(site: Site, kernel: pool.Kernel, *, centred: bool = False) -> Bound:
    """The kernel over the stored integers, or ``centred``: over those less their zero point, which is added again."""
    attrs = site.node.attributes
    assert isinstance(attrs, Pool2D)
    site.types(input0=_INT, output=site.input(0).qtype.name)
    window = _window(site)
    clamp = site.clamp(attrs.activation)
    limits = site.outputs[0].qtype.min, site.outputs[0].qtype.max
    zero = scalar_quant(site.input(0))[1] if centred else 0

    def fill(x: Array, low: int, high: int, out: Array) -> None:
        if not zero:
            kernel(x, window, low, high, out)
            return
        mean = np.empty(out.shape, np.int32)
        kernel(x.astype(np.int32) - zero, window, low - zero, high - zero, mean)
        out[...] = mean + zero

    def run(inputs: Arrays, outputs: Arrays) -> None:
        fill(inputs[0], *clamp, outputs[0])

    def probe(inputs: Arrays) -> Probe:
        free = np.empty(site.outputs[0].shape, inputs[0].dtype)
        fill(inputs[0], *limits, free)
        return Probe(clamped_low=int(np.sum(free < clamp[0])), clamped_high=int(np.sum(free > clamp[1])))

    return Bound(run, probe)


def average_pool_2d(site: Site) -> Bound:
    """``out = clamp(round(sum / count))`` over the cells inside the image; input and output share their scale.

    Variants: ``stored`` (the sum is of the stored integers), ``reciprocal`` (TOSA: of those less their zero point, and
    multiplied by a reciprocal of the count) and ``whole_window`` (of those less their zero point, divided by all cells of
    the window, outside the image too). An accumulator of fewer than 32 bits overflows at every step.
    """
    x, out = site.input(0), site.outputs[0]
    if x.quant != out.quant:
        raise UnsupportedOp(f"input {x.name!r} and output {out.name!r} have different scales; supported: one scale")
    rounding = site.numerics.requantize.rounding
    variant, a = site.variant("stored", "reciprocal", "whole_window"), site.numerics.accumulator
    way = "reciprocal" if variant == "reciprocal" else "exact"
    overflow = a.overflow if a.bits < REGISTER_BITS else ""
    bound = _pool(site, pool.average(rounding, way, variant == "whole_window", overflow), centred=variant != "stored")
    if variant != "stored" or overflow:
        return bound
    attrs = site.node.attributes
    assert isinstance(attrs, Pool2D)
    clamp = site.clamp(attrs.activation)
    return replace(bound, native=averaged(x, pool_geometry(list(site.inputs), attrs), rounding, clamp))


def max_pool_2d(site: Site) -> Bound:
    """``out = clamp(max)`` over the cells inside the image."""
    bound, attrs = _pool(site, pool.maximum()), site.node.attributes
    assert isinstance(attrs, Pool2D)
    clamp = site.clamp(attrs.activation)
    return replace(bound, native=greatest(site.input(0), site.outputs[0], _window(site), clamp))


BINDINGS = {"AVERAGE_POOL_2D": average_pool_2d, "MAX_POOL_2D": max_pool_2d}
