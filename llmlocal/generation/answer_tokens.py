"""The tokens of one answer, chosen from logits one by one, whoever runs the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..chat_format.prompt import Prompt, marked
from ..chat_format.tag_splitter import Part
from ..constraints.grammar import Grammar
from ..errors import UsageError
from ..tokenizer import Tokenizer
from .answer_constraint import AnswerConstraint, TextForm
from .answer_text import AnswerText
from .events import FinishReason, Token
from .sampler import Sampler

if TYPE_CHECKING:
    from ..chat_format.call_form import CallForm
    from .call_constraint import FreeCalls


class AnswerTokens:
    """Chooses the tokens of the answer to `prompt` and says when it ends: `reason` is None until then.

    `history` are the ids of the prompt and those chosen so far, of which `count` are the answer's. A thought is closed
    after `think_budget` tokens; without `max_tokens` the answer ends when the model ends it or `n_ctx` tokens are full.
    After its thought it has the form `grammar`; `calls` are those of functions that it may or must make. Raises
    UsageError for a form that is too complex.
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
        calls: CallForm | None = None,
    ) -> None:
        self.history, self.count, self.sampler = list(prompt.ids), 0, sampler
        self.reason: FinishReason | None = "length" if max_tokens == 0 else None
        self._stop_ids, self._n_ctx, self._text, self._max_tokens = tokenizer.stop_ids, n_ctx, text, max_tokens
        self._think_budget, self._thought = think_budget, 0
        self._closing: Sequence[int] = () if think_budget is None else marked(prompt.style.closing, tokenizer)
        self._form = _form(prompt, tokenizer, text, grammar, calls)
        self._forced: deque[int] = self._form.queue if self._form else deque()  # to be taken in place of sampled ones
        self._prepare()

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
        self.reason = "stop" if self._text.stopped else reason
        if self._form is not None:
            self._form.saw(parts)
            if self.reason is not None and self._form.within_call:  # cut short: what there is of it is no call
                parts = tuple(Part("answer", part.text) if part.kind == "call" else part for part in parts)
        if self.reason is None:
            self._count_thought(thinking)
            self._prepare()
        return Token(id, parts, thinking)

    def guess(self, logits: NDArray[np.float32], proposed: Sequence[int]) -> int:
        """The id that follows the history and `proposed` ones, by a draft's logits (n_vocab,); nothing is taken."""
        return self.sampler.guess(logits, [*self.history, *proposed], self.count + len(proposed))

    def follow(self, ids: Sequence[int]) -> list[bool]:
        """Of ids that may come next, as many as the form of the answer allows: whether nothing else could come."""
        return [False] * len(ids) if self._form is None else self._form.follow(ids)

    def expected(self) -> list[int]:
        """The text that the form demands next in the tokenizer's tokens, where other tokens could write it, too."""
        return [] if self._form is None else self._form.expected()

    def _sampled(self, logits: NDArray[np.float32]) -> int:
        if self._form is None:
            return self.sampler.sample(logits, self.history, self.count)
        found = self._form.masked(logits)
        while self._form.refuses(id := self.sampler.sample(found, self.history, self.count)):
            if np.isneginf(found[id]):
                raise UsageError(f"token {id} is not allowed here by the form that the answer must have")
            found = found.copy() if found is logits else found
            found[id] = -np.inf
        return id

    def _prepare(self) -> None:
        """Have the next mask computed beside the run of the model."""
        if self._form is not None:
            self._form.prepare()

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


def _form(
    prompt: Prompt, tokenizer: Tokenizer, text: AnswerText, grammar: Grammar | None, calls: CallForm | None
) -> AnswerConstraint | FreeCalls | None:
    """What holds for the tokens of an answer. Raises UsageError for a grammar that is too complex."""
    if grammar is not None:
        return TextForm(grammar, prompt, tokenizer, text)
    if calls is None or not prompt.chat:
        return None
    from .call_constraint import ForcedCalls, FreeCalls  # the notations of calls take 30 ms to import

    return ForcedCalls(calls, prompt, tokenizer, text) if calls.forced else FreeCalls(calls, tokenizer, text)
