"""What warmup makes ready is what common networks use."""

import pytest

import fxsim
from fxsim.kernels import isa
from fxsim.numerics import load_numerics
from fxsim.sim.plan import plan_of
from fxsim.warmup import PROFILES, common, needs


def kernels(graph, numerics):
    steps = plan_of(graph, load_numerics(numerics)).steps
    return {(s.native.function.func, s.native.function.args) for s in steps if s.native}


@pytest.mark.parametrize("numerics", PROFILES)
def test_every_common_layer_can_be_made_ready(numerics):
    for graph in common():
        assert needs(graph, numerics), graph.name


@pytest.mark.corpus
@pytest.mark.skipif(not isa.compiled(), reason="kernels are not compiled")
@pytest.mark.parametrize("numerics", PROFILES)
def test_common_networks_find_nearly_all_ready(corpus, numerics):
    ready = set().union(*(kernels(g, numerics) for g in common()))
    for name in ("kws_int8", "resnet8_int8", "ad01_int8", "mobilenet_v2", "kws_mobilenetv2"):
        wanted = kernels(fxsim.read(corpus / "models" / f"{name}.tflite"), numerics)
        assert len(wanted - ready) <= 2, name
