"""Planted bugs: every single edit of the rounding and overflow core must be seen by the checks that the tests run.

A mutant is a function's own source with one edit: another comparison, another operator, a constant off by one, a
condition negated, a result plus one. Mutants that compute the same are listed, each with the reason why.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch

import pytest

from fxsim.arith import bounds, cast, overflow, requantize, rounding
from tests.arith import test_overflow, test_requantize, test_schemes
from tests.arith.test_overflow import check_policy, check_rule

COMPARE = {ast.Gt: [ast.GtE, ast.Lt], ast.Lt: [ast.LtE, ast.Gt], ast.GtE: [ast.Gt], ast.LtE: [ast.Lt]}
COMPARE |= {ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq]}
OPERATE: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Add],
    ast.BitOr: [ast.BitAnd],
    ast.BitAnd: [ast.BitOr],
    ast.LShift: [ast.RShift],
    ast.RShift: [ast.LShift],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
    ast.Invert: [ast.USub],
    ast.FloorDiv: [ast.Mod],
}
ALL_BITS = ("wrap_bits >= bits  ->  wrap_bits > bits", "all bits taken from the limit are the limit")
SAME = {
    "ties_dpu": [("0  ->  -1", "floor -1 is odd, so the other half of the condition holds")],
    "of_wrap": [ALL_BITS],
    "of_wrap_ones": [
        ("wrap_bits > 0  ->  wrap_bits >= 0", "no bits taken from the limit leave the low bits"),
        ("0  ->  -1", "likewise"),
        ALL_BITS,
    ],
    "of_wrap_sign_magnitude": [ALL_BITS],
    "wrap": [("value + half  ->  value - half", "they differ by the modulus")],
    "from_float": [("value < 0  ->  value <= 0", "0 has no fraction")],
    "held": [("value + half  ->  value - half", "they differ by the modulus")],
    "fit": [
        ("head >= 1  ->  head > 1", "the first one: a shift by 0 is none"),
        ("1  ->  2", "likewise"),
    ],
    "rounded": [
        ("shift <= 62  ->  shift < 62", "both ways are exact at 62"),
        ("62  ->  61", "likewise"),
    ],
    "tosa_double_rounding": [
        ("acc >= 0  ->  acc > 0", "0 is 0 with either nudge"),
        ("0  ->  1", "likewise"),
    ],
    "reciprocal": [("30  ->  31", "no divisor is above 2**30")],
    "cast": [("63  ->  62", "the carry is the second bit or a higher one")],
}
"""function -> the edits that no input can show, each with the reason"""


def swaps(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that an edit may put in the place of ``node``."""
    if isinstance(node, ast.Compare):
        for op in COMPARE.get(type(node.ops[0]), []):
            yield ast.Compare(node.left, [op(), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BinOp):
        for op in OPERATE.get(type(node.op), []):
            yield ast.BinOp(node.left, op(), node.right)
    elif isinstance(node, ast.BoolOp):
        for op in OPERATE[type(node.op)]:
            yield ast.BoolOp(op(), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield from (ast.UnaryOp(op(), node.operand) for op in OPERATE.get(type(node.op), []))
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield from (ast.Constant(node.value + d) for d in (1, -1))
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Tuple):
        yield ast.Return(ast.BinOp(node.value, ast.Add(), ast.Constant(1)))
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.If):
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


class Edit(ast.NodeTransformer):
    """Puts the ``number``-th edit in place, counted over the whole function; ``text`` tells what it was."""

    def __init__(self, number: int) -> None:
        self.left, self.text = number, ""

    def visit(self, node: ast.AST) -> ast.AST:
        for other in swaps(node):
            if self.left == 0:
                self.text = f"{ast.unparse(node).splitlines()[0]}  ->  {ast.unparse(other).splitlines()[0]}"
                self.left -= 1
                return ast.copy_location(other, node)
            self.left -= 1
        return self.generic_visit(node) if self.left >= 0 else node


def mutants(function: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every single edit of a function's body, compiled among the names of its module."""
    source = textwrap.dedent(inspect.getsource(function))
    number = 0
    while True:
        tree = ast.parse(source)
        body = tree.body[0]
        assert isinstance(body, ast.FunctionDef)
        if isinstance(body.body[0], ast.Expr):  # the docstring
            body.body = body.body[1:] or [ast.Pass()]
        edit = Edit(number)
        body.body = [edit.visit(statement) for statement in body.body]
        if not edit.text:
            return
        names = dict(vars(inspect.getmodule(function)))
        exec(compile(ast.fix_missing_locations(tree), f"<{function.__name__}: {edit.text}>", "exec"), names)
        yield edit.text, names[function.__name__]
        number += 1


def killed(check: Callable[[Callable[..., Any]], None], mutant: Callable[..., Any]) -> bool:
    """True if the check fails on the mutant, or the mutant crashes under it."""
    try:
        check(mutant)
    except (AssertionError, ArithmeticError, ValueError, TypeError, MemoryError):
        return True
    return False


def survivors(function: Callable[..., Any], check: Callable[[Callable[..., Any]], None]) -> tuple[list[str], int]:
    """The edits that the check does not see, and how many there were. The function itself must pass."""
    check(function)
    lived, count = [], 0
    for text, mutant in mutants(function):
        count += 1
        if not killed(check, mutant):
            lived.append(text)
    return lived, count


def inner(test: Callable[..., Any]) -> Callable[..., Any]:
    """The body of a hypothesis test, to be called with chosen inputs."""
    body: Callable[..., Any] = test.hypothesis.inner_test  # type: ignore[attr-defined]
    return body


def in_requantize(name: str, runs: Callable[[], None], mutant: Callable[..., Any]) -> None:
    """Runs tests of ``tests/arith/test_requantize.py`` with ``mutant`` in the place of the function they test."""
    with patch.object(test_requantize, name, mutant):
        runs()


def run_double() -> None:
    test_requantize.test_double_rounding_on_every_tie_of_a_small_domain()
    limits = (-(2**31), -(2**31) + 1, -(2**30), -1, 0, 1, 2**30, 2**31 - 1)
    for acc, q, shift in product(limits, (2**30, 2**30 + 1, 3 << 29, 2**31 - 1), (-31, -30, -1, 0, 1, 30)):
        inner(test_requantize.test_double_rounding_equals_tflite_text)(acc, q, shift)


def run_single() -> None:
    limits = (-(2**31), -3, -2, -1, 0, 1, 2, 3, 2**31 - 1)
    for rule, acc, shift in product(rounding.RULES, limits, (-31, -1, 0, 1, 30)):
        inner(test_requantize.test_single_rounding_is_one_rounding)(rule, acc, 3 << 29, shift)


WIDE = (-(2**47), -(2**33) - 1, -3, -2, -1, 0, 1, 2, 3, 2**31, 2**46 + 12345, 2**47 - 1)
FACTORS = (2**30, 2**30 + 2**15 - 1, 2**30 + 2**15, 3 << 29, 0x7FFEFFFF, 0x7FFF0000, 2**31 - 1)


def run_reduced() -> None:
    for acc, q, shift in product(WIDE, FACTORS, (-31, -20, -1, 0, 1, 14)):
        inner(test_requantize.test_reduced_multiplier_equals_tflite_text)(acc, q, shift)


def run_halved() -> None:
    for acc, q, shift in product(WIDE, FACTORS, (-31, -20, -1, 0, 1, 13)):
        inner(test_requantize.test_both_wide_schemes_agree_within_31_bits)(acc, q, shift)
    test_requantize.test_wide_schemes_part_beyond_31_bits()


def run_fifteen() -> None:
    for q in FACTORS:
        inner(test_requantize.test_fifteen_bits_are_rounded_and_limited)(q)


def run_high() -> None:
    for a, q in product((-(2**31), -3, -1, 0, 1, 3, 2**31 - 1), (2**30, 3 << 29, 2**31 - 1)):
        inner(test_requantize.test_high_multiply_is_nearest_ties_up)(a, q)


def run_bits() -> None:
    for a, b in product((*range(-9, 10), -(2**31), 2**31 - 1), repeat=2):
        inner(test_requantize.test_bits_needed_is_least)(a, b)


def run_dot() -> None:
    weights = ([1], [-1], [0], [3, -2], [-3, 2], [5, -7, 1])
    for w, bias, low, high in product(weights, (-40, -1, 0, 1, 40), (-3, -1, 0), (0, 1, 2)):
        inner(test_requantize.test_dot_range_is_reached_and_never_left)(w, bias, low, high)
    for w, (low, high) in product(weights, ((1, 3), (-3, -1))):  # ranges without 0
        inner(test_requantize.test_dot_range_is_reached_and_never_left)(w, 0, low, high)


def check_top(mutant: Callable[..., Any]) -> None:
    with patch.object(overflow, "_top_of", mutant):
        for name in ("wrap", "wrap_ones", "wrap_sign_magnitude"):
            check_policy(name, overflow.OVERFLOWS[name])


def check_held(mutant: Any) -> None:
    """The pattern that a register holds is what a fit makes of it."""
    with patch.object(cast, "held", mutant):
        test_overflow.check_fit(cast.fit)


def check_word(mutant: Callable[..., Any]) -> None:
    with patch.object(cast, "fits_word", mutant):
        test_overflow.check_rounded(cast.rounded)
        test_overflow.check_cast(cast.cast)


SUBJECTS: list[tuple[Callable[..., Any], Callable[[Callable[..., Any]], None]]] = [
    *((f, partial(check_rule, name)) for name, f in rounding.RULES.items()),
    *((f, partial(check_policy, name)) for name, f in overflow.OVERFLOWS.items()),
    *((f, partial(test_overflow.check_accumulator_policy, name)) for name, f in overflow.POLICIES.items()),
    (rounding.shift_right, test_overflow.check_shift_right),
    (rounding.divide, test_overflow.check_divide),
    (rounding.from_float, test_overflow.check_from_float),
    (overflow.lowest, lambda f: test_overflow.check_limits(f, overflow.highest)),
    (overflow.highest, lambda f: test_overflow.check_limits(overflow.lowest, f)),
    (overflow._top_of, check_top),
    (cast.fit, test_overflow.check_fit),
    (cast.held, check_held),
    (cast.fits_word, check_word),
    (cast.rounded, test_overflow.check_rounded),
    (cast.cast, test_overflow.check_cast),
    (requantize.double_rounding, partial(in_requantize, "double_rounding", run_double)),
    (requantize.single_rounding, partial(in_requantize, "single_rounding", run_single)),
    (requantize.reduced_multiplier, partial(in_requantize, "reduced_multiplier", run_reduced)),
    (requantize.reduced_multiplier_halved, partial(in_requantize, "reduced_multiplier_halved", run_halved)),
    (requantize.fifteen_bits, partial(in_requantize, "fifteen_bits", run_fifteen)),
    (requantize.high_multiply, partial(in_requantize, "high_multiply", run_high)),
    *test_schemes.CHECKS.items(),
    (bounds.bits_needed, partial(in_requantize, "bits_needed", run_bits)),
    (bounds.dot_range, partial(in_requantize, "dot_range", run_dot)),
]


@pytest.mark.parametrize(("function", "check"), SUBJECTS, ids=lambda x: getattr(x, "__name__", ""))
def test_every_planted_bug_is_seen(function, check, record_property):
    lived, count = survivors(function, check)
    assert count >= 1, "no bug was planted"
    assert sorted(lived) == sorted(text for text, _ in SAME.get(function.__name__, []))
    record_property("mutants", count - len(lived))


def test_every_rule_and_policy_is_a_subject():
    functions = [f for f, _ in SUBJECTS]
    for f in (*rounding.RULES.values(), *overflow.OVERFLOWS.values(), *overflow.POLICIES.values()):
        assert f in functions


def test_no_rule_or_policy_passes_as_another():
    """Confusion of names is a bug too, and no check lets it through."""
    for check, functions in ((check_rule, rounding.RULES), (check_policy, overflow.OVERFLOWS)):
        for name, (other, function) in product(functions, functions.items()):
            assert killed(partial(check, name), function) == (name != other), (name, other)
