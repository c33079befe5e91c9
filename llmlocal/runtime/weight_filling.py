"""Copies weights while the caller does something else, such as making the prompt."""

from __future__ import annotations

from threading import Thread

from .executor import ThreadTeam, deferred_signals
from .program import Program
from .weight_copy import WeightCopy


class WeightFilling:
    """Fills `copy`: one thread as soon as it is made, the whole team with `finish`, which must be called.

    The kernels that it needs are compiled here, unless they are in the cache.
    """

    def __init__(self, copy: WeightCopy, team: ThreadTeam) -> None:
        self._copy, self._team, self._error = copy, team, list[BaseException]()
        self._program, self._pieces = Program.of(copy.calls()), copy.pieces()
        self._thread = Thread(target=self._fill, name="llmlocal-copy")
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is copied, with the help of all threads. Raises what was raised meanwhile."""
        with deferred_signals():
            self._team.assist()
            self._pieces.copy(self._team.n_threads)
            self._thread.join()
        if self._error:
            raise self._error.pop()

    def _fill(self) -> None:
        try:
            self._team.run(self._program, alone=True)
            self._pieces.copy(1)
        except BaseException as error:  # whoever waits is told
            self._error.append(error)
