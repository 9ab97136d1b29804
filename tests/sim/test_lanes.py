"""Where blocks of lanes end: runs of broadcast tensors, and what is left of them."""

import numpy as np
import pytest

from fxsim.kernels.lanes import BLOCK, SCALAR
from fxsim.sim.lanes import blocks, broadcast_segment


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ((3, 50), (3, 50), (150, False)),
        ((1, 3, 50), (3, 50), (150, False)),
        ((2, 5, 37), (37,), (37, False)),
        ((4, 1, 33), (4, 3, 33), (33, False)),
        ((41,), (1,), (41, True)),
        ((1, 1), (3, 70), (210, True)),
        ((2, 3, 1), (2, 3, 41), (41, True)),
        ((3, 1, 1), (3, 4, 5), (20, True)),
        ((5, 17, 1), (1, 17, 20), (20, True)),
        ((19, 1, 1, 4), (1, 23, 2, 4), (4, False)),
        ((2, 1, 3, 1), (1, 2, 1, 5), None),
        ((2, 1, 3, 1, 4, 1), (1, 2, 1, 3, 1, 5), None),
    ],
)
def test_runs(a, b, wanted):
    assert broadcast_segment(a, b) == wanted
    assert broadcast_segment(b, a) == wanted


def test_blocks_of_a_segment():
    ways = blocks(26, 4, 13)
    assert ways.dtype == np.int8
    assert ways.tolist() == ([BLOCK] * 12 + [SCALAR]) * 2
    assert blocks(5, 16, 5).tolist() == [SCALAR] * 5
    assert blocks(0, 16, 0).size == 0
