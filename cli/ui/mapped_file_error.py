"""The last words of the process when a mapped model file is cut by another program: one line, and exit code 5.

The system then raises SIGBUS in whatever thread touches a page that is gone. A handler in Python would only run once
the failed instruction has been completed, which never happens; so the handler is machine code, compiled as kernels are.
It restores the terminal, writes fixed bytes and ends the process.

Commands that only read a model's header compile nothing. For them a function in Python is called from C: the thread
that reads is in Python's hands and can run it, unlike those that compute.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from ...errors import BadFileError

if TYPE_CHECKING:
    import ctypes

MESSAGE = b"error: a model file changed while it was mapped\n"
# Colours off, cursor on, no bracketed paste, and a new line after what stands there.
RESET = b"\x1b[0m\x1b[?25h\x1b[?2004l\r\n"
NO_SUCH_PAGE = 2  # BUS_ADRERR; other codes are errors of the memory or of a program
CODE_AT = 8  # offset of si_code in siginfo_t
TERMIOS = 256  # bytes, more than any system's struct termios
NOW = 0  # TCSANOW
SYSTEMS = {"linux": ("@P128sI4xP", 4), "darwin": ("@P4sI", 0x40)}  # struct sigaction; SA_SIGINFO
_kept: list[Any] = []  # the handler, and what its machine code refers to


@cache
def install() -> None:
    """Handle SIGBUS for the rest of the process. Without effect where that is not possible."""
    if sys.platform in SYSTEMS:
        with suppress(Exception):  # the handler is for the last moment; nothing else may fail because it is missing
            _install()


@cache
def install_for_reading() -> None:
    """As `install`, without machine code; leaves the handler of `install` in place."""
    if sys.platform in SYSTEMS and not _kept:
        with suppress(Exception):
            _install_for_reading()


def _install_for_reading() -> None:
    import ctypes

    libc = ctypes.CDLL(None)

    def on_bus_error(number: int, info: int, _: int) -> None:
        if ctypes.c_int.from_address(info + CODE_AT).value == NO_SUCH_PAGE:
            os.write(2, MESSAGE)
            os._exit(BadFileError.exit_code)
        libc.signal(number, 0)  # SIG_DFL: the fault comes again

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(on_bus_error)
    _kept.append(handler)
    _set(libc, int(ctypes.cast(handler, ctypes.c_void_p).value or 0))


def _set(libc: ctypes.CDLL, handler: int) -> None:
    import struct

    layout, flags = SYSTEMS[sys.platform]
    action = struct.pack(layout, *([handler, b"", flags, 0] if layout.endswith("P") else [handler, b"", flags]))
    libc.sigaction(signal.SIGBUS, action, None)


def _install() -> None:
    import ctypes

    from ...quant.jit.bus_error import bus_error_handler

    libc = ctypes.CDLL(None)
    terminals = [fd for fd in (0, 1, 2) if os.isatty(fd)]
    words = (RESET if 2 in terminals else b"") + MESSAGE
    text, state = ctypes.create_string_buffer(words, len(words)), ctypes.create_string_buffer(TERMIOS)
    calls: list[tuple[str, tuple[int | str, ...]]] = [
        ("write", (2, "words", len(words))),
        ("_exit", (BadFileError.exit_code,)),
    ]
    if terminals and libc.tcgetattr(terminals[0], state) == 0:
        calls.insert(0, ("tcsetattr", (terminals[0], NOW, "state")))
    addresses = {name: _address(libc, name) for name in ("write", "_exit", "tcsetattr", "signal")}
    addresses |= {"words": ctypes.addressof(text), "state": ctypes.addressof(state)}
    _kept.extend((text, state))
    _set(libc, bus_error_handler((CODE_AT, NO_SUCH_PAGE), calls, addresses))


def _address(libc: ctypes.CDLL, name: str) -> int:
    import ctypes

    return int(ctypes.cast(getattr(libc, name), ctypes.c_void_p).value or 0)
