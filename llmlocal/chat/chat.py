"""One conversation with a model, answered turn by turn. Knows sessions and templates, no terminal and no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..chat_format.chat_template import ChatTemplate, choose
from ..chat_format.prompt import Prompt, conversation
from ..chat_format.tag_splitter import Part
from ..chat_format.thinking import Think
from ..chat_format.tool_calls import Call, parse
from ..errors import PromptTooLongError, UsageError
from ..generation.session import ROOM, Finished, Session
from .answer import Event, Settings, answer
from .conversation import Conversation, Message, Turn, assistant, result

SUMMARY_TOKENS = 512
SUMMARIZE = (
    "Summarize our conversation so far, so that we can go on with the summary alone: facts, names, numbers, decisions "
    "and open questions. Write only the summary."
)


class Dialogue:
    """A session, a conversation, and how to go on with it.

    Raises UsageError where the model has no chat template, NotFoundError and BadFileError for a template that cannot
    be read.
    """

    def __init__(self, session: Session, talk: Conversation, settings: Settings) -> None:
        self.session, self.talk, self.settings = session, talk, settings
        self.calls: list[tuple[str, Call]] = []  # of the last answer, with their ids
        self.template = self._choose()

    def _choose(self) -> ChatTemplate:
        s = self.settings
        template = choose(self.session.gguf.metadata, self.session.tokenizer, s.template, tools=bool(s.tools))
        if template is None:
            hint = "--template NAME gives it one, such as chatml; run continues a text without"
            raise UsageError("the model has no chat template, so it cannot chat", hint)
        return template

    def prompt(self, more: Sequence[Message] = (), think: Think | None = None) -> Prompt:
        """What the model is to read now. Raises as `prompt.conversation` does."""
        tools = self.settings.tools or None
        messages, think = self.talk.messages(more), think or self.settings.think
        return conversation(messages, self.template, self.session.tokenizer, tools=tools, think=think)

    @property
    def room(self) -> int:
        """Tokens that are kept free for an answer."""
        return min(self.settings.max_tokens or ROOM, max(1, self.session.n_ctx // 4))

    def fits(self) -> bool:
        """Whether the context holds the conversation and an answer."""
        return len(self.prompt().ids) + self.room <= self.session.n_ctx

    def drop_to_fit(self) -> int:
        """Drop the oldest turns until half of the context is free, or one turn is left; how many were dropped.

        Dropping more than must be saves reading everything anew with every turn. Raises PromptTooLongError where even
        the last turn alone does not fit.
        """
        dropped, half = 0, self.session.n_ctx // 2
        while self.talk.seen() > 1 and len(self.prompt().ids) > half:
            self.talk.drop(1)
            dropped += 1
        n = len(self.prompt().ids)
        if n >= self.session.n_ctx:
            message = f"the last turn alone is {n} tokens, the context {self.session.n_ctx}"
            raise PromptTooLongError(message, f"shorten it, or start with --ctx {n + ROOM}")
        return dropped

    def summarize(self) -> Iterator[Event]:
        """Have the model summarize all turns but the last, which then stand for them; the events of its answer.

        Oldest turns that no longer fit beside the request are left out of it. An answer that is not finished changes
        nothing. Raises as `reply`.
        """
        last, talk = self.talk.turns[-1], self.talk
        old = Conversation(talk.system, talk.turns[:-1], talk.first, talk.summary)
        limit = min(SUMMARY_TOKENS, max(1, self.session.n_ctx // 4))
        asked = Dialogue(self.session, old, self.settings)
        request = {"role": "user", "content": SUMMARIZE}
        while old.seen() > 1 and len(asked.prompt([request], "off").ids) + limit > self.session.n_ctx:
            old.drop(1)
        turn, end = Turn([request]), None
        for event in asked._answer(asked.prompt([request], "off"), turn, limit):
            if isinstance(event, Finished):
                end = event
            else:
                yield event
        if turn.answer.strip():
            talk.summarize(turn.answer.strip(), talk.turns.index(last))
        if end is not None:
            yield end

    def reply(self) -> Iterator[Event]:
        """Answer the last turn: its events as they come. What was said is part of the turn, however it ends.

        Raises as `Session.answer`, PromptTooLongError before anything else.
        """
        yield from self._answer(self.prompt(), self.talk.turns[-1], self.settings.max_tokens)

    def results(self, contents: Sequence[str]) -> None:
        """Put what the last answer's calls gave into its turn."""
        for (id, call), content in zip(self.calls, contents, strict=True):
            self.talk.turns[-1].messages.append(result(call.name, id, content))

    def _answer(self, ready: Prompt, turn: Turn, max_tokens: int | None) -> Iterator[Event]:
        said, settings = _Said(self.settings.tools, turn), replace(self.settings, max_tokens=max_tokens)
        self.calls = []
        try:
            for event in answer(self.session, ready, settings, template=self.template.source):
                yield said.part(event) if isinstance(event, Part) else event
        finally:
            self.calls = said.keep()


class _Said:
    """Collects the parts of an answer and makes a message of them."""

    def __init__(self, tools: Sequence[Mapping[str, Any]], turn: Turn) -> None:
        self._tools, self._turn = tools, turn
        self._texts: dict[str, list[str]] = {"answer": [], "thought": []}
        self._calls: list[Call] = []

    def part(self, part: Part) -> Part:
        """A part as it is to be shown: what looked like a call and is none is part of the answer."""
        calls = parse(part.text, self._tools) if part.kind == "call" else []
        if part.kind == "call" and not calls:
            part = Part("answer", part.text)
        self._calls += calls
        if part.kind != "call":
            self._texts[part.kind].append(part.text)
        return part

    def keep(self) -> list[tuple[str, Call]]:
        """Add the message to the turn, if anything was said; the calls with their ids."""
        number = len(self._turn.messages)
        calls = [(f"call{number:03}{i:02}", call) for i, call in enumerate(self._calls)]
        content, thought = "".join(self._texts["answer"]), "".join(self._texts["thought"])
        if content or thought or calls:
            self._turn.messages.append(assistant(content, thought, [call.message(id) for id, call in calls]))
        return calls
