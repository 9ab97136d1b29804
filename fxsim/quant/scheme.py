"""What to quantize and how, as data: the schemes by name, and what single layers do otherwise."""

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args, get_type_hints

from fxsim.errors import FxsimError, listed
from fxsim.model.graph import Graph, Node
from fxsim.model.qtype import QType
from fxsim.quant.observers import METHODS

Granularity = Literal["tensor", "channel", "group"]
Codebook = Literal["uniform", "kmeans", "quantile", "log2", "apot"]
Correction = Literal["equalize", "clip", "bias", "adaround"]
Activations = Literal["static", "dynamic", "float"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a network is quantized. The defaults are those of LiteRT's int8.

    ``weight_bits`` 1 is binary (-1 and 1), ``ternary`` two bits without the least value (-1, 0 and 1); 32 leaves weights as
    they are.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    weights_symmetric: bool = True
    activations_symmetric: bool = False
    signed: bool = True
    """False: uint8, weights too, with zero points"""
    granularity: Granularity = "channel"
    """one weight scale for a tensor, for an output channel, or for ``group`` neighbouring inputs of a channel"""
    group: int = 32
    power_of_two: bool = False
    """scales, of weights and activations, are powers of two"""
    narrow_range: bool = True
    """weights without the least integer, so that they are as far from zero on both sides"""
    activations: Activations = "static"
    """``static``: calibrated; ``dynamic``: float, quantized at run time by layers with integer weights; ``float``: only
    weights are stored as integers"""
    calibration: str = "min_max"
    percent: float = 99.998
    """of all values, for the calibration ``percentile``"""
    codebook: Codebook = "uniform"
    """what the weights' ``2**weight_bits`` values are"""
    bias_bits: int = 32
    """biases saturate to so many"""
    corrections: tuple[str, ...] = ()
    """repairs, done in the order of ``CORRECTIONS``"""
    overrides: MappingProxyType[int | str, "int | str | Scheme"] = field(default_factory=lambda: MappingProxyType({}))
    """layer index, layer name or op -> another scheme, just other weight bits, or ``"float"``: it stays float"""

    def __post_init__(self) -> None:
        """Raises FxsimError on a value that is not allowed."""
        hints = get_type_hints(type(self), localns={"MappingProxyType": MappingProxyType})
        for name in ("granularity", "codebook", "activations"):
            _among(name, getattr(self, name), get_args(hints[name]))
        _among("calibration", self.calibration, METHODS)
        for c in self.corrections:
            _among("corrections", c, CORRECTIONS)
        _among("weight_bits", self.weight_bits, (*range(1, 17), 32))
        _among("activation_bits", self.activation_bits, tuple(range(2, 17)))
        _among("bias_bits", self.bias_bits, tuple(range(8, 65)))
        if 8 < self.weight_bits <= 16 and self.activation_bits <= 8 and self.activations == "static":
            bits = f"weight_bits is {self.weight_bits} with activation_bits {self.activation_bits}"
            raise FxsimError(f"Scheme: {bits}; allowed: at most 8 beside activations of at most 8")
        if not 50 < self.percent <= 100:
            raise FxsimError(f"Scheme: percent is {self.percent!r}; allowed: above 50, at most 100")
        if not isinstance(self.group, int) or self.group < 2:
            raise FxsimError(f"Scheme: group is {self.group!r}; allowed: integers of at least 2")
        if self.codebook in ENTRY_BITS and not 2 <= self.weight_bits <= ENTRY_BITS[self.codebook]:
            allowed = f"2..{ENTRY_BITS[self.codebook]}"
            raise FxsimError(
                f"Scheme: weight_bits is {self.weight_bits} with codebook {self.codebook!r}; allowed: {allowed}"
            )
        if self.granularity == "group" and not 2 <= self.weight_bits <= 4:
            raise FxsimError(f"Scheme: weight_bits is {self.weight_bits} with granularity 'group'; allowed: 2..4")
        if self.granularity == "group" and self.codebook != "uniform":
            raise FxsimError(f"Scheme: codebook is {self.codebook!r} with granularity 'group'; allowed: 'uniform'")
        if not self.weights_symmetric and self.granularity != "tensor":
            raise FxsimError("Scheme: weights_symmetric is False per channel; allowed: with granularity 'tensor'")
        object.__setattr__(self, "overrides", MappingProxyType(dict(self.overrides)))

    @property
    def weight_type(self) -> QType:
        """The type of weights."""
        narrow = self.narrow_range and self.weights_symmetric and self.weight_bits > 1
        return QType(self.weight_bits, self.signed or self.weight_bits == 1, narrow)

    @property
    def activation_type(self) -> QType:
        """The type of activations."""
        return QType(self.activation_bits, self.signed or self.activation_bits > 8)

    def of(self, node: Node) -> "Scheme | None":
        """The scheme of one layer; None if it stays float."""
        for key in (node.index, node.name, node.op):
            if key in self.overrides:
                other = self.overrides[key]
                if isinstance(other, int):
                    return replace(self, weight_bits=other, codebook=_codebook(self.codebook, other))
                return other if isinstance(other, Scheme) else None
        return self

    def check(self, graph: Graph) -> None:
        """Holds the overrides to a graph.

        Raises:
            FxsimError: on one that is of no layer, or neither bits nor a scheme.
        """
        known = {k for n in graph.nodes for k in (n.index, n.name, n.op)}
        for key, other in self.overrides.items():
            if key not in known:
                names = [n.name for n in graph.nodes]
                allowed = f"0..{len(names) - 1}, {listed(names)}"
                raise FxsimError(f"Scheme: overrides has {key!r}, no layer of {graph.name}; allowed: {allowed}")
            if other != "float" and (isinstance(other, bool) or not isinstance(other, int | Scheme)):
                raise FxsimError(f"Scheme: overrides[{key!r}] is {other!r}; allowed: weight bits, a Scheme, 'float'")
            if isinstance(other, Scheme) and other.activations != self.activations:
                raise FxsimError(
                    f"Scheme: overrides[{key!r}] has activations {other.activations!r}; allowed: {self.activations!r}"
                )
            if isinstance(other, int):
                _among(f"overrides[{key!r}]", other, (*range(1, 17), 32))


CORRECTIONS = ("equalize", "clip", "adaround", "bias")
"""repairs, in the order in which they are done"""
ENTRY_BITS = {"kmeans": 7, "quantile": 7, "log2": 4, "apot": 5}
"""codebook -> the most index bits whose entries are integers of 8 bits"""


def _codebook(codebook: Codebook, bits: int) -> Codebook:
    """The codebook, as long as that many bits have one."""
    return codebook if bits <= ENTRY_BITS.get(codebook, 16) else "uniform"


def _among(what: str, got: object, allowed: Any) -> None:  # noqa: ANN401
    if got not in allowed:
        raise FxsimError(f"Scheme: {what} is {got!r}; allowed: {listed(allowed)}")


SCHEMES: dict[str, Scheme] = {
    "int8": Scheme(),
    "int8-per-tensor": Scheme(granularity="tensor"),
    "int8-pow2": Scheme(granularity="tensor", power_of_two=True, activations_symmetric=True),
    "uint8": Scheme(granularity="tensor", signed=False, weights_symmetric=False),
    "int16": Scheme(weight_bits=16, activation_bits=16, activations_symmetric=True),
    "int16x8": Scheme(activation_bits=16, activations_symmetric=True),
    "int4": Scheme(weight_bits=4),
    "w4a4": Scheme(weight_bits=4, activation_bits=4, calibration="mse"),
    "int2": Scheme(weight_bits=2, narrow_range=False),
    "w2a4": Scheme(weight_bits=2, activation_bits=4, narrow_range=False, calibration="mse"),
    "ternary": Scheme(weight_bits=2),
    "binary": Scheme(weight_bits=1),
    "dynamic": Scheme(activations="dynamic"),
    "weight-only-int8": Scheme(activations="float"),
    "weight-only-int4": Scheme(weight_bits=4, activations="float"),
    "int4-group": Scheme(weight_bits=4, granularity="group"),
    "kmeans4": Scheme(weight_bits=4, granularity="tensor", codebook="kmeans"),
    "log2": Scheme(weight_bits=4, codebook="log2"),
    "apot": Scheme(weight_bits=4, codebook="apot"),
}
"""the schemes by name"""


def scheme_of(scheme: "str | Scheme", overrides: Any = None) -> Scheme:  # noqa: ANN401
    """The scheme of that name, with ``overrides``; a name may end in ``+clip+bias``: corrections.

    Raises:
        FxsimError: if there is none.
    """
    if isinstance(scheme, str):
        name, *corrections = scheme.split("+")
        if name not in SCHEMES:
            raise FxsimError(f"scheme is {scheme!r}; allowed: {listed(SCHEMES)}, or a Scheme")
        scheme = replace(SCHEMES[name], corrections=tuple(corrections))
    if not isinstance(scheme, Scheme):
        raise FxsimError(f"scheme is {scheme!r}; allowed: {listed(SCHEMES)}, or a Scheme")
    return replace(scheme, overrides=MappingProxyType({**scheme.overrides, **overrides})) if overrides else scheme
