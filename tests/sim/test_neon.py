"""The kernels of 64-bit Arm: their logic on any machine, their code for Arm's instruction, and that code emulated.

Off Arm, a function in LLVM's own language stands in for SDOT. Its calls are then made that instruction and compiled for Arm;
where QEMU and a cross compiler are there (Debian: qemu-user, gcc-aarch64-linux-gnu), the code runs.
"""

import re
import shutil
import subprocess
from contextlib import ExitStack
from unittest.mock import patch

import llvmlite.binding
import numba
import numpy as np
import pytest

from fxsim.kernels import _tiles, isa, packed
from fxsim.kernels._jit import ir
from fxsim.kernels._vectors import I32, vector
from fxsim.sim.base import address
from fxsim.sim.packed import native_of
from tests.sim.test_packed import check, drawn

SDOT, STAND_IN = "llvm.aarch64.neon.sdot.v4i32.v16i8", "stand_in_for_sdot"
BASE = 0x10_0000_0000
"""where the emulated program puts its memory"""
TOOLS = "aarch64-linux-gnu-gcc", "qemu-aarch64"
HARNESS = f"""
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
void kernel(int64_t block);
/* What a kernel that fails would tell Python. */
#define NEVER(name) void name(void) {{ abort(); }}
NEVER(numba_gil_ensure) NEVER(numba_gil_release) NEVER(PyErr_SetNone) NEVER(PyErr_SetString) NEVER(PyUnicode_FromString)
NEVER(PyErr_WriteUnraisable) NEVER(PyErr_Clear) NEVER(Py_DecRef)
void *PyExc_StopIteration, *PyExc_SystemError;
int main(int argc, char **argv) {{
  int file = open(argv[1], O_RDWR);
  void *at = mmap((void *){BASE}, strtoll(argv[2], 0, 10), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
  if (at == MAP_FAILED) return 3;
  kernel({BASE});
  return 0;
}}
"""
pytestmark = pytest.mark.skipif(not isa.compiled(), reason="kernels are not compiled")


def stand_in(builder, name, result, *arguments):
    """As ``library``, but SDOT is a function: four products of signed bytes, added to each of four sums."""
    if name != SDOT:
        return _library(builder, name, result, *arguments)
    module = builder.module
    if STAND_IN not in module.globals:
        f = ir.Function(module, ir.FunctionType(result, [a.type for a in arguments]), STAND_IN)
        f.linkage = "linkonce_odr"
        f.attributes.add("noinline")
        inside = ir.IRBuilder(f.append_basic_block())
        total, (a, b) = f.args[0], (inside.sext(v, vector(I32, 16)) for v in f.args[1:])
        products = inside.mul(a, b)
        for j in range(4):
            pick = ir.Constant(vector(I32, 4), [4 * i + j for i in range(4)])
            total = inside.add(total, inside.shuffle_vector(products, products, pick))
        inside.ret(total)
    return builder.call(module.globals[STAND_IN], arguments)


_library = _tiles.library


@pytest.fixture
def made():
    """Kernels that are compiled now and kept nowhere; their cfuncs."""
    found = []

    def uncached(function):
        found.append(numba.cfunc(numba.types.void(numba.types.int64), error_model="numpy")(function))
        return found[-1]

    with ExitStack() as stack:
        stack.enter_context(patch.object(_tiles, "library", stand_in))
        stack.enter_context(patch.object(packed, "native", uncached))
        for factory in ("dense", "apart"):
            stack.enter_context(patch.object(packed, factory, getattr(packed, factory).__wrapped__))
        yield found


def bytes_layers(apart):
    """Layers of int8 and of uint8 inputs, their weights of 8 bits."""
    found = []
    for kind in (np.int8, np.uint8):
        layers = (drawn(s, apart) for s in range(900))
        fitting = ((la, x, o) for la, x, o in layers if la.input_dtype == kind and la.policy == "wrap")
        fitting = ((la, x, o) for la, x, o in fitting if la.weight.dtype == np.int8 and la.geometry.outputs > 200)
        found += [next(fitting), next(fitting)]
    return found


@pytest.mark.parametrize("apart", [False, True])
def test_the_logic_on_any_machine(made, apart):
    for layer, x, out in bytes_layers(apart):
        check(layer, x, out, "neon")
    assert made


def for_arm(cfunc):
    """``(assembly, object)`` of a kernel, its stand-in made the instruction."""
    text = cfunc.inspect_llvm()
    text = re.sub(rf"define linkonce_odr [^\n]*@{STAND_IN}\(.*?\n}}\n", "", text, flags=re.S)
    assert f"@{STAND_IN}(" in text
    text = text.replace(f"@{STAND_IN}(", f"@{SDOT}(")
    text = re.sub(r'target (triple|datalayout) = "[^"]*"\n', "", text)
    text = text.replace(f'@"{cfunc._wrapper_name}"', "@kernel").replace(f"@{cfunc._wrapper_name}", "@kernel")
    text += f"\ndeclare <4 x i32> @{SDOT}(<4 x i32>, <16 x i8>, <16 x i8>)\n"
    llvmlite.binding.initialize_all_targets()
    llvmlite.binding.initialize_all_asmprinters()
    target = llvmlite.binding.Target.from_triple("aarch64-linux-gnu")
    machine = target.create_target_machine(features="+neon,+dotprod", opt=2, reloc="pic", codemodel="small")
    module = llvmlite.binding.parse_assembly(text)
    module.triple = "aarch64-linux-gnu"
    return machine.emit_assembly(module), machine.emit_object(module)


@pytest.mark.parametrize("apart", [False, True])
def test_the_code_is_the_instruction(made, apart):
    layer, _, out = bytes_layers(apart)[0]
    native_of(layer, out, "neon").function()
    assembly, _ = for_arm(made[-1])
    assert len(re.findall(r"\bsdot\s+v\d+\.4s", assembly)) >= 4
    assert "fma" not in re.findall(r"\bbl\s+(\w+)", assembly), "a product and a sum in a library"


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {' and '.join(TOOLS)}")
@pytest.mark.parametrize("apart", [False, True])
def test_the_code_emulated(made, apart, tmp_path):
    elements = 0
    for layer, x, out in bytes_layers(apart):
        g, native = layer.geometry, native_of(layer, out, "neon")
        shape = (g.batch, g.out_h, g.out_w, g.out_c)
        expected, got = np.empty(shape, out), np.full(int(np.prod(shape)) + 64, 77, out)
        layer.requantize(layer.accumulate(x), layer.clamp, expected)
        native.function()
        (tmp_path / "kernel.o").write_bytes(for_arm(made[-1])[1])
        (tmp_path / "main.c").write_text(HARNESS)
        build = [TOOLS[0], "-static", "-O1", "-o", "run", "main.c", "kernel.o", "-lm"]
        told = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        x, room = np.concatenate([x.reshape(-1), np.full(16, 99, x.dtype)]), np.full(native.room, 0x55, np.uint8)
        arrays = [x, got, room, *native.held]
        block = native.block([x], [got], room)
        memory, places = moved(block, arrays)
        (tmp_path / "memory").write_bytes(memory)
        subprocess.run([TOOLS[1], "-cpu", "max", "./run", "memory", str(len(memory))], cwd=tmp_path, check=True)
        after = (tmp_path / "memory").read_bytes()
        y = np.frombuffer(after, out, len(got), places[1])
        assert np.array_equal(y[:-64].reshape(shape), expected)
        assert np.all(y[-64:] == 77), "written beyond the output"
        elements += expected.size
    assert elements > 1000


def moved(block, arrays):
    """One memory that begins with the block, whose addresses of ``arrays`` say where these lie in it now; their places."""
    places, memory = [], bytearray(-(-block.nbytes // 4096) * 4096)
    for a in arrays:
        places.append(len(memory))
        memory += a.tobytes() + bytes(-a.nbytes % 4096)
    words = block.copy()
    for a, place in zip(arrays, places, strict=True):
        words[block == address(a)] = BASE + place
    memory[: block.nbytes] = words.tobytes()
    return bytes(memory), places
