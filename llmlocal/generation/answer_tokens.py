"""The tokens of one answer, chosen from logits one by one, whoever runs the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..chat_format.prompt import Prompt, marked
from ..constraints.grammar import Grammar
from ..tokenizer import Tokenizer
from .answer_constraint import AnswerConstraint
from .answer_text import AnswerText
from .events import FinishReason, Token
from .sampler import Sampler


class AnswerTokens:
    """Chooses the tokens of the answer to `prompt` and says when it ends: `reason` is None until then.

    `history` are the ids of the prompt and those chosen so far, of which `count` are the answer's. A thought is closed
    after `think_budget` tokens; without `max_tokens` the answer ends when the model ends it or `n_ctx` tokens are full.
    After its thought it has the form `grammar`. Raises UsageError for one that is too complex.
    """

    def __init__(
        self,
        prompt: Prompt,
        tokenizer: Tokenizer,
        n_ctx: int,
        sampler: Sampler,
        text: AnswerText,
        max_tokens: int | None = None,
        think_budget: int | None = None,
        grammar: Grammar | None = None,
    ) -> None:
        self.history, self.count, self.sampler = list(prompt.ids), 0, sampler
        self.reason: FinishReason | None = "length" if max_tokens == 0 else None
        self._stop_ids, self._n_ctx, self._text, self._max_tokens = tokenizer.stop_ids, n_ctx, text, max_tokens
        self._think_budget, self._thought = think_budget, 0
        self._closing: Sequence[int] = () if think_budget is None else marked(prompt.style.closing, tokenizer)
        self._form = None if grammar is None else AnswerConstraint(grammar, prompt, tokenizer, text)
        self._forced: deque[int] = self._form.queue if self._form else deque()  # to be taken in place of sampled ones

    @property
    def forced(self) -> bool:
        """Whether the next token is certain, so that `take` needs no logits: several can be read by one run."""
        return bool(self._forced)

    @property
    def room(self) -> int:
        """How many tokens may still come, at most."""
        room = self._n_ctx + 1 - len(self.history)
        return room if self._max_tokens is None else min(room, self._max_tokens - self.count)

    @property
    def valid(self) -> bool:
        """Whether what was answered so far has the form that was asked for."""
        return self._form is None or self._form.valid

    def take(self, logits: NDArray[np.float32]) -> Token:
        """The next token, by the logits (n_vocab,) after the last one; any where it is `forced`.

        Raises as `Sampler.sample`, UsageError too where a sampler chooses what the form does not allow.
        """
        id = self._forced.popleft() if self._forced else self._sampled(logits)
        self.history.append(id)
        self.count += 1
        if self._form is not None:
            self._form.take(id)
        reason, thinking = self._ended_by(id), self._text.thinking
        parts = self._text.push(None if id in self._stop_ids else id, final=reason is not None)
        if self._form is not None:
            self._form.saw(parts)
        self.reason = "stop" if self._text.stopped else reason
        if self.reason is None:
            self._count_thought(thinking)
        return Token(id, parts, thinking)

    def _sampled(self, logits: NDArray[np.float32]) -> int:
        if self._form is not None:
            logits = logits.copy()
            self._form.mask(logits)
        return self.sampler.sample(logits, self.history, self.count)

    def _ended_by(self, id: int) -> FinishReason | None:
        """Why the token that was chosen last, `id`, is the last one; None where it is not."""
        if id in self._stop_ids or (self._form is not None and self._form.finished):
            return "stop"
        if self.count == self._max_tokens:
            return "length"
        return "context" if len(self.history) > self._n_ctx else None

    def _count_thought(self, thinking: bool) -> None:
        self._thought += thinking
        if self._think_budget is not None and self._text.thinking and self._thought >= self._think_budget:
            self._forced.extend(self._closing)
            self._think_budget = None
