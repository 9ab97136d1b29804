"""How accumulators become outputs, all settled: what a search tries many of on the same accumulators."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec
import numpy as np

from fxsim.arith.overflow import wrap
from fxsim.diagnose import quirks
from fxsim.diagnose.bounds import summing
from fxsim.diagnose.cases import Case, layer_of
from fxsim.errors import FxsimError
from fxsim.model.qtype import Array
from fxsim.numerics import OpNumerics
from fxsim.sim.base import INT32, Scales, scales_of, scheme_of
from fxsim.sim.layer import Layer
from fxsim.sim.rescale import OWN_ROUNDING, Parts, part, parts, rounded

T = TypeVar("T")


def alike_together(items: Iterable[T], of: Callable[[T], Hashable]) -> list[T]:
    """The items with those of equal ``of`` next to each other, groups in the order in which they first came."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(of(item), []).append(item)
    return [item for group in groups.values() for item in group]


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """How accumulators become outputs. Ways of equal ``key`` are the same function."""

    key: tuple[Any, ...]
    scheme: str
    rounding: str
    scales: Scales
    zero: int
    before: bool
    clamp: tuple[int, int]
    dtype: np.dtype[Any]
    lanes: int = 0
    tail: str = ""
    over_elements: bool = False

    @property
    def product(self) -> tuple[Any, ...]:
        """What :func:`fxsim.sim.rescale.parts` depends on besides the accumulators."""
        return self.scheme, self.key[2]

    @property
    def wraps(self) -> bool:
        """True if outputs wrap instead of being clamped."""
        return self.clamp == INT32

    def outputs(self, acc: Array, flat: Array, seen: Parts | None, layer: Layer, size: int) -> Array:
        """The outputs of ``acc`` ``(rows, channels)``; ``flat`` is each row's first index in an output of ``size``.

        ``seen`` is what the last rounding sees; None where ``layer``'s kernel alone knows.
        """
        if seen is None:
            made = self._by_kernel(acc, layer)
        else:
            made = rounded(seen, self.rounding, self.zero, before=self.before)
            rest = self._beyond(acc.shape[1], flat, size)
            if rest is not None:
                made = np.where(rest, rounded(seen, self.tail, self.zero, before=self.before), made)
        return made.astype(self.dtype).astype(np.int64) if self.wraps else np.clip(made, *self.clamp)

    def of(self, acc: Array, layer: Layer) -> Array:
        """The outputs of ``acc`` wherever they lie: elements are taken to lie within full blocks."""
        seen = parts(self.scheme, acc, self.scales)
        return self.outputs(acc, np.zeros(len(acc), np.int64), seen, layer, 0)

    def one(self, acc: int, channel: int, first: int, layer: Layer) -> int | None:
        """The output of one accumulator, as :meth:`outputs` has it; None where a kernel alone knows.

        The row that it lies in begins with element ``first`` of the output.
        """
        seen = part(self.scheme, acc, self.scales, channel)
        if seen is None:
            return None
        rule = self.rounding
        if self.lanes:
            over, place = layer.geometry.out_c, channel
            if self.over_elements:
                over, place = layer.geometry.outputs, channel + first
            rule = self.tail if place >= over - over % self.lanes else rule
        made = int(rounded(seen, rule, self.zero, before=self.before))
        if self.wraps:
            return int(np.int64(made).astype(self.dtype))
        return min(max(made, self.clamp[0]), self.clamp[1])

    @property
    def tail_way(self) -> "Way":
        """How what lies beyond the last full block is requantized."""
        return replace(self, rounding=self.tail, lanes=0)

    def rest(self, layer: Layer) -> int:
        """Elements of an output that lie beyond the last full block of elements."""
        return layer.geometry.outputs % self.lanes if self.over_elements and self.lanes else 0

    def tail_channels(self, layer: Layer) -> range:
        """The channels in which elements lie beyond the last full block."""
        channels = layer.geometry.out_c
        return range(max(0, channels - self.rest(layer)), channels)

    def _beyond(self, channels: int, flat: Array, size: int) -> Array | None:
        """What lies beyond the last full block of lanes, ``(rows or 1, channels)``; None where nothing does."""
        over = size if self.over_elements else channels
        whole = over - over % self.lanes if self.lanes else over
        if whole == over:
            return None
        of: Array = np.arange(channels)[np.newaxis] + (flat[:, np.newaxis] if self.over_elements else 0)
        beyond: Array = of >= whole
        return beyond

    def _by_kernel(self, acc: Array, layer: Layer) -> Array:
        made = np.empty((len(acc), 1, 1, acc.shape[1]), np.int32)
        g = replace(layer.geometry, batch=len(acc), out_h=1, out_w=1)
        told = replace(
            layer, geometry=g, scheme=self.scheme, rounding=self.rounding, scales=self.scales, zero=self.zero,
            lanes=self.lanes, tail=self.tail, zero_point="after",
        )  # fmt: skip
        if self.before:
            return np.full(acc.shape, INT32[0], np.int64)  # has no kernel
        told.requantize(acc.reshape(made.shape), self.clamp, made)
        return made.reshape(acc.shape).astype(np.int64)


@dataclass(slots=True, eq=False)
class Ways:
    """Makes ways of settings, for one layer; ``users`` is an arithmetic that it can be prepared with."""

    case: Case
    users: OpNumerics
    layer: Layer = field(init=False)
    _scales: dict[Any, Scales | None] = field(default_factory=dict)
    _clamps: dict[str, tuple[int, int]] = field(default_factory=dict)
    _layers: dict[OpNumerics, Layer | None] = field(default_factory=dict)
    _alike: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    _limits: set[tuple[int, int]] = field(default_factory=set)
    zero: int = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        """Prepares the layer as its op is defined."""
        r = msgspec.structs.replace(self.users.requantize, zero_point="after", limit="activation")
        self.users = msgspec.structs.replace(self.users, requantize=r)
        layer = self.layer_with(self.users)
        if layer is None:
            raise FxsimError(f"layer {self.case.node.index} {self.case.node.op} cannot be prepared")
        self.layer, self.zero = layer, layer.zero
        self.dtype = self.case.outputs[0][0].dtype if self.case.outputs else self.case.empty()[0].dtype

    def layer_for(self, settings: OpNumerics) -> Layer | None:
        """The layer that sums as ``settings`` say; how it requantizes is not settled."""
        return self.layer_with(msgspec.structs.replace(settings, requantize=self.users.requantize))

    def summing(self, layer: Layer) -> tuple[Any, ...]:
        """:func:`fxsim.diagnose.bounds.summing` of a layer from :meth:`layer_for`."""
        if id(layer) not in self._alike:
            self._alike[id(layer)] = summing(layer)
        return self._alike[id(layer)]

    def layer_with(self, settings: OpNumerics) -> Layer | None:
        """The layer prepared with ``settings``; None where it cannot be."""
        if settings not in self._layers:
            self._layers[settings] = layer_of(self.case.bound(settings))
        return self._layers[settings]

    def scales(self, settings: OpNumerics, channel: int = -1) -> Scales | None:
        """The scales that ``settings`` have, or that of one channel, as the first; None if they have none."""
        r, bits = settings.requantize, self.layer.accumulator.bits
        numerators, denominator = self.layer.factors
        if channel >= 0 and len(numerators) > 1:
            numerators = 2 * numerators[channel : channel + 1]  # still more than one, which choose the chain
        form: tuple[Any, ...] = (r.scheme,)
        if not r.scheme.startswith("float"):  # all others have the same multipliers
            form = r.multiplier_bits, r.multiplier_rounding, r.max_exponent
        key = form, r.chain, r.chain_per_channel, bits > 32, channel if len(numerators) > 1 else -1
        if key not in self._scales:
            try:
                self._scales[key] = scales_of(r, numerators, denominator, self.layer.geometry.out_c, bits)
            except FxsimError:
                self._scales[key] = None
        return self._scales[key]

    def makes(self, floor: int) -> set[int]:
        """Every output that some rounding, zero point and limit make of a product that lies above ``floor``."""
        if not self._limits:
            r = self.users.requantize
            for bound in ("rounded", "summed"):
                for limit in ("activation", "type", "narrow", "wrap"):
                    told = msgspec.structs.replace(r, bound=bound, limit=limit)
                    self._limits.add(self._clamp(msgspec.structs.replace(self.users, requantize=told)))
        made = {floor + up + zero for up in (0, 1) for zero in (0, self.zero)}
        bits = 8 * self.dtype.itemsize
        wrapped = {wrap(v, bits) if self.dtype.kind == "i" else v % (1 << bits) for v in made}
        return wrapped.union(min(max(v, low), high) for v in made for low, high in self._limits if (low, high) != INT32)

    def _clamp(self, settings: OpNumerics) -> tuple[int, int]:
        r, out = settings.requantize, self.case.graph.tensors[self.case.node.outputs[0]].qtype
        if r.bound not in self._clamps:
            bound = msgspec.structs.replace(self.users.requantize, bound=r.bound)
            plain = self.layer_with(msgspec.structs.replace(self.users, requantize=bound))
            self._clamps[r.bound] = self.layer.clamp if plain is None else plain.clamp
        low, high = self._clamps[r.bound]
        clamps = {"type": (out.min, out.max), "narrow": (max(low, out.min + 1), high), "wrap": INT32}
        return clamps.get(r.limit, (low, high))

    def of(self, settings: OpNumerics) -> Way | None:
        """How ``settings`` requantize; None if this layer cannot be requantized so."""
        r, bits = settings.requantize, self.layer.accumulator.bits
        scheme, rounding = scheme_of(r, bits)
        scales = self.scales(settings)
        if settings.variant in quirks.OVERRULING:
            told = self.layer_with(settings)
            if told is None:
                return None
            scheme, rounding, scales = told.scheme, told.rounding, told.scales
        if scales is None:
            return None
        zero = 0 if r.zero_point == "ignored" else self.zero
        before, clamp = r.zero_point == "before" and zero != 0, self._clamp(settings)
        lanes = 0 if bits > 32 or r.tail == rounding or scheme in OWN_ROUNDING else r.lanes
        g = self.layer.geometry
        over_elements = r.lanes_over == "elements" and g.outputs > g.out_c  # of one row, the same
        over = g.outputs if over_elements else g.out_c
        if lanes and (over < lanes or over % lanes == 0):  # no full block, or nothing beyond
            rounding, lanes = (r.tail if over < lanes else rounding), 0
        floats = scheme.startswith("float")
        form = (
            (scales.real.dtype.char, scales.real.tobytes()) if floats else (scales.q.tobytes(), scales.shift.tobytes())
        )
        rule = "" if scheme in OWN_ROUNDING else rounding
        key = (scheme, rule, form, zero, before, clamp, (lanes, r.tail, over_elements) if lanes else ())
        return Way(key, scheme, rounding, scales, zero, before, clamp, self.dtype, lanes, r.tail, over_elements)
