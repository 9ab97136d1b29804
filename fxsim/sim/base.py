"""What binding an op means: graph and numerics in, a prepared function on arrays out.

A binding settles everything that does not depend on the values: multipliers, weights in kernel layout, clamps. The
function it returns only moves and computes. It holds no state between calls and may run in many threads at once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.multiplier import CHAINS, MULTIPLIER_BITS, float32, quantize_multiplier
from fxsim.arith.requantize import NARROW
from fxsim.arith.rounding import RULES
from fxsim.arith.xnnpack import activation_bound
from fxsim.errors import ProfileError, UnsupportedOp, listed
from fxsim.kernels.ordered import FIRST, HIGH, LOW, OVERFLOWED, watch
from fxsim.model.graph import ABSENT, Graph, Node, Tensor
from fxsim.model.ops import spec
from fxsim.model.ops.base import Activation, OpSpec
from fxsim.model.qtype import Array, QuantParams
from fxsim.numerics import OpNumerics, Requantize

Arrays = Sequence[Array]
RunFn = Callable[[Arrays, Arrays], None]
"""inputs (None where absent), outputs to fill"""
Border = tuple[int, int, int, int]
"""rows above and below an image, columns left and right"""
INT32 = (-(1 << 31), (1 << 31) - 1)
"""a clamp that changes nothing"""


@dataclass(slots=True)
class Probe:
    """What a layer's registers held: filled by :attr:`Bound.probe`, summed over inferences."""

    acc_bits: int = 0
    clamped_low: int = 0
    clamped_high: int = 0
    seen: Array | None = None
    """one row a channel, as :mod:`fxsim.kernels.ordered` fills it"""

    def add(self, other: "Probe", before: int) -> None:
        """Takes in another inference; ``before`` outputs of the layer came ahead of it."""
        self.acc_bits = max(self.acc_bits, other.acc_bits)
        self.clamped_low += other.clamped_low
        self.clamped_high += other.clamped_high
        if other.seen is None:
            return
        mine, new = watch(len(other.seen)) if self.seen is None else self.seen, other.seen
        mine[:, LOW], mine[:, HIGH] = np.minimum(mine[:, LOW], new[:, LOW]), np.maximum(mine[:, HIGH], new[:, HIGH])
        mine[:, OVERFLOWED] += new[:, OVERFLOWED]
        fresh = (mine[:, FIRST] < 0) & (new[:, FIRST] >= 0)
        mine[fresh, FIRST] = new[fresh, FIRST] + before
        self.seen = mine


@dataclass(frozen=True, slots=True, eq=False)
class Native:
    """A layer as a C function of a block of 64-bit words: addresses of inputs, outputs and room, then what is constant.

    The function is compiled when it is first asked for.
    """

    function: Callable[[], Any]
    """makes or finds what has an ``address``"""
    constants: Array
    held: tuple[Array, ...]
    """what the constants point at"""
    room: int = 0
    """bytes that a run needs to write in"""
    positions: tuple[int, ...] = (0,)
    """of the inputs that the block names"""

    def block(self, inputs: Arrays, outputs: Arrays, room: Array) -> Array:
        """The block for these arrays, which must lie in one piece and stay where they are."""
        arrays = [inputs[i] for i in self.positions], outputs, (room,)
        return np.concatenate([[address(a) for part in arrays for a in part], self.constants]).astype(np.int64)


def address(a: Array) -> int:
    """Where an array's memory begins."""
    return int(a.__array_interface__["data"][0])


@dataclass(frozen=True, slots=True)
class Bound:
    """One prepared layer.

    ``run`` fills the outputs; ``probe`` (layers with an accumulator or a clamp) reports on registers for given inputs;
    ``view`` makes the output an alias of the input, so that nothing runs. A layer with memory has ``fresh``, which makes
    a ``run`` that starts anew and remembers: one for each workspace. ``native`` is the same as ``run``, in machine code.
    """

    run: RunFn
    probe: Callable[[Arrays], Probe] | None = None
    view: bool = False
    fresh: Callable[[], RunFn] | None = None
    native: Native | None = None
    border: Border | None = None
    """of zero points, by which an output that else is the input is larger"""
    within: Callable[[Border], Native | None] | None = None
    """``native`` for an input that lacks a border of zero points"""


@dataclass(frozen=True, slots=True)
class Site:
    """Where an op is bound: its node, graph and arithmetic, with the look-ups that every binding needs."""

    graph: Graph
    node: Node
    numerics: OpNumerics
    profile: str = ""
    spec: OpSpec = field(init=False)
    inputs: tuple[Tensor | None, ...] = field(init=False)
    outputs: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Looks up the op and the tensors."""
        object.__setattr__(self, "spec", spec(self.node.op))
        tensors = self.graph.tensors
        object.__setattr__(self, "inputs", tuple(None if i == ABSENT else tensors[i] for i in self.node.inputs))
        object.__setattr__(self, "outputs", tuple(tensors[i] for i in self.node.outputs))

    def input(self, i: int) -> Tensor:
        """Input ``i``, which the check has found present."""
        t = self.inputs[i]
        if t is None:
            raise UnsupportedOp(f"input {i} is missing")
        return t

    def optional(self, i: int) -> Tensor | None:
        """Input ``i``, or None."""
        return self.inputs[i] if i < len(self.inputs) else None

    def types(self, **allowed: str) -> None:
        """Holds ``input0="int8"``, ``output="int8 uint8"``, ... against the types of the tensors.

        Raises:
            UnsupportedOp: if a tensor has another type.
        """
        for what, names in allowed.items():
            t = self.outputs[0] if what == "output" else self.input(int(what.removeprefix("input")))
            if t.qtype.name not in names.split():
                raise UnsupportedOp(f"{what} {t.name!r} is {t.qtype.name}; supported: {listed(names.split())}")

    def variant(self, default: str, *others: str) -> str:
        """The variant of the op that the profile names.

        Raises:
            ProfileError: if the op has no variant of that name.
        """
        got = self.numerics.variant or default
        if got not in (default, *others):
            raise ProfileError(f"profile {self.profile!r}: variant is {got!r}; allowed: {listed((default, *others))}")
        return got

    def clamp(self, activation: Activation) -> tuple[int, int]:
        """The least and greatest output integer that a fused activation leaves, in this engine."""
        return clamp_range(self.outputs[0], activation, self.numerics.requantize.bound)

    def within(self, clamp: tuple[int, int]) -> tuple[int, int]:
        """``clamp`` as the profile's ``limit`` has it; where outputs wrap, one that changes nothing."""
        out = self.outputs[0].qtype
        limits = {
            "activation": clamp,
            "type": (out.min, out.max),
            "narrow": (max(clamp[0], out.min + 1), clamp[1]),
            "wrap": INT32,
        }
        return limits[self.numerics.requantize.limit]

    def integer_scheme(self) -> Requantize:
        """The requantization, which must be an integer one."""
        r = self.numerics.requantize
        if r.scheme not in NARROW:
            raise ProfileError(f"profile {self.profile!r}: scheme is {r.scheme!r}; allowed here: {listed(NARROW)}")
        return r


def quant(t: Tensor) -> QuantParams:
    """The quantization of a tensor that must have one."""
    if t.quant is None:
        raise UnsupportedOp(f"tensor {t.name!r} has no scale; supported: quantized tensors")
    return t.quant


def scalar_quant(t: Tensor) -> tuple[float, int]:
    """Scale and zero point of a tensor that must have one of each."""
    q = quant(t)
    if not q.per_tensor:
        raise UnsupportedOp(f"tensor {t.name!r} has {len(q.scale)} scales; supported: one")
    return q.scale[0], q.zero_point[0]


def symmetric(*tensors: Tensor) -> None:
    """Holds 16-bit tensors to zero points of 0, as the engines do."""
    for t in tensors:
        if t.qtype.name == "int16" and scalar_quant(t)[1] != 0:
            raise UnsupportedOp(f"tensor {t.name!r} is int16 with zero point {scalar_quant(t)[1]}; supported: 0")


def power_of_two(scale: float) -> int | None:
    """``e`` for a scale that is ``2**e`` within 0.07 %, which the engines take for it.

    Source: tflite/kernels/internal/quantization_util.cc, CheckedLog2 @ LiteRT 2.3.0.
    """
    exponent = math.log2(scale)
    return round(exponent) if abs(exponent - round(exponent)) < 1e-3 else None


def clamp_range(t: Tensor, activation: Activation, bound: str = "rounded") -> tuple[int, int]:
    """The least and greatest output integer that a fused activation leaves; ``bound`` as in :func:`quantized_range`."""
    bounds = {"NONE": (None, None), "RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
    if activation not in bounds:
        raise UnsupportedOp(f"fused activation is {activation}; supported: {listed(bounds)}")
    return quantized_range(t, *bounds[activation], bound)


def quantized_range(t: Tensor, low: float | None, high: float | None, bound: str = "rounded") -> tuple[int, int]:
    """The integers of ``t`` whose real values lie between two bounds, if there are bounds.

    They are quantized as ``round(bound / scale) + zero_point`` with a float32 quotient, ties away from zero; where they
    are ``"summed"``, as ``round(bound / scale + zero_point)`` in float32, ties to even.

    Source: tflite/kernels/kernel_util.cc, CalculateActivationRangeQuantized @ LiteRT 2.3.0; XNNPACK's requantization.h.
    """
    scale, zero = (1.0, 0) if low is None and high is None else scalar_quant(t)
    least, most = t.qtype.min, t.qtype.max

    def ends(real: float | None, end: int, nearer: Callable[[int, int], int]) -> int:
        if real is None:
            return end
        summed = bound == "summed"
        return nearer(end, activation_bound(real, scale, zero, least, most) if summed else zero + _round32(real, scale))

    q_low, q_high = ends(low, least, max), ends(high, most, min)
    if q_low > q_high:
        raise UnsupportedOp(f"{low}..{high} leaves no value of {t.qtype.name} at scale {scale} and zero point {zero}")
    return q_low, q_high


def _round32(x: float, scale: float) -> int:
    quotient = float32(x / scale)
    whole = int(abs(quotient))
    rounded = whole + (abs(quotient) - whole >= 0.5)
    return rounded if quotient >= 0 else -rounded


def clamped(run: Callable[[Arrays, Array, tuple[int, int]], None], out: Tensor, clamp: tuple[int, int]) -> Bound:
    """A layer whose last step is a clamp: ``run(inputs, output, clamp)``, probed by opening the clamp to 32 bits."""

    def probe(inputs: Arrays) -> Probe:
        free = np.empty(out.shape, np.int32)
        run(inputs, free, INT32)
        return Probe(clamped_low=int(np.sum(free < clamp[0])), clamped_high=int(np.sum(free > clamp[1])))

    return Bound(lambda inputs, outputs: run(inputs, outputs[0], clamp), probe)


@dataclass(frozen=True, slots=True)
class Scales:
    """The real scale of each output channel, in every form that a scheme may want."""

    q: npt.NDArray[np.int64]
    shift: npt.NDArray[np.int64]
    real: npt.NDArray[Any]


def scheme_of(r: Requantize, bits: int) -> tuple[str, str]:
    """``(scheme, rounding)`` for accumulators of that many bits."""
    return (r.wide, "ties_pos") if bits > 32 and not r.scheme.startswith("float") else (r.scheme, r.rounding)


def multiplier_of(r: Requantize, real: float) -> tuple[int, int]:
    """``(q, shift)`` of a real scale, as :func:`quantize_multiplier`, in the engine's own precision.

    Raises:
        UnsupportedOp: if the engine holds the scale to a multiplier that is exact, and to no greater exponent.
    """
    exact = r.multiplier_rounding == "exact"
    q, shift = quantize_multiplier(real, r.multiplier_bits, RULES["to_neg" if exact else r.multiplier_rounding])
    if exact and math.ldexp(q, shift - MULTIPLIER_BITS) != real:
        allowed = "powers of two" if r.multiplier_bits == 1 else f"multipliers of {r.multiplier_bits} bits"
        raise UnsupportedOp(f"a rescale by {real:.9g} is none of the engine's, which has {allowed} only")
    if shift > r.max_exponent:
        raise UnsupportedOp(
            f"a rescale by {real:g} is too great for the engine; allowed: below {math.ldexp(1.0, r.max_exponent):g}"
        )
    return q, shift


def make_scales(
    site: Site, numerators: Sequence[tuple[float, ...]], denominator: float, count: int = 1, bits: int = 32
) -> Scales:
    """The scales ``product(numerator) / denominator``, one for each of ``count`` channels; accumulators have ``bits``.

    Raises:
        UnsupportedOp: if a scale is beyond what the scheme's shift can express.
    """
    return scales_of(site.numerics.requantize, numerators, denominator, count, bits)


def scales_of(
    r: Requantize, numerators: Sequence[tuple[float, ...]], denominator: float, count: int = 1, bits: int = 32
) -> Scales:
    """As :func:`make_scales`, of a requantization."""
    chain = CHAINS[r.chain_per_channel if len(numerators) > 1 else r.chain]
    reals = [chain(n, denominator) for n in numerators]
    if not all(map(math.isfinite, reals)):
        raise UnsupportedOp(f"a rescale by {max(reals)} is beyond the engine's range")
    pairs = [quantize_multiplier(m) if r.scheme.startswith("float") else multiplier_of(r, m) for m in reals]
    worst = max(shift for _, shift in pairs)
    most = 30 if bits <= 32 else 14
    if worst > most and not r.scheme.startswith("float"):
        raise UnsupportedOp(f"a rescale by {max(reals):g} needs a left shift of {worst}; allowed: at most {most}")
    repeat = count if len(pairs) == 1 else 1
    real = np.array(reals * repeat, np.float32 if r.scheme == "float32" else np.float64)
    return Scales(
        np.array([q for q, _ in pairs] * repeat, np.int64), np.array([s for _, s in pairs] * repeat, np.int64), real
    )
