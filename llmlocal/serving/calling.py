"""Which functions a client lets the model call, and whether it must: read from requests, obeyed in answers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from ..chat_format.tag_splitter import Part, Span
from ..chat_format.tool_calls import parse, spans
from ..constraints.grammar import of_schema
from ..generation.events import Token
from ..text import readable
from .forms import Form
from .functions import Declared, Delta
from .http.errors import refused
from .http.fields import Fields
from .text_model import TextModel


@dataclass(frozen=True, slots=True)
class Calling:
    """`tools` are the functions that the model sees. `forced` are the names of those of which it must call one.

    `one`: it may call one at most.
    """

    tools: Sequence[Declared] = ()
    forced: Sequence[str] = ()
    one: bool = False

    def tags(self, model: TextModel) -> Sequence[Span]:
        """The tags of calls in an answer."""
        return spans(model.template(tools=True).source) if self.tools and not self.forced else ()

    def form(self, wanted: Form | None, place: str = "tool_choice") -> Form | None:
        """The form of the answer: a call where one is forced, otherwise what is `wanted`. Raises ApiError for both."""
        if not self.forced:
            return wanted
        if wanted is not None:
            raise refused(place, f"a forced call cannot be combined with {wanted.place}")
        calls = []
        for tool in self.tools:
            function = tool["function"]
            if function["name"] in self.forced:
                parts = {"name": {"const": function["name"]}, "arguments": function["parameters"]}
                need = {"required": list(parts), "additionalProperties": False}
                calls.append({"type": "object", "properties": parts, **need})
        schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
        return Form(place, partial(of_schema, schema, "the call of a function"))


@dataclass(slots=True)
class Reader:
    """Reads the deltas of one answer from its tokens."""

    calling: Calling
    called: int = 0
    _held: list[str] = field(default_factory=list)  # of a call that is forced: the answer is nothing else

    def deltas(self, token: Token) -> Iterator[Delta]:
        """What a token adds. A call that cannot be parsed is text of the answer."""
        for part in token.parts:
            yield from self._delta(part)

    def last(self) -> Iterator[Delta]:
        """What the end adds: the call that was forced, or its text where it was cut short."""
        if self._held:
            yield from self._calls("".join(self._held))

    def _delta(self, part: Part) -> Iterator[Delta]:
        if part.kind == "call":
            yield from self._calls(part.text)
        elif part.kind == "thought":
            yield Delta("reasoning", readable(part.text))
        elif self.calling.forced:
            self._held.append(part.text)
        else:
            yield Delta("content", readable(part.text))

    def _calls(self, text: str) -> Iterator[Delta]:
        calls = parse(text, self.calling.tools)
        for call in calls:
            if not (self.calling.one and self.called):
                self.called += 1
                yield Delta("call", call=call, id=f"call_{secrets.token_hex(12)}")
        if not calls:
            yield Delta("content", readable(text))


def tool_choice(fields: Fields, tools: Sequence[Declared]) -> Calling:
    """`tool_choice` and `parallel_tool_calls`, as OpenAI writes them. Raises ApiError."""
    one, choice = not fields.flag("parallel_tool_calls", True), fields.any("tool_choice")
    if choice is None or isinstance(choice, str):
        kind = fields.choice("tool_choice", ("none", "auto", "required")) or "auto"
        return _calling(fields, kind, tools, one=one)
    chosen = fields.required_object("tool_choice")
    chosen.required_choice("type", ("function",))
    holder = chosen.object("function") or chosen  # of a chat, or of a response
    name = holder.required_text("name")
    holder.done()
    chosen.done()
    return _calling(fields, "required", tools, name, one=one)


def tool_choice_object(fields: Fields, tools: Sequence[Declared]) -> Calling:
    """`tool_choice` as Anthropic writes it. Raises ApiError."""
    choice = fields.object("tool_choice")
    if choice is None:
        return Calling(tools)
    kind = choice.required_choice("type", ("auto", "none", "any", "tool"))
    name, one = choice.required_text("name") if kind == "tool" else None, choice.flag("disable_parallel_tool_use")
    choice.done()
    return _calling(fields, "required" if kind in ("any", "tool") else kind, tools, name, one=one)


def _calling(
    fields: Fields, kind: str, tools: Sequence[Declared], name: str | None = None, *, one: bool = False
) -> Calling:
    if kind != "required":
        return Calling(tools if kind == "auto" else (), (), one)
    names = [tool["function"]["name"] for tool in tools]
    if not names:
        raise refused(fields.place("tool_choice"), "a call is forced, and no function is declared")
    if name is not None and name not in names:
        raise refused(fields.place("tool_choice"), f"no function is called '{name[:64]}'")
    return Calling(tools, names if name is None else [name], one)
