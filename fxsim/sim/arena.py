"""One memory for all tensors that do not have to be there at the same time."""

from collections.abc import Mapping, Sequence

LINE = 64
"""bytes: where tensors begin"""


def lifetimes(
    steps: Sequence[tuple[Sequence[int], Sequence[int]]], root: Mapping[int, int]
) -> dict[int, tuple[int, int]]:
    """Tensor -> the first and the last step that touches it.

    ``steps`` are ``(inputs, outputs)``; ``root`` of a view is the tensor whose memory it is.
    """
    lives: dict[int, tuple[int, int]] = {}
    for n, (inputs, outputs) in enumerate(steps):
        for i in (*inputs, *outputs):
            t = root.get(i, i)
            lives[t] = lives.get(t, (n, n))[0], n
    return lives


def arrange(sizes: Mapping[int, int], lives: Mapping[int, tuple[int, int]]) -> tuple[dict[int, int], int]:
    """``(tensor -> offset, bytes in all)``: the largest first, each at the lowest place that is free while it lives."""
    placed: dict[int, int] = {}
    total = 0
    for t in sorted(sizes, key=lambda t: (-sizes[t], t)):
        size = -(-sizes[t] // LINE) * LINE
        first, last = lives[t]
        beside = sorted(
            (offset, offset + -(-sizes[o] // LINE) * LINE)
            for o, offset in placed.items()
            if lives[o][0] <= last and first <= lives[o][1]
        )
        at = 0
        for start, end in beside:
            if start - at >= size:
                break
            at = max(at, end)
        placed[t] = at
        total = max(total, at + size)
    return placed, total
