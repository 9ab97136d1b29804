"""Casts against every vector of SystemC 2.3.4, Xilinx ap_types and ac_types: compiled, and on Python ints."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from fxsim.arith.cast import cast
from fxsim.fixed.names import overflow_rule, rounding_name, rounding_rule
from fxsim.kernels.cast import cast_raw

pytestmark = pytest.mark.corpus
TOTALS = {"systemc": 2_107_168, "ap_fixed": 936_768, "ac_fixed": 460_800}
CASES = {"systemc": 6_832, "ap_fixed": 1_848, "ac_fixed": 896}
PART = {"systemc": 10}
"""how many cases there are for each one that Python ints compute, unless FXSIM_LONG is set"""
dialects = pytest.mark.parametrize("dialect", TOTALS)


class Case(NamedTuple):
    """One source, target, quantization and overflow mode, with all of its vectors."""

    shift: int
    bits: int
    signed: bool
    rounding: str
    overflow: str
    wrap_bits: int
    raw: np.ndarray
    expected: np.ndarray


def read_cases(corpus: Path, dialect: str) -> Iterator[Case]:
    """The cases of ``vectors/<dialect>_golden.npz``; schema in ``vectors/README.md``."""
    with np.load(corpus / "vectors" / f"{dialect}_golden.npz", allow_pickle=False) as z:
        data = {name: z[name] for name in z.files}
    schema, place = json.loads(str(data["schema"])), {"out_small": 0, "out_big": 0}
    columns = zip(
        data["cases"].tolist(), data["count"].tolist(), data["kind"].tolist(), data["input_offset"], strict=True
    )
    for (bits, whole, signed, to_bits, to_whole, to_signed, q, o, n), count, kind, offset in columns:
        if kind == 0:
            low = -(1 << (bits - 1)) if signed else 0
            raw = np.arange(low, low + (1 << bits))
        else:
            raw = data["pool"][offset : offset + count]
        assert raw.size == count
        out = "out_small" if kind == 0 else "out_big"
        start, place[out] = place[out], place[out] + count
        shift = (bits - whole) - (to_bits - to_whole)
        yield Case(
            shift,
            to_bits,
            bool(to_signed),
            f"{dialect}:{schema['q'][q]}",
            f"{dialect}:{schema['o'][o]}",
            n,
            raw,
            data[out][start : start + count].astype(np.int64),
        )
    assert place == {name: data[name].size for name in place}, "vectors are left over"


@dialects
def test_compiled_casts_equal_all_vectors(corpus, dialect):
    compared = wrong = cases = 0
    first = None
    for c in read_cases(corpus, dialect):
        policy = overflow_rule(c.overflow)
        out = np.empty(c.raw.size, np.int64)
        kernel = cast_raw(rounding_name(c.rounding), policy.name)
        kernel(c.raw.astype(np.int64), c.shift, c.bits, c.signed, c.wrap_bits, policy.quirk, out)
        bad = np.flatnonzero(out != c.expected)
        if bad.size and first is None:
            first = c._replace(raw=c.raw[bad[:1]], expected=c.expected[bad[:1]]), int(out[bad[0]])
        compared, wrong, cases = compared + c.raw.size, wrong + bad.size, cases + 1
    assert wrong == 0, (wrong, first)
    assert (compared, cases) == (TOTALS[dialect], CASES[dialect])


@dialects
def test_casts_on_python_ints_equal_the_vectors(corpus, dialect):
    """All of ap_fixed and ac_fixed; of systemc every tenth case, or all of them with FXSIM_LONG=1."""
    step = 1 if os.environ.get("FXSIM_LONG") else PART.get(dialect, 1)
    compared, seen = 0, set()
    for i, c in enumerate(read_cases(corpus, dialect)):
        if i % step:
            continue
        rule, policy = rounding_rule(c.rounding), overflow_rule(c.overflow)
        values, expected = c.raw.tolist(), c.expected.tolist()
        got = [cast(rule, policy.function, v, c.shift, c.bits, c.signed, c.wrap_bits, policy.quirk) for v in values]
        if got != expected:
            at = next(j for j, pair in enumerate(zip(got, expected, strict=True)) if pair[0] != pair[1])
            pytest.fail(f"{c._replace(raw=values[at], expected=expected[at])}: got {got[at]}")
        compared += len(values)
        seen.add((c.rounding, c.overflow, c.wrap_bits))
    if step == 1:
        assert compared == TOTALS[dialect]
    else:
        assert compared > TOTALS[dialect] // (2 * step)
        assert {r for r, _, _ in seen} == {c.rounding for c in read_cases(corpus, dialect)}
        assert {(o, n) for _, o, n in seen} == {(c.overflow, c.wrap_bits) for c in read_cases(corpus, dialect)}
