"""What differs is said in words that people read."""

import msgspec
import pytest

import fxsim
from fxsim.diagnose import quirks

USUAL = fxsim.load_numerics("tflm").of("CONV_2D", "int8")


def test_every_quirk_has_words():
    said = set()
    for several in (quirks.REQUANTIZE | quirks.SUMS).values():
        for q in several:
            for words in quirks.tell(q.apply(USUAL), USUAL):
                assert words and "_" not in words and " of 0" not in words and " 0 bits" not in words, words
            if q.apply(USUAL) != USUAL:
                said.add(quirks.tell(q.apply(USUAL), USUAL)[0])
    assert len(said) > 150


@pytest.mark.parametrize("name", fxsim.list_numerics())
def test_shipped_profiles_are_told_in_words(name):
    profile = fxsim.load_numerics(name)
    for op in ("CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D", "SOFTMAX", "ADD"):
        for words in quirks.tell(profile.of(op), USUAL):
            assert "_" not in words, words


def test_what_does_nothing_is_not_said():
    laned = msgspec.structs.replace(
        USUAL, requantize=msgspec.structs.replace(USUAL.requantize, lanes=8, lanes_over="elements")
    )
    assert quirks.tell(laned, USUAL) == ("in blocks of 8, over elements", "not in blocks")
    shifted = msgspec.structs.replace(
        USUAL, accumulator=msgspec.structs.replace(USUAL.accumulator, product_shift=2, product_rounding="ties_pos")
    )
    assert quirks.tell(shifted, USUAL) == ("products shifted right by 2, rounded, ties up", "products not shifted")
