"""What may be different about a device's arithmetic, as data: the axes of the search, and how to say each value in words.

A quirk sets fields of a layer's :class:`fxsim.numerics.OpNumerics`; at most one quirk of an axis holds at a time. To add
one, add a row to :data:`AXES` and its words to :data:`PHRASES`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from fxsim.arith.multiplier import CHAINS
from fxsim.arith.requantize import SCHEMES
from fxsim.arith.rounding import RULES
from fxsim.numerics import PARTS, OpNumerics, Requantize

replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class Quirk:
    """One thing that a device may do: fields of one part of the settings; an empty ``part`` is the variant."""

    axis: str
    part: str
    fields: tuple[tuple[str, Any], ...]

    def apply(self, settings: OpNumerics) -> OpNumerics:
        """The settings with this quirk. A variant that would overrule the quirk goes."""
        if not self.part:
            return replace(settings, **dict(self.fields))
        if self.part == "requantize" and settings.variant in OVERRULING:
            settings = replace(settings, variant="")
        return replace(settings, **{self.part: replace(getattr(settings, self.part), **dict(self.fields))})


OVERRULING = ("grouped_away", "wide_float64")
"""variants that settle the rounding of some layers, whatever the profile says"""
LONGEST = 30
"""bits of a multiplier or a narrow accumulator that are tried one by one"""


def _each(part: str, axis: str, values: Iterable[Any]) -> list[Quirk]:
    return [Quirk(axis, part, ((axis, v),)) for v in values]


def _several(part: str, axis: str, rows: Iterable[dict[str, Any]]) -> list[Quirk]:
    return [Quirk(axis, part, tuple(row.items())) for row in rows]


def _multipliers() -> Iterator[dict[str, Any]]:
    for bits in range(LONGEST, 0, -1):
        for rule in ("ties_away", "to_neg"):
            yield {"multiplier_bits": bits, "multiplier_rounding": rule}
    yield {"multiplier_bits": 31, "multiplier_rounding": "to_neg"}


def _accumulators() -> Iterator[dict[str, Any]]:
    for bits in range(31, 3, -1):
        for overflow in ("wrap", "saturate"):
            yield {"bits": bits, "overflow": overflow}
        yield {"bits": bits, "overflow": "saturate", "at": "end"}
    yield {"bits": 32, "overflow": "saturate"}
    yield {"bits": 64}


def _orders() -> Iterator[dict[str, Any]]:
    yield {"order": "pairs16"}
    yield {"order": "spill16"}
    yield {"order": "float32"}
    yield {"order": "float16"}


REQUANTIZE = {
    "scheme": _each("requantize", "scheme", SCHEMES),
    "rounding": _each("requantize", "rounding", RULES),
    "multiplier": _several("requantize", "multiplier", _multipliers()),
    "chain": _several("requantize", "chain", ({"chain": c, "chain_per_channel": c} for c in CHAINS)),
    "zero_point": _each("requantize", "zero_point", ("before", "ignored")),
    "limit": _each("requantize", "limit", ("type", "narrow", "wrap")),
    "bound": _each("requantize", "bound", ("rounded", "summed")),
    "lanes": _several(
        "requantize",
        "lanes",
        (
            {"lanes": n, "tail": t, "lanes_over": over}
            for over in ("channels", "elements")
            for n in (4, 8, 16, 32)
            for t in ("ties_away", "ties_pos", "ties_even")
        ),
    ),
}
"""axes of what becomes of an accumulator"""
SUMS = {
    "width": _several("accumulator", "width", _accumulators()),
    "order": _several("accumulator", "order", _orders()),
    "product_shift": _several(
        "accumulator",
        "product_shift",
        ({"product_shift": n, "product_rounding": r} for n in range(1, 9) for r in ("to_neg", "ties_pos")),
    ),
    "padding": _each("operands", "padding", ("zero",)),
    "odd": _each("operands", "odd", ("start", "dropped")),
    "input_zero_point": _each("operands", "input_zero_point", ("ignored",)),
    "weight_zero_point": _each("operands", "weight_zero_point", ("ignored",)),
    "bias": _each("operands", "bias", ("ignored",)),
    "bias_bits": _each("operands", "bias_bits", (8, 12, 16, 24)),
}
"""axes of the accumulator itself"""
SIMPLE_RULES = ("ties_away", "ties_pos", "ties_even", "ties_zero", "ties_neg", "to_neg", "to_zero")
VARIANTS = {
    "AVERAGE_POOL_2D": ("stored", "reciprocal", "whole_window"),
    "SOFTMAX": ("fixed_point", "float_table"),
    "LOGISTIC": ("float_table", "fixed_point", "float32_table"),
    "TANH": ("float_table", "fixed_point", "float32_table"),
    "QLinearAdd": ("folded", "folded_apart", "dequantized"),
}
"""op -> variants that are tried on it, besides those of the shipped profiles"""


@cache
def other_axes(op: str) -> dict[str, list[Quirk]]:
    """The axes of an op that is no sum of products."""
    return {
        "variant": _each("", "variant", VARIANTS.get(op, ())),
        "width": SUMS["width"] if op == "AVERAGE_POOL_2D" else [],
        "rounding": _each("requantize", "rounding", SIMPLE_RULES),
        "scheme": _each("requantize", "scheme", SCHEMES),
        "chain": REQUANTIZE["chain"],
        "bound": REQUANTIZE["bound"],
    }


PHRASES: dict[tuple[str, str], dict[Any, str] | str] = {
    ("requantize", "scheme"): {
        "double_rounding": "rounds twice",
        "single_rounding": "rounds once",
        "floored_double_rounding": "drops the low 31 bits of the product, then rounds",
        "tosa_double_rounding": "rounds twice in one sum (TOSA)",
        "float64": "rescales in float64",
        "float32": "rescales in float32",
    },
    ("requantize", "rounding"): {
        "to_neg": "down",
        "to_pos": "up",
        "to_zero": "toward zero",
        "to_away": "away from zero",
        "ties_pos": "ties up",
        "ties_neg": "ties down",
        "ties_zero": "ties toward zero",
        "ties_away": "ties away",
        "ties_even": "ties to even",
        "ties_odd": "ties to odd",
        "ties_dpu": "ties up below zero, to even above",
        "jam": "last bit always set",
        "jam_unbiased": "last bit set where inexact",
        "trn_mag": "floor plus sign bit",
    },
    ("requantize", "chain"): {
        "float64": "scale computed in float64",
        "float32": "scale computed in float32",
        "float32_product": "scale from a float32 product",
    },
    ("requantize", "chain_per_channel"): "",
    ("requantize", "multiplier_bits"): "multiplier of {} bits",
    ("requantize", "multiplier_rounding"): {
        "to_neg": "multiplier truncated",
        "ties_away": "multiplier rounded",
        "exact": "",
    },
    ("requantize", "max_exponent"): "",
    ("requantize", "wide"): "{}",
    ("requantize", "zero_point"): {
        "after": "zero point added after rounding",
        "before": "zero point added before rounding",
        "ignored": "zero point not added",
    },
    ("requantize", "limit"): {
        "activation": "clamps to its activation",
        "type": "does not clamp to its activation",
        "narrow": "clamps to a range without the least value",
        "wrap": "wraps instead of clamping",
    },
    ("requantize", "bound"): {"rounded": "", "summed": "activation bound summed in float32"},
    ("requantize", "lanes"): {0: "not in blocks", None: "in blocks of {}"},
    ("requantize", "tail"): "",
    ("requantize", "lanes_over"): {"channels": "over channels", "elements": "over elements"},
    ("accumulator", "bits"): "accumulator of {} bits",
    ("accumulator", "overflow"): {"wrap": "wraps", "saturate": "saturates"},
    ("accumulator", "at"): {"step": "at each step", "end": "at the end"},
    ("accumulator", "order"): {
        "sequential": "one product after the other",
        "pairs16": "products added in pairs of 16 saturating bits (vpmaddubsw)",
        "spill16": "sums in 16 saturating bits before they are spilled",
        "float32": "sums in float32",
        "float16": "sums in float16",
    },
    ("accumulator", "lanes"): "{} lanes",
    ("accumulator", "product_shift"): {0: "products not shifted", None: "products shifted right by {}"},
    ("accumulator", "product_rounding"): {"to_neg": "rounded down", "ties_pos": "rounded, ties up"},
    ("operands", "padding"): {
        "zero_point": "pads with the zero point",
        "zero": "pads with 0 instead of the zero point",
    },
    ("operands", "odd"): {
        "end": "odd SAME padding at the end",
        "start": "odd SAME padding at the start",
        "dropped": "trailing SAME padding dropped, reads beyond the image",
    },
    ("operands", "input_zero_point"): {"used": "", "ignored": "input zero point ignored"},
    ("operands", "weight_zero_point"): {"used": "", "ignored": "weight zero point ignored"},
    ("operands", "bias"): {"used": "adds the bias", "ignored": "bias missing"},
    ("operands", "bias_bits"): {0: "bias in full", None: "bias in {} bits"},
    ("", "variant"): {
        "default": "",
        "grouped_away": "",
        "x86_floor": "",
        "x86_cast": "float products beyond 32 bits cast as x86 does",
        "saturating_cast": "float products beyond 32 bits saturate",
        "wide_float64": "64-bit sums rescaled in float64",
        "stored_bias": "bias of the type that it is stored in",
        "needs_bias": "runs no layer without a bias",
        "stored": "",
        "whole_window": "divides by the whole window, padding too",
        "reciprocal": "multiplies by a reciprocal",
        "folded": "zero points folded into one constant",
        "folded_apart": "zero points folded into one constant, products rounded on their own",
        "dequantized": "dequantizes each input first",
        "exact": "sums of float32 products rounded once",
        "gemm": "float32 products added as a matrix product does",
        "nchwc8": "float32 products of constant weights added in blocks of 8 channels",
        "nchwc16": "float32 products of constant weights added in blocks of 16 channels",
    },
}
"""(part, field) -> the words of each value, None those of any other; or a sentence with its place"""
IDLE = {
    ("requantize", "tail"): ("requantize", "lanes"),
    ("requantize", "lanes_over"): ("requantize", "lanes"),
    ("accumulator", "product_rounding"): ("accumulator", "product_shift"),
}
"""fields that do nothing where another is 0"""


def _fields(settings: OpNumerics) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {("", "variant"): settings.variant or "default"}
    for part in PARTS:
        struct = getattr(settings, part)
        found |= {(part, name): getattr(struct, name) for name in struct.__struct_fields__}
    return found


def distance(settings: OpNumerics, other: OpNumerics) -> tuple[int, int]:
    """In how many things that are told two settings differ; and where the scheme stands among all, the plainest first."""
    return len(_words(_fields(settings), _apart(settings, other))), SCHEMES.index(settings.requantize.scheme)


def _say(key: tuple[str, str], value: Any) -> str:  # noqa: ANN401
    phrase, plain = PHRASES.get(key, f"{key[1]} {{}}"), str(value).replace("_", " ")
    return (phrase.get(value, phrase.get(None, "{}")) if isinstance(phrase, dict) else phrase).format(plain)


def tell(settings: OpNumerics, other: OpNumerics) -> tuple[str, str]:
    """What the one does, and what the other does instead: their differences, in words."""
    order = _apart(settings, other)
    one, two = (", ".join(_words(_fields(side), order)) or "the default" for side in (settings, other))
    return one, two


def _apart(settings: OpNumerics, other: OpNumerics) -> list[tuple[str, str]]:
    """The fields in which two settings differ, as far as they say anything."""
    mine, theirs = _fields(settings), _fields(other)
    said = {k for k in mine if mine[k] != theirs[k]}
    rounding = {("requantize", "scheme"), ("requantize", "rounding")}
    said |= rounding if said & rounding else set()  # neither says anything without the other
    if max(settings.accumulator.bits, other.accumulator.bits) <= 32:
        said -= {("requantize", "wide")}
    return [k for k in mine if k in said]


def _words(side: dict[tuple[str, str], Any], order: list[tuple[str, str]]) -> list[str]:
    words = (_say(k, side[k]) for k in order if k not in IDLE or side[IDLE[k]])
    return [w for w in words if w]


def same_scale(a: Requantize, b: Requantize) -> bool:
    """True if both turn real scales into the same multipliers."""
    return scale_key(a) == scale_key(b)


def scale_key(r: Requantize) -> tuple[Any, ...]:
    """What the multipliers of a layer depend on."""
    return r.scheme, r.multiplier_bits, r.multiplier_rounding, r.chain, r.chain_per_channel, r.max_exponent


def pairs(axes: dict[str, list[Quirk]]) -> Iterator[tuple[Quirk, Quirk]]:
    """Every two quirks of different axes."""
    names = list(axes)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            for a in axes[first]:
                for b in axes[second]:
                    yield a, b
