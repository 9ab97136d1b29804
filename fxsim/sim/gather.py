"""Binds the ops on positions that do more than move: EMBEDDING_LOOKUP, SCATTER_ND, TOPK_V2."""

import numpy as np

from fxsim.errors import DomainError, UnsupportedOp
from fxsim.sim.base import Arrays, Bound, Site, quant
from fxsim.sim.layout import move


def embedding_lookup(site: Site) -> Bound:
    """``out[i] = value[lookup[i]]``; a row of integers that becomes float32 is multiplied by its scale in float32.

    Source: tflite/kernels/embedding_lookup.cc @ LiteRT 2.3.0; micro/kernels/embedding_lookup.cc.
    """
    table, out = site.input(1), site.outputs[0]
    if table.qtype == out.qtype:
        return move(site)
    site.types(input1="int4 int8", output="float32")
    q = quant(table)
    if any(q.zero_point) or (q.axis or 0) != 0:
        raise UnsupportedOp(f"value {table.name!r} has zero points or scales along axis {q.axis}; supported: axis 0")
    if table.qtype.bits == 4 and (table.elements // max(table.shape[0], 1)) % 2:
        raise UnsupportedOp(f"value {table.name!r} has rows of {table.shape[1:]} int4; supported: an even number")
    prepare = site.spec.move
    assert prepare is not None
    rows = prepare(list(site.inputs), site.node.attributes, 1)
    high = np.float32(16 if table.qtype.bits == 4 else 1)  # int4 is read from the upper half of a byte
    scale = np.array(q.scale, np.float32).reshape(-1, *[1] * (len(table.shape) - 1)) / high

    def run(inputs: Arrays, outputs: Arrays) -> None:
        factor = scale if q.per_tensor else scale[inputs[0]]
        with np.errstate(over="ignore"):  # beyond float32 it is infinite, as in the engines
            outputs[0][...] = rows(inputs)[0].astype(np.float32) * high * factor

    return Bound(run)


def scatter_nd(site: Site) -> Bound:
    """Zeros, to which ``updates`` are added at ``indices``, in order.

    Source: tflite/kernels/internal/reference/reference_ops.h, ScatterNd @ LiteRT 2.3.0.
    """
    shape = site.outputs[0].shape

    def run(inputs: Arrays, outputs: Arrays) -> None:
        columns = np.moveaxis(inputs[0], -1, 0)
        for column, size in zip(columns, shape, strict=False):
            if column.size and not 0 <= column.min() <= column.max() < size:
                raise DomainError(f"indices hold {column.min()}..{column.max()}; allowed: 0..{size - 1}")
        outputs[0][...] = 0
        np.add.at(outputs[0], tuple(columns), inputs[1])

    return Bound(run)


def top_k(site: Site) -> Bound:
    """The ``k`` greatest values of each row and their positions; of equal values the first come first, NaN last.

    Source: tflite/kernels/topk_v2.cc @ LiteRT 2.3.0.
    """
    k = site.outputs[0].shape[-1]
    real = site.input(0).qtype.kind == "float"

    def run(inputs: Arrays, outputs: Arrays) -> None:
        falling = -inputs[0] if real else ~inputs[0]  # -x - 1, which no integer type overflows
        order = np.argsort(falling, axis=-1, kind="stable")[..., :k]
        outputs[0][...] = np.take_along_axis(inputs[0], order, -1)
        outputs[1][...] = order

    return Bound(run)


BINDINGS = {"EMBEDDING_LOOKUP": embedding_lookup, "SCATTER_ND": scatter_nd, "TOPK_V2": top_k}
