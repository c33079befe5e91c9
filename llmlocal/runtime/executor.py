"""The team of threads that runs a program: the only threaded file. Knows no kernel and no architecture.

Every thread runs the whole program inside one native call and meets the others at barriers (`ops.program`). Between
runs the team waits on locks and costs nothing.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np

from ..ops.program import YIELD, run_program
from ..quant.jit.kernel import CALL
from ..quant.jit.linker import address_of
from .graph import Program, aligned

HELD_BACK = (signal.SIGINT, signal.SIGTERM)


def yield_address() -> int:
    """Address of the system's function that gives the CPU to another thread."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@contextmanager
def signals_later() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back: an exception within a run would leave threads in memory that goes away."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    came: list[tuple[int, FrameType | None]] = []
    before = {number: signal.signal(number, lambda *seen: came.append(seen)) for number in HELD_BACK}
    try:
        yield
    finally:
        for held, handler in before.items():
            signal.signal(held, handler if handler is not None else signal.SIG_DFL)
    for number, frame in came:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.raise_signal(signal.Signals(number))


class Team:
    """`n_threads` threads, the caller among them."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._sync = aligned(YIELD + 64)
        self._sync[YIELD : YIELD + 8].view(np.int64)[0] = yield_address()
        self._call = CALL(address_of(run_program))
        self._block = 0
        self._go = [threading.Semaphore(0) for _ in range(1, n_threads)]
        self._done = threading.Semaphore(0)
        self._open = True
        for i in range(1, n_threads):
            threading.Thread(target=self._work, args=(i,), name=f"llmlocal-{i}", daemon=True).start()

    def run(self, program: Program) -> None:
        """Run the whole program and return when all threads are through with it."""
        block = np.array(
            run_program.block(
                operations=program.operations.ctypes.data,
                count=len(program.operations),
                team=self._sync.ctypes.data,
            ),
            np.int64,
        )
        self._block = block.ctypes.data
        with signals_later():
            for go in self._go:
                go.release()
            self._call(self._block, 0, self.n_threads)
            for _ in self._go:
                self._done.acquire()

    def _work(self, ith: int) -> None:
        go = self._go[ith - 1]
        while True:
            go.acquire()
            if not self._open:
                return
            self._call(self._block, ith, self.n_threads)
            self._done.release()

    def close(self) -> None:
        """Let the threads end."""
        self._open = False
        for go in self._go:
            go.release()
