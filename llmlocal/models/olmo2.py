"""OLMo 2 (OLMo Team 2025, arXiv 2501.00656) and 3: norms behind each part only, queries and keys normed as a whole.

OLMo 3 adds local blocks, three of four, which rotate without the stretching of the others.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, window_keys
from ..layers import Layers, Rope
from ..layers.decoder import attention_output, gated, logits, norm, queries_keys_values
from ..layers.hyperparameters import Hyper, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import plain_rotation, rotation
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    whole = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx), interleaved=False)
    base = c.number("rope.freq_base_swa", 1e-3, 1e12, c.number("rope.freq_base", 1e-3, 1e12, 10000.0))
    local = g.rope(plain_rotation(h.turned, base), interleaved=False)
    x = g.embed(embedding)
    for i, window in enumerate(windows(c, h.blocks, period=4)):
        b = w.block(i)
        attended = attention(g, h, b, x, local if window else whole, window)
        x = g.add(x, norm(g, h, b, "post_attention_norm", attended))
        x = g.add(x, norm(g, h, b, "post_ffw_norm", gated(g, h, b, x, g.swiglu)))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope, window: int | None) -> Value:
    """Grouped-query attention; the norms run over all heads together."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    q = g.norm(q, w.vector("attn_q_norm.weight", h.queries), h.eps)
    k = g.norm(k, w.vector("attn_k_norm.weight", h.keys), h.eps)
    g.turn(rope, q, k, head_dim=h.head_dim)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window)
    return attention_output(g, h, w, out)


def keys(s: Settings) -> Keys:
    """Keys of a Hugging Face folder. Which blocks of an OLMo 3 are local is said of each."""
    out = decoder_keys(s) | window_keys(s, period=4)
    if "attention.sliding_window" in out:
        slides = [kind == "sliding_attention" for kind in s.items("layer_types")]
        pattern = slides or [i % 4 < 3 for i in range(out["block_count"])]
        out["attention.sliding_window_pattern"] = pattern
    return out


CONVERSION = Conversion(
    classes=("Olmo2ForCausalLM", "Olmo3ForCausalLM"),
    defaults={"rms_norm_eps": 1e-5, "rope_theta": 5e5},
    keys=keys,
)
