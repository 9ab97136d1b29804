"""What a network costs on a target, in the few numbers that a choice is made by."""

from dataclasses import dataclass

from fxsim.errors import FxsimError
from fxsim.model.graph import Graph
from fxsim.report.cost import estimate
from fxsim.targets import Target


@dataclass(frozen=True, slots=True)
class Price:
    """One inference of a network on a target."""

    flash_bytes: int
    ram_bytes: int
    cycles: int
    time_us: float
    energy_pj: float
    fits: bool

    def of(self, resource: str) -> float:
        """The amount of one of :data:`RESOURCES`."""
        return float(getattr(self, RESOURCES[resource]))


RESOURCES = {"bytes": "flash_bytes", "ram": "ram_bytes", "time": "time_us", "energy": "energy_pj"}
"""what a budget may be of -> the field of :class:`Price`"""


def price(graph: Graph, target: Target) -> Price:
    """The estimate of a network in short.

    Raises:
        FxsimError: if the target has no cost for one of its layers.
    """
    t = estimate(graph, target).totals()
    return Price(
        int(t["flash_bytes"]),
        int(t["peak_ram_bytes"]),
        int(t["cycles"]),
        float(t["time_us"]),
        float(t["energy_pj"]),
        bool(t["fits"]),
    )


def price_or_none(graph: Graph, target: Target) -> Price | None:
    """As :func:`price`; None where the target has no cost."""
    try:
        return price(graph, target)
    except FxsimError:
        return None
