"""Which functions a client lets the model call, and whether it must: read from requests, obeyed in answers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..chat_format.call_form import CallForm, call_form
from ..chat_format.tag_splitter import Part
from ..chat_format.tool_calls import parse
from ..errors import UsageError
from ..generation.events import Token
from ..text import readable
from .forms import CODE, WHOLE, Form
from .functions import MOST_FUNCTIONS, Declared, Delta
from .http.errors import ApiError, refused
from .http.fields import Fields
from .text_model import TextModel


@dataclass(frozen=True, slots=True)
class Calling:
    """`tools` are the functions that the model sees, as chat templates take them.

    `forced` are the names of those of which it must call one. `one`: it may call one at most. `strict` are the names of
    those that it can only call as their schemas allow.
    """

    tools: Sequence[Declared] = ()
    forced: Sequence[str] = ()
    one: bool = False
    strict: Sequence[str] = ()

    @classmethod
    def of(cls, tools: Sequence[Declared], forced: Sequence[str] = (), *, one: bool = False) -> Calling:
        """From functions as `functions.declared` makes them."""
        strict = [tool["function"]["name"] for tool in tools if tool["strict"]]
        shown = [{name: tool[name] for name in ("type", "function")} for tool in tools]
        return cls(shown, forced, one, strict)

    def form(self, wanted: Form | None, place: str = "tool_choice") -> Form | None:
        """The form of the answer in words that is `wanted`; none where a call is forced, since it then has no words.

        Raises ApiError for a forced call and one of WHOLE, which hold for calls, too.
        """
        if self.forced and wanted is not None and wanted.place in WHOLE:
            raise refused(place, f"a forced call cannot be combined with {wanted.place}")
        return None if self.forced else wanted

    async def calls(self, model: TextModel) -> CallForm | None:
        """The calls that the answer may or must make. Raises ApiError where they cannot be held to their schemas."""
        template = model.template(tools=True) if self.tools else None
        if template is None:
            return None
        forms: dict[str, Any] = {"forced": self.forced, "one": self.one, "strict": self.strict}
        make = partial(call_form, template, self.tools, model.tokenizer, **forms)
        try:
            return await model.prepared(make)
        except UsageError as error:
            place = "tool_choice" if self.forced else "tools"
            raise ApiError(400, f"{place}: {error}", place, CODE) from None


@dataclass(slots=True)
class Reader:
    """Reads the deltas of one answer from its tokens."""

    calling: Calling
    called: int = 0

    def deltas(self, token: Token) -> Iterator[Delta]:
        """What a token adds. A call that cannot be parsed is text of the answer."""
        for part in token.parts:
            yield from self._delta(part)

    def _delta(self, part: Part) -> Iterator[Delta]:
        if part.kind == "call":
            yield from self._calls(part.text)
        elif part.kind == "thought":
            yield Delta("reasoning", readable(part.text))
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
    if chosen.required_choice("type", ("function", "allowed_tools")) == "function":
        return _calling(fields, "required", tools, _function_name(chosen), one=one)
    holder = chosen.object("allowed_tools") or chosen  # of a chat, or of a response
    kind = holder.required_choice("mode", ("auto", "required"))
    names = [_function_name(tool) for tool in holder.objects("tools", MOST_FUNCTIONS)]
    holder.done()
    chosen.done()
    for name in names:
        _check_declared(fields, tools, name)
    return _calling(fields, kind, [tool for tool in tools if tool["function"]["name"] in names], one=one)


def _function_name(chosen: Fields) -> str:
    """The name of a function that is chosen."""
    chosen.required_choice("type", ("function",))
    holder = chosen.object("function") or chosen  # of a chat, or of a response
    name = holder.required_text("name")
    holder.done()
    chosen.done()
    return name


def tool_choice_object(fields: Fields, tools: Sequence[Declared]) -> Calling:
    """`tool_choice` as Anthropic writes it. Raises ApiError."""
    choice = fields.object("tool_choice")
    if choice is None:
        return Calling.of(tools)
    kind = choice.required_choice("type", ("auto", "none", "any", "tool"))
    name, one = choice.required_text("name") if kind == "tool" else None, choice.flag("disable_parallel_tool_use")
    choice.done()
    return _calling(fields, "required" if kind in ("any", "tool") else kind, tools, name, one=one)


def _calling(
    fields: Fields, kind: str, tools: Sequence[Declared], name: str | None = None, *, one: bool = False
) -> Calling:
    if kind == "none":
        return Calling()
    if kind == "auto":
        return Calling.of(tools, one=one)
    names = [tool["function"]["name"] for tool in tools]
    if not names:
        raise refused(fields.place("tool_choice"), "a call is forced, and no function is declared")
    if name is not None:
        _check_declared(fields, tools, name)
    return Calling.of(tools, names if name is None else [name], one=one)


def _check_declared(fields: Fields, tools: Sequence[Declared], name: str) -> None:
    if all(tool["function"]["name"] != name for tool in tools):
        raise refused(fields.place("tool_choice"), f"no function is called '{name[:64]}'")
