"""From the scheduler's thread to the event loop: the deliveries of one or several requests, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter

from ..generation.events import Event, Finished, Token
from ..scheduler.answer import Answer
from ..scheduler.request import Delivery, Failed, Request
from ..scheduler.scheduler import Scheduler
from .metrics import Metrics

Numbered = tuple[int, Delivery]


class Outbox:
    """Deliveries of a scheduler's thread, which the event loop gets all at once: `put` and `flush` are that thread's.

    To wake the loop for each of them would let it take the interpreter's lock in the midst of a step, while the engine
    waits; so it works while the engine does.
    """

    def __init__(self) -> None:
        self._held: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Queue[Numbered], Numbered]]] = {}

    def put(self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Numbered], numbered: Numbered) -> None:
        """Hold a delivery for a queue of `loop`."""
        self._held.setdefault(loop, []).append((queue, numbered))

    def flush(self) -> None:
        """Hand over what is held."""
        held, self._held = self._held, {}
        for loop, some in held.items():
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(_put_all, some)


def _put_all(some: Sequence[tuple[asyncio.Queue[Numbered], Numbered]]) -> None:
    for queue, numbered in some:
        queue.put_nowait(numbered)


class Answers:
    """The answers to `requests` while they are made: iterate over (index of the request, event), `close` at the end.

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
        self._queue: asyncio.Queue[Numbered] = asyncio.Queue()
        self._outbox = outbox
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
        self._outbox.put(self._loop, self._queue, (i, delivery))

    def close(self) -> None:
        """Stop what is not finished."""
        for answer in self._answers:
            answer.cancel()

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> tuple[int, Event]:
        if not self._left:
            raise StopAsyncIteration
        i, delivery = await self._queue.get()
        if isinstance(delivery, Failed):
            raise delivery.error
        if isinstance(delivery, Token) and i in self._waiting_for_first:
            self._waiting_for_first.discard(i)
            self._metrics.first_token(perf_counter() - self._began)
        if isinstance(delivery, Finished):
            self._left -= 1
            self._ended(delivery)
        return i, delivery
