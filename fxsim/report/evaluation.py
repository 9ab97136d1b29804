"""A picture of an evaluation: the confusion matrix and the ROC of each class."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fxsim.evaluation.evaluate import Evaluation

LABELLED = 20
"""classes up to which cells and curves are labelled"""


def draw(e: "Evaluation") -> "Figure":
    """The confusion matrix (true class downward) beside the ROC; for anomaly detection the ROC alone."""
    from matplotlib.figure import Figure

    panels = 1 if e.confusion is None else 2
    figure = Figure(figsize=(5.2 * panels, 4.6), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    if e.confusion is not None:
        _confusion(axes[0], e)
    _roc(axes[-1], e)
    figure.suptitle(f"{Path(e.model).name} as {e.numerics}, {e.examples:,} examples".replace("$", r"\$"), fontsize=11)
    return figure


def _confusion(ax: "Axes", e: "Evaluation") -> None:
    assert e.confusion is not None
    counts = e.confusion
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(counts) <= LABELLED:
        ax.set_xticks(range(len(counts)))
        ax.set_yticks(range(len(counts)))
        for (i, j), n in np.ndenumerate(counts):
            if n:
                ax.text(
                    j, i, str(n), ha="center", va="center", fontsize=7, color="white" if share[i, j] > 0.5 else "black"
                )
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    accuracy = "" if e.accuracy is None else f"accuracy {e.accuracy:.2%}"
    ax.set_title(accuracy, fontsize=10, loc="left")


def _roc(ax: "Axes", e: "Evaluation") -> None:
    from fxsim.evaluation.metrics import margin, roc

    classes = [1] if e.task == "anomaly" or e.scores.shape[1] == 2 else range(e.scores.shape[1])
    for c in classes:
        positive = e.labels == c
        if positive.all() or not positive.any():
            continue
        false, true = roc(positive, margin(e.scores, c))
        ax.plot(false, true, linewidth=1.2, label=str(c))
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    ax.set_xlabel("false positive rate")
    ax.set_ylabel("true positive rate")
    ax.set_title("" if e.auc is None else f"AUC {e.auc:.4f}", fontsize=10, loc="left")
    if 1 < len(classes) <= LABELLED:
        ax.legend(fontsize=7, title="class", title_fontsize=7, loc="lower right")
