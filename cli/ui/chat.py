"""How a chat looks: answers in Markdown as they stream, thoughts dim and apart, notes, the clipboard."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from ..choices import Rendering, ShownThoughts
from .answer import AnswerScreen
from .code import highlighted
from .markdown import DIM, RESET, Markdown
from .terminal import can_draw, columns, note, visible

if TYPE_CHECKING:
    from ...chat.answer import Event
    from ...generation.session import Finished

CLIPBOARDS = (
    ("WAYLAND_DISPLAY", ("wl-copy",)),
    ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("DISPLAY", ("xsel", "--clipboard", "--input")),
    ("", ("pbcopy",)),
    ("", ("clip.exe",)),
    ("TERMUX_VERSION", ("termux-clipboard-set",)),
)
OSC_LIMIT = 74_994  # bytes that terminals take in base64
CLIPBOARD_SECONDS = 5


class ChatScreen(AnswerScreen):
    """Draws the answers of a chat: to stdout what is said, on stderr, or dim on the terminal, what is thought."""

    def __init__(
        self,
        *,
        render: Rendering = Rendering.auto,
        thoughts: ShownThoughts = ShownThoughts.show,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(quiet=quiet, verbose=verbose)
        self.render, self.thoughts = render, thoughts

    @property
    def rendered(self) -> bool:
        """Whether Markdown is drawn: by itself only on a terminal with colours."""
        if self.render is not Rendering.auto:
            return self.render is Rendering.on
        return coloured()

    def reply(self, events: Iterable[Event], stopped: Callable[[], bool]) -> Finished | None:
        """Draw an answer until it ends or `stopped`; its end, None where it was stopped."""
        from ...chat.answer import Count
        from ...chat_format.tag_splitter import Part
        from ...generation.session import Finished, Reading

        self._since = monotonic()
        writer = _Writer(self)
        try:
            for event in events:
                if isinstance(event, Reading):
                    self.progress("prompt", event.done, event.total, " tokens")
                elif isinstance(event, Part):
                    self.clear()
                    writer.part(event)
                elif isinstance(event, Count):
                    writer.count(event)
                elif isinstance(event, Finished):
                    writer.close()
                    self._tell_end(event)
                    return event
                if stopped():
                    break
        finally:
            self.clear()
            writer.close()
        return None

    def aside(self, text: str) -> None:
        """A line of ours in the chat, dim where there are colours."""
        self.clear()
        sys.stderr.write(f"{DIM}{visible(text)}{RESET}\n" if coloured() else f"{visible(text)}\n")
        sys.stderr.flush()


class _Writer:
    """One answer on its way to the terminal."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._markdown = Markdown(lambda: columns(sys.stdout), highlighted) if screen.rendered else None
        self._kind, self._last, self._closed = "", "\n", False
        self._thought_since, self._thought, self._thought_before = 0.0, 0, 0
        terminal = sys.stdout is not None and sys.stdout.isatty()
        self._safe: Callable[[str], str] = visible if terminal else str

    def part(self, part: object) -> None:
        kind, text = getattr(part, "kind", ""), getattr(part, "text", "")
        if kind == "call":
            return
        if kind != self._kind:
            self._leave()
            self._kind = kind
            if kind == "thought":
                self._begin_thought()
        if kind == "thought":
            self._put_thought(text)
        else:
            self._put(self._markdown.push(self._safe(text)) if self._markdown else self._safe(text))

    def count(self, count: object) -> None:
        """Tokens so far; a folded thought shows them."""
        self._thought = int(getattr(count, "thought", 0)) - self._thought_before
        if self._kind == "thought" and self._screen.thoughts is ShownThoughts.fold:
            self._screen.status(f"thinking: {self._thought} tokens")

    def close(self) -> None:
        """The end of the answer, on a line of its own."""
        if self._closed:
            return
        self._closed = True
        self._leave()

    def _leave(self) -> None:
        """End the part that was being written."""
        if self._kind == "thought":
            self._end_thought()
        elif self._kind == "answer":
            if self._markdown:
                self._put(self._markdown.finish())
            if self._last != "\n":
                self._put("\n")
        self._kind = ""

    def _begin_thought(self) -> None:
        self._thought_since = monotonic()
        self._thought_before += self._thought
        if self._screen.thoughts is ShownThoughts.show:
            self._screen.aside("thinking:")

    def _put_thought(self, text: str) -> None:
        if self._screen.thoughts is ShownThoughts.show:
            on = sys.stderr.isatty()
            shown = visible(text) if on else text
            sys.stderr.write(f"{DIM}{shown}{RESET}" if coloured() and on else shown)
            sys.stderr.flush()
            self._last = text[-1]

    def _end_thought(self) -> None:
        if self._screen.thoughts is ShownThoughts.show:
            sys.stderr.write("\n\n" if self._last != "\n" else "\n")
            sys.stderr.flush()
        elif self._screen.thoughts is ShownThoughts.fold:
            seconds = monotonic() - self._thought_since
            self._screen.aside(f"thought for {seconds:.0f} s, {self._thought} tokens (/think shows it)")
        self._last = "\n"

    def _put(self, text: str) -> None:
        if not text:
            return
        data = text.encode("utf-8", "surrogateescape")
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        self._last = text[-1]


def coloured() -> bool:
    """Whether stdout is a terminal with colours that the user wants."""
    return can_draw(sys.stdout) and not os.environ.get("NO_COLOR")


def copy(text: str) -> str:
    """Put a text into the clipboard; by what, in words, empty where there is no way."""
    data = text.encode("utf-8", "replace")
    for variable, command in CLIPBOARDS:
        if (not variable or os.environ.get(variable)) and shutil.which(command[0]):
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run(
                    command,
                    input=data,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=True,
                    timeout=CLIPBOARD_SECONDS,
                )
                return command[0]
    encoded = base64.b64encode(data).decode()
    if len(encoded) > OSC_LIMIT or not can_draw(sys.stdout):
        return ""
    sys.stdout.write(f"\x1b]52;c;{encoded}\x07")
    sys.stdout.flush()
    return "the terminal"


def tell(lines: Iterable[str]) -> None:
    """Lines about the chat, to stderr."""
    for line in lines:
        note(line)
