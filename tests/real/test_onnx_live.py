"""Every real op of ONNX in float32, against live ONNX Runtime: within 1e-5 of the greatest output."""

import numpy as np
import onnxruntime
import pytest

import fxsim
from tests.build_onnx import OnnxBuilder
from tests.real.conftest import error, read_onnx

pytestmark = pytest.mark.live
BOUND = 1e-5
_values = np.random.default_rng(7)


def f(*shape):
    return _values.normal(size=shape).astype(np.float32)


def i(*values):
    return np.array(values, np.int64)


def scalar(x, dtype=np.float32):
    return np.array(x, dtype)


def case(op, *shapes, constants=(), opset=21, out="float32", note="", **attributes):
    return pytest.param(op, shapes, constants, opset, out, attributes, id=f"{op}-{note}" if note else op)


WINDOW = {"kernel_shape": [3, 2], "strides": [2, 2]}
SHAPED = [{"ceil_mode": 1}, {"pads": [1, 1, 1, 1]}, {"dilations": [2, 1]}, {"auto_pad": "SAME_LOWER"}]
UNARY = (
    *("Relu", "Neg", "Abs", "Sign", "Floor", "Ceil", "Round", "Sigmoid", "Tanh", "Erf", "Exp", "Sin", "Cos"),
    *("Reciprocal", "Softplus", "Softsign", "Mish", "HardSwish", "Identity", "LeakyRelu", "Elu", "Selu", "Celu"),
    *("HardSigmoid", "ThresholdedRelu", "Gelu", "Softmax", "LogSoftmax"),
)
REDUCTIONS = ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")
PLACES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
CASES = [
    case("Conv", (1, 6, 9, 11), constants=(f(8, 6, 3, 3), f(8)), pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2]),
    case("Conv", (1, 6, 9, 11), constants=(f(9, 2, 3, 3), f(9)), group=3, pads=[1, 1, 1, 1], note="groups"),
    case("Conv", (2, 6, 9, 11), constants=(f(12, 1, 3, 3),), group=6, pads=[1, 1, 1, 1], note="depthwise"),
    case("Conv", (1, 6, 12), constants=(f(4, 6, 3), f(4)), auto_pad="SAME_UPPER", strides=[2], note="1d"),
    case("Conv", (1, 2, 5, 5), (3, 2, 2, 2), note="weight at run time"),
    case(
        "ConvTranspose", (1, 6, 5, 7), constants=(f(6, 4, 3, 3), f(4)),
        strides=[2, 3], pads=[1, 0, 1, 2], output_padding=[1, 0],
    ),
    case(
        "ConvTranspose", (1, 6, 5, 7), constants=(f(6, 4, 3, 2),),
        group=2, strides=[2, 2], dilations=[2, 1], auto_pad="SAME_UPPER", note="groups",
    ),
    case("ConvTranspose", (1, 6, 5), constants=(f(6, 4, 3), f(4)), strides=[2], output_shape=[11], note="1d"),
    case("Gemm", (3, 5), constants=(f(7, 5), f(7)), transB=1, alpha=0.5, beta=2.0),
    case("Gemm", (5, 3), (5, 4), transA=1, note="both at run time"),
    case("MatMul", (2, 3, 5), constants=(f(5, 4),)),
    case("MatMul", (2, 3, 5), (2, 5, 4), note="both at run time"),
    case("MatMul", (5,), constants=(f(5, 4),), note="row"),
    case("MatMul", (2, 3, 5), constants=(f(5),), note="column"),
    case("MatMul", (5,), constants=(f(2, 5, 4),), note="row by stack"),
    *(case(op, (2, 5), opset=22) for op in UNARY),
    case("Sqrt", (2, 5), note="NaN of negatives"),
    case("Log", (2, 5), note="NaN of negatives"),
    case("Gelu", (2, 5), approximate="tanh", note="tanh"),
    case("Softmax", (2, 6, 4), axis=1, note="axis"),
    case("Softmax", (2, 6, 4), axis=1, opset=12, note="flat"),
    *(case(op, (2, 5), (5,)) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum")),
    case("Pow", (3, 4), constants=(scalar(2),)),
    case("Mod", (3, 4), (3, 4), fmod=1),
    case("PRelu", (1, 3, 4, 4), constants=(f(3, 1, 1),)),
    case("Clip", (4, 5), constants=(scalar(-0.5), scalar(1))),
    case("Clip", (4, 5), constants=("", scalar(1)), note="high alone"),
    case("BatchNormalization", (2, 3, 4, 4), constants=(f(3), f(3), f(3), np.abs(f(3)))),
    case("LayerNormalization", (2, 6, 5), constants=(f(6, 5), f(6, 5)), axis=-2),
    case("InstanceNormalization", (2, 3, 4, 4), constants=(f(3), f(3))),
    case("GroupNormalization", (2, 6, 4, 4), constants=(f(6), f(6)), num_groups=3),
    case("GroupNormalization", (2, 6, 4, 4), constants=(f(3), f(3)), num_groups=3, opset=18, note="scale of a group"),
    *(case("LpNormalization", (2, 6), p=p, axis=1, note=str(p)) for p in (1, 2)),
    *(case(f"Reduce{r}", (2, 6, 4), constants=(i(-1, 0),), keepdims=0, note="axes") for r in REDUCTIONS),
    *(case(f"Reduce{r}", (2, 6, 4), note="all") for r in REDUCTIONS),
    case("ArgMax", (2, 6, 4), axis=1, out="int64"),
    case("ArgMin", (2, 6, 4), axis=1, keepdims=0, out="int64"),
    case("CumSum", (2, 6, 4), constants=(scalar(1, np.int64),), reverse=1, exclusive=1),
    *(case("MaxPool", (2, 3, 9, 11), **WINDOW, **kw, note=str(kw)) for kw in SHAPED),
    *(
        case("AveragePool", (2, 3, 9, 11), **WINDOW, **kw, count_include_pad=n, note=f"{kw} {n}")
        for kw in SHAPED
        for n in (0, 1)
    ),
    case("GlobalAveragePool", (2, 3, 9, 11)),
    case("GlobalMaxPool", (2, 3, 9, 11)),
    *(
        case("Resize", (1, 3, 5, 7), constants=("", "", i(1, 3, 8, 10)), mode=mode,
             coordinate_transformation_mode=place, note=f"{mode} {place}")
        for mode in ("nearest", "linear", "cubic")
        for place in PLACES
    ),
    *(
        case("Resize", (1, 3, 5, 7), constants=("", np.array([1, 1, 1.7, 0.6], "f4")), mode=mode,
             coordinate_transformation_mode=place, note=f"scales {mode} {place}")
        for mode in ("linear", "cubic")
        for place in PLACES
    ),
    *(
        case("Resize", (1, 3, 5, 7), constants=("", np.array([1, 1, 2, 2.5], "f4")), mode="nearest", nearest_mode=n, note=n)
        for n in ("round_prefer_ceil", "floor", "ceil")
    ),
    case(
        "Resize", (1, 3, 5, 7), constants=("", np.array([1, 1, 2, 2.5], "f4")),
        mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5, note="exclude",
    ),
    *(case("DepthToSpace", (1, 12, 3, 4), blocksize=2, mode=m, note=m) for m in ("DCR", "CRD")),
    case("SpaceToDepth", (1, 3, 4, 6), blocksize=2),
    case("Tile", (2, 3), constants=(i(2, 1),)),
    case("Trilu", (4, 4), upper=0),
    case("Trilu", (4, 4), constants=(scalar(1, np.int64),), note="k"),
    case("Pad", (2, 3), constants=(i(1, 0, 0, 2), scalar(2))),
    case("Pad", (4, 5), constants=(i(1, 0, 0, 2),), mode="reflect", note="reflect"),
    case("Slice", (4, 5), constants=(i(3), i(-9), i(0), i(-2))),
    case("Transpose", (2, 3, 4), perm=[2, 0, 1]),
    case("Concat", (2, 3), (2, 1), axis=1),
    case("Gather", (4, 5), constants=(i(0, -1),), axis=1),
    case("Expand", (4, 1), constants=(i(2, 1, 3),)),
    case("Flatten", (2, 3, 4), axis=1),
    case("Unsqueeze", (2, 3), constants=(i(1),)),
    case("Squeeze", (2, 1, 3), constants=(i(1),)),
]  # fmt: skip


def compared(data, seed=1, count=3, low=-1):
    """The greatest relative error over the outputs of some inferences at once, against one after the other."""
    graph, rng = read_onnx(data), np.random.default_rng(seed)
    tensors = [graph.tensors[t] for t in graph.inputs]
    x = {
        t.name: rng.normal(0, 1.5, (count, *t.shape)).astype(np.float32)
        if t.qtype.kind == "float"
        else rng.integers(0, 3, (count, *t.shape)).astype(t.qtype.dtype)
        for t in tensors
    }
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    wanted = [session.run(None, {k: v[n] for k, v in x.items()}) for n in range(count)]
    trace = fxsim.simulate(graph, x, "float32")
    worst = 0.0
    for k, t in enumerate(graph.outputs):
        got, one = trace.tensor(t), np.stack([w[k] for w in wanted])
        np.testing.assert_array_equal(np.isnan(got), np.isnan(one))
        worst = max(worst, error(np.nan_to_num(got), np.nan_to_num(one)))
    return worst


@pytest.mark.parametrize("op, shapes, constants, opset, out, attributes", CASES)
def test_op(op, shapes, constants, opset, out, attributes):
    m = OnnxBuilder(opset)
    inputs = [m.input(f"x{n}", s, "float32") for n, s in enumerate(shapes)]
    inputs += [c if isinstance(c, str) else m.constant(c, str(c.dtype)) for c in constants]
    m.op(op, inputs, "y", **attributes)
    assert compared(m.finish({"y": out})) < BOUND


def test_embedding_takes_positions_from_the_input():
    m = OnnxBuilder()
    ids, table = m.input("ids", (1, 4), "int64"), m.constant(f(10, 6), "float32")
    m.op("Gather", [table, ids], "y")
    data = m.finish({"y": "float32"})
    assert compared(data) == 0
    with pytest.raises(fxsim.FxsimError, match=r"indices hold 10..10; allowed: -10..9"):
        fxsim.simulate(read_onnx(data), np.full((1, 4), 10), "float32")


def test_choice_by_comparison():
    m = OnnxBuilder()
    a, b = m.input("a", (3, 4), "float32"), m.input("b", (4,), "float32")
    m.op("Where", [m.op("Not", [m.op("Greater", [a, b])]), a, b], "y")
    assert compared(m.finish({"y": "float32"})) == 0


def network(rng):
    """A small residual network with every kind of layer, the channels of one stage squeezed and excited."""
    m = OnnxBuilder()

    def conv(x, c, o, k=3, **kw):
        w = (rng.normal(size=(o, c // kw.get("group", 1), k, k)) / np.sqrt(k * k * c)).astype(np.float32)
        return m.op("Conv", [x, m.constant(w, "float32"), m.constant(f(o), "float32")], pads=[k // 2] * 4, **kw)

    x = m.input("x", (1, 3, 32, 32), "float32")
    y = m.op("Relu", [conv(x, 3, 16)])
    for _ in range(4):
        z = m.op("HardSwish", [conv(y, 16, 64, 1)])
        z = m.op("Relu", [conv(z, 64, 64, group=64)])
        s = m.op("HardSigmoid", [conv(m.op("GlobalAveragePool", [z]), 64, 64, 1)])
        y = m.op("Add", [y, conv(m.op("Mul", [z, s]), 64, 16, 1)])
    y = m.op("MaxPool", [y], kernel_shape=[2, 2], strides=[2, 2])
    y = m.op("Flatten", [m.op("GlobalAveragePool", [y])])
    m.op("Softmax", [m.op("Gemm", [y, m.constant(f(16, 10), "float32")])], "y")
    return m.finish({"y": "float32"})


def test_network(rng):
    """21 layers: measured 4e-7."""
    assert compared(network(rng), count=4) < BOUND


def test_float64_models(rng):
    """A DOUBLE model in float64 is exact to the last bits: 1e-14."""
    import onnx
    from onnx import helper

    w, b = rng.normal(size=(6, 4)), rng.normal(size=(4,))
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), helper.make_node("Erf", ["h"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.DOUBLE, (2, 6))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, (2, 4))],
        [onnx.numpy_helper.from_array(w, "w"), onnx.numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = rng.normal(size=(2, 6))
    import math

    got = fxsim.simulate(read_onnx(model.SerializeToString()), x, "float64").outputs["y"]
    assert got.dtype == np.float64
    assert error(got, np.vectorize(math.erf)(x @ w + b)) < 1e-14
    with pytest.raises(fxsim.UnsupportedOp, match="is float64; numerics 'onnxruntime' computes float32"):
        fxsim.simulate(read_onnx(model.SerializeToString()), x)
