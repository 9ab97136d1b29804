"""Ops on the plane of a picture: borders, blocks, other sizes; every bit as the live engines compute them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fxsim.errors import ModelError, UnsupportedOp
from fxsim.importers import parse
from fxsim.sim import simulate
from tests.build import Builder
from tests.live.cases import Model, Tally, Values, explore, shapes
from tests.live.moves import COMMON, Case, Data, data, unary

pytestmark = pytest.mark.live
PADDED = ("int8", "int8", "int16", "int32", "float32")
INDEX = st.sampled_from(["int32", "int64"])


def widened(shape: tuple[int, ...], widths: list[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(s + p + q for s, (p, q) in zip(shape, widths, strict=True))


def explored(tally: Tally, cases: Any) -> None:
    explore(cases, lambda case: tally.compare(case.make(case.data)))
    tally.check(4)


@st.composite
def pads(draw: Any, op: str) -> Case:
    """A border of the zero point, or of a value that the file holds."""
    shape = draw(shapes(1, 4, 4))
    widths = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in shape]

    def make(d: Data) -> Model:
        b = Builder()
        i, out = d.tensor(b, "x", shape), d.tensor(b, "out", widened(shape, widths))
        ins = [i, b.constant("paddings", widths)]
        if op == "PADV2":
            ins.append(d.tensor(b, "value", (1,), d.array((1,), 1)))
        b.op(op, ins, [out])
        return Model(b.finish([i], [out]), [d.array(shape)], [out])

    return Case(draw(data(*PADDED)), make, (shape, widths))


@st.composite
def mirrors(draw: Any) -> Case:
    shape = draw(shapes(1, 4, 5))
    mode = draw(st.sampled_from([0, 1]))
    most = [s - 1 + mode for s in shape]
    widths = [(draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most]
    index = draw(INDEX)
    return Case(
        draw(data("int8", "float32")),
        lambda d: unary(d, "MIRROR_PAD", shape, [widened(shape, widths)], [(widths, index)], mode=mode),
        (shape, widths, mode),
    )


@st.composite
def depths(draw: Any, op: str) -> Case:
    n, h, w, c = (draw(st.integers(1, 4)) for _ in range(4))
    b = draw(st.integers(1, 3))
    space, depth = (n, h * b, w * b, c), (n, h, w, c * b * b)
    shape, out = (space, depth) if op == "SPACE_TO_DEPTH" else (depth, space)
    return Case(draw(data("int8", "float32")), lambda d: unary(d, op, shape, [out], block_size=b), (shape, b))


@st.composite
def batches(draw: Any, op: str, edge: bool = True) -> Case:
    """3 and 4 axes; borders, or crops, of any width, if there is an ``edge``."""
    block = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, 2)))]
    n, c = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    inner = [draw(st.integers(2, 4)) for _ in block]
    edges = []
    for s, b in zip(inner, block, strict=True):
        before = draw(st.integers(0, s * b // 2 - 1)) * edge
        edges.append((before, draw(st.integers(0, s * b - before - 1)) * edge))
    space = (n, *(s * b - p - q for s, b, (p, q) in zip(inner, block, edges, strict=True)), c)
    batch = (n * int(np.prod(block)), *inner, c)
    shape, out = (space, batch) if op == "SPACE_TO_BATCH_ND" else (batch, space)
    constants = [(block, "int32"), (edges, "int32")]
    return Case(draw(data("int8", "float32")), lambda d: unary(d, op, shape, [out], constants), (shape, constants))


@pytest.mark.parametrize(
    ("op", "cases"),
    [
        ("PAD", pads("PAD")),
        ("PADV2", pads("PADV2")),
        ("MIRROR_PAD", mirrors()),
        ("SPACE_TO_DEPTH", depths("SPACE_TO_DEPTH")),
        ("DEPTH_TO_SPACE", depths("DEPTH_TO_SPACE")),
        ("SPACE_TO_BATCH_ND", batches("SPACE_TO_BATCH_ND", edge=False)),
        ("BATCH_TO_SPACE_ND", batches("BATCH_TO_SPACE_ND")),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_space(engine, tallies, op, cases):
    """Every type that both engines take; at least 4 elements a case."""
    explored(tallies(op, engine), cases)


def test_space_to_batch_with_a_border(litert):
    """At least 4 elements a case."""
    explored(litert("SPACE_TO_BATCH_ND with a border"), batches("SPACE_TO_BATCH_ND"))


def test_a_border_that_tflm_never_sets_is_refused():
    d = Data("int8", 1.0, 3, Values("ramp", 0))
    content = unary(d, "SPACE_TO_BATCH_ND", (1, 3, 1), [(2, 2, 1)], [([2], "int32"), ([[0, 1]], "int32")]).content
    with pytest.raises(UnsupportedOp, match="the engine pads with unset memory"):
        simulate(parse(content, "border"), np.zeros((1, 3, 1), np.int8), "tflm")


@st.composite
def resizes(draw: Any, op: str, *dtypes: str) -> Case:
    """Sizes up and down, twice and eight times as large; every way to lay pixels on pixels."""
    h, w = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kind = draw(st.sampled_from(["any", "any", "twice", "eight times"]))
    factor = {"any": 0, "twice": 2, "eight times": 8}[kind]
    size = [h * factor, w * factor] if factor else [draw(st.integers(1, 20)), draw(st.integers(1, 20))]
    n, c = draw(st.integers(1, 2)), draw(st.sampled_from([1, 3, 8, 17]))
    # Both together: RESIZE_BILINEAR refuses them, RESIZE_NEAREST_NEIGHBOR does not.
    ways = [(False, False), (True, False), (False, True), *([] if op == "RESIZE_BILINEAR" else [(True, True)])]
    corners, centers = draw(st.sampled_from(ways))
    return Case(
        draw(data(*dtypes)),
        lambda d: unary(
            d, op, (n, h, w, c), [(n, *size, c)], [(size, "int32")], align_corners=corners, half_pixel_centers=centers
        ),
        (h, w, size, c, corners, centers),
    )


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_resize_bilinear(engine, tallies, dtype):
    """At least 4 elements a case."""
    explored(tallies(f"RESIZE_BILINEAR {dtype}", engine), resizes("RESIZE_BILINEAR", dtype))


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_resize_bilinear_of_litert(litert, dtype):
    """At least 4 elements a case."""
    explored(litert(f"RESIZE_BILINEAR {dtype}"), resizes("RESIZE_BILINEAR", dtype))


def test_resize_nearest_neighbor(engine, tallies):
    """At least 4 elements a case."""
    explored(tallies("RESIZE_NEAREST_NEIGHBOR", engine), resizes("RESIZE_NEAREST_NEIGHBOR", *COMMON))


@pytest.mark.parametrize("values", [(-3, 4), (-128, 127), (126, 127), (-1, 0)])
def test_resize_bilinear_ties(engine, tallies, values):
    """Two pixels of odd difference, doubled: the pixel between is a tie, of either sign."""
    b = Builder()
    x, y = (b.tensor(name, (1, 1, n, 2), "int8", 1.0, 0) for name, n in (("x", 2), ("y", 4)))
    b.op("RESIZE_BILINEAR", [x, b.constant("size", [1, 4])], [y], align_corners=False, half_pixel_centers=False)
    low, high = values
    given = np.array([[[[low, high], [high, low]]]], np.int8)
    tally = tallies("RESIZE_BILINEAR ties", engine)
    got = tally.compare(Model(b.finish([x], [y]), [given], [y]))
    assert got is not None
    assert (low + high) % 2
    assert got[0].size == 8


def _bilinear(corners: bool, centers: bool) -> bytes:
    b = Builder()
    x, y = b.tensor("x", (1, 2, 2, 1), "int8", 1.0, 0), b.tensor("y", (1, 4, 4, 1), "int8", 1.0, 0)
    b.op("RESIZE_BILINEAR", [x, b.constant("size", [4, 4])], [y], align_corners=corners, half_pixel_centers=centers)
    return b.finish([x], [y])


def test_resize_that_the_engines_refuse():
    graph = parse(_bilinear(True, True), "both")
    with pytest.raises(UnsupportedOp, match="align_corners and half_pixel_centers are both true"):
        simulate(graph, np.zeros((1, 2, 2, 1), np.int8))


@pytest.mark.parametrize(
    ("op", "shape", "out", "constants", "message"),
    [
        ("MIRROR_PAD", (3,), (6,), [([[3, 0]], "int32")], "at most the sizes"),
        ("PAD", (3,), (2,), [([[-1, 0]], "int32")], "at least 0"),
        ("BATCH_TO_SPACE_ND", (3, 2, 1), (1, 4, 1), [([2], "int32"), ([[0, 0]], "int32")], "do not fit"),
        ("SPACE_TO_BATCH_ND", (1, 3, 1), (2, 1, 1), [([2], "int32"), ([[0, 0]], "int32")], "divisors"),
    ],
)
def test_what_does_not_fit_is_refused(op, shape, out, constants, message):
    d = Data("int8", 1.0, 0, Values("ramp", 0))
    options = {"mode": 0} if op == "MIRROR_PAD" else {}
    with pytest.raises(ModelError, match=message):
        parse(unary(d, op, shape, [out], constants, **options).content, "bad")
