"""fxsim's speed beside the engines' it emulates, in one run: what is asked of it, what it reaches, and where its time goes.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 FXSIM_CORPUS=<folder> python -m benchmarks.performance \
        [--runs 25] [--report reports/performance.md]

All sides of a comparison take turns within each round, so that a machine whose speed drifts slows all. Each ratio is the
median over the rounds; beside it stands the ratio of the least times. Outputs are held against each other first.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import apytypes
import numpy as np
import onnxruntime
from apytypes import APyFixedArray, OverflowMode, QuantizationMode
from onnx import TensorProto, helper, numpy_helper

import fxsim
import fxsim.fixed as fx
from benchmarks import performance_profile
from benchmarks.machine import machine, options, publish, table
from benchmarks.sides import Times, litert, micro, planned, race, seconds
from fxsim.kernels import isa
from fxsim.sim.inputs import load_inputs

MODELS = ("resnet8_int8", "kws_int8", "vww_int8", "ad01_int8", "mobilenet_v2")
ENGINES = ("litert-reference", "litert-xnnpack")
OVER_REFERENCE = dict(zip(MODELS, (50, 60, 25, 6, 25), strict=True))
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Row:
    """One thing that is asked for."""

    what: str
    value: float
    unit: str
    sign: str
    """``<=`` or ``>=``"""
    target: float
    also: str = ""

    @property
    def met(self) -> bool:
        """True if the target is reached."""
        return self.value <= self.target if self.sign == "<=" else self.value >= self.target

    def cells(self) -> list[str]:
        """The row of a table."""
        by = "" if self.met else f", off by {max(self.value / self.target, self.target / self.value):.2f}x"
        return [
            self.what, f"{self.value:.3g} {self.unit}", f"{self.sign} {self.target:g}",
            ("yes" if self.met else "**no**") + by, self.also,
        ]  # fmt: skip


def models(folder: Path, runs: int) -> tuple[list[Row], str, dict[str, Times]]:
    """One inference of each model on each engine."""
    rows, cells, all_times = [], [], {}
    for name in MODELS:
        path = folder / f"{name}.tflite"
        graph = fxsim.read(path)
        x = {k: v[0] for k, v in load_inputs(graph, "random:1").items()}
        values = list(x.values())
        works: dict[str, Callable[[], np.ndarray]] = {
            **{f"fxsim, {n}": planned(graph, x, n) for n in ENGINES},
            "fxsim, tflm": planned(graph, x, "tflm"),
            "LiteRT reference": litert(path, values, reference=True),
            "LiteRT XNNPACK": litert(path, values, reference=False),
            "TFLM": micro(path, values),
        }
        pairs = (("fxsim, litert-reference", "LiteRT reference"), ("fxsim, litert-xnnpack", "LiteRT XNNPACK"))
        for ours, theirs in (*pairs, ("fxsim, tflm", "TFLM")):
            assert np.array_equal(works[ours](), works[theirs]()), f"{name}: {ours} differs from {theirs}"
        works["fxsim.simulate"] = partial(fxsim.simulate, graph, x, "litert-reference", threads=1)
        t = all_times[name] = race(works, runs if name != "mobilenet_v2" else max(5, runs // 3))
        cells.append([name, *(f"{t.ms(side):.4g}" for side in works)])
        reference, fast = "LiteRT reference", "LiteRT XNNPACK"
        for numerics in ENGINES:
            side = f"fxsim, {numerics}"
            least = f"by least times {t.least(reference, side):.3g}"
            rows.append(
                Row(
                    f"{name}: LiteRT reference / {side}",
                    t.ratio(reference, side),
                    "x",
                    ">=",
                    OVER_REFERENCE[name],
                    least,
                )
            )
        for numerics, most in zip(ENGINES, (1.3, 1.0), strict=True):
            side, limit = f"fxsim, {numerics}", 2.5 if name == "ad01_int8" else most
            least = f"by least times {t.least(side, fast):.3g}"
            rows.append(Row(f"{name}: {side} / LiteRT XNNPACK", t.ratio(side, fast), "x", "<=", limit, least))
    return rows, table(["model, ms for one inference", *works], cells), all_times


def batches(folder: Path, runs: int) -> list[Row]:
    """64 inferences on all cores."""
    cores, rows = os.cpu_count() or 1, []
    for name in MODELS:
        path = folder / f"{name}.tflite"
        graph = fxsim.read(path)
        x = load_inputs(graph, "random:1", 64)
        one = litert(path, [v[0] for v in x.values()], reference=False, threads=cores)

        def engine(one: Callable[[], object] = one) -> None:
            for _ in range(64):
                one()

        works = {n: partial(fxsim.simulate, graph, x, n, threads=cores) for n in ENGINES}
        t = race({**works, "engine": engine}, max(7, runs // 2), time.perf_counter)
        for n in ENGINES:
            also = f"by least times {t.least(n, 'engine'):.3g}; {t.ms(n):.4g} ms against {t.ms('engine'):.4g}"
            rows.append(
                Row(
                    f"{name}: 64 on {cores} cores, fxsim, {n} / LiteRT XNNPACK",
                    t.ratio(n, "engine"),
                    "x",
                    "<=",
                    0.9,
                    also,
                )
            )
    return rows


def _matmul_model(a: tuple[int, int], b: np.ndarray) -> bytes:
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    given = helper.make_tensor_value_info("a", TensorProto.UINT8, a)
    made = helper.make_tensor_value_info("y", TensorProto.INT32, (a[0], b.shape[1]))
    graph = helper.make_graph([node], "product", [given], [made], [numpy_helper.from_array(b, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    return model.SerializeToString()


def products(runs: int) -> tuple[list[Row], dict[str, float]]:
    """Matrix products of 8 bits, and by BLAS in float32."""
    rng, rows, rates = np.random.default_rng(0), [], {}
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    for size in (512, 1024):
        a = rng.integers(0, 256, (size, size)).astype(np.uint8)
        b = rng.integers(-128, 128, (size, size)).astype(np.int8)
        content = _matmul_model(a.shape, b)
        session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "product.onnx"
            path.write_bytes(content)
            ours = {}
            for instructions in [i for i in ("vnni", "avx2") if i in isa.available()]:
                os.environ[isa.VARIABLE] = instructions
                ours[f"fxsim, {instructions}"] = planned(fxsim.read(path), a, "onnxruntime")
            os.environ.pop(isa.VARIABLE, None)
        fa, fb = a.astype(np.float32), b.astype(np.float32)
        works = {
            **ours,
            "ONNX Runtime": lambda s=session, a=a: s.run(None, {"a": a})[0],
            "BLAS": lambda a=fa, b=fb: a @ b,
        }
        for work in ours.values():
            assert np.array_equal(work(), works["ONNX Runtime"]())
        t = race(works, runs)
        rates |= {f"{side}, {size}³": size**3 / t.ms(side) / 1e6 for side in works}
        told = "; ".join(f"{side} {rates[f'{side}, {size}³']:.0f}" for side in works) + " GMAC/s"
        for side, other, limit in (("fxsim, vnni", "ONNX Runtime", 1.1), ("fxsim, avx2", "BLAS", 1 / 0.8)):
            if side in works:
                told_ = f"by least times {t.least(side, other):.3g}; {told}"
                rows.append(
                    Row(f"int8 product {size}³: {side} / {other}", t.ratio(side, other), "x", "<=", limit, told_)
                )
    return rows, rates


def saturating(folder: Path, runs: int) -> list[Row]:
    """Accumulators that saturate at every step."""
    rng, n, limit = np.random.default_rng(0), 256, (1 << 19) - 1
    a, b = (rng.integers(-128, 128, (n, n)).astype(np.int8) for _ in range(2))
    a[:8], b[:, :8] = 127, 127  # sums that leave 20 bits
    accumulator = fxsim.Accumulator(bits=20, overflow="saturate", order="sequential")
    acc = np.zeros((n, n), np.int64)
    for i in range(n):
        acc = np.clip(acc + np.outer(a[:, i].astype(np.int64), b[i]), -limit - 1, limit)
    assert np.array_equal(np.asarray(fx.matmul(a, b, accumulator=accumulator)), acc)
    pa, pb = (APyFixedArray(m.tolist(), int_bits=8, frac_bits=0) for m in (a, b))

    def peer() -> object:
        with apytypes.APyFixedAccumulatorContext(
            int_bits=20, frac_bits=0, quantization=QuantizationMode.TRN, overflow=OverflowMode.SAT
        ):
            return pa @ pb

    t = race({"fxsim": lambda: fx.matmul(a, b, accumulator=accumulator), "apytypes": peer}, max(3, runs // 5))
    rate, theirs = (n**3 / t.ms(side) / 1e6 for side in ("fxsim", "apytypes"))
    rows = [
        Row("product 256³, 20 bits, saturating at every step", rate, "GMAC/s", ">=", 6, f"apytypes {theirs:.3g} GMAC/s")
    ]
    with tempfile.TemporaryDirectory() as made:
        profile = Path(made) / "narrow.toml"
        profile.write_text('base = "tflm"\n[accumulator]\nbits = 20\noverflow = "saturate"\n')
        graph = fxsim.read(folder / "resnet8_int8.tflite")
        x = {k: v[0] for k, v in load_inputs(graph, "random:1").items()}
        works = {"narrow": planned(graph, x, str(profile)), "plain": planned(graph, x, "tflm")}
    t = race(works, runs)
    also = f"{t.ms('narrow'):.3g} ms against {t.ms('plain'):.3g}, tflm"
    rows.append(Row("resnet8_int8: 20 bits saturating / unsaturated", t.ratio("narrow", "plain"), "x", "<=", 8, also))
    return rows


def kept(folder: Path, runs: int) -> Row:
    graph = fxsim.read(folder / "vww_int8.tflite")
    x = load_inputs(graph, "random:1", 16)
    works = {k: partial(fxsim.simulate, graph, x, "litert-reference", k, threads=1) for k in ("outputs", "all")}
    t = race(works, runs)
    also = f"{t.ms('all'):.3g} ms against {t.ms('outputs'):.3g}, 16 inferences"
    return Row('vww_int8: keep="all" / keep="outputs"', t.ratio("all", "outputs"), "x", "<=", 1.5, also)


def processes(folder: Path) -> list[Row]:
    """Whole processes: on a clean cache of kernels, then on a warm one."""
    command = [sys.executable, "-c", "from fxsim.cli import main; main()"]
    run = [*command, "run", str(folder / "kws_int8.tflite"), "--input", "random:1"]
    with tempfile.TemporaryDirectory() as cache:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"NUMBA_CACHE_DIR": f"{cache}/kernels", "PYTHONPYCACHEPREFIX": f"{cache}/bytecode"}
        work = partial(subprocess.run, env=env, check=True, stdout=subprocess.DEVNULL)
        work([*command, "numerics"])  # compiles bytecode, as pip does when it installs
        first = seconds(partial(work, run))
        before = sum(os.times()[2:4])
        warm = [seconds(partial(work, run)) for _ in range(9)]
        busy = (sum(os.times()[2:4]) - before) / len(warm)
    least = f"least {min(warm):.3g} s; {busy:.3g} s of CPU"
    return [
        Row("fxsim run kws, whole process, warm cache", statistics.median(warm), "s", "<=", 1.2, least),
        Row("fxsim run kws, whole process, first on a clean cache", first, "s", "<=", 15),
    ]


MEMORY = """
import json, re, sys
import numpy as np
import fxsim
from fxsim.sim.inputs import load_inputs
from fxsim.sim.stream import run_file
model = fxsim.read(sys.argv[1])
def megabytes(key):
    return int(re.search(rf"{key}:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
fxsim.simulate(model, load_inputs(model, "random:1", 16))
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = megabytes("VmRSS")
if sys.argv[2] == "simulate":
    fxsim.simulate(model, np.load(sys.argv[3]))
else:
    run_file(model, sys.argv[3], sys.argv[4])
print(json.dumps(megabytes("VmHWM") - before))
"""


def memory(folder: Path) -> list[Row]:
    """10,000 inferences in a process of its own."""
    graph, rows = fxsim.read(folder / "kws_int8.tflite"), []
    (x,) = load_inputs(graph, "random:1", 10_000).values()
    with tempfile.TemporaryDirectory() as made:
        np.save(f"{made}/x.npy", x)
        for how, what in (("simulate", "fxsim.simulate"), ("stream", "fxsim run --save")):
            command = [
                sys.executable,
                "-c",
                MEMORY,
                str(folder / "kws_int8.tflite"),
                how,
                f"{made}/x.npy",
                f"{made}/y.npz",
            ]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(
                Row(f"10,000 kws inferences, {what}: peak memory above", json.loads(result.stdout), "MB", "<=", 200)
            )
    return rows


TRIED = """Each change against the state before it, in alternation, on the layers it concerns.

| tried | time after / before | kept |
|---|---|---|
| requantization by two float32 operations, proved at every level of every channel | 0.74 to 0.96; MobileNetV2, LiteRT's \
reference numerics, 0.89 | where it is proved |
| depthwise layers of small images as one line of pixels | 0.62 to 0.87 | yes |
| depthwise layers of wide images in strips of columns | 0.86 to 0.93 | yes |
| sums written tile by tile, behind the products of the next tile | matrix product of 512³ 0.84 | yes |
| sums of two bytes by one rounding instead of three, proved on 65,536 pairs | ADD of ResNet-8 0.17 | yes |
| PAD taken into the convolution that reads it | MobileNetV2 0.91 | yes |
| kept tensors written where they lie | 0.92 to 0.97 | yes |
| depthwise rings by blocks of channels | 1.06 to 1.27 | no |
| strips narrower than 16 columns | 1.03 to 1.16 | no |
| unsigned inputs of a product read in place instead of copied | above 1 | no |
| tiles of 8x48, 9x48, 10x32 instead of 6x64 | 1.04, 1.05, 1.02 | no |
| requantization by a multiply-add for XNNPACK's float scheme | 1.00 | no: product and sum apart, 0.97 |

A product of 512³ spends 250 µs at the CPU's peak of two `vpdpbusd` a cycle (measured alone: 536 GMAC/s at 4.2 GHz); the loop
over tiles adds 8, copying the input into words 4, stores 6: 500 GMAC/s for the kernel. Beyond it, prefetching, an interleaved
left matrix and blocks of K could save 3 % at most."""


def main() -> None:
    args = options(__doc__, runs=25).parse_args()
    for name, value in ONE_THREAD.items():
        if os.environ.get(name) != value:
            raise SystemExit(f"{name} is {os.environ.get(name)!r}; allowed: {value!r}, so that one thread is one")
    folder = Path(os.environ["FXSIM_CORPUS"]) / "models"
    load = os.getloadavg()[0]
    rows, times, all_times = models(folder, args.runs)
    rows += batches(folder, args.runs)
    more, rates = products(args.runs)
    rows += [*more, *saturating(folder, args.runs), kept(folder, args.runs), *processes(folder), *memory(folder)]
    unmet = [r for r in rows if not r.met]
    best = max(v for k, v in rates.items() if k.startswith("fxsim"))
    profiles = [
        performance_profile.layers(folder / f"{m}.tflite", n) for m in ("resnet8_int8", "mobilenet_v2") for n in ENGINES
    ]
    roof = max(r.macs / r.microseconds / 1e3 for p in profiles for r in p.layers)
    versions = machine(
        "fxsim", "numba", "llvmlite", "numpy", "ai-edge-litert", "tflite-micro", "onnxruntime", "apytypes"
    )
    parts = [
        "# Performance",
        f"{len(rows) - len(unmet)} of {len(rows)} targets are met. One thread unless said. Ratios are medians of {args.runs} "
        "rounds (fewer for slow ones), in each of which all sides take turns; outputs are equal in every bit. What runs on "
        "one thread is timed by the CPU, batches and processes by the wall. "
        f"Instructions: {isa.chosen()}. {versions}. The load of the machine was {load:.1f} at the start and "
        f"{os.getloadavg()[0]:.1f} at the end: above {os.cpu_count()}, times hold waiting, and least times say more.",
        "## Targets",
        table(["what", "measured", "target", "met", "beside"], [r.cells() for r in rows]),
        "## Times",
        times,
        f"Products: {'; '.join(f'{k} {v:.0f} GMAC/s' for k, v in rates.items())}.",
        "## Where the time goes",
        f"Each layer alone, again and again, so that its data lie in the cache. The fastest layer below ran at {roof:.0f} "
        f"GMAC/s, the fastest product above at {best:.0f}. A layer far below them lacks channels to fill the vectors, or "
        "moves and rescales more than it multiplies. Layers in orange run numpy.",
        *(p.markdown() for p in profiles),
        "## What was tried",
        TRIED,
    ]
    if args.report:
        performance_profile.plot_ratios(args.report.with_suffix(".png"), all_times)
        performance_profile.plot_layers(args.report.with_name(f"{args.report.stem}_layers.png"), profiles)
        parts.insert(2, f"![Time of one inference]({args.report.stem}.png)\n\n![Layers]({args.report.stem}_layers.png)")
    parts.append(f"Made by `python -m benchmarks.performance --runs {args.runs}`.")
    publish("\n\n".join(parts) + "\n", args.report)


if __name__ == "__main__":
    main()
