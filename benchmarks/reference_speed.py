"""One inference by fxsim against one by LiteRT's reference kernels, side by side in one run, one thread each.

    python -m benchmarks.reference_speed MODEL.tflite [MODEL.tflite ...] [--runs 15] [--report reports/speed.md]

``run`` is an inference of a prepared plan, as in a batch; ``simulate`` is a whole call of ``fxsim.simulate``, plan and
all. Runs alternate, so that a machine whose speed drifts slows both; medians and the median ratio are printed.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import fxsim
from benchmarks.machine import machine, options, publish
from fxsim.numerics import load_numerics
from fxsim.sim.inputs import load_inputs, make_batch
from fxsim.sim.plan import prepare

NUMERICS = "litert-reference"


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(path: Path, runs: int) -> dict[str, float]:
    """Median milliseconds and ratios of one model; the outputs must be equal in every bit."""
    graph = fxsim.read(path)
    x = {k: v[0] for k, v in load_inputs(graph, "random:1").items()}
    plan, batch = prepare(graph, load_numerics(NUMERICS)), make_batch(graph, x)
    ws = plan.workspace()
    engine = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    engine.allocate_tensors()

    def litert() -> None:
        for detail, value in zip(engine.get_input_details(), x.values(), strict=True):
            engine.set_tensor(detail["index"], value)
        engine.invoke()

    def run() -> None:
        batch.load(0, ws.values)
        plan.run(ws)

    def simulate() -> fxsim.Trace:
        return fxsim.simulate(graph, x, NUMERICS)

    trace = simulate()
    litert()
    for detail, value in zip(engine.get_output_details(), trace.outputs.values(), strict=True):
        assert np.array_equal(engine.get_tensor(detail["index"]), value), f"{path}: outputs differ"
    run()
    times = [(seconds(litert), seconds(run), seconds(simulate)) for _ in range(runs)]
    median = [1e3 * statistics.median(t) for t in zip(*times, strict=True)]
    ratios = [statistics.median(t[i] / t[0] for t in times) for i in (1, 2)]
    return dict(
        zip(("litert_ms", "run_ms", "simulate_ms", "run_ratio", "simulate_ratio"), (*median, *ratios), strict=True)
    )


def main() -> None:
    parser = options(__doc__, runs=15)
    parser.add_argument("models", nargs="+", type=Path)
    args = parser.parse_args()
    lines = [
        "| model | LiteRT reference, ms | fxsim run, ms | fxsim / LiteRT | fxsim.simulate, ms | simulate / LiteRT |",
        "|---|---|---|---|---|---|",
    ]
    for path in args.models:
        m = measure(path, args.runs)
        lines.append(
            f"| {path.stem} | {m['litert_ms']:.2f} | {m['run_ms']:.2f} | {m['run_ratio']:.3f} "
            f"| {m['simulate_ms']:.2f} | {m['simulate_ratio']:.3f} |"
        )
    notes = (
        f"Medians of {args.runs} alternating runs, one thread each; outputs equal in every bit. "
        f"{machine('fxsim', 'numba', 'numpy', 'ai-edge-litert')}.\n\nMade by `python -m benchmarks.reference_speed "
        f"{' '.join(p.name for p in args.models)} --runs {args.runs}`."
    )
    publish("# Speed against LiteRT's reference kernels\n\n" + "\n".join(lines) + "\n\n" + notes + "\n", args.report)


if __name__ == "__main__":
    main()
