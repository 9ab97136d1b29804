"""A microcontroller as a core times a kernel library: cycles = instructions of a kernel x cycles of an instruction.

A core (``hwprofiles/mcu/*.toml``) knows its clock, memories, energy, and the cycles of three classes of instructions:
loads and stores, multiplications, all others. A library (``hwprofiles/library/*.toml``) knows for each instruction set
how many of them its kernels take for a MAC, an output, and so on. A library whose source is closed is another one times
one factor for each type of layer, fitted on measurements.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec.structs import replace

from fxsim.cost import quantity as q
from fxsim.cost.evidence import UNKNOWN, ErrorBand
from fxsim.cost.profiles import CopyKernel, ElementKernel, MacKernel, Mcu, McuKernels, Memory, checked
from fxsim.cost.quantity import Constant, Struct
from fxsim.errors import ProfileError, listed

SCALED = ("conv", "pointwise", "depthwise", "dense", "other")
"""types of layers that a library has a factor for; ``other`` is all layers without MACs"""

ANY = "any"
"""the instruction set of kernels in plain C, for cores that the library has no others for"""


class Instructions(Struct, frozen=True):
    """Instructions that a kernel takes for one ``unit`` of its work."""

    unit: str
    source: str
    load: float = 0.0
    """loads and stores, of whatever width"""
    multiply: float = 0.0
    other: float = 0.0


class InstructionCosts(Struct, frozen=True):
    """Cycles of an instruction of each class, as they come in a kernel's inner loop."""

    load: q.InstructionCycles
    multiply: q.InstructionCycles
    other: q.InstructionCycles


class Core(Struct, frozen=True):
    """A processor core on a chip, without the software."""

    name: str
    kind: str
    description: str
    technology: str
    isa: str
    """which kernels of a library it runs"""
    library: str
    """the one that its bare name stands for"""
    clock: q.Hertz
    peak_macs: q.MacRate
    cores: q.Count
    """cores that share the work of a layer"""
    instruction: InstructionCosts
    memory: dict[str, Memory]
    constant_cache: q.CacheBytes
    active_current: q.CurrentPerHertz
    supply: q.Volt


class MacCounts(Struct, frozen=True):
    """Instructions of a convolution or dense kernel; ``unroll`` and the reuses as in :class:`MacKernel`."""

    gather: Instructions
    mac: Instructions
    output: Instructions
    unroll: q.Count
    weight_reuse: q.Count
    input_reuse: q.Count


class ElementCounts(Struct, frozen=True):
    """Instructions of a kernel without MACs."""

    op: Instructions
    output: Instructions


class CopyCounts(Struct, frozen=True):
    """Instructions of moving bytes."""

    byte: Instructions
    rescale: Instructions


class Counts(Struct, frozen=True):
    """The kernels of a library for one instruction set."""

    call: Instructions
    binary_word: Instructions
    wide_factor: q.Ratio
    conv: MacCounts
    pointwise: MacCounts
    depthwise: MacCounts
    dense: MacCounts
    pool: ElementCounts
    reduce: ElementCounts
    elementwise: ElementCounts
    softmax: ElementCounts
    lookup: ElementCounts
    copy: CopyCounts


class Scale(Struct, frozen=True):
    """Cycles of a library's kernels relative to those of its base."""

    conv: q.Ratio
    pointwise: q.Ratio
    depthwise: q.Ratio
    dense: q.Ratio
    other: q.Ratio


class Library(Struct, frozen=True):
    """A kernel library: instruction counts of its own, or those of ``base``; and a factor for each type of layer."""

    name: str
    kind: str
    description: str
    scale: Scale
    aliases: tuple[str, ...] = ()
    """other names of it: versions whose measurements do not differ"""
    base: str = ""
    live_channels: str = ""
    """why it is taken to drop channels whose weights are all zero; empty: it does not"""
    isa: dict[str, Counts] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Pricer:
    """Turns instructions into cycles of a core."""

    core: Core
    scale: Constant
    origin: str
    share: float
    """of a core's work, where several share it"""

    def __call__(self, n: Instructions, unit: str, *, shared: bool = True) -> Constant:
        cost, parts, cycles = self.core.instruction, [], 0.0
        for name in ("load", "multiply", "other"):
            count = getattr(n, name)
            if count < 0:
                raise ProfileError(f"library {self.origin}: {name} is {count} instructions; allowed: at least 0")
            if count:
                parts.append(f"{count:g} {name}")
                cycles += count * getattr(cost, name).value
        cycles *= self.scale.value * (self.share if shared else 1.0)
        scaled = f", x {self.scale.value:g} ({self.scale.source})" if self.scale.value != 1 else ""
        what = " + ".join(parts) or "no"
        source = f"{what} instructions ({n.source}) at the cycles of {self.core.name}{scaled}"
        return Constant(float(f"{cycles:.6g}"), f"cycle/{unit}", source)


def kernels(core: Core, library: Library, counts: Counts) -> McuKernels:
    """The library's kernels in cycles of the core."""
    share = 1 / core.cores.value
    # no factor lifts a core above its peak
    least = 1 / core.peak_macs.value / min(1.0, counts.wide_factor.value)

    def pricer(layer: str) -> _Pricer:
        return _Pricer(core, getattr(library.scale, layer), library.name, share)

    def mac(layer: str) -> MacKernel:
        price, n = pricer(layer), getattr(counts, layer)
        each = price(n.mac, "MAC")
        return MacKernel(
            call=price(counts.call, "call", shared=False),
            im2col=price(n.gather, "element"),
            mac=msgspec.structs.replace(each, value=max(each.value, least)),
            output=price(n.output, "output"),
            unroll=n.unroll,
            weight_reuse=n.weight_reuse,
            input_reuse=n.input_reuse,
        )

    plain = pricer("other")

    def element(layer: str) -> ElementKernel:
        n: ElementCounts = getattr(counts, layer)
        call = plain(counts.call, "call", shared=False)
        return ElementKernel(call=call, op=plain(n.op, "op"), output=plain(n.output, "output"))

    return McuKernels(
        conv=mac("conv"),
        pointwise=mac("pointwise"),
        depthwise=mac("depthwise"),
        dense=mac("dense"),
        pool=element("pool"),
        reduce=element("reduce"),
        elementwise=element("elementwise"),
        softmax=element("softmax"),
        lookup=element("lookup"),
        copy=CopyKernel(
            call=plain(counts.call, "call", shared=False),
            byte=plain(counts.copy.byte, "B"),
            rescale=plain(counts.copy.rescale, "element"),
        ),
        wide_factor=counts.wide_factor,
        binary_word=pricer("conv")(counts.binary_word, "word"),
    )


def load_core(path: Path) -> Core:
    """The core in a TOML file."""
    return q.decode(path, {"core": Core})


def load_library(path: Path) -> Library:
    """The library in a TOML file."""
    return q.decode(path, {"library": Library})


def counts_of(library: Library, libraries: Mapping[str, Path]) -> Mapping[str, Counts]:
    """The instruction counts of a library: its own, or those of its base.

    Raises:
        ProfileError: if the base does not exist or has none itself.
    """
    if library.isa:
        return library.isa
    if library.base not in libraries:
        raise ProfileError(f"library {library.name}: base is {library.base!r}; allowed: {listed(libraries)}")
    base = load_library(libraries[library.base])
    if not base.isa:
        raise ProfileError(f"library {library.name}: base {base.name!r} has no instruction counts of its own")
    return base.isa


def compose(core: Core, library: Library, libraries: Mapping[str, Path], bands: Mapping[str, ErrorBand]) -> Mcu:
    """The microcontroller of that core and library; ``bands`` say how far it was held against measurements.

    Raises:
        ProfileError: if the library has no kernels for the core, or the two do not go together.
    """
    sets = counts_of(library, libraries)
    counts = sets.get(core.isa, sets.get(ANY))
    if counts is None:
        got = f"core {core.name} has instruction set {core.isa!r}"
        raise ProfileError(f"library {library.name} on {core.name}: {got}; allowed: {listed(sets)}")
    name = core.name if library.name == core.library else f"{core.name}+{library.name}"
    latency = bands.get("latency", UNKNOWN)
    mcu = Mcu(
        name=name,
        kind="mcu",
        description=f"{core.description}; {library.description}",
        evidence=latency.sentence(),
        technology=core.technology,
        clock=core.clock,
        peak_macs=core.peak_macs,
        error_band=dict(bands),
        memory=core.memory,
        kernel=kernels(core, library, counts),
        constant_cache=core.constant_cache,
        live_channels=bool(library.live_channels),
        active_current=core.active_current,
        supply=core.supply,
    )
    return checked(mcu, Path(name))


def at(mcu: Mcu, name: str, *, hertz: float = 0.0, volts: float = 0.0) -> Mcu:
    """The microcontroller at another clock or supply voltage; memories that are given in B/s keep their speed."""
    changed: dict[str, object] = {}
    if hertz:
        changed["clock"] = replace(mcu.clock, value=hertz, source="the target's name")
    if volts and volts != mcu.supply.value and "energy" in mcu.error_band:
        why = f"{volts:g} V, measured at the usual {mcu.supply.value:g} V"
        changed["error_band"] = mcu.error_band | {"energy": mcu.error_band["energy"].beyond(why)}
    if volts:
        changed["supply"] = replace(mcu.supply, value=volts, source="the target's name")
    return replace(mcu, name=name, **changed)
