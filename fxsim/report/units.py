"""Amounts as people read them: the largest unit of which there is at least one."""

Steps = tuple[tuple[float, str, float], ...]
"""from which amount on, unit, factor"""
TIMES: Steps = ((1e-6, "µs", 1e6), (1e-3, "ms", 1e3), (1.0, "s", 1.0))
"""of seconds"""
ENERGIES: Steps = ((1e3, "nJ", 1e-3), (1e6, "µJ", 1e-6), (1e9, "mJ", 1e-9))
"""of picojoules"""
SIZES: Steps = (
    (1.0, "B", 1.0),
    (1024.0, "KiB", 1 / 1024),
    (1024.0**2, "MiB", 1 / 1024**2),
    (1024.0**3, "GiB", 1 / 1024**3),
)
"""of bytes"""


def scale(values: list[float], steps: Steps) -> tuple[str, float]:
    """The unit and factor that suit the greatest value."""
    top = max(values, default=0.0)
    chosen = steps[0]
    for step in steps:
        if top >= step[0]:
            chosen = step
    return chosen[1], chosen[2]


def amount(value: float, steps: Steps) -> str:
    """``1.23 ms``."""
    unit, factor = scale([value], steps)
    return f"{value * factor:.3g} {unit}"


def show(value: object) -> str:
    """A table cell: thin spaces between thousands, four digits of a fraction."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1e4):
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.4g}" if isinstance(value, float) else str(value)
