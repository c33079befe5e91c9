"""Command R7B and Command A (Cohere 2024, arXiv 2504.00698): attention and MLP run in parallel on the same layer norm.
Three of four blocks have a sliding window and rotary embedding, the fourth has neither (NoPE)."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, window_keys
from ..layers import Layers
from ..layers.decoder import decoder, gated_mlp, rope_attention
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .command_r import logit_scale, norm

PERIOD = 4  # the last of so many blocks has full attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    all_windows = windows(c, h.blocks, period=PERIOD)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed, window = norm(g, h, b, "attn_norm", x), all_windows[i]
        attended = rope_attention(g, h, b, normed, rope if window else None, window=window)
        return g.add(g.add(x, attended), gated_mlp(g, h, b, normed, g.swiglu))

    return g.scale(decoder(g, h, w, vocab, block, norm), logit_scale(c))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for another position embedding."""
    if s.text("position_embedding_type", default="rope_gptj") != "rope_gptj" or s.number("rotary_pct") != 1:
        raise s.fail("position_embedding_type must be rope_gptj of whole heads (rotary_pct 1)", "")
    scales = {"logit_scale": s.number("logit_scale"), "rope.scaling.type": "none"}
    return decoder_keys(s) | window_keys(s, period=PERIOD) | scales | {"rope.dimension_count": s.head_dim}


CONVERSION = Conversion(
    classes=("Cohere2ForCausalLM",),
    defaults={
        "layer_norm_eps": 1e-5,
        "logit_scale": 0.0625,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "rotary_pct": 1.0,
    },
    keys=keys,
)
