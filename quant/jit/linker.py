"""Addresses of kernels: from this process, from the cache on disk, or compiled now.

Numba and llvmlite are imported only where object code is not in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..address_space import require
from . import kept_file
from .cache import path_of
from .cpu import Target, target
from .kernel import Kernel
from .loader import load


@dataclass(frozen=True, slots=True)
class Progress:
    """Kernels that are compiled: the one that is being compiled, how many are `done` of how many, the time left."""

    kernel: str
    done: int = 0
    total: int = 0  # 0 where only this one is known
    seconds_left: float | None = None  # None where that cannot be said


COMPILER = 224 << 20  # bytes of address space that Numba and LLVM take, which ends the process where it gets none
listeners: list[Callable[[Progress], None]] = []  # told before a kernel is compiled, and how far others are


def address_of(kernel: Kernel, isa: str | None = None) -> int:
    """Address of the kernel's machine code for `isa`, the best that this CPU offers unless another one is named."""
    return _address(kernel, target(isa))


@cache
def _address(kernel: Kernel, where: Target) -> int:
    path = path_of(kernel, where)
    symbol = f"llmlocal.{where.isa}.{kernel.name}"
    code = kept_file.read(path)
    if code is None:
        from .lock import alone

        with alone(path):
            code = kept_file.read(path) or _compiled(kernel, where, symbol, path)
    return load(code, where, symbol)


def _compiled(kernel: Kernel, where: Target, symbol: str, path: Path) -> bytes:
    """Its object code, which is kept at `path`. Raises MemoryError where there is no room for the compiler."""
    require(COMPILER)
    from .compiler import compile_object

    for tell in listeners:
        tell(Progress(kernel.name))
    code = compile_object(kernel, where, symbol)
    kept_file.keep(path, code)
    return code
