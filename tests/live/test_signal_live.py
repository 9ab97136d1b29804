"""The audio front end of TensorFlow Lite for Microcontrollers: every bit of every op, over sequences where it remembers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.importers import parse
from fxsim.sim import simulate
from tests import engines
from tests.build import Builder
from tests.live.cases import Array, Model, Values, explore, shapes

pytestmark = pytest.mark.live
KINDS = st.sampled_from(["random", "random", "edges", "low", "high", "ramp", "small"])
RANGES = {"uint32": (1 << 32) - 1, "uint64": (1 << 64) - 1}


@pytest.fixture
def tflm(tallies):
    """``tflm(op)``: a tally for what only TFLM has; skips where it is not installed."""
    pytest.importorskip("tflite_micro", reason="needs tflite_micro (the test extra)")
    return lambda op: tallies(op, "tflm")


def fill(kind: str, seed: int, shape: tuple[int, ...], dtype: str) -> Array:
    """Values of any type; unsigned ones spread over all magnitudes."""
    if dtype == "float32":
        return np.random.default_rng(seed).normal(0, 10.0 ** (seed % 9 - 4), shape).astype(np.float32)
    if dtype in RANGES:
        rng, most = np.random.default_rng(seed), RANGES[dtype]
        bits = rng.integers(0, most.bit_length() + 1, shape)
        near = [
            [0, 1, 2, 3, most, most - 1, most >> 1, (most >> 1) + 1][i]
            for i in rng.integers(0, 8, np.prod(shape, dtype=int))
        ]
        drawn = [
            int(v) >> (64 - int(b)) if b else 0
            for v, b in zip(rng.integers(0, 1 << 63, bits.size) * 2 + 1, bits.flat, strict=True)
        ]
        mixed = [e if rng.integers(0, 4) == 0 else d & most for e, d in zip(near, drawn, strict=True)]
        return np.array(mixed, dtype).reshape(shape)
    return Values(kind, seed).fill(shape, dtype)


class Graph:
    """One signal op: tensors in, tensors out, constants."""

    def __init__(self) -> None:
        self.b = Builder()
        self.given: list[tuple[int, tuple[int, ...], str]] = []

    def input(self, shape: tuple[int, ...], dtype: str) -> int:
        self.given.append((self.b.tensor(f"x{len(self.given)}", shape, dtype), shape, dtype))
        return self.given[-1][0]

    def run(
        self, tally: Any, op: str, ins: list[int], outs: list[tuple[tuple[int, ...], str]], options: Any, draw: Any
    ) -> None:
        """Holds a sequence of inferences, and a second run of the first, against the engine."""
        tally.cases += 1
        made = [self.b.tensor(f"y{i}", *o) for i, o in enumerate(outs)]
        content = self.b.custom(op, ins, made, options).finish([g[0] for g in self.given], made)
        kind, seed, count = draw
        sequence = [
            [fill(kind, seed + 10 * n + i, s, t) for i, (_, s, t) in enumerate(self.given)] for n in range(count)
        ]
        wanted = engines.tflm_sequence(content, sequence)
        stacked = [np.stack([step[i] for step in sequence]) for i in range(len(self.given))]
        trace = simulate(parse(content, op), stacked, "tflm")
        flags = [i for i, o in enumerate(outs) if o[1] == "bool"]
        for n, step in enumerate(wanted):
            valid = all(bool(step[i]) for i in flags)
            for i, (index, expected) in enumerate(zip(made, step, strict=True)):
                if valid or i in flags:  # an output that is not valid is memory that nobody wrote
                    got = trace.tensor(index)[n].reshape(expected.shape)
                    assert got.dtype == expected.dtype
                    wrong = np.argwhere(got.reshape(-1).view(np.uint8) != expected.reshape(-1).view(np.uint8))
                    assert not wrong.size, f"{op}, inference {n}: {len(wrong)} of {got.nbytes} bytes, first {wrong[0]}"
                    tally.elements += got.size


DRAWN = st.tuples(KINDS, st.integers(0, 9999), st.integers(1, 7))
LENGTHS = st.sampled_from([4, 6, 8, 10, 12, 16, 20, 24, 30, 32, 50, 60, 64, 90, 128, 160, 256, 480, 512])
ELEMENTS = st.sampled_from([("int16", 7), ("int32", 2), ("float32", 0)])


@st.composite
def windows(draw: Any) -> Any:
    outer, n, shift = draw(shapes(0, 2, 3)), draw(st.integers(1, 40)), draw(st.integers(0, 16))
    weights = fill(draw(KINDS), draw(st.integers(0, 99)), (n,), "int16")

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        shape = (*outer, n)
        ins = [g.input(shape, "int16"), g.b.constant("weights", weights, "int16")]
        g.run(tally, "SignalWindow", ins, [(shape, "int16")], {"shift": shift}, drawn)

    return run, (outer, n, shift), draw(DRAWN)


@st.composite
def scales(draw: Any) -> Any:
    n = draw(st.integers(1, 40))

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        g.run(tally, "SignalFftAutoScale", [g.input((n,), "int16")], [((n,), "int16"), ((), "int32")], {}, drawn)

    return run, n, draw(DRAWN)


@st.composite
def transforms(draw: Any, op: str) -> Any:
    outer, n, (dtype, code) = draw(shapes(0, 1, 3)), draw(LENGTHS), draw(ELEMENTS)
    samples = draw(st.integers(max(1, n // 2), n))

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        time, frequency = (*outer, samples if op == "SignalRfft" else n), (*outer, n + 2)
        x, y = (time, frequency) if op == "SignalRfft" else (frequency, time)
        g.run(tally, op, [g.input(x, dtype)], [(y, dtype)], {"T": code, "fft_length": n}, drawn)

    return run, (outer, n, dtype, samples), draw(DRAWN)


@st.composite
def framers(draw: Any) -> Any:
    outer, step, n = draw(shapes(0, 1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    size, prefill = draw(st.integers(step, 4 * step)), draw(st.booleans())

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        outs = [((*outer, n, size), "int16"), ((), "bool")]
        options = {"frame_size": size, "frame_step": step, "prefill": prefill}
        g.run(tally, "SignalFramer", [g.input((*outer, n * step), "int16")], outs, options, drawn)

    return run, (outer, step, n, size, prefill), draw(DRAWN)


@st.composite
def overlaps(draw: Any) -> Any:
    outer, size, n = draw(shapes(0, 1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    step, (dtype, code) = draw(st.integers(1, size)), draw(st.sampled_from([("int16", 7), ("float32", 0)]))

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        x = g.input((*outer, n, size), dtype)
        g.run(tally, "SignalOverlapAdd", [x], [((*outer, n * step), dtype)], {"T": code, "frame_step": step}, drawn)

    return run, (outer, size, n, step, dtype), draw(DRAWN)


@st.composite
def delays(draw: Any) -> Any:
    outer, n, late = draw(shapes(0, 1, 3)), draw(st.integers(1, 12)), draw(st.integers(0, 30))

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        shape = (*outer, n)
        g.run(tally, "SignalDelay", [g.input(shape, "int16")], [(shape, "int16")], {"delay_length": late}, drawn)

    return run, (outer, n, late), draw(DRAWN)


@st.composite
def stackers(draw: Any) -> Any:
    channels, left, right = draw(st.integers(1, 8)), draw(st.integers(0, 3)), draw(st.integers(0, 3))
    step = draw(st.integers(1, left + right + 1))

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        outs = [((channels * (left + right + 1),), "int16"), ((), "bool")]
        options = {"num_channels": channels, "stacker_left_context": left, "stacker_right_context": right}
        g.run(tally, "SignalStacker", [g.input((channels,), "int16")], outs, options | {"stacker_step": step}, drawn)

    return run, (channels, left, right, step), draw(DRAWN)


@st.composite
def energies(draw: Any) -> Any:
    bins = draw(st.integers(1, 40))

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        options = {"start_index": 0, "end_index": bins}
        g.run(tally, "SignalEnergy", [g.input((2 * bins,), "int16")], [((bins,), "uint32")], options, drawn)

    return run, bins, draw(DRAWN)


@st.composite
def banks(draw: Any) -> Any:
    """Channels that overlap, some of no width; weights of any sign."""
    channels, bins = draw(st.integers(1, 6)), draw(st.integers(1, 30))
    starts = [draw(st.integers(0, bins - 1)) for _ in range(channels + 1)]
    widths = [draw(st.integers(0, bins - s)) for s in starts]
    offsets = np.concatenate([[0], np.cumsum(widths)])[:-1]
    kinds = draw(KINDS), draw(KINDS), draw(st.integers(0, 99))

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        n = max(1, sum(widths))
        rising, falling = (fill(k, kinds[2] + i, (n,), "int16") for i, k in enumerate(kinds[:2]))
        tables = [rising, falling, starts, offsets, widths]
        ins = [g.input((bins,), "uint32"), *(g.b.constant(f"t{i}", t, "int16") for i, t in enumerate(tables))]
        g.run(tally, "SignalFilterBank", ins, [((channels,), "uint64")], {"num_channels": channels}, drawn)

    return run, (channels, bins, starts, widths), draw(DRAWN)


@st.composite
def roots(draw: Any) -> Any:
    n, bits = draw(st.integers(1, 40)), draw(st.integers(0, 12))

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        ins = [g.input((n,), "uint64"), g.b.constant("scale_bits", bits)]
        g.run(tally, "SignalFilterBankSquareRoot", ins, [((n,), "uint32")], {}, drawn)

    return run, (n, bits), draw(DRAWN)


@st.composite
def subtractions(draw: Any) -> Any:
    n, weight = draw(st.integers(1, 12)), st.integers(0, 1 << 14)
    options = {
        k: draw(weight)
        for k in ("smoothing", "one_minus_smoothing", "alternate_smoothing", "alternate_one_minus_smoothing")
    }
    options |= {"min_signal_remaining": draw(weight), "clamping": draw(st.booleans()), "num_channels": n}
    options |= {"smoothing_bits": draw(st.integers(0, 12)), "spectral_subtraction_bits": draw(st.integers(8, 16))}

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        outs = [((n,), "uint32")] * 2
        g.run(tally, "SignalFilterBankSpectralSubtraction", [g.input((n,), "uint32")], outs, options, drawn)

    return run, options, draw(DRAWN)


@st.composite
def logs(draw: Any) -> Any:
    n, bits, scale = draw(st.integers(1, 40)), draw(st.integers(0, 8)), draw(st.integers(1, 1 << 16))

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        options = {"input_correction_bits": bits, "output_scale": scale}
        g.run(tally, "SignalFilterBankLog", [g.input((n,), "uint32")], [((n,), "int16")], options, drawn)

    return run, (n, bits, scale), draw(DRAWN)


@st.composite
def gains(draw: Any) -> Any:
    n, shift = draw(st.integers(1, 40)), draw(st.integers(0, 20))
    table = fill(draw(KINDS), draw(st.integers(0, 99)), (125,), "int16")

    def run(g: Graph, tally: Any, drawn: Any) -> None:
        ins = [g.input((n,), "uint32"), g.input((n,), "uint32"), g.b.constant("table", table, "int16")]
        g.run(tally, "SignalPCAN", ins, [((n,), "uint32")], {"snr_shift": shift}, drawn)

    return run, (n, shift), draw(DRAWN)


@pytest.mark.parametrize(
    ("op", "cases"),
    [
        ("SignalWindow", windows()),
        ("SignalFftAutoScale", scales()),
        ("SignalRfft", transforms("SignalRfft")),
        ("SignalIrfft", transforms("SignalIrfft")),
        ("SignalFramer", framers()),
        ("SignalOverlapAdd", overlaps()),
        ("SignalDelay", delays()),
        ("SignalStacker", stackers()),
        ("SignalEnergy", energies()),
        ("SignalFilterBank", banks()),
        ("SignalFilterBankSquareRoot", roots()),
        ("SignalFilterBankSpectralSubtraction", subtractions()),
        ("SignalFilterBankLog", logs()),
        ("SignalPCAN", gains()),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_signal(tflm, op, cases):
    """Sequences of up to seven inferences; at least 3 elements a case."""
    tally = tflm(op)
    explore(cases, lambda case: case[0](Graph(), tally, case[2]))
    tally.check(3)


@pytest.mark.parametrize(
    "row", [[-32768, 5, 3], [5, -32768], [-32768], [-32768, -5, -3, 2], [1, -32768, -1], [0, 0, 0], [-32767, 1]]
)
def test_a_magnitude_that_int16_lacks(tflm, row):
    """-32768 turns the peak's register over; what comes after it starts anew."""
    g, given = Graph(), np.array(row, np.int16)
    x, y, bits = g.input(given.shape, "int16"), g.b.tensor("y", given.shape, "int16"), g.b.tensor("bits", (), "int32")
    content = g.b.custom("SignalFftAutoScale", [x], [y, bits], {}).finish([x], [y, bits])
    tally = tflm("SignalFftAutoScale of -32768")
    assert tally.compare(Model(content, [given], [y, bits])) is not None


def test_a_whole_front_end(tflm):
    """From 96 samples to 6 features by ten ops, over 12 inferences with loud and silent ones."""
    g = Graph()
    b = g.b
    samples, length, channels, bins = 96, 128, 6, 65
    rng = np.random.default_rng(5)
    x = g.input((1, samples), "int16")
    window = np.round(4096 * np.sin(np.pi * (np.arange(samples) + 0.5) / samples) ** 2)
    starts, widths = [2 + 8 * i for i in range(channels + 1)], [12] * (channels + 1)
    weights = rng.integers(0, 4096, 12 * (channels + 1))
    tables = [weights, 4096 - weights, starts, np.arange(channels + 1) * 12, widths]
    gain = np.sort(rng.integers(0, 20000, 125))[::-1]
    names = {"windowed": (1, samples), "flat": (samples,), "scaled": (samples,), "spectrum": (2 * bins,)}
    t = {n: b.tensor(n, s, "int16") for n, s in names.items()}
    bits, power, sums = (
        b.tensor("bits", (), "int32"),
        b.tensor("power", (bins,), "uint32"),
        b.tensor("sums", (channels,), "uint64"),
    )
    r, s, n, p = (b.tensor(k, (channels,), "uint32") for k in ("roots", "signal", "noise", "pcan"))
    y = b.tensor("features", (channels,), "int16")
    b.custom("SignalWindow", [x, b.constant("window", window, "int16")], [t["windowed"]], {"shift": 12})
    b.op("RESHAPE", [t["windowed"]], [t["flat"]], new_shape=[samples])
    b.custom("SignalFftAutoScale", [t["flat"]], [t["scaled"], bits], {})
    b.custom("SignalRfft", [t["scaled"]], [t["spectrum"]], {"T": 7, "fft_length": length})
    b.custom("SignalEnergy", [t["spectrum"]], [power], {"start_index": 0, "end_index": bins})
    constants = [b.constant(f"t{i}", v, "int16") for i, v in enumerate(tables)]
    b.custom("SignalFilterBank", [power, *constants], [sums], {"num_channels": channels})
    b.custom("SignalFilterBankSquareRoot", [sums, bits], [r], {})
    smoothing = {
        "smoothing": 409,
        "one_minus_smoothing": 15975,
        "alternate_smoothing": 983,
        "alternate_one_minus_smoothing": 15401,
    }
    rest = {"clamping": False, "min_signal_remaining": 819, "num_channels": channels}
    shifts = {"smoothing_bits": 10, "spectral_subtraction_bits": 14}
    b.custom("SignalFilterBankSpectralSubtraction", [r], [s, n], smoothing | rest | shifts)
    b.custom("SignalPCAN", [s, n, b.constant("gain", gain, "int16")], [p], {"snr_shift": 6})
    content = b.custom("SignalFilterBankLog", [p], [y], {"input_correction_bits": 3, "output_scale": 64}).finish(
        [x], [y, n]
    )
    loud = np.repeat([32767, 3000, 100, 0, 1, 20000], 2)
    sequence = (rng.uniform(-1, 1, (12, 1, samples)) * loud[:, None, None]).astype(np.int16)
    wanted = engines.tflm_sequence(content, [[v] for v in sequence])
    trace = simulate(parse(content, "front end"), sequence, "tflm")
    for k, index in enumerate((y, n)):
        assert np.array_equal(trace.tensor(index), np.stack([step[k] for step in wanted]))
    assert len({step[0].tobytes() for step in wanted}) > 6


def test_runs_do_not_share_what_they_remember(tflm):
    """The same model twice, and a trace that runs again to show another tensor."""
    g = Graph()
    x = g.input((4,), "int16")
    late = g.b.tensor("late", (4,), "int16")
    y = g.b.tensor("y", (2, 4), "int16")
    g.b.custom("SignalDelay", [x], [late], {"delay_length": 3})
    graph = parse(g.b.op("PACK", [late, x], [y], values_count=2, axis=0).finish([x], [y]), "delay")
    values = np.arange(1, 13, dtype=np.int16).reshape(3, 4)
    first, second = (simulate(graph, values, "tflm") for _ in range(2))
    expected = np.concatenate([[0, 0, 0], np.arange(1, 10)]).reshape(3, 4)
    assert np.array_equal(first.tensor("late"), expected)
    assert np.array_equal(second.tensor("y")[:, 0], expected)
    assert np.array_equal(first.tensor("late"), expected)


@pytest.mark.parametrize("length", [2, 14, 9, 131072])
def test_lengths_that_the_engine_does_not_transform(length):
    g = Graph()
    x, y = g.input((2,), "int16"), g.b.tensor("y", (length + 2,), "int16")
    content = g.b.custom("SignalRfft", [x], [y], {"T": 7, "fft_length": length}).finish([x], [y])
    with pytest.raises(UnsupportedOp, match=r"fft_length is .* even products of 2, 3 and 5"):
        parse(content, "length")


def test_steps_that_do_not_divide():
    g = Graph()
    x, y, valid = g.input((4,), "int16"), g.b.tensor("y", (1, 3), "int16"), g.b.tensor("valid", (), "bool")
    g.b.custom("SignalFramer", [x], [y, valid], {"frame_size": 3, "frame_step": 3, "prefill": False})
    with pytest.raises(ModelError, match="allowed: divisors of 4"):
        parse(g.b.finish([x], [y, valid]), "step")
