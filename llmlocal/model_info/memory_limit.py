"""Checks before loading that a run fits the free memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ResourceError
from ..text import format_bytes
from .arch_value import arch_value
from .expert_memory import least_memory
from .machine import free_memory
from .memory import Memory
from .text_memory import text_memory

if TYPE_CHECKING:
    from ..quant.tensor import QTensor
    from ..runtime.weight_copy import Shaped

Estimate = Callable[[int], Memory]  # of the tokens of a context


def check_memory(
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Shaped],
    n_ctx: int,
    kv_type: str = "f16",
    free: int | None = None,
    draft: int = 0,
    n_seqs: int = 1,
) -> None:
    """Raises ResourceError, naming a context that fits, where `n_ctx` tokens need more than `free` bytes.

    They are those of each of `n_seqs` sequences. `draft`: bytes that a draft takes besides. Of a mixture of experts
    those that a token uses must fit: the others are read from the disk when they are chosen.
    """
    if (arch_value(metadata, "block_count") or 0) > len(tensors):
        return  # invalid metadata, which the engine reports
    free = max((free_memory() if free is None else free) - draft, 0)
    what = f"a context of {n_ctx} tokens takes" if n_seqs == 1 else f"{n_seqs} contexts of {n_ctx} tokens take"
    _check(lambda n: least_memory(metadata, tensors, n, kv_type, n_seqs), n_ctx, free, what, draft)


def check_text_memory(metadata: Mapping[str, Any], tensors: Mapping[str, QTensor], n_ctx: int) -> None:
    """As `check_memory` for a model that reads whole texts of at most `n_ctx` tokens."""
    if (arch_value(metadata, "block_count") or 0) <= len(tensors):
        what = f"reading texts of {n_ctx} tokens takes"
        _check(lambda n: text_memory(metadata, tensors, n), n_ctx, free_memory(), what)


def _check(estimate: Estimate, n_ctx: int, free: int, what: str, draft: int = 0) -> None:
    needed = estimate(n_ctx)
    if needed.total <= free:
        return
    message = f"{what} {format_bytes(needed.total)} of memory, {format_bytes(free)} is free"
    if draft:
        raise ResourceError(f"{message} beside the draft, which takes {format_bytes(draft)}", "leave out --draft")
    fits = _largest(estimate, n_ctx, free)
    if fits:
        raise ResourceError(message, f"--ctx {fits} is the largest context that fits; -y tries it anyway")
    hint = f"even a short context does not fit: the weights alone take {format_bytes(needed.weights)}"
    raise ResourceError(message, f"{hint}; choose a smaller model, or use -y to try anyway")


def largest_context(
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Shaped],
    n_ctx: int,
    free: int,
    kv_type: str = "f16",
    n_seqs: int = 1,
) -> int:
    """The largest context up to `n_ctx` tokens, of each of `n_seqs` sequences, that fits into `free` bytes.

    0 for none. Of experts only those that a token uses need to fit.
    """
    return _largest(lambda n: least_memory(metadata, tensors, n, kv_type, n_seqs), n_ctx, free)


def _largest(estimate: Estimate, n_ctx: int, free: int) -> int:
    low, high = 0, n_ctx
    while low < high:
        middle = (low + high + 1) // 2
        if estimate(middle).total <= free:
            low = middle
        else:
            high = middle - 1
    return low
