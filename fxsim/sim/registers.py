"""Which accumulator can never overflow: for each layer and channel, exactly, with an input that reaches the limit.

Every tap's input may lie anywhere in its range, so the farthest running sum takes each product at the end of its range
that the sign of the weight asks for, and is the same in any order. Taps that fall on padding add nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fxsim.arith.bounds import bits_needed, dot_range
from fxsim.errors import DomainError
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array
from fxsim.numerics import NumericsProfile, numerics_of
from fxsim.sim.layer import Layer
from fxsim.sim.plan import Plan, plan_of
from fxsim.sim.real.plan import RealPlan


@dataclass(frozen=True, slots=True)
class Needed:
    """The register that a layer needs, whatever its input."""

    layer: int
    op: str
    name: str
    products: int
    """products that make one output"""
    low: int
    """least value that a running sum can reach, over all channels"""
    high: int
    bits: int
    """the least register that can never overflow"""
    channel: int
    """the channel that needs it"""
    least_bits: int
    """what the most modest channel needs"""
    profile_bits: int
    overflow: str
    """width and policy of the accumulator in the profile"""
    safe: bool
    """proved: no input can overflow the profile's accumulator, so that every policy and order is the plain sum"""


@dataclass(frozen=True, slots=True)
class Worst:
    """An input of one layer that drives a channel's register to the end of its range."""

    inputs: Array
    output: tuple[int, ...]
    """index of the output in whose register it happens"""
    value: int
    """what the register reaches"""


def layers_of(plan: Plan | RealPlan) -> Iterator[tuple[int, str, str, Layer]]:
    """``(layer, op, name, Layer)`` of every layer with an accumulator."""
    for step in plan.steps if isinstance(plan, Plan) else ():
        owner = getattr(step.probe, "__self__", None)
        if isinstance(owner, Layer):
            yield step.node.index, step.node.op, step.node.name, owner


def needed_bits(model: Graph, numerics: "str | NumericsProfile | None" = None) -> tuple[Needed, ...]:
    """For each layer with an accumulator, the register that no input can overflow."""
    rows = []
    for layer, op, name, prepared in layers_of(plan_of(model, numerics_of(model.name, numerics))):
        ranges = channel_ranges(prepared)
        widths = [bits_needed(low, high) for low, high in ranges]
        a, channel = prepared.accumulator, int(np.argmax(widths))
        low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
        plain = a.order in ("sequential", "tree", "lanes") and not (a.product_shift or a.product_bits)
        rows.append(
            Needed(
                layer, op, name, prepared.geometry.window, low, high, widths[channel], channel, min(widths),
                a.bits, a.overflow, plain and widths[channel] <= a.bits,
            )
        )  # fmt: skip
    return tuple(rows)


def _input_range(layer: Layer) -> tuple[int, int]:
    low, high = layer.input_range
    return low - layer.x_zero, high - layer.x_zero


def masks(layer: Layer) -> Iterator[tuple[int, int, list[int], list[int]]]:
    """``(y, x, rows, columns)``: one output position for each set of kernel rows and columns that lie in the image."""
    g, (top, _, left, _), (down, across) = layer.geometry, layer.pad, layer.spread

    def inside(
        outs: int, stride: int, dilation: int, kernel: int, size: int, before: int, apart: int
    ) -> dict[tuple[int, ...], int]:
        seen: dict[tuple[int, ...], int] = {}
        for o in range(outs):
            at = [divmod(o * stride + i * dilation - before, apart) for i in range(kernel)]
            seen.setdefault(tuple(i for i, (a, between) in enumerate(at) if 0 <= a < size and not between), o)
        return seen

    rows = inside(g.out_h, g.stride_h, g.dilation_h, g.kernel_h, g.in_h, top, down)
    columns = inside(g.out_w, g.stride_w, g.dilation_w, g.kernel_w, g.in_w, left, across)
    for r, y in rows.items():
        for c, x in columns.items():
            yield y, x, list(r), list(c)


def channel_ranges(layer: Layer) -> list[tuple[int, int]]:
    """``(low, high)`` that the register of each channel can reach, exactly."""
    low, high = _input_range(layer)
    weight, bias = layer.weight.astype(np.int64), [int(b) for b in layer.bias]
    best = [(0, 0)] * len(bias)
    for _, _, rows, columns in masks(layer):
        part = weight[np.ix_(rows, columns)].reshape(-1, len(bias))
        positive, negative = np.maximum(part, 0).sum(axis=0), np.minimum(part, 0).sum(axis=0)
        for c, b in enumerate(bias):
            span = dot_range(int(positive[c]), int(negative[c]), low, high, b)
            best[c] = min(best[c][0], span[0]), max(best[c][1], span[1])
    return best


def worst_input(model: Graph, layer: int, channel: int, numerics: "str | NumericsProfile | None" = None) -> Worst:
    """An input of ``layer`` with which the register of ``channel`` reaches the farthest value that it ever can.

    Raises:
        DomainError: if the layer has no accumulator or no such channel.
    """
    found = {i: p for i, _, _, p in layers_of(plan_of(model, numerics_of(model.name, numerics)))}
    if layer not in found:
        raise DomainError(f"{model.name}: layer {layer} has no accumulator; allowed: {sorted(found)}")
    prepared = found[layer]
    g = prepared.geometry
    if not 0 <= channel < g.out_c:
        raise DomainError(f"{model.name}: layer {layer} has no channel {channel}; allowed: 0..{g.out_c - 1}")
    ends = channel_ranges(prepared)[channel]
    value = ends[1] if bits_needed(0, ends[1]) >= bits_needed(ends[0], 0) else ends[0]
    low, high = _input_range(prepared)
    bias = int(prepared.bias[channel])
    for y, x, rows, columns in masks(prepared):
        part = prepared.weight[np.ix_(rows, columns)][..., channel].astype(np.int64)
        span = dot_range(int(part[part > 0].sum()), int(part[part < 0].sum()), low, high, bias)
        if value in span:
            inputs = _place(prepared, part, y, x, rows, columns, channel, value == span[1])
            return Worst(prepared.as_input(inputs), prepared.output_index(y, x, channel), value)
    raise DomainError(f"{model.name}: layer {layer}: no input reaches {value}")  # the ranges above come from these


def _place(
    layer: Layer,
    part: npt.NDArray[np.int64],
    y: int,
    x: int,
    rows: list[int],
    columns: list[int],
    channel: int,
    up: bool,
) -> Array:
    """The layer's input: the zero point everywhere but under the window, where each product is at its end."""
    g, (top, _, left, _), (down, across) = layer.geometry, layer.pad, layer.spread
    low, high = layer.input_range
    image = np.full((g.batch, g.in_h, g.in_w, g.in_c), layer.x_zero, layer.input_dtype)
    per_group = g.in_c // g.groups
    first = channel // (g.out_c // g.groups) * per_group
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            toward_high = (part[i, j] > 0) == up
            at_y, at_x = y * g.stride_h + r * g.dilation_h - top, x * g.stride_w + c * g.dilation_w - left
            image[0, at_y // down, at_x // across, first : first + per_group] = np.where(toward_high, high, low)
    return image
