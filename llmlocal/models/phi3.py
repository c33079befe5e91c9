"""Phi-3, Phi-3.5 and Phi-4 (Abdin et al. 2024, arXiv 2404.14219): fused QKV and gate-up projections, and a
sliding window in every block.

The window of the short-context models is applied, as in the reference; llama.cpp ignores it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, longrope_factors, longrope_keys, window_keys
from ..layers import Layers
from ..layers.decoder import Norm, decoder, norm, rope_attention, slice_linear
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value

PERIOD = 0  # no block has full attention where files say a window
Mlp = Callable[[Layers, Hyperparameters, Weights, Value], Value]  # of a block's normed input


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    return windowed_decoder(g, c, w, vocab, norm, mlp)


def windowed_decoder(g: Layers, c: Config, w: Weights, vocab: int, norm: Norm, mlp: Mlp) -> Value:
    """Logits (outputs, vocab) of a decoder with norms before attention and MLP, and a window in every block."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    all_windows = windows(c, h.blocks, period=PERIOD)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = g.add(x, rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, window=all_windows[i]))
        return g.add(x, mlp(g, h, b, norm(g, h, b, "ffn_norm", x)))

    return decoder(g, h, w, vocab, block, norm)


def mlp(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """SwiGLU with gate and up in one matrix."""
    gate_up = w.linear("ffn_up", 2 * h.ffn, h.width)
    gate, up = g.linears(x, slice_linear(gate_up, 0, h.ffn), slice_linear(gate_up, h.ffn, 2 * h.ffn))
    return g.linear(g.swiglu(gate, up), *w.linear("ffn_down", h.width, h.ffn))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. A window of 0 is written out: without the key,
    readers assume the window of the first Phi-3."""
    return decoder_keys(s) | longrope_keys(s) | {"attention.sliding_window": 0} | window_keys(s, period=PERIOD)


CONVERSION = Conversion(
    classes=("Phi3ForCausalLM", "Phi4ForCausalLMV"),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 10000.0},
    keys=keys,
    extra=longrope_factors,
)
