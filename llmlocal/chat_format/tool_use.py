"""How functions, calls and results get into a prompt: by the chat template where it has a place for them, as its
author meant it, and otherwise as text of the conversation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from ..errors import LlmlocalError
from .call_shape import DECLARED, IDS, PROBE, Shape, Writer, of_examples, of_family, probe
from .chat_template import ChatTemplate, TemplateStoppedError
from .notations.call import Call, Family
from .notations.json_objects import FAMILIES as JSON_FAMILIES
from .notations.json_objects import OBJECT
from .sandbox.origin import joined, mark_user
from .tag_splitter import Span
from .thinking import style_of
from .tool_calls import BARE, families, spans

Message = Mapping[str, Any]
Place = Literal["variable", "system", "text"]

QUESTION = "an example of a question"
COMMON = JSON_FAMILIES[0]  # the calls that most models have seen
PLAIN = of_family(Family("", BARE[0].opens, form=OBJECT, keep=True))  # where nothing else is known
INSTRUCTIONS = """You can call functions. Each line between <tools> and </tools> declares one, as JSON:
<tools>
{}
</tools>
To call a function, answer with its name and its arguments in this form:
{}"""
EXAMPLE = Call("name_of_the_function", {"argument": "value"})
NOTE = "the model's chat template has no place for functions: they are declared in the system prompt"
FAILED = "the model's chat template fails on these functions: they are declared in the system prompt"


@dataclass(frozen=True, slots=True)
class MessageStyle:
    """How a template wants calls in a message: arguments as JSON in a string, no text beside calls."""

    json_arguments: bool = False
    without_content: bool = False

    def message(self, message: Message) -> dict[str, Any]:
        """A message with calls in this style."""
        changed = dict(message)
        if self.json_arguments:
            changed["tool_calls"] = [_with_json(call) for call in message["tool_calls"]]
        if self.without_content and not message.get("content"):
            changed["content"] = None
        return changed


STYLES = (MessageStyle(), MessageStyle(True), MessageStyle(False, True), MessageStyle(True, True))


@dataclass(frozen=True, slots=True)
class ToolUse:
    """Where functions are declared for a template, and how the model writes calls.

    `place`: in its variable `tools`, in the `tools` of the system message, or as text of the system prompt. `style` is
    None where the template does not write the calls of earlier messages. `shapes` are those of calls, the likeliest
    first, and `spans` the tags of all calls that are recognized.
    """

    place: Place
    style: MessageStyle | None
    shapes: tuple[Shape, ...]
    spans: tuple[Span, ...]
    notes: tuple[str, ...] = field(default=())

    def messages(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> list[Message]:
        """The messages as the template gets them."""
        changed = [self._called(message) for message in messages]
        if self.place == "text" and self.style is None:
            changed = _results_as_text(changed)
        if not tools or self.place == "variable":
            return changed
        system, rest = (changed[0], changed[1:]) if _role(changed) == "system" else ({"role": "system"}, changed)
        text = str(system.get("content") or "")
        if self.place == "system":
            declared = json.dumps([tool.get("function", tool) for tool in tools], ensure_ascii=False)
            return [{**system, "content": text, "tools": declared}, *rest]
        lines = "\n".join(json.dumps(dict(tool), ensure_ascii=False) for tool in tools)
        said = INSTRUCTIONS.format(lines, self.shapes[0].written(EXAMPLE))
        return [{**system, "content": f"{text}\n\n{said}" if text else said}, *rest]

    def as_text(self) -> ToolUse:
        """The same, with functions as text of the system prompt: some templates fail on types of arguments."""
        return replace(self, place="text", notes=(FAILED,))

    def _called(self, message: Message) -> Message:
        """A message whose calls are where the template reads them, or text."""
        if not message.get("tool_calls"):
            return message
        if self.style is not None:
            return self.style.message(message)
        pieces = [str(message.get("content") or "")]
        for item in message["tool_calls"]:
            function = item["function"]
            arguments = function["arguments"]
            given = json.loads(arguments) if isinstance(arguments, str) else arguments
            pieces += self._spelled(Call(str(function["name"]), given))
        first, *others = pieces
        content = joined([mark_user(first), *("\n" if first else "", *others)])
        return {key: value for key, value in message.items() if key != "tool_calls"} | {"content": content}

    def _spelled(self, call: Call) -> Iterator[str]:
        """A call as text, of which only the tags are not the model's."""
        shape = self.shapes[0]
        text, span = shape.written(call), shape.span
        begin = 0 if span.first else len(span.opens)
        end = len(text) - len(span.closes) if text.endswith(span.closes) else len(text)
        yield from (text[:begin], mark_user(text[begin:end]), text[end:])


@lru_cache(maxsize=16)
def tool_use(template: ChatTemplate) -> ToolUse:
    """How a template uses functions, tried on examples. Raises BadFileError for a template that is stopped."""
    tags = spans(template.source)
    style, write = _style(template)
    place = _place(template)
    shapes = [] if style is None else _shapes_of(of_examples(write, tags, _prompt(template)))
    thought = style_of(template.source)
    if shapes and thought.closes in shapes[0].lead:  # an empty thought, which belongs to the prompt
        shapes[0] = replace(shapes[0], lead="")
    for family in families(template.source):
        if family.span.opens not in {shape.span.opens for shape in shapes}:
            shapes += _shapes_of(of_family(family))
    if place == "text" and not shapes:
        shapes, tags = _shapes_of(of_family(COMMON)), [COMMON.span]
    if style is None and not shapes:
        shapes = _shapes_of(PLAIN)
    return ToolUse(place, style, tuple(shapes), tuple(tags), (NOTE,) if place == "text" else ())


def _shapes_of(shape: Shape | None) -> list[Shape]:
    return [] if shape is None else [shape]


def _with_json(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}


def _role(messages: Sequence[Message]) -> Any:
    return messages[0].get("role") if messages else None


def _results_as_text(messages: Sequence[Message]) -> list[Message]:
    """Results of functions as messages of the user, those in a row as one."""
    changed: list[Message] = []
    joins = False
    for message in messages:
        if message.get("role") != "tool":
            changed.append(message)
            joins = False
            continue
        text = f"<tool_response>\n{message.get('content') or ''}\n</tool_response>"
        if joins:
            text = f"{changed.pop()['content']}\n{text}"
        changed.append({"role": "user", "content": text})
        joins = True
    return changed


def _attempt(template: ChatTemplate, messages: Sequence[Message], **variables: Any) -> str | None:
    try:
        return template.render(messages, **variables).text
    except TemplateStoppedError:
        raise
    except LlmlocalError:
        return None


ASKED: Message = {"role": "user", "content": QUESTION}


def _prompt(template: ChatTemplate) -> str:
    """What stands after the question, before an answer."""
    return (_attempt(template, [ASKED], tools=[DECLARED]) or "").rpartition(QUESTION)[2]


def _place(template: ChatTemplate) -> Place:
    if PROBE in (_attempt(template, [ASKED], tools=[DECLARED]) or ""):
        return "variable"
    system = {"role": "system", "content": "", "tools": json.dumps([DECLARED["function"]])}
    return "system" if PROBE in (_attempt(template, [system, ASKED]) or "") else "text"


def _style(template: ChatTemplate) -> tuple[MessageStyle | None, Writer]:
    """How the template wants calls, None where it writes none, and what it writes of calls."""

    def writer(style: MessageStyle, *, results: bool) -> Writer:
        def write(calls: Sequence[Call]) -> str | None:
            pairs = list(zip(calls, IDS, strict=False))
            called = {"role": "assistant", "content": "", "tool_calls": [call.message(id) for call, id in pairs]}
            done = [{"role": "tool", "name": c.name, "tool_call_id": id, "content": "done"} for c, id in pairs]
            messages = [ASKED, style.message(called), *(done if results else ())]
            text = _attempt(template, messages, tools=[DECLARED], add_generation_prompt=False)
            said = (text or "").rpartition(QUESTION)[2]
            return said if PROBE in said else None

        return write

    for style in STYLES:
        for results in (False, True):
            write = writer(style, results=results)
            if write([probe(0)]) is not None:
                return style, write
    return None, lambda _: None
