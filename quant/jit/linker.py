"""Addresses of kernels: from this process, from the cache on disk, or compiled now.

Numba is imported only where object code is not in the cache; loading needs llvmlite alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from . import cache as kernel_cache
from .cpu import Target, target
from .kernel import Kernel
from .loader import load

listeners: list[Callable[[str], None]] = []  # told a kernel's name before it is compiled


def address_of(kernel: Kernel, isa: str | None = None) -> int:
    """Address of the kernel's machine code for `isa`, the best that this CPU offers unless another one is named."""
    return _address(kernel, target(isa))


@cache
def _address(kernel: Kernel, where: Target) -> int:
    path = kernel_cache.path_of(kernel, where)
    symbol = f"llmlocal.{where.isa}.{kernel.name}"
    code = kernel_cache.read(path)
    if code is None:
        from .compiler import compile_object

        for tell in listeners:
            tell(kernel.name)
        code = compile_object(kernel, where, symbol)
        kernel_cache.keep(path, code)
    return load(code, where, symbol)
