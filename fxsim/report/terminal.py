"""Tables for the terminal: the lists, the layers, a comparison, a cost."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from fxsim.names import counted, short_name
from fxsim.report.sheet import Justify, table
from fxsim.report.units import ENERGIES, SIZES, TIMES, amount

if TYPE_CHECKING:
    from fxsim.calibration import Calibration
    from fxsim.diagnose.compare import Comparison
    from fxsim.diagnose.explain import Explanation
    from fxsim.model.graph import Graph
    from fxsim.report.compare_cost import CostComparison
    from fxsim.report.cost import Cost
    from fxsim.sim.registers import Needed
    from fxsim.sim.support import Gap
    from fxsim.sim.trace import LayerStats, Summary


def gaps(found: Sequence["Gap"], model: str, numerics: str) -> Table:
    """What of a model cannot be simulated."""
    rows = [[g.layer, g.op, short_name(g.name), g.reason] for g in found]
    sides: dict[str, Justify] = {"layer": "right", "op": "left", "name": "left", "what": "left"}
    return table(f"{model} as {numerics}: not supported", sides, rows)


def quantized(graph: "Graph", title: str) -> Table:
    """The layers with weights: what is stored in how many bits, and what they read and write."""
    rows = []
    for node in graph.nodes:
        read = [t for t in graph.operands(node.inputs) if t is not None]
        weights = [t for t in read if t.constant and len(t.shape) > 1]
        data = [t for t in read if not t.constant]
        if weights and data:
            w = weights[0]
            held = f"{w.encoding.bits} bits, {w.encoding.name}" if w.encoding else w.qtype.name
            scales = 0 if w.quant is None else len(w.quant.scale)
            kinds = f"{data[0].qtype.name} -> {graph.tensors[node.outputs[0]].qtype.name}"
            rows.append(
                [node.index, node.op, short_name(node.name), held, scales, sum(t.nbytes for t in weights), kinds]
            )
    sides: dict[str, Justify] = {"layer": "right", "op": "left", "name": "left", "weights": "left"}
    return table(title, {**sides, "scales": "right", "bytes": "right", "data": "left"}, rows)


def outputs(rows: Iterable["Summary"], title: str) -> Table:
    """The outputs of a run: type, shape, range, first values."""
    cells = []
    for r in rows:
        head = " ".join(f"{v:g}" for v in r.head) + (" ..." if r.more else "")
        cells.append([r.name, r.dtype, list(r.shape), r.low, r.high, head])
    sides: dict[str, Justify] = {"output": "left", "type": "left", "shape": "left", "min": "right", "max": "right"}
    return table(title, sides | {"values": "left"}, cells)


def layers(stats: Sequence["LayerStats"]) -> Table:
    """The registers of each layer."""
    headings = ("acc bits", "acc min", "acc max", "bits used", "overflows", "clamped low", "clamped high")
    rows = []
    for s in stats:
        register = (s.acc_bits, s.acc_min, s.acc_max, s.bits_used, s.overflows) if s.acc_bits else [""] * 5
        rows.append([s.layer, s.op, short_name(s.name), *register, s.clamped_low, s.clamped_high])
    columns: dict[str, Justify] = {"layer": "right", "op": "left", "name": "left", **dict.fromkeys(headings, "right")}
    return table("registers", columns, rows)


def comparison(title: str, result: "Comparison") -> Table:
    """A row for each tensor of a comparison."""
    rows = []
    for r in result.rows:
        layer, op = ("", "input") if r.layer < 0 else (r.layer, r.op)
        bias = f"{r.bias_lsb:+.2g}" if r.mismatches else ""
        first = "" if r.first_index is None else list(r.first_index)
        tensor = f"{r.tensor} {short_name(r.name)}"
        rows.append(
            [layer, op, tensor, f"{r.elements:,}", f"{r.exact:.4%}", histogram(r.histogram), bias, first, r.where]
        )
    columns: dict[str, Justify] = {
        "layer": "right",
        "op": "left",
        "tensor": "left",
        "elements": "right",
        "exact": "right",
        "off by (LSB): elements": "left",
        "bias (LSB)": "right",
        "first": "left",
    }
    if any(r.where for r in result.rows):
        columns["where"] = "left"
    return table(title, columns, [row[: len(columns)] for row in rows])


def explanation(result: "Explanation", name: str) -> Table:
    """A row for each layer that the dump speaks of."""
    rows = [
        [r.layer, r.op, r.status, f"{r.elements:,}", f"{r.mismatches:,}", f"{r.settings:,}" if r.settings else "",
         f"{r.separating:,} of {r.sampled:,}" if r.sampled else ""]
        for r in result.rows
        if r.status != "not in the dump"
    ]  # fmt: skip
    columns: dict[str, Justify] = {
        "layer": "right",
        "op": "left",
        "status": "left",
        "elements": "right",
        "differ": "right",
        "fit": "right",
        "evidence": "right",
    }
    made = table(f"{name} against {result.users.name}", columns, rows)
    made.caption = "fit: arithmetics that give every bit; evidence: sampled elements that tell the nearest other off"
    made.caption_justify = "left"
    return made


def verdict(result: "Comparison") -> str:
    """What a comparison found, in a line or two."""
    text = f"{result.elements:,} elements in {counted(len(result.tensors), 'tensor')} compared, {result.mismatches:,} differ"
    if missing := len(result.not_in_dump):
        told = f"{counted(missing, 'computed tensor')} {'is' if missing == 1 else 'are'} not "
        alone = "judged alone: not in the dump, without their layer's inputs, or of a layer with memory"
        text += f"; {told}{'in the dump' if result.mode == 'entire' else alone}"
    if result.first_divergence is not None:
        text += f"\nfirst divergence: {result.first_divergence}"
    return text


def histogram(counts: Mapping[int, int], most: int = 6) -> str:
    """``-1: 3  +1: 12``, the rarest differences summed up."""
    items = sorted(counts.items(), key=lambda kv: (-kv[1], abs(kv[0])))
    text = "  ".join(f"{d:+d}: {n}" for d, n in sorted(items[:most]))
    return text + (f"  others: {sum(n for _, n in items[most:])}" if len(items) > most else "")


def needed(rows: Sequence["Needed"], title: str) -> Table:
    """The register that each layer needs."""
    cells = [
        [r.layer, r.op, short_name(r.name), r.products, f"{r.low:,}", f"{r.high:,}", r.bits, r.channel, r.least_bits,
         f"{r.profile_bits}, {r.overflow}", "proved" if r.safe else "NO"]
        for r in rows
    ]  # fmt: skip
    columns: dict[str, Justify] = {
        "layer": "right",
        "op": "left",
        "name": "left",
        "products": "right",
        "least": "right",
        "greatest": "right",
        "bits": "right",
        "channel": "right",
        "least bits": "right",
        "profile": "left",
        "never overflows": "left",
    }
    return table(title, columns, cells)


def cost(c: "Cost") -> Table:
    """A row for each layer of a cost."""
    from fxsim.cost.energy import HOST  # loaded here: not all commands price

    rows = []
    for r in c.rows():
        use = f"{r['utilization']:.0%}" if r["macs"] else ""
        counts = [
            f"{r['macs']:,}",
            f"{r['cycles']:,}",
            r["bound"],
            f"{r['next_bound']} -{r['slack_cycles'] / max(r['cycles'], 1):.0%}" if r["next_bound"] != "none" else "",
            use,
            f"{r['read_bytes']:,}",
            f"{r['write_bytes']:,}",
        ]
        host = r.get(HOST, 0.0)
        energy = f"{amount(host, ENERGIES)} host" if host else amount(r["energy_pj"], ENERGIES)
        spent = [energy, amount(r["time_us"] / 1e6, TIMES)]
        away = "" if r["runs_on"] in (c.target.name, "-") else f" ({r['runs_on']})"
        rows.append([r["layer"], f"{r['op']}{away}", short_name(r["name"], 20), *counts, *spent])
    columns: dict[str, Justify] = {
        "layer": "right",
        "op (host)": "left",
        "name": "left",
        "MACs": "right",
        "cycles": "right",
        "bound": "left",
        "next": "left",
        "use": "right",
        "read B": "right",
        "written B": "right",
        "energy": "right",
        "time": "right",
    }
    return table(f"{c.model} on {c.target.name}", columns, rows)


def calibration(c: "Calibration") -> Table:
    """The factors that cycles were scaled by."""
    rows = [[kind, f"{factor:.3g}"] for kind, factor in c.factors.items()]
    worst = [f"{max(map(abs, e)):.0%}" for e in (c.before, c.after)]
    title = f"{c.profile.name}: {len(c.before)} measurements, at most {worst[0]} off before, {worst[1]} after"
    return table(title, {"type of layer": "left", "factor": "right"}, rows)


def cost_comparison(c: "CostComparison") -> Table:
    """A row for each layer that costs something on either target."""
    sides: dict[str, Justify] = {"layer": "right", "op": "left", "name": "left"}
    numbers = ("cycles a", "cycles b", "time b/a", "energy a", "energy b", "energy b/a")
    columns = sides | dict.fromkeys(numbers, "right") | {"bound a": "left", "bound b": "left", "why": "left"}
    rows = [
        [r.layer, r.op, short_name(r.name), f"{r.cycles_a:,}", f"{r.cycles_b:,}", f"{r.time_ratio:.3g}",
         amount(r.energy_pj_a, ENERGIES), amount(r.energy_pj_b, ENERGIES), f"{r.energy_ratio:.3g}" if c.same_world else "-",
         r.bound_a, r.bound_b, r.why]
        for r in c.rows if r.cycles_a or r.cycles_b
    ]  # fmt: skip
    return table(f"{c.a.model}: a = {c.a.target.name}, b = {c.b.target.name}", columns, rows)


def cost_report(*costs: "Cost") -> tuple[Table, str]:
    """The layers and totals of a cost, or of two side by side."""
    if len(costs) == 1:
        return cost(costs[0]), cost_summary(costs[0])
    from fxsim.report.compare_cost import compare_costs

    sides = compare_costs(*costs)
    return cost_comparison(sides), sides.summary()


def cost_summary(c: "Cost") -> str:
    """The totals of a cost, whether it fits, and what backs the numbers."""
    from fxsim.cost.energy import HOST  # loaded here: not all commands price

    t, p = c.totals(), c.target.profile
    if not c.layers:
        return "nothing to compute"
    away = f"; {t['fallback_share']:.0%} of the cycles off the accelerator" if p.kind != "mcu" else ""
    fits = "fits" if t["fits"] else "does NOT fit"
    host = f" and {amount(t[HOST], ENERGIES)} of the host (whole chip, not added)" if t.get(HOST) else ""
    return (
        f"total: {t['cycles']:,} cycles, {amount(t['time_us'] / 1e6, TIMES)}, {amount(t['energy_pj'], ENERGIES)} "
        f"({c.energy_is}){host}, "
        f"{t['macs']:,} MACs at {t['utilization']:.1%} of peak{away}\n"
        f"memory: RAM {amount(t['peak_ram_bytes'], SIZES)} of {amount(t['ram_size_bytes'], SIZES)}, "
        f"flash {amount(t['flash_bytes'], SIZES)} of {amount(t['flash_size_bytes'], SIZES)}: {fits}\n"
        f"evidence: {p.evidence}" + errors(c)
    )


def errors(c: "Cost") -> str:
    """The range that the latency and energy lie in with nine of ten measured rows, and what is extrapolated."""
    t, text = c.totals(), ""
    for metric, total, steps in (("latency", t["time_us"] / 1e6, TIMES), ("energy", t["energy_pj"], ENERGIES)):
        b = c.bands[metric]
        if b.known:
            low = amount(total / (1 + b.p90), steps)
            high = amount(total / (1 - b.p90), steps) if b.p90 < 1 else "any"
            text += f"\n{metric}: 90 % of {b.rows} rows of {b.against} within {b.p90:.0%}: {low} to {high}"
        else:
            text += f"\n{metric}: {b.sentence()}"
    return text + (f"\nextrapolated: {'; '.join(c.extrapolated)}" if c.extrapolated else "")


def say(console: Console, text: str, style: str | None = None) -> None:
    """Plain words: no markup, no highlighting, no folding."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
