"""Hardware profiles: the constants of an NPU, a DSP or an MCU, each with its unit and its source.

A profile is a TOML file; every number in it is ``{ value = ..., unit = "...", source = "..." }``. Unknown keys,
missing keys, wrong units and impossible values are refused. After loading, every value is in the base unit of its
field (Hz, B, pJ, ...).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from fxsim.cost import quantity as q
from fxsim.cost.ethos_array import CHANNELS_PER_PASS, SharedArray, SplitArray
from fxsim.cost.ethos_system import composed
from fxsim.cost.evidence import UNKNOWN, ErrorBand
from fxsim.cost.quantity import Constant, Struct
from fxsim.errors import ProfileError, listed

Role = Literal["activations", "constants", "cache"]
P = TypeVar("P", bound="Profile")
Overlap = Literal["sum", "max", "pipelined"]
"""how computing and fetching go together: one after the other, side by side, or all but the first piece side by side"""


class Memory(Struct, frozen=True):
    """One memory of a target: what lives in it, and how fast it is."""

    holds: tuple[Role, ...]
    size: q.Bytes
    bandwidth: q.Bandwidth


class PricedMemory(Memory, frozen=True):
    """A memory whose accesses have an energy of their own."""

    read_energy: q.ByteEnergy
    write_energy: q.ByteEnergy


class Profile(Struct, frozen=True, kw_only=True):
    """What all families share. ``evidence`` says how far the numbers were held against measurements."""

    name: str
    kind: str
    description: str
    evidence: str
    technology: str
    clock: q.Hertz
    peak_macs: q.MacRate
    memory: Mapping[str, Memory]
    error_band: dict[str, ErrorBand] = msgspec.field(default_factory=dict)
    """how far off estimates were, for ``latency`` and ``energy``, as the file or the evidence has it; ask :meth:`band`"""

    @property
    def memories(self) -> dict[str, Memory]:
        """The memories by name."""
        return dict(self.memory)

    def band(self, metric: str) -> ErrorBand:
        """How far off estimates of ``latency`` or ``energy`` were, and what of this target lies outside of that."""
        known = self.error_band.get(metric)
        return known.at(self.clock.value) if known else UNKNOWN

    @property
    def bytes_per_cycle(self) -> dict[str, float]:
        """The bandwidth of each memory, in bytes per cycle of the clock."""
        return {
            n: m.bandwidth.value / (1 if m.bandwidth.unit == "B/cycle" else self.clock.value)
            for n, m in self.memories.items()
        }

    def memory_of(self, role: Role) -> str:
        """The name of the memory that holds activations or constants."""
        return next(n for n, m in self.memories.items() if role in m.holds)


class MacKernel(Struct, frozen=True):
    """A convolution or dense kernel of an MCU library.

    Cycles = call + im2col * gathered inputs + mac * MACs (window rounded up to ``unroll``) + output * outputs.
    """

    call: q.CallCycles
    im2col: q.ElementCycles
    mac: q.MacCycles
    output: q.OutputCycles
    unroll: q.Count
    weight_reuse: q.Count
    """output pixels that are computed from one read of the weights"""
    input_reuse: q.Count
    """output channels that are computed from one read of the inputs"""


class ElementKernel(Struct, frozen=True):
    """A kernel without MACs: cycles = call + op * element operations + output * outputs."""

    call: q.CallCycles
    op: q.OpCycles
    output: q.OutputCycles


class CopyKernel(Struct, frozen=True):
    """Moving bytes: cycles = call + byte * bytes + rescale * elements that change their quantization."""

    call: q.CallCycles
    byte: q.ByteCycles
    rescale: q.ElementCycles


class McuKernels(Struct, frozen=True):
    """The kernels of an MCU library, by layer type."""

    conv: MacKernel
    pointwise: MacKernel
    depthwise: MacKernel
    dense: MacKernel
    pool: ElementKernel
    reduce: ElementKernel
    elementwise: ElementKernel
    softmax: ElementKernel
    lookup: ElementKernel
    copy: CopyKernel
    wide_factor: q.Ratio
    """cycles of the inner loops with 16-bit activations, relative to 8-bit"""
    binary_word: q.WordCycles
    """32 binary MACs: load, exclusive or, population count, add"""


class Mcu(Profile, frozen=True, kw_only=True):
    """A microcontroller: an in-order core that waits for its flash, and a kernel library.

    Shipped ones are put together of a core and a library, see :mod:`fxsim.cost.mcu_library`.
    """

    kernel: McuKernels
    constant_cache: q.CacheBytes
    """weights of a layer that fit it are fetched from the constants' memory once"""
    live_channels: bool = False
    """the library drops channels whose weights are all zero, see :mod:`fxsim.model.live`"""
    overlap: Overlap = "sum"
    active_current: q.CurrentPerHertz
    supply: q.Volt

    @property
    def cycle_pj(self) -> float:
        """Energy of one active cycle, core and memories together: current per hertz x voltage."""
        return self.active_current.value * self.supply.value * 1e12


class Fitted(Struct, frozen=True):
    """What brings the cycles of a layer to measurements, see :mod:`fxsim.cost.fitted`."""

    factor: q.Ratio = Constant(1.0, "1", "not fitted to measurements")
    call: q.CallCycles = Constant(0.0, "cycle/call", "not fitted to measurements")


class Accelerator(Profile, frozen=True, kw_only=True):
    """A neural processor with its memories, and the MCU core that runs what it cannot."""

    host: str
    host_call: q.CallCycles
    memory: Mapping[str, PricedMemory]
    mac_energy: q.MacEnergy
    op_energy: q.OpEnergy
    idle_power: q.Power
    fitted: Fitted = msgspec.field(default_factory=Fitted)


class NpuMemory(PricedMemory, frozen=True):
    """A memory as an NPU's bus sees it."""

    burst: q.Bytes
    """longest transfer; a shorter one takes as long"""
    read_latency: q.Cycles
    write_latency: q.Cycles
    ports: q.Count
    reads: q.Count
    """accesses that may be under way at once"""
    writes: q.Free


class Npu(Accelerator, frozen=True, kw_only=True):
    """An Arm Ethos-U55 or U65: an accelerator in a system (clock and memories) and a memory mode (what lies where)."""

    ops: tuple[str, ...]
    ops_source: str
    system: str = ""
    mode: str = ""
    memory: Mapping[str, NpuMemory]
    array: SharedArray | SplitArray


class SharedNpu(Npu, frozen=True, kw_only=True):
    """U55 and U65."""

    array: SharedArray


class WideNpu(Npu, frozen=True, kw_only=True):
    """U85."""

    array: SplitArray


class Systolic(Accelerator, frozen=True, kw_only=True):
    """A systolic array of ``rows x columns`` multipliers with an SRAM for each operand, as SCALE-Sim has them.

    Its memories are ``ifmap``, ``filter`` and ``ofmap`` (on chip, half of each usable: they are double-buffered), and one
    that holds everything. ``mac_energy`` is one product of two ``multiplier_bits`` operands and its addition.
    """

    rows: q.Count
    columns: q.Count
    dataflow: Literal["os", "ws", "is"]
    multiplier_bits: q.Bits
    accumulator_bits: q.Bits
    overlap: Overlap = "max"


class VectorUnit(Struct, frozen=True):
    """The vector unit of a DSP; cycles are of one context, the work is split over ``contexts``."""

    width: q.Bytes
    contexts: q.Count
    mac_depth: q.Count
    """8-bit products that one instruction adds into each 32-bit lane"""
    mac_slots: q.Ratio
    """slots of a packet that take a multiply instruction; a packet issues each cycle"""
    load_slots: q.Ratio
    """slots of a packet that take a vector load"""
    mac_loads: q.Ratio
    """vector loads for each multiply instruction, after reuse in registers"""
    tails: Literal["predicated", "scalar"]
    """a part of a vector: runs as a whole one under a predicate, or on the scalar unit where that is faster"""
    depthwise_lanes: q.Count
    """MACs of a depthwise layer per multiply instruction"""
    wide_factor: q.Ratio
    """multiply instructions for 16-bit activations, relative to 8-bit"""
    binary: q.VectorCycles
    """exclusive or, population count and addition of one vector of one-bit products"""
    requantize: q.VectorCycles
    """for one vector of 32-bit accumulators"""
    elementwise: q.VectorCycles
    pool: q.VectorCycles
    lookup: q.VectorCycles
    softmax: q.VectorCycles
    copy: q.VectorCycles
    call: q.CallCycles

    @property
    def mac_issue(self) -> float:
        """Multiply instructions a cycle and context: as many as there are slots for, and for the loads they need."""
        return 1 / max(1 / self.mac_slots.value, self.mac_loads.value / self.load_slots.value)


class ScalarUnit(Struct, frozen=True):
    """The scalar core of a DSP, which runs what the vector kernels do not cover."""

    call: q.CallCycles
    mac: q.MacCycles
    op: q.OpCycles
    byte: q.ByteCycles


class Dsp(Profile, frozen=True):
    """A vector DSP over a near and an external memory.

    The near memory is a cache, or a scratchpad of which a DMA engine fills one half while the other is in use
    (``overlap = "pipelined"``).
    """

    ops: tuple[str, ...]
    ops_source: str
    memory: Mapping[str, PricedMemory]
    vector: VectorUnit
    scalar: ScalarUnit
    transfer: q.CallCycles
    """setting up one DMA transfer into a scratchpad; nothing for a cache"""
    mac_energy: q.MacEnergy
    op_energy: q.OpEnergy
    idle_power: q.Power
    overlap: Overlap = "max"
    fitted: Fitted = msgspec.field(default_factory=Fitted)


RESERVED = ("mac", "core", "idle", "host", "compute", "none", "ifm", "ofm", "weights", "bias", "scratch")
"""names of other columns of a cost table, which a memory must not take"""
FAMILIES: dict[str, type[Profile]] = {
    "npu": SharedNpu,
    "npu-u85": WideNpu,
    "systolic": Systolic,
    "dsp": Dsp,
    "mcu": Mcu,
}
BUFFERS = ("ifmap", "filter", "ofmap")
"""the memories that a systolic array must have beside its main one"""
LEAST_BYTES = 64
"""of a memory: a smaller one holds no tensor of any layer"""


def load(path: Path, system: str = "", mode: str = "") -> Profile:
    """The profile in a TOML file; an NPU's in another system or memory mode than it names, if asked.

    Raises:
        ProfileError: naming the file, the key, what was got and what is allowed.
    """
    return checked(q.decode(path, FAMILIES, lambda raw: composed(raw, path, system, mode)), path)


def checked(profile: P, path: Path) -> P:
    """The profile, if its memories and rates go together.

    Raises:
        ProfileError: naming the file, the key, what was got and what is allowed.
    """
    roles: tuple[Role, ...] = ("activations", "constants")
    for role in roles:
        holders = [n for n, m in profile.memories.items() if role in m.holds]
        if len(holders) != 1:
            got = f"{len(holders)} memories hold {role} ({listed(holders)})"
            raise ProfileError(f"{path}: key memory: {got}; allowed: exactly 1")
    for name in profile.memories:
        if not (name.isidentifier() and name.islower()) or name in RESERVED:
            allowed = f"a lower-case identifier other than {listed(RESERVED)}"
            raise ProfileError(f"{path}: key memory.{name}: got {name!r}; allowed: {allowed}")
    for name, least in _least_bytes(profile).items():
        size = profile.memory[name].size.value
        if size < least:
            raise ProfileError(f"{path}: key memory.{name}.size: got {size:g} B; allowed: at least {least} B")
    if isinstance(profile, Systolic) and set(profile.memory) != {*BUFFERS, profile.memory_of("activations")}:
        allowed = f"{listed(BUFFERS)} and one that holds activations and constants"
        raise ProfileError(f"{path}: key memory: got {listed(profile.memory)}; allowed: {allowed}")
    for key, fastest in _fastest(profile).items():
        peak = profile.peak_macs.value
        if fastest > peak * (1 + 1e-9):
            raise ProfileError(f"{path}: key {key}: got {fastest:g} MAC/cycle; allowed: at most peak_macs = {peak:g}")
    return profile


def _least_bytes(profile: Profile) -> dict[str, int]:
    """What each memory must hold so that something fits into it."""
    least = dict.fromkeys(profile.memory, LEAST_BYTES)
    if isinstance(profile, Dsp):  # inputs, weights and outputs of one step, twice: DMA fills one half
        least[profile.memory_of("activations")] = 6 * int(profile.vector.width.value)
    return least


def _fastest(profile: Profile) -> dict[str, float]:
    """The MAC rate that each part of the profile would reach at best."""
    if isinstance(profile, Mcu):
        k = profile.kernel
        factor = min(1.0, k.wide_factor.value)
        kernels = {"conv": k.conv, "pointwise": k.pointwise, "depthwise": k.depthwise, "dense": k.dense}
        return {f"kernel.{n}.mac": 1 / (m.mac.value * factor) for n, m in kernels.items()}
    if isinstance(profile, Npu):
        a = profile.array
        per_pass = CHANNELS_PER_PASS / max(a.pixel_pass.value, 1e-9) * a.cores.value
        if isinstance(a, SplitArray):
            per_pass /= a.cores.value
        return {"array.pixel_pass": max(m.h.value * m.w.value * m.d.value for m in a.micro.values()) * per_pass}
    if isinstance(profile, Systolic):
        return {"rows": profile.rows.value * profile.columns.value}
    assert isinstance(profile, Dsp)
    v = profile.vector
    rate = v.contexts.value * v.mac_issue / min(1.0, v.wide_factor.value)
    return {
        "vector.mac_depth": rate * v.width.value / 4 * v.mac_depth.value,
        "vector.depthwise_lanes": rate * v.depthwise_lanes.value,
        "scalar.mac": 1 / profile.scalar.mac.value,
    }
