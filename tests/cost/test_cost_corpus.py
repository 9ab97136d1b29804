"""Whole networks against published measurements and Vela."""

import os
from pathlib import Path

import pytest

from fxsim.report.cost import estimate

CORPUS = os.environ.get("FXSIM_CORPUS")
pytestmark = [pytest.mark.corpus, pytest.mark.skipif(not CORPUS, reason="FXSIM_CORPUS is not set")]
MODELS = {"ad": "ad01_int8", "ic": "resnet8_int8", "kws": "kws_int8", "vww": "vww_int8"}

VELA_CYCLES = {"ad": 201_184, "ic": 201_747, "kws": 89_900, "vww": 220_870}
"""ethos-u-vela 5.2.0, Ethos-U55-128, Ethos_U55_High_End_Embedded, Shared_Sram"""


def model(name):
    return Path(str(CORPUS)) / "models" / f"{MODELS[name]}.tflite"


@pytest.mark.parametrize("name", MODELS)
def test_ethos_u55_is_near_vela(name):
    cycles = estimate(model(name), "ethos-u55-128").totals()["cycles"]
    assert cycles == pytest.approx(VELA_CYCLES[name], rel=0.01)
