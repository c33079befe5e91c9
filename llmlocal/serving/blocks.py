"""Answers as a row of blocks: thoughts, text and calls in the order in which the model wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from .functions import Delta


@dataclass(slots=True)
class Block:
    """Neighbouring text of one kind, or a call. `index` is its place in the answer."""

    index: int
    first: Delta
    texts: list[str] = field(default_factory=list)
    id: str = ""  # for the protocol to use

    @property
    def kind(self) -> Literal["content", "reasoning", "call"]:
        """What the block holds."""
        return self.first.kind

    @property
    def text(self) -> str:
        """The text so far; of a call its arguments as JSON."""
        return self.first.arguments if self.kind == "call" else "".join(self.texts)


@dataclass(frozen=True, slots=True)
class Step:
    """A block begins, gets more text, or ends."""

    what: Literal["begin", "text", "end"]
    block: Block
    text: str = ""


class Blocks:
    """Sorts the deltas of an answer into blocks. White space between two blocks of other kinds is left out."""

    def __init__(self) -> None:
        self.all: list[Block] = []
        self._open: Block | None = None
        self._space = ""  # text that is only kept if more of its kind follows

    @property
    def has_calls(self) -> bool:
        """Whether a function is called."""
        return any(block.kind == "call" for block in self.all)

    def add(self, delta: Delta) -> Iterator[Step]:
        """What a delta changes."""
        if delta.kind == "call":
            yield from self.end()
            yield Step("begin", self._begin(delta))
            yield from self.end()
            return
        text = delta.text
        if self._open is None or self._open.kind != delta.kind:
            if not text.strip():
                self._space += text
                return
            first = delta.kind == "content" and not self.all
            text = self._space + text if first else text.lstrip()
            yield from self.end()
            yield Step("begin", self._begin(delta))
        if self._open is not None and text:
            self._open.texts.append(text)
            yield Step("text", self._open, text)

    def end(self) -> Iterator[Step]:
        """End the block that is open; nothing may follow, or another block."""
        block, self._open, self._space = self._open, None, ""
        if block is not None:
            yield Step("end", block)

    def _begin(self, delta: Delta) -> Block:
        block = self._open = Block(len(self.all), delta)
        self.all.append(block)
        return block
