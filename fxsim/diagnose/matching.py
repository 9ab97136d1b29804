"""Which tensor an array of a dump is, and how its values lie: by name, index, size and content; every choice is said.

The simulation's own values serve as the measure: a reading is preferred to the plain one only if it agrees with them
far better.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fxsim.diagnose.differences import Differences, farther
from fxsim.diagnose.formats.base import Entry
from fxsim.errors import DumpError, listed
from fxsim.kernels.differences import ENOUGH, STEPS
from fxsim.model.graph import Graph, Tensor
from fxsim.model.qtype import Array
from fxsim.names import short_name

CLEARLY = 0.25
"""share of elements by which another reading must agree better than the plain one"""
LIKELY = 0.5
"""share of elements that must agree where content alone says which tensor it is"""


@dataclass(frozen=True, slots=True)
class Matched:
    """A dump by tensor, each in the tensor's own type and shape."""

    arrays: dict[int, Array]
    notes: tuple[str, ...]
    """every choice that was made, and what was left out"""
    differences: Differences
    """how the dump's values differ from the simulation's"""
    row: Mapping[int, int]
    """tensor -> its row there"""


Placed = tuple[Entry, int | None, str]
"""an entry, its tensor, and what is to be said of the choice"""


class Reading(NamedTuple):
    """One way to understand an array as a tensor's values."""

    values: Array
    how: str
    """empty for the plain way"""


def match(graph: Graph, entries: Sequence[Entry], simulated: Mapping[int, Array], source: str) -> Matched:
    """The dump's arrays by tensor.

    Args:
        graph: the network.
        entries: what a reader found.
        simulated: the values of every tensor that the simulation computes, by index, all inferences stacked alike.
        source: what errors call the dump.

    Raises:
        DumpError: if an entry names or fits no tensor, fits several equally well, has a wrong size or impossible values, or
            if two entries claim one tensor and differ.
    """
    placed = _stacked(graph, [(e, *_tensor(graph, e, simulated, source)) for e in entries], simulated)
    known = [(e, graph.tensors[i], simulated[i]) for e, i, _ in placed if i is not None]
    read = [_plain(*of, source) for of in known]
    apart = _apart(known, read)
    others = {
        k: other
        for k, share in _doubtful(apart).items()
        if (other := _other(*known[k], read[k], share, int(apart.reach[k]), source)) is not None
    }
    if others:
        read = [others.get(k, r) for k, r in enumerate(read)]
        apart = _apart(known, read)
    arrays: dict[int, Array] = {}
    rows: dict[int, int] = {}
    notes: list[str] = []
    k = 0
    for e, i, said in placed:
        if i is None:
            notes.append(f"{e.place}: {said}")
            continue
        r = read[k]
        if said or r.how:
            told = ", ".join(t for t in (said, r.how and f"read {r.how}") if t)
            notes.append(f"{e.place}: tensor {i} {short_name(graph.tensors[i].name)!r}, {told}")
        if i in arrays and not np.array_equal(arrays[i], r.values):
            raise DumpError(f"{source}: {known[rows[i]][0].place!r} and {e.place!r} both hold tensor {i}, and differ")
        arrays[i], rows[i] = r.values, k
        k += 1
    if not arrays:
        raise DumpError(f"{source}: holds no tensor of {graph.name}" + (f" ({notes[0]})" if notes else ""))
    return Matched(arrays, tuple(notes), apart, rows)


def _stacked(graph: Graph, placed: list[Placed], simulated: Mapping[int, Array]) -> list[Placed]:
    """As they are, but where a tensor has an entry of one name and type for each inference these are one."""
    by: dict[int, list[Entry]] = {}
    for e, i, _ in placed:
        if i is not None:
            by.setdefault(i, []).append(e)
    if len(by) == len(placed):
        return placed
    whole: dict[int, Placed] = {}
    for i, several in by.items():
        t, first, count = graph.tensors[i], several[0], len(several)
        size = t.elements * (t.qtype.dtype.itemsize if first.raw else 1)
        alike = {(e.name, e.raw, e.exact, e.values.dtype, _size(e)) for e in several}
        if count > 1 and count * t.elements == simulated[i].size and len(alike) == 1 and _size(first) == size:
            values, place = (
                np.concatenate([e.values.reshape(-1) for e in several]),
                f"{first.place} to {several[-1].place}",
            )
            whole[i] = first._replace(values=values, place=place), i, f"{count} lists, one an inference"
    return [*(p for p in placed if p[1] not in whole), *whole.values()]


def _apart(known: Sequence[tuple[Entry, Tensor, Array]], read: Sequence[Reading]) -> Differences:
    return Differences([(ours, r.values) for (_, _, ours), r in zip(known, read, strict=True)])


def plain_name(name: str) -> str:
    """A name as file systems and C leave it: letters and digits, lower case, one ``_`` for all else."""
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


def named(graph: Graph, name: str) -> tuple[int | None, str]:
    """The tensor that a name means, and what is to be said of it; None if there is none or there are several."""
    known: Any = graph.derived.setdefault("named", {})
    if name not in known:
        known[name] = _named(graph, name)
    found: tuple[int | None, str] = known[name]
    return found


def _named(graph: Graph, name: str) -> tuple[int | None, str]:
    same = [t.index for t in graph.tensors if t.name == name and not t.constant]
    if len(same) == 1:
        return same[0], ""
    numbered = re.fullmatch(r"(tensor|output|input|layer)[ _#]?(\d+)", name.strip(), re.IGNORECASE)
    if numbered:
        kind, n = numbered[1].lower(), int(numbered[2])
        if kind == "tensor" and n < len(graph.tensors):
            return n, ""
        if kind in ("output", "input") and n < len(ends := getattr(graph, f"{kind}s")):
            return ends[n], ""
        outputs = [x.outputs for x in graph.nodes if kind == "layer" and x.index == n]
        if outputs and len(outputs[0]) == 1:
            return outputs[0][0], "output of the layer of that number"
    alike = [t.index for t in graph.tensors if not t.constant and plain_name(t.name) == plain_name(name)]
    return (alike[0], "by its name, but for other signs") if len(alike) == 1 else (None, "")


def _tensor(graph: Graph, e: Entry, simulated: Mapping[int, Array], source: str) -> tuple[int | None, str]:
    if e.left_out:
        return None, f"left out: {e.left_out}"
    index, said = named(graph, e.name)
    if index is not None:
        if index not in simulated:
            raise DumpError(f"{source}: {e.place}: tensor {index} {graph.tensors[index].name!r} holds no values")
        return index, said
    fits = [i for i, v in simulated.items() if _size(e) == (v.nbytes if e.raw else v.size)]
    if len(fits) == 1 and not e.stray:
        return fits[0], f"the only one of {_size(e)} {'bytes' if e.raw else 'elements'}"
    ranked = sorted(((_best(graph.tensors[i], e, simulated[i], source), i) for i in fits), reverse=True)
    good = [(share, i) for share, i in ranked if share >= LIKELY]
    if good and (len(good) == 1 or good[0][0] - good[1][0] >= CLEARLY):
        return good[0][1], f"by its content: {good[0][0]:.1%} agree"
    why = f"names no tensor, and {len(fits)} of its size ({_size(e)}) fit equally well" if good else (
        f"names no tensor, and none of its size ({_size(e)}) has its content"
    )  # fmt: skip
    if e.stray:
        return None, f"left out: {why}"
    raise DumpError(
        f"{source}: {e.place}: {e.name!r} {why}; allowed: 'output_0'.., 'tensor_<index>'"
        + (f" (alike: {listed(f'tensor_{i}' for _, i in good)})" if good else "")
        + f", or a name such as {listed([graph.tensors[i].name for i in graph.outputs])}"
    )


def _size(e: Entry) -> int:
    return int(e.values.nbytes if e.raw else e.values.size)


def _best(t: Tensor, e: Entry, ours: Array, source: str) -> float:
    """How well the best reading agrees; nothing if none is possible."""
    try:
        return max(agreement(t, r.values, ours) for r in _readings(t, e, ours, source))
    except DumpError:
        return 0.0


def agreement(t: Tensor, theirs: Array, ours: Array, least: float = 0.0, reach: int | None = None) -> float:
    """The share of elements within ``STEPS``, or of floats within a thousandth of the tensor's range.

    A tensor of one value agrees with everything that is flat, so it says little: its share is halved. Shares below
    ``least`` may be told too low. ``reach`` of our integers: from the least to the greatest, or ``ENOUGH``.
    """
    if not ours.size:
        return 0.0
    if t.qtype.kind == "int":
        reach = int(ours.max()) - int(ours.min()) if reach is None else reach
        far = farther(ours, theirs, STEPS if reach >= ENOUGH else 0, int((1.0 - least) * ours.size) + 1)
        return (1.0 - far / ours.size) * (1.0 if reach else 0.5)
    with np.errstate(invalid="ignore"):  # floats read from swapped bytes may be any NaN
        mine, other = ours.astype(np.float64), theirs.astype(np.float64)
        spread = float(np.ptp(mine[np.isfinite(mine)])) if np.isfinite(mine).any() else 0.0
        share = float(np.mean(np.abs(mine - other) <= 1e-3 * spread))
    return share if spread else share / 2


def _plain(e: Entry, t: Tensor, ours: Array, source: str) -> Reading:
    """The entry as it stands."""
    v = e.values
    if not e.raw and v.shape == ours.shape and v.dtype == ours.dtype and v.dtype.kind in "iub":
        return Reading(v, "")
    return next(_readings(t, e, ours, source))


def _doubtful(apart: Differences) -> dict[int, float]:
    """Which of the plain readings differ so much that another may agree far better, and the share that agrees of integers."""
    elements, wrong, reach = np.maximum(apart.elements, 1), apart.mismatches, apart.reach
    off = wrong - np.where(reach >= ENOUGH, apart.close, 0)
    share = (1.0 - off / elements) * np.where(reach > 0, 1.0, 0.5)
    doubtful = (wrong >= CLEARLY * elements) & (wrong > 0) & (share <= 1.0 - CLEARLY)
    return {k: share[k].item() for k in doubtful.nonzero()[0].tolist()}


def _other(e: Entry, t: Tensor, ours: Array, plain: Reading, share: float, reach: int, source: str) -> Reading | None:
    """The reading that agrees far better than the plain one, if there is one."""
    if t.qtype.kind != "int":
        share = agreement(t, plain.values, ours)
    least = max(LIKELY, share + CLEARLY)
    others = list(_readings(t, e, ours, source))[1:] if least <= 1.0 else []
    shares = [agreement(t, r.values, ours, least, reach) for r in others]
    best = max(range(len(shares)), key=lambda i: (shares[i], -i), default=0)
    if not others or shares[best] < least:
        return None
    return Reading(others[best].values, f"{others[best].how}: {shares[best]:.1%} agree, {share:.1%} as it stands")


def _readings(t: Tensor, e: Entry, ours: Array, source: str) -> Iterator[Reading]:
    """Every way to understand the entry, the plain one first."""
    where = f"{source}: {e.place}: tensor {t.index} {t.name!r}"
    typed = list(_typed(t, e, ours, where))
    for value, kind in typed:
        for laid, layout in _laid(value, ours.shape, where):
            how = ", ".join(h for h in (kind, layout) if h)
            yield Reading(laid, how)


def _typed(t: Tensor, e: Entry, ours: Array, where: str) -> Iterator[tuple[Array, str]]:
    """The values in the tensor's type."""
    v, kind = e.values, ours.dtype
    if e.raw:
        if v.nbytes != ours.nbytes:
            raise DumpError(
                f"{where}: has {v.nbytes} bytes; allowed: {ours.nbytes} ({ours.size} of {kind})"
                + _inferences(t, v.nbytes // kind.itemsize, ours.size)
            )
        v = v.view(kind.newbyteorder("<")).astype(kind)
        yield v, ""
        yield from _bytes(v)
        return
    if v.size != ours.size:
        raise DumpError(
            f"{where}: has {v.size} elements of shape {list(v.shape)}; allowed: {list(ours.shape)}"
            + _inferences(t, v.size, ours.size)
        )
    if v.dtype == kind:
        if kind.kind == "f" and np.isnan(v).any() and not np.isnan(ours).any():
            raise DumpError(f"{where}: holds {int(np.isnan(v).sum())} NaN; allowed: numbers")
        yield v, ""
        yield from _bytes(v)
        return
    if v.dtype.kind not in "iufb":
        raise DumpError(f"{where}: is {v.dtype}; allowed: {kind}")
    if v.dtype.kind == "f":
        yield _from_reals(t, v, kind, where)
        return
    if kind.kind == "f":
        yield v.astype(kind), f"as {kind}" if e.exact else ""
        return
    yield from _integers(v, kind, e, where)


def _inferences(t: Tensor, theirs: int, ours: int) -> str:
    """What a wrong size says if it is one of whole inferences."""
    if not theirs or not t.elements or theirs % t.elements:
        return ""
    return f": the dump holds {theirs // t.elements} of them, the simulation {ours // t.elements} inferences"


def _bytes(v: Array) -> Iterator[tuple[Array, str]]:
    """Other byte orders and signs of the same bits."""
    if v.dtype.itemsize > 1:
        yield v.byteswap(), "with its bytes swapped"
    elif v.dtype.kind in "iu":
        yield v ^ v.dtype.type(-128 if v.dtype.kind == "i" else 128), "with 128 added or taken (other sign)"


def _integers(v: Array, kind: np.dtype[Any], e: Entry, where: str) -> Iterator[tuple[Array, str]]:
    limits = np.iinfo(kind) if kind.kind in "iu" else np.iinfo(np.uint8)
    low, high = int(v.min(initial=0)), int(v.max(initial=0))
    plain = limits.min <= low and high <= limits.max
    if plain:
        yield v.astype(kind), "" if not e.exact else f"as {kind}"
    shifted = kind.itemsize == 1 and kind.kind == "i" and low >= 0 and high <= 255
    if shifted:
        yield v.astype(np.uint8).view(np.int8), "as bytes in two's complement"
        yield (v.astype(np.int64) - 128).astype(np.int8), "as uint8, which is int8 + 128"
    if kind == np.uint8 and low >= -128 and high <= 127:
        yield (v.astype(np.int64) + 128).astype(np.uint8), "as int8, which is uint8 - 128"
    if not plain and not shifted:
        raise DumpError(f"{where}: holds {low}..{high}; allowed: {limits.min}..{limits.max}")


def _from_reals(t: Tensor, v: Array, kind: np.dtype[Any], where: str) -> tuple[Array, str]:
    """Reals for a tensor of integers: the integers themselves, or their real values."""
    if kind.kind == "f":
        return v.astype(kind), f"as {kind}"
    if not np.all(np.isfinite(v)):
        at = np.argwhere(~np.isfinite(v))[0].tolist()
        raise DumpError(f"{where}: holds {v[tuple(at)]} at {at}; allowed: {kind}")
    if np.array_equal(v, np.rint(v)):
        q, how = v, "its reals as integers"
    elif t.quant is not None and t.quant.per_tensor:
        q = v.astype(np.float64) / t.quant.scale[0] + t.quant.zero_point[0]
        how = "its reals divided by the scale"
        if np.max(np.abs(q - np.rint(q))) > 0.05:
            at = np.unravel_index(int(np.argmax(np.abs(q - np.rint(q)))), q.shape)
            raise DumpError(
                f"{where}: holds {v[at]} at {[int(i) for i in at]}, which is no multiple of the scale {t.quant.scale[0]:g}"
            )
    else:
        raise DumpError(f"{where}: holds reals, and has no scale; allowed: {kind}")
    limits = np.iinfo(kind)
    if np.rint(q).min() < limits.min or np.rint(q).max() > limits.max:
        raise DumpError(f"{where}: holds {v.min()}..{v.max()}, beyond {kind}")
    return np.rint(q).astype(kind), how


def _joins(sizes: Sequence[int], given: Sequence[int]) -> bool:
    """True if ``given`` are ``sizes`` with neighbours joined, as one row per inference joins all but the first."""
    left = list(sizes)
    for size in given:
        product = 1
        while left and product < size:
            product *= left.pop(0)
        if product != size:
            return False
    return not left


def _laid(v: Array, shape: tuple[int, ...], where: str) -> Iterator[tuple[Array, str]]:
    """The values in the tensor's shape: as they stand, with channels first, or transposed."""
    squeezed = [s for s in shape if s != 1]
    given = [s for s in v.shape if s != 1]
    flat = len(given) <= 1
    plain = flat or _joins(squeezed, given)

    def fits(laid: tuple[int, ...]) -> bool:
        return flat or given == [s for s in laid if s != 1]

    if plain:
        yield v.reshape(shape), ""
    for rank in (4, 3):  # (..., H, W, C) and, of one image, (H, W, C)
        if len(shape) >= rank:
            *lead, h, w, c = shape
            if c > 1 and h * w > 1 and fits(first := (*lead, c, h, w)):
                yield v.reshape(first).swapaxes(-3, -2).swapaxes(-2, -1), "with channels first (NCHW)"
            if min(h, w, c) > 1 and fits(turned := (*lead, w, h, c)):
                yield v.reshape(turned).swapaxes(-3, -2), "with rows and columns swapped (NWHC)"
            if min(h, w, c) > 1 and fits(turned := (*lead, c, w, h)):
                yield v.reshape(turned).swapaxes(-3, -1), "with rows and columns swapped, channels first (NCWH)"
            break
    if len(squeezed) == 2 and min(squeezed) > 1 and (flat or given == squeezed[::-1]):
        yield np.ascontiguousarray(v.reshape(squeezed[::-1]).T).reshape(shape), "transposed"
    if not plain and sorted(given) != sorted(squeezed):
        raise DumpError(f"{where}: has shape {list(v.shape)}; allowed: {list(shape)}, or with channels first")
