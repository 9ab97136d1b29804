"""Ethos-U operations by hand: cycles for a given block, blocks, traffic, weight encoding and how weights are copied."""

import numpy as np
import pytest

from fxsim.cost import ethos_dma as dma
from fxsim.cost.ethos_area import input_unit
from fxsim.cost.ethos_array import Size
from fxsim.cost.ethos_blocks import Block, candidates, compiler_block
from fxsim.cost.ethos_cycles import mac_cycles, micro_block, operation_cycles
from fxsim.cost.ethos_ops import Operation
from fxsim.cost.ethos_traffic import Port, access, transfers
from fxsim.cost.ethos_weights import Weights
from fxsim.cost.npu import machine_of
from fxsim.targets import load_target

U55 = load_target("ethos-u55-128")
M = machine_of(U55.profile)


def core(name):
    return machine_of(load_target(name).profile).core


def convolution(out, c, kernel=3, **changes):
    op = Operation("conv", Size(*out), Size(out[0], out[1], c), kernel=(kernel, kernel), weights=True, bias=True)
    return op if not changes else type(op)(**{f: changes.get(f, getattr(op, f)) for f in op.__slots__})


def block(out, into, c=M.core, *, part=False, sparse=False):
    return Block(Size(*out), Size(*into), c.micro[0].size, part, sparse)


# cycles, given the block


def test_part_of_the_kernel_first():
    """ResNet-8's second layer: 32x32x16 from 16 channels, 3x3, in blocks of 5x16x16."""
    op, b = convolution((32, 32, 16), 16), block((5, 16, 16), (7, 18, 16), part=True)
    # N_wh = 5 * 8 = 40, 4 * 40 = 160 cycles a step; ceil(9/4) = 3 steps, N_d = 2, ceil(16/8) = 2: 160 * 3 * 2 * 2
    assert mac_cycles(op, b, M.core) == 1920
    c = operation_cycles(op, b, M.core, transfers(op, b, M.core, M.maps, M.maps, M.maps))
    # 32*16*2 micro-blocks / 80 = 12.8 blocks; output stage 0.5 * 1280 = 640 a block
    assert c.mac == 12.8 * 1920 + 640
    assert c.output_stage == 12.8 * 640 + 1920
    # first input 32 + 7*18*16/8 = 284, last output 32 + 1280/8 = 192; commands (92 + 1920 + 640) / 4 = 663 > 640
    assert c.total == 12.8 * 1920 + 663 + 284 + 192


def test_depth_first_waits_for_weights():
    """A dense layer of 640 inputs: N_wh = 1, so that 32 cycles of the weight decoder count, for 20 input blocks."""
    op, b = convolution((1, 1, 128), 640, 1), block((1, 2, 128), (1, 2, 32))
    assert mac_cycles(op, b, M.core) == 32 * 16 * 20
    c = operation_cycles(op, b, M.core, transfers(op, b, M.core, M.maps, M.maps, M.constants))
    assert c.mac == 10240 + 10 * 128 * 64 // 256  # fetching the scales takes longer than the output stage: 64


@pytest.mark.parametrize(
    ("name", "kind", "bits", "expected"),
    [
        ("ethos-u55-128", "depthwise", 8, 4 * 40 * 3 * 2),
        ("ethos-u55-128", "depthwise", 16, 4 * 40 * 2 * 3 * 2),
        ("ethos-u55-128", "pool", 8, 9 * 40 * 2 * 4),
        ("ethos-u55-32", "pool", 8, 9 * 80 * 4),  # micro-block 1x1x4, and no factor for the bits
        ("ethos-u65-512", "depthwise", 8, 4 * 24 * 3 * 2 // 2),  # two cores; micro-block 2x2x8
        ("ethos-u55-256", "conv", 8, 4 * 24 * 9 * 2),
        ("ethos-u65-512", "conv", 16, 4 * 24 * 9 * 2 // 2),
        ("ethos-u55-128", "sum", 32, 4 * 40 * 9 * 2),
    ],
)
def test_a_block_of_5x16x16(name, kind, bits, expected):
    c = core(name)
    op = convolution((32, 32, 16), 16, kind=kind, input_bits=bits, output_bits=bits)
    assert mac_cycles(op, block((5, 16, 16), (7, 18, 16), c), c) == expected


def test_nothing_hides_the_pipeline_of_a_single_micro_block():
    """2 cycles for each of 9 steps and micro-blocks but the first; 3 where 16 bits make wide sums on small arrays."""
    op, b = convolution((1, 2, 16), 16), block((1, 2, 16), (3, 4, 16))
    assert mac_cycles(op, b, M.core) == 32 * 9 * 2 + 2 * 8 * 2
    wide = convolution((1, 2, 16), 16, input_bits=16, output_bits=16)
    assert mac_cycles(wide, b, M.core) == 32 * 9 * 2 + 3 * 8 * 2
    small, tiny = core("ethos-u55-32"), Block(Size(1, 1, 4), Size(3, 3, 16), Size(1, 1, 4))
    assert mac_cycles(convolution((1, 1, 4), 16), tiny, small) == 16 * 9 + 3 * 9
    assert mac_cycles(convolution((1, 1, 4), 16, input_bits=16), tiny, small) == 16 * 9 + 7 * 9


def test_a_single_row_of_even_width_goes_four_at_a_time():
    c = core("ethos-u55-256")
    even, odd = (convolution((1, w, 16), 32, 1) for w in (24, 25))
    b = block((2, 24, 16), (2, 24, 32), c)
    assert micro_block(even, b, c) == Size(1, 4, 8) and micro_block(odd, b, c) == Size(2, 2, 8)
    assert mac_cycles(even, b, c) == max(32, 4 * 6) * 2
    assert mac_cycles(odd, b, c) == max(32, 4 * 12) * 2


def test_a_kernel_above_8x8_comes_in_parts():
    op, b = convolution((32, 32, 16), 16, 10), block((5, 16, 16), (12, 24, 16), part=True)
    # 64 + 16 + 16 + 4 taps: 16 + 4 + 4 + 1 steps
    assert mac_cycles(op, b, M.core) == 160 * 25 * 2 * 2


def test_u85_skips_two_of_four_weights():
    c = core("ethos-u85-256")
    op = convolution((16, 16, 16), 16)
    dense, sparse = (mac_cycles(op, block((8, 16, 16), (10, 18, 16), c, part=True, sparse=s), c) for s in (False, True))
    assert dense == 2 * sparse


def test_output_stage_rates():
    shape = Size(8, 8, 16)
    rates = {"add": 1.5, "multiply": 0.75, "max_pool": 0.25, "other": 0.5}
    for stage, rate in rates.items():
        op = Operation("elementwise", shape, shape, shape, stage=stage)
        c = operation_cycles(
            op,
            compiler_block(op, M.core),
            M.core,
            transfers(op, block((8, 8, 16), (8, 8, 16)), M.core, M.maps, M.maps, M.maps),
        )
        assert c.output_stage == rate * 1024, stage
    wide = Operation("elementwise", shape, shape, shape, input_bits=32, output_bits=32)
    unary = Operation("elementwise", shape, shape, input_bits=32, output_bits=32)
    for op, rate in ((wide, 1.25), (unary, 0.75)):
        c = operation_cycles(
            op,
            block((8, 8, 16), (8, 8, 16)),
            M.core,
            transfers(op, block((8, 8, 16), (8, 8, 16)), M.core, M.maps, M.maps, M.maps),
        )
        assert c.output_stage == rate * 1024


# blocks and bytes


def test_the_compiler_s_block_of_known_layers():
    """Of ResNet-8 and the keyword spotter, from Vela's debug database."""
    found = compiler_block(convolution((32, 32, 16), 16), M.core)
    assert (found.output, found.input, found.by_part) == (Size(5, 16, 16), Size(7, 18, 16), True)
    found = compiler_block(convolution((8, 8, 64), 64), M.core)
    assert (found.output, found.input, found.by_part) == (Size(8, 8, 16), Size(10, 10, 32), False)
    found = compiler_block(convolution((25, 5, 64), 64, 1), M.core)
    assert found.output == Size(9, 6, 32)


def test_inputs_are_read_again_for_each_block():
    op, b = convolution((8, 8, 64), 64), block((8, 8, 16), (10, 10, 32))
    a = access(op, b, M.core, M.maps, M.maps)
    assert a.input == 8 * 8 * 64 * 4  # 4 blocks of channels; the rim lies outside
    assert (a.output, a.refetch) == (8 * 8 * 64, 1)
    op, b = convolution((32, 32, 16), 16), block((5, 16, 16), (7, 18, 16), part=True)
    a = access(op, b, M.core, M.maps, M.maps)
    assert (a.input, a.refetch) == (7 * 18 * 16 * 14, 14)


def test_short_rows_waste_bursts():
    """Three channels, one after the other: 8 bytes of a burst of 32 are used. In bricks, 13 of 16 channels are padding."""
    linear = convolution((32, 32, 16), 3, linear_input=True)
    b = block((4, 32, 16), (6, 34, 8), part=True)
    assert access(linear, b, M.core, M.maps, M.maps).input == 6 * 32 * 3 * 8 * 4
    assert access(convolution((32, 32, 16), 3), b, M.core, M.maps, M.maps).input == 6 * 32 * 16 * 8


def test_candidates_do_not_depend_on_the_size_of_the_output():
    small, large = (set(candidates(convolution((n, n, 128), 32), M.core)) for n in (16, 200))
    assert small <= large and len(small) > 50
    assert {b.by_part for b in large} == {False, True}


# weights


def test_weights_that_say_nothing_take_nothing():
    rng = np.random.default_rng(1)
    shape = (64, 3, 3, 32)
    size = {
        "zeros": np.zeros(shape, np.int16),
        "two": rng.choice([-5, 5], shape).astype(np.int16),
        "small": rng.integers(-7, 8, shape).astype(np.int16),
        "any": rng.integers(-127, 128, shape).astype(np.int16),
    }
    raw = 64 * 9 * 32
    found = {k: Weights(v).encoded_bytes("deep", 8, 32, 1, 1) for k, v in size.items()}
    assert found["zeros"] < 0.01 * raw * 8
    assert found["two"] == pytest.approx(raw / 8, rel=0.02)  # a bit each
    assert found["small"] == pytest.approx(raw / 2, rel=0.02)  # an index of 4 bits
    assert found["any"] == pytest.approx(raw, rel=0.02)
    assert all(n % 16 == 0 for n in found.values())


def test_groups_of_weights_choose_their_code():
    """One half of the channels is small, the other large: cheaper than the same values mixed."""
    rng = np.random.default_rng(2)
    w = rng.integers(-127, 128, (64, 1, 1, 256)).astype(np.int16)
    w[:32] //= 60
    parted = Weights(w).encoded_bytes("deep", 8, 32, 1, 1)
    mixed = Weights(rng.permutation(w.ravel()).reshape(w.shape)).encoded_bytes("deep", 8, 32, 1, 1)
    assert parted < 0.95 * mixed


def test_padding_is_stored_too():
    w = np.random.default_rng(3).integers(-127, 128, (64, 3, 3, 1)).astype(np.int16)
    assert Weights(w).encoded_bytes("depthwise", 8, 1, 4, 1) > 64 * 9
    assert Weights(w[:, :, :, [0] * 3]).encoded_bytes("part", 8, 8, 4, 1) > 64 * 27


def test_two_of_four():
    w = np.ones((4, 1, 1, 8), np.int16)
    assert not Weights(w).two_of_four()
    w[..., ::2] = 0
    assert Weights(w).two_of_four()
    assert Weights(np.ones((4, 3, 3, 2), np.int16)).two_of_four()  # two of four channels are not there


FLASH, SRAM = Port("flash", 1.0, 128, 64, 0, 1 << 26), Port("sram", 8.0, 32, 32, 32, 1 << 22)


def test_weights_read_once_stay_where_they_are():
    s = dma.Stored(4096, 640, 160, 64, 64, 8)
    assert not dma.copies(s, 1, 2000, 2000, FLASH, SRAM, 0)
    assert dma.in_place(s, 1, 2000, FLASH).flows[0].read_bytes == 4096
    assert not dma.copies(s, 4, 2000, 2000, SRAM, SRAM, 10**6)


def test_weights_read_once_are_copied_where_the_wait_is_short():
    """A dense layer of 128 channels on U85-256: as Vela has it for two layers of the autoencoder in DRAM_High."""
    dram, sram = Port("dram", 24.0, 128, 500, 250, 1 << 26, (2.56,) * 7), Port("sram", 64.0, 64, 32, 32, 1 << 19)
    first, second = dma.Stored(7552, 1280, 160, 128, 128, 8), dma.Stored(7216, 1280, 160, 128, 128, 8)
    assert dma.copies(first, 1, 4289, 2085, dram, sram, 2085)
    assert not dma.copies(second, 1, 4289, 2085, dram, sram, 1042)  # waits 1010 cycles for each of two slices
    assert dma.copies(second, 1, 4289, 2085, dram, sram, 3591)


def test_padding_of_slices_costs_what_zeros_cost():
    """Slices of 16 of 64 channels, each padded to 32: 32 channels of zeros more."""
    coded, plain = (dma.Stored(4096, 640, 160, 64, 64, 32, n) for n in (16, 64))
    written = [sum(f.write_bytes for f in dma.copied(s, 2, 500, FLASH, SRAM, 0).flows if f.tensor == "weights")
               for s in (coded, plain)]  # fmt: skip
    assert written == [4096 + 32 * 16, 4096 + 32 * 64]


def test_weights_read_again_are_copied_under_the_layer_before():
    s = dma.Stored(4096, 640, 160, 64, 64, 8)
    assert dma.copies(s, 4, 2000, 2000, FLASH, SRAM, 10_000)
    plan = dma.copied(s, 4, 2000, FLASH, SRAM, 10_000)
    moved = {(f.memory, f.tensor): (f.read_bytes, f.write_bytes) for f in plan.flows}
    assert moved == {
        ("flash", "weights"): (4096, 0),
        ("flash", "bias"): (640, 0),
        ("sram", "weights"): (4 * 4096, 4096),
        ("sram", "bias"): (4 * 640, 640),
    }
    assert plan.exposed_cycles == 0 and plan.hidden_bytes == 4736 and plan.slack == 2000


def test_what_does_not_hide_is_seen():
    """4736 bytes at 1 a cycle and 64 of latency: 4800; a slice of 16 of 64 channels is a quarter of it."""
    s = dma.Stored(4096, 640, 160, 64, 16, 8)
    plan = dma.copied(s, 4, 8000, FLASH, SRAM, 200)
    assert plan.exposed_cycles == 4800 // 4 - 200
    assert plan.dma_cycles == 4800 - 200 + plan.slack
    assert 0 < plan.slack < 8000  # of the last slice


def test_scales_of_each_core_are_rounded_up():
    assert dma.scale_bytes(64, 1, 10) == 640
    assert dma.scale_bytes(10, 1, 10) == 112
    assert dma.scale_bytes(10, 2, 10) == 64 + 64
    assert dma.scale_bytes(1, 2, 10) == 16


# U85: blocks of operations that keep channels apart; all as in Vela's debug databases


@pytest.mark.parametrize(
    ("name", "kind", "out", "into", "kernel", "expected"),
    [
        ("ethos-u85-256", "depthwise", (25, 5, 64), (25, 5, 64), (3, 3), ((25, 6, 16), (28, 8, 16))),
        ("ethos-u85-1024", "depthwise", (25, 5, 64), (25, 5, 64), (3, 3), ((26, 8, 64), (28, 10, 64))),
        ("ethos-u85-256", "pool", (1, 1, 64), (8, 8, 64), (8, 8), ((1, 2, 64), (8, 9, 64))),
        ("ethos-u85-1024", "pool", (1, 1, 64), (25, 5, 64), (25, 5), ((2, 4, 64), (9, 8, 64))),
        ("ethos-u85-256", "sum", (1, 1, 1), (1, 1, 12), (1, 1), ((1, 4, 16), (1, 4, 32))),
    ],
)
def test_blocks_that_keep_channels_apart(name, kind, out, into, kernel, expected):
    bits = 32 if kind == "sum" else 8
    op = Operation(kind, Size(*out), Size(*into), kernel=kernel, input_bits=bits, weights=kind == "depthwise")
    found = compiler_block(op, core(name))
    assert (tuple(found.output), tuple(found.input)) == expected


@pytest.mark.parametrize(
    ("name", "micro", "expected"),
    [
        ("ethos-u85-256", (2, 2, 8), [(2, 2, 16), (1, 2, 32), (1, 1, 64)]),
        ("ethos-u85-256", (1, 4, 8), [(1, 4, 16), (1, 2, 32), (1, 1, 64)]),
        ("ethos-u85-1024", (2, 2, 32), [(2, 4, 16), (2, 2, 32), (1, 2, 64)]),
        ("ethos-u85-1024", (1, 4, 32), [(2, 4, 16), (1, 4, 32), (1, 2, 64)]),
        ("ethos-u85-2048", (4, 4, 16), [(4, 4, 16), (2, 4, 32), (2, 2, 64)]),
        ("ethos-u85-2048", (1, 4, 64), [(4, 4, 16), (2, 4, 32), (1, 4, 64)]),
        ("ethos-u85-128", (1, 2, 8), [(1, 2, 16), (1, 1, 32), (1, 1, 32)]),
    ],
)
def test_deeper_input_blocks_have_fewer_pixels(name, micro, expected):
    assert [input_unit(core(name), Size(*micro), bits) for bits in (128, 256, 512)] == expected


def test_no_block_that_keeps_channels_apart_is_larger_than_its_memories():
    rng = np.random.default_rng(1)
    for name in ("ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048"):
        c = core(name)
        for _ in range(40):
            h, w, d, k = (int(n) for n in rng.integers((1, 1, 1, 1), (97, 97, 300, 9)))
            op = Operation("depthwise", Size(h, w, d), Size(h, w, d), kernel=(k, k), weights=True)
            b = compiler_block(op, c)
            assert b.output.elements * 4 <= c.buffers[3], (name, op)
            unit = input_unit(c, b.micro, 8 * b.output.d)
            whole = np.prod([-(-n // u) * u for n, u in zip(op.input, unit, strict=True)])
            assert min(b.input.elements, whole) <= c.buffers[2], (name, op)
            assert all(n % u == 0 for n, u in zip(b.output, (*b.micro[:2], 16), strict=True))


def test_sparse_weights_are_counted_as_dense_ones_are(monkeypatch):
    """The two ways to count values, by all weights and by those that are not zero, agree."""
    from fxsim.cost import ethos_weights

    rng = np.random.default_rng(2)
    for shape, order, micro, deep, taps in (
        ((40, 3, 3, 50), "part", 8, 8, 4), ((70, 1, 1, 300), "deep", 8, 32, 1), ((30, 1, 1, 200), "deep", 4, 64, 1),
        ((90, 3, 3, 1), "depthwise", 8, 1, 4), ((600, 1, 1, 600), "deep", 8, 16, 1),
    ):  # fmt: skip
        w = (rng.integers(-127, 128, shape) * (rng.random(shape) < 0.02)).astype(np.int8)
        sizes = []
        for threshold in (1, 10**9):
            monkeypatch.setattr(ethos_weights, "SPARSE", threshold)
            sizes.append(Weights(w).encoded_bytes(order, micro, deep, taps, 2))
        assert sizes[0] == sizes[1] > 0
