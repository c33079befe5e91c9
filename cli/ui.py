"""The only file that draws. stdout carries the answer and nothing else; all that is said about it goes to stderr.

Each stream is asked for itself whether it is a terminal. To a pipe bytes pass unchanged; on a terminal the model's
control characters are shown, never sent. Knows no model.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import shutil
import sys
import traceback
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, BinaryIO

from ..errors import LlmlocalError, UsageError

if TYPE_CHECKING:
    from ..session import Finished, Piece

# What can move a cursor or turn text around: C0 but for line feed and tab, DEL, C1, bidirectional overrides.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ENDS = {"stop": "the model", "length": "the limit of tokens", "context": "a full context"}


def visible(text: str) -> str:
    """`text` with its control characters spelled out."""
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """`text`, whatever it quotes, as a single line that cannot move a terminal."""
    escaped = visible(text).replace("\n", "\\n").replace("\t", "\\t")
    return escaped.encode("utf-8", "backslashreplace").decode()


def can_draw(stream: IO[str] | None) -> bool:
    """Whether `stream` is a terminal on which a line can be drawn over."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


# ---- lines --------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """A line of what was asked for, to stdout."""
    _stdout().write(text.encode() + b"\n")


def note(text: str) -> None:
    """One line about what happens, to stderr."""
    if sys.stderr is not None:
        sys.stderr.write(one_line(text) + "\n")
        sys.stderr.flush()


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


def _stdout() -> BinaryIO:
    if sys.stdout is None:
        raise UsageError("standard output is closed")
    return sys.stdout.buffer


# ---- an answer ----------------------------------------------------------------------------------------------------


class Screen:
    """What a command shows while it works: kernels being compiled, then the answer. A context manager."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._compiled = 0
        self._drawn = False  # a progress line stands on the terminal, without a line feed

    def __enter__(self) -> Screen:
        from ..quant import jit

        if not self._quiet:
            jit.listeners.append(self.compiling)
        return self

    def __exit__(self, *_: object) -> None:
        from ..quant import jit

        if not self._quiet:
            jit.listeners.remove(self.compiling)
        self.clear()

    def compiling(self, kernel: str) -> None:
        """Told before each kernel: one line in all, which counts where it can be drawn over."""
        from ..quant.cpu import target

        self._compiled += 1
        title = f"compiling kernels for {target().isa} (once)"
        if can_draw(sys.stderr):
            line = f"{title}: {self._compiled} {kernel}"[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write(f"\r{line}\x1b[K")
            sys.stderr.flush()
            self._drawn = True
        elif self._compiled == 1:
            note(title)

    def clear(self) -> None:
        """Take the progress line away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._drawn = False

    def lines(self, lines: Iterable[str]) -> None:
        """Lines of a result to stdout, each as soon as it is there."""
        for line in lines:
            self.clear()
            say(visible(line))
            flush()

    def answer(self, events: Iterable[Piece | Finished]) -> None:
        """Stream an answer to stdout, and say on stderr how it ended if that is asked for or a surprise."""
        from ..session import Piece

        with Stream(_stdout(), terminal=sys.stdout.isatty()) as stream:
            end = None
            for event in events:
                if isinstance(event, Piece):
                    self.clear()
                    stream.write(event.data)
                else:
                    end = event
        if end and end.reason == "context" and not self._quiet:
            note("the context is full, so the answer ends here; a larger --ctx holds more")
        if end and self._verbose:
            note(_summary(end))


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


def _summary(end: Finished) -> str:
    reused = f", {end.reused_tokens} of them reused" if end.reused_tokens else ""
    return (
        f"prompt: {end.prompt_tokens} tokens{reused}, {end.prefill_speed:.1f} tokens/s; "
        f"answer: {end.generated_tokens} tokens, {end.decode_speed:.1f} tokens/s; "
        f"ended by {ENDS[end.reason]}; seed {end.seed}"
    )
