"""Splits a streamed answer at tags into reasoning, answer text and tool calls; the tags are given by the caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import AnyStr, Literal, NamedTuple

PartKind = Literal["answer", "thought", "call", "dropped"]


class Span(NamedTuple):
    """A kind of content and its tags. Without `closes` it extends to the end of the answer.

    `first`: recognized only before any answer text. `keep`: the opening tag is part of the content.
    """

    kind: PartKind
    opens: str
    closes: str = ""
    first: bool = False
    keep: bool = False


class Part(NamedTuple):
    """A part of an answer. A call comes whole, all other text as soon as its kind is certain."""

    kind: PartKind
    text: str


class PartSplitter:
    """Splits a stream of text into parts; holds back only text that may be the beginning of a tag.

    `opened`: the prompt ended within reasoning. Whitespace around reasoning is removed.
    """

    def __init__(self, spans: Sequence[Span], *, opened: bool = False) -> None:
        self._spans = sorted(spans, key=lambda span: -len(span.opens))
        self._inside = next((span for span in spans if span.kind == "thought"), None) if opened else None
        self._held = ""
        self._said = False  # answer text or a call has been emitted
        self._fresh = True  # the current part is empty so far: its leading whitespace is removed
        self._blanks = ""  # trailing whitespace of reasoning, emitted only if more follows
        self._body: list[str] = []

    @property
    def thinking(self) -> bool:
        """Whether the next text belongs to reasoning."""
        return self._inside is not None and self._inside.kind == "thought"

    def push(self, text: str, *, final: bool = False) -> list[Part]:
        """The parts that `text` completes; `final` ends the stream, so that nothing is held back."""
        self._held += text
        parts: list[Part] = []
        while self._step(parts, final):
            pass
        if final:
            parts += self._ended()
        return [part for part in parts if part.text and part.kind != "dropped"]

    def _step(self, parts: list[Part], final: bool) -> bool:
        """Consume text whose kind is certain; returns whether a tag was passed, so that more may be certain."""
        tags = [self._inside.closes] if self._inside else [span.opens for span in self._openers()]
        found = [(at, -len(tag), tag) for tag in tags if tag and (at := self._held.find(tag)) >= 0]
        if not found:
            end = len(self._held) if final else len(self._held) - partial_suffix(self._held, tags)
            self._take(parts, end)
            return False
        at, _, tag = min(found)
        said = self._said
        self._take(parts, at)
        if self._inside is None and said != self._said and any(s.opens == tag and s.first for s in self._spans):
            return True  # answer text precedes the tag, so it is ordinary text
        self._held = self._held[len(tag) :]
        self._pass(parts, tag)
        return True

    def _openers(self) -> list[Span]:
        return [span for span in self._spans if not (span.first and self._said)]

    def _pass(self, parts: list[Part], tag: str) -> None:
        """Enter or leave a span at a tag."""
        if self._inside:
            parts += self._ended()
            return
        span = next(span for span in self._openers() if span.opens == tag)
        self._said |= span.kind == "call"
        if span.kind == "dropped" and not span.closes:
            return
        self._inside, self._fresh, self._body = span, True, [tag] if span.keep else []

    def _ended(self) -> list[Part]:
        """Leave the current span, if any; emits a call, which is now whole."""
        span, body, self._body, self._blanks = self._inside, "".join(self._body), [], ""
        self._inside, self._fresh = None, span.kind == "thought" if span else self._fresh
        return [Part("call", body)] if span and span.kind == "call" else []

    def _take(self, parts: list[Part], end: int) -> None:
        """Emit the first `end` characters of the held text as part of the current span."""
        text, self._held = self._held[:end], self._held[end:]
        kind = self._inside.kind if self._inside else "answer"
        if kind == "call":
            self._body.append(text)
            return
        if self._fresh:
            text = text.lstrip()
        if not text:
            return
        self._fresh = False
        if kind == "thought":
            text = self._blanks + text
            solid = text.rstrip()
            self._blanks, text = text[len(solid) :], solid
        self._said |= kind == "answer"
        parts.append(Part(kind, text))


def partial_suffix(text: AnyStr, tags: Sequence[AnyStr]) -> int:
    """Length of the longest suffix of `text` that is the beginning of a tag, but not all of it; 0 for none."""
    longest = max(map(len, tags), default=0) - 1
    if longest < 1 or not any(tag[:1] in text[-longest:] for tag in tags):
        return 0  # most texts
    for n in range(min(longest, len(text)), 0, -1):
        if any(tag.startswith(text[-n:]) for tag in tags):
            return n
    return 0
