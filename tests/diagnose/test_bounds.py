"""What sums can reach, held against every window that there is."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from msgspec.structs import replace as named

from fxsim.diagnose import quirks
from fxsim.diagnose.bounds import ends, finals, products, register, summing
from fxsim.diagnose.cases import Case, layer_of
from fxsim.diagnose.explain_ways import Ways
from fxsim.diagnose.sameness import hidden, plainer, steps_of
from fxsim.diagnose.windows import alone
from fxsim.numerics import Accumulator, load_numerics
from tests.diagnose import layers

WIDTHS = [Accumulator(), *(Accumulator(b, p, at=at) for b in range(8, 20) for p, at in
          (("wrap", "step"), ("saturate", "step"), ("saturate", "end")))]  # fmt: skip
ORDERS = ("sequential", "pairs16", "spill16", "float32", "float16")


def case_of(weight, bias, zero, out_zero=3, scale=0.05) -> tuple[Case, object]:
    graph = layers.dense(np.array(weight, np.int8), np.array(bias, np.int32), (0.1, 0.02, scale), (zero, out_zero))
    users = load_numerics("tflm").of("FULLY_CONNECTED", "int8")
    x = np.zeros(graph.tensors[0].shape, np.int8)
    node = graph.nodes[0]
    case = Case(graph, node, ((x, *(graph.tensors[i].data for i in node.inputs[1:])),), ())
    return case.more((), case.run(users)), users


def layer(weight, bias, zero, values, accumulator):
    """A dense layer whose inputs are among few values, and all its windows ``(windows, 1, 1, taps)``."""
    case, users = case_of(weight, bias, zero)
    made = layer_of(case.bound(users))
    low, high = min(values), max(values)
    every = np.array(list(product(values, repeat=made.weight.shape[2])), np.int8)
    return replace(made, input_range=(low, high), accumulator=accumulator), every[:, np.newaxis, np.newaxis, :]


def summed(of, every):
    acc, seen = alone(of, len(every)).watched(every)
    return acc.reshape(len(every), -1), seen


SHAPES = [  # weights, bias, zero point, inputs: both ends are among them, so that every bound can be reached
    ([[127, -127, 127], [3, 5, -100]], [2000, -1999], -128, (-128, -5, 0, 127)),
    ([[127, 127, 127, 127]], [-32000], -128, (-128, 3, 127)),
    ([[-127, -127, 127, 127], [1, 0, 0, 0]], [100, 0], 127, (-128, 0, 127)),
    ([[64, -128, 90, -7, 127]], [-900], 0, (-128, 1, 127)),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [*ORDERS, "tree", "lanes"])
@pytest.mark.parametrize("shift", [0, 3])
def test_the_ends_are_reached_and_never_passed(shape, order, shift):
    lanes = 2 if order in ("tree", "lanes") else 0
    for overflow, bits in (("wrap", 63), ("saturate", 14), ("saturate", 16)):
        a = Accumulator(bits, overflow, order=order, lanes=lanes, product_shift=shift, product_rounding="ties_pos")
        of, every = layer(*shape, a)
        (low, high), (least, most) = ends(of).running, ends(of).final
        acc, seen = summed(of, every)
        assert np.array_equal(least, acc.min(axis=0)) and np.array_equal(most, acc.max(axis=0))
        assert np.array_equal(low, seen[:, 0]) and np.array_equal(high, seen[:, 1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [0, 4])
def test_registers_are_called_the_same_only_where_no_input_tells_them_apart(shape, shift):
    made = {}
    for order, width in product(ORDERS, WIDTHS):
        a = named(width, order=order, product_shift=shift)
        of, every = layer(*shape, a)
        made.setdefault(register(of), []).append((a, summed(of, every)[0]))
    assert len(made) > 10
    for rows in made.values():
        for a, acc in rows[1:]:
            assert np.array_equal(acc, rows[0][1]), (a, rows[0][0])
    if not shift:  # and each width that is not proved to be enough is too small for some input
        free = made[None][0][1]
        for key, rows in made.items():
            for a, acc in rows:
                if key is not None and a.order == "sequential":
                    assert not np.array_equal(acc, free), a


def test_a_float_register_that_saturates_before_the_bias_is_no_register_that_does_at_the_end():
    shape = [[127, 127, 127, 127]], [-32000], -128, (-128, 3, 127)
    float32 = Accumulator(15, "saturate", order="float32")
    one, every = layer(*shape, float32)
    other, _ = layer(*shape, named(float32, order="sequential", at="end"))
    assert not np.array_equal(summed(one, every)[0], summed(other, every)[0])
    assert summing(one) != summing(other)


def test_ends_of_a_layer_whose_windows_are_never_whole():
    """Every window of a 2 by 2 image under a kernel of 3 by 3 misses five taps; the four see different ones."""
    weight = np.arange(1, 10, dtype=np.int8).reshape(1, 3, 3, 1) * 7
    graph = layers.conv(weight, np.array([5], np.int32), (0.1, 0.02, 0.5), (-128, 0), size=(2, 2))
    node = graph.nodes[0]
    settings = load_numerics("tflm").of("CONV_2D", "int8")
    of = layer_of(Case(graph, node, (), ()).bound(settings))
    least, most = finals(of)
    assert (least[0], most[0]) == (5, 5 + 255 * 7 * (5 + 6 + 8 + 9))
    full = of.accumulate(np.full((1, 2, 2, 1), 127, np.int8))
    assert full.max() == most[0]


def test_products_are_those_of_the_kernel():
    a = Accumulator(product_shift=3, product_rounding="ties_pos")
    of, _ = layer([[127, -127, 3], [3, 5, -100]], [0, 0], -7, (-128, 127), a)
    least, most = products(of)
    x = np.array([-128, 127]) + 7
    made = (of.weight.reshape(3, 2)[..., np.newaxis].astype(int) * x + 4) >> 3
    assert np.array_equal(least, made.min(axis=-1)) and np.array_equal(most, made.max(axis=-1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("shift", [0, 2])
def test_saturation_is_called_hidden_only_where_no_output_shows_it(shape, scale, shift):
    case, users = case_of(*shape[:3], scale=scale)
    ways = Ways(case, users)
    way, found = ways.of(users), []
    for order in ORDERS:
        free, every = layer(*shape, Accumulator(order=order, product_shift=shift))
        right, clamped = way.of(summed(free, every)[0], free), steps_of(way, free, finals(free)).clamped
        for a in WIDTHS:
            of = replace(free, accumulator=named(a, order=order, product_shift=shift))
            simple, made = plainer(of, clamped), way.of(summed(of, every)[0], of)
            assert np.array_equal(made, way.of(summed(simple, every)[0], of)), of.accumulator
            if a.overflow == "saturate":
                found.append(hidden(of, clamped))
                assert not found[-1] or np.array_equal(made, right), of.accumulator
    assert len(set(found)) == 2


def test_every_quirk_of_the_sum_has_a_direction():
    """Bounds rest on it: nothing that the search tries rounds or saturates a product the other way."""
    rules = {dict(q.fields).get("product_rounding", "to_neg") for several in quirks.SUMS.values() for q in several}
    for a, b in combinations(range(-600, 600, 7), 2):
        if b - a > 40:
            continue
        assert a >> 3 <= b >> 3 and (a + 4) >> 3 <= (b + 4) >> 3
    assert rules <= {"to_neg", "ties_pos"}
