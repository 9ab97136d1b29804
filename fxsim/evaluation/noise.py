"""Noise layer by layer: a network of integers against the float network that it was made from."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fxsim.errors import InputError
from fxsim.evaluation.data import prepared
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array
from fxsim.nearness import sqnr_db
from fxsim.numerics import load_numerics
from fxsim.sim import simulate
from fxsim.sim.real import plan as real
from fxsim.sim.trace import computed


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """What one layer's output has lost."""

    layer: int
    """in the network of integers"""
    op: str
    tensor: str
    sqnr_db: float
    """power of the float network's values over that of the difference, decibel; infinite if equal"""
    own_sqnr_db: float
    """the same with the layer's inputs as the network of integers has them: the layer's own share"""
    bias: float
    """mean difference, in real units"""


def noise(quantized: Graph, reference: Graph, x: Array, numerics: Any = None) -> tuple[LayerNoise, ...]:  # noqa: ANN401
    """``10 log10(sum(r^2) / sum((r - q)^2))`` of every tensor that both networks have, by name, on the inputs ``x``.

    The layer's own share compares with the real function of the quantized layer (its own weights) on the same inputs.

    Args:
        quantized: what was made of ``reference`` by :func:`fxsim.quantize`, :func:`fxsim.read` or training.
        reference: the float network.
        x: inputs as the float network takes them.
        numerics: the arithmetic of the network of integers, as for :func:`fxsim.simulate`.

    Raises:
        InputError: if the two have no tensor in common.
    """
    names = {t.name: t.index for t in reference.tensors if t.index in set(computed(reference))}
    shared = {
        i: names[quantized.tensors[i].name]
        for i in computed(quantized)
        if quantized.tensors[i].name in names
        and quantized.tensors[i].elements == reference.tensors[names[quantized.tensors[i].name]].elements
    }
    made = [n for n in quantized.nodes if n.outputs and n.outputs[0] in shared]
    if not made:
        raise InputError(f"{quantized.name}: has no layer's output in common with {reference.name}, by name")
    keep = [shared[n.outputs[0]] for n in made]
    wanted = real.run(reference, prepared(reference, x), "float32", keep=keep)
    trace = simulate(quantized, prepared(quantized, x), numerics, keep="all")
    count = trace.batch.count
    plan = real.plan_of(quantized, load_numerics("float32"))
    rows = []
    for n in made:
        t = quantized.tensors[n.outputs[0]]
        got = t.reals(trace.tensor(t.index)).reshape(count, -1)
        r = wanted[shared[t.index]].reshape(count, -1).astype(np.float64)
        own = _alone(plan, n.index, trace, count)
        rows.append(
            LayerNoise(
                n.index,
                n.op,
                t.name,
                sqnr_db(r, got),
                float("nan") if own is None else sqnr_db(own, got),
                float(np.mean(got - r)),
            )
        )
    return tuple(rows)


def _alone(plan: real.RealPlan, layer: int, trace: Any, count: int) -> Array | None:  # noqa: ANN401
    """The real function of one layer on the integers that reached it; None where it has none of its own."""
    step = next((s for s in plan.steps if s.node.index == layer), None)
    if step is None:
        return None
    ins: list[Array | None] = []
    for i in step.node.inputs:
        t = plan.graph.tensors[i] if i >= 0 else None
        if t is None:
            ins.append(None)
        elif i in plan.constants:
            ins.append(plan.constants[i])
        else:
            raw = np.asarray(trace.tensor(i)).reshape(count, *t.shape)
            ins.append(t.reals(raw).astype(plan.real.accumulate) if t.quant is not None else raw)
    out = plan.graph.tensors[step.node.outputs[0]]
    made = next(iter(step.run(ins)))
    return np.asarray(plan.value(out, made), np.float64).reshape(count, -1)
