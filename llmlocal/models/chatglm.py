"""ChatGLM 2 and 3, GLM-4 9B and GLM-Edge (GLM Team 2024, arXiv 2406.12793): RMS norms, biases of queries, keys and
values, rotary embedding of half of each head in interleaved pairs, gate and up in one matrix."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, renames, rotary_keys
from ..layers import Layers
from ..layers.decoder import pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .phi3 import mlp

OLD = ("ChatGLMModel", "ChatGLMForConditionalGeneration")  # whose settings and tensors have other names


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    attention = lambda h, b, x: rope_attention(g, h, b, x, rope)  # noqa: E731
    return pre_norm_decoder(g, h, w, vocab, attention, lambda h, b, x: mlp(g, h, b, x))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for ChatGLM 1 and other orders of norms and residuals."""
    if s.items("architectures")[0] not in OLD:
        return decoder_keys(s) | rotary_keys(s) | {"tokenizer.ggml.add_bos_token": False}
    for name, value in {"rmsnorm": True, "post_layer_norm": True, "original_rope": True}.items():
        if s.flag(name, default=value) is not value:
            raise s.fail(f"{name} must be {str(value).lower()}", "")
    if s.flag("apply_residual_connection_post_layernorm", default=False):
        raise s.fail("apply_residual_connection_post_layernorm must be false", "")
    s.find("add_bias_linear", "add_qkv_bias", "multi_query_attention", "kv_channels", "quantization_bit", "vocab_size")
    s.find("attention_softmax_in_fp32", "apply_query_key_layer_scaling", "fp32_residual_connection", "pre_seq_len")
    s.find("prefix_projection", "bias_dropout_fusion")
    width, heads = s.integer("hidden_size"), s.integer("num_attention_heads")
    return {
        "block_count": s.integer("num_layers", "num_hidden_layers"),
        "context_length": s.integer("seq_length", default=width),
        "embedding_length": width,
        "feed_forward_length": s.integer("ffn_hidden_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": s.integer("multi_query_group_num", default=heads),
        "attention.layer_norm_rms_epsilon": s.number("layernorm_epsilon", default=1e-5),
        "rope.dimension_count": width // max(heads, 1) // 2,
        "rope.freq_base": 10000.0 * s.number("rope_ratio", default=1.0),
        "tokenizer.ggml.add_bos_token": False,
    }


CONVERSION = Conversion(
    classes=("GlmForCausalLM", *OLD),
    defaults=UNTIED | {"rms_norm_eps": 1.5625e-7, "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    keys=keys,
    steps={r"^transformer\.(?=encoder|embedding|output)": renames("")},
)
