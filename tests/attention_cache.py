"""A layer's cache of keys and values: written by the kernel, read by attention, compared with the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from naive import nmse, number, run
from numpy.typing import NDArray
from random_arrays import normal, wide

from llmlocal.ops.attention import (
    NO_RING,
    attention,
    attention_merge,
    attention_reference,
    chunks,
    partials_bytes,
    scratch_bytes,
)
from llmlocal.ops.kv import find as find_kv_type
from llmlocal.ops.kv.kv_type import ALIGN
from llmlocal.ops.kv.store import kv_store
from llmlocal.ops.softmax import NO_SINK
from llmlocal.quant.kernels.q8_activations import q8_bytes, quantize_q8

Array = NDArray[Any]


class Cache:
    """Keys and values of a layer, written by the kernel and read by attention."""

    def __init__(self, kind: str, kv_heads: int, head_dim: int, cells: int, value_dim: int = 0) -> None:
        dims = {"head_dim": head_dim, "value_dim": value_dim or head_dim}
        self.kv_type, self.shape = find_kv_type(kind), {"kv_heads": kv_heads, "cells": cells, **dims}
        keys, values = (kv_heads * cells * self.kv_type.cell_bytes(dim) for dim in dims.values())
        self.memory = {"keys": np.zeros(keys, np.uint8), "values": np.zeros(values, np.uint8)}

    def store(self, k: Array, v: Array, cells: Array, isa: str | None = None) -> None:
        run(
            kv_store(self.kv_type),
            isa,
            2,
            tokens=number(len(k)),
            token_cells=cells,
            k=k,
            v=v,
            **self.shape,
            **self.memory,
        )

    def attend(
        self,
        q: Array,
        positions: Array,
        bases: Array,
        isa: str | None = None,
        threads: int = 1,
        *,
        window: int | None = None,
        softcap: float = 0.0,
        sinks: Array | None = None,
        first: Array | None = None,
        biases: Array | None = None,
        ring: int = NO_RING,
        n_ctx: int = 0,
        prefixes: tuple[Array, Array] | None = None,
    ) -> Array:
        """Both kernels; what lies behind their memory stays as it is."""
        (heads, head_dim), value_dim, cells = q.shape[1:], self.shape["value_dim"], n_ctx or self.shape["cells"]
        each = scratch_bytes(self.kv_type, heads, self.shape["kv_heads"], head_dim, value_dim)
        work = room(len(q), heads, value_dim, cells, each, threads) | {
            "first_keys": np.maximum(positions - (window or 1 << 40) + 1, 0) if first is None else first,
            "last_keys": positions,
        }
        if sinks is not None:
            work["sinks"] = sinks
        where = {
            "q": self.ready(q, isa),
            "sequence_starts": bases,
            "prefix_starts": np.zeros_like(bases) if prefixes is None else prefixes[0],
            "prefix_lengths": np.zeros_like(bases) if prefixes is None else prefixes[1],
            "ring": ring,
            "scale": float(head_dim**-0.5),
            "softcap": float(softcap),
            "biases": 0 if biases is None else biases,
            "bias_starts": 0 if biases is None else positions * heads * biases.shape[-1],
            "bias_stride": 0 if biases is None else biases.shape[-1],
            **self.shape,
            **self.memory,
        }
        run(attention(self.kv_type), isa, threads, **work, **where)
        run(attention_merge, isa, threads, kv_heads=self.shape["kv_heads"], value_dim=value_dim, **work)
        return result(work)

    def ready(self, q: Array, isa: str | None) -> Array:
        """Queries as the kind of cache wants them."""
        if not self.kv_type.q8_queries:
            return q
        records, k = np.zeros((len(q), q8_bytes(q[0].size)), np.uint8), q[0].size
        run(quantize_q8, isa, tokens=number(len(q)), x=q, out=records, k=k)
        return records


def room(tokens: int, heads: int, value_dim: int, cells: int, each: int, threads: int) -> dict[str, Any]:
    """The arguments for what attention writes and works in, `each` bytes a thread, with more memory behind it."""
    scratch, partials = (
        np.full(size + 64, 0xFF, np.uint8) for size in (each * threads, partials_bytes(heads, value_dim, cells))
    )
    return {
        "tokens": number(tokens),
        "sinks": np.full(heads, NO_SINK, np.float32),
        "out": np.full((tokens + 1, heads, value_dim), 9, np.float32),
        "heads": heads,
        "scratch": scratch,
        "scratch_bytes": each,
        "partials": partials,
        "chunks": chunks(cells),
    }


def result(work: dict[str, Any]) -> Array:
    """What attention wrote; the memory behind its own is as it was."""
    assert (work["out"][-1] == 9).all()
    assert (work["scratch"][-64:] == 0xFF).all() and (work["partials"][-64:] == 0xFF).all()
    return work["out"][:-1]


def sequence(tokens: int, heads: int, kv_heads: int, head_dim: int, seed: int = 0) -> tuple[Array, Array, Array]:
    q, k, v = (normal(tokens, n, head_dim, seed=seed + i) for i, n in enumerate((heads, kv_heads, kv_heads)))
    return q, k, v


BOUNDS = {"f16": 1e-6, "f32": 1e-10}
SHAPES = [(4, 4, 64), (8, 1, 64), (6, 2, 80), (9, 3, 96), (4, 2, 128), (2, 2, 8), (32, 8, 20)]
LENGTHS = (1, 2, 15, 16, 17, 127, 128, 129, 300)


def whole(kind: str, heads: int, kv_heads: int, head_dim: int, length: int, isa: str | None = None) -> float:
    """Error of the attention of a whole sequence, written and read in one batch."""
    q, k, v = sequence(length, heads, kv_heads, head_dim, seed=length)
    cache, at = Cache(kind, kv_heads, head_dim, -(-length // ALIGN) * ALIGN), np.arange(length)
    cache.store(k, v, at, isa)
    return nmse(cache.attend(q, at, np.zeros_like(at), isa, 2), attention_reference(wide(q), wide(k), wide(v)))
