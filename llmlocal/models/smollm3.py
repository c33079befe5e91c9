"""SmolLM3 (Hugging Face 2025): llama in which every fourth block does not rotate (arXiv 2501.18795)."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion
from ..layers import Layers, Rope
from ..layers.decoder import attention_output, gated, logits, norm, queries_keys_values
from ..layers.hyperparameters import Hyper
from ..layers.metadata import Config
from ..layers.rope_scaling import rotation
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import TURNED, llama_keys

STILL = 4  # the last of so many blocks does not rotate; GGUF has no key for it


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx), interleaved=True)
    x = g.embed(embedding)
    for i in range(h.blocks):
        b = w.block(i)
        turns = rope if (i + 1) % STILL else None
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), turns))
        x = g.add(x, gated(g, h, b, norm(g, h, b, "ffn_norm", x), g.swiglu))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope | None) -> Value:
    """Grouped-query attention, with rotary positions or without any."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    if rope is not None:
        g.turn(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def keys(s: Settings) -> Keys:
    """Keys of a Hugging Face folder. Raises BadFileError where other blocks than every fourth do not rotate."""
    if any(bool(turns) != bool((i + 1) % STILL) for i, turns in enumerate(s.items("no_rope_layers"))):
        raise s.fail("no_rope_layers is not every fourth, and GGUF has no key to say so")
    return llama_keys(s)


CONVERSION = Conversion(
    classes=("SmolLM3ForCausalLM",), defaults={"rms_norm_eps": 1e-6, "rope_theta": 2e6}, keys=keys, steps=TURNED
)
