"""Fills the kernel cache with several processes, so that a first start waits half as long."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable

from .cache import path_of
from .cpu import target
from .kernel import Kernel
from .linker import address_of, listeners


def prepare(kernels: Iterable[Kernel], processes: int) -> None:
    """Compile those kernels that are not in the cache yet, `processes` at a time.

    Only what a forked child can do safely is done here: without fork, with other threads about, or for a single kernel
    it returns at once, and `Kernel.address` compiles when asked. A child that fails costs time, nothing else.
    """
    missing = list(dict.fromkeys(k for k in kernels if not _cached(k)))
    if len(missing) < 2 or processes < 2 or not hasattr(os, "fork") or threading.active_count() > 1:
        return
    if not all(os.access(path_of(kernel, target()).parent, os.W_OK) for kernel in missing):
        return
    import numba  # noqa: F401  (half a second that the children then share)

    running: list[int] = []
    try:
        _compile_all(missing, processes, running)
    except BaseException:  # Ctrl-C above all
        for child in running:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        raise


def _compile_all(missing: list[Kernel], processes: int, running: list[int]) -> None:
    """Start a child for each kernel, `processes` at a time; `running` holds those that have not been waited for."""
    # Kernels with many operands are large ones; started first, they do not keep the others waiting at the end.
    for kernel in sorted(missing, key=lambda k: -len(k.fields)):
        if len(running) == processes:
            _wait_for_first(running)
        for tell in listeners:
            tell(kernel.name)
        running.append(_compile_in_child(kernel))
    while running:
        _wait_for_first(running)


def _wait_for_first(running: list[int]) -> None:
    os.waitpid(running[0], 0)
    del running[0]


def _cached(kernel: Kernel) -> bool:
    return path_of(kernel, target()).exists()


def _compile_in_child(kernel: Kernel) -> int:
    """Process id of a child that compiles the kernel into the cache and ends."""
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    listeners.clear()  # the parent has told them
    status = 1
    try:
        address_of(kernel)
        status = 0
    finally:
        os._exit(status)
