"""A model that is made ready while the user types: kernels are compiled, then weights are loaded."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING

from ...errors import LlmlocalError, ResourceError
from ..ui.terminal import compiling_label

if TYPE_CHECKING:
    from ...generation.session import Session
    from ...quant.jit.linker import Progress

TICK = 0.05  # seconds between two looks at whether the user has pressed Ctrl-C


class Loading:
    """Loads the engine of a session in a thread, once its kernels are compiled by other processes.

    Where those could not compile all of them nothing is loaded; the first answer does it then. Raises as
    `Session.compile_ahead`, before anything goes on. Make it in the main thread.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._compilation = session, session.compile_ahead()
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="llmlocal-loading", daemon=True)
        self._thread.start()

    @property
    def compiling(self) -> Progress | None:
        """How far the kernels are, None where none is compiled."""
        return None if self._compilation.ended else self._compilation.progress()

    @property
    def label(self) -> str:
        """What goes on, in words; empty when it has ended."""
        if not self._thread.is_alive():
            return ""
        return compiling_label(self.compiling) if self.compiling else "loading the model"

    def failure(self) -> LlmlocalError | None:
        """What went wrong, once; None for what is not for users, which `wait` raises."""
        if not isinstance(self._error, LlmlocalError):
            return None
        error, self._error = self._error, None
        return error

    def wait(self, stopped: Callable[[], bool], show: Callable[[str], None]) -> bool:
        """Wait until it has ended, unless `stopped`: false then, and it goes on. `show` gets the label all the time.

        Raises what went wrong, unless `failure` has told that.
        """
        while self._thread.is_alive():
            if stopped():
                return False
            show(self.label)
            self._thread.join(TICK)
        if self._error is not None:
            raise self._error
        return True

    def stop(self, patience: float | None = None) -> bool:
        """Give up compiling, and wait for what is being loaded, `patience` seconds at most.

        Whether it has ended, so that the session can be closed.
        """
        self._stopped = True
        self._compilation.stop()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self._compilation.wait()
            if self._compilation.complete and not self._stopped:
                _ = self._session.engine
        except MemoryError:
            self._error = ResourceError("not enough memory", "use a smaller model or a smaller --ctx")
        except BaseException as error:
            self._error = error
