"""Measures of classification, from scikit-learn."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.errors import FxsimError

Reals = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class against all others."""

    label: int
    support: int
    """examples of the class"""
    precision: float
    recall: float
    f1: float
    auc: float | None
    """area under the ROC; None where the data holds no example of the class, or nothing else"""


def scikit_learn() -> ModuleType:
    """``sklearn.metrics``.

    Raises:
        FxsimError: if scikit-learn is not installed.
    """
    try:
        import sklearn.metrics
    except ImportError:
        raise FxsimError('evaluation needs scikit-learn: pip install "fxsim[evaluate]"') from None
    metrics: ModuleType = sklearn.metrics
    return metrics


def top_k(scores: Reals, labels: Labels, k: int) -> float:
    """The share of examples whose class is among the ``k`` greatest scores; of equal scores the lower index comes first."""
    own = scores[np.arange(len(labels)), labels][:, np.newaxis]
    earlier = np.arange(scores.shape[1])[np.newaxis] < labels[:, np.newaxis]
    ahead = (scores > own) | ((scores == own) & earlier)
    return float(np.mean(ahead.sum(axis=1) < k))


def class_scores(scores: Reals, labels: Labels) -> tuple[ClassScore, ...]:
    """Precision, recall, F1 and AUC of each class (one against the rest); no prediction of a class counts as 0."""
    sk = scikit_learn()
    classes = np.arange(scores.shape[1])
    predicted = scores.argmax(axis=1)
    p, r, f, n = sk.precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    aucs = [area(labels == c, margin(scores, c)) for c in range(scores.shape[1])]
    rows = zip(classes, n, p, r, f, aucs, strict=True)
    return tuple(ClassScore(int(c), int(k), float(a), float(b), float(d), e) for c, k, a, b, d, e in rows)


def margin(scores: Reals, c: int) -> Reals:
    """The score of class ``c``; of two classes, its lead, so that logits rank as probabilities would."""
    result: Reals = scores[:, c] - (scores[:, 1 - c] if scores.shape[1] == 2 else 0.0)
    return result


def area(positive: npt.NDArray[np.bool_], score: Reals) -> float | None:
    """The area under the ROC: the chance that a positive example scores above a negative one, ties one half."""
    if positive.all() or not positive.any():
        return None
    return float(scikit_learn().roc_auc_score(positive, score))


def roc(positive: npt.NDArray[np.bool_], score: Reals) -> tuple[Any, Any]:
    """False and true positive rates over all thresholds."""
    false, true, _ = scikit_learn().roc_curve(positive, score)
    return false, true


def confusion(labels: Labels, predicted: Labels, classes: int) -> npt.NDArray[np.int64]:
    """``[true, predicted]`` counts."""
    result: npt.NDArray[np.int64] = scikit_learn().confusion_matrix(labels, predicted, labels=np.arange(classes))
    return result
