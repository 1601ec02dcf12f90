"""Defines tables for a terminal of any width. No amount of money is ever cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table

_UNLIMITED = 10_000
"""Width in columns of a terminal on which every table has room."""


def local_time(at_ms: int) -> str:
    """Return a wall time to the second in the time zone of this computer, and that zone's name."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S %Z}"


@dataclass(frozen=True)
class _Column:
    heading: str
    justify: JustifyMethod
    no_wrap: bool


class WholeTable:
    """Is a table that shows every cell in full.

    Where it is wider than the terminal, the words of its headings are put below each other and its columns closer
    together. If that is not enough, columns that have no room follow in a second block below the first one; each
    block begins with the ``keys`` first columns, so that it is clear what a row is about.
    """

    def __init__(self, title: str = "", *, keys: int = 1, caption: str = "") -> None:
        self.caption = caption
        self._title = title
        self._keys = keys
        self._columns: list[_Column] = []
        self._rows: list[tuple[RenderableType, ...]] = []

    def add_column(self, heading: str, *, justify: JustifyMethod = "left", no_wrap: bool = True) -> None:
        """Add a column. With ``no_wrap=False`` its cells are sentences, which may be broken between words."""
        self._columns.append(_Column(heading, justify, no_wrap))

    def add_row(self, *cells: RenderableType) -> None:
        """Add a row with a cell for each column."""
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width in ``options``."""
        everything = range(len(self._columns))
        if self._width(everything, console, options, stacked=False) <= options.max_width:
            yield self._block(everything, stacked=False, is_first=True, is_last=True)
            return
        blocks = list(self._blocks(console, options))
        for number, block in enumerate(blocks):
            yield self._block(block, stacked=True, is_first=number == 0, is_last=number == len(blocks) - 1)

    def _blocks(self, console: Console, options: ConsoleOptions) -> Iterator[Sequence[int]]:
        """Yield the columns of each block, as many in each as there is room for."""
        keys = list(range(self._keys))
        block = list(keys)
        for column in range(self._keys, len(self._columns)):
            fits = self._width([*block, column], console, options, stacked=True) <= options.max_width
            if not fits and len(block) > len(keys):
                yield block
                block = list(keys)
            block.append(column)
        yield block

    def _width(
        self, columns: Sequence[int], console: Console, options: ConsoleOptions, *, stacked: bool
    ) -> int:
        """Return how many columns of the terminal these columns of the table need."""
        unlimited = options.update(max_width=_UNLIMITED)
        block = self._block(columns, stacked=stacked, is_first=False, is_last=False)
        width = Measurement.get(console, unlimited, block).maximum
        for column, number in zip(block.columns, columns, strict=True):
            if not self._columns[number].no_wrap:
                sizes = [Measurement.get(console, unlimited, cell) for cell in (column.header, *column.cells)]
                width -= max(size.maximum for size in sizes) - max(size.minimum for size in sizes)
        return width

    def _block(self, columns: Sequence[int], *, stacked: bool, is_first: bool, is_last: bool) -> Table:
        table = Table(
            title=self._title if is_first and self._title else None,
            caption=self.caption if is_last and self.caption else None,
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0) if stacked else (0, 1),
        )
        for number in columns:
            column = self._columns[number]
            heading = column.heading.replace(" ", "\n") if stacked else column.heading
            table.add_column(heading, justify=column.justify, no_wrap=column.no_wrap, overflow="fold")
        for row in self._rows:
            table.add_row(*(row[number] for number in columns))
        return table
