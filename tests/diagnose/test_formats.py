"""Every format of dumps gives the same tensors; what is broken is refused and never guessed at."""

import base64
import io
import json
import struct

import numpy as np
import pytest

import fxsim
from fxsim.diagnose import formats
from fxsim.errors import DumpError
from fxsim.sim.inputs import load_inputs
from tests.sim.test_demo_model import DATA

NAMES = ("conv1", "conv2", "softmax")


@pytest.fixture(scope="module")
def trace():
    model = fxsim.read(str(DATA / "digits_int8.tflite"))
    return fxsim.simulate(model, load_inputs(model, "random:5"), keep="all")


@pytest.fixture(scope="module")
def arrays(trace):
    return {n: trace.tensor(n) for n in NAMES}


def npy(a):
    buffer = io.BytesIO()
    np.save(buffer, a, allow_pickle=False)
    return buffer.getvalue()


def tvm(arrays):
    out = struct.pack("<QQQ", 0xF7E58D4F05049CB7, 0, len(arrays))
    for n in arrays:
        out += struct.pack("<Q", len(n)) + n.encode()
    out += struct.pack("<Q", len(arrays))
    for a in arrays.values():
        out += struct.pack("<QQiiiBBH", 0xDD5E40F096B4A13F, 0, 1, 0, a.ndim, 0, 8, 1)
        out += struct.pack(f"<{a.ndim}qq", *a.shape, a.nbytes) + a.tobytes()
    return out


def tflm(trace, arrays):
    """The debugger's flatbuffer, as its schema lays it out."""
    import flatbuffers

    b = flatbuffers.Builder(1 << 16)

    def vector(items, size, prepend):
        b.StartVector(size, len(items), size)
        for i in reversed(items):
            prepend(i)
        return b.EndVector()

    tensors = []
    for n, a in arrays.items():
        data = b.CreateByteVector(a.tobytes())
        shape = vector(list(a.shape), 4, b.PrependInt32)
        b.StartObject(7)
        b.PrependUint32Slot(0, 0xFFFFFFFF, 0)
        b.PrependUint32Slot(1, trace.graph.tensor(n).index, 0)
        b.PrependUOffsetTRelativeSlot(2, shape, 0)
        b.PrependInt8Slot(3, 9, 0)
        b.PrependUOffsetTRelativeSlot(4, data, 0)
        b.PrependUint32Slot(5, a.nbytes, 0)
        tensors.append(b.EndObject())
    outputs = vector(tensors, 4, b.PrependUOffsetTRelative)
    b.StartObject(2)
    b.PrependUOffsetTRelativeSlot(0, outputs, 0)
    graph = b.EndObject()
    graphs = vector([graph], 4, b.PrependUOffsetTRelative)
    b.StartObject(2)
    b.PrependUOffsetTRelativeSlot(1, graphs, 0)
    b.Finish(b.EndObject())
    return bytes(b.Output())


def polygraphy(arrays):
    outputs = {n: {"values": {"array": base64.b64encode(npy(a)).decode(), "polygraphy_class": "ndarray"},
                   "polygraphy_class": "LazyArray"} for n, a in arrays.items()}  # fmt: skip
    one = {"outputs": outputs, "runtime": 0.1, "runner_name": "trt", "polygraphy_class": "IterationResult"}
    return json.dumps({"lst": [["trt", [one]]], "polygraphy_class": "RunResults"}).encode()


def c_source(arrays, *, hexadecimal=False):
    lines = ["// made on the device", "#include <stdint.h>"]
    for n, a in arrays.items():
        values = ", ".join(f"0x{int(v) & 255:02X}" if hexadecimal else str(int(v)) for v in a.reshape(-1))
        lines.append(f"const int8_t {n}[{a.size}] __attribute__((aligned(16))) = {{ /* {a.shape} */ {values}, }};")
    return "\n".join(lines).encode()


def uart(arrays):
    lines = ["\x1b[32mI (312) main: boot, heap: 81234\x1b[0m"]
    for i, (n, a) in enumerate(arrays.items()):
        flat = a.reshape(-1).tolist()
        lines.append(f"[00:00:0{i}.120] APP: {n} (int8) = [")
        lines += [", ".join(map(str, flat[k : k + 20])) for k in range(0, len(flat), 20)]
        lines += ["]", f"time: {i * 13} us"]
    return "\r\n".join(lines).encode()


MAKERS = {
    "d.npz": lambda t, a: _npz(a),
    "d.params": lambda t, a: tvm(a),
    "d.tflmdump": tflm,
    "d.bin": tflm,
    "d.json": lambda t, a: polygraphy(a),
    "plain.json": lambda t, a: json.dumps({n: v.tolist() for n, v in a.items()}).encode(),
    "d.c": lambda t, a: c_source(a),
    "d.h": lambda t, a: c_source(a, hexadecimal=True),
    "d.log": lambda t, a: uart(a),
    "d.csv": lambda t, a: "\n".join(f"{n}," + ",".join(map(str, v.reshape(-1))) for n, v in a.items()).encode(),
}


def _npz(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("file", MAKERS)
def test_every_format_gives_the_same_tensors(trace, arrays, tmp_path, file):
    (tmp_path / file).write_bytes(MAKERS[file](trace, arrays))
    result = fxsim.compare(trace, tmp_path / file)
    assert result.equal, result.first_divergence
    assert {r.name for r in result.rows} == set(NAMES)
    assert result.elements == sum(a.size for a in arrays.values())


FILES = {
    "npy": npy,
    "raw": lambda a: a.tobytes(),
    "bin": lambda a: a.tobytes(),
    "dat": lambda a: "\n".join(map(str, a.reshape(-1))).encode(),
    "hex": lambda a: "\n".join(f"{int(v) & 255:02x}" for v in a.reshape(-1)).encode(),
    "mem": lambda a: ("@0\n" + " ".join(f"{int(v) & 255:02X}" for v in a.reshape(-1))).encode(),
}


@pytest.mark.parametrize("suffix", FILES)
def test_a_folder_of_files_named_as_tensors(trace, arrays, tmp_path, suffix):
    for n, a in arrays.items():
        (tmp_path / f"{n}.{suffix}").write_bytes(FILES[suffix](a))
    (tmp_path / "notes.md").write_text("not a dump")
    result = fxsim.compare(trace, tmp_path)
    assert result.equal, result.first_divergence
    assert len(result.rows) == len(NAMES)


def test_onnx_tensors(trace, arrays, tmp_path):
    onnx = pytest.importorskip("onnx")
    for n, a in arrays.items():
        (tmp_path / f"{n}.pb").write_bytes(onnx.numpy_helper.from_array(a, n).SerializeToString())
    assert fxsim.compare(trace, tmp_path).equal


def test_polygraphy_itself_writes_what_is_read(trace, arrays, tmp_path):
    comparator = pytest.importorskip("polygraphy.comparator", reason="needs polygraphy")
    results = comparator.RunResults()
    results.add([arrays], runner_name="device")
    results.save(str(tmp_path / "r.json"))
    assert fxsim.compare(trace, tmp_path / "r.json").equal


def test_intel_hex(trace, arrays, tmp_path):
    data, lines = arrays["softmax"].tobytes(), []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        record = bytes([len(part), (at + 0x100) >> 8, at & 255, 0]) + part
        lines.append(":" + (record + bytes([-sum(record) & 255])).hex().upper())
    (tmp_path / "softmax.hex").write_text("\n".join([*lines, ":00000001FF"]))
    assert fxsim.compare(trace, tmp_path / "softmax.hex").equal
    (tmp_path / "softmax.hex").write_text("\n".join([lines[0][:-2] + "00", ":00000001FF"]))
    with pytest.raises(DumpError, match="checksum"):
        fxsim.compare(trace, tmp_path / "softmax.hex")


BROKEN = {
    "pickled.npy": (npy(np.zeros(3))[:6] + b"\x01\x00", "is not"),
    "objects.npz": (None, "objects"),
    "empty.bin": (b"", "empty"),
    "conv1.bin": (b"\x00" * 100, "has 100 bytes; allowed: 288"),
    "cut.params": (struct.pack("<QQQ", 0xF7E58D4F05049CB7, 0, 3), "ends at byte"),
    "other.params": (b"\x00" * 40, "no parameter file"),
    "huge.params": (struct.pack("<QQQ", 0xF7E58D4F05049CB7, 0, 1 << 60), "no parameter file"),
    "cut.json": (b'{"a": [1, 2', "not JSON"),
    "no.json": (b'{"a": "b"}', "holds no array"),
    "bad64.json": (b'{"softmax": {"array": "%%%"}}', "base64"),
    "deep.json": (b"[" * 100_000, "not JSON"),
    "words.csv": (b"softmax,one,two\nsoftmax,x\n", "allowed: numbers"),
    "mixed.hex": (b"00 0000", "digits"),
    "letters.hex": (b"zz zz", "not hexadecimal"),
    "none.c": (b"int main(void) { return 0; }", "no initialized array"),
    "none.log": (b"hello\nworld", "no list of numbers"),
    "softmax.csv": (b"1,2,nan,4,5,6,7,8,9,10", "nan"),
    "dump.xyz": (b"1", "suffix"),
    "softmax.pb": (b"\xff\xff", "serialized tensor|fit|claims"),
    "cut.tflmdump": (b"\x10\x00\x00\x00abcdefghijkl", "debugger"),
}


@pytest.mark.parametrize("file", BROKEN)
def test_broken_files_are_refused(trace, tmp_path, file):
    data, says = BROKEN[file]
    if data is None:
        np.savez(tmp_path / file, softmax=np.array([{}], dtype=object), allow_pickle=True)
    else:
        (tmp_path / file).write_bytes(data)
    with pytest.raises(DumpError, match=says):
        fxsim.compare(trace, tmp_path / file)


def test_a_pickle_in_a_file_is_never_run(trace, tmp_path):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    np.save(tmp_path / "softmax.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DumpError, match="objects"):
        fxsim.compare(trace, tmp_path / "softmax.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", [f for f in MAKERS if f != "d.npz"])
def test_truncated_files_are_refused_or_told_apart(trace, arrays, tmp_path, file):
    whole = MAKERS[file](trace, arrays)
    rng = np.random.default_rng(1)
    for cut in rng.integers(1, len(whole) - 1, 40):
        (tmp_path / file).write_bytes(whole[:cut])
        try:
            result = fxsim.compare(trace, tmp_path / file)
        except fxsim.FxsimError:
            continue
        assert result.elements < sum(a.size for a in arrays.values()) or result.equal


def test_mutated_files_never_crash(trace, arrays, tmp_path):
    rng = np.random.default_rng(2)
    for file, make in MAKERS.items():
        whole = np.frombuffer(make(trace, arrays), np.uint8)
        for _ in range(30):
            data = whole.copy()
            data[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
            (tmp_path / file).write_bytes(data.tobytes())
            try:
                fxsim.compare(trace, tmp_path / file)
            except fxsim.FxsimError:
                pass


def test_readers_say_where_entries_are(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.csv").write_text("1,2,3")
    (entry,) = formats.read(tmp_path)
    assert (entry.name, entry.place) == ("x", "a/x.csv: x.csv")


def printed(tmp_path, text, name="board.log"):
    (tmp_path / name).write_text(text)
    return {e.name: e.values.tolist() for e in formats.read(tmp_path / name)}


def test_lists_of_a_log_in_other_forms(tmp_path):
    assert printed(tmp_path, "boot\ny: [-128, 3, 7] 811 us\ndone\n") == {"y": [-128, 3, 7]}
    assert printed(tmp_path, "scores = {1, 2} // 3 ms\n") == {"scores": [1, 2]}
    assert printed(tmp_path, "[tensor_18] 23 119\n-4 5\n[g]: 23, 119\n") == {
        "tensor_18": [23, 119, -4, 5],
        "g": [23, 119],
    }
    assert printed(tmp_path, "out[0] = -128\nout[1] = 5;\nout[2]: 0x7f\nend\n") == {"out": [-128, 5, 127]}
    with pytest.raises(DumpError, match="no list of numbers"):
        printed(tmp_path, "g: 23 119 done\n")


def test_a_table_with_a_header(tmp_path):
    assert printed(tmp_path, "o0,o1,o2\n-128,-34,5\n1,2,3\n", "y.csv") == {"y": [-128, -34, 5, 1, 2, 3]}
    assert printed(tmp_path, '"conv1"\n-128\n7\n', "y.csv") == {"conv1": [-128, 7]}
    assert printed(tmp_path, "o0;o1\n-128;-34\n", "y.csv") == {"y": [-128, -34]}


def test_what_is_no_dump_in_a_folder_is_left_out_and_said(tmp_path):
    (tmp_path / "notes.txt").write_text("taken on Tuesday, board 3\n")
    (tmp_path / "info.json").write_text('{"board": "rev B"}')
    np.save(tmp_path / "conv1.npy", np.arange(4))
    found = {e.place: e.left_out for e in formats.read(tmp_path)}
    assert found["conv1.npy"] == "" and "no list of numbers" in found["notes.txt"] and "no array" in found["info.json"]
    with pytest.raises(DumpError, match="no list of numbers"):
        formats.read(tmp_path / "notes.txt")
