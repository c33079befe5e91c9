"""Everything a user can be told: one line that says what is wrong, one hint that says what to do, one exit code."""

from __future__ import annotations

from typing import ClassVar


class LlmlocalError(Exception):
    """A mistake that the user can mend. `str(error)` is one line; `hint` is the next step, or empty."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LlmlocalError):
    """The command line asks for something that makes no sense."""

    exit_code = 2


class NotFoundError(LlmlocalError):
    """No such model or file."""

    exit_code = 3


class NetworkError(LlmlocalError):
    """The hub cannot be reached or answered wrongly."""

    exit_code = 4


class BadFileError(LlmlocalError):
    """A file is damaged, hostile, or of a kind that is not supported."""

    exit_code = 5


class ResourceError(LlmlocalError):
    """Not enough memory or disk."""

    exit_code = 6


class PromptTooLongError(LlmlocalError):
    """The prompt does not fit the context."""

    exit_code = 7


class ThresholdError(LlmlocalError):
    """What was measured misses the limit that was asked for."""

    exit_code = 10
