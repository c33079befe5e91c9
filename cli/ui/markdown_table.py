"""Lays out a Markdown table in columns; where the terminal is too narrow for them, cells are wrapped."""

from __future__ import annotations

import re
from collections.abc import Callable

from .wrap import width_of, wrapped

BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
RULE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
GAP = 2  # columns between cells
NARROWEST = 6  # columns of a cell; below that each row becomes a list


def table(rows: list[str], columns: int, styled: Callable[[str], str]) -> list[str] | None:
    """The lines of a table, at most `columns` wide; None where `rows` are not a table. `styled` draws a cell's text."""
    if len(rows) < 2 or not RULE.match(rows[1]):
        return None
    cells = [[styled(cell) for cell in _cells(row)] for row in (rows[0], *rows[2:])]
    count = max(map(len, cells))
    cells = [row + [""] * (count - len(row)) for row in cells]
    marks = [_alignment(cell) for cell in _cells(rows[1])] + ["<"] * count
    room = columns - GAP * (count - 1)
    widths = _shared([max(map(width_of, column)) for column in zip(*cells, strict=True)], room)
    if widths is None:
        return _records(cells)
    head, *body = ([_lines(cell, width) for cell, width in zip(row, widths, strict=True)] for row in cells)
    rule = f"{DIM}{(' ' * GAP).join('─' * width for width in widths)}{RESET}"
    drawn = [f"{BOLD}{line}{RESET}" for line in _row(head, widths, marks)]
    return [*drawn, rule, *(line for row in body for line in _row(row, widths, marks))]


def _shared(widths: list[int], room: int) -> list[int] | None:
    """The widths of columns, the widest made narrower until all fit into `room`; None where they cannot."""
    most = max(widths, default=0)
    while sum(min(width, most) for width in widths) > room:
        most -= 1
    return [min(width, most) for width in widths] if most >= NARROWEST or most == max(widths) else None


def _lines(cell: str, width: int) -> list[str]:
    return wrapped(cell, width, hard=True).split("\n") if width_of(cell) > width else [cell]


def _row(cells: list[list[str]], widths: list[int], marks: list[str]) -> list[str]:
    """The lines of a row whose cells have several lines."""
    lines = []
    for number in range(max(map(len, cells))):
        parts = [
            _aligned(cell[number] if number < len(cell) else "", width, mark)
            for cell, width, mark in zip(cells, widths, marks, strict=False)
        ]
        lines.append((" " * GAP).join(parts).rstrip())
    return lines


def _aligned(text: str, width: int, mark: str) -> str:
    free = max(0, width - width_of(text))
    left = {"<": 0, ">": free, "^": free // 2}[mark]
    return " " * left + text + " " * (free - left)


def _records(cells: list[list[str]]) -> list[str]:
    """Each row as lines of `name: value`."""
    names, *rows = cells
    lines = [f"{BOLD}{name}:{RESET} {cell}" for row in rows for name, cell in zip(names, row, strict=True) if cell]
    return lines or [f"{BOLD}{'  '.join(names)}{RESET}"]


def _alignment(cell: str) -> str:
    if cell.endswith(":"):
        return "^" if cell.startswith(":") else ">"
    return "<"


def _cells(row: str) -> list[str]:
    """The cells of a table's row; an escaped bar is part of a cell."""
    inner = row.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]
