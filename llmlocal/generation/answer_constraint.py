"""When the form of an answer begins to hold: after the thought, where the model thinks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..chat_format.prompt import Prompt, marked
from ..chat_format.tag_splitter import Part
from ..constraints.grammar import Grammar
from ..constraints.token_constraint import TokenConstraint
from ..tokenizer import Tokenizer
from .answer_text import AnswerText

State = Literal["start", "opening", "thought", "bridge", "answer"]


class AnswerConstraint(ABC):
    """The form of one answer to `prompt`.

    For each token: the first taken from `queue` if there is one, otherwise one of those `masked`; then `take`,
    `AnswerText.push`, `saw` and, before the model runs, `prepare`. A thought is free. Around it come tokens that bring
    a model to its answer, such as the header of the message in which it stands.
    """

    def __init__(
        self,
        constraint: TokenConstraint,
        prompt: Prompt,
        tokenizer: Tokenizer,
        text: AnswerText,
        header_text: str,
        after: str,
    ) -> None:
        """`header_text` has to come before the answer, `after` behind a thought."""
        self.queue: deque[int] = deque()  # tokens that come next
        self._expected: list[int] = []
        self._constraint, self._text = constraint, text
        self._opening = marked(prompt.style.opens, tokenizer) if prompt.may_think else []
        self._after = marked(after, tokenizer)
        self._ends = sorted(tokenizer.stop_ids)
        self._said: list[str] = []
        self._state: State = "start"
        header = marked(header_text, tokenizer)
        if prompt.opened:
            self._state = "thought"
        elif header:
            self._state = "opening" if self._opening else "bridge"
            self.queue.extend(self._opening or header)
        elif not self._opening:
            self._begin()

    def masked(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `TokenConstraint.masked`; in a thought only tokens that end the answer are forbidden."""
        if self._state == "thought":
            found = logits.copy()
            found[self._ends] = -np.inf
            return found
        opening = self._opening[:1] if self._state == "start" else []
        found = self._constraint.masked(logits)
        found[opening] = logits[opening]
        return found

    def prepare(self) -> None:
        """Begin to compute the next mask, where there will be one."""
        if not self.queue and self._state in ("start", "answer"):
            self._constraint.prepare()

    def follow(self, ids: Sequence[int]) -> list[bool]:
        """As `TokenConstraint.follow`; outside of the answer everything may come that is not in the queue."""
        if self.queue:
            pairs = zip(ids, self.queue, strict=False)
            return [True for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        return self._constraint.follow(ids) if self._state == "answer" else [False] * len(ids)

    def expected(self) -> list[int]:
        """As `TokenConstraint.expected`; nothing where tokens are in the queue."""
        return [] if self.queue else self._expected

    def take(self, id: int) -> None:
        """A token, before its text is split. Raises UsageError for one that was sampled and is not allowed."""
        if self._state == "start" and id == self._opening[0] and not self._constraint.allows(id):
            self.queue.extend(self._opening[1:])
            self._state = "opening"
        elif self._state == "start":
            self._begin(id)
        elif self._state == "answer":
            self._advance(id)

    def saw(self, parts: Sequence[Part]) -> None:
        """The parts that the token completed: a thought may have ended."""
        self._said += (part.text for part in parts if part.kind == "answer")
        if self._state == "thought" and not self._text.thinking:
            if not self.queue:  # otherwise the thought was closed from outside, with all that follows it
                self.queue.extend(self._after)
            self._state = "bridge"
        if not self.queue and self._state == "bridge":
            self._begin()
        elif not self.queue and self._state == "opening":
            self._state = "thought"

    @property
    def within_call(self) -> bool:
        """Whether a call of a function has begun and is not whole."""
        return False

    def refuses(self, id: int) -> bool:
        """Whether a token that was sampled must not be taken, although the mask allows it."""
        return False

    @property
    @abstractmethod
    def valid(self) -> bool:
        """Whether what was said so far has the form."""

    @property
    def finished(self) -> bool:
        """Whether nothing may follow."""
        return self._state == "answer" and self._constraint.finished

    def _begin(self, first: int | None = None) -> None:
        """The answer begins, with a token that was sampled already if there is one."""
        self._state = "answer"
        self._end_thoughts()
        self._advance(first)

    @abstractmethod
    def _end_thoughts(self) -> None:
        """From here on the answer has no thoughts."""

    def _advance(self, id: int | None) -> None:
        if id is not None:
            self._constraint.advance(id)
        if not self.queue:
            self.queue.extend(self._constraint.forced())
            self._expected = [] if self.queue else self._constraint.expected()  # later a mask is being computed


class TextForm(AnswerConstraint):
    """The form of an answer in words. Raises UsageError for a grammar that is too complex."""

    def __init__(self, grammar: Grammar, prompt: Prompt, tokenizer: Tokenizer, text: AnswerText) -> None:
        self._grammar = grammar
        after = prompt.style.after_thought if prompt.chat else ""
        super().__init__(grammar.start(tokenizer), prompt, tokenizer, text, prompt.header, after)

    @property
    def valid(self) -> bool:
        """Whether what was said so far, read anew as a text, has the form."""
        return self._grammar.matches("".join(self._said))

    def _end_thoughts(self) -> None:
        self._text.end_of_thoughts()
