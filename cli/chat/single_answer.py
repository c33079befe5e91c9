"""The answer of `run` to one prompt. Functions that it calls are run, and it goes on with their results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from ..ui.answer import AnswerScreen
from ..ui.keyboard import PlainKeyboard, is_person
from ..views.calls import Functions, call_fields
from .function_calls import REFUSED, FunctionCaller
from .turns import MAX_CALL_ROUNDS

if TYPE_CHECKING:
    from ...chat.chat import Chat
    from ...chat_format.prompt import Prompt, TextFile
    from ...chat_format.tool_calls import Call
    from ...generation.events import Event
    from ...generation.session import Session
    from ..open_model import Asked
    from ..options.prompts import PromptOptions


class SingleAnswer(Protocol):
    """An answer that is not begun. `left` are the calls at its end that were not run."""

    prompt: Prompt
    left: list[Call]

    def events(self) -> Iterable[Event]:
        """What happens while it is made. Raises as `Session.answer`."""


class PlainAnswer:
    """An answer without functions, which `answer` begins."""

    def __init__(self, prompt: Prompt, answer: Callable[[Prompt], Iterable[Event]]) -> None:
        self.prompt, self.left = prompt, list["Call"]()
        self._answer = answer

    def events(self) -> Iterable[Event]:
        """As `SingleAnswer.events`."""
        return self._answer(self.prompt)


class CallingAnswer:
    """The answer to the only turn of a chat, which may call functions. With `spelled` calls `left` are lines of it."""

    def __init__(self, chat: Chat, caller: FunctionCaller, *, spelled: bool) -> None:
        self._chat, self._caller, self._spelled = chat, caller, spelled
        self.prompt, self.left = chat.prompt(), list["Call"]()

    @property
    def notes(self) -> list[str]:
        """What the prompt does not say about the functions."""
        return [note for note in self._chat.notes if note not in self.prompt.notes]

    def events(self) -> Iterator[Event]:
        """As `SingleAnswer.events`."""
        from ...generation.events import Finished

        said, end = "", None
        for _ in range(MAX_CALL_ROUNDS):
            for event in self._chat.reply():
                if isinstance(event, Finished):
                    end = event
                    continue
                said = getattr(event, "text", "") or said
                yield event
            if not self._goes_on(end):
                break
        yield from self._lines(said)
        if end is not None:
            yield end

    def _goes_on(self, end: Event | None) -> bool:
        """Run the calls of the answer so far; whether the model has results to go on with."""
        calls = [call for _, call in self._chat.calls]
        if not calls or end is None:
            return False
        results = [self._caller.result(call) for call in calls]
        if not any(results):
            self.left += calls
            return False
        self._chat.add_results([result or REFUSED for result in results])
        return True

    def _lines(self, said: str) -> Iterator[Event]:
        from ...chat_format.tag_splitter import Part
        from ...generation.events import Token

        if self._spelled and self.left:
            lines = "".join(json.dumps(call_fields(call), ensure_ascii=False) + "\n" for call in self.left)
            begin = "" if not said or said.endswith("\n") else "\n"
            yield Token(0, (Part("answer", begin + lines),))


def single_answer(
    session: Session,
    asked: PromptOptions,
    question: tuple[list[TextFile], bytes],
    how: Asked,
    functions: Functions,
    screen: AnswerScreen,
    answer: Callable[[Prompt], Iterable[Event]],
    *,
    as_json: bool,
) -> SingleAnswer:
    """The answer to a question with files; `answer` makes it where there are no functions.

    Raises as `PromptOptions.prompt` and `Chat`.
    """
    files, text = question
    if not functions.tools:
        return PlainAnswer(asked.prompt(session, text, files, how.limits), answer)
    from ...chat.chat import Chat
    from ...chat.conversation import Conversation
    from ...chat_format.prompt import with_files

    said = with_files(files, text)
    session.check_size(said)
    talk = Conversation(asked.system)
    talk.begin(said.decode("utf-8", "surrogateescape"))
    settings = how.limits.settings(how.sampling, how.grammar, functions.choice)
    settings.tools = [tool.declared for tool in functions.tools]
    settings.template, settings.variables = asked.template, asked.variables
    keyboard = PlainKeyboard()
    caller = FunctionCaller(functions, screen, keyboard.ask, keyboard.line, interactive=is_person())
    made = CallingAnswer(Chat(session, talk, settings), caller, spelled=not as_json)
    screen.notes(made.notes)
    return made
