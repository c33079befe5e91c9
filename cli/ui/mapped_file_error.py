"""The last words of the process when a mapped model file is cut by another program: one line, and exit code 5.

The system then raises SIGBUS in whatever thread touches a page that is gone. A handler in Python would only run once
the failed instruction has been completed, which never happens; so the handler is machine code made with llvmlite. It
restores the terminal, writes fixed bytes and ends the process.

Commands that only read a model's header do not load llvmlite. For them a function in Python is called from C: the
thread that reads is in Python's hands and can run it, unlike those that compute.
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
    """As `install`, without loading llvmlite; leaves the handler of `install` in place."""
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

    libc = ctypes.CDLL(None)
    terminals = [fd for fd in (0, 1, 2) if os.isatty(fd)]
    words = (RESET if 2 in terminals else b"") + MESSAGE
    text, state = ctypes.create_string_buffer(words, len(words)), ctypes.create_string_buffer(TERMIOS)
    calls: list[tuple[str, list[int]]] = [
        ("write", [2, ctypes.addressof(text), len(words)]),
        ("_exit", [BadFileError.exit_code]),
    ]
    if terminals and libc.tcgetattr(terminals[0], state) == 0:
        calls.insert(0, ("tcsetattr", [terminals[0], NOW, ctypes.addressof(state)]))
    addresses = {name: _address(libc, name) for name in ("write", "_exit", "tcsetattr", "signal")}
    _kept.extend((text, state))
    _set(libc, _compiled([(addresses[name], *arguments) for name, arguments in calls], addresses["signal"]))


def _address(libc: ctypes.CDLL, name: str) -> int:
    import ctypes

    return int(ctypes.cast(getattr(libc, name), ctypes.c_void_p).value or 0)


def _compiled(calls: list[tuple[int, ...]], restore: int) -> int:
    """Address of a handler that makes these calls, each a function's address and its arguments.

    For another kind of fault it restores the system's default and returns, so that the fault comes again.
    """
    import llvmlite.binding as llvm
    from llvmlite import ir

    i32, i64 = ir.IntType(32), ir.IntType(64)
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [i32, i64, i64]), "on_bus_error")
    build = ir.IRBuilder(function.append_basic_block())

    def call(address: int, *arguments: ir.Value) -> None:
        kind = ir.FunctionType(i64, [argument.type for argument in arguments])
        build.call(build.inttoptr(ir.Constant(i64, address), kind.as_pointer()), arguments)

    at = build.inttoptr(build.add(function.args[1], ir.Constant(i64, CODE_AT)), i32.as_pointer())
    with build.if_then(build.icmp_signed("==", build.load(at), ir.Constant(i32, NO_SUCH_PAGE))):
        for address, *arguments in calls:
            call(address, *(ir.Constant(i64, argument) for argument in arguments))
    call(restore, function.args[0], ir.Constant(i64, 0))  # SIG_DFL
    build.ret_void()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=0, jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    _kept.append(engine)
    return int(engine.get_function_address("on_bus_error"))
