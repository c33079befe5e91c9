"""A chat: a model, a conversation, and the settings with which its turns are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..chat_format.call_form import CallForm, call_form, chosen
from ..chat_format.chat_template import ChatTemplate, choose, suggested
from ..chat_format.prompt import Prompt, answers_apart, check_can_think, conversation
from ..chat_format.tag_splitter import Part
from ..chat_format.thinking import Think
from ..chat_format.tool_calls import Call, parse
from ..chat_format.tool_use import tool_use
from ..constraints.grammar import Grammar
from ..errors import PromptTooLongError, UsageError
from ..generation.events import Events, Finished, Token
from ..generation.sampler import Sampler
from ..generation.sampling_params import SamplingParams
from ..generation.session import ANSWER_ROOM, Session
from ..models import that_predicts
from ..text import readable
from .conversation import Conversation, Message, Turn, assistant, result

SUMMARY_TOKENS = 512
SUMMARIZE = (
    "Summarize our conversation so far, so that we can go on with the summary alone: facts, names, numbers, decisions "
    "and open questions. Write only the summary."
)


@dataclass(slots=True)
class ChatSettings:
    """How a chat answers. `max_tokens` and `think_budget` count tokens; `tools` are functions in OpenAI's notation.

    `template` names a chat template to use instead of the model's own. A `sampler` is used in place of a new one with
    the parameters `sampling`. `grammar` is the form of every answer. `tool_choice` is "auto", "none", "required" or the
    name of a function: what the first answer of a turn must call. `variables` are the chat template's.
    """

    sampling: SamplingParams = field(default_factory=SamplingParams)
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    think: Think = "auto"
    think_budget: int | None = None
    template: str | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    sampler: Sampler | None = None
    grammar: Grammar | None = None
    tool_choice: str = "auto"
    variables: Mapping[str, Any] = field(default_factory=dict)


class Chat:
    """Answers the turns of a conversation, and keeps what was said in it.

    Raises UsageError where the model has no chat template, NotFoundError and BadFileError for a template that cannot
    be read.
    """

    def __init__(self, session: Session, conversation: Conversation, settings: ChatSettings) -> None:
        self.session, self.conversation, self.settings = session, conversation, settings
        self.calls: list[tuple[str, Call]] = []  # of the last answer, with their ids
        self.template = self._choose()
        if settings.think == "on":
            check_can_think(self.template)
        if settings.tools and settings.grammar is not None:
            raise UsageError("an answer that must have a form cannot call functions", "leave out --tools, or the form")
        # Of the first answer of a turn, and of those that go on with results.
        first, free = self._form(settings.tool_choice), settings.tool_choice in ("auto", "none")
        self.forms = [first, first if free else self._form("auto")]

    def _choose(self) -> ChatTemplate:
        s = self.settings
        template = choose(self.session.gguf.metadata, self.session.tokenizer, s.template, tools=bool(s.tools))
        if template is None and answers_apart(self.session.gguf.metadata):
            said = "the model's encoder reads one text and answers it, so it cannot chat"
            raise UsageError(said, "use llmlocal run, or llmlocal batch for many texts")
        if template is None:
            that_predicts(self.session.gguf.metadata, str(self.session.gguf.path))
            name = suggested(self.session.gguf.metadata, self.session.tokenizer) or "chatml"
            hint = f"give it one with --template NAME, such as {name}, or use llmlocal run to continue a text"
            raise UsageError("the model has no chat template, so it cannot chat", hint)
        return template

    def _form(self, choice: str) -> CallForm | None:
        """The calls that an answer may or must make. Raises UsageError where they cannot be followed."""
        tools = self.settings.tools
        forced = chosen(tools, choice)
        return call_form(self.template, () if choice == "none" else tools, self.session.tokenizer, forced=forced)

    @property
    def notes(self) -> list[str]:
        """For the user: where functions are declared, and whose calls are not held to their schemas."""
        forms = [form for form in self.forms if form is not None]
        return list(dict.fromkeys(note for form in forms for note in (*tool_use(self.template).notes, *form.notes)))

    def set_think(self, think: Think) -> None:
        """Whether the model thinks from now on. Raises UsageError where its template has no thinking to turn on."""
        if think == "on":
            check_can_think(self.template)
        self.settings.think = think

    def prompt(self, more: Sequence[Message] = (), think: Think | None = None) -> Prompt:
        """The conversation, and `more` after it, as a prompt.

        Raises as `chat_format.prompt.conversation`, PromptTooLongError where the last turn alone cannot fit.
        """
        last = self.conversation.turns[-1].messages if self.conversation.turns else ()
        self.session.check_size(*(m["content"] for m in last if isinstance(m.get("content"), str)))
        tools = None if self.settings.tool_choice == "none" else self.settings.tools or None
        messages, think = self.conversation.messages(more), think or self.settings.think
        variables, tokenizer = self.settings.variables, self.session.tokenizer
        return conversation(messages, self.template, tokenizer, tools=tools, think=think, variables=variables)

    @property
    def answer_room(self) -> int:
        """Tokens of context that are kept free for an answer."""
        return min(self.settings.max_tokens or ANSWER_ROOM, max(1, self.session.n_ctx // 4))

    def fits(self) -> bool:
        """Whether the context holds the conversation and an answer."""
        return len(self.prompt().ids) + self.answer_room <= self.session.n_ctx

    def drop_to_fit(self) -> int:
        """Drop the oldest turns until half of the context is free, or one turn is left; returns how many.

        Dropping more than necessary saves reading the whole conversation again with every turn. Raises
        PromptTooLongError where the last turn alone does not fit.
        """
        dropped, half = 0, self.session.n_ctx // 2
        while self.conversation.visible() > 1 and len(self.prompt().ids) > half:
            self.conversation.drop(1)
            dropped += 1
        n = len(self.prompt().ids)
        if n >= self.session.n_ctx:
            message = f"the last turn alone is {n} tokens; the context holds {self.session.n_ctx}"
            raise PromptTooLongError(message, f"shorten it, or start with --ctx {n + ANSWER_ROOM}")
        return dropped

    def summarize(self) -> Events:
        """Replace all turns but the last with a summary that the model writes; the events of that answer.

        Oldest turns that do not fit into the request are left out of the summary. An answer that is not finished
        changes nothing. Raises as `reply`.
        """
        last, whole = self.conversation.turns[-1], self.conversation
        old = Conversation(whole.system, whole.turns[:-1], whole.first, whole.summary)
        limit = min(SUMMARY_TOKENS, max(1, self.session.n_ctx // 4))
        chat = Chat(self.session, old, replace(self.settings, grammar=None, tool_choice="auto"))
        request = {"role": "user", "content": SUMMARIZE}
        while old.visible() > 1 and len(chat.prompt([request], "off").ids) + limit > self.session.n_ctx:
            old.drop(1)
        turn, end = Turn([request]), None
        for event in chat._answer(chat.prompt([request], "off"), turn, limit):
            if isinstance(event, Finished):
                end = event
            else:
                yield event
        if turn.answer.strip():
            whole.summarize(turn.answer.strip(), whole.turns.index(last))
        if end is not None:
            yield end

    def reply(self, prompt: Prompt | None = None) -> Events:
        """Answer the last turn: events as they come. What was said is added to the turn, also where it is stopped.

        `prompt` is what `self.prompt()` gave, if the caller has it already. Raises as `Session.answer`,
        PromptTooLongError before anything else.
        """
        yield from self._answer(prompt or self.prompt(), self.conversation.turns[-1], self.settings.max_tokens)

    def go_on(self) -> Events:
        """Go on with the last answer, which was cut short: what comes is added to its text. Raises as `reply`.

        Raises UsageError where there is no answer to go on with, or answers must have a form. What follows has no
        thought of its own.
        """
        turn = self.conversation.turns[-1] if self.conversation.turns else None
        if turn is None or not turn.answer.strip() or turn.messages[-1].get("role") != "assistant":
            raise UsageError("there is no answer to go on with")
        if self.settings.grammar is not None:
            raise UsageError("an answer that must have a form cannot be continued", "ask again with a larger -n")
        cut = turn.messages.pop()
        text = str(cut["content"]).rstrip()
        try:
            prompt = self.prompt(think="off")
            ids = prompt.ids + self.session.tokenizer.encode(text, add_special=False)
            prompt = prompt._replace(text=prompt.text + text, ids=ids, continues=True, chat=False, opened=False)
            yield from self._answer(prompt, turn, self.settings.max_tokens)
        finally:
            more = turn.messages.pop()["content"] if turn.messages[-1].get("role") == "assistant" else ""
            turn.messages.append({**cut, "content": text + str(more) if more else cut["content"]})

    def add_results(self, contents: Sequence[str]) -> None:
        """Add the results of the last answer's calls to its turn."""
        for (id, call), content in zip(self.calls, contents, strict=True):
            self.conversation.turns[-1].messages.append(result(call.name, id, content))

    def _calls(self, turn: Turn) -> CallForm | None:
        """What an answer may call: a call is forced once in a turn."""
        called = any(message.get("role") == "tool" for message in turn.messages)
        return self.forms[1] if called else self.forms[0]

    def _answer(self, prompt: Prompt, turn: Turn, max_tokens: int | None) -> Events:
        s, recorder = self.settings, _Recorder(self.settings.tools, turn)
        self.calls = []
        events = self.session.answer(
            prompt,
            max_tokens=max_tokens,
            sampling=s.sampling,
            stop=s.stop,
            think_budget=s.think_budget,
            calls=None if s.grammar is not None else self._calls(turn),
            sampler=s.sampler,
            grammar=s.grammar,
        )
        try:
            for event in events:
                if isinstance(event, Token):
                    event = replace(event, parts=tuple(map(recorder.add, event.parts)))
                yield event
        finally:
            self.calls = recorder.finish()


class _Recorder:
    """Collects the parts of an answer and makes a message of them."""

    def __init__(self, tools: Sequence[Mapping[str, Any]], turn: Turn) -> None:
        self._tools, self._turn = tools, turn
        self._texts: dict[str, list[str]] = {"answer": [], "thought": []}
        self._calls: list[Call] = []

    def add(self, part: Part) -> Part:
        """Keep a part, and return it as it is to be shown: a call that cannot be parsed is text of the answer."""
        calls = parse(part.text, self._tools) if part.kind == "call" else []
        if part.kind == "call" and not calls:
            part = Part("answer", part.text)
        self._calls += calls
        if part.kind != "call":
            self._texts[part.kind].append(part.text)
        return part

    def finish(self) -> list[tuple[str, Call]]:
        """Add the message to the turn, if anything was said; returns the calls with their ids."""
        number = len(self._turn.messages)
        calls = [(f"call{number:03}{i:02}", call) for i, call in enumerate(self._calls)]
        content, thought = (readable("".join(self._texts[kind])) for kind in ("answer", "thought"))
        if content or thought or calls:
            self._turn.messages.append(assistant(content, thought, [call.message(id) for id, call in calls]))
        return calls
