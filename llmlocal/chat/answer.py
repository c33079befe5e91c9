"""An answer as it is made: its parts, how many tokens it has, how it ends. Knows sessions and tags, no conversation."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..chat_format.prompt import Prompt, marked
from ..chat_format.tag_splitter import Part, PartSplitter
from ..chat_format.thinking import Think
from ..chat_format.tool_calls import spans
from ..generation.sampler import SamplingParams
from ..generation.session import Finished, Piece, Reading, Session
from ..tokenizer.vocab import CONTROL


@dataclass(slots=True)
class Settings:
    """How to answer. `tools` are functions in OpenAI's notation; `think_budget` counts tokens."""

    sampling: SamplingParams = field(default_factory=SamplingParams)
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    think: Think = "auto"
    think_budget: int | None = None
    template: str | None = None
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens of the answer so far, and how many of them were thought."""

    tokens: int
    thought: int


Event = Reading | Part | Count | Finished


def answer(
    session: Session, ready: Prompt, settings: Settings, *, template: str = "", errors: str = "replace"
) -> Iterator[Event]:
    """The events of an answer to a prompt, what was held back before `Finished`.

    Calls are looked for where there are tools, by what `template` contains. A thought that has spent its budget is
    closed. `errors` is what becomes of bytes that are no UTF-8. Raises as `Session.answer`.
    """
    tags = [*ready.style.spans, *(spans(template) if settings.tools else ())]
    splitter = PartSplitter(tags, opened=ready.opened)
    utf8, budget, tokens, thought = codecs.getincrementaldecoder("utf-8")(errors), settings.think_budget, 0, 0
    insert: deque[int] = deque()
    for event in session.answer(
        ready,
        max_tokens=settings.max_tokens,
        sampling=settings.sampling,
        stop=settings.stop,
        named=_named(session, [tag for span in tags for tag in (span.opens, span.closes)], bool(settings.tools)),
        insert=insert,
    ):
        if isinstance(event, Piece):
            tokens, thought = tokens + 1, thought + splitter.thinking
            yield from splitter.push(utf8.decode(event.data))
            if budget is not None and splitter.thinking and thought >= budget:
                insert.extend(marked(ready.style.closing, session.tokenizer))
                budget = None
            yield Count(tokens, thought)
            continue
        if isinstance(event, Finished):
            yield from splitter.push(utf8.decode(b"", True), final=True)
        yield event


def _named(session: Session, tags: Sequence[str], every: bool = False) -> frozenset[int]:
    """Control tokens that are part of tags, so that they must be read as text; with `every`, all of them."""
    vocab, text = session.tokenizer.vocab, "\n".join(tags)
    found = (id for id in vocab.of_type(CONTROL) if vocab.tokens[id])
    return frozenset(id for id in found if every or vocab.tokens[id] in text) - vocab.stop_ids
