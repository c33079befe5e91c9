"""DeepSeek-V2, V3 and R1 (DeepSeek-AI 2024, arXiv 2405.04434 and 2412.19437), Kimi K2, GLM-4.7-Flash, Youtu-LLM:
multi-head latent attention; after the first blocks a mixture of experts with shared ones, chosen within groups of
experts. Youtu has none."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..hf.config import Keys, Settings, as_number
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..hf.latent import apart, latent_keys
from ..layers import Layers
from ..layers.decoder import (
    Head,
    Sublayer,
    gated_mlp,
    head,
    pre_norm_block,
    pre_norm_decoder,
    predicting_blocks,
    without_predicting,
)
from ..layers.hyperparameters import SIGMOID, SOFTMAX, Hyperparameters, rotary_size
from ..layers.latent_attention import LatentSizes, latent_attention, sharpened_rope
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .dots1 import DEFAULTS as EXPERTS
from .dots1 import STEPS, blocks_with_experts, sparse_keys

GLM_FLASH = (47, 154880)  # blocks and vocabulary of a model whose files may not say that it has sigmoid scores


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, head_sizes=head_sizes)
    attention, feed_forward = sublayers(g, c, w, vocab, h)
    return pre_norm_decoder(g, without_predicting(c, h), w, vocab, attention, feed_forward)


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the block that predicts a further token. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, head_sizes=head_sizes)
    attention, feed_forward = sublayers(g, c, w, vocab, h)
    return head(g, h, c, w, vocab, lambda _, h, b, x: pre_norm_block(g, h, b, x, attention, feed_forward))


def sublayers(g: Layers, c: Config, w: Weights, vocab: int, h: Hyperparameters) -> tuple[Sublayer, Sublayer]:
    """Attention and feed-forward of the blocks."""
    run = h.blocks - predicting_blocks(c, h.blocks)
    parameters, scale = sharpened_rope(c, w, h, g.cache.n_ctx)
    value = c.integer("attention.value_length", 1, 1 << 14, h.head_dim)
    s = LatentSizes.read(c, h, c.integer("attention.value_length_mla", 1, 1 << 14, value), scale)
    rope, sharpens = g.rope(parameters, interleaved=True), c.number("attention.temperature_scale", 0, 1e3, 0.0)
    every = c.integer("attention.temperature_length", 1, 1 << 31, h.context)
    if c.integer("expert_count", 0, 1 << 12, 0):
        feed_forward = blocks_with_experts(g, c, h, gating=SIGMOID if (run, vocab) == GLM_FLASH else SOFTMAX)
    else:
        feed_forward = partial(gated_mlp, g, activation=g.swiglu)

    def attention(h: Hyperparameters, b: Weights, x: Value) -> Value:
        return latent_attention(g, h, s, b, x, rope, (sharpens, every) if sharpens else None)

    return attention, feed_forward


def head_sizes(c: Config, _: str, default: int) -> tuple[int, int]:
    """Size of a key once it is unpacked, and how much of it has rotary embedding."""
    cached = c.integer("attention.key_length", 1, 1 << 14, default)
    head_dim = c.integer("attention.key_length_mla", 1, 1 << 12, min(cached, 1 << 12))
    return head_dim, rotary_size(c, head_dim)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what GGUF cannot say of these models."""
    for name, value in {**EXPERTS, **OF_CLASS.get(str(s.items("architectures")[0]), {})}.items():
        s.values.setdefault(name, value)
    if not s.flag("rope_interleave", default=True):
        raise s.fail("rope_interleave must be true", "")
    sharper, factor = (as_number(s, name, s.rope.get(name) or 0.0) for name in ("mscale_all_dim", "mscale"))
    if sharper and (factor or 1.0) != sharper:
        raise s.fail(f"mscale {factor:g} differs from mscale_all_dim {sharper:g}", "")
    sizes = {
        "attention.head_count_kv": 1,
        **latent_keys(s),
        "rope.scaling.yarn_log_multiplier": 0.1 * sharper if sharper else None,
        "vocab_size": s.integer("vocab_size"),
    }
    if s.find("n_routed_experts") is None:
        return decoder_keys(s) | sizes | dense_keys(s)
    return sparse_keys(s) | sizes | routing_keys(s)


def dense_keys(s: Settings) -> Keys:
    """What llama.cpp asks of a model without experts."""
    return {
        "leading_dense_block_count": s.integer("num_hidden_layers"),
        "expert_feed_forward_length": s.integer("intermediate_size"),
        "expert_shared_count": 0,
    }


def routing_keys(s: Settings) -> Keys:
    """How experts are chosen: by sigmoid scores in DeepSeek-V3 and later, by softmax in V2."""
    v2 = s.items("architectures")[0] == "DeepseekV2ForCausalLM"
    function = s.text("scoring_func", default="softmax" if v2 else "sigmoid")
    method = s.text("topk_method", default="greedy" if v2 else "noaux_tc")
    if function != ("softmax" if v2 else "sigmoid"):
        raise s.fail(f"scoring_func {function!r:.40} is not what this class computes", "")
    if method == "greedy" and s.integer("n_group", default=1) > 1:
        raise s.fail("topk_method greedy has no groups, but n_group is greater than 1", "")
    if v2 and s.flag("norm_topk_prob"):
        raise s.fail("norm_topk_prob must be false for DeepSeek-V2", "")
    return {
        "expert_gating_func": SOFTMAX if v2 else SIGMOID,
        "expert_weights_norm": s.flag("norm_topk_prob") or None,
    }


V3 = {"n_group": 8, "topk_group": 4, "first_k_dense_replace": 3, "routed_scaling_factor": 2.5, "norm_topk_prob": True}
OF_CLASS: dict[str, dict[str, Any]] = {"DeepseekV2ForCausalLM": {"norm_topk_prob": False}, "DeepseekV3ForCausalLM": V3}
DEFAULTS = {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "kv_lora_rank": 512, "qk_nope_head_dim": 128}
DEFAULTS |= {"qk_rope_head_dim": 64, "v_head_dim": 128}
CONVERSION = Conversion(
    classes=("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "Glm4MoeLiteForCausalLM", "YoutuForCausalLM"),
    defaults=UNTIED | DEFAULTS,
    keys=keys,
    steps=STEPS | {r"kv_b_proj(?=\.weight$)": apart},
)
