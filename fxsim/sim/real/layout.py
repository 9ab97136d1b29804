"""Ops that bring values to other places or types: all that have a ``move``, and those that hold a value otherwise."""

import numpy as np

from fxsim.model.ops import OPS
from fxsim.model.ops.space import batch_paddings, bordered, to_batch
from fxsim.model.qtype import Array
from fxsim.sim import layout, onnx_layout
from fxsim.sim.base import Site
from fxsim.sim.real.base import RealFn, Values, activate, is_real, one_by_one, operands, value


def move(site: Site) -> RealFn:
    """The values at other places, as the op's ``move`` says; one inference after the other."""
    prepare = site.spec.move
    assert prepare is not None
    moved, act = prepare(operands(site), site.node.attributes, len(site.outputs)), activate(site)

    def run(values: Values) -> list[Array]:
        given = [v[0] for v in values if v is not None]
        return [act(np.array(y))[np.newaxis] for y in moved(given)]

    return lambda values: one_by_one(run, values)


def view(site: Site) -> RealFn:
    """The same values in another shape; a Dropout's mask drops none."""
    shape, masks = site.outputs[0].shape, [np.ones((1, *t.shape), np.bool_) for t in site.outputs[1:]]
    return lambda values: [value(values, 0).reshape(-1, *shape), *masks]


def same(site: Site) -> RealFn:
    """The same real number, held otherwise: QUANTIZE, DEQUANTIZE."""
    return lambda values: [value(values, 0)]


def cast(site: Site) -> RealFn:
    """The same number in another type: reals toward zero to integers, and whether it is not 0 to bools."""
    out = site.outputs[0]

    def run(values: Values) -> list[Array]:
        x = value(values, 0)
        if is_real(out) or out.qtype.kind == "bool" or x.dtype.kind != "f":
            return [x]
        return [np.clip(np.trunc(x.astype(np.float64)), out.qtype.min, out.qtype.max)]

    return run


def space_to_batch(site: Site) -> RealFn:
    """Blocks of the input, with a border of zeros, along its first axis."""
    given = operands(site)
    widths = batch_paddings(given)

    def run(values: Values) -> list[Array]:
        return [to_batch(given, bordered(value(values, 0)[0], widths, 0))[np.newaxis]]

    return lambda values: one_by_one(run, values)


def scatter_nd(site: Site) -> RealFn:
    """Zeros, to which ``updates`` are added at ``indices``."""
    shape = site.outputs[0].shape

    def run(values: Values) -> list[Array]:
        indices, updates = value(values, 0)[0], value(values, 1)[0]
        y = np.zeros(shape, updates.dtype)
        np.add.at(y, tuple(np.moveaxis(indices, -1, 0)), updates)
        return [y[np.newaxis]]

    return lambda values: one_by_one(run, values)


BINDINGS = (
    {op: move for op, spec in OPS.items() if spec.move is not None}
    | dict.fromkeys((*layout.VIEWS, *onnx_layout.VIEWS), view)
    | {
        "QUANTIZE": same,
        "DEQUANTIZE": same,
        "CAST": cast,
        "SPACE_TO_BATCH_ND": space_to_batch,
        "SCATTER_ND": scatter_nd,
    }
)
