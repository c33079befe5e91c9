"""Gemma 3, text (Gemma Team 2025, arXiv 2503.19786): norms of queries and keys; five blocks with a sliding
window for each one with full attention. Windowed blocks have a RoPE base of their own and no RoPE scaling."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, adds, decoder_keys, drops_if_tied, window_keys
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.decoder import attention_output, gated_mlp, logits, norm, qkv_weights
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gemma import DEFAULTS
from .gemma2 import check_scale

PERIOD = 6  # the last of so many blocks has full attention
BLOCKS_27B = 62  # the 27B model scales scores by (width / heads)^-0.5, the others by head_dim^-0.5


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    full = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    base = c.number("rope.freq_base_swa", 1e-3, 1e12, 10000.0)
    local = g.rope(unscaled_rope(h.rotary_dim, base), interleaved=False)
    x = g.scale(g.embed(embedding), h.width**0.5)
    for i, window in enumerate(windows(c, h.blocks, period=PERIOD)):
        h, b = h.block(i), w.block(i)
        attended = attention(g, h, b, norm(g, h, b, "attn_norm", x), local if window else full, window)
        x = g.add(x, norm(g, h, b, "post_attention_norm", attended))
        mlp = gated_mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.geglu)
        x = g.add(x, norm(g, h, b, "post_ffw_norm", mlp))
    out = logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)
    return g.softcap(out, c.number("final_logit_softcapping", 0, 1e6, 0.0))


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, window: int | None) -> Value:
    """Grouped-query attention with norms of queries and keys."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    q = g.norm(q, w.vector("attn_q_norm.weight", h.head_dim), h.eps)
    k = g.norm(k, w.vector("attn_k_norm.weight", h.head_dim), h.eps)
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    size = h.width / h.heads if h.blocks == BLOCKS_27B else h.head_dim
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=size**-0.5, window=window)
    return attention_output(g, h, w, out)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    check_scale(s, BLOCKS_27B)
    cap = s.number("final_logit_softcapping", default=0.0)
    return decoder_keys(s) | window_keys(s, period=PERIOD) | ({"final_logit_softcapping": cap} if cap else {})


CONVERSION = Conversion(
    classes=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    defaults=DEFAULTS
    | {
        "max_position_embeddings": 131072,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "sliding_window": 4096,
    },
    keys=keys,
    steps={r"norm\.weight$": adds(1), r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True)},
    activations=TANH_GELU,
)
