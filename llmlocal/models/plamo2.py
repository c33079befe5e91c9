"""PLaMo 2 (Preferred Networks 2025, arXiv 2509.04897): Mamba-2 and attention in turn, with norms of steps, B and C, of
queries and keys, and before and after mixers and MLPs; gate and up projections in one matrix."""

from __future__ import annotations

from typing import Any

from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, UNTIED, Conversion, decay_rates, decoder_keys, renames, squeezes
from ..layers import Layers
from ..layers.decoder import attention_output, decoder, norm, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent import silu_short_conv
from ..layers.recurrent.mamba import Mamba2, scan
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .plamo3 import NORMS, mixed

LEAST_RANK, WIDTH_PER_RANK = 64, 16  # the width of steps before their projection, which no key says


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    c.integer("ssm.group_count", 0, 1, 0)  # 0 in files: all heads share B and C
    h, m = Hyperparameters.read(c, w, hybrid=True), Mamba2.read(c, groups=1)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed = norm(g, h, b, "attn_norm", x)
        return mixed(g, h, b, x, attention(g, h, b, normed, rope) if h.kv_heads else mamba(g, h, m, b, normed))

    return decoder(g, h, w, vocab, block)


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention with norms of queries and keys, which have weights for each head."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    q = g.grouped_norm(q, w.vector("attn_q_norm.weight", h.heads, h.head_dim), h.eps)
    k = g.grouped_norm(k, w.vector("attn_k_norm.weight", h.kv_heads, h.head_dim), h.eps)
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def mamba(g: Layers, h: Hyperparameters, m: Mamba2, w: Weights, x: Value) -> Value:
    """Mamba-2 of x (tokens, width), whose heads alone pass the convolution; steps, B and C are projected from them."""
    whole = g.linear(x, *w.linear("ssm_in", 2 * m.inner, h.width))  # of each head its gate, then its input
    gate, inputs = (g.columns(whole, first=first, width=m.dim, groups=m.heads) for first in (0, m.dim))
    heads, rank = silu_short_conv(g, inputs, w.vector("ssm_conv1d.weight", m.inner, m.conv)), step_rank(h)
    chosen, together = g.linear(heads, w.matrix("ssm_x.weight", 2 * m.size + rank, m.inner)), g.graph.value(m.channels)
    g.copy_columns(heads, together, 0, first=0, width=m.inner)
    for i, name in enumerate("bc"):
        part = g.columns(chosen, first=i * m.size, width=m.size)
        normed = g.norm(part, w.vector(f"ssm_{name}_norm", m.size), h.eps)
        g.copy_columns(normed, together, m.inner + i * m.size, first=0, width=m.size)
    dt = g.norm(g.columns(chosen, first=2 * m.size, width=rank), w.vector("ssm_dt_norm", rank), h.eps)
    step = g.linear(dt, w.matrix("ssm_dt.weight", m.heads, rank))  # its bias is added by the scan
    out = g.swiglu(gate, scan(g, m, w, together, step, (m.heads,)))
    return g.linear(out, *w.linear("ssm_out", h.width, m.inner))


def step_rank(h: Hyperparameters) -> int:
    """Width of steps before their projection."""
    return max(LEAST_RANK, h.width // WIDTH_PER_RANK)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for layers that this architecture does not have."""
    s.find(
        "full_attention_idx",
        "attention_window_size",
        "interleaved_attention",
        "sparse_step",
        "sparse_intermediate_size",
    )
    s.values.setdefault("head_dim", s.integer("hidden_size_per_head"))
    step, layers = s.integer("mamba_step"), min(s.integer("num_hidden_layers"), MAX_LAYERS)
    if not step or not s.flag("mamba_enabled"):
        raise s.fail("mamba_enabled must be true and mamba_step positive", "")
    last = layers - 1 if layers <= step // 2 else None
    attends = [i == last if last is not None else i % step == step // 2 for i in range(layers)]
    heads, kv_heads = s.integer("num_attention_heads"), s.integer("num_key_value_heads")
    return decoder_keys(s) | {
        "attention.head_count": [heads * here for here in attends],
        "attention.head_count_kv": [kv_heads * here for here in attends],
        "vocab_size": s.integer("vocab_size"),
        "ssm.conv_kernel": s.integer("mamba_d_conv"),
        "ssm.state_size": s.integer("mamba_d_state"),
        "ssm.time_step_rank": s.integer("mamba_num_heads"),
        "ssm.inner_size": s.integer("mamba_num_heads") * s.integer("hidden_size_per_head"),
        "ssm.group_count": 0,
    }


STEPS = {
    r"\.conv1d\.weight$": squeezes,
    r"\.A_log$": decay_rates,
    r"\.dt_bias$": renames(".dt_proj.bias"),
    r"\.(dt_norm|B_norm|C_norm|q|k)_weight$": renames(r".\1.weight"),
}
SIZES: dict[str, Any] = {"hidden_size_per_head": 128, "mamba_step": 2, "mamba_enabled": True, "mamba_d_state": 64}
SIZES |= {"mamba_d_conv": 4, "mamba_num_heads": 64, "num_attention_heads": 32, "num_key_value_heads": 4}
CONVERSION = Conversion(
    classes=("Plamo2ForCausalLM", "PLaMo2ForCausalLM"),
    defaults=UNTIED | SIZES | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 2048},
    keys=keys,
    steps={**NORMS, **STEPS},
)
