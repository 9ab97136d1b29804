"""``fxsim prove``: a claim on the command line. Exit code 0 if it is proved, 1 if it is refuted, 2 on any error."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from fxsim import prove as proving
from fxsim.arith.rounding import RULES
from fxsim.errors import DomainError, listed

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Prove a claim about the arithmetic, or show the least counterexample (exit code 1).",
)  # fmt: skip
err = Console(stderr=True)
NAMED = {f"int{bits}": (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) for bits in (4, 8, 16, 32)}
"""ranges with names"""


class Method(StrEnum):
    """How a claim is decided."""

    auto = "auto"
    enumeration = "enumeration"
    solver = "solver"


class Function(StrEnum):
    """Real functions that have an integer form."""

    exp = "exp"
    logistic = "logistic"
    reciprocal = "reciprocal"
    softmax = "softmax"
    average = "average"


RangeText = Annotated[str | None, typer.Option(metavar="N|LOW:HIGH")]
MethodOption = Annotated[Method, typer.Option(help="Try all inputs, or ask the solver.")]
AtMost = Annotated[str | None, typer.Option(help="The bound to prove, a number or a fraction such as 1/2.")]


def parse_range(option: str, text: str) -> tuple[int, int]:
    """``N``, ``LOW:HIGH`` or a name such as ``int8`` as an inclusive range.

    Raises:
        DomainError: it is none of these.
    """
    if text in NAMED:
        return NAMED[text]
    parts = text.split(":")
    try:
        ends = [int(p, 0) for p in parts]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2) or ends[0] > ends[-1]:
        raise DomainError(f"{option} is {text!r}; allowed: N, LOW:HIGH with LOW <= HIGH, or {listed(NAMED)}")
    return ends[0], ends[-1]


def parse_fraction(option: str, text: str) -> Fraction:
    """A number or a fraction.

    Raises:
        DomainError: it is none.
    """
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as e:
        raise DomainError(f"{option} is {text!r}; allowed: a number or a fraction such as 1/2") from e


@contextmanager
def bar(title: str) -> Iterator[proving.Progress | None]:
    """A progress bar on standard error, where a person sees it."""
    if not err.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, of: shown.update(task, completed=done, total=of)


def answer(claim: proving.AnyClaim, method: Method = Method.auto) -> None:
    """Decides and prints a claim; leaves with exit code 1 if it is refuted."""
    with bar("proving") as progress:
        try:
            result: proving.Certificate | proving.Counterexample = proving.prove(claim, method.value, progress)
        except proving.Refuted as e:
            result = e.counterexample
    proved = isinstance(result, proving.Certificate)
    table = Table(title="proved" if proved else "refuted", title_style="bold green" if proved else "bold red")
    table.add_column("what", no_wrap=True)
    table.add_column("value", overflow="fold")
    for label, text in result.rows():
        table.add_row(label, text)
    show(table)
    if not proved:
        raise typer.Exit(1)


def show(table: Table) -> None:
    """Prints a table on standard output: 140 columns wide where nobody's terminal limits it."""
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table, markup=False, highlight=False)


@app.command()
def equal(
    a: Annotated[str, typer.Argument(help="SCHEME:RULE, such as double_rounding:ties_away.")],
    b: Annotated[str, typer.Argument(help="SCHEME:RULE to hold against it.")],
    acc: RangeText = "int32",
    multiplier: RangeText = f"{1 << 30}:{(1 << 31) - 1}",
    shift: RangeText = "-31:0",
    zero_point: RangeText = None,
    clamp: RangeText = None,
    within: Annotated[int, typer.Option(min=0, help="How far apart the outputs may be.")] = 0,
    method: MethodOption = Method.auto,
) -> None:
    """Two requantizations give the same outputs for all accumulators, multipliers and shifts.

    The scale is multiplier * 2^(shift - 31).
    """
    domain = {
        "acc": parse_range("--acc", acc or "int32"),
        "q": parse_range("--multiplier", multiplier or "0"),
        "shift": parse_range("--shift", shift or "0"),
        "zero_point": None if zero_point is None else parse_range("--zero-point", zero_point),
        "clamp": None if clamp is None else parse_range("--clamp", clamp),
    }
    if within:
        claim = proving.requantization_differs_by_at_most(a, b, within, **domain)  # type: ignore[arg-type]
    else:
        claim = proving.equal_requantization(a, b, **domain)  # type: ignore[arg-type]
    answer(claim, method)


@app.command()
def law(
    name: Annotated[str, typer.Argument(help="A law (see: fxsim prove list).")],
    rule: Annotated[str, typer.Argument(help="A rounding rule (see: fxsim prove list).")],
    value: RangeText = None,
    shift: RangeText = None,
    bound: AtMost = None,
    strict: Annotated[bool, typer.Option(help="error_bound: less than the bound, not equal to it.")] = False,
    method: MethodOption = Method.auto,
) -> None:
    """A rounding rule obeys a law."""
    if name not in proving.LAWS:
        raise DomainError(f"law {name!r}; allowed: {listed(proving.LAWS)}")
    if name != "error_bound" and (bound is not None or strict):
        raise DomainError(f"law {name!r} has no bound; --bound and --strict belong to 'error_bound'")
    given: dict[str, object] = {}
    if value is not None:
        given["period" if name == "unbiased" else "value"] = parse_range("--value", value)
    if shift is not None:
        given["shift"] = parse_range("--shift", shift)
    if name == "error_bound":
        given |= {"bound": parse_fraction("--bound", bound or "1/2"), "strict": strict}
    answer(proving.LAWS[name](rule, **given), method)


@app.command()
def accumulator(
    weights: Annotated[str, typer.Argument(help="The weights of one output: 3,-4,5 or a .npy file of integers.")],
    bits: Annotated[int, typer.Option(min=1, help="Width of the signed register.")],
    inputs: Annotated[str, typer.Option(metavar="LOW:HIGH", help="Inputs less their zero point.")] = "int8",
    bias: Annotated[int, typer.Option(help="The bias.")] = 0,
) -> None:
    """No running sum of a dot product leaves the accumulator, whatever the inputs and the order."""
    low, high = parse_range("--inputs", inputs)
    answer(proving.accumulator_cannot_overflow(parse_weights(weights), low, high, bits, bias))


def parse_weights(text: str) -> list[int]:
    """Integers between commas, or those of a ``.npy`` file.

    Raises:
        DomainError: neither.
    """
    if text.endswith(".npy"):
        import numpy as np

        try:
            array = np.load(Path(text), allow_pickle=False)
        except (OSError, ValueError) as e:
            raise DomainError(f"weights: {text}: cannot be read as .npy: {e}") from e
        if array.dtype.kind not in "iu":
            raise DomainError(f"weights: {text}: the array is of {array.dtype}; allowed: integers")
        return [int(w) for w in array.ravel()]
    try:
        return [int(w, 0) for w in text.split(",")]
    except ValueError as e:
        raise DomainError(f"weights: {text!r}; allowed: integers between commas, or a .npy file") from e


@app.command()
def error(
    function: Annotated[Function, typer.Argument(help="The real function.")],
    at_most: AtMost = None,
    domain: RangeText = None,
    integer_bits: Annotated[int | None, typer.Option(help="exp, logistic: integer bits of the argument.")] = None,
    scale: Annotated[float, typer.Option(help="softmax: the input's scale.")] = 0.1,
    length: Annotated[int, typer.Option(help="softmax: values in a row, 2 or 3.")] = 2,
    rule: Annotated[str, typer.Option(help="average: the rounding rule.")] = "ties_away",
    count: RangeText = "1:64",
) -> None:
    """How far an integer form is from its real function: the worst error and where it is reached."""
    given: dict[str, object] = {"at_most": None if at_most is None else parse_fraction("--at-most", at_most)}
    if domain is not None:
        given["a"] = parse_range("--domain", domain)
    if integer_bits is not None:
        given["integer_bits"] = integer_bits
    makers = {
        Function.exp: proving.exp_error,
        Function.logistic: proving.logistic_error,
        Function.reciprocal: proving.reciprocal_error,
        Function.softmax: proving.softmax_error,
        Function.average: proving.average_pool_error,
    }
    if function is Function.softmax:
        given |= {"scale": scale, "length": length}
    if function is Function.average:
        values = NAMED["int8"] if domain is None else parse_range("--domain", domain)
        given.pop("a", None)
        given |= {"rule": rule, "low": values[0], "high": values[1], "count": parse_range("--count", count or "1")}
    takes = {Function.exp: {"a", "integer_bits"}, Function.logistic: {"a", "integer_bits"}, Function.reciprocal: {"a"}}
    extra = ({"a", "integer_bits"} & given.keys()) - takes.get(function, set())
    if extra:
        option = "--domain" if "a" in extra else "--integer-bits"
        raise DomainError(f"{option} has no meaning for {function.value!r}")
    answer(makers[function](**given))  # type: ignore[operator]


@app.command("list")
def list_all() -> None:
    """List schemes, rounding rules, laws and functions."""
    table = Table(title="what can be proved")
    table.add_column("name", no_wrap=True)
    table.add_column("kind")
    table.add_column("meaning", overflow="fold")
    kinds: dict[str, dict[str, object]] = {
        "scheme": dict(proving.SCHEMES),
        "rounding rule": dict(RULES),
        "law": dict(proving.LAWS),
    }
    for kind, things in kinds.items():
        for name, thing in things.items():
            table.add_row(name, kind, (thing.__doc__ or "").split("\n")[0].replace("``", ""))
    for function in Function:
        table.add_row(function.value, "function", "its integer form is compared with it by: fxsim prove error")
    show(table)
