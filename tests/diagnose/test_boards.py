"""Devices behind what docs/black_boxes.md shows: Verilog under two simulators, firmware under QEMU, a serial line."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

import fxsim
from fxsim.diagnose.blackbox import Command
from fxsim.diagnose.vectors import readmemh
from fxsim.numerics import Accumulator, Requantize
from tests.diagnose import layers

HERE = Path(__file__).parent
SCALES, ZEROS, MOST = (2.0**-5, 2.0**-7, 2.0**-3), (11, -7), 200


def parts():
    rng = np.random.default_rng(3)
    return rng.integers(-127, 128, (6, 24)).astype(np.int8), rng.integers(-800, 800, 6).astype(np.int32)


def needs(*programs):
    missing = [p for p in programs if shutil.which(p) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: the device needs it")


def floors(graph, device):
    """What was found, which is one kind that rounds down."""
    found = fxsim.explain(graph, device, numerics="tflm", queries=MOST)
    finding = found.findings[0]
    assert found.queries <= MOST
    assert len(finding.kinds) == 1 and "alone fits" in found.words, found.words
    assert finding.members[0].settings.requantize.rounding == "to_neg"
    return finding


@pytest.mark.parametrize("simulator", ["iverilog", "verilator"])
def test_a_layer_in_hardware(simulator, tmp_path):
    """A Verilog layer, its constants from golden vectors' own hexadecimal words, behind a function."""
    needs(simulator)
    weight, bias = parts()
    graph = layers.dense(weight, bias, SCALES, ZEROS, 1)
    paths = {name: tmp_path / f"{name}.hex" for name in ("in", "weight", "bias")}
    paths["weight"].write_text(readmemh(weight))
    paths["bias"].write_text(readmemh(bias))
    built, out = tmp_path / "device", tmp_path / "out.txt"
    if simulator == "iverilog":
        build, run = ["iverilog", "-g2005", "-o", built, HERE / "device.v"], ["vvp", "-n", built]
    else:
        build = ["verilator", "--binary", "-Wno-fatal", "--Mdir", tmp_path, "-o", built.name, HERE / "device.v"]
        run = [built]
    subprocess.run(build, check=True, capture_output=True)

    def device(x):
        paths["in"].write_text(readmemh(x))
        words = [*run, f"+out={out}", *(f"+{k}={v}" for k, v in paths.items())]
        subprocess.run(words, check=True, capture_output=True, timeout=60)
        return np.loadtxt(out, dtype=np.int8).reshape(1, 6)

    assert floors(graph, device).members[0].settings.accumulator == Accumulator(bits=16)


def test_firmware_under_qemu(tmp_path):
    """The program in C as firmware of a Cortex-M3, which opens the host's files by semihosting."""
    needs("arm-none-eabi-gcc", "qemu-system-arm")
    weight, bias = parts()
    rows = 3
    graph = layers.dense(weight, bias, SCALES, ZEROS, rows)
    layer, firmware = tmp_path / "layer.bin", tmp_path / "firmware.elf"
    layer.write_bytes(layers.constants(weight, bias, SCALES, ZEROS, rows))
    flags = ["-mcpu=cortex-m3", "-mthumb", "-O1", "--specs=rdimon.specs", "-Wl,--section-start=.vectors=0"]
    sources = [HERE / "device.c", HERE / "cortex_m.c"]
    subprocess.run(["arm-none-eabi-gcc", *flags, "-o", firmware, *sources], check=True, capture_output=True)
    words = f"enable=on,target=native,arg=device,arg={layer},arg=floor,arg={{input:raw}},arg={{output:raw}}"
    run = f"qemu-system-arm -M mps2-an385 -display none -semihosting-config {words} -kernel {firmware}"
    finding = floors(graph, Command(run, graph))
    settings = fxsim.load_numerics("tflm").of("FULLY_CONNECTED", "int8")
    rule = Requantize(scheme="single_rounding", rounding="to_neg")
    assert finding.row().words.startswith("rounds once, down; your simulation: rounds twice, ties away")
    assert finding.holds(msgspec.structs.replace(settings, requantize=rule))


def test_a_board_on_a_serial_line():
    """A board at the other end of a terminal, and pyserial at this one."""
    serial = pytest.importorskip("serial", reason="needs pyserial (the test extra)")
    graph = layers.dense(*parts(), SCALES, ZEROS, 1)
    profile = fxsim.load_numerics("tflm")
    rule = Requantize(scheme="single_rounding", rounding="to_neg")
    settings = msgspec.structs.replace(profile.of("FULLY_CONNECTED", "int8"), requantize=rule)
    numerics = msgspec.structs.replace(profile, name="board", ops={"FULLY_CONNECTED": settings})
    board, line = os.openpty()

    def answer():
        while len(data := read(board, 24)) == 24:
            x = np.frombuffer(data, np.int8).reshape(1, 24)
            os.write(board, fxsim.simulate(graph, x, numerics).kept[graph.outputs[0]].tobytes())

    port = serial.Serial(os.ttyname(line), 115200, timeout=10)
    threading.Thread(target=answer, daemon=True).start()

    def device(x):
        port.write(x.tobytes())
        return np.frombuffer(port.read(6), np.int8).reshape(1, 6)

    with port:
        assert floors(graph, device).holds(settings)
        port.write(b"\0")  # less than an input: the board has no answer
        port.timeout = 0.1
        with pytest.raises(fxsim.DumpError, match="allowed: int8"):
            fxsim.explain(graph, lambda x: np.frombuffer(port.read(6), np.int8), numerics="tflm")
    os.close(line)


def read(handle, count):
    """So many bytes; fewer at the end."""
    data = b""
    while len(data) < count:
        try:
            more = os.read(handle, count - len(data))
        except OSError:
            break
        if not more:
            break
        data += more
    return data
