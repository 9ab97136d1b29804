"""The cost of every layer of a graph on a target: node -> Work -> traffic, cycles, energy. No numerics.

No values either, but for weights where they decide the cost: an NPU's compiler stores them compressed.
"""

from dataclasses import replace

from fxsim.cost import dsp, fitted, host, mcu, npu, systolic
from fxsim.cost.energy import HOST
from fxsim.cost.evidence import unmeasured
from fxsim.cost.layer import Estimate, LayerCost, ceil_div, verify
from fxsim.cost.profiles import Accelerator, Dsp, Mcu, Npu, Profile, Systolic
from fxsim.errors import FxsimError
from fxsim.model.graph import Graph, Node
from fxsim.model.live import works as works_of
from fxsim.model.work import Work

BINARY_MACS = 8
"""binary MACs that stand for one 8-bit MAC"""
WIDEST_BITS = 16
"""of integer activations that accelerators take"""
NPU_WEIGHT_BITS = 8
"""of weights that an NPU takes"""


def estimate_work(
    work: Work,
    profile: Profile,
    core: Mcu | None = None,
    *,
    accelerated: bool = True,
    machine: npu.Machine | None = None,
    setting: npu.Setting | None = None,
    slack: int = 0,
) -> Estimate:
    """The cost of one piece of work, held against the laws that no machine escapes.

    Args:
        work: what is to be done.
        profile: the target.
        core: the host that runs what an accelerator does not; needed if ``accelerated`` is False on one.
        accelerated: False sends the work to the host or the scalar core.
        machine: the numbers of an NPU's profile, where they are at hand.
        setting: the work's neighbours in a network, and its weights, for a compiler of an NPU.
        slack: cycles of the layer before under which such a compiler loads weights.

    Raises:
        FxsimError: if an accelerator has no host for it, or a model breaks a law.
    """
    if work.kind == "none":
        beside = (HOST,) if isinstance(profile, Accelerator) else ()
        energy = tuple((k, 0.0) for k in (*energy_columns(profile), *beside))
        return Estimate("-", 0, 0, 0, "none", (), energy)
    if isinstance(profile, Mcu):
        result = mcu.cost(work, profile)
    elif isinstance(profile, Dsp):
        result = dsp.cost(work, profile, vector=accelerated)
    elif isinstance(profile, Npu) and accelerated:
        result = npu.cost(in_bytes(work), profile, machine, setting, slack)
    elif isinstance(profile, Systolic) and accelerated:
        result = systolic.cost(work, profile)
    elif isinstance(profile, Accelerator) and core is not None:
        result = host.cost(work, profile, core)
    else:
        raise FxsimError(f"{profile.name}: no host core for work that the accelerator does not run; got {core!r}")
    if not isinstance(profile, Mcu):
        result = fitted.applied(result, work, profile)
    known = setting is not None and setting.weights is not None
    speeds, peak = machine.speeds if machine else profile.bytes_per_cycle, peak_macs(profile, work)
    if machine and npu.sparse(machine, setting):
        peak *= 2
    return verify(work, result, peak_macs=peak, bytes_per_cycle=speeds, early_cycles=slack, compressed=known)


def in_bytes(work: Work) -> Work:
    """The work with activations of whole bytes, as an NPU stores them."""
    bits = work.activation_bits
    stored = ceil_div(bits, 8) * 8
    if stored == bits or work.kind == "none":
        return work
    read, written = (ceil_div(n * stored, bits) for n in (work.input_bytes, work.output_bytes))
    return replace(work, activation_bits=stored, input_bytes=read, output_bytes=written)


def peak_macs(profile: Profile, work: Work) -> float:
    """MACs a cycle at best; a core or DSP does eight binary ones with what one 8-bit MAC takes, and more of them."""
    binary = work.activation_bits == 1 and work.weight_bits == 1 and isinstance(profile, Mcu | Dsp)
    return profile.peak_macs.value * (BINARY_MACS if binary else 1)


def energy_columns(profile: Profile) -> tuple[str, ...]:
    """The parts that the energy of a layer is split into; what a host takes beside them is not of their world."""
    if isinstance(profile, Mcu):
        return ("core_pj",)
    return ("mac_pj", *(f"{m}_pj" for m in profile.memory), "idle_pj")


def accelerated(graph: Graph, node: Node, work: Work, profile: Profile) -> bool:
    """True if the accelerator itself runs the node: it knows the op, and all activations are narrow integers."""
    if isinstance(profile, Mcu):
        return True
    assert isinstance(profile, Npu | Dsp | Systolic)
    if work.geometry is None or not work.macs if isinstance(profile, Systolic) else node.op not in profile.ops:
        return False
    tensors = [t for t in graph.operands((*node.inputs[:1], *node.outputs)) if t is not None]
    narrow = all(t.qtype.kind == "int" and t.qtype.bits <= WIDEST_BITS for t in tensors)
    if not narrow or not isinstance(profile, Npu):
        return narrow
    g = work.geometry
    grouped = work.kind == "conv" and g is not None and g.groups > 1
    return not grouped and not (work.macs and work.weight_bits > NPU_WEIGHT_BITS)


def estimate_graph(graph: Graph, profile: Profile, core: Mcu | None = None) -> tuple[LayerCost, ...]:
    """The cost of each node of the main graph, in order. What runs once before the first inference is not counted."""
    layers = []
    seen: dict[object, Estimate] = {}  # networks repeat their layers
    hertz = profile.clock.value
    works = works_of(graph, live=isinstance(profile, Mcu) and profile.live_channels)
    on = [accelerated(graph, n, w, profile) for n, w in zip(graph.nodes, works, strict=True)]
    machine = npu.machine_of(profile) if isinstance(profile, Npu) else None
    around = npu.settings(graph, on, machine) if machine else (None,) * len(on)
    slack = 0
    for node, asked, runs, setting in zip(graph.nodes, works, on, around, strict=True):
        work = Work("none") if setting and setting.surroundings.done else asked
        key = setting or (work, runs)  # a setting is of this layer alone, as is the slack that it comes with
        e = seen.get(key)
        if e is None:
            early = slack if setting else 0
            e = estimate_work(work, profile, core, accelerated=runs, machine=machine, setting=setting, slack=early)
            seen[key] = e
        slack = e.slack_cycles if work.kind != "none" else slack
        layers.append(
            LayerCost(
                layer=node.index,
                name=node.name,
                op=node.op,
                macs=work.macs,
                weight_bytes=work.constant_bytes,
                time_s=e.cycles / hertz,
                utilization=work.macs / (e.cycles * peak_macs(profile, work)) if work.macs else 0.0,
                estimate=e,
                unmeasured=unmeasured(work.kind, work.activation_bits, work.weight_bits, work.macs),
            )
        )
    return tuple(layers)
