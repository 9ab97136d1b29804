"""Binds BATCH_MATMUL: the product of two tensors, matrix by matrix."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fxsim.errors import UnsupportedOp
from fxsim.kernels.float_sums import sums
from fxsim.model.ops.matmul import BatchMatMul, matmul_shape
from fxsim.model.qtype import Array, Shape
from fxsim.model.work import Geometry
from fxsim.sim.base import Arrays, Bound, Probe, Site, scalar_quant
from fxsim.sim.layer import Layer, prepare


def _matrices(inputs: Arrays, attrs: BatchMatMul, lead: Shape) -> Iterator[tuple[Shape, Array, Array]]:
    """``(place of the output matrix, left matrix, right matrix)`` for every place of the leading axes."""
    left = inputs[0].swapaxes(-2, -1) if attrs.adj_x else inputs[0]
    right = inputs[1].swapaxes(-2, -1) if attrs.adj_y else inputs[1]
    left = np.broadcast_to(left, (*lead, *left.shape[-2:]))
    right = np.broadcast_to(right, (*lead, *right.shape[-2:]))
    for at in np.ndindex(*lead):
        yield at, np.ascontiguousarray(left[at]), np.ascontiguousarray(right[at])


def _float(site: Site, attrs: BatchMatMul) -> Bound:
    """``sum(x * w)`` in float32, the products added one after the other; variants as of the other layers with weights."""
    orders = {"plain": False, "plain_float": False, "fused": True}
    fused = orders.get(site.variant("", "gemm", *orders))
    if fused is None:
        raise UnsupportedOp(
            "the order in which the engine adds up a BATCH_MATMUL in float32 is not known; supported here: integers"
        )
    site.types(input1="float32", output="float32")
    lead = site.outputs[0].shape[:-2]
    add_up = sums(fused, fused, False)

    def run(inputs: Arrays, outputs: Arrays) -> None:
        for at, left, right in _matrices(inputs, attrs, lead):
            columns = right.shape[1]
            row = np.empty((1, 1, len(left), columns), np.float32)
            add_up(left[None, None], right[None, None], np.zeros(columns, np.float32), (1, 1, 1, 1), 1, row)
            outputs[0][at] = row[0, 0]

    return Bound(run)


def batch_matmul(site: Site) -> Bound:
    """``out = clamp(round(M * sum((x - x_zero) * (w - w_zero))) + out_zero)``; or the bare ``sum(x * w)`` as int32.

    The engines give int32 outputs of the stored integers, zero points and all.
    """
    attrs, (x, w), out = site.node.attributes, (site.input(0), site.input(1)), site.outputs[0]
    assert isinstance(attrs, BatchMatMul)
    if x.qtype.kind == "float":
        return _float(site, attrs)
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

    def pairs(inputs: Arrays) -> Iterator[tuple[Shape, Layer, Array]]:
        """``(place of the output matrix, prepared layer, left matrix)``."""
        for at, left, right in _matrices(inputs, attrs, shape[:-2]):
            weight = right.astype(np.int32).reshape(1, 1, inner, columns) - np.int32(w_zero)
            yield at, replace(empty, weight=weight), left

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
