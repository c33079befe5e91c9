"""What all endpoints share: the models, the metrics, and what is told to whoever runs the server."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..scheduler.request import Request
from .answers import Answers
from .metrics import Metrics
from .model_pool import ModelPool
from .text_model import TextModel


@dataclass(slots=True)
class Service:
    """A running server. `failed` is called with errors that are no client's fault."""

    pool: ModelPool
    failed: Callable[[Exception], None] = lambda _: None
    metrics: Metrics = field(default_factory=Metrics)

    def answers(self, model: TextModel, requests: Sequence[Request]) -> Answers:
        """The answers to requests. Raises what `Scheduler.submit` raises."""
        return Answers(model.scheduler, requests, self.metrics)


def new_id(prefix: str) -> str:
    """An id that no other answer has."""
    return f"{prefix}{secrets.token_hex(12)}"
