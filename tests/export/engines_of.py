"""What the exported files are asked of: equal graphs, LiteRT's outputs, ONNX Runtime's outputs."""

from typing import Any

import numpy as np

from tests import engines

Array = Any
ENGINES = {
    "litert-reference": lambda content, inputs, outputs: [
        engines.litert_reference(content, inputs)[i] for i in outputs
    ],
    "litert-xnnpack": lambda content, inputs, outputs: engines.litert_xnnpack(content, inputs),
}
"""numerics profile -> one inference of the live engine: its outputs"""


def assert_same(a, b):
    """Holds two graphs to be equal, but for the layers' numbers, which have gaps where something was folded."""
    assert len(a.tensors) == len(b.tensors)
    for t, u in zip(a.tensors, b.tensors, strict=True):
        assert (t.name, t.shape, t.qtype, t.quant, t.variable) == (u.name, u.shape, u.qtype, u.quant, u.variable)
        assert (t.data is None) == (u.data is None), t.name
        assert t.data is None or (t.data.dtype == u.data.dtype and t.data.tobytes() == u.data.tobytes()), t.name
    assert (a.inputs, a.outputs, len(a.nodes)) == (b.inputs, b.outputs, len(b.nodes))
    for n, m in zip(a.nodes, b.nodes, strict=True):
        assert (n.op, n.inputs, n.outputs, n.attributes) == (m.op, m.inputs, m.outputs, m.attributes)
        assert (n.intermediates, n.name) == (m.intermediates, m.name)
    assert len(a.called) == len(b.called)
    for x, y in zip(a.called, b.called, strict=True):
        assert_same(x, y)


def special(t, rng, noisy=4):
    """Inferences for one input: noise, the ends, the zero point, ramps up and down."""
    if t.qtype.kind == "float":
        ends = [np.full(t.shape, v) for v in (-100, 100, 0, 1e-8)]
        return np.stack([*(3 * rng.standard_normal((noisy, *t.shape))), *ends]).astype(np.float32)
    zero = t.quant.zero_point[0] if t.quant is not None else 0
    noise = rng.integers(t.qtype.min, t.qtype.max + 1, (noisy, *t.shape))
    ramp = (t.qtype.min + np.arange(t.elements) % (t.qtype.max - t.qtype.min + 1)).reshape(t.shape)
    flat = [np.full(t.shape, v) for v in (t.qtype.min, t.qtype.max, zero)]
    return np.stack([*noise, *flat, ramp, ramp[..., ::-1]]).astype(t.qtype.dtype)


def onnxruntime_outputs(content, batches):
    """ONNX Runtime on each inference of each input: an array for each output, inferences leading."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    runs = [session.run(None, dict(zip(names, x, strict=True))) for x in zip(*batches, strict=True)]
    return [np.stack(column) for column in zip(*runs, strict=True)]
