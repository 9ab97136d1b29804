"""How near one array of reals is to another: the measures that people of this field quote."""

import numpy as np
import numpy.typing as npt


def cosine(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """``a.b / (|a| |b|)``; 1 if both are zero, 0 if one is."""
    norms = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))  # no BLAS, whose threads cost more and change the last bits
    return float(np.sum(a * b)) / norms if norms else float(not a.any() and not b.any())


def sqnr_db(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """``10 log10(sum(a^2) / sum((a - b)^2))``."""
    noise, signal = float(np.sum((a - b) ** 2)), float(np.sum(a**2))
    if not noise:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
