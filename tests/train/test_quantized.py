import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch (the torch extra)")

import torch

from fxsim.errors import FxsimError, ProfileError
from fxsim.model.qtype import QType, QuantParams
from fxsim.numerics import load_numerics
from fxsim.quant.realize import Decision
from fxsim.quant.scheme import Scheme
from fxsim.sim import simulate
from fxsim.train import Network, QuantizedNetwork, fine_tune, quantized
from fxsim.train.quantized import _Emulated
from fxsim.train.weights import binary, ternary
from tests.train.layers import draw

REALS = np.array([-3.0, -1.0, -0.26, 0.0, 0.24, 0.26, 0.9, 1.75, 2.0, 7.0])


def test_straight_through_and_the_step_of_lsq():
    """dv/dx = 1 within -Qn..Qp; dv/ds = -x/s + round(x/s) within, -Qn or Qp beyond; times g."""
    s, low, high, g = 0.5, -4, 3, 0.1
    x = torch.tensor(REALS, dtype=torch.float32, requires_grad=True)
    log2 = torch.tensor(np.log2(s), dtype=torch.float64, requires_grad=True)
    q = np.clip(np.round(REALS / s), low, high)
    v = torch.tensor(s * q, dtype=torch.float32)
    y = _Emulated.apply(x, log2, v, torch.tensor(s * low), torch.tensor(s * high), g)
    assert torch.equal(y, v)
    slope = torch.arange(1.0, len(REALS) + 1)
    y.backward(slope)
    inside = (REALS / s >= low) & (REALS / s <= high)
    assert np.array_equal(x.grad.numpy(), slope.numpy() * inside)
    by_s = np.where(inside, q - REALS / s, q)
    expected = g * np.sum(slope.numpy() * by_s) * s * np.log(2)  # ds/dlog2(s) = s ln 2
    assert np.isclose(log2.grad.item(), expected, rtol=1e-5)


def test_steps_by_channel_get_their_own_slope():
    x = torch.tensor([[0.3, 9.0], [0.3, -9.0]], requires_grad=True)
    log2 = torch.zeros((2, 1), dtype=torch.float64, requires_grad=True)
    v = torch.tensor([[0.0, 3.0], [0.0, -4.0]])
    _Emulated.apply(x, log2, v, torch.tensor([[-4.0], [-4.0]]), torch.tensor([[3.0], [3.0]]), 1.0).sum().backward()
    assert np.allclose(log2.grad.numpy() / np.log(2), [[2.7], [-4.3]])
    assert x.grad.tolist() == [[1.0, 0.0], [1.0, 0.0]]


def fake_quantized(x, log2, low, high, zero=0):
    """LSQ as torch differentiates it: the rounding alone is passed straight through."""
    s = torch.exp2(log2)
    v = (x / s).clamp(low - zero, high - zero)
    return s * (v + (v.round() - v).detach())


def test_slopes_are_those_of_lsq_in_plain_torch():
    """A dense layer of four bits, its weights, bias and all steps, against fake quantization without a simulator."""
    graph, inputs = draw("dense", 12, count=64)
    model = quantized(graph, inputs[0], Scheme(weight_bits=4), numerics="litert-reference")
    with torch.no_grad():  # off the edge, where the greatest weight lies just within the range or just beyond
        for p in model.log2_steps.values():
            p -= 0.1
    slope = torch.linspace(-1, 1, model(inputs).numel()).reshape(model(inputs).shape)
    model(inputs).backward(slope)
    (node,) = graph.nodes
    x, w, b, y = *node.inputs, *node.outputs
    d = model.decisions()
    steps = {i: torch.tensor(d[i].quant.scale, dtype=torch.float64).log2().requires_grad_() for i in (x, w, y)}
    real = {i: torch.tensor(graph.tensors[i].data, dtype=torch.float64).requires_grad_() for i in (w, b)}
    held = fake_quantized(torch.from_numpy(inputs[0]).double(), steps[x], -128, 127, d[x].quant.zero_point[0])
    weight = fake_quantized(real[w], steps[w][:, None], -7, 7)
    grid = (torch.exp2(steps[x]) * torch.exp2(steps[w])).detach()
    bias = real[b] + (grid * (real[b] / grid).round() - real[b]).detach()
    out = (held.reshape(-1, weight.shape[1]) @ weight.T + bias).clamp(0, 6).reshape(slope.shape)
    assert node.attributes.activation == "RELU6"
    held = fake_quantized(out, steps[y], -128, 127, d[y].quant.zero_point[0])
    assert torch.allclose(held, model(inputs).double(), atol=1e-6)
    held.backward(slope.double())
    elements = {
        x: graph.tensors[x].elements * 127,
        w: graph.tensors[w].shape[1] * 7,
        y: graph.tensors[y].elements * 127,
    }
    for i, n in elements.items():
        assert np.allclose(model.log2_steps[str(i)].grad, steps[i].grad / np.sqrt(n), rtol=2e-2, atol=2e-4), i
    for i in (w, b):
        assert np.allclose(model.network.constants[str(i)].grad, real[i].grad, rtol=1e-3, atol=1e-3), i


def test_prescribed_scales_are_not_learned():
    graph, inputs = draw("residual", 2)
    model = quantized(graph, inputs[0])
    (out,) = graph.outputs
    assert str(out) not in model.log2_steps
    assert model.decisions()[out].quant == QuantParams((1 / 256,), (-128,))
    with torch.no_grad():
        for p in model.log2_steps.values():
            p += 0.5
    assert model.decisions()[out].quant == QuantParams((1 / 256,), (-128,))


def test_what_shares_a_scale_has_one_step():
    graph, inputs = draw("joined", 2)
    model = quantized(graph, inputs)
    assert len(model.log2_steps) == 1
    with torch.no_grad():
        for p in model.log2_steps.values():
            p += 0.3
    assert len({d.quant for d in model.decisions().values()}) == 1
    (expected,) = simulate(model.to_graph(), inputs).outputs.values()
    assert np.array_equal(model(inputs).detach().numpy(), expected)


def test_untrained_scales_are_those_that_the_scheme_found():
    from fxsim.quant import quantize

    graph, inputs = draw("residual", 4, count=16)
    (expected,) = simulate(quantize(graph, inputs[0], "int8"), inputs[0]).outputs.values()
    assert np.array_equal(quantized(graph, inputs[0])(inputs[0]).detach().numpy(), expected)


def test_powers_of_two_stay():
    graph, inputs = draw("residual", 2, count=32)
    model = quantized(graph, inputs[0], "int8-pow2")
    fine_tune(model, (inputs[0], np.arange(32) % 4), epochs=3, rate=0.05, step_rate=0.2)
    scales = [s for d in model.decisions().values() for s in d.quant.scale]
    assert all(np.log2(s) == np.round(np.log2(s)) for s in scales)


def test_binary_and_ternary_weights():
    w = torch.tensor([[0.5, -0.1, 0.0, -0.6], [0.2, 0.2, -0.2, 0.1]])
    raw, scale = binary(w, 0)
    assert raw.tolist() == [[1, -1, 1, -1], [1, 1, -1, 1]]
    assert np.allclose(scale, [0.3, 0.175])
    raw, scale = ternary(w, 0)  # thresholds 0.21 and 0.1225
    assert raw.tolist() == [[1, 0, 0, -1], [1, 1, -1, 0]]
    assert np.allclose(scale, [0.55, 0.2])
    assert np.allclose(ternary(torch.zeros(2, 3), 1)[1], 0)
    assert binary(w, None)[1].shape == (1,)


@pytest.mark.parametrize(("rule", "values"), [("binary", {-1, 1}), ("ternary", {-1, 0, 1})])
def test_rules_in_eight_bits_run_on_any_engine(rule, values):
    graph, inputs = draw("residual", 6, count=32)
    model = quantized(graph, inputs[0], "int8", weight_rule=rule)
    fine_tune(model, (inputs[0], np.arange(32) % 4), epochs=2)
    made = model.to_graph()
    for i, _ in model.network.weights():
        assert set(np.unique(made.tensors[i].data)) <= values
    (expected,) = simulate(made, inputs[0], "litert-reference").outputs.values()
    assert np.array_equal(model(inputs[0]).detach().numpy(), expected)


@pytest.mark.parametrize("scheme", ["dynamic", "weight-only-int8"])
def test_float_layers_with_integer_weights(scheme):
    graph, inputs = draw("dense", 8, count=16)
    model = quantized(graph, inputs[0], scheme)
    y = model(inputs[0])
    (expected,) = simulate(model.to_graph(), inputs[0]).outputs.values()
    assert np.array_equal(y.detach().numpy(), expected)
    y.sum().backward()
    assert all(w.grad.abs().sum() > 0 for _, w in model.network.weights())
    assert model.log2_steps
    assert all(p.grad.abs().sum() > 0 for p in model.log2_steps.values())


def test_trains_through_a_register_that_overflows(tmp_path):
    """The arithmetic is data: an accumulator of 12 bits that saturates is in the forward pass, and changes what it gives."""
    toml = tmp_path / "narrow.toml"
    toml.write_text('base = "litert-reference"\n[accumulator]\nbits = 12\noverflow = "saturate"\n')
    graph, inputs = draw("residual", 9, count=16)
    wide, narrow = (quantized(graph, inputs[0], numerics=n) for n in ("litert-reference", load_numerics(str(toml))))
    with torch.no_grad():
        assert not torch.equal(wide(inputs[0]), narrow(inputs[0]))
    fine_tune(narrow, (inputs[0], np.arange(16) % 4), epochs=2)
    (expected,) = simulate(narrow.to_graph(), inputs[0], str(toml)).outputs.values()
    assert np.array_equal(narrow(inputs[0]).detach().numpy(), expected)


def test_the_integers_themselves():
    graph, inputs = draw("conv", 3)
    model = quantized(graph, inputs[0])
    raw, quant = model.integers(inputs[0]), model.decisions()[graph.outputs[0]].quant
    assert raw.dtype == np.int8
    assert np.array_equal(quant.dequantize(raw).astype(np.float32), model(inputs[0]).detach().numpy())


def test_the_float_network_is_left_alone():
    graph, inputs = draw("residual", 2, count=8)
    net = Network(graph)
    before = net(inputs[0]).detach()
    fine_tune(quantized(net, inputs[0]), (inputs[0], np.arange(8) % 4), epochs=2, rate=0.1)
    assert torch.equal(net(inputs[0]).detach(), before)


def test_state_can_be_saved_and_loaded(tmp_path):
    graph, inputs = draw("residual", 2, count=8)
    model = quantized(graph, inputs[0])
    fine_tune(model, (inputs[0], np.arange(8) % 4), epochs=2, rate=0.01)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    other = quantized(graph, inputs[0])
    other.load_state_dict(torch.load(tmp_path / "m.pt", weights_only=True))
    assert torch.equal(other(inputs[0]), model(inputs[0]))


def test_what_cannot_be_trained_is_said():
    graph, inputs = draw("residual", 2)
    with pytest.raises(FxsimError, match="corrections are 'clip'; allowed: none"):
        quantized(graph, inputs[0], "int8+clip")
    with pytest.raises(FxsimError, match="is coded as 'kmeans'; trained: integers of one scale"):
        quantized(graph, inputs[0], "kmeans4")
    with pytest.raises(FxsimError, match="weight rule is 'quinary'; allowed: 'step', 'binary', 'ternary'"):
        quantized(graph, inputs[0], weight_rule="quinary")
    with pytest.raises(ProfileError, match="nonsense"):
        quantized(graph, inputs[0], numerics="nonsense")
    with pytest.raises(FxsimError, match="zero point"):
        quantized(graph, inputs[0], "uint8", weight_rule="binary")
    wrong = {graph.outputs[0]: Decision(QType(8), QuantParams((0.1,), (0,)))}
    assert isinstance(QuantizedNetwork(Network(graph), wrong), QuantizedNetwork)
