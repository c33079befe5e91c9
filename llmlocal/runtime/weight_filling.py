"""Copies weights while the caller does something else, such as making the prompt."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from .executor import ThreadTeam, deferred_signals
from .program import Program
from .weight_copy import WeightCopy

PART = 64  # matrices or stacks of a run, after which the copy can be given up


class WeightFilling:
    """Fills `copy`: one thread as soon as it is made, the whole team with `finish`. One of its methods must be called.

    The kernels that it needs are compiled here, unless they are in the cache. `forget` is given what has been copied.
    """

    def __init__(self, copy: WeightCopy, team: ThreadTeam, forget: Callable[..., None]) -> None:
        calls, self._pieces = copy.calls(), copy.pieces()
        self._programs = [Program.of(calls[start : start + PART]) for start in range(0, len(calls), PART)]
        self._team, self._alone, self._given_up = team, True, False
        self._error = list[BaseException]()
        self._forget, self._originals = forget, [original for original, _ in copy.copies.values()]
        self._thread = Thread(target=self._fill, name="llmlocal-copy")
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is copied, with the help of all threads. Raises what was raised meanwhile."""
        self._alone = False
        with deferred_signals():
            self._team.assist()
            try:
                self._pieces.copy(self._team.n_threads)
            finally:
                self._thread.join()
        if self._error:
            raise self._error.pop()

    def give_up(self) -> None:
        """End the copy, which is of no use then."""
        self._given_up = True
        self._pieces.clear()
        with deferred_signals():
            self._thread.join()

    def _fill(self) -> None:
        try:
            for program in self._programs:
                if self._given_up:
                    return
                self._team.run(program, alone=self._alone)
            self._pieces.copy(1)
            self._forget(*self._originals)
        except BaseException as error:  # whoever waits is told
            self._error.append(error)
