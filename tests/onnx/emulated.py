"""ONNX Runtime on a processor that this machine is not: many models in one process under ``qemu-x86_64``.

``FXSIM_QEMU_X86_64`` names the emulator's binary. ``python -m tests.onnx.emulated CASES ANSWERS`` is what runs in it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests import engines
from tests.onnx.cases import Array, runtime

QEMU = os.environ.get("FXSIM_QEMU_X86_64", "")
Case = tuple[bytes, list[Array]]


def ask(cases: Sequence[Case], cpu: str = "Haswell") -> list[list[Array] | None]:
    """What ONNX Runtime on ``cpu`` answers to each model; None where it refuses it."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "cases.npz"), Path(folder, "answers.npz")
        arrays = {f"m{i}": np.frombuffer(content, np.uint8) for i, (content, _) in enumerate(cases)}
        arrays |= {f"x{i}_{j}": x for i, (_, xs) in enumerate(cases) for j, x in enumerate(xs)}
        np.savez(asked, **arrays)
        command = [QEMU, "-cpu", cpu, sys.executable, "-W", "ignore", "-m", "tests.onnx.emulated", asked, answered]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"NUMBA_CPU_NAME": "generic"})
        with np.load(answered) as found:
            return [_several(found, f"y{i}_") for i in range(len(cases))]


def _several(found: "np.lib.npyio.NpzFile", prefix: str) -> list[Array] | None:
    names = [f"{prefix}{j}" for j in range(len(found.files)) if f"{prefix}{j}" in found.files]
    return [found[n] for n in names] or None


def serve(asked: Path, answered: Path) -> None:
    """Answers all cases of a file."""
    answers = {}
    with np.load(asked) as found:
        for i in range(sum(n.startswith("m") for n in found.files)):
            inputs = _several(found, f"x{i}_") or []
            try:
                outputs = runtime(found[f"m{i}"].tobytes(), inputs)
            except engines.Refused:
                continue
            answers |= {f"y{i}_{j}": y for j, y in enumerate(outputs)}
    np.savez(answered, **answers)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
