"""How plugins of pytest run kernels on an emulated CPU: Python, NumPy and the threads' program run as ever."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from llmlocal.quant.jit import cpu, linker, parallel_compile
from llmlocal.quant.jit.kernel import CALL

NATIVE = {"run_program"}  # the threads' program waits for other threads, and calls kernels by their addresses


def run_kernels_by(call: Callable[..., None], native: cpu.Target) -> None:
    """From here on every kernel that is not for `native` is run by `call(address of its code, *arguments)`."""
    trampolines: dict[int, Any] = {}
    load, address, path_of = linker.load, linker._address, parallel_compile.path_of

    def of(kernel: Any, where: cpu.Target) -> cpu.Target:
        return native if kernel.name in NATIVE else where

    def load_emulated(code: bytes, where: cpu.Target, symbol: str) -> int:
        function = load(code, where, symbol)
        if where == native:
            return function
        trampolines[function] = CALL(lambda *args: call(function, *args))
        return ctypes.cast(trampolines[function], ctypes.c_void_p).value or 0

    linker.load = load_emulated
    linker._address = lambda kernel, where: address(kernel, of(kernel, where))
    parallel_compile.path_of = lambda kernel, where: path_of(kernel, of(kernel, where))  # kept where it is looked for
    cpu.host_features.cache_clear()
    cpu.target.cache_clear()
