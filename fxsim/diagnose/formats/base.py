"""What a reader finds."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fxsim.model.qtype import Array


class Entry(NamedTuple):
    """One array of a dump, as its file has it."""

    name: str
    """what the file calls it; the file's own name where it says nothing"""
    values: Array
    """in the file's shape and type; for ``raw`` entries bytes without either"""
    place: str
    """file and position, for people"""
    raw: bool = False
    exact: bool = True
    """False where numbers were printed, so that their type is not known"""
    stray: bool = False
    """True where the file holds other things too, so that a list of numbers may be no tensor at all"""
    left_out: str = ""
    """why there is nothing to read, of a file that lies in a folder of dumps"""

    def inside(self, file: str) -> "Entry":
        """The entry as one of a folder's."""
        return self._replace(place=f"{file}: {self.place}" if self.place != file else file)


def smallest(numbers: list[int] | list[float]) -> npt.NDArray[np.generic]:
    """Printed numbers as int64, or as float64 if one of them is no integer."""
    if all(isinstance(n, int) for n in numbers):
        return np.array(numbers, np.int64)
    return np.array(numbers, np.float64)
