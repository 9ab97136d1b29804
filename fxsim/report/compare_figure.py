"""A picture of comparisons: differing elements of each tensor, one panel a comparison."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fxsim.names import short_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fxsim.diagnose.compare import Comparison

EQUAL, DIFFERENT = "#2a7f62", "#c0392b"


def draw(comparisons: "Mapping[str, Comparison]") -> "Figure":
    """Side by side, a bar for each tensor: how many elements differ, in execution order from top to bottom."""
    from matplotlib.figure import Figure

    longest = max((len(c.rows) for c in comparisons.values()), default=1)
    figure = Figure(figsize=(4.6 * len(comparisons) + 1.4, 0.3 * longest + 1.5), layout="constrained")
    axes = figure.subplots(1, len(comparisons), squeeze=False, sharex=True)[0]
    top = max((r.mismatches for c in comparisons.values() for r in c.rows), default=0)
    for ax, (title, c) in zip(axes, comparisons.items(), strict=True):
        labels = [f"{r.layer if r.layer >= 0 else 'in'} {short_name(r.name, 20)}" for r in c.rows]
        at = range(len(c.rows))
        ax.barh(at, [r.mismatches for r in c.rows], color=DIFFERENT, height=0.7)
        for y, r in enumerate(c.rows):
            text, color = (f" {r.mismatches:,} of {r.elements:,}", DIFFERENT) if r.mismatches else (" 0", EQUAL)
            ax.text(r.mismatches, y, text, va="center", fontsize=8, color=color)
        ax.set_yticks(at, labels, fontsize=8)
        ax.invert_yaxis()
        ax.set_xlim(0, max(1, top) * 1.6)
        ax.set_xlabel("differing elements")
        ax.set_title(title.replace("$", r"\$"), fontsize=10, loc="left")
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    return figure


def png(figure: "Figure") -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
