"""Writes the keys and values of a step into their cells of the cache."""

from __future__ import annotations

from typing import Any

from ...quant.jit.kernel import Kernel
from ...quant.simd.instruction_set import InstructionSet
from .kind import ALIGN, Kind

FIELDS = ("tokens", "cells_of", "k", "v", "keys", "values", "kv_heads", "head_dim", "value_dim", "cells")


def kv_store(kind: Kind) -> Kernel:
    """The kernel for a kind of cache: float32 k (tokens, kv_heads, head_dim) and v (tokens, kv_heads, value_dim).

    Token t goes to cell `cells_of[t]` (int64) of every head of `keys` and `values`; the padding stays 0.
    """
    return Kernel(f"kv_store_{kind.name}", FIELDS, lambda v: _build(v, kind))


def _build(v: InstructionSet, kind: Kind) -> Any:
    parts, stretch = kind.parts(v), kind.stretch_bytes
    write_key, write_value = parts.write_key, parts.write_value

    def run(counter, ith, nth, tokens, cells_of, k, values_in, keys, values, kv_heads, head_dim, value_dim, cells):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        key_bytes = -(-head_dim // ALIGN) * stretch * cells
        value_bytes = -(-value_dim // ALIGN) * stretch * cells
        while t < count:
            cell = v.load_i64(cells_of + 8 * t)
            for h in range(kv_heads):
                at = kv_heads * t + h
                write_key(k + 4 * head_dim * at, keys + key_bytes * h, cell, cells, head_dim)
                write_value(values_in + 4 * value_dim * at, values + value_bytes * h, cell, cells, value_dim)
            t = v.take_work(counter, 1)

    return run
