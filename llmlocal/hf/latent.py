"""Folders of models with multi-head latent attention: its sizes, and its matrices as GGUF has them."""

from __future__ import annotations

from .config import Keys, Settings
from .streams import Stream, reshaped, split, transposed


def latent_keys(s: Settings) -> Keys:
    """The sizes of latent attention: of the compressed cache and, `_mla`, of heads."""
    latent, rotary = s.integer("kv_lora_rank"), s.integer("qk_rope_head_dim")
    return {
        "attention.q_lora_rank": s.integer("q_lora_rank") if s.find("q_lora_rank") else None,
        "attention.kv_lora_rank": latent,
        "attention.key_length": latent + rotary,
        "attention.value_length": latent,
        "attention.key_length_mla": s.integer("qk_nope_head_dim") + rotary,
        "attention.value_length_mla": s.integer("v_head_dim"),
        "rope.dimension_count": rotary,
    }


def apart(s: Settings, x: Stream) -> dict[str, Stream]:
    """kv_b_proj as the matrices of keys, transposed, and of values of each head."""
    heads, value = s.integer("num_attention_heads"), s.integer("v_head_dim")
    by_head = reshaped(x, heads, s.integer("qk_nope_head_dim") + value, x.k)
    keys, values = split(by_head, [s.integer("qk_nope_head_dim"), value])
    return {"k_b_proj": transposed(keys), "v_b_proj": values}
