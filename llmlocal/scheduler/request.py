"""What is asked of a scheduler, and what it delivers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..chat_format.prompt import Prompt
from ..chat_format.tag_splitter import Span
from ..constraints.grammar import Grammar
from ..errors import LlmlocalError, ResourceError
from ..generation.events import Event, Token
from ..generation.sampler import Sampler


class QueueFullError(ResourceError):
    """More requests are waiting than the queue holds."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to be answered; the fields are those of `Session.answer`.

    `grammar` is the form of the answer. With `logprobs` tokens come as
    `ScoredToken`, with that many of the likeliest ids.
    """

    prompt: Prompt
    sampler: Sampler
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    think_budget: int | None = None
    call_tags: Sequence[Span] = ()
    logprobs: int | None = None
    grammar: Grammar | None = None


@dataclass(frozen=True, slots=True)
class ScoredToken(Token):
    """A token with the natural logarithm of its probability, by the model's logits alone, and the `best` ids."""

    logprob: float = 0.0
    best: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The last delivery where a request cannot be answered."""

    error: LlmlocalError


Delivery = Event | Failed
Deliver = Callable[[Delivery], None]


def scored(token: Token, logits: NDArray[np.float32], best: int) -> ScoredToken:
    """`token` with its log probability by logits (n_vocab,), and those of the `best` likeliest ids, best first."""
    wide = logits.astype(np.float64)
    logs = wide - wide.max()
    logs -= np.log(np.exp(logs).sum())
    some = np.argpartition(-logs, min(best, logs.size - 1))[:best] if best else np.zeros(0, np.intp)
    order = some[np.lexsort((some, -logs[some]))]
    pairs = tuple((int(id), float(logs[id])) for id in order)
    return ScoredToken(token.id, token.parts, token.thinking, float(logs[token.id]), pairs)
