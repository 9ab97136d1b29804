import numpy as np
from cost_builders import Net, small_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsim.cost.estimate import estimate_graph
from fxsim.cost.memory import Buffer, lifetimes, plan, plan_arena
from fxsim.model.graph import Graph, Node, Tensor
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.state import VarHandle
from fxsim.model.qtype import INT8, RESOURCE
from fxsim.targets import load_target

M4 = load_target("cortex-m4")

buffers = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 12), st.integers(0, 6)).map(
        lambda t: Buffer("b", t[0], t[1], t[1] + t[2])
    ),
    max_size=25,
)


@settings(deadline=None)
@given(buffers)
def test_no_two_buffers_share_a_byte_at_one_time(items):
    placed, arena = plan_arena(items)
    assert sorted(b.size_bytes for b, _ in placed) == sorted(b.size_bytes for b in items)
    for i, (a, x) in enumerate(placed):
        assert x % 16 == 0 and x + a.size_bytes <= arena
        for b, y in placed[:i]:
            if a.meets(b) and a.size_bytes and b.size_bytes:
                assert x + a.size_bytes <= y or y + b.size_bytes <= x


@settings(deadline=None)
@given(buffers)
def test_arena_is_at_least_the_most_that_lives_at_once(items):
    live = max((sum(b.size_bytes for b in items if b.first <= t <= b.last) for t in range(20)), default=0)
    assert plan_arena(items)[1] >= live
    assert plan_arena(items)[1] <= sum(-(-b.size_bytes // 16) * 16 for b in items)


def test_arena_by_hand():
    # The largest (100, at 0) lives 1..2. "a" (64, 0..1) meets it: at 112. "b" (48, 2..3) meets it, but not "a": at 112.
    placed, arena = plan_arena([Buffer("a", 64, 0, 1), Buffer("big", 100, 1, 2), Buffer("b", 48, 2, 3)])
    assert {b.name: at for b, at in placed} == {"big": 0, "a": 112, "b": 112}
    assert arena == 112 + 64


def test_a_gap_that_just_fits_is_used():
    # "early" leaves 0..96 once layer 0 is done, below "long" at 96; "late" takes 90 bytes, 96 when aligned.
    placed, arena = plan_arena([Buffer("late", 90, 1, 3), Buffer("long", 93, 0, 3), Buffer("early", 96, 0, 0)])
    assert {b.name: at for b, at in placed} == {"early": 0, "long": 96, "late": 0}
    assert arena == 192


def test_lifetimes_join_views_and_leave_out_constants():
    graph = small_graph()
    layers = estimate_graph(graph, M4.profile)
    life = {b.name: (b.size_bytes, b.first, b.last) for b in lifetimes(graph, layers)}
    # input 8*8*4 until layer 0; out0 until the addition; out2 is seen by the view and read by layer 4; out4 is float32
    assert life["input"] == (256, 0, 0)
    assert life["out0"] == (512, 0, 2)
    assert life["out1"] == (512, 1, 2)
    assert life["out2"] == (512, 2, 4)
    assert life["out4"] == (2048, 4, 4)
    assert "out3" not in life and "weight" not in life
    assert life["scratch of layer 0"] == (2 * 36 * 2, 0, 0)
    p = plan(graph, layers)
    assert p.live_bytes == (256 + 512 + 144, 512 + 512 + 288, 3 * 512, 512, 512 + 2048)
    assert p.peak_ram_bytes == p.arena_bytes == 2560


def test_flash_is_the_file_or_else_the_constants():
    graph = small_graph()
    layers = estimate_graph(graph, M4.profile)
    constants = 8 * 36 + 32 + 8 * 72 + 32
    assert plan(graph, layers).constant_bytes == plan(graph, layers).flash_bytes == constants
    net = Net()
    known = net.graph(net.conv(net.input, 8), file_bytes=5000)
    assert plan(known, estimate_graph(known, M4.profile)).flash_bytes == 5000


def test_variables_stay_in_ram():
    tensors = (
        Tensor(0, "x", (1, 30), INT8),
        Tensor(1, "handle", (), RESOURCE),
        Tensor(2, "old", (1, 30), INT8),
        Tensor(3, "zero", (1, 30), INT8, None, np.zeros((1, 30), np.int8)),
    )
    handle = Node(0, "VAR_HANDLE", (), (1,), VarHandle("", "state"))
    once = Graph("once", tensors, (handle, Node(1, "ASSIGN_VARIABLE", (1, 3), (), Attributes())), (), ())
    nodes = (
        handle,
        Node(1, "READ_VARIABLE", (1,), (2,), Attributes()),
        Node(2, "ASSIGN_VARIABLE", (1, 0), (), Attributes()),
    )
    graph = Graph("stream", tensors, nodes, (0,), (2,), called=(once,))
    layers = estimate_graph(graph, M4.profile)
    p = plan(graph, layers)
    assert p.variable_bytes == 32  # one state of 30 bytes, aligned to 16
    assert p.arena_bytes == 64
    assert p.peak_ram_bytes == 96
    assert p.constant_bytes == 30
    assert [c.estimate.cycles > 0 for c in layers] == [False, True, True]


def test_empty_graph():
    graph = Graph("empty", (), (), (), ())
    assert plan(graph, ()).peak_ram_bytes == 0
