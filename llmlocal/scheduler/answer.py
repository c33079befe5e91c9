"""A request in the hands of a scheduler: it waits for a sequence, is read, and is answered."""

from __future__ import annotations

from time import perf_counter

from ..engine import Logits
from ..errors import LlmlocalError
from ..generation.answer_text import AnswerText
from ..generation.answer_tokens import AnswerTokens
from ..generation.events import Finished, PromptProgress
from ..generation.log_probabilities import scored
from ..speculation.speculation import Speculation
from ..tokenizer import Tokenizer
from .request import Deliver, Delivery, Failed, Request

NOWHERE = -1  # the sequence of an answer that waits for one


class Answer:
    """An answer in sequence `seq`, of whose prompt the first `read` ids are in the engine.

    Whoever asked for it may call `cancel` from any thread; everything else is the scheduler's. Raises UsageError for an
    empty stop string.
    """

    def __init__(
        self, request: Request, tokenizer: Tokenizer, n_ctx: int, deliver: Deliver, speculation: Speculation
    ) -> None:
        self.request, self.ids, self.speculation = request, request.prompt.ids, speculation
        tags = () if request.calls is None else request.calls.spans
        text = AnswerText(request.prompt, tokenizer, request.stop, tags, exact=request.grammar is not None)
        limits = request.max_tokens, request.think_budget, request.grammar, request.calls
        self.tokens = AnswerTokens(request.prompt, tokenizer, n_ctx, request.sampler, text, *limits)
        self._text = text
        self.seq, self.read, self.ended = NOWHERE, 0, False
        self._deliver, self._reused, self._read_again = deliver, 0, 0
        self._began = self._first_at = 0.0  # when a sequence was taken, and when the prompt was read

    def cancel(self) -> None:
        """End the answer before its next token; nothing more is delivered."""
        self.ended = True

    def begin(self, seq: int, reused: int, read_again: int = 0) -> None:
        """Go on in sequence `seq`, which holds the first `reused` ids of the prompt; `read_again` as in `Finished`."""
        self.seq, self.read, self._reused, self._began = seq, reused, reused, perf_counter()
        self._read_again = read_again

    def was_read(self, n: int) -> None:
        """`n` more ids of the prompt are in the engine."""
        self.read += n
        if self.read < len(self.ids):
            self._hand_over(PromptProgress(self.read, len(self.ids)))
        else:
            self._first_at = perf_counter()
            self.speculation.begin(self.ids, self._first_at - self._began)

    def take(self, logits: Logits) -> None:
        """Choose the next token by logits (n_vocab,), and deliver it. What fails here ends this answer alone."""
        try:
            if self.tokens.reason is None:
                certain, best = self.tokens.forced, self.request.logprobs
                token = self.tokens.take(logits)
                self.speculation.took([token.id], certain=certain)
                self._hand_over(token if best is None else scored(token, logits, best))
        except Exception as error:
            self.fail(error)

    def end_if_complete(self) -> None:
        """Deliver how the answer ended, after its last token."""
        if self.tokens.reason is not None and not self.ended:
            self.speculation.end()
            self._hand_over(self._finished())
            self.ended = True

    def fail(self, error: Exception) -> None:
        """Deliver an error, and end the answer."""
        known = error if isinstance(error, LlmlocalError) else LlmlocalError(f"internal: {type(error).__name__}")
        known.__cause__ = None if known is error else error  # for LLMLOCAL_DEBUG
        self._hand_over(Failed(known))
        self.ended = True

    def _hand_over(self, delivery: Delivery) -> None:
        if self.ended:
            return
        try:
            self._deliver(delivery)
        except Exception:  # whoever asked is gone
            self.ended = True

    def _finished(self) -> Finished:
        tokens, read, said = self.tokens, self._first_at - self._began, perf_counter() - self._first_at
        assert tokens.reason is not None
        numbers = len(self.ids), self._reused, tokens.count, 0.0, read, said, tokens.sampler.seed
        rest = tokens.valid, self._text.stop_string, self.speculation.report, self._read_again
        return Finished(tokens.reason, *numbers, *rest)
