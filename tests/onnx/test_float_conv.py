"""The order in which ONNX Runtime adds float32 products of a convolution: every bit, with and without its optimizer."""

from dataclasses import replace

import numpy as np
import pytest

from fxsim.kernels._jit import cpu_features
from tests.live.cases import explore
from tests.onnx.cases import OnnxTally, simulated
from tests.onnx.float_convs import FloatConv, float_convs

if "fma" not in cpu_features():
    pytest.skip("this machine has no fused multiply-add: ONNX Runtime adds otherwise", allow_module_level=True)
HERE = "onnxruntime" if "avx512f" in cpu_features() else "onnxruntime-avx2"
"""the profile of the engine on this machine"""
LEVELS = {HERE: "ALL", "onnxruntime-unoptimized": "DISABLE_ALL"}

NETWORK = [
    FloatConv((1, 2, 8, 166), (8, 2, 7, 7)),
    FloatConv((1, 64, 3, 12), (64, 64, 3, 4), (1, 2)),
    FloatConv((1, 32, 3, 7), (64, 32, 3, 3)),
    FloatConv((1, 64, 1, 10), (32, 64, 1, 1)),
    FloatConv((1, 16, 4, 82), (16, 16, 3, 3)),
    FloatConv((1, 32, 1, 40), (16, 32, 1, 1)),
    FloatConv((1, 8, 8, 166), (2, 8, 7, 7)),
    FloatConv((1, 16, 4, 82), (32, 16, 4, 4), (2, 2)),
    FloatConv((1, 32, 3, 42), (32, 32, 3, 3)),
]
"""the convolutions of a network for speech whose activations have 16 bits: ONNX Runtime leaves them in float32"""
EDGES = [
    FloatConv((1, 129, 1, 65), (2, 129, 1, 1)),  # one product more than a block, one cell more than halves it
    FloatConv((1, 257, 8, 8), (2, 257, 1, 1)),
    FloatConv((1, 513, 4, 8), (2, 513, 1, 1)),
    FloatConv((1, 1025, 4, 4), (2, 1025, 1, 1)),
    FloatConv((1, 15, 3, 33), (1, 15, 3, 1)),  # one output channel, with 1, 2 and 3 products left
    FloatConv((1, 2, 3, 33), (1, 2, 3, 1)),
    FloatConv((1, 5, 3, 33), (1, 5, 3, 1)),
    FloatConv((1, 5, 3, 3), (7, 5, 3, 3)),  # one output cell, with rows in fours, in twos and alone
    FloatConv((1, 1, 9, 5), (1, 1, 3, 5)),  # rows of the image are what is multiplied
    FloatConv((1, 1, 9, 5), (3, 1, 3, 5)),
    FloatConv((1, 1, 3, 5), (3, 1, 3, 5)),
    FloatConv((1, 1, 9, 1), (3, 1, 9, 1)),
    FloatConv((1, 20, 9, 9), (20, 1, 3, 3), group=20),  # depthwise layers in blocks, and not
    FloatConv((1, 18, 9, 9), (18, 1, 3, 3), group=18),
    FloatConv((1, 32, 5, 9), (32, 16, 3, 3), group=2),
    FloatConv((1, 1, 9, 9), (2, 1, 7, 7), (2, 2), (3, 3, 3, 3)),  # with groups, the one layer whose order is not known
]


@pytest.mark.parametrize("profile", LEVELS)
@pytest.mark.parametrize("cases", [NETWORK, EDGES], ids=["network", "edges"])
def test_shapes(tallies, cases, profile):
    tally: OnnxTally = tallies("Conv float32", profile)
    for n, case in enumerate(cases):
        for constant in (False, True):
            tally.ask(*replace(case, constant=constant, seed=n).build(), LEVELS[profile])
    tally.check(2 * len(cases))
    assert not tally.unsupported and not tally.refused


@pytest.mark.parametrize("profile", LEVELS)
def test_random(tallies, profile):
    tally: OnnxTally = tallies("Conv float32", profile)
    explore(float_convs(), lambda case: tally.ask(*case.build(), LEVELS[profile]), share=6)
    tally.check(40)


def test_orders_differ():
    """What the profiles add in different orders: the tests above can tell them apart."""
    case = replace(NETWORK[4], constant=True)
    sums = {p: simulated(*case.build(), p)[0].tobytes() for p in ("onnxruntime", "onnxruntime-avx2", *LEVELS)}
    assert len(set(sums.values())) == 3
    case = replace(case, constant=False)
    assert len({simulated(*case.build(), p)[0].tobytes() for p in sums}) == 1


def test_unknown_order_is_rounded_once():
    """A layer for which the engine has a kernel of its own: the exact sum, to float32."""
    case = FloatConv((1, 2, 9, 9), (4, 1, 7, 7), (2, 2), (3, 3, 3, 3), group=2, bias=False)
    content, (x, w) = case.build()
    image = np.pad(x[0].astype(np.float64), ((0, 0), (3, 3), (3, 3)))
    for q in range(4):
        window = np.lib.stride_tricks.sliding_window_view(image[q // 2], (7, 7))[::2, ::2]
        exact = np.einsum("yxij,ij->yx", window, w[q, 0].astype(np.float64)).astype(np.float32)
        (got,) = simulated(content, [x, w])
        assert np.array_equal(got[0, q], exact)
