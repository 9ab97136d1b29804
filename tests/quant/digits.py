"""A small float network on scikit-learn's digits, trained in a second: the same weights as a graph of the TFLite dialect."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from fxsim.model.graph import Graph
from tests.quant.graphs import FloatBuilder

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Digits:
    """Images ``(N, 8, 8, 1)`` in 0..1 and their classes, cut into those to learn from and those to test with."""

    x_train: Floats
    y_train: npt.NDArray[np.int64]
    x_test: Floats
    y_test: npt.NDArray[np.int64]


@cache
def data() -> Digits:
    """Every fourth digit is for testing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = (digits.images[..., None] / 16).astype(np.float32), digits.target.astype(np.int64)
    test = np.arange(len(x)) % 4 == 3
    return Digits(x[~test], y[~test], x[test], y[test])


@cache
def weights(seed: int = 0, epochs: int = 30) -> dict[str, Floats]:
    """Trained parameters, convolutions as ``(O, I, KH, KW)``; batch norms are folded."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(),
        nn.Conv2d(16, 32, 1), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip
    d = data()
    x = torch.from_numpy(np.ascontiguousarray(d.x_train.transpose(0, 3, 1, 2)))
    y = torch.from_numpy(d.y_train)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), 32):
            batch = order[start : start + 32]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return {k: v.detach().numpy().copy() for k, v in model.state_dict().items()}


def graph(seed: int = 0) -> Graph:
    """The trained network as a float graph: image ``(1, 8, 8, 1)`` to probabilities of ten classes."""
    p, b = weights(seed), FloatBuilder("digits.tflite")
    x = b.input("image", (1, 8, 8, 1))
    x = b.conv(x, p["0.weight"].transpose(0, 2, 3, 1), p["0.bias"], activation="RELU", padding="SAME")
    x = b.pool(x, "MAX_POOL_2D", 2)
    x = b.depthwise(x, p["3.weight"].transpose(1, 2, 3, 0), p["3.bias"], activation="RELU", padding="SAME")
    x = b.conv(x, p["5.weight"].transpose(0, 2, 3, 1), p["5.bias"], activation="RELU")
    x = b.pool(x, "AVERAGE_POOL_2D", 2)
    x = b.reshape(x, (1, 128))
    dense = p["9.weight"].reshape(32, 32, 4).transpose(0, 2, 1).reshape(32, 128)  # channels last
    x = b.dense(x, dense, p["9.bias"], activation="RELU")
    x = b.dense(x, p["11.weight"], p["11.bias"])
    return b.finish(b.softmax(x))


def accuracy(outputs: npt.NDArray[np.generic], y: npt.NDArray[np.int64]) -> float:
    """The share of rows whose greatest output is that of their class."""
    return float(np.mean(outputs.reshape(len(y), -1).argmax(axis=1) == y))
