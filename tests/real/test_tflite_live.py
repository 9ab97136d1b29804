"""Every real op of TFLite in float32, against live LiteRT: within 1e-5 of the greatest output."""

import numpy as np
import pytest

import fxsim
from fxsim.importers import parse
from tests import engines
from tests.build import Builder
from tests.real.conftest import error

pytestmark = pytest.mark.live
BOUND = 1e-5
_values = np.random.default_rng(7)
CONV = {"stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1}
POOL = {"filter_height": 3, "filter_width": 2, "stride_h": 2, "stride_w": 2}


def f(*shape):
    return _values.normal(size=shape).astype(np.float32)


def i(*values):
    return np.array(values, np.int32)


def case(op, *shapes, out, constants=(), note="", first=0, **options):
    """``first``: how many constants come before the inputs."""
    return pytest.param(op, shapes, constants, out, options, first, id=f"{op}-{note}" if note else op)


UNARY = ("TANH", "ELU", "HARD_SWISH", "EXP", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "ABS", "NEG", "SQUARE")
BINARY = ("SUB", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "FLOOR_MOD")
CASES = [
    *(
        case("CONV_2D", (1, 9, 8, 4), out=o, constants=(f(6, 3, 2, 4), f(6)), note=p, **CONV | s, padding=p, **a)
        for p, s, o, a in (
            ("SAME", {"stride_h": 2}, (1, 5, 8, 6), {"fused_activation_function": "RELU"}),
            ("VALID", {"dilation_w_factor": 2}, (1, 7, 6, 6), {"fused_activation_function": "RELU6"}),
        )
    ),
    case(
        "CONV_2D", (1, 9, 8, 4), out=(1, 9, 8, 6), constants=(f(6, 3, 3, 2), f(6)),
        note="groups", **CONV, padding="SAME",
    ),
    case(
        "DEPTHWISE_CONV_2D", (1, 9, 8, 4), out=(1, 5, 4, 8), constants=(f(1, 3, 3, 8), f(8)),
        **CONV | {"stride_h": 2, "stride_w": 2}, padding="SAME", depth_multiplier=2,
    ),
    case(
        "DEPTHWISE_CONV_2D", (1, 9, 8, 4), out=(1, 5, 4, 4), constants=(f(1, 3, 3, 4), f(4)), note="dilated",
        **CONV | {"dilation_h_factor": 2, "dilation_w_factor": 2}, padding="VALID", depth_multiplier=1,
        fused_activation_function="RELU_N1_TO_1",
    ),
    case(
        "TRANSPOSE_CONV", (1, 4, 3, 5), out=(1, 8, 6, 2), constants=(i(1, 8, 6, 2), f(2, 3, 3, 5)),
        first=2, stride_h=2, stride_w=2, padding="SAME",
    ),
    case("FULLY_CONNECTED", (3, 7), out=(3, 4), constants=(f(4, 7), f(4)), fused_activation_function="RELU"),
    case("FULLY_CONNECTED", (2, 3, 7), out=(2, 3, 4), constants=(f(4, 7),), keep_num_dims=True, note="keep"),
    case("BATCH_MATMUL", (2, 3, 5), (2, 5, 4), out=(2, 3, 4)),
    case("BATCH_MATMUL", (2, 3, 5), (2, 4, 5), out=(2, 3, 4), adj_y=True, note="adjoint"),
    case("ADD", (2, 3, 4), (4,), out=(2, 3, 4), fused_activation_function="RELU"),
    case("MUL", (2, 3, 4), (2, 3, 4), out=(2, 3, 4), fused_activation_function="RELU6"),
    *(case(op, (2, 3, 4), (2, 3, 4), out=(2, 3, 4)) for op in BINARY),
    *(case(op, (3, 8), out=(3, 8)) for op in UNARY),
    case("LOGISTIC", (3, 8), out=(3, 8)),
    case("SOFTMAX", (3, 8), out=(3, 8), beta=1.5),
    case("LOG_SOFTMAX", (3, 8), out=(3, 8)),
    case("L2_NORMALIZATION", (3, 8), out=(3, 8)),
    case("LEAKY_RELU", (3, 8), out=(3, 8), alpha=0.125),
    case("PRELU", (1, 3, 3, 4), out=(1, 3, 3, 4), constants=(f(1, 1, 4),)),
    *(case("GELU", (3, 8), out=(3, 8), approximate=a, note=str(a)) for a in (True, False)),
    *(case(op, (3, 8), out=(3, 8)) for op in ("FLOOR", "CEIL", "ROUND")),
    *(
        case(op, (1, 9, 8, 4), out=o, padding=p, **POOL, note=p)
        for op in ("MAX_POOL_2D", "AVERAGE_POOL_2D")
        for p, o in (("SAME", (1, 5, 4, 4)), ("VALID", (1, 4, 4, 4)))
    ),
    *(case(op, (2, 5, 6), out=(2, 6), constants=(i(1),)) for op in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")),
    case("MEAN", (2, 5, 6), out=(1, 5, 1), constants=(i(0, -1),), keep_dims=True, note="keep"),
    case("REDUCE_PROD", (2, 5, 6), out=(2, 6), constants=(i(1),)),
    case("CUMSUM", (2, 5), out=(2, 5), constants=(np.int32(1),), exclusive=True, reverse=True),
    case("PAD", (1, 3, 4, 2), out=(1, 6, 4, 3), constants=(np.array([[0, 0], [1, 2], [0, 0], [1, 0]], "i4"),)),
    case("MIRROR_PAD", (3, 4), out=(5, 4), constants=(np.array([[1, 1], [0, 0]], "i4"),), mode=0),
    case("CONCATENATION", (2, 3), (2, 4), out=(2, 7), axis=1),
    case("RESHAPE", (2, 6), out=(3, 4), constants=(i(3, 4),)),
    case("TRANSPOSE", (2, 3, 4), out=(4, 2, 3), constants=(i(2, 0, 1),)),
    case("STRIDED_SLICE", (4, 6), out=(2, 6), constants=(i(0, 0), i(4, 6), i(2, 1))),
    case("SPACE_TO_DEPTH", (1, 4, 6, 2), out=(1, 2, 3, 8), block_size=2),
    case("SPACE_TO_BATCH_ND", (1, 3, 4, 2), out=(4, 2, 2, 2), constants=(i(2, 2), np.array([[0, 1], [0, 0]], "i4"))),
    *(
        case(
            "RESIZE_BILINEAR", (1, 4, 5, 2), out=(1, 9, 7, 2), constants=(i(9, 7),), note=str(k),
            align_corners=k == 1, half_pixel_centers=k == 2,
        )
        for k in range(3)
    ),
    *(
        case(
            "RESIZE_NEAREST_NEIGHBOR", (1, 4, 5, 2), out=(1, 8, 9, 2), constants=(i(8, 9),), note=str(k),
            align_corners=k == 1, half_pixel_centers=k == 2,
        )
        for k in range(3)
    ),
]  # fmt: skip


def made(op, shapes, constants, out, options, first=0):
    """A file of one op."""
    b = Builder()
    fixed = [b.constant(f"c{n}", c, str(c.dtype)) for n, c in enumerate(constants)]
    x = [b.tensor(f"x{n}", s, "float32") for n, s in enumerate(shapes)]
    y = b.tensor("y", out, "float32")
    b.op(op, [*fixed[:first], *x, *fixed[first:]], [y], **options)
    return b.finish(x, [y])


@pytest.mark.parametrize("op, shapes, constants, out, options, first", CASES)
def test_op(op, shapes, constants, out, options, first, rng):
    data = made(op, shapes, constants, out, options, first)
    graph = parse(data, f"{op}.tflite")
    xs = [rng.normal(0, 1.5, (3, *s)).astype(np.float32) for s in shapes]
    rows = engines.litert_optimized_sequence(data, [[x[n] for x in xs] for n in range(3)])
    wanted = np.stack([row[graph.outputs[0]] for row in rows])
    trace = fxsim.simulate(graph, xs, "float32")
    assert error(trace.tensor(graph.outputs[0]), wanted) < BOUND
    exact = fxsim.simulate(graph, [x.astype(np.float64) for x in xs], "float64").tensor(graph.outputs[0])
    assert exact.dtype == np.float64
    assert error(exact, wanted) < BOUND


def network(rng, half=False):
    """A float network of ten layers; with ``half`` its weights are float16 and dequantized, as converters do."""
    b = Builder()
    x = b.tensor("x", (1, 24, 24, 3), "float32")

    def weight(*shape):
        values = (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        if not half:
            return b.constant(f"w{rng.integers(1 << 30)}", values, "float32")
        stored = b.constant(f"h{rng.integers(1 << 30)}", values, "float16")
        real = b.tensor(f"w{rng.integers(1 << 30)}", shape, "float32")
        b.op("DEQUANTIZE", [stored], [real], version=3)
        return real

    def layer(op, inputs, shape, **options):
        y = b.tensor(f"y{rng.integers(1 << 30)}", shape, "float32")
        b.op(op, inputs, [y], **options)
        return y

    y = layer("CONV_2D", [x, weight(8, 3, 3, 3), weight(8)], (1, 12, 12, 8), padding="SAME",
              **CONV | {"stride_h": 2, "stride_w": 2}, fused_activation_function="RELU6")  # fmt: skip
    for _ in range(3):
        z = layer("DEPTHWISE_CONV_2D", [y, weight(1, 3, 3, 8), weight(8)], (1, 12, 12, 8), padding="SAME",
                  **CONV, depth_multiplier=1, fused_activation_function="RELU")  # fmt: skip
        z = layer("CONV_2D", [z, weight(8, 1, 1, 8), weight(8)], (1, 12, 12, 8), padding="SAME", **CONV)
        y = layer("ADD", [y, z], (1, 12, 12, 8))
    y = layer("MEAN", [y, b.constant("axes", i(1, 2))], (1, 8))
    y = layer("FULLY_CONNECTED", [y, weight(10, 8), weight(10)], (1, 10))
    y = layer("SOFTMAX", [y], (1, 10), beta=1.0)
    return b.finish([x], [y])


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("engine", [engines.litert_xnnpack_sequence, engines.litert_reference_sequence])
def test_network(half, engine, rng):
    """Measured 2e-7."""
    data = network(rng, half)
    graph, x = parse(data, "float.tflite"), rng.normal(size=(4, 24, 24, 3)).astype(np.float32)
    rows = engine(data, [[x[n : n + 1]] for n in range(4)])
    wanted = np.concatenate([r[0] if isinstance(r, list) else r[graph.outputs[0]] for r in rows])
    assert error(fxsim.simulate(graph, x, "float32").tensor(graph.outputs[0]), wanted) < BOUND
