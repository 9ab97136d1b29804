"""The published measurements of microcontrollers, as rows that a shipped target can be asked for."""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import fxsim
from benchmarks.networks import mobilenet_v1, mobilenet_v2
from fxsim.layer import network
from fxsim.model.graph import Graph
from fxsim.model.live import works

NETWORKS = {"AD": "ad01_int8", "IC": "resnet8_int8", "KWS": "kws_int8", "VWW": "vww_int8"}
CORES = {
    "STM32L4R5": "cortex-m4",
    "PSoC 62": "cortex-m4",
    "STM32U5": "cortex-m33",
    "STM32U3": "cortex-m33",
    "nRF5340": "cortex-m33",
    "STM32H7": "cortex-m7",
    "STM32F7": "cortex-m7",
    "STM32G0": "cortex-m0plus",
    "R7FA8D1": "cortex-m85",
}
"""how a device's name starts -> its core"""
LIBRARIES = (
    (r"X-CUBE-AI v7\.1", "x-cube-ai-7.1"),
    (r"X-CUBE-AI v(7\.3|8\.0)", "x-cube-ai-7"),
    (r"X-CUBE-AI v8\.1", "x-cube-ai-8"),
    (r"X-CUBE-AI v(9|10)\.", "x-cube-ai-9"),
    (r"HALE\) version 1\.0\.175", "hale-1.0.175"),
    (r"HALE\) version 1\.0 ", "hale-1.0"),
    (r"Plumerai.*2023", "plumerai-2023"),
    (r"Plumerai", "plumerai-2021"),
    (r"microtvm_cmsis_nn", "microtvm-cmsis-nn"),
    (r"(?i)microtvm", "microtvm"),
    (r"ONNC \[NUCLEO", "onnc"),
    (r"TensorFlow Lite for micro \[EK-RA8D1", "cmsis-nn"),
)
"""how a software stack reads -> library"""
SPECIAL = ("max_performance", "min_ram", "float")
"""submissions of other trade-offs than the stack's usual one"""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement of a network: seconds, and joules where they were measured (of a run of its own)."""

    device: str
    core: str
    library: str
    hertz: float
    stack: str
    """submission: device, software and folder"""
    network: str
    seconds: float
    joules: float = 0.0

    @property
    def target(self) -> str:
        """Core and library."""
        return f"{self.core}+{self.library}"


def corpus() -> Path:
    """The folder with the models and the measurements.

    Raises:
        SystemExit: if it is not named.
    """
    folder = os.environ.get("FXSIM_CORPUS")
    if not folder:
        raise SystemExit("FXSIM_CORPUS is not set: the folder that holds models/ and cost/measured.csv")
    return Path(folder)


@cache
def graph(network: str) -> Graph:
    """A network of MLPerf Tiny."""
    return fxsim.read(corpus() / "models" / f"{NETWORKS[network]}.tflite")


def _table() -> Iterator[dict[str, str]]:
    with (corpus() / "cost" / "measured.csv").open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _stack_of(r: dict[str, str]) -> tuple[str, str, str] | None:
    core = next((c for start, c in CORES.items() if r["device"].startswith(start)), None)
    library = next((name for pattern, name in LIBRARIES if re.search(pattern, r["software_stack"])), None)
    if core is None or library is None or any(s in r["software_stack"] for s in SPECIAL):
        return None
    return core, library, f"{r['device']} | {r['software_stack']} | {r['source'].rsplit('/', 3)[0]}"


@cache
def rows() -> tuple[Row, ...]:
    """All int8 measurements of MLPerf Tiny networks on cores and libraries that are shipped."""
    seconds: dict[tuple[str, str], Row] = {}
    joules: dict[tuple[str, str], float] = {}
    for r in _table():
        name = r["model"].split()[1] if r["model"].startswith("MLPerfTiny") and "int8" in r["model"] else ""
        found = _stack_of(r)
        if name not in NETWORKS or found is None:
            continue
        core, library, stack = found
        if r["metric"] == "latency_ms":
            device = r["device"].removesuffix("ZIT6U").removesuffix("ZIT6Q").removesuffix("ZIT6QU")
            value = float(r["value"]) / 1e3
            seconds[stack, name] = Row(device, core, library, float(r["clock_MHz"]) * 1e6, stack, name, value)
        elif r["metric"] == "energy_uJ":
            joules[stack, name] = float(r["value"]) / 1e6
    return tuple(
        Row(x.device, x.core, x.library, x.hertz, x.stack, x.network, x.seconds, joules.get(k, 0.0))
        for k, x in seconds.items()
    )


ALIF = (  # the first operators of MobileNetV2 1.0 at 224 x 224: Cortex-M55 of Alif Ensemble E8, ExecuTorch with CMSIS-NN
    ("event#3 ", ("conv", 224, 3, 32, 3, 2)),
    ("event#4 ", ("depthwise", 112, 32, 32, 3, 1)),
    ("event#5 ", ("conv", 112, 32, 16, 1, 1)),
    ("event#6 ", ("conv", 112, 16, 96, 1, 1)),
    ("event#7 ", ("depthwise", 112, 96, 96, 3, 2)),
    ("event#8 ", ("conv", 56, 96, 24, 1, 1)),
    ("event#9 ", ("conv", 56, 24, 144, 1, 1)),
    ("event#10 ", ("depthwise", 56, 144, 144, 3, 1)),
)
ESP = (
    ("conv in(10,10) f(64x1x1x64)", ("conv", 10, 64, 64, 1, 1)),
    ("conv in(8,8) f(16x1x1x16)", ("conv", 8, 16, 16, 1, 1)),
    ("dwconv in(18,18) f 1x3x3x16", ("valid", 18, 16, 16, 3, 1)),
)
"""kernels whose shape is said in full"""
PULP = fxsim.layer.conv2d(16, 16, 32, 64)
"""the layer that PULP-NN's rate is published for, on eight cores"""


def kernels() -> list[tuple[str, str, Graph, float]]:
    """``(target, what, layer, cycles)`` of single kernels that were measured."""
    found = []
    for r in _table():
        if r["metric"] == "MAC_per_cycle" and r["model"] == "int8 convolution kernel peak":
            macs = sum(w.macs for w in works(PULP))
            found.append(("gap8+pulp-nn", r["model"], PULP, macs / float(r["value"])))
        if r["metric"] != "cycles":
            continue
        if r["device"].startswith("Alif"):
            shape = next((s for n, s in ALIF if n in r["model"] + " "), None)
            target = "cortex-m55+cmsis-nn"
        else:
            shape = next((s for n, s in ESP if n in r["model"]), None)
            target = {"ESP-NN": "esp32-s3+esp-nn", "ANSI C": "esp32-s3+tflm-reference"}.get(r["software_stack"], "")
        if shape is None or not target:
            continue
        kind, size, in_c, out_c, kernel, stride = shape
        if kind == "conv":
            layer = fxsim.layer.conv2d(size, size, in_c, out_c, kernel, stride)
        else:
            padding = "VALID" if kind == "valid" else "SAME"
            layer = fxsim.layer.depthwise_conv2d(size, size, in_c, kernel, stride, padding)
        found.append((target, r["model"], layer, float(r["value"])))
    return found


ZOO = "STMicroelectronics/stm32ai-modelzoo@6f10965, MobileNetV1 and V2: STM32H747I-DISCO, STM32Cube.AI 10.0"
ESPRESSIF = "espressif/esp-nn@d45b843, README: person detection, invoke() time"
DORY = "DORY, arXiv:2008.07127, abstract: 63 pJ/MAC on average"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A network that was measured outside of MLPerf Tiny: milliseconds or, where only they are published, pJ/MAC."""

    target: str
    network: str
    graph: Graph
    milliseconds: float
    source: str
    pj_per_mac: float = 0.0


def elsewhere() -> tuple[Elsewhere, ...]:
    """Networks from their layers that no fit has seen. Of the zoo, those that the chip's own memories hold."""
    zoo = (
        ("MobileNetV1 0.25, 224, 5 classes", mobilenet_v1(224, 0.25, 5), 163.78),
        ("MobileNetV1 0.5, 224, 5 classes", mobilenet_v1(224, 0.5, 5), 485.79),
        ("MobileNetV1 0.25, 96, 5 classes", mobilenet_v1(96, 0.25, 5), 29.94),
        ("MobileNetV1 0.25, 96, grey, 5 classes", mobilenet_v1(96, 0.25, 5, 1), 28.34),
        ("MobileNetV1 0.25, 224, 1000 classes", mobilenet_v1(224, 0.25, 1000), 166.75),
        ("MobileNetV1 0.5, 224, 1000 classes", mobilenet_v1(224, 0.5, 1000), 504.37),
        ("MobileNetV2 0.35, 128, 5 classes", mobilenet_v2(128, 0.35, 5), 94.34),
        ("MobileNetV2 0.35, 224, 5 classes", mobilenet_v2(224, 0.35, 5), 290.75),
        ("MobileNetV2 0.35, 128, 1000 classes", mobilenet_v2(128, 0.35, 1000), 116.13),
        ("MobileNetV2 0.35, 224, 1000 classes", mobilenet_v2(224, 0.35, 1000), 313.92),
    )
    person = network(mobilenet_v1(96, 0.25, 2, 1))
    return (
        *(Elsewhere("cortex-m7+x-cube-ai-9@400MHz", n, network(g), ms, ZOO) for n, g, ms in zoo),
        Elsewhere("esp32-s3+esp-nn@240MHz", "person detection, 96, grey", person, 54.0, ESPRESSIF),
        Elsewhere("esp32-s3+tflm-reference@240MHz", "person detection, 96, grey", person, 2300.0, ESPRESSIF),
        Elsewhere(
            "gap8+pulp-nn", "MobileNetV1 1.0, 128, 1000 classes", network(mobilenet_v1(128, 1, 1000)), 0.0, DORY, 63.0
        ),
    )


def energies() -> Iterator[tuple[str, str, float]]:
    """``(device, network, joules)`` of all int8 energies of MLPerf Tiny, of accelerators as well."""
    for r in _table():
        name = r["model"].split()[1] if r["model"].startswith("MLPerfTiny") and "int8" in r["model"] else ""
        if name in NETWORKS and r["metric"] == "energy_uJ" and r["kind"] == "silicon":
            yield re.sub(r"(ZIT|RGT)\w*$", "", r["device"]), name, float(r["value"]) / 1e6
