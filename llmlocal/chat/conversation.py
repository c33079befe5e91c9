"""A conversation as turns: what was said, and which part of it the model still sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
SUMMARY = "Summary of our conversation so far:"


@dataclass(slots=True)
class Turn:
    """A message of the user and everything that follows from it: answers, function calls and their results."""

    messages: list[Message]

    @property
    def question(self) -> str:
        return str(self.messages[0].get("content") or "")

    @property
    def answer(self) -> str:
        """The text of the last answer; empty if there is none."""
        texts = [m.get("content") for m in self.messages if m.get("role") == "assistant"]
        return str(texts[-1] or "") if texts else ""

    @property
    def thought(self) -> str:
        """All thoughts of this turn."""
        return "\n\n".join(str(m["reasoning_content"]) for m in self.messages if m.get("reasoning_content"))


@dataclass(slots=True)
class Conversation:
    """Turns, oldest first. The model sees the turns from `first` on, and `summary` in place of those before."""

    system: str | None = None
    turns: list[Turn] = field(default_factory=list)
    first: int = 0
    summary: str | None = None

    def messages(self, more: Sequence[Message] = ()) -> list[Message]:
        """The messages that the model sees, and `more` after them."""
        messages: list[Message] = []
        system = self.system
        if self.summary is not None:
            text = f"{SUMMARY}\n\n{self.summary}"
            system = f"{system}\n\n{text}" if system else text
        if system:
            messages.append({"role": "system", "content": system})
        for turn in self.turns[self.first :]:
            messages += turn.messages
        return [*messages, *more]

    def begin(self, text: str) -> Turn:
        """Start a turn with a message of the user."""
        self.turns.append(Turn([{"role": "user", "content": text}]))
        return self.turns[-1]

    def undo(self) -> Turn | None:
        """Remove and return the last turn; None if there is none."""
        turn = self.turns.pop() if self.turns else None
        self.first = min(self.first, len(self.turns))
        return turn

    def clear(self) -> None:
        """Remove all turns; the system prompt stays."""
        self.turns, self.first, self.summary = [], 0, None

    def visible(self) -> int:
        """Number of turns that the model sees."""
        return len(self.turns) - self.first

    def drop(self, turns: int) -> None:
        """Hide the `turns` oldest of the visible turns from the model."""
        self.first = min(self.first + turns, len(self.turns))

    def summarize(self, summary: str, upto: int) -> None:
        """Show the model `summary` in place of all turns before index `upto`."""
        self.summary, self.first = summary, min(upto, len(self.turns))


def assistant(content: str, thought: str = "", calls: Sequence[Mapping[str, Any]] = ()) -> Message:
    """An answer as a message; `calls` as `tool_calls.Call.message` writes them."""
    message: Message = {"role": "assistant", "content": content}
    if thought:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = [dict(call) for call in calls]
    return message


def result(name: str, id: str, content: str) -> Message:
    """The result of a function call as a message."""
    return {"role": "tool", "name": name, "tool_call_id": id, "content": content}
