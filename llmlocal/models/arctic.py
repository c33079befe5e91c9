"""Snowflake Arctic (Snowflake 2024): Llama, with a mixture of experts that reads each block's input, beside its
attention and its MLP."""

from __future__ import annotations

from dataclasses import replace

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, renames
from ..layers import Layers
from ..layers.decoder import decoder, gated_mlp, mixture_of_experts, norm, rope_attention
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import PERMUTED_QK, llama_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed = norm(g, h, b, "ffn_norm_exps", x)
        experts = mixture_of_experts(g, h, e, b, normed, g.swiglu, normalize_weights=True)
        x = g.add(x, rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        narrow = replace(h, ffn=h.width)
        return g.add(g.add(x, gated_mlp(g, narrow, b, norm(g, h, b, "ffn_norm", x), g.swiglu)), experts)

    return decoder(g, h, w, vocab, block)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for blocks of another form."""
    if s.integer("moe_layer_frequency", default=1) != 1 or not s.flag("parallel_attn_mlp_res", default=True):
        raise s.fail("every block must have experts beside attention and MLP", "")
    s.find("use_residual", "moe_vocab_drop", "enable_expert_tensor_parallelism", "moe_min_capacity", "enc_index")
    return llama_keys(s)


CONVERSION = Conversion(
    classes=("ArcticForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 1e6},
    keys=keys,
    steps=PERMUTED_QK | {r"\.block_sparse_moe\.mlp\.": renames(".block_sparse_moe.")},
)
