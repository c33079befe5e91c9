"""Qwen (Bai et al. 2023, arXiv 2309.16609): Llama with RoPE over the two halves of a head (NeoX order), biases of
queries, keys and values, and an MLP half as wide as its files say."""

from __future__ import annotations

from dataclasses import replace

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def mlp(h: Hyperparameters, b: Weights, x: Value) -> Value:
        return gated_mlp(g, replace(h, ffn=h.ffn // 2), b, x, g.swiglu)

    return pre_norm_decoder(g, h, w, vocab, lambda h, b, x: rope_attention(g, h, b, x, rope), mlp)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Scaling beyond the trained context (NTK, log n) is not stored: GGUF has no key."""
    unused = ("use_dynamic_ntk", "use_logn_attn", "seq_length", "kv_channels", "no_bias", "rotary_pct", "fp32")
    s.find(*unused, "bf16", "fp16", "use_flash_attn", "use_cache_quantization", "use_cache_kernel", "onnx_safe")
    s.find("softmax_in_fp32", "emb_dropout_prob", "attn_dropout_prob", "scale_attn_weights")
    return decoder_keys(s) | {
        "attention.layer_norm_rms_epsilon": s.number("layer_norm_epsilon"),
        "attention.layer_norm_epsilon": None,
        "rope.dimension_count": s.head_dim,
    }


CONVERSION = Conversion(
    classes=("QWenLMHeadModel",), defaults=UNTIED | {"layer_norm_epsilon": 1e-6, "rotary_emb_base": 10000.0}, keys=keys
)
