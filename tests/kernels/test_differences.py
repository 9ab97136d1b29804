"""How two arrays differ: one compiled pass against its slow twin, numpy on whole arrays."""

import math
from fractions import Fraction

import numpy as np
import pytest

from fxsim.diagnose.differences import Differences, difference, differs, farther
from fxsim.diagnose.measures import LANES, Row, row
from fxsim.diagnose.measures import places as places_of
from fxsim.kernels import differences as compiled
from fxsim.kernels.differences import HEAD, NEAR, alike
from fxsim.model.graph import Tensor
from fxsim.model.qtype import BOOL, FLOAT16, FLOAT32, FLOAT64, INT8, INT16, INT32, INT64, UINT8, UINT32, QuantParams
from fxsim.nearness import cosine, sqnr_db

QUANT = QuantParams((0.03125,), (-7,))


def lsb(mine, other):
    """``other - mine`` in Python's integers: floats by their place among all floats of their type, NaN as one."""
    if mine.dtype.kind != "f":
        return np.asarray(other.astype(object) - mine.astype(object), object)
    return np.asarray(place(other) - place(mine), object)


def place(x):
    kind = f"i{x.dtype.itemsize}"
    bits = np.where(np.isnan(x), x.dtype.type(np.nan), x).view(kind).astype(object)
    return np.where(bits < 0, -(bits & int(np.iinfo(kind).max)), bits)


def twin(t, mine, other):
    """The row, by numpy on whole arrays."""
    d = lsb(mine, other)
    flat = d.reshape(-1)
    wrong = np.flatnonzero(flat)
    histogram = {}
    for v in sorted(flat[wrong]):
        histogram[v] = histogram.get(v, 0) + 1
    a, b = (np.where(np.isfinite(x), x, 0.0).reshape(-1) for x in (t.reals(mine), t.reals(other)))
    n = flat.size
    near = (1.0, math.inf, 0.0)
    if wrong.size:
        near = cosine(a, b), sqnr_db(a, b), float(np.sqrt(np.mean((a - b) ** 2)))
    return Row(
        3, "OP", t.index, t.name, n, wrong.size, 1 - wrong.size / n if n else 1.0,
        max((abs(v) for v in histogram), default=0), float(sum(flat)) / n if n else 0.0, histogram,
        tuple(int(i) for i in np.unravel_index(wrong[0], d.shape)) if wrong.size else None,
        "; ".join(places(d)) if wrong.size else "", *near,
    )  # fmt: skip


def telling(wrong, inside, ways):
    """Chance would draw so many elements from within one of several such places less often than once in a thousand."""
    n = int(wrong.sum())
    return ways * Fraction(math.comb(int(inside.sum()), n), math.comb(wrong.size, n)) < Fraction(1, 1000)


def places(d):
    wrong = d != 0
    n, size, total = int(wrong.sum()), wrong.size, wrong.shape[-1] if wrong.ndim else 1
    if n >= 4 and np.all(d[wrong] % 256 == 0):
        yield "all by multiples of 256: a register wrapped, or bytes were lost"
    elif 2 * Fraction(1, 2) ** n < Fraction(1, 1000) and np.all(d[wrong] > 0):
        yield "all upward"
    elif 2 * Fraction(1, 2) ** n < Fraction(1, 1000) and np.all(d[wrong] < 0):
        yield "all downward"
    at_edges = list(edges(wrong)) if wrong.ndim >= 3 else []
    yield from at_edges
    channel, index = np.arange(size).reshape(wrong.shape) % total, np.arange(size).reshape(wrong.shape)
    channels = np.unique(channel[wrong])
    few = total > 1 and len(channels) <= max(1, total // 4)
    by_channel = few and telling(wrong, np.isin(channel, channels), math.comb(total, len(channels)))
    if by_channel:
        yield f"only in channel{'s' if len(channels) > 1 else ''} {some(channels)} of {total}"
    for lanes in LANES:
        seen = np.unique(index[wrong] % lanes)
        few = size >= 4 * lanes and len(seen) <= lanes // 2
        if few and telling(wrong, np.isin(index % lanes, seen), math.comb(lanes, len(seen))):
            if not by_channel or total % lanes:
                yield f"only where index mod {lanes} is {some(seen)}"
                return
            break
    tails = [lanes for lanes in LANES if size % lanes and index[wrong].min() >= size - size % lanes]
    if tails and not at_edges and telling(wrong, index >= size - size % tails[0], 1):
        yield f"only in the tail after blocks of {tails[0]}"


def edges(wrong):
    height, width = wrong.shape[-3:-1]
    image = wrong.reshape(-1, height, width, wrong.shape[-1]).any(axis=(0, 3))
    y, x = np.indices(wrong.shape)[-3:-1]
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    for seen, size, of, what in ((rows, height, y, "row"), (columns, width, x, "column")):
        if size > 2 and len(seen) == 1 and seen[0] in (0, size - 1) and telling(wrong, of == seen[0], 2):
            yield f"only in the {'first' if seen[0] == 0 else 'last'} {what}"
    border = (y == 0) | (y == height - 1) | (x == 0) | (x == width - 1)
    if height > 2 and width > 2 and len(rows) > 1 and len(columns) > 1 and not wrong[~border].any():
        if telling(wrong, border, 1):
            yield "only at the border: padding"


def some(numbers):
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")


def held(mine, other, qtype, quant=QUANT):
    """Holds the row to its twin, and returns it."""
    t = Tensor(5, "t", mine.shape, qtype, quant)
    made, wanted = row(t, 3, "OP", mine, other, difference(mine, other)), twin(t, mine, other)
    for name, a, b in zip(Row._fields, made, wanted, strict=True):
        assert a == (pytest.approx(b, rel=1e-9, abs=1e-12) if isinstance(b, float) else b), name
    assert all(type(v) is int for pair in made.histogram.items() for v in pair)
    return made


def drawn(qtype, shape, share, rng, most=2):
    """Values with both ends, and some that are off by up to ``most``; an end is reached and never passed."""
    mine = rng.integers(qtype.min, qtype.max, shape, endpoint=True).astype(qtype.dtype)
    flat = mine.reshape(-1)
    flat[: min(2, flat.size)] = [qtype.min, qtype.max][: min(2, flat.size)]
    by = rng.integers(-most, most, shape, endpoint=True) * (rng.random(shape) < share)
    return mine, np.clip(mine.astype(object) + by, qtype.min, qtype.max).astype(qtype.dtype)


SHAPES = (
    (1,),
    (63,),
    (64,),
    (65,),
    (4097,),
    (3, 130),
    (1, 9, 7, 5),
    (2, 8, 8, 16),
    (3, 1, 1, 40),
    (2, 3, 5, 4, 6),
    (5, 0, 3),
)
TYPES = (INT8, UINT8, INT16, INT32, UINT32, INT64)


@pytest.mark.parametrize("qtype", TYPES, ids=lambda q: q.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_integers(qtype, shape):
    rng = np.random.default_rng(len(shape) + qtype.bits)
    for share in (0.0, 0.05, 1.0):
        held(*drawn(qtype, shape, share, rng), qtype)


@pytest.mark.parametrize("qtype", TYPES, ids=lambda q: q.name)
def test_the_ends_of_the_histogram(qtype):
    """Differences of the greatest size with a bin of its own, one beyond, and from one end of the type to the other."""
    by = [v for v in (NEAR - 1, NEAR, NEAR + 1, 512, 1) if v <= qtype.max - qtype.min]
    low = np.full(2 * len(by), qtype.min, qtype.dtype)
    high = np.array([qtype.min + v for v in by for _ in range(2)]).astype(qtype.dtype)
    for a, b in ((low, high), (high, low), (np.concatenate([low, high]), np.concatenate([high, low]))):
        held(a, b, qtype)
    if qtype.bits < 64:
        ends = np.array([qtype.min, qtype.max] * 4, qtype.dtype)
        held(ends, ends[::-1].copy(), qtype)


def test_what_is_further_apart_than_a_word_can_say():
    a = np.array([-(2**63), 0, 2**63 - 1])
    found = difference(a, a[::-1].copy())
    assert found.histogram == {2**63 - 1: 1, -(2**63): 1} and found.mismatches == 2
    assert Differences([(a[1:2], a[:1])]).greatest == [found.greatest] == [2**63]


@pytest.mark.parametrize("qtype", [FLOAT16, FLOAT32, FLOAT64], ids=lambda q: q.name)
def test_floats(qtype):
    rng = np.random.default_rng(1)
    kind = qtype.dtype.type
    a = rng.normal(size=(2, 7, 7, 9)).astype(kind)
    b = a.copy()
    b[0, 2, 1] = np.nextafter(b[0, 2, 1], kind(np.inf))
    b[1, 3, 3, 3] = np.nextafter(b[1, 3, 3, 3], kind(-np.inf))
    assert held(a, b, qtype, None).histogram == {-1: 1, 1: 9}
    special = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1, np.nan], kind)
    other = np.array([-0.0, 0.0, -np.nan, np.nan, np.inf, -np.inf, 1, 2], kind)
    found = difference(special, other)
    assert found.mismatches == 1 and found.index == (7,) and difference(special, special[:].copy()) is None
    tiny = np.array([np.nextafter(kind(0), kind(1)), 1], kind)
    assert difference(tiny, -tiny).histogram.keys() > {-2}


def test_flags_and_values_without_a_shape():
    rng = np.random.default_rng(2)
    a, b = (rng.random((4, 70)) < 0.5 for _ in range(2))
    held(a, b, BOOL, None)
    held(np.array(3, np.int8), np.array(-2, np.int8), INT8)
    held(np.array(3.5, np.float32), np.array(3.5, np.float32), FLOAT32, None)


@pytest.mark.parametrize("scale", [(0.5, 0.25, 2.0, 1.0)], ids=["axis"])
def test_scales_of_their_own(scale):
    mine, other = drawn(INT8, (6, 5, 4), 0.3, np.random.default_rng(3))
    held(mine, other, INT8, QuantParams(scale, (0, 1, 2, 3), 2))
    held(mine, other, INT8, None)


def test_memory_of_any_kind():
    """Read-only, with channels first, every second one: never written to, and the same row."""
    mine, other = drawn(INT8, (3, 6, 7, 8), 0.2, np.random.default_rng(4))
    wanted = held(mine, other, INT8)
    frozen = np.frombuffer(other.tobytes(), np.int8).reshape(other.shape)
    assert held(mine, frozen, INT8) == wanted
    assert held(mine, np.moveaxis(np.moveaxis(other, -1, 1).copy(), 1, -1), INT8) == wanted
    assert held(mine, np.repeat(other, 2, axis=0)[::2], INT8) == wanted
    zeros = np.zeros((4, 4), np.int8)
    held(zeros, zeros.copy(), INT8)
    assert held(zeros, zeros + np.int8(1), INT8, QuantParams((1.0,), (0,))).sqnr_db == -math.inf


def where(shape, of):
    """The words for a tensor whose elements differ wherever ``of(index arrays)`` says."""
    mine = np.zeros(shape, np.int8)
    up = np.arange(mine.size).reshape(shape) // 5 % 2 > 0
    other = np.where(of(*np.indices(shape)), np.where(up, 1, -2), 0).astype(np.int8)
    return held(mine, other, INT8).where


PLACES = {
    "only in the first row": lambda n, y, x, c: y == 0,
    "only in the last row": lambda n, y, x, c: (y == 8) & (c % 3 > 0),
    "only in the first column": lambda n, y, x, c: x == 0,
    "only in the last column": lambda n, y, x, c: (x == 6) & (n == 1),
    "only at the border: padding": lambda n, y, x, c: (y == 0) | (x == 6),
    "": lambda n, y, x, c: (y == 4) & (c != 2),
    "only in channels 0, 7 of 12": lambda n, y, x, c: c % 7 == 0,
    "only in channels 1, 5, 6 of 12": lambda n, y, x, c: ((c == 1) | (c == 5) | (c == 6)) & (y < 8),
    "only in channel 11 of 12": lambda n, y, x, c: c == 11,
}


@pytest.mark.parametrize("words", PLACES)
def test_where_elements_differ(words):
    assert where((2, 9, 7, 12), PLACES[words]) == words


def test_lanes_and_tails():
    assert where((1000, 1), lambda i, _: i % 64 == 9) == "only where index mod 4 is 1"
    assert where((1030, 1), lambda i, _: i % 64 < 32) == "only where index mod 64 is 0, 1, 2, 3, 4, 5, 6, 7, ..."
    assert where((1030, 1), lambda i, _: i % 64 < 33) == ""
    assert where((3, 10), lambda i, j: i * 10 + j > 23) == "only in the tail after blocks of 8"


@pytest.mark.parametrize("count", [4, 8, 20, 40])
def test_chance_is_no_place(count):
    rng, said = np.random.default_rng(count), 0
    for shape in ((1, 16, 16, 32), (1, 4, 4, 144), (2, 3, 5, 7), (1, 300)):
        mine = np.zeros(shape, np.int8)
        for _ in range(50):
            other = mine.copy()
            other.reshape(-1)[rng.permutation(mine.size)[:count]] = rng.choice([-1, 1], count)
            said += any("only" in words for words in places_of(difference(mine, other)))
    assert said <= 2  # of 200, each with some eight chances of one in a thousand


def test_differences_by_multiples_of_256():
    mine = np.arange(-600, 600, dtype=np.int16)
    assert "multiples of 256" in held(mine, mine + np.int16(512), INT16).where


def test_nan_equals_nan():
    a, b = np.array([np.nan, 1, np.nan], np.float32), np.array([np.nan, 1, 2], np.float32)
    assert differs(a, b).tolist() == [False, False, True]
    assert differs(a.view(np.int32), b.view(np.int32)).tolist() == [False, False, True]


@pytest.mark.parametrize("n", [1, 63, 64, 100, 1000])
def test_farther(n):
    """Counted out up to ``most``, and beyond it told as more."""
    rng = np.random.default_rng(n)
    for qtype in TYPES:
        a, b = drawn(qtype, (n,), 0.5, rng, most=4)
        for steps in (0, 2):
            wanted = int(np.sum(np.abs(b.astype(object) - a.astype(object)) > steps))
            assert farther(a, b, steps, n) == wanted
            for most in {0, wanted // 2, max(0, wanted - 1), wanted}:
                found = farther(a, b, steps, most)
                assert found == wanted if wanted <= most else most < found <= wanted
    ends = np.array([-(2**63), 2**63 - 1] * n)
    assert farther(ends, -1 - ends, 2**62, 2 * n) == 2 * n


@pytest.mark.parametrize("per", [2, 100])
def test_alike(per):
    """Every pair with fewer differing bytes than one in ``per``, however long; those beyond the heads are candidates."""
    rng = np.random.default_rng(per)
    for n in (16, 99, 101, 700, HEAD, HEAD + 1, 5000):
        whole = rng.integers(0, 256, n).astype(np.uint8)
        others = []
        for wrong in {0, 1, n // per - 1, n // per, n // per + 1, n}:
            others.append(whole.copy())
            others[-1][rng.permutation(n)[: max(wrong, 0)]] ^= 1
        arrays = [whole, *others]
        heads = np.zeros((len(arrays), HEAD), np.uint8)
        for head, v in zip(heads, arrays, strict=True):
            head[: len(v)] = v[:HEAD]
        pairs = np.empty((len(others), 2), np.int64)
        found = alike()(heads, np.array([len(v) for v in arrays]), 1, per, pairs)
        wanted = [[0, j] for j, v in enumerate(others, 1) if np.sum(v[:HEAD] != whole[:HEAD]) * per < n]
        assert (
            pairs[:found].tolist() == wanted and [0, 1 + [v.tobytes() for v in others].index(whole.tobytes())] in wanted
        )


def test_many_at_once():
    """Arrays of all types and shapes side by side tell what each tells alone, in any order."""
    rng = np.random.default_rng(5)
    pairs = [drawn(q, shape, share, rng, most=700) for q in TYPES for shape in SHAPES for share in (0.0, 0.1, 1.0)]
    pairs += [tuple(rng.normal(size=(2, n)).astype(np.float32)) for n in (1, 64, 65)]
    many = Differences(pairs)
    order = rng.permutation(len(pairs)).tolist()
    for found, k in zip(map(many.of(order).__getitem__, range(len(order))), order, strict=True):
        mine, other = pairs[k]
        alone = difference(mine, other)
        assert (found is None) == (alone is None) == np.array_equal(mine, other)
        if found is not None:
            words = slice(compiled.PAIRS)
            assert found.told[words] == alone.told[words] and found.histogram == alone.histogram
            assert found.told[compiled.CHANNELS :] == alone.told[compiled.CHANNELS :] and found.shape == mine.shape
    assert many.elements.tolist() == [a.size for a, _ in pairs]
    assert many.mismatches.tolist() == [int(np.sum(a != b)) for a, b in pairs]


@pytest.mark.parametrize("qtype", TYPES, ids=lambda q: q.name)
def test_closeness_and_reach(qtype):
    rng = np.random.default_rng(6)
    for reach in (0, 1, 15, 16, 17, 100):
        low = qtype.min if reach % 2 else qtype.max - reach
        mine = (low + rng.integers(0, reach, 300, endpoint=True).astype(object)).astype(qtype.dtype)
        mine[[17, 250]] = low, low + reach
        by = rng.integers(-4, 4, 300, endpoint=True)
        other = np.clip(mine.astype(object) + by, qtype.min, qtype.max).astype(qtype.dtype)
        many = Differences([(mine, other)])
        apart = np.abs(other.astype(object) - mine.astype(object))
        assert many.reach.tolist() == [min(reach, 16)]
        assert many.close.tolist() == [int(np.sum((apart > 0) & (apart <= 2)))]
        assert many.greatest == [apart.max()]
    ends = np.array([qtype.min, qtype.max], qtype.dtype)
    assert Differences([(ends, ends[::-1].copy())]).reach.tolist() == [16]
