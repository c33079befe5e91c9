"""Calls on a deep stack: llguidance compiles rules by recursion, and a stack that is too small ends the process."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread, stack_size
from typing import TypeVar

from ..errors import ResourceError

T = TypeVar("T")
DEPTH = 128 << 20  # bytes of addresses, not of memory; a grammar of 64 KiB, the largest, takes up to 32 MiB
_sizing = Lock()


def on_deep_stack(call: Callable[[], T]) -> T:
    """What `call` returns or raises, in a thread of its own. Raises ResourceError where its stack has no room."""
    made: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(call())
        except BaseException as error:  # raised again below
            failed.append(error)

    thread = Thread(target=run, name="grammar", daemon=True)
    with _sizing:
        before = stack_size(DEPTH)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            raise ResourceError("no memory for a stack to read the grammar with", "free some memory") from error
        finally:
            stack_size(before)
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
