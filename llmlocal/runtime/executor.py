"""The threads that run programs.

Every thread runs the whole program inside one native call and waits for the others at barriers (`ops.program`). Between
runs the threads wait on semaphores and use no CPU time.
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
from .buffers import aligned
from .program import Program

DEFERRED = (signal.SIGINT, signal.SIGTERM)


def yield_address() -> int:
    """Address of the system's function that yields the CPU to another thread."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM: an exception during a run would free memory that other threads still use."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    received: list[tuple[int, FrameType | None]] = []
    before = {number: signal.signal(number, lambda *args: received.append(args)) for number in DEFERRED}
    try:
        yield
    finally:
        for deferred, handler in before.items():
            signal.signal(deferred, handler if handler is not None else signal.SIG_DFL)
    for number, frame in received:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.raise_signal(signal.Signals(number))


class ThreadTeam:
    """`n_threads` threads, of which the caller's is one."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._sync = aligned(YIELD + 64)
        self._sync[YIELD : YIELD + 8].view(np.int64)[0] = yield_address()
        self._call = CALL(address_of(run_program))
        self._block = 0
        self._start = [threading.Semaphore(0) for _ in range(1, n_threads)]
        self._done = threading.Semaphore(0)
        self._open = True
        for i in range(1, n_threads):
            threading.Thread(target=self._work, args=(i,), name=f"llmlocal-{i}", daemon=True).start()

    def run(self, program: Program) -> None:
        """Run the program; returns when all threads have finished it."""
        block = np.array(
            run_program.block(
                operations=program.operations.ctypes.data,
                count=len(program.operations),
                team=self._sync.ctypes.data,
            ),
            np.int64,
        )
        self._block = block.ctypes.data
        with deferred_signals():
            for start in self._start:
                start.release()
            self._call(self._block, 0, self.n_threads)
            for _ in self._start:
                self._done.acquire()

    def _work(self, ith: int) -> None:
        start = self._start[ith - 1]
        while True:
            start.acquire()
            if not self._open:
                return
            self._call(self._block, ith, self.n_threads)
            self._done.release()

    def close(self) -> None:
        """End the threads."""
        self._open = False
        for start in self._start:
            start.release()
