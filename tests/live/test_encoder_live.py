"""A block of a transformer encoder, from words to its second layer norm, every bit as the live engines compute it.

TFLM has no GELU: the block also runs with TANH and with LEAKY_RELU. The block of int16 activations begins behind the
words, as TFLM's GATHER takes no int16, and squares by MUL, as LiteRT has no SQUARED_DIFFERENCE of int16.
"""

import numpy as np
import pytest

from fxsim.importers import parse
from fxsim.sim import simulate
from tests import engines
from tests.encoder import encoder

pytestmark = pytest.mark.live
BLOCKS = [("int8", "GELU"), ("int8", "TANH"), ("int8", "LEAKY_RELU"), ("int16", "TANH"), ("int16", "LEAKY_RELU")]
TENSORS = {"litert-reference": engines.litert_reference_sequence, "litert-optimized": engines.litert_optimized_sequence}
OUTPUTS = {"litert-xnnpack": engines.litert_xnnpack_sequence, "tflm": engines.tflm_sequence}


@pytest.mark.parametrize(("dtype", "activation"), BLOCKS)
def test_encoder_block(engine, record_property, dtype, activation):
    """All tensors that the engine shows: on usual sentences no layer is mostly clamped or flat."""
    content, words = encoder(dtype, activation)
    graph, asked = parse(content, "encoder"), [[x] for x in words]
    if (engine, activation) == ("tflm", "GELU"):
        with pytest.raises(engines.Refused, match="GELU"):
            engines.tflm_sequence(content, asked)
        return
    kept = simulate(graph, [words], engine, keep="all").kept
    if engine in TENSORS:
        wanted = TENSORS[engine](content, asked)
    else:
        wanted = [dict(zip(graph.outputs, y, strict=True)) for y in OUTPUTS[engine](content, asked)]
    made = [i for node in graph.nodes for i in node.outputs]
    compared = [i for i in made if i in wanted[0]]
    assert compared == (made if engine in TENSORS else list(graph.outputs))
    for index in compared:
        theirs, name = np.stack([w[index] for w in wanted]), graph.nodes[made.index(index)].op
        assert (kept[index].shape, kept[index].dtype) == (theirs.shape, theirs.dtype)
        wrong = int(np.sum(kept[index] != theirs))
        assert wrong == 0, f"{name} {index}: {wrong} of {theirs.size} elements differ from {engine}"
    for index in made:
        usual, limits = kept[index][:8], np.iinfo(dtype)
        clamped = np.mean((usual == limits.min) | (usual == limits.max))
        assert clamped < 0.2, f"{graph.nodes[made.index(index)].op} {index}: {clamped:.0%} at the limits"
        assert len(np.unique(usual)) > 20
    record_property("compared", f"{sum(kept[i].size for i in compared)} elements of {len(compared)} tensors")


def test_the_engines_differ_on_the_block():
    """No two profiles give the same output, so that a wrong one cannot pass."""
    content, words = encoder("int8", "TANH")
    graph = parse(content, "encoder")
    made = [simulate(graph, [words], n).tensor(graph.outputs[0]) for n in (*TENSORS, *OUTPUTS)]
    assert all(np.any(a != b) for i, a in enumerate(made) for b in made[:i])


def test_xnnpack_takes_part_of_the_block():
    assert engines.litert_delegated(encoder("int8", "GELU")[0])
