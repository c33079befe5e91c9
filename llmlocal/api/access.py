"""Who may use a model now: one call at a time, and none after it was closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol

from ..errors import UsageError
from ..generation.session import Session


class Stoppable(Protocol):
    """An answer that holds the model while it is being made."""

    def stop(self) -> None: ...


class Access:
    """A session, and the rule that one call at a time uses its engine.

    A second call raises at once instead of waiting: it could come from the thread that has yet to read an answer to
    its end, and would wait for itself.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = Lock()
        self._closed = False
        self._answer: Callable[[], Stoppable | None] | None = None
        self.context: list[int] = []  # tokens of the last call, those of its answer included

    @property
    def session(self) -> Session:
        """The session. Raises UsageError when it was closed."""
        if self._closed:
            raise UsageError("the model is closed", "load it again; within `with llmlocal.load(...)` it stays open")
        return self._session

    @contextmanager
    def exclusive(self, answer: Callable[[], Stoppable | None] | None = None) -> Iterator[Session]:
        """The session for the caller alone; closing the model ends the `answer` that a weak reference gives.

        Raises UsageError when it is closed or in use.
        """
        session = self.session
        if not self._lock.acquire(blocking=False):
            hint = "read that answer to its end or close it first; threads can share a lock or load the model twice"
            raise UsageError("the model is busy with another call", hint)
        try:
            self._answer = answer
            yield session
        finally:
            self._lock.release()

    def close(self) -> None:
        """End an answer that is being made, wait for other threads' calls, and close the session.

        Raises UsageError where it is called from within an answer, by a function that chooses its tokens.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._answer is not None and (answer := self._answer()) is not None:
                answer.stop()
        except UsageError:
            self._closed = False
            raise
        with self._lock:
            self._session.close()
