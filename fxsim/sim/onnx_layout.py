"""Binds ONNX's views and QLinearConcat; what only moves values is bound with all other moves."""

import numpy as np

from fxsim.model.ops.layout import Axis
from fxsim.model.qtype import Array
from fxsim.sim.base import Bound, Site
from fxsim.sim.layout import view
from fxsim.sim.onnx_base import Values, bound, pair, quietly, rounded, to_type


def qlinear_concat(site: Site) -> Bound:
    """The inputs, one after the other along an axis, each brought to the output's scale by way of float32.

    ``y = clamp(round(x_scale * (x - x_zero) / y_scale) + y_zero)``, where scale or zero point differ.

    Source: onnxruntime/contrib_ops/cpu/quantization/qlinear_concat.cc @ ONNX Runtime 1.31.
    """
    attrs, out, rule = site.node.attributes, site.outputs[0], site.numerics.requantize.rounding
    assert isinstance(attrs, Axis)
    y_scale, y_zero = pair(site, 0, 1)
    tables: list[Array | None] = []
    for i in range(2, len(site.inputs), 3):
        scale, zero = pair(site, i + 1, i + 2)
        every = np.arange(256, dtype=np.uint8).view(out.qtype.dtype)
        real = (every.astype(np.int32) - zero).astype(np.float32) * scale
        same = (scale, zero) == (y_scale, y_zero)
        tables.append(None if same else to_type(out.qtype, rounded(rule, real / y_scale), y_zero))

    def run(values: Values) -> list[Array]:
        parts = []
        for x, table in zip(values[2::3], tables, strict=True):
            assert x is not None
            parts.append(x if table is None else table[np.ascontiguousarray(x).view(np.uint8)])
        return [np.concatenate(parts, axis=attrs.axis)]

    return bound(site, run)


VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
BINDINGS = dict.fromkeys(VIEWS, view) | quietly({"QLinearConcat": qlinear_concat})
