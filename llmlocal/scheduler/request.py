"""What is asked of a scheduler, and what it delivers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..chat_format.prompt import Prompt
from ..constraints.grammar import Grammar
from ..errors import LlmlocalError, ResourceError
from ..generation.events import Event
from ..generation.sampler import Sampler

if TYPE_CHECKING:
    from ..chat_format.call_form import CallForm


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
    calls: CallForm | None = None
    logprobs: int | None = None
    grammar: Grammar | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The last delivery where a request cannot be answered."""

    error: LlmlocalError


Delivery = Event | Failed
Deliver = Callable[[Delivery], None]
