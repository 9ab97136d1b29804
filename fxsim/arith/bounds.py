"""How wide a register a dot product needs, exactly."""


def bits_needed(low: int, high: int) -> int:
    """The least signed register that holds every integer in ``low..high``: ``-2**(b-1) <= low, high <= 2**(b-1) - 1``."""
    return 1 + max((~low if low < 0 else low).bit_length(), (~high if high < 0 else high).bit_length())


def dot_range(positive: int, negative: int, low: int, high: int, bias: int = 0) -> tuple[int, int]:
    """The least interval that holds every running sum of ``sum(w[i] * x[i])``, then ``+ bias``, for ``low <= x[i] <= high``.

    ``positive`` and ``negative`` are the sums of the weights above and below 0. Both ends are reached: each ``x[i]`` at
    the end of its range that the sign of ``w[i]`` asks for, in an order that puts the terms of one sign first.
    With ``low <= 0 <= high`` the interval is the union over all orders; partial sums of one given order may be narrower.
    """
    low, high = min(low, 0), max(high, 0)
    top = positive * high + negative * low
    bottom = positive * low + negative * high
    return min(bottom, bottom + bias), max(top, top + bias)
