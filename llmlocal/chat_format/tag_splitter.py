"""A streamed answer split at tags into what is thought, said and called. Knows no family's tags and no tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import AnyStr, Literal

PartKind = Literal["answer", "thought", "call", "dropped"]


@dataclass(frozen=True, slots=True)
class TagSpan:
    """What stands between two tags. Without `closes` it goes on to the end of the answer.

    `first`: only before anything was said. `keep`: the opening tag is part of the content.
    """

    kind: PartKind
    opens: str
    closes: str = ""
    first: bool = False
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of an answer. A call comes whole, everything else as soon as it is certain."""

    kind: PartKind
    text: str


class PartSplitter:
    """Cuts a stream of text into parts, wherever its pieces end; holds back only what may be the beginning of a tag.

    `opened`: the prompt itself ended within the first thought. Blanks around thoughts are left out.
    """

    def __init__(self, spans: Sequence[TagSpan], *, opened: bool = False) -> None:
        self._spans = sorted(spans, key=lambda span: -len(span.opens))
        self._inside = next((span for span in spans if span.kind == "thought"), None) if opened else None
        self._held = ""
        self._said = False  # something that is not blank was answered or called
        self._fresh = True  # nothing of the present part was given yet: its leading blanks are left out
        self._blanks = ""  # trailing blanks of a thought, which count only if it goes on
        self._body = ""

    @property
    def thinking(self) -> bool:
        """Whether what comes next belongs to a thought."""
        return self._inside is not None and self._inside.kind == "thought"

    def push(self, text: str, *, final: bool = False) -> list[Part]:
        """The parts that `text` completes; with `final` nothing is held back."""
        self._held += text
        parts: list[Part] = []
        while self._step(parts, final):
            pass
        if final:
            parts += self._ended()
        return [part for part in parts if part.text and part.kind != "dropped"]

    def _step(self, parts: list[Part], final: bool) -> bool:
        """Take what is certain out of the held text; whether a tag was passed, so that more may be certain."""
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
            return True  # something was said before this tag, so it is none
        self._held = self._held[len(tag) :]
        self._pass(parts, tag)
        return True

    def _openers(self) -> list[TagSpan]:
        return [span for span in self._spans if not (span.first and self._said)]

    def _pass(self, parts: list[Part], tag: str) -> None:
        """Go through a tag."""
        if self._inside:
            parts += self._ended()
            return
        span = next(span for span in self._openers() if span.opens == tag)
        self._said |= span.kind == "call"
        if span.kind == "dropped" and not span.closes:
            return
        self._inside, self._fresh, self._body = span, True, tag if span.keep else ""

    def _ended(self) -> list[Part]:
        """Leave the span, if we are in one; a call is given now that it is whole."""
        span, body, self._body, self._blanks = self._inside, self._body, "", ""
        self._inside, self._fresh = None, span.kind == "thought" if span else self._fresh
        return [Part("call", body)] if span and span.kind == "call" else []

    def _take(self, parts: list[Part], end: int) -> None:
        """Move `end` characters of the held text to the part they belong to."""
        text, self._held = self._held[:end], self._held[end:]
        kind = self._inside.kind if self._inside else "answer"
        if kind == "call":
            self._body += text
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
    for n in range(min(longest, len(text)), 0, -1):
        if any(tag.startswith(text[-n:]) for tag in tags):
            return n
    return 0
