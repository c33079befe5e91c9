"""Attention over latents, products by head, and routing within groups of experts, against their references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_cache import result, room
from families import IDS, golden, settings
from families.converted import EXACT, write_converted
from instruction_sets import ISAS
from naive import nmse, number, run
from numpy.typing import NDArray
from random_arrays import normal, wide

from llmlocal.engine import Engine
from llmlocal.errors import BadFileError
from llmlocal.generation.prompt_cache import PromptCache
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import write_gguf
from llmlocal.model_info.memory import memory
from llmlocal.ops.attention import (
    NO_RING,
    SPLIT_TOKENS,
    attention_merge,
    attention_reference,
    latent_attention,
    scratch_bytes,
)
from llmlocal.ops.attention_chunk import CHUNK
from llmlocal.ops.expert_groups import best_groups_reference
from llmlocal.ops.heads import heads_apart, heads_together, heads_together_reference
from llmlocal.ops.kv import find as find_kv_type
from llmlocal.ops.kv.kv_type import padded
from llmlocal.ops.kv.store import kv_store
from llmlocal.ops.sigmoid_router import sigmoid_router, sigmoid_router_reference
from llmlocal.ops.softmax_router import softmax_router, softmax_router_reference
from llmlocal.ops.sort_by_expert import GROUP_BYTES, groups_bytes
from llmlocal.quant.jit.kernel import Kernel
from llmlocal.quant.kernels.matmul import TILED_TOKENS
from llmlocal.quant.tensor import QTensor
from llmlocal.runtime.kv_cache import KVCache

Array = NDArray[Any]
BOUNDS = {"f32": 1e-10, "f16": 1e-6, "q8_0": 1e-4}


def attended(
    kind: str, q: Array, latents: Array, value_dim: int, some: slice, isa: str | None = None, threads: int = 2
) -> Array:
    """Latents stored, and attention of the queries `some` to them."""
    kv_type, (length, dim), heads = find_kv_type(kind), latents.shape, q.shape[1]
    cells = padded(length)
    memory = np.zeros(cells * kv_type.cell_bytes(dim), np.uint8)
    stored = {"kv_heads": 1, "cells": cells, "keys": memory, "values": memory}
    where = np.arange(length)
    run(
        kv_store(kv_type),
        isa,
        2,
        tokens=number(length),
        token_cells=where,
        k=latents,
        v=latents,
        head_dim=0,
        value_dim=dim,
        **stored,
    )
    each = scratch_bytes(kv_type, heads, 1, dim, value_dim, latent=True)
    q, positions = np.ascontiguousarray(q[some]), where[some]
    work = room(len(q), heads, value_dim, cells, each, threads)
    work |= {"first_keys": np.zeros_like(positions), "last_keys": positions.copy(), "value_dim": value_dim}
    rest = {
        "q": q,
        "sequence_starts": np.zeros_like(positions),
        "prefix_starts": np.zeros_like(positions),
        "prefix_lengths": np.zeros_like(positions),
        "ring": NO_RING,
        "scale": float(dim**-0.5),
        "head_dim": dim,
        "softcap": 0.0,
        "biases": 0,
        "bias_starts": 0,
        "bias_stride": 0,
    }
    run(latent_attention(kv_type), isa, threads, **work, **rest, **stored)
    run(attention_merge, isa, threads, kv_heads=1, **work)
    return result(work)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("kind", "heads", "dim", "value_dim"),
    [("f16", 5, 96, 64), pytest.param("q8_0", 3, 160, 128, marks=pytest.mark.slow), ("f32", 2, 40, 32)],
)
def test_latent_attention(kind: str, heads: int, dim: int, value_dim: int, isa: str) -> None:
    """It is attention with one key head whose values are the first numbers of its keys, in every batch."""
    length = CHUNK + 70
    q, latents = normal(length, heads, dim), normal(length, dim, seed=1)
    k = latents[:, None]
    want = attention_reference(wide(q), wide(k), wide(k[..., :value_dim]))
    whole = attended(kind, q, latents, value_dim, slice(0, length), isa)
    assert nmse(whole, want) <= BOUNDS[kind]
    for some in (slice(length - 1, length), slice(length - SPLIT_TOKENS, length), slice(100, 140)):
        assert np.array_equal(attended(kind, q, latents, value_dim, some, isa, 3), whole[some])


def test_more_heads_than_rows_of_a_block() -> None:
    q, latents = normal(5, 130, 32), normal(5, 32, seed=1)
    k = latents[:, None]
    got = attended("f32", q, latents, 32, slice(0, 5))
    assert nmse(got, attention_reference(wide(q), wide(k), wide(k))) <= BOUNDS["f32"]


def test_latents_that_are_not_finite_stay_visible() -> None:
    q, latents = np.abs(normal(20, 2, 32)), normal(20, 32, seed=1)
    latents[7, 3] = np.nan
    for kind in BOUNDS:
        assert np.isnan(attended(kind, q, latents, 32, slice(0, 20))[7:]).any((1, 2)).all()


@pytest.mark.parametrize(("width", "first"), [(1, 0), (9, 4), (24, 0)])
def test_heads_together_and_apart(width: int, first: int) -> None:
    tokens, heads = 7, 3
    x, out = normal(tokens, heads, 28), np.zeros((heads, tokens, width), np.float32)
    groups = np.zeros(groups_bytes(heads) // 8, np.int64)
    shared = {"tokens": number(tokens), "heads": heads, "width": width}
    run(heads_together, threads=2, x=x, out=out, groups=groups, x_head=28, first=first, **shared)
    assert np.array_equal(out, heads_together_reference(x, first, width))
    listed = groups[1 : 1 + GROUP_BYTES // 8 * heads].reshape(heads, 3)
    assert groups[0] == heads and listed.tolist() == [[h, tokens * h, tokens] for h in range(heads)]
    back = np.full((tokens, heads, 30), 9, np.float32)
    run(heads_apart, threads=2, x=out, out=back, out_head=30, **shared)
    assert np.array_equal(back[..., :width], x[..., first : first + width]) and (back[..., width:] == 9).all()


@pytest.mark.parametrize(("groups", "used", "best"), [(4, 2, 2), (4, 3, 1), (8, 1, 2), (3, 3, 1)])
@pytest.mark.parametrize(
    ("router", "reference"), [(sigmoid_router, sigmoid_router_reference), (softmax_router, softmax_router_reference)]
)
def test_routing_within_groups(router: Kernel, reference: Any, groups: int, used: int, best: int) -> None:
    """Experts of all but the best groups are not chosen; the others are chosen as without groups."""
    scores, bias = 3 * normal(50, 24), normal(24, seed=1) / 8
    weights, chosen = np.zeros((50, 3), np.float32), np.zeros((50, 3), np.int64)
    every, heavy = reference(wide(scores), np.zeros(24), 24, False, 1.0)
    probabilities = np.empty_like(heavy)
    np.put_along_axis(probabilities, every, heavy, 1)
    allowed = best_groups_reference(probabilities + bias, groups, used, best)
    order = np.argsort(np.where(allowed, -(probabilities + bias), np.inf), axis=1, kind="stable")[:, :3]
    what = {"groups": groups, "groups_used": used, "group_best": best, "normalize_weights": 0, "factor": 2.5}
    where = {"bias": bias, "chosen": chosen, "weights": weights, "experts": 24, "used": 3}
    run(router, threads=2, tokens=number(50), scores=scores.copy(), **what, **where)
    assert np.array_equal(chosen, order)
    assert nmse(weights, 2.5 * np.take_along_axis(probabilities, order, 1)) <= 1e-10


# ---- models --------------------------------------------------------------------------------------------------------


def test_files_with_one_matrix_of_keys_and_values(tmp_path: Path) -> None:
    """Files of 2024 have attn_kv_b and the sizes of unpacked heads; they mean the same and have the same cache."""
    case = "deepseek2-lite"
    path, sizes = write_converted(case, tmp_path), settings(case)
    with open_gguf(path) as gguf:
        meta, tensors = dict(gguf.metadata.raw()), dict(gguf.tensors)
        for i in range(sizes["num_hidden_layers"]):
            k_b, v_b = (tensors.pop(f"blk.{i}.attn_{kind}_b.weight").dequantize() for kind in "kv")
            both = np.concatenate([k_b.swapaxes(1, 2), v_b], axis=1).reshape(-1, v_b.shape[-1])
            name, fmt = f"blk.{i}.attn_kv_b.weight", tensors["output_norm.weight"].format
            tensors[name] = QTensor(name, fmt, both.shape, memoryview(both.tobytes()))
        meta = {key: value for key, value in meta.items() if not key.endswith("_mla")}
        meta |= {f"deepseek2.attention.{kind}_length": n for kind, n in (("key", 32), ("value", 16))}
        meta |= {"deepseek2.attention.head_count_kv": sizes["num_attention_heads"]}
        write_gguf(tmp_path / "old.gguf", meta, [replace(t, name=name) for name, t in tensors.items()])
    engine = Engine.open(tmp_path / "old.gguf", n_ctx=48, n_threads=2, ubatch=64, max_outputs=64, kv_type=EXACT)
    assert nmse(engine.all_logits(IDS), golden(case)[1]) <= 1e-6
    predicted = memory(engine.gguf.metadata, engine.gguf.tensors, 48, EXACT)
    without = {name: t for name, t in engine.gguf.tensors.items() if "attn_kv_b" not in name}
    copied = sizes["num_hidden_layers"] * sizes["num_attention_heads"] * k_b.shape[1] * k_b.shape[2]
    assert predicted.scratch - memory(engine.gguf.metadata, without, 48, EXACT).scratch == 4 * copied
    assert predicted.cache == engine._cache.nbytes
    engine.close()


def test_the_cache_has_one_vector_for_each_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is cut, read again, copied and kept on disk as keys and values are."""
    monkeypatch.setattr("llmlocal.generation.prompt_cache.MIN_TOKENS", 8)
    case = "deepseek2-v3"
    path, sizes = write_converted(case, tmp_path), settings(case)
    with open_gguf(path) as gguf:
        vector = sizes["kv_lora_rank"] + sizes["qk_rope_head_dim"]
        each = find_kv_type("f16").cell_bytes(vector) * sizes["num_hidden_layers"]
        assert memory(gguf.metadata, gguf.tensors, 64).cache == 64 * each
        heads = 2 * sizes["num_attention_heads"] * (24 + 8 + 16) * sizes["num_hidden_layers"]
        assert each <= heads * padded(vector) / vector / 4
    engine = Engine.open(path, n_ctx=48, n_threads=2, n_seqs=2, kv_type=EXACT)
    n, kept = 34, 34 - TILED_TOKENS
    want = engine.prefill(IDS[:n]).copy()
    engine.prefill(IDS[n:])
    engine.truncate(12)
    assert np.array_equal(engine.prefill(IDS[12:n]), want)
    assert engine.reuse(IDS[:n]) == kept
    assert np.array_equal(engine.prefill(IDS[kept:n]), want)
    assert engine.copy_prefix(IDS[:n], 0, 1) == kept
    assert np.array_equal(engine.prefill(IDS[kept:n], 1), want)
    PromptCache(tmp_path / "cache").store(engine)
    engine.truncate(0)
    assert PromptCache(tmp_path / "cache").restore(engine, IDS[:n]) == n - 1
    assert engine.reuse(IDS[:n]) == kept
    assert np.array_equal(engine.prefill(IDS[kept:n]), want)
    engine.close()


def test_a_latent_cache_in_bytes_needs_whole_blocks() -> None:
    from llmlocal.errors import UsageError

    cache = KVCache(64, 1, "q8_0")
    assert cache.add_latent_layer(288, 256).latent_arguments()["value_dim"] == 256
    with pytest.raises(UsageError, match="this model has 40"):
        cache.add_latent_layer(40, 32)


@pytest.mark.parametrize("case", ["deepseek2-lite", "minicpm3"])
def test_an_odd_number_of_rotary_values_is_refused(case: str, tmp_path: Path) -> None:
    with open_gguf(write_converted(case, tmp_path)) as gguf:
        key = f"{gguf.metadata['general.architecture']}.rope.dimension_count"
        kind, value = gguf.metadata.raw()[key]
        write_gguf(tmp_path / "odd.gguf", {**gguf.metadata.raw(), key: (kind, value + 1)}, gguf.tensors.values())
    with pytest.raises(BadFileError, match=f"{key} is {value + 1}, must be even"):
        Engine.open(tmp_path / "odd.gguf", n_ctx=16, n_threads=1)
