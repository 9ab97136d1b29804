"""How far an estimate was held against measurements: an error band with what it rests on, and what lies outside it."""

from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType

import msgspec

from fxsim import hwfiles
from fxsim.cost.quantity import Struct

MEASURED_KINDS = ("conv", "depthwise", "dense", "pool", "elementwise", "softmax", "none")
"""kinds of layers that the measured networks consist of"""
MEASURED_BITS = 8
"""width of activations and weights in the measured networks"""
METRICS = ("latency", "energy")
ENOUGH = 3
"""rows from which on quantiles mean something"""
DEVICE_LEFT_OUT, LIBRARY_LEFT_OUT = "device-left-out", "library-left-out"
"""entries for what was never measured: libraries on other chips, libraries that no chip was measured with"""


class ErrorBand(Struct, frozen=True):
    """The relative errors of estimates against rows that they were not fitted on.

    ``error = |estimate / row - 1|``: half of the ``rows`` lie within ``median``, nine of ten within ``p90``.
    """

    rows: int
    median: float
    p90: float
    source: str
    """which rows, and how they were kept apart from the fit"""
    against: str = "silicon"
    """what the rows are of: measured chips, or another tool by its name"""
    clocks: tuple[float, ...] = ()
    """the least and greatest clock of the rows, in Hz; none where cycles were compared, or it is not known"""
    extrapolated: str = ""
    """why the rows are not of this very target; empty if they are"""

    @property
    def known(self) -> bool:
        """True if there are rows enough for quantiles."""
        return self.rows >= ENOUGH

    def at(self, hertz: float) -> "ErrorBand":
        """The band of the same target at another clock: extrapolated if the rows have none like it."""
        if not self.clocks or min(self.clocks) <= hertz <= max(self.clocks):
            return self
        ends = " to ".join(f"{c / 1e6:g}" for c in dict.fromkeys((min(self.clocks), max(self.clocks))))
        return self.beyond(f"{hertz / 1e6:g} MHz, measured at {ends} MHz")

    def beyond(self, why: str) -> "ErrorBand":
        """The band where something else lies outside of the rows, too."""
        return msgspec.structs.replace(self, extrapolated="; ".join(filter(None, (self.extrapolated, why))))

    def sentence(self) -> str:
        """``median 7 %, 90 % within 22 %, over 41 measured rows (...)``."""
        if not self.rows:
            return f"unvalidated: {self.source}"
        what = "measured" if self.against == "silicon" else self.against
        text = f"median {self.median:.0%}, 90 % within {self.p90:.0%}, over {self.rows} {what} rows ({self.source})"
        if self.rows < ENOUGH:
            text = f"{self.median:.0%} off in {self.rows} {what} row{'s' * (self.rows > 1)} ({self.source})"
        return text + (f"; extrapolated: {self.extrapolated}" if self.extrapolated else "")


UNKNOWN = ErrorBand(rows=0, median=0.0, p90=0.0, source="nothing public to hold it against is known")
"""the band of what was never held against anything"""


@cache
def shipped(family: str) -> Mapping[str, dict[str, ErrorBand]]:
    """The error bands of a family by target, then by metric, as ``benchmarks/cost_validation.py`` wrote them."""
    text = hwfiles.find("evidence", family).read_text(encoding="utf-8")
    return MappingProxyType(msgspec.toml.decode(text, type=dict[str, dict[str, ErrorBand]]))


def unmeasured(kind: str, activation_bits: int, weight_bits: int, macs: int) -> str:
    """Why a layer of that kind and width lies outside of all measurements; empty if it does not."""
    if kind not in MEASURED_KINDS:
        return f"no measured network has a {kind} layer"
    if activation_bits != MEASURED_BITS and kind != "none":
        return f"measured on {MEASURED_BITS}-bit activations only"
    if macs and weight_bits != MEASURED_BITS:
        return f"measured on {MEASURED_BITS}-bit weights only"
    return ""


def quantile(errors: Iterable[float], share: float) -> float:
    """The value below which ``share`` of the errors lie, interpolated between neighbours; 0 of nothing."""
    ordered = sorted(errors)
    if not ordered:
        return 0.0
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def band(errors: Iterable[float], source: str, **more: object) -> ErrorBand:
    """The band of absolute relative errors; ``more`` are its other fields."""
    sizes = [abs(e) for e in errors]
    median, p90 = (round(quantile(sizes, s), 4) for s in (0.5, 0.9))
    return ErrorBand(rows=len(sizes), median=median, p90=p90, source=source, **more)  # type: ignore[arg-type]
