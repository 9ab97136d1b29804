"""The forward pass of a quantized network against the simulator on the exported file, and against the live engines.

``FXSIM_LONG=1`` draws 10,000 layers; ``FXSIM_TRAIN_LAYERS`` any other number.
"""

import os

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch (the torch extra)")

import torch

from fxsim.errors import FxsimError, UnsupportedOp
from fxsim.exporters.tflite import encode
from fxsim.importers import parse
from fxsim.sim import simulate
from fxsim.train import Network, QuantizedNetwork
from tests import engines
from tests.train.layers import LAYERS, SCHEMES, decide, draw

COUNT = int(os.environ.get("FXSIM_TRAIN_LAYERS") or (10_000 if os.environ.get("FXSIM_LONG") else 400))
LIVE = max(60, COUNT // 20)


def drawn(n):
    """Case ``n``: the module, its inputs, the numerics' name, and whether a file can hold it."""
    rng = np.random.default_rng(n)
    kind = list(LAYERS)[n % len(LAYERS)]
    name, scheme, numerics = SCHEMES[int(rng.integers(len(SCHEMES)))]
    numerics = numerics[int(rng.integers(len(numerics)))]
    graph, inputs = draw(kind, n)
    network = Network(graph)
    with torch.no_grad():
        real = {i: v.numpy() if len(v) > 1 else v[0].numpy() for i, v in network.values(inputs).items()}
    rule = "ternary" if scheme.weight_bits == 2 and rng.random() < 0.5 else None
    module = QuantizedNetwork(network, decide(graph, real, scheme, n), numerics, rule)
    return module, inputs, numerics, f"{n}: {kind} {name} as {numerics}"


def moved(module, inputs):
    """One step of training, so that weights and scales are no longer those that were decided."""
    y = module(inputs)
    slope = torch.autograd.grad(
        y.square().mean(), [p for p in module.parameters() if p.requires_grad], allow_unused=True
    )
    with torch.no_grad():
        for p, g in zip([p for p in module.parameters() if p.requires_grad], slope, strict=True):
            if g is not None:
                assert torch.isfinite(g).all()
                p -= 0.05 * g.clamp(-1, 1)


def test_equals_the_simulator_on_the_file():
    done, through_file, elements, differ = 0, 0, 0, []
    refused = {}
    n = 0
    while done < COUNT:
        module, inputs, numerics, case = drawn(n)
        n += 1
        try:
            moved(module, inputs)
            y = module(inputs)
        except UnsupportedOp as e:
            key = case.split(": ")[1]
            refused[key] = str(e)
            continue
        graph = module.to_graph()
        try:
            graph = parse(encode(graph), "file.tflite")
            through_file += 1
        except FxsimError:  # bits that the format has not
            pass
        expected = simulate(graph, inputs, numerics).outputs
        (real,) = expected.values()
        elements += real.size
        if not np.array_equal(real, y.detach().numpy()):
            differ.append(case)
        with torch.no_grad():
            assert torch.equal(module(inputs), y.detach()), case
        done += 1
    print(
        f"{done} layers, {through_file} through a file, {elements} elements, {len(differ)} differ; {n - done} refused"
    )
    assert not differ, differ[:5]
    assert n - done < n / 4, refused


def test_equals_the_live_engines():
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert (the test extra)")
    live = {
        "litert-reference": lambda c, x, i: engines.litert_reference(c, x)[i],
        "litert-xnnpack": lambda c, x, i: engines.litert_xnnpack(c, x)[0],
        "litert-optimized": lambda c, x, i: engines.litert_optimized(c, x)[i],
    }
    done, kinds, refused, n = 0, set(), 0, 0
    while done < LIVE:
        module, inputs, numerics, case = drawn(n)
        n += 1
        if numerics not in live:
            continue
        try:
            moved(module, inputs)
            y = module(inputs).detach().numpy()
            graph = module.to_graph()
            content = encode(graph)
            for k in range(len(y)):
                got = live[numerics](content, [x[k] for x in inputs], graph.outputs[0])
                assert np.array_equal(got, y[k]), case
        except (UnsupportedOp, engines.Refused):
            refused += 1
            continue
        done += 1
        kinds.add(case.split()[1])
    assert len(kinds) > 12
    assert refused < done
