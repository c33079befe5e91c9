"""Stop strings in a stream of text, wherever its pieces are cut."""

from __future__ import annotations

from collections.abc import Sequence

from ..chat_format.tag_splitter import partial_suffix
from ..errors import UsageError


class StopFilter:
    """Passes on the text before the first stop string, and holds back what may be the beginning of one.

    `hit` becomes true when a stop string is found; it and everything after it are dropped. Raises UsageError for an
    empty stop string.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise UsageError("a stop string is empty")
        self.hit = False
        self._stops = stops
        self._held = ""

    def push(self, text: str, *, final: bool = False) -> str:
        """The text that cannot be part of a stop string any more; all of it where `final`."""
        if self.hit:
            return ""
        text = self._held + text
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.hit, self._held = True, ""
            return text[: min(found)]
        end = len(text) if final else len(text) - partial_suffix(text, self._stops)
        self._held = text[end:]
        return text[:end]
