"""What an Ethos-U is asked to do for a layer: one operation, or the several that the compiler makes of it.

=====================  ==========================================================================================
layer                  operations
=====================  ==========================================================================================
conv, dense            one convolution; a depthwise layer with one input channel is a convolution too; the activation
                       behind a window is done on the way out, but a pooling of its own if pixels are short
depthwise, pool        one
elementwise            one, on the output stage alone; a 16-bit leaky ReLU up to four, where the NPU's own
                       does not rescale
lookup                 a pooling of 1x1 windows that reads a table on its way out
copy                   the same without a table; a transposition takes as long as reading and writing it,
                       twice if channels change their place; a padding that no window does copies its input and
                       fills what is before and behind each axis from a constant
reduce                 a depthwise convolution over everything that is reduced, then a 32-bit multiplication
softmax                28: maximum, subtraction with a table of exponentials, shift, sum, a reciprocal by three steps
                       of Newton and Raphson on 32 bits, multiplication, shift (16 bits: 13, with two tables)
=====================  ==========================================================================================

Source: ethos-u-vela 5.2.0, regor, tables of its debug database.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from fxsim.cost.ethos_array import Size
from fxsim.cost.layer import ceil_div
from fxsim.model.work import Geometry, Work

Kind = Literal["conv", "depthwise", "pool", "sum", "elementwise", "move"]
Stage = Literal["unary32", "binary32", "multiply32", "multiply", "add", "max_pool", "other", "lookup"]
ONE = Size(1, 1, 1)
BRICK = 16
"""channels that lie together inside the NPU"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the NPU, on one element of a batch. Bits are of one element."""

    kind: Kind
    output: Size
    input: Size
    second: Size | None = None
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    input_bits: int = 8
    output_bits: int = 8
    stage: Stage = "other"
    scaled: bool = True
    """the result is rescaled on its way out"""
    weights: bool = False
    bias: bool = False
    chained: bool = False
    """U85: an elementwise operation with ``second`` follows on the way out"""
    linear_input: bool = False
    """channels last, instead of bricks of 16 channels"""
    linear_output: bool = False
    copies: bool = False
    """a pooling that only moves its input"""
    fills: bool = False
    """... of which the input is a constant"""

    @property
    def per_channel(self) -> bool:
        """True if each output channel reads only its own input channel."""
        return self.kind in ("depthwise", "pool", "elementwise")

    @property
    def taps(self) -> int:
        """Elements of the kernel window."""
        return self.kernel[0] * self.kernel[1]

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns of the input under a dilated kernel."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a compiler knows of a layer beside its work: the op, its shapes, and how its tensors lie in memory."""

    op: str
    output: Size
    input: Size
    second: Size | None = None
    linear_input: bool = False
    linear_output: bool = False
    outer_input: bool = False
    """the input comes from outside the NPU (a network's input, the host)"""
    outer_output: bool = False
    chained: bool = False
    """U85: the elementwise layer behind, whose other input is ``second``, is done on the way out"""
    table: bool = False
    """a table is read on the way out, for the layer behind"""
    apart: bool = False
    """the activation is an operation of its own"""
    steps: tuple[Stage, ...] = ()
    """operations that an activation takes, if not one: of the input and a number; the last, of what they make"""
    rims: tuple[Size, ...] = ()
    """what a padding fills"""
    done: bool = False
    """nothing is left to do: a neighbour pads, reads the table, or reads and writes in place"""


STAGES: dict[str, Stage] = {"ADD": "add", "SUB": "add", "MUL": "multiply"}
FREE = ("CONCATENATION", "PACK", "UNPACK", "SPLIT", "SPLIT_V", "STRIDED_SLICE", "SLICE")
"""copies that the compiler does by addressing: their neighbours write or read in place"""


def _bytes_in_bits(bits: int) -> int:
    """The bits that an element takes in memory and array: whole bytes."""
    return max(8, ceil_div(bits, 8) * 8)


def _windowed(work: Work, g: Geometry, s: Surroundings | None) -> Operation:
    kind: Kind = "pool" if work.kind == "pool" else "depthwise" if work.kind == "depthwise" else "conv"
    if s and kind == "depthwise" and g.in_c == 1:
        kind = "conv"
    bits = _bytes_in_bits(work.activation_bits)
    stage: Stage = "lookup" if s and s.table else "max_pool" if s and s.op in ("MAX_POOL_2D", "MaxPool") else "other"
    return Operation(
        kind,
        Size(g.out_h, g.out_w, g.out_c),
        s.input._replace(h=s.input.h // g.batch) if s and work.kind != "dense" else Size(g.in_h, g.in_w, g.in_c),
        second=s.second if s and s.chained else None,
        chained=bool(s and s.chained),
        kernel=(g.kernel_h, g.kernel_w),
        stride=(g.stride_h if g.out_h > 1 else 1, g.stride_w if g.out_w > 1 else 1),
        dilation=(g.dilation_h, g.dilation_w),
        input_bits=bits,
        output_bits=bits,
        stage=stage,
        weights=kind != "pool",
        bias=kind != "pool",
    )


def _softmax(shape: Size, bits: int, *, alone: bool) -> tuple[Operation, ...]:
    """Over the channels of each of ``h * w`` rows; on its own, a 16-bit one is charged the longer sequence of 8 bits."""
    rows, depth = shape.h * shape.w, shape.d
    full, each = Size(1, rows, depth), Size(1, rows, 1)

    def on(size: Size, stage: Stage, *, into: int = 32, source: int = 32, second: Size | None = each) -> Operation:
        return Operation("elementwise", size, size, second, input_bits=source, output_bits=into, stage=stage)

    # the maximum: rows become the height, channels the width, so that a window spans a row
    maximum = Operation("pool", Size(rows, 1, 1), Size(rows, depth, 1), kernel=(1, depth), stage="max_pool")
    total = Operation("sum", each, full, input_bits=32, output_bits=32)
    clz, binary = on(each, "unary32", second=None), on(each, "binary32")
    maximum = replace(maximum, input_bits=bits, output_bits=bits)
    if bits > 8 and not alone:
        first = on(full, "add", source=16), on(full, "binary32"), on(full, "binary32", into=16)
        tail = on(full, "multiply32", source=16), on(full, "binary32", into=16)
        return (maximum, *first, replace(total, input_bits=16), clz, *[binary] * 6, *tail)
    looked_up, shifted = on(full, "lookup", source=bits), on(full, "binary32")
    return (maximum, looked_up, shifted, total, clz, *[binary] * 20, shifted, shifted, on(full, "binary32", into=bits))


@lru_cache(maxsize=1024)
def deepened(size: Size) -> Size:
    """A tensor whose pixels are short as a compiler views it where shape means nothing: 16 channels or more.

    The least prime factors of its size make the channels; the others go to height and width in turn.
    """
    factors, rest, factor = [], size.elements, 2
    while factor * factor <= rest:
        if rest % factor:
            factor += 1
        else:
            factors.append(factor)
            rest //= factor
    depth, height, width = 1, 1, 1
    for factor in (*factors, rest):
        if depth < BRICK:
            depth *= factor
        elif width < height:
            width *= factor
        else:
            height *= factor
    return Size(max(height, width), min(height, width), depth)


def _plain(work: Work, s: Surroundings | None) -> tuple[Operation, ...]:
    bits = _bytes_in_bits(work.activation_bits)
    shape = s.output if s else Size(1, ceil_div(work.elements, 16), min(16, max(work.elements, 1)))
    source = s.input if s else shape
    if work.kind == "softmax":
        return _softmax(shape if s else Size(1, 1, work.elements), bits, alone=s is None)
    if work.kind == "reduce":
        taps = max(1, ceil_div(work.element_ops, max(work.elements, 1)))
        kernel = (source.h, source.w) if s and s.output.h * s.output.w == 1 else (1, taps)
        whole = Size(kernel[0], kernel[1], shape.d) if s else Size(1, taps * shape.w, shape.d)
        step = (1, 1) if shape.h * shape.w == 1 else kernel
        mean = Operation("depthwise", shape, whole, kernel=kernel, stride=step, input_bits=bits, output_bits=32,
                         weights=True, bias=True)  # fmt: skip
        scale = Operation("elementwise", shape, shape, ONE, input_bits=32, output_bits=bits, stage="binary32")
        return mean, scale
    plain = Operation("elementwise", shape, shape, input_bits=bits, output_bits=bits)
    if s and s.op == "TRANSPOSE":
        turned = replace(plain, kind="move", input=source, linear_input=True, linear_output=True)
        return (turned,) if s.input.d == s.output.d else (turned, turned)  # two swaps of axes
    if work.kind == "lookup":
        return (replace(plain, kind="pool", stage="lookup"),)
    if s and s.op == "PAD":
        inner = replace(plain, kind="pool", output=source, input=source, copies=True, linear_output=s.linear_output)
        return inner, *(replace(inner, output=rim, input=rim, linear_input=True, fills=True) for rim in s.rims)
    if work.kind == "copy":
        return (replace(plain, kind="pool", copies=True),)
    if s and s.op == "QUANTIZE":
        return (replace(plain, kind="pool"),)
    if s and s.steps:
        *first, last = s.steps
        scaled = [replace(plain, second=ONE, stage=stage) for stage in first]
        return *scaled, replace(plain, second=shape, stage=last)
    stage: Stage = STAGES.get(s.op, "other") if s else "add"
    second = (s.second if s else shape) if s is None or s.second else None
    rounds = 1 if s else max(1, ceil_div(work.element_ops, max(work.elements, 1)))
    return (replace(plain, input=source, second=second, stage=stage),) * rounds


@lru_cache(maxsize=4096)
def operations(work: Work, s: Surroundings | None = None) -> tuple[Operation, ...]:
    """The operations of one element of the batch, in order; without surroundings, a layer on its own."""
    g = work.geometry
    ops = (_windowed(work, g, s),) if g is not None else _plain(work, s)
    if s and s.apart and len(ops) == 1:
        made = deepened(ops[0].output)
        bits = ops[0].output_bits
        clamp = Operation("pool", made, made, input_bits=bits, output_bits=bits, linear_input=True)
        ops = replace(ops[0], linear_output=True), clamp
    if s is None or not ops:
        return ops
    first, last = replace(ops[0], linear_input=s.linear_input), replace(ops[-1], linear_output=s.linear_output)
    if len(ops) == 1:
        return (replace(first, linear_output=s.linear_output),)
    return (first, *ops[1:-1], last)


def batch_of(work: Work) -> int:
    """How often the operations run."""
    return work.geometry.batch if work.geometry is not None else 1
