"""What ops without weights have to do: steps, rescales and bytes, counted by hand."""

import pytest

from fxsim.importers import parse
from fxsim.model.ops import work
from tests.build import Builder

AXIS = ("axis", [2])
QUANT = {"int8": (0.5, 3), "int16": (0.5, 0), "float32": (), "bool": ()}
SHAPE = (2, 3, 4)


def work_of(op: str, dtype: str, inputs=1, out=SHAPE, to=None, constants=(), **options):
    """The work of one op on tensors of shape ``(2, 3, 4)``."""
    b = Builder()
    ins = [b.tensor(f"x{i}", SHAPE, dtype, *QUANT[dtype]) for i in range(inputs)]
    made = to or dtype
    y = b.tensor("y", out, made, *QUANT.get(made, ()))
    graph = parse(b.op(op, [*ins, *(b.constant(*c) for c in constants)], [y], **options).finish(ins, [y]), op)
    return work(graph, graph.nodes[0])


@pytest.mark.parametrize(
    ("op", "dtype", "inputs", "options", "steps", "rescales"),
    [
        ("SUB", "int8", 2, {}, 24, 24),
        ("SUB", "float32", 2, {}, 24, 0),
        ("DIV", "int8", 2, {}, 24, 24),
        ("SQUARED_DIFFERENCE", "int8", 2, {}, 48, 24),
        ("MAXIMUM", "int8", 2, {}, 24, 0),
        ("RELU6", "int8", 1, {}, 24, 24),
        ("LEAKY_RELU", "int16", 1, {"alpha": 0.25}, 24, 24),
        ("NEG", "int8", 1, {}, 24, 0),
        ("TANH", "int8", 1, {}, 24, 0),
        ("TANH", "int16", 1, {}, 72, 0),
        ("SOFTMAX", "int8", 1, {"beta": 1.0}, 72, 24),
        ("SOFTMAX", "int16", 1, {"beta": 1.0}, 120, 24),
        ("L2_NORMALIZATION", "int8", 1, {"fused_activation_function": "NONE"}, 72, 24),
    ],
)
def test_element_by_element(op, dtype, inputs, options, steps, rescales):
    found = work_of(op, dtype, inputs, **options)
    width = {"int8": 1, "int16": 2, "float32": 4}[dtype]
    assert (found.elements, found.element_ops, found.requantized, found.macs) == (24, steps, rescales, 0)
    assert (found.input_bytes, found.output_bytes, found.weight_bytes) == (24 * width * inputs, 24 * width, 0)
    assert found.activation_bits == 8 * width


@pytest.mark.parametrize(("op", "rescales"), [("SUM", 6), ("MEAN", 6), ("REDUCE_PROD", 24), ("REDUCE_MAX", 0)])
def test_reductions_take_one_step_for_each_input(op, rescales):
    found = work_of(op, "int8", out=(2, 3), constants=[AXIS], keep_dims=False)
    assert (found.kind, found.elements, found.element_ops, found.requantized) == ("reduce", 6, 24, rescales)
    assert (found.input_bytes, found.output_bytes) == (24, 6)


def test_index_and_truth_outputs():
    arg = work_of("ARG_MAX", "int8", out=(2, 3), to="int32", constants=[("axis", 2)], output_type="INT32")
    assert (arg.element_ops, arg.requantized, arg.output_bytes) == (24, 0, 24)
    less = work_of("LESS", "int8", 2, to="bool")
    assert (less.element_ops, less.requantized, less.output_bytes, less.activation_bits) == (24, 24, 24, 8)
    assert work_of("LESS", "float32", 2, to="bool").requantized == 0
