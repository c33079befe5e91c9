"""Stop strings in a stream of bytes, wherever its pieces are cut. Knows no tokens."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UsageError


class StopFilter:
    """Passes on what stands before the first stop string; holds back what may be the beginning of one.

    `hit` turns true when a stop string was found; it and all after it are dropped. Raises UsageError for an empty one.
    """

    def __init__(self, stops: Sequence[bytes]) -> None:
        if not all(stops):
            raise UsageError("a stop string is empty")
        self.hit = False
        self._stops = stops
        self._held = b""

    def push(self, data: bytes, *, final: bool = False) -> bytes:
        """What is certain now not to be part of a stop string; all of it where `final`."""
        if self.hit:
            return b""
        text = self._held + data
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.hit, self._held = True, b""
            return text[: min(found)]
        end = len(text) if final else len(text) - self._doubtful(text)
        self._held = text[end:]
        return text[:end]

    def _doubtful(self, text: bytes) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = max(map(len, self._stops), default=0) - 1
        for n in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-n:]) for stop in self._stops):
                return n
        return 0
