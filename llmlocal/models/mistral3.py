"""Ministral 3 (Mistral AI 2025): llama stretched by yarn, with queries that grow sharper far into the context."""

from __future__ import annotations

from ..hf.config import Keys, Settings, as_number
from ..hf.conversion import Conversion
from ..layers import Layers, Rope
from ..layers.decoder import attention_output, gated, logits, norm, queries_keys_values
from ..layers.hyperparameters import Hyper
from ..layers.metadata import Config
from ..layers.rope_scaling import rotation
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import TURNED, llama_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx), interleaved=True)
    sharper = c.number("attention.temperature_scale", 0, 1e3, 0.0)
    every = c.integer("rope.scaling.original_context_length", 1, 1 << 31, h.context)
    x = g.embed(embedding)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, sharper, every))
        x = g.add(x, gated(g, h, b, norm(g, h, b, "ffn_norm", x), g.swiglu))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope, sharper: float, every: int) -> Value:
    """Grouped-query attention of tempered queries."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    g.turn(rope, q, k, head_dim=h.head_dim)
    if sharper:
        g.temper(q, sharper, every)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def keys(s: Settings) -> Keys:
    """Keys of a Hugging Face folder: how queries are tempered stands among the rotary settings."""
    names = {
        "rope.scaling.yarn_log_multiplier": "mscale_all_dim",
        "attention.temperature_scale": "llama_4_scaling_beta",
    }
    return llama_keys(s) | {key: as_number(s, name, s.rope.get(name, 0.0)) for key, name in names.items()}


CONVERSION = Conversion(
    classes=("Mistral3ForConditionalGeneration", "Ministral3ForCausalLM"),
    defaults={"rms_norm_eps": 1e-5, "rope_theta": 1e6, "head_dim": 128},
    keys=keys,
    steps=TURNED,
)
