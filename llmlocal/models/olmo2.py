"""OLMo 2 (OLMo Team 2025, arXiv 2501.00656) and 3: norms after attention and MLP only; queries and keys
are normalized over all heads together.

OLMo 3 adds a sliding window in three of four blocks, whose RoPE is not scaled.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, sliding_layers, window_keys
from ..layers import Layers
from ..layers.decoder import attention_output, gated_mlp, logits, norm, qkv_weights
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..runtime.graph import Value

PERIOD = 4  # the last of so many blocks has full attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    full = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    base = c.number("rope.freq_base_swa", 1e-3, 1e12, c.number("rope.freq_base", 1e-3, 1e12, 10000.0))
    local = g.rope(unscaled_rope(h.rotary_dim, base), interleaved=False)
    x = g.embed(embedding)
    for i, window in enumerate(windows(c, h.blocks, period=PERIOD)):
        h, b = h.block(i), w.block(i)
        attended = attention(g, h, b, x, local if window else full, window)
        x = g.add(x, norm(g, h, b, "post_attention_norm", attended))
        x = g.add(x, norm(g, h, b, "post_ffw_norm", gated_mlp(g, h, b, x, g.swiglu)))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, window: int | None) -> Value:
    """Grouped-query attention; the norms of queries and keys run over all heads together."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    q = g.norm(q, w.vector("attn_q_norm.weight", h.q_dim), h.eps)
    k = g.norm(k, w.vector("attn_k_norm.weight", h.kv_dim), h.eps)
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window)
    return attention_output(g, h, w, out)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. OLMo 3 lists which blocks have the window."""
    out = decoder_keys(s) | window_keys(s, period=PERIOD)
    if "attention.sliding_window" in out:
        out["attention.sliding_window_pattern"] = sliding_layers(s, period=PERIOD)
    return out


CONVERSION = Conversion(
    classes=("Olmo2ForCausalLM", "Olmo3ForCausalLM"),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 5e5},
    keys=keys,
)
