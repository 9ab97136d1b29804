"""A table that a narrow terminal breaks between columns: no digit is cut."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Column, Table

Justify = Literal["left", "right"]
FOLDED = {
    "name",
    "tensor",
    "what",
    "where",
    "against",
    "evidence",
    "requantize",
    "values",
    "off by (LSB): elements",
    "accumulator",
    "why",
    "also",
    "op (host)",
    "cores",
    "error: median, 90 %",
}
"""headings of columns that may be folded where the terminal is narrow"""
KEYS = ("layer", "op")
"""headings of first columns that are said again before each part"""
NARROW = 14
"""characters to which a column may be folded"""
BESIDE = 3
"""characters of a column's borders and spaces"""


class Sheet(Table):
    """A table; what does not fit beside the first columns is told below, under the same first columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """All columns side by side if they fit, else one part after the other."""
        parts = list(self._parts(options.max_width))
        if len(parts) == 1:
            yield from super().__rich_console__(console, options)
            return
        for n, columns in enumerate(parts):
            part = Table(title=None if n else self.title, title_justify="left", header_style="bold")
            for c in columns:
                part.add_column(c.header, justify=c.justify, overflow="fold", no_wrap=c.no_wrap)
            for cells in zip(*(c.cells for c in columns), strict=True):
                part.add_row(*cells)
            if n == len(parts) - 1:
                part.caption, part.caption_justify = self.caption, self.caption_justify
            yield from part.__rich_console__(console, options)

    def _parts(self, width: int) -> Iterator[list[Column]]:
        """The columns by parts that fit; the keys are in all of them."""
        keys = [c for n, c in enumerate(self.columns) if n == 0 or (n == 1 and c.header in KEYS)]
        widest = max(map(_needs, self.columns[len(keys) :]), default=0)
        if 1 + sum(map(_needs, keys)) + widest > width:
            keys = keys[:1]
        start = 1 + sum(map(_needs, keys))
        part, used = list(keys), start
        for c in self.columns[len(keys) :]:
            if used + _needs(c) > width and len(part) > len(keys):
                yield part
                part, used = list(keys), start
            part.append(c)
            used += _needs(c)
        yield part


def _needs(c: Column) -> int:
    """The characters of a column that loses nothing."""
    longest = max(cell_len(_plain(v)) for v in (c.header, *c.cells))
    return BESIDE + (longest if c.no_wrap else min(longest, NARROW))


def _plain(cell: Any) -> str:  # noqa: ANN401
    return str(cell).replace("\\[", "[")


def table(title: str, columns: Mapping[str, Justify], rows: Iterable[Sequence[Any]]) -> Sheet:
    """A table; ``columns`` maps headings to their justification."""
    result = Sheet(title=escape(title), title_justify="left", header_style="bold")
    for heading, justify in columns.items():
        result.add_column(heading, justify=justify, overflow="fold", no_wrap=heading not in FOLDED)
    for row in rows:
        result.add_row(*(escape(str(v)) for v in row))
    return result
