"""The page of a comparison: verdict, table, heat maps and histograms; and of an explanation, layer by layer."""

from typing import TYPE_CHECKING

from fxsim.diagnose.explain_words import kinds_words
from fxsim.report import diagnosis_figure
from fxsim.report.pages import picture, render
from fxsim.report.terminal import histogram, verdict

if TYPE_CHECKING:
    from fxsim.diagnose.compare import Comparison
    from fxsim.diagnose.explain import Explanation

PICTURED = 12
"""differing tensors that get pictures of their own: the first in execution order"""


def page(c: "Comparison", explanation: "Explanation | None" = None) -> str:
    """One self-contained HTML page."""
    wrong = [r for r in c.rows if r.mismatches]
    rows = [r for r in explanation.rows if r.status != "not in the dump"] if explanation is not None else []
    return render(
        "diagnosis.html.j2",
        c=c,
        verdict=verdict(c).splitlines(),
        rows=c.rows,
        histogram=histogram,
        overview=picture(diagnosis_figure.overview(c)) if c.rows else "",
        tensors=[(r, picture(diagnosis_figure.tensor(r, c.maps[r.tensor]))) for r in wrong[:PICTURED]],
        left_out=max(0, len(wrong) - PICTURED),
        explanation=explanation,
        words=explanation.words.splitlines() if explanation is not None else [],
        kinds=kinds_words(explanation.told_by) if explanation is not None and explanation.told_by is not None else "",
        findings=rows,
    )
