"""A network on a data set, bit for bit as its engine runs it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fxsim.errors import FxsimError, InputError
from fxsim.evaluation import metrics
from fxsim.evaluation.data import DataSet, load, prepared
from fxsim.evaluation.metrics import ClassScore, Labels, Reals
from fxsim.model.graph import Graph
from fxsim.numerics import NumericsProfile, numerics_of
from fxsim.sim import simulate

if TYPE_CHECKING:
    import pandas as pd

BATCH = 64
"""examples that are simulated at a time"""
Task = Literal["classify", "anomaly"]
Numerics = str | os.PathLike[str] | NumericsProfile | None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What a network makes of a data set. Scores are the real values of its first output."""

    model: str
    numerics: str
    task: Task
    examples: int
    scores: Reals = field(repr=False)
    labels: Labels = field(repr=False)
    accuracy: float | None = None
    """share of examples whose greatest score is their class; None for anomaly detection"""
    top_k: dict[int, float] = field(default_factory=dict)
    precision: float | None = None
    """mean over the classes that occur, as recall and F1"""
    recall: float | None = None
    f1: float | None = None
    auc: float | None = None
    """area under the ROC; for more than two classes the mean of each against the rest"""
    classes: tuple[ClassScore, ...] = ()
    confusion: npt.NDArray[np.int64] | None = None
    """``[true, predicted]`` counts"""
    agreement: float | None = None
    """share of examples on which another network or arithmetic has the same greatest score"""

    @property
    def table(self) -> "pd.DataFrame":
        """A row for each class (:class:`ClassScore`)."""
        from fxsim.report.tables import frame

        return frame(ClassScore, self.classes)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws the confusion matrix and the ROC to a picture file."""
        from fxsim.report.cost import save_figure
        from fxsim.report.evaluation import draw

        save_figure(draw(self), path)


def evaluate(
    model: Graph,
    data: Any,  # noqa: ANN401
    numerics: Numerics = None,
    reference: "Graph | Evaluation | None" = None,
    top_k: Sequence[int] = (1, 5),
    task: Task = "classify",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Accuracy, top-k, precision, recall, F1, confusion matrix and ROC of ``model`` on ``data``.

    Args:
        model: a network of one input, whose first output holds a score for each class.
        data: ``(x, y)``, or an ``.npz`` file with ``x`` and ``y``; real ``x`` are quantized as the input asks.
        numerics: as for :func:`fxsim.simulate`.
        reference: a network (run on the same data with its own default arithmetic) or an earlier evaluation to agree with.
        top_k: which top-k accuracies to state; those above the number of classes are left out.
        task: ``"anomaly"``: the score is the mean squared difference of output and input, the labels are 0 and 1.
        progress: called with the number of examples done.

    Raises:
        InputError: if the data does not fit the model; FxsimError: if scikit-learn is missing.
    """
    metrics.scikit_learn()
    if task not in ("classify", "anomaly"):
        raise FxsimError(f"evaluate: task is {task!r}; allowed: 'classify', 'anomaly'")
    examples = load(data)
    scores = score(model, examples, numerics, progress)
    name = numerics_of(model.name, numerics).name
    if task == "anomaly":
        return _anomaly(model, name, examples, scores)
    if int(examples.y.max()) >= scores.shape[1]:
        raise InputError(
            f"{examples.name}: label {examples.y.max()} is beyond the {scores.shape[1]} scores of {model.name}"
        )
    rows = metrics.class_scores(scores, examples.y)
    present = [r for r in rows if r.support]
    areas = [r.auc for r in present if r.auc is not None]

    def mean(measure: str) -> float:
        return float(np.mean([getattr(r, measure) for r in present]))

    return Evaluation(
        model=model.name,
        numerics=name,
        task=task,
        examples=len(examples),
        scores=scores,
        labels=examples.y,
        accuracy=metrics.top_k(scores, examples.y, 1),
        top_k={k: metrics.top_k(scores, examples.y, k) for k in top_k if k <= scores.shape[1]},
        precision=mean("precision"),
        recall=mean("recall"),
        f1=mean("f1"),
        auc=float(np.mean(areas)) if areas else None,
        classes=rows,
        confusion=metrics.confusion(examples.y, scores.argmax(axis=1), scores.shape[1]),
        agreement=None if reference is None else _agreement(reference, examples, scores),
    )


def _agreement(reference: "Graph | Evaluation", examples: DataSet, scores: Reals) -> float:
    theirs = reference.scores if isinstance(reference, Evaluation) else score(reference, examples)
    if theirs.shape != scores.shape:
        raise InputError(f"the reference has scores of {list(theirs.shape)}; allowed: {list(scores.shape)}")
    return float(np.mean(theirs.argmax(axis=1) == scores.argmax(axis=1)))


def _anomaly(model: Graph, numerics: str, examples: DataSet, outputs: Reals) -> Evaluation:
    given = model.tensors[model.inputs[0]]
    x = given.reals(prepared(model, examples.x)).reshape(len(examples), -1)
    if x.shape != outputs.shape or set(np.unique(examples.y)) - {0, 1}:
        raise InputError(
            f"{model.name}: anomaly detection needs an output like the input ({x.shape[1]} elements, got "
            f"{outputs.shape[1]}) and labels 0 and 1 (got {np.unique(examples.y).tolist()[:8]})"
        )
    error = np.mean((outputs - x) ** 2, axis=1)
    both = np.stack([-error, error], axis=1)
    auc = metrics.area(examples.y == 1, error)
    return Evaluation(model.name, numerics, "anomaly", len(examples), both, examples.y, auc=auc)


def score(
    model: Graph, data: DataSet, numerics: Numerics = None, progress: Callable[[int], None] | None = None
) -> Reals:
    """``(N, classes)`` real values of the model's first output, a part of the data at a time."""
    out = model.tensors[model.outputs[0]]
    rows: list[Reals] = []
    done = 0
    for x, _ in data.batches(BATCH):
        ready = prepared(model, x)
        trace = simulate(model, ready, numerics)
        rows.append(out.reals(next(iter(trace.outputs.values()))).reshape(len(ready), -1))
        done += len(ready)
        if progress is not None:
            progress(done)
    return np.concatenate(rows)
