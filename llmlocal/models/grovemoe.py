"""GroveMoE (Wu et al. 2025, arXiv 2508.07785): Qwen3's mixture, and a small adjugate expert for each group of experts.

A token that uses an expert uses that of its group, too, with the same weight; twice if it uses two experts of a group.
llama.cpp gives adjugate experts the sum of the others, and the weights of experts with other numbers: here they read
the same as the others, as in the authors' own code.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, drops
from ..layers import Layers
from ..layers.decoder import expert_mlps, pre_norm_decoder, routed_experts
from ..layers.expert_matrices import ExpertLinear, ExpertMatrices
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.moe import route
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .qwen3 import attention

GROUP, SCALE = 2, 0.05  # experts that share an adjugate one, and what multiplies its results, in the authors' own code


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    group = c.integer("experts_per_group", 1, e.count, GROUP)
    ffn = c.integer("expert_chunk_feed_forward_length", 1, 1 << 22)
    scale = c.number("expert_group_scale", 0, 1e3, SCALE)
    if e.count % group:
        raise c.fail(f"{e.count} experts cannot be divided into groups of {group}")

    def adjugate(b: Weights, name: str, rows: int, k: int) -> ExpertLinear:
        matrices = b.matrix(f"ffn_{name}_chexps.weight", e.count // group, rows, k)
        return ExpertLinear(ExpertMatrices.stacked(matrices).of_groups(group))

    def experts(h: Hyperparameters, b: Weights, x: Value) -> Value:
        scores = g.linear(x, *b.linear("ffn_gate_inp", e.count, h.width))
        routing = route(g, scores, e.used, normalize_weights=True, factor=e.factor)
        gate, up = (adjugate(b, name, ffn, h.width) for name in ("gate", "up"))
        small = expert_mlps(g, x, routing, gate, up, adjugate(b, "down", h.width, ffn), g.swiglu)
        return g.add(routed_experts(g, h, e, b, x, routing, g.swiglu), g.scale(small, scale))

    return pre_norm_decoder(g, h, w, vocab, lambda h, b, x: attention(g, h, b, x, rope), experts)


def keys(s: Settings) -> Keys:
    """Metadata from config.json; what the model's own code has in place of settings is written, too."""
    if not s.flag("norm_topk_prob"):
        raise s.fail("norm_topk_prob is not true, and the authors' own code always divides by the sum")
    return decoder_keys(s) | {
        "expert_feed_forward_length": s.integer("moe_intermediate_size"),
        "expert_chunk_feed_forward_length": s.head_dim,
        "experts_per_group": GROUP,
        "expert_group_scale": SCALE,
    }


CONVERSION = Conversion(
    classes=("GroveMoeForCausalLM", "modeling_grove_moe.GroveMoeForCausalLM"),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "head_dim": 128, "norm_topk_prob": True},
    keys=keys,
    steps={r"\.expert_bias$": drops()},
)
