"""Ctrl-C in a chat: the first one stops an answer, the second leaves."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType


class Interrupts:
    """A context manager that handles SIGINT for as long as a chat lasts.

    While an answer is generated the first one only sets `stopped`, so that the answer ends between two tokens, and the
    second raises KeyboardInterrupt. While a line is read each one raises it; at any other moment it is ignored.
    """

    def __init__(self) -> None:
        self._count = 0
        self._answering = self._reading = self._held = False

    @property
    def stopped(self) -> bool:
        """Whether the answer should end."""
        return self._count > 0

    def answering(self) -> AbstractContextManager[None]:
        """While an answer is generated."""
        self._count = 0
        return self._during("_answering")

    def reading(self) -> AbstractContextManager[None]:
        """While the user types."""
        return self._during("_reading")

    def held(self) -> AbstractContextManager[None]:
        """While something is written that must not be cut short."""
        return self._during("_held")

    @contextmanager
    def _during(self, state: str) -> Iterator[None]:
        before = getattr(self, state)
        setattr(self, state, True)
        try:
            yield
        finally:
            setattr(self, state, before)

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._came)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _came(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if not self._held and (self._reading or (self._answering and self._count > 1)):
            raise KeyboardInterrupt
