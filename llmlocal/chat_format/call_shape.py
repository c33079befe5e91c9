"""How a model writes calls, found in examples of them: what stands before, between and after names and arguments.

The examples are calls of a made-up function, as the model's chat template writes them in a conversation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .notations import argument_pairs, elements
from .notations.call import DECODER, Call, Family
from .tag_splitter import PartSplitter, Span
from .tool_calls import parse

PROBE = "probe_function"
TEXTS, NUMBERS = (
    ("alpha", "bravo"),
    ("count", "depth"),
)  # arguments, in the order of the alphabet as some templates sort
IDS = ("call12345", "call67890", "call24680")
ID = "\ue000"  # a private character: stands for an id, which the model makes up
NUMBER = "\ue001"  # stands for the number of a call
MARKS = re.compile(f"[{ID}{NUMBER}]")
BROKEN = re.compile(r"[^<>]*>")
DECLARED: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": PROBE,
        "description": "An example.",
        "parameters": {
            "type": "object",
            "properties": {
                **{name: {"type": "string", "description": "A text."} for name in TEXTS},
                **{name: {"type": "integer", "description": "A number."} for name in NUMBERS},
            },
            "required": [],
        },
    },
}


def probe(i: int, names: Sequence[str] = (*TEXTS, *NUMBERS)) -> Call:
    """The call number `i` of the made-up function, with some of its arguments; each value is there once."""
    values: dict[str, Any] = {name: f"words {i} of {name}" for name in TEXTS}
    values |= {name: 47110 + 10 * i + at for at, name in enumerate(NUMBERS)}
    return Call(PROBE, {name: values[name] for name in names})


@dataclass(frozen=True, slots=True)
class JsonArguments:
    """Arguments are one JSON object."""

    item_separator: str = ", "
    key_separator: str = ": "

    def written(self, arguments: Mapping[str, Any]) -> str:
        """Arguments as they stand in a call."""
        return json.dumps(dict(arguments), ensure_ascii=False, separators=(self.item_separator, self.key_separator))


@dataclass(frozen=True, slots=True)
class NamedArguments:
    """Arguments are pairs. What stands before the first key, between a key and its value, and after a value.

    All of that twice: for texts, which stand as they are, and for other values, which are JSON. With `quoted` texts are
    JSON, too. `end_text` and `end_value` end the last argument; `after_text` begins with `end_text`. `empty` stands for
    no arguments at all; None where it is not known.
    """

    first: str
    text: str
    value: str
    after_text: str
    after_value: str
    end_text: str
    end_value: str
    empty: str | None
    quoted: bool

    def written(self, arguments: Mapping[str, Any]) -> str:
        """Arguments as they stand in a call."""
        text, before = "", self.first
        for key, value in arguments.items():
            plain = isinstance(value, str) and not self.quoted
            said = value if plain else json.dumps(value, ensure_ascii=False)
            text += f"{before}{key}{self.text if plain else self.value}{said}"
            before, end = (self.after_text, self.end_text) if plain else (self.after_value, self.end_value)
        return text + end if arguments else self.empty or ""


@dataclass(frozen=True, slots=True)
class Shape:
    """Calls with the tags `span`: `lead` stands before the tag, `head` from there to the arguments of the first call.

    `between` are the arguments of two calls, None where there can be one only; `tail` follows the last arguments, with
    the closing tag. In these texts PROBE is the name of the function, ID and NUMBER what the model makes up.
    """

    span: Span
    head: str
    tail: str
    arguments: JsonArguments | NamedArguments
    between: str | None = None
    lead: str = ""

    @property
    def never(self) -> re.Pattern[str] | None:
        """What values cannot contain, or they would end there."""
        begins = self.head if isinstance(self.arguments, JsonArguments) else self.head + self.arguments.first
        notation = next((notation for notation in (elements, argument_pairs) if notation.HINT.search(begins)), None)
        return None if notation is None else notation.NEVER

    def written(self, call: Call) -> str:
        """A call with its tags."""
        arguments = self.arguments.written(call.arguments)
        return made(self.head.replace(PROBE, call.name)) + arguments + made(self.tail)


Writer = Callable[[Sequence[Call]], str | None]  # what is written of calls; None where they cannot be written


def of_family(family: Family) -> Shape | None:
    """The shape of calls as a family writes them by itself, if that is known."""
    return of_examples(lambda calls: family.written(calls[0]) if len(calls) == 1 else None, [family.span])


def of_examples(write: Writer, spans: Sequence[Span], prompt: str = "") -> Shape | None:
    """The shape of calls as `write` shows them; None where it shows none that would be read as the same calls.

    The calls come after `prompt`, within the tags of one of the `spans`.
    """
    text = write([probe(0)])
    if text is None:
        return None
    text = _without_ids(text)
    found = _span_in(text, spans)
    if found is None:
        return None
    span, at = found
    made = _json(text, span, at) or _named(text, span, at, write)
    if made is None or not _reads(made, text[at:]):
        return None
    lead = text[len(prompt) : at] if text.startswith(prompt) else ""
    return _repeated(made, write, lead)


def read(text: str, span: Span, tools: Sequence[Any] = (DECLARED,)) -> list[Call]:
    """The calls in a text that begins with a tag."""
    parts = PartSplitter([span]).push(text, final=True)
    return [call for part in parts if part.kind == "call" for call in parse(part.text, tools)]


def _reads(shape: Shape, text: str) -> bool:
    whole = text[: text.rfind(shape.tail) + len(shape.tail)] if shape.tail else text
    return read(made(whole), shape.span)[:1] == [probe(0)]


def made(text: str) -> str:
    """A text of a shape, with an id and a number where they are free."""
    return text.replace(ID, IDS[0]).replace(NUMBER, "0")


def _without_ids(text: str) -> str:
    for id in IDS:
        text = text.replace(id, ID)
    return text


def _span_in(text: str, spans: Sequence[Span]) -> tuple[Span, int] | None:
    """The tag that comes first, and where it is: before the name, which may be a part of it."""
    before = text.find(PROBE)
    if before < 0:
        return None
    found = []
    for span in spans:
        at = text.rfind(span.opens, 0, text.find(next(iter(probe(0).arguments.values()))))
        if at >= 0:
            found.append((at, -len(span.opens), span))
    if not found:
        return None
    at, _, span = min(found, key=lambda entry: entry[:2])
    return span, at


def _tail(head: str, rest: str, span: Span) -> str | None:
    """What belongs to a call after its arguments: to the closing tag, otherwise what closes its brackets."""
    if span.closes:
        end = rest.find(span.closes)
        return rest[: end + len(span.closes)] if end >= 0 else None
    body = head if span.keep else head.removeprefix(span.opens)
    depth = sum(body.count(mark) for mark in "[{") - sum(body.count(mark) for mark in "]}")
    for at, mark in enumerate(rest):
        if depth <= 0:
            return rest[:at]
        depth += (mark in "[{") - (mark in "]}")
    return rest if depth <= 0 else None


def _objects(text: str, start: int) -> Iterator[tuple[Any, int, int]]:
    """The JSON objects that begin anywhere in a text, with where they begin and end."""
    for found in re.finditer(r"\{", text[start:]):
        at = start + found.start()
        try:
            value, end = DECODER.raw_decode(text, at)
        except ValueError:
            continue
        yield value, at, end


def _json(text: str, span: Span, at: int) -> Shape | None:
    for value, begin, end in _objects(text, at):
        if value != dict(probe(0).arguments):
            continue
        head = text[at:begin]
        tail = _tail(head, text[end:], span)
        if tail is None or PROBE not in head + tail:
            return None
        compact = text[begin:end] == json.dumps(value, separators=(",", ":"))
        return Shape(span, head, tail, JsonArguments(",", ":") if compact else JsonArguments())
    return None


def _named(text: str, span: Span, at: int, write: Writer) -> Shape | None:
    cut = _cut(text[at:], probe(0))
    if cut is None:
        return None
    head, (first, text, after_text, text_2, after_2, value, after_value, value_2), _ = cut
    if (text, value, after_text) != (text_2, value_2, after_2):
        return None
    closing = [_ending(span, head + first, write, [name]) for name in (TEXTS[0], NUMBERS[0])]
    end_text, end_value, empty = *closing, _ending(span, head, write, [])
    if end_text is None or end_value is None:
        return None
    named = NamedArguments(first, text, value, after_text, after_value, end_text, end_value, empty, quoted=False)
    return _joined(span, head, named)


def _ending(span: Span, head: str, write: Writer, names: Sequence[str]) -> str | None:
    """What stands behind the last of some arguments, up to the end of the call; None where that is not written."""
    text = _without_ids(write([probe(0, names)]) or "")
    at = text.rfind(span.opens)
    if at < 0 or PROBE not in text[at:]:
        return None
    if not names:
        return _tail(head, text[text.rfind(PROBE) + len(PROBE) :], span)
    cut = _cut(text[at:], probe(0, names))
    return None if cut is None else _tail(head, cut[2], span)


def _cut(text: str, call: Call) -> tuple[str, list[str], str] | None:
    """A text around a call: up to the end of its name, what stands before each key and value in turn, and the rest."""
    keys = list(call.arguments)
    end = text.find(str(call.arguments[keys[0]]))
    name_at = text.rfind(PROBE, 0, end)
    if name_at < 0:
        return None
    at, pieces = name_at + len(PROBE), []
    head = text[:at]
    for key, value in call.arguments.items():
        for part in (key, str(value)):
            found = text.find(part, at)
            if found < 0:
                return None
            pieces.append(text[at:found])
            at = found + len(part)
    return head, pieces, text[at:]


def _joined(span: Span, head: str, named: NamedArguments) -> Shape | None:
    """The shape: what all ends have in common is its tail, and quotes around texts belong to them."""
    endings = [named.end_text, named.end_value, *([] if named.empty is None else [named.empty])]
    common = 0
    while common < min(map(len, endings)) and len({ending[-common - 1] for ending in endings}) == 1:
        common += 1
    tail = endings[0][len(endings[0]) - common :]
    if broken := BROKEN.match(tail):  # the end of a tag that closes a value, which belongs to it
        tail, common = tail[broken.end() :], common - broken.end()
    end_text, end_value, *rest = (ending[: len(ending) - common] for ending in endings)
    fields: dict[str, Any] = {"end_text": end_text, "end_value": end_value, "empty": rest[0] if rest else None}
    quote = named.text.removeprefix(named.value)
    if quote in ("'", '"'):
        fields |= {"text": named.value, "after_text": named.after_text.removeprefix(quote), "quoted": True}
        fields["end_text"] = end_text.removeprefix(quote)
    arguments = replace(named, **fields)
    return Shape(span, head, tail, arguments) if arguments.after_text.startswith(arguments.end_text) else None


def _repeated(shape: Shape, write: Writer, lead: str) -> Shape:
    """The shape, with what stands between calls where several are written like one after the other."""
    text = write([probe(i) for i in range(3)])
    return replace(shape, lead=lead, between=_between(_without_ids(text), shape) if text else None)


def _between(text: str, shape: Shape) -> str | None:
    """What stands between the arguments of calls; its numbers are free where they count the calls."""
    found = [_edges(text, probe(i), shape.arguments) for i in range(3)]
    edges = [edge for edge in found if edge is not None]
    if len(edges) < len(found):
        return None
    if not text[: edges[0][0]].endswith(shape.head) or not text[edges[2][1] :].startswith(shape.tail):
        return None
    first, second = (text[edges[i][1] : edges[i + 1][0]] for i in range(2))
    if first == second:
        return first
    pieces = [re.split(r"(\d+)", between) for between in (first, second)]
    if len(pieces[0]) != len(pieces[1]) or pieces[0][::2] != pieces[1][::2]:
        return None
    return "".join(a if a == b else NUMBER for a, b in zip(*pieces, strict=True))


def _edges(text: str, call: Call, arguments: JsonArguments | NamedArguments) -> tuple[int, int] | None:
    """Where the arguments of a call begin and end."""
    if isinstance(arguments, JsonArguments):
        found = (edge[1:] for edge in _objects(text, 0) if edge[0] == dict(call.arguments))
        return next(found, None)
    first, last = (text.find(str(value)) for value in (call.arguments[TEXTS[0]], call.arguments[NUMBERS[-1]]))
    begin = text.rfind(PROBE, 0, first)
    if begin < 0 or last < 0:
        return None
    end = last + len(str(call.arguments[NUMBERS[-1]])) + len(arguments.end_value)
    return begin + len(PROBE), end
