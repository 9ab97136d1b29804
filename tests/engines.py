"""Live inference engines, asked from Python: LiteRT with each of its sets of kernels, TensorFlow Lite for Microcontrollers.

Every function makes a fresh interpreter. Engines that are not installed skip the test that asks them.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]
Inputs = Sequence[Array]
"""One array for each input of the model, in the model's order."""
_ARENA_BYTES = 4 << 20
_PRESERVED_BYTES = 64 << 20
"""where all tensors are kept beside one another"""


class Refused(Exception):
    """The engine does not take the model; the text is its reason."""


@contextmanager
def _refusals() -> Iterator[None]:
    """Turns an engine's error into :class:`Refused`, with what it printed to file descriptor 2 as the reason."""
    with tempfile.TemporaryFile() as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except (RuntimeError, ValueError) as e:
            log.seek(0)
            said = log.read().decode("utf-8", "replace").strip().splitlines()
            raise Refused(" | ".join([*said, str(e).strip()])) from None
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def litert_reference(content: bytes, inputs: Inputs) -> dict[int, Array]:
    """One inference by LiteRT's reference kernels: every tensor that holds values, by its index."""
    return litert_reference_sequence(content, [inputs])[0]


def litert_reference_sequence(content: bytes, sequence: Sequence[Inputs]) -> list[dict[int, Array]]:
    """Several inferences on one interpreter, as a model with state needs.

    Raises:
        Refused: if the engine does not take the model.
    """
    return _litert_tensors(content, sequence, "BUILTIN_REF")


def litert_optimized(content: bytes, inputs: Inputs) -> dict[int, Array]:
    """One inference by LiteRT's optimized kernels: every tensor that holds values, by its index."""
    return litert_optimized_sequence(content, [inputs])[0]


def litert_optimized_sequence(content: bytes, sequence: Sequence[Inputs]) -> list[dict[int, Array]]:
    """Several inferences on one interpreter, as a model with state needs.

    Raises:
        Refused: if the engine does not take the model.
    """
    return _litert_tensors(content, sequence, "BUILTIN_WITHOUT_DEFAULT_DELEGATES")


def litert_xnnpack(content: bytes, inputs: Inputs) -> list[Array]:
    """One inference by LiteRT as it comes, with its XNNPACK delegate: the model's outputs."""
    return litert_xnnpack_sequence(content, [inputs])[0]


def litert_xnnpack_sequence(content: bytes, sequence: Sequence[Inputs]) -> list[list[Array]]:
    """Several inferences on one interpreter, as a model with state needs. Tensors within the delegate do not show.

    Raises:
        Refused: if the engine does not take the model.
    """
    litert, results = _litert(), []
    with _refusals():
        engine = litert.Interpreter(model_content=content, num_threads=1)
        engine.allocate_tensors()
        outputs = [d["index"] for d in engine.get_output_details()]
        for inputs in sequence:
            _invoke(engine, inputs)
            results.append([np.array(engine.get_tensor(i)) for i in outputs])
    return results


def litert_delegated(content: bytes) -> bool:
    """True if LiteRT's XNNPACK delegate computes any layer of the model.

    Raises:
        Refused: if the engine does not take the model.
    """
    litert = _litert()
    with _refusals():
        engine = litert.Interpreter(model_content=content, num_threads=1)
        engine.allocate_tensors()
    return any(d["op_name"] == "DELEGATE" for d in engine._get_ops_details())


def _litert() -> Any:
    return pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert (the test extra)")


def _invoke(engine: Any, inputs: Inputs) -> None:
    for detail, value in zip(engine.get_input_details(), inputs, strict=True):
        engine.set_tensor(detail["index"], value)
    engine.invoke()


def _litert_tensors(content: bytes, sequence: Sequence[Inputs], resolver: str) -> list[dict[int, Array]]:
    litert, results = _litert(), []
    with _refusals():
        engine = litert.Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=getattr(litert.OpResolverType, resolver),
            experimental_preserve_all_tensors=True,
        )
        engine.allocate_tensors()
        for inputs in sequence:
            _invoke(engine, inputs)
            results.append({i: v for i in _indices(engine) if (v := _value(engine, i)) is not None})
    return results


def _indices(engine: Any) -> list[int]:
    return [int(d["index"]) for d in engine.get_tensor_details() if d["dtype"] is not np.object_]


def _value(engine: Any, index: int) -> Array | None:
    try:
        return np.array(engine.get_tensor(index))
    except ValueError:  # a resource, a tensor of another op's scratch space
        return None


def tflm(content: bytes, inputs: Inputs) -> list[Array]:
    """One inference by TFLM: the model's outputs."""
    return tflm_sequence(content, [inputs])[0]


def tflm_sequence(content: bytes, sequence: Sequence[Inputs]) -> list[list[Array]]:
    """Several inferences on one interpreter, as a model with state needs.

    Raises:
        Refused: if the engine does not take the model.
    """
    results = []
    runtime = _runtime()
    with _refusals():
        engine = runtime.Interpreter.from_bytes(content, arena_size=_ARENA_BYTES)
        outputs = range(_outputs(content))
        for inputs in sequence:
            for i, value in enumerate(inputs):
                engine.set_input(value, i)
            engine.invoke()
            results.append([np.array(engine.get_output(i)) for i in outputs])
    return results


def tflm_tensors(content: bytes, inputs: Inputs, indices: Sequence[int]) -> dict[int, Array]:
    """One inference by TFLM: the tensors of the main graph with these indices.

    Raises:
        Refused: if the engine does not take the model.
    """
    runtime = _runtime()
    with _refusals():
        engine = runtime.Interpreter.from_bytes(
            content,
            arena_size=_PRESERVED_BYTES,
            intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors,
        )
        for i, value in enumerate(inputs):
            engine.set_input(value, i)
        engine.invoke()
        return {i: np.array(engine.GetTensor(i, 0)["tensor_data"]) for i in indices}


def _runtime() -> Any:
    return pytest.importorskip("tflite_micro", reason="needs tflite-micro (the test extra)").runtime


def _outputs(content: bytes) -> int:
    import tflite

    return int(tflite.Model.GetRootAs(content, 0).Subgraphs(0).OutputsLength())
