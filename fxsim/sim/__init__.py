"""Runs a network bit for bit, as a numerics profile computes."""

import os
from collections.abc import Sequence
from typing import Any, Literal

from fxsim.errors import FxsimError, listed
from fxsim.model.graph import Graph
from fxsim.numerics import NumericsProfile, numerics_of
from fxsim.sim.inputs import make_batch
from fxsim.sim.plan import plan_of
from fxsim.sim.trace import Progress, Trace, computed, run

Keep = Literal["outputs", "all"] | Sequence[int | str]


def simulate(
    model: Graph,
    x: Any,  # noqa: ANN401
    numerics: str | os.PathLike[str] | NumericsProfile | None = None,
    keep: Keep = "outputs",
    progress: Progress | None = None,
    threads: int | None = None,
) -> Trace:
    """The outputs of ``model`` for ``x``, in every bit as the engine of ``numerics`` computes them.

    Args:
        model: a network from :func:`fxsim.read`.
        x: an array, or a dict (by input name) or list of arrays. One inference has exactly the model's shape; many carry
            one more leading axis, or the same rank with a larger batch; outputs stack the same way. A model with state
            keeps it along the sequence and starts fresh at each call.
        numerics: a profile's name (:func:`fxsim.list_numerics`), a ``.toml`` file, or a profile; by default
            ``onnxruntime`` for ``.onnx`` models, ``litert-reference`` for all others.
        keep: ``"outputs"``, ``"all"``, or a list of tensor indices or names to keep in the trace.
        progress: called with the number of inferences done after each.
        threads: how many inferences run at once, by default one a core; the outputs are the same in every bit.

    Raises:
        InputError: if ``x`` does not fit the model; ProfileError, UnsupportedOp: if the arithmetic or an op is not there.
    """
    profile = numerics_of(model.name, numerics)
    batch = make_batch(model, x, real=profile.real is not None)
    plan = plan_of(model, profile)
    keys = list(dict.fromkeys((*model.outputs, *wanted(plan.graph, keep))))
    return Trace(plan, batch, run(plan, batch, keys, progress, threads))


def wanted(model: Graph, keep: Keep) -> list[int]:
    """The tensors that ``keep`` names.

    Raises:
        FxsimError: on what is none, or holds no values.
    """
    if keep == "outputs":
        return []
    known = computed(model)
    if keep == "all":
        return known
    if isinstance(keep, str):
        raise FxsimError(f"keep is {keep!r}; allowed: 'outputs', 'all' or a list of tensors")
    keys = [model.tensor(k).index for k in keep]
    for k in keys:
        if k not in known:
            raise FxsimError(f"{model.name}: keep: tensor {k} holds no values; allowed: {listed(known)}")
    return keys
