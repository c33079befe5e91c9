"""An answer on its way to a terminal, a pipe or a file, while stderr tells how the prompt is read."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO

from .terminal import Screen, can_draw, is_terminal, note, stdout, visible

if TYPE_CHECKING:
    from ...generation.session import Event, Finished

ENDS = {"stop": "the model", "length": "the limit of tokens", "context": "a full context"}


class AnswerScreen(Screen):
    """A screen that answers are drawn on."""

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
        terminal = out is None and is_terminal()
        with Stream(out or stdout(), terminal=terminal) as stream:
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


def summary(end: Finished) -> str:
    """The speed of an answer and why it ended, in a line."""
    reused = f", {end.reused_tokens} of them reused" if end.reused_tokens else ""
    return (
        f"prompt: {end.prompt_tokens} tokens{reused}, {end.prefill_speed:.1f} tokens/s; "
        f"answer: {end.generated_tokens} tokens, {end.decode_speed:.1f} tokens/s; "
        f"ended by {ENDS[end.reason]}; seed {end.seed}"
    )
