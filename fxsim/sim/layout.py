"""Binds the ops that move values without computing."""

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.ops.layout import Axis, StridedSlice, paddings, permutation, slices, split_sizes
from fxsim.sim.base import Arrays, Bound, Site


def _nothing(inputs: Arrays, outputs: Arrays) -> None:
    """A view: the output is the input's memory."""


def _same_scale(site: Site) -> None:
    out = site.outputs[0]
    for t in site.inputs:
        if t is not None and t.qtype == out.qtype and t.quant != out.quant and t.qtype.kind == "int":
            raise UnsupportedOp(
                f"input {t.name!r} and output {out.name!r} have different scales or zero points; supported: the same"
            )


def reshape(site: Site) -> Bound:
    """The same values in another shape."""
    return Bound(_nothing, view=True)


def pad(site: Site) -> Bound:
    """The input with a border of the output's zero point (of 0 for types without one)."""
    widths = paddings(list(site.inputs))
    out = site.outputs[0]
    value = out.quant.zero_point[0] if out.quant is not None else 0
    inner = tuple(slice(before, before + s) for (before, _), s in zip(widths, site.input(0).shape, strict=True))

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0].fill(value)
        outputs[0][inner] = inputs[0]

    return Bound(run)


def concatenation(site: Site) -> Bound:
    """The inputs, one after the other along an axis."""
    attrs = site.node.attributes
    assert isinstance(attrs, Axis)
    if attrs.activation != "NONE":
        raise UnsupportedOp(f"fused activation is {attrs.activation}; supported: NONE")
    _same_scale(site)
    axis = attrs.axis

    def run(inputs: Arrays, outputs: Arrays) -> None:
        np.concatenate(inputs, axis=axis, out=outputs[0])

    return Bound(run)


def strided_slice(site: Site) -> Bound:
    """``input[begin:end:stride]`` along each axis."""
    attrs = site.node.attributes
    assert isinstance(attrs, StridedSlice)
    _same_scale(site)
    index = slices(list(site.inputs), attrs)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0][...] = inputs[0][index]

    return Bound(run)


def split_v(site: Site) -> Bound:
    """The input cut into pieces along an axis."""
    axis, sizes = split_sizes(list(site.inputs), len(site.outputs))
    cuts = np.cumsum(sizes)[:-1]

    def run(inputs: Arrays, outputs: Arrays) -> None:
        for out, piece in zip(outputs, np.split(inputs[0], cuts, axis=axis), strict=True):
            out[...] = piece

    return Bound(run)


def transpose(site: Site) -> Bound:
    """The input with its axes in another order."""
    order = permutation(list(site.inputs))

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0][...] = inputs[0].transpose(order)

    return Bound(run)


def pack(site: Site) -> Bound:
    """The inputs stacked along a new axis."""
    attrs = site.node.attributes
    assert isinstance(attrs, Axis)
    _same_scale(site)
    axis = attrs.axis

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0][...] = np.stack(inputs, axis=axis)

    return Bound(run)


BINDINGS = {
    "RESHAPE": reshape,
    "PAD": pad,
    "CONCATENATION": concatenation,
    "STRIDED_SLICE": strided_slice,
    "SPLIT_V": split_v,
    "TRANSPOSE": transpose,
    "PACK": pack,
}
