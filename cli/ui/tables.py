"""Tables and bar charts on stdout: on a terminal rich draws them and is imported then, a pipe gets plain columns.

Cells are texts of any origin: they are escaped here, and rich's markup is off.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .terminal import can_draw, columns, flush, lines, one_line

if TYPE_CHECKING:
    from rich.table import Table as RichTable

BAR_WIDTH = 32


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows of cells; the columns in `right` hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A title, and for each bar its label, its length as a number of 0 or more, and the text of that number."""

    title: str
    bars: Sequence[tuple[str, float, str]]


def show_table(table: Table) -> None:
    """Each column as wide as its widest cell; a terminal that is too narrow folds the cells."""
    rows = [[one_line(cell) for cell in row] for row in table.rows]
    if not can_draw(sys.stdout):
        return lines(plain_lines(Table(table.head, rows, table.right)))
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i, title in enumerate(table.head):
        grid.add_column(Text(title), justify="right" if i in table.right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    _draw(grid)


def plain_lines(table: Table) -> Iterable[str]:
    """The lines of a table in plain text."""
    everything = [table.head, *table.rows]
    widths = [max(len(row[i]) for row in everything) for i in range(len(table.head))]
    for row in everything:
        cells = [
            f"{cell:>{width}}" if i in table.right else f"{cell:<{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def show_charts(charts: Iterable[Chart]) -> None:
    """Bar charts, on a terminal only."""
    if not can_draw(sys.stdout):
        return
    from rich.bar import Bar
    from rich.table import Table as RichTable
    from rich.text import Text

    for chart in charts:
        grid = RichTable.grid(padding=(0, 2, 0, 0))
        most = max(value for _, value, _ in chart.bars)
        for label, value, text in chart.bars:
            grid.add_row(
                Text(f"  {one_line(label)}"), Bar(most, 0, value, width=BAR_WIDTH), Text(text, justify="right")
            )
        lines([chart.title])
        _draw(grid)


def _draw(grid: RichTable) -> None:
    from rich.console import Console

    flush()  # what was written to the binary stream comes first
    console: Any = Console(file=sys.stdout, width=columns(sys.stdout), markup=False, emoji=False, highlight=False)
    console.print(grid)
