"""What the scheduler delivers reaches the event loop at once, in order; no loop that is gone holds it up."""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("starlette")

from llmlocal.serving.answers import Outbox


def test_deliveries_of_several_requests_are_handed_over_together() -> None:
    async def received() -> list[list[Any]]:
        loop, outbox = asyncio.get_running_loop(), Outbox()
        queues: list[asyncio.Queue[Any]] = [asyncio.Queue(), asyncio.Queue()]
        wakes, wake = [], loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *some: (wakes.append(1), wake(*some))[1]  # type: ignore[assignment]

        def step(first: int) -> None:
            for i in range(first, first + 3):
                for queue in queues:
                    outbox.put(loop, queue, (0, i))  # type: ignore[arg-type]
            outbox.flush()
            outbox.flush()

        for first in (0, 3):
            thread = Thread(target=step, args=(first,))
            thread.start()
            thread.join()
        assert all(queue.empty() for queue in queues) and len(wakes) == 2
        return [[(await queue.get())[1] for _ in range(6)] for queue in queues]

    assert asyncio.run(received()) == [[0, 1, 2, 3, 4, 5]] * 2


def test_a_closed_loop_is_passed_over() -> None:
    loop, outbox = asyncio.new_event_loop(), Outbox()
    loop.close()
    outbox.put(loop, asyncio.Queue(), (0, None))  # type: ignore[arg-type]
    outbox.flush()
    assert not outbox._held
