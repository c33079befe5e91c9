"""Compiles kernels into the cache in processes of their own: several at a time, and any of them can be given up.

A foreman is forked, which imports Numba, weighs the kernels and forks a child for each, the heaviest first. It tells
through a pipe how far they are. This process needs no Numba, can do something else meanwhile, and can stop them all.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from .cache import path_of, why_not_kept
from .cpu import target
from .kernel import Kernel
from .linker import Progress, address_of, listeners

SECONDS_A_BYTE = 2.0e-4  # of bytecode, until the first kernel has been compiled; measured on a Zen 3
TICK = 0.1  # seconds between two reports of progress
# Threads that may run while a process is forked: named so, they hold no lock that compiling takes.
OURS = "llmlocal-"


def prepare(kernels: Iterable[Kernel], processes: int) -> None:
    """Compile those kernels that are not in the cache yet, `processes` at a time, and tell the listeners.

    Where no child can be forked, or one fails, `Kernel.address` compiles when asked.
    """
    compilation = Compilation(kernels, processes)
    try:
        while not compilation.wait(TICK):
            _tell(compilation.progress())
        if compilation.total:
            _tell(Progress("", compilation.total, compilation.total))
    except BaseException:  # Ctrl-C above all
        compilation.stop()
        compilation.wait()
        raise


def _tell(progress: Progress) -> None:
    for tell in listeners:
        tell(progress)


@dataclass(slots=True)
class _Job:
    """A kernel that is being compiled, or waits for it."""

    name: str
    weight: float = 0.0  # bytes of bytecode
    began: float = 0.0  # when its child was forked, 0 before
    seconds: float = 0.0  # that it took, 0 before its end


class Compilation:
    """Kernels that are compiled by other processes; those in the cache already are left out.

    `total` is their number: 0 where all are there, or where no process can be forked safely. Not for several threads
    at a time, but for `stop`.
    """

    def __init__(self, kernels: Iterable[Kernel], processes: int) -> None:
        missing = [kernel for kernel in dict.fromkeys(kernels) if not _cached(kernel)]
        self.complete = not missing  # whether all kernels are in the cache
        self._kernels = missing if _can_fork() and _can_keep(missing) else []
        self._processes = max(1, processes)
        self._jobs = [_Job(kernel.name) for kernel in self._kernels]
        self._foreman = self._pipe = 0
        self._rest = b""
        if self._kernels:
            try:
                self._foreman, self._pipe = _fork_foreman(self._kernels, self._processes)
            except OSError:  # no memory or no process left
                self._kernels, self._jobs = [], []

    @property
    def total(self) -> int:
        """How many kernels are compiled."""
        return len(self._jobs)

    @property
    def ended(self) -> bool:
        """Whether nothing is compiled any more."""
        return not self._foreman

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended, which is waited for up to `seconds`; None waits as long as it takes."""
        while self._foreman:
            if not select.select([self._pipe], [], [], seconds)[0]:
                return False
            data = os.read(self._pipe, 1 << 16)
            if not data:
                self._end()
                break
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._note(*json.loads(line))
            if seconds is not None:
                return False
        return True

    def progress(self) -> Progress:
        """How far it is."""
        done = sum(job.seconds > 0 for job in self._jobs)
        running = next((job.name for job in self._jobs if job.began and not job.seconds), "")
        return Progress(running, done, self.total, self._seconds_left())

    def stop(self) -> None:
        """Give up: end the processes at once. What was compiled is kept."""
        if self._foreman:
            with suppress(ProcessLookupError):
                os.killpg(self._foreman, signal.SIGTERM)

    def _note(self, number: int, key: str, value: float) -> None:
        setattr(self._jobs[number], key, value)

    def _end(self) -> None:
        os.close(self._pipe)
        foreman, self._foreman = self._foreman, 0
        with suppress(ChildProcessError):
            os.waitpid(foreman, 0)
        self.complete = all(map(_cached, self._kernels))

    def _seconds_left(self) -> float | None:
        """An estimate from the weights of the kernels and how long the finished ones took; None before it is known."""
        jobs, now = self._jobs, time.monotonic()
        if not all(job.weight for job in jobs):
            return None
        finished = [job for job in jobs if job.seconds]
        spent = {job.name: now - job.began for job in jobs if job.began and not job.seconds}
        rate = SECONDS_A_BYTE
        if finished:
            rate = sum(job.seconds for job in finished) / sum(job.weight for job in finished)
        rate = max(rate, *(spent[job.name] / job.weight for job in jobs if job.name in spent), 0.0)
        left = [job.weight * rate - spent.get(job.name, 0.0) for job in jobs if not job.seconds]
        return max(sum(left) / self._processes, *left, 0.0)


def compiled(kernels: Iterable[Kernel]) -> bool:
    """Whether all of them are in the cache."""
    return all(map(_cached, set(kernels)))


def _cached(kernel: Kernel) -> bool:
    return path_of(kernel, target()).exists()


def _can_keep(kernels: list[Kernel]) -> bool:
    return not any(map(why_not_kept, {path_of(kernel, target()).parent for kernel in kernels}))


def _can_fork() -> bool:
    """Whether a child could go on: it gets one thread only, and each lock as it is."""
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    return hasattr(os, "fork") and all(thread.name.startswith(OURS) for thread in others)


# ---- the foreman ---------------------------------------------------------------------------------------------------


def _fork(work: Callable[[], None], leader: bool = False) -> int:
    """Process id of a child that does `work` and ends; `leader`: in a process group of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's about threads, see `_can_fork`
        child = os.fork()
    if child:
        if leader:
            with suppress(OSError):
                os.setpgid(child, child)
        return child
    status = 1
    try:
        if leader:
            os.setpgid(0, 0)
        work()
        status = 0
    finally:
        os._exit(status)


def _fork_foreman(kernels: list[Kernel], processes: int) -> tuple[int, int]:
    """The foreman's process id, and the pipe from which its reports come."""
    reading, writing = os.pipe()

    def work() -> None:
        os.close(reading)
        _be_silent()
        _compile_all(kernels, processes, writing)

    try:
        return _fork(work, leader=True), reading
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)


def _be_silent() -> None:
    """No output, and signals do what they do to any program: the parent's handlers are not ours."""
    listeners.clear()  # the parent tells them
    sys.stdout = sys.stderr = None
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGWINCH):
        signal.signal(number, signal.SIG_IGN)  # a group of its own gets none from the terminal


def _compile(kernel: Kernel) -> None:
    address_of(kernel)


def _compile_all(kernels: list[Kernel], processes: int, pipe: int) -> None:
    """Fork a child for each kernel, `processes` at a time, the heaviest first, so that none comes alone last.

    A report is a line of JSON: the kernel's number, and what is known of its `_Job`. Where nobody reads them, all ends.
    """
    from ..simd.contexts import TARGET
    from .weight import weights

    def report(number: int, key: str, value: float) -> None:
        try:
            os.write(pipe, json.dumps([number, key, value]).encode() + b"\n")
        except BrokenPipeError:
            os.killpg(0, signal.SIGTERM)

    weight = weights(kernels, target())
    TARGET.refresh()  # here, and not in each child
    for number, value in enumerate(weight):
        report(number, "weight", value)
    waiting = sorted(range(len(kernels)), key=lambda number: weight[number])
    running: dict[int, tuple[int, float]] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            number, now = waiting.pop(), time.monotonic()
            running[_fork(partial(_compile, kernels[number]))] = number, now
            report(number, "began", now)
        number, began = running.pop(os.waitpid(-1, 0)[0])
        report(number, "seconds", max(time.monotonic() - began, 1e-3))
