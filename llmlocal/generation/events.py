"""What happens while an answer is generated: the events of `Session.answer`, up to whoever draws them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..chat_format.tag_splitter import Part
from ..errors import IncompleteError
from ..speculation.speculation import NOTHING, Report
from ..text import readable

FinishReason = Literal["stop", "length", "context"]

CUT_SHORT: dict[FinishReason, tuple[str, str]] = {
    "stop": ("a stop string came", "leave out --stop, or choose another"),
    "length": ("the token limit was reached", "-n allows more tokens"),
    "context": ("the context was full", "a larger --ctx holds more"),
}


class PromptProgress(NamedTuple):
    """A chunk of a long prompt has been read: `done` of `total` tokens."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token, and the parts of the answer that it completes.

    There are no parts while the text may still be half a character, a tag, or the beginning of a stop string. In the
    texts of parts, bytes that are not UTF-8 are lone surrogates (`surrogateescape`), so that `data` has every byte.
    `thinking`: the token belongs to a thought.
    """

    id: int
    parts: tuple[Part, ...] = ()
    thinking: bool = False

    @property
    def text(self) -> str:
        """What it adds to the answer proper, without thoughts and calls; U+FFFD stands for bytes that are not UTF-8."""
        return readable(self._answer())

    @property
    def data(self) -> bytes:
        """The exact bytes of `text`."""
        return self._answer().encode("utf-8", "surrogateescape")

    def _answer(self) -> str:
        return "".join(part.text for part in self.parts if part.kind == "answer")


class Finished(NamedTuple):
    """The last event. `reason`: an end token or a stop string, the token limit, or a full context.

    `valid`: false where the answer was to have a form, such as a schema, and ended before it had it.
    `stop_string`: the one that was found, where the answer's maker tells. `speculation`: what proposed tokens did.
    `read_again`: prompt tokens that were in the context already, but before what its sliding windows still hold.
    """

    reason: FinishReason
    prompt_tokens: int
    reused_tokens: int
    generated_tokens: int
    load_seconds: float
    prefill_seconds: float
    decode_seconds: float
    seed: int
    valid: bool = True
    stop_string: str | None = None
    speculation: Report = NOTHING
    read_again: int = 0

    @property
    def prefill_speed(self) -> float:
        """Prompt tokens read per second; reused tokens are not counted."""
        return (self.prompt_tokens - self.reused_tokens) / max(self.prefill_seconds, 1e-9)

    @property
    def decode_speed(self) -> float:
        """Tokens generated per second, without the first one: its logits come with the prompt."""
        return max(0, self.generated_tokens - 1) / max(self.decode_seconds, 1e-9)

    def check_valid(self) -> None:
        """Raises IncompleteError for an answer that ended before it had its form."""
        if not self.valid:
            what, hint = CUT_SHORT[self.reason]
            raise IncompleteError(f"{what} before the answer had the form asked for", hint)


Event = PromptProgress | Token | Finished
Events = Generator[Event, None, None]
