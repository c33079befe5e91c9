"""The threads that run programs.

Every thread runs the program's stages inside one native call (`ops.program`). Between runs the threads wait on
locks and use no CPU time.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import numpy as np

from ..ops.program import CLOSED, COUNT, OPERATIONS, STATE, TEAM_BYTES, YIELD, run_program
from ..quant.jit.kernel import CALL
from ..quant.jit.linker import address_of
from .buffers import aligned
from .program import Program

DEFERRED = (signal.SIGINT, signal.SIGTERM)
LATE, LOST_SHARE = 0.001, 0.25  # seconds and share of a run without a core that are not worth a strike
STRIKES = 2  # before a thread rests; a run without loss takes one back
SHORTEST_REST, LONGEST_REST = 0.05, 2.0  # seconds


def yield_address() -> int:
    """Address of the system's function that yields the CPU to another thread."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class Received(list[tuple[int, FrameType | None]]):
    """A signal handler that keeps what it is called with; `at_work` while one of them is in place."""

    at_work = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.append((number, frame))


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM: an exception during a run would free memory that other threads still use.

    Within another such block nothing changes.
    """
    if threading.current_thread() is not threading.main_thread() or Received.at_work:
        yield  # Python runs signal handlers in the main thread only
        return
    received, before = Received(), dict[signal.Signals, Any]()
    try:
        Received.at_work = True
        for deferred in DEFERRED:
            before[deferred] = signal.signal(deferred, received)
        yield
    finally:
        Received.at_work = False
        for deferred, handler in before.items():
            signal.signal(deferred, handler if handler is not None else signal.SIG_DFL)
    for number, frame in received:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.raise_signal(signal.Signals(number))


class Helper:
    """A thread of a team besides the caller's; it rests for a while after it has lost its core.

    A thread that loses its core inside a stage holds up the others, so on a busy machine fewer threads are faster.
    """

    def __init__(self) -> None:
        self.start = threading.Lock()  # held unless the thread is asked; a semaphore is Python code, which takes longer
        self.start.acquire()
        self._asked, self._asked_at = False, 0.0  # from when it is asked until it wakes
        self._strikes, self._rest, self._until = 0, SHORTEST_REST, 0.0

    def ask(self, now: float) -> None:
        """Wake the thread to take part in a run that starts at `now`, unless it rests.

        It may still be on its way back from the run before: then it comes at once when it is back.
        """
        if not self._asked and now >= self._until:
            self._asked, self._asked_at = True, now
            self.start.release()

    def end(self) -> None:
        """Wake the thread for the last time, whether it has been asked or not."""
        with suppress(RuntimeError):  # it is asked, and has not woken yet
            self.start.release()

    def woke(self) -> float:
        """Note that the thread is awake; returns when it was asked."""
        self._asked = False
        return self._asked_at

    def took_part(self, cpu: float, wall: float, now: float) -> None:
        """Note that the thread has come back at `now`, `wall` seconds after it was asked, with `cpu` of CPU time."""
        if wall - cpu > max(LATE, LOST_SHARE * wall):
            self._strikes += 1
            if self._strikes >= STRIKES:
                self._until, self._rest = now + self._rest, min(2 * self._rest, LONGEST_REST)
        elif self._strikes:
            self._strikes -= 1
        else:
            self._rest = max(self._rest / 2, SHORTEST_REST)


class ThreadTeam:
    """At most `n_threads` threads, of which the caller's is one; how many take part never changes a result."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._team = aligned(TEAM_BYTES)
        self._words = self._team.view(np.int64)
        self._words[STATE // 8] = CLOSED
        self._words[YIELD // 8] = yield_address()
        self._call = CALL(address_of(run_program))
        self._block = np.array(run_program.block(team=self._team.ctypes.data), np.int64)
        self._helpers = [Helper() for _ in range(1, n_threads)]
        self._open = True
        for i, helper in enumerate(self._helpers, 1):
            threading.Thread(target=self._work, args=(i, helper), name=f"llmlocal-{i}", daemon=True).start()

    def run(self, program: Program, *, alone: bool = False) -> None:
        """Run the program; returns when all its work is done. `alone`: by this thread, until others `assist` it."""
        self._words[OPERATIONS // 8] = program.operations.ctypes.data
        self._words[COUNT // 8] = len(program.operations)
        with deferred_signals():
            if not alone:
                self.assist()
            self._call(self._block.ctypes.data, 0, self.n_threads)

    def assist(self) -> None:
        """Let all threads take part in what is being run."""
        now = time.perf_counter()
        for helper in self._helpers:
            helper.ask(now)

    def _work(self, ith: int, helper: Helper) -> None:
        while True:
            helper.start.acquire()
            if not self._open:
                return
            asked, before = helper.woke(), time.thread_time()
            self._call(self._block.ctypes.data, ith, self.n_threads)
            now = time.perf_counter()
            helper.took_part(time.thread_time() - before, now - asked, now)

    def close(self) -> None:
        """End the threads."""
        self._open = False
        for helper in self._helpers:
            helper.end()
