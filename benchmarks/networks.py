"""Published networks from their layers, where a measurement names a network whose file is not at hand."""

from collections.abc import Sequence

import fxsim
from fxsim.model.graph import Graph

V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""pairs of depthwise and pointwise layers of MobileNetV1: output channels at width 1, stride"""
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""blocks of MobileNetV2: expansion, output channels at width 1, repeats, stride of the first"""


def _out(size: int, stride: int) -> int:
    return -(-size // stride)


def _of(channels: float) -> int:
    """A number of channels as MobileNetV2 rounds it: a multiple of 8, never less than nine tenths."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def mobilenet_v1(size: int, width: float, classes: int, channels: int = 3) -> Sequence[Graph]:
    """MobileNetV1 (Howard et al., 2017) on a square image, with a dense layer at its end; pools are left out."""
    layer, c = fxsim.layer, int(32 * width)
    found = [layer.conv2d(size, size, channels, c, 3, 2)]
    size = _out(size, 2)
    for out, stride in V1:
        found.append(layer.depthwise_conv2d(size, size, c, 3, stride))
        size, n = _out(size, stride), int(out * width)
        found.append(layer.conv2d(size, size, c, n, 1))
        c = n
    return [*found, layer.gemm(1, classes, c)]


def mobilenet_v2(size: int, width: float, classes: int) -> Sequence[Graph]:
    """MobileNetV2 (Sandler et al., 2018) on a square image; additions and the pool are left out: 2 % of the work."""
    layer, c = fxsim.layer, _of(32 * width)
    found = [layer.conv2d(size, size, 3, c, 3, 2)]
    size = _out(size, 2)
    for expansion, out, repeats, first in V2:
        for i in range(repeats):
            stride, wide, n = first if i == 0 else 1, c * expansion, _of(out * width)
            if expansion > 1:
                found.append(layer.conv2d(size, size, c, wide, 1))
            found.append(layer.depthwise_conv2d(size, size, wide, 3, stride))
            size = _out(size, stride)
            found.append(layer.conv2d(size, size, wide, n, 1))
            c = n
    last = max(1280, _of(1280 * width))
    return [*found, layer.conv2d(size, size, c, last, 1), layer.gemm(1, classes, last)]
