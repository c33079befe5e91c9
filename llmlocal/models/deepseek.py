"""DeepSeek LLM and DeepSeekMoE 16B (Dai et al. 2024, arXiv 2401.06066): Llama, whose blocks after the first have a
mixture of fine-grained experts, with weights that are not normalized, and shared experts."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion
from ..layers import Layers
from ..layers.decoder import pre_norm_decoder, rope_attention
from ..layers.hyperparameters import SOFTMAX, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .dots1 import blocks_with_experts
from .llama import PERMUTED_QK, llama_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    feed_forward = blocks_with_experts(g, c, h, gating=SOFTMAX)
    return pre_norm_decoder(g, h, w, vocab, lambda h, b, x: rope_attention(g, h, b, x, rope), feed_forward)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for experts that are chosen or weighted otherwise."""
    if s.flag("norm_topk_prob") or s.text("scoring_func", default="softmax") != "softmax":
        raise s.fail("norm_topk_prob must be false and scoring_func softmax", "")
    if s.integer("moe_layer_freq", default=1) != 1:
        raise s.fail("moe_layer_freq must be 1", "")
    return llama_keys(s) | {
        "expert_feed_forward_length": s.integer("moe_intermediate_size"),
        "expert_shared_count": s.integer("n_shared_experts"),
        "leading_dense_block_count": s.integer("first_k_dense_replace"),
        "expert_weights_scale": 1.0,
    }


CONVERSION = Conversion(
    classes=("DeepseekForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "first_k_dense_replace": 0},
    keys=keys,
    steps=PERMUTED_QK,
)
