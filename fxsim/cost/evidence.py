"""How far an estimate was held against measurements: an error band with what it rests on, and what lies outside it."""

from collections.abc import Iterable

from fxsim.cost.quantity import Struct

MEASURED_KINDS = ("conv", "depthwise", "dense", "pool", "elementwise", "softmax", "none")
"""kinds of layers that the measured networks consist of"""
MEASURED_BITS = 8
"""width of activations and weights in the measured networks"""


class ErrorBand(Struct, frozen=True):
    """The relative errors of estimates against measurements that they were not fitted on.

    ``error = |estimate / measurement - 1|``: half of the ``rows`` lie within ``median``, nine of ten within ``p90``.
    """

    rows: int
    median: float
    p90: float
    source: str
    """which measurements, and how they were kept apart from the fit"""
    extrapolated: str = ""
    """why the measurements are not of this very target; empty if they are"""

    def sentence(self) -> str:
        """``median 7 %, 90 % within 22 %, over 41 measured rows (...)``."""
        if not self.rows:
            return f"unvalidated: {self.source}"
        text = f"median {self.median:.0%}, 90 % within {self.p90:.0%}, over {self.rows} measured rows ({self.source})"
        return text + (f"; extrapolated: {self.extrapolated}" if self.extrapolated else "")


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


def band(errors: Iterable[float], source: str, extrapolated: str = "") -> ErrorBand:
    """The band of absolute relative errors."""
    sizes = [abs(e) for e in errors]
    median, p90 = (round(quantile(sizes, s), 4) for s in (0.5, 0.9))
    return ErrorBand(rows=len(sizes), median=median, p90=p90, source=source, extrapolated=extrapolated)
