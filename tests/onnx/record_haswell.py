"""Records ``vectors/haswell.npz``: what ONNX Runtime answers on an emulated Haswell, for machines without the emulator.

``FXSIM_QEMU_X86_64=... FXSIM_LIVE_EXAMPLES=5 python -m tests.onnx.record_haswell``
"""

from pathlib import Path

import numpy as np

from tests.live.cases import explore
from tests.onnx import emulated
from tests.onnx.test_avx2 import CASES

HERE = Path(__file__).parent / "vectors" / "haswell.npz"


def record() -> None:
    """Asks the emulated engine for a few cases of each op."""
    arrays = {}
    for op, (strategy, build) in CASES.items():
        drawn: list[object] = []
        explore(strategy, drawn.append)
        models = [build(case) for case in drawn]
        for n, ((content, inputs), outputs) in enumerate(zip(models, emulated.ask(models), strict=True)):
            if outputs is not None:
                key = f"{op}/{n}"
                arrays[f"{key}/model"] = np.frombuffer(content, np.uint8)
                arrays |= {f"{key}/x{i}": x for i, x in enumerate(inputs)}
                arrays[f"{key}/y"] = outputs[0]
    HERE.parent.mkdir(exist_ok=True)
    np.savez_compressed(HERE, **arrays)


if __name__ == "__main__":
    record()
