"""A line on stderr about work that goes on, drawn over again and again: a text, or a bar with the time left.

rich draws the bars and is imported with the first one; the bytes are sent here, so that the cursor stays in its line.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ...text import format_bytes
from . import error_stream

if TYPE_CHECKING:
    from rich.progress import Progress

BAR_WIDTH = 20
STEPS = ("title", "bar", "count", "left", "more")
BYTES = ("bar", "bytes", "speed", "left", "title")


class ProgressLine:
    """A line that takes the place of the last one. Texts must have passed `one_line`; rich's markup is off."""

    def __init__(self) -> None:
        self._drawn = False  # the line stands on the terminal, without a line feed
        self._what: tuple[tuple[str, ...], str] | None = None  # columns and title that `_progress` was made for
        self._progress: Any = None

    def text(self, text: str, width: int) -> None:
        """A text alone, cut off at `width` columns."""
        self._send(text[:width])

    def steps(self, title: str, done: int, total: int, unit: str, more: str, width: int) -> None:
        """A bar, `done` of `total` in words, the time left, and what matters less; a narrow terminal cuts it off."""
        self._bar(STEPS, title, done, total, width, count=f"{done} of {total}{unit}", more=more)

    def transfer(self, name: str, done: int, total: int, width: int) -> None:
        """A bar for bytes, with their speed and the time left."""
        self._bar(BYTES, name, done, total, width)

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            error_stream.write("\r\x1b[K")
        self._drawn, self._what = False, None

    def _bar(self, columns: tuple[str, ...], title: str, done: int, total: int, width: int, **fields: str) -> None:
        from rich.console import Console

        if self._what != (columns, title):
            self._progress, self._what = _progress(columns), (columns, title)
            self._progress.add_task(title, **fields)
        self._progress.update(self._progress.task_ids[0], completed=done, total=total, **fields)
        console = Console(file=sys.stderr, width=width, markup=False, emoji=False, highlight=False)
        with console.capture() as capture:
            console.print(self._progress.get_renderable())
        self._send(capture.get().split("\n")[0].rstrip())

    def _send(self, line: str) -> None:
        self._drawn = True
        error_stream.write(f"\r{line}\x1b[K")


def _progress(names: tuple[str, ...]) -> Progress:
    """rich's view of a task in these columns, which is never started: it only keeps the time and makes the line."""
    from rich import progress
    from rich.table import Column
    from rich.text import Text

    def whole() -> Column:
        return Column(no_wrap=True, overflow="ellipsis")

    class Speed(progress.ProgressColumn):  # rich's own has units of 1000, unlike the sizes beside it
        def render(self, task: progress.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{format_bytes(round(speed))}/s" if speed else "")

    columns: dict[str, progress.ProgressColumn] = {
        "title": progress.TextColumn("{task.description}", markup=False, table_column=whole()),
        "bar": progress.BarColumn(BAR_WIDTH),
        "count": progress.TextColumn("{task.fields[count]}", markup=False, table_column=whole()),
        "left": progress.TimeRemainingColumn(compact=True, table_column=whole()),
        "more": progress.TextColumn("{task.fields[more]}", markup=False, table_column=whole()),
        "bytes": progress.DownloadColumn(binary_units=True, table_column=whole()),
        "speed": Speed(table_column=whole()),
    }
    return progress.Progress(*(columns[name] for name in names), auto_refresh=False)
