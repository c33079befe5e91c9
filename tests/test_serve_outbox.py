"""What the scheduler delivers reaches the event loop at once, in order, and a client in as few pieces as may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("starlette")

from llmlocal.chat_format.tag_splitter import Part
from llmlocal.generation.events import Finished, Token
from llmlocal.generation.log_probabilities import ScoredToken
from llmlocal.serving.answers import INTERVAL, LONGEST, WRITES, Answers, Outbox, Queue
from llmlocal.serving.http import streams
from llmlocal.serving.http.streams import EventStream
from llmlocal.serving.metrics import Metrics

END = Finished("stop", 1, 0, 1, 0.0, 0.0, 0.0, 0)


def in_thread(work: Callable[[], None]) -> None:
    """Call `work` in a thread that is no event loop's, as the scheduler's is."""
    thread = Thread(target=work)
    thread.start()
    thread.join()


def test_deliveries_of_several_requests_are_handed_over_together() -> None:
    async def received() -> list[list[Any]]:
        loop, outbox = asyncio.get_running_loop(), Outbox()
        queues = [Queue(), Queue()]
        wakes, wake = [], loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *some: (wakes.append(1), wake(*some))[1]  # type: ignore[assignment]

        def step(first: int) -> None:
            for i in range(first, first + 3):
                for queue in queues:
                    outbox.put(loop, queue, (0, i), awaited=False)  # type: ignore[arg-type]
            outbox.flush(True)
            outbox.flush(True)

        for first in (0, 3):
            in_thread(lambda first=first: step(first))  # type: ignore[misc]
        assert all(queue.empty() for queue in queues) and len(wakes) == 2
        return [[i for _ in range(2) for _, i in await queue.get()] for queue in queues]

    assert asyncio.run(received()) == [[0, 1, 2, 3, 4, 5]] * 2


def test_tokens_are_held_for_a_while_unless_somebody_waits_for_them() -> None:
    async def received() -> list[list[Any]]:
        now = [0.0]
        loop, outbox = asyncio.get_running_loop(), Outbox(lambda: now[0])
        one, other, seen = Queue(), Queue(), list[list[Any]]()

        async def after(time: float, queue: Queue, number: int, *, awaited: bool) -> None:
            now[0] = time
            outbox.put(loop, queue, (0, number), awaited=awaited)  # type: ignore[arg-type]
            outbox.flush(False)
            await asyncio.sleep(0)
            seen.append([[i for _, i in queue.get_nowait()] if queue.qsize() else [] for queue in (one, other)])

        await after(0.0, one, 1, awaited=True)
        await after(0.0, one, 2, awaited=False)
        await after(0.5 * INTERVAL, other, 3, awaited=True)
        await after(0.9 * INTERVAL, other, 4, awaited=False)
        await after(1.1 * INTERVAL, one, 5, awaited=False)
        await after(1.2 * INTERVAL, one, 6, awaited=False)
        outbox.flush(True)
        await asyncio.sleep(0)
        return [*seen, [[i for _, i in one.get_nowait()], []]]

    assert asyncio.run(received()) == [[[1], []], [[], []], [[], [3]], [[], []], [[2, 5], [4]], [[], []], [[6], []]]


@pytest.mark.parametrize("clients", [1, 16, 1000])
def test_tokens_for_many_clients_are_held_longer_but_never_long(clients: int) -> None:
    async def held_until(time: float) -> bool:
        now = [0.0]
        outbox, queues = Outbox(lambda: now[0]), [Queue() for _ in range(clients)]
        for queue in queues:
            outbox.put(asyncio.get_running_loop(), queue, (0, END), awaited=False)
        now[0] = time
        outbox.flush(False)
        await asyncio.sleep(0)
        return queues[0].empty()

    interval = {1: INTERVAL, 16: 16 / WRITES, 1000: LONGEST}[clients]
    assert asyncio.run(held_until(0.99 * interval)) and not asyncio.run(held_until(1.01 * interval))


class Delivering:
    """A scheduler that answers each request at once with the deliveries it consists of."""

    def submit(self, request: Any, deliver: Callable[[Any], None]) -> Any:
        for delivery in request:
            deliver(delivery)


def test_text_that_came_together_is_one_token_of_its_answer() -> None:
    def said(text: str, kind: Any = "answer", *, thinking: bool = False) -> Token:
        return Token(1, (Part(kind, text),) if text else (), thinking)

    async def received(*requests: list[Any]) -> list[tuple[int, Any]]:
        outbox = Outbox()
        answers = Answers(Delivering(), outbox, requests, Metrics(), lambda _: None)  # type: ignore[arg-type]
        outbox.flush(True)
        return [(i, each.parts if isinstance(each, Token) else each) async for i, each in answers]

    scored = ScoredToken(1, (Part("answer", "s"),))
    apart = [said("x", "call"), said("b"), said("c", thinking=True), said("d"), scored]
    one = [said("a"), said(""), said("ö"), *apart, END]
    two = [said("e"), said("\udcc3"), said("\udcb6"), said("f"), END]
    parts = [[Part("answer", "aö")], [Part("call", "x")], *([Part("answer", text)] for text in ("b", "c", "d", "s"))]
    broken = [Part("answer", "e\udcc3")], [Part("answer", "\udcb6")], [Part("answer", "f")]
    expected = [(0, tuple(each)) for each in parts], [(1, tuple(each)) for each in broken]
    assert asyncio.run(received(one, two)) == [*expected[0], (0, END), *expected[1], (1, END)]


def test_a_closed_loop_is_passed_over() -> None:
    loop, outbox = asyncio.new_event_loop(), Outbox()
    loop.close()
    outbox.put(loop, Queue(), (0, None), awaited=True)  # type: ignore[arg-type]
    outbox.flush(False)
    assert not outbox._held


@pytest.mark.parametrize("failing", [False, True])
def test_pieces_that_are_there_are_sent_together(failing: bool) -> None:
    sent, closed, ready = list[tuple[bytes, bool]](), list[int](), [True]

    async def pieces() -> AsyncIterator[bytes]:
        for i, ready[0] in enumerate((True, False, False, True)):
            yield str(i).encode()
        if failing:
            raise ValueError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.append((message["body"], message["more_body"]))

    async def never() -> Any:
        await asyncio.Event().wait()

    stream = EventStream(pieces(), lambda _: b"!", lambda: closed.append(1), lambda _: None, lambda: ready[0])
    asyncio.run(stream({"type": "http"}, never, send))
    assert sent == [(b"01", True), (b"2", True), (b"3!" if failing else b"3", False)] and closed == [1]


@pytest.mark.parametrize("stuck", [1, 2])
def test_a_client_that_takes_nothing_for_long_has_left(stuck: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 0.04)
    closed, failed, sends = list[int](), list[Exception](), list[Any]()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"1"
        await asyncio.sleep(0.1)  # to wait for the model costs no patience

    async def send(message: Any) -> None:
        sends.append(message)
        if len(sends) > stuck:
            await never()

    async def never() -> Any:
        await asyncio.Event().wait()

    stream = EventStream(pieces(), lambda _: b"!", lambda: closed.append(1), failed.append, lambda: False)
    asyncio.run(stream({"type": "http"}, never, send))
    assert closed == [1] and not failed and len(sends) == stuck + 1
