"""Hardware profiles: the constants of an NPU, a DSP or an MCU, each with its unit and its source.

A profile is a TOML file; every number in it is ``{ value = ..., unit = "...", source = "..." }``. Unknown keys,
missing keys, wrong units and impossible values are refused. After loading, every value is in the base unit of its
field (Hz, B, pJ, ...).
"""

from pathlib import Path
from typing import Literal

import msgspec

from fxsim.cost import quantity as q
from fxsim.errors import ProfileError, listed

Role = Literal["activations", "constants", "cache"]


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all tables of a profile."""


class Memory(Struct, frozen=True):
    """One memory of a target: what lives in it, and how fast it is."""

    holds: tuple[Role, ...]
    size: q.Bytes
    bandwidth: q.Bandwidth


class PricedMemory(Memory, frozen=True):
    """A memory whose accesses have an energy of their own."""

    read_energy: q.ByteEnergy
    write_energy: q.ByteEnergy


class Profile(Struct, frozen=True):
    """What all families share. ``evidence`` says how far the numbers were held against measurements."""

    name: str
    kind: str
    description: str
    evidence: str
    technology: str
    clock: q.Hertz
    peak_macs: q.MacRate

    @property
    def memories(self) -> dict[str, Memory]:
        """The memories by name."""
        raise NotImplementedError

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


class Mcu(Profile, frozen=True):
    """A microcontroller: one in-order core that waits for its flash, and a kernel library."""

    memory: dict[str, Memory]
    kernel: McuKernels
    active_current: q.CurrentPerHertz
    supply: q.Volt

    @property
    def memories(self) -> dict[str, Memory]:
        """The memories by name."""
        return self.memory

    @property
    def cycle_pj(self) -> float:
        """Energy of one active cycle, core and memories together: current per hertz x voltage."""
        return self.active_current.value * self.supply.value * 1e12


class NpuArray(Struct, frozen=True):
    """The MAC array and output stage of an Ethos-U-like NPU."""

    micro_h: q.Count
    micro_w: q.Count
    micro_d: q.Count
    """outputs that the array works on at once: height, width, channels"""
    block_memory: q.Bytes
    """input blocks and accumulators, both double-buffered, must fit in it"""
    max_block: q.Count
    """most outputs in one block"""
    pixel_pass: q.Cycles
    """cycles that one pixel group takes for 32 input channels"""
    weight_floor: q.Cycles
    """least cycles for the same: the weight decoder's rate"""
    pipeline_delay: q.Cycles
    conv_output: q.ElementCycles
    pool_output: q.ElementCycles
    elementwise: q.OpCycles
    lookup: q.OpCycles
    copy: q.ElementCycles
    softmax_call: q.CallCycles
    softmax: q.OpCycles
    call: q.CallCycles
    scale_bytes: q.ChannelBytes
    weight_encoding: q.Ratio
    """bytes of the weight stream relative to the model's weights"""


class Accelerator(Profile, frozen=True):
    """A neural processor with its memories, and the MCU core that runs what it cannot."""

    host: str
    host_call: q.CallCycles
    memory: dict[str, PricedMemory]
    mac_energy: q.MacEnergy
    op_energy: q.OpEnergy
    idle_power: q.Power

    @property
    def memories(self) -> dict[str, Memory]:
        """The memories by name."""
        return dict(self.memory)


class Npu(Accelerator, frozen=True):
    """An Ethos-U-like processor."""

    ops: tuple[str, ...]
    ops_source: str
    array: NpuArray


class Systolic(Accelerator, frozen=True):
    """A systolic array of ``rows x columns`` multipliers with an SRAM for each operand, as SCALE-Sim has them.

    Its memories are ``ifmap``, ``filter`` and ``ofmap`` (on chip, half of each usable: they are double-buffered), and one
    that holds everything. ``mac_energy`` is one product of two ``multiplier_bits`` operands and its addition.
    """

    rows: q.Count
    columns: q.Count
    dataflow: Literal["os", "ws", "is"]
    multiplier_bits: q.Bits
    accumulator_bits: q.Bits


class VectorUnit(Struct, frozen=True):
    """The vector unit of a DSP; cycles are of one context, the work is split over ``contexts``."""

    width: q.Bytes
    contexts: q.Count
    mac_depth: q.Count
    """8-bit products that one instruction adds into each 32-bit lane"""
    mac_issue: q.Ratio
    """multiply instructions that issue per cycle and context, sustained"""
    depthwise_lanes: q.Count
    """MACs of a depthwise layer per multiply instruction"""
    wide_factor: q.Ratio
    """multiply instructions for 16-bit activations, relative to 8-bit"""
    requantize: q.VectorCycles
    """for one vector of 32-bit accumulators"""
    elementwise: q.VectorCycles
    pool: q.VectorCycles
    lookup: q.VectorCycles
    softmax: q.VectorCycles
    copy: q.VectorCycles
    call: q.CallCycles


class ScalarUnit(Struct, frozen=True):
    """The scalar core of a DSP, which runs what the vector kernels do not cover."""

    call: q.CallCycles
    mac: q.MacCycles
    op: q.OpCycles
    byte: q.ByteCycles


class Dsp(Profile, frozen=True):
    """A vector DSP with a cache and an external memory."""

    ops: tuple[str, ...]
    ops_source: str
    memory: dict[str, PricedMemory]
    vector: VectorUnit
    scalar: ScalarUnit
    mac_energy: q.MacEnergy
    op_energy: q.OpEnergy
    idle_power: q.Power

    @property
    def memories(self) -> dict[str, Memory]:
        """The memories by name."""
        return dict(self.memory)


RESERVED = ("mac", "core", "idle", "host", "compute", "none", "ifm", "ofm", "weights", "bias", "scratch")
"""names of other columns of a cost table, which a memory must not take"""
FAMILIES: dict[str, type[Profile]] = {"npu": Npu, "systolic": Systolic, "dsp": Dsp, "mcu": Mcu}
BUFFERS = ("ifmap", "filter", "ofmap")
"""the memories that a systolic array must have beside its main one"""


def load(path: Path) -> Profile:
    """The profile in a TOML file.

    Raises:
        ProfileError: naming the file, the key, what was got and what is allowed.
    """
    profile = q.decode(path, FAMILIES)
    for role in ("activations", "constants"):
        holders = [n for n, m in profile.memories.items() if role in m.holds]
        if len(holders) != 1:
            got = f"{len(holders)} memories hold {role} ({listed(holders)})"
            raise ProfileError(f"{path}: key memory: {got}; allowed: exactly 1")
    for name in profile.memories:
        if not (name.isidentifier() and name.islower()) or name in RESERVED:
            allowed = f"a lower-case identifier other than {listed(RESERVED)}"
            raise ProfileError(f"{path}: key memory.{name}: got {name!r}; allowed: {allowed}")
    if isinstance(profile, Systolic) and set(profile.memory) != {*BUFFERS, profile.memory_of("activations")}:
        allowed = f"{listed(BUFFERS)} and one that holds activations and constants"
        raise ProfileError(f"{path}: key memory: got {listed(profile.memory)}; allowed: {allowed}")
    for key, fastest in _fastest(profile).items():
        peak = profile.peak_macs.value
        if fastest > peak * (1 + 1e-9):
            raise ProfileError(f"{path}: key {key}: got {fastest:g} MAC/cycle; allowed: at most peak_macs = {peak:g}")
    return profile


def _fastest(profile: Profile) -> dict[str, float]:
    """The MAC rate that each part of the profile would reach at best."""
    if isinstance(profile, Mcu):
        k = profile.kernel
        factor = min(1.0, k.wide_factor.value)
        kernels = {"conv": k.conv, "pointwise": k.pointwise, "depthwise": k.depthwise, "dense": k.dense}
        return {f"kernel.{n}.mac": 1 / (m.mac.value * factor) for n, m in kernels.items()}
    if isinstance(profile, Npu):
        a = profile.array
        positions = a.micro_h.value * a.micro_w.value * a.micro_d.value
        return {"array.pixel_pass": positions * CHANNELS_PER_PASS / max(a.pixel_pass.value, 1e-9)}
    if isinstance(profile, Systolic):
        return {"rows": profile.rows.value * profile.columns.value}
    assert isinstance(profile, Dsp)
    v = profile.vector
    rate = v.contexts.value * v.mac_issue.value / min(1.0, v.wide_factor.value)
    return {
        "vector.mac_depth": rate * v.width.value / 4 * v.mac_depth.value,
        "vector.depthwise_lanes": rate * v.depthwise_lanes.value,
        "scalar.mac": 1 / profile.scalar.mac.value,
    }


CHANNELS_PER_PASS = 32
"""input channels (8-bit) that an Ethos-U block pass reduces"""
