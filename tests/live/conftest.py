"""The tally of one op on one engine, printed when its test ends."""

from collections.abc import Callable, Iterator

import pytest

from tests.live.cases import ENGINES, LITERT, Tally, publish

MODULES = {n: "ai_edge_litert" if n in LITERT else "tflite_micro" for n in ENGINES}


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    """The numerics profile under test; skips where its engine is not installed."""
    name: str = request.param
    pytest.importorskip(MODULES[name], reason=f"needs {MODULES[name]} (the test extra)")
    return name


@pytest.fixture
def tallies(record_property: Callable[[str, object], None]) -> Iterator[Callable[[str, str], Tally]]:
    """``make(op, engine)``: a tally that is reported at the end."""
    made: list[Tally] = []

    def make(op: str, engine: str) -> Tally:
        made.append(Tally(op, engine))
        return made[-1]

    yield make
    publish(made, record_property)


@pytest.fixture
def tally(request: pytest.FixtureRequest, engine: str, tallies: Callable[[str, str], Tally]) -> Tally:
    """The tally of the test, named after it."""
    return tallies(request.node.originalname.removeprefix("test_").upper(), engine)


@pytest.fixture(params=LITERT)
def litert(request: pytest.FixtureRequest, tallies: Callable[[str, str], Tally]) -> Callable[[str], Tally]:
    """``litert(op)``: a tally for what only LiteRT takes; skips where it is not installed."""
    pytest.importorskip("ai_edge_litert", reason="needs ai_edge_litert (the test extra)")
    return lambda op: tallies(op, request.param)
