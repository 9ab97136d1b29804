"""Binds the ops that move values without computing: all that have a ``move``, and views."""

from dataclasses import replace

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.ops import OPS
from fxsim.model.ops.layout import Axis
from fxsim.model.qtype import Array
from fxsim.sim.base import Arrays, Bound, Site, quant, scalar_quant
from fxsim.sim.moves import moved as native_moves
from fxsim.sim.natives import channels_last


def _nothing(inputs: Arrays, outputs: Arrays) -> None:
    """A view: the output is the input's memory."""


def view(site: Site) -> Bound:
    """The same values in another shape."""
    return Bound(_nothing, view=True)


def move(site: Site) -> Bound:
    """The raw values at other places, as the op's ``move`` says; scales play no part."""
    prepare = site.spec.move
    assert prepare is not None
    moved = prepare(list(site.inputs), site.node.attributes, len(site.outputs))

    def run(inputs: Arrays, outputs: Arrays) -> None:
        for out, values in zip(outputs, moved(inputs), strict=True):
            out[...] = values

    return Bound(run, native=native_moves(site.inputs, site.outputs, moved))


def transpose(site: Site) -> Bound:
    """The axes in another order."""
    x, perm = site.input(0), site.input(1)
    fast = (
        None
        if perm.data is None
        else channels_last(x, [int(p) % len(x.shape) for p in np.asarray(perm.data).reshape(-1)])
    )
    moved = move(site)
    return replace(moved, native=fast or moved.native)


def concatenation(site: Site) -> Bound:
    """The inputs, one after the other along an axis; uint8 is brought to the output's scale.

    ``out = clamp(round(x * s - x_zero * s) + out_zero)``, ``s = x_scale * (1 / out_scale)``, all in float32, ties away.

    Source: tflite/kernels/concatenation.cc, reference/concatenation.h, ConcatenationWithScaling @ LiteRT 2.3.0.
    """
    attrs, out = site.node.attributes, site.outputs[0]
    assert isinstance(attrs, Axis)
    if attrs.activation != "NONE":
        raise UnsupportedOp(f"fused activation is {attrs.activation}; supported: NONE")
    tensors = [site.input(i) for i in range(len(site.inputs))]
    for t in tensors:
        if t.quant != out.quant and t.qtype.name == "int8":
            raise UnsupportedOp(
                f"input {t.name!r} and output {out.name!r} have different scales or zero points; supported: the same"
            )
    axis = attrs.axis
    if out.qtype.name != "uint8" or out.quant is None:
        return move(site)
    tables = [None if quant(t) == out.quant else _rescaled(*scalar_quant(t), *scalar_quant(out)) for t in tensors]

    def run(inputs: Arrays, outputs: Arrays) -> None:
        parts = [x if table is None else table[x] for x, table in zip(inputs, tables, strict=True)]
        np.concatenate(parts, axis=axis, out=outputs[0])

    return Bound(run)


def _rescaled(scale: float, zero: int, out_scale: float, out_zero: int) -> Array:
    """What each of the 256 values of a uint8 becomes."""
    one = np.float32(1)
    factor = np.float32(scale) * (one / np.float32(out_scale))
    exact = np.arange(256, dtype=np.float32) * factor + np.float32(-zero) * factor
    whole = np.trunc(exact)
    away = whole + np.copysign(np.abs(exact - whole) >= 0.5, exact)  # a float32's own fraction is exact
    table: Array = np.clip(away + out_zero, 0, 255).astype(np.uint8)
    return table


VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
BINDINGS = (
    {op: move for op, spec in OPS.items() if spec.move is not None}
    | dict.fromkeys(VIEWS, view)
    | {"CONCATENATION": concatenation, "TRANSPOSE": transpose}
)
