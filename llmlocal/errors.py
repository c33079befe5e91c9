"""The errors that users see: one line that says what is wrong, a hint that says what to do, and an exit code."""

from __future__ import annotations

import errno
from typing import ClassVar

# What the system's loader and the libraries say when memory ends.
NO_MEMORY = (
    "failed to map segment",
    "annot allocate memory",
    "can't start new thread",
    "Unable to allocate",
    "error return without exception set",  # of extension modules that are loaded then
)


class LlmlocalError(Exception):
    """Base class of errors that the user can fix. `str(error)` is one line; `hint` is the next step, or empty."""

    exit_code: ClassVar[int] = 70

    def __init_subclass__(cls, exit_code: int | None = None) -> None:
        cls.exit_code = cls.exit_code if exit_code is None else exit_code

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LlmlocalError, exit_code=2):
    """Invalid arguments or an invalid combination of options."""


class NotFoundError(LlmlocalError, exit_code=3):
    """The model or file does not exist."""


class NetworkError(LlmlocalError, exit_code=4):
    """The hub cannot be reached, refuses the request, or sends an invalid response."""


class BadFileError(LlmlocalError, exit_code=5):
    """A file is damaged, malicious, or in an unsupported format."""


class ResourceError(LlmlocalError, exit_code=6):
    """Not enough memory or disk."""


class PromptTooLongError(LlmlocalError, exit_code=7):
    """The prompt does not fit the context."""


class IncompleteError(LlmlocalError, exit_code=8):
    """An answer ended before it had the form that was asked for."""


class ThresholdError(LlmlocalError, exit_code=10):
    """A measurement misses the requested threshold, or an answer is not the recorded one."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ended; libraries that cannot be loaded then, or start no thread, say so in their own errors."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    return any(
        isinstance(e, MemoryError) or getattr(e, "errno", 0) == errno.ENOMEM or any(s in str(e) for s in NO_MEMORY)
        for e in chain
        if isinstance(e, MemoryError | OSError | ImportError | RuntimeError | SystemError)
    )
