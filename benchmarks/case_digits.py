"""A CNN on handwritten digits from float to one bit: train, prune, quantize, fine-tune, distil to half its width, evaluate.

    OMP_NUM_THREADS=1 python -m benchmarks.case_digits [--runs 5] [--json J] [--report reports/ladder.md]

The data are scikit-learn's digits (1797 images of 8x8), half for training, half for testing, by one fixed stratified split;
training images come once as they are and four times moved by a pixel.
``--runs`` is the number of seeds, which draw the weights and the order of the data. Accuracy is that of the integers that
``numerics`` computes on all test images, float rows that of float32.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fxsim
from benchmarks.case_networks import cnn
from benchmarks.machine import machine, options, publish, table
from fxsim import prune, train
from fxsim.files import atomic_write
from fxsim.model.graph import Graph
from fxsim.quant import quantize

WIDTH, CALIBRATION, TARGET = 16, 256, "cortex-m4"
FLOAT = {"epochs": 15, "rate": 3e-3, "weight_decay": 1e-2}
REPAIR = {"epochs": 8, "rate": 1e-3}
ROWS: dict[str, tuple[str, dict[str | int, Any], str]] = {
    "int16": ("int16x8", {}, "litert-reference"),
    "int8": ("int8", {}, "litert-reference"),
    "int4": ("int4", {}, "litert-reference"),
    "int4, activations too": ("w4a4", {}, "generic"),
    "int2": ("int2", {}, "generic"),
    "ternary": ("ternary", {}, "generic"),
    "binary": ("binary", {}, "generic"),
}
"""row -> scheme, overrides, numerics"""
CORRECTIONS = {"int4": "+clip+bias"}


def load() -> tuple[Any, Any, Any, Any]:
    """Training images, test images, training labels, test labels."""
    x, y = load_digits(return_X_y=True)
    images = (x.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    return tuple(train_test_split(images, y, test_size=0.5, random_state=0, stratify=y))  # type: ignore[return-value]


def moved(x: Any, y: Any) -> tuple[Any, Any]:
    """The images, and each moved by a pixel in four directions."""
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    places = ((1, 1), (0, 1), (1, 0), (2, 1), (1, 2))
    return np.concatenate([wide[:, a : a + 8, b : b + 8] for a, b in places]), np.tile(y, len(places))


class Study:
    """One seed's networks, and what they reach."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.x, self.x_test, self.y, self.y_test = load()
        self.calibration = self.x[np.random.default_rng(0).permutation(len(self.x))[:CALIBRATION]]
        self.data = moved(self.x, self.y)
        self.found: dict[str, float] = {}
        self.costs: dict[str, dict[str, float]] = {}

    def accuracy(self, graph: Graph, numerics: str) -> float:
        """Share of the test images that are told right."""
        (scores,) = fxsim.simulate(graph, self.x_test, numerics).outputs.values()
        return float(np.mean(scores.reshape(len(self.y_test), -1).argmax(1) == self.y_test))

    def note(self, name: str, graph: Graph, numerics: str = "float32") -> None:
        """Adds a row: accuracy, and what the network takes."""
        self.found[name] = self.accuracy(graph, numerics)
        totals = {"weight_bytes": sum(t.nbytes for t in graph.tensors if t.constant)}
        try:
            cost = fxsim.estimate(graph, target=TARGET).totals()
            totals |= {k: cost[k] for k in ("cycles", "time_us", "energy_pj")}
        except fxsim.FxsimError as e:
            totals["why"] = str(e)
        self.costs[name] = totals

    def run(self) -> None:
        """All of it."""
        net = train.from_graph(cnn(self.seed, WIDTH))
        train.fine_tune(net, self.data, seed=self.seed, **FLOAT)
        graph = net.to_graph()
        self.note("float32", graph)
        for numerics in ("float16", "bfloat16"):
            self.note(numerics, graph, numerics)
        self.ladder(net)
        self.pruned(net)
        self.distilled(net)

    def ladder(self, net: train.Network) -> None:
        """Every number of bits, with and without repair."""
        graph = net.to_graph()
        for name, (scheme, overrides, numerics) in ROWS.items():
            chosen = scheme + CORRECTIONS.get(name, "")
            self.note(f"{name}: after training", quantize(graph, self.calibration, chosen, overrides), numerics)
            if scheme == "int16x8":
                continue
            model = train.quantized(net, self.calibration, scheme, overrides, numerics)
            train.fine_tune(model, self.data, seed=self.seed, **REPAIR)
            self.note(f"{name}: fine-tuned", model.to_graph(), numerics)

    def pruned(self, net: train.Network) -> None:
        """Zeros in a pattern, zeros where the loss feels them least, whole channels; then int8."""
        scores = train.sensitivity(net, self.data)
        for name, smaller in {
            "2:4 zeros": prune.weights(net.to_graph(), pattern="2:4"),
            "75 % zeros": prune.weights(net.to_graph(), 0.75, scores, scope="global"),
            "half the channels": prune.channels(net.to_graph(), 0.5),
        }.items():
            self.note(name, smaller)
            repaired = train.from_graph(smaller)
            train.distil(repaired, net, self.data, seed=self.seed, **REPAIR)
            self.note(f"{name}: fine-tuned", repaired.to_graph())
            model = quantize(repaired.to_graph(), self.calibration)
            self.note(f"{name}: fine-tuned, int8", model, "litert-reference")

    def distilled(self, net: train.Network) -> None:
        """A network of half the width, by itself and taught by the whole one; and four bits taught by float."""
        for name, learn in {"alone": train.fine_tune, "taught": self.taught_by(net)}.items():
            half = train.from_graph(cnn(self.seed, WIDTH // 2))
            learn(half, self.data, seed=self.seed, **FLOAT)
            self.note(f"half the width, {name}", half.to_graph())
            self.note(f"half the width, {name}, int8", quantize(half.to_graph(), self.calibration), "litert-reference")
        for name in ("int4", "binary"):
            scheme, overrides, numerics = ROWS[name]
            model = train.quantized(net, self.calibration, scheme, overrides, numerics)
            self.taught_by(net)(model, self.data, seed=self.seed, **REPAIR)
            self.note(f"{name}: taught by float", model.to_graph(), numerics)

    @staticmethod
    def taught_by(teacher: train.Network) -> Callable[..., Any]:
        """Training by a teacher's scores."""
        return lambda student, data, **options: train.distil(student, teacher, data, **options)


def main() -> None:
    parser = options(__doc__, runs=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    studies, start = [], time.time()
    for seed in range(args.runs):
        studies.append(Study(seed))
        studies[-1].run()
        print(f"seed {seed}: {time.time() - start:.0f} s")
    names = list(studies[0].found)
    every = {n: [s.found[n] for s in studies] for n in names}
    base = every["float32"]
    rows, result = [], {}
    for n in names:
        points = [100 * v for v in every[n]]
        loss = [100 * (b - v) for b, v in zip(base, every[n], strict=True)]
        cost = studies[0].costs[n]
        mean, spread = statistics.mean(points), statistics.stdev(points) if len(points) > 1 else 0.0
        result[n] = {"accuracy": every[n], "points_lost": loss, **cost}
        price = [f"{cost[k]:,.0f}" if k in cost else "" for k in ("weight_bytes", "cycles")]
        rows.append([n, f"{mean:.2f}", f"{spread:.2f}", f"{statistics.mean(loss):+.2f}", f"{max(loss):+.2f}", *price])
    head = ("network", "accuracy, %", "spread", "points lost", "at most", "bytes of constants", f"cycles, {TARGET}")
    text = (
        f"# A CNN on digits, from float to one bit\n\n`python -m benchmarks.case_digits --runs {args.runs}`: "
        f"{args.runs} seeds, {len(studies[0].y_test)} test images, one fixed split; mean, standard deviation, greatest "
        f"loss over seeds. "
        f"Accuracy of integers as `fxsim.simulate` computes them. {machine('torch', 'scikit-learn', 'numpy')}.\n\n"
        f"{table(head, rows)}\n"
    )
    publish(text, args.report)
    if args.json:
        atomic_write(args.json, json.dumps({"seeds": args.runs, "rows": result}, indent=1).encode())


if __name__ == "__main__":
    main()
