"""The field's names of rounding rules and overflow policies.

One word means different rules in different libraries, so a foreign name is always ``dialect:NAME``; a bare foreign word
is an error that lists what it could mean. fxsim's own names (``ties_even``, ``saturate``) need no dialect.

Source: the columns of systemc, ap_fixed and ac_fixed are checked against their vectors, those of apytypes, fxpmath and
qonnx against the live libraries in the tests; matlab, tosa, tflite and the others are read from their documentation.
"""

from typing import NamedTuple

from fxsim.arith.cast import LOST_CARRY, RAW_CARRY
from fxsim.arith.overflow import OVERFLOWS, Overflow
from fxsim.arith.rounding import RULES, Rule
from fxsim.errors import ProfileError, listed

STOCHASTIC = ("stochastic_weighted", "stochastic_equal", "stochastic_coin")
"""rules that need random bits: see :mod:`fxsim.fixed.stochastic`"""


def _hls(prefix: str) -> dict[str, str]:
    names = ("TRN", "TRN_ZERO", "RND", "RND_ZERO", "RND_MIN_INF", "RND_INF", "RND_CONV")
    rules = ("to_neg", "to_zero", "ties_pos", "ties_zero", "ties_neg", "ties_away", "ties_even")
    return {prefix + n: r for n, r in zip(names, rules, strict=True)}


def _each(**names: str) -> dict[str, str]:
    return {n: rule for rule, words in names.items() for n in words.split()}


ROUNDING: dict[str, dict[str, str]] = {
    "systemc": _hls("SC_"),
    "ap_fixed": _hls("AP_"),
    "ac_fixed": _hls("AC_") | {"AC_RND_CONV_ODD": "ties_odd"},
    "apytypes": {
        "TO_NEG": "to_neg",
        "TRN": "to_neg",
        "TO_POS": "to_pos",
        "TRN_INF": "to_pos",
        "TO_ZERO": "to_zero",
        "TRN_ZERO": "to_zero",
        "TO_AWAY": "to_away",
        "TRN_AWAY": "to_away",
        "TRN_MAG": "trn_mag",
        "TIES_POS": "ties_pos",
        "RND": "ties_pos",
        "TIES_NEG": "ties_neg",
        "RND_MIN_INF": "ties_neg",
        "TIES_ZERO": "ties_zero",
        "RND_ZERO": "ties_zero",
        "TIES_AWAY": "ties_away",
        "RND_INF": "ties_away",
        "TIES_EVEN": "ties_even",
        "RND_CONV": "ties_even",
        "TIES_ODD": "ties_odd",
        "RND_CONV_ODD": "ties_odd",
        "JAM": "jam",
        "JAM_UNBIASED": "jam_unbiased",
        "STOCH_WEIGHTED": "stochastic_weighted",
        "STOCH_EQUAL": "stochastic_coin",
    },
    "matlab": {
        "Floor": "to_neg",
        "Ceiling": "to_pos",
        "Zero": "to_zero",
        "Fix": "to_zero",
        "Nearest": "ties_pos",
        "Round": "ties_away",
        "Convergent": "ties_even",
    },
    "qonnx": {
        "FLOOR": "to_neg",
        "CEIL": "to_pos",
        "DOWN": "to_zero",
        "UP": "to_away",
        "HALF_UP": "ties_away",
        "HALF_DOWN": "ties_zero",
        "HALF_EVEN": "ties_even",
        "ROUND": "ties_even",
    },
    "fxpmath": _each(
        to_neg="floor bit_trunc bit_truncation down roundTowardNegative SC_TRN",
        to_pos="ceil up roundTowardPositive",
        to_zero="trunc fix to_zero roundTowardZero SC_TRN_ZERO",
        ties_pos="nearest_posinf nearest_ties_to_posinf roundTiesToPositive SC_RND",
        ties_neg="nearest_neginf nearest_ties_to_neginf SC_RND_MIN_INF",
        ties_zero="nearest_zero nearest_ties_to_zero SC_RND_ZERO",
        ties_away="nearest_away nearest_ties_away roundTiesToAway SC_RND_INF",
        ties_even="around nearest_even roundTiesToEven SC_RND_CONV",
    ),
    "qformatpy": {
        "TRUNC": "to_neg",
        "CEIL": "to_pos",
        "TO_ZERO": "to_zero",
        "AWAY": "to_away",
        "HALF_UP": "ties_pos",
        "HALF_DOWN": "ties_neg",
        "HALF_ZERO": "ties_zero",
        "HALF_AWAY": "ties_away",
        "HALF_EVEN": "ties_even",
    },
    "fixedpoint": {
        "down": "to_neg",
        "up": "to_pos",
        "in": "to_zero",
        "nearest": "ties_pos",
        "out": "ties_away",
        "convergent": "ties_even",
    },
    "tosa": {"SINGLE_ROUND": "ties_pos"},
    "tflite": {"SINGLE_ROUNDING": "ties_pos", "TfLiteRound": "ties_away", "RoundingDivideByPOT": "ties_away"},
    "tvm": {"UPWARD": "ties_pos", "TONEAREST": "ties_away"},
    "vela": {"TRUNCATE": "to_zero", "NATURAL": "ties_pos"},
    "aie": {
        "floor": "to_neg",
        "positive_inf": "ties_pos",
        "symmetric_inf": "ties_away",
        "conv_even": "ties_even",
        "conv_odd": "ties_odd",
    },
    "brevitas": {
        "ROUND": "ties_even",
        "FLOOR": "to_neg",
        "CEIL": "to_pos",
        "ROUND_TO_ZERO": "to_zero",
        "DPU": "ties_dpu",
    },
    "dpu": {"DPU_ROUND": "ties_pos"},
}
"""dialect -> name -> rule"""

OVERFLOW: dict[str, dict[str, str]] = {
    "systemc": {
        "SC_WRAP": "wrap",
        "SC_SAT": "saturate",
        "SC_SAT_SYM": "saturate_symmetric",
        "SC_SAT_ZERO": "zero",
        "SC_WRAP_SM": "wrap_sign_magnitude",
    },
    "ap_fixed": {
        "AP_WRAP": "wrap_ones",
        "AP_SAT": "saturate",
        "AP_SAT_SYM": "saturate_symmetric_hls",
        "AP_SAT_ZERO": "zero",
        "AP_WRAP_SM": "wrap_sign_magnitude_hls",
    },
    "ac_fixed": {
        "AC_WRAP": "wrap",
        "AC_SAT": "saturate",
        "AC_SAT_SYM": "saturate_symmetric_hls",
        "AC_SAT_ZERO": "zero",
    },
    "apytypes": {"WRAP": "wrap", "SAT": "saturate", "NUMERIC_STD": "numeric_std"},
    "matlab": {"Wrap": "wrap", "Saturate": "saturate"},
    "fxpmath": {"saturate": "saturate", "wrap": "wrap"},
    "qformatpy": {"WRAP": "wrap", "SAT": "saturate", "ERROR": "error"},
    "fixedpoint": {"clamp": "saturate", "wrap": "wrap"},
    "numfi": {"Wrap": "wrap", "Saturate": "saturate", "Error": "error"},
    "fpbinary": {"wrap": "wrap", "sat": "saturate", "excep": "error"},
}
"""dialect -> name -> policy"""

QUIRKS = {"ap_fixed:AP_WRAP_SM": RAW_CARRY, "ac_fixed:AC_SAT": LOST_CARRY, "ac_fixed:AC_SAT_SYM": LOST_CARRY}
"""known deviations of a dialect from SystemC that are not in the policy itself: see :mod:`fxsim.arith.cast`"""


class OverflowRule(NamedTuple):
    """A policy as a cast needs it."""

    name: str
    function: Overflow
    quirk: int
    raises: bool
    """an overflow is an error; ``function`` does not matter then"""


def resolve(name: str, own: tuple[str, ...], dialects: dict[str, dict[str, str]], what: str) -> str:
    """Fxsim's own name of what ``name`` says.

    Raises:
        ProfileError: on a name or a dialect that there is not, and on a bare word of other libraries.
    """
    if not isinstance(name, str):
        raise ProfileError(f"{what} is {name!r}; allowed: a name, such as {own[0]!r}")
    dialect, colon, word = name.partition(":")
    if not colon:
        if name in own:
            return name
        meanings = [f"{d}:{n} ({rule})" for d, names in dialects.items() for n, rule in names.items() if n == name]
        if meanings:
            raise ProfileError(f"{what} {name!r} is another library's word; say which: {', '.join(meanings)}")
        raise ProfileError(f"{what} is {name!r}; allowed: {listed(own)}, or dialect:NAME with {listed(dialects)}")
    if dialect not in dialects:
        raise ProfileError(f"{what} is {name!r}: no dialect {dialect!r}; there are: {listed(dialects)}")
    if word not in dialects[dialect]:
        raise ProfileError(f"{what} is {name!r}; {dialect} has: {listed(dialects[dialect])}")
    return dialects[dialect][word]


def rounding_name(name: str) -> str:
    """Fxsim's name of a rounding rule, stochastic ones included."""
    return resolve(name, (*RULES, *STOCHASTIC), ROUNDING, "rounding")


def rounding_rule(name: str) -> Rule:
    """The rule of that name; stochastic ones have none, since they need random bits."""
    own = rounding_name(name)
    if own in STOCHASTIC:
        raise ProfileError(f"rounding is {name!r}, which needs random bits; allowed here: {listed(RULES)}")
    return RULES[own]


def overflow_rule(name: str) -> OverflowRule:
    """The policy of that name."""
    own = resolve(name, (*OVERFLOWS, "error"), OVERFLOW, "overflow")
    return OverflowRule(own, OVERFLOWS.get(own, OVERFLOWS["wrap"]), QUIRKS.get(name, 0), own == "error")
