"""Calls of functions while they are written: forced from the start, or held to their form from a tag on."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..chat_format.call_form import CallForm
from ..chat_format.call_shape import Shape
from ..chat_format.prompt import Prompt
from ..chat_format.tag_splitter import Part, Span, partial_suffix
from ..constraints.token_constraint import TokenConstraint
from ..tokenizer import Tokenizer
from .answer_constraint import AnswerConstraint
from .answer_text import AnswerText

LONG = 256  # bytes before a token that are looked at
# Numbers outside of texts that Python would read as infinite, or not at all: their exponents or digits are too many.
TOO_LARGE = re.compile(rb"[\d.][eE]\+?\d{3}|\d{200}")


class _Watch:
    """The text of a call, in which some characters would end it before its grammar does, or make it unreadable."""

    def __init__(self, shape: Shape, constraint: TokenConstraint, tokenizer: Tokenizer) -> None:
        self._closes = shape.span.closes.encode()
        self._never = None if shape.never is None else re.compile(shape.never.pattern.encode())
        self._constraint, self._text = constraint, b""
        self._letter = tokenizer.encode("z", add_special=False, continues=True)[-1]

    def saw(self, text: bytes) -> None:
        """Go on after a part of the call."""
        self._text = (self._text + text)[-LONG:]

    def refuses(self, id: int, text: bytes) -> bool:
        """Whether a token `id` that the grammar allows must not come next."""
        whole, before = self._text + text, len(self._text)
        if self._closes and self._closes in whole and not self._after(id).complete:
            return True
        if self._never is not None and _ends_within(self._never, whole, before):
            return self._after(id).allows(self._letter)
        if _ends_within(TOO_LARGE, whole, before):
            return not self._constraint.allows(self._letter)
        return False

    def _after(self, id: int) -> TokenConstraint:
        after = self._constraint.copy()
        after.advance(id)
        return after


class ForcedCalls(AnswerConstraint):
    """An answer that consists of calls, after its thought. Methods as of `AnswerConstraint`."""

    def __init__(self, calls: CallForm, prompt: Prompt, tokenizer: Tokenizer, text: AnswerText) -> None:
        self._calls, self._tokenizer = calls, tokenizer
        shape, constraint = calls.forced_start()
        self._watch, self._ended = _Watch(shape, constraint, tokenizer), False
        lead = "" if prompt.may_think or prompt.opened else calls.lead
        after = prompt.style.before_call if prompt.chat else ""
        super().__init__(constraint, prompt, tokenizer, text, prompt.call_header or lead, after)

    def refuses(self, id: int) -> bool:
        """Whether a token that was sampled must not be taken."""
        if self._state != "answer" or id in self._tokenizer.stop_ids:
            return False
        return self._watch.refuses(id, self._tokenizer.piece(id))

    @property
    def within_call(self) -> bool:
        """Whether a call has begun and is not whole."""
        return not self.valid

    @property
    def valid(self) -> bool:
        """Whether the calls are whole."""
        return self._state == "answer" and (self._ended or self._constraint.complete)

    def _end_thoughts(self) -> None:
        self._text.only(self._calls.spans)

    def _advance(self, id: int | None) -> None:
        if id is not None and id not in self._tokenizer.stop_ids:
            self._watch.saw(self._tokenizer.piece(id))
        self._ended = id is not None and id in self._tokenizer.stop_ids
        super()._advance(id)


class FreeCalls:
    """An answer that may call functions: free up to the tag of a call, which then has its form to the end.

    For each token as `AnswerConstraint`.
    """

    valid = True  # anything but a whole call is text

    def __init__(self, calls: CallForm, tokenizer: Tokenizer, text: AnswerText) -> None:
        self.queue: deque[int] = deque()  # tokens that come next
        self._expected: list[int] = []
        self._calls, self._tokenizer, self._answer = calls, tokenizer, text
        self._constraint: TokenConstraint | None = None  # of the call that is being written
        self._watch: _Watch | None = None
        self._span: Span | None = None
        self._called = self._said = self._ended = False
        self._tags = [(span, span.opens.encode()) for span in calls.spans]
        self._tail = b""  # the end of the free text

    def masked(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `TokenConstraint.masked`; `logits` themselves where all tokens are allowed."""
        return logits if self._constraint is None else self._constraint.masked(logits)

    def prepare(self) -> None:
        """Begin to compute the next mask, where there will be one."""
        if self._constraint is not None and not self.queue:
            self._constraint.prepare()

    def follow(self, ids: Sequence[int]) -> list[bool]:
        """As `TokenConstraint.follow`; outside of a call everything may come."""
        return [False] * len(ids) if self._constraint is None or self.queue else self._constraint.follow(ids)

    def expected(self) -> list[int]:
        """As `AnswerConstraint.expected`."""
        return [] if self._constraint is None or self.queue else self._expected

    def refuses(self, id: int) -> bool:
        """Whether a token that was sampled must not be taken."""
        if id in self._tokenizer.stop_ids:
            return False
        text = self._tokenizer.piece(id)
        if self._watch is not None:
            return self._watch.refuses(id, text)
        opened = self._opened(text)
        if opened is None:
            return False
        started = self._calls.start(opened[0].opens)
        if started is None:
            return self._calls.strict
        return not _take_text(started[1], opened[0].opens, opened[1], self._tokenizer)

    def take(self, id: int) -> None:
        """A token, before its text is split. Raises UsageError for one that is not allowed."""
        text = b"" if id in self._tokenizer.stop_ids else self._tokenizer.piece(id)
        if self._constraint is not None:
            self._ended = id in self._tokenizer.stop_ids  # which is allowed only where the call is whole
            self._constraint.advance(id)
            self._follow(text)
        elif (opened := self._opened(text)) is not None:
            self._open(*opened)
        elif self._answer.thinking:
            self._tail = b""
        else:
            whole, tags = self._tail + text, [tag for _, tag in self._tags]
            held = partial_suffix(whole, tags)
            self._said |= bool(whole[: len(whole) - held].strip())
            self._tail = whole[-max(map(len, tags), default=1) :]

    def saw(self, parts: Sequence[Part]) -> None:
        """The parts that the token completed."""

    @property
    def within_call(self) -> bool:
        """Whether a call has begun and is not whole."""
        return self._constraint is not None and not (self._ended or self._constraint.complete)

    @property
    def finished(self) -> bool:
        """Whether nothing may follow."""
        if self._constraint is not None:
            return self._constraint.finished
        return self._called and self._calls.one

    def _opened(self, text: bytes) -> tuple[Span, bytes] | None:
        """The tag that a token completes, if it does, and what follows on it within the token."""
        if self._answer.thinking:
            return None
        whole = self._tail + text
        found = []
        for span, tag in self._tags:
            at = whole.find(tag)
            if at >= 0 and not (span.first and (self._said or whole[:at].strip())):
                found.append((at, -len(tag), span))
        if not found:
            return None
        at, size, span = min(found, key=lambda entry: entry[:2])
        return span, whole[at - size :]

    def _open(self, span: Span, rest: bytes) -> None:
        """A call begins."""
        self._tail, self._said = b"", True
        started = self._calls.start(span.opens)
        if started is None or not _take_text(started[1], span.opens, rest, self._tokenizer):
            return
        self._span, self._constraint = span, started[1]
        self._watch = _Watch(started[0], started[1], self._tokenizer)
        self._follow(rest)

    def _follow(self, text: bytes) -> None:
        """Go on with a call after a text of it: what is forced comes next, and the answer is free after its end."""
        assert self._constraint is not None and self._watch is not None and self._span is not None
        self._watch.saw(text)
        if self._span.closes and self._constraint.complete:
            self._constraint = self._watch = None
            self._called = True
        elif not self.queue:
            self.queue.extend(self._constraint.forced())
            self._expected = [] if self.queue else self._constraint.expected()


def _ends_within(pattern: re.Pattern[bytes], text: bytes, start: int) -> bool:
    """Whether a match of a pattern ends after `start`."""
    return any(found.end() > start for found in pattern.finditer(text))


def _take_text(constraint: TokenConstraint, opens: str, rest: bytes, tokenizer: Tokenizer) -> bool:
    """Take a tag and what follows on it; whether that is allowed."""
    tag = tokenizer.encode(opens, add_special=False, parse_special=True, continues=True)
    for id in [*tag, *(tokenizer.encode(rest, add_special=False, continues=True) if rest else ())]:
        if not constraint.allows(id):
            return False
        constraint.advance(id)
    return True
