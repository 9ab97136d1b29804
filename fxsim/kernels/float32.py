"""float32 arithmetic as vector units do it, on arrays: the fused multiply-add, and polynomials built on it."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_LOGISTIC_P = (
    4.37031012579801e-11,
    1.15627324459942e-07,
    6.08574864600143e-05,
    8.51377133304701e-03,
    2.48287947061529e-01,
)
_LOGISTIC_Q = (
    6.10247389755681e-13, 5.76102136993427e-09, 6.29106785017040e-06, 1.70198817374094e-03, 1.16817656904453e-01,
    9.93151921023180e-01,
)  # fmt: skip
_TANH_P = (
    -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05,
    6.37261928875436e-04, 4.89352455891786e-03,
)  # fmt: skip
_TANH_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def fma(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> Any:  # noqa: ANN401
    """``a * b + c`` of float32 values, rounded once to float32 (ties to even).

    The product is exact in float64; the sum is rounded to odd there, after which rounding to float32 is the single
    rounding of the exact value.
    """
    product = np.multiply(a, b, dtype=np.float64)
    add = np.asarray(c, np.float64)
    total = product + add
    share = total - product
    error = (product - (total - share)) + (add - share)
    even = np.asarray(total).view(np.int64) & 1 == 0
    toward = np.where((error > 0) == (total >= 0), np.inf, 0.0)
    odd = np.where((error != 0) & even & np.isfinite(total), np.nextafter(total, np.copysign(toward, total)), total)
    return odd.astype(np.float32)


def _polynomial(x: Floats, coefficients: tuple[float, ...]) -> Floats:
    result = np.full(x.shape, coefficients[0], np.float32)
    for c in coefficients[1:]:
        result = fma(result, x, np.float32(c))
    return result


def logistic(x: Floats) -> Floats:
    """``1 / (1 + exp(-x))`` as the quotient of two polynomials in ``x**2``, each step a fused multiply-add.

    Source: onnxruntime/core/mlas/lib/logistic.cpp (after Eigen), FMA3 form @ ONNX Runtime 1.31.
    """
    x = np.clip(x, np.float32(-18), np.float32(18))
    square = x * x
    p = _polynomial(square, _LOGISTIC_P) * x
    result: Floats = np.clip(p / _polynomial(square, _LOGISTIC_Q) + np.float32(0.5), np.float32(0), np.float32(1))
    return result


def tanh(x: Floats) -> Floats:
    """``tanh(x)`` as the quotient of two polynomials in ``x**2``, each step a fused multiply-add.

    Source: onnxruntime/core/mlas/lib/tanh.cpp (after Eigen), FMA3 form @ ONNX Runtime 1.31.
    """
    x = np.clip(x, np.float32(-9), np.float32(9))
    square = x * x
    quotient: Floats = _polynomial(square, _TANH_P) * x / _polynomial(square, _TANH_Q)
    return quotient
