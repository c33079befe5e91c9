"""The errors that users see: one line that says what is wrong, a hint that says what to do, and an exit code."""

from __future__ import annotations

from typing import ClassVar


class LlmlocalError(Exception):
    """Base class of errors that the user can fix. `str(error)` is one line; `hint` is the next step, or empty."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LlmlocalError):
    """Invalid arguments or an invalid combination of options."""

    exit_code = 2


class NotFoundError(LlmlocalError):
    """The model or file does not exist."""

    exit_code = 3


class NetworkError(LlmlocalError):
    """The hub cannot be reached, refuses the request, or sends an invalid response."""

    exit_code = 4


class BadFileError(LlmlocalError):
    """A file is damaged, malicious, or in an unsupported format."""

    exit_code = 5


class ResourceError(LlmlocalError):
    """Not enough memory or disk."""

    exit_code = 6


class PromptTooLongError(LlmlocalError):
    """The prompt does not fit the context."""

    exit_code = 7


class ThresholdError(LlmlocalError):
    """A measurement misses the requested threshold."""

    exit_code = 10
