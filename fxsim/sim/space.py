"""Binds the ops that surround their input with zero points: PAD and SPACE_TO_BATCH_ND."""

from fxsim.errors import UnsupportedOp
from fxsim.model.ops.space import batch_paddings, bordered, paddings, to_batch
from fxsim.sim import moves
from fxsim.sim.base import Arrays, Bound, Site


def _zero(site: Site) -> int:
    """The raw value that stands for 0.0 in the output: its zero point, or 0 for types without one."""
    out = site.outputs[0]
    return out.quant.zero_point[0] if out.quant is not None else 0


def pad(site: Site) -> Bound:
    """The input with a border of the output's zero point."""
    widths, value = paddings(list(site.inputs)), _zero(site)
    inner = tuple(slice(before, before + s) for (before, _), s in zip(widths, site.input(0).shape, strict=True))

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0].fill(value)
        outputs[0][inner] = inputs[0]

    fast = moves.bordered(site.input(0), site.outputs[0], inner, value)
    spatial = len(widths) == 4 and not any((*widths[0], *widths[3]))
    return Bound(run, native=fast, border=(*widths[1], *widths[2]) if spatial else None)


def space_to_batch(site: Site) -> Bound:
    """Blocks of the padded input along its first axis.

    Variants: the border holds the output's ``zero_point``, or is ``undefined`` and refused: TFLM never sets the value.

    Source: tflite/kernels/space_to_batch_nd.cc @ LiteRT 2.3.0; micro/kernels/space_to_batch_nd.cc, its Prepare.
    """
    operands, value = list(site.inputs), _zero(site)
    widths = batch_paddings(operands)
    if site.variant("zero_point", "undefined") == "undefined" and any(map(any, widths)):
        raise UnsupportedOp(f"paddings are {list(widths)}; supported: none, since the engine pads with unset memory")

    def run(inputs: Arrays, outputs: Arrays) -> None:
        outputs[0][...] = to_batch(operands, bordered(inputs[0], widths, value))

    return Bound(run)


BINDINGS = {"PAD": pad, "SPACE_TO_BATCH_ND": space_to_batch}
