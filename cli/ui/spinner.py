"""Says on a terminal that the program works, and at what, while nothing else is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import cycle
from threading import Event, Thread
from time import monotonic

FRAMES, ASCII_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
TURN = 0.1  # seconds a frame
PATIENCE = 2.0  # seconds of silence before a line is written where nothing can be drawn over
SECONDS_AFTER = 2  # seconds from which on they are shown


class Spinner:
    """Shows a label, and for how long it has been true, from a thread of its own.

    `draw` puts a text in the place of the last one and is false where that cannot be: there `say` writes each label as
    a line, once it is PATIENCE seconds old.
    """

    def __init__(self, draw: Callable[[str], bool], say: Callable[[str], None]) -> None:
        self._draw, self._say = draw, say
        self._label, self._since = "", 0.0
        self._done = Event()
        self._thread: Thread | None = None

    @property
    def turning(self) -> bool:
        """Whether it is shown."""
        return self._thread is not None

    def show(self, label: str) -> None:
        """Show `label`; its time goes on as long as the first word is the same.

        One that says itself how many seconds are left is shown without its time.
        """
        if label.partition(" ")[0] != self._label.partition(" ")[0]:
            self._since = monotonic()
        self._label = label
        if self._thread is None:
            self._done.clear()
            self._thread = Thread(target=self._turn, name="llmlocal-spinner", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Show it no longer. The line is left to the caller."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._done.set()
            thread.join()
            self._label = ""

    def _turn(self) -> None:
        said = ""
        for frame in cycle(frames()):
            label, seconds = self._label, int(monotonic() - self._since)
            timed = seconds >= SECONDS_AFTER and not label.endswith(" s")
            drawn = self._draw(f"{frame} {label}" + (f" {seconds} s" if timed else ""))
            if not drawn and seconds >= PATIENCE and label.partition(" ")[0] != said:
                said = label.partition(" ")[0]
                self._say(label)
            if self._done.wait(TURN):
                return


def frames() -> str:
    """The characters of a turn."""
    return FRAMES if (sys.stderr.encoding or "").lower().startswith("utf") else ASCII_FRAMES
