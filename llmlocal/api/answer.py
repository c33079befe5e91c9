"""An answer: whole, and as it is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from json import loads
from threading import RLock
from types import TracebackType
from typing import Any, Literal
from weakref import ReferenceType, ref

from ..chat_format.prompt import Prompt
from ..chat_format.tag_splitter import Part
from ..chat_format.tool_calls import Call, parse
from ..errors import UsageError
from ..generation.events import Event, Events, Finished, Token
from ..text import readable
from .access import Access
from .choice import Choice

FinishReason = Literal["stop", "length", "context", "interrupted"]
Start = Callable[[], tuple[Prompt, Events]]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, and tokens per second. Loading is the time that the engine took when it was first needed."""

    load_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    prefill_speed: float = 0.0
    decode_speed: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered; `str(answer)` is its text.

    `thinking`: the text of its thoughts, which are not part of `text`. `tokens`: the ids that were generated, thoughts
    and the end token included. `finish_reason`: "stop" (an end token or a stop string), "length" (`max_tokens`),
    "context" (it is full), or "interrupted" (the stream was not read to its end). `cached_tokens` of the
    `prompt_tokens` were in the cache already. `calls`: the functions that it calls, each with `name` and `arguments`.
    `notes`: what the user should know, such as a missing chat template.
    """

    text: str
    thinking: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    seed: int
    timings: Timings
    notes: tuple[str, ...]
    calls: tuple[Call, ...] = ()

    @property
    def completion_tokens(self) -> int:
        """How many tokens were generated."""
        return len(self.tokens)

    @property
    def parsed(self) -> Any:
        """The value of an answer that is JSON, as one with a schema is. Raises ValueError for other answers."""
        return loads(self.text)

    def __str__(self) -> str:
        return self.text


class Stream(Iterator[str]):
    """An answer as it is made: iterating gives pieces of its text, as soon as they are certain.

    The model is busy until the answer ends, or the stream is closed or forgotten. `answer` is what was said so far.
    """

    def __init__(self, access: Access, choice: Choice, start: Start, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        """Make the first part of the answer, so that what is wrong with a prompt is raised here."""
        self._access, self._choice, self._tools = access, choice, tools
        self._lock, self._running, self._given_up = RLock(), False, False
        self._read: list[Prompt] = []  # what the model reads, once it is known
        self._tokens: list[int] = []
        self._parts: list[Part] = []
        self._ready: deque[Part] = deque()  # parts that were made and not given yet
        self._end: Finished | None = None
        self._events = _exclusive(access, start, self._read, ref(self))
        with self._lock:
            self._make()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        while (part := self._next()) is not None:
            if part.kind == "answer":
                return part.text
        raise StopIteration

    def parts(self) -> Iterator[Part]:
        """Pieces of thoughts, too: parts with a `kind`, "answer", "thought" or "call", and a `text`."""
        while (part := self._next()) is not None:
            yield part

    @property
    def answer(self) -> Answer:
        """What was said so far; `finish_reason` is "interrupted" until the answer has ended."""
        end, prompt = self._end, self._read[0]
        stretches = [(kind, "".join(p.text for p in same)) for kind, same in groupby(self._parts, lambda p: p.kind)]
        text, thoughts = ([text for kind, text in stretches if kind == wanted] for wanted in ("answer", "thought"))
        timings = Timings()
        if end is not None:
            speeds = end.prefill_speed, end.decode_speed
            timings = Timings(end.load_seconds, end.prefill_seconds, end.decode_seconds, *speeds)
        return Answer(
            "".join(text),
            "\n\n".join(thoughts),
            tuple(self._tokens),
            end.reason if end else "interrupted",
            len(prompt.ids),
            end.reused_tokens if end else 0,
            self._choice.seed,
            timings,
            prompt.notes,
            tuple(call for part in self._parts if part.kind == "call" for call in parse(part.text, self._tools)),
        )

    def close(self) -> None:
        """Give up the rest of the answer; the model is free again. May be called more than once."""
        self._given_up = True
        self._ready.clear()
        self.stop()

    def stop(self) -> None:
        """End the answer here; `Model.close` does it. Raises UsageError within a function that chooses its tokens."""
        with self._lock:
            self._check_idle()
            self._events.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _next(self) -> Part | None:
        """The next part, None at the end. Raises UsageError where the model was closed before that."""
        with self._lock:
            if not self._ready:
                self._make()
            return self._ready.popleft() if self._ready else None

    def _make(self) -> None:
        """Generate until there are parts, or to the end."""
        self._check_idle()
        if self._end is None and not self._given_up:
            self._access.session  # noqa: B018  raises when the model is closed
        self._running = True
        try:
            for event in self._events:
                if isinstance(event, Finished):
                    self._end = event
                    event.check_valid()
                elif isinstance(event, Token):
                    self._tokens.append(event.id)
                    self._ready += [Part(part.kind, readable(part.text)) for part in event.parts]
                    if self._ready:
                        self._parts += self._ready
                        return
        finally:
            self._running = False

    def _check_idle(self) -> None:
        if self._running:
            raise UsageError("this answer is being made: a function that chooses its tokens cannot read or end it")


def whole(stream: Stream) -> Answer:
    """All of an answer. However it ends, the model is free then."""
    with stream:
        for _ in stream.parts():
            pass
    return stream.answer


def _exclusive(
    access: Access, start: Start, read: list[Prompt], stream: ReferenceType[Stream]
) -> Generator[Event, None, None]:
    """The events of an answer that holds the model. Refers to the stream weakly: a forgotten one frees the model."""
    with access.exclusive(stream):
        prompt, events = start()
        read.append(prompt)
        access.context = [*prompt.ids]
        with closing(events):
            for event in events:
                if isinstance(event, Token):
                    access.context.append(event.id)
                yield event
