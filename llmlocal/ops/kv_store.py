"""Writes the keys and values of a step into their cells of the cache."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..quant.format import Format
from ..quant.jit import Kernel
from .attention import ALIGN

FIELDS = ("tokens", "cells_of", "k", "v", "keys", "values", "kv_heads", "head_dim", "value_dim", "cells")


def kv_store(fmt: type[Format]) -> Kernel:
    """The kernel for a cache in `fmt`: float32 k (tokens, kv_heads, head_dim) and v (tokens, kv_heads, value_dim).

    Token t goes to cell `cells_of[t]` (int64) of `keys` (kv_heads, cells, padded(head_dim)) and `values` (kv_heads,
    cells, padded(value_dim)); the padding stays 0.
    """
    return Kernel(f"kv_store_{fmt.name}", FIELDS, lambda v: _build(v, fmt))


def _build(v: ModuleType, fmt: type[Format]) -> Any:
    f32x8, pack, nbytes, lane = v.f32x8, v.jitable(fmt.kernels(v).pack), fmt.nbytes, v.slice_of(0, 1)

    @v.jitable
    def write(source, target, head_dim):  # type: ignore[no-untyped-def]
        for i in range(0, head_dim - 7, 8):
            v.store(target + nbytes * i, pack(v.load(f32x8, source + 4 * i)))
        for i in range(head_dim // 8 * 8, head_dim):
            v.store(target + nbytes * i, lane(pack(v.splat(f32x8, v.load_f32(source + 4 * i)))))

    @v.jitable
    def write_heads(source, target, cell, kv_heads, head_dim, cells):  # type: ignore[no-untyped-def]
        width = -(-head_dim // ALIGN) * ALIGN
        for h in range(kv_heads):
            write(source + 4 * head_dim * h, target + nbytes * width * (cells * h + cell), head_dim)

    def run(counter, ith, nth, tokens, cells_of, k, values_in, keys, values, kv_heads, head_dim, value_dim, cells):  # type: ignore[no-untyped-def]
        count, t = v.load_i64(tokens), v.draw(counter, 1)
        while t < count:
            cell = v.load_i64(cells_of + 8 * t)
            write_heads(k + 4 * head_dim * kv_heads * t, keys, cell, kv_heads, head_dim, cells)
            write_heads(values_in + 4 * value_dim * kv_heads * t, values, cell, kv_heads, value_dim, cells)
            t = v.draw(counter, 1)

    return run
