"""Layers whose weights, or weights and activations, have fewer than 8 bits: bipolar, ternary, int4 in groups.

Accumulators are int32 and exact; where floats follow, each rounding and its order is stated.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.errors import DomainError, listed
from fxsim.fixed.packing import CODECS

Array = npt.NDArray[Any]
Pair = tuple[int, int]
PADDINGS = ("valid", "one", "zero", "zero_larq")
_LIMIT = (1 << 31) - 1
"""Accumulators are int32"""


def _bits(who: str, what: str, x: Array) -> Array:
    """+1 and -1 as uint32 words along the last axis; words as they are."""
    if x.dtype == np.uint32:
        return x
    if x.dtype == np.uint64:
        halves = np.stack([x & np.uint64(0xFFFFFFFF), x >> np.uint64(32)], axis=-1).astype(np.uint32)
        return halves.reshape(*x.shape[:-1], -1)
    if x.dtype.kind not in "iu":
        raise DomainError(f"{who}: {what} is {x.dtype}; allowed: integers of -1 and 1, or uint32 or uint64 words")
    try:
        return CODECS["larq_bits"].pack(x)
    except DomainError as e:
        raise DomainError(f"{who}: {what}: {e}") from None


def _word_count(who: str, what: str, words: Array, packed: bool, depth: int) -> Array:
    """``words`` cut to those that ``depth`` values need; what lies behind must be 0, as packing leaves it."""
    count = -(-depth // 32)
    allowed = (count, count + count % 2) if packed else (count,)
    if words.shape[-1] not in allowed:
        raise DomainError(f"{who}: {what} has {words.shape[-1]} words for {depth} values; allowed: {count}")
    rest = depth % 32
    tail = np.uint32(0xFFFFFFFF) << np.uint32(rest) if rest else np.uint32(0)
    if np.any(words[..., count:]) or (count and np.any(words[..., count - 1] & tail)):
        raise DomainError(f"{who}: {what} has a bit set behind its {depth} values; allowed: 0")
    return np.ascontiguousarray(words[..., :count])


def _pair(who: str, what: str, value: int | Pair) -> Pair:
    pair = (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
    if min(pair) < 1:
        raise DomainError(f"{who}: {what} is {pair}; allowed: 1 and above")
    return pair


def xnor_matmul(a: npt.ArrayLike, b: npt.ArrayLike, depth: int | None = None) -> npt.NDArray[np.int32]:
    """``sum(a[m, k] * b[k, n])`` of +1 and -1, as int32 ``(M, N)``.

    Either integers, ``a`` ``(M, K)`` and ``b`` ``(K, N)``; or words of 32 or 64 packed bits, the lowest first, ``a``
    ``(M, W)`` and ``b`` ``(N, W)``, each row the weights of one output, with ``depth`` = K. The product does not depend on
    which value a set bit stands for, if it is the same in both; unused bits are 0.

    Raises:
        DomainError: on other values, and on shapes that do not fit.
    """
    who = "xnor_matmul"
    x, w = np.asarray(a), np.asarray(b)
    packed = x.dtype in (np.uint32, np.uint64)
    if x.ndim != 2 or w.ndim != 2 or packed != (w.dtype in (np.uint32, np.uint64)) or packed != (depth is not None):
        raise DomainError(
            f"{who}: a is {x.dtype} {list(x.shape)}, b is {w.dtype} {list(w.shape)}, depth is {depth}; "
            "allowed: two matrices of integers, or two of words with a depth"
        )
    k = x.shape[1] if depth is None else depth
    if not packed and w.shape[0] != k:
        raise DomainError(f"{who}: a has {k} columns, b has {w.shape[0]} rows; allowed: equal")
    if k < 0:
        raise DomainError(f"{who}: depth is {k}; allowed: 0 and above")
    rows = _word_count(who, "a", _bits(who, "a", x), packed, k)
    if packed:
        columns = np.ascontiguousarray(_word_count(who, "b", _bits(who, "b", w), packed, k).T)
    else:
        columns = _column_bits(who, w)
    acc = np.empty((len(rows), 1, 1, columns.shape[1]), np.int32)
    _run(rows[:, None, None, :], columns, (1, 1, 1, 1), (1, 1), k, acc)
    return acc.reshape(len(rows), columns.shape[1])


def _column_bits(who: str, b: Array) -> Array:
    """+1 and -1 as uint32 words along the first axis."""
    from fxsim.kernels import packing

    words = np.empty((-(-b.shape[0] // 32), b.shape[1]), np.uint32)
    if b.dtype.kind not in "iu" or packing.sign_bits()(b, words):
        _bits(who, "b", b)  # says which value it is
    return words


def _run(x: Array, w: Array, window: tuple[int, int, int, int], taps: Pair, depth: int, acc: Array) -> None:
    from fxsim.kernels import binary

    binary.conv()(np.ascontiguousarray(x), w, window, taps, depth, acc)


def xnor_popcount_matmul(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """``#{k : a[m, k] == b[k, n]}`` of 0 and 1, as int32 ``(M, N)``: ``(dot + K) / 2`` of the bipolar matrices.

    Source: qonnx 1.0.0 custom_op/general/xnorpopcount.py.
    """
    x, w = np.asarray(a), np.asarray(b)
    for name, array in (("a", x), ("b", w)):
        if array.ndim != 2 or not np.all((array == 0) | (array == 1)):
            raise DomainError(
                f"xnor_popcount_matmul: {name} has shape {list(array.shape)}; allowed: a matrix of 0 and 1"
            )
    dot = xnor_matmul(2 * x.astype(np.int8) - np.int8(1), 2 * w.astype(np.int8) - np.int8(1))
    return (dot + np.int32(x.shape[1])) >> 1


def same_pad(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    """``(before, after)``: TensorFlow's SAME padding, which gives ``ceil(size / stride)`` outputs."""
    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def xnor_conv2d(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    stride: int | Pair = 1,
    dilation: int | Pair = 1,
    padding: str = "valid",
    pad: tuple[int, int, int, int] | None = None,
    channels: int | None = None,
) -> npt.NDArray[np.int32]:
    """A convolution of +1 and -1, as int32 ``(N, OH, OW, O)``; ``padding`` says what a tap outside the image adds.

    Either integers, ``x`` ``(N, H, W, C)`` and ``w`` ``(KH, KW, C, O)``; or packed words along the channels, ``x``
    ``(N, H, W, CW)`` and ``w`` ``(O, KH, KW, CW)``, with ``channels`` = C.

    - ``"one"``: ``w``, as if the image went on with +1. Larq's default: a bit 0 is +1.
    - ``"zero"``: 0, as a network trained with zeros around the image expects.
    - ``"zero_larq"``: ``C % 2``: Larq's reference kernel counts ``C // 2`` unequal bits for the tap, half a bit too few for
      an odd number of channels.
    - ``"valid"``: there are no such taps.

    ``pad`` is ``(top, bottom, left, right)``, TensorFlow's SAME if absent.

    Source: larq_compute_engine/core/bconv2d/reference.h and zero_padding_correction.h @ e6860fc. The engine's
    reference kernel refuses an odd number of channels.
    """
    who = "xnor_conv2d"
    image, kernel = np.asarray(x), np.asarray(w)
    if padding not in PADDINGS:
        raise DomainError(f"{who}: padding is {padding!r}; allowed: {listed(PADDINGS)}")
    packed = channels is not None
    words = image.dtype in (np.uint32, np.uint64)
    if image.ndim != 4 or kernel.ndim != 4 or words != packed or packed != (kernel.dtype in (np.uint32, np.uint64)):
        raise DomainError(
            f"{who}: x is {image.dtype} {list(image.shape)}, w is {kernel.dtype} {list(kernel.shape)}, channels is "
            f"{channels}; allowed: two 4-d arrays of integers, or two of words with channels"
        )
    if not packed:
        if image.shape[3] != kernel.shape[2]:
            raise DomainError(f"{who}: x has {image.shape[3]} channels, w has {kernel.shape[2]}; allowed: equal")
        kernel = np.ascontiguousarray(np.moveaxis(kernel, 3, 0))
    c = image.shape[3] if channels is None else channels
    image = _word_count(who, "x", _bits(who, "x", image), packed, c)
    kernel = _word_count(who, "w", _bits(who, "w", kernel), packed, c)
    (sh, sw), (dh, dw) = _pair(who, "stride", stride), _pair(who, "dilation", dilation)
    (_, h, wid, cw), (o, kh, kw, _) = image.shape, kernel.shape
    if padding == "valid":
        if pad is not None and any(pad):
            raise DomainError(f"{who}: pad is {pad} with padding 'valid'; allowed: none")
        top = bottom = left = right = 0
    else:
        top, bottom, left, right = (*same_pad(h, kh, sh, dh), *same_pad(wid, kw, sw, dw)) if pad is None else pad
    if min(top, bottom, left, right) < 0:
        raise DomainError(f"{who}: pad is {pad}; allowed: 0 and above")
    oh = (h + top + bottom - (kh - 1) * dh - 1) // sh + 1
    ow = (wid + left + right - (kw - 1) * dw - 1) // sw + 1
    if min(oh, ow, kh, kw) < 1:
        raise DomainError(
            f"{who}: an image of {h}x{wid} with a kernel of {kh}x{kw} has no output; allowed: at least one"
        )
    flat = np.ascontiguousarray(kernel.reshape(o, kh * kw * cw).T)
    window = (sh, sw, dh, dw)
    acc = conv_words(image, flat, window, (kh, kw), (top, bottom, left, right), kh * kw * c)
    if padding in ("zero", "zero_larq"):
        lost = c % 2 if padding == "zero_larq" else 0
        acc -= outside_sum(tap_values(kernel, c) - np.int32(lost), (h, wid), (oh, ow), window, (top, left))
    return acc


def conv_words(
    image: Array,
    weight: Array,
    window: tuple[int, int, int, int],
    taps: Pair,
    pad: tuple[int, int, int, int],
    depth: int,
) -> npt.NDArray[np.int32]:
    """``depth - 2 * popcount(x ^ w)`` over a sliding window, with zero words around the image: they stand for +1.

    Shapes: image uint32 ``(N, H, W, CW)``; weight uint32 ``(KH * KW * CW, O)``; int32 ``(N, OH, OW, O)``. ``window`` is
    ``(stride_h, stride_w, dilation_h, dilation_w)``, ``pad`` ``(top, bottom, left, right)``. Every bit of a word counts.
    """
    (n, h, w, cw), (top, bottom, left, right) = image.shape, pad
    padded = image
    if any(pad):
        padded = np.zeros((n, h + top + bottom, w + left + right, cw), np.uint32)
        padded[:, top : top + h, left : left + w] = image
    (sh, sw, dh, dw), (kh, kw) = window, taps
    oh, ow = (padded.shape[1] - (kh - 1) * dh - 1) // sh + 1, (padded.shape[2] - (kw - 1) * dw - 1) // sw + 1
    acc = np.empty((n, oh, ow, weight.shape[1]), np.int32)
    _run(padded, weight, window, taps, depth, acc)
    return acc


def tap_values(kernel: Array, channels: int) -> npt.NDArray[np.int32]:
    """``sum(w)`` of each tap, int32 ``(O, KH, KW)``, of words ``(O, KH, KW, CW)``: what a tap adds on a cell of all +1."""
    values: npt.NDArray[np.int32] = np.int32(channels) - 2 * np.bitwise_count(kernel).sum(axis=3, dtype=np.int32)
    return values


def outside_sum(
    values: Array, size: Pair, out: Pair, window: tuple[int, int, int, int], before: Pair
) -> npt.NDArray[np.int32]:
    """The sum of ``values`` ``(O, KH, KW)`` over the taps that lie outside the image, for each output: ``(OH, OW, O)``.

    ``size`` is the image's, ``before`` its padding ``(top, left)``.
    """
    kernel = values.shape[1:]
    rows, columns = (
        ((at := np.arange(out[i])[:, None] * window[i] - before[i] + np.arange(kernel[i]) * window[2 + i]) >= 0)
        & (at < size[i])
        for i in (0, 1)
    )
    inside = np.einsum("yi,zj,oij->yzo", rows.astype(np.int32), columns.astype(np.int32), values, optimize=True)
    total: npt.NDArray[np.int32] = values.sum(axis=(1, 2), dtype=np.int32) - inside
    return total


def _exact_product(who: str, x: Array, w: Array, largest: int) -> npt.NDArray[np.int32]:
    """``x @ w`` of integers, by float matrix products that are exact: every partial sum fits the significand."""
    if largest * x.shape[-1] > _LIMIT:
        raise DomainError(
            f"{who}: {x.shape[-1]} products; allowed: {_LIMIT // largest}, which an int32 accumulator holds"
        )
    dtype = np.float32 if largest * x.shape[-1] <= 1 << 24 else np.float64
    product: npt.NDArray[np.int32] = (x.astype(dtype) @ w.astype(dtype)).astype(np.int32)
    return product


def _activations(who: str, x: npt.ArrayLike, rows: int) -> Array:
    array = np.asarray(x)
    if array.dtype != np.int8 or array.ndim != 2:
        raise DomainError(f"{who}: x is {array.dtype} {list(array.shape)}; allowed: an int8 matrix")
    if array.shape[1] != rows:
        raise DomainError(f"{who}: x has {array.shape[1]} columns for {rows} weights an output; allowed: equal")
    return array


def ternary_matmul(x: npt.ArrayLike, w: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """``sum(x[m, k] * w[k, n])`` of int8 activations and weights -1, 0, 1, as int32 ``(M, N)``."""
    who = "ternary_matmul"
    weights = np.asarray(w)
    if weights.ndim != 2 or weights.dtype.kind not in "iu" or np.any((weights < -1) | (weights > 1)):
        raise DomainError(f"{who}: w is {weights.dtype} {list(weights.shape)}; allowed: a matrix of -1, 0 and 1")
    return _exact_product(who, _activations(who, x, weights.shape[0]), weights, 128)


def group_matmul_int4(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    scales: npt.ArrayLike,
    group_size: int,
    zeros: npt.ArrayLike | None = None,
    codec: str = "tflite_int4",
) -> npt.NDArray[np.float32]:
    """``y[m, n] = sum over g of scale[g, n] * sum over k in g of x[m, k] * (q[k, n] - zero[g, n])``, as float32 ``(M, N)``.

    ``x`` int8 ``(M, K)``; ``w`` the weights ``(N, K)`` packed by ``codec``; scales float32 ``(K / group_size, N)``; zeros
    integers 0..15 of that shape, 0 if absent. The inner sum is exact in int32. Then, for the groups in ascending order,
    starting from 0: the sum is rounded to float32 (ties to even), multiplied by the scale, rounded, added, rounded. No
    step is fused. A scale of ``x`` is the caller's to apply.

    Raises:
        DomainError: on other shapes and types, and on codecs that hold no 4-bit integers in the order of the tensor.
    """
    who = "group_matmul_int4"
    allowed = [name for name, c in CODECS.items() if getattr(c, "bits", 0) == 4 and not hasattr(c, "axis")]
    if codec not in allowed:
        raise DomainError(f"{who}: codec is {codec!r}; allowed: {listed(allowed)}")
    s = np.asarray(scales)
    if s.dtype != np.float32 or s.ndim != 2 or group_size < 1:
        raise DomainError(
            f"{who}: scales are {s.dtype} {list(s.shape)}, group_size is {group_size}; allowed: a float32 matrix, 1 and above"
        )
    groups, n = s.shape
    acts = _activations(who, x, groups * group_size)
    q = (
        CODECS[codec]
        .unpack(w if isinstance(w, bytes | bytearray | memoryview) else np.asarray(w), (n, acts.shape[1]))
        .T
    )
    z = np.zeros(s.shape, np.int8) if zeros is None else np.asarray(zeros)
    if z.shape != s.shape or z.dtype.kind not in "iu" or np.any((z < 0) | (z > 15)):
        raise DomainError(
            f"{who}: zeros are {z.dtype} {list(z.shape)}; allowed: integers 0..15 of shape {list(s.shape)}"
        )
    y = np.zeros((len(acts), n), np.float32)
    for g in range(groups):
        part = slice(g * group_size, (g + 1) * group_size)
        acc = _exact_product(who, acts[:, part], q[part] - z[g].astype(np.int8), 128 * 23)
        with np.errstate(over="ignore", invalid="ignore"):
            y += acc.astype(np.float32) * s[g]
    return y
