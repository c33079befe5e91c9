"""How much work kernels are to compile, which is nearly in proportion to the bytecode that they are made of."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import FunctionType
from typing import Any

from ..simd.callee import Intrinsic
from .cpu import Target
from .kernel import Kernel

INTRINSIC = 20  # bytes that a call into the instruction set counts as


def weights(kernels: Iterable[Kernel], where: Target) -> list[float]:
    """Bytes of bytecode that each kernel reaches. Imports Numba."""
    v = import_module(f"..isa.{where.isa}", __package__)
    return [1.0 + _reached(kernel.build(v), set()) for kernel in kernels]


def _reached(item: Any, seen: set[int]) -> int:
    """Bytes of a function and of those that it refers to, each once."""
    if id(item) in seen:
        return 0
    seen.add(id(item))
    if isinstance(item, tuple | list):
        return sum(_reached(part, seen) for part in item)
    if isinstance(item, Intrinsic):
        return INTRINSIC + _reached(item.parts, seen)
    if not isinstance(item, FunctionType):
        return 0
    names = set(item.__code__.co_names)
    parts = [cell.cell_contents for cell in item.__closure__ or ()]
    parts += [item.__globals__[name] for name in names if name in item.__globals__]
    return len(item.__code__.co_code) + sum(_reached(part, seen) for part in parts)
