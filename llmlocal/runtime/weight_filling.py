"""Copies weights while the caller does something else, such as making the prompt."""

from __future__ import annotations

from threading import Thread

from ..gguf.reader import GGUFFile
from .executor import ThreadTeam, deferred_signals
from .program import Program
from .weight_copy import WeightCopy

PART = 64  # matrices or stacks of a run, after which the copy can be given up


class WeightFilling:
    """Fills `copy` from `gguf`: one thread as soon as it is made, the whole `team` with `finish`.

    The kernels that it needs are compiled here, unless they are in the cache. `finish` or `close` must be called.
    """

    def __init__(self, copy: WeightCopy, gguf: GGUFFile, n_threads: int) -> None:
        gguf.prefer_large_pages(again=False)
        self.team = ThreadTeam(n_threads)
        calls, self._pieces = copy.calls(), copy.pieces()
        self._programs = [Program.of(calls[start : start + PART]) for start in range(0, len(calls), PART)]
        self._alone, self._given_up, self._error = True, False, list[BaseException]()
        self._gguf, self._originals = gguf, [original for original, _ in copy.copies.values()]
        self._thread = Thread(target=self._fill, name="llmlocal-copy")
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is copied, with the help of all threads. Raises what was raised meanwhile."""
        self._alone = False
        with deferred_signals():
            self.team.assist()
            try:
                self._pieces.copy(self.team.n_threads)
            finally:
                self._thread.join()
        if self._error:
            raise self._error.pop()

    def close(self) -> None:
        """End the threads, whatever is copied by then."""
        self._given_up = True
        self._pieces.clear()
        with deferred_signals():
            self._thread.join()
        self.team.close()

    def _fill(self) -> None:
        try:
            for program in self._programs:
                if self._given_up:
                    return
                self.team.run(program, alone=self._alone)
            self._pieces.copy(1)
            self._gguf.forget(*self._originals)
        except BaseException as error:  # whoever waits is told
            self._error.append(error)
