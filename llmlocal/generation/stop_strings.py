"""Stop strings in a stream of text, wherever its pieces are cut."""

from __future__ import annotations

from collections.abc import Sequence

from ..chat_format.tag_splitter import partial_suffix
from ..errors import UsageError


class StopFilter:
    """Passes on the text before the first stop string, and holds back what may be the beginning of one.

    When a stop string is found, `found` is it; it and everything after it are dropped. Raises UsageError for an empty
    stop string.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise UsageError("a stop string is empty")
        self.found: str | None = None
        self._stops = stops
        self._held = ""

    @property
    def hit(self) -> bool:
        """Whether a stop string was found."""
        return self.found is not None

    def push(self, text: str, *, final: bool = False) -> str:
        """The text that cannot be part of a stop string any more; all of it where `final`."""
        if not self._stops:
            return text
        if self.hit:
            return ""
        text = self._held + text
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            (at, self.found), self._held = min(found), ""
            return text[:at]
        end = len(text) if final else len(text) - partial_suffix(text, self._stops)
        self._held = text[end:]
        return text[:end]
