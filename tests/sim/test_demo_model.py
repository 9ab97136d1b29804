"""The shipped model against its recordings, without the corpus."""

from importlib.resources import files

import numpy as np
import pytest

import fxsim

DATA = files("fxsim") / "data"


@pytest.fixture(scope="module")
def model():
    return fxsim.read(str(DATA / "digits_int8.tflite"))


@pytest.fixture(scope="module")
def recordings():
    with np.load(str(DATA / "digits_recordings.npz"), allow_pickle=False) as z:
        return {k: z[k] for k in z.files}


@pytest.mark.parametrize("engine", ["litert-reference", "tflm"])
def test_every_tensor_of_both_engines(model, recordings, engine):
    trace = fxsim.simulate(model, recordings["inputs"], engine, keep="all")
    prefix = engine.replace("-", "_") + "_tensor_"
    dump = {k.removeprefix(engine.replace("-", "_") + "_"): v for k, v in recordings.items() if k.startswith(prefix)}
    result = fxsim.compare(trace, dump)
    assert len(result.rows) == len(model.nodes)
    assert (result.mismatches, result.elements) == (0, 117600)


def test_the_engines_part_at_dense1(model, recordings):
    a, b = (fxsim.simulate(model, recordings["inputs"], n, keep="all") for n in ("litert-reference", "tflm"))
    first = fxsim.compare(a, b).first_divergence
    assert first is not None
    assert (first.op, first.name) == ("FULLY_CONNECTED", "dense1")
    assert first.mismatches == 8
