"""What a person types: lines with history, completion and paste on a terminal, plain lines elsewhere.

The line editor's library is loaded only where there is a terminal that it can draw on.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from . import error_stream, typeahead
from .spinner import TURN, frames
from .terminal import can_draw, note, report, visible
from .wrap import width_of, wrapped

if TYPE_CHECKING:
    from ...errors import LlmlocalError

PROMPT = "> "
INVITATION, SHORT_INVITATION = "Ask anything (/? for help)", "/? for help"  # in an empty prompt
WIDE = 60  # columns from which on the longer one is shown
PASTED_LINES, PASTED_CHARACTERS = 10, 2000  # a paste of more is shown as its size
YES_NO = {"y": "yes", "yes": "yes", "n": "no", "no": "no"}
ANSWER = ": "  # before the answer to a question that any text answers


# Gives the words that can replace the end of a text, each with what it means, and how long that end is.
Completer = Callable[[str], tuple[int, Iterable[tuple[str, str]]]]


class Work(Protocol):
    """What goes on while the user types: `label` says it in words, empty when it has ended; `failure` is told once."""

    @property
    def label(self) -> str: ...
    def failure(self) -> LlmlocalError | None: ...


class Keyboard(Protocol):
    """Where the user's texts come from. `lines`: they are whole lines, which the terminal itself edits."""

    lines: bool

    def read(self, corner: str, default: str = "", work: Work | None = None) -> str | None:
        """The next text, None at the end. `corner` is shown beside it; raises KeyboardInterrupt for Ctrl-C.

        A line editor shows `work` as long as it goes on, and how it failed.
        """

    def ask(self, question: str, answers: Mapping[str, str]) -> str:
        """What `answers` says that the line typed means; the last meaning where nothing can be answered.

        Only a whole line that is one of `answers` counts, in any case of its letters; any other is asked for again.
        What was typed before the question was on the screen is forgotten.
        """

    def line(self, question: str) -> str:
        """One line, typed after the question was on the screen; empty where nothing can be answered."""


def is_person() -> bool:
    """Whether a person sits at stdin."""
    return sys.stdin is not None and sys.stdin.isatty()


def interactive() -> bool:
    """Whether a person sits at a terminal that can be drawn on, for both input and output."""
    return is_person() and can_draw(sys.stdout)


class PlainKeyboard:
    """Lines of stdin, a turn each. On a terminal a mark says that it is the user's turn."""

    lines = True

    def __init__(self) -> None:
        self._person = is_person()

    def read(self, corner: str, default: str = "", work: Work | None = None) -> str | None:
        return self._read(PROMPT)

    def ask(self, question: str, answers: Mapping[str, str]) -> str:
        return _chosen(question, answers, self._answer if self._person else None)

    def line(self, question: str) -> str:
        if not self._person:
            return ""
        _put_question(question)
        return self._answer(ANSWER) or ""

    def _answer(self, mark: str) -> str | None:
        try:
            return self._read(mark)
        except KeyboardInterrupt:
            note("")
            return None

    def _read(self, mark: str) -> str | None:
        if sys.stdin is None:
            return None
        if self._person:
            error_stream.write(mark)
        data = sys.stdin.buffer.readline()
        if not data and self._person:
            note("")
        return data.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r") if data else None


class LineEditor:
    """A line editor. Enter sends, Alt-Enter and Ctrl-J make a new line, Tab completes, Ctrl-G opens the user's editor.

    `history` is a file, None for none; `complete` gives the words that can replace the end of a text.
    """

    lines = False

    def __init__(self, history: Path | None, complete: Completer) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.layout.processors import TabsProcessor
        from prompt_toolkit.styles import Style

        self._pastes = Pastes()
        self._session: Any = PromptSession(
            history=_history(history, self._pastes),
            multiline=True,
            prompt_continuation="",
            complete_while_typing=False,
            enable_suspend=True,
            tempfile_suffix=".md",
            key_bindings=_keys(self._pastes),
            completer=_completer(complete),
            color_depth=_no_colour(),
            style=Style.from_dict({"bottom-toolbar": "noreverse"}),
            input_processors=[TabsProcessor(char1=" ", char2=" ")],
            placeholder=None if os.environ.get("NO_COLOR") else _invitation,
        )

    def read(self, corner: str, default: str = "", work: Work | None = None) -> str | None:
        from prompt_toolkit.application import get_app

        def watch() -> None:
            if work is not None and work.label:
                self._session.app.create_background_task(self._watch(work))

        def meter() -> str:
            return "" if get_app().is_done else corner  # what was sent stands alone

        try:
            mark = PROMPT if os.environ.get("NO_COLOR") else [("bold ansicyan", PROMPT)]
            shown = self._pastes.taken(default)
            text: str = self._session.prompt(mark, rprompt=meter, default=shown, pre_run=watch)
        except EOFError:
            return None
        finally:
            self._session.bottom_toolbar = None
        if self._session.app.erase_when_done:
            _show_wrapped(mark, text)
        return self._pastes.whole(text)

    async def _watch(self, work: Work) -> None:
        """Show at the bottom of the screen what goes on, and above the line how it failed."""
        from asyncio import sleep

        from prompt_toolkit.application import run_in_terminal

        for frame in cycle(frames()):
            if not (label := work.label):
                break
            self._session.bottom_toolbar = f"{frame} {label}"
            self._session.app.invalidate()
            await sleep(TURN)
        self._session.bottom_toolbar = None
        self._session.app.invalidate()
        if failure := work.failure():
            await run_in_terminal(partial(report, failure, None))

    def ask(self, question: str, answers: Mapping[str, str]) -> str:
        return _chosen(question, answers, self._answer)

    def line(self, question: str) -> str:
        _put_question(question)
        return self._answer(ANSWER) or ""

    def _answer(self, mark: str) -> str | None:
        from prompt_toolkit import prompt

        try:
            text: str = prompt(mark, color_depth=_no_colour())
        except (EOFError, KeyboardInterrupt):
            return None
        return text


def _too_wide(text: str) -> bool:
    """Whether the terminal breaks one of the lines that were typed."""
    from shutil import get_terminal_size

    return any(width_of(line) > get_terminal_size().columns for line in f"{PROMPT}{text}".split("\n"))


def _show_wrapped(mark: Any, text: str) -> None:
    """What was sent, in the place of the line in which it was typed: broken between words."""
    from shutil import get_terminal_size

    from prompt_toolkit import print_formatted_text
    from prompt_toolkit.formatted_text import FormattedText

    columns = get_terminal_size().columns
    body = "\n".join(wrapped(line, columns) for line in f"{PROMPT}{visible(text)}".split("\n"))
    parts = [*mark, ("", body.removeprefix(PROMPT))] if isinstance(mark, list) else [("", body)]
    print_formatted_text(FormattedText(parts), color_depth=_no_colour())


class Pastes:
    """Large pastes: a mark such as `[pasted 120 lines]` stands for each in the line, and the whole text is sent."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def taken(self, text: str) -> str:
        """What stands for a pasted text in the line: itself, unless it is large."""
        lines = text.count("\n") + 1
        if lines <= PASTED_LINES and len(text) <= PASTED_CHARACTERS:
            return text
        size = f"{lines} lines" if lines > PASTED_LINES else f"{len(text)} characters"
        marks = (f"[pasted {size}{more}]" for more in ("", *(f", {n}" for n in range(2, len(self._texts) + 3))))
        mark = next(mark for mark in marks if self._texts.get(mark, text) == text)
        self._texts[mark] = text
        return mark

    def whole(self, text: str) -> str:
        """A line with the pasted texts in the place of their marks."""
        if not self._texts:
            return text
        return re.sub("|".join(map(re.escape, self._texts)), lambda found: self._texts[found[0]], text)

    def mark_before(self, text: str) -> int:
        """How many characters a mark at the end of `text` has; 0 where there is none."""
        return next((len(mark) for mark in self._texts if text.endswith(mark)), 0)


def _invitation() -> Any:
    from shutil import get_terminal_size

    from prompt_toolkit.application import get_app

    app, words = get_app(), INVITATION if get_terminal_size().columns >= WIDE else SHORT_INVITATION
    unseen = app.is_done or app.layout.is_searching  # what a search has found is shown while the line itself is empty
    return [("ansibrightblack", "" if unseen else words)]


def _put_question(question: str) -> None:
    """Show a question, then forget what was typed before it could be seen."""
    note(question)
    typeahead.discard()


def _chosen(question: str, answers: Mapping[str, str], read: Callable[[str], str | None] | None) -> str:
    """What the answer to a question means, asked until it is one of `answers`; the last meaning where none comes.

    Whoever answers something else is told which answers there are.
    """
    refused = list(answers.values())[-1]
    if read is None:
        return refused
    shortest = {meaning: answer for answer, meaning in reversed(list(answers.items()))}
    mark = f"[{'/'.join(shortest[meaning] for meaning in dict.fromkeys(answers.values()))}] "
    _put_question(question)
    while (text := read(mark)) is not None:
        if (answer := answers.get(text.strip().lower())) is not None:
            return answer
        _put_question(f"answer with one of: {', '.join(answers)}")
    return refused


def edited(text: str, name: str = "message.md") -> str | None:
    """`text`, in a file of this name, as the user's editor leaves it; None if there is none or it failed."""
    import shlex
    import subprocess
    from tempfile import TemporaryDirectory

    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with TemporaryDirectory(prefix="llmlocal-") as folder:
        path = Path(folder) / name
        path.write_text(text, "utf-8", "surrogateescape")
        try:
            if subprocess.run([*shlex.split(command), str(path)], check=False).returncode:
                return None
        except (OSError, ValueError):
            return None
        return path.read_text("utf-8", "surrogateescape").removesuffix("\n")


def _no_colour() -> Any:
    from prompt_toolkit.output import ColorDepth

    return ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None


def _history(path: Path | None, pastes: Pastes) -> Any:
    """The history in a file that only the user can read; in memory, with a note, where that cannot be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class InMemory(InMemoryHistory):
        def append_string(self, string: str) -> None:
            super().append_string(pastes.whole(string))

    class Kept(FileHistory):
        def append_string(self, string: str) -> None:
            super().append_string(pastes.whole(string))

        def store_string(self, string: str) -> None:
            with suppress(OSError):  # a full disk must not end the chat
                super().store_string(string.encode("utf-8", "replace").decode())

    if path is None:
        return InMemory()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError as error:
        note(f"the history cannot be kept: {error.strerror}")
        return InMemory()
    return Kept(str(path))


def _keys(pastes: Pastes) -> Any:
    from prompt_toolkit.application import get_app
    from prompt_toolkit.filters import Condition, is_searching
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.keys import Keys

    keys = KeyBindings()

    @keys.add("enter", filter=~is_searching)
    def send(event: KeyPressEvent) -> None:
        event.app.erase_when_done = _too_wide(event.current_buffer.text)
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-g", filter=~is_searching)
    def open_editor(event: KeyPressEvent) -> None:
        event.current_buffer.open_in_editor()

    @keys.add(Keys.BracketedPaste, filter=~is_searching)
    def paste(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text(pastes.taken(event.data.replace("\r\n", "\n").replace("\r", "\n")))

    def after_mark() -> int:
        return pastes.mark_before(get_app().current_buffer.document.text_before_cursor)

    @keys.add("backspace", filter=Condition(lambda: after_mark() > 0) & ~is_searching)
    def remove_paste(event: KeyPressEvent) -> None:
        event.current_buffer.delete_before_cursor(after_mark())

    @keys.add("c-c", filter=~is_searching)
    @keys.add("<sigint>")
    def interrupt(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys


def _completer(complete: Completer) -> Any:
    from prompt_toolkit import completion
    from prompt_toolkit.completion import CompleteEvent, Completion
    from prompt_toolkit.document import Document

    class Words(completion.Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            length, words = complete(document.text_before_cursor)
            for word, meaning in words:
                yield Completion(word, start_position=-length, display_meta=meaning)

    return Words()
