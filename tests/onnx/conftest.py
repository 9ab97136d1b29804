"""The tally of one op, printed when its test ends."""

from collections.abc import Callable, Iterator

import pytest

from tests.live.cases import publish
from tests.onnx.cases import OnnxTally


@pytest.fixture
def tallies(record_property: Callable[[str, object], None]) -> Iterator[Callable[..., OnnxTally]]:
    """``make(op, numerics)``: a tally of a comparison with ONNX Runtime that is reported at the end."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (the test extra)")
    made: list[OnnxTally] = []

    def make(op: str, numerics: str = "onnxruntime") -> OnnxTally:
        made.append(OnnxTally(op, numerics))
        return made[-1]

    yield make
    publish(made, record_property)
