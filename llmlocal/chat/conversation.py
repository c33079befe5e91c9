"""A conversation as turns: what was said, what of it the model still sees. Knows no model and no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
SUMMARY = "Summary of our conversation so far:"


@dataclass(slots=True)
class Turn:
    """What the user said, and all that came of it: answers, calls of functions and their results."""

    messages: list[Message]

    @property
    def question(self) -> str:
        return str(self.messages[0].get("content") or "")

    @property
    def answer(self) -> str:
        """The text of the last answer, empty where there is none."""
        texts = [m.get("content") for m in self.messages if m.get("role") == "assistant"]
        return str(texts[-1] or "") if texts else ""

    @property
    def thought(self) -> str:
        """All that was thought in this turn."""
        return "\n\n".join(str(m["reasoning_content"]) for m in self.messages if m.get("reasoning_content"))


@dataclass(slots=True)
class Conversation:
    """Turns, oldest first. The model sees those from `first` on, and `summary` in the place of the others."""

    system: str | None = None
    turns: list[Turn] = field(default_factory=list)
    first: int = 0
    summary: str | None = None

    def messages(self, more: Sequence[Message] = ()) -> list[Message]:
        """What a chat template gets, and `more` after it."""
        seen: list[Message] = []
        system = self.system
        if self.summary is not None:
            text = f"{SUMMARY}\n\n{self.summary}"
            system = f"{system}\n\n{text}" if system else text
        if system:
            seen.append({"role": "system", "content": system})
        for turn in self.turns[self.first :]:
            seen += turn.messages
        return [*seen, *more]

    def begin(self, text: str) -> Turn:
        """A new turn with what the user says."""
        self.turns.append(Turn([{"role": "user", "content": text}]))
        return self.turns[-1]

    def undo(self) -> Turn | None:
        """Take the last turn away; None where there is none."""
        turn = self.turns.pop() if self.turns else None
        self.first = min(self.first, len(self.turns))
        return turn

    def clear(self) -> None:
        """Forget every turn; the system text stays."""
        self.turns, self.first, self.summary = [], 0, None

    def seen(self) -> int:
        """How many turns the model sees."""
        return len(self.turns) - self.first

    def drop(self, turns: int) -> None:
        """Let the model see `turns` turns less, the oldest first."""
        self.first = min(self.first + turns, len(self.turns))

    def summarize(self, summary: str, upto: int) -> None:
        """Let the model see `summary` instead of all turns before number `upto`."""
        self.summary, self.first = summary, min(upto, len(self.turns))


def assistant(content: str, thought: str = "", calls: Sequence[Mapping[str, Any]] = ()) -> Message:
    """An answer as a message. Calls are in the notation of `tool_calls.Call.message`."""
    message: Message = {"role": "assistant", "content": content}
    if thought:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = [dict(call) for call in calls]
    return message


def result(name: str, id: str, content: str) -> Message:
    """What a function gave, as a message."""
    return {"role": "tool", "name": name, "tool_call_id": id, "content": content}
