"""What the figures of costs share: colours, legends, files. Matplotlib's object interface only: no pyplot, no display."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fxsim.report.cost import Cost

PALETTE = ("#3b6ea8", "#d98032", "#4f9d69", "#a8518a", "#8a7f3c", "#5aa7b8", "#c9606a", "#7a6fbe")
IDLE, HOST, LIMIT = "#9aa0a6", "#6b5b73", "#b03030"
DPI = 120
COLUMNS = 6


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def image(figure: Figure, kind: str) -> bytes:
    """The figure as a file of that kind: png, svg or pdf."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI)
    return buffer.getvalue()


def resource_colours(cost: "Cost") -> dict[str, str]:
    """The colour of computing and of each memory, the same in all panels."""
    return dict(zip(["compute", *cost.target.profile.memory], PALETTE, strict=False))


def plain(text: str) -> str:
    """Text that matplotlib takes as it is, not as a formula."""
    return text.replace("$", r"\$")


def bare(axes: "Axes", grid: str) -> None:
    """No frame but the axes themselves, and a grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#dddddd", linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def legend(axes: "Axes", height: float, entries: Sequence[tuple[str, str]]) -> None:
    """Below a panel of ``height`` inches, where no data can be; in rows of six."""
    if entries:
        axes.legend(
            [Patch(color=colour) for _, colour in entries],
            [label for label, _ in entries],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.5 / max(height, 1.0)),
            ncols=min(len(entries), COLUMNS),
            frameon=False,
            fontsize=8,
            handlelength=1.0,
            columnspacing=1.0,
        )
