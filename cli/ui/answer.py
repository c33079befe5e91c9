"""Draws answers, for `run` and `chat` alike: text to stdout or a file, thoughts and progress to stderr.

A pipe or a file gets the bytes of the answer unchanged; on a terminal control characters are shown, never sent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from time import monotonic
from typing import IO, TYPE_CHECKING, BinaryIO

from ...text import counted, readable
from ..choices import Rendering, ShownThoughts
from . import error_stream
from .terminal import Screen, can_draw, columns, folded, is_terminal, note, show_text, stdout, visible, wrap_columns
from .wrap import DIM, RESET, PlainText, Wrap

if TYPE_CHECKING:
    from ...generation.events import Event, Finished, Token
    from ...speculation.speculation import Report
    from .markdown import Markdown

EMPTY = {
    "stop": "the model answered nothing",
    "length": "there is no answer: the model reached the token limit before it began one (-n allows more)",
}
REASONS = {"stop": "finished", "length": "reached the token limit", "context": "filled the context"}


class AnswerScreen(Screen):
    """A screen on which answers are drawn.

    `render`: whether Markdown is drawn; auto draws it on a terminal with colours. `thoughts`: what is shown of them.
    `whole_lines`: end an answer with a line feed also where it does not go to a terminal; without a text there is none.
    `wrap`: break lines between words on a terminal.
    """

    def __init__(
        self,
        render: Rendering = Rendering.off,
        *,
        thoughts: ShownThoughts = ShownThoughts.show,
        whole_lines: bool = False,
        wrap: bool = False,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(quiet=quiet, verbose=verbose)
        self.render, self.whole_lines, self.wrap = render, whole_lines, wrap
        self.thoughts = ShownThoughts.hide if quiet or sys.stderr is None else thoughts

    @property
    def draws_markdown(self) -> bool:
        """Whether Markdown is drawn."""
        return self.render is Rendering.on or (self.render is Rendering.auto and _coloured(sys.stdout))

    def answer(
        self, events: Iterable[Event], out: BinaryIO | None = None, stopped: Callable[[], bool] = lambda: False
    ) -> Finished | None:
        """Draw an answer to `out`, by default stdout, until it ends or `stopped`. Returns its end, if it came."""
        from ...generation.events import PromptProgress, Token

        with _Writer(self, out) as writer:
            self.busy("reading the prompt")
            for event in events:
                if isinstance(event, PromptProgress):
                    self.busy(f"reading the prompt, {100 * event.done // event.total} % of {event.total} tokens,")
                elif isinstance(event, Token):
                    writer.token(event)
                else:
                    writer.finish()
                    self._report_end(event, answered=bool(writer.said) or writer.called)
                    return event
                if stopped():
                    break
        return None

    def show(self, text: str, out: BinaryIO | None = None) -> None:
        """Draw an answer that is there already, to `out`, by default stdout."""
        from ...chat_format.tag_splitter import Part
        from ...generation.events import Token

        with _Writer(self, out) as writer:
            writer.token(Token(0, (Part("answer", text),)))

    def plain(self, text: str) -> None:
        """A text as it is, to stdout; on a terminal broken between words."""
        wide = columns(sys.stdout) if self.wrap and is_terminal() else 0
        drawn = PlainText(Wrap(lambda: wide))
        self.clear()
        show_text(drawn.push(visible(text)) + drawn.finish() if is_terminal() else text)

    def aside(self, text: str, *, always: bool = False) -> None:
        """A line about the chat, to stderr, unless silence was asked for; dim where there are colours."""
        if self._quiet and not always:
            return
        self.clear()
        text = folded(visible(text))
        error_stream.write(f"{DIM}{text}{RESET}\n" if _coloured(sys.stderr) else f"{text}\n")

    def _report_end(self, end: Finished, *, answered: bool) -> None:
        if not answered and end.reason in EMPTY and end.generated_tokens:
            self.notes([EMPTY[end.reason]])
        if end.reason == "context":
            self.notes(["the context is full, so the answer ends here; a larger --ctx holds more"])
        if self._verbose:
            note(summary(end))


class _Writer:
    """Writes one answer. A context manager that ends the line it is on, unless nobody takes what is written."""

    def __init__(self, screen: AnswerScreen, out: BinaryIO | None) -> None:
        self._screen, self._out = screen, out or stdout()
        self._terminal = out is None and is_terminal()
        wrap = self._wrap(sys.stdout if self._terminal else None)
        self._text: Markdown | PlainText = PlainText(wrap)
        if screen.draws_markdown:
            from .code import highlighted
            from .markdown import Markdown

            self._text = Markdown(lambda: columns(sys.stdout), highlighted, wrap)
        self._thought = self._wrap(sys.stderr)
        self._kind, self._last = "", "\n"  # of the part that is being written, and its last character
        self._thought_since, self._thought_tokens = 0.0, 0
        self.said = ""  # the last character of the answer, empty as long as there is none
        self.called = False

    def _wrap(self, stream: IO[str] | None) -> Wrap:
        return Wrap(lambda: wrap_columns(stream) if self._screen.wrap else 0)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._screen.clear()
        if kind is None or not issubclass(kind, OSError):
            self.finish()

    def token(self, token: Token) -> None:
        """Write the parts that a token completes; a folded thought shows how many tokens it has."""
        self._thought_tokens += token.thinking
        for part in token.parts:
            self.called |= part.kind == "call"
            if part.kind in ("answer", "thought"):
                self._part(part.kind, part.text)
        if token.thinking and self._screen.thoughts is not ShownThoughts.show:
            self._screen.busy(f"thinking, {counted(self._thought_tokens, 'token')},")

    def close(self) -> None:
        """End the part that is being written."""
        if self._kind == "thought":
            self._end_thought()
        elif self._kind == "answer":
            self._put(self._text.finish())
            if self._terminal and self._last != "\n":
                self._put("\n")
        self._kind = ""

    def finish(self) -> None:
        """End the answer, with a line feed where whole lines are wanted."""
        self.close()
        if self._screen.whole_lines and self.said not in ("", "\n"):
            self._put("\n")

    def _part(self, kind: str, text: str) -> None:
        self._screen.clear()
        if kind != self._kind:
            self.close()
            self._kind = kind
            if kind == "thought":
                self._begin_thought()
        if kind == "thought":
            self._put_thought(text)
        else:
            shown = visible(readable(text)) if self._terminal else text
            self._put(self._text.push(shown))

    def _begin_thought(self) -> None:
        self._thought_since = monotonic()
        if self._screen.thoughts is ShownThoughts.show:
            self._screen.aside("thinking:")

    def _put_thought(self, text: str) -> None:
        if self._screen.thoughts is ShownThoughts.show:
            shown = readable(text)
            if sys.stderr.isatty():
                shown = visible(shown)
            self._write_thought(self._thought.push(shown))
            self._last = text[-1]

    def _write_thought(self, text: str) -> None:
        if text:
            error_stream.write(f"{DIM}{text}{RESET}" if _coloured(sys.stderr) else text)

    def _end_thought(self) -> None:
        if self._screen.thoughts is ShownThoughts.show:
            self._write_thought(self._thought.finish())
            error_stream.write("\n\n" if self._last != "\n" else "\n")
        elif self._screen.thoughts is ShownThoughts.fold:
            seconds = monotonic() - self._thought_since
            tokens = counted(self._thought_tokens, "token")
            self._screen.aside(f"thought for {seconds:.0f} s, {tokens} (/think shows it)")
        self._last, self._thought_tokens = "\n", 0

    def _put(self, text: str) -> None:
        if text:
            self._out.write(text.encode("utf-8", "surrogateescape"))
            self._out.flush()
            self._last = self.said = text[-1]


def summary(end: Finished) -> str:
    """The speed of an answer and why it ended, in a line."""
    reused = f", {end.reused_tokens} of them reused" if end.reused_tokens else ""
    if end.read_again:
        reused += f", {end.read_again} read again (sliding windows no longer reach back to them)"
    return (
        f"prompt: {counted(end.prompt_tokens, 'token')}{reused}, {end.prefill_speed:.1f} tokens/s; "
        f"answer: {counted(end.generated_tokens, 'token')}, {end.decode_speed:.1f} tokens/s, {REASONS[end.reason]}; "
        f"{speculation(end.speculation)}seed {end.seed}"
    )


def speculation(report: Report) -> str:
    """What proposed tokens did for an answer, nothing where there were none."""
    if report.resting:
        return f"no speculation: {report.resting}; "
    if not report.proposed:
        return f"nothing proposed, draft {report.draft_name} ({report.draft.gain:.2f} x); " if report.draft_name else ""
    gain = f"{report.gain:.2f} x as fast; "
    if not report.draft_name:
        return f"{report.accepted} of {report.proposed} proposed tokens accepted, {gain}"
    ngram, draft = report.ngram, report.draft
    return (
        f"proposed tokens accepted: {ngram.accepted} of {ngram.proposed} from the text ({ngram.gain:.2f} x), "
        f"{draft.accepted} of {draft.proposed} from the draft {report.draft_name} ({draft.gain:.2f} x), {gain}"
    )


def _coloured(stream: IO[str] | None) -> bool:
    """Whether a stream is a terminal with colours that the user wants."""
    return can_draw(stream) and not os.environ.get("NO_COLOR")
