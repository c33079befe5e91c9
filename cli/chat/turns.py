"""The turns of a chat: a question, its answer, the functions it calls; what is saved, and room made for the next."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import PromptTooLongError, ResourceError
from ..ui.chat import ChatScreen
from ..ui.keyboard import Keyboard, no_echo
from .interrupts import Interrupts

if TYPE_CHECKING:
    from ...chat.answer import Event
    from ...chat.chat import Dialogue
    from ...chat.store import SessionFile
    from ...chat.tools import Tool
    from ...chat_format.tool_calls import Call
    from ...generation.session import Finished, Session

ROUNDS = 16  # times that functions are called in one turn


@dataclass(slots=True)
class Options:
    """What of a chat is not the model's: who runs functions, what to do at the context's end."""

    tools: tuple[Tool, ...] = ()
    tool_run: tuple[str, ...] | str = "ask"  # a program, "ask" or "never"
    context_end: str = "ask"  # or "drop", "summarize", "stop"


class Talk:
    """A chat. `keep` is where its turns are saved, None for nowhere; `open_model` gives a session by a model's name."""

    def __init__(
        self,
        dialogue: Dialogue,
        screen: ChatScreen,
        keyboard: Keyboard,
        keep: SessionFile | None,
        options: Options,
        open_model: Callable[[str], Session],
    ) -> None:
        self.dialogue, self.screen, self.keyboard, self.options = dialogue, screen, keyboard, options
        self.keep, self.open_model = keep, open_model
        self.interrupts = Interrupts()
        self.end: Finished | None = None  # of the last answer
        self.default = ""  # what stands in the next line already
        self.person = sys.stdin is not None and sys.stdin.isatty()

    # ---- turns ------------------------------------------------------------------------------------------------------

    def ask(self, text: str) -> None:
        """A turn: the question, the answer, the calls it makes. It is saved however it ends, if anything was said."""
        dialogue = self.dialogue
        turn = dialogue.talk.begin(text)
        try:
            if self.make_room():
                self._answer()
        finally:
            with self.interrupts.held():
                if len(turn.messages) > 1:
                    self.save({"type": "turn", "messages": turn.messages})
                else:
                    dialogue.talk.undo()
                    self.default = text

    def _answer(self) -> None:
        dialogue = self.dialogue
        for _ in range(ROUNDS):
            self.stream(dialogue.reply())
            if self.interrupts.stopped:
                self.screen.aside("(stopped)")
                return
            if not dialogue.calls:
                return
            results = [self._called(call) for _, call in dialogue.calls]
            dialogue.results([result or "the user did not allow this call" for result in results])
            if not any(results) or not self.make_room():
                return
        self.screen.aside(f"functions were called {ROUNDS} times: the turn ends here")

    def stream(self, events: Iterable[Event]) -> None:
        """Draw the events of an answer until it ends or Ctrl-C stops it."""
        with self._echo(), self.interrupts.answering(), closing(events):  # type: ignore[type-var]
            self.end = self.screen.reply(events, lambda: self.interrupts.stopped)
        cache = self.dialogue.session.cache
        if cache is not None and cache.notes:
            self.screen.notes(cache.notes)
            cache.notes.clear()

    def _echo(self) -> AbstractContextManager[None]:
        return no_echo(lines=True) if self.keyboard.lines else nullcontext()

    def make_room(self) -> bool:
        """See to it that the context holds the turn; false where the user would rather stop."""
        dialogue = self.dialogue
        if dialogue.fits():
            return True
        choice = self.options.context_end
        n, n_ctx = len(dialogue.prompt().ids), dialogue.session.n_ctx
        if choice == "ask":
            full = f"The conversation is {n} tokens, the context {n_ctx}"
            question = f"{full}: [d]rop the oldest turns, [s]ummarize them, or sto[p]?"
            choice = {"d": "drop", "s": "summarize"}.get(self.keyboard.ask(question, "dsp"), "stop")
        if choice == "stop" or dialogue.talk.seen() < 2:
            if n < n_ctx and dialogue.talk.seen() < 2:
                return True  # one turn that leaves little room: its answer is cut, and that is said
            message = f"the conversation is {n} tokens, and an answer no longer fits a context of {n_ctx}"
            hint = "/clear starts anew, --ctx takes more, --context-end drop or summarize goes on by itself"
            raise PromptTooLongError(message, hint)
        if choice == "summarize":
            self._summarize()
        dropped = dialogue.drop_to_fit() if not dialogue.fits() else 0
        if dropped:
            self.save({"type": "drop", "turns": dropped})
            self.screen.aside(f"(the model no longer sees the {dropped} oldest turns)")
        return True

    def _summarize(self) -> None:
        talk = self.dialogue.talk
        before = talk.summary
        self.screen.aside("(summary:)")
        self.stream(self.dialogue.summarize())
        if talk.summary is not None and talk.summary != before:
            self.save({"type": "summary", "text": talk.summary, "upto": talk.first})
        else:
            self.screen.aside("(no summary was made)")

    def retry(self, text: str) -> None:
        """Answer the last question, or another in its place, anew; a fixed seed would only repeat itself."""
        settings = self.dialogue.settings
        if settings.sampling.seed is not None:
            settings.sampling = replace(settings.sampling, seed=(settings.sampling.seed + 1) % 2**64)
        self.undo()
        self.ask(text)

    def undo(self) -> bool:
        """Take the last turn away; false where there is none."""
        if self.dialogue.talk.undo() is None:
            return False
        self.save({"type": "undo"})
        return True

    def save(self, record: dict[str, Any]) -> None:
        """Add to the session's file; where that fails it is said once, and the chat goes on without."""
        if self.keep is None:
            return
        try:
            with self.interrupts.held():
                self.keep.append(record)
        except ResourceError as error:
            self.screen.notes([f"warning: {error}; this chat is not saved from here on"])
            self.keep = None

    # ---- functions --------------------------------------------------------------------------------------------------

    def _called(self, call: Call) -> str | None:
        """What a function gives, None where it is not run."""
        from ...chat.tools import run

        self.screen.aside(f"calls {call.name}({', '.join(f'{k}={v!r}' for k, v in call.arguments.items())})")
        how = self.options.tool_run
        if how == "never":
            return None
        if isinstance(how, tuple):
            result = run(how, call, whole=True)
        else:
            tool = next((tool for tool in self.options.tools if tool.name == call.name), None)
            if tool is None:
                return f"error: there is no function {call.name}"
            if not tool.command:
                return self.keyboard.line("its result (empty: none):") or None
            if self.keyboard.ask(f"run {tool.command[0]}? [y/n]", "yn") != "y":
                return None
            result = run(tool.command, call)
        self.screen.aside(f"gives {result[:200]}{'…' if len(result) > 200 else ''}")
        return result or "(nothing)"
