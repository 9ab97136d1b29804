"""Reads the corpus: golden models with the recorded tensors of the engines."""

import hashlib
from pathlib import Path

import numpy as np

import fxsim

_SEANET = {
    "add": (2, 4, 6, 8, 9, 11, 16),
    "conv": (0, 3, 4, 5, 6, 9, 10, 11, 12, 13, 15, 17, 18, 19, 20, 21),
    "leaky_relu": (0, 1, 2, 4, 5, 7, 9, 12, 14, 16, 22),
    "pad": (0, 1, 2, 4, 5, 7, 11, 12, 13, 16),
    "quantize": (0, 1),
    "strided_slice": (0, 1, 3, 4, 6, 8, 10, 11, 14, 15, 16, 17, 18, 23, 24, 28, 29, 32),
    "sub": (0, 2, 3),
    "transpose_conv": (0, 2, 4),
}
"""layers of a network in 16 bits, each a model of its own"""
MODELS = (
    *(
        "ad01_int8 resnet8_int8 kws_int8 vww_int8 str_ww_int8 hey_jarvis_stream okay_nabu_stream micro_speech "
        "hello_world_int8 simple_add rock_paper_scissors magic_wand autoencoder fingerprint kws_mobilenetv2 mobilenet_v2 "
        "ad_float_io keyword_svdf mnist_lstm_int8 dtln_lstm ad01_hybrid"
    ).split(),
    *(f"seanet/seanet_{op}{n}" for op, numbers in _SEANET.items() for n in numbers),
)


class Golden:
    """One model, its inputs stacked along a leading axis, and the recordings."""

    def __init__(self, corpus: Path, name: str) -> None:
        self.path = corpus / "models" / f"{name}.tflite"
        self.graph = fxsim.read(self.path)
        with np.load(corpus / "golden" / f"{name}.npz", allow_pickle=False) as z:
            self.arrays = {k: z[k] for k in z.files}
        self.count = sum(f"in{i}_0" in self.arrays for i in range(99))
        self.inputs = [
            np.stack([self.arrays[f"in{i}_{j}"] for i in range(self.count)]) for j in range(len(self.graph.inputs))
        ]

    def tensors(self, inference: int):
        """``(index, recording)`` of every tensor that the reference engine showed."""
        prefix = f"a{inference}_t"
        return [(int(k.removeprefix(prefix)), v) for k, v in self.arrays.items() if k.startswith(prefix)]


def differing(ours: np.ndarray, recorded: np.ndarray) -> int:
    """Elements that differ; a recording of 32 bytes for a larger tensor is the sha256 of its C-order bytes."""
    if recorded.dtype == np.uint8 and recorded.shape == (32,) and ours.shape != (32,):
        same = hashlib.sha256(np.ascontiguousarray(ours).tobytes()).digest() == recorded.tobytes()
        return 0 if same else ours.size
    assert ours.shape == recorded.shape
    assert ours.dtype == recorded.dtype
    return int(np.sum(ours != recorded))
