"""What an Ethos-U compiler makes of paddings and activations, and which weights it skips."""

import numpy as np
import pytest
from cost_builders import Net

from fxsim.cost.estimate import estimate_graph
from fxsim.cost.ethos_array import Size
from fxsim.cost.ethos_graph import surroundings
from fxsim.cost.ethos_ops import operations
from fxsim.cost.ethos_weights import Weights
from fxsim.model.graph import Tensor
from fxsim.model.live import works
from fxsim.model.ops.base import Attributes
from fxsim.model.ops.rectify import LeakyRelu
from fxsim.model.qtype import INT16, QuantParams
from fxsim.targets import load_target

U55 = load_target("ethos-u55-128")


def made_of(net, op, inputs, made, attributes, *, chains=False):
    """The operations of one layer with 16-bit activations."""
    graph = net.graph(net.node(op, inputs, made, attributes, qtype=INT16))
    (near,) = surroundings(graph, [True], chains=chains)
    return operations(works(graph)[0], near[0])


@pytest.mark.parametrize(
    ("alpha", "rescaled", "stages"),
    [
        (0.3, True, ["multiply", "multiply", "other"]),
        (-0.3, False, ["other", "other", "multiply", "add"]),
        (1.5, True, ["other", "other", "multiply", "add"]),
        (0.3, False, ["other"]),
        (0.0, True, ["other"]),
    ],
)
def test_a_16_bit_leaky_relu(alpha, rescaled, stages):
    def found(*, chains):
        net = Net((1, 8, 8, 16), qtype=INT16)
        if rescaled:
            source = net.tensors[net.input]
            net.tensors[net.input] = Tensor(0, source.name, source.shape, INT16, QuantParams((0.25,), (0,)))
        return made_of(net, "LEAKY_RELU", (net.input,), (1, 8, 8, 16), LeakyRelu(alpha), chains=chains)

    assert [op.stage for op in found(chains=False)] == stages
    assert len(found(chains=True)) == (len(stages) if alpha < 0 else 1)  # U85 rescales what it takes


def test_a_padding_copies_its_input_and_fills_what_is_around_it():
    net = Net((1, 4, 6, 16), qtype=INT16)
    pads = net.tensor("pads", (4, 2), data=np.array([[0, 0], [1, 0], [2, 3], [0, 0]], np.int8))
    inner, *rims = made_of(net, "PAD", (net.input, pads), (1, 5, 11, 16), Attributes())
    assert (inner.output, inner.fills) == (Size(4, 6, 16), False)
    assert [op.output for op in rims] == [Size(1, 11, 16), Size(5, 2, 16), Size(5, 3, 16)]
    assert all(op.fills for op in rims)
    net = Net((1, 4, 6, 16))
    pads = net.tensor("pads", (4, 2), data=np.array([[0, 0], [1, 0], [2, 3], [0, 0]], np.int8))
    (cost,) = estimate_graph(
        net.graph(net.node("PAD", (net.input, pads), (1, 5, 11, 16), Attributes())), U55.profile, U55.host
    )
    assert sum(f.read_bytes for f in cost.estimate.flows if f.memory == "flash") >= (11 + 5 * 5) * 16


def test_weights_beyond_127_are_never_skipped():
    weights = np.zeros((4, 1, 1, 4), np.int16)
    weights[..., 0] = -127
    assert Weights(weights).two_of_four()
    assert not Weights(np.where(weights, np.int16(-128), weights)).two_of_four()
