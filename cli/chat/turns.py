"""Runs the turns of a chat: a question, its answer, the functions that it calls. Saves them and keeps room for more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ...errors import LlmlocalError, PromptTooLongError, ResourceError
from ...text import counted
from ..ui.answer import AnswerScreen
from ..ui.keyboard import Keyboard
from ..ui.typeahead import no_echo
from ..views.calls import Functions
from .function_calls import REFUSED, FunctionCaller
from .interrupts import Interrupts
from .loading import Loading

if TYPE_CHECKING:
    from ...chat.chat import Chat
    from ...chat.conversation import Turn
    from ...chat.store import SessionFile
    from ...generation.events import Events, Finished
    from ...generation.session import Session

PATIENCE = 0.1  # seconds that leaving waits for the end of loading
MAX_CALL_ROUNDS = 16  # answers with function calls in one turn
CONTEXT_ENDS = {"d": "drop", "drop": "drop", "s": "summarize", "summarize": "summarize", "p": "stop", "stop": "stop"}


@dataclass(slots=True)
class TurnOptions:
    """Who runs functions, and what to do when the context is full."""

    functions: Functions
    context_end: str = "ask"  # "ask", "drop", "summarize" or "stop"
    commands: bool = False  # whether lines that nobody types can be commands


class TurnRunner:
    """Runs the turns of a chat, draws and saves them.

    `saved` is the file that turns are saved in, None for nowhere; `open_model` opens a session by a model's name.
    """

    def __init__(
        self,
        chat: Chat,
        screen: AnswerScreen,
        keyboard: Keyboard,
        saved: SessionFile | None,
        options: TurnOptions,
        open_model: Callable[[str], Session],
    ) -> None:
        self.chat, self.screen, self.keyboard, self.options = chat, screen, keyboard, options
        self.saved, self.open_model = saved, open_model
        self.interrupts = Interrupts()
        self.end: Finished | None = None  # of the last answer
        self._answered: Turn | None = None  # the turn that the model has in its context
        self._noted: set[str] = set()
        self.attached = ""  # files that go with the next question
        self.default = ""  # the text that the next line begins with
        self.interactive = sys.stdin is not None and sys.stdin.isatty()
        self._caller = FunctionCaller(options.functions, screen, self.asked, self._line, interactive=self.interactive)
        self.loading: Loading | None = None  # of the model, from `load` until it is there

    def load(self) -> None:
        """Make the model ready, while the user types. Raises as `Loading`."""
        self.loading = Loading(self.chat.session)
        progress = self.loading.compiling
        if progress is not None and self.keyboard.lines:  # nothing moves beside such a line
            if self.interactive:
                kernels = counted(progress.total, "kernel")
                self.screen.notes([f"first run: compiling {kernels}; you can type meanwhile"])
            else:
                self.screen.compiling(progress)

    def stop_loading(self) -> None:
        """Give up loading the model; the first answer does it then."""
        loading, self.loading = self.loading, None
        if loading is not None:
            loading.stop()

    def close(self) -> None:
        """End loading, and close the session; what is still being loaded ends with the process."""
        if self.loading is None or self.loading.stop(PATIENCE):
            self.chat.session.close()
        self.close_saved()

    def close_saved(self) -> None:
        """Close the saved session; nothing stays of one whose turns were all taken back."""
        if self.saved is not None:
            if self.chat.conversation.turns:
                self.saved.close()
            else:
                self.saved.close_empty()

    # ---- turns ------------------------------------------------------------------------------------------------------

    def ask(self, text: str) -> None:
        """Run a turn: question, answer, function calls. It is saved however it ends, unless there is no answer."""
        attached, self.attached = self.attached, ""
        question = f"{attached}\n\n{text}" if attached and text else attached or text
        turn = self.chat.conversation.begin(question)
        self.screen.notes(self.chat.session.tokenizer.text_notes(question))
        try:
            self.make_room()
            self._answer()
        finally:
            with self.interrupts.held():
                if len(turn.messages) > 1:
                    self.save({"type": "turn", "messages": turn.messages})
                else:
                    self.chat.conversation.undo()
                    self.default, self.attached = text, attached

    def go_on(self) -> None:
        """Go on with the last answer, which was cut short. Raises as `Chat.go_on`."""
        self._stream(self.chat.go_on())
        self._mark_cut()
        with self.interrupts.held():
            self.save({"type": "undo"})
            self.save({"type": "turn", "messages": self.chat.conversation.turns[-1].messages})

    def used(self) -> int:
        """Tokens of the context that the conversation takes."""
        turns, session = self.chat.conversation.turns, self.chat.session
        if not turns:
            return 0
        if turns[-1] is not self._answered:  # undone, cleared, or from a saved session
            with suppress(LlmlocalError):
                return min(len(self.chat.prompt().ids), session.n_ctx)
        return session.used

    def _answer(self) -> None:
        for _ in range(MAX_CALL_ROUNDS):
            self._stream(self.chat.reply())
            if self.end is not None:
                self.end.check_valid()
            if self._mark_cut() or not self.chat.calls:
                return
            results = [self._caller.result(call) for _, call in self.chat.calls]
            self.chat.add_results([result or REFUSED for result in results])
            if not any(results):
                return
            self.make_room()
        self.screen.aside(f"the turn ends here: it has called functions {MAX_CALL_ROUNDS} times")

    def _mark_cut(self) -> bool:
        """Say where an answer was cut short and how it goes on; false where it is whole."""
        more = "; /continue goes on" if self.interactive and self.chat.conversation.turns[-1].answer.strip() else ""
        if self.interrupts.stopped:
            self.screen.aside(f"(stopped{more})")
        elif self.end and self.end.reason == "length" and more:
            self.screen.aside(f"(cut after {counted(self.end.generated_tokens, 'token')}, the limit{more})")
        return self.interrupts.stopped

    def _stream(self, events: Events, out: BytesIO | None = None) -> None:
        """Draw the events of an answer until it ends or Ctrl-C stops it; its text goes to `out`, by default stdout."""
        session = self.chat.session
        if self.interactive:
            self.screen.gap()
        with self._echo_off(), self.interrupts.answering(), closing(events):
            try:
                if not self._loaded():
                    return
            finally:
                self.screen.clear()
            self.end = self.screen.answer(events, out, stopped=lambda: self.interrupts.stopped)
        self._answered = self.chat.conversation.turns[-1]
        cache = session.cache
        if cache is not None and cache.notes:
            self.screen.notes(cache.notes)
            cache.notes.clear()

    def _loaded(self) -> bool:
        """Wait until the model is there; false where Ctrl-C comes before. Raises what loading it raises."""
        loading = self.loading
        if loading is not None and not loading.wait(lambda: self.interrupts.stopped, self.screen.busy):
            if not self.interactive:
                raise KeyboardInterrupt
            return False
        self.loading = None
        if not self.chat.session.loaded:
            self.screen.busy("loading the model")
            _ = self.chat.session.engine
        return True

    def _echo_off(self) -> AbstractContextManager[None]:
        return no_echo(lines=True) if self.keyboard.lines else nullcontext()

    def make_room(self) -> None:
        """Make the conversation fit the context as the options say. Raises PromptTooLongError where it does not."""
        chat = self.chat
        if chat.fits():
            return
        choice = self.options.context_end
        n, n_ctx = len(chat.prompt().ids), chat.session.n_ctx
        if choice == "ask":
            full = f"The context is full (the conversation is {n} tokens, the context {n_ctx})"
            question = f"{full}: [d]rop the oldest turns, [s]ummarize them, or sto[p]?"
            choice = self.asked(question, CONTEXT_ENDS)
        if choice == "stop" or chat.conversation.visible() < 2:
            if n < n_ctx and chat.conversation.visible() < 2:
                return  # one long turn: its answer ends where the context is full, with a note
            message = f"the conversation is {n} tokens, which leaves no room for an answer in a context of {n_ctx}"
            raise PromptTooLongError(message, self._room_hint(n))
        if choice == "summarize":
            self._summarize()
        dropped = chat.drop_to_fit() if not chat.fits() else 0
        if dropped:
            self.save({"type": "drop", "turns": dropped})
            self.screen.aside(f"(the model no longer sees the {counted(dropped, 'oldest turn')})")

    def _room_hint(self, n: int) -> str:
        """What makes room for a conversation of `n` tokens: neither what was given already nor what cannot help."""
        larger = f"start with --ctx {n + self.chat.answer_room}"
        if self.chat.conversation.visible() < 2:
            return f"shorten the question, or {larger}"
        clear = "/clear begins a new conversation; or " if self.interactive else ""
        return f"{clear}{larger}, or with --context-end drop or summarize"

    def _summarize(self) -> None:
        conversation = self.chat.conversation
        before = conversation.summary
        shown = self.interactive
        if shown:
            self.screen.aside("(summary of the older turns:)")
        self._stream(self.chat.summarize(), None if shown else BytesIO())
        if conversation.summary is not None and conversation.summary != before:
            if not shown:
                self.screen.aside(f"(summary of the older turns: {conversation.summary})")
            self.save({"type": "summary", "text": conversation.summary, "upto": conversation.first})
        else:
            self.screen.aside("(the summary was not finished)")

    def show_last(self) -> None:
        """Show the last exchange of a conversation that is continued."""
        turns = self.chat.conversation.turns
        if turns and self.interactive:
            self.screen.gap()
            self.screen.aside(f"> {turns[-1].question}")
            self.screen.gap()
            self.screen.show(turns[-1].answer)

    def retry(self, text: str) -> None:
        """Replace the last turn with a new one for `text`; a fixed seed goes up by one, to get another answer."""
        settings = self.chat.settings
        if settings.sampling.seed is not None:
            settings.sampling = replace(settings.sampling, seed=(settings.sampling.seed + 1) % 2**64)
        self.undo()
        self.ask(text)

    def undo(self) -> bool:
        """Remove the last turn; false if there is none."""
        if self.chat.conversation.undo() is None:
            return False
        self.save({"type": "undo"})
        return True

    def save(self, record: dict[str, Any]) -> None:
        """Add a record to the saved session. Where that fails, warn once and go on without saving."""
        if self.saved is None:
            return
        try:
            with self.interrupts.held():
                self.saved.append(record)
        except ResourceError as error:
            self.screen.notes([f"warning: {error}; this chat is no longer saved"])
            self.saved.close()
            self.saved = None

    def note_once(self, text: str) -> None:
        """A note, the first time only."""
        if text not in self._noted:
            self._noted.add(text)
            self.screen.notes([text])

    def asked(self, question: str, answers: Mapping[str, str]) -> str:
        """What the user answers to a question, see `Keyboard.ask`."""
        with self.interrupts.reading():
            return self.keyboard.ask(question, answers)

    def _line(self, question: str) -> str:
        """A line that the user types."""
        with self.interrupts.reading():
            return self.keyboard.line(question)
