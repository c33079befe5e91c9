"""Who wants to know that a file is about to be mapped: a program that handles what happens if the file is cut then."""

from __future__ import annotations

from collections.abc import Callable

listeners: list[Callable[[], None]] = []


def announce() -> None:
    """Call the listeners; to be done before a file of the user's is mapped."""
    for listener in listeners:
        listener()
