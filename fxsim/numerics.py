"""An engine's arithmetic as data: accumulator, requantization, and named variants of single ops.

Profiles are TOML files under ``hwprofiles/numerics``; a user's own file may start from one of them with ``base``.
"""

import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from fxsim import hwfiles
from fxsim.arith.multiplier import CHAINS, MULTIPLIER_BITS
from fxsim.arith.overflow import OVERFLOWS, POLICIES
from fxsim.arith.requantize import SCHEMES, WIDE_SCHEMES
from fxsim.arith.rounding import RULES
from fxsim.errors import ProfileError, listed
from fxsim.model.ops import OPS
from fxsim.model.qtype import TYPES

MIN_BITS, MAX_BITS = 2, 64
"""widths of an accumulator"""
Order = Literal["sequential", "tree", "lanes", "pairs16", "spill16", "float32", "float16"]
Verified = Literal["live", "vectors", "source", "none"]


def _among(key: str, got: str, allowed: Any) -> None:  # noqa: ANN401
    if got not in allowed:
        raise ProfileError(f"{key} is {got!r}; allowed: {listed(allowed)}{hwfiles.nearest(got, list(allowed))}")


class Accumulator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The register that sums products: its width, what happens when a step overflows it, and the order of the steps.

    ``order`` (see :mod:`fxsim.kernels.ordered`) starts from the products in the order kernel row, kernel column, input
    channel; the bias comes last. ``lanes`` is the number of lanes, the fan-in of the tree, or how many products come
    between two spills; ``at`` says whether overflow happens at every step or once, at the end. Products are scaled by
    ``2**-product_shift`` first, rounded by ``product_rounding``, and fitted to ``product_bits`` (0: kept whole).
    """

    bits: int = 32
    overflow: str = "wrap"
    order: Order = "sequential"
    lanes: int = 0
    at: Literal["step", "end"] = "step"
    product_shift: int = 0
    product_bits: int = 0
    product_rounding: str = "to_neg"
    product_overflow: str = "saturate"

    def __post_init__(self) -> None:
        """Raises ProfileError on a value that no kernel has."""
        _among("order", self.order, get_args(Order))
        _among("at", self.at, ("step", "end"))
        least = {"tree": 2, "lanes": 1}.get(self.order, 0)
        for key, low, high in (
            ("bits", MIN_BITS, MAX_BITS),
            ("lanes", least, 1 << 20),
            ("product_shift", 0, 62),
            ("product_bits", 0, 62),
        ):
            if not isinstance(getattr(self, key), int) or not low <= getattr(self, key) <= high:
                what = f" with order {self.order!r}" if key == "lanes" else ""
                raise ProfileError(f"{key} is {getattr(self, key)!r}{what}; allowed: {low}..{high}")
        if self.order in ("spill16",) and self.lanes % 2:
            raise ProfileError(f"lanes is {self.lanes} with order {self.order!r}; allowed: even numbers")
        _among("overflow", self.overflow, POLICIES)
        _among("product_rounding", self.product_rounding, RULES)
        _among("product_overflow", self.product_overflow, OVERFLOWS)

    @property
    def plain(self) -> bool:
        """True if the products are summed one after the other, whole, each step fitted: what the fast kernels do."""
        whole = self.product_shift == 0 and self.product_bits == 0
        free = self.at == "step" or self.overflow == "wrap"
        return self.order == "sequential" and whole and free


class Operands(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What enters a sum of products. The defaults are the op's definition, the others what devices were found to do.

    ``padding``: outside the image stands the input's zero point, or a stored ``zero``. ``odd``: the odd row and column of
    SAME padding lie at the end, at the start, or are ``dropped``: a window that reaches beyond the image reads on in
    memory, into the next row, and into zeros after the last one. ``input_zero_point``, ``weight_zero_point`` and ``bias``
    are ``used`` or ``ignored``; a bias saturates to ``bias_bits`` (0: as stored).
    """

    padding: Literal["zero_point", "zero"] = "zero_point"
    odd: Literal["end", "start", "dropped"] = "end"
    input_zero_point: Literal["used", "ignored"] = "used"
    weight_zero_point: Literal["used", "ignored"] = "used"
    bias: Literal["used", "ignored"] = "used"
    bias_bits: int = 0

    def __post_init__(self) -> None:
        """Raises ProfileError on a width that no register has."""
        if not 0 <= self.bias_bits <= MAX_BITS:
            raise ProfileError(f"bias_bits is {self.bias_bits}; allowed: 0..{MAX_BITS}")


class Requantize(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an accumulator becomes an output integer.

    ``scheme``: see :mod:`fxsim.arith.requantize`; ``rounding``: the rule of the (last) rounding; ``wide``: what stands in
    for an integer scheme where the accumulator has more than 32 bits;
    ``chain`` and ``chain_per_channel``: how the real scale is computed, for one scale and for one a channel; ``lanes``
    and ``tail``: output channels beyond the last full block of so many lanes are rounded by that rule instead, or
    elements, as ``lanes_over`` says;
    ``bound``: a fused activation's bound is rounded before the zero point is added, or with it in the sum;
    ``multiplier_bits`` and ``multiplier_rounding``: how an integer scheme stores the scale of a layer, 1 bit being a power
    of two; other scales are rounded by that rule, or refused where it is ``"exact"``, as are those of
    ``2**max_exponent`` and above.
    ``zero_point`` is added after the (last) rounding, before it, or ``ignored``; ``limit``: the output is clamped to its
    activation's bounds, only to those of its ``type``, to a ``narrow`` range without its least value, or not at all: it
    wraps. Both of layers with weights alone, as ``operands`` are.
    """

    scheme: str = "double_rounding"
    rounding: str = "ties_away"
    chain: str = "float64"
    chain_per_channel: str = "float64"
    lanes: int = 0
    tail: str = "ties_away"
    lanes_over: Literal["channels", "elements"] = "channels"
    bound: Literal["rounded", "summed"] = "rounded"
    wide: str = "reduced_multiplier"
    multiplier_bits: int = MULTIPLIER_BITS
    multiplier_rounding: str = "ties_away"
    max_exponent: int = 30
    zero_point: Literal["after", "before", "ignored"] = "after"
    limit: Literal["activation", "type", "narrow", "wrap"] = "activation"

    def __post_init__(self) -> None:
        """Raises ProfileError on a name that there is not."""
        _among("scheme", self.scheme, SCHEMES)
        _among("wide", self.wide, WIDE_SCHEMES)
        _among("rounding", self.rounding, RULES)
        _among("tail", self.tail, RULES)
        _among("multiplier_rounding", self.multiplier_rounding, (*RULES, "exact"))
        for key, low, high in (("multiplier_bits", 1, MULTIPLIER_BITS), ("max_exponent", -31, 30)):
            if not low <= getattr(self, key) <= high:
                raise ProfileError(f"{key} is {getattr(self, key)}; allowed: {low}..{high}")
        if not 0 <= self.lanes <= 1 << 20:
            raise ProfileError(f"lanes is {self.lanes}; allowed: 0..{1 << 20}")
        _among("chain", self.chain, CHAINS)
        _among("chain_per_channel", self.chain_per_channel, CHAINS)


class OpNumerics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arithmetic of one op: all that a binding needs to know."""

    accumulator: Accumulator
    requantize: Requantize
    variant: str = ""
    operands: Operands = Operands()


class Delegate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another engine within the engine, which takes the layers that it supports and computes them its own way.

    ``name`` says which layers it takes (see :mod:`fxsim.sim.delegate`); ``ops`` is what it computes with.
    """

    name: Literal["xnnpack"]
    ops: dict[str, OpNumerics] = {}


REAL = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
"""the formats of real arithmetic, which are also the names of the profiles that have it"""


class RealNumerics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Real functions instead of an engine's integers: see :mod:`fxsim.sim.real`.

    Every tensor holds numbers of ``format``; sums and functions are computed in ``accumulate``. What rounds beyond the
    format's greatest value becomes infinite (NaN where the format has no infinity), or saturates.
    """

    format: str
    accumulate: Literal["float32", "float64"] = "float32"
    overflow: Literal["infinite", "saturate"] = "infinite"

    def __post_init__(self) -> None:
        """Raises ProfileError on a format that there is not, or sums that are narrower than the numbers."""
        _among("format", self.format, REAL)
        if self.format == "float64" and self.accumulate != "float64":
            raise ProfileError(f"accumulate is {self.accumulate!r} with format 'float64'; allowed: 'float64'")


class NumericsProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An engine's arithmetic. ``ops`` holds every op's own settings, complete; :meth:`of` adds the general ones.

    A key of ``ops`` is an op's name, or ``OP:type`` for its layers whose first input is of that type, which inherit
    from the op's own.
    """

    name: str
    description: str = ""
    verified: Verified = "none"
    against: str = ""
    accumulator: Accumulator = Accumulator()
    requantize: Requantize = Requantize()
    operands: Operands = Operands()
    ops: dict[str, OpNumerics] = {}
    delegate: Delegate | None = None
    rewrite: Literal["", "onnxruntime"] = ""
    """how the engine rewrites a graph before it runs it: see :func:`fxsim.sim.plan.as_executed`"""
    only: tuple[str, ...] = ()
    """the ops whose arithmetic is known, where it is not known for all: others are refused"""
    symmetric: bool = False
    """the engine has no zero points: tensors with one are refused"""
    any_bits: bool = False
    """activations and weights of 1 to 16 bits run, in the arithmetic of the next of 8 and 16"""
    real: RealNumerics | None = None
    """real arithmetic in place of all of the above"""

    def __post_init__(self) -> None:
        """Raises ProfileError on an op that there is not."""
        for op in self.only:
            _among("only", op, OPS)

    def of(self, op: str, dtype: str = "", *, delegated: bool = False) -> OpNumerics:
        """The arithmetic of ``op`` on inputs of type ``dtype``, in the engine itself or in its delegate."""
        ops = self.delegate.ops if delegated and self.delegate else self.ops
        return (
            ops.get(f"{op}:{dtype}")
            or ops.get(op)
            or OpNumerics(self.accumulator, self.requantize, operands=self.operands)
        )


def list_numerics() -> list[str]:
    """The names of the numerics profiles that ship with fxsim."""
    return hwfiles.names("numerics")


def load_numerics(numerics: "str | os.PathLike[str] | NumericsProfile") -> NumericsProfile:
    """The profile of that name, or in that ``.toml`` file.

    Raises:
        ProfileError: if there is none, or if a key, a type or a value in it is not allowed.
    """
    if isinstance(numerics, NumericsProfile):
        return numerics
    name = os.fspath(numerics)
    if name.endswith(".toml"):
        return _decode(Path(name))
    return _builtin(name)


DEFAULTS = {".onnx": "onnxruntime"}
"""suffix of a model file -> the profile of the engine that usually runs it; ``litert-reference`` for all others"""


def numerics_of(model: str, asked: "str | os.PathLike[str] | NumericsProfile | None" = None) -> NumericsProfile:
    """The profile asked for, or where none is, the one of the engine that usually runs files such as ``model``.

    Raises:
        ProfileError: as :func:`load_numerics`.
    """
    return load_numerics(asked or DEFAULTS.get(Path(model).suffix.lower(), "litert-reference"))


@cache
def _builtin(name: str) -> NumericsProfile:
    return _decode(hwfiles.find("numerics", name))


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as e:
        raise ProfileError(f"{path}: cannot be read: {e.strerror or e}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ProfileError(f"{path}: is not TOML: {e}") from None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


PARTS = ("accumulator", "requantize", "operands")
"""the tables that hold for all ops, or for one"""


def _forget(settings: dict[str, Any], said: dict[str, Any]) -> None:
    """Drops from ``settings`` what ``said`` says of a wider circle of layers, later and therefore instead."""
    for part in PARTS:
        for key in said[part] if isinstance(said.get(part), dict) else ():
            settings.get(part, {}).pop(key, None)
    if "variant" in said:
        settings.pop("variant", None)


def _resolve(path: Path, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The table in ``path`` over that of its ``base``.

    What a file says of all ops holds against its base's single ops, and of an op against its base's ``OP:type``.
    """
    table = _table(path)
    base = table.pop("base", None)
    if base is None:
        return table
    if not isinstance(base, str) or base in seen:
        raise ProfileError(f"{path}: base is {base!r}; allowed: another of {listed(list_numerics())}")
    under = _resolve(hwfiles.find("numerics", base), (*seen, base))
    for key in ("name", "description", "verified", "against"):  # a changed engine is not the engine that was verified
        under.pop(key, None)
    for ops in (under.get("ops", {}), under.get("delegate", {}).get("ops", {})):
        for settings in ops.values():
            _forget(settings, table)
    said = table.get("ops")
    for key, settings in under.get("ops", {}).items():
        op, _, dtype = key.partition(":")
        if dtype and isinstance(said, dict) and isinstance(said.get(op), dict):
            _forget(settings, said[op])
    return _merge(under, table)


def _decode(path: Path) -> NumericsProfile:
    table = _resolve(path)
    table.setdefault("name", path.stem)
    general = {part: table.get(part, {}) for part in PARTS}
    delegate = table.get("delegate")
    for where, holder in (("ops", table), ("delegate.ops", delegate)):
        if isinstance(holder, dict) and isinstance(holder.get("ops"), dict):
            holder["ops"] = _complete(f"{path}: {where}", holder["ops"], general)
    try:
        return msgspec.convert(table, NumericsProfile)
    except msgspec.ValidationError as e:
        raise ProfileError(f"{path}: {_friendly(str(e), table)}") from None


def _complete(where: str, ops: dict[str, Any], general: dict[str, Any]) -> dict[str, Any]:
    """Each op's settings over the general ones; those of ``OP:type`` over those of ``OP``."""
    complete: dict[str, Any] = {}
    for key, settings in sorted(ops.items()):
        op, _, dtype = key.partition(":")
        if op not in OPS:
            hint = hwfiles.nearest(op, list(OPS)) or f"; allowed: {listed(sorted(OPS))}"
            raise ProfileError(f"{where}.{key}: no such op{hint}")
        if dtype and dtype not in TYPES:
            raise ProfileError(f"{where}.{key}: no such type; allowed: {listed(TYPES)}")
        under = complete.get(op, general) if dtype else general
        complete[key] = _merge(under, settings) if isinstance(settings, dict) and isinstance(under, dict) else settings
    return complete


def _friendly(message: str, table: dict[str, Any]) -> str:
    """Msgspec's message with the allowed keys added where a key is unknown."""
    if "unknown field" in message:
        kinds: dict[str, type[msgspec.Struct]] = dict(
            zip((*PARTS, "real"), (Accumulator, Requantize, Operands, RealNumerics), strict=True)
        )
        place = message.rsplit(".", 1)[-1].rstrip("`")
        struct = kinds.get(place, OpNumerics if "ops" in message else NumericsProfile)
        message += f"; allowed keys: {listed(f.name for f in msgspec.structs.fields(struct))}"
    return message
