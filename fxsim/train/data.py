"""Labelled data as batches: arrays that are cut and shuffled, or batches as they come."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fxsim.errors import InputError
from fxsim.train.network import Inputs

Data = tuple[Inputs, Any] | Iterable[tuple[Inputs, Any]]
"""``(x, labels)`` arrays, or batches of them that can be gone through many times, such as a ``DataLoader``"""


class Batches:
    """Passes through data, each in another order for arrays; the same seed gives the same orders.

    Raises:
        InputError: if arrays of data are not equally long, labels are no whole numbers, or there is nothing.
    """

    def __init__(self, data: Data, size: int, seed: int) -> None:
        self.data, self.size, self.order = data, size, np.random.default_rng(seed)
        if not isinstance(data, tuple):
            if hasattr(data, "__next__"):
                raise InputError(
                    "training data is an iterator, which can be read once; allowed: arrays, a list, a DataLoader"
                )
            if not len(self):
                raise InputError("training data holds no batch; allowed: at least 1")
            return
        if len(data) != 2:
            raise InputError(
                f"training data is a tuple of {len(data)}; allowed: (x, labels), or an iterable of batches"
            )
        x, y = data
        parts = list(x.values()) if isinstance(x, Mapping) else list(x) if isinstance(x, list | tuple) else [x]
        labels = np.asarray(y)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
            raise InputError(
                f"labels are {labels.dtype} {list(labels.shape)}; allowed: whole numbers [N], N at least 1"
            )
        if any(len(p) != len(labels) for p in parts):
            raise InputError(f"inputs hold {[len(p) for p in parts]} rows, labels {len(labels)}; allowed: equally many")

    def __len__(self) -> int:
        """Batches in a pass."""
        if isinstance(self.data, tuple):
            return math.ceil(len(self.data[1]) / self.size)
        return len(self.data) if isinstance(self.data, Sized) else sum(1 for _ in self.data)

    def __iter__(self) -> Iterator[tuple[Inputs, Tensor]]:
        """One pass: inputs and labels of each batch."""
        if not isinstance(self.data, tuple):
            for x, y in self.data:
                yield x, torch.as_tensor(y).long()
            return
        x, y = self.data
        labels = torch.as_tensor(np.asarray(y)).long()
        for rows in np.array_split(self.order.permutation(len(labels)), len(self)):
            yield _rows(x, rows), labels[rows]


def _rows(x: Inputs, rows: Any) -> Inputs:  # noqa: ANN401
    if isinstance(x, Mapping):
        return {k: v[rows] for k, v in x.items()}
    return [v[rows] for v in x] if isinstance(x, list | tuple) else x[rows]
