"""The team of threads: late and missing threads change no result, and those that lose their cores rest for a while."""

from __future__ import annotations

import ctypes
import random
import sys
import threading
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llmlocal.engine import Engine
from llmlocal.ops.elementwise import add
from llmlocal.quant.jit.kernel import CALL
from llmlocal.runtime import executor
from llmlocal.runtime.executor import Helper, ThreadTeam
from llmlocal.runtime.program import KernelCall, Program

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")

TOKENS, WIDTH, STEPS = 7, 24, 20


class Sums:
    """A program of short stages: each adds one array of a pair to the other, in turn, in two pairs at the same time.

    A third of them are of one token only, so that one thread does them.
    """

    def __init__(self) -> None:
        self.pairs = np.ones((2, 2, TOKENS, WIDTH), np.float32)
        self.counts = np.array([TOKENS, 1])
        calls = []
        for i in range(STEPS):
            for a, b in self.pairs:
                x, y = (a, b) if i % 2 else (b, a)
                fields = {"x": x.ctypes.data, "y": y.ctypes.data, "out": x.ctypes.data, "width": WIDTH}
                fields["tokens"] = self.counts[i % 3 // 2 :].ctypes.data
                calls.append(KernelCall(add, fields, barrier=len(calls) % 2 > 0))
        self.program = Program.of(calls)

    def expected(self) -> NDArray[np.float32]:
        a, b = np.ones((2, TOKENS), np.float32)
        for i in range(STEPS):
            n = self.counts[i % 3 // 2]
            if i % 2:
                a[:n] += b[:n]
            else:
                b[:n] += a[:n]
        return np.stack([a, b])


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("asked", [0.0, 0.5, 1.0])
def test_threads_that_come_late_or_never_change_nothing(
    n_threads: int, asked: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, ask = random.Random(1), Helper.ask
    monkeypatch.setattr(Helper, "ask", lambda helper, now: ask(helper, now) if rng.random() < asked else None)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    team = ThreadTeam(n_threads)
    try:
        for _ in range(60):
            sums = Sums()
            team.run(sums.program)
            assert (sums.pairs == sums.expected()[None, :, :, None]).all()
    finally:
        team.close()
        sys.setswitchinterval(interval)


def test_counters_are_reset_when_a_run_is_done() -> None:
    sums, team = Sums(), ThreadTeam(2)
    for turn in range(3):
        team.run(sums.program)
        assert [int(block[0]) for block in sums.program.memory] == [0] * 2 * STEPS, turn
    team.close()


def test_what_is_called_one_short_piece_is_one(tmp_path: Path) -> None:
    """A thread that does the work of one token draws once, then finds nothing left: no other could have helped it."""
    make_model.make_model("tiny-llama", path := tmp_path / "m.gguf", form="Q8_0")
    engine = Engine.open(path, n_ctx=32, n_threads=1)
    engine.decode(1)
    operations, drawn = engine._program.operations, []
    for kernel, block, _, _, _, pieces, _ in operations.tolist():
        counter = ctypes.c_int64.from_address(block)
        if pieces:
            assert ctypes.c_int64.from_address(pieces).value == 1
            CALL(kernel)(block, 0, 1)
            drawn.append(counter.value)
        counter.value = 0
    assert set(drawn) == {2} and len(drawn) > len(operations) / 2
    engine.close()


class TestHelper:
    """On a clock of its own, with runs of 0.1 s."""

    def run(self, helper: Helper, now: float, cpu: float) -> bool:
        """Whether the helper took part in a run that starts at `now`, takes 0.1 s and gives it `cpu` seconds."""
        helper.ask(now)
        if not helper.start.acquire(blocking=False):
            return False
        assert helper.woke() == now
        helper.took_part(cpu, 0.1, now + 0.1)
        return True

    def test_a_thread_that_keeps_its_core_takes_part_in_each_run(self) -> None:
        helper = Helper()
        assert all(self.run(helper, t, 0.09) for t in range(100))

    def test_one_loss_is_forgiven_two_are_not(self) -> None:
        helper = Helper()
        assert self.run(helper, 0, 0.01) and self.run(helper, 1, 0.1) and self.run(helper, 2, 0.01)
        assert self.run(helper, 3, 0.01)
        assert not self.run(helper, 3.1 + executor.SHORTEST_REST / 2, 0.1)
        assert self.run(helper, 3.1 + 2 * executor.SHORTEST_REST, 0.1)

    def test_rests_grow_longer_and_end(self) -> None:
        helper, now, took = Helper(), 0.0, []
        while now < 60:
            if self.run(helper, now, 0.01):
                took.append(now)
            now += 0.1
        gaps = np.diff(took)
        assert gaps.max() <= executor.LONGEST_REST + 0.3 and len(took) < 60
        while now < 80:
            took.append(now) if self.run(helper, now, 0.1) else None
            now += 0.1
        assert sum(t >= 65 for t in took) >= 150

    def test_a_thread_that_has_not_woken_is_asked_once(self) -> None:
        helper = Helper()
        for now in range(5):
            helper.ask(now)
        assert helper.start.acquire(blocking=False) and not helper.start.acquire(blocking=False)

    def test_a_thread_on_its_way_back_is_asked_for_the_next_run(self) -> None:
        """It may need Python's lock for that, which the caller holds."""
        helper = Helper()
        helper.ask(0)
        assert helper.start.acquire(blocking=False) and helper.woke() == 0
        helper.ask(1)
        helper.took_part(0.9, 1.0, 1.0)
        assert helper.start.acquire(blocking=False) and helper.woke() == 1


def test_closing_ends_the_threads() -> None:
    before = set(threading.enumerate())
    team = ThreadTeam(4)
    threads = set(threading.enumerate()) - before
    team.close()
    for thread in threads:
        thread.join(10)
    assert len(threads) == 3 and not any(thread.is_alive() for thread in threads)
