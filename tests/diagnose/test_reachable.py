"""Which accumulators inputs can make, held against all inputs; and inputs made for one."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from fxsim.diagnose.cases import Case, layer_of
from fxsim.diagnose.reachable import Chain, reached
from fxsim.diagnose.separate_inputs import Aim, at, image_shape, last_spots, spots, write_window
from fxsim.diagnose.windows import summed
from fxsim.numerics import Accumulator, load_numerics
from tests.diagnose import layers


def slowly(tables, start, ends, last_alone):
    """Every sum, and the choices that make it."""
    made = {}
    for chosen in product(range(tables.shape[1]), repeat=len(tables)):
        s = start
        for n, i in enumerate(chosen):
            s += int(tables[n, i])
            if ends and (not last_alone or n == len(tables) - 1):
                s = min(max(s, ends[0]), ends[1])
        made.setdefault(s, set()).add(chosen)
    return made


@pytest.mark.parametrize("ends", [None, (-32, 31), (-20, 20)])
@pytest.mark.parametrize("last_alone", [False, True])
def test_a_chain_knows_all_its_sums_and_how_to_make_them(ends, last_alone):
    rng = np.random.default_rng(0)
    for n in range(40):
        taps, inputs = rng.integers(1, 5), rng.integers(1, 6)
        tables = rng.integers(-40, 40, (taps, inputs))
        if n % 2:
            tables = rng.integers(-9, 10, (taps, 1)) * np.arange(-2, inputs - 2)
        chain, right = Chain(tables, 3, ends, last_alone), slowly(tables, 3, ends, last_alone)
        assert chain.sums.tolist() == sorted(right)
        assert chain.span == (min(right), max(right))
        for target in range(-60, 61):
            found = chain.solve(target, rng)
            assert tuple(found.tolist()) in right[target] if target in right else found is None


def prepared(kind, accumulator=None, **options):
    rng = np.random.default_rng(1)
    scales, zeros, bias = (0.1, 0.02, 0.5), (-9, 0), np.array([700, -31], np.int32)
    if kind == "dense":
        graph = layers.dense(rng.integers(-127, 128, (2, options["taps"])).astype(np.int8), bias, scales, zeros, rows=3)
    else:
        graph = layers.conv(
            rng.integers(-127, 128, (2, 3, 3, 1)).astype(np.int8), bias, scales, zeros, size=(4, 4), stride=2
        )
    node = graph.nodes[0]
    made = layer_of(Case(graph, node, (), ()).bound(load_numerics("tflm").of(node.op, "int8")))
    return made if accumulator is None else replace(made, accumulator=accumulator, policy=accumulator.overflow)


@pytest.mark.parametrize("accumulator", [
    Accumulator(), Accumulator(product_shift=4, product_rounding="ties_pos"), Accumulator(14, "saturate"),
    Accumulator(14, "saturate", at="end"),
])  # fmt: skip
def test_what_two_taps_reach(accumulator):
    layer = prepared("dense", accumulator, taps=2)
    every = np.array(list(product(range(-128, 128), repeat=2)), np.int8)[:, np.newaxis, np.newaxis, :]
    made, slow = summed(layer, every), reached(layer)
    for channel, reach in enumerate(slow):
        assert np.array_equal(reach.sums, np.unique(made[:, channel]))
        assert (reach.low, reach.high) == (made[:, channel].min(), made[:, channel].max())
        ranks, count = reach.ranks(np.array([reach.low, reach.high + 1]))
        assert ranks.tolist() == [0, count] and count == len(reach.sums)


@pytest.mark.parametrize("accumulator", [
    Accumulator(), Accumulator(product_shift=4), Accumulator(order="pairs16"), Accumulator(18, "saturate"),
    Accumulator(order="pairs16", product_shift=3), Accumulator(order="spill16"),
])  # fmt: skip
@pytest.mark.parametrize("taps", [5, 40])
def test_aims_are_met(accumulator, taps):
    """The register itself says so: what is drawn from its accumulators is made again."""
    layer, rng = prepared("dense", accumulator, taps=taps), np.random.default_rng(2)
    drawn = rng.integers(-40, 41, (20, 1, 1, taps)).astype(np.int8)
    met = 0
    for target in summed(layer, drawn)[:, 1].tolist():
        window = Aim(layer, ([0], [0]), 1).window(target, rng)
        if window is not None:
            met += 1
            assert summed(layer, window[np.newaxis])[0, 1] == target
    assert met >= 19


def test_what_no_input_makes_is_not_made():
    layer = prepared("dense", taps=2)
    sums = reached(layer)[0].sums
    missing = int(sums[np.flatnonzero(np.diff(sums) > 1)[0]]) + 1
    assert Aim(layer, ([0], [0]), 0).window(missing, np.random.default_rng(0)) is None


def test_windows_at_an_edge_land_where_they_are_meant():
    layer, rng = prepared("conv"), np.random.default_rng(3)
    g, last = layer.geometry, last_spots(layer, 1, 1)
    assert last == [at(layer, 0, g.out_h - 1, g.out_w - 1)] and len(last[0][3][0]) < 3
    assert last_spots(layer, 1, 0) == [] and len(last_spots(layer, 3, 1)) == 2
    for spot in (*last, *spots(layer)):
        aim = Aim(layer, spot[3], 1)
        target = aim.rest + int(aim.tables[:, 77].sum())
        image = np.full(image_shape(layer), layer.x_zero, np.int8)
        write_window(layer, image, spot, aim.window(target, rng))
        assert layer.accumulate(image)[spot[0], spot[1], spot[2], 1] == target
