"""Writes the keys and values of a batch to the cache."""

from __future__ import annotations

from typing import Any

from ...quant.jit.kernel import Kernel
from ...quant.simd.each_token import each_token
from ...quant.simd.instruction_set import InstructionSet
from .kv_type import ALIGN, KVType

FIELDS = ("tokens", "token_cells", "k", "v", "keys", "values", "kv_heads", "head_dim", "value_dim", "cells")


def kv_store(kv_type: KVType) -> Kernel:
    """The kernel for a cache type: k (tokens, kv_heads, head_dim) and v (tokens, kv_heads, value_dim), float32.

    Token t is written to cell token_cells[t] (int64) of every head of `keys` and `values`; padding stays 0.
    """
    return Kernel(f"kv_store_{kv_type.name}", FIELDS, lambda v: _build(v, kv_type), pieces="tokens")


def _build(v: InstructionSet, kv_type: KVType) -> Any:
    kernels, block_bytes = kv_type.kernels(v), kv_type.block_bytes
    write_key, write_value = kernels.write_key, kernels.write_value

    @v.jitable
    def write(t, token_cells, k, values_in, keys, values, kv_heads, head_dim, value_dim, cells):
        key_bytes = -(-head_dim // ALIGN) * block_bytes * cells
        value_bytes = -(-value_dim // ALIGN) * block_bytes * cells
        cell = v.load_i64(token_cells + 8 * t)
        for h in range(kv_heads):
            at = kv_heads * t + h
            write_key(k + 4 * head_dim * at, keys + key_bytes * h, cell, cells, head_dim)
            write_value(values_in + 4 * value_dim * at, values + value_bytes * h, cell, cells, value_dim)

    every = each_token(v, write)

    def run(counter, ith, nth, tokens, *fields):
        every(counter, nth, tokens, *fields)

    return run
