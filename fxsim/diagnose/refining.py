"""Which of many inputs to run: those whose outputs tell the most candidates apart."""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from fxsim.model.qtype import Array


def refining(outs: Array | Sequence[Sequence[Any]], most: int) -> list[int]:
    """The columns, at most so many, that tell most rows apart, chosen one after the other."""
    codes = outs if isinstance(outs, np.ndarray) else _coded(outs)
    if codes.size == 0:
        return []
    first = _first_alike(codes)
    rows, weight = np.arange(len(first)), np.random.default_rng(4).integers(-(1 << 62), 1 << 62, len(first))
    columns = np.unique(weight @ first, return_index=True)[1]  # of those that tell the same, one
    told = np.count_nonzero(first == rows[:, np.newaxis], axis=0) - 1
    gains = [(-int(told[c]), int(c)) for c in columns if told[c]]
    heapq.heapify(gains)
    groups, chosen = np.zeros(len(first), np.int64), list[int]()
    while gains and len(chosen) < most:
        column = heapq.heappop(gains)[1]
        whole, split = len(np.unique(groups)), groups * len(first) + first[rows, column]
        ranked = np.sort(split)
        gain = np.count_nonzero(ranked[1:] != ranked[:-1]) + 1 - whole if len(rows) else 0
        if gain and gains and gain < -gains[0][0]:
            heapq.heappush(gains, (-int(gain), column))  # less than it was: others have told some of it
        elif gain:
            chosen.append(column)
            _, groups, sizes = np.unique(split, return_inverse=True, return_counts=True)
            several = sizes[groups] > 1
            rows, groups = rows[several], groups[several]
    return chosen


def _first_alike(codes: Array) -> Array:
    """For each entry, the first row that has its value in its column."""
    order = np.argsort(codes, axis=0, kind="stable")
    ranked = np.take_along_axis(codes, order, 0)
    starts = np.concatenate([np.ones_like(ranked[:1], np.bool_), ranked[1:] != ranked[:-1]])
    at = np.maximum.accumulate(np.where(starts, np.arange(len(codes))[:, np.newaxis], 0), axis=0)
    found = np.empty(codes.shape, np.int64)
    np.put_along_axis(found, order, np.take_along_axis(order, at, 0), 0)
    return found


def _coded(outs: Sequence[Sequence[Any]]) -> Array:
    """A number for each value."""
    known: dict[Any, int] = {}
    return np.array([[known.setdefault(v, len(known)) for v in row] for row in outs], np.int64)
