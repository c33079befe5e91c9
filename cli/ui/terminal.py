"""The only file that draws. stdout carries the answer and nothing else; all that is said about it goes to stderr.

Each stream is asked for itself whether it is a terminal. To a pipe bytes pass unchanged; on a terminal the model's
control characters are shown, never sent. Knows no model.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING, BinaryIO, Self

from ...errors import LlmlocalError, UsageError
from . import error_stream, typeahead
from .progress import ProgressLine
from .wrap import wrapped

if TYPE_CHECKING:
    from ...quant.jit.linker import Progress
    from .spinner import Spinner

# What can move a cursor or turn text around: C0 but for line feed and tab, DEL, C1, bidirectional overrides.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
PATIENCE = 1.0  # seconds of silence before progress is shown
_written = False  # whether the command has used stdout


def visible(text: str) -> str:
    """`text` with its control characters spelled out."""
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """`text`, whatever it quotes, as a single line that cannot move a terminal."""
    escaped = visible(text).replace("\n", "\\n").replace("\t", "\\t")
    return escaped.encode("utf-8", "backslashreplace").decode()


def quoted(data: bytes) -> str:
    """Bytes in quotes on one line, those that are not UTF-8 as \\xNN."""
    return f"'{one_line(data.decode('utf-8', 'backslashreplace'))}'"


def can_draw(stream: IO[str] | None) -> bool:
    """Whether `stream` is a terminal on which a line can be drawn over."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def columns(stream: IO[str] | None) -> int:
    """How wide the terminal behind `stream` is; the user's COLUMNS goes first."""
    try:
        return int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        pass
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80 if stream is not None else 80
    except (OSError, ValueError):  # no file behind it
        return 80


def wrap_columns(stream: IO[str] | None) -> int:
    """Where lines are broken between words: after so many columns; 0 where `stream` is not a terminal."""
    return columns(stream) if stream is not None and stream.isatty() else 0


# ---- lines --------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """A line of what was asked for, to stdout. Names that are not UTF-8 go to a pipe as they are."""
    stdout().write((_spelled(text) if is_terminal() else _exact(text)) + b"\n")


def _spelled(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _exact(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which stands for no byte
        return _spelled(text)


def say_path(path: Path) -> None:
    """A path on a line of stdout: byte for byte as the system has it, on a terminal with control characters shown."""
    stdout().write((one_line(str(path)).encode() if is_terminal() else os.fsencode(path)) + b"\n")


def lines(texts: Iterable[str], *, hang: int | None = None) -> None:
    """Lines of a result, each as soon as it is there; with `hang` a terminal's long ones go on, indented by it."""
    wide = columns(sys.stdout) if hang is not None and is_terminal() else 0
    for text in texts:
        folded = textwrap.wrap(text, wide, subsequent_indent=" " * (hang or 0)) if wide > 2 * (hang or 0) else []
        for line in folded or [text]:
            say(visible(line))
        flush()


def rows(pairs: Iterable[tuple[str, str]]) -> None:
    """Labels and what is to say about each, in two columns."""
    held = list(pairs)
    width = max((len(label) for label, _ in held), default=0) + 2
    lines((f"{label:<{width}}{one_line(words)}" for label, words in held), hang=width)


def show_text(data: str | bytes) -> None:
    """A text of many lines to stdout: its bytes to a pipe, safe and with an end of line on a terminal."""
    data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    if is_terminal():
        text = visible(data.decode("utf-8", "replace"))
        data = (text if text.endswith("\n") or not text else f"{text}\n").encode()
    stdout().write(data)
    flush()


def note(text: str, before: str = "", hang: int = 0) -> None:
    """One line about what happens, to stderr; a terminal's is broken between words. `before` may have colours."""
    error_stream.write(folded(before + one_line(text), hang) + "\n")


def folded(text: str, hang: int = 0) -> str:
    """A line for stderr, in several where that is a terminal; with `hang`, the further ones are indented."""
    return wrapped(text, wrap_columns(sys.stderr), hang)


def tell_person(text: str) -> None:
    """A note for those who sit before a terminal; a script's stderr stays clean."""
    if sys.stderr is not None and sys.stderr.isatty():
        note(text)


def confirm(question: str) -> bool:
    """Ask on stderr, and read a line of stdin: whether it is a yes. Both must be terminals.

    What was typed before the question is forgotten.
    """
    error_stream.write(one_line(question))
    typeahead.discard()
    error_stream.write(" [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def report(error: LlmlocalError, cause: BaseException | None) -> None:
    """What went wrong and what to do next; before it the traceback of `cause`, for developers."""
    if cause:
        error_stream.write("".join(traceback.format_exception(cause)))
    colour = can_draw(sys.stderr) and not os.environ.get("NO_COLOR")
    note(str(error), "\x1b[31merror:\x1b[0m " if colour else "error: ")
    if error.hint:
        note(f"hint: {error.hint}")


def report_json(error: LlmlocalError) -> None:
    """An error as an object on stdout, for programs that read one there; none where they have got another already."""
    if _written or sys.stdout is None:
        return
    facts = {"message": str(error), "hint": error.hint or None, "exit_code": error.exit_code}
    with contextlib.suppress(OSError):
        say(json.dumps({"schema": 1, "error": facts}))


def flush() -> None:
    """Hand over what was written; raises OSError where nobody takes it."""
    if sys.stdout is not None:
        sys.stdout.flush()


def flush_or_drop() -> None:
    """As `flush`, for when an error is being reported already."""
    try:
        flush()
    except OSError:
        drop_output()


def drop_output() -> None:
    """Point stdout at nothing: the reader has gone, and Python will flush once more as it ends."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def stdout() -> BinaryIO:
    """The binary stream of stdout. Raises UsageError where it is closed."""
    global _written
    check_stdout()
    _written = True
    return sys.stdout.buffer


def check_stdout() -> None:
    """Raises UsageError where stdout is closed: to be asked before work is done for it."""
    if sys.stdout is None:
        raise UsageError("standard output is closed", "redirect it to a file, or to /dev/null")


def begin() -> None:
    """Forget what was written to stdout: a command begins."""
    global _written
    _written = False


def compiling_label(progress: Progress, *, first: bool = True) -> str:
    """How far kernels are, in words; `first` where they are kept, so that no later run compiles them."""
    at = f"{min(progress.done + 1, progress.total)} of {progress.total}" if progress.total else progress.kernel
    left = ""
    if progress.seconds_left is not None:
        seconds = max(1, round(progress.seconds_left))
        left = f", about {seconds if seconds < 10 else 5 * round(seconds / 5)} s"
    return f"{'first run: ' if first else ''}compiling {at}{left}"


# ---- what goes on -------------------------------------------------------------------------------------------------


class Screen:
    """What a command shows on stderr while it works: kernels being compiled, progress, notes. A context manager."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._noted = False  # that kernels are compiled
        self._doing = ""  # what the moving line says
        self._since = monotonic()
        self._line = ProgressLine()
        self._spinner: Spinner | None = None

    def __enter__(self) -> Self:
        from ...quant.jit import linker
        from . import mapped_file_error

        mapped_file_error.install()
        if not self._quiet:
            linker.listeners.append(self.compiling)
        return self

    def __exit__(self, *_: object) -> None:
        from ...quant.jit import linker

        if not self._quiet:
            linker.listeners.remove(self.compiling)
        self.clear()

    def compiling(self, progress: Progress) -> None:
        """Kernels are being compiled: a line that moves on a terminal, one note elsewhere; at the end it goes."""
        from ...quant.jit.cache import why_not_kept
        from ...quant.jit.cpu import target

        if progress.total and progress.done == progress.total:
            self._spin(self._doing) if self._doing else self.clear()
            return
        reason = why_not_kept()
        if not self._noted and reason:
            self.notes([f"kernels are compiled for this run only: {reason}"])
        elif not self._noted and not self._can_spin():
            self.notes([f"compiling kernels for {target().isa} (once)"])
        self._noted = True
        label = compiling_label(progress, first=not reason)
        if progress.total:
            self._spin(label)
        else:
            self.status(label)

    def progress(self, title: str, done: int, total: int, unit: str = "", more: str = "") -> None:
        """A bar that says how far the work is and how long it will take; not in the first second, only on terminals.

        What matters less comes last: a narrow terminal cuts it off.
        """
        if monotonic() - self._since >= PATIENCE and done and self._can_draw():
            more = one_line(more.removeprefix(", "))
            self._line.steps(one_line(title), done, total, unit, more, columns(sys.stderr) - 1)

    def transfer(self, name: str, done: int, total: int) -> None:
        """A bar for the bytes of a file, with their speed, in the place of the last line."""
        if self._can_draw():
            self._line.transfer(one_line(name), done, total, columns(sys.stderr) - 1)

    def busy(self, label: str) -> None:
        """A line that moves until anything else is shown: the program works at `label`. Only on terminals."""
        self._doing = label
        self._spin(label)

    def _spin(self, label: str) -> None:
        if not self._can_spin():
            return
        if self._spinner is None:
            from .spinner import Spinner

            self._spinner = Spinner(self._draw, lambda label: note(f"({label})"))
        self._spinner.show(one_line(label))

    def _can_spin(self) -> bool:
        return not self._quiet and sys.stderr is not None and sys.stderr.isatty()

    def status(self, text: str) -> bool:
        """A line about what goes on, in the place of the last one; false where that cannot be."""
        if self._spinner is not None and self._spinner.turning:
            self._spinner.show(one_line(text))
            return True
        return self._draw(text)

    def _draw(self, text: str) -> bool:
        if not self._can_draw():
            return False
        self._line.text(one_line(text), columns(sys.stderr) - 1)
        return True

    def _can_draw(self) -> bool:
        return not self._quiet and can_draw(sys.stderr)

    def clear(self) -> None:
        """Take the progress line away."""
        self._doing = ""
        if self._spinner is not None:
            self._spinner.stop()
        self._line.clear()

    def gap(self) -> None:
        """An empty line on a terminal, between what a person and what the program says."""
        self.clear()
        if is_terminal():
            say("")
            flush()

    def notes(self, texts: Iterable[str]) -> None:
        """What the user should know, unless silence was asked for."""
        for text in texts if not self._quiet else ():
            self.clear()
            note(text)

    def told(self, texts: Iterable[str], hang: int = 0) -> None:
        """What the user has asked for in a chat, also where silence was asked for; a long line goes on indented."""
        for text in texts:
            self.clear()
            note(text, hang=hang)

    def lines(self, texts: Iterable[str], *, hang: int | None = None) -> None:
        """Lines of a result to stdout, each as soon as it is there; `hang` is as in `lines`."""
        for text in texts:
            self.clear()
            lines([text], hang=hang)

    def fact(self, name: str, value: str, ok: bool | None, hint: str) -> None:
        """A line about this machine on stdout, marked where it was judged, with what to do where it is not well."""
        mark = {None: " ", True: "✓", False: "✗"}[ok]
        self.lines([f"{mark} {name:<20} {value}"], hang=23)
        self.lines([f"  {hint}"] if ok is False else [], hang=2)
