"""The data of a choice: what to calibrate and train with, and what to judge by."""

import os
from dataclasses import dataclass
from typing import Any

from fxsim.errors import InputError
from fxsim.evaluation.data import DataSet, load
from fxsim.files import load_arrays
from fxsim.model.qtype import Array

CALIBRATION = 256
"""examples that serve for calibration, where nothing else is said"""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Examples to judge by, and others to learn from."""

    test: DataSet
    train: DataSet | None = None

    @property
    def calibration(self) -> Array:
        """Inputs for calibration: of the training examples, or of the others where there are none."""
        return (self.train or self.test).x[:CALIBRATION]

    @property
    def honest(self) -> bool:
        """False if what calibrates also judges."""
        return self.train is not None


def split(data: Any) -> Split:  # noqa: ANN401
    """Examples from an ``.npz`` file with ``x_test``, ``y_test``, ``x_train``, ``y_train`` (or just ``x`` and ``y``), from a
    dict of these arrays, or from a pair ``(x, y)``.

    Raises:
        InputError: if an entry is missing or unfit; DumpError: if the file cannot be read.
    """
    if isinstance(data, Split):
        return data
    arrays = load_arrays(data) if isinstance(data, str | os.PathLike) else data
    if isinstance(arrays, dict) and "x_train" in arrays:
        missing = [k for k in ("x_test", "y_test", "y_train") if k not in arrays]
        if missing:
            raise InputError(f"data has x_train, but lacks {missing[0]!r}; allowed: x_train, y_train, x_test, y_test")
        return Split(load((arrays["x_test"], arrays["y_test"])), load((arrays["x_train"], arrays["y_train"])))
    if isinstance(arrays, dict) and not isinstance(data, str | os.PathLike):
        missing = [k for k in ("x", "y") if k not in arrays]
        if missing:
            raise InputError(f"data lacks {missing[0]!r}; allowed: x and y, or x_train, y_train, x_test, y_test")
        return Split(load((arrays["x"], arrays["y"])))
    return Split(load(data))
