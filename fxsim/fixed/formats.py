"""Fixed-point formats: how many bits, how many of them behind the point, signed or not; and the field's notations."""

import re
from dataclasses import dataclass
from functools import lru_cache
from operator import index
from typing import SupportsIndex

import numpy as np

from fxsim.errors import DomainError

MAX_BITS = 4096
MAX_FRAC = 8192
COMPILED_BITS = 64
MIN_EXPONENT, MAX_EXPONENT = -1074, 1023
"""of the powers of two in float64"""

_NOTATIONS = (
    (r"(?P<u>[uU])?Q(?P<int>-?\d+)\.(?P<frac>-?\d+)", "Q8.8, UQ8.8: integer bits (the sign among them), fraction bits"),
    (r"(?:ap|sc)_(?P<u>u)?fixed<(?P<bits>\d+),(?P<int>-?\d+)>", "ap_fixed<16,8>, sc_ufixed<16,8>: bits, integer bits"),
    (r"ac_fixed<(?P<bits>\d+),(?P<int>-?\d+),(?P<flag>true|false)>", "ac_fixed<16,8,true>: bits, integer bits, signed"),
    (r"(?P<u>[su])fix(?P<bits>\d+)(?:_En(?P<frac>\d+)|_E(?P<exp>\d+))?", "sfix16_En8, ufix8_E2: bits, fraction bits"),
    (r"fixdt\((?P<flag>[01]),(?P<bits>\d+),(?P<frac>-?\d+)\)", "fixdt(1,16,8): signed, bits, fraction bits"),
    (r"fxp-(?P<u>[su])(?P<bits>\d+)/(?P<frac>-?\d+)", "fxp-s16/8: bits, fraction bits"),
)


def whole(what: str, value: SupportsIndex) -> int:
    """An integer of any kind as Python's.

    Raises:
        DomainError: if it is none.
    """
    try:
        return index(value)
    except TypeError:
        raise DomainError(f"{what} is {value!r}; allowed: an integer") from None


@dataclass(frozen=True, slots=True)
class FixedFormat:
    """The numbers ``raw * 2**-frac_bits`` for every integer ``raw`` of ``bits`` bits.

    ``frac_bits`` may be negative or larger than ``bits``. Formats of up to 64 bits are held in numpy integers, wider ones
    in Python ints.
    """

    bits: int
    frac_bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        """Raises DomainError if a size is out of range."""
        object.__setattr__(self, "bits", whole("bits", self.bits))
        object.__setattr__(self, "frac_bits", whole("frac_bits", self.frac_bits))
        if not 1 <= self.bits <= MAX_BITS:
            raise DomainError(f"bits is {self.bits}; allowed: 1..{MAX_BITS}")
        if not -MAX_FRAC <= self.frac_bits <= MAX_FRAC:
            raise DomainError(f"frac_bits is {self.frac_bits}; allowed: {-MAX_FRAC}..{MAX_FRAC}")

    @property
    def int_bits(self) -> int:
        """Bits before the point, the sign among them."""
        return self.bits - self.frac_bits

    @property
    def min(self) -> int:
        """The least raw integer."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """The greatest raw integer."""
        return (1 << (self.bits - int(self.signed))) - 1

    @property
    def step(self) -> float:
        """The distance of two neighbours, ``2**-frac_bits``.

        Raises:
            DomainError: if no float64 holds it.
        """
        if not MIN_EXPONENT <= -self.frac_bits <= MAX_EXPONENT:
            raise DomainError(
                f"the step 2**{-self.frac_bits} of {self} is no float64; allowed: 2**{MIN_EXPONENT}..2**{MAX_EXPONENT}"
            )
        return 2.0**-self.frac_bits

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The numpy type of raw arrays: the least integer that holds ``bits``, or object beyond 64."""
        if self.bits > COMPILED_BITS:
            return np.dtype(object)
        width = max(8, 1 << (self.bits - 1).bit_length())
        return np.dtype(f"{'i' if self.signed else 'u'}{width // 8}")

    def __str__(self) -> str:
        """``sfix16_En8``."""
        return self.notation("fix")

    def notation(self, style: str = "fix") -> str:
        """The format as ``q`` (Q8.8), ``ap`` (ap_fixed<16,8>), ``ac`` (ac_fixed<16,8,true>) or ``fix`` (sfix16_En8).

        Raises:
            DomainError: if there is no such style.
        """
        u = "" if self.signed else "u"
        tail = f"_En{self.frac_bits}" if self.frac_bits > 0 else f"_E{-self.frac_bits}" if self.frac_bits < 0 else ""
        styles = {
            "q": f"{u.upper()}Q{self.int_bits}.{self.frac_bits}",
            "ap": f"ap_{u}fixed<{self.bits},{self.int_bits}>",
            "ac": f"ac_fixed<{self.bits},{self.int_bits},{str(self.signed).lower()}>",
            "fix": f"{'s' if self.signed else 'u'}fix{self.bits}{tail}",
        }
        if style not in styles:
            raise DomainError(f"notation is {style!r}; allowed: {', '.join(map(repr, styles))}")
        return styles[style]

    @staticmethod
    def parse(text: str) -> "FixedFormat":
        """The format that ``text`` names in one of the field's notations.

        Raises:
            DomainError: if it is none of them; the message lists them all.
        """
        compact = re.sub(r"\s+", "", text)
        for pattern, _ in _NOTATIONS:
            found = re.fullmatch(pattern, compact)
            if found:
                g = found.groupdict()
                signed = g.get("flag") in ("true", "1") if "flag" in g else (g.get("u") or "s").lower() == "s"
                if g.get("bits") is None:
                    return FixedFormat(int(g["int"]) + int(g["frac"]), int(g["frac"]), signed)
                bits = int(g["bits"])
                if g.get("int") is not None:
                    return FixedFormat(bits, bits - int(g["int"]), signed)
                return FixedFormat(bits, int(g.get("frac") or 0) - int(g.get("exp") or 0), signed)
        raise DomainError(f"format is {text!r}; allowed: {'; '.join(meaning for _, meaning in _NOTATIONS)}")


def as_format(format: "FixedFormat | str") -> FixedFormat:
    """A format, or the one that a text names.

    Raises:
        DomainError: if it is neither.
    """
    if isinstance(format, FixedFormat):
        return format
    if not isinstance(format, str):
        raise DomainError(f"format is {format!r}; allowed: a FixedFormat, or a text such as 'Q8.8'")
    return _parsed(format)


@lru_cache(maxsize=256)
def _parsed(text: str) -> FixedFormat:
    return FixedFormat.parse(text)
