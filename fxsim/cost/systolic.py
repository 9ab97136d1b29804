"""Cycles, traffic and energy of a layer on a systolic array of ``R x C`` multipliers, as SCALE-Sim computes them.

A layer is a product of ``(M, K)`` by ``(K, N)``: output pixels, window, filters; one for each group, one after the
other (a depthwise layer is as many products as it has channels, each with one filter: most columns idle). With the
spatial sizes ``(Sr, Sc)`` and the time ``T``

====================  ======  ======  ======
dataflow              Sr      Sc      T
====================  ======  ======  ======
os, output stays      M       N       K
ws, weight stays      K       N       M
is, input stays       K       M       N
====================  ======  ======  ======

one fold takes ``R + C + T - 2`` cycles (``os``) or ``2 R + C + T - 2`` (the operand that stays is loaded first), and the
product ``folds * that - 1`` with ``folds = ceil(Sr / R) * ceil(Sc / C)``. Operands wider than the multipliers take a
pass for each pair of parts.

The buffers deliver each operand once a fold, and take partial sums back where the window is folded (SCALE-Sim counts
their writes only). The main memory delivers an operand once where the part that is used again fits half of its buffer,
and again for each fold elsewhere, in the better of the two orders of folds. Array and slowest memory work side by side, a
fold ahead or one after the other, as the profile's ``overlap`` says.

SCALE-Sim gives a convolution an output more along each side where its stride leaves a rest; here it has what the model has.

Source: SCALE-Sim 3.0.0, compute traces (cycles); traffic of the main memory is fxsim's own.
"""

from dataclasses import dataclass
from typing import NamedTuple

from fxsim.cost.energy import HOST, parts
from fxsim.cost.layer import Estimate, Flow, binding, ceil_div, input_footprint_bytes, joined, memory_cycles
from fxsim.cost.profiles import Systolic
from fxsim.model.work import Geometry, Work


class Gemm(NamedTuple):
    """``(m, k) x (k, n)``, done ``groups`` times: output pixels, filters, window."""

    m: int
    n: int
    k: int
    groups: int = 1


@dataclass(frozen=True, slots=True)
class Folds:
    """How often the array is filled: along the rows and along the columns; and the cycles of it all."""

    rows: int
    columns: int
    cycles: int


def gemm_of(g: Geometry) -> Gemm:
    """The products that a windowed layer consists of."""
    return Gemm(g.batch * g.out_h * g.out_w, g.out_c // g.groups, g.window, g.groups)


def folds(gemm: Gemm, rows: int, columns: int, dataflow: str) -> Folds:
    """The folds and the cycles of one of the products."""
    m, n, k, _ = gemm
    sr, sc, t = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    fr, fc = ceil_div(sr, rows), ceil_div(sc, columns)
    load = rows if dataflow == "os" else 2 * rows
    return Folds(fr, fc, (load + columns + t - 2) * fr * fc - 1)


class Bytes(NamedTuple):
    """Bytes of one product's operands that a memory moves; psums are partial sums, written and read again."""

    ifm: int
    weights: int
    ofm: int
    psum_write: int
    psum_read: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def _buffered(gemm: Gemm, f: Folds, p: Systolic, work: Work) -> Bytes:
    """What passes between the buffers and the array."""
    m, n, k, _ = gemm
    a, w, acc = work.activation_bits, work.weight_bits, int(p.accumulator_bits.value)
    again = {"os": (f.columns, f.rows, 1), "ws": (f.columns, 1, f.rows), "is": (1, f.columns, f.rows)}[p.dataflow]
    psums = ceil_div(m * n * (again[2] - 1) * acc, 8)
    return Bytes(
        ceil_div(m * k * again[0] * a, 8), ceil_div(n * k * again[1] * w, 8), ceil_div(m * n * a, 8), psums, psums
    )


def _fetched(gemm: Gemm, f: Folds, p: Systolic, work: Work, footprint: int) -> Bytes:
    """What passes between the main memory and the buffers; ``footprint`` is the input's bytes that must be read once."""
    g = work.geometry
    assert g is not None
    m, n, k, _ = gemm
    rows, columns = int(p.rows.value), int(p.columns.value)
    a, w, acc = work.activation_bits, work.weight_bits, int(p.accumulator_bits.value)
    half = {name: int(p.memory[name].size.value) // 2 for name in ("ifmap", "filter", "ofmap")}
    lines = ceil_div(g.kernel_h * g.in_w * (g.in_c // g.groups) * a, 8)
    weights, outputs = ceil_div(n * k * w, 8), ceil_div(m * n * a, 8)
    once = footprint if min(lines, footprint) <= half["ifmap"] else max(footprint, ceil_div(m * k * a, 8))

    def times(size_bits: int, buffer: str, count: int) -> int:
        """How often an operand is read that is used ``count`` times, in parts of ``size_bits``."""
        return 1 if ceil_div(size_bits, 8) <= half[buffer] else count

    def psums(live: int) -> int:
        """Bytes of partial sums that go out and come back, if ``live`` of them do not fit."""
        fits = ceil_div(live * acc, 8) <= half["ofmap"]
        return 0 if fits else ceil_div(m * n * (f.rows - 1) * acc, 8)

    if p.dataflow == "os":
        orders = [
            (times(min(rows, m) * k * a, "ifmap", f.columns), times(n * k * w, "filter", f.rows), 0),
            (times(8 * footprint, "ifmap", f.columns), times(min(columns, n) * k * w, "filter", f.rows), 0),
        ]
    elif p.dataflow == "ws":
        orders = [
            (times(m * min(rows, k) * a, "ifmap", f.columns), 1, psums(m * n)),
            (times(8 * footprint, "ifmap", f.columns), 1, psums(m * min(columns, n))),
        ]
    else:
        orders = [
            (1, times(n * min(rows, k) * w, "filter", f.columns), psums(m * n)),
            (1, times(n * k * w, "filter", f.columns), psums(n * min(columns, m))),
        ]
    return min((Bytes(once * i, weights * j, outputs, s, s) for i, j, s in orders), key=lambda b: b.total)


def _flows(gemm: Gemm, f: Folds, p: Systolic, work: Work) -> list[Flow]:
    main = p.memory_of("activations")
    footprint = ceil_div(input_footprint_bytes(work), gemm.groups)
    near, far = _buffered(gemm, f, p, work), _fetched(gemm, f, p, work, footprint)
    c = gemm.groups
    return [
        Flow(main, "ifm", read_bytes=max(c * far.ifm, input_footprint_bytes(work))),
        Flow(main, "weights", read_bytes=max(c * far.weights, work.weight_bytes)),
        Flow(main, "bias", read_bytes=work.bias_bytes),
        Flow(main, "ofm", write_bytes=max(c * far.ofm, work.output_bytes)),
        Flow(main, "scratch", c * far.psum_read, c * far.psum_write),
        Flow("ifmap", "ifm", c * near.ifm, c * far.ifm),
        Flow("filter", "weights", c * near.weights, c * far.weights),
        Flow("ofmap", "ofm", c * far.ofm, c * near.ofm),
        Flow("ofmap", "scratch", c * near.psum_read, c * near.psum_write),
    ]


def passes(work: Work, multiplier_bits: int) -> int:
    """Products of ``multiplier_bits`` parts that make one product of the layer's operands."""
    return ceil_div(work.activation_bits, multiplier_bits) * ceil_div(work.weight_bits, multiplier_bits)


def cost(work: Work, p: Systolic) -> Estimate:
    """The cost of a layer with MACs on the array."""
    assert work.geometry is not None
    gemm = gemm_of(work.geometry)
    f = folds(gemm, int(p.rows.value), int(p.columns.value), p.dataflow)
    repeats = passes(work, int(p.multiplier_bits.value))
    least = ceil_div(work.macs, int(p.peak_macs.value))  # SCALE-Sim's count starts at 0: one less for the 1x1 array
    compute = max(least, f.cycles * gemm.groups) * repeats
    flows = _flows(gemm, f, p, work)
    per_memory = memory_cycles(flows, p.bytes_per_cycle)
    cycles = joined(compute, max(per_memory.values()), p.overlap, f.rows * f.columns * gemm.groups)
    energy = [*parts(work, p, flows, cycles, repeats), (HOST, 0.0)]
    bound = binding(compute, per_memory)
    return Estimate(p.name, cycles, compute, max(per_memory.values()), bound, tuple(flows), tuple(energy))
