"""gpt-oss (OpenAI 2025, arXiv 2508.10925): experts with biases behind a clamped gate, attention with sinks, every other
block local, and a yarn whose ramp is not rounded to whole pairs (llama.cpp rounds it)."""

from __future__ import annotations

from ..config import Config
from ..decoder import attention_output, logits, mixture, norm, queries_keys_values
from ..graph import Value
from ..hyper import Experts, Hyper, windows
from ..layers import Layers, Rope
from ..rope_scaling import rotation
from ..weights import Weights


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    e = Experts.read(c, h)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx, rounded=False), interleaved=False)
    x = g.embed(embedding)
    for i, window in enumerate(windows(c, h.blocks, period=2)):
        b = w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, window))
        n = norm(g, h, b, "post_attention_norm", x)  # named so in GGUF, yet it stands before the experts
        x = g.add(x, mixture(g, h, e, b, n, g.swiglu_clamped, renormed=True))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope, window: int | None) -> Value:
    """Grouped-query attention with biases; a score of each head takes weight and gives nothing."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    g.turn(rope, q, k, head_dim=h.head_dim)
    sinks = w.vector("attn_sinks.weight", h.heads)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window, sinks=sinks)
    return attention_output(g, h, w, out)
