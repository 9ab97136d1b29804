"""Post-training quantization in three steps: calibrate (ranges), decide (types and scales), realize (a graph of integers)."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fxsim.errors import FxsimError, UnsupportedOp
from fxsim.model.graph import Graph
from fxsim.numerics import NumericsProfile, load_numerics
from fxsim.quant.calibration import Calibration, Progress, calibrate
from fxsim.quant.correct import correct_biases, round_adaptively, with_biases
from fxsim.quant.decide import decide
from fxsim.quant.equalize import equalize
from fxsim.quant.quantizers import to_integers
from fxsim.quant.realize import FloatWeights, Io, bias_form, realize
from fxsim.quant.rules import bias_of, weighted
from fxsim.quant.scheme import SCHEMES, Scheme, scheme_of
from fxsim.sim.support import unsupported

if TYPE_CHECKING:
    from fxsim.quant.decide import Choice

__all__ = ["SCHEMES", "Calibration", "Scheme", "calibrate", "prepared", "quantize", "realize"]


def prepared(model: Graph, scheme: str | Scheme = "int8", overrides: Mapping[int | str, Any] | None = None) -> Graph:
    """The float graph that :func:`quantize` calibrates: in the dialect of ``.tflite``, changed by corrections without data.

    Raises:
        FxsimError: if it is not float, or if the scheme does not fit it.
    """
    chosen = scheme_of(scheme, overrides)
    graph = _float_graph(model)
    chosen.check(graph)
    return equalize(graph) if "equalize" in chosen.corrections else graph


def _float_graph(model: Graph) -> Graph:
    from fxsim.convert import to_tflite

    graph = to_tflite(model)
    if any(n.op in {"DEQUANTIZE", "QUANTIZE"} for n in graph.nodes) or any(t.quant for t in graph.tensors):
        raise FxsimError(f"{graph.name}: is quantized already; allowed: float models")
    return graph


def quantize(
    model: Graph,
    calibration: Any = None,  # noqa: ANN401
    scheme: str | Scheme = "int8",
    overrides: Mapping[int | str, Any] | None = None,
    *,
    io: Io = "float32",
    numerics: str | os.PathLike[str] | NumericsProfile | None = None,
    calibrated: Calibration | None = None,
    state: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Graph:
    """A graph of integers that computes what the float ``model`` does, as near as the scheme's bits allow.

    Args:
        model: a float network from :func:`fxsim.read`.
        calibration: typical inputs: an array, a dict or list of arrays by input, an ``.npz`` file, or an iterable of
            batches. Schemes of static activations need it, and so do the corrections ``bias`` and ``adaround``.
        scheme: a name of ``fxsim.quant.SCHEMES``, which may end in corrections (``"int4+clip+bias"``), or a :class:`Scheme`.
        overrides: layer index, layer name or op -> weight bits, a :class:`Scheme`, or ``"float"``.
        io: ``"float32"`` inputs and outputs, or ``"integer"`` ones.
        numerics: the engine that is to run the result, if it shall be held to it.
        calibrated: what :func:`calibrate` made of the same :func:`prepared` graph, instead of doing it here.
        state: an ``.npz`` file that keeps the calibration, and from which an interrupted one goes on.
        progress: called with the number of calibrated inferences.

    Raises:
        InputError: on calibration data that does not fit, is empty or not finite.
        UnsupportedOp: if ``numerics`` cannot run the result; FxsimError: if scheme and model do not fit.
    """
    chosen, graph = scheme_of(scheme, overrides), prepared(model, scheme, overrides)
    data_repairs = {"bias", "adaround"} & set(chosen.corrections)
    if calibration is None and (data_repairs or (chosen.activations == "static" and calibrated is None)):
        needs = ", ".join(sorted(data_repairs)) or "static activations"
        raise FxsimError(f"quantize: no calibration data; {needs} of the scheme take some")
    if data_repairs and hasattr(calibration, "__next__"):
        repairs = ", ".join(sorted(data_repairs))
        raise FxsimError(f"quantize: calibration is an iterator, which {repairs} would read again; allowed: a list")
    seen = calibrated
    if chosen.activations == "static" and seen is None:
        seen = calibrate(graph, calibration, state=state, progress=progress)
    if seen is not None:
        seen.hold(graph)
    if "bias" in chosen.corrections:
        graph = with_biases(graph)  # its tensors come behind those that were seen
    choice = decide(graph, seen if chosen.activations == "static" else None, chosen)
    if "adaround" in chosen.corrections:
        round_adaptively(graph, calibration, choice, chosen)
    if "bias" in chosen.corrections:
        graph = correct_biases(graph, calibration, choice)
    constants = choice.constants | _narrow_biases(graph, chosen, choice)
    weights: FloatWeights = "dynamic" if chosen.activations == "dynamic" else "dequantized"
    result = realize(graph, choice.decisions, constants, io, weights, choice.stay_float)
    if numerics is not None:
        _hold(result, numerics)
    return result


def _narrow_biases(graph: Graph, scheme: Scheme, choice: "Choice") -> dict[int, Any]:
    """Biases that saturate to fewer bits than they are stored in."""
    found = {}
    for node in graph.nodes:
        w, kind = weighted(graph, node), scheme.of(node)
        bias = bias_of(graph, node, w) if w else None
        if w is None or kind is None or kind.bias_bits >= 32 or bias is None or bias.data is None:
            continue
        data, weight = (choice.decisions.get(node.inputs[p]) for p in (w.data, w.weight))
        if data is not None and weight is not None:
            form = bias_form(data, weight)
            raw = to_integers(bias.data.reshape(-1), form.qtype, form.quant).reshape(bias.shape)
            most = 1 << (kind.bias_bits - 1)
            found[bias.index] = np.clip(raw, -most, most - 1)
    return found


def _hold(graph: Graph, numerics: str | os.PathLike[str] | NumericsProfile) -> None:
    """Holds the result to an engine.

    Raises:
        UnsupportedOp: if it cannot run it.
    """
    profile = load_numerics(numerics)
    gaps = unsupported(graph, profile)
    if gaps:
        g = gaps[0]
        more = f", and {len(gaps) - 1} more layers" if len(gaps) > 1 else ""
        name = profile.name
        raise UnsupportedOp(
            f"{graph.name}: numerics {name!r} cannot run layer {g.layer} {g.op} {g.name!r} so: {g.reason}{more}; "
            "numerics 'generic' runs 1 to 16 bits"
        )
