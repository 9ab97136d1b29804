"""Hostile model files: truncated, mutated, foreign. Each is read or refused with a ModelError; none hangs or eats memory."""

import random
import resource
import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxsim
from fxsim.errors import FxsimError, ModelError
from fxsim.importers import parse
from tests.sim.test_demo_model import DATA

GOOD = (DATA / "digits_int8.tflite").read_bytes()


def attempt(data):
    """Reads, and if that works, binds and runs: whatever was let through must be simulated or refused."""
    try:
        graph = parse(bytes(data), "hostile.tflite")
        x = {
            graph.tensors[i].name: np.zeros(graph.tensors[i].shape, graph.tensors[i].qtype.dtype) for i in graph.inputs
        }
        fxsim.simulate(graph, x)
        fxsim.estimate(graph, "cortex-m4").totals()
    except FxsimError as e:
        assert "hostile.tflite" in str(e), "the message names the file"
        return str(e)
    return None


@pytest.mark.parametrize("size", [0, 1, 4, 7, 8, 9, 16, 100, 1000, 5000, 10000, len(GOOD) - 1])
def test_truncated(size):
    message = attempt(GOOD[:size])
    assert message is not None or size > len(GOOD) // 2


def test_every_truncation_of_the_tables():
    for size in range(8, len(GOOD), 97):
        attempt(GOOD[:size])


@pytest.mark.parametrize(
    "data",
    [b"\x89PNG\r\n\x1a\n" * 99, b"PK\x03\x04" * 99, b"\0" * 999, b"TFL3" * 99, b"\x1c\0\0\0TFL3" + b"\xff" * 999],
)
def test_foreign(data):
    with pytest.raises(ModelError):
        parse(data, "hostile.tflite")


def test_ten_thousand_small_mutations():
    """Single bytes, and 32-bit words set to what offsets, sizes and counts are abused with; more by ``tests.hostile``."""
    rng = random.Random(5)
    words = [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000000, 0x00FFFFFF, len(GOOD), len(GOOD) - 4]
    start, slowest = time.monotonic(), 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = tried = 0
    while tried < 10_000 and time.monotonic() - start < 45:
        data = bytearray(GOOD)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(0, len(data) - 4)
            if rng.random() < 0.5:
                data[at] = rng.randrange(256)
            else:
                struct.pack_into("<I", data, at & ~3, rng.choice(words))
        began = time.monotonic()
        refused += attempt(data) is not None
        slowest = max(slowest, time.monotonic() - began)
        tried += 1
    assert tried > 1000
    assert refused > tried // 20
    assert slowest < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000_000  # KiB


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_noise_behind_a_true_header(tail):
    attempt(struct.pack("<I", 8) + b"TFL3" + tail)


def test_aliased_vectors_do_not_multiply_work():
    """All 4-byte words of the file point to one place: shared vectors would be read again and again."""
    for target in (8, 64, 512, 4096):
        data = bytearray(GOOD[:8])
        while len(data) < len(GOOD):
            data += struct.pack("<I", max(4, target))
        began = time.monotonic()
        attempt(data)
        assert time.monotonic() - began < 10


def test_errors_name_file_place_and_what_is_allowed(tmp_path):
    path = tmp_path / "m.tflite"
    for content, message in (
        (b"", "not a .tflite file"),
        (GOOD[:3000], "malformed or truncated"),
        (b"x" * 50, "bytes 4..7 are b'xxxx'"),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=message) as info:
            fxsim.read(path)
        assert str(path) in str(info.value)
        assert "\n" not in str(info.value)
    with pytest.raises(ModelError, match=r"suffix is '.pb'; allowed: '.tflite'"):
        fxsim.read("m.pb")
    with pytest.raises(ModelError, match="cannot be read"):
        fxsim.read(tmp_path / "none.tflite")
    with pytest.raises(ModelError, match="cannot be read"):
        (tmp_path / "dir.tflite").mkdir()
        fxsim.read(tmp_path / "dir.tflite")
