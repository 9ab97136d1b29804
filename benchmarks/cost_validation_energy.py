"""Measured energy per MAC of whole systems, beside what the operations alone would take."""

from collections import defaultdict

from benchmarks.machine import table
from benchmarks.mcu_rows import NETWORKS, energies, graph
from fxsim.cost.technology import technologies
from fxsim.model.live import works


def per_mac() -> dict[str, dict[str, list[float]]]:
    """Device -> network -> pJ per MAC of each submission to MLPerf Tiny that measured energy."""
    macs = {n: sum(w.macs for w in works(graph(n))) for n in NETWORKS}
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for device, network, joules in energies():
        found[device][network].append(joules / macs[network] * 1e12)
    return found


def _range(values: list[float]) -> str:
    if not values:
        return ""
    ends = [f"{v:.3g}" for v in (min(values), max(values))]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def section() -> str:
    """The report's part on energy, in Markdown."""
    lines = []
    for device, networks in sorted(per_mac().items()):
        rows = sum(map(len, networks.values()))
        lines.append([device, rows, *(_range(networks.get(n, [])) for n in NETWORKS)])
    words = [
        [t.name, *(f"{getattr(t, k).value:g}" for k in ("add8", "add32", "multiply8", "sram8k", "sram32k", "sram1m", "dram"))]
        for t in technologies().values()
    ]  # fmt: skip
    return "\n".join(
        (
            "## Energy: two worlds",
            "",
            "Accelerators and DSPs are priced by operations and accesses, from a technology table (pJ; memories by 64 bits):",
            "",
            table(["table", "add, 8 bits", "add, 32 bits", "multiply, 8 bits", "8 KB", "32 KB", "1 MB", "DRAM"], words),
            "",
            "Microcontrollers, and the hosts of accelerators, are priced by the measured current of the whole chip. Measured "
            "pJ per MAC of whole systems (MLPerf Tiny, closed division, int8; the range over submissions and operating "
            "points), 10 to 10,000 times what the operations take. No number of fxsim adds the two up:",
            "",
            table(["device", "rows", *NETWORKS], lines),
            "",
        )
    )
