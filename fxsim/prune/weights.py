"""Single weights set to zero: by magnitude, threshold, chance or sensitivity; anywhere, or N of M along the sum."""

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from fxsim.errors import FxsimError
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.conv import WEIGHT_AXES
from fxsim.model.qtype import Array
from fxsim.prune.scores import Method, chosen, score, weighted

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How much of one layer's weight is zero."""

    layer: int
    name: str
    op: str
    weights: int
    zeros: int
    share: float
    """zeros / weights"""
    empty_channels: int
    """output channels without any weight left"""
    two_of_four: bool
    """True if at most two of any four weights along the sum are not zero"""


def weights(
    graph: Graph,
    sparsity: float | None = None,
    method: Method = "magnitude",
    pattern: str = "unstructured",
    threshold: float | None = None,
    scope: Literal["layer", "global"] = "layer",
    layers: list[int | str] | None = None,
    seed: int = 0,
) -> Graph:
    """The graph with the least important weights set to a real zero; its shapes stay.

    Only what reads zeros cheaply gains: encoded weights (Ethos-U) shrink; a core that multiplies every weight does not
    notice, and its estimate says so.

    Args:
        graph: a float or quantized network.
        sparsity: share of zeros in [0, 1) that each layer (or all together, see ``scope``) gets.
        method: ``"magnitude"``, ``"random"``, or a score for each weight by tensor index.
        pattern: ``"unstructured"``, or ``"N:M"`` such as ``"2:4"``: of each M weights in a row along the input
            channels the N best stay; a rest of less than M keeps in proportion, rounded up. Depthwise layers are left alone.
        threshold: instead of a sparsity: weights whose score is below it go.
        scope: whether ``sparsity`` counts for each layer, or over all of them by one common threshold.
        layers: indices or names; all with weights by default.
        seed: of ``"random"``.

    Raises:
        FxsimError: on arguments that do not go together, or are out of range.
    """
    n_of_m = _pattern(pattern)
    given = [sparsity is not None, threshold is not None, n_of_m is not None]
    if sum(given) != 1:
        raise FxsimError("prune: exactly one of sparsity, threshold and a pattern N:M says how much goes")
    if sparsity is not None and not 0 <= sparsity < 1:
        raise FxsimError(f"prune: sparsity is {sparsity!r}; allowed: at least 0, below 1")
    if scope not in ("layer", "global"):
        raise FxsimError(f"prune: scope is {scope!r}; allowed: 'layer', 'global'")
    rng = np.random.default_rng(seed)
    take = chosen(graph, layers)
    scores = {t.index: (n, score(graph, t, method, rng)) for n, t in weighted(graph) if n.index in take}
    if n_of_m is not None:
        keep = {i: _best_of(n, s, *n_of_m) for i, (n, s) in scores.items()}
    elif threshold is not None:
        keep = {i: s >= threshold for i, (_, s) in scores.items()}
    elif scope == "layer" or not scores:
        keep = {i: _largest(s, sparsity or 0.0) for i, (_, s) in scores.items()}
    else:
        together = _largest(np.concatenate([s.reshape(-1) for _, s in scores.values()]), sparsity or 0.0)
        parts = np.split(together, np.cumsum([s.size for _, s in scores.values()])[:-1])
        keep = {i: p.reshape(s.shape) for (i, (_, s)), p in zip(scores.items(), parts, strict=True)}
    tensors = tuple(_zeroed(t, keep[t.index]) if t.index in keep else t for t in graph.tensors)
    return replace(graph, tensors=tensors, sha256="", derived={})


def _pattern(text: str) -> tuple[int, int] | None:
    if text == "unstructured":
        return None
    found = re.fullmatch(r"([1-9]\d?):([1-9]\d?)", text)
    if not found or int(found[1]) >= int(found[2]):
        raise FxsimError(f"prune: pattern is {text!r}; allowed: 'unstructured', or 'N:M' with N below M, such as '2:4'")
    return int(found[1]), int(found[2])


def _largest(scores: npt.NDArray[np.float64], sparsity: float) -> Mask:
    """The mask without the ``floor(sparsity * size)`` least scores; of equals the first ones go."""
    keep = np.ones(scores.size, np.bool_)
    keep[np.argsort(scores, axis=None, kind="stable")[: int(sparsity * scores.size)]] = False
    return keep.reshape(scores.shape)


def _best_of(node: Node, scores: npt.NDArray[np.float64], n: int, m: int) -> Mask:
    axis = WEIGHT_AXES[node.op][1]
    if axis is None:
        return np.ones(scores.shape, np.bool_)
    rows = np.moveaxis(scores, axis, -1)
    keep = np.ones(rows.shape, np.bool_)
    for start in range(0, rows.shape[-1], m):
        group = rows[..., start : start + m]
        size = group.shape[-1]
        least = np.argsort(group, axis=-1, kind="stable")[..., : size - -(-n * size // m)]
        np.put_along_axis(keep[..., start : start + m], least, values=False, axis=-1)
    return np.moveaxis(keep, -1, axis)


def _zeroed(t: Tensor, keep: Mask) -> Tensor:
    data: Array = np.where(keep, np.asarray(t.data), _zero(t)).astype(t.qtype.dtype)
    data.setflags(write=False)
    return replace(t, data=data)


def _zero(t: Tensor) -> Array:
    """The raw values that stand for a real zero, ready to broadcast over the weight."""
    if t.quant is None or t.quant.per_tensor:
        return np.asarray(0 if t.quant is None else t.quant.zero_point[0])
    shape = [1] * len(t.shape)
    shape[t.quant.axis or 0] = -1
    return np.reshape(t.quant.zero_point, shape)


def sparsity(graph: Graph) -> tuple[Sparsity, ...]:
    """What is zero in each layer's weight."""
    rows = []
    for node, t in weighted(graph):
        present: Mask = np.asarray(t.data) != _zero(t)
        out, into = WEIGHT_AXES[node.op]
        empty = ~present.any(axis=tuple(a for a in range(present.ndim) if a != out))
        zeros = int(present.size - present.sum())
        rows.append(
            Sparsity(
                node.index, node.name, node.op, present.size, zeros, zeros / present.size, int(empty.sum()),
                into is not None and _at_most(np.moveaxis(present, into, -1), 2, 4),
            )
        )  # fmt: skip
    return tuple(rows)


def _at_most(present: Mask, n: int, m: int) -> bool:
    whole = present.shape[-1] // m * m
    return bool(np.all(present[..., :whole].reshape(-1, m).sum(axis=1) <= n)) and whole > 0
