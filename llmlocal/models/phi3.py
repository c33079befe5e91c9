"""Phi-3, Phi-3.5 and Phi-4 (Abdin et al. 2024, arXiv 2404.14219): fused projections, and a window in every block.

The window of the short models is obeyed, as the reference does; llama.cpp sees everything.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, longrope_factors, longrope_keys, window_keys
from ..layers import Layers, Rope
from ..layers.decoder import attention_output, logits, norm, part, queries_keys_values
from ..layers.hyperparameters import Hyper, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rotation
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx), interleaved=False)
    x = g.embed(embedding)
    for i, window in enumerate(windows(c, h.blocks, period=0)):
        b = w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, window))
        x = g.add(x, feed_forward(g, h, b, norm(g, h, b, "ffn_norm", x)))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope, window: int | None) -> Value:
    """Grouped-query attention."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    g.turn(rope, q, k, head_dim=h.head_dim)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window)
    return attention_output(g, h, w, out)


def feed_forward(g: Layers, h: Hyper, w: Weights, x: Value) -> Value:
    """SwiGLU whose first two matrices are one."""
    both = w.linear("ffn_up", 2 * h.ffn, h.width)
    gate, up = g.linears(x, part(both, 0, h.ffn), part(both, h.ffn, 2 * h.ffn))
    return g.linear(g.swiglu(gate, up), *w.linear("ffn_down", h.width, h.ffn))


def keys(s: Settings) -> Keys:
    """Keys of a Hugging Face folder. A window of 0 is said: readers take silence for that of the first Phi-3."""
    return decoder_keys(s) | longrope_keys(s) | {"attention.sliding_window": 0} | window_keys(s, period=0)


CONVERSION = Conversion(
    classes=("Phi3ForCausalLM",),
    defaults={"rms_norm_eps": 1e-5, "rope_theta": 10000.0},
    keys=keys,
    extra=longrope_factors,
)
