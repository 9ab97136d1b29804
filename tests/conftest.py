"""Shared set-up: the corpus of golden models, and one hypothesis profile without time limits."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "fxsim", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("fxsim")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder with golden models; tests that read it are skipped where FXSIM_CORPUS does not name one."""
    folder = os.environ.get("FXSIM_CORPUS", "")
    if not folder:
        pytest.skip("FXSIM_CORPUS is not set: it names the folder with golden models")
    path = Path(folder)
    assert (path / "golden").is_dir(), f"FXSIM_CORPUS is {folder!r}, which holds no golden/"
    return path
