"""Synthetic devices: a random layer, and an arithmetic one or two quirks off a shipped profile that it computes with."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

import fxsim
from fxsim.diagnose import quirks
from fxsim.diagnose.cases import Case, settings_in, shipped
from fxsim.model.graph import Graph, Node
from fxsim.model.qtype import Array
from fxsim.numerics import OpNumerics, load_numerics
from tests.diagnose import layers

USERS = ("litert-reference", "tflm", "litert-optimized")


@dataclass(frozen=True)
class Device:
    """What a device was given, what it made of it, and how it did."""

    graph: Graph
    case: Case
    profile: str
    """of its user's simulation"""
    users: OpNumerics
    true: OpNumerics
    chosen: tuple[quirks.Quirk, ...]

    def __call__(self, x: Array) -> Array:
        """One run of the device: the simulator, bound with the true arithmetic."""
        given = (x, *self.case.inputs[0][1:])
        return self.case.run(self.true, [given])[0][0]


@dataclass(frozen=True)
class Row:
    """How a device was identified, from what it was given and then by asking it."""

    seed: int
    layer: str
    quirks: list[str]
    """the axes that it is off on"""
    true: str
    held: bool
    """the true arithmetic is in the class that the data leave"""
    kinds: int
    """functions of the layer's input in that class"""
    settled: bool
    """it is alone after the device was asked, or proved to be equal to all that remain"""
    kinds_after: int
    queries: int
    seconds: float
    left: list[str]
    """what else remains, in words"""


def identified(seed: int) -> Row:
    """A random device explained from its dump, then by separating inputs until nothing can be told apart any more."""
    start, d = time.thread_time(), random_device(seed)
    x = np.stack([given[0] for given in d.case.inputs])
    y = np.stack([out[0] for out in d.case.outputs])
    first = fxsim.explain(d.graph, {d.graph.tensors[d.graph.outputs[0]].name: y}, x, d.profile).findings[0]
    found = fxsim.explain(d.graph, d, x, d.profile)
    last, node = found.findings[0], d.case.node
    held = bool(last.members) and last.holds(d.true)
    shape = "x".join(map(str, d.graph.tensors[node.inputs[1]].shape))
    settled = held and len(last.kinds) == 1
    others = [] if settled else [k[0] for k in last.kinds if d.true not in k][:8]
    return Row(
        seed, f"{node.op} {shape}", [q.axis for q in d.chosen], quirks.tell(d.true, d.users)[0],
        bool(first.members) and first.holds(d.true), len(first.kinds), settled, len(last.kinds),
        found.queries, round(time.thread_time() - start, 2), [quirks.tell(s, d.true)[0] for s in others],
    )  # fmt: skip


def random_layer(rng: np.random.Generator) -> Graph:
    """A dense, convolution or depthwise layer: one or many channels, scales with and without ties, any zero points."""
    kind, channels = rng.choice(["dense", "conv", "depthwise"]), int(rng.choice([1, 3, 8, 13]))
    per = channels > 1 and bool(rng.integers(2))
    ties = bool(rng.integers(2))
    k = int(rng.integers(1, 4))
    depth = int(rng.choice([4, 12, 40])) if kind == "dense" else int(rng.choice([1, 3, 8]))
    shape = {"dense": (channels, depth), "conv": (channels, k, k, depth), "depthwise": (1, k, k, channels)}[str(kind)]
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    taps = weight.size // channels
    bias = rng.integers(-2000, 2000, channels).astype(np.int32)
    scale = 2.0 ** -rng.integers(3, 8) if ties else float(np.float32(rng.uniform(0.01, 0.1)))
    weights: Any = [
        2.0 ** -int(rng.integers(5, 8)) if ties else float(np.float32(rng.uniform(0.004, 0.03)))
        for _ in range(channels)
    ]
    spread = 60 * 50 * np.sqrt(taps) * scale * float(np.mean(weights)) / rng.uniform(40, 110)
    out = 2.0 ** round(np.log2(spread)) if ties else float(np.float32(spread))
    zeros = int(rng.integers(-128, 128)), int(rng.integers(-100, 101))
    args = (weight, bias, (scale, weights if per else weights[0], out), zeros)
    activation = str(rng.choice(["NONE", "NONE", "RELU"]))
    if kind == "dense":
        return layers.dense(*args, rows=int(rng.integers(1, 5)), activation=activation)
    size, stride = (int(rng.integers(4, 9)), int(rng.integers(4, 9))), int(rng.integers(1, 3))
    padding = str(rng.choice(["SAME", "VALID"]))
    return layers.conv(
        *args, size=size, stride=stride, padding=padding, activation=activation, depthwise=kind == "depthwise"
    )


def random_inputs(graph: Graph, node: Node, rng: np.random.Generator, count: int) -> tuple[Any, ...]:
    """Inferences of every amplitude around the zero point."""
    x = graph.tensors[node.inputs[0]]
    zero = x.quant.zero_point[0] if x.quant else 0
    drawn = []
    for _ in range(count):
        noise = np.rint(rng.normal(zero, 64 * 2.0 ** -rng.uniform(0, 2), x.shape))
        values = np.clip(noise, x.qtype.min, x.qtype.max).astype(x.qtype.dtype)
        drawn.append((values, *(graph.tensors[i].data for i in node.inputs[1:])))
    return tuple(drawn)


def random_device(seed: int) -> Device:
    """A device that differs from its user's simulation on what it was given."""
    rng = np.random.default_rng(seed)
    while True:
        graph = random_layer(rng)
        node = graph.nodes[0]
        profile = str(rng.choice(USERS))
        users = settings_in(graph, node, load_numerics(profile))
        bases = list(shipped(graph, node))
        true = bases[rng.integers(len(bases))]
        axes = quirks.REQUANTIZE | quirks.SUMS
        names = rng.choice(list(axes), rng.integers(1, 3), replace=False)
        chosen = tuple(axes[n][rng.integers(len(axes[n]))] for n in names)
        for q in chosen:
            true = q.apply(true)
        case = Case(graph, node, random_inputs(graph, node, rng, 4), ())
        if users is None or case.bound(true) is None:
            continue
        try:
            case = case.more((), case.run(true))
        except Exception as e:
            if type(e).__name__ == "UnsupportedOp":
                continue
            raise
        if case.differing(case.run(users)):
            return Device(graph, case, profile, users, true, chosen)
