"""One layer and what a device was seen to make of it: what every search works on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fxsim.errors import FxsimError
from fxsim.model.graph import ABSENT, Graph, Node
from fxsim.model.qtype import Array
from fxsim.numerics import NumericsProfile, OpNumerics, list_numerics, load_numerics
from fxsim.sim.base import Bound
from fxsim.sim.layer import Layer
from fxsim.sim.registry import STATE_OPS, bind_alone, settings_of, within_reach


@dataclass(frozen=True, slots=True)
class Case:
    """A layer, what went into it and what came out, an entry for each inference."""

    graph: Graph
    node: Node
    inputs: tuple[tuple[Array, ...], ...]
    """present inputs, constants too"""
    outputs: tuple[tuple[Array, ...], ...]

    @property
    def elements(self) -> int:
        """Output elements over all inferences."""
        return sum(y.size for out in self.outputs for y in out)

    def more(self, inputs: Sequence[tuple[Array, ...]], outputs: Sequence[tuple[Array, ...]]) -> "Case":
        """The case with further inferences."""
        return replace(self, inputs=(*self.inputs, *inputs), outputs=(*self.outputs, *outputs))

    def run(self, settings: OpNumerics, inputs: Sequence[tuple[Array, ...]] | None = None) -> list[tuple[Array, ...]]:
        """What the layer computes with ``settings``, for each inference.

        Raises:
            FxsimError: if it cannot be bound so.
        """
        bound = bind_alone(self.graph, self.node, settings)
        run = bound.fresh() if bound.fresh else bound.run
        made = []
        for given in self.inputs if inputs is None else inputs:
            out = tuple(self.empty())
            if bound.view:
                out[0][...] = given[0].reshape(out[0].shape)
            else:
                run(given, out)
            made.append(out)
        return made

    def empty(self) -> list[Array]:
        """Room for the outputs of one inference."""
        tensors = [self.graph.tensors[i] for i in self.node.outputs]
        return [np.zeros(t.shape, t.qtype.dtype) for t in tensors]

    def differing(self, made: Sequence[tuple[Array, ...]]) -> int:
        """Elements in which ``made`` is not what the device made."""
        return sum(
            unequal(a, b)
            for ours, theirs in zip(made, self.outputs, strict=True)
            for a, b in zip(ours, theirs, strict=True)
        )

    def bound(self, settings: OpNumerics) -> Bound | None:
        """The layer prepared, or None if it cannot be with these settings."""
        try:
            return bind_alone(self.graph, self.node, settings)
        except (FxsimError, OverflowError, ZeroDivisionError):
            return None


def unequal(a: Array, b: Array) -> int:
    """Elements that differ; NaN equals NaN."""
    different = a != b
    if a.dtype.kind == "f":
        different &= ~(np.isnan(a) & np.isnan(b))
    return int(np.count_nonzero(different))


def layer_of(bound: Bound | None) -> Layer | None:
    """The sum of products within a prepared layer, if it is one of constant weights."""
    owner = getattr(bound.probe, "__self__", None) if bound is not None else None
    return owner if isinstance(owner, Layer) else None


def shipped(graph: Graph, node: Node) -> dict[OpNumerics, list[str]]:
    """Every distinct arithmetic that the shipped profiles have for a layer -> their names."""
    found: dict[OpNumerics, list[str]] = {}
    for name in list_numerics():
        profile = load_numerics(name)
        settings = settings_in(graph, node, profile)
        if settings is not None:
            found.setdefault(settings, []).append(name)
    return found


def settings_in(graph: Graph, node: Node, profile: NumericsProfile) -> OpNumerics | None:
    """A profile's arithmetic of a layer; None where it has none."""
    if profile.real is not None or node.op in STATE_OPS:
        return None
    try:
        within_reach(graph, node, profile)
        settings = settings_of(graph, node, profile)
        bind_alone(graph, node, settings, profile.name)
    except FxsimError:
        return None
    return settings


def operands(graph: Graph, node: Node) -> list[int]:
    """The tensors that go into a layer."""
    return [i for i in node.inputs if i != ABSENT]
