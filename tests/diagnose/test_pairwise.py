"""Two arithmetics held against each other: every verdict is checked on all inputs that there are."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from msgspec.structs import replace as named

from fxsim.diagnose.bounds import finals, summing
from fxsim.diagnose.cases import Case, layer_of
from fxsim.diagnose.explain import search
from fxsim.diagnose.explain_sums import Member
from fxsim.diagnose.explain_ways import Ways
from fxsim.diagnose.machines import HALF_ENDS, Machine, Work, machine, side_by_side
from fxsim.diagnose.pairwise import Side, driven, held_against
from fxsim.diagnose.quirks import REQUANTIZE
from fxsim.diagnose.separate import Separation
from fxsim.numerics import Accumulator, load_numerics
from tests.diagnose import layers
from tests.diagnose.devices import random_device
from tests.diagnose.test_bounds import SHAPES, WIDTHS, case_of, layer, summed

TINY = [  # sums of two neighbours pass 16 bits for some inputs, and come back
    ([[127, 127, -127, 101]], [-900], 3, range(-2, 4)),
    ([[5, -3, 2]], [1], -1, range(-3, 5)),
    ([[127, 127, 127, -128], [-128, 64, 1, 0]], [70, -30000], -128, range(-2, 3)),
]
REGISTERS = [
    *(Accumulator(b, "saturate", at=at) for b in (5, 14, 16) for at in ("step", "end")),
    *(Accumulator(b) for b in (4, 13, 32)),
]
FOLLOWED = [named(a, order=order, product_shift=shift) for a in REGISTERS
            for order in ("sequential", "pairs16", "spill16", "float16", "float32") for shift in (0, 3)]  # fmt: skip

PAIRS = 200


@pytest.mark.parametrize("shape", TINY)
def test_two_registers_reach_together_what_all_inputs_make(shape):
    rng, every = np.random.default_rng(0), layer(*shape, Accumulator())[1]
    plain, _ = layer(*shape, Accumulator())
    right, met, cover = summed(plain, every)[0], 0, np.ones(len(shape[0][0]), np.bool_)
    for a in FOLLOWED:
        of, _ = layer(*shape, a)
        made = summed(of, every)[0]
        for channel in range(made.shape[1]):
            machines = machine(of, channel, cover), machine(plain, channel, cover)
            joint = side_by_side(machines, Work())
            found = set(zip(*(v.tolist() for v in joint.accumulators), strict=True))
            assert found == set(zip(made[:, channel].tolist(), right[:, channel].tolist(), strict=True)), a
            for state in rng.integers(0, joint.states[-1].shape[1], 3):
                window = joint.inputs(int(state), rng) + of.input_range[0]
                at = np.flatnonzero(np.all(every[:, 0, 0] == window, axis=1))[0]
                assert [v[state] for v in joint.accumulators] == [made[at, channel], right[at, channel]]
                met += 1
    assert met


def test_a_machine_counts_infinities():
    of = Machine(
        Accumulator(overflow="saturate", order="float16"),
        [np.array([65000, -7]), np.array([600, -600, 3]), np.array([-32000])],
        5,
    )
    held = of.accumulators(side_by_side((of,), Work()).states[-1][0])
    assert held.max() == (1 << 31) - 1 and np.count_nonzero(held == held.max()) == 1  # 65600 is infinite for good
    s = np.array([65000])
    assert of.step(1, (s, s), 600)[0][0] >= HALF_ENDS
    assert of.step(2, of.step(1, (s, s), 600), -32000)[0][0] >= HALF_ENDS
    assert of.step(1, (s, s), -8)[0][0] == 64992


def test_too_many_states_are_not_followed():
    of, _ = layer(*TINY[0], Accumulator())
    followed = machine(of, 0, np.ones(4, np.bool_))
    assert side_by_side((followed,), Work(left=20)) is None
    assert side_by_side((Machine(Accumulator(), [np.arange(3000)], 0),), Work()) is None
    spent = Work(left=100)
    assert spent.spend(60, 60) and not spent.spend(30, 20) and not spent.spend(60, 60) and spent.left == 40
    assert (
        machine(replace(of, accumulator=Accumulator(8, "saturate", order="tree", lanes=2)), 0, np.ones(4, np.bool_))
        is None
    )


@pytest.mark.parametrize("shape", TINY)
@pytest.mark.parametrize("limit", ["activation", "wrap"])
@pytest.mark.parametrize("scale", [0.02, 2.0**-2])
def test_every_verdict_is_right_on_all_inputs(shape, limit, scale):
    case, users = case_of(*shape[:3], scale=scale)
    ways, rng, work = Ways(case, users), np.random.default_rng(1), Work()
    limited = named(users, requantize=named(users.requantize, limit=limit))
    rules = [q.apply(limited) for q in REQUANTIZE["rounding"] if dict(q.fields)["rounding"] in ("to_neg", "ties_even")]
    sides = []
    for n, a in enumerate(FOLLOWED):
        of, every = layer(*shape, a)
        way = ways.of(rules[n % len(rules)])
        sides.append((Side(of, way), way.of(summed(of, every)[0], of)))
    verdicts = {True: 0, False: 0, None: 0}
    for i, j in rng.permutation(list(combinations(range(len(sides)), 2)))[:PAIRS]:
        (one, right), (other, theirs) = sides[i], sides[j]
        found = held_against(one, other, work, rng)
        same = np.array_equal(right, theirs)
        verdicts[None if found is None else not found] += 1
        if found is not None:
            assert same == (not found), (one.layer.accumulator, other.layer.accumulator)
            for image in found:
                outs = [s.way.of(s.layer.watched(image)[0].reshape(-1, right.shape[1]), s.layer) for s in (one, other)]
                assert not np.array_equal(*outs)
    assert verdicts[True] > 5 and verdicts[False] > 5 and verdicts[None] == 0, verdicts


@pytest.mark.parametrize("shape", SHAPES)
def test_wrapping_registers_end_between_their_ends(shape):
    narrow = 0
    for a in (a for a in WIDTHS if a.overflow == "wrap"):
        for order in ("sequential", "pairs16", "spill16"):
            of, every = layer(*shape, named(a, order=order))
            acc, (low, high) = summed(of, every)[0], finals(of)
            assert np.all((low <= acc) & (acc <= high))
            narrow += int(np.count_nonzero((low == acc.min(axis=0)) & (high == acc.max(axis=0))))
    assert narrow > 10


def test_sums_driven_beyond_a_registers_end_show_it():
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (3, 72))
    case, users = case_of(weight, [100, -2000, 5], 40, scale=0.4)
    plain = layer_of(case.bound(users))
    of, told = replace(plain, accumulator=Accumulator(19, "saturate"), policy="saturate"), 0
    way = Ways(case, users).of(users)
    images = list(driven(Side(of, way), rng))
    for image in images:
        outs = [way.of(side.watched(image)[0].reshape(-1, 3), side) for side in (of, plain)]
        told += not np.array_equal(*outs)
    assert told == len(images) > 3


@pytest.mark.parametrize("width", [4, 5])
def test_what_follows_the_last_row_is_padding_with_zeros(width):
    """Trailing rows that are dropped read zeros; trailing columns read the row that follows."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (2, 2, 2, 1)).astype(np.int8)
    scales = (0.1, 0.02, 0.5)
    graph = layers.conv(weight, np.array([7, -5], np.int32), scales, (-13, 0), size=(7, width), stride=2)
    users = load_numerics("tflm").of("CONV_2D", "int8")
    case = Case(graph, graph.nodes[0], (), ())
    made = [layer_of(case.bound(named(users, operands=named(users.operands, **fields))))
            for fields in ({"odd": "dropped"}, {"padding": "zero"})]  # fmt: skip
    x = rng.integers(-128, 128, (1, 7, width, 1)).astype(np.int8)
    same = all(np.array_equal(*(of.accumulate(np.roll(x, n, 1)) for of in made)) for n in range(7))
    assert same == (width == 4) == (summing(made[0]) == summing(made[1]))


def test_noise_tells_what_rare_sums_tell():
    """A rounding of the last two elements alone, in windows that read on beyond the image: nothing is aimed at those."""
    d = random_device(361)
    plain = named(d.true, requantize=named(d.true.requantize, scheme="double_rounding"))
    blocks = named(plain.requantize, lanes=4, tail="ties_pos", lanes_over="elements")
    members = [Member(plain, 1), Member(named(plain, requantize=blocks), 2)]
    apart = Separation(d.case, members, Ways(d.case, d.users))
    found = apart.inputs()
    made = [[y[0].tobytes() for y in d.case.run(m.settings, found)] for m in members]
    assert len(apart.kinds) == 2 and found and made[0] != made[1]


def test_lanes_over_the_channels_of_one_row_are_lanes_over_its_elements():
    for rows in (1, 2):
        graph = layers.dense(np.ones((13, 4), np.int8), np.zeros(13, np.int32), (0.1, 0.02, 0.5), rows=rows)
        users = load_numerics("tflm").of("FULLY_CONNECTED", "int8")
        ways = Ways(Case(graph, graph.nodes[0], (), ()), users)
        laned = [q.apply(users) for q in REQUANTIZE["lanes"] if dict(q.fields)["lanes"] == 4]
        both = [{ways.of(s).key for s in laned if s.requantize.lanes_over == over} for over in ("channels", "elements")]
        assert (both[0] == both[1]) == (rows == 1)


def test_two_operands_that_a_device_has_wrong_are_found_where_other_arithmetics_fit_too():
    d = random_device(88)
    found = search(d.case, d.users).fitting
    assert Separation(d.case, found, Ways(d.case, d.users)).holds(d.true)
    assert len(found) > 1
