"""Ctrl-C in a chat: the first one stops an answer, the second leaves."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
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

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While an answer is generated."""
        self._count, self._answering = 0, True
        try:
            yield
        finally:
            self._answering = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While the user types."""
        self._reading = True
        try:
            yield
        finally:
            self._reading = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """While something is written that must not be cut short."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._came)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _came(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if not self._held and (self._reading or (self._answering and self._count > 1)):
            raise KeyboardInterrupt
