"""A network whose forward pass is the simulator: its values are those of an engine, integer for integer.

Backwards, each layer counts as its real function at the values that the engine really had, rounding as the identity, and
a clamp as a clamp (straight-through estimation). Step sizes are learned as in LSQ: with ``v`` what a tensor holds and
``r`` its real value, ``dv/ds = (v - r) / s`` within the range and ``v / s`` beyond, times ``1 / sqrt(elements * Qmax)``.
Source: Esser et al., Learned Step Size Quantization, ICLR 2020, equations 3 and 5.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fxsim.errors import FxsimError, listed
from fxsim.model.graph import Graph
from fxsim.model.qtype import Array
from fxsim.numerics import NumericsProfile, numerics_of
from fxsim.quant.calibration import calibrate
from fxsim.quant.decide import decide
from fxsim.quant.realize import Decision, Io, realize, settle
from fxsim.quant.rules import LEAST_SCALE, Decisions, fixed, groups
from fxsim.quant.scheme import Scheme, scheme_of
from fxsim.sim import simulate
from fxsim.sim.trace import Trace
from fxsim.train.network import Inputs, Network, as_called, flat_scores, from_graph, stacked
from fxsim.train.weights import CLIP, RULES, Rule, rule_of

FloatWeights = Literal["dynamic", "dequantized"]
"""what a layer of float data with integer weights does, see :func:`fxsim.quant.realize.realize`"""


class _Emulated(torch.autograd.Function):
    """``value`` forwards; backwards the clamp of ``real`` to ``low..high``, and the step size."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        real: Tensor,
        step: Tensor,
        value: Tensor,
        low: Tensor,
        high: Tensor,
        factor: float,
    ) -> Tensor:
        inside = (real >= low) & (real <= high)
        ctx.save_for_backward(inside, torch.where(inside, value - real, value))
        ctx.factor, ctx.step, ctx.dtype = factor * math.log(2), step.shape, real.dtype
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        inside, by_log = ctx.saved_tensors
        real = torch.where(inside, slope, 0.0).to(ctx.dtype)
        step = (slope.double() * by_log).sum_to_size(ctx.step) * ctx.factor if ctx.needs_input_grad[1] else None
        return real, step, None, None, None, None


@dataclass(frozen=True, slots=True)
class Ran:
    """One forward pass of the simulator."""

    graph: Graph
    trace: Trace
    decisions: Decisions
    outputs: Mapping[int, int]
    """output of the float graph -> the output of the integer one, as the engine dequantizes it"""

    def value(self, i: int) -> Tensor:
        """What tensor ``i`` of the float graph holds, as real numbers."""
        if i in self.outputs:
            return torch.from_numpy(self.trace.kept[self.outputs[i]])
        t = self.graph.tensors[i]
        raw = self.trace.kept[i] if t.data is None else t.data
        return torch.from_numpy((raw if t.quant is None else t.quant.dequantize(raw)).astype(np.float32))


class QuantizedNetwork(nn.Module):
    """A :class:`Network` as integers: ``forward`` returns what ``fxsim.simulate(self.to_graph(), x)`` returns.

    ``log2_steps`` holds the binary logarithm of each learned scale, by the first tensor of those that share it. Scales
    that start as powers of two stay powers of two. Zero points, and scales that the engines prescribe, do not change.
    """

    def __init__(
        self,
        network: Network,
        decisions: Mapping[int, Decision],
        numerics: str | NumericsProfile | None = None,
        weight_rule: Rule | None = None,
        stay_float: frozenset[int] = frozenset(),
        float_weights: FloatWeights = "dynamic",
    ) -> None:
        super().__init__()
        graph = network.to_graph()
        self.network = Network(graph)
        self.numerics = numerics_of(graph.name, numerics)
        self._stay_float, self._float_weights = stay_float, float_weights
        self._decisions = settle(graph, decisions)
        self._rules: dict[int, Rule] = {}
        for i, _ in self.network.weights():
            if i not in self._decisions:
                continue
            d = self._decisions[i]
            if d.encoding is not None:
                raise FxsimError(
                    f"{graph.name}: weight {i} is coded as {d.encoding.name!r}; trained: integers of one scale"
                )
            rule = weight_rule or rule_of(d.qtype)
            if rule not in ("step", *RULES):
                raise FxsimError(f"weight rule is {rule!r}; allowed: {listed(('step', *RULES))}")
            if rule != "step":
                if any(d.quant.zero_point):
                    raise FxsimError(f"{graph.name}: weight {i} has a zero point; {rule} weights have none")
                self._rules[i] = rule
        self._step_of: dict[int, str] = {}
        self.log2_steps = nn.ParameterDict()
        pinned = {i for n in graph.nodes for i in n.outputs if i in decisions and fixed(n.op, decisions[i].qtype)}
        together = groups(graph, self._decisions)
        for i, d in self._decisions.items():
            if i in self._rules or i in self._step_of or pinned & set(together[i]):
                continue
            self.log2_steps[str(i)] = nn.Parameter(torch.tensor(d.quant.scale, dtype=torch.float64).log2())
            self._step_of |= dict.fromkeys(together[i], str(i))
        self._powers = {i for i, d in self._decisions.items() if all(math.frexp(s)[0] == 0.5 for s in d.quant.scale)}

    def decisions(self) -> dict[int, Decision]:
        """Type, scale and zero point of every tensor that is held as integers, as they are now."""
        return self._decided()[0]

    def _decided(self) -> tuple[dict[int, Decision], dict[int, Array]]:
        """The decisions, and the raw integers of binary and ternary weights."""
        now, raw = dict(self._decisions), {}
        scales: dict[int, Tensor] = {}
        for i, key in self._step_of.items():
            log2 = self.log2_steps[key].detach()
            scales[i] = torch.exp2(log2.round() if i in self._powers else log2)
        for i, w in self.network.weights():
            if i in self._rules:
                integers, scales[i] = RULES[self._rules[i]](w, None if now[i].quant.per_tensor else now[i].quant.axis)
                raw[i] = integers.cpu().numpy()
        for i, scale in scales.items():
            exact = tuple(scale.clamp(min=LEAST_SCALE).float().tolist())
            now[i] = replace(now[i], quant=replace(now[i].quant, scale=exact))
        return now, raw

    def to_graph(self, io: Io = "float32") -> Graph:
        """The network of integers, with the weights and scales as they are now."""
        return self._realized(io)[0]

    def _realized(self, io: Io = "float32") -> tuple[Graph, Decisions]:
        decisions, raw = self._decided()
        graph = self.network.to_graph()
        return realize(graph, decisions, raw, io, self._float_weights, self._stay_float), decisions

    def _run(self, x: Inputs, *, every: bool) -> Ran:
        graph, decisions = self._realized()
        g = self.network.graph
        types = [g.tensors[i].qtype.dtype for i in g.inputs]
        arrays = [v.detach().cpu().numpy().astype(t) for v, t in zip(stacked(g, x), types, strict=True)]
        keep = "all" if every else [*g.outputs, self.network.score_tensor()]
        ends = dict(zip(g.outputs, graph.outputs, strict=True))
        return Ran(graph, simulate(graph, arrays, self.numerics, keep), decisions, ends)

    def integers(self, x: Inputs) -> Array | list[Array]:
        """The outputs ``(N, *shape)`` as the raw integers that the engine leaves."""
        ran = self._run(x, every=False)
        return as_called([ran.trace.kept[i] for i in self.network.graph.outputs])

    def _values(self, x: Inputs, wanted: Sequence[int]) -> list[Tensor]:
        """What tensors hold, as real numbers; with slopes where gradients are on."""
        training = torch.is_grad_enabled()
        ran = self._run(x, every=training)
        device = self.network.device
        if not training:
            return [ran.value(i).to(device) for i in wanted]

        def emulate(i: int, real: Tensor) -> Tensor:
            step, low, high, factor = real.new_zeros(()), real.new_tensor(-math.inf), real.new_tensor(math.inf), 0.0
            d = ran.decisions.get(i)
            if i in self._rules:
                low, high = real.new_tensor(-CLIP), real.new_tensor(CLIP)
            elif d is not None:
                axis = None if d.quant.per_tensor else d.quant.axis
                shape = [-1 if a == axis else 1 for a in range(real.dim())] if axis is not None else []
                scale, zero = (torch.tensor(v, device=device).view(shape) for v in (d.quant.scale, d.quant.zero_point))
                low, high = scale * (d.qtype.min - zero), scale * (d.qtype.max - zero)
                if i in self._step_of:
                    step = self.log2_steps[self._step_of[i]].view(shape)
                    factor = (ran.graph.tensors[i].elements / len(d.quant.scale) * max(1, d.qtype.max)) ** -0.5
            return _Emulated.apply(real, step, ran.value(i).to(device), low, high, factor)

        values = self.network.values(x, emulate, emulate)
        return [values[i] for i in wanted]

    def scores(self, x: Inputs) -> Tensor:
        """The logits ``(N, classes)`` that a loss reads."""
        return flat_scores(self._values(x, [self.network.score_tensor()])[0])

    def forward(self, x: Inputs) -> Tensor | list[Tensor]:
        """The output ``(N, *shape)`` as real numbers, or a list of several."""
        return as_called(self._values(x, self.network.graph.outputs))


def quantized(
    network: Network | Graph,
    calibration: Inputs,
    scheme: str | Scheme = "int8",
    overrides: Mapping[int | str, int | Scheme] | None = None,
    numerics: str | NumericsProfile | None = None,
    weight_rule: Rule | None = None,
) -> QuantizedNetwork:
    """A copy of ``network`` as integers, with the scales that ``scheme`` finds: where quantization-aware training starts.

    Args:
        network: float.
        calibration: inputs as :func:`fxsim.simulate` takes them, or an iterable of such batches.
        scheme: a name or a :class:`fxsim.Scheme`, without corrections: training repairs instead.
        overrides: layer index, name or op -> weight bits or another scheme.
        numerics: whose integers; by default those of LiteRT's reference kernels. ``generic`` has all numbers of bits.
        weight_rule: ``binary``, ``ternary`` or ``step`` for all weights; by default weights of 1 bit are binary, others
            have learned steps.

    Raises:
        FxsimError: if the scheme cannot be trained or the data does not fit.
    """
    network = from_graph(network) if isinstance(network, Graph) else network
    settings, graph = scheme_of(scheme, overrides), network.to_graph()
    settings.check(graph)
    if settings.corrections:
        raise FxsimError(f"quantized: corrections are {listed(settings.corrections)}; allowed: none, training repairs")
    seen = calibrate(graph, calibration) if settings.activations == "static" else None
    choice = decide(graph, seen, settings)
    weights: FloatWeights = "dynamic" if settings.activations == "dynamic" else "dequantized"
    return QuantizedNetwork(network, choice.decisions, numerics, weight_rule, choice.stay_float, weights)
