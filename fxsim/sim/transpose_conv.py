"""Binds TRANSPOSE_CONV, which is a convolution of stride 1 over the spread input with the kernel turned round."""

from dataclasses import replace

from fxsim.errors import InputError
from fxsim.model.ops.transpose_conv import TransposeConv, transpose_geometry
from fxsim.sim.base import Arrays, Bound, Site
from fxsim.sim.conv import layer


def transpose_conv(site: Site) -> Bound:
    """``out = clamp(round(M * (sum((x - x_zero) * w) + bias)) + out_zero)``: each input is spread over a window.

    The sums run over input rows, columns and channels in that order, as where the engines scatter them.
    """
    attrs = site.node.attributes
    assert isinstance(attrs, TransposeConv)
    wanted = site.outputs[0].shape
    g = transpose_geometry(list(site.inputs), wanted, attrs)
    before_h, before_w = attrs.before(g)
    top, left = g.kernel_h - 1 - before_h, g.kernel_w - 1 - before_w
    bottom = g.out_h + before_h - 1 - (g.in_h - 1) * attrs.stride_h
    right = g.out_w + before_w - 1 - (g.in_w - 1) * attrs.stride_w
    made = layer(
        site,
        g,
        lambda w: w[:, ::-1, ::-1].transpose(1, 2, 3, 0),
        (top, bottom, left, right),
        spread=(attrs.stride_h, attrs.stride_w),
    )
    if site.input(0).constant:
        return made

    def run(inputs: Arrays, outputs: Arrays) -> None:
        if tuple(inputs[0].tolist()) != wanted:
            raise InputError(f"{site.outputs[0].name!r}: output shape is {inputs[0].tolist()}; allowed: {list(wanted)}")
        made.run(inputs, outputs)

    return replace(made, run=run)


BINDINGS = {"TRANSPOSE_CONV": transpose_conv}
