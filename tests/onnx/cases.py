"""What the ONNX tests share: ONNX Runtime asked live, the tally of a comparison, scales to draw, and exact convolutions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from fxsim.errors import DomainError, UnsupportedOp
from fxsim.importers import onnx, parse
from fxsim.sim import simulate
from tests import engines
from tests.live.cases import RANGE, ROUND, Tally, decades, f32, zeros

Array = npt.NDArray[Any]
BYTES = ("uint8", "int8")


def runtime(content: bytes, inputs: Sequence[Array], level: str = "ALL", dump: str = "") -> list[Array]:
    """One inference by ONNX Runtime's CPU kernels; ``level`` of graph optimization: DISABLE_ALL, BASIC, EXTENDED, ALL.

    Raises:
        Refused: if the engine does not take the model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    name = level if level.startswith("DISABLE") else f"ENABLE_{level}"
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{name}")
    options.optimized_model_filepath = dump
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        feeds = {i.name: x for i, x in zip(session.get_inputs(), inputs, strict=True)}
        return [np.asarray(y) for y in session.run(None, feeds)]
    except Exception as e:  # the classes of onnxruntime's errors have no common base but this
        if type(e).__module__.startswith("onnxruntime"):
            raise engines.Refused(str(e).splitlines()[0]) from None
        raise


def simulated(content: bytes, inputs: Sequence[Array], numerics: str = "onnxruntime") -> list[Array]:
    """The outputs that fxsim computes."""
    trace = simulate(parse(content, "case", onnx.parse), list(inputs), numerics)
    return [trace.tensor(i) for i in trace.graph.outputs]


@dataclass(slots=True)
class OnnxTally(Tally):
    """What has been compared of one op with ONNX Runtime, bit for bit."""

    tolerated: int = 0
    """elements that differed where the engine's order of float32 additions is its own"""
    most: float = 0.0
    """the greatest such difference"""

    def ask(
        self, content: bytes, inputs: Sequence[Array], level: str = "ALL", engine: Callable[..., list[Array]] = runtime
    ) -> list[Array] | None:
        """Holds every bit of the simulated outputs against the engine's; None if either does not take the model."""
        self.cases += 1
        try:
            got = simulated(content, inputs, self.engine)
        except (UnsupportedOp, DomainError) as e:
            self.unsupported[str(e).rsplit(": ", 1)[-1]] += 1
            return None
        try:
            wanted = engine(content, inputs, level)
        except engines.Refused as e:
            self.refused[str(e)] += 1
            return None
        try:
            self.hold(got, wanted)
        except AssertionError:
            self.equal = False
            self.save(content, ".onnx", inputs, wanted)
            raise
        return wanted

    def hold(self, got: Sequence[Array], wanted: Sequence[Array]) -> None:
        """Fails on the first bit that differs."""
        for a, b in zip(got, wanted, strict=True):
            self._hold(a, b)
            self.kinds[self.op] += a.size

    def near(self, content: bytes, inputs: Sequence[Array], within: float, level: str = "DISABLE_ALL") -> None:
        """As :meth:`ask`, but differences of at most ``within`` are counted instead."""
        self.cases += 1
        for a, b in zip(simulated(content, inputs, self.engine), runtime(content, inputs, level), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            off = np.abs(a.astype(np.float64) - b.astype(np.float64))
            assert np.all(off <= within), f"{self.op}: differs by {off.max()}; allowed: {within}"
            self.elements += a.size
            self.tolerated += int(np.sum(off > 0))
            self.most = max(self.most, float(off.max(initial=0)))

    def tally(self, acc: Array, scales: Array, zero: int, dtype: str) -> None:
        """Counts ties and clamps of ``acc * scale + zero``: ``acc`` ``(..., channels)``, float32 scales of the channels."""
        exact = np.array([Fraction(float(s)) for s in np.broadcast_to(scales, acc.shape[-1])], object)
        self.count(acc, exact, zero, RANGE[dtype])

    def __str__(self) -> str:
        text = Tally.__str__(self)
        return f"{text}; {self.tolerated} elements differ by at most {self.most:g}" if self.tolerated else text

    def check(self, least: int, *, ties: bool = False, clamps: bool = False) -> None:
        """As :meth:`Tally.check`, and says what it counted."""
        if not ROUND:
            assert self.elements or self.cases == 0, f"{self}: nothing compared"
        Tally.check(self, least, ties=ties, clamps=clamps)


@dataclass(frozen=True, slots=True)
class Params:
    """A scale and a zero point."""

    scale: float
    zero: int


def params(dtype: str, low: float = -3, high: float = 0.5) -> st.SearchStrategy[Params]:
    """Scales of all sizes, powers of two among them, with zero points at both ends, near the middle and anywhere."""
    scales = decades(low, high) | st.integers(round(low * 3), 1).map(lambda e: 2.0**e)
    return st.builds(Params, scales, zeros(dtype))


def limits_of(dtype: str) -> tuple[int, int]:
    """The least and the greatest value of a type."""
    return RANGE[dtype]


def fitted(acc: Array, spread: float, ties: bool) -> float:
    """A rescale that brings the largest accumulator to about ``spread``; a power of two where ties are wanted."""
    most = float(np.abs(acc).max(initial=1)) or 1.0
    ratio = spread / most
    return float(2.0 ** np.round(np.log2(ratio))) if ties else f32(ratio)


def exact_conv(
    x: Array, w: Array, pads: Sequence[int], strides: Sequence[int], dilations: Sequence[int], group: int
) -> Array:
    """``(N, OH, OW, O)`` int64 sums of products of ``(N, C, H, W)`` and ``(O, C / group, KH, KW)``, tap by tap."""
    x = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    o, per, kh, kw = w.shape
    oh = (x.shape[2] - (kh - 1) * dilations[0] - 1) // strides[0] + 1
    ow = (x.shape[3] - (kw - 1) * dilations[1] - 1) // strides[1] + 1
    acc = np.zeros((x.shape[0], oh, ow, o), np.int64)
    for q in range(o):
        first = q // (o // group) * per
        for i in range(kh):
            for j in range(kw):
                rows = x[:, first : first + per, i * dilations[0] :: strides[0]][:, :, :oh]
                taps = rows[..., j * dilations[1] :: strides[1]][..., :ow]
                acc[..., q] += np.tensordot(taps, w[q, :, i, j].astype(np.int64), axes=(1, 0))
    return acc
