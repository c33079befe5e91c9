"""dots.llm1 (rednote-hilab 2025, arXiv 2506.05767): Qwen3 with a mixture of experts and a shared expert in all
blocks but the first; experts are chosen by sigmoid scores with a bias."""

from __future__ import annotations

from dataclasses import replace

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, renames
from ..layers import Layers
from ..layers.decoder import Sublayer, gated_mlp, mixture_of_experts, pre_norm_decoder, shared_expert
from ..layers.hyperparameters import SIGMOID, Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .qwen3 import attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    return pre_norm_decoder(g, h, w, vocab, lambda h, b, x: attention(g, h, b, x, rope), blocks_with_experts(g, c, h))


def blocks_with_experts(
    g: Layers, c: Config, h: Hyperparameters, *, gating: int = SIGMOID, normalize: bool = False
) -> Sublayer:
    """The feed-forward: an MLP in the leading dense blocks, experts and shared experts in the others.

    `gating`, and whether to `normalize` weights of experts, are those of files without the keys.
    """
    e = Experts.read(c, h, gating=gating)
    e = replace(e, shared_ffn=(e.shared_ffn or e.ffn) * c.integer("expert_shared_count", 1, 1 << 10))
    normalize = c.flag("expert_weights_norm", normalize)
    dense = [f"blk.{i}." for i in range(c.integer("leading_dense_block_count", 0, h.blocks, 0))]

    def feed_forward(h: Hyperparameters, b: Weights, x: Value) -> Value:
        if b.prefix in dense:
            return gated_mlp(g, h, b, x, g.swiglu)
        routed = mixture_of_experts(g, h, e, b, x, g.swiglu, normalize_weights=normalize)
        return g.add(routed, shared_expert(g, h, e, b, x, g.swiglu))

    return feed_forward


def sparse_keys(s: Settings) -> Keys:
    """Metadata of the decoder and its experts."""
    return (
        decoder_keys(s)
        | group_keys(s)
        | {
            "expert_feed_forward_length": s.integer("moe_intermediate_size"),
            "expert_shared_count": s.integer("n_shared_experts"),
            "leading_dense_block_count": s.integer("first_k_dense_replace"),
            "expert_weights_scale": s.number("routed_scaling_factor"),
            "expert_weights_norm": s.flag("norm_topk_prob"),
            "expert_gating_func": SIGMOID,
        }
    )


def group_keys(s: Settings) -> Keys:
    """How many groups of experts there are, and how many of them are used, where config.json says so."""
    names = {"expert_group_count": "n_group", "expert_group_used_count": "topk_group"}
    return {key: s.integer(name) for key, name in names.items() if s.find(name) is not None}


STEPS = {r"\.e_score_correction_bias$": renames(".e_score_correction.bias")}
DEFAULTS = {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "n_shared_experts": 1}
DEFAULTS |= {"first_k_dense_replace": 0, "routed_scaling_factor": 1.0, "norm_topk_prob": True}
CONVERSION = Conversion(
    classes=("Dots1ForCausalLM",), defaults=UNTIED | DEFAULTS | {"norm_topk_prob": False}, keys=sparse_keys, steps=STEPS
)
