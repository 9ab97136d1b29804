"""The discrete Fourier transform of real numbers by Kiss FFT: stages of radix 4, 2, 3 and 5, in fixed point or float32.

A complex array is a pair, real and imaginary. Fixed point of ``bits`` holds int64 arrays; each stage first divides by
its radix, so that nothing grows, and every result wraps to ``bits``. All loops are numpy's, over ``(blocks, radix, m)``.

Source: kiss_fft.c, tools/kiss_fftr.c and _kiss_fft_guts.h @ kissfft v130, with the patch of tflite-micro.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fxsim.arith.overflow import wrap
from fxsim.arith.rounding import shift_right, ties_pos

Array = npt.NDArray[Any]
Complex = tuple[Array, Array]
Words = Any
"""an array as its elements: arith's functions of integers take int64 arrays as they are"""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The arithmetic of a transform: fixed point of 16 or 32 bits with ``bits - 1`` fraction bits, or float32 (0)."""

    bits: int = 0

    @property
    def greatest(self) -> int:
        """The greatest number, which stands for 1."""
        return (1 << (self.bits - 1)) - 1

    def fit(self, x: Words) -> Words:
        """What a register keeps of ``x``."""
        return wrap(x, self.bits) if self.bits else x

    def rounded(self, x: Words) -> Words:
        """A product back in the format of its factors."""
        return self.fit(shift_right(ties_pos, x, self.bits - 1)) if self.bits else x

    def divided(self, x: Complex, radix: int) -> Complex:
        """``x / radix`` in fixed point; float32 is left alone."""
        if not self.bits:
            return x
        factor = self.greatest // radix
        return self.rounded(x[0] * factor), self.rounded(x[1] * factor)

    def half(self, x: Words) -> Words:
        """``x / 2``, rounded down in fixed point; ``x`` is a sum in a register of 32 bits."""
        return self.fit(wrap(x, 32) >> 1) if self.bits else x * np.float32(0.5)

    def add(self, a: Complex, b: Complex) -> Complex:
        """``a + b``."""
        return self.fit(a[0] + b[0]), self.fit(a[1] + b[1])

    def sub(self, a: Complex, b: Complex) -> Complex:
        """``a - b``."""
        return self.fit(a[0] - b[0]), self.fit(a[1] - b[1])

    def mul(self, a: Complex, b: Complex) -> Complex:
        """``a * b``, each part rounded once."""
        return self.rounded(a[0] * b[0] - a[1] * b[1]), self.rounded(a[0] * b[1] + a[1] * b[0])

    def circle(self, phases: list[float]) -> Complex:
        """``exp(i * phase)``; fixed point is rounded by ``floor(x + 1/2)``."""
        parts = [[math.cos(p) for p in phases], [math.sin(p) for p in phases]]
        if self.bits:
            parts = [[math.floor(0.5 + self.greatest * v) for v in p] for p in parts]
        kind = np.int64 if self.bits else np.float32
        return np.array(parts[0], kind), np.array(parts[1], kind)


def radices(n: int) -> list[int]:
    """The radix of each stage, from the outermost: powers of 4, then of 2, then odd primes; a large rest is one stage."""
    found, p, root = [], 4, math.isqrt(n)
    while n > 1:
        while n % p:
            p = {4: 2, 2: 3}.get(p, p + 2)
            if p > root:
                p = n
        n //= p
        found.append(p)
    return found


def _radix2(a: Numbers, x: list[Complex], tw: list[Complex], inverse: bool) -> list[Complex]:
    t = a.mul(x[1], tw[1])
    return [a.add(x[0], t), a.sub(x[0], t)]


def _radix4(a: Numbers, x: list[Complex], tw: list[Complex], inverse: bool) -> list[Complex]:
    s0, s1, s2 = (a.mul(v, t) for v, t in zip(x[1:], tw[1:4], strict=True))
    even, odd = a.sub(x[0], s1), a.sub(s0, s2)
    first, third = a.add(x[0], s1), a.add(s0, s2)
    turned = (odd[1], -odd[0])
    ahead, behind = a.add(even, turned), a.sub(even, turned)
    one, three = (behind, ahead) if inverse else (ahead, behind)
    return [a.add(first, third), one, a.sub(first, third), three]


def _radix3(a: Numbers, x: list[Complex], tw: list[Complex], inverse: bool) -> list[Complex]:
    s1, s2 = a.mul(x[1], tw[1]), a.mul(x[2], tw[2])
    total, difference = a.add(s1, s2), a.sub(s1, s2)
    side = tw[-1][1]
    d = a.rounded(difference[0] * side), a.rounded(difference[1] * side)
    middle = a.sub(x[0], (a.half(total[0]), a.half(total[1])))
    return [a.add(x[0], total), a.add(middle, (-d[1], d[0])), a.add(middle, (d[1], -d[0]))]


def _radix5(a: Numbers, x: list[Complex], tw: list[Complex], inverse: bool) -> list[Complex]:
    s1, s2, s3, s4 = (a.mul(v, t) for v, t in zip(x[1:], tw[1:5], strict=True))
    s7, s10, s8, s9 = a.add(s1, s4), a.sub(s1, s4), a.add(s2, s3), a.sub(s2, s3)
    (ya_re, ya_im), (yb_re, yb_im) = tw[-2], tw[-1]
    r, i = 0, 1

    def scaled(v: Words, factor: Array) -> Words:
        return a.rounded(v * factor)

    s5 = tuple(a.fit(x[0][k] + scaled(s7[k], ya_re) + scaled(s8[k], yb_re)) for k in (r, i))
    s11 = tuple(a.fit(x[0][k] + scaled(s7[k], yb_re) + scaled(s8[k], ya_re)) for k in (r, i))
    s6 = (
        a.fit(scaled(s10[i], ya_im) + scaled(s9[i], yb_im)),
        a.fit(-scaled(s10[r], ya_im) - scaled(s9[r], yb_im)),
    )
    s12 = (
        a.fit(-scaled(s10[i], yb_im) + scaled(s9[i], ya_im)),
        a.fit(scaled(s10[r], yb_im) - scaled(s9[r], ya_im)),
    )
    whole = a.fit(x[0][r] + (s7[r] + s8[r])), a.fit(x[0][i] + (s7[i] + s8[i]))
    return [whole, a.sub(s5, s6), a.add(s11, s12), a.sub(s11, s12), a.add(s5, s6)]


STAGES = {2: _radix2, 3: _radix3, 4: _radix4, 5: _radix5}
"""radix -> butterfly: ``(arithmetic, inputs, twiddles, inverse) -> outputs``; the last twiddles are those of the radix"""


def _stage(a: Numbers, x: Complex, twiddles: Complex, stride: int, stages: list[int], inverse: bool) -> Complex:
    """The transforms of ``x`` ``(blocks, n)``, ``n`` the product of the stages."""
    blocks, n = x[0].shape
    radix, m = stages[0], n // stages[0]
    inner = tuple(v.reshape(blocks, m, radix).transpose(0, 2, 1).reshape(blocks * radix, m) for v in x)
    if m > 1:
        inner = _stage(a, inner, twiddles, stride * radix, stages[1:], inverse)  # type: ignore[arg-type]
    parts = [v.reshape(blocks, radix, m) for v in inner]
    columns = [a.divided((parts[0][:, k], parts[1][:, k]), radix) for k in range(radix)]
    steps = np.arange(m) * stride
    picks = [*(steps * k for k in range(radix)), stride * m] + ([2 * stride * m] if radix == 5 else [])
    tw = [(twiddles[0][p], twiddles[1][p]) for p in picks]
    made = STAGES[radix](a, columns, tw, inverse)
    return np.concatenate([v[0] for v in made], 1), np.concatenate([v[1] for v in made], 1)


@dataclass(frozen=True, slots=True)
class RealTransform:
    """Transforms of ``length`` real numbers, prepared: the twiddle factors of both steps."""

    numbers: Numbers
    length: int
    inverse: bool
    stages: list[int]
    twiddles: Complex
    super_twiddles: Complex

    @classmethod
    def of(cls, bits: int, length: int, inverse: bool) -> "RealTransform":
        """The transform in fixed point of ``bits``, or float32 (0); half of ``length`` has factors of 2, 3 and 5 only."""
        numbers, n, sign = Numbers(bits), length // 2, -1 if inverse else 1
        phases = [sign * (-2 * math.pi * i / n) for i in range(n)]
        outer = [sign * (-math.pi * ((i + 1) / n + 0.5)) for i in range(n // 2)]
        return cls(numbers, length, inverse, radices(n), numbers.circle(phases), numbers.circle(outer))

    def _complex(self, x: Complex) -> Complex:
        if not self.stages:
            return x
        done = _stage(self.numbers, (x[0][None], x[1][None]), self.twiddles, 1, self.stages, self.inverse)
        return done[0][0], done[1][0]

    def _widened(self, x: Array) -> Array:
        return x.astype(np.int64) if self.numbers.bits else x

    def forward(self, x: Array) -> Array:
        """The spectrum ``(length / 2 + 1, 2)`` of ``x`` ``(length,)``."""
        a, n = self.numbers, self.length // 2
        x = self._widened(x)
        re, im = self._complex((x[0::2], x[1::2]))
        first = a.divided((re[:1], im[:1]), 2)
        k = np.arange(1, n // 2 + 1)
        p, q = a.divided((re[k], im[k]), 2), a.divided((re[n - k], -im[n - k]), 2)
        f1, f2 = a.add(p, q), a.sub(p, q)
        t = a.mul(f2, (self.super_twiddles[0], self.super_twiddles[1]))
        out = np.zeros((n + 1, 2), x.dtype)
        out[0, 0], out[n, 0] = a.fit(first[0] + first[1])[0], a.fit(first[0] - first[1])[0]
        out[k] = np.stack([a.half(f1[0] + t[0]), a.half(f1[1] + t[1])], 1)
        out[n - k] = np.stack([a.half(f1[0] - t[0]), a.half(t[1] - f1[1])], 1)
        return out

    def backward(self, x: Array) -> Array:
        """``length`` real numbers from a spectrum ``(length / 2 + 1, 2)``, not divided by ``length`` in float32."""
        a, n = self.numbers, self.length // 2
        x = self._widened(x)
        re, im = np.zeros(n, x.dtype), np.zeros(n, x.dtype)
        first = a.divided((a.fit(x[:1, 0] + x[n, 0]), a.fit(x[:1, 0] - x[n, 0])), 2)
        re[0], im[0] = first[0][0], first[1][0]
        k = np.arange(1, n // 2 + 1)
        p, q = a.divided((x[k, 0], x[k, 1]), 2), a.divided((x[n - k, 0], a.fit(-x[n - k, 1])), 2)
        f = a.mul(a.sub(p, q), (self.super_twiddles[0], self.super_twiddles[1]))
        even = a.add(p, q)
        re[k], im[k] = a.add(even, f)
        low = a.sub(even, f)
        re[n - k], im[n - k] = low[0], a.fit(-low[1])
        done = self._complex((re, im))
        return np.stack(done, 1).reshape(-1)
