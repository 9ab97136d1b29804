"""Pictures of a diagnosis: where elements differ, and by how much."""

from typing import TYPE_CHECKING

import numpy as np

from fxsim.names import short_name
from fxsim.report.figures import LIMIT, PALETTE, bare, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fxsim.diagnose.compare import Comparison
    from fxsim.diagnose.measures import Row
    from fxsim.model.qtype import Array

WIDEST = 12
"""bars of a histogram"""


def overview(c: "Comparison") -> "Figure":
    """The share of differing elements of each tensor, in execution order."""
    figure = new_figure(11, 0.22 * len(c.rows) + 1.2)
    ax = figure.subplots()
    at = range(len(c.rows))
    share = [100 * (1 - r.exact) for r in c.rows]
    ax.barh(at, share, color=LIMIT, height=0.7)
    top = max(share, default=0)
    for y, (r, s) in enumerate(zip(c.rows, share, strict=True)):
        text = f" {r.mismatches:,} of {r.elements:,}" if r.mismatches else " equal"
        ax.text(s, y, text, va="center", fontsize=7.5, color=LIMIT if r.mismatches else PALETTE[2])
    ax.set_yticks(
        at,
        [plain(f"{r.layer if r.layer >= 0 else 'in'} {r.op} {short_name(r.name, 24)}") for r in c.rows],
        fontsize=7.5,
    )
    ax.set_ylim(len(c.rows) - 0.5, -0.5)
    ax.set_xlim(0, 1.25 * top if any(share) else 100)
    ax.set_xlabel("differing elements, %")
    bare(ax, "x")
    return figure


def tensor(r: "Row", counts: "Array") -> "Figure":
    """One tensor: a heat map over the image, a strip over the channels, and the histogram of differences."""
    figure = new_figure(11, 3.1)
    image, channels, histogram = figure.subplots(1, 3, width_ratios=(1, 1.3, 1.2))
    spatial = counts.reshape(-1, *counts.shape[-3:]).sum(axis=(0, 3)) if counts.ndim >= 3 else counts.reshape(1, -1)
    shown = image.imshow(
        spatial, cmap="Reds", vmin=0, aspect="auto" if counts.ndim < 3 else "equal", interpolation="nearest"
    )
    figure.colorbar(shown, ax=image, shrink=0.8)
    if counts.ndim < 3:
        image.set_yticks([])  # one row
    image.set_title("where in the image" if counts.ndim >= 3 else "where", fontsize=9, loc="left")
    by_channel = counts.reshape(-1, counts.shape[-1]).sum(axis=0) if counts.ndim else counts.reshape(1)
    channels.bar(range(len(by_channel)), by_channel, width=1.0, color=PALETTE[0])
    channels.set_title("differing elements by channel", fontsize=9, loc="left")
    channels.set_xlim(-0.5, len(by_channel) - 0.5)
    bare(channels, "y")
    _histogram(histogram, r)
    return figure


def _histogram(ax: "object", r: "Row") -> None:
    from matplotlib.axes import Axes

    assert isinstance(ax, Axes)
    largest = sorted(r.histogram, key=lambda d: (-r.histogram[d], abs(d)))[:WIDEST]
    bins = sorted(largest)
    ax.bar(range(len(bins)), [r.histogram[d] for d in bins], color=[PALETTE[1] if d > 0 else PALETTE[5] for d in bins])
    ax.set_xticks(range(len(bins)), [f"{d:+d}" for d in bins], fontsize=8, rotation=0 if len(bins) < 8 else 60)
    rest = sum(r.histogram.values()) - sum(r.histogram[d] for d in bins)
    ax.set_title("off by (LSB)" + (f", {rest:,} more elsewhere" if rest else ""), fontsize=9, loc="left")
    ax.set_yscale("log" if np.ptp([r.histogram[d] for d in bins] or [0]) > 100 else "linear")
    bare(ax, "y")
