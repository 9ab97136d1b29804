"""Printed dumps: tables of numbers, hexadecimal words, C arrays, logs of a serial line."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fxsim.diagnose.formats.base import Entry, smallest
from fxsim.errors import DumpError, NoArrays

NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)(?![\w.])", re.IGNORECASE)
LONGEST = 64
"""characters of a number"""
SEPARATORS = re.compile(r"[\s,;|\[\](){}]*")
C_TYPES = {
    "int8_t": np.int8, "q7_t": np.int8, "signed char": np.int8, "uint8_t": np.uint8, "unsigned char": np.uint8,
    "int16_t": np.int16, "q15_t": np.int16, "short": np.int16, "uint16_t": np.uint16, "int32_t": np.int32,
    "q31_t": np.int32, "int": np.int32, "uint32_t": np.uint32, "int64_t": np.int64, "float": np.float32,
    "double": np.float64,
}  # fmt: skip
"""declared element type -> numpy; plain ``char`` says nothing of its sign"""


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace")


def _parse(token: str) -> int | float:
    sign = -1 if token.startswith("-") else 1
    body = token.lstrip("+-")
    if body[:2].lower() == "0x":
        return sign * int(body, 16)
    return int(token) if body.isdecimal() else float(token)


def _numbers(text: str, at: int = 0) -> list[int | float] | None:
    """All numbers of a text from ``at`` on that holds nothing else but separators, or None."""
    result: list[int | float] = []
    while True:
        skipped = SEPARATORS.match(text, at)
        at = skipped.end() if skipped else at
        if at == len(text):
            return result
        found = NUMBER.match(text, at)
        if not found or len(found[0]) > LONGEST:
            return None
        result.append(_parse(found[0].rstrip("fFuUlL") if "x" not in found[0].lower() else found[0]))
        at = found.end()


def _entry(name: str, numbers: list[int | float], place: str, *, stray: bool = False) -> Entry:
    return Entry(name, smallest(numbers), place, exact=False, stray=stray)


def csv(path: Path) -> list[Entry]:
    """Numbers alone, however separated, also below a header; or rows that begin with a name."""
    text = re.sub(r"#.*", "", _text(path))
    whole = _numbers(text)
    if whole:
        return [_entry(path.stem, whole, path.name)]
    header, _, below = text.lstrip().partition("\n")
    if under := _numbers(below):
        several = re.search(r"[,;\t]", header)
        return [_entry(path.stem if several else header.strip().strip("\"'"), under, path.name)]
    rows: dict[str, list[int | float]] = {}
    for n, line in enumerate(text.splitlines(), 1):
        name, *rest = re.split(r"[,;\t]", line, maxsplit=1)
        numbers = _numbers(rest[0]) if rest else None
        if not line.strip() or (n == 1 and not numbers):
            continue
        if not numbers or _numbers(name) is not None:
            raise DumpError(f"{path}: line {n}: {line[:60]!r}; allowed: numbers, or a name and then numbers")
        rows.setdefault(name.strip().strip("\"'"), []).extend(numbers)
    if not rows:
        raise NoArrays(f"{path}: holds no numbers")
    return [_entry(k, v, k) for k, v in rows.items()]


def hexadecimal(path: Path) -> list[Entry]:
    """Words of ``$readmemh`` (2, 4 or 8 digits, ``@address`` counts words), or Intel HEX."""
    text = re.sub(r"//.*|/\*.*?\*/", "", _text(path), flags=re.DOTALL if "/*" in _text(path) else 0)
    if text.lstrip().startswith(":"):
        return [Entry(path.stem, np.frombuffer(_intel_hex(text, path), np.uint8), path.name, raw=True)]
    words = [w for w in text.split() if not w.startswith("@")]
    starts = [int(w[1:], 16) for w in text.split() if re.fullmatch(r"@[0-9a-fA-F]+", w)]
    widths = {len(w.removeprefix("0x")) for w in words}
    if not words or len(widths) != 1 or not widths <= {2, 4, 8} or len(starts) > 1:
        raise DumpError(
            f"{path}: has words of {sorted(widths)} digits and {len(starts)} addresses; "
            "allowed: words of 2, 4 or 8 hexadecimal digits, all alike, at one address"
        )
    try:
        data = b"".join(bytes.fromhex(w.removeprefix("0x"))[::-1] for w in words)
    except ValueError as e:
        raise DumpError(f"{path}: is not hexadecimal: {e}") from None
    return [Entry(path.stem, np.frombuffer(data, np.uint8), path.name, raw=True)]


def _intel_hex(text: str, path: Path) -> bytes:
    result = bytearray()
    base = start = -1
    for n, line in enumerate(text.split(), 1):
        try:
            record = bytes.fromhex(line.removeprefix(":"))
        except ValueError:
            record = b""
        if len(record) < 5 or len(record) != record[0] + 5 or sum(record) % 256:
            raise DumpError(f"{path}: record {n}: length or checksum is wrong")
        if record[3] == 4:
            base = int.from_bytes(record[4:6], "big") << 16
        if record[3] == 0:
            at = max(base, 0) + int.from_bytes(record[1:3], "big")
            start = at if start < 0 else start
            if at - start != len(result):
                raise DumpError(f"{path}: record {n}: address {at:#x} leaves a gap; allowed: one block")
            result += record[4:-1]
    return bytes(result)


DECLARED = re.compile(
    r"(?:(?P<type>\b(?:unsigned|signed)\s+char|\b\w+)\s+)?\*?\s*(?P<name>\b[A-Za-z_]\w*)\s*"
    r"(?P<sizes>(?:\[[^\]]*\]\s*)+)(?:[A-Za-z_]\w*+\s*+(?:\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))?+\s*+)*+=\s*\{"
)


def c_arrays(path: Path) -> list[Entry]:
    """Initialized arrays of a C source, with the type and sizes that it declares."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", _text(path), flags=re.DOTALL)
    found = []
    for m in DECLARED.finditer(text):
        end, depth = m.end(), 1
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        body = re.sub(r"(?<=[0-9a-fA-F.])[uUlLfF]+(?=\s*[,}\s]|$)", _no_suffix, text[m.end() : end - 1])
        numbers = _numbers(body)
        if depth or not numbers:
            continue
        kind = C_TYPES.get(" ".join((m["type"] or "").split()))
        values = smallest(numbers)
        if kind is not None:
            values = _declared(values, np.dtype(kind), f"{path}: {m['name']}")
        sizes = [int(s) for s in re.findall(r"\[\s*(\d+)\s*\]", m["sizes"])]
        if len(sizes) == m["sizes"].count("[") and int(np.prod(sizes)) == values.size:
            values = values.reshape(sizes)
        found.append(Entry(m["name"], values, m["name"], exact=kind is not None, stray=True))
    if not found:
        raise NoArrays(f"{path}: holds no initialized array of numbers")
    return found


def _no_suffix(m: re.Match[str]) -> str:
    """A suffix of a decimal constant goes; the same letters may be digits of a hexadecimal one."""
    before = re.search(r"0[xX][0-9a-fA-F]*$", m.string[: m.start()])
    return re.sub(r"[uUlL]+$", "", m[0]) if before else ""


def _declared(values: np.ndarray, kind: np.dtype, where: str) -> np.ndarray:
    if kind.kind == "f":
        return values.astype(kind)
    limits = np.iinfo(kind)
    if values.dtype.kind == "f" or values.min() < limits.min:
        raise DumpError(f"{where}: holds {values.min()}; allowed: what {kind} holds")
    if values.max() > limits.max:  # 0xFB for -5
        unsigned = np.dtype(f"u{kind.itemsize}")
        if values.min() < 0 or values.max() > np.iinfo(unsigned).max:
            raise DumpError(f"{where}: holds {values.max()}; allowed: what {kind} holds")
        return values.astype(unsigned).view(kind)
    return values.astype(kind)


NOISE = re.compile(
    r"\x1b\[[0-9;]*[A-Za-z]|^\s*(?:\[\s*[\d.:\s]+\]|\d\d:\d\d:\d\d[.,\d]*|[IWEDV] \(\d+\))\s*(?:->|:)?\s*"
)
HEAD = re.compile(r"(?P<name>[A-Za-z_][\w./\-]*(?:[ #]?\d+)?)\s*(?:\([^()]*\)|\[[\d\s,x]*\])?\s*(?:[:=]|(?=[\[{]))")
"""``name:``, ``name =``, ``tensor 7 [1, 8] (int8):``"""
TAGGED = re.compile(r"^\[(?P<name>[A-Za-z_][\w./\-]*)\]\s*[:=]?(?=[\s:=]*[-+\d\[{.])")
"""``[name] 1 2``, ``[name]: 1, 2``"""
CELL = re.compile(r"^(?P<name>[A-Za-z_][\w./\-]*)\[\s*(?P<at>\d+)\s*\]\s*[:=]\s*(?P<value>\S+?)[,;]?$")
"""``name[3] = 7``"""
ENCLOSED = re.compile(r"\s*(?:\[(?P<square>[^\[\]{}]*)\]|\{(?P<curly>[^\[\]{}]*)\})")
"""a list in brackets, behind which anything may stand"""


def log(path: Path) -> list[Entry]:
    """Lists of numbers that a program printed, going on over lines of numbers; or ``name[0] = 1`` line by line.

    A list is ``name: 1, 2, 3``, ``name = [..``, ``[name] 1 2 3``; behind one in brackets anything may stand.
    """
    found = list(_printed(_text(path)))
    if not found:
        raise NoArrays(f"{path}: holds no list of numbers; allowed: lines such as 'tensor_7: -1, 0, 12'")
    return found


def _printed(text: str) -> Iterator[Entry]:
    name, start, numbers, cells = "", 0, list[int | float](), False
    for n, line in enumerate([*text.splitlines(), "end"], 1):
        body = NOISE.sub("", line).strip()
        cell, more = _cell(body), _numbers(body)
        if cell is not None and cells and cell[0] == name and cell[1] == len(numbers):
            numbers.append(cell[2])
            continue
        if more is not None and name and not cells:
            numbers += more
            continue
        if name and numbers:
            yield _entry(name, numbers, f"line {start}", stray=True)
        name, start, numbers, cells = "", n, [], cell is not None and cell[1] == 0
        if cell is not None and cells:
            name, numbers = cell[0], [cell[2]]
            continue
        name, numbers = _list(TAGGED.sub(r"\g<name>: ", line.strip()) if TAGGED.match(line.strip()) else body)
        if more and not name:
            name, numbers = f"line {n}", more


def _cell(body: str) -> tuple[str, int, int | float] | None:
    """Name, index and value of ``name[3] = 7``."""
    found = CELL.match(body)
    value = _numbers(found["value"]) if found else None
    return (found["name"], int(found["at"]), value[0]) if found and value and len(value) == 1 else None


def _list(body: str) -> tuple[str, list[int | float]]:
    """The name and the numbers of the first list of a line; nothing if it has none."""
    for head in HEAD.finditer(body):
        numbers = _numbers(body, head.end())
        if numbers is None and (enclosed := ENCLOSED.match(body, head.end())):
            numbers = _numbers(enclosed["square"] or enclosed["curly"] or "x")
        if numbers is not None:
            return head["name"], numbers
    return "", []
