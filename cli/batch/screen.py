"""A batch: its results as lines of a file or of stdout, its progress, and what is said at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...text import counted
from ..ui import terminal

if TYPE_CHECKING:
    from ...batch.result_file import ResultFile

SHOWN_ERRORS = 10  # rows whose errors are told one by one


class BatchTarget:
    """The file of results, or stdout. Raises UsageError as `check_result_file`, and where `resume` has no file."""

    def __init__(self, path: Path | None, inputs: Iterable[Path], *, resume: bool, force: bool) -> None:
        from ...batch.result_file import check_result_file
        from ...files.atomic_file import check_not_input

        self._path, self._resume = None if path == Path("-") else path, resume
        if resume and force:
            raise UsageError("--resume and --force cannot be combined", "one goes on, the other begins anew")
        if self._path is None:
            if resume:
                raise UsageError("--resume goes on with a file", "name it with -o")
            terminal.check_stdout()
        else:
            check_not_input(self._path, *inputs)
            check_result_file(self._path, resume=resume, force=force)

    @contextmanager
    def open(self) -> Iterator[ResultFile | None]:
        """The file to append to, None for stdout."""
        from ...batch.result_file import ResultFile

        with ResultFile(self._path, resume=self._resume) if self._path else nullcontext() as file:
            yield file


class BatchScreen(terminal.Screen):
    """Says how far a batch is: `total` rows, None where that is not known."""

    def __init__(self, *, quiet: bool, total: Callable[[], int | None]) -> None:
        super().__init__(quiet=quiet)
        self._count = total
        self._total: int | None = None
        self.done = self.failed = 0

    def begin(self, done: int, failed: int) -> None:
        """Rows that have a result already."""
        self.done, self.failed = done, failed
        self._total = self._count() if self._can_draw() else None
        if done:
            self.notes([f"done already: {counted(done, 'row')}"])

    def add(self, result: Mapping[str, Any]) -> None:
        """A row is done."""
        self.done += 1
        if error := result.get("error"):
            self.failed += 1
            if self.failed <= SHOWN_ERRORS:
                self.notes([f"row {result['row']}: {error['message']}"])
            elif self.failed == SHOWN_ERRORS + 1:
                self.notes(["more rows failed: the results have their errors"])
        failed = f"{self.failed} failed" if self.failed else ""
        if self._total:
            self.progress("row", self.done, self._total, more=failed)
        else:
            self.status(f"{counted(self.done, 'row')}{failed and ', ' + failed}")


def deliver(
    results: Iterable[Mapping[str, Any]], file: ResultFile | None, screen: BatchScreen, most_errors: int | None
) -> None:
    """Write results as they come, until more than `most_errors` rows have failed; a note says where that was."""
    from ...batch.result_file import json_line

    hint = " (--resume goes on)" if file is not None else ""
    try:
        for result in results:
            if file is not None:
                file.append(result)
            else:
                terminal.stdout().write(json_line(result))
                terminal.flush()
            screen.add(result)
            if most_errors is not None and screen.failed > most_errors:
                screen.notes([f"stopped after {counted(screen.done, 'row')}: {screen.failed} failed{hint}"])
                return
        if not screen.done:
            screen.notes(["there are no rows: nothing was answered"])
    except (KeyboardInterrupt, SystemExit):
        screen.notes([f"stopped after {counted(screen.done, 'row')}{hint}"])
        raise
