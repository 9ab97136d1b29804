"""How the weights of an operation reach an Ethos-U: straight from the memory of constants, or through a faster one.

Let ``full`` be the cycles of copying all weights and scales, ``slack`` what the layer before leaves for it. Weights that
are read once are read where they are, unless the operation takes longer than copying and reading them, and longer than
itself with what it waits for slices. Weights that are read for several block positions are copied in slices of output
channels, double-buffered: the first slice (at least 16 channels, more as far as the slack goes) before the operation, the
others under it:

    max(full - slack + last slice, operation + max(first slice - slack, 0))

Source: ethos-u-vela 5.2.0, regor, scheduler (weight buffering) and network performance.
"""

from typing import NamedTuple

from fxsim.cost.ethos_traffic import Port
from fxsim.cost.layer import Flow, ceil_div

SLICE = 16
"""channels of the smallest slice"""
SLICE_CYCLES = 200
"""to fill and empty the pipeline for a slice"""
MANY_BLOCKS = 2
STARTUP = 1000
"""cycles of a slice before a long operation that do not matter"""
MARGIN = 1.02
"""a copy that costs so much more still pays: slices overlap better than is estimated"""
COPY, WEIGHTS, WRITE = 0, 2, 6
"""the entries of a port's channels that copies, weights and writes use"""


class Stored(NamedTuple):
    """The constants of an operation as the NPU stores them."""

    weight_bytes: int
    scale_bytes: int
    slice_scale_bytes: int
    """of the smallest slice"""
    channels: int
    """output channels"""
    block_channels: int
    micro_channels: int
    """each slice is padded to a multiple of"""
    padding_bytes: int = 0
    """of a channel of zeros"""

    @property
    def bytes(self) -> int:
        """Together."""
        return self.weight_bytes + self.scale_bytes


class WeightPlan(NamedTuple):
    """What moves, and the cycles that it takes beside the operation."""

    flows: tuple[Flow, ...] = ()
    exposed_cycles: int = 0
    """before the operation can start"""
    dma_cycles: int = 0
    """at least, from the end of the layer before"""
    slack: int = 0
    """cycles under which the next layer's weights may load"""
    hidden_bytes: int = 0
    """moved under the layer before"""
    scale_bytes_again: int = 0
    """scales that are read again from the faster memory; Vela takes the time of the memory of constants for it"""


def scale_bytes(channels: int, streams: int, record: int) -> int:
    """Bytes of the scales and biases, each core's rounded up to 16."""
    return sum(ceil_div(record * ceil_div(channels - s, streams), 16) * 16 for s in range(min(channels, streams)))


def _rate(port: Port, channel: int) -> float:
    return port.channels[channel] if port.channels else port.bytes_per_cycle


def _read_cycles(port: Port, size: int) -> float:
    return size / _rate(port, WEIGHTS) + port.read_latency


def _copy_cycles(source: Port, target: Port, size: int) -> int:
    out = int(size / _rate(source, COPY)) + source.read_latency
    return max(out, int(size / _rate(target, WRITE)) + target.write_latency)


def in_place(s: Stored, refetch: int, cycles: int, source: Port) -> WeightPlan:
    """Weights and scales read from the memory of constants for each block position."""
    flows = (
        Flow(source.name, "weights", read_bytes=refetch * s.weight_bytes),
        Flow(source.name, "bias", read_bytes=refetch * s.scale_bytes),
    )
    return WeightPlan(flows, slack=cycles)


def _before(s: Stored, full: int, slack: int) -> int:
    """Channels of the first slice: as many as load under the layer before, in whole slices."""
    return min(s.channels, max(SLICE, int(s.channels * min(slack / full, 1.0)) // SLICE * SLICE))


def _sliced(s: Stored, near: int, full: int, slack: int) -> tuple[float, float]:
    """Cycles from the end of the layer before with weights in one or two slices; and those that each slice waits."""
    before = _before(s, full, slack)
    rest = s.channels - before
    if not rest:
        return near + max(full - slack, 0), max(full - slack, 0)
    first, last = (near * n / s.channels + SLICE_CYCLES for n in (before, rest))
    waiting = max(full * before / s.channels - slack, 0) + max(full * rest / s.channels - first, 0)
    return first + last + waiting, waiting / 2


def copies(s: Stored, refetch: int, cycles: int, near: int, source: Port, fast: Port, slack: int) -> bool:
    """True if the weights go through the faster memory.

    ``cycles`` is the operation that reads them in place, ``near`` the one that reads them from the faster memory.
    """
    if source.name == fast.name:
        return False
    unmoved, staged = refetch * _read_cycles(source, s.bytes), refetch * _read_cycles(fast, s.bytes)
    if staged >= unmoved:
        return False
    full = _copy_cycles(source, fast, s.bytes)
    if refetch == 1:
        quick = staged + max(full - slack, 0) < unmoved or s.channels // s.block_channels > MANY_BLOCKS
        sliced, waiting = _sliced(s, near, full, slack)
        noise = cycles > unmoved and waiting < STARTUP
        return quick and full + staged <= max(cycles, unmoved) and (noise or sliced <= max(cycles, unmoved))
    smallest = full * min(SLICE, s.channels) / s.channels
    early = slack or (STARTUP if smallest < unmoved / 10 or smallest <= STARTUP else 0)
    exposed = max(smallest - early, 0)
    noise = cycles > unmoved and exposed < STARTUP * (2 if s.channels > SLICE else 1)
    return max(cycles + (0 if noise else exposed), staged) <= MARGIN * max(cycles, unmoved)


def copied(s: Stored, refetch: int, cycles: int, source: Port, fast: Port, slack: int | None) -> WeightPlan:
    """Weights and scales through the faster memory.

    ``slack`` None is a layer on its own: nothing runs before it, and its last slice hides nothing.
    """
    full = _copy_cycles(source, fast, s.bytes)
    if slack is None:
        first = ceil_div(s.weight_bytes * min(SLICE, s.channels), s.channels) + s.slice_scale_bytes
        flows = _copied(s.weight_bytes, s.scale_bytes, refetch, source, fast)
        return WeightPlan(flows, _copy_cycles(source, fast, first), full, cycles, 0, (refetch - 1) * s.scale_bytes)
    before = _before(s, full, slack)
    if cycles > refetch * _read_cycles(source, s.bytes) and full - slack < STARTUP:
        before = s.channels
    rest, last, slices = s.channels - before, cycles, [before]
    if rest:
        under = max(SLICE, s.channels * (cycles * before // s.channels) // full)
        piece = ceil_div(under, s.block_channels) * s.block_channels
        slices += [piece] * (rest // piece) + ([rest % piece] if rest % piece else [])
        last = cycles * slices[-1] // s.channels
    whole = ceil_div(s.channels, s.micro_channels)
    padded = sum(ceil_div(n, s.micro_channels) for n in slices)
    weights = s.weight_bytes + (padded - whole) * s.micro_channels * s.padding_bytes
    scales = s.scale_bytes * padded // whole
    first = (weights + scales) * before // s.channels
    hidden = min(first, int(slack * _rate(source, COPY)))
    full = _copy_cycles(source, fast, weights + scales)
    flows = _copied(weights, scales, refetch, source, fast)
    again = (refetch - 1) * scales
    return WeightPlan(flows, max(full * before // s.channels - slack, 0), full - slack + last, last, hidden, again)


def _copied(weights: int, scales: int, refetch: int, source: Port, fast: Port) -> tuple[Flow, ...]:
    return (
        Flow(source.name, "weights", read_bytes=weights),
        Flow(source.name, "bias", read_bytes=scales),
        Flow(fast.name, "weights", refetch * weights, weights),
        Flow(fast.name, "bias", refetch * scales, scales),
    )
