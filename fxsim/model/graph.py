"""What a network is: tensors, nodes and graphs. Frozen; no arithmetic.

Raw integers, scales and zero points are held as the file has them, never as rounded floats.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fxsim.errors import FxsimError, listed
from fxsim.model.qtype import Array, QType, QuantParams, Shape

if TYPE_CHECKING:
    from fxsim.model.ops.base import Attributes

ABSENT = -1
"""The tensor index of an optional input that a node does not have."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a constant is stored where that takes fewer bits than its type: an index of ``bits`` bits for each element.

    ``data`` holds the elements decoded, so that every engine computes with them.
    """

    name: str
    """``codebook``, ``log2``, ``groups``, ..."""
    bits: int
    side_bytes: int = 0
    """what is stored beside the indices: the codebook, the scales of groups"""


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """One edge of the graph. ``data`` is set (and read-only) for constants."""

    index: int
    name: str
    shape: Shape
    qtype: QType
    quant: QuantParams | None = None
    data: Array | None = field(default=None, repr=False)
    variable: bool = False
    """True if layers keep their state in it from one inference to the next"""
    encoding: Encoding | None = None

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of the tensor, packed (two int4 to a byte), or as its encoding stores it."""
        if self.encoding is not None:
            return (self.elements * self.encoding.bits + 7) // 8 + self.encoding.side_bytes
        return self.qtype.bytes(self.elements)

    @property
    def constant(self) -> bool:
        """True if the file holds the values."""
        return self.data is not None

    def reals(self, raw: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """What raw values of the tensor stand for: ``scale * (raw - zero_point)``, or the values themselves."""
        if self.quant is None or self.qtype.kind != "int":
            return np.asarray(raw, np.float64)
        return self.quant.dequantize(raw)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One layer: an op, its attributes, and the indices of its tensors (``ABSENT`` where an input is left out)."""

    index: int
    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: "Attributes"
    name: str = ""
    intermediates: tuple[int, ...] = ()
    """tensors that say how a layer holds values within, and hold none"""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A network in execution order. ``subgraphs[0]`` of a file is the graph itself; the others are what it calls."""

    name: str
    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    called: tuple["Graph", ...] = ()
    sha256: str = ""
    file_bytes: int = 0
    derived: dict[object, object] = field(default_factory=dict, repr=False)
    """what others make of the graph once and want again, such as plans; it lives and dies with the graph"""

    def tensor(self, key: int | str) -> Tensor:
        """The tensor of that index or name.

        Raises:
            FxsimError: if there is none, or if several have that name.
        """
        if isinstance(key, str):
            found = [t for t in self.tensors if t.name == key]
            if len(found) == 1:
                return found[0]
            if found:
                where = listed(t.index for t in found)
                raise FxsimError(f"{self.name}: {len(found)} tensors are named {key!r}; use one of the indices {where}")
            activations = [t.name for t in self.tensors if not t.constant]
            raise FxsimError(f"{self.name}: no tensor is named {key!r}; activations: {listed(activations)}")
        if not 0 <= key < len(self.tensors):
            raise FxsimError(f"{self.name}: no tensor {key}; allowed: 0..{len(self.tensors) - 1}")
        return self.tensors[key]

    def operands(self, indices: Iterable[int]) -> list[Tensor | None]:
        """The tensors of a node's ``inputs`` or ``outputs``; None where one is absent."""
        return [None if i == ABSENT else self.tensors[i] for i in indices]

    @property
    def variables(self) -> bool:
        """True if the network keeps state from one inference to the next."""
        return any(n.op == "VAR_HANDLE" for n in self.nodes) or any(t.variable for t in self.tensors)
