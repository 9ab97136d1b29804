"""Functions of numbers, element by element, in the type of their arguments (float32 or float64; integers where they fit)."""

import math

import numpy as np

from fxsim.model.qtype import Array

_erf = np.frompyfunc(math.erf, 1, 1)


def divide(a: Array, b: Array) -> Array:
    """``a / b``; of integers toward zero (0 where ``b`` is 0)."""
    if np.result_type(a, b).kind == "f":
        return np.asarray(a / b)
    quotient = np.abs(a) // np.where(b == 0, 1, np.abs(b))
    return np.asarray(np.where(b == 0, 0, quotient * np.sign(a) * np.sign(b)))


def power(a: Array, b: Array) -> Array:
    """``a ** b``; of integers 0 for negative ``b`` and ``|a| > 1``."""
    if a.dtype.kind == "f":
        return np.asarray(np.power(a, b))
    return np.power(a.astype(np.float64), b).astype(a.dtype)


def erf(x: Array) -> Array:
    """``2 / sqrt(pi)`` times the integral of ``exp(-t * t)`` over ``0..x``."""
    return np.asarray(_erf(x.astype(np.float64))).astype(x.dtype)


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, without overflow."""
    small = np.exp(-np.abs(x))
    one = x.dtype.type(1)
    return np.asarray(np.where(x >= 0, one, small) / (one + small))


def gelu(x: Array) -> Array:
    """``x * (1 + erf(x / sqrt(2))) / 2``."""
    half = x.dtype.type(0.5)
    return np.asarray(x * half * (1 + erf(x * x.dtype.type(math.sqrt(0.5)))))


def gelu_tanh(x: Array) -> Array:
    """``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``."""
    half, root, cubic = (x.dtype.type(v) for v in (0.5, math.sqrt(2 / math.pi), 0.044715))
    return np.asarray(x * half * (1 + np.tanh(root * (x + cubic * x * x * x))))


def hard_sigmoid(x: Array, alpha: float = 1 / 6, beta: float = 0.5) -> Array:
    """``clamp(alpha * x + beta, 0, 1)``."""
    t = x.dtype.type
    return np.asarray(np.clip(x * t(alpha) + t(beta), t(0), t(1)))


def hard_swish(x: Array) -> Array:
    """``x * clamp(x / 6 + 1/2, 0, 1)``."""
    return np.asarray(x * hard_sigmoid(x))


def leaky(x: Array, alpha: Array | float) -> Array:
    """``x`` where it is at least 0, else ``alpha * x``."""
    slope = x.dtype.type(alpha) if isinstance(alpha, float) else alpha
    return np.asarray(np.where(x >= 0, x, slope * x))


def elu(x: Array, alpha: float = 1.0, scale: float = 1.0) -> Array:
    """``scale * x`` where ``x`` is above 0, else ``scale * alpha * (exp(x) - 1)``."""
    t = x.dtype.type
    return np.asarray(np.where(x > 0, t(scale) * x, t(scale * alpha) * np.expm1(np.minimum(x, t(0)))))


def softplus(x: Array) -> Array:
    """``log(1 + exp(x))``."""
    return np.asarray(np.logaddexp(x, x.dtype.type(0)))


def clamp(x: Array, low: float | Array | None = None, high: float | Array | None = None) -> Array:
    """``min(max(x, low), high)``; NaN stays."""
    x = x if low is None else np.maximum(x, np.asarray(low, x.dtype))
    return x if high is None else np.minimum(x, np.asarray(high, x.dtype))


def softmax(x: Array, axis: int) -> Array:
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def log_softmax(x: Array, axis: int) -> Array:
    """``x - log(sum(exp(x)))`` along ``axis``."""
    x = x - x.max(axis=axis, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=axis, keepdims=True)))


def normalize(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """``(x - mean) / sqrt(var + epsilon)`` over ``axes``."""
    x = x - x.mean(axis=axes, keepdims=True)
    return np.asarray(x / np.sqrt((x * x).mean(axis=axes, keepdims=True) + x.dtype.type(epsilon)))
