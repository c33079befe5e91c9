"""Ling-lite and Ling-plus (Ling Team 2025, arXiv 2503.05139): Llama with a mixture of fine-grained experts and shared
experts in every block."""

from __future__ import annotations

import numpy as np

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, pairs_turned, renames
from ..hf.streams import Stream, Values, split
from .bitnet import READ_AT_ONCE
from .deepseek import build
from .llama import llama_keys

__all__ = ["CONVERSION", "build"]


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    s.find("norm_head", "num_shared_experts", "norm_softmax", "embedding_dropout")
    return llama_keys(s) | {
        "expert_feed_forward_length": s.integer("moe_intermediate_size"),
        "expert_shared_count": s.integer("num_shared_experts"),
        "leading_dense_block_count": s.integer("first_k_dense_replace"),
        "expert_weights_scale": 1.0,
        "expert_weights_norm": s.flag("norm_topk_prob"),
    }


def projections(s: Settings, x: Stream) -> dict[str, Stream]:
    """query_key_value as three matrices, rows of the first two in interleaved pairs."""
    heads, kv_heads = s.integer("num_attention_heads"), s.kv_heads
    q, k, v = split(x, [heads * s.head_dim, kv_heads * s.head_dim, kv_heads * s.head_dim])
    turned = pairs_turned("num_attention_heads")(s, q), pairs_turned("num_key_value_heads", "num_attention_heads")(s, k)
    assert isinstance(turned[0], Stream) and isinstance(turned[1], Stream)
    return {"self_attn.q_proj": turned[0], "self_attn.k_proj": turned[1], "self_attn.v_proj": v}


def unit_columns(s: Settings, x: Stream) -> Stream:
    """The output matrix with columns of length 1 where norm_head says so, as its own code uses it."""
    if not s.flag("norm_head"):
        return x
    step = max(1, READ_AT_ONCE // x.k)
    parts = (x.read(i, min(i + step, x.rows)).astype("f4") for i in range(0, x.rows, step))
    lengths = np.sqrt(sum(np.square(part).sum(axis=0, dtype="f8") for part in parts)) + 1e-7

    def read(first: int, end: int) -> Values:
        values: Values = x.read(first, end).astype("f4") / lengths.astype("f4")
        return values

    return Stream(x.shape, "F32", read)


CONVERSION = Conversion(
    classes=("BailingMoeForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "norm_topk_prob": True, "first_k_dense_replace": 0},
    keys=keys,
    steps={
        r"attention\.query_key_value(?=\.weight$)": projections,
        r"\.attention\.dense\.": renames(".self_attn.o_proj."),
        r"^model\.word_embeddings": renames("model.embed_tokens"),
        r"^lm_head\.weight$": unit_columns,
    },
)
