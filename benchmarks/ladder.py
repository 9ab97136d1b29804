"""The ladder from 64 bits to 1 and bits within budgets, for the CNN of ``case_digits`` and the encoder of ``case_encoder``.

    OMP_NUM_THREADS=1 python -m benchmarks.ladder [--report reports/ladder.md]

Writes pictures beside the report. One seed; the spread over five is in ``reports/case_digits.md``.
"""

import time
from pathlib import Path
from typing import Any

import fxsim
from benchmarks import case_digits, case_encoder
from benchmarks.case_networks import cnn, encoder
from benchmarks.machine import machine, options, publish, table
from fxsim import train
from fxsim.choose.allocate import Allocation
from fxsim.choose.ladder import Ladder
from fxsim.model.graph import Graph
from fxsim.report.units import ENERGIES, SIZES, TIMES, amount

TARGETS = ("cortex-m4", "ethos-u55-128")
BUDGETS = ("12 KiB", "8.5 KiB", "6 KiB", "4.5 KiB")
PICTURE = "ladder_{}_{}.png"


def digits() -> tuple[Graph, dict[str, Any]]:
    """The trained CNN, and its data."""
    x, x_test, y, y_test = case_digits.load()
    net = train.from_graph(cnn(0, case_digits.WIDTH))
    train.fine_tune(net, case_digits.moved(x, y), seed=0, **case_digits.FLOAT)
    return net.to_graph(), {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}


def sentences() -> tuple[Graph, dict[str, Any]]:
    """The trained encoder, and its data."""
    x, y = case_encoder.sentences(case_encoder.TRAINING + case_encoder.TESTING)
    x, cut = x[:, None], case_encoder.TRAINING
    net = train.from_graph(encoder(0, len(case_encoder.WORDS), case_encoder.TOKENS, 3))
    train.fine_tune(net, (x[:cut], y[:cut]), seed=0, **case_encoder.FLOAT)
    return net.to_graph(), {"x_train": x[:cut], "y_train": y[:cut], "x_test": x[cut:], "y_test": y[cut:]}


def rungs(found: Ladder) -> str:
    """The ladder as a table."""
    rows = []
    for r in found.rungs:
        spent = ("", "", "")
        if r.cycles is not None and r.time_us is not None and r.energy_pj is not None:
            spent = (f"{r.cycles:,}", amount(r.time_us / 1e6, TIMES), amount(r.energy_pj, ENERGIES))
        size = "" if r.flash_bytes is None else amount(r.flash_bytes, SIZES)
        bits = f"{r.weight_bits}/{r.activation_bits}"
        rows.append([r.rung, r.repair, bits, r.numerics, f"{r.accuracy:.2%}", size, *spent, "*" if r.best else ""])
    head = ("rung", "repair", "bits w/a", "numerics", "accuracy", "flash", "cycles", "time", "energy", "best")
    return table(head, rows)


def budgets(found: list[Allocation]) -> str:
    """What was chosen within each budget, beside uniform bits."""
    rows = [[b, "the same everywhere", f"{a:.2%}", *_spent(p)] for b, (a, p) in found[0].uniform.items()]
    rows += [
        [" ".join(str(r.bits) for r in a.layers), a.budget.text, f"{a.accuracy:.2%}", *_spent(a.price)] for a in found
    ]
    return table(("weight bits, layer by layer", "budget", "accuracy", "flash", "time", "energy"), rows)


def _spent(p: Any) -> tuple[str, str, str]:
    return amount(p.flash_bytes, SIZES), amount(p.time_us / 1e6, TIMES), amount(p.energy_pj, ENERGIES)


def main() -> None:
    parser = options(__doc__, runs=1)
    args = parser.parse_args()
    folder = args.report.parent if args.report else Path()
    parts = [
        "# From 64 bits to 1",
        f"`python -m benchmarks.ladder`: one seed. {machine('torch', 'scikit-learn', 'numpy', 'numba')}. Corrected: "
        "equalized, clipped, rounded adaptively, biases corrected, without training; trained: quantization-aware, taught by "
        "the float network. A star: nothing else is as accurate and as small, fast and frugal. Over five seeds: "
        "[case_digits.md](case_digits.md); the encoder's own study: [case_encoder.md](case_encoder.md); peers: "
        "[quantize_peers.md](quantize_peers.md).",
    ]
    start = time.time()
    network, data = digits()
    for target in TARGETS:
        found = fxsim.ladder(network, data, target, train=train.trainer(epochs=8))
        name = PICTURE.format("digits", target)
        found.plot(folder / name)
        parts += [f"## A CNN on digits, {target}", f"![accuracy against cost]({name})", rungs(found)]
        print(f"{target}: {time.time() - start:.0f} s")
    chosen = [fxsim.allocate_bits(network, data, b, "cortex-m4", scheme="int8+clip+bias") for b in BUDGETS]
    parts += [
        "## Bits within a budget, cortex-m4",
        "`fxsim.allocate_bits`; the estimate of each network proves its budget.",
        budgets(chosen),
    ]
    network, data = sentences()
    few = ("float64", "float32", "float16", "bfloat16", "int8", "int4", "w4a4")
    found = fxsim.ladder(network, data, "cortex-m4", few, train=train.trainer(epochs=2, rate=5e-4))
    found.plot(folder / PICTURE.format("encoder", "cortex-m4"))
    parts += [
        "## An encoder on sentences, cortex-m4",
        f"![accuracy against cost]({PICTURE.format('encoder', 'cortex-m4')})",
        rungs(found),
    ]
    publish("\n\n".join(parts) + "\n", args.report)


if __name__ == "__main__":
    main()
