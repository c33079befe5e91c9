"""Answers rows: many at once, given out in the order of the rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cache
from threading import Condition
from typing import Any

from ..chat_format.tag_splitter import Part
from ..constraints.grammar import Grammar
from ..errors import LlmlocalError
from ..generation.events import Finished, Token
from ..generation.sampler import Sampler
from ..generation.sampling_params import SamplingParams
from ..generation.session import Session
from ..scheduler.request import Delivery, Failed, Request
from ..scheduler.scheduler import Scheduler, steady_batch
from ..text import readable
from .row_prompt import RowPrompts
from .rows import Row

AHEAD = 4  # rows that are prepared or wait to be given out, for each one that is being answered
HELD = 256  # and as many besides: a row with a long answer holds up those after it
SEEDS = 1 << 64
Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """How rows are answered. Row n is sampled with the seed `seed` + n."""

    sampling: SamplingParams
    seed: int
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    think_budget: int | None = None
    grammar: Grammar | None = None

    def request(self, prompts: RowPrompts, row: Row) -> Request:
        """What is asked for a row. Raises its error, and as `RowPrompts.of`."""
        if row.error is not None:
            raise row.error
        sampler = Sampler(replace(self.sampling, seed=(self.seed + row.number) % SEEDS))
        prompt = prompts.of(row.fields)
        return Request(prompt, sampler, self.max_tokens, self.stop, self.think_budget, grammar=self.grammar)


class Pending:
    """A row that is being answered: `result` is None until it is done, of which `changed` is told.

    `lost` is what ends the whole batch before that.
    """

    def __init__(self, row: Row, key: str, grammar: Grammar | None, changed: Condition) -> None:
        self.result: Result | None = None
        self.lost: LlmlocalError | None = None
        self._head: dict[str, Any] = {"row": row.number, "key": key}
        if "id" in row.fields:
            self._head["id"] = row.fields["id"]
        self._grammar, self._changed, self._parts = grammar, changed, list[Part]()

    def deliver(self, delivery: Delivery) -> None:
        """Called by the scheduler's thread."""
        if isinstance(delivery, Token):
            self._parts += delivery.parts
        elif isinstance(delivery, Failed):
            self.fail(delivery.error)
        elif isinstance(delivery, Finished):
            try:
                delivery.check_valid()
                self._settle(self._answer(delivery))
            except LlmlocalError as error:
                self.fail(error)

    def fail(self, error: LlmlocalError) -> None:
        """The row has no answer."""
        self._settle({"error": {"message": str(error), "hint": error.hint or None, "exit_code": error.exit_code}})

    def done(self, result: Result) -> None:
        """The row has been answered elsewhere."""
        with self._changed:
            self.result = result
            self._changed.notify()

    def lose(self, error: LlmlocalError) -> None:
        """The row cannot be answered, nor can any other."""
        with self._changed:
            self.lost = error
            self._changed.notify()

    def _settle(self, fields: Result) -> None:
        self.done({**self._head, **fields})

    def _answer(self, end: Finished) -> Result:
        text, thought = ("".join(p.text for p in self._parts if p.kind == kind) for kind in ("answer", "thought"))
        fields: dict[str, Any] = {"text": readable(text)}
        if thought:
            fields["thinking"] = readable(thought.strip())
        if self._grammar is not None and self._grammar.json:
            fields["parsed"] = self._grammar.value(text)
        counts = {"prompt_tokens": end.prompt_tokens, "completion_tokens": end.generated_tokens}
        return {**fields, "finish_reason": end.reason, **counts, "seed": end.seed}


class Answerer:
    """Answers rows by one engine, `parallel` at once; `queue` more may wait. To be closed.

    `session` has `sequences(parallel)` sequences. Raises as `Session.engine`.
    """

    def __init__(self, session: Session, prompts: RowPrompts, how: Answering, parallel: int, queue: int) -> None:
        self._prompts, self._how = prompts, how
        self._scheduler = Scheduler(session, queue=queue, least=steady_batch(parallel))

    def begin(self, row: Row, key: str, changed: Condition) -> Pending:
        """Have a row answered. What is wrong with it is its result."""
        pending = Pending(row, key, self._how.grammar, changed)
        try:
            self._scheduler.submit(self._how.request(self._prompts, row), pending.deliver)
        except LlmlocalError as error:
            pending.fail(error)
        return pending

    def close(self) -> None:
        """End what is at work."""
        self._scheduler.close()


def results(
    session: Session, rows: Iterable[tuple[Row, str]], prompts: RowPrompts, how: Answering, parallel: int
) -> Generator[Result, None, None]:
    """The results of rows with their keys, in order, each as soon as it and all before it are there.

    `parallel` rows are answered at once; `session` has `sequences(parallel)` sequences, and its engine is loaded with
    the first row. What is wrong with a row is its result; the others go on. A limited number of rows is held, whatever
    there are. To be closed. Raises as `Session.engine`.
    """
    ahead = AHEAD * parallel
    with ExitStack() as stack:

        @cache
        def answerer() -> Answerer:
            return stack.enter_context(closing(Answerer(session, prompts, how, parallel, ahead)))

        yield from in_order(rows, lambda row, key, changed: answerer().begin(row, key, changed), ahead)


def in_order(
    rows: Iterable[tuple[Row, str]], begin: Callable[[Row, str, Condition], Pending], ahead: int
) -> Generator[Result, None, None]:
    """The results of rows with their keys, in order; up to `ahead` of them are begun and not done.

    Raises what `begin` raises, and what a row is lost by.
    """
    changed, window = Condition(), deque[Pending]()

    def settled(most: int) -> Iterator[Result]:
        """Those at the head that are done; waits until at most `most` rows are not, and there is room for another."""
        while window:
            with changed:
                changed.wait_for(lambda: _settled(window) or (len(window) < HELD + ahead and _open(window) <= most))
            if window[0].lost is not None:
                raise window[0].lost
            if (result := window[0].result) is None:
                return
            window.popleft()
            yield result

    for row, key in rows:
        window.append(begin(row, key, changed))
        yield from settled(ahead - 1)
    yield from settled(-1)


def sequences(parallel: int) -> int:
    """How many sequences an engine needs to answer `parallel` rows at once, whose batches have a steady size."""
    return max(parallel, steady_batch(parallel))


def _settled(window: deque[Pending]) -> bool:
    """Whether there is nothing to wait for at the head."""
    return window[0].result is not None or window[0].lost is not None


def _open(window: deque[Pending]) -> int:
    """How many rows are not answered yet."""
    return sum(pending.result is None for pending in window)
