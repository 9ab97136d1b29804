"""How long estimates take: the first of a network once read, and a thousand variants of a target.

FXSIM_CORPUS=<folder> python -m benchmarks.cost_speed [--runs N] [--report FILE]
"""

import gc
import os
import statistics
import time
from pathlib import Path

from msgspec.structs import replace

import fxsim
from benchmarks.machine import machine, options, publish, table
from fxsim.cost.estimate import estimate_graph
from fxsim.targets import Target, load_target

NETWORKS = ("ad01_int8", "resnet8_int8", "kws_int8", "vww_int8")
TARGETS = ("cortex-m4", "hexagon-680", "systolic-32x32-os", "ethos-u55-128")
VARIANTS = 1000


def variants(target: Target) -> list[Target]:
    """The target with the memory of its constants at a thousand speeds."""
    p = target.profile
    name = p.memory_of("constants")
    memory = p.memories[name]
    made = []
    for i in range(VARIANTS):
        bandwidth = replace(memory.bandwidth, value=memory.bandwidth.value * (1 + i / VARIANTS))
        changed = replace(p, memory=p.memories | {name: replace(memory, bandwidth=bandwidth)})
        made.append(Target(changed, target.host))
    return made


def seconds(path: Path, target: Target, many: list[Target]) -> tuple[float, float]:
    """Processor time of the first estimate of a network once read, and of all variants."""
    graph = fxsim.read(path)
    gc.collect()  # what reading left behind is not the estimate's
    start = time.process_time()
    estimate_graph(graph, target.profile, target.host)
    first = time.process_time() - start
    start = time.process_time()
    for t in many:
        estimate_graph(graph, t.profile, t.host)
    return first, time.process_time() - start


def main() -> None:
    """Prints a row for each network and target."""
    asked = options(__doc__, 3).parse_args()
    folder, rows = Path(os.environ["FXSIM_CORPUS"]) / "models", []
    for name in TARGETS:
        target = load_target(name)
        many = variants(target)
        seconds(folder / f"{NETWORKS[0]}.tflite", target, many[:1])
        for network in NETWORKS:
            found = [seconds(folder / f"{network}.tflite", target, many) for _ in range(asked.runs)]
            first, all_of_them = (statistics.median(f[i] for f in found) for i in (0, 1))
            rows.append((network, name, f"{first * 1e3:.2f}", f"{all_of_them:.2f}"))
    head = ("network", "target", "first estimate, ms", f"{VARIANTS} variants, s")
    text = f"# Speed of estimates\n\n{table(head, rows)}\n\nMedians of {asked.runs} runs, processor time, one thread. "
    publish(
        text + f"{machine('fxsim', 'numpy', 'msgspec')}.\n\nMade by `python -m benchmarks.cost_speed`.\n", asked.report
    )


if __name__ == "__main__":
    main()
