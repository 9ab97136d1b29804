"""Binds BATCH_MATMUL: the product of two tensors, matrix by matrix."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.model.ops.matmul import BatchMatMul, matmul_shape
from fxsim.model.qtype import Array
from fxsim.model.work import Geometry
from fxsim.sim.base import Arrays, Bound, Probe, Site, scalar_quant
from fxsim.sim.layer import Layer, prepare


def batch_matmul(site: Site) -> Bound:
    """``out = clamp(round(M * sum((x - x_zero) * (w - w_zero))) + out_zero)``; or the bare ``sum(x * w)`` as int32.

    The engines give int32 outputs of the stored integers, zero points and all.
    """
    attrs, (x, w), out = site.node.attributes, (site.input(0), site.input(1)), site.outputs[0]
    assert isinstance(attrs, BatchMatMul)
    bare = out.qtype.name == "int32"
    site.types(input1="int8" if x.qtype.name == "int8" else "int8 int16", output="int32" if bare else x.qtype.name)
    if bare and x.qtype.name != "int8":
        raise UnsupportedOp(f"output {out.name!r} is int32 of {x.qtype.name} inputs; supported: int8 inputs")
    shape, inner = matmul_shape(list(site.inputs), attrs)
    rows, columns = shape[-2:]
    (x_scale, x_zero), (w_scale, w_zero), (out_scale, out_zero) = (
        (1.0, 0) if bare else scalar_quant(t) for t in (x, w, out)
    )
    if x.qtype.name == "int16" and (x_zero or w_zero or out_zero):
        raise UnsupportedOp(f"zero points are {x_zero}, {w_zero} and {out_zero}; supported for int16: 0")
    ends = [np.full((1, 1, inner, columns), v - w_zero, np.int32) for v in (w.qtype.min, w.qtype.max)]
    empty = prepare(
        site,
        Geometry(1, 1, rows, inner, 1, rows, columns),
        x,
        ends,
        np.zeros(columns, np.int32),
        [(x_scale, w_scale)],
        out_scale,
        out_zero,
        (out.qtype.min, out.qtype.max),
        site.numerics.accumulator,
        x_zero,
    )

    def pairs(inputs: Arrays) -> Iterator[tuple[tuple[int, ...], Layer, Array]]:
        """``(place of the output matrix, prepared layer, left matrix)``."""
        left = inputs[0].swapaxes(-2, -1) if attrs.adj_x else inputs[0]
        right = inputs[1].swapaxes(-2, -1) if attrs.adj_y else inputs[1]
        left = np.broadcast_to(left, (*shape[:-2], rows, inner))
        right = np.broadcast_to(right, (*shape[:-2], inner, columns))
        for at in np.ndindex(*shape[:-2]):
            weight = np.ascontiguousarray(right[at], np.int32).reshape(1, 1, inner, columns) - np.int32(w_zero)
            yield at, replace(empty, weight=weight), np.ascontiguousarray(left[at])

    def run(inputs: Arrays, outputs: Arrays) -> None:
        for at, layer, matrix in pairs(inputs):
            if bare:
                outputs[0][at] = layer.accumulate(matrix).reshape(rows, columns)
            else:
                layer.run([matrix], [outputs[0][at]])

    def probe(inputs: Arrays) -> Probe:
        total = Probe()
        for n, (_, layer, matrix) in enumerate(pairs(inputs)):
            total.add(layer.probe([matrix]), n * rows * columns)
        return total

    return Bound(run, probe)


BINDINGS = {"BATCH_MATMUL": batch_matmul}
