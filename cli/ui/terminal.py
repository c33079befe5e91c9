"""The only file that draws. stdout carries the answer and nothing else; all that is said about it goes to stderr.

Each stream is asked for itself whether it is a terminal. To a pipe bytes pass unchanged; on a terminal the model's
control characters are shown, never sent. Knows no model.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import IO, TYPE_CHECKING, BinaryIO

from ...errors import LlmlocalError, UsageError

if TYPE_CHECKING:
    from ...generation.session import Event, Finished

# What can move a cursor or turn text around: C0 but for line feed and tab, DEL, C1, bidirectional overrides.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
PATIENCE = 1.0  # seconds of silence before progress is shown
ENDS = {"stop": "the model", "length": "the limit of tokens", "context": "a full context"}


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


def columns(stream: IO[str]) -> int:
    """How wide the terminal behind `stream` is; the user's COLUMNS goes first."""
    try:
        return int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        pass
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):  # no file behind it
        return 80


# ---- lines --------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """A line of what was asked for, to stdout."""
    _stdout().write(text.encode() + b"\n")


def lines(texts: Iterable[str], *, hang: int | None = None) -> None:
    """Lines of a result, each as soon as it is there; with `hang` a terminal's long ones go on, indented by it."""
    wide = columns(sys.stdout) if hang is not None and _is_terminal() else 0
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
    with Stream(_stdout(), terminal=_is_terminal()) as stream:
        stream.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


def note(text: str) -> None:
    """One line about what happens, to stderr."""
    if sys.stderr is not None:
        sys.stderr.write(one_line(text) + "\n")
        sys.stderr.flush()


def tell_person(text: str) -> None:
    """A note for those who sit before a terminal; a script's stderr stays clean."""
    if sys.stderr is not None and sys.stderr.isatty():
        note(text)


def confirm(question: str) -> bool:
    """Ask on stderr, and read a line of stdin: whether it is a yes. Both must be terminals."""
    sys.stderr.write(f"{one_line(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def report(error: LlmlocalError, cause: BaseException | None) -> None:
    """What went wrong and what to do next; before it the traceback of `cause`, for developers."""
    if sys.stderr is None:
        return
    if cause:
        traceback.print_exception(cause)
    colour = can_draw(sys.stderr) and not os.environ.get("NO_COLOR")
    sys.stderr.write("\x1b[31merror:\x1b[0m " if colour else "error: ")
    note(str(error))
    if error.hint:
        note(f"hint: {error.hint}")


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


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _stdout() -> BinaryIO:
    if sys.stdout is None:
        raise UsageError("standard output is closed")
    return sys.stdout.buffer


# ---- an answer ----------------------------------------------------------------------------------------------------


class Screen:
    """What a command shows on stderr while it works: kernels being compiled, progress, notes. A context manager."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._compiled = 0
        self._since = monotonic()
        self._drawn = False  # a progress line stands on the terminal, without a line feed

    def __enter__(self) -> Screen:
        from ...quant.jit import linker

        if not self._quiet:
            linker.listeners.append(self.compiling)
        return self

    def __exit__(self, *_: object) -> None:
        from ...quant.jit import linker

        if not self._quiet:
            linker.listeners.remove(self.compiling)
        self.clear()

    def compiling(self, kernel: str) -> None:
        """Told before each kernel: one line in all, which counts where it can be drawn over."""
        from ...quant.jit.cache import cache_root, is_kept
        from ...quant.jit.cpu import target

        self._compiled += 1
        how_often = "once" if is_kept() else f"each time: {cache_root()} cannot be written"
        title = f"compiling kernels for {target().isa} ({how_often})"
        if not self._draw(f"{title}: {self._compiled} {kernel}") and self._compiled == 1:
            note(title)

    def progress(self, title: str, done: int, total: int, unit: str = "", more: str = "") -> None:
        """A line that says how far the work is and how long it will take; not in the first second, only on terminals.

        What matters less comes last: a narrow terminal cuts it off.
        """
        seconds = monotonic() - self._since
        if seconds >= PATIENCE and done and not self._quiet:
            left = f", {clock(seconds / done * (total - done))} left" if done < total else ""
            self._draw(f"{title}: {done} of {total}{unit}{left}{more}")

    def status(self, text: str) -> bool:
        """A line about what goes on, in the place of the last one; false where that cannot be."""
        return not self._quiet and self._draw(text)

    def _draw(self, text: str) -> bool:
        """Put `text` in the place of the last progress line; false where that cannot be."""
        if not can_draw(sys.stderr):
            return False
        self._drawn = True
        sys.stderr.write(f"\r{one_line(text)[: columns(sys.stderr) - 1]}\x1b[K")
        sys.stderr.flush()
        return True

    def clear(self) -> None:
        """Take the progress line away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._drawn = False

    def notes(self, texts: Iterable[str]) -> None:
        """What the user should know, unless silence was asked for."""
        for text in texts if not self._quiet else ():
            self.clear()
            note(text)

    def lines(self, texts: Iterable[str]) -> None:
        """Lines of a result to stdout, each as soon as it is there."""
        for text in texts:
            self.clear()
            lines([text])

    def fact(self, name: str, value: str, ok: bool | None, hint: str) -> None:
        """A line about this machine on stdout, marked where it was judged, with what to do where it is not well."""
        mark = {None: " ", True: "✓", False: "✗"}[ok]
        self.lines([f"{mark} {name:<20} {value}", *([f"  {hint}"] if ok is False else [])])

    def bars(self, texts: Iterable[str]) -> None:
        """A chart on stdout, for eyes only: nothing where stdout is no terminal."""
        if _is_terminal():
            self.lines(texts)

    def watch(self, events: Iterable[Event]) -> Iterator[bytes | Finished]:
        """The bytes of an answer and its end, while stderr tells how the prompt is read, and what was a surprise."""
        from ...generation.session import Finished, Reading

        self._since = monotonic()
        for event in events:
            if isinstance(event, Reading):
                speed = event.done / max(monotonic() - self._since, 1e-9)
                self.progress("prompt", event.done, event.total, " tokens", f", {speed:.0f} tokens/s")
                continue
            self.clear()
            if isinstance(event, Finished):
                self._tell_end(event)
                yield event
            else:
                yield event.data

    def thought(self, text: str) -> None:
        """A piece of what a model thinks, to stderr: dim on a terminal with colours, every byte to a pipe."""
        if self._quiet or sys.stderr is None:
            return
        self.clear()
        dim = can_draw(sys.stderr) and not os.environ.get("NO_COLOR")
        shown = visible(text) if sys.stderr.isatty() else text
        shown = shown.encode("utf-8", "replace").decode()
        sys.stderr.write(f"[2m{shown}[0m" if dim else shown)
        sys.stderr.flush()

    def answer(self, events: Iterable[Event], out: BinaryIO | None = None) -> None:
        """Stream an answer to `out`, by default stdout."""
        terminal = out is None and _is_terminal()
        with Stream(out or _stdout(), terminal=terminal) as stream:
            for event in self.watch(events):
                if isinstance(event, bytes):
                    stream.write(event)

    def _tell_end(self, end: Finished) -> None:
        if end.reason == "context":
            self.notes(["the context is full, so the answer ends here; a larger --ctx holds more"])
        if self._verbose:
            note(summary(end))


class Stream:
    """Bytes of an answer to a pipe or a terminal, each piece at once. A context manager that ends the line it is on."""

    def __init__(self, out: BinaryIO, *, terminal: bool) -> None:
        self._out, self._terminal = out, terminal
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._last = ""

    def write(self, data: bytes) -> None:
        if data:
            self._send(data, final=False)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._terminal or (kind is not None and issubclass(kind, OSError)):
            return
        self._send(b"", final=True)
        if self._last not in ("", "\n"):
            self._put(b"\n")

    def _send(self, data: bytes, *, final: bool) -> None:
        if not self._terminal:
            self._put(data)
        elif text := self._utf8.decode(data, final):
            self._last = text[-1]
            self._put(visible(text).encode())

    def _put(self, data: bytes) -> None:
        self._out.write(data)
        self._out.flush()


def clock(seconds: float) -> str:
    """A time left as people say it: 42 s, 3:05 min, 2:10 h."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02} min" if whole < 6000 else f"{whole // 3600}:{whole // 60 % 60:02} h"


def summary(end: Finished) -> str:
    """The speed of an answer and why it ended, in a line."""
    reused = f", {end.reused_tokens} of them reused" if end.reused_tokens else ""
    return (
        f"prompt: {end.prompt_tokens} tokens{reused}, {end.prefill_speed:.1f} tokens/s; "
        f"answer: {end.generated_tokens} tokens, {end.decode_speed:.1f} tokens/s; "
        f"ended by {ENDS[end.reason]}; seed {end.seed}"
    )
