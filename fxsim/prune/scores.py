"""How much a weight matters: what is least goes first."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fxsim.errors import FxsimError, listed
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.conv import WEIGHT_AXES
from fxsim.model.qtype import Array

Scores = Mapping[int, npt.NDArray[np.floating]]
"""weight tensor -> the score of each weight"""
Method = str | Scores
METHODS = ("magnitude", "random")


def weighted(graph: Graph) -> list[tuple[Node, Tensor]]:
    """The layers with a constant weight of their own, and that weight."""
    return [
        (n, graph.tensors[n.inputs[1]])
        for n in graph.nodes
        if n.op in WEIGHT_AXES and graph.tensors[n.inputs[1]].data is not None
    ]


def score(graph: Graph, t: Tensor, method: Method, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The score of each weight of ``t``: its magnitude ``|w|``, a random number, or what the caller computed.

    A gradient's sensitivity ``|w * dL/dw|`` comes from :func:`fxsim.train.sensitivity`.

    Raises:
        FxsimError: on an unknown method, or scores that are missing, not finite or of another shape.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise FxsimError(f"prune: method is {method!r}; allowed: {listed(METHODS)}, or scores by weight tensor")
        assert t.data is not None
        return np.abs(t.reals(t.data)) if method == "magnitude" else rng.random(t.shape)
    given: Array | None = method.get(t.index)
    if given is None:
        raise FxsimError(f"{graph.name}: scores lack tensor {t.index} {t.name!r}; they hold {listed(method)}")
    if np.shape(given) != t.shape or not np.all(np.isfinite(given)):
        raise FxsimError(
            f"{graph.name}: the scores of tensor {t.index} {t.name!r} are of shape {list(np.shape(given))}; "
            f"allowed: finite numbers of shape {list(t.shape)}"
        )
    return np.asarray(given, np.float64)


def chosen(graph: Graph, layers: "list[int | str] | None") -> set[int]:
    """The indices of the layers asked for, by index or name; all that have weights by default.

    Raises:
        FxsimError: if one has no weights or there is none of that name.
    """
    known = {n.index: n.name for n, _ in weighted(graph)}
    if layers is None:
        return set(known)
    result = set()
    for asked in layers:
        found = [i for i, name in known.items() if asked in (i, name)]
        if len(found) != 1:
            raise FxsimError(
                f"{graph.name}: layer {asked!r} names {len(found)} layers with weights; "
                f"allowed: {listed(known)} or their names"
            )
        result.add(found[0])
    return result
