"""Ministral 3 (Mistral AI 2025): Llama with YaRN, and queries scaled up with their position."""

from __future__ import annotations

from ..hf.config import Keys, Settings, as_number
from ..hf.conversion import Conversion, plain_window_keys
from ..layers import Layers
from ..layers.decoder import attention_output, gated_mlp, logits, norm, qkv_weights
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import PERMUTED_QK, llama_keys

PERIOD = 0  # no block has full attention where files say a window


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    scale = c.number("attention.temperature_scale", 0, 1e3, 0.0)
    every = c.integer("rope.scaling.original_context_length", 1, 1 << 31, h.context)
    x = g.embed(embedding)
    for i, window in enumerate(windows(c, h.blocks, period=PERIOD)):
        h, b = h.block(i), w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, window, scale, every))
        x = g.add(x, gated_mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.swiglu))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(
    g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, window: int | None, scale: float, every: int
) -> Value:
    """Grouped-query attention; queries are scaled by their position (Llama 4's temperature tuning)."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    if scale:
        g.position_scale(q, scale, every)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window)
    return attention_output(g, h, w, out)


def keys(s: Settings) -> Keys:
    """Metadata from config.json; the scale of queries is one of its RoPE settings."""
    names = {
        "rope.scaling.yarn_log_multiplier": "mscale_all_dim",
        "attention.temperature_scale": "llama_4_scaling_beta",
    }
    return (
        llama_keys(s)
        | plain_window_keys(s)
        | {key: as_number(s, name, s.rope.get(name, 0.0)) for key, name in names.items()}
    )


CONVERSION = Conversion(
    classes=("Mistral3ForConditionalGeneration", "Ministral3ForCausalLM"),
    defaults={"rms_norm_eps": 1e-5, "rope_theta": 1e6, "head_dim": 128},
    keys=keys,
    steps=PERMUTED_QK,
)
