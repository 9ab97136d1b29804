"""The cost of every layer of a graph on a target: node -> Work -> traffic, cycles, energy. No values, no numerics."""

from fxsim.cost import dsp, host, mcu, npu, systolic
from fxsim.cost.layer import Estimate, LayerCost, verify
from fxsim.cost.profiles import Accelerator, Dsp, Mcu, Npu, Profile, Systolic
from fxsim.errors import FxsimError
from fxsim.model.graph import Graph, Node
from fxsim.model.ops import work as work_of
from fxsim.model.work import Work

NARROW_BITS = (1, 2, 4, 8, 16)
"""integer activations that accelerators take"""


def estimate_work(work: Work, profile: Profile, core: Mcu | None = None, *, accelerated: bool = True) -> Estimate:
    """The cost of one piece of work, held against the laws that no machine escapes.

    Args:
        work: what is to be done.
        profile: the target.
        core: the host that runs what an accelerator does not; needed if ``accelerated`` is False on one.
        accelerated: False sends the work to the host or the scalar core.

    Raises:
        FxsimError: if an accelerator has no host for it, or a model breaks a law.
    """
    if work.kind == "none":
        energy = tuple((k, 0.0) for k in energy_columns(profile))
        return Estimate("-", 0, 0, 0, "none", (), energy)
    if isinstance(profile, Mcu):
        result = mcu.cost(work, profile)
    elif isinstance(profile, Dsp):
        result = dsp.cost(work, profile, vector=accelerated)
    elif isinstance(profile, Npu) and accelerated:
        result = npu.cost(work, profile)
    elif isinstance(profile, Systolic) and accelerated:
        result = systolic.cost(work, profile)
    elif isinstance(profile, Accelerator) and core is not None:
        result = host.cost(work, profile, core)
    else:
        raise FxsimError(f"{profile.name}: no host core for work that the accelerator does not run; got {core!r}")
    return verify(work, result, peak_macs=profile.peak_macs.value, bytes_per_cycle=profile.bytes_per_cycle)


def energy_columns(profile: Profile) -> tuple[str, ...]:
    """The parts that the energy of a layer is split into."""
    if isinstance(profile, Mcu):
        return ("core_pj",)
    core = ("host_pj",) if isinstance(profile, Accelerator) else ()
    return ("mac_pj", *(f"{m}_pj" for m in profile.memories), "idle_pj", *core)


def accelerated(graph: Graph, node: Node, work: Work, profile: Profile) -> bool:
    """True if the accelerator itself runs the node: it knows the op, and all activations are narrow integers."""
    if isinstance(profile, Mcu):
        return True
    assert isinstance(profile, Npu | Dsp | Systolic)
    if work.geometry is None or not work.macs if isinstance(profile, Systolic) else node.op not in profile.ops:
        return False
    tensors = [t for t in graph.operands((*node.inputs[:1], *node.outputs)) if t is not None]
    narrow = all(t.qtype.kind == "int" and t.qtype.bits in NARROW_BITS for t in tensors)
    g = work.geometry
    grouped = work.kind == "conv" and g is not None and g.groups > 1
    return narrow and not (grouped and isinstance(profile, Npu))


def estimate_graph(graph: Graph, profile: Profile, core: Mcu | None = None) -> tuple[LayerCost, ...]:
    """The cost of each node of the main graph, in order. What runs once before the first inference is not counted."""
    layers = []
    seen: dict[tuple[Work, bool], Estimate] = {}  # networks repeat their layers
    peak, hertz = profile.peak_macs.value, profile.clock.value
    for node in graph.nodes:
        work = work_of(graph, node)
        key = work, accelerated(graph, node, work, profile)
        if key not in seen:
            seen[key] = estimate_work(work, profile, core, accelerated=key[1])
        e = seen[key]
        layers.append(
            LayerCost(
                layer=node.index,
                name=node.name,
                op=node.op,
                macs=work.macs,
                weight_bytes=work.constant_bytes,
                time_s=e.cycles / hertz,
                utilization=work.macs / (e.cycles * peak) if work.macs else 0.0,
                estimate=e,
            )
        )
    return tuple(layers)
