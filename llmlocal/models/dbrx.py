"""DBRX (Databricks 2024): a mixture of experts in every block, layer norms without biases; queries, keys and values are
limited."""

from __future__ import annotations

from typing import Any

from ..hf.config import Keys, Settings, as_integer, as_number
from ..hf.conversion import UNTIED, Conversion
from ..hf.streams import Stream, reshaped, transposed
from ..layers import Layers
from ..layers.decoder import decoder, mixture_of_experts
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .command_r import norm
from .olmo import limited_attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    most = c.number("attention.clamp_kqv", 0, 1e6, 0.0)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = g.add(x, limited_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, most))
        normed = norm(g, h, b, "attn_output_norm", x)
        return g.add(x, mixture_of_experts(g, h, e, b, normed, g.swiglu, normalize_weights=True))

    return decoder(g, h, w, vocab, block, norm)


def part(s: Settings, name: str) -> dict[str, Any]:
    """The settings of attention or of the feed-forward."""
    found = s.find(name)
    if not isinstance(found, dict):
        raise s.fail(f"{name} must be an object")
    return found


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for expert weights that are normalized otherwise."""
    attention, experts = part(s, "attn_config"), part(s, "ffn_config")
    if experts.get("moe_normalize_expert_weights", 1) != 1 or experts.get("moe_jitter_eps"):
        raise s.fail("moe_normalize_expert_weights must be 1 and moe_jitter_eps 0", "")
    if (experts.get("ffn_act_fn") or {"name": "silu"}) != {"name": "silu"}:
        raise s.fail("ffn_act_fn must be silu", "")
    theta = attention.get("rope_theta") or s.rope.get("rope_theta") or 10000.0
    return {
        "block_count": s.integer("n_layers", "num_hidden_layers"),
        "context_length": s.integer("max_seq_len"),
        "embedding_length": s.integer("d_model"),
        "feed_forward_length": as_integer(s, "ffn_hidden_size", experts.get("ffn_hidden_size")),
        "attention.head_count": s.integer("n_heads"),
        "attention.head_count_kv": as_integer(s, "kv_n_heads", attention.get("kv_n_heads", 1)),
        "attention.clamp_kqv": as_number(s, "clip_qkv", attention.get("clip_qkv") or 0.0),
        "attention.layer_norm_epsilon": 1e-5,
        "rope.freq_base": as_number(s, "rope_theta", theta),
        "expert_count": as_integer(s, "moe_num_experts", experts.get("moe_num_experts")),
        "expert_used_count": as_integer(s, "moe_top_k", experts.get("moe_top_k")),
    }


def by_expert(s: Settings, x: Stream) -> Stream:
    """Rows of all experts as a matrix (rows, k) of each."""
    count = as_integer(s, "moe_num_experts", part(s, "ffn_config").get("moe_num_experts"))
    if not count or x.rows % count:
        raise s.fail(f"a tensor of {x.rows} rows cannot be divided into {count} experts")
    return reshaped(x, count, x.rows // count, x.k)


CONVERSION = Conversion(
    classes=("DbrxForCausalLM",),
    defaults=UNTIED,
    keys=keys,
    steps={
        r"(?<=ffn\.experts\.mlp\.)(w1|v1)$": lambda s, x: {r"\1.weight": by_expert(s, x)},
        r"(?<=ffn\.experts\.mlp\.)w2$": lambda s, x: {"w2.weight": transposed(by_expert(s, x))},
    },
)
