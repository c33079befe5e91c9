"""From the scheduler's thread to the event loop: the deliveries of one or several requests, as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter

from ..chat_format.tag_splitter import Part
from ..generation.events import Event, Finished, Token
from ..scheduler.answer import Answer
from ..scheduler.request import Delivery, Failed, Request
from ..scheduler.scheduler import Scheduler
from ..text import readable
from .metrics import Metrics

Numbered = tuple[int, Delivery]
Queue = asyncio.Queue[list[Numbered]]
INTERVAL = 0.04  # seconds for which tokens are held: 25 times a second text seems to flow
WRITES = 200  # a second to all clients together; for more clients tokens are held longer,
LONGEST = 0.1  # but not longer than this


class Outbox:
    """Deliveries of a scheduler's thread, which the event loop gets all at once: `put` and `flush` are that thread's.

    To wake the loop for each of them would let it take the interpreter's lock in the midst of a step, while the engine
    waits; so it works while the engine does. As it then takes a core from the engine, tokens of several steps go
    together, too, but for what somebody waits for: the first token of an answer, and its end.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._held: dict[asyncio.AbstractEventLoop, dict[Queue, list[Numbered]]] = {}
        self._awaited: set[Queue] = set()
        self._clock, self._emptied = clock, clock()

    def put(self, loop: asyncio.AbstractEventLoop, queue: Queue, numbered: Numbered, *, awaited: bool) -> None:
        """Hold a delivery for a queue of `loop`; `awaited`: until the next `flush` at most."""
        self._held.setdefault(loop, {}).setdefault(queue, []).append(numbered)
        if awaited:
            self._awaited.add(queue)

    def flush(self, everything: bool) -> None:
        """Hand over `everything` that is held, otherwise only what is awaited or has been held for long enough."""
        now = self._clock()
        interval = min(max(INTERVAL, sum(map(len, self._held.values())) / WRITES), LONGEST)
        everything = everything or now >= self._emptied + interval
        self._emptied = now if everything else self._emptied
        for loop, some in self._held.items():
            given = {queue: some.pop(queue) for queue in [*some] if everything or queue in self._awaited}
            if given:
                with suppress(RuntimeError):  # the loop is closed, and nobody waits
                    loop.call_soon_threadsafe(_put_all, given)
        self._held = {loop: some for loop, some in self._held.items() if some}
        self._awaited.clear()


def _put_all(some: Mapping[Queue, list[Numbered]]) -> None:
    for queue, several in some.items():
        queue.put_nowait(several)


def _plain_text(delivery: Delivery) -> str | None:
    """The text of a token that is text of the answer and nothing else; None for other deliveries."""
    if type(delivery) is not Token or delivery.thinking or any(part.kind != "answer" for part in delivery.parts):
        return None
    return "".join(part.text for part in delivery.parts)


def _taken(came: deque[Numbered]) -> Numbered:
    """The first of the deliveries, with the text of the same answer that follows it.

    What ends with bytes that are no character stays apart: together with others they could be read as one.
    """
    i, delivery = came.popleft()
    texts, text = [], _plain_text(delivery)
    while text is not None:
        texts.append(text)
        follows = came and came[0][0] == i and readable(text) == text
        text = _plain_text(came[0][1]) if follows else None
        if text is not None:
            _, delivery = came.popleft()
    if len(texts) > 1:
        assert isinstance(delivery, Token)
        whole = "".join(texts)
        delivery = Token(delivery.id, (Part("answer", whole),) if whole else ())
    return i, delivery


class Answers:
    """The answers to `requests` while they are made: iterate over (index of the request, event), `close` at the end.

    Text that came together is one token, so that it is one piece of a stream.
    Submits them at once, and raises what `Scheduler.submit` raises. `outbox` is the scheduler's. Iteration raises the
    error of a request that fails. `ended` is called with how each of them ended.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        outbox: Outbox,
        requests: Sequence[Request],
        metrics: Metrics,
        ended: Callable[[Finished], None],
    ) -> None:
        self._queue, self._outbox = Queue(), outbox
        self._came = deque[Numbered]()  # from the queue, and not yet taken
        self._begun = set[int]()  # requests with a token; the scheduler's thread alone looks at it
        self._left, self._metrics, self._began = len(requests), metrics, perf_counter()
        self._ended = ended
        self._waiting_for_first = set(range(len(requests)))
        self._answers: list[Answer] = []
        self._loop = asyncio.get_running_loop()
        try:
            for i, request in enumerate(requests):
                self._answers.append(scheduler.submit(request, partial(self._deliver, i)))
        except BaseException:
            self.close()
            raise

    def _deliver(self, i: int, delivery: Delivery) -> None:
        """Called by the scheduler's thread."""
        later = isinstance(delivery, Token) and i in self._begun
        self._begun.add(i)
        self._outbox.put(self._loop, self._queue, (i, delivery), awaited=not later)

    def close(self) -> None:
        """Stop what is not finished."""
        for answer in self._answers:
            answer.cancel()

    @property
    def ready(self) -> bool:
        """Whether the next event, or the end, is there without waiting."""
        return bool(self._came) or not self._left

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> tuple[int, Event]:
        if not self._left:
            raise StopAsyncIteration
        if not self._came:
            self._came.extend(await self._queue.get())
        i, delivery = _taken(self._came)
        if isinstance(delivery, Failed):
            raise delivery.error
        if isinstance(delivery, Token) and i in self._waiting_for_first:
            self._waiting_for_first.discard(i)
            self._metrics.first_token(perf_counter() - self._began)
        if isinstance(delivery, Finished):
            self._left -= 1
            self._ended(delivery)
        return i, delivery
