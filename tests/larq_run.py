"""Larq Compute Engine behind a pipe: its wheel wants Python 3.11 or older and numpy below 2.

``FXSIM_LARQ`` names a Python in which ``larq-compute-engine`` and ``numpy<2`` are installed. Run as a script by that Python,
this file serves; imported, it asks. Both ways a message is its length (8 bytes) and an ``.npz`` without pickles.
"""

import importlib.metadata
import importlib.util
import io
import os
import struct
import subprocess
import sys
from functools import cache
from typing import IO, Any

import numpy as np

VARIABLE = "FXSIM_LARQ"


def send(pipe: IO[bytes], **arrays: Any) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    pipe.write(struct.pack("<q", len(buffer.getvalue())) + buffer.getvalue())
    pipe.flush()


def receive(pipe: IO[bytes]) -> dict[str, Any] | None:
    head = pipe.read(8)
    if len(head) < 8:
        return None
    with np.load(io.BytesIO(pipe.read(struct.unpack("<q", head)[0])), allow_pickle=False) as arrays:
        return dict(arrays)


def ask(content: bytes, inputs: Any, kernels: str = "optimized") -> list[Any]:
    """One inference by the kernels ``optimized``, ``indirect`` or ``reference``: the model's outputs.

    Raises:
        Refused: if the engine does not take the model.
    """
    from tests.engines import Refused

    engine = _engine(os.environ[VARIABLE])
    assert engine.stdin is not None and engine.stdout is not None
    arrays = {f"input_{i}": v for i, v in enumerate(inputs)}
    send(engine.stdin, content=np.frombuffer(content, np.uint8), kernels=np.array(kernels), **arrays)
    answer = receive(engine.stdout)
    assert answer is not None, "the engine has died"
    if "refused" in answer:
        raise Refused(str(answer["refused"]))
    return [answer[f"output_{i}"] for i in range(len(answer))]


@cache
def _engine(python: str) -> Any:
    return subprocess.Popen(
        [python, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def serve() -> None:
    """Answers until the pipe is closed."""
    files = importlib.metadata.files("larq-compute-engine") or []
    path = next(f.locate() for f in files if f.stem == "interpreter_wrapper_lite")
    # By its file: the package's own __init__ asks for TensorFlow.
    spec = importlib.util.spec_from_file_location("interpreter_wrapper_lite", path)
    assert spec is not None and spec.loader is not None
    wrapper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(wrapper)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the engine prints must not mix with the answers
    while (request := receive(sys.stdin.buffer)) is not None:
        kernels, inputs = str(request["kernels"]), [request[f"input_{i}"] for i in range(len(request) - 2)]
        try:
            reference, indirect = kernels == "reference", kernels == "indirect"
            engine = wrapper.LiteInterpreter(request["content"].tobytes(), 1, reference, indirect, False)
            answer = {f"output_{i}": np.array(v) for i, v in enumerate(engine.predict(inputs))}
        except RuntimeError as e:
            answer = {"refused": np.array(str(e))}
        send(out, **answer)


if __name__ == "__main__":
    serve()
