"""A conversation with a model, turn by turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal, Unpack, get_args, overload

from ..chat.chat import Chat as ModelChat
from ..chat.conversation import Conversation, Message, Turn, result
from ..chat_format.prompt import Prompt
from ..errors import UsageError
from ..generation.events import Events
from .access import Access
from .answer import Answer, Stream, whole
from .options import Options, given, require, require_one_of, settings

ContextEnd = Literal["stop", "drop"]


class Chat:
    """A conversation: what was said so far, and the options of its answers. `Model.chat` makes one.

    Conversations with one model take turns freely; what two prompts in a row have in common is not read again.
    """

    def __init__(
        self,
        access: Access,
        system: str | None,
        messages: Sequence[Mapping[str, Any]],
        context_end: ContextEnd,
        options: Options,
    ) -> None:
        require(system is None or isinstance(system, str), "system", system, "a text")
        require_one_of("context_end", context_end, get_args(ContextEnd))
        self._access, self._options, self._drop = access, given(options), context_end == "drop"
        self._talk = conversation(system, checked(messages)) if messages else Conversation(system)
        ModelChat(access.session, self._talk, settings(access.session, self._options)[0])  # has it a chat template?

    @overload
    def send(self, text: str, *, stream: Literal[False] = False, **options: Unpack[Options]) -> Answer: ...
    @overload
    def send(self, text: str, *, stream: Literal[True], **options: Unpack[Options]) -> Stream: ...
    @overload
    def send(self, text: str, *, stream: bool, **options: Unpack[Options]) -> Answer | Stream: ...
    def send(self, text: str, *, stream: bool = False, **options: Unpack[Options]) -> Answer | Stream:
        """Say something and get the answer, whole or as a stream. `options` go before those of the conversation.

        An answer that is cut short stays in the conversation; without any answer the text does not stay either.
        Raises as `Model.generate`, PromptTooLongError where the conversation no longer fits the context.
        """
        require(isinstance(text, str) and bool(text), "text", text, "a text that is not empty")
        chosen, choice = settings(self._access.session, given(self._options, options))

        def start() -> tuple[Prompt, Events]:
            turn = self._talk.begin(text)
            try:
                chat = ModelChat(self._access.session, self._talk, chosen)
                dropped = chat.drop_to_fit() if self._drop and not chat.fits() else 0
                ready = chat.prompt()
            except BaseException:
                self._talk.undo()
                raise
            note = (f"the model no longer sees the {dropped} oldest turns",) if dropped else ()
            return ready._replace(notes=(*ready.notes, *note)), self._kept(turn, chat.reply(ready))

        made = Stream(self._access, choice, start, chosen.tools)
        return made if stream else whole(made)

    @overload
    def send_results(
        self, results: Sequence[str], *, stream: Literal[False] = False, **options: Unpack[Options]
    ) -> Answer: ...
    @overload
    def send_results(self, results: Sequence[str], *, stream: Literal[True], **options: Unpack[Options]) -> Stream: ...
    @overload
    def send_results(self, results: Sequence[str], *, stream: bool, **options: Unpack[Options]) -> Answer | Stream: ...
    def send_results(
        self, results: Sequence[str], *, stream: bool = False, **options: Unpack[Options]
    ) -> Answer | Stream:
        """Give the results of the functions that the last answer called, in their order, and get the next answer.

        Raises UsageError where there are not as many results as calls; otherwise as `send`.
        """
        chosen, choice = settings(self._access.session, given(self._options, options))
        turn = self._talk.turns[-1] if self._talk.turns else Turn([{}])
        calls = turn.messages[-1].get("tool_calls") or []
        texts = isinstance(results, Sequence) and not isinstance(results, str | bytes)
        fits = texts and len(results) == len(calls) > 0 and all(isinstance(text, str) for text in results)
        require(fits, "results", results, f"a list of texts, one for each call of the last answer ({len(calls)})")

        def start() -> tuple[Prompt, Events]:
            before = len(turn.messages)
            pairs = zip(calls, results, strict=True)
            turn.messages += [result(call["function"]["name"], call["id"], text) for call, text in pairs]
            try:
                chat = ModelChat(self._access.session, self._talk, chosen)
                ready = chat.prompt()
            except BaseException:
                del turn.messages[before:]
                raise
            return ready, chat.reply(ready)

        made = Stream(self._access, choice, start, chosen.tools)
        return made if stream else whole(made)

    @property
    def messages(self) -> list[Message]:
        """A copy of all that was said, oldest first: {"role": ..., "content": ...}, the system prompt first."""
        system = [{"role": "system", "content": self._talk.system}] if self._talk.system else []
        return deepcopy([*system, *(message for turn in self._talk.turns for message in turn.messages)])

    @property
    def system(self) -> str | None:
        """The system prompt; may be set at any time."""
        return self._talk.system

    @system.setter
    def system(self, text: str | None) -> None:
        with self._access.exclusive():
            self._talk.system = text

    def undo(self) -> str | None:
        """Remove the last turn, question and answer; the question, or None where there is no turn."""
        with self._access.exclusive():
            turn = self._talk.undo()
        return turn.question if turn else None

    def clear(self) -> None:
        """Remove every turn; the system prompt stays."""
        with self._access.exclusive():
            self._talk.clear()

    def _kept(self, turn: Turn, events: Events) -> Events:
        """The events of an answer; a turn that got none is removed at the end."""
        try:
            yield from events
        finally:
            if len(turn.messages) == 1:
                self._talk.undo()


def checked(messages: object) -> list[Message]:
    """Copies of messages. Raises UsageError where they are not a list of dictionaries with a role and a content."""
    listed = isinstance(messages, Sequence) and not isinstance(messages, str | bytes)
    require(listed and bool(messages), "messages", messages, 'a list such as [{"role": "user", "content": "Hello"}]')
    assert isinstance(messages, Sequence)
    for i, message in enumerate(messages):
        whole_one = isinstance(message, Mapping) and isinstance(message.get("role"), str) and "content" in message
        require(whole_one, f"message {i}", message, 'a dictionary such as {"role": "user", "content": "Hello"}')
    return [deepcopy(dict(message)) for message in messages]


def conversation(system: str | None, messages: Sequence[Message]) -> Conversation:
    """Messages as turns; a system message may come first. Raises UsageError where they begin otherwise."""
    if messages[0]["role"] == "system":
        if system is not None:
            raise UsageError("there are two system prompts", "give system=, or begin the messages with one")
        system, messages = messages[0]["content"], messages[1:]
    talk = Conversation(system)
    for i, message in enumerate(messages):
        if message["role"] == "user":
            talk.turns.append(Turn([message]))
        elif talk.turns:
            talk.turns[-1].messages.append(message)
        else:
            raise UsageError(f"message {i} is of the role {message['role']!r}", "a conversation begins with the user")
    return talk
