"""Rules that make a layer's weights one of two or three values and a scale."""

from typing import Literal

import torch
from torch import Tensor

from fxsim.model.qtype import QType

Rule = Literal["step", "binary", "ternary"]
"""``step``: rounded to multiples of a learned step; ``binary``, ``ternary``: see the functions"""
TERNARY_THRESHOLD = 0.7
CLIP = 1.0
"""beyond it a binary or ternary weight gets no gradient"""


def rule_of(qtype: QType) -> Rule:
    """The rule for weights of a type when none is asked for: 1 bit is binary, everything else has steps."""
    return "binary" if qtype.bits == 1 else "step"


def _sizes(w: Tensor, axis: int | None) -> tuple[Tensor, list[int]]:
    """``|w|`` in float64, and the axes that share a scale: all, or all but ``axis``."""
    return w.detach().double().abs(), [a for a in range(w.dim()) if a != axis]


def binary(w: Tensor, axis: int | None) -> tuple[Tensor, Tensor]:
    """``w ~ scale * sign(w)``, ``scale = mean|w|``: the least squared error; ``sign(0) = 1``.

    Source: Rastegari et al., XNOR-Net, ECCV 2016, equation 6.
    """
    size, shared = _sizes(w, axis)
    return torch.where(w.detach() < 0, -1, 1), size.mean(shared).reshape(-1)


def ternary(w: Tensor, axis: int | None) -> tuple[Tensor, Tensor]:
    """``w ~ scale * t``, ``t = sign(w)`` where ``|w| > 0.7 * mean|w|``, else 0; ``scale`` the mean of ``|w|`` there.

    Source: Li, Liu: Ternary Weight Networks, 2016, equations 3 and 6.
    """
    size, shared = _sizes(w, axis)
    kept = size > TERNARY_THRESHOLD * size.mean(shared, keepdim=True)
    scale = (size * kept).sum(shared) / kept.sum(shared).clamp(min=1)
    return torch.where(kept, w.detach().sign(), 0).to(torch.int64), scale.reshape(-1)


RULES = {"binary": binary, "ternary": ternary}
"""rule -> ``f(weight, axis)``: its integers, and a scale for each index along ``axis``, or one"""
