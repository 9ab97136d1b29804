"""For tests of your own arithmetic: laws of rounding, identification of black boxes, hypothesis strategies.

Laws and identification need nothing but fxsim; strategies need hypothesis, which the extra ``fxsim[testing]`` brings.

    >>> from fxsim.testing import check_rounding
    >>> check_rounding(lambda value, shift: (value + (1 << shift >> 1)) >> shift).names
    ('ties_pos',)
"""

from typing import TYPE_CHECKING, Any

from fxsim.testing.identify import Identified, Parting, aliases, check_rounding
from fxsim.testing.laws import (
    DOMAIN,
    Domain,
    LawBroken,
    check_composition,
    check_error_bound,
    check_exact_on_representables,
    check_idempotent,
    check_monotone,
    check_odd,
    check_unbiased,
)

if TYPE_CHECKING:
    from fxsim.testing.strategies import (
        accumulators,
        formats,
        overflow_names,
        raw_values,
        requantizers,
        rounding_names,
        small_graphs,
    )

_STRATEGIES = (
    "accumulators",
    "formats",
    "overflow_names",
    "raw_values",
    "requantizers",
    "rounding_names",
    "small_graphs",
)

__all__ = [
    "DOMAIN",
    "Domain",
    "Identified",
    "LawBroken",
    "Parting",
    "accumulators",
    "aliases",
    "check_composition",
    "check_error_bound",
    "check_exact_on_representables",
    "check_idempotent",
    "check_monotone",
    "check_odd",
    "check_rounding",
    "check_unbiased",
    "formats",
    "overflow_names",
    "raw_values",
    "requantizers",
    "rounding_names",
    "small_graphs",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Loads a strategy on first use, since only strategies need hypothesis."""
    if name not in _STRATEGIES:
        raise AttributeError(f"module 'fxsim.testing' has no attribute {name!r}")
    from fxsim.testing import strategies

    return getattr(strategies, name)


def __dir__() -> list[str]:
    """All public names, loaded or not."""
    return sorted(__all__)
