"""Small networks drawn by chance for comparisons with a compiler: all of it runs on any Ethos-U."""

import random

import numpy as np
import numpy.typing as npt

from tests.build import Builder

ZERO_POINT = 0
SCALE = 0.05


class _Net:
    def __init__(self, seed: int) -> None:
        self.choose, self.values = random.Random(seed), np.random.default_rng(seed)
        self.builder = Builder()
        self.count = 0
        self.h, self.w = self.choose.choice([16, 24, 33, 48, 64]), self.choose.choice([16, 20, 31, 48, 64])
        self.c = self.choose.choice([1, 3, 8, 16])
        self.input = self.now = self.map(SCALE)

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def map(self, scale: float) -> int:
        return self.builder.tensor(self.name(), [1, self.h, self.w, self.c], "int8", scale, ZERO_POINT)

    def weights(self, shape: list[int], channels: int, axis: int, spread: float) -> list[int]:
        drawn: npt.NDArray[np.float64] = np.clip(np.round(self.values.normal(0, spread, shape)), -127, 127)
        zeros, bias = [0] * channels, self.values.integers(-900, 900, channels)
        weight = self.builder.tensor(self.name(), shape, "int8", [0.01] * channels, zeros, axis, drawn)
        return [
            weight,
            self.builder.tensor(self.name(), [channels], "int32", [0.01 * SCALE] * channels, zeros, 0, bias),
        ]

    def conv(self, channels: int, kernel: tuple[int, int], stride: int) -> int:
        held = self.weights([channels, *kernel, self.c], channels, 0, self.choose.choice([5, 20, 40]))
        self.h, self.w, self.c = -(-self.h // stride), -(-self.w // stride), channels
        made = self.map(SCALE)
        self.builder.op("CONV_2D", [self.now, *held], [made], padding="SAME", stride_h=stride, stride_w=stride,
                        fused_activation_function="RELU")  # fmt: skip
        return made

    def depthwise(self, kernel: int, stride: int) -> int:
        held = self.weights([1, kernel, kernel, self.c], self.c, 3, 30)
        self.h, self.w = -(-self.h // stride), -(-self.w // stride)
        made = self.map(SCALE)
        self.builder.op("DEPTHWISE_CONV_2D", [self.now, *held], [made], padding="SAME", stride_h=stride, stride_w=stride,
                        depth_multiplier=1)  # fmt: skip
        return made

    def pool(self) -> int:
        self.h, self.w = self.h // 2, self.w // 2
        made = self.map(SCALE)
        op = self.choose.choice(["MAX_POOL_2D", "AVERAGE_POOL_2D"])
        self.builder.op(
            op, [self.now], [made], padding="VALID", stride_h=2, stride_w=2, filter_height=2, filter_width=2
        )
        return made

    def beside(self, op: str) -> int:
        """A sum or product with a 1x1 convolution of the same tensor."""
        branch, made = self.conv(self.c, (1, 1), 1), self.map(0.06)
        self.builder.op(op, [self.now, branch], [made])
        return made

    def grow(self) -> None:
        kind = self.choose.choice(["conv", "conv", "depthwise", "pool", "ADD", "MUL"])
        small = min(self.h, self.w) < 6
        stride = 1 if small else self.choose.choice([1, 1, 2])
        if kind in ("ADD", "MUL"):
            self.now = self.beside(kind)
        elif kind == "pool" and not small:
            self.now = self.pool()
        elif kind == "depthwise" and self.c >= 4:
            self.now = self.depthwise(self.choose.choice([3, 5]), stride)
        else:
            kernel = self.choose.choice([(1, 1), (1, 1), (3, 3), (3, 3), (5, 5), (1, 7), (3, 1)])
            self.now = self.conv(self.choose.choice([8, 12, 16, 24, 32, 40, 64, 96, 130]), kernel, stride)


def network(seed: int) -> bytes:
    """A ``.tflite`` file with 4 to 9 layers, the same for the same seed."""
    net = _Net(seed)
    for _ in range(net.choose.randint(4, 9)):
        net.grow()
    return net.builder.finish([net.input], [net.now])
