"""Gemma 2 (Gemma Team 2024, arXiv 2408.00118): norms before and after attention and MLP, logit soft capping,
and a sliding window in every other block."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, window_keys
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.decoder import attention_output, gated_mlp, logits, norm, qkv_weights
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gemma import DEFAULTS, STEPS

PERIOD, WINDOW = 2, 4096  # the last of so many blocks has full attention; the window of files that do not say it
BLOCKS_27B = 46  # the 27B model scales scores by (width / heads)^-0.5, the others by head_dim^-0.5


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    cap = c.number("attn_logit_softcapping", 0, 1e6, 50.0)
    x = g.scale(g.embed(embedding), h.width**0.5)
    for i, window in enumerate(windows(c, h.blocks, period=PERIOD, default=WINDOW)):
        h, b = h.block(i), w.block(i)
        attended = attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, window, cap)
        x = g.add(x, norm(g, h, b, "post_attention_norm", attended))
        mlp = gated_mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.geglu)
        x = g.add(x, norm(g, h, b, "post_ffw_norm", mlp))
    out = logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)
    return g.softcap(out, c.number("final_logit_softcapping", 0, 1e6, 30.0))


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, window: int | None, cap: float) -> Value:
    """Grouped-query attention with soft-capped scores."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    size = h.width / h.heads if h.blocks == BLOCKS_27B else h.head_dim
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=size**-0.5, window=window, softcap=cap)
    return attention_output(g, h, w, out)


def check_scale(s: Settings, blocks_27b: int) -> None:
    """Raises BadFileError if query_pre_attn_scalar differs from what `attention` derives from the other sizes."""
    largest = s.integer("num_hidden_layers") == blocks_27b
    size = s.integer("hidden_size") / s.integer("num_attention_heads") if largest else s.head_dim
    if s.number("query_pre_attn_scalar", default=size) != size:
        raise s.fail(f"query_pre_attn_scalar is not {size:g}, and GGUF has no key for another value")


def keys(s: Settings) -> Keys:
    """Metadata from config.json, with the soft caps and the sliding window."""
    check_scale(s, BLOCKS_27B)
    caps = {key: s.number(key, default=0.0) for key in ("attn_logit_softcapping", "final_logit_softcapping")}
    return decoder_keys(s) | caps | window_keys(s, period=PERIOD)


CONVERSION = Conversion(
    classes=("Gemma2ForCausalLM",),
    defaults=DEFAULTS | {"sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    keys=keys,
    steps=STEPS,
    activations=TANH_GELU,
)
