"""Gemma 2 (Gemma Team 2024, arXiv 2408.00118): norms before and after each part, soft caps, every other block local."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, adds, decoder_keys, drops, window_keys
from ..layers import Layers, Rope
from ..layers.decoder import attention_output, gated, logits, norm, queries_keys_values
from ..layers.hyperparameters import Hyper, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rotation
from ..layers.weights import Weights
from ..runtime.graph import Value

LARGEST = 46  # blocks of the 27B model, whose queries are scaled as if all heads shared the width


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx), interleaved=False)
    cap = c.number("attn_logit_softcapping", 0, 1e6, 50.0)
    x = g.scale(g.embed(embedding), h.width**0.5)
    for i, window in enumerate(windows(c, h.blocks, period=2, default=4096)):
        b = w.block(i)
        attended = attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, window, cap)
        x = g.add(x, norm(g, h, b, "post_attention_norm", attended))
        fed = gated(g, h, b, norm(g, h, b, "ffn_norm", x), g.geglu)
        x = g.add(x, norm(g, h, b, "post_ffw_norm", fed))
    out = logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)
    return g.softcap(out, c.number("final_logit_softcapping", 0, 1e6, 30.0))


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope, window: int | None, cap: float) -> Value:
    """Grouped-query attention whose scores are capped."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    g.turn(rope, q, k, head_dim=h.head_dim)
    size = h.width / h.heads if h.blocks == LARGEST else h.head_dim
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=size**-0.5, window=window, softcap=cap)
    return attention_output(g, h, w, out)


def check_scale(s: Settings, largest: int) -> None:
    """Raises BadFileError where scores are scaled otherwise than `attention` does."""
    shared = s.integer("num_hidden_layers") == largest
    size = s.integer("hidden_size") / s.integer("num_attention_heads") if shared else s.head_dim
    if s.number("query_pre_attn_scalar", default=size) != size:
        raise s.fail(f"query_pre_attn_scalar is not {size:g}, and GGUF has no key to say so")


def keys(s: Settings) -> Keys:
    """Keys of a Hugging Face folder: the caps and the window are Gemma 2's own."""
    check_scale(s, LARGEST)
    caps = {key: s.number(key, default=0.0) for key in ("attn_logit_softcapping", "final_logit_softcapping")}
    return decoder_keys(s) | caps | window_keys(s, period=2)


CONVERSION = Conversion(
    classes=("Gemma2ForCausalLM",),
    defaults={
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "head_dim": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    keys=keys,
    steps={r"norm\.weight$": adds(1), r"^lm_head\.weight$": drops},
)
