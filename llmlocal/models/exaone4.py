"""EXAONE 4 (LG AI Research 2025, arXiv 2507.11407): norms after attention and MLP only, and norms of each head's
queries and keys. In the 32B model three of four blocks have a sliding window; the fourth has no rotary embedding."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, llama3_factors, sliding_layers
from ..layers import Layers
from ..layers.decoder import decoder, gated_mlp, norm
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .qwen3 import attention

PERIOD = 4  # the last of so many blocks has full attention
BLOCKS_32B = 64  # files of the 32B model may leave out its window


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    all_windows = windows(c, h.blocks, period=PERIOD, default=4096 if h.blocks == BLOCKS_32B else 0)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        window = all_windows[i]
        attended = attention(g, h, b, x, rope if window or not any(all_windows) else None, window)
        x = g.add(x, norm(g, h, b, "post_attention_norm", attended))
        return g.add(x, norm(g, h, b, "post_ffw_norm", gated_mlp(g, h, b, x, g.swiglu)))

    return decoder(g, h, w, vocab, block)


def keys(s: Settings) -> Keys:
    """Metadata from config.json; the pattern of windows may be written as LLLG."""
    out, window, pattern = decoder_keys(s), s.integer("sliding_window", default=0), s.find("sliding_window_pattern")
    if pattern not in (None, 4, "LLLG") and not s.items("layer_types"):
        raise s.fail(f"sliding_window_pattern is {pattern!r:.40}, must be 4 or LLLG", "")
    if not window:
        return out | ({"attention.sliding_window": 0} if s.integer("num_hidden_layers") == BLOCKS_32B else {})
    slides = sliding_layers(s, period=PERIOD)
    return out | {"attention.sliding_window": window, "attention.sliding_window_pattern": slides}


CONVERSION = Conversion(
    classes=("Exaone4ForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 10000.0},
    keys=keys,
    extra=llama3_factors,
)
