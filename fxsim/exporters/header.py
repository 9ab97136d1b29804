"""Writes a C header: each layer's constants as ``static const`` arrays, its numbers as macros. C99, nothing to link."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fxsim.convert import to_tflite
from fxsim.exporters.device import Block, records
from fxsim.model.graph import Graph, Tensor
from fxsim.model.qtype import Array

_COLUMNS = 16
_NOTE = """\
/* {name}: {layers} layers, written by fxsim.
 *
 * Names: {prefix}_l<layer>_<op>_<what>; arrays are static const, numbers are macros.
 *   weight, bias, input<n>   the layer's constants; the comment says shape and type, and the packing of what has fewer
 *                            than 8 bits: cmsis_s4 and tflite_int2 put the first value into the lowest bits of a byte;
 *                            larq_bits puts channel c into bit c % 32 of word c / 32, and a set bit is -1
 *   multiplier, shift        one for each output channel (a fully connected layer: one, if its weights have one scale):
 *                            output = output_offset + accumulator * multiplier * 2^(shift - 31), a positive shift to the left
 *   INPUT_OFFSET             is added to an input (it is minus the zero point), OUTPUT_OFFSET to an output
 *   ACTIVATION_MIN, _MAX     clamp the output
 *   *_shape                  sizes, images as N, H, W, C; weights O, H, W, I (depthwise 1, H, W, O; dense O, I)
 */
"""


def files(graph: Graph, path: Path, style: str) -> Mapping[Path, bytes]:
    """The file, and its bytes."""
    return {path: "".join(_lines(graph, path.stem)).encode()}


def _identifier(text: str) -> str:
    name = re.sub(r"\W", "_", text, flags=re.ASCII).lower()
    return name if name[:1].isalpha() else f"m_{name}"


def _lines(graph: Graph, stem: str) -> Iterator[str]:
    prefix = _identifier(stem)
    graph = to_tflite(graph)
    layers = records(graph)
    guard = f"{prefix.upper()}_H"
    yield _NOTE.format(name=comment(stem), layers=len(layers), prefix=prefix)
    yield f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
    yield f"#define {prefix.upper()}_LAYERS {len(layers)}\n"
    for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for n, i in enumerate(indices):
            yield from _border(f"{prefix}_{what}{n}", graph.tensors[i])
    for r in layers:
        name = f"{prefix}_l{r.index}_{_identifier(r.op)}"
        yield f"\n/* layer {r.index}: {r.op} {comment(r.name)} ({comment(', '.join(r.inputs))}) */\n"
        for what, value in r.numbers.items():
            yield f"#define {name.upper()}_{what.upper()} {number(value)}\n"
        for what, b in r.blocks.items():
            yield from array(f"{name}_{what}", b)
    yield f"\n#endif /* {guard} */\n"


def _border(name: str, t: Tensor) -> Iterator[str]:
    yield f"\n/* {comment(t.name)}: {t.qtype.name} {list(t.shape)} */\n"
    yield f"#define {name.upper()}_ELEMENTS {t.elements}\n"
    if t.quant is not None:
        yield f"#define {name.upper()}_SCALE {number(t.quant.scale[0])}\n"
        yield f"#define {name.upper()}_ZERO_POINT {number(t.quant.zero_point[0])}\n"


def comment(text: str) -> str:
    """``text`` as it may stand in a comment."""
    return (
        "".join(c if c.isprintable() and c.isascii() else "?" for c in text).replace("*/", "* /").replace("/*", "/ *")
    )


def array(name: str, b: Block) -> Iterator[str]:
    """A ``static const`` array of C99, with a comment that says its shape and type."""
    kind = {"float32": "float", "float64": "double", "bool": "uint8_t"}.get(b.data.dtype.name, f"{b.data.dtype.name}_t")
    packed = f", packed as {b.packing}" if b.packing else ""
    source = f" {comment(b.source)}" if b.source else ""
    yield f"/*{source} {list(b.shape)} {b.type}{packed} */\n"
    flat = b.data.reshape(-1)
    yield f"static const {kind} {name}[{max(flat.size, 1)}] = {{\n"
    for start in range(0, max(flat.size, 1), _COLUMNS):
        yield f"  {', '.join(_values(flat[start : start + _COLUMNS])) or '0'},\n"
    yield "};\n"


def _values(row: Array) -> Iterator[str]:
    for v in row.tolist():
        yield _literal(v, single=row.dtype == np.float32)


def number(value: int | float) -> str:
    """A number as a macro says it."""
    return f"({_literal(value)})" if value < 0 else _literal(value)


def _literal(value: int | float, *, single: bool = True) -> str:
    """A C literal that is exactly the value."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return {math.inf: "(1.0f / 0.0f)", -math.inf: "(-1.0f / 0.0f)"}.get(value, "(0.0f / 0.0f)")
        text = f"{value:.9g}" if single else f"{value:.17g}"
        return text + ("" if "." in text or "e" in text else ".0") + ("f" if single else "")
    if value == -(1 << 63):
        return f"({value + 1}LL - 1)"
    if value >= 1 << 63:
        return f"{value}ULL"
    return f"{value}LL" if abs(value) >= 1 << 31 else str(int(value))
